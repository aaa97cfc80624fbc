"""What was drawn before changes nothing: no cache may take two schemes for one whose bits differ.

0.0 and -0.0, 1 and True and 1.0 are equal in Python, and caches go by equality. Every scheme of tests/records.py is
drawn with many such numbers in the place of its own, in many orders: in this process, whose caches are emptied in
between, and in processes of their own.
"""

import enum
import functools
import gc
import hashlib
import importlib
import itertools
import json
import math
import os
import pickle
import pkgutil
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import RECORDS

import winit
from winit import Axes, Param, Plan, Rule
from winit._core import exact, portable
from winit._core.records import Record

NUMBERS = (0.0, -0.0, 0, 1, 1.0, True, False, -1, -1.0, 2, 2.0, 0.5, -0.5, 3, 3.0, None)
WINDOWS = ((-0.0, 1.0, 1.0), (0.0, 1.0, 1.0), (0, 1, True), (1.0, -0.0, 0.0), (1.0, 0.0, -0.0), (1, 1, 1))
DTYPES = ("float32", "float64", "bfloat16", "int8", "bool")


def jobs(seed):
    """Schemes and where they are drawn: the table's, with other numbers in the place of theirs."""
    choose = random.Random(seed)
    found = []
    for _, scheme, places in RECORDS:
        shape, layout = places[0]
        fields = dict(zip(type(scheme)._fields, scheme._values(), strict=True))
        variants = [fields]
        for _ in range(12):
            drawn = {name: choose.choice((value, *NUMBERS)) for name, value in fields.items()}
            variants.append({**fields, **drawn})
        variants += [{**fields, name: number} for name in fields for number in (0.0, -0.0, 1, 1.0, True)]
        found += [(type(scheme), each, shape, layout) for each in variants]
    for window, scaling in itertools.product(WINDOWS, ("density", "spectrum", None)):
        found.append((winit.stft, {"window": window, "scaling": scaling}, (5, 1, 3), "oi"))
    found += [(winit.constant, {"value": value}, (3,), "oi") for value in NUMBERS]
    for values in itertools.product((0.0, -0.0, 0, 1, 1.0, True), repeat=2):
        found.append((winit.literal, {"values": list(values)}, (2,), "oi"))
    for inner in (winit.constant(0.0), winit.constant(-0.0), winit.constant(0), winit.identity(-0.0), winit.identity()):
        for layout in (
            "oi",
            "io",
            Axes(0, 1),
            Axes(1, 0),
            Axes(-1, 0),
            Axes(1, 0, splits=(1, 1)),
            Axes(1, 0, splits=2),
        ):
            found.append((winit.with_layout, {"scheme": inner, "layout": layout}, (2, 2), "oi"))
            found.append((lambda scheme: scheme, {"scheme": inner}, (2, 2), layout))
    return found


def drawn(job):
    """All that is made of a job, as text: bits in every dtype, what adding gives, reprs, moments; or the error."""
    make, fields, shape, layout = job
    try:
        scheme = make(**fields)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    said = [repr(scheme)]
    for dtype in DTYPES:
        try:
            values = winit.draw(scheme, shape, seed=3, name="order", dtype=dtype, layout=layout)
            said.append(hashlib.sha256(np.ascontiguousarray(values).view(np.uint8).tobytes()).hexdigest()[:16])
            said.append(Plan({"w": Param(shape, scheme, dtype, layout)}).digest[:8])
            out = np.full(shape, -0.0, np.float32)
            winit.add(out, scheme, seed=3, name="order", layout=layout, scale=0.5)
            said.append(hashlib.sha256(out.tobytes()).hexdigest()[:16])
        except (TypeError, ValueError) as error:
            said.append(f"{type(error).__name__}: {error}")
    try:
        said.append(repr(scheme.moments(shape, layout)))
    except (TypeError, ValueError) as error:
        said.append(f"{type(error).__name__}: {error}")
    return " | ".join(said)


