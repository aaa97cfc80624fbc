"""A box of a tensor of 2^40 elements, in closed form or of independent ones, costs what the box costs, on every road.

Memory is what tracemalloc sees, which NumPy's arrays are part of. The tensors would take 2 to 8 TiB.
"""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

import winit
from winit import Axes, Param, Plan

MOST = 2 << 20  # bytes; Gauss-Legendre nodes of the moments of mamba_dt_bias take 0.8 MB of it
SIDE = 1 << 20
PLACE = {"seed": 5, "name": "huge"}
MATRIX = (SIDE, SIDE)
CONV = (1 << 18, 1 << 18, 4, 4)

# scheme, shape, layout
CLOSED = [
    (winit.identity(0.5), MATRIX, "oi"),
    (winit.identity(), (1 << 10, 1 << 30), "io"),
    (winit.identity(), (1 << 29, 1 << 30), "oi"),
    (winit.irnn(), MATRIX, "oi"),
    (winit.hadamard(), MATRIX, "oi"),
    (winit.hadamard(), (1 << 22, 1 << 18), "oi"),
    (winit.hadamard(), (1 << 18, 1 << 22), "io"),
    (winit.hadamard(), CONV, "oi"),
    (winit.hadamard(), (1 << 20, 1 << 16, 4, 4), "oi"),
    (winit.dirac(), CONV, "oi"),
    (winit.dirac(4, 0.5), (1 << 20, 1 << 16, 4, 4), "oi"),
    (winit.dirac(), (4, 4, 1 << 18, 1 << 18), "io"),
    (winit.idinit(), MATRIX, "oi"),
    (winit.idinit(), (1 << 10, 1 << 30), "oi"),
    (winit.idinit(), (1 << 30, 1 << 10), "oi"),
    (winit.idinit(1e-6), CONV, "oi"),
    (winit.stft(window=None), (SIDE + 1, 1, SIDE), "oi"),
    (winit.stft("imag", None), (SIDE, 1, SIDE + 1), "io"),
    (winit.stft(window=(0.5, 1.0, 0.5, 1.0)), ((1 << 38) + 1, 1, 4), "oi"),
    (winit.stft("imag", "hamming"), ((1 << 30) + 1, 1, 1 << 10), "oi"),
    (winit.lstm_bias(), (1 << 40,), "oi"),
    (winit.chrono_bias(100), (1 << 40,), "oi"),
    (winit.mamba_a_log(), MATRIX, "oi"),
    (winit.mamba_a_log(), (2, 1 << 39), "oi"),
    (winit.mamba_dt_bias(), (1 << 40,), "oi"),
    (winit.mamba_dt_bias(), MATRIX, "oi"),
]
INDEPENDENT = [
    (winit.zeros(), MATRIX, "oi"),
    (winit.constant(0.5), MATRIX, "oi"),
    (winit.uniform(), MATRIX, "oi"),
    (winit.normal(), MATRIX, "oi"),
    (winit.truncated_normal(), MATRIX, "oi"),
    (winit.embedding(padding=-1), MATRIX, "oi"),
    (winit.he_normal(), CONV, "oi"),
    (winit.xavier_uniform(), (SIDE + 512, SIDE), Axes(1, 0, splits=(SIDE, 256, 256))),
    (winit.sparse(8), MATRIX, "oi"),
    (winit.sparse_rows(1 - 2**-15), MATRIX, "oi"),
]
# The same in wrappers and in parts of several sizes along the out axis.
WRAPPED = [
    (winit.with_layout(winit.hadamard(), "io"), (1 << 18, 1 << 22), "oi"),
    (winit.with_layout(winit.chrono_bias(9), "oi"), (1 << 40,), "oi"),
    (winit.with_layout(winit.literal([[1.0, 2.0]]), "io"), (1, 2), "oi"),
    (winit.presets.torch.dirac_(2), CONV, "io"),
    (winit.presets.torch.eye_(), MATRIX, "oi"),
    (winit.presets.keras.Identity(), MATRIX, "io"),
    (winit.presets.keras.STFT(window=None), (SIDE, 1, SIDE + 1), "oi"),
    *(
        (scheme, (3 * (SIDE >> 1), SIDE), Axes(1, 0, splits=(SIDE, SIDE >> 2, SIDE >> 2)))
        for scheme in (winit.identity(), winit.hadamard(), winit.idinit(), winit.mamba_a_log(), winit.mamba_dt_bias())
    ),
    (winit.chrono_bias(50), (1 << 40,), Axes((), 0, splits=(1 << 39, 1 << 38, 1 << 38))),
    (winit.lstm_bias(), (1 << 40,), Axes((), 0, splits=(1 << 39, 1 << 38, 1 << 38))),
    (winit.dirac(), (1 << 21, 1 << 18, 4), Axes(1, 0, splits=(1 << 20, 1 << 19, 1 << 19))),
]
CASES = CLOSED + INDEPENDENT + WRAPPED
every_case = pytest.mark.parametrize(("scheme", "shape", "layout"), CASES, ids=[f"{s} {n} {a}" for s, n, a in CASES])


