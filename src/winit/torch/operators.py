"""Fills and noise as operators of torch, winit::fill_ and winit::add_: compiled and exported graphs have them.

An operator takes text and numbers alone: a scheme is its repr, as in plans' TOML, and a seed of 64 bits has a sign.
"""

from __future__ import annotations

import torch

from winit._core.layouts import Axes, Layout
from winit._core.scheme import Scheme
from winit._plans.expressions import parse_call
from winit._plans.toml_reader import known_schemes
from winit.torch import filling

__all__: list[str] = []


def _scheme(text: str) -> Scheme:
    scheme: Scheme = parse_call(text, known_schemes(), "scheme", {}, {**known_schemes(), "Axes": Axes})
    return scheme


def _layout(text: str) -> Layout:
    if text in ("oi", "io"):
        return text
    layout: Axes = parse_call(text, {"Axes": Axes}, "layout", {})
    return layout


def _fill(out: torch.Tensor, scheme: str, seed: int, name: str, layout: str) -> None:
    filling.fill_(out, _scheme(scheme), seed=seed % (1 << 64), name=name, layout=_layout(layout))


def _add(out: torch.Tensor, scheme: str, seed: int, name: str, scale: float) -> None:
    filling.add_(out, _scheme(scheme), seed=seed % (1 << 64), name=name, scale=scale)


def _nothing(*given: object) -> None:
    """What an operator that only writes makes of tensors without values."""


for _name, _function in (("fill_", _fill), ("add_", _add)):
    _operator = torch.library.custom_op(f"winit::{_name}", _function, mutates_args=("out",))
    _operator.register_fake(_nothing)
