"""What a constructor draws, seen without drawing it.

While a Capture runs, the constructor runs for real on CPU memory that nobody has touched, and what is drawn is put off:
torch.nn.init's functions (their code is exchanged, so that every reference to them is met) and every random operation
of torch (a dispatch mode) are written down as events on the storages that they would have filled, and so is every other
operation that reads or writes such a storage. All else runs. At the end a storage either has a law, which winit fills
under the tensor's name, or is what torch makes of its events when they are done in order: laws by winit, other draws by
torch's generator under a seed that the name gives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from winit._core.dtypes import FLOATS
from winit._core.keys import stream_key
from winit._core.laws import Constant, Law
from winit._core.running import run_bounds
from winit._core.scheme import Scheme, law_of
from winit.torch import laws
from winit.torch.aten import (
    OVERWRITE,
    Schema,
    generator_of,
    law_of_random,
    number_of,
    schema_of,
    scheme_of_call,
    site,
    without_generator,
)
from winit.torch.filling import bounds_to
from winit.torch.interception import swapped
from winit.torch.memory import KINDS

__all__ = ["Capture", "Draw", "Ref", "covers", "geometry", "row_of"]

_aten = torch.ops.aten


class Ref(NamedTuple):
    """A tensor of a storage: which, and how its elements lie in it."""

    storage: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


@dataclass(eq=False)
class Draw:
    """One call that draws. scheme: its law; None where only torch draws it. key: the name that keys its stream."""

    call: str
    scheme: Scheme | None
    key: str | None
    named: bool = False  # whether the key is that of a tensor's name


@dataclass(eq=False)
class _Event:
    """One operation that was put off."""

    at: int
    call: Callable[..., Any]
    args: Any
    kwargs: Any
    written: list[Ref]
    read: set[int]
    fresh: int  # how many of what it writes, the first, are new tensors, and not its arguments
    whole: bool  # all of the one storage that it writes is overwritten, unread
    draw: Draw | None


class Known(NamedTuple):
    """What is known of all of a storage: it holds one draw's law, perhaps scaled, as a tensor that lies so."""

    scheme: Scheme
    ref: Ref
    draw: Draw


@dataclass
class _Held:
    """A storage whose contents are put off."""

    storage: torch.UntypedStorage
    base: torch.UntypedStorage | None  # what it held before
    known: Known | None = None
    events: list[_Event] = field(default_factory=list)


def geometry(tensor: torch.Tensor) -> Ref:
    """Say how a tensor lies in its storage."""
    return Ref(
        tensor.untyped_storage()._cdata,
        tensor.dtype,
        tuple(tensor.size()),
        tuple(tensor.stride()),
        int(tensor.storage_offset()),
    )


def row_of(whole: Ref, part: Ref) -> int | None:
    """Say which row of a row-major matrix a part of it is; None where it is no row."""
    if len(whole.size) != 2 or whole.stride != (whole.size[1], 1) or part.stride[-1:] != (1,):
        return None
    row, rest = divmod(part.offset - whole.offset, whole.size[1])
    return row if rest == 0 and part.size in ((whole.size[1],), (1, whole.size[1])) else None


