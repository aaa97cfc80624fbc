"""Structured and scaled schemes against formulas and libraries that share no code with them; elementary functions."""

import math
import os

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import winit
from winit import Axes
from winit._core import laws, portable
from winit._core.exact import cosine_of_turns

F64 = {"seed": 12, "name": "structured", "dtype": "float64"}


def draw(scheme, shape, layout="oi"):
    return winit.draw(scheme, shape, layout=layout, **F64)


# ---- identities


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 7), (7, 3), (1, 5)])
def test_identity_is_torchs_eye(shape):
    torch = pytest.importorskip("torch")
    for dtype in ("float32", "float64"):
        theirs = torch.nn.init.eye_(torch.full(shape, 9.0, dtype=getattr(torch, dtype))).numpy()
        for layout in ("oi", "io"):
            ours = winit.draw(winit.identity(), shape, seed=0, dtype=dtype, layout=layout)
            assert ours.tobytes() == theirs.tobytes()
    assert (draw(winit.identity(-2.5), shape) == -2.5 * np.eye(*shape)).all()


def test_irnn():
    assert (draw(winit.irnn(), (6, 6)) == np.eye(6)).all()
    assert (draw(winit.irnn(0.01), (6, 6), "io") == 0.01 * np.eye(6)).all()


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 2, 4), (12, 7, 3, 2), (6, 6, 1, 5), (6, 5, 2, 3, 4), (6, 1, 1)])
def test_dirac_is_torchs(shape, groups):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.dirac_(torch.full(shape, 9.0), groups).numpy()
    assert winit.draw(winit.dirac(groups), shape, seed=0).tobytes() == theirs.tobytes()
    assert (draw(winit.dirac(groups, 0.7), shape) == 0.7 * theirs.astype(np.float64)).all()
    last = (*shape[2:], shape[1], shape[0])
    ours = winit.draw(winit.dirac(groups), last, seed=0, layout="io")
    assert (np.moveaxis(ours, (-1, -2), (0, 1)) == theirs).all()
    ours = winit.draw(winit.dirac(groups), (shape[1], shape[0], *shape[2:]), seed=0, layout=Axes(0, 1))
    assert (ours.swapaxes(0, 1) == theirs).all()


def zero(out, in_):
    """ZerO's matrix by its algorithm 1: partial identities on both sides of scipy's Hadamard matrix."""
    if out <= in_:
        return np.eye(out, in_)
    p = 1 << math.ceil(math.log2(out))
    return np.eye(out, p) @ (scipy.linalg.hadamard(p) / math.sqrt(p)) @ np.eye(p, in_)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 9), (9, 3), (8, 5), (16, 15), (17, 2), (33, 31), (1000, 700)])
def test_hadamard_is_zeros_algorithm(shape):
    assert np.abs(draw(winit.hadamard(), shape) - zero(*shape)).max() < 1e-16
    assert (draw(winit.hadamard(), shape[::-1], "io") == draw(winit.hadamard(), shape).T).all()


@pytest.mark.parametrize("shape", [(9, 4, 3), (4, 9, 4), (8, 8, 3, 5), (6, 2, 2, 3, 4)])
def test_hadamard_of_convolutions_is_at_the_centre(shape):
    w = draw(winit.hadamard(), shape)
    centre = (slice(None), slice(None), *(size // 2 for size in shape[2:]))
    assert np.abs(w[centre] - zero(*shape[:2])).max() < 1e-16
    w[centre] = 0
    assert not w.any()


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 10), (10, 3), (9, 2, 3), (4, 6, 3, 3), (20, 2, 2, 2, 2)])
def test_idinit_is_the_papers_formula(shape):
    """Unit i and input j, channels first, hold value where i and j are equal modulo the fewer of the two."""
    units, inputs = shape[0], math.prod(shape[1:])
    few = min(units, inputs)
    expected = (np.arange(units)[:, None] % few == np.arange(inputs) % few).astype(float)
    assert (draw(winit.idinit(), shape).reshape(units, inputs) == expected).all()
    assert (draw(winit.idinit(1e-6), shape).reshape(units, inputs) == 1e-6 * expected).all()
    last = (*shape[2:], shape[1], shape[0])
    ours = np.moveaxis(draw(winit.idinit(), last, "io"), (-1, -2), (0, 1))
    assert (ours.reshape(units, inputs) == expected).all()


