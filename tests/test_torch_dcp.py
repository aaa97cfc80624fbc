"""Checkpoints in torch.distributed.checkpoint's own format, and the Hub's read by it: against torch's own writer."""

from __future__ import annotations

import errno
import io
import itertools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import winit
from winit import Param, Plan

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("torch without distributed", allow_module_level=True)
pytest.importorskip("ml_dtypes")

import torch.distributed.checkpoint as dcp  # noqa: E402
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save  # noqa: E402

import winit.torch  # noqa: E402
from winit.torch.memory import KINDS  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
    pytest.mark.skipif(not hasattr(os, "pwrite"), reason="writing checkpoints needs POSIX"),
]

FLOATS = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
OTHERS = ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "complex64")
MIXED = Plan(
    {
        "embed.weight": Param((301, 24), winit.embedding(padding=3), "bfloat16"),
        **{f"float.{dtype}": Param((7, 5), winit.normal(), dtype) for dtype in FLOATS},
        **{f"other.{dtype}": Param((3,), winit.ones(), dtype) for dtype in OTHERS},
        "square": Param((40, 40), winit.orthogonal(), "float64"),
        "scalar": Param((), winit.constant(0.5)),
        "none": Param((0, 4), winit.normal()),
        "odd\n☃.name": Param((2, 3, 4, 5), winit.he_normal()),
        "renamed": Param((4, 4), winit.normal(), key="another"),
        "head.weight": Param(tied="embed.weight"),
    }
)
DTYPES = {name: dtype for dtype, name in KINDS.items()}


def built(plan, seed):
    """The plan's tensors by Plan.build, as torch's."""
    tensors = {}
    for name, array in plan.build(seed=seed).items():
        raw = torch.frombuffer(bytearray(array.tobytes() or b"\0" * 16), dtype=torch.uint8)[: array.nbytes]
        tensors[name] = raw.view(DTYPES[plan[name].dtype]).reshape(array.shape)
    return tensors


