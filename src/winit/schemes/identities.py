"""Tensors that pass a signal on: identities, Dirac kernels, Hadamard matrices and padded identities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from winit._core.checks import check_integer, check_number
from winit._core.laws import Moments
from winit._core.layouts import Layout, roles
from winit.schemes.base import (
    Entries,
    FormulaScheme,
    Kernel,
    PlacedScheme,
    convolution,
    diagonal_in,
    matrix_axes,
    moments_of,
)

__all__ = ["dirac", "hadamard", "identity", "idinit"]


class identity(PlacedScheme):
    """Fill a matrix with gain on its main diagonal and 0 elsewhere.

    Parameters
    ----------
    gain : float.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of other than two axes.

    Source: torch.nn.init.eye_; keras.initializers.Identity.

    >>> import winit
    >>> winit.draw(winit.identity(), (2, 3), seed=0).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    """

    __slots__ = ("gain",)
    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        self._set(check_number(gain, "gain"))

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        matrix_axes(self, shape, layout)
        return Entries(diagonal_in(box), self.gain)

    def placed(self, shape: tuple[int, ...], layout: Layout) -> tuple[float, int]:
        return self.gain, min(shape)


class dirac(PlacedScheme):
    """Fill a convolution kernel so that it passes its first channels on: 1 at the centre from channel i to channel i.

    The centre is index k // 2 of each spatial axis, and as many channels are kept as there are on the smaller side.
    With `groups`, each group of out-channels passes on the in-channels of its own.

    Parameters
    ----------
    groups : int. Groups of the convolution; they divide the out-channels.
    gain : float.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of other than 3 to 5 axes, groups that
        do not divide its channels.

    Source: torch.nn.init.dirac_.

    >>> import winit
    >>> winit.draw(winit.dirac(), (2, 2, 3), seed=0).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]

    """

    __slots__ = ("gain", "groups")
    groups: int
    gain: float

    def __init__(self, groups: int = 1, gain: float = 1.0) -> None:
        self._set(check_integer(groups, "groups", 1), check_number(gain, "gain"))

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        kernel = convolution(self, shape, layout)
        out = shape[kernel.out]
        if out % self.groups:
            raise ValueError(f"groups={self.groups} does not divide the {out} channels along out ({shape})")
        each = out // self.groups
        outs = np.arange(box[kernel.out].start, box[kernel.out].stop)
        ins = outs % max(each, 1)
        return Entries(_centre(box, shape, kernel, outs, ins), self.gain)

    def placed(self, shape: tuple[int, ...], layout: Layout) -> tuple[float, int]:
        kernel = convolution(self, shape, layout)
        count = self.groups * min(shape[kernel.out] // self.groups, shape[kernel.in_])
        return self.gain, count if 0 not in shape else 0


def _centre(
    box: tuple[slice, ...], shape: tuple[int, ...], kernel: Kernel, outs: np.ndarray, ins: np.ndarray
) -> tuple[Any, ...]:
    """Index the centre tap k // 2 of a kernel's channels, of those pairs that lie in a box."""
    inside = (box[kernel.in_].start <= ins) & (ins < box[kernel.in_].stop)
    spatial = [axis for axis in range(len(shape)) if axis not in kernel]
    if not all(box[axis].start <= shape[axis] // 2 < box[axis].stop for axis in spatial):
        inside = np.zeros_like(inside)
    where: list[Any] = [np.full(inside.sum(), size // 2) for size in shape]
    where[kernel.out], where[kernel.in_] = outs[inside], ins[inside]
    return tuple(where)


class hadamard(FormulaScheme):
    """Fill with zeros and ones alone (ZerO): a partial identity, or where units outnumber inputs a Hadamard transform.

    out <= in: the identity, cut. out > in: the first rows and columns of H / sqrt(p), H the Hadamard matrix of order p,
    the power of two at or above out: H_ij = (-1)^(number of ones in i & j). Convolutions have it at their centre tap
    k // 2. Networks of any width then train without a random number, starting from low rank.

    Raises
    ------
    ValueError : when drawn, a shape of fewer than two axes.

    Source: Zhao, Schäfer & Anandkumar 2022, "ZerO initialization" (arXiv 2110.12661), algorithms 1 and 2.

    >>> import winit
    >>> winit.draw(winit.hadamard(), (4, 2), seed=0).tolist()
    [[0.5, 0.5], [0.5, -0.5], [0.5, 0.5], [0.5, -0.5]]

    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        return 1.0

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        kernel = matrix_axes(self, shape, layout) if len(shape) == 2 else convolution(self, shape, layout)
        out, in_, size = shape[kernel.out], shape[kernel.in_], math.prod(shape)
        if out <= in_ or size == 0:
            return moments_of({1.0: out if size else 0}, size)
        order = 1 << (out - 1).bit_length()
        value, more = 1 / math.sqrt(order), _sum_of_signs(order, out, in_)
        return moments_of({value: (out * in_ + more) // 2, -value: (out * in_ - more) // 2}, size)

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        kernel = matrix_axes(self, shape, layout) if len(shape) == 2 else convolution(self, shape, layout)
        out, in_ = shape[kernel.out], shape[kernel.in_]
        outs, ins = (np.arange(box[axis].start, box[axis].stop) for axis in kernel)
        if out <= in_:
            return Entries(_centre(box, shape, kernel, outs, outs), 1.0)
        where = None
        ones: np.ndarray
        if len(shape) == 2:
            ones = outs[:, None] & ins if kernel.out == 0 else ins[:, None] & outs
        else:
            where = _centre(box, shape, kernel, np.repeat(outs, len(ins)), np.tile(ins, len(outs)))
            ones = where[kernel.out] & where[kernel.in_]
        for half in (32, 16, 8, 4, 2, 1):
            ones ^= ones >> half
        return Entries(where, (1.0 - 2.0 * (ones & 1)) / math.sqrt(1 << (out - 1).bit_length()))


def _sum_of_signs(order: int, rows: int, columns: int) -> int:
    """Sum the first rows and columns of the Hadamard matrix of an order, [[H, H], [H, -H]] of the order before it."""
    if 0 in (rows, columns):
        return 0
    if order in (rows, columns):  # only the first column of all rows, and the first row of all columns, do not cancel
        return order
    half = order // 2
    up, left = min(rows, half), min(columns, half)
    down, right = rows - up, columns - left
    upper = _sum_of_signs(half, up, left) + _sum_of_signs(half, up, right)
    return upper + _sum_of_signs(half, down, left) - _sum_of_signs(half, down, right)


class idinit(PlacedScheme):
    """Fill with identities side by side: `value` where unit and input are equal modulo the fewer of the two.

    The inputs of a convolution's unit are its channels and receptive field together, channels first, so that units of a
    layer see different places ("patch-maintain"). value=1e-6 is the form for the last layer of a residual branch.

    Parameters
    ----------
    value : float. 1 keeps the signal; 1e-6 all but silences it, without dead units.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of fewer than two axes, batch axes.

    Source: Pan et al. 2025, "IDInit" (arXiv 2503.04626).

    >>> import winit
    >>> winit.draw(winit.idinit(), (2, 5), seed=0).tolist()
    [[1.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0, 0.0]]

    """

    __slots__ = ("value",)
    value: float

    def __init__(self, value: float = 1.0) -> None:
        self._set(check_number(value, "value"))

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        _, ins, outs, batches = roles(shape, layout)
        if batches or len(outs) != 1 or len(ins) != 1 or ins == outs:
            raise ValueError(f"idinit needs one out and one in axis and no batch, not {layout!r}")
        (out,), (in_,) = outs, ins
        inner = (in_, *(axis for axis in range(len(shape)) if axis not in (out, in_)))
        units, inputs = shape[out], math.prod(shape[axis] for axis in inner)
        few = max(min(units, inputs), 1)
        # Units and inputs are paired by going through those of the box, whichever has fewer pairs to look at.
        repeats = -(-inputs // few)  # inputs, `few` apart, that a unit meets
        unit = np.arange(box[out].start, box[out].stop)
        sides = [np.arange(box[axis].start, box[axis].stop) for axis in inner]
        if units > inputs or len(unit) * repeats < math.prod(map(len, sides)):
            number = (unit[:, None] % few + few * np.arange(repeats)).ravel()
            unit = np.repeat(unit, repeats)[number < inputs]
            places = np.unravel_index(number[number < inputs], [max(shape[axis], 1) for axis in inner])
        else:
            places = tuple(place.ravel() for place in np.meshgrid(*sides, indexing="ij"))
            unit = np.ravel_multi_index(places, [max(shape[axis], 1) for axis in inner]) % few
        where: list[Any] = [None] * len(shape)
        where[out] = unit
        for axis, place in zip(inner, places, strict=True):
            where[axis] = place
        inside = np.ones(len(unit), bool)
        for index, part in zip(where, box, strict=True):
            inside &= (part.start <= index) & (index < part.stop)
        return Entries(tuple(index[inside] for index in where), self.value)

    def placed(self, shape: tuple[int, ...], layout: Layout) -> tuple[float, int]:
        _, _, (out,), _ = roles(shape, layout)
        return self.value, max(shape[out], math.prod(shape) // shape[out]) if 0 not in shape else 0