# ---- looks linear


def relu(x):
    return np.maximum(x, 0)


def test_two_and_three_layers_look_linear():
    x = np.random.default_rng(0).standard_normal((50, 12))
    first = winit.draw(winit.looks_linear(1.5, "out"), (16, 12), seed=1, name="1", dtype="float64")
    middle = winit.draw(winit.looks_linear(2.0), (20, 16), seed=1, name="2", dtype="float64")
    last = winit.draw(winit.looks_linear(mirror="in"), (5, 16), seed=1, name="3", dtype="float64")
    two = relu(x @ first.T) @ last.T
    assert np.abs(two - x @ (last[:, :8] @ first[:8]).T).max() < 1e-13
    last = winit.draw(winit.looks_linear(mirror="in"), (5, 20), seed=1, name="3", dtype="float64")
    three = relu(relu(x @ first.T) @ middle.T) @ last.T
    linear = last[:, :10] @ middle[:10, :8] @ first[:8]
    assert np.abs(three - x @ linear.T).max() < 1e-13
    assert np.abs(linear).max() > 0.05  # not linear for being 0
    for w, gain in ((first[:8], 1.5), (middle[:10, :8], 2.0), (last[:, :10], 1.0)):
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        assert np.abs(gram - gain**2 * np.eye(len(gram))).max() < 1e-13


@pytest.mark.parametrize("mirror", ["both", "out", "in"])
def test_looks_linear_convolutions(mirror):
    matrix = draw(winit.looks_linear(mirror=mirror), (8, 6))
    for layout, shape, back in (
        ("oi", (8, 6, 4, 3), lambda w: w),
        ("io", (4, 3, 6, 8), lambda w: w.transpose(3, 2, 0, 1)),
        (Axes(0, 1), (6, 8, 4, 3), lambda w: w.swapaxes(0, 1)),
    ):
        w = back(draw(winit.looks_linear(mirror=mirror), shape, layout)).copy()
        assert (w[:, :, 2, 1] == matrix).all()
        w[:, :, 2, 1] = 0
        assert not w.any()


# ---- spectra


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("scaling", ["density", "spectrum", None])
@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", None])
@pytest.mark.parametrize("side", ["real", "imag"])
def test_stft_is_kerass(side, window, scaling, periodic):
    keras = keras_with_jax()
    theirs = keras.initializers.STFTInitializer(side, window, scaling, periodic)((10, 1, 7), dtype="float32")
    ours = winit.draw(winit.stft(side, window, scaling, periodic), (10, 1, 7), seed=0, layout="io")
    assert np.abs(ours - np.asarray(theirs)).max() < 5e-6  # theirs takes cosines of float32 angles up to 54 radians


def keras_with_jax():
    os.environ["KERAS_BACKEND"] = "jax"
    pytest.importorskip("jax")
    return pytest.importorskip("keras")


@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", "boxcar", (0.5, -1.0, 2.0, 0.25, 3.0)])
@pytest.mark.parametrize("length", [5])
def test_stft_windows_are_scipys(window, length):
    for periodic in (False, True):
        named = isinstance(window, str)
        w = scipy.signal.get_window(window, length, fftbins=periodic) if named else np.array(window)
        for scaling, scale in (("density", math.sqrt((w * w).sum())), ("spectrum", np.abs(w).sum()), (None, 1.0)):
            for side, wave in (("real", np.cos), ("imag", lambda x: -np.sin(x))):
                t, f = np.arange(length), np.arange(9)[:, None]
                expected = w * wave(2 * np.pi * t * f / 16) / scale
                ours = draw(winit.stft(side, window, scaling, periodic), (9, 1, length))[:, 0]
                assert np.abs(ours - expected).max() < 4e-15


