"""Wider and deeper networks that compute what the given one does: Net2Net, on named arrays.

Source of all here: Chen, Goodfellow, Shlens 2016, "Net2Net: Accelerating Learning via Knowledge Transfer",
arXiv:1511.05641.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from winit import _kernels
from winit._core.checks import check_integer, check_not_negative, check_one_of, check_text, nearest, shown
from winit._core.drawing import add, words
from winit._core.dtypes import FLOATS, WORDS, as_words, empty, float_name, numpy_dtype
from winit._core.keys import stream_key
from winit._core.shapes import check_shape
from winit._kernels.numpy_halves import ROUND
from winit.activations import Activation, identity, relu
from winit.activations import activation as as_activation
from winit.schemes.plain import normal

__all__ = ["deepen", "widen"]

CHOICES = ("random", "cyclic")
POSITIONS = 1  # the stream's tag for choices, which no values are drawn from


def widen(
    arrays: Mapping[str, np.ndarray],
    units: int,
    *,
    copy: Mapping[str, int],
    share: Mapping[str, int | tuple[int, int]],
    seed: int,
    name: str | None = None,
    choice: str = "random",
    noise: float = 0.0,
) -> dict[str, np.ndarray]:
    """Widen a layer from n units to more, each new one the copy of an old one, and keep what the network computes.

    New unit j copies unit g(j), and g(j) = j for the first n. What leads into a unit is copied, what leads out is
    divided by the number c of its copies, rounded once:

        W'[j, :] = W[g(j), :]    b'[j] = b[g(j)]    V'[:, j] = V[:, g(j)] / c(g(j))

    So the function is kept to rounding if each unit is treated on its own between the two: any activation, dropout in
    evaluation, batch normalisation. A layer normalisation over the units keeps it where all have as many copies: choice
    "cyclic" and units a multiple of n.

    Parameters
    ----------
    arrays : mapping from names to arrays. None is changed.
    units : int, at least n. The layer's new width.
    copy : name -> axis of the units, of all that leads into them or goes with them: weight, bias, the scale, shift,
        mean and variance of a normalisation. Their length is n.
    share : name -> axis, or (axis, k), of the floating-point arrays that the units lead into.
        Its length is n; or n k, unit u owning k u ... k u + k - 1, as where a convolution's channels are flattened for
        a linear layer. A name may be in both, with two axes (a recurrent weight).
    seed, name : as in winit.draw; name is the first of `copy` by default. "random" takes g(n + i) =
        floor(n w_i / 2^32), w_i word i of tag 1, which favours no unit by more than n / 2^32 of its share, and does
        not depend on how many units follow.
    choice : "random", or "cyclic": g(j) = j mod n.
    noise : float, at least 0. The standard deviation of normal noise on copies, all but the first, so that they do not
        learn alike: added as winit.add does, with each array's own name, to those of `copy` that have two axes or more.
        It changes the function.

    Returns
    -------
    dict : name -> array, in the order of `arrays`; those named by neither `copy` nor `share` are the ones given.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; names, axes and lengths that do not agree.

    Source: arXiv:1511.05641, section 2.2 (Net2WiderNet).

    >>> import numpy as np, winit
    >>> net = {"fc1.weight": winit.draw(winit.he_normal(), (3, 5), seed=0), "fc2.weight": np.ones((2, 3), np.float32)}
    >>> wide = widen(net, 4, copy={"fc1.weight": 0}, share={"fc2.weight": 1}, seed=0, choice="cyclic")
    >>> wide["fc2.weight"][0].tolist()
    [0.5, 1.0, 1.0, 0.5]
    >>> x = np.ones(5, np.float32)
    >>> before, after = (net["fc2.weight"] @ np.tanh(net["fc1.weight"] @ x) for net in (net, wide))
    >>> bool(abs(before - after).max() < 1e-6)
    True

    """
    if not isinstance(arrays, Mapping) or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise TypeError("arrays must be a mapping from names to NumPy arrays")
    units = check_integer(units, "units", None)
    copied = [(key, *_axis(arrays, key, value, "copy")) for key, value in _mapping(copy, "copy")]
    shared = [(key, *_axis(arrays, key, value, "share")) for key, value in _mapping(share, "share")]
    if not copied:
        raise ValueError("copy must name an array at least")
    lead, axis, _ = copied[0]
    old = arrays[lead].shape[axis]
    for key, axis, each in [*copied, *shared]:
        length = arrays[key].shape[axis]
        if length != old * each:
            raise ValueError(
                f"{key}: axis {axis} has length {length}, expected {old * each} for {old} units of {lead!r}"
            )
    for key, axis, _ in shared:
        if (key, axis) in [(other, its) for other, its, _ in copied]:
            raise ValueError(f"{key}: axis {axis} is in copy and in share")
        if arrays[key].dtype.name not in FLOATS:
            raise TypeError(f"{key}: what is shared must be {', '.join(FLOATS)}, not {arrays[key].dtype}")
    if not 1 <= old <= units:
        raise ValueError(f"units must be at least the {old} there are (and those 1), not {units}")
    check_one_of(choice, CHOICES, "choice")
    noise = check_not_negative(noise, "noise")
    noisy = [
        (key, axis) for key, axis, _ in copied if noise and arrays[key].ndim > 1 and arrays[key].dtype.name in FLOATS
    ]
    stream_key(seed, lead if name is None else name)
    if choice == "random":
        drawn = words(seed, lead if name is None else name, 0, units - old, POSITIONS)
        extra = (drawn.astype(np.uint64) * np.uint64(old) >> np.uint64(32)).astype(np.int64)
    else:
        extra = np.arange(old, units) % old
    origin = np.concatenate([np.arange(old), extra])
    copies = np.bincount(origin)[origin]
    wide = dict(arrays)
    for key, axis, _ in copied:
        wide[key] = wide[key].take(origin, axis)
    for key, axis, each in shared:
        taken = wide[key].take((origin[:, None] * each + np.arange(each)).ravel(), axis)
        divisor = np.repeat(copies, each).reshape([-1 if i == axis else 1 for i in range(taken.ndim)])
        wide[key] = _divided(taken, divisor)
    for key, axis in noisy:
        shape = wide[key].shape
        box = tuple(slice(old if i == axis else 0, size) for i, size in enumerate(shape))
        add(wide[key][box], normal(), seed=seed, name=key, scale=noise, shape=shape, box=box)
    return wide


def _mapping(given: Any, what: str) -> Any:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a mapping from names to axes, not {shown(given)}")
    for key in given:
        check_text(key, f"{what}: a name")
    return given.items()


def _axis(arrays: Mapping[str, np.ndarray], key: str, value: Any, what: str) -> tuple[int, int]:
    """Check a name and an axis, or (axis, elements a unit); returns both."""
    if key not in arrays:
        raise ValueError(f"{what} names {shown(key)}, which is not among the arrays{nearest(key, arrays)}")
    each = 1
    if what == "share" and isinstance(value, Sequence) and len(value) == 2:
        value, each = value[0], check_integer(value[1], f"{key}: elements of a unit")
    axis, ndim = check_integer(value, f"{key}: axis", None), arrays[key].ndim
    if not -ndim <= axis < ndim:
        raise ValueError(f"{key}: has {ndim} axes, no axis {axis}")
    return axis % ndim, each


def _divided(array: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Divide in the array's dtype; in float32 for narrow types, whose quotient rounds to the same as the exact one."""
    with _kernels.default_float_mode(), np.errstate(all="ignore"):
        name = array.dtype.name
        if name in WORDS and array.dtype.isnative:
            to_word, from_word = ROUND[name]
            return to_word(from_word(as_words(array, name)) / divisor.astype(np.float32)).view(array.dtype)
        return array / divisor.astype(array.dtype)


