"""How large a transformer's residual stream is by depth: what a plan's laws predict, beside what a torch model shows.

The stream's vectors at T positions are described by their T x T matrix of mean products, which wide layers map to
another: a norm divides by lengths, causal attention averages with softmax weights of random scores, an inner layer
applies its activation to pairs of normal numbers. All terms that are added are independent of what they are added to.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from winit._core.checks import check_integer, shown
from winit._core.drawing import draw, words
from winit._core.layouts import fans
from winit._plans.param import Param
from winit._plans.plan import Plan, check_plan
from winit.activations import Activation
from winit.lab.mean_field import together
from winit.lab.tables import Table
from winit.schemes.plain import normal

__all__ = ["residual_stream"]

HEADS = 64  # attention matrices whose mean stands for their expectation
SEQUENCES = 4  # of tokens, which a model is given
NODES = np.cos(np.linspace(0, math.pi, 65))[::-1]  # correlations at which an activation's products are taken


class _Family(NamedTuple):
    """Names of a kind of model's tensors: of embeddings whole, of blocks after the block's own name."""

    block: str
    embeddings: tuple[str, ...]
    query: str
    key: str
    value: str
    output: str
    gate: str | None
    inner: str
    back: str
    norms: tuple[str, str]
    activation: str


FAMILIES = (
    _Family(
        r"(?:transformer\.)?h\.", ("wte.weight", "wpe.weight"), "attn.c_attn", "attn.c_attn", "attn.c_attn",
        "attn.c_proj", None, "mlp.c_fc", "mlp.c_proj", ("ln_1", "ln_2"), "gelu_tanh",
    ),
    _Family(
        r"(?:model\.)?layers\.", ("embed_tokens.weight",), "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        ("input_layernorm", "post_attention_layernorm"), "silu",
    ),
    _Family(
        r"layers\.", ("tok_embeddings.weight",), "attention.qkv_linear.wq", "attention.qkv_linear.wk",
        "attention.qkv_linear.wv", "attention.wo", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2",
        ("attention_norm", "ffn_norm"), "silu",
    ),
)  # fmt: skip


def residual_stream(plan: Plan, model: Any = None, *, tokens: int = 64, seed: int = 0) -> Table:
    """Predict the residual stream of a decoder from its plan, by depth, and measure it in a torch model of that plan.

    For transformers that normalise what attention and inner layers read, named as GPT-2 and Llama in transformers or
    Llama 3 in torchtitan. Tokens are taken to differ; rotary positions are left out, as what they change is the scores'
    correlation alone.

    ======================  ================================================================================
    block                   its number; 0 and part "embedding" for what goes into the first
    part                    "attention" or "inner": the stream after that was added
    expected_rms            root of the mean square over units and positions
    expected_correlation    mean cosine of the streams at two positions
    measured_rms, measured_correlation
                            in the model; only where one is given
    ======================  ================================================================================

    Parameters
    ----------
    plan : Plan, as of a recipe.
    model : torch.nn.Module of the plan's names and shapes, called with token numbers (samples, positions) in the mode
        that it is in: call its eval() first where it has dropout. Or None.
    tokens : int, positions; with a model at most as many as its vocabulary has tokens.
    seed : int, of the attention's scores, and of the tokens that the model is given.

    Returns
    -------
    Table with one row and two for each block. What is expected passes through NumPy's products of matrices: its last
    digits may differ from machine to machine.

    Raises
    ------
    TypeError, ValueError : what is not as above; a plan of other names, or whose matrices are no draws of mean 0.
    ImportError : a model, and no torch.

    Source: winit's own, from Poole et al. 2016 (arXiv 1606.05340) for pairs of inputs; Xiong et al. 2020 (arXiv
    2002.04745) on where transformers normalise.

    >>> import winit
    >>> from winit.lab import residual_stream
    >>> found = residual_stream(winit.recipes.gpt2(layers=12), tokens=32)
    >>> [round(found[row]["expected_rms"], 2) for row in (0, 2, 24)]
    [0.03, 0.08, 0.31]

    """
    check_plan(plan)
    tokens, layers = check_integer(tokens, "tokens", 2), _layers(plan)
    stream = np.eye(tokens) * sum(layers.embeddings)
    rows: dict[str, list[Any]] = {}
    _add_row(rows, 0, "embedding", stream)
    for number, block in enumerate(layers.blocks, 1):
        read = _normalised(stream) * block.gains[0]
        stream = stream + block.attention * _attended(read, block.scores, seed, number) + block.attention_bias
        _add_row(rows, number, "attention", stream)
        read = _normalised(stream) * block.gains[1]
        stream = stream + block.back * _activated(read, block) + block.back_bias
        _add_row(rows, number, "inner", stream)
    if model is not None:
        rows |= _measured(model, plan, layers, tokens, seed)
    return Table(rows)


# ---- a plan's laws


class _Block(NamedTuple):
    """Variances of sums: of scores, of a value through the output projection, of inner layers, and of biases."""

    scores: float
    attention: float
    attention_bias: float
    gate: float | None
    inner: float
    back: float
    back_bias: float
    gains: tuple[float, float]
    activation: Activation


class _Layers(NamedTuple):
    embeddings: list[float]
    blocks: list[_Block]
    names: list[str]
    second_norm: str
    vocabulary: int


def _layers(plan: Plan) -> _Layers:
    for family in FAMILIES:
        pattern = re.compile(rf"({family.block}(\d+))\.{re.escape(family.output)}\.weight")
        found = {int(match[2]): match[1] for name in plan if (match := pattern.fullmatch(name))}
        if found and sorted(found) == list(range(len(found))):
            break
    else:
        raise ValueError(
            "plan must be of a decoder with GPT-2's or Llama's names, such as 'transformer.h.0.attn.c_proj.weight' or "
            f"'model.layers.0.self_attn.o_proj.weight'; it has {shown(list(plan)[:3])}"
        )
    names = [found[number] for number in range(len(found))]
    stem = names[0].rsplit(".", 2)[0] if names[0].count(".") > 1 else ""
    embeddings, vocabulary = [], 0
    for ending in family.embeddings:
        name = f"{stem}.{ending}" if stem else ending
        if name not in plan:
            raise ValueError(f"plan has no {name!r}, by which the stream begins")
        embeddings.append(_moments(plan, name)[1])
        vocabulary = vocabulary or plan[name].shape[0]
    return _Layers(embeddings, [_block(plan, name, family) for name in names], names, family.norms[1], vocabulary)


def _scheme_param(plan: Plan, name: str) -> Param:
    if name not in plan:
        raise ValueError(f"plan has no {name!r}")
    param = plan[name]
    while param.tied is not None:
        param = plan[param.tied]
    return param


def _moments(plan: Plan, name: str) -> tuple[float, float]:
    """Mean and variance of a tensor's elements."""
    param = _scheme_param(plan, name)
    assert param.scheme is not None
    found = param.scheme.moments(param.shape, param.layout)
    return found.mean, found.std**2


