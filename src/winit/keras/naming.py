"""Names of a Keras model's variables: the attributes and list positions that lead to them.

Keras's own paths count the layers of a process (`sequential_1/dense_11/kernel`), so that the second model of a kind has
other names. The way from the model to a variable does not: `layers.0.kernel`, `blocks.1.attention.query_dense.bias`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from winit._core.checks import shown

__all__ = ["variables_of"]

# What Keras itself keeps in every layer: all of it is reached by the attributes too, or is no weight.
_BOOKS = {"_tracker", "_layers", "_metrics", "_trainable_variables", "_non_trainable_variables", "_seed_generators"}
_BOOKS |= {"_modules", "_parameters", "_buffers", "_torch_params"}  # torch's, on its backend
_BOOKS |= {"_inbound_nodes", "_outbound_nodes", "_operations", "_nodes", "_functional", "optimizer"}


def _parts(holder: Any) -> Iterator[tuple[str, Any]]:
    """Give what an object holds, by the last part of its name."""
    if isinstance(holder, Mapping):
        yield from ((str(key), value) for key, value in holder.items())
    elif isinstance(holder, (list, tuple)):
        yield from ((str(i), value) for i, value in enumerate(holder))
    elif isinstance(holder, keras.layers.Layer):
        if isinstance(holder, (keras.Sequential, keras.models.Model)) and _is_graph(holder):
            yield "layers", list(holder.layers)
        # On torch's backend a layer is a module, and keeps its layers apart from its other attributes: the order here,
        # which decides under what name a shared weight is found, must be one that all backends have.
        attributes = [*vars(holder).items(), *getattr(holder, "_modules", {}).items()]
        attributes = [(name.lstrip("_") or name, value) for name, value in attributes if name not in _BOOKS]
        for kind in (keras.Variable, keras.layers.Layer, (Mapping, list, tuple)):
            yield from ((name, value) for name, value in attributes if isinstance(value, kind))
        yield "layers", list(getattr(holder, "_layers", ()))  # what no attribute leads to


def _is_graph(model: Any) -> bool:
    """Whether a model is made of a list of layers rather than of attributes."""
    return isinstance(model, keras.Sequential) or hasattr(model, "_operations_by_depth")


def _walk(
    holder: Any, name: str, seen: set[int], found: list[tuple[str, Any]], inside: frozenset[int] = frozenset()
) -> None:
    """Add what a holder leads to; inside: the lists and mappings on the way to it, which may hold each other."""
    inside |= {id(holder)}
    for part, value in _parts(holder):
        inner = f"{name}.{part}" if name else part
        if id(value) in seen or id(value) in inside:
            continue
        if isinstance(value, keras.Variable):
            seen.add(id(value))
            found.append((inner, value))
        elif isinstance(value, (keras.layers.Layer, Mapping, list, tuple)):
            if isinstance(value, keras.layers.Layer):
                seen.add(id(value))
                if not value.built and type(value).build is not keras.layers.Layer.build:
                    raise ValueError(f"{inner} is not built, and has no weights yet: call the model on data first")
            _walk(value, inner, seen, found, inside)


def variables_of(model: Any) -> dict[str, Any]:
    """Give the weights of a built model by their structural names, in the order in which they are reached.

    Raises
    ------
    TypeError : no model or layer. ValueError : one that is not built; two weights of one name; a weight to which no
        attribute of the model leads.

    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"model must be a Keras model or layer, not {shown(model)}")
    if not model.built:
        raise ValueError(f"the model {model.name!r} is not built, and has no weights yet: build it, or call it on data")
    reached: list[tuple[str, Any]] = []
    _walk(model, "", {id(model)}, reached)
    weights = {id(weight): weight for weight in model.weights}
    found: dict[str, Any] = {}
    for name, variable in reached:
        if id(variable) not in weights:  # the state of a dropout's generator, of a metric
            continue
        if name in found:
            raise ValueError(
                f"two weights of the model are called {shown(name)}: {found[name].path} and {variable.path}; values "
                "depend on the name, so each must have its own"
            )
        found[name] = variable
    lost = [weight.path for key, weight in weights.items() if all(key != id(other) for other in found.values())]
    if lost:
        raise ValueError(f"no attribute of the model leads to {', '.join(map(shown, lost))}")
    if not found:
        raise ValueError(f"the model {model.name!r} has no weights")
    return found
