"""A plan as a checkpoint in the format of torch.distributed.checkpoint, drawn in a stream into its files.

Such a checkpoint is a folder. Its data are files in which blobs follow each other, each what torch.save makes of a part
of a tensor, and `.metadata` is a pickle that says which part is where. Both are known before an element is drawn: what
a blob holds besides elements follows from their dtype and shape (torch lays it out, by torch.serialization.skip_data),
and how a plan is cut into parts and files follows from the plan and max_shard_size alone. So any number of processes,
which know nothing of each other, write the same files together.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any, Literal

import torch

from winit._core.checks import check_bool, check_callable, check_path, check_threads
from winit._core.keys import STREAM_VERSION, stream_key
from winit._core.shapes import Shape
from winit._core.whole import WholeTensor
from winit._files.storing import Counter, Progress, Span
from winit._plans.param import Param
from winit._plans.plan import Plan, check_plan
from winit.checkpoint import Written
from winit.checkpoint.folders import FileOut, folder_of
from winit.checkpoint.ranks import ranked
from winit.checkpoint.sharding import byte_size
from winit.checkpoint.spans import spans_between
from winit.torch.memory import KINDS

__all__ = ["write_dcp"]

_METADATA = ".metadata"
_PART = 1 << 30  # bytes of a part at most: who loads some rows of it reads it whole
_DTYPES = {name: dtype for dtype, name in KINDS.items()}


def write_dcp(
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    seed: int,
    max_shard_size: int | str = "1GiB",
    rank: int | Literal["auto"] | None = None,
    world: int | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Draw every tensor of a plan straight into a checkpoint that torch.distributed.checkpoint loads.

    `dcp.load` reads it into plain tensors and into DTensors of any mesh. Each thread draws 4 MiB and writes them to
    their place, so memory does not grow with the model; a tensor of a law that is made at once, such as orthogonal, is
    held whole. The files are the same bytes for every number of processes, ranks and threads. Each appears whole or not
    at all, and `.metadata` when all others of its process are there; other processes may still be writing theirs.

    `.metadata` is a pickle of torch's own classes, as the format has it, which torch unpickles when it loads. winit
    itself reads none.

    Parameters
    ----------
    plan : Plan. Tied names are in the checkpoint, too, and share the bytes of the tensor that they are tied to.
    folder : str or os.PathLike. A folder, which is made if it is not there, or a place in a store that fsspec knows.
    seed : int, 0 <= seed < 2^64.
    max_shard_size : int or str. Bytes of tensors a file at most, as in winit.checkpoint.write. A tensor that is larger,
        or larger than 1 GiB, is cut along its first axis; who loads some rows of a part reads all of it.
    rank, world : as in winit.checkpoint.write: this process writes the files numbered rank, rank + world and so on.
        Rank 0 writes `.metadata` as well.
    overwrite : bool. Replace files that exist. A reader meanwhile may meet some of the old and some of the new.
    threads : int or None, the processors this process may use.
    progress : callable(bytes done, bytes in all) or None. Called from the writing threads, one at a time.

    Returns
    -------
    winit.checkpoint.Written : the files that were written, and bytes of the tensors in them.

    Raises
    ------
    FileExistsError : a file exists, and overwrite is False; the message names it, and nothing is written.
    OSError : a file cannot be written. TypeError, ValueError : plan, seed, max_shard_size, rank, world, threads.
    ImportError : a torch without torch.distributed, or older than 2.7.

    >>> import tempfile, torch, winit.torch
    >>> from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
    >>> plan = winit.torch.plan(lambda: torch.nn.Linear(8, 4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(winit.torch.write_dcp(plan, folder, seed=0).files)
    ...     dcp_to_torch_save(folder, f"{folder}/model.pt")
    ...     state = torch.load(f"{folder}/model.pt")
    ['__0_0.distcp', '.metadata']
    >>> torch.equal(state["weight"], winit.torch.build(lambda: torch.nn.Linear(8, 4), seed=0).weight)
    True

    """
    check_plan(plan)
    stream_key(seed)
    check_bool(overwrite, "overwrite")
    check_callable(progress, "progress")
    threads = check_threads(threads)
    place = folder_of(check_path(folder, "folder"))
    own = ranked(rank, world)
    parts = _cut(plan, byte_size(max_shard_size))
    metadata = _metadata(plan, seed, parts) if own.rank == 0 else None
    if metadata is not None:
        place.size(_METADATA)  # a folder of the name is met now, and not when all else is written
    groups = [list(group) for _, group in groupby(parts, lambda part: part.file)]
    mine = groups[own.rank :: own.world]
    counter = Counter(sum(part.blob.length for group in mine for part in group), progress)
    files = []
    for group in mine:
        length = sum(part.blob.length for part in group)
        files.append(FileOut(group[0].file, overwrite, b"", _spans(plan, seed, group, threads), length))
    last = [] if metadata is None else [FileOut(_METADATA, overwrite, metadata)]
    if last and not overwrite and place.size(_METADATA) is not None:
        what = "holds a checkpoint already (overwrite=True replaces it)"
        raise FileExistsError(errno.EEXIST, what, place.path(_METADATA))
    if files:
        place.write(files, threads, counter)
    if last:  # by itself, so that who finds it finds all that this process has written
        place.write(last, threads, Counter(0, None))
    nbytes = sum(part.nbytes for group in mine for part in group)
    return Written([file.name for file in (*files, *last)], [], nbytes)


