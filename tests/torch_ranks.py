"""What every process of tests/test_torch_sharded.py runs: one model on many meshes, against the model in one piece."""

import itertools
import math
import os
import sys
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard

import winit
import winit.torch

SEED = 5
failures = []


def check(right, *what):
    if not right:
        failures.append(what)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.w1, self.w2 = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(3 * width, width, False),
        )

    def init_weights(self, depth):
        self.norm.reset_parameters()
        nn.init.trunc_normal_(self.w1.weight, std=0.02)
        nn.init.zeros_(self.w1.bias)
        nn.init.orthogonal_(self.w2.weight)
        with torch.no_grad():
            self.w2.weight.div_(math.sqrt(2 * depth))


class Net(nn.Module):
    """torchtitan's flow: made on the meta device, sharded, allocated, and then initialised in place."""

    def __init__(self, width=22, vocabulary=41):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=3)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.register_buffer("positions", torch.arange(float(width)))

    def init_weights(self):
        self.embed.weight.data.normal_(0, 0.5)
        with torch.no_grad():
            self.embed.weight[self.embed.padding_idx].fill_(0)
            self.embed.weight.mul_(0.3)  # the row stays 0
            self.positions.copy_(torch.arange(float(len(self.positions))))
        for depth, block in enumerate(self.blocks, 1):
            block.init_weights(depth)
        nn.init.kaiming_uniform_(self.head.weight, a=math.sqrt(5))


def made():
    model = Net()
    model.init_weights()
    return model


def on_meta():
    with torch.device("meta"):
        return Net()


def compare(model, whole, what):
    for name, tensor in model.state_dict().items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        check(torch.equal(full, whole[name]), what, name, getattr(tensor, "placements", None))


def roads(shard, whole, plan, what):
    """The same model by every road that shards take."""
    model = shard(on_meta()).to_empty(device="cpu")
    for times in ("once", "twice"):
        with winit.torch.patched(model, seed=SEED):
            model.init_weights()
        compare(model, whole, (what, "patched", times))
    compare(
        winit.torch.materialize_(shard(on_meta()).to_empty(device="cpu"), plan, seed=SEED), whole, (what, "allocated")
    )
    compare(winit.torch.materialize_(shard(on_meta()), plan, seed=SEED), whole, (what, "meta"))
    noisy = shard(winit.torch.build(made, seed=SEED))
    winit.torch.add_(noisy, winit.normal(), seed=9, name="step 0", scale=0.5)
    one = winit.torch.add_(winit.torch.build(made, seed=SEED), winit.normal(), seed=9, name="step 0", scale=0.5)
    compare(noisy, one.state_dict(), (what, "noise"))
    rules = [("*norm.*", winit.ones()), ("*", winit.normal(std=0.1))]
    model = winit.torch.init_(shard(made()), rules, seed=1)
    compare(model, winit.torch.init_(made(), rules, seed=1).state_dict(), (what, "init_"))


def placements(mesh):
    each = [Shard(0), Shard(1), Replicate(), *([_StridedShard(0, split_factor=2)] if mesh.ndim == 1 else [])]
    return itertools.product(each, repeat=mesh.ndim)


SCHEMES = (winit.he_normal(), winit.uniform(-1, 1), winit.orthogonal(), winit.sparse_columns(0.5), winit.identity())


def tensors(mesh):
    """Every placement, even and uneven, with shards that hold nothing, of laws by element and of whole tensors."""
    shapes = ((24, 6), (7, 5), (3, 9), (1, 4))
    for placed, shape, scheme in itertools.product(placements(mesh), shapes, SCHEMES):
        if shape != shapes[0] and any(isinstance(each, _StridedShard) for each in placed):
            continue  # torch itself distributes no uneven tensor so
        for dtype in ("float32", "bfloat16"):
            whole = torch.empty(shape, dtype=getattr(torch, dtype))
            winit.torch.fill_(whole, scheme, seed=SEED, name="w")
            sharded = distribute_tensor(torch.zeros_like(whole), mesh, placed)
            winit.torch.fill_(sharded, scheme, seed=SEED, name="w")
            expected = distribute_tensor(whole, mesh, placed)
            check(torch.equal(sharded._local_tensor, expected._local_tensor), mesh.shape, placed, shape, scheme, dtype)
    names = distribute_tensor(torch.zeros(16, 8), mesh, [Shard(0)] * mesh.ndim)
    winit.torch.init.xavier_uniform_(names, seed=SEED, name="w")
    whole = winit.torch.init.xavier_uniform_(torch.empty(16, 8), seed=SEED, name="w")
    check(torch.equal(names.full_tensor(), whole), "fans of the global shape")


