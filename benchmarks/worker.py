"""The process of one contender: `python -m benchmarks.worker PEER WORKLOAD THREADS ANSWER`."""

from __future__ import annotations

import sys

from benchmarks import peers, workloads
from graphc.bench.serve import serve

if __name__ == "__main__":
    peer, name, threads, answer = sys.argv[1:]
    serve(lambda: peers.build(peer, workloads.named(name), int(threads)), int(threads), answer)
