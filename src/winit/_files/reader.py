"""Tensors in files: safetensors, npz and indices of them, listed from headers that are not trusted, read in blocks."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from winit._core.shapes import MAX_NDIM, Shape
from winit._plans.plan import Param
from winit.checkpoint.writing import CODES, element_dtype, read_at, read_header

__all__ = [
    "BLOCK",
    "Entry",
    "File",
    "PathLike",
    "Picks",
    "Reader",
    "collect",
    "identity",
    "memory_dtype",
    "opened",
    "reader_of",
    "take",
]

BLOCK = 4 << 20  # bytes of a file that one thread reads at a time
GAP = 64 << 10  # bytes between picked rows that are cheaper to read than to skip
MAX_INDEX = 100_000_000  # bytes of an index; the same as of a header
MAX_NPY_HEADER = 10_000  # bytes, NumPy's own limit
MAX_DEFLATE = 1032  # bytes that deflate can make of one: 258 from two bits

PathLike = str | os.PathLike[str]
Picks = Sequence[range | np.ndarray]  # for each axis its indices, ascending; a range has step 1

_DTYPES = {code: name for name, code in CODES.items()}


# ---- what files hold


@dataclass(frozen=True)
class File:
    """A file as it was when its header was read."""

    path: str
    identity: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """A tensor in a file. Its bytes begin at place; or at byte `skip` of what `packed` bytes there inflate to."""

    name: str
    file: File
    dtype: str
    shape: Shape
    place: int
    nbytes: int
    fortran: bool = False
    packed: int | None = None
    skip: int = 0
    crc: int = 0


def identity(descriptor: int) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading, as long as the block lasts."""
    if stat.S_ISDIR(mode := os.stat(path).st_mode):  # noqa: PTH116
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its other end
        raise OSError(errno.EINVAL, "is not a regular file", path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _entries(path: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read what a file says it holds, and which of its names stand for which other."""
    with opened(path) as descriptor:
        file = File(path, identity(descriptor))
        # A safetensors file that began so would claim a header of 2^36 bytes or more.
        if os.pread(descriptor, 4, 0) in (b"PK\x03\x04", b"PK\x05\x06"):
            return _read_npz(descriptor, file), {}
        return _read_safetensors(descriptor, file)


def _check_entry(broken: Callable[[str], ValueError], name: str, dtype: str, shape: Any, nbytes: int) -> Shape:
    """Check a shape that a file claims against the bytes that are there."""
    if len(shape) > MAX_NDIM or not all(type(size) is int and size >= 0 for size in shape):
        raise broken(f"the shape of {name!r} is not one of at most {MAX_NDIM} sizes")
    expected = prod(shape) * Param(dtype=dtype).itemsize
    if expected != nbytes:
        raise broken(f"{name!r} has {nbytes:,} bytes, and its shape {tuple(shape)} of {dtype} takes {expected:,}")
    return tuple(shape)


def _read_safetensors(descriptor: int, file: File) -> tuple[dict[str, Entry], dict[str, str]]:
    listed, metadata, start = read_header(descriptor, file.path)

    def broken(what: str) -> ValueError:
        return ValueError(f"{file.path} is not a safetensors file: {what}")

    entries = {}
    for name, entry in listed.items():
        lo, hi = entry["data_offsets"]
        dtype, shape = _DTYPES.get(entry["dtype"], entry["dtype"]), entry["shape"]
        if dtype in CODES:  # others, such as F8_E4M3, may be there as long as nothing asks for them
            shape = _check_entry(broken, name, dtype, shape, hi - lo)
        entries[name] = Entry(name, file, dtype, shape, start + lo, hi - lo)
    # safetensors.torch.save_model writes shared tensors once, and for each other name the one that was kept.
    aliases = {name: kept for name, kept in metadata.items() if kept in entries and name not in entries}
    return entries, aliases


def _read_npz(descriptor: int, file: File) -> dict[str, Entry]:
    def broken(what: str) -> ValueError:
        return ValueError(f"{file.path} is not an npz file: {what}")

    size = os.fstat(descriptor).st_size
    try:
        with open(os.dup(descriptor), "rb") as stream, zipfile.ZipFile(stream) as archive:  # noqa: PTH123
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError, OSError) as error:
        raise broken(f"its directory cannot be read ({str(error) or type(error).__name__})") from None
    entries: dict[str, Entry] = {}
    end = 0
    for member in members:
        shown = member.filename
        if not shown.endswith(".npy"):
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
    return entries


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
    # NumPy writes bfloat16, a dtype that it does not know, as two bytes of nothing in particular.
    kind = "object" if dtype.hasobject else "bfloat16" if dtype.str == "|V2" else dtype.name if dtype.isnative else ""
    if kind in CODES:
        shape = _check_entry(broken, name, kind, shape, nbytes)
    fortran = bool(fortran) and sum(size != 1 for size in shape) > 1
    place = begin + (skip if packed is None else 0)
    skipped = 0 if packed is None else skip
    return Entry(name, file, kind or dtype.str, shape, place, nbytes, fortran, packed, skipped, member.CRC)


def _index(path: Path) -> tuple[list[str], dict[str, str]]:
    """Read an index: the files it names, and which file each tensor is in."""
    with opened(str(path)) as descriptor:
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, min(size, MAX_INDEX + 1), 0)

    def broken(what: str) -> ValueError:
        return ValueError(f"{path} is not an index of safetensors files: {what}")

    if size > MAX_INDEX:
        raise broken(f"it has {size:,} bytes")
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken(f"it is not JSON ({str(error).splitlines()[0]})") from None
    found = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise broken("it has no 'weight_map' from names to files")
    for file in found.values():
        if Path(file).name != file or "\0" in file:
            raise broken(f"{file!r} is not the name of a file beside it")
    places = {name: str(path.with_name(file)) for name, file in found.items()}
    return list(dict.fromkeys(places.values())), places


def collect(given: PathLike | Iterable[PathLike]) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read the headers of all files: their tensors, and which other names stand for which of them."""
    paths = (
        [given] if isinstance(given, (str, os.PathLike)) else list(given) if isinstance(given, Iterable) else [given]
    )
    entries: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    for path in paths:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise TypeError(f"path must be a path or several, not {path!r}")
        text, index = os.fspath(path), None
        files = [text]
        if text.endswith(".json"):
            files, index = _index(Path(text))
        for file in files:
            found, shared = _entries(file)
            for name in found:
                if name in entries:
                    raise ValueError(f"{name!r} is in {entries[name].file.path} and again in {file}")
                if index is not None and index.get(name) != file:
                    raise ValueError(f"{file} holds {name!r}, and {text} says {index.get(name)!r}")
            entries |= found
            aliases |= shared
        lacking = next((name for name in index or () if name not in entries), None)
        if index is not None and lacking is not None:
            raise ValueError(f"{index[lacking]} lacks {lacking!r}, which {text} says it holds")
    if not paths:
        raise ValueError("path must be a path or several, not none")
    return entries, {name: kept for name, kept in aliases.items() if name not in entries}


# ---- reading


class Reader(Protocol):
    """Reads bytes of a tensor."""

    def read(self, into: Any, offset: int) -> None:
        """Fill a byte buffer with a tensor's bytes from an offset on."""
        ...


class _Plain:
    """A tensor whose bytes stand in the file as they are: any number of threads may read it."""

    def __init__(self, descriptor: int, entry: Entry) -> None:
        self.descriptor, self.entry = descriptor, entry

    def read(self, into: Any, offset: int) -> None:
        try:
            read_at(self.descriptor, memoryview(into), self.entry.place + offset, self.entry.file.path)
        except OSError as error:
            error.filename = self.entry.file.path
            raise


class _Inflating:
    """A compressed tensor: read forwards, and from the start again to go back. For one thread."""

    def __init__(self, descriptor: int, entry: Entry) -> None:
        self.plain, self.entry = _Plain(descriptor, entry), entry
        self._restart()

    def _restart(self) -> None:
        self.inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self.at = self.taken = self.crc = 0

    def read(self, into: Any, offset: int) -> None:
        into = memoryview(into)
        offset += self.entry.skip
        if offset < self.at:
            self._restart()
        while self.at < offset:
            self._next(min(offset - self.at, 1 << 20))
        while into:
            data = self._next(len(into))
            into[: len(data)] = data
            into = into[len(data) :]

    def _next(self, most: int) -> bytes:
        packed = self.entry.packed
        assert packed is not None
        while True:
            source = self.inflate.unconsumed_tail
            if not source and self.taken < packed:
                piece = bytearray(min(1 << 16, packed - self.taken))
                self.plain.read(piece, self.taken)
                self.taken += len(piece)
                source = bytes(piece)
            try:
                data = self.inflate.decompress(source, most)
            except zlib.error as error:
                raise self._broken(str(error)) from None
            if data:
                break
            if self.inflate.eof or (not source and self.taken == packed):
                raise self._broken("they end early")
        self.at += len(data)
        self.crc = zlib.crc32(data, self.crc)
        if self.at == self.entry.skip + self.entry.nbytes and self.entry.crc and self.crc != self.entry.crc:
            raise self._broken("their checksum is wrong")
        return data

    def _broken(self, what: str) -> ValueError:
        return ValueError(f"{self.entry.file.path}: the compressed bytes of {self.entry.name!r} are broken: {what}")


def reader_of(descriptor: int, entry: Entry) -> Reader:
    """Return what reads a tensor's bytes, for one thread."""
    return _Plain(descriptor, entry) if entry.packed is None else _Inflating(descriptor, entry)


def take(
    reader: Reader,
    entry: Entry,
    shape: Shape,
    picks: Picks,
    out: np.ndarray,
    convert: Callable[[np.ndarray], np.ndarray],
    base: int = 0,
) -> None:
    """Fill out with picked indices of each axis of a row-major tensor that begins at element `base`.

    picks are ascending; file offsets only ascend, too. What lies between picked rows is read with them where it is
    short, and never more than BLOCK bytes at a time.
    """
    if out.size == 0:
        return
    kind = memory_dtype(entry.dtype)
    indices, inner = picks[0], prod(shape[1:])
    limit = BLOCK // (inner * kind.itemsize)
    if limit == 0:
        for i, index in enumerate(indices):
            take(reader, entry, shape[1:], picks[1:], out[i], convert, base + int(index) * inner)
        return
    if len(indices) > 1 and (indices[-1] - indices[0]) // (len(indices) - 1) * inner * kind.itemsize > GAP:
        limit = 1
    i = 0
    while i < len(indices):
        first = int(indices[i])
        if isinstance(indices, range):
            end = min(i + limit, len(indices))
            rows: range | np.ndarray = range(end - i)
        else:
            end = int(np.searchsorted(indices, first + limit))
            rows = indices[i:end] - first
        count = int(rows[-1]) + 1
        raw = np.empty(count * inner * kind.itemsize, np.uint8)
        reader.read(raw, (base + first * inner) * kind.itemsize)
        if entry.dtype == "bool" and raw.max() > 1:
            raise ValueError(f"{entry.file.path}: {entry.name!r} is bool and has bytes other than 0 and 1")
        block = raw.view(kind).reshape(count, *shape[1:])
        for axis, chosen in enumerate((rows, *picks[1:])):
            if isinstance(chosen, range):
                block = block[(slice(None),) * axis + (slice(chosen.start, chosen.stop),)]
            else:
                block = block.take(chosen, axis)
        out[i:end] = convert(block)
        i = end


def memory_dtype(dtype: str) -> np.dtype:
    """Return what elements of a dtype are in memory: words of 16 bits for bfloat16."""
    return element_dtype(Param(dtype=dtype))
