"""Orthogonal tensors: orthonormal to a few roundings, Haar-distributed, and what they are made of to the last bit.

Statistics are over N matrices of fixed seeds. KS and z bounds fail on a correct sampler with a chance of 1e-9 each;
there are fewer than 200.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

import winit
from conftest import BUILDS
from winit import Axes, _kernels
from winit._dense import householder

N = 12_000
Z = 6.1


def off_identity(q):
    """The largest element of Q'Q - I or QQ' - I, whichever is smaller, in float64."""
    q = q.astype(np.float64)
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    return np.abs(gram - np.eye(len(gram))).max()


BOUND = {"float32": 2e-6, "float64": 2e-14}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(1024, 1024), (700, 1024), (1024, 700), (1, 1024), (1024, 255), (257, 257), (256, 300)]
)
def test_orthonormal_to_a_few_roundings(shape, dtype):
    assert off_identity(winit.draw(winit.orthogonal(), shape, seed=1, dtype=dtype)) < BOUND[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthonormal_at_4096(dtype):
    assert off_identity(winit.draw(winit.orthogonal(), (4096, 4096), seed=1, dtype=dtype)) < BOUND[dtype]


# layout, shape, and the matrices (out, in) that it holds
def split_out(parts):
    return lambda w: w.reshape(parts, w.shape[0] // parts, -1)


PLACES = [
    ("oi", (5, 9), lambda w: w[None]),
    ("io", (5, 9), lambda w: w.T[None]),
    ("oi", (9, 4, 3), lambda w: w.reshape(1, 9, 12)),
    ("oi", (30, 4, 2, 3), lambda w: w.reshape(1, 30, 24)),
    ("io", (2, 3, 4, 30), lambda w: w.reshape(1, 24, 30).transpose(0, 2, 1)),
    (Axes(1, 0, groups=3), (12, 2, 3), split_out(3)),
    (Axes(1, 0, splits=3), (36, 10), split_out(3)),
    (Axes(1, 0, groups=2, splits=3), (36, 10), split_out(6)),
    (Axes(0, 1), (6, 4, 3), lambda w: w.transpose(1, 0, 2).reshape(1, 4, 18)),
    (Axes(0, 1, groups=2), (6, 4, 3), lambda w: w.reshape(2, 3, 4, 3).transpose(0, 2, 1, 3).reshape(2, 4, 9)),
    (Axes(1, 2, batch=0), (4, 8, 14), lambda w: w.transpose(0, 2, 1)),
    (Axes(2, 1, batch=(0, 3)), (2, 5, 7, 3), lambda w: w.transpose(0, 3, 1, 2).reshape(6, 5, 7)),
    (Axes(0, (1, 2)), (24, 3, 4), lambda w: w.transpose(1, 2, 0).reshape(1, 12, 24)),
    (Axes(-1, -2), (3, 5, 7), lambda w: w.transpose(1, 0, 2).reshape(1, 5, 21)),
]


@pytest.mark.parametrize("scheme", [winit.orthogonal(), winit.semi_orthogonal(), winit.orthogonal(0.25)], ids=repr)
@pytest.mark.parametrize(("layout", "shape", "matrices"), PLACES)
def test_matrices_of_a_layout(layout, shape, matrices, scheme):
    w = winit.draw(scheme, shape, seed=2, layout=layout, dtype="float64")
    found = matrices(w)
    for matrix in found:
        assert off_identity(matrix / scheme.gain) < 2e-14
    for i in range(len(found)):  # each of its own draw
        for other in found[:i]:
            assert np.abs(found[i] - other).max() > 1e-3
    assert scheme.moments(shape, layout).std == pytest.approx(math.sqrt(np.square(w).mean()), rel=1e-12)
    if scheme.gain == 1:
        assert (w == winit.draw(winit.orthogonal(), shape, seed=2, layout=layout, dtype="float64")).all()
        first = winit.draw(winit.orthogonal(), found.shape[1:], seed=2, dtype="float64")
        assert (found[0] == first).all()  # the first matrix is that of its own shape alone


def test_io_is_the_transpose_of_oi():
    for shape in ((20, 30), (31, 7), (9, 9)):
        oi = winit.draw(winit.orthogonal(), shape, seed=3)
        assert (winit.draw(winit.orthogonal(), shape[::-1], seed=3, layout="io") == oi.T).all()


def test_gains():
    q = winit.draw(winit.orthogonal(), (40, 30), seed=4)
    assert (winit.draw(winit.orthogonal(np.sqrt(2)), (40, 30), seed=4) == np.float32(math.sqrt(2)) * q).all()
    assert not winit.draw(winit.orthogonal(0), (40, 30), seed=4).any()
    assert winit.draw(winit.orthogonal(), (0, 5), seed=4).shape == (0, 5)
    assert winit.draw(winit.orthogonal(), (5, 0), seed=4, layout="io").shape == (5, 0)
    assert winit.draw(winit.orthogonal(), (0, 5, 5), seed=4, layout=Axes(1, 2, batch=0)).size == 0


# ---- the definition, in float64


def by_definition(x, count, length):
    """The first rows of (H_1 ... H_n D)', one H at a time: it takes x_i to a multiple of e_i, which D turns up."""
    product, signs = np.eye(length), np.ones(length)
    for i in range(count):
        v = np.zeros(length)
        v[i:] = x[i, i:]
        towards = -1.0 if v[i] < 0 else 1.0
        norm = math.sqrt(math.fsum(v * v))
        v[i] += towards * norm
        product -= np.outer(product @ v, 2 * v / (v @ v))
        signs[i] = -towards
    return (product * signs).T[:count]


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 2), (5, 5), (3, 8), (8, 3), (40, 40), (270, 275)])
def test_rows_are_those_of_the_definition(build, shape):
    if build[0] == "reference" and shape[0] > 100:
        pytest.skip("minutes in NumPy; its bits are compared in test_golden.py")
    count, length = sorted(shape)
    x = winit.draw(winit.normal(), (count, length), seed=5, name="q", dtype="float64")
    q = winit.draw(winit.orthogonal(), shape, seed=5, name="q", dtype="float64")
    expected = by_definition(x, count, length)
    assert np.abs((q if shape[0] <= shape[1] else q.T) - expected).max() < 1e-12
    single = winit.draw(winit.orthogonal(), shape, seed=5, name="q")
    x = winit.draw(winit.normal(), (count, length), seed=5, name="q").astype(np.float64)
    expected = by_definition(x, count, length)
    assert np.abs((single if shape[0] <= shape[1] else single.T) - expected).max() < 2e-6


