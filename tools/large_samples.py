"""Compare 10^10 values of each law with its distribution: chi-square over bins, and Kolmogorov-Smirnov at their edges.

    python tools/large_samples.py [--count 1e10] [--law normal64] [--threads 2]

Values are drawn in blocks and counted, never kept. Bins are so wide that the law's own grid of numbers moves no edge by
more than a hundredth of a count's standard deviation: 65,536 in float64, and in float32 of the uniform law, whose grid
the bins divide evenly. The Kolmogorov-Smirnov distance at 65,537 places is at most the one at all.
"""

import argparse
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from scipy import special, stats

import winit

BLOCK, BINS, REACH = 1 << 20, 1 << 16, 6.0


@njit(nogil=True)
def count_into(values, low, scale, counts):
    for i in range(values.size):
        place = int((values[i] - low) * scale)
        counts[min(max(place, 0), counts.size - 1)] += 1


@njit(nogil=True)
def count_bytes(words, counts):
    for i in range(words.size):
        for byte in range(4):
            counts[byte, (words[i] >> (8 * byte)) & 255] += 1


def edges(low, high):
    return low + (high - low) * np.arange(BINS + 1) / BINS


def normal_masses():
    cumulated = special.ndtr(edges(-REACH, REACH))
    cumulated[0], cumulated[-1] = 0, 1
    return np.diff(cumulated)


def truncated_masses():
    at = edges(-2.0, 2.0)
    return np.diff(special.ndtr(at)) / (special.ndtr(2.0) - special.ndtr(-2.0))


LAWS = {
    "uniform32": (winit.uniform(), "float32", 0.0, 1.0, lambda: np.full(BINS, 1 / BINS)),
    "uniform64": (winit.uniform(), "float64", 0.0, 1.0, lambda: np.full(BINS, 1 / BINS)),
    "normal64": (winit.normal(), "float64", -REACH, REACH, normal_masses),
    "truncated64": (winit.truncated_normal(low=-2, high=2), "float64", -2.0, 2.0, truncated_masses),
}


def counted(law, count, threads):
    """Counts of a law's values in its bins; of words, of the values of each byte."""
    blocks = -(-count // BLOCK)

    def part(first):
        own = np.zeros((4, 256) if law == "words" else BINS, np.int64)
        for block in range(first, blocks, threads):
            lo, hi = block * BLOCK, min((block + 1) * BLOCK, count)
            if law == "words":
                count_bytes(winit.words(0, "large", lo, hi), own)
                continue
            scheme, dtype, low, high, _ = LAWS[law]
            values = winit.draw(scheme, (count,), seed=0, name="large", dtype=dtype, box=range(lo, hi), threads=1)
            count_into(values, low, BINS / (high - low), own)
        return own

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(part, range(threads)))


def tell(name, counts, masses):
    """Print a row: chi-square and Kolmogorov-Smirnov with their p-values."""
    total = counts.sum()
    kept = masses * total >= 10
    observed = np.append(counts[kept], counts[~kept].sum())
    expected = np.append(masses[kept], masses[~kept].sum()) * total
    if expected[-1] < 10:
        observed, expected = observed[:-1], expected[:-1]
    chi = float(((observed - expected) ** 2 / expected).sum())
    distance = float(np.abs(np.cumsum(counts) / total - np.cumsum(masses)).max())
    p = special.kolmogorov(distance * math.sqrt(total))
    print(
        f"| {name} | {total:.3g} | {len(expected)} | {chi:.0f} | {stats.chi2.sf(chi, len(expected) - 1):.3f} | "
        f"{distance:.2e} | {p:.3f} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=float, default=1e10)
    parser.add_argument("--law", choices=["words", *LAWS], action="append")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    print("| law | values | bins | chi-square | p | KS distance | p |\n|---|---|---|---|---|---|---|")
    for law in asked.law or ["words", *LAWS]:
        counts = counted(law, int(asked.count), asked.threads)
        if law == "words":
            for byte in range(4):
                tell(f"words, byte {byte}", counts[byte], np.full(256, 1 / 256))
        else:
            tell(law, counts, LAWS[law][4]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
