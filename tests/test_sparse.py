"""Sparse connections: exactly k inputs a unit, uniformly chosen, values of the plain normal; draw_sparse's bits.

Chi-square tests state n; each fails on a correct sampler with a chance of 1e-7, and there are fewer than ten.
"""

import decimal
import itertools
import math
import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import chdtri

import winit
from conftest import BUILDS
from winit import Axes

KEY = {"seed": 8, "name": "layer"}

# shape, layout, and the transposition that brings it to (units, inputs)
PLACES = [
    ((12, 90), "oi", (0, 1)),
    ((90, 12), "io", (1, 0)),
    ((12, 10, 3, 3), "oi", (0, 1, 2, 3)),
    ((3, 3, 10, 12), "io", (3, 0, 1, 2)),
    ((12, 15, 6), Axes(1, 0, groups=4), (0, 1, 2)),
    ((4, 90, 3), Axes(1, 2, batch=0), (0, 2, 1)),
    ((90, 3, 4), Axes(0, (1, 2)), (1, 2, 0)),
    ((9, 12, 10), Axes(in_=(0, 2), out=1), (1, 0, 2)),
    ((10, 12, 3, 3), Axes(0, 1), (1, 0, 2, 3)),
]


def units(w, order):
    return w.transpose(order).reshape(12, 90)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize(("shape", "layout", "order"), PLACES)
def test_k_inputs_of_each_unit_with_the_normals_values(build, shape, layout, order, dtype):
    normal = winit.draw(winit.normal(std=0.25), shape, **KEY, dtype=dtype)
    for k in (0, 1, 31, 32, 33, 64, 89, 90):
        w = winit.draw(winit.sparse(k, 0.25), shape, **KEY, layout=layout, dtype=dtype)
        # In float8 the normal of a connection may be 0: where connections are is asked in float32.
        chosen = winit.draw(winit.sparse(k, 0.25), shape, **KEY, layout=layout) != 0
        assert (units(chosen, order).sum(axis=1) == k).all()
        assert np.where(chosen, normal, np.zeros((), w.dtype)).tobytes() == w.tobytes()


def floyd(words, inputs):
    """Floyd's method in exact integers (Bentley & Floyd 1987)."""
    picks = []
    for i, word in enumerate(words):
        j = inputs - len(words) + i
        t = int(word) * (j + 1) >> 32
        picks.append(j if t in picks else t)
    return picks


@pytest.mark.parametrize(("shape", "layout", "order"), PLACES)
def test_positions_are_floyds_of_words_of_tag_1(build, shape, layout, order):
    """Unit u, counted in row-major order of its axes, owns words [u k, (u + 1) k)."""
    for k in (5, 40):
        w = units(winit.draw(winit.sparse(k), shape, **KEY, layout=layout), order)
        words = winit.words(KEY["seed"], KEY["name"], 0, 12 * k, tag=1).reshape(12, k)
        for unit, row in enumerate(w):
            assert np.flatnonzero(row).tolist() == sorted(floyd(words[unit].tolist(), 90))


def test_standard_deviation_of_zero_and_means():
    w = winit.draw(winit.sparse_rows(0.5, mean=2.0, std=0.0), (40, 10), seed=0)
    assert set(w.ravel().tolist()) == {0.0, 2.0} and ((w == 2).sum(axis=1) == 5).all()
    assert not winit.draw(winit.sparse(3, std=0.0), (40, 10), seed=0).any()


# ---- every input, and every set of inputs, equally likely


def chi_square(counts, expected):
    assert np.square(np.asarray(counts) - expected).sum() / expected < chdtri(len(counts) - 1, 1e-7)


@pytest.mark.parametrize(("inputs", "k"), [(6, 2), (7, 3), (6, 4), (5, 5), (9, 1)])
def test_every_set_of_inputs_is_equally_likely(inputs, k):
    """n = 200,000 units; all C(inputs, k) sets."""
    n = 200_000
    w = winit.draw_sparse(winit.sparse(k), (n, inputs), seed=21, name="sets")
    codes = (1 << w.indices.astype(np.int64).reshape(n, k)).sum(axis=1)
    sets = [sum(1 << i for i in chosen) for chosen in itertools.combinations(range(inputs), k)]
    counts = np.bincount(codes, minlength=1 << inputs)
    assert counts[sets].sum() == n
    if len(sets) > 1:
        chi_square(counts[sets], n / len(sets))


