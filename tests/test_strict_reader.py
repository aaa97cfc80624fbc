"""One strict reader: it takes what the safetensors library takes and refuses what that refuses, with listed exceptions.

EXCEPTIONS are the headers that the library takes and winit refuses, each with its reason. There is none the other way.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import winit
from winit import Plan
from winit._files.first_bytes import kind_of
from winit._files.safetensors_header import BITS, read_header

safetensors = pytest.importorskip("safetensors")

ENTRY = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
EXCEPTIONS = {
    "the format forbids a key twice, and readers differ in which they take": [
        f'{{"a":{ENTRY},"a":{ENTRY}}}',
        f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{ENTRY}}}',
    ],
    "the format has an object for a tensor; the library's parser happens to take an array": [
        '{"a":["F32",[2],[0,8]]}',
    ],
    "the format has a string for a dtype": ['{"a":{"dtype":{"F32":null},"shape":[2],"data_offsets":[0,8]}}'],
    "NumPy arrays have 64 axes at most": [
        '{"a":{"dtype":"F32","shape":[2' + ",1" * 64 + '],"data_offsets":[0,8]}}',
    ],
}


def file_of(header: bytes, size: int = 8) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(size)


def library_takes(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)
    except (safetensors.SafetensorError, OverflowError):
        return False
    return True


@pytest.fixture(scope="module")
def winit_takes():
    descriptor = os.memfd_create("m.safetensors")

    def takes(data: bytes) -> bool:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        try:
            read_header(descriptor, "m.safetensors")
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 400, error
            assert str(error).startswith(("m.safetensors is not a safetensors file: ", "m.safetensors is "))
            return False
        return True

    yield takes
    os.close(descriptor)


@pytest.mark.parametrize("header", [header for headers in EXCEPTIONS.values() for header in headers])
def test_exceptions_are_ones(winit_takes, header):
    data = file_of(header.encode())
    assert library_takes(data) and not winit_takes(data)


def entry(dtype='"F32"', shape="[2]", offsets="[0,8]", more=""):
    return f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}}}'


BOTH = {
    "plain": (entry(), 8, True),
    "white space around": (f" \n\t{entry()}\r ", 8, True),
    "metadata null": (f'{{"__metadata__":null,"a":{ENTRY}}}', 8, True),
    "another key": (entry(more=',"x":[1.5,null,"s",{}]'), 8, True),
    "a name in escapes": (f'{{"\\ud83d\\ude00\\/":{ENTRY}}}', 8, True),
    "no tensors": ("{}", 0, True),
    "empty between": (
        '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        2,
        True,
    ),
    "0 before what is too large": (entry(shape="[0,4294967296,4294967296]", offsets="[0,0]"), 0, True),
    "four of F4": (entry('"F4"', "[4]", "[0,2]"), 2, True),
    "four of F6": (entry('"F6_E2M3"', "[4]", "[0,3]"), 3, True),
    "nested to the limit": (entry(more=',"x":' + "[" * 125 + "]" * 125), 8, True),
    "nested beyond it": (entry(more=',"x":' + "[" * 126 + "]" * 126), 8, False),
    "wide at the limit": (entry(more=',"x":[' + ("[" * 124 + "]" * 124 + ",") * 3 + "{}]"), 8, True),
    "brackets in names": (entry(more=',"' + "[{" * 200 + '\\"' + "{[" * 200 + '\\\\":[]'), 8, True),
    "nested beyond it behind escapes": (entry(more=',"\\\\\\"\\\\":' + "[" * 126 + "]" * 126), 8, False),
    "nested to the limit behind escapes": (entry(more=',"\\\\\\"\\\\":' + "[" * 125 + "]" * 125), 8, True),
    "three of F4": (entry('"F4"', "[3]", "[0,2]"), 2, False),
    "too large before 0": (entry(shape="[4294967296,4294967296,0]", offsets="[0,0]"), 0, False),
    "offsets false": (entry(offsets="[false,8]"), 8, False),
    "a shape of 2.0": (entry(shape="[2.0]"), 8, False),
    "a shape of 2e0": (entry(shape="[2e0]"), 8, False),
    "a shape of true": (entry(shape="[true]", offsets="[0,4]"), 4, False),
    "minus zero": (entry(offsets="[-0,8]"), 8, False),
    "NaN": (entry(more=',"x":NaN'), 8, False),
    "Infinity": (entry(more=',"x":-Infinity'), 8, False),
    "1e999": (entry(more=',"x":1e999'), 8, False),
    "400 digits": (entry(more=',"x":' + "9" * 400), 8, False),
    "200 digits": (entry(more=',"x":' + "9" * 200), 8, True),
    "2^64": (entry(shape="[0,18446744073709551616]", offsets="[0,0]"), 0, False),
    "2^64 - 1": (entry(shape="[0,18446744073709551615]", offsets="[0,0]"), 0, True),
    "half of a pair": (f'{{"\\ud800":{ENTRY}}}', 8, False),
    "a control character": (f'{{"a\n":{ENTRY}}}', 8, False),
    "metadata twice": (f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{ENTRY}}}', 8, False),
    "a field twice": (entry(more=',"dtype":"F32"'), 8, False),
    "metadata of numbers": ('{"__metadata__":{"a":1}}', 0, False),
    "unknown dtype": (entry('"C128"', "[1]", "[0,16]"), 16, False),
    "data that nothing lists": ("{}", 1, False),
    "a null byte after": (entry() + "\0", 8, False),
    "UTF-16": (entry().encode("utf-16"), 8, False),
    "a byte order mark": (entry().encode("utf-8-sig"), 8, False),
    "an array": ("[]", 0, False),
}


@pytest.mark.parametrize("name", BOTH)
def test_both_take_it_or_neither(winit_takes, name):
    header, size, taken = BOTH[name]
    data = file_of(header if isinstance(header, bytes) else header.encode(), size)
    assert (library_takes(data), winit_takes(data)) == (taken, taken)


NUMBERS = st.one_of(
    st.integers(-2, 9).map(str),
    st.integers(0, 2**65).map(str),
    st.sampled_from(["-0", "2.0", "1e1", "true", "null", '"2"', "NaN", "[1]", "0x1", "01", "1.", "9" * 320]),
)
DTYPES = st.one_of(st.sampled_from(sorted(BITS)), st.sampled_from(["F99", "f32", "", "F32 "])).map(json.dumps)
NAMES = st.one_of(
    st.sampled_from(["a", "b", "__metadata__", "", "é", "\ud83d\ude00", "\x7f", "\x00"]), st.text(max_size=3)
).filter(lambda name: not any("\ud800" <= character <= "\udfff" for character in name))
JUNK = st.recursive(
    st.one_of(NUMBERS, st.just("[]"), st.just("{}"), st.text(max_size=3).map(json.dumps)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]"),
        st.lists(inner, max_size=2).map(lambda each: "{" + ",".join(f'"{i}":{x}' for i, x in enumerate(each)) + "}"),
    ),
    max_leaves=5,
)


@st.composite
def files(draw) -> bytes:
    """A file of a few tensors that fits together, of which some things are then put out of joint."""
    members, end = [], 0
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        if name == "__metadata__":
            members.append(f'"__metadata__":{draw(st.one_of(st.just("null"), st.just("{}"), JUNK))}')
            continue
        code = draw(st.sampled_from(sorted(BITS)))
        shape = draw(st.lists(st.integers(0, 5), max_size=3))
        size = -(-int(np.prod(shape, dtype=int)) * BITS[code] // 8)
        fields = [f'"dtype":"{code}"', f'"shape":{shape}', f'"data_offsets":[{end},{end + size}]']
        end += size
        match draw(st.integers(0, 12)):
            case 0:
                fields[0] = f'"dtype":{draw(st.one_of(DTYPES, JUNK.filter(lambda each: each[0] != "{")))}'
            case 1:
                fields[1] = f'"shape":[{",".join(draw(st.lists(NUMBERS, max_size=3)))}]'
            case 2:
                fields[2] = f'"data_offsets":[{",".join(draw(st.lists(NUMBERS, max_size=3)))}]'
            case 3:
                fields.append(f'"more":{draw(JUNK)}')
            case 4:
                fields.pop(draw(st.integers(0, 2)))
            case 5:
                fields[1] = f'"shape":{draw(JUNK)}'
        fields = draw(st.permutations(fields))
        members.append(f"{json.dumps(name, ensure_ascii=draw(st.booleans()))}:{{{','.join(fields)}}}")
    text = "{" + ",".join(draw(st.permutations(members))) + "}"
    data = bytearray(text.encode("utf-8"))
    if draw(st.integers(0, 3)) == 0:
        for _ in range(draw(st.integers(1, 3))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    length = len(data) + draw(st.sampled_from([0, 0, 0, 0, 0, -1, 1, 1 << 40]))
    return struct.pack("<Q", max(length, 0)) + bytes(data) + bytes(end + draw(st.sampled_from([0, 0, 0, 0, 1])))


def excepted(data: bytes) -> bool:
    """Tell whether what winit refuses and the library takes is one of EXCEPTIONS."""
    (length,) = struct.unpack("<Q", data[:8])
    twice = []
    found = json.loads(
        data[8 : 8 + length], object_pairs_hook=lambda pairs: twice.append(len(dict(pairs)) < len(pairs)) or dict(pairs)
    )
    tensors = [each for name, each in found.items() if name != "__metadata__"]
    return any(twice) or any(isinstance(each, list) or not isinstance(each["dtype"], str) for each in tensors)


@given(files())
@example(file_of(b"{}", 0))
def test_differential(winit_takes, data):
    library = library_takes(data)
    if library != winit_takes(data):
        assert library and excepted(data), data


def npz_of(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@given(
    st.sampled_from(["<f4", ">f4", "<f8", ">i2", "|u1", "|b1", "<c8", "<f2"]),
    st.lists(st.integers(0, 4), max_size=3),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=2),
)
def test_npz_is_what_numpy_reads(tmp_path_factory, dtype, shape, fortran, changes):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    data = bytearray(npz_of(w=np.array(array, order="F" if fortran else "C")))
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "m.npz"
    path.write_bytes(data)
    native = array.astype(array.dtype.newbyteorder("="))
    plan = Plan({"w": winit.Param(tuple(shape), winit.zeros(), native.dtype.name)})
    try:
        found = winit.pretrained(path, plan, seed=0).build()["w"]
    except ValueError as error:
        assert "\n" not in str(error)
        assert changes, error
        return
    try:
        with np.load(path, allow_pickle=False) as numpys:
            expected = numpys["w"].astype(found.dtype)
    except zipfile.BadZipFile as error:
        # The one exception: blocks of what is stored plainly are read in any order, and no checksum is made of them.
        assert "Bad CRC-32" in str(error)
        return
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


# ---- what else a file may be


def torch_file(legacy: bool) -> bytes:
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def zip_of(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"x")
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


KINDS = {
    "git-lfs": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n",
        "a git-lfs pointer, not the file it stands for (git lfs pull)",
    ),
    "torch": (lambda: torch_file(legacy=False), "a zip archive of torch.save, a pickle; pickles are never read"),
    "torch before 1.6": (lambda: torch_file(legacy=True), "a pickle, as torch.save wrote; pickles are never read"),
    "pickle": (lambda: __import__("pickle").dumps({"w": 1}), "a pickle; pickles are never read"),
    "GGUF": (lambda: b"GGUF\x03\x00\x00\x00" + bytes(16), "a GGUF file"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(16), "an HDF5 file"),
    "HTML": (lambda: b"\n<!DOCTYPE html><html><body>404</body></html>", "an HTML page, as a failed download leaves"),
    "HTML in capitals": (lambda: b"<HTML>", "an HTML page"),
    "npy": (npy, "an .npy file; numpy.savez writes arrays with names"),
    "gzip": (lambda: __import__("gzip").compress(b"x"), "a gzip archive"),
    "tar": (lambda: bytes(257) + b"ustar" + bytes(250), "a tar archive"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_files_are_named_for_what_they_are(tmp_path, kind):
    make, what = KINDS[kind]
    path = tmp_path / "m.safetensors"
    path.write_bytes(make())
    plan = Plan({"w": winit.Param((3,), winit.zeros())})
    calls = [lambda: winit.pretrained(path, plan, seed=0), lambda: winit.checkpoint.verify(path, plan, seed=0)]
    for call in calls:
        with pytest.raises(ValueError, match=re.escape(f"m.safetensors is {what}")) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_index_that_is_a_pointer(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(KINDS["git-lfs"][0]())
    with pytest.raises(ValueError, match=r"index\.json is a git-lfs pointer"):
        winit.pretrained(path, Plan({"w": winit.Param((3,), winit.zeros())}), seed=0)


def test_zip_of_something_else(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(zip_of("x.txt"))
    plan = Plan({"w": winit.Param((3,), winit.zeros())})
    with pytest.raises(ValueError, match=r"is not an npz file: it holds 'x\.txt', which is not \.npy"):
        winit.pretrained(path, plan, seed=0)
    with pytest.raises(ValueError, match=r"is not an npz file: it holds 'x\.txt'"):
        winit.checkpoint.verify(path, plan, seed=0)


def test_no_kind_is_a_safetensors_file():
    for length in {*range(2, 3000), *range(2, 1 << 17, 251), 0x8B1F, 0x5A42}:
        assert kind_of(file_of(b"{}".ljust(length), 0)) is None, length


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580, 0x8B1F])  # as pickles and gzip archives begin
def test_a_broken_file_is_not_taken_for_another_kind(tmp_path, length):
    path = tmp_path / "m.safetensors"
    path.write_bytes(file_of(b"{}".ljust(length), 3))
    with pytest.raises(ValueError, match="is not a safetensors file: 3 bytes at its end belong to no tensor"):
        winit.checkpoint.verify(path, Plan({}), seed=0)


def test_many_keys_of_which_the_last_is_twice(winit_takes):
    keys = [f'"{i}":0' for i in range(500_000)]
    assert not winit_takes(file_of(("{" + ",".join([*keys, keys[-1]]) + "}").encode()))
