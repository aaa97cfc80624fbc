from __future__ import annotations

import copy
import gc
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from hashlib import blake2b

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import winit
from winit import Axes, Param, Plan, Rule
from winit._plans import globs

FLOATS = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def tensor(text: str, name: str = "w") -> str:
    return f"[tensors]\n{json.dumps(name)} = {{ {text} }}\n"


def scheme_of(text: str) -> winit.Scheme:
    return Plan.from_toml(tensor(f"shape = [2, 2], scheme = {json.dumps(text)}"))["w"].scheme


# ---- Param


def test_param_defaults():
    param = Param((3, 4), scheme=winit.normal())
    assert (param.shape, param.dtype, param.layout, param.key, param.tied) == ((3, 4), None, None, None, None)
    assert Plan({"a": param})["a"] == Param((3, 4), winit.normal(), "float32", "oi")


@pytest.mark.parametrize(
    ("given", "shape"), [(5, (5,)), ([2, 3], (2, 3)), ((), ()), (np.int64(4), (4,)), (range(2, 0, -1), (2, 1))]
)
def test_param_shape_becomes_a_tuple_of_ints(given, shape):
    found = Param(given, scheme=winit.zeros()).shape
    assert found == shape
    assert all(type(size) is int for size in found)


@pytest.mark.parametrize(
    ("given", "name", "itemsize"),
    [
        ("float32", "float32", 4),
        (np.float64, "float64", 8),
        (np.dtype(np.float16), "float16", 2),
        ("bfloat16", "bfloat16", 2),
        (bool, "bool", 1),
        ("u2", "uint16", 2),
        ("complex64", "complex64", 8),
    ],
)
def test_param_dtype_becomes_its_name(given, name, itemsize):
    param = Param((3, 5), winit.zeros(), given)
    assert (param.dtype, param.itemsize, param.size, param.nbytes) == (name, itemsize, 15, 15 * itemsize)


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"shape": "ab"}, TypeError, r"^shape must be a sequence of integers, not str$"),
        ({"shape": None}, TypeError, r"^shape must be a sequence of integers, not NoneType$"),
        ({"shape": (2.0,)}, TypeError, r"^shape must hold integers, not 2\.0$"),
        ({"shape": (True,)}, TypeError, r"^shape must hold integers, not True$"),
        ({"shape": (2, -1)}, ValueError, r"^shape must not hold negative sizes: \(2, -1\)$"),
        ({"shape": (1 << 32, (1 << 31) + 1)}, ValueError, r"more than 2\^63$"),
        ({"dtype": "float99"}, TypeError, r"^dtype must be .*, not 'float99' \(did you mean"),
        ({"dtype": "object"}, TypeError, r"^dtype must be boolean, integer, real or complex, not object$"),
        ({"dtype": "float128"}, ValueError, r"^dtype must be one of float32, .*, not 'float128'$"),
        ({"dtype": "complex128"}, ValueError, r"^dtype must be one of float32, .*, not 'complex128'$"),
        ({"dtype": ">f4"}, ValueError, r"^dtype must be in native byte order, not '>f4'$"),
        # NumPy parses such text as Python and lets its SyntaxError through.
        ({"dtype": ","}, TypeError, r"^dtype must be .*, not ','$"),
        ({"dtype": "(2,f4"}, TypeError, r"^dtype must be .*, not '\(2,f4'$"),
        ({"scheme": "normal()"}, TypeError, r"^scheme must be a winit scheme such as .*, not 'normal\(\)'; text"),
        (
            {"scheme": winit.normal},
            TypeError,
            r"^scheme must be a winit scheme such as .*, not <class .* did you mean normal\(\)\?$",
        ),
        ({"layout": "hwio"}, ValueError, r"^layout must be 'oi', 'io' or winit\.Axes, not 'hwio'$"),
        ({"layout": 3}, TypeError, r"^layout must be 'oi', 'io' or winit\.Axes, not int$"),
        ({"key": 3}, TypeError, r"^key must be a str or None, not int$"),
        ({"tied": b"x"}, TypeError, r"^tied must be a str or None, not bytes$"),
        ({"tied": "x", "key": "y"}, ValueError, r"^a tied tensor has neither scheme nor key .*'x'"),
        ({"tied": "x", "scheme": winit.zeros()}, ValueError, r"^a tied tensor has neither scheme nor key .*'x'"),
    ],
)
def test_param_refuses(fields, error, match):
    with pytest.raises(error, match=match):
        Param(**{"shape": (2, 2), **fields})


def test_param_is_frozen():
    param = Param((2,), scheme=winit.zeros())
    with pytest.raises(FrozenInstanceError):
        param.shape = (3,)


# ---- rules


def test_first_matching_rule_wins():
    plan = Plan(
        {"a.weight": (2, 2), "a.bias": (2,), "b": (2,)},
        rules=[("*.bias", winit.zeros()), ("a.*", winit.ones()), ("*", winit.constant(3))],
    )
    assert [param.scheme for param in plan.values()] == [winit.ones(), winit.zeros(), winit.constant(3)]


@pytest.mark.parametrize(
    ("glob", "name", "matches"),
    [
        ("*", "", True),
        ("h.*.weight", "h.0.mlp.fc.weight", True),
        ("*norm*", "model.layers.0.input_layernorm.weight", True),
        ("*.Weight", "a.weight", False),
        ("A.*", "a.weight", False),
        ("h.?.w", "h.1.w", False),
        ("h.?.w", "h.?.w", True),
        ("h.[01].w", "h.1.w", False),
        ("h.[01].w", "h.[01].w", True),
        ("['Dense_0']['kernel']", "['Dense_0']['kernel']", True),
        ("*['kernel']", "['Dense_0']['kernel']", True),
        ("layers[0].*", "layers[0].scale", True),
        ("h", "h.w", False),
        ("*.w", "a\n.w", True),
    ],
)
def test_globs(glob, name, matches):
    rules = [Rule(glob, winit.ones(), optional=not matches), ("*", winit.zeros())]
    assert Plan({name: (2,)}, rules)[name].scheme == (winit.ones() if matches else winit.zeros())
    assert globs.matches(glob, name) == matches
    text = f"{tensor('shape = [2]', name)}[[rules]]\nmatch = {json.dumps(glob)}\nscheme = 'ones()'\n"
    if matches:
        assert Plan.from_toml(text)[name].scheme == winit.ones()
    else:
        with pytest.raises(ValueError, match=r"^the pattern .* matches no name"):
            Plan.from_toml(text)
        with pytest.raises(ValueError, match=r"has no scheme, and no rule matches its name"):
            Plan.from_toml(f"{text}optional = true\n")


def test_rule_gives_layout_and_dtype():
    plan = Plan({"a": (4, 8), "b": (4, 8)}, rules=[("a", winit.lecun_normal(), "io", "float16"), ("*", winit.ones())])
    assert plan["a"] == Param((4, 8), winit.lecun_normal(), "float16", "io")
    assert plan["b"] == Param((4, 8), winit.ones(), "float32", "oi")


