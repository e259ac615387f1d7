"""The mood outside of a trace: computations on data are recorded, and run when a number is asked for.

Each result holds on to the node that makes it, and so to its operands; nothing else does, so what is no longer used is
freed.  Asking for numbers cuts out the graph below and runs it; `backward` differentiates that same graph first.
There is no second engine and no tape.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ShapeError, UsageError
from graphc.ir.builder import Builder, canonical_attribute, infer_types
from graphc.ir.graph import Graph, Node, Provenance, Value
from graphc.ir.op import Op
from graphc.ir.specialize import as_inputs, as_parameters
from graphc.ir.types import TensorType
from graphc.source import user_frame
from graphc.tensor.recording import Recorder, here, supported_dtype

if TYPE_CHECKING:
    from graphc.tensor.tensor import Tensor

Run = Callable[[Graph], Sequence[np.ndarray]]


class Held(Value):
    """A leaf that holds its array, and the tensor whose data it is."""

    __slots__ = ("array", "owner")

    def __init__(self, name: str, array: np.ndarray, owner: Tensor | None):
        kind: Any = "parameter" if owner is not None and owner.requires_grad else "constant"
        super().__init__(name, TensorType(supported_dtype(array), array.shape), leaf=kind)
        self.array, self.owner = array, owner


class LazyNode(Node):
    """A node that keeps the numbers of its outputs once they are known."""

    __slots__ = ("arrays",)

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.arrays: list[np.ndarray | None] = [None] * len(self.outputs)


class LazyBuilder(Builder):
    """Makes nodes that nobody lists: their users hold them.  Names get unique when a graph is cut out."""

    def __init__(self) -> None:
        super().__init__("lazy")
        self.nodes = []

    def emit(
        self,
        op: Op,
        inputs: Sequence[Value],
        attributes: Mapping[str, Any],
        names: Sequence[str] = (),
        provenance: Provenance | None = None,
    ) -> tuple[Value, ...]:
        attributes = {key: canonical_attribute(value) for key, value in sorted(attributes.items())}
        types = infer_types(op, tuple(v.type for v in inputs), attributes)
        provenance = provenance or self.provenance
        names = tuple(names) or tuple(self._hint(op, i, provenance) for i in range(len(types)))
        node = LazyNode(op, tuple(inputs), attributes, types, names, provenance)
        self.nodes[:] = [node]  # only the last one, which may still get the user's name for it
        return node.outputs

    def rename(self, value: Value, hint: str) -> None:
        value.name = hint


class LazyRecorder(Recorder):
    """Recorder of what happens outside of any trace; one for each thread."""

    def __init__(self) -> None:
        super().__init__(LazyBuilder())

    def mark(self) -> int:
        return 0  # the builder remembers only its last node

    def value_of(self, operand: Tensor | np.ndarray) -> Value:
        from graphc.tensor.recording import foreign

        if isinstance(operand, np.ndarray):
            return Held(
                "array", np.array(operand), None
            )  # a copy: the caller may write to it before it is read
        if operand.recording is not None:
            raise foreign(operand)
        return operand.value

    def wrap(self, value: Value) -> Tensor:
        from graphc.tensor.tensor import Tensor

        return Tensor.of_value(value, None)


_threads = threading.local()


def lazy_recorder() -> LazyRecorder:
    found: LazyRecorder | None = getattr(_threads, "recorder", None)
    if found is None:
        found = _threads.recorder = LazyRecorder()
    found.builder.nodes.clear()
    return found


def held(tensor: Tensor) -> Held:
    """The leaf for a tensor of data."""
    assert tensor._array is not None
    return Held(tensor.name or "tensor", tensor._array, tensor)


def run(graph: Graph) -> Sequence[np.ndarray]:
    """Run a graph whose leaves all have data: op by op, unless `set_engine` put a compiler in its place."""
    return _engine(graph)


def _interpret(graph: Graph) -> Sequence[np.ndarray]:
    from graphc.interpret import interpret

    return interpret(graph, {})


_engine: Run = _interpret


def set_engine(engine: Run) -> None:
    """What runs the graphs of lazy tensors from now on."""
    global _engine
    _engine = engine


def evaluate(values: Sequence[Value]) -> list[np.ndarray]:
    """The numbers of values outside of a trace."""
    pending = [value for value in dict.fromkeys(values) if _known(value) is None]
    if pending:
        graph, _ = cut(pending, reuse=True)
        for value, array in zip(pending, run(graph), strict=True):
            assert isinstance(value.node, LazyNode)
            array = np.array(array)
            array.flags.writeable = False
            value.node.arrays[value.index] = array
    arrays = [_known(value) for value in values]
    assert all(array is not None for array in arrays)
    return arrays  # type: ignore[return-value]


def _known(value: Value) -> np.ndarray | None:
    if isinstance(value, Held):
        return value.array
    return value.node.arrays[value.index] if isinstance(value.node, LazyNode) else None


def cut(outputs: Sequence[Value], *, reuse: bool) -> tuple[Graph, dict[str, Tensor]]:
    """The graph that computes these values, with its data, and the tensors its leaves stand for, by name.

    `reuse`: values already known become constants.  Outputs are called `y0`, `y1` ...
    """
    builder = Builder("lazy")
    data: dict[str, np.ndarray] = {}
    copies: dict[Value, Value] = {}
    owners: dict[str, Tensor] = {}
    for value in _in_order(outputs, reuse):
        known = _known(value) if reuse or isinstance(value, Held) else None
        if known is not None:
            leaf = builder.leaf(value.leaf or "constant", value.name, value.type)
            data[leaf.name] = known
            copies[value] = leaf
            if isinstance(value, Held) and value.owner is not None:
                owners[leaf.name] = value.owner
        elif value not in copies:
            node = value.node
            assert node is not None
            inputs = [copies[operand] for operand in node.inputs]
            names = [output.name for output in node.outputs]
            made = builder.emit(node.op, inputs, node.attributes, names, node.provenance)
            copies.update(zip(node.outputs, made, strict=True))
    names = [f"y{i}" for i in range(len(outputs))]
    return builder.finish([copies[value] for value in outputs], names, data=data), owners


def graph_of(tensor: Tensor) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph that computes a tensor, and arrays for its inputs: tensors of data, called as the user's variables.

    Parameters of modules stay parameters.
    """
    from graphc.tensor.tensor import Tensor

    if tensor.recording is not None:
        raise UsageError(
            f"{tensor.shown_name} belongs to a trace", span=here(), fix="take the graph of the trace"
        )
    frame = user_frame()
    variables = {**frame.f_globals, **frame.f_locals} if frame is not None else {}
    called = {id(value): name for name, value in variables.items() if isinstance(value, Tensor)}
    for value in _in_order([tensor.value], reuse=False):
        if isinstance(value, Held) and value.owner is not None and not value.owner.name:
            value.name = called.get(id(value.owner), value.name)
    graph, owners = cut([tensor.value], reuse=False)
    inputs = [name for name, owner in owners.items() if type(owner) is Tensor]
    arrays = {name: graph.data[name] for name in inputs}
    return as_inputs(graph, inputs).with_(name=tensor.value.name or graph.name), arrays


