"""winit show: print a plan as a table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from winit._plans.folding import fold_alike
from winit.cli.options import add_plan
from winit.cli.plans import plan_of
from winit.cli.tables import aligned
from winit.cli.terminal import say

if TYPE_CHECKING:
    from winit import Param, Plan

__all__ = ["HELP", "add", "run"]

HELP = "print a plan as a table"
_WIDEST = 100  # characters of a scheme: one of literal values may have millions


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_plan(parser)
    parser.add_argument(
        "--all", action="store_true", help="a row for every tensor, also where names differ only in numbers"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table, what it adds up to, and the plan's digest."""
    plan = plan_of(arguments)
    header, *rows = _rows(plan, every=arguments.all)
    total = dict.fromkeys(header, "") | {
        "name": f"total: {len(plan.stored)} tensors",
        "scheme": f"{plan.nbytes:,} bytes",
        "parameters": f"{plan.parameters:,}",
    }
    right = [header.index("std"), header.index("parameters")]
    for line in aligned([header, *rows, [total[column] for column in header]], right):
        say(line)
    say(f"digest: {plan.digest}")
    return 0


def _rows(plan: Plan, every: bool) -> list[list[str]]:
    """The header, and a row for each tensor or for all that differ only in the numbers of their names."""
    header = ["name", "tensors", "shape", "dtype", "layout", "scheme", "std", "parameters"]
    kinds = [
        (name, (param.shape, param.dtype, str(param.layout), repr(param.scheme), param.tied))
        for name, param in plan.items()
    ]
    table = [header]
    for folded, names in fold_alike(kinds, every):
        param = plan[names[0]]
        count = f"x{len(names)}" if len(names) > 1 else ""
        size = f"{param.size * len(names):,}" if param.tied is None else ""
        table.append([folded, count, *_cells(param), size])
    unneeded = {
        1: all(not row[1] for row in table[1:]),
        4: all(row[4] == "oi" for row in table[1:]),
    }
    return [[cell for column, cell in enumerate(row) if not unneeded.get(column)] for row in table]


def _cells(param: Param) -> list[str]:
    """Shape, dtype, layout, scheme and standard deviation."""
    shape = "x".join(map(str, param.shape)) or "scalar"
    if param.scheme is None:
        return [shape, param.dtype, str(param.layout), f"tied to {param.tied}", ""]
    scheme = repr(param.scheme)
    if len(scheme) > _WIDEST:
        scheme = scheme[: _WIDEST - 3] + "..."
    std = param.scheme.moments(param.shape, param.layout).std
    return [shape, param.dtype, str(param.layout), scheme, f"{std:.6g}"]
