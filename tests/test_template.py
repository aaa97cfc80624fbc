"""Plans with parameters: what a TOML document with [parameters] may say, and what is wrong with others."""

from __future__ import annotations

import pytest

import winit
from winit import Axes, Param, Plan


def document(tensors: str, parameters: str = "", head: str = "", rules: str = "") -> str:
    return f"{head}\n[parameters]\n{parameters}\n[tensors]\n{tensors}\n{rules}"


def shapes(text: str, **given) -> dict[str, tuple[int, ...]]:
    return {name: param.shape for name, param in Plan.from_toml(text, given).items()}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("n", 6),
        ("3 * n", 18),
        ("n + 2 - 1", 7),
        ("n // 4", 1),
        ("-(-n // 4)", 2),
        ("n % 4", 2),
        ("depths[n - 5]", 5),
        ("len(depths)", 3),
        ("(n + 63) // 64 * 64", 64),
        (" n ", 6),
    ],
)
def test_shapes_are_integer_arithmetic(expression, value):
    found = shapes(document(f"w = {{ shape = ['{expression}', 2], scheme = 'ones()' }}", "n = 6\ndepths = [4, 5, 6]"))
    assert found == {"w": (value, 2)}
    assert type(found["w"][0]) is int


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        ("n / 2", r"^w: shape\[0\] 'n / 2' is 3\.0, not an integer \(// divides integers\)$"),
        ("sqrt(n * n)", r"^w: shape\[0\] 'sqrt\(n \* n\)' is 6\.0, not an integer"),
        ("rate", r"^w: shape\[0\] 'rate' is 0\.5, not an integer"),
        ("n > 2", r"^w: shape\[0\] 'n > 2' is True, not an integer$"),
        ("depths", r"^w: shape\[0\] 'depths' is \[4, 5, 6\], not an integer$"),
        ("m", r"^w: shape\[0\] 'm': 'm' is not known; there are: n, rate, flag, depths$"),
        ("n // 0", r"^w: shape\[0\] 'n // 0': division by zero$"),
        ("n // 2.0", r"^w: shape\[0\] 'n // 2\.0': 2\.0 is not an integer, which //, %, indices"),
        ("flag + 1", r"^w: shape\[0\] 'flag \+ 1': True is not a number$"),
        ("depths[3]", r"^w: shape\[0\] 'depths\[3\]': index 3 is outside a list of 3$"),
        ("depths[-1]", r"^w: shape\[0\] 'depths\[-1\]': index -1 is outside a list of 3$"),
        ("n[0]", r"^w: shape\[0\] 'n\[0\]': 6 is not a list$"),
        ("len(n)", r"^w: shape\[0\] 'len\(n\)': 6 is not a list$"),
        ("n +", r"^w: shape\[0\] 'n \+' is not an expression$"),
        ("2 ** 9999", r"^w: shape\[0\] '2 \*\* 9999': \*\* makes a number that is too large$"),
        ("n if n else 2", r"^w: shape\[0\] 'n if n else 2': 6 is neither true nor false$"),
        ("min()", r"^w: .*an expression is made of numbers"),
        ("round(n, 1)", r"^w: .*an expression is made of numbers"),
        ("__import__(0)", r"^w: .*an expression is made of numbers"),
        ("n.real", r"^w: .*an expression is made of numbers"),
        ("depths[0:1]", r"^w: .*an expression is made of numbers"),
        ("[n for n in depths]", r"^w: .*an expression is made of numbers"),
        ("0 - n", r"^w: shape must not hold negative sizes: \(-6, 2\)$"),
    ],
)
def test_shapes_refuse(expression, match):
    parameters = "n = 6\nrate = 0.5\nflag = true\ndepths = [4, 5, 6]"
    with pytest.raises(ValueError, match=match) as caught:
        shapes(document(f"w = {{ shape = ['{expression}', 2], scheme = 'ones()' }}", parameters))
    assert "\n" not in str(caught.value)


