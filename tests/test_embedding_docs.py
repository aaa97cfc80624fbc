"""docs/embedding.md: the programs that it shows are built and run, and print what it says. Its Python is a doctest."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "embedding.md"
BLOCK = re.compile(r"^<!-- (file: (\S+)|run|prints) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_programs_of_the_page(tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc)")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    printed, runs = None, 0
    for kind, name, text in BLOCK.findall(PAGE.read_text()):
        if name:
            (tmp_path / name).write_text(text)
        elif kind == "run":
            command = ["bash", "-euo", "pipefail", "-c", text]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            printed, runs = done.stdout, runs + 1
        else:
            assert printed == text
    assert runs == 2


def test_every_program_is_run():
    """No fence of C, Cython, Python or shell stands without what makes this file take it."""
    text = PAGE.read_text()
    fences = re.findall(r"^(.*)\n```(\w+)$", text, re.MULTILINE)
    loose = [language for line, language in fences if language != "pycon" and not line.startswith("<!-- ")]
    assert loose == [] and len(BLOCK.findall(text)) == len([1 for _, language in fences if language != "pycon"])
