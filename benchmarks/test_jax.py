"""How long do JAX's and Keras's own initialisers take under jit, and winit's, by callbacks and inside XLA?"""

import os

import pytest

jax = pytest.importorskip("jax")

import winit.jax  # noqa: E402
from winit.jax import initializers  # noqa: E402


@pytest.fixture
def side(request):
    return 64 if request.config.getoption("--elements") < 1 << 20 else 2048


LAWS = ("normal", "uniform", "he_normal", "orthogonal")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("library", ["winit", "winit-in-xla", "jax"])
def test_under_jit(benchmark, library, law, dtype, side):
    """The program is compiled before; `winit` calls the host back."""
    if law == "orthogonal" and (library == "winit-in-xla" or dtype == "bfloat16"):
        pytest.skip("not drawn there")
    benchmark.group = f"jax: {law} {dtype} {side}x{side} under jit"
    benchmark.extra_info.update(elements=side * side, library=library)
    init = getattr(jax.nn.initializers if library == "jax" else initializers, law)()
    if library == "winit-in-xla":
        init = winit.jax.in_xla(init)
    draw = jax.jit(lambda key: init(key, (side, side), dtype))
    key = jax.random.key(0)
    rounds = 3 if law == "orthogonal" else 10
    benchmark.pedantic(lambda: jax.block_until_ready(draw(key)), rounds=rounds, warmup_rounds=2)


@pytest.mark.parametrize("library", ["winit", "jax"])
def test_small_and_eager(benchmark, library):
    benchmark.group = "jax: he_normal float32 16x16, eagerly"
    benchmark.extra_info.update(elements=256, library=library)
    init = (jax.nn.initializers if library == "jax" else initializers).he_normal()
    key = jax.random.key(0)
    benchmark(lambda: jax.block_until_ready(init(key, (16, 16))))


def gpt2(side):
    """GPT-2 (124M) by its sizes: names and shapes, kernels (in, out)."""
    layers, width, words, places = (12, 768, 50257, 1024) if side > 64 else (2, 16, 64, 8)
    tree = {"wte": (words, width), "wpe": (places, width)}
    for i in range(layers):
        shapes = {
            "qkv": (width, 3 * width),
            "proj": (width, width),
            "up": (width, 4 * width),
            "down": (4 * width, width),
        }
        tree[f"h{i}"] = shapes
    return jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, "float32"), tree, is_leaf=lambda x: type(x) is tuple)


@pytest.mark.parametrize("library", ["winit", "jax"])
def test_model(benchmark, library, side):
    """A whole tree: materialize, and one jitted function with jax.random.normal of each leaf's own key."""
    tree = gpt2(side)
    leaves, structure = jax.tree.flatten(tree)
    benchmark.group = "jax: GPT-2 (124M) float32, a tree of normals"
    benchmark.extra_info.update(elements=sum(leaf.size for leaf in leaves), library=library)
    if library == "winit":
        plan = winit.jax.plan(tree, [("*", winit.normal(std=0.02))])
        benchmark.pedantic(
            lambda: jax.block_until_ready(winit.jax.materialize(tree, plan, seed=0)), rounds=3, warmup_rounds=1
        )
        return
    init = jax.nn.initializers.normal(0.02)

    @jax.jit
    def make(key):
        keys = jax.random.split(key, len(leaves))
        return jax.tree.unflatten(structure, [init(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)])

    key = jax.random.key(0)
    benchmark.pedantic(lambda: jax.block_until_ready(make(key)), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("library", ["winit", "jax"])
def test_noise(benchmark, library, side):
    """Noise added to a tensor; JAX's is one jitted program that gives its argument's memory back."""
    size = side * side * 4
    benchmark.group = "jax: normal noise added to float32"
    benchmark.extra_info.update(elements=size, library=library)
    params, key = {"w": jax.numpy.ones(size)}, jax.random.key(0)
    if library == "winit":
        call = lambda: winit.jax.add(params, winit.normal(), seed=0, name="step", scale=0.1)  # noqa: E731
    else:
        step = jax.jit(lambda params: jax.tree.map(lambda w: w + 0.1 * jax.random.normal(key, w.shape), params))
        call = lambda: step(params)  # noqa: E731
    benchmark.pedantic(lambda: jax.block_until_ready(call()), rounds=5, warmup_rounds=2)


@pytest.mark.parametrize("name", ["GlorotUniform", "HeNormal", "Orthogonal"])
@pytest.mark.parametrize("library", ["winit", "keras"])
def test_keras(benchmark, library, name, side):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    import winit.keras

    benchmark.group = f"keras on {keras.backend.backend()}: {name} float32 {side}x{side}"
    benchmark.extra_info.update(elements=side * side, library=library)
    init = getattr(keras.initializers if library == "keras" else winit.keras, name)(seed=0)
    benchmark.pedantic(lambda: jax.block_until_ready(init((side, side))), rounds=3, warmup_rounds=1)
