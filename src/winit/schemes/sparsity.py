"""Sparse connections: a fixed number of inputs to each unit, chosen from the stream, normal weights there."""

from __future__ import annotations

import math

from winit._core.checks import check_integer, check_not_negative, check_number
from winit._core.exact import as_written
from winit._core.laws import Law, Sparse
from winit._core.layouts import Layout, unit_axes
from winit._core.scheme import Scheme

__all__ = ["sparse", "sparse_columns", "sparse_rows"]

MAX_INPUTS = 1 << 32  # one 32-bit word chooses among them


def connections(
    scheme: Scheme, mean: float, std: float, keep: int, shape: tuple[int, ...], units: tuple[bool, ...]
) -> Law:
    """Make the law of so many connections a unit, or say why the tensor cannot have them."""
    law = Sparse(mean, std, keep, shape, units)
    if not 0 <= keep <= law.inputs and 0 not in shape:
        raise ValueError(f"{scheme!r} connects {keep} inputs to a unit, and a unit of shape {shape} has {law.inputs}")
    if law.inputs > MAX_INPUTS:
        raise ValueError(f"sparse schemes choose among at most 2^32 inputs, not {law.inputs} (shape {shape})")
    return law


class sparse(Scheme):
    """Connect each output unit to exactly k distinct inputs, weights N(0, std^2); the others are 0.

    A unit is an index along the out (and batch) axes; its inputs are the other axes: in-channels times receptive
    field. Each set of k inputs is equally likely, and the value at a chosen input is that of `normal(std=std)` at the
    same place of the same stream: sparse = mask * normal.

    Parameters
    ----------
    k : int >= 0. Inputs of a unit.
    std : float >= 0. Standard deviation of the weights that are there.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, k > fan_in, more than 2^32 inputs.

    Source: Martens 2010, "Deep learning via Hessian-free optimization", with k = 15; positions by Floyd's
    method (docs/streams.md).

    >>> import winit
    >>> w = winit.draw(winit.sparse(k=10), (300, 784), seed=0)
    >>> sorted(set((w != 0).sum(axis=1).tolist()))
    [10]

    """

    __slots__ = ("k", "std")
    k: int
    std: float

    def __init__(self, k: int = 10, std: float = 0.01) -> None:
        self._set(check_integer(k, "k", 0), check_not_negative(std, "std"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return connections(self, 0.0, self.std, self.k, shape, unit_axes(shape, layout))


class _FixedFraction(Scheme):
    """A fixed share of zeros along each row or column of a matrix."""

    __slots__ = ("mean", "sparsity", "std")
    sparsity: float
    mean: float
    std: float
    UNIT = 0  # the axis whose indices are units

    def __init__(self, sparsity: float, mean: float = 0.0, std: float = 1.0) -> None:
        sparsity = check_number(sparsity, "sparsity")
        if not 0 <= sparsity <= 1:
            raise ValueError(f"sparsity must be between 0 and 1, not {sparsity!r}")
        self._set(sparsity, check_number(mean, "mean"), check_not_negative(std, "std"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        if len(shape) != 2:
            raise ValueError(f"{type(self).__name__} fills matrices, not shape {shape}")
        inputs = shape[1 - self.UNIT]
        # Of the decimal number: in binary 0.55 * 100 is more than 55. And what is not all zeros has a connection.
        keep = inputs - math.ceil(as_written(self.sparsity) * inputs)
        if self.sparsity < 1:
            keep = max(keep, min(inputs, 1))
        return connections(self, self.mean, self.std, keep, shape, (self.UNIT == 0, self.UNIT == 1))


class sparse_columns(_FixedFraction):
    """Fill a matrix so that ceil(sparsity * rows) elements of each column are 0, the others N(mean, std^2).

    The product is that of the decimal number that sparsity prints as: 0.55 of 100 rows are 55. Below sparsity 1 each
    column has one element at least that is not 0. torch.nn.init.sparse_ multiplies in binary and may leave none, so
    that its count is at times another: `winit.presets.torch.sparse_` keeps it. In torch's layout a column holds the
    weights out of one input: units may get any number of inputs, none too; `sparse` fixes the inputs of each unit.

    Parameters
    ----------
    sparsity : float in [0, 1]. Share of zeros in each column, rounded up to whole elements; 1 alone leaves none.
    mean, std : float, std >= 0; torch's are 0 and 0.01.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of other than two axes.

    Source: torch.nn.init.sparse_.

    >>> import winit
    >>> w = winit.draw(winit.sparse_columns(0.9), (50, 7), seed=0)
    >>> (w != 0).sum(axis=0).tolist()
    [5, 5, 5, 5, 5, 5, 5]
    >>> w = winit.draw(winit.sparse_columns(0.9), (5, 7), seed=0)
    >>> (w != 0).sum(axis=0).tolist()
    [1, 1, 1, 1, 1, 1, 1]

    """

    __slots__ = ()
    UNIT = 1

    def __init__(self, sparsity: float, mean: float = 0.0, std: float = 0.01) -> None:
        super().__init__(sparsity, mean, std)


class sparse_rows(_FixedFraction):
    """Fill a matrix so that ceil(sparsity * columns) elements of each row are 0, the others N(mean, std^2).

    The product is that of the decimal number that sparsity prints as, and below sparsity 1 each row has one element at
    least that is not 0. mlx.nn.init.sparse keeps a fixed share of each row too, counted in binary.

    Parameters
    ----------
    sparsity : float in [0, 1]. Share of zeros in each row, rounded up to whole elements; 1 alone leaves none.
    mean, std : float, std >= 0; mlx's are 0 and 1.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of other than two axes.

    Source: mlx.nn.init.sparse.

    >>> import winit
    >>> w = winit.draw(winit.sparse_rows(0.5), (3, 7), seed=0)
    >>> (w != 0).sum(axis=1).tolist()
    [3, 3, 3]

    """

    __slots__ = ()

    def __init__(self, sparsity: float, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(sparsity, mean, std)