def test_batches_take_the_rows_that_follow():
    """The second matrix of a batch is made of normals from row 3 on of the same stream."""
    w = winit.draw(winit.orthogonal(), (2, 5, 3), seed=6, layout=Axes(1, 2, batch=0), dtype="float64")
    x = winit.draw(winit.normal(), (6, 5), seed=6, dtype="float64")
    assert np.abs(w[1].T - by_definition(x[3:], 3, 5)).max() < 1e-13
    w = winit.draw(winit.orthogonal(), (2, 270, 275), seed=6, layout=Axes(2, 1, batch=0), dtype="float64")
    x = winit.draw(winit.normal(), (540, 275), seed=6, dtype="float64")
    for i in (0, 1):
        assert np.abs(w[i] - by_definition(x[270 * i :], 270, 275)).max() < 1e-12


def test_vectors_that_are_zero_or_along_an_axis():
    """A row of zeros, which has no direction, rows along an axis, of either sign, and the shortest there are."""
    for dtype in (np.float32, np.float64):
        for rows in (
            [[0, 0, 0], [0, 0, 0]],
            [[-2, 0, 0], [5, 3, 0]],
            [[0, 0, 1], [0, 0, -1]],
            [[1e-14, 0, 0], [0, 1, 1]],
        ):
            x = np.array(rows, dtype)
            q = householder.orthonormal_rows(lambda lo, hi, x=x: x[lo:hi, lo:].copy(), 2, 3)
            assert q.dtype == dtype and off_identity(q) < 1e-6


# ---- Haar's measure


def angles(q):
    """Angles in (0, pi) of the eigenvalues that are not real."""
    values = np.linalg.eigvals(q)
    return np.angle(values[values.imag > 1e-9])


def z_of(sample, expected):
    return abs(sample.mean() - expected) / (sample.std(ddof=1) / math.sqrt(sample.size))


def ks(sample, cdf):
    """The KS statistic over its critical value at a chance of 1e-9."""
    return stats.kstest(sample, cdf).statistic / math.sqrt(-math.log(1e-9 / 2) / (2 * sample.size))


