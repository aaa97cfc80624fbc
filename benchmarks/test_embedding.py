"""What do the engines cost beside each other, and what does each road into other people's code cost a call?"""

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import winit
from conftest import installed

LAWS = {"normal": winit.normal(), "uniform": winit.uniform(), "truncated_normal": winit.truncated_normal()}
CALLS = 1000  # of a compiled loop


def with_times(benchmark, ours, elements, peers):
    """Benchmark a call, and between its rounds time the peers, (call, elements) by name: in seconds an element."""
    times = {name: [] for name in peers}

    def others():
        for name, (call, size) in peers.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) / size)

    benchmark.pedantic(ours, setup=others, rounds=31, warmup_rounds=2, iterations=1)
    medians = {name: statistics.median(each) for name, each in times.items()}
    benchmark.extra_info.update(elements=elements, library="winit", peers=medians)


def engine_fill(name, law, out):
    def fill():
        with winit.use_engine(name):
            winit.fill(out, LAWS[law], seed=0, threads=1)

    fill()  # what is compiled when first used
    return fill


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("law", LAWS)
def test_engines(benchmark, arrays, law, dtype):
    """The compiled engine, and in turn with it the others and NumPy's own generator."""
    words = arrays(dtype)[: 1 << 22]
    out = words
    if words.dtype == np.uint16:
        out = words.view(np.float16 if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    peers = {"winit-numba": (engine_fill("numba", law, out), out.size)} if installed("numba") else {}
    if dtype in ("float32", "float64"):
        part = out[: 1 << 15]
        peers["winit-reference"] = engine_fill("reference", law, part), part.size
        if law != "truncated_normal":
            generator = np.random.default_rng(0)
            draw = generator.standard_normal if law == "normal" else generator.random
            peers["numpy"] = (lambda: draw(out=out, dtype=dtype)), out.size
    benchmark.group = f"{law} {dtype}, one thread, by engine"
    with_times(benchmark, engine_fill("cython", law, out), out.size, peers)


@pytest.fixture(scope="session")
def loops(tmp_path_factory):
    """benchmarks/loops.pyx, built as somebody else's extension would be."""
    pytest.importorskip("Cython")
    place = tmp_path_factory.mktemp("loops")
    source = place / "loops.pyx"
    source.write_text(Path(__file__).with_name("loops.pyx").read_text())
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-q", "-i", "-3", str(source)]
    flags = f"-O3 -ffp-contract=off -I{winit.get_include()}"
    subprocess.run(command, check=True, cwd=place, env={**os.environ, "CFLAGS": flags})
    (library,) = place.glob("loops.*.so")
    spec = importlib.util.spec_from_file_location("loops", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def road(name, loops):
    """A call of a road, and how often it fills 16 elements."""
    out, words, scheme = np.zeros(16, np.float32), np.zeros(16, np.uint16), LAWS["normal"]
    if name == "winit":
        return lambda: winit.fill(out, scheme, seed=0, name="w"), 1
    if name == "winit-add":
        return lambda: winit.add(out, scheme, seed=0, name="w", scale=1e-3), 1
    if name == "winit-numba":

        def fill():
            with winit.use_engine("numba"):
                winit.fill(out, scheme, seed=0, name="w")

        return fill, 1
    if name == "winit-memoryview":
        view = memoryview(out)
        return lambda: winit.fill(view, scheme, seed=0, name="w"), 1
    if name == "winit-words":
        return lambda: winit.fill(words, scheme, seed=0, name="w", dtype="bfloat16"), 1
    if name == "winit-dlpack":
        tensor = pytest.importorskip("torch").zeros(16)
        return lambda: winit.fill(tensor, scheme, seed=0, name="w"), 1
    if name == "winit-generator":
        rng = np.random.Generator(winit.BitGenerator(0, "w"))
        return lambda: rng.standard_normal(out=out, dtype=np.float32), 1
    if name == "numpy":
        rng = np.random.default_rng(0)
        return lambda: rng.standard_normal(out=out, dtype=np.float32), 1
    if name.startswith("winit-jit"):
        numba = pytest.importorskip("numba")
        from winit import jit

        key = jit.key(0, "w")
        if name == "winit-jit":
            return lambda: jit.fill_normal(out, key, 0), 1

        @numba.njit
        def inside(out, key, calls):
            for i in range(calls):
                jit.fill_normal(out, key, 16 * i)

        return lambda: inside(out, key, CALLS), CALLS
    key = winit.stream.key(0, "w")
    if name == "winit-cython":
        return lambda: loops.calls(out, key, CALLS), CALLS
    if name == "winit-header":
        return lambda: loops.header_calls(out, 0, b"w", CALLS), CALLS
    import ctypes

    signature = b"void (uint64_t, uint64_t, uint64_t, float *, double, double)"
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )(winit.stream.__pyx_capi__["fill_normal"], signature)
    kinds = (*[ctypes.c_uint64] * 3, ctypes.c_void_p, *[ctypes.c_double] * 2)
    fill_normal, address = ctypes.CFUNCTYPE(None, *kinds)(pointer), out.ctypes.data
    return lambda: fill_normal(key, 0, 16, address, 0.0, 1.0), 1


ROADS = ("winit-add", "winit-memoryview", "winit-dlpack", "winit-words", "winit-numba", "winit-jit")
ROADS += ("winit-jit-inside", "winit-cython", "winit-header", "winit-ctypes", "winit-generator", "numpy")


def test_roads(benchmark, loops):
    """winit.fill, and in turn with it every other road; loops of many calls."""
    import winit.stream  # noqa: F401

    def loop(name):
        call, calls = road(name, loops)
        repeats = max(1, 200 // calls)

        def run():
            for _ in range(repeats):
                call()

        run()
        return run, repeats * calls

    ours, calls = loop("winit")
    peers = {name: loop(name) for name in ROADS if installed("numba") or not ("numba" in name or "jit" in name)}
    benchmark.group = "normal float32, 16 elements, one call of each road"
    with_times(benchmark, ours, 16, {name: (run, 16 * count) for name, (run, count) in peers.items()})
    benchmark.extra_info.update(calls=calls)
