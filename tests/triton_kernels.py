"""Compile Triton kernels as a launch would, for a device that is not here."""

from __future__ import annotations

from contextlib import contextmanager

import triton
from triton.backends.compiler import GPUTarget

from winit._kernels import triton_sampling

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
POINTERS = {"float32": "*fp32", "float64": "*fp64", "int16": "*i16", "int8": "*i8", "int32": "*i32"}
FREE = {"num_warps": 4, "enable_fp_fusion": True}  # Triton's own defaults


class Launch:
    """A launch that was asked for: its kernel, grid, arguments by name and options."""

    def __init__(self, kernel, grid, arguments, options):
        self.kernel, self.grid, self.options = kernel, grid, FREE | options
        given = dict(zip(kernel.arg_names, arguments, strict=False))
        self.given = given | {name: self.options.pop(name) for name in list(self.options) if name in kernel.arg_names}

    def compiled(self, target, fusion=None):
        """Compile with the types, constants and divisors that Triton takes from these arguments."""
        signature, constants, divisors = {}, {}, {}
        if "CONVERT" in self.given:
            self.given["CONVERT"] = target.startswith("sm_")
        for parameter in self.kernel.params:
            value, name = self.given[parameter.name], parameter.name
            annotated = parameter.annotation_type
            if parameter.is_constexpr:
                signature[name], constants[name] = "constexpr", value
                continue
            if hasattr(value, "data_ptr"):
                signature[name] = POINTERS[str(value.dtype).removeprefix("torch.")]
                divisible = value.data_ptr() % 16 == 0
            else:
                signature[name] = annotated or ("i32" if -(2**31) <= value < 2**31 else "i64")
                divisible = isinstance(value, int) and value % 16 == 0 and not parameter.do_not_specialize
                if isinstance(value, int) and value == 1 and not parameter.do_not_specialize:
                    signature[name], constants[name] = "constexpr", 1
                    continue
            known = [["tt.divisibility", 16]] if divisible else []
            if hasattr(value, "data_ptr") and target.startswith("gfx"):  # so of memory of less than 2 GB
                known.append(["tt.pointer_range", 32])
            if known:
                divisors[(parameter.num,)] = known
        source = triton.compiler.ASTSource(self.kernel, signature=signature, constexprs=constants, attrs=divisors)
        options = self.options if fusion is None else self.options | {"enable_fp_fusion": fusion}
        self.passed = [name for name in self.kernel.arg_names if signature[name] != "constexpr"]
        return triton.compile(source, target=TARGETS[target], options=options)


class _Recorder:
    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        return lambda *arguments, **options: self.launches.append(Launch(self.kernel, grid, arguments, options))


@contextmanager
def recorded():
    """Record the launches of fills instead of making them."""
    launches, places = (
        [],
        ((triton_sampling, "fill_runs"), (triton_sampling, "fill_points"), (triton_sampling, "words_range")),
    )
    kernels = [getattr(module, name) for module, name in places]
    for (module, name), kernel in zip(places, kernels, strict=True):
        setattr(module, name, _Recorder(kernel, launches))
    try:
        yield launches
    finally:
        for (module, name), kernel in zip(places, kernels, strict=True):
            setattr(module, name, kernel)
