"""Plans: what a model's tensors are called, their shapes, dtypes and schemes, from Python, from rules or from TOML."""

from __future__ import annotations

import ast
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import blake2b
from itertools import product
from math import prod, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from winit import schemes
from winit.fill import bind, dtype_name, empty, exact_values, numpy_dtype, run
from winit.keys import stream_key
from winit.schemes.base import Scheme
from winit.schemes.constant import literal
from winit.shapes import MAX_SIZE, Axes, Layout, Shape, check_layout, check_shape
from winit.threads import check_threads

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
    def from_toml(cls, source: str | os.PathLike[str]) -> Plan:
        """Read a plan from TOML text, or from a file named by a path.

        Parameters
        ----------
        source : TOML text; or a path: any os.PathLike, or a str of one line that ends in ".toml".

        Raises
        ------
        ValueError : malformed TOML, an unknown key or scheme, names that overlap; one line that says where.
        OSError : a file that cannot be read.

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

        """
        if isinstance(source, os.PathLike) or (source.endswith(".toml") and "\n" not in source):
            path = Path(source)
            try:
                source = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
        try:
            return _read_toml(source)
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


def _evaluate(node: ast.expr) -> Any:
    """A literal, or arithmetic of numbers with + - * / and sqrt."""
    match node:
        case ast.UnaryOp(ast.USub(), operand):
            return -_number(operand)
        case ast.BinOp(left, ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as operation, right):
            a, b = _number(left), _number(right)
            if isinstance(operation, ast.Add):
                return a + b
            if isinstance(operation, ast.Sub):
                return a - b
            return a * b if isinstance(operation, ast.Mult) else a / b
        case ast.Call(ast.Name("sqrt"), [argument], []):
            return sqrt(_number(argument))
        case ast.List(items):
            return [_evaluate(item) for item in items]
        case ast.Tuple(items):
            return tuple(_evaluate(item) for item in items)
        case ast.Constant(bool() | int() | float() | str() as value):
            return value
    raise ValueError("arguments must be numbers, strings, lists, + - * / and sqrt()")


def _number(node: ast.expr) -> int | float:
    value = _evaluate(node)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a number")
    return value


def parse_call(text: str, known: Mapping[str, Callable[..., Any]], what: str) -> Any:
    """Evaluate one call of a known name, such as "normal(std=0.02)"; nothing else is executed."""
    if not isinstance(text, str):
        raise ValueError(f"{what} must be a string, not {text!r}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{what} {text!r} is not a call such as 'normal(std=0.02)'") from None
    if isinstance(tree, ast.Name):
        raise ValueError(f"{what} {text!r} needs parentheses: '{text.strip()}()'")
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ValueError(f"{what} {text!r} is not a call such as 'normal(std=0.02)'")
    if tree.func.id not in known:
        raise ValueError(f"{what} {tree.func.id!r} is not known; there are: {', '.join(known)}")
    try:
        if any(keyword.arg is None for keyword in tree.keywords):
            raise ValueError("** is not allowed")
        if len({keyword.arg for keyword in tree.keywords}) < len(tree.keywords):
            raise ValueError("an argument is given twice")
        arguments = [_evaluate(argument) for argument in tree.args]
        keywords = {keyword.arg: _evaluate(keyword.value) for keyword in tree.keywords if keyword.arg}
        return known[tree.func.id](*arguments, **keywords)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{what} {text!r}: {error}") from None


def _layout(text: Any) -> Layout:
    if text in ("oi", "io"):
        return str(text)
    layout: Axes = parse_call(text, {"Axes": Axes}, "layout")
    return layout


def _scheme(text: Any) -> Scheme:
    scheme: Scheme = parse_call(text, schemes.named(), "scheme")
    return scheme


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


def _read_toml(source: str) -> Plan:
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"malformed TOML: {error}") from None
    _only(document, _TOP_KEYS, "plan")
    dtype = _text(document, "dtype")
    dtype = "float32" if dtype is None else dtype
    layout = _layout(document.get("layout", "oi"))
    rules = []
    listed = document.get("rules", [])
    if not isinstance(listed, list):
        raise ValueError("rules must be an array of tables, written [[rules]]")
    for i, entry in enumerate(listed):
        where = f"rules[{i}]"
        rule = _table(entry, where)
        _only(rule, ("match", "scheme", "layout", "dtype"), where)
        match = _text(rule, "match")
        if match is None or "scheme" not in rule:
            raise ValueError(f"{where} must have 'match' and 'scheme'")
        try:
            own = _layout(rule["layout"]) if "layout" in rule else None
            rules.append(Rule(match, _scheme(rule["scheme"]), own, _text(rule, "dtype")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} ({match}): {error}") from None

    params: dict[str, Param] = {}
    for pattern, entry in _table(document.get("tensors", {}), "tensors").items():
        fields = _table(entry, f"{_shown(pattern)} (quote names that have dots)")
        try:
            _only(fields, _TENSOR_KEYS, "tensor")
            for name, ranges in expand(pattern):
                if name in params:
                    raise ValueError(f"{_shown(name)} is named twice")
                params[name] = _read_param(name, fields, ranges, rules, dtype, layout)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{_shown(pattern)}: {error}") from None
    try:
        return Plan(params)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _read_param(
    name: str,
    fields: Mapping[str, Any],
    ranges: Sequence[tuple[str, str]],
    rules: Sequence[Rule],
    dtype: str,
    layout: Layout,
) -> Param:
    """One tensor of a document. Ranges in `key` and `tied` stand for the same numbers as in the name."""

    def filled(text: str | None) -> str | None:
        # Ranges written alike stand for the name's in their order.
        for pattern in {pattern for pattern, _ in ranges}:
            own = [number for other, number in ranges if other == pattern]
            first, *rest = (text or "").split(pattern)
            text = text and first + "".join(own[i % len(own)] + piece for i, piece in enumerate(rest))
        return text

    tied = filled(_text(fields, "tied"))
    if tied is not None:
        _only(fields, ("tied",), "tied tensor")
        return Param(tied=tied)
    if "shape" not in fields:
        raise ValueError("has no shape")
    if not isinstance(fields["shape"], list):
        raise ValueError(f"shape must be an array of integers, not {fields['shape']!r}")
    rule = next((rule for rule in rules if fnmatchcase(name, rule.match)), None)
    if "scheme" in fields:
        scheme = _scheme(fields["scheme"])
    elif rule is not None:
        scheme = rule.scheme
    else:
        raise ValueError("has no scheme, and no rule matches its name")
    inherits = rule is not None and "scheme" not in fields
    own_layout = _layout(fields["layout"]) if "layout" in fields else None
    own_dtype = _text(fields, "dtype")
    return Param(
        tuple(fields["shape"]),
        own_dtype if own_dtype is not None else (rule.dtype if inherits and rule and rule.dtype else dtype),
        scheme,
        own_layout or (rule.layout if inherits and rule and rule.layout else layout),
        filled(_text(fields, "key")),
    )