def test_stft_of_one_sample_and_of_a_transform():
    assert draw(winit.stft(), (3, 1, 1)).ravel().tolist() == [1.0] * 3
    x = np.random.default_rng(1).standard_normal(12)
    real, imag = (draw(winit.stft(side, None), (7, 1, 12))[:, 0] @ x for side in ("real", "imag"))
    assert np.abs(real + 1j * imag - np.fft.rfft(x)).max() < 1e-13


# ---- gates and state spaces


def test_gates_of_an_lstm():
    assert draw(winit.lstm_bias(0.75), 12).tolist() == [0.0] * 3 + [0.75] * 3 + [0.0] * 6
    keras = keras_with_jax()
    layer = keras.layers.LSTM(5)  # unit_forget_bias is its default
    layer.build((None, None, 3))
    assert (np.asarray(layer.cell.bias) == winit.draw(winit.lstm_bias(), 20, seed=0)).all()


def test_chrono_bias_is_the_papers():
    """b_f ~ log U(1, T - 1), b_i = -b_f, from the uniform numbers of the same stream."""
    for steps in (3, 50, 784):
        b = draw(winit.chrono_bias(steps), 400)
        u = winit.draw(winit.uniform(), 100, **F64)
        assert np.allclose(b[100:200], np.log(1 + (steps - 2) * u), rtol=1e-14, atol=0)
        assert (b[:100] == -b[100:200]).all() and not b[200:].any()
        single = winit.draw(winit.chrono_bias(steps), 400, seed=12, name="structured")
        u = winit.draw(winit.uniform(), 100, seed=12, name="structured").astype(np.float64)
        assert (single[100:200] == np.log(1 + (steps - 2) * u).astype(np.float32)).all()


def test_mamba_a_log_is_transformerss():
    torch = pytest.importorskip("torch")
    for state, inner in ((16, 3), (5, 1), (1, 4)):
        theirs = torch.log(torch.arange(1, state + 1, dtype=torch.float64))[None, :].expand(inner, -1).numpy()
        assert np.allclose(draw(winit.mamba_a_log(), (inner, state)), theirs, rtol=3e-16, atol=0)
    assert (draw(winit.mamba_a_log(), (2, 3, 4)) == draw(winit.mamba_a_log(), 4)).all()


@pytest.mark.parametrize(
    ("low", "high", "floor"), [(0.001, 0.1, 1e-4), (0.001, 0.1, 0.01), (0.5, 20.0, 0.0), (1e-9, 600, 0)]
)
def test_mamba_dt_bias_is_transformerss(low, high, floor):
    torch = pytest.importorskip("torch")
    u = torch.from_numpy(winit.draw(winit.uniform(), 5000, **F64))
    # transformers.models.mamba, MambaPreTrainedModel._init_weights
    dt = torch.exp(u * (math.log(high) - math.log(low)) + math.log(low)).clamp(min=floor)
    theirs = (dt + torch.log(-torch.expm1(-dt))).numpy()
    ours = draw(winit.mamba_dt_bias(low, high, floor), 5000)
    assert np.allclose(ours, theirs, rtol=1e-13, atol=1e-14)
    steps = np.logaddexp(0, ours)
    assert max(low, floor) * (1 - 1e-9) <= steps.min() and steps.max() <= max(high, floor) * (1 + 1e-9)


# ---- scales


def test_depth_and_width_by_hand():
    std = {
        winit.gpt2_residual(12): 0.02 / math.sqrt(24),
        winit.gpt2_residual(48, 0.01): 0.01 / math.sqrt(96),
        winit.depth_scaled(0): 0.02 / math.sqrt(2),
        winit.depth_scaled(5, 0.1): 0.1 / math.sqrt(12),
        winit.small_init(): math.sqrt(2 / (5 * 700)),
        winit.small_init(1024): math.sqrt(2 / 5120),
        winit.wang_init(20): 2 / (20 * math.sqrt(700)),
        winit.wang_init(20, 1024): 2 / (20 * 32),
    }
    for scheme, expected in std.items():
        law = scheme.law((300, 700))
        assert type(law) is laws.Normal and law.mean == 0 and law.std == pytest.approx(expected, rel=1e-15)
    assert winit.depth_scaled(1, 0.04, cut=3).law(()) == laws.TruncatedNormal(0.0, 0.02, -3.0, 3.0)
    assert winit.small_init().law((700, 300), "io").std == pytest.approx(math.sqrt(2 / 3500), rel=1e-15)
    # Xavier's law of a matrix of d x 4 d, which small_init is
    assert winit.small_init(512).law(()).std == winit.xavier_normal().law((2048, 512)).std


