"""Which files a path means: itself, those that an index names, or a folder's index or only file."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from winit._core.checks import shown
from winit._files.entries import opened
from winit._files.first_bytes import is_json, kind_of
from winit._files.strict_json import ForbiddenError, object_of

__all__ = ["Meant", "files_of"]

MAX_INDEX = 100_000_000  # bytes of an index; the same as of a header


class Meant(NamedTuple):
    """The files that a path means.

    places : where an index names them, which of them each tensor is in. metadata : what the index says besides.
    """

    files: list[str]
    places: Mapping[str, str] | None
    metadata: Mapping[str, str]
    total_size: object = None  # what an index says of all bytes


def files_of(path: str) -> Meant:
    """Find the files that a path means, and what an index says of them.

    Raises
    ------
    OSError : a path cannot be read. ValueError : a folder without or with several candidates; a broken index.

    """
    if Path(path).is_dir():
        path = _only_file(path)
    if path.endswith(".json"):
        return _read_index(path)
    with opened(path) as descriptor:
        head = os.pread(descriptor, 512, 0)
    return _read_index(path) if is_json(head) else Meant([path], None, {})


def _only_file(folder: str) -> str:
    """Find the index of a folder, or its only safetensors file."""
    names = sorted(os.listdir(folder))  # noqa: PTH208
    indexes = [name for name in names if name.endswith(".safetensors.index.json")]
    files = [name for name in names if name.endswith(".safetensors") and not name.startswith(".")]
    found = indexes or files
    if len(found) == 1:
        return os.path.join(folder, found[0])  # noqa: PTH118
    if found:
        what = "indexes" if indexes else "safetensors files and no index"
        listed = ", ".join(shown(name, 60) for name in found[:5])
        more = "" if len(found) <= 5 else f" and {len(found) - 5} more"
        raise ValueError(f"{folder} holds several {what}: {listed}{more}; name the one or those that are meant")
    others = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack"))]
    hint = f"; {others[0]!r} is of another format, which is not read" if others else ""
    raise FileNotFoundError(errno.ENOENT, f"holds no safetensors file and no index of any{hint}", folder)


def _read_index(path: str) -> Meant:
    with opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, min(size, MAX_INDEX + 1), 0)

    def broken(what: str) -> ValueError:
        kind = kind_of(text[:512])
        if kind is not None and not is_json(text):
            return ValueError(f"{path} is {kind}")
        return ValueError(f"{path} is not an index of safetensors files: {what}")

    if size > MAX_INDEX:
        raise broken(f"it has {size:,} bytes")
    try:
        index = object_of(text)
    except ForbiddenError as error:
        raise broken(f"it {error}") from None
    except ValueError as error:
        raise broken(f"it is not JSON ({str(error).splitlines()[0]})") from None
    found = index.get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise broken("it has no 'weight_map' from names to files")
    for file in found.values():
        if Path(file).name != file or "\0" in file:
            raise broken(f"{shown(file)} is not the name of a file beside it")
    places = {name: str(Path(path).with_name(file)) for name, file in found.items()}
    said = index.get("metadata")
    metadata = {key: value for key, value in said.items() if isinstance(value, str)} if isinstance(said, dict) else {}
    total = said.get("total_size") if isinstance(said, dict) else None
    return Meant(list(dict.fromkeys(places.values())), places, metadata, total)
