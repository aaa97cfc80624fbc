"""Plans to files and back: `write`, `shards` draw them, `verify` recomputes, `dummy` fills shapes, `audit` any file."""

from winit.checkpoint.auditing import audit
from winit.checkpoint.dummies import dummy
from winit.checkpoint.findings import Audit, Change, Flag, TensorAudit
from winit.checkpoint.jobs import Job, Written, shards
from winit.checkpoint.verification import Verification, verify
from winit.checkpoint.writing import write

__all__ = [
    "Audit",
    "Change",
    "Flag",
    "Job",
    "TensorAudit",
    "Verification",
    "Written",
    "audit",
    "dummy",
    "shards",
    "verify",
    "write",
]


def __dir__() -> list[str]:
    return __all__
