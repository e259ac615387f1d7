"""A graph run by graphc and by its peers; each is a process, `python -m graphc.bench.compare PEER FOLDER ...`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from graphc.bench.contest import Result, contest
from graphc.bench.peers import PEERS
from graphc.bench.serve import Contender, serve
from graphc.errors import UsageError, nearest
from graphc.interpret import interpret
from graphc.ir.graph import Graph
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.weights import load_weights, save_weights

TOLERANCE = 1e-3  # of the root mean square of what the interpreter gives
OURS = "graphc"


def compare(
    graph: Graph,
    arrays: Mapping[str, np.ndarray],
    peers: Sequence[str],
    *,
    threads: int = 1,
    repeats: int = 7,
    seconds: float = 0.1,
) -> list[Result]:
    """The results of graphc and of these peers for a graph of fixed sizes, graphc first.

    A peer that is not installed, or has no counterpart for an op, says so in its `reason`.  Raises UsageError for an
    unknown peer.
    """
    for name in peers:
        if name not in PEERS:
            known = [p for p in PEERS if p != OURS]
            raise UsageError(f"no peer {name}{nearest(name, known)}", fix=f"choose from {','.join(known)}")
    reference = [np.asarray(y) for y in interpret(graph, arrays)]
    with tempfile.TemporaryDirectory() as folder:
        _store(Path(folder), graph, arrays)
        python = [sys.executable, "-m", "graphc.bench.compare"]
        commands = {name: [*python, name, folder, str(threads)] for name in dict.fromkeys([OURS, *peers])}
        return contest(commands, reference, TOLERANCE, threads=threads, repeats=repeats, seconds=seconds)


def _store(folder: Path, graph: Graph, arrays: Mapping[str, np.ndarray]) -> None:
    (folder / "graph.gir").write_text(print_graph(graph, provenance=True), "utf-8")
    save_weights(folder / "data.safetensors", graph.data)
    save_weights(folder / "inputs.safetensors", arrays)


def build(name: str, folder: Path, threads: int) -> Contender:
    """The contender of a name, from what was stored."""
    graph = parse_graph((folder / "graph.gir").read_text("utf-8"))
    graph = graph.with_(data=load_weights(folder / "data.safetensors"))
    return PEERS[name](graph, load_weights(folder / "inputs.safetensors"), threads)


if __name__ == "__main__":
    peer, where, count, answer = sys.argv[1:]
    serve(lambda: build(peer, Path(where), int(count)), int(count), answer)
