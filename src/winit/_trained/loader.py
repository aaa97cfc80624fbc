"""Trained tensors in the place of drawn ones: a plan's values from files, fitted where shapes differ, the rest drawn.

The module has another name than its function `winit.pretrained`, which importing a module of that name would hide.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from winit import _kernels
from winit._core.drawing import bind, draw, empty, numpy_dtype, run
from winit._core.keys import stream_key
from winit._core.laws import real
from winit._core.shapes import Shape
from winit._core.threads import check_threads, share
from winit._dense.passes import dense_forward
from winit._files.reader import BLOCK, Entry, PathLike, Reader, collect, identity, memory_dtype, opened, reader_of, take
from winit._kernels.numpy_engine import round_bf16, widen_bf16
from winit._plans.plan import FLOATS, Param, Plan
from winit.checkpoint import writing as checkpoint
from winit.checkpoint.writing import CODES, SPAN, Progress, Span, element_dtype
from winit.schemes.fan_scaled import normal

__all__ = ["Pretrained", "Report", "pretrained"]

FITS = ("overlap", "select", "mean", "covariance")
ROWS = 384  # old rows in one product of "covariance": one block of the dense pass's chain of sums


# ---- dtypes


def _wide(block: np.ndarray, dtype: str) -> np.ndarray:
    """Give elements as numbers: those of bfloat16, held as words, in float32."""
    return widen_bf16(block) if dtype == "bfloat16" else block


def _to_odd(x: np.ndarray) -> np.ndarray:
    """Round float64 to float32 so that a second rounding, to bfloat16, gives what one would: inexact results are odd.

    Source: Boldo, Melquiond 2008, "Emulation of FMA and correctly rounded sums".
    """
    near = x.astype(np.float32)
    back = near.astype(np.float64)
    bits = near.view(np.uint32)
    toward_zero = bits - (np.abs(back) > np.abs(x))  # one less in size; a positive word in sign and magnitude
    return np.where((back == x) | np.isnan(x), bits, toward_zero | 1).astype(np.uint32).view(np.float32)


def _rounded(block: np.ndarray, source: str, dtype: str, what: str) -> np.ndarray:
    """Convert elements of one floating-point dtype to another with one rounding, to nearest even."""
    if source == dtype:
        return block
    with _kernels.default_float_mode(), np.errstate(all="ignore"):
        numbers = _wide(block, source)
        if dtype == "bfloat16":
            narrow = _to_odd(numbers) if source == "float64" else numbers.astype(np.float32)
            out = round_bf16(narrow)
        else:
            out = numbers.astype(dtype)
        if (np.isinf(_wide(out, dtype)) & np.isfinite(numbers)).any():
            largest = np.abs(numbers[np.isfinite(numbers)]).max()
            raise ValueError(f"{what} has the value {largest:g}, beyond the range of {dtype}")
    return out


# ---- rules


def _pairs(rules: Any, what: str) -> list[tuple[str, Any]]:
    listed = list(rules.items()) if isinstance(rules, Mapping) else rules
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise TypeError(f"{what} must be a mapping or pairs, not {rules!r}")
    pairs = []
    for rule in listed:
        if isinstance(rule, str) or not isinstance(rule, Sequence) or len(rule) != 2 or not isinstance(rule[0], str):
            raise TypeError(f"{what} must be a mapping or pairs that begin with a name, not {rule!r}")
        pairs.append((rule[0], rule[1]))
    return pairs


def _pattern(text: str) -> re.Pattern[str]:
    """Compile a name in which each * stands for any characters, and every other character for itself."""
    return re.compile("(.*)".join(map(re.escape, text.split("*"))), re.DOTALL)


def _check_names(names: Any) -> list[tuple[re.Pattern[str], str | None]]:
    checked = []
    for own, other in _pairs(names, "names"):
        if other is not None and not isinstance(other, str):
            raise TypeError(f"names must lead to a name or None, not {other!r}")
        if other is not None and other.count("*") != own.count("*"):
            raise ValueError(f"names must have as many * on both sides, not {own!r} and {other!r}")
        checked.append((_pattern(own), other))
    return checked


def _check_fit(fit: Any) -> list[tuple[re.Pattern[str], str]]:
    checked = []
    for own, how in _pairs(fit, "fit"):
        if not isinstance(how, str):
            raise TypeError(f"fit must lead to one of {', '.join(FITS)}, not {how!r}")
        if how not in FITS:
            raise ValueError(f"fit must lead to one of {', '.join(FITS)}, not {how!r}")
        checked.append((_pattern(own), how))
    return checked


def _source(name: str, names: Sequence[tuple[re.Pattern[str], str | None]]) -> str | None:
    """Return the name in the files of a name in the plan: by the first rule that matches, else the same."""
    for pattern, other in names:
        match = pattern.fullmatch(name)
        if match:
            if other is None:
                return None
            first, *rest = other.split("*")
            return first + "".join(group + piece for group, piece in zip(match.groups(), rest, strict=True))
    return name


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


# ---- fitting


def evenly_spaced(length: int, count: int) -> np.ndarray:
    """Return the indices that weight selection picks: `count` of `length`, evenly spaced.

    i length / count where that is whole, else i (length - 1) / (count - 1) rounded, halves to even. Integers alone.

    >>> evenly_spaced(12, 4).tolist(), evenly_spaced(10, 4).tolist()
    ([0, 3, 6, 9], [0, 3, 6, 9])
    >>> evenly_spaced(7, 5).tolist()
    [0, 2, 3, 4, 6]
    """
    i = np.arange(count, dtype=np.int64)
    if count == 0 or length % count == 0:
        return i * (length // max(count, 1))
    steps = count - 1
    each, over = divmod(length - 1, steps)
    whole, rest = i * each + i * over // steps, i * over % steps
    return whole + ((2 * rest > steps) | ((2 * rest == steps) & (whole % 2 == 1)))


@dataclass(frozen=True)
class _Loaded:
    """A tensor of the plan that comes from a file.

    known: how far along each axis the file's elements, those at picks, reach. The rest is drawn, or, along `axis`, rows
    made from the old ones.
    """

    name: str
    param: Param
    key: str
    entry: Entry
    how: str | None
    picks: list[range | np.ndarray]
    known: Shape
    axis: int | None = None
    held: np.ndarray | None = field(default=None, repr=False)  # the picked elements, where they cannot be read in order
    rows: np.ndarray | None = field(default=None, repr=False)  # new rows, float64

    @property
    def direct(self) -> bool:
        """Whether the file's bytes are the tensor's."""
        same = self.how is None and self.entry.dtype == self.param.dtype != "bool"
        return same and not self.entry.fortran

    @property
    def shape(self) -> Shape:
        """The tensor's shape, with an axis at least."""
        return self.param.shape or (1,)

    def convert(self, block: np.ndarray) -> np.ndarray:
        what = f"{self.name}: {self.entry.name!r} of {self.entry.file.path}"
        return _rounded(block, self.entry.dtype, self.param.dtype, what)

    def prepared(self, descriptor: int, seed: int, scale: float, threads: int | None) -> _Loaded:
        """Find what one pass over the picked elements cannot: their transpose, or what new rows are made of."""
        entry = self.entry
        shape = entry.shape or (1,)
        growing = self.axis is not None and self.shape[self.axis] > shape[self.axis]
        held = None
        if entry.fortran:  # it is the transpose that is in row-major order
            flipped = empty(self.known[::-1], memory_dtype(entry.dtype))
            take(reader_of(descriptor, entry), entry, shape[::-1], self.picks[::-1], flipped, lambda block: block)
            held = flipped.T
        elif growing and self.axis:
            held = empty(self.known, memory_dtype(entry.dtype))
            take(reader_of(descriptor, entry), entry, shape, self.picks, held, lambda block: block)
        found = replace(self, held=held)
        return replace(found, rows=found._new_rows(descriptor, seed, scale, threads)) if growing else found

    def _old_rows(self, descriptor: int) -> Iterator[np.ndarray]:
        """Give the old rows in order, ROWS at a time, as float64 (rows, features)."""
        axis, entry = self.axis, self.entry
        assert axis is not None
        reader = reader_of(descriptor, entry)
        shape = entry.shape or (1,)
        for lo in range(0, shape[axis], ROWS):
            picks = list(self.picks)
            picks[axis] = picks[axis][lo : lo + ROWS]
            if self.held is None:
                block = empty(tuple(map(len, picks)), memory_dtype(entry.dtype))
                take(reader, entry, shape, picks, block, lambda block: block)
            else:
                block = np.moveaxis(self.held, axis, 0)[lo : lo + ROWS]
            yield _wide(block, entry.dtype).astype(np.float64).reshape(len(block), -1)

    def _new_rows(self, descriptor: int, seed: int, scale: float, threads: int | None) -> np.ndarray:
        """Make new rows: mean + sqrt(scale / V) Z (X - mean), X the V old rows and Z standard normal.

        That is normal with scale times the covariance of X, singular or not, without the covariance and its root.
        """
        axis = self.axis
        assert axis is not None
        old = self.entry.shape[axis]
        features = self.shape[:axis] + self.shape[axis + 1 :]
        new = self.shape[axis] - old
        with _kernels.default_float_mode(), np.errstate(all="ignore"):
            total = np.zeros(prod(features))
            for block in self._old_rows(descriptor):
                for row in block:  # in order: how NumPy would add up an axis depends on its strides
                    total += row
            mean = total / old
            if not np.isfinite(mean).all():
                raise ValueError(f"{self.name}: the rows of {self.entry.name!r} have no finite mean")
            rows = np.zeros((new, prod(features)))
            if self.how == "covariance" and rows.size:
                lo = 0
                for block in self._old_rows(descriptor):
                    box = (slice(None), slice(lo, lo + len(block)))
                    z = draw(normal(), (new, old), seed=seed, name=self.key, dtype="float64", box=box, threads=threads)
                    rows += dense_forward(z, block - mean, layout="io", threads=threads)[0]
                    lo += len(block)
                rows *= np.sqrt(scale / old)
            rows += mean
        return np.moveaxis(rows.reshape(new, *features), 0, axis)

    def boxes(self) -> Iterator[tuple[list[slice], int, int]]:
        """Cut the tensor into boxes that are ranges of flat indices, too: (box, lo, hi)."""
        shape, itemsize = self.shape, self.param.itemsize
        if self.param.size == 0:
            return
        axis = next(j for j in range(len(shape)) if prod(shape[j + 1 :]) * itemsize <= SPAN // 4)
        inner = prod(shape[axis + 1 :])
        step = SPAN // (inner * itemsize)
        lo = 0
        for lead in np.ndindex(shape[:axis]):
            for first in range(0, shape[axis], step):
                last = min(first + step, shape[axis])
                box = [slice(index, index + 1) for index in lead] + [slice(first, last)]
                hi = lo + (last - first) * inner
                yield box + [slice(0, size) for size in shape[axis + 1 :]], lo, hi
                lo = hi

    def fill(self, reader: Reader, seed: int, box: list[slice], lo: int, hi: int, out: np.ndarray) -> None:
        """Fill out, the flat elements lo..hi that a box holds."""
        if self.direct:
            reader.read(out.view(np.uint8), lo * self.param.itemsize)
            return
        if self.how == "overlap" and any(part.stop > size for part, size in zip(box, self.known, strict=True)):
            span = Span(self.name, self.param, stream_key(seed, self.key), lo, hi, 0, None)
            span.draw(out.view(np.uint8))
        block = out.reshape([part.stop - part.start for part in box])
        inside = [slice(part.start, min(part.stop, size)) for part, size in zip(box, self.known, strict=True)]
        if all(part.start < part.stop for part in inside):
            known = block[tuple(slice(0, part.stop - part.start) for part in inside)]
            if self.held is not None:
                known[...] = self.convert(np.ascontiguousarray(self.held[tuple(inside)]))
            else:
                picks = [pick[part] for pick, part in zip(self.picks, inside, strict=True)]
                take(reader, self.entry, self.entry.shape or (1,), picks, known, self.convert)
        if self.rows is not None and self.axis is not None:
            old, part = self.entry.shape[self.axis], box[self.axis]
            first = max(part.start, old)
            if first < part.stop:
                from_, to = list(box), [slice(None)] * len(box)
                from_[self.axis] = slice(first - old, part.stop - old)
                to[self.axis] = slice(first - part.start, None)
                new = np.ascontiguousarray(self.rows[tuple(from_)])
                block[tuple(to)] = _rounded(new, "float64", self.param.dtype, f"{self.name}: a new row")


@dataclass(frozen=True)
class _Part:
    """What one thread reads of a tensor: one box, or, where it must be read in order, all of them."""

    tensor: _Loaded
    descriptor: int
    seed: int
    boxes: Sequence[tuple[list[slice], int, int]]
    place: int = 0
    out: np.ndarray | None = None  # the whole tensor, flat

    def pieces(self, buffer: Any) -> Iterator[tuple[int, memoryview]]:
        param = self.tensor.param
        reader = reader_of(self.descriptor, self.tensor.entry)
        for box, lo, hi in self.boxes:
            size = (hi - lo) * param.itemsize
            into = buffer[:size].view(element_dtype(param)) if self.out is None else self.out[lo:hi]
            self.tensor.fill(reader, self.seed, box, lo, hi, into)
            data: Any = into.view(np.uint8)
            yield self.place + lo * param.itemsize, memoryview(data)


# ---- the public function


@dataclass(frozen=True)
class Report:
    """What came from where: names of the plan's tensors, tied ones left out, and of the files'.

    copied : plan name -> file name, where the shapes agree.
    fitted : plan name -> (file name, how), where they do not.
    converted : plan name -> the file's dtype, where it is not the plan's; they are among the two above.
    drawn : plan names whose values are the plan's own.
    left_over : file names that nothing came from.
    """

    copied: dict[str, str]
    fitted: dict[str, tuple[str, str]]
    converted: dict[str, str]
    drawn: tuple[str, ...]
    left_over: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.copied)} copied, {len(self.fitted)} fitted, {len(self.drawn)} drawn, "
            f"{len(self.left_over)} left over"
        )


