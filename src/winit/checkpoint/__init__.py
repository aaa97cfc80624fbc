"""Plans to files and back: `write` draws a plan into a safetensors file, `verify` recomputes one, `audit` any file."""

from winit.checkpoint.auditing import audit
from winit.checkpoint.findings import Audit, Change, Flag, TensorAudit
from winit.checkpoint.verification import Verification, verify
from winit.checkpoint.writing import write

__all__ = ["Audit", "Change", "Flag", "TensorAudit", "Verification", "audit", "verify", "write"]


def __dir__() -> list[str]:
    return __all__
