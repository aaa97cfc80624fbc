"""Run matrix products over threads: C = A B and C = C + A B, the same bits for any threads and instruction set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from winit import _kernels
from winit._core.threads import available_threads, run_tasks

__all__ = ["multiply", "run_products", "threads_for"]

INLINE = 1 << 25  # operations of a product below which starting threads costs more than they save
MAX_THREADS = 256  # each has its own block of panels
STEP = 4  # tasks, some milliseconds at most, between looks at whether to stop


def threads_for(asked: int | None, m: int, n: int, k: int) -> int:
    """Tell how many threads a product of these sizes is worth."""
    return 1 if 2 * m * n * k < INLINE else min(asked or available_threads(), MAX_THREADS)


def run_products(products: Sequence[Any]) -> None:
    """Run bound products to the end, over one set of threads: the next starts while the last tasks of one run."""
    if all(product.threads == 1 and product.tasks <= STEP for product in products):
        for product in products:
            product.run(STEP)
        return
    tasks = [product for product in products for _ in range(-(-product.tasks // STEP))]
    run_tasks(lambda product: product.run(STEP), tasks, max((product.threads for product in products), default=1))


def multiply(a: np.ndarray, b: np.ndarray, c: np.ndarray, *, add: bool = False, threads: int | None = None) -> None:
    """Write A B to c, or with `add` add it, exactly as docs/dense.md defines a product, whatever the engine."""
    engine, isa = _kernels.dense_in_use()
    (m, n), k = c.shape, a.shape[1]
    run_products([engine.Product(isa, a, b, c, threads_for(threads, m, n, k), exact=True, add=add)])