def _sum(plan: Plan, name: str) -> float:
    """Variance of a sum over a matrix's inputs of mean square 1."""
    mean, variance = _moments(plan, f"{name}.weight")
    if mean:
        raise ValueError(f"{name}.weight must have mean 0, not {mean}: the theory is of such draws alone")
    param = _scheme_param(plan, f"{name}.weight")
    return variance * fans(param.shape, param.layout)[0]


def _square(plan: Plan, name: str) -> float:
    """Mean square of a bias, which all positions share; 0 where there is none."""
    if name not in plan:
        return 0.0
    mean, variance = _moments(plan, name)
    return mean * mean + variance


def _block(plan: Plan, name: str, family: _Family) -> _Block:
    def total(part: str) -> float:
        return _sum(plan, f"{name}.{part}")

    first, second = (
        _square(plan, f"{name}.{norm}.weight") if f"{name}.{norm}.weight" in plan else 1.0 for norm in family.norms
    )
    return _Block(
        total(family.query) * total(family.key),
        total(family.value) * total(family.output),
        _square(plan, f"{name}.{family.output}.bias"),
        None if family.gate is None else total(family.gate),
        total(family.inner),
        total(family.back),
        _square(plan, f"{name}.{family.back}.bias"),
        (first, second),
        Activation(family.activation),
    )


# ---- what layers do to products


def _normalised(stream: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.diag(stream))
    if not lengths.all():
        raise ValueError("the stream is 0 at the start: an embedding of zeros")
    return stream / np.outer(lengths, lengths)


