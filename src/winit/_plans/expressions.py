"""The little arithmetic of plans: calls such as "normal(std=0.02)", and expressions over a plan's parameters.

Python's own parser reads the text; the operations below are all that is evaluated, and no name is looked up but those
handed in.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import Any

from winit._core.checks import nearest, shown

__all__ = [
    "RESERVED",
    "check_name",
    "evaluate",
    "evaluate_condition",
    "evaluate_integer",
    "names_in",
    "parse_call",
    "shown_text",
]

Names = Mapping[str, Any]

_GRAMMAR = (
    "an expression is made of numbers, inf, strings, lists, names, + - * / // % **, comparisons, and, or, not, "
    "a if c else b, x[i], and min(), max(), round(), ceil(), floor(), sqrt(), log(), len() and linspace()"
)
_MOST_BITS = 4096  # of an integer: what ** could make of a few characters


def _divided(a: Any, b: Any) -> Any:
    if b == 0:
        raise ValueError("division by zero")
    return a / b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and abs(a) > 1 and abs(b) * a.bit_length() > _MOST_BITS:
        raise ValueError("** makes a number that is too large")
    value = a**b
    if isinstance(value, complex):
        raise ValueError(f"{a!r} ** {b!r} is not a real number")
    return value


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divided,
    ast.Pow: _power,
}
_INTEGER_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "round": round,  # to the nearest integer, halves to the even one
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "log": math.log,
}
_INFINITE = {"inf": math.inf}  # what an infinite number prints as
_CHOICES: dict[str, Callable[..., Any]] = {"min": min, "max": max}
RESERVED = (*_FUNCTIONS, *_CHOICES, "len", "linspace", *_INFINITE)


def shown_text(text: Any) -> str:
    """Return a text of a document as messages echo it: whole where it is short."""
    return text if isinstance(text, str) and len(text) <= 120 and text.isprintable() else shown(text, 120)


def check_name(name: str, what: str) -> str:
    """Return a name that an expression can use, or raise ValueError."""
    if not name.isidentifier() or iskeyword(name) or name in RESERVED:
        raise ValueError(f"{what} {name!r} must be a name other than Python's keywords and {', '.join(RESERVED)}")
    return name


def _evaluate(node: ast.expr, names: Names) -> Any:
    """Evaluate a node of the grammar; ValueError for any other."""
    match node:
        case ast.Constant(bool() | int() | float() | str() | None as value):
            return value
        case ast.Name(name):
            if name in _INFINITE:
                return _INFINITE[name]
            if name not in names:
                known = ", ".join(names) or "no names"
                raise ValueError(f"{shown_text(name)!r} is not known{nearest(name, names)}; there are: {known}")
            return names[name]
        case ast.List(items):
            return [_evaluate(item, names) for item in items]
        case ast.Tuple(items):
            return tuple(_evaluate(item, names) for item in items)
        case ast.UnaryOp(ast.USub(), operand):
            return -_number(operand, names)
        case ast.UnaryOp(ast.UAdd(), operand):
            return _number(operand, names)
        case ast.UnaryOp(ast.Not(), operand):
            return not _truth(operand, names)
        case ast.BinOp(left, operation, right) if type(operation) in _ARITHMETIC:
            return _ARITHMETIC[type(operation)](_number(left, names), _number(right, names))
        case ast.BinOp(left, operation, right) if type(operation) in _INTEGER_ARITHMETIC:
            dividend, divisor = _integer(left, names), _integer(right, names)
            if divisor == 0:
                raise ValueError("division by zero")
            return _INTEGER_ARITHMETIC[type(operation)](dividend, divisor)
        case ast.BoolOp(ast.And(), values):
            return all(_truth(value, names) for value in values)
        case ast.BoolOp(ast.Or(), values):
            return any(_truth(value, names) for value in values)
        case ast.IfExp(test, body, orelse):
            return _evaluate(body if _truth(test, names) else orelse, names)
        case ast.Compare(first, operations, others) if all(type(how) in _COMPARISONS for how in operations):
            numbers = [_number(operand, names) for operand in (first, *others)]
            pairs = zip(operations, numbers, numbers[1:], strict=False)
            return all(_COMPARISONS[type(how)](a, b) for how, a, b in pairs)
        case ast.Subscript(values, index):
            return _item(_list(values, names), _integer(index, names))
        case ast.Call(ast.Name(name), [argument], []) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_number(argument, names))
        case ast.Call(ast.Name(name), [_, *_] as arguments, []) if name in _CHOICES:
            return _CHOICES[name](_number(argument, names) for argument in arguments)
        case ast.Call(ast.Name("len"), [argument], []):
            return len(_list(argument, names))
        case ast.Call(ast.Name("linspace"), [first, last, count], []):
            return _linspace(_number(first, names), _number(last, names), _integer(count, names))
    raise ValueError(_GRAMMAR)


def _number(node: ast.expr, names: Names) -> int | float:
    value = _evaluate(node, names)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{shown(value)} is not a number")
    return value


def _integer(node: ast.expr, names: Names) -> int:
    value = _evaluate(node, names)
    if type(value) is not int:
        raise ValueError(f"{shown(value)} is not an integer, which //, %, indices and counts need")
    return value


def _truth(node: ast.expr, names: Names) -> bool:
    value = _evaluate(node, names)
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def _list(node: ast.expr, names: Names) -> list[Any]:
    value = _evaluate(node, names)
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is not a list")
    return value


def _item(values: Sequence[Any], index: int) -> Any:
    if not 0 <= index < len(values):
        raise ValueError(f"index {index} is outside a list of {len(values)}")
    return values[index]


def _linspace(first: float, last: float, count: int) -> list[float]:
    """`count` numbers from first to last in equal steps; one number is `first`."""
    if not 1 <= count <= 1_000_000:
        raise ValueError(f"linspace() makes 1 to a million numbers, not {count}")
    return [first + (last - first) * i / max(count - 1, 1) for i in range(count)]


def _parse(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def evaluate(text: str, names: Names, what: str) -> Any:
    """Evaluate an expression over names.

    >>> evaluate("[3 * dim, dim // heads]", {"dim": 768, "heads": 12}, "shape")
    [2304, 64]
    """
    tree = _parse(text)
    if tree is None:
        raise ValueError(f"{what} {shown_text(text)!r} is not an expression")
    try:
        return _evaluate(tree, names)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{what} {shown_text(text)!r}: {error}") from None


def evaluate_integer(text: str, names: Names, what: str) -> int:
    """Evaluate an expression whose value must be an integer; nothing is rounded to one.

    >>> evaluate_integer("4 * dim", {"dim": 768}, "shape")
    3072
    """
    value = evaluate(text, names, what)
    if type(value) is not int:
        hint = " (// divides integers)" if isinstance(value, float) else ""
        raise ValueError(f"{what} {shown_text(text)!r} is {shown(value)}, not an integer{hint}")
    return value


def evaluate_condition(text: str, names: Names, what: str) -> bool:
    """Evaluate an expression whose value must be true or false.

    >>> evaluate_condition("dim % heads == 0", {"dim": 768, "heads": 12}, "when")
    True
    """
    value = evaluate(text, names, what)
    if not isinstance(value, bool):
        raise ValueError(f"{what} {shown_text(text)!r} is {shown(value)}, neither true nor false")
    return value


def names_in(text: str) -> set[str]:
    """Find the names that an expression uses, those of functions included; none in what is no expression.

    >>> sorted(names_in("normal(std=0.02 / sqrt(2 * layers))"))
    ['layers', 'normal', 'sqrt']
    """
    tree = _parse(text)
    return set() if tree is None else {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _called(node: ast.expr | None) -> str | None:
    """The name that a call calls: a name, or two with a dot between."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(module), name):
            return f"{module}.{name}"
    return None


