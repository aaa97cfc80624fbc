"""Methods from plan to plan: numbers by the papers' formulas, what is left alone, and what is refused."""

import math

import numpy as np
import pytest

import winit
from winit import Axes, Param, Plan, methods

BASE = winit.normal(std=0.5)


def plan_of(**shapes):
    """Tensors of these shapes; a double underscore stands for a dot, which no keyword can hold."""
    return Plan({name.replace("__", "."): shape for name, shape in shapes.items()}, rules=[("*", BASE)])


def stds(plan):
    return [param.scheme.moments(param.shape, param.layout).std for param in plan.stored.values()]


TRANSFORMER = Plan(
    {
        "emb.weight": (50, 16),
        "h.0.attn.qk.weight": (32, 16),
        "h.0.attn.v.weight": (16, 16),
        "h.0.mlp.up.weight": (64, 16),
        "h.0.mlp.down.weight": (16, 64),
        "h.0.mlp.down.bias": (16,),
        "h.11.mlp.down.weight": (16, 64),
        "head.weight": Param(tied="emb.weight"),
    },
    rules=[("*.bias", winit.zeros()), ("*", BASE)],
)


# ---- what is common to all of them


def methods_called(plan, glob):
    """Every public method with `glob` where it takes one."""
    return {
        "assign": lambda: methods.assign(plan, [(glob, winit.zeros())]),
        "biases": lambda: methods.biases(plan, match=glob),
        "deepnorm": lambda: methods.deepnorm(plan, decoder=glob, decoder_layers=2),
        "depth_scaled_residuals": lambda: methods.depth_scaled_residuals(plan, glob),
        "fixup": lambda: methods.fixup(plan, glob, (), blocks=2, depth=2),
        "gpt2_residuals": lambda: methods.gpt2_residuals(plan, glob, layers=2),
        "lora": lambda: methods.lora(plan, glob, ()),
        "mup": lambda: methods.mup(plan, plan or TRANSFORMER, match=glob),
        "neox": lambda: methods.neox(plan, glob, (), layers=2, dim=4),
        "silent_branches": lambda: methods.silent_branches(plan, glob),
        "sparse_connectivity": lambda: methods.sparse_connectivity(plan, 0.5, match=glob),
        "t_fixup": lambda: methods.t_fixup(plan, embeddings=(), decoder=glob, decoder_layers=2, dim=4),
    }


NAMES = sorted(methods_called(TRANSFORMER, "*"))


def test_every_method_is_here():
    assert set(methods.__all__) == {*NAMES, "scaled"}


@pytest.mark.parametrize("name", NAMES)
def test_globs_that_match_nothing(name):
    with pytest.raises(ValueError, match=r"'h\.9\.\*' matches no name"):
        methods_called(TRANSFORMER, "h.9.*")[name]()
    with pytest.raises(ValueError, match=r"'head\.weight' matches no name"):  # it is tied
        methods_called(TRANSFORMER, "head.weight")[name]()
    with pytest.raises(TypeError, match="must be a pattern or several, not 3$"):
        methods_called(TRANSFORMER, ("*", 3))[name]()
    with pytest.raises(TypeError, match=r"^plan must be a winit\.Plan, not dict$"):
        methods_called({}, "*")[name]()


@pytest.mark.parametrize("name", NAMES)
def test_others_tied_tensors_keys_and_order_stay(name):
    plan = Plan(
        {
            "one.weight": Param((8, 8), BASE, "bfloat16", Axes(1, 0, splits=2), key="old name"),
            "l.0.weight": Param((8, 6), BASE, "float64", "io"),
            "tied": Param(tied="l.0.weight"),
            "steps": Param((), winit.zeros(), "int64"),
        }
    )
    changed = methods_called(plan, "l.0.weight")[name]()
    assert list(changed) == list(plan) and changed["tied"] == plan["tied"]
    assert changed["one.weight"] == plan["one.weight"] and changed["steps"] == plan["steps"]
    assert changed["l.0.weight"].layout == "io" and changed["l.0.weight"].dtype == "float64"
    assert changed["l.0.weight"].shape == (8, 6)
    assert (changed["l.0.weight"].scheme != BASE) == (name != "mup")
    assert plan["l.0.weight"].scheme == BASE


