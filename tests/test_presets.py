"""Presets against the installed frameworks, whose laws they claim to be.

In distribution: Kolmogorov-Smirnov on two samples, of 10^6 values each for laws of independent elements, fixed seeds.
Wei & Dudley 2012 bound the chance that equal laws differ by more than D, for samples of one size n >= 458, by
2 exp(-n D^2); each of the file's comparisons takes an equal share of CHANCE. With the standard deviations of
test_fans_that_frameworks_get_wrong, 11 times 2e-9, the file fails with chance 1e-6 at most where the laws are equal. A
standard deviation wrong by 2 % is found. To 1e-12: what each framework asks its own sampler for, on small shapes of
every kind.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np
import pytest
import torch
from scipy import signal

import winit
from winit import Axes, Param, Plan, presets
from winit._core.laws import Normal, TruncatedNormal, Uniform
from winit.presets.keras import VarianceScaling

ROOT = Path(__file__).parents[1]
N = 1_000_000
MATRICES = 10_000
CHANCE = 9e-7
OURS = {"torch": presets.torch, "jax": presets.jax, "keras": presets.keras}
THEIRS = {"torch": torch.nn.init, "jax": jax.nn.initializers, "keras": keras.initializers}

# ---- what is compared: framework, name, arguments, shape of at least 10^6 elements

SQUARE = (1000, 1000)
DENSE = (500, 2000)
CONV, CONV_IO = (400, 25, 10, 10), (10, 10, 25, 400)
CONV3, CONV3_IO = (50, 25, 8, 10, 10), (8, 10, 10, 25, 50)
DEPTHWISE = (20_000, 1, 5, 10)
EXPERTS = (10, 250, 400)
TABLE = (10_000, 100)

RANDOM = [
    ("torch", "uniform_", {}, SQUARE),
    ("torch", "uniform_", {"a": -0.3, "b": 0.7}, SQUARE),
    ("torch", "normal_", {}, SQUARE),
    ("torch", "normal_", {"mean": 0.5, "std": 0.02}, SQUARE),
    ("torch", "trunc_normal_", {}, SQUARE),
    ("torch", "trunc_normal_", {"std": 0.02}, SQUARE),  # cut at 100 sigma
    ("torch", "trunc_normal_", {"mean": 0.1, "std": 0.5, "a": -0.2, "b": 0.9}, SQUARE),
    ("torch", "trunc_normal_", {"a": 1.5, "b": 3.0}, SQUARE),  # torch's other method
    ("torch", "xavier_uniform_", {}, DENSE),
    ("torch", "xavier_uniform_", {"gain": 5 / 3}, CONV),
    ("torch", "xavier_normal_", {}, DENSE),
    ("torch", "xavier_normal_", {"gain": 0.5}, CONV3),
    ("torch", "kaiming_uniform_", {}, DENSE),
    ("torch", "kaiming_uniform_", {"a": 5**0.5}, CONV),
    ("torch", "kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}, CONV3),
    ("torch", "kaiming_normal_", {}, DENSE),
    ("torch", "kaiming_normal_", {"a": 0.2, "mode": "fan_out"}, CONV),
    ("torch", "kaiming_normal_", {"a": 0.2, "nonlinearity": "tanh"}, DEPTHWISE),
    ("jax", "uniform", {}, SQUARE),
    ("jax", "uniform", {"scale": 3.0}, SQUARE),
    ("jax", "normal", {}, SQUARE),
    ("jax", "normal", {"stddev": 2.0}, SQUARE),
    ("jax", "truncated_normal", {}, SQUARE),
    ("jax", "truncated_normal", {"stddev": 2.0, "lower": -0.5, "upper": 3.0}, SQUARE),
    ("jax", "variance_scaling", {"scale": 0.5, "mode": "fan_geo_avg", "distribution": "normal"}, CONV_IO),
    ("jax", "variance_scaling", {"scale": 3.0, "mode": "fan_out", "distribution": "uniform"}, CONV3_IO),
    ("jax", "variance_scaling", {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"}, DENSE),
    ("jax", "variance_scaling", {"scale": 1.0, "mode": "fan_in", "distribution": "normal", "out_axis": 0}, TABLE),
    ("jax", "glorot_uniform", {}, DENSE),
    ("jax", "glorot_normal", {}, CONV_IO),
    ("jax", "lecun_uniform", {}, DENSE),
    ("jax", "lecun_normal", {}, CONV3_IO),
    ("jax", "he_uniform", {"in_axis": 0, "out_axis": (1, 2)}, (500, 20, 100)),
    ("jax", "he_normal", {}, DENSE),
    ("jax", "he_normal", {"in_axis": 1, "out_axis": 2, "batch_axis": 0}, EXPERTS),
    ("keras", "RandomNormal", {}, SQUARE),
    ("keras", "RandomNormal", {"mean": -1.0, "stddev": 0.5}, SQUARE),
    ("keras", "TruncatedNormal", {}, SQUARE),
    ("keras", "TruncatedNormal", {"mean": 0.3, "stddev": 0.5}, SQUARE),
    ("keras", "RandomUniform", {}, SQUARE),
    ("keras", "RandomUniform", {"minval": 0.5, "maxval": 2.0}, SQUARE),
    ("keras", "VarianceScaling", {}, DENSE),
    ("keras", "VarianceScaling", {"scale": 2.0, "distribution": "normal"}, CONV_IO),
    ("keras", "VarianceScaling", {"mode": "fan_out", "distribution": "untruncated_normal"}, CONV3_IO),
    ("keras", "VarianceScaling", {"mode": "fan_avg", "distribution": "uniform"}, (N,)),
    ("keras", "VarianceScaling", {"input_axes": [0], "output_axes": [1, 2]}, (500, 20, 100)),
    ("keras", "GlorotUniform", {}, DENSE),
    ("keras", "GlorotNormal", {}, CONV_IO),
    ("keras", "LecunUniform", {}, CONV3_IO),
    ("keras", "LecunNormal", {}, DENSE),
    ("keras", "HeUniform", {}, CONV_IO),
    ("keras", "HeNormal", {}, (N,)),
]
# and the axis of the columns of the matrix that is orthogonal
ORTHOGONAL = [
    ("torch", "orthogonal_", {}, (4, 3), 0),
    ("torch", "orthogonal_", {"gain": 2.0}, (3, 2, 2), 0),
    ("jax", "orthogonal", {}, (4, 3), -1),
    ("jax", "orthogonal", {"scale": 2.0, "column_axis": 1}, (2, 3, 4), 1),
    ("jax", "delta_orthogonal", {}, (3, 2, 3), -1),
    ("jax", "delta_orthogonal", {"scale": 0.5, "column_axis": 0}, (2, 2, 3, 3), -1),
    ("keras", "Orthogonal", {}, (3, 4), -1),
    ("keras", "Orthogonal", {"gain": 0.5}, (2, 3, 3), -1),
]
SPARSE = [
    ("torch", "sparse_", {"sparsity": 0.1}, (1000, 1111)),
    ("torch", "sparse_", {"sparsity": 0.555, "std": 2.0}, (2249, 1000)),
]
FIXED = [
    *(("torch", name, {}, shape) for name in ("zeros_", "ones_") for shape in ((3, 4), (5,), ())),
    ("torch", "constant_", {"val": 0.3}, (3, 4)),
    *(("torch", "eye_", {}, shape) for shape in ((3, 5), (5, 3), (4, 4))),
    *(("torch", "dirac_", {}, shape) for shape in ((4, 2, 3), (2, 4, 4, 5), (3, 3, 2, 3, 4))),
    *(("torch", "dirac_", {"groups": groups}, (12, 3, 3, 2)) for groups in (2, 3, 6, 12)),
    ("jax", "zeros", None, (3, 4)),
    ("jax", "ones", None, (3, 4)),
    ("jax", "constant", {"value": -7}, (3, 4)),
    ("keras", "Zeros", {}, (3, 4)),
    ("keras", "Ones", {}, (3, 4)),
    ("keras", "Constant", {}, (3, 4)),
    ("keras", "Constant", {"value": 0.3}, (5,)),
    ("keras", "Identity", {}, (3, 5)),
    ("keras", "Identity", {"gain": -2.0}, (5, 3)),
    ("keras", "STFT", {}, (8, 1, 5)),
    *(
        ("keras", "STFT", {"side": side, "window": window, "scaling": scaling, "periodic": periodic}, (5, 1, 4))
        for side, window, scaling, periodic in itertools.product(
            ("real", "imag"),
            ("hann", "hamming", "blackman", "boxcar", None, (0.25, 0.5, 1.0, 0.75, 0.125)),
            ("density", "spectrum", None),
            (False, True),
        )
    ),
]
COMPARISONS = len(RANDOM) + 2 * len(ORTHOGONAL) + len(SPARSE)


def label(row):
    given = ", ".join(
        f"{key}={'numbers' if key == 'window' and isinstance(value, tuple) else value}"
        for key, value in (row[2] or {}).items()
    )
    return f"{row[0]}.{row[1]}({given})-{row[3]}"


def preset(framework, name, arguments):
    return getattr(OURS[framework], name)(**(arguments or {}))


def theirs(framework, name, arguments, shape, seed=1, dtype="float32"):
    """Draw with the framework itself."""
    if framework == "torch":
        tensor = torch.empty(shape, dtype=getattr(torch, dtype))
        function = getattr(torch.nn.init, name)
        random = {"generator": torch.Generator().manual_seed(seed)}
        return function(
            tensor, **arguments, **(random if "generator" in inspect.signature(function).parameters else {})
        )
    if framework == "jax":
        function = getattr(jax.nn.initializers, name)
        return (function if arguments is None else function(**arguments))(jax.random.key(seed), shape, dtype)
    found = getattr(keras.initializers, name)
    random = {"seed": seed} if "seed" in inspect.signature(found).parameters else {}
    return found(**arguments, **random)(shape, dtype)


def layout_of(scheme):
    return getattr(scheme, "layout", "oi")


def distance(a, b):
    """The largest difference between two empirical distribution functions."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    shares = (np.searchsorted(sample, both, side="right") / sample.size for sample in (a, b))
    return np.abs(np.subtract(*shares)).max()


