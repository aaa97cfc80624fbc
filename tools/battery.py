"""Run TestU01's batteries on winit's streams, test by test, and record each: the next run goes on where this one ended.

    python tools/battery.py run --battery Crush --stream names --output words [--jobs 2] [--minutes 60]
    python tools/battery.py practrand --program RNG_test --stream names --output words [--size 32GB]
    python tools/battery.py table                                         what was recorded, as docs/trust.md has it

TestU01 (L'Ecuyer and Simard 2007) is Debian's libtestu01-0-dev, of its non-free section; a C compiler is needed too.
battery.c generates: words of the stream, or float64 normals through the normal distribution function. PractRand's
RNG_test (Doty-Humphrey; https://github.com/rurban/PractRand has its sources: g++ -O2 -Iinclude -Itools src/*.cpp
src/RNGs/*.cpp src/RNGs/other/*.cpp tools/RNG_test.cpp -o RNG_test -lpthread) reads the same streams as bytes, and is
begun anew each time. Streams:

one      the words of one tensor
seeds    1024 neighbouring seeds take turns
names    the tensors layer.0 to layer.999 of one seed take turns
many     the same index of a million tensors, then the next
"""

import argparse
import csv
import itertools
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import winit

HERE = pathlib.Path(__file__).parent
RECORD = HERE / "battery.csv"
PRACTRAND = HERE / "practrand.csv"
TESTS = {"SmallCrush": 10, "Crush": 96, "BigCrush": 106}
STREAMS, OUTPUTS = ("one", "seeds", "names", "many"), ("words", "normals")
FAILED, SUSPECT = 1e-10, 1e-4  # TestU01's own bounds: beyond the first a generator fails; the second is looked at again
FIELDS = ("battery", "stream", "output", "seed", "test", "statistic", "p")
LENGTHS = ("version", "stream", "output", "seed", "log2_bytes", "results", "anomalies")


def build(directory):
    """Compile battery.c; returns the program."""
    program = pathlib.Path(directory) / "battery"
    subprocess.run(
        ["cc", "-O2", "-ffp-contract=off", f"-I{winit.get_include()}", HERE / "battery.c", "-o", program,
         "-ltestu01", "-ltestu01probdist", "-ltestu01mylib", "-lm"], check=True,
    )  # fmt: skip
    return program


def one_test(program, battery, test, stream, output, seed=0):
    """Run a test; returns its statistics: names and p-values."""
    done = subprocess.run(
        [program, battery, str(test), stream, output, str(seed)], capture_output=True, text=True, check=True
    )
    found = []
    for line in done.stderr.splitlines():
        p, name = line.split("\t")
        found.append((name, float(p)))
    return found


def recorded(record=RECORD):
    """The rows of earlier runs."""
    if not record.exists():
        return []
    with record.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(record, fields, rows):
    """Append rows to a record."""
    fresh = not record.exists()
    with record.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(fields)
        writer.writerows(rows)


def run(asked):
    """Run what is not recorded yet, until the time is over."""
    done = {(row["battery"], row["stream"], row["output"], int(row["seed"]), int(row["test"])) for row in recorded()}
    tests = [
        test
        for test in range(1, TESTS[asked.battery] + 1)
        if (asked.battery, asked.stream, asked.output, asked.seed, test) not in done
    ]
    ends = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory() as directory:
        program = build(directory)

        def work(test):
            if time.monotonic() >= ends:
                return test, None
            return test, one_test(program, asked.battery, test, asked.stream, asked.output, asked.seed)

        with ThreadPoolExecutor(asked.jobs) as pool:
            for test, found in pool.map(work, tests):
                if found is None:
                    continue
                of = asked.battery, asked.stream, asked.output
                write_rows(RECORD, FIELDS, [[*of, asked.seed, test, name, f"{p:.6g}"] for name, p in found])
                for name, p in found:
                    if min(p, 1 - p) < SUSPECT:
                        print(*of, f"{name}: p = {p:.3g}", flush=True)


def read_lengths(lines):
    """What RNG_test prints, length by length: (log2 of the bytes, results, anomalies as it words them)."""
    log2, anomalies = None, []
    for line in itertools.chain(lines, [""]):
        if found := re.search(r"^length= .*\(2\^([\d.]+) bytes\)", line):
            log2, anomalies = found[1], []
        elif log2 is None:
            continue
        elif found := re.search(r"^  no anomalies in (\d+) test result|^  \.\.\.and (\d+) test result", line):
            yield log2, int(found[1] or found[2]) + len(anomalies), anomalies
            log2 = None
        elif found := re.search(r"^  (\S.*?)\s+R[=<>]\s*\S+\s+(\S.*)", line):
            anomalies.append(f"{found[1]}: {' '.join(found[2].split())}")
        elif not line.strip() and anomalies:  # all results were
            yield log2, len(anomalies), anomalies
            log2 = None