def test_assign_takes_the_first_match():
    plan = methods.assign(
        TRANSFORMER,
        [
            (("*.up.weight", "*.down.*"), winit.ones()),
            ("h.*.weight", lambda name, param: winit.constant(len(name) + param.shape[0])),
        ],
    )
    assert plan["h.0.mlp.up.weight"].scheme == plan["h.0.mlp.down.bias"].scheme == winit.ones()
    assert plan["h.0.attn.v.weight"].scheme == winit.constant(len("h.0.attn.v.weight") + 16)
    assert plan["emb.weight"].scheme == BASE


# ---- scaled


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (winit.constant(3), winit.constant(1.5)),
        (winit.ones(), winit.constant(0.5)),
        (winit.uniform(-1, 3), winit.uniform(-0.5, 1.5)),
        (winit.normal(2, 4), winit.normal(1, 2)),
        (winit.truncated_normal(1, 2, -1, 3), winit.truncated_normal(0.5, 1, -1, 3)),
        (winit.he_normal(), winit.normal(std=math.sqrt(2 / 200) / 2)),
        (winit.lecun_uniform(), winit.uniform(-math.sqrt(3 / 200) / 2, math.sqrt(3 / 200) / 2)),
        (winit.depth_scaled(1, 0.04, cut=2.0), winit.truncated_normal(std=0.01)),
        (winit.sparse(7, 0.3), winit.sparse(7, 0.15)),
        (winit.embedding(3.0, 5), winit.embedding(1.5, 5)),
        (winit.embedding(3.0), winit.normal(std=1.5)),
    ],
)
def test_scaled(scheme, expected):
    found = methods.scaled(scheme, 0.5, (10, 200))
    assert found == expected
    a, b = (winit.draw(s, (10, 200), seed=0, dtype="float64") for s in (found, scheme))
    assert np.allclose(a, b / 2, rtol=1e-15, atol=0)
    assert not winit.draw(methods.scaled(scheme, 0, (10, 200)), (10, 200), seed=0).any()


def test_scaled_refuses():
    for scheme in (winit.orthogonal(), winit.sparse_rows(0.5), winit.sparse_columns(0.5, 1.0), winit.identity()):
        with pytest.raises(TypeError, match=r"cannot be scaled from outside; give it another std or gain$"):
            methods.scaled(scheme, 0.5, (10, 20))
    with pytest.raises(ValueError, match=r"^factor must not be negative, not -1\.0$"):
        methods.scaled(BASE, -1, (10, 20))
    with pytest.raises(TypeError, match="^factor must be a number, not '2'$"):
        methods.scaled(BASE, "2", (10, 20))


# ---- residual streams


def test_gpt2_residuals():
    plan = methods.gpt2_residuals(TRANSFORMER, ("*.down.weight", "*.v.weight"), layers=12, std=0.03)
    expected = 0.03 / math.sqrt(2 * 12)
    assert stds(plan) == pytest.approx([0.5, 0.5, expected, 0.5, expected, 0, expected], rel=1e-14)


def test_depth_scaled_residuals():
    plan = methods.depth_scaled_residuals(TRANSFORMER, "*.down.weight", std=0.04)
    assert stds(plan)[4::2] == pytest.approx([0.04 / math.sqrt(2), 0.04 / math.sqrt(24)], rel=1e-14)
    plan = methods.depth_scaled_residuals(TRANSFORMER, "*.down.weight", cut=3)
    assert plan["h.11.mlp.down.weight"].scheme == winit.depth_scaled(11, cut=3)
    plan = plan_of(block7_out=(4, 4), x__2__w=(4, 4))
    assert methods.depth_scaled_residuals(plan, "block*", number=r"block(\d+)")["block7_out"].scheme.layer == 7
    assert methods.depth_scaled_residuals(plan, "x*")["x.2.w"].scheme.layer == 2
    with pytest.raises(ValueError, match=r"^block7_out: no layer number, which "):
        methods.depth_scaled_residuals(plan, "*")
    with pytest.raises(ValueError, match="^number must be a regular expression, not "):
        methods.depth_scaled_residuals(plan, "*", number="(")
    for number in (3, None):
        with pytest.raises(TypeError, match="^number must be a str, not "):
            methods.depth_scaled_residuals(plan, "*", number=number)
    with pytest.raises(ValueError, match="^number must have a group, the layer's number, and .* has none$"):
        methods.depth_scaled_residuals(plan, "*", number=r"\d+")


