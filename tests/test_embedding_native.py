"""winit.stream from compiled code: Cython outside of winit's tree, ctypes, Numba, scipy, threads; what is shipped."""

import contextlib
import ctypes
import doctest
import hashlib
import importlib.util
import math
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import winit
import winit.stream
from winit._core.laws import cut

ROOT = Path(__file__).parents[1]
SOURCES = Path(__file__).parent / "embedding"
LINE = (2**62,)

# The binary interface, as Cython writes it. Compiled code outside of this package was built against it: a function may
# come, but one that changes or goes breaks programs that nobody here can see.
SIGNATURES = {
    "key_of": "uint64_t (uint64_t, char const *, size_t)",
    "word_at": "uint32_t (uint64_t, uint64_t)",
    "uniform_at": "float (uint64_t, uint64_t)",
    "uniform64_at": "double (uint64_t, uint64_t)",
    "normal_at": "float (uint64_t, uint64_t)",
    "normal64_at": "double (uint64_t, uint64_t)",
    "truncated_normal_at": "float (uint64_t, uint64_t, double const *)",
    "truncated_normal64_at": "double (uint64_t, uint64_t, double const *)",
    "words": "void (uint64_t, uint32_t, uint64_t, size_t, uint32_t *)",
    "fill_uniform": "void (uint64_t, uint64_t, uint64_t, float *, double, double)",
    "fill_uniform64": "void (uint64_t, uint64_t, uint64_t, double *, double, double)",
    "fill_normal": "void (uint64_t, uint64_t, uint64_t, float *, double, double)",
    "fill_normal64": "void (uint64_t, uint64_t, uint64_t, double *, double, double)",
    "fill_normal_f16": "void (uint64_t, uint64_t, uint64_t, uint16_t *, double, double)",
    "fill_normal_bf16": "void (uint64_t, uint64_t, uint64_t, uint16_t *, double, double)",
    "fill_normal_f8e4m3": "void (uint64_t, uint64_t, uint64_t, uint8_t *, double, double)",
    "fill_normal_f8e5m2": "void (uint64_t, uint64_t, uint64_t, uint8_t *, double, double)",
    "fill_truncated_normal": "void (uint64_t, uint64_t, uint64_t, float *, double const *, double, double)",
    "fill_truncated_normal64": "void (uint64_t, uint64_t, uint64_t, double *, double const *, double, double)",
}
SUFFIXES = [("", "float32"), ("64", "float64"), ("_f16", "float16"), ("_bf16", "bfloat16")]
SUFFIXES += [("_f8e4m3", "float8_e4m3fn"), ("_f8e5m2", "float8_e5m2")]
KINDS = {"": (4, np.float32), "64": (8, np.float64), "_f16": (2, np.uint16), "_bf16": (2, np.uint16)}
KINDS |= {"_f8e4m3": (1, np.uint8), "_f8e5m2": (1, np.uint8)}  # of what a fill is given
TYPES = {
    "void": None,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


def frozen(name, capsule):
    return str(capsule).split('"')[1] == SIGNATURES.get(name)


def by_address(name):
    """A function of winit.stream through ctypes, prototype and all from the signature of its capsule."""
    capsule, signature = winit.stream.__pyx_capi__[name], SIGNATURES[name]
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    result, arguments = signature.rstrip(")").split(" (")
    kinds = [ctypes.c_void_p if "*" in kind else TYPES[kind] for kind in arguments.split(", ")]
    return ctypes.CFUNCTYPE(TYPES[result], *kinds)(pointer(capsule, signature.encode()))


C = {name: by_address(name) for name, capsule in winit.stream.__pyx_capi__.items() if frozen(name, capsule)}


def draw(scheme, seed, name, lo, count, dtype="float32"):
    return winit.draw(scheme, LINE, seed=seed, name=name, dtype=dtype, box=range(lo, lo + count))


def same(got, expected):
    kind = f"u{expected.dtype.itemsize}"
    return got.dtype.itemsize == expected.dtype.itemsize and (got.view(kind) == expected.view(kind)).all()


def test_the_interface_is_frozen():
    assert {name: str(capsule).split('"')[1] for name, capsule in winit.stream.__pyx_capi__.items()} == SIGNATURES


def test_keys():
    """Every length of name around BLAKE2b's blocks of 128 bytes, against hashlib and against winit.stream.key."""
    rng = np.random.default_rng(0)
    for length in [*range(400), 1000, 4096, 100_001]:
        seed = int(rng.integers(2**64, dtype=np.uint64))
        name = rng.bytes(length)
        data = seed.to_bytes(8, "little") + name
        digest = hashlib.blake2b(data, digest_size=8, person=b"winit-stream-1").digest()
        assert C["key_of"](seed, name, length) == int.from_bytes(digest, "little"), length
    assert C["key_of"](7, None, 0) == winit.stream.key(7)
    name = "naïve.重み.weight"
    assert C["key_of"](2**64 - 1, name.encode(), len(name.encode())) == winit.stream.key(2**64 - 1, name)
    for wrong in (-1, 2**64):
        with pytest.raises(ValueError, match="seed must be in"):
            winit.stream.key(wrong)
    with pytest.raises(TypeError, match="name must be a str"):
        winit.stream.key(0, b"w")


def test_cuts():
    for ends in ((-2.0, 2.0), (-1.0, 3.5), (4.0, 9.0), (0.0, math.inf), (-math.inf, -2.5)):
        for dtype in ("float32", "float64"):
            assert winit.stream.cut(*ends, dtype) == cut(*ends, dtype)
            assert len(cut(*ends, dtype)) == 7 and cut(*ends, dtype)[:2] == ends
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', not 'float16'"):
        winit.stream.cut(dtype="float16")
    with pytest.raises(ValueError, match="low must be less than high, not 2.0 and -2.0"):
        winit.stream.cut(2, -2)
    with pytest.raises(ValueError, match="low must be a number, not nan"):
        winit.stream.cut(float("nan"), 2)


# Ends of uniform laws: around 0, apart by so much that high - low is rounded, and three steps apart, so that one in six
# values would round to the upper one, with steps of each type; cuts with and without far tails.
UNIFORMS = [(0.0, 1.0), (-0.1, 0.3), (-3.0, -1.0), (-1e-40, 3e-39), (-(2.0**30), 2.0**-30)]
STEPS = {
    "float32": [(-3 * 2.0**-149, 0.0), (-1 - 3 * 2**-23, -1.0), (1 - 3 * 2**-24, 1.0)],
    "float64": [(-3 * 2.0**-1074, 0.0), (-1 - 3 * 2**-52, -1.0), (1 - 3 * 2**-53, 1.0)],
}
NORMALS = [(0.0, 1.0), (0.5, 0.02), (-7.0, 1e-3), (0.0, 1e-41), (1.0, 0.0)]
CUTS = [(-2.0, 2.0), (-1.0, 3.5), (2.5, 11.0), (-11.5, -4.0), (0.1, 0.1001), (0.5, math.inf), (-math.inf, -3.0)]
PLACES = st.one_of(
    st.integers(0, 5000),
    st.integers(2**32 - 300, 2**32 + 300),
    st.integers(2**34 - 300, 2**34 + 300),
    st.integers(0, 2**61),
)


@given(
    seed=st.integers(0, 2**64 - 1),
    name=st.text(max_size=8),
    lo=PLACES,
    count=st.integers(0, 300),
    uniform=st.sampled_from(UNIFORMS),
    normal=st.sampled_from(NORMALS),
    cuts=st.sampled_from(CUTS),
    tag=st.sampled_from([0, 1, 2**32 - 1]),
)
@example(0, "w", 2**34 - 130, 260, (-0.1, 0.3), (0.5, 0.02), (-2.0, 2.0), 0)
@example(4, "w", 2**32 + 135_069, 3, (0.0, 1.0), (0.0, 1.0), (-2.0, 2.0), 0)  # a normal that is -0 without its mean
@example(1, "", 3, 9, (-1.0, 0.0), (0.0, 1e-41), (2.5, 11.0), 1)
def test_every_function_is_draw(seed, name, lo, count, uniform, normal, cuts, tag):
    pytest.importorskip("ml_dtypes")
    key, hi = winit.stream.key(seed, name), lo + count

    for suffix, dtype in SUFFIXES:
        size, kind = KINDS[suffix]
        numbers = np.array(cut(*cuts, "float64" if size == 8 else "float32"))
        laws = {
            "uniform": (winit.uniform(*uniform), uniform),
            "normal": (winit.normal(*normal), normal),
            "truncated_normal": (winit.truncated_normal(*normal, *cuts), (numbers.ctypes.data, *normal)),
        }
        standard = {
            "uniform": (winit.uniform(), ()),
            "normal": (winit.normal(), ()),
            "truncated_normal": (winit.truncated_normal(0, 1, *cuts), (numbers.ctypes.data,)),
        }
        for law, (scheme, rest) in laws.items():
            if f"fill_{law}{suffix}" not in C:
                continue
            out = np.full(count + 2, 7, kind)  # a guard on either side
            C[f"fill_{law}{suffix}"](key, lo, hi, out[1:].ctypes.data, *rest)
            assert same(out[1:-1], draw(scheme, seed, name, lo, count, dtype)), (law, dtype)
            assert out[0] == out[-1] == 7
        for law, (scheme, rest) in standard.items():
            if size > 2:
                got = [C[f"{law}{suffix}_at"](key, i, *rest) for i in range(lo, min(hi, lo + 9))]
                assert same(np.array(got, kind), draw(scheme, seed, name, lo, len(got), dtype)), (law, dtype)

    out = np.zeros(count, np.uint32)
    C["words"](key, tag, lo, count, out.ctypes.data)
    assert (out == winit.words(seed, name, lo, hi, tag)).all()
    assert [C["word_at"](key, i) for i in range(lo, min(hi, lo + 9))] == winit.words(
        seed, name, lo, min(hi, lo + 9)
    ).tolist()


@pytest.mark.parametrize(("suffix", "dtype"), [("", "float32"), ("64", "float64")])
@pytest.mark.parametrize("ends", range(3))
def test_uniform_numbers_stay_below_the_end(suffix, dtype, ends):
    out, (low, high) = np.empty(500, dtype), STEPS[dtype][ends]
    C[f"fill_uniform{suffix}"](winit.stream.key(2, "steps"), 1, 501, out.ctypes.data, low, high)
    assert same(out, draw(winit.uniform(low, high), 2, "steps", 1, 500, dtype))
    assert (out < high).all() and (out == np.nextafter(out.dtype.type(high), out.dtype.type(-9))).sum() > 150


@pytest.mark.parametrize("shift", [0, 1, 5])
@pytest.mark.parametrize(("suffix", "dtype"), [*SUFFIXES[:2], *SUFFIXES[3:5]])
def test_large_fills_go_past_the_cache(suffix, dtype, shift):
    """4 MiB and more, at aligned and unaligned places; nothing before or after is touched."""
    pytest.importorskip("ml_dtypes")
    size, kind = KINDS[suffix]
    count = (1 << 22) // size + 1001
    out = np.zeros(count + 16, kind)
    C[f"fill_normal{suffix}"](
        winit.stream.key(3, "big"), 2**33 + 1, 2**33 + 1 + count, out[shift:].ctypes.data, 0.0, 1.0
    )
    assert same(out[shift : shift + count], draw(winit.normal(), 3, "big", 2**33 + 1, count, dtype))
    assert not out[:shift].any() and not out[shift + count :].any()


def test_empty_and_reversed_ranges_write_nothing():
    out = np.full(4, 7, np.float32)
    for lo, hi in ((5, 5), (5, 4), (2**63, 0)):
        C["fill_normal"](1, lo, hi, out.ctypes.data, 0.0, 1.0)
    C["words"](1, 0, 3, 0, out.ctypes.data)
    assert (out == 7).all()


@contextlib.contextmanager
def rounding(mode):
    library = ctypes.CDLL(None)
    before = library.fegetround()
    assert library.fesetround(mode) == 0
    try:
        yield
    finally:
        library.fesetround(before)


MODES = {"x86_64": (0x400, 0x800, 0xC00), "aarch64": (0x400000, 0x800000, 0xC00000)}


@pytest.mark.skipif(sys.platform != "linux", reason="modes by glibc's numbers")
@pytest.mark.parametrize("way", range(3))
def test_fills_keep_out_of_the_callers_rounding(way):
    numbers = {"float32": np.array(cut()), "float64": np.array(cut(dtype="float64"))}
    for suffix, dtype in (("", "float32"), ("64", "float64")):
        out = np.empty((3, 1000), dtype)
        ends = -0.1, 0.3 + 2.0**30  # their difference is rounded
        with rounding(MODES[platform.machine()][way]):
            C[f"fill_uniform{suffix}"](5, 1, 1001, out[0].ctypes.data, *ends)
            C[f"fill_normal{suffix}"](5, 1, 1001, out[1].ctypes.data, 0.1, 0.3)
            C[f"fill_truncated_normal{suffix}"](5, 1, 1001, out[2].ctypes.data, numbers[dtype].ctypes.data, 0.1, 0.3)
        again = np.empty_like(out)
        C[f"fill_uniform{suffix}"](5, 1, 1001, again[0].ctypes.data, *ends)
        C[f"fill_normal{suffix}"](5, 1, 1001, again[1].ctypes.data, 0.1, 0.3)
        C[f"fill_truncated_normal{suffix}"](5, 1, 1001, again[2].ctypes.data, numbers[dtype].ctypes.data, 0.1, 0.3)
        assert same(out, again)


def test_threads_at_once():
    n, parts = 300_007, 64
    key, out = winit.stream.key(9, "threads"), np.zeros(300_007, np.float32)
    ends = np.linspace(0, n, parts + 1).astype(int).tolist()

    def fill(part):
        lo, hi = ends[part : part + 2]
        C["fill_normal"](key, lo, hi, out[lo:].ctypes.data, 0.0, 1.0)  # ctypes lets go of the GIL

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(parts)))
    assert same(out, draw(winit.normal(), 9, "threads", 0, n))


