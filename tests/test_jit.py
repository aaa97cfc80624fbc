"""winit.jit, the stream inside Numba code; and the Numba engine's own promises: vector loops, a cache on disk."""

import concurrent.futures
import math
import os
import platform
import re
import subprocess
import sys
import textwrap

import llvmlite.binding
import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba import njit, prange
from numba.core.errors import TypingError
from scipy import stats

import winit
from winit import jit
from winit._kernels import numba_sampling as kernels

NAMED = {"seed": 2**64 - 1, "name": "jit.weight"}
KEY = jit.key(**NAMED)
CUTS = {"float32": jit.cut(-1.5, 7.0), "float64": jit.cut(-1.5, 7.0, "float64")}
FAR = 4 * (2**32 - 1)  # words, just below the second high counter word


def of(scheme, lo, count, dtype="float32"):
    """Elements lo, lo + 1, ... by winit.draw."""
    return winit.draw(scheme, 2**63, **NAMED, dtype=dtype, box=range(lo, lo + count))


def raw(array):
    return np.ascontiguousarray(array).view(np.uint8).tobytes()


# ---- one element


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # Random123's kat_vectors
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter, key, words):
    assert [f"{word:08x}" for word in jit.philox4x32(counter, key)] == words.split()


@njit
def word_loop(out, key, lo, cut):
    for i in range(out.size):
        out[i] = jit.word_at(key, lo + i)


@njit
def uniform_loop(out, key, lo, cut):
    for i in range(out.size):
        out[i] = jit.uniform_at(key, lo + i)


@njit
def uniform64_loop(out, key, lo, cut):
    for i in range(out.size):
        out[i] = jit.uniform64_at(key, lo + i)


@njit
def normal_loop(out, key, lo, cut):
    for i in range(out.size):
        out[i] = jit.normal_at(key, lo + i)


@njit
def normal64_loop(out, key, lo, cut):
    for i in range(out.size):
        out[i] = jit.normal64_at(key, lo + i)


@njit
def truncated_loop(out, key, lo, cut):
    for i in range(out.size):
        out[i] = jit.truncated_normal_at(key, lo + i, cut)


@njit
def truncated64_loop(out, key, lo, cut):
    for i in range(out.size):
        out[i] = jit.truncated_normal64_at(key, lo + i, cut)


ELEMENTS = [
    (word_loop, None, "uint32"),
    (uniform_loop, winit.uniform(), "float32"),
    (uniform64_loop, winit.uniform(), "float64"),
    (normal_loop, winit.normal(), "float32"),
    (normal64_loop, winit.normal(), "float64"),
    (truncated_loop, winit.truncated_normal(low=-1.5, high=7.0), "float32"),
    (truncated64_loop, winit.truncated_normal(low=-1.5, high=7.0), "float64"),
]


