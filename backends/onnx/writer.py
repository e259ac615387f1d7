"""From a graph to an ONNX graph, node after node; what ONNX says in several nodes is put together in `operators`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphc.backends.onnx.absorb import absorbed, turns
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim, FloorDiv, SymbolicDim, symbol
from graphc.ir.graph import Graph, Node, Value
from graphc.passes.dce import dce
from graphc.passes.expand import expand


class Writer:
    """The ONNX graph so far."""

    def __init__(self, graph: Graph, opset: int):
        self.graph, self.opset = graph, opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.names: dict[Value, str] = {}
        self.arrays: dict[str, np.ndarray] = {}  # parameters and constants, written when a node reads them
        self.read: frozenset[Value] = frozenset()
        self.taken: set[str] = set()
        self._constants: dict[tuple, str] = {}
        self._turned: dict[str, str] = {}
        self.sizes_known: dict[Dim, str] = {}
        self.vectors_known: dict[tuple[Dim, ...], str] = {}

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

    def turned(self, value: Value, name: str, permutation: Sequence[int]) -> str:
        """A transposed operand: an array that is read in no other way stands transposed in the file."""
        if name in self.arrays and all(reads_turned(user, value) for user in self.graph.users[value]):
            if name not in self._turned:
                self._turned[name] = self.unique(f"{name}.T")
                self.arrays[self._turned[name]] = self.arrays[name].transpose(permutation)
            return self._turned[name]
        return str(self.add("Transpose", [name], perm=list(permutation)))

    def sizes(self, shape: Sequence[Dim]) -> str:
        """A vector of sizes, worked out at run time where some are open."""
        if all(isinstance(size, int) for size in shape):
            return self.ints([int(size) for size in shape if isinstance(size, int)])
        key = tuple(shape)
        if key not in self.vectors_known:
            groups: list[str] = []
            fixed: list[int] = []
            for size in (*shape, None):
                if isinstance(size, int):
                    fixed.append(size)
                    continue
                if fixed:
                    groups.append(self.ints(fixed))
                    fixed = []
                if size is not None:
                    groups.append(self.size(size))
            self.vectors_known[key] = (
                groups[0] if len(groups) == 1 else self.add("Concat", groups, "sizes", axis=0)
            )
        return self.vectors_known[key]

    def size(self, dim: Dim) -> str:
        """One size as int64[1]."""
        if isinstance(dim, int):
            return self.ints([dim])
        if dim not in self.sizes_known:
            self.sizes_known[dim] = (
                self._symbol(str(dim)) if str(dim).isidentifier() else self._polynomial(dim)
            )
        return self.sizes_known[dim]

    def scalar(self, dim: Dim) -> str:
        """One size as an int64 scalar."""
        if isinstance(dim, int):
            return self.constant(np.array(dim, np.int64))
        return str(self.add("Squeeze", [self.size(dim)]))

    def _symbol(self, name: str) -> str:
        for value in self.graph.inputs:
            for axis, size in enumerate(value.shape):
                if str(size) == name:
                    return str(self.add("Shape", [self.names[value]], name, start=axis, end=axis + 1))
        raise UnsupportedError(f"ONNX: no input has an axis of size {name} alone")

    def _polynomial(self, dim: SymbolicDim) -> str:
        total = None
        for monomial, coefficient in dim.terms:
            term = self.ints([coefficient])
            for atom, power in monomial:
                if isinstance(atom, FloorDiv):
                    factor = self.add("Div", [self.size(atom.numerator), self.ints([atom.divisor])])
                else:
                    factor = self.size(symbol(atom))
                for _ in range(power):
                    term = self.add("Mul", [term, factor])
            total = term if total is None else self.add("Add", [total, term])
        assert total is not None
        return total

    def run(self) -> onnx.ModelProto:
        graph = self.graph
        inputs = [self.leaf(value) for value in graph.inputs]
        for value in (*graph.parameters, *graph.constants):
            name = self.names[value] = self.unique(value.name)
            if value.name not in graph.data:
                raise UnsupportedError(f"ONNX: no array for {value.leaf} {value.name}")
            self.arrays[name] = np.asarray(graph.data[value.name]).reshape(value.shape)
        self.write(graph)
        own = {self.names[value] for value in graph.outputs} - {self.names[value] for value in graph.leaves}
        names = [name if name in own else self.unique(name) for name in graph.output_names]
        outputs = self.results(graph.outputs, names)
        read = names_read(self.nodes)
        self.initializers[:0] = [
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            for name, array in self.arrays.items()
            if name in read
        ]
        made = helper.make_graph(self.nodes, graph.name or "graph", inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(
            made,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="graphc",
        )

    def write(self, graph: Graph) -> None:
        """Append the nodes of a graph whose leaves have names."""
        from graphc.backends.onnx.operators import OPERATORS, clip
        from graphc.backends.onnx.windows import conv

        plan = absorbed(graph)
        outer, self.read = self.read, plan.read
        for node in graph.nodes:
            if self.read.isdisjoint(node.outputs):
                continue
            names = [self.names[v] for v in plan.operands[node]]
            if node in plan.convs:
                results: Any = conv(self, plan.convs[node], names)
            elif node in plan.clips:
                results = clip(self, node, names)
            elif node.op.name in OPERATORS:
                results = OPERATORS[node.op.name](self, node, names)
            else:
                raise UnsupportedError(f"ONNX has no operator for {node.op.name}", span=node.provenance.span)
            results = results if isinstance(results, tuple) else (results,)
            self.names.update(zip(node.outputs, results, strict=True))
        self.read = outer

    def leaf(self, value: Value) -> onnx.ValueInfoProto:
        self.names[value] = self.unique(value.name)
        return info(self.names[value], value)

    def results(self, values: Sequence[Value], names: Sequence[str]) -> list[onnx.ValueInfoProto]:
        """The results of the nodes so far under these names; one that is given twice, or not made here, is copied."""
        found = []
        made = {name for node in self.nodes for name in node.output}
        renamed: dict[str, str] = {}
        for value, wanted in zip(values, names, strict=True):
            name = self.names[value]
            if name in made and name not in renamed:
                renamed[name] = wanted
            else:
                self.nodes.append(
                    helper.make_node("Identity", [name], [wanted], name=self.unique(f"Identity_{wanted}"))
                )
            found.append(info(wanted, value))
        rename(self.nodes, renamed)
        return found


def reads_turned(user: Node, value: Value) -> bool:
    """Whether a node reads the value transposed and in no other way."""
    return tuple(i for i, v in enumerate(user.inputs) if v is value) == turns(user)


def parts_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of the graphs they hold."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from parts_of(attribute.g.node)


def names_read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in parts_of(nodes) for name in node.input}


def rename(nodes: Iterable[onnx.NodeProto], names: dict[str, str]) -> None:
    """Give results other names, where they are made and where they are read."""
    for node in parts_of(nodes):
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                if name in names:
                    field[i] = names[name]


def info(name: str, value: Value) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype.numpy)
    return helper.make_tensor_value_info(
        name, kind, [s if isinstance(s, int) else str(s) for s in value.shape]
    )


def expanded(graph: Graph) -> Graph:
    """The graph without the composites that ONNX lacks, and without what nobody reads."""
    from graphc.backends.onnx.operators import OPERATORS

    return dce(expand(graph, OPERATORS)[0], parameters=True)[0]


def written(graph: Graph, opset: int) -> onnx.ModelProto:
    """The model of a graph."""
    return Writer(expanded(graph), opset).run()
