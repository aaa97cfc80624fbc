"""Keys and raw words: known answers, an oracle in Python's integers, and every range of every build."""

import hashlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import winit
from winit import _kernels
from winit._core.keys import stream_key

# Random123's known answers for Philox4x32-10 (its tests/kat_vectors): counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def philox(counter, key):
    """Philox4x32-10 as the paper states it: ten rounds of a 128-bit substitution, keys bumped by Weyl constants."""
    words, keys = list(counter), list(key)
    for _ in range(10):
        left, right = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57
        words = [
            right // 2**32 ^ words[1] ^ keys[0],
            right % 2**32,
            left // 2**32 ^ words[3] ^ keys[1],
            left % 2**32,
        ]
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    return words


def word(key, tag, i):
    block = i // 4
    return philox([block % 2**32, block // 2**32, tag, 0], key)[i % 4]


def numbers(text):
    return [int(part, 16) for part in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(points, counter, key, result):
    assert philox(numbers(counter), numbers(key)) == numbers(result)
    out = points.philox(np.array([numbers(counter)], np.uint32), np.array([numbers(key)], np.uint32))
    assert out[0].tolist() == numbers(result)


def test_known_answer_of_every_build(build):
    _, engine, isa = _kernels.in_use()
    out = np.zeros(4, np.uint32)
    engine.words(isa, (0, 0), 0, 0, out)
    assert out.tolist() == numbers(KNOWN[0][2])


@given(st.integers(0, 2**64 - 1), st.text(max_size=20))
@example(0, "")
@example(2**64 - 1, "naïve.重み.weight")
def test_key_is_the_hash_of_seed_and_name(seed, name):
    digest = hashlib.blake2b(
        seed.to_bytes(8, "little") + name.encode("utf-8"), digest_size=8, person=b"winit-stream-1"
    ).digest()
    expected = tuple(int.from_bytes(digest[i : i + 4], "little") for i in (0, 4))
    assert stream_key(seed, name) == expected
    assert stream_key(np.uint64(seed), name) == expected


@given(
    seed=st.integers(0, 2**64 - 1),
    name=st.text(max_size=5),
    lo=st.one_of(
        st.integers(0, 5000),
        st.integers(2**34 - 300, 2**34 + 300),  # where blocks carry into the high counter word
        st.integers(0, 2**64 - 400),
    ),
    count=st.integers(0, 300),
    tag=st.sampled_from([0, 1, 2**32 - 1]),
)
@example(seed=0, name="", lo=2**34 - 130, count=260, tag=0)
@example(seed=1, name="x", lo=2**64 - 300, count=300, tag=0)
def test_words_against_integers(build_all, seed, name, lo, count, tag):
    key = stream_key(seed, name)
    expected = [word(key, tag, i) for i in range(lo, lo + count)]
    for build in build_all:
        with winit.use_engine(*build):
            assert winit.words(seed, name, lo, lo + count, tag).tolist() == expected


@pytest.fixture(scope="session")
def build_all():
    from conftest import BUILDS

    return BUILDS


def test_long_ranges_of_words_agree(build):
    lo, hi = 2**34 - 50_001, 2**34 + 70_003
    got = winit.words(7, "long", lo, hi)
    with winit.use_engine("reference"):
        assert (got == winit.words(7, "long", lo, hi)).all()


def test_neighbouring_streams_are_uncorrelated():
    # n = 2^20 normals a stream, 66 pairs: |r| sqrt(n) < 5.9 fails by chance for one pair in 3e8, for the test in 4e6.
    n = 1 << 20
    streams = [(seed, name) for seed in (0, 1, 2, 2**32, 2**63) for name in ("a.weight", "b.weight")]
    streams += [(0, ""), (0, "a.weight ")]
    z = np.stack([winit.draw(winit.normal(), n, seed=seed, name=name, dtype="float64") for seed, name in streams])
    r = np.corrcoef(z) - np.eye(len(z))
    assert np.abs(r).max() * np.sqrt(n) < 5.9
    lagged = [np.corrcoef(z[0, :-lag], z[0, lag:])[0, 1] for lag in (1, 2, 3, 4, 8, 64)]
    assert np.abs(lagged).max() * np.sqrt(n) < 5.9
