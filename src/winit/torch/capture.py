"""What a constructor draws, seen without drawing it.

While a Capture runs, the constructor runs for real on CPU memory that nobody has touched, and what is drawn is put off:
torch.nn.init's functions (their code is exchanged, so that every reference to them is met) and every random operation
of torch (a dispatch mode) are written down as events on the storages that they would have filled, and so is every other
operation that reads or writes such a storage. All else runs. At the end a storage either has a law, which winit fills
under the tensor's name, or is what torch makes of its events when they are done in order: laws by winit, other draws by
torch's generator under a seed that the name gives.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from winit._core.keys import stream_key
from winit._core.running import run_bounds
from winit._core.scheme import Scheme
from winit.presets import torch as presets
from winit.torch import laws
from winit.torch.filling import bounds_to
from winit.torch.memory import KINDS

__all__ = [
    "OVERWRITE",
    "Capture",
    "Draw",
    "Ref",
    "geometry",
    "law_of_random",
    "number_of",
    "schema_of",
    "scheme_of_call",
    "site",
    "swapped",
]

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
    fresh: bool  # what it writes is a new tensor, and not one of its arguments
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


def _covers(tensor: torch.Tensor) -> bool:
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


class _Schema(NamedTuple):
    """What an operation does to its arguments."""

    writes: tuple[tuple[int, str], ...]  # positions and names of those that it writes
    returns: tuple[int, ...]  # which of those it returns
    view: bool
    random: bool
    tensors: bool  # whether it returns tensors


_schemas: dict[Any, _Schema] = {}


def schema_of(func: Any) -> _Schema:
    """Say what an operation does, from its schema."""
    found = _schemas.get(func)
    if found is None:
        schema = func._schema
        written = [
            (i, argument.name, argument.alias_info.before_set)
            for i, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        returns = tuple(
            next(n for n, (_, _, names) in enumerate(written) if names & each.alias_info.before_set)
            for each in schema.returns
            if each.alias_info is not None and each.alias_info.is_write
        )
        view = any(each.alias_info is not None and not each.alias_info.is_write for each in schema.returns)
        kinds = [str(each.type) for each in schema.returns]
        found = _schemas[func] = _Schema(
            tuple((i, name) for i, name, _ in written),
            returns,
            view,
            torch.Tag.nondeterministic_seeded in func.tags,
            all("Tensor" in kind for kind in kinds),
        )
    return found


# Factories of the like of a tensor, which do not read it.
_LIKE = {
    _aten.empty_like.default, _aten.zeros_like.default, _aten.ones_like.default, _aten.full_like.default,
    _aten.new_empty.default, _aten.new_empty_strided.default, _aten.new_zeros.default, _aten.new_ones.default,
    _aten.new_full.default,
}  # fmt: skip
# What gives a tensor another storage, and touches no values.
_MOVES = {_aten.set_, _aten.resize_}
_EMPTY = {
    _aten.empty.memory_format, _aten.empty_strided.default, _aten.empty_permuted.default, _aten.empty_like.default,
    _aten.new_empty.default, _aten.new_empty_strided.default,
}  # fmt: skip
# What torch.Tensor's methods read without an operation that a dispatch mode sees.
_READS = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist, torch.Tensor.__dlpack__}


def number_of(value: Any) -> float | None:
    """A number, or a tensor of one number, as a float."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, torch.Tensor) and value.ndim == 0 and not value.is_complex() and not value.is_meta:
        return float(value)
    return None


