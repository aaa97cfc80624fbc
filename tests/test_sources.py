"""Sources: tensors of files cut, transposed, joined and reshaped are what NumPy makes of the arrays."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import winit
from winit import Param, Plan, Source

pytestmark = pytest.mark.skipif(not hasattr(os, "pread"), reason="reading in blocks needs POSIX")
torch = pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

CONTAINERS = ("safetensors", "npz", "npz deflated", "npz fortran", "npz big-endian")


def save(path: Path, arrays, container="safetensors"):
    if container == "safetensors":
        safetensors_numpy.save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
        return path
    if "fortran" in container:
        arrays = {name: np.array(array, order="F") for name, array in arrays.items()}
    if "big-endian" in container:
        arrays = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in arrays.items()}
    with path.open("wb") as file:
        (np.savez_compressed if "deflated" in container else np.savez)(file, **arrays)
    return path


def numbers(shape, dtype="float32", first=0):
    return (np.arange(first, first + np.prod(shape, dtype=int)).reshape(shape) % 251).astype(dtype)


def got(path, shape, source, dtype="float32", **options):
    """What build gives, and write writes, for one tensor made by a source."""
    plan = Plan({"w": Param(shape, winit.ones() if dtype == "uint8" else winit.normal(), dtype)})
    loaded = winit.pretrained(path, plan, seed=0, names=[("w", source)], **{"leave": "*", **options})
    out = path.with_suffix(".out")
    loaded.write(out, overwrite=True, threads=2)
    made = loaded.build()["w"]
    again = winit.pretrained(out, plan, seed=0).build()["w"]
    assert made.dtype == again.dtype and made.tobytes() == again.tobytes()
    return made


@st.composite
def cases(draw):
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    join = draw(st.sampled_from([None, "concat", "stack"]))
    count = 1 if join is None else draw(st.integers(1, 3))

    def cut(axis):
        if axis >= ndim or draw(st.booleans()):
            return None
        lo = draw(st.integers(0, shape[axis] - 1))
        hi = draw(st.integers(lo + 1, shape[axis]))
        forms = [range(lo, hi), slice(lo, hi), slice(lo - shape[axis], hi)]
        return draw(st.sampled_from(forms + [slice(lo, None)] * (hi == shape[axis])))

    rows, columns = cut(0), cut(1)
    transpose = ndim > 1 and draw(st.booleans())
    axis = draw(st.integers(-ndim - (join == "stack"), ndim - (join == "concat"))) if join else 0
    return shape, count, join, axis, rows, columns, transpose


def by_numpy(arrays, join, axis, rows, columns, transpose):
    parts = []
    for array in arrays:
        if rows is not None:
            array = array[rows.start : rows.stop]
        if columns is not None:
            array = array[:, columns.start : columns.stop]
        parts.append(array.swapaxes(-1, -2) if transpose else array)
    if join is None:
        return parts[0]
    return np.stack(parts, axis) if join == "stack" else np.concatenate(parts, axis)


@given(
    case=cases(),
    container=st.sampled_from(CONTAINERS),
    dtype=st.sampled_from(["float32", "float16", "float64"]),
    reshaped=st.sampled_from([None, "flat", "new axis"]),
)
def test_a_source_is_what_numpy_makes(tmp_path_factory, case, container, dtype, reshaped):
    shape, count, join, axis, rows, columns, transpose = case
    arrays = [numbers(shape, dtype, 7 * i) for i in range(count)]
    expected = by_numpy(arrays, join, axis, rows, columns, transpose)
    to = {None: None, "flat": (-1,), "new axis": (1, *expected.shape)}[reshaped]
    names = [f"part{i}" for i in range(count)]
    source = Source(
        names if join else names[0], join=join, axis=axis, rows=rows, columns=columns, transpose=transpose, reshape=to
    )
    expected = expected if to is None else expected.reshape(to)
    path = save(tmp_path_factory.mktemp("s") / "f", dict(zip(names, arrays, strict=True)), container)
    made = got(path, expected.shape, source, dtype)
    assert made.dtype == expected.dtype and made.tobytes() == np.ascontiguousarray(expected).tobytes()


@given(case=cases(), container=st.sampled_from(CONTAINERS), how=st.sampled_from(["overlap", "select", "mean"]))
def test_what_a_source_makes_is_fitted_like_any_tensor(tmp_path_factory, case, container, how):
    """The result of a source, saved as a tensor of its own, is fitted to the same bits."""
    shape, count, join, axis, rows, columns, transpose = case
    arrays = [numbers(shape, "float32", 7 * i) for i in range(count)]
    whole = by_numpy(arrays, join, axis, rows, columns, transpose)
    new = (*whole.shape[:-1], whole.shape[-1] + 2) if how == "mean" else tuple(max(1, size - 1) for size in whole.shape)
    if sorted(new) == sorted(whole.shape):
        new = whole.shape
    folder = tmp_path_factory.mktemp("s")
    names = [f"part{i}" for i in range(count)]
    source = Source(names if join else names[0], join=join, axis=axis, rows=rows, columns=columns, transpose=transpose)
    made = got(save(folder / "f", dict(zip(names, arrays, strict=True)), container), new, source, fit={"w": how})
    alone = got(save(folder / "one", {"w": whole}), new, "w", fit={"w": how})
    assert made.tobytes() == alone.tobytes()


def test_conv1d_to_linear_and_back(tmp_path):
    """GPT-2's fused c_attn (in, 3 out) to three weights of Linear, against transformers' and torch's own layers."""
    fused = numbers((8, 24))
    path = save(tmp_path / "f", {"h.0.attn.c_attn.weight": fused, "h.0.attn.c_attn.bias": numbers(24)})
    plan = Plan(
        {
            f"layers.0.{part}_proj.{kind}": Param((8, 8) if kind == "weight" else 8, winit.normal())
            for part in "qkv"
            for kind in ("weight", "bias")
        }
    )
    rules = []
    for i, part in enumerate("qkv"):
        third = range(8 * i, 8 * i + 8)
        weight = Source("h.*.attn.c_attn.weight", columns=third, transpose=True)
        rules += [(f"layers.*.{part}_proj.weight", weight)]
        rules += [(f"layers.*.{part}_proj.bias", Source("h.*.attn.c_attn.bias", rows=third))]
    loaded = winit.pretrained(path, plan, seed=0, names=rules)
    arrays = loaded.build()
    x = torch.arange(16.0).reshape(2, 8)
    whole = x @ torch.from_numpy(fused) + torch.from_numpy(numbers(24))
    for part, third in zip("qkv", whole.split(8, -1), strict=True):
        weight, bias = (torch.from_numpy(arrays[f"layers.0.{part}_proj.{kind}"]) for kind in ("weight", "bias"))
        assert torch.equal(torch.nn.functional.linear(x, weight, bias), third)
    assert loaded.report.left_over == () and loaded.report.drawn == ()
    text = loaded.report.copied["layers.0.k_proj.weight"]
    assert text == "Source('h.0.attn.c_attn.weight', columns=range(8, 16), transpose=True)"


