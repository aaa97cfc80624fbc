"""What the files give for a tensor of the plan: tensors of the files, cut, transposed, joined and reshaped.

A Source says it, and `content_of` makes of it and the tensors that it names a Content, which is read as one tensor in
row-major order. Where that order is the files' own, as for ranges of rows and tensors one after the other, a Content is
a chain of places in files, which costs no memory; otherwise (transposed, joined along another axis, columns, Fortran
order, scales and numbers of four bits) the first span that needs it makes all of it, which is kept until the last ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from winit._core.checks import check_bool, check_integer, check_one_of, items_of, shown
from winit._core.dtypes import FLOATS, element_dtype, empty
from winit._core.records import Record
from winit._core.shapes import Shape, check_shape
from winit._files.entries import Entry, File
from winit._files.reader import ChainedReader, MemoryReader, Picks, Reader, reader_of, take

__all__ = ["FOREIGN", "Content", "Source", "content_of"]

# What files hold and no plan does, and what one is as numbers: scales (powers of two) and numbers of four bits.
_NUMBERS = {
    "F8_E8M0": np.append(np.ldexp(np.ones(255, np.float32), np.arange(255) - 127), np.float32(np.nan)),
    "F4": np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32),
}
FOREIGN = tuple(_NUMBERS)


class Source(Record):
    """Say which tensors of the files make one of the plan, and how: a value of winit.pretrained's `names`.

    Each named tensor is first cut (rows, columns), then transposed; then they are joined, and the result is reshaped.
    Rows, and tensors joined along axis 0, are read in blocks like any other; what is transposed, cut in columns or
    joined along another axis is held in memory while it is read.

    Parameters
    ----------
    names : str, or a sequence of them. A tensor of the files; several with join. With as many * as the rule's pattern.
    join : None; "concat", along an axis that they have; or "stack", along a new one.
    axis : int. The axis along which they are joined, of the result; counted from the end where negative.
    rows, columns : range or slice of step 1, within axis 0 and within axis 1 of each named tensor, as the file has it.
    transpose : bool. Exchange the last two axes, after rows and columns are cut and before tensors are joined.
    reshape : None, or the shape of the result, in row-major order; one size may be -1.

    Raises
    ------
    TypeError, ValueError : the wrong kind, several names without join, an empty range; in winit.pretrained, what the
        tensors that are found do not allow.

    >>> import winit
    >>> winit.Source("h.*.attn.c_attn.weight", columns=range(768), transpose=True)
    Source('h.*.attn.c_attn.weight', columns=range(0, 768), transpose=True)
    >>> experts = [f"layers.*.experts.{i}.{half}_proj.weight" for i in range(8) for half in ("gate", "up")]
    >>> winit.Source(experts, join="concat", reshape=(8, -1, 2048)).join
    'concat'

    """

    __slots__ = ("axis", "columns", "join", "names", "reshape", "rows", "transpose")
    names: tuple[str, ...]
    join: str | None
    axis: int
    rows: range | slice | None
    columns: range | slice | None
    transpose: bool
    reshape: Shape | None

    def __init__(
        self,
        names: str | Sequence[str],
        *,
        join: str | None = None,
        axis: int = 0,
        rows: range | slice | None = None,
        columns: range | slice | None = None,
        transpose: bool = False,
        reshape: int | Sequence[int] | None = None,
    ) -> None:
        listed = (names,) if isinstance(names, str) else items_of(names)
        if listed is None or not all(isinstance(name, str) for name in listed):
            raise TypeError(f"names must be a name of the files or several, not {shown(names)}")
        if not listed:
            raise ValueError("names must be a name of the files or several, not none")
        if join is not None:
            check_one_of(join, ("concat", "stack"), "join")
        elif len(listed) > 1:
            raise ValueError(f'{len(listed)} names need join="concat" or join="stack"')
        axis = check_integer(axis, "axis", None)
        if axis and join is None:
            raise ValueError(f"axis says where tensors are joined, and join is None; not {axis}")
        cuts = _check_cut(rows, "rows"), _check_cut(columns, "columns")
        check_bool(transpose, "transpose")
        sizes = None if reshape is None else _check_reshape(reshape)
        ends = [(cut.start, cut.stop) if cut is not None else None for cut in cuts]  # a slice has no hash
        identity = (tuple(listed), join, axis, *ends, transpose, sizes)
        self._set(tuple(listed), join, axis, *cuts, transpose, sizes, identity=identity)

    def named(self, names: Sequence[str]) -> Source:
        """Return the same source of tensors of other names."""
        return _source(names, *self._values()[1:])

    @property
    def plain(self) -> bool:
        """Whether it is one tensor as it is."""
        return self == Source(self.names[0])

    def __repr__(self) -> str:
        names = repr(self.names[0] if len(self.names) == 1 and self.join is None else list(self.names))
        shown_fields = [names]
        defaults = {"join": None, "axis": 0, "rows": None, "columns": None, "transpose": False, "reshape": None}
        for field, default in defaults.items():
            value = getattr(self, field)
            if value != default:
                shown_fields.append(f"{field}={value!r}")
        return f"Source({', '.join(shown_fields)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _source, self._values()


def _source(names: Any, join: Any, axis: Any, rows: Any, columns: Any, transpose: Any, reshape: Any) -> Source:
    return Source(names, join=join, axis=axis, rows=rows, columns=columns, transpose=transpose, reshape=reshape)


def _check_cut(cut: Any, what: str) -> range | slice | None:
    if cut is None:
        return None
    if not isinstance(cut, (range, slice)):
        raise TypeError(f"{what} must be a range or a slice, not {shown(cut)}")
    if cut.step not in (None, 1):
        raise ValueError(f"{what} must have step 1, not {cut.step!r}")
    ends = [end if end is None else check_integer(end, f"an end of {what}", None) for end in (cut.start, cut.stop)]
    if isinstance(cut, range) and not 0 <= cut.start < cut.stop:
        raise ValueError(f"{what} must be a range(lo, hi) with 0 <= lo < hi, not {cut!r}")
    return cut if isinstance(cut, range) else slice(*ends)


def _check_reshape(reshape: Any) -> Shape:
    sizes = [reshape] if isinstance(reshape, (int, np.integer)) else items_of(reshape)
    free = [at for at, size in enumerate(sizes or ()) if type(size) is int and size == -1]
    if sizes is None or isinstance(reshape, str):
        raise TypeError(f"reshape must be a shape, not {shown(reshape)}")
    if len(free) > 1:
        raise ValueError(f"reshape may have one size of -1, not {shown(reshape)}")
    found = list(check_shape([1 if at in free else size for at, size in enumerate(sizes)]))
    for at in free:
        found[at] = -1
    return tuple(found)


@dataclass(frozen=True)
class _Part:
    """A tensor of the files, the ranges of it that are used, and whether its last two axes are exchanged."""

    entry: Entry
    picks: tuple[range | np.ndarray, ...]
    transpose: bool
    decode: bool

    @property
    def shape(self) -> Shape:
        sizes = tuple(map(len, self.picks))
        return (*sizes[:-2], sizes[-1], sizes[-2]) if self.transpose else sizes

    @property
    def in_order(self) -> bool:
        """Whether what is used stands in the file in one piece and in the result's order."""
        inner = all(len(pick) == size for pick, size in zip(self.picks[1:], self.entry.shape[1:], strict=True))
        return inner and not (self.transpose or self.decode or (self.entry.fortran and len(self.picks) > 1))

    def piece(self) -> Entry:
        """The tensor's used rows as a tensor of their own: a part that is in order."""
        entry = self.entry
        rows = self.picks[0] if self.picks else None
        if not isinstance(rows, range) or len(rows) == entry.shape[0]:
            return entry
        each = entry.nbytes // entry.shape[0]
        lo, hi = rows.start, rows.stop
        cut = replace(entry, shape=self.shape, nbytes=(hi - lo) * each)
        if entry.packed is None:
            return replace(cut, place=entry.place + lo * each)
        # The checksum is that of all bytes up to the end.
        return replace(cut, skip=entry.skip + lo * each, crc=entry.crc if hi == entry.shape[0] else 0)

    def picked(self, picks: Picks) -> _Part:
        """The part of which only some indices of each axis of its shape are used."""
        picks = [*picks[:-2], picks[-1], picks[-2]] if self.transpose else list(picks)
        own = zip(self.picks, picks, strict=True)
        return replace(
            self,
            picks=tuple(
                pick[some.start : some.stop] if isinstance(some, range) else np.asarray(pick)[some]
                for pick, some in own
            ),
        )

    def read_into(self, descriptor: int, out: np.ndarray) -> None:
        """Read what is used into an array of the part's shape and any strides."""
        entry, picks = self.entry, self.picks
        if self.transpose:
            out = out.swapaxes(-1, -2)
        if self.decode:
            out[...] = _decoded(entry, reader_of(descriptor, entry))[np.ix_(*picks)]
            return
        shape = entry.shape
        if entry.fortran:  # it is the transpose that is in row-major order
            out, picks, shape = out.T, picks[::-1], shape[::-1]
        if not shape:
            out, picks, shape = out.reshape(1), (range(1),), (1,)
        take(reader_of(descriptor, entry), entry, shape, picks, out, lambda block: block)