@pytest.mark.parametrize(("loop", "scheme", "dtype"), ELEMENTS, ids=[row[0].__name__ for row in ELEMENTS])
@pytest.mark.parametrize("lo", [0, 1, 2, 3, 1001, FAR // 2 - 2, FAR - 5, 2**50 + 3])
def test_elements_are_those_of_draw(loop, scheme, dtype, lo):
    out = np.empty(999, dtype)
    loop(out, KEY, lo, CUTS.get(dtype, CUTS["float32"]))
    expected = winit.words(**NAMED, lo=lo, hi=lo + 999) if scheme is None else of(scheme, lo, 999, dtype)
    assert raw(out) == raw(expected)


@njit(parallel=True)
def scattered(out, key, places):
    for j in prange(places.size):
        out[j] = 0.5 + np.float32(2.0) * jit.normal_at(key, places[j])


@pytest.mark.parametrize("threads", [1, 2])
def test_prange_in_any_order(threads):
    places = np.random.default_rng(1).permutation(20_000)
    out = np.empty(places.size, np.float32)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        scattered(out, KEY, places)
    finally:
        numba.set_num_threads(before)
    assert raw(out) == raw(of(winit.normal(0.5, 2.0), 0, places.size)[places])


@pytest.mark.parametrize(("loop", "scheme", "dtype"), ELEMENTS, ids=[row[0].__name__ for row in ELEMENTS])
def test_the_callers_fastmath_changes_no_element(loop, scheme, dtype):
    """With it 1 value in 5 of normal_at differed where the functions were copied in before they were compiled."""
    out = np.empty(9999, dtype)
    njit(fastmath=True)(loop.py_func)(out, KEY, 3, CUTS.get(dtype, CUTS["float32"]))
    expected = winit.words(**NAMED, lo=3, hi=3 + 9999) if scheme is None else of(scheme, 3, 9999, dtype)
    assert raw(out) == raw(expected)


def test_no_element_is_minus_0():
    key, there = jit.key(4, "w"), 2**32 + 135070
    expected = winit.draw(winit.normal(), 2**33, seed=4, name="w", box=range(there, there + 2))
    got = np.array([jit.normal_at(key, there), jit.normal_at(key, there + 1)], np.float32)
    assert raw(got) == raw(expected)
    assert 0 in expected and not np.signbit(expected[expected == 0]).any()


def test_no_truncated_element_is_minus_0():
    """The integer below the middle of these cuts has a quantile of 0, taken from the left."""
    key, cut, i = jit.key(0), jit.cut(-0.5, 0.5), 5388862
    expected = winit.draw(winit.truncated_normal(low=-0.5, high=0.5), 2**30, seed=0, box=range(i, i + 1))
    assert winit.words(0, "", i, i + 1)[0] >> 8 == cut[5] - 1 and raw(expected) == bytes(4)
    assert raw(np.array([jit.truncated_normal_at(key, i, cut)], np.float32)) == raw(expected)


def test_calls_from_python():
    assert jit.normal_at(KEY, 5) == of(winit.normal(), 5, 1)[0]
    assert jit.truncated_normal_at(KEY, 5, CUTS["float32"]) == of(winit.truncated_normal(low=-1.5, high=7.0), 5, 1)[0]
    half = winit.truncated_normal(low=0.0, high=math.inf)
    assert jit.truncated_normal_at(KEY, 5, jit.cut(0.0, math.inf)) == of(half, 5, 1)[0]


# ---- fills

FILLS = {
    "uniform": (lambda out, lo: jit.fill_uniform(out, KEY, lo, -0.3, 0.9), winit.uniform(-0.3, 0.9)),
    "normal": (lambda out, lo: jit.fill_normal(out, KEY, lo, 0.25, 1.5), winit.normal(0.25, 1.5)),
    "near": (
        lambda out, lo: jit.fill_truncated_normal(out, KEY, lo, jit.cut(dtype=out.dtype.name), 1.0, 0.5),
        winit.truncated_normal(1.0, 0.5),
    ),
    "far": (
        lambda out, lo: jit.fill_truncated_normal(out, KEY, lo, CUTS[out.dtype.name], 1.0, 0.5),
        winit.truncated_normal(1.0, 0.5, -1.5, 7.0),
    ),
    "float16": (lambda out, lo: jit.fill_normal_f16(out, KEY, lo, 0.25, 1.5), winit.normal(0.25, 1.5)),
    "bfloat16": (lambda out, lo: jit.fill_normal_bf16(out, KEY, lo, 0.25, 1.5), winit.normal(0.25, 1.5)),
    "float8_e4m3fn": (lambda out, lo: jit.fill_normal_f8e4m3(out, KEY, lo, 0.25, 1.5), winit.normal(0.25, 1.5)),
    "float8_e5m2": (lambda out, lo: jit.fill_normal_f8e5m2(out, KEY, lo, 0.25, 1.5), winit.normal(0.25, 1.5)),
}
WORDS = {"float16": "uint16", "bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
CASES = [(name, dtype) for name in FILLS if "float" not in name for dtype in ("float32", "float64")]
CASES += [(name, name) for name in WORDS]


@given(
    st.sampled_from(CASES), st.integers(0, 2**62), st.integers(0, 5000), st.sampled_from([1, 2, -1]), st.integers(0, 3)
)
@example(("normal", "float32"), FAR - 4001, 5000, 1, 0)
@example(("normal", "float64"), FAR // 2 - 2003, 5000, 1, 0)
@example(("bfloat16", "bfloat16"), FAR - 1, 4097, 1, 1)
@example(("float8_e4m3fn", "float8_e4m3fn"), FAR - 1, 4097, 1, 1)
def test_fills_are_those_of_draw(case, lo, count, stride, offset):
    name, dtype = case
    fill, scheme = FILLS[name]
    whole = np.zeros((count + offset) * abs(stride), WORDS.get(dtype, dtype))
    out = whole[offset * abs(stride) :][::stride]
    out = out[:count]
    untouched = whole.copy()
    fill(out, lo)
    expected = of(scheme, lo, count, dtype)
    assert raw(out) == raw(expected)
    out[...] = 0
    assert raw(whole) == raw(untouched)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        *(("float32", -3 * 2.0**-149, 0.0), ("float32", 1 - 3 * 2**-24, 1.0), ("float32", -(2.0**30), 0.1)),
        *(("float64", -3 * 2.0**-1074, 0.0), ("float64", 1 - 3 * 2**-53, 1.0)),
        ("float32", 0.1, 0.7),
    ],
)
def test_ends_of_uniform_laws(dtype, low, high):
    """Three steps of the type apart, where values would round to the upper end; and ends that are rounded first."""
    out = np.empty(999, dtype)
    jit.fill_uniform(out, KEY, 1, low, high)
    assert raw(out) == raw(of(winit.uniform(low, high), 1, 999, dtype))
    assert (out < out.dtype.type(high)).all()


@njit(parallel=True)
def cut_fill(out, key, lo, part):
    for piece in prange((out.size + part - 1) // part):
        first = piece * part
        jit.fill_normal(out[first : first + part], key, lo + first)


@given(st.integers(0, 2**40), st.integers(1, 3000), st.integers(1, 700))
def test_fill_of_pieces_in_prange(lo, count, part):
    out = np.empty(count, np.float32)
    cut_fill(out, KEY, lo, part)
    assert raw(out) == raw(of(winit.normal(), lo, count))


@njit
def every_fill(out, key, lo, cut, words, e4m3, e5m2):
    jit.fill_uniform(out, key, lo)
    first = out[0]
    jit.fill_truncated_normal(out, key, lo, cut, 0.0, 2.0)
    jit.fill_normal_f16(words, key, lo)
    half = words[0]
    jit.fill_normal_bf16(words, key, lo, std=0.5)
    jit.fill_normal_f8e4m3(e4m3, key, lo, std=0.5)
    jit.fill_normal_f8e5m2(e5m2, key, lo, std=0.5)
    return first, half


def test_every_fill_inside():
    out, words = np.empty(7, np.float32), np.empty(7, np.uint16)
    e4m3, e5m2 = np.empty((2, 7), np.uint8)
    first, half = every_fill(out, KEY, 11, CUTS["float32"], words, e4m3, e5m2)
    assert first == of(winit.uniform(), 11, 1)[0]
    assert half == of(winit.normal(), 11, 1, "float16").view(np.uint16)[0]
    assert raw(out) == raw(of(winit.truncated_normal(0.0, 2.0, -1.5, 7.0), 11, 7))
    for got, dtype in ((words, "bfloat16"), (e4m3, "float8_e4m3fn"), (e5m2, "float8_e5m2")):
        assert raw(got) == raw(of(winit.normal(0.0, 0.5), 11, 7, dtype))


FASTMATH = """
import numba, numpy as np, winit
from winit import jit

@numba.njit(fastmath=True)
def same(u):
    return u

@numba.njit(fastmath=True, boundscheck=True, error_model="python")
def inside(out, mean, std):
    jit.fill_normal(out, jit_key, 3, mean, std)
    jit.fill_truncated_normal(out[: out.size // 2], jit_key, 3, cut, mean, std)

jit_key, cut, out, numbers = jit.key(0), jit.cut(), np.empty(9999, np.float32), np.empty(7, np.float32)

@numba.njit(fastmath=True, boundscheck=True, error_model="python")
def u(out):
    jit.fill_with(out, same, jit_key, 3)

u(numbers)
print((numbers == ((winit.words(0, "", 3, 10) + 0.5) / 2**32).astype(np.float32)).all())
inside(out, 0.25, 1.5)
for _ in range(2):
    print((out[5000:] == winit.draw(winit.normal(0.25, 1.5), 10002, seed=0)[5003:]).all())
    print((out[:4999] == winit.draw(winit.truncated_normal(0.25, 1.5), 5002, seed=0)[3:]).all())
    jit.fill_normal(out, jit_key, 3, 0.25, 1.5)
    jit.fill_truncated_normal(out[:4999], jit_key, 3, cut, 0.25, 1.5)
try:
    inside(out, np.nan, 1.0)
except ValueError:
    print("refused")
"""


def test_the_callers_fastmath_changes_no_fill(tmp_path):
    """In a process of its own: what is compiled first for a caller with fastmath serves all others, and is kept."""
    for _ in range(2):  # compiled, and from disk
        assert run_script(tmp_path, FASTMATH).split() == ["True"] * 5 + ["refused"]


def test_fills_run_side_by_side():
    out = np.empty(1 << 20, np.float32)
    parts = [range(lo, lo + (1 << 16)) for lo in range(0, 1 << 20, 1 << 16)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: jit.fill_normal(out[part.start : part.stop], KEY, part.start), parts))
    assert raw(out) == raw(of(winit.normal(), 0, 1 << 20))


# ---- the caller's own distribution


@njit
def same(u):
    return u


@njit
def laplace(u):
    return math.log(2.0 * u) if u < 0.5 else -math.log(2.0 * (1.0 - u))


@njit
def student_t4(u):
    """Shaw 2006, "Sampling Student's T distribution": the quantile with 4 degrees of freedom."""
    alpha = 4.0 * u * (1.0 - u)
    q = math.cos(math.acos(math.sqrt(alpha)) / 3.0) / math.sqrt(alpha)
    return math.copysign(2.0 * math.sqrt(q - 1.0), u - 0.5)


@pytest.mark.parametrize("lo", [0, 3, FAR - 2])
def test_what_fill_with_gives_to_the_function(lo):
    words = [int(word) for word in winit.words(**NAMED, lo=lo, hi=lo + 999)]
    out = np.empty(999, np.float32)
    jit.fill_with(out, same, KEY, lo)
    assert (out == [np.float32((w + 0.5) / 2**32) for w in words]).all()
    out64, half = np.empty(499), lo // 2
    words = [int(word) for word in winit.words(**NAMED, lo=2 * half, hi=2 * half + 998)]
    integers = [(high << 32 | low) >> 11 for low, high in zip(words[::2], words[1::2], strict=True)]
    jit.fill_with(out64, same, KEY, half)
    assert (out64 == [((k >> 1) + 0.5) / 2**52 for k in integers]).all()
    jit.fill_with(out64, same, KEY, half, raw=True)
    assert (out64 == integers).all()


def test_the_number_is_never_0_or_1():
    assert jit._of_word(np.uint32(0)) == 2.0**-33
    assert jit._of_word(np.uint32(2**32 - 1)) == 1 - 2.0**-33
    assert jit._of_integer(np.uint64(0)) == 2.0**-53
    assert jit._of_integer(np.uint64(2**53 - 1)) == 1 - 2.0**-53


@njit
def lowest_bit(w):
    return np.float32(w & np.uint32(1))


@njit
def bits(out, key):
    jit.fill_with(out, lowest_bit, key, 0, raw=True)


def test_raw_words_inside():
    out = np.empty(1000, np.float32)
    bits(out, KEY)
    assert (out == (winit.words(**NAMED, lo=0, hi=1000) & 1)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("quantile", "law"), [(laplace, stats.laplace), (student_t4, stats.t(4))], ids=["laplace", "t4"]
)
def test_initialisers_of_a_users_own(quantile, law, dtype):
    """Kolmogorov's D at n = 10^6 exceeds 0.0027 on a correct sampler with chance 2 exp(-2 n D^2) = 9e-7."""
    out = np.empty(1_000_000, dtype)
    jit.fill_with(out, quantile, KEY, 5)
    assert stats.kstest(out.astype(np.float64), law.cdf).statistic < 0.0027
    part = np.empty(1000, dtype)
    jit.fill_with(part, quantile, KEY, 5 + 123_457)  # the law: any part on its own
    assert raw(part) == raw(out[123_457:124_457])


# ---- errors


@pytest.mark.parametrize("fill", ["fill_uniform", "fill_normal", "fill_truncated_normal", "fill_with"])
@pytest.mark.parametrize(
    ("out", "given"),
    [
        (np.zeros(4, np.int32), "not one of int32 and shape \\(4,\\)"),
        (np.zeros((2, 2), np.float32), "not one of float32 and shape \\(2, 2\\)"),
        (np.frombuffer(bytes(16), np.float32), "not a read-only one of float32"),
        ([0.0], "not list"),
    ],
)
def test_outs_that_are_refused(fill, out, given):
    extra = {"fill_truncated_normal": (KEY, 0, CUTS["float32"]), "fill_with": (same, KEY, 0)}.get(fill, (KEY, 0))
    message = f"out of {fill} must be a writable array of one axis of float32 or float64, {given}"
    with pytest.raises(TypeError, match=message):
        getattr(jit, fill)(out, *extra)


@pytest.mark.parametrize("fill", [jit.fill_normal_f16, jit.fill_normal_bf16])
def test_halves_want_words(fill):
    with pytest.raises(TypeError, match="of one axis of uint16, not one of float16"):
        fill(np.zeros(4, np.float16), KEY, 0)

    @njit
    def inside(out):
        fill(out, KEY, 0)

    with pytest.raises(TypingError, match="of one axis of uint16, not array"):
        inside(np.zeros(4, np.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: jit.fill_normal(out, KEY, -1), "lo must not be negative"),
        (lambda out: jit.fill_with(out, same, KEY, -1), "lo must not be negative"),
        (lambda out: jit.fill_normal(out, KEY, 0, 0.0, -1.0), "std must not be negative"),
        (lambda out: jit.fill_normal(out, KEY, 0, math.nan), "mean must be finite, not nan"),
        (lambda out: jit.fill_normal(out, KEY, 0, 0.0, 1e38), "no value beyond the range of out's type"),
        (lambda out: jit.fill_normal(out.view(np.float64), KEY, 0, 0.0, 2.2e307), "no value beyond the range"),
        (lambda out: jit.fill_normal_f16(out.view(np.uint16), KEY, 0, 0.0, 1e4), "no value beyond the range"),
        (lambda out: jit.fill_uniform(out, KEY, 0, 1.0, 1.0), "low must be below high"),
        (lambda out: jit.fill_uniform(out, KEY, 0, 1.0, 1.0 + 1e-9), "low must be below high"),
        (lambda out: jit.fill_uniform(out, KEY, 0, -3e38, 3e38), "no value beyond the range of out's type"),
        (lambda out: jit.fill_truncated_normal(out, KEY, 0, CUTS["float32"], 0.0, -2.0), "std must not be negative"),
        (lambda out: jit.cut(1.0, 1.0), "low must be less than high, not 1.0 and 1.0"),
        (lambda out: jit.cut(math.nan), "low must be"),
        (lambda out: jit.cut(dtype="float16"), "dtype must be 'float32' or 'float64', not 'float16'"),
        (lambda out: jit.key(-1), "seed"),
    ],
)
def test_values_that_are_refused(call, message):
    out = np.full(4, 7, np.float32)
    with pytest.raises(ValueError, match=message):
        call(out)
    assert (out == 7).all()


def test_raw_is_a_bool():
    with pytest.raises(TypeError, match="raw must be True or False, not 1"):
        jit.fill_with(np.zeros(2, np.float32), same, KEY, 0, 1)

    @njit
    def inside(out, raw):
        jit.fill_with(out, same, KEY, 0, raw)

    with pytest.raises(TypingError, match="raw of fill_with must be True or False, written where it is called"):
        inside(np.zeros(2, np.float32), True)


def test_a_cut_is_of_outs_type():
    out = np.zeros(3)
    with pytest.raises(
        TypeError, match=r"cut must be winit.jit.cut\(low, high, 'float64'\) for an out of float64, not"
    ):
        jit.fill_truncated_normal(out, KEY, 0, CUTS["float32"])

    @njit
    def inside(out, cut):
        jit.fill_truncated_normal(out, KEY, 0, cut)

    with pytest.raises(TypingError, match=r"cut must be winit.jit.cut\(low, high, 'float64'\) for an out of float64"):
        inside(out, CUTS["float32"])
    for cut in (None, tuple(range(7)), CUTS["float64"][:6]):
        with pytest.raises(TypeError, match="cut must be winit.jit.cut"):
            jit.fill_truncated_normal(out, KEY, 0, cut)
    assert (out == 0).all()


@pytest.mark.parametrize("element", ["word_at", "uniform_at", "uniform64_at", "normal_at", "normal64_at"])
def test_an_index_is_an_integer(element):
    for i in (1.5, 1.0):
        with pytest.raises(TypingError, match="i must be an integer, not float64"):
            getattr(jit, element)(KEY, i)
    with pytest.raises(TypingError, match="key must be that of winit.jit.key, not int64"):
        getattr(jit, element)(5, 0)
    for i in (np.uint8(5), np.int32(5), np.uint64(5), 5):
        assert getattr(jit, element)(KEY, i) == getattr(jit, element)(KEY, 5)


def test_an_elements_cut_is_of_its_type():
    """The other type's numbers would do without an error, and give other values."""
    with pytest.raises(
        TypingError, match=r"cut of truncated_normal_at must be winit.jit.cut\(low, high\), not UniTuple"
    ):
        jit.truncated_normal_at(KEY, 0, CUTS["float64"])
    with pytest.raises(
        TypingError, match=r"cut of truncated_normal64_at must be winit.jit.cut\(low, high, 'float64'\)"
    ):
        jit.truncated_normal64_at(KEY, 0, CUTS["float32"])
    with pytest.raises(TypingError, match="i must be an integer, not float64"):
        jit.truncated_normal_at(KEY, 0.0, CUTS["float32"])


@pytest.mark.parametrize("fill", [jit.fill_uniform, jit.fill_normal])
def test_a_lo_is_an_integer(fill):
    out = np.full(4, 7, np.float32)
    for lo in (1.0, "1", None, True):
        with pytest.raises(TypeError, match=f"lo must be an integer, not {type(lo).__name__}"):
            fill(out, KEY, lo)
    for lo in (2**63 - 3, 2**63, 2**64 - 2, 2**64, 2**70, np.uint64(2**64 - 2)):
        with pytest.raises(ValueError, match=r"out must end at element 2\^63"):
            fill(out, KEY, lo)
    for key in (None, 5, (1.5, 2.5), (1, 2, 3), [1, 2]):
        with pytest.raises(TypeError, match="key must be that of winit.jit.key, not"):
            fill(out, key, 0)

    @njit
    def inside(out, lo):
        fill(out, KEY, lo)

    with pytest.raises(TypingError, match="lo must be an integer, not float64"):
        inside(out, 1.0)
    for lo in (2**63 - 3, np.uint64(2**63), np.uint64(2**64 - 2)):
        with pytest.raises(ValueError, match=r"out must end at element 2\^63"):
            inside(out, lo)
    assert (out == 7).all()
    for lo in (np.uint64(2**62), 2**63 - 4):
        fill(out, KEY, lo)
        assert raw(out) == raw(of(winit.normal() if fill is jit.fill_normal else winit.uniform(), int(lo), 4))


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"), [(0.0, 1e37, -1e30, 2.0), (-3e38, 5e37, 2.0, 4.0), (3e38, 5e37, -4.0, -2.0)]
)
def test_a_truncated_normal_reaches_as_far_as_in_draw(mean, std, low, high):
    out = np.empty(999, np.float32)
    jit.fill_truncated_normal(out, KEY, 0, jit.cut(low, high), mean, std)
    assert raw(out) == raw(of(winit.truncated_normal(mean, std, low, high), 0, 999))


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [
        *((3e38, 5e37, 2.0, 4.0), (0.0, 1e38, 3.5, 4.0), (-3e38, 1e38, 3.5, 4.0)),
        *((math.inf, 1.0, -2.0, 2.0), (0.0, math.inf, -2.0, 2.0), (math.nan, 1.0, -2.0, 2.0)),
    ],
)
def test_a_truncated_normal_reaches_no_further(mean, std, low, high):
    out = np.full(9, 7, np.float32)
    with pytest.raises(ValueError, match="no value beyond the range of out's type|must be finite"):
        jit.fill_truncated_normal(out, KEY, 0, jit.cut(low, high), mean, std)
    with pytest.raises(ValueError, match="beyond the range of float32|must be finite"):
        of(winit.truncated_normal(mean, std, low, high), 0, 9)
    assert (out == 7).all()


