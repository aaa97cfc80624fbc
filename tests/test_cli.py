from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import winit
from winit import Plan
from winit._files.safetensors_header import CODES
from winit.checkpoint import verify

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
    *table, digest = out.splitlines()
    assert [line.split() for line in table] == [
        ["name", "tensors", "shape", "dtype", "scheme", "std", "parameters"],
        ["fc.{0..1}.weight", "x2", "300x200", "float32", "normal(std=0.5)", "0.5", "120,000"],
        ["fc.{0..1}.bias", "x2", "300", "float32", "zeros()", "0", "600"],
        ["steps", "scalar", "int64", "constant(value=7)", "0", "1"],
        ["head", "300x200", "float32", "tied", "to", "fc.0.weight"],
        ["total:", "5", "tensors", "482,408", "bytes", "120,601"],
    ]
    assert digest == f"digest: {Plan.from_toml(spec).digest}"
    assert all(line == line.rstrip() for line in table)
    # Numbers end in one column.
    assert len({len(line) for line in table if "tied" not in line}) == 1


def test_show_all(run, spec):
    status, out, err = run("show", spec, "--all")
    assert (status, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[:-2]] == [
        ["name", "shape"],
        ["fc.0.weight", "300x200"],
        ["fc.1.weight", "300x200"],
        ["fc.0.bias", "300"],
        ["fc.1.bias", "300"],
        ["steps", "scalar"],
        ["head", "300x200"],
    ]


def rows(out: str) -> dict[str, list[str]]:
    """The rows of show, by their first cell, without header, total and digest."""
    return {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:-2]}


def test_show_folds_what_differs_in_numbers_alone(run, tmp_path):
    spec = tmp_path / "plan.toml"
    spec.write_text(
        "[tensors]\n"
        + "".join(
            f'"{name}" = {{ shape = [{size}], scheme = "{scheme}" }}\n'
            for name, size, scheme in [
                ("h.0.w", 3, "ones()"),
                ("h.0.b", 3, "zeros()"),
                ("h.2.w", 3, "ones()"),
                ("h.1.w", 3, "ones()"),
                ("h.5.w", 3, "ones()"),
                ("h.4.w", 4, "ones()"),  # another shape
                ("h.6.w", 3, "zeros()"),  # another scheme
                ("h.01.w", 3, "ones()"),  # not how a number is counted
                ("e.3.0.w", 2, "ones()"),
                ("e.3.1.w", 2, "ones()"),
                ("e.4.0.w", 2, "ones()"),
                ("e.4.1.w", 2, "ones()"),
                ("e.5.1.w", 2, "ones()"),  # not every combination
                ("{{7}}.w", 1, "ones()"),
                ("{{8}}.w", 1, "ones()"),
            ]
        )
        + "[parameters]\n",
        encoding="utf-8",
    )
    status, out, err = run("show", spec)
    assert (status, err) == (0, "")
    assert [(name, *cells[:2], cells[-1]) for name, cells in rows(out).items()] == [
        ("h.{0..2,5}.w", "x4", "3", "12"),
        ("h.0.b", "3", "float32", "3"),
        ("h.4.w", "4", "float32", "4"),
        ("h.6.w", "3", "float32", "3"),
        ("h.01.w", "3", "float32", "3"),
        ("e.{3..4}.{0..1}.w", "x4", "2", "8"),
        ("e.5.1.w", "2", "float32", "2"),
        ("{7}.w", "1", "float32", "1"),
        ("{8}.w", "1", "float32", "1"),
    ]
    assert out.splitlines()[-2].split()[1] == "15"


def unfolded(name: str) -> list[str]:
    """The names that a folded one stands for, worked out from its text."""
    before, brace, rest = name.partition("{")
    if not brace:
        return [name]
    inside, _, after = rest.partition("}")
    numbers = []
    for piece in inside.split(","):
        lo, _, hi = piece.partition("..")
        numbers += range(int(lo), int(hi or lo) + 1)
    return [f"{before}{number}{tail}" for number in numbers for tail in unfolded(after)]


