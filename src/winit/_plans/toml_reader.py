"""A TOML document to a plan: one dialect, in which a document without [parameters] has an empty table of them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from winit import presets, schemes
from winit._core.checks import check_path, nearest, shown
from winit._core.layouts import Axes, Layout
from winit._core.scheme import Scheme
from winit._plans.expressions import (
    RESERVED,
    evaluate_condition,
    evaluate_integer,
    names_in,
    parse_call,
    shown_text,
)
from winit._plans.globs import matches, unmatched
from winit._plans.name_patterns import expand, filled, range_names
from winit._plans.param import Param, shown_name
from winit._plans.parameter_table import Value, check_requirements, settle

__all__ = ["Laws", "known_schemes", "read_laws", "read_params", "read_scheme"]

_TOP_KEYS = ("description", "parameters", "require", "dtype", "layout", "tensors", "rules")
_TENSOR_KEYS = ("shape", "scheme", "dtype", "layout", "key", "tied", "when")
_RULE_KEYS = ("match", "scheme", "layout", "dtype", "when", "optional")


@cache
def known_schemes() -> dict[str, Any]:
    """Name every scheme that a plan's text may call: winit's own, and those of presets by their framework."""
    frameworks = {name: getattr(presets, name) for name in presets.__all__}
    theirs = {
        f"{framework}.{name}": getattr(module, name)
        for framework, module in frameworks.items()
        for name in module.__all__
        if name != "calculate_gain"
    }
    return {**schemes.named(), **theirs}


def read_scheme(text: str) -> Scheme:
    """Make the scheme that a text such as "normal(std=0.02)" calls; ValueError for any other text."""
    made = parse_call(text, known_schemes(), "scheme", {}, {**known_schemes(), "Axes": Axes})
    assert isinstance(made, Scheme)
    return made


def read_params(source: Any, parameters: Any = None) -> dict[str, Param]:
    """Read the tensors of a plan; see Plan.from_toml."""
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(f"parameters must be a mapping from names to values, not {shown(parameters)}")
    text = _text_of(source)
    try:
        return _Document(text, parameters or {}).params()
    except RecursionError:
        raise ValueError("malformed TOML: nested too deeply") from None


def read_laws(source: Any, parameters: Mapping[str, Any], names: Collection[str]) -> Laws:
    """Read the laws of a document for tensors of these names, whose shapes come from elsewhere.

    The document may have rules alone. A rule must match one of the names, or of the document's own tensors.
    """
    text = _text_of(source)
    try:
        return _Document(text, parameters).laws(names)
    except RecursionError:
        raise ValueError("malformed TOML: nested too deeply") from None


class Laws(NamedTuple):
    """What a document says of tensors whose shapes come from elsewhere.

    tensors : the document's own. sizes : for each of them the integers, if any, that its scheme's text is computed
        from: parameters that count or measure, and the indices of ranges.
    ruled : the scheme, and the layout or None, that rules give to names that are none of the document's own tensors.
    patterns : of the rules.
    """

    tensors: dict[str, Param]
    sizes: dict[str, frozenset[str]]
    ruled: dict[str, tuple[Scheme, Layout | None]]
    patterns: tuple[str, ...]


def _text_of(source: Any) -> str:
    """The text of a document given as itself or as a path."""
    if isinstance(source, str) and not ("\n" not in source and source.endswith(".toml")):
        if "\n" not in source and "=" not in source and "[" not in source and source.strip():
            there = "; there is a file of that name" if len(source) < 256 and Path(source).is_file() else ""
            raise ValueError(
                f"{shown(source)} is neither TOML text nor a path that ends in .toml{there}: "
                "a file of another name is given as pathlib.Path(...)"
            )
        return source
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must be TOML text or a path, not {type(source).__name__}")
    path = Path(check_path(source, "source"))
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table, not {shown(value)}")
    return value


def _only(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{where}: unknown key {shown(key)}{nearest(key, known)}; there are: {', '.join(known)}")


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} must be a string, not {shown(value)}")
    return value


class _TomlRule(NamedTuple):
    """A rule of a document. What depends on the index of a range stays text until a tensor gives it."""

    match: str
    when: str | None
    scheme: Scheme | str
    layout: Layout | str | None
    dtype: str | None
    optional: bool
    text: Any  # of the scheme, as the document has it


_Chosen = dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]]  # by name: pattern, fields, what expressions know


class _Document:
    """A document on its way to a plan: its parameters, rules and defaults."""

    def __init__(self, source: str, given: Mapping[str, Any]) -> None:
        try:
            self.document = tomllib.loads(source)
        except ValueError as error:  # TOMLDecodeError, and Python's own for integers of thousands of digits
            raise ValueError(f"malformed TOML: {error}") from None
        _only(self.document, _TOP_KEYS, "plan")
        _text(self.document, "description")
        self.made: dict[str, Scheme] = {}
        self.names: dict[str, Value] = settle(_table(self.document.get("parameters", {}), "parameters"), given)
        check_requirements(self.document.get("require", []), self.names)
        self.dtype = _text(self.document, "dtype")
        self.layout = None if "layout" not in self.document else self._layout(self.document["layout"], self.names)
        if self.dtype is not None:
            try:
                Param(dtype=self.dtype)
            except TypeError as error:
                raise ValueError(str(error)) from None
        listed = self.document.get("rules", [])
        if not isinstance(listed, list):
            raise ValueError("rules must be an array of tables, written [[rules]]")
        self.rules = [self._read_rule(entry, f"rules[{i}]") for i, entry in enumerate(listed)]

    def params(self) -> dict[str, Param]:
        """Make the tensors of the plan, each with what the document gives it."""
        chosen = self._chosen()
        for rule in self.rules:
            self._check_met(rule, chosen)
        return self._read_params(chosen)

    def laws(self, names: Collection[str]) -> Laws:
        """Make what the document says of tensors of these names."""
        chosen = self._chosen()
        known = dict.fromkeys([*names, *chosen])
        for each in self.rules:
            self._check_met(each, known)
        sizes = {}
        for name, (_, fields, expressions) in chosen.items():
            rule = self._first(name, expressions)
            sizes[name] = self._sizes(fields.get("scheme", rule.text if rule else None), expressions)
        ruled = {}
        for name in names:
            rule = None if name in chosen else self._first(name, self.names)
            if rule is not None:
                try:
                    scheme = rule.scheme if isinstance(rule.scheme, Scheme) else self._scheme(rule.scheme, self.names)
                    layout = self._layout(rule.layout, self.names) if isinstance(rule.layout, str) else rule.layout
                except (TypeError, ValueError) as error:
                    raise ValueError(f"rule {shown_text(rule.match)!r}: {error}") from None
                ruled[name] = scheme, layout or self.layout
        return Laws(self._read_params(chosen), sizes, ruled, tuple(each.match for each in self.rules))

    def _sizes(self, text: Any, expressions: Mapping[str, Any]) -> frozenset[str]:
        """Find the integers that the text of a scheme is computed from, by way of other parameters too."""
        table = self.document.get("parameters", {})
        found: set[str] = set()
        left = names_in(text) & set(expressions) if isinstance(text, str) else set()
        while left:
            name = left.pop()
            found.add(name)
            if isinstance(table.get(name), str):
                left |= names_in(table[name]) & set(expressions) - found
        return frozenset(name for name in found if type(expressions[name]) in (int, list))

    def _chosen(self) -> _Chosen:
        """Find the tensors that the document names, and which of its alternatives each has."""
        chosen: _Chosen = {}
        for pattern, entry in _table(self.document.get("tensors", {}), "tensors").items():
            try:
                alternatives = self._alternatives(entry, pattern)
                for name, names in expand(pattern, self.names):
                    fields = next((fields for fields in alternatives if self._holds(fields, names)), None)
                    if fields is None:
                        continue
                    if name in chosen:
                        raise ValueError(f"{shown_name(name)} is named twice")
                    chosen[name] = pattern, fields, names
            except (TypeError, ValueError) as error:
                raise ValueError(f"{shown_name(pattern)}: {error}") from None
        return chosen

    def _read_params(self, chosen: _Chosen) -> dict[str, Param]:
        params: dict[str, Param] = {}
        keyed: dict[tuple[str, str], str] = {}
        for name, (pattern, own, known) in chosen.items():
            try:
                param = params[name] = self._read_param(name, own, known)
                if param.key is not None:  # one key for all layers is forgotten braces, and no copies
                    other = keyed.setdefault((pattern, param.key), name)
                    if other != name:
                        raise ValueError(f"has the key {shown(param.key)}, which {shown(other)} has already")
            except (TypeError, ValueError) as error:
                raise ValueError(f"{shown_name(pattern)}: {error}") from None
        return params

    def _alternatives(self, entry: Any, pattern: str) -> list[dict[str, Any]]:
        """A tensor's tables: one, or of several the first whose `when` holds."""
        if isinstance(entry, dict) and entry and not set(entry) & set(_TENSOR_KEYS):
            inner, path = entry, [pattern]
            while isinstance(inner, dict) and inner and not set(inner) & set(_TENSOR_KEYS):
                key = next(iter(inner))
                inner = inner[key]
                path.append(key)
            if isinstance(inner, (dict, list)):
                raise ValueError(f'TOML reads dots as tables, so a name with dots is quoted: "{".".join(path)}" = ...')
        tables = entry if isinstance(entry, list) else [entry]
        tables = [_table(fields, "a tensor (quote names that have dots)") for fields in tables]
        if not tables:
            raise ValueError("has no alternatives")
        for fields in tables:
            _only(fields, _TENSOR_KEYS, "tensor")
        if any("when" not in fields for fields in tables[:-1]):
            raise ValueError("what follows an alternative without 'when' is never reached")
        return tables

    def _holds(self, fields: Mapping[str, Any], names: Mapping[str, Any]) -> bool:
        when = _text(fields, "when")
        return when is None or evaluate_condition(when, names, "when")

    def _scheme(self, text: Any, names: Mapping[str, Any]) -> Scheme:
        if isinstance(text, str) and text in self.made:
            return self.made[text]
        made = parse_call(text, known_schemes(), "scheme", names, {**known_schemes(), "Axes": Axes})
        assert isinstance(made, Scheme)
        if isinstance(text, str) and self._settled(text):  # the same for every tensor that says it
            self.made[text] = made
        return made

    def _layout(self, text: Any, names: Mapping[str, Any]) -> Layout:
        if text in ("oi", "io"):
            return str(text)
        if not isinstance(text, str) or "(" not in text:
            raise ValueError(f"layout must be 'oi', 'io' or a text such as 'Axes(in_=1, out=0)', not {shown(text)}")
        layout: Axes = parse_call(text, {"Axes": Axes}, "layout", names, example="Axes(in_=1, out=0)")
        return layout

    def _read_rule(self, entry: Any, where: str) -> _TomlRule:
        rule = _table(entry, where)
        _only(rule, _RULE_KEYS, where)
        match, when, optional = _text(rule, "match"), _text(rule, "when"), rule.get("optional", False)
        if match is None or "scheme" not in rule:
            raise ValueError(f"{where} must have 'match' and 'scheme'")
        try:
            if not isinstance(optional, bool):
                raise ValueError(f"optional must be true or false, not {shown(optional)}")
            scheme, layout, dtype = rule["scheme"], rule.get("layout"), _text(rule, "dtype")
            # A rule is right or wrong whether or not a name matches it; but for `when`, which may guard a division.
            if when is None and self._settled(scheme):
                scheme = self._scheme(scheme, self.names)
            if layout is not None and self._settled(layout):
                layout = self._layout(layout, self.names)
            if dtype is not None:
                Param(dtype=dtype)
            return _TomlRule(match, when, scheme, layout, dtype, optional, rule["scheme"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} ({shown_text(match)}): {error}") from None

    def _settled(self, text: Any) -> bool:
        """Tell whether a call can be evaluated without the index of a range."""
        if not isinstance(text, str):
            return True
        return not names_in(text) & self._indices

    @cached_property
    def _indices(self) -> set[str]:
        """The names that ranges of the document give their indices; a scheme's name may be among them."""
        tensors = self.document.get("tensors", {})
        return {index for pattern in tensors for index in range_names(pattern)} if isinstance(tensors, dict) else set()

    def _check_met(self, rule: _TomlRule, known: Mapping[str, Any]) -> None:
        """Raise for a pattern that matches no name, unless it is optional or its `when` does not hold."""
        if rule.optional or any(matches(rule.match, name) for name in known):
            return
        settled = rule.when is not None and names_in(rule.when) <= {*self.names, *RESERVED}
        if settled and not evaluate_condition(str(rule.when), self.names, f"rule {shown_text(rule.match)!r}: when"):
            return
        raise ValueError(f"{unmatched(rule.match, known, 'the pattern')} (optional = true allows it)")

    def _read_param(self, name: str, fields: Mapping[str, Any], names: Mapping[str, Any]) -> Param:
        """One tensor of a document: what it says itself, then what its rule says, then the document."""

        def named(what: str) -> str | None:
            text = _text(fields, what)
            return text and filled(text, names, what)

        tied = named("tied")
        if tied is not None:
            _only(fields, ("tied", "when"), "tied tensor")
            return Param(tied=tied)
        if "shape" not in fields:
            raise ValueError("has no shape")
        if not isinstance(fields["shape"], list):
            raise ValueError(f"shape must be an array of integers and expressions, not {shown(fields['shape'])}")
        shape = [
            evaluate_integer(size, names, f"shape[{i}]") if isinstance(size, str) else size
            for i, size in enumerate(fields["shape"])
        ]
        layout: Layout | None = self._layout(fields["layout"], names) if "layout" in fields else None
        dtype = _text(fields, "dtype")
        if "scheme" in fields:
            scheme = self._scheme(fields["scheme"], names)
        else:
            rule = self._first(name, names)
            if rule is None:
                raise ValueError("has no scheme, and no rule matches its name")
            scheme = rule.scheme if isinstance(rule.scheme, Scheme) else self._scheme(rule.scheme, names)
            if layout is None:
                layout = self._layout(rule.layout, names) if isinstance(rule.layout, str) else rule.layout
            dtype = rule.dtype if dtype is None else dtype
        return Param(
            shape,
            scheme,
            (self.dtype or "float32") if dtype is None else dtype,
            (self.layout or "oi") if layout is None else layout,
            key=named("key"),
        )

    def _first(self, name: str, names: Mapping[str, Any]) -> _TomlRule | None:
        """Find the first rule that gives a tensor what it has not itself."""
        return next((rule for rule in self.rules if self._applies(rule, name, names)), None)

    def _applies(self, rule: _TomlRule, name: str, names: Mapping[str, Any]) -> bool:
        if not matches(rule.match, name):
            return False
        return rule.when is None or evaluate_condition(rule.when, names, f"rule {shown_text(rule.match)!r}: when")
