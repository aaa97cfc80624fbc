"""Which of how many processes this one is: as it is told, or as what started it says in the environment.

What each starter sets: docs.pytorch.org/docs/stable/elastic/run.html (torchrun), slurm.schedmd.com/srun.html and
job_array.html, docs.open-mpi.org (mpirun), MPICH's PMI, IBM Spectrum LSF, Grid Engine's and PBS's qsub, AWS Batch,
Google Cloud Run jobs, Kubernetes' indexed jobs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winit._core.checks import check_integer, shown

__all__ = ["Ranked", "ranked"]

# Who says the rank and the number of ranks, in the order in which they are asked: a starter inside another is asked
# first, since torchrun and mpirun are run by srun and not the other way round.
_PROCESSES = (
    ("torchrun", "RANK", "WORLD_SIZE"),
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI", "PMI_RANK", "PMI_SIZE"),
    ("Slurm's step", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
# Task arrays: the task's number; the first, the last and the step of the numbers, or how many there are.
_ARRAYS = (
    ("Slurm's array", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"),
    ("Grid Engine's array", "SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
)
_COUNTED = (
    ("AWS Batch's array", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    ("Cloud Run's job", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    ("Kubernetes' indexed job", "JOB_COMPLETION_INDEX", None),
    ("LSF's array", "LSB_JOBINDEX", None),  # it says the last number, and not the first
    ("PBS's array", "PBS_ARRAY_INDEX", None),
    ("Torque's array", "PBS_ARRAYID", None),
)
# Their tasks are jobs, each of which may have processes; those of Batch, Cloud Run and Kubernetes are nodes of one job.
_OF_JOBS = ("LSF's array", "PBS's array", "Torque's array")


@dataclass(frozen=True)
class Ranked:
    """A process's rank among `world`, and who says so."""

    rank: int
    world: int
    source: str


def ranked(rank: Any, world: Any, environment: Mapping[str, str] | None = None) -> Ranked:
    """Return which of how many this process is, from a caller's rank ("auto" asks the environment) and world.

    Raises
    ------
    TypeError, ValueError : one without the other; a rank that is not below the world; for "auto", an environment that
        does not say, or says it in a way that would leave work undone.

    """
    if rank is None:
        if world is not None:
            raise ValueError(f"world must come with rank: which of the {shown(world)} is this process?")
        return Ranked(0, 1, "")
    if world is not None:
        world = check_integer(world, "world")
    if isinstance(rank, str):
        if rank != "auto":
            raise ValueError(f'rank must be an integer or "auto", not {shown(rank)}')
        return _found(os.environ if environment is None else environment, world)
    rank = check_integer(rank, "rank", 0)
    if world is None:
        raise ValueError(f"rank must come with world: rank {rank} of how many?")
    return _checked(rank, world, "")


def _checked(rank: int, world: int, source: str) -> Ranked:
    if not 0 <= rank < world:
        says = f", as {source} says" if source else ""
        raise ValueError(f"rank must be below world, not {rank} of {world}{says}")
    return Ranked(rank, world, source)


def _found(environment: Mapping[str, str], world: int | None) -> Ranked:
    """Ask the environment; a caller's world must agree, or says what the environment does not."""
    process = _process(environment)
    array = _array(environment, world, process)
    tasks = environment.get("SLURM_NTASKS", "1")
    if process is None and "SLURM_JOB_ID" in environment and tasks != "1":
        raise ValueError(
            f"rank auto: Slurm says {shown(tasks)} tasks, and this is none of them but the job's script: start it with "
            "srun"
        )
    if process is not None and array is not None:
        # An array of jobs of several processes each.
        both = f"{array.source} and {process.source}"
        found = Ranked(array.rank * process.world + process.rank, array.world * process.world, both)
    elif process is not None:
        found = process
    elif array is not None:
        found = array
    else:
        raise ValueError(
            "rank auto: nothing in the environment says a rank (RANK, SLURM_PROCID, OMPI_COMM_WORLD_RANK, PMI_RANK, or "
            "the number of an array's task); give rank and world"
        )
    if world is not None and found.world != world:
        raise ValueError(f"rank auto: world is given as {world}, and {found.source} says {found.world}")
    return _checked(found.rank, found.world, found.source)


def _process(environment: Mapping[str, str]) -> Ranked | None:
    for source, rank, world in _PROCESSES:
        if rank in environment and world in environment:
            return Ranked(_number(environment, rank), _number(environment, world), source)
    return None


def _array(environment: Mapping[str, str], world: int | None, process: Ranked | None) -> Ranked | None:
    for source, task, first, last, step in _ARRAYS:
        if environment.get(task, "undefined") == "undefined":  # which is what Grid Engine says where there is no array
            continue
        if last not in environment:
            return _counted(environment, source, task, world)
        low = _number(environment, first)
        by = _number(environment, step) if step in environment else 1
        number, high = _number(environment, task), _number(environment, last)
        if by < 1 or (number - low) % by:
            raise ValueError(f"rank auto: {task}={number} is none of {low}, {low + by}, ... that {source} says")
        count = (high - low) // by + 1
        if environment.get("SLURM_ARRAY_TASK_COUNT", str(count)) != str(count) and source.startswith("Slurm"):
            raise ValueError(
                f"rank auto: the tasks of Slurm's array are not {low} to {high} by {by}: give rank and world"
            )
        return Ranked((number - low) // by, count, source)
    for source, task, count_name in _COUNTED:
        if task in environment and not (source.startswith("LSF") and environment[task] == "0"):
            if process is not None and source not in _OF_JOBS:
                return None
            if process is not None:
                raise ValueError(
                    f"rank auto: {source} and {process.source} both number this process: give rank and world"
                )
            if count_name is not None and count_name in environment:
                return Ranked(_number(environment, task), _number(environment, count_name), source)
            return _counted(environment, source, task, world)
    return None


def _counted(environment: Mapping[str, str], source: str, task: str, world: int | None) -> Ranked:
    """A task of an array whose size only the caller knows."""
    if world is None:
        raise ValueError(f"rank auto: {source} says the task's number in {task} and not how many there are: give world")
    number = _number(environment, task)
    return Ranked(number - 1 if source.startswith("LSF") else number, world, source)  # LSF's arrays begin at 1


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"rank auto: {name} in the environment must be a number, not {shown(text)}")
    return int(text)
