"""What a batch of numbers tells of a layer: sizes, differences between samples, and a verdict."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from winit._dense.statistics import batch_statistics

__all__ = ["VERDICTS", "Measured", "verdict_of"]

VERDICTS = ("healthy", "vanishing", "exploding", "dead", "saturated")
SMALL, LARGE = 1e-2, 1e2  # of the input's size, or of the gradient's at the output: vanished below, exploded above
DEAD = 0.9  # share of units: deep relu networks, where all samples become alike, have half of their units at 0 for all
SATURATED = 0.5  # share of elements


class Measured(NamedTuple):
    """Statistics of a batch (samples, units), in float64; inf where an element is not finite.

    mean, std, second_moment : over all elements. unit_std : mean of the units' stds. dead : share of units that are 0
    for all samples. correlation : mean cosine of two samples; NaN where one is all 0. spread : of singular values,
    where the batch is J' g, g standard normal: tr M^2 n / (tr M)^2, M = J J'.

    |J' g|^2 has mean tr M and variance 2 tr M^2. With the same J for all samples the spread would be exact but for
    sampling; where J depends on the sample, its spread from sample to sample is in it too.
    """

    mean: float
    std: float
    second_moment: float
    unit_std: float
    dead: float
    correlation: float
    spread: float

    @classmethod
    def of(cls, y: np.ndarray, *, gradient: bool = False, threads: int | None = None) -> Measured:
        """Take the statistics; of a gradient not dead and correlation, which are NaN, and of others not the spread."""
        if y.dtype.kind != "f" or y.dtype.itemsize not in (4, 8):
            y = y.astype(np.float64)
        found = batch_statistics(np.ascontiguousarray(y), directions=not gradient, threads=threads)
        samples, units = y.shape
        dead = math.nan if found.nonzeros is None else float((found.nonzeros == 0).mean())
        if not np.isfinite(found.variance).all():
            return cls(*(math.inf,) * 4, dead, *((math.nan, math.inf) if gradient else (math.inf, math.nan)))
        mean, varying = float(found.mean.mean()), float(found.variance.mean())
        second = varying + float((found.mean * found.mean).mean())
        std = math.sqrt(varying + float(((found.mean - mean) ** 2).mean()))
        correlation = spread = math.nan
        if found.direction is not None and samples > 1 and not found.blank:
            total = float((found.direction * found.direction).sum())
            correlation = (total - samples) / (samples * (samples - 1))
        elif gradient and samples > 1:
            spread = _spread(found.lengths, units)
        return cls(mean, std, second, float(np.sqrt(found.variance).mean()), dead, correlation, spread)


def _spread(lengths: np.ndarray, units: int) -> float:
    """Estimate tr M^2 n / (tr M)^2 from the sums of squares of samples."""
    mean = float(lengths.mean())
    return float(lengths.var()) / (mean * mean) * units / 2 if mean else math.nan


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
