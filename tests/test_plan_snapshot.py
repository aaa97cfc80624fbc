"""Every recipe and example, at its default and at its tests' sizes, is the plan that it was.

tests/data/plans.json holds a hash for each, over the name, shape, dtype, scheme, layout, key and tie of every tensor,
in order. `python tests/test_plan_snapshot.py` writes it again, which is right when a recipe is added or the model
that it follows has changed.
"""

import hashlib
import json
import pathlib

import pytest
from test_recipes import TRANSFORMERS

from winit import Plan, recipes

PATH = pathlib.Path(__file__).with_name("data") / "plans.json"
EXAMPLES = sorted((pathlib.Path(__file__).parents[1] / "examples").glob("*.toml"))
CASES = {name: lambda name=name: recipes.load(name) for name in recipes.names()}
CASES |= {f"{name} in tests": lambda at=at: recipes.load(at[0], **at[1]) for name, at in TRANSFORMERS.items()}
SMALL = {
    "llama3_torchtitan": {"vocab": 50, "dim": 16, "layers": 3, "inner": 24, "heads": 4, "kv_heads": 2, "tied": True},
    "mamba": {"vocab": 50, "dim": 16, "layers": 2},
    "nanochat": {"dim": 16, "layers": 3, "heads": 4},
}
CASES |= {f"{name}, small": lambda name=name: recipes.load(name, **SMALL[name]) for name in SMALL}
CASES |= {f"examples/{path.name}": lambda path=path: Plan.from_toml(path) for path in EXAMPLES}


def fingerprint(plan):
    digest = hashlib.sha256()
    for name, param in plan.items():
        key = None if param.tied is not None else plan.key(name)
        parts = (name, param.shape, param.dtype, repr(param.scheme), str(param.layout), key, param.tied)
        digest.update((repr(parts) + "\n").encode())
    return f"{len(plan)} tensors, {plan.parameters} parameters, {digest.hexdigest()[:32]}"


def test_coverage():
    assert set(json.loads(PATH.read_text())) == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_same_plan(case):
    assert fingerprint(CASES[case]()) == json.loads(PATH.read_text())[case]


if __name__ == "__main__":
    PATH.write_text(json.dumps({name: fingerprint(make()) for name, make in CASES.items()}, indent=1) + "\n")
