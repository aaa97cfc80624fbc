"""Threads over the kernel tables in a program without Python, tests/races.c.

The thread sanitizer reports no race, and with Alpine's C library, whose threads have stacks of 128 KiB, the bytes are
the same.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import winit

SOURCE = Path(__file__).with_name("races.c")
KERNELS = Path(__file__).parents[1] / "src" / "winit" / "_kernels"
FLAGS = "-std=gnu11 -O1 -g1 -pthread -ffp-contract=off -fno-math-errno -fno-trapping-math"

pytestmark = pytest.mark.slow


def compiled(target, compiler, kernels=KERNELS):
    """The driver and the kernels' own C, without what Cython writes."""
    if shutil.which(compiler.split()[0]) is None:
        pytest.skip(f"no {compiler.split()[0]}")
    if not kernels.is_dir():
        pytest.skip("no sources of the kernels beside the tests")
    sources = sorted(source for source in kernels.glob("*.c") if not source.with_suffix(".pyx").exists())
    include = [f"-I{kernels}", f"-I{winit.get_include()}"]
    command = [*compiler.split(), *FLAGS.split(), *include, str(SOURCE), *map(str, sources), "-o", str(target), "-lm"]
    subprocess.run(command, check=True)
    return target


def sanitized(target, kernels=KERNELS):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    probe = ["gcc", "-fsanitize=thread", "-x", "c", "-", "-o", str(target)]
    linked = subprocess.run(probe, input="int main(void) { return 0; }", text=True, capture_output=True)
    if linked.returncode or subprocess.run([target], capture_output=True).returncode:
        pytest.skip("no thread sanitizer here")
    return compiled(target, "gcc -fsanitize=thread", kernels)


def ran(program, *arguments):
    """What it says; it ends at the first race, since a report of each takes minutes."""
    environment = {**os.environ, "TSAN_OPTIONS": "exitcode=66:halt_on_error=1"}
    command = [str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return sanitized(tmp_path_factory.mktemp("races") / "races")


def test_threads_over_the_tables_do_not_race(program):
    done = ran(program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("baseline ")
    assert len(set(done.stdout.split()[1::2])) == 1, done.stdout


def test_the_sanitizer_sees_a_race(program):
    done = ran(program, "overlap")
    assert done.returncode == 66 and "data race" in done.stderr, done.stderr


def test_it_sees_a_product_that_does_not_wait(tmp_path):
    """With a release taken from the product's counters, threads read packed blocks that they may not."""
    kernels = tmp_path / "_kernels"
    shutil.copytree(KERNELS, kernels, ignore=shutil.ignore_patterns("*.so"))
    dense = kernels / "dense.h"
    text = dense.read_text()
    release = "&p->packed[slab], 1, memory_order_release"
    assert text.count(release) == 1
    dense.write_text(text.replace(release, release.replace("release", "relaxed")))
    done = ran(sanitized(tmp_path / "races", kernels))
    assert done.returncode == 66 and "data race" in done.stderr, done.stdout + done.stderr


def test_another_c_library_gives_the_same_bytes(tmp_path):
    programs = [compiled(tmp_path / compiler, compiler) for compiler in ("gcc", "musl-gcc")]
    usual, musl = (ran(program) for program in programs)
    assert usual.returncode == musl.returncode == 0, usual.stdout + musl.stdout + musl.stderr
    assert usual.stdout == musl.stdout
