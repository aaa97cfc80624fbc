"""Compare dense passes round by round: one of winit, one of each peer, one of the peak, and again.

    python benchmarks/interleaved.py [--rounds 9] [--signal] [--avx2]

On a shared machine the seconds between two tests of pytest-benchmark are enough for another's load to decide a ratio;
here whatever happens to one of a group happens to all. Prints a table of medians; the peers, shapes and activations are
those of test_dense.py, or with --signal those of test_lab.py. Between calls there is a pause in which thread pools fall
asleep. With --avx2 winit, NumPy and torch do without AVX-512; JAX, whose products do not heed XLA's option for that, is
left out.
"""

import argparse
import gc
import os
import statistics
import sys
import time

import peak
import test_lab
from test_dense import PASSES, SHAPES, layer

import winit
from conftest import THREADS, installed

# Libraries read these when they are loaded.
AVX2 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}


def rounds_of(calls, rounds):
    """Median seconds of each call, taken in turns."""
    seconds = {name: [] for name in calls}
    order = list(calls)
    for done in range(rounds + 2):
        order.append(order.pop(0))  # so that none always follows the same other
        for name in order:
            time.sleep(0.1)
            start = time.perf_counter()
            calls[name]()
            if done >= 2:  # two to warm up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--signal", action="store_true", help="the statistics of winit.lab.signal instead")
    parser.add_argument("--avx2", action="store_true", help="without AVX-512")
    asked = parser.parse_args()
    if asked.avx2 and not AVX2.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **AVX2})
    with winit.use_engine("cython", "avx2" if asked.avx2 else None):
        if asked.signal:
            signals(asked.rounds)
        else:
            passes(asked.rounds, asked.avx2)


def signals(rounds):
    given = test_lab.made()
    calls = {}
    for name, pair in test_lab.PASSES.items():
        if name == "winit" or installed(name):
            calls |= {(name, look): call(*given) for look, call in enumerate(pair)}
    median = rounds_of(calls, rounds)
    print("| | bare, s | with statistics, s | ratio | of the statistics, s |\n|---|---|---|---|---|")
    for name in dict.fromkeys(name for name, _ in calls):
        bare, whole = median[name, 0], median[name, 1]
        print(f"| {name} | {bare:.2f} | {whole:.2f} | {whole / bare:.2f}x | {whole - bare:.2f} |")


def passes(rounds, avx2):
    libraries = [name for name in PASSES if name == "winit" or (installed(name) and not (avx2 and name == "jax"))]
    multiply_adds = peak.build("-mavx2 -mfma" if avx2 else "-march=native")
    few = peak.ROUNDS // 4
    print(
        "| forward and backward | " + " | ".join(f"{name}, ms" for name in libraries) + " | by the fastest | of peak |"
    )
    print("|---" * (len(libraries) + 3) + "|")
    for shape in SHAPES:
        for f in ("relu", "tanh", "gelu"):
            arrays = layer(shape, 1 << 20)
            calls = {name: PASSES[name](f, *arrays) for name in libraries}
            operations = 3 * 2 * arrays[0].size * arrays[3].shape[1]
            at_most = peak.run(multiply_adds, THREADS, few)
            calls["peak"] = lambda: peak.run(multiply_adds, THREADS, few)
            median = rounds_of(calls, rounds)
            ours = median["winit"]
            fastest = min(median[name] for name in libraries if name != "winit")
            share = operations / ours / (at_most / median["peak"])
            cells = [f"{f}, {' x '.join(map(str, shape))}", *(f"{median[name] * 1e3:.1f}" for name in libraries)]
            print("| " + " | ".join([*cells, f"{fastest / ours:.2f}x", f"{share:.0%}"]) + " |", flush=True)
            del arrays, calls
            gc.collect()


if __name__ == "__main__":
    main()
