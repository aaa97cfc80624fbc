"""Checks of a caller's arguments: each returns the plain Python value, or says what was expected and what came."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Collection, Iterable
from typing import Any

__all__ = [
    "check_bool",
    "check_callable",
    "check_cuts",
    "check_integer",
    "check_not_negative",
    "check_number",
    "check_one_of",
    "check_path",
    "check_positive",
    "check_text",
    "check_threads",
    "integer_of",
    "items_of",
    "nearest",
    "shown",
    "shown_integer",
]

MOST_INTEGER = 1 << 64  # beyond what anything here is counted by


def shown(value: Any, most: int = 200) -> str:
    """Return the repr of a value, on one line and cut where it is long: a message must stay readable whatever came."""
    if type(value) is int:
        return shown_integer(value)
    try:
        text = repr(value)
    except RecursionError:
        raise
    except Exception as error:  # a caller's own __repr__; Python's for integers of thousands of digits inside of others
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    if not text.isprintable():  # arrays are printed on several lines
        text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return text if len(text) <= most else f"{text[: most - 30]}... ({len(text):,} characters)"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a name that is not known: the names that look like it, or nothing."""
    import difflib  # a millisecond, which only errors need

    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def check_number(value: Any, what: str) -> float:
    """Return a finite number as a float."""
    if type(value) is float and math.isfinite(value):
        return value
    number = _number(value, what)
    if not math.isfinite(number):
        raise ValueError(f"{what} must be finite, not {number!r}")
    return number


def _number(value: Any, what: str) -> float:
    """Return a number as a float, infinite or nan though it may be."""
    if type(value) is float:
        return value
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if (
        isinstance(value, (bool, complex, str, bytes, type))
        or not hasattr(value, "__float__")
        or (isinstance(kind, str) and kind in "bcmMSU")  # NumPy makes numbers of text and dates
        or getattr(value, "ndim", 0) != 0
        or hasattr(value, "mask")  # and of what is masked, with a warning
    ):
        raise TypeError(f"{what} must be a number, not {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{what} must be within the range of float64") from None
    except ValueError:
        raise ValueError(f"{what} must be a number, not {shown(value)}") from None
    except Exception as error:  # a caller's own __float__ may raise anything
        raise TypeError(f"{what} must be a number, not {shown(value)}{_whose(value, '__float__', error)}") from None
    return number


def check_cuts(low: Any, high: Any, names: tuple[str, str] = ("low", "high")) -> tuple[float, float]:
    """Return the cuts of a distribution as floats, the first less than the second; either may be infinite.

    >>> check_cuts(0, math.inf)
    (0.0, inf)
    """
    low, high = (_number(value, what) for value, what in zip((low, high), names, strict=True))
    for number, what in zip((low, high), names, strict=True):
        if math.isnan(number):
            raise ValueError(f"{what} must be a number, not nan")
    if not low < high:
        raise ValueError(f"{names[0]} must be less than {names[1]}, not {low!r} and {high!r}")
    return low, high


def check_not_negative(value: Any, what: str) -> float:
    """Return a finite number that is at least 0 as a float."""
    number = check_number(value, what)
    if number < 0:
        raise ValueError(f"{what} must not be negative, not {number!r}")
    return number


def check_positive(value: Any, what: str) -> float:
    """Return a finite number above 0 as a float."""
    number = check_number(value, what)
    if number <= 0:
        raise ValueError(f"{what} must be positive, not {number!r}")
    return number


def _whose(value: Any, method: str, error: Exception) -> str:
    """Say which of a caller's own methods raised what, unless it only said that it does not apply."""
    return "" if isinstance(error, TypeError) else f", whose {method} raises {type(error).__name__}"


def integer_of(value: Any) -> int | None:
    """Return a value as a plain int; None for a bool, and for what is no integer."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    try:
        return int(operator.index(value))
    except Exception:  # a caller's own __index__ may raise anything
        return None


def check_integer(value: Any, what: str, least: int | None = 1, most: int | None = MOST_INTEGER) -> int:
    """Return an integer that is at least `least`, and at most `most` in size."""
    if isinstance(value, bool):
        raise TypeError(f"{what} must be an integer, not bool")
    try:
        number = operator.index(value)
    except Exception as error:  # a caller's own __index__ may raise anything
        raise TypeError(
            f"{what} must be an integer, not {type(value).__name__}{_whose(value, '__index__', error)}"
        ) from None
    if least is not None and number < least:
        limit = "not be negative" if least == 0 else f"be at least {least}"
        raise ValueError(f"{what} must {limit}, not {shown_integer(number)}")
    if most is not None and abs(number) > most:
        raise ValueError(f"{what} must be at most 2^64, not {shown_integer(number)}")
    return number


def items_of(value: Any) -> list[Any] | None:
    """Return what an iterable holds; None for what is none, as arrays of no axes turn out only when they are asked."""
    try:
        items = iter(value)
    except TypeError:
        return None
    return list(items)


def shown_integer(number: int) -> str:
    """Return an integer as text; one of thousands of digits, which Python refuses to print, by its size."""
    return str(number) if abs(number) < 10**40 else f"an integer of {number.bit_length()} bits"


def check_bool(value: Any, what: str) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, not {shown(value)}")
    return value


def check_text(value: Any, what: str) -> str:
    """Return a str."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    return value


def check_callable(value: Any, what: str) -> None:
    """Raise unless a value is None or can be called."""
    if value is not None and not callable(value):
        raise TypeError(f"{what} must be a function or None, not {shown(value)}")


def check_one_of(value: Any, known: Collection[str], what: str) -> str:
    """Return one of the words that are known."""
    if type(value) is str and value in known:
        return value
    text = check_text(value, what)
    if text not in known:
        *first, last = map(repr, known)
        choice = f"{first[0]} or {last}" if len(first) == 1 else f"one of {', '.join([*first, last])}"
        raise ValueError(f"{what} must be {choice}, not {shown(value)}")
    return text


def check_path(path: Any, what: str = "path") -> str:
    """Return a path as text."""
    try:
        text = os.fspath(path)
    except Exception as error:  # a caller's own __fspath__ may raise anything
        raise TypeError(
            f"{what} must be a str or os.PathLike, not {type(path).__name__}{_whose(path, '__fspath__', error)}"
        ) from None
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str or os.PathLike, not {type(path).__name__}")
    if not text:
        raise ValueError(f"{what} must not be empty")
    if "\0" in text:
        raise ValueError(f"{what} must not hold a null character: {shown(text)}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {shown(text)} cannot be encoded in {error.encoding}: {error.reason}") from None
    return str.__str__(text)  # os.listdir takes an np.str_ for bytes


def check_threads(threads: Any) -> int | None:
    """Return a caller's number of threads as an int, or None for the processors that this process may use."""
    if threads is None:
        return None
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise TypeError(f"threads must be an integer or None, not {type(threads).__name__}")
    return check_integer(threads, "threads", most=None)  # more than there is work for are no error
