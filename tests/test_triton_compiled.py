"""What Triton compiles winit's kernels to, for devices that are not here: its instructions, and their values.

The PTX of every kind of launch is run in an emulator and gives the bits of the engine of the CPU. Of the machine code,
and of AMD's assembly, the instructions are asserted that the bits hang on.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels are interpreted, not compiled, under TRITON_INTERPRET=1", allow_module_level=True)

from ptx_emulator import Program  # noqa: E402
from triton_cases import CASES, KEYS, LAWS, Case, drawn, on_cpu, on_device  # noqa: E402
from triton_kernels import TARGETS, recorded  # noqa: E402

from winit._core.drawing import words  # noqa: E402
from winit._core.keys import stream_key  # noqa: E402
from winit._kernels import triton_engine  # noqa: E402
from winit._kernels.triton_memory import DeviceArray  # noqa: E402

BASE = 1 << 32  # the address of an emulated buffer
FAST = ["float32", "float16", "bfloat16", "float64"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Compiled kernels of these tests alone."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))


def emulated(launches, buffer, begin, target="sm_90", fusion=None):
    """Run launches in the emulator, over a buffer whose address BASE is."""
    for launch in launches:
        kernel = launch.compiled(target, fusion)
        program = Program(kernel.asm["ptx"])
        assert program.threads == 32 * launch.options["num_warps"]
        arguments = [BASE + begin if name == "dest" else launch.given[name] for name in launch.passed]
        for program_id in range(launch.grid[0]):
            program.run(program_id, arguments, buffer, BASE)


def compiled_bytes(law, dtype, case, adding, key, target="sm_90", fusion=None):
    buffers = []

    def fill(number, code, key, numbers, out, buffer, start, steps, adding):
        buffers.append(buffer)
        return on_device(number, code, key, numbers, out, buffer, start, steps, adding)

    with recorded() as launches:
        drawn(law, dtype, case, adding, key, fill)
    (buffer,) = buffers
    emulated(launches, buffer.view(np.uint8), 16 * buffer.itemsize, target, fusion)
    return buffer.view(np.uint8)


def same(law, dtype, case, adding, key, target="sm_90"):
    expected = drawn(law, dtype, case, adding, key, on_cpu)
    return (compiled_bytes(law, dtype, case, adding, key, target) == expected).all()


# ---- values


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("law", LAWS)
def test_the_bits_of_the_cpu(law, dtype):
    assert same(law, dtype, CASES["whole"], None, KEYS[0])
    assert same(law, dtype, CASES["from 2^40"], -1.7, KEYS[1])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_bits_of_the_cpu_in_boxes(case):
    for law, dtype in (("normal", "float32"), ("uniform", "bfloat16"), ("truncated far", "float64")):
        for adding in (None, 0.5):
            assert same(law, dtype, CASES[case], adding, KEYS[1])


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_80", "sm_100"])
def test_the_bits_of_the_cpu_on_other_processors(target):
    for law in LAWS:
        for dtype in FAST:
            assert same(law, dtype, CASES["rows"], 0.5 if dtype == "bfloat16" else None, KEYS[1], target)


@pytest.mark.slow
def test_many_values():
    case = Case((40_000,), (1,), 2**34 - 20_000)
    for law in LAWS:
        assert same(law, "float32", case, None, KEYS[0])


def test_words():
    for lo, tag in ((0, 0), (2**62 + 3, 2**32 - 1)):
        out = np.zeros(1000, np.uint32)
        with recorded() as launches:
            triton_engine.words("", stream_key(7, "w"), tag, lo, DeviceArray(torch.from_numpy(out.view(np.int32)), ""))
        emulated(launches, out.view(np.uint8), 0)
        assert (out == words(7, "w", lo, lo + 1000, tag)).all()


def test_fusion_would_be_seen():
    """Kernels are compiled without fused multiply-adds. With them, the emulator refuses, as do the assertions below."""
    with recorded() as launches:
        drawn("normal", "float32", CASES["whole"], None, KEYS[0], on_device)
    (launch,) = launches
    assert launch.options["enable_fp_fusion"] is False
    assert "fma.rn.f32" in launch.compiled("sm_90", fusion=True).asm["ptx"]
    with pytest.raises(AssertionError, match=r"mul\.f32"):  # not .rn: it may be contracted
        compiled_bytes("normal", "float32", CASES["whole"], None, KEYS[0], fusion=True)


# ---- instructions


def launches_of(dtype, cases=("whole", "points")):
    with recorded() as launches:
        for law in LAWS:
            for case in cases:
                for adding in (None, 0.5):
                    drawn(law, dtype, CASES[case], adding, KEYS[0], on_device)
    return launches


@pytest.mark.slow
@pytest.mark.parametrize("target", [name for name in TARGETS if name.startswith("sm_")])
@pytest.mark.parametrize("dtype", FAST)
def test_ptx(dtype, target):
    for launch in launches_of(dtype):
        ptx = launch.compiled(target).asm["ptx"]
        for word in ("fma.", ".approx", ".ftz", ".full", ".sat", "min.f", "max.f", "ex2", "lg2", "sin", "cos."):
            assert word not in ptx, word
        for found in re.findall(r"cvt\.(\S+)", ptx):
            parts = found.split(".")
            assert parts[-2][0] not in "fb" or parts[0] == "rn", found


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
def test_four_values_are_stored_at_once(target):
    for dtype, store in (("float32", "v4.b32"), ("bfloat16", "v4.b32"), ("float64", "v2.b64")):
        with recorded() as launches:
            drawn("normal", dtype, CASES["whole"], None, KEYS[0], on_device)
        stores = re.findall(r"st\.global\.(\S+)", launches[0].compiled(target).asm["ptx"])
        assert set(stores) == {store}, stores


DISASSEMBLER = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"


def machine_code(kernel, tmp_path):
    """SASS by NVIDIA's disassembler: {function: operations}, in their order; of the kernel and of what it calls."""
    file = tmp_path / "kernel.cubin"
    file.write_bytes(kernel.asm["cubin"])
    text = subprocess.run([DISASSEMBLER, "-c", file], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s+(?:/\*[0-9a-f]+\*/)?\s*(?:@!?U?P\d+ )?([A-Z][A-Z0-9_.]+)", text, re.M)
    return text, found


@pytest.mark.slow
@pytest.mark.skipif(not DISASSEMBLER.exists(), reason="this Triton brings no nvdisasm")
@pytest.mark.parametrize("dtype", FAST)
def test_machine_code(dtype, tmp_path):
    """Nothing is spilled. Fused multiply-adds are those of square roots and divisions: two a root at most, and more of
    float64 and of its divisions.
    """
    for launch in launches_of(dtype, ["whole"]):
        for target in ("sm_80", "sm_90"):
            _, found = machine_code(launch.compiled(target), tmp_path)
            assert not {"LDL", "STL"} & {operation.split(".")[0] for operation in found}
            roots = sum(operation.startswith("MUFU.RSQ") for operation in found)
            roots += sum(operation.startswith("MUFU.RCP") for operation in found)
            fused = sum(operation.split(".")[0] in ("FFMA", "DFMA") for operation in found)
            assert fused <= (16 if dtype == "float64" else 3) * roots


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FAST)
def test_amd(dtype):
    """Subnormal numbers are kept, sums round to nearest, and fused multiply-adds are those of roots and divisions."""
    for launch in launches_of(dtype):
        text = launch.compiled("gfx942").asm["amdgcn"]
        assert re.search(r"\.amdhsa_float_denorm_mode_32 3\b", text)
        assert re.search(r"\.amdhsa_float_denorm_mode_16_64 3\b", text)
        assert re.search(r"\.amdhsa_float_round_mode_32 0\b", text)
        assert re.search(r"\.amdhsa_float_round_mode_16_64 0\b", text)
        roots = len(re.findall(r"v_sqrt_f32|v_rsq_f64|v_rcp_f64", text))
        fused = len(re.findall(r"v_(?:pk_)?(?:fma|fmac|mad|mac)_f\d+", text))
        assert fused <= (16 if dtype == "float64" else 4) * roots
        assert not re.search(r"v_(?:pk_)?(?:mad|mac)_f", text)
