"""Kill ranks that write a checkpoint at random moments and resume them: python tools/kill_ranks.py --kills 100.

Each round starts four ranks of one checkpoint, kills one or all of them with SIGKILL at a random moment, and looks at
the folder: whatever has a final name must be whole. Then the round's ranks are run again with resume, and killed again,
until all have ended by themselves; the folder must then hold, byte for byte, what one process writes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import winit
from winit import checkpoint

WORLD = 4
SHARD = 3 << 20
PLAN = winit.Plan(
    {f"w{i}": (1 << 9, 1 << 10) for i in range(12)} | {"q": (256, 256)},
    rules=[("q", winit.orthogonal()), ("*", winit.he_normal())],
)
UNFINISHED = re.compile(r"\..*\.[0-9a-f]{16}\.winit")


def start(folder: Path, rank: int) -> int:
    """Start one rank; returns its process."""
    child = os.fork()
    if child:
        return child
    try:
        checkpoint.write(
            PLAN, folder, seed=0, max_shard_size=SHARD, rank=rank, world=WORLD, resume=True, threads=1, config={"a": 1}
        )
        os._exit(0)
    except BaseException as error:
        print(f"rank {rank}: {error!r}", file=sys.stderr)
        os._exit(1)


def broken(folder: Path, whole: dict[str, bytes]) -> list[str]:
    """Name the files that stand under a final name and are not what one process writes."""
    if not folder.exists():
        return []
    return [
        entry.name
        for entry in folder.iterdir()
        if not UNFINISHED.fullmatch(entry.name) and entry.read_bytes() != whole.get(entry.name)
    ]


def campaign(folder: Path, kills: int, seed: int) -> tuple[int, int, list[str]]:
    """Kill so many ranks; returns how many were alive when they were killed, how many rounds, and what is wrong."""
    moments = random.Random(seed)
    single, many = folder / "single", folder / "many"
    began = time.monotonic()
    checkpoint.write(PLAN, single, seed=0, max_shard_size=SHARD, threads=1, config={"a": 1})
    whole_time = time.monotonic() - began
    whole = {entry.name: entry.read_bytes() for entry in single.iterdir()}
    wrong: list[str] = []
    killed = rounds = 0
    while killed < kills and not wrong:
        rounds += 1
        left = set(range(WORLD))
        while left:
            processes = {rank: start(many, rank) for rank in left}
            time.sleep(moments.random() * whole_time)
            victims = left if moments.random() < 0.3 else {moments.choice(sorted(left))}
            if killed >= kills:
                victims = set()
            for rank in victims:
                os.kill(processes[rank], signal.SIGKILL)
            for rank, process in processes.items():
                _, status = os.waitpid(process, 0)
                if status == 0:
                    left.discard(rank)
                elif os.WIFSIGNALED(status):
                    killed += 1
                else:
                    wrong.append(f"rank {rank} ended with {status}")
            wrong += [f"{name} is broken" for name in broken(many, whole)]
            if wrong:
                break
        if not wrong and {entry.name for entry in many.iterdir()} != set(whole):
            wrong.append(f"the folder holds {sorted(entry.name for entry in many.iterdir())}")
        if many.exists():
            shutil.rmtree(many)
    return killed, rounds, wrong


def main() -> None:
    """Run a campaign and say what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        killed, rounds, wrong = campaign(Path(folder), arguments.kills, arguments.seed)
    print(f"{killed} ranks killed in {rounds} checkpoints; wrong: {wrong or 'nothing'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
