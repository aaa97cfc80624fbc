"""The report on schemes in one network: signals, gradients, histograms, training and symmetry, as data and a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from winit._core.drawing import draw
from winit._core.scheme import Scheme
from winit.activations import Activation
from winit.lab.comparison import compare, digits
from winit.lab.matrices import distinct
from winit.lab.measures import Measured
from winit.lab.network import Network
from winit.lab.octaves import Octaves
from winit.lab.page_writing import Ids, grid, items, note, paragraph, section, table, unfolded
from winit.lab.propagation import expected, signal
from winit.lab.svg import Bar, Chart, Row, dots, number, ridges, swatch
from winit.lab.tables import Table
from winit.lab.units import symmetry
from winit.schemes.constants import constant
from winit.schemes.plain import normal

__all__ = ["Settings", "chosen_layers", "gather", "sections"]

CLASSES = 10  # digits; and of the network whose symmetry is asked
SYMMETRY_STEPS = 3
GUESSING = math.log(CLASSES)  # the loss of who has learnt nothing
LEARNT = 0.95  # of that: a loss above it, after hundreds of steps, is no training
TRAINED_WIDTH = 64  # at most: training is 3 x steps x seeds passes for each scheme
LEARNING_RATE, MOMENTUM, TRAINING_BATCH = 0.05, 0.9, 64
HISTOGRAMS = 6  # layers in a picture
_SIGNS = {"healthy": "✓", "vanishing": "↓", "exploding": "↑", "dead": "✕", "saturated": "▬", "symmetric": "="}
_SAYS = {
    "healthy": "signal and gradient keep their size in every layer",
    "vanishing": "the differences between samples, or the gradient, fall below a hundredth of what came in",
    "exploding": "signal or gradient grow beyond 100 times what came in, or out of the numbers' range",
    "dead": "nine tenths of a layer's units are 0 for every sample",
    "saturated": "half of a layer's outputs are where the activation is flat",
    "symmetric": "all units of a hidden layer are one unit, and stay it when trained",
}
_WEIGHT = ("symmetric", "exploding", "dead", "saturated", "vanishing", "healthy")


class Settings(NamedTuple):
    """What the networks of a report have in common."""

    activation: Activation
    depth: int
    width: int
    batch: int
    seed: int
    seeds: int
    steps: int
    dtype: str
    bias: float
    residual: bool
    norm: str | None
    threads: int | None

    @property
    def bias_scheme(self) -> Scheme | None:
        """The scheme of the biases."""
        return constant(self.bias) if self.bias else None


class _Counting:
    """An executor that runs one after the other and says so."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.done = done

    def map(self, function: Callable[[Any], Any], runs: Iterable[Any]) -> list[Any]:
        found = []
        for run in runs:
            found.append(function(run))
            self.done()
        return found


# ---- data


def gather(schemes: Mapping[str, Scheme], settings: Settings, progress: Callable[[int, int], None] | None) -> Any:
    """Measure all; progress is told of parts done and parts in all."""
    training = _why_untrained(settings)
    total = 2 * len(schemes) + (0 if training else len(schemes) * settings.seeds)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    # What a layer's shape does not allow is found before anything is computed.
    for name, scheme in schemes.items():
        _told_of(name, lambda scheme=scheme: scheme.law((settings.width, settings.width), "oi"))  # type: ignore[misc]
    signals: dict[str, Any] = {}
    histograms: dict[str, Any] = {}
    units: dict[str, Any] = {}
    for name, scheme in schemes.items():
        network = _told_of(name, lambda scheme=scheme: _network(scheme, settings))  # type: ignore[misc]
        measured = signal(network, batch=settings.batch)
        signals[name] = {**measured.to_dict(), **_band(network, measured, settings.batch)}
        histograms[name] = _histograms(network, settings.batch)
        count()
        del network
        units[name] = _symmetry(scheme, settings)
        count()
    trained = {"left_out": training} if training else _training(schemes, settings, count)
    rows = [_verdict(name, signals[name], units[name], trained) for name in schemes]
    shown = {name: value for name, value in settings._asdict().items() if name != "threads"}
    shown["activation"] = repr(settings.activation) if settings.activation.param else settings.activation.name
    return {
        "settings": {**shown, "schemes": {name: repr(scheme) for name, scheme in schemes.items()}},
        "verdicts": rows,
        "best": _best(rows),
        "signal": signals,
        "histograms": histograms,
        "training": trained,
        "symmetry": units,
    }


