"""What do the statistics of winit.lab.signal cost, beside NumPy's and torch's own? float32, relu, no biases.

Each peer runs a batch through all layers, and a gradient at the output back, bare or with the statistics of each
layer: mean, std, second moment, mean std of units, share of dead units and mean cosine of outputs; mean, std and spread
of gradients. winit and NumPy sum in float64, torch's hooks in float32, which costs it less.
"""

import numpy as np
import pytest

import winit
from conftest import installed
from winit.lab import Network, signal

DEPTH, WIDTH, BATCH = 20, 4096, 1024
ROUNDS = {"rounds": 3, "warmup_rounds": 1, "iterations": 1}


def made(depth=DEPTH, width=WIDTH, batch=BATCH):
    network = Network([width] * (depth + 1), "relu", winit.he_normal(), seed=0)
    return (
        network,
        network.draw_input(batch),
        winit.draw(winit.normal(), (batch, width), seed=0, name="output gradient"),
    )


def winit_bare(network, x, top):
    return lambda: network.watch_gradients(network.forward(x), top, lambda layer, grad: None)


def winit_signal(network, x, top):
    return lambda: signal(network, x)


def numpy_passes(network, x, top, look):
    def call():
        held, kept = x, []
        for weight in network.weights:
            held = held @ weight.T
            np.maximum(held, 0, out=held)
            kept.append(held)
            if look:
                of_outputs(held)
        grad = top
        for weight, y in zip(network.weights[::-1], kept[::-1], strict=True):
            if look:
                of_gradients(grad)
            grad = (grad * (y > 0)) @ weight

    def of_outputs(y):
        wide = y.astype(np.float64)
        units = wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        total = units.sum(axis=0)
        n = len(y)
        return (
            wide.mean(), wide.std(), (wide * wide).mean(), wide.std(axis=0).mean(), (y == 0).all(axis=0).mean(),
            ((total * total).sum() - n) / (n * (n - 1)),
        )  # fmt: skip

    def of_gradients(grad):
        wide = grad.astype(np.float64)
        norms = (wide * wide).sum(axis=1)
        return wide.mean(), wide.std(), norms.var() / norms.mean() ** 2 * grad.shape[1] / 2

    return call


def torch_passes(network, x, top, look):
    torch = pytest.importorskip("torch")
    layers = []
    for weight in network.weights:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight = torch.nn.Parameter(torch.from_numpy(weight), requires_grad=False)
        layers += [linear, torch.nn.ReLU()]
    model, above = torch.nn.Sequential(*layers), torch.from_numpy(top)
    found = []

    def of_outputs(module, inputs, y):
        with torch.no_grad():
            total = (y / y.norm(dim=1, keepdim=True)).sum(0)
            n = len(y)
            found.append((
                y.mean(), y.std(), y.square().mean(), y.std(0).mean(), (y == 0).all(0).float().mean(),
                ((total * total).sum() - n) / (n * (n - 1)),
            ))  # fmt: skip
        y.register_hook(of_gradients)

    def of_gradients(grad):
        norms = grad.square().sum(1)
        found.append((grad.mean(), grad.std(), norms.var() / norms.mean() ** 2 * grad.shape[1] / 2))

    def call():
        found.clear()
        handles = [layer.register_forward_hook(of_outputs) for layer in layers[1::2]] if look else []
        given = torch.from_numpy(x).requires_grad_()
        model(given).backward(above)
        for handle in handles:
            handle.remove()

    return call


PASSES = {
    "winit": (winit_bare, winit_signal),
    "numpy": (lambda *given: numpy_passes(*given, False), lambda *given: numpy_passes(*given, True)),
    "torch": (lambda *given: torch_passes(*given, False), lambda *given: torch_passes(*given, True)),
}


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("library", PASSES)
def test_signal(benchmark, library, look, elements):
    if not installed(library):
        pytest.skip(f"{library} is not installed")
    depth, width, batch = (DEPTH, WIDTH, BATCH) if elements >= 1 << 24 else (3, 64, 32)
    benchmark.group = f"{depth} layers x {width}, batch {batch}{', statistics' if look else ''}"
    benchmark.extra_info["library"] = library
    benchmark.pedantic(PASSES[library][look](*made(depth, width, batch)), **ROUNDS)
