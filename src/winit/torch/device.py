"""Tensors on a device: drawn there by Triton's kernels, or on the CPU, block by block, and copied over meanwhile.

Triton's engine draws what each element has a word of its own for, on CUDA and ROCm; all else is staged. A Staged is a
Bound like a kernel's: its ranges run in any order and in any threads. On CUDA and ROCm its blocks are pinned memory,
and the copies are queued on the stream that is current where it was bound, so that what is queued there next sees the
values, and nothing is waited for but a block of pinned memory that is used again. Other devices have no pinned blocks,
and each copy ends before the next block is drawn.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch

from winit import _kernels
from winit._core.bounds import Destination
from winit._core.laws import INDEPENDENT, Law
from winit._core.running import RANGE, run_bounds
from winit._core.shapes import boxes_of
from winit.torch.memory import memory_of

__all__ = ["Staged", "draws_on", "needs_staging", "on_device"]


def needs_staging(tensor: torch.Tensor) -> bool:
    """Whether a tensor's memory is not the CPU's."""
    return not tensor.is_cpu


@lru_cache(maxsize=64)
def draws_on(device: torch.device) -> bool:
    """Whether Triton's engine draws on a device. Where a CUDA or ROCm device has to do without, that is said once."""
    if device.type != "cuda":
        return False
    engine, reason = _kernels.device_engine()
    if engine is not None and engine.DeviceArray(torch.empty(0, device=device), "float32").drawable:
        return True
    reason = reason or f"engine 'triton' needs compute capability 8.0, and {device} has less"
    warnings.warn(
        f"tensors on {device} are drawn on the CPU and copied, which gives the same values more slowly: {reason}",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def on_device(tensor: torch.Tensor, kind: str) -> Any:
    """Give a tensor's memory as Triton's engine takes it, on the stream that is current now."""
    from winit._kernels import triton_engine  # where draws_on has found it

    return triton_engine.DeviceArray(tensor, kind)


class Staged:
    """A law bound to a tensor on a device, or to a box of it.

    out : the tensor, of the box's shape, any strides. kind, key, shape, box : as of a Destination. scale : None; or the
    factor with which values are added, of which only one rounding is right: what is there comes over, and goes back.
    """

    def __init__(
        self,
        out: torch.Tensor,
        law: Law,
        kind: str,
        key: tuple[int, int],
        shape: tuple[int, ...],
        box: tuple[slice, ...] | None,
        scale: float | None = None,
    ) -> None:
        self.out, self.law, self.kind, self.key, self.shape, self.scale = out, law, kind, key, shape, scale
        self.box = tuple(slice(0, size) for size in shape) if box is None else box
        self.size = out.numel()
        # Another law makes the whole tensor for every box: it is made once.
        self.by_units = isinstance(law, INDEPENDENT)
        self.pool: deque[tuple[torch.Tensor, Any]] = deque()
        self.lock = threading.Lock()
        self.cuda = out.device.type == "cuda"
        self.stream = torch.cuda.current_stream(out.device) if self.cuda else None

    def _block(self, count: int) -> torch.Tensor:
        """Pinned memory of so many elements, whose last copy has ended."""
        with self.lock:
            block, copied = self.pool.popleft() if self.pool else (None, None)
        if block is None or block.numel() < count:
            size = count if count > RANGE else RANGE
            return torch.empty(min(size, max(self.size, 1)), dtype=self.out.dtype, device="cpu", pin_memory=self.cuda)
        if copied is not None:
            copied.synchronize()
        return block

    def _queueing(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.cuda else nullcontext()

    def run(self, lo: int, hi: int) -> None:
        """Draw elements lo..hi, in the row-major order of the box, and copy them over."""
        for part in boxes_of(tuple(self.out.shape), lo, hi):
            shape = tuple(each.stop - each.start for each in part)
            where: Any = (*part, ...)  # a view of a tensor without axes, too
            view = self.out[where]
            block = self._block(view.numel())
            staged = block[: view.numel()].view(shape)
            if self.scale is not None:
                with self._queueing():  # after what is queued there
                    staged.copy_(view)
            box = tuple(
                slice(own.start + at.start, own.start + at.stop) for own, at in zip(self.box, part, strict=True)
            )
            array, _ = memory_of(staged)
            bound = self.law.bind(Destination(array, self.kind, self.key, self.shape, box or None, self.scale))
            if self.by_units:
                bound.run(0, bound.size)
            else:
                run_bounds([bound], None)
            copied = None
            with self._queueing():
                # Elsewhere the block is used again at once: a copy that is only queued would take what comes next.
                view.copy_(staged, non_blocking=self.cuda)
                if self.cuda:
                    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                    copied.record(self.stream)
            with self.lock:
                self.pool.append((block, copied))
