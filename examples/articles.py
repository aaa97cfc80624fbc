"""What four articles on initialisation claim, checked on scikit-learn's digits: a function and a table a claim.

    python examples/articles.py [--seeds 10] [--steps 300] [--only NAME ...]

docs/articles.md says what each table shows. All numbers are the same on every run and on any number of processors.

Accuracies are of held-out samples; a run that diverged counts as 0. `difference` is the mean over seeds of what two
runs of one seed differ by, which share their batches, and `errors` how many of its own standard errors it is from 0.
With ten seeds, more than 3 has a chance of 1.5% where there is no difference (Student's t with 9 degrees of freedom).
Stds are over seeds, and divide by their number less one.
"""

import argparse
import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

import winit
from winit.lab import SGD, Data, Network, Table, accuracy, compare, digits, signal, symmetry, train

WIDTH = 64
RATE, MOMENTUM = 0.05, 0.9
SMALL = winit.normal(std=0.01)


class Bench(NamedTuple):
    """What all claims share."""

    data: Data
    seeds: int = 10
    steps: int = 300
    executor: Any = None

    def compare(self, schemes, activations="relu", **given):
        """Runs by scheme and activation, in the order of their seeds."""
        shared = {
            "data": self.data, "seeds": self.seeds, "steps": self.steps, "width": WIDTH, "learning_rate": RATE,
            "executor": self.executor, "threads": 1,
        }  # fmt: skip
        runs = compare(schemes, activations, **{**shared, **given}).runs
        found = {}
        for row in runs:
            found.setdefault((row["scheme"], row["activation"]), []).append(row)
        return found

    def map(self, function, jobs):
        return list(map(function, jobs) if self.executor is None else self.executor.map(function, jobs))


class Rows:
    """A table that grows by rows."""

    def __init__(self):
        self.columns = {}

    def add(self, **row):
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)

    def table(self, title):
        return Table(self.columns, title)


# ---- numbers of several seeds, in sums that are rounded once


def mean(values):
    return math.fsum(values) / len(values)


def spread(values):
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / max(len(values) - 1, 1))


def paired(values, others):
    """The mean difference, and how many standard errors it is from 0."""
    differences = [value - other for value, other in zip(values, others, strict=True)]
    centre, error = mean(differences), spread(differences) / math.sqrt(len(differences))
    return centre, centre / error if error else math.copysign(math.inf, centre) if centre else 0.0


def held(runs):
    return [0.0 if row["diverged"] else row["held_accuracy"] for row in runs]


def waited(runs, steps):
    """Steps to the target; all of them where it was never reached."""
    return [row["steps_to_target"] if math.isfinite(row["steps_to_target"]) else float(steps) for row in runs]


def reached(runs):
    """How many of the seeds reached the target."""
    return sum(math.isfinite(row["steps_to_target"]) for row in runs)


# ---- the claims


def symmetric(bench):
    """Zeros and equal values: the units of a layer compute and learn the same"""
    rows = Rows()
    data = bench.data
    schemes = {"zeros": winit.zeros(), "constant 0.5": winit.constant(0.5), "normal 0.5": winit.normal(std=0.5)}
    for name, scheme in schemes.items():
        network = Network([64, 16, 16, 10], "sigmoid", scheme, seed=0, dtype="float64")
        x, labels = data.x[:100], data.labels[:100]
        table = symmetry(network, x, labels=labels, steps=10)
        apart = _algebra(network, x, labels)
        for layer in (1, 2, 3):
            forward = [row["distinct_forward"] for row in table if row["layer"] == layer]
            back = [row["distinct_gradient"] for row in table if row["layer"] == layer]
            rows.add(
                scheme=name, layer=layer, units=network.widths[layer], outputs_before=forward[0],
                outputs_after=forward[-1], gradients_before=back[0], gradients_after=back[-1],
                formula_apart=apart[layer - 1],
            )  # fmt: skip
    return rows.table("Different units before and after 10 steps; how far gradients are from the formula, relatively")


