"""One tensor of a plan, and the rules that say what tensors get where they do not say themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from winit._core.bounds import Destination
from winit._core.checks import check_bool, shown
from winit._core.dtypes import STORED, dtype_name, itemsize
from winit._core.laws import bind_to
from winit._core.layouts import Layout, check_layout
from winit._core.scheme import Scheme, check_scheme, law_of
from winit._core.shapes import MAX_SIZE, Shape, check_shape

if TYPE_CHECKING:
    from winit._core.bounds import Bound
    from winit._core.laws import Law

__all__ = ["Param", "Rule", "check_rule", "plain_text", "shown_name"]


def shown_name(name: str) -> str:
    """Return a name as messages show it: as it is where it prints on one line."""
    return name if name and name.isprintable() and len(name) <= 200 else shown(name)


def plain_text(value: Any) -> Any:
    """Return a text of a subclass of str, such as np.str_, as a str, and any other value as it is."""
    return str.__str__(value) if isinstance(value, str) else value


def _check_dtype(dtype: Any) -> str:
    name = dtype_name(dtype)
    if name not in STORED:
        raise ValueError(f"dtype must be one of {', '.join(STORED)}, not {name!r}")
    return plain_text(name)


def _is_dtype(value: Any) -> bool:
    try:
        dtype_name(value)
    except (TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True, repr=False)
class Param:
    """Describe one tensor of a plan.

    What is None comes from the first rule of the plan that matches the tensor's name, then from the document's own
    dtype and layout where the plan is read from TOML, and then is "float32" and "oi". A tensor that has a scheme of
    its own takes nothing from rules.

    Parameters
    ----------
    shape : tuple of int. The global shape. May be () with `tied`.
    scheme : a winit scheme; None where a rule of the plan gives it.
    dtype : str or dtype object (NumPy's, torch's, JAX's).
    layout : "oi", "io" or winit.Axes.
    key : str or None. The name that keys its stream, its own name by default: it keeps a tensor's values when the
        tensor is renamed. Two tensors of one key are copies, and all else of them must be equal.
    tied : str or None. The name of the plan's tensor that this one is. It has no values of its own; its shape and dtype
        are that tensor's.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value.

    >>> import winit
    >>> winit.Param((768, 768), winit.normal(std=0.02), "bfloat16")
    Param(shape=(768, 768), scheme=normal(std=0.02), dtype='bfloat16')

    """

    shape: Shape = ()
    scheme: Scheme | None = None
    dtype: str = None  # type: ignore[assignment]  # until a plan completes it
    layout: Layout = None  # type: ignore[assignment]  # likewise
    key: str | None = None
    tied: str | None = None

    def __init__(
        self,
        shape: int | Iterable[int] = (),
        scheme: Scheme | None = None,
        dtype: Any = None,
        layout: Layout | None = None,
        *,
        key: str | None = None,
        tied: str | None = None,
    ) -> None:
        if scheme is not None and not isinstance(scheme, Scheme):
            if not _is_dtype(scheme):
                check_scheme(scheme)
            raise TypeError(
                f"scheme must be a winit scheme such as winit.he_normal(), not {shown(scheme)}; "
                "the order is Param(shape, scheme, dtype, layout)"
            )
        if layout is not None:
            check_layout(layout)
        for what, value in (("key", key), ("tied", tied)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{what} must be a str or None, not {type(value).__name__}")
        if tied is not None and (scheme is not None or key is not None):
            raise ValueError(f"a tied tensor has neither scheme nor key of its own (it is {shown(tied)})")
        write = object.__setattr__
        write(self, "shape", check_shape(shape))  # type: ignore[arg-type]
        write(self, "scheme", scheme)
        write(self, "dtype", None if dtype is None else _check_dtype(dtype))
        write(self, "layout", plain_text(layout))
        write(self, "key", plain_text(key))
        write(self, "tied", plain_text(tied))
        if self.size * self.itemsize > MAX_SIZE:
            raise ValueError(f"shape {self.shape} makes more than 2^63 bytes of {self.dtype or 'float32'}")

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in vars(self).items() if value is not None]
        return f"Param({', '.join(shown)})"

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return itemsize(self.dtype or "float32")

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    def law(self) -> Law:
        """Return the law of the tensor's elements, or say what is wrong with it."""
        if self.scheme is None:
            raise ValueError("the tensor has no scheme of its own: rules of a plan give it one, or its tie")
        return law_of(self.scheme, self.shape, self.layout or "oi", self.dtype or "float32")

    def bind(self, out: Any, key: tuple[int, int], box: Any = None) -> Bound:
        """Bind the tensor, or a checked box of it, to an array of the box's shape, on a device or the CPU."""
        return bind_to(self.law(), Destination(out, self.dtype, key, self.shape, box))


@dataclass(frozen=True)
class Rule:
    """Say what tensors get whose name matches a pattern, where they do not say themselves.

    Parameters
    ----------
    match : str. A pattern: `*` is any run of characters, dots too; every other character is itself.
    scheme : a winit scheme.
    layout : "oi", "io", winit.Axes; or None, which leaves the layout as it is.
    dtype : str or dtype object; or None, which leaves the dtype as it is.
    optional : bool. Whether the pattern may match no name at all; a pattern that does is otherwise an error.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; the message begins with the rule's pattern.

    >>> import winit
    >>> rule = winit.Rule("*.weight", winit.he_normal(), dtype="bfloat16")
    >>> winit.Plan({"fc.weight": (4, 4)}, rules=[rule])["fc.weight"]
    Param(shape=(4, 4), scheme=he_normal(), dtype='bfloat16', layout='oi')

    """

    match: str
    scheme: Scheme
    layout: Layout | None = None
    dtype: str | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.match, str):
            raise TypeError(f"a rule's pattern must be a str, not {shown(self.match)}")
        object.__setattr__(self, "match", plain_text(self.match))
        try:  # a rule is right or wrong whether or not a name matches it
            check_scheme(self.scheme)
            if self.layout is not None:
                check_layout(self.layout)
                object.__setattr__(self, "layout", plain_text(self.layout))
            if self.dtype is not None:
                object.__setattr__(self, "dtype", _check_dtype(self.dtype))
            check_bool(self.optional, "optional")
        except (TypeError, ValueError) as error:
            raise type(error)(f"rule {shown(self.match)}: {error}") from None


def check_rule(rule: Any) -> Rule:
    """Return a caller's rule, or tuple, as a Rule."""
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, (tuple, list)) or not 2 <= len(rule) <= 5 or not isinstance(rule[0], str):
        raise TypeError(f"a rule must be (pattern, scheme[, layout[, dtype[, optional]]]), not {shown(rule)}")
    return Rule(*rule)
