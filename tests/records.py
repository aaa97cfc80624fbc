"""The one table of public schemes: instances of each, and the tensors they are drawn on.

Golden hashes, statistics, the law, plans and reprs are tested over it, and a scheme without a record fails a test. No
expected value stands here: those are with the tests, which derive them on their own.
"""

from typing import Any, NamedTuple

import numpy as np

import winit
from winit import Axes

DTYPES = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
ALIASES = {"glorot_uniform", "glorot_normal", "kaiming_uniform", "kaiming_normal"}

MATRIX = (20, 30), "oi"
IO = (30, 20), "io"
TALL = (31, 7), "oi"
SQUARE = (17, 17), "oi"
VECTOR = (33,), "oi"
CONV = (6, 4, 3, 5), "oi"
CONV_IO = (3, 5, 4, 6), "io"
NARROW_CONV = (5, 7, 3), "oi"
CUBE = (4, 3, 3, 2, 3), "oi"
GROUPED = (12, 2, 3), Axes(1, 0, groups=3)
TRANSPOSED = (6, 4, 3), Axes(0, 1)
TRANSPOSED_GROUPED = (6, 4, 3), Axes(0, 1, groups=2)
PACKED = (36, 10), Axes(1, 0, splits=3)
EXPERTS = (3, 8, 14), Axes(1, 2, batch=0)
HEADS = (12, 3, 4), Axes(0, (1, 2))
MIDDLE = (5, 6, 7), Axes(in_=(0, 2), out=1)
FANS = (MATRIX, CONV_IO, PACKED, EXPERTS)


class Case(NamedTuple):
    """One scheme on one tensor. The label's first word is the scheme's public name."""

    label: str
    scheme: winit.Scheme
    shape: tuple[int, ...]
    layout: Any

    @property
    def name(self):
        """The label, and the tensor where it is not the 20 x 30 matrix that most are drawn on."""
        where = f" {'x'.join(map(str, self.shape)) or 'scalar'} {self.layout}"
        return self.label + ("" if (self.shape, self.layout) == MATRIX else where)

    def draw(self, seed=2026, name="golden", **keywords):
        return winit.draw(self.scheme, self.shape, seed=seed, name=name, layout=self.layout, **keywords)

    def moments(self):
        return self.scheme.moments(self.shape, self.layout)