def covers(tensor: torch.Tensor) -> bool:
    """Whether a tensor is all of its storage, each element once."""
    if tensor.numel() * tensor.element_size() != tensor.untyped_storage().nbytes():
        return False
    if tensor.is_contiguous():
        return True
    steps = sorted((stride, size) for size, stride in zip(tensor.size(), tensor.stride(), strict=True) if size > 1)
    expected = 1
    for stride, size in steps:
        if stride != expected:
            return False
        expected *= size
    return True


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether a tensor is expanded, so that torch refuses to write to it."""
    return 0 in (stride for stride, size in zip(tensor.stride(), tensor.size(), strict=True) if size > 1)


# Results that lie in columns, where the meta device says rows.
_COLUMNS = {(_aten._linalg_svd.default, 2), (_aten.linalg_eig.default, 1)}


# Factories of the like of a tensor, and a choice by its shape: they do not read it.
_LIKE = {
    _aten.empty_like.default, _aten.zeros_like.default, _aten.ones_like.default, _aten.full_like.default,
    _aten.new_empty.default, _aten.new_empty_strided.default, _aten.new_zeros.default, _aten.new_ones.default,
    _aten.new_full.default, _aten._fused_sdp_choice.default,
}  # fmt: skip
# What gives a tensor another storage, and touches no values.
_MOVES = {_aten.set_, _aten.resize_}
_EMPTY = {
    _aten.empty.memory_format, _aten.empty_strided.default, _aten.empty_permuted.default, _aten.empty_like.default,
    _aten.new_empty.default, _aten.new_empty_strided.default,
}  # fmt: skip
# What reads a tensor without an operation that a dispatch mode sees. Hooks are what pickle and torch.save ask a tensor
# for before they read its memory.
_READS: set[Any] = {
    torch.Tensor.tolist, torch.Tensor.data_ptr, torch.Tensor.item, torch.Tensor.__float__, torch.Tensor.__int__,
    torch.Tensor.__bool__, torch.Tensor.__index__, torch.Tensor.__complex__,
    torch.Tensor._backward_hooks.__get__,  # type: ignore[union-attr]
}  # fmt: skip
# What reads tensors that stand in lists.
_READS_LISTS = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}
# What gives a tensor's memory away, to be written to unseen; and what writes to it itself.
_LENDS = {
    torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.__dlpack__, torch.Tensor.storage, torch.Tensor.apply_,
    torch.Tensor.map_, torch.Tensor.map2_, getattr(torch, "to_dlpack", None),
}  # fmt: skip


def _listed(value: Any) -> list[torch.Tensor]:
    """The tensors that stand in lists of lists."""
    if isinstance(value, torch.Tensor):
        return [value]
    held = [each for each in value if isinstance(each, (torch.Tensor, list, tuple))]  # numbers may be many
    return [tensor for each in held for tensor in _listed(each)]


class _Reads(TorchFunctionMode):
    """Meets the reads that no operation shows."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self.capture = capture

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _READS_LISTS:
            lists = [value for value in (*args, *kwargs.values()) if isinstance(value, (list, tuple))]
            self.capture.show(_listed(lists))
        elif func in _READS:
            self.capture.show(args[:1])
        elif func in _LENDS:
            tensors = [value for value in args if isinstance(value, torch.Tensor)]
            self.capture.show(tensors)
            self.capture.lend(tensors[:1])
        return func(*args, **kwargs)