def test_experts_become_one_tensor(tmp_path):
    """gate and up of every expert, as Mixtral's files have them, to (experts, 2 inner, hidden)."""
    arrays = {}
    for layer in range(2):
        for expert in range(4):
            for at, half in enumerate(("gate", "up")):
                arrays[f"layers.{layer}.experts.{expert}.{half}_proj.weight"] = numbers((6, 5), first=layer + 9 * at)
    path = save(tmp_path / "f", arrays)
    names = [f"layers.*.experts.{i}.{half}_proj.weight" for i in range(4) for half in ("gate", "up")]
    plan = Plan({f"layers.{i}.experts.gate_up_proj": Param((4, 12, 5), winit.normal()) for i in range(2)})
    rule = ("layers.*.experts.gate_up_proj", Source(names, join="concat", reshape=(4, 12, 5)))
    built = winit.pretrained(path, plan, seed=0, names=[rule]).build()
    for layer in range(2):
        expected = [
            np.concatenate([arrays[f"layers.{layer}.experts.{i}.{half}_proj.weight"] for half in ("gate", "up")])
            for i in range(4)
        ]
        assert np.array_equal(built[f"layers.{layer}.experts.gate_up_proj"], np.stack(expected))


def test_parts_in_several_files(tmp_path):
    one, two = numbers((3, 4)), numbers((2, 4), first=50)
    save(tmp_path / "a", {"a": one})
    save(tmp_path / "b", {"b": two}, "npz deflated")
    plan = Plan({"w": Param((5, 4), winit.normal())})
    loaded = winit.pretrained(
        [tmp_path / "a", tmp_path / "b"], plan, seed=0, names={"w": Source(["a", "b"], join="concat")}
    )
    assert np.array_equal(loaded.build()["w"], np.concatenate([one, two]))