class _Reads(TorchFunctionMode):
    """Meets the reads that no operation shows."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self.capture = capture

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS and args and isinstance(args[0], torch.Tensor) and self.capture.holds(args[0]):
            with self.capture.paused():
                return self.capture.peek(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


class Capture(TorchDispatchMode):
    """Runs a constructor, and puts off what it draws."""

    def __init__(self, seed: int, keys: Sequence[str | None] = ()) -> None:
        """Keys: of the draws in their order, as an earlier run has found them."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed, self.keys = seed, keys
        self.draws: list[Draw] = []
        self.peeked = False  # whether values were read that a later run would draw under other names
        self.held: dict[int, _Held] = {}
        self.empty: dict[int, torch.UntypedStorage] = {}  # nobody has written to these
        self.count = 0
        self.thread = threading.get_ident()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what torch would wrap itself in to skip it takes 0.6 s to import

    def holds(self, tensor: torch.Tensor) -> bool:
        return tensor.device.type == "cpu" and tensor.untyped_storage()._cdata in self.held

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
        at = len(self.draws)
        draw = Draw(f"{call} in {site()}", scheme, f"#{at}" if at >= len(self.keys) else self.keys[at])
        self.draws.append(draw)
        return draw

    def peek(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run what reads drawn values now: a first time under keys that are numbers, and then under their names."""
        self.peeked = True
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        self.perform({ref.storage for ref in map(geometry, tensors) if ref.storage in self.held})
        return func(*args, **kwargs)

    # ---- torch.nn.init

    def initialised(self, name: str, tensor: torch.Tensor, arguments: dict[str, Any], original: Any) -> Any:
        """A function of torch.nn.init was called."""
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.device.type != "cpu" or tensor.numel() == 0:
            return original(tensor, **arguments)
        if isinstance(arguments.get("val"), torch.Tensor):
            arguments["val"] = self.number(arguments["val"])
        scheme = scheme_of_call(name, tensor, arguments)
        if scheme is None:  # what winit does not draw is torch's to do, or to refuse
            if name not in ("trunc_normal_", "orthogonal_", "sparse_") or not tensor.is_floating_point():
                return original(tensor, **arguments)
            _try(original, tensor, arguments)
        draw = self.draw(f"nn.init.{name}", scheme)
        arguments["generator"] = None
        with torch.no_grad():
            ref = geometry(tensor)
            self._put_off(original, (tensor,), arguments, [tensor], draw, whole=_covers(tensor))
            if scheme is not None and _covers(tensor):
                self.held[ref.storage].known = Known(scheme, ref, draw)
        return tensor

    # ---- every operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = schema_of(func)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ours = all(type(tensor) is torch.Tensor or tensor.device.type == "cpu" for tensor in tensors)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type != "cpu":
            ours = False
        met = ours and any(self.holds(tensor) for tensor in tensors)
        if not ours or schema.view or func in _LIKE or func._overloadpacket in _MOVES or not (met or schema.random):
            return self._done(func, args, kwargs, schema)
        if not schema.random and not schema.tensors:
            return self.peek(func, args, kwargs)
        return self._drawn_or_derived(func, args, kwargs, schema)

    def _done(self, func: Any, args: Any, kwargs: Any, schema: _Schema) -> Any:
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

    def _drawn_or_derived(self, func: Any, args: Any, kwargs: Any, schema: _Schema) -> Any:
        draw = None
        if schema.random:
            draw = self.draw(func.name().removeprefix("aten::"), law_of_random(func, args, kwargs))
            kwargs = {key: value for key, value in kwargs.items() if key != "generator"}
        if schema.writes:
            written = [args[i] if i < len(args) else kwargs.get(name) for i, name in schema.writes]
            targets = [leaf for leaf in tree_leaves(written) if isinstance(leaf, torch.Tensor)]
            known = self._known_after(func, args, kwargs, targets, draw)
            overwrites = func._overloadpacket in OVERWRITE and len(targets) == 1 and _covers(targets[0])
            self._put_off(
                func,
                args,
                kwargs,
                targets,
                draw,
                whole=overwrites or (draw is not None and len(targets) == 1 and _covers(targets[0])),
            )
            for target in targets:
                self.held[geometry(target).storage].known = known
            outs = tuple(written[n] for n in schema.returns)
            return outs[0] if len(outs) == 1 else outs or None
        result = self._shaped(func, args, kwargs)
        if result is None:  # its shape depends on values
            return self.peek(func, args, kwargs)
        targets = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self._put_off(func, args, kwargs, targets, draw, whole=True, fresh=True)
        known = self._known_of_new(func, args, kwargs, targets, draw)
        if known is not None:
            self.held[known.ref.storage].known = known
        return result

    def _shaped(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Give the tensors that an operation would return, untouched: their shapes come from the meta device.

        None where those depend on values.
        """

        def to_meta(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
            return value

        def to_memory(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype)
            return value

        takes_device = any(argument.name == "device" for argument in func._schema.arguments)
        on_meta = {**tree_map(to_meta, kwargs), **({"device": "meta"} if takes_device else {})}
        try:
            made = func(*tree_map(to_meta, args), **on_meta)
        except (NotImplementedError, RuntimeError):
            return None
        return tree_map(to_memory, made)

    def _put_off(
        self,
        call: Any,
        args: Any,
        kwargs: Any,
        targets: list[torch.Tensor],
        draw: Draw | None,
        *,
        whole: bool,
        fresh: bool = False,
    ) -> None:
        """Write an operation down, on the storages that it writes."""
        written = [geometry(target) for target in targets]
        for target, ref in zip(targets, written, strict=True):
            if ref.storage not in self.held:
                storage = target.untyped_storage()
                untouched = whole or fresh or ref.storage in self.empty
                self.held[ref.storage] = _Held(storage, None if untouched else storage.clone())  # type: ignore[no-untyped-call]
            self.empty.pop(ref.storage, None)
        read: set[int] = set()

        def put(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            ref = geometry(value)
            if ref.storage in self.held:
                read.add(ref.storage)
                return ref
            return value.detach().clone()  # it may be another by then

        args, kwargs = tree_map(put, args), tree_map(put, kwargs)
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
        ref, whole, name = geometry(target), _covers(target), func._overloadpacket.__name__
        if draw is not None:
            return Known(draw.scheme, ref, draw) if draw.scheme is not None and whole else None
        if name == "copy_" and whole:
            source = self._law(args[1])
            if source is not None and tuple(args[1].size()) == ref.size:
                return Known(source[1].scheme, ref, source[1].draw)
            return None
        if name in ("zero_", "fill_"):
            value = 0.0 if name == "zero_" else self.number(args[1])
            before = self.held[ref.storage].known if ref.storage in self.held else None
            if value is None or before is None:
                return None
            if whole:
                scheme = laws.affine(presets.constant_(value).law(()), 1.0, 0.0)
                return None if scheme is None else Known(scheme, ref, before.draw)
            if value == 0 and len(before.ref.size) == 2 and before.ref.stride == (before.ref.size[1], 1):
                row, rest = divmod(ref.offset - before.ref.offset, before.ref.size[1])
                if rest == 0 and ref.size in ((before.ref.size[1],), (1, before.ref.size[1])) and ref.stride[-1] == 1:
                    scheme = laws.with_zero_row(before.scheme.law(before.ref.size), row)
                    return None if scheme is None else Known(scheme, before.ref, before.draw)
            return None
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
        if name in ("clone", "_to_copy") and targets[0].is_floating_point():
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
        if event.fresh:
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            for ref, value in zip(event.written, made, strict=True):
                self.tensor(ref).copy_(value)


OVERWRITE = {_aten.copy_, _aten.zero_, _aten.fill_}


def scheme_of_call(name: str, tensor: torch.Tensor, arguments: dict[str, Any]) -> Scheme | None:
    """The scheme of a call of torch.nn.init on a tensor; None where winit does not draw it."""
    if name == "eye_" and tensor.ndim != 2:
        return None
    try:
        scheme: Scheme = getattr(presets, name)(
            **{key: value for key, value in arguments.items() if key != "generator"}
        )
        scheme.law(tuple(tensor.shape)).params(KINDS[tensor.dtype])
    except (TypeError, ValueError, KeyError):
        return None
    return scheme


def law_of_random(func: Any, args: Any, kwargs: Any) -> Scheme | None:
    """The scheme of an operation that draws; None where it has no law of winit's."""
    dtype = kwargs.get("dtype") or (
        args[0].dtype if args and isinstance(args[0], torch.Tensor) else torch.get_default_dtype()
    )
    if KINDS.get(dtype) not in ("float32", "float64", "float16", "bfloat16"):
        return None
    name = func._overloadpacket.__name__
    try:
        if name in ("randn", "randn_like"):
            return presets.normal_()
        if name in ("rand", "rand_like"):
            return presets.uniform_()
        if name == "normal_":
            return presets.normal_(*_given(func, args, kwargs, ("mean", "std")))
        if name == "uniform_":
            return presets.uniform_(*_given(func, args, kwargs, ("from", "to")))
        if name == "normal" and func._overloadname == "float_float":
            return presets.normal_(*_given(func, args, kwargs, ("mean", "std")))
    except (TypeError, ValueError):
        return None
    return None


def _given(func: Any, args: Any, kwargs: Any, names: tuple[str, ...]) -> list[Any]:
    """The values of an operation's arguments of these names, defaults among them."""
    values = []
    for i, argument in enumerate(func._schema.arguments):
        if argument.name in names:
            values.append(args[i] if i < len(args) else kwargs.get(argument.name, argument.default_value))
    return values


def site() -> str:
    """Where the code of the user, or of their library of models, is that called."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        inside = module.startswith(("torch.", "winit.", "transformers.initialization")) and not module.startswith(
            "torch.nn.modules"
        )
        if not inside and module != "torch":
            return f"{module}:{frame.f_lineno}"
        frame = frame.f_back
    return "the constructor"


def _try(original: Any, tensor: torch.Tensor, arguments: dict[str, Any]) -> None:
    """Let torch say what is wrong with arguments that winit refuses."""
    original(torch.empty((2,) * max(tensor.ndim, 1), dtype=tensor.dtype), **arguments)


# ---- torch.nn.init's functions, whose code is exchanged while captures run


class Drawing(Protocol):
    """What torch.nn.init's functions lead to, in its own thread."""

    thread: int

    def initialised(self, name: str, tensor: torch.Tensor, arguments: dict[str, Any], original: Any) -> Any:
        """Do what the function would have done."""
        ...


_NAMES = [
    "uniform_", "normal_", "trunc_normal_", "constant_", "ones_", "zeros_", "eye_", "dirac_", "xavier_uniform_",
    "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_",
]  # fmt: skip
_lock = threading.Lock()
_running: list[Drawing] = []
_codes: dict[str, CodeType] = {}
_originals: dict[str, FunctionType] = {}
_functions = [getattr(torch.nn.init, name) for name in _NAMES]


def _hooked(name: str, arguments: dict[str, Any]) -> Any:
    """Stand in for a function of torch.nn.init: in a capture's thread for the capture, elsewhere as ever."""
    original = _originals[name]
    tensor = arguments.pop("tensor")
    thread = threading.get_ident()
    for capture in reversed(_running):
        if capture.thread == thread:
            return capture.initialised(name, tensor, arguments, original)
    return original(tensor, **arguments)


@contextmanager
def swapped(capture: Drawing) -> Iterator[None]:
    """Exchange the code of torch.nn.init's functions: their every name and copy then leads here."""
    with _lock:
        if not _running:
            for name, function in zip(_NAMES, _functions, strict=True):
                _codes[name] = function.__code__
                _originals[name] = FunctionType(
                    function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
                )
                parameters = list(inspect.signature(function).parameters)
                listed = ", ".join(f"{each!r}: {each}" for each in parameters)
                text = f"def {name}({', '.join(parameters)}):\n    return _winit_hooked({name!r}, {{{listed}}})\n"
                made: dict[str, Any] = {}
                exec(compile(text, f"<winit in place of torch.nn.init.{name}>", "exec"), made)
                function.__globals__["_winit_hooked"] = _hooked
                function.__code__ = made[name].__code__
        _running.append(capture)
    try:
        yield
    finally:
        with _lock:
            _running.remove(capture)
            if not _running:
                for name, function in zip(_NAMES, _functions, strict=True):
                    function.__code__ = _codes[name]
                torch.nn.init.__dict__.pop("_winit_hooked", None)
