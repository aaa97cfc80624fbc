"""A plan cut into the files of a checkpoint by arithmetic alone: whoever cuts it, on any machine, gets the same files.

The layout is Hugging Face's: `model-00001-of-0000N.safetensors` and so on, with an index that says which tensor is in
which file; or `model.safetensors` without an index where one file is enough.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from winit._core.checks import check_integer, shown
from winit._core.keys import STREAM_VERSION
from winit._plans.param import Param
from winit._plans.plan import Plan
from winit.checkpoint.heading import header

__all__ = ["INDEX", "Cut", "Shard", "by_count", "by_size", "byte_size", "others_of", "unindexed_files"]

MOST_LACKING = 100_000  # files that are named as lacking: a name may claim any number of them
INDEX = "model.safetensors.index.json"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_NUMBERED = re.compile(r"model-(\d{5,})-of-(\d{5,})\.safetensors")


def byte_size(size: Any, what: str = "max_shard_size") -> int:
    """Return a size in bytes: an integer, or text such as "5GB", 10^9 bytes each as on the Hub, or "5GiB", 2^30."""
    if isinstance(size, str):
        match = _SIZE.fullmatch(size.strip())
        if match is None:
            raise ValueError(f"{what} must be a number of bytes or a size such as '5GB' or '500MB', not {shown(size)}")
        number, prefix, binary = match.groups()
        unit = (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " ")
        found = int(Fraction(number) * unit)
    else:
        return check_integer(size, what, most=None)
    if found < 1:
        raise ValueError(f"{what} must be at least one byte, not {shown(size)}")
    return found


@dataclass(frozen=True)
class Shard:
    """One file of a checkpoint.

    plan : the tensors in it, and the names that are tied to them. digest : the whole plan's.
    """

    file: str
    plan: Plan
    digest: str

    def head(self, seed: int) -> tuple[bytes, dict[str, int]]:
        """Lay out the file: all that precedes the tensors' bytes, and each tensor's place."""
        return header(self.plan, seed, self.digest)


@dataclass(frozen=True)
class Cut:
    """A plan's stored tensors in groups, one a file, in the plan's order."""

    plan: Plan
    groups: tuple[tuple[str, ...], ...]

    def file(self, number: int) -> str:
        """Return the name of a file; the first is number 0."""
        count = len(self.groups)
        return "model.safetensors" if count == 1 else f"model-{number + 1:05}-of-{count:05}.safetensors"

    @cached_property
    def _ties(self) -> dict[str, list[str]]:
        """For each tensor the names that are tied to it."""
        ties: dict[str, list[str]] = {}
        for name, param in self.plan.items():
            if param.tied is not None:
                ties.setdefault(param.tied, []).append(name)
        return ties

    def shards(self, rank: int, world: int) -> Iterator[Shard]:
        """Give the files of one rank: of `world` ranks each takes every world-th, so that all have as many."""
        for number in range(rank, len(self.groups), world):
            names = self.groups[number]
            params = {name: self.plan[name] for name in names}
            tied = {other: Param(tied=name) for name in names for other in self._ties.get(name, ())}
            yield Shard(self.file(number), Plan(params | tied), self.plan.digest)

    def index(self, seed: int, parameters: int | None = None) -> bytes | None:
        """Return the index's bytes; None where there is but one file. parameters : if not the plan's elements."""
        if len(self.groups) == 1:
            return None
        metadata = {
            "total_parameters": self.plan.parameters if parameters is None else parameters,
            "total_size": self.plan.nbytes,
            "winit.plan": self.plan.digest,
            "winit.seed": str(seed),
            "winit.stream": str(STREAM_VERSION),
        }
        places = {name: self.file(number) for number, names in enumerate(self.groups) for name in names}
        text = json.dumps({"metadata": metadata, "weight_map": places}, indent=2, ensure_ascii=False)
        return text.encode() + b"\n"


def by_size(plan: Plan, most: int) -> Cut:
    """Cut a plan into files of at most so many bytes; a tensor that is larger has a file to itself."""

    def number() -> Callable[[tuple[str, Param]], int]:
        file, filled = 0, 0

        def of(item: tuple[str, Param]) -> int:
            nonlocal file, filled
            nbytes = item[1].nbytes
            if filled and filled + nbytes > most:
                file, filled = file + 1, 0
            filled += nbytes
            return file

        return of

    return _cut(plan, number())


def by_count(plan: Plan, count: int) -> Cut:
    """Cut a plan into so many files of about equal size, or fewer where there are not as many tensors."""
    total = max(plan.nbytes, 1)
    end = 0

    def of(item: tuple[str, Param]) -> int:
        nonlocal end
        end += item[1].nbytes
        middle = 2 * end - item[1].nbytes
        return min(middle * count // (2 * total), count - 1)

    return _cut(plan, of)


def _cut(plan: Plan, number: Callable[[tuple[str, Param]], int]) -> Cut:
    """Group tensors that have the same number; a plan without any is one empty file."""
    groups: Iterable[tuple[int, Iterator[tuple[str, Param]]]] = groupby(plan.stored.items(), number)
    return Cut(plan, tuple(tuple(name for name, _ in group) for _, group in groups) or ((),))


def others_of(names: Iterable[str], count: int) -> list[str]:
    """Find files of another checkpoint's layout than that of `count` files: readers would take them for this one's."""
    others = []
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is not None:
            other = int(match[2]) != count or count == 1 or not 1 <= int(match[1]) <= count
        else:
            other = (name == "model.safetensors" and count != 1) or (name == INDEX and count == 1)
        if other:
            others.append(name)
    return others


class Unindexed(NamedTuple):
    """The files of a folder that has no index: paths of those that are there, names of those that are lacking."""

    there: list[str]
    lacking: list[str]


def unindexed_files(path: str) -> Unindexed | None:
    """Find files called as winit calls them in a folder without an index; None where a path is no such folder.

    Raises
    ------
    ValueError : they are of several checkpoints.

    """
    if not Path(path).is_dir():
        return None
    names = sorted(os.listdir(path))  # noqa: PTH208
    found = [match for match in map(_NUMBERED.fullmatch, names) if match is not None]
    if not found or any(name.endswith(".safetensors.index.json") for name in names):
        return None
    counts = {match[2] for match in found}
    if len(counts) > 1:
        raise ValueError(f"{path} holds files of several checkpoints, of {' and of '.join(sorted(counts))} files each")
    (count,) = counts
    there = {int(match[1]): match[0] for match in found}
    numbers = (number for number in range(1, int(count) + 1) if number not in there)
    lacking = [f"model-{number:05}-of-{count}.safetensors" for number in islice(numbers, MOST_LACKING)]
    return Unindexed([os.path.join(path, name) for name in there.values()], lacking)  # noqa: PTH118
