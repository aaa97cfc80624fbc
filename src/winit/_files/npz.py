"""The members of an npz archive, from a directory and headers that are not trusted; and bytes that are compressed."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
from collections.abc import Callable

import numpy as np

from winit._files.entries import Entry, File, check_entry
from winit._files.first_bytes import ZIP, kind_of
from winit._files.reader import reader_of
from winit._files.safetensors_header import CODES
from winit._files.strict_json import object_of

__all__ = ["read_npz"]

MAX_NPY_HEADER = 10_000  # bytes, NumPy's own limit
MAX_DEFLATE = 1032  # bytes that deflate can make of one: 258 from two bits


def read_npz(descriptor: int, file: File) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read the directory of an archive and the header of each member; and metadata, where its comment holds some."""

    def broken(what: str) -> ValueError:
        return ValueError(f"{file.path} is not an npz file: {what}")

    size = os.fstat(descriptor).st_size
    try:
        with open(os.dup(descriptor), "rb") as stream, zipfile.ZipFile(stream) as archive:  # noqa: PTH123
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            metadata = _metadata(archive.comment)
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError, OSError) as error:
        raise broken(f"its directory cannot be read ({str(error) or type(error).__name__})") from None
    entries: dict[str, Entry] = {}
    end = 0
    for member in members:
        shown = member.filename
        if not shown.endswith(".npy"):
            kind = kind_of(os.pread(descriptor, 512, 0))
            if kind not in (None, ZIP):
                raise ValueError(f"{file.path} is {kind}")
            raise broken(f"it holds {shown!r}, which is not .npy; other formats must be saved as safetensors first")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise broken(f"{shown!r} is encrypted, or compressed otherwise than by deflate")
        local = os.pread(descriptor, 30, member.header_offset) if 0 <= member.header_offset < size else b""
        if len(local) < 30 or local[:4] != b"PK\x03\x04":
            raise broken(f"{shown!r} does not begin where its directory says")
        name_size, extra_size = struct.unpack("<HH", local[26:])
        begin = member.header_offset + 30 + name_size + extra_size
        if member.header_offset < end:
            raise broken(f"{shown!r} overlaps what stands before it")
        own = os.pread(descriptor, name_size, member.header_offset + 30)
        if own != member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437"):
            raise broken(f"{shown!r} begins with another name than its directory says")
        end = begin + member.compress_size
        if end > size:
            raise broken(f"{shown!r} claims {member.compress_size:,} bytes at {begin:,} of a file of {size:,}")
        stored = member.compress_type == zipfile.ZIP_STORED
        most = member.compress_size if stored else member.compress_size * MAX_DEFLATE
        if member.file_size > most or (stored and member.file_size != most):
            raise broken(f"{shown!r} claims {member.file_size:,} bytes, and {member.compress_size:,} are there")
        name = shown.removesuffix(".npy")
        if name in entries:
            raise broken(f"it has {name!r} twice")
        entries[name] = _read_npy(descriptor, file, member, name, begin, broken)
    return entries, metadata


def _metadata(comment: bytes) -> dict[str, str]:
    """Return the metadata that npz_writing puts into an archive's comment; nothing for any other comment."""
    try:
        found = object_of(comment)
    except ValueError:
        return {}
    return found if all(isinstance(value, str) for value in found.values()) else {}


def _read_npy(
    descriptor: int, file: File, member: zipfile.ZipInfo, name: str, begin: int, broken: Callable[[str], ValueError]
) -> Entry:
    packed = None if member.compress_type == zipfile.ZIP_STORED else member.compress_size
    whole = Entry(name, file, "uint8", (member.file_size,), begin, member.file_size, False, packed)
    head = np.empty(min(member.file_size, MAX_NPY_HEADER + 16), np.uint8)
    reader_of(descriptor, whole).read(head, 0)
    # Python 2 wrote (3L, 4L), of which NumPy warns; to silence that would be for all threads.
    stream = io.BytesIO(re.sub(rb"(?<=\d)L(?=[,)])", b" ", head.tobytes()))
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=MAX_NPY_HEADER)
    except Exception as error:  # NumPy's parser lets through what Python's own raises, tokenize.TokenError for one
        raise broken(f"the header of {name!r} cannot be read ({' '.join(str(error).split())})") from None
    skip = stream.tell()
    nbytes = member.file_size - skip
    # NumPy writes bfloat16, a dtype that it does not know, as two bytes of nothing in particular. Records and arrays of
    # two bytes print alike, and say what is in them.
    plain = dtype.str == "|V2" and dtype.fields is None and dtype.subdtype is None
    kind = "object" if dtype.hasobject else "bfloat16" if plain else dtype.newbyteorder("=").name
    if kind in CODES:
        shape = check_entry(broken, name, kind, shape, nbytes)
    fortran = bool(fortran) and sum(size != 1 for size in shape) > 1
    place = begin + (skip if packed is None else 0)
    skipped = 0 if packed is None else skip
    swapped = not dtype.isnative
    return Entry(name, file, kind, shape, place, nbytes, fortran, packed, skipped, member.CRC, swapped)
