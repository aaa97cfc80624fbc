"""winit.BitGenerator: the words of a stream through every door that NumPy's bit generators have."""

import concurrent.futures
import copy
import ctypes
import gc
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.stats import qmc

import winit

NAMED = {"seed": 7, "name": "numpy"}
ENDS = 2**64  # words of a stream


def generator(position=0):
    bits = winit.BitGenerator(**NAMED)
    bits.state = at(bits, position=position)
    return bits


def at(bits, **change):
    """The state of a bit generator elsewhere."""
    return {**bits.state, "state": {**bits.state["state"], **change}}


def words(lo, hi):
    """Words lo..hi as Python's integers, counted modulo 2^64."""
    parts = [(lo, min(hi, ENDS)), (0, max(hi - ENDS, 0))]
    return [int(word) for first, last in parts if first < last for word in winit.words(**NAMED, lo=first, hi=last)]


def pairs(position, count):
    given = words(position, position + 2 * count)
    return [low | high << 32 for low, high in zip(given[::2], given[1::2], strict=True)]


# ---- the stream


@given(st.integers(0, ENDS - 1), st.lists(st.sampled_from([32, 64]), min_size=1, max_size=700))
@example(0, [64] * 400)
@example(1, [64] * 400)
@example(2**34 - 255, [32, 64] * 300)
@example(ENDS - 3, [64, 32, 64, 64])
def test_draws_are_the_words_in_order(position, draws):
    bits = generator(position)
    interface = bits.ctypes
    got = [(interface.next_uint32 if size == 32 else interface.next_uint64)(interface.state) for size in draws]
    expected, given = [], iter(words(position, position + sum(draws) // 32))
    for size in draws:
        low = next(given)
        expected.append(low if size == 32 else low | next(given) << 32)
    assert got == expected
    assert bits.state["state"]["position"] == (position + sum(draws) // 32) % ENDS


def test_raw_draws_and_doubles():
    assert generator().random_raw(1000).tolist() == pairs(0, 1000)
    bits = generator(3)
    interface = bits.ctypes
    assert [interface.next_double(interface.state) for _ in range(500)] == [(k >> 11) / 2**53 for k in pairs(3, 500)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_is_uniform_of_draw(dtype):
    got = np.random.Generator(generator()).random(10_001, dtype=dtype)
    assert (got == winit.draw(winit.uniform(), 10_001, **NAMED, dtype=dtype)).all()


def test_another_seed_or_name_is_another_stream():
    first = [int(winit.BitGenerator(seed, name).random_raw()) for seed in (0, 1) for name in ("", "w", "ẅ")]
    assert len(set(first)) == 6
    assert first[0] == (1776054751 << 32 | 1052217790)  # docs/streams.md
    assert int(winit.BitGenerator(0).random_raw()) == first[0]


# ---- places


@given(st.integers(0, ENDS - 1), st.integers(-(2**70), 2**70), st.integers(0, 400))
@example(0, -1, 3)
@example(5, 2**63, 3)
def test_advance_is_that_many_draws(position, delta, before):
    bits = generator(position)
    bits.random_raw(before, output=False)
    assert bits.advance(delta) is bits
    there = (position + 2 * before + 2 * delta) % ENDS
    assert bits.state["state"]["position"] == there
    assert int(bits.random_raw()) == pairs(there, 1)[0]


def test_advance_skips_what_would_be_drawn():
    drawn, advanced = generator(1), generator(1)
    drawn.random_raw(12_345, output=False)
    assert drawn.state == advanced.advance(12_345).state
    assert drawn.random_raw(9).tolist() == advanced.random_raw(9).tolist()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda bits: pickle.loads(pickle.dumps(bits))])
def test_copies_go_on_from_the_same_place(again):
    bits = winit.BitGenerator(2**64 - 1, "naïve")
    rng = np.random.Generator(bits)
    rng.standard_normal(333)
    other = again(bits)
    assert type(other) is winit.BitGenerator and other.state == bits.state
    assert other.random_raw(300).tolist() == bits.random_raw(300).tolist()
    other.advance(1)
    assert other.state != bits.state  # and are on their own
    again_rng = copy.deepcopy(rng) if again is copy.copy else again(rng)  # a shallow copy shares the bit generator
    assert again_rng.bit_generator.state == bits.state
    assert (again_rng.gamma(2.0, size=99) == rng.gamma(2.0, size=99)).all()


def test_a_state_brings_back_the_place():
    bits = generator()
    np.random.Generator(bits).integers(0, 1000, 77, dtype=np.uint32)
    state = bits.state
    position = state["state"]["position"]
    assert state == {"bit_generator": "BitGenerator", "state": {**NAMED, "position": position}} and position >= 77
    expected = bits.random_raw(500).tolist()
    other = winit.BitGenerator(0)
    other.state = state
    assert other.random_raw(500).tolist() == expected and repr(other) == "winit.BitGenerator(7, 'numpy')"


def test_addresses_outlive_a_change_of_state():
    bits = generator()
    interface, rng = bits.ctypes, np.random.Generator(bits)
    bits.state = at(bits, position=41)
    assert interface.next_uint64(interface.state) == pairs(41, 1)[0]
    assert rng.random() == (pairs(43, 1)[0] >> 11) / 2**53


def test_addresses_outlive_another_init():
    bits = winit.BitGenerator(0)
    interface, rng = bits.ctypes, np.random.Generator(bits)
    rng.random(3)
    bits.__init__(**NAMED)
    gc.collect()
    noise = [winit.BitGenerator(1, str(i)) for i in range(50)]  # what would lie where a freed stream lay
    assert interface.next_uint64(interface.state) == pairs(0, 1)[0]
    assert rng.random() == (pairs(2, 1)[0] >> 11) / 2**53
    assert len(noise) == 50


# ---- other people's code


def test_generators_and_scipy_draw_from_it():
    """Kolmogorov's D at n = 10^6 exceeds 0.0027 on a correct sampler with chance 2 exp(-2 n D^2) = 9e-7."""
    rng = np.random.Generator(generator())
    assert stats.kstest(rng.standard_normal(10**6), stats.norm.cdf).statistic < 0.0027
    assert stats.kstest(rng.standard_exponential(10**6), stats.expon.cdf).statistic < 0.0027
    beta = stats.beta(2.0, 5.0)
    assert stats.kstest(beta.rvs(10**6, random_state=rng), beta.cdf).statistic < 0.0027
    assert sorted(rng.permutation(1000)) == list(range(1000))


def test_legacy_random_state_draws_from_it():
    legacy = np.random.RandomState(generator())
    assert (legacy.random_sample(9) == np.random.Generator(generator()).random(9)).all()
    legacy.standard_normal()
    again = pickle.loads(pickle.dumps(legacy))
    assert (again.standard_normal(9) == legacy.standard_normal(9)).all()


def test_cffi():
    pytest.importorskip("cffi")
    bits = generator()
    interface = bits.cffi
    assert [interface.next_uint64(interface.state) for _ in range(5)] == pairs(0, 5)
    assert interface.next_double(interface.state) == (pairs(10, 1)[0] >> 11) / 2**53


def test_ctypes_interface_inside_numba():
    njit = pytest.importorskip("numba").njit
    bits = generator()
    next_double, state = bits.ctypes.next_double, bits.ctypes.state_address

    @njit
    def mean(n, state):
        total = 0.0
        for _ in range(n):
            total += next_double(state)
        return total / n

    assert mean(1000, ctypes.c_void_p(state).value) == sum((k >> 11) / 2**53 for k in pairs(0, 1000)) / 1000


def test_the_capsule_is_numpys():
    class Bitgen(ctypes.Structure):
        _fields_ = [("state", ctypes.c_void_p)] + [
            (name, ctypes.CFUNCTYPE(kind, ctypes.c_void_p))
            for name, kind in (
                ("next_uint64", ctypes.c_uint64),
                ("next_uint32", ctypes.c_uint32),
                ("next_double", ctypes.c_double),
                ("next_raw", ctypes.c_uint64),
            )
        ]

    bits = generator()
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    bitgen = Bitgen.from_address(get(bits.capsule, b"BitGenerator"))
    assert bitgen.next_uint32(bitgen.state) == words(0, 1)[0]
    assert bitgen.next_raw(bitgen.state) == pairs(1, 1)[0]
    assert bitgen.next_uint64(bitgen.state) == pairs(3, 1)[0]
    assert bitgen.next_double(bitgen.state) == (pairs(5, 1)[0] >> 11) / 2**53


def test_a_generator_keeps_its_stream_alive():
    rng = np.random.Generator(generator())
    gc.collect()
    noise = [np.full(400, -1, np.int32) for _ in range(1000)]  # what would lie where a freed stream lay
    assert (rng.random(1000) == winit.draw(winit.uniform(), 1000, **NAMED, dtype="float64")).all()
    assert len(noise) == 1000


def test_one_generator_and_many_threads():
    rng = np.random.Generator(generator())
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: rng.random(501), range(200)))
    assert sorted(np.concatenate(parts)) == sorted(winit.draw(winit.uniform(), 200 * 501, **NAMED, dtype="float64"))


