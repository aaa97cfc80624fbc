"""Trained tensors in the place of drawn ones: values from files, fitted where shapes differ, the rest drawn."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np

from winit._core.checks import check_bool, check_callable, check_not_negative, check_threads
from winit._core.dtypes import element_dtype, empty, itemsize, numpy_dtype
from winit._core.keys import stream_key
from winit._core.running import run_bounds
from winit._core.threads import run_tasks
from winit._files.appearing import destination
from winit._files.collecting import collect
from winit._files.entries import Entry, File, PathLike, open_files
from winit._files.reader import BLOCK
from winit._files.storing import Counter, Filed, Progress, Span, store
from winit._plans.globs import check_met, check_patterns, matches
from winit._plans.plan import Plan, check_plan
from winit._trained.fits import Loaded, LoadedSpan, fitted, spans_of_loaded
from winit._trained.name_rules import Names, check_fits, check_names, listed, source_of
from winit._trained.sources import FOREIGN, Content, Source, content_of
from winit.checkpoint.heading import header
from winit.checkpoint.spans import spans_of

__all__ = ["Pretrained", "Report", "pretrained"]


@dataclass(frozen=True)
class Report:
    """What came from where: names of the plan's tensors, tied ones left out, and of the files'.

    copied : plan name -> file name, where the shapes agree; the text of a winit.Source where that makes it.
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
        and, for new ones along another axis than the first, for one in Fortran order, and for what a winit.Source
        transposes, cuts in columns or joins along another axis than the first, the elements that are used.

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
        with self._files(threads) as (ready, descriptors):
            arrays = {name: empty(param.shape, kinds[name]) for name, param in stored.items()}
            bound = []
            spans: list[LoadedSpan] = []
            for name, param in stored.items():
                if name in ready:
                    flat = arrays[name].reshape(-1).view(element_dtype(param.dtype))
                    spans += spans_of_loaded(ready[name], descriptors, self.seed, 0, flat)
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
        head, places = header(self.plan, self.seed, self.plan.digest, str(self.report))
        with self._files(threads) as (ready, descriptors):
            spans: list[Span] = []
            for name, place in places.items():
                if name in ready:
                    spans += spans_of_loaded(ready[name], descriptors, self.seed, place, None)
                else:
                    spans += spans_of(self.plan, self.seed, {name: place}, threads)
            nbytes = self.plan.nbytes
            store([Filed(target, head, spans, nbytes)], threads, Counter(nbytes, progress))

    @contextmanager
    def _files(self, threads: int | None) -> Iterator[tuple[dict[str, Loaded], dict[File, int]]]:
        """Open the files, and give each tensor that comes from them, ready for its pass."""
        with ExitStack() as stack:
            descriptors = open_files(stack, (entry for tensor in self._loaded for entry in tensor.content.entries))
            ready = {
                tensor.name: tensor.prepared(descriptors, self.seed, self._scale, threads) for tensor in self._loaded
            }
            yield ready, descriptors


