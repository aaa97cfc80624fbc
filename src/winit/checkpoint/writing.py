"""A plan to and from safetensors files: written in a stream, whole or not at all, and verified bit by bit.

The format (github.com/huggingface/safetensors): 8 little-endian bytes that hold the header's length, a JSON header from
names to dtype, shape and data offsets, then the tensors' bytes, which must leave no gap.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from winit._core.drawing import bind, run
from winit._core.keys import stream_key
from winit._core.laws import Law, Whole
from winit._core.threads import available_threads, check_threads, share
from winit._plans.plan import FLOATS, Param, Plan
from winit.schemes.constants import literal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "Part",
    "Span",
    "Verification",
    "destination",
    "element_dtype",
    "header",
    "read_at",
    "read_header",
    "spans",
    "store",
    "verify",
    "write",
]

SPAN = 4 << 20  # bytes that a thread draws into its buffer before it writes them to their place
MAX_THREADS = 32  # more would not write faster, and their buffers would be most of the memory
MAX_HEADER = 100_000_000  # what the safetensors library reads

CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
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

Progress = Callable[[int, int], None]


def header(plan: Plan, seed: int, origin: str | None = None) -> tuple[bytes, dict[str, int]]:
    """Lay out a plan's file.

    Tensors stand in the plan's order, those of wider elements first, so that each is aligned for its dtype. The
    metadata carries the stream version, the seed, the plan's digest, and for each tied name the name it is tied to
    (as safetensors.torch.save_model does). Where not all values are the plan's own, `origin` says so in the place of
    the plan's digest.

    Returns
    -------
    (bytes, dict) : all that precedes the tensors' bytes, and each stored tensor's place in the file.

    Raises
    ------
    ValueError : a tensor called "__metadata__", a header longer than 100 MB.

    """
    from winit import STREAM_VERSION

    metadata = {name: param.tied for name, param in plan.items() if param.tied is not None}
    metadata |= {
        "format": "pt",
        "winit.stream": str(STREAM_VERSION),
        "winit.seed": str(seed),
    }
    metadata |= {"winit.plan": plan.digest} if origin is None else {"winit.pretrained": origin}
    entries: dict[str, Any] = {"__metadata__": metadata}
    places = {}
    end = 0
    for name, param in sorted(plan.stored.items(), key=lambda item: -item[1].itemsize):
        if name == "__metadata__":
            raise ValueError("a tensor cannot be called '__metadata__' in a safetensors file")
        places[name] = end
        end += param.nbytes
        entries[name] = {
            "dtype": CODES[param.dtype],
            "shape": list(param.shape),
            "data_offsets": [places[name], end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"the file's header would be {len(text):,} bytes, more than the {MAX_HEADER:,} readers accept")
    start = 8 + len(text)
    return struct.pack("<Q", len(text)) + text, {name: start + place for name, place in places.items()}


def element_dtype(param: Param) -> np.dtype:
    """Return what a tensor's elements are in memory: words of 16 bits for bfloat16."""
    return np.dtype(np.uint16) if param.dtype == "bfloat16" else np.dtype(param.dtype)


def _law(param: Param) -> Law:
    assert param.scheme is not None
    return param.scheme.law(param.shape, param.layout)


class _Whole:
    """A tensor that is made at once: by the first of its spans that is drawn, and kept until the last is."""

    def __init__(self, param: Param, key: tuple[int, int], spans: int, threads: int | None) -> None:
        self.param, self.key, self.left, self.threads = param, key, spans, threads
        self.values: np.ndarray | None = None
        self.lock = threading.Lock()

    def part(self, lo: int, hi: int) -> np.ndarray:
        param = self.param
        with self.lock:  # the others wait: making it takes all threads
            if self.values is None:
                self.values = np.empty(param.size, element_dtype(param))
                out = self.values.reshape(param.shape)
                assert param.scheme is not None
                run(
                    [bind(out, param.dtype, param.scheme, self.key, param.shape, param.layout, None, None)],
                    self.threads,
                )
            part = self.values[lo:hi]
            self.left -= 1
            if self.left == 0:
                self.values = None
        return part


class Part(Protocol):
    """What one thread writes without a pause: pieces of a tensor, each with its place in the file."""

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        """Make the pieces one by one, in a byte buffer of SPAN bytes or elsewhere."""
        ...


