"""Constructors of modules, each a function without arguments: what tests/test_torch_build.py builds.

TRANSFORMERS are small configurations of Hugging Face models, LAYERS are torch's own, WRITTEN are patterns of
hand-written code: how people draw, scale, copy, cut and read weights while a module is made.
"""

from __future__ import annotations

import collections
import copy
import ctypes
import dataclasses
import importlib.util
import io
import itertools
import math
import pickle
import random
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import Parameter, functional
from torch.nn.init import kaiming_normal_, orthogonal_, trunc_normal_
from torch.nn.utils import prune

import winit
import winit.torch

# ---- transformers: class and what its configuration is given

_BLOCK = {
    "vocab_size": 300,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 72,
}
_LLAMA = {**_BLOCK, "num_attention_heads": 6, "num_key_value_heads": 2}
_SEQUENCE = {
    "vocab_size": 300, "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 72, "decoder_ffn_dim": 72,
}  # fmt: skip
_TOWERS = {
    "text_config": {**_BLOCK, "hidden_size": 64, "num_attention_heads": 2},
    "vision_config": {**_BLOCK, "image_size": 48, "patch_size": 8, "hidden_size": 64, "num_attention_heads": 2},
}
TRANSFORMERS = {
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": 301, "n_positions": 40, "n_embd": 48, "n_layer": 3, "n_head": 4}),
    "llama": ("LlamaForCausalLM", _LLAMA),
    "bert": ("BertForPreTraining", _BLOCK),
    "t5": (
        "T5ForConditionalGeneration",
        {"vocab_size": 300, "d_model": 48, "d_kv": 10, "d_ff": 72, "num_layers": 2, "num_heads": 4},
    ),
    "vit": ("ViTForImageClassification", {**_BLOCK, "image_size": 64, "patch_size": 8}),
    "mamba": ("MambaForCausalLM", {"vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 2, "state_size": 6}),
    "mixtral": ("MixtralForCausalLM", {**_LLAMA, "num_local_experts": 4}),
    "clip": ("CLIPModel", {**_TOWERS, "projection_dim": 96}),
    "qwen3": ("Qwen3ForCausalLM", {**_LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
    "gpt_neox": ("GPTNeoXForCausalLM", _BLOCK),
    "whisper": (
        "WhisperForConditionalGeneration",
        {
            **_SEQUENCE, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
            "max_source_positions": 50, "max_target_positions": 40,
        },
    ),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        {
            **_BLOCK, "moe_intermediate_size": 20, "num_hidden_layers": 3, "num_key_value_heads": 4,
            "n_routed_experts": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
            "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 12, "v_head_dim": 10,
        },
    ),
    "roberta": ("RobertaForMaskedLM", _BLOCK),
    "bart": ("BartForConditionalGeneration", _SEQUENCE),
    "convnext": ("ConvNextForImageClassification", {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1]}),
    "swin": (
        "SwinForImageClassification",
        {
            "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4,
        },
    ),
    "wav2vec2": (
        "Wav2Vec2Model",
        {
            **_BLOCK, "conv_dim": [16, 16], "conv_kernel": [4, 4], "conv_stride": [2, 2], "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
    ),
    "resnet": ("ResNetForImageClassification", {"embedding_size": 16, "hidden_sizes": [32, 48], "depths": [2, 2]}),
    "rwkv": (
        "RwkvForCausalLM",
        {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
    ),
    "mamba2": (
        "Mamba2ForCausalLM",
        {
            "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 2, "state_size": 8, "head_dim": 12,
            "num_heads": 8, "n_groups": 2,
        },
    ),
    "gemma2": ("Gemma2ForCausalLM", {**_LLAMA, "head_dim": 8}),
    "deberta": ("DebertaV2ForMaskedLM", {**_BLOCK, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "dinov2": (
        "Dinov2Model",
        {"image_size": 56, "patch_size": 14, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "siglip": ("SiglipModel", _TOWERS),
}  # fmt: skip


def transformers_model(name):
    """The factory of one of TRANSFORMERS."""
    import transformers

    kind, given = TRANSFORMERS[name]
    made = getattr(transformers, kind)
    return lambda: made(made.config_class(**copy.deepcopy(given)))


class _Names(type):
    """The type of a class whose every attribute is its own name."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


def timm_without_torchvision(monkeypatch):
    """Import timm; where torchvision, which its data need, is not there, by a stand-in that has any name."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not here")
    if "timm" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        below = ["transforms", "transforms.functional", "datasets", "datasets.folder", "ops", "ops.misc", "models"]
        below += ["models.feature_extraction", "transforms.v2", "io", "utils"]
        names = ["torchvision", *(f"torchvision.{name}" for name in below)]
        for name in names:
            module = types.ModuleType(name)
            module.__path__ = []
            module.__getattr__ = lambda each, name=name: _stand_in(name, each, names)
            monkeypatch.setitem(sys.modules, name, module)
    return importlib.import_module("timm")


def _stand_in(module, name, modules):
    if name.startswith("__") or f"{module}.{name}" in modules:
        raise AttributeError(name)
    return _Names(name, (), {})


# ---- torch's own

LAYERS = {
    "linear": lambda: nn.Linear(64, 128),
    "lstm": lambda: nn.LSTM(24, 48, 2, bidirectional=True),
    "gru": lambda: nn.GRU(24, 48),
    "attention": lambda: nn.MultiheadAttention(48, 4),
    "attention of other sizes": lambda: nn.MultiheadAttention(48, 4, kdim=24, vdim=36, add_bias_kv=True),
    "transformer": lambda: nn.Transformer(48, 4, 2, 2, 96),
    "embedding": lambda: nn.Embedding(200, 48, padding_idx=3),
    "convolutions": lambda: nn.Sequential(
        nn.Conv1d(8, 16, 3), nn.Conv2d(8, 16, 3, groups=4), nn.Conv3d(4, 8, 3), nn.ConvTranspose2d(8, 16, 3),
        nn.BatchNorm2d(16), nn.GroupNorm(4, 16), nn.LayerNorm(16), nn.PReLU(), nn.Bilinear(8, 9, 10),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True), nn.EmbeddingBag(30, 8, padding_idx=1),
    ),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(24, 48)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(24, 24)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(24, 48)),
    "bfloat16": lambda: nn.Linear(30, 40).to(torch.bfloat16),
    "float64": lambda: nn.Linear(30, 40, dtype=torch.float64),
    "channels last": lambda: nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last),
    "synchronised": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(8))),
}  # fmt: skip

# ---- written by hand

WRITTEN = {}


def written(fill):
    """Make a module by a function that is given an empty one, as __init__ is given self."""

    def factory():
        module = nn.Module()
        fill(module)
        return module

    WRITTEN[fill.__name__.strip("_").replace("_", " ")] = factory
    return factory


_small = partial(nn.init.normal_, std=0.02)  # bound before any build


@written
def drawn_in_every_way(m):
    m.a = Parameter(torch.randn(60, 50) * 0.02)
    m.b = Parameter(torch.rand(60, 50) * 2 - 1)
    m.c = Parameter(torch.normal(0.0, 0.1, (60, 50)))
    m.d = Parameter(torch.empty(60, 50))
    _small(m.d)
    m.e = Parameter(torch.empty(60, 50))
    kaiming_normal_(m.e)
    m.e.data.div_(math.sqrt(8))
    m.f = Parameter(torch.empty(60, 50))
    orthogonal_(m.f)
    m.g = Parameter(torch.empty(150, 50))
    for i in range(3):
        nn.init.xavier_uniform_(m.g[50 * i : 50 * i + 50])
    m.h = Parameter(torch.cat([torch.randn(30, 50) * 0.1, torch.zeros(30, 50)]))
    m.i = Parameter(torch.exp(torch.rand(400) * 2).clamp(min=1.5))
    m.j = Parameter(torch.empty(60, 50))
    nn.init.sparse_(m.j, 0.3)
    m.k = Parameter(torch.zeros(60, 50).normal_(0, 0.3))
    with torch.no_grad():
        m.k[5].zero_()
        m.k[7] = 2.0
    m.l = Parameter(torch.empty(100, 50))
    trunc_normal_(m.l, std=0.5, a=-0.7, b=1.1)
    m.m = Parameter(torch.randn(5, 50, 60).transpose(1, 2) * 0.3)
    m.n = Parameter(torch.empty(60, 50).uniform_(-3, -2))
    m.o = Parameter(torch.log(torch.empty(40).uniform_(1, 16)))
    m.p = nn.ParameterList([Parameter(torch.randn(4, 4)) for _ in range(3)])
    m.q = Parameter(torch.tensor(0.0).normal_())


@written
def constants_in_every_way(m):
    m.a = Parameter(torch.arange(10.0))
    m.b = Parameter(torch.tensor([1.0, 2.0]))
    m.c = Parameter(nn.init.eye_(torch.empty(60, 60)))
    m.d = Parameter(nn.init.dirac_(torch.empty(16, 8, 3)))
    m.e = Parameter(nn.init.constant_(torch.empty(5), torch.tensor(2.0)))
    m.f = Parameter(nn.init.constant_(torch.empty(5), -0.0))
    m.g = Parameter(torch.randn(30).zero_())
    m.h = Parameter(torch.randn(30, 3).fill_(0.5))
    m.i = Parameter(torch.randn(30, 3).copy_(torch.ones(3)))
    m.register_buffer("j", nn.init.constant_(torch.empty(5, dtype=torch.int64), 3))
    m.register_buffer("k", torch.polar(torch.ones(6), torch.arange(6.0)), persistent=False)
    m.l = Parameter(nn.init.constant_(torch.empty(5), float("inf")))


@written
def laws_of_numbers(m):
    m.a = Parameter(1 + 0.02 * torch.randn(300))
    m.b = Parameter((torch.rand(300) - 0.5) * 2 * 0.1)
    m.c = Parameter(1 - torch.rand(300))
    m.d = Parameter(torch.rand(300).mul(2).sub(1))
    m.e = Parameter(-torch.randn(300))
    m.f = Parameter(torch.zeros(300) + torch.randn(300))
    m.g = Parameter(torch.randn(300) * torch.tensor(0.1))
    m.h = Parameter(0.1 * torch.randn(300) + torch.randn(300))
    m.i = Parameter(torch.randn(300).clamp_(-1, 1))
    m.j = Parameter(torch.randn(300) ** 2)
    m.k = Parameter(torch.empty(300).normal_().fmod_(2).mul_(0.1))
    m.l = Parameter(torch.erfinv(2 * torch.rand(300) - 1) * math.sqrt(2))


@written
def truncated_as_timm_does(m):
    m.w = Parameter(torch.empty(100, 50))
    low, high = ((1 + math.erf(x / math.sqrt(2))) / 2 for x in (-2.0, 2.0))
    with torch.no_grad():
        m.w.uniform_(2 * low - 1, 2 * high - 1).erfinv_().mul_(math.sqrt(2)).clamp_(min=-2.0, max=2.0)
        m.w.mul_(0.02).add_(0.0)


@written
def truncated_by_a_choice_of_four(m):
    draws = torch.empty(30, 30).new_empty((30, 30, 4)).normal_()
    inside = ((draws < 2) & (draws > -2)).max(-1, keepdim=True)[1]
    m.w = Parameter(torch.empty(30, 30))
    m.w.data.copy_(draws.gather(-1, inside).squeeze(-1))
    m.w.data.mul_(0.02)


@written
def truncated_by_rejection(m):
    """Draws until all is within two standard deviations: the number of draws depends on what was drawn."""
    m.layers = nn.ModuleList([nn.Linear(20, 20) for _ in range(3)])
    for layer in m.layers:
        weight = layer.weight
        with torch.no_grad():
            nn.init.normal_(weight, std=0.02)
            while (beyond := weight.abs() > 0.04).any():
                weight.copy_(torch.where(beyond, nn.init.normal_(torch.ones(weight.shape), std=0.02), weight))
    m.head = nn.Linear(20, 5)


@written
def redrawn_by_index(m):
    w = torch.randn(300)
    while (beyond := w.abs() > 2).any():
        w[beyond] = torch.randn(int(beyond.sum()))
    m.w = Parameter(w)


@written
def random_operations(m):
    m.a = Parameter(functional.dropout(torch.ones(300), 0.5))
    m.b = Parameter(functional.gumbel_softmax(torch.zeros(30, 10)))
    m.c = Parameter(torch.multinomial(torch.ones(300), 100).float())
    m.d = Parameter(torch.poisson(torch.ones(300)))
    m.e = Parameter(torch.empty(300).exponential_())
    m.f = Parameter(torch.empty(300).log_normal_())
    m.g = Parameter(torch.empty(300).cauchy_())
    m.h = Parameter(torch.empty(300).geometric_(0.3))
    m.i = Parameter(torch.empty(300).random_(0, 10))
    m.j = Parameter(torch.binomial(torch.full((300,), 10.0), torch.full((300,), 0.3)))  # unknown to the meta device
    m.k = Parameter(torch.distributions.Beta(2.0, 3.0).sample((300,)))
    m.l = Parameter(torch.distributions.Dirichlet(torch.ones(5)).sample((100,)))
    m.n = Parameter(torch.normal(torch.arange(300.0), 0.1))
    m.register_buffer("p", torch.randint(0, 9, (500,)))
    m.register_buffer("q", torch.randperm(60))
    m.register_buffer("r", torch.bernoulli(torch.full((500,), 0.3)))
    m.register_buffer("s", torch.rand(500) > 0.5)
    m.register_buffer("t", torch.randn(20), persistent=False)


@written
def out_arguments(m):
    w, v, u = torch.empty(30, 30), torch.empty(30, 30), torch.empty(0)
    m.w = Parameter(torch.randn(30, 30, out=w))
    m.v = Parameter(torch.mul(w, 2, out=v))
    m.u = Parameter(torch.rand(300, out=u))  # which torch resizes
    c = torch.empty(30, 30, dtype=torch.complex64)
    m.c = Parameter(torch.randn(30, 30, out=c))


@written
def complex_numbers(m):
    m.a = Parameter(torch.randn(50, dtype=torch.complex64))
    m.b = Parameter(torch.view_as_real(torch.randn(20, 16, dtype=torch.complex64)))
    m.c = Parameter(torch.empty(30, 30, dtype=torch.complex64))
    nn.init.normal_(torch.view_as_real(m.c.data))
    m.d = Parameter(torch.empty(30, 30, dtype=torch.complex64))
    nn.init.xavier_uniform_(m.d.real)
    nn.init.zeros_(m.d.imag)
    m.e = Parameter(torch.complex(torch.randn(20, 30), torch.randn(20, 30)) / math.sqrt(40))


@written
def state_space(m):
    u1, u2 = torch.rand(200), torch.rand(200)
    m.nu = Parameter(torch.log(-0.5 * torch.log(u1 * (0.99**2 - 0.5**2) + 0.5**2)))
    m.theta = Parameter(torch.log(6.28 * u2))
    poles = torch.exp(torch.complex(-torch.exp(m.nu), torch.exp(m.theta)))
    m.gamma = Parameter(torch.log(torch.sqrt(1 - torch.abs(poles) ** 2)))
    m.step = Parameter(torch.rand(200) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))


@written
def linear_algebra(m):
    u, _, v = torch.linalg.svd(torch.randn(20, 30))
    m.u, m.v = Parameter(u), Parameter(v)
    m.q = Parameter(torch.linalg.qr(torch.randn(30, 30))[0] * 2)
    square = torch.randn(10, 10)
    m.l = Parameter(torch.linalg.cholesky(square @ square.T + torch.eye(10)))
    m.x = Parameter(torch.matrix_exp(square - square.T))
    m.n = Parameter(functional.normalize(torch.randn(30, 30), dim=-1))


@written
def copies_and_averages(m):
    m.online = nn.Linear(20, 30)
    m.target = copy.deepcopy(m.online)
    m.loaded = nn.Linear(20, 30)
    m.loaded.load_state_dict(m.online.state_dict())
    m.average = torch.optim.swa_utils.AveragedModel(m.online)
    m.register_buffer("memory", torch.randn(30, 30))
    m.remembered = copy.deepcopy(m.memory)
    m.momentum = nn.Linear(20, 30)
    with torch.no_grad():
        torch._foreach_lerp_([*m.momentum.parameters()], [*m.online.parameters()], 0.3)


@written
def saved_and_loaded(m):
    """By files in memory, which are read without an operation."""
    from safetensors.torch import load, save

    m.a = nn.Linear(30, 30)
    m.b, m.c = nn.Linear(30, 30), nn.Linear(30, 30)
    file = io.BytesIO()
    torch.save(m.a.state_dict(), file)
    m.b.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
    m.c.load_state_dict(load(save(m.a.state_dict())))
    m.d = pickle.loads(pickle.dumps(m.a))


@written
def written_through_arrays(m):
    m.a = Parameter(torch.empty(30, 30))
    nn.init.normal_(m.a)
    m.a.data.numpy()[:10] = 3.0
    m.b = nn.Linear(30, 30)
    array = m.b.weight.detach().numpy()
    array *= 2
    m.b.weight.data.add_(1)
    array -= 1
    m.c = Parameter(torch.empty(30, 30))
    m.c.detach().numpy()[:] = 7
    w = torch.randn(300)
    w.apply_(abs)
    m.d = Parameter(w)


@written
def read_in_every_way(m):
    w = torch.randn(300)
    m.a = Parameter(torch.tensor(w.tolist()))
    m.b = Parameter(torch.from_numpy(np.sort(np.asarray(torch.randn(300)))))
    m.c = Parameter(torch.tensor([w[0], w[1], 2 * w[2]]))
    m.d = Parameter(torch.tensor([float(x) for x in torch.rand(100)]))
    m.e = Parameter(torch.from_dlpack(torch.randn(300)) * 2)
    m.f = Parameter(torch.tensor(list((ctypes.c_float * 300).from_address(w.data_ptr()))))
    m.g = Parameter(w / w.norm().item())
    assert torch.isfinite(m.g).all() and torch.equal(m.g, m.g.clone())


@written
def read_and_then_drawn(m):
    m.scale = Parameter(torch.rand(300))
    size = 3 + int(m.scale.sum() > 0)
    m.layers = nn.ModuleList([nn.Linear(size, 20) for _ in range(2)])


@written
def forward_while_made(m):
    """A batch of zeros for its shape, which moves the statistics of the norm."""
    m.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten())
    m.head = nn.Linear(m.body(torch.zeros(2, 3, 12, 12)).shape[1], 10)
    m.rnn = nn.LSTM(8, 16, batch_first=True)
    m.out = nn.Linear(m.rnn(torch.ones(2, 3, 8))[0].shape[-1], 3)
    m.table = nn.Embedding(30, 8, max_norm=0.5)
    m.table(torch.arange(30))


