from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import winit
from winit import Param, Plan
from winit._files import entries
from winit._files import reader as archives
from winit._trained import fits, loader
from winit._trained.name_rules import FITS

pytestmark = pytest.mark.skipif(not hasattr(os, "pread"), reason="reading in blocks needs POSIX")
torch = pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
safetensors_torch = pytest.importorskip("safetensors.torch")

BF16 = np.dtype(ml_dtypes.bfloat16)
FOREIGN = {name: np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")}
RNG = np.random.default_rng(0)
CONTAINERS = ("safetensors", "npz", "npz deflated", "npz fortran", "npz fortran deflated")
DRAWN = winit.normal(std=0.5)


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order_of_tests():
    RNG.bit_generator.state = np.random.PCG64(0).state


def values(shape, dtype="float32", scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(FOREIGN.get(dtype, dtype))


def plan_of(arrays, **changes):
    """A plan of the arrays' shapes and dtypes, or of (shape, dtype)."""
    params = {}
    for name, its in {**arrays, **changes}.items():
        shape, dtype = its if isinstance(its, tuple) else (its.shape, its.dtype.name)
        scheme = DRAWN if dtype in FLOATS else winit.ones()
        params[name] = Param(shape, scheme, dtype)
    return Plan(params)


def save(path: Path, arrays, container="safetensors"):
    """Write arrays with the libraries that others write them with."""
    if container == "safetensors":
        tensors = {}
        for name, array in arrays.items():
            if array.dtype.name in FOREIGN:
                words = np.ascontiguousarray(array).reshape(-1).view(f"i{array.itemsize}").copy()
                tensors[name] = torch.from_numpy(words).view(getattr(torch, array.dtype.name)).reshape(array.shape)
            else:
                tensors[name] = torch.from_numpy(np.array(array, order="C"))
        safetensors_torch.save_file(tensors, path)
        return path
    if "fortran" in container:
        arrays = {name: np.array(array, order="F") for name, array in arrays.items()}
    with path.open("wb") as file:
        (np.savez_compressed if "deflated" in container else np.savez)(file, **arrays)
    return path


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def built(path, plan, seed=3, **options):
    """What build gives on any number of threads, checked to be what write writes."""
    loaded = winit.pretrained(path, plan, seed=seed, **options)
    arrays = loaded.build()
    alone = loaded.build(threads=1)
    assert list(arrays) == list(plan) and all(same(arrays[name], alone[name]) for name in plan)
    target = Path(str(path if isinstance(path, (str, Path)) else path[0]) + ".out")
    loaded.write(target, overwrite=True)
    again = winit.pretrained(target, plan, seed=0).build()
    assert all(same(arrays[name], again[name]) for name in plan)
    return arrays, loaded.report


# ---- copying


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_dtype_is_copied_to_the_byte(tmp_path, container):
    kinds = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"]
    if container == "safetensors":  # npz cannot say which type of one byte that NumPy has not is in it
        kinds += ["float8_e4m3fn", "float8_e5m2"]
    arrays = {}
    for kind in kinds:
        dtype = FOREIGN[kind] if kind in FOREIGN else np.dtype(kind)
        for shape in ((), (1,), (5, 3), (0, 4), (2, 3, 4), (6, 1)):
            raw = RNG.integers(0, 2 if kind == "bool" else 256, (*shape, dtype.itemsize), dtype=np.uint8)
            arrays[f"{kind} {shape}"] = raw.view(dtype).reshape(shape)  # every pattern, NaNs too
    path = save(tmp_path / "f", arrays, container)
    plan = plan_of(arrays)
    got, report = built(path, plan)
    assert all(same(got[name], arrays[name]) for name in arrays)
    assert report.copied == {name: name for name in plan}
    assert (report.fitted, report.converted, report.drawn, report.left_over) == ({}, {}, (), ())


@pytest.mark.parametrize("container", CONTAINERS)
def test_tensors_of_many_blocks(tmp_path, container):
    arrays = {"a": values((1100, 1300)), "b": values((7, 3, 400_000), "float16"), "c": values((3_000_001,), "bfloat16")}
    got, _ = built(save(tmp_path / "f", arrays, container), plan_of(arrays))
    assert all(same(got[name], arrays[name]) for name in arrays)


def test_numpy_and_torch_give_the_same_as_safetensors_itself(tmp_path):
    arrays = {"w": values((33, 7)), "b": values((33,), "float16")}
    safetensors_numpy.save_file(arrays, tmp_path / "f")
    got, _ = built(tmp_path / "f", plan_of(arrays))
    theirs = safetensors_numpy.load_file(tmp_path / "f")
    assert all(same(got[name], theirs[name]) for name in arrays)


def test_what_the_file_lacks_has_the_bits_of_the_plan(tmp_path):
    arrays = {"w": values((8, 4))}
    plan = plan_of(arrays, head=((3, 700_001), "bfloat16"), count=((2,), "int32"))
    path = save(tmp_path / "f", arrays)
    expected = plan.build(seed=9)
    for options in ({"strict": False}, {"names": {"head": None, "count": None}}):
        got, report = built(path, plan, seed=9, **options)
        assert same(got["w"], arrays["w"]) and same(got["head"], expected["head"])
        assert same(got["count"], expected["count"])
        assert report.drawn == ("head", "count") and report.copied == {"w": "w"}


def test_keys_of_the_plan_key_what_is_drawn(tmp_path):
    path = save(tmp_path / "f", {"w": values((2, 2))})
    plan = Plan({"new": Param((4, 4), scheme=DRAWN, key="old"), "w": Param((3, 2), scheme=DRAWN, key="other")})
    got, _ = built(path, plan, strict=False, fit={"w": "overlap"})
    assert same(got["new"], winit.draw(DRAWN, (4, 4), seed=3, name="old"))
    assert same(got["w"][2:], winit.draw(DRAWN, (3, 2), seed=3, name="other")[2:])


def test_shards_and_their_index(tmp_path):
    parts = [{"a": values((4, 2)), "b": values((3,))}, {"c": values((2, 2))}]
    files = [save(tmp_path / f"part-{i}", part) for i, part in enumerate(parts)]
    arrays = parts[0] | parts[1]
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {name: f"part-{i}" for i, part in enumerate(parts) for name in part}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    for path in (index, str(index)):
        got = winit.pretrained(path, plan_of(arrays), seed=0).build()
        assert all(same(got[name], arrays[name]) for name in arrays)
    got, _ = built(files, plan_of(arrays))
    assert all(same(got[name], arrays[name]) for name in arrays)
    with pytest.raises(ValueError, match="'a' is in .*part-0 and again in .*part-0"):
        winit.pretrained([files[0], files[0]], plan_of(arrays), seed=0)
    for wrong, message in (
        ({"a": "part-0"}, "part-0 holds 'b', which its index does not place there"),
        ({**weight_map, "x": "part-1"}, "part-1 lacks 'x', which .* says it holds"),
        ({**weight_map, "a": "../part-0"}, "'../part-0' is not the name of a file beside it"),
        ({**weight_map, "a": "/etc/passwd"}, "'/etc/passwd' is not the name of a file beside it"),
        ({**weight_map, "a": 3}, "it has no 'weight_map' from names to files"),
        (None, "it has no 'weight_map' from names to files"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(ValueError, match=message):
            winit.pretrained(index, plan_of(arrays), seed=0)
    # What a shard holds beyond its index is left over, be it of another name or of another's.
    save(tmp_path / "part-1", {**parts[1], "a": values((4, 2)) + 1, "z": values((3,))})
    index.write_text(json.dumps({"weight_map": weight_map}))
    beyond = "part-1 holds 'a', 'z', which its index does not place there"
    with pytest.raises(ValueError, match=beyond):
        winit.pretrained(index, plan_of(arrays), seed=0)
    with pytest.raises(ValueError, match="the files lack 'z'; .*part-1 holds 'a', 'z'"):
        winit.pretrained(index, plan_of({**arrays, "z": values((3,))}), seed=0)
    for options in ({"leave": ["a", "z"]}, {"strict": False}):
        loaded = winit.pretrained(index, plan_of(arrays), seed=0, **options)
        assert loaded.report.left_over == ("a", "z")
        assert same(loaded.build()["a"], arrays["a"])
    for text, what in (
        ("[" * 100_000, "it is nested deeper than 127 levels"),
        ("{", "it is not JSON"),
        ("\0", "it is not JSON"),
    ):
        index.write_text(text)
        with pytest.raises(ValueError, match=f"is not an index of safetensors files: {what}"):
            winit.pretrained(index, plan_of(arrays), seed=0)


# ---- names, subsets, ties


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"names": {"h.0.wieght": None}},
            "names: the pattern 'h.0.wieght' matches no name; the nearest is 'h.0.weight'",
        ),
        ({"names": [("*", "*"), ("x*", "y*")]}, "names: the pattern 'x*' matches no name; there are"),
        ({"fit": {"h.*.wieght": "mean"}}, "fit: the pattern 'h.*.wieght' matches no name; the nearest is 'h.0.weight'"),
        ({"leave": ["extra", "extar*"]}, "leave: the pattern 'extar*' matches no name; the nearest is 'extra'"),
        ({"leave": "h.[01].weight"}, "leave: the pattern 'h.[01].weight' matches no name"),  # brackets are themselves
        ({"leave": "extra?"}, "leave: the pattern 'extra?' matches no name; the nearest is 'extra'"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_pattern_that_matches_nothing(tmp_path, options, message, strict):
    path = save(tmp_path / "f", {"h.0.weight": values((2, 3)), "extra": values((1,))})
    plan = plan_of({"h.0.weight": values((2, 3)), "tail": values((2,))})
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        winit.pretrained(path, plan, seed=0, **({"leave": "extra", "strict": strict} | options))


def test_names(tmp_path):
    arrays = {f"transformer.h.{i}.{part}": values((2, 3)) for i in range(4) for part in ("w", "v")}
    path = save(tmp_path / "f", arrays)
    plan = plan_of({f"h.{i}.{part}": values((2, 3)) for i in range(2) for part in ("w", "v")}, head=((5,), "float32"))
    names = [("h.1.*", "transformer.h.3.*"), ("h.*", "transformer.h.*"), ("head", None)]
    got, report = built(path, plan, names=names, strict=False)
    assert same(got["h.0.w"], arrays["transformer.h.0.w"]) and same(got["h.1.v"], arrays["transformer.h.3.v"])
    assert report.copied["h.1.w"] == "transformer.h.3.w" and report.drawn == ("head",)
    assert set(report.left_over) == {f"transformer.h.{i}.{part}" for i in (1, 2) for part in ("w", "v")}
    built(path, plan, names=names, leave=["transformer.h.1.*", "transformer.h.2.*"])
    with pytest.raises(ValueError, match=re.escape("no place for 'transformer.h.2.w'")):
        winit.pretrained(path, plan, seed=0, names=names, leave=["transformer.h.1.*", "transformer.h.2.v"])
    # Stars are filled in order; two tensors may come from one.
    both = plan_of({"x.0.y.w": values((2, 3)), "z": values((2, 3))})
    got, _ = built(path, both, names={"x.*.y.*": "transformer.h.*.*", "z": "transformer.h.0.w"}, strict=False)
    assert same(got["x.0.y.w"], arrays["transformer.h.0.w"]) and same(got["z"], got["x.0.y.w"])


def test_a_subset_such_as_the_encoder(tmp_path):
    arrays = {"encoder.w": values((2, 2)), "decoder.w": values((2, 2)), "decoder.v": values((2, 2))}
    path = save(tmp_path / "f", arrays)
    plan = plan_of({"w": values((2, 2))})
    got, report = built(path, plan, names={"*": "encoder.*"}, leave="decoder.*")
    assert same(got["w"], arrays["encoder.w"]) and set(report.left_over) == {"decoder.w", "decoder.v"}


def test_strict_names_everything_in_one_error(tmp_path):
    path = save(tmp_path / "f", {"a": values((2,)), "b": values((2,)), "head": values((9,))})
    plan = plan_of({"a": values((2,)), "c": values((2,)), "d": values((2,)), "head": values((3,))})
    with pytest.raises(ValueError, match=r"the files lack 'c', 'd'; the plan has no place for 'b' \(names= maps"):
        winit.pretrained(path, plan, seed=0, names={"head": None})
    report = winit.pretrained(path, plan, seed=0, names={"head": None}, strict=False).report
    assert report.drawn == ("c", "d", "head") and set(report.left_over) == {"b", "head"}
    many = plan_of({f"t{i}": values((1,)) for i in range(8)})
    with pytest.raises(ValueError, match=r"lack 't0', 't1', 't2', 't3', 't4' and 3 more; .* 'a', 'b', 'head' \("):
        winit.pretrained(path, many, seed=0)


def test_tied_tensors(tmp_path):
    wte = values((6, 4))
    plan = Plan({"wte": Param((6, 4), scheme=DRAWN), "head": Param(tied="wte")})
    for held in ({"wte": wte}, {"head": wte}, {"wte": wte, "head": wte.copy()}):
        path = save(tmp_path / "f", held)
        got, report = built(path, plan)
        assert same(got["wte"], wte) and got["head"] is got["wte"] and report.left_over == ()
    path = save(tmp_path / "f", {"wte": wte, "head": np.nextafter(wte, 0)})
    with pytest.raises(
        ValueError, match="wte: the files hold 'wte' and 'head', which the plan ties together, with diff"
    ):
        winit.pretrained(path, plan, seed=0)
    assert winit.pretrained(path, plan, seed=0, strict=False).report.left_over == ("head",)


def test_names_that_a_file_ties_may_be_apart_in_the_plan(tmp_path):
    wte = values((6, 4))
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 6, bias=False), "b": torch.nn.Linear(4, 6, bias=False)})
    model["a"].weight = model["b"].weight = torch.nn.Parameter(torch.from_numpy(wte))
    safetensors_torch.save_model(model, str(tmp_path / "f"))
    plan = plan_of({"a.weight": wte, "b.weight": wte})
    got, report = built(tmp_path / "f", plan)
    assert same(got["a.weight"], wte) and same(got["b.weight"], wte)
    assert len(set(report.copied.values())) == 1


