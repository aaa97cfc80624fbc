"""The tensors of a plan as spans: elements lo..hi of each, drawn by whoever writes or verifies them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from winit._core.dtypes import element_dtype
from winit._core.keys import stream_key
from winit._core.running import run_bounds
from winit._core.whole import WholeTensor
from winit._files.storing import SPAN
from winit._plans.param import Param
from winit._plans.plan import Plan

__all__ = ["DrawnSpan", "spans_of"]


class _MadeOnce:
    """A tensor that is made at once: by the first of its spans that is drawn, and kept until the last is."""

    def __init__(self, param: Param, key: tuple[int, int], spans: int, threads: int | None) -> None:
        self.param, self.key, self.left, self.threads = param, key, spans, threads
        self.values: np.ndarray | None = None
        self.lock = threading.Lock()

    def elements(self, lo: int, hi: int) -> np.ndarray:
        """Give elements lo..hi."""
        param = self.param
        with self.lock:  # the others wait: making it takes all threads
            if self.values is None:
                self.values = np.empty(param.size, element_dtype(param.dtype))
                run_bounds([param.bind(self.values.reshape(param.shape), self.key)], self.threads)
            found = self.values[lo:hi]
            self.left -= 1
            if self.left == 0:
                self.values = None
        return found


@dataclass(frozen=True)
class DrawnSpan:
    """Elements lo..hi of a tensor that is drawn, and their place in the file."""

    name: str
    param: Param
    key: tuple[int, int]
    lo: int
    hi: int
    place: int
    made: _MadeOnce | None

    def draw(self, buffer: Any) -> memoryview:
        """Draw elements lo..hi into a byte buffer; returns the bytes."""
        param = self.param
        size = (self.hi - self.lo) * param.itemsize
        out = buffer[:size].view(element_dtype(param.dtype))
        if self.made is not None:
            out[...] = self.made.elements(self.lo, self.hi)
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


def spans_of(plan: Plan, seed: int, places: Mapping[str, int], threads: int | None) -> Iterator[DrawnSpan]:
    """Cut the tensors of a plan into spans, at the places given."""
    for name, place in places.items():
        param = plan[name]
        key = stream_key(seed, plan.key(name))
        step = SPAN // param.itemsize
        made = None
        if isinstance(param.law(), WholeTensor):
            made = _MadeOnce(param, key, -(-param.size // step), threads)
        for lo in range(0, param.size, step):
            hi = min(lo + step, param.size)
            yield DrawnSpan(name, param, key, lo, hi, place + lo * param.itemsize, made)