@written
def lazy_layers(m):
    m.body = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10))
    m.body(torch.zeros(2, 3, 8, 8))


@written
def trained_while_made(m):
    m.layer = nn.Linear(30, 30)
    step = torch.optim.Adam(m.layer.parameters(), 0.1)
    m.layer(torch.ones(1, 30)).sum().backward()
    step.step()


@written
def from_meta(m):
    with torch.device("meta"):
        m.layer = nn.Linear(30, 40)
    m.layer.to_empty(device="cpu")
    m.layer.reset_parameters()
    m.skipped = nn.utils.skip_init(nn.Linear, 30, 30)
    nn.init.normal_(m.skipped.weight)
    nn.init.zeros_(m.skipped.bias)


@written
def generators_of_its_own(m):
    """Values that are the same for every seed, since the constructor asks for them."""
    own = torch.Generator().manual_seed(5)
    m.register_buffer("projection", torch.randn(30, 30, generator=own))
    m.register_buffer("order", torch.randperm(300, generator=own))
    m.w = Parameter(nn.init.kaiming_uniform_(torch.empty(30, 30), generator=own))


@written
def a_generator_of_its_own_in_part(m):
    m.layer = nn.Linear(30, 30)
    with torch.no_grad():
        m.layer.weight[:10].normal_(generator=torch.Generator().manual_seed(5))