def same_law(a, b):
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    n = min(a.size, b.size)
    assert n >= 458
    return distance(a[:n], b[:n]) < math.sqrt(math.log(2 * COMPARISONS / CHANCE) / n)


def test_the_comparison_finds_what_presets_are_about():
    """Cut or not at one standard deviation, 2 % of it, a shift: each told apart at this n and chance."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal(N)
    assert same_law(z, rng.standard_normal(N))
    assert not same_law(z, winit.variance_scaling(1.0, "fan_in", "truncated_normal")((N, 1), seed=0))
    assert not same_law(z, 1.02 * rng.standard_normal(N))
    assert not same_law(z, 0.012 + rng.standard_normal(N))


# ---- distributions


@pytest.mark.parametrize("row", RANDOM, ids=label)
def test_independent_elements(row):
    framework, name, arguments, shape = row
    assert math.prod(shape) >= N
    scheme = preset(framework, name, arguments)
    mine, other = scheme(shape, seed=2, name=label(row)), np.asarray(theirs(*row))
    assert same_law(mine, other)
    low, high = scheme.moments(shape)[2:]
    room = 1e-6 * max(abs(end) for end in (low, high)) if math.isfinite(low) else 0.0
    for values in (mine, other):
        assert low - room <= values.min() and values.max() <= high + room


def unfolded(values, column):
    values = np.moveaxis(np.asarray(values), column, -1)
    return values.reshape(-1, values.shape[-1])


def batch_of_theirs(framework, name, arguments, shape):
    if framework == "torch":
        generator = torch.Generator().manual_seed(3)
        function = getattr(torch.nn.init, name)
        drawn = [function(torch.empty(shape), **arguments, generator=generator).numpy() for _ in range(MATRICES)]
        return np.stack(drawn)
    keys = jax.random.split(jax.random.key(3), MATRICES)
    if framework == "jax":
        init = getattr(jax.nn.initializers, name)(**arguments)
        return np.asarray(jax.jit(jax.vmap(lambda key: init(key, shape, np.float32)))(keys))

    def one(key):
        init = getattr(keras.initializers, name)(**arguments)
        init.seed = key  # a key of JAX's, which Keras's own functions take
        return init(shape, "float32")

    return np.asarray(jax.jit(jax.vmap(one))(keys))


@pytest.mark.parametrize("row", ORTHOGONAL, ids=label)
def test_orthogonal_matrices(row):
    framework, name, arguments, shape, column = row
    scheme = preset(framework, name, arguments)
    layout = layout_of(scheme)
    mine = np.stack([scheme(shape, seed=seed, layout=layout) for seed in range(MATRICES)])
    other = batch_of_theirs(framework, name, arguments, shape).copy()
    gain = arguments.get("gain", arguments.get("scale", 1.0))
    for values in (mine[:100], other[:100]):
        for whole in values:
            if name == "delta_orthogonal":
                centre = tuple((size - 1) // 2 for size in shape[:-2])
                assert np.count_nonzero(whole) == np.count_nonzero(whole[centre])
                whole = whole[centre]
            singular = np.linalg.svd(unfolded(whole, column), compute_uv=False)
            assert singular == pytest.approx(np.full(singular.size, gain), abs=1e-5)
    # One entry, and a projection: each is drawn anew with every matrix, entries of one matrix depend on each other.
    centre = tuple((size - 1) // 2 for size in shape[:-2]) if name == "delta_orthogonal" else (0,) * (len(shape) - 2)
    where = (slice(None), *centre, -1, 0)
    assert same_law(mine[where], other[where])
    direction = np.random.default_rng(7).standard_normal(math.prod(shape))
    assert same_law(*(values.reshape(MATRICES, -1) @ direction for values in (mine, other)))


@pytest.mark.parametrize("axes", [2, 3, 4, 5])
def test_jax_orthogonal_on_any_column_axis(axes):
    shape = (3, 4, 2, 5, 2)[:axes]
    for column in range(-axes, axes):
        scheme = presets.jax.orthogonal(1.5, column)
        mine = scheme(shape, seed=1, layout=layout_of(scheme))
        other = theirs("jax", "orthogonal", {"scale": 1.5, "column_axis": column}, shape)
        for values in (mine, other):
            singular = np.linalg.svd(unfolded(values, column), compute_uv=False)
            assert singular == pytest.approx(np.full(singular.size, 1.5), abs=1e-5)
        # None of the other unfoldings would do, but those whose matrices are the same or the same turned over.
        assert scheme.moments(shape).std == pytest.approx(
            1.5 / math.sqrt(max(shape[column], math.prod(shape) / shape[column])), rel=1e-12
        )
    for column in (-3, -2, -1, 0, 1, 2):
        with pytest.raises(ValueError, match="axes|outside a shape"):
            presets.jax.orthogonal(column_axis=column).law((5,))


@pytest.mark.parametrize("column", [-2, -1, 0, 1])
@pytest.mark.parametrize("shape", [(3, 2, 4), (4, 1, 3, 3), (2, 3, 1, 2, 5)])
def test_delta_orthogonal_whichever_axis_has_the_columns(shape, column):
    scheme = presets.jax.delta_orthogonal(2.0, column)
    other = np.asarray(theirs("jax", "delta_orthogonal", {"scale": 2.0, "column_axis": column}, shape))
    mine = scheme(shape, seed=0, layout=layout_of(scheme))
    centre = tuple((size - 1) // 2 for size in shape[:-2])
    for values in (mine, other):
        assert np.count_nonzero(values) == np.count_nonzero(values[centre])
        assert values[centre] @ values[centre].T == pytest.approx(4 * np.eye(shape[-2]), abs=1e-5)


@pytest.mark.parametrize("row", SPARSE, ids=label)
def test_sparse_matrices(row):
    framework, name, arguments, shape = row
    mine = preset(framework, name, arguments)(shape, seed=2)
    torch.manual_seed(1)  # sparse_'s positions come from the global generator
    other = theirs(*row).numpy()
    zeros = math.ceil(arguments["sparsity"] * shape[0])
    for values in (mine, other):
        assert set((values == 0).sum(axis=0).tolist()) == {zeros}
    assert same_law(mine[mine != 0], other[other != 0])


@pytest.mark.parametrize("row", FIXED, ids=label)
def test_values_that_are_not_random(row):
    framework, name, arguments, shape = row
    scheme = preset(framework, name, arguments)
    mine = scheme(shape, seed=0, dtype="float64", layout=layout_of(scheme))
    with jax.enable_x64(True):
        other = np.asarray(theirs(*row, dtype="float64"))
    assert mine.shape == other.shape
    # Keras's angles, 13 to 22 here, are float32 whatever the dtype: test_stft has the formula to 1e-12.
    assert mine == pytest.approx(other, abs=1e-6 if name == "STFT" else 0)


def test_stft():
    window = signal.get_window("hamming", 12, fftbins=True)
    angle = 2 * np.pi * np.outer(np.arange(12), np.arange(11)) / 20
    for side, values in (("real", np.cos(angle)), ("imag", -np.sin(angle))):
        scheme = presets.keras.STFT(side, "hamming", "spectrum", True)
        expected = values * window[:, None] / window.sum()
        assert scheme((12, 1, 11), seed=0, dtype="float64", layout="io")[:, 0] == pytest.approx(expected, abs=1e-12)


WHOLE = [
    presets.torch.dirac_(2),
    presets.torch.orthogonal_(),
    presets.jax.orthogonal(),
    presets.jax.orthogonal(column_axis=1),
    presets.jax.delta_orthogonal(),
    presets.keras.Orthogonal(),
    presets.keras.STFT(),
]


@pytest.mark.parametrize("tensor", ["oi", "io"])
@pytest.mark.parametrize("scheme", WHOLE, ids=repr)
def test_whole_tensors_in_their_own_layout_whatever_the_tensor_s(scheme, tensor):
    shape = (6, 1, 9) if "stft" in repr(scheme) else (6, 8, 9)
    inner = scheme.scheme(shape, seed=0, layout=scheme.layout)
    assert (scheme(shape, seed=0, layout=tensor) == inner).all()


# ---- what the frameworks ask their samplers for

TORCH_SHAPES = [
    (30, 70),  # dense
    (64, 32, 3, 5),  # conv 2-D
    (16, 8, 3, 5, 2),  # conv 3-D
    (64, 8, 3, 5),  # grouped
    (64, 1, 7, 7),  # depthwise
    (32, 64, 3, 5),  # transposed
    (32, 16, 4),  # transposed, grouped, 1-D
]
IO_SHAPES = [
    (70, 30),
    (3, 5, 32, 64),
    (3, 5, 2, 8, 16),
    (3, 5, 8, 64),
    (7, 7, 1, 64),
    (3, 5, 64, 32),  # transposed, Keras's Conv2DTranspose: (*spatial, out, in)
    (7, 7, 64, 1),  # Keras's DepthwiseConv2D
]
LAYERS = {
    "torch": [
        ("xavier_uniform_", {}),
        ("xavier_uniform_", {"gain": 1.7}),
        ("xavier_normal_", {}),
        ("xavier_normal_", {"gain": 1.7}),
        *(
            (name, {"a": a, "mode": mode, "nonlinearity": nonlinearity})
            for name in ("kaiming_uniform_", "kaiming_normal_")
            for a in (0, 0.01, 5**0.5)
            for mode in ("fan_in", "FAN_OUT")
            for nonlinearity in ("leaky_relu", "relu", "tanh", "sigmoid", "selu", "linear", "conv2d")
        ),
    ],
    "jax": [
        *(
            (f"{name}_{law}", {})
            for name in ("glorot", "xavier", "he", "kaiming", "lecun")
            for law in ("uniform", "normal")
        ),
        *(
            ("variance_scaling", {"scale": 0.7, "mode": mode, "distribution": distribution})
            for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
            for distribution in ("normal", "uniform", "truncated_normal")
        ),
    ],
    "keras": [
        *((f"{name}{law}", {}) for name in ("Glorot", "Lecun", "He") for law in ("Uniform", "Normal")),
        *(
            ("VarianceScaling", {"scale": 0.7, "mode": mode, "distribution": distribution})
            for mode in ("fan_in", "fan_out", "fan_avg")
            for distribution in ("normal", "UNIFORM", "truncated_normal", "untruncated_normal")
        ),
        ("VarianceScaling", {"input_axes": [0]}),
        ("VarianceScaling", {"output_axes": [0]}),
        ("HeNormal", {"input_axes": (0, 1), "output_axes": [1]}),
        ("GlorotUniform", {"input_axes": [-1], "output_axes": [-2, 0]}),
        ("LecunUniform", {"input_axes": [0], "output_axes": [0]}),
    ],
}
SHAPES = {"torch": TORCH_SHAPES, "jax": IO_SHAPES, "keras": IO_SHAPES}
ASKED = [
    (framework, *layer, shape) for framework in LAYERS for layer in LAYERS[framework] for shape in SHAPES[framework]
]
ASKED += [
    ("keras", name, arguments, shape)
    for name, arguments in LAYERS["keras"]
    for shape in ((37,), (1,), (), (0,), (0, 5))  # of nothing: fans are at least 1
    if not any("axes" in argument for argument in arguments)
]
ASKED += [
    ("jax", name, {**arguments, **axes}, shape)
    for name, arguments in LAYERS["jax"]
    for axes, shape in (
        ({"in_axis": 1, "out_axis": 2, "batch_axis": 0}, (8, 64, 256)),  # experts
        ({"in_axis": 0, "out_axis": (1, 2)}, (64, 4, 16)),  # heads
        ({"in_axis": (0, 1), "out_axis": -1}, (4, 16, 64)),  # heads, back again
        ({"out_axis": 0}, (500, 48)),  # flax's Embed
        ({"in_axis": 1, "out_axis": 0}, (64, 32, 3, 5)),  # torch's layout
        ({"in_axis": 0, "out_axis": 0}, (37,)),
        ({"in_axis": (), "out_axis": -1, "batch_axis": (-2,)}, (7, 7, 64, 2)),  # depthwise
    )
]
# Laws without fans, on any shape.
ASKED += [
    (framework, name, arguments, (3, 4))
    for framework, name, arguments, _ in RANDOM
    if name in ("uniform_", "normal_", "uniform", "normal", "truncated_normal", "RandomNormal", "RandomUniform")
    or name == "TruncatedNormal"
]


def asked_of_torch(monkeypatch, name, arguments, shape):
    found = []
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, a, b, generator: found.append(Uniform(a, b)))
    monkeypatch.setattr(
        torch.Tensor, "normal_", lambda self, mean, std, generator: found.append(Normal(float(mean), std))
    )
    getattr(torch.nn.init, name)(torch.empty(shape), **arguments)
    (law,) = found
    return law


def asked_of_jax(monkeypatch, name, arguments, shape):
    """JAX scales what its sampler gives it: of ones, that is what it scales by."""
    found = []

    def sampler(kind):
        def sample(key, *given, **keywords):
            found.append((kind, given))
            return jax.numpy.ones((2,), np.float64)

        return sample

    kinds = ("uniform", "normal", "truncated_normal")
    monkeypatch.setattr(jax._src.nn.initializers, "random", SimpleNamespace(**{kind: sampler(kind) for kind in kinds}))
    with jax.enable_x64(True):
        scale = float(getattr(jax.nn.initializers, name)(**arguments)(None, shape, np.float64)[0])
    ((kind, given),) = found
    if kind == "uniform":
        _, _, low = (*given, 0)[:3]
        return Uniform(low * scale, scale)
    if kind == "normal":
        return Normal(0.0, scale)
    return TruncatedNormal(0.0, scale, *given[:2])


def asked_of_keras(monkeypatch, name, arguments, shape):
    found = []
    sampler = SimpleNamespace(
        uniform=lambda shape, minval, maxval, **_: found.append(Uniform(minval, maxval)),
        normal=lambda shape, mean, stddev, **_: found.append(Normal(mean, stddev)),
        truncated_normal=lambda shape, mean, stddev, **_: found.append(TruncatedNormal(mean, stddev, -2.0, 2.0)),
    )
    init = getattr(keras.initializers, name)(**arguments, seed=0)
    monkeypatch.setattr(keras.src.initializers.random_initializers, "random", sampler)
    init(shape)
    (law,) = found
    return law


@pytest.mark.parametrize("framework", OURS)
def test_numbers_of_the_laws(framework, monkeypatch):
    ask = {"torch": asked_of_torch, "jax": asked_of_jax, "keras": asked_of_keras}[framework]
    rows = [row[1:] for row in ASKED if row[0] == framework]
    assert len(rows) > 100
    for name, arguments, shape in rows:
        with monkeypatch.context() as patch:
            expected = ask(patch, name, arguments, shape)
        scheme = preset(framework, name, arguments)
        for layout in ("oi", "io", Axes(0, 0)) if shape else ("oi",):
            law = scheme.law(shape, layout)
            assert type(law) is type(expected), (name, arguments, shape)
            assert law._values() == pytest.approx(expected._values(), rel=1e-12, abs=0), (name, arguments, shape)


def test_torch_s_cuts_are_values():
    for mean, std, a, b in ((0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (0.3, 0.5, -0.1, 0.2), (1.0, 3.0, 2.0, 9.0)):
        moments = presets.torch.trunc_normal_(mean, std, a, b).moments()
        assert moments[2:] == pytest.approx((a, b), rel=1e-12)
    wide, narrow = presets.torch.trunc_normal_(std=0.02), presets.torch.trunc_normal_(std=0.02, a=-0.04, b=0.04)
    assert wide.moments().std == pytest.approx(0.02, rel=1e-12)
    assert narrow.moments().std == pytest.approx(0.02 * 0.8796256610342398, rel=1e-12)


# By hand: the four laws that one name means.
@pytest.mark.parametrize(
    ("scheme", "std", "high"),
    [
        (winit.he_normal(), (2 / 50) ** 0.5, math.inf),
        (presets.torch.kaiming_normal_(), (2 / 50) ** 0.5, math.inf),
        (presets.jax.he_normal(), (2 / 8) ** 0.5, 2 * (2 / 8) ** 0.5 / 0.87962566103423978),
        (presets.keras.HeNormal(), (2 / 8) ** 0.5, 2 * (2 / 8) ** 0.5 / 0.87962566103423978),
        (presets.torch.xavier_normal_(), (2 / 58) ** 0.5, math.inf),
        (presets.jax.glorot_normal(), (2 / 58) ** 0.5, 2 * (2 / 58) ** 0.5 / 0.87962566103423978),
        (presets.torch.trunc_normal_(), 0.8796256610342398, 2.0),
        (presets.jax.truncated_normal(), 0.008796256610342398, 0.02),
        (presets.keras.TruncatedNormal(), 0.04398128305171199, 0.1),
        (presets.torch.uniform_(), 12**-0.5, 1.0),
        (presets.jax.uniform(), 0.01 * 12**-0.5, 0.01),
        (presets.keras.RandomUniform(), 0.1 * 12**-0.5, 0.05),
    ],
    ids=repr,
)
def test_one_name_many_laws(scheme, std, high):
    moments = scheme.moments((8, 50))
    assert (moments.std, moments.high) == pytest.approx((std, high), rel=1e-12)


# ---- fans by axes, with winit's own schemes

FANS = [
    ("fused QKV", (2304, 768), Axes(1, 0, splits=3), 768, 768),
    ("fused QKV, grouped queries", (1024, 512), Axes(1, 0, splits=2), 512, 512),
    ("grouped convolution", (64, 8, 3, 3), Axes(1, 0, groups=4), 72, 144),
    ("depthwise convolution", (64, 1, 7, 7), Axes(1, 0, groups=64), 49, 49),
    ("depthwise convolution of flax", (7, 7, 1, 64), Axes(-2, -1, groups=64), 49, 49),
    ("depthwise convolution of Keras", (7, 7, 64, 2), Axes((), -1, batch=-2), 49, 98),
    ("transposed convolution", (32, 64, 3, 3), Axes(0, 1), 288, 576),
    ("grouped transposed convolution", (32, 16, 3, 3), Axes(0, 1, groups=4), 72, 144),
    ("transposed convolution of Keras", (3, 3, 64, 32), Axes(-1, -2), 288, 576),
    ("experts", (8, 64, 256), Axes(1, 2, batch=0), 64, 256),
    ("experts of torch", (8, 256, 64), Axes(2, 1, batch=0), 64, 256),
]


@pytest.mark.parametrize(
    ("shape", "axes", "fan_in", "fan_out"), [row[1:] for row in FANS], ids=[row[0] for row in FANS]
)
def test_fans_that_frameworks_get_wrong(shape, axes, fan_in, fan_out):
    assert winit.fans(shape, axes) == (fan_in, fan_out)
    bound = math.sqrt(6 / (fan_in + fan_out))
    for scheme, layout in ((winit.xavier_uniform(), axes), (winit.with_layout(winit.xavier_uniform(), axes), "oi")):
        assert scheme.moments(shape, layout)[2:] == pytest.approx((-bound, bound), rel=1e-12)
    assert winit.he_normal().moments(shape, axes).std == pytest.approx(math.sqrt(2 / fan_in), rel=1e-12)
    sample = winit.draw(winit.with_layout(winit.he_normal(), axes), shape, seed=0, dtype="float64")
    assert sample.std() == pytest.approx(math.sqrt(2 / fan_in), rel=6 / math.sqrt(2 * sample.size))


def test_what_torch_makes_of_a_fused_projection():
    """On (3 E, E) torch counts 4 E: half the variance that each of the three matrices should have."""
    fused = presets.torch.xavier_uniform_().moments((2304, 768)).std
    right = winit.xavier_uniform().moments((2304, 768), Axes(1, 0, splits=3)).std
    assert right**2 == pytest.approx(2 * fused**2, rel=1e-12)
    assert right == pytest.approx(presets.torch.xavier_uniform_().moments((768, 768)).std, rel=1e-12)


def test_fans_are_jax_s():
    shape = (2, 3, 5, 7)
    axes = [(), *((axis,) for axis in range(-4, 4)), (0, 1), (1, -1), (3, 0, 2)]
    compared = 0
    for in_axis, out_axis, batch_axis in itertools.product(axes, repeat=3):
        named = [{axis % 4 for axis in role} for role in (in_axis, out_axis, batch_axis)]
        if named[2] & (named[0] | named[1]):
            continue  # refused here, divided twice there
        expected = jax._src.nn.initializers._compute_fans(shape, in_axis, out_axis, batch_axis)
        assert winit.fans(shape, Axes(in_axis, out_axis, batch_axis)) == pytest.approx(expected, rel=1e-12)
        compared += 1
    assert compared > 500


def test_fans_are_torch_s_and_keras_s():
    for shape in TORCH_SHAPES:
        assert winit.fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    for shape in IO_SHAPES:
        assert winit.fans(shape, "io") == keras.src.initializers.random_initializers.compute_fans(shape)


def test_gains_are_torch_s():
    names = presets.torch._KNOWN
    for name, parameter in itertools.product(names, (None, 0, 0.2, -1.5)):
        ours, expected = (module.calculate_gain(name, parameter) for module in (presets.torch, torch.nn.init))
        assert ours == pytest.approx(expected, rel=1e-15)
    assert set(names) == set(torch.nn.init._NonlinearityType.__args__)


# ---- names and signatures

EXCEPTIONS = {
    # Deprecated names, which warn.
    "torch": {
        *("uniform", "normal", "constant", "eye", "dirac", "sparse", "orthogonal"),
        *("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
    },
    "jax": {"Initializer": "the protocol of what factories return"},
    "keras": {
        "Initializer": "the base class",
        "get": "finds an initialiser by name or configuration",
        "serialize": "writes a configuration",
        "deserialize": "reads a configuration",
    },
}


def public(framework):
    module = THEIRS[framework]
    return {
        name for name in getattr(module, "__all__", dir(module)) if name[0] != "_" and callable(getattr(module, name))
    }


@pytest.mark.parametrize("framework", OURS)
def test_every_initialiser_has_a_preset(framework):
    assert public(framework) - set(EXCEPTIONS[framework]) == set(OURS[framework].__all__)
    assert set(EXCEPTIONS[framework]) <= public(framework)


@pytest.mark.parametrize("framework", OURS)
def test_every_preset_is_compared(framework):
    rows = [row for row in (*RANDOM, *ORTHOGONAL, *SPARSE, *FIXED) if row[0] == framework]
    compared = {id(getattr(OURS[framework], row[1])) for row in rows}
    missing = {name for name in OURS[framework].__all__ if id(getattr(OURS[framework], name)) not in compared}
    assert missing == ({"calculate_gain"} if framework == "torch" else set())


@pytest.mark.parametrize("framework", OURS)
def test_aliases_are_theirs(framework):
    for a, b in itertools.combinations(OURS[framework].__all__, 2):
        ours, expected = ((getattr(module, a) is getattr(module, b)) for module in (OURS[framework], THEIRS[framework]))
        assert ours == expected, (a, b)


@pytest.mark.parametrize(
    ("framework", "name"), [(framework, name) for framework in OURS for name in OURS[framework].__all__]
)
def test_parameters_and_defaults_are_theirs(framework, name):
    dropped = {"tensor", "generator", "dtype", "seed", "self", "args", "kwargs"}
    if (framework, name) in (("jax", "zeros"), ("jax", "ones")):
        dropped |= {"key", "shape", "out_sharding"}
    signatures = []
    for module in (OURS[framework], THEIRS[framework]):
        parameters = inspect.signature(getattr(module, name)).parameters.values()
        signatures.append([(each.name, each.default) for each in parameters if each.name not in dropped])
    assert signatures[0] == signatures[1]


# ---- errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: presets.torch.uniform_(1.0, 0.5), ValueError, "a must be at most b, not 1.0 and 0.5"),
        (lambda: presets.torch.uniform_("0"), TypeError, "a must be a number, not '0'"),
        (lambda: presets.torch.normal_(std=-1), ValueError, "std must not be negative, not -1.0"),
        (lambda: presets.torch.trunc_normal_(std=0), ValueError, "std must be positive, not 0.0"),
        (lambda: presets.torch.trunc_normal_(a=2, b=2), ValueError, "a must be less than b, not 2.0 and 2.0"),
        (lambda: presets.torch.trunc_normal_(mean=math.nan), ValueError, "mean must be finite, not nan"),
        (lambda: presets.torch.xavier_uniform_(-1), ValueError, "gain must not be negative, not -1.0"),
        (lambda: presets.torch.kaiming_normal_("x"), TypeError, "a must be a number, not 'x'"),
        (lambda: presets.torch.kaiming_normal_(mode=1), TypeError, "mode must be a str, not int"),
        (
            lambda: presets.torch.kaiming_uniform_(mode="fan_avg"),
            ValueError,
            "mode must be 'fan_in' or 'fan_out', not 'fan_avg'",
        ),
        (
            lambda: presets.torch.kaiming_uniform_(nonlinearity="gelu"),
            ValueError,
            "nonlinearity must be one that torch knows, linear, conv1d, conv2d, conv3d, conv_transpose1d, "
            "conv_transpose2d, conv_transpose3d, sigmoid, tanh, relu, leaky_relu, selu, not 'gelu'",
        ),
        (lambda: presets.torch.calculate_gain(None), TypeError, "nonlinearity must be a str, not NoneType"),
        (lambda: presets.torch.calculate_gain("relu", True), TypeError, "param must be a number, not True"),
        (lambda: presets.torch.dirac_(0), ValueError, "groups must be at least 1, not 0"),
        (lambda: presets.torch.sparse_(1.5), ValueError, "sparsity must be between 0 and 1, not 1.5"),
        (
            lambda: presets.torch.xavier_normal_()(5, seed=0),
            ValueError,
            "layout 'oi' needs a shape of at least two axes to have fans, not (5,); name them with winit.Axes, or "
            "choose a scheme that has no fans",
        ),
        (
            lambda: presets.torch.eye_()((3, 3, 3), seed=0),
            ValueError,
            "identity fills matrices (out, in), not shape (3, 3, 3) in layout 'oi'",
        ),
        (lambda: presets.jax.uniform(-1), ValueError, "scale must not be negative, not -1.0"),
        (lambda: presets.jax.normal(-1), ValueError, "stddev must not be negative, not -1.0"),
        (lambda: presets.jax.truncated_normal(stddev=-1), ValueError, "stddev must not be negative, not -1.0"),
        (
            lambda: presets.jax.truncated_normal(lower=2.0),
            ValueError,
            "lower must be less than upper, not 2.0 and 2.0",
        ),
        (
            lambda: presets.jax.variance_scaling(1.0, "fan", "normal"),
            ValueError,
            "mode must be one of 'fan_in', 'fan_out', 'fan_avg', 'fan_geo_avg', not 'fan'",
        ),
        (
            lambda: presets.jax.variance_scaling(1.0, "fan_in", "cauchy"),
            ValueError,
            "distribution must be one of 'normal', 'uniform', 'truncated_normal', not 'cauchy'",
        ),
        (lambda: presets.jax.he_normal(out_axis="io"), TypeError, "out must be an axis or a tuple of axes, not 'io'"),
        (lambda: presets.jax.he_normal(out_axis=(1, 1)), ValueError, "out names an axis twice: (1, 1)"),
        (
            lambda: presets.jax.he_normal(batch_axis=0).law((3, 4)),
            ValueError,
            "batch axes [0] are also in_ or out axes",
        ),
        (lambda: presets.jax.orthogonal(column_axis=0.5), TypeError, "column_axis must be an integer, not float"),
        (
            lambda: presets.jax.orthogonal(column_axis=2).law((3, 4)),
            ValueError,
            "out axis 2 is outside a shape of 2 axes, (3, 4)",
        ),
        (
            lambda: presets.jax.delta_orthogonal(column_axis=2),
            ValueError,
            "column_axis must be an axis of the matrix (in, out), -2 to 1, not 2",
        ),
        (
            lambda: presets.jax.delta_orthogonal().law((3, 4, 2)),
            ValueError,
            "delta_orthogonal needs at least as many channels out as in, not 2 and 4 ((3, 4, 2))",
        ),
        (lambda: VarianceScaling(0.0), ValueError, "scale must be positive, not 0.0"),
        (lambda: VarianceScaling("1"), TypeError, "scale must be a number, not '1'"),
        (
            lambda: VarianceScaling(mode="fan_geo_avg"),
            ValueError,
            "mode must be one of 'fan_in', 'fan_out', 'fan_avg', not 'fan_geo_avg'",
        ),
        (lambda: VarianceScaling(mode=None), TypeError, "mode must be a str, not NoneType"),
        (
            lambda: VarianceScaling(distribution="Cauchy"),
            ValueError,
            "distribution must be one of 'normal', 'truncated_normal', 'untruncated_normal', 'uniform', not 'Cauchy'",
        ),
        (
            lambda: VarianceScaling(input_axes=0, output_axes=[1]),
            TypeError,
            "input_axes must be a sequence of axes or None, not 0",
        ),
        (
            lambda: presets.keras.HeNormal([0], [0.5]),
            TypeError,
            "output_axes must be a sequence of axes or None, not [0.5]",
        ),
        (
            lambda: presets.keras.HeNormal([0], [2]).law((3, 4)),
            ValueError,
            "output_axes axis 2 is outside a shape of 2 axes, (3, 4)",
        ),
        (lambda: presets.keras.RandomNormal(stddev=-1), ValueError, "stddev must not be negative, not -1.0"),
        (lambda: presets.keras.TruncatedNormal(stddev="x"), TypeError, "stddev must be a number, not 'x'"),
        (
            lambda: presets.keras.RandomUniform(1.0, 0.0),
            ValueError,
            "minval must be at most maxval, not 1.0 and 0.0",
        ),
        (
            lambda: presets.keras.STFT(window="kaiser"),
            ValueError,
            "window must be one of 'hann', 'hamming', 'blackman', 'boxcar', numbers or None, not 'kaiser'",
        ),
        (
            lambda: presets.keras.Orthogonal().law((3,)),
            ValueError,
            "layout 'io' needs a shape of at least two axes to have fans, not (3,); name them with winit.Axes, or "
            "choose a scheme that has no fans",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert type(caught.value) is error
    assert str(caught.value) == message


def test_laws_of_one_value():
    """What the frameworks allow: an interval of one point."""
    for scheme, value in (
        (presets.torch.uniform_(0.5, 0.5), 0.5),
        (presets.jax.uniform(0), 0.0),
        (presets.keras.RandomUniform(0.5, 0.5), 0.5),
    ):
        assert scheme((2, 2), seed=0).tolist() == [[value] * 2] * 2
    assert theirs("torch", "uniform_", {"a": 0.5, "b": 0.5}, (2,)).tolist() == [0.5, 0.5]
    assert theirs("jax", "uniform", {"scale": 0}, (2,)).tolist() == [0.0, 0.0]
    assert theirs("keras", "RandomUniform", {"minval": 0.5, "maxval": 0.5}, (2,)).tolist() == [0.5, 0.5]


# ---- records and plans

ROWS = {(preset(*row[:3]), row[3]): row for row in (*RANDOM, *ORTHOGONAL, *SPARSE, *FIXED)}
NAMES = {**winit.schemes.named(), "Axes": Axes, "keras": presets.keras, "torch": presets.torch}


@pytest.mark.parametrize(("scheme", "shape"), ROWS, ids=map(label, ROWS.values()))
def test_frozen_records(scheme, shape):
    assert eval(repr(scheme), dict(NAMES)) == scheme
    again = pickle.loads(pickle.dumps(scheme))
    assert again == scheme and hash(again) == hash(scheme)
    plan = Plan({"w": Param(shape, scheme=scheme)})
    assert Plan.from_toml(plan.to_toml()) == plan


def test_variance_scaling_is_registered():
    scheme = presets.keras.HeNormal([0], [1, 2])
    assert repr(scheme) == "keras.VarianceScaling(scale=2.0, input_axes=(0,), output_axes=(1, 2))"
    assert VarianceScaling(distribution="Normal") == VarianceScaling() == presets.keras.LecunNormal()
    assert VarianceScaling() != presets.keras.HeNormal()
    assert isinstance(scheme, winit.Scheme)
    with pytest.raises(AttributeError, match="VarianceScaling is frozen: scale cannot be set"):
        scheme.scale = 1.0


PLAN = """
[parameters]
dim = 24
layers = 2

