"""From an ONNX graph to a graphc graph: node after node, each by the handler of its operator.

An operator without a handler is replaced by its definition when ONNX defines it by others (a function), be it in the
standard or in the model itself.  What a shape depends on is worked out on the way: an operand that must be known is
evaluated from the constants it is made of, sizes of a tensor may stay open, and an input's value is asked for with
NeedsValue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TypeProto,
    ValueInfoProto,
    defs,
)

from graphc.errors import Fact, GraphcError, nearest
from graphc.frontends.onnx.call import Call, Operand, checked_attributes
from graphc.frontends.onnx.errors import NeedsValue, OnnxError, OnnxLimitError, UnsupportedOperator
from graphc.frontends.onnx.loops import ManyBodies
from graphc.frontends.onnx.operators import HANDLERS
from graphc.frontends.onnx.reading import MAX_DEPTH, Folder
from graphc.frontends.onnx.sizes import SIZES, as_sizes
from graphc.frontends.onnx.tensors import check_bytes, checked_shape, element_type, onnx_type
from graphc.interpret import run_node
from graphc.ir.builder import Builder
from graphc.ir.dims import Dim, symbol
from graphc.ir.graph import Graph, Provenance, Value
from graphc.ir.op import TypeRuleError
from graphc.ir.types import MAX_RANK, TensorType, dtype_of

MAX_CALLS = 100
MAX_RECORDED = 1_000
MAX_EVALUATED = 256 << 20
MAX_GRAPH_NODES = 2_000_000
NEWEST = defs.onnx_opset_version()
_NAME = re.compile(r"[^A-Za-z0-9_]")


@dataclass
class Scope:
    """The names that can be read at a node: its own graph's, then those of the graphs around it."""

    opsets: Mapping[str, int]
    values: dict[str, Operand] = field(default_factory=dict)
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)
    outer: Scope | None = None
    depth: int = 0

    def find(self, name: str) -> Operand:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise OnnxError(f"{name!r} is read, but nothing above it makes it")

    def inner(self) -> Scope:
        if self.depth == MAX_DEPTH:
            raise OnnxLimitError(f"subgraphs are nested more than {MAX_DEPTH} deep")
        return Scope(self.opsets, attributes=self.attributes, outer=self, depth=self.depth + 1)


