"""What newcomers stumbled over: each message in the caller's own terms, of one line, from winit's own check."""

import copy
import inspect
import pickle
import traceback

import numpy as np
import pytest

import winit
from winit import Axes, Param, Plan, checkpoint, methods

PLAN = Plan({"w": (4, 4)}, [("*", winit.he_normal())])


class Two:
    """An integer by __index__ alone."""

    def __index__(self):
        return 2


def test_threads_may_be_any_integer():
    assert winit.draw(winit.normal(), 3, seed=0, threads=Two()).shape == (3,)
    assert PLAN.build(seed=0, threads=Two())["w"].shape == (4, 4)


CASES = {
    "a scheme's class called as draw is": (
        lambda: winit.he_normal((3, 4), seed=0),
        TypeError,
        r"^he_normal\(\) makes a scheme; winit\.he_normal\(\)\(\(3, 4\), seed=0\) or "
        r"winit\.draw\(winit\.he_normal\(\), \(3, 4\), seed=0\) draws an array$",
    ),
    "a scheme's class called with a shape": (
        lambda: winit.zeros((3, 4)),
        TypeError,
        r"^zeros\(\) makes a scheme; winit\.zeros\(\)\(\(3, 4\), seed=0\) or winit\.draw",
    ),
    "a scheme's class called with its own arguments and a seed": (
        lambda: winit.normal(0.5, seed=7),
        TypeError,
        r"^normal\(0\.5\) makes a scheme; winit\.normal\(0\.5\)\(shape, seed=7\) or winit\.draw\(winit\.normal",
    ),
    "in for in_": (lambda: Axes(**{"in": 1, "out": 0}), TypeError, r"^the input axis is in_, .*Axes\(in_=1, out=0\)$"),
    "no source of TOML": (
        lambda: Plan.from_toml(None),
        TypeError,
        "^source must be TOML text or a path, not None",
    ),
    "a recipe's name as TOML": (
        lambda: Plan.from_toml("gpt2"),
        ValueError,
        r"^'gpt2' is neither TOML text nor a path that ends in \.toml",
    ),
    "5000 digits": (
        lambda: Plan.from_toml(f"[tensors]\nw = {{ shape = [{'1' * 5000}] }}"),
        ValueError,
        "^malformed TOML: ",
    ),
    "verify without a plan": (
        lambda: checkpoint.verify("f", {"a": 1}, seed=0),
        TypeError,
        r"^plan must be a winit\.Plan, not dict$",
    ),
    "write without a plan": (
        lambda: checkpoint.write(3, "f", seed=0),
        TypeError,
        r"^plan must be a winit\.Plan, not int$",
    ),
    "a path of no kind": (lambda: PLAN.write(3, seed=0), TypeError, r"^path must be a str or os\.PathLike, not int$"),
    "an empty path": (lambda: PLAN.write("", seed=0), ValueError, "^path must not be empty$"),
    "connections of nothing": (
        lambda: methods.sparse_connectivity(Plan({"a.weight": (0, 5)}, [("*", winit.he_normal())]), 0.5),
        ValueError,
        r"^a\.weight: of shape \(0, 5\), has no elements to spread connections over$",
    ),
    "a base without inputs": (
        lambda: methods.mup(PLAN, Plan({"w": (4, 0)}, [("*", winit.he_normal())])),
        ValueError,
        r"^w: its base, of shape \(4, 0\), has no inputs to grow from$",
    ),
    "a scheme as text": (
        lambda: methods.assign(PLAN, [("*", "zeros")]),
        TypeError,
        r"^scheme must be a winit scheme such as .*, not 'zeros'; .* here it is winit\.zeros\(\)$",
    ),
    "a plan of text": (
        lambda: Plan("ab"),
        TypeError,
        "^params must be a mapping from names .*, not 'ab'$",
    ),
    "elements of no kind": (
        lambda: winit.fill(np.zeros(3, "V2"), winit.zeros(), seed=0),
        TypeError,
        r"^out must hold boolean, integer, real or complex numbers, not \|V2; dtype=",
    ),
    "an array of integers": (
        lambda: winit.fill(np.zeros((3, 3), np.int64), winit.he_normal(), seed=0),
        TypeError,
        r"^he_normal\(\) draws floating-point values, so out must hold one of float32, .*, not int64$",
    ),
    "a layout that is an array": (
        lambda: winit.fill(np.zeros(3, np.float32), winit.normal(), seed=0, layout=np.zeros(3)),
        TypeError,
        r"^layout must be 'oi', 'io' or winit\.Axes, not ndarray$",
    ),
    "a ragged list": (lambda: winit.literal([[1], [1, 2]]), ValueError, "^values must form a regular array$"),
    "a state_dict as shapes": (
        lambda: Plan({"w": np.zeros((3, 4))}, [("*", winit.zeros())]),
        TypeError,
        r"^w: must be a Param or a shape, not ndarray; Plan\.from_shapes takes arrays and tensors$",
    ),
    "a long expression": (
        lambda: Plan.from_toml(f'[tensors]\nw = {{ shape = [1], scheme = "normal(std={"1+" * 30000}x)" }}'),
        ValueError,
        "^.{20,400}$",
    ),
    "an adapter that is a scalar": (
        lambda: methods.lora(Plan({"A": (), "B": (4, 4)}, [("*", winit.normal())]), "A", "B", init="gaussian"),
        ValueError,
        "^A: layout 'oi' needs a shape of at least two axes",
    ),
}
CASES |= {
    f"zeros without parentheses in {where}": (call, TypeError, r"did you mean zeros\(\)\?$")
    for where, call in {
        "draw": lambda: winit.draw(winit.zeros, 3, seed=0),
        "Param": lambda: Param((3,), winit.zeros),
        "a rule": lambda: Plan({"a": (3,)}, [("*", winit.zeros)]),
        "Rule": lambda: winit.Rule("*", winit.zeros),
        "Plan": lambda: Plan({"a": winit.zeros}),
        "Plan.with_schemes": lambda: PLAN.with_schemes({"w": winit.zeros}),
        "with_layout": lambda: winit.with_layout(winit.zeros, "oi"),
        "assign": lambda: methods.assign(PLAN, [("*", winit.zeros)]),
        "Virtual": lambda: winit.Virtual(winit.zeros, (3, 3), seed=0),
    }.items()
}
CASES |= {
    f"TOML: {what}": (lambda text=text: Plan.from_toml(f"[tensors]\n{text}"), ValueError, match)
    for what, text, match in (
        (
            "a layout",
            'w = { shape = [3, 3], scheme = "ones()", layout = "io2" }',
            r"layout must be .*not 'io2'$",
        ),
        ("in for in_", 'w = { shape = [3, 3], scheme = "ones()", layout = "Axes(in=1, out=0)" }', "input axis is in_"),
        ("an unquoted name", 'a.b.w = { shape = [3], scheme = "ones()" }', r'a name with dots is quoted: "a\.b\.w" = '),
        (
            "a misspelt scheme",
            'w = { shape = [3, 3], scheme = "he_norml()" }',
            r"\(did you mean 'he_normal'",
        ),
    )
}


