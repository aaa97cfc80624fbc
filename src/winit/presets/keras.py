"""keras.initializers (3.15; tf.keras has the same): its classes as factories of schemes, under all names it exports.

Without the seed. Fans are those of a kernel (*spatial, in, out), whatever the tensor's layout; a tensor of one axis,
such as a bias, has both fans equal to its size, and a scalar's are 1. Normal laws are cut at two standard deviations,
but for RandomNormal and "untruncated_normal".
"""

from __future__ import annotations

from collections.abc import Sequence as _Sequence
from math import prod as _prod
from typing import Any as _Any

from winit import schemes as _schemes
from winit._core.checks import check_integer as _check_integer
from winit._core.checks import check_number as _check_number
from winit._core.checks import check_one_of as _check_one_of
from winit._core.checks import check_text as _check_text
from winit._core.checks import integer_of as _integer_of
from winit._core.checks import items_of as _items_of
from winit._core.checks import shown as _shown
from winit._core.laws import Law as _Law
from winit._core.layouts import Layout as _Layout
from winit._core.layouts import fans as _fans
from winit._core.scheme import called as _called
from winit.schemes import Scheme as _Scheme
from winit.schemes import with_layout as _with_layout
from winit.schemes.fan_scaled import centred as _centred

__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

_DISTRIBUTIONS = {"truncated_normal": "truncated_normal", "untruncated_normal": "normal", "uniform": "uniform"}
_MODES = ("fan_in", "fan_out", "fan_avg")


