"""torch.compile, torch.export and torch.func: fills are operators that write, and have the bits of eager calls."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import winit  # noqa: E402
import winit.torch  # noqa: E402
from winit.presets import torch as presets  # noqa: E402

SCHEMES = [
    winit.normal(std=0.02),
    winit.truncated_normal(low=-np.inf, high=1.5),
    winit.he_normal(),
    winit.orthogonal(),
    winit.embedding(std=0.1, padding=2),
    winit.zeros(),
    presets.kaiming_uniform_(a=5**0.5),
    presets.sparse_(0.5),
    winit.with_layout(winit.lecun_normal(), winit.Axes(in_=0, out=1)),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("seed", [0, (1 << 64) - 3])
def test_operators_pass_torchs_own_checks(scheme, seed):
    signed = seed - (1 << 64) if seed >= 1 << 63 else seed
    for dtype in (torch.float32, torch.bfloat16):
        out = torch.zeros(6, 5, dtype=dtype)
        torch.library.opcheck(torch.ops.winit.fill_.default, (out, repr(scheme), signed, "w", "oi"))
        expected = winit.torch.fill_(torch.zeros(6, 5, dtype=dtype), scheme, seed=seed, name="w")
        torch.ops.winit.fill_(out, repr(scheme), signed, "w", "oi")
        assert torch.equal(out, expected)
    torch.library.opcheck(torch.ops.winit.add_.default, (torch.zeros(6, 5), repr(scheme), signed, "w", 0.5))


LAYOUT, NOISE = winit.Axes(in_=1, out=0), winit.normal()  # schemes are made outside of what is compiled


def noisy(x, scheme):
    fresh = torch.empty_like(x)
    winit.torch.fill_(fresh, scheme, seed=3, name="n", layout=LAYOUT)
    winit.torch.add_(fresh, NOISE, seed=4, name="m", scale=0.5)
    return x + fresh


@pytest.mark.parametrize("scheme", [SCHEMES[0], SCHEMES[2], SCHEMES[6]], ids=repr)
def test_a_compiled_function_has_the_bits_of_the_eager_one(scheme):
    x = torch.arange(30.0).reshape(6, 5)
    compiled = torch.compile(noisy, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, scheme), noisy(x, scheme))
    torch._dynamo.reset()


def test_an_exported_graph_holds_the_operators():
    class Model(torch.nn.Module):
        def forward(self, x):
            return noisy(x, SCHEMES[0])

    x = torch.ones(6, 5)
    program = torch.export.export(Model(), (x,))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "winit.fill_.default" in called and "winit.add_.default" in called
    assert torch.equal(program.module()(x), noisy(x, SCHEMES[0]))


def test_what_is_wrong_is_said_by_the_operator():
    out = torch.full((4, 4), 7.0)
    for text, message in (("he_norml()", "he_norml"), ("normal(std=-1)", "std must not be negative")):
        with pytest.raises(ValueError, match=message):
            torch.ops.winit.fill_(out, text, 0, "w", "oi")
    assert (out == 7).all()


def test_vmap_is_refused():
    with pytest.raises(TypeError, match=r"tensor is inside torch.vmap or another transform of torch.func"):
        torch.vmap(lambda row: winit.torch.fill_(row, winit.normal(), seed=0))(torch.zeros(3, 4))
