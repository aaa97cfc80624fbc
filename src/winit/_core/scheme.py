"""What the door takes: a scheme, which a global shape and layout resolve to a law."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from winit import _kernels
from winit._core.checks import shown
from winit._core.dtypes import FLOATS
from winit._core.layouts import Axes, Layout, check_layout, fans
from winit._core.records import Record
from winit._core.shapes import Box, Shape, check_shape

if TYPE_CHECKING:
    import numpy as np

    from winit._core.laws import Law, Moments

__all__ = ["Scheme", "check_scheme", "law_of"]


class _Factory:
    """The signature of a scheme's class as a factory: that of its __init__, whatever __new__ looks at."""

    def __get__(self, scheme: Scheme | None, cls: type[Scheme]) -> Any:
        if scheme is not None:
            return None  # a scheme itself is called as winit.draw is
        from inspect import Signature, signature

        parameters = list(signature(cls.__init__).parameters.values())[1:]
        return Signature(parameters)


class Scheme(Record):
    """Base of all schemes: what people ask for, such as winit.he_normal().

    A scheme is frozen, comparable and printable. Calling one draws an array, as winit.draw does: winit.he_normal()
    is a scheme, winit.he_normal()((256, 784), seed=0) an array.
    """

    __slots__ = ()
    _small: ClassVar[bool] = True  # whether a cache may hold it

    if not TYPE_CHECKING:  # which has the factory's parameters from __init__
        __signature__ = _Factory()

        def __new__(cls, *given: Any, **named: Any) -> Scheme:
            if "seed" in named:
                shape = shown(given[0], 40) if given else shown(named.get("shape", ()), 40)
                call = f"{cls.__name__}(...)"
                raise TypeError(
                    f"{call} makes a scheme, which has no seed: winit.{call}({shape}, seed=...) or "
                    f"winit.draw(winit.{call}, {shape}, seed=...) draws an array"
                )
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
    if isinstance(scheme, type) and issubclass(scheme, Scheme):
        hint = f"; did you mean {scheme.__name__}()?"
    elif isinstance(scheme, str):
        name = scheme.partition("(")[0].strip()
        name = name if name.isidentifier() and len(name) < 40 else "he_normal"
        hint = f"; text stands for schemes in TOML alone, and here it is winit.{name}()"
    raise TypeError(f"{what} must be a winit scheme such as winit.he_normal(), not {shown(scheme)}{hint}")


@lru_cache(maxsize=4096)
def _law_of(scheme: Scheme, shape: Shape, layout: Layout, dtype: str, wanted: str) -> Law:
    if isinstance(layout, Axes):
        fans(shape, layout)  # axes that the shape does not have are wrong for every scheme
    with _kernels.default_float_mode():
        law = scheme.law(shape, layout)
        if dtype not in FLOATS and not law.any_dtype:
            raise TypeError(
                f"{shown(scheme)} draws floating-point values, so {wanted} one of {', '.join(FLOATS)}, not {dtype}"
            )
        law.params(dtype)
    return law


def law_of(scheme: Scheme, shape: Shape, layout: Layout, dtype: str, wanted: str = "dtype must be") -> Law:
    """Resolve a scheme to a law that has values in a dtype, or say what is wrong with it.

    Remembered, so that the next tensor of the kind costs a look-up.
    """
    found = _law_of if scheme._small else _law_of.__wrapped__
    return found(scheme, shape, layout, dtype, wanted)