def same(one, other):
    """Equal bit for bit, of one dtype and shape."""
    return (one.dtype, one.shape) == (other.dtype, other.shape) and (
        one.contiguous().reshape(-1).view(torch.uint8).equal(other.contiguous().reshape(-1).view(torch.uint8))
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("size", ["1GiB", 4000, 700])
def test_torch_loads_every_bit(tmp_path, size):
    written = winit.torch.write_dcp(MIXED, tmp_path / "c", seed=5, max_shard_size=size)
    assert sorted(written.files) == sorted(contents(tmp_path / "c")) and written.nbytes == MIXED.nbytes
    assert len(written.files) == 2 if size == "1GiB" else len(written.files) > 5
    expected = built(MIXED, 5)
    state = {name: torch.empty_like(tensor) for name, tensor in expected.items()}
    for tensor in state.values():
        tensor.reshape(-1).view(torch.uint8).fill_(1)
    dcp.load(state, checkpoint_id=tmp_path / "c", no_dist=True)
    dcp_to_torch_save(tmp_path / "c", tmp_path / "c.pt")
    saved = torch.load(tmp_path / "c.pt")
    assert list(saved) == list(MIXED)
    for name, tensor in expected.items():
        assert same(state[name], tensor) and same(saved[name], tensor), name


@pytest.mark.parametrize("size", ["1GiB", 4000])
def test_every_blob_is_what_torch_saves(tmp_path, size):
    """The bytes of each part of each tensor are torch.save's, without checksums; nothing lies between them."""
    winit.torch.write_dcp(MIXED, tmp_path, seed=5, max_shard_size=size)
    files, expected = contents(tmp_path), built(MIXED, 5)
    metadata = pickle.loads(files.pop(".metadata"))
    covered = {name: set() for name in files}
    torch.serialization.set_crc32_options(False)
    try:
        for index, info in metadata.storage_data.items():
            chunk = metadata.state_dict_metadata[index.fqn].chunks[index.index]
            assert chunk.offsets == index.offset
            box = tuple(slice(lo, lo + n) for lo, n in zip(chunk.offsets, chunk.sizes, strict=True))
            file = io.BytesIO()
            torch.save(expected[index.fqn][box].clone(), file)
            found = files[info.relative_path][info.offset : info.offset + info.length]
            assert found == file.getvalue(), index
            covered[info.relative_path].add((info.offset, info.offset + info.length))
    finally:
        torch.serialization.set_crc32_options(True)
    for name, places in covered.items():
        ends = [0, *itertools.chain.from_iterable(sorted(places)), len(files[name])]
        assert ends[::2] == ends[1::2], name
    for name, param in MIXED.stored.items():  # the parts are the tensor, each row once, and none is too large
        chunks = metadata.state_dict_metadata[name].chunks
        assert sum(chunk.sizes.numel() for chunk in chunks) == param.size
        row = param.nbytes // param.shape[0] if param.shape and param.shape[0] else param.nbytes
        if size == 4000 and name != "square":
            assert all(chunk.sizes.numel() * param.itemsize <= max(size, row) for chunk in chunks)
    assert len(metadata.state_dict_metadata["square"].chunks) == 1  # made at once, and so not cut


def test_the_metadata_is_what_torch_writes(tmp_path):
    """Against FileSystemWriter on the same tensors; and its pickle names nothing but torch's own classes."""
    winit.torch.write_dcp(MIXED, tmp_path / "ours", seed=5)
    dcp.save(built(MIXED, 5), checkpoint_id=tmp_path / "torchs", no_dist=True)
    text = (tmp_path / "ours" / ".metadata").read_bytes()
    ours, torchs = pickle.loads(text), pickle.loads((tmp_path / "torchs" / ".metadata").read_bytes())
    assert ours.state_dict_metadata == torchs.state_dict_metadata
    assert list(ours.state_dict_metadata) == list(MIXED)
    assert ours.planner_data == torchs.planner_data
    assert ours.version == torchs.version
    assert set(ours.storage_data) == set(torchs.storage_data)
    lengths = {index: info.length for index, info in torchs.storage_data.items()}
    assert {index: info.length for index, info in ours.storage_data.items()} == lengths
    assert "seed 5" in ours.storage_meta.save_id and MIXED.digest in ours.storage_meta.save_id
    named = set()

    class Recording(pickle.Unpickler):
        def find_class(self, module, name):
            named.add((module.split(".")[0], name))
            return super().find_class(module, name)

    assert Recording(io.BytesIO(text)).load() == ours
    classes = {"ChunkStorageMetadata", "Metadata", "MetadataIndex", "Size", "StorageMeta", "TensorProperties"}
    classes |= {"TensorStorageMetadata", "_MEM_FORMAT_ENCODING", "_StorageInfo", "_get_layout"}
    assert {module for module, _ in named} == {"torch"}
    assert {name for _, name in named} - set(DTYPES) == classes


def test_ranks_in_any_order_write_what_one_process_does(tmp_path):
    winit.torch.write_dcp(MIXED, tmp_path / "one", seed=5, max_shard_size=3000, threads=1)
    expected = contents(tmp_path / "one")
    assert len(expected) > 6
    for world in (1, 2, 3, 50):
        folder = tmp_path / str(world)
        names = []
        for rank in reversed(range(world)):
            names += winit.torch.write_dcp(
                MIXED, folder, seed=5, max_shard_size=3000, rank=rank, world=world, threads=rank % 3 + 1
            ).files
        assert sorted(names) == sorted(expected) and contents(folder) == expected
    assert winit.torch.write_dcp(MIXED, folder, seed=6, max_shard_size=3000, overwrite=True).kept == []
    assert contents(folder).keys() == expected.keys() and contents(folder) != expected


def test_what_is_there_already(tmp_path):
    folder = tmp_path / "c"
    winit.torch.write_dcp(MIXED, folder, seed=5, max_shard_size=3000)
    before = contents(folder)
    for rank in (0, 1):
        with pytest.raises(FileExistsError) as caught:
            winit.torch.write_dcp(MIXED, folder, seed=6, max_shard_size=3000, rank=rank, world=2)
        assert caught.value.filename.startswith(str(folder))
    (folder / "__0_0.distcp").unlink()
    with pytest.raises(FileExistsError, match="holds a checkpoint already") as caught:
        winit.torch.write_dcp(MIXED, folder, seed=6)
    assert caught.value.filename == str(folder / ".metadata")
    assert contents(folder) == {name: data for name, data in before.items() if name != "__0_0.distcp"}
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        winit.torch.write_dcp(MIXED, tmp_path / "file", seed=5)


def test_a_place_in_a_store(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    winit.torch.write_dcp(MIXED, tmp_path / "c", seed=5, max_shard_size=3000)
    store = fsspec.filesystem("memory")
    try:
        for rank in (1, 0):
            winit.torch.write_dcp(MIXED, "memory://dcp/c", seed=5, max_shard_size=3000, rank=rank, world=2)
        found = {path.rpartition("/")[2]: store.cat_file(path) for path in store.ls("/dcp/c", detail=False)}
        assert found == contents(tmp_path / "c")
        with pytest.raises(FileExistsError, match="exists already|holds a checkpoint already"):
            winit.torch.write_dcp(MIXED, "memory://dcp/c", seed=5, max_shard_size=3000)
    finally:
        store.rm("/dcp", recursive=True)


def test_a_full_disk_leaves_no_checkpoint(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left") as caught:
        winit.torch.write_dcp(MIXED, tmp_path / "c", seed=5)
    assert caught.value.filename.startswith(str(tmp_path / "c"))
    assert contents(tmp_path / "c") == {}


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"seed": -1}, ValueError, "seed"),
        ({"max_shard_size": 0}, ValueError, "max_shard_size must be at least 1, not 0"),
        ({"max_shard_size": "big"}, ValueError, "max_shard_size must be a number of bytes"),
        ({"rank": 0}, ValueError, "rank must come with world"),
        ({"rank": 2, "world": 2}, ValueError, "rank must be below world"),
        ({"overwrite": 1}, TypeError, "overwrite must be True or False"),
        ({"threads": 0}, ValueError, "threads"),
        ({"progress": 1}, TypeError, "progress must be a function"),
        ({"plan": {}}, TypeError, "plan must be a winit.Plan"),
        ({"folder": 3}, TypeError, "folder must be a str"),
        ({"folder": ""}, ValueError, "folder must not be empty"),
    ],
)
def test_wrong_arguments(tmp_path, wrong, error, match):
    given = {"plan": MIXED, "folder": tmp_path / "c", "seed": 0, **wrong}
    with pytest.raises(error, match=match):
        winit.torch.write_dcp(**given)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_plan_and_progress(tmp_path):
    assert winit.torch.write_dcp(Plan({}), tmp_path / "e", seed=0).files == [".metadata"]
    dcp.load({}, checkpoint_id=tmp_path / "e", no_dist=True)
    seen = []
    winit.torch.write_dcp(MIXED, tmp_path / "c", seed=0, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == (tmp_path / "c" / "__0_0.distcp").stat().st_size
    assert seen == sorted(seen)


def test_torchs_options_are_left_as_they_were(tmp_path):
    winit.torch.write_dcp(MIXED, tmp_path / "a", seed=0)
    assert torch.serialization.get_crc32_options() is True
    file = io.BytesIO()
    torch.save(torch.ones(3), file)
    assert torch.load(io.BytesIO(file.getvalue())).equal(torch.ones(3))


def test_memory_does_not_grow_with_the_model(tmp_path):
    code = """
import resource, sys, torch, winit, winit.torch
from winit import Param, Plan
def write(count, folder):
    plan = Plan({f"{i}.w": Param((2048, 2048), winit.normal()) for i in range(count)})
    winit.torch.write_dcp(plan, folder, seed=0, threads=2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small = write(2, sys.argv[1] + "/small")
print(write(20, sys.argv[1] + "/large") - small)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, timeout=100
    )
    assert int(done.stdout) < 16_000  # KiB, where the second checkpoint has 288 MiB more


# ---- the command line


def test_init_in_this_format(run, tmp_path):
    sizes = ["--set", "layers=2", "--set", "dim=16", "--set", "heads=2", "--set", "inner=24", "--set", "vocab=100"]
    plan = winit.recipes.llama(layers=2, dim=16, heads=2, inner=24, vocab=100)
    winit.torch.write_dcp(plan, tmp_path / "a", seed=4, max_shard_size="4kB")
    common = ["init", "llama", *sizes, "--format", "dcp", "--seed", 4]
    for rank in (1, 0):
        status, out, err = run(*common, "-o", tmp_path / "b", "--max-shard-size", "4kB", "--rank", rank, "--world", 2)
        assert (status, err) == (0, "") and f"{tmp_path / 'b'}: 21 tensors, " in out
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
    refusals = {
        ("-o", tmp_path / "m.safetensors"): "--format dcp writes a folder, and -o .* is a file",
        ("-o", tmp_path / "c", "--resume"): "--resume is for safetensors files",
        ("-o", tmp_path / "c", "--config", "c.json"): "--config is for safetensors files",
        ("-o", tmp_path / "b"): "exists already|holds a checkpoint already",
    }
    for more, match in refusals.items():
        status, out, err = run(*common, *more)
        assert (status, out) == (2, "") and err.count("\n") == 1 and re.search(match, err), err
    assert not (tmp_path / "c").exists() and not (tmp_path / "m.safetensors").exists()


def test_init_in_this_format_without_torch(tmp_path):
    code = "import sys; sys.modules['torch'] = None; from winit.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["init", "gpt2", "--format", "dcp", "--seed", "0", "-o", str(tmp_path / "c")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("winit: error: --format dcp needs torch (")
    assert done.stderr.endswith("): pip install 'winit[torch]'\n") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# ---- several processes


@pytest.mark.slow  # several processes each
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_read_both_formats_into_dtensors(tmp_path, processes):
    ranks = pytest.importorskip("dcp_ranks")
    pytest.importorskip("safetensors")
    native, hub = tmp_path / "native", tmp_path / "hub"
    winit.torch.write_dcp(ranks.PLAN, native, seed=ranks.SEED, max_shard_size=20_000)
    ranks.PLAN.write(hub, seed=ranks.SEED, max_shard_size=98_000)
    assert len(list(native.iterdir())) > 4
    assert (hub / "model-00001-of-00002.safetensors").exists() and (hub / "model.safetensors.index.json").exists()
    script = Path(__file__).parent / "dcp_ranks.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*command, script, native, hub],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": ""},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "FAILED" not in done.stdout
    expected = contents(tmp_path / f"native-{processes}")
    winit.torch.write_dcp(ranks.PLAN, tmp_path / "alone", seed=ranks.SEED, max_shard_size=30_000)
    assert contents(tmp_path / "alone") == expected