def _told_of(name: str, make: Callable[[], Any]) -> Any:
    """Say of which scheme an error is."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise type(error)(f"scheme {name}: {error}") from None


def _network(scheme: Scheme, settings: Settings) -> Network:
    return Network(
        [settings.width] * (settings.depth + 1), settings.activation, scheme, bias=settings.bias_scheme,
        residual=settings.residual, norm=settings.norm, seed=settings.seed, dtype=settings.dtype,
        threads=settings.threads,
    )  # fmt: skip


def _band(network: Network, measured: Table, batch: int) -> dict[str, list[float]]:
    """The ends between which std and grad_std lie in 19 of 20 networks of this width, or more: two spreads of a log."""
    given = Measured.of(network.draw_input(batch), threads=network.threads)
    theory = expected(network, given, measured.column("grad_std")[-1])
    out: dict[str, list[float]] = {}
    for layer in theory:
        for stem, wide, spread in (
            ("band", layer.std, layer.std_log_spread),
            ("grad_band", layer.grad_std, layer.grad_log_spread),
        ):
            for end, sign in (("low", -2), ("high", 2)):
                out.setdefault(f"{stem}_{end}", []).append(wide * _exp(sign * spread))
    return out


def _exp(power: float) -> float:
    return math.inf if power > 700 else math.exp(power)


def _histograms(network: Network, batch: int) -> dict[str, Any]:
    """Magnitudes of each layer's outputs, and of the gradients at them: of the signal's own batch and gradient."""
    found: dict[str, list[Octaves]] = {"activations": [], "gradients": []}
    with np.errstate(all="ignore"):
        trace = network.forward(
            network.draw_input(batch), watch=lambda _, y: found["activations"].append(Octaves.of(y))
        )
        top = draw(
            normal(), trace.outputs[-1].shape, seed=network.seed, name="output gradient", dtype=network.dtype,
            threads=network.threads,
        )  # fmt: skip
        network.watch_gradients(trace, top, lambda _, gradient: found["gradients"].append(Octaves.of(gradient)))
    found["gradients"].reverse()  # they come from the last layer to the first
    return {
        what: [{"layer": layer, **each._asdict()} for layer, each in enumerate(counted, 1)]
        for what, counted in found.items()
    }


def _symmetry(scheme: Scheme, settings: Settings) -> dict[str, Any]:
    """The table of symmetry, and beside each layer's units how many differ in their incoming weights."""
    widths = [settings.width] * (settings.depth + 1) + [CLASSES]
    try:
        network = Network(
            widths, settings.activation, scheme, bias=settings.bias_scheme, output="identity",
            residual=settings.residual, norm=settings.norm, seed=settings.seed, dtype=settings.dtype,
            threads=settings.threads,
        )  # fmt: skip
    except (TypeError, ValueError):  # such as a matrix that must be square: then the last layer is as the others
        network = _network(scheme, settings)
    with np.errstate(all="ignore"):
        found = symmetry(network, steps=SYMMETRY_STEPS, batch=32).to_dict()
    weights = [distinct(weight) for weight in network.weights if isinstance(weight, np.ndarray)]
    return {**found, "distinct_weights": weights * (SYMMETRY_STEPS + 1)}


def _why_untrained(settings: Settings) -> str | None:
    """Say why nothing is trained, or None."""
    if not settings.steps:
        return "training was left out, as --steps 0 asks"
    if settings.residual or settings.norm:
        return "training was left out: compare() trains networks without residuals and norms"
    try:
        digits()
    except ImportError:
        return (
            "training was left out: its data come with scikit-learn, which is not installed (pip install 'winit[lab]')"
        )
    return None


