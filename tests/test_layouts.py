"""Axes: parts of several sizes along the out axis, groups along either axis, and laws that follow from them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import winit
from winit import Axes
from winit._core.dtypes import numpy_dtype

PARTS = (12, 4, 8)
OI = Axes(in_=1, out=0, splits=PARTS)


def test_fans_of_parts():
    assert winit.fans((24, 16), OI) == (16, (12, 4, 8))
    assert winit.fans((16, 24), Axes(in_=0, out=1, splits=PARTS)) == (16, (12, 4, 8))
    assert winit.fans((24, 3, 5, 5), OI) == (75, (300, 100, 200))
    assert winit.fans((2, 24, 16), Axes(in_=2, out=1, batch=0, splits=PARTS)) == (16, (12, 4, 8))
    assert winit.fans((24, 16), Axes(in_=1, out=0, splits=(24,))) == (16, (24,))


def test_repr_evaluates_back():
    for axes in (OI, Axes(1, 0, groups=2, groups_along="in"), Axes(1, 0, splits=3), Axes(0, 1, groups_along="out")):
        assert eval(repr(axes), {"Axes": Axes}) == axes
    assert repr(Axes(in_=1, out=0, splits=[12, 4])) == "Axes(in_=1, out=0, splits=(12, 4))"


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        ({"splits": ()}, ValueError, "splits must be a number of parts or their extents, not an empty tuple"),
        ({"splits": (3, 0)}, ValueError, "splits must be at least 1, not 0"),
        ({"splits": (3, 1.5)}, TypeError, "splits must be an integer, not float"),
        ({"splits": "33"}, TypeError, "splits must be an integer, not str"),
        ({"splits": (2, 3), "groups": 2}, ValueError, r"groups=2 and splits=\(2, 3\) do not go together"),
        ({"groups_along": "in_"}, ValueError, "groups_along must be 'out', 'in' or None, not 'in_'"),
        ({"groups_along": 1}, TypeError, "groups_along must be 'out', 'in' or None, not 1"),
    ],
)
def test_axes_refuse(keywords, error, match):
    with pytest.raises(error, match=match):
        Axes(in_=1, out=0, **keywords)


def test_extents_must_sum_to_the_axis():
    with pytest.raises(ValueError, match=r"splits=\(12, 4, 8\) sum to 24, and the out axis 0 of \(25, 16\) has 25"):
        winit.draw(winit.zeros(), (25, 16), seed=0, layout=OI)
    with pytest.raises(ValueError, match="are extents of one out axis"):
        winit.fans((4, 6, 16), Axes(in_=2, out=(0, 1), splits=PARTS))


# ---- laws


FAN_OUT = [
    winit.xavier_normal(),
    winit.xavier_uniform(2.0),
    winit.he_normal(mode="fan_out"),
    winit.variance_scaling(1.5, "fan_geo_avg", "truncated_normal"),
]


@pytest.mark.parametrize("scheme", FAN_OUT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_each_part_has_the_scale_of_its_own_fans_and_the_words_of_its_place(scheme, dtype):
    """Part by part the tensor is a range of the stream under the law of the part's own shape."""
    shape = (24, 16)
    got = winit.draw(scheme, shape, seed=3, name="qkv", layout=OI, dtype=dtype)
    start = 0
    for extent in PARTS:
        law = scheme.law((extent, 16), "oi")
        same_law = {"Normal": lambda law=law: winit.normal(law.mean, law.std)}
        same_law["Uniform"] = lambda law=law: winit.uniform(law.low, law.high)
        same_law["TruncatedNormal"] = lambda law=law: winit.truncated_normal(law.mean, law.std, law.low, law.high)
        plain = same_law[type(law).__name__]()
        box = slice(start, start + extent)
        expected = winit.draw(plain, shape, seed=3, name="qkv", dtype=dtype, box=box)
        assert got[box].tobytes() == expected.tobytes()
        start += extent


