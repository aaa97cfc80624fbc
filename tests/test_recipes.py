"""Recipes against transformers, which most of them claim to follow, and against formulas written out here."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

import winit
from winit import Param, Plan, recipes
from winit.schemes import named

TRANSFORMERS = {}  # case -> (recipe, sizes, model's class, configuration)


def case(name, recipe, model, sizes, configuration):
    TRANSFORMERS[name] = (recipe, sizes, model, configuration)


GPT2 = {"vocab_size": 301, "n_positions": 40, "n_embd": 48, "n_layer": 3, "n_head": 4}
case(
    "gpt2",
    "gpt2",
    "GPT2LMHeadModel",
    {"vocab": 301, "positions": 40, "dim": 48, "layers": 3},
    GPT2,
)
case(
    "gpt2, untied, n_inner",
    "gpt2",
    "GPT2LMHeadModel",
    {"vocab": 301, "positions": 40, "dim": 48, "layers": 3, "inner": 100, "tied": False, "std": 0.05},
    {**GPT2, "n_inner": 100, "tie_word_embeddings": False, "initializer_range": 0.05},
)
LLAMA = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
}
case(
    "llama",
    "llama",
    "LlamaForCausalLM",
    {"vocab": 300, "dim": 48, "inner": 72, "layers": 2, "heads": 6},
    LLAMA,
)
case(
    "llama, tied, biases, grouped heads",
    "llama",
    "LlamaForCausalLM",
    {
        "vocab": 300,
        "dim": 48,
        "inner": 72,
        "layers": 2,
        "heads": 6,
        "kv_heads": 2,
        "head_dim": 10,
        "tied": True,
        "attention_bias": True,
        "mlp_bias": True,
        "std": 0.03,
    },
    {
        **LLAMA,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
        "initializer_range": 0.03,
    },
)
BERT = {
    "vocab_size": 300,
    "max_position_embeddings": 50,
    "type_vocab_size": 3,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 72,
}
BERT_SIZES = {"vocab": 300, "positions": 50, "types": 3, "dim": 48, "layers": 2, "inner": 72}
case("bert", "bert", "BertForPreTraining", BERT_SIZES, BERT)
case(
    "bert, masked language model",
    "bert",
    "BertForMaskedLM",
    {**BERT_SIZES, "next_sentence": False, "std": 0.04},
    {**BERT, "initializer_range": 0.04},
)
case(
    "bert, untied", "bert", "BertForPreTraining", {**BERT_SIZES, "tied": False}, {**BERT, "tie_word_embeddings": False}
)
T5 = {"vocab_size": 300, "d_model": 48, "d_kv": 10, "d_ff": 72, "num_layers": 2, "num_heads": 4}
T5_SIZES = {"vocab": 300, "dim": 48, "head_dim": 10, "inner": 72, "layers": 2, "heads": 4}
case("t5", "t5", "T5ForConditionalGeneration", T5_SIZES, T5)
case(
    "t5, 1.1",
    "t5",
    "T5ForConditionalGeneration",
    {**T5_SIZES, "gated": True, "decoder_layers": 3, "buckets": 20, "factor": 0.5},
    {
        **T5,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,  # they are tied all the same
        "num_decoder_layers": 3,
        "relative_attention_num_buckets": 20,
        "initializer_factor": 0.5,
    },
)
VIT = {
    "image_size": 64,
    "patch_size": 8,
    "num_channels": 2,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 72,
    "num_labels": 11,
}
VIT_SIZES = {"image": 64, "patch": 8, "channels": 2, "dim": 48, "layers": 2, "inner": 72, "labels": 11}
case("vit", "vit", "ViTForImageClassification", VIT_SIZES, VIT)
case(
    # At std 1 the cuts of trunc_normal_ are at two of them: absolute, not relative.
    "vit, no biases, no classifier, cut",
    "vit",
    "ViTForImageClassification",
    {**VIT_SIZES, "qkv_bias": False, "labels": 0, "std": 1.0},
    {**VIT, "qkv_bias": False, "num_labels": 0, "initializer_range": 1.0},
)
RESNET = {"num_channels": 2, "embedding_size": 16, "hidden_sizes": [32, 48], "depths": [2, 3], "num_labels": 11}
RESNET_SIZES = {"channels": 2, "stem": 16, "widths": [32, 48], "depths": [2, 3], "labels": 11}
case("resnet, bottleneck", "resnet", "ResNetForImageClassification", RESNET_SIZES, RESNET)
case(
    "resnet, basic, no first shortcut, no classifier",
    "resnet",
    "ResNetForImageClassification",
    {**RESNET_SIZES, "widths": [16, 24, 32], "depths": [1, 2, 1], "bottleneck": False, "labels": 0},
    {**RESNET, "hidden_sizes": [16, 24, 32], "depths": [1, 2, 1], "layer_type": "basic", "num_labels": 0},
)
case(
    "resnet, downsampling in the first stage",
    "resnet",
    "ResNetForImageClassification",
    {**RESNET_SIZES, "widths": [16, 24], "bottleneck": False, "downsample_first": True},
    {**RESNET, "hidden_sizes": [16, 24], "layer_type": "basic", "downsample_in_first_stage": True},
)
CONVNEXT = {
    "num_channels": 2,
    "patch_size": 2,
    "num_stages": 3,
    "hidden_sizes": [16, 24, 32],
    "depths": [1, 3, 2],
    "num_labels": 11,
}
CONVNEXT_SIZES = {"channels": 2, "patch": 2, "widths": [16, 24, 32], "depths": [1, 3, 2], "labels": 11}
case("convnext", "convnext", "ConvNextForImageClassification", CONVNEXT_SIZES, CONVNEXT)
case(
    "convnext, no layer scale",
    "convnext",
    "ConvNextForImageClassification",
    {**CONVNEXT_SIZES, "layer_scale": 0.0, "labels": 0, "std": 0.1},
    {**CONVNEXT, "layer_scale_init_value": 0.0, "num_labels": 0, "initializer_range": 0.1},
)
CLIP_TEXT = {
    "vocab_size": 300,
    "max_position_embeddings": 100,
    "hidden_size": 64,
    "intermediate_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
CLIP_VISION = {
    "image_size": 48,
    "patch_size": 8,
    "num_channels": 2,
    "hidden_size": 80,
    "intermediate_size": 70,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
CLIP_SIZES = {
    "vocab": 300,
    "positions": 100,
    "text_dim": 64,
    "text_layers": 2,
    "text_inner": 50,
    "image": 48,
    "patch": 8,
    "channels": 2,
    "vision_dim": 80,
    "vision_layers": 3,
    "vision_inner": 70,
    "projection": 96,
}
case(
    "clip",
    "clip",
    "CLIPModel",
    CLIP_SIZES,
    {"text_config": CLIP_TEXT, "vision_config": CLIP_VISION, "projection_dim": 96},
)
case(
    "clip, factor",
    "clip",
    "CLIPModel",
    {**CLIP_SIZES, "logit_scale": 1.5, "factor": 0.5, "std": 0.06},
    {
        "text_config": {**CLIP_TEXT, "initializer_factor": 0.5},
        "vision_config": {**CLIP_VISION, "initializer_factor": 0.5, "initializer_range": 0.06},
        "projection_dim": 96,
        "logit_scale_init_value": 1.5,
        "initializer_factor": 0.5,
    },
)
DEEPSEEK = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 72,
    "moe_intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 10,
}
DEEPSEEK_SIZES = {
    "vocab": 300,
    "dim": 48,
    "inner": 72,
    "expert_inner": 20,
    "layers": 3,
    "dense_layers": 1,
    "heads": 4,
    "experts": 8,
    "shared_experts": 2,
    "kv_rank": 16,
    "q_rank": 24,
    "rope_dim": 8,
    "nope_dim": 12,
    "value_dim": 10,
}
case("deepseek_v3", "deepseek_v3", "DeepseekV3ForCausalLM", DEEPSEEK_SIZES, DEEPSEEK)
case(
    "deepseek_v3, tied, no rank of q, no dense layer",
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    {**DEEPSEEK_SIZES, "q_rank": 0, "dense_layers": 0, "tied": True},
    {**DEEPSEEK, "q_lora_rank": None, "first_k_dense_replace": 0, "tie_word_embeddings": True},
)
case(
    "deepseek_v3, biases, dense layers alone",
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    {**DEEPSEEK_SIZES, "dense_layers": 3, "attention_bias": True},
    {**DEEPSEEK, "first_k_dense_replace": 3, "attention_bias": True},
)
MAMBA = {"vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 2, "state_size": 6, "pad_token_id": None}
MAMBA_SIZES = {"vocab": 300, "dim": 48, "layers": 2, "states": 6}
case("mamba", "mamba", "MambaForCausalLM", MAMBA_SIZES, MAMBA)
case(
    "mamba, rescaled, biases, untied",
    "mamba",
    "MambaForCausalLM",
    {
        **MAMBA_SIZES,
        "inner": 144,
        "kernel": 3,
        "dt_rank": 5,
        "dt_low": 0.01,
        "dt_high": 0.2,
        "dt_floor": 0.02,
        "dt_scale": 0.7,
        "bias": True,
        "conv_bias": False,
        "rescale": True,
        "tied": False,
        "std": 0.2,
    },
    {
        **MAMBA,
        "expand": 3,
        "conv_kernel": 3,
        "time_step_rank": 5,
        "time_step_min": 0.01,
        "time_step_max": 0.2,
        "time_step_floor": 0.02,
        "time_step_scale": 0.7,
        "use_bias": True,
        "use_conv_bias": False,
        "rescale_prenorm_residual": True,
        "tie_word_embeddings": False,
        "initializer_range": 0.2,
    },
)

MAMBA_SCHEMES = {"mamba_a_log", "mamba_dt_bias"}
SEEDS = range(5)


def ready():
    return [name for name in recipes.names() if name != "mamba" or named().keys() >= MAMBA_SCHEMES]


@pytest.fixture(scope="module")
def models():
    """What makes the model of a case, by seed; the configuration's class is the model's own."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    def make(label, seed=0):
        _, _, name, configuration = TRANSFORMERS[label]
        cls = getattr(transformers, name)
        torch.manual_seed(seed)
        return cls(cls.config_class(**configuration))

    return make


