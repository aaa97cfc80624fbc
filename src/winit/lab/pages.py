"""Reports: what the lab finds of schemes, of a plan or of a checkpoint, as data and as one page that stands alone."""

from __future__ import annotations

import html
import json
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winit._core.checks import (
    check_bool,
    check_callable,
    check_integer,
    check_number,
    check_one_of,
    check_path,
    check_threads,
    shown,
)
from winit._core.dtypes import dtype_name
from winit._core.keys import stream_key
from winit._core.scheme import Scheme
from winit._files.appearing import Target, appearing, destination, write_at
from winit._plans.plan import Plan, check_plan
from winit._plans.short_schemes import read_short_scheme
from winit.activations import Activation
from winit.activations import activation as as_activation
from winit.lab import checkpoint_page, network_page, plan_page
from winit.lab.comparison import named_schemes
from winit.lab.page_writing import document, plain

__all__ = ["Report", "report", "report_checkpoint", "report_plan"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Report:
    """What report, report_plan and report_checkpoint return: data first, a page second.

    kind : "network", "plan" or "checkpoint". data : what was found, dicts and lists by name. command : the words of
    the command line that finds the same. subject : what the page calls a plan or a checkpoint.
    """

    kind: str
    data: dict[str, Any]
    command: tuple[str, ...]
    subject: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return all that was found; numbers that JSON cannot write are the strings "nan", "inf" and "-inf"."""
        found: dict[str, Any] = plain(self.data)
        return {"winit": _version(), "report": self.kind, "command": shlex.join(self.command), **found}

    def to_json(self) -> str:
        """Return to_dict() as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_html(self, path: str = "report.html") -> str:
        """Return the page; path is what it says of where it was written."""
        path = check_path(path)
        if self.kind == "network":
            title, lede, parts = network_page.sections(self.data)
        elif self.kind == "plan":
            title, lede, parts = plan_page.sections(self.data, self.subject)
        else:
            title, lede, parts = checkpoint_page.sections(self.data, self.subject)
        return document(title, lede, parts, shlex.join([*self.command, "-o", path]), _version())

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the page (.html) or its data (.json), which appears whole or not at all.

        Parameters
        ----------
        path : str or os.PathLike, whose name ends in .html or .json.
        overwrite : bool. Replace a file that exists.

        Raises
        ------
        ValueError : another ending. OSError : the file exists, or cannot be written.

        """
        target = check_output(path, overwrite)
        write_report(self, target)

    def _repr_html_(self) -> str:
        """What notebooks show: the page in a frame."""
        page = html.escape(self.to_html())
        return f'<iframe srcdoc="{page}" style="width:100%;height:40em;border:0" title="winit report"></iframe>'

    def __repr__(self) -> str:
        return f"<Report on a {self.kind}{f' {self.subject!r}' if self.subject else ''}>"


def check_output(path: str | os.PathLike[str], overwrite: bool) -> Target:
    """Return where a report is to appear, or raise for what could not be written there."""
    text = check_path(path)
    if Path(text).suffix not in (".html", ".json"):
        raise ValueError(f"a report's file must end in .html or .json, not {shown(text)}")
    return destination(path, overwrite)


def write_report(found: Report, target: Target) -> None:
    """Write a report to where check_output says."""
    text = found.to_json() + "\n" if target.name.endswith(".json") else found.to_html(target.typed)
    data = memoryview(text.encode())
    with appearing(target, len(data)) as descriptor:
        write_at(descriptor, data, 0)


def report(
    schemes: Mapping[str, Scheme] | Iterable[Scheme],
    activation: str | Activation = "relu",
    *,
    depth: int = 20,
    width: int = 256,
    batch: int = 256,
    bias: float = 0.0,
    residual: bool = False,
    norm: str | None = None,
    seed: int = 0,
    seeds: int = 3,
    steps: int = 200,
    dtype: Any = "float32",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Report on schemes in one network: verdicts, signal and gradient by layer, histograms, loss curves, symmetry.

    Every scheme's network has `depth` layers of `width` units. What `signal` measures stands beside theory and the band
    in which 19 of 20 networks of this width lie, or more. Loss curves are `compare`'s on scikit-learn's digits, of
    networks of at most 64 units; without scikit-learn they are left out, and the report says so.

    Parameters
    ----------
    schemes : mapping from names to schemes, or schemes.
    activation : str or winit activation.
    depth, width : int. Layers, and units of each. batch : int. Samples of the signal.
    bias : float. All biases.
    residual, norm : as of Network.
    seed : int, 0 <= seed < 2^64. Of the networks; the first of those that are trained.
    seeds : int. How many are trained for each scheme. steps : int >= 0. Of training; 0 trains none.
    dtype : "float32" or "float64".
    threads : int or None, the processors this process may use.
    progress : callable(parts done, parts in all) or None.

    Returns
    -------
    Report. Its data and page are the same on every run and for any number of threads.

    Raises
    ------
    TypeError, ValueError : what is not as above; a scheme that a layer's shape does not allow, with its name.

    >>> import winit
    >>> from winit.lab import report
    >>> schemes = {"he": winit.he_normal(), "small": winit.normal(std=0.01)}
    >>> found = report(schemes, "relu", depth=10, width=64, steps=0)
    >>> [(row["scheme"], row["verdict"]) for row in found.data["verdicts"]]
    [('he', 'healthy'), ('small', 'vanishing')]
    >>> print(found.data["best"][1])
    he keeps the gradient best: its std is 0.962 at the first layer, of 1 at the output.

    """
    named = named_schemes(schemes)
    settings = network_page.Settings(
        activation=as_activation(activation),
        depth=check_integer(depth, "depth"),
        width=check_integer(width, "width"),
        batch=check_integer(batch, "batch"),
        seed=_checked_seed(seed),
        seeds=check_integer(seeds, "seeds"),
        steps=check_integer(steps, "steps", 0),
        dtype=_checked_dtype(dtype),
        bias=check_number(bias, "bias"),
        residual=check_bool(residual, "residual"),
        norm=None if norm is None else check_one_of(norm, ("rms", "layer"), "norm"),
        threads=check_threads(threads),
    )
    if settings.steps and settings.seed + settings.seeds > 1 << 64:
        raise ValueError(
            f"seed must be at most 2^64 - {settings.seeds} for {settings.seeds} seeds, not {settings.seed}"
        )
    check_callable(progress, "progress")
    data = network_page.gather(named, settings, progress)
    return Report("network", data, _network_command(named, settings))


def report_plan(plan: Plan, *, name: str = "plan.toml") -> Report:
    """Report on a plan from its laws alone: fans, stds, expected gains, and warnings.

    No weight is drawn, so that a plan of 10^12 parameters takes seconds. A warning is given for a matrix that is
    constant, whose units would stay equal, and for a random one whose std is more than 3 times away from each of He's,
    Xavier's and LeCun's, He's of fan_out and 0.02; where n tensors are of one kind, from 0.02 and LeCun's over
    sqrt(2 n) too.

    Parameters
    ----------
    plan : Plan.
    name : str. What the page calls it, and the command that makes the page again: the recipe or file that it is from.

    Returns
    -------
    Report.

    >>> import winit
    >>> from winit.lab import report_plan
    >>> found = report_plan(winit.Plan({"a": winit.Param((512, 512), winit.zeros())}))
    >>> found.data["warnings"][0]["warning"].partition(":")[0]
    'constant'

    """
    check_plan(plan)
    text = check_path(name, "name")
    return Report("plan", plan_page.gather(plan), ("winit", "report", "--plan", text), text)


def report_checkpoint(
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    seed: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Report on a checkpoint: what winit.checkpoint.audit finds, with pictures.

    Parameters
    ----------
    path, plan, seed, threads, progress : as of winit.checkpoint.audit.

    Returns
    -------
    Report. Histograms of tensors of more than 65,536 elements are of a sample.

    Raises
    ------
    OSError, TypeError, ValueError : as of winit.checkpoint.audit.

    >>> import os, tempfile, winit
    >>> from winit.lab import report_checkpoint
    >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
    >>> _ = winit.Plan({"w": winit.Param((64, 32), winit.he_normal())}).write(path, seed=0)
    >>> report_checkpoint(path).data["flags"]
    []

    """
    from winit.checkpoint import audit

    found = audit(path, plan, seed=seed, threads=threads, progress=progress)
    text = check_path(path)
    command = ["winit", "report", "--checkpoint", text]
    if plan is not None:
        command += ["--plan", "plan.toml", "--seed", str(seed)]
    return Report("checkpoint", checkpoint_page.gather(found), tuple(command), text)


def _version() -> str:
    from winit import __version__

    return __version__


def _checked_seed(seed: Any) -> int:
    stream_key(seed)
    return int(seed)


def _checked_dtype(dtype: Any) -> str:
    name = dtype_name(dtype)
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, not {shown(dtype)}")
    return name


def _network_command(schemes: Mapping[str, Scheme], settings: network_page.Settings) -> tuple[str, ...]:
    """The words of the command line that reports the same; threads change nothing."""
    f = settings.activation
    words = ["winit", "report", "--activation", f.name if f.param is None else f"{f.name}:{f.param:g}"]
    words += ["--depth", str(settings.depth), "--width", str(settings.width)]
    words += ["--schemes", ",".join(_typed(name, scheme) for name, scheme in schemes.items())]
    words += ["--batch", str(settings.batch), "--seed", str(settings.seed), "--seeds", str(settings.seeds)]
    words += ["--steps", str(settings.steps), "--dtype", settings.dtype]
    words += [f"--bias={settings.bias!r}"] * bool(settings.bias) + ["--residual"] * settings.residual
    words += ["--norm", settings.norm] if settings.norm else []
    return tuple(words)


def _typed(name: str, scheme: Scheme) -> str:
    """A scheme as it is typed: as it was, or as a call."""
    try:
        if read_short_scheme(name) == scheme:
            return name
    except ValueError:
        pass
    return repr(scheme)
