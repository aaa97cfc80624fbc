"""What an interrupted run has left: which of its files are whole, recognised by what is in them."""

from __future__ import annotations

import errno
import struct
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from winit._core.whole import WholeTensor
from winit._files.safetensors_header import MAX_HEADER
from winit._files.strict_json import object_of
from winit._plans.plan import Plan
from winit.checkpoint.folders import Folder
from winit.checkpoint.sharding import Shard

__all__ = ["found_whole", "same_bytes"]

SAMPLES = 64  # places of a file that are drawn again, evenly spaced, and its end
SAMPLE = 4 << 10  # bytes drawn at each


def found_whole(folder: Folder, shard: Shard, seed: int) -> bool:
    """Tell whether a shard is there and whole; False where it is not there, or damaged.

    A file that begins with exactly the header that this plan, seed and cut give is this run's. It is whole if its size
    is right and samples of its elements, drawn again, are its bytes.

    Raises
    ------
    FileExistsError : the file is of another plan, seed or cut, or none of winit's; the message says which.

    """
    size = folder.size(shard.file)
    if size is None:
        return False
    head, places = shard.head(seed)
    found = folder.read(shard.file, 0, min(size, len(head)))
    if size < len(head) and found == head[:size] and f'"{shard.digest}"'.encode() in found:
        return False  # cut within the header, after it has said whose it is
    if found != head:
        raise FileExistsError(
            errno.EEXIST,
            f"{_whose(folder, shard, seed)} (overwrite=True or --overwrite replaces it)",
            folder.path(shard.file),
        )
    if size != len(head) + shard.plan.nbytes:
        return False
    return all(
        folder.read(shard.file, place, len(expected)) == expected
        for place, expected in _samples(shard.plan, seed, places)
    )


def _samples(plan: Plan, seed: int, places: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    """Draw what stands at some places of a file."""
    names = [name for name in places if plan[name].nbytes]
    starts = [places[name] for name in names]
    if not names:
        return
    end = starts[0] + plan.nbytes
    whole: tuple[str, Any] = ("", None)  # a tensor that is made at once is made once for all its samples
    for place in (*range(starts[0], end, max(plan.nbytes // SAMPLES, 1)), end - 1):
        name = names[bisect_right(starts, place) - 1]
        param = plan[name]
        first = (place - places[name]) // param.itemsize
        last = min(first + SAMPLE // param.itemsize, param.size)
        if isinstance(param.law(), WholeTensor):
            if whole[0] != name:
                whole = name, plan.draw(name, seed=seed).reshape(-1)
            drawn = whole[1][first:last]
        else:
            drawn = plan.draw(name, seed=seed, box=range(first, last) if param.shape else None)
        yield places[name] + first * param.itemsize, drawn.tobytes()


def _whose(folder: Folder, shard: Shard, seed: int) -> str:
    """Say of a file with another header whose it is, as far as it tells."""
    size = folder.size(shard.file) or 0
    (length,) = struct.unpack("<Q", folder.read(shard.file, 0, min(size, 8)).ljust(8, b"\0"))
    try:
        text = folder.read(shard.file, 8, length) if 8 + length <= min(size, MAX_HEADER) else b""
        found = object_of(text).get("__metadata__")
    except ValueError:
        found = None
    metadata = found if isinstance(found, dict) else {}
    if "winit.plan" not in metadata:
        return "exists already, and no header says that it is of this plan and seed"
    if metadata.get("winit.seed") != str(seed):
        return f"is of seed {metadata.get('winit.seed')}, not {seed}"
    if metadata["winit.plan"] != shard.digest:
        return f"is of another plan: its digest is {metadata['winit.plan']}, this plan's is {shard.digest}"
    return "is of this plan and seed and holds other tensors: max_shard_size was another"


def same_bytes(folder: Folder, name: str, expected: bytes, what: str) -> bool:
    """Tell whether a small file is there and holds exactly some bytes.

    Raises
    ------
    FileExistsError : it is there and holds others.

    """
    if folder.size(name) is None:
        return False
    if folder.read(name, 0, len(expected) + 1) != expected:
        raise FileExistsError(
            errno.EEXIST,
            f"exists already and is not {what} (overwrite=True or --overwrite replaces it)",
            folder.path(name),
        )
    return True