def test_neox():
    plan = methods.neox(TRANSFORMER, ("*.qk.weight", "*.up.weight"), "*.down.weight", layers=12, dim=16)
    small, wang = math.sqrt(2 / (5 * 16)), 2 / (12 * math.sqrt(16))
    assert stds(plan) == pytest.approx([0.5, small, 0.5, small, wang, 0, wang], rel=1e-14)
    overlapping = methods.neox(TRANSFORMER, "h.*.weight", "*.down.weight", layers=12, dim=16)
    assert stds(overlapping) == pytest.approx([0.5, small, small, small, wang, 0, wang], rel=1e-14)


def test_lora():
    plan = plan_of(q__A=(4, 100), q__B=(64, 4), other=(4, 4))
    uniform = methods.lora(plan, "*.A", "*.B")
    assert stds(uniform) == pytest.approx([1 / math.sqrt(3 * 100), 0, 0.5], rel=1e-14)
    assert uniform["q.A"].scheme.moments((4, 100)).high == pytest.approx(0.1, rel=1e-14)
    assert stds(methods.lora(plan, "*.A", "*.B", init="gaussian")) == pytest.approx([0.25, 0, 0.5], rel=1e-14)
    with pytest.raises(ValueError, match="^init must be 'kaiming' or 'gaussian', not 'pissa'$"):
        methods.lora(plan, "*.A", "*.B", init="pissa")


def test_fixup():
    plan = plan_of(stem=(16, 3, 3, 3), b1__conv1=(16, 16, 3, 3), b1__conv2=(8, 16, 3, 3), fc=(10, 16))
    for blocks, depth in ((8, 2), (16, 3), (5, 4)):
        found = methods.fixup(plan, "*.conv1", "*.conv2", "fc", blocks=blocks, depth=depth)
        he = math.sqrt(2 / (16 * 9)) * blocks ** (-1 / (2 * depth - 2))
        assert stds(found) == pytest.approx([0.5, he, 0, 0], rel=1e-14)
    assert stds(methods.fixup(plan, "*.conv1", "*.conv2", blocks=1, depth=2))[3] == 0.5
    with pytest.raises(ValueError, match="^depth must be at least 2, not 1: a branch's last layer is 0$"):
        methods.fixup(plan, "*.conv1", "*.conv2", blocks=4, depth=1)
    with pytest.raises(ValueError, match="^blocks must be at least 1, not 0$"):
        methods.fixup(plan, "*.conv1", "*.conv2", blocks=0, depth=2)
    with pytest.raises(TypeError, match="^depth must be an integer, not float$"):
        methods.fixup(plan, "*.conv1", "*.conv2", blocks=4, depth=2.5)


def xavier(out, in_):
    return math.sqrt(2 / (out + in_))


def test_t_fixup():
    """Scale Xavier's by (9 N)^(-1/4) in the decoder and 0.67 N^(-1/4) in the encoder; embeddings N(0, 1 / d) too."""
    plan = plan_of(emb=(50, 16), enc__v=(16, 16), enc__up=(64, 16), dec__v=(16, 16), dec__q=(16, 16))
    found = methods.t_fixup(
        plan,
        embeddings="emb",
        encoder="enc.*",
        decoder="dec.v",
        others="dec.q",
        encoder_layers=6,
        decoder_layers=3,
        dim=16,
    )
    expected = [27**-0.25 / 4, 0.67 * 6**-0.25 * xavier(16, 16), 0.67 * 6**-0.25 * xavier(64, 16)]
    assert stds(found) == pytest.approx([*expected, 27**-0.25 * xavier(16, 16), xavier(16, 16)], rel=1e-14)
    assert type(found["enc.v"].scheme) is winit.xavier_uniform and type(found["emb"].scheme) is winit.normal
    found = methods.t_fixup(plan, embeddings="emb", encoder="enc.*", encoder_layers=6, dim=16)
    assert stds(found)[0] == pytest.approx(54**-0.25 / 4, rel=1e-14)
    with pytest.raises(ValueError, match="^t_fixup needs patterns of the encoder's or the decoder's matrices$"):
        methods.t_fixup(plan, embeddings="emb", dim=16)
    with pytest.raises(ValueError, match="^decoder_layers must be at least 1, not 0$"):
        methods.t_fixup(plan, embeddings="emb", decoder="dec.*", dim=16)
    with pytest.raises(ValueError, match="^dim must be at least 1, not 0$"):
        methods.t_fixup(plan, embeddings="emb", decoder="dec.*", decoder_layers=1, dim=0)


