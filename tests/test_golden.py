"""The bits of stream version 1, frozen.

A hash that changes is a new stream version: every file that people have written, and every number that they have
published, depends on these bits. Do not update a hash to make this pass. If the change is meant, raise
winit.STREAM_VERSION, record it in docs/streams.md and CHANGELOG.md, and write the new hashes with

    python tests/test_golden.py
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import winit
from winit import schemes

DTYPES = ("float32", "float64", "float16", "bfloat16")
FILE = Path(__file__).with_name("golden.json")

# One record for every public scheme, at least: (label, scheme).
RECORDS = {
    "zeros": winit.zeros(),
    "ones": winit.ones(),
    "constant": winit.constant(0.1),
    "literal": winit.literal(np.arange(600).reshape(20, 30) / 7),
    "uniform": winit.uniform(-0.3, 0.7),
    "normal": winit.normal(0.1, 2.0),
    "truncated_normal": winit.truncated_normal(0.0, 0.02, -3.0, 2.0),
    "truncated_normal far": winit.truncated_normal(0.0, 1.0, 4.0, 11.0),
    "truncated_normal wide": winit.truncated_normal(0.0, 1.0, -20.0, 20.0),
    "variance_scaling": winit.variance_scaling(0.5, "fan_geo_avg", "truncated_normal"),
    "xavier_uniform": winit.xavier_uniform(),
    "xavier_normal": winit.xavier_normal(1.5),
    "he_uniform": winit.he_uniform(),
    "he_normal": winit.he_normal(nonlinearity="silu"),
    "lecun_uniform": winit.lecun_uniform(),
    "lecun_normal": winit.lecun_normal(),
}
ALIASES = {"glorot_uniform", "glorot_normal", "kaiming_uniform", "kaiming_normal"}


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).tobytes()).hexdigest()[:32]


def current():
    hashes = {}
    for label, scheme in RECORDS.items():
        for dtype in DTYPES:
            hashes[f"{label} {dtype}"] = digest(winit.draw(scheme, (20, 30), seed=2026, name="golden", dtype=dtype))
    for dtype in DTYPES:
        box = range(2**40 - 500, 2**40 + 501)
        hashes[f"far box {dtype}"] = digest(
            winit.draw(winit.normal(), (2**20, 2**21), seed=2**64 - 1, name="γ", dtype=dtype, box=box)
        )
        out = winit.draw(winit.uniform(), 999, seed=1, dtype=dtype)
        hashes[f"add {dtype}"] = digest(winit.add(out, winit.normal(), seed=2, name="noise", scale=-0.001))
    hashes["words"] = digest(winit.words(5, "golden", 7, 3000))
    hashes["words tag 1"] = digest(winit.words(5, "golden", 7, 3000, tag=1))
    return hashes


def test_bits_are_those_of_stream_version_1(build):
    assert winit.STREAM_VERSION == 1
    assert current() == json.loads(FILE.read_text())


def test_every_public_scheme_has_a_hash():
    covered = {label.split()[0] for label in RECORDS}
    assert covered | ALIASES == set(schemes.named())
    assert all(schemes.named()[alias] is not None and alias not in covered for alias in ALIASES)
    public = {
        name
        for name in winit.__all__
        if isinstance(getattr(winit, name), type) and issubclass(getattr(winit, name), winit.Scheme)
    }
    assert public - {"Scheme"} == set(schemes.named())


@pytest.mark.parametrize("label", RECORDS)
def test_repr_of_what_is_hashed_evaluates_back(label):
    scheme = RECORDS[label]
    assert eval(repr(scheme), {name: getattr(winit, name) for name in schemes.named()}) == scheme


if __name__ == "__main__":
    FILE.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
