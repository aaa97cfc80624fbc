"""float8_e4m3fn and float8_e5m2: the float32 value rounded once, to ml_dtypes' bits, on every engine and in every door.

The oracle is ml_dtypes' own conversion, over every value of the types, every point half-way between two, what is next
to these in float32, what is subnormal in float32, beyond the range, infinite or no number.
"""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import winit
from winit._core import dtypes
from winit._files.safetensors_header import CODES
from winit._kernels import numpy_halves

ml_dtypes = pytest.importorskip("ml_dtypes")

KINDS = {name: np.dtype(getattr(ml_dtypes, name)) for name in ("float8_e4m3fn", "float8_e5m2")}
LARGEST = {"float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}
TENSOR = {"seed": 11, "name": "block.0.weight"}
INF = np.float32(np.inf)
each_kind = pytest.mark.parametrize("dtype", KINDS)


def cast(x, dtype):
    """The words of float32 numbers, by ml_dtypes."""
    with np.errstate(all="ignore"):
        return x.astype(KINDS[dtype]).view(np.uint8)


def patterns(dtype):
    """Numbers of float32 about everything that a rounding could get wrong."""
    words = np.arange(256, dtype=np.uint8).view(KINDS[dtype]).astype(np.float32)
    finite = np.unique(words[np.isfinite(words)])
    step = finite[-1] - finite[-2]
    middles = np.concatenate([(finite[1:] + finite[:-1]) / 2, [finite[-1] + step / 2, finite[-1] + step]])
    exact = np.concatenate([finite, middles]).astype(np.float32)
    assert (exact[: finite.size] == finite).all() and np.unique(exact).size == exact.size
    small = np.float32([2.0**-149, 2.0**-140, 2.0**-126, 2.0**-100, 1e30, 3.4e38, 0.0])
    x = np.concatenate([exact, small])
    x = np.concatenate([x, np.nextafter(x, INF), np.nextafter(x, -INF)])
    x = np.concatenate([x, -x, np.float32([np.inf, -np.inf])])
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7FA00000], np.uint32).view(np.float32)
    return np.concatenate([x, nans])


def in_range(x, dtype):
    return x[np.abs(x) <= LARGEST[dtype]]


def short(dtype):
    return {"float8_e4m3fn": "f8e4m3", "float8_e5m2": "f8e5m2"}[dtype]


def of_numba(dtype):
    """The three point functions of Numba over arrays, finite or not."""
    numba = pytest.importorskip("numba")
    from winit._kernels import numba_halves

    def over(point, kind):
        @numba.njit
        def run(x, out):
            for i in range(x.size):
                out[i] = point(x[i])

        def applied(x):
            out = np.empty(x.size, kind)
            run(x, out)
            return out

        return applied

    name = short(dtype)
    points = [getattr(numba_halves, f"{what}_{name}") for what in ("round", "round_finite", "widen")]
    return [over(point, kind) for point, kind in zip(points, (np.uint8, np.uint8, np.float32), strict=True)]


# ---- rounding, where it is written


@each_kind
def test_c_rounds_as_ml_dtypes(points, dtype):
    x, which = patterns(dtype), list(KINDS).index(dtype)
    assert (points.float8(x)[which] == cast(x, dtype)).all()
    x = in_range(x, dtype)
    assert (points.float8(x, finite=True)[which] == cast(x, dtype)).all()


@each_kind
def test_numba_rounds_as_ml_dtypes(dtype):
    every, finite, _ = of_numba(dtype)
    x = patterns(dtype)
    assert (every(x) == cast(x, dtype)).all()
    x = in_range(x, dtype)
    assert (finite(x) == cast(x, dtype)).all()


@each_kind
def test_numpy_rounds_as_ml_dtypes(dtype):
    x = patterns(dtype)
    with np.errstate(all="ignore"):
        assert (numpy_halves.ROUND[dtype][0](x) == cast(x, dtype)).all()


