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
from records import ALIASES, CASES, DTYPES, RECORDS

import winit
from winit import schemes

FILE = Path(__file__).with_name("golden.json")


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).tobytes()).hexdigest()[:32]


def current():
    hashes = {}
    for case in CASES:
        for dtype in DTYPES:
            hashes[f"{case.name} {dtype}"] = digest(case.draw(dtype=dtype))
    for dtype in DTYPES:
        box = range(2**40 - 500, 2**40 + 501)
        hashes[f"far box {dtype}"] = digest(
            winit.draw(winit.normal(), (2**20, 2**21), seed=2**64 - 1, name="γ", dtype=dtype, box=box)
        )
        out = winit.draw(winit.uniform(), 999, seed=1, dtype=dtype)
        hashes[f"add {dtype}"] = digest(winit.add(out, winit.normal(), seed=2, name="noise", scale=-0.001))
        # Past the first 256 reflections and the first 384 terms of a product; past 32 inputs a unit, and 2^32 elements.
        large = winit.draw(
            winit.orthogonal(), (260, 400), seed=3, name="large", dtype=dtype, box=range(103_000, 104_000)
        )
        hashes[f"orthogonal 260x400 {dtype}"] = digest(large)
        for layout, shape in (("oi", (2**31, 2**10)), ("io", (2**10, 3))):
            end = shape[0] * shape[1]
            box = range(end - 3000, end)
            for k in (32, 33):
                drawn = winit.draw(winit.sparse(k), shape, seed=4, name="far", dtype=dtype, layout=layout, box=box)
                hashes[f"sparse({k}) far {layout} {dtype}"] = digest(drawn)
    hashes["words"] = digest(winit.words(5, "golden", 7, 3000))
    hashes["words tag 1"] = digest(winit.words(5, "golden", 7, 3000, tag=1))
    return hashes


def test_bits_are_those_of_stream_version_1(build):
    assert winit.STREAM_VERSION == 1
    assert current() == json.loads(FILE.read_text())


def test_every_public_scheme_has_a_record():
    covered = {label.split()[0] for label, _, _ in RECORDS}
    assert covered | ALIASES == set(schemes.named())
    assert not covered & ALIASES
    assert all(type(scheme) is schemes.named()[label.split()[0]] for label, scheme, _ in RECORDS)
    public = {
        name
        for name in set(winit.__all__) - {"jit"}  # a module, which needs numba
        if isinstance(getattr(winit, name), type) and issubclass(getattr(winit, name), winit.Scheme)
    }
    assert public - {"Scheme"} == set(schemes.named())
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


if __name__ == "__main__":
    FILE.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
