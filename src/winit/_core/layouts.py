"""Layouts: which axes of a tensor lead in and out of a layer, and the fans that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from winit._core.checks import check_integer, integer_of, items_of, shown
from winit._core.records import Factory, Record
from winit._core.shapes import MAX_NDIM, Shape, check_shape

__all__ = ["Axes", "Layout", "check_layout", "fans", "out_parts", "roles", "unit_axes"]


def _axes(value: int | Iterable[int], what: str) -> tuple[int, ...]:
    if isinstance(value, (str, bool)):
        raise TypeError(f"{what} must be an axis or a tuple of axes, not {shown(value)}")
    single = integer_of(value)
    items = items_of(value) if single is None else [single]
    axes = None if items is None else [integer_of(axis) for axis in items]
    if axes is None or None in axes:
        raise TypeError(f"{what} must be an axis or a tuple of axes, not {shown(value)}")
    named = tuple(axis for axis in axes if axis is not None)
    if any(not -MAX_NDIM <= axis < MAX_NDIM for axis in named):
        raise ValueError(f"{what} must be axes of a tensor, which has at most {MAX_NDIM}, not {shown(value)}")
    return named


def _splits(value: int | Sequence[int]) -> int | tuple[int, ...]:
    items = None if isinstance(value, (str, bytes)) or integer_of(value) is not None else items_of(value)
    if items is None:
        return check_integer(value, "splits")
    extents = tuple(check_integer(extent, "splits") for extent in items)
    if not extents:
        raise ValueError("splits must be a number of parts or their extents, not an empty tuple")
    return extents


class Axes(Record):
    """Name the axes of a tensor that lead in and out of a layer.

    fan_in is the product of the extents of all axes that are neither `out` nor `batch`, fan_out of all that are
    neither `in_` nor `batch`: axes that are none of the three are the receptive field and count in both.

    Parameters
    ----------
    in_, out : int or tuple of int. Axes, negative ones from the end; an axis may be in both (embeddings).
    batch : int or tuple of int. Axes over independent layers (experts), in neither fan.
    groups : int. Groups of a grouped convolution, along the axis that `groups_along` names: its fan is divided by them.
    splits : int, matrices of one size packed along `out` (3 for a fused QKV projection); or a tuple of int, the extents
        of matrices of several sizes, which sum to the out axis: (512, 128, 128). fan_out is then that of each, a tuple;
        a law whose scale depends on fan_out has one scale a part; and tensors that are drawn whole, such as orthogonal
        ones, are drawn part by part.
    groups_along : "out" or "in": the axis that holds the channels of all groups. None: `out`, or `in_` where that is
        axis 0, as in torch's transposed convolutions (in, out/groups, *spatial).

    Raises
    ------
    TypeError : not integers. ValueError : an axis named twice in one role, or beyond the 64 that a tensor may have;
        batch shared with another role, counts below 1, groups together with splits of several sizes.

    >>> fans((3 * 512, 512), Axes(in_=1, out=0, splits=3))
    (512, 512)
    >>> fans((8, 64, 256), Axes(in_=1, out=2, batch=0))
    (64, 256)
    >>> fans((768, 512), Axes(in_=1, out=0, splits=(512, 128, 128)))
    (512, (512, 128, 128))

    """

    __slots__ = ("batch", "groups", "groups_along", "in_", "out", "splits")
    in_: tuple[int, ...]
    out: tuple[int, ...]
    batch: tuple[int, ...]
    groups: int
    splits: int | tuple[int, ...]
    groups_along: str | None

    if not TYPE_CHECKING:  # which has the parameters from __init__
        __signature__ = Factory()

        def __new__(cls, *given: Any, **named: Any) -> Axes:
            if "in" in named:
                raise TypeError("the input axis is in_, since in is a word of Python's: winit.Axes(in_=1, out=0)")
            return object.__new__(cls)

    def __init__(
        self,
        in_: int | Iterable[int],
        out: int | Iterable[int],
        batch: int | Iterable[int] = (),
        groups: int = 1,
        splits: int | Sequence[int] = 1,
        groups_along: str | None = None,
    ) -> None:
        roles = []
        for axes, role in ((in_, "in_"), (out, "out"), (batch, "batch")):
            named = _axes(axes, role)
            if len(set(named)) != len(named):
                raise ValueError(f"{role} names an axis twice: {named}")
            roles.append(named)
        if groups_along is not None and (not isinstance(groups_along, str) or groups_along not in ("out", "in")):
            wrong = ValueError if isinstance(groups_along, str) else TypeError
            raise wrong(f"groups_along must be 'out', 'in' or None, not {shown(groups_along)}")
        count, parts = check_integer(groups, "groups"), _splits(splits)
        if count > 1 and isinstance(parts, tuple):
            raise ValueError(f"groups={count} and splits={parts} do not go together: give splits as a number of parts")
        self._set(*roles, count, parts, groups_along)

    def __repr__(self) -> str:
        fields = [f"in_={_plain(self.in_)}", f"out={_plain(self.out)}"]
        fields += [f"batch={_plain(self.batch)}"] if self.batch else []
        fields += [f"groups={self.groups}"] if self.groups != 1 else []
        fields += [f"splits={self.splits}"] if self.splits != 1 else []
        fields += [f"groups_along={self.groups_along!r}"] if self.groups_along is not None else []
        return f"Axes({', '.join(fields)})"


def _plain(axes: tuple[int, ...]) -> int | tuple[int, ...]:
    return axes[0] if len(axes) == 1 else axes


Layout = str | Axes
_OI, _IO = Axes(in_=1, out=0), Axes(in_=-2, out=-1)


def check_layout(layout: Any) -> None:
    """Raise unless a layout is "oi", "io" or Axes."""
    if isinstance(layout, Axes) or (isinstance(layout, str) and layout in ("oi", "io")):
        return
    if isinstance(layout, str):
        raise ValueError(f"layout must be 'oi', 'io' or winit.Axes, not {shown(layout)}")
    raise TypeError(f"layout must be 'oi', 'io' or winit.Axes, not {type(layout).__name__}")


def fans(shape: int | Sequence[int], layout: Layout = "oi") -> tuple[int, int | tuple[int, ...]]:
    """Count the inputs of an output unit and the outputs of an input unit: (fan_in, fan_out).

    Parameters
    ----------
    shape : tuple of int. The GLOBAL shape of the tensor, never a shard's.
    layout : "oi" = (out, in, *spatial), torch's; "io" = (*spatial, in, out), JAX's and Keras's; or Axes.

    Returns
    -------
    (int, int) : fan_in and fan_out; with splits of several sizes fan_out is a tuple, one for each part.

    Raises
    ------
    TypeError : layout is neither a str nor Axes.
    ValueError : fewer than two axes with "oi" and "io"; an axis outside the shape; channels that groups or splits do
        not divide, or that splits do not sum to.

    >>> fans((64, 3, 7, 7))
    (147, 3136)
    >>> fans((7, 7, 3, 64), "io")
    (147, 3136)

    """
    check_layout(layout)
    return _fans(check_shape(shape), layout)


def groups_along_in(axes: Axes, ins: set[int]) -> bool:
    """Tell whether the channels of all groups lie along `in_`."""
    return axes.groups > 1 and (0 in ins if axes.groups_along is None else axes.groups_along == "in")


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
def _fans(shape: Shape, layout: Layout) -> tuple[int, int | tuple[int, ...]]:
    axes, ins, outs, batch = roles(shape, layout)
    fan_in = prod(size for axis, size in enumerate(shape) if axis not in outs | batch)
    fan_out = prod(size for axis, size in enumerate(shape) if axis not in ins | batch)
    channels = prod(shape[axis] for axis in outs)
    if groups_along_in(axes, ins):
        fan_in = _divided(fan_in, axes.groups, "groups", "in_", prod(shape[axis] for axis in ins))
    else:
        fan_out = _divided(fan_out, axes.groups, "groups", "out", channels)
        channels //= axes.groups
    if isinstance(axes.splits, int):
        return fan_in, _divided(fan_out, axes.splits, "splits", "out", channels)
    _check_extents(shape, axes, outs)
    return fan_in, tuple(fan_out // channels * extent for extent in axes.splits) if channels else axes.splits


def _check_extents(shape: Shape, axes: Axes, outs: set[int]) -> int:
    """Check that splits of several sizes sum to the one out axis; return that axis."""
    assert isinstance(axes.splits, tuple)
    if len(outs) != 1:
        raise ValueError(f"splits={axes.splits} are extents of one out axis, not of out={axes.out}")
    (axis,) = outs
    if sum(axes.splits) != shape[axis]:
        raise ValueError(
            f"splits={axes.splits} sum to {sum(axes.splits)}, and the out axis {axis} of {shape} has {shape[axis]}"
        )
    return axis


def out_parts(shape: Shape, layout: Layout) -> tuple[int, tuple[int, ...]] | None:
    """Tell the out axis and the extents of the parts along it where a layout has splits of several sizes, else None."""
    if not isinstance(layout, Axes) or isinstance(layout.splits, int):
        return None
    axes, _, outs, _ = roles(shape, layout)
    assert isinstance(axes.splits, tuple)
    return _check_extents(shape, axes, outs), axes.splits


def unit_axes(shape: Shape, layout: Layout) -> tuple[bool, ...]:
    """Tell of each axis whether it counts output units (out and batch axes) rather than the inputs of a unit.

    ValueError where the groups of a convolution lie along its inputs: a unit's inputs are then no box.

    >>> unit_axes((64, 3, 7, 7), "oi")
    (True, False, False, False)

    """
    check_layout(layout)
    axes, ins, outs, batch = roles(shape, layout)
    if groups_along_in(axes, ins):
        raise ValueError(
            f"sparse connections need the channels of all groups along out, not along in_ as in {layout!r}"
        )
    return tuple(axis in outs | batch for axis in range(len(shape)))


def _divided(fan: int, parts: int, what: str, role: str, channels: int) -> int:
    if channels % parts:
        raise ValueError(f"{what}={parts} does not divide the {channels} channels along {role}")
    return fan // parts
