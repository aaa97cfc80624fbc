"""How fast is a dense layer, forward and full backward, beside NumPy, torch and jax.jit? float32, layout (out, in).

winit and NumPy write into arrays given to them; torch and JAX return new ones. All use every processor. The peak of the
same run, which the products are measured against, is peak.c's.
"""

import math

import numpy as np
import peak
import pytest

import winit
from conftest import THREADS, installed

SHAPES = [(32, 4096, 4096), (256, 4096, 4096), (1024, 2048, 2048), (64, 12288, 12288)]
ROUNDS = {"rounds": 9, "warmup_rounds": 2, "iterations": 1}


def layer(shape, elements):
    batch, fan_in, units = shape if elements >= 1 << 20 else [max(1, size // 32) for size in shape]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, fan_in), np.float32)
    weight = winit.draw(winit.lecun_normal(), (units, fan_in), seed=0)
    grad = rng.standard_normal((batch, units), np.float32)
    return x, weight, np.zeros(units, np.float32), grad


def winit_pass(f, x, weight, bias, grad):
    out = [np.zeros_like(array) for array in (grad, x, weight, bias)]

    def call():
        _, tape = winit.dense_forward(x, weight, bias, f, out=out[0])
        winit.dense_backward(grad, tape, out=out[1:])

    return call


def numpy_pass(f, x, weight, bias, grad):
    y, dx, dweight, dbias, g = (np.zeros_like(array) for array in (grad, x, weight, bias, grad))
    if f == "gelu":
        special = pytest.importorskip("scipy.special")
    root, density = np.float32(math.sqrt(0.5)), np.float32(1 / math.sqrt(2 * math.pi))

    def call():
        np.matmul(x, weight.T, out=y)
        np.add(y, bias, out=y)
        if f == "relu":
            np.maximum(y, 0, out=y)
            np.multiply(grad, y > 0, out=g)
        elif f == "tanh":
            np.tanh(y, out=y)
            np.multiply(grad, 1 - y * y, out=g)
        else:
            cdf = (special.erf(y * root) + 1) / 2
            np.multiply(grad, cdf + y * np.exp(-y * y / 2) * density, out=g)
            np.multiply(y, cdf, out=y)
        np.matmul(g, weight, out=dx)
        np.matmul(g.T, x, out=dweight)
        g.sum(0, out=dbias)

    return call


def torch_pass(f, x, weight, bias, grad):
    torch = pytest.importorskip("torch")
    leaves = [torch.from_numpy(array).requires_grad_() for array in (x, weight, bias)]
    function = {"relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}[f]
    above = torch.from_numpy(grad)
    return lambda: torch.autograd.grad(function(torch.nn.functional.linear(*leaves)), leaves, above)


def jax_pass(f, x, weight, bias, grad):
    jax = pytest.importorskip("jax")
    function = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh, "gelu": lambda z: jax.nn.gelu(z, approximate=False)}[f]

    @jax.jit
    def step(x, weight, bias, grad):
        y, pull = jax.vjp(lambda x, w, b: function(x @ w.T + b), x, weight, bias)
        return y, pull(grad)

    arrays = [jax.numpy.asarray(array) for array in (x, weight, bias, grad)]
    return lambda: jax.block_until_ready(step(*arrays))


PASSES = {"winit": winit_pass, "numpy": numpy_pass, "torch": torch_pass, "jax": jax_pass}


@pytest.mark.parametrize("library", PASSES)
@pytest.mark.parametrize("f", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_dense(benchmark, shape, f, library, elements):
    benchmark.group = f"dense {f}, batch {shape[0]}, {shape[1]} to {shape[2]}, forward and backward"
    if library != "winit" and not installed(library):
        pytest.skip(f"{library} is not installed")
    arrays = layer(shape, elements)
    operations = 3 * 2 * arrays[0].size * arrays[3].shape[1]
    benchmark.extra_info.update(library=library, operations=operations, threads=THREADS)
    benchmark.pedantic(PASSES[library](f, *arrays), **ROUNDS)


@pytest.mark.parametrize("library", ["winit", "winit-virtual"])
def test_virtual(benchmark, library, elements):
    """Weights that are never stored, beside the same weights stored: forward and the gradient of x."""
    shape = SHAPES[1]
    benchmark.group = f"dense relu, batch {shape[0]}, {shape[1]} to {shape[2]}, forward and dx"
    x, weight, bias, grad = layer(shape, elements)
    y, dx = np.zeros_like(grad), np.zeros_like(x)
    if library == "winit-virtual":
        weight = winit.Virtual(winit.lecun_normal(), weight.shape, seed=0)

    def call():
        _, tape = winit.dense_forward(x, weight, bias, "relu", out=y)
        winit.dense_backward(grad, tape, want=("x",), out=(dx, None, None))

    benchmark.extra_info.update(library=library, operations=4 * x.size * grad.shape[1], threads=THREADS)
    benchmark.pedantic(call, **ROUNDS)


def test_peak(benchmark, elements):
    benchmark.group = "float32 fused multiply-adds in registers"
    rounds = peak.ROUNDS if elements >= 1 << 20 else 1000
    function = peak.build()
    benchmark.extra_info.update(library="peak", operations=int(peak.run(function, THREADS, rounds)), threads=THREADS)
    benchmark.pedantic(lambda: peak.run(function, THREADS, rounds), **ROUNDS)
