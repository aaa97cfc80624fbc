"""Why weights must differ: a three-layer sigmoid network with equal weights, and one with random ones.

    python examples/symmetry.py

Every hidden unit computes f(z_i) with z_i = sum_k W_ik x_k + b_i, and back-propagation gives it

    delta_i = (sum_j W_ji delta_j) f'(z_i),   f'(z) = f(z) (1 - f(z)).

Where all weights of a layer are equal, so are z_i, f'(z_i) and the sums, for every i: all units get the same gradient,
take the same step, and stay one unit for ever. Random weights break the tie.
"""

from itertools import pairwise

import numpy as np

import winit

SIZES = (6, 5, 4, 2)  # inputs, two hidden layers, outputs


def network(scheme, seed=0):
    """Weights (out, in) and biases of every layer, float64."""
    return [
        (
            winit.draw(scheme, (units, fan_in), seed=seed, name=f"fc{i}.weight", dtype="float64"),
            np.zeros(units),
        )
        for i, (fan_in, units) in enumerate(pairwise(SIZES), 1)
    ]


def gradients(layers, x, target):
    """Outputs of every layer, and its (delta, dweight, dbias) for the loss |y - target|^2 / 2."""
    outputs, tapes = [x], []
    for weight, bias in layers:
        y, tape = winit.dense_forward(outputs[-1], weight, bias, "sigmoid")
        outputs.append(y)
        tapes.append(tape)
    grad, found = outputs[-1] - target, []
    for y, tape in zip(outputs[:0:-1], tapes[::-1], strict=True):
        dx, dweight, dbias = winit.dense_backward(grad, tape)
        found.append((grad * y * (1 - y), dweight, dbias))
        grad = dx
    return outputs, found[::-1]


def train(layers, x, target, steps, rate=0.5):
    """Gradient descent, in place."""
    for _ in range(steps):
        _, found = gradients(layers, x, target)
        for (weight, bias), (_, dweight, dbias) in zip(layers, found, strict=True):
            weight -= rate * dweight
            bias -= rate * dbias


def distinct(layers):
    """Of each hidden layer, how many of its units differ in their weights."""
    return [len(np.unique(weight, axis=0)) for weight, _ in layers[:-1]]


def formula(layers, outputs, found, layer):
    """delta of a hidden layer (counted from 0) by the formula above, unit by unit."""
    weight, above, y = layers[layer + 1][0], found[layer + 1][0], outputs[layer + 1]
    return np.array(
        [
            [
                sum(weight[j, i] * above[n, j] for j in range(weight.shape[0])) * y[n, i] * (1 - y[n, i])
                for i in range(weight.shape[1])
            ]
            for n in range(len(y))
        ]
    )


def main():
    rng = np.random.default_rng(0)
    x, target = rng.random((8, SIZES[0])), rng.random((8, SIZES[-1]))
    for name, scheme in (
        ("zeros()", winit.zeros()),
        ("constant(0.5)", winit.constant(0.5)),
        ("normal(std=0.5)", winit.normal(std=0.5)),
    ):
        layers = network(scheme)
        outputs, found = gradients(layers, x, target)
        print(f"\n{name}\n  gradients of the second hidden layer's units, first sample")
        print("    back-propagated  ", *(f"{delta:+.15f}" for delta in found[1][0][0]))
        print("    by the formula   ", *(f"{delta:+.15f}" for delta in formula(layers, outputs, found, 1)[0]))
        before = distinct(layers)
        train(layers, x, target, steps=100)
        print(f"  distinct units of {SIZES[1]} and {SIZES[2]}: {before} before, {distinct(layers)} after 100 steps")


if __name__ == "__main__":
    main()
