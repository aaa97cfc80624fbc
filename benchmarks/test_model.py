"""How long does a whole model take, in memory and to a file?"""

from pathlib import Path

import pytest

import winit

EXAMPLES = Path(__file__).parents[1] / "examples"
ONCE = {"rounds": 3, "warmup_rounds": 1, "iterations": 1}


@pytest.fixture
def small(request):
    return request.config.getoption("--elements") < 1 << 20


def plan_of(small):
    return winit.Plan.from_toml(EXAMPLES / ("gpt2.toml" if small else "llama-1b.toml"))


@pytest.mark.parametrize("library", ["winit", "transformers"])
def test_llama_1b(benchmark, library, small):
    benchmark.group = "Llama-3.2-1B bfloat16, in memory" if not small else "a smaller stand-in, in memory"
    if library == "winit":
        plan = plan_of(small)
        benchmark.extra_info.update(elements=plan.parameters, library=library)
        benchmark.pedantic(lambda: plan.build(seed=0), **ONCE)
        return
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if small:
        pytest.skip("the real model is the comparison")
    config = transformers.LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, tie_word_embeddings=True, max_position_embeddings=131072,
    )  # fmt: skip
    benchmark.extra_info.update(elements=1_235_814_400, library=library)
    benchmark.pedantic(
        lambda: transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16), rounds=2, iterations=1
    )


def test_many_small_tensors(benchmark):
    benchmark.group = "10,000 tensors of 16x16, one plan"
    plan = winit.Plan({f"t{i}": winit.Param((16, 16), winit.he_normal(), "float32") for i in range(10_000)})
    benchmark.extra_info.update(elements=plan.parameters, library="winit")
    benchmark.pedantic(lambda: plan.build(seed=0), **ONCE)


def test_checkpoint(benchmark, tmp_path, small):
    benchmark.group = "GPT-2 (498 MB) to a safetensors file, fsync included"
    plan = plan_of(True)
    benchmark.extra_info.update(elements=plan.parameters, library="winit")
    benchmark.pedantic(lambda: plan.write(tmp_path / "model.safetensors", seed=0, overwrite=True), **ONCE)
