"""winit.h and the headers below it in other people's programs: every compiler of this machine, draw's bits."""

import itertools
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import winit
from winit._core.keys import stream_key
from winit._core.laws import TruncatedNormal, cut

SOURCE = Path(__file__).parent / "embedding" / "values.c"
KERNELS = Path(winit.__file__).parent / "_kernels"
STRICT = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wundef -Werror"
LINE = (2**62,)  # an endless tensor

# As C99 and as C++17. Cross compilers have an emulator to run what they make, in the same container as everything else.
LANGUAGES = {"c99": "-std=c99 -x c", "c++17": "-std=c++17 -x c++"}
# musl-gcc is gcc with Alpine's C library.
NATIVE = {"gcc": "c99", "g++": "c++17", "clang": "c99", "clang++": "c++17", "musl-gcc": "c99"}
CROSS = {"aarch64-linux-gnu-gcc": "c99", "aarch64-linux-gnu-g++": "c++17"}
ARM = platform.machine() == "aarch64"


def need(tool):
    """The tool, or no test; where WINIT_REQUIRE_COMPILERS=1, a failure: a guard that never runs is no guard."""
    if shutil.which(tool) is None:
        if os.environ.get("WINIT_REQUIRE_COMPILERS") == "1":
            pytest.fail(f"{tool} is not installed, and WINIT_REQUIRE_COMPILERS=1 asks for it")
        pytest.skip(f"{tool} is not installed (WINIT_REQUIRE_COMPILERS=1 makes this a failure)")
    return tool