def test_rule_leaves_alone_what_a_param_says():
    own = Param((4, 8), winit.normal(), "float64", "io")
    half = Param((4, 8), dtype="float64", layout=Axes(0, 1))
    plan = Plan({"a": own, "b": half}, rules=[("*", winit.zeros(), "oi", "float16")])
    assert plan["a"] == own
    assert plan["b"] == replace(half, scheme=winit.zeros())


def test_rule_shape_decides_fans_by_layout():
    plan = Plan({"a": (4, 9), "b": (4, 9)}, rules=[("a", winit.lecun_normal(), "io"), ("b", winit.lecun_normal())])
    stds = [param.scheme.moments(param.shape, param.layout).std for param in plan.values()]
    assert stds == [1 / 2, 1 / 3]


@pytest.mark.parametrize(
    "rule",
    ["*", ("*",), (winit.zeros(), "*"), ("*", winit.zeros(), "io", "float32", False, 1)],
    ids=["str", "1", "turned", "6"],
)
def test_malformed_rules_refused(rule):
    with pytest.raises(TypeError, match=r"^a rule must be \(pattern, scheme\[, layout\[, .*\), not "):
        Plan({"a": (2,)}, rules=[rule])


def test_rule_without_a_scheme_refused():
    with pytest.raises(TypeError, match=r"^rule '\*': scheme must be .*, not 'zeros'; .*winit.zeros\(\)$"):
        Plan({"a": (2,)}, rules=[("*", "zeros")])


# ---- plans refuse


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"a.w": (2,)}, ValueError, r"^a\.w: has no scheme, and no rule matches its name$"),
        ({"a.w": (2, -2)}, ValueError, r"^a\.w: shape must not hold negative sizes"),
        ({"a.w": "x"}, TypeError, r"^a\.w: must be a Param or a shape, not \'x\'"),
        ({3: (2,)}, TypeError, r"^names must be str, not 3$"),
        ([("a", Param((), scheme=winit.zeros()))] * 2, ValueError, r"^a: the plan has two tensors of this name$"),
        ({"a": Param((4,), scheme=winit.he_normal())}, ValueError, r"^a: layout 'oi' needs a shape of at least two"),
        ({"a": Param((4, 4), scheme=winit.he_normal(), layout=Axes(0, 7))}, ValueError, r"^a: out axis 7 is outside"),
        ({"a": Param((4,), winit.normal(), "int8")}, TypeError, r"^a: normal\(\) draws floating-point values"),
        ({"a": Param((4,), winit.constant(300), "int8")}, ValueError, r"^a: constant\(300\) holds values that"),
        ({"a": Param((4,), winit.constant(-1), "uint8")}, ValueError, r"^a: constant\(-1\) holds values that"),
        ({"a": Param((4,), winit.constant(0.5), "int64")}, ValueError, r"^a: constant\(0\.5\) holds values that"),
        # More digits than any integer type of C has.
        (
            {"a": Param((4,), winit.constant(10**30), "int64")},
            ValueError,
            r"^a: constant\(.*\) holds values that int64",
        ),
        ({"a": Param((4,), winit.constant(-(10**30)), "uint64")}, ValueError, r"^a: constant\(.*\) holds values that"),
        ({"a": Param((4,), winit.constant(1e6), "float16")}, ValueError, r"^a: .* beyond the range of float16"),
        ({"a": Param((4,), winit.normal(std=1e4), "float16")}, ValueError, r"^a: .* beyond the range of float16"),
        (
            {"a": Param((3,), scheme=winit.literal([1, 2]))},
            ValueError,
            r"^a: literal values have shape \(2,\), the ten",
        ),
        ({"a": Param((1,), winit.literal([2]), "bool")}, ValueError, r"^a: literal\(\[2\]\) holds values that bool"),
        ({"a": Param((1,), winit.literal([1e39]), "bfloat16")}, ValueError, r"^a: literal\(.*\) holds values that"),
        ({"a": Param(tied="b")}, ValueError, r"^a: tied to 'b', which is not in the plan$"),
        (
            {"a": Param(tied="wgiht"), "weight": Param((1,), winit.zeros())},
            ValueError,
            r"^a: tied to 'wgiht', which is not in the plan; the nearest is 'weight'$",
        ),
        ({"a": Param(tied="a")}, ValueError, r"^a: tied to 'a', which is itself tied to 'a'$"),
        (
            {"a": Param((2,), scheme=winit.zeros()), "b": Param(tied="a"), "c": Param(tied="b")},
            ValueError,
            r"^c: tied to 'b', which is itself tied to 'a'$",
        ),
        (
            {"a": Param((2,), scheme=winit.zeros()), "b": Param((3,), tied="a")},
            ValueError,
            r"^b: of shape \(3,\), tied to 'a' of shape \(2,\)$",
        ),
        (
            {"a": Param((2,), scheme=winit.zeros()), "b": Param((3,), scheme=winit.zeros(), key="a")},
            ValueError,
            r"^b: has the key 'a', which 'a' has already, and differs from it$",
        ),
        (
            {"a": Param((2,), scheme=winit.zeros(), key="k"), "b": Param((2,), scheme=winit.ones(), key="k")},
            ValueError,
            r"^b: has the key 'k', which 'a' has already, and differs from it$",
        ),
        ({"\ud800": Param((2,), scheme=winit.zeros())}, ValueError, r"cannot be encoded in UTF-8"),
        ({"a": Param((2,), scheme=winit.zeros(), key="\ud800")}, ValueError, r"^a: .*cannot be encoded in UTF-8"),
        # A plan's digest, TOML text and files hold the name, whatever the key.
        ({"\ud800": Param((2,), scheme=winit.zeros(), key="k")}, ValueError, r"cannot be encoded in UTF-8"),
        (
            {"a": Param((1 << 61,), scheme=winit.zeros()), "b": Param((1,), scheme=winit.zeros())},
            ValueError,
            r"^the plan's tensors are more than 2\^63 bytes together$",
        ),
    ],
)
def test_plan_refuses(params, error, match):
    with pytest.raises(error, match=match):
        Plan(params)


# ---- keys, ties, order


def test_key_survives_renaming():
    old = Plan({"old.name": Param((5, 7), scheme=winit.normal())}).build(seed=3)
    new = Plan({"new.name": Param((5, 7), scheme=winit.normal(), key="old.name")}).build(seed=3)
    other = Plan({"new.name": Param((5, 7), scheme=winit.normal())}).build(seed=3)
    assert new["new.name"].tobytes() == old["old.name"].tobytes()
    assert other["new.name"].tobytes() != old["old.name"].tobytes()


def test_names_and_keys_may_be_swapped():
    def param(key=None):
        return Param((9,), scheme=winit.normal(), key=key)

    straight = Plan({"a": param(), "b": param()}).build(seed=0)
    swapped = Plan({"a": param("b"), "b": param("a")}).build(seed=0)
    assert swapped["a"].tobytes() == straight["b"].tobytes()
    assert swapped["b"].tobytes() == straight["a"].tobytes()


def test_names_are_not_normalised():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    built = Plan({name: Param((9,), scheme=winit.normal()) for name in (composed, decomposed)}).build(seed=0)
    assert built[composed].tobytes() != built[decomposed].tobytes()


