from __future__ import annotations

import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import winit
from winit import Param, Plan
from winit._files import collecting, safetensors_header
from winit._files.safetensors_header import CODES
from winit._files.storing import SPAN
from winit.checkpoint import heading, verify

safetensors = pytest.importorskip("safetensors")
pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="writing checkpoints needs POSIX")

FLOATS = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
FOREIGN = FLOATS[3:]  # which NumPy has not
LAWS = {
    "normal": winit.normal(0.1, 0.5),
    "uniform": winit.uniform(-1, 2),
    "truncated": winit.truncated_normal(),
    "he": winit.he_normal(),
    "constant": winit.constant(0.1),
    "literal": winit.literal(np.arange(35).reshape(7, 5) % 2),
}


def assorted() -> Plan:
    """Every dtype, narrow ones before wide, scalars, empty tensors, ties, keys, odd names."""
    params = {}
    for dtype in reversed(CODES):
        params |= {f"{dtype}.ones": Param((3,), winit.ones(), dtype), f"{dtype}.scalar": Param((), winit.ones(), dtype)}
        params |= {f"{dtype}.literal": Param((7, 5), LAWS["literal"], dtype)}
        params |= {f"{dtype}.empty": Param((0, 4), winit.zeros(), dtype)}
    for dtype in FLOATS:
        params |= {f"{dtype}.{law}": Param((7, 5), scheme, dtype) for law, scheme in LAWS.items()}
        params[f"{dtype}.drawn scalar"] = Param((), winit.normal(), dtype)
    params["tied"] = Param(tied="bfloat16.he")
    params['é "\n\\ 𝄞 {0..3}'] = Param((5,), winit.normal(), "float16", key="other")
    params[""] = Param((2, 2), winit.he_normal(), "float32", "io")
    return Plan(params)


ASSORTED = assorted()
SMALL = Plan({"a": Param((40, 30), winit.normal(), "float32"), "b": Param((7,), winit.uniform(), "bfloat16")})


