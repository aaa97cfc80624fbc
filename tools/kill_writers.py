"""Kill writers of one file at random moments, and look what is left: python tools/kill_writers.py --kills 1000.

Each round starts one, two or four processes that write one name under seeds of their own, kills them with SIGKILL at a
random moment, and checks what stands under the name and beside it: the old file, nothing or a whole new one; and no
more unfinished files than writers were killed in this round and the one before. Each writer removes those that it finds
unlocked; one that is killed while it removes another's leaves that to the next.
The last write of a campaign is left alone: then nothing but the file may be there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import winit
from winit import checkpoint

UNFINISHED = re.compile(r"\.m\.safetensors\.[0-9a-f]{16}\.winit")
OLD = b"old file"


@dataclass
class Found:
    """What a campaign found: states of the name after each round, the most unfinished files, and what is wrong."""

    writers: int
    overwrite: bool
    kills: int = 0
    in_time: int = 0  # writers that the signal found alive
    states: dict[str, int] = field(default_factory=dict)
    most_unfinished: int = 0
    wrong: list[str] = field(default_factory=list)


def state_of(path: Path, plan: winit.Plan, seeds: range) -> str:
    """Name what stands under the name: none, old, whole or BROKEN."""
    if not path.exists():
        return "none"
    if path.read_bytes() == OLD:
        return "old"
    try:
        return "whole" if any(checkpoint.verify(path, plan, seed=seed).ok for seed in seeds) else "BROKEN"
    except ValueError:
        return "BROKEN"


def write(path: Path, plan: winit.Plan, seed: int, overwrite: bool) -> int:
    """Write in this process; without overwrite, another's file under the name is no failure."""
    try:
        plan.write(path, seed=seed, overwrite=overwrite, threads=1)
    except FileExistsError:
        return 0 if not overwrite else 1
    return 0


def campaign(directory: Path, kills: int, writers: int, overwrite: bool, seed: int, elements: int = 1 << 19) -> Found:
    """Kill `kills` writers, `writers` at a time."""
    plan = winit.Plan({f"w{i}": (elements,) for i in range(4)}, rules=[("*", winit.normal())])
    path = directory / "m.safetensors"
    found, moments, seeds = Found(writers, overwrite), random.Random(seed), range(writers)

    def reset() -> None:
        path.unlink(missing_ok=True)
        if overwrite:
            path.write_bytes(OLD)

    reset()
    write(path, plan, 0, True)  # what is loaded once is loaded
    began = time.monotonic()
    write(path, plan, 0, True)
    whole = (time.monotonic() - began) * writers
    while found.kills < kills:
        reset()
        children = []
        for own in seeds:
            child = os.fork()
            if child == 0:
                os._exit(write(path, plan, own, overwrite))
            children.append(child)
        time.sleep(moments.uniform(0, 1.2 * whole))
        for child in children:
            os.kill(child, signal.SIGKILL)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        found.kills += writers
        found.in_time += sum(map(os.WIFSIGNALED, statuses))
        if any(os.WIFEXITED(status) and os.WEXITSTATUS(status) for status in statuses):
            found.wrong.append("a writer failed")
        state = state_of(path, plan, seeds)
        found.states[state] = found.states.get(state, 0) + 1
        if state == "BROKEN" or state == ("none" if overwrite else "old"):
            found.wrong.append(state)
        others = [entry.name for entry in directory.iterdir() if entry != path]
        found.most_unfinished = max(found.most_unfinished, len(others))
        if len(others) > 2 * writers or not all(map(UNFINISHED.fullmatch, others)):
            found.wrong.append(f"beside it: {others}")
    reset()
    write(path, plan, 0, overwrite)
    if state_of(path, plan, range(1)) != "whole" or [entry.name for entry in directory.iterdir()] != [path.name]:
        found.wrong.append("the last write")
    return found


def main() -> int:
    """Run the campaigns and print one line of JSON each; the status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="in all, shared by six campaigns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="where to write; a new one of the system's by default")
    arguments = parser.parse_args()
    wrong = False
    for number, (writers, overwrite) in enumerate((w, o) for w in (1, 2, 4) for o in (False, True)):
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            found = campaign(Path(directory), -(-arguments.kills // 6), writers, overwrite, arguments.seed + number)
        print(json.dumps(asdict(found)), flush=True)
        wrong |= bool(found.wrong)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
