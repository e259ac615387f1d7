"""The chain rule in words: what each op computes, and what it sends back to each of its operands.

A term is read off the backward graph itself, so it is what runs and not what a textbook says; where that would be
longer than a line, the op's declared derivative stands for it.  The notes say what happens to the shape on the way
back, and why: `summed over N, because b was broadcast`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from string import Formatter

import numpy as np

from graphc.ir.composite import body_graph
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind, Op
from graphc.view.hidden import HIDDEN, behind, is_constant, is_hidden
from graphc.view.numbers import MINUS, amount, factor, number

LONGEST = 8  # ops in an expression; beyond, the declared derivative is shorter to read
TRANSPARENT = ("broadcast_to", "reshape")  # ops that an expression looks through
Naming = Callable[[Value], str]


@dataclass(frozen=True, slots=True)
class Term:
    """What one op sends back to one operand: `∇operand = text`, a part of it when `shared`."""

    node: Node
    operand: Value  # what is drawn: behind broadcasts and reshapes of stored arrays
    value: Value  # the array that flows back
    text: str
    notes: tuple[str, ...]
    shared: bool  # whether other ops send something back to it as well


@dataclass
class ChainRule:
    """The terms of a graph with gradients; `gradient` maps forward values to their gradients."""

    graph: Graph
    gradient: Mapping[Value, Value]
    name: Naming = field(default=lambda value: value.name)

    def __post_init__(self) -> None:
        self._sent = _contributions(self.graph, self.gradient)

    def terms(self, node: Node) -> list[Term]:
        """What flows back through a drawn forward op, an entry for each operand that has a gradient."""
        upstream = {
            self.gradient[v]: f"∇{self.name(v)}" for v in reversed(node.outputs) if v in self.gradient
        }
        found = []
        for position, operand in enumerate(node.inputs):
            origin = behind(operand)
            if operand not in self.gradient or origin not in self.gradient or not upstream:
                continue
            uses = len(self.readers(origin))
            value: Value | None = self.gradient[origin] if uses == 1 else None
            if origin is operand:
                value = self._sent.get((node, position), value)
            elif uses > 1 and len(self.readers(operand)) == 1:
                value = self._sent.get((_first_hidden(operand), 0))
            if value is None:
                value = self.gradient[operand]
            writer = _Expression(upstream, self.name, node)
            text = writer.text(value) or self._declared(node, position, upstream)
            notes = tuple(dict.fromkeys(writer.notes)) if text else ()
            found.append(Term(node, origin, value, text, notes, uses > 1))
        return found

    def parts(self, value: Value) -> int:
        """How many terms the gradient of a value is the sum of."""
        made = self.gradient[value].node
        return len(made.inputs) if made is not None and made.op.name == "add_n" else 1

    def readers(self, value: Value) -> list[Node]:
        """The drawn ops that read a value and send something back, directly or through what is hidden.

        x · x reads x twice and stands here twice.
        """
        found: list[Node] = []
        pending = [value]
        while pending:
            read = pending.pop()
            for user in self.graph.users.get(read, ()):
                if user.provenance.role != "forward":
                    continue
                if is_hidden(user):
                    pending.extend(user.outputs)
                elif any(v in self.gradient for v in user.outputs):
                    found += [user] * user.inputs.count(read)
        return found

    def _declared(self, node: Node, position: int, upstream: Mapping[Value, str]) -> str:
        arrives = next(iter(upstream.values()))
        names = [self.name(behind(v)) for v in node.inputs] + [self.name(node.outputs[0])]
        local = derivative_text(node.op, position, names) if _is_elementwise(node) else ""
        if local == "1":
            return arrives
        if local:
            return f"{arrives} · {_bracketed(local)}"
        return f"(∂{names[-1]}/∂{names[position]})ᵀ · {arrives}"


def _first_hidden(value: Value) -> Node:
    """Of what is hidden between a value and what is drawn behind it, the op that reads the latter."""
    node = value.node
    assert node is not None
    while node.inputs[0].node is not None and is_hidden(node.inputs[0].node):
        node = node.inputs[0].node
    return node


def _is_elementwise(node: Node) -> bool:
    """Whether each element of the result depends on one element of each operand: then the derivative is a factor."""
    if node.op.kind is not Kind.COMPOSITE:
        return node.op.kind is Kind.ELEMENTWISE
    if node.op.body is None:
        return False
    body = body_graph(node.op, [v.type for v in node.inputs], node.attributes)
    return all(n.op.kind is Kind.ELEMENTWISE or n.op.name in HIDDEN for n in body.nodes)


def _contributions(graph: Graph, gradient: Mapping[Value, Value]) -> dict[tuple[Node, int], Value]:
    """Which term of a gradient each use of a value sent, in the order autodiff collects them: from the last use on."""
    uses: dict[Value, list[tuple[Node, int]]] = {}
    for node in reversed(graph.nodes):
        if node.provenance.role == "forward" and any(v in gradient for v in node.outputs):
            for position, operand in enumerate(node.inputs):
                if operand in gradient:
                    uses.setdefault(operand, []).append((node, position))
    found: dict[tuple[Node, int], Value] = {}
    for value, places in uses.items():
        total = gradient[value]
        summed = total.node is not None and total.node.op.name == "add_n"
        terms = total.node.inputs if summed and total.node is not None else (total,)
        if len(terms) == len(places):
            found.update(zip(places, terms, strict=True))
    return found


class _TooLong(Exception):
    """An expression has more than `LONGEST` ops."""


class _Expression:
    """Backward nodes as one formula, down to the gradients in `known` and to forward values."""

    def __init__(self, known: Mapping[Value, str], name: Naming, of: Node):
        self.known, self.name, self.of = known, name, of
        self.notes: list[str] = []
        self.left = LONGEST

    def text(self, value: Value) -> str:
        """The formula, or nothing when it would be too long."""
        try:
            text = self._of(value)
        except _TooLong:
            return ""
        made = value.node
        if not self.notes and made is not None and made.op.name == "reshape" and value not in self.known:
            self.notes.append(f"reshaped to {_shape(value)}")
        return text

    def _of(self, value: Value) -> str:
        if value in self.known:
            return self.known[value]
        node = value.node
        if node is None or node.provenance.role == "forward":
            origin = behind(value)
            constant = is_constant(origin) and origin.node is not None
            return number(origin.node.attributes["value"]) if constant and origin.node else self.name(origin)
        if node.op.name == "constant":
            return number(node.attributes["value"])
        self.left -= node.op.name not in TRANSPARENT
        if self.left < 0:
            raise _TooLong
        return self._written(node, [self._of(v) for v in node.inputs])

    def _written(self, node: Node, operands: list[str]) -> str:
        match node.op.name:
            case name if name in TRANSPARENT:
                return operands[0]
            case "max_pool_dx":
                return f"{operands[0]} at the place of each maximum"
            case "dim_size":
                return str(node.attributes["dim"])
            case "sum":
                self.notes.append(_why_summed(node, self.of))
                return f"Σ {_bracketed(operands[0])}"
            case "matmul":
                turned = (node.attributes["transpose_x"], node.attributes["transpose_w"])
                left, right = (
                    _bracketed(text) + "ᵀ" * bool(flag) for text, flag in zip(operands, turned, strict=True)
                )
                self.notes.append(_why_contracted(node))
                return f"{left} · {right}"
            case "conv_dw":
                sizes = " × ".join(_dims(node.inputs[1].type.shape[2:]))
                self.notes.append(f"summed over {_dims(node.inputs[0].type.shape)[0]} and {sizes} positions")
        return applied(node.op, operands)


def applied(op: Op, operands: list[str]) -> str:
    """An op's formula with the texts of its operands.

    >>> from graphc.ops import REGISTRY
    >>> applied(REGISTRY["mul"], ["a + b", "c"])
    '(a + b) · c'
    """
    right = op.formula.partition(" = ")[2].replace(" - ", f" {MINUS} ")
    if op.arity[1] is None and op.symbol == "+":
        return " + ".join(operands)
    names = operand_names(op)[: len(operands)]
    if not right or op.arity[1] is None or len(names) < len(operands):
        return f"{op.name}({', '.join(operands)})"
    plain = (
        " where " in right or re.fullmatch(r"[\w√]+\([^()]*\)", right) or len(operands) == 1 and " " in right
    )
    given = dict(zip(names, operands if plain else map(_bracketed, operands), strict=True))
    pattern = "|".join(rf"(?<![A-Za-z0-9_]){name}(?![A-Za-z0-9_\u0302])" for name in names)
    seen = {found[0] for found in re.finditer(pattern, right)}
    if seen != set(names):
        return f"{op.name}({', '.join(operands)})"
    return re.sub(pattern, lambda found: given[found[0]], right)


def forward_text(node: Node, name: Naming) -> str:
    """`fc1.add = fc1.matmul + fc1.bias`: what an op computes."""
    operands = []
    for value in node.inputs:
        origin = behind(value)
        fixed = is_constant(origin) and origin.node is not None
        operands.append(number(origin.node.attributes["value"]) if fixed and origin.node else name(origin))
    return f"{', '.join(name(v) for v in node.outputs[:1])} = {applied(node.op, operands)}"


def derivative_text(op: Op, position: int, names: list[str]) -> str:
    """The op's derivative with respect to one operand, written with the names of operands and result.

    >>> from graphc.ops import REGISTRY
    >>> derivative_text(REGISTRY["mul"], 0, ["q", "z", "f"])
    'z'
    """
    template = op.derivative.get(position)
    if template is None:
        return ""
    known = dict(zip(operand_names(op), names, strict=False))
    known[op.formula.partition("=")[0].strip()] = names[-1]
    wanted = [key for _, key, _, _ in Formatter().parse(template) if key]
    known |= {key: names[position] for key in wanted if key not in known}  # one of many, as in Σ w²
    return template.format_map({key: factor(name) for key, name in known.items()})


def operand_names(op: Op) -> list[str]:
    """What an op's declaration calls its operands, read off the signature that names most of them."""
    if isinstance(op.reference, np.ufunc):
        return ["x", "y"][: op.reference.nin]
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = []
    for function, skipped in ((op.vjp, 1), (op.body, 0), (op.reference, 0)):
        if function is not None:
            parameters = inspect.signature(function).parameters.values()
            named.append([p.name for p in parameters if p.kind in plain][skipped:])
    return max(named, key=len, default=[])