@written
def generators_of_numpy_and_python(m):
    m.a = Parameter(torch.from_numpy(np.random.randn(50, 40).astype(np.float32)))  # noqa: NPY002
    m.b = Parameter(torch.tensor([random.gauss(0, 1) for _ in range(300)]))


@written
def masks(m):
    scores = torch.rand(30, 30)
    m.register_buffer("mask", torch.zeros(30, 30).scatter_(1, scores.topk(5, 1).indices, 1.0))
    m.a = Parameter(torch.randn(30, 30) * m.mask)
    w = torch.randn(30, 30)
    w[torch.rand(30, 30) < 0.5] = 0
    m.b = Parameter(w)
    m.c = Parameter(torch.empty(30, 30).normal_())
    with torch.no_grad():
        m.c[torch.randperm(30)[:5]] = 0
    m.pruned = nn.Linear(30, 30)
    prune.l1_unstructured(m.pruned, "weight", 0.3)


@written
def views_and_parts(m):
    flat = torch.empty(900)
    nn.init.normal_(flat)
    m.a, m.b = Parameter(flat[:400].view(20, 20)), Parameter(flat[400:].view(25, 20))
    shared = torch.randn(1200)
    m.c, m.d = Parameter(shared.view(30, 40)), Parameter(shared.view(40, 30).t())
    m.e = Parameter(torch.randn(1, 50).expand(7, 50))
    m.f = Parameter(torch.randn(60, 5).as_strided((30, 10), (1, 3)))
    packed = nn.init.xavier_uniform_(torch.empty(90, 30))
    m.q, m.k, m.v = (Parameter(part) for part in packed.chunk(3))
    m.g = Parameter(nn.init.xavier_uniform_(torch.empty(20, 30)).t().contiguous())
    w = torch.randn(20, 30)
    m.h = Parameter(w.t_())
    m.i = Parameter(torch.randn(900).resize_(20, 10))