def test_a_part_that_is_missing(tmp_path):
    path = save(tmp_path / "f", {"a": numbers((3, 4)), "v": numbers(2)})
    plan = Plan({"w": Param((6, 4), winit.normal()), "v": Param(2, winit.normal())})
    names = {"w": Source(["a", "b"], join="concat")}
    with pytest.raises(ValueError, match="the files lack 'b'; the plan has no place for 'a'"):
        winit.pretrained(path, plan, seed=0, names=names)
    loaded = winit.pretrained(path, plan, seed=0, names=names, strict=False)
    assert loaded.report.drawn == ("w",) and loaded.report.left_over == ("a",)
    assert np.array_equal(loaded.build()["w"], plan.build(seed=0)["w"])


def test_several_tensors_that_overlap_would_cut_from_one(tmp_path):
    path = save(tmp_path / "f", {"c_attn": numbers((12, 4))})
    plan = Plan({part: Param((4, 4), winit.normal()) for part in "qkv"})
    names, fit = dict.fromkeys("qkv", "c_attn"), {"*": "overlap"}
    with pytest.raises(
        ValueError, match=r"q and k would both be cut from the first elements of 'c_attn' .* may lead each"
    ):
        winit.pretrained(path, plan, seed=0, names=names, fit=fit)
    names = {part: Source("c_attn", rows=range(4 * i, 4 * i + 4)) for i, part in enumerate("qkv")}
    built = winit.pretrained(path, plan, seed=0, names=names).build()
    assert np.array_equal(np.concatenate(list(built.values())), numbers((12, 4)))


def test_hints_lead_to_a_source(tmp_path):
    path = save(tmp_path / "f", {"w": numbers((1, 7, 8)), "v": numbers((3, 4))})
    plan = Plan({"w": Param((7, 8), winit.normal()), "v": Param((4, 3), winit.normal())})
    with pytest.raises(ValueError, match=r"names= may lead to winit.Source\(..., reshape=\(7, 8\)\)"):
        winit.pretrained(path, plan, seed=0)
    names = {"w": Source("w", reshape=(7, 8))}
    with pytest.raises(ValueError, match=r"names= may lead to winit.Source\(..., transpose=True\)"):
        winit.pretrained(path, plan, seed=0, names=names)
    built = winit.pretrained(path, plan, seed=0, names=names | {"v": Source("v", transpose=True)}).build()
    assert np.array_equal(built["v"], numbers((3, 4)).T)


# ---- the record


