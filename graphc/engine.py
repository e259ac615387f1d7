"""What runs the computations on tensors outside of a trace: op by op in NumPy, or compiled once for each structure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from graphc.api import compile as compile_graph
from graphc.errors import UsageError
from graphc.interpret import interpret
from graphc.ir.graph import Graph
from graphc.ir.printer import print_graph
from graphc.ir.specialize import as_inputs
from graphc.tensor import lazy

KEPT = 64  # structures that are remembered, the last ones used


class Native:
    """Runs graphs of one structure natively from the `after`-th time on; before that, op by op.

    The structure is the graph's text: ops, attributes, types and names, not the numbers.  So a loop is compiled once,
    and which iteration is the first native one depends on nothing but the program.
    """

    def __init__(self, after: int):
        self.after = after
        self.seen: OrderedDict[str, int] = OrderedDict()
        self.compiled: OrderedDict[str, Callable[..., object]] = OrderedDict()

    def __call__(self, graph: Graph) -> Sequence[np.ndarray]:
        key = print_graph(graph)
        run = self.compiled.get(key)
        if run is None:
            count = self.seen[key] = self.seen.pop(key, 0) + 1
            if len(self.seen) > KEPT:
                self.seen.popitem(last=False)
            if count < self.after or not graph.nodes:
                return interpret(graph, {})
            run = compile_graph(as_inputs(graph, [leaf.name for leaf in graph.leaves]))
            if len(self.compiled) >= KEPT:
                self.compiled.popitem(last=False)
        else:
            del self.compiled[key]
        self.compiled[key] = run
        results = run(**{leaf.name: graph.data[leaf.name] for leaf in graph.leaves})
        return results if isinstance(results, tuple) else (results,)


def set_engine(name: str, *, after: int = 4) -> None:
    """How tensors outside of a trace are computed from now on: "numpy", op by op, or "native".

    Native code is compiled when a computation of one structure comes for the `after`-th time, and kept: a loop of
    `forward`, `backward`, `step` compiles its forward and its backward pass once.  `compile_step` is faster still.
    """
    if name not in ("numpy", "native"):
        raise UsageError(f"there is no engine {name!r}", fix='"numpy" or "native"')
    if after < 1:
        raise UsageError(f"after={after} is not at least 1")
    lazy.set_engine(Native(after) if name == "native" else lazy._interpret)
