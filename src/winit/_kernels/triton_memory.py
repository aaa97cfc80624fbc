"""Memory on a device under the names by which laws know an array, of words for narrow types.

Triton takes the current device and stream from torch, so a destination is a torch tensor, whoever owns its memory: what
another library owns is wrapped without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch

__all__ = ["DeviceArray", "array_at", "array_of_tensor", "stream_for_dlpack"]

_WORDS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.uint16: torch.int16}
_WORDS |= {torch.float8_e4m3fn: torch.int8, torch.float8_e5m2: torch.int8, torch.uint8: torch.int8}


class DeviceArray:
    """A tensor's memory on a device.

    words : the tensor, of integers where it holds a narrow type. dtype : the name of what is there. shape; steps :
    strides in elements; size. stream : the one on which what is done to the array is queued, by default the one that is
    current on its device when it is made. engine : what draws here, which says so itself.
    """

    engine: ClassVar[ModuleType]

    def __init__(self, tensor: torch.Tensor, dtype: str, stream: Any = None) -> None:
        plain = tensor.detach()
        self.words, self.dtype = plain.view(_WORDS.get(plain.dtype, plain.dtype)), dtype
        self.shape, self.steps = tuple(plain.shape), tuple(plain.stride())
        self.size = plain.numel()
        if stream is None and plain.device.type == "cuda":
            stream = torch.cuda.current_stream(plain.device)
        self.stream = stream

    def __getitem__(self, where: Any) -> DeviceArray:
        return DeviceArray(self.words[where], self.dtype, self.stream)

    def reshape(self, shape: tuple[int, ...]) -> DeviceArray:
        """Give a view of one axis as several."""
        return DeviceArray(self.words.view(shape), self.dtype, self.stream)

    def to_host(self) -> np.ndarray:
        """Copy what is there to the CPU's memory, of words for narrow types."""
        with self.queueing():
            copied: np.ndarray = self.words.cpu().numpy()
        return copied

    def from_host(self, values: np.ndarray) -> None:
        """Copy values over, and wait until they have left the CPU's memory."""
        word = torch.empty(0, dtype=self.words.dtype, device="cpu").numpy().dtype
        with self.queueing():
            self.words.copy_(torch.from_numpy(values.view(word)))

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides in bytes, as an array has them."""
        return tuple(step * self.itemsize for step in self.steps)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.words.element_size()

    @property
    def drawable(self) -> bool:
        """Whether Triton's kernels are for this device."""
        return self.words.device.type != "cuda" or _is_for(self.words.device)

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Make the device and the stream current: another thread has others."""
        if self.stream is None:
            yield
            return
        with torch.cuda.device(self.words.device), torch.cuda.stream(self.stream):
            yield


@lru_cache(maxsize=64)
def _is_for(device: torch.device) -> bool:
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def array_at(
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    word: np.dtype,
    dtype: str,
    owner: Any,
    stream: int | None,
) -> DeviceArray:
    """Give an array over memory of a device, which keeps its owner alive: strides in bytes, words as numbers.

    stream : of the owner, as __cuda_array_interface__ has it. What is queued there comes before and after what winit
    queues, since winit uses that stream. Without one it is torch's current stream.
    """
    interface = {"version": 3, "shape": shape, "typestr": word.str, "data": (address, False), "strides": strides}
    lent = SimpleNamespace(__cuda_array_interface__=interface, owner=owner)
    with torch._C.DisableTorchFunction():  # a default device would have it copied there
        tensor = torch.as_tensor(lent)  # on the device that the address is of
    if tensor.data_ptr() != address:
        raise ValueError("torch makes a copy of it")
    return DeviceArray(tensor, dtype, _stream(stream, tensor.device))


def _stream(number: int | None, device: torch.device) -> Any:
    """The stream of a number: 1 (CUDA) and 0 (ROCm) are the default one, which torch has under a number of its own."""
    if number is None:
        return None
    external: Any = torch.cuda.ExternalStream
    return torch.cuda.default_stream(device) if number in (0, 1) else external(number, device=device)


def array_of_tensor(tensor: torch.Tensor) -> DeviceArray:
    """Give an array over a torch tensor on a device; ValueError for one that has no plain memory."""
    if tensor.requires_grad:
        raise ValueError("out is a torch tensor that requires a gradient; pass out.detach(), which is the same memory")
    if tensor.is_conj() or tensor.is_neg():
        raise ValueError("out is a torch tensor that conjugates or negates what is in its memory")
    if type(tensor) is not torch.Tensor or tensor.layout != torch.strided:
        raise ValueError(f"out is a {type(tensor).__name__} ({tensor.layout}), not a plain torch.Tensor")
    return DeviceArray(tensor, str(tensor.dtype).removeprefix("torch."))


def stream_for_dlpack(device: int) -> int:
    """Number of torch's current stream on a device, as __dlpack__ takes it."""
    number: int = torch.cuda.current_stream(device).cuda_stream
    return 1 if number == 0 and torch.version.hip is None else number
