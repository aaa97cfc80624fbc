from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import winit
from winit import Plan
from winit.checkpoint import verify
from winit.checkpoint.writing import CODES
from winit.cli import main

pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="writing checkpoints needs POSIX")

SPEC = """
[tensors]
"fc.{0..1}.weight" = { shape = [300, 200] }
"fc.{0..1}.bias" = { shape = [300], scheme = "zeros()" }
"steps" = { shape = [], scheme = "constant(7)", dtype = "int64" }
"head" = { tied = "fc.0.weight" }
[[rules]]
match = "*"
scheme = "normal(std=0.5)"
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(SPEC, encoding="utf-8")
    return path


@pytest.fixture
def run(capsys):
    """Run main in this process: (status, stdout, stderr)."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def file(spec, tmp_path):
    path = tmp_path / "m.safetensors"
    Plan.from_toml(spec).write(path, seed=5)
    return path


def one_line(result, match: str) -> None:
    """An error: status 2, nothing on stdout, one line on stderr."""
    status, out, err = result
    assert (status, out) == (2, "")
    assert re.fullmatch(r"winit: error: [^\n]+\n", err), err
    assert re.search(match, err), err


def command(*arguments, **keywords) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "winit", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, **keywords)


# ---- happy paths


def test_init(run, spec, tmp_path):
    path = tmp_path / "m.safetensors"
    status, out, err = run("init", spec, "-o", path, "--seed", 5)
    assert (status, err) == (0, "")
    # 2 (300 * 200 + 300) + 1 parameters; all but the last of 4 bytes.
    assert re.fullmatch(
        rf"{re.escape(str(path))}: 5 tensors, 120,601 parameters, 482,408 bytes, seed 5, \d+\.\d\d s\n", out
    )
    assert verify(path, Plan.from_toml(spec), seed=5).ok
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.safetensors", "plan.toml"]


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_init_seeds(run, spec, tmp_path, seed):
    path = tmp_path / "m.safetensors"
    assert run("init", spec, "--output", path, "--seed", seed, "--threads", 1)[0] == 0
    assert verify(path, Plan.from_toml(spec), seed=seed).ok


def test_init_is_the_same_for_any_threads(run, spec, file, tmp_path):
    for threads in (1, 2, 5):
        path = tmp_path / f"{threads}.safetensors"
        assert run("init", spec, "-o", path, "--seed", 5, "--threads", threads)[0] == 0
        assert path.read_bytes() == file.read_bytes()


def test_init_overwrite(run, spec, file, tmp_path):
    file.write_bytes(b"old")
    assert run("init", spec, "-o", file, "--seed", 6, "--overwrite")[0] == 0
    assert verify(file, Plan.from_toml(spec), seed=6).ok


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_init_dtype_changes_what_is_stored(run, spec, tmp_path, dtype):
    path = tmp_path / "m.safetensors"
    assert run("init", spec, "-o", path, "--seed", 5, "--dtype", dtype)[0] == 0
    data = path.read_bytes()
    entries = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    stored = {name: entry["dtype"] for name, entry in entries.items() if name != "__metadata__"}
    assert stored.pop("steps") == "I64"
    assert set(stored.values()) == {CODES[dtype]}
    assert len(stored) == 4
    assert run("verify", path, spec, "--seed", 5, "--dtype", dtype)[0] == 0
    assert run("verify", path, spec, "--seed", 5)[0] == 1


def test_show(run, spec):
    status, out, err = run("show", spec)
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["name", "shape", "dtype", "scheme", "std", "parameters"],
        ["fc.0.weight", "300x200", "float32", "normal(std=0.5)", "0.5", "60,000"],
        ["fc.1.weight", "300x200", "float32", "normal(std=0.5)", "0.5", "60,000"],
        ["fc.0.bias", "300", "float32", "zeros()", "0", "300"],
        ["fc.1.bias", "300", "float32", "zeros()", "0", "300"],
        ["steps", "scalar", "int64", "constant(value=7)", "0", "1"],
        ["head", "300x200", "float32", "tied", "to", "fc.0.weight"],
        ["total:", "5", "tensors", "482,408", "bytes", "120,601"],
    ]
    assert all(line == line.rstrip() for line in out.splitlines())
    # Numbers end in one column.
    assert len({len(line) for line in out.splitlines() if "tied" not in line}) == 1


def test_show_dtype(run, spec):
    out = run("show", spec, "--dtype", "float16")[1]
    assert out.count("float16") == 5  # the tied one too
    assert out.count("int64") == 1
    assert "241,208 bytes" in out


