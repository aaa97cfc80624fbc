"""Signals and gradients in torch modules, by hooks: whatever the module is, what its parts give and get."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from winit._core.checks import shown
from winit._core.drawing import draw
from winit.lab.measures import Measured, verdict_of
from winit.lab.tables import Table
from winit.schemes.plain import normal

__all__ = ["first_floating", "inputs_of", "torch_signal"]


def torch_signal(model: Any, batch: Any, *, seed: int = 0) -> Table:
    """Measure signals and gradients in each part of a torch module, as signal does in a Network.

    A batch goes forwards, and a standard normal gradient at the output comes back. One row a call of a module without
    modules of its own, in the order of the calls: a module that is called twice has two.

    ======================  ================================================================================
    layer                   number of the call, from 1
    module, kind            the module's name in the model, and its class
    mean, std, unit_std, second_moment, dead, grad_mean, grad_std, correlation, verdict
                            as of signal; of the first floating-point tensor that a call gives. Its units are axis 1
                            of a convolution's or a batch norm's output, else the last axis. grad_mean and grad_std are
                            NaN where no gradient comes: in frozen parts
    ======================  ================================================================================

    Parameters
    ----------
    model : torch.nn.Module. Its parameters, their gradients, its buffers and its mode are left as they were. Dropout
        draws from torch's own generator, unless the model is in its eval mode.
    batch : what the model is called with: a tensor, a tuple of arguments or a dict of keywords.
    seed : int, of the gradient at the output.

    Returns
    -------
    Table.

    Raises
    ------
    TypeError : model is no torch module. ValueError : it gives no floating-point tensor. ImportError : without torch.

    >>> import torch
    >>> from winit.lab import torch_signal
    >>> torch_signal(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()), torch.ones(3, 8)).column("kind")
    ['Linear', 'ReLU']

    """
    try:
        import torch
    except ImportError:
        raise ImportError("torch_signal needs torch: pip install 'winit[torch]'") from None
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {shown(model)}")
    calls: list[dict[str, Any]] = []
    handles = []

    def record(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            tensor = first_floating(output)
            if tensor is None:
                return
            # Now: an activation that works in place will have changed it by the end.
            call = {"module": name, "kind": type(module).__name__, "y": _measured(tensor, module), "grad": None}
            calls.append(call)
            if tensor.requires_grad:
                # A hook of before a change in place gets the gradient at what was there before it.
                tensor.register_hook(lambda grad: call.update(grad=_measured(grad, module)))

        return hook

    kept = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        for parameter, _ in kept:  # a gradient that is there would be added to in place
            parameter.grad = None
        for name, module in model.named_modules():
            if not any(True for _ in module.children()):
                handles.append(module.register_forward_hook(record(name)))
        with torch.enable_grad():
            given = inputs_of(batch)
            output = first_floating(model(*given[0], **given[1]))
            if output is None:
                raise ValueError("model gives no floating-point tensor, whose gradient could be sent back")
            top = draw(normal(), tuple(output.shape), seed=seed, name="output gradient", dtype="float32")
            if output.requires_grad:
                gradient = torch.from_numpy(top).to(dtype=output.dtype, device=output.device)
                torch.autograd.backward([output], [gradient])
    finally:
        for handle in handles:
            handle.remove()
        for parameter, grad in kept:
            parameter.grad = grad
        with torch.no_grad():
            for buffer, value in buffers:  # a batch norm's means follow what it is given
                buffer.copy_(value)
    return _table(calls, given, float(top.std()) if top.size else math.nan)


def inputs_of(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments and keywords that a module is called with."""
    if isinstance(batch, dict):
        return (), batch
    return (tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)), {}


def first_floating(output: Any) -> Any:
    """Find the first floating-point tensor of what a call gives: a tensor, a tuple or a mapping, as transformers'."""
    if hasattr(output, "is_floating_point"):
        return output if output.is_floating_point() and output.numel() else None
    values = output.values() if hasattr(output, "values") else output if isinstance(output, (tuple, list)) else ()
    for value in values:
        found = first_floating(value)
        if found is not None:
            return found
    return None


def _measured(tensor: Any, module: Any) -> Measured:
    """Take a tensor's statistics: its units along axis 1 of channels first, else the last."""
    array = tensor.detach().float().cpu().numpy()
    channels = type(module).__name__.startswith(("Conv", "BatchNorm", "LazyConv", "InstanceNorm", "GroupNorm"))
    if channels and array.ndim > 2:
        array = np.moveaxis(array, 1, -1)
    return Measured.of(array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1))


def _table(calls: list[dict[str, Any]], given: Any, top_std: float) -> Table:
    first = first_floating([*given[0], *given[1].values()])
    rows: dict[str, list[Any]] = {}
    none = Measured(*(math.nan,) * 7)
    # Where what comes in is no signal, as tokens are, the first call's output is what the others are measured by.
    base: Measured = none if not calls else calls[0]["y"] if first is None else _measured(first, None)
    for layer, call in enumerate(calls, 1):
        y, grad = call["y"], call["grad"] or none
        row = {
            "layer": layer,
            "module": call["module"],
            "kind": call["kind"],
            "mean": y.mean,
            "std": y.std,
            "unit_std": y.unit_std,
            "second_moment": y.second_moment,
            "dead": y.dead,
            "grad_mean": grad.mean,
            "grad_std": grad.std,
            "correlation": y.correlation,
            "verdict": verdict_of(y, grad.std, base, top_std),
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    return Table(rows)