class Importer:
    """Makes one graph of one model."""

    def __init__(
        self,
        model: ModelProto,
        folder: Folder,
        *,
        name: str,
        file: str,
        types: Mapping[str, TensorType],
        given: Mapping[str, Any],
        arrays: dict[str, np.ndarray],
    ):
        self.model, self.folder, self.file, self.types, self.given = model, folder, file, types, given
        self.builder = self.root = Builder(name)
        self.data: dict[str, np.ndarray] = {}
        self.inputs: dict[str, Value] = {}  # by their names in the file
        self.declared: dict[str, TensorType] = {}  # of all inputs, by their names in the file
        self.arrays: dict[Value, np.ndarray] = {}  # what was evaluated while importing
        self.tensors = arrays  # of the file, by name
        self.functions: dict[tuple[str, str], FunctionProto] = {}
        for function in model.functions:
            key = (function.domain, function.name)
            if key in self.functions:
                raise OnnxError(f"function {function.name!r} is defined twice")
            self.functions[key] = function
        self.recorded = 0  # bodies of loops
        self.calls: list[str] = []  # the functions being inlined
        self.path: list[str] = []  # the nodes being imported, outermost first

    def run(self) -> Graph:
        graph = self.model.graph
        scope = Scope(opsets_of(self.model.opset_import))
        with self.builder:
            self._initializers(graph, scope)
            self._inputs(graph, scope)
            try:
                self.nodes(graph.node, scope)
            except NeedsValue as needed:
                needed.types = self.declared
                needed.facts += [Fact(name, str(self.declared[name])) for name in needed.inputs]
                raise
            outputs = [self.as_value(scope.find(value.name)) for value in graph.output]
        names = [value.name for value in graph.output]
        if not outputs:
            raise OnnxError("the model has no output")
        if len(set(names)) != len(names):
            raise OnnxError("two outputs of the model have the same name")
        for value, declared in zip(outputs, graph.output, strict=True):
            self._check_declared(value, declared)
        return self.builder.finish(outputs, names, data=self.data)

    # --- leaves

    def _initializers(self, graph: GraphProto, scope: Scope) -> None:
        if graph.sparse_initializer:
            raise UnsupportedOperator("the model has sparse tensors")
        for tensor in graph.initializer:
            if tensor.name in scope.values:
                raise OnnxError(f"tensor {tensor.name!r} is given twice")
            if tensor.name in self.given:
                continue
            array = self.tensors.get(tensor.name) if scope.outer is None else None
            if array is None:
                array = self.folder.array(tensor, f"tensor {tensor.name!r}")
            if scope.outer is None:
                self.tensors[tensor.name] = array
            scope.values[tensor.name] = self.leaf(array, tensor.name)

    def _inputs(self, graph: GraphProto, scope: Scope) -> None:
        names = [value.name for value in graph.input if value.name not in scope.values]
        unknown = sorted((self.given.keys() | self.types.keys()) - set(names))
        if unknown:
            raise OnnxError(
                f"{self.file} has no input {unknown[0]!r}{nearest(unknown[0], names)}",
                fix=f"its inputs are {', '.join(names)}",
            )
        seen: set[str] = set()
        for value in graph.input:
            if value.name in seen:
                raise OnnxError(f"two inputs of the model are called {value.name!r}")
            seen.add(value.name)
            if value.name in scope.values:
                continue  # an initializer gives it; models before IR 4 list every tensor as an input
            declared = self.declared[value.name] = self._declared(value)
            if value.name in self.given:
                array = given_array(value.name, self.given[value.name], declared)
                scope.values[value.name] = self.constant(array, value.name)
                continue
            leaf = self.inputs[value.name] = self.builder.leaf("input", value.name, declared)
            scope.values[value.name] = leaf

    def _declared(self, value: ValueInfoProto) -> TensorType:
        if value.name in self.types:
            return self.types[value.name]
        try:
            return declared_type(value)
        except UnsupportedOperator as error:
            opset = next(
                (item.version for item in self.model.opset_import if item.domain in ("", "ai.onnx")), 0
            )
            readers = [node.op_type for node in self.model.graph.node if value.name in node.input]
            error.message += f"; it is read by {readers[0] if readers else 'nothing'} (opset {opset})"
            raise

    def leaf(self, array: np.ndarray, name: str) -> Value:
        """A parameter for floating-point numbers, a constant for anything else."""
        return self._leaf("parameter" if array.dtype.kind == "f" else "constant", array, name)

    def constant(self, array: np.ndarray, name: str = "constant") -> Value:
        """An array that is no parameter."""
        return self._leaf("constant", np.asarray(array), name)

    def _leaf(self, kind: str, array: np.ndarray, name: str) -> Value:
        array = np.ascontiguousarray(array).reshape(array.shape)
        type = TensorType(dtype_of(array), array.shape)
        if array.ndim == 0 and kind == "constant":
            value = self.builder.constant(array.item(), type.dtype)
        else:
            value = self.root.leaf(kind, name, type)  # type: ignore[arg-type]
            self.data[value.name] = array
        self.arrays[value] = array
        return value

    def _check_declared(self, value: Value, declared: ValueInfoProto) -> None:
        if not declared.type.tensor_type.elem_type:
            return
        dtype = element_type(declared.type.tensor_type.elem_type, f"output {declared.name!r}")
        if dtype != value.dtype:
            raise OnnxError(f"output {declared.name!r} is declared {dtype}; the model computes {value.dtype}")
        if not declared.type.tensor_type.HasField("shape"):
            return
        sizes = [
            d.dim_value if d.HasField("dim_value") else None for d in declared.type.tensor_type.shape.dim
        ]
        if len(sizes) != value.type.rank or any(
            wanted is not None and isinstance(size, int) and size != wanted
            for wanted, size in zip(sizes, value.shape, strict=False)
        ):
            shown = ["?" if size is None else size for size in sizes]
            raise OnnxError(
                f"output {declared.name!r} is declared with sizes {shown}; the model computes {value.type}"
            )

    # --- operands

    def as_value(self, operand: Operand | None) -> Value:
        if isinstance(operand, Value):
            return operand
        assert operand is not None
        return as_sizes(self, operand)

    def array_of(self, operand: Operand | None, what: str) -> np.ndarray:
        """The elements of an operand, evaluated from constants.  Raises NeedsValue."""
        assert operand is not None
        if isinstance(operand, np.ndarray):
            return operand
        stack = [operand]
        while stack:
            value = stack[-1]
            if value in self.arrays:
                stack.pop()
                continue
            if value.node is None:
                self._needs(operand, what)
            assert value.node is not None  # _needs raises
            missing = [v for v in value.node.inputs if v not in self.arrays]
            if missing:
                stack += missing
                continue
            stack.pop()
            self._evaluate(value, what)
        return self.arrays[operand]

    def _evaluate(self, value: Value, what: str) -> None:
        assert value.node is not None
        for output in value.node.outputs:
            if output.type.symbols:
                raise UnsupportedOperator(f"{what} depends on the open size {output.type.symbols[0]}")
            assert isinstance(output.type.nbytes, int)
            if output.type.nbytes > MAX_EVALUATED:
                raise OnnxLimitError(f"{what} is worked out from {output.type}, which is too large")
        with np.errstate(all="ignore"):
            results = run_node(value.node, [self.arrays[v] for v in value.node.inputs], {})
        self.arrays.update(zip(value.node.outputs, results, strict=True))

    def _needs(self, value: Value, what: str) -> None:
        """Raise NeedsValue with the inputs a value depends on."""
        found, seen, stack = [], set(), [value]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            if current.node is not None:
                stack += current.node.inputs
            elif current.leaf == "input":
                found.append(current)
        names = [name for name, leaf in self.inputs.items() if leaf in found]
        shown = " and ".join(repr(name) for name in names)
        raise NeedsValue(
            f"{what} must be known, and depends on the value of input {shown}",
            inputs=tuple(names),
            fix=f'--value {names[0]}=..., or values={{"{names[0]}": ...}}' if names else "",
        )

    # --- nodes

    def nodes(self, nodes: Sequence[NodeProto], scope: Scope) -> None:
        for index, node in enumerate(nodes):
            self.path.append(
                f"node {index}" + (f" {node.name!r}" if node.name else "") + f" ({node.op_type})"
            )
            try:
                if len(self.builder.nodes) > MAX_GRAPH_NODES:
                    raise OnnxLimitError(f"the model unrolls to more than {MAX_GRAPH_NODES} operations")
                self._node(node, scope)
            except TypeRuleError as error:
                raise OnnxError(error.message, where=self.where()) from None
            except GraphcError as error:
                error.where = error.where or self.where()
                if isinstance(error, UnsupportedOperator) and "opset" not in error.message:
                    error.message += f" ({node.op_type}, opset {scope.opsets.get(node.domain, '?')})"
                raise
            except RecursionError:
                raise OnnxLimitError(
                    "functions and subgraphs are nested too deep", where=self.where()
                ) from None
            self.path.pop()

    def where(self) -> str:
        return ", ".join([self.file, *self.path])

    def _node(self, node: NodeProto, scope: Scope) -> None:
        outputs = [name for name in node.output if name]
        if any(name in scope.values for name in outputs) or len(set(outputs)) != len(outputs):
            raise OnnxError(f"{next((n for n in outputs if n in scope.values), outputs[0])!r} is made twice")
        operands = [scope.find(name) if name else None for name in node.input]
        module = module_path(node.name)
        with self.builder.at(Provenance(module=module) if module else self.builder.provenance):
            before = len(self.builder.nodes)
            results = self._apply(node, scope, operands)
        for name, result in zip(node.output, results, strict=False):
            if not name:
                continue
            if isinstance(result, Value):
                self._check_size(result)
                if result.node is not None and len(self.builder.nodes) > before:
                    made = result.node is self.builder.nodes[-1] or result.node in self.builder.nodes[before:]
                    if made and not self.calls:
                        self.builder.rename(result, name)
            scope.values[name] = result
        missing = [n for n in node.output[len(results) :] if n]
        if missing:
            raise UnsupportedOperator(f"{node.op_type} does not give its output {missing[0]!r}")

    def _check_size(self, value: Value) -> None:
        if isinstance(value.type.nbytes, int):
            check_bytes(value.type.nbytes, f"{value.type}")
        if value.type.rank > MAX_RANK:
            raise OnnxLimitError(f"{value.type} has more than {MAX_RANK} dimensions")

    def _apply(self, node: NodeProto, scope: Scope, operands: list[Operand | None]) -> Sequence[Operand]:
        own = self.functions.get((node.domain, node.op_type))
        if own is not None:
            return self._inline(own, node, scope, operands, opsets_of(own.opset_import))
        domain = "" if node.domain == "ai.onnx" else node.domain
        opset = scope.opsets.get(domain)
        if opset is None:
            raise OnnxError(f"the model imports no opset of the domain {domain or 'ai.onnx'!r}")
        try:
            schema = defs.get_schema(node.op_type, opset, domain)
        except defs.SchemaError:
            raise UnsupportedOperator(
                f"there is no operator {node.op_type} in opset {opset} of {domain or 'ai.onnx'}"
            ) from None
        if schema.deprecated:
            raise OnnxError(f"{node.op_type} is deprecated in opset {opset}")
        if not schema.min_input <= len(operands) <= schema.max_input:
            raise OnnxError(f"{node.op_type} of opset {schema.since_version} takes no {len(operands)} inputs")
        if not schema.min_output <= len(node.output) <= schema.max_output:
            raise OnnxError(
                f"{node.op_type} of opset {schema.since_version} gives no {len(node.output)} outputs"
            )
        attributes = checked_attributes(node, schema, scope.attributes)
        call = Call(self, scope, node, schema, operands, attributes)
        if any(isinstance(operand, np.ndarray) for operand in operands) and node.op_type in SIZES:
            sizes = SIZES[node.op_type](call)
            if sizes is not None:
                return [sizes]
        handler = HANDLERS.get((domain, node.op_type))
        if handler is not None:
            result = handler(call)
            return result if isinstance(result, (tuple, list)) else [result]
        body = self._standard_body(resolved(node, scope), schema, opset, operands)
        if body is None:
            kinds = ", ".join(dict.fromkeys(str(v.dtype) for v in operands if isinstance(v, Value)))
            raise UnsupportedOperator(
                f"graphc has no operator {node.op_type} (opset {schema.since_version}"
                + (f", of {kinds})" if kinds else ")")
            )
        return self._inline(body, node, scope, operands, {**scope.opsets, **opsets_of(body.opset_import)})

    def _standard_body(
        self, node: NodeProto, schema: defs.OpSchema, opset: int, operands: list[Operand | None]
    ) -> FunctionProto | None:
        """The definition of an operator by others, as the ONNX standard gives it."""
        data = b""
        if schema.has_context_dependent_function:
            types = [type_of(self.as_value(v)) if v is not None else TypeProto() for v in operands]
            data = schema.get_context_dependent_function_with_opset_version(
                opset, node.SerializeToString(), [t.SerializeToString() for t in types]
            )
        if not data and schema.has_function:
            data = schema.get_function_with_opset_version(opset)
        if not data:
            return None
        body = FunctionProto()
        body.ParseFromString(data)
        return body

    def _inline(
        self,
        function: FunctionProto,
        node: NodeProto,
        scope: Scope,
        operands: list[Operand | None],
        opsets: Mapping[str, int],
    ) -> list[Operand]:
        if (
            len(self.calls) >= MAX_CALLS
            or function.name in self.calls
            and self.calls.count(function.name) > 8
        ):
            raise OnnxError(f"functions call each other without end: {' -> '.join(self.calls[:8])}")
        if len(operands) > len(function.input):
            raise OnnxError(
                f"function {function.name} takes {len(function.input)} inputs, not {len(operands)}"
            )
        given = {a.name: a for a in node.attribute if not a.ref_attr_name}
        for attribute in node.attribute:
            if attribute.ref_attr_name in scope.attributes:
                given[attribute.name] = scope.attributes[attribute.ref_attr_name]
        bound = {**{a.name: a for a in function.attribute_proto}, **given}
        inner = Scope({**scope.opsets, **opsets}, attributes=bound, depth=scope.depth)
        if function.domain == "" or function.domain == "ai.onnx":
            schema = defs.get_schema(function.name, scope.opsets.get("", NEWEST), "")
            defaults = {n: a.default_value for n, a in schema.attributes.items() if a.default_value.type}
            inner.attributes = {**defaults, **bound}
        padded = [*operands, *[None] * (len(function.input) - len(operands))]
        for name, operand in zip(function.input, padded, strict=True):
            if operand is not None:
                inner.values[name] = operand
        absent = {n for n, o in zip(function.input, padded, strict=True) if o is None}
        nodes = [without(n, absent) for n in function.node] if absent else function.node
        self.calls.append(function.name)
        try:
            self.nodes(nodes, inner)
        finally:
            self.calls.pop()
        return [inner.find(name) if name in inner.values else None for name in function.output]  # type: ignore[misc]

    @contextmanager
    def recording(self, builder: Builder) -> Iterator[None]:
        """What is imported inside goes to this builder.  Raises ManyBodies for what cannot be said there."""
        before, depth, calls = self.builder, len(self.path), len(self.calls)
        self.recorded += 1
        if self.recorded > MAX_RECORDED:
            raise OnnxLimitError(f"the model has more than {MAX_RECORDED} loops")
        self.builder = builder
        try:
            with builder:
                yield
        except (NeedsValue, UnsupportedOperator) as error:
            if isinstance(error, NeedsValue) and error.inputs:
                raise
            del self.path[depth:], self.calls[calls:]
            raise ManyBodies from None
        finally:
            self.builder = before

    def subgraph(self, graph: GraphProto, scope: Scope, operands: Sequence[Operand]) -> list[Operand]:
        """Import a graph that stands in an attribute, with these operands as its inputs."""
        inner = scope.inner()
        if len(operands) != len(graph.input):
            raise OnnxError(f"a subgraph takes {len(graph.input)} inputs; {len(operands)} are given")
        self._initializers(graph, inner)
        for value, operand in zip(graph.input, operands, strict=True):
            inner.values[value.name] = operand
        self.nodes(graph.node, inner)
        return [inner.find(value.name) for value in graph.output]