# ---- dtypes

FLOATS = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
# digits of the significand, exponent of the smallest number
FORMATS = {"float64": (53, -1074), "float32": (24, -149), "float16": (11, -24), "bfloat16": (8, -133)}
FORMATS |= {"float8_e4m3fn": (4, -9), "float8_e5m2": (3, -16)}


def edges(dtype):
    """Numbers about every rounding boundary that the types have."""
    exact = [0.0, -0.0, 1.0, 65504.0, 3.3e38, 2.0**-133, 2.0**-149, 2.0**-24, 2.0**-25, np.inf, np.nan]
    ties = [(1 + 2.0**-8) * scale for scale in (1.0, 3.0, 2.0**-120)] + [1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-24]
    ties += [1 + 2.0**-4, 1 + 3 * 2.0**-4, 1 + 2.0**-3, 1 + 3 * 2.0**-3, 2.0**-10, 3 * 2.0**-10, 2.0**-17, 3 * 2.0**-17]
    just = [tie * (1 + sign * 2.0**-40) for tie in ties for sign in (-1, 1)]
    some = np.array([*exact, *ties, *just, *RNG.standard_normal(3000), *(RNG.standard_normal(3000) * 1e-40)])
    limit = float(ml_dtypes.finfo(FOREIGN.get(dtype, dtype)).max)
    return np.array([x for x in (*some, *-some) if not np.isfinite(x) or abs(x) <= limit])


