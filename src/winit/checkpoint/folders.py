"""Where the files of a checkpoint go: a folder of this machine, or one of an object store that fsspec knows.

A file appears whole or not at all in either. On this machine it is written by all threads at once; in a store it goes
out in parts, in order, and the store shows it when the last part is confirmed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from winit._files.appearing import destination
from winit._files.entries import opened
from winit._files.storing import Counter, Filed, Span, made_in_order, store

__all__ = ["FileOut", "Folder", "folder_of", "is_url"]

# Stores without folders, where making one would make a bucket that was perhaps only misspelt.
_BUCKETS = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "obs", "cos", "r2"))
PART = 64 << 20  # bytes of a part of a file in a store; S3 takes 10,000 parts of a file, so up to 640 GB


@dataclass(frozen=True)
class FileOut:
    """A file that is to be written: its name, whether it replaces another, its first bytes, and the spans after."""

    name: str
    overwrite: bool
    head: bytes
    spans: Iterable[Span] = ()
    nbytes: int = 0


class Folder(Protocol):
    """A folder that files are read from and written to."""

    def path(self, name: str) -> str:
        """Return what messages call a file in it."""
        ...

    def size(self, name: str) -> int | None:
        """Return the size of a file; None where there is none of the name."""
        ...

    def read(self, name: str, place: int, count: int) -> bytes:
        """Read bytes of a file: fewer where it ends before."""
        ...

    def write(self, files: Sequence[FileOut], threads: int | None, counter: Counter) -> None:
        """Write files in order, each whole or not at all; what can be known to fail fails before the first."""
        ...


def is_url(path: str) -> bool:
    """Tell whether a path names a place in a store, such as s3://bucket/folder."""
    scheme, found, _ = path.partition("://")
    return bool(found) and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()


def folder_of(path: str) -> Folder:
    """Return a folder of this machine or of a store."""
    return StoreFolder(path) if is_url(path) else LocalFolder(path)


class LocalFolder:
    """A folder of this machine; it is made, with those above it, when the first file is written."""

    def __init__(self, path: str) -> None:
        self.typed = path

    def path(self, name: str) -> str:
        return os.path.join(self.typed, name)  # noqa: PTH118

    def size(self, name: str) -> int | None:
        try:
            found = os.stat(self.path(name))  # noqa: PTH116
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file and will not be replaced by one", self.path(name))
        return found.st_size

    def read(self, name: str, place: int, count: int) -> bytes:
        with opened(self.path(name)) as descriptor:
            pieces = []
            while count:
                piece = os.pread(descriptor, count, place)
                if not piece:
                    break
                pieces.append(piece)
                place, count = place + len(piece), count - len(piece)
        return b"".join(pieces)

    def write(self, files: Sequence[FileOut], threads: int | None, counter: Counter) -> None:
        try:
            os.makedirs(self.typed, exist_ok=True)  # noqa: PTH103
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "is not a folder", self.typed) from None
        filed = [
            Filed(destination(self.path(file.name), file.overwrite), file.head, file.spans, file.nbytes)
            for file in files
        ]
        self._check_room(files)
        store(filed, threads, counter)

    def _check_room(self, files: Sequence[FileOut]) -> None:
        """Refuse what the disk has no room for, all files together."""
        disk = os.statvfs(self.typed)
        free = disk.f_bavail * disk.f_frsize
        needed = sum(len(file.head) + file.nbytes for file in files)
        replaced = sum(self.size(file.name) or 0 for file in files if file.overwrite)
        if disk.f_blocks and free + replaced < needed:
            what = f"No space left on device: {needed:,} bytes are needed, {free:,} free"
            raise OSError(errno.ENOSPC, what, self.typed)


class StoreFolder:
    """A folder of an object store."""

    def __init__(self, path: str) -> None:
        try:
            import fsspec  # type: ignore[import-untyped]
        except ImportError:
            raise ImportError(f"{path}: writing there takes fsspec: pip install 'winit[store]'") from None
        self.typed = path.rstrip("/")
        try:
            # One of its own: a transaction is the whole file system's.
            self.system, self.root = fsspec.core.url_to_fs(self.typed, skip_instance_cache=True)
        except ImportError as error:  # s3 needs s3fs, and so on: fsspec says which
            raise ImportError(f"{path}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def path(self, name: str) -> str:
        return f"{self.typed}/{name}"

    def _inner(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def size(self, name: str) -> int | None:
        self.system.invalidate_cache()
        try:
            found: dict[str, Any] = self.system.info(self._inner(name))
        except FileNotFoundError:
            return None
        return None if found["type"] == "directory" else int(found["size"] or 0)

    def read(self, name: str, place: int, count: int) -> bytes:
        data: bytes = self.system.cat_file(self._inner(name), start=place, end=place + count)
        return data

    def write(self, files: Sequence[FileOut], threads: int | None, counter: Counter) -> None:
        for file in files:
            if not file.overwrite and self.size(file.name) is not None:
                what = "exists already (overwrite=True or --overwrite replaces it)"
                raise FileExistsError(errno.EEXIST, what, self.path(file.name))
        for file in files:
            try:
                self._write(file, threads, counter)
            except OSError as error:
                if error.filename is not None:
                    raise
                said = error.strerror or str(error)
                raise type(error)(error.errno or errno.EIO, said, self.path(file.name)) from error

    def _write(self, file: FileOut, threads: int | None, counter: Counter) -> None:
        protocols = self.system.protocol
        if not _BUCKETS.intersection([protocols] if isinstance(protocols, str) else protocols):
            with suppress(NotImplementedError):
                self.system.makedirs(self.root, exist_ok=True)
        # A file of fsspec that is closed is there, also where its with-block failed; in a transaction it is not.
        with self.system.transaction, self.system.open(self._inner(file.name), "wb", block_size=PART) as out:
            out.write(file.head)
            for piece in made_in_order(file.spans, threads):
                out.write(piece)
                counter.add(len(piece))