def test_types_are_checked_inside():
    @njit
    def inside(out):
        jit.fill_uniform(out, KEY, 0)

    for out in (np.zeros((2, 2), np.float32), np.frombuffer(bytes(16), np.float32), np.zeros(4, np.int32)):
        with pytest.raises(TypingError, match="out of fill_uniform must be a writable array of one axis of float32 or"):
            inside(out)


# ---- the engine


def vectors(assembly, operation):
    """How many times an operation stands in an assembly on 256 or 512 bits."""
    return len(re.findall(rf"^\s+{operation}\s.*%[yz]mm", assembly, re.MULTILINE))


PRODUCTS = {  # products of reals in a transform at least, once for each loop that LLVM makes of it
    "uniform_f32": 1, "normal_f32": 20, "truncated_near_f32": 20, "truncated_far_f32": 30,
    "uniform_f64": 1, "normal_f64": 25, "truncated_near_f64": 30, "truncated_far_f64": 60,
}  # fmt: skip


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
@pytest.mark.parametrize("name", PRODUCTS)
def test_hot_loops_are_vectors(name):
    """Ten rounds of Philox, 18 products of which are left to the loop, and the law's transform over whole vectors."""
    if not llvmlite.binding.get_host_cpu_features()["avx2"]:
        pytest.skip("this processor has no vectors of 256 bits")
    function = njit(kernels.VALUES_TYPE, error_model="numpy")(kernels.VALUES[name].py_func)
    (assembly,) = function.inspect_asm().values()
    assert vectors(assembly, "vpmuludq") >= 18
    assert vectors(assembly, "vmulps" if name.endswith("32") else "vmulpd") >= PRODUCTS[name]
    if "uniform" not in name:
        assert vectors(assembly, "vsqrtps" if name.endswith("32") else "vsqrtpd") >= 1


