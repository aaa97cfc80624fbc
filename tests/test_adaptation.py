"""Starts that look at data: each method does what its paper says, at a small scale, and refuses what it cannot do.

Networks and data have fixed seeds and every number is the same on each run, so that a claim holds or does not; margins
say by how much it may weaken before it counts as lost.
"""

import math

import numpy as np
import pytest

import winit
from winit.lab import (
    L2SP,
    SGD,
    Adam,
    Network,
    Orthogonality,
    Rates,
    accuracy,
    adapt,
    coordinate_check,
    digits,
    mup_rates,
    train,
    trust_rates,
    trust_ratios,
)
from winit.lab.network import cross_entropy

pytest.importorskip("sklearn")

WIDTHS = [64, 48, 48, 48, 48, 48, 10]


@pytest.fixture(scope="module")
def data():
    return digits()


def network(scheme, f="relu", seed=0, widths=WIDTHS):
    return Network(widths, f, scheme, output="identity", seed=seed)


def trained(start, data, optimiser, steps=100):
    """Mean loss of the last ten steps, and held-out accuracy."""
    own = start.copy()
    curve = train(own, data.x, data.labels, optimiser, steps=steps)
    return float(np.mean(curve.losses[-10:])), accuracy(own, data.held_x, data.held_labels)


def pre_activations(of, x):
    """By NumPy, in float64."""
    held, found = x.astype(float), []
    for weight, bias, f in zip(of.weights, of.biases, of.activations, strict=True):
        z = held @ weight.T.astype(float) + bias
        found.append(z)
        held = f.value(z)
    return found


# ---- scales from data


@pytest.mark.parametrize("scheme", [winit.normal(std=0.01), winit.orthogonal(gain=0.2), winit.normal(std=1.0)])
def test_lsuv_makes_networks_trainable(scheme, data):
    start = network(scheme)
    found = adapt(start, "lsuv", data.x[:256])
    for z, std in zip(pre_activations(found.network, data.x[:256]), found.table.column("std_after"), strict=True):
        assert abs(z.std() ** 2 - 1) < 0.1 and z.std() == pytest.approx(std, rel=1e-5)
    assert start.weights[0].tobytes() == network(scheme).weights[0].tobytes(), "the network was changed"
    before, after = trained(start, data, SGD(0.05, 0.9)), trained(found.network, data, SGD(0.05, 0.9))
    assert not before[0] < 2 and after[0] < 0.2 and after[1] > 0.92


def test_lsuv_of_residual_and_normalised_networks():
    for norm in (None, "rms"):
        start = Network([40] * 6, "tanh", winit.orthogonal(gain=0.1), residual=True, norm=norm, seed=1)
        assert adapt(start, batch=200).table.column("std_after") == pytest.approx([1.0] * 5, abs=0.06)


def test_krahenbuhl_gives_units_one_variance_and_layers_one_rate_of_change(data):
    start = network(winit.normal(std=0.05))
    within = adapt(start, "krahenbuhl", data.x[:256], between=False)
    # Standardised pixels that never change are 0: the units still vary with the others.
    for z in pre_activations(within.network, data.x[:256]):
        assert np.abs(z.mean(0)).max() < 1e-5 and np.abs(z.std(0) - 1).max() < 1e-5
    whole = adapt(start, "krahenbuhl", data.x[:256])
    assert whole.history[0] > 0.5 and whole.history[-1] < 1e-3
    # Scaling one layer up and the next down leaves what a relu network computes as it was, up to one number.
    a, b = (pre_activations(each.network, data.x[:256])[-1] for each in (within, whole))
    ratio = (a * b).sum() / (a * a).sum()
    assert np.abs(b - ratio * a).max() < 1e-4 * np.abs(b).max()
    assert trained(whole.network, data, SGD(0.05, 0.9))[1] > 0.92 > 0.2 > trained(start, data, SGD(0.05, 0.9))[1]


@pytest.mark.parametrize(("optimiser", "rate", "gamma"), [("sgd", 0.5, 1.0), ("adam", 0.01, 50.0)])
@pytest.mark.parametrize("std", [0.05, 0.4])
def test_gradinit_makes_the_loss_after_one_step_small(std, optimiser, rate, gamma, data):
    start = network(winit.normal(std=std))
    x, labels = data.x[:256], data.labels[:256]
    found = adapt(start, "gradinit", x, labels, optimiser=optimiser, learning_rate=rate, gamma=gamma)

    def after_a_step(of):
        """By the training's own arithmetic; Adam's first step is the gradient's sign times the rate."""
        own = of.copy()
        trace = own.forward(x)
        gradients = own.backward(trace, cross_entropy(trace.outputs[-1], labels)[1])
        size = [np.sum(np.square(g)) if optimiser == "sgd" else np.abs(g).sum()
                for g in (*gradients.weights, *gradients.biases)]  # fmt: skip
        (SGD(rate) if optimiser == "sgd" else Adam(rate)).step(own, gradients)
        loss, _ = cross_entropy(own.forward(x).outputs[-1], labels)
        return loss, math.sqrt(math.fsum(size)) if optimiser == "sgd" else math.fsum(size)

    loss, size = after_a_step(found.network)
    assert size <= gamma * (1 + 1e-4) and loss == pytest.approx(found.history[-1], rel=1e-3)
    assert loss < after_a_step(start)[0] - 0.1
    if optimiser == "sgd":
        assert trained(found.network, data, SGD(rate))[1] > 0.9
        assert not trained(start, data, SGD(rate))[1] > 0.2


