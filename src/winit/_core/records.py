"""Frozen records: comparable, hashable, picklable, with a repr that evaluates back.

What dataclasses do, for the handful of small classes that every import of winit needs: `dataclasses` compiles each
class's methods as it is made. docs/design.md has what importing took with it and takes without.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

__all__ = ["Record"]


class Record:
    """Base of classes whose fields are the parameters of their __init__, in that order."""

    __slots__ = ("_hash", "_identity")
    _hash: int
    _identity: tuple[Any, ...]
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        init = cls.__init__
        if init is not object.__init__:
            code = init.__code__
            cls._fields = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]

    def _set(self, *values: Any, identity: tuple[Any, ...] | None = None) -> None:
        """Give the fields their values; __init__ calls it once, after its checks.

        identity: what equality and hash go by, where that cannot be the values themselves.
        """
        for field, value in zip(self._fields, values, strict=True):
            object.__setattr__(self, field, value)
        # Types and reprs tell apart what == does not: True and 1, -0.0 and 0.0. Such laws differ in their bits.
        if identity is None:
            identity = (*(value or repr(value) for value in values), *map(type, values))
        identity = (type(self), *identity)
        object.__setattr__(self, "_identity", identity)
        object.__setattr__(self, "_hash", hash(identity))

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self._fields)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self is other or self._identity == other._identity

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), self._values())

    def __repr__(self) -> str:
        init: Any = type(self).__init__
        positional = self._fields[: init.__code__.co_argcount - 1]
        given = init.__defaults__ or ()
        defaults = {**dict(zip(positional[::-1], given[::-1], strict=False)), **(init.__kwdefaults__ or {})}
        shown = [
            f"{field}={value!r}"
            for field, value in zip(self._fields, self._values(), strict=True)
            if field not in defaults or repr(value) != repr(defaults[field])
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _build(cls: type[Record], values: tuple[Any, ...]) -> Record:
    """Make a record again from its fields, those that only have names too."""
    return cls(**dict(zip(cls._fields, values, strict=True)))
