"""State-space models: Mamba's decay rates and the biases of its step sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from winit._core.bounds import Destination, store
from winit._core.checks import check_number, check_positive
from winit._core.laws import Moments, Uniform
from winit._core.layouts import Layout
from winit._core.portable import exp_array, log_array, log_of_expm1
from winit.schemes.base import Entries, FormulaScheme

if TYPE_CHECKING:
    from winit._core.whole import TensorStream

__all__ = ["mamba_a_log", "mamba_dt_bias"]

UNIFORM = Uniform(0.0, 1.0)


class mamba_a_log(FormulaScheme):
    """Fill the log of a state-space model's decay rates: log(1), log(2), ..., log(N) along the last axis.

    Raises
    ------
    ValueError : when drawn, a scalar.

    Source: Gu & Dao 2023, "Mamba" (arXiv 2312.00752), section 3.6 (S4D-Real); transformers' MambaMixer.

    >>> import winit
    >>> winit.draw(winit.mamba_a_log(), (1, 3), seed=0).tolist()
    [[0.0, 0.6931471824645996, 1.0986123085021973]]

    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        return float(log_array(np.array(float(max(shape[-1], 1)))))

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        if not shape:
            raise ValueError("mamba_a_log needs an axis to count along, not a scalar")
        return Entries(None, log_array(np.arange(box[-1].start + 1, box[-1].stop + 1, dtype=np.float64)))

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        """Those of one row: all are the same."""
        return super().whole_moments(shape[-1:] if 0 not in shape else (0,), layout)


class mamba_dt_bias(FormulaScheme):
    """Draw the bias whose softplus is a step size dt, log-uniform on [low, high]: b = dt + log(1 - e^-dt).

    Parameters
    ----------
    low, high : float, 0 < low < high < 700. Ends of dt.
    floor : float >= 0. Steps below it are set to it.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value.

    Source: Gu & Dao 2023, "Mamba" (arXiv 2312.00752), section 3.6; transformers' MambaMixer (dt_init_floor).

    >>> import numpy as np, winit
    >>> dt = np.logaddexp(0, winit.draw(winit.mamba_dt_bias(), 1000, seed=0, dtype="float64"))
    >>> bool(0.001 <= dt.min() < 0.0011 and 0.09 < dt.max() <= 0.1)
    True

    """

    __slots__ = ("floor", "high", "low")
    low: float
    high: float
    floor: float

    def __init__(self, low: float = 0.001, high: float = 0.1, floor: float = 1e-4) -> None:
        low, high, floor = check_positive(low, "low"), check_positive(high, "high"), check_number(floor, "floor")
        if not low < high:
            raise ValueError(f"low must be less than high, not {low!r} and {high!r}")
        if not (low > 1e-300 and high < 700 and 0 <= floor < 700):
            raise ValueError(
                f"step sizes must be between 1e-300 and 700, not low={low!r}, high={high!r}, floor={floor!r}"
            )
        self._set(low, high, floor)

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        pass

    def _steps(self, u: np.ndarray) -> np.ndarray:
        low, high = log_array(np.array([self.low, self.high]))
        return np.maximum(np.clip(exp_array(low + (high - low) * u), self.low, self.high), self.floor)

    def write(
        self,
        to: Destination,
        out: np.ndarray,
        box: tuple[slice, ...],
        stream: TensorStream,
        shape: tuple[int, ...],
        layout: Layout,
    ) -> None:
        u = stream.draw(UNIFORM, shape, box).astype(np.float64)
        store(to, out, ..., log_of_expm1(self._steps(u)).astype(stream.dtype))

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        """By Gauss-Legendre quadrature in u on both sides of the floor."""
        ends = log_of_expm1(self._steps(np.array([0.0, 1.0])))
        low, high = log_array(np.array([self.low, self.high]))
        kink = min(max((math.log(self.floor) - low) / (high - low), 0.0), 1.0) if self.floor > 0 else 0.0
        nodes, weights = np.polynomial.legendre.leggauss(100)
        points = kink + (1 - kink) * (nodes + 1) / 2
        values, mass = log_of_expm1(self._steps(points)), (1 - kink) * weights / 2
        mean = float((values * mass).sum() + kink * ends[0])
        variance = float((np.square(values - mean) * mass).sum() + kink * (ends[0] - mean) ** 2)
        return Moments(mean, math.sqrt(variance), float(ends[0]), float(ends[1]))
