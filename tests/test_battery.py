"""SmallCrush of TestU01 on winit's streams, and 10^8 values of each law against their distributions."""

import pathlib
import runpy
import shutil
import subprocess

import numpy as np
import pytest

import winit

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


RNG_TEST = """\
RNG_test using PractRand version 0.95
RNG = RNG_stdin32, seed = unknown
test set = core, folding = standard (32 bit)

rng=RNG_stdin32, seed=unknown
length= 16 megabytes (2^24 bytes), time= 4.2 seconds
  no anomalies in 120 test result(s)

rng=RNG_stdin32, seed=unknown
length= 32 megabytes (2^25 bytes), time= 8.4 seconds
  Test Name                         Raw       Processed     Evaluation
  TMFn(2+0):wl                      R=+168.5  p~=   2e-94     FAIL !!!!!
  [Low8/32]Gap-16:A                 R=  -9.2  p =1-7.6e-9    VERY SUSPICIOUS
  ...and 128 test result(s) without anomalies

rng=RNG_stdin32, seed=unknown
length= 48 megabytes (2^25.585 bytes), time= 9.4 seconds
  Test Name                         Raw       Processed     Evaluation
  BCFN(2+0,13-2,T)                  R>+99999  p = 0           FAIL !!!!!!!!
  [Low1/8]DC6-9x1Bytes-1            R<-99999  p = 0           FAIL !!!!!!!!

"""


def test_what_practrand_says_is_read():
    """Its words about a linear congruential generator."""
    read_lengths = runpy.run_path(str(TOOLS / "battery.py"))["read_lengths"]
    assert list(read_lengths(RNG_TEST.splitlines())) == [
        ("24", 120, []),
        ("25", 130, ["TMFn(2+0):wl: p~= 2e-94 FAIL !!!!!", "[Low8/32]Gap-16:A: p =1-7.6e-9 VERY SUSPICIOUS"]),
        ("25.585", 2, ["BCFN(2+0,13-2,T): p = 0 FAIL !!!!!!!!", "[Low1/8]DC6-9x1Bytes-1: p = 0 FAIL !!!!!!!!"]),
    ]


def test_bytes_are_the_words_of_the_streams(battery):
    """What PractRand is given, against words() of the tensors that take turns."""
    _, program = battery
    for stream in ("one", "names"):
        with subprocess.Popen([program, "bytes", "0", stream, "words", "7"], stdout=subprocess.PIPE) as made:
            given = np.frombuffer(made.stdout.read(4 * 2500), "<u4")
            made.stdout.close()
        if stream == "one":
            expected = winit.words(7, "weight", 0, 2500)
        else:
            turns = [winit.words(7, f"layer.{i}", 0, 3) for i in range(1000)]
            expected = np.stack(turns, axis=1).ravel()[:2500]
        assert (given == expected).all(), stream


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
