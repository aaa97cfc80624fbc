"""Fill torch tensors in place, and add noise to them: winit.fill and winit.add for tensors and modules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import torch

from winit._core.bounds import Bound, Destination
from winit._core.checks import check_number, shown
from winit._core.drawing import check_destination, overlaps_itself
from winit._core.dtypes import FLOATS, scale_in
from winit._core.keys import stream_key
from winit._core.laws import INDEPENDENT, Law, drawn_on_devices
from winit._core.layouts import Axes, Layout, check_layout
from winit._core.running import INLINE, run_bounds
from winit._core.scheme import Scheme, check_scheme, law_of
from winit.torch.device import Staged, draws_on, needs_staging, on_device
from winit.torch.memory import KINDS, PLAIN, check_tensor, memory_of, written
from winit.torch.naming import named_parameters
from winit.torch.sharded import is_sharded, local_boxes

__all__ = ["add_", "bounds_to", "fill_", "pieces_of"]

_Filled = TypeVar("_Filled", bound=torch.Tensor)


def fill_(tensor: _Filled, scheme: Scheme, *, seed: int, name: str = "", layout: Layout = "oi") -> _Filled:
    """Fill a tensor in place with what winit.draw would return.

    Parameters
    ----------
    tensor : torch.Tensor of any strides. One on a CUDA or ROCm device is drawn there where Triton is installed, on the
        current stream (winit.engines()["triton"]); laws whose elements depend on each other, and tensors on other
        devices, are drawn on the CPU and copied over, block by block. One on the meta device, which has no values, is
        left as it is.
        It may require a gradient, and be an inference tensor: what is recorded of it does not change. Of a DTensor the
        local part alone is filled, with the values that it has in the whole; fans are those of the global shape.
    scheme : as winit.he_normal() returns it.
    seed : int, 0 <= seed < 2^64.
    name : str. The tensor's name; give every tensor of a model its own.
    layout : "oi", torch's own, "io" or winit.Axes.

    Returns
    -------
    tensor.

    Raises
    ------
    TypeError, ValueError : as winit.fill; a sparse or quantised tensor, a lazy one without a shape, one inside vmap.

    >>> import torch, winit
    >>> from winit.torch import fill_
    >>> weight = torch.nn.Linear(3, 2).weight
    >>> fill_(weight, winit.he_normal(), seed=0, name="fc.weight") is weight
    True
    >>> bool((weight.detach().numpy() == winit.draw(winit.he_normal(), (2, 3), seed=0, name="fc.weight")).all())
    True

    """
    if torch.compiler.is_compiling():
        torch.ops.winit.fill_(tensor, _text(scheme), _signed(seed), name, _text(layout))
        return tensor
    check_scheme(scheme)
    key = stream_key(seed, name)
    if type(layout) is not str or layout != "oi":
        check_layout(layout)
    if _fill_small(tensor, scheme, key, layout):
        return tensor
    if isinstance(tensor, torch.Tensor) and tensor.is_meta:
        check_tensor(tensor)
        return tensor
    run_bounds(bounds_to(tensor, scheme, key, layout), None)
    written(tensor)
    return tensor


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _text(value: Scheme | Layout) -> str:
    """A scheme or a layout as an operator takes it, worked out while a graph is made."""
    if not isinstance(value, str):
        if not isinstance(value, Axes):
            check_scheme(value)
        return repr(value)
    return value


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _signed(seed: int) -> int:
    """A seed as an operator takes it: 64 bits with a sign."""
    stream_key(seed)
    return seed - (1 << 64) if seed >= 1 << 63 else seed


def _fill_small(tensor: Any, scheme: Scheme, key: tuple[int, int], layout: Layout) -> bool:
    """Fill a small contiguous tensor, by its address where the law has a kernel; False for any other tensor.

    An array over a tensor, and a destination in it, took longer than torch takes for all of a small tensor.
    """
    if type(tensor) not in PLAIN or torch._C._len_torch_dispatch_stack():  # a mode may want to know
        return False
    try:
        if not tensor.is_cpu or not tensor.is_contiguous() or tensor.is_neg() or tensor.numel() > INLINE:
            return False
        kind, address = KINDS[tensor.dtype], tensor.data_ptr()
    except (RuntimeError, KeyError):  # no memory, or another dtype: fill_ says what is wrong
        return False
    if kind not in FLOATS:
        return False
    law = law_of(scheme, tensor.shape, layout, kind, "tensor must hold")
    if not isinstance(law, INDEPENDENT) or not law.fill_memory(address, tensor.numel(), kind, key):
        out = Destination(memory_of(tensor)[0], kind, key, tuple(tensor.shape), None, None)
        run_bounds([law.bind(out)], None)
    written(tensor)
    return True


class Piece(NamedTuple):
    """Memory of this process that belongs to a tensor: all of it, or a box."""

    out: torch.Tensor
    kind: str
    shape: tuple[int, ...]  # of the global tensor
    box: tuple[slice, ...] | None

    def bind(self, law: Law, key: tuple[int, int], scale: float | None = None) -> Bound:
        """Bind a law to it: its memory where there is a kernel, elsewhere by way of the CPU's."""
        if needs_staging(self.out):
            if type(self.out) in PLAIN and drawn_on_devices(law, self.kind) and draws_on(self.out.device):
                here: Any = on_device(self.out, self.kind)
                return law.bind(Destination(here, self.kind, key, self.shape, self.box, scale))
            return Staged(self.out, law, self.kind, key, self.shape, self.box, scale)
        array, _ = memory_of(self.out)
        return law.bind(Destination(array, self.kind, key, self.shape, self.box, scale))


