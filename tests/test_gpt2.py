"""The examples against transformers, whose models they claim to initialise."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from winit import Plan
from winit.checkpoint import verify

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def gpt2():
    return Plan.from_toml(EXAMPLES / "gpt2.toml")


@pytest.fixture(scope="module")
def loaded(gpt2, tmp_path_factory):
    """(model, loading info) of a directory with our file and transformers' configuration."""
    directory = tmp_path_factory.mktemp("gpt2")
    path = directory / "model.safetensors"
    gpt2.write(path, seed=0)
    assert verify(path, gpt2, seed=0).ok
    transformers.GPT2Config().save_pretrained(directory)
    model, info = transformers.GPT2LMHeadModel.from_pretrained(directory, output_loading_info=True)
    path.unlink()  # half a gigabyte
    return model.eval(), info


def shapes(model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_gpt2_counts(gpt2):
    assert gpt2.parameters == 124_439_808
    assert len(gpt2.stored) == 148
    assert gpt2.nbytes == 4 * 124_439_808


def test_gpt2_names_and_shapes(gpt2):
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    assert {name: param.shape for name, param in gpt2.items()} == shapes(model)


def test_gpt2_loads_without_complaint(loaded):
    model, info = loaded
    assert set(info["missing_keys"]) <= {"lm_head.weight"}  # tied, so not in the file
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert not info.get("error_msgs")
    assert model.num_parameters() == 124_439_808
    assert model.lm_head.weight is model.transformer.wte.weight


def test_gpt2_holds_what_the_plan_draws(gpt2, loaded):
    model, _ = loaded
    built, state = gpt2.build(seed=0), model.state_dict()
    assert set(built) == set(state)
    for name, array in built.items():
        assert torch.equal(state[name], torch.from_numpy(array)), name


def test_gpt2_has_transformers_laws(loaded):
    model, _ = loaded
    drawn = 0
    for name, tensor in model.named_parameters():
        values = tensor.detach().double()
        if name.endswith(".bias"):
            assert not values.any(), name
        elif ".ln_" in name:
            assert (values == 1).all(), name
        else:
            std = 0.02 / math.sqrt(2 * 12) if "c_proj" in name else 0.02
            # The sample's mean and std deviate by std / sqrt(n) and std / sqrt(2n). At 6.5 of those, 2 * 50 looks
            # fail for a correct sampler with chance 100 * 8e-11 = 8e-9.
            assert abs(values.mean()) < 6.5 * std / math.sqrt(values.numel()), name
            assert abs(values.std() - std) < 6.5 * std / math.sqrt(2 * values.numel()), name
            drawn += 1
    assert drawn == 50


def test_gpt2_loss_is_that_of_a_fresh_model(loaded):
    model, _ = loaded
    ids = torch.randint(50257, (4, 256), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = model(ids, labels=ids).loss.item()
    # The last norm makes |h|^2 = 768, so logits are N(0, 768 * 0.02^2) about, and the mean of ln sum exp is ln 50257
    # plus half of that variance: 10.978. 1020 targets of deviation sqrt(0.307) put the mean within 0.1 by 5.8 sigma.
    assert abs(loss - (math.log(50257) + 768 * 0.02**2 / 2)) < 0.1


def test_llama_names_and_shapes():
    plan = Plan.from_toml(EXAMPLES / "llama-1b.toml")
    config = transformers.LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    assert {name: param.shape for name, param in plan.items()} == shapes(model)
    assert {name for name, param in plan.items() if param.tied} == {"lm_head.weight"}
    assert plan.parameters == model.num_parameters() == 1_235_814_400
    assert {param.dtype for param in plan.values()} == {"bfloat16"}


def test_llama_laws():
    plan = Plan.from_toml(EXAMPLES / "llama-1b.toml")
    for name, param in plan.stored.items():
        moments = param.scheme.moments(param.shape)
        expected = (1.0, 0.0) if name.endswith("norm.weight") else (0.0, 0.02)
        assert (moments.mean, moments.std) == expected, name