def test_tied_tensor_is_its_target():
    plan = Plan(
        {
            "head": Param(tied="embed"),
            "embed": Param((6, 4), winit.normal(), "float16", Axes(0, (0, 1)), key="e"),
            "again": Param((6, 4), tied="embed"),
        }
    )
    assert plan["head"] == plan["again"] == Param((6, 4), dtype="float16", layout=Axes(0, (0, 1)), tied="embed")
    assert plan.key("head") == plan.key("again") == plan.key("embed") == "e"
    assert (plan.parameters, plan.nbytes) == (24, 48)
    assert list(plan.stored) == ["embed"]
    built = plan.build(seed=0)
    assert list(built) == ["head", "embed", "again"]
    assert built["head"] is built["embed"]
    assert built["again"] is built["embed"]
    assert built["embed"].tobytes() == winit.draw(winit.normal(), (6, 4), seed=0, name="e", dtype="float16").tobytes()


def test_order_is_kept_and_changes_no_value():
    names = ["z", "a", "m", "B", ""]
    forward = Plan((name, Param((3, 3), scheme=winit.normal())) for name in names)
    backward = Plan((name, Param((3, 3), scheme=winit.normal())) for name in reversed(names))
    assert list(forward) == list(forward.build(seed=0)) == list(forward.stored) == names
    assert list(backward) == list(backward.build(seed=0)) == names[::-1]
    for name in names:
        assert forward.build(seed=0)[name].tobytes() == backward.build(seed=0)[name].tobytes()


def test_counts():
    plan = Plan(
        {
            "a": Param((3, 4), winit.normal(), "float64"),
            "scalar": Param((), winit.ones(), "int8"),
            "empty": Param((0, 7), winit.zeros(), "float32"),
            "b": Param((5,), winit.normal(), "bfloat16"),
            "tied": Param(tied="a"),
        }
    )
    assert (len(plan), plan.parameters, plan.nbytes) == (5, 12 + 1 + 5, 96 + 1 + 10)
    assert repr(plan) == "<Plan of 5 tensors, 18 parameters, 107 bytes>"
    assert (len(Plan()), Plan().parameters, Plan().build(seed=0)) == (0, 0, {})


# ---- immutability, equality, digest

BASE = {
    "a": Param((4, 6), winit.normal(std=0.5), "float32", "oi", key="k"),
    "b": Param((4, 6), winit.zeros(), "float32"),
    "c": Param(tied="a"),
}


def variant(name: str, **fields) -> dict[str, Param]:
    return {**BASE, name: replace(BASE[name], **fields)}


VARIANTS = {
    "base": BASE,
    "shape": variant("a", shape=(6, 4)),
    "flat shape": variant("a", shape=(24,)),
    "dtype": variant("a", dtype="float64"),
    "scheme": variant("a", scheme=winit.uniform()),
    "scheme's number": variant("a", scheme=winit.normal(std=0.5000000000000001)),
    "layout": variant("a", layout="io"),
    "axes": variant("a", layout=Axes(0, 1)),
    "groups": variant("a", layout=Axes(0, 1, groups=2)),
    "key": variant("a", key="l"),
    "no key": variant("a", key=None),
    "empty key": variant("a", key=""),
    "tie": variant("c", tied="b"),
    "name": {"a2": BASE["a"], "b": BASE["b"], "c": Param(tied="a2")},
    "order": {"b": BASE["b"], "a": BASE["a"], "c": BASE["c"]},
    "fewer": {"a": BASE["a"], "b": BASE["b"]},
    "more": {**BASE, "d": Param((1,), scheme=winit.zeros())},
    "untied": {**BASE, "c": Param((4, 6), winit.normal(std=0.5), "float32")},
}


def test_plan_is_immutable():
    source = dict(BASE)
    plan = Plan(source)
    source["d"] = Param((1,), scheme=winit.zeros())
    plan.stored.clear()
    assert list(plan) == ["a", "b", "c"]
    assert not any(hasattr(plan, name) for name in ("__setitem__", "__delitem__", "pop", "update", "clear"))
    with pytest.raises(FrozenInstanceError):
        plan["a"].dtype = "float64"


@pytest.mark.parametrize("name", VARIANTS)
def test_equality(name):
    plan = Plan(VARIANTS[name])
    for other, params in VARIANTS.items():
        assert (plan == Plan(params)) == (name == other)
    assert plan == Plan(VARIANTS[name].items())
    assert hash(plan) == hash(Plan(VARIANTS[name]))
    assert plan != VARIANTS[name]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda plan: pickle.loads(pickle.dumps(plan))])
def test_copies_are_equal(again):
    plan = Plan({**BASE, "d": Param((2,), scheme=winit.literal([1.5, 2]))})
    assert again(plan) == plan
    assert again(plan).digest == plan.digest


def test_digest_changes_with_every_field():
    digests = {name: Plan(params).digest for name, params in VARIANTS.items()}
    assert len(set(digests.values())) == len(VARIANTS)
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests.values())


def test_digest_does_not_depend_on_how_the_plan_was_said():
    by_rules = Plan({"a": (4, 6), "b": (6,)}, rules=[("a", winit.normal(std=0.5), "io"), ("*", winit.zeros())])
    by_params = Plan({"a": Param([4, 6], winit.normal(0.0, 0.5), np.float32, "io"), "b": Param(6, winit.zeros(), "f4")})
    by_text = Plan.from_toml(
        'layout = "io"\n[tensors]\na = { shape = [4, 6], scheme = "normal(std = 1 / 2)" }\n'
        'b = { shape = [6], scheme = "zeros()", layout = "oi" }'
    )
    assert by_rules == by_params == by_text
    assert by_rules.digest == by_params.digest == by_text.digest


# ---- with_dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_with_dtype(dtype):
    plan = Plan(
        {
            "a": Param((4, 6), winit.he_normal(), "float32", "io", key="k"),
            "t": Param(tied="a"),
            "i": Param((3,), winit.ones(), "int64"),
            "z": Param((3,), winit.zeros(), "complex64"),
            "h": Param((2,), winit.zeros(), "float16"),
        }
    )
    changed = plan.with_dtype(dtype)
    assert [param.dtype for param in changed.values()] == [dtype, dtype, "int64", "complex64", dtype]
    assert changed["a"] == replace(plan["a"], dtype=dtype)
    assert list(changed) == list(plan)
    assert plan["a"].dtype == "float32"
    assert changed.with_dtype(dtype) == changed


@pytest.mark.parametrize(
    ("dtype", "error", "match"),
    [
        (
            "int8",
            ValueError,
            r"^dtype must be one of float32, float64, float16, bfloat16, float8_e4m3fn, float8_e5m2, not 'int8'$",
        ),
        ("complex64", ValueError, r"^dtype must be one of float32, .*, not 'complex64'$"),
        ("float99", TypeError, r"^dtype must be .*, not 'float99' \(did you mean"),
    ],
)
def test_with_dtype_refuses(dtype, error, match):
    with pytest.raises(error, match=match):
        Plan(BASE).with_dtype(dtype)