# ---- what torch.save writes around a tensor's elements


@dataclass(frozen=True)
class _Blob:
    """What torch.save writes of tensors of one dtype and shape: what precedes the elements, and what follows them."""

    before: bytes
    nbytes: int
    after: bytes

    @property
    def length(self) -> int:
        return len(self.before) + self.nbytes + len(self.after)


class _Sparse:
    """A file that only remembers what is written where, and what is skipped."""

    def __init__(self) -> None:
        self.at = 0
        self.pieces: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        self.pieces.append((self.at, bytes(data)))
        self.at += len(self.pieces[-1][1])
        return len(self.pieces[-1][1])

    def seek(self, place: int, whence: int = 0) -> int:
        self.at = place + (self.at if whence == 1 else 0)
        return self.at

    def tell(self) -> int:
        return self.at

    def flush(self) -> None:
        pass


def _blob(dtype: str, shape: Shape) -> _Blob:
    """Let torch lay out what torch.save writes of a tensor, without the elements.

    It is what torch.save writes without checksums (torch.serialization.set_crc32_options), which torch.load does not
    look at.
    """
    kind = _DTYPES[dtype]
    nbytes = prod(shape) * kind.itemsize
    tensor = torch.empty(shape, dtype=kind)  # memory that nobody touches takes no room
    if nbytes == 0:
        whole = io.BytesIO()
        _save(tensor, whole)
        return _Blob(whole.getvalue(), 0, b"")
    sparse = _Sparse()
    with torch.serialization.skip_data():
        _save(tensor, sparse)
    before, after, end = b"", b"", 0
    for place, data in sorted(sparse.pieces):
        if place == end:
            before, after = (before, after + data) if after else (before + data, after)
        elif place == end + nbytes and not after:
            after = data
        else:
            raise RuntimeError(f"torch {torch.__version__} lays out what it saves in a way that winit does not know")
        end = place + len(data)
    if not after:
        raise RuntimeError(f"torch {torch.__version__} lays out what it saves in a way that winit does not know")
    return _Blob(before, nbytes, after)


def _save(tensor: torch.Tensor, file: Any) -> None:
    """Save without checksums, which would be those of elements that are not there yet.

    This is torch.save, but for set_crc32_options: that is the whole process's, and other threads save too.
    """
    serialization: Any = torch.serialization
    writer = torch._C.PyTorchFileWriter(file, False, serialization._get_storage_alignment())
    serialization._save(tensor, writer, pickle, serialization.DEFAULT_PROTOCOL, False)
    writer.write_end_of_file()


# ---- what is where


@dataclass(frozen=True)
class _Part:
    """Rows of a tensor, or all of it, and the place of their blob in a file."""

    name: str
    index: int
    lo: int
    shape: Shape
    nbytes: int
    blob: _Blob
    file: str
    place: int