@written
def one_flat_memory(m):
    m.a, m.b = nn.Linear(20, 20), nn.Linear(20, 10)
    flat, at = nn.utils.parameters_to_vector(m.parameters()).detach(), 0
    for parameter in m.parameters():
        parameter.data = flat[at : at + parameter.numel()].view_as(parameter)
        at += parameter.numel()


@written
def other_dtypes(m):
    m.a = Parameter(torch.randn(50, dtype=torch.bfloat16))
    m.b = Parameter(torch.randn(300).to(torch.float16))
    m.c = Parameter(torch.randn(300, dtype=torch.float16) * 1e5)  # beyond the dtype's range
    m.d = nn.Linear(30, 30).double()
    m.register_buffer("e", (torch.rand(300) * 10).long())
    m.f = Parameter(nn.init.normal_(torch.empty(300, dtype=torch.float16), 0, 1e6))


@written
def odd_arguments(m):
    m.a = Parameter(nn.init.trunc_normal_(torch.empty(300), 0, 0.5, 1, 2))
    m.b = Parameter(nn.init.trunc_normal_(torch.empty(300), 0, 1, -float("inf"), 0))
    m.c = Parameter(nn.init.normal_(torch.empty(300), 0, torch.tensor(0.3)))
    m.d = Parameter(nn.init.uniform_(torch.empty(300), 1, 1))
    m.e = Parameter(nn.init.normal_(torch.empty(300), 2, 0))
    m.f = Parameter(torch.empty(0, 4).normal_())


