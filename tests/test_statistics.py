"""Are they the laws? 10^8 values each, fixed seeds. A correct sampler fails any one check with chance 1e-6 at most.

Kolmogorov-Smirnov on 2^16 equal bins of the probability transform: the distance at the bins' edges is at most the
distance everywhere, so the usual critical value sqrt(-ln(p / 2) / (2 n)) holds. Moments: z = 4.9 is p = 1e-6.
Chi-square: exact masses of every value that a half type has, those expected less than 10 times pooled.
"""

import math

import numpy as np
import pytest
from scipy.special import chdtri, ndtr, ndtri

import winit

pytestmark = pytest.mark.slow

N, PART = 100_000_000, 10_000_000
CRITICAL_KS = math.sqrt(-math.log(1e-6 / 2) / (2 * N))
Z = 4.9
CUT = winit.truncated_normal().moments()


def parts(law, dtype, seed=12345):
    for lo in range(0, N, PART):
        yield winit.draw(law, N, seed=seed, name="statistics", dtype=dtype, box=range(lo, lo + PART))


LAWS = {
    "uniform": (winit.uniform(-1, 3), lambda x: (x + 1) / 4),
    "normal": (winit.normal(1.0, 2.0), lambda x: ndtr((x - 1) / 2)),
    "truncated": (winit.truncated_normal(), lambda x: (ndtr(x) - ndtr(-2)) / (ndtr(2) - ndtr(-2))),
    "one-sided": (
        winit.truncated_normal(low=1.0, high=9.0),
        lambda x: 1 - (ndtr(-x) - ndtr(-9)) / (ndtr(-1) - ndtr(-9)),
    ),
}
# Standardised fourth moment and skewness of each, for the moments' own errors.
SKEW_KURTOSIS = {"uniform": (0.0, 1.8), "normal": (0.0, 3.0), "truncated": (0.0, 2.3653), "one-sided": None}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAWS)
def test_distribution_and_moments(name, dtype):
    law, transform = LAWS[name]
    moments = law.moments()
    bins = np.zeros(1 << 16, np.int64)
    powers = np.zeros(5)
    for x in parts(law, dtype):
        x = x.astype(np.float64)
        assert moments.low <= x.min() and x.max() <= moments.high and (name != "uniform" or x.max() < moments.high)
        u = transform(x)
        bins += np.bincount(np.minimum((u * 65536).astype(np.int64), 65535), minlength=65536)
        z = (x - moments.mean) / moments.std
        z2 = z * z
        powers += [z.size, z.sum(), z2.sum(), (z2 * z).sum(), (z2 * z2).sum()]
    assert bins.sum() == N
    distance = np.abs(np.cumsum(bins) / N - np.arange(1, 65537) / 65536).max()
    assert distance < CRITICAL_KS + 1e-7  # float32 values are rounded by 6e-8 of themselves
    mean, second, third, fourth = powers[1:] / N
    assert abs(mean) < Z / math.sqrt(N)
    assert abs(second - 1) < Z * math.sqrt((fourth - 1) / N)
    if SKEW_KURTOSIS[name] is not None:
        skew, kurtosis = SKEW_KURTOSIS[name]
        # Variances of the third and fourth powers of these laws are at most 15 and 96, the normal's.
        assert abs(third - skew) < Z * math.sqrt(15 / N)
        assert abs(fourth - kurtosis) < Z * math.sqrt(96 / N) + 1e-4 * (name == "truncated")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs_are_independent(dtype):
    """Both members of a Box-Muller pair, and neighbours across pairs: z's and squares' correlations."""
    n = 40_000_000
    z = winit.draw(winit.normal(), n, seed=3, name="pairs", dtype=dtype).astype(np.float64)
    for a, b in ((z[0::2], z[1::2]), (z[1:-1:2], z[2::2]), (z[0::4], z[2::4])):
        assert abs(np.mean(a * b)) * math.sqrt(a.size) < Z
        assert abs(np.mean((a * a - 1) * (b * b - 1))) / 2 * math.sqrt(a.size) < Z


