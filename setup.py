"""Extensions and their flags; everything else is in pyproject.toml.

WINIT_NO_EXTENSIONS=1  install without them: winit then runs on its slow NumPy engine
WINIT_SANITIZE=1       build with the address and undefined-behaviour sanitizers
WINIT_DEBUG=1          build without optimisation, with debug symbols
"""

import os
import pathlib
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

KERNELS = "src/winit/_kernels"

# Every product and sum of the sampling kernels is rounded on its own, so contraction to fused multiply-adds is off.
# Without errno and traps a square root and a selection are single vector operations; neither flag changes a value.
FLAGS = ["-std=gnu11", "-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
LINK_FLAGS = []
LIBRARIES = [] if sys.platform == "win32" else ["m"]  # fma, where the processor has none
if sys.platform == "win32":
    FLAGS = ["/O2", "/fp:precise", "/std:c11", "/experimental:c11atomics"]
if os.environ.get("WINIT_DEBUG") == "1":
    FLAGS += ["-O0", "-g3", "-UNDEBUG"]
if os.environ.get("WINIT_SANITIZE") == "1":
    FLAGS += ["-O1", "-g3", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    LINK_FLAGS += ["-fsanitize=address,undefined"]


class BuildExtensions(build_ext):
    def run(self):
        try:
            super().run()
        except (CCompilerError, ExecError, PlatformError) as error:
            raise SystemExit(
                f"winit: building its C extensions failed ({error}).\n"
                "They need a C compiler and Python's headers: on Debian and Ubuntu `apt install gcc python3-dev`, on "
                "Fedora `dnf install gcc python3-devel`, on macOS `xcode-select --install`.\n"
                "WINIT_NO_EXTENSIONS=1 installs winit without them; the NumPy engine that is left is some hundred "
                "times slower."
            ) from error


ISAS = ("plain", "neon", "avx2", "avx512")  # each file says for itself where it has loops
INCLUDE = "src/winit/include"
HEADERS = sorted(str(header) for directory in (KERNELS, INCLUDE) for header in pathlib.Path(directory).rglob("*.h"))


def extension(name, sources):
    return Extension(
        f"winit.{name}",
        sources=sources,
        depends=HEADERS,
        include_dirs=[KERNELS, INCLUDE],
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
        libraries=LIBRARIES,
    )


def kernels(name, *sources):
    sources = (f"{name}.pyx", *(f"{name}_{isa}.c" for isa in ISAS), *sources)
    return extension(f"_kernels.{name}", [f"{KERNELS}/{source}" for source in sources])


extensions = [
    kernels("sample", "sparse.c"),
    kernels("dense", "product.c", "householder.c"),
    extension("_kernels.bitgen", [f"{KERNELS}/bitgen.pyx"]),
    extension("stream", ["src/winit/stream.pyx"]),
]

setup(
    ext_modules=[] if os.environ.get("WINIT_NO_EXTENSIONS") == "1" else extensions,
    cmdclass={"build_ext": BuildExtensions},
)
