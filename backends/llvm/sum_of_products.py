"""Products and convolutions as sums of products, one chain of fused multiply-adds for each element.

`matmul` and the three partial derivatives of convolution differ only in where their operands lie:

    matmul    y[b,m,n]   = sum over k       x[b,m,k] w[b,k,n]
    conv      y[n,o,t]   = sum over c, tap  x[n, c, t·stride + tap·dilation - before] w[o,c,tap]
    conv_dx   x[n,c,s]   = sum over o, tap  c[n, o, (s + before - tap·dilation) / stride] w[o,c,tap]
    conv_dw   w[o,c,tap] = sum over n, t    c[n,o,t] x[n, c, t·stride + tap·dilation - before]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.affine import Form, Quotient, Ranges, number
from graphc.backends.llvm.anchor import Anchor, inside
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import Condition, Guard
from graphc.errors import UnsupportedError
from graphc.ir.dims import exact_divide


@dataclass(slots=True)
class SumOfProducts(Anchor):
    """The sum over the inner loops of the product of two accesses."""

    def compute(self, e: Evaluator) -> Sequence[Element]:
        first, second = self.accesses
        dtype = self.node.outputs[0].dtype
        zero = e.full(e.elements.number(0, dtype)).reg

        def step(values: list) -> list:
            x = e.load(first.value, first.offset, first.guard)
            w = e.load(second.value, second.offset, second.guard)
            return [e.elements.fma(e.full(x), e.full(w), Element(values[0], dtype)).reg]

        return [Element(self.fold(e, [zero], step)[0], dtype)]

    def prepare(self) -> None:
        match self.node.op.name:
            case "matmul":
                self._matmul()
            case "conv":
                self._conv()
            case "conv_dx":
                self._conv_dx()
            case "conv_dw":
                self._conv_dw()
            case name:
                raise UnsupportedError(f"no native code for {name}")

    def _matmul(self) -> None:
        x, w = self.node.inputs
        *batch, m, n = self.space.index()
        transpose_x, transpose_w = (self.node.attributes[f"transpose_{o}"] for o in "xw")
        k = self.loop(x.shape[-2 if transpose_x else -1])
        self.reads(x, (*batch, k, m) if transpose_x else (*batch, m, k))
        own = batch if w.type.rank > 2 else ()
        self.reads(w, (*own, n, k) if transpose_w else (*own, k, n))

    def _conv(self) -> None:
        x, w = self.node.inputs
        n, o, *t = self.space.index()
        share = w.shape[1]
        group = self._group(o, w.shape[0])
        c = self.loop(share)
        taps = [self.loop(size) for size in w.shape[2:]]
        positions, guard = self._meets(t, taps, x.shape[2:])
        self.reads(x, (n, group * share + c, *positions), guard)
        self.reads(w, (o, c, *taps))

    def _conv_dx(self) -> None:
        ct, w = self.node.inputs
        n, channel, *s = self.space.index()
        share = w.shape[1]
        group = self._group(channel, self.node.output.shape[1])
        inside_group = exact_divide(w.shape[0], self.node.attributes["groups"])
        assert inside_group is not None
        o = group * inside_group + self.loop(inside_group)
        taps = [self.loop(size) for size in w.shape[2:]]
        index: list[Form] = []
        guard: Guard = ()
        attributes = self.node.attributes
        rows = zip(
            s, taps, ct.shape[2:], attributes["strides"], attributes["dilation"], attributes["padding"]
        )
        for position, tap, size, stride, dilation, (before, _) in rows:
            shifted = position - tap * dilation + before
            if stride > 1:
                guard += (Condition(shifted, stride), Condition(shifted))
                shifted = Form(((Quotient(shifted, stride), 1),))
            guard += inside(shifted, size)
            index.append(shifted)
        self.reads(ct, (n, o, *index), guard)
        self.reads(w, (o, channel - group * share, *taps))

    def _conv_dw(self) -> None:
        x, ct = self.node.inputs
        o, c, *taps = self.space.index()
        share = self.node.output.shape[1]
        group = self._group(o, self.node.output.shape[0])
        n = self.loop(x.shape[0])
        t = [self.loop(size) for size in ct.shape[2:]]
        positions, guard = self._meets(t, taps, x.shape[2:])
        self.reads(x, (n, group * share + c, *positions), guard)
        self.reads(ct, (n, o, *t))

    def _group(self, channel: Form, channels: object) -> Form:
        """The group an output channel belongs to."""
        groups = self.node.attributes["groups"]
        if groups == 1:
            return number(0)
        size = exact_divide(channels, groups)  # type: ignore[arg-type]
        assert size is not None
        return Ranges(self.space.extents, may_split=False).divide(channel, size)

    def _meets(self, t: Sequence[Form], taps: Sequence[Form], sizes: Sequence) -> tuple[list[Form], Guard]:
        """The positions windows `t` meet with `taps`, and that they lie inside."""
        attributes = self.node.attributes
        index: list[Form] = []
        guard: Guard = ()
        rows = zip(t, taps, sizes, attributes["strides"], attributes["dilation"], attributes["padding"])
        for window, tap, size, stride, dilation, (before, _) in rows:
            position = window * stride + tap * dilation - before
            index.append(position)
            guard += inside(position, size)
        return index, guard
