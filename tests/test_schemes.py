"""Schemes: closed-form moments against formulas and samples, fans, gains, and what a frozen value promises."""

import copy
import math
import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

import winit
from winit import Axes, schemes

N = 400_000
Z = 5.5  # p = 4e-8 for one check, 4e-6 for a hundred

LINEAR = ((300, 700), "oi", 700, 300)
IO = ((300, 700), "io", 300, 700)
CONV = ((64, 32, 3, 5), "oi", 480, 960)
CONV_IO = ((3, 5, 32, 64), "io", 480, 960)
GROUPED = ((64, 8, 3, 5), Axes(1, 0, groups=4), 120, 240)
DEPTHWISE = ((64, 1, 7, 7), Axes(1, 0, groups=64), 49, 49)
TRANSPOSED = ((32, 64, 3, 5), Axes(0, 1), 480, 960)
TRANSPOSED_GROUPED = ((32, 16, 3, 5), Axes(0, 1, groups=4), 120, 240)
PACKED = ((3 * 96, 128), Axes(1, 0, splits=3), 128, 96)
EXPERTS = ((8, 64, 256), Axes(in_=1, out=2, batch=0), 64, 256)
HEADS = ((64, 4, 16), Axes(in_=0, out=(1, 2)), 64, 64)
EMBEDDING = ((5000, 48), Axes(in_=0, out=0), 48, 48)
SHAPES = [
    LINEAR,
    IO,
    CONV,
    CONV_IO,
    GROUPED,
    DEPTHWISE,
    TRANSPOSED,
    TRANSPOSED_GROUPED,
    PACKED,
    EXPERTS,
    HEADS,
    EMBEDDING,
]

# scheme, and its (mean, std, low, high) from fan_in and fan_out
INF = math.inf
CUT = stats.truncnorm(-2, 2).std()
SIDED = stats.truncnorm(-0.5, 3)


def bounded(b):
    return 0.0, b / math.sqrt(3), -b, b


RECORDS = [
    (winit.zeros(), lambda i, o: (0.0, 0.0, 0.0, 0.0)),
    (winit.ones(), lambda i, o: (1.0, 0.0, 1.0, 1.0)),
    (winit.constant(-0.25), lambda i, o: (-0.25, 0.0, -0.25, -0.25)),
    (winit.uniform(-1, 3), lambda i, o: (1.0, 4 / math.sqrt(12), -1.0, 3.0)),
    (winit.normal(0.5, 0.1), lambda i, o: (0.5, 0.1, -INF, INF)),
    (winit.truncated_normal(1.0, 2.0), lambda i, o: (1.0, 2 * CUT, -3.0, 5.0)),
    (winit.truncated_normal(0.0, 2.0, -0.5, 3.0), lambda i, o: (2 * SIDED.mean(), 2 * SIDED.std(), -1.0, 6.0)),
    (winit.variance_scaling(), lambda i, o: (0.0, i**-0.5, -INF, INF)),
    (winit.variance_scaling(3.0, "fan_out"), lambda i, o: (0.0, (3 / o) ** 0.5, -INF, INF)),
    (winit.variance_scaling(2.0, "fan_avg", "uniform"), lambda i, o: bounded((12 / (i + o)) ** 0.5)),
    (
        winit.variance_scaling(1.0, "fan_geo_avg", "truncated_normal"),
        lambda i, o: (0.0, (i * o) ** -0.25, -2 * (i * o) ** -0.25 / CUT, 2 * (i * o) ** -0.25 / CUT),
    ),
    (winit.xavier_uniform(), lambda i, o: bounded((6 / (i + o)) ** 0.5)),
    (winit.xavier_uniform(5 / 3), lambda i, o: bounded(5 / 3 * (6 / (i + o)) ** 0.5)),
    (winit.xavier_normal(2.0), lambda i, o: (0.0, 2 * (2 / (i + o)) ** 0.5, -INF, INF)),
    (winit.he_uniform(), lambda i, o: bounded((6 / i) ** 0.5)),
    (winit.he_uniform(math.sqrt(5)), lambda i, o: bounded(i**-0.5)),
    (winit.he_normal(mode="fan_out", nonlinearity="relu"), lambda i, o: (0.0, (2 / o) ** 0.5, -INF, INF)),
    (winit.he_normal(nonlinearity="tanh"), lambda i, o: (0.0, 5 / 3 * i**-0.5, -INF, INF)),
    (winit.lecun_uniform(), lambda i, o: bounded((3 / i) ** 0.5)),
    (winit.lecun_normal(), lambda i, o: (0.0, i**-0.5, -INF, INF)),
]


@pytest.mark.parametrize(("shape", "layout", "fan_in", "fan_out"), SHAPES)
def test_fans(shape, layout, fan_in, fan_out):
    assert winit.fans(shape, layout) == winit.fans(list(shape), layout) == (fan_in, fan_out)
    assert winit.fans(np.array(shape), layout) == (fan_in, fan_out)


