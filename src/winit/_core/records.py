"""Frozen records: comparable, hashable, picklable, with a repr that evaluates back.

What dataclasses do, for the handful of small classes that every import of winit needs: `dataclasses` compiles each
class's methods as it is made. docs/design.md has what importing took with it and takes without.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, NoReturn

__all__ = ["Factory", "Record"]


_set_field = object.__setattr__  # past Record's own, which freezes


class Factory:
    """The signature of a class as a factory: that of its __init__, whatever its __new__ looks at."""

    def __get__(self, record: Record | None, cls: type[Record]) -> Any:
        if record is not None:
            return None  # what a record itself is called with is its own affair
        from inspect import Signature, signature

        parameters = list(signature(cls.__init__).parameters.values())[1:]
        return Signature(parameters)


class Record:
    """Base of classes whose fields are their public annotated attributes, in the order of __init__'s parameters."""

    __slots__ = ("_hash", "_identity")
    _hash: int
    _identity: tuple[Any, ...]
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        own = (name for name, kind in cls.__annotations__.items() if not str(kind).startswith("ClassVar"))
        cls._fields = (*cls._fields, *(name for name in own if not name.startswith("_")))

    def _set(self, *values: Any, identity: tuple[Any, ...] | None = None) -> None:
        """Give the fields their values; __init__ calls it once, after its checks.

        identity: what equality and hash go by, where that cannot be the values themselves.
        """
        if not _EXACT.issuperset(map(type, values)):
            values = tuple(map(_plain, values))
        for field, value in zip(self._fields, values, strict=True):
            _set_field(self, field, value)
        if identity is not None:
            _set_field(self, "_identity", (type(self), *identity))

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self._fields)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self is other or self._told_by() == other._told_by()

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:  # most records are never looked up
            _set_field(self, "_hash", hash(self._told_by()))
            return self._hash

    def _told_by(self) -> tuple[Any, ...]:
        """What equality and hash go by, worked out when it is first asked for."""
        try:
            return self._identity
        except AttributeError:
            _set_field(self, "_identity", (type(self), *map(_distinct, self._values())))
            return self._identity

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), self._values())

    def __repr__(self) -> str:
        cls: Any = type(self)
        defaults = _defaults(cls)
        shown = [
            f"{field}={value!r}"
            for field, value in zip(self._fields, self._values(), strict=True)
            if field not in defaults or repr(value) != repr(defaults[field])
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


_EXACT = {float, int, bool, str, type(None)}


def _plain(value: Any) -> Any:
    """A value without what a subclass of its type adds: a member of an enumeration, or np.str_, prints otherwise.

    Two records are then equal exactly where they print alike, and a record's repr evaluates back.
    """
    if type(value) in _EXACT:
        return value
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return int.__int__(value) if isinstance(value, int) else value


def _distinct(value: Any) -> Any:
    """A value as equality and hash go by it: type and repr tell apart what == does not, at any depth.

    1 and True, 0.0 and -0.0 are equal, and records that hold them are not: their laws differ in their bits.
    """
    kind = type(value)
    if kind is tuple:
        return tuple(map(_distinct, value))
    return (kind, value or repr(value)) if kind in (float, int, bool, complex) else value


@lru_cache(maxsize=1024)
def _defaults(cls: Any) -> dict[str, Any]:
    """The defaults of a record's parameters; read once a class, when a record of it is first printed."""
    from inspect import signature

    parameters = signature(cls).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _build(cls: type[Record], values: tuple[Any, ...]) -> Record:
    """Make a record again from its fields, those that only have names too."""
    return cls(**dict(zip(cls._fields, values, strict=True)))
