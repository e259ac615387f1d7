"""What it takes to answer once: memory, and time from a saved model to the first answer.

`python -m benchmarks.footprint [--only resnet50]`.  Every measurement is a fresh process that imports one
library, loads the model from its own kind of file and runs it once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import workloads
from benchmarks.store import folder
from benchmarks.workloads import Workload

# Each gets (model, input.npy) and prints seconds of the load with the first answer; imports are counted apart.
BEFORE = """
import json, sys, time
import numpy as np
model, x = sys.argv[1], np.load(sys.argv[2])
"""
AFTER = """
first = time.perf_counter() - started
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"import": started - begun, "first": first, "memory": 1024 * int(peak.split()[1])}))
"""
LOADERS = {
    "graphc": """
begun = time.perf_counter()
import graphc
started = time.perf_counter()
y = graphc.load(model, threads=2)(x)
""",
    "onnxruntime": """
begun = time.perf_counter()
import onnxruntime
started = time.perf_counter()
y = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
""",
    "openvino": """
begun = time.perf_counter()
import openvino
started = time.perf_counter()
y = openvino.Core().compile_model(model, "CPU")(x)[0]
""",
    "torch": """
begun = time.perf_counter()
import torch
started = time.perf_counter()
net = torch.export.load(model).module()
with torch.inference_mode():
    y = net(torch.from_numpy(x)).numpy()
""",
    "numpy alone": """
begun = time.perf_counter()
started = time.perf_counter()
""",
}


def prepare(workload: Workload, name: str) -> Path:
    """The file or folder a loader reads; made once."""
    import numpy as np

    given = folder() / f"{workload.key}.npy"
    np.save(given, workload.input())
    match name:
        case "graphc":
            return _artefact(workload)
        case "torch":
            return _exported(workload)
        case "onnxruntime" | "openvino":
            from benchmarks.peers.onnx_file import onnx_file

            return onnx_file(workload)
    return given


def _artefact(workload: Workload) -> Path:
    from benchmarks.peers.ours import compiled, with_arrays

    exe = compiled(workload, with_arrays(workload)[0])
    path = folder() / f"{workload.key}-{workload.stored}.graphc"
    exe.save(path)
    return path


def _exported(workload: Workload) -> Path:
    import torch

    from benchmarks.peers.pytorch import module

    path = folder() / f"{workload.key}.pt2"
    if not path.exists():
        torch.export.save(torch.export.export(module(workload), (torch.from_numpy(workload.input()),)), path)
    return path


def with_bytecode(environment: dict[str, str]) -> dict[str, str]:
    """The environment, with a place for bytecode where Python is told to write none: an installed package has it."""
    if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
        environment["PYTHONPYCACHEPREFIX"] = str(folder() / "bytecode")
    return environment


def measure(workload: Workload, name: str, model: Path, repeats: int) -> dict[str, float | str]:
    """The least of several processes, each figure by itself."""
    command = [sys.executable, "-c", BEFORE + LOADERS[name] + AFTER, str(model)]
    found = []
    for _ in range(repeats):
        ran = subprocess.run(
            [*command, str(folder() / f"{workload.key}.npy")],
            capture_output=True,
            text=True,
            env=with_bytecode(dict(os.environ)),
        )
        if ran.returncode:
            return {"reason": ran.stderr.strip().rpartition("\n")[2]}
        found.append(json.loads(ran.stdout))
    return {key: min(each[key] for each in found) for key in found[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--only", default="resnet50")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    rows = []
    for workload in workloads.chosen(options.only):
        for name in LOADERS:
            try:
                model = prepare(workload, name)
            except ImportError as reason:
                rows.append({"workload": workload.name, "peer": name, "reason": str(reason)})
                continue
            rows.append(
                {"workload": workload.name, "peer": name, **measure(workload, name, model, options.repeats)}
            )
    print(table(rows))
    if options.json:
        Path(options.json).write_text(json.dumps({"footprint": rows}, indent=1), "utf-8")
    return 0


def table(rows: Sequence[dict]) -> str:
    """The rows in Markdown."""
    lines = ["| workload | process | peak memory | import | load and first answer |", "|---|---|---|---|---|"]
    for row in rows:
        if "reason" in row:
            lines.append(f"| {row['workload']} | {row['peer']} | {row['reason']} | | |")
            continue
        seconds = f"{row['import']:.2f} s | {1000 * row['first']:.0f} ms"
        lines.append(f"| {row['workload']} | {row['peer']} | {row['memory'] / 2**20:.0f} MiB | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
