"""Weights of a built Keras model from a plan, by structural names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from winit._core.checks import check_threads
from winit._core.dtypes import dtype_name
from winit._core.keys import stream_key
from winit._plans.foreign import plan_for
from winit._plans.param import Rule
from winit._plans.plan import Plan
from winit.keras.calling import tensor_of
from winit.keras.naming import variables_of

__all__ = ["initialize", "plan"]

_Model = TypeVar("_Model")


def _tensors(variables: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (tuple(each.shape), dtype_name(str(each.dtype))) for name, each in variables.items()}


def plan(model: Any, rules: Iterable[Rule | tuple[Any, ...]]) -> Plan:
    """Return the plan of a built model, by structural names: `layers.0.kernel`, `blocks.1.attention.query_dense.bias`.

    A name is the way from the model to a weight: attributes, without underscores in front, and positions in lists; of
    sequential and functional models, positions in `model.layers`. Shapes and dtypes are the weights' own. The layout is
    "io", (*spatial, in, out), where a rule says no other.

    Parameters
    ----------
    model : a Keras model or layer that is built.
    rules : as of winit.Plan.

    Raises
    ------
    TypeError, ValueError : as of winit.keras.initialize.

    >>> import keras, winit, winit.keras
    >>> model = keras.Sequential([keras.layers.Input((784,)), keras.layers.Dense(300)])
    >>> list(winit.keras.plan(model, [("*", winit.zeros())]))
    ['layers.0.kernel', 'layers.0.bias']

    """
    return plan_for(_tensors(variables_of(model)), rules, "model")


def initialize(
    model: _Model,
    plan_or_rules: Plan | Iterable[Rule | tuple[Any, ...]],
    *,
    seed: int,
    threads: int | None = None,
) -> _Model:
    """Draw the weights of a built model in place, by structural names.

    A layer does not tell an initializer its name, and Keras's own names count the layers of a process. The names here
    are those of winit.keras.plan, so that two models of one structure get equal weights, and one that is saved and
    loaded the same. The states of dropouts and metrics are no weights, and are left alone.

    Parameters
    ----------
    model : a Keras model or layer that is built. One weight in two places is drawn once.
    plan_or_rules : winit.Plan with the model's names, shapes and dtypes; or rules as winit.keras.plan takes them.
    seed : int, 0 <= seed < 2^64.
    threads : int or None, the processors this process may use.

    Returns
    -------
    model.

    Raises
    ------
    TypeError, ValueError : no model, one that is not built, or has a layer that is not; two weights of one name; names
        that plan and model do not share (all are named), another shape or dtype: nothing is written then.

    >>> import keras, numpy as np, winit, winit.keras
    >>> model = keras.Sequential([keras.layers.Input((784,)), keras.layers.Dense(300)])
    >>> rules = [("*.bias", winit.zeros()), ("*.kernel", winit.he_normal())]
    >>> winit.keras.initialize(model, rules, seed=0) is model
    True
    >>> drawn = winit.draw(winit.he_normal(), (784, 300), seed=0, name="layers.0.kernel", layout="io")
    >>> np.array_equal(keras.ops.convert_to_numpy(model.layers[0].kernel.value), drawn)
    True

    """
    stream_key(seed)
    threads = check_threads(threads)
    variables = variables_of(model)
    complete = plan_for(_tensors(variables), plan_or_rules, "model")
    for name, variable in variables.items():
        variable.assign(tensor_of(complete.draw(name, seed=seed, threads=threads), complete[name].dtype))
    return model
