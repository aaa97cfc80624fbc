"""What a file holds: tensors by name, dtype, shape and place, as its header says and its size allows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

from winit._core.dtypes import itemsize
from winit._core.shapes import MAX_NDIM, Shape

__all__ = ["Entry", "File", "PathLike", "check_entry", "file_stamp", "open_files", "opened"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class File:
    """A file as it was when its header was read."""

    path: str
    stamp: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """A tensor in a file.

    place : where its bytes begin. Where packed is given, that many bytes there inflate to an array file, and the
        tensor's bytes begin at byte `skip` of it; crc is the whole array file's.
    fortran : its first axis runs fastest. swapped : its elements are in the other byte order.
    """

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
    swapped: bool = False

    @property
    def text(self) -> str:
        """What messages call it."""
        return f"{self.name!r} of {self.file.path}"


def file_stamp(descriptor: int) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading, as long as the block lasts."""
    _check_regular(path, os.stat(path).st_mode)  # noqa: PTH116
    # Opening a pipe that has taken the file's place meanwhile would wait for its other end.
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
        yield descriptor
    finally:
        os.close(descriptor)


def open_files(stack: ExitStack, entries: Iterable[Entry]) -> dict[File, int]:
    """Open the files of tensors for as long as the stack lasts, if they are what they were when they were looked at."""
    descriptors: dict[File, int] = {}
    for file in dict.fromkeys(entry.file for entry in entries):
        descriptors[file] = stack.enter_context(opened(file.path))
        if file_stamp(descriptors[file]) != file.stamp:
            raise ValueError(f"{file.path} has changed since its header was read")
    return descriptors


def _check_regular(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is not a regular file", path)


def check_entry(broken: Callable[[str], ValueError], name: str, dtype: str, shape: Any, nbytes: int) -> Shape:
    """Check a shape that a file claims against the bytes that are there."""
    if len(shape) > MAX_NDIM or not all(type(size) is int and size >= 0 for size in shape):
        raise broken(f"the shape of {name!r} is not one of at most {MAX_NDIM} sizes")
    expected = prod(shape) * itemsize(dtype)
    if expected != nbytes:
        raise broken(f"{name!r} has {nbytes:,} bytes, and its shape {tuple(shape)} of {dtype} takes {expected:,}")
    return tuple(shape)
