"""Build a model whose weights winit draws: the constructor's laws, under the names of its tensors."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from winit import recipes
from winit._core.checks import check_bool, check_threads, shown
from winit._core.keys import stream_key
from winit._core.laws import INDEPENDENT, Constant, drawn_on_devices
from winit._core.running import run_bounds
from winit._core.scheme import Scheme
from winit._plans.globs import nearest_hint
from winit._plans.param import Param, Rule
from winit._plans.plan import Plan, check_plan
from winit.schemes import constant, literal
from winit.torch import laws
from winit.torch.capture import Capture, Draw, covers, geometry
from winit.torch.device import draws_on
from winit.torch.filling import bounds_to, pieces_of
from winit.torch.memory import KINDS, check_tensor, huge_pages, memory_of, written
from winit.torch.naming import named_buffers, named_modules, named_parameters, names_of

__all__ = ["Report", "build", "init_", "materialize_", "plan", "report"]

_Model = TypeVar("_Model", bound=torch.nn.Module)
_LEFT = "_winit_origin"  # the attribute of a module that build leaves
_RUNS = 10  # of a constructor that draws by what it has drawn, until the names and the draws agree


@dataclass(frozen=True)
class Report:
    """What each tensor of a module got, by name, and from which call of its constructor."""

    rows: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> tuple[str, str]:
        return self.rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        wide = max(map(len, self.rows), default=0)
        return "\n".join(
            f"{name:{wide}}  {what}{f'  ({call})' if call else ''}" for name, (what, call) in self.rows.items()
        )


@dataclass(frozen=True)
class _Origin:
    """What build leaves on a module: its plan's tensors, why others are in no plan, and the report."""

    params: dict[str, Param]
    refused: dict[str, str]
    report: Report

    def plan(self) -> Plan:
        for name, why in self.refused.items():
            raise ValueError(f"{shown(name)} {why}, which no plan holds")
        return Plan(self.params)


def build(
    factory: Callable[[], _Model],
    *,
    seed: int,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    report: bool = False,
    threads: int | None = None,
) -> Any:
    """Make a module as its constructor does, and draw its weights with winit, all tensors as one batch.

    The constructor runs, and its draws are put off: torch.nn.init's functions, random operations, and what is computed
    from their values. Each tensor then gets the law that it received last, under its name in state_dict, so that its
    values depend on (seed, name, law, dtype) alone, and on no order. Constants and computed buffers are the
    constructor's own; tied weights are drawn once. What is no law of winit's (a rejection sampler, a spectral norm) is
    done by torch, on the CPU, under a generator that (seed, name) seeds. A copy of a weight has that weight's values.

    What the constructor draws from a torch.Generator of its own has that generator's values. NumPy's and Python's
    global generators are seeded by `seed` while it runs, and left as they were. A constructor that reads what it has
    drawn runs again, so that it reads what its tensors get in the end.

    Parameters
    ----------
    factory : called without arguments; returns a torch.nn.Module.
    seed : int, 0 <= seed < 2^64.
    dtype : torch.dtype, the default dtype while the factory runs; None leaves it.
    device : where the module is in the end; its values are the same on every device. On CUDA and ROCm tensors are drawn
        there, as of fill_.
    report : return (module, Report) instead.
    threads : int or None, the processors this process may use.

    Returns
    -------
    The factory's module.

    Raises
    ------
    TypeError : the factory returns no module.
    ValueError : a tensor that the constructor leaves without values, or on a device (the message names it);
        draws that go on depending on values that were read, after ten runs of the constructor.

    >>> import torch, winit.torch
    >>> model = winit.torch.build(lambda: torch.nn.Linear(784, 300), seed=0)
    >>> again = winit.torch.build(lambda: torch.nn.Sequential(torch.nn.Linear(784, 300)), seed=0)
    >>> torch.equal(model.weight, again[0].weight)  # other names, other values
    False
    >>> winit.torch.report(model)["bias"]  # doctest: +ELLIPSIS
    ('uniform(low=-0.035714..., high=0.035714...)', 'nn.init.uniform_ in torch.nn.modules.linear:...')

    """
    check_bool(report, "report")
    wanted = _check_device(device)
    module, origin = _made(factory, dtype, seed, threads, wanted)
    object.__setattr__(module, _LEFT, origin)
    if wanted.type != "cpu":
        module.to(wanted)
    return (module, origin.report) if report else module


