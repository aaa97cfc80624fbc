from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import winit
from winit.net2net import deepen, widen

torch = pytest.importorskip("torch")
functional = torch.nn.functional
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order_of_tests():
    RNG.bit_generator.state = np.random.PCG64(0).state


def values(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def mlp(inputs=7, hidden=5, outputs=3):
    return {
        "a.weight": values(hidden, inputs),
        "a.bias": values(hidden),
        "b.weight": values(outputs, hidden),
        "b.bias": values(outputs),
    }


def forward(net, x, f=np.tanh):
    return f(x @ net["a.weight"].T + net["a.bias"]) @ net["b.weight"].T + net["b.bias"]


COPY, SHARE = {"a.weight": 0, "a.bias": 0}, {"b.weight": 1}


def close(one, other):
    """Equal to float32 rounding: a sum of terms of size 1 over a few hundred."""
    assert one.shape == other.shape and np.abs(one).max() > 0.1
    np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


# ---- widening


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 1 << 60), st.sampled_from(["random", "cyclic"]))
def test_a_wider_layer_computes_the_same(hidden, more, seed, choice):
    net = mlp(hidden=hidden)
    x = values(20, 7)
    wide = widen(net, hidden + more, copy=COPY, share=SHARE, seed=seed, choice=choice)
    assert wide["a.weight"].shape == (hidden + more, 7) and wide["b.weight"].shape == (3, hidden + more)
    assert list(wide) == list(net) and wide["b.bias"] is net["b.bias"]
    assert np.array_equal(wide["a.weight"][:hidden], net["a.weight"])
    np.testing.assert_allclose(forward(wide, x), forward(net, x), rtol=2e-5, atol=2e-5)


def test_the_choice_is_the_streams():
    """g(n + i) = floor(n w_i / 2^32) of tag 1, by integers of Python's own."""
    net = mlp(hidden=5)
    wide = widen(net, 40, copy=COPY, share=SHARE, seed=4, name="layer")
    origin = [*range(5), *(5 * int(word) >> 32 for word in winit.words(4, "layer", 0, 35, tag=1))]
    assert np.array_equal(wide["a.weight"], net["a.weight"][origin])
    counts = np.array([origin.count(unit) for unit in origin], np.float32)
    assert np.array_equal(wide["b.weight"], net["b.weight"][:, origin] / counts)
    assert len(set(origin[5:])) == 5
    fewer = widen(net, 20, copy=COPY, share=SHARE, seed=4, name="layer")
    assert np.array_equal(fewer["a.weight"], wide["a.weight"][:20])
    named = widen(net, 40, copy=COPY, share=SHARE, seed=4)
    assert np.array_equal(named["a.bias"], widen(net, 40, copy=COPY, share=SHARE, seed=4, name="a.weight")["a.bias"])


def test_convolutions_batch_normalisation_and_a_flattened_head():
    """conv -> batch norm -> relu -> conv -> relu -> flatten -> linear, both convolutions widened, by torch."""
    net = {
        "c1": values(6, 3, 3, 3),
        "scale": values(6),
        "shift": values(6),
        "mean": values(6),
        "variance": np.abs(values(6)) + np.float32(0.5),
        "c2": values(4, 6, 3, 3),
        "fc": values(10, 4 * 8 * 8),
    }

    def run(net, x):
        t = {name: torch.from_numpy(array) for name, array in net.items()}
        y = functional.conv2d(torch.from_numpy(x), t["c1"], padding=1)
        y = functional.relu(functional.batch_norm(y, t["mean"], t["variance"], t["scale"], t["shift"]))
        return (functional.relu(functional.conv2d(y, t["c2"], padding=1)).flatten(1) @ t["fc"].T).numpy() / 100

    x = values(2, 3, 8, 8)
    copy = dict.fromkeys(["c1", "scale", "shift", "mean", "variance"], 0)
    wide = widen(net, 11, copy=copy, share={"c2": 1}, seed=0)
    wide = widen(wide, 9, copy={"c2": 0}, share={"fc": (1, 64)}, seed=0)
    assert wide["c2"].shape == (9, 11, 3, 3) and wide["fc"].shape == (10, 9 * 64)
    close(run(wide, x), run(net, x))


def test_layer_normalisation_over_the_units_needs_as_many_copies_of_each():
    net = mlp(hidden=6)

    def run(net, x):
        def normalised(y):
            return (y - y.mean(-1, keepdims=True)) / y.std(-1, keepdims=True)

        return forward(net, x, normalised)

    x = values(20, 7)
    close(run(widen(net, 18, copy=COPY, share=SHARE, seed=0, choice="cyclic"), x), run(net, x))
    uneven = run(widen(net, 17, copy=COPY, share=SHARE, seed=0, choice="cyclic"), x)
    assert np.abs(uneven - run(net, x)).max() > 0.01


