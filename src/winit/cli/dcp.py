"""winit init --format dcp: a folder in the format of torch.distributed.checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from winit.cli.failures import FailureError

if TYPE_CHECKING:
    from winit.checkpoint import Written

__all__ = ["dcp_writer"]


def dcp_writer(arguments: argparse.Namespace) -> Callable[..., Written]:
    """Return what writes such a folder.

    Raises
    ------
    FailureError : an option that is for other formats, an output that is a file; torch is not there.

    """
    from winit.checkpoint.writing import kind_of_output

    for option in ("resume", "config"):
        if getattr(arguments, option):
            raise FailureError(f"--{option} is for safetensors files, and not for --format dcp")
    if kind_of_output(arguments.output) != "folder":
        raise FailureError(f"--format dcp writes a folder, and -o {arguments.output} is a file")
    try:
        from winit.torch import write_dcp
    except ImportError as error:
        raise FailureError(f"--format dcp needs torch ({error}): pip install 'winit[torch]'") from None
    size = arguments.max_shard_size
    return write_dcp if size is None else partial(write_dcp, max_shard_size=size)
