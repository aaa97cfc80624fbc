"""jax.nn.initializers' names, parameters, protocol and laws, with winit's values.

Each function returns an initializer, (key, shape, dtype=None, out_sharding=None) -> jax.Array, for flax.linen, flax.nnx
and plain code, under jit, vmap and scan; zeros and ones are initializers themselves, as in JAX. An initializer's values
are those of the stream that winit.jax.key_stream(key) names, under the law that winit.presets.jax has by its name.
"""

from __future__ import annotations

from collections.abc import Sequence as _Sequence
from typing import Any as _Any

from winit.jax.calling import ConstantInitializer as _ConstantInitializer
from winit.jax.calling import Initializer as _Initializer
from winit.jax.calling import ones, zeros
from winit.presets import jax as _presets

__all__ = [
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

_AxisOrAxes = int | _Sequence[int]


def constant(value: _Any, dtype: _Any = None) -> _ConstantInitializer:
    """Give `value` everywhere: a number, or an array that is broadcast.

    >>> constant(0.5)(None, (2,)).tolist()
    [0.5, 0.5]
    """
    return _ConstantInitializer(value, dtype)


def uniform(scale: float = 1e-2, dtype: _Any = None) -> _Initializer:
    """U[0, scale), not symmetric.

    >>> import jax
    >>> bool(uniform(2.0)(jax.random.key(0), (100,)).min() >= 0)
    True
    """
    return _Initializer(_presets.uniform(scale), dtype)


def normal(stddev: float = 1e-2, dtype: _Any = None) -> _Initializer:
    """N(0, stddev^2).

    >>> import jax
    >>> normal(0.02, "bfloat16")(jax.random.key(0), (2, 3)).dtype
    dtype(bfloat16)
    """
    return _Initializer(_presets.normal(stddev), dtype)


def truncated_normal(stddev: float = 1e-2, dtype: _Any = None, lower: float = -2.0, upper: float = 2.0) -> _Initializer:
    """N(0, stddev^2) cut to [lower stddev, upper stddev]; not widened.

    >>> import jax
    >>> bool(abs(truncated_normal(1.0)(jax.random.key(0), (100,))).max() <= 2)
    True
    """
    return _Initializer(_presets.truncated_normal(stddev, lower, upper), dtype)


def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
    dtype: _Any = None,
) -> _Initializer:
    """Mean 0, std = sqrt(scale / n), n = fan_in, fan_out, "fan_avg" or "fan_geo_avg".

    "truncated_normal" is cut at two standard deviations and widened by 1/0.8796, so that std holds; "normal";
    "uniform".

    >>> import jax
    >>> embed = variance_scaling(1.0, "fan_in", "normal", out_axis=0)  # flax's Embed
    >>> round(float(embed(jax.random.key(0), (1000, 400)).std()), 3)
    0.05
    """
    scheme = _presets.variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis)
    return _Initializer(scheme, dtype)


def glorot_uniform(
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
    dtype: _Any = None,
) -> _Initializer:
    """U[-b, b), b = sqrt(6 / (fan_in + fan_out)).

    >>> import jax
    >>> glorot_uniform()(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return _Initializer(_presets.glorot_uniform(in_axis, out_axis, batch_axis), dtype)


def glorot_normal(
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
    dtype: _Any = None,
) -> _Initializer:
    """N cut at 2 sigma and widened, std = sqrt(2 / (fan_in + fan_out)).

    >>> import jax
    >>> glorot_normal()(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return _Initializer(_presets.glorot_normal(in_axis, out_axis, batch_axis), dtype)


def lecun_uniform(
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
    dtype: _Any = None,
) -> _Initializer:
    """U[-b, b), b = sqrt(3 / fan_in).

    >>> import jax
    >>> lecun_uniform()(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return _Initializer(_presets.lecun_uniform(in_axis, out_axis, batch_axis), dtype)


def lecun_normal(
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
    dtype: _Any = None,
) -> _Initializer:
    """N cut at 2 sigma and widened, std = sqrt(1 / fan_in): the default of flax's Dense and Conv.

    >>> import jax
    >>> lecun_normal()(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return _Initializer(_presets.lecun_normal(in_axis, out_axis, batch_axis), dtype)


def he_uniform(
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
    dtype: _Any = None,
) -> _Initializer:
    """U[-b, b), b = sqrt(6 / fan_in).

    >>> import jax
    >>> he_uniform()(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return _Initializer(_presets.he_uniform(in_axis, out_axis, batch_axis), dtype)


def he_normal(
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
    dtype: _Any = None,
) -> _Initializer:
    """N cut at 2 sigma and widened, std = sqrt(2 / fan_in).

    >>> import jax
    >>> he_normal()(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return _Initializer(_presets.he_normal(in_axis, out_axis, batch_axis), dtype)


def orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: _Any = None) -> _Initializer:
    """Orthonormal rows or columns of the matrix (all other axes, column_axis), whichever are fewer, times scale.

    >>> import jax
    >>> orthogonal()(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return _Initializer(_presets.orthogonal(scale, column_axis), dtype)


def delta_orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: _Any = None) -> _Initializer:
    """0 but at the centre of a kernel (*spatial, in, out), orthonormal rows there.

    >>> import jax
    >>> delta_orthogonal()(jax.random.key(0), (3, 3, 4, 8)).shape
    (3, 3, 4, 8)
    """
    return _Initializer(_presets.delta_orthogonal(scale, column_axis), dtype)


xavier_uniform = glorot_uniform
xavier_normal = glorot_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal


def __dir__() -> list[str]:
    return __all__
