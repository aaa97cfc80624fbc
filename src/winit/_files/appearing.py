"""A file that appears under its name whole, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from winit._core.checks import check_bool, check_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["appearing", "check_room", "destination", "write_at"]


def destination(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the file that a path names for writing, or raise OSError: see write."""
    target = Path(check_path(path))
    check_bool(overwrite, "overwrite")
    if not hasattr(os, "pwrite"):
        raise OSError(errno.ENOSYS, "writing checkpoints needs a POSIX system (pwrite)", str(target))
    if overwrite and target.is_symlink():
        target = target.resolve()  # what the link names is replaced, not the link
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(target))
    if overwrite and target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "is not a regular file and will not be replaced by one", str(target))
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "exists already (overwrite=True or --overwrite replaces it)", str(target))
    return target


def write_at(descriptor: int, data: memoryview, place: int) -> None:
    """Write bytes to a place in a file, all of them."""
    while data:
        written = os.pwrite(descriptor, data, place)
        data, place = data[written:], place + written


def check_room(descriptor: int, size: int, target: Path) -> None:
    """Raise OSError where a file system has less room than a file needs."""
    disk = os.fstatvfs(descriptor)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free < size:
        raise OSError(errno.ENOSPC, f"No space left on device: {size:,} bytes are needed, {free:,} free", str(target))


@contextmanager
def appearing(target: Path, overwrite: bool) -> Iterator[int]:
    """Open a file that takes its name only when the block ends well and its bytes are on the disk."""
    partial = target.with_name(f".{target.name}.partial")
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        unnamed = _open_unnamed(target.parent)
        descriptor = _open_partial(partial) if unnamed is None else unnamed
        try:
            yield descriptor
            os.fsync(descriptor)
            if unnamed is None:
                _name(partial, target, overwrite)
            elif overwrite:
                _replace_by_unnamed(descriptor, directory, partial, target)
            else:
                _link_unnamed(descriptor, directory, target)
            os.fsync(directory)
        except BaseException:
            if unnamed is None:
                partial.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    finally:
        os.close(directory)


def _name(partial: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        partial.replace(target)
        return
    try:
        os.link(partial, target)  # unlike a rename, it does not replace what another process has put there meanwhile
    except FileExistsError:
        raise _appeared(target) from None
    partial.unlink()


def _appeared(target: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "exists already: it appeared during the write", str(target))


def _link_unnamed(descriptor: int, directory: int, target: Path) -> None:
    try:
        # Only with a directory descriptor does Python call linkat and so follow the link that /proc is.
        os.link(f"/proc/self/fd/{descriptor}", target.name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileExistsError:
        raise _appeared(target) from None


def _replace_by_unnamed(descriptor: int, directory: int, partial: Path, target: Path) -> None:
    """Replace a name, which a rename alone can do: the file gets the partial name for that moment.

    Another process may do the same at the same time; whichever takes the other's name away makes it try again.
    """
    while True:
        partial.unlink(missing_ok=True)
        try:
            _link_unnamed(descriptor, directory, partial)
            partial.replace(target)
            return
        except (FileExistsError, FileNotFoundError):
            if not target.parent.is_dir():
                raise
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _open_unnamed(directory: Path) -> int | None:
    """Open a file without a name in a directory, or None where the system or file system has no such thing."""
    if not hasattr(os, "O_TMPFILE") or not os.path.exists("/proc/self/fd"):  # noqa: PTH110
        return None
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _open_partial(partial: Path) -> int:
    """Open and lock the one file that unfinished writes go to."""
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), partial.stat()):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise BlockingIOError(errno.EAGAIN, "another process is writing it", str(partial)) from None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # finished and renamed by its owner between our open and our lock