def pieces_of(tensor: torch.Tensor, what: str = "tensor") -> list[Piece]:
    """Give the memory of a tensor: one piece, or the boxes of a DTensor that this process holds."""
    if not is_sharded(tensor):  # whatever it is that is no tensor at all
        return [Piece(*_checked(tensor, what), tuple(tensor.shape), None)]
    local, boxes = local_boxes(tensor, what)
    if not boxes:
        return []
    out, kind = _checked(local, what)
    return [Piece(out[where], kind, tuple(tensor.shape), box) for where, box in boxes]


def _checked(tensor: torch.Tensor, what: str) -> tuple[torch.Tensor, str]:
    """A tensor's values without what autograd knows of it, and the name of its dtype."""
    if isinstance(tensor, torch.Tensor) and needs_staging(tensor):
        check_tensor(tensor, what)
        elements = SimpleNamespace(shape=tuple(tensor.shape), strides=tensor.stride(), size=tensor.numel(), itemsize=1)
        if not tensor.is_contiguous() and overlaps_itself(elements):
            raise ValueError(f"{what} has elements that share memory (strides {tuple(tensor.stride())})")
        return tensor.data, KINDS[tensor.dtype]
    array, kind = memory_of(tensor, what)
    if tensor.is_conj():  # what has no memory of its own says so itself
        check_tensor(tensor, what)
    if not tensor.is_contiguous():
        check_destination(array, array.shape)
    return tensor.data, kind


def bounds_to(
    tensor: torch.Tensor, scheme: Scheme, key: tuple[int, int], layout: Layout = "oi", what: str = "tensor"
) -> list[Bound]:
    """Bind a scheme to all that this process holds of a tensor."""
    bounds = []
    for piece in pieces_of(tensor, what):
        if piece.out.is_complex() and not scheme.law(piece.shape, layout).any_dtype:
            raise TypeError(
                f"{what} is complex ({piece.kind}), and the scheme draws real numbers: fill torch.view_as_real({what})"
            )
        law = law_of(scheme, piece.shape, layout, piece.kind, "tensor must hold")
        bounds.append(piece.bind(law, key))
    return bounds


def _noise_to(piece: Piece, scheme: Scheme, key: tuple[int, int], scale: float, what: str) -> Bound:
    """Bind noise to a piece, to be added."""
    if piece.kind not in FLOATS:
        raise TypeError(f"{shown(what)} has the dtype {piece.out.dtype}, and noise is floating-point")
    rounded = scale_in(piece.kind, scale)
    return piece.bind(law_of(scheme, piece.shape, "oi", piece.kind), key, rounded)


def add_(
    target: _Filled | torch.nn.Module, scheme: Scheme, *, seed: int, name: str = "", scale: float = 1.0
) -> _Filled | torch.nn.Module:
    """Add scale times what winit.draw would return, to a tensor or to every parameter of a module.

    One pass that stores no noise: what MeZO and evolution strategies do, and undo with -scale.

    Parameters
    ----------
    target : torch.Tensor, as of fill_; or torch.nn.Module, each of whose parameters gets noise of its own, under
        `name/` and its name. Tied parameters get theirs once.
    scheme, seed : as of fill_.
    name : str. Of the noise, and needed for a module: noise under a weight's own seed and name repeats its words.
    scale : float, finite.

    Returns
    -------
    target.

    Raises
    ------
    TypeError, ValueError : as winit.add; a module without `name`, or with parameters that have no memory or no
        floating-point values: nothing is written then.

    >>> import torch, winit
    >>> from winit.torch import add_
    >>> model = torch.nn.Linear(3, 2)
    >>> before = model.weight.clone()
    >>> _ = add_(model, winit.normal(), seed=7, name="step 0", scale=0.5)
    >>> noise = torch.from_numpy(winit.draw(winit.normal(), (2, 3), seed=7, name="step 0/weight"))
    >>> torch.equal(model.weight, before + 0.5 * noise)
    True

    """
    if torch.compiler.is_compiling() and isinstance(target, torch.Tensor):
        torch.ops.winit.add_(target, _text(scheme), _signed(seed), name, scale)
        return target
    check_scheme(scheme)
    scale = check_number(scale, "scale")
    if not isinstance(target, torch.nn.Module):
        if isinstance(target, torch.Tensor) and target.is_meta:
            check_tensor(target, "target")
            return target
        key = stream_key(seed, name)
        run_bounds([_noise_to(piece, scheme, key, scale, "target") for piece in pieces_of(target, "target")], None)
        written(target)
        return target
    if not name:
        raise ValueError("the noise of a module needs a name, which with each parameter's own keys its stream")
    stream_key(seed, name)
    bounds, parameters = [], []
    for own, parameter in named_parameters(target):
        if parameter.is_meta:
            raise ValueError(f"{shown(own)} is on the meta device: noise cannot be added to what has no values")
        key = stream_key(seed, f"{name}/{own}")
        bounds += [_noise_to(piece, scheme, key, scale, own) for piece in pieces_of(parameter, own)]
        parameters.append(parameter)
    run_bounds(bounds, None)
    for parameter in parameters:
        written(parameter)
    return target