@pytest.mark.parametrize("fill", [jit.fill_normal_f8e4m3, jit.fill_normal_f8e5m2])
def test_float8_wants_bytes(fill):
    with pytest.raises(TypeError, match="of one axis of uint8, not one of uint16"):
        fill(np.zeros(4, np.uint16), KEY, 0)
    with pytest.raises(ValueError, match="no value beyond the range of out's type"):
        fill(np.zeros(4, np.uint8), KEY, 0, 0.0, 1e4)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
def test_rounding_to_float8_is_vectors():
    arguments = (numba.float32[::1], numba.int64, numba.int64, numba.boolean, numba.float32)
    (assembly,) = njit(arguments, error_model="numpy")(kernels.emit_f8.py_func).inspect_asm().values()
    assert vectors(assembly, "vaddps") >= 4  # the sum that rounds, of both types, and adding too
    assert vectors(assembly, "vpsrld") >= 4
    assert vectors(assembly, "vmulps") >= 4  # scale * v and the subnormals of each type


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86-64")
def test_rounding_to_half_types_is_vectors():
    arguments = (numba.float32[::1], numba.int64, numba.int64, numba.boolean, numba.float64)
    (assembly,) = njit(arguments, error_model="numpy")(kernels.emit_f32.py_func).inspect_asm().values()
    assert vectors(assembly, "vpaddd") >= 6  # two roundings and, adding, the subnormals of float16
    assert vectors(assembly, "vpsrld") >= 4
    assert vectors(assembly, "vmulps") >= 3  # scale * v of each type


