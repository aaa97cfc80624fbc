"""Plans: what a model's tensors are called, their shapes, dtypes and schemes, and all that is drawn from them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from winit._core.checks import check_threads, items_of, shown
from winit._core.drawing import array_of, check_destination, place_of
from winit._core.dtypes import FLOATS, empty, float_name, numpy_dtype
from winit._core.keys import stream_key
from winit._core.running import run_bounds
from winit._core.scheme import Scheme
from winit._core.shapes import MAX_SIZE, Box, check_box, locate
from winit._plans.globs import check_patterns, matches, matching, nearest_hint, unmatched
from winit._plans.param import Param, Rule, check_rule, shown_name

if TYPE_CHECKING:
    from winit._plans.parameter_table import Value

__all__ = ["Plan", "check_plan"]


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"names must be str, not {shown(name)}")
    stream_key(0, name)
    return str.__str__(name)


def _check_rules(rules: Any) -> list[Rule]:
    items = None if isinstance(rules, (str, bytes, Mapping)) else items_of(rules)
    if items is None:
        hint = "; its .items() do" if isinstance(rules, Mapping) else ""
        raise TypeError(f"rules must be an iterable of (pattern, scheme), not {shown(rules)}{hint}")
    return [check_rule(rule) for rule in items]


def _pairs(params: Any) -> list[tuple[Any, Any]]:
    """A caller's mapping, or pairs, as pairs."""
    if isinstance(params, Mapping):
        return list(params.items())
    items = None if isinstance(params, (str, bytes)) else items_of(params)
    if items is None:
        raise TypeError(f"params must be a mapping from names to Params or shapes, not {shown(params)}")
    pairs = []
    for pair in items:
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"params must be a mapping, or pairs of a name and a Param or shape, not {shown(pair)}")
        pairs.append((pair[0], pair[1]))
    return pairs


