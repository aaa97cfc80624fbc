"""torch.nn.init (2.13): its functions, as factories of schemes; without the tensor, the generator and no_grad.

Fans are those of a tensor (out, in, *spatial), as torch counts them: of a transposed convolution, whose weight is
(in, out, *spatial), torch's fan_in is what others call its fan_out. Grouped convolutions are not divided.
"""

from __future__ import annotations

from math import ceil as _ceil

from winit._core.checks import check_cuts as _check_cuts
from winit._core.checks import check_number as _check_number
from winit._core.checks import shown as _shown
from winit._core.laws import Law as _Law
from winit._core.layouts import Layout as _Layout
from winit._core.scheme import called as _called
from winit.activations import gain as _gain
from winit.schemes import (
    Scheme as _Scheme,
)
from winit.schemes import (
    constant as _constant,
)
from winit.schemes import (
    dirac as _dirac,
)
from winit.schemes import (
    he_normal as _he_normal,
)
from winit.schemes import (
    he_uniform as _he_uniform,
)
from winit.schemes import (
    identity as _identity,
)
from winit.schemes import (
    normal as _normal,
)
from winit.schemes import (
    ones as _ones,
)
from winit.schemes import (
    orthogonal as _orthogonal,
)
from winit.schemes import (
    sparse_columns as _sparse_columns,
)
from winit.schemes import (
    truncated_normal as _truncated_normal,
)
from winit.schemes import (
    uniform as _uniform,
)
from winit.schemes import (
    with_layout as _with_layout,
)
from winit.schemes import (
    xavier_normal as _xavier_normal,
)
from winit.schemes import (
    xavier_uniform as _xavier_uniform,
)
from winit.schemes import (
    zeros as _zeros,
)
from winit.schemes.sparsity import connections as _connections

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_KNOWN = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return torch's gain of a nonlinearity; param is the slope of leaky_relu (0.01) and ignored by the others.

    >>> calculate_gain("leaky_relu", 0.0)
    1.4142135623730951
    """
    if not isinstance(nonlinearity, str):
        raise TypeError(f"nonlinearity must be a str, not {type(nonlinearity).__name__}")
    if nonlinearity not in _KNOWN:
        raise ValueError(f"nonlinearity must be one that torch knows, {', '.join(_KNOWN)}, not {_shown(nonlinearity)}")
    if param is not None:
        param = _check_number(param, "param")
    return _gain(nonlinearity, param if nonlinearity == "leaky_relu" else None)


def uniform_(a: float = 0.0, b: float = 1.0) -> _Scheme:
    """U[a, b).

    >>> uniform_(-1.0, 1.0)
    uniform(low=-1.0)
    """
    a, b = _check_number(a, "a"), _check_number(b, "b")
    if a > b:
        raise ValueError(f"a must be at most b, not {a!r} and {b!r}")
    return _uniform(a, b) if a < b else _constant(a)


def normal_(mean: float = 0.0, std: float = 1.0) -> _Scheme:
    """N(mean, std^2).

    >>> normal_(std=0.02)
    normal(std=0.02)
    """
    return _normal(mean=mean, std=std)


def trunc_normal_(mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> _Scheme:
    """N(mean, std^2) cut to [a, b], which are values, not multiples of std: std=0.02 with the default cuts is not cut.

    >>> trunc_normal_(std=0.5)
    truncated_normal(std=0.5, low=-4.0, high=4.0)
    """
    mean, std = _check_number(mean, "mean"), _check_number(std, "std")
    if std <= 0:
        raise ValueError(f"std must be positive, not {std!r}")
    a, b = _check_cuts(a, b, ("a", "b"))
    return _truncated_normal(mean, std, (a - mean) / std, (b - mean) / std)


def constant_(val: float) -> _Scheme:
    """Give `val` everywhere.

    >>> constant_(0.5)
    constant(value=0.5)
    """
    return _constant(value=val)


def ones_() -> _Scheme:
    """Give 1 everywhere.

    >>> ones_()
    ones()
    """
    return _ones()


def zeros_() -> _Scheme:
    """Give 0 everywhere.

    >>> zeros_()
    zeros()
    """
    return _zeros()


def eye_() -> _Scheme:
    """Give a matrix the identity.

    >>> eye_()
    identity()
    """
    return _identity()


def dirac_(groups: int = 1) -> _Scheme:
    """Give a convolution kernel (out, in, *spatial) the identity of its channels, in each group.

    >>> dirac_(2)
    with_layout(scheme=dirac(groups=2), layout='oi')
    """
    return _called("dirac_", _with_layout(_dirac(groups=groups), "oi"))


def xavier_uniform_(gain: float = 1.0) -> _Scheme:
    """U[-b, b), b = gain sqrt(6 / (fan_in + fan_out)).

    >>> xavier_uniform_().moments((100, 200)).high
    0.1414213562373095
    """
    return _called("xavier_uniform_", _with_layout(_xavier_uniform(gain=gain), "oi"))


def xavier_normal_(gain: float = 1.0) -> _Scheme:
    """N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out)); not cut.

    >>> xavier_normal_().moments((100, 100)).std
    0.1
    """
    return _called("xavier_normal_", _with_layout(_xavier_normal(gain=gain), "oi"))


def _kaiming(a: float, mode: str, nonlinearity: str) -> tuple[float, str, str]:
    a = _check_number(a, "a")
    calculate_gain(nonlinearity)
    if not isinstance(mode, str):
        raise TypeError(f"mode must be a str, not {type(mode).__name__}")
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', not {_shown(mode)}")
    return (a if nonlinearity == "leaky_relu" else 0.0), mode.lower(), nonlinearity


def kaiming_uniform_(a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> _Scheme:
    """U[-b, b), b = gain sqrt(3 / fan); a is the slope of leaky_relu, ignored by other nonlinearities.

    With a = sqrt(5) it is the default of torch's linear and convolutional layers, b = 1 / sqrt(fan_in).

    >>> round(kaiming_uniform_(a=5 ** 0.5).moments((8, 100)).high, 12)
    0.1
    """
    return _called("kaiming_uniform_", _with_layout(_he_uniform(*_kaiming(a, mode, nonlinearity)), "oi"))


def kaiming_normal_(a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> _Scheme:
    """N(0, std^2), std = gain / sqrt(fan); not cut.

    >>> kaiming_normal_(mode="fan_out", nonlinearity="relu").moments((200, 8)).std
    0.1
    """
    return _called("kaiming_normal_", _with_layout(_he_normal(*_kaiming(a, mode, nonlinearity)), "oi"))


def orthogonal_(gain: float = 1.0) -> _Scheme:
    """Orthonormal rows or columns of the matrix (out, in times spatial), times gain.

    >>> orthogonal_(2.0)
    with_layout(scheme=orthogonal(gain=2.0), layout='oi')
    """
    return _called("orthogonal_", _with_layout(_orthogonal(gain=gain), "oi"))


class sparse_(_Scheme):
    """ceil(sparsity rows) zeros in each column of a matrix, N(0, std^2) elsewhere.

    torch multiplies in binary: 0.55 of 100 rows are 56 zeros, and 0.9 of 5 rows all of them. winit.sparse_columns
    counts 55 and leaves one.

    >>> sparse_(0.9)
    torch.sparse_(sparsity=0.9)
    >>> [sparse_(0.55).law((100, 3)).keep, sparse_(0.9).law((5, 3)).keep]
    [44, 0]
    """

    __slots__ = ("sparsity", "std")
    sparsity: float
    std: float

    def __init__(self, sparsity: float, std: float = 0.01) -> None:
        like = _sparse_columns(sparsity=sparsity, std=std)
        self._set(like.sparsity, like.std)

    def law(self, shape: tuple[int, ...], layout: _Layout = "oi") -> _Law:
        if len(shape) != 2:
            raise ValueError(f"sparse_ fills matrices, not shape {shape}")
        keep = shape[0] - _ceil(self.sparsity * shape[0])
        return _connections(self, 0.0, self.std, keep, shape, (False, True))

    def __repr__(self) -> str:
        return f"torch.{super().__repr__()}"


def __dir__() -> list[str]:
    return __all__