def _why_summed(node: Node, of: Node) -> str:
    axes = node.attributes["axes"]
    dims = _dims(tuple(node.inputs[0].type.shape[axis] for axis in axes))
    over = f"summed over {', '.join(dims)}" if dims else "summed"
    origin = node.provenance.forward
    repeated = origin.rpartition(".")[2].startswith("broadcast_to")
    repeated = repeated or of.op.name == "linear" and origin == of.name  # its bias
    return over + (f", because it was broadcast to {_shape(node.inputs[0])}" if repeated else "")


def _why_contracted(node: Node) -> str:
    left, right = (v.type.shape for v in node.inputs)
    shapes = f"{_shape(node.inputs[0])} and {_shape(node.inputs[1])} to {_shape(node.output)}"
    if not right:
        return shapes
    common = left[-2] if node.attributes["transpose_x"] and len(left) > 1 else left[-1]
    if common == 1:
        return f"{shapes}, nothing to sum"
    return f"{shapes}, summed over {'an axis of ' * isinstance(common, int)}{_dims((common,))[0]}"


def _shape(value: Value) -> str:
    return f"[{','.join(_dims(value.type.shape))}]"


def _dims(shape: tuple[Dim, ...]) -> list[str]:
    return [
        str(dim) if isinstance(dim, int) else amount(dim) if "·" in str(dim) else str(dim) for dim in shape
    ]


def _bracketed(text: str) -> str:
    """A text fit to stand beside an operator."""
    if re.fullmatch(r"[^\s()]+|[\w√]+\([^()]*\)", text) and not text.startswith(MINUS):
        return text
    return f"({text})"
