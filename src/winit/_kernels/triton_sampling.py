"""Laws and fills in Triton: programs over blocks of the stream, and from boxes to launches (sample.h).

a) laws      a law's transform of the words of blocks, in the order of LAWS
b) emit      values to their destination: rounded, strided, added
c) kernels   runs: a program handles whole blocks, all four words used. points: a lane an element, for short rows
d) Fill      a law bound to a destination: boxes to launches, on the stream that was current where it was bound

Elements of one run follow each other in the stream, `apart` elements of memory from one to the next. Runs lie at up to
three outer axes, each an extent, a step in the stream and a stride in memory; a box of more is several launches.
A position in the stream travels as a number of blocks (upper 2^31 + lower) and the elements to skip in the first.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# Annotations are evaluated here: Triton takes an argument's type from one that is a string.
# ruff: noqa: N803, N806

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from winit._kernels import triton_points as points
from winit._kernels.triton_halves import rounded, widened
from winit._kernels.triton_memory import DeviceArray
from winit._kernels.triton_words import TAG_VALUES, counter, philox4x32, words_range

if TYPE_CHECKING:
    from winit._kernels.triton_words import fp64, i64, u32

__all__ = ["INTERPRETED", "Fill", "fill_points", "fill_runs", "words"]

INTERPRETED = bool(triton.knobs.runtime.interpret)  # TRITON_INTERPRET, which Triton reads when a kernel is defined
CONVERTS = not INTERPRETED and torch.version.hip is None
F64 = tl.constexpr(1)  # the numbers of DTYPES and LAWS
CONSTANT, UNIFORM, NORMAL = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)

# Products and sums are rounded each, and keys and counters run over: TRITON_DEBUG=1 would call that an error.
EXACT: dict[str, Any] = {"enable_fp_fusion": False, "sanitize_overflow": False}

# ---- a) laws: p0.. are the law's numbers, scalars of float64 that its arithmetic type holds exactly


@triton.jit
def transformed_f32(w0, w1, w2, w3, p0, p1, p2, p3, p4, p5, p6, threshold, LAW: tl.constexpr, FAR: tl.constexpr):
    """Four values of a block's four words."""
    a, b = tl.full((), p0, tl.float32), tl.full((), p1, tl.float32)
    if LAW == UNIFORM:
        cap = tl.full((), p2, tl.float32)
        v0, v1 = points.uniform_f32(w0, a, b, cap), points.uniform_f32(w1, a, b, cap)
        v2, v3 = points.uniform_f32(w2, a, b, cap), points.uniform_f32(w3, a, b, cap)
    else:
        if LAW == NORMAL:
            z0, z1 = points.normal_pair_f32(w0, w1)
            z2, z3 = points.normal_pair_f32(w2, w3)
        else:
            low, high, below = tl.full((), p2, tl.float32), tl.full((), p3, tl.float32), tl.full((), p4, tl.float32)
            above, step = tl.full((), p5, tl.float32), tl.full((), p6, tl.float32)
            limit = threshold.to(tl.uint32)
            z0 = points.truncated_f32(w0 >> 8, low, high, below, above, step, limit, FAR)
            z1 = points.truncated_f32(w1 >> 8, low, high, below, above, step, limit, FAR)
            z2 = points.truncated_f32(w2 >> 8, low, high, below, above, step, limit, FAR)
            z3 = points.truncated_f32(w3 >> 8, low, high, below, above, step, limit, FAR)
        v0, v1, v2, v3 = z0 * b + a, z1 * b + a, z2 * b + a, z3 * b + a
    return v0, v1, v2, v3


