"""torch.nn.init's functions, led to whoever draws in their place: their code is exchanged, so that all names meet."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any, Protocol

import torch

__all__ = ["Drawing", "swapped"]


class Drawing(Protocol):
    """What torch.nn.init's functions lead to, in its own thread."""

    thread: int

    def initialised(self, name: str, tensor: torch.Tensor, arguments: dict[str, Any], original: Any) -> Any:
        """Do what the function would have done."""
        ...


_NAMES = [
    "uniform_", "normal_", "trunc_normal_", "constant_", "ones_", "zeros_", "eye_", "dirac_", "xavier_uniform_",
    "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_",
]  # fmt: skip
_running: list[Drawing] = []
_functions = [getattr(torch.nn.init, name) for name in _NAMES]
_codes = [function.__code__ for function in _functions]
_originals = {
    name: FunctionType(each.__code__, each.__globals__, name, each.__defaults__, each.__closure__)
    for name, each in zip(_NAMES, _functions, strict=True)
}


def _hooked(name: str, arguments: dict[str, Any]) -> Any:
    """Stand in for a function of torch.nn.init: in a capture's thread for the capture, elsewhere as ever."""
    original = _originals[name]
    tensor = arguments.pop("tensor")
    thread = threading.get_ident()
    for capture in reversed(_running):
        if capture.thread == thread:
            return capture.initialised(name, tensor, arguments, original)
    return original(tensor, **arguments)


def _code_in_place(function: Any) -> CodeType:
    """Code with a function's own parameters that leads to _hooked."""
    name, parameters = function.__name__, list(inspect.signature(function).parameters)
    listed = ", ".join(f"{each!r}: {each}" for each in parameters)
    text = (
        f"def {name}({', '.join(parameters)}):\n"
        "    from winit.torch.interception import _hooked\n"  # and no name of winit's among torch's
        f"    return _hooked({name!r}, {{{listed}}})\n"
    )
    made: dict[str, Any] = {}
    exec(compile(text, f"<winit in place of torch.nn.init.{name}>", "exec"), made)
    code: CodeType = made[name].__code__
    return code


@contextmanager
def swapped(capture: Drawing) -> Iterator[None]:
    """Exchange the code of torch.nn.init's functions: their every name and copy then leads here.

    No lock guards it, which a fork could take along: exchanging twice does no harm, and who puts the code back looks
    whether another has come meanwhile.
    """
    _running.append(capture)
    _exchange()
    try:
        yield
    finally:
        _running.remove(capture)
        if not _running:
            for function, code in zip(_functions, _codes, strict=True):
                function.__code__ = code
        if _running:
            _exchange()


def _exchange() -> None:
    for function in _functions:
        if function.__code__.co_filename.startswith("<winit"):
            continue
        function.__code__ = _code_in_place(function)