def test_a_source_is_a_record():
    source = Source(["a.*", "b.*"], join="stack", axis=-1, rows=slice(None, 4), transpose=True, reshape=(2, -1))
    assert repr(source) == (
        "Source(['a.*', 'b.*'], join='stack', axis=-1, rows=slice(None, 4, None), transpose=True, reshape=(2, -1))"
    )
    for other in (eval(repr(source)), pickle.loads(pickle.dumps(source)), copy.deepcopy(source)):
        assert other == source and hash(other) == hash(source)
    assert source != Source(["a.*", "b.*"], join="stack", axis=-1, rows=slice(None, 5), transpose=True, reshape=(2, -1))
    assert repr(Source("w")) == "Source('w')" and Source(["w"]) == Source("w")
    with pytest.raises(AttributeError, match="Source is frozen"):
        source.axis = 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Source(3), TypeError, "names must be a name of the files or several, not 3"),
        (lambda: Source(["a", 3]), TypeError, "names must be a name of the files or several"),
        (lambda: Source([]), ValueError, "names must be a name of the files or several, not none"),
        (lambda: Source(["a", "b"]), ValueError, '2 names need join="concat" or join="stack"'),
        (lambda: Source(["a", "b"], join="sum"), ValueError, "join must be 'concat' or 'stack', not 'sum'"),
        (lambda: Source("a", axis=1), ValueError, "axis says where tensors are joined, and join is None; not 1"),
        (lambda: Source("a", join="stack", axis=0.5), TypeError, "axis must be an integer, not float"),
        (lambda: Source("a", rows=3), TypeError, "rows must be a range or a slice, not 3"),
        (lambda: Source("a", rows=range(0, 4, 2)), ValueError, "rows must have step 1, not 2"),
        (lambda: Source("a", columns=slice(0, 4, -1)), ValueError, "columns must have step 1, not -1"),
        (lambda: Source("a", rows=range(4, 4)), ValueError, r"rows must be a range\(lo, hi\) with 0 <= lo < hi"),
        (lambda: Source("a", rows=slice(0.5, 2)), TypeError, "an end of rows must be an integer, not float"),
        (lambda: Source("a", transpose=1), TypeError, "transpose must be True or False, not 1"),
        (lambda: Source("a", reshape="2"), TypeError, "reshape must be a shape, not '2'"),
        (lambda: Source("a", reshape=(-1, -1)), ValueError, "reshape may have one size of -1"),
        (lambda: Source("a", reshape=(-2, 3)), ValueError, "shape must not hold negative sizes"),
        (lambda: Source("a", reshape=2.5), TypeError, "reshape must be a shape, not 2.5"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            Source("m", rows=range(2, 9)),
            r"w: rows=range\(2, 9\) is empty, or reaches outside axis 0 of 'm' of .*size 4",
        ),
        (Source("m", columns=slice(-7, 2)), r"columns=slice\(-7, 2, None\) is empty, or reaches outside axis 1 of 'm'"),
        (Source("m", rows=slice(3, 1)), r"rows=slice\(3, 1, None\) is empty"),
        (Source("v", columns=range(2)), r"'v' of .* has shape \(3,\), and so no columns to cut"),
        (Source("v", transpose=True), r"'v' of .* has shape \(3,\): transpose exchanges the last two axes"),
        (
            Source(["m", "v"], join="concat"),
            r"'v' of .* gives the shape \(3,\) and 'm' .* concat needs one shape but for",
        ),
        (Source(["m", "n"], join="stack"), r"stack needs one shape$"),
        (Source(["m", "m"], join="concat", axis=2), "axis=2 is none of the 2 axes of what Source"),
        (Source(["m", "h"], join="concat"), "joins tensors of float32 and float16: one dtype can be joined"),
        (Source("m", reshape=(7, -1)), r"gives the shape \(4, 5\), which cannot be reshaped to \(7, -1\)"),
        (Source("m", reshape=(4, 4)), r"gives the shape \(4, 5\), which cannot be reshaped to \(4, 4\)"),
        (Source("m.*"), r"names must have as many \* on both sides, not 'w' and 'm.\*'"),
    ],
)
def test_what_the_tensors_do_not_allow(tmp_path, source, message):
    arrays = {"m": numbers((4, 5)), "n": numbers((4, 6)), "v": numbers(3), "h": numbers((4, 5), "float16")}
    path = save(tmp_path / "f", arrays)
    with pytest.raises(ValueError, match=message):
        winit.pretrained(path, Plan({"w": Param((4, 5), winit.normal())}), seed=0, names={"w": source}, leave="*")