def nearest_even(x: float, digits: int, lowest: int) -> float:
    """x rounded to a binary type of so many digits, whose smallest number is 2^lowest, in exact arithmetic."""
    if not np.isfinite(x) or x == 0:
        return x
    exponent = max(np.frexp(x)[1] - digits, lowest)
    step = Fraction(2) ** int(exponent)
    return float(np.copysign(float(round(Fraction(x) / step) * step), x))


@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("source", FLOATS)
def test_conversion_rounds_once_to_nearest_even(tmp_path, source, target):
    arrays = {"w": values((0,))}
    with np.errstate(all="ignore"):
        arrays["w"] = edges(target).astype(FOREIGN.get(source, source))
    if source != "float64":  # what the source rounded beyond the target's range
        limit = float(ml_dtypes.finfo(FOREIGN.get(target, target)).max)
        wide = arrays["w"].astype(np.float64)
        arrays["w"] = arrays["w"][~np.isfinite(wide) | (np.abs(wide) <= limit)]
    if target == "float8_e4m3fn":  # it has no infinities, which are refused
        arrays["w"] = arrays["w"][~np.isinf(arrays["w"].astype(np.float64))]
    plan = plan_of(arrays, w=(arrays["w"].shape, target))
    path = save(tmp_path / "f", arrays)
    digits, lowest = FORMATS[target]
    expected = np.array([nearest_even(float(x), digits, lowest) for x in arrays["w"]])
    got, report = built(path, plan, cast=True)
    found = got["w"].astype(np.float64)
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.array_equal(np.signbit(found[~np.isnan(found)]), np.signbit(expected[~np.isnan(found)]))
    assert report.converted == ({} if source == target else {"w": source})
    if source != target:
        with pytest.raises(ValueError, match=rf"w: 'w' of .* has dtype {source}, expected {target} \(cast=True conv"):
            winit.pretrained(path, plan, seed=0)


@pytest.mark.parametrize(
    ("source", "target", "value"),
    [
        ("float64", "float32", 3.5e38),
        ("float32", "float16", 65520.0),
        ("float64", "bfloat16", 3.3961775292304601e38),
        ("float32", "bfloat16", 3.4e38),
        ("bfloat16", "float16", -1e5),
        ("float32", "float8_e5m2", 61440.0),
        ("float64", "float8_e4m3fn", 464.0001),
        ("float8_e5m2", "float8_e4m3fn", -512.0),
    ],
)
def test_conversion_never_overflows_silently(tmp_path, source, target, value):
    array = np.array([1, value, np.inf, 0]).astype(values(0, source).dtype)
    loaded = winit.pretrained(save(tmp_path / "f", {"w": array}), plan_of({}, w=((4,), target)), seed=0, cast=True)
    shown = "65520" if value == 65520 else r"[\d.e+]+"
    for run in (loaded.build, lambda: loaded.write(tmp_path / "out")):
        with pytest.raises(ValueError, match=rf"w: 'w' of .* has the value {shown}, beyond the range of {target}"):
            run()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["f"]


@pytest.mark.parametrize(
    ("source", "target"),
    [("int32", "float32"), ("float32", "int32"), ("int32", "int64"), ("bool", "uint8"), ("uint8", "int8")],
)
def test_other_dtypes_must_agree(tmp_path, source, target):
    path = save(tmp_path / "f", {"w": np.ones(3, source)})
    with pytest.raises(ValueError, match=rf"w: 'w' of .* has dtype {source}, expected {target}$"):
        winit.pretrained(path, plan_of({}, w=((3,), target)), seed=0, cast=True)


# ---- fitting