# ---- the statistics

# 504 random tensors in all cases together, at most five looks at each, which fail with chance 1e-10 where the recipe is
# correct: 2.6e-7 in all. The seeds are fixed, so the outcome is too. By the bounds below, a std wrong by a twentieth is
# found in a tensor of 6000 elements or more, and in the smallest (a class token of 48) one wrong by a half.
CHANCE = 1e-10


def differences(values: np.ndarray, scheme: winit.Scheme, shape: tuple[int, ...]) -> list[str]:
    """How independent values differ from a scheme's law: in its ends, mean, standard deviation and distribution.

    For n normal values, Chernoff's bounds are P(|mean - mu| > e) <= 2 exp(-n e^2 / 2 sigma^2) and, with S the mean
    square over sigma^2, P(S >= 1 + x) and P(S <= 1 + x) <= exp(-n (x - ln(1 + x)) / 2). They hold for the uniform and
    the cut normal law as well: with respect to the normal law of the same variance their squares are smaller in convex
    order (the densities of the squares cross twice). The last is the Dvoretzky-Kiefer-Wolfowitz-Massart bound,
    P(sup |F_n - F| > e) <= 2 exp(-2 n e^2), for any law.
    """
    law = scheme.law(shape)
    moments = law.moments()
    if moments.std == 0:
        wrong = values[values != np.float32(moments.mean)]
        return [f"{wrong.size} of {values.size} values are not {moments.mean}"] if wrong.size else []
    n, std = values.size, moments.std
    found = []
    slack = 1e-6 * max(abs(end) for end in (*values[:1], moments.low, moments.high) if math.isfinite(end))
    if values.min() < moments.low - slack or values.max() > moments.high + slack:
        found.append(f"[{values.min()}, {values.max()}] is not within [{moments.low}, {moments.high}]")
    # The largest of n uniform values is a part d of the range or more below its end with chance (1 - d)^n < exp(-n d).
    reach = math.log(2 / CHANCE) / n * (moments.high - moments.low)
    if type(law).__name__ == "Uniform" and max(values.min() - moments.low, moments.high - values.max()) > reach:
        found.append(f"[{values.min()}, {values.max()}] does not fill [{moments.low}, {moments.high}]")
    if abs(values.mean() - moments.mean) > std * math.sqrt(2 / n * math.log(2 / CHANCE)):
        found.append(f"mean {values.mean()} of {n}, not {moments.mean}")
    excess = np.square(values - moments.mean).mean() / std**2 - 1
    if excess == -1 or n * (excess - math.log1p(excess)) / 2 > math.log(2 / CHANCE):
        found.append(f"std {std * math.sqrt(1 + excess)} of {n}, not {std}")
    distance = stats.kstest(values, CDF[type(law).__name__](law)).statistic
    if distance > math.sqrt(math.log(2 / CHANCE) / (2 * n)):
        found.append(f"{distance} away from {law}")
    return found