@pytest.mark.parametrize("recipe", winit.recipes.names())
def test_folded_rows_are_the_plan(run, recipe):
    plan = winit.recipes.load(recipe)
    out = run("show", recipe)[1]
    names = [name for row in rows(out) for name in unfolded(row)]
    assert sorted(names) == sorted(plan)
    firsts = [unfolded(row)[0] for row in rows(out)]
    assert firsts == sorted(firsts, key=list(plan).index)
    for row, cells in rows(out).items():
        count = len(unfolded(row))
        assert cells[0] == f"x{count}" if count > 1 else not cells[0].startswith("x")
    # Tied tensors have no parameters of their own.
    counted = [int(cells[-1].replace(",", "")) for cells in rows(out).values() if "tied" not in cells]
    assert sum(counted) == plan.parameters


def test_show_of_a_large_model_fits_a_screen(run):
    assert len(run("show", "deepseek_v3")[1].splitlines()) < 60
    assert len(run("show", "deepseek_v3", "--all")[1].splitlines()) == 967 + 3


def test_layers_of_different_laws_stay_apart(run):
    found = rows(run("show", "llama3_torchtitan", "--set", "layers=4")[1])
    assert "layers.{0..3}.attention.qkv_linear.wq.weight" in found
    assert [name for name in found if name.endswith("attention.wo.weight")] == [
        f"layers.{layer}.attention.wo.weight" for layer in range(4)
    ]


def test_show_layouts_where_there_are_others(run, spec):
    assert "layout" not in run("show", spec)[1]
    header, *table = run("show", "deepseek_v3")[1].splitlines()
    assert header.split()[4] == "layout"
    assert any("Axes(in_=2, out=1, batch=0, splits=2)  normal" in line for line in table)
    assert any("  oi  " in line for line in table)


def test_show_of_long_values_is_short(run, tmp_path):
    spec = tmp_path / "plan.toml"
    values = list(range(10_000))
    spec.write_text(f'[tensors]\nw = {{ shape = [10000], scheme = "literal({values})" }}\n', encoding="utf-8")
    assert max(map(len, run("show", spec)[1].splitlines())) < 200


@pytest.mark.parametrize("name", ["1." * 5000 + "w", "h." + "9" * 5000])
def test_show_of_strange_numbers(run, tmp_path, name):
    spec = tmp_path / "plan.toml"
    spec.write_text(f'[tensors]\n"{name}" = {{ shape = [1], scheme = "ones()" }}\n', encoding="utf-8")
    status, out, err = run("show", spec)
    assert (status, err) == (0, "")
    assert name in out


def test_show_dtype(run, spec):
    out = run("show", spec, "--dtype", "float16")[1]
    assert out.count("float16") == 3  # the tied one too
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
    stds = {line.split()[0]: line.split()[-2] for line in run("show", spec)[1].splitlines()[1:-2]}
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
    assert out.splitlines()[-2].split() == ["total:", "0", "tensors", "0", "bytes", "0"]


def test_show_a_constant_beyond_any_float(run, tmp_path):
    # What int() holds and float() does not.
    spec = tmp_path / "plan.toml"
    spec.write_text(
        f'[tensors]\nw = {{ shape = [2], dtype = "complex64", scheme = "constant(1{"0" * 400})" }}', encoding="utf-8"
    )
    one_line(run("show", spec), r"plan\.toml: w: scheme .*constant\(10+.*: value is beyond the range of float64")


def test_verify(run, spec, file):
    status, out, err = run("verify", file, spec, "--seed", 5)
    assert (status, err) == (0, "")
    assert out == f"{file}: all 5 tensors, 482,408 bytes, are those of the plan\n"


def test_verify_another_seed(run, spec, file):
    status, out, err = run("verify", file, spec, "--seed", 6)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"{file}: its metadata says seed 5, not 6",
        "fc.0.weight: differs",
        "fc.1.weight: differs",
        f"{file}: tensors: 2 differ, 3 agree",
    ]


def test_verify_says_first_what_the_metadata_says(spec, file, monkeypatch):
    from winit.checkpoint import spans

    said = []
    monkeypatch.setattr(
        spans.DrawnSpan, "draw", lambda *_: pytest.fail("drawn before it was said") if not said else b""
    )
    verify(file, Plan.from_toml(spec), seed=6, threads=1, notes=said.append)
    assert said == ["its metadata says seed 5, not 6"]