def practrand(asked):
    """Run PractRand's RNG_test on a stream, and record what it says at each length."""
    with tempfile.TemporaryDirectory() as directory:
        made = subprocess.Popen(
            [build(directory), "bytes", "0", asked.stream, asked.output, str(asked.seed)], stdout=subprocess.PIPE
        )
        with made:
            tested = subprocess.Popen(
                [asked.program, "stdin32", "-tlmax", asked.size], stdin=made.stdout, stdout=subprocess.PIPE, text=True
            )
            made.stdout.close()
            with tested:
                version = re.search(r"version (\S+)", next(tested.stdout, "version ?"))[1]
                count = 0
                for count, (log2, results, anomalies) in enumerate(read_lengths(tested.stdout), 1):  # noqa: B007
                    row = [version, asked.stream, asked.output, asked.seed, log2, results, "; ".join(anomalies)]
                    write_rows(PRACTRAND, LENGTHS, [row])
                    if anomalies:
                        print(asked.stream, asked.output, f"2^{log2} bytes:", *anomalies, flush=True)
                if count == 0:
                    raise SystemExit(f"{asked.program} said nothing of any length; is --size {asked.size} one?")


def table():
    """Print how many statistics there are of each battery, and the ones farthest out."""
    groups = {}
    for row in recorded():
        groups.setdefault((row["battery"], row["output"], row["stream"], row["seed"]), []).append(row)
    print("| battery | of | stream | tests | statistics | failed | below 10^-4 or above 1 - 10^-4 | least, most |")
    print("|---|---|---|---|---|---|---|---|")
    for (battery, output, stream, seed), rows in groups.items():
        values = [float(row["p"]) for row in rows]
        tests = len({row["test"] for row in rows})
        outside = [min(p, 1 - p) for p in values]
        label = stream if seed == "0" else f"{stream}, seed {seed}"
        print(
            f"| {battery} | {output} | {label} | {tests} of {TESTS[battery]} | {len(rows)} | "
            f"{sum(p < FAILED for p in outside)} | {sum(p < SUSPECT for p in outside)} | "
            f"{min(values):.2g}, 1 - {1 - max(values):.2g} |"
        )
    total = sum(map(len, groups.values()))
    if total:
        expected = 2 * SUSPECT * total
        print(f"\n{total} statistics; of so many {expected:.2g} are expected outside 10^-4", end="")
        print(f", and none with probability {math.exp(-expected):.0%}.")
    streams = {}
    for row in recorded(PRACTRAND):  # of runs of the same stream, the last
        streams.setdefault((row["version"], row["output"], row["stream"], row["seed"]), {})[row["log2_bytes"]] = row
    print("\n| PractRand | of | stream | bytes | results at all lengths | anomalies |\n|---|---|---|---|---|---|")
    for (version, output, stream, seed), lengths in streams.items():
        label = stream if seed == "0" else f"{stream}, seed {seed}"
        rows = lengths.values()
        anomalies = "; ".join(f"2^{row['log2_bytes']}: {row['anomalies']}" for row in rows if row["anomalies"])
        print(
            f"| {version} | {output} | {label} | 2^{max(lengths, key=float)} | "
            f"{sum(int(row['results']) for row in rows)} | {anomalies or 'none'} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--battery", choices=TESTS, default="SmallCrush")
    runs.add_argument("--jobs", type=int, default=2)
    runs.add_argument("--minutes", type=float, default=math.inf)
    streams = commands.add_parser("practrand")
    streams.add_argument("--program", required=True, help="PractRand's RNG_test")
    streams.add_argument("--size", default="32GB")
    for parts in (runs, streams):
        parts.add_argument("--stream", choices=STREAMS, default="one")
        parts.add_argument("--output", choices=OUTPUTS, default="words")
        parts.add_argument("--seed", type=int, default=0)
    commands.add_parser("table")
    asked = parser.parse_args()
    if asked.command == "table":
        table()
    else:
        {"run": run, "practrand": practrand}[asked.command](asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
