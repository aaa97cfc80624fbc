"""A checkpoint's folder as jobs: what one process of many writes, which needs to know nothing of the others."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from winit._core.checks import check_bool, check_callable, check_integer, check_path, check_threads
from winit._core.keys import stream_key
from winit._files.entries import opened
from winit._files.storing import Counter, Progress
from winit._files.strict_json import ForbiddenError, check_nesting
from winit._plans.plan import Plan, check_plan
from winit.checkpoint.folders import FileOut, Folder, folder_of
from winit.checkpoint.resuming import found_whole, same_bytes
from winit.checkpoint.sharding import INDEX, Cut, Shard, by_count, by_size, byte_size, others_of
from winit.checkpoint.spans import spans_of

__all__ = ["MAX_SHARD_SIZE", "Job", "Written", "clear_layout", "job_of", "shards", "texts_of"]

MAX_SHARD_SIZE = "5GB"  # the Hub's: huggingface_hub's save_torch_state_dict


class Written(NamedTuple):
    """What a call has written: the files by name, those that were whole already, and bytes of tensors written."""

    files: list[str]
    kept: list[str]
    nbytes: int


@dataclass(frozen=True)
class Job:
    """The files that one of several processes writes; small, and picklable.

    rank, world : which of how many jobs it is. count : of files with tensors, all jobs' together. parts : its own.
    texts : small files beside them, by name, which rank 0 writes.
    """

    rank: int
    world: int
    seed: int
    count: int
    parts: tuple[Shard, ...]
    texts: tuple[tuple[str, bytes], ...]

    @property
    def files(self) -> list[str]:
        """The names of its files."""
        return [*(shard.file for shard in self.parts), *(name for name, _ in self.texts)]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(shard.plan.nbytes for shard in self.parts)

    def write(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        resume: bool = False,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Written:
        """Write the job's files, each whole or not at all, into a folder that is made if it is not there.

        Parameters
        ----------
        folder, overwrite, resume, threads, progress : as in winit.checkpoint.write.

        Returns
        -------
        Written : which files were written, and which were whole already.

        Raises
        ------
        FileExistsError, OSError, TypeError, ValueError : as in winit.checkpoint.write, before anything is written.

        """
        threads = check_threads(threads)
        check_callable(progress, "progress")
        check_bool(overwrite, "overwrite")
        check_bool(resume, "resume")
        place = folder_of(check_path(folder, "folder"))
        others = clear_layout(place, self.count, overwrite)
        if resume and not overwrite:
            left = [shard for shard in self.parts if not found_whole(place, shard, self.seed)]
            texts = [
                (name, text)
                for name, text in self.texts
                if not same_bytes(
                    place, name, text, "of this plan, seed and max_shard_size" if name == INDEX else "the one given"
                )
            ]
        else:
            left, texts = list(self.parts), list(self.texts)
        nbytes = sum(shard.plan.nbytes for shard in left)
        counter = Counter(self.nbytes, progress, self.nbytes - nbytes)
        files = [*self._shards(left, overwrite or resume, threads)]
        files += [FileOut(name, overwrite, text) for name, text in texts]
        place.write(files, threads, counter)
        for name in others if self.rank == 0 else ():
            place.remove(name)
        names = [file.name for file in files]
        return Written(names, [name for name in self.files if name not in names], nbytes)

    def _shards(self, chosen: list[Shard], overwrite: bool, threads: int | None) -> Iterator[FileOut]:
        for shard in chosen:
            head, places = shard.head(self.seed)
            spans = spans_of(shard.plan, self.seed, places, threads)
            yield FileOut(shard.file, overwrite, head, spans, shard.plan.nbytes)


def shards(
    plan: Plan,
    n: int,
    *,
    seed: int,
    max_shard_size: int | str | None = None,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
) -> list[Job]:
    """Cut the writing of a plan's checkpoint into jobs that any machines do in any order.

    A job is small and picklable, for engines such as Dask and Ray, and knows nothing of the others: job.write(folder)
    writes its own files. Together they are, byte for byte, what one machine writes.

    Parameters
    ----------
    plan : Plan.
    n : int. How many jobs.
    seed : int, 0 <= seed < 2^64.
    max_shard_size : int, str or None. At most so many bytes a file, as in winit.checkpoint.write; job r of n then has
        every n-th file, from file r on. None: one file a job, of about equal size.
    config : as in winit.checkpoint.write; job 0 writes it.

    Returns
    -------
    list of n jobs; the first writes the index too. Where a plan has fewer tensors than there are jobs, some have
    nothing to do.

    Raises
    ------
    TypeError, ValueError : plan, n, seed, max_shard_size, config; a plan that the format cannot hold.

    >>> import tempfile, winit, winit.checkpoint
    >>> plan = winit.Plan({f"{i}.weight": (64, 64) for i in range(6)}, rules=[("*", winit.he_normal())])
    >>> jobs = winit.checkpoint.shards(plan, 3, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for job in reversed(jobs):
    ...         print(job.write(folder).files)
    ...     winit.checkpoint.verify(folder, plan, seed=0).ok
    ['model-00003-of-00003.safetensors']
    ['model-00002-of-00003.safetensors']
    ['model-00001-of-00003.safetensors', 'model.safetensors.index.json']
    True

    """
    check_plan(plan)
    stream_key(seed)
    n = check_integer(n, "n")
    cut = by_count(plan, n) if max_shard_size is None else by_size(plan, byte_size(max_shard_size))
    texts = texts_of(config)
    return [job_of(cut, rank, n, seed, texts) for rank in range(n)]


def clear_layout(folder: Folder, count: int, overwrite: bool) -> list[str]:
    """Return files of another checkpoint's layout that are to be removed, or refuse to write beside them."""
    others = others_of(folder.names(), count)
    if others and not overwrite:
        what = f"is of a checkpoint of another layout than this one's {count} files (--overwrite removes such files)"
        raise FileExistsError(errno.EEXIST, what, folder.path(others[0]))
    return others


def job_of(cut: Cut, rank: int, world: int, seed: int, texts: tuple[tuple[str, bytes], ...] = ()) -> Job:
    """Return one rank's job; whatever the format cannot hold is said now."""
    parts = tuple(cut.shards(rank, world))
    for shard in parts:
        shard.head(seed)
    if rank:
        return Job(rank, world, seed, len(cut.groups), parts, ())
    index = cut.index(seed)
    # Last, so that who finds the index of a folder that one process wrote finds all that it names.
    return Job(rank, world, seed, len(cut.groups), parts, (*texts, *(((INDEX, index),) if index is not None else ())))


def texts_of(config: Any) -> tuple[tuple[str, bytes], ...]:
    """Return the files besides tensors and index: a config.json, copied from a file or written from a mapping."""
    if config is None:
        return ()
    if isinstance(config, Mapping):
        try:
            text = json.dumps(dict(config), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise type(error)(f"config: {error}") from None
        return (("config.json", text.encode()),)
    return (("config.json", _config_file(check_path(config, "config"))),)


def _constant(name: str) -> float:
    """Take the infinities that transformers writes; NaN is none of a configuration's."""
    if name == "NaN":
        raise ValueError("it holds NaN")
    return float(name.replace("Infinity", "inf"))


def _config_file(path: str) -> bytes:
    """Read a file that is to be copied: JSON, an object."""
    with opened(path) as descriptor:
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    try:
        check_nesting(text)
        found = json.loads(text, parse_constant=_constant)
    except ForbiddenError as error:
        raise ValueError(f"{path} {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not a configuration: a JSON object is wanted, not {type(found).__name__}")
    return text
