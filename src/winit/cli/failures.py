"""What ends the program with one line and status 2."""

__all__ = ["FailureError"]


class FailureError(Exception):
    """What ends the program with one line and status 2."""