[tensors]
"embed" = { shape = [100, "dim"], scheme = "embedding(padding=None)" }
"h.{i=0..layers-1}.w" = { shape = ["dim", "dim"], scheme = "with_layout(he_normal(a=1 / (i + 1)), Axes(in_=0, out=1))" }
"spectrum" = { shape = [16, 1, 9], layout = "io", scheme = "stft(window=None)" }
"experts" = { shape = [4, "dim", 8], scheme = "with_layout(keras.VarianceScaling(2.0, 'fan_avg', 'uniform'), 'io')" }

[[rules]]
match = "*"
scheme = "keras.VarianceScaling(scale=2.0, input_axes=[0], output_axes=[-1])"
"""


def test_plans_hold_presets():
    plan = Plan.from_toml(PLAN)
    assert plan["embed"].scheme == winit.embedding()
    assert plan["h.1.w"].scheme == winit.with_layout(winit.he_normal(0.5), Axes(in_=0, out=1))
    assert plan["spectrum"].scheme == winit.stft(window=None)
    assert plan["experts"].scheme == winit.with_layout(VarianceScaling(2.0, "fan_avg", "uniform"), "io")
    ruled = Plan.from_toml(
        PLAN.replace(", scheme = \"with_layout(keras.VarianceScaling(2.0, 'fan_avg', 'uniform'), 'io')\"", "")
    )
    assert ruled["experts"].scheme == presets.keras.HeNormal([0], [-1])
    for each in (plan, ruled):
        assert Plan.from_toml(each.to_toml()) == each
        assert each.build(seed=0)["experts"].shape == (4, 24, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keras.HeNorm()", "scheme 'keras.HeNorm' is not known (did you mean 'keras.HeNormal'"),
        ("torch.keras.VarianceScaling()", "scheme 'torch.keras.VarianceScaling()' is not a call such as"),
        ("keras.VarianceScaling(scale=0)", "scheme 'keras.VarianceScaling(scale=0)': scale must be positive, not 0.0"),
        ("with_layout(he_normal, 'io')", "'he_normal' is not known; there are: no names"),
        ("with_layout(he_norm(), 'io')", "an expression is made of numbers, inf, strings, lists"),
        ("with_layout(he_normal(**{}), 'io')", "** is not allowed"),
        ("with_layout(he_normal(a=1, a=2), 'io')", "an argument is given twice|keyword argument repeated"),
        ("with_layout(he_normal(), Axes(0, 0, batch=0))", "batch axes [0] are also in_ or out axes"),
        ("with_layout(he_normal(), 'ab')", "layout must be 'oi', 'io' or winit.Axes, not 'ab'"),
        (
            "with_layout(Axes(0, 1), 'io')",
            "winit.he_normal(), not Axes(in_=0, out=1)",
        ),
        ("normal(std=normal())", "std must be a number, not normal()"),
        ("Axes(0, 1)", "scheme 'Axes' is not known"),
    ],
)
def test_errors_of_plans(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Plan.from_toml(f'[tensors]\nw = {{ shape = [4, 4], scheme = "{text}" }}\n')
    assert any(part in str(caught.value) for part in message.split("|")), str(caught.value)
    assert "\n" not in str(caught.value)


# ---- importing


def python(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_presets_come_when_asked_for_and_bring_no_framework():
    code = """
