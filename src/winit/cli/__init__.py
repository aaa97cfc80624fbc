"""The command line."""

from winit.cli.program import main

__all__ = ["main"]