@pytest.mark.parametrize("k", [20, 50])
def test_each_input_and_each_pair_of_a_large_unit_is_equally_likely(k):
    """n = 40,000 units of 120 inputs. Inputs of one unit exclude each other, which narrows the counts: the sum of
    squares is (1 - k / 120) 120 / 119 times a chi-square of 119. Pairs (input i, input i + 1) by a binomial bound."""
    n, inputs = 40_000, 120
    w = winit.draw_sparse(winit.sparse(k), (n, inputs), seed=22, name="inputs")
    counts = np.bincount(w.indices, minlength=inputs)
    expected, spread = n * k / inputs, (1 - k / inputs) * inputs / (inputs - 1)
    assert np.square(counts - expected).sum() / expected / spread < chdtri(inputs - 1, 1e-7)
    mask = w.toarray() != 0
    both = k * (k - 1) / (inputs * (inputs - 1))
    for apart in (1, 2, 60):
        together = (mask & np.roll(mask, apart, axis=1)).sum(axis=0)
        assert np.abs(together - n * both).max() < 6.5 * math.sqrt(n * both * (1 - both))  # chance 3e-8 over 360


def test_units_are_independent_of_each_other():
    """Overlap of neighbouring units is hypergeometric: n = 100,000 pairs, mean k^2 / inputs, z < 5.5 (4e-8)."""
    n, inputs, k = 100_000, 50, 10
    mask = winit.draw_sparse(winit.sparse(k), (n + 1, inputs), seed=23).toarray() != 0
    overlap = (mask[1:] & mask[:-1]).sum(axis=1)
    variance = k * k / inputs * (1 - k / inputs) * (inputs - k) / (inputs - 1)
    assert abs(overlap.mean() - k * k / inputs) < 5.5 * math.sqrt(variance / n)
    assert abs(overlap.var() / variance - 1) < 5.5 * math.sqrt(2.2 / n)


def test_positions_do_not_tell_the_values():
    """Values at early and late inputs have one law: correlation of z^2 with the position, n = 400,000, z < 5.5."""
    w = winit.draw_sparse(winit.sparse(4, 1.0), (100_000, 64), seed=24, dtype="float64")
    position, z = w.indices - w.indices.mean(), w.data
    for what in (z, z * z - 1):
        assert abs(np.corrcoef(position, what)[0, 1]) < 5.5 / math.sqrt(z.size)


# ---- shares


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 1 / 3, 0.5, 0.7, 0.9, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 7), (10, 10), (11, 4), (50, 20), (100, 3), (29, 31)])
def test_counts_are_torchs_and_mlxs(shape, sparsity):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.nn.init.sparse_(torch.ones(shape), sparsity, std=1.0).numpy()
    ours = winit.draw(winit.presets.torch.sparse_(sparsity, 1.0), shape, seed=0)
    assert (ours == 0).sum(axis=0).tolist() == (theirs == 0).sum(axis=0).tolist()
    # mlx.nn.init.sparse: order = argsort(uniform); the first ceil(sparsity * columns) of each row are set to 0.
    zeros = min(math.ceil(sparsity * shape[1]), shape[1] - (sparsity < 1))
    ours = winit.draw(winit.sparse_rows(sparsity), shape, seed=0)
    assert (ours == 0).sum(axis=1).tolist() == [zeros] * shape[0]


def zeros_of(sparsity, count):
    """Zeros among so many elements, by decimal arithmetic on the text of the share: another road than fractions."""
    exact = decimal.Decimal(repr(sparsity)) * count
    zeros = int(exact.to_integral_value(decimal.ROUND_CEILING))
    return zeros if sparsity == 1 else min(zeros, max(count - 1, 0))


