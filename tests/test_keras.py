"""winit.keras: Keras's names and laws, configurations, models that are saved, loaded and cloned, and names of weights.

All of it runs on the backend of this process, and again on torch's.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BACKEND = os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(BACKEND)
keras = pytest.importorskip("keras")

import winit  # noqa: E402
import winit.keras  # noqa: E402

# Keras makes arrays of its variables, and of torch's tensors, in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
presets = winit.presets.keras
CLASSES = sorted(name for name in presets.__all__ if name[0].isupper())
RANDOM = [name for name in CLASSES if "seed" in inspect.signature(getattr(keras.initializers, name)).parameters]
RULES = [
    ("*bias", winit.zeros(), None, None, True),
    ("*kernel", winit.he_normal(), None, None, True),
    ("*", winit.normal(std=0.02), None, None, True),
]


def numbers(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor.value if isinstance(tensor, keras.Variable) else tensor))


def bits(tensor):
    return numbers(tensor).tobytes()


# ---- initializers


def test_every_name_of_keras_with_its_parameters():
    theirs = {name for name in dir(keras.initializers) if not name.startswith("_")}
    theirs -= {"Initializer", "deserialize", "get", "serialize"}
    assert {*theirs, "initialize", "plan"} == set(winit.keras.__all__) == set(dir(winit.keras))
    for name in theirs:
        mine, other = getattr(winit.keras, name), getattr(keras.initializers, name)
        own = dict(inspect.signature(mine).parameters)
        added = own.pop("name", None)
        parameters = inspect.signature(other.__init__).parameters.values()
        named = {p.name: p.default for p in parameters if p.name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD}
        assert {n: p.default for n, p in own.items()} == named and list(own) == list(named), name
        assert (added is not None) == ("seed" in named), name
        assert issubclass(mine, keras.initializers.Initializer)
        same = [each for each in theirs if getattr(keras.initializers, each) is other]
        assert [each for each in theirs if getattr(winit.keras, each) is mine] == same


SHAPES = {"STFT": (8, 1, 5), "STFTInitializer": (8, 1, 5)}


@pytest.mark.parametrize("name", CLASSES)
def test_values_are_winits(name):
    init = getattr(winit.keras, name)()
    scheme = getattr(presets, name)()
    shape = SHAPES.get(name, (12, 10))
    for dtype in ("float32", "bfloat16", "float16"):
        expected = winit.draw(scheme, shape, seed=getattr(init, "seed", 0), dtype=dtype, layout="io")
        made = init(shape, dtype=dtype)
        assert keras.backend.standardize_dtype(made.dtype) == dtype
        assert (numbers(keras.ops.cast(made, "float32")) == expected.astype(np.float32)).all()
    assert keras.backend.standardize_dtype(init(shape).dtype) == "float32"


@pytest.mark.parametrize("name", RANDOM)
def test_seeds_and_names(name):
    kind = getattr(winit.keras, name)
    one = kind(seed=2**40, name="fc.kernel")
    assert bits(one((6, 4))) == bits(one((6, 4))) == bits(kind(seed=np.int64(2**40), name="fc.kernel")((6, 4)))
    assert bits(one((6, 4))) != bits(kind(seed=2**40)((6, 4))) != bits(kind(seed=1)((6, 4)))
    assert bits(kind()((6, 4))) != bits(kind()((6, 4)))
    advancing = kind(seed=keras.random.SeedGenerator(5))
    first = bits(advancing((6, 4)))
    assert first != bits(advancing((6, 4))) and first == bits(kind(seed=keras.random.SeedGenerator(5))((6, 4)))
    for wrong in ("a", 1.5, True, -1, 2**64):
        with pytest.raises((TypeError, ValueError), match="seed must be"):
            kind(seed=wrong)
    keras.utils.set_random_seed(3)
    drawn = bits(kind()((6, 4)))
    keras.utils.set_random_seed(3)
    assert bits(kind()((6, 4))) == drawn


@pytest.mark.parametrize("name", CLASSES)
def test_configurations(name):
    kind = getattr(winit.keras, name)
    given = {"seed": 7, "name": "w"} if name in RANDOM else {}
    if name == "VarianceScaling":
        given |= {"scale": 2.0, "mode": "fan_out", "distribution": "uniform", "input_axes": [0], "output_axes": [1]}
    init = kind(**given)
    shape = SHAPES.get(name, (12, 10))
    config = init.get_config()
    assert given.items() <= config.items()
    text = keras.saving.serialize_keras_object(init)
    assert text["registered_name"] == f"winit>{kind.__name__}"
    for again in (
        init.clone(),
        kind.from_config(config),
        keras.saving.deserialize_keras_object(text),
        keras.initializers.get(init),
        keras.initializers.deserialize(keras.initializers.serialize(init)),
    ):
        assert type(again) is kind and again.get_config() == config and repr(again) == repr(init)
        assert bits(again(shape)) == bits(init(shape))
    if name in RANDOM:
        advancing = kind(seed=keras.random.SeedGenerator(5))
        assert bits(advancing.clone()(shape)) == bits(kind(seed=keras.random.SeedGenerator(5))(shape))
        assert kind().clone().get_config()["seed"] is None


@pytest.mark.parametrize("name", RANDOM)
def test_laws_are_kerass(name):
    """Two-sample KS at 10^6 a side; all together fail for equal laws with chance 2e-6 at most."""
    stats = pytest.importorskip("scipy.stats")
    shape = (800, 1250)
    one = numbers(getattr(winit.keras, name)(seed=1)(shape)).ravel()
    two = numbers(getattr(keras.initializers, name)(seed=2)(shape)).ravel()
    assert stats.ks_2samp(one, two, method="asymp").pvalue > 1e-7


# ---- models


class Block(keras.layers.Layer):
    def __init__(self, **given):
        super().__init__(**given)
        self.attention = keras.layers.MultiHeadAttention(2, 4)
        self.parts = [keras.layers.Dense(8), keras.layers.BatchNormalization()]
        self.table = {"gate": keras.layers.Dense(8)}

    def build(self, shape):
        self.attention.build(shape, shape)
        for each in (*self.parts, *self.table.values()):
            each.build(shape)
        self.scale = self.add_weight(shape=(8,), name="anything")

    def call(self, x):
        y = self.attention(x, x)
        for each in self.parts:
            y = each(y)
        return (x + y * keras.ops.sigmoid(self.table["gate"](x))) * self.scale


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(), Block()]
        self.drop = keras.layers.Dropout(0.1)
        self.head = keras.layers.Dense(1)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self.drop(x))


def subclassed():
    model = Model()
    model(np.ones((2, 3, 8), np.float32))
    return model


def sequential():
    return keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])


def functional():
    x = keras.layers.Input((6, 8))
    y = keras.layers.LSTM(4)(keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True))(x))
    return keras.Model(x, keras.layers.Dense(1)(y))


def values(model):
    return [bits(each) for each in model.weights]


@pytest.mark.parametrize("make", [sequential, functional, subclassed])
def test_initialize_goes_by_structure(make):
    one = make()
    other = make()  # the same layers, of other numbers in Keras's paths
    assert winit.keras.initialize(one, RULES, seed=4) is one
    plan = winit.keras.plan(other, RULES)
    winit.keras.initialize(other, plan, seed=4)
    assert values(one) == values(other)
    built = plan.build(seed=4)
    assert sorted(array.tobytes() for array in built.values()) == sorted(values(one))
    assert len({each for each in values(one) if np.frombuffer(each, np.float32).any()}) == sum(
        array.any() for array in built.values()
    )


def test_names():
    names = set(winit.keras.plan(subclassed(), RULES))
    for block in "01":
        assert {
            f"blocks.{block}.attention.query_dense.kernel",
            f"blocks.{block}.attention.output_dense.bias",
            f"blocks.{block}.parts.0.kernel",
            f"blocks.{block}.parts.1.moving_mean",
            f"blocks.{block}.table.gate.bias",
            f"blocks.{block}.scale",
        } <= names
    assert len(names) == len(subclassed().weights) and "head.kernel" in names
    assert list(winit.keras.plan(sequential(), RULES)) == [
        *("layers.0.kernel", "layers.0.bias", "layers.1.kernel", "layers.1.bias")
    ]
    recurrent = set(winit.keras.plan(functional(), RULES))
    assert {
        "layers.1.forward_layer.cell.recurrent_kernel",
        "layers.1.backward_layer.cell.kernel",
        "layers.2.cell.bias",
        "layers.3.kernel",
    } <= recurrent


def test_shared_and_nested():
    shared = keras.layers.Dense(8)
    x = keras.layers.Input((8,))
    inner = keras.Model(x, shared(shared(x)))
    outer = keras.Sequential([keras.layers.Input((8,)), inner, keras.layers.Dense(2)])
    assert list(winit.keras.plan(outer, RULES)) == [
        *("layers.0.layers.1.kernel", "layers.0.layers.1.bias", "layers.1.kernel", "layers.1.bias")
    ]

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [keras.layers.Dense(4)]
            self.last = self.blocks[0]

        def call(self, x):
            return self.last(self.blocks[0](x))

    model = Twice()
    model(np.ones((2, 4), np.float32))
    assert list(winit.keras.plan(model, RULES)) == ["last.kernel", "last.bias"]  # an attribute before a list
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    assert list(winit.keras.plan(layer, RULES)) == ["kernel", "bias"]


def test_dtype_policies():
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(4, dtype="mixed_bfloat16"),
            keras.layers.Dense(4, dtype="bfloat16"),
        ]
    )
    plan = winit.keras.plan(model, RULES)
    assert [each.dtype for each in plan.values()] == ["float32", "float32", "bfloat16", "bfloat16"]
    winit.keras.initialize(model, plan, seed=0)
    for name, weight in zip(plan, model.weights, strict=True):
        held = numbers(keras.ops.cast(weight, "float32"))
        assert (held == plan.draw(name, seed=0).astype(np.float32)).all()


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_float8(kind):
    def held(tensor):
        return numbers(keras.ops.cast(tensor, "float32"))

    drawn = winit.draw(presets.HeNormal(), (6, 4), seed=0, name="kernel", dtype=kind, layout="io").astype(np.float32)
    made = winit.keras.HeNormal(0, name="kernel")((6, 4), kind)
    assert keras.backend.standardize_dtype(made.dtype) == kind and (held(made) == drawn).all()
    layer = keras.layers.Layer()
    layer.kernel = layer.add_weight(shape=(6, 4), dtype=kind, initializer="zeros")
    layer.built = True
    winit.keras.initialize(layer, [("*", presets.HeNormal())], seed=0)
    assert (held(layer.kernel.value) == drawn).all()


def test_lists_that_hold_themselves():
    class Knot(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(3, 2))
            self.parts = [self.kernel, self.add_weight(shape=(2,))]
            self.parts.append({"all": self.parts})

    knot = Knot()
    knot.build((None, 3))
    assert list(winit.keras.plan(knot, RULES)) == ["kernel", "parts.1"]


@pytest.mark.skipif(BACKEND != "jax", reason="JAX traces")
def test_a_generator_of_seeds_is_not_traced():
    import jax

    init = winit.keras.HeNormal(keras.random.SeedGenerator(3))
    with pytest.raises(TypeError, match="seed is a SeedGenerator, which has no number while a function is traced"):
        jax.jit(lambda: init((4, 3)))()
    fresh = winit.keras.HeNormal(keras.random.SeedGenerator(3))
    assert bits(init((4, 3))) == bits(fresh((4, 3)))  # the refused call drew none of its numbers


def test_a_rule_of_another_dtype():
    model = sequential()
    before = values(model)
    name = next(iter(winit.keras.plan(model, RULES)))
    rules = [winit.Rule(name, winit.normal(), dtype="bfloat16"), *RULES]
    with pytest.raises(ValueError, match=rf"{name}: is of dtype float32 in the model, and the rule .* says bfloat16"):
        winit.keras.initialize(model, rules, seed=0)
    assert values(model) == before


def test_messages_call_a_law_by_its_function():
    with pytest.raises(TypeError, match="^HeNormal draws floating-point values"):
        winit.keras.HeNormal(0)((4, 3), "int32")


def test_wrong_dtypes():
    for dtype in ("floaty", 3, [1], object()):
        with pytest.raises(TypeError, match="dtype must be one of Keras's, such as 'float32', or None"):
            winit.keras.HeNormal(0)((4, 3), dtype)


def test_refusals():
    loose = keras.Sequential([keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="is not built, and has no weights yet"):
        winit.keras.initialize(loose, RULES, seed=0)
    with pytest.raises(TypeError, match="model must be a Keras model or layer, not 3"):
        winit.keras.initialize(3, RULES, seed=0)

    class Unused(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.spare = keras.layers.Dense(3), keras.layers.Dense(3)

        def call(self, x):
            return self.used(x)

    unused = Unused()
    with pytest.warns(UserWarning, match="has unbuilt state"):
        unused(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="spare is not built"):
        winit.keras.initialize(unused, RULES, seed=0)
    model = sequential()
    before = values(model)
    with pytest.raises(ValueError, match=r"the plan lacks 'layers.0.kernel'.*; the model lacks 'extra'$"):
        winit.keras.initialize(model, winit.Plan({"extra": (2,)}, rules=[("*", winit.zeros())]), seed=0)
    with pytest.raises(ValueError, match="the pattern"):
        winit.keras.initialize(model, [*RULES, ("nothing", winit.zeros())], seed=0)
    with pytest.raises(ValueError, match="seed must be"):
        winit.keras.initialize(model, RULES, seed=-1)
    assert values(model) == before

    class Twice(keras.layers.Layer):
        def build(self, shape):
            self.kernel, self._kernel = self.add_weight(shape=(3,)), self.add_weight(shape=(3,))

    twice = Twice()
    twice.build((None, 3))
    with pytest.raises(ValueError, match="two weights of the model are called 'kernel'"):
        winit.keras.initialize(twice, RULES, seed=0)


def test_a_model_is_saved_loaded_cloned_and_trained(tmp_path):
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(16, "relu", kernel_initializer=winit.keras.HeNormal(seed=1, name="fc.kernel")),
            keras.layers.Dense(1, kernel_initializer=winit.keras.Orthogonal(seed=1, name="head.kernel")),
        ]
    )
    expected = winit.draw(presets.HeNormal(), (8, 16), seed=1, name="fc.kernel")
    assert bits(model.layers[0].kernel) == expected.tobytes()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert values(loaded) == values(model)
    assert loaded.layers[0].kernel_initializer.get_config() == model.layers[0].kernel_initializer.get_config()
    assert values(keras.models.clone_model(model)) == values(model)  # drawn again by the clone's initializers
    winit.keras.initialize(loaded, RULES, seed=9)
    again = keras.models.clone_model(model)
    assert values(winit.keras.initialize(again, RULES, seed=9)) == values(loaded)
    x = winit.draw(winit.normal(), (64, 8), seed=0)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    losses = [model.train_on_batch(x, np.sin(x.sum(1, keepdims=True))) for _ in range(10)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    held = values(model)
    winit.keras.initialize(model, RULES, seed=9)  # a compiled model, whose optimiser has states
    assert values(model) == values(loaded) != held


def test_attention_clones_by_configuration():
    """One int seed gives q, k and v equal weights, as Keras's own initializers do; initialize does not."""
    layer = keras.layers.MultiHeadAttention(2, 4, kernel_initializer=winit.keras.GlorotUniform(seed=1))
    layer.build((2, 3, 8), (2, 3, 8))
    kernels = [bits(each) for each in layer.weights if each.name == "kernel"]
    assert len(kernels) == 4 and len(set(kernels[:3])) == 1
    winit.keras.initialize(layer, RULES, seed=1)
    assert len({bits(each) for each in layer.weights if each.name == "kernel"}) == 4


@pytest.mark.skipif(BACKEND == "torch", reason="this is that run")
def test_all_of_it_on_torch():
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", Path(__file__)]
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout[-4000:]
