"""The lessons, run at a smaller size: what the examples claim holds, by numbers."""

import math
import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import winit
from winit import _kernels

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def symmetry():
    return runpy.run_path(str(EXAMPLES / "symmetry.py"))


@pytest.fixture(scope="module")
def propagation():
    return runpy.run_path(str(EXAMPLES / "propagation.py"))


@pytest.fixture(scope="module")
def mezo():
    return runpy.run_path(str(EXAMPLES / "mezo.py"))


@pytest.fixture
def exact_products(build, monkeypatch):
    """Products whose bits are winit's own on every engine.

    The Numba and NumPy engines multiply by NumPy's BLAS, which on some processors gives equal columns unequal sums.
    """
    engine, _ = _kernels.dense_in_use()
    if build[0] != "cython":
        product = engine.Product
        monkeypatch.setattr(engine, "Product", lambda *given, **named: product(*given, **{**named, "exact": True}))


@pytest.mark.usefixtures("exact_products")
@pytest.mark.parametrize("scheme", [winit.zeros(), winit.ones(), winit.constant(0.5)])
def test_equal_weights_keep_units_equal(symmetry, scheme):
    rng = np.random.default_rng(0)
    x, target = rng.random((8, 6)), rng.random((8, 2))
    layers = symmetry["network"](scheme)
    outputs, found = symmetry["gradients"](layers, x, target)
    for layer in (0, 1):
        delta = found[layer][0]
        assert (delta == delta[:, :1]).all(), "units of equal weights got different gradients"
        assert np.allclose(delta, symmetry["formula"](layers, outputs, found, layer), rtol=1e-14, atol=0)
    symmetry["train"](layers, x, target, steps=50)
    assert symmetry["distinct"](layers) == [1, 1]


def test_random_weights_break_the_tie(symmetry, build):
    rng = np.random.default_rng(0)
    x, target = rng.random((8, 6)), rng.random((8, 2))
    layers = symmetry["network"](winit.normal(std=0.5))
    outputs, found = symmetry["gradients"](layers, x, target)
    for layer in (0, 1):
        delta = found[layer][0]
        assert len(np.unique(delta[0])) == delta.shape[1]
        assert np.allclose(delta, symmetry["formula"](layers, outputs, found, layer), rtol=1e-12, atol=1e-16)
    symmetry["train"](layers, x, target, steps=50)
    assert symmetry["distinct"](layers) == [5, 4]


@pytest.mark.usefixtures("exact_products")
def test_symmetry_prints_what_it_claims(symmetry, capsys):
    symmetry["main"]()
    lines = capsys.readouterr().out.splitlines()
    propagated = [line.split()[1:] for line in lines if "back-propagated" in line]
    formula = [line.split()[3:] for line in lines if "by the formula" in line]
    assert len(propagated) == 3 and propagated == formula, "the formula holds to the digit"
    units = [line.split(": ")[1] for line in lines if "distinct units" in line]
    assert units == ["[1, 1] before, [1, 1] after 100 steps"] * 2 + ["[5, 4] before, [5, 4] after 100 steps"]


