"""winit.torch.build, plan, materialize_, init_ and report: the modules that torch's own constructors make, by name.

Laws: of each random tensor, what SEEDS builds hold and what SEEDS eager modules hold are two samples of n = SEEDS
times its elements. Wei & Dudley 2012 bound the chance that the distributions of two samples of one law and one size n
differ by more than D by e exp(-n D^2), for every n, and for discrete laws too. Each of at most TENSORS tensors takes
an equal share of CHANCE, so the file fails with chance 1e-6 at most where the laws are equal; seeds are fixed, so it
does so always or never. Elements that depend on each other (an orthogonal matrix, normed rows) are held to the same D.
Of a tensor of 2500 elements a standard deviation that is wrong by a third is found; that laws are drawn to the bit is
tested beside, and that they are torch's in tests/test_presets.py. Constants, buffers, shapes, strides and ties are
compared exactly.
"""

import copy
import gc
import inspect
import io
import math
import pickle
import random
import re
import threading
import time

import numpy as np
import pytest
import torch
import torch_models
from scipy import stats
from torch import nn

import winit
import winit.torch
from winit.torch import capture, interception
from winit.torch.init import kaiming_uniform_

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch's own, of what the constructors do
]
SEEDS = 3
TENSORS = 4000
CHANCE = 1e-6
FACTORIES = {**torch_models.LAYERS, **torch_models.WRITTEN}
NAMES = set(vars(nn.init))  # before any build
EVERY = [*torch_models.TRANSFORMERS, *FACTORIES]


def factory_of(name):
    if name in FACTORIES:
        return FACTORIES[name]
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    return torch_models.transformers_model(name)


def eager(factory, seed=0):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    return factory()


def tensors(module):
    """Every parameter and buffer under each of its names, and tensors that are plain attributes."""
    found = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {**dict(found), **{f"{name} (plain)": v for name, v in vars(module).items() if isinstance(v, torch.Tensor)}}


def values(tensor):
    plain = tensor.detach()
    plain = torch.view_as_real(plain) if plain.is_complex() else plain
    return plain.double().reshape(-1).numpy()


def equal(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(values(a), values(b), equal_nan=True)


def same_law(a, b):
    """Whether two samples of one size are as near as those of one law are, but for a chance of CHANCE / TENSORS."""
    assert a.size == b.size
    return stats.ks_2samp(a, b, method="asymp").statistic ** 2 * a.size <= 1 + math.log(TENSORS / CHANCE)


def ties(found):
    return {name: min(other for other in found if found[other] is found[name]) for name in found}


def bits(module):
    return {name: tensor.detach().clone() for name, tensor in tensors(module).items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)


def all_zero_rows(found):
    """Which rows of a matrix are zero in each of several modules: a padding row is no matter of chance."""
    rows = [tensor.detach().flatten(1) for tensor in found]
    return torch.stack([(each == 0).all(1) for each in rows]).all(0)


class Net(nn.Module):
    def __init__(self, layers=2):
        super().__init__()
        self.body = nn.Sequential(*[nn.Linear(30, 30) for _ in range(layers)])
        self.head = nn.Linear(30, 4)
        self.register_buffer("position", torch.arange(5), persistent=False)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.head = nn.Linear(8, 30, bias=False)
        self.head.weight = self.embed.weight
        nn.init.normal_(self.embed.weight, std=0.02)


# ---- laws, constants, buffers, ties


FIRST = ("gpt2", "bert", "mamba")  # of transformers' models; the others take as long together as all the rest here


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in (*FIRST, *FACTORIES))) for name in EVERY]
)
def test_a_built_module_is_the_eager_one_drawn_anew(name):
    factory = factory_of(name)
    theirs = [tensors(eager(factory, seed)) for seed in range(SEEDS)]
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    built = [winit.torch.build(factory, seed=seed) for seed in range(SEEDS)]
    again = tensors(winit.torch.build(factory, seed=0))
    assert torch.equal(state[0], torch.get_rng_state()) and state[1] == random.getstate()
    assert all(np.array_equal(a, b) for a, b in zip(state[2], np.random.get_state(), strict=True))  # noqa: NPY002
    ours = [tensors(module) for module in built]
    report = winit.torch.report(built[0])
    assert theirs[0].keys() == ours[0].keys() and ties(theirs[0]) == ties(ours[0])
    assert len(theirs[0]) < 200 and TENSORS >= 200 * 20
    for key, tensor in theirs[0].items():
        mine = ours[0][key]
        assert (mine.shape, mine.dtype, mine.stride()) == (tensor.shape, tensor.dtype, tensor.stride()), key
        assert (mine.requires_grad, type(mine)) == (tensor.requires_grad, type(tensor)), key
        assert equal(mine, again[key]), f"{key} is another the second time"
        if tensor.numel() == 0:
            continue
        if all(equal(tensor, other[key]) for other in theirs[1:]):
            assert all(equal(tensor, other[key]) for other in ours), f"{key} is constant: {report.rows.get(key)}"
            continue
        if tensor.numel() > 3:
            assert not equal(mine, ours[1][key]), f"{key} is the same for two seeds: {report.rows.get(key)}"
        e, b = (np.concatenate([values(each[key]) for each in modules]) for modules in (theirs, ours))
        assert same_law(e, b), f"{key} has another law: {report.rows.get(key)}"
        if tensor.ndim > 1 and tensor[0].numel() >= 8:
            zero = [all_zero_rows([each[key] for each in modules]) for modules in (theirs, ours)]
            assert torch.equal(zero[0], zero[1]) or "mask" in name, key


