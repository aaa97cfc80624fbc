"""winit audit: say what is in a checkpoint, tensor by tensor, and flag what is wrong."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit._plans.folding import fold_alike
from winit.cli.failures import FailureError
from winit.cli.options import add_plan, add_quiet, add_seed, add_threads
from winit.cli.plans import is_recipe, missing_file, plan_of
from winit.cli.progress import bar
from winit.cli.tables import aligned
from winit.cli.terminal import say

if TYPE_CHECKING:
    from winit.checkpoint import Audit, Change, TensorAudit

__all__ = ["HELP", "add", "run"]

HELP = "say what is in a checkpoint, tensor by tensor, and flag what is wrong"
_LISTED = 10
_QUANTILES = ("1%", "25%", "50%", "75%", "99%")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", metavar="FILE", help="a safetensors or npz file, the index of one in shards, or their folder"
    )
    add_plan(parser, optional=True)
    add_seed(parser, optional=True)
    parser.add_argument("--against", metavar="FILE", help="another such file: say what changed, and by how much")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON in the place of the table")
    shape.add_argument("--csv", action="store_true", help="print CSV in the place of the table, a row for every tensor")
    parser.add_argument("--plot", metavar="FILE", help="draw a page of pictures, .png or .svg (needs matplotlib)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file of pictures if it exists")
    add_threads(parser)
    parser.add_argument("--all", action="store_true", help=f"a row for every tensor, and more than {_LISTED} flags")
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; the status is 1 if there are flags."""
    _check(arguments)
    plan = None if arguments.spec is None else plan_of(arguments)
    write = None if arguments.plot is None else _pictures(arguments)
    from winit.checkpoint import audit

    try:
        with bar(arguments.quiet, "audit") as progress:
            found = audit(
                arguments.file,
                plan,
                seed=arguments.seed,
                against=arguments.against,
                threads=arguments.threads,
                progress=progress,
            )
    except FileNotFoundError as error:
        for given in (arguments.file, arguments.against):
            if error.filename == given and not Path(given).exists():
                raise missing_file(given) from None
        raise  # a shard, or a folder without any
    if write is not None:
        write(found)
    if not arguments.quiet:
        if arguments.json:
            say(json.dumps(found.to_dict(), allow_nan=False))
        elif arguments.csv:
            _say_csv(found)
        else:
            _say_all(arguments, found)
    return 0 if found.ok else 1


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what names no file, and arguments of which one needs another."""
    for what, file in (("FILE", arguments.file), ("--against", arguments.against)):
        if file == "-":
            raise FailureError(f"{what} - is refused: winit does not audit standard input; a file called - is ./-")
        if file == "":
            raise FailureError(f"{what} must name a safetensors or npz file, not ''")
    if arguments.spec is None:
        given = {"--seed": arguments.seed, "--dtype": arguments.dtype, "--set": arguments.set or None}
        for option, value in given.items():
            if value is not None:
                raise FailureError(f"{option} needs SPEC, the plan that it belongs to (see winit audit --help)")
    elif arguments.seed is None:
        raise FailureError("SPEC needs --seed N: both together tell what training left (see winit audit --help)")
    if arguments.overwrite and arguments.plot is None:
        raise FailureError("--overwrite needs --plot FILE, the file that it may replace")


def _pictures(arguments: argparse.Namespace) -> Callable[[Audit], None]:
    """Check where pictures go and that they can be drawn, before anything is read; return what draws them."""
    from winit.checkpoint.pictures import check_plot, write_page

    plot = arguments.plot
    for what, file in (("FILE", arguments.file), ("--against", arguments.against), ("SPEC", arguments.spec)):
        if file is None or (what == "SPEC" and is_recipe(file)):
            continue
        try:
            same = Path(file).samefile(plot)
        except (OSError, ValueError):  # one of them is not there, as a rule
            same = False
        if same:
            raise FailureError(f"--plot {plot} is {what} itself")
    if plot == "-":
        raise FailureError("--plot - is refused: winit does not write pictures to standard output")
    target = check_plot(plot, arguments.overwrite)
    return lambda found: write_page(found, target, arguments.file)


# ---- the table


def _say_all(arguments: argparse.Namespace, found: Audit) -> None:
    every, file = arguments.all, arguments.file
    header, *rows = _rows(found, every)
    if rows:
        right = [at for at, name in enumerate(header) if name not in ("name", "shape", "dtype", "near", "flags")]
        for line in aligned([header, *rows], right):
            say(line)
    if found.changes is not None:
        for line in _changes(found.changes, arguments.against, every):
            say(line)
    listed = [f"{flag.tensor}: {flag.flag}: {flag.why}" for flag in found.flags]
    for line in listed if every else listed[:_LISTED]:
        say(line)
    if not every and len(listed) > _LISTED:
        say(f"... and {len(listed) - _LISTED} more (--all lists them)")
    for note in found.notes if every else found.notes[:_LISTED]:
        say(f"note: {note}")
    count = len(found.flags)
    flags = "no flags" if not count else f"{count} flag{'s' if count > 1 else ''}"
    say(f"{file}: {len(found.tensors)} tensors, {found.bytes:,} bytes: {flags}")


def _rows(found: Audit, every: bool) -> list[list[str]]:
    """The header, and a row for each tensor, or for all whose names differ in numbers, of one kind and one fate."""
    header = ["name", "tensors", "shape", "dtype", "mean", "std", "min", "max", "zeros", "near", "rank"]
    header += ["unchanged", "flags"]
    flags: dict[str, list[str]] = {}
    for flag in found.flags:
        flags.setdefault(flag.tensor, []).append(flag.flag)
    kinds = [(each.name, (each.shape, each.dtype, tuple(flags.get(each.name, ())))) for each in found.tensors]
    tensors = {each.name: each for each in found.tensors}
    rows = []
    for folded, names in fold_alike(kinds, every):
        members = [tensors[name] for name in names]
        first = members[0]
        rows.append(
            [
                folded,
                f"x{len(members)}" if len(members) > 1 else "",
                "x".join(map(str, first.shape)) or "scalar",
                first.dtype,
                *(_range(getattr(each, name) for each in members) for name in ("mean", "std", "min", "max")),
                _range(each.zeros / each.elements if each.elements else None for each in members),
                _near(members),
                _range(each.stable_rank for each in members),
                _range(each.unchanged for each in members),
                " ".join(flags.get(first.name, ())),
            ]
        )
    unneeded = {name for at, name in enumerate(header) if not any(row[at] for row in rows)} - {"name", "shape", "dtype"}
    kept = [at for at, name in enumerate(header) if name not in unneeded]
    return [[row[at] for at in kept] for row in (header, *rows)]


def _number(value: float) -> str:
    return f"{value:.3g}"


def _range(values: Iterable[float | None]) -> str:
    """Write the least and the most of numbers, once where they print alike."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    least, most = _number(min(known)), _number(max(known))
    return least if least == most else f"{least}..{most}"