CDF = {
    "Normal": lambda law: stats.norm(law.mean, law.std).cdf,
    "Uniform": lambda law: stats.uniform(law.low, law.high - law.low).cdf,
    "TruncatedNormal": lambda law: stats.truncnorm(law.low, law.high, law.mean, law.std).cdf,
}


def compare(plan: Plan, states: list[dict[str, np.ndarray]], own: dict[str, str]) -> dict[str, list[str]]:
    """Compare a plan with the states of a model by seed; `own` names tensors compared elsewhere, and why."""
    found = {}
    if missing := states[0].keys() - plan.keys():
        found["missing"] = sorted(missing)
    if unexpected := plan.keys() - states[0].keys():
        found["unexpected"] = sorted(unexpected)
    for name in plan.keys() & states[0].keys():
        param, first = plan[name], states[0][name]
        if param.shape != first.shape or param.dtype != first.dtype.name:
            found[name] = [f"{param.dtype} {param.shape}, not {first.dtype} {first.shape}"]
        elif param.scheme is not None and name not in own:
            values = np.concatenate([state[name].ravel() for state in states]).astype(np.float64)
            if differs := differences(values, param.scheme, param.shape):
                found[name] = differs
    return found


def arrays(model) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def elsewhere(recipe: str, plan: Plan) -> dict[str, str]:
    """The tensors whose values are no independent draws of one law, each with the test that looks at it."""
    patterns = {
        "bert": {"word_embeddings.weight": "test_padding_rows"},
        "mamba": {"A_log": "test_mamba_states", "dt_proj.bias": "test_mamba_steps"},
    }.get(recipe, {})
    return {name: test for name in plan for ending, test in patterns.items() if name.endswith(ending)}


# ---- against transformers


@pytest.mark.parametrize("label", TRANSFORMERS)
def test_transformers_draws_from_the_recipes_laws(models, label):
    recipe, sizes, _, _ = TRANSFORMERS[label]
    plan = recipes.load(recipe, **sizes)
    states = [arrays(models(label, seed)) for seed in SEEDS]
    assert compare(plan, states, elsewhere(recipe, plan)) == {}


@pytest.mark.parametrize("label", TRANSFORMERS)
def test_transformers_ties_what_the_recipe_ties(models, label):
    recipe, sizes, _, _ = TRANSFORMERS[label]
    plan = recipes.load(recipe, **sizes)
    owners: dict[int, str] = {}
    shared = {}
    tensors = models(label).state_dict()
    for name in (*plan.stored, *(name for name in tensors if name not in plan.stored)):
        if tensors[name].numel():
            owner = owners.setdefault(tensors[name].data_ptr(), name)
            if owner != name:
                shared[name] = owner
    assert shared == {name: param.tied for name, param in plan.items() if param.tied}


