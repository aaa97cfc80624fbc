"""A file appears whole or not at all: killed writers, hostile neighbours, failing system calls, full disks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import winit
from winit import Param, Plan
from winit._files import appearing
from winit._files.storing import SPAN
from winit.checkpoint import verify

TOP = Path(__file__).parent.parent
PLAN = Plan({"a": Param((40, 30), winit.normal(), "float32"), "b": Param((7,), winit.uniform(), "bfloat16")})
UNFINISHED = re.compile(r"\.m\.safetensors\.[0-9a-f]{16}\.winit")
LEFT = ".m.safetensors.0123456789abcdef.winit"


def listing(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def during(path: Path, act, **keywords) -> None:
    """Write, and do something when all bytes are written, before the file gets its name."""

    def report(done: int, total: int) -> None:
        if done == total:
            act()

    PLAN.write(path, seed=0, threads=1, progress=report, **keywords)


# ---- names


@pytest.mark.parametrize("overwrite", [False, True])
def test_unfinished_file_is_locked_and_goes_away(path, overwrite):
    if overwrite:
        path.write_bytes(b"old")
    seen = []

    def look():
        (unfinished,) = set(listing(path.parent)) - {path.name}
        assert UNFINISHED.fullmatch(unfinished)
        with (path.parent / unfinished).open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(unfinished)

    during(path, look, overwrite=overwrite)
    assert seen and listing(path.parent) == [path.name]


@pytest.mark.parametrize("length", [1, 231, 232, 250, 255])
@pytest.mark.parametrize("overwrite", [False, True])
def test_names_of_any_length(tmp_path, length, overwrite):
    path = tmp_path / ("m" * length)
    for _ in range(1 + overwrite):
        PLAN.write(path, seed=0, overwrite=overwrite)
    assert listing(tmp_path) == [path.name] and verify(path, PLAN, seed=0).ok


def test_name_of_two_byte_characters(tmp_path):
    PLAN.write(tmp_path / ("é" * 120 + ".npz"), seed=0)
    assert listing(tmp_path) == ["é" * 120 + ".npz"]


def never(*arguments, **keywords):
    raise AssertionError("drawn, or written, before it was refused")


REFUSED = {
    "too long": ("m" * 256 + ".npz", OSError, errno.ENAMETOOLONG),
    "directory": ("directory.npz", IsADirectoryError, errno.EISDIR),
    "a file as folder": ("file/", NotADirectoryError, errno.ENOTDIR),
    "below a file as folder": ("file/m/", NotADirectoryError, errno.ENOTDIR),
    "loop": ("loop.npz", OSError, errno.ELOOP),
    "below a file": ("file/m.npz", NotADirectoryError, errno.ENOTDIR),
    "absent": ("absent/m.npz", FileNotFoundError, errno.ENOENT),
    "pipe": ("pipe.npz", OSError, errno.EINVAL),
    "link into nowhere": ("far.npz", FileNotFoundError, errno.ENOENT),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_drawn(tmp_path, monkeypatch, case):
    typed, error, code = REFUSED[case]
    (tmp_path / "directory.npz").mkdir()
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    (tmp_path / "far.npz").symlink_to("absent/m")
    os.mkfifo(tmp_path / "pipe.npz")
    before = listing(tmp_path)
    monkeypatch.setattr(os, "pwrite", never)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        PLAN.write(typed, seed=0, overwrite=True)
    assert (caught.value.errno, caught.value.filename, caught.value.filename2) == (code, typed, None)
    assert listing(tmp_path) == before


def test_loop_is_one_line_of_the_command(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for command in (["init", "gpt2", "-o"], ["verify"]):
        more = ["--overwrite"] if command[0] == "init" else ["gpt2"]
        done = subprocess.run(
            [sys.executable, "-m", "winit", *command, "loop", *more, "--seed", "0"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith("winit: error: loop: ")


def test_verify_of_a_pipe_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"is not a regular file: '.*pipe'"):
        verify(tmp_path / "pipe", PLAN, seed=0)
    with pytest.raises(FileNotFoundError, match="holds no safetensors file and no index of any"):
        verify(tmp_path, PLAN, seed=0)


def test_path_that_cannot_be_printed_is_no_failure(tmp_path):
    spec = tmp_path / "plan.toml"
    spec.write_text(PLAN.to_toml(), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "winit", "init", spec, "-o", b"\xff\xe9.safetensors", "--seed", "0"],
        cwd=tmp_path, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count(b"\n")) == (0, done.stderr.count(b"\r"))
    assert done.stdout.startswith(b"\\udcff\\udce9.safetensors: 2 tensors")
    assert (tmp_path / os.fsdecode(b"\xff\xe9.safetensors")).exists()


# ---- neighbours


def test_left_by_killed_writers_is_removed_and_nothing_else(path):
    directory = path.parent
    (directory / LEFT).write_bytes(b"left")
    others = [
        ".m.safetensors.partial",
        ".m.safetensors.0123456789abcdeg.winit",
        ".m.safetensors.0123456789ABCDEF.winit",
        ".m.safetensors.0123456789abcdef0.winit",
        ".n.safetensors.0123456789abcdef.winit",
        "m.safetensors.0123456789abcdef.winit",
    ]
    for name in others:
        (directory / name).write_bytes(b"another's")
    (directory / ".m.safetensors.1111111111111111.winit").mkdir()
    (directory / ".m.safetensors.2222222222222222.winit").symlink_to(others[0])
    os.mkfifo(directory / ".m.safetensors.3333333333333333.winit")
    before = set(listing(directory))
    PLAN.write(path, seed=0)
    assert set(listing(directory)) == before - {LEFT} | {path.name}
    assert all((directory / name).read_bytes() == b"another's" for name in others)


def test_locked_by_another_stays(path):
    with (path.parent / LEFT).open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        PLAN.write(path, seed=0)
        assert listing(path.parent) == [LEFT, path.name]
    PLAN.write(path, seed=0, overwrite=True)
    assert listing(path.parent) == [path.name]


def test_no_link_is_followed(path, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    names = iter(["0123456789abcdef", "fedcba9876543210", "1" * 16, "2" * 16])
    monkeypatch.setattr(appearing.secrets, "token_hex", lambda count: next(names))
    (tmp_path / LEFT).symlink_to(victim)
    with pytest.raises(FileExistsError) as caught:
        PLAN.write(path, seed=0, overwrite=True)
    assert caught.value.filename == str(path)
    assert victim.read_bytes() == b"precious" and (tmp_path / LEFT).is_symlink() and not path.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_taken_away_is_said_at_once(path, overwrite):
    def steal():
        (unfinished,) = set(listing(path.parent)) - {path.name}
        (path.parent / unfinished).unlink()

    with pytest.raises(FileNotFoundError, match=r"its unfinished file \.m\.\S+\.winit was removed") as caught:
        during(path, steal, overwrite=overwrite)
    assert caught.value.filename == str(path) and listing(path.parent) == []


def test_another_file_under_its_name_is_not_taken_for_it(path):
    def swap():
        (unfinished,) = listing(path.parent)
        (path.parent / unfinished).unlink()
        (path.parent / unfinished).write_bytes(b"evil")

    with pytest.raises(FileNotFoundError, match="was removed during the write"):
        during(path, swap, overwrite=True)
    (evil,) = listing(path.parent)
    assert (path.parent / evil).read_bytes() == b"evil"


@pytest.mark.parametrize("overwrite", [False, True])
def test_directory_moved_or_removed(tmp_path, overwrite):
    directory = tmp_path / "d"
    directory.mkdir()
    with pytest.raises(FileNotFoundError, match="its directory was moved or removed during the write"):
        during(directory / "m.npz", lambda: directory.rename(tmp_path / "e"), overwrite=overwrite)
    assert listing(tmp_path / "e") == []
    directory.mkdir()
    with pytest.raises(FileNotFoundError, match="its directory was moved or removed during the write"):
        during(directory / "m.npz", lambda: shutil.rmtree(directory), overwrite=overwrite)
    assert listing(tmp_path) == ["e"]


def test_change_of_the_working_directory_meanwhile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    during("m.safetensors", lambda: os.chdir("other"))
    assert listing(tmp_path) == ["m.safetensors", "other"] and listing(tmp_path / "other") == []


def test_last_writer_wins(path):
    order = []

    def inner():
        if not order:
            order.append(1)
            PLAN.write(path, seed=1, overwrite=True)
            assert verify(path, PLAN, seed=1).ok

    during(path, inner, overwrite=True)
    assert listing(path.parent) == [path.name] and verify(path, PLAN, seed=0).ok


def test_two_processes_without_end(path):
    code = (
        "import sys, winit\n"
        "plan = winit.Plan.from_toml(sys.argv[1])\n"
        "for _ in range(40): plan.write(sys.argv[2], seed=int(sys.argv[3]), overwrite=True)\n"
    )
    spec = path.parent / "plan.toml"
    spec.write_text(PLAN.to_toml(), encoding="utf-8")
    writers = [subprocess.Popen([sys.executable, "-c", code, spec, path, str(seed)]) for seed in (1, 2)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert listing(path.parent) == [path.name, "plan.toml"]
    assert any(verify(path, PLAN, seed=seed).ok for seed in (1, 2))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to make another user's file")
def test_another_users_file_in_a_sticky_directory():
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o1777)
        refuse_another_users_file(Path(name))


def refuse_another_users_file(directory: Path) -> None:
    (directory / "m.npz").write_bytes(b"root's")
    code = (
        "import os, sys, winit\n"
        "from winit._files import appearing\n"
        "plan = winit.Plan({'a': winit.Param((4,), winit.ones())})\n"
        "plan.digest\n"
        "import winit.checkpoint\n"
        "os.setuid(65534)\n"
        "os.pwrite = None\n"
        "try: plan.write(sys.argv[1], seed=0, overwrite=True)\n"
        "except PermissionError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, directory / "m.npz"], capture_output=True, text=True, check=False
    )
    why = "belongs to another user, in a directory where only he may replace it"
    assert (done.stdout, done.stderr) == (f"[Errno 1] {why}: '{directory}/m.npz'\n", "")
    assert listing(directory) == ["m.npz"] and (directory / "m.npz").read_bytes() == b"root's"


# ---- killed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("writers", [1, 2, 4])
def test_killed_writers_leave_all_or_nothing(tmp_path, writers, overwrite):
    done = subprocess.run(
        [sys.executable, "-c", KILLS, TOP / "tools", tmp_path, str(writers), str(overwrite)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["wrong"] == [] and found["in_time"] > 0, found
    assert set(found["states"]) <= {"whole", "old" if overwrite else "none"}


KILLS = """
import dataclasses, json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import kill_writers
found = kill_writers.campaign(pathlib.Path(sys.argv[2]), 24, int(sys.argv[3]), sys.argv[4] == "True", 7)
print(json.dumps(dataclasses.asdict(found)))
"""


# ---- failing system calls


@pytest.fixture(scope="session")
def faults(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


WRITE = """
import os, sys, winit
plan = winit.Plan({f"w{i}": winit.Param((3 << 18,), winit.normal()) for i in range(4)})
os.environ["FAULT"] = sys.argv[3]
try:
    plan.write(sys.argv[1], seed=0, overwrite=sys.argv[2] == "True", threads=2)
    print("written")