@st.composite
def two_shapes(draw, smaller=False):
    old = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    new = [draw(st.integers(1, size if smaller else 9)) for size in old]
    return tuple(old), tuple(new)


def fitted(tmp_path, old, shape, how, container="safetensors", **options):
    dtype = options.pop("dtype", old.dtype.name)
    path = save(tmp_path / "f", {"w": old}, container)
    arrays, report = built(path, plan_of({}, w=(shape, dtype)), fit=[("w", how)], **options)
    assert report.fitted == ({"w": ("w", how)} if shape != old.shape else {})
    return arrays["w"]


@given(
    shapes=two_shapes(), container=st.sampled_from(CONTAINERS), dtype=st.sampled_from(["float32", "bfloat16", "int16"])
)
def test_overlap(tmp_path_factory, shapes, container, dtype):
    old, new = values(shapes[0], dtype, 100), shapes[1]
    assume(old.shape == new or sorted(old.shape) != sorted(new))  # test_overlap_of_a_transpose_is_refused
    got = fitted(tmp_path_factory.mktemp("f"), old, new, "overlap", container)
    expected = plan_of({}, w=(new, dtype)).build(seed=3)["w"]
    corner = tuple(slice(0, min(pair)) for pair in zip(old.shape, new, strict=True))
    if old.shape == new:
        expected = old
    else:
        expected[corner] = old[corner]
    assert same(got, expected)


