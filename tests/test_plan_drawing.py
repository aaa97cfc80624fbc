"""What plans do with arrays: from_shapes, draw, fill, build of a part; and the digest."""

import numpy as np
import pytest

import winit
from winit import Axes, Param, Plan, Rule

RULES = [("*.bias", winit.zeros()), ("*", winit.he_normal())]
PLAN = Plan(
    {
        "emb": Param((50, 8), winit.normal(std=0.02), "bfloat16"),
        "fc.weight": (24, 8),
        "fc.bias": (24,),
        "q": Param((6, 6), winit.orthogonal(), "float64", key="old.q"),
        "steps": Param((4,), winit.literal([1, 2, 3, 4]), "int32"),
        "eye": Param((5, 7), winit.identity()),
        "head": Param(tied="emb"),
    },
    [("*.weight", winit.he_normal()), ("*.bias", winit.constant(0.5))],
)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ---- draw


def test_draw_is_build():
    built = PLAN.build(seed=3)
    for name, param in PLAN.items():
        assert same(PLAN.draw(name, seed=3), built[name])
        assert same(
            PLAN.draw(name, seed=3),
            winit.draw(
                PLAN["emb" if param.tied else name].scheme,
                param.shape,
                seed=3,
                name=PLAN.key(name),
                dtype=param.dtype,
                layout=param.layout,
            ),
        )


@pytest.mark.parametrize(
    "box", [slice(1, 3), (slice(1, -1),), (..., slice(2, 4)), range(2, 4), slice(None), slice(-2, None)]
)
def test_draw_of_a_box(box):
    for name in ("emb", "fc.weight", "q", "steps", "eye", "head"):
        whole = PLAN.draw(name, seed=1)
        expected = whole.reshape(-1)[box.start : box.stop] if isinstance(box, range) else whole[box]
        assert same(PLAN.draw(name, seed=1, box=box), np.ascontiguousarray(expected))


def test_draw_refuses():
    with pytest.raises(ValueError, match=r"^the plan has no tensor 'fc\.wieght'; the nearest is 'fc\.weight'$"):
        PLAN.draw("fc.wieght", seed=0)
    with pytest.raises(TypeError, match="name must be a str, not int"):
        PLAN.draw(3, seed=0)
    with pytest.raises(ValueError, match="outside axis 0 of size 24"):
        PLAN.draw("fc.weight", seed=0, box=slice(0, 25))


# ---- build of a part


def test_build_of_a_part():
    built = PLAN.build(seed=0)
    assert list(PLAN.build(seed=0, names="fc.*")) == ["fc.weight", "fc.bias"]
    part = PLAN.build(seed=0, names=["head", "q"])
    assert list(part) == ["q", "head"] and all(same(part[name], built[name]) for name in part)
    both = PLAN.build(seed=0, names=("emb", "head"))
    assert both["head"] is both["emb"]
    with pytest.raises(ValueError, match=r"^the pattern 'fc\.waight' matches no name; the nearest is 'fc\.weight'$"):
        PLAN.build(seed=0, names=["emb", "fc.waight"])
    with pytest.raises(TypeError, match="names must be a pattern or several, not 3"):
        PLAN.build(seed=0, names=3)


# ---- fill


def arrays(plan):
    return {name: np.full_like(array, 7) for name, array in plan.build(seed=0).items()}


def test_fill_is_build():
    out, built = arrays(PLAN), PLAN.build(seed=5)
    strided = {name: np.repeat(array, 2, axis=0)[::2] for name, array in out.items()}
    for given in (out, strided):
        assert PLAN.fill(given, seed=5) is None
        for name in PLAN:
            assert (given[name].astype(np.float64) == built[name].astype(np.float64)).all()


def test_fill_leaves_what_the_mapping_lacks():
    out = {"fc.bias": np.zeros(24, np.float32)}
    PLAN.fill(out, seed=0)
    assert (out["fc.bias"] == 0.5).all() and list(out) == ["fc.bias"]


def test_fill_of_tied_names():
    """Memory that two names share is filled once; where they have memory of their own, both get the values."""
    table = np.zeros((50, 8), PLAN.draw("emb", seed=0).dtype)
    PLAN.fill({"emb": table, "head": table}, seed=2)
    other = np.zeros_like(table)
    PLAN.fill({"head": other}, seed=2)
    assert same(table, other) and same(table, PLAN.draw("emb", seed=2))


def test_fill_writes_nothing_before_all_is_checked():
    frozen = np.zeros(24, np.float32)
    frozen.flags.writeable = False
    wrong = [
        (
            {"fc.biass": np.zeros(24, np.float32)},
            ValueError,
            "the plan has no tensor 'fc.biass'; the nearest is 'fc.bias'",
        ),
        ({"fc.bias": np.zeros(23, np.float32)}, ValueError, r"^fc\.bias: out has shape \(23,\), expected \(24,\)$"),
        ({"fc.bias": np.zeros(24)}, ValueError, r"^fc\.bias: out holds float64, and the plan says float32$"),
        ({"fc.bias": frozen}, ValueError, r"^fc\.bias: out must be writeable, and is read-only$"),
        ({"fc.bias": [0.0] * 24}, TypeError, r"^fc\.bias: out must be a NumPy array or an object that speaks DLPack"),
    ]
    for entry, error, match in wrong:
        weight = np.full((24, 8), 7, np.float32)
        with pytest.raises(error, match=match):
            PLAN.fill({"fc.weight": weight, **entry}, seed=0)
        assert (weight == 7).all()
    with pytest.raises(TypeError, match="tensors must be a mapping"):
        PLAN.fill([np.zeros(3)], seed=0)


