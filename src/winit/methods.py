"""Initialisation methods that set several tensors together: functions from a plan to a plan.

Each takes patterns (`*` is any run of characters) that say which tensors play which part, as a model's own names tell,
and leaves the others as they are. A pattern that matches nothing is an error: a misspelt name would leave a tensor with
another law.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from winit._core.checks import (
    check_bool,
    check_integer,
    check_not_negative,
    check_number,
    check_one_of,
    check_text,
    items_of,
    shown,
)
from winit._core.dtypes import FLOATS
from winit._core.exact import as_written
from winit._core.laws import Constant, Normal, Padded, Sparse, TruncatedNormal, Uniform
from winit._core.layouts import Axes, check_layout, fans, roles
from winit._core.scheme import Scheme, check_scheme
from winit._core.shapes import check_shape
from winit._plans.globs import check_patterns, matching
from winit._plans.param import Param
from winit._plans.plan import Plan, check_plan
from winit.schemes import (
    constant,
    depth_scaled,
    embedding,
    gpt2_residual,
    he_normal,
    he_uniform,
    normal,
    small_init,
    sparse,
    truncated_normal,
    uniform,
    wang_init,
    xavier_normal,
    xavier_uniform,
    zeros,
)

__all__ = [
    "assign",
    "biases",
    "deepnorm",
    "depth_scaled_residuals",
    "fixup",
    "gpt2_residuals",
    "lora",
    "mup",
    "neox",
    "scaled",
    "silent_branches",
    "sparse_connectivity",
    "t_fixup",
]

Patterns = str | Iterable[str]


def _matched(plan: Any, patterns: Patterns, what: str) -> list[str]:
    """Names of stored tensors that match, in the plan's order; each pattern matches one at least."""
    check_plan(plan)
    return matching(check_patterns(patterns, what), plan.stored, what)


def assign(plan: Plan, rules: Iterable[tuple[Patterns, Scheme | Callable[[str, Param], Scheme]]]) -> Plan:
    """Return the plan with other schemes for the tensors that patterns match; the first match wins.

    Parameters
    ----------
    plan : winit.Plan.
    rules : iterable of (pattern or patterns, scheme), where the scheme may be a function of a tensor's name and Param.

    Raises
    ------
    TypeError, ValueError : no plan, no patterns; a pattern that matches nothing; a scheme that does not fit a tensor.

    >>> import winit
    >>> plan = winit.Plan({"a.weight": (4, 4), "b.weight": (4, 4)}, rules=[("*", winit.he_normal())])
    >>> assign(plan, [("b.*", winit.zeros())])["b.weight"].scheme
    zeros()

    """
    check_plan(plan)
    items = None if isinstance(rules, (str, bytes, Mapping)) else items_of(rules)
    if items is None:
        raise TypeError(f"rules must be an iterable of (pattern, scheme), not {shown(rules)}")
    chosen: dict[str, Scheme] = {}
    for rule in items:
        if not isinstance(rule, (tuple, list)) or len(rule) != 2:
            raise TypeError(f"a rule must be (pattern or patterns, scheme), not {shown(rule)}")
        patterns, scheme = rule
        if not callable(scheme) or isinstance(scheme, type):
            check_scheme(scheme)
        for name in _matched(plan, patterns, "the pattern"):
            if name in chosen:
                continue
            made = scheme if isinstance(scheme, Scheme) else scheme(name, plan[name])
            check_scheme(made, f"{name}: scheme")
            chosen[name] = made
    return plan.with_schemes(chosen)


def scaled(scheme: Scheme, factor: float, shape: tuple[int, ...], layout: Any = "oi") -> Scheme:
    """Return the scheme of factor times what another draws for a shape: its law with the numbers written out.

    Parameters
    ----------
    scheme : one of independent or of sparse elements.
    factor : float >= 0.

    Raises
    ------
    TypeError : a scheme of whole tensors, which has a gain of its own. ValueError : a negative factor.

    >>> import winit
    >>> scaled(winit.he_normal(), 0.5, (10, 200))
    normal(std=0.05)

    """
    factor = check_not_negative(factor, "factor")
    check_scheme(scheme)
    check_layout(layout)
    law = scheme.law(check_shape(shape), layout)
    match law:
        case Constant():
            return constant(float(law.value) * factor)
        case Uniform():
            return uniform(law.low * factor, law.high * factor) if factor else zeros()
        case Normal():
            return normal(law.mean * factor, law.std * factor)
        case TruncatedNormal():
            return truncated_normal(law.mean * factor, law.std * factor, law.low, law.high)
        case Sparse() if law.mean == 0 and isinstance(scheme, sparse):
            return sparse(law.keep, law.std * factor)
        case Padded() if isinstance(scheme, embedding):
            return embedding(scheme.std * factor, scheme.padding)
        case _:
            raise TypeError(f"{shown(scheme)} cannot be scaled from outside; give it another std or gain")