# ---- sequences of seeds, and children


@pytest.mark.parametrize("name", ["", "w"])
@pytest.mark.parametrize("sequence", [(5,), (0,), (2**200,), ([1, 2, 3], (4, 5))], ids=str)
def test_a_sequence_stands_for_a_seed(sequence, name):
    made = np.random.SeedSequence(*sequence[:1], spawn_key=(sequence[1:] or ((),))[0])
    bits = winit.BitGenerator(made, name)
    low, high = (int(word) for word in made.generate_state(2, np.uint32))
    assert bits.state["state"] == {"seed": low | high << 32, "name": name, "position": 0}
    assert repr(bits) == f"winit.BitGenerator({low | high << 32}, {name!r})"
    own = winit._core.keys.stream_key(low | high << 32, name)
    assert bits.seed_seq is made if name == "" else bits.seed_seq.entropy == own
    assert bits._seed_seq is bits.seed_seq  # NumPy's name for it before it was public
    same = winit.draw(winit.uniform(), 99, seed=low | high << 32, name=name, dtype="float64")
    assert (np.random.Generator(bits).random(99) == same).all()


def test_what_a_sequence_gives_is_frozen():
    """docs/streams.md: a word of a sequence's state as the seed, a key's two words as the entropy of children."""
    assert winit.BitGenerator(np.random.SeedSequence(5)).state["state"]["seed"] == 12631478326263854183
    bits = winit.BitGenerator(0, "w")
    assert bits.seed_seq.entropy == winit._core.keys.stream_key(0, "w") == (1016155470, 3311402690)
    seeds = [child.state["state"]["seed"] for child in bits.spawn(3)]
    assert seeds == [15765935122151207607, 8098024634791820224, 1833610632850949850]