def test_a_recurrent_weight_is_in_both():
    net = {"in": values(5, 4), "hidden": values(5, 5), "out": values(2, 5)}

    def run(net, x):
        h = np.zeros(len(net["hidden"]), np.float32)
        for step in x:
            h = np.tanh(net["in"] @ step + net["hidden"] @ h)
        return net["out"] @ h

    wide = widen(net, 13, copy={"in": 0, "hidden": 0}, share={"hidden": 1, "out": 1}, seed=2)
    assert wide["hidden"].shape == (13, 13)
    x = values(6, 4)
    close(run(wide, x), run(net, x))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_shares_are_rounded_once(dtype):
    net = {"a": values(40, 2, dtype=dtype), "b": values(3, 40, dtype=dtype)}
    wide = widen(net, 200, copy={"a": 0}, share={"b": 1}, seed=0)
    origin = [int(np.flatnonzero((net["a"] == row).all(1))[0]) for row in wide["a"]]
    counts = np.array([origin.count(unit) for unit in origin])
    exact = net["b"].astype(np.longdouble)[:, origin] / counts
    assert wide["b"].dtype == net["b"].dtype
    spacing = np.abs(
        np.nextafter(wide["b"], np.array(np.inf, dtype)).astype(np.longdouble) - wide["b"].astype(np.longdouble)
    )
    assert (np.abs(wide["b"].astype(np.longdouble) - exact) <= spacing / 2).all()


def test_noise_is_on_copies_alone():
    net = mlp(hidden=5)
    plain = widen(net, 12, copy=COPY, share=SHARE, seed=3)
    noisy = widen(net, 12, copy=COPY, share=SHARE, seed=3, noise=0.01)
    assert all(np.array_equal(noisy[name], plain[name]) for name in net if name != "a.weight")
    assert np.array_equal(noisy["a.weight"][:5], net["a.weight"])
    z = winit.draw(winit.normal(), (12, 7), seed=3, name="a.weight")
    assert np.array_equal(noisy["a.weight"][5:], plain["a.weight"][5:] + np.float32(0.01) * z[5:])


def test_what_is_given_is_not_changed():
    net = mlp()
    before = {name: array.copy() for name, array in net.items()}
    widen(net, 9, copy=COPY, share=SHARE, seed=0, noise=1.0)
    deepen(net, "c", (5, 5))
    assert all(np.array_equal(net[name], before[name]) for name in net) and list(net) == list(before)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"arrays": [1]}, TypeError, "arrays must be a mapping from names to NumPy arrays"),
        ({"arrays": {"a": [1.0]}}, TypeError, "arrays must be a mapping from names to NumPy arrays"),
        ({"units": 4}, ValueError, r"units must be at least the 5 there are .*, not 4"),
        ({"units": 6.0}, TypeError, "units must be an integer, not float"),
        ({"copy": {}}, ValueError, "copy must name an array at least"),
        ({"copy": ["a.weight"]}, TypeError, r"copy must be a mapping from names to axes, not \['a.weight'\]"),
        ({"copy": {"x": 0}}, ValueError, "copy names 'x', which is not among the arrays"),
        ({"copy": {"a.weight": 2}}, ValueError, "a.weight: has 2 axes, no axis 2"),
        ({"copy": {"a.weight": "0"}}, TypeError, "a.weight: axis must be an integer, not str"),
        ({"copy": {"a.weight": (0, 2)}}, TypeError, "a.weight: axis must be an integer, not tuple"),
        (
            {"copy": {"a.weight": 0, "b.bias": 0}},
            ValueError,
            "b.bias: axis 0 has length 3, expected 5 for 5 units of 'a.weight'",
        ),
        ({"share": {"b.weight": 0}}, ValueError, "b.weight: axis 0 has length 3, expected 5"),
        ({"share": {"b.weight": (1, 2)}}, ValueError, "b.weight: axis 1 has length 5, expected 10"),
        ({"share": {"b.weight": (1, 0)}}, ValueError, "b.weight: elements of a unit must be at least 1, not 0"),
        ({"share": {"a.weight": 0}}, ValueError, "a.weight: axis 0 is in copy and in share"),
        ({"share": {"count": 0}}, TypeError, "count: what is shared must be float32, .*, not int64"),
        ({"choice": "best"}, ValueError, "choice must be 'random' or 'cyclic', not 'best'"),
        ({"noise": -1.0}, ValueError, "noise must not be negative, not -1.0"),
        ({"noise": "1"}, TypeError, "noise"),
        ({"seed": -1}, ValueError, "seed must be in"),
        ({"name": 3}, TypeError, "name must be a str, not int"),
    ],
)
def test_wrong_arguments_of_widen(options, error, message):
    net = mlp() | {"count": np.arange(5)}
    given = {"arrays": net, "units": 8, "copy": COPY, "share": SHARE, "seed": 0} | options
    with pytest.raises(error, match=message):
        widen(given.pop("arrays"), given.pop("units"), **given)


