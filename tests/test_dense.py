"""The dense pass: the law of its bits, what they do not depend on, values and gradients, checks, memory, interrupts.

Oracles: products in exact rationals, float64 and long double sums, fourth-order differences, torch's autograd.
"""

import copy
import fractions
import functools
import itertools
import math
import mmap
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import winit
import winit._dense.passes  # the module is brought in when asked for
from conftest import BUILDS
from winit import activations
from winit._dense.passes import Stats, Tape
from winit._kernels import dense as kernels
from winit._kernels.activation_rows import BIT, INPUT, OUTPUT, TABLE, slope_number
from winit.activations import Activation

ISAS = [isa for name, isa in BUILDS if name == "cython"]
KINDS = (np.float32, np.float64)
BLOCK = 384  # of k: part of the definition of a product's bits
ROWS = [Activation(name) for name in TABLE] + [activations.leaky_relu(-0.3), activations.elu(0.7)]

every_kind = pytest.mark.parametrize("kind", KINDS, ids=["float32", "float64"])
every_row = pytest.mark.parametrize("f", ROWS, ids=lambda f: f.name if f.param is None else f"{f.name}({f.param})")
every_layout = pytest.mark.parametrize("layout", ["oi", "io"])


@pytest.fixture(params=ISAS)
def isa(request):
    """Every instruction set of the compiled engine, whose bits are defined."""
    with winit.use_engine("cython", request.param):
        yield request.param


@pytest.fixture
def threaded(monkeypatch):
    """Start threads for products of any size."""
    monkeypatch.setattr(winit._dense.products, "INLINE", 0)
    monkeypatch.setattr(winit._dense.passes, "INLINE_SUM", 0)


def numbers(seed, *shapes, kind=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(kind) for shape in shapes]


def layer(seed, batch, fan_in, units, kind=np.float32, layout="oi"):
    """x, weight, bias and grad of a layer, all of ordinary size."""
    shape = (units, fan_in) if layout == "oi" else (fan_in, units)
    x, weight, bias, grad = numbers(seed, (batch, fan_in), shape, (units,), (batch, units), kind=kind)
    return x, weight / kind(max(1, fan_in)) ** kind(0.5), bias, grad


def raw(array):
    """Bytes of the values, where every NaN is the same one: its sign and payload are the processor's."""
    array = np.array(array, order="C")
    array[np.isnan(array)] = np.nan
    return array.tobytes()


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and raw(a) == raw(b)


def all_same(ones, others):
    return all(a is b if a is None or b is None else same(a, b) for a, b in zip(ones, others, strict=True))


def product(a, b, **keywords):
    """A B in the arithmetic of the pass."""
    return winit.dense_forward(a, b, layout="io", **keywords)[0]


# ---- the law of bits


def rounded(value, kind):
    """An exact rational in a type: to nearest, ties to even; subnormals and infinity as IEEE 754 has them."""
    digits, lowest, top = (24, -149, 128) if kind is np.float32 else (53, -1074, 1024)
    if value == 0:
        return 0.0
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    exponent -= abs(value) < fractions.Fraction(2) ** exponent
    quantum = fractions.Fraction(2) ** max(exponent - digits + 1, lowest)
    nearest = round(value / quantum) * quantum
    sign = -1.0 if value < 0 else 1.0
    return math.copysign(math.inf if abs(nearest) >= fractions.Fraction(2) ** top else float(nearest), sign)


def fma(a, b, c, kind):
    """a b + c, rounded once."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.nan if 0 in (a, b) else a * b + c
    if not math.isfinite(c):
        return c
    if a == 0 or b == 0:
        return a * b + c  # exact, and with the sign that a sum of zeros has
    return rounded(fractions.Fraction(a) * fractions.Fraction(b) + fractions.Fraction(c), kind)


def exact_product(x, weight):
    """x weight' as defined: chains over k ascending within blocks, block sums added in order."""
    kind = x.dtype.type
    y = np.empty((len(x), len(weight)), kind)
    for i, row in enumerate(x.tolist()):
        for j, column in enumerate(weight.tolist()):
            total = None
            for start in range(0, len(row), BLOCK):
                chain = 0.0
                for a, b in zip(row[start : start + BLOCK], column[start : start + BLOCK], strict=True):
                    chain = fma(a, b, chain, kind)
                with np.errstate(all="ignore"):
                    total = kind(chain) if total is None else total + kind(chain)
            y[i, j] = total
    return y


def special(x, rng):
    """Infinities, NaN and both zeros, sprinkled."""
    kind = rng.integers(0, 120, x.shape)
    return np.select([kind == i for i in range(5)], [np.inf, -np.inf, np.nan, 0.0, -0.0], x)


TOP = {-149: 128, -1074: 1024}  # the exponent above the largest number, by that of the smallest

