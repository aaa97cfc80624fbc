"""Fuzz the readers of files, guided by coverage: python tools/fuzz_reader.py --cases 1000000.

Each case is a file made from a small corpus by libFuzzer (pip install atheris). Reading its header must end in tensors
or in a ValueError of one short line, within a bound of memory. Where the safetensors library is installed and takes a
file that winit refuses, or the other way, the case fails unless docs/trust.md lists it as an exception.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import struct
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["winit._files", "json", "zipfile"]):
    import json.decoder
    import zipfile  # noqa: F401  instrumented

    import numpy as np

    import winit  # noqa: F401  loads its engines before memory is bounded
    from winit._files.collecting import collect

try:
    import safetensors
except ImportError:
    safetensors = None

MEMORY = 4 << 30  # bytes of address space; a case that wants more is a crash


def corpus(directory: Path) -> None:
    """Write small files of every kind that is read."""
    entry = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    for i, header in enumerate((f'{{"a":{entry}}}', f'{{"__metadata__":{{"b":"a"}},"a":{entry}}}', "{}")):
        data = struct.pack("<Q", len(header)) + header.encode() + bytes(8 if "a" in header else 0)
        (directory / f"safetensors-{i}").write_bytes(data)
    for i, save in enumerate((np.savez, np.savez_compressed)):
        stream = io.BytesIO()
        save(stream, a=np.zeros((2, 3), "<f4"), b=np.zeros(2, ">f8"))
        (directory / f"npz-{i}").write_bytes(stream.getvalue())
    (directory / "index").write_text('{"weight_map":{"a":"safetensors-0"}}', encoding="utf-8")
    (directory / "pointer").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")


def excepted(data: bytes) -> bool:
    """Tell whether the library takes what the format forbids: keys given twice, entries of other kinds, many axes."""
    (length,) = struct.unpack("<Q", data[:8])
    twice: list[bool] = []

    def pairs_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
        twice.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    found = json.loads(data[8 : 8 + length], object_pairs_hook=pairs_of)
    tensors = [each for name, each in found.items() if name != "__metadata__"]
    odd = any(not isinstance(each, dict) or not isinstance(each["dtype"], str) for each in tensors)
    return any(twice) or odd or any(len(each["shape"]) > 64 for each in tensors)


class Case:
    """One case after the other, through one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, data: bytes) -> None:
        self.path.write_bytes(data)
        try:
            collect(self.path)
            took = True
        except (ValueError, FileNotFoundError) as error:
            took = False
            text = str(error)
            if type(error) not in (ValueError, FileNotFoundError) or "\n" in text or len(text) > 1000:
                raise
        except OSError as error:
            took = False
            if "\n" in str(error):
                raise
        if safetensors is not None and not data.startswith((b"PK", b"{", b" ", b"\t", b"\n", b"\r")):
            self.compare(data, took)

    def compare(self, data: bytes, took: bool) -> None:
        try:
            safetensors.deserialize(data)
            library = True
        except (safetensors.SafetensorError, OverflowError):
            library = False
        if library != took and not (library and excepted(data)):
            raise AssertionError(f"the library takes it: {library}, winit: {took}: {data!r}")


def main() -> None:
    """Run until the cases are done, or one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").exists() else None) as name:
        seeds, work = Path(name) / "corpus", Path(name) / "work"
        seeds.mkdir()
        work.mkdir()
        corpus(seeds)
        (work / "safetensors-0").write_bytes((seeds / "safetensors-0").read_bytes())
        options = [f"-runs={arguments.cases}", f"-seed={arguments.seed}", "-max_len=4096", "-rss_limit_mb=4096"]
        options += ["-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={Path.cwd()}/"]
        atheris.Setup([sys.argv[0], *options, str(seeds)], Case(work / "case"))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