def test_doctests_of_the_extension():
    results = doctest.testmod(winit.stream, optionflags=doctest.ELLIPSIS)
    assert results.attempted >= 6 and results.failed == 0


# ---- Numba


def test_numba_calls_it_by_address():
    """Plain numbers and pointers: get_cython_function_address, a ctypes prototype, and a call from nopython code."""
    numba = pytest.importorskip("numba")
    from numba.extending import get_cython_function_address

    u64, f64 = ctypes.c_uint64, ctypes.c_double
    normal_at = ctypes.CFUNCTYPE(ctypes.c_float, u64, u64)(get_cython_function_address("winit.stream", "normal_at"))
    fill = ctypes.CFUNCTYPE(None, u64, u64, u64, ctypes.c_void_p, f64, f64)(
        get_cython_function_address("winit.stream", "fill_normal")
    )

    @numba.njit(nogil=True)
    def both(key, lo, by_element, by_range):
        for i in range(by_element.size):
            by_element[i] = normal_at(key, lo + np.uint64(i))
        fill(key, lo, lo + np.uint64(by_range.size), by_range.ctypes.data, 0.0, 1.0)

    a, b = np.zeros(1003, np.float32), np.zeros(1003, np.float32)
    key, lo = np.uint64(winit.stream.key(11, "numba")), np.uint64(2**32 + 5)
    both(key, lo, a, b)
    expected = draw(winit.normal(), 11, "numba", 2**32 + 5, 1003)
    assert same(a, expected) and same(b, expected)


