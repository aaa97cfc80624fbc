"""The compiled kernels on another processor: tests/kernels.c, cross-compiled and emulated, gives the engine's bits.

The same program, compiled for this machine, holds the program itself to the engine.
"""

import ast
import hashlib
import json
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_embedding_headers import need

import winit
from winit._core.keys import stream_key
from winit._core.laws import Constant, Normal, TruncatedNormal, Uniform
from winit._kernels import DTYPES
from winit._kernels.activation_rows import BIT, INPUT, TABLE

sample = pytest.importorskip("winit._kernels.sample")
dense = pytest.importorskip("winit._kernels.dense")

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "src" / "winit" / "_kernels"
KEY = stream_key(2026, "elsewhere")
STORE, STREAM, ADD = range(3)
WORDS = ("uint32", "uint64", "uint16", "uint16", "uint8", "uint8")
SIZES = [np.dtype(word).itemsize for word in WORDS]
REALS = ("float32", "float64")
ACTIVATIONS = list(TABLE)
PARAMS = {"leaky_relu": -0.3, "elu": 0.7}
BASELINE = "baseline"


class Command(NamedTuple):
    """What the program is told, the bytes it works on, and what the engine makes of them: name -> bytes."""

    text: str
    data: bytes
    expected: dict


def setting(name):
    """A list or tuple that setup.py sets: the flags and instruction sets of the extensions."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise KeyError(name)


def text(*values):
    return " ".join(float(v).hex() if isinstance(v, float) else str(v) for v in values)


def padded(params):
    return [*map(float, params), *[0.0] * (9 - len(params))]


# ---- sampling --------------------------------------------------------------------------------------------------------


def fill(law, dtype, mode, lo, count, stride=1, shift=0, key=KEY):
    """A fill between guards, of finite numbers: every byte but the values must stay as it is."""
    code, row, size = DTYPES.index(dtype), law.bind_row, SIZES[DTYPES.index(dtype)]
    params = law.law.params("float32" if mode == ADD and size < 4 else dtype)
    span = abs(stride) * max(count - 1, 0) + 1
    before = (np.arange((span + 2) * size + shift, dtype=np.uint32) * 2654435761 >> 28).astype(np.uint8) | 0x30
    after = before.copy()
    inside = after[shift : shift + (span + 2) * size].view(WORDS[code])[1:-1]
    dest = inside[::stride][:count]
    scale = -0.37 if mode == ADD else 0.0
    widest = sample.instruction_sets()[-1]
    sample.Fill(widest, row, code, key, params, dest, lo, (1,), scale if mode == ADD else None).run(0, count)
    at = shift + size * (1 if stride > 0 else span)
    numbers = (row, code, mode, lo, count, at, stride * size, before.size, *key, scale, *padded(params))
    return Command(text("fill", *numbers), before.tobytes(), {"fill": after.tobytes()})


class Drawn(NamedTuple):
    bind_row: int
    law: object


LAWS = [
    Drawn(0, Constant(0.1)),
    Drawn(1, Uniform(-0.3, 0.7)),
    Drawn(2, Normal(0.1, 2.0)),
    Drawn(3, TruncatedNormal(0.0, 0.02, -3.0, 2.0)),
    Drawn(3, TruncatedNormal(0.0, 1.0, 4.0, 11.0)),
    Drawn(3, TruncatedNormal(-0.5, 1.0, -11.0, -4.0)),
]
STARTS = [
    (0, 2100),
    (1, 33),
    (2, 6),
    (3, 1),
    (5, 256),
    (7, 2049),
    (2**34 - 77, 300),
    (2**33 - 30, 67),
    (2**62 + 3, 515),
]


def fills():
    for law in LAWS:
        for dtype in DTYPES:
            for lo, count in STARTS:
                yield fill(law, dtype, STORE, lo, count)
            for lo, count in ((3, 2051), (2**34 - 9, 21)):
                yield fill(law, dtype, ADD, lo, count)
                yield fill(law, dtype, STORE, lo, count, stride=3)
                yield fill(law, dtype, ADD, lo, count, stride=-2)
            for shift in (0, 8, 24):
                yield fill(law, dtype, STREAM, 5, 9001, shift=shift)
    tiny = Drawn(2, Normal(0.0, 1e-40))  # subnormal values, which no mode flushes
    yield from (fill(tiny, dtype, mode, 1, 99) for dtype in DTYPES for mode in (STORE, ADD))


def words():
    for tag in (0, 1):
        for lo, count in [*STARTS, (2**35 - 3, 5000)]:
            made = np.zeros(count, np.uint32)
            sample.words(BASELINE, KEY, tag, lo, made)
            yield Command(text("words", tag, lo, count, *KEY), b"", {"words": made.tobytes()})


def connections():
    for code, word in enumerate(WORDS):
        for keep, unit_axis, adding in ((5, 0, 0), (5, 1, 1), (41, 0, 1), (300, 1, 0)):
            shape = (60, 310) if unit_axis == 0 else (310, 60)
            scale = -0.37 if adding else None
            lo, count = 1003, 9000
            before = np.full(shape, 0x3131313131313131 & np.iinfo(word).max, word)
            after = before.copy()
            units = tuple(axis == unit_axis for axis in range(2))
            numbers = (KEY, (0.1, 0.5), shape, units, keep, after, (0, 0), scale)
            drawn = sample.Sparse(BASELINE, code, *numbers)
            if not adding:  # the engine clears what it then writes to
                before.reshape(-1)[lo : lo + count] = 0
            drawn.run(lo, lo + count)
            told = text("sparse_write", code, *KEY, 0.1, 0.5, *shape, unit_axis, keep, adding, scale or 0.0, lo, count)
            yield Command(told, before.tobytes(), {"sparse": after.tobytes()})
    for code in range(2):
        for units, inputs, keep, first, last in ((2**33, 1000, 10, 2**33 - 57, 2**33), (500, 2**20, 33, 3, 91)):
            rows = sample.Sparse(BASELINE, code, KEY, (0.1, 0.5), (units, inputs), (True, False), keep)
            places = np.zeros((last - first) * keep, np.int64)
            values = np.zeros(places.size, REALS[code])
            rows.rows(first, last, inputs, 1, places, values)
            told = text("sparse_rows", code, *KEY, 0.1, 0.5, units, inputs, keep, first, last)
            yield Command(told, b"", {"inputs": places.tobytes(), "values": values.tobytes()})


# ---- the dense pass --------------------------------------------------------------------------------------------------


def numbers(kind, *shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(kind) for shape in shapes]


def turned(array, by):
    return np.asfortranarray(array) if by else np.ascontiguousarray(array)


def ran(product):
    while product.run(1 << 40):
        pass
    return product


def product(kind, m, n, k, turns=(0, 0, 0), adding=0, threads=1, f=None, param=0.0, bias=True):
    """C = A B by the baseline build, whose multiply-add is emulated where the processor has none."""
    (a, b, before, shift), code = numbers(kind, (m, k), (k, n), (m, n), n), REALS.index(kind)
    a[m // 2] = 0  # sums that are 0, of which relu keeps no bit
    a, b, before = (turned(array, turn) for array, turn in zip((a, b, before), turns, strict=True))
    c, size = before.copy(order="K"), a.itemsize
    expected = {"c": c}
    after = {}
    if f is not None:
        after = {"activation": ACTIVATIONS.index(f), "param": param, "bias": shift[None] if bias else None}
        kept = TABLE[f].kept
        if kept == BIT:
            expected["kept"] = after["kept"] = np.zeros((m, (n + 7) // 8), np.uint8)
        elif kept == INPUT:
            expected["kept"] = after["kept"] = np.zeros((m, n), kind)
        groups = (n + 63) // 64
        expected["moments"] = after["moments"] = np.zeros((m, 2 * groups))
        after["saturated"] = 1e-3
    done = ran(dense.Product(BASELINE, a, b, c, threads, add=bool(adding), **after))
    if f is not None:
        expected["counted"] = np.array([done.zeros, done.saturations])
    streaming = int(c.size * size >= 2**22)
    activation = -1 if f is None else ACTIVATIONS.index(f)
    told = (*turns, adding, streaming, threads, activation, param)
    told = text("product", code, m, n, k, *told, int(f is not None and bias), int(f is not None), 1e-3)
    data = [a.tobytes("A"), b.tobytes("A"), before.tobytes("A"), shift.tobytes() if f is not None and bias else b""]
    return Command(told, b"".join(data), {name: array.tobytes("A") for name, array in expected.items()})


def products():
    for kind in REALS:
        for height in range(1, 15):  # every height of a tile
            yield product(kind, height, 17, 5)
        for m, n, k in ((1, 1, 1), (25, 8, 384), (37, 9, 385), (50, 130, 770), (65, 300, 401)):
            for turns in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (1, 1, 1)):
                yield product(kind, m, n, k, turns)
            yield product(kind, m, n, k, adding=1)
            yield product(kind, m, n, k, (0, 1, 0), threads=4)
        for f in ACTIVATIONS:
            yield product(kind, 13, 75, 30, f=f, param=PARAMS.get(f, 0.0))
        yield product(kind, 70, 300, 400, (0, 1, 0), f="gelu", bias=False)
        yield product(kind, 70, 300, 400, (0, 1, 1), f="relu", bias=False, threads=3)
    yield product("float32", 1030, 1040, 3)  # more than 4 MiB: past the cache where that can be


def gradients():
    for kind in REALS:
        for f in ACTIVATIONS:
            for turn, (batch, out, n) in ((0, (70, 90, 20)), (1, (70, 90, 20)), (0, (3, 400, 9))):
                grad, kept, b = numbers(kind, (batch, out), (batch, out), (batch if turn else out, n), seed=1)
                if TABLE[f].kept == BIT:
                    kept = np.packbits(kept > 0, axis=1, bitorder="little")
                code, param = ACTIVATIONS.index(f), PARAMS.get(f, 0.0)
                given = None if f == "identity" else kept
                sums = np.zeros(((batch + 63) // 64, out))
                c = np.zeros((out if turn else batch, n), kind)
                operand = dense.Gradient(BASELINE, grad, code, param, given, sums, transposed=bool(turn))
                ran(dense.Product(BASELINE, operand, b, c, 2))
                told = text("gradient", REALS.index(kind), batch, out, n, code, param, turn)
                data = grad.tobytes() + (b"" if given is None else kept.tobytes()) + b.tobytes()
                yield Command(told, data, {"c": c.tobytes(), "sums": sums.tobytes()})


def sampled():
    for code, kind in enumerate(REALS):
        for law in LAWS[1:4]:
            for turn in (0, 1):
                m, n, k = 30, 300, 400
                (a,), c = numbers(kind, (m, k), seed=2), np.zeros((m, n), kind)
                params = law.law.params(kind)
                weights = dense.Sampled(
                    BASELINE, law.bind_row, code, KEY, params, (n, k) if turn else (k, n), transposed=bool(turn)
                )
                ran(dense.Product(BASELINE, a, weights, c, 1))
                told = text("sampled", code, m, n, k, turn, law.bind_row, *KEY, *padded(params))
                yield Command(told, a.tobytes(), {"c": c.tobytes()})


def activations():
    for code, kind in enumerate(REALS):
        (x, y), special = numbers(kind, 997, 1013, seed=3), np.array([0, -0.0, np.inf, -np.inf, 1e-30, -80, 700, 45.0])
        x = np.concatenate([8 * x, special.astype(kind), 1e-3 * x])
        for number, f in enumerate(ACTIVATIONS):
            for derive in (0, 1):
                given = x[np.isfinite(x)] if derive else x[x != -np.inf]  # the sign of a NaN is the processor's
                to = np.resize(y, given.shape)
                before = to.tobytes()
                param = PARAMS.get(f, 0.0)
                dense.activate(
                    BASELINE, number, param, given.view(np.uint8), to.view(np.uint8), kind == "float64", bool(derive)
                )
                told = text("activate", code, number, param, given.size, derive)
                yield Command(told, given.tobytes() + before, {"to": to.tobytes()})


def statistics():
    for code, kind in enumerate(REALS):
        for rows, units in ((1, 1), (64, 700), (17, 33)):
            (y,) = numbers(kind, (rows, units), seed=4)
            y[rows // 2] = 0
            lengths, sums = np.zeros(rows), np.zeros((4, units))
            blank = dense.measure(BASELINE, y, 0, lengths, sums)
            expected = {"lengths": lengths, "sums": sums, "blank": np.array([blank])}
            expected = {name: array.tobytes() for name, array in expected.items()}
            yield Command(text("measure", code, rows, units), y.tobytes(), expected)


def reflections():
    for code, kind in enumerate(REALS):
        for count, length in ((1, 1), (7, 40), (65, 131)):
            v, gram = numbers(kind, (count, length), (count, count), seed=5)
            data = v.tobytes() + gram.tobytes()
            half, sign, t = np.zeros(count), np.zeros(count), np.zeros_like(gram)
            dense.reflectors(v, half, sign)
            dense.triangle(gram, half, t, np.zeros((count, count)))
            expected = {"v": v, "half": half, "sign": sign, "t": t}
            expected = {name: array.tobytes() for name, array in expected.items()}
            yield Command(text("reflect", code, count, length), data, expected)


KINDS = (fills, words, connections, products, gradients, sampled, activations, statistics, reflections)


# ---- the program -----------------------------------------------------------------------------------------------------


def build(compiler, directory, *flags):
    """The program by this compiler under the flags of the extensions, its files two at a time."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("flags of other machines are not known")
    names = ["sparse", "product", "householder"]
    names += [f"{part}_{isa}" for isa in setting("ISAS") for part in ("dense", "sample")]
    sources = [*(KERNELS / f"{name}.c" for name in names), Path(__file__).with_name("kernels.c")]

    def compile_one(source):
        to = directory / f"{source.stem}.o"
        command = [need(compiler), *setting("FLAGS"), "-Wall", "-Wextra", "-Werror", f"-I{KERNELS}"]
        subprocess.run([*command, f"-I{winit.get_include()}", *flags, "-c", str(source), "-o", str(to)], check=True)
        return str(to)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, sources))
    program = directory / "kernels"
    linked = [compiler, *flags, *objects, "-o", str(program), "-lm"]
    subprocess.run([*linked, *(["-static"] if "aarch64" in compiler else [])], check=True)
    return [str(program)]