# label, scheme, where it is drawn
RECORDS = [
    ("zeros", winit.zeros(), (MATRIX, ((), "oi"))),
    ("ones", winit.ones(), (MATRIX,)),
    ("constant", winit.constant(0.1), (MATRIX,)),
    ("literal", winit.literal(np.arange(600).reshape(20, 30) / 7), (MATRIX,)),
    ("uniform", winit.uniform(-0.3, 0.7), (MATRIX, VECTOR, ((), "oi"))),
    ("normal", winit.normal(0.1, 2.0), (MATRIX, VECTOR, CUBE)),
    ("truncated_normal", winit.truncated_normal(0.0, 0.02, -3.0, 2.0), (MATRIX, VECTOR)),
    ("truncated_normal far", winit.truncated_normal(0.0, 1.0, 4.0, 11.0), (MATRIX,)),
    ("truncated_normal wide", winit.truncated_normal(0.0, 1.0, -20.0, 20.0), (MATRIX,)),
    ("embedding", winit.embedding(), (MATRIX,)),
    ("embedding padding", winit.embedding(0.5, padding=3), (MATRIX, CUBE)),
    ("embedding last", winit.embedding(padding=-1), (MATRIX, VECTOR)),
    ("variance_scaling", winit.variance_scaling(0.5, "fan_geo_avg", "truncated_normal"), FANS),
    ("variance_scaling keep", winit.variance_scaling(2.0, keep=0.75), FANS),
    ("variance_scaling uniform", winit.variance_scaling(1.0, "fan_out", "uniform", keep=0.5), FANS),
    ("xavier_uniform", winit.xavier_uniform(), FANS),
    ("xavier_normal", winit.xavier_normal(1.5), FANS),
    ("he_uniform", winit.he_uniform(), FANS),
    ("he_normal", winit.he_normal(nonlinearity="silu"), FANS),
    ("lecun_uniform", winit.lecun_uniform(), FANS),
    ("lecun_normal", winit.lecun_normal(), FANS),
    ("gpt2_residual", winit.gpt2_residual(12), (MATRIX, IO)),
    ("depth_scaled", winit.depth_scaled(3), (MATRIX,)),
    ("depth_scaled cut", winit.depth_scaled(7, 0.1, cut=3.0), (MATRIX, CONV)),
    ("small_init", winit.small_init(), FANS),
    ("small_init dim", winit.small_init(48), (MATRIX, VECTOR)),
    ("wang_init", winit.wang_init(6), FANS),
    ("wang_init dim", winit.wang_init(6, 48), (MATRIX, VECTOR)),
    ("siren", winit.siren(), FANS),
    ("siren first", winit.siren(12.0, first=True), (MATRIX, IO)),
    ("sparse", winit.sparse(4, 0.5), (MATRIX, IO, TALL, CONV, CONV_IO, GROUPED, EXPERTS, HEADS, MIDDLE)),
    ("sparse few", winit.sparse(1), (MATRIX, TRANSPOSED)),
    ("sparse all", winit.sparse(30), (MATRIX,)),
    ("sparse many", winit.sparse(40, 1.0), (((20, 100), "oi"), ((100, 20), "io"), ((5, 4, 4, 4), "oi"))),
    ("sparse none", winit.sparse(0), (MATRIX,)),
    ("sparse_columns", winit.sparse_columns(0.9), (MATRIX, TALL)),
    ("sparse_columns mean", winit.sparse_columns(1 / 3, 0.5, 2.0), (MATRIX, IO)),
    ("sparse_rows", winit.sparse_rows(0.5), (MATRIX, TALL)),
    ("sparse_rows mean", winit.sparse_rows(0.85, -1.0, 0.25), (MATRIX,)),
    (
        "orthogonal",
        winit.orthogonal(),
        (
            *(MATRIX, IO, TALL, SQUARE, CONV, CONV_IO, CUBE, GROUPED, TRANSPOSED, TRANSPOSED_GROUPED, PACKED),
            *(EXPERTS, HEADS, MIDDLE, ((1, 9), "oi"), ((1, 1), "oi")),
        ),
    ),
    ("orthogonal gain", winit.orthogonal(1.7), (MATRIX, CONV)),
    ("semi_orthogonal", winit.semi_orthogonal(), (MATRIX, TALL)),
    ("delta_orthogonal", winit.delta_orthogonal(), (CONV, CONV_IO, ((4, 6, 3), Axes(0, 1)), CUBE, ((8, 8, 4), "oi"))),
    ("delta_orthogonal gain", winit.delta_orthogonal(0.5), (CONV,)),
    ("identity", winit.identity(), (MATRIX, TALL, IO)),
    ("identity gain", winit.identity(-0.3), (SQUARE,)),
    ("irnn", winit.irnn(), (SQUARE,)),
    ("irnn scale", winit.irnn(0.01), (SQUARE,)),
    ("dirac", winit.dirac(), (CONV, CONV_IO, NARROW_CONV, CUBE, TRANSPOSED)),
    ("dirac groups", winit.dirac(3, 0.7), (((12, 5, 4), "oi"), ((6, 4, 3, 2), "oi"))),
    ("hadamard", winit.hadamard(), (MATRIX, TALL, SQUARE, IO, CONV, CONV_IO, NARROW_CONV)),
    ("idinit", winit.idinit(), (MATRIX, TALL, IO, CONV, CONV_IO, NARROW_CONV)),
    ("idinit last", winit.idinit(1e-6), (CONV,)),
    ("looks_linear", winit.looks_linear(), (MATRIX, IO, CONV, CONV_IO, ((8, 4, 4), "oi"))),
    ("looks_linear out", winit.looks_linear(1.3, "out"), (((8, 3), "oi"), ((6, 3, 3), "oi"))),
    ("looks_linear in", winit.looks_linear(mirror="in"), (((3, 8), "oi"), ((8, 3), "io"))),
    ("stft", winit.stft(), (((9, 1, 12), "oi"), ((12, 1, 9), "io"))),
    ("stft imag", winit.stft("imag", "hamming", "spectrum", periodic=True), (((8, 1, 16), "oi"),)),
    ("stft bare", winit.stft("imag", None), (((6, 1, 10), "oi"),)),
    ("stft given", winit.stft("real", [0.5, 1.0, -0.25, 2.0], None), (((5, 1, 4), "oi"),)),
    ("lstm_bias", winit.lstm_bias(), (((32,), "oi"),)),
    ("lstm_bias forget", winit.lstm_bias(0.3), (((32,), "oi"),)),
    ("chrono_bias", winit.chrono_bias(784), (((32,), "oi"),)),
    ("mamba_a_log", winit.mamba_a_log(), (MATRIX, ((16,), "oi"))),
    ("mamba_dt_bias", winit.mamba_dt_bias(), (VECTOR, MATRIX)),
    ("mamba_dt_bias floor", winit.mamba_dt_bias(0.001, 0.1, 0.02), (VECTOR,)),
]

RECORDS += [
    ("with_layout", winit.with_layout(winit.he_normal(), "io"), (MATRIX, CONV, IO)),
    ("with_layout sparse", winit.with_layout(winit.sparse(3), Axes(0, 1)), (MATRIX, IO)),
    ("with_layout orthogonal", winit.with_layout(winit.orthogonal(), "io"), (MATRIX, CONV, CONV_IO)),
    ("with_layout embedding", winit.with_layout(winit.embedding(padding=0), "io"), (MATRIX,)),
]

CASES = [Case(label, scheme, *where) for label, scheme, places in RECORDS for where in places]