@written
def errors_that_are_caught(m):
    m.w = Parameter(torch.randn(30, 30))
    for wrong in (
        lambda: m.w.data.copy_(torch.ones(7)),
        lambda: m.w.data.add_(torch.ones(7)),
        lambda: m.w.data.normal_(0, -1),
        lambda: m.w.data.uniform_(2, 1),
        lambda: torch.zeros(3, dtype=torch.int64).normal_(),
        lambda: torch.zeros(1).expand(4).normal_(),
        lambda: nn.init.normal_(torch.zeros(1).expand(4)),
        lambda: nn.Conv2d(3, 8, 3)(torch.zeros(1, 4, 9, 9)),
    ):
        try:
            wrong()
        except RuntimeError:
            continue
        raise AssertionError("torch raises here")


@written
def scripted_and_traced(m):
    m.a = torch.jit.script(nn.Sequential(nn.Linear(30, 30), nn.ReLU()))
    m.b = torch.jit.trace(nn.Sequential(nn.Linear(30, 30), nn.ReLU()), torch.zeros(1, 30))
    m.c = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(30, 30), nn.BatchNorm1d(30)))


class Own(Parameter):
    """A user's own kind of parameter."""


@written
def subclasses(m):
    from torch.testing._internal.two_tensor import TwoTensor

    m.a = Own(torch.empty(30, 30))
    nn.init.xavier_uniform_(m.a)
    m.b = nn.Buffer(torch.randn(30))
    m.c = Parameter((TwoTensor(torch.randn(30, 30), torch.randn(30, 30)) * 2).a + 1)