def test_deepnorm():
    """DeepNet, figure 2: beta of the encoder alone, the decoder alone, and of both."""
    plan = plan_of(enc__v=(16, 16), enc__up=(64, 16), dec__v=(16, 16), dec__q=(16, 16))
    x, up = xavier(16, 16), xavier(64, 16)
    both = methods.deepnorm(plan, encoder="enc.*", decoder="dec.v", others="dec.q", encoder_layers=18, decoder_layers=6)
    e, d = 0.87 * (18**4 * 6) ** (-1 / 16), (12 * 6) ** (-1 / 4)
    assert stds(both) == pytest.approx([e * x, e * up, d * x, x], rel=1e-14)
    encoder = methods.deepnorm(plan, encoder="enc.*", encoder_layers=18)
    assert stds(encoder) == pytest.approx([(8 * 18) ** -0.25 * x, (8 * 18) ** -0.25 * up, 0.5, 0.5], rel=1e-14)
    decoder = methods.deepnorm(plan, decoder="dec.*", decoder_layers=100)
    assert stds(decoder)[2:] == pytest.approx([800**-0.25 * x] * 2, rel=1e-14)
    assert type(decoder["dec.v"].scheme) is winit.xavier_normal
    with pytest.raises(ValueError, match="^deepnorm needs patterns of the encoder's or the decoder's matrices$"):
        methods.deepnorm(plan, others="*")
    with pytest.raises(ValueError, match="^encoder_layers must be at least 1, not 0$"):
        methods.deepnorm(plan, encoder="enc.*")


def test_silent_branches_and_biases():
    plan = plan_of(
        bn2__weight=(8,), fc__weight=(8, 16), fc__bias=(8,), conv__weight=(8, 4, 3), conv__bias=(8,), odd=(3,)
    )
    assert methods.silent_branches(plan, "bn2.*")["bn2.weight"].scheme == winit.zeros()
    assert methods.silent_branches(plan, "bn2.*", value=1e-5)["bn2.weight"].scheme == winit.constant(1e-5)
    assert methods.biases(plan)["fc.bias"].scheme == winit.zeros()
    assert methods.biases(plan, 0.01)["conv.bias"].scheme == winit.constant(0.01)
    torch = methods.biases(plan, "torch")
    assert torch["fc.bias"].scheme == winit.uniform(-0.25, 0.25)
    assert torch["conv.bias"].scheme == winit.uniform(-1 / math.sqrt(12), 1 / math.sqrt(12))
    assert torch["fc.weight"].scheme == BASE
    kernel = Plan({"d.kernel": Param((16, 8), BASE, "float32", "io"), "d.bias": Param((8,), BASE, "float32")})
    assert methods.biases(kernel, "torch", weight="kernel")["d.bias"].scheme == winit.uniform(-0.25, 0.25)
    with pytest.raises(ValueError, match=r"^d\.bias: its weight 'd\.weight' is not in the plan$"):
        methods.biases(kernel, "torch")
    with pytest.raises(ValueError, match=r"^odd: its weight 'weight' is not in the plan$"):
        methods.biases(plan, "torch", match="odd")
    with pytest.raises(ValueError, match=r"^bn2\.bias: its weight 'bn2\.weight' has no fans: "):
        methods.biases(plan_of(bn2__weight=(8,), bn2__bias=(8,)), "torch")
    with pytest.raises(ValueError, match="^rule must be 'zeros', 'torch' or a number, not 'keras'$"):
        methods.biases(plan, "keras")
    with pytest.raises(TypeError, match="^rule must be a number, not None$"):
        methods.biases(plan, None)
    with pytest.raises(TypeError, match="^value must be a number, not 'a'$"):
        methods.silent_branches(plan, "bn2.*", value="a")


# ---- widths


