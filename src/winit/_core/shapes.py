"""Shapes, and boxes: parts of a global tensor as flat indices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import prod
from types import EllipsisType
from typing import Any

from winit._core.checks import integer_of, items_of, shown, shown_integer

__all__ = ["Box", "Shape", "boxes_of", "check_box", "check_shape", "locate", "row_major_steps"]

Shape = tuple[int, ...]
Box = slice | tuple[slice | EllipsisType, ...] | range

MAX_SIZE = 1 << 63
MAX_NDIM = 64  # NumPy's own limit


def check_shape(shape: int | Sequence[int]) -> Shape:
    """Return a shape as a tuple of ints, or say what is wrong with it."""
    # Not isinstance of typing.SupportsIndex: that takes 10 us for what is none.
    if hasattr(type(shape), "__index__") and not isinstance(shape, (bool, Iterable)):
        shape = (shape,)
    if isinstance(shape, (str, bytes, set, frozenset, dict)) or not isinstance(shape, Iterable):
        raise TypeError(f"shape must be a sequence of integers, not {type(shape).__name__}")
    given = items_of(shape)
    if given is None:
        raise TypeError(f"shape must be a sequence of integers, not {shown(shape)}")
    sizes = []
    for given_size in given:
        size = integer_of(given_size)
        if size is None:
            raise TypeError(f"shape must hold integers, not {shown(given_size)}")
        sizes.append(size)
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape must not hold negative sizes: {shown(tuple(sizes))}")
    if len(sizes) > MAX_NDIM:
        raise ValueError(f"shape must have at most {MAX_NDIM} axes, not {len(sizes)}")
    if max(sizes, default=0) > MAX_SIZE:
        raise ValueError("shape has an axis of more than 2^63")
    if prod(sizes) > MAX_SIZE:
        raise ValueError(f"shape {shown(tuple(sizes))} has {shown_integer(prod(sizes))} elements, more than 2^63")
    return tuple(sizes)


def check_box(shape: Shape, box: Any) -> tuple[slice, ...] | range | None:
    """Return a caller's box with one slice an axis, whose ends are plain ints within it; or a range of flat indices.

    Parameters
    ----------
    shape : tuple of int. The global shape.
    box : None, all of it; a slice, an Ellipsis, or a tuple of them, for the first axes where there are fewer than the
        shape has, around an Ellipsis where it has one; ends None, or counted from the end where they are negative; or
        range(lo, hi) of flat indices, which makes a box of one axis.

    Raises
    ------
    TypeError : anything else in the box, such as an integer, which would drop an axis.
    ValueError : a box that reaches outside the shape or has too many axes, a step, or an end before its start.

    >>> check_box((6, 10), slice(2, -2))
    (slice(2, 4, None), slice(0, 10, None))

    """
    if box is None:
        return None
    if isinstance(box, range):
        size = prod(shape)
        if box.step != 1 or not 0 <= box.start <= box.stop <= size:
            raise ValueError(f"box {shown(box)} must be a range(lo, hi) with 0 <= lo <= hi <= {size}, of step 1")
        return box
    parts = (box,) if isinstance(box, (slice, EllipsisType)) else box
    if not isinstance(parts, tuple):
        raise TypeError(f"box must be a slice, a tuple of slices or a range of flat indices, not {type(box).__name__}")
    gaps = [at for at, part in enumerate(parts) if part is ...]
    if len(gaps) > 1:
        raise ValueError("box must not hold more than one Ellipsis")
    missing = len(shape) - len(parts) + len(gaps)
    if missing < 0:
        raise ValueError(f"box has {len(parts) - len(gaps)} slices for a shape of {len(shape)} axes, {shape}")
    at = gaps[0] if gaps else len(parts)
    parts = (*parts[:at], *(slice(None),) * missing, *parts[at + len(gaps) :])
    return tuple(_check_slice(part, size, axis) for axis, (part, size) in enumerate(zip(parts, shape, strict=True)))


def _check_slice(part: Any, size: int, axis: int) -> slice:
    if not isinstance(part, slice):
        raise TypeError(f"box must hold slices, not {shown(part)} (axis {axis}); write i:i+1 for one index")
    ends = []
    for given, default in ((part.start, 0), (part.stop, size)):
        end = default if given is None else integer_of(given)
        if end is None:
            raise TypeError(f"box must hold slices of integers, not {shown(part)} (axis {axis})")
        ends.append(end + size if end < 0 else end)
    lo, hi = ends
    if part.step is not None and (type(part.step) is not int or part.step != 1):
        raise ValueError(f"box slices must have step 1, not {shown(part)} (axis {axis})")
    if not 0 <= lo <= hi <= size:
        raise ValueError(f"box slice {shown(part)} is outside axis {axis} of size {size}, or empty backwards")
    return slice(lo, hi)


@lru_cache(maxsize=4096)
def row_major_steps(shape: Shape) -> Shape:
    """Tell the flat step of each axis.

    >>> row_major_steps((4, 3, 5))
    (15, 5, 1)

    """
    steps = []
    step = 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))


def locate(shape: Shape, box: tuple[slice, ...] | range | None) -> tuple[Shape, int, Shape]:
    """Turn a checked box into (its shape, the flat index of its first element, the flat step of each of its axes).

    >>> locate((6, 10), (slice(2, 4), slice(0, 5)))
    ((2, 5), 20, (10, 1))

    """
    steps = row_major_steps(shape)
    if box is None:
        return shape, 0, steps
    if isinstance(box, range):
        return (box.stop - box.start,), box.start, (1,)
    start = sum(part.start * step for part, step in zip(box, steps, strict=True))
    return tuple(part.stop - part.start for part in box), start, steps


def boxes_of(shape: Shape, lo: int, hi: int) -> Iterator[tuple[slice, ...]]:
    """Cut a range of a shape's elements, counted in row-major order, into boxes, in order: 2 ndim - 1 at most.

    >>> [[(part.start, part.stop) for part in box] for box in boxes_of((3, 4), 2, 9)]
    [[(0, 1), (2, 4)], [(1, 2), (0, 4)], [(2, 3), (0, 1)]]

    """
    if lo >= hi:
        return
    if len(shape) < 2:
        yield (slice(lo, hi),) if shape else ()
        return
    inner = prod(shape[1:])
    first, last = lo // inner, (hi - 1) // inner
    if first == last:
        for box in boxes_of(shape[1:], lo - first * inner, hi - first * inner):
            yield slice(first, first + 1), *box
        return
    if lo > first * inner:
        for box in boxes_of(shape[1:], lo - first * inner, inner):
            yield slice(first, first + 1), *box
        first += 1
    full = hi // inner
    if first < full:
        yield slice(first, full), *(slice(0, size) for size in shape[1:])
    if full * inner < hi:
        for box in boxes_of(shape[1:], 0, hi - full * inner):
            yield slice(full, full + 1), *box