@pytest.mark.parametrize(("asked", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_compiler_fails_where_it_is_required(asked, outcome, monkeypatch):
    monkeypatch.setenv("WINIT_REQUIRE_COMPILERS", asked)
    with pytest.raises(outcome, match="no-such-compiler is not installed"):
        need("no-such-compiler")


class Program(NamedTuple):
    compiler: str
    flags: str

    def build(self, target, source=SOURCE):
        language = LANGUAGES[{**NATIVE, **CROSS}[need(self.compiler)]]
        run = [need("qemu-aarch64")] if self.compiler in CROSS and not ARM else []
        static = "-static" if self.compiler in CROSS else ""
        command = f"{self.compiler} {self.flags} {static} -I{winit.get_include()} {language}"
        subprocess.run([*command.split(), str(source), "-o", str(target), "-lm"], check=True)
        return [*run, str(target)]


def lines(command, *arguments):
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=True, timeout=120)
    return {line.split(" ", 1)[0]: line.split()[1:] for line in done.stdout.splitlines()}


class Case(NamedTuple):
    seed: int
    name: str
    lo: int
    count: int
    ends: tuple = (0.0, 1.0)
    ends64: tuple = (0.0, 1.0)
    normal: tuple = (0.0, 1.0)
    cuts: tuple = (-2.0, 2.0)

    def arguments(self):
        cuts = [number.hex() for dtype in ("float32", "float64") for number in cut(*self.cuts, dtype)]
        numbers = [float(number).hex() for number in (*self.ends, *self.ends64, *self.normal)]
        return [self.seed, self.lo, self.count, *numbers, self.name.encode().hex(), *cuts]

    def expected(self):
        """Lines as values.c prints them, from winit.draw."""

        def bits(scheme, dtype="float32"):
            v = winit.draw(
                scheme, LINE, seed=self.seed, name=self.name, dtype=dtype, box=range(self.lo, self.lo + self.count)
            )
            size = v.dtype.itemsize
            return [f"{word:0{2 * size}x}" for word in v.view(f"u{size}").tolist()]

        normal, truncated = winit.normal(*self.normal), winit.truncated_normal(*self.normal, *self.cuts)
        return {
            "key": [f"{word:08x}" for word in stream_key(self.seed, self.name)],
            "uniform_at": bits(winit.uniform()),
            "uniform64_at": bits(winit.uniform(), "float64"),
            "normal_at": bits(winit.normal()),
            "normal64_at": bits(winit.normal(), "float64"),
            "truncated_normal_at": bits(winit.truncated_normal(0, 1, *self.cuts)),
            "truncated_normal64_at": bits(winit.truncated_normal(0, 1, *self.cuts), "float64"),
            "fill_uniform": bits(winit.uniform(*self.ends)),
            "fill_uniform64": bits(winit.uniform(*self.ends64), "float64"),
            "fill_normal": bits(normal),
            "fill_normal64": bits(normal, "float64"),
            "fill_normal_f16": bits(normal, "float16"),
            "fill_normal_bf16": bits(normal, "bfloat16"),
            "fill_normal_f8e4m3": bits(normal, "float8_e4m3fn"),
            "fill_normal_f8e5m2": bits(normal, "float8_e5m2"),
            "fill_truncated_normal": bits(truncated),
            "fill_truncated_normal64": bits(truncated, "float64"),
            "guards": ["1"],
        }


# Names up to, at and past BLAKE2b's blocks of 128 bytes (8 of them are the seed's); ranges that begin and end inside
# blocks and around the index where blocks carry; uniform ends three steps apart, so that every sixth value would round
# to the upper one, below zero, from above and from below a power of two; standard deviations whose values are
# subnormal; cuts in the far tails; a normal that is -0 before the mean is added.
CASES = [
    Case(0, "", 0, 300),
    Case(2**64 - 1, "naïve.重み.weight", 2**32 + 3, 257, (-0.1, 0.3), (-0.1, 0.3), (0.5, 0.02), (-1.0, 3.0)),
    Case(1, "a" * 120, 2**34 - 7, 14, (-1.0, 0.0), (-1.0, 0.0), (-0.1, 1e-40), (2.5, 9.0)),
    Case(1, "a" * 121, 2**40 + 1, 5, (-3.0, -1.0), (-3.0, -1.0), (1e-3, 1e-6), (-11.0, -4.0 - 2**-20)),
    Case(2**63 + 3, "é重" * 150, 2**61 + 2, 2048, (1e-3, 2**-9), (1e-3, 2**-9), (0.1, 0.1), (0.1, 0.1001)),
    Case(2, "zero", 1, 100, (-3 * 2.0**-149, 0.0), (-3 * 2.0**-1074, 0.0)),
    Case(2, "above", 2, 100, (-1 - 3 * 2**-23, -1.0), (-1 - 3 * 2**-52, -1.0)),
    Case(2, "below", 3, 100, (1 - 3 * 2**-24, 1.0), (1 - 3 * 2**-53, 1.0)),
    Case(4, "w", 2**32 + 135_069, 3),
    *(
        Case(5, "w", lo, count, (-0.3, 0.7), (-0.3, 0.7), (1.0, 3.0))
        for lo, count in itertools.product((0, 1, 2, 3), (0, 1, 2, 3, 4, 9))
    ),
]


@pytest.fixture(scope="module")
def expected():
    pytest.importorskip("ml_dtypes")
    return [case.expected() for case in CASES]


OFF = "-ffp-contract=off"
PROGRAMS = [
    *(
        Program(compiler, f"{level} {OFF}")
        for compiler in NATIVE
        for level in (
            "-O0",
            "-O2",
            "-O3 -march=native",
            "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all",
        )
        if "sanitize" not in level or compiler == "gcc"
    ),
    *(Program(compiler, f"{level} {OFF}") for compiler in CROSS for level in ("-O0", "-O2", "-O3")),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_programs_print_the_values_of_draw(program, expected, tmp_path):
    command = program.build(tmp_path / "values")
    for case, lines_of_draw in zip(CASES, expected, strict=True):
        printed = lines(command, *case.arguments())
        assert printed.keys() == lines_of_draw.keys()
        for function in lines_of_draw:
            assert printed[function] == lines_of_draw[function], (function, case)
    assert list(lines(command, "check")) == ["0"]


def test_cuts_of_the_header_are_those_of_the_law(tmp_path):
    printed = lines(Program("gcc", f"-O0 {OFF}").build(tmp_path / "values"), "cuts")
    for dtype in ("float32", "float64"):
        law = TruncatedNormal(0.0, 1.0, -2.0, 2.0)
        assert [float.fromhex(number) for number in printed[dtype]] == list(law.params(dtype)[2:])


# No flag: GCC contracts in C++ and in GNU C where there is a fused multiply-add, clang in every language.
CONTRACTING = [
    *(Program(compiler, flags) for compiler, flags in itertools.product(("aarch64-linux-gnu-g++",), ("-O2", "-O3"))),
    Program("aarch64-linux-gnu-gcc", "-O2 -ffp-contract=fast"),
    *(Program(compiler, "-O2 -mfma") for compiler in ("g++", "clang", "clang++") if not ARM),
]


@pytest.mark.parametrize("program", CONTRACTING, ids=" ".join)
def test_check_tells_a_compiler_that_contracts(program, expected, tmp_path):
    if "-mfma" in program.flags and " fma " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no fused multiply-add")
    command = program.build(tmp_path / "contracted")
    assert lines(command, *CASES[0].arguments()) != expected[0], "nothing was contracted: the test tests nothing"
    assert list(lines(command, "check")) == ["3"]
    off = Program(program.compiler, f"{program.flags} {OFF}").build(tmp_path / "not")
    assert lines(off, *CASES[0].arguments()) == expected[0]
    assert list(lines(off, "check")) == ["0"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets x86-64's floating-point mode")
@pytest.mark.parametrize(("mode", "answer"), [("0x1F80u", 0), ("0x9FC0u", 4), ("0x3F80u", 7)])
def test_check_tells_a_floating_point_mode(mode, answer, tmp_path):
    """The default one, one that flushes subnormals to zero, one that rounds down."""
    source = tmp_path / "mode.c"
    source.write_text(
        f"#include <winit.h>\n#include <emmintrin.h>\nint main(void) {{ _mm_setcsr({mode}); return winit_check(); }}\n"
    )
    command = Program("gcc", f"-O2 {OFF}").build(tmp_path / "mode", source)
    assert subprocess.run(command).returncode == answer


@pytest.mark.parametrize(
    ("flags", "message"),
    [("-ffast-math", "-ffast-math changes the values"), ("-mfpmath=387", "keeps float values in a wider type")],
)
def test_compilers_that_cannot_keep_the_bits_are_refused(flags, message, tmp_path):
    if "387" in flags and platform.machine() != "x86_64":
        pytest.skip("x86 alone has this unit")
    command = f"{need('gcc')} {flags} -fsyntax-only -I{winit.get_include()} {SOURCE}"
    done = subprocess.run(command.split(), capture_output=True, text=True)
    assert done.returncode != 0 and message in done.stderr


HEADERS = {
    "philox": '#include "winit/philox.h"',
    "coefficients": '#include "winit/coefficients.h"',
    "approx": '#include "winit/approx.h"',
    "key": '#include "winit/key.h"',
    "winit": '#include "winit.h"',
    "gemm32": '#define WINIT_BITS 32\n#include "gemm.h"',
    "gemm64": '#define WINIT_BITS 64\n#include "gemm.h"',
    "gemm both": "\n".join(f'#undef WINIT_BITS\n#define WINIT_BITS {bits}\n#include "gemm.h"' for bits in (32, 64)),
    "all, twice": "\n".join(
        f'#include "{name}.h"' for name in 2 * ("winit", "winit/approx", "winit/key", "winit/philox")
    ),
}


@pytest.mark.parametrize("compiler", [*NATIVE, *CROSS])
@pytest.mark.parametrize("header", HEADERS)
def test_each_header_compiles_alone_without_a_warning(compiler, header, tmp_path):
    language = LANGUAGES[{**NATIVE, **CROSS}[need(compiler)]]
    warnings = STRICT if "gemm" not in header else "-Wall -Wextra -Wpedantic -Wshadow -Werror"
    source = tmp_path / "alone.c"
    source.write_text(f"{HEADERS[header]}\nint main(void) {{ return 0; }}\n")
    include = f"-I{KERNELS} -I{winit.get_include()}"
    command = f"{compiler} -O2 {OFF} {warnings} {include} {language} -c {source} -o {tmp_path / 'alone.o'}"
    done = subprocess.run(command.split(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_gemm_asks_for_its_parameter(tmp_path):
    source = tmp_path / "alone.c"
    source.write_text('#include "gemm.h"\n')
    command = f"{need('gcc')} -I{KERNELS} -fsyntax-only {source}"
    done = subprocess.run(command.split(), capture_output=True, text=True)
    assert done.returncode != 0 and "define WINIT_BITS as 32 or as 64" in done.stderr


def test_the_public_directory_holds_what_others_compile():
    found = {str(path.relative_to(winit.get_include())) for path in Path(winit.get_include()).rglob("*.*")}
    assert found == {"winit.h", *(f"winit/{name}.h" for name in ("approx", "coefficients", "key", "philox"))}
