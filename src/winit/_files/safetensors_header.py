"""The header of a safetensors file: laid out from a list of tensors, and read without trusting it.

The format (github.com/huggingface/safetensors): 8 little-endian bytes that hold the header's length, a JSON header from
names to dtype, shape and data offsets, then the tensors' bytes, which must leave no gap.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from winit._core.checks import shown
from winit._core.dtypes import itemsize
from winit._core.shapes import MAX_NDIM, Shape
from winit._files.first_bytes import kind_of
from winit._files.strict_json import ForbiddenError, object_of

__all__ = ["BITS", "CODES", "DTYPES", "MAX_HEADER", "Header", "Listed", "lay_out", "read_header"]

MAX_HEADER = 100_000_000  # what the safetensors library reads

CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
}
DTYPES = {code: name for name, code in CODES.items()}
# The bits of an element of each dtype of the format, safetensors 0.8: also of those that no plan has.
BITS = {code: 8 * itemsize(name) for name, code in CODES.items()} | {
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}

_LARGEST = (1 << 64) - 1


def lay_out(
    tensors: Iterable[tuple[str, str, Shape, int]], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    """Lay out a file of tensors (name, dtype or its code, shape, bytes), one after the other, and its metadata.

    Returns
    -------
    (bytes, dict) : all that precedes the tensors' bytes, and each tensor's place in the file.

    Raises
    ------
    ValueError : a tensor called "__metadata__", a header longer than 100 MB.

    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    places = {}
    end = 0
    for name, dtype, shape, nbytes in tensors:
        if name == "__metadata__":
            raise ValueError("a tensor cannot be called '__metadata__' in a safetensors file")
        places[name] = end
        end += nbytes
        entries[name] = {"dtype": CODES.get(dtype, dtype), "shape": list(shape), "data_offsets": [places[name], end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"the file's header would be {len(text):,} bytes, more than the {MAX_HEADER:,} readers accept")
    start = 8 + len(text)
    return struct.pack("<Q", len(text)) + text, {name: start + place for name, place in places.items()}


class Listed(NamedTuple):
    """What a header says of a tensor: its dtype's code, its shape, and where in the data its bytes begin and end."""

    code: str
    shape: Shape
    begin: int
    end: int


class Header(NamedTuple):
    """A header that the whole file bears out, and where the data begin."""

    entries: dict[str, Listed]
    metadata: dict[str, str]
    start: int


def read_header(descriptor: int, name: str) -> Header:
    """Read a safetensors header, and check that it describes the whole file, byte by byte.

    What the safetensors library refuses is refused. Refused, too, is what the library takes and the format forbids
    or NumPy cannot hold: a key given twice, an entry that is an array in the place of an object, a dtype that is
    anything but text, more than 64 axes.

    Raises
    ------
    ValueError : not a safetensors file; the message says what is wrong, or what else the file is by its first bytes.
        Nothing is allocated beyond the file's size.

    """
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, 512, 0)

    def broken(what: str) -> ValueError:
        kind = kind_of(head)
        return ValueError(f"{name} is {kind}" if kind else f"{name} is not a safetensors file: {what}")

    if len(head) < 8:
        raise broken(f"it has {size} bytes, and the header's length alone takes 8")
    (length,) = struct.unpack("<Q", head[:8])
    if length > min(size - 8, MAX_HEADER):
        raise broken(f"its header claims {length:,} bytes of a file of {size:,}")
    try:
        found = object_of(os.pread(descriptor, length, 8))
    except ForbiddenError as error:
        raise broken(f"its header {error}") from None
    except ValueError as error:
        raise broken(f"its header is not JSON ({str(error).splitlines()[0]})") from None
    metadata = found.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken("its __metadata__ is not an object of strings")
    entries = {tensor: _listed(tensor, entry, size - 8 - length, broken) for tensor, entry in found.items()}
    end = 0
    for tensor, listed in sorted(entries.items(), key=lambda item: item[1][2:]):
        if listed.begin != end:
            raise broken(f"the bytes of {shown(tensor)} do not begin where those before it end")
        end = listed.end
    if end != size - 8 - length:
        raise broken(f"{size - 8 - length - end:,} bytes at its end belong to no tensor")
    return Header(entries, metadata, 8 + length)


def _listed(tensor: str, entry: Any, data: int, broken: Callable[[str], ValueError]) -> Listed:
    """Check one entry by itself."""
    match entry:
        case {"dtype": str() as code, "shape": [*shape], "data_offsets": [begin, end]}:
            pass
        case _:
            raise broken(f"its entry for {shown(tensor)} is malformed")
    if code not in BITS:
        raise broken(f"{shown(tensor)} has the dtype {shown(code)}, which the format lacks")
    if not all(type(number) is int and 0 <= number <= _LARGEST for number in (*shape, begin, end)):
        raise broken(f"its entry for {shown(tensor)} is malformed")
    if len(shape) > MAX_NDIM:
        raise broken(f"{shown(tensor)} has {len(shape)} axes, more than {MAX_NDIM}")
    bits = 1
    for number in (*shape, BITS[code]):
        bits *= number
        if bits > _LARGEST:  # on the way, too, as where a size of 0 follows: the library counts in 64 bits
            raise broken(f"the shape of {shown(tensor)} has too many elements to count")
    if not begin <= end <= data:
        raise broken(f"the bytes of {shown(tensor)} lie outside it")
    if bits != 8 * (end - begin):
        takes = f"{bits // 8:,}" if bits % 8 == 0 else f"{bits / 8:,}"
        raise broken(f"{shown(tensor)} has {end - begin:,} bytes, and its shape {tuple(shape)} of {code} takes {takes}")
    return Listed(code, tuple(shape), begin, end)
