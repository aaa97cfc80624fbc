"""Documents' examples run in a directory of their own, since some of them write files."""

import pytest

# It stands for an extension that was not built: collecting its doctests would import it where that one is.
collect_ignore = ["src/winit/stream.py"]


@pytest.fixture(autouse=True)
def _elsewhere(request, tmp_path, monkeypatch):
    if request.node.path.suffix == ".md":
        monkeypatch.chdir(tmp_path)
