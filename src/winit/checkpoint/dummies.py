"""Finite random weights for benchmarks of serving: any dtype, the shapes of a plan or of a file's header, no law's.

Floating-point tensors are uniform on a small interval, as vLLM's dummy loader makes them; those whose names say that
they are scales or variances are positive. What is packed or has a dtype of codes gets random valid codes; all other
integers are zeros, since they may be indices. An element depends on seed, name and index, so tensors of equal size
differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from winit._core.checks import check_bool, check_callable, check_path, check_threads
from winit._core.drawing import words
from winit._core.dtypes import float_name
from winit._core.keys import STREAM_VERSION, stream_key
from winit._core.scheme import Scheme, check_scheme
from winit._files.collecting import collect
from winit._files.safetensors_header import BITS, CODES, DTYPES, lay_out
from winit._files.storing import SPAN, Counter, Progress, Span
from winit._plans.param import Param, shown_name
from winit._plans.plan import Plan
from winit.checkpoint.folders import FileOut, folder_of
from winit.checkpoint.heading import check_ties
from winit.checkpoint.jobs import MAX_SHARD_SIZE, Written, clear_layout, texts_of
from winit.checkpoint.sharding import INDEX, Shard, by_size, byte_size
from winit.checkpoint.spans import spans_of
from winit.schemes.constants import zeros
from winit.schemes.plain import uniform

__all__ = ["dummy"]

_WEIGHTS = uniform(-1e-3, 1e-3)
# A thousandth is a 15th of what the smallest of float8_e4m3fn's normal numbers is: 98% would round to zero.
_COARSE = uniform(-(2.0**-4), 2.0**-4)
_SCALES, _COARSE_SCALES = uniform(0.5e-3, 1e-3), uniform(0.5, 1.0)
_VARIANCES = uniform(0.5, 1.0)

_SCALE = re.compile(r"(scales?|scales?_inv|absmax)(_\d+)?$")
_VARIANCE = re.compile(r"(running_var|moving_variance)$")
_PACKED = re.compile(r"(^|[._])(q?weight|\w*packed|\w*blocks|q?zeros|\w*zero_points?|codes|\w+_proj)$")

# Which code each random byte becomes. A scale that is nothing but an exponent, 2^-11 to 2^-9 (255 would be NaN); and
# formats whose one NaN is at minus zero, small numbers of either sign.
_BYTES = np.arange(256, dtype=np.uint8)
_EXPONENTS = (116 + _BYTES % 3).astype(np.uint8)
_ONE_NAN = ((_BYTES & 0x80) | (1 + _BYTES % 32)).astype(np.uint8)
_TABLES: dict[str, np.ndarray | None] = {"bytes": None, "exponents": _EXPONENTS, "one nan": _ONE_NAN}
_TABLES["positive"] = (1 + _BYTES % 32).astype(np.uint8)
_CODED = {"F8_E8M0": "exponents", "F8_E4M3FNUZ": "one nan", "F8_E5M2FNUZ": "one nan"}
_CODED |= dict.fromkeys(("F4", "F6_E2M3", "F6_E3M2"), "bytes")


@dataclass(frozen=True)
class _Coded:
    """A tensor that stands in the plan as one of other elements: its dtype's code and shape.

    kind : how its bytes are made from the stream's; None where they are those of the plan's tensor.
    """

    code: str
    shape: tuple[int, ...]
    kind: str | None


@dataclass(frozen=True)
class _CodeSpan:
    """Bytes lo..hi of a tensor of codes, and their place in the file."""

    seed: int
    key: str
    kind: str
    lo: int
    hi: int
    place: int

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        """Make the bytes: the stream's words, each byte the code that it stands for."""
        drawn = words(self.seed, self.key, self.lo // 4, -(-self.hi // 4)).view(np.uint8)[: self.hi - self.lo]
        table = _TABLES[self.kind]
        codes: Any = drawn if table is None else table[drawn]
        yield self.place, memoryview(codes)


def dummy(
    source: Plan | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    dtype: Any = None,
    scheme: Scheme | None = None,
    max_shard_size: int | str | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
) -> Written:
    """Write finite random weights of the names, shapes and dtypes of a plan or of a checkpoint, as fast as the disk.

    Floating-point tensors are U(-1e-3, 1e-3), in float8_e4m3fn U(-2^-4, 2^-4). Those named as scales (weight_scale,
    scales, absmax) are positive, U(0.5e-3, 1e-3), in float8 U(0.5, 1); so are variances (running_var), U(0.5, 1). F4
    and F6, and integers named as packed weights (weight, qweight, weight_packed, blocks, qzeros), are random codes;
    E8M0, and uint8 named as scales, are exponents from 2^-11 to 2^-9. Other integers and bools are zeros.

    Parameters
    ----------
    source : Plan, or path of a safetensors file, an index, a folder with either, or an npz file: its headers are read.
    folder : str or os.PathLike. Where to write: as in winit.checkpoint.write.
    seed : int, 0 <= seed < 2^64.
    dtype : of floating-point tensors, instead of the source's; None keeps them.
    scheme : the law of floating-point tensors that are no scales and no variances; None is the uniform one above.
    max_shard_size, overwrite, threads, progress, config : as in winit.checkpoint.write.

    Returns
    -------
    Written : which files were written.

    Raises
    ------
    TypeError, ValueError : source, seed, dtype, scheme; a scheme that a tensor's shape or dtype does not allow.
    OSError : source cannot be read, or folder not written, as in winit.checkpoint.write.

    >>> import tempfile, winit
    >>> plan = winit.Plan({"w": (64, 64), "w_scale": (64,)}, rules=[("*", winit.normal())])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = winit.checkpoint.dummy(plan, folder, dtype="float8_e4m3fn")
    ...     weights = winit.pretrained(folder, plan.with_dtype("float8_e4m3fn"), seed=0).build()
    >>> bool((weights["w_scale"].astype("float32") > 0).all())
    True

    """
    threads = check_threads(threads)
    stream_key(seed)
    check_bool(overwrite, "overwrite")
    check_callable(progress, "progress")
    most = byte_size(MAX_SHARD_SIZE if max_shard_size is None else max_shard_size)
    if scheme is not None:
        check_scheme(scheme)
    wanted = None if dtype is None else float_name(dtype)
    plan, coded = _planned(_listed(source), wanted, scheme)
    place = folder_of(check_path(folder, "folder"))
    texts = texts_of(config)
    cut = by_size(plan, most)
    others = clear_layout(place, len(cut.groups), overwrite)
    files = [_file(shard, coded, seed, overwrite, threads) for shard in cut.shards(0, 1)]
    elements = sum(prod(coded[name].shape) if name in coded else param.size for name, param in plan.stored.items())
    index = cut.index(seed, elements)
    if index is not None:
        texts = (*texts, (INDEX, index))
    files += [FileOut(name, overwrite, text) for name, text in texts]
    place.write(files, threads, Counter(plan.nbytes, progress))
    for name in others:
        place.remove(name)
    return Written([file.name for file in files], [], plan.nbytes)


def _listed(source: Any) -> list[tuple[str, str, tuple[int, ...], str | None]]:
    """Return name, dtype's code, shape, and what it is tied to, of each tensor of a source."""
    if isinstance(source, Plan):
        return [(name, CODES[param.dtype], param.shape, param.tied) for name, param in source.items()]
    found = collect(check_path(source, "source"))
    tensors = [(name, CODES.get(entry.dtype, entry.dtype), entry.shape, None) for name, entry in found.entries.items()]
    return [*tensors, *((name, "", (), kept) for name, kept in found.aliases.items())]


def _planned(
    tensors: Iterable[tuple[str, str, tuple[int, ...], str | None]], dtype: str | None, scheme: Scheme | None
) -> tuple[Plan, dict[str, _Coded]]:
    """Make a plan of the tensors; those of codes are bytes in it, and told apart."""
    params: dict[str, Param] = {}
    coded: dict[str, _Coded] = {}
    for name, code, shape, tied in tensors:
        if tied is not None:
            params[name] = Param(tied=tied)
            continue
        if code not in BITS:
            raise ValueError(f"{shown_name(name)}: has the dtype {code}, which a safetensors file cannot hold")
        kind = _kind(name, code)
        if kind is not None:
            coded[name] = _Coded(code, shape, kind)
            params[name] = Param((prod(shape) * BITS[code] // 8,), zeros(), "uint8")
            continue
        own = DTYPES[code]
        if own.startswith(("float", "bfloat")):
            own = dtype or own
            params[name] = Param(shape, _law(name, own, scheme), own)
        elif own == "complex64":
            coded[name] = _Coded(code, shape, None)
            params[name] = Param((*shape, 2), scheme or _WEIGHTS, "float32")
        else:
            params[name] = Param(shape, zeros(), own)
    return Plan(params), coded


def _kind(name: str, code: str) -> str | None:
    """Tell how a tensor of codes is made; None for a tensor of numbers."""
    if code in _CODED:
        positive = _CODED[code] == "one nan" and (_SCALE.search(name) or _VARIANCE.search(name))
        return "positive" if positive else _CODED[code]
    if code == "U8" and _SCALE.search(name):
        return "exponents"
    if code in ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64") and _PACKED.search(name):
        return "bytes"
    return None


def _law(name: str, dtype: str, scheme: Scheme | None) -> Scheme:
    if _VARIANCE.search(name):
        return _VARIANCES
    if _SCALE.search(name):
        return _COARSE_SCALES if dtype.startswith("float8") else _SCALES
    if scheme is not None:
        return scheme
    return _COARSE if dtype == "float8_e4m3fn" else _WEIGHTS


def _file(shard: Shard, coded: Mapping[str, _Coded], seed: int, overwrite: bool, threads: int | None) -> FileOut:
    """Lay out one file, its tensors of numbers and of codes."""
    metadata = {name: param.tied for name, param in shard.plan.items() if param.tied is not None}
    check_ties(metadata)
    metadata |= {"format": "pt", "winit.stream": str(STREAM_VERSION), "winit.dummy": str(seed)}
    tensors = sorted(shard.plan.stored.items(), key=lambda item: -_width(item[0], item[1], coded))
    head, places = lay_out(
        (
            (name, coded[name].code, coded[name].shape, param.nbytes)
            if name in coded
            else (name, param.dtype, param.shape, param.nbytes)
            for name, param in tensors
        ),
        metadata,
    )
    return FileOut(shard.file, overwrite, head, _spans(shard.plan, coded, seed, places, threads), shard.plan.nbytes)


def _width(name: str, param: Param, coded: Mapping[str, _Coded]) -> float:
    """Bytes of an element: tensors of wider ones stand first, so that each is aligned."""
    return BITS[coded[name].code] / 8 if name in coded else param.itemsize


def _spans(
    plan: Plan, coded: Mapping[str, _Coded], seed: int, places: Mapping[str, int], threads: int | None
) -> Iterator[Span]:
    for name, place in places.items():
        kind = coded[name].kind if name in coded else None
        if kind is None:
            yield from spans_of(plan, seed, {name: place}, threads)
            continue
        for lo in range(0, plan[name].nbytes, SPAN):
            yield _CodeSpan(seed, name, kind, lo, min(lo + SPAN, plan[name].nbytes), place + lo)