def test_the_number_of_tensors_is_what_the_chance_is_shared_by():
    count = sum(len(tensors(eager(factory))) for factory in FACTORIES.values())
    assert count < TENSORS / 4  # of torch's layers and hand-written ones; those of transformers have less than 2500


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_each_law_is_drawn_by_winit_under_the_tensors_name(seed):
    module = winit.torch.build(Net, seed=seed)
    uniform = winit.uniform(-(30**-0.5), 30**-0.5)
    for name, parameter in module.named_parameters():
        scheme = winit.he_uniform(a=5**0.5) if name.endswith("weight") else uniform
        wanted = winit.draw(scheme, tuple(parameter.shape), seed=seed, name=name)
        assert torch.equal(parameter, torch.from_numpy(wanted)), name


def test_names_alone_key_the_values():
    small, large = (winit.torch.build(lambda n=n: Net(n), seed=3) for n in (2, 4))
    for name, value in small.state_dict().items():
        assert torch.equal(value, large.state_dict()[name])

    def backwards():
        net = Net.__new__(Net)
        nn.Module.__init__(net)
        head = nn.Linear(30, 4)
        torch.randn(7)  # a draw that reaches no tensor
        net.body = nn.Sequential(*[nn.Linear(30, 30) for _ in range(2)])
        net.head = head
        return net

    for name, value in winit.torch.build(backwards, seed=3).state_dict().items():
        assert torch.equal(value, small.state_dict()[name])


@pytest.mark.parametrize("name", ["transformer", "drawn in every way", "random operations", "linear algebra"])
def test_bits_are_the_same_on_any_number_of_threads(name):
    one = bits(winit.torch.build(FACTORIES[name], seed=0, threads=1))
    for threads in (2, 5, None):
        assert same_bits(one, bits(winit.torch.build(FACTORIES[name], seed=0, threads=threads)))


@pytest.mark.parametrize("name", ["random operations", "linear algebra", "masks", "copies and averages"])
def test_what_torch_does_does_not_depend_on_the_tensors_beside(name):
    """What is no law of winit's is keyed by names too: another tensor before it changes nothing."""
    alone = bits(winit.torch.build(FACTORIES[name], seed=1))

    def beside():
        module = nn.Module()
        module.other, module.first = nn.Linear(5, 5), nn.Parameter(torch.empty(9).exponential_())
        both = FACTORIES[name]()
        for key, value in vars(both).items():
            if key not in vars(module):
                vars(module)[key] = value
        for kind in ("_parameters", "_buffers", "_modules"):
            vars(module)[kind].update(vars(both)[kind])
        module._non_persistent_buffers_set |= both._non_persistent_buffers_set
        return module

    after = bits(winit.torch.build(beside, seed=1))
    assert all(equal(after[key], value) for key, value in alone.items())