def _in_order(outputs: Sequence[Value], reuse: bool) -> list[Value]:
    """All values the outputs need, operands first."""
    order: list[Value] = []
    done: set[Value] = set()
    stack = [(value, False) for value in reversed(outputs)]
    while stack:
        value, expanded = stack.pop()
        if value in done:
            continue
        stop = isinstance(value, Held) or reuse and _known(value) is not None
        if expanded or stop:
            done.add(value)
            order.append(value)
            continue
        assert value.node is not None
        stack.append((value, True))
        stack += [(operand, False) for operand in reversed(value.node.inputs) if operand not in done]
    return order


def backward(tensor: Tensor, gradient: Any) -> None:
    """`tensor.backward(gradient)`; see there."""
    from graphc.autodiff import differentiate
    from graphc.tensor.tensor import Tensor

    if tensor.recording is not None:
        raise UsageError(
            "backward() inside a trace",
            span=here(),
            fix="differentiate the graph: graphc.differentiate(graph)",
        )
    graph, known = cut([tensor.value], reuse=False)
    owners = {leaf.name: known[leaf.name] for leaf in graph.parameters}
    if not owners and all(
        type(owner) is Tensor for owner in known.values()
    ):  # no frozen parameters of a module
        owners = {name: owner for name, owner in known.items() if owner.type.dtype.is_float}
        graph = as_parameters(graph, owners)
    if not owners:
        raise UsageError(
            f"{tensor.shown_name} does not depend on any tensor that requires a gradient",
            span=here(),
            fix="graphc.tensor(data, requires_grad=True), or a Module's parameters",
        )
    (output,) = graph.outputs
    if gradient is None and output.type.shape != ():
        raise ShapeError(
            f"backward() of a tensor of type {output.type} needs the gradient to start from",
            span=here(),
            fix="take .sum() or .mean() first, or pass backward(gradient) of the same shape",
        )
    joint = differentiate(graph, list(owners), keep_outputs=False)
    if gradient is not None and joint.inputs:
        seed = np.asarray(gradient.array if isinstance(gradient, Tensor) else gradient, output.dtype.numpy)
        if seed.shape != output.type.shape:
            raise ShapeError(
                f"the gradient has shape {list(seed.shape)}, the tensor is {output.type}", span=here()
            )
        (leaf,) = joint.inputs
        constant = Value(leaf.name, leaf.type, leaf="constant")
        joint = _with_leaf(joint, leaf, constant, seed)
    elif gradient is not None:
        raise ShapeError(
            "backward() of a single number takes no gradient", span=here(), fix="scale the number instead"
        )
    for (name, owner), array in zip(owners.items(), run(joint), strict=True):
        assert name
        total = np.array(array) if owner.grad is None else owner.grad.array + array
        owner.grad = Tensor(total)


def _with_leaf(graph: Graph, old: Value, new: Value, array: np.ndarray) -> Graph:
    """The graph with its one input fixed to an array."""
    builder = Builder(graph.name)
    builder.adopt(graph.parameters + graph.constants)
    builder.adopt([new])
    copies: dict[Value, Value] = {leaf: leaf for leaf in graph.leaves} | {old: new}
    for node in graph.nodes:
        made = builder.emit(
            node.op,
            [copies[v] for v in node.inputs],
            node.attributes,
            [v.name for v in node.outputs],
            node.provenance,
        )
        copies.update(zip(node.outputs, made, strict=True))
    outputs = [copies[value] for value in graph.outputs]
    return builder.finish(outputs, graph.output_names, data={**graph.data, new.name: array})