def main(seed, order):
    """Draw a seed's jobs in an order, and print what each gave."""
    listed = jobs(seed)
    places = list(range(len(listed)))
    random.Random(order // 2).shuffle(places)
    if order % 2:  # the order of the number before, from its end: of any two jobs each is once the first
        places.reverse()
    found = {}
    for place in places:
        found[place] = drawn(listed[place])
    print(json.dumps([found[place] for place in range(len(listed))]))


def caches():
    """Every cache of a function of winit's."""
    for module in pkgutil.walk_packages(winit.__path__, "winit."):
        if module.name != "winit.__main__":
            try:
                importlib.import_module(module.name)
            except ImportError:
                continue
    kind = type(functools.lru_cache(len))
    return [each for each in gc.get_objects() if type(each) is kind and each.__module__.startswith("winit.")]


CACHES = caches()


def test_there_are_caches():
    assert {each.__name__ for each in CACHES} >= {"_law_of", "_fans", "_literal_values", "truncated_masses", "cosines"}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_orders_in_processes_of_their_own(seed):
    def run(order):
        command = [sys.executable, __file__, str(seed), str(order)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": "0"})

    running = [run(order) for order in (2 * seed, 2 * seed + 1)]
    first, second = (json.loads(each.communicate()[0]) for each in running)
    assert len(first) > 1000
    different = [(job, a, b) for job, a, b in zip(jobs(seed), first, second, strict=True) if a != b]
    assert not different, different[0]


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_orders_in_this_process(choose, seed):
    some = choose.sample(jobs(seed), 40)
    some += [some[0], (winit.stft, {"window": (0.0, 1.0, 1.0)}, (5, 1, 3), "oi")]
    some += [(winit.stft, {"window": (-0.0, 1.0, 1.0)}, (5, 1, 3), "oi")]
    choose.shuffle(some)
    forwards = [drawn(job) for job in some]
    for cache in CACHES:
        cache.cache_clear()
    backwards = [drawn(job) for job in reversed(some)]
    assert forwards == backwards[::-1]


def test_a_window_of_minus_zero_after_one_of_zero():
    """The case that showed it: equality told -0.0 from 0.0 at the top level of a record alone."""
    place = {"shape": (3, 1, 3), "seed": 0}
    bits = {}
    for first in (0.0, -0.0, 0.0):
        made = winit.draw(winit.stft(window=(first, 1.0, 1.0)), **place)
        assert bits.setdefault(math.copysign(1, first), made.tobytes()) == made.tobytes()
    assert len(set(bits.values())) == 2


@pytest.mark.parametrize("function", [exact.truncated_masses, exact.truncated_moments])
@pytest.mark.parametrize("other", [-3.0, -0.5, 1e-12, 0.5, 7.0, 40.0])
def test_caches_of_numbers_do_not_tell_zeros_apart(function, other):
    """They are keyed by floats, among which 0.0 and -0.0 are one key: so one result must do for both."""
    rest = (24,) if function is exact.truncated_masses else ()

    def results(zero):
        function.cache_clear()
        ends = sorted([zero, other])
        return repr(function(*ends, *rest))

    assert results(0.0) == results(-0.0)
    assert repr(exact.normal_cdf.__wrapped__(0.0)) == repr(exact.normal_cdf.__wrapped__(-0.0))
    assert repr(exact.exponential.__wrapped__(0.0)) == repr(exact.exponential.__wrapped__(-0.0))


# ---- what equality goes by


class Word(str):
    """A str that prints otherwise."""

    __slots__ = ()

    def __repr__(self):
        return f"Word({str.__repr__(self)})"


class Number(float):
    """A float that prints otherwise."""

    __slots__ = ()

    def __repr__(self):
        return "Number()"


class Count(enum.IntEnum):
    """Integers that print otherwise."""

    TWO = 2


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        (lambda: winit.constant(Number(-0.0)), "constant(value=-0.0)"),
        (lambda: winit.constant(np.float64(-0.0)), "constant(value=-0.0)"),
        (lambda: winit.constant(Count.TWO), "constant(value=2)"),
        (lambda: winit.uniform(Number(-0.5), np.float32(0.5)), "uniform(low=-0.5, high=0.5)"),
        (lambda: winit.he_normal(mode=np.str_("fan_out")), "he_normal(mode='fan_out')"),
        (lambda: winit.he_normal(nonlinearity=Word("selu")), "he_normal(nonlinearity='selu')"),
        (lambda: winit.variance_scaling(1, Word("fan_avg")), "variance_scaling(mode='fan_avg')"),
        (lambda: winit.sparse(Count.TWO), "sparse(k=2)"),
        (lambda: winit.stft(Word("imag"), Word("hamming")), "stft(side='imag', window='hamming')"),
        (lambda: winit.stft(window=(Number(-0.0), Count.TWO)), "stft(window=(-0.0, 2.0))"),
        (lambda: winit.looks_linear(mirror=Word("in")), "looks_linear(mirror='in')"),
        (
            lambda: winit.with_layout(winit.zeros(), Word("io")),
            "with_layout(scheme=zeros(), layout='io')",
        ),
        (lambda: Axes(Count.TWO, np.int64(0), splits=(Count.TWO, 1)), "Axes(in_=2, out=0, splits=(2, 1))"),
        (lambda: Axes(1, 0, groups=2, groups_along=Word("in")), "Axes(in_=1, out=0, groups=2, groups_along='in')"),
        (
            lambda: Param(2, winit.zeros(), Word("float16"), Word("io"), key=Word("k")),
            "Param(shape=(2,), scheme=zeros(), dtype='float16', layout='io', key='k')",
        ),
        (
            lambda: Rule(Word("*"), winit.zeros(), Word("io"), Word("float16")),
            "Rule(match='*', scheme=zeros(), layout='io', dtype='float16', optional=False)",
        ),
        (lambda: list(Plan([(Word("w"), (2,))], [("*", winit.zeros())])), "['w']"),
    ],
)
def test_subclasses_of_numbers_and_text_are_what_they_hold(odd, plain):
    made = odd()
    assert repr(made) == plain
    again = eval(plain, {**vars(winit)})
    assert made == again
    assert pickle.dumps(made) == pickle.dumps(again)


