"""Integers about shapes: fans from named axes, and boxes of a global tensor as flat indices."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import SupportsIndex

from winit._core.records import Record

__all__ = ["Axes", "Box", "Layout", "Shape", "check_layout", "check_shape", "fans", "locate", "roles", "unit_axes"]

Shape = tuple[int, ...]
Box = tuple[slice, ...] | range

MAX_SIZE = 1 << 63
MAX_NDIM = 64  # NumPy's own limit


def _axes(value: int | Iterable[int], what: str) -> tuple[int, ...]:
    if isinstance(value, (str, bool)):
        raise TypeError(f"{what} must be an axis or a tuple of axes, not {value!r}")
    try:
        items = (value,) if isinstance(value, SupportsIndex) else tuple(value)
        return tuple(operator.index(axis) for axis in items)
    except TypeError:
        raise TypeError(f"{what} must be an axis or a tuple of axes, not {value!r}") from None


def _count(value: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{what} must be an integer, not {type(value).__name__}")
    if value.__index__() < 1:
        raise ValueError(f"{what} must be at least 1, not {value}")
    return value.__index__()


class Axes(Record):
    """Name the axes of a tensor that lead in and out of a layer.

    fan_in is the product of the extents of all axes that are neither `out` nor `batch`, fan_out of all that are
    neither `in_` nor `batch`: axes that are none of the three are the receptive field and count in both.

    Parameters
    ----------
    in_, out : int or tuple of int. Axes, negative ones from the end; an axis may be in both (embeddings).
    batch : int or tuple of int. Axes over independent layers (experts), in neither fan.
    groups : int. Groups of a grouped convolution. The axis that holds the channels of all groups is `out`, whose fan
        is divided by groups; or `in_`, where that is axis 0, as in torch's transposed convolutions (in, out/groups,
        *spatial).
    splits : int. Equal matrices packed along `out` (3 for a fused QKV projection); fan_out is that of one.

    Raises
    ------
    TypeError : not integers. ValueError : an axis named twice in one role, batch shared with another role, counts
        below 1.

    >>> fans((3 * 512, 512), Axes(in_=1, out=0, splits=3))
    (512, 512)
    >>> fans((8, 64, 256), Axes(in_=1, out=2, batch=0))
    (64, 256)

    """

    __slots__ = ("batch", "groups", "in_", "out", "splits")
    in_: tuple[int, ...]
    out: tuple[int, ...]
    batch: tuple[int, ...]
    groups: int
    splits: int

    def __init__(
        self,
        in_: int | Iterable[int],
        out: int | Iterable[int],
        batch: int | Iterable[int] = (),
        groups: int = 1,
        splits: int = 1,
    ) -> None:
        roles = []
        for axes, role in ((in_, "in_"), (out, "out"), (batch, "batch")):
            named = _axes(axes, role)
            if len(set(named)) != len(named):
                raise ValueError(f"{role} names an axis twice: {named}")
            roles.append(named)
        self._set(*roles, _count(groups, "groups"), _count(splits, "splits"))

    def __repr__(self) -> str:
        fields = [f"in_={_plain(self.in_)}", f"out={_plain(self.out)}"]
        fields += [f"batch={_plain(self.batch)}"] if self.batch else []
        fields += [f"groups={self.groups}"] if self.groups != 1 else []
        fields += [f"splits={self.splits}"] if self.splits != 1 else []
        return f"Axes({', '.join(fields)})"


def _plain(axes: tuple[int, ...]) -> int | tuple[int, ...]:
    return axes[0] if len(axes) == 1 else axes


Layout = str | Axes
_OI, _IO = Axes(in_=1, out=0), Axes(in_=-2, out=-1)


def check_shape(shape: int | Sequence[int]) -> Shape:
    """Return a shape as a tuple of ints, or say what is wrong with it."""
    if isinstance(shape, SupportsIndex) and not isinstance(shape, bool) and not isinstance(shape, Iterable):
        shape = (shape.__index__(),)
    if isinstance(shape, (str, bytes, set, frozenset, dict)) or not isinstance(shape, Iterable):
        raise TypeError(f"shape must be a sequence of integers, not {type(shape).__name__}")
    sizes = []
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, SupportsIndex):
            raise TypeError(f"shape must hold integers, not {size!r}")
        sizes.append(size.__index__())
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape must not hold negative sizes: {tuple(sizes)}")
    if len(sizes) > MAX_NDIM:
        raise ValueError(f"shape must have at most {MAX_NDIM} axes, not {len(sizes)}")
    if max(sizes, default=0) > MAX_SIZE:
        raise ValueError(f"shape {tuple(sizes)} has an axis of more than 2^63")
    if prod(sizes) > MAX_SIZE:
        raise ValueError(f"shape {tuple(sizes)} has {prod(sizes)} elements, more than 2^63")
    return tuple(sizes)


def check_layout(layout: Layout) -> None:
    """Raise unless a layout is "oi", "io" or Axes."""
    if isinstance(layout, Axes) or (isinstance(layout, str) and layout in ("oi", "io")):
        return
    if isinstance(layout, str):
        raise ValueError(f"layout must be 'oi', 'io' or winit.Axes, not {layout!r}")
    raise TypeError(f"layout must be 'oi', 'io' or winit.Axes, not {type(layout).__name__}")


def fans(shape: int | Sequence[int], layout: Layout = "oi") -> tuple[int, int]:
    """Count the inputs of an output unit and the outputs of an input unit: (fan_in, fan_out).

    Parameters
    ----------
    shape : tuple of int. The GLOBAL shape of the tensor, never a shard's.
    layout : "oi" = (out, in, *spatial), torch's; "io" = (*spatial, in, out), JAX's and Keras's; or Axes.

    Raises
    ------
    TypeError : layout is neither a str nor Axes.
    ValueError : fewer than two axes with "oi" and "io"; an axis outside the shape; channels that groups or splits do
        not divide.

    >>> fans((64, 3, 7, 7))
    (147, 3136)
    >>> fans((7, 7, 3, 64), "io")
    (147, 3136)

    """
    check_layout(layout)
    return _fans(check_shape(shape), layout)


def roles(shape: Shape, layout: Layout) -> tuple[Axes, set[int], set[int], set[int]]:
    """Tell the Axes of a layout, and which axes of a shape are in_, out and batch, counted from 0."""
    check_layout(layout)
    if isinstance(layout, Axes):
        axes = layout
    elif len(shape) < 2:
        raise ValueError(
            f"layout {layout!r} needs a shape of at least two axes to have fans, not {shape}; "
            "name them with winit.Axes, or choose a scheme that has no fans"
        )
    else:
        axes = _OI if layout == "oi" else _IO

    def positions(named: tuple[int, ...], role: str) -> set[int]:
        found = set()
        for axis in named:
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"{role} axis {axis} is outside a shape of {len(shape)} axes, {shape}")
            if axis % len(shape) in found:
                raise ValueError(f"{role} names axis {axis % len(shape)} twice: {named}")
            found.add(axis % len(shape))
        return found

    ins, outs, batch = positions(axes.in_, "in_"), positions(axes.out, "out"), positions(axes.batch, "batch")
    if batch & (ins | outs):
        raise ValueError(f"batch axes {sorted(batch & (ins | outs))} are also in_ or out axes")
    return axes, ins, outs, batch


@lru_cache(maxsize=4096)
def _fans(shape: Shape, layout: Layout) -> tuple[int, int]:
    axes, ins, outs, batch = roles(shape, layout)
    fan_in = prod(size for axis, size in enumerate(shape) if axis not in outs | batch)
    fan_out = prod(size for axis, size in enumerate(shape) if axis not in ins | batch)
    channels = prod(shape[axis] for axis in outs)
    if axes.groups > 1 and 0 in ins:
        fan_in = _share(fan_in, axes.groups, "groups", "in_", prod(shape[axis] for axis in ins))
    else:
        fan_out = _share(fan_out, axes.groups, "groups", "out", channels)
        channels //= axes.groups
    return fan_in, _share(fan_out, axes.splits, "splits", "out", channels)


def unit_axes(shape: Shape, layout: Layout) -> tuple[bool, ...]:
    """Tell of each axis whether it counts output units (out and batch axes) rather than the inputs of a unit.

    ValueError where the groups of a convolution lie along its inputs: a unit's inputs are then no box.

    >>> unit_axes((64, 3, 7, 7), "oi")
    (True, False, False, False)

    """
    check_layout(layout)
    axes, ins, outs, batch = roles(shape, layout)
    if axes.groups > 1 and 0 in ins:
        raise ValueError(
            f"sparse connections need the channels of all groups along out, not along in_ as in {layout!r}"
        )
    return tuple(axis in outs | batch for axis in range(len(shape)))


def _share(fan: int, parts: int, what: str, role: str, channels: int) -> int:
    if channels % parts:
        raise ValueError(f"{what}={parts} does not divide the {channels} channels along {role}")
    return fan // parts


def locate(shape: Shape, box: Box | None) -> tuple[Shape, int, Shape]:
    """Turn a box into (its shape, the flat index of its first element, the flat step of each of its axes).

    Parameters
    ----------
    shape : tuple of int. The global shape.
    box : None (all of it); a tuple of slices, one for each axis, step 1, ends None or in [0, size]; or range(lo, hi)
        of flat indices, which makes a box of one axis.

    Raises
    ------
    TypeError : anything else in the box, such as integers and Ellipsis.
    ValueError : a box outside the shape, of another number of axes, with steps or with negative ends.

    >>> locate((6, 10), (slice(2, 4), slice(None, 5)))
    ((2, 5), 20, (10, 1))

    """
    steps = []
    step = 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    steps.reverse()
    if box is None:
        return shape, 0, tuple(steps)
    if isinstance(box, range):
        total = prod(shape)
        if box.step != 1 or not 0 <= box.start <= box.stop <= total:
            raise ValueError(f"box {box} must be a range(lo, hi) with 0 <= lo <= hi <= {total}, of step 1")
        return (box.stop - box.start,), box.start, (1,)
    if not isinstance(box, tuple):
        raise TypeError(f"box must be a tuple of slices or a range of flat indices, not {type(box).__name__}")
    if len(box) != len(shape):
        raise ValueError(f"box has {len(box)} slices for a shape of {len(shape)} axes, {shape}")
    sizes = []
    start = 0
    for axis, (part, size) in enumerate(zip(box, shape, strict=True)):
        if not isinstance(part, slice):
            raise TypeError(f"box must hold slices, not {part!r} (axis {axis}); write i:i+1 for one index")
        ends = (0 if part.start is None else part.start, size if part.stop is None else part.stop)
        for end in ends:
            if isinstance(end, bool) or not isinstance(end, SupportsIndex):
                raise TypeError(f"box must hold slices of integers, not {part!r} (axis {axis})")
        lo, hi = (end.__index__() for end in ends)
        if part.step is not None and (type(part.step) is not int or part.step != 1):
            raise ValueError(f"box slices must have step 1, not {part!r} (axis {axis})")
        if not 0 <= lo <= hi <= size:
            raise ValueError(f"box slice {part!r} is outside axis {axis} of size {size}, or empty backwards")
        sizes.append(hi - lo)
        start += lo * steps[axis]
    return tuple(sizes), start, tuple(steps)