# ---- deepening


def test_a_deeper_network_computes_the_same():
    net = mlp(hidden=9)
    x = values(20, 7)

    def relu(y):
        return np.maximum(y, 0)

    for layout in ("oi", "io"):
        deep = deepen(net, "n.weight", (9, 9), bias="n.bias", layout=layout)
        assert list(deep) == [*net, "n.weight", "n.bias"]
        h = relu(x @ net["a.weight"].T + net["a.bias"])
        h = relu(h @ deep["n.weight"] + deep["n.bias"])
        assert np.array_equal(h @ net["b.weight"].T + net["b.bias"], forward(net, x, relu))


@pytest.mark.parametrize(("kernel", "groups"), [((3, 3), 1), ((5, 1), 1), ((3,), 1), ((3, 3), 4), ((1, 3, 5), 2)])
def test_a_deeper_convolutional_network_computes_the_same(kernel, groups):
    channels = 8
    x = np.maximum(values(2, channels, *(6,) * len(kernel)), 0)
    conv = getattr(functional, f"conv{len(kernel)}d")
    padding = tuple(size // 2 for size in kernel)
    weight = deepen({}, "n", (channels, channels // groups, *kernel))["n"]
    y = conv(torch.from_numpy(x), torch.from_numpy(weight), padding=padding, groups=groups).numpy()
    assert np.array_equal(np.maximum(y, 0), x)
    theirs = torch.empty(weight.shape)
    torch.nn.init.dirac_(theirs, groups=groups)
    assert np.array_equal(weight, theirs.numpy())
    back = deepen({}, "n", (*kernel, channels // groups, channels), layout="io")["n"]
    assert np.array_equal(np.moveaxis(back, (-1, -2), (0, 1)), weight) and back.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_dtypes_of_deepen(dtype):
    deep = deepen({}, "w", (3, 3), bias="b", dtype=dtype)
    assert deep["w"].dtype.name == deep["b"].dtype.name == dtype
    assert np.array_equal(deep["w"].astype(float), np.eye(3)) and not deep["b"].astype(float).any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"arrays": 3}, TypeError, "arrays must be a mapping from names to arrays, not int"),
        ({"weight": 3}, TypeError, "weight must be a name, not 3"),
        ({"weight": "a"}, ValueError, "weight: there is an array 'a' already"),
        ({"bias": "a"}, ValueError, "bias: there is an array 'a' already"),
        ({"bias": "w"}, ValueError, "bias: there is an array 'w' already"),
        ({"bias": 3}, TypeError, "bias must be a name, not 3"),
        ({"layout": "xy"}, ValueError, "layout must be 'oi' or 'io', not 'xy'"),
        ({"dtype": "int32"}, ValueError, "dtype must be one of float32, .*, not 'int32'"),
        ({"activation": "tanh"}, ValueError, r"activation must be relu or identity, .*, not 'tanh'"),
        ({"activation": "nothing"}, ValueError, "nothing"),
        ({"shape": (4,)}, ValueError, r"shape must have two axes at least, not \(4,\)"),
        (
            {"shape": (4, 2)},
            ValueError,
            r"shape \(4, 2\) has 2 inputs and 4 outputs in layout 'oi'; an identity has as many",
        ),
        ({"shape": (2, 4, 3)}, ValueError, "has 4 inputs and 2 outputs"),
        ({"shape": (4, 4, 2)}, ValueError, r"shape \(4, 4, 2\) has a kernel of \(2,\), which has no centre"),
    ],
)
def test_wrong_arguments_of_deepen(options, error, message):
    given = {"arrays": {"a": values(2)}, "weight": "w", "shape": (4, 4)} | options
    with pytest.raises(error, match=message):
        deepen(given.pop("arrays"), given.pop("weight"), given.pop("shape"), **given)
