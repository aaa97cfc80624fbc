"""Statistics of a batch, samples by units, of rows and columns at once, over threads.

All sums are float64 and have one order, which neither threads nor machine change: 64 rows after another, and in them
one row after another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from winit import _kernels
from winit._core.threads import run_tasks

__all__ = ["BatchStatistics", "batch_statistics"]

ROWS = 64  # rows of a batch to one partial sum; as WINIT_PIECE


class BatchStatistics(NamedTuple):
    """What was summed of a batch, in float64; not finite where an element is not, or a square is too large.

    lengths : (samples,), sum of each sample's squares. mean, variance : (units,), over samples. nonzeros : (units,),
    how many are not 0. direction : (units,), sum of the samples scaled to length 1. blank : samples that are all 0 and
    have no direction.
    """

    lengths: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    nonzeros: np.ndarray | None
    direction: np.ndarray | None
    blank: int


def batch_statistics(y: np.ndarray, *, directions: bool = True, threads: int | None = None) -> BatchStatistics:
    """Sum over the samples and the units of a batch, in two sweeps over pieces that the cache holds.

    Variances are taken about each unit's first sample, so that they are exactly 0 where all samples are equal, and lose
    nothing where samples hardly differ.

    Parameters
    ----------
    y : float32 or float64 array (samples, units), contiguous and not empty.
    directions : bool. Count what is not 0, and sum the directions, too.
    threads : int or None, the processors this process may use.

    Returns
    -------
    BatchStatistics.

    """
    samples, units = y.shape
    engine, isa = _kernels.dense_in_use()
    lengths = np.empty(samples)
    sums = np.zeros((-(-samples // ROWS), 4 if directions else 2, units))
    blanks = [0] * len(sums)

    def take(i: int) -> None:
        blanks[i] = engine.measure(isa, y, ROWS * i, lengths, sums[i])

    run_tasks(take, range(len(sums)), threads)
    with _kernels.default_float_mode(), np.errstate(all="ignore"):
        total = sums[0]
        for piece in sums[1:]:
            total += piece
        apart = total[0] / samples
        variance = np.maximum(total[1] / samples - apart * apart, 0.0)
        nonzeros, direction = (total[2], total[3]) if directions else (None, None)
        return BatchStatistics(lengths, y[0] + apart, variance, nonzeros, direction, sum(blanks))
