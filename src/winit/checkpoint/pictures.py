"""One page of pictures of an audit: standard deviation by depth, by kind of tensor, against the laws, and ranks."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from winit._files.appearing import Target, appearing, destination, write_at
from winit._plans.numbered_names import numbered
from winit.checkpoint.findings import Audit, TensorAudit

__all__ = ["check_plot", "write_page"]

_KINDS = (".png", ".svg")
_GREY, _RED = "0.75", "#b03a2e"
_MOST = 10  # kinds of tensors that a picture tells apart by colour
_LISTED = 24  # kinds in the picture of kinds


def check_plot(path: str | os.PathLike[str], overwrite: bool) -> Target:
    """Return where the page is to appear, or raise for what could not be drawn there."""
    suffix = Path(os.fspath(path)).suffix
    if suffix not in _KINDS:
        raise ValueError(f"the file of pictures must end in .png or .svg, not {os.fspath(path)!r}")
    target = destination(path, overwrite)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ImportError(
            "pictures need the package matplotlib, which is not installed: pip install 'winit[plot]'"
        ) from None
    return target


def write_page(found: Audit, target: Target, title: str) -> None:
    """Draw the page into a file, which appears whole or not at all."""
    page = io.BytesIO()
    figure = _page(found, title)
    figure.savefig(page, format=Path(target.name).suffix[1:], dpi=120)
    with appearing(target, page.getbuffer().nbytes) as descriptor:
        write_at(descriptor, page.getbuffer(), 0)


def _page(found: Audit, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8.5), layout="constrained")
    count = len(found.flags)
    # A $ would begin a formula.
    text = f"{title}: {len(found.tensors)} tensors, {count} flag{'s' if count != 1 else ''}".replace("$", r"\$")
    figure.suptitle("".join(each if each.isprintable() else "?" for each in text), fontsize=11)
    axes = figure.subplots(2, 2)
    shown = [each for each in found.tensors if each.std and math.isfinite(each.std) and "float" in each.dtype]
    flagged = {flag.tensor for flag in found.flags}
    _by_depth(axes[0, 0], shown, flagged, "std", "standard deviation by depth")
    _by_kind(axes[0, 1], shown, flagged)
    _against_laws(axes[1, 0], shown, flagged)
    ranked = [each for each in shown if each.stable_rank is not None]
    _by_depth(axes[1, 1], ranked, flagged, "stable_rank", "stable rank by depth (of a sample of 512 x 512)")
    return figure


def _kind(name: str) -> str:
    """What tensors are called that differ in numbers alone, as text that draws as it is."""
    text = "#".join(numbered(name)[0]).replace("$", r"\$")
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= 44 else f"...{text[-41:]}"


def _kinds(tensors: Sequence[TensorAudit]) -> dict[str, list[TensorAudit]]:
    kinds: dict[str, list[TensorAudit]] = {}
    for each in tensors:
        kinds.setdefault(_kind(each.name), []).append(each)
    return kinds


def _by_depth(axis: Any, tensors: Sequence[TensorAudit], flagged: set[str], what: str, title: str) -> None:
    """A line for each kind of matrix that stands in several layers; the first number of a name is its depth."""
    kinds = {
        kind: [each for each in members if numbered(each.name)[1]]
        for kind, members in _kinds([each for each in tensors if len(each.shape) > 1]).items()
    }
    largest = sorted((kind for kind in kinds if len(kinds[kind]) > 1), key=lambda kind: -len(kinds[kind]))[:_MOST]
    for kind in (kind for kind in kinds if kind in largest):
        points = sorted((numbered(each.name)[1], getattr(each, what), each.name) for each in kinds[kind])
        axis.plot([numbers[0] for numbers, _, _ in points], [value for _, value, _ in points], ".-", lw=1, label=kind)
        off = [(numbers[0], value) for numbers, value, name in points if name in flagged]
        axis.plot([x for x, _ in off], [y for _, y in off], "o", ms=9, mfc="none", mec=_RED)
    _finish(axis, title, "first number of the name", len(largest))


def _by_kind(axis: Any, tensors: Sequence[TensorAudit], flagged: set[str]) -> None:
    """All standard deviations, a row for each kind."""
    kinds = sorted(_kinds(tensors).items(), key=lambda item: -sum(each.elements for each in item[1]))[:_LISTED][::-1]
    for row, (_, members) in enumerate(kinds):
        axis.plot([each.std for each in members], [row] * len(members), "|", color="#1f5f99", ms=9)
        off = [each.std for each in members if each.name in flagged]
        axis.plot(off, [row] * len(off), "o", ms=9, mfc="none", mec=_RED)
    axis.set_yticks(range(len(kinds)), [kind for kind, _ in kinds], fontsize=6)
    axis.grid(axis="y", color=_GREY, lw=0.3)
    if kinds:
        axis.set_xscale("log")
    axis.tick_params(axis="x", which="both", labelsize=7)
    axis.set_title("standard deviation by kind of tensor, largest first", fontsize=9)


def _against_laws(axis: Any, tensors: Sequence[TensorAudit], flagged: set[str]) -> None:
    """Standard deviations of matrices against those that He's law gives their fans, with lines for the others."""
    matrices = [each for each in tensors if each.laws]
    pairs = [((each.laws or {})["he"], each.std, each.name) for each in matrices]
    axis.plot([he for he, _, _ in pairs], [std for _, std, _ in pairs], ".", color="#1f5f99", ms=5)
    off = [(he, std) for he, std, name in pairs if name in flagged]
    axis.plot([he for he, _ in off], [std for _, std in off], "o", ms=9, mfc="none", mec=_RED)
    if pairs:
        ends = [min(he for he, _, _ in pairs) / 1.2, max(he for he, _, _ in pairs) * 1.2]
        axis.plot(ends, ends, "-", color="0.3", lw=0.8, label="he")
        axis.plot(ends, [end / math.sqrt(2) for end in ends], "--", color="0.3", lw=0.8, label="lecun")
        axis.plot(ends, [0.02, 0.02], ":", color="0.3", lw=0.8, label="normal(0.02)")
    _finish(axis, "standard deviation of matrices, against He's for their fans", "sqrt(2 / fan_in)", len(pairs))
    if pairs:
        axis.set_xscale("log")


def _finish(axis: Any, title: str, label: str, lines: int) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(label, fontsize=8)
    axis.tick_params(which="both", labelsize=7)
    if lines:
        axis.set_yscale("log")
        axis.legend(fontsize=6, frameon=False)
