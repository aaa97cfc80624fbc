"""An array over the memory of any object that offers some, without a copy.

A NumPy array over the CPU's memory, a DeviceArray over that of a CUDA or ROCm device.
"""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from winit import _kernels

__all__ = ["array_over"]

# dlpack.h, version 1: type codes and bits to NumPy's names, the devices whose memory the CPU addresses, and flags.
# NumPy has no bfloat16 (code 4) and no float8 (10: e4m3fn, 12: e5m2): their words stand for them.
_NAMES = {(0, 8 << i): f"int{8 << i}" for i in range(4)} | {(1, 8 << i): f"uint{8 << i}" for i in range(4)}
_NAMES |= {(2, 16 << i): f"float{16 << i}" for i in range(3)}
_NAMES |= {(5, 64): "complex64", (5, 128): "complex128", (6, 8): "bool"}
_WORDS = {(4, 16): "bfloat16", (10, 8): "float8_e4m3fn", (12, 8): "float8_e5m2"}
_ON_CPU = (1, 3, 11)  # kDLCPU; host memory pinned for CUDA and for ROCm
_ON_DEVICE = (2, 10, 13)  # kDLCUDA; kDLROCM; kDLCUDAManaged
_MAJOR = 1
_FLAG_READ_ONLY, _FLAG_COPIED = 1, 2


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),  # releases the GIL: deleters take it where they need it
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


# Prototypes of our own: the attributes of ctypes.pythonapi are shared with every other user of it.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))
_FRESH, _USED = b"dltensor_versioned", b"used_dltensor_versioned"  # a capsule keeps the pointer to its name


class _Lent:
    """Memory lent through DLPack: given back when the last array over it is gone."""

    __array_interface__: dict[str, Any]

    def __init__(self, capsule: Any) -> None:
        self._managed: _ManagedTensor | None = None
        address = _pointer(capsule, _FRESH)
        _rename(capsule, _USED)  # from here on it is ours to give back, and not the capsule's
        self._managed = _ManagedTensor.from_address(address)

    def __del__(self) -> None:
        managed, self._managed = self._managed, None
        if managed is not None and managed.deleter:
            managed.deleter(ctypes.addressof(managed))

    def array(self, on_device: bool = False) -> tuple[Any, str | None]:
        """Return an array over the memory, which keeps self alive, and what its words stand for where they do."""
        managed = self._managed
        assert managed is not None
        if managed.major != _MAJOR:
            raise ValueError(f"out exports DLPack {managed.major}.{managed.minor}, and winit reads version {_MAJOR}")
        tensor = managed.tensor
        if not on_device:
            _check_device(tensor.device_type)
        if managed.flags & _FLAG_COPIED:
            raise ValueError("out exports a copy of its memory by DLPack, which is not what would be filled")
        kind = _WORDS.get((tensor.code, tensor.bits))
        name = _NAMES.get((tensor.code, tensor.bits)) if kind is None else f"uint{tensor.bits}"
        if name is None or tensor.lanes != 1:
            lanes = f" x {tensor.lanes}" if tensor.lanes != 1 else ""
            raise TypeError(
                f"out has elements that NumPy does not have: DLPack's type {tensor.code} of {tensor.bits} bits{lanes}"
            )
        dtype = np.dtype(name)
        shape, read_only = tuple(tensor.shape[: tensor.ndim]), bool(managed.flags & _FLAG_READ_ONLY)
        if 0 in shape:  # nowhere, and so on the CPU
            empty = np.empty(shape, dtype)
            empty.flags.writeable = not read_only
            return empty, kind
        if not tensor.data:
            raise ValueError(f"out has no memory: its DLPack tensor of shape {shape} is at address 0")
        strides = tuple(step * dtype.itemsize for step in tensor.strides[: tensor.ndim]) if tensor.strides else None
        if on_device:
            place = tensor.data + tensor.byte_offset
            return _device_array(place, shape, strides, dtype, read_only, self), kind
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (tensor.data + tensor.byte_offset, read_only),
            "strides": strides,
        }
        return np.asarray(self), kind


def _check_device(device: int) -> None:
    if device not in _ON_CPU:
        why = _kernels.device_engine()[1] if device in _ON_DEVICE else None
        where = f"on a device of DLPack's type {int(device)}"
        raise ValueError(f"out must be in the CPU's memory, and is {where}{f': {why}' if why else ''}")


def _device_array(
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    dtype: np.dtype,
    read_only: bool,
    owner: Any,
    stream: int | None = None,
) -> Any:
    """A DeviceArray over words of memory; dtype is that of the numbers there."""
    if read_only:
        raise ValueError("out must be writeable, and is read-only")
    engine, _ = _kernels.device_engine()
    if not dtype.isnative:
        raise ValueError(f"out must be in native byte order, not {dtype.str!r}")
    word: np.dtype | None = dtype
    if dtype.kind in "uV" or (dtype.kind == "f" and dtype.itemsize == 2):
        word = np.dtype(f"i{dtype.itemsize}") if dtype.itemsize in (1, 2, 4, 8) else None
    if word is None or word.kind not in "biufc":
        raise TypeError(f"out must hold boolean, integer, real or complex numbers, not {dtype}")
    try:
        return engine.array_at(address, shape, strides, word, dtype.name, owner, stream)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"out is device memory that torch does not take: {_said(error)}") from None