# ---- Cython outside of the tree


def python(*arguments, cwd, path, **environment):
    """Run python with `path` before what is installed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(directory, path):
    """Build the extensions of tests/embedding in a directory of their own, against the winit on `path`."""
    pytest.importorskip("Cython")
    for source in ("setup.py", "embedder.pyx", "embedder.pxd", "header.pyx"):
        shutil.copy(SOURCES / source, directory)
    python("setup.py", "-q", "build_ext", "--inplace", cwd=directory, path=path)
    return directory


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("embedder"), Path(winit.__file__).parents[1])


def load(directory, name):
    (library,) = directory.glob(f"{name}.*.so")
    spec = importlib.util.spec_from_file_location(name, library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def embedder(built):
    return load(built, "embedder")


@given(
    seed=st.integers(0, 2**64 - 1),
    name=st.text(max_size=8),
    lo=PLACES,
    count=st.integers(1, 300),
    cuts=st.sampled_from(CUTS),
)
def test_cython_code_elsewhere(embedder, seed, name, lo, count, cuts):
    key = embedder.key_from(seed, name.encode())
    assert key == winit.stream.key(seed, name)
    numbers = [np.array(cut(*cuts, dtype)) for dtype in ("float32", "float64")]
    standard = [winit.uniform(), winit.normal(), winit.truncated_normal(0, 1, *cuts)]
    laws = [winit.uniform(-0.1, 0.3), winit.normal(0.5, 0.02), winit.truncated_normal(0.5, 0.02, *cuts)]
    for function, schemes in ((embedder.elements, standard), (embedder.fills, laws)):
        words = np.zeros(count, np.uint32)
        single, double = ([np.zeros(count, kind) for _ in range(3)] for kind in (np.float32, np.float64))
        half, byte = ([np.zeros(count, kind) for _ in range(2)] for kind in (np.uint16, np.uint8))
        function(key, lo, *numbers, words, single, double, *([half, byte] if function is embedder.fills else []))
        assert (words == winit.words(seed, name, lo, lo + count)).all()
        for scheme, narrow, wide in zip(schemes, single, double, strict=True):
            assert same(narrow, draw(scheme, seed, name, lo, count))
            assert same(wide, draw(scheme, seed, name, lo, count, "float64"))
    for got, (_, dtype) in zip((*half, *byte), SUFFIXES[2:], strict=True):
        assert same(got, draw(laws[1], seed, name, lo, count, dtype))


def test_prange(embedder):
    n = 200_003
    expected = draw(winit.normal(), 4, "w", 2**32 - 50_000, n)
    for part, threads in ((1, 4), (777, 8), (n, 2)):
        a, b = np.zeros(n, np.float32), np.zeros(n, np.float32)
        embedder.in_parallel(winit.stream.key(4, "w"), 2**32 - 50_000, a, b, part, threads)
        assert same(a, expected) and same(b, expected)


def test_scipy_calls_code_that_calls_it(embedder):
    integrate = pytest.importorskip("scipy.integrate")
    from scipy import LowLevelCallable

    noisy = LowLevelCallable.from_cython(embedder, "noisy")
    assert LowLevelCallable.from_cython(winit.stream, "normal64_at").signature == SIGNATURES["normal64_at"]

    def slow(x, key):
        return x + C["normal64_at"](int(key), int(x * 1024.0))

    got, expected = (integrate.quad(f, 0.0, 1.0, args=(5.0,), limit=3, full_output=1)[:2] for f in (noisy, slow))
    assert got == expected and got[1] > 1e-3  # noise indeed


def test_cython_code_on_the_header_alone(built):
    header = load(built, "header")
    assert header.check() == 0
    out = np.empty(1000, np.float32)
    header.normals(6, "重み".encode(), 2**33 + 3, out, 0.5, 0.02)
    assert same(out, draw(winit.normal(0.5, 0.02), 6, "重み", 2**33 + 3, 1000))


# ---- what is shipped

SHIPPED = {
    *("stream.pxd", "stream.pyi", "stream.py", "include/winit.h", "py.typed"),
    *(f"include/winit/{name}" for name in ("key.h", "philox.h", "approx.h", "coefficients.h")),
    *("_kernels/gemm.h", "_kernels/sample.pxd"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """An sdist, unpacked: what others build wheels of."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not a checkout")
    copy, to = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("sdist")
    for name in (
        "pyproject.toml",
        "setup.py",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    ):
        shutil.copy(ROOT / name, copy)
    generated = ("*.so", "__pycache__", "*.egg-info", "sample.c", "dense.c", "bitgen.c", "stream.c")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns(*generated))
    code = "import sys; from setuptools import build_meta as b; b.build_sdist(sys.argv[1])"
    python("-c", code, to, cwd=copy, path="")
    (file,) = to.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        archive.extractall(to, filter="data")
    return to / file.name.removesuffix(".tar.gz")


