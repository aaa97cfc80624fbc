"""The report on a checkpoint: an audit's findings as a page, with histograms of values against the laws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from winit._plans.folding import fold_alike
from winit.checkpoint.findings import Audit
from winit.lab.page_writing import Ids, grid, note, paragraph, section, table
from winit.lab.svg import Bar, Chart, Row, dots, number, ridges

__all__ = ["gather", "sections"]

PICTURED = 40  # rows, and histograms
FLAT = 2.2  # kurtosis of a sample below which a uniform law is drawn beside it: 1.8 is a uniform's, 3 a normal's
_SAMPLE = 65_536  # elements of a tensor from which the audit takes quantiles and histograms


def gather(found: Audit) -> dict[str, Any]:
    """Return the audit's findings, and how its tensors are folded."""
    flags: dict[str, list[str]] = {}
    for flag in found.flags:
        flags.setdefault(flag.tensor, []).append(flag.flag)
    kinds = [(each.name, (each.shape, each.dtype, tuple(flags.get(each.name, ())))) for each in found.tensors]
    groups = [{"name": folded, "tensors": names} for folded, names in fold_alike(kinds)]
    return {"bytes": found.bytes, **found.to_dict(), "groups": groups}


def sections(data: Mapping[str, Any], subject: str) -> tuple[str, str, list[str]]:
    """Return the page's title, what it is about, and its sections."""
    ids = Ids()
    elements = sum(each["elements"] for each in data["tensors"])
    lede = f"{len(data['tensors']):,} tensors, {elements:,} elements, {data['bytes']:,} bytes, every one of them read."
    tensors = {each["name"]: each for each in data["tensors"]}
    flagged = {flag["tensor"] for flag in data["flags"]}
    groups = [(group["name"], [tensors[name] for name in group["tensors"]]) for group in data["groups"]]
    parts = [
        _flags(ids, data),
        _stds(ids, groups, flagged),
        _histograms(ids, groups, flagged),
        _tensors(ids, groups, data["flags"]),
    ]
    return f"The checkpoint {subject}", lede, parts


_Groups = Sequence[tuple[str, Sequence[Mapping[str, Any]]]]


def _flags(ids: Ids, data: Mapping[str, Any]) -> str:
    parts = []
    if data["flags"]:
        count = len({flag["tensor"] for flag in data["flags"]})
        parts.append(paragraph(f"{count} tensor{'s are' if count != 1 else ' is'} flagged."))
        rows = [[flag["tensor"], flag["flag"], flag["why"]] for flag in data["flags"]]
        parts.append(table(ids, "Flags.", ["tensor", "flag", "why"], rows, wide=["why"], most=500))
    else:
        parts.append(paragraph("No tensor is flagged: no rule of the audit finds anything wrong."))
    parts += [note(f"Note: {each}.") for each in data["notes"]]
    return section("Flags", parts)