@pytest.mark.parametrize(("shape", "layout", "fan_in", "fan_out"), SHAPES)
@pytest.mark.parametrize(("scheme", "expected"), RECORDS, ids=[repr(record[0]) for record in RECORDS])
def test_moments_in_closed_form(scheme, expected, shape, layout, fan_in, fan_out):
    assert scheme.moments(shape, layout) == pytest.approx(expected(fan_in, fan_out), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("scheme", "expected"), RECORDS, ids=[repr(record[0]) for record in RECORDS])
@pytest.mark.parametrize(("shape", "layout", "fan_in", "fan_out"), [LINEAR, CONV_IO, GROUPED, EXPERTS])
def test_samples_have_the_moments(scheme, expected, shape, layout, fan_in, fan_out):
    mean, std, low, high = expected(fan_in, fan_out)
    # The whole tensor is too small for a tight check of most shapes: the law of the shape, over N elements more.
    law = scheme.law(shape, layout)
    flat = {
        "Constant": winit.constant,
        "Uniform": winit.uniform,
        "Normal": winit.normal,
        "TruncatedNormal": winit.truncated_normal,
    }
    same = flat[type(law).__name__](*law._values())
    whole = winit.draw(scheme, shape, seed=1, name="w", layout=layout, dtype="float64")
    assert (whole.ravel() == winit.draw(same, whole.size, seed=1, name="w", dtype="float64")).all()
    x = winit.draw(same, N, seed=2, name="w", dtype="float64")
    assert x.min() >= low - 1e-12 and x.max() <= high + 1e-12
    assert abs(x.mean() - mean) <= Z * std / math.sqrt(N) + 1e-15
    assert abs(x.std() - std) <= Z * std * math.sqrt(2 / N) + 1e-15  # 2: the normal's, the largest of these


@pytest.mark.parametrize(
    ("low", "high"), [(1, 1.0001), (1, 1.00001), (1, 1 + 1e-6), (-1e-6, 1e-6), (50, 60), (-36, -35), (-1e-17, 1e-17)]
)
def test_moments_of_narrow_and_far_cuts(low, high):
    with mpmath.workdps(120):
        a, b = mpmath.mpf(low), mpmath.mpf(high)
        mass = mpmath.ncdf(b) - mpmath.ncdf(a) if a < 0 else mpmath.ncdf(-a) - mpmath.ncdf(-b)
        shift = (mpmath.npdf(a) - mpmath.npdf(b)) / mass
        std = mpmath.sqrt(1 + (a * mpmath.npdf(a) - b * mpmath.npdf(b)) / mass - shift**2)
        expected = float(shift), float(std)
    got = winit.truncated_normal(low=low, high=high).moments()
    assert got[:2] == pytest.approx(expected, rel=1e-9, abs=1e-30)


def test_narrow_cuts_are_drawn():
    for dtype in ("float32", "float64"):
        x = winit.draw(winit.truncated_normal(low=-1e-17, high=1e-17), 1000, seed=0, dtype=dtype)
        assert (np.abs(x) <= x.dtype.type(1e-17)).all()


def test_special_cases_are_members_of_the_family():
    for shape, layout, _, _ in SHAPES:
        for special_case, general in [
            (winit.he_normal(), winit.variance_scaling(2.0)),
            (winit.he_uniform(mode="fan_out"), winit.variance_scaling(2.0, "fan_out", "uniform")),
            (winit.xavier_normal(), winit.variance_scaling(1.0, "fan_avg")),
            (winit.xavier_uniform(), winit.variance_scaling(1.0, "fan_avg", "uniform")),
            (winit.lecun_normal(), winit.variance_scaling(1.0)),
            (winit.lecun_uniform(), winit.variance_scaling(1.0, "fan_in", "uniform")),
        ]:
            assert special_case.moments(shape, layout) == pytest.approx(general.moments(shape, layout), rel=1e-14)


def test_aliases_are_the_same_objects():
    assert winit.glorot_uniform is winit.xavier_uniform
    assert winit.glorot_normal is winit.xavier_normal
    assert winit.kaiming_uniform is winit.he_uniform
    assert winit.kaiming_normal is winit.he_normal


