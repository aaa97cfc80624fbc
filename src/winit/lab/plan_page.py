"""The report on a plan: what its laws say of every tensor, without drawing any, as data and as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from winit._core.layouts import fans
from winit._plans.folding import fold_alike
from winit._plans.param import Param
from winit._plans.plan import Plan
from winit.checkpoint.findings import usual_stds
from winit.checkpoint.flags import drawn
from winit.lab.page_writing import Ids, grid, items, note, paragraph, section, table
from winit.lab.svg import Chart, dots, number

__all__ = ["gather", "sections"]

FAR = 3.0  # times a rule's std, or a third of it: further from every rule than that is worth a warning
PICTURED = 40  # rows of a picture
_WIDEST = 100  # characters of a scheme: one of literal values may have millions


def gather(plan: Plan) -> dict[str, Any]:
    """Return a row for each tensor, or for all that differ only in the numbers of their names."""
    kinds = [
        (name, (param.shape, param.dtype, str(param.layout), repr(param.scheme), param.tied))
        for name, param in plan.items()
    ]
    rows = [_row(folded, plan[names[0]], len(names)) for folded, names in fold_alike(kinds)]
    return {
        "parameters": plan.parameters,
        "bytes": plan.nbytes,
        "tensors": len(plan.stored),
        "digest": plan.digest,
        "rows": rows,
        "warnings": [{"name": row["name"], "warning": each} for row in rows for each in row["warnings"]],
    }


def _row(name: str, param: Param, count: int) -> dict[str, Any]:
    scheme = repr(param.scheme) if param.tied is None else f"tied to {param.tied}"
    row: dict[str, Any] = {
        "name": name,
        "tensors": count,
        "shape": list(param.shape),
        "dtype": param.dtype,
        "layout": str(param.layout),
        "scheme": scheme if len(scheme) <= _WIDEST else f"{scheme[: _WIDEST - 3]}...",
        "fan_in": None,
        "fan_out": None,
        "mean": None,
        "std": None,
        "gain": None,
        "rule": None,
        "rule_ratio": None,
        "parameters": param.size * count if param.tied is None else 0,
        "warnings": [],
    }
    if param.scheme is None:
        return row
    moments = param.scheme.moments(param.shape, param.layout)
    row |= {"mean": moments.mean, "std": moments.std}
    if len(param.shape) < 2 or "float" not in param.dtype:
        return row
    fan_in, fan_out = fans(param.shape, param.layout)
    out = fan_out if isinstance(fan_out, int) else list(fan_out)
    row |= {"fan_in": fan_in, "fan_out": out, "gain": fan_in * (moments.std**2 + moments.mean**2)}
    law = param.law()
    if moments.std == 0 and param.size > 1:
        row["warnings"].append(
            "constant: units that start equal stay equal, unless what surrounds this matrix tells them apart (as at "
            "the end of a residual branch)"
        )
    elif moments.mean == 0 and moments.std > 0 and drawn(law):
        row |= _nearest(param, moments.std, count)
        if not 1 / FAR <= row["rule_ratio"] <= FAR:
            row["warnings"].append(
                f"std {number(moments.std)} is more than {FAR:g} times away from every known rule: "
                f"{number(row['rule_ratio'])} times {row['rule']}, the nearest"
            )
    return row


def _nearest(param: Param, std: float, count: int) -> dict[str, Any]:
    """The usual rule whose std is nearest, and the ratio to it."""
    rules = dict(usual_stds(param.shape, param.layout) or {})
    _, fan_out = fans(param.shape, param.layout)
    out = fan_out if isinstance(fan_out, int) else sum(fan_out) / len(fan_out)
    if out:
        rules["he of fan_out"] = math.sqrt(2 / out)
    if count > 1:  # GPT-2's: residual branches, two a layer, by the square root of their number
        for name in ("normal(0.02)", "lecun"):
            if name in rules:
                rules[f"{name} / sqrt(2 x {count})"] = rules[name] / math.sqrt(2 * count)
    rule = min(rules, key=lambda name: abs(math.log(std / rules[name])), default=None)
    return {"rule": rule, "rule_ratio": std / rules[rule] if rule else 1.0}


def sections(data: Mapping[str, Any], subject: str) -> tuple[str, str, list[str]]:
    """Return the page's title, what it is about, and its sections."""
    ids = Ids()
    rows = data["rows"]
    lede = (
        f"{data['tensors']:,} tensors, {data['parameters']:,} parameters, {data['bytes']:,} bytes. What follows is "
        "computed from the laws: nothing was drawn."
    )
    parts = [_warnings(ids, data), _pictures(ids, rows), _tensors(ids, data)]
    return f"The plan {subject}", lede, parts


