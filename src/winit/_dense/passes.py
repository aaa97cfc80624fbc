"""The fused dense pass: y = f(x W + b) and its gradients, with weights in memory or never stored.

A product's bits are defined (docs/dense.md): every element one fused-multiply-add chain over k ascending within blocks
of 384, block sums added in order. They depend on neither threads, tiles, strides nor instruction set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from winit import _kernels
from winit._core.checks import check_bool, check_threads, items_of, shown
from winit._core.drawing import overlaps_itself
from winit._core.keys import stream_key
from winit._core.laws import INDEPENDENT
from winit._core.layouts import Layout
from winit._core.scheme import law_of
from winit._core.threads import run_tasks
from winit._dense import products
from winit._dense.virtual import LAYOUTS, Virtual, check_dense_layout
from winit._kernels.activation_rows import BIT, INPUT, OUTPUT
from winit.activations import Activation
from winit.activations import activation as as_activation

__all__ = ["Stats", "Tape", "dense_backward", "dense_forward"]

WANTED = ("x", "weight", "bias")
SUM_ROWS = 64  # rows to one partial sum of the bias gradient, and units to one of the statistics
SATURATED = 0.05  # a unit is saturated where |f'| is below this share of the largest |f'|
INLINE_SUM = 1 << 20  # numbers of a gradient that is only summed below which starting threads costs more than they save


class Stats(NamedTuple):
    """What came out of a layer: over batch and units together.

    mean, variance : of y. zeros : share of y that is 0. saturated : share of units whose |f'| is below 5% of the
    largest |f'| there is. NaN for an empty batch.
    """

    mean: float
    variance: float
    zeros: float
    saturated: float


class Tape:
    """What dense_backward needs of a dense_forward, and no more.

    It refers to x, to the weight and, for sigmoid, tanh, elu, selu and softplus, to y: do not change them in between.
    Of its own it has one bit per unit for relu and leaky_relu, the pre-activation for gelu, gelu_tanh, silu and mish.
    """

    __slots__ = ("activation", "kept", "layout", "stats", "units", "weight", "with_bias", "x")

    def __init__(
        self,
        x: np.ndarray,
        weight: np.ndarray | Virtual,
        layout: Layout,
        units: int,
        with_bias: bool,
        activation: Activation,
        kept: np.ndarray | None,
        stats: Stats | None,
    ) -> None:
        self.x, self.weight, self.layout, self.units, self.with_bias = x, weight, layout, units, with_bias
        self.activation, self.kept, self.stats = activation, kept, stats

    def __repr__(self) -> str:
        batch, fan_in = self.x.shape
        return f"<Tape of {self.activation!r}, batch {batch}, {fan_in} to {self.units}>"


# ---- checks


def _check_matrix(array: Any, name: str, axes: int = 2) -> np.ndarray:
    """Check an array; returns it as a plain one, whatever subclass it is of."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a NumPy array, not {type(array).__name__}")
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise TypeError(f"{name} must be float32 or float64, not {array.dtype}")
    if not array.dtype.isnative:
        raise ValueError(f"{name} must be in native byte order, not {array.dtype.str!r}")
    if array.ndim != axes:
        raise ValueError(f"{name} must have {axes} {'axes' if axes > 1 else 'axis'}, not shape {array.shape}")
    steps = [stride for stride, size in zip(array.strides, array.shape, strict=True) if size > 1]
    if not array.flags.aligned or any(stride % array.itemsize for stride in steps):
        raise ValueError(f"{name} must be aligned to its elements (strides {array.strides})")
    return _plain(array)


def _plain(array: np.ndarray) -> np.ndarray:
    """An array as the kernels take it: of no subclass."""
    return array if type(array) is np.ndarray else array.view(np.ndarray)


