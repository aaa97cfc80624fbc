"""Draw the plots of docs/: what each family of schemes looks like beside its formula, and what schemes do in a network.

python tools/plot_laws.py [directory]
"""

import math
import pathlib
import sys

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np

import winit
from winit.lab import plot_signal, report

GREY, BLUE, RED = "0.75", "#1f5f99", "#b03a2e"


def density(axis, scheme, curve, title):
    """A histogram of a million values, and the law's density."""
    values = winit.draw(scheme, 1_000_000, seed=0, name=title)
    _, edges, _ = axis.hist(values, bins=101, density=True, color=GREY)
    x = np.linspace(edges[0], edges[-1], 1001)
    axis.plot(x, curve(x), color=BLUE, lw=1.5)
    axis.set_title(title, fontsize=9)
    axis.set_yticks([])


def normal_density(x, mean=0.0, std=1.0):
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def random():
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.4), layout="constrained")
    density(axes[0], winit.uniform(-1, 1), lambda x: np.where(np.abs(x) <= 1, 0.5, 0), "uniform(-1, 1)")
    density(axes[1], winit.normal(), normal_density, "normal()")
    mass = math.erf(2 / math.sqrt(2))
    density(
        axes[2],
        winit.truncated_normal(),
        lambda x: np.where(np.abs(x) <= 2, normal_density(x) / mass, 0),
        "truncated_normal()",
    )
    shape = (1000, 1000)
    for scheme, colour in ((winit.he_normal(), BLUE), (winit.he_uniform(), RED)):
        values = winit.draw(scheme, shape, seed=0, name="he").ravel()
        axes[3].hist(values, bins=101, density=True, histtype="step", color=colour, label=type(scheme).__name__)
    axes[3].set_title("the same variance, fan_in 1000", fontsize=9)
    axes[3].set_yticks([])
    axes[3].legend(fontsize=7, frameon=False)
    return figure


