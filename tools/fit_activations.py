"""Derive the polynomials of the activation functions and write them for C.

    python tools/fit_activations.py        # needs mpmath; writes activation_coefficients.h, some minutes

Every activation is evaluated in float64. SHORT sets are enough for a float32 result (relative error under 2^-33), LONG
ones for a float64 result. The errors printed are those of the approximation alone; tests/test_activations.py measures
what the functions make of it.
"""

from __future__ import annotations

import functools

import mpmath as mp
from fit_coefficients import KERNELS, polynomial


def exponential(r):
    """(e^r - 1 - r) / r^2."""
    return mp.mpf(1) / 2 + r / 6 if abs(r) < 1e-30 else (mp.expm1(r) - r) / (r * r)


def logarithm(w):
    """(atanh(s) / s - 1) / s^2 as a function of w = s^2."""
    s = mp.sqrt(w)
    return mp.mpf(1) / 3 if w == 0 else (mp.atanh(s) / s - 1) / w


MILLS_CENTRE = mp.mpf(4)


@functools.cache
def mills(u):
    """(1 + 2 a) Phi(-a) e^(a^2 / 2), a = 4 (1 + u) / (1 - u)."""
    a = MILLS_CENTRE * (1 + u) / (1 - u)
    return (1 + 2 * a) * mp.erfc(a / mp.sqrt(2)) / 2 * mp.exp(a * a / 2)


def position(a):
    return (a - MILLS_CENTRE) / (a + MILLS_CENTRE)


def main():
    half = mp.log(2) / 2 * mp.mpf("1.001")
    note = "Written by tools/fit_activations.py. DO NOT EDIT."
    lines = [f"/* {note} */", "#ifndef WINIT_ACTIVATION_COEFFICIENTS_H", "#define WINIT_ACTIVATION_COEFFICIENTS_H", ""]
    for name, f, lo, hi, degrees, weight, first in (
        ("EXP", exponential, -half, half, (6, 11), lambda r: (abs(r) + mp.mpf("0.02")) / 2, None),
        ("LOG", logarithm, mp.mpf(0), mp.mpf(1) / 9, (5, 12), lambda w: w + mp.mpf("0.002"), None),
        ("MILLS", mills, mp.mpf(-1), None, (12, 24), lambda u: 1 / mills(u), None),
    ):
        for length, degree, end in zip(("SHORT", "LONG"), degrees, (15, 40), strict=True):
            top = position(mp.mpf(end)) if hi is None else hi
            coefficients, worst = polynomial(f, lo, top, degree, weight, float, first)
            print(f"{name}_{length:8} degree {degree:3}  {mp.nstr(worst, 3)}", flush=True)
            lines.append(f"/* approximation error {mp.nstr(worst, 2)} */")
            lines.append(f"#define WINIT_{name}_{length}_DEGREE {degree}")
            values = ", ".join(c.hex() for c in coefficients)
            lines.append(f"#define WINIT_{name}_{length} {{{values}}}")
    lines += ["", "#endif", ""]
    (KERNELS / "activation_coefficients.h").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
