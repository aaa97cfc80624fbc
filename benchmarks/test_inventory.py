"""Orthogonal and sparse tensors beside torch's and scipy's: whole calls, the same sizes, float32, all cores.

Peers fill in place where they can; torch.nn.init.sparse_ takes a share of zeros by column, winit.sparse inputs by unit:
the same number of connections within a tenth of a percent.
"""

import numpy as np
import pytest

import winit
from conftest import THREADS, installed


@pytest.fixture
def size(elements):
    """4096, or less where the benchmarks are only tried out."""
    return 4096 if elements >= 16 << 20 else 128


def timed(benchmark, call, group, library, elements, rounds):
    benchmark.group = group
    benchmark.extra_info.update(elements=elements, library=library)
    benchmark.pedantic(call, rounds=rounds, warmup_rounds=1)


@pytest.mark.parametrize("library", ["winit", "torch"])
@pytest.mark.parametrize("n", [64, 512, "size"])
def test_orthogonal(benchmark, n, library, size):
    n = size if n == "size" else n
    if library == "torch":
        torch = pytest.importorskip("torch")
        tensor = torch.empty(n, n)

        def call():
            torch.nn.init.orthogonal_(tensor)
    else:
        out, scheme = np.empty((n, n), np.float32), winit.orthogonal()

        def call():
            winit.fill(out, scheme, seed=0, threads=THREADS)

    timed(benchmark, call, f"orthogonal float32 {n}x{n}", library, n * n, 5 if n > 1000 else 50)


@pytest.mark.parametrize("library", ["winit", "torch"])
@pytest.mark.parametrize("scheme", [winit.sparse(k=10), winit.sparse_columns(0.9)], ids=["sparse", "sparse_columns"])
def test_sparse(benchmark, scheme, library, size):
    if library == "torch":
        torch = pytest.importorskip("torch")
        tensor = torch.empty(size, size)

        def call():
            torch.nn.init.sparse_(tensor, 0.9)
    else:
        out = np.empty((size, size), np.float32)

        def call():
            winit.fill(out, scheme, seed=0, threads=THREADS)

    few = scheme == winit.sparse(k=10)
    group = (
        f"sparse(k=10) float32 {size}x{size}; torch: sparse_(0.9)"
        if few
        else f"sparse_columns(0.9) float32 {size}x{size}"
    )
    timed(benchmark, call, group, library, size * size, 20 if few and library == "winit" else 3)


@pytest.mark.parametrize("library", ["winit", "scipy"])
@pytest.mark.parametrize("k", [10, 100])
def test_compressed_rows(benchmark, k, library, size):
    if not installed("scipy"):
        pytest.skip("scipy is not installed")
    scipy_sparse = pytest.importorskip("scipy.sparse")
    generator = np.random.default_rng(0)

    def call():
        if library == "scipy":
            scipy_sparse.random(size, size, density=k / size, format="csr", dtype=np.float32, rng=generator)
        else:
            winit.draw_sparse(winit.sparse(k=k), (size, size), seed=0, threads=THREADS)

    group = f"{k} of {size} inputs of each of {size} units as CSR"
    timed(benchmark, call, group, library, size * k, 20)