def _axes(value: _Any, what: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    items = None if isinstance(value, (str, bytes)) else _items_of(value)
    axes = [_integer_of(axis) for axis in items or ()]
    if not axes or None in axes:
        raise TypeError(f"{what} must be a sequence of axes or None, not {_shown(value)}")
    return tuple(_check_integer(axis, what, None) for axis in axes)


def _extent(shape: tuple[int, ...], axes: tuple[int, ...], what: str) -> int:
    for axis in axes:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{what} axis {axis} is outside a shape of {len(shape)} axes, {shape}")
    return _prod(shape[axis] for axis in axes)


class VarianceScaling(_Scheme):
    """Draw with variance scale / max(1, n), n the fan_in, the fan_out or their mean, as Keras counts them.

    Parameters
    ----------
    scale : float > 0.
    mode : "fan_in", "fan_out" or "fan_avg".
    distribution : "truncated_normal", cut at two standard deviations and widened by 1/0.8796, so that its standard
        deviation is sqrt(scale / n) all the same; "normal", which is that too; "untruncated_normal"; or "uniform" on
        [-b, b), b = sqrt(3 scale / n). In any case of letters.
    input_axes, output_axes : sequence of int or None. With both, fan_in and fan_out are the products of these extents
        and of no receptive field. One without the other counts for nothing, as in Keras.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, an axis outside the shape.

    Source: keras.initializers.VarianceScaling.

    >>> VarianceScaling(2.0, distribution="untruncated_normal").moments((3, 3, 50, 8)).std
    0.06666666666666667
    >>> VarianceScaling(3.0, distribution="uniform").moments(900).high  # a bias
    0.1
    >>> VarianceScaling(mode="fan_out", input_axes=[0], output_axes=[1, 2])
    keras.VarianceScaling(mode='fan_out', input_axes=(0,), output_axes=(1, 2))

    """

    __slots__ = ("_called", "distribution", "input_axes", "mode", "output_axes", "scale")
    scale: float
    mode: str
    distribution: str
    input_axes: tuple[int, ...] | None
    output_axes: tuple[int, ...] | None

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
    ) -> None:
        scale = _check_number(scale, "scale")
        if scale <= 0:
            raise ValueError(f"scale must be positive, not {scale!r}")
        _check_one_of(mode, _MODES, "mode")
        name = _check_text(distribution, "distribution").lower()
        name = "truncated_normal" if name == "normal" else name
        if name not in _DISTRIBUTIONS:
            known = ", ".join(map(repr, ("normal", *_DISTRIBUTIONS)))
            raise ValueError(f"distribution must be one of {known}, not {_shown(distribution)}")
        self._set(scale, mode, name, _axes(input_axes, "input_axes"), _axes(output_axes, "output_axes"))

    def _fans(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if self.input_axes is not None and self.output_axes is not None:
            return (
                _extent(shape, self.input_axes, "input_axes"),
                _extent(shape, self.output_axes, "output_axes"),
            )
        if len(shape) < 2:
            return (_prod(shape),) * 2
        fan_in, fan_out = _fans(shape, "io")
        assert isinstance(fan_out, int)
        return fan_in, fan_out

    def law(self, shape: tuple[int, ...], layout: _Layout = "oi") -> _Law:
        fan_in, fan_out = self._fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        return _centred(1.0, self.scale, max(1.0, fan), _DISTRIBUTIONS[self.distribution])

    def __repr__(self) -> str:
        return f"keras.{super().__repr__()}"


def _stddev(value: _Any) -> float:
    number = _check_number(value, "stddev")
    if number < 0:
        raise ValueError(f"stddev must not be negative, not {number!r}")
    return number


def Zeros() -> _Scheme:
    """Give 0 everywhere.

    >>> Zeros()
    zeros()
    """
    return _schemes.zeros()


def Ones() -> _Scheme:
    """Give 1 everywhere.

    >>> Ones()
    ones()
    """
    return _schemes.ones()


def Constant(value: float = 0.0) -> _Scheme:
    """Give `value` everywhere; one number.

    >>> Constant(0.5)
    constant(value=0.5)
    """
    return _schemes.constant(value=value)


def Identity(gain: float = 1.0) -> _Scheme:
    """Give a matrix gain times the identity.

    >>> Identity(2.0)
    identity(gain=2.0)
    """
    return _schemes.identity(gain=gain)


def RandomNormal(mean: float = 0.0, stddev: float = 0.05) -> _Scheme:
    """N(mean, stddev^2); not cut.

    >>> RandomNormal()
    normal(std=0.05)
    """
    return _schemes.normal(mean=mean, std=_stddev(stddev))


def TruncatedNormal(mean: float = 0.0, stddev: float = 0.05) -> _Scheme:
    """N(mean, stddev^2) cut to [mean - 2 stddev, mean + 2 stddev]; not widened: its standard deviation is 0.88 stddev.

    >>> TruncatedNormal().moments().high
    0.1
    """
    return _schemes.truncated_normal(mean=mean, std=_stddev(stddev))


def RandomUniform(minval: float = -0.05, maxval: float = 0.05) -> _Scheme:
    """U[minval, maxval).

    >>> RandomUniform()
    uniform(low=-0.05, high=0.05)
    """
    minval, maxval = _check_number(minval, "minval"), _check_number(maxval, "maxval")
    if minval > maxval:
        raise ValueError(f"minval must be at most maxval, not {minval!r} and {maxval!r}")
    return _schemes.uniform(minval, maxval) if minval < maxval else _schemes.constant(minval)


def GlorotUniform(input_axes: _Sequence[int] | None = None, output_axes: _Sequence[int] | None = None) -> _Scheme:
    """U[-b, b), b = sqrt(6 / (fan_in + fan_out)): the default of Keras's layers.

    >>> GlorotUniform().moments((100, 200)).high
    0.1414213562373095
    """
    return _called("GlorotUniform", VarianceScaling(1.0, "fan_avg", "uniform", input_axes, output_axes))


def GlorotNormal(input_axes: _Sequence[int] | None = None, output_axes: _Sequence[int] | None = None) -> _Scheme:
    """N cut at 2 sigma and widened, std = sqrt(2 / (fan_in + fan_out)).

    >>> GlorotNormal()
    keras.VarianceScaling(mode='fan_avg')
    """
    return _called("GlorotNormal", VarianceScaling(1.0, "fan_avg", "truncated_normal", input_axes, output_axes))


def LecunNormal(input_axes: _Sequence[int] | None = None, output_axes: _Sequence[int] | None = None) -> _Scheme:
    """N cut at 2 sigma and widened, std = sqrt(1 / fan_in).

    >>> LecunNormal()
    keras.VarianceScaling()
    """
    return _called("LecunNormal", VarianceScaling(1.0, "fan_in", "truncated_normal", input_axes, output_axes))


def LecunUniform(input_axes: _Sequence[int] | None = None, output_axes: _Sequence[int] | None = None) -> _Scheme:
    """U[-b, b), b = sqrt(3 / fan_in).

    >>> LecunUniform().moments((300, 10)).high
    0.1
    """
    return _called("LecunUniform", VarianceScaling(1.0, "fan_in", "uniform", input_axes, output_axes))


def HeNormal(input_axes: _Sequence[int] | None = None, output_axes: _Sequence[int] | None = None) -> _Scheme:
    """N cut at 2 sigma and widened, std = sqrt(2 / fan_in).

    >>> round(HeNormal().moments((3, 3, 100, 8)).std, 12)
    0.047140452079
    """
    return _called("HeNormal", VarianceScaling(2.0, "fan_in", "truncated_normal", input_axes, output_axes))


def HeUniform(input_axes: _Sequence[int] | None = None, output_axes: _Sequence[int] | None = None) -> _Scheme:
    """U[-b, b), b = sqrt(6 / fan_in).

    >>> HeUniform().moments((600, 10)).high
    0.1
    """
    return _called("HeUniform", VarianceScaling(2.0, "fan_in", "uniform", input_axes, output_axes))


def Orthogonal(gain: float = 1.0) -> _Scheme:
    """Orthonormal rows or columns of the matrix (all other axes, last axis), whichever are fewer, times gain.

    >>> Orthogonal(2.0)
    with_layout(scheme=orthogonal(gain=2.0), layout='io')
    """
    return _with_layout(_schemes.orthogonal(gain=gain), "io")


def STFT(
    side: str = "real",
    window: str | _Sequence[float] | None = "hann",
    scaling: str | None = "density",
    periodic: bool = False,
) -> _Scheme:
    """Windowed Fourier basis of a kernel (T, 1, F / 2 + 1), its real or imaginary side; see winit.stft.

    Windows by name are hann, hamming, blackman and boxcar; of scipy's others give the numbers.

    >>> STFT("imag", window=None)
    with_layout(scheme=stft(side='imag', window=None), layout='io')
    """
    return _with_layout(_schemes.stft(side=side, window=window, scaling=scaling, periodic=periodic), "io")


# ---- the other names that Keras exports

IdentityInitializer = identity = Identity
OrthogonalInitializer = orthogonal = Orthogonal
STFTInitializer = stft = STFT
zeros = Zeros
ones = Ones
constant = Constant
random_normal = RandomNormal
truncated_normal = TruncatedNormal
random_uniform = RandomUniform
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
he_normal = HeNormal
he_uniform = HeUniform


def __dir__() -> list[str]:
    return __all__
