"""The slices that DeepSpeed ZeRO-3 and Megatron give a rank, filled alone: by stand-ins of the same slicing."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import winit  # noqa: E402
import winit.torch  # noqa: E402

SHAPE = (7, 10)
SCHEMES = [winit.he_normal(), winit.truncated_normal(std=0.02), winit.orthogonal(), winit.sparse_columns(0.5)]


def whole(scheme):
    return winit.torch.fill_(torch.zeros(SHAPE), scheme, seed=3, name="w")


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_flat_partitions_as_of_zero_3(scheme, ranks):
    """ZeRO-3 flattens a parameter and gives each rank as many elements, the last ones padded."""
    size = SHAPE[0] * SHAPE[1]
    each = -(-size // ranks)
    padded = torch.cat([whole(scheme).reshape(-1), torch.zeros(each * ranks - size)])
    for rank in range(ranks):
        partition = torch.zeros(each)
        lo, hi = min(rank * each, size), min((rank + 1) * each, size)
        winit.fill(partition[: hi - lo], scheme, seed=3, name="w", shape=SHAPE, box=range(lo, hi))
        assert torch.equal(partition, padded[rank * each : (rank + 1) * each])


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize(("axis", "ranks"), [(0, 7), (1, 2), (1, 5)])
def test_slices_as_of_tensor_parallel_megatron(scheme, axis, ranks):
    """Megatron's ColumnParallelLinear has rows of the weight on each rank, its RowParallelLinear columns."""
    for rank, expected in enumerate(whole(scheme).chunk(ranks, axis)):
        each = SHAPE[axis] // ranks
        box = [slice(None)] * 2
        box[axis] = slice(rank * each, (rank + 1) * each)
        mine = torch.zeros(expected.shape)
        winit.fill(mine, scheme, seed=3, name="w", shape=SHAPE, box=tuple(box))
        assert torch.equal(mine, expected)


def test_ranges_as_of_megatrons_distributed_optimizer():
    """Its buffer holds parameters one after the other, and a rank has a range of it: ends of two, and all of others."""
    shapes = {"a": (4, 5), "b": (3,), "c": (6, 2)}
    scheme = winit.normal()
    tensors = [winit.torch.fill_(torch.zeros(shape), scheme, seed=3, name=name) for name, shape in shapes.items()]
    buffer = torch.cat([tensor.reshape(-1) for tensor in tensors])
    for lo, hi in ((0, 12), (12, 24), (24, 35)):
        mine, begin = torch.zeros(hi - lo), 0
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            first, last = max(lo, begin), min(hi, begin + tensor.numel())
            if first < last:
                box = range(first - begin, last - begin)
                winit.fill(mine[first - lo : last - lo], scheme, seed=3, name=name, shape=shape, box=box)
            begin += tensor.numel()
        assert torch.equal(mine, buffer[lo:hi])
