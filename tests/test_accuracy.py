"""How far the transforms are from the mathematics, at the edges and at 10^7 random words; half types exactly.

Oracles: NumPy's float64 for float32, long double for float64 (80 bits on x86-64, 113 on aarch64), SciPy's and mpmath's
quantile. None shares code with the kernels.
"""

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr, ndtri

import winit
from winit._core import exact, laws

LD = np.longdouble
PI = LD("3.14159265358979323846264338327950288")

needs_long_double = pytest.mark.skipif(np.finfo(LD).nmant < 63, reason="long double is no longer than double here")

EDGES32 = np.array(
    sorted(
        {
            edge + offset & 0xFFFFFFFF
            for power in range(33)
            for edge in (1 << power, 3 << power)
            for offset in range(-3, 4)
        }
        | {0xB504F333, 0xB504F334, 0xB504F335}
    ),
    np.uint32,
)
EDGES53 = np.array(
    sorted(
        {
            edge + offset & (1 << 53) - 1
            for power in range(54)
            for edge in (1 << power, 3 << power)
            for offset in range(-2, 3)
        }
    ),
    np.uint64,
)


def crossed(edges):
    a, b = np.meshgrid(edges, edges)
    return a.ravel(), b.ravel()


def spread(words, bits, rng):
    """Half of the words as they are, half shifted by random amounts, and half of those complemented: all magnitudes."""
    shift = rng.integers(0, bits, words.size).astype(words.dtype)
    top = words.dtype.type((1 << bits) - 1)
    kind = np.arange(words.size) % 4
    return np.where(kind < 2, words, np.where(kind == 2, words >> shift, (words >> shift) ^ top))


def normal_error(points, a, b, bits, wide):
    """Largest |z - exact| / r."""
    top = (1 << bits) - 1
    half, one = wide(0.5), wide(2.0) ** -bits
    upper = a >> a.dtype.type(bits - 1) == 1
    tail = np.log1p(-((a ^ a.dtype.type(top)).astype(wide) + half) * one)
    r = np.sqrt(-2 * np.where(upper, tail, np.log((a.astype(wide) + half) * one)))
    # The angle modulo a quarter turn, so that the oracle's own reduction adds no error.
    quarter = b.dtype.type(1 << (bits - 2))
    octant, rest = b // quarter, (b % quarter).astype(wide)
    t = 2 * (PI if wide is LD else np.pi) * rest * one
    c, s = np.cos(t), np.sin(t)
    cosine = np.choose(octant.astype(np.intp), (c, -s, -c, s))
    sine = np.choose(octant.astype(np.intp), (s, c, -s, -c))
    z0, z1 = points.normal_pair(a, b)
    worst = np.maximum(np.abs(z0 - r * cosine), np.abs(z1 - r * sine)) / r
    return float(worst.max()), z0, z1


def test_normal_float32(points):
    worst = normal_error(points, *crossed(EDGES32), 32, np.float64)[0]
    rng = np.random.default_rng(1)
    for _ in range(10):
        a, b = rng.integers(0, 1 << 32, (2, 1_000_000), dtype=np.uint32)
        worst = max(worst, normal_error(points, spread(a, 32, rng), b, 32, np.float64)[0])
    assert worst < 3.2e-7  # design: 4e-7


@needs_long_double
def test_normal_float64(points):
    worst = normal_error(points, *crossed(EDGES53[::2]), 53, LD)[0]
    rng = np.random.default_rng(2)
    for _ in range(10):
        a, b = rng.integers(0, 1 << 53, (2, 1_000_000), dtype=np.uint64)
        worst = max(worst, normal_error(points, spread(a, 53, rng), b, 53, LD)[0])
    assert worst < 8e-16  # design: 1e-15


def test_largest_normals(points):
    """a = 0 gives the largest radius, and with it the ranges that laws are refused by."""
    z = points.normal_pair(np.zeros(1, np.uint32), np.zeros(1, np.uint32))[0][0]
    assert 6.7 < z < 6.77
    z = points.normal_pair(np.zeros(1, np.uint64), np.zeros(1, np.uint64))[0][0]
    assert 8.65 < z < 8.66


CUTS = [(-2.0, 2.0), (-1.0, 3.0), (-10.0, 10.0), (0.0, 1e-3), (-5.0, -3.0), (4.0, 40.0), (-100.0, 0.25), (11.0, 12.0)]