def test_show_every_std(run, tmp_path):
    spec = tmp_path / "plan.toml"
    spec.write_text(
        '[tensors]\nhe = { shape = [10, 200], scheme = "he_normal()" }\n'
        'io = { shape = [10, 200], scheme = "he_normal()", layout = "io" }\n'
        'lit = { shape = [2], scheme = "literal([1, 3])" }\n'
        'cut = { shape = [2], scheme = "truncated_normal()" }\n',
        encoding="utf-8",
    )
    stds = {line.split()[0]: line.split()[-2] for line in run("show", spec)[1].splitlines()[1:-1]}
    assert stds == {"he": "0.1", "io": "0.447214", "lit": "1", "cut": "0.879626"}


def test_show_example_specs(run):
    examples = Path(__file__).resolve().parents[1] / "examples"
    for path in sorted(examples.glob("*.toml")):
        status, out, err = run("show", path)
        assert (status, err) == (0, "")
        assert "total: " in out


def test_show_a_plan_without_tensors(run, tmp_path):
    spec = tmp_path / "plan.toml"
    spec.write_text("", encoding="utf-8")
    status, out, err = run("show", spec)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].split() == ["total:", "0", "tensors", "0", "bytes", "0"]


def test_show_a_constant_beyond_any_float(run, tmp_path):
    # What int() holds and float() does not.
    spec = tmp_path / "plan.toml"
    spec.write_text(
        f'[tensors]\nw = {{ shape = [2], dtype = "complex64", scheme = "constant(1{"0" * 400})" }}', encoding="utf-8"
    )
    one_line(run("show", spec), r"plan\.toml: w: scheme .constant\(10+\).: value is beyond the range of float64")


def test_verify(run, spec, file):
    status, out, err = run("verify", file, spec, "--seed", 5)
    assert (status, err) == (0, "")
    assert out == f"{file}: all 5 tensors, 482,408 bytes, are those of the plan\n"


def test_verify_another_seed(run, spec, file):
    status, out, err = run("verify", file, spec, "--seed", 6)
    assert (status, err) == (1, "")
    assert out == f"fc.0.weight: differs\nfc.1.weight: differs\n{file}: its metadata says seed 5\n"


def test_verify_one_bit(run, spec, file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert run("verify", file, spec, "--seed", 5) == (1, "fc.1.bias: differs\n", "")


def test_verify_another_plan(run, spec, file):
    spec.write_text(
        SPEC.replace('"steps"', '"stops"').replace("[300], scheme", '[300], dtype = "float16", scheme'),
        encoding="utf-8",
    )
    status, out, err = run("verify", file, spec, "--seed", 5)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        "fc.0.bias: is F32 [300] in 1,200 bytes, expected F16 [300] in 600",
        "fc.1.bias: is F32 [300] in 1,200 bytes, expected F16 [300] in 600",
        "stops: missing",
        "steps: not in the plan",
    ]


def test_quiet_prints_nothing(run, spec, tmp_path):
    path = tmp_path / "m.safetensors"
    assert run("init", spec, "-o", path, "--seed", 5, "--quiet") == (0, "", "")
    assert run("verify", path, spec, "--seed", 5, "--quiet") == (0, "", "")
    assert run("verify", path, spec, "--seed", 6, "--quiet") == (1, "", "")
    one_line(run("init", spec, "-o", path, "--seed", 5, "--quiet"), "exists already")


# ---- errors


def existing(directory: Path) -> dict[str, bytes | None]:
    return {path.name: None if path.is_dir() else path.read_bytes() for path in directory.iterdir()}


