"""Print llvm-mca's estimate of the cycles that the inner loops take on processors that are not here.

    python tools/estimate_cycles.py [--compiler aarch64-linux-gnu-gcc] [--mca llvm-mca] [--cpu neoverse-v1 ...]

Each loop over words, of a transform or of a tile is compiled alone under the flags of setup.py, found in the machine
code by its branch back, and simulated 200 times over. Loads are taken to hit the first-level cache, and branches to be
foretold. LLVM 14 has no model of neoverse-v1 and takes another's, 19 has one; apple-m1 is Cyclone's model in both.
"""

import argparse
import ast
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "src" / "winit" / "_kernels"
SOURCES = {"baseline": ("sample_plain.c", "dense_plain.c"), "neon": ("sample_neon.c", "dense_neon.c")}

# What is in the function that each loop is found in.
LOOPS = {
    "words": "words_of_piece(key, 0, 0, 0, count, IN_ORDER, to, to);",
    "words as planes": "words_of_piece(key, 0, 0, 0, count, PLANES_32, to, to + 4096);",
    "uniform": "uniform_f32(w, w, v, count, p);",
    "normal": "normal_loops_f32(w, w + 4096, v, count, p, 1);",
    "truncated": "truncated_part_f32(w, v, count, p, 0, 1);",
}
# Bytes that each loop of one stores for a value, what it carries along included.
STORES = {"words": [4], "words as planes": [4], "uniform": [4], "normal": [2.5, 4.5], "truncated": [5, 5]}
WRAPPER = """
void {name}(winit_key key, size_t count, const uint32_t *w, uint32_t *restrict to, float *restrict v, const double *p)
{{
    count &= ~(size_t)31;
    {body}
}}
"""
BYTES = {"b": 1, "h": 2, "s": 4, "w": 4, "d": 8, "x": 8, "q": 16}


def flags():
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FLAGS":
            return ast.literal_eval(node.value)
    raise SystemExit("setup.py has no FLAGS")


def machine_code(compiler, source, directory):
    """Function -> [(address, instruction)]."""
    written = directory / "loops.c"
    written.write_text(source)
    made = directory / "loops.o"
    command = [compiler, *flags(), "-w", f"-I{KERNELS}", f"-I{KERNELS.parent / 'include'}", "-c", written, "-o", made]
    subprocess.run(command, check=True)
    dump = "aarch64-linux-gnu-objdump"
    text = subprocess.run([dump, "-d", "--no-show-raw-insn", made], check=True, capture_output=True, text=True).stdout
    functions, found = {}, None
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(\w+)>:", line):
            found = functions.setdefault(head[1], [])
        elif found is not None and (code := re.match(r"\s+([0-9a-f]+):\t(.*)", line)):
            found.append((int(code[1], 16), code[2].split("//")[0].strip()))
    return functions


def loops(code):
    """The innermost loops of a function: runs of instructions up to a branch back, with no other branch inside."""
    at = {address: place for place, (address, _) in enumerate(code)}
    for end, (address, text) in enumerate(code):
        branch = re.match(r"(b\.\w+|cbn?z|tbn?z)\b.*?([0-9a-f]+) <", text)
        if branch and int(branch[2], 16) <= address and int(branch[2], 16) in at:
            body = [line for _, line in code[at[int(branch[2], 16)] : end]]
            if not any(re.match(r"(b|b\.\w+|cbn?z|tbn?z|bl|ret)\b", line) for line in body):
                yield body


def stored(body):
    """Bytes that a loop stores, those to the stack (spilled registers) not counted."""
    total = 0
    for line in body:
        if not re.match(r"(st[rpu]|stur|st[1-4])", line) or "[sp" in line:
            continue
        if structure := re.match(r"st([1-4])\t\{(.*)\}", line):
            numbers = [int(number) for number in re.findall(r"v(\d+)", structure[2])]
            total += 16 * ((numbers[-1] - numbers[0]) % 32 + 1)
        else:
            total += sum(BYTES[kind] for kind in re.findall(r"\b([bhswdxq])(?:\d+|zr)\b", line.split("[")[0]))
    return total


def multiply_adds(body):
    return sum(line.startswith("fmla") for line in body)


def cycles(mca, cpu, body):
    text = "\n".join(line.split("<")[0] for line in body)
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", "-iterations=200"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return int(re.search(r"Total Cycles:\s+(\d+)", done.stdout)[1]) / 200


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--compiler", default="aarch64-linux-gnu-gcc")
    parser.add_argument("--mca", default="llvm-mca")
    parser.add_argument("--cpu", nargs="+", default=["neoverse-v1", "apple-m1"])
    given = parser.parse_args()
    print("| float32 | build | " + " | ".join(given.cpu) + " |")
    print("|---|---|" + "---|" * len(given.cpu))
    with tempfile.TemporaryDirectory() as directory:
        for build, (sample, dense) in SOURCES.items():
            wrappers = "".join(WRAPPER.format(name=f"L{i}", body=body) for i, body in enumerate(LOOPS.values()))
            code = machine_code(given.compiler, f'#include "{sample}"\n{wrappers}', Path(directory))
            taken = {}  # loop -> cycles for 32 values, by processor
            for i, name in enumerate(LOOPS):
                found = [body for body in loops(code[f"L{i}"]) if stored(body) > 0]
                if not found:
                    raise SystemExit(f"{given.compiler} makes of {name} no loop that is found here")
                if name.startswith("words"):  # the loop over many blocks; what is left over has one of its own
                    found = [max(found, key=stored)]
                taken[name] = [0.0] * len(given.cpu)
                for body, bytes_of_value in zip(found, STORES[name], strict=True):
                    values = stored(body) / bytes_of_value
                    for place, cpu in enumerate(given.cpu):
                        taken[name][place] += cycles(given.mca, cpu, body) * 32 / values
            print(f"| words | {build} | " + " | ".join(f"{all_of:.0f}" for all_of in taken["words"]) + " |")
            for law in ("uniform", "normal", "truncated"):
                words = taken["words as planes" if law == "normal" else "words"]
                cells = [f"{a:.0f} + {b:.0f} = {a + b:.0f}" for a, b in zip(words, taken[law], strict=True)]
                print(f"| {law}: words + transform | {build} | " + " | ".join(cells) + " |")
            code = machine_code(given.compiler, f'#include "{dense}"\n', Path(directory))
            for kind in ("f32", "f64"):
                height = max(int(name.split("_")[1]) for name in code if re.fullmatch(rf"tile_\d+_{kind}", name))
                body = max(loops(code[f"tile_{height}_{kind}"]), key=multiply_adds)
                cells = " | ".join(f"{multiply_adds(body) / cycles(given.mca, cpu, body):.1f}" for cpu in given.cpu)
                print(f"| vector multiply-adds a cycle, {kind}, tile of {height} rows | {build} | {cells} |")


if __name__ == "__main__":
    main()
