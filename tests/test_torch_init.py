"""winit.torch.init, fill_ and add_: torch.nn.init's names and parameters, and winit.draw's bits in a tensor's memory.

That the laws are torch's own is what tests/test_presets.py tests of the presets; here a filled tensor has to equal
winit.draw of the preset, bit for bit, so nothing here can fail by chance.
"""

import inspect
import pickle

import numpy as np
import pytest
import torch

import winit
import winit.torch
from winit.presets import torch as presets
from winit.torch import add_, fill_, init

nn = torch.nn
WORDS = {2: torch.uint16, 1: torch.uint8}
DTYPES = {
    name: getattr(torch, name) for name in ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
}
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
NAMES = sorted(name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_"))
# Arguments of each function, and a shape.
CALLS = {
    "uniform_": [((40, 30), {}), ((7, 5, 3), {"a": -0.25, "b": 0.75})],
    "normal_": [((40, 30), {}), ((1201,), {"mean": 0.5, "std": 0.02})],
    "trunc_normal_": [((40, 30), {"std": 0.5}), ((40, 30), {"mean": 0.1, "std": 0.5, "a": -0.2, "b": 0.9})],
    "constant_": [((4, 3), {"val": 0.3}), ((2, 0), {"val": -1.5}), ((), {"val": 2.0})],
    "ones_": [((4, 3), {})],
    "zeros_": [((4, 3), {})],
    "eye_": [((4, 7), {}), ((5, 2), {})],
    "dirac_": [((6, 3, 5), {}), ((6, 3, 3, 4), {"groups": 2})],
    "xavier_uniform_": [((40, 30), {}), ((8, 3, 5, 5), {"gain": 5 / 3})],
    "xavier_normal_": [((40, 30), {"gain": 0.5})],
    "kaiming_uniform_": [((40, 30), {"a": 5**0.5}), ((8, 3, 5, 5), {"mode": "fan_out", "nonlinearity": "relu"})],
    "kaiming_normal_": [((40, 30), {}), ((40, 30), {"a": 0.2, "nonlinearity": "tanh"})],
    "orthogonal_": [((20, 30), {}), ((20, 3, 4), {"gain": 2.0})],
    "sparse_": [((20, 30), {"sparsity": 0.3}), ((20, 30), {"sparsity": 0.5, "std": 1.0})],
}
RANDOM = [name for name in CALLS if "generator" in inspect.signature(getattr(nn.init, name)).parameters]
CONSTANT = [name for name in CALLS if name not in RANDOM]
each_call = pytest.mark.parametrize(
    ("name", "shape", "given"), [(name, *call) for name, calls in CALLS.items() for call in calls]
)


def words(tensor):
    """The bits of a tensor, as integers."""
    plain = tensor.detach()
    return plain.contiguous().view(WORDS[plain.element_size()]) if plain.element_size() in WORDS else plain


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(words(a), words(b))


def drawn(scheme, shape, dtype, **key):
    """What winit.draw returns, as a tensor."""
    array = winit.draw(scheme, shape, dtype=dtype, **key)
    if DTYPES[dtype] not in (torch.float32, torch.float64, torch.float16):
        array = array.view(f"uint{8 * array.itemsize}")
        return torch.from_numpy(array).view(DTYPES[dtype])
    return torch.from_numpy(array)


def filled(function, tensor, given, **key):
    return getattr(init, function)(tensor, **given, **{"seed": 7, "name": "w", **key})


# ---- names and parameters


def test_every_function_of_torch_is_there_and_no_other():
    assert sorted(CALLS) == NAMES == sorted(name for name in init.__all__ if name.endswith("_"))
    assert set(dir(init)) == set(init.__all__) and "calculate_gain" in init.__all__


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_torch_and_then_seed_and_name(name):
    theirs = list(inspect.signature(getattr(nn.init, name)).parameters.values())
    ours = list(inspect.signature(getattr(init, name)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    rest = ours[len(theirs) :]
    assert [p.name for p in rest] == ["seed", "name"] and all(p.kind is p.KEYWORD_ONLY for p in rest)
    assert (rest[0].default is inspect.Parameter.empty) == (name in RANDOM)
    assert getattr(init, name).__doc__


@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "leaky_relu", "selu", "sigmoid", "conv2d"])
def test_calculate_gain_is_that_of_torch(name):
    assert init.calculate_gain(name) == pytest.approx(nn.init.calculate_gain(name), rel=1e-15)


# ---- values


@each_dtype
@each_call
def test_values_are_those_of_draw(name, shape, given, dtype):
    tensor = torch.empty(shape, dtype=DTYPES[dtype])
    assert filled(name, tensor, given) is tensor
    assert same(tensor, drawn(getattr(presets, name)(**given), shape, dtype, seed=7, name="w"))


@each_dtype
@pytest.mark.parametrize("name", CONSTANT)
def test_constants_have_the_bits_of_torch(name, dtype):
    for shape, given in CALLS[name]:
        ours, theirs = (torch.full(shape, 3.0).to(DTYPES[dtype]) for _ in range(2))
        filled(name, ours, given)
        try:
            getattr(nn.init, name)(theirs, **given)
        except (RuntimeError, NotImplementedError):  # eye and dirac of float8: torch cannot, and winit can
            assert dtype.startswith("float8")
            continue
        assert same(ours, theirs)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "complex64", "complex128"])