def test_siren_bounds():
    for shape, layout, fan in (((64, 3), "oi", 3), ((5, 64), "io", 5), ((8, 4, 3, 3), "oi", 36)):
        assert winit.siren(first=True).law(shape, layout) == laws.Uniform(-1 / fan, 1 / fan)
        bound = math.sqrt(6 / fan) / 12.5
        assert winit.siren(12.5).law(shape, layout) == laws.Uniform(-bound, bound)
    # The point of it: arcsine-distributed inputs of variance 1/2 give arguments of variance 1 after w0.
    w = draw(winit.siren(), (2000, 256))
    x = np.sin(np.random.default_rng(0).uniform(-np.pi, np.pi, (200, 256)))
    assert np.var(30 * x @ w.T) == pytest.approx(1, abs=0.02)  # 200 rows of 256: about 0.5% of spread


def test_embedding_tables():
    plain = winit.draw(winit.normal(std=0.5), (30, 8), seed=3)
    for padding in (0, 7, 29, -1, -30):
        table = winit.draw(winit.embedding(0.5, padding), (30, 8), seed=3)
        assert not table[padding].any()
        assert (np.delete(table, padding, axis=0) == np.delete(plain, padding, axis=0)).all()
        out = np.full((30, 8), 2, np.float32)
        winit.add(out, winit.embedding(0.5, padding), seed=3, scale=2)
        assert (out == 2 + 2 * table).all()
    assert (winit.draw(winit.embedding(0.5), (30, 8), seed=3) == plain).all()
    moments = winit.embedding(0.5, 3).moments((30, 8))
    assert moments.std == pytest.approx(0.5 * math.sqrt(29 / 30), rel=1e-12) and moments.mean == 0


def test_dropouts_share():
    """The variance is keep's share; a layer behind dropout then keeps its output's variance, n = 400 x 300 outputs."""
    for distribution in ("normal", "uniform", "truncated_normal"):
        plain = winit.variance_scaling(2.0, "fan_in", distribution)
        kept = winit.variance_scaling(2.0, "fan_in", distribution, keep=0.6)
        assert kept.moments((30, 50)).std == pytest.approx(math.sqrt(0.6) * plain.moments((30, 50)).std, rel=1e-14)
        assert kept == eval(repr(kept), {"variance_scaling": winit.variance_scaling})
    generator = np.random.default_rng(0)
    x = generator.standard_normal((400, 1000))
    dropped = x * (generator.random(x.shape) < 0.6) / 0.6
    y = dropped @ draw(winit.variance_scaling(keep=0.6), (300, 1000)).T
    assert y.var() == pytest.approx(1, abs=0.03)


# ---- elementary functions


def ulps(got, exact):
    """The largest error in units of the last place of the exact values."""
    worst = 0.0
    for value, true in zip(got.tolist(), exact, strict=True):
        if true == 0:
            assert value == 0
        else:
            worst = max(worst, float(abs(mpmath.mpf(value) - true) / math.ulp(float(true))))
    return worst


def test_log():
    generator = np.random.default_rng(0)
    near = 1 + generator.uniform(-1e-3, 1e-3, 500)
    x = np.concatenate([generator.uniform(0.4, 3, 2000), np.exp(generator.uniform(-700, 700, 2000)), near])
    edges = [2.0**-1022, math.sqrt(0.5), math.nextafter(math.sqrt(0.5), 0), 1 - 2.0**-53, 1 + 2.0**-52, 1.7e308, 1.0]
    x = np.concatenate([x, edges, np.arange(1, 300.0)])
    with mpmath.workdps(40):
        assert ulps(portable.log_array(x), [mpmath.log(mpmath.mpf(v)) for v in x.tolist()]) < 2


