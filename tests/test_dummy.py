"""Dummy weights: every dtype of the format, finite, positive where a name says so, different where sizes are equal."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import winit
from winit import Param, Plan, checkpoint
from winit._files.safetensors_header import BITS

ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="writing checkpoints needs POSIX")

VALUES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz, "BOOL": np.bool_,
    "I8": np.int8, "U8": np.uint8, "I16": np.int16, "U16": np.uint16, "I32": np.int32, "U32": np.uint32,
    "I64": np.int64, "U64": np.uint64,
}  # fmt: skip
PACKED = ("F4", "F6_E2M3", "F6_E3M2")


def source(path, tensors, metadata=None):
    """Write a file of nothing but zeros whose header lists tensors: name to (code, shape)."""
    header, end = {"__metadata__": metadata or {}}, 0
    for name, (code, shape) in tensors.items():
        nbytes = int(np.prod(shape, dtype=np.int64)) * BITS[code] // 8
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [end, end + nbytes]}
        end += nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    return path


def read(folder):
    """Read a folder by what the format's page says: name to (code, shape, bytes)."""
    found = {}
    for path in Path(folder).glob("*.safetensors"):
        text = path.read_bytes()
        (length,) = struct.unpack("<Q", text[:8])
        data = text[8 + length :]
        for name, entry in json.loads(text[8 : 8 + length]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = entry["dtype"], tuple(entry["shape"]), data[begin:end]
    return found


def values(tensor):
    code, shape, raw = tensor
    return np.frombuffer(raw, VALUES[code]).reshape(shape)


def test_every_dtype_is_there(tmp_path):
    assert set(VALUES) | set(PACKED) == set(BITS)
    tensors = {f"{code}.{kind}": (code, (32, 64)) for code in BITS for kind in ("weight", "other", "scale")}
    written = checkpoint.dummy(source(tmp_path / "s.safetensors", tensors), tmp_path / "d", seed=1)
    found = read(tmp_path / "d")
    assert {name: tensor[:2] for name, tensor in found.items()} == tensors
    assert written.nbytes == sum(len(raw) for _, _, raw in found.values())
    for name, (code, _, raw) in found.items():
        kind = name.rsplit(".", 1)[1]
        if code in PACKED:
            assert len(set(raw)) > 200
            continue
        x = values(found[name])
        if code in ("BOOL", *(f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64))):
            if kind == "weight" and code != "BOOL":
                assert abs(len(np.unique(x)) - min(2048, 256)) < 10 or len(np.unique(x)) > 1900
            elif kind == "scale" and code == "U8":
                assert set(np.unique(x)) == {116, 117, 118}
            else:
                assert not x.any()
            continue
        x = x.astype(np.complex128) if code == "C64" else x.astype(np.float64)
        assert np.isfinite(x).all() and (x != 0).mean() > 0.95, name
        if code.startswith("F8_E8M0"):
            assert set(np.unique(x)) == {2.0**-11, 2.0**-10, 2.0**-9}
        elif kind == "scale" and code != "C64":
            assert (x > 0).all(), name
            assert x.max() <= (1 if code.startswith("F8") else 1e-3 * (1 + 2**-8))
        else:
            bound = {"F8_E4M3": 2.0**-4}.get(code, 1e-3 * (1 + 2**-3))
            if "FNUZ" in code:
                bound = 1.0
            assert np.abs(x.real).max() <= bound and 0.3 < (x.real < 0).mean() < 0.7, name


def test_values_are_a_law_of_seed_name_and_index(tmp_path):
    plan = Plan({name: Param((300, 40), winit.zeros(), "float8_e4m3fn") for name in ("a", "b")})
    checkpoint.dummy(plan, tmp_path / "1")
    checkpoint.dummy(plan, tmp_path / "2", threads=3, max_shard_size=12_000)
    checkpoint.dummy(plan, tmp_path / "3", seed=1)
    one, two, three = (read(tmp_path / name) for name in "123")
    assert one == two and len(list((tmp_path / "2").iterdir())) == 3
    assert one["a"] != one["b"] and one["a"] != three["a"]
    drawn = winit.draw(winit.uniform(-(2.0**-4), 2.0**-4), (300, 40), seed=0, name="a", dtype="float8_e4m3fn")
    assert one["a"][2] == drawn.tobytes()
    codes = source(tmp_path / "c.safetensors", {f"{name}.weight": ("I32", (1 << 20, 3)) for name in "ab"})
    checkpoint.dummy(codes, tmp_path / "4", seed=5)
    found = read(tmp_path / "4")
    assert found["a.weight"] != found["b.weight"]
    assert found["a.weight"][2] == winit.words(5, "a.weight", 0, 3 << 20).tobytes()