@pytest.mark.parametrize("percent", range(101))
def test_shares_are_decimal_numbers(percent):
    sparsity = percent / 100
    for count in (0, 1, 2, 3, 5, 7, 10, 25, 33, 50, 64, 99, 100, 120, 1000):
        zeros = zeros_of(sparsity, count)
        assert zeros == min(-(-percent * count // 100), count - 1 if percent < 100 and count else count)
        for scheme, shape in ((winit.sparse_columns(sparsity), (count, 2)), (winit.sparse_rows(sparsity), (2, count))):
            law = scheme.law(shape)
            assert law.keep == count - zeros, (sparsity, count)
            assert (law.keep >= 1) == (sparsity < 1 and count > 0)
        theirs = winit.presets.torch.sparse_(sparsity).law((count, 2)).keep
        assert theirs == count - math.ceil(sparsity * count)


@given(st.floats(0, 1), st.integers(0, 10**6))
@example(0.1 + 0.2, 10)
@example(1 - 0.9, 10)
@example(5e-324, 10**6)
@example(1 - 2**-53, 10**6)
def test_any_share_is_the_decimal_number_it_prints_as(sparsity, count):
    assert winit.sparse_columns(sparsity).law((count, 1)).keep == count - zeros_of(sparsity, count)


def test_shares_where_binary_products_are_wrong():
    """The two that were seen: all of 5 columns at 0.9, and one zero too many of 100 at 0.55."""
    assert (winit.draw(winit.sparse_rows(0.9), (4, 5), seed=0) != 0).sum(axis=1).tolist() == [1] * 4
    assert (winit.draw(winit.sparse_rows(0.55), (4, 100), seed=0) == 0).sum(axis=1).tolist() == [55] * 4
    assert (winit.draw(winit.presets.torch.sparse_(0.55), (100, 4), seed=0) == 0).sum(axis=0).tolist() == [56] * 4
    assert not winit.draw(winit.sparse_rows(1.0), (4, 5), seed=0).any()


def test_torchs_own_share_is_a_scheme_like_any():
    scheme = winit.presets.torch.sparse_(0.9, 0.5)
    assert repr(scheme) == "torch.sparse_(sparsity=0.9, std=0.5)"
    assert pickle.loads(pickle.dumps(scheme)) == scheme
    plan = winit.Plan({"w": winit.Param((10, 4), scheme)})
    assert winit.Plan.from_toml(plan.to_toml()) == plan
    columns = winit.draw(winit.sparse_columns(0.9, std=0.5), (10, 4), seed=0, name="w")
    assert (plan.draw("w", seed=0) == columns).all()  # where the counts agree, so do the bits
    assert (winit.draw_sparse(scheme, (10, 4), seed=0, name="w").toarray() == columns).all()
    with pytest.raises(ValueError, match="sparse_ fills matrices, not shape"):
        winit.draw(scheme, (2, 3, 4), seed=0)


# ---- draw_sparse


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "layout", "order"), PLACES)
def test_draw_sparse_has_the_bits_of_draw(build, shape, layout, order, dtype, kind):
    for k in (0, 7, 40, 90):
        scheme = winit.sparse(k)
        keywords = {**KEY, "layout": layout, "dtype": dtype}
        if layout in PLACES[-2][1:2] or layout in PLACES[-1][1:2]:
            with pytest.raises(ValueError, match="units of a sparse array must be the first or the last axes"):
                winit.draw_sparse(scheme, shape, **keywords)
            continue
        dense = winit.draw(scheme, shape, **keywords)
        if layout == Axes(1, 2, batch=0):
            with pytest.raises(ValueError, match="units of a sparse array must be the first or the last axes"):
                winit.draw_sparse(scheme, shape, **keywords)
            continue
        first = order[0] == 0
        matrix = dense.reshape(12, 90) if first else dense.reshape(90, 12)
        w = winit.draw_sparse(scheme, shape, **keywords, format=kind)
        assert isinstance(w, scipy.sparse.csr_array if kind == "csr" else scipy.sparse.csc_array)
        assert w.shape == matrix.shape and w.nnz == 12 * k and w.dtype == dense.dtype
        assert w.toarray().tobytes() == np.ascontiguousarray(matrix).tobytes()
        same = w.copy()
        same.sum_duplicates()
        assert w.has_canonical_format and (same.indices == w.indices).all() and same.nnz == w.nnz