def test_with_dtype_checks_the_range():
    with pytest.raises(ValueError, match=r"^w: .* beyond the range of float16"):
        Plan({"w": Param((2,), scheme=winit.constant(1e5))}).with_dtype("float16")


# ---- build

DRAWN = [
    winit.normal(0.1, 0.5),
    winit.uniform(-1, 2),
    winit.truncated_normal(0.5, 2, -1, 3),
    winit.he_normal(),
    winit.he_uniform(a=0.1, mode="fan_out"),
    winit.xavier_uniform(0.5),
    winit.xavier_normal(),
    winit.lecun_uniform(),
    winit.variance_scaling(2, "fan_geo_avg", "truncated_normal"),
]
FIXED = [winit.zeros(), winit.ones(), winit.constant(1), winit.literal(np.arange(35).reshape(5, 7) % 2)]
TABLE = [(dtype, scheme) for dtype in FLOATS for scheme in (*DRAWN, *FIXED, winit.constant(0.1))]
TABLE += [(dtype, scheme) for dtype in (*INTEGERS, "bool", "complex64") for scheme in FIXED]


@pytest.mark.parametrize("threads", [1, None])
def test_build_equals_draw(threads):
    plan = Plan(
        {
            f"{i}": Param((5, 7), scheme, dtype, ("oi", "io", Axes(0, 1))[i % 3], key=f"key {i}" if i % 2 else None)
            for i, (dtype, scheme) in enumerate(TABLE)
        }
    )
    built = plan.build(seed=2**64 - 1, threads=threads)
    for name, param in plan.items():
        expected = winit.draw(
            param.scheme, (5, 7), seed=2**64 - 1, name=plan.key(name), dtype=param.dtype, layout=param.layout
        )
        assert built[name].dtype == expected.dtype
        assert built[name].shape == (5, 7)
        assert built[name].flags.c_contiguous
        assert built[name].tobytes() == expected.tobytes(), (name, param)


@pytest.mark.parametrize(
    ("dtype", "scheme", "expected"),
    [
        ("int64", winit.constant(-(2**63)), -(2**63)),
        ("uint64", winit.constant(2**64 - 1), 2**64 - 1),
        ("bool", winit.ones(), True),
        ("float16", winit.constant(0.1), np.float16(0.1)),
        ("complex64", winit.constant(0.1), np.complex64(0.1)),
        ("float64", winit.literal(2**53), 2.0**53),
    ],
)
def test_build_scalars(dtype, scheme, expected):
    built = Plan({"s": Param((), scheme, dtype)}).build(seed=0)["s"]
    assert (built.shape, built.dtype) == ((), np.dtype(dtype))
    assert built == expected


def test_build_scalar_draws():
    built = Plan({"s": Param((), winit.normal(), "bfloat16")}).build(seed=1)["s"]
    whole = winit.draw(winit.normal(), 3, seed=1, name="s", dtype="bfloat16")
    assert built.shape == ()
    assert built.tobytes() == whole[:1].tobytes()


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 2)])
@pytest.mark.parametrize("scheme", [winit.normal(), winit.zeros()])
def test_build_empty(shape, scheme):
    assert Plan({"e": Param(shape, scheme, "float16")}).build(seed=0)["e"].shape == shape


def test_negative_zero_is_not_mistaken_for_zero():
    # 0.0 == -0.0, so what is cached by equality may give one for the other.
    built = Plan({"p": Param((2,), scheme=winit.constant(0.0)), "n": Param((2,), scheme=winit.constant(-0.0))}).build(
        seed=0
    )
    assert not np.signbit(built["p"]).any()
    assert np.signbit(built["n"]).all()


def test_build_gives_the_same_bytes_for_any_number_of_threads():
    # Ranges are 2^20 elements: these tensors start and end inside them, and small ones share one.
    laws = [winit.normal(), winit.uniform(), winit.truncated_normal(), winit.constant(2), winit.he_normal()]
    params = {f"s.{i}": Param((i % 7, i % 11), laws[i % 5], FLOATS[i % 4]) for i in range(300)}
    params["large.0"] = Param(((1 << 20) + 12345,), winit.normal(), "float32")
    params |= {f"t.{i}": Param((i,), winit.ones(), "int16") for i in range(50)}
    params["large.1"] = Param((3, (1 << 18) + 7), winit.uniform(), "float64")
    params["large.2"] = Param(((1 << 21) + 1,), winit.truncated_normal(), "bfloat16")
    plan = Plan(params)

    def digest(threads):
        built = plan.build(seed=7, threads=threads)
        assert list(built) == list(params)
        total = blake2b()
        for array in built.values():
            total.update(array.tobytes())
        return total.hexdigest()

    expected = digest(1)
    assert [threads for threads in (*range(2, 17), None) if digest(threads) != expected] == []
    built = plan.build(seed=7, threads=2)
    for name in ("large.0", "large.1", "large.2", "s.299", "t.49"):
        param = params[name]
        alone = winit.draw(param.scheme, param.shape, seed=7, name=name, dtype=param.dtype, threads=1)
        assert built[name].tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"seed": -1}, ValueError, r"^seed must be in \[0, 2\^64\), not -1$"),
        ({"seed": 2**64}, ValueError, r"^seed must be in \[0, 2\^64\), not 18446744073709551616$"),
        ({"seed": 1.0}, TypeError, r"^seed must be an integer, not float$"),
        ({"seed": True}, TypeError, r"^seed must be an integer, not bool$"),
        ({"seed": 0, "threads": 0}, ValueError, r"^threads must be at least 1, not 0$"),
        ({"seed": 0, "threads": 1.5}, TypeError, r"^threads must be an integer or None, not float$"),
    ],
)
def test_build_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        Plan(BASE).build(**arguments)


def test_build_that_cannot_be_allocated():
    # 2^62 bytes: more than any address space, so refused without touching memory.
    with pytest.raises(MemoryError):
        Plan({"w": Param((1 << 60,), winit.zeros(), "float32")}).build(seed=0)


# ---- TOML: round trip

