"""The header of a safetensors file: laid out from a list of tensors, and read without trusting it.

The format (github.com/huggingface/safetensors): 8 little-endian bytes that hold the header's length, a JSON header from
names to dtype, shape and data offsets, then the tensors' bytes, which must leave no gap.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from winit._core.shapes import Shape

__all__ = ["CODES", "DTYPES", "MAX_HEADER", "lay_out", "read_header"]

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


def lay_out(
    tensors: Iterable[tuple[str, str, Shape, int]], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    """Lay out a file of tensors (name, dtype, shape, bytes), one after the other, and its metadata.

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
        entries[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [places[name], end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"the file's header would be {len(text):,} bytes, more than the {MAX_HEADER:,} readers accept")
    start = 8 + len(text)
    return struct.pack("<Q", len(text)) + text, {name: start + place for name, place in places.items()}


def read_header(descriptor: int, name: str) -> tuple[dict[str, dict[str, Any]], dict[str, str], int]:
    """Read a safetensors header: (entries, metadata, where the tensors' bytes begin).

    Raises
    ------
    ValueError : not a safetensors file; the message says what is wrong. Nothing is allocated beyond the file's size.

    """

    def broken(what: str) -> ValueError:
        return ValueError(f"{name} is not a safetensors file: {what}")

    size = os.fstat(descriptor).st_size
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise broken("it is not a regular file")
    prefix = os.pread(descriptor, 8, 0)
    if len(prefix) < 8:
        raise broken(f"it has {size} bytes, and the header's length alone takes 8")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(size - 8, MAX_HEADER):
        raise broken(f"its header claims {length:,} bytes of a file of {size:,}")
    text = os.pread(descriptor, length, 8)
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                twice.append(key)
            found[key] = value
        return found

    try:
        entries = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise broken(f"its header is not JSON ({str(error).splitlines()[0]})") from None
    if twice:
        raise broken(f"its header has {twice[0]!r} twice")
    if not isinstance(entries, dict):
        raise broken("its header is not an object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken("its __metadata__ is not an object of strings")
    for tensor, entry in entries.items():
        match entry:
            case {"dtype": str(), "shape": [*_], "data_offsets": [int() as lo, int() as hi]}:
                pass
            case _:
                raise broken(f"its entry for {tensor!r} is malformed")
        if not 0 <= lo <= hi <= size - 8 - length:
            raise broken(f"the bytes of {tensor!r} lie outside it")
    end = 0
    for tensor, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["data_offsets"][0] != end:
            raise broken(f"the bytes of {tensor!r} do not begin where those before it end")
        end = entry["data_offsets"][1]
    if end != size - 8 - length:
        raise broken(f"{size - 8 - length - end:,} bytes at its end belong to no tensor")
    return entries, metadata, 8 + length
