"""Print the first table of docs/benchmarks.md, of which the README has some rows, from one run of the benchmarks.

    pytest benchmarks --benchmark-enable --benchmark-json=run.json && python benchmarks/table.py run.json

Every peer of a group is a row, those that beat winit too; a group or library that this does not know is an error.
"""

import json
import sys

LIBRARIES = {"numpy", "scipy", "torch", "jax", "keras", "mkl_random", "transformers", "winit-1-thread"}


def seconds_of(entry):
    """The median time of one call; some entries are loops of many."""
    return entry["stats"]["median"] / entry["extra_info"].get("calls", 1)


def rows(run):
    groups = {}
    for entry in run["benchmarks"]:
        info = entry["extra_info"]
        group = groups.setdefault(entry["group"], {})
        group[info["library"]] = entry
        for peer, seconds in info.get("peers", {}).items():  # timed in turn with the entry
            group[peer] = {"extra_info": {}, "stats": {"median": seconds * info["elements"]}}
    for group, entries in groups.items():
        if set(entries) == {"peak"}:
            continue
        ours = entries.pop("winit", None) or entries.pop("winit-avx2", None) or entries.pop("winit-baseline")
        name = ours["extra_info"]["library"]
        extras = [library for library in entries if library.startswith("winit-") and library != "winit-1-thread"]
        for extra in extras:
            yield group, extra, entries.pop(extra), ours, name
        unknown = set(entries) - LIBRARIES
        if unknown:
            raise SystemExit(f"{group}: unknown libraries {sorted(unknown)}")
        if not entries and not extras:
            yield group, None, None, ours, name
        for library, entry in entries.items():
            yield group, library, entry, ours, name


def main(path):
    with open(path) as file:  # noqa: PTH123
        run = json.load(file)
    cpu = run["machine_info"]["cpu"]
    peaks = [entry for entry in run["benchmarks"] if entry["extra_info"]["library"] == "peak"]
    peak = max((entry["extra_info"]["operations"] / entry["stats"]["median"] for entry in peaks), default=None)
    print(f"{cpu.get('brand_raw', 'unknown processor')}, {cpu.get('count')} processors, medians of one run", end="")
    print(f"; peak of fused multiply-adds {peak / 1e9:.0f} GFLOP/s\n" if peak else "\n")
    print("| what | peer | peer | winit | winit is |")
    print("|---|---|---|---|---|")
    for group, library, entry, ours, name in rows(run):
        info, mine = ours["extra_info"], seconds_of(ours)
        label = group if name == "winit" else f"{group} ({name.removeprefix('winit-')})"

        def shown(seconds, info=info, share=True):
            elements, operations = info.get("elements"), info.get("operations")
            if operations is not None:
                rate = operations / seconds
                of_peak = f", {rate / peak:.0%} of peak" if peak and share else ""
                return f"{rate / 1e9:.0f} GFLOP/s{of_peak}"
            if seconds < 1e-6:
                return f"{seconds * 1e9:.0f} ns"
            if seconds < 1e-3:
                return f"{seconds * 1e6:.1f} µs"
            if elements < 1 << 20:
                return f"{seconds * 1e3:.1f} ms"
            rate = elements / seconds
            return f"{rate / 1e9:.2f} G/s" if rate >= 1e7 else f"{rate / 1e6:.1f} M/s"

        if entry is None:
            print(f"| {label} | | | {shown(mine)} | |")
        else:
            theirs = seconds_of(entry)
            print(f"| {label} | {library} | {shown(theirs, share=False)} | {shown(mine)} | {theirs / mine:.2f}x |")


if __name__ == "__main__":
    main(sys.argv[1])