def refusals(mesh):
    partial = DTensor.from_local(torch.ones(4, 4), mesh, [Partial()] * mesh.ndim)
    try:
        winit.torch.fill_(partial, winit.normal(), seed=0)
        check(False, "a sum that is not made yet was filled")
    except ValueError as error:
        check("a sum that is not made yet has no values to draw" in str(error), str(error))
    check(bool((partial._local_tensor == 1).all()), "an error wrote")
    model = distribute_tensor(torch.ones(8, 4), mesh, [Shard(0)] * mesh.ndim)
    try:
        with winit.torch.patched(seed=0):
            model.exponential_()
        check(False, "every process drew for itself")
    except ValueError as error:
        check("every process would draw it for itself" in str(error), str(error))


def wrapped_by_fsdp1(whole, plan):
    """FSDP1 asks param_init_fn for each module's parameters before it shards them (docs/guides/fsdp2.md)."""
    model = on_meta()
    names = {id(module): name for name, module in model.named_modules()}

    def fill(module):
        module.to_empty(device="cpu", recurse=False)
        held = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        for own, tensor in held.items():
            name = f"{names[id(module)]}.{own}".lstrip(".")
            winit.torch.fill_(tensor, plan[name].scheme, seed=SEED, name=plan.key(name), layout=plan[name].layout)

    sharded = FullyShardedDataParallel(
        model,
        auto_wrap_policy=ModuleWrapPolicy({Block}),
        param_init_fn=fill,
        use_orig_params=True,
        device_id=torch.device("cpu"),
    )
    with FullyShardedDataParallel.summon_full_params(sharded):
        for name, parameter in sharded.named_parameters():
            clean = name.replace("_fsdp_wrapped_module.", "")
            check(torch.equal(parameter, whole[clean]), "FSDP1", clean)


def main():
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    count = dist.get_world_size()
    whole = winit.torch.build(made, seed=SEED).state_dict()
    plan = winit.torch.plan(made)
    one = Net()
    with winit.torch.patched(one, seed=SEED):
        one.init_weights()
    compare(one, whole, "patched, in one piece")
    flat = init_device_mesh("cpu", (count,))
    tensors(flat)
    refusals(flat)

    def fsdp(model, **options):
        for block in model.blocks:
            fully_shard(block, mesh=flat, **options)
        return fully_shard(model, mesh=flat, **options)

    roads(fsdp, whole, plan, "FSDP2")
    wrapped_by_fsdp1(whole, plan)
    roads(lambda model: fsdp(model, offload_policy=CPUOffloadPolicy(pin_memory=False)), whole, plan, "FSDP2, offloaded")
    if count == 4:
        grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
        tensors(grid)
        tensors(init_device_mesh("cpu", (1, 2, 2)))

        def tensor_parallel(model):
            for block in model.blocks:
                parallelize_module(block, grid["tp"], {"w1": ColwiseParallel(), "w2": RowwiseParallel()})
                fully_shard(block, mesh=grid["dp"])
            parallelize_module(model, grid["tp"], {"head": ColwiseParallel()})
            return fully_shard(model, mesh=grid["dp"])

        roads(tensor_parallel, whole, plan, "tensor parallel and FSDP2")
        hybrid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))

        def replicated(model):
            for block in model.blocks:
                fully_shard(block, mesh=hybrid)
            return fully_shard(model, mesh=hybrid)

        roads(replicated, whole, plan, "hybrid")
    dist.barrier()
    dist.destroy_process_group()
    for failure in failures[:10]:
        print("FAILED", *failure)
    sys.stdout.flush()
    os._exit(bool(failures))  # torch's threads at times crash a process that ends as others do, after all is done


if __name__ == "__main__":
    main()
