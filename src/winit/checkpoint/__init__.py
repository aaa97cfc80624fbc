"""Plans to files and back: `write` and `shards` draw them, `verify` recomputes, `dummy` takes no law but shapes."""

from winit.checkpoint.dummies import dummy
from winit.checkpoint.jobs import Job, Written, shards
from winit.checkpoint.verification import Verification, verify
from winit.checkpoint.writing import write

__all__ = ["Job", "Verification", "Written", "dummy", "shards", "verify", "write"]


def __dir__() -> list[str]:
    return __all__
