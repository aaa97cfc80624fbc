"""Pictures of the lab's tables by matplotlib: signals against depth, loss curves, histograms, symmetry, coordinates.

Each function takes Axes or makes a Figure of its own, which needs no display and no state of pyplot. Series differ in
marker and dash as well as in colour.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from winit._core.checks import check_bool, check_one_of, check_path, shown
from winit._files.appearing import Target, appearing, destination, write_at
from winit.lab.comparison import Comparison
from winit.lab.network_page import chosen_layers
from winit.lab.pages import Report
from winit.lab.tables import Table

__all__ = ["plot_coordinates", "plot_histograms", "plot_losses", "plot_signal", "plot_symmetry"]

_ENDINGS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which people tell apart however they see colours; the yellow is too light for lines.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a5a00", "#56b4e9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "x", "+", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (4, 1, 1, 1, 1, 1)))
_MARKED = 20  # markers of a line at most


def plot_signal(
    found: Report | Table | Mapping[str, Table],
    *,
    column: str = "std",
    ax: Any = None,
    save_to: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Any:
    """Draw a column of signal's tables against depth: solid with markers, its theory dashed, its band shaded.

    Parameters
    ----------
    found : Report on schemes, which has bands; or a Table of signal, or a mapping from names to such tables.
    column : "std", "second_moment" or "grad_std".
    ax : matplotlib Axes to draw on; None makes a Figure of their own.
    save_to : path that ends in .png, .svg or .pdf, or None. The picture appears there whole or not at all.
    overwrite : bool. Replace a file that exists.

    Returns
    -------
    matplotlib Axes; the figure is `.figure`.

    Raises
    ------
    ImportError : without matplotlib. TypeError, ValueError : what is not as above. OSError : the picture cannot be
        written.

    >>> import winit
    >>> from winit.lab import Network, plot_signal, signal
    >>> tables = {name: signal(Network([64] * 11, "relu", scheme, seed=0), batch=64)
    ...           for name, scheme in (("he", winit.he_normal()), ("small", winit.normal(std=0.01)))}
    >>> plot_signal(tables).get_yscale()
    'log'

    """
    check_one_of(column, ("std", "second_moment", "grad_std"), "column")
    series = _series(found, "signal")
    axes, finish = _begin(ax, save_to, overwrite)
    bands = {"std": "band", "grad_std": "grad_band"}
    for at, (name, columns) in enumerate(series.items()):
        layers = columns["layer"]
        stem = bands.get(column, "")
        if f"{stem}_low" in columns:
            ends = columns[f"{stem}_low"], columns[f"{stem}_high"]
            axes.fill_between(layers, *ends, color=_colour(at), alpha=0.15, lw=0)
        axes.plot(layers, columns[f"expected_{column}"], ls="--", lw=1, color="0.35", zorder=3)
        # What is 0 has no place on a logarithmic axis: it is said of the line instead.
        values = [value if 0 < value < math.inf else math.nan for value in columns[column]]
        lost = " (0)" if not any(columns[column]) else ""
        axes.plot(layers, values, label=f"{_plain(name)}{lost}", **_style(at, len(layers)))
    axes.set_yscale("log")
    axes.set_xlabel("layer")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel({"std": "std of the outputs", "grad_std": "std of the gradient"}.get(column, "mean square"))
    axes.plot([], [], ls="--", lw=1, color="0.35", label="theory")
    return finish()


def plot_losses(
    found: Comparison | Report,
    *,
    ax: Any = None,
    save_to: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Any:
    """Draw loss curves: the mean over seeds, and shaded from the least to the most.

    Parameters
    ----------
    found : Comparison, as compare returns it, whose losses are averaged over ten steps; or a Report on schemes.
    ax, save_to, overwrite : as of plot_signal.

    Returns
    -------
    matplotlib Axes.

    Raises
    ------
    As of plot_signal; ValueError : the report left training out.

    >>> import numpy as np, winit
    >>> from winit.lab import compare, plot_losses
    >>> x = winit.draw(winit.normal(), (200, 4), seed=0, name="x")
    >>> data = x[:100], (x[:100, 0] > 0).astype(int), x[100:], (x[100:, 0] > 0).astype(int)
    >>> found = compare({"he": winit.he_normal()}, data=data, seeds=2, steps=50)
    >>> [text.get_text() for text in plot_losses(found).get_legend().get_texts()]
    ['he, relu']

    """
    curves = _curves(found)
    axes, finish = _begin(ax, save_to, overwrite)
    for at, (name, (steps, mean, low, high)) in enumerate(curves.items()):
        axes.fill_between(steps, low, high, color=_colour(at), alpha=0.15, lw=0)
        axes.plot(steps, mean, label=_plain(name), **_style(at, len(steps)))
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    return finish()


def plot_histograms(
    found: Report,
    scheme: str,
    *,
    gradients: bool = False,
    ax: Any = None,
    save_to: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Any:
    """Draw how large the outputs of each layer are, or the gradients at them: a line a layer, at most six.

    Parameters
    ----------
    found : Report on schemes. scheme : str, a name of one of its schemes.
    gradients : bool. Of the gradients instead of the outputs.
    ax, save_to, overwrite : as of plot_signal.

    Returns
    -------
    matplotlib Axes.

    Raises
    ------
    As of plot_signal; ValueError : the report has no such scheme.

    >>> import winit
    >>> from winit.lab import plot_histograms, report
    >>> found = report({"he": winit.he_normal()}, depth=3, width=32, steps=0)
    >>> plot_histograms(found, "he").get_xlabel()
    'magnitude of the outputs'

    """
    if not isinstance(found, Report) or found.kind != "network":
        raise TypeError(f"found must be a Report on schemes, not {shown(found)}")
    histograms = found.data["histograms"]
    check_one_of(scheme, tuple(histograms), "scheme")
    layers = histograms[scheme]["gradients" if check_bool(gradients, "gradients") else "activations"]
    axes, finish = _begin(ax, save_to, overwrite)
    for at, each in enumerate(layers[place] for place in chosen_layers(len(layers))):
        total = sum(each["counts"]) + each["zeros"] + each["not_finite"]
        middles = [math.ldexp(1.5, each["lowest"] + k) for k in range(len(each["counts"]))]
        zeros = f", {each['zeros'] / total:.0%} are 0" if each["zeros"] else ""
        shares = [count / total for count in each["counts"]]
        axes.plot(middles, shares, label=f"layer {each['layer']}{zeros}", **_style(at, len(middles)))
    axes.set_xscale("log")
    axes.set_xlabel(f"magnitude of the {'gradients' if gradients else 'outputs'}")
    axes.set_ylabel("share of values")
    axes.set_title(_plain(scheme), fontsize=10)
    return finish()


def plot_symmetry(
    found: Report | Table | Mapping[str, Table],
    *,
    ax: Any = None,
    save_to: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Any:
    """Draw how many units of each layer differ: hollow before training, filled after the last step.

    Parameters
    ----------
    found : Report on schemes; or a Table of symmetry of a network, or a mapping from names to such tables.
    ax, save_to, overwrite : as of plot_signal.

    Returns
    -------
    matplotlib Axes.

    Raises
    ------
    As of plot_signal.

    >>> import winit
    >>> from winit.lab import Network, plot_symmetry, symmetry
    >>> plot_symmetry(symmetry(Network([8, 6, 4], "tanh", winit.zeros(), output="identity"))).get_xlabel()
    'layer'

    """
    series = _series(found, "symmetry")
    axes, finish = _begin(ax, save_to, overwrite)
    for at, (name, columns) in enumerate(series.items()):
        last = max(columns["step"])
        for step, fill in ((0, "none"), (last, _colour(at))):
            rows = [k for k, own in enumerate(columns["step"]) if own == step]
            label = None if step < last else _plain(name) or f"after {last} steps"
            style = {**_style(at, len(rows)), "mfc": fill, "ls": "none" if step == 0 else _style(at, 1)["ls"]}
            counts = [columns["distinct_forward"][k] for k in rows]
            axes.plot([columns["layer"][k] for k in rows], counts, label=label, **style)
            if last == 0:
                break
    axes.plot([], [], ls="none", marker="o", mfc="none", color="0.35", label="at the start")
    axes.set_yscale("log")
    axes.set_xlabel("layer")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("different units")
    return finish()


def plot_coordinates(
    found: Table,
    *,
    column: str = "change",
    ax: Any = None,
    save_to: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Any:
    """Draw a coordinate check: how far each layer's outputs moved by the last step, against width; flat is right.

    Parameters
    ----------
    found : Table of coordinate_check; seeds are averaged.
    column : "change" or "size".
    ax, save_to, overwrite : as of plot_signal.

    Returns
    -------
    matplotlib Axes.

    Raises
    ------
    As of plot_signal.

    >>> import numpy as np, winit
    >>> from winit.lab import Network, SGD, coordinate_check, plot_coordinates
    >>> def make(width):
    ...     return Network([4, width, 2], "relu", winit.he_normal(), output="identity"), SGD(0.1)
    >>> found = coordinate_check(make, (8, 16), np.ones((4, 4), np.float32), [0, 1, 0, 1])
    >>> [text.get_text() for text in plot_coordinates(found).get_legend().get_texts()]
    ['layer 1', 'layer 2']

    """
    check_one_of(column, ("change", "size"), "column")
    if not isinstance(found, Table):
        raise TypeError(f"found must be a Table of coordinate_check, not {shown(found)}")
    columns = {name: found.column(name) for name in ("width", "seed", "step", "layer", column)}
    axes, finish = _begin(ax, save_to, overwrite)
    last = max(columns["step"])
    widths = list(dict.fromkeys(columns["width"]))
    for at, layer in enumerate(dict.fromkeys(columns["layer"])):
        means = []
        for width in widths:
            values = [row[column] for row in found if (row["width"], row["step"], row["layer"]) == (width, last, layer)]
            means.append(math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan)
        name = f"layer {layer}" if isinstance(layer, int) else _plain(layer)
        axes.plot(widths, means, label=name, **_style(at, len(widths)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("width")
    axes.set_ylabel("mean change of the outputs" if column == "change" else "mean size of the outputs")
    axes.set_title(f"after {last} steps", fontsize=10)
    return finish()


# ---- what they share


def _begin(ax: Any, save_to: Any, overwrite: bool) -> tuple[Any, Callable[[], Any]]:
    """Check what can be checked, and return Axes, and what adds the legend and writes the file."""
    target = None if save_to is None else _target(save_to, overwrite)
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures need matplotlib, which is not installed: pip install 'winit[lab]'") from None
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, not {shown(ax)}")
    axes = Figure(figsize=(6.4, 4), layout="constrained").add_subplot() if ax is None else ax

    def finish() -> Any:
        axes.grid(color="0.9", lw=0.6)
        axes.set_axisbelow(True)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8, frameon=False)
        if target is not None:
            _save(axes.figure, target)
        return axes

    return axes, finish


def _target(path: Any, overwrite: bool) -> Target:
    text = check_path(path, "save_to")
    if Path(text).suffix not in _ENDINGS:
        raise ValueError(f"save_to must end in .png, .svg or .pdf, not {shown(text)}")
    return destination(path, overwrite)


def _save(figure: Any, target: Target) -> None:
    """Write a picture: the same bytes of the same figure."""
    import matplotlib as mpl

    page = io.BytesIO()
    kind = Path(target.name).suffix[1:]
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with mpl.rc_context({"svg.hashsalt": "winit"}):
        figure.savefig(page, format=kind, dpi=150, metadata=dates.get(kind))
    with appearing(target, page.getbuffer().nbytes) as descriptor:
        write_at(descriptor, page.getbuffer(), 0)


def _series(found: Any, what: str) -> dict[str, Mapping[str, Sequence[Any]]]:
    """Columns by the name of a scheme."""
    if isinstance(found, Report) and found.kind == "network":
        return dict(found.data[what])
    tables = {"": found} if isinstance(found, Table) else found
    needed = "expected_std" if what == "signal" else "distinct_forward"
    if not isinstance(tables, Mapping) or not all(isinstance(table, Table) for table in tables.values()):
        raise TypeError(f"found must be a Report on schemes, a Table or tables by name, not {shown(found)}")
    for table in tables.values():
        table.column(needed)
    return {str(name): table.to_dict() for name, table in tables.items()}


def _curves(found: Any) -> dict[str, tuple[Sequence[float], ...]]:
    """Steps, mean, least and most, by the name of a scheme."""
    if isinstance(found, Report) and found.kind == "network":
        trained = found.data["training"]
        if trained["left_out"]:
            raise ValueError(f"found has no loss curves: {trained['left_out']}")
        return {name: tuple(each[key] for key in ("step", "mean", "low", "high"))
                for name, each in trained["curves"].items()}  # fmt: skip
    if not isinstance(found, Comparison):
        raise TypeError(f"found must be a Comparison or a Report on schemes, not {shown(found)}")
    out: dict[str, tuple[Sequence[float], ...]] = {}
    for (scheme, activation), runs in found.curves.items():
        length = max(map(len, runs))
        each = min(10, length)
        steps, rows = [], []
        for end in range(each, length + 1, each):
            # A run that diverged ends early: from there on there is no mean of all.
            parts = [math.fsum(run[end - each : end]) / each for run in runs if len(run) >= end]
            whole = len(parts) == len(runs) and all(map(math.isfinite, parts))
            steps.append(float(end))
            rows.append((math.fsum(parts) / len(parts), min(parts), max(parts)) if whole else (math.nan,) * 3)
        out[f"{scheme}, {activation}"] = (steps, *map(list, zip(*rows, strict=True)))
    return out


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]


def _style(at: int, points: int) -> dict[str, Any]:
    marker = _MARKERS[at % len(_MARKERS)]
    return {
        "color": _colour(at), "marker": marker, "ls": _DASHES[at % len(_DASHES)], "lw": 1.3, "ms": 5,
        "markevery": max(points // _MARKED, 1),
    }  # fmt: skip


def _plain(text: str) -> str:
    """A text as matplotlib draws it as it is: a $ would begin a formula, and a leading _ hide a label."""
    shown = "".join(each if each.isprintable() else "?" for each in text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