def test_propagation_follows_mean_field_theory(propagation, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.png"
    layers, width = 10, 512
    results = propagation["main"]([f"--layers={layers}", f"--width={width}", "--batch=64", f"--plot={path}"])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert set(results) == {(f, name) for f in propagation["ACTIVATIONS"] for name in propagation["SCHEMES"]}
    for (f, name), (forward, backward, theory) in results.items():
        assert len(forward) == len(backward) == layers
        # A layer's mean square fluctuates by sqrt(5 / width) of the one before under relu, its std by half of that,
        # less under the others: four sigma of all layers together.
        tolerance = 2 * math.sqrt(5 * layers / width) if f == "relu" else 0.2
        assert np.allclose(np.log(forward), np.log(theory), atol=tolerance), (f, name)
    ratio = {key: found[1][0] / found[1][-1] for key, found in results.items()}  # first layer's gradient by the last's
    assert 0.5 < ratio["relu", "he"] < 2, "He keeps gradients under relu"
    assert 0.1 < ratio["tanh", "xavier"] < 1, "Xavier nearly keeps them under tanh"
    assert all(ratio["sigmoid", name] < 1e-4 for name in propagation["SCHEMES"]), "sigmoid loses them under all five"
    assert ratio["relu", "normal(0.01)"] < 1e-5 and ratio["tanh", "sparse(10)"] < 1e-12
    assert results["relu", "he"][0][-1] / results["relu", "normal(0.01)"][0][-1] > 1e6


def test_sparse_connections_are_distinct(propagation):
    weight = propagation["sparse"](200, 3, "w")
    assert (np.count_nonzero(weight, axis=1) == 10).all()
    few = propagation["sparse"](7, 3, "w")
    assert (np.count_nonzero(few, axis=1) == 7).all()


def test_zeroth_order_tuning_learns_and_replays(mezo, capsys):
    weights, log = mezo["main"](["--steps=1500"])
    lines = capsys.readouterr().out.splitlines()
    before, after = (float(words.split()[-1]) for words in lines[1].split(","))
    assert after < before / 10, "the loss falls"
    assert lines[-1] == "replayed from the log, to the bit: yes"
    # The log alone, as bytes; in parts; on another engine.
    stored = np.frombuffer(log.tobytes(), mezo["LOG"])
    assert stored.nbytes == 16 * 1500
    with winit.use_engine("reference"):
        part = mezo["replay"](mezo["network"](32), stored[:20], 1e-3, 4e-3)
    partly = mezo["replay"](mezo["network"](32), stored[:20], 1e-3, 4e-3)
    whole = mezo["replay"](partly, stored[20:], 1e-3, 4e-3)
    assert all(whole[name].tobytes() == weights[name].tobytes() for name in weights)
    other = mezo["replay"](mezo["network"](32), stored[:20], 1e-3, 4e-3)
    assert all(part[name].tobytes() == other[name].tobytes() for name in weights)
    # A log with two steps exchanged is another run: the roundings of the sums are part of it.
    assert any((mezo["replay"](mezo["network"](32), stored[::-1], 1e-3, 4e-3)[n] != weights[n]).any() for n in weights)


def test_zeroth_order_steps_follow_the_slope(mezo):
    """g is the derivative along z, against the gradient of dense_backward."""
    x, target = mezo["task"](32)
    weights = {name: array.astype(np.float64) for name, array in mezo["network"](32).items()}
    x, target = x.astype(np.float64), target.astype(np.float64)
    hidden, first = winit.dense_forward(x, weights["fc1.weight"], weights["fc1.bias"], "tanh")
    y, second = winit.dense_forward(hidden, weights["fc2.weight"], weights["fc2.bias"])
    dhidden, dweight2, dbias2 = winit.dense_backward(2 * (y - target) / y.size, second)
    _, dweight1, dbias1 = winit.dense_backward(dhidden, first)
    found = dict(zip(weights, (dweight1, dbias1, dweight2, dbias2), strict=True))
    for seed in (1, 2, 3):
        slope = sum(
            float((grad * winit.draw(winit.normal(), grad.shape, seed=seed, name=name, dtype="float64")).sum())
            for name, grad in found.items()
        )
        start = {name: array.copy() for name, array in weights.items()}
        g = mezo["step"](start, seed, 1e-4, 0.01, lambda moved: mezo["loss"](moved, x, target))
        assert g == pytest.approx(slope, rel=1e-5)
        for name, array in start.items():
            z = winit.draw(winit.normal(), array.shape, seed=seed, name=name, dtype="float64")
            assert np.allclose(array, weights[name] - 0.01 * g * z, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("compiled")
def test_perturbing_stores_no_noise(mezo):
    weights = {"w": np.zeros((1500, 1500), np.float32)}
    mezo["perturb"](weights, 0, 1e-3)
    tracemalloc.start()
    try:
        mezo["perturb"](weights, 1, 1e-3)
        assert tracemalloc.get_traced_memory()[1] < 64_000 < weights["w"].nbytes / 100
    finally:
        tracemalloc.stop()