# ---- from_shapes


class Struct:
    """What jax.ShapeDtypeStruct is: a shape and a dtype."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype


def test_from_shapes():
    made = Plan.from_shapes(
        {"fc.weight": np.zeros((4, 8), np.float16), "fc.bias": Struct((4,), "bf16"), "n": Struct([2, 3], np.float64)},
        RULES,
    )
    assert dict(made) == {
        "fc.weight": Param((4, 8), winit.he_normal(), "float16", "oi"),
        "fc.bias": Param((4,), winit.zeros(), "bfloat16", "oi"),
        "n": Param((2, 3), winit.he_normal(), "float64", "oi"),
    }
    with pytest.raises(TypeError, match=r"^a: must be an array or another object with a shape, not tuple; "):
        Plan.from_shapes({"a": (3, 4)}, RULES)
    with pytest.raises(TypeError, match=r"^a: must be an array or .*, not Param"):
        Plan.from_shapes({"a": Param((3, 4))}, RULES)
    with pytest.raises(ValueError, match=r"^the pattern '\*\.bias' matches no name"):
        Plan.from_shapes({"a": np.zeros((2, 2))}, RULES)


def test_from_a_state_dict_and_back():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2)).to(torch.bfloat16)
    plan = Plan.from_shapes(model.state_dict(), RULES)
    assert {param.dtype for param in plan.values()} == {"bfloat16"}
    plan.fill(model.state_dict(), seed=0)
    built = plan.build(seed=0)
    for name, tensor in model.state_dict().items():
        assert tensor.view(torch.uint16).numpy().tobytes() == built[name].tobytes()
    model.load_state_dict(
        {name: torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16) for name, array in built.items()}
    )


def test_from_jax():
    jax = pytest.importorskip("jax")
    plan = Plan.from_shapes(
        {"['Dense_0']['kernel']": jax.ShapeDtypeStruct((8, 4), jax.numpy.bfloat16)},
        [Rule("*['kernel']", winit.lecun_normal(), "io")],
    )
    assert plan["['Dense_0']['kernel']"] == Param((8, 4), winit.lecun_normal(), "bfloat16", "io")


# ---- rules


def test_what_is_none_comes_from_the_rule_and_then_the_defaults():
    layout = Axes(in_=1, out=2, batch=0)
    plan = Plan(
        {
            "a.experts": Param((4, 64, 128), dtype="float32"),
            "b.experts": (4, 64, 128),
            "c.experts": Param((4, 64, 128), layout="io"),
            "d.experts": Param((4, 64, 128), winit.lecun_normal()),
        },
        rules=[("*.experts", winit.lecun_normal(), layout, "float16")],
    )
    assert [param.dtype for param in plan.values()] == ["float32", "float16", "float16", "float32"]
    assert [param.layout for param in plan.values()] == [layout, layout, "io", "oi"]
    assert plan["a.experts"].scheme.moments((4, 64, 128), layout).std == 0.125


def test_a_pattern_that_matches_nothing_is_an_error():
    shapes = {"layers[0].scale": (4,), "fc.bias": (4,), "fc.weight": (4, 4)}
    with pytest.raises(ValueError, match=r"^the pattern '\*\.bais' matches no name; the nearest is 'fc\.bias'$"):
        Plan(shapes, [("*.bais", winit.zeros()), ("*", winit.ones())])
    plan = Plan(shapes, [("layers[0].scale", winit.zeros()), ("*", winit.ones())])
    assert plan["layers[0].scale"].scheme == winit.zeros()
    late = [("*", winit.ones()), ("fc.*", winit.zeros())]  # an earlier rule took what it matches
    assert {param.scheme for param in Plan(shapes, late).values()} == {winit.ones()}
    assert len(Plan(shapes, [Rule("nothing", winit.zeros(), optional=True), ("*", winit.ones())])) == 3


# ---- digest


def test_the_digest_is_over_what_the_tensors_are():
    base = {"a": Param((4, 4), winit.normal(), "float32", "oi", key="k"), "b": Param((2,), winit.zeros())}
    changed = [
        {"c": base["a"], "b": base["b"]},
        {**base, "a": Param((4, 5), winit.normal(), key="k")},
        {**base, "a": Param((4, 4), winit.normal(std=2), key="k")},
        {**base, "a": Param((4, 4), winit.normal(), "float16", key="k")},
        {**base, "a": Param((4, 4), winit.normal(), layout="io", key="k")},
        {**base, "a": Param((4, 4), winit.normal())},
        {**base, "b": Param((2,), winit.ones())},
        {**base, "c": Param(tied="a")},
        dict(reversed(base.items())),
    ]
    digests = [Plan(params).digest for params in (base, *changed)]
    assert len(set(digests)) == len(digests)
    assert Plan({"a": base["a"], "b": (2,)}, [("b", winit.zeros())]).digest == digests[0]
    assert Plan.from_toml(Plan(base).to_toml()).digest == digests[0]
