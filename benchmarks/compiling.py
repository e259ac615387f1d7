"""Seconds to compile, from nothing and from the cache: `python -m benchmarks.compiling [--only lenet-b1,resnet50]`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import aligned

CHOSEN = "lenet-b1,alexnet,googlenet,resnet18,resnet50,vit_tiny,lstm"


def compiled(name: str) -> float:
    """Seconds of `graphc.compile` for a workload, in this process, whose cache is as it is."""
    import time

    import graphc
    from benchmarks.workloads import named

    workload = named(name)
    net, x = workload.model("graphc").eval(), workload.input()
    start = time.perf_counter()
    graphc.compile(net, inputs={"x": f"float32[{','.join(map(str, x.shape))}]"})
    return time.perf_counter() - start


def measure(name: str, repeats: int = 2) -> dict[str, float | str]:
    """The least of several, each in a process of its own; the caches of the cold ones are empty folders."""
    cold, cached = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "XDG_CACHE_HOME": folder}
            for times in (cold, cached):
                command = [sys.executable, "-m", "benchmarks.compiling", "--once", name]
                told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                times.append(float(told.stdout))
    return {"model": name, "cold": min(cold), "cached": min(cached)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiling", description=__doc__)
    parser.add_argument("--only", default=CHOSEN)
    parser.add_argument("--once", metavar="WORKLOAD", help="in this process, print seconds")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.once:
        print(compiled(options.once))
        return 0
    rows = [measure(name) for name in options.only.split(",")]
    lines = [("model", "cold", "cached")]
    lines += [(str(r["model"]), f"{r['cold']:.2f} s", f"{r['cached']:.2f} s") for r in rows]
    print(aligned(lines))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