def test_shape_of_another_kind():
    with pytest.raises(ValueError, match=r"^w: shape must hold integers, not 1\.5$"):
        shapes(document("w = { shape = [1.5], scheme = 'ones()' }"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("h.{0..n-1}.w", ["h.0.w", "h.1.w"]),
        ("h.{i=0..n-1}.w", ["h.0.w", "h.1.w"]),
        ("h.{ i = 1 .. n }.w", ["h.1.w", "h.2.w"]),
        ("h.{n..n}", ["h.2"]),
        ("h.{n}", ["h.2"]),
        ("h.{n-1}.{n+1}", ["h.1.3"]),
        ("{q,k, v}_proj", ["q_proj", "k_proj", "v_proj"]),
        ("{i=0..1}.{j=0..i}.{a,b}", ["0.0.a", "0.0.b", "1.0.a", "1.0.b", "1.1.a", "1.1.b"]),
        ("{s=0..1}.{0..depths[s]-1}", ["0.0", "1.0", "1.1", "1.2"]),
        ("{i=0..1}.{i}", ["0.0", "1.1"]),
        ("h.{0..-1}", []),
        ("h.{n..n-1}.w", []),
        ("{{n}}.{{0..n}}.{n}", ["{n}.{0..n}.2"]),
    ],
)
def test_patterns(pattern, names):
    text = document(f"'{pattern}' = {{ shape = [1], scheme = 'ones()' }}", "n = 2\ndepths = [1, 3]")
    plan = Plan.from_toml(text)
    assert list(plan) == names
    assert Plan.from_toml(plan.to_toml()) == plan


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        ("h.{3..n-1}", r"^h\.\{3\.\.n-1\}: the range \{3\.\.n-1\} runs backwards, from 3 to 1$"),
        ("h.{0..m}", r"^h\..*: \{0\.\.m\} 'm': 'm' is not known; there are: n$"),
        ("h.{0..n / 2}", r"^h\..*: \{0\.\.n / 2\} 'n / 2' is 1\.0, not an integer"),
        ("h.{0..}", r"^h\..*: \{0\.\.\} '' is not an expression$"),
        ("h.{n=0..1}", r"^h\..*: the range \{n=0\.\.1\} takes a name that stands for something else already$"),
        ("{i=0..1}{i=0..1}", r": the range \{i=0\.\.1\} takes a name that stands for something else"),
        ("{len=0..1}", r": range 'len' must be a name other than Python's keywords and round, .*, len, linspace, inf$"),
        ("h.{0..n", r"^h\..*: has a brace without its partner"),
        ("h.n}", r"^h\..*: has a brace without its partner"),
        ("{0..10000000}", r"makes more than a million names$"),
        ("{0..999}.{0..999}.{0..1}", r"makes more than a million names$"),
        ("h.{i=0..1}.{0}", None),
        ("h.{a,a}", r"^h\.\{a,a\}: h\.a is named twice$"),
    ],
)
def test_patterns_refused(pattern, match):
    text = document(f"'{pattern}' = {{ shape = [1], scheme = 'ones()' }}", "n = 2")
    if match is None:
        assert list(Plan.from_toml(text)) == ["h.0.0", "h.1.0"]
        return
    with pytest.raises(ValueError, match=match):
        Plan.from_toml(text)


@pytest.mark.parametrize("index", ["i", "normal", "constant", "torch", "Axes"])
def test_the_index_of_a_range_may_be_called_what_a_scheme_is(index):
    """The text of a scheme is the same for every tensor of the range, and its law is not."""
    tensors = f"""'h.{{{index}=0..2}}' = {{ shape = [1], scheme = 'constant({index})' }}
'g.{{{index}=0..2}}.{{e=3..4}}' = {{ shape = ['{index} + 1'], scheme = 'normal(std={index} + e)' }}
'k.{{0..1}}' = {{ shape = [1] }}
'm.{{{index}=5..6}}' = {{ shape = [1] }}"""
    plan = Plan.from_toml(document(tensors, rules="[[rules]]\nmatch = '*'\nscheme = 'constant(7)'\n"))
    assert [plan[f"h.{n}"].scheme for n in range(3)] == [winit.constant(n) for n in range(3)]
    for n in range(3):
        for e in (3, 4):
            assert plan[f"g.{n}.{e}"].scheme == winit.normal(std=n + e) and plan[f"g.{n}.{e}"].shape == (n + 1,)
    assert plan["k.1"].scheme == plan["m.6"].scheme == winit.constant(7)


