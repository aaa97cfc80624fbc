"""Schemes that use no random words: zeros, ones, constant and literal arrays. Any NumPy dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from winit._core.checks import shown
from winit._core.laws import Constant, Law, Literal, Moments
from winit._core.layouts import Layout
from winit._core.scheme import Scheme

__all__ = ["constant", "literal", "ones", "zeros"]


class zeros(Scheme):
    """Fill with 0.

    Biases usually; as weights they leave every unit of a layer equal for ever.

    >>> import winit
    >>> winit.draw(zeros(), 3, seed=0)
    array([0., 0., 0.], dtype=float32)
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Constant(0)


class ones(Scheme):
    """Fill with 1: the scales of normalisation layers.

    >>> import winit
    >>> winit.draw(ones(), 3, seed=0, dtype="int8")
    array([1, 1, 1], dtype=int8)
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Constant(1)


class constant(Scheme):
    """Fill with one value.

    Parameters
    ----------
    value : int, float or bool; finite. In a floating-point dtype it is rounded, and must be within its range; in an
        integer dtype it must be a value of it: 1.5 and 300 are none of int8.

    Raises
    ------
    TypeError : not a number. ValueError : not finite; or, when drawn, not a value of the dtype.

    >>> import winit
    >>> winit.draw(constant(0.01), 2, seed=0)
    array([0.01, 0.01], dtype=float32)

    """

    __slots__ = ("value",)
    value: int | float | bool

    def __init__(self, value: int | float | bool) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(value, (bool, int, float)):
            raise TypeError(f"value must be a real number, not {shown(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"value must be finite, not {value!r}")
        try:
            float(value)
        except OverflowError:
            raise ValueError("value is beyond the range of float64, and of every integer dtype") from None
        self._set(value)

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Constant(self.value)


class literal(Scheme):
    """Fill with the values given.

    Parameters
    ----------
    values : array_like of bool, int or float, of the tensor's shape. Kept as a copy, floats in float64 and integers in
        64 bits. As with `constant`, each must be a value of the tensor's dtype.

    Raises
    ------
    TypeError : values of another kind. ValueError : none at all, not finite; or, when drawn, of another shape than the
        tensor's, or not values of the dtype.

    >>> import winit
    >>> winit.draw(literal([[1, 2], [3, 4]]), (2, 2), seed=0)
    array([[1., 2.], [3., 4.]], dtype=float32)

    """

    __slots__ = ("_law", "values")
    values: np.ndarray
    _law: Literal
    _of_values = True
    _small = False

    def __init__(self, values: Any) -> None:
        array = np.array(values) if isinstance(values, (np.ndarray, np.generic)) else _exact_array(values)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"values must be bool, int or float of at most 64 bits, not {shown(array.dtype)}")
        if array.size == 0:
            raise ValueError(f"values must not be empty (shape {array.shape}); zeros() fills an empty tensor")
        if array.dtype.kind == "f":
            array = array.astype(np.float64)
        elif array.dtype.kind == "i" or (array.dtype.kind == "u" and array.max() < 1 << 63):
            array = array.astype(np.int64)
        elif array.dtype.kind == "u":
            array = array.astype(np.uint64)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("values must be finite")
        content = array.tobytes()
        array = np.frombuffer(content, array.dtype).reshape(array.shape)  # bytes, which nobody can make writable
        identity = (content, array.shape, array.dtype.str)
        self._set(array, identity=identity)
        object.__setattr__(self, "_law", Literal(array, identity))  # once: a copy of the bytes is made for each

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        if self.values.shape != tuple(shape):
            raise ValueError(f"literal values have shape {self.values.shape}, the tensor has {tuple(shape)}")
        return self._law

    def moments(self, shape: Any = (), layout: Layout = "oi") -> Moments:
        """Return the mean, std, low and high of the values."""
        return self._law.moments()

    def __repr__(self) -> str:
        return f"literal({self.values.tolist()!r})"


def _exact_array(values: Any) -> np.ndarray:
    """An array of nested lists in which integers stay integers: NumPy makes floats of those beyond its signed types."""
    if hasattr(values, "__array__"):  # such as torch's tensors
        return _array(values)
    try:
        items = np.array(values, dtype=object)
    except ValueError:
        raise ValueError("values must form a regular array") from None
    except Exception:  # what a caller's own __array__ and __len__ raise
        raise TypeError(f"values must form an array of numbers, not {shown(values)}") from None
    kinds = {type(item) for item in items.ravel().tolist()}
    if kinds == {int}:
        for dtype in (np.int64, np.uint64):
            try:
                return items.astype(dtype)
            except OverflowError:
                continue
        raise ValueError("values must fit 64 bits, all signed or all unsigned")
    if kinds <= {int, float} and kinds:
        try:
            return items.astype(np.float64)
        except OverflowError:
            raise ValueError("values must be finite") from None
    return _array(values)


def _array(values: Any) -> np.ndarray:
    try:
        return np.array(values)
    except ValueError:
        raise ValueError("values must form a regular array") from None
    except Exception:  # what a caller's own __array__ raises
        raise TypeError(f"values must form an array of numbers, not {shown(values)}") from None