def test_constants_of_other_dtypes(dtype):
    calls = [("ones_", {}), ("zeros_", {}), ("constant_", {"val": 1}), ("eye_", {}), ("dirac_", {"groups": 2})]
    for name, given in calls:
        shape = (4, 2, 3) if name == "dirac_" else (3, 5)
        ours, theirs = (torch.full(shape, 7, dtype=getattr(torch, dtype)) for _ in range(2))
        filled(name, ours, given)
        getattr(nn.init, name)(theirs, **given)
        assert torch.equal(ours, theirs), name


def test_seed_and_name_choose_the_values_and_order_does_not():
    one, two = torch.empty(50), torch.empty(50)
    assert torch.equal(filled("normal_", one, {}), filled("normal_", two, {}))
    assert not torch.equal(one, filled("normal_", two, {}, name="v"))
    assert not torch.equal(one, filled("normal_", two, {}, seed=8))
    assert torch.equal(one[:20], filled("normal_", torch.empty(20), {}))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_scheme_that_is_found_again_keeps_the_sign_of_zero(zero):
    constant = init.constant_(torch.empty(2), zero)
    assert (torch.signbit(constant) == (str(zero) == "-0.0")).all()
    for mean in (zero, -zero):
        tensor = init.normal_(torch.empty(3), mean, seed=0)
        assert same(tensor, drawn(presets.normal_(mean), (3,), "float32", seed=0, name=""))


def views(dtype):
    """Tensors that lie otherwise in memory than in rows, all (24, 30), and the tensor behind them."""
    make = lambda *shape: torch.full(shape, 9.0).to(dtype)  # noqa: E731
    base = make(30, 24)
    yield base, base.t()
    base = make(30, 40)
    yield base, base[3:27, 5:35]
    base = make(48, 90)
    yield base, base[::2, ::3]
    base = make(24, 3, 30)
    yield base, base[:, 1]
    base = make(720 + 5)
    yield base, base[5:].view(24, 30)
    base = make(24, 30)
    yield base, base.to(memory_format=torch.preserve_format)


@each_dtype
@pytest.mark.parametrize("name", ["normal_", "kaiming_uniform_", "orthogonal_", "sparse_", "constant_", "eye_"])
def test_any_strides_without_a_copy_and_nothing_beside(name, dtype):
    given = CALLS[name][0][1]
    wanted = filled(name, torch.empty(24, 30, dtype=DTYPES[dtype]), given)
    for base, view in views(DTYPES[dtype]):
        beside = torch.ones(base.shape, dtype=torch.bool)
        beside.as_strided(view.size(), view.stride(), view.storage_offset())[:] = False
        pointer = view.data_ptr()
        assert filled(name, view, given) is view and view.data_ptr() == pointer
        assert same(view, wanted)
        if view.untyped_storage().data_ptr() == base.untyped_storage().data_ptr():
            assert (words(base)[beside] == words(torch.full((1,), 9.0).to(base.dtype))).all()


def test_channels_last_and_zero_dimensions():
    kernel = torch.empty(8, 3, 5, 5)
    filled("xavier_uniform_", kernel, {})
    assert same(filled("xavier_uniform_", torch.empty_like(kernel, memory_format=torch.channels_last), {}), kernel)
    assert init.normal_(torch.empty(()), seed=0, name="w") == init.normal_(torch.empty(1), seed=0, name="w")[0]


