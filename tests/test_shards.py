"""Checkpoints of many files: the cut, ranks, resuming, jobs, stores, and other people's readers of the folder."""

import json
import os
import pickle
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import winit
from winit import Param, Plan, checkpoint
from winit.checkpoint import folders, sharding, verify, write
from winit.checkpoint.ranks import Ranked, ranked

pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="writing checkpoints needs POSIX")

INDEX = "model.safetensors.index.json"
TOP = Path(__file__).parents[1]


def assorted() -> Plan:
    """Closed forms, a whole-tensor law, constants, a scalar, an empty tensor, ties, several dtypes."""
    return Plan(
        {
            "embed": Param((60, 32), winit.normal(std=0.02), "bfloat16"),
            **{f"h.{i}.fc": Param((32, 48), winit.he_normal()) for i in range(4)},
            "h.rotation": Param((40, 40), winit.orthogonal()),
            "h.bias": Param((48,), winit.zeros(), "float16"),
            "steps": Param((), winit.constant(7), "int64"),
            "none": Param((0, 3), winit.normal()),
            "double": Param((301,), winit.uniform(), "float64"),
            "head": Param(tied="embed"),
            "again": Param(tied="h.rotation"),
        }
    )


PLAN = assorted()


def contents(folder) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in Path(folder).iterdir()}


# ---- the cut


@given(sizes=st.lists(st.integers(0, 300), max_size=30), most=st.integers(1, 900))
def test_files_follow_the_plan_and_are_as_full_as_they_may_be(sizes, most):
    plan = Plan({f"w{i}": Param((size,), winit.zeros(), "uint8") for i, size in enumerate(sizes)})
    cut = sharding.by_size(plan, most)
    assert [name for names in cut.groups for name in names] == list(plan)
    held = [[sizes[int(name[1:])] for name in names] for names in cut.groups]
    for i, group in enumerate(held):
        assert sum(group) <= most or len([size for size in group if size]) == 1
        if i:
            assert sum(held[i - 1]) + next((size for size in group if size), most + 1) > most


@given(sizes=st.lists(st.integers(0, 300), max_size=30), count=st.integers(1, 12))
def test_a_number_of_files_of_about_equal_size(sizes, count):
    plan = Plan({f"w{i}": Param((size,), winit.zeros(), "uint8") for i, size in enumerate(sizes)})
    cut = sharding.by_count(plan, count)
    assert [name for names in cut.groups for name in names] == list(plan)
    assert len(cut.groups) <= count
    share = sum(sizes) / count
    for names in cut.groups:
        group = [sizes[int(name[1:])] for name in names]
        assert sum(group) <= share + max(group, default=0)


def test_names_and_index_are_those_of_the_hub(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    plan = Plan({f"h.{i}.w": Param((10, 5 + i % 3), winit.normal()) for i in range(20)})
    write(plan, tmp_path, seed=0, max_shard_size=900)
    torch = pytest.importorskip("torch")
    state = {name: torch.empty(param.shape) for name, param in plan.items()}
    split = hub.split_torch_state_dict_into_shards(state, max_shard_size=900)
    found = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))
    assert found["weight_map"] == split.tensor_to_filename and list(found["weight_map"]) == list(plan)
    assert {name for name in contents(tmp_path) if name != INDEX} == set(split.filename_to_tensors)
    said = found["metadata"]
    assert (said["total_size"], said["total_parameters"]) == (plan.nbytes, plan.parameters)
    assert said["total_size"] == split.metadata["total_size"]


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [("5GB", 5 * 10**9), ("500MB", 5 * 10**8), ("1.5kB", 1500), ("2 GiB", 2**31), ("7", 7), ("7B", 7), (9, 9)],
)
def test_sizes(size, bytes_):
    assert sharding.byte_size(size) == bytes_


@pytest.mark.parametrize(
    ("size", "error"),
    [("5 apples", ValueError), ("", ValueError), (0, ValueError), (1.5, TypeError), (True, TypeError)],
)
def test_what_is_no_size(tmp_path, size, error):
    with pytest.raises(error, match="max_shard_size must be"):
        write(PLAN, tmp_path / "d", seed=0, max_shard_size=size)
    assert list(tmp_path.iterdir()) == []


