"""Pooling: the maximum or the average of windows, and their gradients.

Taps are taken in row-major order, as the reference takes them, so averages have the same bits and the first of equal
maxima wins. A tap that falls into the padding is switched off by its guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.backends.llvm.affine import Form, Quotient
from graphc.backends.llvm.anchor import Anchor, emit_anchor_kernel, inside
from graphc.backends.llvm.blocked_pooling import emit_blocked_max_pool
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Reg
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import Condition, Guard
from graphc.backends.llvm.indexing import emit_max_pool_dx
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.max_pooling import MaxPool, MaxPoolGradient, windows_of
from graphc.backends.llvm.plane_pooling import emit_plane_max_pool
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim
from graphc.ir.graph import Node
from graphc.ir.partition import Kernel
from graphc.ir.types import int64


@dataclass(slots=True)
class Average(Anchor):
    """Sums over windows or over the windows an element lies in, each part divided by its window's count."""

    starts: list[tuple[int, Dim]] = field(default_factory=list)

    def prepare(self) -> None:
        (x,) = self.node.inputs
        a = self.node.attributes
        spatial = self.space.index()[2:]
        taps = [self.loop(size) for size in a["kernel"]]
        backwards = self.node.op.name == "avg_pool_dx"
        sizes = a["size"] if backwards else x.shape[2:]
        index: list[Form] = []
        guard: Guard = ()
        rows = zip(spatial, taps, x.shape[2:], a["strides"], a["padding"])
        for here, tap, size, stride, (low, _) in rows:
            if backwards:
                window = here - tap + low
                if stride > 1:
                    guard += (Condition(window), Condition(window, stride))
                    window = Form(((Quotient(window, stride), 1),))
                position = window
            else:
                window, position = here, here * stride + tap - low
            guard += inside(position, size)
            index.append(position)
            self.forms.append(window * stride - low)
        self.reads(x, (*self.space.index()[:2], *index), guard)
        self.starts = list(zip(a["kernel"], sizes))

    def compute(self, e: Evaluator) -> Sequence[Element]:
        b, dtype = e.elements, self.node.output.dtype
        (access,) = self.accesses
        backwards = self.node.op.name == "avg_pool_dx"

        def step(values: list[Reg]) -> list[Reg]:
            x = e.full(e.load(access.value, access.offset, access.guard))
            part = b.div(x, e.full(self._count(e))) if backwards else x
            here = e.holds(access.guard)
            total = Element(values[0], dtype)
            after = b.add(total, part)
            return [(after if here is None else b.select(e.full(here), after, total)).reg]

        (total,) = self.fold(e, [e.full(b.number(0, dtype)).reg], step)
        result = Element(total, dtype)
        return [result if backwards else b.div(result, e.full(self._count(e)))]

    def _count(self, e: Evaluator) -> Element:
        """How many elements the average of a window is over."""
        b, dtype = e.elements, self.node.output.dtype
        a = self.node.attributes
        ranges = e.program.ranges
        known, factors = 1, []
        for form, (k, size), (low, high) in zip(self.forms, self.starts, a["padding"]):
            first, end = (-low, size + high) if a["count_include_pad"] else (0, size)
            if ranges.nonnegative(form - first) and ranges.nonnegative(Form((), end - k) - form):
                known *= k
                continue
            start = Element(e.index(form), int64)
            stop = b.minimum(b.add(start, b.constant(k, start)), self._like(e, end, start))
            count = b.sub(stop, b.maximum(start, b.constant(first, start)))
            factors.append(b.convert(b.maximum(count, b.constant(1, count)), dtype))
        total = b.number(known, dtype)
        for factor in factors:
            total = b.mul(b.splat(total, factor.lanes), b.splat(factor, total.lanes))
        return total

    def _like(self, e: Evaluator, dim: Dim, other: Element) -> Element:
        return e.elements.splat(Element(e.sizes(dim), int64), other.lanes)


def emit_pooling(k: KernelFunction) -> None:
    """A pooling kernel with its epilogue."""
    if k.kernel.anchor is not None and scatters(k.kernel):
        emit_max_pool_dx(k)
        return
    if emit_blocked_max_pool(k) or emit_plane_max_pool(k):
        return

    def make(node: Node, space: Any) -> Anchor:
        match node.op.name:
            case "max_pool":
                wanted = node.outputs[1]
                asked = wanted in k.kernel.outputs or any(wanted in n.inputs for n in k.kernel.nodes)
                return MaxPool(node, space, with_position=asked)
            case "max_pool_dx":
                return MaxPoolGradient(node, space)
            case "avg_pool" | "avg_pool_dx":
                return Average(node, space)
        raise UnsupportedError(f"no native code for {node.op.name}")

    emit_anchor_kernel(k, make)


def scatters(kernel: Kernel) -> bool:
    """Whether a kernel adds to positions of which nothing is known."""
    node = kernel.anchor
    return node is not None and node.op.name == "max_pool_dx" and windows_of(node) is None
