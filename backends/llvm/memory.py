"""Elements in memory: loads and stores at a point, as scalars or as vectors along one loop.

A vector's elements are contiguous, backwards, a few apart, each several times, or anywhere, as their index form says.
A mask switches lanes off at the end of a row, a guard where a padded array has nothing; no lane that is off touches
memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.backends.llvm.affine import Form
from graphc.backends.llvm.elements import Element, memory_type
from graphc.backends.llvm.emitter import Function, Reg, constant, vector
from graphc.backends.llvm.index_maps import Guard
from graphc.backends.llvm.packing import tail_mask
from graphc.backends.llvm.point import Point, Sizes
from graphc.ir.dims import Dim
from graphc.ir.graph import Value
from graphc.ir.types import bool_


class Memory(Point):
    """A point that can read and write arrays. pointers: where each of them lies."""

    def __init__(self, f: Function, sizes: Sizes, pointers: Mapping[Value, Reg]) -> None:
        super().__init__(f, sizes)
        self.pointers = pointers

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
            if holds is not None and not holds.lanes:
                # One condition for all lanes moves the address: LLVM 22 reads past masks that are the and of two.
                where, mask = f.select(holds.reg, where, self._nothing()), self.mask
            loaded = f.load(where, type) if mask is None else f.masked_load(where, type, mask)
        elif stride == -1 and mask is None:
            where = f.gep(self._address(value, offset, pointer), -(self.count - 1) * size)
            backwards = f.load(where, type)
            loaded = f.shuffle(backwards, backwards, list(range(self.count))[::-1])
        elif isinstance(stride, int) and 1 < stride <= 4 and self._few(holds):
            where = self._address(value, offset, pointer)
            if holds is not None:
                where = f.select(holds.reg, where, self._nothing())
            loaded = _every(f, where, stride, self.count, memory_type(dtype), size, self.mask)
        elif (times := self._times(offset)) and self._few(holds):
            where = self._address(value, offset, pointer)
            if holds is not None:
                where = f.select(holds.reg, where, self._nothing())
            loaded = _repeated(f, where, *times, self.count, memory_type(dtype), self.mask)
        else:
            loaded = self._gather(value, offset, stride, mask, pointer)
        return self._from_memory(loaded, value)

    def _times(self, offset: Form) -> tuple[int, int] | None:
        """How often each element stands in the vector, and how often it did before the first lane; None: unknown."""
        found = [q for q in offset.quotients if self.along in q.numerator.variables]
        if len(found) != 1 or offset.coefficient(self.along or 0) != 0 or self.phase is None:
            return None
        (quotient,) = found
        own, times, first = quotient.numerator, quotient.divisor, quotient.numerator.constant
        neighbours = own.coefficient(self.along or 0) == 1 and len(own.terms) == 1
        if not neighbours or dict(offset.terms).get(quotient) != 1:
            return None
        if not isinstance(times, int) or not isinstance(first, int) or times > 4 or self.count % times:
            return None
        return times, (self.phase + first) % times

    def _few(self, holds: Element | None) -> bool:
        """Whether which lanes are on is known now, but for one condition on all of them."""
        return (holds is None or not holds.lanes) and (self.mask is None or bool(_lanes_on(self.mask)))

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
        return self.f.module.table([0] * 512, "i8")

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


def _repeated(
    f: Function, where: Reg, times: int, skipped: int, count: int, scalar: str, mask: Reg | None
) -> Reg:
    """Neighbouring elements, each `times` times, the first `skipped` times less; no lane that is off is read for."""
    last = max(_lanes_on(mask)) if mask is not None else count - 1
    needed, type = (last + skipped) // times + 1, vector(scalar, count)
    if needed == count // times and not needed & (needed - 1):
        part = f.load(where, vector(scalar, needed))
    else:
        part = f.masked_load(where, type, present(f, constant(needed, "i64"), count))
    lanes = [min((lane + skipped) // times, needed - 1) for lane in range(count)]
    return f.shuffle(part, part, lanes)


def _every(f: Function, where: Reg, stride: int, count: int, scalar: str, size: int, mask: Reg | None) -> Reg:
    """Every `stride`-th element as one vector: neighbouring vectors, then shuffles; nothing beyond the last is read."""
    type = vector(scalar, count)
    length = (max(_lanes_on(mask)) if mask is not None else count - 1) * stride + 1
    found: Reg | None = None
    for number in range(-(-length // count)):
        start = number * count
        here = min(count, length - start)
        place = f.gep(where, start * size)
        if here == count:
            part = f.load(place, type)
        else:
            part = f.masked_load(place, type, present(f, constant(here, "i64"), count))
        if found is None:
            found = part
            lanes = [lane * stride if lane * stride < count else -1 for lane in range(count)]
            found = f.shuffle(found, found, lanes)
        else:
            own = [lane * stride - start for lane in range(count)]
            lanes = [count + at if 0 <= at < here else lane for lane, at in enumerate(own)]
            found = f.shuffle(found, part, lanes)
    assert found is not None
    return found
