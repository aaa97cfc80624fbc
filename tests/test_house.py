"""The house itself: rooms and arrows, names, namespaces, and what type checkers see."""

import importlib
import importlib.util
import inspect
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import winit
from winit import recipes
from winit._core.laws import Normal
from winit._core.records import Record

ROOT = Path(__file__).parents[1]
PACKAGE = Path(winit.__file__).parent
LAZY = ("activations", "checkpoint", "jit", "methods", "net2net", "presets", "recipes", "stream")
PUBLIC = ("winit", *(f"winit.{name}" for name in LAZY if name != "stream"))
PUBLIC += ("winit.presets.jax", "winit.presets.keras", "winit.presets.torch", "winit.schemes", "winit.bit_generator")
GUESTS = [name for name in ("torch", "jax", "keras") if importlib.util.find_spec(name) is not None]
WITH_GUESTS = (
    *PUBLIC,
    *(f"winit.{name}" for name in GUESTS),
    *(("winit.jax.initializers",) if "jax" in GUESTS else ()),
)


# ---- rooms and arrows


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a checkout")
def test_arrows_run_one_way():
    """The layers of pyproject.toml: lazy imports count, and two conveniences are declared there by name."""
    linter = Path(sys.executable).with_name("lint-imports")
    command = [str(linter) if linter.exists() else shutil.which("lint-imports") or pytest.skip("no import-linter")]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_ground_floor_is_small():
    modules = [path.stem for path in PACKAGE.glob("*.py")]
    assert len(modules) <= 10, modules


def test_no_module_bears_a_public_functions_name():
    functions = {
        name
        for module in PUBLIC
        for name, value in ((name, getattr(importlib.import_module(module), name)) for name in namespace(module))
        if callable(value)
    }
    modules = {found.name.rpartition(".")[2] for found in pkgutil.walk_packages([str(PACKAGE)], "winit.")}
    assert not functions & modules


def namespace(module):
    return importlib.import_module(module).__all__


# ---- namespaces


@pytest.mark.parametrize("module", WITH_GUESTS)
def test_dir_is_what_is_promised(module):
    loaded = importlib.import_module(module)
    extra = recipes.names() if module == "winit.recipes" else []
    assert dir(loaded) == sorted({*loaded.__all__, *extra})
    for name in loaded.__all__:
        getattr(loaded, name)


@pytest.mark.parametrize("module", ["winit.presets.jax", "winit.presets.keras", "winit.presets.torch"])
def test_presets_have_no_names_but_their_frameworks(module):
    loaded = importlib.import_module(module)
    assert {name for name in vars(loaded) if not name.startswith("_")} <= {*loaded.__all__, "annotations"}
    assert not hasattr(winit.presets.torch, "xavier_normal")


