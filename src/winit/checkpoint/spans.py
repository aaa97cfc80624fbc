"""The tensors of a plan as spans: elements lo..hi of each, drawn by whoever writes or verifies them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from winit._core.dtypes import element_dtype
from winit._core.keys import stream_key
from winit._core.running import run_bounds
from winit._core.whole import WholeTensor
from winit._files.storing import SPAN, MadeOnce
from winit._plans.param import Param
from winit._plans.plan import Plan

__all__ = ["DrawnSpan", "made_once", "spans_between", "spans_of"]


def _whole(param: Param, key: tuple[int, int], threads: int | None) -> np.ndarray:
    """Draw a tensor that is made at once; returns its elements in order."""
    values = np.empty(param.size, element_dtype(param.dtype))
    run_bounds([param.bind(values.reshape(param.shape), key)], threads)
    return values


@dataclass(frozen=True)
class DrawnSpan:
    """Elements lo..hi of a tensor that is drawn, and their place in the file."""

    name: str
    param: Param
    key: tuple[int, int]
    lo: int
    hi: int
    place: int
    made: MadeOnce | None

    def draw(self, buffer: Any) -> memoryview:
        """Draw elements lo..hi into a byte buffer; returns the bytes."""
        param = self.param
        size = (self.hi - self.lo) * param.itemsize
        out = buffer[:size].view(element_dtype(param.dtype))
        if self.made is not None:
            with self.made as values:
                out[...] = values[self.lo : self.hi]
            return memoryview(buffer)[:size]
        if param.shape == ():
            bound = param.bind(out.reshape(()), self.key)
        else:
            bound = param.bind(out, self.key, range(self.lo, self.hi))
        bound.run(0, bound.size)
        return memoryview(buffer)[:size]

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        """Draw the span: it is one piece."""
        yield self.place, self.draw(buffer)


def made_once(param: Param, key: tuple[int, int], spans: int, threads: int | None) -> MadeOnce | None:
    """Share a tensor that is made at once between its spans; None for one whose elements are drawn where wanted."""
    return MadeOnce(partial(_whole, param, key, threads), spans) if isinstance(param.law(), WholeTensor) else None


def spans_of(plan: Plan, seed: int, places: Mapping[str, int], threads: int | None) -> Iterator[DrawnSpan]:
    """Cut the tensors of a plan into spans, at the places given."""
    for name, place in places.items():
        yield from spans_between(plan, seed, name, 0, plan[name].size, place, threads)


def spans_between(
    plan: Plan, seed: int, name: str, lo: int, hi: int, place: int, threads: int | None
) -> Iterator[DrawnSpan]:
    """Cut elements lo..hi of a tensor into spans; the first is at the place given."""
    param = plan[name]
    key = stream_key(seed, plan.key(name))
    step = SPAN // param.itemsize
    made = made_once(param, key, -(-(hi - lo) // step), threads)
    for begin in range(lo, hi, step):
        yield DrawnSpan(name, param, key, begin, min(begin + step, hi), place + (begin - lo) * param.itemsize, made)
