"""Trained tensors in the place of drawn ones: values from files, fitted where shapes differ, the rest drawn."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from winit._core.checks import check_bool, check_callable, check_not_negative, check_threads
from winit._core.dtypes import element_dtype, empty, numpy_dtype
from winit._core.keys import stream_key
from winit._core.running import run_bounds
from winit._core.threads import run_tasks
from winit._files.appearing import destination
from winit._files.collecting import collect
from winit._files.entries import Entry, PathLike, open_files, opened
from winit._files.reader import BLOCK, reader_of
from winit._files.storing import Progress, Span, store
from winit._plans.globs import check_met, check_patterns, matches
from winit._plans.plan import Plan, check_plan
from winit._trained.fits import Loaded, LoadedSpan, fitted
from winit._trained.name_rules import check_fits, check_names, listed, source_name
from winit.checkpoint.spans import spans_of
from winit.checkpoint.writing import header

__all__ = ["Pretrained", "Report", "pretrained"]


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

    def __init__(self, plan: Plan, seed: int, loaded: Sequence[Loaded], report: Report, scale: float) -> None:
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
        TypeError, ValueError : threads. MemoryError : the arrays cannot be allocated. ImportError : bfloat16 or a
            float8 without ml_dtypes.

        """
        threads = check_threads(threads)
        stored = self.plan.stored
        kinds = {name: numpy_dtype(param.dtype) for name, param in stored.items()}
        with self._files(threads) as ready:
            arrays = {name: empty(param.shape, kinds[name]) for name, param in stored.items()}
            bound = []
            spans: list[LoadedSpan] = []
            for name, param in stored.items():
                if name in ready:
                    flat = arrays[name].reshape(-1).view(element_dtype(param.dtype))
                    spans += self._spans(*ready[name], 0, flat)
                else:
                    bound.append(param.bind(arrays[name], stream_key(self.seed, self.plan.key(name))))
            run_bounds(bound, threads)

            def work(span: LoadedSpan) -> None:
                for _ in span.pieces(None):
                    pass

            run_tasks(work, spans, threads)
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
        threads = check_threads(threads)
        check_callable(progress, "progress")
        target = destination(path, overwrite)
        head, places = header(self.plan, self.seed, str(self.report))
        with self._files(threads) as ready:
            spans: list[Span] = []
            for name, place in places.items():
                if name in ready:
                    spans += self._spans(*ready[name], place, None)
                else:
                    spans += spans_of(self.plan, self.seed, {name: place}, threads)
            store(target, head, spans, self.plan.nbytes, threads, progress)

    def _spans(self, tensor: Loaded, descriptor: int, place: int, out: np.ndarray | None) -> Iterator[LoadedSpan]:
        boxes = list(tensor.boxes())
        in_order = tensor.entry.packed is not None and tensor.held is None
        for some in [boxes] if in_order else [[box] for box in boxes]:
            yield LoadedSpan(tensor, descriptor, self.seed, some, place, out)

    @contextmanager
    def _files(self, threads: int | None) -> Iterator[dict[str, tuple[Loaded, int]]]:
        """Open the files, and give each tensor that they hold, ready for its pass, and its file."""
        with ExitStack() as stack:
            descriptors = open_files(stack, (tensor.entry for tensor in self._loaded))
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
    path : a safetensors or npz file; the index (.json) of a sharded checkpoint, which decides which shard a tensor is
        in; a folder with such an index or with one safetensors file; or several of these, whose tensors are taken
        together. npz has no bfloat16: NumPy writes it as two-byte voids, which are taken for it. Nor has
        it float8: what NumPy writes of those does not say which it is, and is refused.
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
        its size; a pattern of names, leave or fit that matches nothing (the nearest names are given); tensors missing
        or left over; shapes, dtypes or a scale that do not fit; tied tensors that differ.
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
    check_plan(plan)
    check_bool(strict, "strict")
    check_bool(cast, "cast")
    stream_key(seed)
    rules, ways = check_names(names), check_fits(fit)
    leaves = check_patterns(leave, "leave")
    scale = check_not_negative(covariance_scale, "covariance_scale")
    if not hasattr(os, "pread"):
        raise OSError(errno.ENOSYS, "reading checkpoints in blocks needs a POSIX system (pread)")
    check_met([own for own, _ in rules], plan, "names: the pattern")
    check_met([own for own, _ in ways], plan, "fit: the pattern")
    collected = collect(path)
    entries, aliases = collected.entries, collected.aliases
    check_met(leaves, [*entries, *aliases, *(entry.name for entry in collected.beyond)], "leave: the pattern")

    def found(name: str) -> Entry | None:
        source = source_name(name, rules)
        return None if source is None else entries.get(aliases.get(source, source))

    loaded: list[Loaded] = []
    missing: list[str] = []
    drawn: list[str] = []
    used: set[str] = set()
    tied: dict[str, list[str]] = {}
    for name, param in plan.items():
        if param.tied is not None:
            tied.setdefault(param.tied, []).append(name)
    for name, param in plan.stored.items():
        sources = [entry for entry in map(found, (name, *tied.get(name, ()))) if entry is not None]
        if source_name(name, rules) is None or not sources:
            drawn.append(name)
            if source_name(name, rules) is not None:
                missing.append(name)
            continue
        for other in sources[1:] if strict else ():
            if other != sources[0] and not _same(sources[0], other):
                raise ValueError(
                    f"{name}: the files hold {sources[0].name!r} and {other.name!r}, which the plan ties together, "
                    "with different values"
                )
        used |= {entry.name for entry in (sources if strict else sources[:1])}
        loaded.append(fitted(name, param, plan.key(name), sources[0], ways, cast))
    unused = [name for name in entries if name not in used]
    beyond = [entry for entry in collected.beyond if not any(matches(pattern, entry.name) for pattern in leaves)]
    left_over = (*unused, *(entry.name for entry in collected.beyond))
    if strict:
        surplus = [
            name
            for name in unused
            if not any(matches(pattern, name) for pattern in leaves)
            and not (name in plan and source_name(name, rules) is None)
        ]
        problems = []
        if missing:
            problems.append(f"the files lack {listed([str(source_name(name, rules)) for name in missing])}")
        if surplus:
            problems.append(f"the plan has no place for {listed(surplus)}")
        if beyond:
            held = f"{beyond[0].file.path} holds {listed([entry.name for entry in beyond])}"
            problems.append(f"{held}, which its index does not place there")
        if problems:
            raise ValueError(
                f"{'; '.join(problems)} (names= maps names, to None what is to be drawn; leave= names what may be "
                "left over; strict=False allows all)"
            )
    if not loaded and missing:
        warnings.warn(
            f"none of the plan's {len(plan.stored)} tensors is in the files, and all will be drawn: the plan has "
            f"{listed(list(plan.stored)[:2])}, the files {listed(list(entries)[:2]) or 'nothing'} (names= maps names)",
            stacklevel=2,
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
    if (one.dtype, one.shape, one.fortran, one.swapped) != (other.dtype, other.shape, other.fortran, other.swapped):
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