def gpt2_residuals(plan: Plan, outputs: Patterns, *, layers: int, std: float = 0.02) -> Plan:
    """Give the projections into the residual stream N(0, std^2 / (2 layers)).

    Parameters
    ----------
    outputs : patterns of those projections, such as "*.c_proj.weight".
    layers : int. Layers of the model, two branches each.
    std : float. That of the other weights.

    Source: Radford et al. 2019 (GPT-2), section 2.3.

    >>> import winit
    >>> plan = winit.Plan({"h.0.c_proj.weight": (4, 4)}, rules=[("*", winit.normal(std=0.02))])
    >>> gpt2_residuals(plan, "*.c_proj.weight", layers=8)["h.0.c_proj.weight"].scheme
    gpt2_residual(layers=8)

    """
    return assign(plan, [(outputs, gpt2_residual(layers=layers, std=std))])


def _layer(name: str, pattern: re.Pattern[str]) -> int:
    found = pattern.search(name)
    if found is None:
        raise ValueError(f"{name}: no layer number, which {pattern.pattern!r} should find")
    return int(found[1])


def depth_scaled_residuals(
    plan: Plan, outputs: Patterns, *, std: float = 0.02, cut: float | None = None, number: str = r"(?:^|\.)(\d+)\."
) -> Plan:
    """Give the projections into the residual stream std / sqrt(2 (l + 1)), l the layer's number in the tensor's name.

    Parameters
    ----------
    outputs : patterns of those projections.
    std, cut : as of winit.depth_scaled.
    number : regular expression whose first group is the layer's number; by default the first number between dots.

    Source: see winit.depth_scaled.

    >>> import winit
    >>> plan = winit.Plan({f"layers.{l}.wo": (4, 4) for l in (0, 7)}, rules=[("*", winit.normal(std=0.02))])
    >>> [p.scheme.moments().std for p in depth_scaled_residuals(plan, "*.wo", std=0.02).values()]
    [0.014142135623730949, 0.005]

    """
    try:
        pattern = re.compile(check_text(number, "number"))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"number must be a regular expression, not {shown(number)} ({shown(str(error))})") from None
    if pattern.groups < 1:
        raise ValueError(f"number must have a group, the layer's number, and {shown(number)} has none")
    return assign(plan, [(outputs, lambda name, _: depth_scaled(_layer(name, pattern), std, cut))])


def neox(plan: Plan, inputs: Patterns, outputs: Patterns, *, layers: int, dim: int) -> Plan:
    """Give a transformer's inner matrices small_init and its output projections wang_init, as GPT-NeoX and Pythia.

    Parameters
    ----------
    inputs, outputs : patterns of the matrices that read the residual stream, and that add to it.
    layers, dim : int. Layers and width of the model.

    Source: Black et al. 2022 (arXiv 2204.06745).

    >>> import winit
    >>> plan = winit.Plan({"qkv": (12, 4), "dense": (4, 4)}, rules=[("*", winit.normal())])
    >>> [p.scheme for p in neox(plan, "qkv", "dense", layers=2, dim=4).values()]
    [small_init(dim=4), wang_init(layers=2, dim=4)]

    """
    return assign(plan, [(outputs, wang_init(layers=layers, dim=dim)), (inputs, small_init(dim=dim))])


