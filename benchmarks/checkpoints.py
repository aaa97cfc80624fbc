"""How fast does a checkpoint get onto a disk? Compare with dd, in turn, on the same disk.

    python benchmarks/checkpoints.py --folder /tmp --layers 8 [--rounds 5] [--peers] [--size 5GB] [--only NAME ...]

Each contender is a process of its own, from its first import to the last byte on the disk, and takes its turn in each
round; what it wrote is removed before the next. The model is Llama-3-8B's with fewer layers, in bfloat16: 32 layers are
16 GB. Prints a table of medians: seconds of the writing alone and from start to end, bytes a second, the rate by dd's,
and the most memory that was in use. On a folder in memory, such as /dev/shm, the disk is not the limit.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

VOCAB, DIM, INNER = 128_256, 4096, 14_336


def plan_of(layers):
    import winit

    sizes = {"vocab": VOCAB, "dim": DIM, "inner": INNER, "heads": 32, "kv_heads": 8}
    return winit.recipes.load("llama", layers=layers, **sizes).with_dtype("bfloat16")


def model_of(layers):
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=DIM, intermediate_size=INNER, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def dd(target, layers, size):
    """dd bs=64M conv=fdatasync, of as many bytes."""
    nbytes = plan_of(layers).nbytes
    began = time.perf_counter()
    count = -(-nbytes // (64 << 20))
    line = ["dd", "if=/dev/zero", f"of={target}", "bs=64M", f"count={count}", "conv=fdatasync"]
    subprocess.run(line, check=True, capture_output=True)
    return (time.perf_counter() - began) * nbytes / (count * (64 << 20))


def winit_folder(target, layers, size):
    """winit, a folder of shards."""
    from winit import checkpoint

    plan = plan_of(layers)
    began = time.perf_counter()
    checkpoint.write(plan, target, seed=0, max_shard_size=size)
    return time.perf_counter() - began


def winit_file(target, layers, size):
    """winit, one file."""
    return winit_folder(f"{target}.safetensors", layers, None)


def winit_memory(target, layers, size):
    """winit, into memory alone."""
    plan = plan_of(layers)
    began = time.perf_counter()
    plan.build(seed=0)
    return time.perf_counter() - began


def synced(folder):
    for path in [folder] if folder.is_file() else folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def torch_save_file(target, layers, size):
    """torch's constructor, then safetensors' save_file and fsync."""
    from safetensors.torch import save_file

    model = model_of(layers)
    began = time.perf_counter()
    save_file(model.state_dict(), f"{target}.safetensors")
    synced(Path(f"{target}.safetensors"))
    return time.perf_counter() - began


def save_pretrained(target, layers, size):
    """transformers' from_config, then save_pretrained and fsync."""
    model = model_of(layers)
    began = time.perf_counter()
    model.save_pretrained(target, max_shard_size=size)
    synced(Path(target))
    return time.perf_counter() - began


CONTENDERS = {function.__name__: function for function in (dd, winit_folder, winit_file, winit_memory)}
PEERS = {function.__name__: function for function in (torch_save_file, save_pretrained)}


def child(name, target, layers, size):
    """Run one contender here, and print what it took."""
    seconds = {**CONTENDERS, **PEERS}[name](target, layers, size)
    # Linux's own count: that of getrusage begins with the parent's.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak": peak * 1024}))


def turn(name, folder, layers, size):
    """Run one contender in a process of its own, and remove what it wrote."""
    target = folder / "winit-benchmark"
    began = time.perf_counter()
    line = [sys.executable, __file__, "--child", name, str(target), "--layers", str(layers), "--size", size]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(target, ignore_errors=True)
        for path in (target, target.with_suffix(".safetensors")):
            path.unlink(missing_ok=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "all": time.perf_counter() - began}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="5GB")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join([*CONTENDERS, *PEERS])}")
    parser.add_argument("--peers", action="store_true", help="torch and transformers too, in memory as a whole")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.layers, arguments.size)
        return
    nbytes = plan_of(arguments.layers).nbytes
    names = arguments.only or [*CONTENDERS, *(PEERS if arguments.peers else ())]
    found = {name: [] for name in names}
    for done in range(arguments.rounds):
        for name in names[done % len(names) :] + names[: done % len(names)]:
            found[name].append(turn(name, arguments.folder, arguments.layers, arguments.size))
    print(f"{nbytes / 1e9:.1f} GB, {arguments.folder}, {arguments.rounds} rounds, medians")
    print("| what | writing, s | start to end, s | GB/s | of dd | peak memory |")
    print("|---|---|---|---|---|---|")
    middle = {name: statistics.median(turn["seconds"] for turn in turns) for name, turns in found.items()}
    for name, turns in found.items():
        whole = statistics.median(turn["all"] for turn in turns)
        peak = max(turn["peak"] for turn in turns)
        cells = [f"{middle[name]:.2f}", f"{whole:.2f}", f"{nbytes / middle[name] / 1e9:.2f}"]
        cells += [f"{middle['dd'] / middle[name]:.0%}", f"{peak / 1e6:,.0f} MB"]
        print("| " + " | ".join([{**CONTENDERS, **PEERS}[name].__doc__.rstrip("."), *cells]) + " |")


if __name__ == "__main__":
    main()
