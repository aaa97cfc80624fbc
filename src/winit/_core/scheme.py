"""What the door takes: a scheme, which a global shape and layout resolve to a law."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from winit import _kernels
from winit._core.checks import shown
from winit._core.dtypes import FLOATS
from winit._core.layouts import Axes, Layout, check_layout, fans
from winit._core.records import Factory, Record
from winit._core.shapes import Box, Shape, check_shape

if TYPE_CHECKING:
    import numpy as np

    from winit._core.laws import Law, Moments

__all__ = ["Scheme", "called", "check_scheme", "law_of", "shown_scheme"]


def _not_drawn(cls: type[Scheme], given: tuple[Any, ...], named: dict[str, Any]) -> TypeError:
    """Say how an array is drawn, where a scheme's class was called as winit.draw is."""
    from inspect import signature

    own = signature(cls).parameters
    shape = shown(named["shape"], 40) if "shape" in named else "shape"
    if given and "shape" not in named and (_is_shape(cls, given[0]) or not own):
        shape, given = shown(given[0], 40), given[1:]
    written = [shown(value, 40) for value in given]
    written += [f"{name}={shown(value, 40)}" for name, value in named.items() if name in own]
    call = f"{cls.__name__}({', '.join(written)})"
    seed = shown(named["seed"], 40) if "seed" in named else "0"
    return TypeError(
        f"{call} makes a scheme; winit.{call}({shape}, seed={seed}) or "
        f"winit.draw(winit.{call}, {shape}, seed={seed}) draws an array"
    )


def _is_shape(cls: type[Scheme], first: Any) -> bool:
    """Whether a scheme's first argument is no number of its own, but a shape."""
    return type(first) in (tuple, list) and not cls._of_values and all(type(size) is int for size in first)


class Scheme(Record):
    """Base of all schemes: what people ask for, such as winit.he_normal().

    A scheme is frozen, comparable and printable. Calling one draws an array, as winit.draw does: winit.he_normal()
    is a scheme, winit.he_normal()((256, 784), seed=0) an array.
    """

    __slots__ = ()
    _of_values: ClassVar[bool] = False  # whether a tuple or a list may be its first argument
    _small: bool = True  # whether a cache may hold the scheme: not one of arrays

    if not TYPE_CHECKING:  # which has the factory's parameters from __init__
        __signature__ = Factory()

        def __new__(cls, *given: Any, **named: Any) -> Scheme:
            if named and ("seed" in named or "shape" in named):
                raise _not_drawn(cls, given, named)
            if given and type(given[0]) in (tuple, list) and _is_shape(cls, given[0]):
                raise _not_drawn(cls, given, named)
            return object.__new__(cls)

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        """Resolve to the law of a tensor of this global shape and layout."""
        raise NotImplementedError

    def moments(self, shape: int | Sequence[int] = (), layout: Layout = "oi") -> Moments:
        """Return the law's mean, std, low and high in closed form.

        Parameters
        ----------
        shape : tuple of int. Global shape; schemes without fans do not look at it.
        layout : "oi", "io" or winit.Axes.

        >>> import winit
        >>> winit.xavier_uniform().moments((300, 300)).high
        0.1

        """
        check_layout(layout)
        return self.law(check_shape(shape), layout).moments()

    def __call__(
        self,
        shape: int | Sequence[int],
        *,
        seed: int,
        name: str = "",
        dtype: Any = "float32",
        layout: Layout = "oi",
        box: Box | None = None,
        threads: int | None = None,
    ) -> np.ndarray:
        """Draw a new array: winit.draw(self, shape, ...)."""
        from winit._core.drawing import draw

        return draw(self, shape, seed=seed, name=name, dtype=dtype, layout=layout, box=box, threads=threads)


def check_scheme(scheme: Any, what: str = "scheme") -> None:
    """Raise unless a caller's scheme is one."""
    if isinstance(scheme, Scheme):
        return
    hint = ""
    preset = isinstance(scheme, FunctionType) and scheme.__module__.startswith("winit.presets.")
    if preset or (isinstance(scheme, type) and issubclass(scheme, Scheme)):
        hint = f"; did you mean {scheme.__name__}()?"
    elif isinstance(scheme, str):
        name = scheme.partition("(")[0].strip()
        name = name if name.isidentifier() and len(name) < 40 else "he_normal"
        hint = f"; text stands for schemes in TOML alone, and here it is winit.{name}()"
    raise TypeError(f"{what} must be a winit scheme such as winit.he_normal(), not {shown(scheme)}{hint}")


def called(name: str, scheme: Scheme) -> Scheme:
    """Return a scheme, of a class with room for it, that messages call by the name of the function that makes it."""
    object.__setattr__(scheme, "_called", name)
    return scheme


def shown_scheme(scheme: Scheme) -> str:
    """Return what a message calls a scheme: its repr, or the function of the presets that its caller called."""
    return getattr(scheme, "_called", "") or shown(scheme)


@lru_cache(maxsize=4096)
def _law_of(scheme: Scheme, shape: Shape, layout: Layout, dtype: str, wanted: str) -> Law:
    if isinstance(layout, Axes):
        fans(shape, layout)  # axes that the shape does not have are wrong for every scheme
    with _kernels.default_float_mode():
        law = scheme.law(shape, layout)
        if dtype not in FLOATS and not law.any_dtype:
            raise TypeError(
                f"{shown_scheme(scheme)} draws floating-point values, so {wanted} one of {', '.join(FLOATS)}, "
                f"not {dtype}"
            )
        law.params(dtype)
    return law


def law_of(scheme: Scheme, shape: Shape, layout: Layout, dtype: str, wanted: str = "dtype must be") -> Law:
    """Resolve a scheme to a law that has values in a dtype, or say what is wrong with it.

    Remembered, so that the next tensor of the kind costs a look-up.
    """
    found = _law_of if scheme._small else _law_of.__wrapped__
    return found(scheme, shape, layout, dtype, wanted)
