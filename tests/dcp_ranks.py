"""What every process of tests/test_torch_dcp.py runs: checkpoints that winit wrote, read into DTensors of many meshes.

Arguments: a folder of torch.distributed.checkpoint's format, and one of safetensors files as on the Hub.
"""

import os
import sys
import warnings

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import winit
import winit.torch

SEED = 3
failures = []


def check(right, *what):
    if not right:
        failures.append(what)


class Net(torch.nn.Module):
    """A tied head, a padding row, a matrix that is made at once, a buffer of integers, rows that no mesh divides."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(1003, 24, padding_idx=3)
        self.first = torch.nn.Linear(24, 37)
        self.square = torch.nn.Linear(37, 37, bias=False)
        torch.nn.init.orthogonal_(self.square.weight)
        self.last = torch.nn.Linear(37, 24, dtype=torch.bfloat16)
        self.head = torch.nn.Linear(24, 1003, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("steps", torch.arange(5))
        self.register_buffer("scale", torch.tensor(0.5))


PLAN = winit.torch.plan(Net)


def whole():
    return winit.torch.build(Net, seed=SEED).state_dict()


def emptied(model):
    """Fill a model with what no checkpoint has, so that what is not read is seen."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(99)
    return model


def compare(state, expected, *what):
    for name, tensor in state.items():
        full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        check(torch.equal(full, expected[name]), *what, name)


def main(native, hub):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    count = dist.get_world_size()
    expected = whole()
    flat = init_device_mesh("cpu", (count,))
    readers = {"dcp": lambda: dcp.FileSystemReader(native), "hub": lambda: HuggingFaceStorageReader(hub)}
    for kind, reader in readers.items():
        model = Net()
        fully_shard(model.first, mesh=flat)
        fully_shard(model, mesh=flat)
        state = emptied(model).state_dict()
        if kind == "hub":  # safetensors files hold tied tensors once, under one of their names
            state.pop("head.weight")
        dcp.load(state, storage_reader=reader())
        compare(state, expected, kind, "FSDP2")
        compare(model.state_dict(), expected, kind, "FSDP2, all of the model")
        plain = {name: torch.full_like(tensor, 99) for name, tensor in expected.items() if name in state}
        dcp.load(plain, storage_reader=reader())
        compare(plain, expected, kind, "plain")
        meshes = [flat] if count < 4 else [flat, init_device_mesh("cpu", (2, 2))]
        for mesh in meshes:
            for placed in (Shard(0), Shard(1), Replicate()):
                placements = [placed] * mesh.ndim if mesh.ndim == 1 else [Shard(0), placed]
                sharded = {
                    name: distribute_tensor(torch.full_like(tensor, 99), mesh, placements)
                    for name, tensor in expected.items()
                    if name in state and tensor.ndim == 2
                }
                dcp.load(sharded, storage_reader=reader())
                compare(sharded, expected, kind, mesh.shape, placements)
    # Every process writes its own part of the same folder.
    winit.torch.write_dcp(PLAN, f"{native}-{count}", seed=SEED, max_shard_size=30_000, rank="auto")
    dist.barrier()
    state = {name: torch.full_like(tensor, 99) for name, tensor in expected.items()}
    dcp.load(state, checkpoint_id=f"{native}-{count}")
    compare(state, expected, "written by all")
    dist.barrier()
    dist.destroy_process_group()
    for failure in failures[:10]:
        print("FAILED", *failure)
    sys.stdout.flush()
    os._exit(bool(failures))  # torch's threads at times crash a process that ends as others do, after all is done


if __name__ == "__main__":
    main(*sys.argv[1:])