def _cut(plan: Plan, most: int) -> list[_Part]:
    """Cut a plan's tensors into parts and the parts into files, in the plan's order."""
    for needed in ("skip_data", "get_crc32_options", "set_crc32_options"):
        if not hasattr(torch.serialization, needed):
            raise ImportError(f"write_dcp needs torch 2.7 or newer, not {torch.__version__}")
    blobs: dict[tuple[str, Shape], _Blob] = {}
    parts: list[_Part] = []
    number, filled, place = 0, 0, 0
    for name, param in plan.stored.items():
        for index, (lo, shape) in enumerate(_rows(param, min(most, _PART))):
            kind = param.dtype, shape
            blob = blobs[kind] if kind in blobs else blobs.setdefault(kind, _blob(*kind))
            if place and filled + blob.nbytes > most:
                number, filled, place = number + 1, 0, 0
            parts.append(_Part(name, index, lo, shape, blob.nbytes, blob, f"__{number}_0.distcp", place))
            filled, place = filled + blob.nbytes, place + blob.length
    return parts


def _rows(param: Param, most: int) -> Iterator[tuple[int, Shape]]:
    """Cut a tensor into parts of at most so many bytes, along its first axis: the first row of each, and its shape.

    A tensor that is made at once stays whole, since whoever draws a part of it makes all of it.
    """
    if not param.shape or param.nbytes <= most or isinstance(param.law(), WholeTensor):
        yield 0, param.shape
        return
    rows = param.shape[0]
    step = max(1, most // (param.nbytes // rows))
    for lo in range(0, rows, step):
        yield lo, (min(step, rows - lo), *param.shape[1:])


def _metadata(plan: Plan, seed: int, parts: list[_Part]) -> bytes:
    """Make the pickle that says what is where, as torch.distributed.checkpoint.FileSystemWriter does."""
    try:
        from torch.distributed.checkpoint import filesystem
        from torch.distributed.checkpoint.metadata import (
            ChunkStorageMetadata,
            Metadata,
            MetadataIndex,
            StorageMeta,
            TensorProperties,
            TensorStorageMetadata,
        )
    except ImportError as error:
        raise ImportError(f"write_dcp needs a torch with torch.distributed: {error}") from None
    of = {name: list(own) for name, own in groupby(parts, lambda part: part.name)}
    tensors: dict[str, Any] = {}
    places: dict[Any, Any] = {}
    for name, param in plan.items():
        kept = param.tied or name
        chunks = []
        for part in of[kept]:
            offset = torch.Size([part.lo, *[0] * (len(part.shape) - 1)] if part.shape else [])
            chunks.append(ChunkStorageMetadata(offset, torch.Size(part.shape)))
            where = filesystem._StorageInfo(part.file, part.place, part.blob.length)
            places[MetadataIndex(name, offset, part.index)] = where
        properties = TensorProperties(_DTYPES[param.dtype])
        tensors[name] = TensorStorageMetadata(properties, torch.Size(param.shape), chunks)
    made = Metadata(
        state_dict_metadata=tensors,
        planner_data={name: (name,) for name in plan},
        storage_data=places,
        storage_meta=StorageMeta(save_id=f"winit stream {STREAM_VERSION}, seed {seed}, plan {plan.digest}"),
        version=filesystem.CURRENT_DCP_VERSION,
    )
    return pickle.dumps(made, protocol=4)


# ---- what is written


@dataclass(frozen=True)
class _Literal:
    """Bytes that are known."""

    place: int
    data: bytes

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        yield self.place, memoryview(self.data)


def _spans(plan: Plan, seed: int, parts: list[_Part], threads: int | None) -> Iterator[Span]:
    """Give what stands in a file, in order."""
    for part in parts:
        place, row = part.place + len(part.blob.before), prod(part.shape[1:])
        yield _Literal(part.place, part.blob.before)
        lo = part.lo * row
        yield from spans_between(plan, seed, part.name, lo, lo + prod(part.shape), place, threads)
        if part.blob.after:
            yield _Literal(place + part.blob.nbytes, part.blob.after)