@pytest.mark.parametrize("scheme", FAN_OUT)
def test_moments_of_parts(scheme):
    moments = scheme.moments((24, 1600), OI)
    drawn = winit.draw(scheme, (24, 1600), seed=0, layout=OI, dtype="float64")
    # n = 38,400; the std of a sample std is below std / sqrt(n) here, and 6 of them are passed with chance 2e-9.
    assert abs(drawn.std() / moments.std - 1) < 6 / math.sqrt(drawn.size)
    assert abs(drawn.mean()) < 6 * moments.std / math.sqrt(drawn.size)
    assert moments.low <= drawn.min() and drawn.max() <= moments.high


def test_schemes_without_fan_out_do_not_look_at_parts():
    for scheme in (winit.he_normal(), winit.lecun_uniform(), winit.normal(std=0.02), winit.sparse(3)):
        assert (winit.draw(scheme, (24, 16), seed=0, layout=OI) == winit.draw(scheme, (24, 16), seed=0)).all()


def test_parts_of_one_size_are_splits():
    equal, count = Axes(in_=1, out=0, splits=(8, 8, 8)), Axes(in_=1, out=0, splits=3)
    for scheme in (*FAN_OUT, winit.orthogonal(), winit.he_normal()):
        a, b = (winit.draw(scheme, (24, 16), seed=0, layout=layout) for layout in (equal, count))
        assert a.tobytes() == b.tobytes()


def test_whole_tensors_are_drawn_part_by_part():
    q = winit.draw(winit.orthogonal(), (24, 16), seed=0, layout=OI, dtype="float64")
    start = 0
    for extent in PARTS:
        part = q[start : start + extent]
        np.testing.assert_allclose(part @ part.T, np.eye(extent), atol=1e-12)
        start += extent
    # The first part is the tensor of its own shape; later ones have words of their own.
    assert (q[:12] == winit.draw(winit.orthogonal(), (12, 16), seed=0, dtype="float64")).all()
    assert not np.allclose(q[12:16], winit.draw(winit.orthogonal(), (4, 16), seed=0, dtype="float64"))
    eye = winit.draw(winit.identity(), (24, 16), seed=0, layout=OI)
    assert (eye == np.concatenate([np.eye(extent, 16) for extent in PARTS])).all()


@settings(max_examples=150, deadline=None, database=None)
@given(st.data())
def test_any_box_range_and_order_of_a_tensor_of_parts(data):
    axis = data.draw(st.integers(0, 2))
    extents = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    shape = [data.draw(st.integers(1, 5)) for _ in range(3)]
    shape[axis] = sum(extents)
    layout = Axes(in_=next(a for a in range(3) if a != axis), out=axis, splits=tuple(extents))
    scheme = data.draw(st.sampled_from([*FAN_OUT, winit.orthogonal()]))
    whole = winit.draw(scheme, shape, seed=1, layout=layout)
    box = tuple(slice(*sorted((data.draw(st.integers(0, size)), data.draw(st.integers(0, size))))) for size in shape)
    assert (winit.draw(scheme, shape, seed=1, layout=layout, box=box) == whole[box]).all()
    lo, hi = sorted((data.draw(st.integers(0, whole.size)), data.draw(st.integers(0, whole.size))))
    flat = winit.draw(scheme, shape, seed=1, layout=layout, box=range(lo, hi))
    assert (flat == whole.reshape(-1)[lo:hi]).all()
    out = np.zeros(whole.shape[::-1], np.float32).T
    winit.fill(out, scheme, seed=1, layout=layout)
    assert (out == whole).all()
    winit.add(out, scheme, seed=1, layout=layout, scale=-1.0)
    assert (out == 0).all()


def test_parts_on_many_threads():
    """More elements than a thread's range, so that ranges cross the parts' ends."""
    layout, shape = Axes(in_=1, out=0, splits=(700, 100, 1200)), (2000, 1024)
    one, two = (winit.draw(winit.xavier_normal(), shape, seed=0, layout=layout, threads=n) for n in (1, 2))
    assert one.tobytes() == two.tobytes()


# ---- groups


