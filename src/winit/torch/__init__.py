"""torch tensors and modules, initialised by winit: the same weights for every order, device and number of threads.

>>> import torch, winit.torch
>>> model = winit.torch.build(lambda: torch.nn.Linear(784, 300), seed=0)
"""

from winit.torch import init, operators
from winit.torch.building import Report, build, init_, materialize_, plan, report
from winit.torch.dcp import write_dcp
from winit.torch.filling import add_, fill_
from winit.torch.patching import patched

__all__ = [
    "Report",
    "add_",
    "build",
    "fill_",
    "init",
    "init_",
    "materialize_",
    "patched",
    "plan",
    "report",
    "write_dcp",
]

del operators  # registered, and no name of anybody's


def __dir__() -> list[str]:
    return __all__