def _cuda_interface(out: Any) -> Any:
    """None where the object has no __cuda_array_interface__, or nothing draws there."""
    interface = getattr(out, "__cuda_array_interface__", None)
    if not isinstance(interface, dict) or _kernels.device_engine()[1]:
        return None
    try:
        address, read_only = interface["data"]
        shape, dtype = tuple(map(int, interface["shape"])), np.dtype(interface["typestr"])
        strides = interface.get("strides")
        strides = None if strides is None else tuple(map(int, strides))
        stream = interface.get("stream")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"out has a __cuda_array_interface__ that winit does not read: {_said(error)}") from None
    if interface.get("mask") is not None:
        raise TypeError("out is masked, and winit fills all of an array")
    if 0 in shape:
        return np.empty(shape, dtype)
    return _device_array(address, shape, strides, dtype, bool(read_only), out, stream)


def _said(error: Exception) -> str:
    """What another library says of its object, on one short line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:170]}..."


def _dlpack(out: Any) -> tuple[Any, str | None] | None:
    """None where the object exports a capsule without a version."""
    on_device = False
    try:
        (device, number), capsule = out.__dlpack_device__(), None
        on_device = device in _ON_DEVICE and not _kernels.device_engine()[1]
        if device in _ON_CPU or on_device:
            ordered = {"stream": _kernels.device_engine()[0].stream_for_dlpack(number)} if on_device else {}
            try:
                capsule = out.__dlpack__(max_version=(_MAJOR, 1), **ordered)
            except TypeError:  # from before versions
                capsule = out.__dlpack__()
    except (BufferError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        hint = "; pass out.detach(), which is the same memory" if getattr(out, "requires_grad", False) is True else ""
        raise ValueError(f"out does not export its memory by DLPack: {_said(error)}{hint}") from None
    if not on_device:
        _check_device(device)
    if not _is_valid(capsule, _FRESH):
        return None
    if callable(getattr(out, "is_neg", None)) and out.is_neg():  # torch exports these as if they were not
        raise ValueError("out is a torch tensor that negates what is in its memory (out.is_neg() is true)")
    return _Lent(capsule).array(on_device)


def _buffer(out: Any) -> np.ndarray | None:
    """None where the object does not speak the buffer protocol."""
    try:
        view = memoryview(out)
    except TypeError:
        return None
    except (BufferError, ValueError) as error:
        raise ValueError(f"out does not export its buffer: {_said(error)}") from None
    with view:  # the array holds the buffer by itself
        try:
            return np.asarray(view)
        except (ValueError, RuntimeError) as error:
            raise TypeError(f"out has elements that NumPy does not have: {_said(error)}") from None


def _interface(out: Any) -> np.ndarray | None:
    """None where the object has no __array_interface__."""
    interface = getattr(out, "__array_interface__", None)
    if not isinstance(interface, dict):
        return None
    try:
        # Not np.asarray(out): NumPy would try other protocols, __array__ among them, that may give a copy.
        return np.asarray(SimpleNamespace(__array_interface__=interface, owner=out))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"out has an __array_interface__ that NumPy does not read: {_said(error)}") from None


def array_over(out: Any) -> tuple[Any, str | None]:
    """Give an array over an object's memory, and "bfloat16" or a float8 where its words are that, else None.

    Of a torch tensor on a device torch is asked, and else the protocols in the order __cuda_array_interface__ (where
    there is a device that winit draws on), DLPack, buffer, __array_interface__. It is a NumPy array over the CPU's
    memory, a DeviceArray over a device's. It is read-only where the object says that it is (refused, on a device), and
    keeps what it lies in alive and exported; both end with it.

    A DLPack capsule without a version cannot say that its memory must not be written, and JAX's and Arrow's immutable
    arrays come in such capsules. NumPy takes them to be read-only; here another protocol has to do.

    Raises
    ------
    TypeError : an object that speaks none of them, or elements that NumPy does not have.
    ValueError : memory that is on a device that winit does not draw on, a copy, or that its owner does not export.

    Source: dlpack.h (dmlc/dlpack 1.1); PEP 3118; NumPy's "The array interface protocol", version 3.

    >>> import array
    >>> words = array.array("H", [0, 0])
    >>> view, _ = array_over(words)
    >>> view[1] = 7
    >>> words
    array('H', [0, 7])

    """
    unversioned = False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(out, torch.Tensor) and out.device.type == "cuda":
        engine, why = _kernels.device_engine()
        if why:
            raise ValueError(f"out must be in the CPU's memory, and is on {out.device}: {why}")
        array = engine.array_of_tensor(out)
        return array, array.dtype
    found = _cuda_interface(out)
    if found is not None:
        return found, None
    if hasattr(out, "__dlpack__"):
        lent = _dlpack(out)
        if lent is not None:
            return lent
        unversioned = True
    found = _buffer(out)
    if found is None:
        found = _interface(out)
    if found is not None:
        return found, None
    if unversioned:
        raise ValueError(
            f"out, of type {type(out).__name__}, exports its memory by DLPack without a version, which cannot say that "
            "it may be written: pass a NumPy array over it"
        )
    if hasattr(out, "__cuda_array_interface__"):
        why = _kernels.device_engine()[1]
        raise ValueError(f"out must be in the CPU's memory, and is on a CUDA device{f': {why}' if why else ''}")
    copies = ", whose __array__ may be a copy" if hasattr(out, "__array__") else ""
    raise TypeError(
        "out must be a NumPy array or an object that speaks DLPack, the buffer protocol or __array_interface__, not "
        f"{type(out).__name__}{copies}"
    )
