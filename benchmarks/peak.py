"""Measure this machine's peak of float32 fused multiply-adds, on all its processors.

    python benchmarks/peak.py

Compiles peak.c for this machine and prints GFLOP/s: the best of ten runs, and their median, since the machine may be
shared. benchmarks/test_dense.py measures it in the same run as the products, and benchmarks/table.py divides by it.
"""

import ctypes
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

ROUNDS = 20_000_000  # a quarter of a second and more


def build(processor="-march=native"):
    directory = tempfile.mkdtemp(prefix="winit-peak-")
    library = pathlib.Path(directory) / "peak.so"
    source = pathlib.Path(__file__).with_name("peak.c")
    compiler = os.environ.get("CC", "cc")
    flags = ["-O3", *processor.split(), "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).peak
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_long]
    return function


def run(function, threads, rounds=ROUNDS):
    """Operations done by `threads` threads at once; ctypes lets go of the GIL."""
    done = [0.0] * threads

    def work(i):
        done[i] = function(rounds)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done)


def main():
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    function = build()
    rates = []
    for _ in range(10):
        start = time.perf_counter()
        done = run(function, threads)
        rates.append(done / (time.perf_counter() - start) / 1e9)
    print(f"{threads} threads: best {max(rates):.1f} GFLOP/s, median {statistics.median(rates):.1f}")


if __name__ == "__main__":
    main()
