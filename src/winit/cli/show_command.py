"""winit show: print a plan as a table."""

from __future__ import annotations

import argparse

from winit.cli.plans import plan_of
from winit.cli.tables import print_table

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    plan = plan_of(arguments)
    rows = [("name", "shape", "dtype", "scheme", "std", "parameters")]
    for name, param in plan.items():
        shape = "x".join(map(str, param.shape)) or "scalar"
        if param.scheme is None:
            rows.append((name, shape, param.dtype, f"tied to {param.tied}", "", ""))
            continue
        std = param.scheme.moments(param.shape, param.layout).std
        rows.append((name, shape, param.dtype, repr(param.scheme), f"{std:.6g}", f"{param.size:,}"))
    rows.append((f"total: {len(plan.stored)} tensors", "", "", f"{plan.nbytes:,} bytes", "", f"{plan.parameters:,}"))
    print_table(rows, left=4)
    return 0
