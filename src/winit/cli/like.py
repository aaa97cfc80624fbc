"""A plan whose names, shapes and dtypes are those of files, and whose laws come from another plan or from rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winit._core.checks import shown
from winit._core.dtypes import STORED
from winit._files.collecting import Collected, collect
from winit._plans.numbered_names import numbered
from winit.cli.failures import FailureError

if TYPE_CHECKING:
    from winit import Param, Plan
    from winit._plans.toml_reader import Laws

__all__ = ["plan_like", "read_headers"]


def read_headers(path: str) -> Collected:
    """Read the headers of what --like names: a file of safetensors or npz, an index, a folder. No tensor is read.

    Raises
    ------
    FailureError : a tensor of a dtype that no plan holds. OSError, ValueError : as of winit.pretrained.

    """
    if path == "-" or not path:
        raise FailureError(f"--like must name a file or a folder, not {path!r}")
    found = collect(path)
    for name, entry in found.entries.items():
        if entry.dtype not in STORED:
            raise FailureError(f"{entry.file.path}: {shown(name)} is {entry.dtype}, which no plan holds")
    return found


def plan_like(found: Collected, path: str, laws: Laws, spec: str) -> Plan:
    """Make the plan of the tensors that files have, with the laws that SPEC gives.

    A tensor has the law of SPEC's tensor of the same name; else of those whose names differ from its own in numbers
    alone, if they have one law; else of the first rule that matches. A law whose text is computed from sizes, such as
    normal(std=0.02 / sqrt(2 * layers)), is the files' only if all sizes are: then SPEC's shapes and layers must be
    theirs.

    Raises
    ------
    FailureError : a tensor without a law, with two, or whose law is of other sizes; the message names it.

    """
    from winit import Param, Plan

    whole = _Spec(laws, spec)
    sources = {name: whole.source(name) for name in found.entries}
    whole.check_sizes(found, path, sources)
    params: dict[str, Param] = {}
    for name, entry in found.entries.items():
        source = sources[name]
        if source is not None:
            given = laws.tensors[laws.tensors[source].tied or source]
            key = given.key if source == name else None
            params[name] = Param(entry.shape, given.scheme, entry.dtype, given.layout, key=key)
        else:
            scheme, layout = laws.ruled[name]
            params[name] = Param(entry.shape, scheme, entry.dtype, layout)
    params |= {name: Param(tied=kept) for name, kept in found.aliases.items()}
    return Plan(params)


@dataclass
class _Spec:
    """The laws of a SPEC, and what messages call it."""

    laws: Laws
    spec: str

    def __post_init__(self) -> None:
        self.alike: dict[tuple[str, ...], dict[tuple[int, ...], str]] = {}
        for name in self.laws.tensors:
            text, numbers = numbered(name)
            self.alike.setdefault(text, {})[numbers] = name

    def source(self, name: str) -> str | None:
        """Find the tensor of SPEC whose law a tensor has; None where a rule gives it."""
        tensors = self.laws.tensors
        if name in tensors:
            return name
        near = list(self.alike.get(numbered(name)[0], {}).values())
        if near and len({(param.scheme, str(param.layout)) for param in map(self._param, near)}) > 1:
            raise FailureError(
                f"{name}: {self.spec} has no tensor of this name, and those that differ from it in numbers alone, "
                f"{near[0]} among them, have several laws"
            )
        if near:
            return near[0]
        if name in self.laws.ruled:
            return None
        from winit._plans.globs import nearest_hint

        what = "neither a rule nor a tensor for it" if self.laws.patterns else "no tensor of this name"
        hint = nearest_hint(name, [*self.laws.patterns, *tensors])
        raise FailureError(f"{name}: {self.spec} has {what}{hint}")

    def _param(self, name: str) -> Param:
        param = self.laws.tensors[name]
        return param if param.tied is None else self.laws.tensors[param.tied]

    def check_sizes(self, found: Collected, path: str, sources: Mapping[str, str | None]) -> None:
        """Raise where a law is computed from sizes, and those of the files are not those of SPEC."""
        computed = next((name for name, source in sources.items() if source and self._sizes(source)), None)
        other = self._other(found, sources) if computed else None
        if computed and other:
            said = ", ".join(sorted(self._sizes(str(sources[computed]))))
            raise FailureError(
                f"{computed}: its law in {self.spec} is computed from {said}, and {path} is of other sizes: {other}; "
                "--set gives SPEC the file's"
            )

    def _sizes(self, source: str) -> frozenset[str]:
        return self.laws.sizes[self.laws.tensors[source].tied or source]

    def _other(self, found: Collected, sources: Mapping[str, str | None]) -> str | None:
        """Say of one tensor how its size in the files differs from SPEC's."""
        for name, source in sources.items():
            if source is not None and source != name:
                return f"{self.spec} has no {name}"
            if source is not None and self._param(source).shape != found.entries[name].shape:
                return f"{name} is {found.entries[name].shape}, in {self.spec} {self._param(source).shape}"
        held = {*found.entries, *found.aliases}
        texts = {numbered(name)[0] for name in held}
        lacking = (name for text, names in self.alike.items() if text in texts for name in names.values())
        return next((f"it has no {name}" for name in lacking if name not in held), None)
