# What a user of winit.stream and winit.h writes. The flag is for winit.h: without it GCC contracts multiply-adds where
# the processor has them.
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

import winit

OPENMP = ["-fopenmp"] if sys.platform == "linux" else []

setup(
    name="embedder",
    ext_modules=cythonize(
        [
            Extension("embedder", ["embedder.pyx"], extra_compile_args=OPENMP, extra_link_args=OPENMP),
            Extension(
                "header", ["header.pyx"], include_dirs=[winit.get_include()], extra_compile_args=["-ffp-contract=off"]
            ),
        ]
    ),
)
