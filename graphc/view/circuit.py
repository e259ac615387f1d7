"""Scalar graphs as circuits: a wire per value, a circle per op, a chip per local derivative.

The value stands above its wire and the gradient below it; the chip says ∂q/∂x, symbolically and as a
number, and the product upstream · local = downstream; where a wire forks, a small ⊕ shows that the
gradients of the branches add.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache

import numpy as np

from graphc.autodiff import differentiate
from graphc.interpret import evaluate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Value
from graphc.ir.graph import Node as Operation
from graphc.ir.op import Op
from graphc.ir.types import TensorType
from graphc.view.chain_rule import ChainRule, derivative_text
from graphc.view.check import checked
from graphc.view.circuit_story import CircuitStory
from graphc.view.facts import Known, array_facts, op_facts
from graphc.view.numbers import MINUS, factor, number, subscript
from graphc.view.render_ir import Edge, Ids, Kind, Layout, Legend, Line, Node, Picture, Role, Text, legend_for

LIMIT = 60  # ops above which a circuit no longer fits a page

Values = Mapping[Value, np.ndarray]


def suits(graph: Graph) -> bool:
    """Whether the forward part is made of numbers and small enough for a circuit."""
    forward = [node for node in graph.nodes if node.provenance.role == "forward"]
    return 0 < len(forward) <= LIMIT and is_scalar(graph) and all(len(node.outputs) == 1 for node in forward)


def is_scalar(graph: Graph) -> bool:
    """Whether every value of the forward part is a number."""
    forward = [node for node in graph.nodes if node.provenance.role == "forward"]
    values = [*graph.leaves, *(value for node in forward for value in node.outputs)]
    return all(value.type.shape == () for value in values)


def circuit(
    graph: Graph,
    title: str,
    values: Values | None,
    gradients: bool,
    check: bool = False,
    known: Known | None = None,
) -> Picture:
    """The picture of a scalar graph; `gradients` draws what autodiff put into the graph.

    `check` puts a ✓ at each input whose gradient agrees with a finite difference; `known` adds the story and the facts.
    """
    return _Circuit(graph, values, gradients, check, known).picture(title)


class _Circuit:
    def __init__(
        self, graph: Graph, values: Values | None, gradients: bool, check: bool, known: Known | None
    ):
        self.graph, self.values, self.known = graph, values, known
        self.forward = [node for node in graph.nodes if node.provenance.role == "forward"]
        self.gradient: dict[Value, Value] = {}
        if gradients:
            by_name = graph.by_name
            pairs = ((by_name.get(v), by_name.get(d)) for v, d in graph.gradients.items())
            self.gradient = {v: d for v, d in pairs if v is not None and d is not None}
        self.with_gradients = gradients
        self.checks = checked(graph, values, self.gradient) if check and values is not None else {}
        self.ids = Ids()
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.names = self._names()
        self.rule = ChainRule(graph, self.gradient, lambda value: self.names.get(value, value.name))
        self.story = CircuitStory(self.rule, self.values)

    def picture(self, title: str) -> Picture:
        uses: dict[Value, list[tuple[Operation, int]]] = {}
        for node in self.forward:
            for position, operand in enumerate(node.inputs):
                uses.setdefault(operand, []).append((node, position))
        tails: dict[tuple[Operation, int], str] = {}  # where the wire into an operand begins
        inside = _in_gates(self.forward, uses, self.graph)
        for value in self.graph.leaves:
            if value in uses or value in self.graph.outputs:
                self._wire(value, uses.get(value, []), tails)
        for node in self.forward:
            source = _source(node)
            if node.op.name == "constant":
                if node.output not in inside:
                    self._wire(node.output, uses.get(node.output, []), tails)
                continue
            circle = self.ids.new("o", f"{node.provenance.module}.{node.op.name}".lstrip("."))
            facts = op_facts(node, self.rule, self.values, self.known) if self.known is not None else ()
            self.nodes.append(Node(circle, Role.OP, _sign(node, inside), source=source, facts=facts))
            self.story.circles[node] = circle
            for position, operand in enumerate(node.inputs):
                if operand not in inside:
                    self.edges.append(Edge(tails[node, position], circle))
            for value in node.outputs:
                wire = self._wire(value, uses.get(value, []), tails)
                self.edges.append(Edge(circle, wire))
        nodes, edges = tuple(self.nodes), tuple(self.edges)
        legend = legend_for(nodes, edges)
        if self.checks:
            legend += (Legend("check", "agrees with a finite difference"),)
        steps = self.story.steps(self.forward) if self.known is not None else ()
        return Picture(title, Layout.CIRCUIT, nodes, edges, legend=legend, steps=steps)

    def _names(self) -> dict[Value, str]:
        """What a value is called in the picture: its name in the program, else f for the result, else u₁, u₂, ..."""
        names = {value: value.name for value in self.graph.leaves}
        results = dict(zip(self.graph.outputs, self.graph.output_names, strict=True))
        if "f" not in self.graph.by_name:
            results = {value: "f" if name == "output" else name for value, name in results.items()}
        unnamed = 0
        for node in self.forward:
            for value in node.outputs:
                if node.op.name == "constant":
                    names[value] = number(node.attributes["value"])
                elif node.provenance.variable:
                    names[value] = value.name
                elif value in results:
                    names[value] = results[value]
                else:
                    unnamed += 1
                    names[value] = "u" + subscript(unnamed)
        return names

    def _wire(
        self, value: Value, uses: list[tuple[Operation, int]], tails: dict[tuple[Operation, int], str]
    ) -> str:
        """The wire of a value with its fork and chips; notes where each use begins."""
        constant = value.node is not None and value.node.op.name == "constant"
        wire = self.story.wires[value] = self.ids.new("v", value.name)
        flowing = [use for use in uses if self._flows(value, *use)]
        lines = []
        if self.values is not None:
            lines.append(Line(Text.VALUE, number(self.values[value])))
        elif constant:
            lines.append(Line(Text.VALUE, self.names[value]))
        if self.with_gradients and not constant:
            lines.append(Line(Text.GRADIENT, self._gradient_text(value, flowing)))
        source = _source(value.node) if value.node is not None else ""
        label = "" if constant else self.names[value]
        facts = array_facts(value, self.values) if self.known is not None else ()
        self.nodes.append(Node(wire, self._role(value), label, tuple(lines), source=source, facts=facts))
        start = wire
        if len(flowing) > 1:
            start = self.story.sums[value] = self.ids.new("a", value.name)
            self.nodes.append(Node(start, Role.ACCUMULATE, "+"))
            self.edges.append(Edge(wire, start, Kind.WIRE))
        for use in uses:
            tails[use] = wire
            if use in flowing:
                chip = self.ids.new("c", value.name)
                self.story.chips[use] = chip
                self.nodes.append(Node(chip, Role.CHIP, "", self._chip(value, *use)))
                self.edges.append(Edge(start, chip, Kind.WIRE))
                tails[use] = chip
        return wire

    def _role(self, value: Value) -> Role:
        if value.leaf is not None:
            return Role(value.leaf)
        if value in self.graph.outputs:
            return Role.LOSS if self.gradient else Role.OUTPUT
        return Role.CONSTANT if value.node is not None and value.node.op.name == "constant" else Role.VALUE

    def _flows(self, value: Value, node: Operation, position: int) -> bool:
        """Whether a gradient comes back to the value through this use."""
        return (
            value in self.gradient
            and any(v in self.gradient for v in node.outputs)
            and bool(node.op.vjp or node.op.body)
        )

    def _gradient_text(self, value: Value, flowing: list[tuple[Operation, int]]) -> str:
        found = self.gradient.get(value)
        if found is None:
            return "∇ —" if value.dtype.is_float else "⊣"
        if self.values is None:
            return f"∇{self.names[value]}"
        total = number(self.values[found])
        if value in self.checks:
            total += f" {self.checks[value]}"
        if len(flowing) < 2:
            return f"∇ {total}"
        terms = [number(self._upstream(node) * self._local(node, position)) for node, position in flowing]
        return f"∇ {' + '.join([terms[0], *map(factor, terms[1:])])} = {total}"

    def _upstream(self, node: Operation) -> float:
        assert self.values is not None
        (out,) = [value for value in node.outputs if value in self.gradient]
        return float(self.values[self.gradient[out]])

    def _local(self, node: Operation, position: int) -> float:
        """The local derivative as a number: the op's own gradient rule, run with 1 coming from upstream."""
        assert self.values is not None
        operands = [self.values[v] for v in node.inputs]
        attributes = tuple(sorted(node.attributes.items()))
        alone = _alone(node.op, tuple(v.type for v in node.inputs), attributes, position)
        arrays = dict(zip((v.name for v in alone.inputs), operands, strict=True))
        return float(evaluate(alone, arrays)[alone.outputs[-1]])

    def _chip(self, value: Value, node: Operation, position: int) -> tuple[Line, ...]:
        (out,) = [v for v in node.outputs if v in self.gradient]
        head = f"∂{self.names[out]}/∂{self.names[value]}"
        symbolic = derivative_text(
            node.op, position, [*(self.names[v] for v in node.inputs), self.names[out]]
        )
        if self.values is None:
            product = f"← ∇{self.names[out]} · {symbolic or head}"
            derivative = f"{head} = {symbolic}" if symbolic else head
            return Line(Text.DERIVATIVE, derivative), Line(Text.PRODUCT, product)
        local, upstream = self._local(node, position), self._upstream(node)
        self.story.products[node, position] = local, upstream
        parts = (
            [head, symbolic, number(local)]
            if symbolic and symbolic != number(local)
            else [head, number(local)]
        )
        product = f"← {number(upstream)} · {factor(number(local))} = {number(upstream * local)}"
        return Line(Text.DERIVATIVE, " = ".join(parts)), Line(Text.PRODUCT, product)