except OSError as error:
    print(error.errno, error.filename)
"""
SPANNED = Plan({f"w{i}": Param((3 << 18,), winit.normal()) for i in range(4)})
FATAL = [
    *[(f"pwrite:{n}", code) for n in (1, 2, 4) for code in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)],
    *[("fsync:1", code) for code in (errno.EIO, errno.ENOSPC, errno.EDQUOT)],
    *[("ftruncate:1", code) for code in (errno.EFBIG, errno.EIO)],
    ("flock:1", errno.EIO),
]


@pytest.mark.parametrize(("fault", "code"), FATAL)
@pytest.mark.parametrize("overwrite", [False, True])
def test_failing_call_leaves_what_was_there(faults, path, fault, code, overwrite):
    if overwrite:
        path.write_bytes(b"old")
    assert run_with(faults, path, f"{fault}:{code}", overwrite) == f"{code} {path}\n"
    assert listing(path.parent) == ([path.name] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("fault", "overwrite"),
    [("rename:1", True), ("link:1", False), ("link:2", False)],
)
@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.EBUSY])
def test_failing_name_leaves_what_was_there(faults, path, fault, code, overwrite):
    test_failing_call_leaves_what_was_there(faults, path, fault, code, overwrite)


@pytest.mark.parametrize(
    "fault",
    [
        *[f"{call}:{n}:{errno.EINTR}" for call in ("pwrite", "fsync", "ftruncate", "flock") for n in (1, 2)],
        *[f"flock:1+:{code}" for code in (errno.ENOLCK, errno.EOPNOTSUPP)],
        *[f"fsync:2:{code}" for code in (errno.EINVAL, errno.EOPNOTSUPP)],
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_does_not_matter_is_done_again_or_done_without(faults, path, fault, overwrite):
    assert run_with(faults, path, fault, overwrite) == "written\n"
    assert listing(path.parent) == [path.name] and verify(path, SPANNED, seed=0).ok


def test_without_hard_links_a_rename_is_offered_before_anything_is_drawn(faults, path):
    for code in (errno.EPERM, errno.EOPNOTSUPP):
        assert run_with(faults, path, f"link:1+:{code}", False) == f"{code} {path}\n"
        assert listing(path.parent) == []
        assert run_with(faults, path, f"link:1+:{code}", True) == "written\n"
        path.unlink()


def test_name_that_may_not_outlive_a_crash_is_said(faults, path):
    assert run_with(faults, path, f"fsync:2:{errno.EIO}", False) == f"{errno.EIO} {path}\n"
    assert verify(path, SPANNED, seed=0).ok, "the file is whole"


def run_with(faults: Path, path: Path, fault: str, overwrite: bool) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WRITE, path, str(overwrite), fault],
        env={**os.environ, "LD_PRELOAD": str(faults)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("old", [None, b"old"])
def test_limit_of_the_process_is_met_before_anything_is_drawn(tmp_path, old):
    path = tmp_path / "m.safetensors"
    if old:
        path.write_bytes(old)
    before = listing(tmp_path)
    code = (
        "import os, resource, sys, winit, winit.checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 20, 5 << 20))\n"
        "os.pwrite = None\n"
        "plan = winit.Plan({'w': winit.Param((6 << 20,), winit.normal())})\n"
        "try: plan.write(sys.argv[1], seed=0, overwrite=sys.argv[2] == 'True')\n"
        "except OSError as error: print(error.errno, error.filename)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, str(old is not None)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (f"{errno.EFBIG} {path}\n", "")
    assert listing(tmp_path) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("needs mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("may not mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk(small_disk):
    path = small_disk / "m.safetensors"
    plan = Plan({f"w{i}": Param((3 << 18,), winit.normal()) for i in range(2)})  # 6 MiB
    plan.write(path, seed=0)
    whole = path.read_bytes()
    with pytest.raises(OSError, match="No space left on device: .* bytes are needed"):
        plan.write(path, seed=1, overwrite=True)
    assert listing(small_disk) == [path.name] and path.read_bytes() == whole

    def fill_up(done, total):
        if 0 < done < total:
            (small_disk / "other").write_bytes(bytes(4 << 20))

    path.unlink()
    with pytest.raises(OSError, match=r"No space left on device: '.*m\.safetensors'") as caught:
        plan.write(path, seed=1, threads=1, progress=fill_up)
    assert caught.value.errno == errno.ENOSPC
    assert listing(small_disk) == ["other"]


def test_read_only_disk(small_disk):
    (small_disk / "m.npz").write_bytes(b"old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for name, overwrite in (("m.npz", True), ("n.npz", False)):
        with pytest.raises(OSError, match="Read-only file system") as caught:
            PLAN.write(small_disk / name, seed=0, overwrite=overwrite)
        assert (caught.value.errno, caught.value.filename) == (errno.EROFS, str(small_disk / name))
    assert listing(small_disk) == ["m.npz"]


@pytest.mark.slow
def test_file_past_4_gib(tmp_path):
    if shutil.disk_usage(tmp_path).free < 12 << 30:
        pytest.skip("needs 12 GiB of disk")
    path = tmp_path / "m.safetensors"
    plan = Plan({"a": Param(((4 << 30) + 3,), winit.ones(), "int8"), "b": Param((1 << 20,), winit.normal())})
    plan.write(path, seed=0)
    assert path.stat().st_size > plan.nbytes > 4 << 30
    assert verify(path, plan, seed=0).ok
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    assert not verify(path, plan, seed=0).ok
    assert np.prod(plan["a"].shape) > SPAN


@pytest.mark.parametrize("moment", ["opened", "entered"])
def test_an_interrupt_where_no_handler_knows_of_the_file_leaves_nothing_when_the_process_ends(tmp_path, moment):
    """Between the system's making the file and Python's having its descriptor; and before the block is entered."""
    program = f"""
import os, sys
from winit._files import appearing
made = os.open
def opened(path, flags, *given, **named):
    descriptor = made(path, flags, *given, **named)
    if str(path).endswith(".winit"):
        raise KeyboardInterrupt
    return descriptor
target = appearing.destination({str(tmp_path / "m.npz")!r}, False)
try:
    if {moment!r} == "opened":
        os.open = opened
        appearing.appearing(target, 8).__enter__()
    else:
        kept = appearing.appearing(target, 8)
        kept.__enter__()
        kept.cycle = kept
        raise KeyboardInterrupt
except KeyboardInterrupt:
    os.open = made
    print(len(os.listdir({str(tmp_path)!r})))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n" and done.stderr == ""
    assert list(tmp_path.iterdir()) == []