@triton.jit
def transformed_f64(w0, w1, w2, w3, p0, p1, p2, p3, p4, p5, p6, threshold, LAW: tl.constexpr, FAR: tl.constexpr):
    """Two values of a block's four words."""
    a, b = tl.full((), p0, tl.float64), tl.full((), p1, tl.float64)
    k0, k1 = points.k53(w0, w1), points.k53(w2, w3)
    if LAW == UNIFORM:
        cap = tl.full((), p2, tl.float64)
        v0, v1 = points.uniform_f64(k0, a, b, cap), points.uniform_f64(k1, a, b, cap)
    else:
        if LAW == NORMAL:
            z0, z1 = points.normal_pair_f64(k0, k1)
        else:
            low, high, below = tl.full((), p2, tl.float64), tl.full((), p3, tl.float64), tl.full((), p4, tl.float64)
            above, step = tl.full((), p5, tl.float64), tl.full((), p6, tl.float64)
            limit = threshold.to(tl.uint64)
            z0 = points.truncated_f64(k0, low, high, below, above, step, limit, FAR)
            z1 = points.truncated_f64(k1, low, high, below, above, step, limit, FAR)
        v0, v1 = z0 * b + a, z1 * b + a
    return v0, v1


# ---- b) emit


@triton.jit
def emit(
    pointer, v, mask, scale, DTYPE: tl.constexpr, ADD: tl.constexpr, CONVERT: tl.constexpr, MASKED: tl.constexpr
):  # fmt: skip
    """Write values to memory, or add scale times them to what is there: of float32, float64, or words of narrow types.

    A value of a law is finite and inside the narrow type's range; a sum may be anything.
    """
    if ADD:
        old = tl.load(pointer, mask=mask) if MASKED else tl.load(pointer)
        if DTYPE > F64:
            BITS: tl.constexpr = 0xFFFF if DTYPE < 4 else 0xFF
            old = widened(old.to(tl.int32).to(tl.uint32, bitcast=True) & BITS, DTYPE)
        v = v * tl.full((), scale, v.dtype) + old
        if DTYPE != F64:  # of float32, devices have one NaN; processors keep the one that is there
            word = points.bits_f32(old)
            v = tl.where((word & 0x7FFFFFFF) > 0x7F800000, points.float_f32(word | 0x400000), v)
    if DTYPE > F64:
        v = rounded(v, DTYPE, not ADD, CONVERT).to(tl.int16 if DTYPE < 4 else tl.int8)
    if MASKED:
        tl.store(pointer, v, mask=mask)
    else:
        tl.store(pointer, v)


# ---- c) kernels