def model(d, layout="oi", scheme=BASE):
    shapes = {"in": (d, 10), "mid": (4 * d, d), "down": (d, 4 * d), "out": (10, d), "conv": (d, d, 3), "fixed": (7, 5)}
    if layout == "io":
        shapes = {name: (*shape[2:], shape[1], shape[0]) for name, shape in shapes.items()}
    shapes |= {"bias": (d,), "gain": ()}
    return Plan({name: Param(shape, scheme, "float32", layout) for name, shape in shapes.items()})


@pytest.mark.parametrize("layout", ["oi", "io"])
@pytest.mark.parametrize("width", [64, 25, 400])
def test_mup_is_the_papers_table(layout, width):
    """Tensor Programs V, table 3: variances of input weights and biases 1 (in width), hidden 1 / r, output 1 / r^2."""
    r = width / 100
    found = methods.mup(model(width, layout, winit.zeros()), model(100, layout))
    expected = {
        "in": 1,
        "mid": r**-0.5,
        "down": r**-0.5,
        "out": 1 / r,
        "conv": r**-0.5,
        "fixed": 1,
        "bias": 1,
        "gain": 1,
    }
    assert dict(zip(found, stds(found), strict=True)) == pytest.approx(
        {k: 0.5 * v for k, v in expected.items()}, rel=1e-14
    )
    zero = methods.mup(model(width, layout), model(100, layout), zero_outputs=True)
    assert zero["out"].scheme == winit.zeros() and zero["mid"].scheme == found["mid"].scheme


def test_mup_at_the_base_width_is_the_base():
    for scheme in (winit.he_normal(), winit.xavier_uniform(), winit.orthogonal()):
        base = Plan({"w": Param((8, 6), scheme, "float32"), "steps": Param((2,), winit.zeros(), "int64")})
        assert dict(methods.mup(base, base)) == dict(base)


def test_mup_carries_fan_based_schemes_at_their_base_width():
    base = Plan({"out": (10, 100)}, rules=[("*", winit.lecun_normal())])
    wide = Plan({"out": (10, 400)}, rules=[("*", winit.ones())])
    assert stds(methods.mup(wide, base)) == pytest.approx([0.1 / 4])


def test_mup_refuses():
    base = plan_of(w=(8, 6))
    with pytest.raises(TypeError, match=r"^base must be a winit\.Plan, not dict$"):
        methods.mup(base, {})
    with pytest.raises(ValueError, match="^v: not in the base plan, or tied there$"):
        methods.mup(plan_of(v=(8, 6)), base)
    with pytest.raises(ValueError, match=r"^w: of shape \(8, 6, 3\), and of \(8, 6\) in the base plan$"):
        methods.mup(plan_of(w=(8, 6, 3)), base)
    whole = Plan({"w": Param((8, 6), winit.orthogonal(), "float32")})
    with pytest.raises(TypeError, match=r"orthogonal\(\) cannot be scaled from outside"):
        methods.mup(plan_of(w=(16, 12)), whole)


# ---- sparse layers


def rigl(shapes, sparsity, kernel, power=1.0):
    """Densities of RigL's sparsity_erdos_renyi (google-research/rigl, sparse_utils), shapes (*spatial, in, out)."""
    dense = set()
    while True:
        divisor, ones, raw = 0.0, 0.0, {}
        for name, shape in shapes.items():
            size = math.prod(shape)
            zeros = sparsity * size
            if name in dense:
                ones -= zeros
            else:
                ones += size - zeros
                sides = shape if kernel else shape[-2:]
                raw[name] = (sum(sides) / math.prod(sides)) ** power
                divisor += raw[name] * size
        if not raw:
            return dict.fromkeys(shapes, 1.0)
        epsilon, most = ones / divisor, max(raw.values())
        if most * epsilon <= 1:
            return {name: epsilon * raw[name] if name in raw else 1.0 for name in shapes}
        dense |= {name for name, value in raw.items() if value == most}


LAYERS = {
    "conv1": (7, 7, 3, 64),
    "conv2": (3, 3, 64, 64),
    "conv2b": (3, 3, 64, 64),
    "conv3": (1, 1, 64, 256),
    "conv4": (3, 3, 256, 256),
    "fc1": (1024, 512),
    "fc2": (512, 10),
}


