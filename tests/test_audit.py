"""winit.checkpoint.audit, winit audit: every number against NumPy's, every flag planted, and files without a fault."""

import csv
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import winit
from winit import Param, Plan, recipes
from winit.checkpoint import Audit, Flag, audit, auditing, duplicates, flags, statistics

pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="writing checkpoints needs POSIX")

CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
}
FLOATS = [name for name in CODES if "float" in name]

SMALL = {
    "bert": {"vocab": 500, "positions": 64, "dim": 64, "layers": 5, "inner": 128},
    "clip": {
        "vocab": 500,
        "text_dim": 64,
        "text_layers": 4,
        "image": 32,
        "patch": 8,
        "vision_dim": 64,
        "vision_layers": 4,
        "projection": 32,
    },
    "convnext": {"widths": [16, 32, 48, 64], "labels": 100},
    "deepseek_v3": {
        "vocab": 500,
        "dim": 64,
        "layers": 5,
        "dense_layers": 2,
        "inner": 128,
        "expert_inner": 32,
        "experts": 5,
        "heads": 4,
        "q_rank": 32,
        "kv_rank": 16,
        "nope_dim": 16,
        "rope_dim": 8,
        "value_dim": 16,
    },
    "gpt2": {"vocab": 500, "positions": 64, "dim": 64, "layers": 5},
    "llama": {"vocab": 500, "dim": 64, "layers": 5, "inner": 128, "heads": 4},
    "llama3_torchtitan": {"vocab": 500, "dim": 64, "layers": 6, "inner": 128, "heads": 4, "kv_heads": 2},
    "mamba": {"vocab": 500, "dim": 64, "layers": 5},
    "nanochat": {"vocab": 500, "dim": 64, "layers": 5, "heads": 4},
    "resnet": {"stem": 16, "widths": [32, 64, 64, 128], "labels": 100},
    "t5": {"vocab": 500, "dim": 64, "layers": 5, "heads": 4, "head_dim": 16, "inner": 128},
    "vit": {"image": 32, "patch": 8, "dim": 64, "layers": 5, "inner": 128, "labels": 100},
}


def save(path, arrays):
    """Write arrays as safetensors; (code, shape, bytes) stands for a dtype that NumPy has not."""
    header, data = {}, b""
    for name, given_array in arrays.items():
        if isinstance(given_array, tuple):
            code, shape, raw = given_array
        else:
            array = np.asarray(given_array)
            code, shape, raw = CODES[array.dtype.name], array.shape, array.tobytes()
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def normal(shape, seed=0, dtype="float32", std=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(getattr(ml_dtypes, dtype, dtype))


def flagged(found):
    return [(flag.tensor, flag.flag) for flag in found.flags]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "m.safetensors"


# ---- numbers


def check_numbers(found, array):
    """Against NumPy in float64 over the whole array."""
    numbers = np.asarray(array, np.float64)
    finite = numbers[np.isfinite(numbers)]
    assert (found.dtype, found.shape, found.elements) == (array.dtype.name, array.shape, array.size)
    assert found.nan == np.isnan(numbers).sum() and found.inf == np.isinf(numbers).sum()
    assert found.zeros == (finite == 0).sum()
    if not finite.size:
        assert (found.mean, found.std, found.min, found.max) == (None, None, None, None)
        return
    assert (found.min, found.max) == (finite.min(), finite.max())
    scale = np.abs(finite).max() or 1.0
    assert abs(found.mean - finite.mean()) <= 1e-12 * scale
    assert found.std == pytest.approx(finite.std(), rel=1e-9, abs=1e-12 * scale)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (300, 7), (3, 5, 2, 2), (0, 4), (1100, 1000)])
def test_numbers_are_numpys(file, dtype, shape):
    array = np.asarray(normal(shape, 3, dtype)) + np.asarray(0.5, getattr(ml_dtypes, dtype, dtype))
    array = np.asarray(array).astype(getattr(ml_dtypes, dtype, dtype)).reshape(shape)
    if array.size > 100:
        flat = array.reshape(-1)
        flat[[1, 50]] = np.nan
        flat[[3, 60, 61]] = 0
        if dtype != "float8_e4m3fn":
            flat[[2, 4, 99]] = [np.inf, -np.inf, -np.inf]
    (found,) = audit(save(file, {"w": array})).tensors
    check_numbers(found, array)
    if array.size > 1000:
        finite = np.asarray(array, np.float64).ravel()
        finite = finite[np.isfinite(finite)]
        for name, value in found.quantiles.items():  # of 2,100 and 65,536 elements: 5 standard errors of a rank
            share = float(name[:-1]) / 100
            error = 5 * math.sqrt(share * (1 - share) / min(array.size, 65_536))
            assert (finite < value).mean() - error <= share <= (finite <= value).mean() + error


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8", "bool"])
def test_integers_have_numbers_and_no_flags(file, dtype):
    array = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (40, 50)).astype(dtype)
    array[5] = array[3]
    found = audit(save(file, {"a": array, "b": array, "c": np.zeros((3, 4), dtype)}))
    assert found.ok
    check_numbers(found.tensors[0], array)
    assert isinstance(found.tensors[0].max, int)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=60),
    st.sampled_from(["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]),
)
def test_numbers_of_any_values(tmp_path, values, dtype):
    with np.errstate(all="ignore"):
        array = np.array(values, np.float32).astype(getattr(ml_dtypes, dtype, dtype))
    (found,) = audit(save(tmp_path / "m", {"w": array})).tensors
    check_numbers(found, array)


def test_numbers_near_the_end_of_float64(file):
    array = np.array([1.7e308, 1.7e308, -1e308, 5.0])
    (found,) = audit(save(file, {"w": array})).tensors
    assert (found.min, found.max, found.inf, found.nan) == (-1e308, 1.7e308, 0, 0)
    assert found.mean == pytest.approx(0.6e308)
    assert json.loads(json.dumps(audit(file).to_dict(), allow_nan=False))["tensors"][0]["std"] is None


@pytest.mark.parametrize("shape", [(200, 60), (60, 200), (9, 5, 3), (512, 512)])
def test_stable_rank_is_that_of_singular_values(file, shape):
    array = normal(shape, dtype="float64")
    (found,) = audit(save(file, {"w": array})).tensors
    values = np.linalg.svd(array.reshape(shape[0], -1), compute_uv=False)
    assert found.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-9)