def _nearest_call(name: str, known: Mapping[str, Any]) -> str:
    hint = nearest(name, known)
    if hint or len(known) <= 12:
        return hint or f"; there are: {', '.join(known)}"
    return f"; there are {len(known)}, such as {', '.join(list(known)[:4])}"


def parse_call(
    text: Any,
    known: Mapping[str, Callable[..., Any]],
    what: str,
    names: Names,
    inner: Mapping[str, Callable[..., Any]] | None = None,
    example: str = "normal(std=0.02)",
) -> Any:
    """Evaluate one call of a known name, such as "normal(std=0.02)"; nothing else is executed.

    An argument may be a call of its own, of a name in `inner`.
    """
    if not isinstance(text, str):
        raise ValueError(f"{what} must be a string, not {shown(text)}")
    tree = _parse(text)
    called = _called(tree.func if isinstance(tree, ast.Call) else tree)
    if called is not None and called in known and not isinstance(tree, ast.Call):
        raise ValueError(f"{what} {shown_text(text)!r} needs parentheses: '{text.strip()}()'")
    if called is not None and called not in known:
        raise ValueError(f"{what} {shown_text(called)!r} is not known{_nearest_call(called, known)}")
    if not isinstance(tree, ast.Call) or called is None:
        hint = " (an Axes' input axis is in_, since in is a word of Python)" if re.search(r"\bin\s*=", text) else ""
        raise ValueError(f"{what} {shown_text(text)!r} is not a call such as {example!r}{hint}")

    def call(node: ast.Call, function: Callable[..., Any]) -> Any:
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("** is not allowed")
        if len({keyword.arg for keyword in node.keywords}) < len(node.keywords):
            raise ValueError("an argument is given twice")
        arguments = [argument(each) for each in node.args]
        keywords = {keyword.arg: argument(keyword.value) for keyword in node.keywords if keyword.arg}
        return function(*arguments, **keywords)

    def argument(node: ast.expr) -> Any:
        name = _called(node.func) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Call) and inner is not None and name is not None and name in inner:
            return call(node, inner[name])
        return _evaluate(node, names)

    try:
        return call(tree, known[called])
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{what} {shown_text(text)!r}: {error}") from None