@each_kind
def test_every_word_is_widened_as_by_ml_dtypes(points, dtype):
    words, which = np.arange(256, dtype=np.uint8), list(KINDS).index(dtype)
    expected = words.view(KINDS[dtype]).astype(np.float32).view(np.uint32)
    assert (points.float8_widened(words)[which].view(np.uint32) == expected).all()
    assert (numpy_halves.ROUND[dtype][1](words).view(np.uint32) == expected).all()


@each_kind
def test_numba_widens_every_word(dtype):
    words = np.arange(256, dtype=np.uint8)
    expected = words.view(KINDS[dtype]).astype(np.float32).view(np.uint32)
    assert (of_numba(dtype)[2](words).view(np.uint32) == expected).all()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=100))
@example([0x43E80000, 0x43E80001, 0x47700000, 0x476FFFFF, 0x80000000])
def test_any_bits_of_float32(points, bits):
    x = np.array(bits, np.uint32).view(np.float32)
    for dtype, got in zip(KINDS, points.float8(x), strict=True):
        assert (got == cast(x, dtype)).all()
        with np.errstate(all="ignore"):
            assert (numpy_halves.ROUND[dtype][0](x) == got).all()


def test_what_is_beyond_the_range():
    """A tie with the next number that there would be is the largest one's where that is even, and beyond where not."""
    with np.errstate(all="ignore"):
        for dtype, x, word in [
            *(("float8_e4m3fn", 464.0, 0x7E), ("float8_e4m3fn", 464.001, 0x7F), ("float8_e4m3fn", -np.inf, 0xFF)),
            *(("float8_e5m2", 61439.99, 0x7B), ("float8_e5m2", 61440.0, 0x7C), ("float8_e5m2", -np.inf, 0xFC)),
        ]:
            assert numpy_halves.ROUND[dtype][0](np.float32([x]))[0] == word


@each_kind
def test_rounding_of_one_number_is_that_of_arrays(dtype):
    """winit._core.dtypes rounds in integers, for ends and bounds of laws."""
    x = in_range(patterns(dtype), dtype)
    assert [dtypes.rounded(dtype, float(each)) for each in x] == x.astype(KINDS[dtype]).astype(float).tolist()
    every = np.arange(256, dtype=np.uint8).view(KINDS[dtype]).astype(float)
    every = every[np.isfinite(every)]
    for each in x[x > -LARGEST[dtype]]:
        assert dtypes.below(dtype, float(each)) == every[every < each].max()


# ---- rounding, on every engine


@each_kind
def test_constants(build, dtype):
    """The kernels' own form for finite values, at everything that there is in the range."""
    for x in in_range(patterns(dtype), dtype):
        assert (
            winit.draw(winit.constant(float(x)), 2, seed=0, dtype=dtype).view(np.uint8).tolist()
            == [cast(np.float32([x]), dtype)[0]] * 2
        )


@each_kind
@pytest.mark.parametrize("spread", [1, 3])
def test_sums_with_every_word(build, dtype, spread):
    """Any word, and any number of float32 of patterns, added: one sum in float32, rounded once."""
    words = np.arange(256, dtype=np.uint8)
    store = np.zeros(256 * spread, np.uint8)
    numbers = patterns(dtype)
    for x in numbers[np.isfinite(numbers)][::spread]:
        out = store[::spread]
        out[...] = words
        winit.add(out, winit.constant(1.0), seed=0, scale=float(x), dtype=dtype)
        with np.errstate(all="ignore"):
            expected = cast(words.view(KINDS[dtype]).astype(np.float32) + x, dtype)
        assert (out == expected).all(), x
    assert not store.reshape(256, spread)[:, 1:].any()


LAWS = [
    *(winit.normal(0.1, 2.0), winit.normal(std=1e-3), winit.normal(std=60), winit.normal(std=2.0**-15)),
    *(winit.truncated_normal(0.0, 3.0), winit.truncated_normal(0.0, 1.0, 4.5, 11.0), winit.constant(0.3)),
    *(winit.embedding(0.5, padding=3), winit.uniform(-0.3, 0.7)),
]