def test_torch_gives_the_same_parameters():
    """The bounds and standard deviations of torch.nn.init, seen in its own samples' extremes and gains."""
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert winit.gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    assert winit.gain("leaky_relu", 0.2) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.2), rel=1e-15)
    torch.manual_seed(0)
    w = torch.empty(200, 50, 3, 3)
    for draw, scheme in [
        (torch.nn.init.xavier_uniform_, winit.xavier_uniform()),
        (lambda t: torch.nn.init.xavier_uniform_(t, gain=2.0), winit.xavier_uniform(2.0)),
        (lambda t: torch.nn.init.kaiming_uniform_(t, a=math.sqrt(5)), winit.he_uniform(math.sqrt(5))),
        (
            lambda t: torch.nn.init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
            winit.he_uniform(mode="fan_out", nonlinearity="relu"),
        ),
    ]:
        draw(w)
        moments = scheme.moments((200, 50, 3, 3))
        # 90,000 samples come within 2e-4 of the bound but for a chance of exp(-18); its float32 rounding is 6e-8.
        assert moments.high * (1 - 2e-4) < float(w.abs().max()) <= moments.high * (1 + 1e-7)


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("relu", lambda z: np.maximum(z, 0)),
        ("gelu", lambda z: z * special.ndtr(z)),
        ("gelu_tanh", lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))),
        ("silu", lambda z: z * special.expit(z)),
        ("elu", lambda z: np.where(z > 0, z, np.expm1(z))),
        ("mish", lambda z: z * np.tanh(np.logaddexp(0, z))),
        ("softplus", lambda z: np.logaddexp(0, z)),
    ],
)
def test_gains_keep_the_second_moment(name, f):
    def integrand(z):
        return f(z) ** 2 * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    second = sum(integrate.quad(integrand, *ends, epsabs=1e-13)[0] for ends in ((-30, 0), (0, 30)))
    assert winit.gain(name) == pytest.approx(second**-0.5, rel=1e-9)


def test_gain_of_parametrised_rows():
    alpha, negative = 0.7, 0.5 - 2 * math.exp(0.5) * special.ndtr(-1) + math.exp(2) * special.ndtr(-2)
    assert winit.gain("elu", alpha) == pytest.approx((0.5 + alpha**2 * negative) ** -0.5, rel=1e-13)
    assert winit.gain("leaky_relu") == winit.gain("leaky_relu", 0.01)


numbers = st.floats(-1e6, 1e6)
positive = st.floats(0, 1e6)
modes = st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
ordered = st.tuples(numbers, numbers).map(sorted).filter(lambda ends: ends[0] < ends[1])
any_scheme = st.one_of(
    st.sampled_from([winit.zeros(), winit.ones(), winit.lecun_normal(), winit.lecun_uniform()]),
    st.builds(winit.constant, st.one_of(numbers, st.integers(-(2**70), 2**70), st.booleans())),
    st.builds(lambda ends: winit.uniform(*ends), ordered),
    st.builds(winit.normal, numbers, positive),
    st.builds(lambda m, s, ends: winit.truncated_normal(m, s, *ends), numbers, positive, ordered),
    st.builds(winit.variance_scaling, positive, modes, st.sampled_from(["normal", "uniform", "truncated_normal"])),
    st.builds(winit.xavier_normal, positive),
    st.builds(winit.he_uniform, numbers, modes),
    st.builds(winit.he_normal, mode=modes, nonlinearity=st.sampled_from(["relu", "tanh", "silu"])),
    st.builds(winit.literal, st.lists(st.one_of(numbers), min_size=1, max_size=4)),
    st.builds(winit.literal, st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=4)),
)


@given(any_scheme, any_scheme)
def test_schemes_are_frozen_values(scheme, other):
    again = eval(repr(scheme), {name: getattr(winit, name) for name in schemes.named()})
    for copied in (again, pickle.loads(pickle.dumps(scheme)), copy.deepcopy(scheme)):
        assert copied == scheme and hash(copied) == hash(scheme) and type(copied) is type(scheme)
        assert repr(copied) == repr(scheme)
    assert (scheme == other) == (repr(scheme) == repr(other))
    for field in scheme._fields:
        with pytest.raises(AttributeError, match="frozen"):
            setattr(scheme, field, 1)


def test_reprs_are_short():
    assert repr(winit.he_normal()) == "he_normal()"
    assert repr(winit.normal(std=0.02)) == "normal(std=0.02)"
    assert repr(winit.truncated_normal(0, 1, -3, 3)) == "truncated_normal(low=-3.0, high=3.0)"
    assert repr(Axes(1, (0, 2), groups=2)) == "Axes(in_=1, out=(0, 2), groups=2)"


def test_calling_a_scheme_draws():
    got = winit.he_normal()((64, 32), seed=3, name="x", dtype="float64", threads=1)
    assert (got == winit.draw(winit.he_normal(), (64, 32), seed=3, name="x", dtype="float64")).all()


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int64", "uint64", "bool", "float32", "complex64", "float16", "bfloat16", "float8_e5m2"]
)
def test_constants_in_any_dtype(dtype):
    assert (winit.draw(winit.ones(), (3, 2), seed=0, dtype=dtype) == np.ones((3, 2))).all()
    out = winit.draw(winit.literal([[1, 0], [1, 1]]), (2, 2), seed=0, dtype=dtype)
    assert out.astype(complex).tolist() == [[1, 0], [1, 1]]
    part = winit.draw(winit.literal([[1, 0], [1, 1]]), (2, 2), seed=0, dtype=dtype, box=(slice(0, 1), slice(1, 2)))
    assert part.astype(complex).tolist() == [[0]]
    flat = winit.draw(winit.literal([[1, 0], [1, 1]]), (2, 2), seed=0, dtype=dtype, box=range(1, 3))
    assert flat.astype(complex).tolist() == [0, 1]


