"""Models of flax.linen, flax.nnx and equinox: named, materialised, trained for ten steps, and written to files."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import winit  # noqa: E402
import winit.jax  # noqa: E402
from winit.jax import initializers, key_stream  # noqa: E402

SEED = 3


def bits(array):
    return np.asarray(array).tobytes()


@pytest.fixture
def data():
    x = winit.draw(winit.normal(), (64, 8), seed=0, name="x")
    return x, np.sin(x.sum(1, keepdims=True))


def falls(step, state, times=10):
    """Ten steps of training, whose loss ends below the first one's."""
    losses = []
    for _ in range(times):
        state, loss = step(state)
        losses.append(float(loss))
    assert np.isfinite(losses).all() and losses[-1] < losses[0], losses


# ---- flax.linen


def linen_model(partitioned=False):
    nn = pytest.importorskip("flax.linen")
    init = initializers.he_normal()
    if partitioned:
        init = nn.with_partitioning(init, (None, "model"))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(16, kernel_init=init, bias_init=initializers.zeros)(x))
            x = nn.MultiHeadDotProductAttention(num_heads=2, kernel_init=initializers.xavier_uniform())(x[:, None])
            return nn.Dense(1, kernel_init=initializers.lecun_normal())(x[:, 0])

    return Model()


def test_linen_takes_the_initializers(data):
    optax = pytest.importorskip("optax")
    x, y = data
    model = linen_model()
    params = model.init(jax.random.key(0), x)
    assert jax.tree.map(bits, jax.jit(model.init)(jax.random.key(0), x)) == jax.tree.map(bits, params)
    assert jax.tree.map(bits, model.init(jax.random.PRNGKey(0), x)) == jax.tree.map(bits, params)
    optimiser = optax.adam(1e-2)

    def loss(params):
        return ((model.apply(params, x) - y) ** 2).mean()

    @jax.jit
    def step(state):
        params, inner = state
        value, slopes = jax.value_and_grad(loss)(params)
        updates, inner = optimiser.update(slopes, inner)
        return (optax.apply_updates(params, updates), inner), value

    loss(params)  # apply traces the initializers again, eagerly
    falls(step, (params, optimiser.init(params)))


def test_linen_scans_over_layers():
    nn = pytest.importorskip("flax.linen")

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(4, kernel_init=initializers.orthogonal())(x), None

    stack = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
    kernel = stack.init(jax.random.key(0), jnp.ones((2, 4)), None)["params"]["Dense_0"]["kernel"]
    assert kernel.shape == (3, 4, 4)
    assert len({bits(each) for each in kernel}) == 3
    np.testing.assert_allclose(np.einsum("lij,lkj->lik", kernel, kernel), np.eye(4)[None].repeat(3, 0), atol=1e-5)


