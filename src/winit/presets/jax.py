"""jax.nn.initializers (0.10), which flax's linen and nnx re-export: its functions, as factories of schemes.

Without the key, the dtype and the sharding. zeros and ones are initialisers themselves in JAX, and factories here;
flax's zeros_init and ones_init are these. A constant is one number. Fans are counted from the axes named, whatever the
tensor's layout: in_axis=-2 and out_axis=-1 unless told otherwise, and the other axes are the receptive field. An axis
may be both, as in flax's Embed.
"""

from __future__ import annotations

from collections.abc import Sequence as _Sequence

from winit import schemes as _schemes
from winit._core.checks import check_cuts as _check_cuts
from winit._core.checks import check_integer as _check_integer
from winit._core.checks import check_not_negative as _check_not_negative
from winit._core.layouts import Axes as _Axes
from winit._core.layouts import Layout as _Layout
from winit._core.scheme import called as _called
from winit.schemes import Scheme as _Scheme
from winit.schemes import constant, ones, zeros
from winit.schemes import with_layout as _with_layout

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


def _layout(in_axis: _AxisOrAxes, out_axis: _AxisOrAxes, batch_axis: _AxisOrAxes) -> _Layout:
    axes = _Axes(in_axis, out_axis, batch_axis)
    return "io" if axes == _Axes(-2, -1) else axes


def uniform(scale: float = 1e-2) -> _Scheme:
    """U[0, scale), not symmetric.

    >>> uniform()
    uniform(high=0.01)
    """
    scale = _check_not_negative(scale, "scale")
    return _schemes.uniform(0.0, scale) if scale else constant(0.0)


def normal(stddev: float = 1e-2) -> _Scheme:
    """N(0, stddev^2).

    >>> normal()
    normal(std=0.01)
    """
    return _schemes.normal(0.0, _check_not_negative(stddev, "stddev"))


def truncated_normal(stddev: float = 1e-2, lower: float = -2.0, upper: float = 2.0) -> _Scheme:
    """N(0, stddev^2) cut to [lower stddev, upper stddev]; not widened, so that its standard deviation is 0.88 stddev.

    >>> truncated_normal(0.5).moments()
    Moments(mean=0.0, std=0.4398128305171199, low=-1.0, high=1.0)
    """
    lower, upper = _check_cuts(lower, upper, ("lower", "upper"))
    return _schemes.truncated_normal(0.0, _check_not_negative(stddev, "stddev"), lower, upper)


def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: _AxisOrAxes = -2,
    out_axis: _AxisOrAxes = -1,
    batch_axis: _AxisOrAxes = (),
) -> _Scheme:
    """Mean 0, std = sqrt(scale / n), n = fan_in, fan_out, their "fan_avg" or "fan_geo_avg"; winit's variance_scaling.

    "truncated_normal" is cut at two standard deviations and widened by 1/0.8796, so that std holds.

    >>> variance_scaling(1.0, "fan_in", "normal", out_axis=0)  # flax's Embed
    with_layout(scheme=variance_scaling(), layout=Axes(in_=-2, out=0))
    """
    law = _schemes.variance_scaling(scale=scale, mode=mode, distribution=distribution)
    return _called("variance_scaling", _with_layout(law, _layout(in_axis, out_axis, batch_axis)))


def glorot_uniform(in_axis: _AxisOrAxes = -2, out_axis: _AxisOrAxes = -1, batch_axis: _AxisOrAxes = ()) -> _Scheme:
    """U[-b, b), b = sqrt(6 / (fan_in + fan_out)).

    >>> glorot_uniform().moments((100, 200)).high
    0.1414213562373095
    """
    return _called("glorot_uniform", variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis))


def glorot_normal(in_axis: _AxisOrAxes = -2, out_axis: _AxisOrAxes = -1, batch_axis: _AxisOrAxes = ()) -> _Scheme:
    """N cut at 2 sigma and widened, std = sqrt(2 / (fan_in + fan_out)).

    >>> round(glorot_normal().moments((100, 100)).std, 12)
    0.1
    """
    return _called("glorot_normal", variance_scaling(1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis))


def lecun_uniform(in_axis: _AxisOrAxes = -2, out_axis: _AxisOrAxes = -1, batch_axis: _AxisOrAxes = ()) -> _Scheme:
    """U[-b, b), b = sqrt(3 / fan_in).

    >>> lecun_uniform().moments((300, 10)).high
    0.1
    """
    return _called("lecun_uniform", variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis))


def lecun_normal(in_axis: _AxisOrAxes = -2, out_axis: _AxisOrAxes = -1, batch_axis: _AxisOrAxes = ()) -> _Scheme:
    """N cut at 2 sigma and widened, std = sqrt(1 / fan_in): the default of flax's Dense and Conv.

    >>> round(lecun_normal().moments((3, 3, 100, 8)).std, 12)
    0.033333333333
    """
    return _called("lecun_normal", variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis))


def he_uniform(in_axis: _AxisOrAxes = -2, out_axis: _AxisOrAxes = -1, batch_axis: _AxisOrAxes = ()) -> _Scheme:
    """U[-b, b), b = sqrt(6 / fan_in).

    >>> he_uniform(in_axis=1, out_axis=2, batch_axis=0).moments((8, 600, 10)).high  # eight experts
    0.1
    """
    return _called("he_uniform", variance_scaling(2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis))


def he_normal(in_axis: _AxisOrAxes = -2, out_axis: _AxisOrAxes = -1, batch_axis: _AxisOrAxes = ()) -> _Scheme:
    """N cut at 2 sigma and widened, std = sqrt(2 / fan_in).

    >>> he_normal()
    with_layout(scheme=variance_scaling(scale=2.0, distribution='truncated_normal'), layout='io')
    """
    return _called("he_normal", variance_scaling(2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis))


def orthogonal(scale: float = 1.0, column_axis: int = -1) -> _Scheme:
    """Orthonormal rows or columns of the matrix (all other axes, column_axis), whichever are fewer, times scale.

    >>> orthogonal()
    with_layout(scheme=orthogonal(), layout='io')
    >>> orthogonal(column_axis=1)
    with_layout(scheme=orthogonal(), layout=Axes(in_=0, out=1))
    """
    column = _check_integer(column_axis, "column_axis", None)
    # One other axis is named, so that a shape of one axis is refused; those that are not named go with it.
    layout: _Layout = {-1: "io", 0: "oi"}.get(column) or _Axes(in_=0 if column > 0 else -1, out=column)
    return _called("orthogonal", _with_layout(_schemes.orthogonal(_check_not_negative(scale, "scale")), layout))


def delta_orthogonal(scale: float = 1.0, column_axis: int = -1) -> _Scheme:
    """0 but at the centre (k - 1) // 2 of a kernel (*spatial, in, out), orthonormal rows (one an in-channel) there.

    column_axis, one of the two of the matrix (in, out), changes nothing: in is at most out, so that the rows are the
    fewer whichever axis has the columns.

    >>> delta_orthogonal(2.0)
    with_layout(scheme=delta_orthogonal(gain=2.0), layout='io')
    """
    if not -2 <= _check_integer(column_axis, "column_axis", None) <= 1:
        raise ValueError(f"column_axis must be an axis of the matrix (in, out), -2 to 1, not {column_axis}")
    return _called(
        "delta_orthogonal", _with_layout(_schemes.delta_orthogonal(_check_not_negative(scale, "scale")), "io")
    )


xavier_uniform = glorot_uniform
xavier_normal = glorot_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal


def __dir__() -> list[str]:
    return __all__