def pretrained(
    path: PathLike | Iterable[PathLike],
    plan: Plan,
    *,
    seed: int,
    names: Names = (),
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
    - "bicubic": for shapes that differ along one axis, whose indices are a square grid behind prefix tokens (the
      position embeddings of ViT, 1 + 14 x 14 to 1 + 24 x 24): the prefix is copied, the fewest tokens that leave
      squares, and the grid is resized as torch's interpolate does (a = -3/4, align_corners=False), in float64, rounded
      once.
    - "channels": for convolutions that differ in their input channels alone (layout says which axis that is): one
      channel is the sum of the old ones; otherwise channel i is the old channel i mod S times S / T, S old and T new
      ones.

    Parameters
    ----------
    path : a safetensors or npz file; the index (.json) of a sharded checkpoint, which decides which shard a tensor is
        in; a folder with such an index or with one safetensors file; or several of these, whose tensors are taken
        together. npz has no bfloat16: NumPy writes it as two-byte voids, which are taken for it. Nor has
        it float8: what NumPy writes of those does not say which it is, and is refused.
    plan : Plan.
    seed : int, 0 <= seed < 2^64. For what is drawn; its bits are those of plan.build.
    names : mapping or pairs from names in the plan to names in the files: ("h.*", "transformer.h.*"). None in the place
        of the second: drawn, whatever the files hold. A winit.Source: what it makes of one or several tensors (a
        transpose, a range of rows, a stack of experts). Names without a rule are the same in both. Several tensors may
        come from one; but of several that "overlap" cuts from one, each says its rows by a Source.
    leave : names in the files that need not be used.
    fit : mapping or pairs from names in the plan to one of the ways above.
    strict : bool. Refuse if a tensor of the plan is not in the files (unless a rule says None), or one of the files is
        not used (unless `leave` or a rule's None names it). False: the former are drawn, the latter reported.
    cast : bool. Convert floating-point dtypes with one rounding, to nearest even, where they differ; refused otherwise.
        Scales (F8_E8M0) and four-bit numbers (F4) are converted likewise, or taken as uint8 by their bytes. What has
        scales of its own in the files (such as w and w_scale_inv) is not converted without them.
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
    Ones", arXiv:2311.18823. "bicubic": Keys 1981, "Cubic convolution interpolation for digital image processing".
    "channels": timm's adapt_input_conv. "mean", "covariance": Hewitt 2021, "Initializing New Word Embeddings for
    Pretrained Language Models"; the default scale is that of transformers.

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

    sources = {name: source_of(name, rules) for name in plan}

    def found(name: str, wanted: str) -> Content | None:
        source = sources[name]
        listed_names = [aliases.get(other, other) for other in source.names] if source is not None else []
        if source is None or not all(other in entries for other in listed_names):
            return None
        try:
            return content_of(source, [entries[other] for other in listed_names], wanted)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    loaded: list[Loaded] = []
    missing: list[str] = []
    drawn: list[str] = []
    used: set[str] = set()
    tied: dict[str, list[str]] = {}
    for name, param in plan.items():
        if param.tied is not None:
            tied.setdefault(param.tied, []).append(name)
    for name, param in plan.stored.items():
        contents = [found(each, param.dtype) for each in (name, *tied.get(name, ()))]
        given = [content for content in contents if content is not None]
        own = sources[name]
        if own is None or not given:
            drawn.append(name)
            if own is not None:
                missing += [other for other in own.names if aliases.get(other, other) not in entries]
            continue
        for content in given[1:] if strict else ():
            if content != given[0] and not _same(given[0], content):
                raise ValueError(
                    f"{name}: the files hold {given[0].said} and {content.said}, which the plan ties together, "
                    "with different values"
                )
        used |= {entry.name for content in (given if strict else given[:1]) for entry in content.entries}
        _check_scales(name, param.dtype, given[0], entries)
        loaded.append(fitted(name, param, plan.key(name), given[0], ways, cast))
    _check_cut_apart(loaded, sources)
    unused = [name for name in entries if name not in used]
    beyond = [entry for entry in collected.beyond if not any(matches(pattern, entry.name) for pattern in leaves)]
    left_over = (*unused, *(entry.name for entry in collected.beyond))
    if strict:
        surplus = [
            name
            for name in unused
            if not any(matches(pattern, name) for pattern in leaves) and not (name in plan and sources[name] is None)
        ]
        problems = []
        if missing:
            problems.append(f"the files lack {listed(list(dict.fromkeys(missing)))}")
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
        copied={tensor.name: _said(tensor) for tensor in loaded if tensor.how is None},
        fitted={tensor.name: (_said(tensor), tensor.how) for tensor in loaded if tensor.how is not None},
        converted={
            tensor.name: tensor.content.stored_as for tensor in loaded if tensor.content.stored_as != tensor.param.dtype
        },
        drawn=tuple(drawn),
        left_over=left_over,
    )
    return Pretrained(plan, seed, loaded, report, scale)


def _said(tensor: Loaded) -> str:
    """What the report calls a tensor's content: the name in the files where that says it all."""
    entries = tensor.content.entries
    return entries[0].name if tensor.content.said == repr(entries[0].name) else tensor.content.said


_SCALES = ("scale_inv", "scale", "scales")  # DeepSeek's; compressed-tensors' and ModelOpt's; MX


def _check_scales(name: str, wanted: str, content: Content, entries: Mapping[str, Entry]) -> None:
    """Refuse to make numbers of those that count by scales of their own."""
    if content.stored_as not in (*FOREIGN, "float8_e4m3fn", "float8_e5m2") or wanted in (content.stored_as, "uint8"):
        return
    for entry in content.entries:
        stem = entry.name.removesuffix(".weight")
        scales = [f"{entry.name}_{end}" for end in _SCALES] + [f"{stem}{dot}{end}" for dot in "._" for end in _SCALES]
        for scale in scales:
            if scale in entries:
                raise ValueError(
                    f"{name}: {entry.text} is {content.stored_as}, scaled by {scale!r}: its values alone are not the "
                    f"weights. Take both as they are (dtype {content.dtype!r}), or scale them before"
                )


def _check_cut_apart(loaded: Sequence[Loaded], sources: Mapping[str, Source | None]) -> None:
    """Refuse several tensors that are cut from one, all from its first elements: a fused one that is taken apart."""
    cut: dict[str, str] = {}
    for tensor in loaded:
        source = sources[tensor.name]
        if tensor.how != "overlap" or source is None or not source.plain:
            continue
        other = cut.setdefault(source.names[0], tensor.name)
        if other != tensor.name:
            raise ValueError(
                f"{other} and {tensor.name} would both be cut from the first elements of {tensor.content.text}: "
                "names= may lead each to winit.Source(..., rows=range(lo, hi))"
            )


def _same(one: Content, other: Content) -> bool:
    """Compare what files hold for two tensors, element by element."""
    if (one.dtype, one.shape, one.swapped) != (other.dtype, other.shape, other.swapped):
        return False
    nbytes = prod(one.shape) * itemsize(one.dtype)
    with ExitStack() as stack:
        descriptors = open_files(stack, (*one.entries, *other.entries))
        readers = one.reader(descriptors), other.reader(descriptors)
        for lo in range(0, nbytes, BLOCK):
            blocks = [np.empty(min(BLOCK, nbytes - lo), np.uint8) for _ in readers]
            for reader, block in zip(readers, blocks, strict=True):
                reader.read(block, lo)
            if not np.array_equal(blocks[0], blocks[1]):
                return False
    return True