def wheel(sources, to, **environment):
    """Build a wheel without a network and unpack it."""
    code = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"
    python("-c", code, to, cwd=sources, path="", **environment)
    (file,) = to.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(to / "site")
        return to / "site", set(archive.namelist())


@pytest.mark.slow
def test_a_wheel_is_enough_to_build_against(sources, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    site, names = wheel(sources, tmp_path, WINIT_DEBUG="1")  # without optimisation: a third of the time
    assert {f"winit/{name}" for name in SHIPPED} <= names
    assert any(name.startswith("winit/stream.") and name.endswith(".so") for name in names)
    directory = build(tmp_path / "elsewhere", site)
    code = """
import embedder, header, numpy as np, winit
print(winit.__file__)
out, again = np.empty(1000, np.float32), np.empty(1000, np.float32)
embedder.in_parallel(embedder.key_from(1, b"w"), 7, out, again, 100, 2)
header.normals(1, b"w", 7, again, 0.0, 1.0)
print((out == again).all(), (out == winit.draw(winit.normal(), 1007, seed=1, name="w")[7:]).all(), header.check())
"""
    file, verdict = python("-c", code, cwd=directory, path=site).splitlines()
    assert Path(file).is_relative_to(site) and verdict == "True True 0"


def test_without_extensions_there_is_no_stream_but_the_header(sources, tmp_path):
    site, names = wheel(sources, tmp_path, WINIT_NO_EXTENSIONS="1")
    assert {f"winit/{name}" for name in SHIPPED} <= names and not any(name.endswith(".so") for name in names)
    code = """
import os, winit
print(sorted(os.listdir(winit.get_include())), float(winit.draw(winit.normal(), 1, seed=0)[0]))
try:
    import winit.stream
except ImportError as error:
    print("refused:", error)
"""
    header, message = python("-c", code, cwd=tmp_path, path=site).splitlines()
    assert header == f"['winit', 'winit.h'] {float(winit.draw(winit.normal(), 1, seed=0)[0])}"
    assert message.startswith("refused: winit.stream is compiled code") and "WINIT_NO_EXTENSIONS=1" in message