def test_modules_come_when_asked_for():
    code = "import sys, winit\n"
    code += "\n".join(f"before = 'winit.{name}' in sys.modules; winit.{name}; print(before)" for name in LAZY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    come_with_winit = {"activations"}  # gain is winit.gain
    assert done.stdout.split() == [str(name in come_with_winit) for name in LAZY]
    assert set(LAZY) <= set(winit.__all__) and not {"torch", "jax", "keras", "lab"} & set(winit.__all__)


def test_a_misspelt_name_has_a_nearest():
    with pytest.raises(
        AttributeError, match=r"module 'winit' has no attribute 'he_norml' \(did you mean 'he_normal'\?\)"
    ):
        winit.he_norml  # noqa: B018
    with pytest.raises(AttributeError, match=r"'winit.recipes' has no attribute 'gtp2' \(did you mean 'gpt2'"):
        recipes.gtp2  # noqa: B018


# ---- what editors and type checkers see


def test_recipes_have_signatures_with_their_sizes():
    signature = inspect.signature(recipes.gpt2)
    assert {name: each.default for name, each in signature.parameters.items()} == recipes.parameters("gpt2")
    assert recipes.gpt2 is recipes.gpt2


def test_recipe_stubs_are_those_of_the_toml():
    if not (ROOT / "tools" / "recipe_stubs.py").exists():
        pytest.skip("not a checkout")
    done = subprocess.run([sys.executable, ROOT / "tools" / "recipe_stubs.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stubs = (PACKAGE / "recipes" / "__init__.pyi").read_text()
    assert done.stdout == stubs, "run python tools/recipe_stubs.py --write"


def test_a_scheme_is_a_factory_with_a_signature_and_a_formula():
    assert str(inspect.signature(winit.he_normal)).startswith("(a: ")
    assert "gain / sqrt(fan)" in inspect.getdoc(winit.he_normal).splitlines()[0]
    call, draw = inspect.signature(winit.Scheme.__call__), inspect.signature(winit.draw)
    assert list(call.parameters.values())[1:] == list(draw.parameters.values())[1:]
    assert call.return_annotation == draw.return_annotation


TYPED = """
import winit
from winit import recipes
reveal_type(winit.draw(winit.he_normal(), (2, 3), seed=0))
reveal_type(winit.he_normal()((2, 3), seed=0))
reveal_type(recipes.gpt2(layers=2))
reveal_type(winit.Plan({}).draw("a", seed=0))
winit.checkpoint.verify, winit.net2net.widen, winit.methods.mup, winit.activations.relu, winit.presets.torch.zeros_
"""
WRONG = {
    "winit.he_norml()": 'Module has no attribute "he_norml"',
    "winit.he_normal()((2, 3))": 'Missing named argument "seed"',
    "winit.he_normal(b=3)": 'Unexpected keyword argument "b"',
    "recipes.gpt2(depth=3)": 'Unexpected keyword argument "depth"',
    "winit.Param((2, 3), 'float32')": 'Argument 2 to "Param" has incompatible type "str"',
}


def test_type_checkers_see_what_is_there(tmp_path):
    source = tmp_path / "typed.py"
    source.write_text(TYPED + "\n".join(WRONG))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(tmp_path),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    lines = done.stdout.splitlines()
    revealed = [line for line in lines if "Revealed type" in line]
    assert ["ndarray" in line for line in revealed] == [True, True, False, True], done.stdout + done.stderr
    assert "winit._plans.plan.Plan" in revealed[2]
    errors = [line for line in lines if ": error: " in line]
    assert len(errors) == len(WRONG), done.stdout
    for line, expected in zip(errors, WRONG.values(), strict=True):
        assert expected in line


# ---- records


def test_records_tell_apart_what_differs_in_bits_at_any_depth():
    """Equality and hash decide which law a cache returns: what == calls equal at some depth may differ in its bits."""
    for one, other in (
        (Normal(0.0, 1.0), Normal(-0.0, 1.0)),
        (winit.constant(1), winit.constant(True)),
        (winit.constant(1), winit.constant(1.0)),
        (winit.stft(window=(0.0, 1.0)), winit.stft(window=(-0.0, 1.0))),
        (winit.with_layout(winit.normal(0.0), "oi"), winit.with_layout(winit.normal(-0.0), "oi")),
    ):
        assert one != other
        assert len({one, other}) == 2
    assert winit.normal(0.0) == winit.normal(0.0) and hash(winit.normal(0.0)) == hash(winit.normal(0.0))


def test_a_records_fields_are_its_public_annotations():
    class point(Record):  # noqa: N801
        __slots__ = ("x", "y")
        y: int
        x: int

        def __init__(self, y: int, x: int = 3) -> None:
            self._set(y, x)

    assert repr(point(1)) == "point(y=1)" and repr(point(1, 4)) == "point(y=1, x=4)"
    with pytest.raises(AttributeError, match="point is frozen: x cannot be set"):
        point(1).x = 2


def test_one_tensors_bits_do_not_depend_on_what_was_drawn_before():
    code = """
import winit
{first}
scheme = winit.stft(window=(-0.0, 1.0, 1.0), scaling=None)
print(winit.draw(scheme, (3, 1, 3), seed=0, layout="io").tobytes().hex())
"""
    printed = set()
    for first in ("", "winit.draw(winit.stft(window=(0.0, 1.0, 1.0), scaling=None), (3, 1, 3), seed=0, layout='io')"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(first=first)], capture_output=True, text=True, check=True
        )
        printed.add(done.stdout)
    assert len(printed) == 1
