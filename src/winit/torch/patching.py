"""Code that initialises a module in place, as it stands: what it draws comes from winit, under the tensors' names."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from winit._core.checks import shown
from winit._core.keys import stream_key
from winit._core.running import run_bounds
from winit._core.scheme import Scheme
from winit.torch.aten import OVERWRITE, law_of_random, number_of, schema_of, scheme_of_call, site
from winit.torch.capture import covers, geometry, row_of
from winit.torch.filling import bounds_to
from winit.torch.interception import swapped
from winit.torch.laws import changed, scheme_of, with_zero_row
from winit.torch.memory import written
from winit.torch.naming import named_buffers, named_parameters
from winit.torch.sharded import is_sharded, local_boxes

__all__ = ["patched"]

_aten = torch.ops.aten


@contextmanager
def patched(module: torch.nn.Module | None = None, *, seed: int) -> Iterator[None]:
    """Let winit draw what the block draws: for init_weights() and the like, which cannot be wrapped.

    What torch.nn.init and torch's random operations draw on the module's parameters and buffers, all of one or a part,
    comes from winit, keyed by the tensor's name, and by the index in the whole where it is a DTensor: every mesh gets
    the same weights, and initialising twice gives the same ones. On other tensors, which have no names, it is keyed by
    the order of the draws, and one warning says so. Values that are no law of winit's are drawn by torch under a seed
    that the name gives. Filling a row of a DTensor (a padding row) reaches the process that holds it.

    Parameters
    ----------
    module : torch.nn.Module, whose names count; None leaves the order of the draws alone to key them.
    seed : int, 0 <= seed < 2^64.

    Raises
    ------
    TypeError, ValueError : the wrong kind; a DTensor that is drawn by what no shard can draw alone.

    >>> import torch, winit.torch
    >>> model = torch.nn.Linear(4, 2)
    >>> with winit.torch.patched(model, seed=0):
    ...     model.reset_parameters()
    >>> built = winit.torch.build(lambda: torch.nn.Linear(4, 2), seed=0)
    >>> torch.equal(model.weight, built.weight)
    True

    """
    stream_key(seed)
    if module is not None and not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module or None, not {shown(module)}")
    patch = _Patch(module, seed)
    state = torch.random.get_rng_state()
    try:
        with swapped(patch), patch:
            yield
    finally:
        torch.random.set_rng_state(state)


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that has a tensor's memory here."""
    return tensor._local_tensor if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    memory = _memory(tensor)
    return tuple(memory.size()), memory.stride(), memory.storage_offset()


