"""A kernel as a program for one element: what is loaded where, and what is computed from it.

`trace` walks a kernel's nodes from its results to its inputs with an index in loop variables in hand. Movement ops
change the index, elementwise ops pass it on, and an input of the kernel becomes a `Load` with one index form. The
list of expressions that results is in order of evaluation; `evaluator.py` turns it into instructions, for a scalar or
a vector of neighbouring elements. Nothing here recurses, so long chains are fine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.backends.llvm.affine import Form, Index, Ranges, SplitLoop, number, variable
from graphc.backends.llvm.index_maps import Condition, Guard, Source, fill_value, moves, sources
from graphc.backends.llvm.storage import place
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim, exact_divide
from graphc.ir.graph import Node, Value
from graphc.ir.op import Kind
from graphc.ir.types import DType
from graphc.plan.layout import Layouts


@dataclass(frozen=True, slots=True)
class Load:
    """An element of an input, `offset` elements from its beginning; read only where the guard holds."""

    value: Value
    offset: Form
    guard: Guard


@dataclass(frozen=True, slots=True)
class Constant:
    """A number."""

    number: Any
    dtype: DType


@dataclass(frozen=True, slots=True)
class Position:
    """The value of an index form as a number."""

    form: Form
    dtype: DType


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise op; operands are positions in the program."""

    node: Node
    operands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Choose:
    """Expression `yes` where the guard holds, `no` elsewhere."""

    guard: Guard
    yes: int
    no: int


@dataclass(frozen=True, slots=True)
class Hole:
    """A value somebody else computes: what an anchor or a reduction gives at this index."""

    value: Value
    index: Index
    guard: Guard


Expression = Load | Constant | Position | Apply | Choose | Hole


@dataclass(slots=True)
class Program:
    """Expressions in order of evaluation, and the positions of the results that were asked for."""

    ranges: Ranges
    expressions: list[Expression] = field(default_factory=list)
    results: list[int] = field(default_factory=list)

    def forms(self) -> list[Form]:
        """Every index form of the program, numerators of quotients included."""
        found: list[Form] = []
        for expression in self.expressions:
            match expression:
                case Load(offset=form) | Position(form=form):
                    found.append(form)
            found += [condition.form for condition in guard_of(expression)]
        return [inner for form in found for inner in (form, *(q.numerator for q in form.quotients))]


def guard_of(expression: Expression) -> Guard:
    match expression:
        case Load(guard=guard) | Choose(guard=guard) | Hole(guard=guard):
            return guard
    return ()


def operands_of(expression: Expression) -> tuple[int, ...]:
    """Positions of the expressions this one is made of."""
    match expression:
        case Apply(operands=operands):
            return operands
        case Choose(yes=yes, no=no):
            return yes, no
    return ()


def variables_of(expression: Expression) -> frozenset[int]:
    """Loop variables the expression itself (not its operands) depends on."""
    match expression:
        case Load(offset=form) | Position(form=form):
            found = form.variables
        case _:
            found = frozenset()
    return found.union(*(condition.form.variables for condition in guard_of(expression)))


