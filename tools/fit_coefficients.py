"""Derive every polynomial of the sampling kernels and write them for C and for Python.

    python tools/fit_coefficients.py        # needs mpmath; writes coefficients.h and coefficients.py, one minute

Polynomials are minimax (Remez exchange in 60 digits). A coefficient is rounded to the target type before the
next-higher ones are fitted, so that those absorb its rounding. The float64 quantile is a ratio of polynomials that
interpolates at Chebyshev nodes, which is within a small factor of minimax. The errors printed are those of the
approximation alone; tests/test_accuracy.py measures what the kernels make of it.

The bits of stream version 1 depend on the numbers that this wrote; running it again must change nothing.
"""

from __future__ import annotations

import functools
import pathlib
import struct

import mpmath as mp

mp.mp.dps = 60
PACKAGE = pathlib.Path(__file__).parents[1] / "src" / "winit"


def to_float32(x):
    return struct.unpack("<f", struct.pack("<f", float(x)))[0]


def remez(f, lo, hi, degree, weight, fixed=()):
    """Minimise max |weight(x) (f(x) - P(x))| over P of this degree whose low coefficients are `fixed`."""
    known, free = len(fixed), degree + 1 - len(fixed)
    if free == 0:
        return list(fixed)

    def base(x):
        return mp.polyval(list(fixed)[::-1], x) if fixed else mp.mpf(0)

    def chebyshev(count):
        return [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * k / count) for k in range(count + 1)]

    points = chebyshev(free)
    for _ in range(12):
        rows = mp.matrix(free + 1, free + 1)
        rhs = mp.matrix(free + 1, 1)
        for r, x in enumerate(points):
            for c in range(free):
                rows[r, c] = x ** (c + known)
            rows[r, free] = (-1) ** r / weight(x)
            rhs[r] = f(x) - base(x)
        solved = mp.lu_solve(rows, rhs)
        coefficients = [mp.mpf(c) for c in fixed] + [solved[i] for i in range(free)]
        levelled = abs(solved[free])

        grid = chebyshev(60 * (free + 1))
        errors = [weight(x) * (f(x) - mp.polyval(coefficients[::-1], x)) for x in grid]
        runs = [[0]]
        for i in range(1, len(grid)):
            if mp.sign(errors[i]) == mp.sign(errors[runs[-1][0]]):
                runs[-1].append(i)
            else:
                runs.append([i])
        extrema = [max(run, key=lambda i: abs(errors[i])) for run in runs]
        while len(extrema) > free + 1:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        worst = max(abs(e) for e in errors)
        if len(extrema) < free + 1 or worst < levelled * mp.mpf("1.001"):
            break
        points = [grid[i] for i in extrema]
    return coefficients


def polynomial(f, lo, hi, degree, weight, to_type, first=None):
    """Coefficients of `to_type`, lowest first, and their worst error.

    Each is rounded before the next are fitted, unless zero lies inside the interval: the powers that are left are then
    no Chebyshev system and the exchange fails.
    """
    lo, hi = mp.mpf(lo), mp.mpf(hi)
    fixed = [] if first is None else [mp.mpf(first)]
    if lo < 0 < hi:
        fixed = [mp.mpf(to_type(c)) for c in remez(f, lo, hi, degree, weight)]
    while len(fixed) <= degree:
        fixed.append(mp.mpf(to_type(remez(f, lo, hi, degree, weight, fixed)[len(fixed)])))
    grid = [lo + (hi - lo) * k / 2000 for k in range(2001)]
    worst = max(abs(weight(x) * (f(x) - mp.polyval(fixed[::-1], x))) for x in grid)
    return [float(c) for c in fixed], worst


def ratio(f, lo, hi, degree, weight):
    """Numerator and denominator (denominator[0] = 1), lowest first, of a ratio that interpolates f."""
    lo, hi = mp.mpf(lo), mp.mpf(hi)
    count = 2 * degree + 1
    rows = mp.matrix(count, count)
    rhs = mp.matrix(count, 1)
    for r in range(count):
        x = (lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * (2 * r + 1) / (2 * count))
        y = f(x)
        for i in range(degree + 1):
            rows[r, i] = x**i
        for j in range(1, degree + 1):
            rows[r, degree + j] = -y * x**j
        rhs[r] = y
    solved = mp.lu_solve(rows, rhs)
    numerator = [float(solved[i]) for i in range(degree + 1)]
    denominator = [1.0] + [float(solved[degree + j]) for j in range(1, degree + 1)]
    grid = [lo + (hi - lo) * k / 1000 for k in range(1001)]
    worst = max(
        abs(weight(x) * (f(x) - mp.polyval(numerator[::-1], x) / mp.polyval(denominator[::-1], x))) for x in grid
    )
    return numerator, denominator, worst


def neg2log_over_f(f):
    """-2 ln(1 + f) / f."""
    return mp.mpf(-2) if f == 0 else -2 * mp.log1p(f) / f


def sine_over_y(y2):
    """sin(pi/2 y) / y as a function of y squared."""
    y = mp.sqrt(y2)
    return mp.pi / 2 if y == 0 else mp.sin(mp.pi / 2 * y) / y


