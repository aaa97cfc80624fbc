"""Fine-tuning by forward passes alone, in place, without storing noise or gradients: MeZO, and its replay from a log.

    python examples/mezo.py [--steps 3000] [--width 32] [--eps 1e-3] [--rate 4e-3]

A step draws a direction z from a seed of its own and measures the loss L at two points (SPSA),

    g = (L(w + eps z) - L(w - eps z)) / (2 eps),    w <- w - rate g z.

z is never in memory: winit.add adds eps z, then -2 eps z, eps z and -rate g z, and draws the same z each time from
(seed, tensor's name). So a step is told by its seed and g, 16 bytes whatever the size of the model: the log of a run,
replayed on a copy of the start, gives the end weights to the bit, roundings included, without data or a forward pass.

Malladi, Gao, Nichani, Damian, Lee, Chen, Arora 2023, "Fine-tuning language models with just forward passes",
arXiv:2305.17333.
"""

import argparse

import numpy as np

import winit

INPUTS, BATCH = 16, 256
NORMAL = winit.normal()
LOG = np.dtype([("seed", np.uint64), ("g", np.float64)])


def network(width, seed=0):
    """Give the weights of the network that is to be adapted: tensor's name -> array."""
    plan = winit.Plan(
        {
            "fc1.weight": winit.Param((width, INPUTS), winit.xavier_normal(), "float32"),
            "fc1.bias": winit.Param((width,), winit.normal(std=0.1), "float32"),
            "fc2.weight": winit.Param((1, width), winit.xavier_normal(), "float32"),
            "fc2.bias": winit.Param((1,), winit.zeros(), "float32"),
        }
    )
    return plan.build(seed=seed)


def forward(weights, x):
    hidden, _ = winit.dense_forward(x, weights["fc1.weight"], weights["fc1.bias"], "tanh")
    return winit.dense_forward(hidden, weights["fc2.weight"], weights["fc2.bias"])[0]


def task(width, seed=0, shift=0.2):
    """Inputs, and what a network a little off the start makes of them."""
    x = winit.draw(NORMAL, (BATCH, INPUTS), seed=seed, name="x")
    return x, forward(perturb(network(width, seed), seed, shift), x)


def loss(weights, x, target):
    return float(np.mean(np.square(forward(weights, x) - target), dtype=np.float64))


def perturb(weights, seed, scale):
    """Add scale z to all weights, in place."""
    for name, weight in weights.items():
        winit.add(weight, NORMAL, seed=seed, name=name, scale=scale)
    return weights


def step(weights, seed, eps, rate, measure):
    """Measure the loss on either side along z, and move the weights by -rate g z, in place; returns g."""
    above = measure(perturb(weights, seed, eps))
    below = measure(perturb(weights, seed, -2 * eps))
    perturb(weights, seed, eps)
    g = (above - below) / (2 * eps)
    perturb(weights, seed, -rate * g)
    return g


def adapt(weights, x, target, steps, eps, rate):
    """Fine-tune in place; returns the log."""
    log = np.zeros(steps, LOG)
    for i in range(steps):
        seed = 1 + i
        log[i] = seed, step(weights, seed, eps, rate, lambda moved: loss(moved, x, target))
    return log


def replay(weights, log, eps, rate):
    """Take the steps of a log, in place: the same sums in the same order, and no forward pass."""
    for seed, g in log.tolist():
        for scale in (eps, -2 * eps, eps, -rate * g):
            perturb(weights, seed, scale)
    return weights


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--eps", type=float, default=1e-3)
    parser.add_argument("--rate", type=float, default=4e-3)
    given = parser.parse_args(arguments)
    x, target = task(given.width)
    weights = network(given.width)
    before = loss(weights, x, target)
    log = adapt(weights, x, target, given.steps, given.eps, given.rate)
    again = replay(network(given.width), log, given.eps, given.rate)
    same = all((again[name] == weights[name]).all() for name in weights)
    print(f"{sum(weight.size for weight in weights.values())} weights, {given.steps} steps of two forward passes")
    print(f"loss before {before:.5f}, after {loss(weights, x, target):.5f}")
    print(f"noise and gradients stored: 0 bytes; weights: {sum(weight.nbytes for weight in weights.values())} bytes")
    print(f"log: {log.nbytes} bytes, {log.nbytes // max(given.steps, 1)} a step")
    print(f"replayed from the log, to the bit: {'yes' if same else 'NO'}")
    return weights, log


if __name__ == "__main__":
    main()
