"""Orthogonal tensors: rows or columns of a random rotation, Haar-distributed, each drawn at once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from winit._core.laws import Moments, not_negative
from winit._core.shapes import Layout, fans, roles
from winit.schemes.base import WholeScheme
from winit.schemes.fan_scaled import normal

if TYPE_CHECKING:
    from winit._core.drawing import Stream

NORMAL = normal()

__all__ = ["delta_orthogonal", "orthogonal", "semi_orthogonal"]


def _rows(stream: Stream, count: int, length: int, gain: float, first: int = 0) -> np.ndarray:
    """Draw count x length numbers, 0 < count <= length: orthonormal rows, of normals from row first on."""
    from winit._dense.householder import orthonormal_rows

    def normals(lo: int, hi: int) -> np.ndarray:
        if lo == 0:  # one run of the stream
            return stream.draw(NORMAL, ((first + hi) * length,), range(first * length, (first + hi) * length)).reshape(
                hi, length
            )
        return stream.draw(NORMAL, (first + hi, length), (slice(first + lo, first + hi), slice(lo, length)))

    out = orthonormal_rows(normals, count, length, stream.threads)
    return out if gain == 1 else np.multiply(out, out.dtype.type(gain), out=out)


def orthonormal(stream: Stream, out: int, in_: int, gain: float) -> np.ndarray:
    """Draw an out x in_ matrix of orthonormal rows or columns, whichever are fewer, times gain; neither is 0."""
    rows = _rows(stream, min(out, in_), max(out, in_), gain)
    return rows if out <= in_ else rows.T


class orthogonal(WholeScheme):
    """Draw an orthogonal matrix, uniformly: rows orthonormal where there are fewer of them, else columns; times gain.

    The tensor is read as a matrix of out x (in times receptive field); batch axes, groups and splits hold matrices of
    their own. Where it is square it is distributed by Haar's measure on the orthogonal group; else it is part of such a
    matrix, a uniform point of the Stiefel manifold. A matrix of layout "io" is the transpose of that of "oi".

    By Householder reflections of normal vectors, applied 256 at a time as matrix products: no factorisation, and the
    same bits on any number of threads. A box of the tensor costs what the tensor does: 4/3 n^3 operations and a copy.

    Parameters
    ----------
    gain : float >= 0. winit.gain("relu") for relu.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of fewer than two axes.

    Source: Saxe, McClelland & Ganguli 2014 (arXiv 1312.6120); Stewart 1980, "The efficient generation of random
    orthogonal matrices"; Mezzadri 2007 (arXiv math-ph/0609050) on the signs. torch.nn.init.orthogonal_.

    >>> import numpy as np, winit
    >>> q = winit.draw(winit.orthogonal(), (3, 5), seed=0)
    >>> bool(np.allclose(q @ q.T, np.eye(3), atol=1e-6))
    True

    """

    __slots__ = ("gain",)
    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        self._set(not_negative(gain, "gain"))

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        _matrix(shape, layout)

    def values(self, stream: Stream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        parts, order, batch, outs, ins = _matrix(shape, layout)
        few, many = min(outs, ins), max(outs, ins)
        matrices = [_rows(stream, few, many, self.gain, i * few) for i in range(batch)] if few else []
        whole = matrices[0] if batch == 1 and few else np.array(matrices, stream.dtype)
        whole = whole.reshape(batch, few, many)
        if outs > ins:
            whole = whole.transpose(0, 2, 1)
        return whole.reshape([parts[axis] for axis in order]).transpose(np.argsort(order)).reshape(shape)

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        *_, outs, ins = _matrix(shape, layout)
        return Moments(0.0, self.gain / math.sqrt(max(outs, ins, 1)), -self.gain, self.gain)


@lru_cache(maxsize=1024)
def _matrix(shape: tuple[int, ...], layout: Layout) -> tuple[list[int], list[int], int, int, int]:
    """Tell the shape, groups and splits being axes of their own; its axes as batch, out and the rest; their extents."""
    axes, ins, outs, batches = roles(shape, layout)
    if ins & outs:
        raise ValueError(f"an orthogonal tensor has axes in and axes out, not one that is both, as in {layout!r}")
    fans(shape, layout)  # groups and splits divide their axes
    parts, count = list(shape), axes.groups * axes.splits
    kinds = ["batch" if axis in batches else "out" if axis in outs else "rest" for axis in range(len(shape))]
    if count > 1:
        among_ins = axes.groups > 1 and 0 in ins
        if len(outs) != 1 or (among_ins and axes.splits > 1):
            raise ValueError(f"an orthogonal tensor of groups or splits needs them along one axis, not {layout!r}")
        axis = 0 if among_ins else next(iter(outs))
        parts[axis : axis + 1] = [count, shape[axis] // count]
        kinds.insert(axis, "batch")
    order = [axis for kind in ("batch", "out", "rest") for axis, own in enumerate(kinds) if own == kind]
    sizes = {"batch": 1, "out": 1, "rest": 1}
    for size, kind in zip(parts, kinds, strict=True):
        sizes[kind] *= size
    return parts, order, sizes["batch"], sizes["out"], sizes["rest"]


class semi_orthogonal(orthogonal):
    """Draw a matrix of orthonormal rows or columns times gain: `orthogonal` under the name for what is not square.

    Parameters
    ----------
    gain : float >= 0.

    Source: Povey et al. 2018, "Semi-orthogonal low-rank matrix factorization for deep neural networks".

    >>> import numpy as np, winit
    >>> q = winit.draw(winit.semi_orthogonal(), (5, 3), seed=0)
    >>> bool(np.allclose(q.T @ q, np.eye(3), atol=1e-6))
    True

    """

    __slots__ = ()


class delta_orthogonal(WholeScheme):
    """Draw a convolution kernel that is 0 but at its centre, and orthonormal there: an orthogonal map of channels.

    Every signal keeps its norm: kernel[centre] has orthonormal columns of out numbers, one for each in-channel, times
    gain. The centre is index (k - 1) // 2 of each spatial axis.

    Parameters
    ----------
    gain : float >= 0.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of other than 3 to 5 axes, more
        channels in than out, groups.

    Source: Xiao et al. 2018 (arXiv 1806.05393), algorithm 1; jax.nn.initializers.delta_orthogonal.

    >>> import winit
    >>> w = winit.draw(winit.delta_orthogonal(), (4, 2, 3, 3), seed=0)
    >>> [round(float((channel ** 2).sum()), 6) for channel in w.swapaxes(0, 1)]
    [1.0, 1.0]

    """

    __slots__ = ("gain",)
    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        self._set(not_negative(gain, "gain"))

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        kernel = convolution(self, shape, layout)
        if shape[kernel.in_] > shape[kernel.out]:
            raise ValueError(
                f"delta_orthogonal needs at least as many channels out as in, not {shape[kernel.out]} and "
                f"{shape[kernel.in_]} ({shape})"
            )

    def values(self, stream: Stream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        out, in_ = convolution(self, shape, layout)
        whole = np.zeros(shape, stream.dtype)
        centre = tuple(slice(None) if axis in (out, in_) else (size - 1) // 2 for axis, size in enumerate(shape))
        if whole.size:
            tap = orthonormal(stream, shape[out], shape[in_], self.gain)
            whole[centre] = tap if out < in_ else tap.T
        return whole

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        _, in_ = convolution(self, shape, layout)
        return Moments(0.0, self.gain * math.sqrt(shape[in_] / max(math.prod(shape), 1)), -self.gain, self.gain)


class Kernel(NamedTuple):
    """The out axis and the in axis of a convolution kernel."""

    out: int
    in_: int


def convolution(scheme: WholeScheme, shape: tuple[int, ...], layout: Layout) -> Kernel:
    """Tell the axes of a convolution kernel without groups, or raise."""
    name = type(scheme).__name__
    axes, ins, outs, batches = roles(shape, layout)
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"{name} fills convolution kernels of 3 to 5 axes, not shape {shape}")
    if len(ins) != 1 or len(outs) != 1 or batches or axes.groups > 1 or ins == outs:
        raise ValueError(f"{name} needs one in and one out axis, no groups and no batch, not {layout!r}")
    return Kernel(next(iter(outs)), next(iter(ins)))
