"""Triton's kernels in Triton's interpreter, on the CPU: the same bits as the engine of the CPU.

TRITON_INTERPRET=1 pytest tests/test_triton_interpreter.py
"""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":  # read when a kernel is defined
    pytest.skip("needs TRITON_INTERPRET=1 in the environment", allow_module_level=True)

import triton.language as tl  # noqa: E402
from test_accuracy import EDGES32, EDGES53, crossed  # noqa: E402
from triton_cases import CASES, KEYS, LAWS, Case, drawn, on_cpu, on_device  # noqa: E402

import winit  # noqa: E402
import winit.torch  # noqa: E402
from winit import _kernels  # noqa: E402
from winit._core import foreign  # noqa: E402
from winit._kernels import (  # noqa: E402
    DTYPES,
    numpy_points,
    numpy_sampling,
    triton_engine,
    triton_halves,
    triton_points,
    triton_sampling,
)
from winit._kernels.numpy_halves import ROUND  # noqa: E402
from winit._kernels.triton_memory import DeviceArray  # noqa: E402
from winit.torch import building, filling  # noqa: E402

# ---- fills


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS)
def test_the_bits_of_the_cpu(law, dtype, case):
    for adding, key in ((None, KEYS[0]), (-1.7, KEYS[1])):
        expected = drawn(law, dtype, CASES[case], adding, key, on_cpu)
        assert (drawn(law, dtype, CASES[case], adding, key, on_device) == expected).all()


@pytest.mark.parametrize("case", ["odd", "rows", "rows, transposed", "three axes of rows", "points", "one", "a column"])
def test_ranges_are_parts_of_the_whole(case):
    size = int(np.prod(CASES[case].shape))
    rng = np.random.default_rng(3)
    cuts = [0, *sorted(rng.integers(0, size + 1, 4).tolist()), size]
    ranges = list(pairwise(cuts))
    rng.shuffle(ranges)
    for law in ("normal", "truncated"):
        expected = drawn(law, "float32", CASES[case], None, KEYS[0], on_cpu)
        assert (drawn(law, "float32", CASES[case], None, KEYS[0], on_device, ranges=ranges) == expected).all()


@pytest.mark.parametrize("law", LAWS)
def test_a_million_values(law):
    """Over the index at which blocks carry into the second word of the counter."""
    case = Case((1 << 20,), (1,), 2**34 - (1 << 19))
    expected = drawn(law, "float32", case, None, KEYS[0], on_cpu)
    assert (drawn(law, "float32", case, None, KEYS[0], on_device) == expected).all()


@pytest.mark.parametrize("lo", [0, 5, 2**34 - 7, 2**35 + 1, 2**62 + 3, 2**64 - 1000])
def test_words(lo):
    for seed, tag in ((0, 0), (2**64 - 1, 1), (1, 2**32 - 1)):
        out = torch.zeros(1000, dtype=torch.int32)
        triton_engine.words("", winit._core.keys.stream_key(seed, "w"), tag, lo, DeviceArray(out, "uint32"))
        assert (out.numpy().view(np.uint32) == winit._core.drawing.words(seed, "w", lo, lo + 1000, tag)).all()


# ---- point functions at words that no stream may ever have


@triton.jit
def normals(first, second, z0, z1, N: tl.constexpr, WIDE: tl.constexpr):  # noqa: N803
    lane = tl.program_id(0) * N + tl.arange(0, N)
    a, b = tl.load(first + lane), tl.load(second + lane)
    if WIDE:
        one, two = triton_points.normal_pair_f64(a.to(tl.uint64, bitcast=True), b.to(tl.uint64, bitcast=True))
    else:
        one, two = triton_points.normal_pair_f32(a.to(tl.uint32, bitcast=True), b.to(tl.uint32, bitcast=True))
    tl.store(z0 + lane, one)
    tl.store(z1 + lane, two)


def _padded(array, size=1 << 16):
    return np.concatenate([array, np.zeros(-len(array) % size, array.dtype)])