@pytest.mark.parametrize("label", TRANSFORMERS)
def test_transformers_loads_what_the_recipe_draws(models, label):
    torch = pytest.importorskip("torch")
    recipe, sizes, _, _ = TRANSFORMERS[label]
    drawn = recipes.load(recipe, **sizes).build(seed=1)
    model = models(label)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in drawn.items()}, strict=True)
    state = model.state_dict()
    assert all(torch.equal(state[name], torch.from_numpy(array)) for name, array in drawn.items())


HUB = {"vit", "deepseek_v3"}  # recipes whose files have other names than transformers 5 has in memory


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """The folder that save_pretrained wrote for a case, and the model's state."""

    def save(label):
        folder = tmp_path_factory.mktemp("saved")
        model = models(label)
        model.save_pretrained(folder)
        return folder, model.state_dict()

    return save


@pytest.mark.parametrize("label", TRANSFORMERS)
def test_what_save_pretrained_wrote_is_read_back_whole(saved, label):
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    recipe, sizes, _, _ = TRANSFORMERS[label]
    folder, _ = saved(label)
    plan = recipes.load(recipe, **sizes, **({"hub": True} if recipe in HUB else {}))
    loaded = winit.pretrained(folder, plan, seed=0)
    assert (loaded.report.fitted, loaded.report.drawn, loaded.report.left_over) == ({}, (), ())
    written = safetensors_numpy.load_file(folder / "model.safetensors")
    built = loaded.build()
    for name, array in written.items():
        assert array.dtype == built[name].dtype and array.tobytes() == built[name].tobytes(), name
    assert built.keys() - written.keys() == {name for name, param in plan.items() if param.tied}


VIT_FILES = [
    *(
        (f"vit.layers.*.attention.{q}_proj.*", f"vit.encoder.layer.*.attention.attention.{query}.*")
        for q, query in (("q", "query"), ("k", "key"), ("v", "value"))
    ),
    ("vit.layers.*.attention.o_proj.*", "vit.encoder.layer.*.attention.output.dense.*"),
    ("vit.layers.*.mlp.fc1.*", "vit.encoder.layer.*.intermediate.dense.*"),
    ("vit.layers.*.mlp.fc2.*", "vit.encoder.layer.*.output.dense.*"),
    ("vit.layers.*", "vit.encoder.layer.*"),
]


def deepseek_files(experts, inner, dim):
    layer = "model.layers.*.mlp.experts"
    halves = [f"{layer}.{i}.{half}_proj.weight" for i in range(experts) for half in ("gate", "up")]
    downs = [f"{layer}.{i}.down_proj.weight" for i in range(experts)]
    return [
        (f"{layer}.gate_up_proj", winit.Source(halves, join="concat", reshape=(experts, 2 * inner, dim))),
        (f"{layer}.down_proj", winit.Source(downs, join="stack")),
    ]


@pytest.mark.parametrize(
    "label", [label for label in TRANSFORMERS if TRANSFORMERS[label][0] in HUB and "dense layers alone" not in label]
)
def test_files_under_the_names_in_memory(saved, label):
    """The plan of the names that transformers has in memory, from the files: the tensors of the model's own state."""
    recipe, sizes, _, _ = TRANSFORMERS[label]
    folder, state = saved(label)
    names = VIT_FILES if recipe == "vit" else deepseek_files(sizes["experts"], sizes["expert_inner"], sizes["dim"])
    loaded = winit.pretrained(folder, recipes.load(recipe, **sizes), seed=0, names=names)
    assert (loaded.report.drawn, loaded.report.left_over) == ((), ())
    built = loaded.build()
    assert built.keys() == state.keys()
    for name, tensor in state.items():
        assert np.array_equal(built[name], tensor.numpy()), name


def test_names_of_files_keep_the_values_of_the_names_in_memory():
    sizes = TRANSFORMERS["vit"][1]
    memory, files = recipes.vit(**sizes), recipes.vit(**sizes, hub=True)
    assert {files.key(name) for name in files} == set(memory)
    built = memory.build(seed=0)
    assert all(array.tobytes() == built[files.key(name)].tobytes() for name, array in files.build(seed=0).items())
    assert all(files[name].scheme == memory[files.key(name)].scheme for name in files)


