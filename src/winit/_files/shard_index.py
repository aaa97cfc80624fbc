"""The index of a sharded checkpoint: which tensor is in which file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from winit._files.entries import opened

__all__ = ["read_index"]

MAX_INDEX = 100_000_000  # bytes of an index; the same as of a header


def read_index(path: Path) -> tuple[list[str], dict[str, str]]:
    """Read an index: the files it names, and which file each tensor is in."""
    with opened(str(path)) as descriptor:
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, min(size, MAX_INDEX + 1), 0)

    def broken(what: str) -> ValueError:
        return ValueError(f"{path} is not an index of safetensors files: {what}")

    if size > MAX_INDEX:
        raise broken(f"it has {size:,} bytes")
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken(f"it is not JSON ({str(error).splitlines()[0]})") from None
    found = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise broken("it has no 'weight_map' from names to files")
    for file in found.values():
        if Path(file).name != file or "\0" in file:
            raise broken(f"{file!r} is not the name of a file beside it")
    places = {name: str(path.with_name(file)) for name, file in found.items()}
    return list(dict.fromkeys(places.values())), places
