"""Random elements whose scale comes from a model's depth or width, or from where in it they stand."""

from __future__ import annotations

import math

from winit._core.checks import check_bool, check_integer, check_not_negative, check_positive
from winit._core.laws import Law, Normal, TruncatedNormal, Uniform
from winit._core.layouts import Layout, fans
from winit._core.scheme import Scheme

__all__ = ["depth_scaled", "gpt2_residual", "siren", "small_init", "wang_init"]


def _dim(dim: int | None, shape: tuple[int, ...], layout: Layout) -> int:
    return max(fans(shape, layout)[0], 1) if dim is None else dim


class gpt2_residual(Scheme):
    """Draw from N(0, std^2 / (2 layers)): weights whose outputs are added to a residual stream twice a layer.

    Parameters
    ----------
    layers : int > 0. Layers of the whole model, two residual branches each.
    std : float >= 0. That of the model's other weights.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value.

    Source: Radford et al. 2019 (GPT-2), section 2.3; transformers' GPT2PreTrainedModel (c_proj), Megatron-LM's
        scaled_init_method_normal.

    >>> gpt2_residual(layers=8).moments().std
    0.005

    """

    __slots__ = ("layers", "std")
    layers: int
    std: float

    def __init__(self, layers: int, std: float = 0.02) -> None:
        self._set(check_integer(layers, "layers"), check_not_negative(std, "std"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Normal(0.0, self.std / math.sqrt(2 * self.layers))


class depth_scaled(Scheme):
    """Draw with standard deviation std / sqrt(2 (layer + 1)): what a residual branch adds shrinks with its depth.

    Normal, or with `cut` normal cut at that many of the scaled standard deviations, not widened.

    Parameters
    ----------
    layer : int >= 0. Index of the layer, 0 for the first.
    std : float >= 0.
    cut : float > 0 or None.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value.

    Source: Zhang, Titov & Sennrich 2019 (arXiv 1908.11365) is the idea; OLMo's "mitchell", torchtitan's Llama 3, timm's
        fix_init_weight are this form.

    >>> [depth_scaled(layer).moments().std for layer in (1, 7)]
    [0.01, 0.005]

    """

    __slots__ = ("cut", "layer", "std")
    layer: int
    std: float
    cut: float | None

    def __init__(self, layer: int, std: float = 0.02, cut: float | None = None) -> None:
        if cut is not None:
            cut = check_positive(cut, "cut")
        self._set(check_integer(layer, "layer", 0), check_not_negative(std, "std"), cut)

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        std = self.std / math.sqrt(2 * (self.layer + 1))
        return Normal(0.0, std) if self.cut is None else TruncatedNormal(0.0, std, -self.cut, self.cut)


class small_init(Scheme):
    """Draw from N(0, 2 / (5 dim)): Xavier's law for the widest matrix of a transformer, dim x 4 dim, everywhere.

    Parameters
    ----------
    dim : int > 0, the model's width; or None, the tensor's own fan_in.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn without dim, a shape without fans.

    Source: Nguyen & Salazar 2019, "Transformers without tears" (arXiv 1910.05895), SmallInit; GPT-NeoX's small_init.

    >>> small_init(1000).moments().std
    0.02

    """

    __slots__ = ("dim",)
    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        self._set(None if dim is None else check_integer(dim, "dim"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Normal(0.0, math.sqrt(2 / (5 * _dim(self.dim, shape, layout))))


class wang_init(Scheme):
    """Draw from N(0, (2 / (layers sqrt(dim)))^2): output projections of GPT-NeoX and Pythia.

    Parameters
    ----------
    layers : int > 0. Layers of the whole model.
    dim : int > 0, the model's width; or None, the tensor's own fan_in.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn without dim, a shape without fans.

    Source: Wang & Komatsuzaki 2021 (GPT-J, mesh-transformer-jax); Black et al. 2022 (GPT-NeoX, arXiv 2204.06745).

    >>> wang_init(layers=10, dim=400).moments().std
    0.01

    """

    __slots__ = ("dim", "layers")
    layers: int
    dim: int | None

    def __init__(self, layers: int, dim: int | None = None) -> None:
        self._set(check_integer(layers, "layers"), None if dim is None else check_integer(dim, "dim"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        return Normal(0.0, 2 / (self.layers * math.sqrt(_dim(self.dim, shape, layout))))


class siren(Scheme):
    """Draw for a network of sines, y = sin(w0 (x W + b)), whose every layer's outputs are then distributed alike.

    First layer: U[-1 / fan_in, 1 / fan_in). The others: U[-b, b), b = sqrt(6 / fan_in) / w0.

    Parameters
    ----------
    w0 : float > 0. The frequency that the layer multiplies by.
    first : bool. Whether it is the first layer.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape without fans.

    Source: Sitzmann et al. 2020 (arXiv 2006.09661), section 3.2 and supplement 1.5.

    >>> siren(first=True).moments((64, 2)).high, siren().moments((64, 24)).high
    (0.5, 0.016666666666666666)

    """

    __slots__ = ("first", "w0")
    w0: float
    first: bool

    def __init__(self, w0: float = 30.0, first: bool = False) -> None:
        self._set(check_positive(w0, "w0"), check_bool(first, "first"))

    def law(self, shape: tuple[int, ...], layout: Layout = "oi") -> Law:
        fan = max(fans(shape, layout)[0], 1)
        bound = 1 / fan if self.first else math.sqrt(6 / fan) / self.w0
        return Uniform(-bound, bound)
