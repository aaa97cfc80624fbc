"""Plans to files and back: `write` draws a plan into files, `shards` cuts that into jobs, `verify` recomputes them."""

from winit.checkpoint.jobs import Job, Written, shards
from winit.checkpoint.verification import Verification, verify
from winit.checkpoint.writing import write

__all__ = ["Job", "Verification", "Written", "shards", "verify", "write"]


def __dir__() -> list[str]:
    return __all__