PIECES = st.sampled_from(["{0..3}", "{{0..3}}", "{3..0}", "{00..07}", "{{", "}}", "..", "\\n", "\r\n", "e\u0301"]) | (
    st.sampled_from("{}0.\"'\\\n\t\x00\x1b\x7f#=[]é\u0663\u2028𝄞a ")
)
NAMES = st.lists(PIECES, max_size=6).map("".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(-100, 100) | st.integers(-100, 100)
STDS = st.floats(0, 100)
AXES = st.sampled_from(["oi", "io", Axes(1, 0), Axes((0,), (1,)), Axes(-1, -2), Axes((0, 1), 0), Axes((), (0, 1))]) | (
    st.sampled_from([Axes(1, 0, splits=2), Axes(1, 0, groups=2), Axes(0, 1, batch=2), Axes((0, 1), (), (2,), 1, 1)])
)
FANS = [winit.he_normal(), winit.he_uniform(0.1, "fan_out"), winit.he_normal(mode="fan_avg", nonlinearity="tanh")]
FANS += [winit.xavier_uniform(3), winit.xavier_normal(), winit.lecun_normal(), winit.lecun_uniform()]
FANS += [winit.variance_scaling(0.3, "fan_geo_avg", "uniform"), winit.variance_scaling(2, "fan_in", "truncated_normal")]
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@st.composite
def literals(draw, dtype: str):
    shape = draw(st.lists(st.integers(1, 3), max_size=3).map(tuple))
    kind = dtype if dtype in (*FLOATS[:3], *INTEGERS, "bool") else "float32"
    most = 448 if dtype == "float8_e4m3fn" else 1e4
    elements = st.floats(-most, most, width=8 * np.dtype(kind).itemsize) if kind in FLOATS else None
    return shape, winit.literal(draw(hnp.arrays(kind, shape, elements=elements)))


@st.composite
def params(draw):
    dtype = draw(st.sampled_from((*FLOATS, *INTEGERS, "bool", "complex64")))
    shape = draw(SHAPES)
    layout = draw(AXES)
    match draw(st.sampled_from(["fixed", "literal", "law", "fans"])):
        case "literal":
            shape, scheme = draw(literals(dtype))
        case "law" if dtype in FLOATS:
            low = draw(st.floats(-5, 4))
            stds = st.floats(0, 40) if dtype == "float8_e4m3fn" else STDS  # within its range
            scheme = draw(
                st.sampled_from([winit.normal(draw(NUMBERS), draw(stds))])
                | st.just(winit.uniform(low, low + draw(st.floats(0.5, 3))))
                | st.just(winit.truncated_normal(draw(NUMBERS), draw(stds), low, low + draw(st.floats(0.5, 3))))
                | st.builds(winit.constant, NUMBERS | st.booleans())
            )
        case "fans" if dtype in FLOATS:
            # Extents that every layout above divides.
            shape, scheme = draw(st.sampled_from([(2, 4, 3), (6, 2, 2)])), draw(st.sampled_from(FANS))
        case _:
            scheme = draw(st.sampled_from([winit.zeros(), winit.ones(), winit.constant(1), winit.constant(True)]))
    try:
        winit.fans(shape, layout)
    except ValueError:  # axes that the shape does not have
        layout = draw(st.sampled_from(["oi", "io"]))
    return Param(shape, scheme, dtype, layout, key=draw(st.none() | NAMES))


@st.composite
def plans(draw):
    names = draw(st.lists(NAMES, max_size=6, unique=True))
    made, keys = {}, set()
    for name in names:
        param = draw(params())
        key = name if param.key is None else param.key
        if key not in keys:
            keys.add(key)
            made[name] = param
    targets = list(made)
    for name in draw(st.lists(NAMES, max_size=3, unique=True)) if targets else []:
        if name not in made:
            made[name] = Param(tied=draw(st.sampled_from(targets)))
    order = draw(st.permutations(list(made)))
    return Plan({name: made[name] for name in order})


@given(plans())
@settings(max_examples=300, deadline=None, database=None)
def test_toml_round_trip(plan):
    text = plan.to_toml()
    again = Plan.from_toml(text)
    assert again == plan
    assert list(again) == list(plan)
    assert again.to_toml() == text
    assert again.digest == plan.digest


@given(name=NAMES)
@example("{{0..3}}")
@example("{{{0..3}}}")
@settings(max_examples=300, deadline=None, database=None)
def test_any_name_round_trips_as_name_key_and_target(name):
    plan = Plan(
        {
            name: Param((2,), scheme=winit.normal()),
            name + "k": Param((2,), scheme=winit.normal(), key=name + "key"),
            name + "t": Param(tied=name),
        }
    )
    assert Plan.from_toml(plan.to_toml()) == plan


@pytest.mark.parametrize(
    "values",
    [
        [0.1, -0.0, 5e-324, 1.7976931348623157e308, 2.0**-1074 * 3],
        [True, False],
        [[-(2**63), 2**63 - 1]],
        np.array([2**64 - 1], np.uint64),
        np.array([2**64 - 1, 5], np.uint64),
        3.5,
        np.float32([0.1, 1 / 3]),
    ],
    ids=["floats", "bools", "int64", "uint64", "uint64 and small", "scalar", "float32"],
)
def test_literal_values_round_trip_exactly(values):
    scheme = winit.literal(values)
    dtype = {"f": "float64", "b": "bool", "i": "int64", "u": "uint64"}[scheme.values.dtype.kind]
    plan = Plan({"w": Param(scheme.values.shape, scheme, dtype)})
    assert plan.build(seed=0)["w"].tobytes() == np.asarray(values, dtype).tobytes()
    again = Plan.from_toml(plan.to_toml())
    assert again["w"].scheme.values.dtype == scheme.values.dtype
    assert again == plan


def test_from_toml_reads_files(tmp_path):
    plan = Plan(BASE)
    path = tmp_path / "plan.toml"
    path.write_text(plan.to_toml(), encoding="utf-8")
    odd = tmp_path / "plan.txt"
    odd.write_text(plan.to_toml(), encoding="utf-8")
    assert Plan.from_toml(path) == Plan.from_toml(str(path)) == Plan.from_toml(odd) == plan


def test_from_toml_names_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.toml"):
        Plan.from_toml(tmp_path / "missing.toml")
    broken = tmp_path / "latin.toml"
    broken.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ValueError, match=r"latin\.toml: not UTF-8 text \(.* at byte 5\)$"):
        Plan.from_toml(broken)


def test_text_that_ends_in_a_comment_naming_a_file_is_text():
    text = tensor('shape = [2], scheme = "zeros()"') + "# after examples/gpt2.toml"
    assert list(Plan.from_toml(text)) == ["w"]


# ---- TOML: what it says


def test_toml_defaults_rules_and_own_fields():
    plan = Plan.from_toml(
        """
        dtype = "float16"
        layout = "io"
        [tensors]
        plain = { shape = [4, 8], scheme = "he_normal()" }
        own = { shape = [4, 8], scheme = "he_normal()", dtype = "float64", layout = "Axes(0, 1)", key = "k" }
        ruled = { shape = [4, 8] }
        mixed = { shape = [4, 8], dtype = "float32", layout = "io" }
        "rest.w" = { shape = [4, 8] }
        tied = { tied = "own" }
        [[rules]]
        match = "*ed"
        scheme = "lecun_normal()"
        dtype = "bfloat16"
        layout = "oi"
        [[rules]]
        match = "*"
        scheme = "ones()"
        """
    )
    assert dict(plan) == {
        "plain": Param((4, 8), winit.he_normal(), "float16", "io"),
        "own": Param((4, 8), winit.he_normal(), "float64", Axes(0, 1), key="k"),
        "ruled": Param((4, 8), winit.lecun_normal(), "bfloat16", "oi"),
        "mixed": Param((4, 8), winit.lecun_normal(), "float32", "io"),
        "rest.w": Param((4, 8), winit.ones(), "float16", "io"),
        "tied": Param((4, 8), dtype="float64", layout=Axes(0, 1), tied="own"),
    }