def deepen(
    arrays: Mapping[str, np.ndarray],
    weight: str,
    shape: Sequence[int],
    *,
    bias: str | None = None,
    layout: str = "oi",
    dtype: Any = "float32",
    activation: str | Activation = "relu",
) -> dict[str, np.ndarray]:
    """Add a layer that computes the identity, to stand behind an activation of the network and be followed by the same.

    f(I f(x)) = f(x) for f = relu or identity. In a convolution the identity is the kernel's centre, so that the padding
    must keep the size; in a grouped one, each channel leads to itself. A batch normalisation behind it is the identity
    with shift and mean 0, variance 1 and scale sqrt(1 + eps).

    Parameters
    ----------
    arrays : mapping from names to arrays.
    weight, bias : names of the new arrays; None: no bias.
    shape : (out, in, *spatial) in layout "oi", (*spatial, in, out) in "io", out equal to in, spatial sizes odd; in may
        be out / groups for a convolution.
    dtype : "float32", "float64", "float16", "bfloat16", "float8_e4m3fn" or "float8_e5m2".
    activation : what follows the new layer, and precedes it: "relu" or "identity".

    Returns
    -------
    dict : the arrays given, and the new ones.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; names that are taken; a shape or an activation that no
        identity has.

    Source: arXiv:1511.05641, section 2.3 (Net2DeeperNet).

    >>> deepen({}, "fc.weight", (2, 2), bias="fc.bias")["fc.weight"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays must be a mapping from names to arrays, not {type(arrays).__name__}")
    for key, what in ((weight, "weight"), (bias, "bias")):
        if not isinstance(key, str) and not (key is None and what == "bias"):
            raise TypeError(f"{what} must be a name, not {shown(key)}")
        if key in arrays or (key == weight and what == "bias"):
            raise ValueError(f"{what}: there is an array {shown(key)} already")
    check_one_of(layout, ("oi", "io"), "layout")
    kind = float_name(dtype)
    f = as_activation(activation)
    if f not in (relu(), identity()):
        raise ValueError(f"activation must be relu or identity, which f(f(x)) = f(x) holds for, not {f.name!r}")
    sizes = check_shape(shape)
    if len(sizes) < 2:
        raise ValueError(f"shape must have two axes at least, not {sizes}")
    out, in_ = (sizes[0], sizes[1]) if layout == "oi" else (sizes[-1], sizes[-2])
    spatial = sizes[2:] if layout == "oi" else sizes[:-2]
    if in_ == 0 or (out % in_ if spatial else out != in_):
        raise ValueError(
            f"shape {sizes} has {in_} inputs and {out} outputs in layout {layout!r}; an identity has as many"
        )
    if any(size % 2 == 0 for size in spatial):
        raise ValueError(f"shape {sizes} has a kernel of {spatial}, which has no centre")
    matrix = empty((out, in_), numpy_dtype(kind))
    matrix[...] = np.arange(out)[:, None] % in_ == np.arange(in_)
    array = np.zeros((prod(spatial), out, in_), matrix.dtype)
    array[prod(spatial) // 2] = matrix
    new = array.transpose(1, 2, 0) if layout == "oi" else array.transpose(0, 2, 1)
    deeper = dict(arrays) | {weight: np.ascontiguousarray(new).reshape(sizes)}
    return deeper if bias is None else deeper | {bias: np.zeros(out, matrix.dtype)}


def __dir__() -> list[str]:
    return __all__