def _decoded(entry: Entry, reader: Reader) -> np.ndarray:
    """The numbers of a tensor of scales or of four-bit numbers, the lower half of a byte first."""
    raw = np.empty(entry.nbytes, np.uint8)
    reader.read(raw, 0)
    codes = np.stack([raw & 15, raw >> 4], -1) if entry.dtype == "F4" else raw
    return _NUMBERS[entry.dtype][codes].reshape(entry.shape)


@dataclass(frozen=True)
class Content:
    """What the files give for a tensor of the plan, as one tensor.

    said : what messages and the report call it. dtype, shape : those that it is read as. stored_as : the files' dtype.
    pieces : the tensors whose bytes, one after the other, are its; or, where parts is not empty, it is made of those.
    """

    said: str
    dtype: str
    shape: Shape
    stored_as: str
    pieces: tuple[Entry, ...]
    parts: tuple[_Part, ...] = ()
    join: tuple[str, int] | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The tensors of the files that are used."""
        return self.pieces or tuple(part.entry for part in self.parts)

    @property
    def text(self) -> str:
        """What messages call it, with its file."""
        files = list(dict.fromkeys(entry.file.path for entry in self.entries))
        return f"{self.said} of {files[0]}{f' and {len(files) - 1} more' if len(files) > 1 else ''}"

    @property
    def swapped(self) -> bool:
        return bool(self.pieces) and self.pieces[0].swapped

    @property
    def forwards(self) -> bool:
        """Whether it is read fastest from its begin to its end, by one thread: what is compressed."""
        return any(piece.packed is not None for piece in self.pieces)

    def picked(self, picks: Picks) -> Content | None:
        """The content of which only some indices of each axis are used, where that saves making the others."""
        if len(self.parts) != 1 or self.join is not None or self.parts[0].shape != self.shape:
            return None
        part = self.parts[0].picked(picks)
        return replace(self, shape=part.shape, parts=(part,))

    def reader(self, descriptors: Mapping[File, int]) -> Reader:
        """Return what reads it in row-major order, for one thread."""
        if self.parts:
            return MemoryReader(self.made(descriptors))
        readers = [reader_of(descriptors[piece.file], piece) for piece in self.pieces]
        return readers[0] if len(readers) == 1 else ChainedReader(readers, [piece.nbytes for piece in self.pieces])

    def made(self, descriptors: Mapping[File, int]) -> np.ndarray:
        """Read its parts into their places; returns all of it."""
        kind = element_dtype(self.dtype)
        shapes = [part.shape for part in self.parts]
        out = empty(_joined(shapes, self.join), kind)
        begin = 0
        for part, shape in zip(self.parts, shapes, strict=True):
            where: tuple[Any, ...] = ()
            if self.join is not None:
                how, axis = self.join
                size = 1 if how == "stack" else shape[axis]
                where = (slice(None),) * axis + ((begin,) if how == "stack" else (slice(begin, begin + size),))
                begin += size
            part.read_into(descriptors[part.entry.file], out[(*where, ...)])
        return out


def _joined(shapes: Sequence[Shape], join: tuple[str, int] | None) -> Shape:
    if join is None:
        return shapes[0]
    how, axis = join
    size = len(shapes) if how == "stack" else sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], size, *shapes[0][axis + (how == "concat") :])


def content_of(source: Source, entries: Sequence[Entry], wanted: str) -> Content:
    """Say what a source makes of the tensors that it names, found in the files; `wanted` is the plan's dtype.

    ValueError where they do not allow it.
    """
    source = source.named([entry.name for entry in entries])  # a name may stand for another in the file
    said = repr(source.names[0]) if source.plain else repr(source)
    found = [_as_bytes(entry) if wanted == "uint8" else entry for entry in entries]
    dtypes = list(dict.fromkeys(entry.dtype for entry in found))
    if len(dtypes) > 1:
        raise ValueError(f"{said} joins tensors of {' and '.join(dtypes)}: one dtype can be joined")
    decode = dtypes[0] in _NUMBERS and wanted in FLOATS
    dtype = "float32" if decode else dtypes[0]
    parts = tuple(_part(source, entry, decode) for entry in found)
    join = None if source.join is None else (source.join, _axis(source, parts))
    shape = _reshaped(source, _joined([part.shape for part in parts], join))
    as_they_are = all(part.in_order and part.entry.swapped == found[0].swapped for part in parts)
    if as_they_are and (join is None or join[1] == 0):
        return Content(said, dtype, shape, entries[0].dtype, tuple(part.piece() for part in parts))
    return Content(said, dtype, shape, entries[0].dtype, (), parts, join)


def _as_bytes(entry: Entry) -> Entry:
    """A tensor of a dtype that no plan has, as its bytes; two four-bit numbers are one."""
    if entry.dtype not in _NUMBERS:
        return entry
    if entry.dtype == "F4":
        if not entry.shape or entry.shape[-1] % 2:
            raise ValueError(f"{entry.text} has rows of {prod(entry.shape[-1:])} numbers of four bits: no whole bytes")
        return replace(entry, dtype="uint8", shape=(*entry.shape[:-1], entry.shape[-1] // 2))
    return replace(entry, dtype="uint8")


def _part(source: Source, entry: Entry, decode: bool) -> _Part:
    shape, text = entry.shape, entry.text
    picks = [range(size) for size in shape]
    for axis, what in enumerate(("rows", "columns")):
        cut: range | slice | None = getattr(source, what)
        if cut is None:
            continue
        if axis >= len(shape):
            raise ValueError(f"{text} has shape {shape}, and so no {what} to cut")
        lo, hi = (end if end is None or end >= 0 else end + shape[axis] for end in (cut.start, cut.stop))
        lo, hi = 0 if lo is None else lo, shape[axis] if hi is None else hi
        if not 0 <= lo < hi <= shape[axis]:
            raise ValueError(
                f"{what}={cut!r} is empty, or reaches outside axis {axis} of {text}, which has size {shape[axis]}"
            )
        picks[axis] = range(lo, hi)
    if source.transpose and len(shape) < 2:
        raise ValueError(f"{text} has shape {shape}: transpose exchanges the last two axes")
    return _Part(entry, tuple(picks), source.transpose, decode)


def _axis(source: Source, parts: Sequence[_Part]) -> int:
    """The axis along which tensors are joined, counted from 0."""
    shapes = [part.shape for part in parts]
    ndim = len(shapes[0]) + (source.join == "stack")
    axis = source.axis + ndim if source.axis < 0 else source.axis
    if not 0 <= axis < ndim:
        raise ValueError(f"axis={source.axis} is none of the {ndim} axes of what {source!r} joins")
    for part, shape in zip(parts, shapes, strict=True):
        others = [
            tuple(size for at, size in enumerate(each) if source.join == "stack" or at != axis)
            for each in (shape, shapes[0])
        ]
        if others[0] != others[1]:
            beside = "" if source.join == "stack" else f" but for axis {axis}"
            raise ValueError(
                f"{part.entry.text} gives the shape {shape} and {parts[0].entry.text} {shapes[0]}: "
                f"{source.join} needs one shape{beside}"
            )
    return axis


def _reshaped(source: Source, shape: Shape) -> Shape:
    if source.reshape is None:
        return shape
    sizes = source.reshape
    known = prod(size for size in sizes if size >= 0)
    if -1 in sizes and known and prod(shape) % known == 0:
        sizes = tuple(prod(shape) // known if size == -1 else size for size in sizes)
    if -1 in sizes or prod(sizes) != prod(shape):
        raise ValueError(f"{source!r} gives the shape {shape}, which cannot be reshaped to {source.reshape}")
    return sizes