# ---- autograd


def test_parameters_stay_leaves_that_require_a_gradient():
    weight = nn.Parameter(torch.empty(4, 3))
    assert init.kaiming_uniform_(weight, seed=0, name="w") is weight
    assert weight.requires_grad and weight.is_leaf and weight.grad_fn is None
    (weight * 2).sum().backward()
    assert (weight.grad == 2).all()
    frozen = nn.Parameter(torch.empty(3), requires_grad=False)
    assert not init.ones_(frozen).requires_grad


@pytest.mark.parametrize(
    "change", [lambda w: init.normal_(w, seed=0), init.zeros_, lambda w: add_(w, winit.normal(), seed=0)]
)
def test_backward_after_a_fill_raises_as_after_an_operation_of_torch(change):
    weight = nn.Parameter(torch.ones(3))
    before = weight._version
    loss = (weight * weight).sum()
    change(weight)
    assert weight._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_tensors_inside_and_outside_of_inference_mode():
    with torch.inference_mode():
        tensor = torch.empty(5)
        init.normal_(tensor, seed=0, name="w")
        add_(tensor, winit.normal(), seed=1)
    assert tensor.is_inference()
    init.normal_(tensor, seed=0, name="w")
    assert torch.equal(tensor, init.normal_(torch.empty(5), seed=0, name="w"))


def test_no_grad_and_grad_mode_are_left_as_they_were():
    with torch.no_grad():
        init.normal_(torch.empty(3), seed=0)
        assert not torch.is_grad_enabled()
    init.normal_(torch.empty(3), seed=0)
    assert torch.is_grad_enabled()


def test_generators_of_torch_are_not_touched():
    before = torch.get_rng_state()
    for name, shape, given in [(name, *call) for name, calls in CALLS.items() for call in calls]:
        filled(name, torch.empty(shape), given)
    assert torch.equal(before, torch.get_rng_state())


# ---- empty tensors and the meta device


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "constant_", "zeros_", "ones_", "eye_"])
def test_tensors_without_elements_are_returned(name):
    for shape in ((0, 4), (4, 0)):
        tensor = torch.empty(shape)
        assert filled(name, tensor, CALLS[name][0][1]) is tensor


@each_call
def test_meta_tensors_are_returned_as_they_are(name, shape, given):
    tensor = torch.empty(shape, device="meta")
    assert filled(name, tensor, given) is tensor and tensor.is_meta
    parameter = nn.Parameter(tensor)
    assert filled(name, parameter, given) is parameter
    assert add_(tensor, winit.normal(), seed=0) is tensor


# ---- errors: their type, their message, and a tensor that is untouched


def lazy():
    return nn.LazyLinear(3).weight


def sparse():
    return torch.eye(3).to_sparse()


REFUSED = {
    "a list": (lambda: [1.0], TypeError, "tensor must be a torch.Tensor, not"),
    "an array": (lambda: np.ones(3), TypeError, "tensor must be a torch.Tensor, not"),
    "sparse": (sparse, TypeError, r"sparse \(torch.sparse_coo\).*fill tensor.values\(\)"),
    "sparse rows": (lambda: torch.eye(3).to_sparse_csr(), TypeError, r"sparse \(torch.sparse_csr\)"),
    "lazy": (lazy, TypeError, "no shape yet"),
    "complex": (lambda: torch.ones(3, 3, dtype=torch.complex64), TypeError, "complex64"),
    "integers": (lambda: torch.ones(3, 3, dtype=torch.int64), TypeError, "int64"),
    "expanded": (lambda: torch.ones(1, 3).expand(3, 3), ValueError, "share memory"),
    "conjugated": (lambda: torch.ones(3, dtype=torch.complex64).conj(), ValueError, "conjugates or negates"),
    "float8_e4m3fnuz": (lambda: torch.ones(3).to(torch.float8_e4m3fnuz), TypeError, "float8_e4m3fnuz"),
}


