"""docs/performance.md and its pictures from measured results: `python -m benchmarks.report [FILE...]`.

A FILE is what a measuring program wrote with --json, or a profile as text (.txt); it replaces its part of
benchmarks/results.json, which the page is made of.  The rows and the machine are of one run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import compiling, costs, footprint, limits, roofline, table
from benchmarks.rows import Row, from_data
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results.json"
PAGE = ROOT / "docs/performance.md"
PICTURES = ROOT / "docs/pictures"
PARTS = ("about", "machine", "rows", "costs", "compiling", "footprint", "profile")

TOP = """# Performance

How fast graphc is beside others, on one machine, and what that machine allows.  **{met} of {rows} rows reach their
ratio**, all measured in one run on an {machine} with 2 cores.  Times differ on other machines, ratios less.

## Repeat it

    make install bench-peers
    make bench

`make bench` is `python -m benchmarks`.  `--only lenet,resnet18`, `--threads 1`, `--peers onnxruntime,openvino` choose;
`--prepare` fills all caches first; `--json FILE` keeps every time.  A row takes half a minute.  The other tables are
`python -m benchmarks.costs`, `benchmarks.compiling` and `benchmarks.footprint`; `python -m benchmarks.report FILE...`
puts what they wrote with `--json` into [benchmarks/results.json](../benchmarks/results.json) and this page.
`graphc bench MODEL` does this for a model of yours, with `--compare torch,onnxruntime,openvino,numpy` and `--profile`.

## How it is measured

- Everybody runs in a process of its own, with the same number of threads on the same cores.  They take turns,
  {repeats} rounds; whoever is not being measured is stopped.  A time is the median of the rounds.
- First the answers are compared with PyTorch's in float64.  A wrong answer takes no part; one of graphc fails the row.
- float32, default numerics, weights known beforehand to everybody.  graphc: a call from Python, NumPy array in, new
  array out.  ONNX Runtime: inputs and outputs bound beforehand.  OpenVINO: latency hint, one request, its input set
  beforehand.  PyTorch: eager in inference mode, and compiled (inductor) with frozen weights.  JAX: `jit`, weights as
  constants.
- Rows ending in `-fp16` are graphc with `weights="fp16"` beside everybody in float32; `error` is the largest of the
  answer, over its root mean square.
- The ratio is the best peer's time / graphc's.  The limit is the larger of two times, summed over the kernels:
  multiply-adds at the measured peak, and bytes of weights at the measured rate of where they lie.  What a cache holds
  comes from it, the rest from the next one; a loop reads its weights in every step.  Winograd's convolutions and
  Strassen's products do fewer multiply-adds than that counts and can be faster than the limit.  `reached` is the
  limit / graphc's time, and what most of the limit waits for.
"""


def page(results: dict[str, Any]) -> str:
    """The text of docs/performance.md."""
    rows = _rows(results)
    about, machine = results["about"], limits.from_data(results["machine"])
    met = sum(row.met for row in rows)
    parts = [
        TOP.format(
            met=met,
            rows=len(rows),
            machine=machine.name,
            repeats=max((len(row.ours.seconds) for row in rows), default=0),
        ),
        "## The table\n",
        table.markdown(rows) + "\n",
        "## The machine\n",
        _machine(machine, about),
        "![Roofline with one thread](pictures/roofline-1.svg)\n",
        "![Roofline with two threads](pictures/roofline-2.svg)\n",
        "## How cost grows\n",
        COSTS.format(cliff=costs.CLIFF) + costs.table([costs.Cost(**c) for c in results["costs"]]) + "\n",
        "## Compiling\n",
        COMPILING + compiling.table(results["compiling"]) + "\n",
        "## Memory and the first answer\n",
        FOOTPRINT + footprint.table(results["footprint"]) + "\n",
        "## A profile\n",
        PROFILE + _indented(results["profile"]),
    ]
    return "\n".join(parts)


COSTS = """Time of a call with one thread, and the time to compile.  A point whose time per operation is more than
{cliff} times that of the point before is marked.  A batch series is one artefact for all sizes.  The weights of 64
layers `linear 64` fill a megabyte of L2: more of them are read from L3 at each call.

"""
COMPILING = """In a fresh process, the import of the compiler included.  Cold: nothing in the cache.  Cached: the model
is in the cache; importing the compiler, tracing, and reading the weights twice, the model's own and the packed
ones, are what is left.  Load and answer: from a saved
artefact to the first answer, and beside it what reading the file of its weights alone takes.
The arena is the working memory of a call; the lower bound is the most bytes alive at one step.

"""
FOOTPRINT = """A process that imports one library, loads the model from its own kind of file and answers once.  graphc
compares every file with its sha256 first.

"""
PROFILE = """`graphc bench examples/lenet.py --profile`, or `exe.profile(x)`: a row for each kernel, with the line of
the model it comes from.

"""


def _rows(results: dict[str, Any]) -> list[Row]:
    order = {w.name: i for i, w in enumerate(WORKLOADS)}
    rows = [from_data(data) for data in results["rows"]]
    return sorted(rows, key=lambda row: (order[row.workload.name], row.threads))


def _machine(machine: limits.Machine, about: dict[str, str]) -> str:
    one, two = machine.flops
    facts = [
        ("what", "1 thread", "2 threads"),
        ("multiply-adds, float32", f"{one:.0f} GFLOP/s", f"{two:.0f} GFLOP/s"),
        ("reading from L1", f"{machine.l1:.0f} GB/s", ""),
        (f"reading from L2, {machine.l2_bytes >> 10} KiB each", f"{machine.l2:.0f} GB/s", ""),
        (f"reading from L3, {machine.l3_bytes >> 20} MiB", f"{machine.l3:.0f} GB/s", ""),
        ("reading from memory", *(f"{rate:.0f} GB/s" for rate in machine.memory)),
    ]
    told = "; ".join(f"{name} {version}" for name, version in about.items())
    return f"{machine.name}, 2 cores.  {told}.\n\n{table.aligned(facts)}\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.rstrip("\n").split("\n")) + "\n"


def with_file(results: dict[str, Any], path: Path) -> dict[str, Any]:
    """The results with those of a file in place of older ones.  Raises ValueError for parts nobody reads."""
    text = path.read_text("utf-8")
    new = {"profile": text} if path.suffix == ".txt" else json.loads(text)
    if unknown := new.keys() - PARTS:
        raise ValueError(f"{path}: no part {min(unknown)}; there are {', '.join(PARTS)}")
    return {part: new[part] if part in new else results[part] for part in PARTS}


def generated(results: dict[str, Any]) -> dict[Path, str]:
    """Every file made from the results."""
    rows, machine = _rows(results), limits.from_data(results["machine"])
    pictures = {PICTURES / f"roofline-{n}.svg": roofline.picture(rows, machine, n) for n in (1, 2)}
    return {PAGE: page(results), **pictures}


def main(arguments: Sequence[str]) -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    for name in arguments:
        results = with_file(results, Path(name))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    for path, text in generated(results).items():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