def _attended(read: np.ndarray, scores: float, seed: int, block: int) -> np.ndarray:
    """Mean over heads of A read A', A causal softmax weights of normal scores with the positions' own correlations."""
    count = len(read)
    root = np.linalg.cholesky(read + 1e-9 * np.eye(count))
    total = np.zeros_like(read)
    for head in range(HEADS):  # one at a time: together they would take 64 times the memory
        own = range(head * count * count, (head + 1) * count * count)
        z = draw(normal(), (HEADS, count, count), seed=seed, name=f"scores {block}", dtype="float64", box=own)
        x = math.sqrt(scores) * (root @ z.reshape(count, count) @ root.T)
        x = np.where(np.tri(count, dtype=bool), x, -np.inf)
        e = np.exp(x - x.max(axis=1, keepdims=True))
        a = e / e.sum(axis=1, keepdims=True)
        total += a @ read @ a.T
    return total / HEADS


@lru_cache(maxsize=32)
def _pairs(activation: Activation, variance: float) -> tuple[float, ...]:
    """Mean products of an activation at pairs of normal numbers, by their correlation."""
    return tuple(together(activation.value, variance, float(c)) for c in NODES)


def _activated(read: np.ndarray, block: _Block) -> np.ndarray:
    """Products of the inner layer's outputs at pairs of positions; all have the same variance, so by correlation."""
    size = float(np.diag(read).mean())
    correlation = np.clip(read / size, -1.0, 1.0)
    variance = size * (block.inner if block.gate is None else block.gate)
    found = np.interp(correlation, NODES, _pairs(block.activation, round(variance, 12)))
    return found if block.gate is None else found * block.inner * read


def _add_row(rows: dict[str, list[Any]], number: int, part: str, stream: np.ndarray) -> None:
    unit = _normalised(stream)
    count = len(unit)
    line = {
        "block": number,
        "part": part,
        "expected_rms": math.sqrt(float(np.diag(stream).mean())),
        "expected_correlation": float((unit.sum() - count) / (count * (count - 1))),
    }
    for name, value in line.items():
        rows.setdefault(name, []).append(value)


# ---- a model


def _measured(model: Any, plan: Plan, layers: _Layers, tokens: int, seed: int) -> dict[str, list[float]]:
    """Measure the streams before the first block, after each attention and after each block."""
    try:
        import torch
    except ImportError:
        raise ImportError("measuring a model needs torch: pip install 'winit[torch]'") from None
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or None, not {shown(model)}")
    modules = dict(model.named_modules())
    for name in layers.names:
        if name not in modules or f"{name}.{layers.second_norm}" not in modules:
            raise ValueError(f"model has no module {name!r} with {layers.second_norm!r}, as the plan has it")
    if tokens > layers.vocabulary:
        raise ValueError(f"tokens must be at most the {layers.vocabulary} of the model's vocabulary, not {tokens}")
    streams: list[np.ndarray] = []

    def keep(value: Any) -> None:
        tensor = value[0] if isinstance(value, (tuple, list)) else value
        streams.append(tensor.detach().double().cpu().numpy())

    handles = []
    for at, name in enumerate(layers.names):
        if at == 0:
            handles.append(
                modules[name].register_forward_pre_hook(
                    lambda module, given, named: keep(given[0] if given else named["hidden_states"]), with_kwargs=True
                )
            )
        norm = modules[f"{name}.{layers.second_norm}"]
        handles.append(norm.register_forward_pre_hook(lambda module, given: keep(given[0])))
        handles.append(modules[name].register_forward_hook(lambda module, given, output: keep(output)))
    orders = [np.argsort(words(seed, f"tokens {i}", 0, layers.vocabulary), kind="stable") for i in range(SEQUENCES)]
    sequences = np.stack([order[:tokens] for order in orders])
    try:
        with torch.no_grad():
            model(torch.from_numpy(sequences.astype(np.int64)))
    finally:
        for handle in handles:
            handle.remove()
    rms, cosines = [], []
    for stream in streams:
        rms.append(math.sqrt(float((stream * stream).mean())))
        unit = stream / np.sqrt((stream * stream).sum(axis=2, keepdims=True))
        total = (unit.sum(axis=1) ** 2).sum(axis=1)
        cosines.append(float(((total - tokens) / (tokens * (tokens - 1))).mean()))
    return {"measured_rms": rms, "measured_correlation": cosines}