@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:Sparse")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_filled_is_refused_and_untouched(kind):
    make, error, message = REFUSED[kind]
    tensor = make()
    calls = [
        lambda: init.normal_(tensor, seed=0),
        lambda: init.orthogonal_(tensor, seed=0),
        lambda: fill_(tensor, winit.he_normal(), seed=0),
    ]
    for call in calls:
        with pytest.raises(error, match=message):
            call()
    if isinstance(tensor, torch.Tensor) and kind not in ("lazy",):
        dense = tensor.to_dense() if tensor.layout != torch.strided else tensor
        assert torch.equal(dense.to(torch.complex64), make().to_dense().to(torch.complex64))


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantised_tensors_are_refused():
    tensor = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match="quantised: fill a float tensor, and quantise that"):
        init.normal_(tensor, seed=0)
    assert (tensor.dequantize() == 1).all()


def test_vmap_is_refused():
    with pytest.raises(TypeError, match="inside torch.vmap"):
        torch.vmap(lambda x: init.normal_(x, seed=0))(torch.ones(3, 2))
    with pytest.raises(TypeError, match="inside torch.vmap"):
        torch.func.grad(lambda x: init.normal_(x, seed=0).sum())(torch.ones(3))


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_and_a_missing_seed_are_refused(name):
    shape, given = CALLS[name][0]
    tensor = torch.full(shape, 3.0)
    with pytest.raises(TypeError, match=r"generator must be None.*seed= and name="):
        filled(name, tensor, {**given, "generator": torch.Generator()})
    with pytest.raises(TypeError, match="seed"):
        getattr(init, name)(tensor, **given)
    for key in ({"seed": -1}, {"seed": 2**64}):
        with pytest.raises(ValueError, match="seed"):
            filled(name, tensor, given, **key)
    with pytest.raises(TypeError, match="seed"):
        filled(name, tensor, given, seed=1.5)
    with pytest.raises(TypeError, match="name"):
        filled(name, tensor, given, name=3)
    assert (tensor == 3).all()


WRONG = {
    "normal_": [{"std": -1.0}, {"mean": "a"}, {"std": float("nan")}],
    "uniform_": [{"a": 2.0, "b": 1.0}, {"a": None}],
    "trunc_normal_": [{"a": 2.0, "b": -2.0}],
    "kaiming_normal_": [{"mode": "fan"}, {"nonlinearity": "no"}],
    "sparse_": [{"sparsity": 2.0}],
    "orthogonal_": [{"gain": "a"}],
    "dirac_": [{"groups": 0}, {"groups": 5}],
    "constant_": [{"val": "a"}],
}


@pytest.mark.parametrize(("name", "given"), [(name, given) for name, all_ in WRONG.items() for given in all_])
def test_wrong_arguments_leave_the_tensor(name, given):
    tensor = torch.full((6, 3, 2) if name == "dirac_" else (6, 3), 3.0)
    with pytest.raises((TypeError, ValueError)):
        filled(name, tensor, given)
    assert (tensor == 3).all()


@pytest.mark.parametrize("name", ["eye_", "dirac_", "xavier_uniform_", "kaiming_normal_", "orthogonal_", "sparse_"])
def test_shapes_that_a_law_is_not_for(name):
    tensor = torch.full((3,), 3.0)
    for module in (nn.init, init):
        with pytest.raises(ValueError, match=r"\w"):  # each in its own words
            getattr(module, name)(tensor, **CALLS[name][0][1], **({"seed": 0} if module is init else {}))
    assert (tensor == 3).all()


# ---- fill_


def test_fill_takes_every_scheme_and_layout():
    kernel = torch.empty(3, 3, 4, 8)
    assert fill_(kernel, winit.he_normal(), seed=0, name="k", layout="io") is kernel
    assert same(kernel, torch.from_numpy(winit.draw(winit.he_normal(), (3, 3, 4, 8), seed=0, name="k", layout="io")))
    table = fill_(torch.empty(9, 4), winit.embedding(padding=2), seed=0)
    assert (table[2] == 0).all() and (table[1] != 0).any()
    counts = fill_(torch.empty(4, dtype=torch.int64), winit.constant(3), seed=0)
    assert (counts == 3).all()
    with pytest.raises(TypeError, match="scheme"):
        fill_(kernel, "normal", seed=0)
    with pytest.raises((TypeError, ValueError), match="layout"):
        fill_(kernel, winit.normal(), seed=0, layout="xx")


# ---- add_


