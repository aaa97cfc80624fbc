"""TestU01's SmallCrush on winit's streams, and 10^8 values of each law against their distributions: tools/battery.py."""

import pathlib
import runpy
import shutil

import numpy as np
import pytest

TOOLS = pathlib.Path(__file__).parents[1] / "tools"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def battery(tmp_path_factory):
    if not pathlib.Path("/usr/include/testu01/bbattery.h").exists() or shutil.which("cc") is None:
        pytest.skip("TestU01 (libtestu01-0-dev, of Debian's non-free section) or a C compiler is not installed")
    tool = runpy.run_path(str(TOOLS / "battery.py"))
    return tool, tool["build"](tmp_path_factory.mktemp("battery"))


@pytest.mark.parametrize("output", ["words", "normals"])
@pytest.mark.parametrize("stream", ["one", "seeds", "names", "many"])
def test_small_crush(battery, stream, output):
    """15 statistics. A right stream gives one outside 10^-6 with probability 3e-5; the numbers are always the same."""
    tool, program = battery
    found = [each for test in range(1, 11) for each in tool["one_test"](program, "SmallCrush", test, stream, output)]
    assert len(found) == 15
    assert all(1e-6 < p < 1 - 1e-6 for _, p in found), found


def test_ten_to_the_eighth_values_of_each_law(capsys):
    """16 p-values, one below 10^-6 with probability 2e-5 where the laws are right."""
    pytest.importorskip("numba")
    tool = runpy.run_path(str(TOOLS / "large_samples.py"))
    for law, (_, _, _, _, masses) in tool["LAWS"].items():
        tool["tell"](law, tool["counted"](law, 10**8, 2), masses())
    words = tool["counted"]("words", 10**8, 2)
    for byte in words:
        tool["tell"]("byte", byte, np.full(256, 1 / 256))
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 8
    assert all(min(float(row[4]), float(row[6])) > 1e-6 for row in rows), rows
    # The check sees what is wrong: a thousandth of the values twice as often in one bin.
    wrong = np.full(tool["BINS"], 10**8 // tool["BINS"])
    wrong[: tool["BINS"] // 1000] *= 2
    tool["tell"]("wrong", wrong, np.full(tool["BINS"], 1 / tool["BINS"]))
    assert float(capsys.readouterr().out.strip("|\n").split("|")[4]) == 0.0