def test_verify_one_bit(run, spec, file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    expected = f"fc.1.bias: differs\n{file}: tensors: 1 differ, 4 agree\n"
    assert run("verify", file, spec, "--seed", 5) == (1, expected, "")


def test_verify_another_plan(run, spec, file):
    digest = Plan.from_toml(spec).digest
    spec.write_text(
        SPEC.replace('"steps"', '"stops"').replace("[300], scheme", '[300], dtype = "float16", scheme'),
        encoding="utf-8",
    )
    status, out, err = run("verify", file, spec, "--seed", 5)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"{file}: its plan's digest is {digest}, the plan's is {Plan.from_toml(spec).digest}",
        "fc.0.bias: is F32 [300], expected F16 [300]",
        "fc.1.bias: is F32 [300], expected F16 [300]",
        "stops: missing",
        "steps: not in the plan",
        f"{file}: tensors: 2 of another dtype or shape, 1 missing, 1 not in the plan, 2 agree",
    ]


def test_another_digest_of_equal_elements_is_a_note(run, spec, file):
    spec.write_text(SPEC.replace("zeros()", "constant(0)"), encoding="utf-8")
    status, out, err = run("verify", file, spec, "--seed", 5)
    assert (status, err) == (0, "")
    first, last = out.splitlines()
    assert first.startswith(f"{file}: its plan's digest is ")
    assert last == f"{file}: all 5 tensors, 482,408 bytes, are those of the plan"


def test_verify_another_stream_version(run, spec, file):
    file.write_bytes(file.read_bytes().replace(b'"winit.stream":"1"', b'"winit.stream":"2"'))
    status, out, _ = run("verify", file, spec, "--seed", 5)
    assert status == 0
    assert out.splitlines()[0] == f"{file}: its metadata says stream version 2, and this is 1"


def test_verify_lists_ten_at_most(run, tmp_path):
    spec, file = tmp_path / "plan.toml", tmp_path / "m.safetensors"
    spec.write_text('[tensors]\n"h.{0..24}" = { shape = [3], scheme = "normal()" }\n', encoding="utf-8")
    assert run("init", spec, "-o", file, "--seed", 3)[0] == 0
    status, out, _ = run("verify", file, spec, "--seed", 4)
    assert status == 1
    assert out.splitlines() == [
        f"{file}: its metadata says seed 3, not 4",
        *(f"h.{i}: differs" for i in range(10)),
        "... and 15 more (--all lists them)",
        f"{file}: tensors: 25 differ",
    ]
    assert run("verify", file, spec, "--seed", 4, "--all")[1].splitlines()[1:-1] == [
        f"h.{i}: differs" for i in range(25)
    ]


def test_quiet_prints_nothing(run, spec, tmp_path):
    path = tmp_path / "m.safetensors"
    assert run("init", spec, "-o", path, "--seed", 5, "--quiet") == (0, "", "")
    assert run("verify", path, spec, "--seed", 5, "--quiet") == (0, "", "")
    assert run("verify", path, spec, "--seed", 6, "--quiet") == (1, "", "")
    assert run("verify", path, spec, "--seed", 6, "--quiet", "--all") == (1, "", "")
    one_line(run("init", spec, "-o", path, "--seed", 5, "--quiet"), "exists already")


# ---- errors


def existing(directory: Path) -> dict[str, bytes | None]:
    return {path.name: None if path.is_dir() else path.read_bytes() for path in directory.iterdir()}