class Space:
    """The loops of a kernel: one variable for each axis of a shape, or several once `split` has cut it.

    Axes of size 1 need no loop.
    """

    def __init__(self, shape: Sequence[Dim]) -> None:
        self.shape = tuple(shape)
        self.extents: dict[int, Dim] = {}
        self._axes: list[list[int]] = []
        for size in shape:
            self._axes.append([] if size == 1 else [self.variable(size)])

    def variable(self, extent: Dim) -> int:
        """A new loop of this extent."""
        number = len(self.extents)
        self.extents[number] = extent
        return number

    def variables(self, axes: Sequence[int] | None = None) -> list[int]:
        """The loop variables of some axes, or of all, from the outermost."""
        chosen = range(len(self._axes)) if axes is None else axes
        return [v for axis in chosen for v in self._axes[axis]]

    def index(self, axes: Sequence[int] | None = None) -> Index:
        """The index along some axes, or all."""
        chosen = range(len(self._axes)) if axes is None else axes
        return tuple(self._form(axis) for axis in chosen)

    def _form(self, axis: int) -> Form:
        total = number(0)
        for v in self._axes[axis]:
            total = total * self.extents[v] + variable(v)
        return total

    def block(self, axis: int, size: int) -> tuple[int | None, int]:
        """Cut an axis into blocks of this size, the last one filled up: the loops over blocks and within one."""
        count = -(-self.shape[axis] // size)
        outer = None if count == 1 else self.variable(count)
        inner = self.variable(size)
        self._axes[axis] = [inner] if outer is None else [outer, inner]
        return outer, inner

    def split(self, request: SplitLoop) -> None:
        for axis in self._axes:
            if request.variable in axis:
                outer = exact_divide(self.extents[request.variable], request.inner_extent)
                assert outer is not None
                where = axis.index(request.variable)
                axis[where : where + 1] = [self.variable(outer), self.variable(request.inner_extent)]


Root = tuple[Value, Index]


def trace(
    nodes: Sequence[Node],
    roots: Sequence[Root],
    ranges: Ranges,
    holes: Mapping[Value, Index | None],
    layouts: Layouts | None = None,
) -> Program:
    """The program that computes each root value at its index.

    holes     values that are not computed here, with the only index they may be asked for at (None: any)
    layouts   how values lie that are not row-major
    Raises SplitLoop when the loops have to be cut first, and UnsupportedError for what no loop can compute.
    """
    demands: dict[Value, dict[tuple[Index, Guard], int]] = {}

    def demand(value: Value, index: Index, guard: Guard) -> None:
        demands.setdefault(value, {}).setdefault((index, guard), -1)

    for value, index in roots:
        demand(value, index, ())
    found: dict[tuple[Node, int, Index, Guard], list[Source]] = {}
    for node in reversed(nodes):
        for position, output in enumerate(node.outputs):
            if output in holes:
                continue
            for index, guard in demands.get(output, {}):
                if moves(node.op.name):
                    here = sources(node, index, ranges)
                    found[node, position, index, guard] = here
                    for source in here:
                        demand(node.inputs[source.operand], source.index, _both(guard, source.guard))
                elif node.op.kind is Kind.ELEMENTWISE:
                    for operand in node.inputs:
                        demand(operand, index, guard)
                elif node.op.kind is not Kind.CREATION:
                    raise UnsupportedError(f"{node.op.name} stands where only elementwise ops can: {node!r}")
    program = Program(ranges)
    inside = {value for node in nodes for value in node.outputs}
    for value, asked in demands.items():
        for index, guard in asked if value not in inside else ():
            asked[index, guard] = _put(
                program, Load(value, place(value, index, ranges, layouts or {}), guard)
            )
    for node in nodes:
        for position, output in enumerate(node.outputs):
            asked = demands.get(output, {})
            for index, guard in asked:
                if output in holes:
                    only = holes[output]
                    if only is not None and index != only:
                        raise UnsupportedError(
                            f"%{output.name} is read at another index than it is computed at"
                        )
                    asked[index, guard] = _put(program, Hole(output, index, guard))
                elif moves(node.op.name):
                    here = found[node, position, index, guard]
                    asked[index, guard] = _moved(program, node, here, guard, demands)
                elif node.op.kind is Kind.CREATION:
                    asked[index, guard] = _put(program, _created(node, index))
                else:
                    operands = tuple(demands[v][index, guard] for v in node.inputs)
                    asked[index, guard] = _put(program, Apply(node, operands))
    program.results = [demands[value][index, ()] for value, index in roots]
    return program


def trace_in(
    space: Space,
    nodes: Sequence[Node],
    roots: Any,
    holes: Any,
    layouts: Layouts | None = None,
    limit: int = 64,
) -> tuple[Program, Any]:
    """`trace` with the loops of `space` cut as often as it asks for.

    roots and holes are functions of the ranges, called again after each cut.  Returns the program and the roots.
    """
    for attempt in range(limit):
        ranges = Ranges(space.extents, may_split=attempt < limit - 1)
        try:
            chosen = roots(ranges)
            return trace(nodes, chosen, ranges, holes(ranges), layouts), chosen
        except SplitLoop as request:
            space.split(request)
    raise AssertionError("the last attempt asks for no split")


def _both(first: Guard, second: Guard) -> Guard:
    return first + tuple(condition for condition in second if condition not in first)


def _put(program: Program, expression: Expression) -> int:
    program.expressions.append(expression)
    return len(program.expressions) - 1


def _moved(
    program: Program,
    node: Node,
    here: Sequence[Source],
    guard: Guard,
    demands: Mapping[Value, Mapping[tuple[Index, Guard], int]],
) -> int:
    """Where a moved element comes from, as a chain of choices that ends in the padding."""
    chosen: int | None = None
    for source in reversed(here):
        inner = _both(guard, source.guard)
        yes = demands[node.inputs[source.operand]][source.index, inner]
        needed = tuple(c for c in source.guard if c not in guard)
        if not needed or (chosen is None and not _pads(node)):
            chosen = yes
            continue
        if chosen is None:
            chosen = _put(program, Constant(fill_value(node), node.output.dtype))
        chosen = _put(program, Choose(needed, yes, chosen))
    if chosen is None:
        chosen = _put(program, Constant(fill_value(node), node.output.dtype))
    return chosen


def _pads(node: Node) -> bool:
    return "value" in node.attributes


def _created(node: Node, index: Index) -> Expression:
    attributes = node.attributes
    match node.op.name:
        case "constant":
            return Constant(attributes["value"], attributes["dtype"])
        case "iota":
            return Position(index[attributes["axis"]], attributes["dtype"])
        case "dim_size":
            return Position(number(attributes["dim"]), attributes["dtype"])
    raise UnsupportedError(f"no native code for {node.op.name}")


__all__ = [
    "Apply", "Choose", "Condition", "Constant", "Expression", "Hole", "Load", "Position", "Program", "Root", "Space",
    "guard_of", "operands_of", "trace", "trace_in", "variables_of",
]  # fmt: skip
