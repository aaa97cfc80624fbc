"""Count the instructions and registers of winit's Triton kernels, and what they allow a GPU: the table of docs/gpu.md.

    python tools/gpu_counts.py [--target sm_90]

The machine code of a contiguous fill is disassembled with the tools that Triton brings. All its instructions are
counted, those too that few programs take (the last one's masked stores, the slow path of a square root), so the rate is
a lower bound of what issuing allows: 4 warps a cycle and multiprocessor. No device is needed, and none is measured.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from triton_cases import LAWS, Case, drawn, on_device
from triton_kernels import recorded

BIN = Path(triton.__file__).parent / "backends/nvidia/bin"
# An H100 SXM5: multiprocessors, lanes that issue a cycle on each, clock in Hz, bytes a second (NVIDIA's data sheet).
SMS, LANES, CLOCK, MEMORY = 132, 128, 1.755e9, 3.35e12


def counts(law: str, dtype: str, target: str) -> tuple[float, int, int]:
    """Instructions an element, registers a thread, bytes of spills."""
    with recorded() as launches:
        drawn(law, dtype, Case((1 << 14,), (1,)), None, (1, 2), on_device)
    (launch,) = launches
    kernel = launch.compiled(target)
    values = launch.given["BLOCK"] * (2 if dtype == "float64" else 4) / (32 * launch.options["num_warps"])
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()

        def run(program: str, *options: str) -> str:
            return subprocess.run(
                [BIN / program, *options, file.name], capture_output=True, text=True, check=True
            ).stdout

        code, usage = run("nvdisasm", "-c"), run("cuobjdump", "--dump-resource-usage")
    found = re.findall(r"^\s+(?:/\*[0-9a-f]+\*/)?\s*(?:@!?U?P\d+ )?([A-Z][A-Z0-9_.]+)", code, re.M)
    registers, stack = (int(re.search(rf"{name}:(\d+)", usage).group(1)) for name in ("REG", "STACK"))
    return sum(operation != "NOP" for operation in found) / values, registers, stack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", default="sm_90", choices=["sm_80", "sm_90", "sm_100"])
    target = parser.parse_args().target
    print(f"Triton {triton.__version__}, torch {torch.__version__}, {target}")
    heads = ("law", "dtype", "instructions an element", "registers", "spilled bytes", "elements a second")
    print(f"| {' | '.join(heads)} | of the memory's rate |")
    print("|---|---|---|---|---|---|---|")
    for law in LAWS:
        for dtype, size in (("float32", 4), ("float64", 8), ("float16", 2), ("bfloat16", 2)):
            each, registers, stack = counts(law, dtype, target)
            rate = SMS * LANES * CLOCK / each
            share = rate * size / MEMORY
            row = (law, dtype, f"{each:.1f}", registers, stack, f"{rate:.2g}", "all" if share >= 1 else f"{share:.0%}")
            print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
