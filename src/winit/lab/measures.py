"""What a batch of numbers tells of a layer: sizes, differences between samples, and a verdict."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

__all__ = ["VERDICTS", "Measured", "spread", "verdict_of"]

VERDICTS = ("healthy", "vanishing", "exploding", "dead", "saturated")
SMALL, LARGE = 1e-2, 1e2  # of the input's size, or of the gradient's at the output: vanished below, exploded above
DEAD = 0.9  # share of units: deep relu networks, where all samples become alike, have half of their units at 0 for all
SATURATED = 0.5  # share of elements


class Measured(NamedTuple):
    """Statistics of a batch (samples, units), in float64; inf where an element is not finite.

    mean, std, second_moment : over all elements. unit_std : mean of the units' stds. dead : share of units that are 0
    for all samples. correlation : mean cosine of two samples.
    """

    mean: float
    std: float
    second_moment: float
    unit_std: float
    dead: float
    correlation: float

    @classmethod
    def of(cls, y: np.ndarray) -> Measured:
        """Take the statistics."""
        dead = float((y == 0).all(axis=0).mean())
        if not np.isfinite(y).all():
            return cls(math.inf, math.inf, math.inf, math.inf, dead, math.inf)
        wide = y.astype(np.float64)
        mean, second = float(wide.mean()), float((wide * wide).mean())
        std = float(np.sqrt(((wide - mean) ** 2).mean()))
        return cls(mean, std, second, float(wide.std(axis=0).mean()), dead, _correlation(wide))


def _correlation(y: np.ndarray) -> float:
    """Mean cosine over pairs of samples: from the length of the sum of unit vectors."""
    batch = len(y)
    largest = np.abs(y).max(axis=1, keepdims=True)
    if batch < 2 or (largest == 0).any():
        return math.nan
    units = y / largest
    units = units / np.sqrt((units * units).sum(axis=1, keepdims=True))
    total = units.sum(axis=0)
    return float(((total * total).sum() - batch) / (batch * (batch - 1)))


def spread(grad: np.ndarray) -> float:
    """Estimate tr M^2 n / (tr M)^2, M = J J': for normal g, |J' g|^2 has mean tr M and variance 2 tr M^2.

    With the same J for all samples it would be exact but for sampling; where J depends on the sample, its spread from
    sample to sample is in it too.
    """
    wide = grad.astype(np.float64)
    norms = (wide * wide).sum(axis=1)
    mean = norms.mean()
    if len(norms) < 2 or mean == 0:
        return math.nan
    if not np.isfinite(norms).all():
        return math.inf
    return float(norms.var() / (mean * mean) * grad.shape[1] / 2)


def verdict_of(y: Measured, grad_std: float, given: Measured, sent_std: float, saturated: float = 0.0) -> str:
    """Return a layer's verdict by the rule of winit.lab.signal; a gradient that is NaN does not count.

    Parameters
    ----------
    y : of the layer's output. grad_std : of the gradient there. given : of the network's input. sent_std : of the
    gradient at its output. saturated : share of elements, of an activation that can be.

    """
    size = max(given.std, math.sqrt(given.second_moment))
    if not math.sqrt(y.second_moment) <= LARGE * size or grad_std > LARGE * sent_std:
        return "exploding"
    if y.dead >= DEAD:
        return "dead"
    if saturated >= SATURATED:
        return "saturated"
    if y.unit_std < SMALL * given.unit_std or grad_std < SMALL * sent_std:
        return "vanishing"
    return "healthy"
