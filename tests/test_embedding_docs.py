"""README.md and docs: what they show is run, on every page. Python sessions are doctests; this file runs the rest.

A page marks its blocks by a comment in the line above. What stands below `<!-- file: NAME -->` is written to a file;
`run` and `commands` are given to bash where those files are; `prints` is what the last of them must have printed.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"file: (\S+)|run|commands|prints")

# Pages whose programs need a package that is not there on every machine.
ENGINES = {"dask": "distributed", "ray": "ray"}

# What nothing here runs, and why. Whatever is in no such row must be run by a test.
EXEMPT = {
    (
        "docs/command-line.md",
        "command line",
    ): "its commands are run, and what they print compared, by tests/test_cli.py",
    (
        "README.md",
        "run",
    ): "sets up an environment of its own from the checkout; .ci/run does as much by the block below",
    ("README.md", "test"): "is what .ci/run runs",
    ("docs/scale.md", "too large"): "writes 8 GB; tests/test_shards.py cuts as large a plan, and writes smaller ones",
    ("docs/start/install.md", "elsewhere"): "is the README's set-up again, word by word",
    (
        "docs/reference/stream.md",
        "included",
    ): "is src/winit/stream.pxd itself, which tests/test_embedding_native.py compiles",
}
EXEMPT[("docs/gpu.md", "for those who have one")] = "needs a GPU, which no machine had that this was written on"
EXEMPT[("docs/articles.md", "command line")] = "is run by tests/test_articles.py, where slow tests are run"
for _name in re.findall(r"<!-- (table \w+) -->", (ROOT / "docs" / "articles.md").read_text(encoding="utf-8")):
    EXEMPT[("docs/articles.md", _name)] = "is compared by tests/test_articles.py to what is printed"

# Packages that a page's programs need besides those of every test, and that pip install '.[test]' brings.
NEEDS = {"jax-init": ["jax", "flax"], "jax-sharded": ["jax", "flax", "orbax", "safetensors"]}


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """(marker, language, text) of each fenced block that no row of EXEMPT names."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [block for block in found if (name_of(page), block[0]) not in EXEMPT]


def has_programs(page):
    return any(RUN.fullmatch(marker) for marker, _, _ in blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if has_programs(page)], ids=name_of)
def test_programs_of_the_page(page, tmp_path):
    if page.stem in ENGINES:
        pytest.importorskip(ENGINES[page.stem])
    needs_compiler = page.stem == "embedding"
    if needs_compiler and shutil.which("cc") is None:
        pytest.skip("no C compiler (cc)")
    missing = [package for package in NEEDS.get(page.stem, ()) if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"without {', '.join(missing)}")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    printed, runs = None, 0
    for marker, _, text in blocks(page):
        if marker.startswith("file: "):
            (tmp_path / marker.removeprefix("file: ")).write_text(text)
        elif marker in ("run", "commands"):
            command = ["bash", "-euo", "pipefail", "-c", text]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            printed, runs = done.stdout, runs + 1
        elif marker == "prints":
            assert printed == text
    assert runs == {"embedding": 2}.get(page.stem, 1)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run(page):
    """A session that doctest reads, or marked for the test above; and no fence that the pattern misses."""
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(BLOCK.findall(text))
    loose = []
    for marker, language, code in blocks(page):
        session = language == "pycon" and marker == "" and code.startswith(">>> ")
        if not session and not RUN.fullmatch(marker):
            loose.append(f"<!-- {marker} --> ```{language}\n{code[:60]}")
    assert loose == []


def test_exemptions_are_used():
    for name, marker in EXEMPT:
        assert f"<!-- {marker} -->\n```" in (ROOT / name).read_text(encoding="utf-8"), name