def _known(groups: _Groups) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The floating-point tensors whose std is known and not 0."""
    kept = [(name, [each for each in members if each["std"] and "float" in each["dtype"]]) for name, members in groups]
    return [(name, members) for name, members in kept if members]


def _stds(ids: Ids, groups: _Groups, flagged: set[str]) -> str:
    known = _known(groups)
    if not known:
        return section("Standard deviations", [paragraph("No floating-point tensor has a std other than 0.")])
    size = sorted(known, key=lambda group: -sum(each["elements"] for each in group[1]))[:PICTURED]
    kept = {name for name, _ in size}
    points = [
        (name, [(each["std"], 5 if each["name"] in flagged else 0, f"{each['name']}: std {number(each['std'])}")
                for each in members])
        for name, members in known if name in kept
    ]  # fmt: skip
    charts = [
        dots(ids.next("chart"), "Std by kind of tensor", "A row for each kind; a cross where a tensor is flagged.",
             points, "std", log=True)
    ]  # fmt: skip
    matrices = [each for _, members in known for each in members if each["laws"]]
    if matrices:
        chart = Chart(
            "Std of matrices against He's for their fans",
            f"{len(matrices)} matrices, with lines where a std is He's, LeCun's or 0.02.",
            "He's std, √(2 / fan_in)", "std", log_x=True, log_y=True, height=280,
        )  # fmt: skip
        he = [each["laws"]["he"] for each in matrices]
        ends = [min(he) / 1.2, max(he) * 1.2]
        lines = {"He": ends, "LeCun": [end / math.sqrt(2) for end in ends], "0.02": [0.02, 0.02]}
        for style, (name, ys) in enumerate(lines.items()):
            chart.line(name, ends, ys, style + 1, dashed=True, labelled=True)
        for style, off in ((0, False), (5, True)):
            own = [each for each in matrices if (each["name"] in flagged) == off]
            says = [f"{each['name']}: std {number(each['std'])}, He's {number(each['laws']['he'])}" for each in own]
            chart.line("", [each["laws"]["he"] for each in own], [each["std"] for each in own], style, joined=False,
                       says=says)  # fmt: skip
        charts.insert(0, chart.render(ids.next("chart")))
    left = len(known) - len(points)
    parts = [note(f"{left} smaller kinds of tensors are in the table alone.")] if left else []
    return section("Standard deviations", [note("A cross marks what is flagged."), *parts, grid(charts)])


def _law(each: Mapping[str, Any]) -> tuple[str, float, bool] | None:
    """The law that is drawn beside a histogram: its name, std, and whether it is uniform."""
    flat = each["kurtosis"] is not None and each["kurtosis"] < FLAT
    if each["planned_std"]:
        return "the plan's std", each["planned_std"], flat
    if not each["laws"] or not each["std"]:
        return None
    name = min(each["laws"], key=lambda law: abs(math.log(each["std"] / each["laws"][law])))
    return name, each["laws"][name], flat


def _histograms(ids: Ids, groups: _Groups, flagged: set[str]) -> str:
    chosen = [
        each
        for name, members in _known(groups)
        for at, each in enumerate(members)
        if each["histogram"] and (at == 0 or each["name"] in flagged)
    ]
    every = sum(bool(each["histogram"]) for _, members in groups for each in members)
    shown = sorted(chosen, key=lambda each: (each["name"] not in flagged, -each["elements"]))[:PICTURED]
    if not shown:
        return section("Histograms", [paragraph("There is no tensor whose values could be put into a histogram.")])
    sampled = sum(each["elements"] > _SAMPLE for each in shown)
    said = [
        f"{len(shown)} of {every:,} histograms: those of flagged tensors, and of the first of each kind, the largest "
        f"first. Bars: values within four stds of the mean. Dashed: the law whose std is nearest, of He, Xavier, LeCun "
        f"and normal(0.02), or the plan's; a uniform one where the sample's kurtosis is below {FLAT}.",
    ]
    if sampled:
        said.append(
            f"Of tensors of more than {_SAMPLE:,} elements ({sampled} of these) a histogram is of a sample: one "
            f"element of each of {_SAMPLE:,} equal stretches."
        )
    return section("Histograms of values against a law", [*map(note, said), grid([_one(ids, each) for each in shown])])


def _one(ids: Ids, each: Mapping[str, Any]) -> str:
    found = each["histogram"]
    total = sum(found["counts"]) + found["below"] + found["above"]
    width = (found["high"] - found["low"]) / len(found["counts"])
    bars = []
    for at, count in enumerate(found["counts"]):
        low = found["low"] + at * width
        if count:
            says = f"{count / total:.2%} of values between {number(low)} and {number(low + width)}"
            bars.append(Bar(low, low + width, count / total, says))
    law = _law(each)
    curve: list[tuple[float, float]] = []
    text = (
        f"Std {number(each['std'])}, mean {number(each['mean'])}, from {number(each['min'])} to {number(each['max'])}."
    )
    label = f"std {number(each['std'])}"
    if law is not None:
        name, std, flat = law
        label = f"std {number(each['std'])}; dashed: {'uniform, ' if flat else ''}{name} {number(std)}"
        text += f" {name} has {number(std)}."
        curve = _density(found["low"], found["high"], std, flat, width)
    beyond = found["below"] + found["above"]
    if beyond:
        text += f" {beyond / total:.2%} of the sample lies beyond the picture."
    return ridges(ids.next("chart"), each["name"], text, [Row("", bars)], label, 0, log=False, curve=curve, each=90)


def _density(low: float, high: float, std: float, flat: bool, width: float) -> list[tuple[float, float]]:
    """The law's share in a bin of the histogram's width, from one end of it to the other."""
    if flat:
        edge = math.sqrt(3) * std
        inside = max(low, -edge), min(high, edge)
        return [] if inside[0] >= inside[1] else [
            (inside[0], 0.0), (inside[0], width / (2 * edge)), (inside[1], width / (2 * edge)), (inside[1], 0.0)
        ]  # fmt: skip
    places = [low + (high - low) * at / 96 for at in range(97)]
    return [(x, width * math.exp(-(x * x) / (2 * std * std)) / (std * math.sqrt(2 * math.pi))) for x in places]


def _tensors(ids: Ids, groups: _Groups, flags: Sequence[Mapping[str, Any]]) -> str:
    own: dict[str, list[str]] = {}
    for flag in flags:
        own.setdefault(flag["tensor"], []).append(flag["flag"])
    rows = []
    for name, members in groups:
        first = members[0]
        ranges = [_range([each[what] for each in members]) for what in ("mean", "std", "min", "max")]
        zeros = _range([each["zeros"] / each["elements"] if each["elements"] else None for each in members])
        rank = _range([each["stable_rank"] for each in members])
        shape = "x".join(map(str, first["shape"])) or "scalar"
        rows.append(
            [name, len(members), shape, first["dtype"], *ranges, zeros, rank, " ".join(own.get(first["name"], ()))]
        )
    names = ["tensors", "count", "shape", "dtype", "mean", "std", "min", "max", "zeros", "stable rank", "flags"]
    caption = "Every tensor; those whose names differ only in numbers share a row, and a..b are the least and the most."
    return section("Tensors", [table(ids, caption, names, rows, most=2000)])


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    least, most = number(min(known)), number(max(known))
    return least if least == most else f"{least}..{most}"
