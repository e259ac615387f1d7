"""`python -m benchmarks [--only lenet,...] [--threads 1,2] [--peers ...] [--json FILE]`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import limits, table, workloads
from benchmarks.peers import PEERS
from benchmarks.rows import OURS, Row, as_data, measure_row

PACKAGES = ("numpy", "llvmlite", "torch", "onnxruntime", "openvino", "jax")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="workloads, or how their names begin")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument(
        "--peers", default=",".join(p for p in PEERS if p != OURS), help="who to compare with"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="least time of a repeat")
    parser.add_argument("--json", metavar="FILE", help="write every time to a file, for benchmarks.report")
    parser.add_argument("--prepare", action="store_true", help="fill the caches, measure nothing")
    options = parser.parse_args(arguments)
    names = [OURS, *(name for name in options.peers.split(",") if name)]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        parser.error(f"no peer {unknown[0]}; there are {', '.join(PEERS)}")
    try:
        chosen = workloads.chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    rows: list[Row] = []
    for workload in chosen:
        for threads in map(int, options.threads.split(",")):
            repeats = 0 if options.prepare else options.repeats
            row = measure_row(workload, threads, names, repeats=repeats, seconds=options.seconds)
            rows.append(row)
            for result in row.results:
                if result.reason:
                    print(f"{workload.name}: {result.peer}: {result.reason}", file=sys.stderr)
            if not options.prepare:
                print(" ".join(table.cells(row)), file=sys.stderr, flush=True)
            if options.json:  # after every row: what was measured outlives an interruption
                Path(options.json).write_text(json.dumps(as_results(rows), indent=1), "utf-8")
    if not options.prepare:
        print(table.markdown(rows))
    return 0


def as_results(rows: Sequence[Row]) -> dict[str, Any]:
    """What `benchmarks.report` reads."""
    return {
        "about": about(),
        "machine": asdict(limits.machine()),
        "rows": [as_data(row) for row in rows],
    }


def about() -> dict[str, str]:
    """What ran: the system, Python, and who was compared."""
    found = {platform.system(): platform.release().split("-")[0], "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