def test_metainit_recovers_starts_that_do_not_train(data):
    for scheme, f in ((winit.normal(std=0.05), "relu"), (winit.normal(std=0.05), "tanh")):
        start = network(scheme, f)
        found = adapt(start, "metainit", batch=64)
        assert min(found.history) < found.history[0] and found.network.biases[0].tobytes() == start.biases[0].tobytes()
        before, after = trained(start, data, SGD(0.05, 0.9)), trained(found.network, data, SGD(0.05, 0.9))
        assert before[0] > 1.9 and before[1] < 0.25 and after[0] < 1 and after[1] > 0.75
    same = adapt(network(winit.normal(std=0.05)), "metainit", batch=64, steps=3)
    again = adapt(network(winit.normal(std=0.05)), "metainit", batch=64, steps=3)
    assert same.history == again.history


def test_the_gradient_quotient_of_a_quadratic():
    """One linear layer with squared error: H g for a known H, against the formula in NumPy."""
    from winit.lab.adaptation import _Model, _quotient

    one = Network([3, 2], "tanh", winit.lecun_normal(), dtype="float64", seed=2)
    one.activations = [winit.activations.identity()]
    x, labels = one.draw_input(7), np.array([0, 1, 1, 0, 1, 0, 0])
    model = _Model(one, x, labels)
    model.loss = "squared_error"
    weight = np.asarray(one.weights[0])
    g = (x @ weight.T - np.eye(2)[labels]).T @ x / 7
    own = g @ (x.T @ x) / 7
    own += ((x @ weight.T - np.eye(2)[labels]).mean(0))[:, None] * x.mean(0)  # through the bias
    expected = np.abs((g - own) / (g + np.where(g >= 0, 1e-5, -1e-5)) - 1).mean()
    assert _quotient(model, np.ones(2)) == pytest.approx(expected, rel=1e-6)


# ---- learning rates


def test_mup_keeps_outputs_and_the_best_learning_rate_over_widths(data):
    base = 32

    def standard(width, seed):
        return network(winit.lecun_normal(), seed=seed, widths=[64, width, width, 10]), Adam(0.01)

    def maximal(width, seed):
        schemes = [winit.lecun_normal(), winit.lecun_normal(), winit.normal(std=math.sqrt(base) / width)]
        made = network(schemes, seed=seed, widths=[64, width, width, 10])
        return made, Adam(mup_rates(made, base, 0.01))

    def changes(make):
        table = coordinate_check(make, (32, 512), data.x[:64], data.labels[:64], steps=4, seeds=2)
        return {
            (layer, width): np.mean([row["change"] for row in table if (row["layer"], row["width"], row["step"]) ==
                                     (layer, width, 4)]) for layer in (1, 2, 3) for width in (32, 512)
        }  # fmt: skip

    grows, flat = changes(standard), changes(maximal)
    assert grows[3, 512] > 5 * grows[3, 32] and grows[2, 512] > 2 * grows[2, 32]
    assert all(0.7 < flat[layer, 512] / flat[layer, 32] < 1.4 for layer in (1, 2, 3))

    def best(make, width):
        losses = []
        for rate in (0.002, 0.004, 0.008, 0.016, 0.032):
            made, optimiser = make(width, 0)
            narrow = not isinstance(optimiser.learning_rate, Rates)
            losses.append(trained(made, data, Adam(rate if narrow else mup_rates(made, base, rate)), steps=60)[0])
        return int(np.argmin(losses))

    assert best(standard, 512) <= best(standard, 32) - 2  # a narrow network's best rate is too large for a wide one
    assert abs(best(maximal, 512) - best(maximal, 32)) <= 1