def test_children_are_streams_of_their_own():
    bits = winit.BitGenerator(**NAMED)
    first = bits.spawn(3)
    more = bits.spawn(2)
    grandchildren = [grandchild for child in first for grandchild in child.spawn(2)]
    every = [bits, *first, *more, *grandchildren]
    assert all(type(each) is winit.BitGenerator for each in every)
    assert len({repr(each) for each in every}) == len(every)
    assert len({int(each.random_raw()) for each in every}) == len(every)
    again = winit.BitGenerator(**NAMED)
    assert list(map(repr, again.spawn(5))) == list(map(repr, first + more))
    assert again.state["state"]["position"] == 0 and bits.spawn(0) == []
    generators = np.random.Generator(winit.BitGenerator(**NAMED)).spawn(2)
    assert [repr(each.bit_generator) for each in generators] == list(map(repr, first[:2]))
    # One word of each of 10,000 children: their mean in standard errors, chance 1e-9.
    u = [child.random_raw() / 2**64 for child in winit.BitGenerator(**NAMED).spawn(10_000)]
    assert abs(np.mean(u) - 0.5) < 6.2 / math.sqrt(12 * len(u))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda bits: pickle.loads(pickle.dumps(bits))])
def test_copies_spawn_the_next_children(again):
    sequence = np.random.SeedSequence(9)
    for bits in (winit.BitGenerator(**NAMED), winit.BitGenerator(sequence), winit.BitGenerator(sequence, "w")):
        bits.spawn(2)
        bits.random_raw(5)
        other = again(bits)
        assert other.state == bits.state and other.seed_seq is not bits.seed_seq
        assert other.seed_seq.n_children_spawned == 2
        assert list(map(repr, other.spawn(2))) == list(map(repr, bits.spawn(2)))
        assert other.random_raw(9).tolist() == bits.random_raw(9).tolist()