def test_toml_empty():
    assert Plan.from_toml("") == Plan.from_toml("[tensors]") == Plan()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("h.{0..2}.w", ["h.0.w", "h.1.w", "h.2.w"]),
        ("h.{9..11}.w", ["h.9.w", "h.10.w", "h.11.w"]),
        ("{3..3}", ["3"]),
        ("a{0..1}b{5..6}", ["a0b5", "a0b6", "a1b5", "a1b6"]),
        ("a{0..1}b{0..1}", ["a0b0", "a0b1", "a1b0", "a1b1"]),
        ("{{0..2}}", ["{0..2}"]),
        ("{{0..2}}.{0..1}", ["{0..2}.0", "{0..2}.1"]),
        ("{{a..b}}", ["{a..b}"]),
        ("{{{0..1}}}", ["{0}", "{1}"]),
        ("a{{b", ["a{b"]),
        ("}}{{", ["}{"]),
        ("{-1..1}", ["-1", "0", "1"]),
        ("h.{i=0..1}.w", ["h.0.w", "h.1.w"]),
        ("{q,k}.{1 + 1}", ["q.2", "k.2"]),
    ],
)
def test_toml_ranges(pattern, names):
    assert list(Plan.from_toml(tensor('shape = [2], scheme = "ones()"', pattern))) == names


def test_toml_range_of_twelve():
    plan = Plan.from_toml(tensor('shape = [2], scheme = "normal()"', "h.{0..11}.w"))
    assert list(plan) == [f"h.{i}.w" for i in range(12)]
    assert len({array.tobytes() for array in plan.build(seed=0).values()}) == 12


def test_toml_ranges_in_key_and_tied():
    plan = Plan.from_toml(
        '[tensors]\n"h.{i=0..2}.e.{j=7..8}.w" = { shape = [2], scheme = "ones()", key = "old.{j}.of.{i}" }\n'
        '"t.{i=0..2}.{j=7..8}" = { tied = "h.{i}.e.{j}.w" }'
    )
    for i in range(3):
        for j in (7, 8):
            assert plan[f"h.{i}.e.{j}.w"].key == f"old.{j}.of.{i}"
            assert plan[f"t.{i}.{j}"].tied == f"h.{i}.e.{j}.w"
            assert plan.key(f"t.{i}.{j}") == f"old.{j}.of.{i}"


@pytest.mark.parametrize("field", ['shape = [2], scheme = "ones()", key = "k.{0..3}"', 'tied = "h.{0..3}"'])
def test_toml_range_in_key_or_tied_is_refused(field):
    with pytest.raises(ValueError, match=r"\{0\.\.3\} is more than one name; name the range, and write that$"):
        Plan.from_toml(tensor(field))


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("normal(std=0.02 / sqrt(2 * 12))", winit.normal(std=0.02 / 24**0.5)),
        ("normal(0.1 + 0.2, 1 - 0.5)", winit.normal(0.1 + 0.2, 0.5)),
        ("normal(-1 * (2 + 3), std=-(-2))", winit.normal(-5, 2)),
        ("normal(std=1e-3)", winit.normal(std=0.001)),
        ("normal(std=sqrt(sqrt(16)))", winit.normal(std=2)),
        ("  ones( )  ", winit.ones()),
        ("constant(3)", winit.constant(3)),
        ("constant(True)", winit.constant(True)),
        ("he_normal(a=0.1, mode='fan_out')", winit.he_normal(a=0.1, mode="fan_out")),
        ("kaiming_normal()", winit.he_normal()),
        ("glorot_uniform(gain=2)", winit.xavier_uniform(2)),
        ("variance_scaling(2.0, 'fan_avg', \"uniform\")", winit.variance_scaling(2, "fan_avg", "uniform")),
        ("literal([[1, -2], (3, 4 / 2)])", winit.literal([[1, -2], [3, 2.0]])),
    ],
)
def test_toml_scheme_text(text, scheme):
    assert scheme_of(text) == scheme


