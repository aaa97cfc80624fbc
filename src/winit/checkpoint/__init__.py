"""Plans to files and back: `write` draws a plan into a safetensors file, `verify` recomputes one."""

from winit.checkpoint.writing import Verification, verify, write

__all__ = ["Verification", "verify", "write"]