def test_one_file_has_no_index_and_is_the_file_that_write_makes(tmp_path):
    written = write(PLAN, tmp_path / "folder", seed=4, config={"b": 1, "a": [2]})
    write(PLAN, tmp_path / "one.safetensors", seed=4)
    assert written.files == ["model.safetensors", "config.json"]
    found = contents(tmp_path / "folder")
    assert found["model.safetensors"] == (tmp_path / "one.safetensors").read_bytes()
    assert found["config.json"] == b'{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'
    assert verify(tmp_path / "folder", PLAN, seed=4).ok


def test_elements_are_those_of_build_and_ties_are_said(tmp_path):
    from safetensors import safe_open

    write(PLAN, tmp_path, seed=3, max_shard_size="5kB")
    built = PLAN.build(seed=3)
    places = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))["weight_map"]
    assert set(places) == set(PLAN.stored)
    torch = pytest.importorskip("torch")
    ties = {}
    for name, file in places.items():
        with safe_open(tmp_path / file, "pt") as opened:
            tensor = opened.get_tensor(name)
            ties |= {key: value for key, value in opened.metadata().items() if value in PLAN}
        raw = tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0, np.uint8)
        assert raw.tobytes() == built[name].tobytes(), name
    assert ties == {"head": "embed", "again": "h.rotation"}
    again = winit.pretrained(tmp_path, PLAN, seed=9, strict=True).build()
    assert all(again[name].tobytes() == array.tobytes() for name, array in built.items())


# ---- ranks


@settings(max_examples=25, deadline=None)
@given(world=st.integers(1, 12), order=st.randoms(use_true_random=False), most=st.sampled_from([1, 5000, 9000, 10**9]))
def test_any_ranks_in_any_order_write_what_one_writes(tmp_path_factory, world, order, most):
    one, many = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("many")
    write(PLAN, one, seed=1, max_shard_size=most, config={"a": 1})
    ranks = list(range(world))
    order.shuffle(ranks)
    written = [
        name
        for rank in ranks
        for name in write(
            PLAN, many, seed=1, max_shard_size=most, rank=rank, world=world, config={"a": 1}, threads=1 + rank % 2
        ).files
    ]
    assert len(set(written)) == len(written), "no file is written by two"
    assert contents(one) == contents(many)


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
ENVIRONMENTS = {
    "torchrun": (TORCHRUN, Ranked(3, 8, "torchrun")),
    "srun": (
        {"SLURM_JOB_ID": "9", "SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"},
        Ranked(2, 4, "Slurm's step"),
    ),
    "torchrun within srun": (
        {**TORCHRUN, "SLURM_JOB_ID": "9", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"},
        Ranked(3, 8, "torchrun"),
    ),
    "mpirun within a Slurm job": (
        {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "6", "SLURM_JOB_ID": "9", "SLURM_NTASKS": "6"},
        Ranked(5, 6, "Open MPI"),
    ),
    "MPICH": ({"PMI_RANK": "0", "PMI_SIZE": "2"}, Ranked(0, 2, "PMI")),
    "an array of Slurm": (
        {
            "SLURM_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10",
            "SLURM_ARRAY_TASK_MAX": "14", "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "3",
            "SLURM_PROCID": "0", "SLURM_NTASKS": "1",
        },
        Ranked(1, 3, "Slurm's array"),
    ),
    "an array of Slurm's steps": (
        {
            "SLURM_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1",
            "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4",
        },
        Ranked(5, 8, "Slurm's array and Slurm's step"),
    ),
    "Grid Engine": (
        {"SGE_TASK_ID": "3", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "10", "SGE_TASK_STEPSIZE": "1"},
        Ranked(2, 10, "Grid Engine's array"),
    ),
    "Batch": (
        {"AWS_BATCH_JOB_ARRAY_INDEX": "4", "AWS_BATCH_JOB_ARRAY_SIZE": "5"}, Ranked(4, 5, "AWS Batch's array"),
    ),
    "torchrun on nodes that Kubernetes numbers": ({**TORCHRUN, "JOB_COMPLETION_INDEX": "1"}, Ranked(3, 8, "torchrun")),
    "Cloud Run": ({"CLOUD_RUN_TASK_INDEX": "0", "CLOUD_RUN_TASK_COUNT": "7"}, Ranked(0, 7, "Cloud Run's job")),
    "Grid Engine's job that is no array": ({"SGE_TASK_ID": "undefined", **TORCHRUN}, Ranked(3, 8, "torchrun")),
}  # fmt: skip


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_rank_auto(case):
    environment, expected = ENVIRONMENTS[case]
    assert ranked("auto", None, environment) == expected
    assert ranked("auto", expected.world, environment) == expected
    with pytest.raises(ValueError, match=rf"world is given as 99, and .* says {expected.world}"):
        ranked("auto", 99, environment)


def test_lsf_counts_from_one():
    assert ranked("auto", 10, {"LSB_JOBINDEX": "10"}) == Ranked(9, 10, "LSF's array")
    with pytest.raises(ValueError, match="nothing in the environment"):
        ranked("auto", 10, {"LSB_JOBINDEX": "0"})  # no array


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "nothing in the environment says a rank"),
        ({"SLURM_JOB_ID": "9", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, "start it with srun"),
        ({"JOB_COMPLETION_INDEX": "1"}, "and not how many there are: give world"),
        ({"PBS_ARRAY_INDEX": "1", **TORCHRUN}, "PBS's array and torchrun both number this process"),
        ({"LSB_JOBINDEX": "5", "LSB_JOBINDEX_END": "5"}, "LSF's array says .* and not how many there are: give world"),
        ({"PBS_ARRAY_INDEX": "1"}, "and not how many there are: give world"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK in the environment must be a number, not 'one'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "rank must be below world, not 2 of 2, as torchrun says"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "9",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            "the tasks of Slurm's array are not 1 to 9 by 1: give rank and world",
        ),
    ],
)  # fmt: skip
def test_rank_auto_that_would_leave_work_undone(environment, words):
    with pytest.raises(ValueError, match=words):
        ranked("auto", None, environment)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"rank": 1}, ValueError, "rank must come with world: rank 1 of how many"),
        ({"world": 3}, ValueError, "world must come with rank"),
        ({"rank": 3, "world": 3}, ValueError, "rank must be below world, not 3 of 3"),
        ({"rank": -1, "world": 3}, ValueError, "rank must not be negative"),
        ({"rank": 0, "world": 0}, ValueError, "world must be at least 1"),
        ({"rank": "all", "world": 3}, ValueError, 'rank must be an integer or "auto"'),
        ({"rank": 1.0, "world": 3}, TypeError, "rank must be an integer, not float"),
        ({"config": 3}, TypeError, "config must be a str or os.PathLike"),
        ({"config": {"a": object()}}, TypeError, "config: "),
        ({"config": {"a": float("nan")}}, ValueError, "config: "),
        ({"resume": 1}, TypeError, "resume must be True or False"),
    ],
)
def test_wrong_arguments_are_said_before_anything_is_written(tmp_path, arguments, error, words):
    with pytest.raises(error, match=words):
        PLAN.write(tmp_path / "d", seed=0, **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [{"rank": 0, "world": 2}, {"max_shard_size": "1GB"}, {"config": {}}])