# ---- grids and channels


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("prefix", "old", "new"), [(1, 14, 24), (0, 7, 5), (2, 4, 9), (5, 16, 14), (1, 2, 3)])
@pytest.mark.parametrize("lead", [(1,), ()])
def test_bicubic_is_torchs(tmp_path, prefix, old, new, lead, dtype):
    embedding = np.random.default_rng(0).standard_normal((*lead, prefix + old * old, 6)).astype(dtype)
    shape = (*lead, prefix + new * new, 6)
    made = got(save(tmp_path / "f", {"w": embedding}), shape, "w", dtype, fit={"w": "bicubic"})
    tokens = torch.from_numpy(embedding.astype(np.float64)).reshape(-1, 6)
    grid = tokens[prefix:].reshape(1, old, old, 6).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    expected = torch.cat([tokens[:prefix], grid.permute(0, 2, 3, 1).reshape(new * new, 6)]).reshape(shape).numpy()
    assert np.array_equal(made.reshape(-1, 6)[:prefix], embedding.reshape(-1, 6)[:prefix])
    # Two float64 computations of sums of 16 products, each rounded once to the dtype.
    tolerance = 1e-13 if dtype == "float64" else np.finfo(dtype).eps * np.abs(expected).max()
    assert np.abs(made - expected).max() <= tolerance


