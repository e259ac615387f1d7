"""How far float32 may lie from float64, for one graph and its very inputs.

Two things add up. Each node rounds: a sum of k products by at most gamma_k Σ|a||b|, in whatever order, fused or not
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1), a function by a few u|y|. And each
such error reaches an output by the slope of the output by that node: to first order the outputs differ by

    Σ over nodes v, Σ over elements e of v   |∂y/∂v[e]| · rounding(v)[e]                           (the bound)

(Linnainmaa, Taylor expansion of the accumulated rounding error, BIT 16, 1976). Slopes and values come from the float64
interpreter. This holds always, and is far away: it lets all roundings conspire. If they are independent, with mean 0,
then with probability 1 - 2 exp(-LAMBDA²/2) a sum of k products is off by LAMBDA √k u Σ|a||b| at most (Higham and Mary,
A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019), and errors of elements add up
as squares. That is the second, closer limit; a wrong number anywhere does not stay below it.

No factor is chosen to pass: `MORE` counts the roundings that rewrites may add (a batch norm folded into a convolution
rounds its factor 5 times and multiplies once more), `SECOND_ORDER` is for what is left out (products of two errors; a
kink crossed on the way).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.autodiff import differentiate
from graphc.gradcheck import to_float64
from graphc.interpret import evaluate, run_node
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.passes.expand import expand

U = float(np.finfo(np.float32).eps) / 2
MORE = 6
SECOND_ORDER = 2.0
LAMBDA = 6.0  # a chance of 3e-8 to be wrong
FUNCTIONS = {
    "exp": 3,
    "log": 3,
    "tanh": 5,
    "sigmoid": 6,
    "erf": 4,
    "sqrt": 1,
    "sin": 4,
    "cos": 4,
    "pow": 4,
}  # units of 2u
EXACT = {
    "relu", "neg", "abs", "sign", "maximum", "minimum", "where", "max", "min", "argmax", "max_pool", "stop_gradient",
    "equal", "less", "greater", "greater_equal", "less_equal",
}  # fmt: skip
Arrays = Sequence[np.ndarray]


def rounding(
    node: Node, operands: Arrays, result: np.ndarray, bindings: Mapping[str, int]
) -> tuple[int, np.ndarray]:
    """How many roundings reach an element of a node's result, and the size of what is rounded."""
    name, kind = node.op.name, node.op.kind
    if kind in (Kind.MOVEMENT, Kind.CREATION, Kind.INDEXING) or name in EXACT:
        return 0, np.zeros(())
    absolute = [np.abs(a) for a in operands]
    if kind in (Kind.CONTRACTION, Kind.CONVOLUTION) or name in ("sum", "avg_pool"):
        # The same node on absolute values is Σ|a||b|; on ones it counts the terms.
        (total,) = run_node(node, absolute, bindings)
        (terms,) = run_node(node, [np.ones_like(a) for a in operands], bindings)
        count = terms.max(initial=1) if name != "avg_pool" else np.prod(node.attributes["kernel"])
        return int(count) + MORE, total
    if name in ("add", "sub", "add_n"):
        return len(operands) + MORE, sum(absolute[1:], absolute[0])
    if name in ("mul", "div", "cast"):
        return 1 + MORE, np.abs(result)
    if name in FUNCTIONS:
        return 2 * FUNCTIONS[name], np.abs(result)
    raise AssertionError(f"no rounding error is known for {name}")


@dataclass(frozen=True)
class Limits:
    """What float32 may be off, for each sample and column: always, and as good as always."""

    bound: np.ndarray
    likely: np.ndarray

    def check(self, off: np.ndarray, label: str) -> None:
        """Fail unless every difference is within both."""
        for name, limit in (("bound", self.bound), ("likely bound", self.likely)):
            worst = np.unravel_index(np.argmax(off / limit), off.shape)
            assert (off <= limit).all(), (
                f"{label}: off by {off[worst]:.3g} at {worst}, the {name} is {limit[worst]:.3g}"
            )


class Oracle:
    """A graph in float64: its output y[N, C], and how far float32 may be off."""

    def __init__(self, graph: Graph) -> None:
        assert len(graph.outputs) == 1
        self.graph, _ = expand(to_float64(graph))
        fixed = set(self.graph.parameters + self.graph.constants)
        self.rounded: list[Value] = []
        for node in self.graph.nodes:
            if all(v in fixed for v in node.inputs):  # made of weights alone: MORE counts it
                fixed.update(node.outputs)
            else:
                self.rounded += [v for v in node.outputs[:1] if v.dtype.is_float]
        self.joint = differentiate(self.graph, [v.name for v in self.rounded], of=self.graph.output_names[0])

    def __call__(self, *inputs: np.ndarray, columns: Sequence[int]) -> tuple[np.ndarray, Limits]:
        """Some columns of the output for float32 inputs, and their limits."""
        wide = {v.name: np.asarray(a, np.float64) for v, a in zip(self.graph.inputs, inputs, strict=True)}
        values = evaluate(self.graph, wide)
        bindings = self.graph.bind(wide)
        output = values[self.graph.outputs[0]]
        errors: dict[str, tuple[int, np.ndarray]] = {}
        for v in self.rounded:
            assert v.node is not None
            errors[v.name] = rounding(v.node, [values[o] for o in v.node.inputs], values[v], bindings)
        columns = list(columns)
        bound, squares = np.zeros((len(output), len(columns))), np.zeros((len(output), len(columns)))
        for number, column in enumerate(columns):
            cotangent = np.zeros_like(output)
            cotangent[:, column] = 1
            slopes = evaluate(self.joint, {**wide, f"cotangent.{self.graph.output_names[0]}": cotangent})
            for name, value in zip(self.joint.output_names, self.joint.outputs, strict=True):
                k, size = errors.get(name.removeprefix("grad."), (0, np.zeros(())))
                if not name.startswith("grad.") or k == 0:
                    continue
                reach = (np.abs(slopes[value]) * size).reshape(len(output), -1)
                bound[:, number] += k * U / (1 - k * U) * reach.sum(axis=1)
                squares[:, number] += k * U**2 * (reach**2).sum(axis=1)
        last = U * np.abs(output[:, columns])
        limits = Limits(SECOND_ORDER * bound + last, SECOND_ORDER * LAMBDA * np.sqrt(squares) + last)
        return output[:, columns], limits
