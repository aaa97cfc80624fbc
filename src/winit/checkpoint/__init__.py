"""Plans to files and back: `write` draws a plan into a safetensors file, `verify` recomputes one."""

from winit.checkpoint.verification import Verification, verify
from winit.checkpoint.writing import write

__all__ = ["Verification", "verify", "write"]


def __dir__() -> list[str]:
    return __all__
