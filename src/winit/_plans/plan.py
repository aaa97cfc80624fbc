"""Plans: what a model's tensors are called, their shapes, dtypes and schemes, from Python, from rules or from TOML."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, cached_property
from hashlib import blake2b
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from winit import schemes
from winit._core.drawing import bind, dtype_name, empty, exact_values, numpy_dtype, run
from winit._core.keys import stream_key
from winit._core.shapes import MAX_SIZE, Axes, Layout, Shape, check_layout, check_shape
from winit._core.threads import check_threads
from winit._plans import name_patterns as template
from winit._plans.expressions import RESERVED, condition, integer, names_in, parse_call
from winit.schemes.base import Scheme
from winit.schemes.constants import literal

__all__ = ["Param", "Plan", "Rule"]

FLOATS = ("float32", "float64", "float16", "bfloat16")
# What safetensors can hold, and so what a plan may.
DTYPES = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "complex64")


@dataclass(frozen=True)
class Param:
    """One tensor of a plan.

    Parameters
    ----------
    shape : tuple of int. The global shape. May be () with `tied`.
    dtype : str or dtype object.
    scheme : a winit scheme; None where a rule of the plan gives it.
    layout : "oi", "io" or winit.Axes.
    key : str or None. The name that keys its stream, its own name by default: it keeps a tensor's values when the
        tensor is renamed.
    tied : str or None. The name of the plan's tensor that this one is. It has no values of its own; its shape and dtype
        are that tensor's.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value.

    >>> import winit
    >>> Param((768, 768), "bfloat16", winit.normal(std=0.02))
    Param(shape=(768, 768), dtype='bfloat16', scheme=normal(std=0.02), layout='oi', key=None, tied=None)

    """

    shape: Shape = ()
    dtype: str = "float32"
    scheme: Scheme | None = None
    layout: Layout = "oi"
    key: str | None = None
    tied: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape(self.shape))
        name = dtype_name(self.dtype)
        if name not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {name!r}")
        object.__setattr__(self, "dtype", name)
        if self.scheme is not None and not isinstance(self.scheme, Scheme):
            raise TypeError(f"scheme must be a winit scheme, not {self.scheme!r}")
        check_layout(self.layout)
        for what in ("key", "tied"):
            value = getattr(self, what)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{what} must be a str or None, not {type(value).__name__}")
        if self.tied is not None and (self.scheme is not None or self.key is not None):
            raise ValueError(f"a tied tensor has neither scheme nor key of its own (it is {self.tied!r})")

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize


class Rule(NamedTuple):
    """What tensors whose name matches a glob get where they do not say themselves."""

    match: str
    scheme: Scheme
    layout: Layout | None = None
    dtype: str | None = None


@cache
def known_schemes() -> dict[str, type[Scheme]]:
    """Name every scheme that a plan's text may call: winit's own, and those of presets by their framework."""
    from winit import presets

    return {**schemes.named(), **presets.named()}


def _shown(name: str) -> str:
    """A name in a message: as it is where it prints on one line."""
    return name if name and name.isprintable() else repr(name)


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"names must be str, not {name!r}")
    stream_key(0, name)
    return name


class Plan(Mapping[str, Param]):
    """An ordered, immutable mapping from names to Params: everything that a model's weights are, but the seed.

    Parameters
    ----------
    params : mapping, or iterable of pairs, from name to Param or to a shape (a float32 whose scheme a rule gives).
    rules : iterable of (glob, scheme), (glob, scheme, layout) or (glob, scheme, layout, dtype). `*` crosses dots. The
        first glob that matches a name gives a bare shape its scheme, layout and dtype, and a Param without a scheme its
        scheme. Globs are those of fnmatchcase.

    Raises
    ------
    TypeError, ValueError : a tensor without a scheme, one key for two tensors, a tie to a tensor that is not there or
        tied itself, a scheme that its shape or dtype does not allow. The message begins with the tensor's name.

    >>> import winit
    >>> plan = Plan({"fc.weight": (300, 784), "fc.bias": (300,)}, rules=[("*.bias", winit.zeros()),
    ...                                                                   ("*", winit.he_normal())])
    >>> plan.parameters
    235500
    >>> sorted(plan.build(seed=0))
    ['fc.bias', 'fc.weight']

    """

    def __init__(
        self,
        params: Mapping[str, Param | Sequence[int]] | Iterable[tuple[str, Param | Sequence[int]]] = (),
        rules: Iterable[Sequence[Any]] = (),
    ) -> None:
        checked = [self._rule(rule) for rule in rules]
        self._params: dict[str, Param] = {}
        for given, param in params.items() if isinstance(params, Mapping) else params:
            name = _check_name(given)
            if name in self._params:
                raise ValueError(f"{_shown(name)}: the plan has two tensors of this name")
            try:
                self._params[name] = self._complete(name, param, checked)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{_shown(name)}: {error}") from error
        self._check_ties()
        self._check_keys()
        if sum(param.nbytes for param in self._params.values() if param.tied is None) > MAX_SIZE:
            raise ValueError("the plan's tensors are more than 2^63 bytes together")

    @staticmethod
    def _rule(rule: Sequence[Any]) -> Rule:
        if isinstance(rule, str) or not 2 <= len(rule) <= 4 or not isinstance(rule[0], str):
            raise TypeError(f"a rule must be (glob, scheme[, layout[, dtype]]), not {rule!r}")
        checked = Rule(*rule)
        try:  # a rule is right or wrong whether or not a name matches it
            Param((), "float32" if checked.dtype is None else checked.dtype, checked.scheme, checked.layout or "oi")
            if checked.scheme is None:
                raise TypeError("scheme must be a winit scheme, not None")
        except (TypeError, ValueError) as error:
            raise type(error)(f"rule {checked.match!r}: {error}") from None
        return checked

    @staticmethod
    def _complete(name: str, param: Param | Sequence[int], rules: Sequence[Rule]) -> Param:
        shape_only = not isinstance(param, Param)
        complete = param if isinstance(param, Param) else Param(check_shape(param))
        if complete.tied is None and complete.scheme is None:
            rule = next((rule for rule in rules if fnmatchcase(name, rule.match)), None)
            if rule is None:
                raise ValueError("has no scheme, and no rule matches its name")
            complete = replace(complete, scheme=rule.scheme)
            if shape_only:
                complete = replace(
                    complete,
                    layout=complete.layout if rule.layout is None else rule.layout,
                    dtype=complete.dtype if rule.dtype is None else rule.dtype,
                )
        if complete.nbytes > MAX_SIZE:
            raise ValueError(f"shape {complete.shape} makes more than 2^63 bytes of {complete.dtype}")
        _check_values(complete)
        return complete

    def _check_ties(self) -> None:
        for name, param in self._params.items():
            if param.tied is None:
                continue
            target = self._params.get(param.tied)
            if target is None:
                raise ValueError(f"{_shown(name)}: tied to {param.tied!r}, which is not in the plan")
            if target.tied is not None:
                raise ValueError(f"{_shown(name)}: tied to {param.tied!r}, which is itself tied to {target.tied!r}")
            if param.shape not in ((), target.shape):
                raise ValueError(
                    f"{_shown(name)}: of shape {param.shape}, tied to {param.tied!r} of shape {target.shape}"
                )
            self._params[name] = Param(target.shape, target.dtype, layout=target.layout, tied=param.tied)

    def _check_keys(self) -> None:
        owners: dict[str, str] = {}
        for name, param in self._params.items():
            if param.tied is not None:
                continue
            key = self.key(name)
            if key in owners:
                raise ValueError(f"{_shown(name)}: has the key {key!r}, which {owners[key]!r} has already")
            owners[key] = name
            try:
                stream_key(0, key)
            except ValueError as error:
                raise ValueError(f"{_shown(name)}: {error}") from None

    # ---- the mapping

    def __getitem__(self, name: str) -> Param:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return list(self._params.items()) == list(other._params.items())

    def __hash__(self) -> int:
        return hash(tuple(self._params.items()))

    def __repr__(self) -> str:
        return f"<Plan of {len(self)} tensors, {self.parameters:,} parameters, {self.nbytes:,} bytes>"

    def key(self, name: str) -> str:
        """Return the name that keys a tensor's stream."""
        param = self._params[name]
        if param.tied is not None:
            return self.key(param.tied)
        return name if param.key is None else param.key

    @property
    def stored(self) -> dict[str, Param]:
        """The tensors that have values of their own: all but the tied ones."""
        return {name: param for name, param in self._params.items() if param.tied is None}

    @property
    def parameters(self) -> int:
        """Number of elements, tied tensors counted once."""
        return sum(param.size for param in self.stored.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, tied tensors counted once."""
        return sum(param.nbytes for param in self.stored.values())

    @cached_property
    def digest(self) -> str:
        """A fingerprint of the plan: BLAKE2b (16 bytes, hexadecimal) of its TOML text."""
        return blake2b(self.to_toml().encode(), digest_size=16, person=b"winit-plan-1").hexdigest()

    def with_dtype(self, dtype: str) -> Plan:
        """Return the plan with its floating-point tensors in another floating-point dtype.

        Raises
        ------
        ValueError : not float32, float64, float16 or bfloat16.

        """
        name = dtype_name(dtype)
        if name not in FLOATS:
            raise ValueError(f"dtype must be one of {', '.join(FLOATS)}, not {name!r}")
        return Plan(
            (key, replace(param, dtype=name) if param.dtype in FLOATS else param) for key, param in self.items()
        )

    # ---- drawing

    def build(self, *, seed: int, threads: int | None = None) -> dict[str, np.ndarray]:
        """Draw every tensor, as one batch over all threads.

        Parameters
        ----------
        seed : int, 0 <= seed < 2^64.
        threads : int or None, the processors this process may use.

        Returns
        -------
        dict : name -> array, in the plan's order. A tied name holds its target's array itself.

        Raises
        ------
        TypeError, ValueError : seed, threads. MemoryError : the arrays cannot be allocated. ImportError : bfloat16
            without ml_dtypes.

        """
        check_threads(threads)
        keys = {name: stream_key(seed, self.key(name)) for name in self.stored}
        arrays: dict[str, np.ndarray] = {}
        bound = []
        for name, param in self.stored.items():
            out = arrays[name] = empty(param.shape, numpy_dtype(param.dtype))
            assert param.scheme is not None
            bound.append(bind(out, param.dtype, param.scheme, keys[name], param.shape, param.layout, None, None))
        run(bound, threads)
        return {name: arrays[name if param.tied is None else param.tied] for name, param in self.items()}

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int,
        overwrite: bool = False,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Draw every tensor straight into a safetensors file; see winit.checkpoint.write."""
        from winit.checkpoint import write

        write(self, path, seed=seed, overwrite=overwrite, threads=threads, progress=progress)

    # ---- TOML

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str], parameters: Mapping[str, template.Value] | None = None) -> Plan:
        """Read a plan from TOML text, or from a file named by a path.

        Parameters
        ----------
        source : TOML text; or a path: any os.PathLike, or a str of one line that ends in ".toml".
        parameters : values instead of the defaults of the document's table [parameters]. docs/recipes.md describes
            what else such a document may hold.

        Raises
        ------
        ValueError : malformed TOML, an unknown key, scheme or parameter, names that overlap; one line that says where.
        TypeError : a parameter of another kind than its default. OSError : a file that cannot be read.

        >>> import winit
        >>> plan = Plan.from_toml('''
        ... dtype = "bfloat16"
        ... [tensors]
        ... "h.{0..2}.weight" = { shape = [8, 8] }
        ... [[rules]]
        ... match = "*.weight"
        ... scheme = "normal(std=0.02 / sqrt(2 * 3))"
        ... ''')
        >>> list(plan)
        ['h.0.weight', 'h.1.weight', 'h.2.weight']
        >>> Plan.from_toml(plan.to_toml()) == plan
        True
        >>> text = '''
        ... [parameters]
        ... dim = 64
        ... layers = 12
        ... [tensors]
        ... "h.{i=0..layers-1}.fc" = { shape = ["4 * dim", "dim"], scheme = "normal(std=0.02 / sqrt(i + 1))" }
        ... '''
        >>> plan = Plan.from_toml(text, {"dim": 96, "layers": 4})
        >>> plan["h.3.fc"].shape, plan["h.3.fc"].scheme
        ((384, 96), normal(std=0.01))

        """
        if isinstance(source, os.PathLike) or (source.endswith(".toml") and "\n" not in source):
            path = Path(source)
            try:
                source = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
        try:
            return _Document(source, parameters or {}).plan()
        except RecursionError:
            raise ValueError("malformed TOML: nested too deeply") from None

    def to_toml(self) -> str:
        """Write the plan as TOML text that from_toml reads back to an equal plan."""
        lines = ["[tensors]"]
        for name, param in self.items():
            if param.tied is not None:
                lines.append(f"{_quote(_escape(name))} = {{ tied = {_quote(param.tied)} }}")
                continue
            fields = [f"shape = {list(param.shape)}", f"dtype = {_quote(param.dtype)}"]
            fields.append(f"scheme = {_quote(repr(param.scheme))}")
            if param.layout != "oi":
                fields.append(f"layout = {_quote(str(param.layout))}")
            if param.key is not None:
                fields.append(f"key = {_quote(param.key)}")
            lines.append(f"{_quote(_escape(name))} = {{ {', '.join(fields)} }}")
        return "\n".join(lines) + "\n"


