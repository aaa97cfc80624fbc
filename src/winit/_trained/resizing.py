"""Weights made for another size of input: a grid of position embeddings, and the channels of a first convolution.

Both are linear maps of the old values, computed in float64 in a fixed order: their bits are the same everywhere.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["bicubic", "grids", "other_channels"]


def grids(old: int, new: int) -> tuple[int, int, int] | None:
    """Take two counts of positions as a square grid behind prefix tokens: (prefix, old side, new side).

    The fewest prefix tokens that leave squares of both counts; None where none do.

    >>> grids(197, 577), grids(196, 256), grids(198, 578), grids(10, 12)
    ((1, 14, 24), (0, 14, 16), (2, 14, 24), None)
    """
    for prefix in range(min(old, new)):
        sides = math.isqrt(old - prefix), math.isqrt(new - prefix)
        if (sides[0] ** 2, sides[1] ** 2) == (old - prefix, new - prefix) and 1 not in sides:
            return prefix, *sides
    return None


def _weights(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new position along an axis, the four old ones and what each counts: Keys's cubic with a = -3/4.

    Pixels are areas (torch's align_corners=False): position i lies at (i + 1/2) old / new - 1/2 of the old axis. Beyond
    an end, the end itself counts.
    """
    # In integers over 2 new, so that positions are exact: (2 i + 1) old - new.
    places = (2 * np.arange(new) + 1) * old - new
    first = places // (2 * new)
    t = (places - first * 2 * new) / (2 * new)
    a = -0.75
    near = [((a + 2) * x - (a + 3)) * x * x + 1 for x in (t, 1 - t)]
    far = [((a * x - 5 * a) * x + 8 * a) * x - 4 * a for x in (t + 1, 2 - t)]
    weights = np.stack([far[0], near[0], near[1], far[1]])
    return np.clip(first + np.arange(-1, 3)[:, None], 0, old - 1), weights


def _along(values: np.ndarray, axis: int, new: int) -> np.ndarray:
    taps, weights = _weights(values.shape[axis], new)
    shape = [new if at == axis else 1 for at in range(values.ndim)]
    total = values.take(taps[0], axis) * weights[0].reshape(shape)
    for tap, weight in zip(taps[1:], weights[1:], strict=True):
        total += values.take(tap, axis) * weight.reshape(shape)
    return total


def bicubic(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resize the first two axes of a float64 array: along the second, then along the first.

    Source: Keys 1981, "Cubic convolution interpolation for digital image processing"; torch.nn.functional.interpolate
    with mode="bicubic", align_corners=False and no antialiasing.
    """
    return _along(_along(grid, 1, columns), 0, rows)


def other_channels(weights: np.ndarray, axis: int, new: int) -> np.ndarray:
    """Make a convolution's input channels fewer or more, so that equal inputs give what they gave.

    One: the sum of the old. Otherwise channel i is old channel i mod old, times old / new.
    """
    old = weights.shape[axis]
    parts = np.moveaxis(weights, axis, 0)
    if new == 1:
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        made = total[None]
    else:
        made = parts[np.arange(new) % old] * (old / new)
    return np.moveaxis(made, 0, axis)
