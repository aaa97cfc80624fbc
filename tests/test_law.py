"""The law: a value depends on (seed, name, index, law, dtype) alone: any build, cut, order, thread, box and stride."""

import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import winit
from conftest import BUILDS

DTYPES = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
LAWS = [
    winit.constant(0.3),
    winit.uniform(-0.7, 1.3),
    winit.uniform(),
    winit.normal(0.25, 1.5),
    winit.truncated_normal(0.1, 0.5),
    winit.truncated_normal(0.0, 1.0, -9.0, 0.75),
    winit.truncated_normal(0.0, 1.0, 4.5, 11.0),
]
BEFORE = {"seed": 11, "name": "block.0.weight"}

laws = st.sampled_from(LAWS)
dtypes = st.sampled_from(DTYPES)
builds = st.sampled_from(BUILDS)


def raw(array):
    return np.ascontiguousarray(array).view(np.uint8).tobytes() if array.ndim else array.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_builds_agree(build, law, dtype):
    got = winit.draw(law, 100_003, **BEFORE, dtype=dtype)
    far = winit.draw(law, 2**40, **BEFORE, dtype=dtype, box=range(2**35 - 3001, 2**35 + 3002))
    with winit.use_engine("reference"):
        assert raw(winit.draw(law, 100_003, **BEFORE, dtype=dtype)) == raw(got)
        assert raw(winit.draw(law, 2**40, **BEFORE, dtype=dtype, box=range(2**35 - 3001, 2**35 + 3002))) == raw(far)


@given(laws, dtypes, builds, st.integers(0, 2**62), st.lists(st.integers(0, 5000), min_size=2, max_size=6))
@example(LAWS[3], "float32", BUILDS[-1], 2**34 - 2000, [0, 1, 2003, 4001])
@example(LAWS[3], "float64", BUILDS[-1], 2**33 - 1001, [0, 999, 1000, 1003, 2500])
def test_any_partition_of_a_range(law, dtype, build, start, cuts):
    cuts = sorted(cuts)
    with winit.use_engine(*build):

        def part(lo, hi):
            return raw(winit.draw(law, 2**63, **BEFORE, dtype=dtype, box=range(start + lo, start + hi)))

        pieces = b"".join(itertools.starmap(part, itertools.pairwise(cuts)))
        assert pieces == part(cuts[0], cuts[-1])


@pytest.mark.parametrize("threads", range(1, 17))
@pytest.mark.parametrize("law", LAWS[2:5], ids=repr)
def test_any_thread_count(law, threads):
    shape = (3, 1 << 20)
    one = winit.draw(law, shape, **BEFORE, threads=1)
    assert raw(winit.draw(law, shape, **BEFORE, threads=threads)) == raw(one)
    half = winit.draw(law, shape, **BEFORE, dtype="bfloat16", threads=threads)
    assert raw(half) == raw(winit.draw(law, shape, **BEFORE, dtype="bfloat16", threads=1))


@st.composite
def boxes(draw):
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)))
    box = []
    for size in shape:
        lo = draw(st.integers(0, size))
        hi = draw(st.integers(lo, size))
        ends = draw(st.sampled_from([(lo, hi), (None, hi), (lo, None), (None, None)]))
        box.append(slice(*ends))
    return shape, tuple(box)


@given(boxes(), laws, dtypes, builds, st.data())
def test_any_box_and_any_strides(case, law, dtype, build, data):
    shape, box = case
    with winit.use_engine(*build):
        whole = winit.draw(law, shape, **BEFORE, dtype=dtype)
        part = whole[box]
        assert raw(winit.draw(law, shape, **BEFORE, dtype=dtype, box=box)) == raw(part)
        # The same into a view of something larger: permuted, spread out, turned round.
        axes = data.draw(st.permutations(range(len(shape))))
        steps = [data.draw(st.sampled_from([1, 2, 3, -1, -2])) for _ in shape]
        base = np.zeros([part.shape[axis] * abs(steps[axis]) + 1 for axis in axes], whole.dtype)
        spread = base[tuple(slice(None, part.shape[a] * abs(steps[a]), abs(steps[a])) for a in axes)]
        out = spread[tuple(slice(None, None, -1 if steps[a] < 0 else 1) for a in axes)].transpose(np.argsort(axes))
        assert out.shape == part.shape
        winit.fill(out, law, **BEFORE, shape=shape, box=box)
        assert raw(out) == raw(part)
        # Exactly the view was written.
        words = {1: np.uint8, 2: np.uint16}.get(base.itemsize, base.dtype)
        assert np.count_nonzero(base.view(words)) <= out.size


@given(st.integers(0, 3), st.integers(1, 4000), st.integers(0, 4000), builds)
def test_order_and_repetition_do_not_matter(law, size, split, build):
    split = min(split, size)
    scheme = LAWS[2:6][law]
    out = np.full(size, np.nan, np.float32)
    with winit.use_engine(*build):
        for box in (range(split, size), range(0, split), range(split, size)):
            winit.fill(out[box.start : box.stop], scheme, **BEFORE, shape=(size,), box=box)
        assert raw(out) == raw(winit.draw(scheme, size, **BEFORE))


