"""The engine and instruction set of a whole run; a directory of their own for documents' examples that write files."""

import os

import pytest

import winit

# Keras chooses its backend when it is first imported, and by default one that is not installed.
os.environ.setdefault("KERAS_BACKEND", "jax")

# It stands for an extension that was not built: collecting its doctests would import it where that one is.
collect_ignore = ["src/winit/stream.py"]


def pytest_addoption(parser):
    sets = sorted({isa for engine in winit.engines().values() for isa in engine["instruction_sets"]})
    parser.addoption("--engine", choices=list(winit.engines()), help="run on this engine where a test chooses none")
    parser.addoption("--isa", choices=sets, help="and on this instruction set, of the compiled engine if none is named")


def pytest_configure(config):
    engine, isa = config.getoption("--engine"), config.getoption("--isa")
    if engine or isa:
        winit.use_engine(engine or "cython", isa)


def pytest_collection_modifyitems(config, items):
    """With --engine or --isa, leave out what chooses its engines itself."""
    if config.getoption("--engine") or config.getoption("--isa"):
        chosen = {item for item in items if {"build", "compiled"} & set(getattr(item, "fixturenames", ()))}
        items[:] = [item for item in items if item not in chosen]
        config.hook.pytest_deselected(items=list(chosen))


@pytest.fixture(autouse=True)
def _elsewhere(request, tmp_path, monkeypatch):
    if request.node.path.suffix == ".md":
        monkeypatch.chdir(tmp_path)