@pytest.mark.parametrize("new", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("layout", ["oi", "io"])
def test_channels_are_timms(tmp_path, new, layout):
    kernel = np.random.default_rng(0).standard_normal((8, 3, 5, 5)).astype(np.float32)
    wide = torch.from_numpy(kernel).double()
    expected = wide.sum(1, keepdim=True) if new == 1 else wide.repeat(1, -(-new // 3), 1, 1)[:, :new] * (3 / new)
    given_, wanted = kernel, expected.float().numpy()
    if layout == "io":
        given_, wanted = kernel.transpose(2, 3, 1, 0), wanted.transpose(2, 3, 1, 0)
    path = save(tmp_path / "f", {"w": given_})
    plan = Plan({"w": Param(wanted.shape, winit.normal(), layout=layout)})
    made = winit.pretrained(path, plan, seed=0, fit={"w": "channels"}).build()["w"]
    if new == 1:
        assert np.abs(made - wanted).max() <= 1e-6  # torch sums in an order of its own
    else:
        assert np.array_equal(made, wanted)


@pytest.mark.parametrize(
    ("how", "old", "new", "message"),
    [
        ("bicubic", (10, 4), (12, 4), "'bicubic' needs square grids, behind equally many prefix tokens"),
        ("bicubic", (10, 4), (17, 5), "'bicubic' needs shapes that differ along one axis"),
        ("channels", (8, 3), (8, 1), "'channels' needs a convolution whose input channels alone differ"),
        ("channels", (8, 3, 5, 5), (4, 3, 5, 5), "'channels' needs a convolution whose input channels alone differ"),
        ("channels", (8, 3, 5, 5), (8, 1, 7, 7), "'channels' needs shapes that differ along one axis"),
        ("channels", (8, 0, 5, 5), (8, 3, 5, 5), "'channels' needs at least one input channel"),
    ],
)
def test_what_cannot_be_resized(tmp_path, how, old, new, message):
    path = save(tmp_path / "f", {"w": numbers(old)})
    with pytest.raises(ValueError, match=message):
        winit.pretrained(path, Plan({"w": Param(new, winit.normal())}), seed=0, fit={"w": how})


# ---- dtypes that plans do not have


def raw_file(path, tensors):
    """Write a safetensors file of (dtype code, shape, bytes)."""
    header, data = {}, b""
    for name, (code, shape, raw) in tensors.items():
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


EVERY_BYTE = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_scales_are_powers_of_two(tmp_path, dtype):
    path = raw_file(tmp_path / "f", {"w": ("F8_E8M0", (16, 16), EVERY_BYTE.tobytes())})
    expected = EVERY_BYTE.view(ml_dtypes.float8_e8m0fnu).astype(np.float64).reshape(16, 16)
    made = got(path, (16, 16), "w", dtype, cast=True).astype(np.float64)
    assert np.array_equal(made, expected, equal_nan=True)
    assert np.array_equal(got(path, (16, 16), "w", "uint8"), EVERY_BYTE.reshape(16, 16))


def test_numbers_of_four_bits(tmp_path):
    path = raw_file(tmp_path / "f", {"w": ("F4", (16, 32), EVERY_BYTE.tobytes())})
    nibbles = np.stack([EVERY_BYTE & 15, EVERY_BYTE >> 4], -1).reshape(16, 32)  # torch.float4_e2m1fn_x2: low half first
    expected = nibbles.view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    assert got(path, (16, 32), "w", cast=True).tobytes() == expected.tobytes()  # -0, too
    assert np.array_equal(got(path, (16, 16), "w", "uint8"), EVERY_BYTE.reshape(16, 16))
    turned = got(path, (32, 3), Source("w", rows=range(1, 4), transpose=True), cast=True)
    assert np.array_equal(turned, expected[1:4].T)
    plan = Plan({"w": Param((16, 16), winit.ones(), "uint8")})
    assert winit.pretrained(path, plan, seed=0).report.converted == {"w": "F4"}
    with pytest.raises(ValueError, match=r"has dtype F4, expected float32 \(cast=True converts\)"):
        got(path, (16, 32), "w")
    odd = raw_file(tmp_path / "odd", {"w": ("F4", (2, 3), bytes(3))})
    with pytest.raises(ValueError, match=r"w: 'w' of .* has rows of 3 numbers of four bits: no whole bytes"):
        got(odd, (2, 2), "w", "uint8")


@pytest.mark.parametrize("scale", ["w.weight_scale_inv", "w.weight_scale", "w.scale", "w_scales"])
@pytest.mark.parametrize("code", ["F8_E4M3", "F8_E5M2", "F4"])
def test_numbers_that_have_scales_are_not_converted_alone(tmp_path, scale, code):
    size = 4 if code == "F4" else 8
    tensors = {"w.weight": (code, (2, 4), bytes(size)), scale: ("F32", (1,), bytes(4))}
    path = raw_file(tmp_path / "f", tensors)
    with pytest.raises(ValueError, match=rf"w: 'w.weight' of .* is .*, scaled by '{scale}': its values alone are not"):
        got(path, (2, 4), "w.weight", cast=True)
    if code != "F4":
        kind = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}[code]
        assert not got(path, (2, 4), "w.weight", kind).view(np.uint8).any()


# ---- memory

PEAK = """
import sys, winit
from winit import Param, Plan, Source
from winit._trained import fits, loader
import winit._dense.passes
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
path, how = sys.argv[1:]
names = [f"e{i}" for i in range(8)]
source = {
    "stack": Source(names, join="stack"),
    "rows": Source(names, join="concat", rows=range(1000, 3000), reshape=(8, 2000, 1000)),
    "turned": Source("e0", transpose=True),
}[how]
shape = {"stack": (8, 6000, 1000), "rows": (8, 2000, 1000), "turned": (1000, 6000)}[how]
plan = Plan({"w": Param(shape, winit.normal())})
winit.draw(winit.normal(), 1 << 21, seed=0)
before = peak()
winit.pretrained(path, plan, seed=0, names={"w": source}, strict=False).write(path + ".out", threads=2)
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")  # noqa: PTH110
@pytest.mark.parametrize(("how", "most"), [("stack", 40), ("rows", 40), ("turned", 23 + 40)])
def test_memory(tmp_path, how, most):
    """Eight tensors of 23 MiB each are joined in blocks; one that is transposed is held while it is read."""
    array = np.broadcast_to(np.arange(1000, dtype=np.float32), (6000, 1000))
    path = save(tmp_path / "f", {f"e{i}": array for i in range(8)})
    done = subprocess.run([sys.executable, "-c", PEAK, path, how], capture_output=True, text=True, check=True)
    assert float(done.stdout) < most
