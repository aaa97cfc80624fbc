"""What does one call cost when there is next to nothing to fill?"""

import subprocess
import sys

import numpy as np
import pytest

import winit


@pytest.mark.parametrize("library", ["winit", "torch"])
def test_small_he_normal(benchmark, library):
    benchmark.group = "he_normal float32 16x16, in place"
    benchmark.extra_info.update(elements=256, library=library)
    if library == "winit":
        out, scheme = np.zeros((16, 16), np.float32), winit.he_normal()
        benchmark(lambda: winit.fill(out, scheme, seed=0, name="h.0.attn.c_attn.weight"))
    else:
        torch = pytest.importorskip("torch")
        tensor = torch.zeros(16, 16)
        benchmark(lambda: torch.nn.init.kaiming_normal_(tensor))


@pytest.mark.parametrize("library", ["winit", "numpy"])
def test_small_normal(benchmark, library):
    benchmark.group = "normal float32 16 elements, in place"
    benchmark.extra_info.update(elements=16, library=library)
    out, scheme, generator = np.zeros(16, np.float32), winit.normal(), np.random.default_rng(0)
    if library == "winit":
        benchmark(lambda: winit.fill(out, scheme, seed=0, name="w"))
    else:
        benchmark(lambda: generator.standard_normal(out=out, dtype=np.float32))


@pytest.mark.parametrize("library", ["winit", "numpy"])
def test_import(benchmark, library):
    benchmark.group = "a process that imports numpy, and then winit"
    benchmark.extra_info.update(elements=1, library=library)
    code = "import numpy" if library == "numpy" else "import numpy, winit"
    benchmark.pedantic(lambda: subprocess.run([sys.executable, "-c", code], check=True), rounds=15, warmup_rounds=2)
