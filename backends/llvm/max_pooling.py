"""The maximum of windows with its position, and its gradient.

Which tap won is carried as its distance from the window's corner, a small number, and becomes a position in the end.
The gradient is gathered, not scattered: an element looks at the windows it lies in, in the order in which a scatter
would reach it, and takes the gradient of those whose maximum it was. So elements are independent of each other, and
vectors and threads take any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.affine import Form, Quotient, ravel
from graphc.backends.llvm.anchor import Anchor, inside
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Reg
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import Condition, Guard
from graphc.backends.llvm.reducers import reducer_start
from graphc.ir.dims import product
from graphc.ir.graph import Node
from graphc.ir.types import bool_, int32, int64


@dataclass(slots=True)
class MaxPool(Anchor):
    """The maximum of each window, and its position in the plane when somebody asks for it."""

    with_position: bool = True

    def prepare(self) -> None:
        (x,) = self.node.inputs
        a = self.node.attributes
        taps = [self.loop(size) for size in a["kernel"]]
        positions: list[Form] = []
        corner: list[Form] = []
        guard: Guard = ()
        rows = zip(self.space.index()[2:], taps, x.shape[2:], a["strides"], a["dilation"], a["padding"])
        for window, tap, size, stride, dilation, (low, _) in rows:
            corner.append(window * stride - low)
            positions.append(corner[-1] + tap * dilation)
            guard += inside(positions[-1], size)
        self.reads(x, (*self.space.index()[:2], *positions), guard)
        distance = ravel(tuple(t * d for t, d in zip(taps, a["dilation"])), x.shape[2:])
        self.forms += [ravel(tuple(corner), x.shape[2:]), distance]
        self.uncounted = self.node.outputs[1:]

    def compute(self, e: Evaluator) -> Sequence[Element]:
        b, dtype = e.elements, self.node.outputs[0].dtype
        (access,), (corner, distance) = self.accesses, self.forms
        plane = product(self.node.inputs[0].shape[2:])
        small = int32 if isinstance(plane, int) and plane < 1 << 31 else int64
        # Where no tap can be missing, the first one wins against the start even when nothing is larger.
        start = [e.full(b.number(reducer_start("max", dtype), dtype))]
        if self.with_position:
            start.append(e.full(b.number(-1 if access.guard else 0, small)))

        def step(values: list[Reg]) -> list[Reg]:
            best = Element(values[0], dtype)
            x, here = e.full(e.load(access.value, access.offset, access.guard)), e.holds(access.guard)
            present = None if here is None else e.full(here)
            if not self.with_position:
                larger = b.maximum(best, x)
                return [(larger if present is None else b.select(present, larger, best)).reg]
            where = Element(values[1], small)
            if dtype.is_float:
                # NaN is larger than every number, and nothing is larger than NaN.
                above = Element(e.f.fcmp("ugt", x.reg, best.reg), bool_)
                better = b.and_(above, b.not_(b.is_nan(best)))
            else:
                better = b.greater(x, best)
            if access.guard:
                better = b.or_(better, b.less(where, b.constant(0, where)))
            if present is not None:
                better = b.and_(better, present)
            at = e.full(b.convert(Element(e.index(distance), int64), small))
            return [b.select(better, x, best).reg, b.select(better, at, where).reg]

        found = self.fold(e, [x.reg for x in start], step)
        value = Element(found[0], dtype)
        if not self.with_position:
            return [value, b.number(-1, int64)]
        taken = b.convert(Element(found[1], small), int64)
        position = b.add(e.full(Element(e.index(corner), int64)), taken)
        if access.guard:
            none = b.less(taken, b.constant(0, taken))
            position = b.select(none, b.constant(-1, position), position)
        return [value, position]


def windows_of(node: Node) -> Node | None:
    """The max_pool whose positions a max_pool_dx is given, when it is known to be one of such images."""
    positions = node.inputs[1]
    pool = positions.node
    if pool is None or pool.op.name != "max_pool" or positions is not pool.outputs[1]:
        return None
    same = pool.inputs[0].shape[2:] == node.output.shape[2:]
    return pool if same else None


@dataclass(slots=True)
class MaxPoolGradient(Anchor):
    """What each element gets from the windows it lies in and was the maximum of."""

    def prepare(self) -> None:
        pool = windows_of(self.node)
        assert pool is not None
        c, positions = self.node.inputs
        a = pool.attributes
        index: list[Form] = []
        guard: Guard = ()
        here = self.space.index()[2:]
        rows = zip(here, c.shape[2:], a["kernel"], a["strides"], a["dilation"], a["padding"])
        for place, count, taps, stride, dilation, (low, _) in rows:
            # The windows that reach so far begin no earlier than this many before the last that may hold the element.
            most = -(-((taps - 1) * dilation + 1) // stride)
            before = self.loop(most) * -1 + (most - 1)
            window = place + low
            guard += (
                Condition(window - before * stride),
                Condition((window - before * stride) * -1 + (count * stride - 1)),
            )
            last = window if stride == 1 else Form(((Quotient(window, stride), 1),))
            index.append(last - before)
        at = (*self.space.index()[:2], *index)
        self.reads(c, at, guard)
        self.reads(positions, at, guard)
        self.forms.append(ravel(here, self.node.output.shape[2:]))
        self.uncounted = (positions,)

    def compute(self, e: Evaluator) -> Sequence[Element]:
        b, dtype = e.elements, self.node.output.dtype
        own = e.full(Element(e.index(self.forms[0]), int64))

        def step(values: list[Reg]) -> list[Reg]:
            given, place = (e.full(e.load(a.value, a.offset, a.guard)) for a in self.accesses)
            taken, present = b.equal(place, own), e.holds(self.accesses[0].guard)
            if present is not None:
                taken = b.and_(taken, e.full(present))
            total = Element(values[0], dtype)
            return [b.select(taken, b.add(total, given), total).reg]

        return [Element(self.fold(e, [e.full(b.number(0, dtype)).reg], step)[0], dtype)]