def test_coordinate_check_of_torch_is_that_of_a_network(data):
    torch = pytest.importorskip("torch")

    def made(width):
        return network(winit.lecun_normal(), widths=[64, width, 10]), SGD(0.1)

    def in_torch(width):
        own, _ = made(width)
        model = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
        for layer, weight, bias in zip((model[0], model[2]), own.weights, own.biases, strict=True):
            layer.weight.data, layer.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
        return model, torch.optim.SGD(model.parameters(), 0.1)

    x, labels = data.x[:32], data.labels[:32]
    ours = coordinate_check(made, [16], x, labels, steps=2)
    theirs = coordinate_check(in_torch, [16], torch.from_numpy(x), labels, steps=2)
    last = [row for row in theirs if row["layer"] == "2"]
    for row, other in zip([row for row in ours if row["layer"] == 2], last, strict=True):
        assert row["size"] == pytest.approx(other["size"], rel=1e-4)
        assert row["change"] == pytest.approx(other["change"], rel=1e-3, abs=1e-6)
    assert theirs.column("layer")[:3] == ["0", "1", "2"]


def test_rates_by_width_of_both_optimisers():
    """Table 3 of the paper, with r = 4."""
    made = Network([8, 64, 64, 64, 2], "relu", winit.he_normal())
    assert mup_rates(made, 16, 0.1, "sgd") == Rates((0.4, 0.1, 0.1, 0.025), (0.4, 0.4, 0.4, 0.1))
    assert mup_rates(made, 16, 0.1) == Rates((0.1, 0.025, 0.025, 0.025), (0.1,) * 4)


def test_trust_rates_train_layers_of_different_scales(data):
    """Stds of 1 and 0.01 in turn: no one learning rate of ten times another's gets below trust's loss."""
    start = network([winit.normal(std=std) for std in (1.0, 0.01, 1.0, 0.01, 1.0)], widths=[64] * 5 + [10])
    ratios = trust_ratios(start, data.x, data.labels)
    gradients = start.backward(
        trace := start.forward(data.x), cross_entropy(trace.outputs[-1], data.labels)[1]
    ).weights  # fmt: skip
    for row, weight, gradient in zip(ratios, start.weights, gradients, strict=True):
        assert row["ratio"] == pytest.approx(np.linalg.norm(weight) / np.linalg.norm(gradient), rel=1e-5)
    assert max(ratios.column("ratio")) > 1000 * min(ratios.column("ratio"))
    ours, held = trained(start, data, SGD(trust_rates(start, data.x, data.labels, 0.03)))
    for rate in (0.001, 0.01, 0.1, 1.0):
        with np.errstate(all="ignore"):
            other = trained(start, data, SGD(rate))[0]
        assert not other < 2 * ours
    assert held > 0.95
    decayed = trust_ratios(start, data.x, data.labels, l2=0.5)
    assert decayed[0]["ratio"] == pytest.approx(1 / (1 / ratios[0]["ratio"] + 0.5))


# ---- penalties


@pytest.mark.parametrize("made", [
    lambda start: L2SP(start, 0.3, 0.2, (2,)), lambda start: Orthogonality(0.1),
])  # fmt: skip
def test_gradients_of_penalties_are_differences_of_their_values(made):
    start = Network([5, 7, 4, 6], "tanh", winit.normal(std=0.5), bias=winit.normal(), dtype="float64", seed=1)
    penalty, moved = made(start), start.copy()
    for seed, tensor in enumerate((*moved.weights, *moved.biases)):
        tensor += winit.draw(winit.normal(), tensor.shape, seed=seed, dtype="float64")
    gradients = moved.backward(moved.forward(np.zeros((1, 5))), np.zeros((1, 6)))
    penalty.add_to(moved, gradients)
    for tensors, owns in ((moved.weights, gradients.weights), (moved.biases, gradients.biases)):
        for tensor, own in zip(tensors, owns, strict=True):
            for at in ((0,) * tensor.ndim, (-1,) * tensor.ndim):
                kept = tensor[at]
                ends = []
                for reach in (1e-5, -1e-5):
                    tensor[at] = kept + reach
                    ends.append(penalty.value(moved))
                tensor[at] = kept
                assert own[at] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-7)


def test_l2sp_keeps_what_a_similar_task_taught(data):
    """From digits to noisy digits with 40 samples, six seeds: better than fine-tuning alone, and than its best L2."""
    held, found = data.held_x + 1.5 * winit.draw(winit.normal(), data.held_x.shape, seed=77, name="noise"), {}
    for seed in range(6):
        source = network(winit.he_normal(), seed=seed, widths=[64, 64, 64, 10])
        train(source, data.x, data.labels, SGD(0.05, 0.9), steps=300)
        noisy = data.x + 1.5 * winit.draw(winit.normal(), data.x.shape, seed=seed, name="noise")
        x, labels = noisy[40 * seed :][:40], data.labels[40 * seed :][:40]
        for name, l2, penalty in (("none", 0, None), ("l2 .001", 0.001, None), ("l2 .01", 0.01, None),
                                  ("l2 .1", 0.1, None), ("l2sp", 0, L2SP(source, 0.1))):  # fmt: skip
            own = source.copy()
            train(own, x, labels, SGD(0.02, 0.9, l2=l2), steps=300, batch=20, penalty=penalty)
            found.setdefault(name, []).append(accuracy(own, held, data.held_labels))
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    assert mean.pop("l2sp") > max(mean.values()) + 0.03