def _algebra(network, x, labels):
    """Each layer's largest difference of its bias gradients from delta_i = (sum_j W_ji delta_j) f'(z_i), relatively."""
    trace = network.forward(network.check_input(x))
    target = np.zeros(trace.outputs[-1].shape)
    target[np.arange(len(labels)), labels] = 1
    gradients = network.backward(trace, (trace.outputs[-1] - target) / len(x))
    found = []
    for y, weight_above in zip(trace.outputs[::-1], [None, *network.weights[:0:-1]], strict=True):
        slope = y * (1 - y)
        if weight_above is None:
            delta = (y - target) / len(x) * slope
        else:
            back = np.zeros(y.shape)
            for j in range(delta.shape[1]):  # a unit after the other, as the formula has it
                back += delta[:, j : j + 1] * weight_above[j]
            delta = back * slope
        bias = gradients.biases[network.depth - 1 - len(found)]
        own = np.array([math.fsum(column) for column in delta.T])
        size = np.array([math.fsum(np.abs(column)) for column in delta.T])  # sums of both signs cancel
        found.append(float((np.abs(own - bias) / np.where(size > 0, size, 1)).max()))
    return found[::-1]


SCHEMES = {
    "zeros": winit.zeros(),
    "constant 0.1": winit.constant(0.1),
    "normal 0.01": SMALL,
    "normal 1.0": winit.normal(),
    "lecun_normal": winit.lecun_normal(),
    "xavier_normal": winit.xavier_normal(),
    "xavier_uniform": winit.xavier_uniform(),
    "he_normal": winit.he_normal(),
    "he_uniform": winit.he_uniform(),
    "orthogonal": winit.orthogonal(),
    "sparse(10)": winit.sparse(10),
}
ACTIVATIONS = ("sigmoid", "tanh", "relu")


def accuracies(bench, schemes=tuple(SCHEMES)):
    """Accuracy on digits by scheme"""
    rows = Rows()
    for depth in (2, 8):
        found = bench.compare({name: SCHEMES[name] for name in schemes}, ACTIVATIONS, depth=depth)
        for name in schemes:
            row = {"depth": depth, "scheme": name}
            for f in ACTIVATIONS:
                values = held(found[name, f])
                row |= {f: mean(values), f"{f}_std": spread(values)}
            rows.add(**row)
    return rows.table("Accuracy on held-out digits by depth and scheme, mean and std over seeds")


def small(bench, depths=(2, 3, 5, 8)):
    """0.01 N(0, 1) for sigmoid and tanh, shallow and deep"""
    rows = Rows()
    for f in ("sigmoid", "tanh"):
        for depth in depths:
            found = bench.compare({"0.01": SMALL, "xavier": winit.xavier_normal()}, f, depth=depth)
            own, other = held(found["0.01", f]), held(found["xavier", f])
            difference, errors = paired(own, other)
            rows.add(
                activation=f, depth=depth, small=mean(own), small_std=spread(own), xavier=mean(other),
                xavier_std=spread(other), difference=difference, errors=errors,
            )  # fmt: skip
    return rows.table("Accuracy: normal(std=0.01) beside xavier_normal")


def smaller(bench):
    """Smaller is not better"""
    rows = Rows()
    stds = (1.0, 0.3, 0.1, 0.01, 1e-3, 1e-4, 1e-5)
    for depth in (2, 4):
        found = bench.compare({str(std): winit.normal(std=std) for std in stds}, "tanh", depth=depth)
        reference = waited(found["0.1", "tanh"], bench.steps)
        for std in stds:
            runs = found[str(std), "tanh"]
            difference, errors = paired(waited(runs, bench.steps), reference)
            rows.add(
                depth=depth, std=std, accuracy=mean(held(runs)), accuracy_std=spread(held(runs)),
                reached=reached(runs), steps=mean(waited(runs, bench.steps)), difference=difference, errors=errors,
            )  # fmt: skip
    return rows.table("tanh: accuracy, how many seeds reached a loss of 0.5, in how many steps, and beside std 0.1")


