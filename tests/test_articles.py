"""The verdicts of docs/articles.md, at smaller sizes; and its tables, which are what examples/articles.py prints.

All seeds are fixed and every number has the same bits everywhere, so that no test here has a chance of failing; margins
say how far the verdicts are from turning.
"""

import importlib
import itertools
import math
import re
import sys
from pathlib import Path

import pytest

import winit
from winit.lab import digits

pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "articles.md"
QUICK = ("symmetry", "calibration", "vanishing")


@pytest.fixture(autouse=True)
def _fixed_sums():
    if winit.engines()["cython"]["in_use"] is None:
        pytest.skip("the other engines multiply by BLAS, whose sums have orders of their own")


@pytest.fixture(scope="module")
def articles():
    sys.path.insert(0, str(ROOT / "examples"))  # processes that are started by the example find it there too
    yield importlib.import_module("articles")
    sys.path.remove(str(ROOT / "examples"))


@pytest.fixture(scope="module")
def bench(articles):
    return articles.Bench(digits(), seeds=3, steps=150)


def by(table, *names):
    """Rows by what their first columns say."""
    return {tuple(row[name] for name in names): row for row in table}


def on_the_page(name):
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"<!-- table {name} -->\n```text\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("name", QUICK)
def test_quick_tables_are_the_printed_ones(articles, name, capsys):
    articles.main(["--only", name])
    assert on_the_page(name) == [capsys.readouterr().out]


@pytest.mark.slow
def test_tables_are_the_printed_ones(articles, capsys):
    articles.main([])
    printed = capsys.readouterr().out.split("\n\n")
    assert len(printed) == len(articles.CLAIMS)
    for name, table in zip(articles.CLAIMS, printed, strict=True):
        assert on_the_page(name) == [table.rstrip("\n") + "\n"], name


def test_every_table_is_on_the_page(articles):
    assert sorted(re.findall(r"<!-- table (\w+) -->", PAGE.read_text(encoding="utf-8"))) == sorted(articles.CLAIMS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--seeds", "1"], "--seeds must be at least 2"), (["--only", "horoscope"], "invalid choice: 'horoscope'")],
)
def test_wrong_command_lines(articles, arguments, words, capsys):
    with pytest.raises(SystemExit):
        articles.main(arguments)
    assert words in capsys.readouterr().err


def test_pairs_by_hand(articles):
    """Differences 1, 2, 3: mean 2, std 1, standard error 1 / sqrt(3)."""
    difference, errors = articles.paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert difference == 2 and errors == pytest.approx(2 * math.sqrt(3))
    assert articles.paired([1.0, 1.0], [1.0, 1.0]) == (0, 0)
    assert articles.paired([1.0, 1.0], [2.0, 2.0]) == (-1, -math.inf)


# ---- verdicts


def test_equal_weights_make_equal_units(articles, bench):
    for row in articles.symmetric(bench):
        assert row["formula_apart"] < 1e-14
        equal = row["scheme"] != "normal 0.5" and row["layer"] < 3
        expected = 1 if equal else row["units"]
        assert row["outputs_after"] == row["gradients_after"] == expected


def test_scale_decides_in_deep_networks(articles, bench):
    table = by(articles.accuracies(bench, schemes=("zeros", "normal 0.01", "xavier_normal")), "depth", "scheme")
    for f in ("tanh", "relu"):
        assert table[2, "normal 0.01"][f] > 0.95 and table[2, "xavier_normal"][f] > 0.95 > 0.3 > table[2, "zeros"][f]
        assert table[8, "xavier_normal"][f] > 0.9 and max(table[8, "normal 0.01"][f], table[8, "zeros"][f]) < 0.15
    assert table[8, "xavier_normal"]["sigmoid"] < 0.15


def test_small_numbers_do_in_two_layers(articles, bench):
    table = by(articles.small(bench, depths=(2, 5)), "activation", "depth")
    assert table["tanh", 2]["small"] > 0.96 and abs(table["tanh", 2]["difference"]) < 0.01
    assert table["sigmoid", 2]["small"] > 0.9
    assert table["tanh", 5]["small"] < 0.15 and table["tanh", 5]["xavier"] > 0.95


def test_smaller_is_not_better(articles, bench):
    table = by(articles.smaller(bench), "depth", "std")
    steps = [table[2, std]["steps"] for std in (0.1, 0.01, 1e-3, 1e-4, 1e-5)]
    assert all(15 < after - before < 30 for before, after in itertools.pairwise(steps))
    assert table[2, 1.0]["accuracy"] < table[2, 0.1]["accuracy"] - 0.03
    assert all(table[4, std]["reached"] == 0 for std in (0.01, 1e-3, 1e-4, 1e-5)) and table[4, 0.1]["reached"] == 3


def test_normal_or_uniform_makes_little_difference(articles, bench):
    for row in articles.laws(bench):
        if row["normal"] > 0.9:
            assert abs(row["difference"]) < 0.015, row


def test_the_root_of_n_is_faster(articles, bench):
    table = by(articles.speed(bench), "activation", "depth")
    for f in ("tanh", "relu"):
        assert table[f, 2]["lecun"] < 0.6 * table[f, 2]["small"] and table[f, 3]["lecun"] < 0.4 * table[f, 3]["small"]
        assert table[f, 5]["lecun_reached"] == 3 and table[f, 5]["small_reached"] == 0