# x and weight from standard normals, by the type's smallest exponent: products and sums of every sort
FLAVOURS = {
    "ordinary": lambda x, w, low, rng: (x, w),
    "wide": lambda x, w, low, rng: (x * 2.0 ** rng.integers(-40, 40, x.shape), w * 2.0 ** rng.integers(-9, 9, w.shape)),
    "subnormal products": lambda x, w, low, rng: (x * 2.0 ** (low // 2), w * 2.0 ** (low // 2 + 1)),
    "subnormal inputs": lambda x, w, low, rng: (x * 2.0 ** (low + 3), w),
    "products that vanish": lambda x, w, low, rng: (-np.abs(x) * 2.0 ** (low // 2), np.abs(w) * 2.0 ** (low // 2 - 2)),
    "overflow": lambda x, w, low, rng: (np.abs(x) * 2.0 ** (TOP[low] // 2), w * 2.0 ** (TOP[low] // 2 - 2)),
    "cancelling": lambda x, w, low, rng: (
        np.repeat(x[:, ::2], 2, 1)[:, : x.shape[1]],
        np.repeat(w[:, ::2], 2, 1)[:, : w.shape[1]] * np.resize([1.0, -1.0], w.shape[1]),
    ),
    "not finite": lambda x, w, low, rng: (special(x, rng), special(w, rng)),
}


@functools.cache
def flavoured(flavour, k, kind):
    rng = np.random.default_rng(k)
    x, w = rng.standard_normal((2, k)), rng.standard_normal((3, k))
    with np.errstate(over="ignore"):
        x, w = (m.astype(kind) for m in FLAVOURS[flavour](x, w, -149 if kind is np.float32 else -1074, rng))
    return x, w, exact_product(x, w)


@every_kind
@pytest.mark.parametrize("k", [1, 2, 383, 384, 385, 800])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_element_is_one_chain(isa, flavour, k, kind):
    x, w, expected = flavoured(flavour, k, kind)
    assert same(winit.dense_forward(x, w)[0], expected)
    bias = np.array([1.5, -0.3, 1e-30], kind)
    with np.errstate(all="ignore"):
        assert same(winit.dense_forward(x, w, bias)[0], expected + bias)


def test_sums_beside_a_tie_are_rounded_once(isa):
    """1 + 2^-24 + 2^-60 and the like: rounded to float64 on the way, they would be ties, and go to the even side.

    2^36 + 1 and 2^36 - 1 are products of two integers of 24 bits.
    """
    above, below = (17.0 * 241 * 433, 38737.0), (2.0**18 - 1, 2.0**18 + 1)
    rows = []
    for power in (0, 30, -30, -63):  # -63 twice: beside the smallest normal number
        for sign in (1, -1):
            for start, (a, b) in ((1.0, above), (1 + 2.0**-23, below), (1.0, below), (1 + 2.0**-23, above)):
                x, w = (sign * start, sign * a * 2.0**-30), (1.0, b * 2.0**-30)
                rows.append([[number * 2.0**power for number in pair] for pair in (x, w)])
    x, w = np.array(rows, np.float32).transpose(1, 0, 2)
    expected = exact_product(x, w)
    twice = (x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.float32)
    assert (np.diag(expected) != np.diag(twice)).sum() >= 12
    assert same(winit.dense_forward(x, w)[0], expected)


def test_the_flavours_are_what_they_say():
    """Guards of the oracle: a chain of fused steps differs from rounded products, subnormals and infinities occur."""
    for kind in KINDS:
        x, w, y = flavoured("ordinary", 385, kind)
        unfused = np.zeros((2, 3), kind)
        for i in range(385):
            unfused += x[:, i, None] * w[:, i]
        assert not same(unfused, y)
        tiny = np.finfo(kind).tiny
        y = flavoured("subnormal products", 383, kind)[2]
        assert (np.abs(y) < tiny).all() and (y != 0).all()
        y = flavoured("subnormal inputs", 383, kind)[2]
        assert (np.abs(y) < tiny).all() and (y != 0).all()
        assert np.isinf(flavoured("overflow", 800, kind)[2]).any()
        y = flavoured("products that vanish", 1, kind)[2]
        assert (y == 0).any() and np.signbit(y).all()
        y = flavoured("not finite", 2, kind)[2]
        assert np.isnan(flavoured("not finite", 383, kind)[2]).any()
    assert rounded(fractions.Fraction(1, 3), np.float32) == np.float32(1 / 3)
    assert rounded(fractions.Fraction(3, 2**150), np.float32) == 2.0**-148  # a tie of subnormals, to even
    assert rounded(fractions.Fraction(2**128 - 2**103), np.float32) == math.inf


@functools.cache
def tiles(kind):
    x, w = numbers(2, (29, 21), (67, 21), kind=kind)
    return x, w, exact_product(x, w)


@every_kind
def test_tiles_of_every_size(isa, kind):
    """Up to two tiles of rows, of which the tallest has 14, and three panels of columns, of which the widest has 32."""
    x, w, expected = tiles(kind)
    across = np.asfortranarray(w)
    for m in range(1, 30):
        for n in (1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 67):
            out = np.empty((n, m), kind).T
            assert same(winit.dense_forward(x[:m], w[:n])[0], expected[:m, :n])
            assert same(winit.dense_forward(x[:m], across[:n], out=out)[0], expected[:m, :n])


@every_kind
def test_k_of_every_size_within_a_block(isa, kind):
    """Panels are transposed 16 or 8 rows at a time, the last of them overlapping, from any alignment."""
    x, w = numbers(3, (2, 60), (40, 64), kind=kind)
    for k in range(1, 60):
        a, b = x[:, :k], w[:, k % 4 : k % 4 + k]
        expected = exact_product(a[:1, :], b[[0, 33]]) if k % 12 == 7 else None
        y = winit.dense_forward(a, b)[0]
        assert same(y, winit.dense_forward(a, np.ascontiguousarray(b.T), layout="io")[0])
        assert expected is None or same(y[:1, [0, 33]], expected)


@every_kind
def test_rows_of_every_number_and_length(isa, kind):
    """Rows are packed in vectors that overlap where they lie in order, either way, and number by number where not."""
    x, w = numbers(4, (45, 70), (19, 70), kind=kind)
    apart = np.repeat(x, 2, axis=1)[:, ::2]
    for m in (*range(1, 20), 29, 45):
        for k in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 48, 63, 64, 65, 70):
            expected = winit.dense_forward(apart[:m, :k], w[:, :k])[0]
            for rows in (x[:m, :k], np.asfortranarray(x)[:m, :k], np.asfortranarray(x[:m, :k])):
                assert same(winit.dense_forward(rows, w[:, :k])[0], expected)


# ---- what bits do not depend on


def strided(array, way):
    """The same values in another place: other strides, another alignment, neighbours on all sides."""
    m, n = array.shape
    if way == "rows first":
        return np.asfortranarray(array)
    if way == "inside":
        store = np.full((m + 3, n + 5), 7, array.dtype)
        view = store[2 : 2 + m, 3 : 3 + n]
    elif way == "backwards":
        view = np.empty((m, n), array.dtype)[::-1, ::-1]
    elif way == "rows backwards":
        view = np.empty((m, n), array.dtype)[::-1]
    elif way == "every second":
        view = np.full((2 * m, 2 * n), 7, array.dtype)[1::2, ::2]
    elif way == "every third, across":
        view = np.full((3 * n, 2 * m), 7, array.dtype)[2::3, ::-2].T
    else:
        return np.ascontiguousarray(array)
    view[...] = array
    return view


WAYS = ("whole", "rows first", "inside", "backwards", "rows backwards", "every second", "every third, across")
SIZES = [  # batch, in, out
    (1, 1, 1),
    (1, 17, 257),
    (3, 769, 17),
    (17, 3, 1),
    (17, 385, 65),
    (64, 31, 67),
    (65, 64, 64),
    (131, 13, 33),
    (257, 1, 3),
    (400, 5, 31),
    (2, 37, 401),
    (5, 401, 16),
    (70, 70, 70),
]


def everything(x, weight, bias, grad, f, layout, threads=1, out=None, places=None):
    """y, all gradients and the statistics of a layer."""
    y, tape = winit.dense_forward(x, weight, bias, f, layout=layout, out=out, stats=True, threads=threads)
    return [y, *winit.dense_backward(grad, tape, out=places, threads=threads)], tape.stats


@settings(max_examples=500)
@given(
    st.sampled_from(SIZES),
    st.sampled_from(KINDS),
    st.sampled_from(ROWS),
    st.sampled_from(["oi", "io"]),
    st.sampled_from([1, 2, 3, 7]),
    st.sampled_from(ISAS),
    st.tuples(*[st.sampled_from(WAYS)] * 6),
    st.tuples(*[st.sampled_from([None, "one row", "one column", "one number"])] * 3),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_bits_do_not_depend_on_where_numbers_lie(size, kind, f, layout, threads, isa, ways, constant, with_bias, seed):
    """Threads, instruction set, strides of everything that is read or written, a transposed weight."""
    batch, fan_in, units = size
    x, weight, bias, grad = layer(seed, batch, fan_in, units, kind)
    spread = []
    for array, how in zip((x, weight, grad), constant, strict=True):
        if how is not None:
            rows, columns = {"one row": (1, None), "one column": (None, 1), "one number": (1, 1)}[how]
            array = np.broadcast_to(array[:rows, :columns], array.shape)  # strides of 0
        spread.append(array)
    values = [np.ascontiguousarray(array) for array in spread]
    places = [s if how else strided(s, way) for s, way, how in zip(spread, ways[:3], constant, strict=True)]
    b = bias if with_bias else None
    with winit.use_engine("cython", ISAS[-1]):
        expected, stats = everything(values[0], values[1], b, values[2], f, "oi")
    if layout == "io":
        places[1] = places[1].T
        expected[2] = expected[2].T
    results = [np.empty(shape, kind) for shape in ((batch, units), (batch, fan_in), expected[2].shape)]
    results = [strided(array, way) for array, way in zip(results, ways[3:], strict=True)]
    bias_there = np.repeat(bias, 3)[::3][::-1].copy()[::-1] if with_bias else None
    db = np.empty(2 * units, kind)[::2] if with_bias else None
    with pytest.MonkeyPatch.context() as patch, winit.use_engine("cython", isa):
        patch.setattr(winit._dense.products, "INLINE", 0)
        patch.setattr(winit._dense.passes, "INLINE_SUM", 0)
        got, got_stats = everything(
            places[0], places[1], bias_there, places[2], f, layout, threads, results[0], (*results[1:], db)
        )
    assert all_same(got, expected)
    assert got_stats == stats
    assert all(g is r for g, r in zip(got, (*results, db), strict=True))


@pytest.mark.parametrize(
    "size",
    [(1031, 19, 300), (2053, 20, 31), (30, 1570, 530), (33, 300, 1031), (7, 11, 2053), (1571, 3, 5), (19, 1031, 33)],
)
@pytest.mark.parametrize("f", [activations.relu(), activations.gelu()], ids=lambda f: f.name)
def test_bits_across_blocks(isa, threaded, size, f):
    """More than a slab of 1024 rows, a block of 256 columns and four blocks of k, in forward or in a gradient."""
    x, weight, bias, grad = layer(5, *size)
    with winit.use_engine("cython", ISAS[-1]):
        expected, stats = everything(x, weight, bias, grad, f, "oi")
    cases = [(7, False)] if isa == "baseline" else [(1, True), (2, False), (3, True), (7, False)]
    for threads, across in cases:
        w, g = (weight.T.copy().T, np.asfortranarray(grad)) if across else (weight, grad)
        got, got_stats = everything(x, w, bias, g, f, "oi", threads)
        assert all_same(got, expected) and got_stats == stats


@pytest.mark.parametrize("kind", KINDS, ids=["float32", "float64"])
@pytest.mark.usefixtures("compiled")
def test_bits_across_all_blocks_at_once(threaded, kind):
    x, weight, bias, grad = layer(6, 1100, 1200, 530, kind)
    expected, stats = everything(x, weight, bias, grad, "silu", "oi")
    for isa in ISAS[1:]:
        with winit.use_engine("cython", isa):
            got, got_stats = everything(x, weight.T, bias, grad, "silu", "io", 3)
            got[2] = got[2].T
            assert all_same(got, expected) and got_stats == stats


@every_kind
@pytest.mark.parametrize("offset", [0, 4])
def test_bits_of_results_that_are_stored_past_the_cache(isa, threaded, offset, kind):
    """From 4 MiB on and with one block of k, where rows are aligned, except for a last panel that is not whole."""
    units, fan_in = 1056, 1040
    x, weight, _, grad = layer(46, 5, fan_in, units, kind)
    _, tape = winit.dense_forward(x, weight)
    store = np.full(units * fan_in + 64, 7, kind)
    start = -store.ctypes.data // store.itemsize % (64 // store.itemsize) + offset
    out = store[start : start + units * fan_in].reshape(units, fan_in)
    assert out.nbytes >= 1 << 22 and out.ctypes.data % 64 == offset * store.itemsize
    winit.dense_backward(grad, tape, want=["weight"], out=(None, out, None), threads=2)
    for first in range(0, units, 200):
        part = slice(first, first + 200)
        piece = winit.dense_backward(
            grad[:, part], winit.dense_forward(x, weight[part])[1], want=["weight"], threads=1
        )[1]
        assert same(out[part], piece)
    assert (np.delete(store, np.s_[start : start + units * fan_in]) == 7).all()


@every_kind
def test_bits_of_pieces_are_those_of_the_whole(isa, kind):
    """Cuts of the batch, of the units and of the inputs, at any place."""
    x, weight, bias, grad = layer(7, 150, 401, 139, kind)
    whole, _ = everything(x, weight, bias, grad, "tanh", "oi")
    for cut in (1, 2, 13, 64, 77, 128, 149):
        for rows in (slice(0, cut), slice(cut, None)):
            y, tape = winit.dense_forward(x[rows], weight, bias, "tanh")
            assert same(y, whole[0][rows])
            assert same(winit.dense_backward(grad[rows], tape, want=["x"])[0], whole[1][rows])
    for cut in (1, 16, 67, 130):
        for units in (slice(0, cut), slice(cut, None)):
            y, tape = winit.dense_forward(x, weight[units], bias[units], "tanh")
            _, dweight, dbias = winit.dense_backward(grad[:, units], tape, want=("weight", "bias"))
            assert all_same((y, dweight, dbias), (whole[0][:, units], whole[2][units], whole[3][units]))
    for part in (slice(0, 3), slice(250, 400), slice(400, 401)):
        tape = Tape(x[:, part], weight[:, part], "oi", 139, True, activations.tanh(), whole[0], None)
        dx, dweight, _ = winit.dense_backward(grad, tape, want=("x", "weight"))
        assert all_same((dx, dweight), (whole[1][:, part], whole[2][:, part]))


def test_bits_when_called_from_several_threads(threaded):
    x, weight, bias, grad = layer(8, 40, 500, 300)
    expected, stats = everything(x, weight, bias, grad, "gelu", "oi")
    wrong = []

    def work():
        for _ in range(5):
            got, got_stats = everything(x, weight, bias, grad, "gelu", "oi", 3)
            if not all_same(got, expected) or got_stats != stats:
                wrong.append(got)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_more_threads_than_work(threaded):
    x, weight, _, _ = layer(9, 3, 5, 2)
    expected = winit.dense_forward(x, weight, threads=1)[0]
    for threads in (64, 1000, np.int64(4), 2**31, 2**70):
        assert same(winit.dense_forward(x, weight, threads=threads)[0], expected)


@pytest.mark.usefixtures("compiled")
def test_what_starts_threads():
    """The docstring's threads=None is as good as any number; small products stay in the caller's thread."""
    started = []

    def start(thread):
        started.append(thread)
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        x, weight, _, grad = layer(10, 100, 16, 300)
        y, tape = winit.dense_forward(x, weight, threads=7)
        winit.dense_backward(grad, tape, threads=7)
        assert not started
        patch.setattr(winit._dense.products, "INLINE", 0)
        assert same(winit.dense_forward(x, weight, threads=7)[0], y)  # and without the threads, which do not start
        assert started


# ---- values


@every_kind
@every_layout
@pytest.mark.parametrize("with_bias", [False, True])
def test_values_are_within_the_bound_of_a_dot_product(build, kind, layout, with_bias):
    """|error| <= (k + 1) eps/2 |x| |w|, the bound of any order of summation, bias included."""
    for size in ((1, 1, 1), (7, 13, 5), (17, 1000, 3), (130, 77, 67)):
        x, weight, bias, _ = layer(11, *size, kind, layout)
        y, _ = winit.dense_forward(x, weight, bias if with_bias else None, layout=layout)
        wide = [m.astype(np.longdouble) for m in (x, weight.T if layout == "oi" else weight, bias * with_bias)]
        exact = wide[0] @ wide[1] + wide[2]
        bound = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
        assert y.dtype == kind and y.shape == exact.shape
        assert (np.abs(y - exact) <= (size[1] + 1) * np.finfo(kind).eps / 2 * bound + np.finfo(kind).tiny).all()


@every_kind
@every_row
def test_activation_bias_and_product_are_those_apart(isa, f, kind):
    """Fused is unfused to the bit: y = f(C + b); g = grad f'(kept); dx, dweight products of g; dbias its sums."""
    for layout in ("oi", "io"):
        for size in ((70, 9, 21), (3, 390, 67), (130, 5, 7)):
            x, weight, bias, grad = layer(12, *size, kind, layout)
            weight *= 2
            y, tape = winit.dense_forward(x, weight, bias, f, layout=layout)
            z = winit.dense_forward(x, weight, layout=layout)[0] + bias
            apart, g = np.empty_like(z), grad.copy()
            wide = kind is np.float64
            kernels.activate(isa, f.code, f.number, z.view(np.uint8).ravel(), apart.view(np.uint8).ravel(), wide, False)
            assert same(y, apart)
            kept = z if f.row.kept in (INPUT, BIT) else y
            kernels.activate(isa, f.code, f.number, kept.view(np.uint8).ravel(), g.view(np.uint8).ravel(), wide, True)
            dx, dweight, dbias = winit.dense_backward(grad, tape)
            assert same(dx, product(g, weight.T if layout == "io" else weight))
            assert same(dweight, product(g.T, x) if layout == "oi" else product(x.T, g))
            assert same(dbias, blocked_sums(g))


def blocked_sums(g):
    """Sums over rows in float64, one after the other within blocks of 64, block sums in order, rounded once."""
    total = np.zeros(g.shape[1])
    for start in range(0, len(g), 64):
        total += np.add.accumulate(g[start : start + 64].astype(np.float64), axis=0)[-1]
    return total.astype(g.dtype)


@every_row
def test_what_the_tape_keeps(build, f):
    """The input, the output, or a bit a unit: nothing else of the size of y."""
    x, weight, bias, _ = layer(13, 9, 4, 19)
    y, tape = winit.dense_forward(x, weight, bias, f)
    z = winit.dense_forward(x, weight, bias)[0]
    assert tape.x is x and tape.weight is weight and tape.stats is None
    if f.row.kept == OUTPUT:
        assert tape.kept is y
    elif f.row.kept == INPUT:
        assert same(tape.kept, z)
    elif f.row.kept == BIT:
        assert (tape.kept == np.packbits(z > 0, axis=1, bitorder="little")).all() and tape.kept.shape == (9, 3)
    else:
        assert tape.kept is None
    assert repr(tape) == f"<Tape of {f!r}, batch 9, 4 to 19>"


@every_row
@every_layout
def test_gradients_are_differences(build, f, layout):
    """Fourth-order central differences in float64, away from kinks: off by h^4 and by 1e-16 / h."""
    x, weight, bias, grad = layer(14, 3, 4, 5, np.float64, layout)
    _, tape = winit.dense_forward(x, weight, bias, f, layout=layout)
    z = winit.dense_forward(x, weight, bias, layout=layout)[0]
    h = 1e-3
    assert np.abs(z).min() > 20 * h

    def loss(arrays):
        return float((grad * winit.dense_forward(*arrays, f, layout=layout)[0]).sum())

    for i, got in enumerate(winit.dense_backward(grad, tape)):
        arrays = [x.copy(), weight.copy(), bias.copy()]
        assert got.shape == arrays[i].shape and got.dtype == np.float64
        for at in np.ndindex(got.shape):
            sides = []
            for step in (h, -h, 2 * h, -2 * h):
                before = arrays[i][at]
                arrays[i][at] = before + step
                sides.append(loss(arrays))
                arrays[i][at] = before
            difference = (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / (12 * h)
            assert got[at] == pytest.approx(difference, abs=2e-10)


def torch_function(torch, f):
    import torch.nn.functional as functions

    return {
        "identity": lambda z: z,
        "gelu_tanh": lambda z: functions.gelu(z, approximate="tanh"),
        "leaky_relu": lambda z: functions.leaky_relu(z, f.number),
        "elu": lambda z: functions.elu(z, f.number),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    }.get(f.name) or getattr(functions, f.name)


@every_row
@every_kind
@every_layout
@pytest.mark.parametrize("with_bias", [False, True])
def test_gradients_are_torchs(build, f, kind, layout, with_bias):
    torch = pytest.importorskip("torch")
    for number, size in enumerate([(1, 1, 1), (17, 5, 3), (67, 31, 13)]):
        x, weight, bias, grad = layer(15, *size, kind, layout)
        bias = bias if with_bias else None
        if number == 1:  # strided and transposed
            x, weight, grad = strided(x, "every second"), np.asfortranarray(weight), np.asfortranarray(grad)
        y, tape = winit.dense_forward(x, weight, bias, f, layout=layout)
        leaves = [None if a is None else torch.tensor(a.tolist(), dtype=torch.float64) for a in (x, weight, bias)]
        given = [leaf.requires_grad_() for leaf in leaves if leaf is not None]
        w = leaves[1] if layout == "oi" else leaves[1].T
        expected = torch_function(torch, f)(torch.nn.functional.linear(leaves[0], w, leaves[2]))
        expected.backward(torch.tensor(grad.tolist(), dtype=torch.float64))
        got = [y, *(g for g in winit.dense_backward(grad, tape) if g is not None)]
        for ours, theirs in zip(got, [expected.detach(), *(leaf.grad for leaf in given)], strict=True):
            scale = 1 + float(theirs.abs().max())
            assert ours.shape == tuple(theirs.shape)
            assert np.abs(ours - theirs.numpy()).max() <= scale * np.finfo(kind).eps * 20
    assert winit.dense_backward(grad, tape)[2] is None or with_bias


def test_derivatives_at_a_kink_are_from_the_left(build):
    """z is exactly 0.0 or -0.0 in 20 units, some of them between others: none counts as above 0."""
    bias = np.array([0.0, -0.0, 1.0, 0.0, -1.0] * 8 + [0.0] * 3, np.float32)
    weight, grad = np.zeros((43, 2), np.float32), np.ones((2, 43), np.float32)
    for name in ("relu", "leaky_relu", "elu", "selu"):
        f = Activation(name)
        _, tape = winit.dense_forward(np.zeros((2, 2), np.float32), weight, bias, f)
        assert np.allclose(winit.dense_backward(grad, tape)[2], 2 * f.derivative(bias), rtol=1e-6, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_outputs_that_are_kept_may_have_any_strides(build, way):
    """y is what backward needs of some activations; it is read where out= put it."""
    x, weight, bias, grad = layer(16, 9, 4, 19)
    for f in (f for f in ROWS if f.row.kept == OUTPUT):
        y, tape = winit.dense_forward(x, weight, bias, f)
        expected = winit.dense_backward(grad, tape)
        out = strided(np.empty_like(y), way)
        placed, tape = winit.dense_forward(x, weight, bias, f, out=out)
        assert placed is out and same(placed, y)
        got = winit.dense_backward(grad, tape)
        assert all(np.allclose(a, b, rtol=1e-6, atol=1e-6) for a, b in zip(got, expected, strict=True))
        assert build[0] != "cython" or all_same(got, expected)


def test_a_tape_serves_again_and_is_left_alone(isa):
    x, weight, bias, grad = layer(17, 20, 30, 40)
    y, tape = winit.dense_forward(x, weight, bias, "mish")
    before = [a.tobytes() for a in (x, weight, bias, grad, y, tape.kept)]
    first = winit.dense_backward(grad, tape)
    assert all_same(winit.dense_backward(grad, tape), first)
    assert [a.tobytes() for a in (x, weight, bias, grad, y, tape.kept)] == before


def test_subclasses_are_read_and_written_as_arrays(build):
    """A matrix, for which * is another product; and a memmap, which is where weights may lie."""
    x, weight, bias, grad = layer(51, 6, 5, 4)
    y, tape = winit.dense_forward(x, weight, bias, "tanh")
    expected = [y, *winit.dense_backward(grad, tape)]

    class Odd(np.ndarray):
        def __array_finalize__(self, other):
            self.note = getattr(other, "note", None)

        def __mul__(self, other):
            raise AssertionError("arithmetic of a subclass")

        __rmul__ = __add__ = __radd__ = __matmul__ = __rmatmul__ = __mul__

    a, w, b, g, out = (m.view(Odd) for m in (x, weight, bias, grad, np.empty_like(y)))
    got, tape = winit.dense_forward(a, w, b, "tanh", out=out, stats=True)
    assert got is out
    got = [got, *winit.dense_backward(g, tape)]
    assert all(np.allclose(one.view(np.ndarray), e, rtol=1e-6) for one, e in zip(got, expected, strict=True))


def test_a_tape_whose_output_was_changed_in_shape_is_refused():
    x, weight, _, grad = layer(52, 6, 5, 4)
    y, tape = winit.dense_forward(x, weight, None, "tanh")
    y.resize((4, 6), refcheck=False)
    with pytest.raises(ValueError, match=r"y has shape \(4, 6\), expected \(6, 4\)"):
        winit.dense_backward(grad, tape)


def test_names_and_rows_are_one():
    x, weight, bias, _ = layer(18, 4, 5, 6)
    for name in TABLE:
        by_name = winit.dense_forward(x, weight, bias, name)[0]
        assert same(by_name, winit.dense_forward(x, weight, bias, getattr(activations, name)())[0])
    assert not same(
        winit.dense_forward(x, weight, bias, activations.leaky_relu(0.2))[0],
        winit.dense_forward(x, weight, bias, "leaky_relu")[0],
    )


@pytest.mark.parametrize("size", [(0, 3, 4), (0, 0, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (1, 3, 4)])
@every_layout
@pytest.mark.parametrize("f", [Activation(name) for name in ("identity", "relu", "sigmoid", "silu")], ids=repr)
def test_sizes_of_zero_and_one(build, size, layout, f):
    """Empty sums are 0: without inputs y = f(bias), without a batch gradients are 0."""
    batch, _, units = size
    x, weight, bias, grad = layer(19, *size, np.float32, layout)
    for b in (bias, None):
        y, tape = winit.dense_forward(x, weight, b, f, layout=layout)
        z = (x @ (weight.T if layout == "oi" else weight)) + (0 if b is None else b)
        assert y.shape == (batch, units) and y.dtype == np.float32
        assert np.allclose(y, f.value(z), rtol=1e-6, atol=1e-6)
        dx, dweight, dbias = winit.dense_backward(grad, tape)
        g = grad * f.derivative(z)
        assert dx.shape == x.shape and np.allclose(dx, g @ (weight if layout == "oi" else weight.T), atol=1e-5)
        assert dweight.shape == weight.shape
        assert np.allclose(dweight, g.T @ x if layout == "oi" else x.T @ g, atol=1e-5)
        assert dbias is None if b is None else np.allclose(dbias, g.sum(0), atol=1e-5)
        assert dbias is None or dbias.shape == (units,)


def test_gradients_of_what_is_empty_are_written():
    """Over what was in out= before."""
    x, weight, bias, grad = layer(20, 0, 3, 4)
    _, tape = winit.dense_forward(x, weight, bias, "tanh")
    out = (np.empty((0, 3), np.float32), np.full((4, 3), 7, np.float32), np.full(4, 7, np.float32))
    winit.dense_backward(grad, tape, out=out)
    assert (out[1] == 0).all() and (out[2] == 0).all()
    x, weight, bias, grad = layer(20, 5, 3, 0)
    _, tape = winit.dense_forward(x, weight, bias, "tanh")
    dx = np.full((5, 3), 7, np.float32)
    winit.dense_backward(grad, tape, out=(dx, None, None))
    assert (dx == 0).all()


# ---- what is wanted, and where it goes


@every_layout
def test_wanting_less_changes_nothing(build, layout):
    x, weight, bias, grad = layer(21, 70, 11, 13, np.float32, layout)
    for b in (bias, None):
        for f in ("relu", "tanh", "gelu"):
            _, tape = winit.dense_forward(x, weight, b, f, layout=layout)
            whole = winit.dense_backward(grad, tape)
            assert (whole[2] is None) == (b is None)
            for chosen in range(8):
                want = [name for i, name in enumerate(("x", "weight", "bias")) if chosen >> i & 1]
                expected = [g if chosen >> i & 1 else None for i, g in enumerate(whole)]
                if b is None and "bias" in want:
                    with pytest.raises(ValueError, match="^the gradient of bias cannot be had: the layer has no bias$"):
                        winit.dense_backward(grad, tape, want=want)
                    continue
                got = winit.dense_backward(grad, tape, want=want)
                if build[0] == "cython":
                    assert all_same(got, expected)
                for a, e in zip(got, expected, strict=True):
                    assert a is None if e is None else np.allclose(a, e, rtol=1e-5, atol=1e-5)
                assert all_same(winit.dense_backward(grad, tape, want=iter(want)), got)
    v = winit.Virtual(winit.he_normal(), weight.shape, seed=0, layout=layout)
    tape = winit.dense_forward(x, v)[1]
    assert winit.dense_backward(grad, tape)[1] is None
    with pytest.raises(ValueError, match="^the gradient of weight cannot be had: virtual weights have none$"):
        winit.dense_backward(grad, tape, want=("x", "weight"))


def guarded(shape, kind, way):
    """A place for an array inside a larger one that is full of sevens."""
    if len(shape) == 1:
        store = np.full(3 * shape[0] + 40, 7, kind)
        return store, store[20 : 20 + 3 * shape[0] : 3]
    m, n = shape
    store = np.full((2 * m + 40, 2 * n + 70), 7, kind)
    return store, {
        "rows": store[20 : 20 + m, 35 : 35 + n],
        "every second": store[20 : 20 + 2 * m : 2, 35 : 35 + 2 * n : 2],
        "backwards": store[20 + m : 20 : -1, 35 + n : 35 : -1],
    }[way]


@every_kind
@pytest.mark.parametrize("way", ["rows", "every second", "backwards"])
def test_nothing_is_written_beside_out(build, threaded, kind, way):
    for size in ((1, 1, 1), (5, 3, 7), (67, 33, 65), (129, 390, 17)):
        x, weight, bias, grad = layer(22, *size, kind)
        for f in ("identity", "leaky_relu", "silu"):
            y, tape = winit.dense_forward(x, weight, bias, f)
            expected = [y, *winit.dense_backward(grad, tape)]
            stores, places = zip(*(guarded(e.shape, kind, way) for e in expected), strict=True)
            got, tape = winit.dense_forward(x, weight, bias, f, out=places[0], stats=True, threads=3)
            got = [got, *winit.dense_backward(grad, tape, out=places[1:], threads=3)]
            for store, place, g, e in zip(stores, places, got, expected, strict=True):
                assert g is place and np.shares_memory(g, store)
                assert np.allclose(g, e, rtol=1e-5, atol=1e-5) and (build[0] != "cython" or same(g, e))
                place[...] = 7
                assert (store == 7).all()


def test_a_new_out_is_contiguous_and_nobody_elses(build):
    x, weight, bias, grad = layer(23, 6, 5, 4)
    y, tape = winit.dense_forward(np.asfortranarray(x), weight, bias, "relu")
    for made in (y, *winit.dense_backward(grad, tape)):
        assert made.flags.c_contiguous and made.flags.owndata
        assert not any(np.shares_memory(made, other) for other in (x, weight, bias, grad))


def test_inputs_may_share_memory_and_be_read_only(build):
    """They are only read: x may be the weight, and a gradient a number with strides of 0."""
    x = numbers(24, (8, 8))[0]
    x.flags.writeable = False
    y, tape = winit.dense_forward(x, x, x[0], "softplus")
    assert np.allclose(y, np.logaddexp(0, x @ x.T + x[0]), rtol=1e-5)
    dx, _, dbias = winit.dense_backward(np.broadcast_to(np.float32(0.5), (8, 8)), tape)
    g = 0.5 / (1 + np.exp(-(x @ x.T + x[0])))
    assert np.allclose(dx, g @ x, atol=1e-5) and np.allclose(dbias, g.sum(0), atol=1e-5)


# ---- statistics


@every_kind
@every_row
def test_statistics_are_numpys(build, f, kind):
    """Moments to float64's accuracy; counts exactly, no derivative here being within 1e-6 of the threshold."""
    x, weight, bias, _ = layer(25, 37, 20, 131, kind)
    bias[::3] = -40  # some units far from their bend
    bias[:5] = [50, -3, 3, 30, -1]
    weight[7], bias[7] = 0, 0  # and one at 0
    y, tape = winit.dense_forward(x, weight, bias, f, stats=True)
    z = winit.dense_forward(x, weight, bias)[0]
    steep = np.abs(
        f.row.from_output(y.astype(float), slope_number(f.name, f.number, y.dtype))
        if f.row.kept == OUTPUT
        else f.derivative(z)
    )
    threshold = 0.05 * f.steepest
    assert np.abs(steep - threshold).min() > 1e-6 * threshold
    wide = y.astype(np.float64)
    assert isinstance(tape.stats, Stats)
    mean, variance, zeros, saturated = tape.stats
    assert mean == pytest.approx(wide.mean(), rel=1e-12, abs=1e-13)
    assert variance == pytest.approx(wide.var(), rel=1e-11, abs=1e-13 * (1 + mean * mean))
    assert zeros == (y == 0).mean()
    assert saturated == (steep < threshold).mean()
    assert tape.stats._fields == ("mean", "variance", "zeros", "saturated")


def test_statistics_are_asked_for_and_change_nothing(build):
    x, weight, bias, _ = layer(26, 20, 30, 200)
    for f in ROWS:
        y, tape = winit.dense_forward(x, weight, bias, f)
        again, counted = winit.dense_forward(x, weight, bias, f, stats=True)
        assert tape.stats is None and counted.stats is not None and same(again, y)


def test_statistics_have_the_same_bits_everywhere(threaded):
    x, weight, bias, _ = layer(27, 1100, 40, 333)
    seen = set()
    for isa in ISAS:
        with winit.use_engine("cython", isa):
            for threads in (1, 2, 3, 7):
                for out in (None, np.empty((333, 1100), np.float32).T):
                    _, tape = winit.dense_forward(x, weight, bias, "gelu", stats=True, threads=threads, out=out)
                    seen.add(tuple(float(s).hex() for s in tape.stats))
    assert len(seen) == 1


def test_statistics_of_nothing_are_nan(build):
    for shape in ((0, 3), (3, 0)):
        x, weight = np.zeros((shape[0], 2), np.float32), np.zeros((shape[1], 2), np.float32)
        assert np.isnan(winit.dense_forward(x, weight, stats=True)[1].stats).all()


def test_statistics_of_a_constant_have_no_variance(build):
    y, tape = winit.dense_forward(np.ones((50, 3)), np.full((70, 3), 0.1), stats=True)
    assert tape.stats.mean == pytest.approx(y[0, 0]) and 0 <= tape.stats.variance < 1e-15
    assert tape.stats[2:] == (0.0, 0.0)


@every_kind
@pytest.mark.parametrize("centre", [1e3, -1e6])
def test_variance_far_from_zero(build, kind, centre):
    """The mean square less the square of the mean would leave 1e-16 centre^2 of error: here all of the variance."""
    x = (centre * (1 + np.random.default_rng(50).standard_normal((100, 1)) * 1e-5)).astype(kind)
    y, tape = winit.dense_forward(x, np.ones((131, 1), kind), stats=True)
    exact = y.astype(np.longdouble)
    assert tape.stats.mean == pytest.approx(float(exact.mean()), rel=1e-14)
    assert tape.stats.variance == pytest.approx(float(exact.var()), rel=1e-9)


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf, 1e200])
def test_statistics_of_what_is_not_finite_say_so(build, worst):
    """A mean square that is not finite leaves no variance to tell: 0 would claim that all units are alike."""
    x = np.array([[1.0, 2.0], [worst, 3.0]])
    y, tape = winit.dense_forward(x, np.ones((5, 2)), stats=True)
    assert not np.isfinite(tape.stats.variance)
    assert math.isclose(tape.stats.mean, y.mean()) or (np.isnan(tape.stats.mean) and np.isnan(y.mean()))


# ---- what is not finite


@every_kind
def test_what_is_not_finite_goes_through(isa, kind):
    """As arithmetic has it, into the elements that it has a part in and no others, without a warning."""
    x, weight, bias, grad = layer(28, 5, 40, 70, kind)
    y = winit.dense_forward(x, weight, bias)[0]
    x[1, 3], weight[8, 0], bias[60] = np.nan, np.inf, -np.inf
    got, tape = winit.dense_forward(x, weight, bias)
    clean = np.ones_like(y, bool)
    clean[1], clean[:, 8], clean[:, 60] = False, False, False
    assert np.isnan(got[1]).all() and (got[[0, 2, 3, 4], 60] == -np.inf).all()
    assert (np.isinf(got[[0, 2, 3, 4], 8]) & (np.sign(got[[0, 2, 3, 4], 8]) == np.sign(x[[0, 2, 3, 4], 0]))).all()
    assert same(got[clean], y[clean])
    grad[2, 5] = np.nan
    dx, dweight, dbias = winit.dense_backward(grad, tape)
    assert np.isnan(dx[2]).all() and np.isnan(dweight[5]).all()
    assert np.isnan(dbias).tolist() == [i == 5 for i in range(70)]


@every_kind
@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf])
def test_a_dead_unit_lets_nothing_through(build, kind, worst):
    """relu's gradient is 0 where it is off, whatever comes from above, as torch's is; 0 times infinity is not asked."""
    weight = np.array([[1.0], [-1.0]] * 11, kind)
    y, tape = winit.dense_forward(np.ones((3, 1), kind), weight, np.zeros(22, kind), "relu")
    grad = np.where(y > 0, kind(2), kind(worst))
    dx, dweight, dbias = winit.dense_backward(grad, tape)
    assert (dx == 22).all() and same(dweight[:, 0], dbias)
    assert dbias.tolist() == [6.0, 0.0] * 11


def test_sums_that_are_not_finite_do_not_warn(build):
    """inf and -inf in different blocks of 64 rows, and float64 numbers whose sum is beyond their range."""
    x, weight, bias, grad = layer(29, 130, 2, 3, np.float64)
    _, tape = winit.dense_forward(x, weight, bias, stats=True)
    grad[0, 0], grad[100, 0] = np.inf, -np.inf
    grad[:, 1] = 1.7e308
    dbias = winit.dense_backward(grad, tape, want=["bias"])[2]
    assert np.isnan(dbias[0]) and dbias[1] == np.inf and np.isfinite(dbias[2])
    x, weight, bias, grad = layer(29, 130, 2, 3, np.float32)
    _, tape = winit.dense_forward(x, weight, bias)
    grad[:, 1] = 3e38
    assert winit.dense_backward(grad, tape, want=["bias"])[2][1] == np.inf


def test_statistics_of_infinities_do_not_warn(build):
    x = np.array([[np.inf], [-np.inf], [1.0]], np.float32)
    _, tape = winit.dense_forward(x, np.ones((2, 1), np.float32), stats=True)
    assert np.isnan(tape.stats.mean)


def test_overflow_is_infinite(build):
    y, _ = winit.dense_forward(np.full((2, 3), 1e30, np.float32), np.full((4, 3), 1e30, np.float32))
    assert (y == np.inf).all()


FLUSHED = """
import sys, torch
if sys.argv[1] == "flush" and not torch.set_flush_denormal(True):
    sys.exit("this processor cannot flush denormals")
import numpy as np, winit
for isa in winit.engines()["cython"]["instruction_sets"]:
    winit.use_engine("cython", isa)
    for word, kind in ((np.uint32, np.float32), (np.uint64, np.float64)):
        top = word(1) << word(np.dtype(word).itemsize * 8 - 1)
        x = np.array([[700, 1 | top, 90001], [3000 | top, 5, 77]], word).view(kind)  # subnormal, by their bits
        grad = np.array([[1 | top, 800, 9, 7000], [60001, 5, 4 | top, 333]], word).view(kind)
        w = (np.arange(12).reshape(4, 3) - 5).astype(kind) / 8
        for f in ("identity", "leaky_relu", "tanh", "silu"):
            b = np.array([3, 5 | top, 0, 9], word).view(kind)
            y, tape = winit.dense_forward(x, w, b, f, stats=True, threads=1)
            g = winit.dense_backward(grad, tape, threads=1)
            alone = winit.dense_backward(grad, tape, want=("bias",), threads=1)[2]
            print(isa, f, *(m.tobytes().hex() for m in (y, *g, alone, np.array(tape.stats))))
"""


def test_flushed_denormals_change_nothing():
    pytest.importorskip("torch")

    def run(mode):
        return subprocess.run([sys.executable, "-c", FLUSHED, mode], capture_output=True, text=True)

    flushed, plain = run("flush"), run("plain")
    if "cannot flush" in flushed.stderr:
        pytest.skip(flushed.stderr)
    assert flushed.returncode == plain.returncode == 0, flushed.stderr + plain.stderr
    assert plain.stdout == flushed.stdout and len(plain.stdout.splitlines()) == 8 * len(ISAS)
    assert all(number.strip("0") for line in plain.stdout.splitlines() for number in line.split()[2:])


# ---- weights that are never stored


SCHEMES = [
    winit.normal(0.1, 0.5),
    winit.uniform(-0.3, 0.2),
    winit.truncated_normal(0.0, 0.1),
    winit.truncated_normal(0.0, 1.0, 0.5, 3.0),
    winit.constant(-0.3),
    winit.zeros(),
    winit.he_normal(),
    winit.xavier_uniform(),
    winit.lecun_normal(),
]


@every_kind
@every_layout
@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_virtual_weights_are_the_stored_ones(build, threaded, scheme, layout, kind):
    """To the bit, forwards and backwards; 401 and 139 make rows that start at odd numbers and cross blocks."""
    compiled = build[0] == "cython"
    for fan_in, units in ((401, 139), (5, 1), (1, 7), (67, 300)) if compiled else ((43, 31), (1, 7)):
        shape = (units, fan_in) if layout == "oi" else (fan_in, units)
        v = winit.Virtual(scheme, shape, seed=3, name="fc.weight", layout=layout)
        w = v.draw(np.dtype(kind).name)
        assert same(w, winit.draw(scheme, shape, seed=3, name="fc.weight", layout=layout, dtype=np.dtype(kind).name))
        x, _, bias, grad = layer(30, 33, fan_in, units, kind)
        for threads in (1, 3) if compiled else (1,):
            # the layout of a Virtual is its own, whatever is said beside it
            y, tape = winit.dense_forward(x, v, bias, "relu", layout="io", threads=threads)
            stored, kept = winit.dense_forward(x, w, bias, "relu", layout=layout, threads=1)
            assert same(y, stored) and tape.layout == layout
            got, expected = winit.dense_backward(grad, tape, threads=threads), winit.dense_backward(grad, kept)
            assert got[1] is None and all_same(got[::2], expected[::2])


def test_virtual_weights_across_blocks(isa):
    v = winit.Virtual(winit.normal(), (530, 1201), seed=1, name="w")
    x, _, bias, grad = layer(31, 3, 1201, 530)
    w = v.draw()
    y, tape = winit.dense_forward(x, v, bias, "silu", stats=True)
    stored, kept = winit.dense_forward(x, w, bias, "silu", stats=True)
    assert same(y, stored) and tape.stats == kept.stats
    assert all_same(winit.dense_backward(grad, tape)[::2], winit.dense_backward(grad, kept)[::2])


def test_virtual_weights_have_gradients_for_x_only_and_none_stored():
    v = winit.Virtual(winit.he_normal(), (4, 3), seed=0)
    _, tape = winit.dense_forward(np.ones((2, 3), np.float32), v)
    dx, dweight, dbias = winit.dense_backward(np.ones((2, 4), np.float32), tape)
    assert dweight is None and dbias is None and np.allclose(dx, v.draw().sum(0))
    with pytest.raises(ValueError, match="out has an array for dweight, which is not wanted or not there"):
        winit.dense_backward(np.ones((2, 4), np.float32), tape, out=(None, np.empty((4, 3), np.float32), None))


def test_virtual_weights_of_no_size(build):
    for shape, x in (((0, 3), np.ones((2, 3))), ((3, 0), np.ones((2, 0))), ((3, 2), np.ones((0, 2)))):
        v = winit.Virtual(winit.normal(), shape, seed=0)
        y, tape = winit.dense_forward(x, v, np.ones(shape[0]))
        assert y.shape == (len(x), shape[0]) and (y == 1).all()
        assert (winit.dense_backward(np.ones_like(y), tape)[0] == 0).all()


VIRTUALS = [
    winit.Virtual(winit.he_normal(), (256, 784), seed=0),
    winit.Virtual(winit.he_normal(), (256, 784), seed=0, name="fc1.weight"),
    winit.Virtual(winit.he_normal(), (256, 784), seed=1, name="fc1.weight"),
    winit.Virtual(winit.he_normal(), (784, 256), seed=0, name="fc1.weight", layout="io"),
    winit.Virtual(winit.uniform(-1, 1), (256, 784), seed=2**64 - 1),
]


def test_virtuals_are_frozen_values():
    space = {name: getattr(winit, name) for name in winit.__all__ if name != "jit"}  # a module, which needs numba
    assert len({*VIRTUALS, *VIRTUALS}) == len(VIRTUALS)
    for v in VIRTUALS:
        for copied in (eval(repr(v), space), copy.copy(v), copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
            assert copied == v and hash(copied) == hash(v) and repr(copied) == repr(v)
        for field in ("scheme", "shape", "seed", "name", "layout"):
            with pytest.raises(AttributeError, match=f"Virtual is frozen: {field} cannot be set"):
                setattr(v, field, getattr(v, field))
    assert winit.Virtual(winit.he_normal(), [256, 784], seed=0) == VIRTUALS[0]
    assert winit.Virtual(winit.he_normal(), (np.int64(256), 784), seed=np.uint8(0)) == VIRTUALS[0]
    assert repr(VIRTUALS[0]) == "Virtual(scheme=he_normal(), shape=(256, 784), seed=0)"
    assert repr(VIRTUALS[3]).endswith("seed=0, name='fc1.weight', layout='io')")


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "match"),
    [
        ((winit.literal([[1.0]]), (1, 1)), {}, TypeError, "Virtual weights are drawn, and literal.* is stored already"),
        (("normal", (1, 1)), {}, TypeError, "scheme must be a winit scheme such as"),
        ((winit.normal, (1, 1)), {}, TypeError, r"did you mean normal\(\)\?"),
        ((winit.normal(), (3,)), {}, ValueError, r"Virtual weights have 2 axes, not shape \(3,\)"),
        ((winit.normal(), (3, 4, 5)), {}, ValueError, r"Virtual weights have 2 axes, not shape \(3, 4, 5\)"),
        ((winit.normal(), (3, -4)), {}, ValueError, r"shape must not hold negative sizes: \(3, -4\)"),
        ((winit.normal(), (3, 4.0)), {}, TypeError, "shape must hold integers, not 4.0"),
        ((winit.normal(), (2**32, 2**32)), {}, ValueError, r"more than 2\^63"),
        ((winit.normal(), (3, 4)), {"layout": "hwio"}, ValueError, "must be 'oi' or 'io', not 'hwio'"),
        ((winit.normal(), (3, 4)), {"layout": winit.Axes(0, 1)}, TypeError, "must be 'oi' or 'io', not Axes"),
        ((winit.normal(), (3, 4)), {"layout": None}, TypeError, "must be 'oi' or 'io', not None"),
        ((winit.normal(), (3, 4)), {"seed": -1}, ValueError, r"seed must be in \[0, 2\^64\), not -1"),
        ((winit.normal(), (3, 4)), {"seed": 1.0}, TypeError, "seed must be an integer, not float"),
        ((winit.normal(), (3, 4)), {"name": None}, TypeError, "name must be a str, not NoneType"),
    ],
)
def test_what_is_no_virtual_weight(arguments, keywords, error, match):
    with pytest.raises(error, match=match):
        winit.Virtual(*arguments, **{"seed": 0, **keywords})


def test_virtual_laws_that_a_dtype_cannot_hold():
    out = np.full((2, 3), 7, np.float32)
    narrow, large = winit.uniform(1, 1 + 1e-9), winit.constant(1e39)
    for scheme, match in ((narrow, "is empty in float32"), (large, "beyond the range of float32")):
        v = winit.Virtual(scheme, (3, 4), seed=0)
        with pytest.raises(ValueError, match=match):
            winit.dense_forward(np.ones((2, 4), np.float32), v, out=out)
        assert (out == 7).all()
        assert np.isfinite(winit.dense_forward(np.ones((2, 4)), v)[0]).all()


# ---- bad input


def good(kind=np.float32):
    """x, weight and bias of a layer from 4 to 5, batch 3."""
    x, weight, bias, _ = layer(40, 3, 4, 5, kind)
    return {"x": x, "weight": weight, "bias": bias, "out": np.full((3, 5), 7, kind)}


def unaligned(*shape):
    return np.ndarray(shape, np.float32, bytearray(4 * math.prod(shape) + 1), offset=1)


def field(*shape):
    """Numbers 5 bytes apart."""
    return np.zeros(shape, [("number", np.float32), ("byte", np.uint8)])["number"]


def read_only(*shape):
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


OTHER = ">f4" if sys.byteorder == "little" else "<f4"
FORWARD_ERRORS = [
    ({"x": [[1.0] * 4] * 3}, TypeError, "x must be a NumPy array, not list"),
    ({"x": np.ones((3, 4), np.int32)}, TypeError, "x must be float32 or float64, not int32"),
    ({"x": np.ones((3, 4), np.float16)}, TypeError, "x must be float32 or float64, not float16"),
    ({"x": np.ones((3, 4), np.longdouble)}, TypeError, "x must be float32 or float64, not"),
    ({"x": np.ones((3, 4), object)}, TypeError, "x must be float32 or float64, not object"),
    ({"x": np.ones(4, np.float32)}, ValueError, r"x must have 2 axes, not shape \(4,\)"),
    ({"x": np.ma.ones((3, 4), np.float32)}, TypeError, "x must be a NumPy array, not MaskedArray"),
    ({"activation": activations.leaky_relu(1e39)}, ValueError, "has a parameter beyond the range of float32"),
    ({"x": np.float32(1)}, TypeError, "x must be a NumPy array, not float32"),
    ({"x": np.ones((1, 3, 4), np.float32)}, ValueError, r"x must have 2 axes, not shape \(1, 3, 4\)"),
    ({"x": unaligned(3, 4)}, ValueError, r"x must be aligned to its elements \(strides \(16, 4\)\)"),
    ({"x": field(3, 4)}, ValueError, r"x must be aligned to its elements \(strides \(20, 5\)\)"),
    ({"x": np.ones((3, 6), np.float32)}, ValueError, r"weight has shape \(5, 4\), expected \(5, 6\) in layout 'oi'"),
    ({"weight": [[1.0] * 4] * 5}, TypeError, "weight must be a NumPy array, not list"),
    ({"weight": None}, TypeError, "weight must be a NumPy array, not NoneType"),
    ({"weight": winit.he_normal()}, TypeError, "weight must be a NumPy array, not he_normal"),
    ({"weight": np.ones((5, 4))}, TypeError, "weight must be float32, as x is, not float64"),
    ({"x": np.ones((3, 4))}, TypeError, "weight must be float64, as x is, not float32"),
    (
        {"weight": np.ones((4, 5), np.float32)},
        ValueError,
        r"weight has shape \(4, 5\), expected \(4, 4\) in layout 'oi'",
    ),
    (
        {"layout": "io"},
        ValueError,
        r"weight has shape \(5, 4\), expected \(4, 4\) in layout 'io' for x of shape \(3, 4\)",
    ),
    ({"weight": np.ones(4, np.float32)}, ValueError, r"weight must have 2 axes, not shape \(4,\)"),
    ({"weight": unaligned(5, 4)}, ValueError, "weight must be aligned to its elements"),
    (
        {"weight": winit.Virtual(winit.ones(), (5, 3), seed=0)},
        ValueError,
        r"weight has shape \(5, 3\), expected \(5, 4\) in layout 'oi'",
    ),
    (
        {"weight": winit.Virtual(winit.ones(), (5, 4), seed=0, layout="io")},
        ValueError,
        r"weight has shape \(5, 4\), expected \(4, 4\) in layout 'io'",
    ),
    ({"bias": [0.0] * 5}, TypeError, "bias must be a NumPy array, not list"),
    ({"bias": np.ones(5)}, TypeError, "bias must be float32, as x is, not float64"),
    (
        {"bias": np.ones(4, np.float32)},
        ValueError,
        r"bias has shape \(4,\), expected \(5,\) for weight of shape \(5, 4\)",
    ),
    ({"bias": np.ones((1, 5), np.float32)}, ValueError, r"bias must have 1 axis, not shape \(1, 5\)"),
    ({"bias": unaligned(5)}, ValueError, "bias must be aligned to its elements"),
    ({"bias": field(5)}, ValueError, "bias must be aligned to its elements"),
    ({"out": [[0.0] * 5] * 3}, TypeError, "out must be a NumPy array, not list"),
    ({"out": np.full((3, 4), 7, np.float32)}, ValueError, r"out has shape \(3, 4\), expected \(3, 5\)"),
    ({"out": np.full((5, 3), 7, np.float32)}, ValueError, r"out has shape \(5, 3\), expected \(3, 5\)"),
    ({"out": np.full(15, 7, np.float32)}, ValueError, r"out must have 2 axes, not shape \(15,\)"),
    ({"out": np.full((3, 5), 7.0)}, TypeError, "out must be float32, as x is, not float64"),
    ({"out": np.full((3, 5), 7)}, TypeError, "out must be float32 or float64, not int64"),
    ({"out": read_only(3, 5)}, ValueError, "out must be writeable, and is read-only"),
    ({"out": unaligned(3, 5)}, ValueError, "out must be aligned to its elements"),
    (
        {"out": as_strided(np.full(9, 7, np.float32), (3, 5), (0, 4))},
        ValueError,
        r"out has elements that share memory \(shape \(3, 5\), strides \(0, 4\)\)",
    ),
    (
        {"out": as_strided(np.full(9, 7, np.float32), (3, 5), (8, 4))},
        ValueError,
        r"out has elements that share memory \(shape \(3, 5\), strides \(8, 4\)\)",
    ),
    ({"activation": "Relu"}, ValueError, f"activation must be one of {', '.join(TABLE)}, not 'Relu'"),
    ({"activation": np.tanh}, TypeError, "activation must be a str or a winit activation, not ufunc"),
    ({"layout": "hwio"}, ValueError, "layout of a dense layer must be 'oi' or 'io', not 'hwio'"),
    ({"layout": None}, TypeError, "layout of a dense layer must be 'oi' or 'io', not None"),
    ({"layout": ["oi"]}, TypeError, "layout of a dense layer must be 'oi' or 'io', not list"),
    ({"layout": winit.Axes(1, 0)}, TypeError, "layout of a dense layer must be 'oi' or 'io', not Axes"),
    ({"threads": 0}, ValueError, "threads must be at least 1, not 0"),
    ({"threads": -2}, ValueError, "threads must be at least 1, not -2"),
    ({"threads": 1.5}, TypeError, "threads must be an integer or None, not float"),
    ({"threads": True}, TypeError, "threads must be an integer or None, not bool"),
    ({"threads": "2"}, TypeError, "threads must be an integer or None, not str"),
]


@pytest.mark.parametrize(("changed", "error", "match"), FORWARD_ERRORS, ids=[match for _, _, match in FORWARD_ERRORS])
def test_forward_errors(changed, error, match):
    arguments = {**good(), **changed}
    arrays = {name: a for name, a in arguments.items() if isinstance(a, np.ndarray)}
    before = {name: a.tobytes() for name, a in arrays.items()}
    with pytest.raises(error, match=match):
        winit.dense_forward(**arguments)
    assert {name: a.tobytes() for name, a in arrays.items()} == before


@pytest.mark.parametrize("name", ["x", "weight", "bias", "out"])
def test_byte_order(name):
    arguments = good()
    arguments[name] = arguments[name].astype(OTHER)
    with pytest.raises(ValueError, match=f"{name} must be in native byte order, not '{OTHER}'"):
        winit.dense_forward(**arguments)
    assert (arguments["out"] == 7).all()


def test_options_are_keywords():
    arguments = good()
    with pytest.raises(TypeError, match="positional"):
        winit.dense_forward(arguments["x"], arguments["weight"], arguments["bias"], "relu", "oi")


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_out_that_shares_memory_with_an_input(name):
    arguments = good()
    store = np.full((40, 8), 7, np.float32)
    here = {"x": store[:3, :4], "weight": store[:5, :4], "bias": store[0, :5]}[name]
    here[...] = arguments[name]
    before = store.tobytes()
    with pytest.raises(ValueError, match=f"out shares memory with {name}"):
        winit.dense_forward(**{**arguments, name: here, "out": store[:3, 3:]})
    assert store.tobytes() == before
    winit.dense_forward(**{**arguments, name: here, "out": store[5:8, :5]})  # beside each other in memory is fine
    assert same(store[5:8, :5], winit.dense_forward(**{**arguments, "out": None})[0])
    woven = np.full((8, 16), 7, np.float32)  # and so is between each other
    woven[::2, ::2] = 0
    x = woven[:6:2, :8:2]
    x[...] = arguments["x"]
    winit.dense_forward(**{**arguments, "x": x, "out": woven[1:6:2, 1:10:2]})
    assert same(woven[1:6:2, 1:10:2], winit.dense_forward(**{**arguments, "out": None})[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "at"), [("x", (1, 2)), ("weight", (4, 3)), ("bias", (0,)), ("bias", (4,))])
def test_check_finite(name, at, bad):
    arguments = good()
    arguments[name][at] = bad
    place = ", ".join(map(str, at)) + ("," if len(at) == 1 else "")
    with pytest.raises(ValueError, match=rf"{name} must be finite, and is {bad} at \({place}\)"):
        winit.dense_forward(**arguments, check_finite=True)
    assert (arguments["out"] == 7).all()
    assert not np.isfinite(winit.dense_forward(**arguments)[0]).all()


def test_check_finite_far_down_and_where_nothing_is_wrong():
    x, weight = np.zeros((5000, 1000), np.float32), np.ones((1, 1000), np.float32)
    assert (winit.dense_forward(x, weight, check_finite=True)[0] == 0).all()
    x[4999, 0] = np.inf
    with pytest.raises(ValueError, match=r"x must be finite, and is inf at \(4999, 0\)"):
        winit.dense_forward(x, weight, check_finite=True)
    x[4321, 123] = np.nan
    with pytest.raises(ValueError, match=r"x must be finite, and is nan at \(4321, 123\)"):
        winit.dense_forward(x, weight, check_finite=True)
    for shape in ((0, 3), (3, 0)):
        winit.dense_forward(np.zeros(shape), np.zeros((2, shape[1])), check_finite=True)
    v = winit.Virtual(winit.ones(), (2, 3), seed=0)
    assert (winit.dense_forward(np.ones((1, 3)), v, check_finite=True)[0] == 3).all()


def taped(f="tanh", **changed):
    arguments = {**good(), "activation": f, **changed}
    return winit.dense_forward(**arguments)[1]


GRAD = np.ones((3, 5), np.float32)
BACKWARD_ERRORS = [
    ({"grad": GRAD.tolist()}, TypeError, "grad must be a NumPy array, not list"),
    ({"grad": GRAD.astype(np.float64)}, TypeError, "grad must be float32, as x is, not float64"),
    ({"grad": GRAD.astype(int)}, TypeError, "grad must be float32 or float64, not int64"),
    ({"grad": GRAD.astype(OTHER)}, ValueError, f"grad must be in native byte order, not '{OTHER}'"),
    ({"grad": GRAD.T}, ValueError, r"grad has shape \(5, 3\), expected \(3, 5\)"),
    ({"grad": GRAD[:2]}, ValueError, r"grad has shape \(2, 5\), expected \(3, 5\)"),
    ({"grad": GRAD[0]}, ValueError, r"grad must have 2 axes, not shape \(5,\)"),
    ({"grad": unaligned(3, 5)}, ValueError, "grad must be aligned to its elements"),
    ({"tape": None}, TypeError, "tape must be what dense_forward returned, not NoneType"),
    ({"tape": (GRAD, None)}, TypeError, "tape must be what dense_forward returned, not tuple"),
    ({"want": "x"}, TypeError, r"want must hold several names, such as \('x', 'bias'\), not 'x'"),
    ({"want": "weight"}, TypeError, r"want must hold several names, such as \('x', 'bias'\), not 'weight'"),
    ({"want": ("x", "w")}, ValueError, "want may hold 'x', 'weight', 'bias', not 'w'"),
    ({"want": (0,)}, TypeError, "want must hold names, not 0"),
    ({"want": 3}, TypeError, r"want must hold several names, such as \('x', 'bias'\), not 3"),
    ({"threads": 0}, ValueError, "threads must be at least 1, not 0"),
    ({"threads": 2.0}, TypeError, "threads must be an integer or None, not float"),
    ({"out": (None, None)}, ValueError, "out must hold three arrays or None, for dx, dweight and dbias, not 2"),
    ({"out": [None] * 4}, ValueError, "out must hold three arrays or None, for dx, dweight and dbias, not 4"),
    (
        {"out": np.zeros((5, 4), np.float32)},
        TypeError,
        "out must be a tuple of three arrays or None, for dx, dweight and dbias, not ndarray",
    ),
    ({"out": 3}, TypeError, "out must be a tuple of three arrays or None, for dx, dweight and dbias, not int"),
    ({"out": (None, 1.0, None)}, TypeError, "dweight must be a NumPy array, not float"),
    ({"out": (np.zeros((4, 3), np.float32), None, None)}, ValueError, r"dx has shape \(4, 3\), expected \(3, 4\)"),
    ({"out": (None, np.zeros((4, 5), np.float32), None)}, ValueError, r"dweight has shape \(4, 5\), expected \(5, 4\)"),
    ({"out": (None, None, np.zeros((5, 1), np.float32))}, ValueError, r"dbias must have 1 axis, not shape \(5, 1\)"),
    ({"out": (None, None, np.zeros(4, np.float32))}, ValueError, r"dbias has shape \(4,\), expected \(5,\)"),
    ({"out": (np.zeros((3, 4)), None, None)}, TypeError, "dx must be float32, as x is, not float64"),
    ({"out": (read_only(3, 4), None, None)}, ValueError, "dx must be writeable, and is read-only"),
    ({"out": (None, read_only(5, 4), None)}, ValueError, "dweight must be writeable, and is read-only"),
    ({"out": (None, None, read_only(5))}, ValueError, "dbias must be writeable, and is read-only"),
    ({"out": (unaligned(3, 4), None, None)}, ValueError, "dx must be aligned to its elements"),
    (
        {"out": (None, None, as_strided(np.zeros(1, np.float32), (5,), (0,)))},
        ValueError,
        r"dbias has elements that share memory \(shape \(5,\), strides \(0,\)\)",
    ),
    (
        {"out": (np.zeros((3, 4), np.float32), None, None), "want": ("weight", "bias")},
        ValueError,
        "out has an array for dx, which is not wanted or not there",
    ),
    (
        {"out": (None, None, np.zeros(5, np.float32)), "want": ("x", "weight")},
        ValueError,
        "out has an array for dbias, which is not wanted or not there",
    ),
]


@pytest.mark.parametrize(("changed", "error", "match"), BACKWARD_ERRORS, ids=[match for _, _, match in BACKWARD_ERRORS])
def test_backward_errors(changed, error, match):
    out = (np.full((3, 4), 7, np.float32), np.full((5, 4), 7, np.float32), np.full(5, 7, np.float32))
    arguments = {"grad": GRAD, "tape": taped(), "out": out, **changed}
    with pytest.raises(error, match=match):
        winit.dense_backward(**arguments)
    assert all((place == 7).all() for place in out)


def test_backward_of_a_layer_without_bias_has_no_place_for_it():
    tape = taped(bias=None)
    with pytest.raises(ValueError, match="out has an array for dbias, which is not wanted or not there"):
        winit.dense_backward(GRAD, tape, out=(None, None, np.zeros(5, np.float32)))


def test_gradients_that_share_memory():
    """With grad, x, the weight, what the tape keeps, or one another; nothing is written."""
    arguments = good()
    store = np.full((40, 8), 7, np.float32)
    grad, x, weight = store[:3, :5], store[10:13, :4], store[20:25, :4]
    grad[...], x[...], weight[...] = GRAD, arguments["x"], arguments["weight"]
    y, tape = winit.dense_forward(x, weight, arguments["bias"], "tanh")
    before, kept = store.tobytes(), y.tobytes()
    wide = y[:, 1:]
    cases = [
        ((store[2:5, 4:8], None, None), "dx shares memory with grad"),
        ((store[12:15, :4], None, None), "dx shares memory with x"),
        ((None, store[24:29, :4], None), "dweight shares memory with weight"),
        ((None, store[8:13, 3:7], None), "dweight shares memory with x"),
        ((wide, None, None), "dx shares memory with the tape"),
        ((None, None, y[1]), "dbias shares memory with the tape"),
        ((store[30:33, :4], store[32:37, 3:7], None), "dweight shares memory with dx"),
        ((None, store[30:35, :4], store[34, 3:8]), "dbias shares memory with dweight"),
        ((None, None, store[:5, 0]), "dbias shares memory with grad"),
    ]
    for out, match in cases:
        with pytest.raises(ValueError, match=match):
            winit.dense_backward(grad, tape, out=out)
        assert store.tobytes() == before and y.tobytes() == kept
    x, weight, bias, grad = layer(45, 8, 2, 64)
    for f in ("gelu", "relu"):  # 8 x 64 numbers, or bits
        _, tape = winit.dense_forward(x, weight, bias, f)
        place = tape.kept[:, :2] if f == "gelu" else tape.kept.view(np.float32)
        kept = tape.kept.tobytes()
        with pytest.raises(ValueError, match="dx shares memory with the tape"):
            winit.dense_backward(grad, tape, out=(place, None, None))
        assert tape.kept.tobytes() == kept


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_check_finite_of_a_gradient(bad):
    tape, grad = taped(), GRAD.copy()
    grad[2, 4] = bad
    out = (np.full((3, 4), 7, np.float32), None, None)
    with pytest.raises(ValueError, match=rf"grad must be finite, and is {bad} at \(2, 4\)"):
        winit.dense_backward(grad, tape, out=out, check_finite=True)
    assert (out[0] == 7).all()
    dx, _, dbias = winit.dense_backward(grad, tape)
    assert np.isfinite(dx[:2]).all() and not np.isfinite(dx[2]).any() and not np.isfinite(dbias[4])


def test_kernels_refuse_what_does_not_fit():
    """What the dense pass never asks for: the extension looks at shapes and types before it reads memory."""
    a, b, c = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32), np.ones((3, 5), np.float32)
    for bad in ((a, b.T, c), (a, b, c.T), (b, a, c), (a[:, :0], b[:0], c), (a, b, c[:0])):
        with pytest.raises(ValueError, match="no product of"):
            kernels.Product(ISAS[0], *bad, 1)
    with pytest.raises(ValueError, match="operands and C differ in type"):
        kernels.Product(ISAS[0], a.astype(np.float64), b, c, 1)
    with pytest.raises(ValueError, match="instruction set 'avx9' is not available here"):
        kernels.Product("avx9", a, b, c, 1)
    with pytest.raises(ValueError, match="no activation 12"):
        kernels.Product(ISAS[0], a, b, c, 1, activation=12)
    with pytest.raises(ValueError, match="a matrix has 2 axes of 1, 4 or 8 bytes, not 1 of 4"):
        kernels.Product(ISAS[0], a[0], b, c, 1)
    with pytest.raises((ValueError, BufferError)):
        kernels.Product(ISAS[0], a, b, read_only(3, 5), 1)
    relu, tanh, bits = activations.relu().code, activations.tanh().code, np.zeros((3, 1), np.uint8)
    for code, kept in (
        (relu, None),
        (relu, bits[:2]),
        (relu, c),
        (tanh, c[:, :4]),
        (tanh, c.astype(np.float64)),
        (0, c),
    ):
        with pytest.raises(ValueError, match="kept for backward is"):
            kernels.Gradient(ISAS[0], c, code, 0.0, kept, None)


# ---- large, small in memory


def sparse():
    """Memory to reach across: 13 GB of addresses, of which only pages that are written take place."""
    if sys.platform != "linux":
        pytest.skip("memory without a promise of pages is Linux's")
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)  # named from 3.13 on
    try:
        return np.frombuffer(mmap.mmap(-1, 13 << 30, flags=flags), np.float32)
    except (OSError, OverflowError) as error:
        pytest.skip(f"no 13 GB of addresses: {error}")


@pytest.mark.parametrize("backwards", [False, True])
def test_strides_beyond_two_to_the_31(isa, backwards):
    """Rows 2^30 elements apart: offsets pass 2^31 elements, and 2^33 bytes, of everything that is read or written."""
    x, weight, bias, grad = layer(42, 4, 9, 4)
    step = (1 << 30) + 3

    def far(array, store, start=0):
        rows = as_strided(store[start:], array.shape, (4 * step, 4))
        rows = rows[::-1] if backwards else rows
        rows[...] = array
        return rows

    y, tape = winit.dense_forward(x, weight, bias, "silu")
    expected = winit.dense_backward(grad, tape)
    store = sparse()
    a, w, g = (far(array, store, i << 20) for i, array in enumerate((x, weight, grad)))
    out, dx, dweight = (far(np.zeros_like(like), sparse()) for like in (y, x, weight))
    got, tape = winit.dense_forward(a, w, bias, "silu", out=out)
    assert same(got, y)
    assert all_same(winit.dense_backward(g, tape, out=(dx, dweight, None)), expected)
    got, _ = winit.dense_forward(a, w.T, bias, "silu", layout="io", out=out)
    assert same(got, y)


@pytest.mark.slow
def test_more_than_two_to_the_31_elements():
    """An x of 2.8e9 elements, all in one place, forwards and as what a gradient is summed over."""
    x = np.broadcast_to(np.float32(0.5), (70_000, 40_000))
    weight = numbers(43, (1, 40_000))[0]
    y, tape = winit.dense_forward(x, weight)
    assert same(y, np.broadcast_to(winit.dense_forward(x[:1], weight)[0], y.shape))
    grad = np.broadcast_to(np.float32(2.0), y.shape)
    dweight = winit.dense_backward(grad, tape, want=["weight"])[1]
    assert (dweight == 70_000).all()


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_virtual_weights_beyond_two_to_the_31():
    """2.2e9 weights, of which the last rows are drawn to see."""
    shape = (1100, 2_000_003)
    v = winit.Virtual(winit.uniform(-1, 1), shape, seed=0, name="w")
    x = np.zeros((1, shape[1]), np.float32)
    x[0, ::1001] = 1
    y, _ = winit.dense_forward(x, v)
    for row in (0, 1073, 1074, 1099):  # 1073 holds number 2^31
        w = winit.draw(v.scheme, shape, seed=0, name="w", box=(slice(row, row + 1), slice(0, shape[1])))
        assert same(y[:, row : row + 1], winit.dense_forward(x, w)[0])


def python(code, *arguments, **environment):
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


PEAK = """
import sys
import numpy as np, winit
engine, kind, f, layout, threads = sys.argv[1:6]
threads = int(threads)
winit.use_engine(engine)

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def touched(*shape):
    array = np.empty(shape, kind)
    array[...] = 0.25
    return array

small = touched(2, 2)
winit.dense_backward(small, winit.dense_forward(small, small, small[0], f)[1])  # what the first call brings in
batch, width = 256, int(sys.argv[6])
x, weight, bias, grad = touched(batch, width), touched(width, width), touched(width), touched(batch, width)
y, dx, dweight, dbias = touched(batch, width), touched(batch, width), touched(width, width), touched(width)
before = peak()
_, tape = winit.dense_forward(x, weight, bias, f, layout=layout, out=y, threads=threads)
forward = peak()
winit.dense_backward(grad, tape, out=(dx, dweight, dbias), threads=threads)
print(forward - before, peak() - before)
control = touched(1 << 22)
print(peak() - before - control.nbytes)
"""


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")


# Not the rusage: a child's begins with the peak of the process that started it.
@needs_proc
@pytest.mark.parametrize(
    ("kind", "f", "layout", "threads", "width"),
    [("float32", "relu", "oi", 1, 4096), ("float32", "gelu", "io", 2, 2048), ("float64", "tanh", "oi", 1, 1500)],
)
def test_peak_memory(kind, f, layout, threads, width):
    """Of each product the docstrings' packed rows, three buffers of at most 1024 by 384, and 0.75 MiB a thread,
    twice that in float64, in pages of 2 MiB; sums of 64 rows; what the tape keeps; and 2 MiB for Python, NumPy and the
    allocator."""
    mib, size = 1 << 20, np.dtype(kind).itemsize

    def one(rows, k):
        packed = 3 * min(rows, 1024) * min(k, BLOCK) * size
        assert packed <= 4.5 * mib * size / 4
        needed = packed + 0.75 * mib * threads * size / 4
        return -(-needed // (2 * mib)) * 2 * mib

    tape = 256 * width * {"relu": 1 / 8, "gelu": size, "tanh": 0}[f]
    sums = 256 // 64 * width * 8
    output = python(PEAK, "cython", kind, f, layout, str(threads), str(width)).split()
    forward, both, control = map(int, output)
    assert forward <= one(256, width) + tape + 2 * mib
    assert both <= one(width, 256) + one(256, width) + tape + sums + 2 * mib
    assert control > -mib  # 16 MiB more are seen


@needs_proc
def test_the_measurement_of_memory_sees_what_numpy_takes():
    """The engine that multiplies by NumPy makes whole arrays: 2 MiB of y, and of g."""
    forward, _, _ = map(int, python(PEAK, "reference", "float32", "gelu", "oi", "1", "2048").split())
    assert forward > 10 << 20


VIRTUAL = """
import numpy as np, winit

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

x = np.ones((2, 32768), np.float32)
winit.dense_forward(x[:, :2], winit.Virtual(winit.normal(), (2, 2), seed=0))
before = peak()
v = winit.Virtual(winit.normal(std=1 / 181), (32768, 32768), seed=0, name="w")
y, tape = winit.dense_forward(x, v, np.zeros(32768, np.float32), "relu", stats=True)
dx, _, dbias = winit.dense_backward(np.ones_like(y), tape)
print(peak() - before, *tape.stats[:3], dx.std())
"""


@needs_proc
@pytest.mark.slow
def test_a_layer_of_a_billion_virtual_weights():
    """Forwards and backwards in a few MiB; its outputs are sums of 32768 weights of variance 1 / 32761."""
    taken, mean, variance, zeros, slope = map(float, python(VIRTUAL).split())
    assert taken < 40 << 20
    assert mean == pytest.approx(1 / math.sqrt(2 * math.pi), abs=0.02)
    assert variance == pytest.approx(0.5 - 0.5 / math.pi, abs=0.02)
    assert zeros == pytest.approx(0.5, abs=0.015) and slope == pytest.approx(math.sqrt(0.5), abs=0.015)


# ---- interrupts, forks


INTERRUPTED = """
import signal, sys, threading, time
import numpy as np, winit, winit._dense.passes

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
x = np.ones((2, 32768), np.float32)
v = winit.Virtual(winit.normal(), (1 << 18, 32768), seed=0)  # some 20 s of one core
for threads in (1, 3):
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    start = time.perf_counter()
    try:
        winit.dense_forward(x, v, threads=threads)
    except KeyboardInterrupt:
        print("interrupted", time.perf_counter() - start < 3.0, threading.active_count())
w = v.__class__(v.scheme, (7, 32768), seed=0)
y = winit.dense_forward(x, w, threads=3)[0]
print((y == winit.dense_forward(x, w.draw(), threads=1)[0]).all())
"""


def test_an_interrupt_ends_a_product():
    """In the middle of it, with no thread left behind, and the next product is right."""
    if sys.platform == "win32":
        pytest.skip("no timers here")
    assert python(INTERRUPTED).splitlines() == ["interrupted True 1"] * 2 + ["True"]


FORKED = """
import os
import numpy as np, winit, winit._dense.passes
winit._dense.products.INLINE = 0
rng = np.random.default_rng(0)
x, w = rng.standard_normal((300, 500)).astype("f"), rng.standard_normal((400, 500)).astype("f")
y, tape = winit.dense_forward(x, w, activation="silu", threads=3)
dx = winit.dense_backward(y, tape, threads=3)[0]
child = os.fork()
if child == 0:
    again, tape = winit.dense_forward(x, w, activation="silu", threads=3)
    os._exit(0 if (again == y).all() and (winit.dense_backward(y, tape, threads=3)[0] == dx).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_fork_after_use():
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    assert python(FORKED) == "0"


def test_an_error_in_a_product_reaches_the_caller(threaded, monkeypatch):
    """One that arises while other threads multiply, and the call still ends."""
    x, weight, _, _ = layer(44, 100, 50, 300)

    calls = itertools.count()

    class Broken(kernels.Product):
        def run(self, limit):
            if next(calls) == 2:
                raise RuntimeError("broken")
            return super().run(limit)

    class Door:
        Product = Broken

    monkeypatch.setattr(winit._kernels, "dense_in_use", lambda: (Door, ISAS[-1]))
    with pytest.raises(RuntimeError, match="broken"):
        winit.dense_forward(x, weight, threads=3)
    assert not [thread for thread in threading.enumerate() if thread.name == "winit"]