def exact_t(n, bits, low, high, left):
    """Mass between the nearer infinity and the value of integer n, in long double from exact masses."""
    with mpmath.workdps(60):
        below, above = mpmath.ncdf(low), mpmath.ncdf(-high)
        mass = mpmath.ncdf(high) - below if high <= 0 else mpmath.ncdf(-low) - above if low >= 0 else 1 - below - above
        base, step = LD(mpmath.nstr(below if left else above, 30)), LD(mpmath.nstr(mass / 2**bits, 30))
    m = n if left else n.dtype.type((1 << bits) - 1) - n
    return base + (m.astype(LD) + LD(0.5)) * step


@pytest.mark.parametrize(("low", "high"), CUTS)
def test_truncated_float32_every_integer(points, low, high):
    """All 2^24 values of a law: their error, their order, their end-points, and on which side they are counted."""
    low, high = float(np.float32(low)), float(np.float32(high))
    params = laws.TruncatedNormal(0.0, 1.0, low, high).params("float32")
    threshold = int(params[7])
    n = np.arange(1 << 24, dtype=np.uint32)
    z = points.truncated(n, params)
    assert z.min() >= np.float32(low) and z.max() <= np.float32(high)
    for left, part in ((True, slice(0, threshold)), (False, slice(threshold, None))):
        if z[part].size:
            t = exact_t(n[part], 24, low, high, left).astype(np.float64)
            assert t.max() <= 0.5 + 2**-24
            exact = np.clip(ndtri(t) if left else -ndtri(t), low, high)
            assert (np.abs(z[part] - exact) / np.maximum(1, np.abs(exact))).max() < 7.2e-7  # design: 1e-6
    # Rounding may turn neighbours round at most by one unit in the last place of the largest value.
    assert np.diff(z.astype(np.float64)).min() >= -1e-6
    if (low, high) == (-2.0, 2.0):
        assert np.unique(z).size > 0.89 * (1 << 24)
        middle = 1 << 23
        assert (z[:middle] == -z[: middle - 1 : -1]).all()  # a symmetric law is symmetric to the bit


@pytest.mark.parametrize(("low", "high"), [*CUTS, (30.0, 35.0)])
def test_truncated_float64(points, low, high):
    params = laws.TruncatedNormal(0.0, 1.0, low, high).params("float64")
    threshold = int(params[7])
    rng = np.random.default_rng(3)
    n = np.concatenate([EDGES53, spread(rng.integers(0, 1 << 53, 3000, dtype=np.uint64), 53, rng)])
    z = points.truncated(n, params)
    assert z.min() >= low and z.max() <= high
    with mpmath.workdps(40):
        below, above = mpmath.ncdf(low), mpmath.ncdf(-high)
        mass = mpmath.ncdf(high) - below if high <= 0 else mpmath.ncdf(-low) - above if low >= 0 else 1 - below - above
        worst = 0.0
        for k, value in zip(n.tolist(), z.tolist(), strict=True):
            left = k < threshold
            m = k if left else (1 << 53) - 1 - k
            t = (below if left else above) + (m + mpmath.mpf("0.5")) * mass / 2**53
            x = -value if left else value
            # One Newton step from the kernel's value is exact to well below the bound.
            error = (t - mpmath.ncdf(-x)) / mpmath.npdf(x)
            if low < value < high:
                worst = max(worst, float(abs(error)) / max(1.0, abs(value)))
    assert worst < 2e-15  # design: 1e-14


def test_truncated_float64_at_ten_million(points):
    """A second oracle, wider: SciPy's quantile of 10^7 random integers."""
    params = laws.TruncatedNormal(0.0, 1.0, -10.0, 10.0).params("float64")
    rng = np.random.default_rng(4)
    for _ in range(10):
        n = spread(rng.integers(0, 1 << 53, 1_000_000, dtype=np.uint64), 53, rng)
        z = points.truncated(n, params)
        left = n < np.uint64(int(params[7]))
        t = exact_t(n, 53, -10.0, 10.0, True)
        t = np.where(left, t, exact_t(n, 53, -10.0, 10.0, False)).astype(np.float64)
        exact = np.where(left, 1, -1) * ndtri(t)
        assert (np.abs(z - exact) / np.maximum(1, np.abs(exact))).max() < 1e-14


def test_normal_cdf_and_exp_are_correctly_rounded():
    with mpmath.workdps(60):
        for x in [*np.linspace(-38, 38, 401), -1e-300, 0.0, 4.0, -4.0, 3.999999, 1e-8, -2.0]:
            assert exact.normal_cdf(float(x)) == float(mpmath.ncdf(float(x)))
            assert exact.exponential(float(x)) == float(mpmath.exp(float(x)))


