"""Sparse connections in NumPy (scattered.h, sparse.c).

a) normals_at   values of a normal tensor at any elements
b) pick         inputs of units, by Floyd's method
c) Sparse       connections bound to a destination: run for a range of it, rows for units
"""

from __future__ import annotations

from typing import Any

import numpy as np

from winit._kernels import DTYPES, LAWS, default_float_mode
from winit._kernels.numpy_halves import ROUND
from winit._kernels.numpy_sampling import values
from winit._kernels.numpy_words import TAG_POSITIONS, word_at

__all__ = ["Sparse", "normals_at", "pick"]

F32, F64, U64 = np.float32, np.float64, np.uint64

# ---- a) normals_at


def normals_at(key: tuple[int, int], flat: np.ndarray, params: tuple[float, ...], wide: bool) -> np.ndarray:
    """Mean + std z of a normal tensor at any elements, before rounding to a narrower type."""
    return values(LAWS.index("normal"), key, params, flat.astype(U64), F64 if wide else F32)


# ---- b) pick


def pick(key: tuple[int, int], unit: np.ndarray, inputs: int, keep: int) -> np.ndarray:
    """The inputs of some units, (keep, units), in the order in which Floyd's method finds them: one word each."""
    found = np.full((keep, unit.size), -1, np.int64)
    for i in range(keep):
        j = inputs - keep + i
        word = word_at(key, TAG_POSITIONS, unit.astype(U64) * U64(keep) + U64(i)).astype(U64)
        t = (word * U64(j + 1) >> U64(32)).astype(np.int64)
        found[i] = np.where((found[:i] == t).any(0), j, t)
    return found


# ---- c) Sparse


class Sparse:
    """Sparse connections of one stream, bound to one destination; see winit._kernels.sample.Sparse."""

    def __init__(
        self,
        isa: str,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        shape: tuple[int, ...],
        units: tuple[bool, ...],
        keep: int,
        dest: np.ndarray | None = None,
        begin: tuple[int, ...] | int | None = None,
        scale: float | None = None,
    ) -> None:
        self.dtype, self.key, self.params, self.shape, self.keep = dtype, key, params, shape, keep
        self.axes = [[axis for axis, unit in enumerate(units) if unit == kind] for kind in (True, False)]
        self.extents = [tuple(shape[axis] for axis in axes) for axes in self.axes]
        self.dest, self.begin, self.scale = dest, begin, scale
        self.size = 0 if dest is None else dest.size
        self.by_units = not units or units[0]

    def reached(self, lo: int, hi: int) -> range:
        """The units that positions lo..hi may belong to: those of some indices of the first axis, or all."""
        assert self.dest is not None
        count, first, last = int(np.prod(self.extents[0], dtype=np.int64)), 0, 1
        if self.by_units and self.shape:
            if isinstance(self.begin, tuple):
                row = max(int(np.prod(self.dest.shape[1:], dtype=np.int64)), 1)
                first, last = self.begin[0] + lo // row, self.begin[0] + (hi - 1) // row + 1
            else:
                assert self.begin is not None
                row = int(np.prod(self.shape[1:], dtype=np.int64))
                first, last = (self.begin + lo) // row, (self.begin + hi - 1) // row + 1
            count //= self.shape[0]
        return range(first * count, last * count)

    def picks(self, unit: np.ndarray) -> np.ndarray:
        """The inputs of some units, (keep, units), as pick finds them."""
        return pick(self.key, unit, int(np.prod(self.extents[1], dtype=np.int64)), self.keep)

    def at(self, flat: np.ndarray) -> np.ndarray:
        """The values at flat indices, before they are rounded to the type."""
        return normals_at(self.key, flat, self.params, self.dtype == 1)

    def run(self, lo: int, hi: int) -> None:
        """Fill positions lo..hi of the destination: zeros, and the connections among them."""
        dest, to_half = self.dest, ROUND.get(DTYPES[self.dtype], (None, None))
        assert dest is not None
        if lo == hi:
            return
        with default_float_mode(), np.errstate(all="ignore"):
            if self.scale is None:
                dest[np.unravel_index(np.arange(lo, hi), dest.shape)] = 0
            unit = np.array(self.reached(lo, hi), np.int64)
            picks = self.picks(unit)
            where: list[Any] = [None] * len(self.shape)
            for axes, extents, index in zip(
                self.axes, self.extents, (np.broadcast_to(unit, picks.shape), picks), strict=True
            ):
                for axis, part in zip(axes, np.unravel_index(index.ravel(), extents) if extents else (), strict=True):
                    where[axis] = part
            flat, step = np.zeros(picks.size, U64), 1  # NumPy's ravel_multi_index refuses shapes of 2^60 elements
            for part, extent in zip(where[::-1], self.shape[::-1], strict=True):
                flat += part.astype(U64) * U64(step % (1 << 64))
                step *= extent
            if isinstance(self.begin, tuple):
                local = [part - first for part, first in zip(where, self.begin, strict=True)]
            else:
                local = [flat.astype(np.int64) - (self.begin or 0)]
            inside = np.ones(flat.shape, bool)
            for part, extent in zip(local, dest.shape, strict=True):
                inside &= (part >= 0) & (part < extent)
            local, flat = [part[inside] for part in local], flat[inside]
            position = np.ravel_multi_index(local, dest.shape)
            inside = (position >= lo) & (position < hi)
            place, value = tuple(part[inside] for part in local), self.at(flat[inside])
            if self.scale is not None:
                wide = dest[place] if to_half[1] is None else to_half[1](dest[place])
                value = wide + value.dtype.type(self.scale) * value
            dest[place] = value if to_half[0] is None else to_half[0](value)

    def rows(self, first: int, last: int, unit_step: int, input_step: int, inputs: np.ndarray, to: np.ndarray) -> None:
        """Write the inputs of units first..last, ascending, and the values there."""
        unit = np.arange(first, last)
        picks = np.sort(self.picks(unit), axis=0).T
        with default_float_mode():
            value = self.at((unit[:, None] * unit_step + picks * input_step).ravel())
        inputs[...] = picks.ravel()
        to[...] = value
