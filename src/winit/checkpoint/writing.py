"""A plan straight into a file, or into a folder of files: drawn in a stream, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from winit._core.checks import check_bool, check_callable, check_path, check_threads
from winit._core.keys import stream_key
from winit._files.appearing import destination
from winit._files.npz_writing import Member, store_npz
from winit._files.safetensors_header import CODES
from winit._files.storing import Counter, Filed, Progress, store
from winit._plans.param import shown_name
from winit._plans.plan import Plan, check_plan
from winit.checkpoint.folders import LocalFolder, is_url
from winit.checkpoint.heading import metadata_of
from winit.checkpoint.jobs import MAX_SHARD_SIZE, Written, job_of, texts_of
from winit.checkpoint.ranks import ranked
from winit.checkpoint.resuming import found_whole
from winit.checkpoint.sharding import Shard, by_size, byte_size
from winit.checkpoint.spans import spans_of

MAX_NPZ_NAME = 65_000  # bytes; the format has 16 bits for a name' length

__all__ = ["kind_of_output", "write"]


def kind_of_output(path: str) -> Literal["safetensors", "npz", "folder"]:
    """Tell what a path that is written to means.

    Raises
    ------
    ValueError : it could be a file of another format, or a folder that is not there yet.

    """
    if is_url(path) or path.endswith(os.sep):
        return "folder"
    suffix = Path(path).suffix
    if suffix in (".safetensors", ".npz"):
        return "npz" if suffix == ".npz" else "safetensors"
    if suffix and not Path(path).is_dir():
        raise ValueError(
            f"{path} must end in .safetensors or .npz, or be a folder: one that is not there yet, and has a dot in its "
            "name, is written with a / at its end"
        )
    return "folder"


def write(
    plan: Plan,
    path: str | os.PathLike[str],
    *,
    seed: int,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    max_shard_size: int | str | None = None,
    rank: int | Literal["auto"] | None = None,
    world: int | None = None,
    resume: bool = False,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
) -> Written:
    """Draw every tensor of a plan straight into a file, or into the files of a folder.

    Each thread draws 4 MiB and writes them to their place, so memory does not grow with the model. A file appears
    under its name when it is whole and on the disk, else not at all. Until then it is `.NAME.<16 hex>.winit` in the
    same directory, locked by its writer. Of several writers of one name each has a file of its own, and with
    overwrite=True the last one stays. What a killed writer left is removed by the next writer of that name.

    A folder is laid out as on the Hugging Face Hub: model-00001-of-0000N.safetensors and so on, with the index
    model.safetensors.index.json, or model.safetensors alone. Which tensor is in which file follows from the plan and
    max_shard_size alone, so any number of processes, which know nothing of each other, write the same bytes together.

    Parameters
    ----------
    plan : Plan.
    path : str or os.PathLike. A file, if it ends in .safetensors or .npz; a folder, if there is one, if it ends with a
        slash or has no suffix, or if it is a place in a store that fsspec knows, such as s3://bucket/folder.
    seed : int, 0 <= seed < 2^64.
    overwrite : bool. Replace existing regular files; what was there stays until the new one is whole, which has its
        permissions. A new file has those of the process's umask.
    threads : int or None, the processors this process may use.
    progress : callable(bytes done, bytes in all) or None. Called from the writing threads, one at a time.
    max_shard_size : int, str or None. Of a folder: at most so many bytes of tensors a file, or "5GB", 10^9 bytes each,
        which None is; "5GiB" are 2^30 each. A tensor that is larger has a file to itself.
    rank, world : int or None. Of a folder: write the files of one of `world` processes only, those numbered rank,
        rank + world and so on; rank 0 writes the index and the config too. rank "auto" is what torchrun, Slurm, Open
        MPI, PMI or an array job says in the environment.
    resume : bool. Go on where an interrupted run stopped. A file that is there is kept if it has this plan's header,
        the right size, and samples of its elements drawn again are its bytes; with this header and else wrong it is
        written again; with another header it is refused before anything is written. With overwrite=True all is written.
    config : mapping, path or None. Of a folder: written as config.json, or copied there.

    Returns
    -------
    Written : files, those that were written, by their names in the folder, or the path; kept, those that were whole
        already; nbytes, bytes of the tensors that were written.

    Raises
    ------
    FileExistsError : a file exists, and overwrite is False.
    OSError : it cannot be written: a full disk, a missing directory, a file system without hard links (overwrite=True
        needs none). Its filename is the path as given.
    TypeError, ValueError : seed, threads, what belongs to a folder given with a file, a plan that the format cannot
        hold, such as one with a tied tensor called "format" or "winit.seed", whose tie has no place in the metadata, or
        with float8 in an npz file; nothing is written then. ImportError : a store without fsspec, or its driver.

    """
    threads = check_threads(threads)
    stream_key(seed)
    check_plan(plan)
    check_callable(progress, "progress")
    check_bool(resume, "resume")
    typed = check_path(path)
    kind = kind_of_output(typed)
    if kind == "folder":
        own = ranked(rank, world)
        texts = texts_of(config)
        cut = by_size(plan, byte_size(MAX_SHARD_SIZE if max_shard_size is None else max_shard_size))
        job = job_of(cut, own.rank, own.world, seed, texts)
        return job.write(typed, overwrite=overwrite, resume=resume, threads=threads, progress=progress)
    for name, value in {"max_shard_size": max_shard_size, "rank": rank, "world": world, "config": config}.items():
        if value is not None:
            raise ValueError(f"{name} is for a folder, and {typed} is a file")
    if kind == "npz":
        if resume:
            raise ValueError(f"resume is for safetensors files, and {typed} is an npz file")
        _write_npz(plan, typed, seed, overwrite, threads, progress)
        return Written([typed], [], plan.nbytes)
    if resume and not overwrite and Path(typed).exists():
        folder, name = os.path.split(typed)
        if found_whole(LocalFolder(folder), Shard(name, plan, plan.digest), seed):
            Counter(plan.nbytes, progress, plan.nbytes)
            return Written([], [typed], 0)
        overwrite = True
    target = destination(typed, overwrite)
    head, places = Shard(typed, plan, plan.digest).head(seed)
    spans = spans_of(plan, seed, places, threads)
    store([Filed(target, head, spans, plan.nbytes)], threads, Counter(plan.nbytes, progress))
    return Written([typed], [], plan.nbytes)


def _write_npz(
    plan: Plan, path: str, seed: int, overwrite: bool, threads: int | None, progress: Progress | None
) -> None:
    stored = plan.stored
    for name, param in stored.items():
        if param.dtype not in CODES or param.dtype.startswith("float8"):
            raise ValueError(
                f"{shown_name(name)}: is {param.dtype}, which an npz file cannot hold: NumPy has no such dtype; write "
                "a .safetensors file"
            )
        if "\0" in name or len(name.encode()) > MAX_NPZ_NAME or f"{name}.npy" in stored:
            what = "a null character" if "\0" in name else "more than 65,000 bytes"
            what = f"a name that {name + '.npy'!r} would hide" if f"{name}.npy" in stored else what
            raise ValueError(f"{shown_name(name)}: has {what}, which an npz file cannot hold")
    target = destination(path, overwrite)
    metadata = metadata_of(plan, seed, plan.digest)
    members = (
        Member(name, param.dtype, param.shape, param.nbytes, spans_of(plan, seed, {name: 0}, threads))
        for name, param in stored.items()
    )
    store_npz(target, members, metadata, threads, Counter(plan.nbytes, progress))