def ties():
    """A module with a tied pair, a bfloat16 parameter, a frozen one and a buffer."""
    module = nn.Module()
    module.embed = nn.Embedding(20, 8)
    module.head = nn.Linear(8, 20, bias=False)
    module.head.weight = module.embed.weight
    module.low = nn.Parameter(torch.ones(50, dtype=torch.bfloat16))
    module.frozen = nn.Parameter(torch.ones(5), requires_grad=False)
    module.register_buffer("count", torch.zeros(3))
    return module


@each_dtype
def test_add_to_a_tensor_is_one_rounding_of_the_sum(dtype):
    before = init.normal_(torch.empty(40, 30), seed=1, name="w").to(DTYPES[dtype])
    noisy = add_(before.clone(), winit.normal(std=0.5), seed=2, name="n", scale=0.25)
    array = words(before).numpy().copy()
    winit.add(array, winit.normal(std=0.5), seed=2, name="n", scale=0.25, dtype=dtype)
    assert torch.equal(words(noisy), torch.from_numpy(array))
    view = before.clone().t().contiguous().t()
    assert same(add_(view, winit.normal(std=0.5), seed=2, name="n", scale=0.25), noisy)


def test_add_to_a_module_names_ties_once_and_replays():
    module, again = ties(), ties()
    again.load_state_dict(module.state_dict())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert add_(module, winit.normal(), seed=3, name="step 0", scale=0.5) is module
    add_(again, winit.normal(), seed=3, name="step 0", scale=0.5)
    for name, value in module.state_dict().items():
        assert same(value, again.state_dict()[name])
    assert module.head.weight is module.embed.weight
    for name, parameter in module.named_parameters():
        wanted = add_(before[name].clone(), winit.normal(), seed=3, name=f"step 0/{name}", scale=0.5)
        assert same(parameter, wanted) and not same(parameter, before[name])
    assert same(module.count, before["count"])


def test_noise_is_taken_back_to_rounding():
    module = ties()
    before = module.embed.weight.detach().clone()
    add_(module, winit.normal(), seed=3, name="step 0", scale=1e-3)
    add_(module, winit.normal(), seed=3, name="step 0", scale=-1e-3)
    assert torch.allclose(module.embed.weight, before, rtol=0, atol=1e-6)


def test_noise_follows_names_through_wrappers():
    plain, wrapped = ties(), ties()
    wrapped.load_state_dict(plain.state_dict())
    add_(plain, winit.normal(), seed=3, name="n")
    add_(nn.DataParallel(wrapped), winit.normal(), seed=3, name="n")
    assert all(same(value, wrapped.state_dict()[name]) for name, value in plain.state_dict().items())


def test_a_module_whose_noise_is_refused_is_untouched():
    module = ties()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match="needs a name"):
        add_(module, winit.normal(), seed=0)
    with pytest.raises(TypeError, match="scheme"):
        add_(module, "normal", seed=0, name="n")
    for scale in (float("nan"), float("inf"), "a", 1e-50):
        with pytest.raises((TypeError, ValueError), match="scale"):
            add_(module, winit.normal(), seed=0, name="n", scale=scale)
    with pytest.raises((TypeError, ValueError)):
        add_(module, winit.he_normal(), seed=0, name="n")  # a vector has no fans
    module.steps = nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)
    with pytest.raises(TypeError, match="'steps' has the dtype torch.int64"):
        add_(module, winit.normal(), seed=0, name="n")
    module.steps = nn.Parameter(torch.empty(3, device="meta"))
    with pytest.raises(ValueError, match="'steps' is on the meta device"):
        add_(module, winit.normal(), seed=0, name="n")
    assert all(same(value, module.state_dict()[name]) for name, value in before.items())
    for tensor, error in ((torch.ones(3, dtype=torch.int32), TypeError), (torch.eye(3).to_sparse(), TypeError)):
        with pytest.raises(error):
            add_(tensor, winit.normal(), seed=0)


def test_messages_call_a_law_by_its_function():
    tensor = torch.ones((3, 3), dtype=torch.int32)
    for name in ("kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_", "orthogonal_"):
        with pytest.raises(TypeError, match=f"^{name} draws floating-point values, so tensor must hold one of"):
            getattr(init, name)(tensor, seed=0)


def test_filled_tensors_pickle():
    weight = init.normal_(nn.Parameter(torch.empty(3)), seed=0)
    assert torch.equal(pickle.loads(pickle.dumps(weight)), weight)
