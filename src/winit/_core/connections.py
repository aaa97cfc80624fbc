"""Sparse connections as scipy.sparse arrays, without ever making the dense one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from winit import _kernels
from winit._core.checks import check_threads, shown
from winit._core.dtypes import dtype_name, empty, numpy_dtype
from winit._core.keys import stream_key
from winit._core.laws import Sparse
from winit._core.layouts import Layout, check_layout
from winit._core.scheme import Scheme, check_scheme, law_of
from winit._core.shapes import check_shape
from winit._core.threads import run_tasks

__all__ = ["draw_sparse"]

FORMATS = ("csr", "csc")
RANGE = 1 << 16  # connections that a thread draws at a time: 2 ms


def draw_sparse(
    scheme: Scheme,
    shape: int | Sequence[int],
    *,
    seed: int,
    name: str = "",
    dtype: Any = "float32",
    layout: Layout = "oi",
    format: str = "csr",  # noqa: A002
    threads: int | None = None,
) -> Any:
    """Draw the connections of a sparse scheme alone: the same bits as winit.draw, in memory of k numbers a unit.

    The array is the tensor as a matrix: (out, in * receptive field) where units come first, as in layout "oi",
    (receptive field * in, out) where they come last, as in "io"; the row-major reshape of the dense tensor either way.

    Parameters
    ----------
    scheme : winit.sparse(k), sparse_columns or sparse_rows.
    shape, seed, name, layout : as in winit.draw.
    dtype : "float32" or "float64"; scipy.sparse has no narrower types.
    format : "csr" or "csc".
    threads : int or None, the processors this process may use.

    Returns
    -------
    scipy.sparse.csr_array or csc_array, indices sorted.

    Raises
    ------
    TypeError, ValueError : as winit.draw; a scheme that is not sparse, units neither first nor last.
    ImportError : scipy is not installed.

    >>> import winit
    >>> w = winit.draw_sparse(winit.sparse(k=10), (300, 784), seed=0)
    >>> w.nnz, bool((w.toarray() == winit.draw(winit.sparse(k=10), (300, 784), seed=0)).all())
    (3000, True)

    """
    try:
        import scipy.sparse
    except ImportError:
        raise ImportError("draw_sparse needs the package scipy, which is not installed: pip install scipy") from None
    check_scheme(scheme)
    key = stream_key(seed, name)
    shape = check_shape(shape)
    check_layout(layout)
    threads = check_threads(threads)
    kind = dtype_name(dtype)
    if kind not in ("float32", "float64"):
        raise TypeError(f"dtype of a sparse array must be float32 or float64, not {kind}")
    if not isinstance(format, str) or format not in FORMATS:
        raise ValueError(f"format must be 'csr' or 'csc', not {shown(format)}")
    law = law_of(scheme, shape, layout, kind)
    if not isinstance(law, Sparse):
        raise TypeError(f"scheme must be a sparse one such as winit.sparse(k=10), not {shown(scheme)}")
    params = law.numbers(kind)
    units = [size for size, unit in zip(shape, law.units, strict=True) if unit]
    count, inputs = math.prod(units), law.inputs
    keep = law.keep if count * inputs else 0
    if law.units == tuple(sorted(law.units, reverse=True)):
        rows, steps = True, (inputs, 1)
    elif law.units == tuple(sorted(law.units)):
        rows, steps = False, (1, count)
    else:
        raise ValueError(f"units of a sparse array must be the first or the last axes of {shape}, not {law.units}")
    _, engine, isa = _kernels.in_use()
    bound = engine.Sparse(isa, _kernels.DTYPES.index(kind), key, params, shape, law.units, keep)
    total = count * keep
    narrow = np.int32 if max(count, inputs, total) < 1 << 31 else np.int64
    picks, data = empty((total,), np.dtype(narrow)), empty((total,), numpy_dtype(kind))

    def work(first: int) -> None:
        last = min(first + each, count)
        part = slice(first * keep, last * keep)
        bound.rows(first, last, *steps, picks[part], data[part])

    each = max(1, RANGE // max(keep, 1))
    run_tasks(work, range(0, count, each), threads)
    starts = (np.arange(count + 1) * keep).astype(narrow)
    make = scipy.sparse.csr_array if rows else scipy.sparse.csc_array
    array = make((data, picks, starts), shape=(count, inputs) if rows else (inputs, count))
    array.has_sorted_indices = array.has_canonical_format = True
    return array.asformat(format)
