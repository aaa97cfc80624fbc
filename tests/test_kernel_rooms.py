"""The engines are laid out alike: what winit._kernels says of their files and names is so."""

import ast
import re
from pathlib import Path

import pytest

from winit import _kernels

ROOM = Path(_kernels.__file__).parent
INCLUDE = ROOM.parent / "include"
NARROW = ("bf16", "f16", "f8e4m3", "f8e5m2")  # types whose functions bear their names in every engine


def table():
    """Rows of the table at the head of winit._kernels: concept -> files of C, of Numba, of NumPy."""
    lines = _kernels.__doc__.split("    concept ", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert all(len(row) == 4 for row in rows)
    return {concept: [cell.split(", ") for cell in cells] for concept, *cells in rows}


def text(file):
    return ((INCLUDE if file.startswith("winit/") else ROOM) / file).read_text(encoding="utf-8")


def functions(*files):
    """Public functions at the top level of Python files, and what is assigned there, in order."""
    names = []
    for file in files:
        for node in ast.parse(text(file)).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.append(node.name)
            elif isinstance(node, ast.Assign):
                names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def points():
    """Functions of approx.h without their prefix, in order; but not those that reinterpret bits."""
    names = re.findall(r"^static inline \w+ winit_(\w+)\(", text("winit/approx.h"), re.MULTILINE)
    return [name for name in names if not re.match("(bits|float)_", name)]


def in_order(names, among):
    """Whether names are among others, in their order."""
    return bool(names) and [name for name in among if name in names] == list(names)


def test_the_table_has_every_file():
    named = [file for cells in table().values() for files in cells for file in files]
    installed = not (ROOM / "sample.pyx").exists()  # without what is compiled, of which headers alone are packaged
    for file in named:
        assert (installed and file.endswith((".c", ".pyx"))) or text(file), file
    there = {path.name for pattern in ("numba_*.py", "numpy_*.py") for path in ROOM.glob(pattern)}
    assert there - {"numba_compiler.py"} <= set(named)


def test_modules_of_a_row_have_parallel_names():
    for concept, (_, numba, numpy) in table().items():
        if concept != "activations":  # NumPy's are winit.activations' too
            assert [file.replace("numba_", "numpy_") for file in numba] == numpy


def test_modules_open_with_their_design():
    for cells in table().values():
        for file in cells[1] + cells[2]:
            assert ast.get_docstring(ast.parse(text(file))), file


@pytest.mark.parametrize("law", _kernels.LAWS)
def test_a_law_has_its_name_in_every_engine(law):
    name = law.split("_")[0]
    (c,), (numba,), (numpy,) = table()["laws, fills"]
    for kind in ("f32", "f64"):
        assert f"fill_{name}_{kind}" in text(c)
        assert f"{name}_{kind}" in functions(numba)
    assert name in functions(numpy)


def test_laws_stand_in_one_order():
    names = [law.split("_")[0] for law in _kernels.LAWS]
    (c,), (numba,), (numpy,) = table()["laws, fills"]
    kernels = re.findall(r"^(?:FILL_32|KERNEL)\((\w+),", text(c), re.MULTILINE)
    assert list(dict.fromkeys(kernels)) == names
    for kind in ("f32", "f64"):
        assert in_order([f"{name}_{kind}" for name in names], functions(numba))
    assert in_order(names, functions(numpy))


@pytest.mark.parametrize("law", _kernels.LAWS[1:])
def test_a_law_has_its_point_in_every_engine(law):
    name = {"normal": "normal_pair"}.get(law, law.split("_")[0])  # two at a time
    _, (numba,), (numpy,) = table()["words to values"]
    for kind in ("f32", "f64"):
        assert f"{name}_{kind}" in points()
        assert f"{name}_{kind}" in functions(numba)
    assert name in functions(numpy)


def test_points_in_numba_are_those_of_c():
    _, (values,), _ = table()["words to values"]
    _, (halves,), _ = table()["narrow types"]
    assert in_order(points(), functions(values, halves))
    extra = {name for name in functions(values, halves) if name.islower()} - set(points())
    assert not [name for name in extra if not re.match("(log|sin|cos|quantile[01]|top|bottom)[0-9_]", name)]


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_points_in_numpy_are_those_of_c(kind):
    _, _, (values,) = table()["words to values"]
    _, _, (halves,) = table()["narrow types"]
    casts = ("int52", "int53")  # NumPy's own
    own = [name.removesuffix(f"_{kind}") for name in points() if name.endswith(f"_{kind}")]
    assert in_order([name for name in own if name not in casts], functions(values))
    rounding = [name for name in points() if name.endswith(NARROW) and "finite" not in name]
    assert in_order(rounding, functions(halves))


def test_blocks_have_one_name():
    (c,), (numba,), (numpy,) = table()["words"]
    for name in ("philox4x32", "block_at"):
        assert f"winit_{name}(" in text(c)
        assert name in functions(numba)
        assert name in functions(numpy)


def test_faces_offer_the_contract():
    for column in (1, 2):
        (face,) = table()["the face"][column]
        tree = ast.parse(text(face))
        offered = {
            name.asname or name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names
        }
        contract = {"Fill", "Sparse", "words", "Sampled", "Gradient", "Product", "activate", "reflectors", "triangle"}
        assert contract <= offered


def test_what_is_kept_on_disk_is_named_after_all_its_sources():
    """Numba asks whether a function's own file has changed, and points are copied in from others."""
    pytest.importorskip("numba")
    from winit._kernels import numba_compiler, numba_sampling

    files = {path.stem for path in ROOM.glob("numba_*.py")} - {"numba_engine"}
    assert {"activation_rows", "coefficients"} | files == set(numba_compiler.SOURCES)
    names = [*(function.py_func.__qualname__ for function in numba_sampling.VALUES.values())]
    names.append(numba_sampling.fill.py_func.__qualname__)
    assert all(name.endswith(f"-{numba_compiler.EDITION}") for name in names)
