"""The documentation as a site: it builds without a warning, fetches nothing, and describes every public name."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import winit

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
DESCRIBED = {
    identifier
    for page in sorted(REFERENCE.glob("*.md"))
    for identifier in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
}
MODULES = (
    "winit",
    "winit.activations",
    "winit.checkpoint",
    "winit.jax",
    "winit.jax.initializers",
    "winit.jit",
    "winit.keras",
    "winit.lab",
    "winit.methods",
    "winit.net2net",
    "winit.presets.jax",
    "winit.presets.keras",
    "winit.presets.torch",
    "winit.recipes",
    "winit.stream",
    "winit.torch",
    "winit.torch.init",
)
# Public names without an entry of their own, and why.
APART = {
    **{
        f"winit.{module}": "a module: its names have pages of their own"
        for module in ("activations", "checkpoint", "jit", "methods", "net2net", "presets", "recipes", "stream")
    },
    "winit.STREAM_VERSION": "a number; docs/streams.md says what it means",
    "winit.activations.TABLE": "the rows behind the functions",
    "winit.activations.gain": "is winit.gain",
    "winit.jax.initializers": "a module: its functions have entries of their own",
    "winit.torch.init": "a module: its functions have entries of their own",
    "winit.torch.init.calculate_gain": "is winit.presets.torch.calculate_gain",
    "winit.presets.jax.constant": "is winit.constant",
    "winit.presets.jax.ones": "is winit.ones",
    "winit.presets.jax.zeros": "is winit.zeros",
}


def names_of(module):
    """Public names of a module but for those that are other names of an object described there."""
    loaded = importlib.import_module(module)
    described = [getattr(loaded, name) for name in loaded.__all__ if f"{module}.{name}" in DESCRIBED]
    for name in loaded.__all__:
        alias = f"{module}.{name}" not in DESCRIBED and any(getattr(loaded, name) is other for other in described)
        if not alias and f"{module}.{name}" not in APART:
            yield f"{module}.{name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_its_entry(module):
    assert [name for name in names_of(module) if name not in DESCRIBED] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    if not (ROOT / "mkdocs.yml").exists():
        pytest.skip("not a checkout")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_builds_with_every_entry(site):
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("index.html")}
    ids = {identifier for text in pages.values() for identifier in re.findall(r'id="(winit[\w.]*)"', text)}
    assert ids >= DESCRIBED
    shown = pages[site / "reference" / "schemes-fans" / "index.html"]
    signature = re.sub(r"<[^>]+>", "", shown).replace("&quot;", '"').replace("&#39;", "'")
    assert re.search(r"he_normal\(\s*a: float = 0\.0,\s*mode: str = .fan_in.", signature)
    assert "std = gain / sqrt(fan)" in signature
    assert "usage: winit init" in pages[site / "reference" / "cli" / "index.html"]


def test_it_fetches_nothing(site):
    """Scripts, styles, pictures and fonts are the site's own; links that a reader may follow are not meant."""
    tag = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
    found = {url for page in site.rglob("*.html") for url in tag.findall(page.read_text(encoding="utf-8"))}
    assert found == set()
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [url for text in styles for url in re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]+", text)] == []


def test_docstrings_lose_no_words(site):
    """Each word of a docstring is on its page, in whatever form."""
    for name in ("draw", "he_normal", "Plan", "pretrained", "dense_forward", "sparse"):
        doc = getattr(winit, name).__doc__
        page = next(
            path for path in REFERENCE.glob("*.md") if f"::: winit.{name}\n" in path.read_text(encoding="utf-8")
        )
        html = (site / "reference" / page.stem / "index.html").read_text(encoding="utf-8")
        text = re.sub(r"<[^>]+>", "", html).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
        text = text.replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&").lower()
        words = {word for word in re.findall(r"\w+", doc.lower()) if word not in ("raises", "parameters", "returns")}
        assert {word for word in words if word not in text} == set(), name