@each_kind
@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_values_are_float32_values_rounded_once(build, law, dtype):
    wide = winit.draw(law, (401, 53), **TENSOR)
    narrow = winit.draw(law, (401, 53), **TENSOR, dtype=dtype)
    assert narrow.dtype == KINDS[dtype] and np.isfinite(narrow.astype(np.float32)).all()
    if isinstance(law, winit.uniform):
        wide = np.minimum(wide, np.float32(dtypes.below(dtype, np.float32(0.7))))
    assert (narrow.view(np.uint8) == cast(wide, dtype)).all()


@each_kind
@pytest.mark.parametrize(
    "scheme",
    [
        *(winit.orthogonal(), winit.identity(-0.3), winit.hadamard(), winit.mamba_a_log(), winit.idinit()),
        *(winit.literal(np.arange(600).reshape(20, 30) / 7), winit.looks_linear(), winit.semi_orthogonal(1.5)),
    ],
    ids=repr,
)
def test_whole_tensors_and_formulas_are_rounded_once(build, scheme, dtype):
    wide = winit.draw(scheme, (20, 30), **TENSOR)
    assert (winit.draw(scheme, (20, 30), **TENSOR, dtype=dtype).view(np.uint8) == cast(wide, dtype)).all()
    out = winit.draw(winit.normal(), (20, 30), seed=5, dtype=dtype)
    with np.errstate(all="ignore"):
        expected = cast(out.astype(np.float32) + np.float32(-0.7) * wide, dtype)
    assert (winit.add(out, scheme, **TENSOR, scale=-0.7).view(np.uint8) == expected).all()


@each_kind
@pytest.mark.parametrize(
    ("low", "high"),
    [
        *((-1.0, 1.0), (0.0, 0.3), (-0.3, -0.1), (0.0, 65.0), (-2.0, 0.0), (0.0, 1e-4), (-1e-3, 1e-3), (1.0, 1.01)),
        *((0.0, 448.0), (-448.0, 447.0), (0.3, 0.301)),
    ],
)
def test_uniform_never_reaches_high(build, dtype, low, high):
    wide = winit.draw(winit.uniform(low, high), 50_001, seed=8)
    got = winit.draw(winit.uniform(low, high), 50_001, seed=8, dtype=dtype).astype(np.float64)
    rounded = wide.astype(KINDS[dtype]).astype(np.float64)
    every = np.arange(256, dtype=np.uint8).view(KINDS[dtype]).astype(np.float64)
    below = every[np.isfinite(every) & (every < np.float32(high))].max()
    assert (got == np.where(rounded < np.float32(high), rounded, below)).all()
    assert (got < np.float32(high)).all()


@each_kind
@pytest.mark.parametrize("scheme", [winit.sparse(7, 0.5), winit.sparse_columns(0.5, mean=1.0, std=0.1)], ids=repr)
def test_sparse_connections(build, dtype, scheme):
    wide = winit.draw(scheme, (40, 30), **TENSOR)
    assert (winit.draw(scheme, (40, 30), **TENSOR, dtype=dtype).view(np.uint8) == cast(wide, dtype)).all()
    out = winit.draw(winit.normal(), (40, 30), seed=5, dtype=dtype)
    words = np.where(wide != 0, cast(out.astype(np.float32) + np.float32(3) * wide, dtype), out.view(np.uint8))
    assert (winit.add(out, scheme, **TENSOR, scale=3).view(np.uint8) == words).all()


# ---- what is refused, before anything is written


