"""What an audit says: of each tensor, its flags, and its changes against another file."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from winit._core.layouts import Layout, fans
from winit._core.shapes import Shape

__all__ = ["Audit", "Change", "Flag", "TensorAudit", "usual_stds"]


@dataclass(frozen=True)
class Flag:
    """One thing that is wrong with a tensor: which rule says so, and why."""

    tensor: str
    flag: str
    why: str


@dataclass(frozen=True)
class TensorAudit:
    """What was found of one tensor. None stands where a number cannot be had, or was not looked for.

    mean, std, min, max, quantiles : of the finite elements; quantiles of a sample of at most 65,536.
    zeros, nan, inf : how many elements are so.
    histogram : of that sample: counts in 48 bins of one width from low to high, and how many are below and above.
    kurtosis, stable_rank : of samples. equal_rows, equal_units : how many equal an earlier one, constants left out.
    equal_to : the first tensor of the file that has the same bytes.
    laws : the standard deviations that he, xavier, lecun and normal(0.02) would give a tensor of its fans.
    planned_std, unchanged : the standard deviation of the plan's law, and the share of elements that are the plan's.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    quantiles: dict[str, float] | None = None
    histogram: dict[str, Any] | None = None
    zeros: int = 0
    nan: int = 0
    inf: int = 0
    kurtosis: float | None = None
    stable_rank: float | None = None
    equal_rows: int | None = None
    equal_units: int | None = None
    equal_to: str | None = None
    laws: dict[str, float] | None = None
    planned_std: float | None = None
    unchanged: float | None = None


@dataclass(frozen=True)
class Change:
    """What became of one tensor from the other file to this one.

    what : "equal", "changed", "only here", "only there", or what else differs, such as "shape 3x4, there 4x3". Numbers
        are of the elements that are finite in both; relative is the norm of the change over the norm there.
    """

    tensor: str
    what: str
    largest: float | None = None
    relative: float | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Audit:
    """What audit found in a file: it is `ok` if there are no flags.

    notes : what is worth knowing and wrong with nothing, such as that the whole file is what the plan draws.
    """

    tensors: tuple[TensorAudit, ...]
    flags: tuple[Flag, ...]
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] | None = None
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether no rule flags any tensor."""
        return not self.flags

    def to_dict(self) -> dict[str, Any]:
        """Return what `winit audit --json` prints: numbers that JSON cannot write are None."""
        found = {name: value for name, value in asdict(self).items() if name != "bytes"}
        if self.changes is None:
            del found["changes"]
        plain: dict[str, Any] = _plain(found)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def usual_stds(shape: Shape, layout: Layout) -> dict[str, float] | None:
    """Return the standard deviations of the usual laws for a tensor of these fans; None for one without inputs.

    >>> usual_stds((200, 100), "oi")["lecun"]
    0.1
    """
    fan_in, fan_out = fans(shape, layout)
    # Of several matrices in one, such as a fused projection, the mean: their laws are not one.
    out = fan_out if isinstance(fan_out, int) else sum(fan_out) / len(fan_out)
    if not fan_in or not out:
        return None
    return {
        "he": math.sqrt(2 / fan_in),
        "xavier": math.sqrt(2 / (fan_in + out)),
        "lecun": math.sqrt(1 / fan_in),
        "normal(0.02)": 0.02,
    }