@triton.jit(do_not_specialize=["k0", "k1", "upper", "lower", "skip", "threshold", "chunks", "extent0", "extent1"])
def fill_runs(
    dest, k0: "u32", k1: "u32", upper, lower, skip, n, chunks, to, apart,
    extent0, step0, stride0, extent1, step1, stride1, step2, stride2,
    p0: "fp64", p1: "fp64", p2: "fp64", p3: "fp64", p4: "fp64", p5: "fp64", p6: "fp64", threshold: "i64", scale: "fp64",
    LAW: tl.constexpr, FAR: tl.constexpr, DTYPE: tl.constexpr, ADD: tl.constexpr, CONVERT: tl.constexpr,
    AXES: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill runs of n elements: a program handles BLOCK blocks of a run, of which there are `chunks` such parts.

    ALIGNED: every run begins with a block. Values then lie as blocks do, and four are stored at once.
    """
    PER: tl.constexpr = 2 if DTYPE == F64 else 4
    chunk, row = tl.program_id(0), tl.program_id(0) * 0
    first = upper.to(tl.int64) * 2147483648 + lower.to(tl.int64)
    at, passed = to + chunk.to(tl.int64) * 0, skip + chunk.to(tl.int64) * 0
    if AXES > 0:
        row, chunk = chunk // chunks, chunk % chunks
        if AXES > 1:
            c0 = (row % extent0).to(tl.int64)
            row = row // extent0
            at += c0 * stride0
            passed += c0 * step0
        if AXES > 2:
            c1 = (row % extent1).to(tl.int64)
            row = row // extent1
            at += c1 * stride1
            passed += c1 * step1
        at += row.to(tl.int64) * stride2
        passed += row.to(tl.int64) * step2
    begin = chunk.to(tl.int64) * (PER * BLOCK)
    first += passed // PER
    if not ALIGNED:
        begin -= passed % PER
    block = first + chunk.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c0, c1 = counter(block)
    if LAW == CONSTANT:
        v = tl.full((PER * BLOCK,), p0, tl.float64 if DTYPE == F64 else tl.float32)
    else:
        w0, w1, w2, w3 = philox4x32(k0.to(tl.uint32), k1.to(tl.uint32), c0, c1, c0 * 0 + TAG_VALUES, c0 * 0)
        if DTYPE == F64:
            v0, v1 = transformed_f64(w0, w1, w2, w3, p0, p1, p2, p3, p4, p5, p6, threshold, LAW, FAR)
            v = tl.reshape(tl.join(v0, v1), (PER * BLOCK,))
        else:
            v0, v1, v2, v3 = transformed_f32(w0, w1, w2, w3, p0, p1, p2, p3, p4, p5, p6, threshold, LAW, FAR)
            v = tl.reshape(tl.join(tl.join(v0, v2), tl.join(v1, v3)), (PER * BLOCK,))
    lane = tl.arange(0, PER * BLOCK)
    pointer = dest + (at + begin * apart) + lane.to(tl.int64) * apart
    if (begin >= 0) & (begin + PER * BLOCK <= n):  # most programs store without asking of each element
        emit(pointer, v, lane < 1, scale, DTYPE, ADD, CONVERT, False)
    else:
        emit(pointer, v, (begin + lane >= 0) & (begin + lane < n), scale, DTYPE, ADD, CONVERT, True)


@triton.jit(do_not_specialize=["k0", "k1", "upper", "lower", "skip", "n", "to", "threshold", "extent0", "extent1"])
def fill_points(
    dest, k0: "u32", k1: "u32", upper, lower, skip, n, to,
    extent0, step0, stride0, extent1, step1, stride1, step2, stride2,
    p0: "fp64", p1: "fp64", p2: "fp64", p3: "fp64", p4: "fp64", p5: "fp64", p6: "fp64", threshold: "i64", scale: "fp64",
    LAW: tl.constexpr, FAR: tl.constexpr, DTYPE: tl.constexpr, ADD: tl.constexpr, CONVERT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill n elements of a box of three axes, innermost first, one a lane; n is less than 2^31."""
    PER: tl.constexpr = 2 if DTYPE == F64 else 4
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c0, rest = (lane % extent0).to(tl.int64), lane // extent0
    c1, c2 = (rest % extent1).to(tl.int64), (rest // extent1).to(tl.int64)
    passed = c0 * step0 + c1 * step1 + c2 * step2 + skip
    block = upper.to(tl.int64) * 2147483648 + lower.to(tl.int64) + passed // PER
    place = passed % PER
    low, high = counter(block)
    if LAW == CONSTANT:
        v = tl.full((BLOCK,), p0, tl.float64 if DTYPE == F64 else tl.float32)
    else:
        w0, w1, w2, w3 = philox4x32(k0.to(tl.uint32), k1.to(tl.uint32), low, high, low * 0 + TAG_VALUES, low * 0)
        if DTYPE == F64:
            v0, v1 = transformed_f64(w0, w1, w2, w3, p0, p1, p2, p3, p4, p5, p6, threshold, LAW, FAR)
            v = tl.where(place == 0, v0, v1)
        else:  # what becomes of the other words is not used, and not computed
            first, second = tl.where(place < 2, w0, w2), tl.where(place < 2, w1, w3)
            if LAW != NORMAL:
                first = tl.where(place % 2 == 0, first, second)
            v0, v1, _, _ = transformed_f32(
                first, second, first, second, p0, p1, p2, p3, p4, p5, p6, threshold, LAW, FAR
            )
            v = tl.where(place % 2 == 0, v0, v1) if LAW == NORMAL else v0
    pointer = dest + to + c0 * stride0 + c1 * stride1 + c2 * stride2
    emit(pointer, v, lane < n, scale, DTYPE, ADD, CONVERT, True)


# ---- d) Fill

BLOCKS = (512, 128)  # blocks of the stream that a program handles: 16 values a lane of 4 warps, or of one
LANES = 1024  # of a program of points
SHORT = 128  # elements; shorter runs go point by point
MOST_PROGRAMS, MOST_POINTS = (1 << 31) - 1, 1 << 30  # of a launch


def _boxes(shape: tuple[int, ...], lo: int, hi: int) -> Iterator[tuple[list[int], list[int]]]:
    """Cut positions lo..hi of a shape, in row-major order, into boxes: (first indices, extents)."""
    if lo >= hi:
        return
    if not shape:
        yield [], []
        return
    row = 1
    for extent in shape[1:]:
        row *= extent
    first, last = -(-lo // row), hi // row
    if first > last:  # inside of one index of the first axis
        for begin, extents in _boxes(shape[1:], lo - last * row, hi - last * row):
            yield [last, *begin], [1, *extents]
        return
    for index, some, end in ((first - 1, lo - (first - 1) * row, row), (last, 0, hi - last * row)):
        if index == first - 1 and some == row:
            continue
        for begin, extents in _boxes(shape[1:], some, end):
            yield [index, *begin], [1, *extents]
    if first < last:
        yield [first, *(0 for _ in shape[1:])], [last - first, *shape[1:]]


class Fill:
    """One law of one stream, bound to one destination on a device; see winit._kernels.sample.Fill.

    run() queues launches on the destination's stream and waits for nothing. `queues` tells that its ranges need no
    threads.
    """

    queues = True

    def __init__(
        self,
        isa: str,
        law: int,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        dest: DeviceArray,
        start: int,
        steps: tuple[int, ...],
        scale: float | None = None,
    ) -> None:
        merged: list[list[int]] = []  # axes [extent, stride, step]; one joins the last where both run on
        for extent, stride, step in zip(dest.shape, dest.steps, steps, strict=True):
            if extent == 1:
                continue
            if merged and merged[-1][1] == stride * extent and merged[-1][2] == step * extent:
                merged[-1] = [merged[-1][0] * extent, stride, step]
            else:
                merged.append([extent, stride, step])
        if not merged or merged[-1][2] != 1:
            merged.append([1, 1, 1])
        self.dest, self.size, self.axes, self.start = dest, dest.size, merged, start
        self.key, self.per = key, 2 if dtype == 1 else 4
        far = len(params) > 8 and bool(params[8])
        threshold = int(params[7]) if len(params) > 7 else 0
        numbers = [float(x) for x in params[:7]] + [0.0] * (7 - len(params[:7]))
        self.numbers = (*numbers, threshold, 0.0 if scale is None else float(scale))
        self.constants = {"LAW": law, "FAR": far, "DTYPE": dtype, "ADD": scale is not None, "CONVERT": CONVERTS}

    def run(self, lo: int, hi: int) -> None:
        """Queue the filling of positions lo..hi of the destination, in its row-major order."""
        if lo >= hi:
            return
        with self.dest.queueing():
            for begin, extents in _boxes(tuple(axis[0] for axis in self.axes), lo, hi):
                self._box(begin, extents)

    def _box(self, begin: list[int], extents: list[int]) -> None:
        start = self.start + sum(at * axis[2] for at, axis in zip(begin, self.axes, strict=True))
        to = sum(at * axis[1] for at, axis in zip(begin, self.axes, strict=True))
        rows = [(extent, axis[1], axis[2]) for extent, axis in zip(extents, self.axes, strict=True)]
        *outer, (count, apart, _) = rows
        outer = [axis for axis in outer if axis[0] > 1]
        if count >= SHORT or not outer:
            self._runs(start, to, outer, count, apart)
        else:
            self._points(start, to, outer, count, apart)

    def _split(self, outer: list[tuple[int, int, int]], kept: int, most: int) -> Iterator[tuple[int, int, Any]]:
        """Cut outer axes into launches of at most `kept` axes and `most` indices: (start, to, axes)."""
        rows = 1
        for extent, _, _ in outer:
            rows *= extent
        if len(outer) <= kept and rows <= most:
            yield 0, 0, outer
            return
        extent, stride, step = outer[0]
        inner = max(rows // extent, 1)
        part = 1 if len(outer) > kept or inner > most else most // inner
        for index in range(0, extent, part):
            some = min(part, extent - index)
            axes = outer[1:] if some == 1 else [(some, stride, step), *outer[1:]]
            for start, to, found in self._split(axes, kept, most):
                yield start + index * step, to + index * stride, found

    def _place(self, start: int) -> tuple[int, int, int]:
        block = start // self.per
        return block >> 31, block & (1 << 31) - 1, start % self.per

    def _runs(self, start: int, to: int, outer: list[tuple[int, int, int]], count: int, apart: int) -> None:
        blocks = -(-(count + self.per - 1) // self.per)
        block = min(BLOCKS, key=lambda size: (-(-blocks // size) * size, -size))
        if INTERPRETED:  # whose time goes by programs
            block = max(block, min(1 << 16, triton.next_power_of_2(blocks)))
        chunks = -(-blocks // block)
        for more, further, axes in self._split(outer, 3, max(MOST_PROGRAMS // chunks, 1)):
            first = start + more
            aligned = first % self.per == 0 and all(step % self.per == 0 for _, _, step in axes)
            programs = chunks
            for extent, _, _ in axes:
                programs *= extent
            (_, s2, t2), (x1, s1, t1), (x0, s0, t0) = self._three(axes)
            fill_runs[(programs,)](
                self.dest.words, *self.key, *self._place(first), count, chunks, to + further, apart,
                x0, t0, s0, x1, t1, s1, t2, s2, *self.numbers,
                **self.constants, AXES=len(axes), ALIGNED=aligned, BLOCK=block,
                num_warps=4 if block >= 512 else 1, **EXACT,
            )  # fmt: skip

    def _three(self, axes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Outermost, middle and innermost of up to three axes; of one it is the outermost, of two those at the ends."""
        padded = [(1, 0, 0)] * 3
        if axes:
            padded[0] = axes[0]
            for place, axis in zip((2, 1), reversed(axes[1:]), strict=False):
                padded[place] = axis
        return padded

    def _points(self, start: int, to: int, outer: list[tuple[int, int, int]], count: int, apart: int) -> None:
        for more, further, axes in self._split(outer, 2, MOST_POINTS // count):
            total = count
            for extent, _, _ in axes:
                total *= extent
            (_, s2, t2), (x1, s1, t1) = [(1, 0, 0), (1, 0, 0), *axes][-2:]
            lanes = min(1 << 16, triton.next_power_of_2(total)) if INTERPRETED else LANES
            fill_points[(-(-total // lanes),)](
                self.dest.words, *self.key, *self._place(start + more), total, to + further,
                count, 1, apart, x1, t1, s1, t2, s2, *self.numbers,
                **self.constants, BLOCK=lanes, num_warps=4, **EXACT,
            )  # fmt: skip


def words(isa: str, key: tuple[int, int], tag: int, lo: int, dest: DeviceArray) -> None:
    """Write words lo, lo + 1, ... of the stream (key, tag) to contiguous memory on a device."""
    block = 1 << 16 if INTERPRETED else 512
    while dest.size:
        count = min(dest.size, 1 << 40)
        upper, lower, skip = lo // 4 >> 31, lo // 4 & (1 << 31) - 1, lo % 4
        programs = -(-(count + skip) // (4 * block))
        with dest.queueing():
            words_range[(programs,)](dest.words, *key, tag, upper, lower, skip, count, BLOCK=block, **EXACT)
        dest, lo = dest[count:], lo + count