def answers(program, commands):
    """What the program makes of each command: isa -> name -> bytes."""
    told = b"".join(f"{command.text}\n".encode() + command.data for command in commands)
    done = subprocess.run(program, input=told, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    printed, at = done.stdout, 0
    for _ in commands:
        found = {}
        while True:
            end = printed.index(b"\n", at)
            head, at = printed[at:end].decode(), end + 1
            if head == "end":
                break
            isa, name, size = head.split()
            found.setdefault(isa, {})[name] = printed[at : at + int(size)]
            at += int(size)
        yield found


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The program for aarch64, by gcc, under the emulator if need be."""
    if platform.machine() == "aarch64":
        return build("gcc", tmp_path_factory.mktemp("aarch64"))
    return [need("qemu-aarch64"), *build("aarch64-linux-gnu-gcc", tmp_path_factory.mktemp("aarch64"))]


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    return build("gcc", tmp_path_factory.mktemp("native"))


# Whose floating-point mode the door sets, and not the kernels.
AT_THE_DOOR = (connections, reflections)


@pytest.mark.parametrize("processor", ["arm", "native"])
def test_bits_are_those_of_the_engine(processor, request):
    """In the usual floating-point mode, and where the process rounds down and flushes subnormals."""
    program = request.getfixturevalue(processor)  # once a process: other processes of a test run make their own
    there = {"arm": {"baseline", "neon"}, "native": set(sample.instruction_sets())}[processor]
    for kind in KINDS:
        told = list(kind())
        for mode in ([],) if kind in AT_THE_DOOR else ([], ["flush"]):
            for command, found in zip(told, answers([*program, *mode], told), strict=True):
                assert found.keys() == ({"any"} if kind == reflections else there), command.text
                for isa, made in found.items():
                    assert made.keys() == command.expected.keys(), command.text
                    for name, wanted in command.expected.items():
                        assert made[name] == wanted, f"{isa} {mode}: {name} of {command.text}"


def test_golden_hashes_elsewhere(arm):
    """The frozen hashes of the records that are one law over one range."""
    golden = json.loads((ROOT / "tests" / "golden.json").read_text())
    records = {
        "constant": Drawn(0, Constant(0.1)),
        "uniform": Drawn(1, Uniform(-0.3, 0.7)),
        "normal": Drawn(2, Normal(0.1, 2.0)),
        "truncated_normal": Drawn(3, TruncatedNormal(0.0, 0.02, -3.0, 2.0)),
        "truncated_normal far": Drawn(3, TruncatedNormal(0.0, 1.0, 4.0, 11.0)),
        "truncated_normal wide": Drawn(3, TruncatedNormal(0.0, 1.0, -20.0, 20.0)),
    }
    told = [
        (f"{name} {dtype}", fill(law, dtype, STORE, 0, 600, key=stream_key(2026, "golden")))
        for name, law in records.items()
        for dtype in DTYPES
    ]
    key = stream_key(5, "golden")
    told += [
        (label, Command(text("words", tag, 7, 2993, *key), b"", {}))
        for tag, label in enumerate(("words", "words tag 1"))
    ]
    for (label, _), found in zip(told, answers(arm, [command for _, command in told]), strict=True):
        for isa in ("baseline", "neon"):
            (data,) = found[isa].values()
            size = SIZES[DTYPES.index(label.split()[-1])] if label.split()[-1] in DTYPES else 0
            drawn = data[size : len(data) - size]  # without the guards
            assert hashlib.sha256(drawn).hexdigest()[:32] == golden[label], (label, isa)