def test_what_is_for_folders_is_refused_with_a_file(tmp_path, given):
    name = next(iter(given))
    with pytest.raises(ValueError, match=rf"{name} is for a folder, and .*m\.safetensors is a file"):
        write(PLAN, tmp_path / "m.safetensors", seed=0, **given)
    assert list(tmp_path.iterdir()) == []


def test_what_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("v1.5").mkdir()
    for path in ("new/below", "v1.5", "Llama-3.2-1B/"):
        write(PLAN, path, seed=0)
        assert (Path(path) / "model.safetensors").exists()
    with pytest.raises(ValueError, match=r"m\.bin must end in \.safetensors or \.npz, or be a folder"):
        write(PLAN, "m.bin", seed=0)
    Path("file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="is not a folder: 'file'"):
        write(PLAN, "file", seed=0)


# ---- what exists, and resuming


def sharded(folder, **more):
    return write(PLAN, folder, seed=5, max_shard_size="11kB", config={"a": 1}, **more)


def test_a_file_that_exists_is_refused_and_not_its_folder(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    sharded(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"exists already .* replaces it.*model-00001-of"):
        sharded(tmp_path)
    (tmp_path / "model-00001-of-00005.safetensors").unlink()
    with pytest.raises(FileExistsError, match="model-00002-of"):
        sharded(tmp_path)
    assert "model-00001-of-00005.safetensors" not in contents(tmp_path), "nothing is written before all are looked at"
    sharded(tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_resume_writes_what_is_lacking_cut_or_damaged(tmp_path):
    sharded(tmp_path)
    before = contents(tmp_path)
    files = sorted(name for name in before if name.startswith("model-"))
    assert sharded(tmp_path, resume=True) == checkpoint.Written([], [*files, "config.json", INDEX], 0)
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in before}

    lacking, cut, damaged = files[0], files[1], files[3]
    (tmp_path / lacking).unlink()
    (tmp_path / cut).write_bytes(before[cut][:-9])
    (tmp_path / damaged).write_bytes(before[damaged][:-2] + b"\x55\x55")
    (tmp_path / INDEX).unlink()
    written = sharded(tmp_path, resume=True)
    assert written.files == [lacking, cut, damaged, INDEX]
    assert written.kept == [name for name in (*files, "config.json") if name not in written.files]
    assert contents(tmp_path) == before
    assert all((tmp_path / name).stat().st_mtime_ns == stamps[name] for name in written.kept)


def test_resume_looks_all_over_a_file(tmp_path):
    """Sixty-four places and the end: a sixteenth of a file that is zeros is met."""
    plan = Plan({"a": Param((1 << 18,), winit.normal()), "b": Param((1 << 18,), winit.uniform(1, 2))})
    path = tmp_path / "m.safetensors"
    write(plan, path, seed=0)
    whole = path.read_bytes()
    draws = random.Random(1)
    for _ in range(20):
        at = draws.randrange(len(whole) // 2, len(whole) - len(whole) // 16)
        path.write_bytes(whole[:at] + bytes(len(whole) // 16) + whole[at + len(whole) // 16 :])
        assert write(plan, path, seed=0, resume=True).files == [str(path)]
        assert path.read_bytes() == whole
    assert write(plan, path, seed=0, resume=True).kept == [str(path)]


REFUSED = {
    "another seed": (lambda folder: write(PLAN, folder, seed=6, max_shard_size="11kB"), "is of seed 6, not 5"),
    "another plan": (
        lambda folder: write(PLAN.with_schemes({"h.1.fc": winit.zeros()}), folder, seed=5, max_shard_size="11kB"),
        "is of another plan: its digest is",
    ),
    "another cut": (lambda folder: rename(folder, "13kB"), "holds other tensors: max_shard_size was another"),
    "no header": (lambda folder: foreign(folder, b"something"), "no header says that it is of this plan and seed"),
    "empty": (lambda folder: foreign(folder, b""), "no header says that it is of this plan and seed"),
}


def rename(folder, size):
    """Write files of another cut under the names that this one has."""
    write(PLAN, folder, seed=5, max_shard_size=size)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("of-00004", "of-00005"))


def foreign(folder, text):
    folder.mkdir()
    (folder / "model-00002-of-00005.safetensors").write_bytes(text)


@pytest.mark.parametrize("case", REFUSED)
def test_resume_refuses_what_is_not_its_own_before_it_writes(tmp_path, case):
    make, words = REFUSED[case]
    make(tmp_path / "d")
    before = contents(tmp_path / "d")
    with pytest.raises(FileExistsError, match=words):
        sharded(tmp_path / "d", resume=True)
    assert contents(tmp_path / "d") == before
    sharded(tmp_path / "d", resume=True, overwrite=True)
    assert verify(tmp_path / "d", PLAN, seed=5).ok


def test_resume_refuses_another_index_or_config(tmp_path):
    for name in (INDEX, "config.json"):
        sharded(tmp_path, overwrite=True)
        (tmp_path / "model-00001-of-00005.safetensors").unlink()
        (tmp_path / name).write_text("{}")
        with pytest.raises(FileExistsError, match=rf"exists already and is not .*{name}"):
            sharded(tmp_path, resume=True)
        assert not (tmp_path / "model-00001-of-00005.safetensors").exists()


def test_killed_ranks_leave_whole_files_and_are_resumed():
    done = subprocess.run(
        [sys.executable, TOP / "tools" / "kill_ranks.py", "--kills", "40", "--seed", "3"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrong: nothing" in done.stdout


# ---- what verify says of a folder


def test_verify_of_a_folder_tells_what_is_missing_or_wrong(tmp_path):
    sharded(tmp_path)
    second = "model-00002-of-00005.safetensors"
    text = (tmp_path / second).read_bytes()
    (tmp_path / second).unlink()
    found = verify(tmp_path, PLAN, seed=5)
    places = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))["weight_map"]
    lost = tuple(name for name in PLAN.stored if places[name] == second)
    assert (found.ok, found.broken, found.missing, found.differ) == (False, {second: "missing"}, lost, ())

    (tmp_path / second).write_bytes(text[:-1])
    found = verify(tmp_path, PLAN, seed=5)
    assert found.missing == lost and list(found.broken) == [second]
    assert found.broken[second].startswith("not a safetensors file: ")
    (tmp_path / second).write_bytes(text)

    (tmp_path / INDEX).unlink()
    (tmp_path / "model-00004-of-00005.safetensors").unlink()
    found = verify(tmp_path, PLAN, seed=5)
    assert found.broken == {"model-00004-of-00005.safetensors": "missing", INDEX: "missing"}
    assert found.differ == () and not found.ok
    (tmp_path / "model-00001-of-00009.safetensors").write_bytes(text)
    with pytest.raises(ValueError, match="files of several checkpoints, of 00005 and of 00009 files each"):
        verify(tmp_path, PLAN, seed=5)


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plan.toml").write_text(PLAN.to_toml(), encoding="utf-8")
    Path("c.json").write_text('{"architectures": []}')

    def run(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "winit", *arguments],
            capture_output=True, text=True, check=False, env={**os.environ, **environment},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    init = ("init", "plan.toml", "--seed", "5", "--max-shard-size", "11kB")
    status, said = run(*init, "-o", "one", "--config", "c.json")
    assert status == 0 and "one: 10 tensors, " in said and ", 7 files written, seed 5, " in said
    for rank in (2, 1, 0):
        status, said = run(*init, "-o", "many", "--config", "c.json", "--rank", "auto", RANK=str(rank), WORLD_SIZE="3")
        assert status == 0 and f"{4 if rank == 0 else 2 - rank // 2} file" in said, said
        assert " bytes by this rank, " in said
    assert contents("one") == contents("many")
    assert run("verify", "many", "plan.toml", "--seed", "5")[0] == 0
    Path("many/model-00003-of-00005.safetensors").unlink()
    status, said = run("verify", "many", "plan.toml", "--seed", "5")
    assert status == 1 and said.splitlines()[0] == "model-00003-of-00005.safetensors: missing"
    assert "many: files: 1 missing or broken; tensors: " in said
    status, said = run(*init, "-o", "many", "--resume")
    assert status == 0 and "1 file written, 5 whole already" in said
    status, said = run(*init, "-o", "many")
    assert (status, said.count("\n")) == (2, 1) and "exists already" in said


# ---- jobs


def test_jobs_are_small_picklable_and_of_one_checkpoint(tmp_path):
    plan = Plan({f"h.{i}.w": (64, 64) for i in range(200)}, rules=[("*", winit.he_normal())])
    jobs = [pickle.loads(pickle.dumps(job)) for job in checkpoint.shards(plan, 8, seed=2)]
    assert max(len(pickle.dumps(job)) for job in jobs[1:]) < 10_000
    assert [len(job.files) for job in jobs] == [2, *[1] * 7] and sum(job.nbytes for job in jobs) == plan.nbytes
    assert max(job.nbytes for job in jobs) <= plan.nbytes / 8 + 64 * 64 * 4
    for job in random.Random(0).sample(jobs, 8):
        job.write(tmp_path, threads=1)
    assert verify(tmp_path, plan, seed=2).ok
    assert winit.pretrained(tmp_path, plan, seed=0).build()["h.7.w"].tobytes() == plan.draw("h.7.w", seed=2).tobytes()


def test_jobs_of_a_size_are_the_files_of_write(tmp_path):
    for job in checkpoint.shards(PLAN, 3, seed=5, max_shard_size="11kB", config={"a": 1}):
        job.write(tmp_path / "jobs")
    sharded(tmp_path / "one")
    assert contents(tmp_path / "jobs") == contents(tmp_path / "one")
    few = checkpoint.shards(Plan({"a": Param((3,), winit.ones())}), 5, seed=0)
    assert [job.files for job in few] == [["model.safetensors"], [], [], [], []]
    assert few[3].write(tmp_path / "few").files == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((3, 2), TypeError, "plan must be a winit.Plan"),
        ((PLAN, 0), ValueError, "n must be at least 1"),
        ((PLAN, 2.5), TypeError, "n must be an integer"),
        ((Plan({"__metadata__": Param((3,), winit.ones())}), 2), ValueError, "cannot be called '__metadata__'"),
    ],
)
def test_wrong_jobs(arguments, error, words):
    with pytest.raises(error, match=words):
        checkpoint.shards(*arguments, seed=0)


# ---- npz


def test_npz_is_what_numpy_loads(tmp_path):
    plan = Plan({name: param for name, param in PLAN.items() if param.dtype != "bfloat16" and name != "head"})
    path = tmp_path / "m.npz"
    write(plan, path, seed=2)
    built = plan.build(seed=2)
    with np.load(path, allow_pickle=False) as found:
        assert list(found) == list(plan.stored)
        for name in found:
            assert (found[name].dtype, found[name].shape) == (built[name].dtype, built[name].shape)
            assert found[name].tobytes() == built[name].tobytes()
    assert zipfile.ZipFile(path).testzip() is None
    found = verify(path, plan, seed=2)
    assert found.ok and found.metadata["winit.seed"] == "2" and found.notes == ()
    assert verify(path, plan, seed=3).notes == ("its metadata says seed 2, not 3",)
    again = tmp_path / "again.npz"
    write(plan, again, seed=2, threads=3)
    assert again.read_bytes() == path.read_bytes()
    loaded = winit.pretrained(path, plan, seed=0).build()
    assert all(loaded[name].tobytes() == array.tobytes() for name, array in built.items())


def test_npz_of_what_numpy_lacks(tmp_path):
    with pytest.raises(ValueError, match="w: is float8_e4m3fn, which an npz file cannot hold"):
        write(Plan({"w": Param((3,), winit.normal(), "float8_e4m3fn")}), tmp_path / "m.npz", seed=0)
    with pytest.raises(ValueError, match="resume is for safetensors files"):
        write(PLAN, tmp_path / "m.npz", seed=0, resume=True)
    assert list(tmp_path.iterdir()) == []
    write(PLAN, tmp_path / "m.npz", seed=0)  # bfloat16 as two bytes, as numpy.savez writes it
    with np.load(tmp_path / "m.npz") as found:
        assert found["embed"].dtype == np.dtype("V2")
    assert verify(tmp_path / "m.npz", PLAN, seed=0).ok


# ---- stores


def test_a_store_holds_what_a_folder_holds(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    place = f"memory://{tmp_path.name}/model"
    sharded(place)
    sharded(tmp_path)
    names = [Path(name).name for name in store.ls(f"/{tmp_path.name}/model", detail=False)]
    assert {name: store.cat(f"/{tmp_path.name}/model/{name}") for name in names} == contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"exists already.*memory://.*/model-00001-of-00005\.safetensors"):
        sharded(place)
    store.rm(f"/{tmp_path.name}/model/model-00002-of-00005.safetensors")
    store.pipe(f"/{tmp_path.name}/model/model-00003-of-00005.safetensors", b"".join(
        [contents(tmp_path)["model-00003-of-00005.safetensors"][:-5], b"other"]))  # fmt: skip
    assert sharded(place, resume=True).files == [f"model-0000{i}-of-00005.safetensors" for i in (2, 3)]
    with pytest.raises(FileExistsError, match="is of seed 5, not 6"):
        write(PLAN, place, seed=6, max_shard_size="11kB", resume=True)


def test_a_file_that_fails_is_not_in_the_store(tmp_path):
    fsspec = pytest.importorskip("fsspec")

    def fail(done, total):
        if done > total // 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        write(PLAN, f"memory://{tmp_path.name}", seed=0, progress=fail)
    assert not fsspec.filesystem("memory").exists(f"/{tmp_path.name}/model.safetensors")


def test_a_store_that_nobody_knows(tmp_path):
    pytest.importorskip("fsspec")
    with pytest.raises(ValueError, match="nowhere://a: .*nowhere"):
        write(PLAN, "nowhere://a", seed=0)


# ---- scale


def test_a_plan_of_a_trillion_parameters_is_cut_for_a_thousand_ranks(tmp_path):
    """Four layers with 256 experts a layer as wide as it takes: nothing is drawn but what three ranks write."""
    tensors = {"embed": Param((1 << 18, 16384), winit.normal(std=0.02), "bfloat16")}
    for layer in range(64):
        for expert in range(24):
            for part in ("up", "down"):
                tensors[f"h.{layer}.{expert}.{part}"] = Param((16384, 20000), winit.normal(std=0.02), "bfloat16")
        tensors[f"h.{layer}.norm"] = Param((16384,), winit.ones(), "bfloat16")
    plan = Plan(tensors)
    assert plan.parameters > 10**12
    jobs = [sharding.by_size(plan, 2 * 10**9).shards(rank, 1000) for rank in (0, 499, 999)]
    assert [len(list(job)) for job in jobs] == [2, 1, 1]


# ---- other people's readers


def test_transformers_loads_the_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, tie_word_embeddings=True)
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    plan = winit.recipes.load("llama", vocab=300, dim=64, inner=96, layers=2, heads=4, tied=True).with_dtype("bfloat16")
    write(plan, tmp_path, seed=8, max_shard_size="40kB", config=config.to_dict() | {"dtype": "bfloat16"})
    model, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    state, built = model.state_dict(), plan.build(seed=8)
    assert set(state) == set(built) and len(contents(tmp_path)) > 3
    for name, array in built.items():
        assert state[name].dtype == torch.bfloat16
        assert state[name].view(torch.uint8).numpy().tobytes() == array.tobytes(), name
    # And what it saves of it is cut as ours is.
    model.save_pretrained(tmp_path / "again", max_shard_size="40kB")
    assert {path.suffix for path in (tmp_path / "again").iterdir()} == {".json", ".safetensors"}
    assert verify(tmp_path / "again", plan, seed=8).ok


@pytest.fixture
def bucket(monkeypatch):
    """An S3 on this machine, and a bucket in it."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import botocore.session

    client = botocore.session.get_session().create_client("s3")
    client.create_bucket(Bucket="models")
    yield client
    server.stop()


def test_s3(bucket, tmp_path, monkeypatch):
    """Files of one part and of several; what fails in the middle is no object, and leaves no upload behind."""
    monkeypatch.setattr(folders, "PART", 5 << 20)  # the least that S3 allows
    large = Plan({"a": Param((4, 1 << 20), winit.normal()), "b": Param((100,), winit.ones())})
    for plan, place, more in ((PLAN, "small", {"max_shard_size": "11kB"}), (large, "large", {})):
        write(plan, f"s3://models/{place}", seed=5, **more)
        write(plan, tmp_path / place, seed=5, **more)
        for name, text in contents(tmp_path / place).items():
            assert bucket.get_object(Bucket="models", Key=f"{place}/{name}")["Body"].read() == text
        assert write(plan, f"s3://models/{place}", seed=5, resume=True, **more).files == []
    with pytest.raises(FileExistsError, match=r"exists already.*s3://models/large/model\.safetensors"):
        write(large, "s3://models/large", seed=5)

    def fail(done, total):
        if done > 11 << 20:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        write(large, "s3://models/failed", seed=5, progress=fail)
    found = [entry["Key"] for entry in bucket.list_objects_v2(Bucket="models")["Contents"]]
    assert not any(key.startswith("failed") for key in found)
    assert not bucket.list_multipart_uploads(Bucket="models").get("Uploads")
    with pytest.raises(FileNotFoundError, match="absent"):
        write(PLAN, "s3://absent/model", seed=5)


# ---- folders that hold something else


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(("first", "then"), [("1GB", "11kB"), ("11kB", "1GB"), ("11kB", "13kB")])
def test_files_of_another_layout_are_refused_or_removed(tmp_path, first, then, resume):
    """Readers would take model.safetensors before an index, or an old index before a new file."""
    write(PLAN, tmp_path, seed=0, max_shard_size=first)
    before = contents(tmp_path)
    for more in ({}, {"rank": 1, "world": 2}):
        with pytest.raises(FileExistsError, match="is of a checkpoint of another layout than this one's . files"):
            write(PLAN, tmp_path, seed=6, max_shard_size=then, resume=resume, **more)
        with pytest.raises(FileExistsError, match="another layout"):
            checkpoint.dummy(PLAN, tmp_path, max_shard_size=then)
    assert contents(tmp_path) == before
    write(PLAN, tmp_path, seed=6, max_shard_size=then, overwrite=True)
    after = contents(tmp_path)
    write(PLAN, tmp_path / "clean", seed=6, max_shard_size=then)
    assert after == contents(tmp_path / "clean")


def test_verify_names_what_readers_would_take_instead(tmp_path):
    sharded(tmp_path)
    write(PLAN, tmp_path / "other", seed=6)
    for name in ("model.safetensors", "model-00001-of-00009.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
        found = verify(tmp_path, PLAN, seed=5)
        assert (found.ok, list(found.broken)) == (False, [name])
        (tmp_path / name).unlink()
    index = json.loads((tmp_path / INDEX).read_text())
    index["metadata"]["total_size"] = 1
    (tmp_path / INDEX).write_text(json.dumps(index))
    assert verify(tmp_path, PLAN, seed=5).broken == {
        INDEX: f"its total_size is 1, and its tensors have {PLAN.nbytes} bytes"
    }
    index["metadata"]["total_size"] = PLAN.nbytes
    index["weight_map"]["ghost"] = "model-00002-of-00005.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    assert verify(tmp_path, PLAN, seed=5).unexpected == ("ghost (in the index alone)",)


def test_resume_draws_tensors_that_are_made_at_once_again(tmp_path):
    plan, path = Plan({"w": Param((1100, 1100), winit.orthogonal())}), tmp_path / "m.safetensors"
    write(plan, path, seed=0)
    whole = path.read_bytes()
    path.write_bytes(whole[: -1100 * 1100 * 4] + bytes(1100 * 1100 * 4))
    assert write(plan, path, seed=0, resume=True).files == [str(path)]
    assert path.read_bytes() == whole


def test_resume_of_a_file_that_is_cut_in_its_header(tmp_path):
    sharded(tmp_path)
    name = "model-00001-of-00005.safetensors"
    whole = (tmp_path / name).read_bytes()
    (length,) = np.frombuffer(whole[:8], "<u8")
    (tmp_path / name).write_bytes(whole[: int(length)])
    assert sharded(tmp_path, resume=True).files == [name]
    assert (tmp_path / name).read_bytes() == whole


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://", "names no place in a store: s3://bucket/folder does"),
        ("memory:///", "names no place in a store"),
        ("s3:/bucket/m", r"names no place: one in a store is written s3://bucket/m"),
        ("memory://a/m.npz", "a place in a store is a folder, and this names a file"),
    ],
)
def test_what_is_no_place_in_a_store(tmp_path, monkeypatch, path, words):
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        write(PLAN, path, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_what_a_driver_says_is_one_error_of_a_place(tmp_path):
    pytest.importorskip("aiohttp")
    with pytest.raises(OSError, match="http://127.0.0.1:9/"):
        write(PLAN, "http://127.0.0.1:9/model", seed=0)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a\0b"], "has a null character"),
        (["w", "w.npy"], "'w.npy' would hide"),
        (["n" * 70_000], "more than 65,000 bytes"),
    ],
)
def test_names_that_an_archive_cannot_hold(tmp_path, names, words):
    with pytest.raises(ValueError, match=words):
        write(Plan({name: Param((2,), winit.ones()) for name in names}), tmp_path / "m.npz", seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"a": NaN}', "it holds NaN"), ("[" * 100_000, "is nested deeper than 127 levels"), ("[1]", "a JSON object is")],
)
def test_configs_that_are_none(tmp_path, text, words):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        write(PLAN, tmp_path / "d", seed=0, config=tmp_path / "c.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        write(PLAN, tmp_path / "d", seed=0, config=tmp_path / "pipe")
    assert not (tmp_path / "d").exists()


def test_a_folder_stays_the_same_when_the_process_moves(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    write(PLAN, "d", seed=0, max_shard_size="11kB", progress=lambda done, total: os.chdir(tmp_path / "elsewhere"))
    assert list((tmp_path / "elsewhere").iterdir()) == [] and verify(tmp_path / "d", PLAN, seed=0).ok


def test_the_index_appears_when_all_that_it_names_is_there(tmp_path, monkeypatch):
    """A shard that waits for the disk holds up the index, whichever threads have them."""
    from winit._files import appearing

    real, named = appearing._name, []

    def slowly(directory, unfinished, target):
        if target.name.startswith("model-"):
            time.sleep(0.2)
        real(directory, unfinished, target)
        named.append(target.name)

    monkeypatch.setattr(appearing, "_name", slowly)
    sharded(tmp_path, threads=4)
    assert len(named) == 7 and set(named[5:]) == {"config.json", INDEX}