def test_a_sequence_that_does_not_spawn():
    class Fixed(np.random.bit_generator.ISeedSequence):
        def generate_state(self, n_words, dtype=np.uint32):
            return np.full(n_words, 3, dtype)

    bits = winit.BitGenerator(Fixed())
    assert int(bits.random_raw()) == int(winit.BitGenerator(3).random_raw())
    with pytest.raises(TypeError, match="does not implement spawning"):
        bits.spawn(1)
    assert repr(winit.BitGenerator(Fixed(), "w").spawn(1)) == repr(winit.BitGenerator(3, "w").spawn(1))


@pytest.mark.parametrize(
    "engine", [qmc.Sobol, qmc.Halton, qmc.LatinHypercube, qmc.PoissonDisk], ids=lambda e: e.__name__
)
def test_scipys_quasi_monte_carlo(engine):
    def points(name="search"):
        return engine(2, rng=np.random.Generator(winit.BitGenerator(3, name)))

    first = points()
    drawn = first.random(8)
    assert ((drawn >= 0) & (drawn < 1)).all() and drawn.shape == (8, 2)
    assert (points().random(8) == drawn).all()
    assert (points("another").random(8) != drawn).any()
    assert (first.reset().random(8) == drawn).all()
    if engine in (qmc.Sobol, qmc.Halton):  # whose points are a sequence
        first.reset().random(4)
        assert (first.random(4) == drawn[4:]).all()


def test_the_seed_keyword_of_scipys_engines():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy calls it rng by now
        one, other = (qmc.Sobol(2, seed=np.random.Generator(winit.BitGenerator(3))).random(4) for _ in range(2))
    assert (one == other).all()
    normals = qmc.MultivariateNormalQMC([0, 0], rng=np.random.Generator(winit.BitGenerator(3))).random(4)
    assert np.isfinite(normals).all()


@pytest.mark.parametrize("init", ["sobol", "halton", "latinhypercube", "random"])
def test_scipys_differential_evolution(init):
    def found(name="search"):
        rng = np.random.Generator(winit.BitGenerator(3, name))
        bounds = [(0, 2)] * 2
        return optimize.differential_evolution(optimize.rosen, bounds, rng=rng, init=init, maxiter=30, polish=False)

    first, other = found(), found("another")
    assert (found().x == first.x).all() and found().nfev == first.nfev
    assert (other.x != first.x).any()
    assert np.abs(first.x - 1).max() < 0.2


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((-1,), ValueError, r"seed must be in \[0, 2\^64\), not -1"),
        ((1 << 64,), ValueError, "seed must be"),
        ((1.0,), TypeError, "seed must be an integer, not float"),
        ((0, b"w"), TypeError, "name must be a str, not bytes"),
        ((None,), TypeError, "seed must be an integer, not NoneType"),
    ],
)
def test_seeds_and_names_that_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=message):
        winit.BitGenerator(*arguments)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda bits: None, TypeError, "state must be a dict, not NoneType"),
        (lambda bits: at(bits, position=-1), ValueError, r"position must be in \[0, 2\^64\), not -1"),
        (lambda bits: at(bits, position=1 << 64), ValueError, "position must be"),
        (lambda bits: at(bits, position=1.5), TypeError, "position must be an integer, not float"),
        (lambda bits: at(bits, seed=-1), ValueError, "seed must be"),
        (lambda bits: at(bits, inc=3), ValueError, "state must be that of a BitGenerator"),
        (
            lambda bits: np.random.PCG64(0).state,
            ValueError,
            "state must be that of a BitGenerator, not {'bit_generator",
        ),
        (lambda bits: {"bit_generator": "BitGenerator"}, ValueError, "state must be that of a BitGenerator"),
    ],
)
def test_states_that_are_refused(change, kind, message):
    bits = generator(11)
    before = bits.state
    with pytest.raises(kind, match=message):
        bits.state = change(bits)
    assert bits.state == before and int(bits.random_raw()) == pairs(11, 1)[0]


def test_steps_that_are_refused():
    bits = generator()
    with pytest.raises(TypeError, match="delta must be an integer, not float"):
        bits.advance(2.0)
    for count, kind in ((2.0, TypeError), (True, TypeError), (None, TypeError), (-1, ValueError)):
        with pytest.raises(kind, match="n_children must"):
            bits.spawn(count)
    assert bits.seed_seq.n_children_spawned == 0
    assert bits.state["state"]["position"] == 0