def plan(factory: Callable[[], torch.nn.Module], *, seed: int = 0, dtype: torch.dtype | None = None) -> Plan:
    """Return the plan of what build would draw, so that `winit init` and Plan.write can write it.

    Laws are schemes, under the names of state_dict. Constants that are in it are literals, and so is what is no law of
    winit's, as it is under `seed`.

    Parameters
    ----------
    factory, dtype : as of build.
    seed : int. For what is no law.

    Raises
    ------
    TypeError, ValueError : as of build; a tensor that no plan holds (the message names it), such as a complex one.

    >>> import torch, winit.torch
    >>> winit.torch.plan(lambda: torch.nn.LayerNorm(8))["weight"]
    Param(shape=(8,), scheme=ones(), dtype='float32', layout='oi')

    """
    return _made(factory, dtype, seed, None, None)[1].plan()


def report(module: torch.nn.Module) -> Report:
    """Return what each tensor of a module got that build has made, and from which call.

    Raises
    ------
    ValueError : a module that build has not made.

    """
    return _origin(module).report


def _check_device(device: Any) -> torch.device:
    if not isinstance(device, (str, torch.device)):
        raise TypeError(f"device must be a str or a torch.device, not {shown(device)}")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be one that torch knows, not {shown(device)}") from None


def _origin(module: torch.nn.Module) -> _Origin:
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, not {shown(module)}")
    origin = getattr(module, _LEFT, None)
    if not isinstance(origin, _Origin):
        raise ValueError("the module was not made by winit.torch.build, which leaves what it drew: pass a plan")
    return origin


def _made(
    factory: Callable[[], _Model],
    dtype: torch.dtype | None,
    seed: int,
    threads: int | None,
    device: torch.device | None,
) -> tuple[_Model, _Origin]:
    """Run a factory, and give its module's tensors their values, on a device where it draws them; None: no values."""
    stream_key(seed)
    threads = check_threads(threads)
    if not callable(factory) or isinstance(factory, (torch.nn.Module, Scheme)):
        raise TypeError(f"factory must be a function that returns a torch.nn.Module, not {shown(factory)}")
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype or None, not {shown(dtype)}")
    earlier: list[Draw] = []
    for _ in range(_RUNS):
        capture = Capture(seed, earlier)
        module = _run(factory, dtype, capture)
        used = [draw.key for draw in capture.draws]
        named = _keyed(module, capture)
        if not capture.peeked or used == [draw.key for draw in capture.draws]:
            return module, _finish(module, capture, named, threads, device)
        earlier = capture.draws  # once more: what was read is then drawn under its name
    raise ValueError(
        "the constructor reads values that it has drawn, and goes on to draw others by them: its tensors have no law "
        "that depends on the seed and their names alone"
    )


def _run(factory: Callable[[], _Model], dtype: torch.dtype | None, capture: Capture) -> _Model:
    before = torch.get_default_dtype()
    with _seeded(capture.seed), capture.running():
        try:
            if dtype is not None:
                torch.set_default_dtype(dtype)
            module = factory()
        finally:
            torch.set_default_dtype(before)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"factory must return a torch.nn.Module, not {shown(module)}")
    return module


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that Python and NumPy keep for all while the block runs, and leave them as they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    low, high = stream_key(seed, "numpy.random")
    random.seed(low | high << 32)
    np.random.seed([low, high])  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


# ---- from events to values


@dataclass
class _Named:
    """A tensor of a module: its name, what it is there, and where its values come from."""

    name: str
    tensor: torch.Tensor
    kind: str
    known: tuple[Scheme, Draw] | None = None  # a law of winit's
    events: list[Any] = field(default_factory=list)  # what torch does


def _keyed(module: torch.nn.Module, capture: Capture) -> list[_Named]:
    """Find what every tensor of a module gets, and key the draws by the names of the tensors that they reach first.

    Tensors of one law come before those that are computed, whatever their order.
    """
    capture.settle(capture.lent)
    found = [_Named(*each) for each in _tensors(module)]
    _check_there(found, capture)
    held = [each for each in found if capture.holds(each.tensor)]
    shared = Counter(geometry(each.tensor).storage for each in held)
    for each in held:
        each.known = _known(capture, each.tensor, shared=shared[geometry(each.tensor).storage] > 1)
        if each.known is not None:
            _name([each.known[1]], each.name)
    for each in held:
        if each.known is None:
            each.events = sorted(capture.needed(geometry(each.tensor).storage), key=lambda event: event.at)
            _name([event.draw for event in each.events if event.draw is not None], each.name)
    return found