def fixup(plan: Plan, inner: Patterns, last: Patterns, head: Patterns = (), *, blocks: int, depth: int) -> Plan:
    """Prepare a residual network without normalisation: He's law scaled by blocks^(-1 / (2 depth - 2)), ends 0.

    Parameters
    ----------
    inner : patterns of the layers of residual branches but for the last of each.
    last : patterns of the last layer of each branch, and head of the classifier (weight and bias): 0.
    blocks : int. Residual branches of the network, L.
    depth : int >= 2. Layers of a branch, m: 2 for ResNet's basic block, 3 for its bottleneck.

    The scalar biases (0) and multipliers (1) that the method adds are the model's own.

    Source: Zhang, Dauphin & Ma 2019 (arXiv 1901.09321), section 3.

    >>> import winit
    >>> plan = winit.Plan({"1.a": (8, 8), "1.b": (8, 8), "fc": (2, 8)}, rules=[("*", winit.he_normal())])
    >>> [round(p.scheme.moments().std, 6) for p in fixup(plan, "*.a", "*.b", "fc", blocks=4, depth=2).values()]
    [0.25, 0.0, 0.0]

    """
    blocks, depth = check_integer(blocks, "blocks"), check_integer(depth, "depth")
    if depth < 2:
        raise ValueError(f"depth must be at least 2, not {depth}: a branch's last layer is 0")
    factor = blocks ** (-1 / (2 * depth - 2))
    return assign(
        plan,
        [
            (check_patterns(last, "last") + check_patterns(head, "head"), zeros()),
            (inner, lambda _, param: scaled(he_normal(), factor, param.shape, param.layout)),
        ],
    )


def t_fixup(
    plan: Plan,
    *,
    embeddings: Patterns,
    encoder: Patterns = (),
    decoder: Patterns = (),
    others: Patterns = (),
    encoder_layers: int = 0,
    decoder_layers: int = 0,
    dim: int,
) -> Plan:
    """Prepare a transformer for training without warm-up and layer normalisation.

    Xavier's uniform law for every matrix, N(0, 1 / dim) for embeddings; then embeddings and the decoder's v, output and
    feed-forward matrices times (9 N)^(-1/4), the encoder's times 0.67 N^(-1/4), N the layers of their side.

    Parameters
    ----------
    embeddings : patterns of the embeddings; scaled by the decoder's N, or the encoder's where there is no decoder.
    encoder, decoder : patterns of the v, output and feed-forward matrices of each side.
    others : patterns of matrices that are only Xavier's: queries and keys.
    encoder_layers, decoder_layers, dim : int.

    Source: Huang, Perez, Ba & Volkovs 2020, "Improving transformer optimization through better initialization",
        T-Fixup. For a packed q, k, v give the layout splits=3: the law is then that of v alone.

    >>> import winit
    >>> plan = winit.Plan({"emb": (100, 16), "dec.o": (16, 16)}, rules=[("*", winit.normal())])
    >>> t = t_fixup(plan, embeddings="emb", decoder="dec.*", decoder_layers=9, dim=16)
    >>> t["emb"].scheme, t["dec.o"].scheme
    (normal(std=0.08333333333333333), xavier_uniform(gain=0.3333333333333333))

    """
    dim = check_integer(dim, "dim")
    sides = {}
    for patterns, layers, side, base in (
        (encoder, encoder_layers, "encoder", 0.67),
        (decoder, decoder_layers, "decoder", 9 ** (-1 / 4)),
    ):
        if check_patterns(patterns, side):
            sides[side] = base * check_integer(layers, f"{side}_layers") ** (-1 / 4)
    if not sides:
        raise ValueError("t_fixup needs patterns of the encoder's or the decoder's matrices")
    of_embeddings = (9 * check_integer(decoder_layers or encoder_layers, "decoder_layers")) ** (-1 / 4)
    rules: list[tuple[Patterns, Scheme]] = [(embeddings, normal(std=dim**-0.5 * of_embeddings))]
    if "encoder" in sides:
        rules.append((encoder, xavier_uniform(sides["encoder"])))
    if "decoder" in sides:
        rules.append((decoder, xavier_uniform(sides["decoder"])))
    return assign(plan, [*rules, (others, xavier_uniform())])