MALFORMED = [
    # the text
    ("not TOML", "[tensors", r"^malformed TOML: "),
    ("a value missing", "dtype =", r"^malformed TOML: .*end of document"),
    ("a control character", '[tensors]\n"a\nb" = 3', r"^malformed TOML: "),
    ("the same key twice", "[tensors]\nw = { shape = [1] }\nw = { shape = [1] }", r"^malformed TOML: "),
    ("an integer of 5000 digits", tensor(f'shape = [1{"0" * 5000}], scheme = "ones()"'), r"digits"),
    # the tables
    ("unknown top key", 'seed = 1\n[tensors]\nw = { shape = [1], scheme = "ones()" }', r"^plan: unknown key 'seed'"),
    ("unknown top key lists", "seed = 1", r"there are: description, .*, layout, tensors, rules$"),
    ("unknown tensor key", tensor("shape = [1], std = 2"), r"^w: .*unknown key 'std'; there are: shape, scheme, dtype"),
    ("unknown rule key", "[[rules]]\nmatch = '*'\nscheme = 'ones()'\nstd = 1", r"^rules\[0\]: unknown key 'std'"),
    ("rule without scheme", "[[rules]]\nmatch = '*'", r"^rules\[0\] must have 'match' and 'scheme'$"),
    ("rule without match", "[[rules]]\nscheme = 'ones()'", r"^rules\[0\] must have 'match' and 'scheme'$"),
    ("rule of bad match", "[[rules]]\nmatch = 1\nscheme = 'ones()'", r"match must be a string, not 1$"),
    ("rule of bad scheme", "[[rules]]\nmatch = 'x.*'\nscheme = 'one()'", r"^rules\[0\] \(x\.\*\): scheme 'one' is not"),
    ("rule of bad layout", "[[rules]]\nmatch = 'x.*'\nscheme = 'ones()'\nlayout = 3", r"^rules\[0\] \(x\.\*\): layout"),
    ("rules a table", "[rules]\nmatch = '*'", r"^rules must be an array of tables, written \[\[rules\]\]$"),
    ("rules of numbers", "rules = [1]", r"^rules\[0\] must be a table, not 1$"),
    ("tensors a list", "tensors = []", r"^tensors must be a table, not \[\]$"),
    ("a tensor a list", "[tensors]\nw = [2, 2]", r"^w: a tensor .*must be a table, not 2$"),
    ("an unquoted dotted name", "[tensors]\na.b = { shape = [2] }", r'quoted: "a\.b"'),
    ("top dtype", tensor('shape = [1], scheme = "ones()"').replace("[t", "dtype = 3\n[t"), r"^dtype must be a string"),
    ("top layout", 'layout = "hwio"', r"^layout must be 'oi', 'io' or a text .*, not 'hwio'$"),
    ("empty top dtype", 'dtype = ""\n' + tensor('shape = [1], scheme = "ones()"'), r"dtype must be"),
    # shapes
    ("no shape", tensor('scheme = "ones()"'), r"^w: has no shape$"),
    ("no shape, name h", tensor('scheme = "ones()"', "h"), r"^h: has no shape$"),
    ("shape of a tensor called s", tensor('shape = 3, scheme = "ones()"', "s"), r"^s: shape must be an array"),
    ("no fields", tensor(""), r"^w: has no shape$"),
    ("shape a number", tensor('shape = 3, scheme = "ones()"'), r"^w: shape must be an array of integers .*, not 3$"),
    (
        "shape a string",
        tensor('shape = "33", scheme = "ones()"'),
        r"^w: shape must be an array of .*, not '33'$",
    ),
    ("shape of floats", tensor('shape = [2.0], scheme = "ones()"'), r"^w: shape must hold integers, not 2\.0$"),
    ("shape of booleans", tensor('shape = [true], scheme = "ones()"'), r"^w: shape must hold integers, not True$"),
    (
        "shape of dates",
        tensor('shape = [1979-05-27], scheme = "ones()"'),
        r"^w: shape must hold integers, not datetime",
    ),
    ("shape of lists", tensor('shape = [[2]], scheme = "ones()"'), r"^w: shape must hold integers, not \[2\]$"),
    ("negative shape", tensor('shape = [2, -3], scheme = "ones()"'), r"^w: shape must not hold negative .*\(2, -3\)$"),
    ("2^63 elements", tensor(f'shape = [{2**63}], scheme = "ones()"'), r"more than 2\^63"),
    ("more elements", tensor(f'shape = [{2**63 + 1}], scheme = "ones()"'), r"^w: shape .* more than 2\^63$"),
    ("2^126 elements", tensor(f'shape = [{2**63}, {2**63}], scheme = "ones()"'), r"^w: shape .* more than 2\^63$"),
    # dtypes and layouts
    ("dtype a number", tensor('shape = [1], scheme = "ones()", dtype = 32'), r"^w: dtype must be a string, not 32$"),
    (
        "dtype unknown",
        tensor('shape = [1], scheme = "ones()", dtype = "float8"'),
        r"^w: dtype must be .*, not 'float8'",
    ),
    ("dtype empty", tensor('shape = [1], scheme = "ones()", dtype = ""'), r"^w: dtype must be .*, not ''$"),
    ("dtype of code", tensor('shape = [1], scheme = "ones()", dtype = ","'), r"^w: dtype must be .*, not ','$"),
    (
        "dtype object",
        tensor('shape = [1], scheme = "ones()", dtype = "O"'),
        r"^w: dtype must be boolean, integer, real or complex, not object$",
    ),
    (
        "dtype foreign",
        tensor('shape = [1], scheme = "ones()", dtype = ">f4"'),
        r"^w: dtype must be in native byte order",
    ),
    ("dtype int8", tensor('shape = [1], scheme = "normal()", dtype = "int8"'), r"^w: normal\(\) draws floating-point"),
    ("dtype too narrow", tensor('shape = [1], scheme = "constant(300)", dtype = "int8"'), r"^w: constant\(300\)"),
    ("beyond int64", tensor(f'shape = [1], scheme = "constant({10**30})", dtype = "int64"'), r"^w: constant\(10"),
    (
        "layout a number",
        tensor('shape = [1], scheme = "ones()", layout = 3'),
        r"^w: layout must be .*, not 3$",
    ),
    (
        "layout unknown",
        tensor('shape = [1], scheme = "ones()", layout = "hwio"'),
        r"^w: layout must be .*, not 'hwio'$",
    ),
    ("layout a scheme", tensor('shape = [1], scheme = "ones()", layout = "ones()"'), r"^w: layout 'ones' is not known"),
    ("Axes too few", tensor('shape = [1], scheme = "ones()", layout = "Axes(0)"'), r"^w: layout 'Axes\(0\)': .*out"),
    (
        "Axes outside",
        tensor('shape = [2, 2], scheme = "he_normal()", layout = "Axes(0, 5)"'),
        r"^w: out axis 5 is outside",
    ),
    ("no fans", tensor('shape = [2], scheme = "he_normal()"'), r"^w: layout 'oi' needs a shape of at least two axes"),
    # keys, ties, names
    ("key a number", tensor('shape = [1], scheme = "ones()", key = 3'), r"^w: key must be a string, not 3$"),
    ("tied a number", tensor("tied = 3"), r"^w: tied must be a string, not 3$"),
    ("tied and more", tensor('tied = "x", shape = [1]'), r"^w: tied tensor: unknown key 'shape'; there are: tied"),
    ("tied to nothing", tensor('tied = "x"'), r"^w: tied to 'x', which is not in the plan"),
    ("tied to itself", tensor('tied = "w"'), r"^w: tied to 'w', which is itself tied"),
    (
        "names that overlap",
        '[tensors]\n"h.{0..3}" = { shape = [1], scheme = "ones()" }\n"h.{3..4}" = { shape = [1], scheme = "ones()" }',
        r"^h\.\{3\.\.4\}: h\.3 is named twice$",
    ),
    (
        "one key for a range",
        tensor('shape = [1], scheme = "ones()", key = "k"', "h.{0..1}"),
        r"^h\.\{0\.\.1\}: has the key 'k', which 'h\.0'",
    ),
    (
        "backwards range",
        tensor('shape = [1], scheme = "ones()"', "h.{3..1}.w"),
        r"^h\.\{3\.\.1\}\.w: .* runs backwards, from 3 to 1$",
    ),
    ("huge range", tensor("shape = [1]", "h.{0..1000000}"), r"^h\.\{0\.\.1000000\}: .* more than a million names$"),
    ("very huge range", tensor("shape = [1]", "h.{0..999999999999999999}"), r"^h\..* more than a million names$"),
    ("huge product", tensor("shape = [1]", "{0..999}.{0..999}.{0..1}"), r"^\{0\.\.999\}.* more than a million names$"),
    ("many ranges", tensor("shape = [1]", "{0..9}" * 20), r"^(\{0\.\.9\}){20}: makes more than a million names$"),
    ("name with newline", tensor('shape = [-1], scheme = "ones()"', "a\nb"), r"(?s)a.*b.*shape must not hold negative"),
    # schemes
    (
        "no rule matches",
        tensor("shape = [1]", "a.w") + "[[rules]]\nmatch = 'b'\nscheme = 'ones()'\noptional = true",
        r"^a\.w: has no scheme",
    ),
    ("scheme a number", tensor("shape = [1], scheme = 3"), r"^w: scheme must be a string, not 3$"),
    (
        "scheme without parentheses",
        tensor('shape = [1], scheme = "zeros"'),
        r"^w: scheme 'zeros' needs parenth.*zeros\(\)",
    ),
    (
        "scheme of two lines",
        tensor(r'shape = [1], scheme = "one(\n)"'),
        r"'one' is not known \(did you mean 'ones'",
    ),
] + [
    (f"scheme {text[:40]}", tensor(f"shape = [2, 2], scheme = {json.dumps(text)}"), match)
    for text, match in [
        ("orthodox()", r"^w: scheme 'orthodox' is not known \(did you mean 'orthogonal'\?\)"),
        ("Normal()", r"^w: scheme 'Normal' is not known"),
        ("Scheme()", r"^w: scheme 'Scheme' is not known"),
        ("eval('1')", r"^w: scheme 'eval' is not known"),
        ("", r"^w: scheme '' is not a call"),
        ("normal(", r"^w: scheme 'normal\(' is not a call"),
        ("normal(); normal()", r"^w: scheme .* is not a call"),
        ("3", r"^w: scheme '3' is not a call"),
        ("normal()()", r"^w: scheme 'normal\(\)\(\)' is not a call"),
        ("normal()\x00", r"^w: scheme .* is not a call"),
        ("normal() + normal()", r"^w: scheme .* is not a call"),
        ("winit.normal()", r"^w: scheme 'winit.normal' is not known \(did you mean "),
        ("[normal][0]()", r"^w: scheme .* is not a call"),
        ("(lambda: 1)()", r"^w: scheme .* is not a call"),
        ("(normal := zeros)()", r"^w: scheme .* is not a call"),
        ("__import__('os').system('x')", r"^w: scheme .* is not a call"),
        ("normal(std=__import__('os').system('x'))", r"^w: scheme .*an expression is made of numbers"),
        ("normal.__class__()", r"^w: scheme 'normal.__class__' is not known"),
        ("normal(std=(1).__class__)", r"^w: scheme .*an expression is made of numbers"),
        ("normal(std=[1 for _ in ()])", r"^w: scheme .*an expression is made of numbers"),
        ("normal(std=1 if 1 else 2)", r"^w: scheme .*1 is neither true nor false"),
        ("normal(std=9 ** 9 ** 9)", r"^w: scheme .*\*\* makes a number that is too large"),
        ("normal(std=(-8) ** 0.5)", r"^w: scheme .*is not a real number"),
        ("normal(std=1 / 0)", r"^w: scheme .*division by zero"),
        ("normal(std=f'{1}')", r"^w: scheme .*an expression is made of numbers"),
        ("normal(std=x)", r"^w: scheme .*'x' is not known; there are: no names$"),
        ("normal(std=None)", r"^w: scheme .*std must be a number, not None$"),
        ("normal(std=1j)", r"^w: scheme .*an expression is made of numbers"),
        ("normal(std=sqrt)", r"^w: scheme .*'sqrt' is not known; there are: no names$"),
        ("normal(std=sqrt(1, 2))", r"^w: scheme .*an expression is made of numbers"),
        ("normal(std=sqrt(x=1))", r"^w: scheme .*an expression is made of numbers"),
        ("normal(std=exp(1))", r"^w: scheme .*an expression is made of numbers"),
        ("normal(*[1, 2])", r"^w: scheme .*an expression is made of numbers"),
        ("normal(**{'std': 1})", r"^w: scheme .*\*\* is not allowed"),
        ("normal(std='a' * 3)", r"^w: scheme .*'a' is not a number"),
        ("normal(std=True + 1)", r"^w: scheme .*True is not a number"),
        ("normal(std=[1] * 3)", r"^w: scheme .*\[1\] is not a number"),
        ("normal(std=1 / 0)", r"^w: scheme .*division by zero"),
        ("normal(std=sqrt(-1))", r"^w: scheme .*(domain|nonnegative)"),
        ("normal(std=1e308 * 10)", r"^w: scheme .*std must be finite"),
        (f"normal(std=1{'0' * 400})", r"^w: scheme .*std must be within the range of float64$"),
        ("normal(std=-1)", r"^w: scheme .*std must not be negative"),
        ("normal(std=True)", r"^w: scheme .*std must be a number, not True"),
        ("normal(std='1')", r"^w: scheme .*std must be a number, not '1'"),
        ("normal(1, 2, 3)", r"^w: scheme .*positional arguments"),
        ("normal(sd=1)", r"^w: scheme .*unexpected keyword argument 'sd'"),
        ("normal(0, std=1, mean=2)", r"^w: scheme .*multiple values"),
        ("normal(std=1, std=2)", r"^w: scheme .*std"),
        ("uniform(1, 1)", r"^w: scheme .*low must be less than high"),
        ("he_normal(mode='fan_up')", r"^w: scheme .*mode must be one of"),
        ("constant()", r"^w: scheme .*missing 1 required"),
        ("literal([])", r"^w: scheme .*values must not be empty"),
        ("literal([[1], [2, 3]])", r"^w: scheme .*"),
        ("literal([1, 2])", r"^w: literal values have shape \(2,\)"),
        ("normal(" + "-" * 5000 + "1)", r"^w: scheme "),
        ("normal(" + "(" * 500 + "1" + ")" * 501, r"^w: scheme "),
        ("normal(" + "1+" * 5000 + "1)", r"^w: scheme "),
    ]
]


