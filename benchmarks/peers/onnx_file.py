"""The workload as an ONNX file, written by PyTorch's exporter once and kept."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from benchmarks.store import folder
from benchmarks.workloads import Workload
from graphc.bench.serve import NotOffered


def onnx_file(workload: Workload) -> Path:
    """The path of the file.  Raises NotOffered for a training step."""
    if workload.trains:
        raise NotOffered("no training without a gradient graph")
    path = folder() / f"{workload.key}.onnx"
    if not path.exists():
        import torch

        from benchmarks.peers.pytorch import module

        private = path.with_suffix(f".{os.getpid()}")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter(
                "ignore"
            )  # the exporter through TorchScript is the older one, and it is quick
            net, x = module(workload), torch.from_numpy(workload.input())
            torch.onnx.export(
                net, (x,), private, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"]
            )
        private.replace(path)
    return path
