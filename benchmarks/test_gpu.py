"""Fills on a CUDA or ROCm device, against torch's own, cuRAND's by CuPy, and a copy.

    pytest -m gpu -s benchmarks/test_gpu.py --elements 268435456

Milliseconds of one fill, from events on the device; all rows of a table in one run.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm device"),
]

import winit  # noqa: E402
import winit.torch  # noqa: E402

LAWS = {
    "uniform": (winit.uniform(-1, 1), lambda tensor: tensor.uniform_(-1, 1)),
    "normal": (winit.normal(), lambda tensor: tensor.normal_()),
    "truncated": (winit.truncated_normal(), torch.nn.init.trunc_normal_),
}


def timed(call, rounds=20):
    """The least time of a call on the device, in ms."""
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(1_000_000)  # what the host takes to queue the call is then no time of the device's
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return min(times)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("law", LAWS)
def test_fill(law, dtype, elements):
    size = elements
    scheme, native = LAWS[law]
    tensor = torch.empty(size, dtype=getattr(torch, dtype), device="cuda")
    other = torch.empty_like(tensor)
    rows = {
        "winit": lambda: winit.torch.fill_(tensor, scheme, seed=0, name="w"),
        "torch": lambda: native(tensor),
        "copy": lambda: other.copy_(tensor),
    }
    if dtype == "float32" and law != "truncated":
        try:
            import cupy
        except ImportError:
            cupy = None
        if cupy is not None:
            drawn = cupy.random.default_rng(0)
            array = cupy.empty(size, cupy.float32)
            rows["CuPy"] = lambda: (
                drawn.random(size, dtype=cupy.float32)
                if law == "uniform"
                else drawn.standard_normal(out=array, dtype=cupy.float32)
            )
    found = {name: min(times) for name, times in ((n, [timed(c) for _ in range(3)]) for n, c in rows.items())}
    moved = tensor.numel() * tensor.element_size()
    print(f"\n{torch.cuda.get_device_name()}, {law} {dtype}, {size} elements")
    for name, time in found.items():
        print(f"  {name:6s} {time:8.3f} ms {(2 if name == 'copy' else 1) * moved / time / 1e9:8.2f} TB/s")