def test_orthogonality_keeps_twenty_layers_trainable(data):
    losses = {}
    for strength in (0.0, 0.01):
        deep = Network([64] + [32] * 20 + [10], "tanh", winit.lecun_normal(), output="identity", seed=0)
        curve = train(deep, data.x, data.labels, SGD(0.05, 0.9), steps=300, penalty=Orthogonality(strength))
        losses[strength] = np.mean(curve.losses[-20:]), accuracy(deep, data.held_x, data.held_labels)
    assert losses[0.0][0] > 1.5 and losses[0.0][1] < 0.5
    assert losses[0.01][0] < 0.5 and losses[0.01][1] > 0.93


# ---- refusals


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda n: adapt("net"), TypeError, "network must be a winit.lab.Network, not str"),
        (lambda n: adapt(Network([3, 2], "tanh", winit.normal(), virtual=True)), ValueError, "stored weights"),
        (lambda n: adapt(n, "svd"), ValueError, "method must be one of 'lsuv'"),
        (lambda n: adapt(n, gamma=2), TypeError, "lsuv has no option 'gamma'; it has std, tolerance, steps"),
        (lambda n: adapt(n, std=0), ValueError, "std must be positive, not 0"),
        (lambda n: adapt(n, "gradinit"), ValueError, "gradinit needs labels"),
        (lambda n: adapt(n, "gradinit", labels=[5] * 256), ValueError, r"labels must be in \[0, 3\)"),
        (lambda n: adapt(n, "gradinit", labels=[1] * 256, gamma=1e-9, steps=3), ValueError, "no factors were found"),
        (lambda n: adapt(n, "metainit", momentum=1.0), ValueError, r"momentum must be in \[0, 1\)"),
        (lambda n: adapt(n, x=np.full((4, 4), np.nan)), ValueError, "x must be finite"),
        (lambda n: adapt(Network([4, 3], "relu", winit.normal(), bias=winit.normal(std=3))), ValueError,
         "layer 1: after 10 steps its pre-activations have a std of"),
        (lambda n: adapt(Network([4, 3], "relu", winit.zeros())), ValueError, "layer 1: its pre-activations"),
        (lambda n: adapt(Network([4, 3], "relu", winit.zeros()), "krahenbuhl"), ValueError, "layer 1: 3 of its units"),
        (lambda n: adapt(Network([4, 4], "relu", winit.normal(), residual=True), "krahenbuhl"), ValueError,
         "without residuals and norms"),
        (lambda n: L2SP(n, -1), ValueError, "strength must not be negative"),
        (lambda n: L2SP(n, 1, fresh=(9,)), ValueError, "fresh must hold layers from 1 to 2, not 9"),
        (lambda n: L2SP(n, 1).value(Network([4, 3], "relu", winit.normal())), ValueError, "the start"),
        (lambda n: Orthogonality("much"), TypeError, "strength must be"),
        (lambda n: mup_rates(Network([4, 5, 6, 3], "relu", winit.normal()), 4, 0.1), ValueError, "of one width"),
        (lambda n: mup_rates(n, 0, 0.1), ValueError, "base_width must be"),
        (lambda n: trust_rates(Network([4, 3], "relu", winit.zeros(), output="identity"), np.ones((2, 4)), [0, 1], 0.1),
         ValueError, "layer 1 has a trust ratio of 0.0"),
        (lambda n: coordinate_check(lambda w: n, [4], np.ones((2, 4)), [0, 1]), TypeError, "a model and an optimiser"),
        (lambda n: coordinate_check(lambda w: (n, SGD(1.0)), [], np.ones((2, 4)), [0, 1]), ValueError, "widths must"),
        (lambda n: coordinate_check(lambda w: (n, SGD(1.0)), [4], np.ones((2, 4)), [0, 1], seeds=2), ValueError,
         "a width and a seed"),
        (lambda n: SGD(Rates((0.1,), (0.1,))).step(n, n.backward(n.forward(np.ones((1, 4), np.float32)),
                                                               np.ones((1, 3), np.float32))),
         ValueError, "learning_rate must be one, or one for the weights and biases of each of the 2 layers"),
        (lambda n: train(n, np.ones((2, 4)), [0, 1], SGD(0.1), steps=1, penalty=3), TypeError, "penalty must be L2SP"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call(Network([4, 5, 3], "relu", winit.he_normal(), output="identity"))