def deepnorm(
    plan: Plan,
    *,
    encoder: Patterns = (),
    decoder: Patterns = (),
    others: Patterns = (),
    encoder_layers: int = 0,
    decoder_layers: int = 0,
) -> Plan:
    """Prepare a very deep transformer whose residuals are LayerNorm(alpha x + f(x)).

    Xavier's normal law; v, output and feed-forward matrices with gain beta. One side of N layers: alpha = (2 N)^(1/4),
    beta = (8 N)^(-1/4). Both, N and M: encoder 0.81 (N^4 M)^(1/16) and 0.87 (N^4 M)^(-1/16), decoder (3 M)^(1/4) and
    (12 M)^(-1/4). alpha is the model's to apply.

    Parameters
    ----------
    encoder, decoder : patterns of the v, output and feed-forward matrices of each side.
    others : patterns of queries and keys: gain 1.
    encoder_layers, decoder_layers : int.

    Source: Wang et al. 2022, "DeepNet" (arXiv 2203.00555), figure 2.

    >>> import winit
    >>> plan = winit.Plan({"l.0.fc": (16, 16), "l.0.q": (16, 16)}, rules=[("*", winit.normal())])
    >>> [p.scheme for p in deepnorm(plan, decoder="*.fc", others="*.q", decoder_layers=2).values()]
    [xavier_normal(gain=0.5), xavier_normal()]

    """
    n = check_integer(encoder_layers, "encoder_layers") if check_patterns(encoder, "encoder") else 0
    m = check_integer(decoder_layers, "decoder_layers") if check_patterns(decoder, "decoder") else 0
    if not n and not m:
        raise ValueError("deepnorm needs patterns of the encoder's or the decoder's matrices")
    rules: list[tuple[Patterns, Scheme]] = []
    if n:
        rules.append((encoder, xavier_normal(0.87 * (n**4 * m) ** (-1 / 16) if m else (8 * n) ** (-1 / 4))))
    if m:
        rules.append((decoder, xavier_normal(((12 if n else 8) * m) ** (-1 / 4))))
    return assign(plan, [*rules, (others, xavier_normal())])


def silent_branches(plan: Plan, scales: Patterns, *, value: float = 0.0) -> Plan:
    """Start residual branches at nothing, or nearly: what multiplies them is `value`.

    Parameters
    ----------
    scales : patterns of the scalars of SkipInit and ReZero, the vectors of LayerScale, or the last normalisation's gain
        of each branch (zero-gamma).
    value : float. 0, or LayerScale's 1e-6 to 0.1.

    Source: De & Smith 2020 (SkipInit, arXiv 2002.10444); Bachlechner et al. 2020 (ReZero, arXiv 2003.04887); Touvron et
        al. 2021 (LayerScale, arXiv 2103.17239); Goyal et al. 2017 (zero-gamma, arXiv 1706.02677), section 5.1.

    >>> import winit
    >>> plan = winit.Plan({"1.bn2.weight": (8,)}, rules=[("*", winit.ones())])
    >>> silent_branches(plan, "*.bn2.weight")["1.bn2.weight"].scheme
    zeros()

    """
    value = check_number(value, "value")
    return assign(plan, [(scales, constant(value) if value else zeros())])


def biases(plan: Plan, rule: str | float = "zeros", *, match: Patterns = "*.bias", weight: str = "weight") -> Plan:
    """Give biases one rule: 0, a constant, or torch's U[-b, b), b = 1 / sqrt(fan_in of the layer's weight).

    Under torch's rule, too, the bias of a layer without inputs is 0.

    Parameters
    ----------
    rule : "zeros", a number (0.01 keeps ReLU units from starting dead), or "torch".
    match : patterns of the biases.
    weight : str. What a bias's last name is replaced by to find its weight: "fc1.bias" -> "fc1.weight".

    Raises
    ------
    TypeError, ValueError : an unknown rule; with "torch", a bias without a weight, or whose weight has no fans.

    Source: torch.nn.Linear.reset_parameters and torch.nn._ConvNd.reset_parameters.

    >>> import winit
    >>> plan = winit.Plan({"fc.weight": (8, 16), "fc.bias": (8,)}, rules=[("*", winit.zeros())])
    >>> biases(plan, "torch")["fc.bias"].scheme
    uniform(low=-0.25, high=0.25)

    """
    if isinstance(rule, str) and rule not in ("zeros", "torch"):
        raise ValueError(f"rule must be 'zeros', 'torch' or a number, not {shown(rule)}")
    check_text(weight, "weight")
    if not isinstance(rule, str):
        return assign(plan, [(match, constant(check_number(rule, "rule")))])
    if rule == "zeros":
        return assign(plan, [(match, zeros())])

    def like_torch(name: str, _: Param) -> Scheme:
        other = ".".join([*name.split(".")[:-1], weight])
        if other not in plan or other == name:
            raise ValueError(f"{name}: its weight {shown(other)} is not in the plan")
        try:
            fan_in = _torch_fan_in(plan[other])
        except ValueError as error:
            raise ValueError(f"{name}: its weight {shown(other)} has no fans: {error}") from None
        if fan_in == 0:
            return zeros()
        bound = 1 / math.sqrt(fan_in)
        return uniform(-bound, bound)

    return assign(plan, [(match, like_torch)])


