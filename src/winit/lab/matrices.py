"""How many units of each matrix differ in their incoming weights: of a plan, a torch module or a file of tensors."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any

import numpy as np

from winit._core.laws import Constant
from winit._core.layouts import Layout, roles
from winit._files.collecting import collect
from winit._files.entries import open_files
from winit._files.reader import reader_of
from winit._plans.plan import Plan
from winit.checkpoint.statistics import Stored
from winit.lab.tables import Table

__all__ = ["distinct", "incoming"]

_DIGESTED = 64  # bytes of a row, from which on a set keeps 32 bytes of it and not the row


def distinct(units: np.ndarray) -> int:
    """Count rows that differ in a bit.

    >>> import numpy as np
    >>> distinct(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]))
    2
    """
    rows = np.ascontiguousarray(units)
    if not rows.shape[1]:
        return min(len(rows), 1)
    if rows[0].nbytes < _DIGESTED:
        return len({row.tobytes() for row in rows})
    return len({blake2b(row.data, digest_size=32).digest() for row in rows.view(np.uint8)})


def incoming(subject: Any, seed: int) -> Table:
    """Return name, units and distinct of each floating-point tensor of two or more axes; see winit.lab.symmetry."""
    if isinstance(subject, Plan):
        found = _of_plan(subject, seed)
    elif isinstance(subject, (str, os.PathLike)):
        found = _of_file(subject)
    else:
        found = _of_module(subject)
    rows = list(found)
    return Table({column: [row[at] for row in rows] for at, column in enumerate(("name", "units", "distinct"))})


def _by_unit(values: np.ndarray, layout: Layout) -> np.ndarray:
    """A tensor as a matrix of one row a unit: an index along its out and batch axes."""
    _, _, outs, batch = roles(values.shape, layout)
    first = sorted(outs | batch)
    rest = [axis for axis in range(values.ndim) if axis not in first]
    return values.transpose(*first, *rest).reshape(_units(values.shape, layout), -1 if values.size else 0)


def _of_plan(plan: Plan, seed: int) -> Iterator[tuple[str, int, int]]:
    for name, param in plan.stored.items():
        if len(param.shape) < 2 or "float" not in param.dtype:
            continue
        if isinstance(param.law(), Constant):
            units = _units(param.shape, param.layout)
            yield name, units, min(units, 1)
        else:
            rows = _by_unit(plan.draw(name, seed=seed), param.layout)
            yield name, len(rows), distinct(rows)


def _units(shape: tuple[int, ...], layout: Layout) -> int:
    _, _, outs, batch = roles(shape, layout)
    return math.prod(shape[axis] for axis in outs | batch)


def _of_file(path: str | os.PathLike[str]) -> Iterator[tuple[str, int, int]]:
    entries = collect(path).entries
    with ExitStack() as stack:
        descriptors = open_files(stack, entries.values())
        for name, entry in entries.items():
            stored = Stored(entry)
            if len(entry.shape) < 2 or not stored.is_float:
                continue
            raw = np.empty(entry.nbytes, np.uint8)
            reader_of(descriptors[entry.file], entry).read(raw, 0)
            values = raw.view(stored.kind).reshape(entry.shape, order="F" if entry.fortran else "C")
            rows = _by_unit(values, "oi")
            yield name, len(rows), distinct(rows)


def _of_module(module: Any) -> Iterator[tuple[str, int, int]]:
    import torch

    turned = {
        f"{name}.weight".lstrip(".")
        for name, part in module.named_modules()
        if isinstance(part, torch.nn.modules.conv._ConvTransposeNd)
    }
    for name, tensor in module.state_dict().items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            continue
        if tensor.is_meta:
            raise ValueError(f"{name} is on the meta device: it has no values to compare")
        held = tensor.detach()
        held = held.transpose(0, 1) if name in turned else held
        rows = held.reshape(held.shape[0], -1 if held.numel() else 0).cpu().contiguous()
        yield name, len(rows), distinct(rows.view(torch.uint8).numpy())