@pytest.mark.parametrize("scheme", [winit.sparse(30), winit.sparse_rows(0.9), winit.sparse_columns(0.99, 0.5, 2.0)])
@pytest.mark.parametrize("layout", ["oi", "io"])
def test_draw_sparse_over_threads(scheme, layout):
    one = winit.draw_sparse(scheme, (5000, 3000), **KEY, layout=layout, threads=1)
    for threads in (2, 3, 4):
        other = winit.draw_sparse(scheme, (5000, 3000), **KEY, layout=layout, threads=threads)
        assert all((getattr(one, what) == getattr(other, what)).all() for what in ("data", "indices", "indptr"))
    dense = winit.draw(scheme, (5000, 3000), **KEY, layout=layout)
    assert (one.toarray() == dense).all() and np.count_nonzero(one.data) == np.count_nonzero(dense)


def test_draw_sparse_of_empty_tensors():
    for shape in ((0, 5), (5, 0)):
        w = winit.draw_sparse(winit.sparse(0), shape, seed=0)
        assert w.shape == shape and w.nnz == 0
    for shape in ((0, 5), (5, 0), (0, 0)):  # as of draw, which has no unit or no input to ask of either
        for layout in ("oi", "io"):
            assert winit.draw(winit.sparse(7), shape, seed=0, layout=layout).shape == shape
            w = winit.draw_sparse(winit.sparse(7), shape, seed=0, layout=layout)
            assert w.shape == shape and w.nnz == 0


def test_indices_of_more_than_31_bits():
    """A unit that chooses among 2^32 inputs, the most there are: wide indices, and inputs beyond 2^31 occur."""
    w = winit.draw_sparse(winit.sparse(20), (3, 1 << 32), seed=0)
    assert w.indices.dtype == np.int64 and w.indices.max() >= 1 << 31 and w.indices.max() < 1 << 32
    words = winit.words(0, "", 0, 60, tag=1).reshape(3, 20)
    assert [sorted(floyd(row.tolist(), 1 << 32)) for row in words] == w.indices.reshape(3, 20).tolist()
    unit, at = 2, w.indices[-1]
    flat = (unit << 32) + int(at)
    alone = winit.draw(winit.normal(std=0.01), (3, 1 << 32), seed=0, box=range(flat, flat + 1))
    assert alone[0] == w.data[-1]
    box = winit.draw(winit.sparse(20), (3, 1 << 32), seed=0, box=range(flat - 500, flat + 500))
    assert box[500] == w.data[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("shape", "lo"), [((1 << 61, 4), 1 << 62), ((1 << 62, 2), (1 << 63) - 9)], ids=str)
