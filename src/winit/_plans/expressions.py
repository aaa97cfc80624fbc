"""The little arithmetic of plans: calls such as "normal(std=0.02)", and expressions over a plan's parameters.

Python's own parser reads the text; the operations below are all that is evaluated, and no name is looked up but those
handed in. Without names (plans that have no parameters) an argument is a literal, + - * / or sqrt; with names (see
Plan.from_toml) there are also // and %, comparisons, and / or / not, an item of a list, len and linspace.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from math import sqrt
from typing import Any

__all__ = ["RESERVED", "check_name", "condition", "evaluate", "integer", "names_in", "parse_call"]

Names = Mapping[str, Any]

_PLAIN = "arguments must be numbers, strings, lists, + - * / and sqrt()"
_FULL = (
    "an expression is made of numbers, strings, lists, names, + - * / // %, comparisons, and, or, not, x[i], sqrt(), "
    "len() and linspace()"
)
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
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
RESERVED = ("sqrt", "len", "linspace")


def check_name(name: str, what: str) -> str:
    """Return a name that an expression can use, or raise ValueError."""
    if not name.isidentifier() or iskeyword(name) or name in RESERVED:
        raise ValueError(f"{what} {name!r} must be a name other than Python's keywords and {', '.join(RESERVED)}")
    return name


def _evaluate(node: ast.expr, names: Names | None) -> Any:
    """A literal or an operation on literals; with names, all that the head of this file lists."""
    match node:
        case ast.UnaryOp(ast.USub(), operand):
            return -_number(operand, names)
        case ast.BinOp(left, operation, right) if type(operation) in _ARITHMETIC:
            return _ARITHMETIC[type(operation)](_number(left, names), _number(right, names))
        case ast.Call(ast.Name("sqrt"), [argument], []):
            return sqrt(_number(argument, names))
        case ast.List(items):
            return [_evaluate(item, names) for item in items]
        case ast.Tuple(items):
            return tuple(_evaluate(item, names) for item in items)
        case ast.Constant(bool() | int() | float() | str() | None as value):
            return value
    if names is None:
        raise ValueError(_PLAIN)
    match node:
        case ast.Name(name):
            if name not in names:
                raise ValueError(f"{name!r} is not known; there are: {', '.join(names) or 'no names'}")
            return names[name]
        case ast.BinOp(left, operation, right) if type(operation) in _INTEGER_ARITHMETIC:
            return _INTEGER_ARITHMETIC[type(operation)](_whole(left, names), _whole(right, names))
        case ast.UnaryOp(ast.Not(), operand):
            return not _truth(operand, names)
        case ast.BoolOp(ast.And(), values):
            return all(_truth(value, names) for value in values)
        case ast.BoolOp(ast.Or(), values):
            return any(_truth(value, names) for value in values)
        case ast.Compare(first, operations, others) if all(type(how) in _COMPARISONS for how in operations):
            numbers = [_number(operand, names) for operand in (first, *others)]
            pairs = zip(operations, numbers, numbers[1:], strict=False)
            return all(_COMPARISONS[type(how)](a, b) for how, a, b in pairs)
        case ast.Subscript(values, index):
            return _item(_list(values, names), _whole(index, names))
        case ast.Call(ast.Name("len"), [argument], []):
            return len(_list(argument, names))
        case ast.Call(ast.Name("linspace"), [first, last, count], []):
            return _linspace(_number(first, names), _number(last, names), _whole(count, names))
    raise ValueError(_FULL)


def _number(node: ast.expr, names: Names | None) -> int | float:
    value = _evaluate(node, names)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a number")
    return value


def _whole(node: ast.expr, names: Names) -> int:
    value = _evaluate(node, names)
    if type(value) is not int:
        raise ValueError(f"{value!r} is not an integer, which //, %, indices and counts need")
    return value


def _truth(node: ast.expr, names: Names) -> bool:
    value = _evaluate(node, names)
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _list(node: ast.expr, names: Names) -> list[Any]:
    value = _evaluate(node, names)
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list")
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
        raise ValueError(f"{what} {text!r} is not an expression")
    try:
        return _evaluate(tree, names)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{what} {text!r}: {error}") from None


def integer(text: str, names: Names, what: str) -> int:
    """Evaluate an expression whose value must be an integer; nothing is rounded to one.

    >>> integer("4 * dim", {"dim": 768}, "shape")
    3072
    """
    value = evaluate(text, names, what)
    if type(value) is not int:
        hint = " (// divides integers)" if isinstance(value, float) else ""
        raise ValueError(f"{what} {text!r} is {value!r}, not an integer{hint}")
    return value


def condition(text: str, names: Names, what: str) -> bool:
    """Evaluate an expression whose value must be true or false.

    >>> condition("dim % heads == 0", {"dim": 768, "heads": 12}, "when")
    True
    """
    value = evaluate(text, names, what)
    if not isinstance(value, bool):
        raise ValueError(f"{what} {text!r} is {value!r}, neither true nor false")
    return value


def names_in(text: str) -> set[str]:
    """Find the names that an expression uses, those of functions included; none in what is no expression.

    >>> sorted(names_in("normal(std=0.02 / sqrt(2 * layers))"))
    ['layers', 'normal', 'sqrt']
    """
    tree = _parse(text)
    return set() if tree is None else {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _called(node: ast.expr) -> str | None:
    """The name that a call calls: a name, or two with a dot between."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(module), name):
            return f"{module}.{name}"
    return None


def parse_call(
    text: Any,
    known: Mapping[str, Callable[..., Any]],
    what: str,
    names: Names | None = None,
    inner: Mapping[str, Callable[..., Any]] | None = None,
) -> Any:
    """Evaluate one call of a known name, such as "normal(std=0.02)"; nothing else is executed.

    An argument may be a call of its own, of a name in `inner`.
    """
    if not isinstance(text, str):
        raise ValueError(f"{what} must be a string, not {text!r}")
    tree = _parse(text)
    if isinstance(tree, ast.Name):
        raise ValueError(f"{what} {text!r} needs parentheses: '{text.strip()}()'")
    called = _called(tree.func) if isinstance(tree, ast.Call) else None
    if not isinstance(tree, ast.Call) or called is None:
        raise ValueError(f"{what} {text!r} is not a call such as 'normal(std=0.02)'")
    if called not in known:
        raise ValueError(f"{what} {called!r} is not known; there are: {', '.join(known)}")

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
        raise ValueError(f"{what} {text!r}: {error}") from None
