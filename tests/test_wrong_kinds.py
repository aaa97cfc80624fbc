"""Every public function with every wrong kind: what is refused is refused by winit's own check, in one short line.

Each function has one valid call in a table, and its arguments are replaced one at a time by each of a list of values
that are wrong nearly everywhere. A call may succeed, where the value is one it takes.
"""

import decimal
import dis
import fractions
import functools
import importlib
import importlib.util
import inspect
import linecache
import os
import pathlib
import types
import warnings

import numpy as np
import pytest

import winit
from winit import Axes, Param, Plan, Rule, activations, checkpoint, lab, methods, net2net, recipes
from winit.presets import jax as jax_presets
from winit.presets import keras as keras_presets
from winit.presets import torch as torch_presets

SOURCE = str(pathlib.Path(winit.__file__).parent)

# ---- the wrong values: fresh ones each time, since iterators are used up


class Text(str):
    __slots__ = ()


class Number(float):
    __slots__ = ()


class Index:
    """An integer whose __index__ does what it is told."""

    def __init__(self, answer):
        self.answer = answer

    def __index__(self):
        return self.answer()


class RaisingFloat:
    def __float__(self):
        raise ZeroDivisionError("inside the caller's __float__")


class RaisingEq:
    def __eq__(self, other):
        raise ZeroDivisionError("inside the caller's __eq__")

    __hash__ = object.__hash__


class RaisingBool:
    def __bool__(self):
        raise ZeroDivisionError("inside the caller's __bool__")


class RaisingRepr:
    def __repr__(self):
        raise ZeroDivisionError("inside the caller's __repr__")


class RaisingIter:
    def __iter__(self):
        raise ZeroDivisionError("inside the caller's __iter__")


class RaisingPath:
    def __fspath__(self):
        raise ZeroDivisionError("inside the caller's __fspath__")


def _raise():
    raise ZeroDivisionError("inside the caller's __index__")


def a_function(*given, **named):
    return None