def test_boxes_far_out(build, shape, lo, dtype):
    """Every input is chosen, so that the values are those of normal; to the last element of the largest tensor."""
    normal = winit.draw(winit.normal(std=0.25), shape, **KEY, dtype=dtype, box=range(lo, lo + 9))
    scheme = winit.sparse(shape[1], 0.25)
    w = winit.draw(scheme, shape, **KEY, dtype=dtype, box=range(lo, lo + 9))
    assert w.tobytes() == normal.tobytes()
    back = np.full(9, 7, dtype)[::-1]
    winit.fill(back, scheme, **KEY, shape=shape, box=range(lo, lo + 9))
    assert back.tobytes() == normal.tobytes()


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_boxes_of_units_and_inputs_with_their_own_steps(build):
    """Boxes that cut the units and the inputs, of all layouts, added to what is there."""
    with winit.use_engine(*build):
        for shape, layout, _ in PLACES:
            for k in (3, 60):
                whole = winit.draw(winit.sparse(k, 1.0), shape, **KEY, layout=layout)
                box = tuple(slice(size // 4, size - size // 5) for size in shape)
                out = np.full(whole[box].shape, 2, np.float32, order="F")
                winit.add(out, winit.sparse(k, 1.0), **KEY, shape=shape, layout=layout, box=box, scale=-3)
                assert (out == 2 + np.float32(-3) * whole[box]).all()


# ---- errors


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: winit.sparse(-1), ValueError, "^k must not be negative, not -1$"),
        (lambda: winit.sparse(2.0), TypeError, "^k must be an integer, not float$"),
        (lambda: winit.sparse(True), TypeError, "^k must be an integer, not bool$"),
        (lambda: winit.sparse(2, -0.1), ValueError, "^std must not be negative, not -0.1$"),
        (lambda: winit.sparse(2, math.nan), ValueError, "^std must be finite, not nan$"),
        (lambda: winit.sparse_columns(1.01), ValueError, "^sparsity must be between 0 and 1, not 1.01$"),
        (lambda: winit.sparse_rows(-0.01), ValueError, "^sparsity must be between 0 and 1, not -0.01$"),
        (lambda: winit.sparse_rows("0.5"), TypeError, "^sparsity must be a number, not '0.5'$"),
        (lambda: winit.sparse_columns(0.5, math.inf), ValueError, "^mean must be finite, not inf$"),
        (lambda: winit.sparse_columns(0.5, 0, -1), ValueError, "^std must not be negative, not -1.0$"),
    ],
)
def test_parameters(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("scheme", "shape", "layout", "match"),
    [
        (
            winit.sparse(6),
            (4, 5),
            "oi",
            r"sparse\(k=6\) connects 6 inputs to a unit, and a unit of shape \(4, 5\) has 5",
        ),
        (winit.sparse(5), (4, 5), "io", "connects 5 inputs to a unit, and .* has 4"),
        (winit.sparse(1), (5,), "oi", "needs a shape of at least two axes to have fans"),
        (winit.sparse(1), (6, 4, 3), Axes(0, 1, groups=2), "need the channels of all groups along out, not along in_"),
        (winit.sparse_rows(0.5), (2, 3, 4), "oi", r"sparse_rows fills matrices, not shape \(2, 3, 4\)"),
        (winit.sparse_columns(0.5), (5,), "oi", r"sparse_columns fills matrices, not shape \(5,\)"),
        (winit.sparse(1, 1e38), (4, 5), "oi", "beyond the range of float32"),
    ],
)
def test_tensors_that_do_not_fit(scheme, shape, layout, match):
    out = np.full(shape, 7, np.float32)
    for function in (winit.fill, winit.add):
        with pytest.raises(ValueError, match=match):
            function(out, scheme, seed=0, layout=layout)
        assert (out == 7).all()
    for function in (winit.draw, winit.draw_sparse):
        with pytest.raises(ValueError, match=match):
            function(scheme, shape, seed=0, layout=layout)


def test_more_inputs_than_a_word_chooses_among():
    for function in (winit.draw, winit.draw_sparse):
        with pytest.raises(ValueError, match=r"choose among at most 2\^32 inputs, not 4294967297"):
            function(winit.sparse(1), (2, (1 << 32) + 1), seed=0)


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        (
            {"scheme": winit.normal()},
            TypeError,
            r"scheme must be a sparse one such as winit.sparse\(k=10\), not normal\(\)",
        ),
        ({"scheme": winit.sparse}, TypeError, r"did you mean sparse\(\)\?"),
        ({"dtype": "float16"}, TypeError, "dtype of a sparse array must be float32 or float64, not float16"),
        ({"dtype": "int32"}, TypeError, "dtype of a sparse array must be float32 or float64, not int32"),
        ({"format": "coo"}, ValueError, "format must be 'csr' or 'csc', not 'coo'"),
        ({"layout": "hw"}, ValueError, "layout must be 'oi', 'io' or winit.Axes, not 'hw'"),
        ({"threads": 0}, ValueError, "threads must be at least 1, not 0"),
        ({"seed": -1}, ValueError, r"seed must be in \[0, 2\^64\)"),
        ({"shape": (2, -1)}, ValueError, "shape must not hold negative sizes"),
    ],
)
def test_draw_sparse_refuses(keywords, error, match):
    given = {"scheme": winit.sparse(2), "shape": (4, 5), "seed": 0, **keywords}
    with pytest.raises(error, match=match):
        winit.draw_sparse(given.pop("scheme"), given.pop("shape"), **given)


def test_draw_sparse_without_scipy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match="draw_sparse needs the package scipy, .*pip install scipy"):
        winit.draw_sparse(winit.sparse(1), (2, 2), seed=0)
