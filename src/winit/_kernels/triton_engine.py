"""The kernel contract in Triton, for memory of CUDA and ROCm devices: the same operations, so the same bits.

This is the engine's face; winit._kernels has the contract, and a table of the modules behind each engine. It is chosen
by the destination, not by use_engine: what lies on a device is drawn there. Of the contract it has Fill and words; the
laws that it has no kernel for are drawn on the CPU and copied.
"""

from __future__ import annotations

import sys

from winit._kernels.triton_memory import DeviceArray, array_at, array_of_tensor, stream_for_dlpack
from winit._kernels.triton_sampling import Fill, words

__all__ = ["DeviceArray", "Fill", "array_at", "array_of_tensor", "stream_for_dlpack", "words"]

DeviceArray.engine = sys.modules[__name__]