WRAPPED = [  # schemes around constants and literals, and what they are drawn as
    (winit.with_layout(winit.ones(), "io"), [[1, 1], [1, 1]]),
    (winit.with_layout(winit.zeros(), "oi"), [[0, 0], [0, 0]]),
    (winit.with_layout(winit.constant(1), Axes(0, 1)), [[1, 1], [1, 1]]),
    (winit.with_layout(winit.constant(True), Axes(1, 0, splits=(1, 1))), [[1, 1], [1, 1]]),
    (winit.with_layout(winit.with_layout(winit.ones(), "oi"), "io"), [[1, 1], [1, 1]]),
    (winit.with_layout(winit.literal([[1, 0], [1, 1]]), "io"), [[1, 0], [1, 1]]),
    (winit.with_layout(winit.literal([[True, False], [True, True]]), Axes(1, 0)), [[1, 0], [1, 1]]),
    (winit.presets.torch.ones_(), [[1, 1], [1, 1]]),
    (winit.presets.torch.constant_(1), [[1, 1], [1, 1]]),
    (winit.presets.jax.zeros(), [[0, 0], [0, 0]]),
    (winit.presets.keras.Ones(), [[1, 1], [1, 1]]),
    (winit.presets.keras.Constant(1.0), [[1, 1], [1, 1]]),
    (winit.methods.scaled(winit.ones(), 1.0, (2, 2)), [[1, 1], [1, 1]]),
    (winit.methods.scaled(winit.with_layout(winit.ones(), "io"), 1.0, (2, 2)), [[1, 1], [1, 1]]),
]


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool", "float32", "complex64", "bfloat16"])
@pytest.mark.parametrize(("scheme", "values"), WRAPPED, ids=[repr(scheme) for scheme, _ in WRAPPED])
def test_constants_in_wrappers_have_every_dtype(scheme, values, dtype, tmp_path):
    expected = np.array(values)
    for layout in ("oi", "io", Axes(1, 0, splits=(1, 1))):
        assert (winit.draw(scheme, (2, 2), seed=0, dtype=dtype, layout=layout).astype(complex) == expected).all()
    assert (
        winit.draw(scheme, (2, 2), seed=0, dtype=dtype, box=range(1, 3)).astype(complex) == expected.ravel()[1:3]
    ).all()
    plan = winit.Plan({"w": winit.Param((2, 2), scheme, dtype)})
    out = {"w": np.zeros((2, 2), winit.draw(scheme, (2, 2), seed=0, dtype=dtype).dtype)}
    plan.fill(out, seed=0)
    assert (out["w"].astype(complex) == expected).all()
    assert winit.Plan.from_toml(plan.to_toml()) == plan
    plan.write(tmp_path / "w.safetensors", seed=0)
    assert winit.checkpoint.verify(tmp_path / "w.safetensors", plan, seed=0).ok


def test_a_literal_in_a_wrapper_is_kept_in_no_cache():
    scheme = winit.with_layout(winit.with_layout(winit.literal(np.zeros((2, 3))), "io"), "oi")
    assert not scheme._small and winit.with_layout(winit.ones(), "io")._small
    with pytest.raises(ValueError, match=r"literal values have shape \(2, 3\), the tensor has \(3, 2\)"):
        winit.draw(scheme, (3, 2), seed=0)


def test_large_integers_are_exact():
    assert winit.draw(winit.constant(2**63 - 1), 2, seed=0, dtype="int64")[1] == 2**63 - 1
    assert winit.draw(winit.literal([2**64 - 1]), 1, seed=0, dtype="uint64")[0] == 2**64 - 1


def test_a_literal_makes_its_law_once():
    """The law holds a copy of the bytes, which is as large as the tensor: every bind of every span would make one."""
    scheme = winit.literal(np.arange(6.0).reshape(2, 3))
    for twin in (scheme, pickle.loads(pickle.dumps(scheme)), copy.copy(scheme), copy.deepcopy(scheme)):
        assert twin == scheme and twin.law((2, 3)) is twin.law((2, 3)) and twin.law((2, 3)) == scheme.law((2, 3))
        assert hash(twin.law((2, 3))) == hash(scheme.law((2, 3)))
    assert scheme.law((2, 3)) != winit.literal(np.arange(6.0).reshape(2, 3) + 1).law((2, 3))