def on_the_sphere(n):
    """Distribution function of a coordinate of a uniform point on the sphere: its square ~ Beta(1/2, (n - 1)/2)."""
    beta = stats.beta(0.5, (n - 1) / 2)
    return lambda t: 0.5 + 0.5 * np.sign(t) * beta.cdf(np.square(t))


def departures(q):
    """What is wrong with many n x n matrices as a sample of Haar's measure on O(n): the names of the failed checks."""
    count, n, _ = q.shape
    trace, found = np.trace(q, axis1=1, axis2=2), {}
    found["trace"] = z_of(trace, 0) / Z
    found["trace squared"] = z_of(trace**2, 1) / Z
    found["trace of square"] = z_of(np.einsum("kij,kji->k", q, q), 1) / Z
    if n >= 4:
        found["trace^4"] = z_of(trace**4, 3) / Z
    det = np.sign(np.linalg.det(q))
    found["determinant"] = abs(det.mean()) * math.sqrt(count) / Z
    for i, j in {(0, 0), (0, n - 1), (n - 1, 0), (n - 1, n - 1), (n // 2, n // 2)}:
        found[f"element {i}, {j}"] = ks(q[:, i, j], on_the_sphere(n))
    u, v = np.arange(1.0, n + 1), np.cos(np.arange(n))
    turned = np.einsum("i,kij,j->k", u / np.linalg.norm(u), q, v / np.linalg.norm(v))
    found["invariance"] = ks(turned, on_the_sphere(n))
    found["fourth moment"] = z_of((q**4).mean(axis=(1, 2)), 3 / (n * (n + 2))) / Z
    if n == 2:  # SO(2): the angle is uniform
        found["angles"] = ks(np.abs(np.arctan2(q[:, 1, 0], q[:, 0, 0])[det > 0]), lambda a: a / np.pi)
    if n == 3:  # SO(3): density (1 - cos a) / pi of the angle; the reflections' is the same about -1
        turn = np.arccos(np.clip((det * trace - 1) / 2, -1, 1))
        found["angles"] = ks(turn, lambda a: (a - np.sin(a)) / np.pi)
    if n >= 4:  # E sum of cos(2 a) and cos(3 a): traces of powers, 1 for even powers, 0 for odd ones below n
        found["trace of cube"] = z_of(np.trace(np.linalg.matrix_power(q, 3), axis1=1, axis2=2), 0) / Z
        found["trace of cube squared"] = z_of(np.trace(np.linalg.matrix_power(q, 2), axis1=1, axis2=2) ** 2, 3) / Z
    return sorted(name for name, share in found.items() if not share < 1)


def many(n, dtype="float64"):
    return winit.draw(winit.orthogonal(), (N, n, n), seed=31, layout=Axes(2, 1, batch=0), dtype=dtype).astype(
        np.float64
    )


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_haar(n):
    assert departures(many(n)) == []


def test_haar_in_float32():
    assert departures(many(5, "float32")) == []


def test_the_tests_of_haars_measure_find_what_is_not_it():
    x = np.random.default_rng(0).standard_normal((N, 5, 5))
    q, r = np.linalg.qr(x)
    fixed = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    assert departures(fixed) == []
    assert {"trace", "element 0, 0"} <= set(departures(q))  # the signs of LAPACK's R are not those of a rotation
    first = fixed.copy()
    first[:, 0] *= np.sign(np.linalg.det(fixed))[:, None]
    assert departures(first) == ["determinant"]
    x[:, 0, 0] *= 1.2
    q, r = np.linalg.qr(x)
    assert "element 0, 0" in departures(q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :])


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (1, 4)])
def test_parts_of_rotations(shape):
    """A point of the Stiefel manifold: every element as on the sphere, E q^4 = 3 / (n (n + 2)), rows uncorrelated."""
    n = max(shape)
    q = winit.draw(winit.semi_orthogonal(), (N, *shape), seed=32, layout=Axes(2, 1, batch=0), dtype="float64")
    for i in (0, shape[0] - 1):
        for j in (0, shape[1] - 1):
            assert ks(q[:, i, j], on_the_sphere(n)) < 1
    assert z_of((q**4).mean(axis=(1, 2)), 3 / (n * (n + 2))) < Z
    assert z_of(q[:, 0, 0] * q[:, -1, -1], 1 / n if shape == (1, 1) else 0) < Z
    # E q_11^2 q_12^2 = 1 / (n (n + 2)) in a row of n, and (n + 1) / (n (n - 1) (n + 2)) across
    along = q if shape[0] <= shape[1] else q.transpose(0, 2, 1)
    assert z_of(np.square(along[:, 0, 0] * along[:, 0, -1]), 1 / (n * (n + 2))) < Z
    if min(shape) > 1:
        assert z_of(np.square(along[:, 0, 0] * along[:, -1, -1]), (n + 1) / (n * (n - 1) * (n + 2))) < Z


