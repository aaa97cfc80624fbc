"""torch.nn.init's functions, drawn by winit: the same names, parameters and laws, and `seed` and `name` besides.

A tensor's values depend on (seed, name, index, law, dtype) alone. Fans are torch's (winit.presets.torch says which).

>>> import torch
>>> from winit.torch.init import kaiming_uniform_
>>> weight = torch.empty(64, 256)
>>> kaiming_uniform_(weight, nonlinearity="relu", seed=0, name="fc.weight") is weight
True
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import copysign
from typing import Any, TypeVar

import torch

from winit._core.checks import shown
from winit._core.dtypes import FLOATS
from winit._core.keys import stream_key
from winit._core.scheme import Scheme
from winit.presets import torch as _laws
from winit.presets.torch import calculate_gain
from winit.torch.filling import fill_
from winit.torch.memory import KINDS, PLAIN, check_tensor

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

_Filled = TypeVar("_Filled", bound=torch.Tensor)
_ONES, _ZEROS = _laws.ones_(), _laws.zeros_()


def _drawn(tensor: _Filled, scheme: Scheme, generator: Any, seed: int, name: str) -> _Filled:
    if generator is not None:
        raise TypeError(
            f"generator must be None, not {shown(generator)}: values come from seed= and name=, and from no state"
        )
    return fill_(tensor, scheme, seed=seed, name=name)


def _same(tensor: _Filled, scheme: Scheme, seed: int | None, name: str) -> _Filled:
    """Fill with values that no seed changes; one that is given is checked all the same."""
    return fill_(tensor, scheme, seed=0 if seed is None else seed, name=name)


def _exact(tensor: _Filled, scheme: Scheme, seed: int | None, name: str, original: Callable[[_Filled], Any]) -> _Filled:
    """Fill with 0 and 1, which torch does for the dtypes that winit has no random values of."""
    check_tensor(tensor)
    if KINDS[tensor.dtype] in FLOATS:
        return _same(tensor, scheme, seed, name)
    stream_key(0 if seed is None else seed, name)
    original(tensor)
    return tensor


@lru_cache(maxsize=1024, typed=True)
def _known(make: Callable[..., Scheme], sign: float, *numbers: Any) -> Scheme:
    return make(*numbers)


def _scheme(make: Callable[..., Scheme], *numbers: Any) -> Scheme:
    """Make a scheme, or find it: making and comparing schemes took longer than filling a small tensor.

    0.0 and -0.0 are equal in a cache's eyes, and another mean or end-point: the first number's sign tells them apart.
    """
    first = numbers[0]
    if type(first) is float or type(first) is int:  # others may compare and hash as they like
        try:
            return _known(make, copysign(1.0, first) if first == 0 else 0.0, *numbers)
        except Exception:
            pass
    return make(*numbers)


def _check_axes(tensor: torch.Tensor, least: int, most: int) -> None:
    check_tensor(tensor)
    if not least <= tensor.ndim <= most:
        wanted = f"{least} axes" if least == most else f"{least} to {most} axes"
        raise ValueError(f"tensor must have {wanted}, not the shape {tuple(tensor.shape)}")


def uniform_(
    tensor: _Filled, a: float = 0.0, b: float = 1.0, generator: None = None, *, seed: int, name: str = ""
) -> _Filled:
    """Fill with U[a, b).

    >>> uniform_(torch.empty(2), -1.0, 1.0, seed=0, name="w").abs().max() <= 1
    tensor(True)
    """
    return _drawn(tensor, _scheme(_laws.uniform_, a, b), generator, seed, name)


def normal_(
    tensor: _Filled, mean: float = 0.0, std: float = 1.0, generator: None = None, *, seed: int, name: str = ""
) -> _Filled:
    """Fill with N(mean, std^2).

    >>> normal_(torch.empty(2, dtype=torch.bfloat16), std=0.02, seed=0, name="w").dtype
    torch.bfloat16
    """
    return _drawn(tensor, _scheme(_laws.normal_, mean, std), generator, seed, name)


def trunc_normal_(
    tensor: _Filled,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: None = None,
    *,
    seed: int,
    name: str = "",
) -> _Filled:
    """Fill with N(mean, std^2) cut to [a, b]: values, as in torch, and not multiples of std.

    >>> trunc_normal_(torch.empty(1000), std=2.0, a=-1.0, b=1.0, seed=0, name="w").abs().max() <= 1
    tensor(True)
    """
    return _drawn(tensor, _scheme(_laws.trunc_normal_, mean, std, a, b), generator, seed, name)


def constant_(tensor: _Filled, val: float, *, seed: int | None = None, name: str = "") -> _Filled:
    """Fill with `val`; seed and name change nothing.

    >>> constant_(torch.empty(2), 0.5)
    tensor([0.5000, 0.5000])
    """
    if isinstance(val, torch.Tensor):
        if val.numel() != 1 or val.is_meta:
            raise ValueError(f"val must be a number, not a tensor of shape {tuple(val.shape)} on {val.device}")
        val = val.item()
    return _same(tensor, _laws.constant_(val), seed, name)


def ones_(tensor: _Filled, *, seed: int | None = None, name: str = "") -> _Filled:
    """Fill with 1; seed and name change nothing.

    >>> ones_(torch.empty(2))
    tensor([1., 1.])
    """
    if seed is None and not name and type(tensor) in PLAIN:
        try:
            with torch.no_grad():
                tensor.fill_(1.0)  # torch takes less time than asking for the memory does; the bits are the same
            return tensor
        except (RuntimeError, NotImplementedError):
            pass
    return _same(tensor, _ONES, seed, name)


def zeros_(tensor: _Filled, *, seed: int | None = None, name: str = "") -> _Filled:
    """Fill with 0; seed and name change nothing.

    >>> zeros_(torch.ones(2))
    tensor([0., 0.])
    """
    if seed is None and not name and type(tensor) in PLAIN:
        try:
            with torch.no_grad():
                tensor.zero_()  # as in ones_
            return tensor
        except (RuntimeError, NotImplementedError):
            pass
    return _same(tensor, _ZEROS, seed, name)


def eye_(tensor: _Filled, *, seed: int | None = None, name: str = "") -> _Filled:
    """Fill a matrix with the identity; seed and name change nothing.

    >>> eye_(torch.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    _check_axes(tensor, 2, 2)
    return _exact(tensor, _laws.eye_(), seed, name, torch.nn.init.eye_)


def dirac_(tensor: _Filled, groups: int = 1, *, seed: int | None = None, name: str = "") -> _Filled:
    """Fill a convolution kernel with the identity of its channels, in each group; seed and name change nothing.

    >>> dirac_(torch.empty(2, 2, 3)).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    _check_axes(tensor, 3, 5)
    return _exact(tensor, _laws.dirac_(groups), seed, name, lambda each: torch.nn.init.dirac_(each, groups))


def xavier_uniform_(
    tensor: _Filled, gain: float = 1.0, generator: None = None, *, seed: int, name: str = ""
) -> _Filled:
    """Fill with U[-b, b), b = gain sqrt(6 / (fan_in + fan_out)).

    >>> xavier_uniform_(torch.empty(100, 200), seed=0, name="w").abs().max() <= 0.02**0.5
    tensor(True)
    """
    return _drawn(tensor, _scheme(_laws.xavier_uniform_, gain), generator, seed, name)


def xavier_normal_(tensor: _Filled, gain: float = 1.0, generator: None = None, *, seed: int, name: str = "") -> _Filled:
    """Fill with N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out)); not cut.

    >>> round(xavier_normal_(torch.empty(1000, 1000), seed=0, name="w").std().item() / 1e-3**0.5, 2)
    1.0
    """
    return _drawn(tensor, _scheme(_laws.xavier_normal_, gain), generator, seed, name)


def kaiming_uniform_(
    tensor: _Filled,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: None = None,
    *,
    seed: int,
    name: str = "",
) -> _Filled:
    """Fill with U[-b, b), b = gain sqrt(3 / fan); a is the slope of leaky_relu.

    >>> kaiming_uniform_(torch.empty(8, 100), a=5**0.5, seed=0, name="w").abs().max() <= 0.1
    tensor(True)
    """
    return _drawn(tensor, _scheme(_laws.kaiming_uniform_, a, mode, nonlinearity), generator, seed, name)


def kaiming_normal_(
    tensor: _Filled,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: None = None,
    *,
    seed: int,
    name: str = "",
) -> _Filled:
    """Fill with N(0, std^2), std = gain / sqrt(fan); not cut.

    >>> w = kaiming_normal_(torch.empty(1000, 200), nonlinearity="relu", seed=0, name="w")
    >>> round(w.std().item(), 2)
    0.1
    """
    return _drawn(tensor, _scheme(_laws.kaiming_normal_, a, mode, nonlinearity), generator, seed, name)


def orthogonal_(tensor: _Filled, gain: float = 1.0, generator: None = None, *, seed: int, name: str = "") -> _Filled:
    """Fill with a matrix (out, in times spatial) of orthonormal rows or columns, times gain.

    >>> w = orthogonal_(torch.empty(4, 8), seed=0, name="w")
    >>> torch.allclose(w @ w.T, torch.eye(4), atol=1e-6)
    True
    """
    return _drawn(tensor, _laws.orthogonal_(gain), generator, seed, name)


def sparse_(
    tensor: _Filled, sparsity: float, std: float = 0.01, generator: None = None, *, seed: int, name: str = ""
) -> _Filled:
    """Fill a matrix with ceil(sparsity rows) zeros in each column, N(0, std^2) elsewhere.

    >>> int((sparse_(torch.empty(10, 3), 0.2, seed=0, name="w") == 0).sum())
    6
    """
    _check_axes(tensor, 2, 2)
    return _drawn(tensor, _laws.sparse_(sparsity, std), generator, seed, name)


def __dir__() -> list[str]:
    return __all__
