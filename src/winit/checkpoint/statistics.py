"""What one pass over a tensor's bytes tells: moments, extremes, counts, hashes of its rows, and two samples.

a) A tensor is cut into *pieces* of at most 4 MiB, whole rows where a row is no longer. The cut depends on the shape and
   the dtype alone, and pieces are merged in their order, so that no number depends on how many threads there were.
b) Elements of one or two bytes are counted by their word: 65,536 counts are the whole tensor, and its moments follow.
c) Longer elements are summed in float64, block by block, and merged by Chan, Golub and LeVeque 1979.
d) A row's hash is a sum of its words times fixed random numbers, modulo 2^64. Equal rows have equal hashes; that rows
   of equal hashes are equal is for others to see.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from winit import _kernels
from winit._core.dtypes import element_dtype, widen
from winit._core.shapes import Shape
from winit._files.entries import Entry
from winit._files.reader import BLOCK
from winit._files.safetensors_header import CODES

__all__ = ["FRACTIONS", "Gathered", "Stored", "Summary", "hashes", "numbers_of", "weights"]

FRACTIONS = (0.01, 0.25, 0.5, 0.75, 0.99)
SAMPLE = 1 << 16  # elements
BINS = 48  # of a histogram of the sample
SIDE = 512  # rows and columns of the sample that the stable rank is taken of
_CHUNK = 1 << 15  # elements that are summed at a time: what stays in a core's cache as float64
_COUNTED = 1 << 18  # words that are counted at a time
_STEPS = 48  # of Lanczos
_FLAT = 4096  # bytes that are hashed as a row where rows are not


def splitmix(index: np.ndarray) -> np.ndarray:
    """Return a fixed random word of 64 bits for each index: Steele, Lea and Flood 2014, SplitMix."""
    word = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@cache
def weights() -> np.ndarray:
    """Return the odd numbers by which the words of a row are multiplied, as many as a piece has words."""
    return splitmix(np.arange(BLOCK // 8 + 1)) | np.uint64(1)


def hashes(rows: np.ndarray) -> np.ndarray:
    """Hash rows of bytes to words of 64 bits."""
    count, size = rows.shape
    words = -(-size // 8)
    if size % 8 or not rows.flags.c_contiguous:
        padded = np.zeros((count, 8 * words), np.uint8)
        padded[:, :size] = rows
        rows = padded
    found: np.ndarray = np.einsum("ij,j->i", rows.view(np.uint64), weights()[:words])
    return found


def numbers_of(block: np.ndarray, dtype: str) -> np.ndarray:
    """Give elements, words for those that NumPy has not, as float64."""
    return np.asarray(widen(block, dtype), np.float64)


@dataclass(frozen=True)
class Stored:
    """A tensor as its bytes lie in a file: `shape` is the order of the bytes, which NumPy's Fortran order turns round.

    opaque : its elements are of a dtype that nobody here interprets, and its bytes are counted as they are.
    split : how many of the axes make the rows of the matrix whose stable rank is taken; 0 for none.
    """

    entry: Entry
    split: int = 0

    @property
    def opaque(self) -> bool:
        return self.entry.dtype not in CODES or self.entry.dtype == "complex64"

    @property
    def kind(self) -> np.dtype:
        return np.dtype(np.uint8) if self.opaque else element_dtype(self.entry.dtype)

    @property
    def shape(self) -> Shape:
        if self.opaque:
            return (self.entry.nbytes,)
        return self.entry.shape[::-1] if self.entry.fortran else self.entry.shape

    @property
    def size(self) -> int:
        return self.entry.nbytes // self.kind.itemsize

    @property
    def is_float(self) -> bool:
        return not self.opaque and "float" in self.entry.dtype

    @property
    def counted(self) -> bool:
        """Whether elements are counted by their word."""
        return not self.opaque and self.kind.itemsize <= 2

    @property
    def row(self) -> int:
        """Elements of one row: of one index of the first axis of the bytes' order."""
        return self.size // self.shape[0] if self.shape and self.size else self.size

    def pieces(self) -> list[tuple[int, int]]:
        """Cut the tensor into pieces, elements lo..hi each."""
        most = BLOCK // self.kind.itemsize
        rows = most // self.row if self.row else 1
        if rows:
            step = rows * self.row or 1
            return [(lo, min(lo + step, self.size)) for lo in range(0, self.size, step)]
        begins = (begin + lo for begin in range(0, self.size, self.row) for lo in range(0, self.row, most))
        return [(lo, min(lo + most, (lo // self.row + 1) * self.row)) for lo in begins]

    def sample(self) -> np.ndarray:
        """Choose elements for quantiles: a random one of each of at most 65,536 equal stretches, always the same.

        Without the chance, evenly spaced elements of a matrix of 4096 columns would come from 16 of them.
        """
        if self.size <= SAMPLE:
            return np.arange(self.size)
        ends = np.arange(SAMPLE + 1) * (self.size / SAMPLE)
        lo, hi = ends[:-1].astype(np.int64), ends[1:].astype(np.int64)
        inside = (splitmix(np.arange(SAMPLE)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return lo + (inside * (hi - lo)).astype(np.int64)

    def grid(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Choose evenly spaced rows and columns for the stable rank: their elements, and how many of each."""
        rows = math.prod(self.shape[: self.split])
        columns = self.size // rows if rows else 0
        if not self.split or min(rows, columns) < 2 or not self.is_float:
            return np.empty(0, np.int64), (0, 0)
        picked = [np.arange(min(SIDE, side)) * side // min(SIDE, side) for side in (rows, columns)]
        places = (picked[0][:, None] * columns + picked[1]).ravel()
        return places, (len(picked[0]), len(picked[1]))


class _Moments(NamedTuple):
    """Of finite elements: how many, their mean and the sum of squares about it."""

    number: int
    mean: float
    squares: float

    def merged(self, other: _Moments) -> _Moments:
        if not self.number or not other.number:
            return self if self.number else other
        number, apart = self.number + other.number, other.mean - self.mean
        mean = self.mean + apart * (other.number / number)
        squares = self.squares + other.squares + apart * apart * (self.number / number) * other.number
        return _Moments(number, mean, squares)


_NONE = _Moments(0, 0.0, 0.0)


class _Piece(NamedTuple):
    """What a piece of longer elements tells; of the infinities, how many are negative besides."""

    moments: _Moments
    least: Any
    most: Any
    zeros: int
    nan: int
    inf: int
    negative: int


class Histogram(NamedTuple):
    """Counts in 48 bins of one width from low to high, four stds on either side of the mean, and beyond them."""

    low: float
    high: float
    counts: tuple[int, ...]
    below: int
    above: int

    @classmethod
    def of(cls, values: np.ndarray) -> Histogram | None:
        """Count finite numbers; None for constants, and where the bins would be too narrow to be told apart."""
        if len(values) < 2:
            return None
        mean, std = float(values.mean()), float(values.std())
        low, high = mean - 4 * std, mean + 4 * std
        edges = np.linspace(low, high, BINS + 1) if math.isfinite(low) and math.isfinite(high) else np.zeros(1)
        if len(edges) < 2 or not (np.diff(edges) > 0).all():
            return None
        counts = np.histogram(values, edges)[0]
        return cls(low, high, tuple(counts.tolist()), int((values < low).sum()), int((values > high).sum()))


@dataclass(frozen=True)
class Summary:
    """What the pass found of one tensor; numbers are None where there is nothing to count.

    collision : an upper bound of the chance that two elements of the tensor are the same word.
    histogram : of the sample, about its mean.
    two_valued : whether every element of the sample is the least or the most.
    ascending : whether the elements of a tensor of one axis ascend, or descend.
    digest : equal for equal bytes.
    """

    mean: float | None = None
    std: float | None = None
    least: float | int | None = None
    most: float | int | None = None
    zeros: int = 0
    nan: int = 0
    inf: int = 0
    negative_inf: int = 0
    quantiles: tuple[float, ...] | None = None
    kurtosis: float | None = None
    histogram: Histogram | None = None
    sampled: int = 0
    stable_rank: float | None = None
    collision: float = 1.0
    two_valued: bool = False
    ascending: bool = False
    digest: bytes = b""
    row_hashes: np.ndarray | None = None

    @property
    def constant(self) -> bool:
        """Whether all elements are one number."""
        return self.least == self.most and not self.nan and not self.inf


@dataclass
class Gathered:
    """What the pieces of one tensor have told so far; any number of threads may add pieces."""

    stored: Stored
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        stored = self.stored
        self.pieces: dict[int, _Piece] = {}
        self.digests: dict[int, bytes] = {}
        self.counts = np.zeros(1 << 8 * stored.kind.itemsize, np.int64) if stored.counted else None
        self.chosen = stored.sample() if not stored.opaque else np.empty(0, np.int64)
        self.sample = np.empty(len(self.chosen), stored.kind)
        self.places, self.sides = stored.grid()
        self.matrix = np.empty(len(self.places), stored.kind)
        # Shorter rows than 8 bytes are equal by chance too often to tell anything.
        hashed = stored.is_float and len(stored.shape) > 1 and stored.size > 0
        hashed = hashed and stored.shape[0] > 1 and stored.row * stored.kind.itemsize >= 8
        self.row_hashes = np.zeros(stored.shape[0], np.uint64) if hashed else None
        self.nonzero = False

    def add(self, block: np.ndarray, lo: int) -> None:
        """Add the elements of a piece, in the machine's byte order; they begin at element lo."""
        hi = lo + len(block)
        for chosen, kept in ((self.chosen, self.sample), (self.places, self.matrix)):
            first, last = np.searchsorted(chosen, (lo, hi))
            kept[first:last] = block[chosen[first:last] - lo]
        digest = self._hash(block.view(np.uint8), lo, hi)
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            if self.stored.opaque:
                nonzero = bool(block.any())
                with self.lock:
                    self.digests[lo], self.nonzero = digest, self.nonzero or nonzero
                return
            if self.counts is not None:
                counts = _word_counts(block)
                with self.lock:
                    self.digests[lo] = digest
                    self.counts += counts
                return
            piece = _longer(block)
        with self.lock:
            self.digests[lo], self.pieces[lo] = digest, piece

    def _hash(self, raw: np.ndarray, lo: int, hi: int) -> bytes:
        row = self.stored.row
        if self.row_hashes is None:
            whole = len(raw) // _FLAT * _FLAT
            found = [hashes(each) for each in (raw[:whole].reshape(-1, _FLAT), raw[None, whole:]) if each.size]
            return blake2b(b"".join(each.tobytes() for each in found), digest_size=16).digest()
        if (hi - lo) % row == 0:
            own = hashes(raw.reshape((hi - lo) // row, -1))
            self.row_hashes[lo // row : hi // row] = own
        else:
            # A part of a row: its number keeps two parts that are exchanged from giving the same sum.
            part = splitmix(np.array([lo % row // (BLOCK // self.stored.kind.itemsize)])) | np.uint64(1)
            own = hashes(raw[None]) * part
            with self.lock:
                self.row_hashes[lo // row : lo // row + 1] += own
        return blake2b(own.tobytes(), digest_size=16).digest()

    def summary(self) -> Summary:
        """Sum up, when all pieces are there."""
        stored = self.stored
        digest = blake2b(b"".join(self.digests[lo] for lo in sorted(self.digests)), digest_size=16).digest()
        if stored.opaque:
            return Summary(zeros=0 if self.nonzero else stored.size, digest=digest)
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            total = self._counted() if self.counts is not None else self._merged()
            count, mean, squares = total.moments
            if stored.size == 0:
                return Summary(digest=digest)
            sample = numbers_of(self.sample, stored.entry.dtype)
            finite = sample[np.isfinite(sample)]
            two_valued = bool(((finite == total.least) | (finite == total.most)).all())
            steps = np.diff(finite)
            line = len(stored.shape) > 0 and max(stored.shape) == stored.size
            return Summary(
                mean=mean if count else None,
                std=math.sqrt(max(squares / count, 0.0)) if count else None,
                least=total.least,
                most=total.most,
                zeros=total.zeros,
                nan=total.nan,
                inf=total.inf,
                negative_inf=total.negative,
                quantiles=tuple(np.quantile(finite, FRACTIONS).tolist()) if len(finite) else None,
                kurtosis=_kurtosis(finite),
                histogram=Histogram.of(finite) if stored.is_float else None,
                sampled=len(finite),
                stable_rank=self._stable_rank(),
                collision=self._collision(),
                two_valued=two_valued,
                ascending=line and len(steps) > 0 and bool((steps > 0).all() or (steps < 0).all()),
                digest=digest,
                row_hashes=self.row_hashes,
            )

    def _counted(self) -> _Piece:
        """Moments from the counts of words."""
        dtype, counts = self.stored.entry.dtype, self.counts
        assert counts is not None
        words = np.arange(len(counts), dtype=np.uint8 if len(counts) == 256 else np.uint16)
        if dtype == "bool" and counts[2:].any():
            raise ValueError(f"{self.stored.entry.text} is bool and has bytes other than 0 and 1")
        values = numbers_of(words.view(self.stored.kind), dtype)
        there = counts > 0
        nan, inf = (int(counts[test(values)].sum()) for test in (np.isnan, np.isinf))
        negative = int(counts[np.isneginf(values)].sum())
        finite = there & np.isfinite(values)
        values, own = values[finite], counts[finite]
        count = int(own.sum())
        if not count:
            return _Piece(_NONE, None, None, 0, nan, inf, negative)
        mean = float((values * own).sum()) / count
        squares = float(((values - mean) ** 2 * own).sum())
        least, most = values.min(), values.max()
        zeros = int(own[values == 0].sum())
        integer = self.stored.kind.kind in "biu" and not self.stored.is_float
        number = int if integer else float
        return _Piece(_Moments(count, mean, squares), number(least), number(most), zeros, nan, inf, negative)

    def _merged(self) -> _Piece:
        """Moments from those of the pieces, in their order."""
        moments, least, most, zeros, nan, inf, negative = _NONE, None, None, 0, 0, 0, 0
        for lo in sorted(self.pieces):
            piece = self.pieces[lo]
            moments = moments.merged(piece.moments)
            zeros, nan, inf = zeros + piece.zeros, nan + piece.nan, inf + piece.inf
            negative += piece.negative
            if piece.least is not None:
                least = piece.least if least is None else min(least, piece.least)
                most = piece.most if most is None else max(most, piece.most)
        return _Piece(moments, least, most, zeros, nan, inf, negative)

    def _collision(self) -> float:
        """Bound the chance that two elements are the same word, from all of them or from the sample.

        Of pairs of which k are equal: the bound is what would leave k or fewer in one case of a billion, and four
        times that, since rows may have laws of their own.
        """
        counts = self.counts
        if counts is None:
            words = self.sample.view(f"u{self.sample.itemsize}")
            counts = np.unique(words, return_counts=True)[1]
        total = float(counts.sum())
        pairs = total * (total - 1) / 2
        equal = float((counts * (counts - 1.0)).sum()) / 2
        return min(1.0, 4 * (equal + 6 * math.sqrt(equal) + 21) / pairs) if pairs else 1.0

    def _stable_rank(self) -> float | None:
        if not self.matrix.size:
            return None
        matrix = numbers_of(self.matrix, self.stored.entry.dtype).reshape(self.sides)
        largest = np.abs(matrix).max()
        if not np.isfinite(largest) or largest == 0:
            return None
        matrix /= largest
        return float(np.square(matrix).sum()) / _largest_square(matrix)


def _largest_square(matrix: np.ndarray) -> float:
    """Return the square of the largest singular value, by Lanczos with full orthogonalisation.

    48 steps give the edge of a random matrix of 512 x 512 to ten digits. The sums are einsum's, which takes no threads:
    a BLAS would start its own in each of ours, and its last digits depend on how many.
    """
    rows, columns = matrix.shape
    matrix = np.ascontiguousarray(matrix.T) if rows < columns else matrix
    size = min(rows, columns)
    steps = min(_STEPS, size)
    basis = np.zeros((steps, size))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    vector = (splitmix(np.arange(size)) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    norm = math.sqrt(float(np.square(vector).sum()))
    for step in range(steps):
        basis[step] = vector / norm
        image = np.einsum("ij,i->j", matrix, np.einsum("ij,j->i", matrix, basis[step]))
        diagonal[step] = float((image * basis[step]).sum())
        known = basis[: step + 1]
        for _ in range(2):
            image -= np.einsum("ij,i->j", known, np.einsum("ij,j->i", known, image))
        norm = math.sqrt(float(np.square(image).sum()))
        if norm <= 1e-12 * diagonal[: step + 1].max():
            steps = step + 1
            break
        beside[step], vector = norm, image
    diagonal, beside = diagonal[:steps], beside[: steps - 1]
    return float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))[-1])


def _kurtosis(values: np.ndarray) -> float | None:
    """The fourth moment about the mean over the square of the second; None for constants and fewer than 4."""
    if len(values) < 4:
        return None
    apart = values - values.mean()
    largest = np.abs(apart).max()
    if not np.isfinite(largest) or largest == 0:
        return None
    squares = np.square(apart / largest)
    found = float(np.square(squares).mean() / np.square(squares.mean()))
    return found if math.isfinite(found) else None


def _word_counts(block: np.ndarray) -> np.ndarray:
    """Count elements of one or two bytes by their word; those of one byte in pairs, which takes half the time.

    bincount makes 8 bytes of each: in steps, over memory that is there already, two threads take a third of the time.
    """
    raw = block.view(np.uint8)
    words = raw[: len(raw) // 2 * 2].view(np.uint16)
    counts = np.zeros(1 << 16, np.int64)
    indices = np.empty(min(_COUNTED, len(words)), np.intp)
    for lo in range(0, len(words), _COUNTED):
        step = words[lo : lo + _COUNTED]
        indices[: len(step)] = step
        counts += np.bincount(indices[: len(step)], minlength=1 << 16)
    if block.itemsize == 2:
        return counts
    pairs = counts.reshape(256, 256)
    odd: np.ndarray = pairs.sum(axis=0) + pairs.sum(axis=1) + np.bincount(raw[len(raw) // 2 * 2 :], minlength=256)
    return odd


def _longer(block: np.ndarray) -> _Piece:
    """Sum up elements of four or eight bytes."""
    moments, nan, inf, negative = _NONE, 0, 0, 0
    for lo in range(0, len(block), _CHUNK):
        numbers = block[lo : lo + _CHUNK].astype(np.float64)
        mean = float(numbers.sum()) / len(numbers)
        if not math.isfinite(mean):  # a sum of finite numbers of float32 always is
            nan += int(np.isnan(numbers).sum())
            inf += int(np.isinf(numbers).sum())
            negative += int(np.isneginf(numbers).sum())
            numbers = numbers[np.isfinite(numbers)]
            if not len(numbers):
                continue
            mean = float((numbers / len(numbers)).sum())
        numbers -= mean
        moments = moments.merged(_Moments(len(numbers), mean, float(np.einsum("i,i->", numbers, numbers))))
    zeros = int(np.count_nonzero(block == 0))
    usual = block[np.isfinite(block)] if nan + inf else block
    least, most = (usual.min().item(), usual.max().item()) if len(usual) else (None, None)
    return _Piece(moments, least, most, zeros, nan, inf, negative)