@pytest.mark.parametrize("label", [label for label in TRANSFORMERS if TRANSFORMERS[label][0] in HUB])
def test_transformers_opens_what_the_recipe_writes_under_the_names_of_files(saved, label):
    torch = pytest.importorskip("torch")
    recipe, sizes, name, _ = TRANSFORMERS[label]
    transformers = pytest.importorskip("transformers")
    folder, _ = saved(label)
    plan = recipes.load(recipe, **sizes, hub=True)
    plan.write(folder / "model.safetensors", seed=1, overwrite=True)
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(info[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    again = folder / "again"
    model.save_pretrained(again)
    built = plan.build(seed=1)
    assert all(
        torch.equal(torch.from_numpy(built[tensor]), torch.from_numpy(array))
        for tensor, array in winit.pretrained(again, plan, seed=0).build().items()
    )


def test_laws_of_tensors_too_small_for_statistics():
    """The same formulas as in transformers, written out: at the default sizes, and exactly."""
    clip, resnet, vit = recipes.clip(), recipes.resnet(), recipes.vit()
    assert clip["vision_model.embeddings.class_embedding"].scheme.std == pytest.approx(768**-0.5, rel=1e-12)
    assert clip["logit_scale"].scheme == winit.constant(2.6592)
    assert resnet["classifier.1.bias"].scheme.moments((1000,))[2:] == pytest.approx((-(2048**-0.5), 2048**-0.5))
    assert vit["vit.embeddings.cls_token"].scheme == winit.truncated_normal(std=0.02, low=-100, high=100)


@pytest.mark.parametrize("label", [label for label in TRANSFORMERS if TRANSFORMERS[label][0] == "bert"])
def test_padding_rows(models, label):
    """Row 0 of BERT's word embeddings is 0 in transformers, and in the recipe; the others are normal."""
    recipe, sizes, _, _ = TRANSFORMERS[label]
    name = "bert.embeddings.word_embeddings.weight"
    param = recipes.load(recipe, **sizes)[name]
    tables = [arrays(models(label, seed))[name] for seed in SEEDS]
    assert not any(table[0].any() for table in tables)
    rest = np.concatenate([table[1:].ravel() for table in tables]).astype(np.float64)
    assert differences(rest, winit.normal(std=sizes.get("std", 0.02)), param.shape) == []
    assert param.scheme == winit.embedding(std=sizes.get("std", 0.02), padding=0)
    assert not recipes.load(recipe, **sizes).build(seed=0)[name][0].any()


@pytest.mark.parametrize("label", [label for label in TRANSFORMERS if TRANSFORMERS[label][0] == "mamba"])
def test_mamba_states(models, label):
    recipe, sizes, _, _ = TRANSFORMERS[label]
    state, drawn = arrays(models(label)), recipes.load(recipe, **sizes).build(seed=0)
    for name in (name for name in drawn if name.endswith("A_log")):
        np.testing.assert_allclose(drawn[name], state[name], rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("label", [label for label in TRANSFORMERS if TRANSFORMERS[label][0] == "mamba"])
def test_mamba_steps(models, label):
    """softplus(bias) is log-uniform on [low, high], raised to the floor: theirs and ours."""
    recipe, sizes, _, _ = TRANSFORMERS[label]
    plan = recipes.load(recipe, **sizes)
    low, high = sizes.get("dt_low", 0.001), sizes.get("dt_high", 0.1)
    floor = max(sizes.get("dt_floor", 1e-4), low)
    for name in (name for name in plan if name.endswith("dt_proj.bias")):
        for states in ([arrays(models(label, seed)) for seed in SEEDS], [plan.build(seed=seed) for seed in SEEDS]):
            steps = np.logaddexp(np.concatenate([state[name] for state in states]).astype(np.float64), 0)
            assert floor * (1 - 1e-5) <= steps.min()
            assert steps.max() <= high * (1 + 1e-5)
            levels = np.geomspace(floor, high, 50)[1:-1]
            expected = np.log(levels / low) / math.log(high / low)
            distance = np.abs((steps[:, None] <= levels).mean(axis=0) - expected).max()
            assert distance < math.sqrt(math.log(2 / CHANCE) / (2 * steps.size)), name


FULL = {  # the default sizes, of a published model or transformers' own; parameters as it counts them, tied ones once
    "gpt2": ("GPT2LMHeadModel", {}, 124_439_808),
    "llama": ("LlamaForCausalLM", {}, 6_738_415_616),
    "bert": ("BertForPreTraining", {}, 110_106_428),
    "t5": ("T5ForConditionalGeneration", {}, 60_506_624),
    "vit": ("ViTForImageClassification", {"num_labels": 1000}, 86_567_656),
    "resnet": ("ResNetForImageClassification", {"num_labels": 1000}, 25_557_032),
    "convnext": ("ConvNextForImageClassification", {"num_labels": 1000}, 28_589_128),
    "clip": ("CLIPModel", {}, 151_277_313),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {}, 671_026_404_352),
    "mamba": ("MambaForCausalLM", {}, 159_308_544),
}


@pytest.mark.parametrize("recipe", FULL)
def test_default_sizes_are_transformers(recipe):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    name, configuration, parameters = FULL[recipe]
    cls = getattr(transformers, name)
    with torch.device("meta"):
        model = cls(cls.config_class(**configuration))
    plan = recipes.load(recipe)
    assert {name: param.shape for name, param in plan.items()} == {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items()
    }
    buffers = sum(tensor.numel() for name, tensor in model.named_buffers() if name in plan)
    assert plan.parameters - buffers == model.num_parameters() == parameters


# ---- the comparison itself: recipes broken on purpose


@pytest.fixture(scope="module")
def gpt2_states(models):
    return [arrays(models("gpt2", seed)) for seed in SEEDS]


def changed(plan: Plan, name: str, param: Param | None) -> Plan:
    rest = {key: value for key, value in plan.items() if key != name}
    return Plan(rest if param is None else {**rest, name: param})


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_std_wrong_by_a_twentieth_is_found(gpt2_states, factor):
    plan = recipes.gpt2(**TRANSFORMERS["gpt2"][1])
    name = "transformer.h.1.mlp.c_fc.weight"
    broken = changed(plan, name, Param(plan[name].shape, winit.normal(std=0.02 * factor), "float32"))
    assert compare(plan, gpt2_states, {}) == {}
    assert list(compare(broken, gpt2_states, {})) == [name]


@pytest.mark.parametrize(
    "scheme",
    [
        winit.normal(mean=0.001, std=0.02),
        winit.uniform(-0.02 * 3**0.5, 0.02 * 3**0.5),
        winit.truncated_normal(std=0.02 / 0.8796256610342398),  # cut at 2, and of std 0.02
        winit.zeros(),
    ],
)
def test_another_law_of_the_same_std_is_found(gpt2_states, scheme):
    plan = recipes.gpt2(**TRANSFORMERS["gpt2"][1])
    name = "transformer.h.1.mlp.c_fc.weight"
    assert list(compare(changed(plan, name, Param((48, 192), scheme, "float32")), gpt2_states, {})) == [name]


def test_missing_and_unexpected_tensors_are_found(gpt2_states):
    plan = recipes.gpt2(**TRANSFORMERS["gpt2"][1])
    name = "transformer.h.1.ln_1.bias"
    assert compare(changed(plan, name, None), gpt2_states, {}) == {"missing": [name]}
    assert compare(changed(plan, "x", plan[name]), gpt2_states, {}) == {"unexpected": ["x"]}
    wrong = changed(plan, name, Param((47,), winit.zeros(), "float32"))
    assert list(compare(wrong, gpt2_states, {})) == [name]
    ones = changed(plan, name, Param((48,), winit.ones(), "float32"))
    assert list(compare(ones, gpt2_states, {})) == [name]


# ---- torchtitan and nanochat, which are not installed: their formulas, written out


def moments_of(plan: Plan) -> dict[str, tuple[float, float]]:
    found = {}
    for name, param in plan.stored.items():
        moments = param.scheme.moments(param.shape, param.layout)
        found[name] = (moments.mean, moments.std)
    return found


@pytest.mark.parametrize("tied", [False, True])
def test_torchtitan_llama3(tied):
    dim, heads, kv_heads, inner, vocab, layers = 40, 4, 2, 56, 90, 3
    plan = recipes.llama3_torchtitan(
        vocab=vocab, dim=dim, layers=layers, inner=inner, heads=heads, kv_heads=kv_heads, tied=tied
    )
    expected = {"norm.weight": ((dim,), 1, 0), "tok_embeddings.weight": ((vocab, dim), 0, 1)}
    # The variance of the standard normal cut at 3: 1 - 2 * 3 * phi(3) / (2 Phi(3) - 1).
    cut = math.sqrt(1 - 6 * math.exp(-4.5) / math.sqrt(2 * math.pi) / math.erf(3 / math.sqrt(2)))
    expected["lm_head.weight"] = ((vocab, dim), 0, cut / math.sqrt(dim))
    if tied:
        assert plan["tok_embeddings.weight"].tied == "lm_head.weight"
        expected.pop("tok_embeddings.weight")
    for layer in range(layers):
        prefix, deep = f"layers.{layer}.", 0.02 / math.sqrt(2 * (layer + 1))
        expected |= {
            f"{prefix}attention_norm.weight": ((dim,), 1, 0),
            f"{prefix}ffn_norm.weight": ((dim,), 1, 0),
            f"{prefix}attention.qkv_linear.wq.weight": ((40, dim), 0, 0.02),
            f"{prefix}attention.qkv_linear.wk.weight": ((20, dim), 0, 0.02),
            f"{prefix}attention.qkv_linear.wv.weight": ((20, dim), 0, 0.02),
            f"{prefix}attention.wo.weight": ((dim, 40), 0, deep),
            f"{prefix}feed_forward.w1.weight": ((inner, dim), 0, 0.02),
            f"{prefix}feed_forward.w2.weight": ((dim, inner), 0, deep),
            f"{prefix}feed_forward.w3.weight": ((inner, dim), 0, deep),
        }
    assert {name: param.shape for name, param in plan.stored.items()} == {
        n: shape for n, (shape, *_) in expected.items()
    }
    assert moments_of(plan) == {
        name: pytest.approx((mean, std), rel=1e-12) for name, (_, mean, std) in expected.items()
    }
    assert plan["lm_head.weight"].scheme.moments((vocab, dim)).high == pytest.approx(3 / math.sqrt(dim))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_nanochat(layers):
    dim, heads, kv_heads = 36, 6, 3
    plan = recipes.nanochat(vocab=130, dim=dim, layers=layers, heads=heads, kv_heads=kv_heads)
    std = 1 / math.sqrt(dim)
    gate = (0.01, 0.02 / math.sqrt(12))
    expected = {
        "transformer.wte.weight": ((192, dim), 0, 0.8),
        "lm_head.weight": ((192, dim), 0, 0.001),
        "smear_gate.weight": ((1, 24), *gate),
        "smear_lambda": ((1,), 0, 0),
        "backout_lambda": ((1,), 0.2, 0),
    }
    for layer in range(layers):
        prefix = f"transformer.h.{layer}."
        expected |= {
            f"{prefix}attn.c_q.weight": ((dim, dim), 0, std),
            f"{prefix}attn.c_k.weight": ((18, dim), 0, std),
            f"{prefix}attn.c_v.weight": ((18, dim), 0, std),
            f"{prefix}attn.c_proj.weight": ((dim, dim), 0, 0),
            f"{prefix}mlp.c_fc.weight": ((144, dim), 0, 0.4 * std),
            f"{prefix}mlp.c_proj.weight": ((dim, 144), 0, 0),
        }
        if layer % 2 == (layers - 1) % 2:
            expected[f"{prefix}attn.ve_gate.weight"] = ((kv_heads, 12), *gate)
            expected[f"value_embeds.{layer}.weight"] = ((192, 18), 0, std)
    scalars = {name: plan[name] for name in ("resid_lambdas", "x0_lambdas")}
    rest = Plan({name: param for name, param in plan.items() if name not in scalars})
    assert {name: param.shape for name, param in rest.items()} == {
        name: shape for name, (shape, *_) in expected.items()
    }
    assert moments_of(rest) == {
        name: pytest.approx((mean, std), rel=1e-12) for name, (_, mean, std) in expected.items()
    }
    built = plan.build(seed=0)
    steps = np.arange(layers) / max(layers - 1, 1)
    np.testing.assert_allclose(built["resid_lambdas"], 1.15 - 0.10 * steps, rtol=1e-7)
    np.testing.assert_allclose(built["x0_lambdas"], 0.20 - 0.15 * steps, rtol=1e-7)
    for name in ("transformer.h.0.attn.c_q.weight", "transformer.h.0.mlp.c_fc.weight"):
        assert type(plan[name].scheme) is winit.uniform


# ---- the door


def test_names():
    expected = "bert clip convnext deepseek_v3 gpt2 llama llama3_torchtitan mamba nanochat resnet t5 vit"
    assert recipes.names() == expected.split()
    assert winit.recipes is recipes
    assert set(recipes.names()) <= set(dir(recipes))
    assert {recipe for recipe, *_ in TRANSFORMERS.values()} | {"llama3_torchtitan", "nanochat"} == set(recipes.names())


@pytest.mark.parametrize("name", recipes.names())
def test_descriptions_and_parameters(name):
    assert recipes.description(name)
    assert "\n" not in recipes.description(name)
    assert recipes.parameters(name)
    assert name.isidentifier()
    assert recipes.description(name) in getattr(recipes, name).__doc__


@pytest.mark.parametrize("name", ready())
def test_plans_round_trip_through_toml(name):
    plan = recipes.load(name)
    assert Plan.from_toml(plan.to_toml()) == plan
    assert getattr(recipes, name)() == plan
    # What a parameter's own default says explicitly changes nothing.
    plain = {key: value for key, value in recipes.parameters(name).items() if not isinstance(value, str)}
    assert recipes.load(name, **plain) == plan


def test_gpt2_is_the_example():
    from pathlib import Path

    example = Plan.from_toml(Path(__file__).resolve().parents[1] / "examples" / "gpt2.toml")
    plan = recipes.gpt2()
    assert {name: (p.shape, p.scheme, p.tied) for name, p in plan.items()} == {
        name: (p.shape, p.scheme, p.tied) for name, p in example.items()
    }


@pytest.mark.parametrize(
    ("name", "sizes", "error", "match"),
    [
        ("gpt3", {}, ValueError, r"^unknown recipe 'gpt3' \(did you mean 'gpt2'\?\); there are: bert, clip, .*, vit$"),
        (
            "gpt2",
            {"depth": 3},
            ValueError,
            r"^gpt2: unknown parameter 'depth'; there are: vocab, positions, dim, .*std$",
        ),
        ("gpt2", {"layers": 1.5}, TypeError, r"^gpt2: parameter layers must be an integer, not 1\.5$"),
        ("gpt2", {"layers": 2.0}, TypeError, r"^gpt2: parameter layers must be an integer, not 2\.0$"),
        ("gpt2", {"layers": "2"}, TypeError, r"^gpt2: parameter layers must be an integer, not '2'$"),
        ("gpt2", {"layers": True}, TypeError, r"^gpt2: parameter layers must be an integer, not True$"),
        ("gpt2", {"inner": 2.5}, TypeError, r"^gpt2: parameter inner must be an integer, not 2\.5$"),
        ("gpt2", {"tied": 1}, TypeError, r"^gpt2: parameter tied must be true or false, not 1$"),
        ("gpt2", {"std": "x"}, TypeError, r"^gpt2: parameter std must be a number, not 'x'$"),
        ("gpt2", {"std": math.nan}, ValueError, r"^gpt2: parameter std must be finite, not nan$"),
        ("gpt2", {"std": -1.0}, ValueError, r"^gpt2: rules\[2\].*: std must not be negative"),
        ("gpt2", {"layers": 0}, ValueError, r"^gpt2: needs layers >= 1, not layers = 0$"),
        ("gpt2", {"dim": -1}, ValueError, r"^gpt2: transformer\.wte\.weight: shape must not hold negative sizes"),
        ("llama", {"layers": -1}, ValueError, r"^llama: .*the range \{0\.\.layers-1\} runs backwards, from 0 to -2$"),
        (
            "resnet",
            {"depths": 3},
            TypeError,
            r"^resnet: parameter depths must be a list such as \[3, 4, 6, 3\], not 3$",
        ),
        ("resnet", {"depths": []}, TypeError, r"^resnet: parameter depths must be a list such as"),
        ("resnet", {"depths": [1, 2.0]}, TypeError, r"^resnet: parameter depths must be an integer, not 2\.0$"),
        (
            "resnet",
            {"depths": [1, 2]},
            ValueError,
            r"^resnet: needs len\(widths\) == len\(depths\), not widths = \[256",
        ),
        ("nanochat", {"heads": 7}, ValueError, r"^nanochat: needs dim % heads == 0, not dim = 768, heads = 7$"),
    ],
)
def test_load_refuses(name, sizes, error, match):
    with pytest.raises(error, match=match):
        recipes.load(name, **sizes)


def test_unknown_attribute():
    with pytest.raises(
        AttributeError,
        match=r"^module 'winit.recipes' has no attribute 'gpt3' \(did you mean 'gpt2'\?\); recipes are: bert, ",
    ):
        _ = recipes.gpt3


def test_numpy_sizes():
    sizes = {"layers": np.int64(1), "dim": np.int32(8), "vocab": 9, "std": np.float64(0.5)}
    assert recipes.gpt2(**sizes) == recipes.gpt2(layers=1, dim=8, vocab=9, std=0.5)
    assert recipes.resnet(depths=(1, 1, 1, 1)) == recipes.resnet(depths=[1, 1, 1, 1])


def test_reading_recipes_imports_no_framework():
    code = "import sys, winit; winit.recipes.gpt2(); print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---- the command line


def test_command_line_lists_recipes(run):
    status, out, err = run("recipes")
    assert (status, err) == (0, "")
    for name in recipes.names():
        assert f"{recipes.description(name)}\n" in out
    listed = " ".join(out.split())
    assert "gpt2 GPT-2: transformers' GPT2LMHeadModel vocab=50257 positions=1024 dim=768 layers=12" in listed
    assert "inner=(4 * dim)" in listed
    assert "depths=[3, 4, 6, 3] bottleneck=true" in listed
    assert max(map(len, out.splitlines())) <= 120


def test_command_line_writes_recipes(run, tmp_path):
    path = tmp_path / "m.safetensors"
    small = ["--set", "layers=2", "--set", "dim=16", "--set", "vocab=50", "--set", "tied=false", "--set", "std=0.5"]
    status, out, err = run("init", "gpt2", *small, "-o", path, "--seed", 3, "--dtype", "bfloat16")
    assert (status, err) == (0, "")
    plan = recipes.gpt2(layers=2, dim=16, vocab=50, tied=False, std=0.5).with_dtype("bfloat16")
    assert f"{len(plan)} tensors" in out
    from winit.checkpoint import verify

    assert verify(path, plan, seed=3).ok
    assert run("verify", path, "gpt2", *small, "--seed", 3, "--dtype", "bfloat16")[0] == 0
    assert run("verify", path, "gpt2", *small, "--set", "positions=7", "--seed", 3, "--dtype", "bfloat16")[0] == 1


def test_command_line_sets_lists(run):
    status, out, _ = run("show", "resnet", "--set", "depths=[1,1]", "--set", "widths = [8, 16]")
    assert status == 0
    assert "resnet.encoder.stages.1.layers.0.layer.2.convolution.weight" in out
    assert "stages.2" not in out


def test_command_line_sets_parameters_of_files(run, tmp_path):
    spec = tmp_path / "gpt2"  # a file of a recipe's name, said with a slash
    spec.write_text("[parameters]\nn = 3\n[tensors]\nw = { shape = ['n', 2], scheme = 'ones()' }\n")
    assert " 3x2 " in run("show", spec)[1]
    assert " 5x2 " in run("show", spec, "--set", "n=5")[1]
    status, _, err = run("show", spec, "--set", "m=5")
    assert (status, err.count("\n")) == (2, 1)
    assert err.endswith("gpt2: unknown parameter 'm'; there are: n\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt3"], "no recipe is called 'gpt3'; there are: bert, clip"),
        (["absent"], "a file is written ./absent"),
        (["gpt2", "--set", "layers"], "--set takes NAME=VALUE, not 'layers'"),
        (["gpt2", "--set", "=3"], "--set takes NAME=VALUE, not '=3'"),
        (["gpt2", "--set", "layers=many"], "--set layers: 'many' is not a value such as 24"),
        (["gpt2", "--set", "layers=1\ndim=2"], "--set layers: '1\\ndim=2' is not a value such as 24"),
        (["gpt2", "--set", "layers="], "--set layers: '' is not a value such as 24"),
        (["gpt2", "--set", "layers=1", "--set", "layers=2"], "--set gives layers twice"),
        (["gpt2", "--set", "layers='3'"], "gpt2: parameter layers must be an integer, not '3'"),
        (["gpt2", "--set", "heads=3"], "gpt2: unknown parameter 'heads'; there are: vocab"),
        (["gpt2", "--dtype", "int8"], "gpt2: dtype must be one of"),
    ],
)
def test_command_line_errors_are_one_line(run, arguments, message):
    status, out, err = run("show", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