def _warnings(ids: Ids, data: Mapping[str, Any]) -> str:
    found = data["warnings"]
    matrices = [row for row in data["rows"] if row["rule"]]
    parts = []
    if not found:
        parts.append(paragraph("No warnings: no matrix is a constant, and every std is near that of a known rule."))
    else:
        count = len({each["name"] for each in found})
        parts.append(paragraph(f"{count} row{'s' if count != 1 else ''} of tensors to look at:"))
        parts.append(table(ids, "Warnings.", ["tensors", "warning"], [list(each.values()) for each in found],
                           wide=["warning"], most=None))  # fmt: skip
    if matrices:
        rules = sorted({row["rule"] for row in matrices})
        parts.append(items([_follows(rule, matrices) for rule in rules]))
    return section("Warnings", parts)


def _follows(rule: str, matrices: Sequence[Mapping[str, Any]]) -> str:
    own = [row for row in matrices if row["rule"] == rule]
    parameters, every = sum(row["parameters"] for row in own), sum(row["parameters"] for row in matrices)
    ratios = [row["rule_ratio"] for row in own]
    ends = number(min(ratios)), number(max(ratios))
    times = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    share = parameters / every if every else 0.0
    return f"{share:.1%} of the matrices' parameters have a std of {times} times that of {rule}."


def _pictures(ids: Ids, rows: Sequence[Mapping[str, Any]]) -> str:
    matrices = [row for row in rows if row["gain"] and row["std"]]
    if not matrices:
        return section("Standard deviations", [paragraph("The plan has no random matrices.")])
    chart = Chart(
        "Std against fan_in",
        f"{len(matrices)} rows of matrices, with the lines of He's and LeCun's laws and of normal(0.02).",
        "fan_in", "std", log_x=True, log_y=True, height=280,
    )  # fmt: skip
    ends = [min(row["fan_in"] for row in matrices) / 1.5, max(row["fan_in"] for row in matrices) * 1.5]
    lines = {"He": [math.sqrt(2 / end) for end in ends], "LeCun": [math.sqrt(1 / end) for end in ends]}
    for style, (name, ys) in enumerate({**lines, "0.02": [0.02, 0.02]}.items(), 1):
        chart.line(name, ends, ys, style, dashed=True, labelled=True)
    says = [f"{row['name']}: std {number(row['std'])}, fan_in {row['fan_in']:,}" for row in matrices]
    chart.line("", [row["fan_in"] for row in matrices], [row["std"] for row in matrices], 0, joined=False, says=says)
    largest = sorted(matrices, key=lambda row: -row["parameters"])[:PICTURED]
    kept = {id(row) for row in largest}
    points = [
        (row["name"], [(row["gain"], 5 if row["warnings"] else 0, _gained(row))])
        for row in matrices if id(row) in kept
    ]  # fmt: skip
    left = len(matrices) - len(points)
    gains = dots(
        ids.next("chart"), "Expected gain of variance",
        "A row for each kind of matrix: fan_in times the variance of a weight. A cross where there is a warning.",
        points, "fan_in x (std² + mean²)", log=True, lines=[(1.0, "1"), (2.0, "2")], ends=(0.1, 10.0),
    )  # fmt: skip
    parts = [
        note(
            "Gain of variance: what a layer multiplies the mean square of its inputs with, before the activation. relu "
            "halves it, so that 2, He's, keeps a signal's size there; 1, LeCun's, does where there is no activation."
        ),
        *([note(f"{left} smaller rows of matrices are in the table and not in the picture of gains.")] if left else []),
        grid([chart.render(ids.next("chart")), gains]),
    ]
    return section("Standard deviations and gains", parts)


def _gained(row: Mapping[str, Any]) -> str:
    return f"{row['name']}: gain {number(row['gain'])}, std {number(row['std'])}, fan_in {row['fan_in']:,}"


def _tensors(ids: Ids, data: Mapping[str, Any]) -> str:
    names = ["tensors", "count", "shape", "dtype", "layout", "law", "fan_in", "fan_out", "std", "gain", "nearest rule"]
    names += ["parameters", "warnings"]
    cells = []
    for row in data["rows"]:
        rule = f"{row['rule']} x {number(row['rule_ratio'])}" if row["rule"] else ""
        out = row["fan_out"]
        cells.append([
            row["name"], row["tensors"], "x".join(map(str, row["shape"])) or "scalar", row["dtype"], row["layout"],
            row["scheme"], _or_none(row["fan_in"]), "+".join(map(str, out)) if isinstance(out, list) else _or_none(out),
            _or_none(row["std"]), _or_none(row["gain"]), rule, row["parameters"], len(row["warnings"]) or "",
        ])  # fmt: skip
    caption = (
        "Every tensor; those that differ only in the numbers of their names share a row. gain: fan_in x (std² + mean²)."
    )
    parts = [table(ids, caption, names, cells, most=2000), note(f"Digest: {data['digest']}")]
    return section("Tensors", parts)


def _or_none(value: Any) -> Any:
    return "" if value is None else value
