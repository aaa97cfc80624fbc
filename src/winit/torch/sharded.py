"""The parts of a DTensor that this process holds, as boxes of the global tensor.

Which indices of an axis are here is asked of torch's own placements, one mesh axis after the other, as torch shards:
uneven and empty shards, several mesh axes on one tensor axis, and strided shards come out as lists of indices, and
these as runs.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch

from winit._core.checks import shown

__all__ = ["is_sharded", "local_boxes"]


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a DTensor. Those are not asked for by type: importing it takes a third of a second."""
    return hasattr(tensor, "_local_tensor") and hasattr(tensor, "device_mesh")


def local_boxes(tensor: Any, what: str = "tensor") -> tuple[torch.Tensor, list[tuple[Any, tuple[slice, ...]]]]:
    """Give the local tensor of a DTensor, and its parts: (where in the local tensor, the box of the global one).

    ValueError for a placement that no single value belongs to, such as Partial.
    """
    local: torch.Tensor = tensor._local_tensor
    mesh, coordinate = tensor.device_mesh, tensor.device_mesh.get_coordinate()
    if coordinate is None or local.numel() == 0:  # this process is no part of the mesh, or has nothing of the tensor
        return local, []
    indices = [torch.arange(size, device="cpu") for size in tensor.shape]
    for at, placement in enumerate(tensor.placements):
        if placement.is_replicate():
            continue
        axis = getattr(placement, "dim", None)
        if axis is None or placement.is_partial():
            raise ValueError(
                f"{what} is placed {placement} on the mesh: a sum that is not made yet has no values to draw; "
                "redistribute it first"
            )
        axis %= tensor.ndim
        along = [1] * tensor.ndim
        along[axis] = -1
        parts, _ = placement._split_tensor(
            indices[axis].reshape(along), mesh.size(at), with_padding=False, contiguous=False
        )
        indices[axis] = parts[coordinate[at]].reshape(-1)
    if tuple(len(each) for each in indices) != tuple(local.shape):
        raise ValueError(
            f"{what} holds {tuple(local.shape)} here, where its placements {shown(tensor.placements)} give "
            f"{tuple(len(each) for each in indices)}"
        )
    runs = [list(_runs(each.numpy())) for each in indices]
    boxes = []
    for chosen in product(*runs):
        where = tuple(slice(lo, lo + count) for lo, _, count in chosen)
        box = tuple(slice(first, first + count) for _, first, count in chosen)
        boxes.append(((*where, ...), box))
    return local, boxes


def _runs(indices: np.ndarray) -> Any:
    """Cut ascending indices into runs of consecutive ones: (place among them, first index, how many)."""
    ends = np.flatnonzero(np.diff(indices) != 1) + 1
    for lo, hi in zip([0, *ends], [*ends, len(indices)], strict=True):
        yield int(lo), int(indices[lo]), int(hi - lo)