def test_sparse_weights_need_their_scale(articles, bench):
    table = by(articles.sparse(bench), "activation", "depth", "scheme")
    for f in ("tanh", "relu"):
        assert table[f, 2, "sparse(10), std 0.01"]["accuracy"] > 0.95 > table[f, 8, "sparse(10), std 0.01"]["accuracy"]
        for depth in (2, 8):
            assert abs(table[f, depth, "sparse(10), std 0.316"]["difference"]) < 0.03
    assert table["tanh", 8, "sparse(10), std 0.316"]["accuracy"] > 0.95


def test_gains_belong_to_activations(articles, bench):
    more = bench._replace(steps=300, seeds=2)
    table = by(articles.gains(more, settings=((4, 0.05),)), "activation", "scheme")
    sigmoid = [table["sigmoid", name]["accuracy"] for name in ("xavier", "he", "xavier, gain 4")]
    assert sigmoid[0] < sigmoid[1] - 0.02 and sigmoid[1] < sigmoid[2] - 0.005
    for f in ("tanh", "relu"):
        assert all(table[f, name]["accuracy"] > 0.96 for name in ("lecun", "xavier", "he", "orthogonal"))
    deep = by(articles.gains(more, activations=("relu",), settings=((16, 0.05), (16, 0.005))), "rate", "scheme")
    assert deep[0.005, "he"]["accuracy"] > 0.85 > 0.5 > deep[0.005, "xavier"]["accuracy"]
    assert deep[0.05, "he"]["accuracy"] < 0.5


def test_biases_make_no_difference(articles, bench):
    table = by(articles.biases(bench, depths=(2, 4)), "scheme", "depth")
    assert all(abs(row["difference"]) < 0.01 for row in table.values())
    assert by(articles.biases(bench._replace(steps=10), depths=(8,)), "scheme")["0.01",]["dead_some"] == 0


def test_signs_are_half_with_tanh(articles, bench):
    table = by(articles.signs(bench), "activation", "scheme", "inputs", "layer")
    # 3 seeds of 4,096 or 640 weights: a share's std is 0.0045 or 0.0114.
    assert all(abs(row["after"] - 0.5) < 0.03 for key, row in table.items() if key[0] == "tanh")
    assert table["relu", "0.01", "standardised", 2]["after"] < 0.4
    pixels, standardised = (table["relu", "0.01", inputs, 1]["after"] for inputs in ("pixels 0..1", "standardised"))
    assert pixels > 0.51 and standardised < 0.49


def test_pretrained_starts_help_where_tasks_are_alike(articles, bench):
    table = by(articles.transfer(bench), "task", "samples")
    assert table["with noise", 20]["difference"] > 0.15 and table["with noise", 50]["difference"] > 0.1
    assert abs(table["0-4, then 5-9", 50]["difference"]) < 0.06
    assert abs(table["shifted by a pixel", 600]["difference"]) < 0.03


def test_schemes_have_their_own_learning_rates(articles, bench):
    table = by(articles.rates(bench._replace(steps=300, seeds=2)), "scheme")
    assert table["1.0",]["rate 0.0001"] > 0.7 > 0.3 > table["1.0",]["rate 0.001"]
    assert table["he",]["rate 0.01"] > 0.93 > 0.5 > table["he",]["rate 0.0001"]
    assert table["0.05",]["rate 0.1"] > 0.93 > 0.5 > table["0.05",]["rate 0.01"]
    assert max(value for name, value in table["0.01",].items() if name.startswith("rate")) < 0.15


def test_regularisation_depends_on_the_start(articles, bench):
    table = by(articles.regularisers(bench._replace(steps=300, seeds=2)), "scheme", "regularisation")
    l2 = [table[name, "l2 0.01"]["difference"] for name in ("xavier", "he", "0.3")]
    assert l2[2] > 0.05 > l2[1] > 0.02 and l2[0] > 0.005
    assert table["0.01", "l2 0.1"]["accuracy"] < 0.15 < 0.7 < table["0.3", "l2 0.1"]["accuracy"]
    assert table["0.01", "l2sp 0.01"]["difference"] > 0.01 and table["0.3", "l2sp 0.01"]["difference"] < -0.04


def test_calibration_holds_for_the_mean_of_the_first_layer(articles, bench):
    table = by(articles.calibrated(bench), "inputs", "activation", "layer")
    for inputs in ("normal", "digits"):
        first = table[inputs, "tanh", 1]
        # Of 64 units' variances the mean strays by about sqrt(2 / 64^2) = 0.02 with independent inputs.
        assert abs(first["variance"] - 1) < 0.1 and first["least"] < 0.7 and first["largest"] > 1.3
        assert table[inputs, "tanh", 10]["variance"] < 0.1 and table[inputs, "relu", 10]["variance"] < 0.01


def test_signals_vanish_and_explode(articles, bench):
    table = by(articles.vanishing(bench), "activation", "scheme")
    assert {f: table[f, "0.01"]["verdict"] for f in ("tanh", "relu")} == dict.fromkeys(("tanh", "relu"), "vanishing")
    assert {f: table[f, "1.0"]["verdict"] for f in ("tanh", "relu")} == dict.fromkeys(("tanh", "relu"), "exploding")
    assert table["relu", "he"]["verdict"] == table["tanh", "1/sqrt(n)"]["verdict"] == "healthy"
