"""How long does torch's own way to a model take, and winit.torch's?"""

import pytest

torch = pytest.importorskip("torch")

import winit.torch  # noqa: E402
from winit.torch import init  # noqa: E402


@pytest.fixture
def small(request):
    return request.config.getoption("--elements") < 1 << 20


def llama(small):
    """What makes the model, and how many elements it has."""
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
        "max_position_embeddings": 131072,
    }  # fmt: skip
    if small:
        sizes |= {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 2}
    config = transformers.LlamaConfig(**sizes)
    return lambda: transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def linears(small):
    size, count = (64, 2) if small else (4096, 16)
    return lambda: torch.nn.ModuleList([torch.nn.Linear(size, size) for _ in range(count)])


def little(small):
    return lambda: torch.nn.Sequential(*[torch.nn.Linear(100, 100) for _ in range(10)])


MODELS = {
    "Llama-3.2-1B bfloat16, a torch module": (llama, "transformers", 1),
    "16 x nn.Linear(4096, 4096)": (linears, "torch", 3),
    "a torch module of 101,000 parameters": (little, "torch", 20),
}


@pytest.mark.parametrize("group", MODELS)
@pytest.mark.parametrize("library", ["winit", "winit-again", "torch"])
def test_module(benchmark, group, library, small):
    """build is on fresh memory; winit-again fills the same module again, whose pages are there."""
    make, peer, rounds = MODELS[group]
    factory = make(small)
    with torch.device("meta"):
        elements = sum(parameter.numel() for parameter in factory().parameters())
    benchmark.group = group
    benchmark.extra_info.update(elements=elements, library=peer if library == "torch" else library)
    if library == "winit-again":
        model = winit.torch.build(factory, seed=0)
        benchmark.pedantic(lambda: winit.torch.materialize_(model, seed=0), rounds=3, warmup_rounds=1)
    elif library == "winit":
        benchmark.pedantic(lambda: winit.torch.build(factory, seed=0), rounds=max(rounds, 3), warmup_rounds=1)
    else:
        benchmark.pedantic(factory, rounds=rounds, warmup_rounds=rounds > 1)


CALLS = {
    "kaiming_uniform_": {"a": 5**0.5},
    "normal_": {"std": 0.02},
    "trunc_normal_": {"std": 0.02},
    "orthogonal_": {},
    "sparse_": {"sparsity": 0.5},
    "zeros_": {},
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("library", ["winit", "torch"])
def test_small_call(benchmark, name, library):
    benchmark.group = f"torch.nn.init.{name} of 16x16"
    benchmark.extra_info.update(elements=256, library=library)
    tensor, given = torch.empty(16, 16), CALLS[name]
    if library == "winit":
        function = getattr(init, name)
        benchmark(lambda: function(tensor, **given, seed=0, name="h.0.weight"))
    else:
        function = getattr(torch.nn.init, name)
        benchmark(lambda: function(tensor, **given))