def test_the_index_of_a_range_in_schemes_and_rules():
    text = document(
        """
        "a.{i=0..n-1}" = { shape = [4], scheme = "normal(std=1 / (i + 1))" }
        "b.{i=0..n-1}" = { shape = [4] }
        "c" = { shape = [4] }
        """,
        "n = 2",
        rules='[[rules]]\nmatch = "b.*"\nscheme = "constant(i * n)"\n[[rules]]\nmatch = "*"\nscheme = "constant(n)"',
    )
    assert {name: param.scheme for name, param in Plan.from_toml(text).items()} == {
        "a.0": winit.normal(std=1.0),
        "a.1": winit.normal(std=0.5),
        "b.0": winit.constant(0),
        "b.1": winit.constant(2),
        "c": winit.constant(2),
    }


def test_a_rule_that_needs_an_index_the_tensor_lacks():
    text = document("w = { shape = [4] }", rules='[[rules]]\nmatch = "*"\nscheme = "constant(i)"')
    with pytest.raises(
        ValueError, match=r"^rules\[0\] \(\*\): scheme 'constant\(i\)': 'i' is not known; there are: no names$"
    ):
        Plan.from_toml(text)


def test_rules_are_checked_whether_or_not_they_match():
    text = document(
        "'{i=0..1}.w' = { shape = [4], scheme = 'ones()' }",
        "n = 2",
        rules="[[rules]]\nmatch = 'x'\noptional = true\nscheme = 'SCHEME'",
    )
    Plan.from_toml(text.replace("SCHEME", "constant(i)"))
    with pytest.raises(ValueError, match=r"^rules\[0\] \(x\): scheme 'normal\(std=-n\)': std must not be negative"):
        Plan.from_toml(text.replace("SCHEME", "normal(std=-n)"))


def test_a_pattern_that_matches_no_name_is_an_error():
    tensors = "'{i=0..1}.weight' = { shape = [4] }\n'{i=0..1}.bias' = { shape = [4] }"
    everything = "[[rules]]\nmatch = '*'\nscheme = 'zeros()'\n"
    rule = "[[rules]]\nmatch = '*.bais'\nscheme = 'ones()'\n"
    with pytest.raises(
        ValueError, match=r"^the pattern '\*\.bais' matches no name; the nearest are '0\.bias', '1\.bias'"
    ):
        Plan.from_toml(document(tensors, rules=everything + rule))
    for allowed in ("optional = true", "when = 'n < 0'"):
        plan = Plan.from_toml(document(tensors, "n = 1", rules=rule + allowed + "\n" + everything))
        assert {param.scheme for param in plan.values()} == {winit.zeros()}
    with pytest.raises(ValueError, match="matches no name"):
        Plan.from_toml(document(tensors, "n = 1", rules=f"{rule}when = 'n > 0'\n{everything}"))


def test_conditions():
    text = document(
        """
        a = { shape = [1], when = "n > 1 and not flag" }
        b = { shape = [1], when = "n == 1 or flag" }
        "c.{i=0..3}" = { shape = [1], when = "i % 2 == (n - 1) % 2" }
        "d" = { shape = [1], when = "1 <= n < 3" }
        """,
        "n = 2\nflag = false",
        rules="[[rules]]\nmatch='*'\nwhen='flag'\nscheme='ones()'\n[[rules]]\nmatch='*'\nscheme='zeros()'",
    )
    assert list(Plan.from_toml(text)) == ["a", "c.1", "c.3", "d"]
    assert list(Plan.from_toml(text, {"n": 3})) == ["a", "c.0", "c.2"]
    flagged = Plan.from_toml(text, {"flag": True})
    assert list(flagged) == ["b", "c.1", "c.3", "d"]
    assert {param.scheme for param in flagged.values()} == {winit.ones()}
    assert {param.scheme for param in Plan.from_toml(text).values()} == {winit.zeros()}


def test_conditions_stop_where_they_are_decided():
    text = document("'{i=0..2}' = { shape = [1], scheme = 'ones()', when = 'i > 0 and d[i - 1] > 1' }", "d = [1, 2]")
    assert list(Plan.from_toml(text)) == ["2"]