def _torch_fan_in(param: Param) -> int:
    """The fan_in that torch counts: of a transposed convolution, (in, out / groups, *spatial), that of its axis 1."""
    layout = param.layout
    _, ins, outs, _ = roles(param.shape, layout)
    transposed = isinstance(layout, Axes) and len(param.shape) > 2 and (ins, outs) == ({0}, {1})
    return fans(param.shape, "oi" if transposed else layout)[0]


def lora(plan: Plan, a: Patterns, b: Patterns, *, init: str = "kaiming") -> Plan:
    """Start low-rank adapters at nothing: A random, B 0, so that B A is 0.

    Parameters
    ----------
    a : patterns of the matrices (rank, in).
    b : patterns of the matrices (out, rank).
    init : "kaiming": A from U(-1 / sqrt(in), 1 / sqrt(in)); "gaussian": A from N(0, 1 / rank^2).

    Raises
    ------
    TypeError, ValueError : an unknown init; a pattern that matches nothing.

    Source: Hu et al. 2021 (arXiv 2106.09685), section 4.1; PEFT's init_lora_weights=True and "gaussian".

    >>> import winit
    >>> plan = winit.Plan({"q.lora_A": (4, 100), "q.lora_B": (64, 4)}, rules=[("*", winit.normal())])
    >>> [p.scheme for p in lora(plan, "*.lora_A", "*.lora_B", init="gaussian").values()]
    [normal(std=0.25), zeros()]

    """
    check_one_of(init, ("kaiming", "gaussian"), "init")

    def of_a(name: str, param: Param) -> Scheme:
        if init == "kaiming":
            return he_uniform(math.sqrt(5))
        try:
            _, _, outs, _ = roles(param.shape, param.layout)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        rank = math.prod(param.shape[axis] for axis in outs)
        return normal(std=1 / max(rank, 1))

    return assign(plan, [(b, zeros()), (a, of_a)])


def mup(plan: Plan, base: Plan, *, match: Patterns = "*", zero_outputs: bool = False) -> Plan:
    """Carry a model's initialisation from a width where it works to another, by the maximal update parametrisation.

    A tensor's standard deviation at the base width, s, and r = fan_in / base fan_in, give: s where only units grow
    (input weights, biases, gains); s / sqrt(r) where inputs and units grow (hidden); s / r where only inputs grow
    (output), or 0 with zero_outputs. What grows is what differs between the two plans.

    Parameters
    ----------
    plan : the model at its width. Its own schemes are not looked at.
    base : the same model at the base width, with the schemes that work there.
    match : patterns of the tensors to carry over; the others keep the plan's schemes.
    zero_outputs : bool.

    Learning rates and the attention's 1/d are the optimiser's and the model's part of the method.

    Raises
    ------
    TypeError, ValueError : a tensor that base lacks, or with another number of axes; a scheme of whole tensors that
        would have to be scaled.

    Source: Yang et al. 2022, "Tensor programs V" (arXiv 2203.03466), table 3, and microsoft/mup.

    >>> import winit
    >>> def model(d):
    ...     return winit.Plan({"in": (d, 10), "mid": (d, d), "out": (10, d)}, rules=[("*", winit.normal(std=0.1))])
    >>> [p.scheme.moments().std for p in mup(model(400), model(100)).values()]
    [0.1, 0.05, 0.025]

    """
    check_plan(plan)
    check_plan(base, "base")
    check_bool(zero_outputs, "zero_outputs")

    def carried(name: str, param: Param) -> Scheme:
        if name not in base or base[name].scheme is None:
            raise ValueError(f"{name}: not in the base plan, or tied there")
        small = base[name]
        assert small.scheme is not None
        if len(small.shape) != len(param.shape):
            raise ValueError(f"{name}: of shape {param.shape}, and of {small.shape} in the base plan")
        grows = [a != b for a, b in zip(param.shape, small.shape, strict=True)]
        if param.dtype not in FLOATS or not any(grows) or len(param.shape) < 2:
            return small.scheme
        _, ins, outs, _ = roles(param.shape, param.layout)
        narrow = fans(small.shape, small.layout)[0]
        if narrow == 0:
            raise ValueError(f"{name}: its base, of shape {small.shape}, has no inputs to grow from")
        wider = fans(param.shape, param.layout)[0] / narrow
        if not any(grows[axis] for axis in ins):
            factor = 1.0
        elif any(grows[axis] for axis in outs):
            factor = 1 / math.sqrt(wider)
        elif zero_outputs:
            return zeros()
        else:
            factor = 1 / wider
        return scaled(small.scheme, factor, small.shape, small.layout)

    return assign(plan, [(match, carried)])


