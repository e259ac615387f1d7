"""Those who run a workload: graphc and its peers, each in a module of its own with `build(workload, threads)`.

A module imports what it needs inside `build`; an ImportError there is the reason why a peer does not take part.
"""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.workloads import Workload
from graphc.bench.serve import Contender

# What they are called -> module and the keywords of its `build`.
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "graphc": ("ours", {}),
    "numpy": ("by_hand", {}),
    "torch": ("pytorch", {}),
    "inductor": ("pytorch", {"compiled": True}),
    "onnxruntime": ("onnx_runtime", {}),
    "openvino": ("open_vino", {}),
    "jax": ("with_jax", {}),
}
STEPS = 5  # losses of a training step that are compared


def build(name: str, workload: Workload, threads: int) -> Contender:
    """The contender of a name.  Raises NotOffered, and ImportError without its package."""
    module, options = PEERS[name]
    contender: Contender = importlib.import_module(f"benchmarks.peers.{module}").build(
        workload, threads, **options
    )
    return contender
