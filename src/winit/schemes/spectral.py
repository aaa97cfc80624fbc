"""Kernels that take a spectrum: the short-time Fourier transform as a convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from winit._core.checks import check_number, check_one_of, items_of, shown
from winit._core.layouts import Layout, roles
from winit._core.portable import cosines, cosines_at
from winit.schemes.base import Entries, FormulaScheme

__all__ = ["stft"]

_WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46), "blackman": (0.42, 0.5, 0.08), "boxcar": (1.0,)}


class stft(FormulaScheme):
    """Fill a one-dimensional convolution with a windowed Fourier basis, the real or the imaginary side.

    kernel[t, f] = w_t cos(2 pi t f / F) / s, or -w_t sin(2 pi t f / F) / s, for t < T and f <= F / 2, F being twice the
    number of out-channels less one; s is sqrt(sum w^2) for "density", sum |w| for "spectrum".

    Parameters
    ----------
    side : "real" or "imag".
    window : "hann", "hamming", "blackman", "boxcar", a sequence of T numbers, or None for no window and no scaling.
    scaling : "density", "spectrum" or None.
    periodic : bool. The window as a period of a periodic function, rather than symmetric.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape that is not one in-channel along one
        spatial axis, or one out-channel alone.

    Source: keras.initializers.STFTInitializer; windows as scipy.signal.windows.

    >>> import winit
    >>> winit.draw(winit.stft(window=None), (4, 1, 3), seed=0, layout="io")[:, 0].T.tolist()
    [[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, -1.0, 0.0], [1.0, -1.0, 1.0, -1.0]]

    """

    __slots__ = ("periodic", "scaling", "side", "window")
    side: str
    window: str | tuple[float, ...] | None
    scaling: str | None
    periodic: bool

    def __init__(
        self,
        side: str = "real",
        window: str | Sequence[float] | None = "hann",
        scaling: str | None = "density",
        periodic: bool = False,
    ) -> None:
        check_one_of(side, ("real", "imag"), "side")
        if isinstance(window, str):
            if window not in _WINDOWS:
                raise ValueError(
                    f"window must be one of {', '.join(map(repr, _WINDOWS))}, numbers or None, not {shown(window)}"
                )
        elif window is not None:
            numbers = items_of(window)
            if numbers is None:
                raise TypeError(
                    f"window must be one of {', '.join(map(repr, _WINDOWS))}, numbers or None, not {shown(window)}"
                )
            window = tuple(check_number(number, "window") for number in numbers)
        if scaling is not None and (not isinstance(scaling, str) or scaling not in ("density", "spectrum")):
            wrong = ValueError if isinstance(scaling, str) else TypeError
            raise wrong(f"scaling must be 'density', 'spectrum' or None, not {shown(scaling)}")
        if not isinstance(periodic, (bool, np.bool_)):
            raise TypeError(f"periodic must be a bool, not {shown(periodic)}")
        self._set(side, window, scaling, bool(periodic))

    def _window(self, length: int) -> np.ndarray | None:
        if self.window is None:
            return None
        if isinstance(self.window, tuple):
            if len(self.window) != length:
                raise ValueError(f"the window has {len(self.window)} numbers, the kernel {length}")
            return np.array(self.window)
        if length == 1:
            return np.ones(1)
        turns = length if self.periodic else length - 1
        angle = np.arange(length)
        total = np.zeros(length)
        for k, coefficient in enumerate(_WINDOWS[self.window]):
            total += (-1) ** k * coefficient * cosines(turns)[k * angle % turns]
        return total

    def entries(self, box: tuple[slice, ...], shape: tuple[int, ...], layout: Layout) -> Entries:
        _, ins, outs, _ = roles(shape, layout)
        if len(shape) != 3 or len(ins) != 1 or len(outs) != 1 or ins == outs or shape[next(iter(ins))] != 1:
            raise ValueError(f"stft fills kernels of one channel in and one spatial axis, not {shape} in {layout!r}")
        (out,), (in_,) = outs, ins
        (along,) = {0, 1, 2} - {out, in_}
        length, bands = shape[along], shape[out]
        if bands < 2:
            raise ValueError(f"stft needs at least 2 channels out, F / 2 + 1 for F frequencies, not {bands} ({shape})")
        count = 2 * (bands - 1)
        t, f = np.ogrid[box[along], box[out]]
        # -sin x = cos(x + a quarter turn), taken among 4 F angles so that a quarter is whole
        values = cosines_at((4 * (t * f % count) + (count if self.side == "imag" else 0)) % (4 * count), 4 * count)
        window = self._window(length)
        if window is not None:
            values = values * window[t] / self._scale(window)
        return Entries(None, np.expand_dims(values if along < out else values.T, in_))

    def _scale(self, window: np.ndarray) -> float:
        """What the window is divided by."""
        scale = 1.0
        try:
            with np.errstate(over="ignore"):
                if self.scaling == "density":
                    scale = math.sqrt(math.fsum(np.square(window)))
                elif self.scaling == "spectrum":
                    scale = math.fsum(np.abs(window))
        except OverflowError:  # fsum's word for a sum beyond float64
            scale = math.inf
        if scale == math.inf:
            raise ValueError(f"the window of {len(window)} numbers must have a sum within the range of float64")
        if scale == 0:
            raise ValueError(f"the window of {len(window)} numbers is 0 everywhere, and cannot be scaled")
        return scale

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        if 0 in shape:
            return 0.0
        _, (in_,), (out,), _ = roles(shape, layout)
        (along,) = {0, 1, 2} - {out, in_}
        window = self._window(shape[along])
        if window is None:
            return 1.0
        felt = window[1:] if self.side == "imag" else window  # every sine of time 0 is 0
        return float(np.abs(felt).max(initial=0.0)) / self._scale(window)
