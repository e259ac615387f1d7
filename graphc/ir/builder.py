"""The builder: the one way nodes are made.

A builder holds the graph under construction.  The innermost one is ambient (a context variable),
so that gradient rules, composite bodies and traced user code write plain formulas.  It makes
broadcasting explicit, lifts Python numbers to constants of the other operand's dtype, derives
types by the op's rule, and gives every value a name of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.errors import BroadcastError, DTypeError, Fact, GraphcError, InternalError, TraceError
from graphc.ir.dims import Dim, SymbolicDim
from graphc.ir.graph import NOWHERE, Graph, Leaf, Node, Provenance, Value
from graphc.ir.limits import tightened
from graphc.ir.op import REGISTRY, Kind, Op, TypeRuleError
from graphc.ir.types import DType, TensorType, dtype_of

_ambient: ContextVar[Builder] = ContextVar("builder")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.]")


def plain_name(hint: str) -> str:
    """The name that a value gets when it is free."""
    return _UNSAFE.sub("_", hint) or "v"


class Builder:
    """Builds one graph.

    >>> from graphc import ops
    >>> from graphc.ir.types import parse_type
    >>> with Builder("square") as b:
    ...     x = b.leaf("input", "x", parse_type("f32[N,3]"))
    ...     y = x * x + 1.0
    >>> b.finish([y], ["y"])
    graph square {
      input %x: f32[N,3]
      %mul: f32[N,3] = mul %x, %x
      %constant: f32[] = constant {dtype=f32, value=1.0}
      %broadcast_to: f32[N,3] = broadcast_to %constant {shape=(N, 3)}
      %add: f32[N,3] = add %mul, %broadcast_to
      return %add as "y"
    }
    """

    def __init__(self, name: str, *, taken: Sequence[str] = ()):
        self.name = name
        self.leaves: dict[Leaf, list[Value]] = {"input": [], "parameter": [], "constant": []}
        self.nodes: list[Node] = []
        self.provenance: Provenance = NOWHERE
        self._taken: dict[str, int] = dict.fromkeys(taken, 1)
        self._tokens: list[Any] = []

    @staticmethod
    def current() -> Builder:
        builder = _ambient.get(None)
        if builder is None:
            raise InternalError("an op was called while no graph is being built")
        return builder

    @staticmethod
    def active() -> Builder | None:
        return _ambient.get(None)

    def __enter__(self) -> Builder:
        self._tokens.append(_ambient.set(self))
        return self

    def __exit__(self, *exception: object) -> None:
        _ambient.reset(self._tokens.pop())

    @contextmanager
    def at(self, provenance: Provenance) -> Iterator[None]:
        """Nodes made inside carry this provenance."""
        before, self.provenance = self.provenance, provenance
        try:
            yield
        finally:
            self.provenance = before

    def leaf(self, kind: Leaf, name: str, type: TensorType) -> Value:
        value = Value(self.unique(name), type, leaf=kind)
        self.leaves[kind].append(value)
        return value

    def adopt(self, values: Sequence[Value]) -> None:
        """Take over leaves of another graph as they are."""
        for value in values:
            assert value.leaf is not None
            self._taken.setdefault(value.name, 1)
            self.leaves[value.leaf].append(value)

    def reserve(self, names: Sequence[str]) -> None:
        """Names that new values must not take."""
        for name in names:
            self._taken.setdefault(name, 1)

    def unique(self, hint: str) -> str:
        """`hint`, or `hint_2`, `hint_3` ... when it is taken."""
        hint = plain_name(hint)
        count = self._taken.get(hint, 0) + 1
        while count > 1 and f"{hint}_{count}" in self._taken:
            count += 1
        self._taken[hint] = count
        name = hint if count == 1 else f"{hint}_{count}"
        self._taken.setdefault(name, 1)
        return name

    def rename(self, value: Value, hint: str) -> None:
        """Give a value just made another name; its old one is free again."""
        base, _, number = value.name.rpartition("_")
        if base and number.isdecimal() and self._taken.get(base) == int(number):
            self._taken[base] -= 1
            del self._taken[value.name]
        elif self._taken.get(value.name) == 1:
            del self._taken[value.name]
        value.name = self.unique(hint)

    def apply(self, op: Op, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        """A node of `op`; operands may be values or Python numbers.  Returns a value or a tuple."""
        try:
            values = self._operands(op, operands)
            outputs = self.emit(op, values, {**op.defaults, **attributes})
        except TypeRuleError as error:
            raise self._explained(error, operands) from None
        return outputs[0] if len(outputs) == 1 else outputs

    def emit(
        self,
        op: Op,
        inputs: Sequence[Value],
        attributes: Mapping[str, Any],
        names: Sequence[str] = (),
        provenance: Provenance | None = None,
    ) -> tuple[Value, ...]:
        """Append a node exactly as given; its types come from the op's rule."""
        attributes = {key: canonical_attribute(value) for key, value in sorted(attributes.items())}
        types = infer_types(op, tuple(v.type for v in inputs), attributes)
        provenance = provenance or self.provenance
        if names:
            names = [self.unique(name) for name in names]
        else:
            names = [self.unique(self._hint(op, i, provenance)) for i in range(len(types))]
        node = Node(op, tuple(inputs), attributes, types, tuple(names), provenance)
        self.nodes.append(node)
        return node.outputs

    def append(self, node: Node) -> None:
        """Take over a node of another graph as it is."""
        self.nodes.append(node)

    def constant(self, value: Any, dtype: DType, shape: tuple[Dim, ...] = ()) -> Value:
        """A number of the given dtype, broadcast to `shape`."""
        number = dtype.numpy.type(value).item()
        (scalar,) = self.emit(REGISTRY["constant"], (), {"value": number, "dtype": dtype})
        return self.broadcast(scalar, shape)

    def broadcast(self, value: Value, shape: tuple[Dim, ...]) -> Value:
        if value.type.shape == shape:
            return value
        return self.emit(REGISTRY["broadcast_to"], (value,), {"shape": shape})[0]

    def finish(
        self,
        outputs: Sequence[Value],
        names: Sequence[str],
        *,
        dims: Mapping[str, tuple[int, int | None]] | None = None,
        data: Mapping[str, np.ndarray] | None = None,
    ) -> Graph:
        return Graph(
            self.name,
            tuple(self.leaves["input"]),
            tuple(self.leaves["parameter"]),
            tuple(self.leaves["constant"]),
            tuple(self.nodes),
            tuple(outputs),
            tuple(names),
            tightened(self.nodes, dims or {}),
            dict(data or {}),
        )

    def _hint(self, op: Op, index: int, provenance: Provenance) -> str:
        suffix = f".{index}" if index else ""
        if provenance.role != "forward" and provenance.forward:
            return f"d_{provenance.forward}.{op.name}{suffix}"
        if provenance.variable:
            return provenance.variable + suffix
        path = f"{provenance.module}." if provenance.module else ""
        return f"{path}{op.name}{suffix}"

    def _explained(self, error: TypeRuleError, operands: Sequence[Any]) -> GraphcError:
        names = [operand.name if isinstance(operand, Value) else repr(operand) for operand in operands]
        facts = [Fact(v.name, str(v.type), origin(v)) for v in operands if isinstance(v, Value)]
        message = error.message
        for position, name in enumerate(names):
            message = message.replace("{" + str(position) + "}", name)
        return error.kind(message, span=self.provenance.span, facts=facts, fix=error.fix)

    def _operands(self, op: Op, operands: Sequence[Any]) -> tuple[Value, ...]:
        tensors = [operand for operand in operands if isinstance(operand, Value)]
        values = []
        for position, operand in enumerate(operands):
            if isinstance(operand, Value):
                values.append(operand)
                continue
            if not tensors:
                raise TypeRuleError(f"{op.name} needs at least one tensor among its operands")
            values.append(self._lift(operand, tensors, position))
        if op.kind is Kind.ELEMENTWISE and len(values) > 1:
            shape = broadcast_shapes([value.type.shape for value in values])
            values = [self.broadcast(value, shape) for value in values]
        return tuple(values)

    def _lift(self, operand: Any, tensors: Sequence[Value], position: int) -> Value:
        if not isinstance(operand, (bool, int, float, np.generic)):
            raise TypeRuleError(
                f"operand {position + 1} is a {type(operand).__name__}, not a tensor or a number",
                kind=TraceError,
            )
        numeric = [v for v in tensors if v.type.dtype.kind != "bool"] or tensors
        dtype = numeric[-1].type.dtype
        is_whole = isinstance(operand, (bool, int, np.integer, np.bool_))
        if not is_whole and not dtype.is_float:
            raise TypeRuleError(
                f"the number {operand} does not fit a tensor of {dtype.name}",
                "cast the tensor to a float first",
                DTypeError,
            )
        if dtype.kind in ("int", "uint"):
            limits = np.iinfo(dtype.numpy)
            if not limits.min <= int(operand) <= limits.max:
                raise TypeRuleError(
                    f"the number {operand} does not fit a tensor of {dtype.name}",
                    f"{dtype.name} holds {limits.min} to {limits.max}",
                    DTypeError,
                )
        return self.constant(operand, dtype)


