"""The tensors of one file or of several, taken together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from winit._core.checks import check_path, items_of, shown
from winit._files.entries import Entry, File, PathLike, check_entry, file_stamp, opened
from winit._files.npz import read_npz
from winit._files.safetensors_header import CODES, DTYPES, read_header
from winit._files.shard_index import read_index

__all__ = ["collect"]


def _entries(path: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read what a file says it holds, and which of its names stand for which other."""
    with opened(path) as descriptor:
        file = File(path, file_stamp(descriptor))
        # A safetensors file that began so would claim a header of 2^36 bytes or more.
        if os.pread(descriptor, 4, 0) in (b"PK\x03\x04", b"PK\x05\x06"):
            return read_npz(descriptor, file), {}
        return _read_safetensors(descriptor, file)


def _read_safetensors(descriptor: int, file: File) -> tuple[dict[str, Entry], dict[str, str]]:
    listed, metadata, start = read_header(descriptor, file.path)

    def broken(what: str) -> ValueError:
        return ValueError(f"{file.path} is not a safetensors file: {what}")

    entries = {}
    for name, entry in listed.items():
        lo, hi = entry["data_offsets"]
        dtype, shape = DTYPES.get(entry["dtype"], entry["dtype"]), entry["shape"]
        if dtype in CODES:  # others, such as F8_E4M3, may be there as long as nothing asks for them
            shape = check_entry(broken, name, dtype, shape, hi - lo)
        entries[name] = Entry(name, file, dtype, shape, start + lo, hi - lo)
    # safetensors.torch.save_model writes shared tensors once, and for each other name the one that was kept.
    aliases = {name: kept for name, kept in metadata.items() if kept in entries and name not in entries}
    return entries, aliases


def collect(given: PathLike | Iterable[PathLike]) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read the headers of all files: their tensors, and which other names stand for which of them."""
    paths = None if isinstance(given, (str, bytes, os.PathLike)) else items_of(given)
    if paths is None:
        paths = [given]
    entries: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a path or several, not {shown(path)}")
        text, index = check_path(path), None
        files = [text]
        if text.endswith(".json"):
            files, index = read_index(Path(text))
        for file in files:
            found, shared = _entries(file)
            for name in found:
                if name in entries:
                    raise ValueError(f"{name!r} is in {entries[name].file.path} and again in {file}")
                if index is not None and index.get(name) != file:
                    raise ValueError(f"{file} holds {name!r}, and {text} says {index.get(name)!r}")
            entries |= found
            aliases |= shared
        lacking = next((name for name in index or () if name not in entries), None)
        if index is not None and lacking is not None:
            raise ValueError(f"{index[lacking]} lacks {lacking!r}, which {text} says it holds")
    if not paths:
        raise ValueError("path must be a path or several, not none")
    return entries, {name: kept for name, kept in aliases.items() if name not in entries}