@pytest.mark.parametrize(("text", "match"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_malformed_toml_is_one_line_that_says_where(text, match):
    with pytest.raises(ValueError, match=match) as caught:
        Plan.from_toml(text)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "[tensors.w]\nshape" + ".a" * 3000 + " = 1"])
def test_toml_nested_too_deeply(text):
    gc.collect()  # the callbacks of what other tests left would find no room on the stack
    with pytest.raises(ValueError, match=r"^(malformed TOML: nested too deeply|w: shape must be an array [^\n]*)$"):
        Plan.from_toml(text)


@pytest.mark.parametrize("scheme", ["{0}", "normal(std={0})", "normal({0})", "zeros({0})()", "Axes({0})"])
def test_no_code_runs(tmp_path, scheme):
    mark = tmp_path / "mark"
    for code in (f"open({str(mark)!r}, 'w')", f"__import__('pathlib').Path({str(mark)!r}).touch()"):
        for field in ("scheme", "layout"):
            other = 'scheme = "ones()", ' if field == "layout" else ""
            with pytest.raises(ValueError, match=rf"^w: {field} "):
                Plan.from_toml(tensor(f"shape = [2, 2], {other}{field} = {json.dumps(scheme.format(code))}"))
    assert not mark.exists()


@given(st.text(max_size=60) | st.text("[]{}=\"'.,#\n rulestnoadshp01", max_size=60))
@settings(max_examples=300, deadline=None, database=None)
def test_any_text_gives_a_plan_or_one_line(text):
    if text.endswith(".toml"):
        return
    try:
        Plan.from_toml(text)
    except ValueError as error:
        assert "\n" not in str(error)


@given(st.text(max_size=40) | st.text("normalzesIterdiu()[]{}=\"'.,+-*/ 0123456789sqrt\\\n", max_size=40))
@settings(max_examples=300, deadline=None, database=None)
def test_any_scheme_text_gives_a_scheme_or_one_line(text):
    try:
        Plan.from_toml(tensor(f"shape = [2, 2], scheme = {json.dumps(text).replace(chr(127), '')}"))
    except ValueError as error:
        assert "\n" not in str(error)


def test_copies_share_a_key():
    """A tensor that has another's key and all else of it is a copy: through TOML, files and every way of drawing."""
    law = winit.normal(std=0.1)
    plan = Plan({"online": Param((8, 4), scheme=law), "target": Param((8, 4), scheme=law, key="online")})
    drawn = plan.build(seed=3)
    assert np.array_equal(drawn["online"], drawn["target"]) and drawn["online"] is not drawn["target"]
    assert Plan.from_toml(plan.to_toml()) == plan