def test_dtype_law_ties_and_variances(tmp_path):
    tensors = {"bn.running_var": ("F32", (64,)), "fc.weight": ("F16", (64, 64)), "step": ("I64", ())}
    path = source(tmp_path / "s.safetensors", tensors, {"head.weight": "fc.weight", "format": "pt"})
    checkpoint.dummy(path, tmp_path / "d", dtype="bfloat16", scheme=winit.he_normal(), config={"a": 1})
    found = read(tmp_path / "d")
    assert [tensor[0] for tensor in found.values()].count("BF16") == 2
    assert values(found["bn.running_var"]).astype(float).min() >= 0.5
    assert 0.16 < values(found["fc.weight"]).astype(float).std() < 0.19
    assert (tmp_path / "d" / "config.json").read_text() == '{\n  "a": 1\n}\n'
    from safetensors import safe_open

    with safe_open(tmp_path / "d" / "model.safetensors", "numpy") as opened:
        assert opened.metadata()["head.weight"] == "fc.weight" and opened.metadata()["winit.dummy"] == "0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the most memory that was in use")
def test_float8_takes_no_wider_copy(tmp_path):
    code = (
        "import sys, winit\n"
        "from winit import Param, Plan, checkpoint\n"
        "plan = Plan({'w': Param((1 << 29,), winit.zeros(), 'float8_e4m3fn')})\n"
        "checkpoint.dummy(plan, sys.argv[1])\n"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "d"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000  # KiB, of a tensor of 512 MiB
    assert (tmp_path / "d" / "model.safetensors").stat().st_size > 1 << 29


def test_a_tie_that_has_no_place_is_refused(tmp_path):
    plan = Plan({"w": Param((3,), winit.zeros()), "format": Param(tied="w")})
    with pytest.raises(ValueError, match="^format: tied to 'w'"):
        checkpoint.dummy(plan, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_parameters_are_counted_as_elements(tmp_path):
    tensors = {"a.weight": ("F4", (4, 6)), "b": ("C64", (5,)), "c": ("F32", (7,))}
    checkpoint.dummy(source(tmp_path / "s.safetensors", tensors), tmp_path / "d", max_shard_size=20)
    index = json.loads((tmp_path / "d" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_parameters"] == 24 + 5 + 7


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"seed": -1}, ValueError, "seed"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of"),
        ({"scheme": "normal()"}, TypeError, "scheme must be"),
        ({"max_shard_size": 0}, ValueError, "max_shard_size must be at least 1, not 0"),
        ({"overwrite": 1}, TypeError, "overwrite must be True or False"),
        ({"scheme": winit.orthogonal()}, ValueError, "^a: "),
    ],
)
def test_wrong_arguments(tmp_path, arguments, error, words):
    plan = Plan({"a": Param((3,), winit.zeros())})
    with pytest.raises(error, match=words):
        checkpoint.dummy(plan, tmp_path / "d", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source(Path("model.safetensors"), {"w": ("BF16", (30, 20)), "w_scale": ("F32", (30,))})
    Path("config.json").write_text('{"architectures": ["A"]}')

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "winit", "dummy", *arguments], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    status, said = run("model.safetensors", "-o", "d", "--dtype", "float8_e5m2", "--seed", "3")
    assert status == 0 and said.startswith("d: 630 bytes in 2 files, seed 3, ")
    # What is stored is said.
    assert json.loads((tmp_path / "d" / "config.json").read_text()) == {"architectures": ["A"], "dtype": "float8_e5m2"}
    assert run("model.safetensors", "-o", "c", "--quiet") == (0, "")
    assert (tmp_path / "c" / "config.json").read_bytes() == Path("config.json").read_bytes()
    assert read("d")["w"][0] == "F8_E5M2"
    assert run("model.safetensors", "-o", "d")[0] == 2
    status, said = run(
        "gpt2", "--set", "layers=1", "--set", "dim=24", "-o", "e", "--law", "normal(std=0.02)", "--quiet"
    )
    assert (status, said) == (0, "")
    assert 0.019 < values(read("e")["transformer.h.0.mlp.c_fc.weight"]).std() < 0.021
    for arguments, words in (
        (("model.safetensors", "-o", "f", "--set", "a=1"), "--set is for recipes and TOML plans"),
        (("gpt2", "-o", "f", "--law", "normal"), "--law: scheme 'normal' needs parentheses"),
        (("gpt2", "-o", "f", "--dtype", "int4"), "dtype"),
        (("absent.safetensors", "-o", "f"), "absent.safetensors: No such file"),
        (("model.safetensors", "-o", "f.safetensors"), "-o must name a folder, not 'f.safetensors'"),
        (("model.safetensors", "-o", "-"), "-o must name a folder, not '-'"),
        (("./d", "-o", "d", "--overwrite"), "-o d would replace what is read from ./d: write to another folder"),
    ):
        status, said = run(*arguments)
        assert (status, said.count("\n")) == (2, 1) and words in said, said
