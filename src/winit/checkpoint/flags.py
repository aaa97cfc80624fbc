"""The rules: what is wrong with a tensor, by its own numbers, by its plan's, or by those of its siblings.

Siblings are tensors whose names differ in one number alone: h.0.w, h.1.w and h.2.w. docs/audit.md states each rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from winit._core.laws import Constant, Literal, Moments, Padded, Parted, Sparse
from winit._core.whole import Formula
from winit._plans.numbered_names import numbered
from winit._plans.param import Param
from winit.checkpoint.findings import Flag
from winit.checkpoint.statistics import Stored, Summary

__all__ = ["FALSE_ALARMS", "Measured", "drawn", "flags_of", "tells"]

FALSE_ALARMS = 1e-6  # the chance at most that equal elements of one file are flagged and came about by chance
ROOTS = (2, 4, 8)  # a fan taken from one of so many shards
LEAST = 1000  # elements of a tensor whose standard deviation is judged
FLOOR = 0.02  # of a standard deviation, below which no difference counts
ERRORS = 4.0  # standard errors that count as none
BROADCAST = 4  # rows from which on a tensor all of whose rows are one and the same is taken for a table
_SMALLEST = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float8_e4m3fn": 2.0**-9, "float8_e5m2": 2.0**-16}


@dataclass(eq=False)
class Measured:
    """A tensor of the file, what is known of it, and what its plan says where there is one.

    equal_rows, equal_units : how many equal an earlier one, and two that do; None where chance could make them equal.
    equal_to : an earlier tensor of the same bytes. unchanged : the share of elements that are what the plan drew.
    """

    stored: Stored
    summary: Summary
    param: Param | None = None
    equal_rows: int | None = None
    equal_units: int | None = None
    rows_at: tuple[int, int] = (0, 0)
    units_at: tuple[int, int] = (0, 0)
    equal_to: str | None = None
    unchanged: float | None = None
    flags: list[Flag] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.stored.entry.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.entry.shape

    @property
    def drawn(self) -> bool:
        """Whether a plan draws the tensor at random."""
        return self.param is not None and drawn(self.param.law())

    @property
    def masks(self) -> bool:
        """Whether all elements are one of two values, as those of a mask."""
        return self.summary.two_valued

    @property
    def broadcast(self) -> bool:
        """Whether all rows are one and the same, as those of a table for all heads or units."""
        hashes = self.summary.row_hashes
        if len(self.shape) < 2 or self.shape[0] < BROADCAST or self.summary.constant:
            return False
        if hashes is not None and not self.stored.entry.fortran:
            return bool((hashes == hashes[0]).all())
        return self.equal_rows is not None and self.equal_rows + 1 == self.shape[0]

    @property
    def judged(self) -> bool:
        """Whether equal parts of the tensor can be a fault: not where it is a constant, a mask, or a formula's."""
        summary = self.summary
        return (
            self.stored.is_float
            and summary.least is not None
            and not summary.constant
            and not self.masks
            and (self.param is None or self.drawn)
        )

    @property
    def error(self) -> float:
        """The standard error of ln(std), from the kurtosis of the sample."""
        kurtosis = self.summary.kurtosis
        size = self.stored.size - self.summary.nan - self.summary.inf
        return math.sqrt(max(kurtosis - 1, 0.0) / (4 * size)) if kurtosis is not None and size else math.inf

    @property
    def tolerance(self) -> float:
        """What two standard deviations may differ by and be one, as a difference of logarithms."""
        return max(FLOOR, ERRORS * self.error)

    @property
    def looks_drawn(self) -> bool:
        """Whether mean and kurtosis are within error of 0, and of 3 or less, as of all laws that are used for layers.

        Training leaves neither.
        """
        return self._looks(0.0, 3.0)

    def looks_like(self, law: Moments, param: Param | None) -> bool:
        """Whether mean and kurtosis are those of a law at some scale."""
        most = 3.0 if param is None else _most_kurtosis(param.law())
        return self._looks(law.mean / law.std * (self.summary.std or 0.0), most)

    def _looks(self, mean: float, kurtosis: float) -> bool:
        summary = self.summary
        if summary.mean is None or not summary.std or summary.kurtosis is None or not summary.sampled:
            return False
        near = abs(summary.mean - mean) <= 5 * summary.std / math.sqrt(self.stored.size)
        # The error of a kurtosis, which grows with its square, is that of a normal law times as much.
        return near and summary.kurtosis <= kurtosis + 5 * math.sqrt(24 / summary.sampled) * (kurtosis / 3) ** 2

    def flag(self, flag: str, why: str) -> None:
        self.flags.append(Flag(self.name, flag, why))