def parse(path: Path) -> tuple[dict, dict[str, str], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    return entries, entries.pop("__metadata__"), data[8 + length :]


def listing(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def python(code: str, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )


# ---- what is written


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("assorted") / "model.safetensors"
    ASSORTED.write(path, seed=11)
    return path


def test_file_equals_build(written):
    entries, _, data = parse(written)
    built = ASSORTED.build(seed=11)
    assert set(entries) == set(ASSORTED.stored)
    for name, entry in entries.items():
        lo, hi = entry["data_offsets"]
        assert entry["dtype"] == CODES[ASSORTED[name].dtype]
        assert tuple(entry["shape"]) == ASSORTED[name].shape
        assert data[lo:hi] == built[name].tobytes(), name


def test_offsets_are_aligned_and_gapless(written):
    entries, _, data = parse(written)
    start = written.stat().st_size - len(data)
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        lo, hi = entry["data_offsets"]
        assert lo == end, name
        assert (start + lo) % ASSORTED[name].itemsize == 0, name
        end = hi
    assert end == len(data) == ASSORTED.nbytes


def test_safetensors_reads_it_as_numpy(written):
    built = ASSORTED.build(seed=11)
    with safetensors.safe_open(written, framework="numpy") as file:
        assert set(file.keys()) == set(ASSORTED.stored)
        for name, param in ASSORTED.stored.items():
            if param.dtype in FOREIGN:
                continue  # test_safetensors_reads_it_as_torch
            found = file.get_tensor(name)
            assert (found.shape, found.dtype) == (param.shape, np.dtype(param.dtype))
            assert found.tobytes() == built[name].tobytes(), name


def test_safetensors_loads_whole_files(tmp_path):
    from safetensors.numpy import load_file

    plan = Plan({name: param for name, param in ASSORTED.stored.items() if param.dtype not in FOREIGN})
    plan.write(tmp_path / "m.safetensors", seed=2)
    loaded, built = load_file(tmp_path / "m.safetensors"), plan.build(seed=2)
    assert set(loaded) == set(built)
    assert all(loaded[name].tobytes() == built[name].tobytes() for name in built)


def test_safetensors_reads_it_as_torch(written):
    torch = pytest.importorskip("torch")
    built = ASSORTED.build(seed=11)
    with safetensors.safe_open(written, framework="pt") as file:
        for name, param in ASSORTED.stored.items():
            if param.dtype not in FLOATS:
                continue
            found = file.get_tensor(name)
            assert found.dtype == getattr(torch, param.dtype)
            assert tuple(found.shape) == param.shape
            words = found.reshape(-1).view(torch.uint8).numpy() if found.numel() else np.empty(0, np.uint8)
            assert words.tobytes() == built[name].tobytes(), name


def test_metadata(written):
    with safetensors.safe_open(written, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata == {
        "format": "pt",
        "winit.stream": str(winit.STREAM_VERSION),
        "winit.seed": "11",
        "winit.plan": ASSORTED.digest,
        "tied": "bfloat16.he",
    }


TAKEN = ["format", "winit.seed", "winit.plan", "winit.stream", "winit.pretrained", "winit.", "winit.of tomorrow"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_tie_that_metadata_has_no_place_for_is_refused_before_anything_is_written(tmp_path, name):
    plan = Plan({"a": Param((2,), scheme=winit.zeros()), name: Param(tied="a")})
    words = rf"^{re.escape(name)}: tied to 'a', .*tie 'a' to {re.escape(repr(name))} instead.*or give it another name$"
    with pytest.raises(ValueError, match=words):
        plan.write(tmp_path / "m.safetensors", seed=5)
    with pytest.raises(ValueError, match=words):
        heading.header(plan, 5, "", origin="1 copied")
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("name", [*TAKEN, "formats", "Format", "winit", "__metadata__"])
def test_every_other_tie_is_in_the_file_and_read_back(tmp_path, name):
    """What the refusal proposes, the tie the other way round, and names that only look like those taken."""
    given = {name: Param((2,), winit.normal())} if name in TAKEN else {"a": Param((2,), winit.normal())}
    given["a" if name in TAKEN else name] = Param(tied=next(iter(given)))
    plan = Plan(given)
    path = tmp_path / "m.safetensors"
    plan.write(path, seed=5)
    _, metadata, _ = parse(path)
    (tied,) = (each for each, param in plan.items() if param.tied is not None)
    assert metadata[tied] == plan[tied].tied
    assert (metadata["format"], metadata["winit.seed"], metadata["winit.plan"]) == ("pt", "5", plan.digest)
    assert verify(path, plan, seed=5).ok
    alone = Plan({tied: Param((2,), winit.zeros())})
    loaded = winit.pretrained(path, alone, seed=0).build()
    assert (loaded[tied] == plan.build(seed=5)[tied]).all() and loaded[tied].any()


def test_torch_loads_a_model_whose_tied_name_is_stored(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_model

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_parameter("format", torch.nn.Parameter(torch.zeros(3)))
            self.a = self.format

    plan = Plan({"format": Param((3,), winit.normal()), "a": Param(tied="format")})
    plan.write(tmp_path / "m.safetensors", seed=5)
    model = Model()
    load_model(model, tmp_path / "m.safetensors")
    assert (model.a.detach().numpy() == plan.build(seed=5)["a"]).all() and model.a is model.format


def test_plan_without_tensors(tmp_path):
    seen = []
    Plan().write(tmp_path / "m.safetensors", seed=0, progress=lambda *state: seen.append(state))
    assert seen[-1] == (0, 0)
    with safetensors.safe_open(tmp_path / "m.safetensors", framework="numpy") as file:
        assert list(file.keys()) == []
    assert verify(tmp_path / "m.safetensors", Plan(), seed=0).ok


def spanning() -> Plan:
    """Tensors around one span and of several, of every element size, between small ones."""
    elements = SPAN // 4
    return Plan(
        {
            "tiny": Param((3,), winit.normal(), "float16"),
            "span": Param((elements,), winit.normal(), "float32"),
            "span - 1": Param((elements - 1,), winit.uniform(), "float32"),
            "span + 1": Param((elements + 1,), winit.truncated_normal(), "float32"),
            "half": Param((2 * SPAN // 2 + 5,), winit.normal(), "bfloat16"),
            "double": Param((3, SPAN // 8 + 1), winit.he_normal(), "float64"),
            "bytes": Param((SPAN + 3,), winit.constant(-7), "int8"),
            "literal": Param((SPAN // 8 + 9,), winit.literal(np.arange(SPAN // 8 + 9)), "int64"),
        }
    )


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    plan, path = spanning(), tmp_path_factory.mktemp("spans") / "m.safetensors"
    plan.write(path, seed=1, threads=1)
    return plan, path


def test_tensors_of_many_spans_equal_build(spans):
    plan, path = spans
    entries, _, data = parse(path)
    for name, array in plan.build(seed=1).items():
        lo, hi = entries[name]["data_offsets"]
        assert data[lo:hi] == array.tobytes(), name


def test_same_bytes_for_any_number_of_threads(spans, tmp_path):
    plan, path = spans
    expected = path.read_bytes()
    for threads in (1, 2, 3, 16, None):
        plan.write(tmp_path / "m.safetensors", seed=1, threads=threads, overwrite=True)
        assert (tmp_path / "m.safetensors").read_bytes() == expected, threads
    assert list(listing(tmp_path)) == ["m.safetensors"]


def test_file_mode_follows_umask(tmp_path):
    old = os.umask(0o027)
    try:
        SMALL.write(tmp_path / "m.safetensors", seed=0)
    finally:
        os.umask(old)
    assert (tmp_path / "m.safetensors").stat().st_mode & 0o777 == 0o640


def test_bfloat16_needs_no_ml_dtypes(tmp_path):
    path = tmp_path / "m.safetensors"
    plan = Plan(
        {"w": Param((50, 3), winit.he_normal(), "bfloat16"), "b": Param((2,), winit.literal([1, 2]), "bfloat16")}
    )
    done = python(
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import winit, winit.checkpoint\n"
        "plan = winit.Plan.from_toml(sys.argv[1])\n"
        "plan.write(sys.argv[2], seed=4)\n"
        "assert winit.checkpoint.verify(sys.argv[2], plan, seed=4).ok\n"
        "try: plan.build(seed=4)\n"
        "except ImportError: print('no ml_dtypes')\n",
        plan.to_toml(),
        path,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("no ml_dtypes\n", "", 0)
    _, _, data = parse(path)
    assert data == b"".join(array.tobytes() for array in plan.build(seed=4).values())


# A process of its own, so that nothing else counts. VmHWM rather than ru_maxrss, which starts from the parent's.
WRITE_LARGE = """
import sys, winit
rows = int(sys.argv[2])
plan = winit.Plan({f"w{i}": (rows, 1024) for i in range(10)}, rules=[("*", winit.normal(), "oi", "bfloat16")])
plan.write(sys.argv[1], seed=0, threads=2)
print(plan.nbytes, *(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_plan(tmp_path):
    peaks = []
    for rows in (512, 30_000):
        path = tmp_path / f"{rows}.safetensors"
        done = python(WRITE_LARGE, path, rows)
        assert done.stderr == ""
        nbytes, peak = map(int, done.stdout.split())
        assert path.stat().st_size > nbytes == 2 * 1024 * rows * 10
        peaks.append(peak * 1024)
        path.unlink()
    assert peaks[1] < 300e6
    assert peaks[1] < peaks[0] + 50e6


# ---- progress


@pytest.mark.parametrize("threads", [1, 4])
def test_progress_grows_to_the_total(spans, tmp_path, threads):
    plan, path = spans
    for act in (lambda report: plan.write(tmp_path / "m.safetensors", seed=1, threads=threads, progress=report),
                lambda report: verify(path, plan, seed=1, threads=threads, progress=report)):  # fmt: skip
        seen = []
        act(lambda done, total, seen=seen: seen.append((done, total)))
        assert {total for _, total in seen} == {plan.nbytes}
        done = [done for done, _ in seen]
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, plan.nbytes)
        assert len(done) > plan.nbytes // SPAN


# IndexError: what the queue of spans ends with too.
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, IndexError, StopIteration])
@pytest.mark.parametrize("threads", [1, 3])
def test_errors_of_the_progress_callback_come_through(tmp_path, error, threads):
    def report(done, total):
        if done == total:
            raise error("mine")

    with pytest.raises(error, match="mine"):
        SMALL.write(tmp_path / "m.safetensors", seed=0, threads=threads, progress=report)
    assert listing(tmp_path) == {}


def test_interrupt_waits_for_the_other_threads(tmp_path, monkeypatch):
    # Ctrl-C while the main thread, out of spans, waits: the file must not be closed under the other's hands.
    plan = Plan({"w": Param((SPAN // 2,), winit.normal(), "float32")})
    main, real = threading.main_thread(), os.pwrite
    entered, returned, finished, late = threading.Event(), threading.Event(), threading.Event(), []

    def pwrite(descriptor, data, place):
        if len(data) < SPAN:  # the header
            return real(descriptor, data, place)
        if threading.current_thread() is main:
            entered.wait(20)
        else:
            entered.set()
            time.sleep(0.3)  # for the main thread to write its span and wait
            signal.pthread_kill(main.ident, signal.SIGINT)
            time.sleep(0.3)
            late.append(returned.is_set())
            finished.set()
            if late[0]:
                raise OSError(errno.EBADF, "too late")
        return real(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(KeyboardInterrupt):
        plan.write(tmp_path / "m.safetensors", seed=0, threads=2)
    returned.set()
    assert finished.wait(20)  # a join that was interrupted takes the thread for ended (Python 3.11)
    assert late == [False]
    # The other thread's span was the last, and the file whole before this one was heard.
    assert list(listing(tmp_path)) in ([], ["m.safetensors"])
    assert all(verify(path, plan, seed=0).ok for path in tmp_path.iterdir())


# ---- refusals, before anything is written


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"seed": -1}, ValueError, r"^seed must be in \[0, 2\^64\), not -1$"),
        ({"seed": 2**64}, ValueError, r"^seed must be in \[0, 2\^64\)"),
        ({"seed": "0"}, TypeError, r"^seed must be an integer, not str$"),
        ({"seed": 0, "threads": 0}, ValueError, r"^threads must be at least 1, not 0$"),
        ({"seed": 0, "threads": "2"}, TypeError, r"^threads must be an integer or None, not str$"),
    ],
)
def test_write_and_verify_refuse_arguments(tmp_path, arguments, error, match):
    with pytest.raises(error, match=match):
        SMALL.write(tmp_path / "m.safetensors", **arguments)
    assert listing(tmp_path) == {}
    SMALL.write(tmp_path / "m.safetensors", seed=0)
    with pytest.raises(error, match=match):
        verify(tmp_path / "m.safetensors", SMALL, **arguments)


def test_write_refuses_a_tensor_called_metadata(tmp_path):
    with pytest.raises(ValueError, match=r"^a tensor cannot be called '__metadata__' in a safetensors file$"):
        Plan({"__metadata__": Param((2,), scheme=winit.zeros())}).write(tmp_path / "m.safetensors", seed=0)
    assert listing(tmp_path) == {}


def test_write_refuses_a_header_that_readers_would(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_header, "MAX_HEADER", 100)
    with pytest.raises(ValueError, match=r"^the file's header would be .* bytes, more than the 100 readers accept$"):
        SMALL.write(tmp_path / "m.safetensors", seed=0)
    assert listing(tmp_path) == {}


def test_existing_file_is_left_alone(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"exists already \(overwrite=True.*m\.safetensors"):
        SMALL.write(path, seed=0)
    assert listing(tmp_path) == {"m.safetensors": b"precious"}


def test_dangling_link_counts_as_existing(tmp_path):
    path = tmp_path / "m.safetensors"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=r"exists already .*m\.safetensors"):
        SMALL.write(path, seed=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]
    assert path.is_symlink()


def test_overwrite_replaces(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old" * 1_000_000)
    SMALL.write(path, seed=0, overwrite=True)
    assert list(listing(tmp_path)) == ["m.safetensors"]
    assert verify(path, SMALL, seed=0).ok
    assert path.stat().st_size < 100_000


def test_overwrite_needs_no_file(tmp_path):
    SMALL.write(tmp_path / "m.safetensors", seed=0, overwrite=True)
    assert verify(tmp_path / "m.safetensors", SMALL, seed=0).ok


def test_overwrite_leaves_open_readers_the_old_file(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        SMALL.write(path, seed=0, overwrite=True)
        assert reader.read() == b"old"


@pytest.mark.parametrize("overwrite", [False, True])
def test_directory_as_file(tmp_path, overwrite):
    (tmp_path / "m.safetensors").mkdir()
    with pytest.raises(IsADirectoryError, match=r"m\.safetensors"):
        SMALL.write(tmp_path / "m.safetensors", seed=0, overwrite=overwrite)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


def test_missing_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        SMALL.write(tmp_path / "absent" / "m.safetensors", seed=0)
    assert listing(tmp_path) == {}


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SMALL.write("m.safetensors", seed=0)
    assert verify("m.safetensors", SMALL, seed=0).ok
    assert list(listing(tmp_path)) == ["m.safetensors"]


def test_no_room_is_refused_before_writing(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    real = os.fstatvfs

    def nearly_full(descriptor):
        fields = list(real(descriptor))
        fields[1] = fields[4] = 1  # frsize, bavail
        return os.statvfs_result(fields)

    def never(*arguments):
        raise AssertionError("wrote")

    monkeypatch.setattr(os, "fstatvfs", nearly_full)
    monkeypatch.setattr(os, "pwrite", never)
    with pytest.raises(
        OSError, match=r"No space left on device: [\d,]+ bytes are needed, 1 free.*m\.safetensors"
    ) as caught:
        SMALL.write(path, seed=0, overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert listing(tmp_path) == {"m.safetensors": b"old"}


# ---- failures midway


def failing(function, good: int, error: Exception):
    calls = iter(range(good))

    def fail(*arguments, **keywords):
        if next(calls, None) is None:
            raise error
        return function(*arguments, **keywords)

    return fail


@pytest.mark.parametrize("good", [0, 1, 2, 5])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("old", [None, b"old"])
def test_full_disk_midway(spans, tmp_path, monkeypatch, good, threads, old):
    plan, _ = spans
    path = tmp_path / "m.safetensors"
    if old:
        path.write_bytes(old)
    monkeypatch.setattr(os, "pwrite", failing(os.pwrite, good, OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match=r"No space left on device: '.*m\.safetensors'$") as caught:
        plan.write(path, seed=1, threads=threads, overwrite=old is not None)
    assert caught.value.errno == errno.ENOSPC
    assert listing(tmp_path) == ({"m.safetensors": old} if old else {})


def test_short_writes_are_finished(spans, tmp_path, monkeypatch):
    plan, path = spans
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, place: real(descriptor, data[: 1 << 20], place))
    plan.write(tmp_path / "m.safetensors", seed=1)
    assert (tmp_path / "m.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("overwrite", [False, True])
def test_failed_sync(tmp_path, monkeypatch, overwrite):
    path = tmp_path / "m.safetensors"
    if overwrite:
        path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(os.fsync, 0, OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match=r"Input/output error: '.*m\.safetensors'$"):
        SMALL.write(path, seed=0, overwrite=overwrite)
    assert listing(tmp_path) == ({"m.safetensors": b"old"} if overwrite else {})


def test_failed_rename_leaves_nothing_new(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    for module, name in ((Path, "replace"), (os, "replace"), (os, "rename")):
        monkeypatch.setattr(module, name, failing(getattr(module, name), 0, PermissionError(errno.EPERM, "no")))
    with pytest.raises(PermissionError, match="no"):
        SMALL.write(path, seed=0, overwrite=True)
    assert listing(tmp_path) == {"m.safetensors": b"old"}


def test_file_that_appears_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "m.safetensors"

    def report(done, total):
        if done == total:
            path.write_bytes(b"another's")

    with pytest.raises(FileExistsError, match=r"m\.safetensors") as caught:
        SMALL.write(path, seed=0, progress=report)
    assert listing(tmp_path) == {"m.safetensors": b"another's"}
    assert Path(caught.value.filename) == path


# ---- verify


def test_verify_whole(written):
    found = verify(written, ASSORTED, seed=11)
    assert found.ok
    assert (found.differ, found.missing, found.unexpected, found.malformed) == ((), (), (), {})
    assert (found.tensors, found.bytes) == (len(ASSORTED.stored), ASSORTED.nbytes)
    assert found.metadata["winit.plan"] == ASSORTED.digest


def test_one_bit_names_its_tensor(written, tmp_path):
    entries, _, data = parse(written)
    whole = written.read_bytes()
    start = len(whole) - len(data)
    path = tmp_path / "m.safetensors"
    for name, entry in entries.items():
        lo, hi = entry["data_offsets"]
        for place in {lo, (lo + hi) // 2, hi - 1} if hi > lo else ():
            broken = bytearray(whole)
            broken[start + place] ^= 1 << place % 8
            path.write_bytes(broken)
            found = verify(path, ASSORTED, seed=11)
            assert not found.ok
            assert (found.differ, found.missing, found.unexpected, found.malformed) == ((name,), (), (), {})


@pytest.mark.parametrize("threads", [1, 4])
def test_one_bit_in_any_span_names_its_tensor(spans, tmp_path, threads):
    plan, path = spans
    entries, _, data = parse(path)
    broken = bytearray(path.read_bytes())
    start = len(broken) - len(data)
    for name in ("double", "bytes"):
        broken[start + entries[name]["data_offsets"][1] - 1] ^= 1
    (tmp_path / "m.safetensors").write_bytes(broken)
    assert verify(tmp_path / "m.safetensors", plan, seed=1, threads=threads).differ == ("double", "bytes")


def test_verify_with_another_seed(written):
    found = verify(written, ASSORTED, seed=12)
    drawn = {
        name
        for name, param in ASSORTED.stored.items()
        if param.size and type(param.scheme).__name__ not in ("zeros", "ones", "constant", "literal")
    }
    assert set(found.differ) == drawn
    assert list(found.differ) == [name for name in ASSORTED if name in drawn]
    assert not found.ok
    assert found.metadata["winit.seed"] == "11"


def test_verify_missing_and_unexpected(tmp_path):
    path = tmp_path / "m.safetensors"
    SMALL.write(path, seed=0)
    other = Plan({"a": SMALL["a"], "c": SMALL["b"], "t": Param(tied="a")})
    found = verify(path, other, seed=0)
    assert (found.ok, found.differ, found.missing, found.unexpected) == (False, (), ("c",), ("b",))
    assert (found.tensors, found.bytes) == (1, 4800)
    fewer = verify(path, Plan({"a": SMALL["a"]}), seed=0)
    assert (fewer.ok, fewer.missing, fewer.unexpected) == (False, (), ("b",))
    assert verify(path, Plan(), seed=0).unexpected == ("a", "b")


@pytest.mark.parametrize(
    ("param", "what"),
    [
        (Param((40, 30), winit.ones(), "int32"), "is F32 [40, 30], expected I32 [40, 30]"),
        (Param((30, 40), winit.normal(), "float32"), "is F32 [40, 30], expected F32 [30, 40]"),
        (Param((1200,), winit.normal(), "float32"), "is F32 [40, 30], expected F32 [1200]"),
        (Param((40, 30), winit.normal(), "float16"), "is F32 [40, 30], expected F16 [40, 30]"),
    ],
)
def test_verify_wrong_dtype_or_shape(tmp_path, param, what):
    SMALL.write(tmp_path / "m.safetensors", seed=0)
    found = verify(tmp_path / "m.safetensors", Plan({"a": param, "b": SMALL["b"]}), seed=0)
    assert (found.ok, found.malformed) == (False, {"a": what})
    assert (found.differ, found.missing, found.unexpected) == ((), (), ())


def test_verify_of_shards_by_their_index_or_folder(tmp_path):
    from safetensors.numpy import load_file, save_file

    plan = Plan({name: Param((40, 30), winit.normal(), "float32") for name in "abc"})
    built = plan.build(seed=3)
    save_file({"a": built["a"]}, tmp_path / "1.safetensors")
    save_file({"b": built["b"], "c": built["c"]}, tmp_path / "2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    places = {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"}
    index.write_text(json.dumps({"weight_map": places}))
    for path in (index, tmp_path):
        found = verify(path, plan, seed=3)
        assert (found.ok, found.tensors, found.bytes) == (True, 3, plan.nbytes)
    assert verify(index, plan, seed=4).differ == ("a", "b", "c")
    arrays = load_file(tmp_path / "2.safetensors")
    arrays["c"][7, 7] = np.nextafter(arrays["c"][7, 7], np.float32(np.inf))
    save_file({**arrays, "a": built["a"]}, tmp_path / "2.safetensors")
    found = verify(index, plan, seed=3)
    assert (found.ok, found.differ, found.unexpected) == (False, ("c",), ("a (2.safetensors)",))
    (tmp_path / "1.safetensors").unlink()
    found = verify(index, plan, seed=3)
    assert (found.ok, found.broken, found.missing) == (False, {"1.safetensors": "missing"}, ("a",))


def test_verify_reads_files_of_the_safetensors_library(tmp_path):
    from safetensors.numpy import save_file

    plan = Plan({name: Param((7, 5), winit.normal(), name) for name in ("float16", "float64", "float32")})
    save_file(plan.build(seed=9), tmp_path / "m.safetensors")
    assert verify(tmp_path / "m.safetensors", plan, seed=9).ok


def test_verify_needs_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        verify(tmp_path / "absent.safetensors", SMALL, seed=0)
    with pytest.raises(FileNotFoundError, match="holds no safetensors file and no index of any"):
        verify(tmp_path, SMALL, seed=0)


def test_verify_of_a_file_cut_while_read(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    SMALL.write(path, seed=0)
    real = safetensors_header.read_header

    def then_cut(descriptor, name):
        found = real(descriptor, name)
        os.truncate(path, path.stat().st_size - 100)
        return found

    monkeypatch.setattr(collecting, "read_header", then_cut)
    with pytest.raises(ValueError, match=r"m\.safetensors has changed since its header was read$"):
        verify(path, SMALL, seed=0)


# ---- hostile files

TWO = Plan({"a": Param((4,), winit.zeros(), "float32"), "b": Param((4,), winit.zeros(), "float32")})


def file_of(entries: object, data: bytes = bytes(32)) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(lo: object = 0, hi: object = 16, shape: object = (4,), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [lo, hi]}


HOSTILE = {
    "empty": (b"", "it has 0 bytes, and the header's length alone takes 8"),
    "too short": (b"1234567", "it has 7 bytes"),
    "no header": (struct.pack("<Q", 0), "its header is not JSON"),
    "longer than the file": (struct.pack("<Q", 3) + b"{}", "its header claims 3 bytes of a file of 10"),
    "of absurd length": (struct.pack("<Q", 2**64 - 1) + b"{}", "its header claims 18,446,744,073,709,551,615 bytes"),
    "2^63 bytes": (struct.pack("<Q", 2**63) + b"{}", "its header claims 9,223,372,036,854,775,808 bytes"),
    "not JSON": (file_of(b"hello world"), "its header is not JSON"),
    "half JSON": (file_of(b'{"a": '), "its header is not JSON"),
    "not UTF-8": (file_of(b'{"a\xff": 1}'), "its header is not JSON"),
    "nested deeply": (file_of(b"[" * 1_000_000), "its header is nested deeper than 127 levels"),
    "objects nested deeply": (file_of(b'{"a":' * 1_000_000), "its header is nested deeper than 127 levels"),
    "an integer of 5000 digits": (file_of(b"[" + b"1" * 5000 + b"]"), "its header is not JSON"),
    "an array": (file_of([]), "its header is not an object"),
    "null": (file_of(None), "its header is not an object"),
    "metadata an array": (file_of({"__metadata__": []}), "its __metadata__ is not an object of strings"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}}), "its __metadata__ is not an object of strings"),
    "entry a number": (file_of({"a": 1}), "its entry for 'a' is malformed"),
    "entry null": (file_of({"a": None}), "its entry for 'a' is malformed"),
    "entry empty": (file_of({"a": {}}), "its entry for 'a' is malformed"),
    "no offsets": (file_of({"a": {"dtype": "F32", "shape": [4]}}), "its entry for 'a' is malformed"),
    "dtype a number": (file_of({"a": entry(dtype=32)}), "its entry for 'a' is malformed"),
    "shape a number": (file_of({"a": entry(shape=4)}), "its entry for 'a' is malformed"),
    "offsets of text": (file_of({"a": entry("0", "16")}), "its entry for 'a' is malformed"),
    "offsets of floats": (file_of({"a": entry(0.0, 16.0)}), "its entry for 'a' is malformed"),
    "three offsets": (file_of({"a": {**entry(), "data_offsets": [0, 8, 16]}}), "its entry for 'a' is malformed"),
    "a name of two lines": (file_of({"a\nb": 1}), r"its entry for 'a\\nb' is malformed"),
    "offsets outside": (file_of({"a": entry(), "b": entry(20, 36)}), "the bytes of 'b' lie outside it"),
    "huge offsets": (file_of({"a": entry(2**70, 2**70 + 16)}), "its entry for 'a' is malformed"),
    "negative offsets": (file_of({"a": entry(-16, 0)}), "its entry for 'a' is malformed"),
    "offsets backwards": (file_of({"a": entry(16, 0)}), "the bytes of 'a' lie outside it"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_one_line(tmp_path, name):
    data, match = HOSTILE[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"m\.safetensors is not a safetensors file: {match}") as caught:
        verify(path, TWO, seed=0)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)


# The library refuses these, and so a file that has them is not what write would have made.
INCOHERENT = {
    "overlapping": file_of({"a": entry(), "b": entry(8, 24)}, bytes(24)),
    "the same bytes": file_of({"a": entry(), "b": entry()}, bytes(16)),
    "a gap": file_of({"a": entry(), "b": entry(20, 36)}, bytes(36)),
    "bytes before": file_of({"a": entry(16, 32), "b": entry(32, 48)}, bytes(48)),
    "bytes after": file_of({"a": entry(), "b": entry(16, 32)}, bytes(40)),
}


@pytest.mark.parametrize("name", INCOHERENT)
def test_incoherent_offsets_are_one_line(tmp_path, name):
    path = tmp_path / "m.safetensors"
    path.write_bytes(INCOHERENT[name])
    with pytest.raises(safetensors.SafetensorError), safetensors.safe_open(path, framework="numpy"):
        pass
    with pytest.raises(ValueError, match=r"m\.safetensors is not a safetensors file: ") as caught:
        verify(path, TWO, seed=0)
    assert "\n" not in str(caught.value)


def test_coherent_offsets_in_any_order_are_well(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(file_of({"a": entry(16, 32), "b": entry()}))
    assert verify(path, TWO, seed=0).ok


@pytest.mark.parametrize("shape", [[[4]], ["4"], [4.5], [-4], [True] * 4, [2**70], [None]])
@pytest.mark.parametrize("dtype", ["F32", "F99", "", "\n"])
def test_nonsense_shapes_and_dtypes_are_told(tmp_path, shape, dtype):
    path = tmp_path / "m.safetensors"
    path.write_bytes(file_of({"a": entry(shape=shape, dtype=dtype), "b": entry(16, 32)}))
    wrong = "its entry for 'a' is malformed" if dtype == "F32" else f"'a' has the dtype {dtype!r}"
    with pytest.raises(ValueError, match=r"m\.safetensors is not a safetensors file: " + re.escape(wrong)):
        verify(path, TWO, seed=0)


def test_truncated_anywhere(tmp_path):
    path = tmp_path / "m.safetensors"
    SMALL.write(path, seed=0)
    whole = path.read_bytes()
    for length in {*range(20), *range(0, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is not a safetensors file: ") as caught:
            verify(path, SMALL, seed=0)
        assert "\n" not in str(caught.value)


def test_random_bytes_of_the_header_changed(tmp_path):
    path = tmp_path / "m.safetensors"
    SMALL.write(path, seed=0)
    whole = path.read_bytes()
    entries = parse(path)[0]
    (length,) = struct.unpack("<Q", whole[:8])
    generator = np.random.default_rng(5)
    for _ in range(400):
        broken = bytearray(whole)
        for place in generator.integers(0, 8 + length, 2):
            broken[place] = int(generator.integers(0, 256))
        path.write_bytes(broken)
        try:
            found = verify(path, SMALL, seed=0)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            if found.ok:  # what changed was the metadata's, or white space
                assert parse(path)[0] == entries


def test_headers_are_aligned_for_names_of_any_length():
    for length in range(9):
        plan = Plan({"n" * length: Param((1,), winit.normal(), "float64")})
        head, places = heading.header(plan, 0, plan.digest)
        assert len(head) % 8 == 0
        assert places == {"n" * length: len(head)}


def test_only_regular_files_are_replaced(tmp_path):
    plan = Plan({"w": Param((4,), scheme=winit.ones())})
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="is not a regular file"):
        plan.write(pipe, seed=0, overwrite=True)
    assert pipe.is_fifo()
    target, link = tmp_path / "target", tmp_path / "link.safetensors"
    target.write_bytes(b"old")
    link.symlink_to(target)
    plan.write(link, seed=0, overwrite=True)
    assert link.is_symlink() and winit.checkpoint.verify(target, plan, seed=0).ok