@pytest.mark.parametrize("wide", [False, True])
def test_normals_of_edge_words(wide):
    a, b = crossed(EDGES53[::2] if wide else EDGES32)
    a, b = _padded(a.ravel()), _padded(b.ravel())
    kind = (np.int64, np.float64) if wide else (np.int32, np.float32)
    given = [torch.from_numpy(each.view(kind[0])) for each in (a, b)]
    found = [torch.zeros(len(a), dtype=torch.float64 if wide else torch.float32) for _ in range(2)]
    normals[(len(a) >> 16,)](*given, *found, 1 << 16, wide)
    for mine, theirs in zip(found, numpy_points.normal_pair(a, b), strict=True):
        assert (mine.numpy().view(kind[0]) == theirs.view(kind[0])).all()


@triton.jit
def truncateds(out, base, low, high, below, above, step, threshold, FAR: tl.constexpr, N: tl.constexpr):  # noqa: N803
    lane = tl.program_id(0) * N + tl.arange(0, N)
    n = (base + lane).to(tl.uint32)
    numbers = (tl.full((), low, tl.float32), tl.full((), high, tl.float32), tl.full((), below, tl.float32))
    more = (tl.full((), above, tl.float32), tl.full((), step, tl.float32), threshold.to(tl.uint32))
    tl.store(out + lane, triton_points.truncated_f32(n, *numbers, *more, FAR))


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-11.0, -4.0), (0.5, 9.0)])
def test_all_truncated_integers(low, high):
    numbers = winit._core.laws.TruncatedNormal(0.0, 1.0, low, high).params("float32")[2:]
    size = 1 << 22
    for base in range(0, 1 << 24, size):
        out = torch.zeros(size)
        truncateds[(64,)](out, base, *numbers[:5], int(numbers[5]), bool(numbers[6]), size // 64)
        n = np.arange(base, base + size, dtype=np.uint32)
        single = [np.float32(number) for number in numbers[:5]]
        expected = numpy_points.truncated(n, *single, numbers[5])
        assert (out.numpy().view(np.uint32) == expected.view(np.uint32)).all()


@triton.jit
def roundings(source, words, wide, DTYPE: tl.constexpr, N: tl.constexpr):  # noqa: N803
    lane = tl.program_id(0) * N + tl.arange(0, N)
    word = triton_halves.rounded(tl.load(source + lane), DTYPE, False, False)
    tl.store(words + lane, word.to(tl.int32, bitcast=True))
    tl.store(wide + lane, triton_halves.widened(word, DTYPE))


LOWER = (0, 1, 0x0FFF, 0x1000, 0x1001, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xF000)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_narrow_types_of_any_float(dtype):
    """The upper halves of all words, each with ten lower halves: all exponents, ties and their neighbours, NaN."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    x = np.concatenate([upper | low for low in LOWER]).view(np.float32)
    x = np.where(np.isnan(x), x.view(np.uint32) | 0x400000, x.view(np.uint32)).view(np.float32)  # what sums are: quiet
    words, wide = torch.zeros(len(x), dtype=torch.int32), torch.zeros(len(x))
    with np.errstate(all="ignore"):
        roundings[(len(x) >> 16,)](torch.from_numpy(x), words, wide, DTYPES.index(dtype), 1 << 16)
        to_word, from_word = ROUND[dtype]
        expected = to_word(x)
    assert (words.numpy() == expected.astype(np.int32)).all()
    assert (wide.numpy().view(np.uint32) == from_word(expected).view(np.uint32)).all()


# ---- through the doors: winit.torch, winit.fill, Plan.fill


@pytest.fixture
def cpu_as_device(monkeypatch):
    """Every tensor of the CPU counts as one of a device on which Triton draws; a tensor that is drawn on is counted."""
    made = []

    class Counted(DeviceArray):
        def __init__(self, *given):
            made.append(self)
            super().__init__(*given)

    def array_at(address, shape, strides, word, dtype, owner, stream):
        interface = {"version": 3, "shape": shape, "typestr": word.str, "data": (address, False), "strides": strides}
        lent = type("Lent", (), {"__array_interface__": interface, "owner": owner})()
        return Counted(torch.from_numpy(np.asarray(lent)), dtype)

    monkeypatch.setattr(filling, "needs_staging", lambda tensor: True)
    monkeypatch.setattr(filling, "_fill_small", lambda *given: False)
    monkeypatch.setattr(filling, "draws_on", lambda place: True)
    monkeypatch.setattr(_kernels, "device_engine", lambda: (triton_engine, None))
    monkeypatch.setattr(triton_engine, "DeviceArray", Counted)
    monkeypatch.setattr(triton_engine, "stream_for_dlpack", lambda number: None)
    monkeypatch.setattr(triton_engine, "array_at", array_at)
    monkeypatch.setattr(foreign, "_ON_CPU", ())
    monkeypatch.setattr(foreign, "_ON_DEVICE", (1, 2))
    return made


SCHEMES = [
    winit.he_normal(),
    winit.uniform(-1, 1),
    winit.truncated_normal(),
    winit.ones(),
    winit.embedding(padding=1),
    winit.orthogonal(),
    winit.sparse_columns(0.5),
    winit.identity(),
    winit.literal(np.arange(40.0).reshape(8, 5) / 64),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "float8_e5m2"])
def test_torch_tensors(cpu_as_device, dtype, scheme):
    kind = getattr(torch, dtype)
    for make in (lambda: torch.zeros(8, 5, dtype=kind), lambda: torch.zeros(5, 8, dtype=kind).t()):
        tensor = make()
        before = tensor._version
        winit.torch.fill_(tensor, scheme, seed=3, name="w")
        expected = winit.draw(scheme, (8, 5), seed=3, name="w", dtype=dtype)
        assert tensor.contiguous().view(torch.uint8).numpy().tobytes() == expected.tobytes()
        assert tensor._version > before
        winit.torch.add_(tensor, winit.normal(), seed=4, name="n", scale=0.25)
        winit.add(expected, winit.normal(), seed=4, name="n", scale=0.25)
        assert tensor.contiguous().view(torch.uint8).numpy().tobytes() == expected.tobytes()
    assert len(cpu_as_device) >= 2  # the noise at least was drawn there


def test_projections_of_several_sizes(cpu_as_device):
    layout = winit.Axes(1, 0, splits=(4, 2, 2))
    tensor = torch.zeros(8, 6)
    winit.torch.fill_(tensor, winit.xavier_uniform(), seed=1, name="qkv", layout=layout)
    expected = winit.draw(winit.xavier_uniform(), (8, 6), seed=1, name="qkv", layout=layout)
    assert (tensor.numpy() == expected).all() and cpu_as_device


def test_models(cpu_as_device):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(20, 16, padding_idx=2)
            self.layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Conv1d(4, 8, 3))

    built = winit.torch.build(Net, seed=5)
    assert cpu_as_device
    plan = winit.torch.plan(Net)
    for name, expected in plan.build(seed=5).items():
        assert (built.state_dict()[name].numpy() == expected).all(), name


def test_models_that_are_built_on_a_device(cpu_as_device, monkeypatch):
    """Tensors that have their memory to themselves get it on the device, and are drawn there; others are moved."""
    keep = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(20, 16, padding_idx=2)
            self.head = torch.nn.Linear(16, 20, bias=False)
            self.head.weight = self.embedding.weight
            self.layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Conv1d(4, 8, 3))
            self.turned = torch.nn.Parameter(torch.empty(6, 4).t())
            self.whole = torch.nn.Linear(8, 8)
            self.outside = torch.nn.Linear(4, 4)
            self.register_buffer("noise", torch.randn(5))
            self.register_buffer("position", torch.arange(4.0))
            torch.nn.init.uniform_(self.turned)
            torch.nn.init.orthogonal_(self.whole.weight)
            keep[:] = [self.outside.weight.detach()]

    expected = winit.torch.build(Net, seed=5).state_dict()
    assert (keep[0] == expected["outside.weight"]).all()
    made, moved = [], []
    empty_like = torch.empty_like
    real = torch.nn.Module.to

    def on_device(tensor, device=None):
        made.append(tuple(tensor.shape))
        return empty_like(tensor)

    monkeypatch.setattr(building, "draws_on", lambda device: True)
    monkeypatch.setattr(building.torch, "empty_like", on_device)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: moved.append(device) or real(module, "cpu"))
    model = winit.torch.build(Net, seed=5, device="cuda:0")
    assert moved == [torch.device("cuda", 0)]
    for name, tensor in model.state_dict().items():
        assert (tensor.numpy() == expected[name].numpy()).all(), name
    assert model.head.weight is model.embedding.weight and isinstance(model.turned, torch.nn.Parameter)
    assert model.turned.stride() == (1, 4) and (keep[0] == expected["outside.weight"]).all()
    drawn_there = [(20, 16), (32, 16), (32,), (8, 4, 3), (8,), (4, 6), (8,), (4,), (5,)]
    assert sorted(made) == sorted(drawn_there)  # not: orthogonal, the one that a list keeps, arange


class Lent:
    """An array as CuPy lends it."""

    def __init__(self, array, **changes):
        self.array = array
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": array.strides,
            "stream": None,
        } | changes


def test_arrays_of_other_libraries(cpu_as_device):
    for scheme in SCHEMES[:-1]:
        memory = np.zeros((9, 7), np.float32)
        out = Lent(memory[1:, ::2])
        assert winit.fill(out, scheme, seed=1, name="w") is out
        assert (memory[1:, ::2] == winit.draw(scheme, (8, 4), seed=1, name="w")).all() and not memory[0].any()
    words = np.zeros(100, np.uint16)
    winit.fill(Lent(words), winit.normal(), seed=2, dtype="bfloat16")
    assert (words == winit.draw(winit.normal(), 100, seed=2, dtype="bfloat16").view(np.uint16)).all()
    whole = np.zeros(50, np.float64)
    winit.add(Lent(whole), winit.uniform(), seed=3, scale=2.0, shape=(10, 20), box=range(100, 150))
    expected = np.zeros(50)
    winit.add(expected, winit.uniform(), seed=3, scale=2.0, shape=(10, 20), box=range(100, 150))
    assert (whole == expected).all()
    whole[:] = 0
    winit.add(Lent(whole), winit.sparse_columns(0.5), seed=3, scale=2.0, shape=(10, 20), box=range(100, 150))
    expected[:] = 0
    winit.add(expected, winit.sparse_columns(0.5), seed=3, scale=2.0, shape=(10, 20), box=range(100, 150))
    assert (whole == expected).all() and whole.any()
    empty = Lent(np.zeros((0, 3), np.float32))
    assert winit.fill(empty, winit.normal(), seed=0) is empty


def test_dlpack_on_a_device(cpu_as_device):
    """torch's CPU tensors stand for another library's on a device."""
    tensor = torch.zeros(6, 10, dtype=torch.bfloat16)
    winit.fill(tensor[:, ::2], winit.he_normal(), seed=4, name="w")
    expected = winit.draw(winit.he_normal(), (6, 5), seed=4, name="w", dtype="bfloat16")
    assert (tensor[:, ::2].contiguous().view(torch.int16).numpy() == expected.view(np.int16)).all()
    assert not tensor[:, 1::2].any() and len(cpu_as_device) == 1


def test_plans_fill_arrays_on_devices(cpu_as_device):
    plan = winit.Plan({"a": (6, 4), "b": (4, 4)}, rules=[("a", winit.he_normal()), ("b", winit.orthogonal())])
    memory = {name: np.zeros(param.shape, np.float32) for name, param in plan.items()}
    plan.fill({name: Lent(array) for name, array in memory.items()}, seed=7)
    for name, expected in plan.build(seed=7).items():
        assert (memory[name] == expected).all()


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"data": (0x7000, True)}, ValueError, "out must be writeable, and is read-only"),
        ({"typestr": "<i4"}, TypeError, "draws floating-point values, so out must hold|add needs an out of"),
        ({"typestr": ">f4"}, ValueError, "out must be in native byte order, not '>f4'"),
        ({"typestr": "<c8"}, TypeError, "draws floating-point values, so out must hold|add needs an out of"),
        ({"typestr": "?!"}, ValueError, "out has a __cuda_array_interface__ that winit does not read"),
        ({"data": 3}, ValueError, "out has a __cuda_array_interface__ that winit does not read"),
        ({"strides": (0,)}, ValueError, "out has elements that share memory"),
        ({"strides": (2,)}, ValueError, "out has elements that share memory|torch does not take"),
        ({"typestr": "|S3"}, TypeError, "out must hold boolean, integer, real or complex numbers"),
        ({"mask": 1}, TypeError, "out is masked"),
        ({"shape": (2, 3)}, ValueError, r"out has shape \(2, 3\), expected \(6,\)"),
    ],
)
def test_refused(cpu_as_device, changes, error, match):
    memory = np.full(6, 7, np.float32)
    for function in (winit.fill, winit.add):
        with pytest.raises(error, match=match):
            function(Lent(memory, **({"strides": None} | changes)), winit.normal(), seed=0, shape=(6,))
    assert (memory == 7).all()


def test_launches_that_are_cut(monkeypatch):
    """More programs than a grid has, and more points than an index of 32 bits counts, are several launches."""
    monkeypatch.setattr(triton_sampling, "MOST_PROGRAMS", 3)
    monkeypatch.setattr(triton_sampling, "MOST_POINTS", 50)
    for case in ("rows", "rows of whole blocks", "three axes of rows", "points", "points of five axes", "a column"):
        expected = drawn("normal", "float32", CASES[case], None, KEYS[0], on_cpu)
        assert (drawn("normal", "float32", CASES[case], None, KEYS[0], on_device) == expected).all()


def test_the_oracle_is_another_engine():
    """What this file compares with agrees with NumPy's engine, which shares no code with it."""
    case = CASES["rows"]
    expected = drawn("normal", "float32", case, None, KEYS[0], on_cpu)

    def slow(law, dtype, key, numbers, out, buffer, start, steps, adding):
        return numpy_sampling.Fill("", law, dtype, key, numbers, out, start, steps, adding)

    assert (drawn("normal", "float32", case, None, KEYS[0], slow) == expected).all()


def test_complex_and_integer_arrays(cpu_as_device):
    for dtype in ("complex128", "complex64", "int64", "uint8", "bool"):
        memory = np.zeros((3, 2), dtype)
        winit.fill(Lent(memory), winit.ones(), seed=0)
        assert (memory == np.ones((3, 2), dtype)).all()


def test_torch_tensors_are_asked_themselves():
    """Their protocols know no bfloat16, and a device other than the current one is refused by DLPack."""
    words = torch.zeros(6, 4, dtype=torch.bfloat16)
    array = triton_engine.array_of_tensor(words[:, ::2])
    assert (array.dtype, array.shape, array.steps) == ("bfloat16", (6, 2), (4, 2))
    for tensor, match in (
        (torch.zeros(3, requires_grad=True), "pass out.detach"),
        (torch.zeros(3, dtype=torch.complex64).conj(), "conjugates or negates"),
        (torch.zeros(3).to_sparse(), "not a plain torch.Tensor"),
    ):
        with pytest.raises(ValueError, match=match):
            triton_engine.array_of_tensor(tensor)


def test_tensors_that_wrap_others_are_staged(cpu_as_device, monkeypatch):
    class Wrapped(torch.Tensor):
        pass

    tensor = torch.zeros(8, 5).as_subclass(Wrapped)
    winit.torch.fill_(tensor, winit.he_normal(), seed=1, name="w")
    assert not cpu_as_device
    expected = winit.draw(winit.he_normal(), (8, 5), seed=1, name="w")
    assert (tensor.as_subclass(torch.Tensor).numpy() == expected).all()


def test_a_default_device_is_not_where_host_memory_goes(cpu_as_device):
    with torch.device("meta"):
        memory = np.zeros((6, 6), np.float32)
        winit.fill(Lent(memory), winit.orthogonal(), seed=1)
        assert (memory == winit.draw(winit.orthogonal(), (6, 6), seed=1)).all()