@pytest.mark.parametrize(
    ("when", "match"),
    [
        ("'n'", r"^w: when 'n' is 2, neither true nor false$"),
        ("'n and n'", r"^w: when 'n and n': 2 is neither true nor false$"),
        ("'not n'", r"^w: when 'not n': 2 is neither true nor false$"),
        ("'n in [1]'", r"^w: when 'n in \[1\]': an expression is made of"),
        ("'n > [1]'", r"^w: when 'n > \[1\]': \[1\] is not a number$"),
        ("true", r"^w: when must be a string, not True$"),
    ],
)
def test_conditions_refused(when, match):
    with pytest.raises(ValueError, match=match):
        Plan.from_toml(document(f"w = {{ shape = [1], scheme = 'ones()', when = {when} }}", "n = 2"))


def test_alternatives():
    text = document(
        """
        e = { shape = ["n", 2], scheme = "normal()" }
        head = [{ tied = "e", when = "tied" }, { shape = [2, "n"], scheme = "zeros()", when = "n > 1" },
                { shape = [7], scheme = "ones()" }]
        "{i=0..1}" = [{ shape = [1], scheme = "ones()", when = "i == 0" }, { shape = ["i + n"], scheme = "ones()" }]
        """,
        "n = 2\ntied = true",
    )
    assert Plan.from_toml(text)["head"] == Param((2, 2), dtype="float32", layout="oi", tied="e")
    assert Plan.from_toml(text, {"tied": False})["head"] == Param((2, 2), winit.zeros(), "float32", "oi")
    assert shapes(text, tied=False, n=1) == {"e": (1, 2), "head": (7,), "0": (1,), "1": (2,)}


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("[{ shape = [1] }, { shape = [2] }]", r"^w: what follows an alternative without 'when' is never reached$"),
        ("[{ shape = [1], when = 'true' }, 3]", r"^w: a tensor .* must be a table, not 3$"),
        ("3", r"^w: a tensor .* must be a table, not 3$"),
        ("{ shape = [1], std = 2 }", r"^w: tensor: unknown key 'std'; there are: shape, .*, tied, when$"),
        ("{ tied = 'x', shape = [1] }", r"^w: tied tensor: unknown key 'shape'; there are: tied, when$"),
    ],
)
def test_alternatives_refused(entry, match):
    with pytest.raises(ValueError, match=match):
        Plan.from_toml(document(f"w = {entry}"))


def test_keys_and_ties_use_the_names_of_ranges():
    text = document(
        """
        "h.{i=0..1}.{j=0..1}" = { shape = [1], scheme = "normal()", key = "old.{j}.{i + n}" }
        "t.{i=0..1}" = { tied = "h.{i}.{n - 1}" }
        """,
        "n = 1",
    )
    plan = Plan.from_toml(text)
    assert [plan.key(name) for name in ("h.0.0", "h.0.1", "h.1.0")] == ["old.0.1", "old.1.1", "old.0.2"]
    assert plan["t.1"].tied == "h.1.0"


@pytest.mark.parametrize(
    ("tied", "match"),
    [
        ("h.{0..1}", r": tied 'h\.\{0\.\.1\}': \{0\.\.1\} is more than one name; name the range, and write that$"),
        ("h.{j}", r": \{j\} 'j': 'j' is not known; there are: i$"),
        ("h.{i", r": has a brace without its partner"),
    ],
)
def test_ties_refused(tied, match):
    with pytest.raises(ValueError, match=match):
        Plan.from_toml(document(f"'t.{{i=0..1}}' = {{ tied = '{tied}' }}"))


def test_layouts_use_parameters():
    text = document("w = { shape = [8, 4], scheme = 'ones()', layout = 'Axes(in_=1, out=0, groups=n)' }", "n = 2")
    assert Plan.from_toml(text)["w"].layout == Axes(in_=1, out=0, groups=2)


def test_linspace():
    text = document("w = { shape = ['n'], scheme = 'literal(linspace(1, 2, n))' }", "n = 5")
    assert Plan.from_toml(text).build(seed=0)["w"].tolist() == [1, 1.25, 1.5, 1.75, 2]
    assert Plan.from_toml(text, {"n": 1}).build(seed=0)["w"].tolist() == [1]
    with pytest.raises(ValueError, match=r"linspace\(\) makes 1 to a million numbers, not 0"):
        Plan.from_toml(text, {"n": 0})


# ---- parameters

SIZES = document(
    "w = { shape = ['a', 'b'], scheme = 'constant(r)' }",
    "a = 2\nb = 'a + 1'\nr = 0.5\nflag = true\nd = [1, 2]\ne = [1.5, 2]",
)


