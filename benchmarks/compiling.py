"""Seconds to compile, from nothing and from the cache, and from a saved artefact to its first answer; memory of a call.

`python -m benchmarks.compiling [--only lenet-b1,resnet50]`.  Every time is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import footprint
from benchmarks.table import aligned, time_text
from benchmarks.workloads import Workload, chosen, named

HEADINGS = ("model", "cold", "cached", "load and answer", "weights", "reading them", "arena", "lower bound")


def compiled(workload: Workload) -> tuple[float, int, int]:
    """A workload compiled in this process, whose cache is as it is: seconds, the import of the compiler included,
    bytes of the arena, and the least bytes any placement needs.
    """
    from benchmarks.peers import ours

    net, _ = ours.with_arrays(workload)
    start = time.perf_counter()
    made = ours.step(workload, net) if workload.trains else ours.compiled(workload, net)
    return time.perf_counter() - start, made.plan.workspace(1), sum(made.plan.bound)


def measure(workload: Workload, repeats: int = 1) -> dict[str, Any]:
    """The least of several, each in a process of its own; the caches of the cold ones are empty folders."""
    cold: list[float] = []
    cached: list[float] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            environment = footprint.with_bytecode({**os.environ, "XDG_CACHE_HOME": folder})
            for times in (cold, cached):
                command = [sys.executable, "-m", "benchmarks.compiling", "--once", workload.name]
                told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                seconds, arena, bound = json.loads(told.stdout)
                times.append(seconds)
    found = {"model": workload.name, "cold": min(cold), "cached": min(cached), "arena": arena, "bound": bound}
    return found if workload.trains else found | loaded(workload, repeats)


def loaded(workload: Workload, repeats: int) -> dict[str, Any]:
    """Seconds from an artefact to the first answer, bytes of its weights, and seconds to read that file alone."""
    artefact = footprint.prepare(workload, "graphc")
    first = footprint.measure(workload, "graphc", artefact, repeats + 2)["first"]
    files = sorted(artefact.glob("*.safetensors"))
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        for file in files:
            file.read_bytes()
        seconds.append(time.perf_counter() - start)
    return {"first": first, "weights": sum(file.stat().st_size for file in files), "reading": min(seconds)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [HEADINGS]
    for row in rows:
        answers = ("", "", "")
        if "first" in row:
            answers = time_text(row["first"]), f"{row['weights'] / 2**20:,.1f} MiB", time_text(row["reading"])
        sizes = [f"{row[key] / 1024:,.1f} KiB" for key in ("arena", "bound")]
        lines.append((row["model"], f"{row['cold']:.2f} s", f"{row['cached']:.2f} s", *answers, *sizes))
    return aligned(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiling", description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--once", metavar="WORKLOAD", help="in this process, print seconds")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(compiled(named(options.once))))
        return 0
    rows = [measure(workload, options.repeats) for workload in chosen(options.only)]
    print(table(rows))
    if options.json:
        Path(options.json).write_text(json.dumps({"compiling": rows}, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