@given(st.integers(0, 3), st.integers(0, 3))
def test_records_are_equal_exactly_where_they_print_alike(first, second):
    made = []
    for make, fields, *_ in (*jobs(first)[::7], *jobs(second)[::5]):
        try:
            made.append(make(**fields))
        except (TypeError, ValueError):
            continue
    by_repr, by_record = {}, {}
    for scheme in made:
        assert isinstance(scheme, Record)
        assert by_repr.setdefault(repr(scheme), scheme) == scheme
        assert by_record.setdefault(scheme, repr(scheme)) == repr(scheme)
    assert len(by_repr) == len(by_record)


@pytest.mark.parametrize("what", ["scheme", "param", "rule", "plan", "axes"])
def test_what_differs_in_bits_is_not_equal(what):
    def around(scheme):
        param = Param((2, 1, 3), scheme)
        return {
            "scheme": scheme,
            "param": param,
            "rule": Rule("*", scheme),
            "plan": Plan({"w": param}),
            "axes": winit.with_layout(scheme, Axes(1, 0)),
        }[what]

    pairs = [
        (winit.constant(0.0), winit.constant(-0.0)),
        (winit.constant(1), winit.constant(True)),
        (winit.constant(1), winit.constant(1.0)),
        (winit.stft(window=(0.0, 1.0, 1.0)), winit.stft(window=(-0.0, 1.0, 1.0))),
        (winit.literal([[[0.0] * 3]] * 2), winit.literal([[[-0.0] * 3]] * 2)),
        (winit.literal([[[1] * 3]] * 2), winit.literal([[[True] * 3]] * 2)),
        (winit.normal(0.0), winit.normal(-0.0)),
        (winit.with_layout(winit.constant(0.0), "oi"), winit.with_layout(winit.constant(-0.0), "oi")),
    ]
    for one, other in pairs:
        made = around(one), around(other)
        assert made[0] != made[1]
        assert len(set(made)) == 2
        assert made[0] == around(one)
        assert hash(made[0]) == hash(around(one))
    if what == "plan":
        for one, other in pairs:
            assert around(one).digest != around(other).digest


def test_arrays_given_are_copied_and_cannot_be_changed_afterwards():
    values = np.arange(4.0)
    scheme = winit.literal(values)
    before = winit.draw(scheme, 4, seed=0)
    values[:] = 9
    assert (winit.draw(scheme, 4, seed=0) == before).all()
    assert scheme == winit.literal(np.arange(4.0))
    with pytest.raises(ValueError, match="read-only|WRITEABLE"):
        scheme.values.flags.writeable = True
    drawn_array = winit.draw(scheme, 4, seed=0, dtype="float64")
    drawn_array[:] = 7
    assert (winit.draw(scheme, 4, seed=0) == before).all()
    window = [0.0, 1.0, 1.0]
    scheme = winit.stft(window=window)
    window[0] = 5.0
    assert scheme == winit.stft(window=(0.0, 1.0, 1.0))
    assert not portable.cosines(6).flags.writeable


def test_a_float_mode_of_the_process_is_not_remembered():
    """Numbers of a law are worked out in the default mode, whatever was set when the law was first met."""
    tiny = float(np.float32(1e-45))
    first = winit.draw(winit.normal(std=tiny), 64, seed=0).tobytes()
    for cache in CACHES:
        cache.cache_clear()
    with np.errstate(all="raise"):
        assert winit.draw(winit.normal(std=tiny), 64, seed=0).tobytes() == first


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
