"""Staging: what goes to a device by way of the CPU's memory. No device is at hand: a CPU tensor stands for one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import winit  # noqa: E402
import winit.torch  # noqa: E402
from winit._core.running import RANGE  # noqa: E402
from winit.torch import device, filling  # noqa: E402

DTYPES = ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
SCHEMES = [
    winit.normal(std=0.5),
    winit.uniform(-1, 1),
    winit.truncated_normal(),
    winit.he_normal(),
    winit.ones(),
    winit.orthogonal(),
    winit.sparse_columns(0.5),
    winit.identity(),
    winit.embedding(padding=1),
    winit.literal(np.arange(40.0).reshape(8, 5) / 64),
]


@pytest.fixture
def staged(monkeypatch):
    """Every tensor counts as one of a device."""
    bound = []

    def needs(tensor):
        bound.append(tensor)
        return True

    monkeypatch.setattr(filling, "needs_staging", needs)
    monkeypatch.setattr(filling, "_fill_small", lambda *given: False)
    return bound


def words(tensor):
    return tensor.detach().contiguous().view(torch.uint8)


def same(one, other):
    return one.dtype == other.dtype and torch.equal(words(one), words(other))


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_as_on_the_cpu(staged, dtype, scheme):
    kind = getattr(torch, dtype)
    for make in (lambda: torch.zeros(8, 5, dtype=kind), lambda: torch.zeros(5, 8, dtype=kind).t()):
        for large in (False, True):
            if large and (dtype.startswith("float8") or not isinstance(scheme, winit.normal)):
                continue
            out = torch.zeros(3, RANGE, dtype=kind)[:, ::2] if large else make()
            expected = winit.fill(
                np.zeros(tuple(out.shape), filling.memory_of(out)[0].dtype), scheme, seed=3, name="w", dtype=dtype
            )
            winit.torch.fill_(out, scheme, seed=3, name="w")
            assert staged
            assert np.array_equal(
                filling.memory_of(out)[0].view(np.uint8 if dtype.startswith("float8") else expected.dtype), expected
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_added_with_one_rounding(staged, monkeypatch, dtype):
    kind = getattr(torch, dtype)
    out = winit.torch.fill_(torch.zeros(6, 7, dtype=kind), winit.normal(), seed=0, name="w")
    with monkeypatch.context() as patch:
        patch.setattr(filling, "needs_staging", lambda tensor: False)
        expected = winit.torch.add_(out.clone(), winit.normal(), seed=1, name="n", scale=0.25)
    assert same(winit.torch.add_(out, winit.normal(), seed=1, name="n", scale=0.25), expected)
    module = torch.nn.Linear(8, 8)
    before = module.weight.detach().clone()
    winit.torch.add_(module, winit.normal(), seed=1, name="n", scale=0.25)
    assert not torch.equal(module.weight, before)


def test_ranges_in_any_order(staged):
    scheme, key = winit.normal(), (1, 2)
    whole, parts = torch.zeros(7, 9), torch.zeros(7, 9)
    filling.bounds_to(whole, scheme, key)[0].run(0, 63)
    bound = filling.bounds_to(parts, scheme, key)[0]
    for lo, hi in ((40, 63), (0, 1), (17, 40), (1, 17), (5, 5)):
        bound.run(lo, hi)
    assert torch.equal(whole, parts)
    scalar = winit.torch.fill_(torch.zeros(()), scheme, seed=0)
    assert scalar.item() == winit.draw(scheme, (), seed=0).item()
    assert winit.torch.fill_(torch.zeros(0, 3), scheme, seed=0).shape == (0, 3)


def test_blocks_are_used_again(staged, monkeypatch):
    """One thread needs one block, however large the tensor is, and a block is no larger than a range."""
    made = []
    empty = torch.empty

    def counted(*size, **options):
        made.append(size)
        return empty(*size, **options)

    monkeypatch.setattr(device.torch, "empty", counted)
    bound = filling.bounds_to(torch.zeros(5 * RANGE + 3), winit.normal(), (1, 2))[0]
    for lo in range(0, bound.size, RANGE):
        bound.run(lo, min(lo + RANGE, bound.size))
    assert made == [(RANGE,)]


def test_a_block_that_is_not_pinned_is_copied_before_it_is_used_again(staged, monkeypatch):
    """MPS and XPU queue copies, and nothing here would tell when one has ended."""
    queued = []
    copy = torch.Tensor.copy_
    monkeypatch.setattr(
        torch.Tensor,
        "copy_",
        lambda self, source, non_blocking=False: queued.append(non_blocking) or copy(self, source),
    )
    winit.torch.fill_(torch.zeros(6, 7), winit.normal(), seed=0)
    assert queued == [False]


def test_boxes_of_a_sharded_tensor(staged):
    scheme, key = winit.he_normal(), winit._core.keys.stream_key(0, "w")
    whole = torch.from_numpy(winit.draw(scheme, (12, 10), seed=0, name="w"))
    local = torch.zeros(6, 5)
    for rows, columns in itertools.product(((0, 3), (6, 9)), ((0, 2), (5, 8))):
        box = (slice(*rows), slice(*columns))
        law = scheme.law((12, 10))
        out = local[
            rows[0] // 2 : rows[0] // 2 + 3, columns[0] // 5 * 2 : columns[0] // 5 * 2 + columns[1] - columns[0]
        ]
        bound = device.Staged(out, law, "float32", key, (12, 10), box)
        bound.run(0, bound.size)
        assert torch.equal(out, whole[box])


def test_elements_that_share_memory(staged):
    with pytest.raises(ValueError, match="tensor has elements that share memory"):
        winit.torch.fill_(torch.zeros(1, 3).expand(4, 3), winit.normal(), seed=0)
    one = torch.zeros(3).expand(1, 3)  # of stride 0, and one row
    assert same(winit.torch.fill_(one, winit.ones(), seed=0), torch.ones(1, 3))


def test_a_built_module_moves_to_its_device():
    model = winit.torch.build(lambda: torch.nn.Linear(3, 2), seed=0, device=torch.device("cpu"))
    assert model.weight.device.type == "cpu"
    with pytest.raises(ValueError, match="device must be one that torch knows, not 'gpu'"):
        winit.torch.build(lambda: torch.nn.Linear(3, 2), seed=0, device="gpu")


def test_a_device_without_kernels_is_said_once(monkeypatch):
    """The same values come by way of the CPU, more slowly: a user of torch is told why."""
    device.draws_on.cache_clear()
    reason = "engine 'triton' needs the package triton, which is not installed: pip install 'winit[triton]'"
    monkeypatch.setattr(device._kernels, "device_engine", lambda: (None, reason))
    message = "tensors on cuda:0 are drawn on the CPU and copied, which gives the same values more slowly: engine"
    with pytest.warns(RuntimeWarning, match=message):
        assert not device.draws_on(torch.device("cuda", 0))
    assert not device.draws_on(torch.device("cuda", 0))  # warnings are errors here
    assert not device.draws_on(torch.device("mps"))

    class Old:
        """The engine, on a device that its kernels are not for."""

        class DeviceArray:
            drawable = False

            def __init__(self, tensor, kind):
                pass

    device.draws_on.cache_clear()
    monkeypatch.setattr(device._kernels, "device_engine", lambda: (Old, None))
    monkeypatch.setattr(torch, "empty", lambda *given, **named: None)
    with pytest.warns(RuntimeWarning, match="needs compute capability 8.0, and cuda:1 has less"):
        assert not device.draws_on(torch.device("cuda", 1))
    device.draws_on.cache_clear()