def cosine(y2):
    """cos(pi/2 y) as a function of y squared."""
    return mp.cos(mp.pi / 2 * mp.sqrt(y2))


@functools.cache
def upper_quantile(s):
    """z with Phi(-z) = exp(-s^2 / 2), by Newton's method on the logarithm."""
    z = s - (mp.log(s) + mp.log(2 * mp.pi) / 2) / s if s > 2 else s - mp.mpf("1.177")
    for _ in range(80):
        tail = mp.erfc(z / mp.sqrt(2)) / 2
        step = (mp.log(tail) + s * s / 2) * tail * mp.sqrt(2 * mp.pi) * mp.exp(z * z / 2)
        z += step
        if abs(step) < mp.mpf(10) ** -48:
            return z
    raise ArithmeticError(s)


MEDIAN = mp.sqrt(2 * mp.log(2))  # the s of t = 1/2
F32_SPLIT, F32_SHIFT, F32_END = 3.7, (2.4375, 8.75), 13.9
F64_SPLITS, F64_SHIFT, F64_END = (4.0, 9.0), (1.1875, 4.0, 9.0), 38.5


def main():
    tables, errors = {}, {}

    def one(x):
        return mp.mpf(1)

    for suffix, to_type, log_degree, sin_degree, cos_degree in (("F32", to_float32, 8, 4, 5), ("F64", float, 19, 8, 9)):

        def add(name, result, suffix=suffix):
            tables[f"{name}_{suffix}"], errors[f"{name}_{suffix}"] = result

        ln2 = 2 * mp.log(2)
        if suffix == "F32":
            add("TWO_LN2", ([to_float32(ln2)], abs(1 - to_float32(ln2) / ln2)))
        else:  # the first part has few enough bits that its product with any exponent is exact
            part = float(mp.floor(ln2 * 2**40) / 2**40)
            add("TWO_LN2", ([part, float(ln2 - part)], abs(ln2 - part - float(ln2 - part))))
        add("LOG", polynomial(neg2log_over_f, -0.5, 0, log_degree, lambda x: 1 / neg2log_over_f(x), to_type, -2))
        add("SIN", polynomial(sine_over_y, 0, 1, sin_degree, lambda y2: mp.sqrt(y2) + mp.mpf("0.05"), to_type))
        add("COS", polynomial(cosine, 0, 1, cos_degree, one, to_type, 1))

    for i, (lo, hi, shift) in enumerate(((MEDIAN, F32_SPLIT, F32_SHIFT[0]), (F32_SPLIT, F32_END, F32_SHIFT[1]))):
        tables[f"QUANTILE{i}_F32"], errors[f"QUANTILE{i}_F32"] = polynomial(
            lambda x, shift=shift: upper_quantile(x + shift),
            lo - shift,
            hi - shift,
            10,
            lambda x, shift=shift: 1 / max(1, upper_quantile(x + shift)),
            to_float32,
        )
    bounds = (MEDIAN, *F64_SPLITS, F64_END)
    for i, shift in enumerate(F64_SHIFT):
        top, bottom, worst = ratio(
            lambda x, shift=shift: upper_quantile(x + shift),
            bounds[i] - shift,
            bounds[i + 1] - shift,
            8,
            lambda x, shift=shift: 1 / max(1, upper_quantile(x + shift)),
        )
        tables[f"QUANTILE{i}_TOP_F64"], errors[f"QUANTILE{i}_TOP_F64"] = top, worst
        tables[f"QUANTILE{i}_BOTTOM_F64"], errors[f"QUANTILE{i}_BOTTOM_F64"] = bottom, worst
    tables["QUANTILE_SPLIT_F32"] = [to_float32(F32_SPLIT)]
    tables["QUANTILE_SHIFT_F32"] = list(F32_SHIFT)
    tables["QUANTILE_SPLIT_F64"] = list(F64_SPLITS)
    tables["QUANTILE_SHIFT_F64"] = list(F64_SHIFT)

    note = "Written by tools/fit_coefficients.py. DO NOT EDIT: stream version 1 is made of these numbers."
    header = [f"/* {note} */", "#ifndef WINIT_COEFFICIENTS_H", "#define WINIT_COEFFICIENTS_H", ""]
    module = [f'"""{note}"""', ""]
    for name, values in tables.items():
        if name in errors:
            comment = f"approximation error {mp.nstr(errors[name], 2)}"
            header.append(f"/* {comment} */")
            module.append(f"# {comment}")
        suffix = "f" if name.endswith("F32") else ""
        for i, value in enumerate(values):
            header.append(f"#define WINIT_{name}_{i} ({value.hex()}{suffix})")
        module.append(f"{name} = (")
        module.extend(f"    {value!r}," for value in values)
        module.append(")")
    header += ["", "#endif", ""]
    (PACKAGE / "include" / "winit" / "coefficients.h").write_text("\n".join(header))
    (PACKAGE / "_kernels" / "coefficients.py").write_text("\n".join(module) + "\n")
    for name, worst in errors.items():
        print(f"{name:24} {mp.nstr(worst, 3)}")


if __name__ == "__main__":
    main()