def laws(bench):
    """Normal or uniform of one variance makes little difference"""
    rows = Rows()
    pairs = {
        "0.01": (SMALL, winit.uniform(-0.01 * math.sqrt(3), 0.01 * math.sqrt(3))),
        "xavier": (winit.xavier_normal(), winit.xavier_uniform()),
        "he": (winit.he_normal(), winit.he_uniform()),
    }
    for f, depth in (("tanh", 2), ("tanh", 4), ("relu", 2), ("relu", 4)):
        for name, (normal, uniform) in pairs.items():
            found = bench.compare({"normal": normal, "uniform": uniform}, f, depth=depth)
            own, other = held(found["normal", f]), held(found["uniform", f])
            difference, errors = paired(own, other)
            rows.add(
                activation=f, depth=depth, variance=name, normal=mean(own), normal_std=spread(own), uniform=mean(other),
                uniform_std=spread(other), difference=difference, errors=errors,
            )  # fmt: skip
    return rows.table("Accuracy: a normal law beside the uniform one of its variance")


def speed(bench):
    """1/sqrt(n) converges faster than 0.01"""
    rows = Rows()
    for f in ACTIVATIONS:
        for depth in (2, 3, 5):
            found = bench.compare({"0.01": SMALL, "1/sqrt(n)": winit.lecun_normal()}, f, depth=depth)
            own, other = found["1/sqrt(n)", f], found["0.01", f]
            difference, errors = paired(waited(own, bench.steps), waited(other, bench.steps))
            rows.add(
                activation=f, depth=depth, lecun=mean(waited(own, bench.steps)), small=mean(waited(other, bench.steps)),
                lecun_reached=reached(own), small_reached=reached(other), difference=difference, errors=errors,
            )  # fmt: skip
    return rows.table(f"Steps to a loss of 0.5 (all {bench.steps} where it was not reached): 1/sqrt(n) beside 0.01")


def sparse(bench):
    """Sparse initialisation with ten inputs a unit"""
    rows = Rows()
    schemes = {
        "lecun_normal": winit.lecun_normal(),
        "normal 0.01": SMALL,
        "sparse(10), std 0.01": winit.sparse(10),
        "sparse(10), std 0.316": winit.sparse(10, std=1 / math.sqrt(10)),
    }
    for f, depth in (("tanh", 2), ("tanh", 8), ("relu", 2), ("relu", 8)):
        found = bench.compare(schemes, f, depth=depth)
        for name in schemes:
            runs = found[name, f]
            difference, errors = paired(held(runs), held(found["lecun_normal", f]))
            rows.add(
                activation=f, depth=depth, scheme=name, accuracy=mean(held(runs)), accuracy_std=spread(held(runs)),
                steps=mean(waited(runs, bench.steps)), difference=difference, errors=errors,
            )  # fmt: skip
    return rows.table("Accuracy and steps to a loss of 0.5, beside lecun_normal")


def gains(bench, activations=ACTIVATIONS, settings=((4, RATE), (16, RATE), (16, RATE / 10))):
    """Xavier for sigmoid and tanh, He for relu"""
    rows = Rows()
    schemes = {
        "lecun": winit.lecun_normal(),
        "xavier": winit.xavier_normal(),
        "xavier, gain 4": winit.xavier_normal(gain=4.0),
        "he": winit.he_normal(),
        "orthogonal": winit.orthogonal(),
    }
    for f in activations:
        own = "he" if f == "relu" else "xavier"
        for depth, rate in settings:
            found = bench.compare(schemes, f, depth=depth, learning_rate=rate)
            for name in schemes:
                values = held(found[name, f])
                difference, errors = paired(values, held(found[own, f]))
                rows.add(
                    activation=f, depth=depth, rate=rate, scheme=name, accuracy=mean(values),
                    accuracy_std=spread(values), difference=difference, errors=errors,
                )  # fmt: skip
    return rows.table("Accuracy by activation, depth and scheme, beside the scheme that the claim names")


