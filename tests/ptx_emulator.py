"""Run a kernel's PTX without a device: one program at a time, all its threads side by side in NumPy.

What Triton makes of a kernel is text: instructions over registers, which are arrays here, of one entry a thread. Every
instruction is one NumPy operation, rounded as PTX defines it (".rn"); those that PTX leaves inexact (".approx") or that
are not known are errors, so that no kernel passes that has them. Threads of a program take branches together.

Source: the PTX ISA, version 9.0 (NVIDIA).
"""

from __future__ import annotations

import re
import struct
import sys

import ml_dtypes
import numpy as np

WIDTH = re.compile(r"[busf](\d+)$")


def _width(kind):
    return 1 if kind == "pred" else int(WIDTH.match(kind).group(1))


def _number(bits, kind):
    """Bits of registers, as numbers of a type."""
    if kind == "pred":
        return bits.astype(bool)
    width = _width(kind)
    words = bits.astype(f"u{width // 8}")
    return words if kind[0] in "bu" else words.view(f"{'i' if kind[0] == 's' else 'f'}{width // 8}")


def _bits(numbers, kind):
    """Numbers of a type, as bits of registers."""
    if kind == "pred":
        return numbers.astype(np.uint64)
    width = _width(kind)
    if kind[0] == "f":
        return numbers.astype(f"f{width // 8}", copy=False).view(f"u{width // 8}").astype(np.uint64)
    return numbers.astype(np.int64, casting="unsafe").view(np.uint64) & np.uint64((1 << width) - 1)


COMPARE = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal}
COMPARE |= {"ne": np.not_equal, "ltu": lambda a, b: ~(a >= b), "geu": lambda a, b: ~(a < b)}
COMPARE |= {"gtu": lambda a, b: ~(a <= b), "leu": lambda a, b: ~(a > b)}
PLAIN = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and, "or": np.bitwise_or}
PLAIN |= {"xor": np.bitwise_xor, "min": np.minimum, "max": np.maximum, "neg": np.negative, "abs": np.abs}
NAN = np.uint32(0x7FFFFFFF).view(np.float32)
NARROW = {"f16": (np.float16, 1), "f16x2": (np.float16, 2)}
NARROW |= {"bf16": (ml_dtypes.bfloat16, 1), "bf16x2": (ml_dtypes.bfloat16, 2)}
PLAIN |= {"sqrt": np.sqrt, "not": np.invert}