def _check_values(param: Param) -> None:
    """Find out now what drawing the tensor would complain of."""
    scheme = param.scheme
    if scheme is None:
        return
    if param.dtype in FLOATS and not isinstance(scheme, literal):
        scheme.law(param.shape, param.layout).params(param.dtype)
        return
    if isinstance(scheme, literal) and scheme.values.shape != param.shape:
        raise ValueError(f"literal values have shape {scheme.values.shape}, the tensor has {param.shape}")
    exact_values(scheme, param.dtype)


# ---- reading and writing TOML

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_TENSOR_KEYS = ("shape", "dtype", "scheme", "layout", "key", "tied")
_TOP_KEYS = ("dtype", "layout", "tensors", "rules")
_TEMPLATE_TOP_KEYS = ("description", "parameters", "require", *_TOP_KEYS)


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _escape(name: str) -> str:
    """Keep a name that looks like a range from being read as one."""
    return _RANGE.sub(lambda match: "{{" + match[0][1:-1] + "}}", name)


def expand(pattern: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Names of a pattern: every {a..b} runs from a to b inclusive; {{a..b}} is the text {a..b}.

    >>> [name for name, _ in expand("h.{0..1}.w")]
    ['h.0.w', 'h.1.w']
    """
    pieces = re.split(r"(\{\{\d+\.\.\d+\}\}|\{\d+\.\.\d+\})", pattern)
    choices: list[list[str]] = []
    for piece in pieces:
        match = _RANGE.fullmatch(piece)
        if match:
            first, last = int(match[1]), int(match[2])
            if first > last:
                raise ValueError(f"the range {piece} runs backwards")
            if last - first >= 1_000_000:
                raise ValueError(f"the range {piece} makes more than a million names")
            choices.append([str(i) for i in range(first, last + 1)])
        elif piece.startswith("{{") and _RANGE.fullmatch(piece[1:-1]):
            choices.append([piece[1:-1]])
        else:
            choices.append([piece])
    if prod(len(choice) for choice in choices) > 1_000_000:
        raise ValueError("makes more than a million names")
    ranged = [i for i, piece in enumerate(pieces) if _RANGE.fullmatch(piece)]
    return [("".join(parts), [(pieces[i], parts[i]) for i in ranged]) for parts in product(*choices)]


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table, not {value!r}")
    return value


def _only(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; there are: {', '.join(known)}")


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} must be a string, not {value!r}")
    return value


class _TomlRule(NamedTuple):
    """A rule of a document. What depends on the index of a range stays text until a tensor gives it."""

    match: str
    when: str | None
    scheme: Scheme | str
    layout: Layout | str | None
    dtype: str | None


class _Document:
    """A TOML document on its way to a plan: its parameters, rules and defaults.

    names : the parameters' values; None in a document without [parameters], where a brace is but a range of literal
        integers, and neither conditions nor expressions in shapes are known.
    """

    def __init__(self, source: str, given: Mapping[str, Any]) -> None:
        try:
            self.document = tomllib.loads(source)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"malformed TOML: {error}") from None
        self.names: dict[str, Any] | None = None
        if "parameters" in self.document:
            _only(self.document, _TEMPLATE_TOP_KEYS, "plan")
            _text(self.document, "description")
            self.names = dict(template.settle(_table(self.document["parameters"], "parameters"), given))
            template.check_requirements(self.document.get("require", []), self.names)
        else:
            _only(self.document, _TOP_KEYS, "plan")
            template.settle({}, given)
        dtype = _text(self.document, "dtype")
        self.dtype = "float32" if dtype is None else dtype
        self.layout = self._layout(self.document.get("layout", "oi"), self.names)
        listed = self.document.get("rules", [])
        if not isinstance(listed, list):
            raise ValueError("rules must be an array of tables, written [[rules]]")
        self.rules = [self._read_rule(entry, f"rules[{i}]") for i, entry in enumerate(listed)]

    def plan(self) -> Plan:
        params: dict[str, Param] = {}
        for pattern, entry in _table(self.document.get("tensors", {}), "tensors").items():
            alternatives = self._alternatives(entry, f"{_shown(pattern)} (quote names that have dots)")
            try:
                for fields in alternatives:
                    _only(fields, _TENSOR_KEYS if self.names is None else (*_TENSOR_KEYS, "when"), "tensor")
                for name, ranges, names in self._expand(pattern):
                    chosen = next((fields for fields in alternatives if self._holds(fields, names)), None)
                    if chosen is None:
                        continue
                    if name in params:
                        raise ValueError(f"{_shown(name)} is named twice")
                    params[name] = self._read_param(name, chosen, ranges, names)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{_shown(pattern)}: {error}") from None
        try:
            return Plan(params)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def _alternatives(self, entry: Any, where: str) -> list[dict[str, Any]]:
        """A tensor's tables: one, or of several the first whose `when` holds."""
        if self.names is None or not isinstance(entry, list):
            return [_table(entry, where)]
        tables = [_table(fields, f"{where}[{i}]") for i, fields in enumerate(entry)]
        if any("when" not in fields for fields in tables[:-1]):
            raise ValueError(f"{where}: what follows an alternative without 'when' is never reached")
        return tables

    def _expand(self, pattern: str) -> Iterable[tuple[str, list[tuple[str, str]], dict[str, Any] | None]]:
        if self.names is None:
            return ((name, ranges, None) for name, ranges in expand(pattern))
        return ((name, [], names) for name, names in template.expand(pattern, self.names))

    def _holds(self, fields: Mapping[str, Any], names: Mapping[str, Any] | None) -> bool:
        when = _text(fields, "when")
        return when is None or condition(when, names or {}, "when")

    def _scheme(self, text: Any, names: Mapping[str, Any] | None) -> Scheme:
        scheme: Scheme = parse_call(text, known_schemes(), "scheme", names, {**known_schemes(), "Axes": Axes})
        return scheme

    def _layout(self, text: Any, names: Mapping[str, Any] | None) -> Layout:
        if text in ("oi", "io"):
            return str(text)
        layout: Axes = parse_call(text, {"Axes": Axes}, "layout", names)
        return layout

    def _read_rule(self, entry: Any, where: str) -> _TomlRule:
        rule = _table(entry, where)
        keys = ("match", "scheme", "layout", "dtype")
        _only(rule, keys if self.names is None else (*keys, "when"), where)
        match, when = _text(rule, "match"), _text(rule, "when")
        if match is None or "scheme" not in rule:
            raise ValueError(f"{where} must have 'match' and 'scheme'")
        try:
            scheme, layout = rule["scheme"], rule.get("layout")
            # A rule is right or wrong whether or not a name matches it; but for `when`, which may guard a division.
            if when is None and self._known(scheme):
                scheme = self._scheme(scheme, self.names)
            if layout is not None and self._known(layout):
                layout = self._layout(layout, self.names)
            return _TomlRule(match, when, scheme, layout, _text(rule, "dtype"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} ({match}): {error}") from None

    def _known(self, text: Any) -> bool:
        """Tell whether a call can be evaluated without the index of a range."""
        if self.names is None or not isinstance(text, str):
            return True
        known = {part for name in known_schemes() for part in name.split(".")}
        return names_in(text) <= {*self.names, *RESERVED, *known, "Axes"}

    def _read_param(
        self,
        name: str,
        fields: Mapping[str, Any],
        ranges: Sequence[tuple[str, str]],
        names: Mapping[str, Any] | None,
    ) -> Param:
        """One tensor of a document. Braces in `key` and `tied` stand for the same numbers as in the name."""

        def filled(what: str) -> str | None:
            text = _text(fields, what)
            if text is None or names is not None:
                return text and template.fill(text, names or {}, what)
            # Ranges written alike stand for the name's in their order.
            for pattern in {pattern for pattern, _ in ranges}:
                own = [number for other, number in ranges if other == pattern]
                first, *rest = text.split(pattern)
                text = first + "".join(own[i % len(own)] + piece for i, piece in enumerate(rest))
            return text

        tied = filled("tied")
        if tied is not None:
            _only(fields, ("tied",) if names is None else ("tied", "when"), "tied tensor")
            return Param(tied=tied)
        if "shape" not in fields:
            raise ValueError("has no shape")
        if not isinstance(fields["shape"], list):
            raise ValueError(f"shape must be an array of integers, not {fields['shape']!r}")
        shape = fields["shape"]
        if names is not None:
            shape = [
                integer(size, names, f"shape[{i}]") if isinstance(size, str) else size for i, size in enumerate(shape)
            ]
        rule = next((rule for rule in self.rules if self._applies(rule, name, names)), None)
        if "scheme" in fields:
            scheme = self._scheme(fields["scheme"], names)
        elif rule is not None:
            scheme = rule.scheme if isinstance(rule.scheme, Scheme) else self._scheme(rule.scheme, names)
        else:
            raise ValueError("has no scheme, and no rule matches its name")
        layout, dtype = fields.get("layout"), _text(fields, "dtype")
        if rule is not None and "scheme" not in fields:
            layout = rule.layout if layout is None else layout
            dtype = rule.dtype if dtype is None else dtype
        layout = self.layout if layout is None else layout
        return Param(
            tuple(shape),
            self.dtype if dtype is None else dtype,
            scheme,
            layout if isinstance(layout, Axes) else self._layout(layout, names),
            filled("key"),
        )

    def _applies(self, rule: _TomlRule, name: str, names: Mapping[str, Any] | None) -> bool:
        if not fnmatchcase(name, rule.match):
            return False
        return rule.when is None or condition(rule.when, names or {}, f"rule {rule.match!r}: when")
