"""Where the files of a checkpoint go: a folder of this machine, or one of an object store that fsspec knows.

A file appears whole or not at all in either. On this machine it is written by all threads at once; in a store it goes
out in parts, in order, and the store shows it when the last part is confirmed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from winit._files.appearing import destination
from winit._files.entries import opened
from winit._files.storing import Counter, Filed, Span, made_in_order, store

__all__ = ["FileOut", "Folder", "folder_of", "is_url"]

# Stores without folders, where making one would make a bucket that was perhaps only misspelt.
_BUCKETS = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "obs", "cos", "r2"))
# Packages whose errors are a driver's and not the caller's.
_DRIVERS = frozenset(
    ("fsspec", "s3fs", "gcsfs", "adlfs", "botocore", "aiobotocore", "aiohttp", "google", "azure", "requests", "urllib3")
)
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

    def names(self) -> list[str]:
        """List what is in it; nothing where it is not there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file."""
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


_URL = re.compile(r"[A-Za-z][\w+.-]*:/|[\w+.:-]+::\w+:/")  # also those of one slash, and of fsspec's chains


def is_url(path: str) -> bool:
    """Tell whether a path names a place in a store, such as s3://bucket/folder, or was meant to."""
    return _URL.match(path) is not None


def folder_of(path: str) -> Folder:
    """Return a folder of this machine or of a store."""
    return StoreFolder(path) if is_url(path) else LocalFolder(path)


class LocalFolder:
    """A folder of this machine; it is made, with those above it, when the first file is written.

    It stays the same if the process changes its directory; messages call it what the caller did.
    """

    def __init__(self, path: str) -> None:
        self.typed, self.root = path, os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118

    def path(self, name: str) -> str:
        return os.path.join(self.typed, name)  # noqa: PTH118

    def _inner(self, name: str) -> str:
        return os.path.join(self.root, name)  # noqa: PTH118

    @contextmanager
    def _said_of(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self.path(name) if name else self.typed
            raise

    def names(self) -> list[str]:
        try:
            with self._said_of(""):
                return sorted(os.listdir(self.root))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        with self._said_of(name):
            os.unlink(self._inner(name))  # noqa: PTH108

    def size(self, name: str) -> int | None:
        with self._said_of(name):
            try:
                found = os.stat(self._inner(name))  # noqa: PTH116
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file and will not be replaced by one")
        return found.st_size

    def read(self, name: str, place: int, count: int) -> bytes:
        pieces = []
        with self._said_of(name), opened(self._inner(name)) as descriptor:
            while count:
                piece = os.pread(descriptor, count, place)
                if not piece:
                    break
                pieces.append(piece)
                place, count = place + len(piece), count - len(piece)
        return b"".join(pieces)

    def write(self, files: Sequence[FileOut], threads: int | None, counter: Counter) -> None:
        with self._said_of(""):
            try:
                os.makedirs(self.root, exist_ok=True)  # noqa: PTH103
            except FileExistsError:
                raise NotADirectoryError(errno.ENOTDIR, "is not a folder") from None
        filed = []
        for file in files:
            with self._said_of(file.name):
                target = replace(destination(self._inner(file.name), file.overwrite), typed=self.path(file.name))
            filed.append(Filed(target, file.head, file.spans, file.nbytes))
        self._check_room(files)
        # An index without tensors waits for all that it names, of which the last may still be on its way to the disk.
        store([file for file in filed if file.nbytes], threads, counter)
        store([file for file in filed if not file.nbytes], threads, counter)

    def _check_room(self, files: Sequence[FileOut]) -> None:
        """Refuse what the disk has no room for, all files together."""
        disk = os.statvfs(self.root)
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
        scheme, found, place = path.partition("://")
        if not found:
            first, _, rest = path.partition(":/")
            raise ValueError(f"{path} names no place: one in a store is written {first}://{rest}")
        if not place.strip("/"):
            raise ValueError(f"{path} names no place in a store: {scheme}://bucket/folder does")
        if path.rstrip("/").endswith((".safetensors", ".npz")):
            raise ValueError(f"{path}: a place in a store is a folder, and this names a file")
        self.typed = path.rstrip("/")
        try:
            # One of its own: a transaction is the whole file system's.
            self.system, self.root = fsspec.core.url_to_fs(self.typed, skip_instance_cache=True)
        except ImportError as error:  # s3 needs s3fs, and so on: fsspec says which
            raise ImportError(f"{path}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        except (OSError, NotImplementedError) as error:
            raise OSError(errno.EINVAL, f"fsspec cannot open it ({error})", path) from None

    def path(self, name: str) -> str:
        return f"{self.typed}/{name}"

    def _inner(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    @contextmanager
    def _said_of(self, name: str) -> Iterator[None]:
        """Say what a driver has to say as an error of a file: many raise what is no OSError, or has no name."""
        try:
            yield
        except OSError as error:
            if error.filename is not None:
                raise
            said, kind = error.strerror or str(error), type(error)
            # A driver's own kinds of OSError take other arguments.
            kind = kind if kind.__module__ == "builtins" else OSError
            raise kind(error.errno or errno.EIO, said, self.path(name)) from error
        except Exception as error:
            if not isinstance(error, NotImplementedError) and type(error).__module__.split(".")[0] not in _DRIVERS:
                raise
            raise OSError(errno.EIO, str(error) or type(error).__name__, self.path(name)) from error

    def names(self) -> list[str]:
        self.system.invalidate_cache()
        with self._said_of(""):
            try:
                found = self.system.ls(self.root, detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in found)

    def remove(self, name: str) -> None:
        with self._said_of(name):
            self.system.rm_file(self._inner(name))

    def size(self, name: str) -> int | None:
        self.system.invalidate_cache()
        with self._said_of(name):
            try:
                found: dict[str, Any] = self.system.info(self._inner(name))
            except FileNotFoundError:
                return None
        return None if found["type"] == "directory" else int(found["size"] or 0)

    def read(self, name: str, place: int, count: int) -> bytes:
        if not count:
            return b""
        with self._said_of(name):
            data: bytes = self.system.cat_file(self._inner(name), start=place, end=place + count)
        return data

    def write(self, files: Sequence[FileOut], threads: int | None, counter: Counter) -> None:
        for file in files:
            if not file.overwrite and self.size(file.name) is not None:
                what = "exists already (overwrite=True or --overwrite replaces it)"
                raise FileExistsError(errno.EEXIST, what, self.path(file.name))
        for file in files:
            with self._said_of(file.name):
                self._write(file, threads, counter)

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
