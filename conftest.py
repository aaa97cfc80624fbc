"""The engine of a whole run; and a directory of their own for documents' examples, some of which write files."""

import pytest

import winit

# It stands for an extension that was not built: collecting its doctests would import it where that one is.
collect_ignore = ["src/winit/stream.py"]


def pytest_addoption(parser):
    parser.addoption("--engine", choices=list(winit.engines()), help="run on this engine where a test chooses none")


def pytest_configure(config):
    if config.getoption("--engine") is not None:
        winit.use_engine(config.getoption("--engine"))


def pytest_collection_modifyitems(config, items):
    """With --engine, leave out what chooses its engines itself."""
    if config.getoption("--engine") is not None:
        chosen = {item for item in items if {"build", "compiled"} & set(getattr(item, "fixturenames", ()))}
        items[:] = [item for item in items if item not in chosen]
        config.hook.pytest_deselected(items=list(chosen))


@pytest.fixture(autouse=True)
def _elsewhere(request, tmp_path, monkeypatch):
    if request.node.path.suffix == ".md":
        monkeypatch.chdir(tmp_path)