def given_array(name: str, given: Any, declared: TensorType) -> np.ndarray:
    """The value of an input, as numbers or an array.  Raises OnnxError when it is not of the declared type."""
    array = np.asarray(given)
    if not isinstance(given, np.ndarray):
        array = (
            array.astype(declared.dtype.numpy)
            if (array.astype(declared.dtype.numpy) == array).all()
            else array
        )
        array = array.reshape(()) if declared.rank == 0 and array.size == 1 else array
        array = array.reshape(1) if declared.rank == 1 and array.ndim == 0 else array
    fits = array.dtype == declared.dtype.numpy and array.ndim == declared.rank
    if not fits or any(
        isinstance(d, int) and d != n for d, n in zip(declared.shape, array.shape, strict=True)
    ):
        raise OnnxError(f"input {name!r} is {declared}; {array.dtype}{list(array.shape)} is given")
    return array


def without(node: NodeProto, absent: set[str]) -> NodeProto:
    """A node of a function with the operands left out that the caller left out."""
    if not absent.intersection(node.input):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    for index, name in enumerate(copy.input):
        if name in absent:
            copy.input[index] = ""
    return copy


def resolved(node: NodeProto, scope: Scope) -> NodeProto:
    """A node of a function with the attributes it takes from the function's caller."""
    if not any(a.ref_attr_name for a in node.attribute):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            copy.attribute.append(attribute)
        elif attribute.ref_attr_name in scope.attributes:
            copy.attribute.append(scope.attributes[attribute.ref_attr_name])
            copy.attribute[-1].name = attribute.name
    return copy


