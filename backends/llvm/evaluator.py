"""From a program to instructions: elements at a point of the loops, as scalars or as vectors along one loop.

What does not depend on the vector's loop stays scalar until it meets something that does. A load along a vector is
contiguous, backwards, or gathered, as its stride says; a mask switches lanes off at the end of a row, and a guard
where a padded array has nothing. No lane that is off touches memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from graphc.backends.llvm.affine import Form, Quotient
from graphc.backends.llvm.elements import Element, Elements, memory_type
from graphc.backends.llvm.emitter import Function, Reg, constant, vector
from graphc.backends.llvm.index_maps import Guard
from graphc.backends.llvm.packing import tail_mask
from graphc.backends.llvm.program import (
    Apply,
    Choose,
    Constant,
    Hole,
    Load,
    Position,
    Program,
    operands_of,
    variables_of,
)
from graphc.ir.dims import Dim, FloorDiv, SymbolicDim
from graphc.ir.graph import Value
from graphc.ir.types import bool_, int64


class Sizes:
    """Dimensions as i64 registers, from the symbols a kernel is given."""

    def __init__(self, f: Function, symbols: Mapping[str, Reg]) -> None:
        self.f, self.symbols = f, symbols
        self._known: dict[Dim, Reg] = {}

    def __call__(self, dim: Dim) -> Reg:
        if isinstance(dim, int):
            return constant(dim, "i64")
        if dim not in self._known:
            value = self._emit(dim)
            if self.f.current != "entry":
                return value  # known in this block only
            self._known[dim] = value
        return self._known[dim]

    def _emit(self, dim: SymbolicDim) -> Reg:
        total: Reg | None = None
        for monomial, coefficient in dim.terms:
            part = constant(coefficient, "i64")
            for atom, power in monomial:
                if isinstance(atom, FloorDiv):
                    base = self.f.udiv(self(atom.numerator), atom.divisor)
                else:
                    base = self.symbols[atom]
                for _ in range(power):
                    part = base if part.name == "1" else self.f.mul(part, base)
            total = part if total is None else self.f.add(total, part)
        assert total is not None
        return total


class Evaluator:
    """Computes the expressions of a program.

    pointers   where each input lies
    along      the loop variable whose neighbouring values a vector holds; None for scalars only
    count      lanes of a vector, 0 for scalars only
    mask       lanes that exist, None for all
    """

    def __init__(self, f: Function, program: Program, sizes: Sizes, pointers: Mapping[Value, Reg]) -> None:
        self.f, self.program, self.sizes, self.pointers = f, program, sizes, pointers
        self.elements = Elements(f)
        self.bound: dict[int, Reg] = {}
        self.holes: dict[Value, Element] = {}
        self.along: int | None = None
        self.count = 0
        self.mask: Reg | None = None
        self._done: dict[int, Element] = {}
        self._variables: list[frozenset[int]] = []
        for expression in program.expressions:
            inner = [self._variables[p] for p in operands_of(expression)]
            self._variables.append(variables_of(expression).union(*inner))

    # Scopes ---------------------------------------------------------------------------------------------------

    @contextmanager
    def scope(self, bindings: Mapping[int, Reg], kept: dict[int, Element] | None = None) -> Iterator[None]:
        """Loop variables have these values inside; what is computed inside is forgotten after it.

        kept: where it is remembered instead, for the next scope at the same point in code that this one dominates.
        """
        before = self._done, self.bound, self.holes
        self._done = {**self._done, **(kept or {})}
        self.bound, self.holes = {**self.bound, **bindings}, dict(self.holes)
        try:
            yield
        finally:
            if kept is not None:
                kept.update((p, x) for p, x in self._done.items() if p not in before[0])
            self._done, self.bound, self.holes = before

    @contextmanager
    def vector(self, along: int | None, count: int, mask: Reg | None = None) -> Iterator[None]:
        """Inside, expressions that depend on the loop `along` are vectors of `count` neighbours."""
        before = self.along, self.count, self.mask
        self.along, self.count, self.mask = along, count, mask
        try:
            yield
        finally:
            self.along, self.count, self.mask = before

    def depends_on(self, position: int, variable: int) -> bool:
        return variable in self._variables[position]

    # Expressions ----------------------------------------------------------------------------------------------

    def needed(self, positions: Sequence[int]) -> list[int]:
        """All expressions these are made of, in order of evaluation, without what is computed already."""
        wanted = set(positions)
        for position in range(max(wanted, default=-1), -1, -1):
            if position in wanted and position not in self._done:
                wanted.update(operands_of(self.program.expressions[position]))
        return [p for p in sorted(wanted) if p not in self._done]

    def settle(self, positions: Sequence[int]) -> None:
        """Compute what these need as far as the loops that are open allow, so that no inner loop does it again."""
        ready = set(self._done)
        for position in self.needed(positions):
            expression = self.program.expressions[position]
            if not self._variables[position] <= self.bound.keys():
                continue
            if not all(p in ready for p in operands_of(expression)):
                continue
            if isinstance(expression, Hole) and expression.value not in self.holes:
                continue
            if isinstance(expression, Constant):
                continue  # free where it is used
            ready.add(position)
            self._done[position] = self._compute(position)

    def compute(self, positions: Sequence[int]) -> list[Element]:
        """The elements of these expressions at this point."""
        for position in self.needed(positions):
            self._done[position] = self._compute(position)
        return [self._done[p] for p in positions]

    def full(self, x: Element) -> Element:
        """As a vector of this point's lanes."""
        return self.elements.splat(x, self.count)

    def _compute(self, position: int) -> Element:
        match self.program.expressions[position]:
            case Load(value=value, offset=offset, guard=guard):
                return self.load(value, offset, guard)
            case Constant(number=value, dtype=dtype):
                return self.elements.number(value, dtype)
            case Position(form=form, dtype=dtype):
                return self.elements.convert(Element(self.index(form), int64), dtype)
            case Hole(value=value):
                return self.holes[value]
            case Choose(guard=guard, yes=yes, no=no):
                holds = self.holds(guard)
                assert holds is not None
                first, second = self._done[yes], self._done[no]
                if any((holds.lanes, first.lanes, second.lanes)):
                    holds, first, second = self.full(holds), self.full(first), self.full(second)
                return self.elements.select(holds, first, second)
            case Apply(node=node, operands=operands):
                values = [self._done[p] for p in operands]
                if any(x.lanes for x in values):
                    values = [self.full(x) for x in values]
                if node.op.scalar is None:
                    raise AssertionError(f"{node.op.name} has no scalar rule")
                return node.op.scalar(self.elements, *values, **node.attributes)
        raise AssertionError("an unknown expression")

    # Indices --------------------------------------------------------------------------------------------------

    def index(self, form: Form) -> Reg:
        """The value of a form: i64, or a vector of i64 when it depends on the vector's loop."""
        base = self._sum(form, lambda atom: not self._along(atom))
        if self.along is None or not self.count or self.along not in form.variables:
            return base
        lanes = self.f.splat(base, self.count)
        for atom, coefficient in form.terms:
            if not self._along(atom):
                continue
            part = self._lane_values(atom)
            if coefficient != 1:
                part = self.f.mul(part, self.f.splat(self.sizes(coefficient), self.count))
            lanes = self.f.add(lanes, part)
        return lanes

    def _along(self, atom: int | Quotient) -> bool:
        if self.along is None or not self.count:
            return False
        return atom == self.along if isinstance(atom, int) else self.along in atom.numerator.variables

    def _lane_values(self, atom: int | Quotient) -> Reg:
        """An atom that differs from lane to lane."""
        if isinstance(atom, int):
            ramp = constant(list(range(self.count)), vector("i64", self.count))
            return self.f.add(self.f.splat(self.bound[atom], self.count), ramp)
        divisor = self.f.splat(self._divisor(atom.divisor), self.count)
        return self.f.udiv(self.index(atom.numerator), divisor)

    def _divisor(self, dim: Dim) -> Reg:
        """A divisor that is never 0, not even for arrays without elements."""
        return self.sizes(dim) if isinstance(dim, int) else self.f.smax(self.sizes(dim), 1)

    def _sum(self, form: Form, chosen: object = None) -> Reg:
        """The sum of the scalar terms, outer loops first so that their part can leave the inner loops."""
        order = {v: i for i, v in enumerate(self.bound)}
        total: Reg | None = None if form.constant == 0 else self.sizes(form.constant)
        terms = [(a, c) for a, c in form.terms if chosen is None or chosen(a)]  # type: ignore[operator]
        for atom, coefficient in sorted(terms, key=lambda t: order[t[0]] if isinstance(t[0], int) else -1):
            if isinstance(atom, int):
                part = self.bound[atom]
            else:
                part = self.f.udiv(self._sum(atom.numerator), self._divisor(atom.divisor))
            if coefficient != 1:
                part = self.f.mul(part, self.sizes(coefficient))
            total = part if total is None else self.f.add(total, part)
        return constant(0, "i64") if total is None else total

    def holds(self, guard: Guard) -> Element | None:
        """Whether all conditions hold, None when there are none."""
        result: Element | None = None
        for condition in guard:
            value = self.index(condition.form)
            if condition.divisor:
                one = self.f.icmp("eq", self.f.srem(value, condition.divisor), 0)
            else:
                one = self.f.icmp("sge", value, 0)
            part = Element(one, bool_)
            if result is None:
                result = part
            elif result.lanes or part.lanes:
                result = self.elements.and_(self.full(result), self.full(part))
            else:
                result = self.elements.and_(result, part)
        return result

    # Memory ---------------------------------------------------------------------------------------------------

    def load(self, value: Value, offset: Form, guard: Guard, pointer: Reg | None = None) -> Element:
        """An element of an array, or a vector of them along the vector's loop; `pointer` where it lies."""
        f, holds = self.f, self.holds(guard)
        size, dtype = value.dtype.itemsize, value.dtype
        varies = self.along is not None and self.count and self.along in offset.variables
        if not varies and (holds is None or not holds.lanes):
            where = self._address(value, offset, pointer)
            if holds is not None:
                where = f.select(holds.reg, where, self._nothing())
            return self._from_memory(f.load(where, memory_type(dtype)), value)
        mask = self._masked(holds)
        type = memory_type(dtype, self.count)
        stride = self._stride(offset)
        if stride == 1:
            where = self._address(value, offset, pointer)
            if holds is not None and not holds.lanes and self.mask is None:
                loaded = f.load(f.select(holds.reg, where, self._nothing()), type)
            elif mask is None:
                loaded = f.load(where, type)
            else:
                loaded = f.masked_load(where, type, mask)
        elif stride == -1 and mask is None:
            where = f.gep(self._address(value, offset, pointer), -(self.count - 1) * size)
            backwards = f.load(where, type)
            loaded = f.shuffle(backwards, backwards, list(range(self.count))[::-1])
        else:
            loaded = self._gather(value, offset, stride, mask, pointer)
        return self._from_memory(loaded, value)

    def _gather(
        self, value: Value, offset: Form, stride: Dim | None, mask: Reg | None, pointer: Reg | None
    ) -> Reg:
        f, type = self.f, memory_type(value.dtype, self.count)
        pointers = self._addresses(value, offset, stride, pointer)
        mask = mask or constant(1, vector("i1", self.count))
        text = f"{pointers.type} align {value.dtype.itemsize} {pointers.name}"
        return f.intrinsic("masked.gather", [type, pointers.type], type, text, mask, constant(0, type))

    def store(self, x: Element, value: Value, offset: Form, pointer: Reg) -> None:
        """Write an element, or a vector along the vector's loop; lanes that are off are not written."""
        f = self.f
        if not self.count:
            f.store(self._to_memory(x), self._address(value, offset, pointer))
            return
        memory, mask = self._to_memory(self.full(x)), self.mask
        stride = self._stride(offset)
        if stride == 1:
            where = self._address(value, offset, pointer)
            lanes_on = _lanes_on(mask)
            if mask is None:
                f.store(memory, where)
            elif len(lanes_on) == 1:
                # LLVM 22 narrows integers and stores one lane of a constant mask in the wide type: do it by hand.
                at = f.gep(where, lanes_on[0] * value.dtype.itemsize)
                f.store(f.extract(memory, lanes_on[0]), at)
            else:
                f.masked_store(memory, where, mask)
            return
        pointers = self._addresses(value, offset, stride, pointer)
        mask = mask or constant(1, vector("i1", self.count))
        text = f"{pointers.type} align {value.dtype.itemsize} {pointers.name}"
        f.intrinsic("masked.scatter", [memory.type, pointers.type], "void", memory, text, mask)

    def _masked(self, holds: Element | None) -> Reg | None:
        if holds is None:
            return self.mask
        mask = self.full(holds).reg
        return mask if self.mask is None else self.f.and_(mask, self.mask)

    def _stride(self, offset: Form) -> Dim | None:
        """Elements between neighbours along the vector, None when that is no one number."""
        assert self.along is not None
        if any(self.along in q.numerator.variables for q in offset.quotients):
            return None
        return offset.coefficient(self.along)

    def _address(self, value: Value, offset: Form, pointer: Reg | None = None) -> Reg:
        """Where the first lane lies."""
        base = pointer or self.pointers[value]
        size = value.dtype.itemsize
        constant_part = offset.constant
        if isinstance(constant_part, int):
            offset = Form(offset.terms)
        where = base
        if offset.terms or offset.constant != 0:
            position = self._sum(offset)
            where = self.f.gep(base, self.f.mul(position, size) if size > 1 else position)
        if isinstance(constant_part, int):
            where = self.f.gep(where, constant_part * size)
        return where

    def _addresses(self, value: Value, offset: Form, stride: Dim | None, pointer: Reg | None = None) -> Reg:
        """A vector of addresses."""
        f, base, size = self.f, pointer or self.pointers[value], value.dtype.itemsize
        if stride is None:
            positions = f.mul(self.index(offset), size)
        else:
            base = self._address(value, offset, pointer)
            ramp = constant([lane * size for lane in range(self.count)], vector("i64", self.count))
            positions = f.mul(ramp, f.splat(self.sizes(stride), self.count))
        return f.emit(f"getelementptr i8, {base}, {positions}", vector("ptr", self.count))

    def _nothing(self) -> Reg:
        """Zeros to read where a guard does not hold."""
        return self.f.module.table([0] * 128, "i8")

    def _from_memory(self, loaded: Reg, value: Value) -> Element:
        if value.dtype == bool_:
            loaded = self.f.icmp("ne", loaded, 0)
        return Element(loaded, value.dtype)

    def _to_memory(self, x: Element) -> Reg:
        return self.f.zext(x.reg, "i8") if x.dtype == bool_ else x.reg


def present(f: Function, left: Reg, count: int) -> Reg:
    """The first `left` of `count` lanes; a literal when `left` is one."""
    if left.name.isdigit():
        return constant([lane < int(left.name) for lane in range(count)], vector("i1", count))
    return tail_mask(f, left, count)


def _lanes_on(mask: Reg | None) -> list[int]:
    """The lanes a literal mask leaves on; none for a mask that is computed."""
    if mask is None or not mask.name.startswith("<"):
        return []
    return [lane for lane, bit in enumerate(mask.name[1:-1].split(", ")) if bit == "i1 true"]
