"""What importing does and does not do, engines, and the tools that keep the house."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import winit

ROOT = Path(__file__).parents[1]


def python(code, **environment):
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return run.stdout.strip()


def test_import_brings_no_framework_and_starts_no_thread():
    code = """
import sys, threading, winit
winit.engines()
guests = {"torch", "jax", "flax", "keras", "numba", "scipy", "ml_dtypes", "matplotlib", "safetensors", "transformers"}
print(sorted(guests & set(sys.modules)), threading.active_count())
"""
    assert python(code) == "[] 1"


def test_plans_come_when_asked_for():
    assert (
        python(
            "import sys, winit; name = 'winit._plans.plan'\n"
            "print(name in sys.modules); winit.Plan; print(name in sys.modules)"
        )
        == "False\nTrue"
    )
    assert {"Plan", "Param", "draw"} <= set(dir(winit))
    with pytest.raises(AttributeError, match="module 'winit' has no attribute 'nothing'"):
        winit.nothing  # noqa: B018


@pytest.mark.usefixtures("compiled")
def test_engines_and_their_choice():
    engines = winit.engines()
    assert engines["cython"]["present"], "the suite tests the compiled kernels; they are not built"
    assert engines["cython"]["instruction_sets"][0] == "baseline"
    widest = engines["cython"]["instruction_sets"][-1]
    assert engines["cython"]["in_use"] == widest and engines["reference"]["in_use"] is None
    with winit.use_engine("cython", "baseline"):
        assert winit.engines()["cython"]["in_use"] == "baseline"
        with winit.use_engine("reference"):
            assert winit.engines()["cython"]["in_use"] is None
            assert winit.engines()["reference"]["in_use"] == "baseline"
        assert winit.engines()["cython"]["in_use"] == "baseline"
    assert winit.engines()["cython"]["in_use"] == widest


def test_without_extensions_the_numpy_engine_gives_the_same_values(tmp_path):
    sources = Path(winit.__file__).parent
    shutil.copytree(sources, tmp_path / "winit", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = """
import sys
import winit
assert winit.__file__.startswith(sys.path[0])
engines = winit.engines()
assert not engines["cython"]["present"] and engines["reference"]["in_use"] == "baseline"
try:
    winit.use_engine("cython")
except ValueError as error:
    print(error)
for missing in ("winit.BitGenerator", "__import__('winit.stream')"):
    try:
        eval(missing)
    except ImportError as error:
        print(error)
print(winit.draw(winit.normal(), 5, seed=1).tolist())
x = winit.draw(winit.normal(), (3, 4), seed=1)
y, tape = winit.dense_forward(x, winit.Virtual(winit.normal(), (5, 4), seed=2), activation="gelu")
print(float(y[0, 0]), float(winit.dense_backward(y, tape)[0][0, 0]))
"""
    lines = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}").splitlines()
    message, bit_generator, stream, values, dense = lines
    assert bit_generator.startswith("winit.BitGenerator is compiled code, and this winit was installed with")
    assert stream.startswith("winit.stream is compiled code, and this winit was installed without it")
    x = winit.draw(winit.normal(), (3, 4), seed=1)
    y, tape = winit.dense_forward(x, winit.Virtual(winit.normal(), (5, 4), seed=2), activation="gelu")
    expected = [float(y[0, 0]), float(winit.dense_backward(y, tape)[0][0, 0])]
    assert [float(number) for number in dense.split()] == pytest.approx(expected, rel=1e-5)
    assert "installed with WINIT_NO_EXTENSIONS=1" in message
    assert values == str(winit.draw(winit.normal(), 5, seed=1).tolist())


def test_fork_after_use():
    code = """
import os, winit
a = winit.draw(winit.normal(), 3_000_000, seed=0)
child = os.fork()
if child == 0:
    b = winit.draw(winit.normal(), 3_000_000, seed=0)
    os._exit(0 if (a == b).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    assert python(code) == "0"


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_lint_format_and_types(command):
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not a checkout")
    pytest.importorskip(command[0])
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_match_the_extension():
    pytest.importorskip("mypy")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy.stubtest",
            "winit._kernels.sample",
            "winit._kernels.dense",
            "winit.stream",
            "winit._kernels.bitgen",
            "--ignore-missing-stub",
            "--ignore-disjoint-bases",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_coefficients_are_what_the_tool_derives(tmp_path):
    """The frozen numbers come out of tools/fit_coefficients.py to the last bit."""
    package = tmp_path / "src" / "winit"
    places = ("include/winit/coefficients.h", "_kernels/coefficients.py")
    for name in places:
        (package / name).parent.mkdir(parents=True)
    tool = tmp_path / "tools" / "fit_coefficients.py"
    tool.parent.mkdir()
    tool.write_text((ROOT / "tools" / "fit_coefficients.py").read_text())
    subprocess.run([sys.executable, str(tool)], check=True, capture_output=True)
    for name in places:
        assert (package / name).read_text() == (ROOT / "src" / "winit" / name).read_text()