def _near(members: Sequence[TensorAudit]) -> str:
    """The usual law whose standard deviation is nearest, and the ratio to it."""
    ratios = []
    nearest = ""
    for each in members:
        if not each.laws or not each.std or not math.isfinite(each.std):
            return ""
        logs = {name: math.log(each.std / std) for name, std in each.laws.items()}
        nearest = nearest or min(logs, key=lambda name: abs(logs[name]))
        ratios.append(math.exp(logs[nearest]))
    return f"{nearest} x{_range(ratios)}"


def _changes(changes: Sequence[Change], other: str, every: bool) -> list[str]:
    tensors = {each.tensor: each for each in changes}
    rows = [["against " + other, "tensors", "", "largest", "relative", "cosine"]]
    for folded, names in fold_alike([(each.tensor, each.what) for each in changes], every):
        members = [tensors[name] for name in names]
        count = f"x{len(members)}" if len(members) > 1 else ""
        numbers = [_range(getattr(each, name) for each in members) for name in ("largest", "relative")]
        rows.append([folded, count, members[0].what, *numbers, _cosine(members)])
    return aligned(rows, right=[3, 4, 5])


def _cosine(members: Sequence[Change]) -> str:
    """Cosines near 1 are told apart by more digits."""
    known = [each.cosine for each in members if each.cosine is not None]
    ends = [f"{value:.6f}" for value in (min(known), max(known))] if known else [""]
    return ends[0] if ends[0] == ends[-1] else "..".join(ends)


# ---- CSV


def _say_csv(found: Audit) -> None:
    flags: dict[str, list[str]] = {}
    for flag in found.flags:
        flags.setdefault(flag.tensor, []).append(flag.flag)
    laws = ("he", "xavier", "lecun", "normal(0.02)")
    plain = ["name", "dtype", "shape", "elements", "mean", "std", "min", "max", "zeros", "nan", "inf", "kurtosis"]
    plain += ["stable_rank", "equal_rows", "equal_units", "equal_to", "planned_std", "unchanged"]
    changes = {each.tensor: each for each in found.changes or ()}
    against = ["what", "largest", "relative", "cosine"] if found.changes is not None else []
    rows: list[list[Any]] = [[*plain, *_QUANTILES, *laws, *against, "flags"]]
    for each in found.to_dict()["tensors"]:
        change = changes.get(each["name"])
        row = ["x".join(map(str, each[name])) if name == "shape" else each[name] for name in plain]
        row += [(each["quantiles"] or {}).get(name) for name in _QUANTILES]
        row += [(each["laws"] or {}).get(name) for name in laws]
        row += [getattr(change, name) for name in against] if change is not None else []
        rows.append([*row, " ".join(flags.get(each["name"], ()))])
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(row)
        say(line.getvalue())