@dataclass(frozen=True)
class Span:
    """Elements lo..hi of a tensor that is drawn, and their place in the file."""

    name: str
    param: Param
    key: tuple[int, int]
    lo: int
    hi: int
    place: int
    whole: _Whole | None

    def draw(self, buffer: Any) -> memoryview:
        """Draw elements lo..hi into a byte buffer; returns the bytes."""
        param = self.param
        assert param.scheme is not None
        size = (self.hi - self.lo) * param.itemsize
        out = buffer[:size].view(element_dtype(param))
        if self.whole is not None:
            out[...] = self.whole.part(self.lo, self.hi)
            return memoryview(buffer)[:size]
        if self.hi - self.lo == param.size == 1 and param.shape == ():
            bound = bind(out.reshape(()), param.dtype, param.scheme, self.key, (), param.layout, None, None)
        else:
            box = range(self.lo, self.hi)
            bound = bind(out, param.dtype, param.scheme, self.key, param.shape, param.layout, box, None)
        bound.run(0, bound.size)
        return memoryview(buffer)[:size]

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        yield self.place, self.draw(buffer)


def spans(plan: Plan, seed: int, places: dict[str, int], threads: int | None) -> Iterator[Span]:
    """Cut the tensors of a plan into spans, at the places given."""
    for name, place in places.items():
        param = plan[name]
        key = stream_key(seed, plan.key(name))
        step = SPAN // param.itemsize
        whole = None
        if param.dtype in FLOATS and not isinstance(param.scheme, literal) and isinstance(_law(param), Whole):
            whole = _Whole(param, key, -(-param.size // step), threads)
        for lo in range(0, param.size, step):
            hi = min(lo + step, param.size)
            yield Span(name, param, key, lo, hi, place + lo * param.itemsize, whole)


class _Counter:
    """Adds up the bytes done and passes them on, one thread at a time."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress, self.lock = 0, total, progress, threading.Lock()
        self.add(0)

    def add(self, count: int) -> None:
        if self.progress is not None:
            with self.lock:
                self.done += count
                self.progress(self.done, self.total)


def _threads(threads: int | None) -> int:
    return min(threads or available_threads(), MAX_THREADS)


def _buffers(threads: int, spans: int, each: int) -> deque[list[Any]]:
    return deque([np.empty(SPAN, np.uint8) for _ in range(each)] for _ in range(max(1, min(threads, spans))))


# ---- writing


def write(
    plan: Plan,
    path: str | os.PathLike[str],
    *,
    seed: int,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Draw every tensor of a plan straight into one safetensors file.

    Each thread draws 4 MiB and writes them to their place, so memory does not grow with the model. The file appears
    under its name when it is whole and on the disk, else not at all: it is written without a name where the system can
    do that (O_TMPFILE), otherwise as .NAME.partial under a lock, which the next run takes over.

    Parameters
    ----------
    plan : Plan.
    path : str or os.PathLike. The file.
    seed : int, 0 <= seed < 2^64.
    overwrite : bool. Replace an existing regular file; what was there stays until the new one is whole.
    threads : int or None, the processors this process may use.
    progress : callable(bytes done, bytes in all) or None. Called from the writing threads, one at a time.

    Raises
    ------
    FileExistsError : the file exists, and overwrite is False.
    OSError : it cannot be written: a full disk, a missing directory, another process that is writing it.
    TypeError, ValueError : seed, threads, a plan that the format cannot hold.

    """
    check_threads(threads)
    stream_key(seed)
    target = destination(path, overwrite)
    head, places = header(plan, seed)
    store(target, head, list(spans(plan, seed, places, threads)), plan.nbytes, overwrite, threads, progress)


def destination(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the file that a path names for writing, or raise OSError: see write."""
    target = Path(path)
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


def store(
    target: Path,
    head: bytes,
    parts: Sequence[Part],
    nbytes: int,
    overwrite: bool,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Write a header and the parts of nbytes that follow it, whole or not at all."""
    buffers = _buffers(_threads(threads), len(parts), 1)
    counter = _Counter(nbytes, progress)
    try:
        with _appearing(target, overwrite) as descriptor:
            _check_room(descriptor, len(head) + nbytes, target)
            _write_at(descriptor, memoryview(head), 0)

            def work(part: Part) -> None:
                own = buffers.pop()
                for place, data in part.pieces(own[0]):
                    _write_at(descriptor, data, place)
                    counter.add(len(data))
                buffers.append(own)

            share(work, parts, _threads(threads))
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(target)
        raise


def _write_at(descriptor: int, data: memoryview, place: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, place)
        data, place = data[written:], place + written


def _check_room(descriptor: int, size: int, target: Path) -> None:
    disk = os.fstatvfs(descriptor)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free < size:
        raise OSError(errno.ENOSPC, f"No space left on device: {size:,} bytes are needed, {free:,} free", str(target))


@contextmanager
def _appearing(target: Path, overwrite: bool) -> Iterator[int]:
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


# ---- reading


@dataclass(frozen=True)
class Verification:
    """What verify found. The file is what its plan and seed say if `ok`.

    notes : what the file's metadata says otherwise than the plan, the seed and the stream version, such as "its
        metadata says seed 3, not 4". Elements alone decide `ok`: a note is no difference.
    """

    differ: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    malformed: dict[str, str]
    metadata: dict[str, str]
    tensors: int
    bytes: int
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every tensor is there, of the right dtype and shape, and equal bit by bit, and no other."""
        return not (self.differ or self.missing or self.unexpected or self.malformed)


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


def verify(
    path: str | os.PathLike[str],
    plan: Plan,
    *,
    seed: int,
    threads: int | None = None,
    progress: Progress | None = None,
    notes: Callable[[str], None] | None = None,
) -> Verification:
    """Recompute every element of a safetensors file in a stream and compare it bit by bit.

    Parameters
    ----------
    path : str or os.PathLike.
    plan, seed, threads, progress : as in write.
    notes : callable(str) or None. Called with each of Verification.notes before any element is recomputed.

    Returns
    -------
    Verification : which tensors differ, are missing, unexpected, or of another dtype or shape.

    Raises
    ------
    OSError : the file cannot be read. ValueError : it is not a safetensors file. TypeError, ValueError : seed, threads.

    """
    check_threads(threads)
    stream_key(seed)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        entries, metadata, start = read_header(descriptor, os.fspath(path))
        said = _contradictions(metadata, plan, seed)
        if notes is not None:
            for note in said:
                notes(note)
        malformed, places = {}, {}
        for name, param in plan.stored.items():
            entry = entries.get(name)
            if entry is None:
                continue
            lo, hi = entry["data_offsets"]
            found = entry["dtype"], entry["shape"], hi - lo
            expected = CODES[param.dtype], list(param.shape), param.nbytes
            if found != expected:
                malformed[name] = "is {} {} in {:,} bytes, expected {} {} in {:,}".format(*found, *expected)
            else:
                places[name] = start + lo
        parts = list(spans(plan, seed, places, threads))
        buffers = _buffers(_threads(threads), len(parts), 2)
        total = sum(plan[name].nbytes for name in places)
        counter = _Counter(total, progress)
        differ = set()

        def work(span: Span) -> None:
            own = buffers.pop()
            expected = span.draw(own[0])
            found = memoryview(own[1])[: len(expected)]
            read_at(descriptor, found, span.place, os.fspath(path))
            if not np.array_equal(np.frombuffer(expected, np.uint8), np.frombuffer(found, np.uint8)):
                differ.add(span.name)
            buffers.append(own)
            counter.add(len(expected))

        share(work, parts, _threads(threads))
    finally:
        os.close(descriptor)
    return Verification(
        differ=tuple(name for name in plan.stored if name in differ),
        missing=tuple(name for name in plan.stored if name not in entries),
        unexpected=tuple(name for name in entries if name not in plan.stored),
        malformed=malformed,
        metadata=metadata,
        tensors=len(places),
        bytes=total,
        notes=said,
    )


def _contradictions(metadata: dict[str, str], plan: Plan, seed: int) -> tuple[str, ...]:
    """Say what a file's metadata, where it says anything, says otherwise than a plan, a seed and this stream."""
    from winit import STREAM_VERSION

    expected = [
        ("winit.seed", str(seed), "its metadata says seed {}, not {}"),
        ("winit.stream", str(STREAM_VERSION), "its metadata says stream version {}, and this is {}"),
        ("winit.plan", plan.digest, "its plan's digest is {}, the plan's is {}"),
    ]
    return tuple(
        text.format(metadata[key], value) for key, value, text in expected if metadata.get(key, value) != value
    )


def read_at(descriptor: int, into: memoryview, place: int, name: str) -> None:
    """Fill a byte buffer from a place in a file; ValueError where the file ends before."""
    while into:
        count = os.preadv(descriptor, [into], place) if hasattr(os, "preadv") else _pread(descriptor, into, place)
        if count == 0:
            raise ValueError(f"{name} was cut short while it was read")
        into, place = into[count:], place + count


def _pread(descriptor: int, into: memoryview, place: int) -> int:
    data = os.pread(descriptor, len(into), place)
    into[: len(data)] = data
    return len(data)
