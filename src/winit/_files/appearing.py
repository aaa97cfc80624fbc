"""A file that appears under its name whole, or not at all.

The bytes go to `.NAME.<16 hex>.winit` in the same directory, which its writer keeps locked. When they are on the disk,
a rename (overwrite) or a link (which replaces nothing) gives them their name. A writer that was killed leaves its
unfinished file; the next writer of that name removes those that nobody holds locked, and touches no other file.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b

from winit._core.checks import check_bool, check_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Target", "appearing", "destination", "write_at"]

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


@dataclass(frozen=True)
class Target:
    """Where a file is to appear: the path that was typed, for messages, and the directory and name that it means."""

    typed: str
    directory: str
    name: str
    overwrite: bool


def destination(path: str | os.PathLike[str], overwrite: bool) -> Target:
    """Return where a file is to appear, or raise OSError: see winit.checkpoint.write."""
    typed = check_path(path)
    check_bool(overwrite, "overwrite")
    if not hasattr(os, "pwrite"):
        raise OSError(errno.ENOSYS, "writing checkpoints needs a POSIX system (pwrite)", typed)
    try:
        mode = os.stat(typed).st_mode  # noqa: PTH116
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", typed)
    if not overwrite and os.path.lexists(typed):
        raise FileExistsError(errno.EEXIST, "exists already (overwrite=True or --overwrite replaces it)", typed)
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is not a regular file and will not be replaced by one", typed)
    # What a link names is replaced, not the link.
    place = os.path.realpath(typed) if os.path.islink(typed) else typed  # noqa: PTH114
    directory, name = os.path.split(place)
    if not name:
        raise IsADirectoryError(errno.EISDIR, "names a directory, not a file", typed)
    with _said_of(typed):  # absolute, since the process may change its directory meanwhile
        return Target(typed, os.path.join(os.getcwd(), directory), name, overwrite)  # noqa: PTH109, PTH118


def write_at(descriptor: int, data: memoryview, place: int) -> None:
    """Write bytes to a place in a file, all of them."""
    while data:
        written = os.pwrite(descriptor, data, place)
        data, place = data[written:], place + written


@contextmanager
def appearing(target: Target, size: int) -> Iterator[int]:
    """Open a file of `size` bytes that takes its name only when the block ends well and they are on the disk.

    All that can be known to fail before the bytes are there is tried before the block begins.
    """
    with _said_of(target.typed):
        directory = os.open(target.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _said_of(target.typed):
            _clear(directory, target.name)
            unfinished, descriptor = _create(directory, target)
        try:
            with _said_of(target.typed):
                _check_room(descriptor, size)
                os.ftruncate(descriptor, size)  # a file system or a limit of the process may not allow so large a file
                _check_naming(directory, unfinished, target)
                _keep_mode(directory, descriptor, target, 0o600)  # so that the next writer can take away what is left
            yield descriptor
            with _said_of(target.typed):
                os.fsync(descriptor)
                _check_there(directory, descriptor, unfinished, target)
                _keep_mode(directory, descriptor, target)
                _name(directory, unfinished, target)
            _ours.pop(_path(target, unfinished), None)
        except BaseException:
            with suppress(OSError):
                if _is(directory, unfinished, descriptor):
                    os.unlink(unfinished, dir_fd=directory)
            _ours.pop(_path(target, unfinished), None)
            raise
        finally:
            os.close(descriptor)
        with _said_of(target.typed):
            _sync(directory)
    finally:
        os.close(directory)


@contextmanager
def _said_of(typed: str) -> Iterator[None]:
    """Say what the system refuses of the path that the caller typed: he knows no other."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), typed) from None


# ---- the unfinished file


def _stem(directory: int, name: str) -> str:
    """Give what the names of a target's unfinished files begin with: its own, or a hash of one that is too long."""
    try:
        longest = os.fpathconf(directory, "PC_NAME_MAX")
    except OSError:
        longest = 255
    raw = os.fsencode(name)
    return f".{name}." if len(raw) + 24 <= longest else f".{blake2b(raw, digest_size=16).hexdigest()}."


# Unfinished files by path, and the process that makes them. An interrupt may come where no handler knows of a file yet:
# after the system has made it and before Python has its descriptor, or before the block is entered. What is still here
# when the process ends is removed.
_ours: dict[str, int] = {}


def _path(target: Target, unfinished: str) -> str:
    return os.path.abspath(os.path.join(target.directory, unfinished))  # noqa: PTH100, PTH118


@atexit.register
def _remove_ours() -> None:
    for path, process in list(_ours.items()):
        if process == os.getpid():  # not those of the process that this one was forked from
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108
            _ours.pop(path, None)


