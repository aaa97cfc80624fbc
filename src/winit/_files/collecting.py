"""The tensors of one file or of several, taken together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from winit._core.checks import check_path, items_of, shown
from winit._files.entries import Entry, File, PathLike, file_stamp, opened
from winit._files.locating import files_of
from winit._files.npz import read_npz
from winit._files.safetensors_header import DTYPES, read_header

__all__ = ["Collected", "collect"]

_FORMATS = ("pt", "np", "tf", "flax", "mlx")  # what the metadata "format" says, whatever tensors are called


@dataclass
class Collected:
    """What files hold.

    entries : the tensors by name. aliases : names that stand for one of them, where a file says so.
    placed, total_size : what an index says, of each tensor's file and of all bytes.
    beyond : tensors that a shard holds and its index does not place there. metadata : of all files together.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)
    total_size: object = None
    beyond: list[Entry] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


def collect(given: PathLike | Iterable[PathLike], npz: bool = True, broken: dict[str, str] | None = None) -> Collected:
    """Read the headers of all files that are meant: a file, an index, a folder, or several of them.

    broken : where it is given, files that an index names and that cannot be read are put there, with what is wrong,
        and what the index says of them is no error.
    """
    paths = None if isinstance(given, (str, bytes, os.PathLike)) else items_of(given)
    if paths is None:
        paths = [given]
    collected = Collected()
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a path or several, not {shown(path)}")
        text = check_path(path)
        files, index, said, total = files_of(text)
        for file in files:
            try:
                _add(collected, file, index, npz)
            except (OSError, ValueError) as error:
                if broken is None or index is None:
                    raise
                broken[file] = "missing" if isinstance(error, FileNotFoundError) else _of_file(error, file)
        if index is not None:
            collected.total_size = total
            collected.placed |= index
        lacking = next((name for name in index or () if name not in collected.entries), None)
        if index is not None and lacking is not None and broken is None:
            raise ValueError(f"{index[lacking]} lacks {lacking!r}, which {text} says it holds")
        # huggingface_hub's save_torch_state_dict says there what it writes once: the tensors may be in any shard.
        collected.aliases |= _aliases(said, index or {})
    if not paths:
        raise ValueError("path must be a path or several, not none")
    entries = collected.entries
    collected.aliases = {name: kept for name, kept in collected.aliases.items() if name not in entries}
    return collected


def _of_file(error: OSError | ValueError, file: str) -> str:
    """Return what an error says of a file, without its name."""
    said = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return said.removeprefix(f"{file} ").removeprefix("is ")


def _add(collected: Collected, path: str, index: Mapping[str, str] | None, npz: bool) -> None:
    """Read the header of one file."""
    with opened(path) as descriptor:
        file = File(path, file_stamp(descriptor))
        # A safetensors file that began so would claim a header of 2^36 bytes or more.
        if npz and os.pread(descriptor, 4, 0) in (b"PK\x03\x04", b"PK\x05\x06"):
            found, metadata = read_npz(descriptor, file)
        else:
            header = read_header(descriptor, path)
            found, metadata = {}, header.metadata
            for name, (code, shape, begin, end) in header.entries.items():
                found[name] = Entry(name, file, DTYPES.get(code, code), shape, header.start + begin, end - begin)
    for name, entry in found.items():
        if index is not None and index.get(name) != path:
            collected.beyond.append(entry)
        elif name in collected.entries:
            raise ValueError(f"{name!r} is in {collected.entries[name].file.path} and again in {path}")
        else:
            collected.entries[name] = entry
    # safetensors.torch.save_model writes shared tensors once, and for each other name the one that was kept.
    collected.aliases |= _aliases(metadata, found)
    collected.metadata |= metadata


def _aliases(metadata: Mapping[str, str], found: Mapping[str, object]) -> dict[str, str]:
    """Give the names that metadata lead to one of the tensors that were found, and that are none themselves."""
    return {
        name: kept
        for name, kept in metadata.items()
        if kept in found and name not in found and not (name == "format" and kept in _FORMATS)
    }