def drawn(law: Any) -> bool:
    """Tell whether a law's values are random: not a constant, nor values of a list or a formula."""
    if isinstance(law, Padded):
        return drawn(law.inner)
    if isinstance(law, Parted):
        return any(map(drawn, law.laws))
    return not isinstance(law, (Constant, Literal, Formula)) and law.moments().std > 0


def _most_kurtosis(law: Any) -> float:
    """Bound the kurtosis of a law's elements: 3 of the normal law, more where some are 0 or scales differ."""
    if isinstance(law, Padded):
        return _most_kurtosis(law.inner) * law.size / max(law.size - law.row, 1)
    if isinstance(law, Sparse):
        return 3.0 * law.inputs / max(law.keep, 1)
    if isinstance(law, Parted):
        parts = [(extent, each.moments().std) for extent, each in zip(law.extents, law.laws, strict=True)]
        total = sum(extent for extent, _ in parts)
        square = sum(extent * std**2 for extent, std in parts) / total
        return 3.0 * sum(extent * std**4 for extent, std in parts) / total / (square * square or 1.0)
    return 3.0


def tells(count: int, elements: int, collision: float, tensors: int) -> bool:
    """Tell whether equal ones among `count` things of so many elements are no chance.

    By chance so many independent elements are equal with probability collision^elements, and there are count (count -
    1) / 2 pairs. Over all tensors of a file, and four kinds of things, the expected number stays below FALSE_ALARMS.
    """
    if count < 2 or collision >= 1 or not elements:
        return False
    pairs = math.log(count) + math.log(count - 1) - math.log(2)
    return pairs + elements * math.log(collision) < math.log(FALSE_ALARMS / (4 * max(tensors, 1)))


def flags_of(found: Sequence[Measured]) -> tuple[list[Flag], list[str]]:
    """Apply all rules to the tensors of a file; returns flags in their order, and notes."""
    notes: list[str] = []
    families = _families(found)
    for each in found:
        _finite(each)
        _zeroed(each, families)
        _repeated(each)
    tables = [each.name for each in found if each.broadcast and not each.drawn]
    if tables:
        first = tables[0] if len(tables) == 1 else f"{tables[0]} and {len(tables) - 1:,} more"
        notes.append(f"{first}: all rows are one and the same, as a table's are: not flagged")
    _fan_off(found, families, notes)
    _untrained(found, notes)
    return [flag for each in found for flag in each.flags], notes


def _families(found: Iterable[Measured]) -> dict[int, list[list[Measured]]]:
    """Give each tensor, by its id, its siblings and itself, once for each number in its name."""
    groups: dict[tuple[object, ...], list[Measured]] = {}
    keys: dict[int, list[tuple[object, ...]]] = {}
    for each in found:
        text, numbers = numbered(each.name)
        for at in range(len(numbers)):
            key = (text, at, *numbers[:at], None, *numbers[at + 1 :])
            groups.setdefault(key, []).append(each)
            keys.setdefault(id(each), []).append(key)
    return {index: [groups[key] for key in own if len(groups[key]) > 1] for index, own in keys.items()}


def _of(count: int, size: int, what: str = "elements") -> str:
    return f"{count:,} of {size:,} {what}"


def _finite(each: Measured) -> None:
    summary, size = each.summary, each.stored.size
    if not each.stored.is_float:
        return
    if summary.nan:
        each.flag("nan", f"{_of(summary.nan, size)} are NaN")
    # 0 and -inf are what a mask adds to attention's scores.
    mask = summary.inf == summary.negative_inf and (summary.least is None or summary.least == summary.most == 0)
    if summary.inf and (not mask or summary.inf == size):
        each.flag("inf", f"{_of(summary.inf, size)} are infinite")


def _all_zero(each: Measured) -> bool:
    return each.stored.size > 0 and each.summary.zeros == each.stored.size


def _zeroed(each: Measured, families: dict[int, list[list[Measured]]]) -> None:
    if not _all_zero(each) or not (each.stored.is_float or each.stored.opaque):
        return
    if each.param is not None:
        moments = each.param.law().moments()
        # What is too small for the file's dtype is 0 there: a layer scale of 1e-6 in float8, for one.
        least = _SMALLEST.get(each.stored.entry.dtype, 0.0)
        if max(abs(moments.low), abs(moments.high)) > least and (not each.drawn or moments.std > least):
            each.flag("zeroed", f"all {each.stored.size:,} elements are 0; the plan has {each.param.scheme!r}"[:200])
        return
    groups = families.get(id(each), [])
    others = [next((other for other in group if not _all_zero(other)), None) for group in groups]
    if len(each.shape) > 1 and others and all(other is not None for other in others):
        assert others[0] is not None
        each.flag("zeroed", f"all {each.stored.size:,} elements are 0; those of {others[0].name} are not")