def opsets_of(imports: Sequence) -> dict[str, int]:
    """Version by domain.  Raises OnnxError for one that is unknown or given twice."""
    opsets: dict[str, int] = {}
    for item in imports:
        domain = "" if item.domain == "ai.onnx" else item.domain
        if opsets.get(domain, item.version) != item.version:
            raise OnnxError(f"the domain {domain or 'ai.onnx'} is imported in two versions")
        if domain == "" and not 1 <= item.version <= NEWEST:
            raise UnsupportedOperator(f"opset {item.version} is not known; 1 to {NEWEST} are")
        opsets[domain] = item.version
    return opsets


def declared_type(value: ValueInfoProto) -> TensorType:
    """The type of an input.  Raises OnnxError when it is no tensor of known rank."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedOperator(
            f"input {value.name!r} is a {(kind or 'value of no type').replace('_type', '')}"
        )
    tensor = value.type.tensor_type
    dtype = element_type(tensor.elem_type, f"input {value.name!r}")
    if not tensor.HasField("shape"):
        raise UnsupportedOperator(f"input {value.name!r} has no shape")
    sizes: list[Dim] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value"):
            sizes.append(int(dim.dim_value))
        else:
            name = dim.dim_param if dim.HasField("dim_param") else ""
            sizes.append(symbol(symbol_name(name or f"{value.name}_{axis}")))
    checked_shape(
        [1 if not isinstance(s, int) else s for s in sizes], dtype.itemsize, f"input {value.name!r}"
    )
    return TensorType(dtype, tuple(sizes))


def symbol_name(text: str) -> str:
    name = _NAME.sub("_", text)
    return name if name[:1].isalpha() else f"d_{name}"


def type_of(value: Value) -> TypeProto:
    """The ONNX type of a value."""
    result = TypeProto()
    result.tensor_type.elem_type = onnx_type(value.dtype)
    for size in value.shape:
        dim = result.tensor_type.shape.dim.add()
        if isinstance(size, int):
            dim.dim_value = size
        else:
            dim.dim_param = str(size)
    return result


def module_path(name: str) -> str:
    """The module a node's name tells of, as exporters write it.

    >>> module_path("/layer1/layer1.0/conv1/Conv"), module_path("Conv_17")
    ('layer1.0.conv1', '')
    """
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)