@written
def sparse_and_quantised(m):
    at = torch.stack([torch.randperm(30), torch.arange(30)])
    m.register_buffer("a", torch.sparse_coo_tensor(at, torch.randn(30), (30, 30)).to_dense())
    m.b = Parameter(torch.quantize_per_tensor(torch.randn(300), 0.1, 0, torch.qint8).dequantize())


@written
def initialised_by_winit(m):
    """Tensors that the constructor fills with winit itself, and a module that was built within."""
    m.w = Parameter(torch.empty(30, 30))
    winit.torch.init.kaiming_uniform_(m.w, seed=3, name="w")
    m.v = Parameter(torch.randn(30, 30))
    winit.torch.init.normal_(m.v, seed=3, name="v")
    m.inner = winit.torch.build(lambda: nn.Linear(30, 30), seed=5)
    m.outer = nn.Linear(30, 30)


@written
def initialised_by_a_function_of_its_own(m):
    def init(module):
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(0, 0.02)
            module.bias.data.zero_()

    m.body = nn.Sequential(nn.Linear(30, 30), nn.LayerNorm(30), nn.Linear(30, 30))
    m.apply(init)
    m.rnn = nn.LSTM(20, 30)
    for name, parameter in m.rnn.named_parameters():
        if "weight_hh" in name:
            for gate in range(4):
                nn.init.orthogonal_(parameter[30 * gate : 30 * gate + 30])
        elif "bias" in name:
            nn.init.zeros_(parameter)
            parameter.data[30:60].fill_(1)


