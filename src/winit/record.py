"""Frozen records: comparable, hashable, picklable, with a repr that evaluates back.

What dataclasses do, for the handful of small classes that every import of winit needs: `dataclasses` brings `inspect`
and compiles each class's methods, 18 ms of the 45 that winit took to import with it (measured with -X importtime).
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self

__all__ = ["Record"]


class Record:
    """Base of classes whose fields are the parameters of their __init__, in that order."""

    __slots__ = ("_hash",)
    _hash: int | None
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        init = cls.__init__
        if init is not object.__init__:
            cls._fields = init.__code__.co_varnames[1 : init.__code__.co_argcount]

    def _set(self, *values: Any) -> None:
        """Give the fields their values; __init__ calls it once, after its checks."""
        for field, value in zip(self._fields, values, strict=True):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "_hash", None)

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self._fields)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        # The reprs tell apart what == does not: -0.0 and 0.0, True and 1. Laws that differ so give different bits.
        return self is other or (self._values() == other._values() and repr(self) == repr(other))

    def __hash__(self) -> int:
        found = self._hash
        if found is None:
            found = hash((type(self).__name__, *self._values()))
            object.__setattr__(self, "_hash", found)
        return found

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self._values()

    def __repr__(self) -> str:
        defaults: tuple[Any, ...] = type(self).__init__.__defaults__ or ()
        absent = object()
        padded = (absent,) * (len(self._fields) - len(defaults)) + defaults
        shown = [
            f"{field}={value!r}"
            for field, value, default in zip(self._fields, self._values(), padded, strict=True)
            if value != default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"
