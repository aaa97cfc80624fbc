"""How large signals and gradients stay through many layers, under five initialisations and three activations.

    python examples/propagation.py [--layers 50] [--width 4096] [--batch 256] [--plot propagation.png]

Signals go forward from N(0, 1), gradients backward from N(0, 1); the table has the std of activations by layer, and of
gradients at each layer's input, beside what mean-field theory says of the activations. No weight is stored: each layer
is a winit.Virtual, drawn again on the way back. The plot needs matplotlib. At the sizes above it takes some minutes.
"""

import argparse
import math

import numpy as np

import winit
from winit.activations import activation

SCHEMES = {
    "normal(0.01)": winit.normal(std=0.01),
    "1/sqrt(n)": winit.lecun_normal(),
    "xavier": winit.xavier_normal(),
    "he": winit.he_normal(nonlinearity="relu"),
    "sparse(10)": None,  # ten inputs to each unit, weights N(0, 0.01^2)
}
ACTIVATIONS = ("sigmoid", "tanh", "relu")
SPARSE_INPUTS, SPARSE_STD = 10, 0.01


def sparse(width, seed, name):
    """Connect each unit to ten others by Floyd's method: step t picks at most j = width - 10 + t, j itself if taken."""
    inputs = min(SPARSE_INPUTS, width)
    words = winit.words(seed, name, 0, inputs * width, tag=1).reshape(inputs, width)
    chosen = np.full((inputs, width), -1, np.int64)
    for t, word in enumerate(words):
        j = width - inputs + t
        pick = (word.astype(np.uint64) * np.uint64(j + 1) >> np.uint64(32)).astype(np.int64)
        chosen[t] = np.where((chosen == pick).any(0), j, pick)
    weight = np.zeros((width, width), np.float32)
    values = winit.draw(winit.normal(std=SPARSE_STD), (inputs, width), seed=seed, name=name)
    weight[np.arange(width), chosen] = values
    return weight


def propagate(scheme, f, layers, width, batch, seed=0):
    """std of the activations after each layer, and of the gradients before each layer."""

    def weight(layer):
        name = f"fc{layer}.weight"
        if scheme is None:
            return sparse(width, seed, name)
        return winit.Virtual(scheme, (width, width), seed=seed, name=name)

    h = winit.draw(winit.normal(), (batch, width), seed=seed, name="x")
    tapes, forward = [], []
    for layer in range(layers):
        h, tape = winit.dense_forward(h, weight(layer), None, f)
        tapes.append(tape)
        forward.append(float(h.std(dtype=np.float64)))
        if scheme is None:
            tape.weight = None  # drawn again below
    grad = winit.draw(winit.normal(), (batch, width), seed=seed, name="grad")
    backward = []
    for layer in range(layers - 1, -1, -1):
        tape = tapes.pop()
        if scheme is None:
            tape.weight = weight(layer)
        grad, _, _ = winit.dense_backward(grad, tape, want=("x",))
        backward.append(float(grad.std(dtype=np.float64)))
    return forward, backward[::-1]


def theory(scheme, f, layers, width):
    """std of the activations by the mean-field map: a variance q becomes n std^2 E f(z)^2 a layer on, z ~ N(0, q)."""
    row = activation(f)
    std = SPARSE_STD * math.sqrt(SPARSE_INPUTS / width) if scheme is None else scheme.moments((width, width)).std
    second, found = 1.0, []
    for _ in range(layers):
        q = width * std * std * second
        second = row.second_moment(q)
        mean = row.mean(q)
        found.append(math.sqrt(max(0.0, second - mean * mean)))
    return found


def table(results, shown):
    """Lines of text: a row for each activation and scheme, a column for each layer of `shown`."""
    head = f"{'':22}" + "".join(f"{f'layer {layer}':>11}" for layer in shown)
    for title, key in (("activations, std", 0), ("  by theory", 2), ("gradients, std", 1)):
        yield ""
        yield title
        yield head
        for (f, scheme), found in results.items():
            yield f"{f:8} {scheme:13}" + "".join(f"{found[key][layer - 1]:11.2e}" for layer in shown)


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(ACTIVATIONS), figsize=(12, 6.5), sharex=True, constrained_layout=True)
    for column, f in enumerate(ACTIVATIONS):
        for row, what in enumerate(("activations", "gradients")):
            axis = axes[row, column]
            for i, scheme in enumerate(SCHEMES):
                values = np.maximum(results[f, scheme][row], 1e-45)
                # those two are one where all layers have the same width: show both
                dashes = (3 * i, (4, 8)) if scheme in ("1/sqrt(n)", "xavier") else "solid"
                axis.semilogy(range(1, len(values) + 1), values, linestyle=dashes, label=scheme)
            axis.set_title(f"{f}: std of {what}")
            axis.set_ylim(1e-20, 1e4)
            axis.grid(alpha=0.3)
            if row:
                axis.set_xlabel("layer")
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--plot", metavar="FILE.png")
    given = parser.parse_args(arguments)
    results = {
        (f, name): (
            *propagate(scheme, f, given.layers, given.width, given.batch),
            theory(scheme, f, given.layers, given.width),
        )
        for f in ACTIVATIONS
        for name, scheme in SCHEMES.items()
    }
    shown = sorted({layer for layer in (1, 2, 5, 10, 20, 50) if layer <= given.layers} | {given.layers})
    print(f"{given.layers} layers of {given.width} units, batch {given.batch}")
    print("\n".join(table(results, shown)))
    if given.plot:
        plot(results, given.plot)
    return results


if __name__ == "__main__":
    main()