class _Named:
    """A tensor of the module, and the parts of it that were drawn so far."""

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.name, self.tensor = name, tensor
        self.parts: dict[tuple[Any, ...], int] = {}
        self.scheme: Scheme | None = None  # of all of it, as long as it is that

    def is_all(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is all of this one, lying as it does."""
        return _place(tensor) == _place(self.tensor)

    def key(self, tensor: torch.Tensor) -> str:
        """The name of a draw: the tensor's for all of it, and with a number for each part that was met."""
        if self.is_all(tensor):
            return self.name
        at = self.parts.setdefault(_place(tensor), len(self.parts))
        return self.name if at == 0 else f"{self.name}#{at}"


class _Patch(TorchDispatchMode):
    """Draws by winit where torch would draw."""

    def __init__(self, module: torch.nn.Module | None, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed, self.thread = seed, threading.get_ident()
        self.named: dict[int, _Named] = {}
        self.rows: dict[int, tuple[torch.Tensor, torch.Tensor, int]] = {}
        self.unnamed = 0
        for name, tensor in (*named_parameters(module), *named_buffers(module)) if module is not None else ():
            memory = _memory(tensor)
            if not memory.is_meta and memory.numel():
                self.named.setdefault(memory.untyped_storage()._cdata, _Named(name, tensor))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as of Capture

    def _found(self, tensor: torch.Tensor) -> _Named | None:
        memory = _memory(tensor)
        return None if memory.is_meta else self.named.get(memory.untyped_storage()._cdata)

    def key(self, tensor: torch.Tensor) -> str:
        found = self._found(tensor)
        if found is not None:
            return found.key(tensor)
        if self.unnamed == 0:
            warnings.warn(
                f"{site()} draws values for a tensor that is none of the module's: they are keyed by the order of such "
                "draws, and not by a name",
                stacklevel=2,
            )
        self.unnamed += 1
        return f"#{self.unnamed - 1}"

    def initialised(self, name: str, tensor: torch.Tensor, arguments: dict[str, Any], original: Any) -> Any:
        """A function of torch.nn.init was called."""
        if not isinstance(tensor, torch.Tensor) or tensor.is_meta or tensor.numel() == 0:
            return original(tensor, **arguments)
        scheme = scheme_of_call(name, tensor, arguments)
        if scheme is None:
            if is_sharded(tensor):
                raise ValueError(
                    f"nn.init.{name} in {site()} draws what winit does not, and every process would draw it for itself"
                )
            return original(tensor, **arguments)
        with torch.no_grad():
            self._fill(tensor, scheme)
        return tensor

    def _fill(self, tensor: torch.Tensor, scheme: Scheme) -> None:
        found = self._found(tensor)
        if found is not None and not found.is_all(tensor) and not is_sharded(tensor):
            # Independent elements may lie otherwise than they are drawn, as of a transpose: as in build.
            restated = scheme_of(scheme.law(tuple(tensor.shape)))
            if restated is not None and covers(tensor) and covers(found.tensor):
                tensor, scheme = found.tensor, restated
        key = stream_key(self.seed, self.key(tensor))
        if found is not None:
            found.scheme = scheme if found.is_all(tensor) else None
        with torch.utils._python_dispatch._disable_current_modes():
            run_bounds(bounds_to(tensor, scheme, key), None)
            written(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = schema_of(func)
        if not schema.random:
            return self._as_ever(func, args, kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.is_meta for tensor in tensors) or torch.device(kwargs.get("device") or "cpu").type == "meta":
            return func(*args, **kwargs)
        kwargs.pop("generator", None)
        writes = [args[i] if i < len(args) else kwargs.get(name) for i, name in schema.writes]
        scheme = law_of_random(func, args, kwargs, writes)
        if schema.writes:
            target = writes[0]
            if scheme is not None and len(schema.writes) == 1:
                self._fill(target, scheme)
                return target
            if is_sharded(target):
                raise ValueError(
                    f"{func.name()} in {site()} draws what winit does not, and every process would draw it for itself"
                )
        else:
            target = torch.empty(0)
        low, high = stream_key(self.seed, self.key(target))
        torch.manual_seed(low | high << 32)
        made = func(*args, **kwargs)
        if scheme is not None and isinstance(made, torch.Tensor):
            key = stream_key(self.seed, f"#{self.unnamed - 1}")
            run_bounds(bounds_to(made, scheme, key), None)
        return made

    def _zeroed(self, found: _Named, row: int | None, func: Any, args: Any) -> None:
        """Keep what is known of a tensor of which a part is written: a table's row that becomes 0."""
        before, found.scheme = found.scheme, None
        zero = func._overloadpacket is _aten.zero_ or (
            func._overloadpacket is _aten.fill_ and repr(number_of(args[1])) == "0.0"
        )
        if before is not None and row is not None and zero:
            found.scheme = with_zero_row(before.law(tuple(found.tensor.shape)), row)

    def _as_ever(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation that draws nothing.

        What scales all of a tensor that has a law draws it again by the law that it has then, as build does: one
        rounding. A row of a DTensor is remembered, since torch gives a copy of it.
        """
        for i, name in schema_of(func).writes:
            target = args[i] if i < len(args) else kwargs.get(name)
            found = self._found(target) if isinstance(target, torch.Tensor) else None
            if found is None or found.scheme is None:
                continue
            if i == 0 and not is_sharded(target) and not found.is_all(target):
                self._zeroed(found, row_of(geometry(found.tensor), geometry(target)), func, args)
                continue
            before, found.scheme = found.scheme, None
            size = tuple(found.tensor.shape)
            if i == 0 and found.is_all(target):
                operation = func._overloadpacket.__name__.removesuffix("_")
                after = changed(operation, before, size, args, kwargs, number_of)
                if after is not None:
                    self._fill(target, after)
                    return target
        if func._overloadpacket in OVERWRITE and args and id(args[0]) in self.rows:
            _, whole, row = self.rows[id(args[0])]
            found = self._found(whole)
            if found is not None:
                self._zeroed(found, row, func, args)
            local, boxes = local_boxes(whole)
            for where, box in boxes:
                if box[0].start <= row < box[0].stop:
                    held = local[where][row - box[0].start]
                    value = 0.0 if func._overloadpacket is _aten.zero_ else args[1]
                    held.copy_(value) if isinstance(value, torch.Tensor) and value.ndim else held.fill_(value)
        result = func(*args, **kwargs)
        if func is _aten.select.int and is_sharded(args[0]) and args[1] == 0:
            self.rows[id(result)] = (result, args[0], args[2] % args[0].shape[0])  # held, so that its id stays its own
        return result