@pytest.mark.parametrize("layout", ["io", "oi"])
@pytest.mark.parametrize("power", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("density", [0.01, 0.1, 0.35, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("connectivity", ["erk", "erdos_renyi"])
def test_sparse_connectivity_is_rigls(connectivity, density, power, layout):
    shapes = {n: s if layout == "io" else (s[-1], s[-2], *s[:-2]) for n, s in LAYERS.items()}
    plan = Plan({name: Param(shape, winit.he_normal(), "float32", layout) for name, shape in shapes.items()})
    found = methods.sparse_connectivity(plan, density, match="*", connectivity=connectivity, power=power)
    expected = rigl(LAYERS, 1 - density, connectivity == "erk", power)
    kept = 0
    for name, shape in LAYERS.items():
        fan_in, scheme = math.prod(shape[:-1]), found[name].scheme
        assert type(scheme) is winit.sparse
        assert abs(scheme.k - expected[name] * fan_in) <= 0.5 + 1e-6 or scheme.k == 1
        assert 1 <= scheme.k <= fan_in
        assert scheme.std == winit.he_normal().moments(shape, "io").std
        kept += scheme.k * shape[-1]
    # Each unit's k is within 1/2 of its share, or at least 1.
    assert abs(kept - density * sum(map(math.prod, LAYERS.values()))) <= sum(s[-1] for s in LAYERS.values())
    if density == 1:
        assert all(expected[name] == pytest.approx(1) for name in LAYERS)
    if density == 0.35 and power == 1:
        assert any(share == 1 for share in expected.values())  # the case in which small layers are dense


def test_uniform_connectivity():
    plan = Plan({"a": (30, 40), "b": (5, 7, 3)}, rules=[("*", winit.lecun_normal())])
    found = methods.sparse_connectivity(plan, 0.2, match="*", connectivity="uniform")
    assert [p.scheme.k for p in found.values()] == [8, 4]
    assert (winit.draw(found["b"].scheme, (5, 7, 3), seed=0).reshape(5, 21) != 0).sum(axis=1).tolist() == [4] * 5


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_density_is_a_decimal_number(percent):
    """k is the nearest integer to percent / 100 of the inputs, halves to the even one, whatever binary products are."""
    sizes = (7, 10, 30, 50, 90, 100, 130, 150)
    plan = Plan({str(n): (3, n) for n in sizes}, rules=[("*", winit.lecun_normal())])
    for keywords in ({"connectivity": "uniform"}, {"power": 0.0}):
        found = methods.sparse_connectivity(plan, percent / 100, match="*", **keywords)
        for n in sizes:
            whole, rest = divmod(percent * n, 100)
            nearest = whole + (rest > 50 or (rest == 50 and whole % 2 == 1))
            assert found[str(n)].scheme.k == max(nearest, 1), (percent, n)


def test_sparse_connectivity_refuses():
    plan = plan_of(a__weight=(30, 40), b__weight=(5,))
    for keywords, error, match in (
        ({"density": 0}, ValueError, r"^density must be above 0 and at most 1, not 0\.0$"),
        ({"density": 1.5}, ValueError, r"^density must be above 0 and at most 1, not 1\.5$"),
        ({"density": "1"}, TypeError, "^density must be a number, not '1'$"),
        ({"density": 0.5, "power": -1}, ValueError, r"^power must not be negative, not -1\.0$"),
        (
            {"density": 0.5, "connectivity": "er"},
            ValueError,
            "^connectivity must be one of 'erk', 'erdos_renyi', 'uniform', not",
        ),
        ({"density": 0.5}, ValueError, r"^b\.weight: layout 'oi' needs a shape of at least two axes"),
    ):
        with pytest.raises(error, match=match):
            methods.sparse_connectivity(plan, **keywords)


def test_methods_keep_a_model_drawable():
    """The plans that come out are plans: built, and round through TOML."""
    plan = methods.sparse_connectivity(TRANSFORMER, 0.3, match="h.*.weight")
    plan = methods.silent_branches(plan, "*.bias", value=0.5)
    assert dict(Plan.from_toml(plan.to_toml())) == dict(plan)
    built = plan.build(seed=0)
    k = plan["h.0.mlp.up.weight"].scheme.k
    assert ((built["h.0.mlp.up.weight"] != 0).sum(axis=1) == k).all()
    assert (built["h.0.mlp.down.bias"] == 0.5).all()