@written
def depths_and_fixups(m):
    m.layers = nn.ModuleList([nn.Linear(30, 30) for _ in range(3)])
    for i, layer in enumerate(m.layers):
        nn.init.kaiming_normal_(layer.weight)
        layer.weight.data.mul_((i + 1) ** -0.5)
        layer.weight.data /= 2.0
        layer.weight.data = layer.weight.data * 3
    m.delta = Parameter(torch.zeros(20, 10, 3, 3))
    m.delta.data[:, :, 1, 1] = torch.linalg.qr(torch.randn(20, 20))[0][:, :10]
    m.rows = Parameter(torch.empty(30, 30))
    with torch.no_grad():
        for i in range(30):
            m.rows[i] = torch.randn(30) * i


@dataclasses.dataclass
class Box:
    value: torch.Tensor


@written
def tensors_outside_of_modules(m):
    """In plain attributes, lists, objects and closures: no parameter, no buffer, and values all the same."""
    m.w = Parameter(torch.ones(2))
    m.plain = torch.randn(300)
    m.listed = [[torch.randn(300)], {"a": torch.randn(300)}]
    m.box = Box(torch.randn(300))
    m.queue = collections.deque([torch.randn(300)])
    hidden = torch.randn(300)
    m.closure = lambda: hidden
    m.deep = {"a": {"b": {"c": {"d": {"e": torch.randn(300)}}}}}


# ---- whole models, as people write them


def whole(factory):
    """Make a model of one's own by a function without arguments."""
    WRITTEN[factory.__name__.strip("_").replace("_", " ")] = factory
    return factory


class ResidualBlock(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inputs != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))