def reference_selection(teacher, shape):
    """Weight selection as arXiv 2311.18823 has it, in torch, the indices in float64."""
    chosen = torch.from_numpy(np.ascontiguousarray(teacher))
    for dim, count in enumerate(shape):
        size = teacher.shape[dim]
        if size % count == 0:
            index = torch.arange(count) * (size // count)
        else:
            index = torch.round(torch.linspace(0, size - 1, count, dtype=torch.float64)).long()
        chosen = torch.index_select(chosen, dim, index)
    return chosen.numpy()


@given(shapes=two_shapes(smaller=True), container=st.sampled_from(CONTAINERS))
def test_select(tmp_path_factory, shapes, container):
    old = values(shapes[0], "float32")
    got = fitted(tmp_path_factory.mktemp("f"), old, shapes[1], "select", container)
    assert same(got, np.ascontiguousarray(reference_selection(old, shapes[1])))


def test_selected_indices_are_exact():
    for size in [*range(1, 130), 50257, 128256, (1 << 40) + 1]:
        for count in [*range(1, min(size, 40) + 1), *([size - 1, size] if 1 < size < 1 << 20 else [])]:
            if size % count == 0:
                expected = [i * (size // count) for i in range(count)]
            else:
                expected = [round(Fraction(i * (size - 1), count - 1)) for i in range(count)]
            assert fits.evenly_spaced(size, count).tolist() == expected, (size, count)
    assert fits.evenly_spaced(5, 0).tolist() == []


@pytest.mark.parametrize("how", ["select", "overlap"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((3000, 1300), (1000, 997)),
        ((2, 3_000_000), (2, 1_000_001)),
        ((400, 30, 5, 60), (201, 14, 3, 60)),
        ((5000, 20_000 // 40), (7, 500)),
    ],
)
def test_large_tensors_fit_block_by_block(tmp_path, how, container, old, new):
    teacher = values(old, "float16")
    got = fitted(tmp_path, teacher, new, how, container)
    expected = reference_selection(teacher, new) if how == "select" else teacher[tuple(map(slice, new))]
    assert same(got, np.ascontiguousarray(expected))


def test_overlap_of_a_larger_tensor_of_many_blocks(tmp_path):
    old = values((700, 900))
    got = fitted(tmp_path, old, (1500, 2000), "overlap")
    expected = winit.draw(DRAWN, (1500, 2000), seed=3, name="w")
    expected[:700, :900] = old
    assert same(got, expected)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((1000, 24), (1011, 24)),
        ((24, 1000), (24, 1003)),
        ((900,), (907,)),
        ((3, 500, 4), (3, 507, 4)),
        ((500, 3, 4), (501, 3, 4)),
        ((1, 5), (3, 5)),
    ],
)
def test_mean(tmp_path, container, old, new):
    embedding = values(old) + np.float32(2)
    got = fitted(tmp_path, embedding, new, "mean", container)
    axis = next(i for i in range(len(old)) if old[i] != new[i])
    known = np.take(got, range(old[axis]), axis)
    assert same(np.ascontiguousarray(known), embedding)
    exact = embedding.astype(np.longdouble).mean(axis, keepdims=True).astype(np.float32)
    added = np.take(got, range(old[axis], new[axis]), axis)
    assert (
        np.abs(added - exact) <= np.spacing(np.abs(exact))
    ).all()  # sums in float64: one rounding, but for a near tie
    assert (added == exact).mean() > 0.99


def test_fewer_tokens_are_the_first(tmp_path):
    old = values((30, 4), "bfloat16")
    for how in ("mean", "covariance"):
        assert same(fitted(tmp_path, old, (20, 4), how), old[:20])


@pytest.mark.parametrize("container", ["safetensors", "npz fortran deflated", "npz deflated"])
@pytest.mark.parametrize("old", [(1000, 24), (24, 1000), (10, 24), (384, 3), (385, 3)])
def test_covariance_is_the_formula(tmp_path, container, old):
    axis = 0 if old[1] in (24, 3) else 1
    new = tuple(size + 5 * (i == axis) for i, size in enumerate(old))
    embedding = values(old)
    got = np.moveaxis(fitted(tmp_path, embedding, new, "covariance", container, covariance_scale=0.25), axis, 0)
    x = np.moveaxis(embedding, axis, 0).astype(np.float64)
    z = winit.draw(winit.normal(), (5, len(x)), seed=3, name="w", dtype="float64")
    expected = x.mean(0) + np.sqrt(0.25 / len(x)) * (z @ (x - x.mean(0)))
    assert np.array_equal(got[: len(x)], np.moveaxis(embedding, axis, 0))
    assert np.abs(got[len(x) :] - expected).max() < 1e-6
    # A row does not depend on how many there are.
    one = tuple(size + (i == axis) for i, size in enumerate(old))
    first = np.moveaxis(fitted(tmp_path, embedding, one, "covariance", container, covariance_scale=0.25), axis, 0)
    assert np.array_equal(first, got[: len(x) + 1])


def test_covariance_has_the_old_rows_mean_and_covariance(tmp_path):
    """n = 20000 new rows: each entry's sampling error is below 6 sigma / sqrt(n) with probability 1 - 1e-7."""
    mix = RNG.standard_normal((6, 6))
    old = (RNG.standard_normal((300, 6)) @ mix + 1).astype(np.float32)
    new = fitted(tmp_path, old, (20_300, 6), "covariance", covariance_scale=1.0)[300:].astype(np.float64)
    mean, covariance = old.astype(np.float64).mean(0), np.cov(old.astype(np.float64), rowvar=False, bias=True)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(new.mean(0) - mean) < 6 * spread / np.sqrt(20_000)).all()
    error = np.cov(new, rowvar=False) - covariance
    assert (np.abs(error) < 6 * np.sqrt(2 / 20_000) * np.outer(spread, spread)).all()


def test_the_default_agrees_with_transformers_mean_resizing(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=90, n_positions=8, n_embd=16, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    old = model.transformer.wte.weight.detach().numpy().copy()
    model.resize_token_embeddings(97)
    theirs = model.transformer.wte.weight.detach().numpy()
    for how in ("mean", "covariance"):
        ours = fitted(tmp_path, old, (97, 16), how)
        assert np.array_equal(ours[:90], theirs[:90])
        assert np.abs(ours[90:] - theirs[90:]).max() < 1e-5  # 1e-9 of the covariance: spread 1e-6
    assert len(np.unique(ours[90:], axis=0)) == 7


def test_fitting_converts_with_one_rounding(tmp_path):
    old = values((50, 8), "float64")
    got = fitted(tmp_path, old, (52, 8), "mean", dtype="bfloat16", cast=True)
    assert same(got[:50], old.astype(np.float32).astype(BF16)) or np.mean(got[:50] == old.astype(BF16)) > 0.99
    mean = old.mean(0)
    assert np.array_equal(got[50].astype(np.float64), [nearest_even(x, 8, -133) for x in mean])
    small = fitted(tmp_path, old, (25, 4), "select", dtype="float16", cast=True)
    assert same(small, old[::2, ::2].astype(np.float16))


def test_bits_do_not_depend_on_threads_or_instruction_set(tmp_path):
    path = save(tmp_path / "f", {"w": values((3000, 40))})
    plan = plan_of({}, w=((3017, 40), "float32"))
    found = set()
    for isa in winit.engines()["cython"]["instruction_sets"]:
        with winit.use_engine("cython", isa):
            for threads in (1, 2, 5):
                loaded = winit.pretrained(path, plan, seed=3, fit={"*": "covariance"}, covariance_scale=1.0)
                found.add(loaded.build(threads=threads)["w"].tobytes())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("old", "new", "options", "message"),
    [
        (
            (4, 2),
            (5, 2),
            {},
            r"w: 'w' of .* has shape \(4, 2\), expected \(5, 2\) \(fit= can be overlap, select, mean,",
        ),
        ((4, 2), (8,), {"fit": {"*": "overlap"}}, "'overlap' needs the same number of axes"),
        ((4, 2), (2, 3), {"fit": {"*": "select"}}, "'select' needs a source that is nowhere smaller"),
        ((4, 2), (5, 3), {"fit": {"*": "mean"}}, "'mean' needs shapes that differ along one axis"),
        ((0, 2), (5, 2), {"fit": {"*": "covariance"}}, "'covariance' needs at least one old row"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, old, new, options, message):
    path = save(tmp_path / "f", {"w": values(old)})
    with pytest.raises(ValueError, match=message):
        winit.pretrained(path, plan_of({}, w=(new, "float32")), seed=0, **options)


def test_means_need_numbers(tmp_path):
    path = save(tmp_path / "f", {"w": np.ones((4, 2), np.int32)})
    with pytest.raises(ValueError, match="is int32; 'mean' needs floating-point values"):
        winit.pretrained(path, plan_of({}, w=((5, 2), "int32")), seed=0, fit={"*": "mean"})
    bad = values((4, 2))
    bad[1, 1] = np.inf
    loaded = winit.pretrained(
        save(tmp_path / "f", {"w": bad}), plan_of({}, w=((5, 2), "float32")), seed=0, fit={"*": "mean"}
    )
    with pytest.raises(ValueError, match="w: the rows of 'w' have no finite mean"):
        loaded.build()


# ---- arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"plan": {}}, TypeError, "plan must be a winit.Plan, not dict"),
        ({"seed": 0.5}, TypeError, "seed must be an integer, not float"),
        ({"seed": -1}, ValueError, r"seed must be in \[0, 2\^64\)"),
        ({"strict": 1}, TypeError, "strict must be True or False, not 1"),
        ({"cast": "yes"}, TypeError, "cast must be True or False, not 'yes'"),
        ({"names": "w"}, TypeError, "names must be a mapping or pairs, not 'w'"),
        ({"names": 3}, TypeError, "names must be a mapping or pairs, not 3"),
        ({"names": ["ab"]}, TypeError, "names must be a mapping or pairs that begin with a name, not 'ab'"),
        ({"names": [("a", "b", "c")]}, TypeError, "names must be a mapping or pairs that begin with a name"),
        ({"names": [("a", 3)]}, TypeError, "names must lead to a name, a winit.Source or None, not 3"),
        ({"names": [("a.*", "b")]}, ValueError, r"names must have as many \* on both sides, not 'a\.\*' and 'b'"),
        ({"fit": {"w": None}}, TypeError, "fit must lead to one of overlap, select, mean, .*, not None"),
        ({"fit": {"w": "median"}}, ValueError, "fit must lead to one of .*, channels, not 'median'"),
        ({"leave": 3}, TypeError, "leave must be a pattern or several, not 3"),
        ({"leave": [3]}, TypeError, "leave must be a pattern or several, not 3"),
        ({"covariance_scale": -1.0}, ValueError, "covariance_scale must not be negative, not -1.0"),
        ({"covariance_scale": "1"}, TypeError, "covariance_scale"),
        ({"covariance_scale": float("nan")}, ValueError, "covariance_scale"),
        ({"path": 3}, TypeError, "path must be a path or several, not 3"),
        ({"path": b"f"}, TypeError, "path must be a path or several"),
        ({"path": []}, ValueError, "path must be a path or several, not none"),
    ],
)
def test_wrong_arguments(tmp_path, options, error, message):
    arrays = {"w": values((2, 2))}
    given = {"path": save(tmp_path / "f", arrays), "plan": plan_of(arrays), "seed": 0} | options
    with pytest.raises(error, match=message):
        winit.pretrained(given.pop("path"), given.pop("plan"), **given)


def test_files_that_cannot_be_read_or_written(tmp_path):
    arrays = {"w": values((2, 2))}
    plan = plan_of(arrays)
    with pytest.raises(FileNotFoundError, match="nothing"):
        winit.pretrained(tmp_path / "nothing", plan, seed=0)
    with pytest.raises(FileNotFoundError, match="holds no safetensors file and no index of any"):
        winit.pretrained(tmp_path, plan, seed=0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        winit.pretrained(tmp_path / "pipe", plan, seed=0)
    loaded = winit.pretrained(save(tmp_path / "f", arrays), plan, seed=0)
    with pytest.raises(FileExistsError, match="exists already"):
        loaded.write(tmp_path / "f")
    with pytest.raises(TypeError, match="threads must be an integer"):
        loaded.build(threads=1.5)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        loaded.write(tmp_path / "g", threads=0)
    assert not (tmp_path / "g").exists()
    loaded.write(tmp_path / "f", overwrite=True)  # the file that it reads from
    with pytest.raises(ValueError, match="f has changed since its header was read"):
        loaded.build()
    assert same(winit.pretrained(tmp_path / "f", plan, seed=0).build()["w"], arrays["w"])


def test_the_report_and_what_is_written(tmp_path):
    arrays = {"a": values((2, 2)), "b": values((3,)), "c": values((1,))}
    plan = plan_of({}, a=((2, 2), "float32"), b=((4,), "float16"), d=((2,), "float32"))
    loaded = winit.pretrained(save(tmp_path / "f", arrays), plan, seed=7, strict=False, cast=True, fit={"b": "overlap"})
    assert loaded.report == loader.Report({"a": "a"}, {"b": ("b", "overlap")}, {"b": "float32"}, ("d",), ("c",))
    assert str(loaded.report) == "1 copied, 1 fitted, 1 drawn, 1 left over" and str(loaded.report) in repr(loaded)
    assert (loaded.plan, loaded.seed) == (plan, 7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.report.drawn = ()
    steps = []
    loaded.write(tmp_path / "out", progress=lambda done, total: steps.append((done, total)))
    assert steps[0] == (0, plan.nbytes) and steps[-1] == (plan.nbytes, plan.nbytes)
    from safetensors import safe_open

    with safe_open(tmp_path / "out", framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["winit.pretrained"] == str(loaded.report) and metadata["winit.seed"] == "7"
    assert "winit.plan" not in metadata  # the values are not the plan's


# ---- hostile files


def safetensors_bytes(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, lo, hi, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [lo, hi]}


HOSTILE = {
    "empty": (b"", "it has 0 bytes"),
    "short": (b"\x01\x02", "it has 2 bytes"),
    "length beyond": (safetensors_bytes({}, length=1 << 60), "its header claims 1,152,921,504,606,846,976 bytes"),
    "not JSON": (safetensors_bytes(b"{"), "its header is not JSON"),
    "deep": (safetensors_bytes(b"[" * 200_000), "its header is nested deeper than 127 levels"),
    "a list": (safetensors_bytes([]), "its header is not an object"),
    "truncated": (safetensors_bytes({"w": entry([2], 0, 8)}, b"1234"), "the bytes of 'w' lie outside it"),
    "negative": (safetensors_bytes({"w": entry([2], -8, 0)}, b""), "its entry for 'w' is malformed"),
    "backwards": (safetensors_bytes({"w": entry([1], 8, 4)}, b"12345678"), "the bytes of 'w' lie outside it"),
    "overlap": (safetensors_bytes({"w": entry([2], 0, 8), "v": entry([2], 4, 12)}, b"1" * 12), "do not begin where"),
    "gap": (safetensors_bytes({"w": entry([1], 0, 4), "v": entry([1], 8, 12)}, b"1" * 12), "do not begin where"),
    "tail": (safetensors_bytes({"w": entry([1], 0, 4)}, b"1" * 9), "5 bytes at its end belong to no tensor"),
    "huge": (
        safetensors_bytes({"w": entry([1 << 40, 1 << 40], 0, 4)}, b"1" * 4),
        "the shape of 'w' has too many elements",
    ),
    "wrapping": (safetensors_bytes({"w": entry([1 << 32, 1 << 32], 0, 0)}), "the shape of 'w' has too many elements"),
    "negative size": (safetensors_bytes({"w": entry([-1, -1], 0, 4)}, b"1" * 4), "its entry for 'w' is malformed"),
    "many axes": (safetensors_bytes({"w": entry([1] * 100, 0, 4)}, b"1" * 4), "'w' has 100 axes, more than 64"),
    "fractions": (safetensors_bytes({"w": entry([1.0], 0, 4)}, b"1" * 4), "its entry for 'w' is malformed"),
    "booleans": (safetensors_bytes({"w": entry([True], 0, 4)}, b"1" * 4), "its entry for 'w' is malformed"),
    "twice": (
        safetensors_bytes(
            b'{"w":' + json.dumps(entry([1], 0, 4)).encode() + b',"w":' + json.dumps(entry([1], 0, 4)).encode() + b"}",
            b"1" * 4,
        ),
        "its header has 'w' twice",
    ),
    "malformed": (safetensors_bytes({"w": {"dtype": "F32"}}), "its entry for 'w' is malformed"),
    "metadata": (safetensors_bytes({"__metadata__": {"a": 1}}), "its __metadata__ is not an object of strings"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_safetensors(tmp_path, case):
    data, message = HOSTILE[case]
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ValueError, match=rf"f is not a safetensors file: .*{re.escape(message)}"):
        winit.pretrained(tmp_path / "f", plan_of({"w": values((1,))}), seed=0)


def test_dtypes_that_winit_does_not_have(tmp_path):
    header = {"w": entry([4], 0, 4, "F8_E8M0"), "v": entry([1], 4, 8)}
    (tmp_path / "f").write_bytes(safetensors_bytes(header, b"1" * 8))
    plan = plan_of({"v": values((1,))})
    assert winit.pretrained(tmp_path / "f", plan, seed=0, leave="w").build()["v"].tobytes() == b"1111"
    with pytest.raises(ValueError, match=r"w: 'w' of .* has dtype F8_E8M0, expected float32 \(cast=True converts\)"):
        winit.pretrained(tmp_path / "f", plan_of({"w": values((4,))}), seed=0, strict=False)
    with pytest.raises(
        ValueError, match=r"w: 'w' of .* has dtype F8_E8M0, expected int8 \(as uint8 it is taken by its"
    ):
        winit.pretrained(tmp_path / "f", plan_of({}, w=((4,), "int8")), seed=0, cast=True, strict=False)


def test_a_bool_is_0_or_1(tmp_path):
    (tmp_path / "f").write_bytes(safetensors_bytes({"w": entry([4], 0, 4, "BOOL")}, b"\x00\x01\x02\x01"))
    loaded = winit.pretrained(tmp_path / "f", plan_of({}, w=((4,), "bool")), seed=0)
    with pytest.raises(ValueError, match="'w' of .* is bool and has bytes other than 0 and 1"):
        loaded.build()


def npz(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return bytearray(stream.getvalue())


def npy(array=None, header=None):
    if header is None:
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array, allow_pickle=True)
        return stream.getvalue()
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_headers_of_python_2(tmp_path):
    """Read without a word, and without touching the warning filters, which are those of all threads."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 2L), }"
    weights = values((3, 2))
    (tmp_path / "f").write_bytes(npz([("w.npy", npy(header=header) + weights.tobytes())]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", None)
        loaded = winit.pretrained(tmp_path / "f", plan_of({"w": weights}), seed=0)
        assert same(loaded.build()["w"], weights)


def patched(data, place, value, width=4):
    """Change a number of a zip's central directory entry, counted from its signature."""
    start = data.index(b"PK\x01\x02") + place
    data[start : start + width] = int(value).to_bytes(width, "little")
    return data


HEADER = "{'descr':'<f4','fortran_order':False,'shape':%s}"
ONE = npy(np.ones(4, np.float32))
HOSTILE_NPZ = {
    "truncated": (npz([("w.npy", ONE)])[:-30], "its directory cannot be read"),
    "no directory": (bytearray(b"PK\x03\x04") + b"\x00" * 100, "its directory cannot be read"),
    "other members": (npz([("w.npx", b"x")]), "holds 'w.npx', which is not .npy"),
    "stored beyond": (
        patched(patched(npz([("w.npy", ONE)]), 20, 1 << 30), 24, 1 << 30),
        "claims 1,073,741,824 bytes at",
    ),
    "stored more": (patched(npz([("w.npy", ONE)]), 24, 1 << 31), "claims 2,147,483,648 bytes, and 144 are there"),
    "bomb": (patched(npz([("w.npy", ONE)], zipfile.ZIP_DEFLATED), 24, 1 << 31), "claims 2,147,483,648 bytes, and"),
    "elsewhere": (patched(npz([("w.npy", ONE)]), 42, 7), "does not begin where its directory says"),
    "encrypted": (patched(npz([("w.npy", ONE)]), 8, 1, 2), "'w.npy' is encrypted, or compressed otherwise"),
    "lzma": (npz([("w.npy", ONE)], zipfile.ZIP_LZMA), "'w.npy' is encrypted, or compressed otherwise"),
    "overlapping": (patched(npz([("w.npy", ONE), ("v.npy", ONE)]), 42, 0), None),
    "not npy": (npz([("w.npy", b"x" * 50)]), "the header of 'w' cannot be read"),
    "header cut": (npz([("w.npy", ONE[:60])]), "the header of 'w' cannot be read"),
    "code": (npz([("w.npy", npy(header="__import__('os').abort()") + b"1" * 16)]), "the header of 'w' cannot be read"),
    "huge": (
        npz([("w.npy", npy(header=HEADER % "(1099511627776,99)") + b"1" * 16)]),
        "'w' has 16 bytes, and its shape (1099511627776, 99) of float32 takes",
    ),
    "negative": (
        npz([("w.npy", npy(header=HEADER % "(-2,-2)") + b"1" * 16)]),
        "the shape of 'w' is not one of at most 64 sizes",
    ),
    "short": (npz([("w.npy", ONE[:-1])]), "'w' has 15 bytes, and its shape (4,) of float32 takes 16"),
    "long header": (
        npz([("w.npy", b"\x93NUMPY\x02\0" + struct.pack("<I", 1 << 30) + b"x" * 20_000)]),
        "the header of 'w'",
    ),
    "version 9": (npz([("w.npy", b"\x93NUMPY\x09\x00" + ONE[8:])]), "'w' cannot be read (version (9, 0))"),
}


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_hostile_npz(tmp_path, case):
    data, message = HOSTILE_NPZ[case]
    if case == "overlapping":  # the second entry of the directory leads to the first member
        second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
        data[second + 42 : second + 46] = (20).to_bytes(4, "little")
        data[20:24] = b"PK\x03\x04"
        message = "stands before it"
    (tmp_path / "f").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=rf"f is not an npz file: .*{re.escape(message)}"):
        winit.pretrained(tmp_path / "f", plan_of({"w": values((4,))}), seed=0)


def test_npz_of_one_name_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        (tmp_path / "f").write_bytes(bytes(npz([("w.npy", ONE), ("w.npy", ONE)])))
    with pytest.raises(ValueError, match="f is not an npz file: it has 'w' twice"):
        winit.pretrained(tmp_path / "f", plan_of({"w": values((4,))}), seed=0)


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array([object()] * 4), "object"),
        (np.ones(4, ">c16"), "complex128"),
        (np.array(["abc"] * 4), "str96"),
        (np.zeros(4, "f4,f4"), "void64"),
        (np.ones(4, np.complex128), "complex128"),
    ],
)
def test_npz_of_other_things_than_numbers(tmp_path, array, kind):
    data = npz([("w.npy", npy(np.array([1, 2, 3, 4], object) if kind == "object" else array)), ("v.npy", ONE)])
    (tmp_path / "f").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=rf"w: 'w' of .* has dtype {kind}, expected float32"):
        winit.pretrained(tmp_path / "f", plan_of({"w": values((4,)), "v": values((4,))}), seed=0)
    got = winit.pretrained(tmp_path / "f", plan_of({"v": values((4,))}), seed=0, leave="w").build()
    assert got["v"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("harm", ["data", "checksum", "end"])
def test_compressed_bytes_that_are_broken(tmp_path, harm):
    array = values((2000, 3))
    data = npz([("w.npy", npy(array))], zipfile.ZIP_DEFLATED)
    if harm == "data":
        data[20_000:20_040] = b"\xff" * 40
    if harm == "checksum":
        data = patched(data, 16, 12345)
    if harm == "end":
        data = patched(data, 20, int.from_bytes(data[data.index(b"PK\x01\x02") + 20 :][:4], "little") - 100)
    (tmp_path / "f").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="the compressed bytes of 'w' are broken: "):
        winit.pretrained(tmp_path / "f", plan_of({"w": array}), seed=0).build()


@given(st.data())
def test_any_damage_to_a_file_is_one_error_or_none(tmp_path_factory, data):
    """Bytes changed or cut at random: a ValueError that names the file, or arrays of the right shapes."""
    directory = tmp_path_factory.mktemp("f")
    arrays = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "v": np.ones((2,), np.float16)}
    container = data.draw(st.sampled_from(CONTAINERS))
    path = save(directory / "f", arrays, container)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 9]))]))
    try:
        got = winit.pretrained(path, plan_of(arrays), seed=0, strict=False).build()
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert {name: array.shape for name, array in got.items()} == {"w": (3, 4), "v": (2,)}


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f4"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_npz_of_the_other_byte_order(tmp_path, dtype, method):
    array = values((30, 7)).astype(dtype)
    for data in (array, np.asfortranarray(array)):
        (tmp_path / "f").write_bytes(bytes(npz([("w.npy", npy(data))], method)))
        native = array.astype(np.dtype(dtype).newbyteorder("="))
        loaded = winit.pretrained(tmp_path / "f", plan_of({"w": native}), seed=0)
        assert same(loaded.build()["w"], native)
        loaded.write(tmp_path / "out", overwrite=True)
        assert same(winit.pretrained(tmp_path / "out", plan_of({"w": native}), seed=0).build()["w"], native)


