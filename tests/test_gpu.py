"""Tensors on a CUDA or ROCm device: the bits of the CPU, for every law, dtype and road; pytest -m gpu.

No machine that winit was made on had one: tests/test_triton_interpreter.py and tests/test_triton_compiled.py are what
was run there.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm device"),
]

from triton_cases import CASES, KEYS, LAWS, drawn, on_cpu  # noqa: E402

import winit  # noqa: E402
import winit.torch  # noqa: E402
from winit._kernels import DTYPES  # noqa: E402
from winit._kernels.triton_memory import DeviceArray  # noqa: E402
from winit._kernels.triton_sampling import Fill  # noqa: E402


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS)
def test_the_bits_of_the_cpu(law, dtype, case):
    def on_gpu(law, dtype, key, numbers, out, buffer, start, steps, adding):
        memory = torch.from_numpy(buffer.view(np.uint8)).cuda()
        words = memory.view(torch.from_numpy(buffer[:0].view(f"i{buffer.itemsize}")).dtype)
        words = words.view({0: torch.float32, 1: torch.float64}.get(dtype, words.dtype))
        view = words.as_strided(out.shape, [stride // buffer.itemsize for stride in out.strides], 16)
        bound = Fill("", law, dtype, key, numbers, DeviceArray(view, DTYPES[dtype]), start, steps, adding)

        class Copied:
            def run(self, lo, hi):
                bound.run(lo, hi)
                buffer.view(np.uint8)[:] = memory.cpu().numpy()

        return Copied()

    for adding, key in ((None, KEYS[0]), (-1.7, KEYS[1])):
        expected = drawn(law, dtype, CASES[case], adding, key, on_cpu)
        assert (drawn(law, dtype, CASES[case], adding, key, on_gpu) == expected).all()


SCHEMES = [winit.he_normal(), winit.uniform(), winit.truncated_normal(), winit.ones(), winit.embedding(padding=1)]
SCHEMES += [winit.orthogonal(), winit.sparse_columns(0.5), winit.identity()]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_tensors(dtype, scheme):
    for shape in ((300, 1000), (7, 5)):
        tensor = torch.zeros(shape, dtype=getattr(torch, dtype), device="cuda")
        winit.torch.fill_(tensor, scheme, seed=1, name="w")
        winit.torch.add_(tensor, winit.normal(), seed=2, name="n", scale=0.5)
        expected = winit.draw(scheme, shape, seed=1, name="w", dtype=dtype)
        winit.add(expected, winit.normal(), seed=2, name="n", scale=0.5)
        assert tensor.cpu().view(torch.uint8).numpy().tobytes() == expected.tobytes()


def test_more_than_2_to_the_31_elements():
    if torch.cuda.mem_get_info()[0] < 6 << 30:
        pytest.skip("needs 6 GiB of free memory on the device")
    size = (1 << 31) + 5000
    tensor = torch.zeros(size, dtype=torch.bfloat16, device="cuda")
    winit.torch.fill_(tensor, winit.normal(), seed=1, name="w")
    for lo in (0, (1 << 31) - 1000, size - 1000):
        expected = winit.draw(winit.normal(), size, seed=1, name="w", dtype="bfloat16", box=range(lo, lo + 1000))
        assert (tensor[lo : lo + 1000].cpu().view(torch.int16).numpy() == expected.view(np.int16)).all()


def test_strides_past_2_to_the_31():
    if torch.cuda.mem_get_info()[0] < 6 << 30:
        pytest.skip("needs 6 GiB of free memory on the device")
    memory = torch.zeros((1 << 31) + 5000, dtype=torch.bfloat16, device="cuda")
    view = memory.as_strided((3, 200), ((1 << 30) + 7, 1))
    apart = memory.as_strided((3,), ((1 << 30) + 7,), 1000)
    for out in (view, apart):
        winit.torch.fill_(out, winit.normal(), seed=1, name="w")
        expected = winit.draw(winit.normal(), tuple(out.shape), seed=1, name="w", dtype="bfloat16")
        assert (out.contiguous().cpu().view(torch.int16).numpy() == expected.view(np.int16)).all()


def test_models_and_streams():
    expected = winit.torch.build(lambda: torch.nn.Linear(1000, 300), seed=5)
    moved = winit.torch.build(lambda: torch.nn.Linear(1000, 300), seed=5, device="cuda")
    there = torch.nn.Linear(1000, 300, device="cuda")
    winit.torch.materialize_(there, winit.torch.plan(lambda: torch.nn.Linear(1000, 300)), seed=5)
    for module in (moved, there):
        assert module.weight.is_cuda and torch.equal(module.weight.cpu(), expected.weight)
    with pytest.raises(ValueError, match="'weight' is on cuda:0, where torch's generator has drawn it"):
        winit.torch.build(lambda: torch.nn.Linear(3, 3, device="cuda"), seed=5)
    expected = torch.from_numpy(winit.draw(winit.normal(), 1 << 22, seed=1))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # what is queued before and after on the same stream is in order
        tensor = torch.full((1 << 22,), 7.0, device="cuda")
        winit.torch.fill_(tensor, winit.normal(), seed=1)
        doubled = tensor * 2
    stream.synchronize()
    assert torch.equal(doubled.cpu(), expected * 2)


def test_arrays_of_other_libraries():
    tensor = torch.zeros(100, 70, device="cuda")

    class Lent:
        __cuda_array_interface__ = tensor[:, ::2].__cuda_array_interface__

    expected = winit.draw(winit.he_normal(), (100, 35), seed=3, name="w")
    for stream in (None, 1, 2):
        tensor.zero_()
        Lent.__cuda_array_interface__ |= {"stream": stream}
        torch.cuda.synchronize()
        winit.fill(Lent(), winit.he_normal(), seed=3, name="w")
        torch.cuda.synchronize()
        assert (tensor[:, ::2].cpu().numpy() == expected).all() and not tensor[:, 1::2].any()
    half = torch.zeros(100, 35, dtype=torch.bfloat16, device="cuda")
    winit.fill(half, winit.he_normal(), seed=3, name="w")
    same = winit.draw(winit.he_normal(), (100, 35), seed=3, name="w", dtype="bfloat16")
    assert (half.cpu().view(torch.int16).numpy() == same.view(np.int16)).all()
    cupy = pytest.importorskip("cupy")
    array = cupy.zeros((100, 35), np.float32)
    assert (cupy.asnumpy(winit.fill(array, winit.he_normal(), seed=3, name="w")) == expected).all()


def test_engines():
    assert winit.engines()["triton"] == {"present": True, "instruction_sets": (), "in_use": None, "reason": None}
