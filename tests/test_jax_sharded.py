"""One tree on meshes of 1 to 3 axes over eight devices, and on 2 and 3 processes: the bits of its plan's build."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")
HERE = Path(__file__).parent


def start(script, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.Popen(
        [sys.executable, HERE / script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def finish(processes):
    try:
        printed = [process.communicate(timeout=280)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, printed, strict=True):
        assert process.returncode == 0, text[-4000:]


def test_every_mesh_of_eight_devices():
    finish([start("jax_meshes.py")])


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_every_process_holds_the_bits_of_the_whole(world):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    finish([start("jax_ranks.py", port, world, rank) for rank in range(world)])