def test_exp():
    x = np.concatenate([np.random.default_rng(1).uniform(-699, 699, 3000), np.linspace(-1, 1, 2001), [1e-300, -699.9]])
    with mpmath.workdps(40):
        assert ulps(portable.exp_array(x), [mpmath.exp(mpmath.mpf(v)) for v in x.tolist()]) < 2


def test_log_of_expm1():
    """Errors in units of the larger of the result and the argument's own logarithm: at ln 2 the result is 0."""
    x = np.concatenate([np.exp(np.random.default_rng(2).uniform(-690, 6.5, 3000)), np.linspace(0.3, 0.4, 200), [699.0]])
    got = portable.log_of_expm1(x)
    with mpmath.workdps(40):
        for value, given in zip(got.tolist(), x.tolist(), strict=True):
            true = mpmath.log(mpmath.expm1(mpmath.mpf(given)))
            assert abs(value - true) < 3 * math.ulp(max(abs(float(true)), given, abs(math.log(given))))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 12, 16, 60, 97, 1000])
def test_cosines_are_correctly_rounded(count):
    with mpmath.workdps(60):
        exact = [
            float(mpmath.cos(2 * mpmath.pi * i / count)) if 4 * i % count or i * 4 // count % 2 == 0 else 0.0
            for i in range(count)
        ]
    got = portable.cosines(count)
    assert got.tolist() == exact
    assert not got.flags.writeable
    for part in (-3, count + 5):
        assert cosine_of_turns(part, count) == got[part % count]


# ---- errors


