"""Destinations and laws that every way of running Triton's kernels is tried on, against the engine of the CPU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from winit._core.keys import stream_key
from winit._core.laws import Constant, Normal, TruncatedNormal, Uniform
from winit._kernels import DTYPES, numpy_sampling
from winit._kernels import sample as compiled
from winit._kernels.triton_memory import DeviceArray
from winit._kernels.triton_sampling import Fill

LAWS = {
    "constant": Constant(0.3),
    "uniform": Uniform(-0.3, 0.7),
    "normal": Normal(0.1, 0.5),
    "truncated": TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    "truncated far": TruncatedNormal(0.0, 0.1, -11.0, -4.0),
}
WORDS = {"float32": np.float32, "float64": np.float64, "float16": np.uint16, "bfloat16": np.uint16}


class Case(NamedTuple):
    """A destination: its shape, the steps of its axes in the stream, where it begins there, its strides in elements."""

    shape: tuple[int, ...]
    steps: tuple[int, ...]
    start: int = 0
    strides: tuple[int, ...] | None = None

    def array(self, dtype):
        """A buffer with random bits in it, and the destination in it."""
        strides = self.strides or tuple(int(np.prod(self.shape[axis + 1 :])) for axis in range(len(self.shape)))
        size = 40 + sum(stride * (extent - 1) for stride, extent in zip(strides, self.shape, strict=True))
        word = np.dtype(WORDS.get(dtype, np.uint8))
        rng = np.random.default_rng(1)
        if word.kind == "f":
            buffer = rng.standard_normal(size).astype(word)
            buffer[16 : 16 + len(SPECIAL)] = SPECIAL.view(np.float32)[: size - 16]
        else:
            buffer = rng.integers(0, 1 << 8 * word.itemsize, size).astype(word)  # all of a type's words: NaNs too
        return buffer, np.lib.stride_tricks.as_strided(
            buffer[16:], self.shape, [stride * word.itemsize for stride in strides]
        )


# Infinities, NaNs of either sign and several payloads, zeros, subnormal numbers; of float32.
SPECIAL = [
    0x7F800000,
    0xFF800000,
    0x7FC00000,
    0xFFC00000,
    0x7FD23456,
    0xFFFFFFFF,
    0,
    0x80000000,
    1,
    0x80000001,
    0x7FFFFF,
]
SPECIAL = np.array(SPECIAL, np.uint32)
CASES = {
    "whole": Case((2048,), (1,)),
    "one less than whole": Case((2047,), (1,)),
    "odd": Case((1001,), (1,), 3),
    "across 2^34": Case((999,), (1,), 2**34 - 7),
    "from 2^40": Case((513,), (1,), 2**40 + 1),
    "from 2^61": Case((300,), (1,), 2**61 + 2),
    "below 2^33": Case((4100,), (1,), 2**33 - 4096),
    "one": Case((), (), 5),
    "rows": Case((5, 300), (1001, 1), 2 * 1001 + 7),
    "rows that begin within blocks": Case((5, 300), (1001, 1)),
    "rows, transposed": Case((5, 300), (1001, 1), 2 * 1001 + 7, (1, 5)),
    "rows of whole blocks": Case((3, 2, 256), (2048, 512, 1), 8 * 2048),
    "three axes of rows": Case((2, 3, 2, 140), (9000, 2000, 300, 1), 2**33 + 1),
    "four axes of rows": Case((2, 2, 2, 3, 130), (90_000, 9000, 2000, 300, 1), 2**35 + 3, (1600, 800, 400, 131, 1)),
    "rows far apart": Case((5, 140), (2**30 + 4, 1)),
    "axes far apart": Case((2, 3, 5, 140), (2**33 + 1, 2**31 - 9, 2**30 + 5, 1)),
    "points far apart": Case((5, 2, 6), (2**30 + 5, 70, 1)),
    "points": Case((4, 5, 6), (143, 13, 1), 2 * 143 + 30),
    "points of five axes": Case((2, 3, 2, 3, 4), (5000, 1000, 143, 13, 1), 2**34 + 30),
    "a column": Case((700,), (64,), 63),
    "a column across 2^32": Case((20,), (2**29 + 3,), 2**33 - 2**30),
}


def drawn(law, dtype, case, adding, key, fill, **options):
    """What an engine makes of a case: all bytes of its buffer."""
    buffer, out = case.array(dtype)
    numbers = LAWS[law].params("float32" if adding is not None and dtype not in ("float32", "float64") else dtype)
    bound = fill(LAWS[law].kernel, DTYPES.index(dtype), key, numbers, out, buffer, case.start, case.steps, adding)
    with np.errstate(all="ignore"):
        for lo, hi in options.get("ranges", [(0, out.size)]):
            bound.run(lo, hi)
    return buffer.view(np.uint8)


def on_cpu(law, dtype, key, numbers, out, buffer, start, steps, adding):
    """The compiled engine where there is one, and NumPy's."""
    if compiled is None:
        return numpy_sampling.Fill("", law, dtype, key, numbers, out, start, steps, adding)
    return compiled.Fill("baseline", law, dtype, key, numbers, out, start, steps, adding)


def on_device(law, dtype, key, numbers, out, buffer, start, steps, adding):
    """Triton's, over the same memory."""
    tensor = torch.from_numpy(buffer)
    strides = [stride // buffer.itemsize for stride in out.strides]
    view = tensor.as_strided(out.shape, strides, 16)
    return Fill("", law, dtype, key, numbers, DeviceArray(view, DTYPES[dtype]), start, steps, adding)


KEYS = [stream_key(0, ""), stream_key(2**64 - 1, "w")]
