"""How fast are large fills, beside every peer that can be installed? Same dtype, same cores.

winit, NumPy and torch fill the same array in place; JAX and mkl_random have no such call and return new arrays. NumPy
and torch draw single-threaded by their design; thread pools are left at their defaults.
"""

import numpy as np
import pytest

import winit
from conftest import THREADS, installed

SCHEMES = {"normal": winit.normal(), "uniform": winit.uniform(), "truncated_normal": winit.truncated_normal()}
ROUNDS = {"rounds": 5, "warmup_rounds": 1, "iterations": 1}


def winit_fill(law, dtype, arrays, threads, isa=None):
    out = arrays(dtype)
    if dtype in ("bfloat16", "float16"):
        out = out.view(np.dtype(dtype) if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    winit.use_engine("cython", isa)
    return lambda: winit.fill(out, SCHEMES[law], seed=0, threads=threads)


def numpy_fill(law, dtype, arrays):
    out, generator = arrays(dtype), np.random.default_rng(0)
    if law == "normal":
        return lambda: generator.standard_normal(out=out, dtype=dtype)
    return lambda: generator.random(out=out, dtype=dtype)


def torch_fill(law, dtype, arrays):
    torch = pytest.importorskip("torch")
    out = torch.from_numpy(arrays(dtype))
    out = out.view(getattr(torch, dtype)) if dtype in ("bfloat16", "float16") else out
    draw = {"normal": out.normal_, "uniform": out.uniform_}
    return draw.get(law, lambda: torch.nn.init.trunc_normal_(out))


def jax_fill(law, dtype, arrays):
    jax = pytest.importorskip("jax")
    if dtype == "float64":
        pytest.skip("JAX draws float64 only in a mode of its own")
    count, key = arrays(dtype).size, jax.random.key(0)
    draw = {
        "normal": lambda: jax.random.normal(key, (count,), dtype),
        "uniform": lambda: jax.random.uniform(key, (count,), dtype),
        "truncated_normal": lambda: jax.random.truncated_normal(key, -2.0, 2.0, (count,), dtype),
    }[law]
    compiled = jax.jit(draw)
    return lambda: compiled().block_until_ready()


def mkl_fill(law, dtype, arrays):
    mkl_random = pytest.importorskip("mkl_random")
    if dtype != "float64" or law == "truncated_normal":
        pytest.skip("mkl_random draws float64 normals and uniforms")
    state, count = mkl_random.MKLRandomState(0, brng="SFMT19937"), arrays(dtype).size
    if law == "uniform":
        return lambda: state.random_sample(count)
    return lambda: state.standard_normal(count, method="ICDF")


PEERS = {"numpy": numpy_fill, "torch": torch_fill, "jax": jax_fill, "mkl_random": mkl_fill}


@pytest.mark.parametrize("library", ["winit", "winit-1-thread", *PEERS])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("law", SCHEMES)
def test_fill(benchmark, law, dtype, library, arrays):
    benchmark.group = f"{law} {dtype}, in place"
    if library.startswith("winit"):
        call = winit_fill(law, dtype, arrays, 1 if library == "winit-1-thread" else THREADS)
    elif library == "numpy" and (law == "truncated_normal" or dtype == "bfloat16"):
        pytest.skip("NumPy has no such law or dtype")
    else:
        if not installed(library):
            pytest.skip(f"{library} is not installed")
        call = PEERS[library](law, dtype, arrays)
    slow = library == "torch" and law == "truncated_normal"
    benchmark.extra_info.update(elements=arrays(dtype).size, library=library)
    benchmark.pedantic(call, **({**ROUNDS, "rounds": 2} if slow else ROUNDS))


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_normal_by_instruction_set(benchmark, isa, arrays):
    benchmark.group = "normal float32, one thread, by instruction set"
    if isa not in winit.engines()["cython"]["instruction_sets"]:
        pytest.skip(f"no {isa} here")
    call = winit_fill("normal", "float32", arrays, 1, isa)
    benchmark.extra_info.update(elements=arrays("float32").size, library=f"winit-{isa}")
    benchmark.pedantic(call, **ROUNDS)
    winit.use_engine("cython")


def test_normal_by_instruction_set_numpy(benchmark, arrays):
    benchmark.group = "normal float32, one thread, by instruction set"
    benchmark.extra_info.update(elements=arrays("float32").size, library="numpy")
    benchmark.pedantic(numpy_fill("normal", "float32", arrays), **ROUNDS)
