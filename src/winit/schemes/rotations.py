"""Orthogonal tensors: rows or columns of a random rotation, Haar-distributed, each drawn at once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from winit._core.checks import check_not_negative, check_one_of
from winit._core.laws import Moments, Normal
from winit._core.layouts import Layout, fans, groups_along_in, roles
from winit.schemes.base import Kernel, WholeScheme, convolution, matrix_axes

if TYPE_CHECKING:
    from winit._core.whole import TensorStream

NORMAL = Normal(0.0, 1.0)

__all__ = ["delta_orthogonal", "looks_linear", "orthogonal", "semi_orthogonal"]


def _rows(stream: TensorStream, count: int, length: int, gain: float, first: int = 0) -> np.ndarray:
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


def orthonormal(stream: TensorStream, out: int, in_: int, gain: float) -> np.ndarray:
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
        self._set(check_not_negative(gain, "gain"))

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        _as_matrices(shape, layout)

    def values(self, stream: TensorStream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        parts, order, batch, outs, ins = _as_matrices(shape, layout)
        few, many = min(outs, ins), max(outs, ins)
        matrices = [_rows(stream, few, many, self.gain, i * few) for i in range(batch)] if few else []
        whole = matrices[0] if batch == 1 and few else np.array(matrices, stream.dtype)
        whole = whole.reshape(batch, few, many)
        if outs > ins:
            whole = whole.transpose(0, 2, 1)
        return whole.reshape([parts[axis] for axis in order]).transpose(np.argsort(order)).reshape(shape)

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        *_, outs, ins = _as_matrices(shape, layout)
        return Moments(0.0, self.gain / math.sqrt(max(outs, ins, 1)), -self.gain, self.gain)


@lru_cache(maxsize=1024)
def _as_matrices(shape: tuple[int, ...], layout: Layout) -> tuple[list[int], list[int], int, int, int]:
    """Tell the shape, groups and splits being axes of their own; its axes as batch, out and the rest; their extents."""
    axes, ins, outs, batches = roles(shape, layout)
    if ins & outs:
        raise ValueError(f"an orthogonal tensor has axes in and axes out, not one that is both, as in {layout!r}")
    fans(shape, layout)  # groups and splits divide their axes
    assert isinstance(axes.splits, int)
    parts, count = list(shape), axes.groups * axes.splits
    kinds = ["batch" if axis in batches else "out" if axis in outs else "rest" for axis in range(len(shape))]
    if count > 1:
        among_ins = groups_along_in(axes, ins)
        if len(outs) != 1 or (among_ins and (axes.splits > 1 or len(ins) != 1)):
            raise ValueError(f"an orthogonal tensor of groups or splits needs them along one axis, not {layout!r}")
        axis = next(iter(ins)) if among_ins else next(iter(outs))
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
        self._set(check_not_negative(gain, "gain"))

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        kernel = convolution(self, shape, layout)
        if shape[kernel.in_] > shape[kernel.out]:
            raise ValueError(
                f"delta_orthogonal needs at least as many channels out as in, not {shape[kernel.out]} and "
                f"{shape[kernel.in_]} ({shape})"
            )

    def values(self, stream: TensorStream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
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


class looks_linear(WholeScheme):
    """Draw mirrored blocks of an orthogonal matrix, so that a ReLU network starts as a linear one.

    W = [[U, -U], [-U, U]], U orthogonal times gain: with ReLU, U relu(z) - U relu(-z) = U z. `mirror="out"` is the
    first layer's [[U], [-U]], "in" the last one's [U, -U]. Convolutions have it at their centre tap k // 2.

    Parameters
    ----------
    gain : float >= 0.
    mirror : "both", "out" or "in".

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, odd channels where they are mirrored.

    Source: Balduzzi et al. 2017, "The shattered gradients problem" (arXiv 1702.08591).

    >>> import numpy as np, winit
    >>> w1 = winit.draw(winit.looks_linear(mirror="out"), (8, 3), seed=0, name="1")
    >>> w2 = winit.draw(winit.looks_linear(mirror="in"), (2, 8), seed=0, name="2")
    >>> x = np.array([[1.0, -2.0, 0.5]], np.float32)
    >>> bool(np.allclose(np.maximum(x @ w1.T, 0) @ w2.T, x @ (w2[:, :4] @ w1[:4]).T, atol=1e-6))
    True

    """

    __slots__ = ("gain", "mirror")
    gain: float
    mirror: str

    def __init__(self, gain: float = 1.0, mirror: str = "both") -> None:
        self._set(check_not_negative(gain, "gain"), check_one_of(mirror, ("both", "out", "in"), "mirror"))

    def _blocks(self, shape: tuple[int, ...], layout: Layout) -> tuple[Kernel, int, int]:
        """The kernel's axes, and the units and inputs of a block."""
        kernel = matrix_axes(self, shape, layout) if len(shape) == 2 else convolution(self, shape, layout)
        sizes = []
        for axis, role in ((kernel.out, "out"), (kernel.in_, "in")):
            if self.mirror in ("both", role) and shape[axis] % 2:
                raise ValueError(f"{self!r} needs an even number of channels {role}, not {shape[axis]} ({shape})")
            sizes.append(shape[axis] // (2 if self.mirror in ("both", role) else 1))
        return kernel, sizes[0], sizes[1]

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        self._blocks(shape, layout)

    def values(self, stream: TensorStream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        kernel, out, in_ = self._blocks(shape, layout)
        whole = np.zeros(shape, stream.dtype)
        if whole.size == 0:
            return whole
        block = orthonormal(stream, out, in_, self.gain)
        if self.mirror in ("both", "out"):
            block = np.concatenate([block, -block])
        if self.mirror in ("both", "in"):
            block = np.concatenate([block, -block], axis=1)
        centre: list[Any] = [size // 2 for size in shape]
        centre[kernel.out] = centre[kernel.in_] = slice(None)
        whole[tuple(centre)] = block if kernel.out < kernel.in_ else block.T
        return whole

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        kernel, out, in_ = self._blocks(shape, layout)
        taps = math.prod(shape) // max(shape[kernel.out] * shape[kernel.in_], 1)
        std = self.gain / math.sqrt(max(out, in_, 1) * max(taps, 1))
        return Moments(0.0, std, -self.gain, self.gain)
