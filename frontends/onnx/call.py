"""One use of an operator: its operands and attributes, checked against ONNX's own schema of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import AttributeProto, NodeProto, defs

from graphc.frontends.onnx.errors import NeedsValue, OnnxError, UnsupportedOperator
from graphc.frontends.onnx.tensors import element_type
from graphc.ir.dims import Dim
from graphc.ir.graph import Value
from graphc.ir.types import DType

if TYPE_CHECKING:
    from graphc.frontends.onnx.importer import Importer, Scope

Operand = Value | np.ndarray
"""A value of the graph, or a vector of sizes of which some are open (an array of objects)."""

_PLAIN: dict[int, str] = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
}


class Call:
    """A node with its operands; `call[0]` is the first one, `call.alpha` would be `call.attribute("alpha")`."""

    def __init__(
        self,
        importer: Importer,
        scope: Scope,
        node: NodeProto,
        schema: defs.OpSchema,
        operands: list[Operand | None],
        attributes: Mapping[str, Any],
    ):
        self.importer, self.scope, self.node, self.schema = importer, scope, node, schema
        self.operands, self.attributes = operands, attributes

    @property
    def name(self) -> str:
        return self.node.op_type

    @property
    def version(self) -> int:
        """The opset in which this form of the operator came."""
        return self.schema.since_version

    def __len__(self) -> int:
        return len(self.operands)

    def has(self, index: int) -> bool:
        return index < len(self.operands) and self.operands[index] is not None

    def wants(self, index: int) -> bool:
        """Whether anything may read the output."""
        return index < len(self.node.output) and self.node.output[index] != ""

    def __getitem__(self, index: int) -> Value:
        if not self.has(index):
            raise OnnxError(f"{self.name} needs its input {index + 1}")
        return self.importer.as_value(self.operands[index])

    def get(self, index: int) -> Value | None:
        return self[index] if self.has(index) else None

    def all(self) -> list[Value]:
        return [self[i] for i in range(len(self))]

    def known(self, index: int) -> np.ndarray:
        """The elements of an operand.  Raises NeedsValue when they depend on an input of the model."""
        if not self.has(index):
            raise OnnxError(f"{self.name} needs its input {index + 1}")
        array = self.importer.array_of(self.operands[index], self.input_name(index))
        if array.dtype == object and all(isinstance(size, int) for size in array.flat):
            array = array.astype(np.int64)
        if array.dtype == object:
            raise UnsupportedOperator(
                f"{self.input_name(index)} of {self.name} depends on an open size: {list(array.flat)}",
                fix="load the model with fixed sizes",
            )
        return array

    def sizes(self, index: int) -> tuple[Dim, ...]:
        """The elements of a vector of sizes; some may be open."""
        array = self.importer.array_of(self.operands[index], self.input_name(index))
        if array.ndim > 1:
            raise OnnxError(f"{self.input_name(index)} of {self.name} must be a vector")
        return tuple(d if array.dtype == object and not isinstance(d, int) else int(d) for d in array.flat)

    def ints(self, index: int) -> tuple[int, ...]:
        return tuple(int(i) for i in self.known(index).flat)

    def is_known(self, index: int) -> bool:
        try:
            self.known(index)
        except (NeedsValue, UnsupportedOperator):
            return False
        return True

    def input_name(self, index: int) -> str:
        formal = self.schema.inputs
        return formal[min(index, len(formal) - 1)].name if formal else f"input {index + 1}"

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, else the schema's default, else `default`."""
        return self.attributes.get(name, default)

    def dtype(self, name: str, default: DType | None = None) -> DType:
        """The dtype an attribute names."""
        code = self.attribute(name)
        if code is None and default is not None:
            return default
        return element_type(int(code or 0), f"{self.name}: {name}")

    def axis(self, rank: int, name: str = "axis", default: int = 0) -> int:
        return normal_axis(self.attribute(name, default), rank, self.name)

    def unsupported(self, what: str, fix: str = "") -> UnsupportedOperator:
        return UnsupportedOperator(f"{self.name} (opset {self.version}): {what}", fix=fix)


def normal_axis(axis: int, rank: int, name: str) -> int:
    """An axis counted from 0.  Raises OnnxError when there is no such axis."""
    if not -rank <= axis < rank:
        raise OnnxError(f"{name}: there is no axis {axis} in {rank} dimensions")
    return axis % rank if rank else 0


def normal_axes(axes: Any, rank: int, name: str) -> tuple[int, ...]:
    """Sorted axes counted from 0.  Raises OnnxError for one that is missing or given twice."""
    found = sorted(normal_axis(int(axis), rank, name) for axis in axes)
    if len(set(found)) != len(found):
        raise OnnxError(f"{name}: an axis is given twice in {list(axes)}")
    return tuple(found)


def attribute_value(attribute: AttributeProto) -> Any:
    """The plain value of an attribute.  Raises OnnxError for one without a type."""
    field = _PLAIN.get(attribute.type)
    if field is None:
        raise UnsupportedOperator(f"attribute {attribute.name!r} is of a type graphc does not read")
    value = getattr(attribute, field)
    if field == "s":
        return _text(value, attribute.name)
    if field == "strings":
        return [_text(item, attribute.name) for item in value]
    return list(value) if field in ("floats", "ints", "tensors", "graphs") else value


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise OnnxError(f"attribute {name!r} is no UTF-8 text") from None


def checked_attributes(
    node: NodeProto, schema: defs.OpSchema, bound: Mapping[str, AttributeProto]
) -> dict[str, Any]:
    """The attributes of a node by name, defaults included; `bound` are those of the function it stands in.

    Raises OnnxError for one the operator does not have, of another type, given twice, or missing.
    """
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for attribute in node.attribute:
        name = attribute.name
        if name in seen:
            raise OnnxError(f"attribute {name!r} is given twice")
        seen.add(name)
        if name not in schema.attributes:
            raise OnnxError(f"{node.op_type} of opset {schema.since_version} has no attribute {name!r}")
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in bound:
                continue  # the caller of the function left it out
            attribute = bound[attribute.ref_attr_name]
        wanted = schema.attributes[name].type.value
        if attribute.type != wanted:
            kinds = AttributeProto.AttributeType
            given = kinds.Name(attribute.type) if attribute.type in kinds.values() else attribute.type
            raise OnnxError(
                f"attribute {name!r} of {node.op_type} is {given}; {kinds.Name(wanted)} is wanted".replace(
                    "UNDEFINED", "of no type"
                )
            )
        found[name] = attribute_value(attribute)
    for name, declared in schema.attributes.items():
        if name in found:
            continue
        if declared.required:
            raise OnnxError(f"{node.op_type} needs the attribute {name!r}")
        if declared.default_value.type != AttributeProto.UNDEFINED:
            found[name] = attribute_value(declared.default_value)
    return found