def _repeated(each: Measured) -> None:
    table = each.broadcast and not each.drawn
    for kind, count, (first, second) in (
        ("row", each.equal_rows, each.rows_at),
        ("unit", each.equal_units, each.units_at),
    ):
        if count and not table:
            more = f"{count:,} {kind}s equal earlier ones" if count > 1 else f"one {kind} equals an earlier one"
            each.flag(f"duplicate_{kind}s", f"{more}: {kind}s {first:,} and {second:,} are equal")
    if each.equal_to is not None:
        each.flag("equal_tensors", f"has the bytes of {each.equal_to}")


def _root(apart: float, tolerance: float, roots: Sequence[int] = ROOTS) -> tuple[int, int] | None:
    """Find the root that a difference of logarithms is within tolerance of, as its radicand and the sign."""
    for root in roots:
        for sign in (1, -1):
            if abs(apart - sign * math.log(root) / 2) <= tolerance:
                return root, sign
    return None


def _said(root: int, sign: int) -> str:
    return f"sqrt({root})" if sign > 0 else f"1/sqrt({root})"


def _fan_off(found: Sequence[Measured], families: dict[int, list[list[Measured]]], notes: list[str]) -> None:
    able = [
        each
        for each in found
        if each.stored.is_float and each.stored.size >= LEAST and each.summary.std and math.isfinite(each.summary.std)
    ]
    # Where a type's numbers are too far apart for a standard deviation, rounding changes it.
    laws = [(each, each.param.law().moments()) for each in able if each.param is not None and each.drawn]
    apart = [
        (each, math.log((each.summary.std or 1.0) / law.std), law)
        for each, law in laws
        if math.isfinite(law.std) and law.std > 4 * _SMALLEST.get(each.stored.entry.dtype, 0.0)
    ]
    plain = [(each, log, law) for each, log, law in apart if each.looks_like(law, each.param)]
    for wanted in ROOTS:
        near = [
            abs(log) <= each.tolerance or _root(log, each.tolerance, (wanted,)) is not None for each, log, _ in plain
        ]
        if apart and 4 * sum(near) >= 3 * len(apart):
            for each, log, law in plain:
                root = _root(log, each.tolerance)
                if root is not None and abs(log) > each.tolerance:
                    each.flag("fan_off", f"std {each.summary.std:.6g} is {_said(*root)} times the plan's {law.std:.6g}")
            return
    if apart:
        notes.append("most standard deviations are not the plan's: fan_off is judged by siblings alone")
    judged = {id(each) for each in able}
    for group in {id(group): group for each in able for group in families.get(id(each), [])}.values():
        for shape in dict.fromkeys(each.shape for each in group):
            alike = [each for each in group if each.shape == shape and id(each) in judged]
            common = _common(alike)
            for each in alike if common is not None else ():
                log = math.log((each.summary.std or 1.0) / (common or 1.0))
                root = _root(log, each.tolerance)
                known = any(flag.flag == "fan_off" for flag in each.flags)
                if root is not None and abs(log) > each.tolerance and each.looks_drawn and not known:
                    others = len(alike) - 1
                    why = f"is {_said(*root)} times the {common:.6g} of its {others} siblings"
                    each.flag("fan_off", f"std {each.summary.std:.6g} {why}")


def _common(group: Sequence[Measured]) -> float | None:
    """The standard deviation that more than three quarters of siblings have, 3 at least, as only drawn ones do."""
    if len(group) < 4:
        return None
    std = median(each.summary.std or 0.0 for each in group)
    agree = [each for each in group if abs(math.log((each.summary.std or 1.0) / std)) <= each.tolerance]
    if len(agree) < 3 or 4 * len(agree) < 3 * len(group) or not all(each.looks_drawn for each in agree):
        return None
    return std


def _untrained(found: Sequence[Measured], notes: list[str]) -> None:
    compared = [each for each in found if each.drawn and each.unchanged is not None]
    if not compared:
        return
    explained = {each.name for each in found if each.flags} | {each.equal_to for each in found}
    same = [each for each in compared if each.unchanged == 1.0]
    trained = [each for each in compared if (each.unchanged or 0.0) < 0.5 and each.name not in explained]
    if not same:
        return
    if trained:
        for each in same:
            each.flag("untrained", f"all {each.stored.size:,} elements are what the plan drew, and others are not")
    else:
        notes.append(
            f"{_of(len(same), len(compared), 'drawn tensors')} are what the plan draws: the file is not trained"
        )