def biases(bench, depths=(2, 4, 8)):
    """Biases of 0 or of 0.01 with relu"""
    rows = Rows()
    for name, scheme in (("he", winit.he_normal()), ("0.01", SMALL)):
        for depth in depths:
            found = {
                bias: bench.compare({name: scheme}, depth=depth, bias=winit.constant(bias)) for bias in (0.0, 0.01)
            }
            zero, some = (held(runs[name, "relu"]) for runs in found.values())
            difference, errors = paired(some, zero)
            dead = [
                mean([
                    signal(
                        Network([64, *[WIDTH] * (depth - 1), 10], "relu", scheme, bias=winit.constant(bias), seed=seed),
                        bench.data.x,
                    ).column("dead")[depth - 2]
                    for seed in range(bench.seeds)
                ])
                for bias in (0.0, 0.01)
            ]  # fmt: skip
            rows.add(
                scheme=name, depth=depth, zero=mean(zero), zero_std=spread(zero), some=mean(some),
                some_std=spread(some), difference=difference, errors=errors, dead_zero=dead[0], dead_some=dead[1],
            )  # fmt: skip
    return rows.table(
        "relu: accuracy with biases of 0 and of 0.01, and dead units of the last hidden layer at the start"
    )


class SignJob(NamedTuple):
    data: Data
    activation: str
    scheme: Any
    steps: int
    seed: int


def signs(bench):
    """Half of the trained weights are positive where inputs are standardised"""
    rows = Rows()
    for f in ("tanh", "relu"):
        for name, scheme in (("0.01", SMALL), ("he", winit.he_normal())):
            for inputs, data in (("standardised", bench.data), ("pixels 0..1", pixels())):
                done = bench.map(_signs, [SignJob(data, f, scheme, bench.steps, seed) for seed in range(bench.seeds)])
                for layer in (0, 1):
                    before, after = ([each[which][layer] for each in done] for which in (0, 1))
                    _, errors = paired(after, [0.5] * len(after))
                    rows.add(
                        activation=f, scheme=name, inputs=inputs, layer=layer + 1, before=mean(before),
                        after=mean(after), after_std=spread(after), errors=errors,
                        accuracy=mean([each[2] for each in done]),
                    )  # fmt: skip
    return rows.table("Two layers: share of positive weights before and after training; errors are from one half")


def pixels():
    """The digits as they are, but for the unit: 0 to 1, and no column of mean 0."""
    from sklearn.datasets import load_digits

    found = load_digits()
    held_out = np.arange(len(found.data)) % 4 == 0  # as digits() has it
    x, labels = (found.data / 16).astype(np.float32), found.target.astype(np.int64)
    return Data(x[~held_out], labels[~held_out], x[held_out], labels[held_out])


def _signs(job):
    network = Network([64, WIDTH, 10], job.activation, job.scheme, output="identity", seed=job.seed, threads=1)
    before = [float((weight > 0).mean()) for weight in network.weights]
    train(network, job.data.x, job.data.labels, SGD(RATE, MOMENTUM), steps=job.steps)
    after = [float((weight > 0).mean()) for weight in network.weights]
    return before, after, accuracy(network, job.data.held_x, job.data.held_labels)


class TransferJob(NamedTuple):
    source: Data
    target: Data
    new_classes: bool
    samples: tuple[int, ...]
    steps: int
    seed: int