SCRIPT = """
import winit
from winit._kernels import numba_sampling as kernels
with winit.use_engine("numba"):
    for dtype in ("float32", "float64"):
        winit.draw(winit.normal(), 5, seed=0, dtype=dtype)
print(sum(kernels.fill.stats.cache_hits.values()), sum(kernels.fill.stats.cache_misses.values()))
"""


def run_script(tmp_path, script):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_compiled_is_kept_on_disk(tmp_path):
    assert run_script(tmp_path, SCRIPT) == "0 1\n"
    files = sorted((tmp_path / "cache").rglob("*.nbc"))
    assert run_script(tmp_path, SCRIPT) == "1 0\n"
    assert sorted((tmp_path / "cache").rglob("*.nbc")) == files
    kept = {path.name.split("-")[0] for path in files}
    assert {f"numba_sampling.{name}" for name in ("normal_f32", "normal_f64", "fill")} <= kept
    assert not any("uniform" in name or "truncated" in name for name in kept)  # lazily, law by law


@pytest.mark.parametrize("what", ["from winit import jit", 'winit.use_engine("numba")'])
def test_without_the_compiler(tmp_path, what):
    script = f"""
import os, winit
os.environ["NUMBA_DISABLE_JIT"] = "1"
try:
    {what}
except ImportError as error:
    print(error)
"""
    said = run_script(tmp_path, script)
    assert "are compiled by Numba, and NUMBA_DISABLE_JIT=1 has turned its compiler off" in said


def test_without_a_place_to_keep_it(tmp_path):
    nowhere = "from numba.core.caching import CacheImpl\nCacheImpl._locator_classes = []\n"
    script = textwrap.dedent(SCRIPT).replace("print", "print(len(kernels.fill.overloads),") + ")"
    assert run_script(tmp_path, nowhere + script).startswith("1 ")
    assert not (tmp_path / "cache").exists()
