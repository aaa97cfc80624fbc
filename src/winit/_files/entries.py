"""What a file holds: tensors by name, dtype, shape and place, as its header says and its size allows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

from winit._core.dtypes import itemsize
from winit._core.shapes import MAX_NDIM, Shape

__all__ = ["Entry", "File", "PathLike", "check_entry", "file_stamp", "opened"]

PathLike = str | os.PathLike[str]


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


def file_stamp(descriptor: int) -> tuple[int, ...]:
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


def check_entry(broken: Callable[[str], ValueError], name: str, dtype: str, shape: Any, nbytes: int) -> Shape:
    """Check a shape that a file claims against the bytes that are there."""
    if len(shape) > MAX_NDIM or not all(type(size) is int and size >= 0 for size in shape):
        raise broken(f"the shape of {name!r} is not one of at most {MAX_NDIM} sizes")
    expected = prod(shape) * itemsize(dtype)
    if expected != nbytes:
        raise broken(f"{name!r} has {nbytes:,} bytes, and its shape {tuple(shape)} of {dtype} takes {expected:,}")
    return tuple(shape)