def test_columns_of_a_large_matrix():
    """Boxes with runs of one element, and of one row, go through the walk of runs and threads."""
    shape = (3000, 700)
    whole = winit.draw(winit.normal(), shape, seed=4)
    for box in ((slice(None), slice(123, 124)), (slice(None), slice(0, 699)), (slice(1, None), slice(17, 600))):
        assert raw(winit.draw(winit.normal(), shape, seed=4, box=box, threads=3)) == raw(whole[box])


@pytest.mark.parametrize("dtype", DTYPES)
def test_streaming_stores_at_any_alignment(dtype):
    """Fills beyond 4 MiB go past the cache in whole lines; their ragged ends do not."""
    size = (5 << 20) // {"float64": 8, "float8_e4m3fn": 1, "float8_e5m2": 1}.get(dtype, 2)
    expected = winit.draw(winit.normal(), size, seed=9, dtype=dtype, threads=1)
    store = np.zeros(size + 40, expected.dtype)
    for offset in (0, 1, 3, 7, 31):
        store[...] = 0
        out = store[offset : offset + size - 5]
        winit.fill(out, winit.normal(), seed=9, shape=(size,), box=range(5, size), threads=2)
        assert raw(out) == raw(expected[5:])
        words = store.view(np.uint8)
        assert not words[: offset * store.itemsize].any()
        assert not words[(offset + size - 5) * store.itemsize :].any()


def test_zero_dimensional_and_empty(build):
    scalar = winit.draw(winit.normal(), (), seed=2)
    assert scalar.shape == () and scalar == winit.draw(winit.normal(), 1, seed=2)[0]
    out = np.zeros((), np.float64)
    assert (
        winit.fill(out, winit.normal(), seed=2) is out
        and out == winit.draw(winit.normal(), 1, seed=2, dtype="float64")[0]
    )
    for shape in ((0,), (3, 0), (0, 5, 2)):
        assert winit.draw(winit.he_normal(), shape if len(shape) > 1 else (0, 0), seed=2).size == 0
        assert winit.draw(winit.uniform(), shape, seed=2, dtype="bfloat16").shape == shape


def test_other_tensors_and_names_do_not_matter():
    alone = winit.draw(winit.normal(), 1000, seed=1, name="b")
    together = [winit.draw(winit.normal(), 1000, seed=1, name=name) for name in "abc"]
    assert raw(together[1]) == raw(alone)
    assert raw(together[0]) != raw(alone)
    assert raw(winit.draw(winit.normal(), 1000, seed=1)) == raw(winit.draw(winit.normal(), 1000, seed=1, name=""))


def test_many_python_threads_at_once():
    expected = raw(winit.draw(winit.normal(), 500_000, seed=6))
    results = [None] * 8

    def work(i):
        results[i] = raw(winit.draw(winit.normal(), 500_000, seed=6, threads=2))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [expected] * 8
    assert threading.active_count() == 1 or not any(t.name == "winit" for t in threading.enumerate())


# ---- add


def rounded(values, dtype):
    return values.astype(dtype)


@given(laws, dtypes, builds, st.floats(-1e3, 1e3), st.integers(0, 3000), st.integers(0, 3000))
def test_add_is_the_rounded_sum(law, dtype, build, scale, lo, hi):
    lo, hi = sorted((lo, hi))
    wide = np.float64 if dtype == "float64" else np.float32
    assume(scale == 0 or wide(scale) != 0)  # which is refused: it would add nothing in silence
    with winit.use_engine(*build):
        start = winit.draw(winit.normal(std=3.0), hi - lo, seed=1, dtype=dtype)
        value = winit.draw(law, 5000, **BEFORE, dtype=np.dtype(wide).name, box=range(lo, hi))
        out = np.repeat(start, 2)[::2]
        assert winit.add(out, law, **BEFORE, scale=scale, shape=(5000,), box=range(lo, hi)) is out
    with np.errstate(all="ignore"):  # beyond the range of float8 types
        expected = (start.astype(wide) + wide(scale) * value).astype(start.dtype)
    assert raw(out) == raw(expected)


def test_add_large_and_threads():
    out = winit.draw(winit.uniform(), (1500, 1500), seed=0)
    expected = out + np.float32(0.1) * winit.draw(winit.normal(), (1500, 1500), seed=1)
    winit.add(out, winit.normal(), seed=1, scale=0.1, threads=3)
    assert raw(out) == raw(expected)