ERRORS = {
    "unknown command": (["make"], r"invalid choice: 'make'"),
    "unknown option": (["show", "{spec}", "--fast"], r"unrecognized arguments: --fast"),
    "unknown option of init": (["init", "{spec}", "-o", "{new}", "--seed", "0", "-x"], r"unrecognized arguments: -x"),
    "no spec": (["show"], r"required: SPEC \(see winit show --help\)"),
    "no output": (["init", "{spec}", "--seed", "0"], r"required: -o/--output"),
    "no seed": (["init", "{spec}", "-o", "{new}"], r"required: --seed"),
    "no seed to verify": (["verify", "{file}", "{spec}"], r"required: --seed"),
    "option without value": (["init", "{spec}", "-o", "{new}", "--seed"], r"--seed: expected one argument"),
    "quiet show": (["show", "{spec}", "--quiet"], r"unrecognized arguments: --quiet"),
    "seed -1": (
        ["init", "{spec}", "-o", "{new}", "--seed", "-1"],
        r"--seed: must be an integer in \[0, 2\^64\), not '-1'",
    ),
    "seed 2^64": (
        ["init", "{spec}", "-o", "{new}", "--seed", str(2**64)],
        r"--seed: must be an integer in \[0, 2\^64\), not '1844",
    ),
    "seed x": (["init", "{spec}", "-o", "{new}", "--seed", "x"], r"--seed: must be an integer .* not 'x' "),
    "seed 1.5": (["init", "{spec}", "-o", "{new}", "--seed", "1.5"], r"--seed: must be an integer .* not '1\.5' "),
    "seed of 5000 digits": (
        ["init", "{spec}", "-o", "{new}", "--seed", "1" * 5000],
        r"--seed: must be an integer in .{,120}$",
    ),
    "verify seed -1": (
        ["verify", "{file}", "{spec}", "--seed", "-1"],
        r"--seed: must be an integer in \[0, 2\^64\), not '-1'",
    ),
    "verify seed x": (["verify", "{file}", "{spec}", "--seed", "x"], r"--seed: must be an integer .* not 'x' "),
    "threads 0": (
        ["init", "{spec}", "-o", "{new}", "--seed", "0", "--threads", "0"],
        r"--threads: must be an integer of at least 1, not '0'",
    ),
    "threads -1": (
        ["verify", "{file}", "{spec}", "--seed", "0", "--threads", "-1"],
        r"--threads: must be an integer of at least 1, not '-1'",
    ),
    "threads x": (["init", "{spec}", "-o", "{new}", "--seed", "0", "--threads", "x"], r"--threads: must be an integer"),
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
    "spec a file of tensors": (["show", "{file}"], r"m\.safetensors: is a safetensors file, where the TOML"),
    "file and spec the other way round": (["verify", "{spec}", "{file}", "--seed", "0"], r"m\.safetensors: is a safe"),
    "spec a folder": (["show", "{tmp}"], r"Is a directory, .*; in it: bad\.toml, latin\.toml, lines\.toml, \.\.\.$"),
    "spec without .toml": (["show", "{tmp}/plan"], r"plan: No such file or directory; did you mean \S+/plan\.toml\?$"),
    "spec misspelt": (["show", "{tmp}/paln.toml"], r"directory; did you mean \S+/plan\.toml\?$"),
    "spec a recipe's file": (["show", "gpt2.toml"], r"No such file or directory; did you mean gpt2, the recipe\?$"),
    "spec a misspelt recipe": (
        ["show", "gtp2"],
        r"no recipe is called 'gtp2'; .* written \./gtp2; did you mean gpt2\?$",
    ),
    "spec -": (["show", "-"], r"SPEC - is refused: .*; a file called - is written \./-$"),
    "spec empty": (["show", ""], r"SPEC must be .* not ''"),
    "recipe misspelt": (["recipes", "bert", "gtp2"], r"no recipe is called 'gtp2'; .*; did you mean gpt2\?$"),
    "recipe far off": (["recipes", "zzzz"], r"no recipe is called 'zzzz'; there are: [^;]*$"),
    "file misspelt": (
        ["verify", "{tmp}/n.safetensors", "{spec}", "--seed", "0"],
        r"did you mean \S+/m\.safetensors\?$",
    ),
    "file -": (["verify", "-", "{spec}", "--seed", "0"], r"FILE - is refused: .* is written \./-$"),
    "file empty": (["verify", "", "{spec}", "--seed", "0"], r"FILE must name a safetensors file, not ''"),
    "output -": (
        ["init", "{spec}", "-o", "-", "--seed", "0"],
        r"^winit: error: -o - is refused: winit does not write to standard output; a file called - is written \./-\n$",
    ),
    "output -, together": (["init", "{spec}", "-o-", "--seed", "0"], r"-o - is refused"),
    "output empty": (["init", "{spec}", "-o", "", "--seed", "0"], r"-o must name a file or a folder, not ''"),
    "output of another format": (
        ["init", "{spec}", "-o", "m.bin", "--seed", "0"],
        r"m\.bin must end in \.safetensors or",
    ),
    "rank without world": (["init", "{spec}", "-o", "{tmp}/d", "--seed", "0", "--rank", "1"], r"rank must come with w"),
    "rank beyond": (
        ["init", "{spec}", "-o", "{tmp}/d", "--seed", "0", "--rank", "4", "--world", "4"],
        r"rank must be below world, not 4 of 4",
    ),
    "rank of a file": (
        ["init", "{spec}", "-o", "{new}", "--seed", "0", "--rank", "1", "--world", "4"],
        r"rank is for a folder, and .*new\.safetensors is a file",
    ),
    "rank no number": (["init", "{spec}", "-o", "{new}", "--seed", "0", "--rank", "x"], r"--rank: must be an integer"),
    "shards of no size": (
        ["init", "{spec}", "-o", "{tmp}/d", "--seed", "0", "--max-shard-size", "5 apples"],
        r"max_shard_size must be a number of bytes or a size such as '5GB' or '500MB', not '5 apples'",
    ),
    "config absent": (
        ["init", "{spec}", "-o", "{tmp}/d", "--seed", "0", "--config", "{tmp}/absent.json"],
        r"absent\.json: No such file or directory",
    ),
    "config of another kind": (
        ["init", "{spec}", "-o", "{tmp}/d", "--seed", "0", "--config", "{spec}"],
        r"plan\.toml is not JSON",
    ),
    "output the plan": (["init", "{spec}", "-o", "{spec}", "--seed", "0", "--overwrite"], r"is the plan itself"),
    "abbreviation": (["init", "{spec}", "-o", "{new}", "--see", "1"], r"required: --seed"),
    "abbreviation after": (
        ["init", "{spec}", "-o", "{new}", "--seed", "0", "--over"],
        r"unrecognized arguments: --over ",
    ),
    "abbreviated version": (["--vers"], r"unrecognized arguments: --vers "),
    "dtype misspelt": (["show", "{spec}", "--dtype", "bfloat"], r"not 'bfloat' \(did you mean 'bfloat16'"),
    "dtype empty": (["show", "{spec}", "--dtype", ""], r"dtype must be"),
    "set of 5000 digits": (
        ["show", "{spec}", "--set", "n=" + "1" * 5000],
        r"--set n: '1+\.\.\. \(5,002 characters\) is not a value",
    ),
    "set of a file without parameters": (["show", "{spec}", "--set", "n=1"], r"unknown parameter 'n'; there are: none"),
    "spec wrong": (["init", "{wrong}", "-o", "{new}", "--seed", "0"], r"wrong\.toml: w: scheme 'no' is not known"),
    "spec of two lines": (["show", "{lines}"], r"lines\.toml: .a.nb.: shape must not hold negative sizes"),
    "existing output": (
        ["init", "{spec}", "-o", "{file}", "--seed", "0"],
        r"m\.safetensors: exists already \(.*--overwrite",
    ),
    "a file as folder": (["init", "{spec}", "-o", "{file}/", "--seed", "0"], r"m\.safetensors/: is not a folder"),
    "missing directory": (["init", "{spec}", "-o", "{tmp}/no/m.npz", "--seed", "0"], r"no/m\.npz: No such file or dir"),
    "a file as directory": (["init", "{spec}", "-o", "{file}/m", "--seed", "0"], r"m\.safetensors.*: Not a directory"),
    "missing file": (["verify", "{tmp}/absent.st", "{spec}", "--seed", "0"], r"absent\.st: No such file or directory"),
    "not a file of tensors": (["verify", "{spec}", "{spec}", "--seed", "0"], r"plan\.toml is not a safetensors file: "),
    "verify a directory": (["verify", "/", "{spec}", "--seed", "0"], r"/: holds no safetensors file and no index of"),
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


def test_settings_nested_too_deeply(run, spec):
    gc.collect()  # the callbacks of what other tests left would find no room on the stack
    one_line(
        run("show", spec, "--set", "n=" + "[" * 50_000),
        r"--set n: '\[+\.\.\. \(50,002 characters\) is not a value",
    )


def test_full_disk(run, spec, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    before = existing(tmp_path)
    one_line(
        run("init", spec, "-o", tmp_path / "m.safetensors", "--seed", "0"), r"m\.safetensors: No space left on device"
    )
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


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["init", "--help"], ["show", "-h"], ["verify", "-h"], ["recipes", "-h"]]
)
def test_help(run, arguments):
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert out.startswith(" ".join(["usage: winit", *arguments[:-1]]))
    assert "options:" in out