# ---- end-points of the uniform law


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.00001), (-3.0, -2.5), (0.0, 1e-6), (100.0, 101.0), (-0.1, 0.1)]
)
def test_uniform_end_points(dtype, low, high):
    """The cap is the largest value below high, and every value from the smallest word to the largest is inside."""
    kind = np.dtype(dtype).type
    first, span, cap = laws.Uniform(low, high).params(dtype)
    assert first == kind(low) and span == kind(kind(high) - kind(low))
    assert cap < kind(high) <= np.nextafter(kind(cap), kind(np.inf))
    u = kind(2.0) ** -(24 if dtype == "float32" else 53) * np.array([0, 1, 2**23, 2**24 - 2, 2**24 - 1], kind)
    u = np.append(u, kind(1) - kind(2.0) ** -(24 if dtype == "float32" else 53))
    values = np.minimum(kind(first) + kind(span) * u, kind(cap))
    assert values.min() == kind(low) and values.max() < kind(high)
    x = winit.draw(winit.uniform(low, high), 300_000, seed=0, dtype=dtype)
    assert x.min() >= kind(low) and x.max() < kind(high)


def test_uniform_is_the_24_bit_integer():
    words = winit.words(3, "u", 0, 100_000)
    u = (words >> 8).astype(np.float64) / 2**24
    got = winit.draw(winit.uniform(), 100_000, seed=3, name="u")
    assert (got == u).all()
    wide = winit.words(3, "u", 0, 200_000).astype(object)
    k = [(int(high) << 32 | int(low)) >> 11 for low, high in zip(wide[::2], wide[1::2], strict=True)]
    got = winit.draw(winit.uniform(), 100_000, seed=3, name="u", dtype="float64")
    assert (got == np.array(k, np.float64) / 2**53).all()


# ---- half types


def test_half_rounding_is_exact(points):
    """Every float16 and bfloat16, every midpoint between two, and both neighbours of each, either sign."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = np.arange(0, 0x7F80, dtype=np.uint32)
    f16 = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    middles = ((f16[1:] + f16[:-1]) / 2).astype(np.float32)
    x = np.concatenate(
        [middles, f16.astype(np.float32), (bits << 16).view(np.float32), (bits << 16 | 0x8000).view(np.float32)]
    )
    x = np.concatenate([x, np.float32([65519.99, 65520, 1e30, 3.4e38])])
    x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])
    x = np.concatenate([x, -x, np.float32([np.inf, -np.inf])])
    half, brain, wide16, widebrain = points.halves(x)
    with np.errstate(over="ignore"):
        assert (half == x.astype(np.float16).view(np.uint16)).all()
    assert (brain == x.astype(ml_dtypes.bfloat16).view(np.uint16)).all()
    assert (wide16 == half.view(np.float16).astype(np.float32)).all()
    assert (widebrain == brain.view(ml_dtypes.bfloat16).astype(np.float32)).all()
    assert (
        np.isnan(points.halves(np.float32([np.nan]))[2]).all()
        and np.isnan(points.halves(np.float32([np.nan]))[3]).all()
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "law", [winit.normal(0.1, 2.0), winit.truncated_normal(0.0, 3.0), winit.constant(0.3)], ids=repr
)
def test_half_values_are_float32_values_rounded_once(law, dtype):
    wide = winit.draw(law, 200_001, seed=8)
    half = winit.draw(law, 200_001, seed=8, dtype=dtype)
    assert (half == wide.astype(half.dtype)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 0.3), (-0.3, -0.1), (0.0, 65.0), (-2.0, 0.0)])
def test_half_uniform_never_reaches_high(dtype, low, high):
    wide = winit.draw(winit.uniform(low, high), 2_000_001, seed=8)
    half = winit.draw(winit.uniform(low, high), 2_000_001, seed=8, dtype=dtype)
    rounded = wide.astype(half.dtype)
    reached = rounded.astype(np.float64) >= np.float32(high)
    assert (half[~reached] == rounded[~reached]).all()
    if reached.any():  # those become the largest value of the type below high
        every = np.arange(1 << 16, dtype=np.uint16).view(half.dtype)
        with np.errstate(invalid="ignore"):  # ml_dtypes flags signalling NaNs as it converts them
            every = every.astype(np.float64)
        assert (half[reached].astype(np.float64) == every[every < np.float32(high)].max()).all()


def test_moments_oracle_is_independent():
    """ndtr here and the decimal Φ there agree: a guard for the statistics, which use ndtr."""
    x = np.linspace(-8, 8, 101)
    assert np.allclose(ndtr(x), [exact.normal_cdf(float(v)) for v in x], rtol=1e-13, atol=0)