class Peak:
    """What a block allocated at its peak, in bytes."""

    def __enter__(self):
        tracemalloc.start()
        self.before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_):
        self.bytes = tracemalloc.get_traced_memory()[1] - self.before
        tracemalloc.stop()


def boxes(shape):
    """Boxes of a few elements: at the start, in the middle, at the end, along an axis, around a range's end."""
    size = math.prod(shape)
    ends = [(slice(0, min(2, n)), slice(n // 2, min(n // 2 + 2, n)), slice(max(n - 2, 0), n)) for n in shape]
    for place in range(3):
        yield tuple(each[place] for each in ends)
    for axis, n in enumerate(shape):  # as much of one axis as is not too much
        yield tuple(slice(0, min(n, 500)) if a == axis else slice(m // 2, m // 2 + 1) for a, m in enumerate(shape))
    for lo in (0, size // 2 - 3, size // 3, max(size - 5, 0)):
        yield range(max(lo, 0), min(max(lo, 0) + 5, size))


@every_case
def test_a_box_of_a_huge_tensor_is_cheap_on_every_road(scheme, shape, layout):
    for dtype in ("float32", "float64", "bfloat16"):
        with Peak() as peak:
            plan = Plan({"huge": Param(shape, scheme, dtype, layout)})
        assert peak.bytes < MOST, (dtype, "plan")
        for box in boxes(shape):
            with Peak() as peak:
                drawn = winit.draw(scheme, shape, **PLACE, dtype=dtype, layout=layout, box=box)
            assert peak.bytes < MOST, (dtype, box, "draw")
            assert drawn.size <= 2000
            out = np.zeros(drawn.shape, drawn.dtype)
            with Peak() as peak:
                winit.fill(out, scheme, **PLACE, shape=shape, layout=layout, box=box)
            assert peak.bytes < MOST, (dtype, box, "fill")
            assert out.tobytes() == drawn.tobytes()
            out[...] = 0
            with Peak() as peak:
                winit.add(out, scheme, **PLACE, shape=shape, layout=layout, box=box, scale=1.0)
            assert peak.bytes < MOST, (dtype, box, "add")
            if dtype != "bfloat16":  # what is added is the value before it is rounded to a half type
                assert (out == drawn).all()
            with Peak() as peak:
                made = plan.draw("huge", seed=5, box=box)
            assert peak.bytes < MOST, (dtype, box, "plan.draw")
            assert made.tobytes() == drawn.tobytes()


@every_case
def test_slices_and_ranges_of_a_huge_tensor_agree(scheme, shape, layout):
    for box in itertools.islice(boxes(shape), 3):
        drawn = winit.draw(scheme, shape, **PLACE, dtype="float64", layout=layout, box=box)
        for at in itertools.product(*(range(part.start, part.stop) for part in box)):
            flat = 0
            for index, n in zip(at, shape, strict=True):
                flat = flat * n + index
            one = winit.draw(scheme, shape, **PLACE, dtype="float64", layout=layout, box=range(flat, flat + 1))
            place = tuple(index - part.start for index, part in zip(at, box, strict=True))
            assert one.tobytes() == drawn[place].tobytes()


# The moments of stft and of mamba_a_log are sums over a whole kernel, or a whole row.
CHEAP = [case for case in CASES if "stft" not in repr(case[0]) and "mamba_a_log" not in repr(case[0])]


@pytest.mark.parametrize(("scheme", "shape", "layout"), CHEAP, ids=[f"{s} {n} {a}" for s, n, a in CHEAP])
def test_moments_of_a_huge_tensor_are_cheap(scheme, shape, layout):
    with Peak() as peak:
        found = scheme.moments(shape, layout)
    assert peak.bytes < MOST
    assert found.low <= found.mean <= found.high


SMALL = [
    (winit.identity(-0.3), ((3, 5), (5, 3), (4, 4), (0, 4), (1, 1))),
    (winit.irnn(0.1), ((4, 4), (0, 0))),
    (winit.hadamard(), ((7, 5), (8, 8), (5, 7), (8, 3), (9, 8), (33, 17), (6, 4, 3), (9, 5, 3, 2), (4, 6, 3), (3, 0))),
    (winit.dirac(), ((6, 4, 3), (4, 6, 3, 2), (4, 0, 2), (4, 4, 0))),
    (winit.dirac(3, 0.7), ((12, 5, 4), (12, 3, 2), (6, 4, 3, 2))),
    (winit.idinit(2.0), ((3, 7), (7, 3), (6, 4, 3), (12, 2, 2), (0, 3))),
    (winit.lstm_bias(0.3), ((8,), (0,), (4,))),
    (winit.mamba_a_log(), ((3, 4), (5,), (2, 3, 2), (0, 3), (3, 0))),
    (winit.stft(), ((5, 1, 6),)),
]


@pytest.mark.parametrize(("scheme", "shapes"), SMALL, ids=[repr(scheme) for scheme, _ in SMALL])
def test_moments_in_closed_form_are_those_of_the_elements(scheme, shapes):
    for shape, layout in itertools.product(shapes, ("oi", "io")):
        try:
            drawn = winit.draw(scheme, shape, **PLACE, dtype="float64", layout=layout)
        except ValueError:  # groups that do not divide the other layout's channels
            continue
        found = scheme.moments(shape, layout)
        if drawn.size == 0:
            assert found == (0.0, 0.0, 0.0, 0.0)
            continue
        assert found.mean == pytest.approx(drawn.mean(), rel=1e-13, abs=1e-15)
        assert found.std == pytest.approx(drawn.std(), rel=1e-13, abs=1e-15)
        assert (found.low, found.high) == (drawn.min(), drawn.max())


def test_reach_is_never_less_than_an_element():
    """A law that would pass the range of a dtype is refused by `reach`, which does not look at the elements."""
    for scheme, shapes in SMALL:
        for shape in shapes:
            largest = np.abs(winit.draw(scheme, shape, **PLACE, dtype="float64")).max(initial=0.0)
            assert scheme.reach(shape, "oi") >= largest
    for side, window in itertools.product(("real", "imag"), ((7e4, 1.0, 1.0), (1.0, 7e4, 1.0))):
        scheme = winit.stft(side, window, None)
        assert scheme.reach((5, 1, 3), "oi") >= np.abs(winit.draw(scheme, (5, 1, 3), seed=0)).max()
    assert winit.draw(winit.stft("imag", (7e4, 1.0, 1.0), None), (5, 1, 3), seed=0, dtype="float16").max() <= 1
    with pytest.raises(ValueError, match="reaches 70000, beyond the range of float16"):
        winit.draw(winit.identity(7e4), (2, 2), seed=0, dtype="float16")
    winit.draw(winit.identity(7e4), (2, 0), seed=0, dtype="float16")  # which has no such element