@pytest.mark.parametrize("dtype", DTYPES[2:])
def test_add_to_every_word(build, dtype):
    """All words of narrow types, subnormal ones too, as the formula says in NumPy's arithmetic."""
    kind = winit.draw(winit.zeros(), 0, seed=0, dtype=dtype).dtype
    for scale in (2.0**-20, -1.0, 1e4):
        out = np.arange(1 << 16, dtype=np.uint16 if kind.itemsize == 2 else np.uint8).view(kind)
        with np.errstate(all="ignore"):
            wide = out.astype(np.float32) + np.float32(scale) * winit.draw(winit.normal(), 1 << 16, **BEFORE)
            expected = wide.astype(kind)
        winit.add(out, winit.normal(), **BEFORE, scale=scale)
        number = ~np.isnan(wide)
        assert raw(out[number]) == raw(expected[number]) and np.isnan(out[~number]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_keeps_what_is_not_finite(build, dtype):
    out = winit.draw(winit.zeros(), 64, seed=0, dtype=dtype)
    out[3], out[5], out[7] = np.nan, np.inf, -np.inf
    winit.add(out, winit.normal(), seed=0)
    if dtype == "float8_e4m3fn":  # it has no infinities: they were NaN before
        assert np.isnan(out[[3, 5, 7]]).all()
    else:
        assert np.isnan(out[3]) and out[5] == np.inf and out[7] == -np.inf
    rest = np.delete(out.astype(np.float64), [3, 5, 7])
    assert np.isfinite(rest).all()


def test_a_scale_of_minus_zero_keeps_minus_zeros(build):
    out = np.full(3, -0.0, np.float32)
    assert np.signbit(winit.add(out, winit.ones(), seed=0, scale=-0.0)).all()
    assert not np.signbit(winit.add(out, winit.ones(), seed=0, scale=0.0)).any()


def test_add_of_literals_and_to_half_types():
    for dtype in DTYPES:
        out = winit.draw(winit.constant(0.5), 3, seed=0, dtype=dtype)
        winit.add(out, winit.literal([1.0, 2.0, 4.0]), seed=0, scale=0.25)
        assert out.astype(float).tolist() == [0.75, 1.0, 1.5]


# ---- what the process does to floating point must not show


FLUSHED = """
import sys, torch
if sys.argv[1] == "flush" and not torch.set_flush_denormal(True):
    sys.exit("this processor cannot flush denormals")
import numpy as np, winit
for name, isa in [(n, i) for n, e in winit.engines().items() for i in e["instruction_sets"]]:
    winit.use_engine(name, isa)
    for dtype in ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
        for law in (winit.uniform(0, 1e-38), winit.normal(std=1e-39), winit.truncated_normal(0, 1, 11.9, 12),
                    winit.constant(1e-39), winit.literal([[1e-39] * 2] * 4), winit.uniform(0, 1e-6),
                    winit.sparse(1, 1e-39), winit.embedding(1e-39, 2), winit.orthogonal(1e-39),
                    winit.identity(1e-39), winit.mamba_dt_bias()):
            try:
                a = winit.draw(law, (4, 2), seed=0, dtype=dtype)
                b = winit.add(winit.draw(winit.uniform(0, 1e-38), (4, 2), seed=1, dtype="float32"), law, seed=0)
                print(name, isa, dtype, law, a.tobytes().hex(), b.tobytes().hex())
            except ValueError as error:
                print(name, isa, dtype, law, error)
"""


def test_flushed_denormals_change_nothing():
    """A process that flushes subnormals from its first instruction on computes the same parameters and values."""
    pytest.importorskip("torch")

    def run(mode):
        return subprocess.run([sys.executable, "-c", FLUSHED, mode], capture_output=True, text=True)

    flushed, plain = run("flush"), run("plain")
    if "cannot flush" in flushed.stderr:
        pytest.skip(flushed.stderr)
    assert flushed.returncode == plain.returncode == 0, flushed.stderr + plain.stderr
    assert flushed.stdout == plain.stdout
    assert plain.stdout.count("0000803f") == 0
    assert len(plain.stdout.splitlines()) == 66 * len(BUILDS)


def test_masked_arrays_are_filled_as_memory(build):
    out = np.ma.masked_array(np.zeros(6, np.float32), mask=[0, 1, 0, 1, 0, 0], hard_mask=True)
    assert winit.fill(out, winit.normal(), seed=0) is out
    assert raw(out.data) == raw(winit.draw(winit.normal(), 6, seed=0))
    winit.fill(out, winit.literal([1.0] * 6), seed=0)
    assert (out.data == 1).all()


def test_literals_in_half_types_round_through_float32():
    x = 1 + 2.0**-11 + 2.0**-30
    assert (
        winit.draw(winit.literal([x]), 1, seed=0, dtype="float16")[0]
        == winit.draw(winit.constant(x), 1, seed=0, dtype="float16")[0]
    )
    for dtype in DTYPES[2:]:
        out = winit.draw(winit.constant(-1000 if "float8" not in dtype else -400), 1, seed=0, dtype=dtype)
        same = out.copy()
        winit.add(out, winit.literal([1 / 3]), seed=0, scale=3000)
        winit.add(same, winit.constant(1 / 3), seed=0, scale=3000)
        assert raw(out) == raw(same)