WRONG = {
    "None": lambda: None,
    "True": lambda: True,
    "0": lambda: 0,
    "3": lambda: 3,
    "-1": lambda: -1,
    "2**70": lambda: 2**70,
    "10**5000": lambda: 10**5000,
    "-10**5000": lambda: -(10**5000),
    "1.5": lambda: 1.5,
    "1e300": lambda: 1e300,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "1j": lambda: 1j,
    "empty text": lambda: "",
    "text": lambda: "text",
    "long text": lambda: "x" * 100_000,
    "text of two lines": lambda: "x\ny",
    "lone surrogate": lambda: "\ud800",
    "null": lambda: "a\0b",
    "bytes": lambda: b"x",
    "bytearray": lambda: bytearray(b"xyz"),
    "[]": list,
    "()": lambda: (),
    "[None]": lambda: [None],
    "('x',)": lambda: ("x",),
    "(1.5, 2)": lambda: (1.5, 2),
    "(10**5000,)": lambda: (10**5000,),
    "long list": lambda: list(range(10_000)),
    "nested list": lambda: [[1], [2, 3]],
    "{}": dict,
    "{1: 2}": lambda: {1: 2},
    "{'x': None}": lambda: {"x": None},
    "set()": set,
    "{1}": lambda: {1},
    "object()": object,
    "a class": lambda: winit.normal,
    "a scheme": lambda: winit.normal(),
    "int": lambda: int,
    "a function": lambda: a_function,
    "a module": lambda: np,
    "Ellipsis": lambda: ...,
    "slice": lambda: slice(0, 1),
    "slice of text": lambda: slice("a", "b"),
    "range": lambda: range(2),
    "zeros(3)": lambda: np.zeros(3),
    "zeros((2, 2))": lambda: np.zeros((2, 2)),
    "array(3)": lambda: np.array(3),
    "array('x')": lambda: np.array("x"),
    "array of objects": lambda: np.array([None, {}], dtype=object),
    "structured": lambda: np.zeros(2, [("a", "i4")]),
    "float32": lambda: np.float32(1),
    "int64": lambda: np.int64(2),
    "bool_": lambda: np.bool_(True),
    "str_": lambda: np.str_("x"),
    "datetime64": lambda: np.datetime64("2020"),
    "masked": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "masked constant": lambda: np.ma.masked,
    "subclass of str": lambda: Text("abc"),
    "subclass of float": lambda: Number(1.5),
    "__index__ raises": lambda: Index(_raise),
    "__index__ of text": lambda: Index(lambda: "2"),
    "__index__ of 10**5000": lambda: Index(lambda: 10**5000),
    "__float__ raises": RaisingFloat,
    "__repr__ raises": RaisingRepr,
    "__iter__ raises": RaisingIter,
    "__eq__ raises": RaisingEq,
    "__bool__ raises": RaisingBool,
    "__fspath__ raises": RaisingPath,
    "iterator": lambda: iter([1, 2]),
    "generator": lambda: (each for each in "ab"),
    "generator that raises": lambda: (1 // 0 for each in "ab"),
    "Path": lambda: pathlib.Path("/nonexistent/x"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "Fraction beyond float": lambda: fractions.Fraction(10**5000),
    "Decimal": lambda: decimal.Decimal("0.1"),
    "Decimal sNaN": lambda: decimal.Decimal("sNaN"),
    "memoryview": lambda: memoryview(b"abc"),
    "dtype": lambda: np.dtype("float32"),
}


@pytest.fixture(scope="module", autouse=True)
def _with_torch():
    try:
        import torch
    except ImportError:
        return
    WRONG["tensor"] = lambda: torch.ones(2)
    WRONG["scalar tensor"] = lambda: torch.tensor(2)
    WRONG["tensor with gradient"] = lambda: torch.ones((2, 2), requires_grad=True)
    WRONG["meta tensor"] = lambda: torch.ones(2, device="meta")
    WRONG["torch dtype"] = lambda: torch.float16


# ---- what is asked of a refusal

# What Python itself says of a call, and of a key that no mapping could have.
PYTHONS_OWN = ("unexpected keyword", "required positional", "required keyword-only", "positional arg")
PYTHONS_OWN += ("unhashable type", "Cannot hash")
CALLERS = ("__iter__", "<genexpr>")  # what goes wrong in a caller's own loop is told as it is
TELLING = ("must", "needs", "expected", "there are", "lacks", "no place", "cannot", "has no", "matches no", "beyond")
TELLING += (
    "more than",
    "outside",
    "are also",
    "no axis",
    "is empty",
    "sum to",
    "runs on",
    "numbers, the kernel",
)
TELLING += ("neither", "malformed", "takes no", "draws an array", "does not have", "set jax_enable_x64", " is for ")


def message_tells(message, argument):
    """Whether a message names the argument, or says what was expected."""
    return argument in message or any(word in message for word in TELLING)


@functools.cache
def _raises_at(code, last):
    """Whether an instruction is a raise statement's; of Numba's frames, which have no instructions, the line tells."""
    if code.co_filename.endswith("jit.py") and len(code.co_code) < 10:
        return linecache.getline(code.co_filename, code.co_firstlineno).strip().startswith("raise")
    return any(each.offset == last and each.opname == "RAISE_VARARGS" for each in dis.get_instructions(code))


def innermost(error):
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def complaint(error, argument=""):
    """What is wrong with an exception as a caller's answer; None where nothing is."""
    if innermost(error).tb_frame.f_code.co_name in CALLERS and innermost(error).tb_frame.f_code.co_filename == __file__:
        return None
    if not isinstance(error, (TypeError, ValueError, MemoryError, OSError, ImportError)):
        return f"raw {type(error).__name__}{_place(error)}"
    message = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return None if error.filename is not None else f"OSError without the path: {message!r}"
    if isinstance(error, UnicodeError):
        return f"raw {type(error).__name__}{_place(error)}"
    if "\n" in message or not message.isprintable():
        return f"not one line: {message[:100]!r}{_place(error)}"
    if len(message) >= 500:
        return f"{len(message)} characters: {message[:100]!r}{_place(error)}"
    if error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        return f"chained: {message[:100]!r}{_place(error)}"
    trace = innermost(error)
    code = trace.tb_frame.f_code
    if code.co_filename == __file__ and any(words in message for words in PYTHONS_OWN):
        return None
    if not message_tells(message, argument):
        return f"does not say what was expected of {argument}: {message[:150]!r}"
    if not code.co_filename.startswith(SOURCE) or not _raises_at(code, trace.tb_lasti):
        return f"not winit's: {type(error).__name__} {message[:150]!r}{_place(error)}"
    hidden = error.__context__
    if hidden is not None and str(hidden) and str(hidden) in message and not _quoted(code):
        return complaint(hidden, argument)  # what is said again under a name was winit's own too
    return None


# Functions that quote what another library says of its own: TOML's reader, regular expressions, other people's memory.
QUOTING = ("_Document.__init__", "depth_scaled_residuals", "_dlpack", "_buffer", "_interface", "array_of")


def _quoted(code):
    return code.co_qualname in QUOTING


def _place(error):
    trace = innermost(error)
    path = trace.tb_frame.f_code.co_filename
    line = linecache.getline(path, trace.tb_lineno).strip()
    return f" at {path.removeprefix(SOURCE)}:{trace.tb_lineno} {line[:90]}"


def refused(call, **named):
    """The exception that a call ends with; None where it succeeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "dtype .* needs jax_enable_x64")  # which winit.jax says, and goes on
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="jax")  # of iterators in trees
        try:
            call(**named)
        except Exception as error:
            return error
    return None


# ---- one valid call each


def plan_of(**schemes):
    scheme = schemes.get("scheme", winit.he_normal())
    return Plan({"0.weight": (4, 4), "0.bias": (4,), "1.weight": (2, 4)}, [("*.bias", winit.zeros()), ("*", scheme)])


PLAN = plan_of()
NET = {"a": np.ones((3, 5), np.float32), "b": np.ones((2, 3), np.float32)}
NORMAL = winit.normal()


def _out():
    return np.full((2, 3), 7, np.float32)


SHAPES = {
    **dict.fromkeys(("dirac", "dirac_", "delta_orthogonal"), (4, 4, 3)),
    **dict.fromkeys(("stft", "STFT", "STFTInitializer"), (5, 1, 4)),
    **dict.fromkeys(("chrono_bias", "lstm_bias"), 8),
}


def _row():
    return np.full(3, 7, np.float32)


def drawn(scheme, name):
    """Draw a scheme: what it took must be good for a tensor that it fits, or refused in the same manner."""
    shape = SHAPES.get(name, (4, 4))
    if scheme.__module__.startswith("winit.presets") and "torch" not in scheme.__module__ and shape != 8:
        shape = shape[::-1]  # (*spatial, in, out)

    def call(**named):
        made = scheme(**named)
        repr(made), hash(made)
        winit.draw(made, shape, seed=0)

    call.__signature__ = inspect.signature(scheme)
    call.__name__ = scheme.__name__
    return call


def also(function, then):
    """The function, then something done with what it returned."""

    def call(**named):
        then(function(**named))

    call.__signature__ = inspect.signature(function)
    return call


TAPE_Y, TAPE = winit.dense_forward(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.ones(4, np.float32))


def _generator(method):
    return lambda **named: getattr(winit.BitGenerator(0, "w"), method)(**named)


def _set_state(state):
    winit.BitGenerator(0, "w").state = state


def _set_place(seed=0, name="w", position=0):
    _set_state({"bit_generator": "BitGenerator", "state": {"seed": seed, "name": name, "position": position}})


# label -> function, its needed arguments (the others have their defaults); callables among these make fresh ones
SCHEMES = {
    "chrono_bias": {"max_steps": 10},
    "constant": {"value": 0.5},
    "depth_scaled": {"layer": 2},
    "gpt2_residual": {"layers": 2},
    "literal": {"values": np.ones((4, 4))},
    "sparse": {"k": 2},
    "sparse_columns": {"sparsity": 0.5},
    "sparse_rows": {"sparsity": 0.5},
    "wang_init": {"layers": 2},
    "with_layout": {"scheme": NORMAL, "layout": "oi"},
}
PRESETS = {
    "constant_": {"val": 0.5},
    "sparse_": {"sparsity": 0.5},
    "jax.variance_scaling": {"scale": 1.0, "mode": "fan_in", "distribution": "normal"},
    "jax.constant": {"value": 0.5},
}
RECIPE = "[parameters]\nn = 3\ns = 0.5\n[tensors]\n'h.{0..n-1}' = { shape = ['n', 4], scheme = 'normal(std=s)' }\n"


def _toml(text):
    return lambda value: Plan.from_toml(text, {"n": value})


TABLE = {
    "draw": (winit.draw, {"scheme": NORMAL, "shape": (2, 3), "seed": 0}),
    "draw of a matrix": (winit.draw, {"scheme": winit.he_normal(), "shape": (4, 3), "seed": 0}),
    "draw of orthogonal": (winit.draw, {"scheme": winit.orthogonal(), "shape": (4, 3), "seed": 0}),
    "draw of zeros": (winit.draw, {"scheme": winit.zeros(), "shape": (4, 3), "seed": 0}),
    "fill": (winit.fill, {"out": _out, "scheme": NORMAL, "seed": 0}),
    "add": (winit.add, {"out": _out, "scheme": NORMAL, "seed": 0}),
    "words": (winit.words, {"seed": 0, "name": "", "lo": 0, "hi": 4}),
    "fans": (winit.fans, {"shape": (4, 3)}),
    "gain": (winit.gain, {"nonlinearity": "leaky_relu"}),
    "draw_sparse": (winit.draw_sparse, {"scheme": winit.sparse(2), "shape": (4, 4), "seed": 0}),
    "dense_forward": (
        winit.dense_forward,
        {"x": np.ones((2, 3), np.float32), "weight": np.ones((4, 3), np.float32)},
    ),
    "dense_backward": (winit.dense_backward, {"grad": np.ones((2, 4), np.float32), "tape": TAPE}),
    "engines": (winit.engines, {}),
    "get_include": (winit.get_include, {}),
    "use_engine": (winit.use_engine, {"name": "reference"}),
    "pretrained": (winit.pretrained, {"path": "weights.npz", "plan": PLAN, "seed": 0}),
    "Source": (also(winit.Source, repr), {"names": "0.bias"}),
    "Axes": (also(Axes, lambda axes: (repr(axes), winit.fans((4, 3), axes))), {"in_": 1, "out": 0}),
    "Param": (also(Param, repr), {"shape": (2, 3), "scheme": NORMAL}),
    "Rule": (also(Rule, repr), {"match": "*", "scheme": NORMAL}),
    "Plan": (also(Plan, repr), {"params": {"a": (2, 3)}, "rules": [("*", NORMAL)]}),
    "Plan.from_shapes": (Plan.from_shapes, {"tensors": {"a": np.ones((2, 3))}, "rules": [("*", NORMAL)]}),
    "Plan.from_toml": (Plan.from_toml, {"source": RECIPE}),
    "Plan.draw": (PLAN.draw, {"name": "0.weight", "seed": 0}),
    "Plan.fill": (PLAN.fill, {"tensors": lambda: {"0.bias": np.zeros(4, np.float32)}, "seed": 0}),
    "Plan.build": (PLAN.build, {"seed": 0}),
    "Plan.write": (PLAN.write, {"path": "plan.safetensors", "seed": 0, "overwrite": True}),
    "Plan.key": (PLAN.key, {"name": "0.weight"}),
    "Plan.with_dtype": (PLAN.with_dtype, {"dtype": "float64"}),
    "Plan.with_schemes": (PLAN.with_schemes, {"schemes": {"0.weight": NORMAL}}),
    "Plan.to_toml": (PLAN.to_toml, {}),
    "Virtual": (winit.Virtual, {"scheme": NORMAL, "shape": (4, 3), "seed": 0}),
    "Virtual.draw": (winit.Virtual(NORMAL, (4, 3), seed=0).draw, {}),
    "BitGenerator": (winit.BitGenerator, {"seed": 0}),
    "BitGenerator.advance": (_generator("advance"), {"delta": 2}),
    "BitGenerator.spawn": (_generator("spawn"), {"n_children": 2}),
    "BitGenerator.state": (_set_state, {"state": winit.BitGenerator(0, "w").state}),
    "BitGenerator.state of": (_set_place, {}),
    "Scheme.moments": (winit.he_normal().moments, {"shape": (4, 3)}),
    "Scheme.moments of whole tensors": (winit.orthogonal().moments, {"shape": (4, 3)}),
    "Scheme()": (winit.he_normal().__call__, {"shape": (4, 3), "seed": 0}),
    "checkpoint.write": (checkpoint.write, {"plan": PLAN, "path": "w.safetensors", "seed": 0, "overwrite": True}),
    "checkpoint.write to a folder": (
        checkpoint.write,
        {
            "plan": PLAN,
            "path": "folder",
            "seed": 0,
            "overwrite": True,
            "max_shard_size": 300,
            "rank": 0,
            "world": 2,
            "resume": False,
            "config": {"a": 1},
        },
    ),
    "checkpoint.shards": (checkpoint.shards, {"plan": PLAN, "n": 2, "seed": 0, "max_shard_size": 300, "config": {}}),
    "checkpoint.Job.write": (
        checkpoint.shards(PLAN, 2, seed=0)[0].write,
        {"folder": "jobs", "overwrite": True, "resume": False, "threads": 1},
    ),
    "checkpoint.dummy": (
        checkpoint.dummy,
        {"source": PLAN, "folder": "dummies", "seed": 0, "scheme": NORMAL, "overwrite": True, "max_shard_size": "1kB"},
    ),
    "checkpoint.verify": (checkpoint.verify, {"path": "plan.safetensors", "plan": PLAN, "seed": 0}),
    "checkpoint.audit": (checkpoint.audit, {"path": "plan.safetensors", "plan": PLAN, "seed": 0}),
    "net2net.widen": (net2net.widen, {"arrays": NET, "units": 4, "copy": {"a": 0}, "share": {"b": 1}, "seed": 0}),
    "net2net.deepen": (net2net.deepen, {"arrays": NET, "weight": "c", "shape": (3, 3), "bias": "d"}),
    "methods.assign": (methods.assign, {"plan": PLAN, "rules": [("*", NORMAL)]}),
    "methods.biases": (methods.biases, {"plan": PLAN}),
    "methods.biases like torch": (methods.biases, {"plan": PLAN, "rule": "torch"}),
    "methods.deepnorm": (
        methods.deepnorm,
        {
            "plan": PLAN,
            "encoder": "0.weight",
            "decoder": "1.*",
            "others": "*.weight",
            "encoder_layers": 2,
            "decoder_layers": 3,
        },
    ),
    "methods.depth_scaled_residuals": (methods.depth_scaled_residuals, {"plan": PLAN, "outputs": "*.weight"}),
    "methods.fixup": (
        methods.fixup,
        {"plan": PLAN, "inner": "0.weight", "last": "1.*", "head": "0.bias", "blocks": 2, "depth": 3},
    ),
    "methods.gpt2_residuals": (methods.gpt2_residuals, {"plan": PLAN, "outputs": "*.weight", "layers": 2}),
    "methods.lora": (methods.lora, {"plan": PLAN, "a": "0.weight", "b": "1.weight"}),
    "methods.mup": (methods.mup, {"plan": PLAN, "base": PLAN}),
    "methods.neox": (methods.neox, {"plan": PLAN, "inputs": "0.*", "outputs": "1.*", "layers": 2, "dim": 4}),
    "methods.scaled": (methods.scaled, {"scheme": NORMAL, "factor": 0.5, "shape": (4, 4)}),
    "methods.silent_branches": (methods.silent_branches, {"plan": PLAN, "scales": "*.bias"}),
    "methods.sparse_connectivity": (methods.sparse_connectivity, {"plan": PLAN, "density": 0.5}),
    "methods.t_fixup": (
        methods.t_fixup,
        {
            "plan": PLAN,
            "embeddings": "0.weight",
            "encoder": "1.*",
            "decoder": "1.*",
            "others": "*.weight",
            "encoder_layers": 2,
            "decoder_layers": 3,
            "dim": 4,
        },
    ),
    "recipes.description": (recipes.description, {"name": "gpt2"}),
    "recipes.names": (recipes.names, {}),
    "recipes.parameters": (recipes.parameters, {"name": "gpt2"}),
    "recipes.load": (lambda name: recipes.load(name), {"name": "gpt2"}),
    "activations.Activation": (activations.Activation, {"name": "leaky_relu", "param": 0.1}),
    "activations.activation": (activations.activation, {"given": "relu"}),
    "activations.elu": (activations.elu, {}),
    "activations.leaky_relu": (activations.leaky_relu, {}),
    "activations.gain": (activations.gain, {"nonlinearity": "leaky_relu"}),
    "Activation.value": (activations.tanh().value, {"z": 1.0}),
    "Activation.derivative": (activations.relu().derivative, {"z": 1.0}),
    "Activation.mean": (activations.tanh().mean, {"variance": 1.0}),
    "Activation.second_moment": (activations.relu().second_moment, {"variance": 1.0}),
    "Activation.squared_slope": (activations.elu().squared_slope, {"variance": 1.0}),
    "stream.key": (winit.stream.key, {"seed": 0, "name": ""}),
    "stream.cut": (winit.stream.cut, {"low": -1.0, "high": 1.0, "dtype": "float32"}),
    "Param.law": (lambda **named: Param(**named).law(), {"shape": (2, 3), "scheme": NORMAL}),
    # what is inside of an argument
    "a size": (lambda size: winit.draw(NORMAL, (size, 3), seed=0), {"size": 2}),
    "a slice of a box": (lambda part: winit.draw(NORMAL, (4, 3), seed=0, box=(part, slice(1))), {"part": slice(1)}),
    "an end of a box": (lambda end: winit.draw(NORMAL, (4, 3), seed=0, box=(slice(0, end),)), {"end": 2}),
    "a step of a box": (lambda step: winit.draw(NORMAL, (4, 3), seed=0, box=(slice(0, 2, step),)), {"step": 1}),
    "an axis": (lambda axis: winit.fans((4, 3), Axes((axis,), 0)), {"axis": 1}),
    "an extent of splits": (lambda extent: winit.fans((4, 3), Axes(1, 0, splits=(extent, 2))), {"extent": 2}),
    "a name of a plan": (lambda name: Plan({name: (2, 3)}, [("*", NORMAL)]), {"name": "a"}),
    "a Param of a plan": (lambda param: Plan({"a": param}, [("*", NORMAL)]), {"param": (2, 3)}),
    "a pair of a plan": (lambda pair: Plan([pair], [("*", NORMAL)]), {"pair": ("a", (2, 3))}),
    "a rule of a plan": (lambda rule: Plan({"a": (2, 3)}, [rule]), {"rule": ("*", NORMAL)}),
    "a rule's match": (lambda match: Plan({"a": (2, 3)}, [(match, NORMAL)]), {"match": "*"}),
    "a rule's scheme": (lambda scheme: Plan({"a": (2, 3)}, [("*", scheme)]), {"scheme": NORMAL}),
    "a rule's layout": (lambda layout: Plan({"a": (2, 3)}, [("*", NORMAL, layout)]), {"layout": "io"}),
    "a rule's dtype": (lambda dtype: Plan({"a": (2, 3)}, [("*", NORMAL, "io", dtype)]), {"dtype": "float64"}),
    "a rule's optional": (lambda opt: Plan({"a": (2, 3)}, [("*", NORMAL, None, None, opt)]), {"opt": True}),
    "a key of a plan": (lambda key: Plan({"a": Param((2, 3), NORMAL, key=key)}), {"key": "b"}),
    "a tie of a plan": (lambda tied: Plan({"a": Param((2, 3), NORMAL), "b": Param(tied=tied)}), {"tied": "a"}),
    "a tensor of a plan": (lambda tensor: Plan.from_shapes({"a": tensor}, [("*", NORMAL)]), {"tensor": np.ones(2)}),
    "a shape of an object": (
        lambda shape: Plan.from_shapes({"a": types.SimpleNamespace(shape=shape)}, [("*", NORMAL)]),
        {"shape": (2, 3)},
    ),
    "a dtype of an object": (
        lambda dtype: Plan.from_shapes({"a": types.SimpleNamespace(shape=(2,), dtype=dtype)}, [("*", NORMAL)]),
        {"dtype": "float32"},
    ),
    "a name to fill": (lambda name: PLAN.fill({name: np.zeros(4, np.float32)}, seed=0), {"name": "0.bias"}),
    "a tensor to fill": (lambda out: PLAN.fill({"0.bias": out}, seed=0), {"out": lambda: np.zeros(4, np.float32)}),
    "a name to build": (lambda name: PLAN.build(seed=0, names=[name]), {"name": "0.*"}),
    "a name of another scheme": (lambda name: PLAN.with_schemes({name: NORMAL}), {"name": "0.weight"}),
    "another scheme": (lambda scheme: PLAN.with_schemes({"0.weight": scheme}), {"scheme": NORMAL}),
    "a parameter of a document": (lambda n: Plan.from_toml(RECIPE, {"n": n}), {"n": 4}),
    "a number of a document": (lambda s: Plan.from_toml(RECIPE, {"s": s}), {"s": 0.25}),
    "a name of a parameter": (lambda name: Plan.from_toml(RECIPE, {name: 4}), {"name": "n"}),
    "a size of a recipe": (lambda dim: recipes.load("gpt2", layers=1, dim=dim), {"dim": 64}),
    "a count of a recipe": (lambda layers: recipes.load("gpt2", layers=layers), {"layers": 2}),
    "a count of llama": (lambda layers: recipes.llama(layers=layers), {"layers": 2}),
    "a flag of a recipe": (lambda tied: recipes.gpt2(layers=1, tied=tied), {"tied": False}),
    "a number of a recipe": (lambda std: recipes.gpt2(layers=1, std=std), {"std": 0.5}),
    "patterns of a rule": (lambda match: methods.assign(PLAN, [(match, NORMAL)]), {"match": "*"}),
    "a pattern of a rule": (lambda match: methods.assign(PLAN, [([match], NORMAL)]), {"match": "*"}),
    "a scheme of a rule": (lambda scheme: methods.assign(PLAN, [("*", scheme)]), {"scheme": NORMAL}),
    "a scheme that a function makes": (
        lambda made: methods.assign(PLAN, [("*", lambda name, param: made)]),
        {"made": NORMAL},
    ),
    "an array to widen": (
        lambda array: net2net.widen({**NET, "b": array}, 4, copy={"a": 0}, share={"b": 1}, seed=0),
        {"array": NET["b"]},
    ),
    "an axis to copy": (
        lambda axis: net2net.widen(NET, 4, copy={"a": axis}, share={"b": 1}, seed=0),
        {"axis": 0},
    ),
    "an axis to share": (
        lambda axis: net2net.widen(NET, 4, copy={"a": 0}, share={"b": axis}, seed=0),
        {"axis": (1, 1)},
    ),
    "elements of a unit": (
        lambda each: net2net.widen(NET, 4, copy={"a": 0}, share={"b": (1, each)}, seed=0),
        {"each": 1},
    ),
    "a name to copy": (
        lambda name: net2net.widen(NET, 4, copy={name: 0}, share={"b": 1}, seed=0),
        {"name": "a"},
    ),
    "a name of trained tensors": (
        lambda name: winit.pretrained("weights.npz", PLAN, seed=0, names={name: "0.bias"}),
        {"name": "0.bias"},
    ),
    "a target of trained tensors": (
        lambda name: winit.pretrained("weights.npz", PLAN, seed=0, names={"0.bias": name}),
        {"name": "0.bias"},
    ),
    "a fit of trained tensors": (
        lambda fit: winit.pretrained("weights.npz", PLAN, seed=0, fit={"0.bias": fit}),
        {"fit": "overlap"},
    ),
    "one of the paths": (lambda path: winit.pretrained([path], PLAN, seed=0), {"path": "weights.npz"}),
    "a gradient's destination": (
        lambda out: winit.dense_backward(np.ones((2, 4), np.float32), TAPE, out=(None, out, None)),
        {"out": lambda: np.zeros((4, 3), np.float32)},
    ),
    "one of what is wanted": (
        lambda want: winit.dense_backward(np.ones((2, 4), np.float32), TAPE, want=[want]),
        {"want": "x"},
    ),
    "a value of a literal": (lambda value: winit.draw(winit.literal([value, 1.0]), 2, seed=0), {"value": 1.0}),
    "a value of a window": (
        lambda value: winit.draw(winit.stft(window=[value] * 5), (5, 1, 5), seed=0),
        {"value": 1.0},
    ),
}
TABLE |= {
    name: (drawn(getattr(winit, name), name), SCHEMES.get(name, {}))
    for name in winit.schemes.__all__
    if name not in ("Scheme", "named")
}
for _module, _presets in (("torch", torch_presets), ("jax", jax_presets), ("keras", keras_presets)):
    TABLE |= {
        f"{_module}.{name}": (
            drawn(getattr(_presets, name), name) if name != "calculate_gain" else torch_presets.calculate_gain,
            PRESETS.get(f"{_module}.{name}", PRESETS.get(name, {})),
        )
        for name in _presets.__all__
    }
TABLE["torch.calculate_gain"] = (torch_presets.calculate_gain, {"nonlinearity": "leaky_relu"})


# winit.jit's functions as Python calls them
DOORS = {
    "key": {"seed": 0},
    "cut": {},
    "fill_uniform": {"out": _row, "lo": 0},
    "fill_normal": {"out": _row, "lo": 0},
    "fill_truncated_normal": {"out": _row, "lo": 0},
    "fill_normal_f16": {"out": lambda: np.zeros(3, np.uint16), "lo": 0},
    "fill_normal_bf16": {"out": lambda: np.zeros(3, np.uint16), "lo": 0},
    "fill_normal_f8e4m3": {"out": lambda: np.zeros(3, np.uint8), "lo": 0},
    "fill_normal_f8e5m2": {"out": lambda: np.zeros(3, np.uint8), "lo": 0},
    "fill_with": {"out": _row, "lo": 0},
}


def arguments_of(function, needed):
    """All arguments of the valid call, defaults too."""
    parameters = inspect.signature(function).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {**defaults, **needed}


def fresh(value):
    """A value of the table, made anew where it is a function that makes one."""
    makes = isinstance(value, types.FunctionType) and value.__name__ in ("_out", "_row", "<lambda>")
    return value() if makes else value


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory):
    """A directory that the valid calls read from and write to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("kinds"))
        PLAN.write("plan.safetensors", seed=0)
        np.savez("weights.npz", **PLAN.build(seed=0))
        engine = next(name for name, each in winit.engines().items() if each["in_use"])
        yield
        winit.use_engine(engine)


TORCH = {
    "constant_": {"val": 1},
    "sparse_": {"sparsity": 0.5},
}


def _linear():
    import torch

    return torch.nn.Linear(3, 2)


def _tensor():
    import torch

    return torch.full((4, 4), 7.0)


def _torch_table():
    """The functions of winit.torch, whose calls need torch."""
    import winit.torch
    from winit.torch import init

    module = {"module": lambda: _linear(), "seed": 0}
    plan = Plan({"weight": Param((2, 3), NORMAL), "bias": Param((2,), winit.zeros())})
    drawn = {"tensor": lambda: _tensor(), "scheme": NORMAL, "seed": 0}
    table = {
        "torch.build": (winit.torch.build, {"factory": _linear, "seed": 0}),
        "torch.plan": (winit.torch.plan, {"factory": _linear}),
        "torch.report": (winit.torch.report, {"module": lambda: winit.torch.build(_linear, seed=0)}),
        "torch.materialize_": (winit.torch.materialize_, {**module, "plan": plan}),
        "torch.init_": (winit.torch.init_, {**module, "rules": [("*", NORMAL)]}),
        "torch.fill_": (winit.torch.fill_, drawn),
        "torch.add_": (winit.torch.add_, {"target": lambda: _tensor(), "scheme": NORMAL, "seed": 0}),
        "torch.write_dcp": (winit.torch.write_dcp, {"plan": plan, "folder": "c", "seed": 0, "overwrite": True}),
        "torch.patched": (_patched, {"seed": 0}),
    }
    for name in (name for name in init.__all__ if name != "calculate_gain"):
        valid = {"tensor": lambda: _tensor(), **TORCH.get(name, {})}
        table[f"torch.init.{name}"] = (getattr(init, name), {**valid, "seed": 0})
    table["torch.init.dirac_"][1]["tensor"] = lambda: _tensor().reshape(4, 2, 2)
    return table


def _patched(module=None, *, seed):
    import winit.torch

    with winit.torch.patched(module, seed=seed):
        pass


def distinct(module):
    """The public names of a module, one for each object: xavier_normal is glorot_normal."""
    found = {id(getattr(module, name)): name for name in reversed(module.__all__)}
    return sorted(found.values())


def _jax_table():
    """The functions of winit.jax, whose calls need JAX."""
    import jax

    import winit.jax

    leaves = {"a": jax.ShapeDtypeStruct((4, 4), "float32"), "b": jax.ShapeDtypeStruct((4,), "float32")}
    rules = [("*", NORMAL)]
    key = jax.random.key(0)
    init, inside = winit.jax.initializers.he_normal(), winit.jax.in_xla(winit.jax.initializers.normal())
    call = {"key": key, "shape": (4, 4)}
    table = {
        "jax.add": (
            winit.jax.add,
            {"tree": {"a": jax.numpy.ones((4, 4))}, "scheme": NORMAL, "seed": 0, "name": "step"},
        ),
        "jax.in_xla": (winit.jax.in_xla, {"initializer": init}),
        "jax.key_stream": (winit.jax.key_stream, {"key": key}),
        "jax.materialize": (winit.jax.materialize, {"tree": leaves, "plan_or_rules": rules, "seed": 0}),
        "jax.plan": (winit.jax.plan, {"tree": leaves, "rules": rules}),
        "a leaf of JAX": (lambda leaf: winit.jax.materialize([leaf], rules, seed=0), {"leaf": leaves["b"]}),
        "a leaf of JAX to add to": (
            lambda leaf: winit.jax.add([leaf, jax.numpy.ones(2)], NORMAL, seed=0, name="n"),
            {"leaf": jax.numpy.ones(3)},
        ),
        "a rule of JAX": (lambda rule: winit.jax.materialize(leaves, [rule], seed=0), {"rule": ("*", NORMAL)}),
        "a sharding of JAX": (
            lambda sharding: winit.jax.materialize(leaves, rules, seed=0, shardings={"a": sharding, "b": None}),
            {"sharding": None},
        ),
        "an initializer of JAX": (init.__call__, call),
        "an initializer inside XLA": (inside.__call__, call),
        "zeros of JAX": (winit.jax.initializers.zeros, call),
        "ones of JAX": (winit.jax.initializers.ones, call),
        "a constant of JAX": (winit.jax.initializers.constant(0.5).__call__, call),
    }
    needed = {
        "constant": {"value": 0.5},
        "variance_scaling": {"scale": 1.0, "mode": "fan_in", "distribution": "normal"},
    }
    for name in distinct(winit.jax.initializers):
        made = getattr(winit.jax.initializers, name)
        if name in ("zeros", "ones"):  # are initializers themselves
            table[f"jax.initializers.{name}"] = (made, call)
            continue
        shape = (3, 4, 4) if name == "delta_orthogonal" else (4, 4)
        table[f"jax.initializers.{name}"] = (
            also(made, lambda initializer, shape=shape: (repr(initializer), initializer(key, shape))),
            needed.get(name, {}),
        )
    return table


def _keras_table():
    """The functions of winit.keras, whose calls need Keras."""
    import keras

    import winit.keras

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    rules = [("*", NORMAL)]
    table = {
        "winit.keras.initialize": (winit.keras.initialize, {"model": model, "plan_or_rules": rules, "seed": 0}),
        "winit.keras.plan": (winit.keras.plan, {"model": model, "rules": rules}),
        "a rule of Keras": (lambda rule: winit.keras.plan(model, [rule]), {"rule": ("*", NORMAL)}),
        "a call of Keras": (winit.keras.HeNormal(0).__call__, {"shape": (4, 4)}),
    }
    shapes = {"STFT": (5, 1, 4)}
    for name in sorted(set(distinct(winit.keras)) - {"initialize", "plan"}):
        made = getattr(winit.keras, name)
        shape = shapes.get(name, (4, 4))

        def call(initializer, shape=shape):
            repr(initializer), initializer.get_config()
            initializer(shape)

        table[f"winit.keras.{name}"] = (also(made, call), {})
    return table


if importlib.util.find_spec("torch") is not None:
    TABLE |= _torch_table()
if importlib.util.find_spec("jax") is not None:
    TABLE |= _jax_table()
os.environ.setdefault("KERAS_BACKEND", "jax")
if importlib.util.find_spec("keras") is not None and importlib.util.find_spec(os.environ["KERAS_BACKEND"]) is not None:
    TABLE |= _keras_table()


# ---- the lab

LAB = lab.Network([4, 5, 3], "tanh", winit.lecun_normal(), output="identity", seed=0)
LAB_X = LAB.draw_input(6)
LABELS = np.arange(6) % 3
DATA = lab.Data(LAB_X, LABELS, LAB_X, LABELS)
SAMPLES = {"x": LAB_X, "labels": LABELS}
REPORT = lab.report({"he": winit.he_normal()}, depth=2, width=4, batch=4, steps=0)
COMPARED = {"data": DATA, "seeds": 1, "steps": 2, "depth": 2, "width": 4}


def _make(width):
    return lab.Network([4, width, 3], "relu", winit.he_normal(), output="identity"), lab.SGD(0.1)


def _stepped(optimiser):
    """Take a step: what an optimiser took must be good for one."""
    lab.train(LAB.copy(), **SAMPLES, optimiser=optimiser, steps=1)


def _added(penalty):
    lab.train(LAB.copy(), **SAMPLES, optimiser=lab.SGD(0.1), steps=1, penalty=penalty)


def _adapting(method, **needed):
    def call(**options):
        lab.adapt(LAB, method, LAB_X, LABELS, **options)

    return call, {**lab_options[method], **needed}


def _all_of(table):
    """Look at a table in every way."""
    str(table), repr(table), table._repr_html_(), table.to_csv(), table.to_dict(), list(table)


lab_options = importlib.import_module("winit.lab.adaptation").OPTIONS
TABLE |= {
    "lab.Network": (
        also(lab.Network, lambda network: (repr(network), lab.signal(network, batch=3))),
        {"widths": (4, 3, 2), "activation": "relu", "scheme": NORMAL},
    ),
    "a width of a network": (lambda width: lab.Network([4, width, 2], "relu", NORMAL), {"width": 3}),
    "an activation of a network": (lambda f: lab.Network([4, 3, 2], [f, None], NORMAL), {"f": "relu"}),
    "a scheme of a network": (lambda scheme: lab.Network([4, 3, 2], "relu", [scheme, NORMAL]), {"scheme": NORMAL}),
    "lab.Network.draw_input": (LAB.draw_input, {"batch": 3}),
    "lab.Network.layer": (LAB.layer, {"layer": 1, "x": LAB_X}),
    "lab.Network.forward": (LAB.forward, {"x": LAB_X}),
    "lab.Network.backward": (LAB.backward, {"trace": LAB.forward(LAB_X), "grad": np.ones((6, 3), np.float32)}),
    "lab.Network.astype": (LAB.astype, {"dtype": "float64"}),
    "lab.SGD": (also(lab.SGD, _stepped), {"learning_rate": 0.1}),
    "lab.Adam": (also(lab.Adam, _stepped), {}),
    "a rate of a layer": (
        lambda rate: _stepped(lab.SGD(lab.Rates((rate, 0.1), (0.1, 0.1)))),
        {"rate": 0.1},
    ),
    "lab.Rates": (
        lambda weights, biases: _stepped(lab.SGD(lab.Rates(weights, biases))),
        {"weights": (0.1, 0.1), "biases": (0.1, 0.1)},
    ),
    "lab.L2SP": (also(lab.L2SP, _added), {"start": LAB, "strength": 0.1}),
    "a layer without a start": (lambda layer: lab.L2SP(LAB, 0.1, fresh=(layer,)), {"layer": 1}),
    "lab.L2SP.value": (lab.L2SP(LAB, 0.1).value, {"network": LAB}),
    "lab.Orthogonality": (also(lab.Orthogonality, _added), {"strength": 0.1}),
    "lab.Orthogonality.value": (lab.Orthogonality(0.1).value, {"network": LAB}),
    "lab.Table": (also(lab.Table, _all_of), {"columns": {"a": [1, 2], "b": [0.5, 1.5]}}),
    "lab.Table.column": (lab.Table({"a": [1]}).column, {"name": "a"}),
    "a row of a table": (lab.Table({"a": [1, 2, 3, 4]}).__getitem__, {"row": 0}),
    "lab.accuracy": (lab.accuracy, {"network": LAB, **SAMPLES}),
    "lab.adapt": (
        lambda network, method, x, labels, batch: lab.adapt(network, method, x, labels, batch=batch),
        {"network": LAB, "method": "lsuv", "x": LAB_X, "labels": LABELS, "batch": 8},
    ),
    "lab.adapt drawn": (lambda batch: lab.adapt(LAB, batch=batch), {"batch": 8}),
    **{f"lab.adapt {name}": (_adapting(name)) for name in lab_options},
    "lab.compare": (lab.compare, {"schemes": {"he": NORMAL}, **COMPARED}),
    "a scheme to compare": (lambda scheme: lab.compare([scheme], **COMPARED), {"scheme": NORMAL}),
    "a name to compare": (lambda name: lab.compare({name: NORMAL}, **COMPARED), {"name": "he"}),
    "a seed to compare": (lambda seed: lab.compare([NORMAL], **{**COMPARED, "seeds": [seed]}), {"seed": 0}),
    "an activation to compare": (lambda f: lab.compare([NORMAL], [f], **COMPARED), {"f": "relu"}),
    "lab.Data": (
        lambda **data: lab.compare([NORMAL], **{**COMPARED, "data": lab.Data(**data)}),
        {"x": LAB_X, "labels": LABELS, "held_x": LAB_X, "held_labels": LABELS},
    ),
    "lab.coordinate_check": (
        lab.coordinate_check,
        {"make": _make, "widths": (4, 8), **SAMPLES, "steps": 2},
    ),
    "what make returns": (
        lambda made: lab.coordinate_check(lambda width: made, (4,), **SAMPLES),
        {"made": lambda: _make(4)},
    ),
    "a model that make returns": (
        lambda model: lab.coordinate_check(lambda width: (model, lab.SGD(0.1)), (4,), **SAMPLES),
        {"model": LAB},
    ),
    "an optimiser that make returns": (
        lambda optimiser: lab.coordinate_check(lambda width: (LAB, optimiser), (4,), **SAMPLES),
        {"optimiser": lambda: lab.SGD(0.1)},
    ),
    "lab.mup_rates": (lab.mup_rates, {"network": LAB, "base_width": 4, "learning_rate": 0.1}),
    "lab.trust_ratios": (lab.trust_ratios, {"network": LAB, **SAMPLES}),
    "lab.trust_rates": (lab.trust_rates, {"network": LAB, **SAMPLES, "trust": 0.1}),
    "lab.residual_stream": (
        lab.residual_stream,
        {"plan": recipes.gpt2(layers=1, dim=64)},
    ),
    "lab.signal": (lab.signal, {"network": LAB, "x": LAB_X}),
    "lab.signal drawn": (lab.signal, {"network": LAB, "batch": 3}),
    "lab.symmetry": (
        lab.symmetry,
        {"network": LAB, "x": LAB_X, "steps": 1, "labels": LABELS, "learning_rate": 0.1, "batch": 4},
    ),
    "lab.symmetry of a plan": (lab.symmetry, {"network": PLAN, "seed": 0}),
    "lab.symmetry of a file": (lab.symmetry, {"network": "plan.safetensors"}),
    "lab.train": (
        also(lab.train, lambda curve: curve.losses),
        {"network": lambda: LAB.copy(), **SAMPLES, "optimiser": lambda: lab.SGD(0.1), "steps": 2},
    ),
    "lab.report": (
        also(lab.report, lambda found: (found.to_json(), found.to_html())),
        {"schemes": {"he": NORMAL}, "depth": 2, "width": 4, "batch": 4, "seeds": 1, "steps": 0},
    ),
    "lab.report_plan": (also(lab.report_plan, lambda found: found.to_html()), {"plan": PLAN}),
    "lab.report_checkpoint": (lab.report_checkpoint, {"path": "plan.safetensors"}),
    "lab.Report.write": (REPORT.write, {"path": "page.html", "overwrite": True}),
    "lab.Report.to_html": (REPORT.to_html, {}),
}
if importlib.util.find_spec("sklearn") is not None:
    TABLE["lab.digits"] = (lab.digits, {})
if importlib.util.find_spec("matplotlib") is not None:
    TABLE |= {
        "lab.plot_signal": (
            lab.plot_signal,
            {"found": lab.signal(LAB, LAB_X), "save_to": "signal.svg", "overwrite": True},
        ),
        "lab.plot_losses": (lab.plot_losses, {"found": lab.compare([NORMAL], **COMPARED), "overwrite": True}),
        "lab.plot_histograms": (lab.plot_histograms, {"found": REPORT, "scheme": "he"}),
        "lab.plot_coordinates": (
            lab.plot_coordinates,
            {"found": lab.coordinate_check(_make, (4, 8), **SAMPLES, steps=2)},
        ),
        "lab.plot_symmetry": (lab.plot_symmetry, {"found": lab.symmetry(LAB, LAB_X)}),
    }
if importlib.util.find_spec("torch") is not None:
    TABLE["lab.torch_signal"] = (
        # A batch goes to the caller's own module, and what that raises is the caller's.
        lambda model, seed: lab.torch_signal(model, importlib.import_module("torch").ones(2, 3), seed=seed),
        {"model": lambda: _linear(), "seed": 0},
    )

NO_CALLS = {  # names that are no functions of a caller's arguments, and elements, which Numba's own compiler checks
    "winit": {"STREAM_VERSION", "Scheme", "activations", "checkpoint", "jit", "methods", "net2net"}
    | {"presets", "recipes", "stream"},
    "winit.checkpoint": {"Audit", "Change", "Flag", "Job", "TensorAudit", "Verification", "Written"},
    "winit.activations": {"TABLE", "gelu", "gelu_tanh", "identity", "mish", "relu", "selu", "sigmoid", "silu"}
    | {"softplus", "tanh"},
    "winit.jit": {"normal64_at", "normal_at", "philox4x32", "truncated_normal64_at", "truncated_normal_at"}
    | {"uniform64_at", "uniform_at", "word_at"},
    "winit.schemes": {"Scheme", "named"},
    "winit.torch": {"Report", "init"},
    "winit.jax": {"initializers"},
    "winit.lab": {"Adapted", "Comparison", "Curve", "Report"},
    "winit.torch.init": {"calculate_gain"},
}
MODULES = (
    "",
    "checkpoint",
    "net2net",
    "methods",
    "recipes",
    "activations",
    "jit",
    "stream",
    "schemes",
    "torch",
    "torch.init",
    "jax",
    "jax.initializers",
    "keras",
    "lab",
)
PRESET_MODULES = ("presets.torch", "presets.jax", "presets.keras")


@pytest.mark.parametrize("module", [f"winit.{name}".rstrip(".") for name in MODULES + PRESET_MODULES])
def test_every_function_is_in_the_table(module):
    if module == "winit.jit":
        pytest.importorskip("numba")
    for library in ("torch", "jax", "keras"):
        if module.startswith(f"winit.{library}"):
            pytest.importorskip(library)
    prefix = module.removeprefix("winit").removeprefix(".presets").removeprefix(".schemes").removeprefix(".")
    prefix = module if module == "winit.keras" else prefix  # the presets' labels are the short ones
    own = importlib.import_module(module)
    names = distinct(own) if module in ("winit.jax.initializers", "winit.keras") else own.__all__
    names = set(names) - NO_CALLS.get(module, set())
    known = {*TABLE, *DOORS, *(f"jit.{name}" for name in DOORS)}
    assert {f"{prefix}.{name}".lstrip(".") for name in names} <= known


@pytest.mark.parametrize("label", TABLE)
def test_valid(label):
    function, needed = TABLE[label]
    function(**{name: fresh(value) for name, value in arguments_of(function, needed).items()})


def violations(label, function, valid):
    """What is wrong with how a function refuses, over its arguments and all wrong values."""
    found = []
    for argument in valid:
        for kind, wrong in WRONG.items():
            given = {name: fresh(value) for name, value in valid.items()}
            arrays = {name: value.copy() for name, value in given.items() if isinstance(value, np.ndarray)}
            given[argument] = wrong()
            if argument in ("progress", "notes", "watch") and callable(given[argument]):
                continue  # what a caller's own function raises is the caller's
            error = refused(function, **given)
            if error is None:
                continue
            told = complaint(error, argument)
            if told is not None:
                found.append(f"{argument} = {kind}: {told}")
            for name, before in arrays.items():
                if name != argument and not np.array_equal(given[name], before):
                    found.append(f"{argument} = {kind}: {name} was written")
    return "\n".join([f"{label}: {len(found)}", *found]) if found else None


@pytest.mark.parametrize("label", [label for label, (f, needed) in TABLE.items() if arguments_of(f, needed)])
def test_wrong_kinds(label):
    function, needed = TABLE[label]
    assert violations(label, function, arguments_of(function, needed)) is None


@pytest.mark.parametrize("name", DOORS)
def test_wrong_kinds_at_numbas_door(name):
    pytest.importorskip("numba")
    from winit import jit

    function, valid = getattr(jit, name), arguments_of(getattr(jit, name), DOORS[name])
    if "out" in valid:
        valid["key"] = jit.key(0, "w")
    if name == "fill_truncated_normal":
        valid["cut"] = jit.cut()
    if name == "fill_with":
        import numba

        valid["fn"] = numba.njit(lambda u: u)
    function(**{each: fresh(value) for each, value in valid.items()})
    assert violations(name, function, valid) is None


@pytest.mark.parametrize("flag", ["no", 1, 0, None, np.bool_(True)])
def test_flags_are_true_or_false(flag, tmp_path):
    """What is merely true, as "no" is, does not replace a file."""
    path = tmp_path / "f.safetensors"
    path.write_bytes(b"mine")
    x, weight = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    for name, call in {
        "overwrite": lambda: PLAN.write(path, seed=0, overwrite=flag),
        "stats": lambda: winit.dense_forward(x, weight, stats=flag),
        "check_finite": lambda: winit.dense_forward(x, weight, check_finite=flag),
    }.items():
        with pytest.raises(TypeError, match=f"^{name} must be True or False, not "):
            call()
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("value", ["datetime64", "array('x')", "masked constant", "str_", "bool_", "1j"])
def test_what_numpy_would_make_a_number_of_is_none(value):
    with pytest.raises(TypeError, match="^std must be a number, not "):
        winit.normal(std=WRONG[value]())


def test_what_a_callers_own_object_raises_is_told():
    with pytest.raises(
        TypeError, match="^seed must be an integer, not Index, whose __index__ raises ZeroDivisionError$"
    ):
        winit.draw(NORMAL, 3, seed=Index(_raise))
    with pytest.raises(TypeError, match="^std must be a number, not .*, whose __float__ raises ZeroDivisionError$"):
        winit.normal(std=RaisingFloat())
    with pytest.raises(
        TypeError, match="^path must be .*, not RaisingPath, whose __fspath__ raises ZeroDivisionError$"
    ):
        PLAN.write(RaisingPath(), seed=0)
    with pytest.raises(ZeroDivisionError):  # of a caller's own loop all is told
        Plan((1 // 0 for _ in range(3)), [("*", NORMAL)])


def test_integers_of_thousands_of_digits_are_told_by_their_size():
    for call in (
        lambda: winit.draw(NORMAL, 3, seed=10**5000),
        lambda: winit.gpt2_residual(10**5000),
        lambda: recipes.gpt2(layers=10**5000),
    ):
        with pytest.raises(ValueError, match="not an integer of 16610 bits$"):
            call()
