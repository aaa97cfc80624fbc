"""add as perturbation: what adding and taking away again returns to, and that streams by the million cost nothing."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import winit
from conftest import BUILDS

# digits of the significand, exponent of the smallest number
FORMATS = {"float64": (53, -1074), "float32": (24, -149), "float16": (11, -24), "bfloat16": (8, -133)}
FORMATS |= {"float8_e4m3fn": (4, -9), "float8_e5m2": (3, -16)}


def ulp(dtype, values):
    """The distance between neighbouring numbers of a type about each value (the larger at a power of two)."""
    digits, smallest = FORMATS[dtype]
    return np.ldexp(1.0, np.maximum(np.frexp(values)[1] - digits, smallest))


@given(
    st.sampled_from(sorted(FORMATS)),
    st.sampled_from(BUILDS),
    st.sampled_from([winit.normal(), winit.uniform(-1, 3), winit.truncated_normal(), winit.sparse(3)]),
    st.integers(0, 2**64 - 1),
    st.floats(-12, 3),
    st.floats(-12, 3),
)
def test_adding_and_taking_away_again(dtype, build, law, seed, large, small):
    """After add(+s), add(-s) an element is within one ulp of what it was in between.

    Let a = fl(x + p) and b = fl(a - p), p the rounded product: its negative is that of -s. a = x + p + e with
    |e| <= ulp(a) / 2, so a - p = x + e. x is a number of the type at the distance |e|, hence the nearest one, b, is no
    farther: |b - x| <= 2 |e| <= ulp(a). The narrow types round twice, first to float32: e has half a float32 ulp of
    x + p more, and x + e is rounded to float32 before the nearest is taken.
    """
    wide = np.float64 if dtype == "float64" else np.float32
    scale = float(wide(10**small))
    std = 10.0 ** (min(large, 1.8) if dtype == "float8_e4m3fn" else large)  # within the range
    before = winit.draw(winit.normal(std=std), (40, 50), seed=seed, name="x", dtype=dtype)
    smallest = np.ldexp(1.0, FORMATS[dtype][1])
    before[0, :4] = 0.0, -0.0, smallest, -3 * smallest
    with winit.use_engine(*build):
        between = winit.add(before.copy(), law, seed=seed, scale=scale)
        after = winit.add(between.copy(), law, seed=seed, scale=-scale)
        product = wide(scale) * winit.draw(law, before.shape, seed=seed, dtype=np.dtype(wide))
    x, a, b = (values.astype(np.float64) for values in (before, between, after))
    assume(np.isfinite(a).all() or "float8" not in dtype)
    assert np.isfinite(a).all()
    bound = ulp(dtype, a)
    if wide is np.float32 and dtype != "float32":
        bound += ulp("float32", before.astype(wide) + product) + ulp("float32", between.astype(wide) - product)
    assert (np.abs(b - x) <= bound).all()
    untouched = product == 0
    assert (b[untouched] == x[untouched]).all()


@pytest.mark.parametrize("dtype", sorted(FORMATS))
def test_the_bound_is_met(build, dtype):
    """x = 1 + u, u its ulp, and u / 2 added: to even, 1 + 2u; and taken away, 1 + 3u/2: to even, 1 + 2u again."""
    u = 2.0 ** (1 - FORMATS[dtype][0])
    x = winit.draw(winit.literal([1 + u]), 1, seed=0, dtype=dtype)
    winit.add(x, winit.constant(u), seed=0, scale=0.5)
    assert float(x[0]) == 1 + 2 * u
    winit.add(x, winit.constant(u), seed=0, scale=-0.5)
    assert float(x[0]) == 1 + 2 * u


@pytest.mark.parametrize("dtype", sorted(set(FORMATS) - {"float8_e5m2"}))  # which has no 7.5
def test_what_needs_no_rounding_comes_back(build, dtype):
    x = winit.draw(winit.literal([[1.0, -2.0, 3.5, 0.0]]), (1, 4), seed=0, dtype=dtype)
    same = x.copy()
    for scale in (0.5, -1.0, 0.5):
        winit.add(x, winit.literal([[1.0, 4.0, -8.0, 2.0]]), seed=0, scale=scale)
    assert x.tobytes() == same.tobytes()


MANY = """
import resource, sys, time
import numpy as np, winit
out = np.zeros(16, np.float32)
law = winit.normal()

def names(first, last):
    for i in range(first, last):
        winit.add(out, law, seed=i, name=f"layer.{i}.weight", scale=1e-9 * i)

names(0, 5000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
names(5000, int(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_names_by_the_hundred_thousand_keep_no_memory():
    """Of 195000 names, seeds and scales nothing is kept: an object of each would be 9 MB."""
    pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    done = subprocess.run([sys.executable, "-c", MANY, "200000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * unit < 2 << 20


def test_names_keep_no_objects():
    out = np.zeros((2, 8), np.float32)

    def names(first, last):
        for i in range(first, last):
            winit.add(out, winit.he_normal(), seed=i, name=f"layer.{i}.weight", scale=1e-9 * i)

    names(0, 3000)
    tracemalloc.start()
    try:
        names(3000, 6000)
        before = tracemalloc.get_traced_memory()[0]
        names(6000, 16000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 200_000, grown  # an object of each would be 480 kB; the interpreter's free lists take some 90


def test_caches_are_bounded():
    """Whatever has an argument and remembers results forgets the oldest."""
    caches = [
        value
        for name, module in list(sys.modules.items())
        if name.split(".")[0] == "winit"
        for value in vars(module).values()
        if hasattr(value, "cache_parameters") and value.__wrapped__.__code__.co_argcount
    ]
    assert len(caches) > 5
    assert all(cache.cache_parameters()["maxsize"] is not None for cache in caches)