# ---- arguments, and what is left as it was


def test_dtype_is_the_default_dtype_while_the_constructor_runs():
    seen = []

    def factory():
        seen.append(torch.get_default_dtype())
        return nn.Linear(30, 40)

    module = winit.torch.build(factory, seed=0, dtype=torch.bfloat16)
    assert seen == [torch.bfloat16] and torch.get_default_dtype() == torch.float32
    wanted = winit.draw(winit.he_uniform(a=5**0.5), (40, 30), seed=0, name="weight", dtype="bfloat16")
    assert torch.equal(module.weight.view(torch.uint16), torch.from_numpy(wanted.view(np.uint16)))
    assert winit.torch.plan(factory, dtype=torch.float64)["weight"].dtype == "float64"
    assert torch.get_default_dtype() == torch.float32


class WrongError(Exception):
    """What a constructor raises."""


@pytest.mark.parametrize("made", [winit.torch.build, winit.torch.plan])
def test_everything_is_left_as_it_was_when_the_constructor_raises(made):
    codes = {name: getattr(nn.init, name).__code__ for name in interception._NAMES}
    signatures = {name: str(inspect.signature(getattr(nn.init, name))) for name in interception._NAMES}
    state = torch.get_rng_state()

    def factory():
        nn.init.normal_(torch.empty(3))
        torch.manual_seed(1)
        for name, signature in signatures.items():
            assert str(inspect.signature(getattr(nn.init, name))) == signature
        torch.set_default_dtype(torch.float64)
        raise WrongError

    for _ in range(2):
        with pytest.raises(WrongError):
            made(factory, seed=0, dtype=torch.bfloat16)
    assert torch.get_default_dtype() == torch.float32 and torch.equal(state, torch.get_rng_state())
    for name, code in codes.items():
        assert getattr(nn.init, name).__code__ is code
        assert str(inspect.signature(getattr(nn.init, name))) == signatures[name]
    assert vars(nn.init).keys() == NAMES and not interception._running


def test_torch_draws_as_ever_after_a_build():
    winit.torch.build(Net, seed=0)
    torch.manual_seed(0)
    first = nn.Linear(5, 5).weight
    torch.manual_seed(0)
    again = torch.empty(5, 5)
    nn.init.kaiming_uniform_(again, a=5**0.5)
    assert torch.equal(first, again) and len(again.unique()) == 25


def test_other_threads_keep_torchs_own_behaviour_while_a_build_runs():
    def drawn(seed):
        own = torch.Generator().manual_seed(seed)
        kept = [nn.init.normal_(torch.empty(50), generator=own), torch.randn(50, generator=own)]
        return torch.cat([*kept, nn.init.kaiming_uniform_(torch.empty(5, 5), generator=own).flatten()])

    wanted, got, inside = drawn(4), [], threading.Event()

    def other():
        inside.wait(10)
        got.append(drawn(4))

    def factory():
        inside.set()
        worker.join(10)
        return Net()

    worker = threading.Thread(target=other)
    worker.start()
    module = winit.torch.build(factory, seed=0)
    assert len(got) == 1 and torch.equal(got[0], wanted)
    assert same_bits(bits(module), bits(winit.torch.build(Net, seed=0)))


def test_builds_in_two_threads_at_once():
    wanted = {seed: bits(winit.torch.build(Net, seed=seed)) for seed in range(4)}
    barrier, got = threading.Barrier(4), {}

    def slow():
        barrier.wait(10)
        net = Net()
        time.sleep(0.01)
        return net

    def work(seed):
        got[seed] = bits(winit.torch.build(slow, seed=seed))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert all(same_bits(got[seed], wanted[seed]) for seed in range(4))
    assert not interception._running and vars(nn.init).keys() == NAMES


