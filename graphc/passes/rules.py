"""Rewrite rules: rows of `left = right`, and the engine that applies them in one sweep.

Both sides are plain functions in ops.  The left one is called once with variables in place of
tensors, which gives the pattern; the right one is called with the matched values and builds the
replacement.  Called with arrays' types instead, both build graphs, and so every rule is tested by
itself against its grade:

    exact   equal bit for bit, for every input (any NaN equals any NaN)
    stable  the same function of real numbers, at least as accurate where both are finite, defined where left is
    fast    the same function of real numbers; may differ in rounding or where a value is not finite: only when asked

Positional parameters stand for tensors.  Keyword-only parameters stand for an attribute, or, used as an
operand, for the number of a constant.  A number in the pattern matches a constant of that number
through any broadcast.  Operands of commutative ops match in either order.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from graphc.errors import InternalError
from graphc.ir.arithmetic import Arithmetic
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Op
from graphc.ir.rewriter import ValueMap, rewrite
from graphc.passes.index_maps import number_of, source
from graphc.passes.notes import note

Grade = Literal["exact", "stable", "fast"]
GRADES: tuple[Grade, ...] = ("exact", "stable", "fast")
COMMUTATIVE = frozenset("add mul maximum minimum equal not_equal logical_and logical_or".split())
When = Callable[[Node, Mapping[str, Any]], bool]
Allowed = Callable[["Rule", Node, Mapping[str, Any]], bool]
MAX_CHAIN = 8  # rules applied one after the other to the result of a rule


_KINDS = {
    "float": ("float",),
    "integer": ("int", "uint"),
    "signed": ("float", "int"),
    "number": ("float", "int", "uint"),
    "bool": ("bool",),
    "any": ("float", "int", "uint", "bool"),
}


@dataclass(frozen=True)
class Variable(Arithmetic):
    """Stands for a tensor; the same one everywhere in its pattern."""

    name: str

    def _apply(self, name: str, *operands: Any) -> Any:
        from graphc.ir.op import REGISTRY

        return REGISTRY[name](*operands)


@dataclass(frozen=True)
class Attribute:
    """Stands for an attribute, or for the number of a constant."""

    name: str


@dataclass(frozen=True)
class Application(Variable):
    """An op applied to patterns."""

    op: Op
    operands: tuple[Any, ...]
    attributes: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Spread(Variable):
    """A value repeated along axes, as `spread` does to the result of a reduction."""

    below: Any
    axes: Any


class _PatternBuilder(Builder):
    """Makes patterns where a builder makes nodes."""

    def apply(self, op: Op, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        return Application(op.name, op, tuple(operands), tuple(sorted({**op.defaults, **attributes}.items())))


def spread(y: Any, x: Any, axes: Any) -> Any:
    """`y`, the result of reducing `axes` of `x`, repeated along them again."""
    from graphc.ops.reduction import spread as build

    return Spread("spread", y, axes) if isinstance(y, Variable) else build(y, x, axes)


def truth(value: bool) -> Any:
    """A boolean constant where nothing beside it says that a number is meant."""
    from graphc.ir.types import bool_
    from graphc.ops import constant

    return value if isinstance(Builder.current(), _PatternBuilder) else constant(value=value, dtype=bool_)


@dataclass(frozen=True, eq=False)
class Rule:
    """One row.

    equation  the rule for people
    left, right  functions of tensors (positional) and attributes (keyword-only); `right` None where it does not apply
    on        kinds of dtype of the first tensor the rule holds for; "signed" are floats and signed integers
    reason    why, for rules that make a note
    alone     only where nothing else reads the operands of the node: the work in them is replaced, not doubled
    samples   () -> iterator of (arrays, attributes) for the test; default: special values in pairs
    """

    equation: str
    grade: Grade
    left: Callable[..., Any]
    right: Callable[..., Any]
    on: Literal["float", "integer", "signed", "number", "bool", "any"] = "float"
    reason: str = ""
    alone: bool = False
    samples: Callable[[], Iterable[tuple[tuple, dict]]] | None = None

    @cached_property
    def variables(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.left).parameters.values()
        return tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.left).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    @cached_property
    def patterns(self) -> tuple[Application, ...]:
        """The left side, once for every order of commutative operands."""
        with _PatternBuilder("pattern"):
            root = self.left(
                *map(Variable, self.variables), **{name: Attribute(name) for name in self.attributes}
            )
        return tuple(dict.fromkeys(_orders(root)))

    def holds_for(self, kind: str) -> bool:
        return kind in _KINDS[self.on]


def _orders(pattern: Any) -> list[Any]:
    # Recursion over a pattern, which is a small tree; never over a graph.
    if isinstance(pattern, Spread):
        return [Spread("spread", below, pattern.axes) for below in _orders(pattern.below)]
    if not isinstance(pattern, Application):
        return [pattern]
    found = []
    for operands in itertools.product(*map(_orders, pattern.operands)):
        found.append(Application(pattern.name, pattern.op, operands, pattern.attributes))
        if pattern.name in COMMUTATIVE:
            found.append(Application(pattern.name, pattern.op, operands[::-1], pattern.attributes))
    return found


def match(
    pattern: Application, op: Op, operands: Sequence[Value], attributes: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What the variables and attributes of a pattern stand for, or None where it does not match."""
    found: dict[str, Any] = {}
    if not _applies(pattern, op, operands, attributes, found):
        return None
    pending = list(zip(pattern.operands, operands))
    spreads: list[tuple[Spread, Value]] = []
    while pending:
        wanted, value = pending.pop()
        match wanted:
            case Application():
                node = value.node
                if node is None or not _applies(wanted, node.op, node.inputs, node.attributes, found):
                    return None
                pending.extend(zip(wanted.operands, node.inputs))
            case Spread():
                pending.append((wanted.below, source(value)[0]))
                spreads.append((wanted, value))
            case Variable(name):
                if found.setdefault(name, value) is not value:
                    return None
            case Attribute(name):
                number = number_of(value)
                if number is None or not _same(found.setdefault(name, number), number):
                    return None
            case _:
                number = number_of(value)
                if number is None or not _same(number, wanted):
                    return None
    for spread_, value in spreads:
        axes = found.setdefault(spread_.axes.name, _repeated(value))
        if not _repeats(value, axes):
            return None
    return found