def _training(schemes: Mapping[str, Scheme], settings: Settings, count: Callable[[], None]) -> Any:
    width = min(settings.width, TRAINED_WIDTH)
    found: dict[str, Any] = {"summary": [], "curves": {}}
    for name, scheme in schemes.items():
        try:
            compared = compare(
                {name: scheme}, settings.activation, data=digits(), depth=settings.depth, width=width,
                seeds=range(settings.seed, settings.seed + settings.seeds), steps=settings.steps,
                batch=TRAINING_BATCH, learning_rate=LEARNING_RATE, momentum=MOMENTUM, bias=settings.bias_scheme,
                executor=_Counting(count), threads=settings.threads,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            found["summary"].append({"scheme": name, "left_out": str(error)})
            continue
        found["summary"].append({"left_out": "", **compared.summary[0]})
        found["curves"][name] = _curve(next(iter(compared.curves.values())), settings.steps)
    return {"left_out": None, "width": width, "depth": settings.depth, **found}


def _curve(losses: Sequence[Sequence[float]], steps: int) -> dict[str, list[float]]:
    """Means of losses over stretches of steps: the mean over seeds, the least and the most; inf where one diverged."""
    each = max(steps // 40, 1)
    out: dict[str, list[float]] = {"step": [], "mean": [], "low": [], "high": []}
    for end in range(each, steps + 1, each):
        values = []
        for run in losses:
            part = run[end - each : end]
            ended = len(part) < each or not all(map(math.isfinite, part))
            values.append(math.inf if ended else math.fsum(part) / each)
        out["step"].append(end)
        out["mean"].append(math.inf if math.inf in values else math.fsum(values) / len(values))
        out["low"].append(min(values))
        out["high"].append(max(values))
    return out


def _verdict(name: str, found: Mapping[str, Any], units: Mapping[str, Any], trained: Any) -> dict[str, Any]:
    hidden = max(units["layer"]) - 1
    one = any(
        count == 1 < size for count, size in zip(units["distinct_weights"][:hidden], units["units"], strict=False)
    )
    last = _fewest(units, max(units["step"]))
    verdicts = found["verdict"]
    first = next((layer for layer, verdict in zip(found["layer"], verdicts, strict=True) if verdict != "healthy"), None)
    kind = "healthy" if first is None else verdicts[first - 1]
    row: dict[str, Any] = {
        "scheme": name,
        # Outputs alone do not tell: those of dead units, and what is not finite, are equal too.
        "verdict": "symmetric" if one and last is not None and last[0] == 1 else kind,
        "first_layer": first,
        "first_verdict": None if first is None else kind,
        "last_std": found["std"][-1],
        "first_grad_std": found["grad_std"][0],
        "sent_grad_std": found["grad_std"][-1],
        "distinct_units": None if last is None else last[0],
        "units": None if last is None else last[1],
    }
    summary = {each["scheme"]: each for each in trained.get("summary", ())}.get(name, {})
    if not trained["left_out"]:
        row["last_loss"] = summary.get("last_loss", math.nan)
        row["held_accuracy"] = summary.get("held_accuracy", math.nan)
    return row


def _fewest(units: Mapping[str, Any], step: int) -> tuple[int, int] | None:
    """The fewest different units of a hidden layer after so many steps, and how many units it has."""
    rows = zip(units["step"], units["layer"], units["distinct_forward"], units["units"], strict=True)
    last = max(units["layer"])
    return min(((found, count) for at, layer, found, count in rows if at == step and layer < last), default=None)


def _best(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in a sentence each which scheme is best, of those whose units differ."""
    sentences = []
    able = [row for row in rows if row["verdict"] != "symmetric"]

    def nearest(what: str, aim: Callable[[Mapping[str, Any]], float]) -> Mapping[str, Any] | None:
        known = [row for row in able if 0 < row[what] < math.inf]
        return min(known, key=lambda row: abs(math.log(row[what] / aim(row))), default=None)

    found = nearest("last_std", lambda row: 1.0)
    if found is not None:
        sentences.append(
            f"{found['scheme']} keeps the signal best: its std is {number(found['last_std'])} after the last layer, "
            "of 1 at the input."
        )
    found = nearest("first_grad_std", lambda row: row["sent_grad_std"])
    if found is not None:
        sentences.append(
            f"{found['scheme']} keeps the gradient best: its std is {number(found['first_grad_std'])} at the first "
            f"layer, of {number(found['sent_grad_std'])} at the output."
        )
    known = [row for row in able if math.isfinite(row.get("last_loss", math.nan))]
    found = min(known, key=lambda row: row["last_loss"], default=None)
    if found is not None and found["last_loss"] > LEARNT * GUESSING:
        sentences.append(
            f"None of them trains here: the least loss at the end is {number(found['last_loss'])}, that of guessing "
            f"among ten digits {number(GUESSING)}."
        )
    elif found is not None:
        sentences.append(
            f"{found['scheme']} trains best: its loss ends at {number(found['last_loss'])}, and it is right on "
            f"{found['held_accuracy']:.1%} of the digits that were held out."
        )
    if len(able) < len(rows):
        names = ", ".join(row["scheme"] for row in rows if row["verdict"] == "symmetric")
        sentences.append(f"Not to be used for hidden layers: {names}. All units of a layer stay one unit.")
    return sentences


# ---- the page


def sections(data: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Return the page's title, what it is about, and its sections."""
    given = data["settings"]
    schemes = list(given["schemes"])
    styles = {name: at for at, name in enumerate(schemes)}
    ids = Ids()
    title = f"{len(schemes)} initialisation{'s' if len(schemes) != 1 else ''} of a {given['activation']} network"
    more = [f"bias {given['bias']:g}"] * bool(given["bias"]) + ["residuals"] * given["residual"]
    more += [f"{given['norm']} norm"] * bool(given["norm"])
    lede = (
        f"{given['depth']} layers of {given['width']:,} units, {given['activation']}"
        f"{', ' + ', '.join(more) if more else ''}. A batch of {given['batch']:,} standard normal inputs goes "
        f"forwards, a standard normal gradient comes back. {given['dtype']}, seed {given['seed']}."
    )
    parts = [
        _verdict_section(ids, data, styles),
        _signal_section(ids, data, styles),
        _histogram_section(ids, data, styles),
        _training_section(ids, data, styles),
        _symmetry_section(ids, data, styles),
    ]
    return title, lede, parts


def _verdict_section(ids: Ids, data: Mapping[str, Any], styles: Mapping[str, int]) -> str:
    trained = not data["training"]["left_out"]
    names = ["scheme", "verdict", "first layer that is not healthy", "std, last layer", "gradient's std, first layer"]
    names += ["last loss", "held-out accuracy"] * trained
    rows = []
    for row in data["verdicts"]:
        cells = [row["scheme"], f"{_SIGNS[row['verdict']]} {row['verdict']}"]
        cells.append("none" if row["first_layer"] is None else f"{row['first_layer']} ({row['first_verdict']})")
        cells += [row["last_std"], row["first_grad_std"]]
        if trained:
            accuracy = row["held_accuracy"]
            cells += [row["last_loss"], "n/a" if math.isnan(accuracy) else f"{accuracy:.1%}"]
        rows.append(cells)
    there = [kind for kind in _WEIGHT if any(row["verdict"] == kind for row in data["verdicts"])]
    meanings = [f"{_SIGNS[kind]} {kind}: {_SAYS[kind]}." for kind in there]
    marks = [swatch(styles[row["scheme"]]) for row in data["verdicts"]]
    parts = [
        items(data["best"]),
        table(ids, "What becomes of signal and gradient, scheme by scheme.", names, rows, marks=marks, most=None),
        items(meanings),
    ]
    return section("Verdicts", parts)


def _signal_section(ids: Ids, data: Mapping[str, Any], styles: Mapping[str, int]) -> str:
    signals = data["signal"]
    charts = []
    for what, title in (("std", "Signal: std of the outputs"), ("grad_std", "Gradient: std at the outputs")):
        ends = ", ".join(f"{name} {number(each[what][-1 if what == 'std' else 0])}" for name, each in signals.items())
        where = "at the last layer" if what == "std" else "at the first layer"
        back = what == "grad_std"  # which goes from the last layer to the first
        label = "layer, from the last to the first" if back else "layer"
        chart = Chart(
            title, f"A line for each scheme; {where}: {ends}.", label, "std", log_y=True, height=260, back=back,
        )  # fmt: skip
        for name, each in signals.items():
            says = [f"{name}, layer {layer}: {number(v)}" for layer, v in zip(each["layer"], each[what], strict=True)]
            chart.line(name, each["layer"], each[what], styles[name], says=says)
        charts.append(chart.render(ids.next("chart")))
    single = []
    for name, each in signals.items():
        last = number(each["std"][-1]), number(each["expected_std"][-1])
        chart = Chart(
            name,
            f"Std by layer, measured and expected: the signal's at the last layer is {last[0]}, expected {last[1]}.",
            "layer", "std", log_y=True, height=200,
        )  # fmt: skip
        for label, what, band, style in (("signal", "std", "band", 0), ("gradient", "grad_std", "grad_band", 1)):
            chart.band(each["layer"], each[f"{band}_low"], each[f"{band}_high"], style)
            chart.line(f"{label}, theory", each["layer"], each[f"expected_{what}"], style, dashed=True)
            says = [
                f"{label}, layer {layer}: {number(v)}, expected {number(e)}"
                for layer, v, e in zip(each["layer"], each[what], each[f"expected_{what}"], strict=True)
            ]
            chart.line(label, each["layer"], each[what], style, says=says)
        single.append(chart.render(ids.next("chart")))
    tables = [
        table(
            ids,
            f"{name}: signal and gradient by layer.",
            ["layer", "mean", "std", "expected std", "unit std", "dead", "saturated", "gradient's std",
             "expected gradient's std", "correlation", "verdict"],
            [list(row) for row in zip(*(each[column] for column in (
                "layer", "mean", "std", "expected_std", "unit_std", "dead", "saturated", "grad_std",
                "expected_grad_std", "correlation", "verdict")), strict=True)],
        )
        for name, each in signals.items()
    ]  # fmt: skip
    unknown = [name for name, each in signals.items() if all(map(math.isnan, each["expected_std"]))]
    parts = [
        paragraph("Variance is std squared. What comes in has a std of 1: a line that stays near 1 is what is wanted."),
        grid(charts),
        section("Measured against theory", [
            note(
                "Solid with markers: measured. Dashed: what mean-field theory expects of a very wide network. Shaded: "
                "where 19 of 20 networks of this width lie, or more, when weights are independent: the band is one "
                "sample's, and a batch of different ones strays less."
            ),
            *([note(f"No theory is known for {', '.join(unknown)}: the mean of its weights is not 0.")]
              if unknown else []),
            grid(single),
        ], 3),
        unfolded("Signal and gradient as tables", tables),
    ]  # fmt: skip
    return section("Variance against depth", parts)


def _edges(power: int) -> tuple[float, float]:
    return math.ldexp(1.0, power), math.ldexp(1.0, power + 1)


def chosen_layers(depth: int) -> list[int]:
    """Choose layers to show, counted from 0: the first, the last and evenly spaced ones between.

    >>> chosen_layers(20)
    [0, 4, 8, 11, 15, 19]
    """
    count = min(depth, HISTOGRAMS)
    return sorted({round(at * (depth - 1) / max(count - 1, 1)) for at in range(count)})


def _histogram_section(ids: Ids, data: Mapping[str, Any], styles: Mapping[str, int]) -> str:
    blocks = []
    for name, found in data["histograms"].items():
        charts, tables = [], []
        for what, each in found.items():
            rows = [_ridge(each[at]) for at in chosen_layers(len(each))]
            zeros = ", ".join(f"layer {each[at]['layer']} {_share(each[at]['zeros'], each[at])}" for at in (0, -1))
            label = f"{name}: {what}"
            description = f"Histograms of magnitudes, a row a layer. Exact zeros: {zeros}."
            charts.append(ridges(ids.next("chart"), label, description, rows, "magnitude", styles[name]))
            tables.append(_octave_table(ids, label, each))
        blocks.append(grid(charts) + unfolded(f"Histograms of {name} as tables", tables))
    explained = note(
        "How many values are how large, sign aside, by factors of two; heights are shares of a layer's values, to one "
        "scale in each picture. At the right: the share of values that are exactly 0, or not finite. Each picture has "
        "an axis of its own."
    )
    return section("Histograms of activations and gradients by layer", [explained, *blocks])


def _share(count: int, each: Mapping[str, Any]) -> str:
    total = sum(each["counts"]) + each["zeros"] + each["not_finite"]
    return f"{count / total:.0%}"


def _ridge(each: Mapping[str, Any]) -> Row:
    total = sum(each["counts"]) + each["zeros"] + each["not_finite"]
    bars = []
    for at, count in enumerate(each["counts"]):
        if count >= total / 2000:
            low, high = _edges(each["lowest"] + at)
            says = f"layer {each['layer']}: {count / total:.1%} of values between {number(low)} and {number(high)}"
            bars.append(Bar(low, high, count / total, says))
    notes = [f"0: {_share(each['zeros'], each)}"] * bool(each["zeros"])
    notes += [f"inf: {_share(each['not_finite'], each)}"] * bool(each["not_finite"])
    return Row(str(each["layer"]), bars, " ".join(notes))


def _octave_table(ids: Ids, label: str, found: Sequence[Mapping[str, Any]]) -> str:
    chosen = [found[at] for at in chosen_layers(len(found))]
    there = [each for each in chosen if each["counts"]]
    lowest = min((each["lowest"] for each in there), default=0)
    highest = max((each["lowest"] + len(each["counts"]) for each in there), default=0)
    rows: list[list[Any]] = [["0", *(_share(each["zeros"], each) for each in chosen)]]
    for power in range(lowest, highest):
        shares = []
        for each in chosen:
            at = power - each["lowest"]
            shares.append(_share(each["counts"][at] if 0 <= at < len(each["counts"]) else 0, each))
        if any(share != "0%" for share in shares):
            rows.append([f"from {number(_edges(power)[0])}", *shares])
    rows.append(["not finite", *(_share(each["not_finite"], each) for each in chosen)])
    caption = f"{label}: share of values by magnitude, each row up to twice where it begins."
    return table(ids, caption, ["magnitude", *(f"layer {each['layer']}" for each in chosen)], rows, most=None)


def _training_section(ids: Ids, data: Mapping[str, Any], styles: Mapping[str, int]) -> str:
    trained = data["training"]
    if trained["left_out"]:
        reason = trained["left_out"]
        return section("Loss curves", [paragraph(f"{reason[0].upper()}{reason[1:]}.")])
    given = data["settings"]
    runs = f"{given['seeds']} seed{'s' if given['seeds'] != 1 else ''}"
    ends = ", ".join(f"{name} {number(each['mean'][-1])}" for name, each in trained["curves"].items() if each["mean"])
    chart = Chart("Loss on the digits", f"A line for each scheme; at the end: {ends}.", "step", "loss", height=280)
    single = []
    for name, each in trained["curves"].items():
        says = [
            f"{name}, step {s}: {number(m)}, seeds {number(low)} to {number(high)}"
            for s, m, low, high in zip(each["step"], each["mean"], each["low"], each["high"], strict=True)
        ]
        chart.line(name, each["step"], each["mean"], styles[name], says=says)
        one = Chart(name, f"Loss, mean and range over {runs}.", "step", "loss", height=190, labels=False)
        one.band(each["step"], each["low"], each["high"], styles[name])
        one.line(name, each["step"], each["mean"], styles[name], says=says)
        single.append(one.render(ids.next("chart")))
    rows = [
        [row["scheme"], *(row[name] for name in ("runs", "diverged", "last_loss", "last_loss_std", "steps_to_target",
                                                "train_accuracy", "held_accuracy", "held_accuracy_std"))]
        for row in trained["summary"] if not row["left_out"]
    ]  # fmt: skip
    curves = [
        table(ids, f"{name}: loss by step over {runs}.", ["step", "mean", "least", "most"],
              [list(row) for row in zip(*each.values(), strict=True)])
        for name, each in trained["curves"].items()
    ]  # fmt: skip
    left = [f"{row['scheme']} was not trained: {row['left_out']}." for row in trained["summary"] if row["left_out"]]
    parts = [
        paragraph(
            f"scikit-learn's digits, {trained['depth']} layers of {trained['width']} units and a linear layer of 10 in "
            f"the place of the last; {given['steps']} steps of gradient descent with momentum {MOMENTUM}, learning "
            f"rate {LEARNING_RATE}, batches of {TRAINING_BATCH}, {runs}. Guessing has a loss of {number(GUESSING)}."
        ),
        *map(note, left),
        grid([chart.render(ids.next("chart"))]),
        table(
            ids,
            "After training, means and stds over seeds that did not diverge; steps to a loss of 0.5.",
            ["scheme", "runs", "diverged", "last loss", "its std", "steps to 0.5", "accuracy", "held-out accuracy",
             "its std"],
            rows, most=None,
        ),
        section("Mean and range over seeds", [grid(single)], 3),
        unfolded("Loss curves as tables", curves),
    ]  # fmt: skip
    return section("Loss curves", parts)


def _symmetry_section(ids: Ids, data: Mapping[str, Any], styles: Mapping[str, int]) -> str:
    rows, points = [], []
    for name, units in data["symmetry"].items():
        last = max(units["step"])
        pair = _fewest(units, 0), _fewest(units, last)
        if pair[0] is None or pair[1] is None:
            continue
        before, after = pair[0], pair[1]
        rows.append([name, before[1], min(units["distinct_weights"][: max(units["layer"]) - 1]), before[0], after[0]])
        points.append(
            (
                name,
                [
                    (float(before[0]), 0, f"{name}: {before[0]:,} of {before[1]:,} units differ at the start"),
                    (float(after[0]), 5, f"{name}: {after[0]:,} of {after[1]:,} units differ after {last} steps"),
                ],
            )
        )
    if not rows:
        return section("Symmetry", [paragraph("A network of one layer has no hidden units that could be one.")])
    one = [row["scheme"] for row in data["verdicts"] if row["verdict"] == "symmetric"]
    description = f"Circles: at the start; crosses: after training. {', '.join(one) or 'No scheme'} stays at one unit."
    every = [
        table(
            ids, f"{name}: different units by step and layer.",
            ["step", "layer", "units", "different outputs", "different gradients",
             "different weights at the start"],
            [list(row) for row in zip(*units.values(), strict=True)],
        )
        for name, units in data["symmetry"].items()
    ]  # fmt: skip
    parts = [
        paragraph(
            "Units of a layer that start equal compute the same and get the same gradient, so that every step leaves "
            f"them equal. Here is the hidden layer with the fewest different units, before and after {SYMMETRY_STEPS} "
            "steps of gradient descent, of a network with a linear layer of 10 classes on top. Units are told apart by "
            "their outputs' bits: those that are 0 for every sample, or not finite, look like one, and are one only if "
            "their weights are."
        ),
        grid([dots(ids.next("chart"), "Different units (circle above: before; cross below: after)", description, points,
                   "different units", apart=True, log=True, ends=[1.0, float(max(row[1] for row in rows))])]),
        table(ids, "The hidden layer with the fewest different units.",
              ["scheme", "units", "different weights", "different at the start",
               f"different after {SYMMETRY_STEPS} steps"], rows,
              marks=[swatch(styles[row[0]]) for row in rows], most=None),
        unfolded("Every layer and step", every),
    ]  # fmt: skip
    return section("Symmetry", parts)