class Capture(TorchDispatchMode):
    """Runs a constructor, and puts off what it draws."""

    def __init__(self, seed: int, earlier: Sequence[Draw] = ()) -> None:
        """Earlier: the draws of an earlier run in their order, with the keys that it has found."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed, self.earlier, self.at = seed, earlier, 0
        self.draws: list[Draw] = []
        self.peeked = False  # whether values were read that a later run would draw under other names
        self.held: dict[int, _Held] = {}
        self.empty: dict[int, torch.UntypedStorage] = {}  # nobody has written to these
        self.lent: dict[int, torch.UntypedStorage] = {}  # given away as arrays: what was in them when last looked at
        self.count = 0
        self.thread = threading.get_ident()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what torch would wrap itself in to skip it takes 0.6 s to import

    def holds(self, tensor: torch.Tensor) -> bool:
        return (
            tensor.device.type == "cpu"
            and torch._C._has_storage(tensor)
            and tensor.untyped_storage()._cdata in self.held
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put off what is drawn while the block runs; torch's generator is left as it was."""
        state = torch.random.get_rng_state()
        with swapped(self), self, _Reads(self):
            try:
                yield
            finally:
                torch.random.set_rng_state(state)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let operations run as ever while the block runs."""
        with torch.utils._python_dispatch._disable_current_modes():
            yield

    def number(self, value: Any) -> float | None:
        """A number that is there."""
        return None if isinstance(value, torch.Tensor) and self.holds(value) else number_of(value)

    def draw(self, call: str, scheme: Scheme | None) -> Draw:
        """Write down that something was drawn."""
        call = f"{call} in {site()}"
        draw = Draw(call, scheme, self._key(call))
        self.draws.append(draw)
        return draw

    def _key(self, call: str) -> str | None:
        """The key of the next draw: that of an earlier run's draw of this call, the next in their order.

        A loop that draws until it likes what it sees may draw more often than in the earlier run, or less.
        """
        again = bool(self.draws) and self.draws[-1].call == call
        for at in range(self.at, self.at + 1 if again else len(self.earlier)):
            if at < len(self.earlier) and self.earlier[at].call == call:
                self.at = at + 1
                return self.earlier[at].key
        if again and self.earlier:
            name, _, number = (self.draws[-1].key or "").rpartition("#")
            return f"{name}#{int(number) + 1}" if number.isdecimal() else f"{number}#1"
        return f"#{len(self.draws)}"

    def peek(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run what reads drawn values now: a first time under keys that are numbers, and then under their names."""
        self.show([leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)])
        return func(*args, **kwargs)

    def show(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give tensors the values that they have by now."""
        with self.paused():
            storages = {geometry(tensor).storage for tensor in tensors if self.holds(tensor)}
            if storages:
                self.peeked = True
                self._bring(storages)

    def lend(self, tensors: Iterable[torch.Tensor]) -> None:
        """Remember what is in memory that others may write to without an operation."""
        with self.paused():
            for tensor in tensors:
                if self.holds(tensor):
                    self._remember(geometry(tensor).storage)
                elif torch._C._has_storage(tensor):
                    self.empty.pop(tensor.untyped_storage()._cdata, None)

    def _remember(self, key: int) -> None:
        self.lent[key] = self.held[key].storage.clone()  # type: ignore[no-untyped-call]

    def _bring(self, storages: set[int]) -> None:
        """Bring storages up to date, with all that was given away."""
        self.settle(self.lent)
        self.perform({*storages, *self.lent})

    def settle(self, storages: Iterable[int]) -> None:
        """Write down what was written, without an operation, to memory that was given away."""
        for key in self.lent.keys() & set(storages) if self.lent else ():
            storage = self.held[key].storage
            now, before = (torch.empty(0, dtype=torch.uint8).set_(each) for each in (storage, self.lent[key]))
            if not torch.equal(now, before):
                self._remember(key)
                whole = Ref(key, torch.uint8, (storage.nbytes(),), (1,), 0)
                self._write_down(_aten.copy_.default, (whole, now.clone()), {}, [whole], set(), None, whole=True)

    # ---- torch.nn.init

    def initialised(self, name: str, tensor: torch.Tensor, arguments: dict[str, Any], original: Any) -> Any:
        """A function of torch.nn.init was called."""
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
        own = arguments.get("generator") not in (None, torch.default_generator)
        if not plain or own or tensor.numel() == 0 or _overlaps(tensor):
            return original(tensor, **arguments)
        if isinstance(arguments.get("val"), torch.Tensor):
            arguments["val"] = self.number(arguments["val"])
        scheme = scheme_of_call(name, tensor, arguments)
        if scheme is None:  # what winit does not draw is torch's to do, or to refuse
            if name not in ("trunc_normal_", "orthogonal_", "sparse_") or not tensor.is_floating_point():
                return original(tensor, **arguments)
            _try(original, tensor, arguments)
            scheme = None
        draw = self.draw(f"nn.init.{name}", scheme)
        arguments["generator"] = None
        with torch.no_grad():
            ref = geometry(tensor)
            known = None
            if scheme is not None and covers(tensor):
                known = Known(scheme, ref, draw)
            elif scheme is not None and ref.storage in self.held:
                known = self._with_zero_row(self.held[ref.storage].known, ref, scheme.law(ref.size))
            self._put_off(original, (tensor,), arguments, [tensor], draw, whole=covers(tensor))
            if known is not None:
                self.held[ref.storage].known = known
        return tensor

    def _with_zero_row(self, before: Known | None, ref: Ref, law: Law) -> Known | None:
        """What is known of a table, a part of which is filled with a constant: a padding row of zeros."""
        if before is None or not isinstance(law, Constant) or repr(float(law.value)) != "0.0":  # and not -0.0
            return None
        row = row_of(before.ref, ref)
        if row is None:
            return None
        scheme = laws.with_zero_row(before.scheme.law(before.ref.size), row)
        return None if scheme is None else Known(scheme, before.ref, before.draw)

    # ---- every operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = schema_of(func)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(type(tensor).__torch_dispatch__ is not _PLAIN for tensor in tensors):
            return NotImplemented  # tensors made of tensors: operations on those come back here
        ours = all(type(tensor) is torch.Tensor or tensor.device.type == "cpu" for tensor in tensors)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type != "cpu":
            ours = False
        met = ours and any(self.holds(tensor) for tensor in tensors)
        if torch.Tag.inplace_view in func.tags:  # another shape, and no values
            return func(*args, **kwargs)
        if not ours or schema.view or func in _LIKE or func._overloadpacket in _MOVES or not (met or schema.random):
            return self._done(func, args, kwargs, schema)
        if schema.random and generator_of(args, kwargs) not in (None, torch.default_generator):
            return self._under_its_own(func, args, kwargs, schema)
        if not schema.random and not schema.tensors:
            return self.peek(func, args, kwargs)
        return self._drawn_or_derived(func, args, kwargs, schema)

    def _done(self, func: Any, args: Any, kwargs: Any, schema: Schema) -> Any:
        """Run an operation on what is there."""
        result = func(*args, **kwargs)
        if func in _EMPTY and isinstance(result, torch.Tensor) and result.device.type == "cpu":
            storage = result.untyped_storage()
            self.empty[storage._cdata] = storage
        for i, name in schema.writes if self.empty else ():
            value = args[i] if i < len(args) else kwargs.get(name)
            for tensor in tree_leaves(value):
                if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                    self.empty.pop(tensor.untyped_storage()._cdata, None)
        return result

    def _under_its_own(self, func: Any, args: Any, kwargs: Any, schema: Schema) -> Any:
        """Run a draw from a generator that the constructor has made: its values are the constructor's own."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        held = [tensor for tensor in tensors if self.holds(tensor)]
        if not held:
            return self._done(func, args, kwargs, schema)
        self.show(held)
        keys = {geometry(tensor).storage for tensor in held}
        mine = keys - self.lent.keys()
        for key in keys:
            self._remember(key)
        result = func(*args, **kwargs)
        self.settle(keys)
        for key in mine:
            del self.lent[key]
        return result

    def _drawn_or_derived(self, func: Any, args: Any, kwargs: Any, schema: Schema) -> Any:
        draw = None
        written = [args[i] if i < len(args) else kwargs.get(name) for i, name in schema.writes]
        targets = [leaf for leaf in tree_leaves(written) if isinstance(leaf, torch.Tensor)]
        law = law_of_random(func, args, kwargs, targets) if schema.random else None
        made = self._results(func, args, kwargs, targets, schema, law)
        if made is None:
            return self.peek(func, args, kwargs)
        if schema.random:
            draw = self.draw(func.name().removeprefix("aten::"), law)
            args, kwargs = without_generator(args, kwargs)
        if not written:
            new = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
            self._put_off(func, args, kwargs, new, draw, whole=True, fresh=len(new))
            known = self._known_of_new(func, args, kwargs, new, draw)
            if known is not None and _fits(known):
                self.held[known.ref.storage].known = known
            return made
        results = (made,) if isinstance(made, torch.Tensor) else made
        new = [each for each, at in zip(results, schema.returns, strict=False) if at is None]
        known = None if new else self._known_after(func, args, kwargs, targets, draw)
        overwrites = not new and len(targets) == 1 and covers(targets[0])
        self._put_off(
            func,
            args,
            kwargs,
            [*new, *targets],
            draw,
            whole=overwrites and (draw is not None or func._overloadpacket in OVERWRITE),
            fresh=len(new),
        )
        for target in targets:
            self.held[geometry(target).storage].known = known if known is not None and _fits(known) else None
        left = iter(new)
        outs = tuple(next(left) if at is None else written[at] for at in schema.returns)
        return outs[0] if len(outs) == 1 else outs or None

    def _results(
        self, func: Any, args: Any, kwargs: Any, targets: Sequence[torch.Tensor], schema: Schema, law: Scheme | None
    ) -> Any:
        """Give tensors like those that an operation would return, untouched, or raise what it would raise.

        None where what it returns depends on values, or is what winit does not know of.
        """
        clear = not any(map(_overlaps, targets))
        if clear and (func in _SIMPLE or (law is not None and func._overloadpacket.__name__.endswith("_"))):
            return ()
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        torchs = schema.random and func.namespace == "aten"
        if torchs and law is None and clear and len(tensors) == len(targets) == 1 and args[0] is targets[0]:
            with torch.random.fork_rng(devices=[]):  # on one element: for what it raises
                func(torch.empty((1,) * targets[0].ndim, dtype=targets[0].dtype), *args[1:], **kwargs)
            return ()
        made = self._shaped(func, args, kwargs, targets, schema) if clear else None
        return self._tried(func, args, kwargs, targets, schema) if made is None else made

    def _shaped(self, func: Any, args: Any, kwargs: Any, targets: Sequence[torch.Tensor], schema: Schema) -> Any:
        """Give the tensors that an operation would return, untouched: their shapes come from the meta device.

        Arguments that it writes, out=, get the shapes that it would give them. None where that device has no answer.
        """
        memo: dict[int, torch.Tensor] = {}

        def to_meta(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                memo[id(value)] = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
                return memo[id(value)]
            return value

        if any(isinstance(leaf, torch.dtype) and leaf in _QUANTISED for leaf in tree_leaves((args, kwargs))):
            return None  # which the meta device forgets
        takes_device = any(argument.name == "device" for argument in func._schema.arguments)
        try:
            on_meta = {**tree_map(to_meta, kwargs), **({"device": "meta"} if takes_device else {})}
            made = func(*tree_map(to_meta, args), **on_meta)
        except Exception:  # of many kinds: the operation itself will say what is wrong
            return None
        if not _plain(made):
            return None
        for target in targets:
            if memo[id(target)].size() != target.size():
                target.resize_(memo[id(target)].size())
        return _in_memory(func, made, schema)

    def _tried(self, func: Any, args: Any, kwargs: Any, targets: Sequence[torch.Tensor], schema: Schema) -> Any:
        """Do an operation on copies, for the shapes of its results and for what it raises; None: do it in its place."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if not _plain(tensors) or not (schema.random or targets):
            return None
        self.show(tensors)
        copies = {}
        for target in targets:
            ref = geometry(target)
            storage = target.untyped_storage().clone()  # type: ignore[no-untyped-call]
            copies[id(target)] = torch.empty(0, dtype=ref.dtype).set_(storage, ref.offset, ref.size, ref.stride)
        args, kwargs = tree_map(lambda each: copies.get(id(each), each), (args, kwargs))
        with torch.random.fork_rng(devices=[]):
            made = func(*args, **kwargs)
        for target in targets:
            if copies[id(target)].size() != target.size():
                target.resize_(copies[id(target)].size())
        if not _plain(made):
            return None
        return _in_memory(func, made, schema)

    def _put_off(
        self,
        call: Any,
        args: Any,
        kwargs: Any,
        targets: list[torch.Tensor],
        draw: Draw | None,
        *,
        whole: bool,
        fresh: int = 0,
    ) -> None:
        """Write an operation down, on the storages that it writes."""
        written = [geometry(target) for target in targets]
        self.settle(ref.storage for ref in written)
        for i, (target, ref) in enumerate(zip(targets, written, strict=True)):
            if ref.storage not in self.held:
                storage = target.untyped_storage()
                untouched = whole or i < fresh or ref.storage in self.empty
                self.held[ref.storage] = _Held(storage, None if untouched else storage.clone())  # type: ignore[no-untyped-call]
            self.empty.pop(ref.storage, None)
        read: set[int] = set()

        def put(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            if self.holds(value):
                ref = geometry(value)
                self.settle([ref.storage])
                read.add(ref.storage)
                return ref
            return value.detach().clone()  # it may be another by then

        args, kwargs = tree_map(put, args), tree_map(put, kwargs)
        self._write_down(call, args, kwargs, written, read, draw, whole=whole, fresh=fresh)
        lent = {ref.storage for ref in written} & self.lent.keys() if self.lent else set()
        if lent:  # whoever has the memory sees the change
            self._bring(lent)
            for key in lent:
                self._remember(key)

    def _write_down(
        self,
        call: Any,
        args: Any,
        kwargs: Any,
        written: list[Ref],
        read: set[int],
        draw: Draw | None,
        *,
        whole: bool,
        fresh: int = 0,
    ) -> None:
        if whole:
            read.discard(written[0].storage)
        event = _Event(self.count, call, args, kwargs, written, read, fresh, whole, draw)
        self.count += 1
        for ref in written:
            held = self.held[ref.storage]
            held.known = None
            held.events.append(event)

    # ---- what is known of a storage

    def _law(self, tensor: Any) -> tuple[Any, Known] | None:
        """The law of a tensor that is all that is known of its storage."""
        if not isinstance(tensor, torch.Tensor) or not self.holds(tensor):
            return None
        ref = geometry(tensor)
        known = self.held[ref.storage].known
        if known is None or known.ref != ref:
            return None
        return known.scheme.law(ref.size), known

    def _known_after(
        self, func: Any, args: Any, kwargs: Any, targets: list[torch.Tensor], draw: Draw | None
    ) -> Known | None:
        """What is known of the one storage that an operation writes, after it."""
        if len(targets) != 1:
            return None
        target = targets[0]
        ref, whole, name = geometry(target), covers(target), func._overloadpacket.__name__
        if draw is not None:
            return Known(draw.scheme, ref, draw) if draw.scheme is not None and whole else None
        if name == "copy_" and whole:
            source = self._law(args[1])
            if source is not None and tuple(args[1].size()) == ref.size and KINDS.get(ref.dtype) in FLOATS:
                return Known(source[1].scheme, ref, source[1].draw)
            return None
        if name in ("zero_", "fill_"):
            value = 0.0 if name == "zero_" else self.number(args[1])
            before = self.held[ref.storage].known if ref.storage in self.held else None
            if value is None or before is None:
                return None
            if whole:
                return Known(laws.scheme_of_value(value), ref, before.draw) if isfinite(value) else None
            return self._with_zero_row(before, ref, Constant(value)) if isfinite(value) else None
        found = self._law(target)
        if found is None:
            return None
        scheme = laws.changed(name.removesuffix("_"), found[1].scheme, ref.size, args, kwargs, self.number)
        return None if scheme is None else Known(scheme, ref, found[1].draw)

    def _known_of_new(
        self, func: Any, args: Any, kwargs: Any, targets: list[torch.Tensor], draw: Draw | None
    ) -> Known | None:
        """What is known of a new tensor that an operation makes of others."""
        if len(targets) != 1:
            return None
        ref, name = geometry(targets[0]), func._overloadpacket.__name__
        if draw is not None:
            return None if draw.scheme is None else Known(draw.scheme, ref, draw)
        place = 1 if name in ("mul", "add") and not self._law(args[0]) else 0
        found = self._law(args[place]) if len(args) > place else None
        if found is None or found[1].ref.size != ref.size:
            return None
        if name in ("clone", "_to_copy"):
            if KINDS.get(ref.dtype) not in FLOATS:
                return None
            return Known(found[1].scheme, ref, found[1].draw)
        rest = (None, *(value for at, value in enumerate(args) if at != place))
        scheme = laws.changed(name, found[1].scheme, ref.size, rest, kwargs, self.number)
        return None if scheme is None else Known(scheme, ref, found[1].draw)

    # ---- afterwards

    def needed(self, storage: int, at: int | None = None) -> set[_Event]:
        """Find the events that make what a storage holds, or held at an event."""
        found: set[_Event] = set()
        todo = [(storage, self.count if at is None else at)]
        while todo:
            key, before = todo.pop()
            events = [event for event in self.held[key].events if event.at < before] if key in self.held else []
            start = max((i for i, event in enumerate(events) if event.whole), default=0)
            for event in events[start:]:
                if event not in found:
                    found.add(event)
                    todo += [(other, event.at) for other in event.read if other != key]
        return found

    def kept(self) -> set[int]:
        """Find the storages that somebody but this holds."""
        return {key for key, each in self.held.items() if torch._C._storage_Use_Count(key) > 1}

    def tensor(self, ref: Ref) -> torch.Tensor:
        """The tensor that a Ref stands for."""
        made = torch.empty(0, dtype=ref.dtype)
        return made.set_(self.held[ref.storage].storage, ref.offset, ref.size, ref.stride)

    def perform(self, storages: Iterable[int]) -> None:
        """Do what makes the contents of storages, in order: laws by winit, all else by torch."""
        events = sorted(set().union(*map(self.needed, storages)), key=lambda event: event.at)
        begun: set[int] = set()
        with self.paused(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            for event in events:
                for ref in event.written:
                    base = self.held[ref.storage].base
                    if ref.storage not in begun and base is not None and not event.whole:
                        self.held[ref.storage].storage.copy_(base)
                    begun.add(ref.storage)
                self._perform(event)

    def _perform(self, event: _Event) -> None:
        draw = event.draw
        if draw is not None:
            key = stream_key(self.seed, draw.key or "")
            if draw.scheme is not None and len(event.written) == 1:
                tensor = self.tensor(event.written[0])
                if tensor.numel():
                    run_bounds(bounds_to(tensor, draw.scheme, key, what=str(draw.key)), None)
                return
            torch.manual_seed(key[0] | key[1] << 32)

        def real(value: Any) -> Any:
            return self.tensor(value) if isinstance(value, Ref) else value

        def is_ref(value: Any) -> bool:  # a tuple that is not to be mapped into
            return isinstance(value, Ref)

        args, kwargs = (tree_map(real, given, is_leaf=is_ref) for given in (event.args, event.kwargs))
        result = event.call(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        for ref, value in zip(event.written[: event.fresh], made, strict=False):
            self.tensor(ref).copy_(value)


_SIMPLE = {_aten.zero_.default, _aten.fill_.Scalar}
_PLAIN = torch.Tensor.__torch_dispatch__
_QUANTISED = {torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4}


def _in_memory(func: Any, made: Any, schema: Schema) -> Any:
    """Tensors of the shapes and strides of an operation's results, untouched; () where it returns what it writes."""
    if schema.writes and None not in schema.returns:
        return ()

    def like(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype)
        return value

    found = tree_map(like, made)
    columns = [at for each, at in _COLUMNS if each == func]
    if not columns:
        return found
    return tuple(
        torch.empty_like(each.mT, memory_format=torch.contiguous_format).mT if at in columns else each
        for at, each in enumerate(found)
    )


def _plain(made: Any) -> bool:
    """Whether all tensors of a result are of the plain sort, which can be put off."""
    tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
    return all(each.layout == torch.strided and not each.is_quantized for each in tensors)


def _fits(known: Known) -> bool:
    """Whether a dtype has the values of a law, which arithmetic may have carried beyond it."""
    try:
        law_of(known.scheme, known.ref.size, "oi", KINDS[known.ref.dtype])
    except (TypeError, ValueError, KeyError):
        return False
    return True


def _try(original: Any, tensor: torch.Tensor, arguments: dict[str, Any]) -> None:
    """Let torch say what is wrong with arguments that winit refuses."""
    original(torch.empty((2,) * max(tensor.ndim, 1), dtype=tensor.dtype), **arguments)