def _applies(
    pattern: Application, op: Op, operands: Sequence[Value], attributes: Mapping[str, Any], found: dict
) -> bool:
    if pattern.op is not op or len(pattern.operands) != len(operands):
        return False
    for name, wanted in pattern.attributes:
        value = attributes.get(name)
        if isinstance(wanted, Attribute):
            if wanted.name in found and found[wanted.name] != value:
                return False
            found[wanted.name] = value
        elif wanted != value:
            return False
    return True


def _same(a: Any, b: Any) -> bool:
    """Equal numbers with equal signs, so that 0 is not -0; booleans equal only booleans."""
    return (
        a == b and math.copysign(1, a) == math.copysign(1, b) and isinstance(a, bool) == isinstance(b, bool)
    )


def _repeated(value: Value) -> tuple[int, ...]:
    """The axes wider than 1 along which a value repeats its source."""
    _, positions = source(value)
    return tuple(axis for axis, size in enumerate(value.shape) if size != 1 and axis not in positions)


def _repeats(value: Value, axes: tuple[int, ...]) -> bool:
    """Whether a value is its source repeated along exactly these axes."""
    _, positions = source(value)
    kept = [axis for axis in range(len(value.shape)) if axis not in axes]
    wide = [axis for axis in kept if value.shape[axis] != 1]
    return [p for p in positions if p is not None and value.shape[p] != 1] == wide


@dataclass(frozen=True)
class RuleSet:
    """Rules of a pass, found by the op at the root of their left side."""

    made_by: str
    rules: tuple[Rule, ...]
    tell: bool = False  # make a note of each rewrite that has a reason

    @cached_property
    def by_root(self) -> dict[Op, list[tuple[Rule, Application]]]:
        table: dict[Op, list[tuple[Rule, Application]]] = {}
        for rule in self.rules:
            for pattern in rule.patterns:
                table.setdefault(pattern.op, []).append((rule, pattern))
        return table

    def run(
        self, graph: Graph, grades: Sequence[Grade] = ("exact", "stable"), when: When | None = None
    ) -> tuple[Graph, ValueMap]:
        """One sweep from inputs to outputs; operands are rewritten before the nodes that read them.

        `when(node, found)` may forbid a rewrite of a node of the graph, given what the variables stand for.
        """

        def allowed(rule: Rule, node: Node, found: Mapping[str, Any]) -> bool:
            if rule.alone and any(len(graph.users[v]) > 1 and number_of(v) is None for v in node.inputs):
                return False
            return when is None or when(node, found)

        return rewrite(
            graph, lambda node, operands: self.apply(node, operands, grades, allowed), self.made_by
        )

    def apply(
        self, node: Node, operands: tuple[Value, ...], grades: Sequence[Grade], allowed: Allowed | None = None
    ) -> Value | None:
        """The value that replaces a node's only output, or None."""
        value: Value | None = None
        op, attributes = node.op, node.attributes
        for _ in range(MAX_CHAIN):
            step = self._once(op, operands, attributes, grades, node, allowed)
            if step is None:
                return value
            if step.type != node.outputs[0].type:
                raise InternalError(f"{self.made_by}: a rule turned {node!r} into {step!r}")
            value = step
            if value.node is None:
                return value
            op, operands, attributes = value.node.op, value.node.inputs, value.node.attributes
        return value

    def _once(
        self,
        op: Op,
        operands: tuple[Value, ...],
        attributes: Mapping[str, Any],
        grades: Sequence[Grade],
        origin: Node,
        allowed: Allowed | None,
    ) -> Value | None:
        for rule, pattern in self.by_root.get(op, ()):
            if rule.grade not in grades:
                continue
            found = match(pattern, op, operands, attributes)
            if found is None or not rule.holds_for(found[rule.variables[0]].dtype.kind):
                continue
            if allowed is not None and not allowed(rule, origin, found):
                continue
            values, named = (found[n] for n in rule.variables), {n: found[n] for n in rule.attributes}
            right: Value | None = rule.right(*values, **named)
            if right is not None:
                if self.tell and rule.reason:
                    note(self.made_by, rule.equation, rule.reason, origin)
                return right
        return None
