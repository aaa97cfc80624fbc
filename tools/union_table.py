"""Print the tables of docs/presets.md: what each library calls an initialiser, and what law that is by default.

    python tools/union_table.py            # prints them
    python tools/union_table.py --write    # puts them into docs/presets.md, between its markers

Names and parameters are those of winit.presets and winit.schemes, which tests/test_presets.py holds against the
installed libraries. Laws are what the presets resolve to on two shapes; their formulas are found among FORMULAS, and a
law that fits none, or two, is an error.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from pathlib import Path

import winit
from winit import presets, schemes
from winit._core.laws import Constant, Normal, TruncatedNormal, Uniform
from winit.schemes.base import WholeScheme

PAGE = Path(__file__).parents[1] / "docs" / "presets.md"
LIBRARIES = {"torch": presets.torch, "JAX": presets.jax, "Keras": presets.keras, "winit": winit}

# A library's word -> winit's name of the row.
ROWS = {
    "eye": "identity",
    "identity_initializer": "identity",
    "orthogonal_initializer": "orthogonal",
    "random_normal": "normal",
    "random_uniform": "uniform",
    "stft_initializer": "stft",
    "trunc_normal": "truncated_normal",
}
WORDS = {"glorot": "xavier", "kaiming": "he"}
OWN_ROWS = {("torch", "sparse_"): "sparse_columns"}  # torch's zeros are counted by column
NO_SCHEME = {"calculate_gain"}

SHAPES = {"torch": ((40, 30), (7, 11, 3, 5)), "winit": ((40, 30), (7, 11, 3, 5))}
SHAPES["JAX"] = SHAPES["Keras"] = ((30, 40), (3, 5, 11, 7))
FANS = ((30, 40), (165, 105))
FORMULAS = {
    f"sqrt({c} / {text})": lambda i, o, c=c, fan=fan: math.sqrt(c / fan(i, o))
    for c in (1, 2, 3, 6)
    for text, fan in (
        ("fan_in", lambda i, o: i),
        ("fan_out", lambda i, o: o),
        ("(fan_in + fan_out)", lambda i, o: i + o),
    )
}
STD = {"torch": "std", "JAX": "stddev", "Keras": "stddev", "winit": "std"}
# Arguments without which there is no law.
GIVEN = {
    "constant": {"value": 0.5},
    "constant_": {"val": 0.5},
    "sparse_": {"sparsity": 0.9},
    "sparse_columns": {"sparsity": 0.9},
    "variance_scaling": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
}


def row_of(library: str, name: str) -> str:
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower().strip("_")
    snake = "_".join(WORDS.get(word, word) for word in snake.split("_"))
    return OWN_ROWS.get((library, name)) or ROWS.get(snake, snake)


def by_row() -> dict[str, dict[str, list[str]]]:
    """Row -> library -> its names for one and the same object, the first of which has the signature."""
    rows: dict[str, dict[str, list[str]]] = {}
    for library, module in LIBRARIES.items():
        names = schemes.named() if library == "winit" else [name for name in module.__all__ if name not in NO_SCHEME]
        for name in names:
            row = rows.setdefault(row_of(library, name), {}).setdefault(library, [])
            if row and getattr(module, row[0]) is not getattr(module, name):
                raise ValueError(f"{library}: {row[0]} and {name} are two things in one row")
            row.append(name)
    unknown = set(rows) - set(schemes.named())
    if unknown:
        raise ValueError(f"no scheme of winit is called {', '.join(sorted(unknown))}")
    return {name: rows[name] for name in sorted(rows, key=list(schemes.named()).index)}


def number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value).replace("'", '"')


def signature(function: object) -> str:
    shown, axes = [], False
    for each in inspect.signature(function).parameters.values():
        if each.name.endswith(("_axis", "_axes")) and each.name != "column_axis":
            axes = True
            continue
        shown.append(each.name if each.default is each.empty else f"{each.name}={number(each.default)}")
    return ", ".join(shown + ["axes"] * axes)


def call(module: object, names: list[str]) -> str:
    first, *others = names
    also = f" = {', '.join(f'`{name}`' for name in others)}" if others else ""
    return f"`{first}({signature(getattr(module, first))})`{also}"


def formula(values: list[float]) -> str:
    if math.isclose(*values, rel_tol=1e-12):
        return f"{values[0]:.4g}"
    found = [
        text
        for text, of in FORMULAS.items()
        if all(math.isclose(of(*fans), value, rel_tol=1e-9) for fans, value in zip(FANS, values, strict=True))
    ]
    if len(found) != 1:
        raise ValueError(f"{values} fit {len(found)} formulas, {found}")
    return found[0]


def law(library: str, name: str, **given: float) -> str:
    make = getattr(LIBRARIES[library], name)
    parameters = inspect.signature(make).parameters
    needed = {key: GIVEN[name][key] for key, each in parameters.items() if each.default is each.empty}
    scheme = make(**needed, **given)
    inner = scheme.scheme if isinstance(scheme, winit.with_layout) else scheme
    if isinstance(
        inner, WholeScheme | winit.sparse_columns | LIBRARIES["torch"].sparse_
    ):  # the scheme says what a row of numbers could not
        return f"`{scheme!r}`"
    laws = [scheme.law(shape) for shape in SHAPES[library]]
    kinds = {type(each) for each in laws}
    moments = [each.moments() for each in laws]
    if kinds == {Constant}:
        return number(laws[0].value)
    if kinds == {Uniform}:
        end = formula([each.high for each in moments])
        if end.startswith("sqrt") and all(each.low == -each.high for each in moments):
            return f"U[-b, b), b = {end}"
        return f"U[{moments[0].low:g}, {end})"
    std = formula([each.std for each in moments])
    if kinds == {Normal}:
        return f"N, std = {std}"
    if kinds == {TruncatedNormal}:
        cut, drawn = laws[0].high, [each.std for each in laws]
        if std.startswith("sqrt"):
            return f"N cut at {cut:g} σ, widened: std = {std}"
        return f"N, σ = {formula(drawn)}, cut at {cut:g} σ: std = {std}"
    raise ValueError(f"{library}.{name} is of another kind: {kinds}")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell or "-" for cell in line) + " |" for line in lines)


def laws_table() -> str:
    rows = []
    for row, names in by_row().items():
        if len(names) > 1:
            cells = [law(library, names[library][0]) if library in names else "" for library in LIBRARIES]
            rows.append([f"`{row}`", *cells])
        if row == "truncated_normal":
            rows.append(
                [
                    f"`{row}`, std 0.02",
                    *(law(library, names[library][0], **{STD[library]: 0.02}) for library in LIBRARIES),
                ]
            )
    return table(["default law of", *LIBRARIES], rows)


def union_table() -> str:
    rows = []
    for names in by_row().values():
        cells = [call(module, names[library]) if library in names else "" for library, module in LIBRARIES.items()]
        rows.append(cells[-1:] + cells[:-1])
    return table(["winit", *list(LIBRARIES)[:-1]], rows)


TABLES = {"laws": laws_table, "union": union_table}


def updated(text: str) -> str:
    """The page with the tables in it."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}{make()}\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        for make in TABLES.values():
            print(make(), end="\n\n")


if __name__ == "__main__":
    main()