import sys, winit
winit.he_normal()((2, 2), seed=0)
print("winit.presets" in sys.modules)
print(winit.presets.torch.xavier_uniform_(), winit.presets.jax.he_normal(in_axis=0), winit.presets.keras.HeNormal())
winit.Plan.from_toml('[tensors]\\nw = { shape = [2], scheme = "keras.VarianceScaling()" }').build(seed=0)
print(sorted({"torch", "jax", "keras", "tensorflow", "flax", "scipy", "ml_dtypes", "numba"} & set(sys.modules)))
"""
    asked, shown, guests = python(code).splitlines()
    assert asked == "False" and guests == "[]"
    assert shown == (
        "with_layout(scheme=xavier_uniform(), layout='oi') with_layout(scheme=variance_scaling(scale=2.0, "
        "distribution='truncated_normal'), layout=Axes(in_=0, out=-1)) keras.VarianceScaling(scale=2.0)"
    )


# ---- docs/presets.md


def test_the_page_s_tables_are_the_code_s():
    spec = importlib.util.spec_from_file_location("union_table", ROOT / "tools" / "union_table.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.updated(page) == page, "run python tools/union_table.py --write"
    rows = tool.by_row()
    assert set(rows) <= set(winit.schemes.named())
    for library, module in (("torch", presets.torch), ("JAX", presets.jax), ("Keras", presets.keras)):
        shown = {name for names in rows.values() for name in names.get(library, [])}
        assert shown == set(module.__all__) - tool.NO_SCHEME
    assert {name for names in rows.values() for name in names["winit"]} == set(winit.schemes.named())
