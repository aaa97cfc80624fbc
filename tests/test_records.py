"""Every record of tests/records.py: its moments, the law to the bit, add, reprs, plans, files and the command line."""

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from records import CASES, DTYPES, RECORDS
from scipy import stats

import winit
from conftest import BUILDS
from winit import Param, Plan, cli, schemes
from winit._core import laws
from winit.checkpoint import verify

SEED = {"seed": 11, "name": "block.0.weight"}
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
cases = st.sampled_from(CASES)
dtypes = st.sampled_from(DTYPES)
builds = st.sampled_from(BUILDS)


def named(label):
    return next(case for case in CASES if case.name == label)


def raw(array):
    return array.tobytes()


# ---- statistics
#
# A record is drawn REPEATS times under names of their own, and a statistic of each draw (the mean of its elements, or
# of a power of them) is averaged: z = (average - expected) / its standard error, about normal. |z| > Z has a chance of
# 6e-10, and there are fewer than 1600 such checks: a correct sampler fails any of them with a chance below 1e-6.

REPEATS, Z = 300, 6.2


def drawn(case, dtype="float64"):
    """REPEATS draws as rows, in float64."""
    rows = [case.draw(seed=77, name=f"draw {i}", dtype=dtype).ravel().astype(np.float64) for i in range(REPEATS)]
    return np.stack(rows)


def averages_to(rows, expected, what, slack=1e-9):
    """Each row's mean averages to what is expected; to `slack` of it where rows do not vary."""
    each = rows.mean(axis=1)
    error = Z * each.std(ddof=1) / math.sqrt(REPEATS) + slack * max(abs(expected), np.abs(rows).max())
    assert abs(each.mean() - expected) <= error, f"{what}: {each.mean()!r}, not {expected!r} +- {error!r}"


def kurtosis_and_skewness(law):
    """Of the laws of independent elements, from scipy."""
    if isinstance(law, laws.Uniform):
        return 1.8, 0.0
    if isinstance(law, laws.Normal):
        return 3.0, 0.0
    skewness, excess = stats.truncnorm.stats(law.low, law.high, moments="sk")
    return 3 + float(excess), float(skewness)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_case
def test_samples_have_the_moments(case, dtype):
    mean, std, low, high = case.moments()
    x = drawn(case, dtype)
    slack = 1e-6 if dtype == "float32" else 1e-12
    reach = max(abs(low), abs(high))
    assert low - slack * reach <= x.min() if math.isfinite(low) else std > 0
    assert x.max() <= high + slack * reach if math.isfinite(high) else std > 0
    averages_to(x, mean, "mean", slack)
    if std == 0:
        assert np.abs(x - mean).max() <= slack * abs(mean)
    else:
        averages_to(np.square(x - mean), std * std, "variance", slack)
    if std and (x != x[0]).any():
        z = (x - mean) / std
        law = case.scheme.law(case.shape, case.layout)
        if isinstance(law, (laws.Uniform, laws.Normal, laws.TruncatedNormal)) and max(abs(low), abs(high)) > 0:
            narrow = isinstance(law, laws.TruncatedNormal) and law.low > 2  # scipy's own moments lose digits there
            kurtosis, skewness = kurtosis_and_skewness(law)
            averages_to(z**3, skewness, "skewness", 1e-3 if narrow else 1e-6)
            averages_to(z**4, kurtosis, "kurtosis", 1e-3 if narrow else 1e-6)


@every_case
def test_laws_of_independent_elements(case):
    """Kolmogorov-Smirnov over all draws: n up to 43,200, chance 1e-9 for each of fewer than 100 checks."""
    if isinstance(case.scheme, winit.literal):
        return
    law = case.scheme.law(case.shape, case.layout)
    match law:
        case laws.Uniform():
            cdf = stats.uniform(law.low, law.high - law.low).cdf
        case laws.Normal():
            cdf = stats.norm(law.mean, law.std).cdf
        case laws.TruncatedNormal():
            cdf = stats.truncnorm(law.low, law.high, law.mean, law.std).cdf
        case laws.Padded() | laws.Sparse():
            cdf = stats.norm(getattr(law, "mean", 0.0), law.std if isinstance(law, laws.Sparse) else law.inner.std).cdf
        case _:
            return
    x = drawn(case).ravel()
    x = x[x != 0]
    if x.size:
        assert stats.kstest(x, cdf).statistic < math.sqrt(-math.log(1e-9 / 2) / (2 * x.size))


# ---- the law


