"""Documents' examples run in a directory of their own, since some of them write files."""

import pytest


@pytest.fixture(autouse=True)
def _elsewhere(request, tmp_path, monkeypatch):
    if request.node.path.suffix == ".md":
        monkeypatch.chdir(tmp_path)
