"""winit.torch.patched in one process: code that initialises in place gets the bits that build gives its constructor."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import winit  # noqa: E402
import winit.torch  # noqa: E402


class Net(nn.Module):
    """Tensors that are drawn in the ways whose bits could part: by views, in parts, and changed afterwards."""

    def __init__(self):
        super().__init__()
        for name, shape in {
            "plain": (30, 20), "square": (20, 20), "turned": (30, 20), "turned_square": (20, 20), "rotated": (20, 30),
            "parts": (60, 20), "scaled": (30, 20), "shifted": (30, 20), "table": (30, 20), "gained": (20, 20),
            "constant": (30,), "zeroed": (30,), "other": (30,), "computed": (30,),
        }.items():  # fmt: skip
            self.register_parameter(name, nn.Parameter(torch.full(shape, 7.0)))
        self.register_buffer("noise", torch.zeros(9))

    def init_weights(self):
        nn.init.kaiming_uniform_(self.plain)
        self.square.data.normal_(0.1, 0.3)
        nn.init.xavier_normal_(self.turned.t())
        nn.init.uniform_(self.turned_square.t(), -1, 1)
        nn.init.orthogonal_(self.rotated.t())
        for i in range(3):
            nn.init.xavier_uniform_(self.parts[20 * i : 20 * i + 20])
        nn.init.trunc_normal_(self.scaled, std=0.02)
        nn.init.normal_(self.table, std=0.5)
        nn.init.orthogonal_(self.gained)
        self.noise.normal_()
        with torch.no_grad():
            self.scaled.div_(3**0.5)
            self.shifted.uniform_(0, 1).mul_(0.7).sub_(0.1)
            self.table[3].zero_()
            self.table.mul_(0.3)
            self.gained.mul_(0.3)
            self.constant.fill_(0.1).mul_(3)  # float32 rounds twice
            self.zeroed.normal_().mul_(0.0)  # and keeps signs
            self.other.exponential_()
            self.computed.normal_().exp_()


def made():
    net = Net()
    net.init_weights()
    return net


def bits(module):
    return {name: tensor.detach().clone().view(torch.int32) for name, tensor in module.state_dict().items()}


def test_every_tensor_has_the_bits_that_build_gives_it():
    built, net = bits(winit.torch.build(made, seed=3)), Net()
    with winit.torch.patched(net, seed=3):
        net.init_weights()
    assert [name for name, values in bits(net).items() if not torch.equal(values, built[name])] == []
    with winit.torch.patched(net, seed=3):  # and again, over what is there
        net.init_weights()
        net.init_weights()
    assert [name for name, values in bits(net).items() if not torch.equal(values, built[name])] == []
    with winit.torch.patched(net, seed=4):
        net.init_weights()
    alike = {name for name, values in bits(net).items() if torch.equal(values, built[name])}
    assert alike == {"constant"}


def test_constants_are_torchs_to_the_bit():
    """Each operation rounds, signs of zeros stay, and an infinity is no error: in build as in torch."""

    def constants():
        module = nn.Module()
        for name, values in {"chain": (0.1, 3.0), "negative zero": (-0.0, 1.0), "mask": (float("-inf"), 1.0)}.items():
            parameter = nn.Parameter(torch.empty(5).normal_())
            with torch.no_grad():
                parameter.fill_(values[0]).mul_(values[1])
            module.register_parameter(name, parameter)
        return module

    eager, built = bits(constants()), bits(winit.torch.build(constants, seed=0))
    assert all(torch.equal(values, built[name]) for name, values in eager.items())


def test_draws_of_no_tensor_of_the_module_say_so_once_and_go_by_their_order():
    net = nn.Linear(4, 4)

    def init():
        with torch.no_grad():
            net.weight.copy_(torch.randn(4, 4) * 0.1)
            net.bias.copy_(torch.rand(4))

    seen = []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught, winit.torch.patched(net, seed=0):
            warnings.simplefilter("always")
            init()
        assert len(caught) == 1 and "are keyed by the order of such draws" in str(caught[0].message)
        seen.append(net.weight.detach().clone())
    assert torch.equal(*seen)
    drawn = torch.from_numpy(winit.draw(winit.normal(), (4, 4), seed=0, name="#0"))
    assert torch.equal(seen[0], drawn * 0.1)


def test_torch_is_left_as_it_was():
    net, state, codes = Net(), torch.get_rng_state(), {f: getattr(nn.init, f).__code__ for f in ("normal_", "ones_")}

    def fails():
        with winit.torch.patched(net, seed=0):
            net.init_weights()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(getattr(nn.init, name).__code__ is code for name, code in codes.items())
    torch.manual_seed(0)
    eager = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(torch.randn(3), eager)


def test_meta_tensors_are_left_to_torch():
    with torch.device("meta"):
        net = Net()
    with winit.torch.patched(net, seed=0):
        net.init_weights()
    assert net.plain.is_meta