def transfer(bench):
    """Pretrained starts against random ones"""
    rows = Rows()
    samples = (20, 50, 200, 600)
    for name, source, target, new_classes in tasks(bench.data):
        jobs = [TransferJob(source, target, new_classes, samples, bench.steps, seed) for seed in range(bench.seeds)]
        done = bench.map(_transfer, jobs)
        for place, count in enumerate(samples):
            random, pretrained = ([each[place][which] for each in done] for which in (0, 1))
            difference, errors = paired(pretrained, random)
            rows.add(
                task=name, samples=count, random=mean(random), random_std=spread(random), pretrained=mean(pretrained),
                pretrained_std=spread(pretrained), difference=difference, errors=errors,
            )  # fmt: skip
    return rows.table(
        "Accuracy on a target task by its training samples: pretrained weights, all trained on, beside random"
    )


def tasks(data):
    """(name, source, target, whether the classes are others) of three ways to be related."""

    def some(first, last):
        keep, kept = ((labels >= first) & (labels <= last) for labels in (data.labels, data.held_labels))
        return Data(data.x[keep], data.labels[keep] - first, data.held_x[kept], data.held_labels[kept] - first)

    def shifted(x):
        images = x.reshape(-1, 8, 8)
        return np.concatenate([images[:, :, 1:], images[:, :, :1]], axis=2).reshape(x.shape)

    def noisy(x, name):
        return x + winit.draw(winit.normal(), x.shape, seed=0, name=name)

    yield "0-4, then 5-9", some(0, 4), some(5, 9), True
    yield "shifted by a pixel", data, data._replace(x=shifted(data.x), held_x=shifted(data.held_x)), False
    yield "with noise", data, data._replace(x=noisy(data.x, "noise"), held_x=noisy(data.held_x, "held noise")), False


def _transfer(job):
    """For each number of samples the accuracy from a random start and from a pretrained one."""

    def fresh(data, seed):
        widths = [64, WIDTH, WIDTH, int(data.labels.max()) + 1]
        return Network(widths, "relu", winit.he_normal(), output="identity", seed=seed, threads=1)

    teacher = fresh(job.source, job.seed + 1000)
    train(teacher, job.source.x, job.source.labels, SGD(RATE, MOMENTUM), steps=job.steps)
    order = np.argsort(winit.draw(winit.uniform(), len(job.target.x), seed=job.seed, name="samples"), kind="stable")
    found = []
    for count in job.samples:
        picked, results = order[:count], []
        for pretrained in (False, True):
            network = fresh(job.target, job.seed)
            if pretrained:
                kept = network.depth - job.new_classes  # a last layer of other classes starts at random
                network.weights[:kept] = [weight.copy() for weight in teacher.weights[:kept]]
                network.biases[:kept] = [bias.copy() for bias in teacher.biases[:kept]]
            train(network, job.target.x[picked], job.target.labels[picked], SGD(RATE, MOMENTUM), steps=job.steps)
            results.append(accuracy(network, job.target.held_x, job.target.held_labels))
        found.append(results)
    return found


def rates(bench):
    """Initialisation and learning rate go together"""
    rows = Rows()
    schemes = {
        "0.01": SMALL,
        "0.05": winit.normal(std=0.05),
        "lecun": winit.lecun_normal(),
        "he": winit.he_normal(),
        "0.3": winit.normal(std=0.3),
        "1.0": winit.normal(),
    }
    chosen = (0.0001, 0.001, 0.01, 0.1, 1.0)
    found = {rate: bench.compare(schemes, depth=5, learning_rate=rate) for rate in chosen}
    for name in schemes:
        runs = {rate: found[rate][name, "relu"] for rate in chosen}
        means = {f"rate {rate}": mean(held(each)) for rate, each in runs.items()}
        rows.add(scheme=name, **means, diverged=sum(row["diverged"] for each in runs.values() for row in each))
    return rows.table("relu, five layers: accuracy by scheme and learning rate, and diverged runs of all rates")