def test_a_folder_is_its_index_or_its_only_file(tmp_path):
    arrays = {"a": values((4, 2)), "b": values((3,))}
    plan = plan_of(arrays)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"no index of any; 'pytorch_model\.bin' is of another format"):
        winit.pretrained(tmp_path, plan, seed=0)
    save(tmp_path / "model.safetensors", arrays)
    assert same(winit.pretrained(tmp_path, plan, seed=0).build()["a"], arrays["a"])
    save(tmp_path / "other.safetensors", {"b": arrays["b"] + 1})
    with pytest.raises(ValueError, match=r"holds several safetensors files and no index: 'model.safetensors', 'other"):
        winit.pretrained(tmp_path, plan, seed=0)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(arrays, "model.safetensors")}))
    assert same(winit.pretrained(tmp_path, plan, seed=0).build()["b"], arrays["b"])
    index.rename(tmp_path / "an index by another name")
    assert same(winit.pretrained(tmp_path / "an index by another name", plan, seed=0).build()["b"], arrays["b"])


@pytest.mark.parametrize("fit", [(), {"w": "overlap"}])
@pytest.mark.parametrize("shape", [(3, 2), (2, 4, 3), (4, 3, 2)])
def test_overlap_of_a_transpose_is_refused(tmp_path, fit, shape):
    source = (2, 3) if len(shape) == 2 else (2, 3, 4)
    save(tmp_path / "f", {"w": values(source)})
    with pytest.raises(
        ValueError, match=r"expected \(.*\): the same sizes in another order, which no fit makes of each"
    ):
        winit.pretrained(tmp_path / "f", plan_of({"w": values(shape)}), seed=0, fit=fit)