class Plan(Mapping[str, Param]):
    """Hold what all of a model's weights are, but for the seed: an ordered, immutable mapping from names to Params.

    Parameters
    ----------
    params : mapping, or iterable of pairs, from name to Param, or to a shape alone.
    rules : iterable of winit.Rule, or of (pattern, scheme[, layout[, dtype[, optional]]]). In a pattern `*` is any run
        of characters, dots too, and every other character is itself. A tensor without a scheme of its own gets that of
        the first rule whose pattern matches its name, and with it the rule's layout and dtype where it has none itself.

    Raises
    ------
    TypeError, ValueError : a tensor without a scheme, one key for two tensors, a tie to a tensor that is not there or
        tied itself, a scheme that its shape or dtype does not allow: the message begins with the tensor's name. A
        pattern that matches no name at all, unless its rule is optional: the message names the nearest.

    >>> import winit
    >>> plan = Plan({"fc.weight": (300, 784), "fc.bias": (300,)}, rules=[("*.bias", winit.zeros()),
    ...                                                                   ("*", winit.he_normal())])
    >>> plan.parameters
    235500
    >>> sorted(plan.build(seed=0))
    ['fc.bias', 'fc.weight']

    """

    def __init__(
        self,
        params: Mapping[str, Param | Sequence[int]] | Iterable[tuple[str, Param | Sequence[int]]] = (),
        rules: Iterable[Rule | Sequence[Any]] = (),
    ) -> None:
        checked = _check_rules(rules)
        self._params: dict[str, Param] = {}
        given: dict[str, Any] = {}
        for pair_name, param in _pairs(params):
            name = _check_name(pair_name)
            if name in given:
                raise ValueError(f"{shown_name(name)}: the plan has two tensors of this name")
            given[name] = param
        for rule in checked:
            if not rule.optional and not any(matches(rule.match, name) for name in given):
                raise ValueError(unmatched(rule.match, given, "the pattern"))
        for name, param in given.items():
            try:
                self._params[name] = _complete(name, param, checked)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{shown_name(name)}: {error}") from None
        self._check_ties()
        self._check_keys()
        if sum(param.nbytes for param in self._params.values() if param.tied is None) > MAX_SIZE:
            raise ValueError("the plan's tensors are more than 2^63 bytes together")

    @classmethod
    def from_shapes(cls, tensors: Mapping[str, Any], rules: Iterable[Rule | Sequence[Any]]) -> Plan:
        """Make the plan of tensors that exist elsewhere, from their shapes and dtypes.

        Parameters
        ----------
        tensors : mapping from names to what has a `.shape`, and a `.dtype` where it matters: NumPy, JAX and torch
            arrays, a model's state_dict(), jax.ShapeDtypeStruct, Keras variables. Their values are not looked at.
        rules : as of winit.Plan.

        Raises
        ------
        TypeError, ValueError : a value without a shape; as of winit.Plan.

        >>> import numpy as np, winit
        >>> old = {"fc.weight": np.zeros((300, 784), np.float16), "fc.bias": np.zeros(300, np.float16)}
        >>> plan = winit.Plan.from_shapes(old, [("*.bias", winit.zeros()), ("*", winit.he_normal())])
        >>> plan["fc.bias"]
        Param(shape=(300,), scheme=zeros(), dtype='float16', layout='oi')

        """
        if not isinstance(tensors, Mapping):
            raise TypeError(f"tensors must be a mapping from names to arrays, not {shown(tensors)}")
        params = {}
        for name, tensor in tensors.items():
            shape, dtype = getattr(tensor, "shape", None), getattr(tensor, "dtype", None)
            if isinstance(tensor, Param) or shape is None:
                raise TypeError(
                    f"{shown_name(_check_name(name))}: must be an array or another object with a shape, not "
                    f"{type(tensor).__name__}; winit.Plan itself takes Params and shapes"
                )
            try:
                params[_check_name(name)] = Param(shape, dtype=dtype)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{shown_name(name)}: {error}") from None
        return cls(params, rules)

    def _check_ties(self) -> None:
        for name, param in self._params.items():
            if param.tied is None:
                continue
            target = self._params.get(param.tied)
            if target is None:
                others = [other for other in self._params if other != name]
                hint = nearest_hint(param.tied, others) if others else ""
                raise ValueError(f"{shown_name(name)}: tied to {shown(param.tied)}, which is not in the plan{hint}")
            if target.tied is not None:
                raise ValueError(f"{shown_name(name)}: tied to {param.tied!r}, which is itself tied to {target.tied!r}")
            if param.shape not in ((), target.shape):
                raise ValueError(
                    f"{shown_name(name)}: of shape {param.shape}, tied to {param.tied!r} of shape {target.shape}"
                )
            self._params[name] = Param(target.shape, None, target.dtype, target.layout, tied=param.tied)

    def _check_keys(self) -> None:
        owners: dict[str, str] = {}
        for name, param in self._params.items():
            if param.tied is not None:
                continue
            key = self.key(name)
            owner = owners.setdefault(key, name)
            if owner != name and _with(param, key=None) != _with(self._params[owner], key=None):
                # Two laws of one stream are correlated; a copy of a tensor, as of a target network, is meant.
                raise ValueError(
                    f"{shown_name(name)}: has the key {shown(key)}, which {shown(owner)} has already, and differs "
                    "from it"
                )
            try:
                stream_key(0, key)
            except ValueError as error:
                raise ValueError(f"{shown_name(name)}: {error}") from None

    # ---- the mapping

    def __getitem__(self, name: str) -> Param:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return list(self._params.items()) == list(other._params.items())

    def __hash__(self) -> int:
        return hash(tuple(self._params.items()))

    def __repr__(self) -> str:
        return f"<Plan of {len(self)} tensors, {self.parameters:,} parameters, {self.nbytes:,} bytes>"

    def key(self, name: str) -> str:
        """Return the name that keys a tensor's stream."""
        param = self._params[self._known(name)]
        if param.tied is not None:
            return self.key(param.tied)
        return name if param.key is None else param.key

    @property
    def stored(self) -> dict[str, Param]:
        """The tensors that have values of their own: all but the tied ones."""
        return {name: param for name, param in self._params.items() if param.tied is None}

    @property
    def parameters(self) -> int:
        """Number of elements, tied tensors counted once."""
        return sum(param.size for param in self.stored.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, tied tensors counted once."""
        return sum(param.nbytes for param in self.stored.values())

    @cached_property
    def digest(self) -> str:
        """A fingerprint of the plan: BLAKE2b (16 bytes, hexadecimal) over what its tensors are, in order.

        Each tensor is one line of JSON: [name, shape, dtype, scheme, layout, key, tied], scheme and layout as they
        print, key and tied null where there is none.
        """
        hashed = blake2b(digest_size=16, person=b"winit-plan-1")
        for name, param in self.items():
            scheme = None if param.scheme is None else repr(param.scheme)
            fields = [name, list(param.shape), param.dtype, scheme, str(param.layout), param.key, param.tied]
            hashed.update(json.dumps(fields).encode() + b"\n")
        return hashed.hexdigest()

    def with_dtype(self, dtype: Any) -> Plan:
        """Return the plan with its floating-point tensors in another floating-point dtype.

        Raises
        ------
        ValueError : not a floating-point dtype that winit draws.

        """
        name = float_name(dtype)
        return Plan(
            (key, _with(param, dtype=name) if param.dtype in FLOATS and param.tied is None else _untied(param))
            for key, param in self.items()
        )

    def with_schemes(self, schemes: Mapping[str, Scheme]) -> Plan:
        """Return the plan with other schemes for some of its tensors.

        Raises
        ------
        ValueError : a name that the plan lacks, or of a tied tensor; as of winit.Plan.

        """
        if not isinstance(schemes, Mapping):
            raise TypeError(f"schemes must be a mapping from names to schemes, not {shown(schemes)}")
        for name in schemes:
            self._stored(name)
        return Plan(
            (name, _with(param, scheme=schemes[name]) if name in schemes else _untied(param))
            for name, param in self.items()
        )

    # ---- drawing

    def _known(self, name: Any) -> str:
        """A caller's name of a tensor, or what is wrong with it."""
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if name not in self._params:
            raise ValueError(f"the plan has no tensor {shown(name)}{nearest_hint(name, self._params)}")
        return name

    def _stored(self, name: Any) -> str:
        """The name of the tensor whose values a name stands for."""
        param = self._params[self._known(name)]
        return name if param.tied is None else param.tied

    def draw(self, name: str, *, seed: int, box: Box | None = None, threads: int | None = None) -> np.ndarray:
        """Draw one tensor, or a box of it.

        Parameters
        ----------
        name : str, a tensor of the plan; a tied name stands for its target.
        seed : int, 0 <= seed < 2^64.
        box, threads : as in winit.draw.

        Returns
        -------
        numpy.ndarray of the box's shape.

        Raises
        ------
        TypeError, ValueError : a name that the plan lacks; seed, box, threads.

        >>> import winit
        >>> plan = Plan({"fc": (300, 784)}, rules=[("*", winit.he_normal())])
        >>> rows = plan.draw("fc", seed=0, box=slice(100, 200))
        >>> bool((rows == plan.build(seed=0)["fc"][100:200]).all())
        True

        """
        stored = self._stored(name)
        param = self._params[stored]
        key = stream_key(seed, self.key(stored))
        threads = check_threads(threads)
        checked = check_box(param.shape, box)
        out = empty(locate(param.shape, checked)[0], numpy_dtype(param.dtype))
        run_bounds([param.bind(out, key, checked)], threads)
        return out

    def fill(self, tensors: Mapping[str, Any], *, seed: int, threads: int | None = None) -> None:
        """Fill existing tensors in place, as one batch over all threads.

        Parameters
        ----------
        tensors : mapping from names of the plan to arrays, or other memory that winit.fill takes, of the plan's
            shapes and dtypes: a torch model's state_dict() for one. Tensors that the mapping lacks are left alone; tied
            names that share memory are filled once.
        seed : int, 0 <= seed < 2^64.
        threads : int or None, the processors this process may use.

        Raises
        ------
        TypeError, ValueError : a name that the plan lacks, another shape or dtype than the plan's, memory that cannot
            be written; nothing is written then.

        >>> import numpy as np, winit
        >>> plan = Plan({"fc": (2, 3)}, rules=[("*", winit.ones())])
        >>> out = {"fc": np.zeros((2, 3), np.float32)}
        >>> plan.fill(out, seed=0)
        >>> out["fc"].tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]

        """
        if not isinstance(tensors, Mapping):
            raise TypeError(f"tensors must be a mapping from names to arrays, not {shown(tensors)}")
        stream_key(seed)
        threads = check_threads(threads)
        bounds, filled = [], set()
        for name, tensor in tensors.items():
            stored = self._stored(name)
            param = self._params[stored]
            try:
                out, dtype = array_of(tensor)
                if dtype != param.dtype:
                    raise ValueError(f"out holds {dtype}, and the plan says {param.dtype}")
                check_destination(out, param.shape)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{shown_name(name)}: {error}") from None
            place = (stored, *place_of(out))
            if place not in filled:
                filled.add(place)
                bounds.append(param.bind(out, stream_key(seed, self.key(stored))))
        run_bounds(bounds, threads)

    def build(
        self, *, seed: int, names: str | Iterable[str] | None = None, threads: int | None = None
    ) -> dict[str, np.ndarray]:
        """Draw tensors, as one batch over all threads.

        Parameters
        ----------
        seed : int, 0 <= seed < 2^64.
        names : a pattern or several, of the tensors to draw; None for all.
        threads : int or None, the processors this process may use.

        Returns
        -------
        dict : name -> array, in the plan's order. A tied name holds its target's array itself.

        Raises
        ------
        TypeError, ValueError : seed, names, threads. MemoryError : the arrays cannot be allocated. ImportError :
            bfloat16 or a float8 without ml_dtypes.

        """
        stream_key(seed)
        threads = check_threads(threads)
        chosen = list(self) if names is None else matching(check_patterns(names, "names"), self, "the pattern")
        arrays: dict[str, np.ndarray] = {}
        bounds = []
        stored = {name: self._params[name].tied or name for name in chosen}
        for name in dict.fromkeys(stored.values()):
            param = self._params[name]
            out = arrays[name] = empty(param.shape, numpy_dtype(param.dtype))
            bounds.append(param.bind(out, stream_key(seed, name if param.key is None else param.key)))
        run_bounds(bounds, threads)
        return {name: arrays[target] for name, target in stored.items()}

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int,
        overwrite: bool = False,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        max_shard_size: int | str | None = None,
        rank: int | Literal["auto"] | None = None,
        world: int | None = None,
        resume: bool = False,
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    ) -> None:
        """Draw every tensor straight into a file, or into the files of a folder; see winit.checkpoint.write."""
        from winit.checkpoint import write

        write(
            self,
            path,
            seed=seed,
            overwrite=overwrite,
            threads=threads,
            progress=progress,
            max_shard_size=max_shard_size,
            rank=rank,
            world=world,
            resume=resume,
            config=config,
        )

    # ---- TOML

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str], parameters: Mapping[str, Value] | None = None) -> Plan:
        """Read a plan from TOML text, or from a file named by a path.

        Parameters
        ----------
        source : TOML text; or a path: any os.PathLike, or a str of one line that ends in ".toml".
        parameters : values instead of the defaults of the document's table [parameters]. docs/recipes.md describes
            all that such a document may hold.

        Raises
        ------
        ValueError : malformed TOML, an unknown key, scheme or parameter, names that overlap; one line that says where.
        TypeError : a parameter of another kind than its default. OSError : a file that cannot be read.

        >>> import winit
        >>> plan = Plan.from_toml('''
        ... dtype = "bfloat16"
        ... [tensors]
        ... "h.{0..2}.weight" = { shape = [8, 8] }
        ... [[rules]]
        ... match = "*.weight"
        ... scheme = "normal(std=0.02 / sqrt(2 * 3))"
        ... ''')
        >>> list(plan)
        ['h.0.weight', 'h.1.weight', 'h.2.weight']
        >>> Plan.from_toml(plan.to_toml()) == plan
        True
        >>> text = '''
        ... [parameters]
        ... dim = 64
        ... layers = 12
        ... [tensors]
        ... "h.{i=0..layers-1}.fc" = { shape = ["4 * dim", "dim"], scheme = "normal(std=0.02 / sqrt(i + 1))" }
        ... '''
        >>> plan = Plan.from_toml(text, {"dim": 96, "layers": 4})
        >>> plan["h.3.fc"].shape, plan["h.3.fc"].scheme
        ((384, 96), normal(std=0.01))

        """
        from winit._plans.toml_reader import read_params

        params = read_params(source, parameters)
        try:
            return cls(params)
        except TypeError as error:  # in a document what is of the wrong kind is a wrong value of the text
            raise ValueError(str(error)) from None

    def to_toml(self) -> str:
        """Write the plan as TOML text that from_toml reads back to an equal plan."""
        from winit._plans.toml_writer import plan_text

        return plan_text(self)


