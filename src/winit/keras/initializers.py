"""keras.initializers' classes, parameters and laws, with winit's values; saved and loaded as `winit>HeNormal`.

An int seed gives the values of the stream (seed, name) at every call, which is what winit.draw gives: layers with one
initializer have equal weights, as with Keras's own. Give each its own name, or use winit.keras.initialize.
"""

from __future__ import annotations

from collections.abc import Sequence as _Sequence
from typing import Any as _Any

from keras.saving import register_keras_serializable as _register

from winit.keras.calling import Drawn as _Drawn
from winit.keras.calling import Fixed as _Fixed
from winit.presets import keras as _presets

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

_registered = _register(package="winit")


@_registered
class Zeros(_Fixed):
    """Give 0 everywhere.

    >>> Zeros()
    Zeros()
    """

    def __init__(self) -> None:
        super().__init__(_presets.Zeros())


@_registered
class Ones(_Fixed):
    """Give 1 everywhere.

    >>> Ones()
    Ones()
    """

    def __init__(self) -> None:
        super().__init__(_presets.Ones())


@_registered
class Constant(_Fixed):
    """Give `value` everywhere; one number.

    >>> Constant(0.5)
    Constant(value=0.5)
    """

    def __init__(self, value: float = 0.0) -> None:
        super().__init__(_presets.Constant(value), value=value)


@_registered
class Identity(_Fixed):
    """Give a matrix gain times the identity.

    >>> Identity(2.0)
    Identity(gain=2.0)
    """

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__(_presets.Identity(gain), gain=gain)


@_registered
class STFT(_Fixed):
    """Windowed Fourier basis of a kernel (T, 1, F / 2 + 1), its real or imaginary side; see winit.stft.

    >>> STFT("imag", window=None).get_config()["side"]
    'imag'
    """

    def __init__(
        self,
        side: str = "real",
        window: _Any = "hann",
        scaling: str | None = "density",
        periodic: bool = False,
    ) -> None:
        super().__init__(
            _presets.STFT(side, window, scaling, periodic), side=side, window=window, scaling=scaling, periodic=periodic
        )


@_registered
class RandomNormal(_Drawn):
    """N(mean, stddev^2); not cut.

    >>> RandomNormal(stddev=0.02, seed=0).clone().get_config()["seed"]
    0
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: _Any = None, *, name: str = "") -> None:
        super().__init__(_presets.RandomNormal(mean, stddev), seed, name, mean=mean, stddev=stddev)


@_registered
class TruncatedNormal(_Drawn):
    """N(mean, stddev^2) cut at two stddev; not widened.

    >>> TruncatedNormal(seed=0).scheme.moments().high
    0.1
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: _Any = None, *, name: str = "") -> None:
        super().__init__(_presets.TruncatedNormal(mean, stddev), seed, name, mean=mean, stddev=stddev)


@_registered
class RandomUniform(_Drawn):
    """U[minval, maxval).

    >>> RandomUniform(seed=0).scheme
    uniform(low=-0.05, high=0.05)
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: _Any = None, *, name: str = "") -> None:
        super().__init__(_presets.RandomUniform(minval, maxval), seed, name, minval=minval, maxval=maxval)


@_registered
class VarianceScaling(_Drawn):
    """Mean 0, variance scale / max(1, n), n the fan_in, the fan_out or their mean ("fan_avg"), as Keras counts them.

    See winit.presets.keras.VarianceScaling, which has the law.

    >>> VarianceScaling(2.0, seed=0).scheme
    keras.VarianceScaling(scale=2.0)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: _Any = None,
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(
            _presets.VarianceScaling(scale, mode, distribution, input_axes, output_axes),
            seed,
            name,
            scale=scale,
            mode=mode,
            distribution=distribution,
            input_axes=input_axes,
            output_axes=output_axes,
        )


@_registered
class GlorotUniform(_Drawn):
    """U[-b, b), b = sqrt(6 / (fan_in + fan_out)): the default of Keras's layers.

    >>> GlorotUniform(seed=0, name="fc.kernel")((4, 3)).shape == (4, 3)
    True
    """

    def __init__(
        self,
        seed: _Any = None,
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(
            _presets.GlorotUniform(input_axes, output_axes), seed, name, input_axes=input_axes, output_axes=output_axes
        )


@_registered
class GlorotNormal(_Drawn):
    """N cut at 2 sigma and widened, std = sqrt(2 / (fan_in + fan_out)).

    >>> GlorotNormal(seed=0, name="fc.kernel")((4, 3)).shape == (4, 3)
    True
    """

    def __init__(
        self,
        seed: _Any = None,
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(
            _presets.GlorotNormal(input_axes, output_axes), seed, name, input_axes=input_axes, output_axes=output_axes
        )


@_registered
class LecunNormal(_Drawn):
    """N cut at 2 sigma and widened, std = sqrt(1 / fan_in).

    >>> LecunNormal(seed=0, name="fc.kernel")((4, 3)).shape == (4, 3)
    True
    """

    def __init__(
        self,
        seed: _Any = None,
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(
            _presets.LecunNormal(input_axes, output_axes), seed, name, input_axes=input_axes, output_axes=output_axes
        )


@_registered
class LecunUniform(_Drawn):
    """U[-b, b), b = sqrt(3 / fan_in).

    >>> LecunUniform(seed=0, name="fc.kernel")((4, 3)).shape == (4, 3)
    True
    """

    def __init__(
        self,
        seed: _Any = None,
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(
            _presets.LecunUniform(input_axes, output_axes), seed, name, input_axes=input_axes, output_axes=output_axes
        )


@_registered
class HeNormal(_Drawn):
    """N cut at 2 sigma and widened, std = sqrt(2 / fan_in).

    >>> HeNormal(seed=0, name="fc.kernel")((4, 3)).shape == (4, 3)
    True
    """

    def __init__(
        self,
        seed: _Any = None,
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(
            _presets.HeNormal(input_axes, output_axes), seed, name, input_axes=input_axes, output_axes=output_axes
        )


@_registered
class HeUniform(_Drawn):
    """U[-b, b), b = sqrt(6 / fan_in).

    >>> HeUniform(seed=0, name="fc.kernel")((4, 3)).shape == (4, 3)
    True
    """

    def __init__(
        self,
        seed: _Any = None,
        input_axes: _Sequence[int] | None = None,
        output_axes: _Sequence[int] | None = None,
        *,
        name: str = "",
    ) -> None:
        super().__init__(
            _presets.HeUniform(input_axes, output_axes), seed, name, input_axes=input_axes, output_axes=output_axes
        )


@_registered
class Orthogonal(_Drawn):
    """Orthonormal rows or columns of the matrix (all other axes, last axis), whichever are fewer, times gain.

    >>> Orthogonal(seed=0)((4, 3)).shape == (4, 3)
    True
    """

    def __init__(self, gain: float = 1.0, seed: _Any = None, *, name: str = "") -> None:
        super().__init__(_presets.Orthogonal(gain), seed, name, gain=gain)


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