def _name(draws: Sequence[Draw], name: str) -> None:
    """Key the draws that no other tensor has keyed."""
    for i, draw in enumerate([draw for draw in draws if not draw.named]):
        draw.key, draw.named = name if i == 0 else f"{name}#{i}", True


def _finish(
    module: torch.nn.Module,
    capture: Capture,
    named: Sequence[_Named],
    threads: int | None,
    device: torch.device | None,
) -> _Origin:
    """Give every tensor its values; returns what the module's plan is."""
    capture.perform({geometry(each.tensor).storage for each in named if each.events} | _elsewhere(capture, named))
    bounds, fill = [], device is not None
    if device is not None and device.type != "cpu":
        _take_to(device, [each for each in named if capture.holds(each.tensor)])
    for each in named if fill else ():
        if each.known is not None and each.tensor.numel():
            _ask_for_pages(each.tensor, each.name)
            key = stream_key(capture.seed, each.known[1].key or "")
            bounds += bounds_to(each.tensor, each.known[0], key, what=each.name)
    run_bounds(bounds, threads)
    rows: dict[str, tuple[str, str]] = {}
    params: dict[str, Param] = {}
    refused: dict[str, str] = {}
    first: dict[int, str] = {}
    state = names_of(module)
    for each in named:
        if fill and (each.known is not None or each.events):
            written(each.tensor)
        if each.known is not None:
            rows[each.name] = repr(each.known[0]), each.known[1].call
        elif each.events:
            calls = [event.draw.call for event in each.events if event.draw is not None]
            count = len(each.events)
            rows[each.name] = f"{count} operation{'s' * (count > 1)} done by torch", ", ".join(dict.fromkeys(calls))
        else:
            rows[each.name] = "as constructed", ""
        if each.name in state:
            first[id(each.tensor)] = each.name
            try:
                params[each.name] = _param(each)
            except (TypeError, ValueError) as error:
                refused[each.name] = f"({each.kind}, {each.tensor.dtype}): {error}"
    for name, tensor in state.items():
        if name not in params and name not in refused:
            params[name] = Param(tied=first[id(tensor)])
            rows[name] = f"tied to {first[id(tensor)]}", ""
    return _Origin({name: params[name] for name in state if name in params}, refused, Report(rows))


def _take_to(device: torch.device, held: Sequence[_Named]) -> None:
    """Give tensors memory on a device before they are drawn, where the device draws them: nothing is copied then.

    Those alone that have their memory to themselves; module.to(device) moves the others when they have their values.
    """
    for each in held:
        tensor = each.tensor
        shared = torch._C._storage_Use_Count(geometry(tensor).storage) > 2  # by more than this tensor and the capture
        if each.known is None or each.kind == "attribute" or shared or not tensor.numel():
            continue
        alone = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        law = each.known[0].law(tuple(tensor.shape))
        if alone and drawn_on_devices(law, KINDS[tensor.dtype]) and draws_on(device):
            tensor.data = torch.empty_like(tensor.detach(), device=device)


def _elsewhere(capture: Capture, named: Sequence[_Named]) -> set[int]:
    """Find the storages that somebody keeps, if not as a tensor of the module: in another object, or a closure."""
    return capture.kept() - {geometry(each.tensor).storage for each in named if capture.holds(each.tensor)}


def _ask_for_pages(tensor: torch.Tensor, name: str) -> None:
    for piece in pieces_of(tensor, name):
        if piece.out.is_cpu:
            huge_pages(memory_of(piece.out, name)[0])


def _tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor, str]]:
    """Give every tensor that a module holds, once: parameters and buffers, then what hangs on its modules otherwise."""
    seen: set[int] = set()
    for kind, pairs in (("parameter", named_parameters(module)), ("buffer", named_buffers(module))):
        for name, tensor in pairs:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor, kind
    for prefix, owner in named_modules(module):
        for attribute, value in vars(owner).items():
            if attribute in ("_parameters", "_buffers", "_modules"):
                continue
            for path, tensor in _inside(value, attribute, 3):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{prefix}.{path}" if prefix else path, tensor, "attribute"