class Pretrained:
    """A plan whose tensors come from files where those have them: what winit.pretrained returns.

    plan, seed : as given. report : Report.
    """

    def __init__(self, plan: Plan, seed: int, loaded: Sequence[_Loaded], report: Report, scale: float) -> None:
        self.plan, self.seed, self.report = plan, seed, report
        self._loaded, self._scale = loaded, scale

    def __repr__(self) -> str:
        return f"<Pretrained: {self.report}>"

    def build(self, *, threads: int | None = None) -> dict[str, np.ndarray]:
        """Read, fit and draw every tensor.

        Beside the arrays, memory is about 20 MiB a thread; and, of the tensors that need it, the new rows in float64
        and, for new ones along another axis than the first, or for one in Fortran order, the elements that are used.

        Parameters
        ----------
        threads : int or None, the processors this process may use.

        Returns
        -------
        dict : name -> array, in the plan's order. A tied name holds its target's array itself.

        Raises
        ------
        OSError : a file cannot be read.
        ValueError : a file has changed since it was looked at, or is broken inside; values that the plan's dtype cannot
            hold; rows without a finite mean.
        TypeError, ValueError : threads. MemoryError : the arrays cannot be allocated. ImportError : bfloat16 without
            ml_dtypes.

        """
        check_threads(threads)
        stored = self.plan.stored
        kinds = {name: numpy_dtype(param.dtype) for name, param in stored.items()}
        with self._files(threads) as ready:
            arrays = {name: empty(param.shape, kinds[name]) for name, param in stored.items()}
            bound = []
            parts: list[_Part] = []
            for name, param in stored.items():
                if name in ready:
                    flat = arrays[name].reshape(-1).view(element_dtype(param))
                    parts += self._parts(*ready[name], 0, flat)
                else:
                    assert param.scheme is not None
                    key = stream_key(self.seed, self.plan.key(name))
                    bound.append(
                        bind(arrays[name], param.dtype, param.scheme, key, param.shape, param.layout, None, None)
                    )
            run(bound, threads)

            def work(part: _Part) -> None:
                for _ in part.pieces(None):
                    pass

            share(work, parts, threads)
        return {name: arrays[name if param.tied is None else param.tied] for name, param in self.plan.items()}

    def write(
        self,
        path: PathLike,
        *,
        overwrite: bool = False,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Read, fit and draw every tensor straight into one safetensors file, which appears whole or not at all.

        Parameters
        ----------
        path, overwrite, threads, progress : as in winit.checkpoint.write. The path may be that of a file read from.

        Raises
        ------
        FileExistsError, OSError : as in winit.checkpoint.write. ValueError, TypeError : as in build.

        """
        check_threads(threads)
        target = checkpoint.destination(path, overwrite)
        head, places = checkpoint.header(self.plan, self.seed, str(self.report))
        with self._files(threads) as ready:
            parts: list[checkpoint.Part] = []
            for name, place in places.items():
                if name in ready:
                    parts += self._parts(*ready[name], place, None)
                else:
                    parts += checkpoint.spans(self.plan, self.seed, {name: place}, threads)
            checkpoint.store(target, head, parts, self.plan.nbytes, overwrite, threads, progress)

    def _parts(self, tensor: _Loaded, descriptor: int, place: int, out: np.ndarray | None) -> Iterator[_Part]:
        boxes = list(tensor.boxes())
        in_order = tensor.entry.packed is not None and tensor.held is None
        for some in [boxes] if in_order else [[box] for box in boxes]:
            yield _Part(tensor, descriptor, self.seed, some, place, out)

    @contextmanager
    def _files(self, threads: int | None) -> Iterator[dict[str, tuple[_Loaded, int]]]:
        """Open the files, and give each tensor that they hold, ready for its pass, and its file."""
        with ExitStack() as stack:
            descriptors = {}
            for file in dict.fromkeys(tensor.entry.file for tensor in self._loaded):
                descriptors[file] = stack.enter_context(opened(file.path))
                if identity(descriptors[file]) != file.identity:
                    raise ValueError(f"{file.path} has changed since its header was read")
            ready = {}
            for tensor in self._loaded:
                descriptor = descriptors[tensor.entry.file]
                ready[tensor.name] = tensor.prepared(descriptor, self.seed, self._scale, threads), descriptor
            yield ready


def pretrained(
    path: PathLike | Iterable[PathLike],
    plan: Plan,
    *,
    seed: int,
    names: Mapping[str, str | None] | Iterable[tuple[str, str | None]] = (),
    leave: str | Iterable[str] = (),
    fit: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    strict: bool = True,
    cast: bool = False,
    covariance_scale: float = 1e-9,
) -> Pretrained:
    """Find a plan's tensors in trained files; what the files lack is drawn.

    Only headers are read here, and everything that they can tell is checked. Values are read by build() and write(),
    block by block. In names, leave and fit a * stands for any characters, and the first rule that matches counts.

    Where the shapes of a tensor and its source differ, `fit` says how the values come to fit:

    - "overlap": the elements whose indices both have are copied, the others are the plan's draw.
    - "select": along each axis, the evenly spaced of the source's indices (weight selection): every (S / T)-th of S
      for T where that is whole, else i (S - 1) / (T - 1) rounded, halves to even.
    - "mean": for shapes that differ along one axis (the tokens of an embedding): the old rows are copied, and each new
      one is their mean. Surplus old rows at the end are left out.
    - "covariance": likewise, and the new rows are normal with the old ones' mean and `covariance_scale` times their
      covariance: mean + sqrt(scale / V) sum_v z_v (x_v - mean), V old rows x, z standard normal in float64 at the index
      (new row, v) of the tensor's stream. Sums are float64, in the order of the rows; their bits are those of
      winit.dense_forward. They are rounded once to the tensor's dtype.

    Parameters
    ----------
    path : a safetensors or npz file; several, whose tensors are taken together; or the index (.json) of a sharded
        checkpoint. npz has no bfloat16: NumPy writes it as two-byte voids, which are taken for it.
    plan : Plan.
    seed : int, 0 <= seed < 2^64. For what is drawn; its bits are those of plan.build.
    names : mapping or pairs from names in the plan to names in the files: ("h.*", "transformer.h.*"). None in the place
        of the second: drawn, whatever the files hold. Names without a rule are the same in both. Several tensors may
        come from one.
    leave : names in the files that need not be used.
    fit : mapping or pairs from names in the plan to one of the four ways above.
    strict : bool. Refuse if a tensor of the plan is not in the files (unless a rule says None), or one of the files is
        not used (unless `leave` or a rule's None names it). False: the former are drawn, the latter reported.
    cast : bool. Convert floating-point dtypes with one rounding, to nearest even, where they differ; refused otherwise.
    covariance_scale : float, at least 0.

    Returns
    -------
    Pretrained : .report tells what comes from where, .build() gives arrays, .write(path) a safetensors file.

    Raises
    ------
    OSError : a file cannot be read.
    ValueError : a file is truncated, overlaps itself or is otherwise malformed, which no more memory is taken for than
        its size; tensors missing or left over; shapes, dtypes or a scale that do not fit; tied tensors that differ.
    TypeError : the wrong kind of argument.

    Source: safetensors: github.com/huggingface/safetensors. "select": Xu et al. 2023, "Initializing Models with Larger
    Ones", arXiv:2311.18823. "mean", "covariance": Hewitt 2021, "Initializing New Word Embeddings for Pretrained
    Language Models"; the default scale is that of transformers.

    >>> import pathlib, tempfile, winit
    >>> small = winit.Plan({"wte": winit.Param((4, 2), scheme=winit.normal())})
    >>> large = winit.Plan({"wte": winit.Param((5, 2), scheme=winit.normal())})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory) / "small.safetensors"
    ...     small.write(path, seed=0)
    ...     loaded = winit.pretrained(path, large, seed=1, fit={"wte": "mean"})
    ...     wte = loaded.build()["wte"]
    >>> loaded.report.fitted
    {'wte': ('wte', 'mean')}
    >>> bool((wte[:4] == small.build(seed=0)["wte"]).all()), bool(abs(wte[4] - wte[:4].mean(0)).max() < 1e-6)
    (True, True)

    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a winit.Plan, not {type(plan).__name__}")
    for flag, what in ((strict, "strict"), (cast, "cast")):
        if not isinstance(flag, bool):
            raise TypeError(f"{what} must be True or False, not {flag!r}")
    stream_key(seed)
    rules, ways = _check_names(names), _check_fit(fit)
    leaves = [leave] if isinstance(leave, str) else list(leave) if isinstance(leave, Iterable) else [leave]
    if not all(isinstance(name, str) for name in leaves):
        raise TypeError(f"leave must be a name or several, not {leave!r}")
    scale = real(covariance_scale, "covariance_scale")
    if scale < 0:
        raise ValueError(f"covariance_scale must be at least 0, not {covariance_scale!r}")
    if not hasattr(os, "pread"):
        raise OSError(errno.ENOSYS, "reading checkpoints in blocks needs a POSIX system (pread)")
    entries, aliases = collect(path)

    def found(name: str) -> Entry | None:
        source = _source(name, rules)
        return None if source is None else entries.get(aliases.get(source, source))

    loaded: list[_Loaded] = []
    missing: list[str] = []
    drawn: list[str] = []
    used: set[str] = set()
    tied: dict[str, list[str]] = {}
    for name, param in plan.items():
        if param.tied is not None:
            tied.setdefault(param.tied, []).append(name)
    for name, param in plan.stored.items():
        sources = [entry for entry in map(found, (name, *tied.get(name, ()))) if entry is not None]
        if _source(name, rules) is None or not sources:
            drawn.append(name)
            if _source(name, rules) is not None:
                missing.append(name)
            continue
        for other in sources[1:] if strict else ():
            if other != sources[0] and not _same(sources[0], other):
                raise ValueError(
                    f"{name}: the files hold {sources[0].name!r} and {other.name!r}, which the plan ties together, "
                    "with different values"
                )
        used |= {entry.name for entry in (sources if strict else sources[:1])}
        loaded.append(_fitted(name, param, plan.key(name), sources[0], ways, cast))
    left_over = tuple(name for name in entries if name not in used)
    if strict:
        allowed = list(map(_pattern, leaves))
        surplus = [
            name
            for name in left_over
            if not any(pattern.fullmatch(name) for pattern in allowed)
            and not (name in plan and _source(name, rules) is None)
        ]
        problems = []
        if missing:
            problems.append(f"the files lack {_listed([str(_source(name, rules)) for name in missing])}")
        if surplus:
            problems.append(f"the plan has no place for {_listed(surplus)}")
        if problems:
            raise ValueError(
                f"{'; '.join(problems)} (names= maps names, to None what is to be drawn; leave= names what may be "
                "left over; strict=False allows all)"
            )
    report = Report(
        copied={tensor.name: tensor.entry.name for tensor in loaded if tensor.how is None},
        fitted={tensor.name: (tensor.entry.name, tensor.how) for tensor in loaded if tensor.how is not None},
        converted={tensor.name: tensor.entry.dtype for tensor in loaded if tensor.entry.dtype != tensor.param.dtype},
        drawn=tuple(drawn),
        left_over=left_over,
    )
    return Pretrained(plan, seed, loaded, report, scale)


def _same(one: Entry, other: Entry) -> bool:
    """Compare two tensors of the files, byte by byte."""
    if (one.dtype, one.shape, one.fortran) != (other.dtype, other.shape, other.fortran):
        return False
    with opened(one.file.path) as first, opened(other.file.path) as second:
        readers = reader_of(first, one), reader_of(second, other)
        for lo in range(0, one.nbytes, BLOCK):
            blocks = [np.empty(min(BLOCK, one.nbytes - lo), np.uint8) for _ in readers]
            for reader, block in zip(readers, blocks, strict=True):
                reader.read(block, lo)
            if not np.array_equal(blocks[0], blocks[1]):
                return False
    return True


def _fitted(
    name: str, param: Param, key: str, entry: Entry, ways: Sequence[tuple[re.Pattern[str], str]], cast: bool
) -> _Loaded:
    """Check that a source fits a tensor, and say how."""
    source = f"{name}: {entry.name!r} of {entry.file.path}"
    if entry.dtype not in CODES:
        raise ValueError(f"{source} has dtype {entry.dtype}, expected {param.dtype}")
    if entry.dtype != param.dtype:
        floats = entry.dtype in FLOATS and param.dtype in FLOATS
        if not (floats and cast):
            hint = " (cast=True converts)" if floats else ""
            raise ValueError(f"{source} has dtype {entry.dtype}, expected {param.dtype}{hint}")
    if entry.shape == param.shape:
        every: list[range | np.ndarray] = [range(size) for size in param.shape or (1,)]
        return _Loaded(name, param, key, entry, None, every, param.shape or (1,))
    how = next((how for pattern, how in ways if pattern.fullmatch(name)), None)
    expected = f"{source} has shape {entry.shape}, expected {param.shape}"
    if how is None:
        raise ValueError(f"{expected} (fit= can be {', '.join(FITS)})")
    if len(entry.shape) != len(param.shape):
        raise ValueError(f"{expected}; {how!r} needs the same number of axes")
    pairs = list(zip(entry.shape, param.shape, strict=True))
    differ = [axis for axis, (old, new) in enumerate(pairs) if old != new]
    if how == "select":
        if any(old < new for old, new in pairs):
            raise ValueError(f"{expected}; 'select' needs a source that is nowhere smaller")
        return _Loaded(name, param, key, entry, how, [evenly_spaced(*pair) for pair in pairs], param.shape)
    known = tuple(map(min, pairs))
    picks: list[range | np.ndarray] = [range(size) for size in known]
    if how == "overlap":
        return _Loaded(name, param, key, entry, how, picks, known)
    if len(differ) > 1:
        raise ValueError(f"{expected}; {how!r} needs shapes that differ along one axis")
    if param.dtype not in FLOATS:
        raise ValueError(f"{source} is {entry.dtype}; {how!r} needs floating-point values")
    if entry.shape[differ[0]] == 0:
        raise ValueError(f"{expected}; {how!r} needs at least one old row")
    return _Loaded(name, param, key, entry, how, picks, known, differ[0])