def test_stable_rank_of_few_directions(file):
    low = normal((2000, 3)) @ normal((3, 1500), 1)
    found = {each.name: each for each in audit(save(file, {"low": low, "eye": np.eye(700, dtype="f4")})).tensors}
    assert 1 <= found["low"].stable_rank <= 3
    assert found["low"].equal_rows == 0


def test_laws_are_those_of_the_fans(file):
    found = audit(save(file, {"a": normal((30, 20)), "b": normal((8, 4, 3, 3)), "c": normal(9)})).tensors
    a, b, c = (each.laws for each in found)
    assert a == pytest.approx(
        {"he": math.sqrt(2 / 20), "xavier": math.sqrt(2 / 50), "lecun": math.sqrt(1 / 20), "normal(0.02)": 0.02}
    )
    assert b["he"] == pytest.approx(math.sqrt(2 / 36)) and b["xavier"] == pytest.approx(math.sqrt(2 / (36 + 72)))
    assert c is None


# ---- the same for any threads, files and orders


def test_the_same_for_any_number_of_threads(file, tmp_path):
    """Tensors of many pieces, and rows of more than one."""
    arrays = {"a": normal((3000, 1111)), "long": normal((3, 1_500_000), 1), "b": normal((999, 3001), 2, "bfloat16")}
    arrays["a"][2999], arrays["long"][2] = arrays["a"][17], arrays["long"][0]
    arrays["a"][:, 1110] = arrays["a"][:, 4]
    save(file, arrays)
    one = audit(file, threads=1)
    assert flagged(one) == [("a", "duplicate_rows"), ("a", "duplicate_units"), ("long", "duplicate_rows")]
    assert "rows 17 and 2,999" in one.flags[0].why and "units 4 and 1,110" in one.flags[1].why
    assert "rows 0 and 2" in one.flags[2].why
    for threads in (2, 3, 7):
        assert audit(file, threads=threads) == one


def test_npz_in_every_form(tmp_path):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((300, 400)).astype(np.float32)
    a[:, 7] = a[:, 300]
    a[40] = a[2]
    plain = {"a": a, "b": rng.standard_normal((50, 60)), "i": np.arange(5)}
    forms = {
        "plain": plain,
        "fortran": {name: np.asfortranarray(array) for name, array in plain.items()},
        "swapped": {name: array.astype(array.dtype.newbyteorder(">")) for name, array in plain.items()},
    }
    expected = None
    for form, arrays in forms.items():
        for write in (np.savez, np.savez_compressed):
            path = tmp_path / f"{form}.npz"
            write(path, **arrays)
            found = audit(path)
            assert flagged(found) == [("a", "duplicate_rows"), ("a", "duplicate_units")], form
            assert [re.findall(r"\d+", flag.why) for flag in found.flags] == [["2", "40"], ["7", "300"]]
            for each in found.tensors:
                check_numbers(each, plain[each.name])
            expected = expected or found.tensors[0].stable_rank
            assert found.tensors[0].stable_rank == pytest.approx(expected, rel=1e-9)


def test_npz_of_bfloat16(tmp_path):
    array = normal((30, 40), 0, "bfloat16")
    np.savez(tmp_path / "m.npz", w=array)
    check_numbers(audit(tmp_path / "m.npz").tensors[0], array)


def test_fortran_order_against_a_plan(tmp_path):
    plan = Plan({"a": Param((70, 50), winit.he_normal()), "q": Param((30, 20), winit.orthogonal())})
    arrays = {name: np.asfortranarray(array) for name, array in plan.build(seed=3).items()}
    arrays["a"][5, 5] = 9
    np.savez(tmp_path / "m.npz", **arrays)
    found = audit(tmp_path / "m.npz", plan, seed=3)
    assert [each.unchanged for each in found.tensors] == [1 - 1 / 3500, 1.0]