ERRORS = {
    "no command": ([], r"COMMAND.*\(see winit --help\)"),
    "unknown command": (["make"], r"invalid choice: 'make'"),
    "unknown option": (["show", "{spec}", "--fast"], r"unrecognized arguments: --fast"),
    "unknown option of init": (["init", "{spec}", "-o", "{new}", "--seed", "0", "-x"], r"unrecognized arguments: -x"),
    "no spec": (["show"], r"required: SPEC \(see winit show --help\)"),
    "no output": (["init", "{spec}", "--seed", "0"], r"required: -o/--output"),
    "no seed": (["init", "{spec}", "-o", "{new}"], r"required: --seed"),
    "no seed to verify": (["verify", "{file}", "{spec}"], r"required: --seed"),
    "option without value": (["init", "{spec}", "-o", "{new}", "--seed"], r"--seed: expected one argument"),
    "quiet show": (["show", "{spec}", "--quiet"], r"unrecognized arguments: --quiet"),
    "seed -1": (["init", "{spec}", "-o", "{new}", "--seed", "-1"], r"seed must be in \[0, 2\^64\), not -1"),
    "seed 2^64": (["init", "{spec}", "-o", "{new}", "--seed", str(2**64)], r"seed must be in \[0, 2\^64\), not 1844"),
    "seed x": (["init", "{spec}", "-o", "{new}", "--seed", "x"], r"--seed: invalid int value: 'x'"),
    "seed 1.5": (["init", "{spec}", "-o", "{new}", "--seed", "1.5"], r"--seed: invalid int value: '1\.5'"),
    "seed of 5000 digits": (["init", "{spec}", "-o", "{new}", "--seed", "1" * 5000], r"--seed: invalid int value"),
    "verify seed -1": (["verify", "{file}", "{spec}", "--seed", "-1"], r"seed must be in \[0, 2\^64\), not -1"),
    "verify seed x": (["verify", "{file}", "{spec}", "--seed", "x"], r"--seed: invalid int value: 'x'"),
    "threads 0": (
        ["init", "{spec}", "-o", "{new}", "--seed", "0", "--threads", "0"],
        r"threads must be at least 1, not 0",
    ),
    "threads -1": (
        ["verify", "{file}", "{spec}", "--seed", "0", "--threads", "-1"],
        r"threads must be at least 1, not -1",
    ),
    "threads x": (["init", "{spec}", "-o", "{new}", "--seed", "0", "--threads", "x"], r"--threads: invalid int value"),
    "unknown dtype": (
        ["init", "{spec}", "-o", "{new}", "--seed", "0", "--dtype", "float8"],
        r"dtype must be .*'float8'",
    ),
    "dtype int8": (["show", "{spec}", "--dtype", "int8"], r"dtype must be one of float32, float64, .*, not 'int8'"),
    "dtype of code": (["show", "{spec}", "--dtype", ","], r"dtype must be"),
    "missing spec": (["show", "{tmp}/absent.toml"], r"absent\.toml: No such file or directory"),
    "missing spec of init": (
        ["init", "{tmp}/absent.toml", "-o", "{new}", "--seed", "0"],
        r"absent\.toml: No such file",
    ),
    "spec a directory": (["show", "{tmp}"], r"Is a directory"),
    "spec not UTF-8": (["show", "{latin}"], r"latin\.toml: not UTF-8 text"),
    "spec bad": (["show", "{bad}"], r"bad\.toml: malformed TOML: "),
    "spec a file of tensors": (["show", "{file}"], r"m\.safetensors: "),
    "spec wrong": (["init", "{wrong}", "-o", "{new}", "--seed", "0"], r"wrong\.toml: w: scheme 'no' is not known"),
    "spec of two lines": (["show", "{lines}"], r"lines\.toml: .a.nb.: shape must not hold negative sizes"),
    "existing output": (
        ["init", "{spec}", "-o", "{file}", "--seed", "0"],
        r"m\.safetensors: exists already \(.*--overwrite",
    ),
    "directory as output": (["init", "{spec}", "-o", "{tmp}", "--seed", "0"], r"is a directory"),
    "directory as output again": (["init", "{spec}", "-o", "{tmp}", "--seed", "0", "--overwrite"], r"is a directory"),
    "missing directory": (["init", "{spec}", "-o", "{tmp}/no/m", "--seed", "0"], r"no: No such file or directory"),
    "a file as directory": (["init", "{spec}", "-o", "{file}/m", "--seed", "0"], r"m\.safetensors.*: Not a directory"),
    "missing file": (["verify", "{tmp}/absent.st", "{spec}", "--seed", "0"], r"absent\.st: No such file or directory"),
    "not a file of tensors": (["verify", "{spec}", "{spec}", "--seed", "0"], r"plan\.toml is not a safetensors file: "),
    "verify a directory": (
        ["verify", "{tmp}", "{spec}", "--seed", "0"],
        r"is not a safetensors file: it is not a regular",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_line(run, spec, file, tmp_path, name):
    written = {
        "bad": b"[tensors\n",
        "latin": b"# caf\xe9\n",
        "wrong": b'[tensors]\nw = { shape = [1], scheme = "no()" }\n',
        "lines": b'[tensors]\n"a\\nb" = { shape = [-1], scheme = "ones()" }\n',
    }
    for stem, data in written.items():
        (tmp_path / f"{stem}.toml").write_bytes(data)
    places = {"spec": spec, "file": file, "new": tmp_path / "new.safetensors", "tmp": tmp_path}
    places |= {stem: tmp_path / f"{stem}.toml" for stem in written}
    before = existing(tmp_path)
    arguments, match = ERRORS[name]
    one_line(run(*(argument.format_map(places) for argument in arguments)), match)
    assert existing(tmp_path) == before


def test_full_disk(run, spec, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    before = existing(tmp_path)
    one_line(run("init", spec, "-o", tmp_path / "m.st", "--seed", "0"), r"m\.st: No space left on device")
    assert existing(tmp_path) == before


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("no memory"), ImportError("no such package")])
def test_other_errors(run, spec, monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("winit.cli.show_command.run", fail)
    one_line(run("show", spec), str(error) or type(error).__name__)


def test_keyboard_interrupt(run, spec, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("winit.cli.show_command.run", interrupt)
    assert run("show", spec) == (130, "", "winit: interrupted\n")


@pytest.mark.parametrize("arguments", [["--help"], ["init", "--help"], ["show", "-h"], ["verify", "-h"]])
def test_help(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: winit")
    assert err == ""


# ---- as a process


def test_process_statuses(spec, tmp_path):
    path = tmp_path / "m.safetensors"
    init = command("init", spec, "-o", path, "--seed", "5")
    assert (init.returncode, init.stderr) == (0, "")  # no bar: stderr is no terminal
    assert "120,601 parameters" in init.stdout
    assert command("verify", path, spec, "--seed", "5").returncode == 0
    differ = command("verify", path, spec, "--seed", "6")
    assert (differ.returncode, differ.stderr) == (1, "")
    again = command("init", spec, "-o", path, "--seed", "5")
    one_line((again.returncode, again.stdout, again.stderr), "exists already")


def test_script_is_installed(spec):
    script = Path(sys.executable).with_name("winit")
    if not script.exists():
        pytest.skip("the package is not installed as a script")
    done = subprocess.run([script, "show", spec], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("name ")


# More than a pipe holds, so that the writer meets the closed end; and less, so that only the last flush does.
@pytest.mark.parametrize("rows", [20_000, 3])
def test_output_cut_short_by_head(tmp_path, rows):
    spec = tmp_path / "plan.toml"
    spec.write_text(f'[tensors]\n"h.{{1..{rows}}}" = {{ shape = [1], scheme = "ones()" }}\n', encoding="utf-8")
    line = [sys.executable, "-m", "winit", "show", str(spec)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as show:
        if rows > 3:
            assert show.stdout.readline().startswith("name ")
        show.stdout.close()
        assert show.stderr.read() == ""
        assert show.wait(timeout=60) == 0


def on_terminal(*arguments, until: bytes | None = None) -> tuple[int, bytes]:
    """Run with a terminal as stderr; interrupt when `until` appears on it. Returns (status, what it showed)."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "winit", *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
                if until is not None and until in shown:
                    process.send_signal(signal.SIGINT)
                    until = None
        except OSError:  # Linux says so when the other end has closed
            pass
        finally:
            os.close(ours)
        return process.wait(timeout=60), shown


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_progress_bar_on_a_terminal(spec, tmp_path, quiet):
    path = tmp_path / "m.safetensors"
    for verb, arguments in (("init", [spec, "-o", path]), ("verify", [path, spec])):
        status, shown = on_terminal(verb, *arguments, "--seed", 5, *quiet)
        assert status == 0
        if quiet:
            assert shown == b""
        else:
            assert shown.startswith(f"\r{verb} [".encode())
            assert re.search(rb"\[#{30}\] 0\.00/0\.00 GB  \d+\.\d\d GB/s\r\n$", shown)


def test_interrupted_init_leaves_nothing(tmp_path):
    spec = tmp_path / "plan.toml"
    # A gigabyte: some half a second, of which the first line of the bar is the beginning.
    spec.write_text('[tensors]\nw = { shape = [250_000_000], scheme = "normal()" }\n', encoding="utf-8")
    began = time.monotonic()
    status, shown = on_terminal("init", spec, "-o", tmp_path / "m.st", "--seed", 0, until=b"init [")
    assert status == 130
    assert b"winit: interrupted" in shown
    assert b"Traceback" not in shown
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.toml"]
    assert time.monotonic() - began < 30


def test_what_init_writes_is_what_draw_draws(run, spec, tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    path = tmp_path / "m.safetensors"
    assert run("init", spec, "-o", path, "--seed", 5)[0] == 0
    expected = winit.draw(winit.normal(std=0.5), (300, 200), seed=5, name="fc.1.weight")
    found = load_file(path)
    assert np.array_equal(found["fc.1.weight"].view(np.uint32), expected.view(np.uint32))
    assert (found["steps"].dtype, found["steps"].shape, int(found["steps"])) == (np.int64, (), 7)
