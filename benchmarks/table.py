"""Print the README's table from one run of the benchmarks.

    pytest benchmarks --benchmark-enable --benchmark-json=run.json && python benchmarks/table.py run.json

Every peer of a group is a row, those that beat winit too; a group or library that this does not know is an error.
"""

import json
import sys

LIBRARIES = {"numpy", "torch", "jax", "mkl_random", "transformers", "winit-1-thread"}


def rows(run):
    groups = {}
    for entry in run["benchmarks"]:
        groups.setdefault(entry["group"], {})[entry["extra_info"]["library"]] = entry
    for group, entries in groups.items():
        ours = entries.pop("winit", None) or entries.pop("winit-avx2", None) or entries.pop("winit-baseline")
        name = ours["extra_info"]["library"]
        for extra in [library for library in entries if library.startswith("winit-") and library != "winit-1-thread"]:
            yield group, extra, entries.pop(extra), ours, name
        unknown = set(entries) - LIBRARIES
        if unknown:
            raise SystemExit(f"{group}: unknown libraries {sorted(unknown)}")
        if not entries:
            yield group, None, None, ours, name
        for library, entry in entries.items():
            yield group, library, entry, ours, name


def main(path):
    with open(path) as file:  # noqa: PTH123
        run = json.load(file)
    cpu = run["machine_info"]["cpu"]
    print(f"{cpu.get('brand_raw', 'unknown processor')}, {cpu.get('count')} processors, medians of one run\n")
    print("| what | peer | peer | winit | winit is |")
    print("|---|---|---|---|---|")
    for group, library, entry, ours, name in rows(run):
        elements, mine = ours["extra_info"]["elements"], ours["stats"]["median"]
        label = group if name == "winit" else f"{group} ({name.removeprefix('winit-')})"

        def shown(seconds, elements=elements):
            if seconds < 1e-3:
                return f"{seconds * 1e6:.1f} µs"
            return f"{elements / seconds / 1e9:.2f} G/s" if elements >= 1 << 20 else f"{seconds * 1e3:.1f} ms"

        if entry is None:
            print(f"| {label} | | | {shown(mine)} | |")
        else:
            theirs = entry["stats"]["median"]
            print(f"| {label} | {library} | {shown(theirs)} | {shown(mine)} | {theirs / mine:.2f}x |")


if __name__ == "__main__":
    main(sys.argv[1])
