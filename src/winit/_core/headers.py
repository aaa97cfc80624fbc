"""Where other people's compilers find what this package has for them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_include"]


def get_include() -> str:
    """Return the directory of winit.h, for a C or C++ compiler's -I.

    The header gives the values of winit.draw to C and C++, without Python; it says how. Cython code that cimports
    winit.stream needs no directory.

    Returns
    -------
    str : a path; the directory holds winit.h, and in winit/ the headers that it is made of.

    >>> import os, winit
    >>> sorted(os.listdir(winit.get_include()))
    ['winit', 'winit.h']

    """
    return str(Path(__file__).parents[1] / "include")