def _inside(value: Any, path: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, value
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            yield from _inside(item, f"{path}.{key}", depth - 1)
    elif depth and isinstance(value, (list, tuple)) and len(value) < 10_000:
        for i, item in enumerate(value):
            yield from _inside(item, f"{path}.{i}", depth - 1)


def _check_there(found: Sequence[_Named], capture: Capture) -> None:
    """Refuse a tensor that would be left without values."""
    for each in found:
        tensor = each.tensor
        if each.kind == "attribute":
            continue
        if tensor.is_meta:
            raise ValueError(
                f"{shown(each.name)} is on the meta device, where the constructor left it: make the module on the CPU, "
                "or use materialize_ with a plan"
            )
        if each.kind == "parameter" and tensor.device.type != "cpu":
            raise ValueError(
                f"{shown(each.name)} is on {tensor.device}, where torch's generator has drawn it: make the module on "
                "the CPU, which is where draws are put off, and pass device= to move it there; or use init_"
            )
        plain = tensor.device.type == "cpu" and tensor.layout == torch.strided and tensor.numel() > 0
        if plain and each.kind == "parameter" and tensor.untyped_storage()._cdata in capture.empty:
            raise ValueError(f"{shown(each.name)} has no values: its constructor allocates it, and never fills it")


def _known(capture: Capture, tensor: torch.Tensor, *, shared: bool) -> tuple[Scheme, Draw] | None:
    """The scheme of a tensor whose storage has one law, and its draw; shared: other tensors lie there too."""
    ref = geometry(tensor)
    known = capture.held[ref.storage].known
    if known is None:
        return None
    if known.ref == ref:
        return known.scheme, known.draw
    law = known.scheme.law(known.ref.size)
    whole = covers(tensor) and ref.dtype == known.ref.dtype
    # Independent elements may lie otherwise than they were drawn, unless another tensor shares them.
    scheme = laws.scheme_of(law) if whole and not shared and isinstance(law, INDEPENDENT) else None
    return None if scheme is None else (scheme, known.draw)


def _param(each: _Named) -> Param:
    """The plan's word for a tensor."""
    tensor = each.tensor
    check_tensor(tensor)
    if each.known is None:
        return Param(tuple(tensor.shape), _literal(tensor), KINDS[tensor.dtype])
    scheme, draw = each.known
    fixed = isinstance(scheme.law(tuple(tensor.shape)), Constant)  # no words of a stream
    return Param(
        tuple(tensor.shape), scheme, KINDS[tensor.dtype], key=None if fixed or draw.key == each.name else draw.key
    )


def _literal(tensor: torch.Tensor) -> Scheme:
    plain = tensor.detach()
    if plain.is_complex():
        raise ValueError("complex values are no literal")
    if plain.numel() == 0:
        return constant(0)
    values = plain.double().numpy() if plain.is_floating_point() else plain.numpy()
    first = values.reshape(-1)[0].item()
    if np.isfinite(first) and (values == first).all() and not (first == 0 and np.signbit(values).any()):
        return laws.scheme_of_value(first)
    return literal(values)


# ---- modules that exist


def materialize_(module: _Model, plan: Plan | None = None, *, seed: int, threads: int | None = None) -> _Model:
    """Fill a module's tensors by a plan: one on the meta device, or with memory that holds nothing yet.

    Parameters
    ----------
    module : torch.nn.Module. Tensors on the meta device get memory on the CPU; others are filled in place.
    plan : winit.Plan of the module's state_dict names; None takes the one that build left on the module.
    seed : int, 0 <= seed < 2^64.
    threads : int or None, the processors this process may use.

    Returns
    -------
    module; names that the plan ties are one tensor again.

    Raises
    ------
    TypeError, ValueError : a plan that lacks a tensor of the module or has one more, or another shape or dtype; a
        buffer on the meta device that is in no state_dict, and so in no plan. Nothing is written then.

    >>> import torch, winit, winit.torch
    >>> with torch.device("meta"):
    ...     model = torch.nn.Linear(4, 2)
    >>> plan = winit.Plan({"weight": (2, 4), "bias": (2,)}, [("*", winit.normal(std=0.02))])
    >>> bool((winit.torch.materialize_(model, plan, seed=0).weight != 0).all())
    True

    """
    stream_key(seed)
    if plan is None:
        plan = _origin(module).plan()
    check_plan(plan)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, not {shown(module)}")
    state = names_of(module)
    for name in state:
        if name not in plan:
            raise ValueError(f"the plan lacks {shown(name)}{nearest_hint(name, plan)}")
    for name in plan:
        if name not in state:
            raise ValueError(f"the module has no tensor {shown(name)}{nearest_hint(name, state)}")
    for name, tensor in state.items():
        param = plan[plan[name].tied or name]
        check_tensor(tensor, name)
        if (tuple(tensor.shape), KINDS.get(tensor.dtype)) != (param.shape, param.dtype):
            raise ValueError(
                f"{shown(name)} is {tensor.dtype} {tuple(tensor.shape)}, and the plan has {param.dtype} {param.shape}"
            )
    for name, buffer in named_buffers(module, persistent=False):
        if buffer.is_meta:
            raise ValueError(
                f"the buffer {shown(name)} is on the meta device and in no state_dict: no plan has its values, and its "
                "module must compute them"
            )
    _allocate(module, plan)
    bounds, filled = [], []
    for name, tensor in names_of(module).items():
        if plan[name].tied is None:
            param = plan[name]
            _ask_for_pages(tensor, name)
            if tensor.numel():
                law = param.scheme
                assert law is not None
                bounds += bounds_to(tensor, law, stream_key(seed, plan.key(name)), param.layout or "oi", name)
            filled.append(tensor)
    run_bounds(bounds, threads)
    for tensor in filled:
        written(tensor)
    return module


def _allocate(module: torch.nn.Module, plan: Plan) -> None:
    """Give tensors on the meta device memory, and make tied names one tensor."""
    made: dict[str, torch.Tensor] = {}
    for prefix, owner in named_modules(module):
        for held in (owner._parameters, owner._buffers):
            for attribute, tensor in list(held.items()):
                name = f"{prefix}.{attribute}" if prefix else attribute
                if tensor is None or name not in plan:
                    continue
                target = plan[name].tied or name
                if target not in made:
                    made[target] = _in_memory(tensor) if tensor.is_meta else tensor
                if held[attribute] is not made[target]:
                    held[attribute] = made[target]  # type: ignore[assignment]


def _in_memory(tensor: torch.Tensor) -> torch.Tensor:
    memory = torch.empty_like(tensor, device="cpu")
    if not isinstance(tensor, torch.nn.Parameter):
        return memory
    parameter = torch.nn.Parameter(memory, requires_grad=tensor.requires_grad)
    parameter.__dict__.update(tensor.__dict__)
    return parameter


def init_(
    module: _Model, rules: Plan | str | Iterable[Rule | Sequence[Any]], *, seed: int, threads: int | None = None
) -> _Model:
    """Initialise a module's parameters by rules, a plan or a recipe, whatever they hold.

    Parameters
    ----------
    module : torch.nn.Module.
    rules : pairs or winit.Rule, as of winit.Plan: the first whose pattern matches a parameter's name counts, and one
        must; or a winit.Plan of the parameters; or the name of a recipe, at its default sizes.
    seed : int, 0 <= seed < 2^64.
    threads : int or None, the processors this process may use.

    Returns
    -------
    module.

    Raises
    ------
    TypeError, ValueError : as of winit.Plan and materialize_. Nothing is written then.

    >>> import torch, winit, winit.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> _ = winit.torch.init_(model, [("*.bias", winit.zeros()), ("*", winit.he_normal())], seed=0)
    >>> bool((model[0].bias == 0).all())
    True

    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, not {shown(module)}")
    stream_key(seed)
    parameters = dict(named_parameters(module))
    if isinstance(rules, str):
        rules = recipes.load(rules)
    if isinstance(rules, Plan):
        lacking = next((name for name in parameters if name not in rules), None)
        if lacking is not None:
            raise ValueError(f"the plan lacks {shown(lacking)}{nearest_hint(lacking, rules)}")
        chosen = {name: rules[rules[name].tied or name] for name in parameters}
        for name, tensor in parameters.items():
            if chosen[name].shape != tuple(tensor.shape):
                raise ValueError(
                    f"{shown(name)} has shape {tuple(tensor.shape)}, and the plan has {chosen[name].shape}"
                )
        keys = {name: rules.key(name) for name in parameters}
    else:
        made = Plan(
            {name: Param(tuple(each.shape), dtype=_kind(each, name)) for name, each in parameters.items()}, rules
        )
        chosen, keys = dict(made.items()), {name: name for name in parameters}
    bounds = []
    for name, tensor in parameters.items():
        param = chosen[name]
        assert param.scheme is not None
        if tensor.numel():
            bounds += bounds_to(tensor, param.scheme, stream_key(seed, keys[name]), param.layout or "oi", name)
    run_bounds(bounds, threads)
    for tensor in parameters.values():
        written(tensor)
    return module


def _kind(tensor: torch.Tensor, name: str) -> str:
    check_tensor(tensor, name)
    if tensor.is_meta:
        raise ValueError(f"{shown(name)} is on the meta device and has no memory to fill: use materialize_")
    return KINDS[tensor.dtype]
