"""A plan as TOML text, which toml_reader reads back to an equal plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from winit._plans.name_patterns import escaped

if TYPE_CHECKING:
    from winit._plans.plan import Plan

__all__ = ["plan_text"]


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def plan_text(plan: Plan) -> str:
    """Write every tensor of a plan, each with all that it is."""
    lines = ["[tensors]"]
    for name, param in plan.items():
        quoted = _quoted(escaped(name))
        if param.tied is not None:
            lines.append(f"{quoted} = {{ tied = {_quoted(escaped(param.tied))} }}")
            continue
        fields = [f"shape = {list(param.shape)}", f'dtype = "{param.dtype}"', f"scheme = {_quoted(repr(param.scheme))}"]
        if param.layout != "oi":
            fields.append(f"layout = {_quoted(str(param.layout))}")
        if param.key is not None:
            fields.append(f"key = {_quoted(escaped(param.key))}")
        lines.append(f"{quoted} = {{ {', '.join(fields)} }}")
    return "\n".join(lines) + "\n"