def test_large_matrices_are_rotations_too():
    """Past one block of reflections: elements of a 400 x 400 matrix are nearly normal, its trace is, n = 160,000."""
    q = winit.draw(winit.orthogonal(), (400, 400), seed=33, dtype="float64")
    corners = [q[:256, :256], q[256:, :256], q[:256, 256:], q[256:, 256:]]
    for part in corners:  # E q^4 and its spread: those of independent normals within a share of 1 / n
        z = part.ravel() * 20
        assert abs(z.mean()) * math.sqrt(z.size) < Z
        assert abs((z**4).mean() - 3 * 400 / 402) * math.sqrt(z.size / 96) < Z
        assert ks(z / 20, on_the_sphere(400)) < 1


# ---- convolutions


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 6, 4), (7, 3, 3, 2), (4, 4, 3, 4, 5), (9, 1, 1)])
@pytest.mark.parametrize("layout", ["oi", "io"])
def test_delta_orthogonal(shape, layout):
    jax = pytest.importorskip("jax")
    if layout == "io":
        shape = (*shape[2:], shape[1], shape[0])
    w = winit.draw(winit.delta_orthogonal(), shape, seed=7, layout=layout, dtype="float64")
    channels_last = w if layout == "io" else np.moveaxis(w, (0, 1), (-1, -2))
    theirs = np.asarray(jax.nn.initializers.delta_orthogonal()(jax.random.key(0), channels_last.shape))
    assert ((channels_last != 0) == (theirs != 0)).all()  # the same centre tap
    centre = tuple((size - 1) // 2 for size in channels_last.shape[:-2])
    assert off_identity(channels_last[centre]) < 1e-14
    assert channels_last[centre].shape[0] <= channels_last[centre].shape[1]
    assert (winit.draw(winit.delta_orthogonal(0.5), shape, seed=7, layout=layout, dtype="float64") == w / 2).all()


# ---- what they are made of, to the bit


def nearest(x, kind):
    """A fraction rounded once, ties to even, by comparing exactly."""
    first = kind(float(x))
    candidates = [np.nextafter(first, kind(-np.inf)), first, np.nextafter(first, kind(np.inf))]
    return min(candidates, key=lambda c: (abs(Fraction(float(c)) - x), c.view(f"u{c.itemsize}") & 1))


def exact_chain(a, b, c, add):
    """C = A B by the definition in docs/dense.md, in fractions."""
    kind = c.dtype.type
    out = np.empty_like(c)
    for i, j in np.ndindex(*c.shape):
        total = c[i, j] if add else None
        for start in range(0, a.shape[1], 384):
            block = kind(0)
            for k in range(start, min(start + 384, a.shape[1])):
                block = nearest(Fraction(float(a[i, k])) * Fraction(float(b[k, j])) + Fraction(float(block)), kind)
            total = block if total is None else nearest(Fraction(float(total)) + Fraction(float(block)), kind)
        out[i, j] = total
    return out


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("add", [False, True])
def test_products_are_chains_of_fused_multiply_adds(kind, add):
    generator = np.random.default_rng(1)
    for m, n, k in ((2, 3, 5), (1, 2, 384), (2, 1, 390), (3, 2, 800)):
        a, b, c = (generator.standard_normal(shape).astype(kind) for shape in ((m, k), (k, n), (m, n)))
        expected = exact_chain(a, b, c, add)
        for build in BUILDS:
            with winit.use_engine(*build):
                engine, isa = _kernels.dense_in_use()
                got = c.copy()
                engine.Product(isa, a, b, got, 1, exact=True, add=add).run(1 << 30)
                assert got.tobytes() == expected.tobytes(), build


def test_products_do_not_depend_on_strides_threads_and_instruction_sets():
    from winit._dense.products import multiply

    generator = np.random.default_rng(2)
    a, b, c = (generator.standard_normal(shape).astype(np.float32) for shape in ((300, 420), (420, 350), (300, 350)))
    for add in (False, True):
        results = set()
        for build in BUILDS[:-1] if BUILDS[-1][0] == "reference" else BUILDS:
            with winit.use_engine(*build):
                for threads in (1, 2, 3):
                    for order in ("C", "F"):
                        out = np.array(c, order=order)
                        multiply(np.array(a, order=order), np.asfortranarray(b), out, add=add, threads=threads)
                        results.add(out.tobytes())
        assert len(results) == 1


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_reflectors_and_triangles_of_all_engines(kind):
    generator = np.random.default_rng(3)
    for count, length in ((1, 1), (3, 3), (4, 21), (17, 64), (40, 40)):
        v = generator.standard_normal((count, length)).astype(kind)
        v[0, 0] = -abs(v[0, 0])
        v[count // 2] = 0
        results = []
        for build in BUILDS:
            with winit.use_engine(*build):
                engine, _ = _kernels.dense_in_use()
                own, half, sign = v.copy(), np.empty(count), np.empty(count)
                engine.reflectors(own, half, sign)
                gram = (own.astype(np.float64) @ own.T.astype(np.float64)).astype(kind)
                factor = np.full_like(gram, 9)
                engine.triangle(gram, half, factor, np.empty((count, count)))
                results.append((own.tobytes(), half.tobytes(), sign.tobytes(), factor.tobytes()))
        assert len(set(results)) == 1
        wide = own.astype(np.float64)
        assert np.abs(half - np.square(wide).sum(axis=1) / 2).max() < 1e-6 * max(half)
        upper = np.triu(gram.astype(np.float64), 1) + np.diag(half)
        assert np.abs(-factor @ upper - np.eye(count)).max() < (1e-4 if kind is np.float32 else 1e-11)


# ---- errors


@pytest.mark.parametrize("make", [winit.orthogonal, winit.semi_orthogonal, winit.delta_orthogonal, winit.looks_linear])
def test_gains_that_are_refused(make):
    with pytest.raises(ValueError, match="^gain must not be negative, not -1.0$"):
        make(-1)
    with pytest.raises(TypeError, match="^gain must be a number, not '1'$"):
        make("1")
    with pytest.raises(ValueError, match="^gain must be finite, not nan$"):
        make(math.nan)


@pytest.mark.parametrize(
    ("scheme", "shape", "layout", "match"),
    [
        (winit.orthogonal(), (5,), "oi", "needs a shape of at least two axes"),
        (winit.orthogonal(), (), "oi", "needs a shape of at least two axes"),
        (winit.orthogonal(), (5, 4), Axes(0, 0), "has axes in and axes out, not one that is both, as in Axes"),
        (winit.orthogonal(), (5, 4), Axes(1, 0, groups=2), "groups=2 does not divide the 5 channels along out"),
        (winit.orthogonal(), (4, 6, 5), Axes(2, (0, 1), splits=2), "needs them along one axis, not Axes"),
        (winit.orthogonal(), (4, 6, 5), Axes(0, 1, groups=2, splits=2), "needs them along one axis, not Axes"),
        (
            winit.orthogonal(4e38),
            (4, 5),
            "oi",
            r"orthogonal\(gain=4e\+38\) reaches 4e\+38, beyond the range of float32",
        ),
        (
            winit.delta_orthogonal(),
            (4, 5),
            "oi",
            r"delta_orthogonal fills convolution kernels of 3 to 5 axes, not shape",
        ),
        (winit.delta_orthogonal(), (2, 2, 2, 2, 2, 2), "oi", "of 3 to 5 axes"),
        (
            winit.delta_orthogonal(),
            (4, 5, 3),
            "oi",
            r"at least as many channels out as in, not 4 and 5 \(\(4, 5, 3\)\)",
        ),
        (winit.delta_orthogonal(), (5, 4, 3), "io", "at least as many channels out as in, not 3 and 4"),
        (
            winit.delta_orthogonal(),
            (6, 2, 3),
            Axes(1, 0, groups=2),
            "needs one in and one out axis, no groups and no batch",
        ),
        (
            winit.delta_orthogonal(),
            (6, 2, 3),
            Axes(1, 0, batch=2),
            "needs one in and one out axis, no groups and no batch",
        ),
    ],
)
def test_tensors_that_do_not_fit(scheme, shape, layout, match):
    out = np.full(shape, 7, np.float32)
    for function in (winit.fill, winit.add):
        with pytest.raises(ValueError, match=match):
            function(out, scheme, seed=0, layout=layout)
    assert (out == 7).all()
    with pytest.raises(ValueError, match=match):
        winit.draw(scheme, shape, seed=0, layout=layout)