@pytest.mark.parametrize(
    ("dtype", "scheme", "message"),
    [
        ("float8_e4m3fn", winit.constant(448.1), r"constant\(448.1\) reaches 448.1, beyond the range of .* \(±448\)"),
        ("float8_e5m2", winit.constant(-57345), r"reaches 57345, beyond the range of float8_e5m2 \(±57344\)"),
        ("float8_e4m3fn", winit.uniform(0, 449), r"uniform\(0.0, 449.0\) reaches 449, beyond the range"),
        ("float8_e5m2", winit.uniform(-6e4, 0), r"reaches 60000, beyond the range"),
        ("float8_e4m3fn", winit.normal(std=100), r"normal\(0.0, 100.0\) reaches 677, beyond the range"),
        ("float8_e5m2", winit.normal(std=1e4), r"reaches 67700, beyond the range"),
        ("float8_e4m3fn", winit.truncated_normal(std=300), r"reaches 600, beyond the range"),
        ("float8_e4m3fn", winit.literal([1.0, 449.0]), r"holds values that float8_e4m3fn does not have"),
        ("float8_e4m3fn", winit.orthogonal(500.0), r"reaches 500, beyond the range of float8_e4m3fn"),
        ("float8_e4m3fn", winit.sparse(1, 100.0), r"reaches 677, beyond the range"),
    ],
)
def test_laws_beyond_the_range_are_refused(build, dtype, scheme, message):
    out = np.full((2, 1) if scheme == winit.literal([1.0, 449.0]) else (2, 2), 7, np.uint8)
    out = out.ravel() if isinstance(scheme, winit.literal) else out
    for write in (winit.fill, winit.add):
        if write is winit.add and not isinstance(scheme, (winit.orthogonal, winit.literal)):
            continue  # what is added may be any float32
        with pytest.raises(ValueError, match=message):
            write(out, scheme, seed=0, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        winit.draw(scheme, out.shape, seed=0, dtype=dtype)
    assert (out == 7).all()


def test_laws_at_the_end_of_the_range():
    for dtype, largest in LARGEST.items():
        assert winit.draw(winit.constant(-largest), 1, seed=0, dtype=dtype)[0] == -largest
        x = winit.draw(winit.uniform(-largest, largest), 100_000, seed=0, dtype=dtype).astype(np.float32)
        assert x.min() == -largest and x.max() < largest
        x = winit.draw(winit.normal(std=largest / 6.78), 100_000, seed=0, dtype=dtype).astype(np.float32)
        assert np.isfinite(x).all()


@each_kind
def test_doors_for_wider_types_say_which(dtype):
    with pytest.raises(TypeError, match=f"dtype of a sparse array must be float32 or float64, not {dtype}"):
        winit.draw_sparse(winit.sparse(2), (8, 8), seed=0, dtype=dtype)
    weights = winit.draw(winit.normal(), (4, 3), seed=0, dtype=dtype)
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match=f"must be float32 or float64, not {dtype}"):
        winit.dense_forward(x, weights)
    with pytest.raises(TypeError, match=f"must be float32 or float64, not {dtype}"):
        winit.dense_forward(x.astype(KINDS[dtype]), np.ones((4, 3), np.float32))