@pytest.mark.parametrize("made", [winit.torch.build, winit.torch.plan])
def test_wrong_arguments(made):
    for wrong in (None, 3, nn.Linear(2, 2).weight):
        with pytest.raises(TypeError, match="factory must be a function that returns a torch.nn.Module, not"):
            made(wrong, seed=0)
    for wrong in (lambda: None, lambda: [nn.Linear(2, 2)], lambda: torch.ones(2), lambda: nn.Linear):
        with pytest.raises(TypeError, match="factory must return a torch.nn.Module, not"):
            made(wrong, seed=0)
    with pytest.raises(TypeError, match="dtype must be a torch.dtype or None"):
        made(Net, seed=0, dtype="bfloat16")
    with pytest.raises(ValueError, match="seed"):
        made(Net, seed=-1)
    with pytest.raises(TypeError, match="seed"):
        made(Net, seed="a")
    with pytest.raises(TypeError):
        made(lambda size: nn.Linear(size, 2), seed=0)
    if made is winit.torch.build:
        with pytest.raises(TypeError, match="seed"):
            made(Net)
        with pytest.raises((TypeError, ValueError), match="threads"):
            made(Net, seed=0, threads=0)


def test_what_would_be_without_values_is_refused_by_name():
    def empty():
        module = nn.Module()
        module.block = nn.Module()
        module.block.scale = nn.Parameter(torch.empty(4))
        return module

    with pytest.raises(ValueError, match=r"'block.scale' has no values: its constructor allocates it, and never fills"):
        winit.torch.build(empty, seed=0)
    with pytest.raises(ValueError, match=r"'weight' has no values"):
        winit.torch.build(lambda: nn.Linear(3, 3).to_empty(device="cpu"), seed=0)
    with pytest.raises(ValueError, match="'weight' is on the meta device.*materialize_ with a plan"):
        winit.torch.build(lambda: nn.Linear(3, 3, device="meta"), seed=0)


def test_a_constructor_that_never_draws_the_same_twice_is_refused():
    calls = []

    def factory():
        calls.append(None)
        module = nn.Module()
        for name in ("ab", "ba")[len(calls) % 2]:  # in turn, as a constructor may by what it reads
            module.register_parameter(name, nn.Parameter(torch.randn(3)))
            assert getattr(module, name).sum() != 0
        return module

    with pytest.raises(ValueError, match="reads values that it has drawn, and goes on to draw others by them"):
        winit.torch.build(factory, seed=0)


def test_devices():
    module = winit.torch.build(Net, seed=0, device="cpu")
    assert same_bits(bits(module), bits(winit.torch.build(Net, seed=0, device=torch.device("cpu"))))
    with pytest.raises(ValueError, match="device must be one that torch knows, not 'no such device'"):
        winit.torch.build(Net, seed=0, device="no such device")


# ---- copies, ties, values that are read


def test_copies_have_the_values_of_what_they_copy():
    module = winit.torch.build(FACTORIES["copies and averages"], seed=0)
    for name in ("weight", "bias"):
        online = getattr(module.online, name)
        for other in (module.target, module.loaded, module.average.module):
            assert torch.equal(getattr(other, name), online) and getattr(other, name) is not online
        mean = torch.lerp(getattr(winit.torch.build(lambda: nn.Linear(20, 30), seed=0), name), online, 0.3)
        assert not torch.equal(getattr(module.momentum, name), mean)  # it is another layer's draw that was averaged
    assert torch.equal(module.memory, module.remembered)
    layers = winit.torch.build(FACTORIES["transformer"], seed=0).encoder.layers
    theirs = eager(FACTORIES["transformer"]).encoder.layers
    for name, value in layers[0].state_dict().items():
        same = torch.equal(theirs[0].state_dict()[name], theirs[1].state_dict()[name])
        assert torch.equal(value, layers[1].state_dict()[name]) == same


def test_tied_weights_are_drawn_once_under_their_first_name():
    module = winit.torch.build(Tied, seed=0)
    assert module.head.weight is module.embed.weight
    wanted = winit.draw(winit.normal(std=0.02), (30, 8), seed=0, name="embed.weight")
    assert torch.equal(module.embed.weight, torch.from_numpy(wanted))
    plan = winit.torch.plan(Tied)
    assert plan["head.weight"].tied == "embed.weight" and winit.torch.report(module)["head.weight"][0].startswith(
        "tied"
    )