class ResNet(nn.Module):
    """He et al. 2015 with the zeros of Goyal et al. 2017 at each branch's end, and torch's own law in the head."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = [(16, 16, 1), (16, 24, 2), (24, 32, 2)]
        self.layers = nn.ModuleList(
            nn.Sequential(ResidualBlock(a, b, stride), ResidualBlock(b, b, 1)) for a, b, stride in stages
        )
        self.fc = nn.Linear(32, 100)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)
        for m in self.modules():
            if isinstance(m, ResidualBlock):
                nn.init.constant_(m.bn2.weight, 0)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = Parameter(1e-6 * torch.ones(dim))


class ConvNeXt(nn.Module):
    """Liu et al. 2022: normal(0.02) with cuts that lie a hundred standard deviations away, a head that is scaled."""

    def __init__(self, head_scale=0.5):
        super().__init__()
        dims, self.rates = (16, 24, 32), [rate.item() for rate in torch.linspace(0, 0.1, 4)]
        self.stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), nn.LayerNorm(dims[0]))
        self.downsample = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in itertools.pairwise(dims))
        self.stages = nn.ModuleList(nn.Sequential(*(ConvNeXtBlock(dim) for _ in range(2))) for dim in dims)
        self.head = nn.Linear(dims[-1], 60)
        self.apply(self._init_weights)
        self.head.weight.data.mul_(head_scale)
        self.head.bias.data.mul_(head_scale)

    def _init_weights(self, m):
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            trunc_normal_(m.weight, std=0.02)
            nn.init.constant_(m.bias, 0)


class NanoGPT(nn.Module):
    """A GPT-2 as in teaching code: one head tied before the laws, projections by name after them."""

    def __init__(self, layers=3, dim=48, vocab=300, positions=40):
        super().__init__()
        blocks = [
            nn.ModuleDict({
                "ln_1": nn.LayerNorm(dim), "c_attn": nn.Linear(dim, 3 * dim), "attn_c_proj": nn.Linear(dim, dim),
                "ln_2": nn.LayerNorm(dim), "c_fc": nn.Linear(dim, 4 * dim), "c_proj": nn.Linear(4 * dim, dim),
            })
            for _ in range(layers)
        ]  # fmt: skip
        for block in blocks:
            block.register_buffer("bias", torch.tril(torch.ones(positions, positions))[None, None], persistent=False)
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(vocab, dim), "wpe": nn.Embedding(positions, dim), "h": nn.ModuleList(blocks),
            "ln_f": nn.LayerNorm(dim),
        })  # fmt: skip
        self.lm_head = nn.Linear(dim, vocab, bias=False)
        self.transformer.wte.weight = self.lm_head.weight
        self.apply(self._init_weights)
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):
                torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * layers))

    def _init_weights(self, m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(m.weight, mean=0.0, std=0.02)
            if getattr(m, "bias", None) is not None:
                torch.nn.init.zeros_(m.bias)


class MambaBlock(nn.Module):
    """Gu and Dao 2023: a bias whose softplus is log-uniform, which no module's initialiser is to touch again."""

    def __init__(self, dim, inner, states, rank, layers):
        super().__init__()
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj = nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = math.log(0.001), math.log(0.1)
        dt = torch.exp(torch.rand(inner) * (high - low) + low).clamp(min=1e-4)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.dt_proj.bias._no_reinit = True
        self.A_log = Parameter(torch.log(torch.arange(1, states + 1).repeat(inner, 1).float()).contiguous())
        self.A_log._no_weight_decay = True
        self.D = Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)
        for module in (self.in_proj, self.x_proj, self.dt_proj):
            if module.bias is not None and not getattr(module.bias, "_no_reinit", False):
                nn.init.zeros_(module.bias)
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        with torch.no_grad():
            self.out_proj.weight /= math.sqrt(layers)


class MambaLike(nn.Module):
    def __init__(self, layers=3, dim=32):
        super().__init__()
        self.embedding = nn.Embedding(300, dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(MambaBlock(dim, 2 * dim, 6, 8, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.lm_head = nn.Linear(dim, 300, bias=False)
        self.lm_head.weight = self.embedding.weight


@whole
def hand_written_resnet():
    return ResNet()


@whole
def hand_written_convnext():
    return ConvNeXt()


@whole
def hand_written_nanogpt():
    return NanoGPT()


@whole
def hand_written_mamba():
    return MambaLike()