CASES = [
    (lambda: winit.identity("1"), TypeError, "^gain must be a number, not '1'$"),
    (lambda: winit.irnn(math.inf), ValueError, "^scale must be finite, not inf$"),
    (lambda: winit.dirac(0), ValueError, "^groups must be at least 1, not 0$"),
    (lambda: winit.dirac(1.0), TypeError, "^groups must be an integer, not float$"),
    (lambda: winit.dirac(True), TypeError, "^groups must be an integer, not bool$"),
    (lambda: winit.dirac(1, None), TypeError, "^gain must be a number, not None$"),
    (lambda: winit.hadamard(1), TypeError, "positional argument"),
    (lambda: winit.idinit(math.nan), ValueError, "^value must be finite, not nan$"),
    (lambda: winit.looks_linear(mirror="up"), ValueError, "^mirror must be one of 'both', 'out', 'in', not 'up'$"),
    (lambda: winit.looks_linear(mirror=None), TypeError, "^mirror must be a str, not NoneType$"),
    (lambda: winit.stft("left"), ValueError, "^side must be 'real' or 'imag', not 'left'$"),
    (
        lambda: winit.stft(window="kaiser"),
        ValueError,
        "^window must be one of 'hann', .*, numbers or None, not 'kaiser'$",
    ),
    (lambda: winit.stft(window=3), TypeError, "^window must be one of 'hann', .*, numbers or None, not 3$"),
    (lambda: winit.stft(window=[1.0, "a"]), TypeError, "^window must be a number, not 'a'$"),
    (lambda: winit.stft(window=[1.0, math.inf]), ValueError, "^window must be finite, not inf$"),
    (lambda: winit.stft(scaling="power"), ValueError, "^scaling must be 'density', 'spectrum' or None, not 'power'$"),
    (lambda: winit.stft(periodic=1), TypeError, "^periodic must be a bool, not 1$"),
    (lambda: winit.lstm_bias("1"), TypeError, "^forget must be a number, not '1'$"),
    (lambda: winit.chrono_bias(2), ValueError, "^max_steps must be at least 3, not 2$"),
    (lambda: winit.chrono_bias(9.5), TypeError, "^max_steps must be an integer, not float$"),
    (lambda: winit.mamba_a_log(3), TypeError, "positional argument"),
    (lambda: winit.mamba_dt_bias(0), ValueError, "^low must be positive, not 0.0$"),
    (lambda: winit.mamba_dt_bias(0.1, 0.1), ValueError, "^low must be less than high, not 0.1 and 0.1$"),
    (
        lambda: winit.mamba_dt_bias(0.1, 700),
        ValueError,
        "^step sizes must be between 1e-300 and 700, not low=0.1, high=700.0",
    ),
    (lambda: winit.mamba_dt_bias(floor=-1), ValueError, "^step sizes must be .*floor=-1.0$"),
    (lambda: winit.gpt2_residual(0), ValueError, "^layers must be at least 1, not 0$"),
    (lambda: winit.gpt2_residual(1.5), TypeError, "^layers must be an integer, not float$"),
    (lambda: winit.gpt2_residual(2, -1), ValueError, "^std must not be negative, not -1.0$"),
    (lambda: winit.depth_scaled(-1), ValueError, "^layer must not be negative, not -1$"),
    (lambda: winit.depth_scaled(1, cut=0), ValueError, "^cut must be positive, not 0.0$"),
    (lambda: winit.depth_scaled(1, std=math.nan), ValueError, "^std must be finite, not nan$"),
    (lambda: winit.small_init(0), ValueError, "^dim must be at least 1, not 0$"),
    (lambda: winit.small_init("8"), TypeError, "^dim must be an integer, not str$"),
    (lambda: winit.wang_init(0), ValueError, "^layers must be at least 1, not 0$"),
    (lambda: winit.wang_init(1, 2.5), TypeError, "^dim must be an integer, not float$"),
    (lambda: winit.siren(0), ValueError, "^w0 must be positive, not 0.0$"),
    (lambda: winit.siren(first=1), TypeError, "^first must be True or False, not 1$"),
    (lambda: winit.embedding(-1), ValueError, "^std must not be negative, not -1.0$"),
    (lambda: winit.embedding(padding=1.0), TypeError, "^padding must be an integer or None, not float$"),
    (lambda: winit.embedding(padding=True), TypeError, "^padding must be an integer or None, not bool$"),
    (lambda: winit.variance_scaling(keep=0), ValueError, "^keep must be above 0 and at most 1, not 0.0$"),
    (lambda: winit.variance_scaling(keep=1.01), ValueError, "^keep must be above 0 and at most 1, not 1.01$"),
    (lambda: winit.variance_scaling(1, "fan_in", "normal", 0.5), TypeError, "positional"),
]


@pytest.mark.parametrize(("make", "error", "match"), CASES)
def test_parameters(make, error, match):
    with pytest.raises(error, match=match):
        make()


GROUPS = Axes(1, 0, groups=2)


