"""An npz archive written by the standard library's zipfile, member by member, as numpy.savez lays one out."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from winit._core.shapes import Shape
from winit._files.appearing import Target, appearing
from winit._files.storing import Counter, Span, made_in_order

__all__ = ["Member", "store_npz"]

MAX_COMMENT = 65_535  # bytes: the format's own limit


class Member(NamedTuple):
    """A tensor: its name, dtype, shape, and the spans of its bytes in order."""

    name: str
    dtype: str
    shape: Shape
    nbytes: int
    spans: Iterable[Span]


def store_npz(
    target: Target, members: Iterable[Member], metadata: Mapping[str, str], threads: int | None, counter: Counter
) -> None:
    """Write an archive of tensors that are not compressed, whole or not at all; metadata as JSON in its comment.

    Checksums stand before and after each member's bytes, and zipfile adds them up one member at a time: the bytes are
    made by all threads and written by one.
    """
    tensors = list(members)
    comment = json.dumps(dict(metadata), separators=(",", ":")).encode()
    size = sum(member.nbytes + 512 for member in tensors)
    with (
        appearing(target, size) as descriptor,
        open(os.dup(descriptor), "r+b") as stream,  # noqa: PTH123
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        stream.truncate(0)
        archive.comment = comment if len(comment) <= MAX_COMMENT else b""
        for member in tensors:
            # The date is zip's first: the same plan and seed are the same bytes on any day.
            info = zipfile.ZipInfo(f"{member.name}.npy", (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as out:
                out.write(_npy_header(member))
                for piece in made_in_order(member.spans, threads):
                    out.write(piece)
                    counter.add(len(piece))


def _npy_header(member: Member) -> bytes:
    """Return what precedes the elements of an array file. NumPy writes bfloat16 as two bytes of nothing known."""
    descr = "|V2" if member.dtype == "bfloat16" else np.lib.format.dtype_to_descr(np.dtype(member.dtype))
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": tuple(map(int, member.shape))}
    )
    return stream.getvalue()
