"""The answer of a workload in float64, by PyTorch: `python -m benchmarks.reference WORKLOAD FILE`."""

from __future__ import annotations

import sys

import numpy as np

from benchmarks import workloads
from benchmarks.peers.pytorch import reference

if __name__ == "__main__":
    np.savez(sys.argv[2], *reference(workloads.named(sys.argv[1])))