def test_version(run):
    assert run("--version") == (0, f"winit {winit.__version__}\n", "")


# ---- wrong arguments of every kind

# What a command line of each command may be made of: right ones, into which one wrong piece is put.
RIGHT = {
    "init": ["init", "{spec}", "-o", "{new}", "--seed", "5"],
    "show": ["show", "{spec}"],
    "verify": ["verify", "{file}", "{spec}", "--seed", "5"],
    "audit": ["audit", "{file}", "{spec}", "--seed", "5"],
    "report": ["report", "--plan", "{spec}", "-o", "{page}"],
    "recipes": ["recipes", "gpt2"],
}
WRONG_EVERYWHERE = [
    *(["--fast"], ["-x"], ["--see", "1"], ["--see=1"], ["--dtyp", "float16"], ["--thread", "1"], ["--quie"], ["-\x1b"]),
    *([""], ["-"], ["--", "-"], ["\n"], ["a\x1b[31m"], ["../absent.toml"], ["\udcff"], ["\0"], ["gtp2"], ["é"]),
]
WRONG_PLANS = [
    *(["--set"], ["--set", ""], ["--set", "="], ["--set", "n"], ["--set", "=1"], ["--set", "n="], ["--set", "n=x"]),
    *(
        ["--set", "n=1\nm=2"],
        ["--set", "n=[1"],
        ["--set", "n=\x1b"],
        ["--set", "n=1", "--set", "n=1"],
        ["--set", "n=1"],
    ),
    *(["--set", "n=2020-01-01"], ["--set", "n={a=1}"], ["--set", "\udcff=1"], ["--set", "n='\udcff'"]),
    *(
        ["--dtype", text]
        for text in ("bfloat", "int8", "", " ", ",", "f4,f4", "(2,)f4", ">f4", "O", "S3", "complex64", "\n")
    ),
    *(["--dtype", text] for text in ("\x1b[31m", "\udcff", "float128x", "void", "M8[s]", "a", "float8", "-1")),
]
WRONG_SEEDS = [
    ["--seed", text]
    for text in (
        "-1",
        "-0.0",
        "1.5",
        "1e3",
        "0x10",
        "x",
        "",
        " ",
        "+5",
        " 5",
        str(2**64),
        "9" * 5000,
        "٣",
        "1__0",
        "nan",
    )
]
WRONG_THREADS = [["--threads", text] for text in ("0", "-1", "00", "1.5", "x", "", "-", "two", "9" * 30, "\x1b")]
WRONG = {
    "init": [
        *(*WRONG_EVERYWHERE, *WRONG_PLANS, *WRONG_SEEDS, *WRONG_THREADS, ["--seed"], ["-o"]),
        *(["-o", text] for text in ("-", "", "absent/m.npz", "\0", "m.bin")),
    ],
    "show": [*WRONG_EVERYWHERE, *WRONG_PLANS, ["--seed", "1"], ["--quiet"], ["-o", "m"], ["--threads", "1"]],
    "verify": [*WRONG_EVERYWHERE, *WRONG_PLANS, *WRONG_SEEDS, *WRONG_THREADS, ["-o", "m"], ["--overwrite"]],
    "audit": [
        *(*WRONG_EVERYWHERE, *WRONG_PLANS, *WRONG_SEEDS, *WRONG_THREADS, ["-o", "m"]),
        *(["--overwrite"], ["--json", "--csv"]),
        *(["--against", text] for text in ("-", "", "absent", "../absent", "\0", "{spec}")),
        *(["--plot", text] for text in ("-", "", "page", "page.pdf", "absent/page.png", ".png/", "\0.png")),
    ],
    "report": [
        *(*WRONG_EVERYWHERE, *WRONG_PLANS, *WRONG_SEEDS, *WRONG_THREADS),
        *(["--checkpoint", text] for text in ("-", "", "absent", "{spec}", "\0")),
        *(["--depth", "3"], ["--residual"], ["--bias", "x"], ["--norm", "x"], ["--steps", "-1"], ["--json"]),
        *(["-o", text] for text in ("-", "", "page", "page.pdf", "absent/page.html", ".html/", "\0.html")),
    ],
    "recipes": [
        *WRONG_EVERYWHERE,
        ["--seed", "1"],
        ["--set", "n=1"],
        ["--dtype", "float16"],
        ["absent"],
        ["gpt2.toml"],
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_one_wrong_argument_is_one_line(run, spec, file, tmp_path, monkeypatch, name):
    """Each wrong piece at the end and in the place of each argument."""
    monkeypatch.chdir(tmp_path)
    places = {"spec": spec, "file": file, "new": tmp_path / "new.safetensors", "page": tmp_path / "page.html"}
    right = [argument.format_map(places) for argument in RIGHT[name]]
    before = existing(tmp_path)
    tried = 0
    for wrong in WRONG[name]:
        vectors = [[*right, *wrong]]
        # Options, which stand for themselves, also first; what is no option, also where one was.
        if wrong[0].startswith("-") and wrong[0] not in ("-", "--"):
            vectors.append([right[0], *wrong, *right[1:]] if len(wrong) > 1 and wrong[0] != "-o" else [*wrong, *right])
        else:
            free = [i for i in range(len(right)) if right[i - 1] != "-o"]  # a file may be called nearly anything
            vectors += [[*right[:i], *wrong, *right[i + 1 :]] for i in free]
        for vector in vectors:
            if ("--seed" in wrong or "-o" in wrong) and vector[-2:] != wrong and len(wrong) > 1:
                continue  # the later, right one counts
            result = run(*vector)
            tried += 1
            status, out, err = result
            assert (status, out) == (2, ""), (vector, result)
            assert re.fullmatch(r"winit: error: [^\n]+\n", err) and err[:-1].isprintable(), (vector, result)
            assert "Traceback" not in err
    assert tried > 30
    assert existing(tmp_path) == before


# ---- text that a terminal would obey, and text that cannot be printed

HOSTILE = "a\x1b[31m\nb\u202e\x7f"
SHOWN = r"a\x1b[31m\nb\u202e\x7f"


@pytest.fixture
def hostile(tmp_path):
    path = tmp_path / "hostile.toml"
    names = json.dumps(HOSTILE).replace("\x7f", "\\u007f")
    path.write_text(
        f'[tensors]\n{names} = {{ shape = [3], scheme = "normal()" }}\n"t" = {{ tied = {names} }}\n', encoding="utf-8"
    )
    return path


def test_names_are_safe_for_a_terminal(run, hostile, tmp_path):
    file = tmp_path / "m.npz"
    assert list(Plan.from_toml(hostile)) == [HOSTILE, "t"]
    results = [
        run("show", hostile),
        run("init", hostile, "-o", tmp_path / f"{HOSTILE}.npz", "--seed", 1),
        run("init", hostile, "-o", file, "--seed", 1),
        run("verify", file, hostile, "--seed", 2),
        run("verify", file, "gpt2", "--seed", 1, "--all"),
        run("show", hostile.with_name(f"{HOSTILE}.toml")),
        run("recipes", HOSTILE),
        run(HOSTILE),
        run("show", hostile, HOSTILE),
    ]
    hostile.write_text(hostile.read_text(encoding="utf-8").replace("normal()", "no()"), encoding="utf-8")
    results.append(run("show", hostile))
    assert [status for status, _, _ in results] == [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]
    for _, out, err in results:
        assert all(line.isprintable() for line in (out + err).splitlines())
    for i in (0, 1, 3, 4, 5):
        assert SHOWN in "".join(results[i][1:]), results[i]
    # One row for each, the columns below each other.
    table = results[0][1].splitlines()
    assert len(table) == 5
    assert table[1].index("float32") == table[2].index("float32")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_path_that_cannot_be_printed(spec, tmp_path, encoding):
    path = os.fsencode(tmp_path) + "/é☃".encode() + b"\xff.npz"
    try:
        Path(os.fsdecode(path)).touch()
        Path(os.fsdecode(path)).unlink()
    except OSError:
        pytest.skip("the file system refuses the name")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for verb, arguments in (("init", [spec, "-o", os.fsdecode(path)]), ("verify", [os.fsdecode(path), spec])):
        line = [sys.executable, "-m", "winit", verb, *arguments, "--seed", "5"]
        done = subprocess.run(line, capture_output=True, timeout=60, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\udcff.npz: " in done.stdout
        assert ("é" if encoding != "ascii" else "\\xe9").encode(encoding) in done.stdout


def test_printable():
    from winit.cli.terminal import printable

    for text in (HOSTILE, "\udcff", "\x9b31m", "\xa0", "\0", "tab\t", "é☃ plain", "", "back\\slash"):
        assert printable(text).isprintable()
        assert printable(printable(text)) == printable(text)
    assert printable(HOSTILE) == SHOWN
    assert printable("é☃ plain back\\slash") == "é☃ plain back\\slash"


# ---- recipes


def test_recipes_named(run):
    status, out, err = run("recipes", "gpt2", "resnet")
    assert (status, err) == (0, "")
    gpt2, resnet = out.split("\n\n")
    assert [line.split(maxsplit=2) for line in gpt2.splitlines()[1:4]] == [
        ["parameter", "default", "comment"],
        ["vocab", "50257", "vocab_size"],
        ["positions", "1024", "n_positions"],
    ]
    assert gpt2.splitlines()[0] == f"gpt2: {winit.recipes.description('gpt2')}"
    assert "  inner      (4 * dim)  n_inner" in gpt2.splitlines()
    plan = winit.recipes.gpt2()
    assert gpt2.splitlines()[-1] == (
        f"  148 tensors, {plan.parameters:,} parameters, {plan.nbytes:,} bytes with these defaults"
    )
    assert any(line.split() == ["depths", "[3,", "4,", "6,", "3]"] for line in resnet.splitlines())
    assert 'layer_type = "bottleneck"; false is "basic"' in resnet


@pytest.mark.parametrize("recipe", winit.recipes.names())
def test_every_recipe_shows_its_parameters(run, recipe):
    status, out, err = run("recipes", recipe)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == list(winit.recipes.parameters(recipe))


def test_comments_of_parameters():
    from winit.cli.recipes_command import _comments

    text = """
description = "x" # not a parameter's
[parameters] # the table
a = 1 # one
b = "a # 2" # two
c = [1,
  2] # lost, not misplaced
d = true
[tensors]
e = 1 # no
"""
    assert _comments(text) == {"a": "one", "b": "two"}


# ---- as a process


def test_importing_is_light():
    heavy = {"winit.recipes", "winit._plans.plan", "winit.checkpoint"}
    code = f"import sys, winit.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_output_to_a_full_disk():
    line = [sys.executable, "-m", "winit", "recipes"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "winit: error: standard output: No space left on device\n")


def test_verify_keeps_its_status_when_its_reader_has_gone(spec, file):
    line = [sys.executable, "-m", "winit", "verify", str(file), str(spec), "--seed", "6"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


def test_without_standard_output(spec, file):
    code = "import sys; sys.stdout = None; from winit.cli import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "verify", str(file), str(spec), "--seed", "5"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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
            assert shown.startswith(f"\r{verb}:   0%|".encode())
            assert re.search(rb"100%\|(\xe2\x96\x88)+\| 482k/482k \[00:00<00:00, \d[\d.]*[kMG]B/s\]\x1b\[K\r\n$", shown)


def test_interrupted_init_leaves_nothing(tmp_path):
    spec = tmp_path / "plan.toml"
    # A gigabyte: some half a second, of which the first line of the bar is the beginning.
    spec.write_text('[tensors]\nw = { shape = [250_000_000], scheme = "normal()" }\n', encoding="utf-8")
    began = time.monotonic()
    status, shown = on_terminal("init", spec, "-o", tmp_path / "m.npz", "--seed", 0, until=b"init: ")
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


# ---- docs/command-line.md

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
FENCE = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def matches(found: str, expected: str) -> bool:
    """Whether output is what a page shows: there … stands for any characters of a line, alone on it for any lines."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += "[^\\n]*".join(re.escape(piece) for piece in line.split("…")) + r"[^\S\n]*\n"
    return re.fullmatch(pattern, found) is not None


def test_the_page_does_what_it_says(tmp_path):
    """Every example of the page in turn, in one directory."""
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("the page is written for bash")
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "winit").write_text(f'#!{shell}\nexec "{sys.executable}" -m winit "$@"\n', encoding="utf-8")
    (scripts / "winit").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}

    def output(line: str) -> str:
        done = subprocess.run(
            [shell, "-c", line],
            cwd=work,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    ran = set()
    for kind, text in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "sh":
            done = subprocess.run([shell, "-ec", text], cwd=work, env=environment, timeout=60, check=False)
            assert done.returncode == 0, text
            ran |= set(re.findall(r"winit (\w+)", text))
            continue
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, expected = step.partition("\n")
            found = output(line)
            assert matches(found, expected), f"{line}\n{found}"
            ran |= set(re.findall(r"winit (\w+)", line))
    assert {"init", "show", "verify", "audit", "recipes"} <= ran


def test_matches():
    assert matches("a b c\nd\ne\nf\n", "a … c\n…\nf\n")
    assert not matches("a b c\nd\n", "a … d\n…\n")
    assert not matches("a\nb\n", "a\n")
    assert matches("", "")