def test_groups_along():
    """torch's transposed convolution (in, out / groups, ...) by default; "out" and "in" decide."""
    shape = (8, 6, 3, 3)
    assert winit.fans(shape, Axes(in_=0, out=1, groups=2)) == (4 * 9, 6 * 9)
    assert winit.fans(shape, Axes(in_=0, out=1, groups=2, groups_along="in")) == (4 * 9, 6 * 9)
    assert winit.fans(shape, Axes(in_=0, out=1, groups=2, groups_along="out")) == (8 * 9, 3 * 9)
    assert winit.fans(shape, Axes(in_=1, out=0, groups=2)) == (6 * 9, 4 * 9)
    assert winit.fans(shape, Axes(in_=1, out=0, groups=2, groups_along="in")) == (3 * 9, 8 * 9)
    with pytest.raises(ValueError, match="groups=4 does not divide the 6 channels along in_"):
        winit.fans(shape, Axes(in_=1, out=0, groups=4, groups_along="in"))


# ---- closed forms: the definition of each, element by element, and boxes of tensors too large to make whole


def _hadamard(i, j, out, in_):
    if out <= in_:
        return float(i == j)
    return (-1.0) ** bin(i & j).count("1") / math.sqrt(2 ** math.ceil(math.log2(out)))


def _dirac(index, shape):
    """torch.nn.init.dirac_ of four groups."""
    out, in_, *taps = index
    centre = all(tap == size // 2 for tap, size in zip(taps, shape[2:], strict=True))
    return float(centre and out % (shape[0] // 4) == in_)


def _idinit(index, shape):
    """Unit and input, channels first and then the taps, agree modulo the fewer."""
    inputs = np.ravel_multi_index(index[1:], shape[1:])
    few = min(shape[0], math.prod(shape[1:]))
    return float(index[0] % few == inputs % few)


CLOSED = [
    (winit.identity(0.3), (300_000, 400_000), "oi", (123_456, 123_455), lambda at, _: 0.3 * (at[0] == at[1])),
    (winit.irnn(), (300_000, 300_000), "oi", (299_990, 299_991), lambda at, _: float(at[0] == at[1])),
    (winit.hadamard(), (1 << 20, 1 << 18), "oi", (654_321, 123_456), lambda at, n: _hadamard(*at, *n)),
    (winit.hadamard(), (1 << 20, 1 << 18), "io", (123_456, 123_455), lambda at, n: _hadamard(*at[::-1], *n[::-1])),
    (winit.hadamard(), (1 << 18, 300_001), "io", (65_432, 123_456), lambda at, n: _hadamard(*at[::-1], *n[::-1])),
    (winit.dirac(groups=4), (1 << 16, 1 << 14, 9, 9), "oi", (20_000, 3_615, 3, 2), _dirac),
    (winit.idinit(), (300_000, 400_001), "oi", (99_990, 399_989), _idinit),
    (winit.idinit(), (300_000, 400_001), "oi", (2, 299_999), _idinit),
    (winit.idinit(), (400_001, 300, 31), "oi", (9_300 + 155, 5, 0), _idinit),
    (winit.mamba_a_log(), (1 << 20, 1 << 14), "oi", (5, 16_000), lambda at, _: math.log(at[1] + 1)),
    (winit.lstm_bias(), (1 << 34,), "oi", ((1 << 32) - 2,), lambda at, n: float(n[0] // 4 <= at[0] < n[0] // 2)),
    (winit.lstm_bias(), (1 << 34,), "oi", ((1 << 33) - 3,), lambda at, n: float(n[0] // 4 <= at[0] < n[0] // 2)),
]


@pytest.mark.parametrize(
    ("scheme", "shape", "layout", "first", "element"), CLOSED, ids=[f"{case[0]!r}-{case[1]}" for case in CLOSED]
)
def test_a_box_of_a_closed_form(scheme, shape, layout, first, element):
    """Elements of tensors of hundreds of gigabytes are those of the definition, and cost what the box costs."""
    box = tuple(slice(start, min(start + 6, size)) for start, size in zip(first, shape, strict=True))
    got = winit.draw(scheme, shape, seed=0, name="w", layout=layout, dtype="float64", box=box)
    for offset in np.ndindex(got.shape):
        index = tuple(start + step for start, step in zip(first, offset, strict=True))
        assert got[offset] == pytest.approx(element(index, shape), rel=1e-15), index
    assert got.any()
    start = int(np.ravel_multi_index(first, shape))
    row = winit.draw(scheme, shape, seed=0, name="w", layout=layout, dtype="float64", box=range(start, start + 4))
    assert (row == got.reshape(-1, got.shape[-1])[0, :4]).all()


def test_a_box_of_mamba_dt_bias():
    """The bias of the uniform draw at the same indices: its softplus is exp(log low + u (log high - log low))."""
    box = slice((1 << 33) + 1, (1 << 33) + 9)
    got = winit.draw(winit.mamba_dt_bias(), 1 << 34, seed=0, name="w", dtype="float64", box=box)
    u = winit.draw(winit.uniform(0, 1), 1 << 34, seed=0, name="w", dtype="float64", box=box)
    assert np.logaddexp(0, got) == pytest.approx(np.exp(np.log(0.001) + u * np.log(100)), rel=1e-12)


UNEQUAL = [
    (winit.identity(0.5), (5, 4)),
    (winit.hadamard(), (7, 3)),
    (winit.idinit(), (7, 3)),
    (winit.dirac(), (6, 2, 3)),
    (winit.mamba_dt_bias(), (9, 2)),
]


@pytest.mark.parametrize(("scheme", "shape"), UNEQUAL, ids=[repr(case[0]) for case in UNEQUAL])
@settings(max_examples=60, deadline=None, database=None)
@given(data=st.data())
def test_closed_forms_of_unequal_parts(scheme, shape, data):
    """Each part is what it would be alone, in boxes, ranges, in place and added."""
    cut = data.draw(st.integers(1, shape[0] - 1))
    if 2 * cut == shape[0]:
        cut += 1
    layout = Axes(in_=1, out=0, splits=(cut, shape[0] - cut))
    whole = winit.draw(scheme, shape, seed=1, name="w", layout=layout)
    if not isinstance(scheme, winit.mamba_dt_bias):
        parts = [winit.draw(scheme, (rows, *shape[1:]), seed=1) for rows in layout.splits]
        assert whole.tobytes() == np.concatenate(parts).tobytes()
    else:  # the draws of a part begin where those before it end, and here no two are alike
        assert whole.tobytes() == winit.draw(scheme, shape, seed=1, name="w").tobytes()
    box = tuple(slice(*sorted((data.draw(st.integers(0, size)), data.draw(st.integers(0, size))))) for size in shape)
    assert (winit.draw(scheme, shape, seed=1, name="w", layout=layout, box=box) == whole[box]).all()
    lo, hi = sorted((data.draw(st.integers(0, whole.size)), data.draw(st.integers(0, whole.size))))
    flat = winit.draw(scheme, shape, seed=1, name="w", layout=layout, box=range(lo, hi))
    assert (flat == whole.reshape(-1)[lo:hi]).all()
    out = np.full(shape, 2.0, np.float32)
    winit.add(out, scheme, seed=1, name="w", layout=layout, scale=-2.0)
    assert out.tobytes() == (np.float32(2) + np.float32(-2) * whole).tobytes()


def test_a_box_of_unequal_parts_costs_what_the_box_costs():
    layout = Axes(in_=1, out=0, splits=(150_000, 250_000))
    box = (slice(149_998, 150_002), slice(0, 3))
    got = winit.draw(winit.identity(), (400_000, 300_000), seed=0, layout=layout, box=box)
    assert got.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize(
    ("scheme", "shape"),
    [
        (winit.identity(), (3, 4)),
        (winit.irnn(), (3, 3)),
        (winit.dirac(), (2, 2, 3)),
        (winit.hadamard(), (2, 2, 3)),
        (winit.idinit(), (3, 5)),
        (winit.lstm_bias(), (8,)),
        (winit.stft("imag"), (5, 1, 8)),
    ],
    ids=repr,
)
def test_adding_a_closed_form_to_negative_zeros(scheme, shape, dtype):
    """out + scale * value everywhere, at the zeros too: -0 + 0 is 0."""
    kind = numpy_dtype(dtype)
    out = np.full(shape, -0.0, kind)
    winit.add(out, scheme, seed=0, scale=2.0)
    expected = np.full(shape, -0.0, kind) + kind.type(2) * winit.draw(scheme, shape, seed=0, dtype=dtype)
    assert out.tobytes() == expected.astype(kind).tobytes()