def test_nothing_copied_is_a_warning(tmp_path):
    save(tmp_path / "f", {"model.w": values((2,))})
    with pytest.warns(
        UserWarning, match=r"none of the plan's 1 tensors is in the files.*the plan has 'w', the files 'm"
    ):
        winit.pretrained(tmp_path / "f", plan_of({"w": values((2,))}), seed=0, strict=False)


def test_a_file_cut_while_it_is_read(tmp_path, monkeypatch):
    array = values((100, 100))
    path = save(tmp_path / "f", {"w": array})
    loaded = winit.pretrained(path, plan_of({"w": array}), seed=0)
    with path.open("r+b") as file:
        file.truncate(1000)
    monkeypatch.setattr(entries, "file_stamp", lambda descriptor: loaded._loaded[0].content.entries[0].file.stamp)
    with pytest.raises(ValueError, match="f was cut short while it was read"):
        loaded.write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- memory

PEAK = """
import sys, threading, winit
from winit import Param, Plan
from winit._files import entries
from winit._files import reader as archives
from winit._trained import fits, loader
import winit._dense.passes
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
how, source, target = sys.argv[1:4]
old, new = ((6000, 8000), (6000, 8000)) if how == "copy" else ((6000, 8000), (3000, 500))
plan = Plan({"w": Param(new, scheme=winit.normal()), "v": Param((10,), scheme=winit.normal())})
winit.draw(winit.normal(), 1 << 21, seed=0)
before = peak()
loaded = winit.pretrained(source, plan, seed=0, fit={"w": how} if how != "copy" else {}, strict=False)
opened = peak()
loaded.write(target, overwrite=True, threads=2)
print(opened - before, peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")  # noqa: PTH110
@pytest.mark.parametrize("how", ["copy", "select", "overlap"])
@pytest.mark.parametrize("container", ["safetensors", "npz", "npz deflated"])
def test_memory_does_not_grow_with_the_file(tmp_path, container, how):
    """A tensor of 183 MiB goes through in blocks: 20 MiB a thread is what the docstring promises."""
    array = np.broadcast_to(np.arange(8000, dtype=np.float32), (6000, 8000))
    path = save(tmp_path / "f", {"w": array}, container)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, how, path, tmp_path / "out"], capture_output=True, text=True, check=True
    )
    opened, peak = map(float, done.stdout.split())
    assert opened < 8 and peak < 40, (opened, peak)


def test_a_header_takes_no_memory_that_the_file_does_not_justify(tmp_path):
    """A deflated member that claims 900 MiB of zeros: nothing is allocated for it but the plan's tensor."""
    import tracemalloc

    with zipfile.ZipFile(tmp_path / "f", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w.npy", "w") as member:
        member.write(npy(header=f"{{'descr':'<f4','fortran_order':True,'shape':({9 << 10},{25 << 10})}}"))
        for _ in range(900):
            member.write(bytes(1 << 20))
    assert (tmp_path / "f").stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        plan = plan_of({}, w=((9, 25), "float32"))
        assert not winit.pretrained(tmp_path / "f", plan, seed=0, fit={"w": "overlap"}).build()["w"].any()
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


# ---- house


def test_the_function_is_not_hidden_by_its_module():
    code = "import winit._trained.loader, winit; print(callable(winit.pretrained), 'pretrained' in dir(winit))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
    assert set(archives.__all__) <= set(dir(archives)) and "overlap" in FITS