@cache
def _alone(
    op: Op, types: tuple[TensorType, ...], attributes: tuple[tuple[str, object], ...], position: int
) -> Graph:
    """One op by itself with the derivative with respect to one operand as last output."""
    with Builder(op.name) as builder:
        leaves = [builder.leaf("input", f"x{i}", t) for i, t in enumerate(types)]
        outputs = builder.emit(op, leaves, dict(attributes))
    graph = builder.finish(outputs[:1], ["y"])
    return differentiate(graph, [f"x{position}"])


def _in_gates(
    forward: Sequence[Operation], uses: Mapping[Value, list[tuple[Operation, int]]], graph: Graph
) -> set[Value]:
    """The constants that stand in the circles of the ops that read them, as `+1` and `1/x`, and need no wire."""
    constants = {node.output for node in forward if node.op.name == "constant"}
    return {
        value
        for value in constants.difference(graph.outputs)
        if all(not constants.issuperset(node.inputs) for node, _ in uses.get(value, ()))
    }


def _sign(node: Operation, inside: Collection[Value]) -> str:
    """What stands in the circle of an op."""
    symbol = node.op.symbol or node.op.name
    if node.op.name == "neg":
        return f"×{MINUS}1"
    if not any(v in inside for v in node.inputs):
        return symbol
    texts = [
        number(v.node.attributes["value"]) if v in inside and v.node is not None else "x" for v in node.inputs
    ]
    if len(texts) != 2 or symbol.isalpha():
        return f"{symbol}({', '.join(texts)})"
    if texts[0] == "x" or symbol in "+×":
        return symbol + factor(next(text for text in texts if text != "x"))
    return f"{texts[0]}{'/' if symbol == '÷' else symbol}x"


def _source(node: Operation) -> str:
    return node.provenance.span.name if node.provenance.span is not None else ""
