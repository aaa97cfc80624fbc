"""What a file is that is not what was asked for: its first bytes tell."""

from __future__ import annotations

import re

__all__ = ["ZIP", "is_json", "kind_of"]

ZIP = "a zip archive"

_NEVER = "pickles are never read, since they can run code: save the tensors with safetensors.torch.save_file"
_KINDS = (
    (rb"version https://git-lfs\.github\.com/spec/", "a git-lfs pointer, not the file it stands for (git lfs pull)"),
    (rb"\x80[\x02-\x05].{0,24}(torch|\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19)", f"a pickle, as torch.save wrote; {_NEVER}"),
    (rb"\x80[\x02-\x05]", f"a pickle; {_NEVER}"),
    (rb"PK\x03\x04.{26}[^\0]*/(data\.pkl|version|byteorder)", f"a zip archive of torch.save, a pickle; {_NEVER}"),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", ZIP),
    (rb"GGUF|FUGG", "a GGUF file"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (rb"\x93NUMPY", "an .npy file; numpy.savez writes arrays with names"),
    (rb"\s*<(?i:!doctype html|html)", "an HTML page, as a failed download leaves"),
    (rb"\s*<\?xml", "an XML document, as a failed download leaves"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"BZh", "a bzip2 archive"),
    (rb"\xfd7zXZ\0", "an xz archive"),
    (rb"\x28\xb5\x2f\xfd", "a zstd archive"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (rb".{257}ustar", "a tar archive"),
    (rb".{4}TFL3", "a TensorFlow Lite model"),
    (rb"PAR1", "a Parquet file"),
    (rb"%PDF", "a PDF document"),
)
_PATTERNS = [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _KINDS]


def is_json(head: bytes) -> bool:
    """Tell whether a file begins as a JSON object does.

    A safetensors file that began so would claim a header of 2^56 bytes or more, or be too short for one.
    """
    return head[:64].lstrip(b" \t\r\n").startswith(b"{") and b"\0" not in head[:8]


def kind_of(head: bytes) -> str | None:
    """Name the kind of a file by its first 512 bytes; None for what may be safetensors, whole or broken.

    A header of 640 bytes begins as a pickle does, and one of 35,615 as a gzip archive.

    >>> kind_of(b"GGUF" + bytes(20))
    'a GGUF file'
    """
    if head[4:9] == b"\0\0\0\0{":
        return None
    kind = next((kind for pattern, kind in _PATTERNS if pattern.match(head)), None)
    return "JSON text" if kind is None and is_json(head) else kind