@pytest.mark.parametrize(("call", "error", "match"), CASES.values(), ids=CASES)
def test_messages(call, error, match):
    with pytest.raises(error, match=match) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    assert "winit" in traceback.extract_tb(caught.tb)[-1].filename


@pytest.mark.parametrize(
    "dtype",
    [
        *("bf16", "fp16", "fp32", "fp64", "numpy.float16", "torch.float16", "torch.bfloat16"),
        *("jax.numpy.float16", "jax.numpy.bfloat16", "fp8_e4m3", "fp8_e5m2", "torch.float8_e4m3fn"),
        *("torch.float8_e5m2", "jax.numpy.float8_e4m3fn", "jax.numpy.float8_e5m2", "ml_dtypes.float8_e5m2"),
    ],
)
def test_dtypes_by_their_usual_names(dtype):
    names = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}
    names |= {"fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2"}
    given, expected = dtype, names.get(dtype, dtype.rpartition(".")[2])
    if "." in dtype:
        module, _, name = dtype.rpartition(".")
        given = getattr(pytest.importorskip(module), name)
    assert winit.draw(winit.normal(), 3, seed=0, dtype=given).dtype.name == expected
    assert Param((3,), dtype=given).dtype == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e4m3fn"])
def test_from_shapes_takes_a_state_dict(dtype):
    torch = pytest.importorskip("torch")
    state = torch.nn.Linear(4, 3).to(getattr(torch, dtype)).state_dict()
    rules = [("*weight", winit.he_normal()), ("*bias", winit.zeros())]
    plan = Plan.from_shapes(state, rules)
    assert {name: (param.shape, param.dtype) for name, param in plan.items()} == {
        "weight": ((3, 4), dtype),
        "bias": ((3,), dtype),
    }
    with pytest.raises(
        TypeError, match=r"^weight: .* not Tensor; Plan\.from_shapes takes arrays and tensors$"
    ) as caught:
        Plan(state, rules)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_the_signature_of_a_scheme_is_its_factorys():
    assert list(inspect.signature(winit.he_normal).parameters) == ["a", "mode", "nonlinearity"]
    assert list(inspect.signature(Axes).parameters) == ["in_", "out", "batch", "groups", "splits", "groups_along"]
    assert copy.deepcopy(Axes(1, 0)) == pickle.loads(pickle.dumps(Axes(in_=1, out=0)))


def test_what_numpy_means_otherwise_is_refused():
    with pytest.raises(TypeError, match="must be one of float32, .*, not float128"):
        winit.draw(winit.normal(), 3, seed=0, dtype="f16")


def test_lora_under_axes():
    """The rank is the extent of the out axis, wherever it is."""
    params = {"A": Param((100, 4), winit.normal(), layout=Axes(0, 1)), "B": Param((4, 4), winit.normal())}
    assert methods.lora(Plan(params), "A", "B", init="gaussian")["A"].scheme == winit.normal(std=1 / 4)


def test_biases_of_a_transposed_convolution_are_torchs():
    torch = pytest.importorskip("torch")
    layer = torch.nn.ConvTranspose2d(8, 4, 3)
    plan = Plan(
        {
            "c.weight": Param(tuple(layer.weight.shape), winit.normal(), layout=Axes(in_=0, out=1)),
            "c.bias": Param((4,), winit.zeros()),
        }
    )
    bound = methods.biases(plan, "torch")["c.bias"].scheme.high
    assert bound == pytest.approx(1 / 6)
    assert float(torch.nn.ConvTranspose2d(8, 4000, 3).bias.detach().abs().max()) == pytest.approx(
        1 / (3 * 4000**0.5), rel=0.01
    )
