"""Finite differences beside the gradients of a circuit: ✓ where they agree, else what they say.

    f'(x) = (f(x + h) − f(x − h)) / 2h + O(h²),   h = ∛ε · max(1, |x|)

The bound is derived: the truncation error from a second difference with 2h (Richardson), the rounding error as
4 ε max|f| / h.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.interpret import interpret
from graphc.ir.graph import Graph, Value
from graphc.ir.rewriter import prune
from graphc.view.numbers import number


def checked(
    graph: Graph, values: Mapping[Value, np.ndarray], gradient: Mapping[Value, Value]
) -> dict[Value, str]:
    """For each input with a gradient `✓` or `✗` with the finite difference; numbers only."""
    starts = [v for v in graph.outputs if v in gradient and _is_seed(gradient[v])]
    if len(starts) != 1:
        return {}
    alone = prune(graph.with_(outputs=(starts[0],), output_names=("f",), gradients={}))
    arrays = {v.name: values[v] for v in graph.inputs}
    stored = {v.name: values[v] for v in graph.parameters + graph.constants}
    found = {}
    for leaf in (v for v in graph.leaves if v in gradient):
        dtype = leaf.dtype.numpy
        epsilon, x = float(np.finfo(dtype).eps), float(values[leaf])
        step = epsilon ** (1 / 3) * max(1.0, abs(x))

        def f(moved: float, leaf: Value = leaf, dtype: np.dtype = dtype) -> float:
            changed = {leaf.name: np.asarray(moved, dtype)}
            inputs = arrays | changed if leaf.leaf == "input" else arrays
            return float(interpret(alone, inputs, stored if leaf.leaf == "input" else stored | changed)[0])

        with np.errstate(all="ignore"):
            near, far = f(x + step) - f(x - step), f(x + 2 * step) - f(x - 2 * step)
            size = max(abs(f(x + 2 * step)), abs(f(x - 2 * step)))
        central, wide = near / (2 * step), far / (4 * step)
        bound = abs(wide - central) + 4 * epsilon * size / step
        exact = float(values[gradient[leaf]])
        found[leaf] = "✓" if abs(central - exact) <= bound else f"✗ {number(central)}"
    return found


def _is_seed(value: Value) -> bool:
    return value.node is None or value.node.op.name == "constant"