def origin(value: Value) -> str:
    """`from reshape at lenet.py:17`, for the table below an error."""
    if value.node is None:
        return f"{value.leaf} of the graph"
    span = value.node.provenance.span
    return f"from {value.node.op.name}" + (f" at {span}" if span else "")


def broadcast_shapes(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """NumPy's rule, on symbolic shapes.  Raises TypeRuleError when they do not fit.

    >>> from graphc.ir.dims import symbol
    >>> broadcast_shapes([(symbol("N"), 1), (4,)])
    (N, 4)
    """
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = []
    for axis in range(-rank, 0):
        sizes = [shape[axis] for shape in shapes if len(shape) >= -axis]
        wide = [size for size in sizes if size != 1]
        if any(size != wide[0] for size in wide):
            shown = " and ".join("{" + str(i) + "}" for i in range(len(shapes)))
            raise TypeRuleError(
                f"shapes do not broadcast: {shown} differ at axis {axis} "
                f"({' and '.join(map(str, dict.fromkeys(wide)))})",
                "make the sizes equal, or 1",
                BroadcastError,
            )
        result.append(wide[0] if wide else 1)
    return tuple(result)


def infer_types(
    op: Op, types: tuple[TensorType, ...], attributes: Mapping[str, Any]
) -> tuple[TensorType, ...]:
    """The output types of an op by its own rule, always as a tuple.  Raises TypeRuleError."""
    least, most = op.arity
    if len(types) < least or (most is not None and len(types) > most):
        wanted = f"at least {least}" if most is None else f"{least} to {most}" if most > least else least
        raise TypeRuleError(f"{op.name} takes {wanted} operands, {len(types)} are given")
    wrong = sorted(attributes.keys() ^ op.attribute_names)
    if wrong:
        problem = "has no attribute" if wrong[0] in attributes else "needs the attribute"
        raise TypeRuleError(f"{op.name} {problem} {wrong[0]}")
    inferred = op.infer(*types, **attributes)
    return (inferred,) if isinstance(inferred, TensorType) else tuple(inferred)


def canonical_attribute(value: Any) -> Any:
    """Lists become tuples and NumPy numbers become Python's; anything else must be plain already."""
    match value:
        case bool() | int() | float() | str() | None | SymbolicDim() | DType() | Graph():
            return value
        case np.generic():
            return value.item()
        case list() | tuple():
            return tuple(canonical_attribute(item) for item in value)
        case np.dtype():
            try:
                return dtype_of(value)
            except ValueError as error:
                raise TypeRuleError(str(error), kind=DTypeError) from None
    raise TypeRuleError(f"an attribute cannot be a {type(value).__name__}", kind=TraceError)
