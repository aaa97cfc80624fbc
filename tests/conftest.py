"""Every engine on every instruction set of this machine, and the point functions of the C headers."""

import ctypes
import os
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import winit
from winit.cli import main

# Programs that tests start: they set up JAX for processes of their own when they are imported.
collect_ignore = ["jax_meshes.py", "jax_ranks.py"]

settings.register_profile("winit", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("winit")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell starts background jobs so; tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)

BUILDS = [(name, isa) for name, engine in winit.engines().items() for isa in engine["instruction_sets"]]
HEADERS = Path(winit.__file__).parent / "include"


@pytest.fixture(params=BUILDS, ids=[f"{name}-{isa}" for name, isa in BUILDS])
def build(request):
    with winit.use_engine(*request.param):
        yield request.param


@pytest.fixture
def run(capsys):
    """Run the command line in this process: (status, stdout, stderr)."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def compiled():
    """The compiled engine, for what is said of that one alone, whatever engine the run is on."""
    with winit.use_engine("cython"):
        yield


@pytest.fixture(scope="session")
def points(tmp_path_factory):
    """tests/points.c as a shared library: the headers' functions over arrays of any words, edge cases too."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(compiler.split()[0]) is None:
        pytest.skip(f"no C compiler ({compiler})")
    library = tmp_path_factory.mktemp("points") / "points.so"
    source = Path(__file__).with_name("points.c")
    command = f"{compiler} -std=c99 -O2 -Wall -Wextra -Werror -ffp-contract=off -shared -fPIC -I{HEADERS}"
    subprocess.run([*command.split(), str(source), "-o", str(library), "-lm"], check=True)
    return Points(ctypes.CDLL(str(library)))


class Points:
    def __init__(self, library):
        self.library = library

    @staticmethod
    def _pointer(array):
        assert array.flags.c_contiguous
        return ctypes.c_void_p(array.ctypes.data)

    def philox(self, counters, keys):
        out = np.empty_like(counters)
        self.library.philox(*map(self._pointer, (counters, keys, out)), ctypes.c_size_t(len(counters)))
        return out

    def normal_pair(self, a, b):
        """z0, z1 of words (uint32: float32) or 53-bit integers (uint64: float64)."""
        wide = a.dtype == np.uint64
        z = [np.empty(a.shape, np.float64 if wide else np.float32) for _ in range(2)]
        function = self.library.normal_pair_f64 if wide else self.library.normal_pair_f32
        function(*map(self._pointer, (a, b, *z)), ctypes.c_size_t(a.size))
        return z

    def truncated(self, n, params):
        """Standard truncated normals of 24-bit (uint32) or 53-bit (uint64) integers under a law's kernel numbers."""
        wide = n.dtype == np.uint64
        z = np.empty(n.shape, np.float64 if wide else np.float32)
        numbers = np.array(params[2:], np.float64)
        function = self.library.truncated_f64 if wide else self.library.truncated_f32
        function(*map(self._pointer, (n, numbers, z)), ctypes.c_size_t(n.size))
        return z

    def halves(self, x):
        """float32 words rounded to (float16, bfloat16) words, and those widened again."""
        f16, bf16 = np.empty(x.shape, np.uint16), np.empty(x.shape, np.uint16)
        w16, wb16 = np.empty(x.shape, np.float32), np.empty(x.shape, np.float32)
        self.library.halves(*map(self._pointer, (x, f16, bf16, w16, wb16)), ctypes.c_size_t(x.size))
        return f16, bf16, w16, wb16

    def float8(self, x, finite=False):
        """float32 words rounded to (float8_e4m3fn, float8_e5m2) words, by the form for finite values or for all."""
        to = [np.empty(x.shape, np.uint8) for _ in range(2)]
        function = self.library.float8_finite if finite else self.library.float8
        function(*map(self._pointer, (x, *to)), ctypes.c_size_t(x.size))
        return to

    def float8_widened(self, h):
        """The float32 of float8_e4m3fn and of float8_e5m2 words."""
        to = [np.empty(h.shape, np.float32) for _ in range(2)]
        self.library.float8_widened(*map(self._pointer, (h, *to)), ctypes.c_size_t(h.size))
        return to