def test_what_is_read_is_what_the_tensor_gets():
    seen = []

    def factory():
        module = Net()
        seen.append(module.head.weight.sum().item())
        module.norm = float(module.body[0].weight.norm())
        return module

    module = winit.torch.build(factory, seed=0)
    assert module.norm == pytest.approx(module.body[0].weight.norm().item()) and len(seen) == 2
    assert seen[-1] == module.head.weight.sum().item()
    assert same_bits(bits(module), bits(winit.torch.build(Net, seed=0)))


def test_tensors_that_no_module_holds_have_values():
    module, again = (winit.torch.build(FACTORIES["tensors outside of modules"], seed=0) for _ in range(2))
    for get in (
        lambda m: m.plain,
        lambda m: m.listed[0][0],
        lambda m: m.listed[1]["a"],
        lambda m: m.box.value,
        lambda m: m.queue[0],
        lambda m: m.closure(),
        lambda m: m.deep["a"]["b"]["c"]["d"]["e"],
    ):
        # 300 standard normal values: chance below 1e-9 each by KS, of fixed seeds
        assert torch.equal(get(module), get(again)) and stats.kstest(get(module).numpy(), "norm").pvalue > 1e-9


def test_versions_and_gradients_of_what_is_built():
    module = winit.torch.build(Net, seed=0)
    assert all(parameter.is_leaf and parameter.grad is None for parameter in module.parameters())
    module.head(torch.ones(1, 30)).sum().backward()
    assert (module.head.weight.grad == 1).all()


# ---- plans


ROADS = [
    "gpt2", "bert", "t5", "whisper", "mamba", "convnext", "linear", "lstm", "attention", "transformer", "embedding",
    "convolutions", "weight norm", "orthogonal", "spectral norm", "bfloat16", "drawn in every way",
    "laws of numbers", "truncated as timm does", "copies and averages", "views and parts", "masks", "one flat memory",
    "initialised by a function of its own", "depths and fixups", "generators of its own", "read in every way",
]  # fmt: skip


