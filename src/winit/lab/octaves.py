"""How large the values of a layer are: counts of magnitudes by powers of two, the same edges for every network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Octaves"]


class Octaves(NamedTuple):
    """Counts of |value| in [2^k, 2^(k + 1)) for k = lowest, lowest + 1, ...; of zeros; and of what is not finite.

    The edges are exact and fixed, so that counts of any two layers can be compared.
    """

    lowest: int
    counts: tuple[int, ...]
    zeros: int
    not_finite: int

    @classmethod
    def of(cls, values: np.ndarray) -> Octaves:
        """Count.

        >>> import numpy as np
        >>> Octaves.of(np.array([0.0, 0.25, -0.3, 1.0, np.inf]))
        Octaves(lowest=-2, counts=(2, 0, 1), zeros=1, not_finite=1)

        """
        flat = np.ravel(values)
        finite = flat[np.isfinite(flat)]
        there = finite[finite != 0]
        zeros, lost = len(finite) - len(there), len(flat) - len(finite)
        if not len(there):
            return cls(0, (), zeros, lost)
        exponents = np.frexp(there)[1] - 1  # frexp's mantissa is in [1/2, 1)
        lowest = int(exponents.min())
        return cls(lowest, tuple(np.bincount(exponents - lowest).tolist()), zeros, lost)

    @property
    def total(self) -> int:
        """All values."""
        return sum(self.counts) + self.zeros + self.not_finite