def kind_of(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return np.float16 if dtype == "float16" else ml_dtypes.bfloat16


def half_values(dtype):
    """Every finite value of a half type in order, and the points half-way between neighbours."""
    largest = 0x7C00 if dtype == "float16" else 0x7F80
    positive = np.arange(largest, dtype=np.uint16).view(kind_of(dtype)).astype(np.float64)
    values = np.concatenate([-positive[:0:-1], positive])
    return values, (values[1:] + values[:-1]) / 2


def counts(law, dtype):
    """How often each finite value came, in the order of half_values."""
    total = np.zeros(1 << 16, np.int64)
    for x in parts(law, dtype, seed=777):
        total += np.bincount(x.view(np.uint16), minlength=1 << 16)
    largest = 0x7C00 if dtype == "float16" else 0x7F80
    assert total[largest:0x8000].sum() == 0 and total[0x8000 + largest :].sum() == 0  # no infinity, no NaN
    total[0] += total[0x8000]
    return np.concatenate([total[0x8001 : 0x8000 + largest][::-1], total[:largest]])


def chi_square(observed, mass, pool):
    """Compare counts with exact masses; values in `pool`, and those expected less than 10 times, count as one."""
    expected = mass * N
    alone = (expected >= 10) & ~pool
    o = np.append(observed[alone], observed[~alone].sum())
    e = np.append(expected[alone], expected[~alone].sum())
    if e[-1] < 10:
        o, e = o[:-1], e[:-1] * ((N - o[-1]) / e[:-1].sum())
    assert o.size > 1000
    assert ((o - e) ** 2 / e).sum() < chdtri(o.size - 1, 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_normal_mass_of_every_value(dtype):
    _, middles = half_values(dtype)
    edges = np.concatenate([[-np.inf], middles, [np.inf]])
    upper = np.where(edges > 0, ndtr(-np.abs(edges)), 0)
    lower = np.where(edges <= 0, ndtr(-np.abs(edges)), 0)
    mass = np.where(edges[1:] <= 0, lower[1:] - lower[:-1], upper[:-1] - upper[1:])
    straddle = (edges[:-1] < 0) & (edges[1:] > 0)
    mass[straddle] = 1 - lower[:-1][straddle] - upper[1:][straddle]
    chi_square(counts(winit.normal(), dtype), mass, np.zeros(mass.size, bool))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_truncated_mass_of_every_value(dtype):
    """The law has 2^24 equally likely values. Each, from SciPy's quantile, is rounded and counted.

    They are 1.4e-7 apart in the middle and the kernel's are off by up to 4e-7, so half-type values as close together
    as that cannot be told apart; those nearer to 0 than 2^-6 (float16) and 2^-10 (bfloat16) are pooled.
    """
    values, _ = half_values(dtype)
    n = np.arange(1 << 23) + 0.5
    z = ndtri(ndtr(-2) + n * 2.0**-24 * (ndtr(2) - ndtr(-2))).astype(np.float32).astype(kind_of(dtype)).astype(float)
    mass = np.bincount(np.searchsorted(values, np.concatenate([z, -z])), minlength=values.size) / 2**24
    observed = counts(winit.truncated_normal(), dtype)
    assert observed[np.abs(values) > 2].sum() == 0
    chi_square(observed, mass, np.abs(values) < (2**-6 if dtype == "float16" else 2**-10))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.5, 0.3)])
def test_half_uniform_mass_of_every_value(dtype, low, high):
    """The law has 2^24 equally likely values: round them all, move what reaches high down, and count."""
    values, _ = half_values(dtype)
    u = np.arange(1 << 24, dtype=np.float32) * np.float32(2.0**-24)
    first, last = np.float32(low), np.float32(high)
    wide = np.minimum(first + (last - first) * u, np.nextafter(last, np.float32(-1)))
    rounded = wide.astype(kind_of(dtype)).astype(np.float64)
    rounded = np.where(rounded >= float(last), values[values < float(last)].max(), rounded)
    mass = np.bincount(np.searchsorted(values, rounded), minlength=values.size) / 2**24
    observed = counts(winit.uniform(low, high), dtype)
    assert observed[mass == 0].sum() == 0
    chi_square(observed, mass, np.zeros(mass.size, bool))
