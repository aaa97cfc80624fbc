"""A torch tensor's memory as a NumPy array that winit fills, and what its dtype is called; without a copy."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from winit._core.checks import shown

__all__ = ["KINDS", "PLAIN", "check_tensor", "huge_pages", "memory_of", "written"]

KINDS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float8_e4m3fn: "float8_e4m3fn",
    torch.float8_e5m2: "float8_e5m2",
    **{getattr(torch, name): name for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "complex64")},
    **{getattr(torch, name): name for name in ("uint16", "uint32", "uint64", "complex128")},
}
_WORDS = {torch.bfloat16: torch.uint16, torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8}
# Other types may lend memory that is not theirs; a lazy parameter's has no shape.
PLAIN = (torch.nn.Parameter, torch.Tensor)
_HUGE = 2 << 20  # bytes of a huge page on x86-64 and, with pages of 4 KiB, on aarch64


def check_tensor(tensor: Any, what: str = "tensor") -> None:
    """Raise unless a caller's value is a tensor that can be filled in place, or is on the meta device."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, not {shown(tensor)}")
    if isinstance(tensor, UninitializedTensorMixin):
        raise TypeError(f"{what} has no shape yet: run the lazy module once, and initialise it then")
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise TypeError(
            f"{what} is inside torch.vmap or another transform of torch.func, which knows no in-place fill: "
            "fill it outside"
        )
    if tensor.layout != torch.strided:
        raise TypeError(f"{what} is sparse ({tensor.layout}), and winit fills dense memory: fill tensor.values()")
    if tensor.is_quantized:
        raise TypeError(f"{what} is quantised: fill a float tensor, and quantise that")
    if tensor.dtype not in KINDS:
        raise TypeError(f"{what} has the dtype {tensor.dtype}, which winit does not draw")
    if tensor.is_conj() or tensor.is_neg():
        raise ValueError(f"{what} is a view that conjugates or negates what is in its memory: fill the tensor itself")


def memory_of(tensor: torch.Tensor, what: str = "tensor") -> tuple[np.ndarray, str]:
    """Give the array over the memory of a CPU tensor, of words for the types that NumPy has not, and its dtype's name.

    What such an array cannot be made of is looked at when that was tried: the checks would be half of a small fill.
    """
    if type(tensor) not in PLAIN:
        check_tensor(tensor, what)
    try:
        kind = KINDS[tensor.dtype]
        word = _WORDS.get(tensor.dtype)
        plain = tensor.data
        return (plain if word is None else plain.view(word)).numpy(), kind
    except Exception as error:
        said = str(error)
    check_tensor(tensor, what)
    raise TypeError(f"{what}, a {type(tensor).__name__} on {tensor.device}, gives no memory to fill: {said}")


def written(tensor: torch.Tensor) -> None:
    """Tell autograd that a tensor's memory was written to, as an in-place operation of torch would."""
    if not tensor.is_inference():
        torch._C._increment_version((tensor,))


def huge_pages(array: np.ndarray) -> None:
    """Ask for huge pages for memory that was not touched yet: touching it is then much of a fill's time less."""
    if not hasattr(mmap, "MADV_HUGEPAGE") or array.nbytes < _HUGE or not array.flags.forc:
        return
    # To the ends of ordinary pages: tensors that lie side by side then share the huge pages between them.
    begin = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    end = -(-(array.ctypes.data + array.nbytes) // mmap.PAGESIZE) * mmap.PAGESIZE
    # A kernel that does not take the advice is no error.
    ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_HUGEPAGE)