@pytest.mark.parametrize("name", ROADS)
def test_plan_is_what_build_draws_by_every_road(name, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    factory = factory_of(name)
    module = winit.torch.build(factory, seed=5)
    state = module.state_dict()
    plan = winit.torch.plan(factory, seed=5)
    again = winit.Plan.from_toml(plan.to_toml())
    assert again == plan and list(plan) == list(state)
    arrays = again.build(seed=5)
    for key, tensor in state.items():
        array = arrays[key]
        if tensor.dtype == torch.bfloat16:
            assert np.array_equal(array.view(np.uint16), tensor.detach().view(torch.uint16).numpy()), key
        else:
            assert np.array_equal(array, tensor.detach().numpy(), equal_nan=True), key
    path = tmp_path / "model.safetensors"
    again.write(path, seed=5)
    loaded = eager(factory)
    read = safetensors.load_file(path)
    loaded.load_state_dict({key: read.get(key, read.get(plan[key].tied)) for key in state}, assign=True)
    assert all(equal(loaded.state_dict()[key], tensor) for key, tensor in state.items())


def test_plans_name_what_they_cannot_hold():
    with pytest.raises(ValueError, match=r"'a' \(parameter, torch.complex64\).*which no plan holds"):
        winit.torch.plan(FACTORIES["complex numbers"])
    module = winit.torch.build(FACTORIES["complex numbers"], seed=0)  # build does not mind
    with pytest.raises(ValueError, match="'a'"):
        winit.torch.materialize_(module, seed=0)


def test_plans_hold_constants_and_no_other_buffers():
    plan = winit.torch.plan(lambda: nn.Sequential(nn.BatchNorm1d(4), Net()))
    assert plan["0.running_mean"].scheme == winit.zeros() and plan["0.running_var"].scheme == winit.ones()
    assert plan["0.num_batches_tracked"].dtype == "int64" and "1.position" not in plan
    assert plan["1.head.bias"].scheme == winit.uniform(-(30**-0.5), 30**-0.5)


# ---- materialize_ and init_


def meta(factory):
    with torch.device("meta"):
        return factory()


class Bare(nn.Module):
    """Net without what only a constructor knows."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(30, 30), nn.BatchNorm1d(30))
        self.tail = Tied()


def test_materialize_fills_a_meta_module_by_another_ones_plan():
    built = winit.torch.build(Bare, seed=4)
    module = meta(Bare)
    assert winit.torch.materialize_(module, winit.torch.plan(Bare), seed=4) is module
    assert same_bits(bits(module), bits(built)) and ties(tensors(module)) == ties(tensors(built))
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in module.parameters())
    module.tail.head(module.tail.embed(torch.tensor([1]))).sum().backward()
    frozen = meta(Bare).requires_grad_(requires_grad=False)
    winit.torch.materialize_(frozen, winit.torch.plan(Bare), seed=4)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_materialize_takes_the_plan_that_build_left_and_ties_again():
    built = winit.torch.build(Bare, seed=4)
    wanted = bits(built)
    built.to_empty(device="cpu")
    winit.torch.materialize_(built, seed=4)
    assert same_bits(bits(built), wanted) and built.tail.head.weight is built.tail.embed.weight
    winit.torch.materialize_(built, seed=5, threads=1)
    assert same_bits(bits(built), bits(winit.torch.build(Bare, seed=5)))


def test_materialize_says_what_does_not_fit_and_writes_nothing():
    plan = winit.torch.plan(Bare)
    module = winit.torch.build(Bare, seed=4)
    before = bits(module)
    lacking = winit.Plan({name: param for name, param in plan.items() if name != "body.0.bias"})
    more = winit.Plan({**plan, "body.0.bias2": plan["body.0.bias"]})
    shape = winit.Plan({**plan, "body.0.bias": winit.Param((31,), winit.zeros())})
    dtype = winit.Plan({**plan, "body.0.bias": winit.Param((30,), winit.zeros(), "float64")})
    for wrong, message in (
        (lacking, "the plan lacks 'body.0.bias'"),
        (more, "the module has no tensor 'body.0.bias2'"),
        (shape, r"'body.0.bias' is torch.float32 \(30,\), and the plan has float32 \(31,\)"),
        (dtype, "and the plan has float64"),
    ):
        with pytest.raises(ValueError, match=message):
            winit.torch.materialize_(module, wrong, seed=0)
    with pytest.raises(ValueError, match="not made by winit.torch.build"):
        winit.torch.materialize_(Bare(), seed=0)
    with pytest.raises(TypeError, match="module must be a torch.nn.Module"):
        winit.torch.materialize_(torch.ones(2), plan, seed=0)
    with pytest.raises(TypeError, match="plan"):
        winit.torch.materialize_(module, [("*", winit.zeros())], seed=0)
    assert same_bits(bits(module), before)
    computed = meta(Net)
    with pytest.raises(ValueError, match="the buffer 'position' is on the meta device and in no state_dict"):
        winit.torch.materialize_(computed, winit.torch.plan(Net), seed=0)
    assert all(p.is_meta for p in computed.parameters())


def test_init_by_rules():
    module = Net()
    rules = [("*.bias", winit.zeros()), ("head.*", winit.normal(std=0.5)), ("*", winit.he_normal())]
    assert winit.torch.init_(module, rules, seed=2) is module
    assert (module.head.bias == 0).all() and (module.body[1].bias == 0).all()
    for name, scheme in (("head.weight", winit.normal(std=0.5)), ("body.1.weight", winit.he_normal())):
        parameter = module.get_parameter(name)
        wanted = torch.from_numpy(winit.draw(scheme, tuple(parameter.shape), seed=2, name=name))
        assert torch.equal(parameter, wanted)
    again = winit.torch.init_(Net().to(torch.bfloat16), [winit.Rule("*", winit.normal())], seed=2, threads=2)
    assert again.head.weight.dtype == torch.bfloat16
    tied = winit.torch.init_(Tied(), [("*", winit.normal())], seed=2)
    wanted = winit.draw(winit.normal(), (30, 8), seed=2, name="embed.weight")
    assert tied.head.weight is tied.embed.weight and torch.equal(tied.embed.weight, torch.from_numpy(wanted))


def test_init_by_a_plan_and_what_it_refuses():
    module = Net()
    plan = winit.torch.plan(Net)
    winit.torch.init_(module, plan, seed=6)
    assert same_bits(bits(module), bits(winit.torch.build(Net, seed=6)))
    before = bits(module)
    for wrong, error, message in (
        ([("head.*", winit.zeros())], ValueError, "body.0.weight"),
        (winit.Plan({name: p for name, p in plan.items() if name != "head.bias"}), ValueError, "lacks 'head.bias'"),
        (winit.Plan({**plan, "head.bias": winit.Param((5,), winit.zeros())}), ValueError, "'head.bias' has shape"),
        ("no such recipe", (ValueError, KeyError), "no such recipe"),
        (3, TypeError, ""),
    ):
        with pytest.raises(error, match=message):
            winit.torch.init_(module, wrong, seed=6)
    with pytest.raises(TypeError, match="module must be"):
        winit.torch.init_(torch.ones(2), plan, seed=0)
    with pytest.raises(ValueError, match="'body.0.weight' is on the meta device and has no memory"):
        winit.torch.init_(meta(Net), [("*", winit.zeros())], seed=0)
    assert same_bits(bits(module), before)


@pytest.mark.slow
def test_init_by_the_name_of_a_recipe():
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(num_labels=1000)
    module = meta(lambda: transformers.ResNetForImageClassification(config)).to_empty(device="cpu")
    winit.torch.init_(module, "resnet", seed=0)
    plan = winit.recipes.load("resnet")
    for name in ("resnet.embedder.embedder.convolution.weight", "classifier.1.weight"):
        wanted = winit.draw(plan[name].scheme, plan[name].shape, seed=0, name=name, layout=plan[name].layout)
        assert torch.equal(module.get_parameter(name), torch.from_numpy(wanted))


# ---- report


def test_report_says_what_each_tensor_got_and_from_which_call():
    def factory():
        module = Tied()
        module.norm = nn.LayerNorm(8)
        module.mixed = nn.Parameter(torch.exp(torch.rand(5)))
        module.register_buffer("steps", torch.arange(3))
        return module

    module, report = winit.torch.build(factory, seed=0, report=True)
    assert report is winit.torch.report(module) and isinstance(report, winit.torch.Report)
    assert report["embed.weight"][0] == "normal(std=0.02)"
    assert re.fullmatch(r"nn.init.normal_ in .*test_torch_build:\d+", report["embed.weight"][1])
    assert report["norm.weight"] == ("ones()", report["norm.weight"][1])
    assert "nn.init.ones_ in torch.nn.modules.normalization" in report["norm.weight"][1]
    assert re.fullmatch(r"2 operations done by torch", report["mixed"][0]) and "rand in" in report["mixed"][1]
    assert report["steps"] == ("as constructed", "") and report["head.weight"] == ("tied to embed.weight", "")
    assert set(report) == {*module.state_dict()} and len(report) == len(module.state_dict())
    lines = str(report).splitlines()
    assert len(lines) == len(report) and lines[0].startswith("mixed ") and "  (" in lines[0]
    with pytest.raises(ValueError, match="was not made by winit.torch.build"):
        winit.torch.report(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="module must be a torch.nn.Module"):
        winit.torch.report(3)
    assert str(winit.torch.Report()) == ""


# ---- what stays of a build


def test_no_capture_lives_on_and_memory_is_given_back():
    module = winit.torch.build(FACTORIES["copies and averages"], seed=0)
    gc.collect()
    # type(): isinstance asks weak proxies of other tests, whose objects may be gone
    assert not [each for each in gc.get_objects() if type(each) is capture.Capture]
    assert torch._C._storage_Use_Count(module.online.weight.untyped_storage()._cdata) == 2  # the tensor's, and this one


def test_built_modules_copy_pickle_and_save():
    module = winit.torch.build(Net, seed=0)
    wanted = bits(module)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)):
        assert same_bits(bits(other), wanted)
        assert dict(winit.torch.report(other).rows) == dict(winit.torch.report(module).rows)
        winit.torch.materialize_(other.to_empty(device="cpu"), seed=0) if not other._buffers["position"].is_meta else 0
    assert [*module.state_dict()] == [*eager(Net).state_dict()] and "_winit" not in repr(module)


# ---- names


def _held(kind, module):
    """What wraps a module."""
    if kind == "compile":
        return torch.compile(module)
    if kind == "data parallel":
        return nn.DataParallel(module)
    if kind == "checkpoint":
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

        module.body[0] = checkpoint_wrapper(module.body[0])
        return checkpoint_wrapper(module)
    assert kind == "all"
    return torch.compile(nn.DataParallel(_held("checkpoint", module)))


@pytest.mark.parametrize("kind", ["compile", "data parallel", "checkpoint", "all"])
def test_wrappers_add_nothing_to_names(kind):
    plain = bits(winit.torch.build(Net, seed=0))
    wrapped = winit.torch.build(lambda: _held(kind, Net()), seed=0)
    assert list(winit.torch.report(wrapped)) == list(winit.torch.report(winit.torch.build(Net, seed=0)))
    for value, wanted in zip(wrapped.parameters(), winit.torch.build(Net, seed=0).parameters(), strict=True):
        assert torch.equal(value, wanted)
    outside = winit.torch.init_(_held(kind, Net()), winit.torch.plan(Net), seed=0)
    assert all(
        torch.equal(p, plain[n]) for p, (n, _) in zip(outside.parameters(), Net().named_parameters(), strict=True)
    )


def test_a_users_own_attribute_of_a_wrappers_name_stays():
    def factory():
        outer = nn.Module()
        outer.module = nn.Module()
        outer.module._orig_mod = nn.Linear(3, 3)
        outer._checkpoint_wrapped_module = nn.Linear(3, 3)
        return outer

    names = list(winit.torch.report(winit.torch.build(factory, seed=0)))
    assert names == [n for n, _ in factory().named_parameters()]


class DataParallel(nn.Module):
    """A user's own class of torch's name."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(3, 3)


def test_a_users_own_class_of_a_wrappers_name_stays():
    assert list(winit.torch.report(winit.torch.build(DataParallel, seed=0))) == ["module.weight", "module.bias"]


@pytest.fixture
def alone():
    """A process group of one process."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("torch has no gloo here")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_distributed_wrappers_add_nothing_to_names():
    plan = winit.torch.plan(Net)
    wanted = list(winit.torch.build(Net, seed=0).parameters())
    parallel = nn.parallel.DistributedDataParallel(Net())
    winit.torch.init_(parallel, plan, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(parallel.parameters(), wanted, strict=True))


def test_flat_parameters_are_refused():
    module = nn.Module()
    module.register_parameter("_flat_param", nn.Parameter(torch.ones(9)))
    with pytest.raises(ValueError, match="FSDP1, whose flat parameter has no names.*use_orig_params=True"):
        winit.torch.init_(module, [("*", winit.zeros())], seed=0)


def test_a_module_that_holds_itself():
    def factory():
        net = Net()
        net.body.add_module("up", net)
        return net

    assert torch.equal(winit.torch.build(factory, seed=0).head.weight, winit.torch.build(Net, seed=0).head.weight)


# ---- timm


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "test_byobnet"])
def test_models_of_timm(name, monkeypatch):
    """Which needs torchvision for its data alone: a stand-in serves here."""
    timm = torch_models.timm_without_torchvision(monkeypatch)
    theirs = [tensors(eager(lambda: timm.create_model(name), seed)) for seed in range(2)]
    ours = [tensors(winit.torch.build(lambda: timm.create_model(name), seed=seed)) for seed in range(2)]
    assert theirs[0].keys() == ours[0].keys()
    for key, tensor in theirs[0].items():
        if equal(tensor, theirs[1][key]):
            assert equal(tensor, ours[0][key]), key
        else:
            e, b = (np.concatenate([values(each[key]) for each in modules]) for modules in (theirs, ours))
            assert same_law(e, b), key


def test_winits_own_functions_in_a_constructor_keep_their_seed():
    module = winit.torch.build(FACTORIES["initialised by winit"], seed=9)
    wanted = kaiming_uniform_(torch.empty(30, 30), seed=3, name="w")
    assert torch.equal(module.w, wanted)
    inner = winit.torch.build(lambda: nn.Linear(30, 30), seed=5)
    assert torch.equal(module.inner.weight, inner.weight)
