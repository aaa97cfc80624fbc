"""The names of a module's tensors: without the parts that wrappers add, which modules know and text does not."""

from __future__ import annotations

from collections.abc import Iterator

import torch

__all__ = ["named_buffers", "named_modules", "named_parameters", "names_of"]


def _part(parent: torch.nn.Module, name: str) -> str:
    """A child's part of a name: "" for what a wrapper wraps, and not for a user's own attribute of that name."""
    wrapped = {
        "_orig_mod": ("OptimizedModule",),  # torch.compile
        "module": ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel"),
        "_fsdp_wrapped_module": ("FullyShardedDataParallel",),
        "_checkpoint_wrapped_module": ("CheckpointWrapper", "OffloadWrapper", "ActivationWrapper"),
    }.get(name, ())
    kinds = {kind.__name__ for kind in type(parent).__mro__ if kind.__module__.startswith("torch.")}
    return "" if kinds.intersection(wrapped) else name


def named_modules(
    module: torch.nn.Module, prefix: str = "", above: tuple[torch.nn.Module, ...] = ()
) -> Iterator[tuple[str, torch.nn.Module]]:
    """Give every module by each of its clean names, depth first: shared ones as often as they are reached.

    prefix, above : the name and the modules that lead here; a module that holds itself is not entered again.
    """
    yield prefix, module
    for name, child in module._modules.items():
        if child is not None and not any(child is other for other in above):
            part = _part(module, name)
            inner = ".".join(piece for piece in (prefix, part) if piece)
            yield from named_modules(child, inner, (*above, module))


def _named(module: torch.nn.Module, kind: str, persistent: bool | None) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[int] = set()
    for prefix, owner in named_modules(module):
        for name, tensor in getattr(owner, kind).items():
            if tensor is None or id(tensor) in seen:
                continue
            if persistent is not None and (name not in owner._non_persistent_buffers_set) != persistent:
                continue
            if name == "_flat_param":
                raise ValueError(
                    f"{prefix or 'the module'} is wrapped by FSDP1, whose flat parameter has no names: initialise it "
                    "before it is wrapped, or with use_orig_params=True"
                )
            seen.add(id(tensor))
            yield f"{prefix}.{name}" if prefix else name, tensor


def named_parameters(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Give every parameter once, by its first clean name in the order of state_dict."""
    yield from _named(module, "_parameters", None)  # type: ignore[misc]


def named_buffers(module: torch.nn.Module, persistent: bool | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Give every buffer once, by its first clean name; of one sort where persistent is not None."""
    yield from _named(module, "_buffers", persistent)


def names_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Give the tensors that state_dict holds, in its order, tied ones under each of their clean names."""
    found = {}
    for prefix, owner in named_modules(module):
        held = {
            **owner._parameters,
            **{n: b for n, b in owner._buffers.items() if n not in owner._non_persistent_buffers_set},
        }
        for name, tensor in held.items():
            if tensor is not None:
                found[f"{prefix}.{name}" if prefix else name] = tensor
    return found
