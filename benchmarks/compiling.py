"""Seconds to compile, from nothing and from the cache: `python -m benchmarks.compiling [--only lenet-b1,resnet50]`.

Each in a fresh process that has imported `graphc` and built the model; what the compiler itself imports counts.  Python's
bytecode is there, as it is where a package was installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.store import folder
from benchmarks.table import aligned
from benchmarks.workloads import WORKLOADS

CHOSEN = ",".join(workload.name for workload in WORKLOADS if not workload.trains)


def compiled(name: str) -> tuple[float, int, int]:
    """`graphc.compile` of a workload in this process, whose cache is as it is: seconds, bytes of the arena, the least
    bytes any placement needs.
    """
    import time

    import graphc
    from benchmarks.workloads import named

    workload = named(name)
    net, x = workload.model("graphc").eval(), workload.input()
    start = time.perf_counter()
    exe = graphc.compile(net, inputs={"x": f"float32[{','.join(map(str, x.shape))}]"})
    return time.perf_counter() - start, exe.plan.workspace(1), sum(exe.plan.bound)


def with_bytecode(environment: dict[str, str]) -> dict[str, str]:
    """The environment, with a place for bytecode where Python is told to write none."""
    if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
        environment["PYTHONPYCACHEPREFIX"] = str(folder() / "bytecode")
    return environment


def measure(name: str, repeats: int = 1) -> dict[str, float | str]:
    """The least of several, each in a process of its own; the caches of the cold ones are empty folders."""
    cold: list[float] = []
    cached: list[float] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as caches:
            environment = with_bytecode({**os.environ, "XDG_CACHE_HOME": caches})
            for times in (cold, cached):
                command = [sys.executable, "-m", "benchmarks.compiling", "--once", name]
                told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                seconds, arena, bound = json.loads(told.stdout)
                times.append(seconds)
    return {"model": name, "cold": min(cold), "cached": min(cached), "arena": arena, "bound": bound}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [("model", "cold", "cached", "arena", "lower bound")]
    for row in rows:
        sizes = [f"{row[key] / 1024:,.1f} KiB" for key in ("arena", "bound")]
        lines.append((row["model"], f"{row['cold']:.2f} s", f"{row['cached']:.2f} s", *sizes))
    return aligned(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiling", description=__doc__)
    parser.add_argument("--only", default=CHOSEN)
    parser.add_argument("--once", metavar="WORKLOAD", help="in this process, print seconds")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(compiled(options.once)))
        return 0
    rows = [measure(name, options.repeats) for name in options.only.split(",")]
    print(table(rows))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