def _power(share: Fraction, power: float, name: str) -> Fraction:
    if power in (0, 1):
        return share if power else Fraction(1)
    try:
        weight = float(share) ** power
    except OverflowError:
        weight = math.inf
    if not 0 < weight < math.inf:
        raise ValueError(f"{name}: power must leave its density within the range of float64, not {power!r}")
    return Fraction(weight)


def sparse_connectivity(
    plan: Plan,
    density: float,
    *,
    match: Patterns = "*.weight",
    connectivity: str = "erk",
    power: float = 1.0,
) -> Plan:
    """Spread a number of connections over a plan's layers, small layers denser: Erdős-Rényi, and its kernel form.

    "erdos_renyi": density of a layer proportional to ((in + out) / (in out))^power; "erk" counts the receptive field's
    sides too, ((in + out + k1 + k2) / (in out k1 k2))^power; "uniform": the same for all. Layers that would exceed 1
    are dense, and the others share the rest. Each unit then has k inputs, k the nearest integer to density times
    fan_in (halves to the even one), one at least, with the standard deviation that the layer's own scheme has. The
    products are exact ones of the decimal number that density prints as: 0.15 of 10 inputs are 1.5, and 2.

    Parameters
    ----------
    density : float in (0, 1]. Connections of all these layers together, as a share.
    match : patterns of the layers' weights.
    connectivity : "erk", "erdos_renyi" or "uniform".
    power : float >= 0.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; a tensor without fans.

    Source: Mocanu et al. 2018 (arXiv 1707.04780); Evci et al. 2020, "Rigging the lottery" (arXiv 1911.11134), and its
        google-research/rigl, get_mask_random and erk_power_scale.

    >>> import winit
    >>> plan = winit.Plan({"1.weight": (300, 784), "2.weight": (100, 300), "3.weight": (10, 100)},
    ...                   rules=[("*", winit.he_normal())])
    >>> [p.scheme.k for p in sparse_connectivity(plan, 0.1).values()]
    [62, 69, 100]

    """
    density, power = check_number(density, "density"), check_number(power, "power")
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, not {density!r}")
    if power < 0:
        raise ValueError(f"power must not be negative, not {power!r}")
    check_one_of(connectivity, ("erk", "erdos_renyi", "uniform"), "connectivity")
    names = _matched(plan, match, "match")
    share_of_all = as_written(density)
    raw: dict[str, Fraction] = {}
    fan_in = {}
    for name in names:
        param = plan[name]
        try:
            _, ins, outs, batches = roles(param.shape, param.layout)
            fan_in[name] = fans(param.shape, param.layout)[0]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if not param.size:
            raise ValueError(f"{name}: of shape {param.shape}, has no elements to spread connections over")
        spatial = [size for axis, size in enumerate(param.shape) if axis not in ins | outs | batches]
        sides = [math.prod(param.shape[axis] for axis in axes) for axes in (ins, outs)]
        sides += spatial if connectivity == "erk" else []
        share = Fraction(sum(sides), max(math.prod(sides), 1))
        raw[name] = Fraction(1) if connectivity == "uniform" else _power(share, power, name)
    dense: set[str] = set()
    while True:
        rest = [name for name in names if name not in dense]
        wanted = share_of_all * sum(plan[name].size for name in names) - sum(plan[name].size for name in dense)
        level = wanted / sum(raw[name] * plan[name].size for name in rest) if rest else Fraction(0)
        full = [name for name in rest if level * raw[name] > 1]
        if not full:
            break
        most = max(raw[name] for name in full)
        dense |= {name for name in full if raw[name] == most}
    chosen: dict[str, Scheme] = {}
    for name in names:
        param = plan[name]
        assert param.scheme is not None
        part = Fraction(1) if name in dense else level * raw[name]
        k = min(max(round(part * fan_in[name]), 1), fan_in[name])
        chosen[name] = sparse(k, param.scheme.moments(param.shape, param.layout).std)
    return plan.with_schemes(chosen)


def __dir__() -> list[str]:
    return __all__
