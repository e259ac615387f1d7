"""The graph: values, nodes, graphs.  Immutable; passes make new ones.

A `Value` is one output of a node, or an input, parameter or constant of the graph.  A `Graph`
lists its nodes in topological order.  Arrays stay beside the graph, in `Graph.data`, never in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from graphc.ir.arithmetic import Arithmetic
from graphc.ir.dims import substitute
from graphc.ir.op import Op
from graphc.ir.types import TensorType

if TYPE_CHECKING:
    import numpy as np

    from graphc.source import Span

Role = Literal["forward", "backward", "update"]
Leaf = Literal["input", "parameter", "constant"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a node comes from.  It never takes part in what a node computes.

    span      the user's file, line and column
    module    path of the module that was running: `layer3.0.conv1`
    role      forward, backward or update
    forward   for backward nodes: name of the forward node (its first output) this one differentiates
    variable  name the user's source gives the result
    made_by   the pass that made the node; empty when the user's code did
    """

    span: Span | None = None
    module: str = ""
    role: Role = "forward"
    forward: str = ""
    variable: str = ""
    made_by: str = ""

    def with_(self, **changes: Any) -> Provenance:
        return replace(self, **changes)


NOWHERE = Provenance()


class Value(Arithmetic):
    """One tensor of a graph.  Compared by identity; `name` is unique within its graph."""

    __slots__ = ("name", "type", "node", "index", "leaf")

    def __init__(
        self, name: str, type: TensorType, node: Node | None = None, index: int = 0, leaf: Leaf | None = None
    ):
        self.name, self.type, self.node, self.index, self.leaf = name, type, node, index, leaf

    @property
    def shape(self) -> tuple:
        return self.type.shape

    @property
    def dtype(self) -> Any:
        return self.type.dtype

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type.gir}"


class Node:
    """An op applied to values.  `outputs` are its values; `attributes` are numbers, names, dims and graphs."""

    __slots__ = ("op", "inputs", "attributes", "outputs", "provenance")

    def __init__(
        self,
        op: Op,
        inputs: tuple[Value, ...],
        attributes: Mapping[str, Any],
        types: tuple[TensorType, ...],
        names: tuple[str, ...],
        provenance: Provenance = NOWHERE,
    ):
        self.op, self.inputs, self.attributes, self.provenance = op, inputs, dict(attributes), provenance
        self.outputs = tuple(Value(n, t, self, i) for i, (n, t) in enumerate(zip(names, types, strict=True)))

    @property
    def bodies(self) -> list[Graph]:
        """The graphs among the attributes, as the body of a loop."""
        return [attribute for attribute in self.attributes.values() if isinstance(attribute, Graph)]

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value

    @property
    def name(self) -> str:
        return self.outputs[0].name

    def __repr__(self) -> str:
        from graphc.ir.printer import print_node

        return print_node(self)


@dataclass(frozen=True, eq=False)
class Graph:
    """A static computation.

    inputs        what the caller gives, in order
    parameters    trainable arrays, by name
    constants     other arrays: buffers, folded weights
    nodes         in topological order
    outputs       the results; `output_names` are their names for the caller
    dims          the range (low, high or None) of each symbol
    data          arrays of parameters and constants, kept beside the graph (may be empty)
    gradients     after autodiff: name of a forward value -> name of its gradient; a pass may drop entries
    """

    name: str
    inputs: tuple[Value, ...]
    parameters: tuple[Value, ...]
    constants: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...]
    dims: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    data: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    gradients: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def leaves(self) -> tuple[Value, ...]:
        return self.inputs + self.parameters + self.constants

    def values(self) -> Iterator[Value]:
        yield from self.leaves
        for node in self.nodes:
            yield from node.outputs

    @cached_property
    def by_name(self) -> dict[str, Value]:
        return {value.name: value for value in self.values()}

    def value(self, name: str) -> Value:
        """The value called `name`.  Raises KeyError."""
        return self.by_name[name]

    @cached_property
    def users(self) -> dict[Value, tuple[Node, ...]]:
        """The nodes that read each value, in order; a node that reads it twice stands there once."""
        users: dict[Value, list[Node]] = {value: [] for value in self.values()}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                users[value].append(node)
        return {value: tuple(nodes) for value, nodes in users.items()}

    def with_(self, **changes: Any) -> Graph:
        return replace(self, **changes)

    def bind(self, arrays: Mapping[str, Any]) -> dict[str, int]:
        """The value of every symbol, read off the shapes of the inputs' arrays (by input name)."""
        bindings: dict[str, int] = {}
        for value in self.inputs:
            for dim, size in zip(value.type.shape, arrays[value.name].shape, strict=True):
                if not isinstance(dim, int) and str(dim).isidentifier():
                    bindings.setdefault(str(dim), size)
        return bindings

    def __repr__(self) -> str:
        from graphc.ir.printer import print_graph

        return print_graph(self)


def bind_attributes(attributes: Mapping[str, Any], bindings: Mapping[str, int]) -> dict[str, Any]:
    """Attributes with every symbolic dimension replaced by its size."""
    return {key: _bind(value, bindings) for key, value in attributes.items()}


def _bind(value: Any, bindings: Mapping[str, int]) -> Any:
    from graphc.ir.dims import SymbolicDim

    if isinstance(value, SymbolicDim):
        return substitute(value, bindings)
    if isinstance(value, tuple):
        return tuple(_bind(item, bindings) for item in value)
    if isinstance(value, Graph):
        from graphc.ir.specialize import bound

        return bound(value, bindings)
    return value