def test_defaults_follow_what_is_above_them():
    assert shapes(SIZES) == {"w": (2, 3)}
    assert shapes(SIZES, a=5) == {"w": (5, 6)}
    assert shapes(SIZES, b=7) == {"w": (2, 7)}
    assert Plan.from_toml(SIZES, {"r": 3})["w"].scheme == winit.constant(3)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"c": 1}, ValueError, r"^unknown parameter 'c'; there are: a, b, r, flag, d, e$"),
        ({"a": 1.0}, TypeError, r"^parameter a must be an integer, not 1\.0$"),
        ({"b": "2"}, TypeError, r"^parameter b must be an integer, not '2'$"),
        ({"a": None}, TypeError, r"^parameter a must be an integer, not None$"),
        ({"r": True}, TypeError, r"^parameter r must be a number, not True$"),
        ({"r": float("inf")}, ValueError, r"^parameter r must be finite, not inf$"),
        ({"flag": 0}, TypeError, r"^parameter flag must be true or false, not 0$"),
        ({"d": [1, 2.5]}, TypeError, r"^parameter d must be an integer, not 2\.5$"),
        ({"d": "12"}, TypeError, r"^parameter d must be a list such as \[1, 2\], not '12'$"),
        ({"d": 1}, TypeError, r"^parameter d must be a list such as \[1, 2\], not 1$"),
        ({"e": [True]}, TypeError, r"^parameter e must be a number, not True$"),
    ],
)
def test_values_have_the_kind_of_their_default(given, error, match):
    with pytest.raises(error, match=match):
        Plan.from_toml(SIZES, given)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ("a = []", r"^parameter a must be a number, true, false, or a list of integers or of numbers, not \[\]$"),
        ("a = ['x']", r"^parameter a must be a number, .*, not \['x'\]$"),
        ("a = [true]", r"^parameter a must be a number, .*, not \[True\]$"),
        ("a = 1979-05-27", r"^parameter a must be a number, .*1979"),
        ("a = nan", r"^parameter a must be a number, .*, not nan$"),
        ("a = 'b'\nb = 1", r"^parameter a 'b': 'b' is not known; there are: no names$"),
        ("a = 'x y'", r"^parameter a 'x y' is not an expression$"),
        (
            '"a b" = 1',
            r"^parameter 'a b' must be a name other than Python's keywords and round, .*, len, linspace, inf$",
        ),
        ("sqrt = 1", r"^parameter 'sqrt' must be a name other than"),
        ("and = 1", r"^parameter 'and' must be a name other than"),
    ],
)
def test_parameters_refused(parameters, match):
    with pytest.raises(ValueError, match=match):
        Plan.from_toml(document("", parameters))


def test_requirements():
    text = document("", "n = 6\nm = 2", head='require = ["n % m == 0", "n > 1"]\ndescription = "x"')
    assert len(Plan.from_toml(text)) == 0
    with pytest.raises(ValueError, match=r"^needs n % m == 0, not n = 6, m = 4$"):
        Plan.from_toml(text, {"m": 4})
    for wrong in ("'n'", "[3]"):
        with pytest.raises(ValueError, match=r"^require must be an array of strings, not "):
            Plan.from_toml(document("", "n = 1", head=f"require = {wrong}"))
    with pytest.raises(ValueError, match=r"^require 'n' is 1, neither true nor false$"):
        Plan.from_toml(document("", "n = 1", head="require = ['n']"))


def test_documents_without_parameters_have_an_empty_table_of_them():
    entry = "'h.{i=0..1}.{a,b}' = { shape = ['2 ** i', 3], scheme = 'constant(i if i > 0 else 7)', when = '1 > 0' }"
    plan = Plan.from_toml(f"[tensors]\n{entry}")
    assert plan == Plan.from_toml(f"[parameters]\n[tensors]\n{entry}")
    assert {name: (param.shape, param.scheme.value) for name, param in plan.items()} == {
        "h.0.a": ((1, 3), 7),
        "h.0.b": ((1, 3), 7),
        "h.1.a": ((2, 3), 1),
        "h.1.b": ((2, 3), 1),
    }
    with pytest.raises(ValueError, match=r"^unknown parameter 'n'; there are: none$"):
        Plan.from_toml("", {"n": 1})
    with pytest.raises(ValueError, match=r"^parameters must be a table, not 3$"):
        Plan.from_toml("parameters = 3")