def _create(directory: int, target: Target) -> tuple[str, int]:
    """Create and lock a new unfinished file."""
    stem = _stem(directory, target.name)
    while True:
        unfinished = f"{stem}{secrets.token_hex(8)}.winit"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        path = _path(target, unfinished)
        _ours[path] = os.getpid()
        try:
            descriptor = os.open(unfinished, flags, 0o666, dir_fd=directory)
        except OSError:
            _ours.pop(path, None)
            raise
        try:
            if _lock(descriptor) and _is(directory, unfinished, descriptor):
                return unfinished, descriptor
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(unfinished, dir_fd=directory)
            _ours.pop(path, None)
            raise
        _ours.pop(path, None)
        os.close(descriptor)  # another writer came between our creating it and our locking it, and takes it away


def _lock(descriptor: int) -> bool:
    """Lock a file, or tell that another holds it. Where there are no locks, no other can hold or take it either."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _clear(directory: int, name: str) -> None:
    """Remove what killed writers of a target left: files of exactly such a name, that can be locked."""
    pattern = re.compile(re.escape(_stem(directory, name)) + r"[0-9a-f]{16}\.winit")
    for found in os.listdir(directory):
        if not pattern.fullmatch(found):
            continue
        with suppress(OSError):  # what may not be opened or removed is not ours
            descriptor = os.open(found, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and _is(directory, found, descriptor):
                    os.unlink(found, dir_fd=directory)
            finally:
                os.close(descriptor)


def _is(directory: int, name: str, descriptor: int) -> bool:
    """Tell whether a name in a directory is an open file's."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _keep_mode(directory: int, descriptor: int, target: Target, besides: int = 0) -> None:
    """Give a file the permissions of the one that it is to replace, which a rename would lose, and others besides."""
    if not target.overwrite:
        return
    with suppress(FileNotFoundError):
        old = os.stat(target.name, dir_fd=directory, follow_symlinks=False).st_mode
        mode = old & 0o777 | besides
        if stat.S_ISREG(old) and mode != stat.S_IMODE(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, mode)


# ---- what can be tried beforehand


def _check_room(descriptor: int, size: int) -> None:
    disk = os.fstatvfs(descriptor)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free < size:
        raise OSError(errno.ENOSPC, f"No space left on device: {size:,} bytes are needed, {free:,} free")


def _check_naming(directory: int, unfinished: str, target: Target) -> None:
    """Try what will give the file its name, as far as it can be tried."""
    if not target.overwrite:
        trial = f"{_stem(directory, target.name)}{secrets.token_hex(8)}.winit"
        try:
            _link(directory, unfinished, trial)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            why = "the file system has no hard links, without which a new name could replace another's file; "
            raise OSError(error.errno, f"{why}overwrite=True writes by a rename") from None
        os.unlink(trial, dir_fd=directory)
        return
    own, user = os.fstat(directory), os.geteuid()
    with suppress(FileNotFoundError):
        old = os.stat(target.name, dir_fd=directory, follow_symlinks=False)
        if own.st_mode & stat.S_ISVTX and user not in (0, own.st_uid, old.st_uid):
            raise PermissionError(errno.EPERM, "belongs to another user, in a directory where only he may replace it")


# ---- the name


def _check_there(directory: int, descriptor: int, unfinished: str, target: Target) -> None:
    """Check that nobody has taken away the directory or the file meanwhile."""
    try:
        same = os.path.samestat(os.stat(target.directory), os.fstat(directory))  # noqa: PTH116
    except FileNotFoundError:
        same = False
    if not same:
        raise FileNotFoundError(errno.ENOENT, "its directory was moved or removed during the write")
    if not _is(directory, unfinished, descriptor):
        raise FileNotFoundError(errno.ENOENT, f"its unfinished file {unfinished} was removed during the write")


def _name(directory: int, unfinished: str, target: Target) -> None:
    if target.overwrite:
        os.rename(unfinished, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        return
    try:
        _link(directory, unfinished, target.name)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "exists already: it appeared during the write") from None
    with suppress(OSError):  # it has its name; a second one that stays is cleared by the next writer
        os.unlink(unfinished, dir_fd=directory)


def _link(directory: int, old: str, new: str) -> None:
    os.link(old, new, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)


def _sync(directory: int) -> None:
    """Make the name outlive a crash of the machine, where the file system can sync a directory."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            what = f"is written, but its name may not outlive a crash of the machine: {error.strerror}"
            raise OSError(error.errno, what) from None