def check_plan(plan: Any, what: str = "plan") -> None:
    """Raise unless a caller's plan is one."""
    if not isinstance(plan, Plan):
        raise TypeError(f"{what} must be a winit.Plan, not {type(plan).__name__}")


def _with(param: Param, **changes: Any) -> Param:
    fields = {name: changes.get(name, value) for name, value in vars(param).items()}
    return Param(**fields)


def _untied(param: Param) -> Param:
    """A Param as a new plan takes it: what a tied one has is its target's."""
    return param if param.tied is None else Param(tied=param.tied)


def _complete(name: str, given: Any, rules: Sequence[Rule]) -> Param:
    """Give a Param what it lacks, and find out now what drawing it would complain of."""
    if not isinstance(given, Param):
        if hasattr(given, "shape"):
            raise TypeError(
                f"must be a Param or a shape, not {type(given).__name__}; Plan.from_shapes takes arrays and tensors"
            )
        if isinstance(given, (Scheme, str)) or (isinstance(given, type) and issubclass(given, Scheme)):
            hint = f"; did you mean {given.__name__}()?" if isinstance(given, type) else ""
            raise TypeError(
                f"must be a Param or a shape, not {shown(given)}; a scheme comes from Param or from rules{hint}"
            )
        given = Param(given)
    if given.tied is not None:
        return given
    scheme, layout, dtype = given.scheme, given.layout, given.dtype
    if scheme is None:
        rule = next((rule for rule in rules if matches(rule.match, name)), None)
        if rule is None:
            raise ValueError("has no scheme, and no rule matches its name")
        scheme = rule.scheme
        layout, dtype = layout or rule.layout, dtype or rule.dtype
    complete = given
    if given.scheme is None or given.dtype is None or given.layout is None:
        complete = Param(given.shape, scheme, dtype or "float32", layout or "oi", key=given.key)
    complete.law()
    return complete