def test_linen_materialised(data):
    nn = pytest.importorskip("flax.linen")
    x, _ = data
    plain, boxed = linen_model(), linen_model(partitioned=True)
    rules = [("*.bias", winit.zeros()), ("*", winit.lecun_normal())]
    abstract = jax.eval_shape(plain.init, jax.random.key(0), x)
    plan = winit.jax.plan(abstract, rules)
    assert "params.Dense_0.kernel" in plan and plan["params.Dense_0.kernel"].layout == "io"
    made = winit.jax.materialize(abstract, plan, seed=SEED)
    assert bits(made["params"]["Dense_0"]["kernel"]) == bits(plan.draw("params.Dense_0.kernel", seed=SEED))
    assert plain.apply(made, x).shape == (64, 1)

    mesh = jax.make_mesh((1,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    in_boxes = jax.eval_shape(boxed.init, jax.random.key(0), x)
    again = winit.jax.materialize(in_boxes, plan, seed=SEED, shardings=nn.get_sharding(in_boxes, mesh))
    kernel = again["params"]["Dense_0"]["kernel"]
    assert isinstance(kernel, nn.Partitioned) and kernel.names == (None, "model")
    assert kernel.value.sharding.spec == jax.P(None, "model")
    assert jax.tree.map(bits, nn.unbox(again)) == jax.tree.map(bits, made)


# ---- flax.nnx


def nnx_model():
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            init = initializers.he_normal()
            self.layers = nnx.List([nnx.Linear(8, 8, kernel_init=init, rngs=rngs) for _ in range(2)])
            self.norm = nnx.BatchNorm(8, rngs=rngs)
            self.drop = nnx.Dropout(0.1, rngs=rngs)
            self.head = nnx.Linear(8, 1, kernel_init=initializers.lecun_normal(), rngs=rngs)

        def __call__(self, x):
            for layer in self.layers:
                x = nnx.relu(layer(x))
            return self.head(self.norm(self.drop(x)))

    return nnx, Model


def test_nnx_takes_the_initializers_and_trains(data):
    optax = pytest.importorskip("optax")
    x, y = data
    nnx, Model = nnx_model()  # noqa: N806
    model = Model(nnx.Rngs(0))
    again = nnx.jit(lambda: Model(nnx.Rngs(0)))()
    assert bits(model.layers[1].kernel[...]) == bits(again.layers[1].kernel[...])
    optimiser = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimiser):
        value, slopes = nnx.value_and_grad(lambda model: ((model(x) - y) ** 2).mean())(model)
        optimiser.update(model, slopes)
        return value

    falls(lambda state: (state, step(model, optimiser)), None)


def test_nnx_materialised(data):
    x, _ = data
    nnx, Model = nnx_model()  # noqa: N806
    abstract = nnx.eval_shape(lambda: Model(nnx.Rngs(0)))
    _, params, rest = nnx.split(abstract, nnx.Param, ...)
    rules = [("*.bias", winit.zeros()), ("norm.scale", winit.ones()), ("*.kernel", winit.lecun_normal())]
    plan = winit.jax.plan(params, rules)
    assert {"layers.0.kernel", "layers.1.bias", "head.kernel", "norm.scale"} <= set(plan)
    made = winit.jax.materialize(params, plan, seed=SEED)
    assert bits(made["layers"][0]["kernel"][...]) == bits(plan.draw("layers.0.kernel", seed=SEED))
    plain = winit.jax.materialize(nnx.to_pure_dict(params), plan, seed=SEED)
    assert jax.tree.map(bits, plain) == jax.tree.map(bits, nnx.to_pure_dict(made))
    real = Model(nnx.Rngs(0))
    nnx.update(real, made)
    assert bits(real.layers[0].kernel[...]) == bits(plain["layers"][0]["kernel"])
    assert real(x).shape == (64, 1)
    with pytest.raises(TypeError, match=r"drop.rngs.key: is of dtype key<fry>, the state of a generator"):
        winit.jax.materialize(rest, [("*", winit.zeros())], seed=SEED)
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = nnx.get_named_sharding(params, mesh)
    shared = winit.jax.materialize(params, plan, seed=SEED, shardings=sharded)
    assert jax.tree.map(bits, shared) == jax.tree.map(bits, made)


# ---- equinox


def test_equinox_materialised_and_trained(data):
    eqx = pytest.importorskip("equinox")
    optax = pytest.importorskip("optax")
    x, y = data
    abstract = eqx.filter_eval_shape(eqx.nn.MLP, 8, 1, 16, 2, key=jax.random.key(0))
    rules = [("*.weight", winit.he_normal(), "oi"), ("*.bias", winit.zeros())]
    plan = winit.jax.plan(abstract, rules)
    assert list(plan) == [f"layers.{i}.{name}" for i in range(3) for name in ("weight", "bias")]
    assert plan["layers.0.weight"].law().std == pytest.approx(0.5)  # fan_in is 8, the second axis
    model = winit.jax.materialize(abstract, plan, seed=SEED)
    assert bits(model.layers[0].weight) == bits(plan.draw("layers.0.weight", seed=SEED))
    assert model.activation is abstract.activation
    optimiser = optax.adam(1e-2)

    @eqx.filter_jit
    def step(state):
        model, inner = state
        value, slopes = eqx.filter_value_and_grad(lambda model: ((jax.vmap(model)(x) - y) ** 2).mean())(model)
        updates, inner = optimiser.update(slopes, inner)
        return (eqx.apply_updates(model, updates), inner), value

    falls(step, (model, optimiser.init(eqx.filter(model, eqx.is_array))))
    weight = initializers.he_normal()(jax.random.key(0), (8, 16))  # plain code: equinox has no hook
    replaced = eqx.tree_at(lambda model: model.layers[0].weight, model, weight.T)
    seed, name = key_stream(jax.random.key(0))
    assert bits(replaced.layers[0].weight.T) == bits(
        winit.draw(winit.presets.jax.he_normal(), (8, 16), seed=seed, name=name)
    )
    noisy = winit.jax.add(model, winit.normal(), seed=1, name="step 0", scale=0.1)
    assert noisy.activation is model.activation and bits(noisy.layers[0].weight) != bits(model.layers[0].weight)


# ---- names


LEAF = jax.ShapeDtypeStruct((2, 2), "float32")
RULES = [("*", winit.normal())]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Scale:
    value: object  # a user's own attribute of that name stays


@dataclasses.dataclass
class Opaque:
    weight: object


def test_names_are_paths():
    tree = {"a": [LEAF, {"b": LEAF}], "c": Scale(LEAF), 3: None, "f": len}
    with pytest.raises(ValueError, match="Comparator raised|keys"):
        jax.tree.leaves({"a": 1, 3: 2})  # JAX itself sorts keys
    del tree[3]
    assert list(winit.jax.plan(tree, RULES)) == ["a.0", "a.1.b", "c.value"]
    assert winit.jax.materialize(tree, RULES, seed=0)["f"] is len
    assert list(winit.jax.plan(LEAF, RULES)) == [""]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a.b": LEAF, "a": {"b": LEAF}}, r"two leaves of the tree are called 'a.b': \['a'\]\['b'\] and \['a.b'\]"),
        ({"w": [LEAF], "w.0": LEAF}, r"called 'w.0'"),
        ({}, "no leaf with a shape and a dtype"),
        ([1.0, len], "no leaf with a shape and a dtype"),
        ({"x": LEAF, "o": Opaque(LEAF)}, r"\['o'\] is a Opaque, which JAX does not look into, and holds weight"),
        ({"w": jax.ShapeDtypeStruct((2,), np.float64)}, "w: is of dtype float64, which this JAX makes float32"),
    ],
)
def test_trees_that_are_refused(tree, words):
    for call in (
        lambda: winit.jax.plan(tree, RULES),
        lambda: winit.jax.materialize(tree, RULES, seed=0),
        lambda: winit.jax.add(tree, winit.normal(), seed=0, name="n"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_plans_that_are_not_the_trees():
    plan = winit.Plan({"a": (2, 2), "extra": (3,)}, rules=RULES)
    with pytest.raises(ValueError, match="the plan lacks 'b'; the tree lacks 'extra'$"):
        winit.jax.materialize({"a": LEAF, "b": LEAF}, plan, seed=0)
    with pytest.raises(ValueError, match=r"a: is of shape \(2, 2\), and the plan says \(2, 3\)"):
        winit.jax.materialize({"a": LEAF}, winit.Plan({"a": (2, 3)}, rules=RULES), seed=0)
    with pytest.raises(ValueError, match="a: is of dtype float32, and the plan says bfloat16"):
        winit.jax.materialize({"a": LEAF}, winit.Plan({"a": (2, 2)}, rules=RULES).with_dtype("bfloat16"), seed=0)
    for wrong in (None, 3, "he_normal", winit.he_normal(), {"a": winit.normal()}):
        with pytest.raises(TypeError, match="plan_or_rules must be a winit.Plan, or rules"):
            winit.jax.materialize({"a": LEAF}, wrong, seed=0)
    with pytest.raises(ValueError, match=r"the pattern '\*.kernel' matches no"):
        winit.jax.materialize({"a": LEAF}, [("*.kernel", winit.normal())], seed=0)
    tied = winit.Plan({"a": winit.Param((2, 2), winit.normal()), "b": winit.Param(tied="a")})
    made = winit.jax.materialize({"a": LEAF, "b": LEAF}, tied, seed=0)
    assert bits(made["a"]) == bits(made["b"]) == bits(tied.draw("a", seed=0))


def test_add_and_materialize_work_on_the_host():
    for call in (
        lambda tree: winit.jax.add(tree, winit.normal(), seed=0, name="n"),
        lambda tree: winit.jax.materialize(tree, RULES, seed=0),
    ):
        with pytest.raises(TypeError, match="w: is traced"):
            jax.jit(call)({"w": jnp.ones(3)})
    with pytest.raises(TypeError, match="w: is of dtype int32, and noise is floating-point"):
        winit.jax.add({"w": jnp.ones(3, int)}, winit.normal(), seed=0, name="n")
    with pytest.raises(TypeError, match="w: must be a jax.Array, not 'ndarray'"):
        winit.jax.add({"w": np.ones(3, np.float32)}, winit.normal(), seed=0, name="n")
    with pytest.raises(ValueError, match="needs a name"):
        winit.jax.add({"w": jnp.ones(3)}, winit.normal(), seed=0, name="")
    with pytest.raises(ValueError, match="beyond the range of float32"):
        winit.jax.add({"w": jnp.ones(3)}, winit.normal(), seed=0, name="n", scale=1e39)


def test_nones_of_a_tree_and_of_its_shardings():
    where = jax.NamedSharding(jax.make_mesh((1,), ("x",)), jax.P("x"))
    tree = {"a": None, "b": LEAF, "c": LEAF}
    for shardings in ({"a": None, "b": where, "c": None}, {"a": where, "b": where, "c": None}):
        made = winit.jax.materialize(tree, RULES, seed=0, shardings=shardings)
        assert made["a"] is None and made["b"].sharding == where and made["c"].sharding != where


def test_what_is_refused_before_anything_is_drawn():
    partial = jax.NamedSharding(jax.make_mesh((1,), ("x",)), jax.P(None, unreduced={"x"}))
    with pytest.raises(ValueError, match="w: its sharding is unreduced over x"):
        winit.jax.materialize({"w": LEAF}, RULES, seed=0, shardings=partial)
    with pytest.raises(ValueError, match=r"w: is of dtype float32 in the tree, and the rule '\*' says bfloat16"):
        winit.jax.materialize({"w": LEAF}, [winit.Rule("*", winit.normal(), dtype="bfloat16")], seed=0)
    gone = jnp.ones((2, 2))
    gone.delete()
    with pytest.raises(ValueError, match="w: has been deleted"):
        winit.jax.add({"w": gone}, winit.normal(), seed=0, name="n")

    with pytest.raises(ValueError, match="w: scale 1e-50 is 0 in float32"):
        winit.jax.add({"w": jnp.ones(2)}, winit.normal(), seed=0, name="n", scale=1e-50)
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="w: must be of JAX or NumPy, and is a torch.Tensor of dtype torch.float32"):
        winit.jax.materialize({"w": torch.ones(2)}, RULES, seed=0)

    class Holder:
        def __init__(self):
            self.parts = [LEAF]

    with pytest.raises(ValueError, match=r"\['h'\] is a Holder, which JAX does not look into, and holds parts"):
        winit.jax.plan({"w": LEAF, "h": Holder()}, RULES)
    winit.jax.plan({"w": LEAF, "init": initializers.constant(np.ones(3))}, RULES)  # a function, whatever it holds


def test_no_arrays_of_a_program():
    array = jnp.ones((2, 2))
    for call in (
        lambda: winit.jax.materialize({"w": LEAF}, RULES, seed=0),
        lambda: winit.jax.add({"w": array}, winit.normal(), seed=0, name="n"),
    ):
        for inside in (jax.jit(call), lambda call=call: jax.eval_shape(call)):
            with pytest.raises(ValueError, match="must be called outside jit and eval_shape"):
                inside()


# ---- files


def test_what_the_command_line_writes(tmp_path):
    safetensors = pytest.importorskip("safetensors.flax")
    tree = {"embed": {"embedding": LEAF}, "head": {"kernel": jax.ShapeDtypeStruct((8, 16), "bfloat16")}}
    plan = winit.jax.plan(tree, [("head.*", winit.orthogonal()), ("*", winit.normal(std=0.02))])
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    command = [sys.executable, "-m", "winit", "init", "plan.toml", "-o", "w.safetensors", "--seed", str(SEED)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = winit.jax.materialize(tree, plan, seed=SEED)
    held = safetensors.load_file(str(tmp_path / "w.safetensors"))
    assert bits(held["embed.embedding"]) == bits(made["embed"]["embedding"])
    assert held["head.kernel"].dtype == "bfloat16" and bits(held["head.kernel"]) == bits(made["head"]["kernel"])


def test_flax_serialization(tmp_path):
    serialization = pytest.importorskip("flax.serialization")
    tree = {"head": {"kernel": jax.ShapeDtypeStruct((8, 16), "bfloat16")}}
    made = winit.jax.materialize(tree, RULES, seed=SEED)
    Path(tmp_path / "w.msgpack").write_bytes(serialization.to_bytes(made))
    back = serialization.from_bytes(made, (tmp_path / "w.msgpack").read_bytes())
    assert bits(back["head"]["kernel"]) == bits(winit.jax.plan(tree, RULES).draw("head.kernel", seed=SEED))


def test_orbax(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = pytest.importorskip("orbax.checkpoint")
        mesh = jax.make_mesh((1,), ("x",))
        tree = {"head": {"kernel": jax.ShapeDtypeStruct((8, 16), "bfloat16")}}
        made = winit.jax.materialize(tree, RULES, seed=SEED, shardings=jax.NamedSharding(mesh, jax.P("x")))
        with checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "w", made)
            checkpointer.wait_until_finished()
            back = checkpointer.restore(tmp_path / "w", made)
    assert bits(back["head"]["kernel"]) == bits(made["head"]["kernel"])
    assert json.dumps(str(back["head"]["kernel"].sharding)) == json.dumps(str(made["head"]["kernel"].sharding))