def sparse():
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for axis, scheme, title in (
        (axes[0], winit.sparse(k=10), "sparse(k=10): 10 in every row"),
        (axes[1], winit.sparse_columns(0.9), "sparse_columns(0.9): 10 in every column"),
    ):
        axis.imshow(winit.draw(scheme, (100, 100), seed=0) != 0, cmap="Greys", interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("input", fontsize=8)
        axis.set_ylabel("unit", fontsize=8)
    units, inputs, k = 4096, 4096, 10
    counts = (winit.draw(winit.sparse(k=k), (units, inputs), seed=0) != 0).sum(axis=0)
    j = np.arange(counts.max() + 1)
    axes[2].bar(j, np.bincount(counts, minlength=len(j)), color=GREY)
    log_p, log_q = math.log(k / inputs), math.log1p(-k / inputs)
    expected = [
        inputs
        * math.exp(
            math.lgamma(units + 1) - math.lgamma(i + 1) - math.lgamma(units - i + 1) + i * log_p + (units - i) * log_q
        )
        for i in j.tolist()
    ]
    axes[2].plot(j, expected, ".-", color=BLUE, lw=1)
    axes[2].set_title("units an input reaches (4096 x 4096): binomial", fontsize=9)
    return figure


def orthogonal():
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    values = np.linalg.eigvals(winit.draw(winit.orthogonal(), (100, 100), seed=0))
    axes[0].plot(values.real, values.imag, ".", color=BLUE, ms=4)
    axes[0].set_aspect("equal")
    axes[0].set_title("eigenvalues of orthogonal(), 100 x 100", fontsize=9)
    n, spacings = 50, []
    for i in range(400):
        q = winit.draw(winit.orthogonal(), (n, n), seed=i)
        angles = np.sort(np.angle(np.linalg.eigvals(q.astype(float))))
        angles = angles[(angles > 0.2) & (angles < math.pi - 0.2)]
        spacings.append(np.diff(angles) * n / (2 * math.pi))
    axes[1].hist(np.concatenate(spacings), bins=50, range=(0, 3), density=True, color=GREY)
    s = np.linspace(0, 3, 301)
    axes[1].plot(s, 32 / math.pi**2 * s**2 * np.exp(-4 * s**2 / math.pi), color=BLUE)
    axes[1].plot(s, np.exp(-s), color=RED, lw=0.8, ls=":")
    axes[1].set_title("gaps between angles: Wigner's law, not chance (dotted)", fontsize=9)
    for scheme, colour in ((winit.orthogonal(), BLUE), (winit.lecun_normal(), RED)):
        singular = np.linalg.svd(winit.draw(scheme, (512, 512), seed=0), compute_uv=False)
        axes[2].plot(singular, color=colour, label=f"{type(scheme).__name__}()")
    axes[2].set_title("singular values, 512 x 512", fontsize=9)
    axes[2].legend(fontsize=7, frameon=False)
    return figure


def structured():
    shown = [
        (winit.identity(), (24, 32), "oi", "identity()"),
        (winit.idinit(), (12, 32), "oi", "idinit()"),
        (winit.hadamard(), (32, 24), "oi", "hadamard()"),
        (winit.looks_linear(), (24, 32), "oi", "looks_linear()"),
        (winit.dirac(groups=2), (16, 8, 3), "oi", "dirac(groups=2), centre"),
        (winit.stft(), (64, 1, 33), "io", "stft()"),
    ]
    figure, axes = plt.subplots(1, 6, figsize=(11, 2.4), layout="constrained")
    for axis, (scheme, shape, layout, title) in zip(axes, shown, strict=True):
        values = winit.draw(scheme, shape, seed=0, layout=layout)
        image = values[:, 0] if title.startswith("stft") else values[..., 1] if values.ndim == 3 else values
        reach = np.abs(image).max()
        axis.imshow(image, cmap="RdBu", vmin=-reach, vmax=reach, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    return figure


def depth():
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    layers = np.arange(32)
    by_layer = [winit.depth_scaled(int(layer)) for layer in layers]
    measured = [winit.draw(s, (512, 512), seed=0, name=str(i)).std() for i, s in enumerate(by_layer)]
    axes[0].plot(layers, measured, ".", color=BLUE, label="depth_scaled(layer), drawn")
    axes[0].plot(layers, 0.02 / np.sqrt(2 * (layers + 1)), color=BLUE, lw=0.8)
    axes[0].axhline(winit.gpt2_residual(32).moments().std, color=RED, label="gpt2_residual(layers=32)")
    axes[0].axhline(0.02, color=GREY, label="normal(std=0.02)")
    axes[0].set_xlabel("layer", fontsize=8)
    axes[0].set_title("residual projections", fontsize=9)
    axes[0].legend(fontsize=7, frameon=False)
    dims = 2 ** np.arange(7, 15)
    for scheme, colour in ((winit.small_init(), BLUE), (winit.wang_init(layers=24), RED), (winit.he_normal(), GREY)):
        stds = [scheme.moments((int(d), int(d))).std for d in dims]
        axes[1].loglog(dims, stds, ".-", color=colour, label=repr(scheme))
    axes[1].set_xlabel("width", fontsize=8)
    axes[1].set_title("std by width", fontsize=9)
    axes[1].legend(fontsize=7, frameon=False)
    return figure


def lab():
    schemes = {
        "0.01": winit.normal(std=0.01),
        "1/√n (LeCun)": winit.lecun_normal(),
        "He": winit.he_normal(),
        "1": winit.normal(std=1.0),
    }
    axes = plot_signal(report(schemes, "relu", depth=50, width=512, steps=0))
    axes.set_title("What 50 relu layers of 512 units give, by initialisation", fontsize=10)
    return axes.figure


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "docs")
    for plot in (random, sparse, orthogonal, structured, depth, lab):
        figure = plot()
        figure.savefig(directory / f"{plot.__name__}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
