"""From a graph to an ONNX graph, node after node; what ONNX says in several nodes is put together in `operators`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphc import ops
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim, FloorDiv, SymbolicDim
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.rewriter import rewrite
from graphc.passes.dce import dce
from graphc.passes.expand import copy_body, expand

IR_VERSION = 8  # of ONNX 1.13, which brought opset 18


class Writer:
    """The ONNX graph so far."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.names: dict[Value, str] = {}
        self.taken: set[str] = set()
        self._constants: dict[tuple, str] = {}
        self._sizes: dict[Dim, str] = {}

    def unique(self, hint: str) -> str:
        name, count = hint, 1
        while name in self.taken:
            count += 1
            name = f"{hint}_{count}"
        self.taken.add(name)
        return name

    def add(self, op: str, inputs: Sequence[str], hint: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; the name of its result, or a tuple of them."""
        names = tuple(self.unique(hint or op.lower()) for _ in range(outputs))
        kept = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(
            helper.make_node(op, list(inputs), list(names), name=self.unique(f"{op}_{names[0]}"), **kept)
        )
        return names[0] if outputs == 1 else names

    def constant(self, array: Any, dtype: Any = None) -> str:
        """An array as an initializer; equal small ones are one."""
        array = np.asarray(array, dtype)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if key is not None and key in self._constants:
            return self._constants[key]
        name = self.unique("constant")
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        )
        if key is not None:
            self._constants[key] = name
        return name

    def ints(self, numbers: Sequence[int]) -> str:
        return self.constant(np.array(numbers, np.int64))

    def sizes(self, shape: Sequence[Dim]) -> str:
        """A vector of sizes, worked out at run time where some are open."""
        if all(isinstance(size, int) for size in shape):
            return self.ints([int(size) for size in shape if isinstance(size, int)])
        parts = [self.add("Reshape", [self.size(size), self.ints([1])]) for size in shape]
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, "sizes", axis=0)

    def size(self, dim: Dim) -> str:
        """One size as an int64 scalar."""
        if isinstance(dim, int):
            return self.constant(np.array(dim, np.int64))
        if dim not in self._sizes:
            self._sizes[dim] = self._symbol(str(dim)) if str(dim).isidentifier() else self._polynomial(dim)
        return self._sizes[dim]

    def _symbol(self, name: str) -> str:
        for value in self.graph.inputs:
            for axis, size in enumerate(value.shape):
                if str(size) == name:
                    shape = self.add("Shape", [self.names[value]])
                    return self.add("Gather", [shape, self.constant(np.array(axis, np.int64))], name, axis=0)
        raise UnsupportedError(f"ONNX: no input has an axis of size {name} alone")

    def _polynomial(self, dim: SymbolicDim) -> str:
        total = None
        for monomial, coefficient in dim.terms:
            term = self.constant(np.array(coefficient, np.int64))
            for atom, power in monomial:
                if isinstance(atom, FloorDiv):
                    factor = self.add(
                        "Div", [self.size(atom.numerator), self.constant(np.array(atom.divisor, np.int64))]
                    )
                else:
                    factor = self._symbol(atom)
                for _ in range(power):
                    term = self.add("Mul", [term, factor])
            total = term if total is None else self.add("Add", [total, term])
        assert total is not None
        return total

    def run(self, opset: int) -> onnx.ModelProto:
        from graphc.backends.onnx.operators import OPERATORS

        graph = self.graph
        inputs = [self._leaf(value) for value in graph.inputs]
        for value in (*graph.parameters, *graph.constants):
            name = self.names[value] = self.unique(value.name)
            if value.name not in graph.data:
                raise UnsupportedError(f"ONNX: no array for {value.leaf} {value.name}")
            array = np.ascontiguousarray(graph.data[value.name]).reshape(value.shape)
            self.initializers.append(numpy_helper.from_array(array, name))
        for node in graph.nodes:
            handler = OPERATORS.get(node.op.name)
            if handler is None:
                raise UnsupportedError(f"ONNX has no operator for {node.op.name}", span=node.provenance.span)
            results = handler(self, node, [self.names[v] for v in node.inputs])
            for value, name in zip(
                node.outputs, results if isinstance(results, tuple) else (results,), strict=True
            ):
                self.names[value] = name
        outputs = [self._output(v, name) for v, name in zip(graph.outputs, graph.output_names, strict=True)]
        made = helper.make_graph(self.nodes, graph.name or "graph", inputs, outputs, self.initializers)
        return helper.make_model(
            made,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=IR_VERSION,
            producer_name="graphc",
        )

    def _leaf(self, value: Value) -> onnx.ValueInfoProto:
        self.names[value] = self.unique(value.name)
        return info(self.names[value], value)

    def _output(self, value: Value, name: str) -> onnx.ValueInfoProto:
        """The output under its own name, even when a value is given twice or is an input."""
        own = self.unique(name)
        self.nodes.append(
            helper.make_node("Identity", [self.names[value]], [own], name=self.unique(f"Identity_{own}"))
        )
        return info(own, value)


def info(name: str, value: Value) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype.numpy)
    return helper.make_tensor_value_info(
        name, kind, [s if isinstance(s, int) else str(s) for s in value.shape]
    )


def unrolled(graph: Graph) -> Graph:
    """The graph with every loop written out, a step after the other."""

    def steps(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.name != "scan":
            return None
        a = node.attributes
        body, carries, sequences, length = a["body"], a["carries"], a["sequences"], a["length"]
        if not isinstance(length, int) or length == 0:
            raise UnsupportedError(f"ONNX: a loop of {length} steps", span=node.provenance.span)
        state = list(operands[:carries])
        given, fixed = operands[carries : carries + sequences], operands[carries + sequences :]
        rows: list[list[Value]] = [[] for _ in body.outputs[carries:]]
        for t in range(length)[:: -1 if a["reverse"] else 1]:
            results = copy_body(body, (*state, *(_step(v, t) for v in given), *fixed), f"{node.name}.{t}")
            state = list(results[:carries])
            for row, value in zip(rows, results[carries:], strict=True):
                row.append(ops.reshape(value, shape=(1, *value.shape)))
        stacked = [row[::-1] if a["reverse"] else row for row in rows]
        return (*state, *(row[0] if length == 1 else ops.concat(*row, axis=0) for row in stacked))

    while any(node.op.name == "scan" for node in graph.nodes):
        graph, _ = rewrite(graph, steps, "unroll")
    return graph


def _step(v: Value, t: int) -> Value:
    """What a sequence holds at one step."""
    zeros = (0,) * (v.type.rank - 1)
    one = ops.slice(v, starts=(t, *zeros), stops=(t + 1, *v.shape[1:]), steps=(1,) * v.type.rank)
    return ops.reshape(one, shape=v.shape[1:])


def written(graph: Graph, opset: int) -> onnx.ModelProto:
    """The model of a graph, with composites expanded that ONNX lacks."""
    from graphc.backends.onnx.operators import OPERATORS, is_direct

    graph = unrolled(graph)
    while True:
        unknown = {n.op.name for n in graph.nodes if n.op.kind is Kind.COMPOSITE and not is_direct(n)}
        if not unknown:
            break
        keep = {name for name in OPERATORS if name not in unknown}
        graph, _ = expand(graph, keep)
    graph, _ = dce(graph, parameters=True)
    return Writer(graph).run(opset)