@every_case
def test_pieces_make_the_whole(case):
    """fill[a, b) and fill[b, c) are fill[a, c): the same bits on every build, from one piece or three."""
    size = math.prod(case.shape)
    cuts = [0, size // 3, size // 3 + 1, size] if size > 1 else [0, size]
    for dtype in DTYPES:
        with winit.use_engine("reference"):
            whole = raw(case.draw(dtype=dtype))
        for build in BUILDS:
            with winit.use_engine(*build):
                pieces = [case.draw(dtype=dtype, box=range(lo, hi)) for lo, hi in pairwise(cuts)]
            assert b"".join(map(raw, pieces)) == whole, (build, dtype)


@given(cases, dtypes, builds, st.data())
@example(named("embedding padding"), "float32", BUILDS[0], None)
@example(named("sparse 5x6x7 Axes(in_=(0, 2), out=1)"), "bfloat16", BUILDS[0], None)
def test_any_box_into_any_strides(case, dtype, build, data):
    integer = (lambda lo, hi: (lo + hi) // 2) if data is None else (lambda lo, hi: data.draw(st.integers(lo, hi)))
    box, steps = [], []
    for size in case.shape:
        lo = integer(0, size)
        box.append(slice(lo, integer(lo, size)))
        steps.append((1, 2, 3, -1, -2)[integer(0, 4)])
    with winit.use_engine(*build):
        whole = case.draw(dtype=dtype)
        part = whole[tuple(box)]
        assert raw(case.draw(dtype=dtype, box=tuple(box))) == raw(part)
        lo = integer(0, whole.size)
        run = range(lo, integer(lo, whole.size))
        assert raw(case.draw(dtype=dtype, box=run)) == raw(whole.ravel()[run.start : run.stop])
        axes = list(range(part.ndim)) if data is None else data.draw(st.permutations(range(part.ndim)))
        store = np.full([part.shape[a] * abs(steps[a]) + 1 for a in axes], 12, whole.dtype)
        out = store[(*(slice(None, part.shape[a] * abs(steps[a]), abs(steps[a])) for a in axes), ...)]
        out = out[(*(slice(None, None, -1 if steps[a] < 0 else 1) for a in axes), ...)].transpose(np.argsort(axes))
        keywords = {"seed": 2026, "name": "golden", "shape": case.shape, "layout": case.layout, "box": tuple(box)}
        assert winit.fill(out, case.scheme, **keywords) is out
        assert raw(np.ascontiguousarray(out)) == raw(np.ascontiguousarray(part))
        assert (store.astype(float) == 12).sum() >= store.size - out.size  # nothing but the view was written


@every_case
def test_add_is_fill_plus_add(case):
    size = math.prod(case.shape)
    for dtype in DTYPES:
        wide = np.float64 if dtype == "float64" else np.float32
        for build, lo, hi, scale in [
            *((build, 0, size, -1.7) for build in BUILDS),
            (BUILDS[0], size // 7, size - 1, 3),
        ]:
            if lo > hi:
                continue
            keywords = {"shape": case.shape, "layout": case.layout, "box": range(lo, hi)}
            before = winit.draw(winit.normal(std=3.0), hi - lo, seed=1, dtype=dtype)
            value = winit.draw(case.scheme, **SEED, **keywords, dtype=np.dtype(wide).name)
            out = np.repeat(before, 2)[::2]
            with winit.use_engine(*build):
                winit.add(out, case.scheme, **SEED, **keywords, scale=scale)
            expected = (before.astype(wide) + wide(scale) * value).astype(before.dtype)
            assert raw(np.ascontiguousarray(out)) == raw(expected)


@every_case
def test_narrow_types_are_float32_rounded_once(case):
    single = case.draw()
    for dtype in DTYPES[2:]:
        half = case.draw(dtype=dtype)
        once = single.astype(half.dtype)
        law = None if isinstance(case.scheme, winit.literal) else case.scheme.law(case.shape, case.layout)
        if isinstance(law, laws.Uniform):  # what rounding carries to high is held below it
            assert (half.astype(float) < law.high).all()
            same = once.astype(float) < np.float32(law.high)
            assert raw(half[same]) == raw(once[same])
        else:
            assert raw(half) == raw(once)


LARGE = [
    (winit.embedding(padding=700), (1500, 500), "oi"),
    (winit.sparse(7), (3000, 400), "oi"),
    (winit.sparse(90), (400, 3000), "io"),
    (winit.sparse_columns(0.95), (900, 1300), "oi"),
    (winit.orthogonal(), (500, 420), "oi"),
    (winit.delta_orthogonal(), (400, 300, 3), "oi"),
    (winit.looks_linear(), (600, 600), "oi"),
    (winit.mamba_dt_bias(), (600_000,), "oi"),
    (winit.idinit(), (800, 900), "oi"),
]


@pytest.mark.parametrize(("scheme", "shape", "layout"), LARGE, ids=[repr(row[0]) for row in LARGE])
def test_threads_and_instruction_sets_do_not_matter(scheme, shape, layout):
    """Above the size at which threads start; the engines without a compiler are compared on the records."""
    keywords = {"seed": 5, "name": "large", "layout": layout}
    size = math.prod(shape)
    one = winit.draw(scheme, shape, **keywords, threads=1)
    noisy = winit.add(np.ones(shape, np.float32), scheme, **keywords, scale=0.5, threads=1)
    for isa in winit.engines()["cython"]["instruction_sets"]:
        with winit.use_engine("cython", isa):
            for threads in (1, 2, 3, 4):
                assert raw(winit.draw(scheme, shape, **keywords, threads=threads)) == raw(one)
            box = range(size // 5, size)
            assert raw(winit.draw(scheme, shape, **keywords, threads=3, box=box)) == raw(one.ravel()[size // 5 :])
            again = winit.add(np.ones(shape, np.float32), scheme, **keywords, scale=0.5, threads=3)
            assert raw(again) == raw(noisy)
            with_fortran = winit.fill(np.full(shape, 9, np.float32, order="F"), scheme, **keywords, threads=4)
            assert (with_fortran == one).all()


# ---- values, plans and files


@pytest.mark.parametrize("scheme", [record[1] for record in RECORDS], ids=[record[0] for record in RECORDS])
def test_schemes_are_values(scheme):
    names = {**{name: getattr(winit, name) for name in schemes.named()}, "Axes": winit.Axes}
    for copied in (eval(repr(scheme), names), pickle.loads(pickle.dumps(scheme))):
        assert copied == scheme and hash(copied) == hash(scheme) and repr(copied) == repr(scheme)
    assert [other for other in RECORDS if other[1] == scheme] == [other for other in RECORDS if other[1] is scheme]
    with pytest.raises(AttributeError, match="frozen"):
        scheme.other = 1


def every_record(dtype):
    return Plan({case.name: Param(case.shape, case.scheme, dtype, case.layout) for case in CASES})


@pytest.mark.parametrize("dtype", DTYPES)
def test_plans_of_all_records(dtype, tmp_path):
    plan = every_record(dtype)
    again = Plan.from_toml(plan.to_toml())
    assert dict(again) == dict(plan) and again.digest == plan.digest
    path = tmp_path / "all.safetensors"
    plan.write(path, seed=2026)
    assert verify(path, plan, seed=2026).ok
    assert not verify(path, plan, seed=2027).ok
    built = plan.build(seed=2026)
    for case in CASES:
        assert raw(built[case.name]) == raw(case.draw(name=case.name, dtype=dtype)), case.name


def test_show_prints_all_records(tmp_path, capsys):
    path = tmp_path / "all.toml"
    path.write_text(every_record("float32").to_toml())
    assert cli.main(["show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CASES) + 3
    for case, line in zip(CASES, lines[1:], strict=False):
        assert line.startswith(case.name) and repr(case.scheme)[:60] in line  # long ones are cut
        assert f"{case.moments().std:.6g}" in line.split()


SPANNING = Plan(
    {
        "orthogonal": Param((1030, 1100), winit.orthogonal(), "float32"),
        "sparse.oi": Param((2000, 1100), winit.sparse(50), "float16"),
        "sparse.io": Param((2100, 1001), winit.sparse(20), "bfloat16", "io"),
        "table": Param((1100, 1000), winit.embedding(padding=1040), "float32"),
        "hadamard": Param((1100, 1001), winit.hadamard(), "float32"),
        "a_log": Param((300, 2000), winit.mamba_a_log(), "float64"),
    }
)


@pytest.mark.parametrize("threads", [1, 3])
def test_files_of_tensors_of_several_spans(tmp_path, threads, monkeypatch):
    """A span is 4 MiB: tensors that are made at once, and units that lie across, come out as in memory."""
    assert all(param.nbytes > 4 << 20 for param in SPANNING.values())
    pytest.importorskip("ml_dtypes")  # without it imported, NumPy does not know the name bfloat16
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "large.safetensors"
    SPANNING.write(path, seed=9, threads=threads)
    assert verify(path, SPANNING, seed=9, threads=threads).ok
    stored = safetensors.load_file(path)
    for name, built in SPANNING.build(seed=9).items():
        assert raw(stored[name]) == raw(built), name
    made = []
    values = winit.orthogonal.values
    monkeypatch.setattr(winit.orthogonal, "values", lambda *given: made.append(1) or values(*given))
    assert verify(path, SPANNING, seed=9, threads=threads).ok and len(made) == 1  # once for all spans
    with path.open("r+b") as file:  # one bit of the second span of the orthogonal matrix
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    found = verify(path, SPANNING, seed=9)
    assert not found.ok and len(found.differ) == 1
