"""A plan straight into a safetensors file: drawn in a stream, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping

from winit._core.checks import check_callable, check_threads, shown
from winit._core.keys import STREAM_VERSION, stream_key
from winit._files.appearing import destination
from winit._files.safetensors_header import lay_out
from winit._files.storing import Progress, store
from winit._plans.param import shown_name
from winit._plans.plan import Plan, check_plan
from winit.checkpoint.spans import spans_of

__all__ = ["header", "write"]


def header(plan: Plan, seed: int, origin: str | None = None) -> tuple[bytes, dict[str, int]]:
    """Lay out a plan's file.

    Tensors stand in the plan's order, those of wider elements first, so that each is aligned for its dtype. The
    metadata carries the stream version, the seed, the plan's digest, and for each tied name the name it is tied to
    (as safetensors.torch.save_model does). Where not all values are the plan's own, `origin` says so in the place of
    the plan's digest.

    Returns
    -------
    (bytes, dict) : all that precedes the tensors' bytes, and each stored tensor's place in the file.

    Raises
    ------
    ValueError : a tensor called "__metadata__", a tied one called as winit's own metadata is, a header longer than
        100 MB.

    """
    metadata = {name: param.tied for name, param in plan.items() if param.tied is not None}
    _check_ties(metadata)
    metadata |= {
        "format": "pt",
        "winit.stream": str(STREAM_VERSION),
        "winit.seed": str(seed),
    }
    metadata |= {"winit.plan": plan.digest} if origin is None else {"winit.pretrained": origin}
    tensors = sorted(plan.stored.items(), key=lambda item: -item[1].itemsize)
    return lay_out(((name, param.dtype, param.shape, param.nbytes) for name, param in tensors), metadata)


def _check_ties(ties: Mapping[str, str]) -> None:
    """Raise for a tied name that metadata of the file's own has, under which the tie would be lost."""
    taken = sorted(name for name in ties if name == "format" or name.startswith("winit."))
    if taken:
        name, target = taken[0], ties[taken[0]]
        raise ValueError(
            f"{shown_name(name)}: tied to {shown(target)}, which a safetensors file says in its metadata, where "
            f"'format' and names that begin with 'winit.' are the file's own; tie {shown(target)} to {shown(name)} "
            "instead, which is then stored, or give it another name"
        )


def write(
    plan: Plan,
    path: str | os.PathLike[str],
    *,
    seed: int,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Draw every tensor of a plan straight into one safetensors file.

    Each thread draws 4 MiB and writes them to their place, so memory does not grow with the model. The file appears
    under its name when it is whole and on the disk, else not at all. Until then it is `.NAME.<16 hex>.winit` in the
    same directory, locked by its writer. Of several writers of one name each has a file of its own, and with
    overwrite=True the last one stays. What a killed writer left is removed by the next writer of that name.

    Parameters
    ----------
    plan : Plan.
    path : str or os.PathLike. The file.
    seed : int, 0 <= seed < 2^64.
    overwrite : bool. Replace an existing regular file; what was there stays until the new one is whole, which has its
        permissions. A new file has those of the process's umask.
    threads : int or None, the processors this process may use.
    progress : callable(bytes done, bytes in all) or None. Called from the writing threads, one at a time.

    Raises
    ------
    FileExistsError : the file exists, and overwrite is False.
    OSError : it cannot be written: a full disk, a missing directory, a file system without hard links (overwrite=True
        needs none). Its filename is the path as given.
    TypeError, ValueError : seed, threads, a plan that the format cannot hold, such as one with a tied tensor called
        "format" or "winit.seed", whose tie has no place in the metadata; nothing is written then.

    """
    threads = check_threads(threads)
    stream_key(seed)
    check_plan(plan)
    check_callable(progress, "progress")
    target = destination(path, overwrite)
    head, places = header(plan, seed)
    store(target, head, list(spans_of(plan, seed, places, threads)), plan.nbytes, threads, progress)
