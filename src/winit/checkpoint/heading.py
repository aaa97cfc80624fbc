"""The header of a plan's safetensors file: which tensors, where, and which plan and seed they are of."""

from __future__ import annotations

from collections.abc import Mapping

from winit._core.checks import shown
from winit._core.keys import STREAM_VERSION
from winit._files.safetensors_header import lay_out
from winit._plans.param import shown_name
from winit._plans.plan import Plan

__all__ = ["check_ties", "header", "metadata_of"]


def header(plan: Plan, seed: int, digest: str, origin: str | None = None) -> tuple[bytes, dict[str, int]]:
    """Lay out the file of a plan, or of a part of one, whose digest is then the whole one's.

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
    metadata = metadata_of(plan, seed, digest, origin)
    tensors = sorted(plan.stored.items(), key=lambda item: -item[1].itemsize)
    return lay_out(((name, param.dtype, param.shape, param.nbytes) for name, param in tensors), metadata)


def metadata_of(plan: Plan, seed: int, digest: str, origin: str | None = None) -> dict[str, str]:
    """Return what a file says besides its tensors; see header."""
    metadata = {name: param.tied for name, param in plan.items() if param.tied is not None}
    check_ties(metadata)
    metadata |= {"format": "pt", "winit.stream": str(STREAM_VERSION), "winit.seed": str(seed)}
    return metadata | ({"winit.plan": digest} if origin is None else {"winit.pretrained": origin})


def check_ties(ties: Mapping[str, str]) -> None:
    """Raise for a tied name that metadata of the file's own has, under which the tie would be lost."""
    taken = sorted(name for name in ties if name == "format" or name.startswith("winit."))
    if taken:
        name, target = taken[0], ties[taken[0]]
        raise ValueError(
            f"{shown_name(name)}: tied to {shown(target)}, which a safetensors file says in its metadata, where "
            f"'format' and names that begin with 'winit.' are the file's own; tie {shown(target)} to {shown(name)} "
            "instead, which is then stored, or give it another name"
        )