def _check_want(want: Any) -> set[str]:
    names = None if isinstance(want, str) else items_of(want)
    if names is None:
        raise TypeError(f"want must hold several names, such as ('x', 'bias'), not {shown(want)}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"want must hold names, not {shown(name)}")
        if name not in WANTED:
            raise ValueError(f"want may hold {', '.join(map(repr, WANTED))}, not {shown(name)}")
    return set(names)


def _check_same(array: np.ndarray, name: str, shape: tuple[int, ...], dtype: np.dtype, why: str) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, as x is, not {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}{why}")


def _check_out(out: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, inputs: dict[str, Any]) -> np.ndarray:
    """Check a destination, or make one; `inputs` must not share memory with it."""
    if out is None:
        return np.empty(shape, dtype)
    _check_same(_check_matrix(out, name, len(shape)), name, shape, dtype, "")
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writeable, and is read-only")
    if not out.flags.c_contiguous and overlaps_itself(out):
        raise ValueError(f"{name} has elements that share memory (shape {out.shape}, strides {out.strides})")
    for other, array in inputs.items():
        if isinstance(array, np.ndarray) and _overlap(out, array):
            raise ValueError(f"{name} shares memory with {other}")
    return out


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays share an element; where that is too hard to tell, whether the memory they span overlaps."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]  # NumPy takes any
    except np.exceptions.TooHardError:
        return True


def _check_finite(arrays: dict[str, Any]) -> None:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            continue
        rows = max(1, (1 << 20) // max(1, array[0].size if len(array) else 1))
        for start in range(0, len(array), rows):
            bad = ~np.isfinite(array[start : start + rows])
            if bad.any():
                where = np.argwhere(bad)[0]
                where[0] += start
                raise ValueError(f"{name} must be finite, and is {array[tuple(where)]} at {tuple(where.tolist())}")


# ---- operands


def _weight(
    engine: Any, isa: str, weight: np.ndarray | Virtual, layout: Layout, dtype: np.dtype, transposed: bool
) -> Any:
    """The weight as an operand: (in, out), or with transposed (out, in)."""
    flip = (layout == "oi") != transposed
    if isinstance(weight, np.ndarray):
        return weight.T if flip else weight
    law = law_of(weight.scheme, weight.shape, weight.layout, dtype.name)
    assert isinstance(law, INDEPENDENT)
    params = law.numbers(dtype.name)
    key = stream_key(weight.seed, weight.name)
    return engine.Sampled(isa, law.kernel, _kernels.DTYPES.index(dtype.name), key, params, weight.shape, flip)


def _reduce_stats(moments: np.ndarray, product: Any, units: int) -> Stats:
    """Mean and variance of all from those of 64 units of a row at a time (Chan, Golub and LeVeque 1979)."""
    count = len(moments) * units
    sizes = np.full(moments.shape[1] // 2, float(SUM_ROWS))
    sizes[-1] = units - SUM_ROWS * (len(sizes) - 1)
    total = np.zeros(len(sizes))
    for row in moments:
        total += row[0::2]
    mean = sum(total.tolist()) / count  # one after the other, so that the sums do not depend on how NumPy was built
    squares = np.zeros(len(sizes))
    for row in moments:
        squares += row[1::2] + sizes * (row[0::2] / sizes - mean) ** 2
    return Stats(mean, sum(squares.tolist()) / count, product.zeros / count, product.saturations / count)


def dense_forward(
    x: np.ndarray,
    weight: np.ndarray | Virtual,
    bias: np.ndarray | None = None,
    activation: str | Activation = "identity",
    *,
    layout: Layout = "oi",
    out: np.ndarray | None = None,
    stats: bool = False,
    check_finite: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, Tape]:
    """Compute y = f(x W + b), and a tape for dense_backward.

    Bias, activation, what backward needs and the statistics are taken from each block of the product while it is in the
    cache. Memory besides y and the tape: at most 4.5 MiB of packed rows of x and 0.75 MiB a thread (float64: twice), in
    pages of 2 MiB.

    Parameters
    ----------
    x : float32 or float64 array (batch, in), any strides.
    weight : array of x's dtype, (out, in) in layout "oi", (in, out) in "io", any strides; or winit.Virtual, which has
        its own layout.
    bias : array (out,) of x's dtype, or None.
    activation : a name, or a row of winit.activations such as `leaky_relu(0.2)`.
    layout : "oi" (torch's) or "io" (JAX's and Keras's).
    out : array (batch, out) of x's dtype for y, any strides; None: a new one.
    stats : bool. Fill tape.stats with mean, variance, share of zeros and share of saturated units; takes 16 bytes for
        each row and 64 units meanwhile.
    check_finite : bool. Refuse NaN and infinity in x, weight and bias; else they go through as arithmetic has it.
    threads : int or None, the processors this process may use.

    Returns
    -------
    (y, Tape)

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; the message says what was expected and what came.
    MemoryError : y or the packed blocks cannot be allocated.

    >>> import numpy as np, winit
    >>> x = np.array([[1.0, -2.0]], np.float32)
    >>> w = np.array([[3.0, 1.0], [1.0, 1.0]], np.float32)  # (out, in)
    >>> y, tape = winit.dense_forward(x, w, activation="relu")
    >>> y.tolist()
    [[1.0, 0.0]]
    >>> [g.tolist() for g in winit.dense_backward(np.ones_like(y), tape, want=("x", "weight"))[:2]]
    [[[3.0, 1.0]], [[1.0, -2.0], [0.0, 0.0]]]

    """
    f = as_activation(activation)
    check_bool(stats, "stats")
    check_bool(check_finite, "check_finite")
    check_dense_layout(layout)
    threads = check_threads(threads)
    x = _check_matrix(x, "x")
    batch, fan_in = x.shape
    if abs(f.number) > float(np.finfo(x.dtype).max):
        raise ValueError(f"{f!r} has a parameter beyond the range of {x.dtype}")
    if isinstance(weight, Virtual):
        layout = weight.layout
    else:
        weight = _check_matrix(weight, "weight")
    units = weight.shape[LAYOUTS.index(layout)]
    expected = (units, fan_in) if layout == "oi" else (fan_in, units)
    why = f" in layout {layout!r} for x of shape {x.shape}"
    if isinstance(weight, np.ndarray):
        _check_same(weight, "weight", expected, x.dtype, why)
    elif weight.shape != expected:
        raise ValueError(f"weight has shape {weight.shape}, expected {expected}{why}")
    if bias is not None:
        bias = _check_matrix(bias, "bias", 1)
        why = f" for weight of shape {weight.shape} in layout {layout!r}"
        _check_same(bias, "bias", (units,), x.dtype, why)
    inputs = {"x": x, "weight": weight, "bias": bias}
    out = _check_out(out, "out", (batch, units), x.dtype, inputs)
    if check_finite:
        _check_finite(inputs)
    kept: np.ndarray | None = None
    if f.row.kept == BIT:
        kept = np.empty((batch, (units + 7) // 8), np.uint8)
    elif f.row.kept == INPUT:
        kept = np.empty((batch, units), x.dtype)

    result = Stats(*[float("nan")] * 4) if stats else None
    if batch and units:
        engine, isa = _kernels.dense_in_use()
        moments = np.empty((batch, -(-units // SUM_ROWS) * 2)) if stats else None
        a, b = x, _weight(engine, isa, weight, layout, x.dtype, False)
        if fan_in == 0:  # an empty sum, by a product that has none
            a, b = np.zeros((batch, 1), x.dtype), np.zeros((1, units), x.dtype)
        product = engine.Product(
            isa,
            a,
            b,
            _plain(out),
            products.threads_for(threads, batch, units, fan_in),
            activation=f.code,
            param=f.number,
            bias=None if bias is None else np.ascontiguousarray(bias)[None],
            kept=kept,
            moments=moments,
            saturated=SATURATED * f.steepest,
        )
        products.run_products([product])
        if moments is not None:
            with _kernels.default_float_mode(), np.errstate(all="ignore"):
                result = _reduce_stats(moments, product, units)
    return out, Tape(
        x, weight, layout, units, bias is not None, f, _plain(out) if f.row.kept == OUTPUT else kept, result
    )


def dense_backward(
    grad: np.ndarray,
    tape: Tape,
    *,
    want: Iterable[str] | None = None,
    out: Sequence[np.ndarray | None] | None = None,
    check_finite: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Compute the gradients of a dense_forward: with g = grad f'(z), dx = g W', dW = x' g and db the sum of g.

    f' is multiplied in while the gradient is packed, and the bias gradient summed over the batch in the same sweep (in
    float64, rounded once): g itself is never written. Memory besides the results: of each of the two products as in
    dense_forward, and for the bias gradient out float64 numbers per 64 rows of the batch.

    Parameters
    ----------
    grad : array (batch, out) of x's dtype, any strides; strides of 0 too.
    tape : what dense_forward returned.
    want : which gradients: any of "x", "weight", "bias", each of which must be there to be had; None for all that are.
    out : None, or three arrays (or None each) for dx, dweight (of the weight's shape) and dbias, any strides.
    check_finite : bool. Refuse NaN and infinity in grad.
    threads : int or None, the processors this process may use.

    Returns
    -------
    (dx, dweight, dbias) : None for what is not wanted, for the bias of a layer without one, and for Virtual weights.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; a gradient asked for by name that cannot be had.
    MemoryError : a result or the packed blocks cannot be allocated.

    """
    if not isinstance(tape, Tape):
        raise TypeError(f"tape must be what dense_forward returned, not {type(tape).__name__}")
    wanted = set(WANTED) if want is None else _check_want(want)
    check_bool(check_finite, "check_finite")
    threads = check_threads(threads)
    x, weight = tape.x, tape.weight
    batch = len(x)
    grad = _check_matrix(grad, "grad")
    _check_same(grad, "grad", (batch, tape.units), x.dtype, "")
    if tape.activation.row.kept == OUTPUT:
        _check_same(_check_matrix(tape.kept, "y"), "y", (batch, tape.units), x.dtype, ": it was changed since")
    if out is not None and not isinstance(out, (tuple, list)):
        raise TypeError(
            f"out must be a tuple of three arrays or None, for dx, dweight and dbias, not {type(out).__name__}"
        )
    there = (True, isinstance(weight, np.ndarray), tape.with_bias)
    if want is not None:
        absent = (("weight", there[1], "virtual weights have none"), ("bias", there[2], "the layer has no bias"))
        for name, has, why in absent:
            if name in wanted and not has:
                raise ValueError(f"the gradient of {name} cannot be had: {why}")
    places = [None, None, None] if out is None else list(out)
    if len(places) != 3:
        raise ValueError(f"out must hold three arrays or None, for dx, dweight and dbias, not {len(places)}")
    shapes = (x.shape, weight.shape, (tape.units,))
    results: list[Any] = [None, None, None]
    inputs: dict[str, Any] = {"grad": grad, "x": x, "weight": weight, "the tape": tape.kept}
    for i, name in enumerate(WANTED):
        if name not in wanted or not there[i]:
            if places[i] is not None:
                raise ValueError(f"out has an array for d{name}, which is not wanted or not there")
            continue
        results[i] = _check_out(places[i], f"d{name}", shapes[i], x.dtype, inputs)
        inputs[f"d{name}"] = results[i]
    if check_finite:
        _check_finite({"grad": grad})
    dx, dweight, dbias = results

    engine, isa = _kernels.dense_in_use()
    f = tape.activation
    sums = None if dbias is None else np.zeros((-(-batch // SUM_ROWS), tape.units))
    unsummed = sums  # the first product that packs the gradient sums it
    pair = []
    for result, k in ((dweight, batch), (dx, tape.units)):
        if result is None or result.size == 0:
            continue
        if k == 0:
            result[...] = 0
            continue
        transposed = result is dweight and tape.layout == "oi"
        gradient = engine.Gradient(isa, grad, f.code, f.number, tape.kept, unsummed, transposed)
        unsummed = None
        if result is dx:
            a, b = gradient, _weight(engine, isa, weight, tape.layout, x.dtype, True)
        elif transposed:
            a, b = gradient, x
        else:
            a, b = x.T, gradient
        pair.append(
            engine.Product(
                isa, a, b, _plain(result), products.threads_for(threads, result.shape[0], result.shape[1], k)
            )
        )
    if unsummed is not None and unsummed.size:
        gradient = engine.Gradient(isa, grad, f.code, f.number, tape.kept, unsummed, False)
        run_tasks(gradient.add_up, range(len(unsummed)), threads if grad.size >= INLINE_SUM else 1)
    products.run_products(pair)
    if dbias is not None:
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            total = np.zeros(tape.units)
            for rows in sums if sums is not None else ():
                total += rows
            dbias[...] = total
    return dx, dweight, dbias