def test_float8_types_that_winit_does_not_draw():
    for other in ("float8_e4m3", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"):
        kind = np.dtype(getattr(ml_dtypes, other))
        with pytest.raises(TypeError, match="not float8"):
            winit.draw(winit.ones(), 3, seed=0, dtype=kind)
        with pytest.raises(TypeError, match=f"out must hold .* not {other}"):
            winit.fill(np.zeros(3, kind), winit.ones(), seed=0)


# ---- memory

EIGHT_BITS = {
    "array": lambda: np.zeros((3, 4), np.uint8),
    "strided": lambda: np.zeros((4, 6), np.uint8)[:, ::2].T,
    "void": lambda: np.zeros((3, 4), "V1"),
    "buffer": lambda: memoryview(bytearray(12)).cast("B", (3, 4)),
}


@pytest.mark.parametrize("make", EIGHT_BITS.values(), ids=EIGHT_BITS)
@each_kind
def test_words_of_eight_bits(make, dtype):
    out, seen = make(), None
    seen = np.asarray(out)
    expected = winit.draw(winit.normal(), (3, 4), **TENSOR, dtype=dtype)
    assert winit.fill(out, winit.normal(), **TENSOR, dtype=dtype) is out
    assert seen.tobytes() == expected.tobytes()
    winit.add(out, winit.normal(), seed=2, scale=0.1, dtype=KINDS[dtype])
    assert seen.tobytes() == winit.add(expected, winit.normal(), seed=2, scale=0.1).tobytes()


def test_what_words_stand_for_has_to_be_said():
    with pytest.raises(TypeError, match='dtype="float8_e4m3fn" or "float8_e5m2" says what words of 8 bits stand for'):
        winit.fill(np.zeros(3, "V1"), winit.ones(), seed=0)
    with pytest.raises(ValueError, match="out holds uint8, and dtype is 'float16': only words of 16 bits"):
        winit.fill(np.zeros(3, np.uint8), winit.ones(), seed=0, dtype="float16")


@each_kind
def test_torch_tensors(build, dtype):
    torch = pytest.importorskip("torch")
    expected = winit.draw(winit.normal(), (5, 4), **TENSOR, dtype=dtype)
    out = torch.zeros(4, 5).to(getattr(torch, dtype)).t()
    assert winit.fill(out, winit.normal(), **TENSOR) is out
    assert out.contiguous().view(torch.uint8).numpy().tobytes() == expected.tobytes()
    winit.add(out, winit.normal(), seed=2, scale=0.1)
    winit.add(expected, winit.normal(), seed=2, scale=0.1)
    assert out.contiguous().view(torch.uint8).numpy().tobytes() == expected.tobytes()
    assert (out.float().numpy() == expected.astype(np.float32)).all()  # torch reads the same numbers
    words = torch.zeros(5, 4, dtype=torch.uint8)
    winit.fill(words, winit.normal(), **TENSOR, dtype=getattr(torch, dtype))
    assert words.numpy().tobytes() == winit.draw(winit.normal(), (5, 4), **TENSOR, dtype=dtype).tobytes()


WITHOUT_ML_DTYPES = """
import sys; sys.modules["ml_dtypes"] = None
import numpy as np, winit
words = winit.fill(np.zeros(7, np.uint8), winit.normal(), seed=0, dtype=sys.argv[1])
winit.add(words, winit.normal(), seed=1, scale=0.5, dtype=sys.argv[1])
plan = winit.Plan({"w": winit.Param((5, 3), winit.he_normal(), sys.argv[1])})
plan.write(sys.argv[2], seed=0)
assert winit.checkpoint.verify(sys.argv[2], plan, seed=0).ok
try: winit.draw(winit.normal(), 3, seed=0, dtype=sys.argv[1])
except ImportError as error: print(error)
print(words.tobytes().hex())
"""


@each_kind
def test_without_ml_dtypes(dtype, tmp_path):
    arguments = [sys.executable, "-c", WITHOUT_ML_DTYPES, dtype, str(tmp_path / "m.safetensors")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = winit.add(winit.draw(winit.normal(), 7, seed=0, dtype=dtype), winit.normal(), seed=1, scale=0.5)
    said = f"dtype '{dtype}' needs the package ml_dtypes, which is not installed: pip install ml_dtypes"
    assert done.stdout.splitlines() == [said, expected.tobytes().hex()]


# ---- plans and files


@pytest.fixture
def plan():
    rules = [("*.bias", winit.zeros()), ("*", winit.he_normal())]
    shapes = {"a.weight": (33, 20), "a.bias": (33,), "b.weight": (7, 33)}
    documents = [winit.Plan(shapes, rules=rules).with_dtype(dtype) for dtype in KINDS]
    return winit.Plan({f"{i}.{name}": param for i, each in enumerate(documents) for name, param in each.items()})


def test_plans_as_toml_and_back(plan):
    assert winit.Plan.from_toml(plan.to_toml()) == plan
    assert {param.dtype for param in plan.values()} == set(KINDS)
    assert all(param.nbytes == param.size for param in plan.values())
    short = winit.Plan.from_toml('[tensors]\nw = { shape = [2], scheme = "ones()", dtype = "fp8_e5m2" }\n')
    assert short["w"].dtype == "float8_e5m2"


def test_files_open_with_other_libraries(plan, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    load = pytest.importorskip("safetensors.torch").load_file
    import torch

    path = tmp_path / "m.safetensors"
    plan.write(path, seed=3)
    assert winit.checkpoint.verify(path, plan, seed=3).ok and not winit.checkpoint.verify(path, plan, seed=4).ok
    arrays = plan.build(seed=3)
    for name, tensor in load(path).items():
        assert tensor.dtype == getattr(torch, plan[name].dtype) and tensor.shape == plan[name].shape
        assert tensor.view(torch.uint8).numpy().tobytes() == arrays[name].tobytes()
    with safetensors.safe_open(path, framework="pt") as file:
        codes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert codes == {name: CODES[param.dtype] for name, param in plan.items()}
    assert set(codes.values()) == {"F8_E4M3", "F8_E5M2"}
    again = winit.pretrained(path, plan, seed=9).build()
    assert all(again[name].tobytes() == arrays[name].tobytes() for name in plan)
    wide = winit.pretrained(path, plan.with_dtype("float32"), seed=9, cast=True).build()
    assert all((wide[name] == arrays[name].astype(np.float32)).all() for name in plan)


def test_files_of_other_libraries_are_read(tmp_path):
    save = pytest.importorskip("safetensors.torch").save_file
    import torch

    words = torch.arange(256).to(torch.uint8)
    save({name: words.clone().view(getattr(torch, name)) for name in KINDS}, tmp_path / "f.safetensors")
    plan = winit.Plan({name: winit.Param((256,), winit.zeros(), name) for name in KINDS})
    got = winit.pretrained(tmp_path / "f.safetensors", plan, seed=0).build()
    assert all(got[name].view(np.uint8).tolist() == list(range(256)) for name in KINDS)


@each_kind
def test_every_float32_number_is_cast_as_by_ml_dtypes(tmp_path, dtype):
    save = pytest.importorskip("safetensors.numpy").save_file
    x = patterns(dtype)
    x = x[(cast(x, dtype) & 0x7F < {"float8_e4m3fn": 0x7F, "float8_e5m2": 0x7C}[dtype])]
    save({"w": x}, tmp_path / "f.safetensors")
    plan = winit.Plan({"w": winit.Param(x.shape, winit.zeros(), dtype)})
    got = winit.pretrained(tmp_path / "f.safetensors", plan, seed=0, cast=True).build()["w"]
    assert (got.view(np.uint8) == cast(x, dtype)).all()


def test_an_infinity_that_the_type_has_not_is_not_cast(tmp_path):
    save = pytest.importorskip("safetensors.numpy").save_file
    save({"w": np.float32([1, -np.inf, np.nan])}, tmp_path / "f.safetensors")
    plans = {name: winit.Plan({"w": winit.Param((3,), winit.zeros(), name)}) for name in KINDS}
    with pytest.raises(ValueError, match="w: 'w' of .* has the value inf, beyond the range of float8_e4m3fn"):
        winit.pretrained(tmp_path / "f.safetensors", plans["float8_e4m3fn"], seed=0, cast=True).build()
    got = winit.pretrained(tmp_path / "f.safetensors", plans["float8_e5m2"], seed=0, cast=True).build()["w"]
    assert got.view(np.uint8).tolist() == [0x3C, 0xFC, 0x7E]


def test_shown_by_the_command_line(plan, tmp_path):
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    command = [sys.executable, "-m", "winit", "show", str(tmp_path / "plan.toml"), "--all"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("float8_e4m3fn") == done.stdout.count("float8_e5m2") == 3


def test_widened_networks(tmp_path):
    net = {
        "a": winit.draw(winit.normal(), (4, 3), seed=0, dtype="float8_e5m2"),
        "b": winit.draw(winit.normal(), (2, 4), seed=1, dtype="float8_e4m3fn"),
    }
    wide = winit.net2net.widen(net, 8, copy={"a": 0}, share={"b": 1}, seed=0, choice="cyclic", noise=0.1)
    assert wide["a"].dtype == KINDS["float8_e5m2"] and wide["b"].dtype == KINDS["float8_e4m3fn"]
    assert (wide["b"].astype(np.float32) == np.tile((net["b"].astype(np.float32) / 2), 2)).all()