class Program:
    """Instructions of a kernel's PTX: of its one entry."""

    def __init__(self, ptx):
        body = ptx[ptx.index("\n{") :]
        self.threads = int(re.search(r"\.reqntid (\d+)", ptx).group(1))
        self.parameters = re.findall(r"\.param \.(\w+).*?(\w+_param_\d+)", ptx[: len(ptx) - len(body)])
        self.lines, self.labels = [], {}
        for line in body.split("\n"):
            line = re.sub(r"//.*", "", line).strip()
            if line.startswith(".section"):
                break
            label = re.fullmatch(r"(\$\w+):", line)
            if label:
                self.labels[label.group(1)] = len(self.lines)
            elif line and line[0] not in ".{}":
                found = re.fullmatch(r"(?:@(!?)(%p\d+)\s+)?([\w.:]+)\s*(.*?);", line)
                assert found, line
                sign, guard, name, operands = found.groups()
                parts = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", operands)
                self.lines.append((guard, sign == "!", name.split("."), parts))

    def run(self, program_id, arguments, memory, base):
        """Run one program: arguments as a kernel takes them, memory an array of bytes that begins at address `base`."""
        assert len(arguments) <= len(self.parameters)
        given = {}
        assert sys.byteorder == "little"
        for (kind, name), value in zip(self.parameters, arguments, strict=False):
            packed = struct.pack("<d", value) if kind == "f64" else (int(value) & (1 << 64) - 1).to_bytes(8, "little")
            given[name] = int.from_bytes(packed, "little")
        every = np.ones(self.threads, bool)
        state = {"%tid.x": np.arange(self.threads, dtype=np.uint64)}
        state["%ctaid.x"] = np.full(self.threads, program_id, np.uint64)
        state["global_smem"] = np.zeros(self.threads, np.uint64)
        shared = np.zeros(1 << 18, np.uint8)
        at = 0
        with np.errstate(all="ignore"):
            while True:
                guard, negated, name, operands = self.lines[at]
                at += 1
                active = every if guard is None else state[guard].astype(bool) ^ negated
                if name[0] in ("bra", "ret"):
                    assert active.all() or not active.any(), "threads of a program part"
                    if active.all():
                        if name[0] == "ret":
                            return
                        at = self.labels[operands[0]]
                elif name[0] in ("ld", "st"):
                    self._move(name, operands, state, active, given, (memory, base), (shared, 0))
                elif name[0] == "shfl":
                    self._shuffle(name, operands, state, active)
                elif name[0] == "stmatrix":
                    self._store_matrices(name, operands, state, active, shared)
                elif name[0] != "bar":
                    self._compute(name, operands, state, active)

    def _value(self, text, state):
        if text in state:
            return state[text]
        exact = text[:2] in ("0f", "0d")  # a floating-point number, by its bits
        number = int(text[2:], 16) if exact else int(text.rstrip("U"), 0) & (1 << 64) - 1
        return np.full(self.threads, number, np.uint64)

    def _set(self, state, register, bits, active):
        old = state.get(register)
        state[register] = bits if old is None or active.all() else np.where(active, bits, old)

    def _move(self, name, operands, state, active, given, outside, shared):
        loads = name[0] == "ld"
        registers, address = operands if loads else operands[::-1]
        names = registers.strip("{} ").replace(" ", "").split(",")
        place = address.strip("[] ").replace(" ", "").split("+")
        kind, width = name[-1], _width(name[-1]) // 8
        if name[1] == "param":
            bits = np.full(self.threads, given[place[0]] & (1 << 8 * width) - 1, np.uint64)
            if kind[0] == "s":  # into a register of 64 bits
                bits = _number(bits, kind).astype(np.int64).view(np.uint64)
            self._set(state, names[0], bits, active)
            return
        buffer, base = outside if name[1] == "global" else shared
        first = self._value(place[0], state).astype(np.int64) + (int(place[1]) if len(place) > 1 else 0) - base
        for j, register in enumerate(names):
            where = (first + j * width)[active, None] + np.arange(width)
            assert where.size == 0 or (where.min() >= 0 and where.max() < buffer.size), "outside of memory"
            if loads:
                bits = np.zeros(self.threads, np.uint64)
                bits[active] = np.ascontiguousarray(buffer[where]).view(f"<u{width}").ravel()
                self._set(state, register, bits, active)
            else:
                words = _number(self._value(register, state), f"u{8 * width}")[active]
                buffer[where] = words.view(np.uint8).reshape(-1, width)

    def _shuffle(self, name, operands, state, active):
        """Each thread's word from another thread of its warp of 32."""
        to, source, lane, clamp, members = operands
        assert name[1:3] == ["sync", "idx"] and (clamp, members) == ("31", "-1") and active.all(), operands
        thread = np.arange(self.threads)
        chosen = thread // 32 * 32 + (self._value(lane, state).astype(np.int64) & 31)
        self._set(state, to, self._value(source, state)[chosen], active)

    def _store_matrices(self, name, operands, state, active, shared):
        """Four matrices of 8 rows of 16 bytes: a row's address is of one thread, its words of four."""
        assert name[3:5] == ["m8n8", "x4"] and active.all(), name
        place, registers = operands
        names = place.strip("[] ").replace(" ", "").split("+")
        address = self._value(names[0], state).astype(np.int64) + (int(names[1]) if len(names) > 1 else 0)
        lane, warp = np.arange(self.threads) % 32, np.arange(self.threads) // 32 * 32
        for j, register in enumerate(registers.strip("{} ").replace(" ", "").split(",")):
            where = address[warp + 8 * j + lane // 4] + 4 * (lane % 4)
            words = self._value(register, state).astype("<u4")
            shared[where[:, None] + np.arange(4)] = words.view(np.uint8).reshape(-1, 4)

    def _compute(self, name, operands, state, active):
        kind = name[-1]
        assert not {"approx", "full", "sat"} & set(name), ".".join(name)
        op = name[0]
        if op == "mov" and "{" in operands[0] + operands[1]:
            self._pack(operands, state, active, _width(kind))
            return
        to, *given = operands
        values = [self._value(text, state) for text in given]
        if "ftz" in name:  # Triton 3.5's square root, which would take a subnormal number for 0
            assert op == "sqrt" and not (np.abs(_number(values[0], kind)) < 2.0**-126).any(), ".".join(name)
        if op == "cvt" and name[-2] in NARROW:
            narrow, halves = NARROW[name[-2]]
            assert name[1:-2] == ["rn"] and name[-1] == "f32" and len(values) == halves, ".".join(name)
            words = [_number(value, "f32").astype(narrow).view(np.uint16).astype(np.uint64) for value in values]
            result = words[0] if halves == 1 else words[0] << np.uint64(16) | words[1]  # the first is the upper half
            kind = f"b{16 * halves}"
        elif op == "cvt":
            kind, source = name[-2:]
            assert kind[0] != "f" or "rn" in name or (kind, source) == ("f64", "f32"), ".".join(name)
            result = _number(values[0], source)
        elif kind == "f32x2":  # two numbers in a register of 64 bits
            assert "rn" in name and op in ("add", "sub", "mul"), ".".join(name)
            halves = [value.view(np.float32).reshape(-1, 2) for value in values]
            result, kind = PLAIN[op](*halves).view(np.uint64).ravel(), "b64"
        elif op == "setp":
            result = COMPARE[name[1]](*(_number(value, kind) for value in values))
            kind = "pred"
        elif op == "selp":
            result = np.where(values[2].astype(bool), *(_number(value, kind) for value in values[:2]))
        elif op in ("shl", "shr"):
            number, by = _number(values[0], kind), _number(values[1], "u32")
            width = _width(kind)
            result = np.left_shift(number, by % width) if op == "shl" else np.right_shift(number, by % width)
            beyond = 0 if op == "shl" or kind[0] != "s" else np.where(number < 0, -1, 0)
            result = np.where(by >= width, beyond, result)
        elif op in ("mul", "mad") and name[1] in ("wide", "hi", "lo"):
            result, kind = self._product(name[1], kind, values)
        elif op == "bfe":
            begin, length = _number(values[1], "u32") & 255, _number(values[2], "u32") & 255
            assert kind[1:] == "32" and ((begin + length <= 32) & (length > 0)).all()
            number = _number(values[0], "s32").astype(np.int64) << (32 + 32 - begin - length).astype(np.int64)
            number = number if kind[0] == "s" else number.view(np.uint64)
            result = number >> (64 - length).astype(number.dtype)
        elif op == "prmt":
            eight = (values[0] & np.uint64(0xFFFFFFFF)) | values[1] << np.uint64(32)
            result = np.zeros(self.threads, np.uint64)
            for j in range(4):
                chosen = values[2] >> np.uint64(4 * j) & np.uint64(15)
                assert (chosen < 8).all()
                result |= (eight >> np.uint64(8) * chosen & np.uint64(255)) << np.uint64(8 * j)
        elif op in ("div", "rem") and kind[0] in "su":
            a, b = (_number(value, kind).astype(np.int64) for value in values)
            quotient = np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)  # towards zero
            result = quotient if op == "div" else a - quotient * b
        elif op == "div":
            assert "rn" in name
            result = np.divide(*(_number(value, kind) for value in values))
        elif op == "mov":
            result = _number(values[0], kind)
        else:
            assert kind[0] != "f" or op in ("neg", "abs", "mov") or "rn" in name, ".".join(name)
            assert kind[0] != "f" or op not in ("min", "max"), ".".join(name)
            result = PLAIN[op](*(_number(value, kind) for value in values))
        if kind == "f32" and op not in ("neg", "abs", "mov", "selp") and np.isnan(result).any():
            result = np.where(np.isnan(result), NAN, result)  # of float32, NVIDIA's instructions give one NaN
        self._set(state, to, _bits(result, kind), active)

    def _product(self, part, kind, values):
        width = _width(kind)
        a, b = (_number(value, kind) for value in values[:2])
        wide = f"{kind[0]}{2 * width}" if part == "wide" else kind
        if width == 64:
            result = a * b
        else:
            product = a.astype(f"{'i' if kind[0] == 's' else 'u'}8") * b
            result = product >> product.dtype.type(width) if part == "hi" else product
        if len(values) > 2:
            result = result.astype(np.int64).view(np.uint64) + values[2]
        return result, wide

    def _pack(self, operands, state, active, width):
        to, source = operands
        if "{" in source:
            names = source.strip("{} ").replace(" ", "").split(",")
            each = np.uint64(width // len(names))
            bits = np.zeros(self.threads, np.uint64)
            for j, name in enumerate(names):
                given = self._value(name if name in state else "0xDEAD", state)  # a half that nobody reads may be unset
                bits |= (given & np.uint64((1 << int(each)) - 1)) << each * np.uint64(j)
            self._set(state, to, bits, active)
            return
        names = to.strip("{} ").replace(" ", "").split(",")
        each = np.uint64(width // len(names))
        for j, name in enumerate(names):
            bits = self._value(source, state) >> each * np.uint64(j) & np.uint64((1 << int(each)) - 1)
            self._set(state, name, bits, active)