@pytest.mark.parametrize(
    ("scheme", "shape", "layout", "match"),
    [
        (
            winit.identity(),
            (4, 5, 3),
            "oi",
            r"identity fills matrices \(out, in\), not shape \(4, 5, 3\) in layout 'oi'",
        ),
        (winit.identity(), (5,), "oi", "needs a shape of at least two axes"),
        (winit.identity(), (5, 5), Axes(0, 0), "identity fills matrices"),
        (winit.irnn(), (4, 5), "oi", r"irnn fills square matrices, not shape \(4, 5\)"),
        (winit.dirac(), (4, 5), "oi", r"dirac fills convolution kernels of 3 to 5 axes, not shape \(4, 5\)"),
        (winit.dirac(3), (4, 5, 3), "oi", r"groups=3 does not divide the 4 channels along out \(\(4, 5, 3\)\)"),
        (winit.dirac(), (4, 5, 3), GROUPS, "dirac needs one in and one out axis, no groups and no batch, not Axes"),
        (winit.hadamard(), (4,), "oi", "needs a shape of at least two axes"),
        (winit.hadamard(), (4, 5, 3), GROUPS, "hadamard needs one in and one out axis, no groups"),
        (winit.idinit(), (4, 5, 3), Axes(1, 2, batch=0), "idinit needs one out and one in axis and no batch, not Axes"),
        (winit.looks_linear(), (5, 4), "oi", r"needs an even number of channels out, not 5 \(\(5, 4\)\)"),
        (winit.looks_linear(), (4, 5), "oi", "needs an even number of channels in, not 5"),
        (
            winit.looks_linear(mirror="in"),
            (4, 5),
            "oi",
            r"looks_linear\(mirror='in'\) needs an even number of channels in",
        ),
        (winit.stft(), (5, 2, 4), "oi", r"stft fills kernels of one channel in and one spatial axis, not \(5, 2, 4\)"),
        (winit.stft(), (5, 1, 4, 4), "oi", "stft fills kernels of one channel in and one spatial axis"),
        (winit.stft(), (1, 1, 4), "oi", "stft needs at least 2 channels out, .* not 1"),
        (winit.stft(window=[1, 2]), (5, 1, 4), "oi", "the window has 2 numbers, the kernel 4"),
        (winit.stft(window=[0, 0]), (5, 1, 2), "oi", "the window of 2 numbers is 0 everywhere, and cannot be scaled"),
        (
            winit.lstm_bias(),
            (6,),
            "oi",
            r"lstm_bias fills the bias of an LSTM's four gates, \(4 units,\), not shape \(6,\)",
        ),
        (winit.lstm_bias(), (4, 4), "oi", "four gates"),
        (winit.chrono_bias(9), (5,), "oi", "chrono_bias fills the bias of an LSTM's four gates"),
        (winit.mamba_a_log(), (), "oi", "mamba_a_log needs an axis to count along, not a scalar"),
        (winit.small_init(), (5,), "oi", "needs a shape of at least two axes"),
        (winit.wang_init(3), (5,), "oi", "needs a shape of at least two axes"),
        (winit.siren(), (5,), "oi", "needs a shape of at least two axes"),
        (winit.embedding(padding=5), (5, 3), "oi", r"padding token 5 is outside a table of 5 rows \(shape \(5, 3\)\)"),
        (winit.embedding(padding=-6), (5, 3), "oi", "padding token -6 is outside a table of 5 rows"),
        (winit.embedding(padding=0), (), "oi", "padding token 0 is outside a table of 0 rows"),
        (winit.identity(4e38), (4, 4), "oi", r"identity\(gain=4e\+38\) reaches 4e\+38, beyond the range of float32"),
        (winit.embedding(1e38), (4, 4), "oi", "beyond the range of float32"),
    ],
)
def test_tensors_that_do_not_fit(scheme, shape, layout, match):
    out = np.full(shape, 7, np.float32)
    for function in (winit.fill, winit.add):
        with pytest.raises(ValueError, match=match):
            function(out, scheme, seed=0, layout=layout)
        assert (out == 7).all()
    with pytest.raises(ValueError, match=match):
        winit.draw(scheme, shape, seed=0, layout=layout)


def test_integers_are_not_drawn():
    for scheme in (winit.identity(), winit.sparse(1), winit.orthogonal(), winit.embedding(), winit.siren()):
        with pytest.raises(TypeError, match=r"draws floating-point values, so dtype must be one of float32"):
            winit.draw(scheme, (4, 4), seed=0, dtype="int32")


def test_empty_tensors():
    for scheme in (winit.identity(), winit.hadamard(), winit.idinit(), winit.looks_linear(), winit.orthogonal()):
        for shape in ((0, 4), (4, 0), (0, 0)):
            assert winit.draw(scheme, shape, seed=0).shape == shape
            assert all(math.isfinite(value) for value in scheme.moments(shape))
    for scheme in (winit.dirac(), winit.delta_orthogonal(), winit.hadamard(), winit.looks_linear()):
        for shape in ((4, 0, 3), (4, 4, 0)):
            assert winit.draw(scheme, shape, seed=0).shape == shape
    assert winit.draw(winit.lstm_bias(), 0, seed=0).shape == winit.draw(winit.chrono_bias(9), 0, seed=0).shape == (0,)
    assert winit.draw(winit.mamba_a_log(), (3, 0), seed=0).shape == (3, 0)
