# Written by tools/recipe_stubs.py from the recipes' TOML. DO NOT EDIT.
from collections.abc import Sequence

from winit._plans.parameter_table import Value
from winit._plans.plan import Plan

__all__ = ["description", "load", "names", "parameters"]

def names() -> list[str]: ...
def description(name: str) -> str: ...
def parameters(name: str) -> dict[str, Value | str]: ...
def load(name: str, /, **sizes: Value) -> Plan: ...
def bert(
    *,
    vocab: int = 30522,
    positions: int = 512,
    types: int = 2,
    dim: int = 768,
    layers: int = 12,
    inner: int = 3072,
    next_sentence: bool = True,
    tied: bool = True,
    padding: int = 0,
    std: float = 0.02,
) -> Plan: ...
def clip(
    *,
    vocab: int = 49408,
    positions: int = 77,
    text_dim: int = 512,
    text_layers: int = 12,
    text_inner: int = ...,
    image: int = 224,
    patch: int = 32,
    channels: int = 3,
    vision_dim: int = 768,
    vision_layers: int = 12,
    vision_inner: int = ...,
    projection: int = 512,
    logit_scale: float = 2.6592,
    std: float = 0.02,
    factor: float = 1.0,
) -> Plan: ...
def convnext(
    *,
    channels: int = 3,
    patch: int = 4,
    widths: Sequence[int] = ...,
    depths: Sequence[int] = ...,
    labels: int = 1000,
    layer_scale: float = 1e-06,
    std: float = 0.02,
) -> Plan: ...
def deepseek_v3(
    *,
    vocab: int = 129280,
    dim: int = 7168,
    layers: int = 61,
    dense_layers: int = 3,
    inner: int = 18432,
    expert_inner: int = 2048,
    experts: int = 256,
    shared_experts: int = 1,
    heads: int = 128,
    q_rank: int = 1536,
    kv_rank: int = 512,
    nope_dim: int = 128,
    rope_dim: int = 64,
    value_dim: int = 128,
    tied: bool = False,
    attention_bias: bool = False,
    std: float = 0.02,
    hub: bool = False,
) -> Plan: ...
def gpt2(
    *,
    vocab: int = 50257,
    positions: int = 1024,
    dim: int = 768,
    layers: int = 12,
    inner: int = ...,
    tied: bool = True,
    std: float = 0.02,
) -> Plan: ...
def llama(
    *,
    vocab: int = 32000,
    dim: int = 4096,
    layers: int = 32,
    inner: int = 11008,
    heads: int = 32,
    kv_heads: int = ...,
    head_dim: int = ...,
    tied: bool = False,
    attention_bias: bool = False,
    mlp_bias: bool = False,
    std: float = 0.02,
) -> Plan: ...
def llama3_torchtitan(
    *,
    vocab: int = 128256,
    dim: int = 4096,
    layers: int = 32,
    inner: int = 14336,
    heads: int = 32,
    kv_heads: int = 8,
    tied: bool = False,
) -> Plan: ...
def mamba(
    *,
    vocab: int = 50280,
    dim: int = 768,
    layers: int = 32,
    inner: int = ...,
    states: int = 16,
    kernel: int = 4,
    dt_rank: int = ...,
    dt_low: float = 0.001,
    dt_high: float = 0.1,
    dt_floor: float = 0.0001,
    dt_scale: float = 1.0,
    bias: bool = False,
    conv_bias: bool = True,
    rescale: bool = False,
    tied: bool = True,
    std: float = 0.1,
) -> Plan: ...
def nanochat(
    *,
    vocab: int = 32768,
    dim: int = 768,
    layers: int = 12,
    heads: int = 6,
    kv_heads: int = ...,
    pad_to: int = 64,
) -> Plan: ...
def resnet(
    *,
    channels: int = 3,
    stem: int = 64,
    widths: Sequence[int] = ...,
    depths: Sequence[int] = ...,
    bottleneck: bool = True,
    downsample_first: bool = False,
    labels: int = 1000,
) -> Plan: ...
def t5(
    *,
    vocab: int = 32128,
    dim: int = 512,
    layers: int = 6,
    decoder_layers: int = ...,
    heads: int = 8,
    head_dim: int = 64,
    inner: int = 2048,
    buckets: int = 32,
    gated: bool = False,
    factor: float = 1.0,
) -> Plan: ...
def vit(
    *,
    image: int = 224,
    patch: int = 16,
    channels: int = 3,
    dim: int = 768,
    layers: int = 12,
    inner: int = 3072,
    labels: int = 1000,
    qkv_bias: bool = True,
    std: float = 0.02,
    hub: bool = False,
) -> Plan: ...
