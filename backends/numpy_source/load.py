"""Runs generated NumPy source in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.backends.numpy_source.source import numpy_source
from graphc.interpret import bind_inputs
from graphc.ir.graph import Graph


@dataclass(frozen=True, eq=False)
class NumpyFunction:
    """A graph as a NumPy function.  Calls check their inputs and return a tuple of arrays."""

    graph: Graph
    source: str
    function: Any

    def __call__(
        self, inputs: Mapping[str, Any] | Sequence[Any], data: Mapping[str, np.ndarray] | None = None
    ) -> tuple:
        arrays = bind_inputs(self.graph, inputs)
        stored = (
            {"weights": {**self.graph.data, **(data or {})}}
            if self.graph.parameters + self.graph.constants
            else {}
        )
        result = self.function(*(arrays[v.name] for v in self.graph.inputs), **stored)
        results = result if isinstance(result, tuple) else (result,)
        return tuple(np.asarray(array) for array in results)


def run_text(source: str, path: Path) -> dict[str, Any]:
    """What generated source defines; `path` is the file it came from, which finds its weights beside it."""
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(source, str(path), "exec"), namespace)
    return namespace


def load_source(graph: Graph, function: str = "forward") -> NumpyFunction:
    """Generate the source of a graph and run its definitions."""
    source = numpy_source(graph, function)
    namespace: dict[str, Any] = {"__name__": f"graphc_numpy_{graph.name}", "__file__": __file__}
    exec(compile(source, f"<graphc {graph.name}.py>", "exec"), namespace)
    return NumpyFunction(graph, source, namespace[function])
