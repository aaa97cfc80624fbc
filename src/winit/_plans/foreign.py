"""Plans of tensors that another library has named: a caller's plan that must fit them, or a caller's rules.

The libraries that ask are JAX's and Keras's, whose layout is "io", (*spatial, in, out); rules may say another.
"""

from __future__ import annotations

from typing import Any

from winit._core.checks import shown
from winit._core.scheme import Scheme
from winit._plans.globs import matches
from winit._plans.param import Param, Rule, check_rule, shown_name
from winit._plans.plan import Plan

__all__ = ["plan_for"]

LAYOUT = "io"
_MOST_NAMES = 8  # of a message


def plan_for(tensors: dict[str, tuple[tuple[int, ...], str]], plan_or_rules: Any, whose: str) -> Plan:
    """Return a plan of tensors: a caller's own, which must be of these, or what a caller's rules make.

    tensors : from names to (shape, the dtype's name). whose : what messages call that which has them.
    """
    if isinstance(plan_or_rules, Plan):
        _check_same(tensors, plan_or_rules, whose)
        return plan_or_rules
    given = None
    if not isinstance(plan_or_rules, (str, bytes, dict, Scheme)):
        try:
            given = list(plan_or_rules)
        except TypeError:
            given = None
    if given is None:
        raise TypeError(
            f"plan_or_rules must be a winit.Plan, or rules such as [('*', winit.he_normal())], not "
            f"{shown(plan_or_rules)}"
        )
    rules = [check_rule(rule) for rule in given]
    rules = [Rule(rule.match, rule.scheme, rule.layout or LAYOUT, rule.dtype, rule.optional) for rule in rules]
    params = {}
    for name, (shape, kind) in tensors.items():
        try:
            params[name] = Param(shape, dtype=kind)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{shown_name(name)}: {error}") from None
    complete = Plan(params, rules)
    for name, param in complete.items():
        rule = next(rule for rule in rules if matches(rule.match, name))
        if rule.dtype not in (None, param.dtype):
            raise ValueError(
                f"{shown_name(name)}: is of dtype {param.dtype} in the {whose}, and the rule {shown(rule.match)} says "
                f"{rule.dtype}: a rule cannot change what the {whose} has"
            )
    return complete


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(map(shown, names[:_MOST_NAMES])) + more


def _check_same(tensors: dict[str, tuple[tuple[int, ...], str]], complete: Plan, whose: str) -> None:
    missing = [name for name in tensors if name not in complete]
    superfluous = [name for name in complete if name not in tensors]
    if missing or superfluous:
        parts = [f"the plan lacks {_some(missing)}"] * bool(missing)
        parts += [f"the {whose} lacks {_some(superfluous)}"] * bool(superfluous)
        raise ValueError(f"the plan and the {whose} must have the same names: {'; '.join(parts)}")
    for name, (shape, kind) in tensors.items():
        param = complete[name]
        if param.shape != shape:
            raise ValueError(f"{shown_name(name)}: is of shape {shape}, and the plan says {param.shape}")
        if param.dtype != kind:
            raise ValueError(f"{shown_name(name)}: is of dtype {kind}, and the plan says {param.dtype}")