def regularisers(bench):
    """Initialisation and regularisation go together"""
    rows = Rows()
    schemes = {"0.01": SMALL, "xavier": winit.xavier_normal(), "he": winit.he_normal(), "0.3": winit.normal(std=0.3)}
    ways = {
        "none": {}, "l2 0.001": {"l2": 0.001}, "l2 0.01": {"l2": 0.01}, "l2 0.1": {"l2": 0.1},
        "dropout 0.3": {"dropout": 0.3}, "l2sp 0.01": {"l2sp": 0.01},
    }  # fmt: skip
    few = bench.data._replace(x=bench.data.x[:200], labels=bench.data.labels[:200])
    found = {way: bench.compare(schemes, data=few, **given) for way, given in ways.items()}
    for name in schemes:
        plain = held(found["none"][name, "relu"])
        for way in ways:
            values = held(found[way][name, "relu"])
            difference, errors = paired(values, plain)
            rows.add(
                scheme=name, regularisation=way, accuracy=mean(values), accuracy_std=spread(values),
                difference=difference, errors=errors,
            )  # fmt: skip
    return rows.table("relu, three layers, 200 samples: accuracy with and without regularisation")


def calibrated(bench):
    """Calibration means that every unit's output variance is 1"""
    rows = Rows()
    scheme = winit.lecun_normal()
    for inputs in ("normal", "digits"):
        for f in ("identity", "tanh", "relu"):
            network = Network([64, *[WIDTH] * 10], f, scheme, seed=0, threads=1)
            h = network.draw_input(1000) if inputs == "normal" else network.check_input(bench.data.x[:1000])
            for layer in range(1, network.depth + 1):
                z = network.layer(layer, h, "identity").astype(np.float64)
                if layer in (1, 2, 10):
                    variances = z.var(axis=0).tolist()
                    rows.add(
                        inputs=inputs, activation=f, layer=layer, variance=mean(variances), least=min(variances),
                        largest=max(variances),
                    )  # fmt: skip
                h = network.layer(layer, h)
    return rows.table(
        "N(0, 1)/sqrt(64): variance of a unit over 1000 samples, before its activation; mean and extremes"
    )


def vanishing(bench):
    """Too small vanishes, too large explodes"""
    rows = Rows()
    schemes = {"0.01": SMALL, "1/sqrt(n)": winit.lecun_normal(), "he": winit.he_normal(), "1.0": winit.normal()}
    for f in ("tanh", "relu"):
        for name, scheme in schemes.items():
            table = signal(Network([WIDTH] * 21, f, scheme, seed=0, threads=1), batch=256)
            rows.add(
                activation=f, scheme=name, std_1=table[0]["std"], std_20=table[-1]["std"],
                gradient_20=table[-1]["grad_std"], gradient_1=table[0]["grad_std"], saturated_20=table[-1]["saturated"],
                verdict=table[0]["verdict"],
            )  # fmt: skip
    return rows.table(
        "Twenty layers: std of outputs forwards and of gradients backwards, and the first layer's verdict"
    )


CLAIMS = {
    "symmetry": symmetric,
    "accuracy": accuracies,
    "small": small,
    "smaller": smaller,
    "laws": laws,
    "speed": speed,
    "sparse": sparse,
    "gains": gains,
    "biases": biases,
    "signs": signs,
    "transfer": transfer,
    "rates": rates,
    "regularisation": regularisers,
    "calibration": calibrated,
    "vanishing": vanishing,
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many (10)")
    parser.add_argument("--steps", type=int, default=300, help="of training, in each run (300)")
    parser.add_argument("--only", nargs="+", choices=CLAIMS, metavar="NAME", help=f"of {', '.join(CLAIMS)}")
    given = parser.parse_args(arguments)
    if given.seeds < 2 or given.steps < 10:
        parser.error("--seeds must be at least 2, and --steps at least 10")
    # Not forked: a process that has threads, as those have in which JAX or torch ran, may leave its copy a lock.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), fresh) as processes:
        bench = Bench(digits(), given.seeds, given.steps, processes)
        for place, name in enumerate(given.only or CLAIMS):
            print("\n" * (place > 0) + str(CLAIMS[name](bench)), flush=True)


if __name__ == "__main__":
    main()