def test_shards_of_a_folder(tmp_path):
    a, b = normal((30, 40)), normal((30, 40), 1)
    save(tmp_path / "1.safetensors", {"h.0.w": a})
    save(tmp_path / "2.safetensors", {"h.1.w": b, "h.2.w": a, "stray": b})
    index = {"weight_map": {"h.0.w": "1.safetensors", "h.1.w": "2.safetensors", "h.2.w": "2.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    for path in (tmp_path, tmp_path / "m.safetensors.index.json"):
        found = audit(path)
        assert flagged(found) == [("h.2.w", "equal_tensors")]
        assert found.flags[0].why == "has the bytes of h.0.w"
        assert "stray" in found.notes[0]


# ---- flags


def layers(std=0.02, count=6, shape=(64, 96)):
    return {f"h.{i}.w": normal(shape, i, std=std) for i in range(count)} | {
        f"h.{i}.b": np.zeros(64, "f4") for i in range(count)
    }


def plant_nan(arrays):
    arrays["h.2.w"][3, 4] = np.nan


def plant_inf(arrays):
    arrays["h.2.w"][3, 4] = -np.inf


def plant_rows(arrays):
    arrays["h.2.w"][30] = arrays["h.2.w"][3]


def plant_units(arrays):
    arrays["h.2.w"][:, 30] = arrays["h.2.w"][:, 3]


def plant_zeros(arrays):
    arrays["h.2.w"][...] = 0


def plant_copy(arrays):
    arrays["h.2.w"][...] = arrays["h.1.w"]


def plant_root(root):
    def plant(arrays):
        arrays["h.2.w"] *= np.float32(root)

    return plant


PLANTED = {
    "nan": (plant_nan, "nan"),
    "inf": (plant_inf, "inf"),
    "rows": (plant_rows, "duplicate_rows"),
    "units": (plant_units, "duplicate_units"),
    "zeros": (plant_zeros, "zeroed"),
    "copy": (plant_copy, "equal_tensors"),
    **{f"x sqrt {k}": (plant_root(math.sqrt(k)), "fan_off") for k in (2, 4, 8)},
    **{f"/ sqrt {k}": (plant_root(1 / math.sqrt(k)), "fan_off") for k in (2, 4, 8)},
}


@pytest.mark.parametrize("case", PLANTED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_planted_fault_is_found_and_no_other(file, case, dtype):
    plant, flag = PLANTED[case]
    arrays = layers()
    plant(arrays)
    arrays = {name: array.astype(getattr(ml_dtypes, dtype, dtype)) for name, array in arrays.items()}
    assert flagged(audit(save(file, arrays))) == [("h.2.w", flag)]


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_fault_is_found_with_a_plan(file, case):
    """In a fresh file of a plan: all other tensors are as they were drawn, and are not flagged for it."""
    plan = Plan(
        {f"h.{i}.{name}": shape for i in range(6) for name, shape in (("w", (64, 96)), ("b", (64,)))},
        [("*.b", winit.zeros()), ("*", winit.normal(std=0.02))],
    )
    plant, flag = PLANTED[case]
    arrays = plan.build(seed=7)
    plant(arrays)
    save(file, arrays)
    assert flagged(audit(file, plan, seed=7)) == [("h.2.w", flag)]


@pytest.mark.parametrize("case", ["nan", "inf", "rows", "units", "zeros", "copy"])
def test_a_planted_fault_is_found_in_a_trained_file(file, case):
    plant, flag = PLANTED[case]
    arrays = trained(layers())
    plant(arrays)
    assert flagged(audit(save(file, arrays))) == [("h.2.w", flag)]


def trained(arrays):
    """Weights as training leaves them: other scales, heavier tails, a mean."""
    for at, (name, array) in enumerate(arrays.items()):
        rng = np.random.default_rng(100 + at)
        arrays[name] = (array * rng.uniform(0.5, 3) + 0.01 * rng.standard_t(3, array.shape)).astype(np.float32)
    return arrays


def test_fan_off_of_all_by_the_plan(file):
    """A fan taken from a shard is every layer's: siblings say nothing, the plan does."""
    plan = Plan(
        {f"h.{i}.w": (64, 96) for i in range(6)} | {f"h.{i}.v": (96, 64) for i in range(6)}, [("*", winit.he_normal())]
    )
    arrays = plan.build(seed=0)
    for i in range(6):
        arrays[f"h.{i}.w"] *= 2
    save(file, arrays)
    assert audit(file).ok
    found = audit(file, plan, seed=0)
    assert flagged(found) == [(f"h.{i}.w", "fan_off") for i in range(6)]
    assert "sqrt(4) times the plan's 0.144338" in found.flags[0].why


def test_other_factors_are_no_fan_off(file):
    for factor in (1.25, 1.7, 3.0, 1.05):
        arrays = layers()
        arrays["h.2.w"] *= np.float32(factor)
        assert audit(save(file, arrays)).ok, factor


def test_depth_scaled_layers_are_not_flagged(file):
    for count in (3, 4, 5, 6, 12, 30):
        arrays = {f"h.{i}.w": normal((64, 96), i, std=0.02 / math.sqrt(2 * (i + 1))) for i in range(count)}
        assert audit(save(file, arrays)).ok, count


@pytest.mark.parametrize("seed", range(5))
def test_trained_layers_are_not_fan_off(file, seed):
    rng = np.random.default_rng(seed)
    arrays = {f"h.{i}.w": (normal((40, 30), i) * math.sqrt(2) ** rng.integers(-2, 3)).astype("f4") for i in range(8)}
    assert [flag for flag in audit(save(file, trained(arrays))).flags if flag.flag == "fan_off"] == []


@pytest.mark.parametrize("seed", range(10))
def test_trained_layers_are_not_fan_off_of_their_plan(file, seed):
    """At sizes where a std is known to 2%, so that roots of small numbers are near to much."""
    shape = [(40, 30), (64, 64), (1000, 2), (128, 128)][seed % 4]
    plan = Plan({f"h.{i}.{name}": shape for i in range(8) for name in "wv"}, [("*", winit.normal(std=0.02))])
    found = audit(save(file, trained(plan.build(seed=seed))), plan, seed=seed)
    assert found.flags == ()
    assert found.notes == ("most standard deviations are not the plan's: fan_off is judged by siblings alone",)


@pytest.mark.parametrize(
    ("scheme", "layout"),
    [
        (winit.sparse(k=5), "oi"),
        (winit.uniform(0, 0.02), "oi"),
        (winit.truncated_normal(std=0.1), "oi"),
        (winit.orthogonal(), "oi"),
        (winit.embedding(padding=0), "oi"),
        (winit.xavier_normal(), winit.Axes(1, 0, splits=(60, 20, 20))),
    ],
)
def test_fan_off_of_laws_of_every_shape(file, scheme, layout):
    plan = Plan({f"{name}.w": Param((100, 60), scheme, layout=layout) for name in "abcdef"})
    arrays = plan.build(seed=0)
    assert audit(save(file, arrays), plan, seed=0).ok
    arrays["c.w"] *= np.float32(math.sqrt(2))
    assert flagged(audit(save(file, arrays), plan, seed=0)) == [("c.w", "fan_off")]


def test_untrained(file):
    plan = Plan(
        {f"h.{i}.{name}": (40, 30) for i in range(4) for name in "wv"} | {"b": (40,)},
        [("b", winit.ones()), ("*", winit.he_normal())],
    )
    arrays = plan.build(seed=2)
    for name, array in arrays.items():
        if name not in ("h.1.w", "h.3.v", "b"):
            arrays[name] = array + np.float32(0.01) * normal(array.shape, 9)
    save(file, arrays)
    found = audit(file, plan, seed=2)
    assert flagged(found) == [("h.1.w", "untrained"), ("h.3.v", "untrained")]
    assert {each.name: each.unchanged for each in found.tensors}["b"] is None
    assert flagged(audit(file, plan, seed=3)) == []
    # The whole file as drawn is no fault, and neither is a part of a tensor.
    plan.write(file, seed=2, overwrite=True)
    whole = audit(file, plan, seed=2)
    assert whole.ok and whole.notes == ("8 of 8 drawn tensors are what the plan draws: the file is not trained",)
    arrays = plan.build(seed=2)
    arrays["h.0.w"][:10] += 1
    part = audit(save(file, arrays), plan, seed=2)
    assert part.ok and part.tensors[list(arrays).index("h.0.w")].unchanged == 0.75


def test_a_file_in_another_narrow_dtype_is_the_same_draw(file):
    plan = Plan({"a": (40, 30), "q": Param((30, 30), winit.orthogonal())}, [("*", winit.he_normal())])
    plan.with_dtype("bfloat16").write(file, seed=1)
    assert [each.unchanged for each in audit(file, plan, seed=1).tensors] == [1.0, 1.0]


@pytest.mark.parametrize("recipe", recipes.names())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
def test_a_fresh_recipe_has_no_flags(file, recipe, dtype):
    plan = recipes.load(recipe, **SMALL[recipe]).with_dtype(dtype)
    plan.write(file, seed=1)
    for found in (audit(file), audit(file, plan, seed=1)):
        assert found.flags == ()
        assert len(found.tensors) == len(plan.stored)
    assert all(each.unchanged in (None, 1.0) for each in found.tensors)


@pytest.mark.parametrize("shape", [(30_000, 2), (30_000, 3), (300_000, 1), (2, 30_000), (200, 100, 3)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_rows_that_are_equal_by_chance_are_not_flagged(file, shape, dtype):
    plan = Plan({"w": Param(shape, winit.normal(), dtype)})
    plan.write(file, seed=0)
    assert audit(file).ok


def test_what_tells():
    """The rule written out: pairs times collision^elements, below a millionth over four kinds in all tensors."""
    assert flags.tells(100, 10, 1e-3, 5)
    assert not flags.tells(100, 3, 1e-3, 5)
    pairs, limit = 100 * 99 / 2, 1e-6 / (4 * 5)
    edge = (limit / pairs) ** (1 / 4)
    assert flags.tells(100, 4, edge * 0.99, 5) and not flags.tells(100, 4, edge * 1.01, 5)
    assert not flags.tells(1, 10, 1e-3, 5) and not flags.tells(100, 10, 1.0, 5)


def test_the_bound_of_collisions_bounds(file):
    """By brute force over pairs of what is drawn, with room for 4 times as many."""
    for dtype in FLOATS:
        array = normal((4000,), 5, dtype)
        gathered = statistics.Gathered(statistics.Stored(entry_of(save(file, {"w": array}))))
        gathered.add(array.view(gathered.stored.kind), 0)
        words = array.view(f"u{array.itemsize}")
        equal = (np.sum(words[:, None] == words[None, :]) - len(words)) / (len(words) * (len(words) - 1))
        assert gathered.summary().collision >= min(1, 4 * equal)
        assert gathered.summary().collision <= 4.2 * equal + 1e-3


def entry_of(path):
    from winit._files.collecting import collect

    return next(iter(collect(path).entries.values()))


# ---- what is no fault


def test_constants_and_masks_are_no_duplicates(file):
    mask = np.tril(np.ones((1, 1, 64, 64), "f4"))
    infinite = np.where(mask > 0, np.float32(0), np.float32(-np.inf))
    arrays = {f"h.{i}.mask": mask for i in range(3)} | {f"h.{i}.infinite": infinite for i in range(3)}
    arrays |= {f"h.{i}.ones": np.ones((30, 40), "f4") for i in range(3)}
    arrays |= {f"h.{i}.inv_freq": (10_000.0 ** -(np.arange(32) / 32)).astype("f4") for i in range(3)}
    arrays |= {f"h.{i}.A_log": np.log(np.tile(np.arange(1, 17, dtype="f4"), (64, 1))) for i in range(3)}
    arrays |= {f"h.{i}.positions": np.arange(64)[None] for i in range(3)}
    arrays |= {f"bn.{i}.num_batches_tracked": np.array(7) for i in range(3)}
    arrays |= {f"bn.{i}.running_var": np.ones(64, "f4") for i in range(3)}
    arrays |= {"eye": np.eye(64, dtype="f4"), "padded": normal((64, 32))}
    arrays["padded"][[0, 7, 63]] = 0
    found = audit(save(file, arrays))
    assert found.flags == ()
    assert found.notes == ("h.0.A_log and 2 more: all rows are one and the same, as a table's are: not flagged",)


def test_rows_of_a_layer_that_a_plan_draws_are_no_table(file):
    plan = Plan({"w": (64, 30), "v": (64, 30)}, [("*", winit.he_normal())])
    arrays = plan.build(seed=0)
    arrays["w"][...] = arrays["w"][0]
    assert ("w", "duplicate_rows") in flagged(audit(save(file, arrays), plan, seed=0))


def test_zeros_that_all_layers_have_are_no_fault(file):
    arrays = {f"h.{i}.conv{at}": normal((30, 40), 10 * i + at) for i in range(4) for at in (1, 3)}
    arrays |= {f"h.{i}.conv2": np.zeros((30, 40), "f4") for i in range(4)} | {"head": np.zeros((5, 30), "f4")}
    assert audit(save(file, arrays)).ok
    arrays["h.2.conv1"][...] = 0
    assert flagged(audit(save(file, arrays))) == [("h.2.conv1", "zeroed")]


def test_equal_rows_are_counted(file):
    array = normal((500, 64))
    array[[10, 20, 30]] = array[5]
    array[[400, 401]] = array[300]
    found = audit(save(file, {"wte": array}))
    assert found.tensors[0].equal_rows == 5 and found.tensors[0].equal_units == 0
    assert found.flags == (Flag("wte", "duplicate_rows", "5 rows equal earlier ones: rows 5 and 10 are equal"),)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_equal_slices_are_those_of_brute_force(tmp_path, data):
    shape = tuple(data.draw(st.lists(st.integers(2, 9), min_size=2, max_size=4)))
    dtype = data.draw(st.sampled_from(["float32", "bfloat16", "float8_e5m2", "float64"]))
    array = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, shape).astype(np.float32)
    array = (array * np.random.default_rng(1).choice([1, 1, -1], shape)).astype(getattr(ml_dtypes, dtype, dtype))
    stored = statistics.Stored(entry_of(save(tmp_path / "m", {"w": array})))
    descriptor = os.open(tmp_path / "m", os.O_RDONLY)
    try:
        for axis in range(len(shape)):
            slices = np.moveaxis(array, axis, 0)
            kinds = {}
            for index, part in enumerate(slices):
                if len(np.unique(np.asarray(part, np.float64))) > 1:
                    kinds.setdefault(part.tobytes(), []).append(index)
            expected = sorted(group for group in kinds.values() if len(group) > 1)
            assert duplicates.equal_along(stored, descriptor, axis) == expected
            if axis == 0:
                raw = np.ascontiguousarray(array).view(np.uint8).reshape(shape[0], -1)
                hashes = statistics.hashes(raw)
                assert duplicates.equal_rows(stored, descriptor, hashes) == expected
                # Where hashes tell nothing apart, bytes do.
                assert duplicates.equal_rows(stored, descriptor, np.zeros_like(hashes)) == expected
    finally:
        os.close(descriptor)


def test_units_of_jax_layouts_are_those_of_the_plan(file):
    """Output channels of (kh, kw, in, out) are the last axis, which only a layout tells."""
    plan = Plan({"conv": Param((3, 3, 8, 16), winit.he_normal(), layout="io")})
    arrays = plan.build(seed=0)
    arrays["conv"][..., 9] = arrays["conv"][..., 2]
    save(file, arrays)
    found = audit(file, plan, seed=0)
    assert flagged(found) == [("conv", "duplicate_units")] and "units 2 and 9" in found.flags[0].why
    assert found.tensors[0].laws["he"] == pytest.approx(math.sqrt(2 / 72))


def test_copies_of_one_key_are_meant(file):
    plan = Plan(
        {
            "a": Param((30, 20), winit.normal()),
            "b": Param((30, 20), winit.normal(), key="a"),
            "c": Param((30, 20), winit.normal()),
        }
    )
    plan.write(file, seed=0)
    assert audit(file, plan, seed=0).ok
    assert flagged(audit(file)) == [("b", "equal_tensors")]


def test_dtypes_that_nobody_interprets_are_bytes(file):
    raw = np.random.default_rng(0).integers(0, 256, 600).astype(np.uint8).tobytes()
    arrays = {"a": ("F8_E8M0", (20, 30), raw), "b": ("F4", (40, 30), raw), "c": ("F8_E8M0", (20, 30), raw)}
    arrays |= {"d": np.ones((5, 4), np.complex64), "z": ("F8_E8M0", (20, 30), bytes(600))}
    found = audit(save(file, arrays))
    assert flagged(found) == [("c", "equal_tensors")]
    assert [(each.dtype, each.shape, each.mean) for each in found.tensors[:2]] == [
        ("F8_E8M0", (20, 30), None),
        ("F4", (40, 30), None),
    ]
    assert found.tensors[1].elements == 1200


# ---- against another file


def test_changes(file, tmp_path):
    a = {
        "same": normal((30, 40)),
        "moved": normal((30, 40), 1),
        "shape": normal(5),
        "here": normal(3),
        "narrow": normal((20, 9), 2),
    }
    b = dict(a, moved=a["moved"] + normal((30, 40), 7, std=0.1), shape=normal(6), there=normal(3))
    b["narrow"] = a["narrow"].astype(ml_dtypes.bfloat16)
    del b["here"]
    found = audit(save(file, a), against=save(tmp_path / "b", b))
    changes = {each.tensor: each for each in found.changes}
    assert found.ok and list(changes) == ["same", "moved", "shape", "here", "narrow", "there"]
    assert (changes["same"].what, changes["same"].largest, changes["same"].relative) == ("equal", 0, 0)
    assert changes["same"].cosine == pytest.approx(1)
    one, other = a["moved"].astype(float), b["moved"].astype(float)
    assert changes["moved"].what == "changed"
    assert changes["moved"].largest == np.abs(one - other).max()
    assert changes["moved"].relative == pytest.approx(np.linalg.norm(one - other) / np.linalg.norm(other))
    assert changes["moved"].cosine == pytest.approx((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))
    assert [changes[name].what for name in ("shape", "here", "there")] == [
        "shape 5, there 6",
        "only here",
        "only there",
    ]
    assert changes["narrow"].what == "changed, float32 here and bfloat16 there"
    assert 0 < changes["narrow"].relative < 2**-8


def test_changes_between_orders(tmp_path):
    array = normal((300, 40))
    other = array.copy()
    other[3, 5] += 1
    np.savez(tmp_path / "a.npz", w=array)
    np.savez_compressed(tmp_path / "b.npz", w=np.asfortranarray(other))
    for one, two in (("a", "b"), ("b", "a")):
        (change,) = audit(tmp_path / f"{one}.npz", against=tmp_path / f"{two}.npz").changes
        assert (change.what, change.largest) == ("changed", pytest.approx(1, rel=1e-6))
    np.savez(tmp_path / "a.npz", w=other)
    assert audit(tmp_path / "a.npz", against=tmp_path / "b.npz").changes[0].what == "equal"


# ---- errors


def test_errors_are_in_the_callers_terms(file, tmp_path):
    plan = Plan({"w": (3, 4)}, [("*", winit.normal())])
    save(file, {"v": normal((3, 4))})
    (tmp_path / "no").write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "empty").mkdir()
    for error, match, call in (
        (TypeError, "^path must be a str or os.PathLike, not int$", lambda: audit(3)),
        (TypeError, "^path must be a str or os.PathLike, not list$", lambda: audit([file])),
        (TypeError, "^against must be a str or os.PathLike, not int$", lambda: audit(file, against=3)),
        (TypeError, "^plan must be a winit.Plan, not dict$", lambda: audit(file, {}, seed=0)),
        (TypeError, "^seed must be given with a plan", lambda: audit(file, plan)),
        (TypeError, "^plan must be given with a seed", lambda: audit(file, seed=0)),
        (ValueError, "^seed must", lambda: audit(file, plan, seed=-1)),
        (ValueError, "^threads must be at least 1", lambda: audit(file, threads=0)),
        (TypeError, "^progress must be a function or None", lambda: audit(file, progress=3)),
        (ValueError, "has no tensor of a name and shape that the plan has$", lambda: audit(file, plan, seed=0)),
        (ValueError, "is a GGUF file$", lambda: audit(tmp_path / "no")),
        (ValueError, "is a GGUF file$", lambda: audit(file, against=tmp_path / "no")),
        (FileNotFoundError, "absent", lambda: audit(tmp_path / "absent")),
        (FileNotFoundError, "holds no safetensors file", lambda: audit(tmp_path / "empty")),
    ):
        with pytest.raises(error, match=match):
            call()


def test_a_bool_of_other_bytes_is_refused(file):
    with pytest.raises(ValueError, match="'m' of .* is bool and has bytes other than 0 and 1$"):
        audit(save(file, {"m": ("BOOL", (3,), b"\0\1\2")}))


def test_a_file_that_changes_meanwhile_is_an_error(file):
    save(file, {"w": normal((30, 40))})

    def meddle(done, total):
        os.utime(file, ns=(1, 1))

    with pytest.raises(ValueError, match="has changed"):
        audit(file, progress=meddle)


def test_progress_counts_all_bytes(file, tmp_path):
    save(file, {"w": normal((3000, 1000)), "i": np.arange(4)})
    told = []
    audit(file, progress=lambda done, total: told.append((done, total, threading.get_ident())))
    assert told[0][:2] == (0, 12_000_032) and told[-1][:2] == (12_000_032, 12_000_032)
    told.clear()
    audit(file, against=file, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (24_000_064, 24_000_064) and told == sorted(told)


def test_memory_does_not_grow_with_the_file(file):
    """Zeros, numbers of two bytes and rows of more than a piece, a quarter of a gigabyte each, in a file with holes."""
    header, end = {}, 0
    tensors = (("a", "F32", [70_000, 900], 4), ("b", "BF16", [70_000, 1800], 2), ("c", "F64", [3, 10_000_000], 8))
    for name, code, shape, size in tensors:
        begin, end = end, end + math.prod(shape) * size
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)
    code = """
import resource, sys, winit
from winit.checkpoint import audit
audit(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert audit(sys.argv[1], threads=2).ok
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    small = save(file.with_name("small"), {"w": normal((30, 40))})
    done = subprocess.run([sys.executable, "-c", code, file, small], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000  # kilobytes, of 740 MB


# ---- the command line


def test_the_table_folds_layers(run, file):
    arrays = layers()
    plant_nan(arrays)
    save(file, arrays)
    status, out, err = run("audit", file)
    assert (status, err) == (1, "")
    header, *rows = out.splitlines()
    assert header.split() == [
        "name",
        "tensors",
        "shape",
        "dtype",
        "mean",
        "std",
        "min",
        "max",
        "zeros",
        "near",
        "rank",
        "flags",
    ]
    assert [row.split()[:3] for row in rows[:3]] == [
        ["h.{0..1,3..5}.w", "x5", "64x96"],
        ["h.2.w", "64x96", "float32"],
        ["h.{0..5}.b", "x6", "64"],
    ]
    assert rows[1].split()[-1] == "nan"
    assert rows[3:] == ["h.2.w: nan: 1 of 6,144 elements are NaN", f"{file}: 12 tensors, 148,992 bytes: 1 flag"]
    assert len(run("audit", file, "--all")[1].splitlines()) == 12 + 3
    assert run("audit", file, "--quiet") == (1, "", "")
    assert run("audit", save(file, layers()), "--quiet") == (0, "", "")


def test_json_is_the_audit(run, file, tmp_path):
    arrays = layers() | {"wild": np.array([1e308, -1e308, 1e308]), "none": np.zeros((0, 3), "f4")}
    plant_copy(arrays)
    save(file, arrays)
    status, out, err = run("audit", file, "--json", "--against", file)
    found = json.loads(out, parse_constant=lambda word: pytest.fail(word))
    assert (status, err, found) == (1, "", audit(file, against=file).to_dict())
    assert set(found) == {"tensors", "flags", "notes", "changes"}
    assert found["flags"] == [{"tensor": "h.2.w", "flag": "equal_tensors", "why": "has the bytes of h.1.w"}]
    assert list(found["tensors"][0])[:5] == ["name", "dtype", "shape", "elements", "mean"]


def test_csv_has_a_row_for_every_tensor(run, file):
    arrays = layers() | {'a,"b"': normal((3, 4))}
    status, out, err = run("audit", save(file, arrays), "--csv", "--against", file)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (status, err, [row["name"] for row in rows]) == (0, "", list(arrays))
    assert float(rows[0]["std"]) == audit(file).tensors[0].std and rows[0]["shape"] == "64x96"
    assert all(row["what"] == "equal" and None not in row for row in rows)


def test_plan_and_changes_in_the_table(run, file, tmp_path):
    spec = tmp_path / "plan.toml"
    spec.write_text(
        '[parameters]\nn = 4\n[tensors]\n"h.{0..n-1}.w" = { shape = [40, 30] }\n'
        '[[rules]]\nmatch = "*"\nscheme = "he_normal()"\n'
    )
    plan = Plan.from_toml(spec, {"n": 5})
    arrays = plan.build(seed=3)
    for i in (0, 1, 2, 4):
        arrays[f"h.{i}.w"] = arrays[f"h.{i}.w"] + np.float32(0.01)
    save(file, arrays)
    plan.write(tmp_path / "before", seed=3)
    status, out, err = run("audit", file, spec, "--seed", 3, "--set", "n=5", "--against", tmp_path / "before")
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert "unchanged" in lines[0] and lines[2].split()[-2:] == ["1", "untrained"]
    assert [line.split()[:2] for line in lines[3:6]] == [
        ["against", str(tmp_path / "before")],
        ["h.{0..2,4}.w", "x4"],
        ["h.3.w", "equal"],
    ]
    assert "h.3.w: untrained: all 1,200 elements are what the plan drew, and others are not" in lines


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(run, file, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    arrays = layers() | {"odd $name\n": normal((5, 4))}
    plant_nan(arrays)
    save(file, arrays)
    page = tmp_path / f"page.{suffix}"
    assert run("audit", file, "--plot", page, "--quiet") == (1, "", "")
    data = page.read_bytes()
    assert data.startswith(b"\x89PNG") if suffix == "png" else b"<svg" in data
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.safetensors", page.name]
    status, out, err = run("audit", file, "--plot", page)
    assert (status, out) == (2, "") and "exists already" in err and page.read_bytes() == data
    assert run("audit", file, "--plot", page, "--overwrite", "--quiet")[0] == 1
    assert run("audit", save(file, {"i": np.arange(3)}), "--plot", page, "--overwrite", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["-"], "FILE - is refused"),
        ([""], "FILE must name a safetensors or npz file, not ''"),
        (["{file}", "--against", "-"], "--against - is refused"),
        (["{file}", "--seed", "1"], "--seed needs SPEC"),
        (["{file}", "--dtype", "float16"], "--dtype needs SPEC"),
        (["{file}", "--set", "n=1"], "--set needs SPEC"),
        (["{file}", "gpt2"], "SPEC needs --seed N"),
        (["{file}", "gpt2", "--seed", "1"], "has no tensor of a name and shape that the plan has"),
        (["{file}", "--json", "--csv"], "not allowed with"),
        (["{file}", "--overwrite"], "--overwrite needs --plot FILE"),
        (["{file}", "--plot", "page.pdf"], r"must end in \.png or \.svg, not 'page.pdf'"),
        (["{file}", "--plot", "-"], "--plot - is refused"),
        (["{file}", "--plot", "absent/page.png"], "absent/page.png: No such file or directory"),
        (["absent.safetensors"], "absent.safetensors: No such file or directory"),
        (
            ["{file}", "--against", "m.safetensor"],
            "m.safetensor: No such file or directory; did you mean m.safetensors",
        ),
    ],
)
def test_errors_of_the_command_line(run, file, tmp_path, monkeypatch, arguments, match):
    monkeypatch.chdir(tmp_path)
    save(file, layers())
    status, out, err = run("audit", *(argument.format(file=file) for argument in arguments))
    assert (status, out) == (2, "")
    assert re.fullmatch(r"winit: error: [^\n]+\n", err) and re.search(match, err), err
    assert [each.name for each in tmp_path.iterdir()] == ["m.safetensors"]


def test_without_matplotlib_a_plot_says_what_to_install(file, tmp_path):
    save(file, layers())
    code = "import sys; sys.modules['matplotlib'] = None; from winit.cli import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "audit", str(file)]
    done = subprocess.run([*line, "--plot", str(tmp_path / "p.png")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "winit: error: pictures need the package matplotlib, which is not installed: pip install 'winit[plot]'\n"
    )
    assert subprocess.run([*line, "--quiet"]).returncode == 0


def test_names_are_safe_for_a_terminal(run, file):
    hostile = "a\x1b[31m\nb"
    arrays = {hostile: normal((20, 30))}
    arrays[hostile][4] = arrays[hostile][2]
    save(file, arrays)
    for options in ([], ["--csv"], ["--json"], ["--against", file]):
        status, out, err = run("audit", file, *options)
        assert status == 1 and all(line.isprintable() for line in (out + err).splitlines())


def test_audits_are_frozen_and_print():
    found = Audit((), ())
    assert found.ok and found.to_dict() == {"tensors": [], "flags": [], "notes": []}
    with pytest.raises(AttributeError):
        found.flags = ()
    assert auditing.__all__ == ["audit"]
