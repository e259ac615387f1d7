"""Attention kernels: for a block of rows the scores, their softmax and its product with v, all in the cache.

Members of a team divide the blocks of all heads. Whoever begins a head packs its keys and values into panels; the two
products are those of `gemm.py` on a block of at most two tiles of rows. The division by the row's sum waits for the
result, which is shorter than the row. A query is read where it lies when its rows are a fixed distance apart.
"""

from __future__ import annotations

from graphc.backends.llvm.affine import Form, ravel
from graphc.backends.llvm.attention_layout import AttentionLayout, lay_out
from graphc.backends.llvm.attention_operands import Operand, packer
from graphc.backends.llvm.attention_softmax import Softmax
from graphc.backends.llvm.blocking import Blocking, panels
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.gemm import emit_gemm
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.point import Point
from graphc.backends.llvm.program import Space
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Site, Tile
from graphc.ir.dims import product
from graphc.ir.partition import Kernel


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """Working memory of a member."""
    return lay_out(kernel, target).end


def emit_attention(k: KernelFunction) -> None:
    """The body of an attention kernel's function."""
    _Emission(k, lay_out(k.kernel, k.target)).emit()
    k.f.ret(constant(0, "i32"))


class _Emission:
    def __init__(self, k: KernelFunction, layout: AttentionLayout) -> None:
        self.k, self.f, self.layout = k, k.f, layout
        parts, lead = layout.parts, layout.lead
        self.q = Operand(k, lead, parts.scores.inputs[0], False)
        # k as [depth, keys], v as [keys, columns]: steps of the contraction, then columns of the result.
        self.keys = Operand(k, lead, parts.scores.inputs[1], bool(parts.scores.attributes["transpose_w"]))
        self.values = Operand(k, lead, parts.mix.inputs[1], bool(parts.mix.attributes["transpose_w"]))
        self.softmax = Softmax(k, layout)
        self._result()

    def _result(self) -> None:
        """Where an element of the result goes, in the variables of head, row and column."""
        parts, lead = self.layout.parts, self.layout.lead
        space = Space((*lead, self.layout.rows, self.layout.columns))
        index, node = space.index(), parts.result.node
        if parts.result is not parts.mix.output:
            assert node is not None
            index = tuple(index[axis] for axis in node.attributes["permutation"])
        self.place: Form = ravel(index, parts.result.shape)
        rank = len(lead)
        self.place_lead = [next(iter(space.variables([axis])), None) for axis in range(rank)]
        self.place_row = next(iter(space.variables([rank])), None)
        stride = self.layout.columns if self.place_row is None else self.place.coefficient(self.place_row)
        assert isinstance(stride, int)
        self.result_stride = stride

    def emit(self) -> None:
        f, layout = self.f, self.layout
        memory = f.scratch
        heads = self.k.sizes(product(layout.lead))
        items: Reg = f.mul(heads, layout.blocks)
        ends: tuple[Reg, Reg] = (constant(0, "i64"), items)
        if self.k.share:
            self.k.share.own_bytes = layout.end
            memory = self.k.share.own(memory)
            ends = self.k.share.of(items)
        pack_keys = packer(self.k, "k", self.keys, layout.tile, layout.depth, layout.keys)
        pack_values = packer(self.k, "v", self.values, layout.mix_tile, layout.keys, layout.columns)
        first, second = self._products()
        with f.loop(*ends) as item:
            flat = f.udiv(item, layout.blocks)
            block = f.sub(item, f.mul(flat, layout.blocks))
            head = self._coordinates(flat)
            with f.if_(f.or_(f.icmp("eq", item, ends[0]), f.icmp("eq", block, 0))):
                pack_keys(head, memory)
                pack_values(head, f.gep(memory, layout.values_at))
            row = f.udiv(f.mul(block, layout.rows), layout.blocks)
            end = f.udiv(f.mul(f.add(block, 1), layout.rows), layout.blocks)
            rows = f.sub(end, row)
            query = self._query(head, row, rows, memory)
            scores, sums = f.gep(memory, layout.scores_at), f.gep(memory, layout.sums_at)
            self._call(first, query, memory, scores, rows, layout.depth, panels(layout.line, layout.tile))
            self.softmax.emit(head, row, rows, scores, sums)
            values, result = f.gep(memory, layout.values_at), self._target(head, row)
            count = panels(layout.columns, layout.mix_tile)
            self._call(second, scores, values, result, rows, layout.keys, count, sums)

    def _coordinates(self, flat: Reg) -> list[Reg]:
        """A head's index along each leading axis."""
        found = []
        for extent in reversed(self.layout.lead[1:]):
            size = self.k.sizes(extent)
            found.append(self.f.urem(flat, size))
            flat = self.f.udiv(flat, size)
        return [flat, *reversed(found)] if self.layout.lead else []

    def _products(self) -> tuple[Function, Function]:
        layout, k = self.layout, self.k
        strides = (layout.query_line, 1) if self.q.load is None else self.q.strides

        def cut(tile: Tile) -> Blocking:
            return Blocking(tile, -(-layout.height // tile.rows) * tile.rows, None, False, 0)

        def divided(b: Function, accumulators: Reg, site: Site) -> Reg:
            return b.fdiv(accumulators, site.per_row(b.sums))

        first = emit_gemm(
            k.module, f"{k.f.name}.scores", layout.first(strides), k.target, cut=cut(layout.tile)
        )
        spec = layout.second(self.result_stride)
        sums = {"sums": "ptr readonly"}
        second = emit_gemm(k.module, f"{k.f.name}.mix", spec, k.target, divided, sums, cut(layout.mix_tile))
        for each in (first, second):
            each.internal, each.inline = True, False
        return first, second

    def _call(
        self, kernel: Function, a: Reg, b: Reg, c: Reg, rows: Reg, depth: int, count: int, *more: Reg
    ) -> None:
        zero, one, none = constant(0, "i64"), constant(1, "i64"), constant(0, "ptr")
        numbers = rows, constant(depth, "i64"), zero, one, zero, constant(count, "i64")
        self.f.call(kernel.name, "void", a, b, c, none, *numbers, *more)

    def _target(self, head: list[Reg], row: Reg) -> Reg:
        """Where the result of a block goes."""
        bound = {v: reg for v, reg in zip(self.place_lead, head, strict=True) if v is not None}
        if self.place_row is not None:
            bound[self.place_row] = row
        columns = Form(tuple(t for t in self.place.terms if t[0] in bound), self.place.constant)
        point = Point(self.f, self.k.sizes)
        point.bound = bound
        at = self.f.mul(point.index(columns), self.layout.tile.bytes)
        return self.f.gep(self.k.outputs[self.layout.parts.result], at)

    def _query(self, head: list[Reg], row: Reg, rows: Reg, memory: Reg) -> Reg:
        """A block of q: where it lies, or made in working memory."""
        f, layout = self.f, self.layout
        if self.q.load is not None:
            return self.q.address(head, row)
        size = layout.tile.bytes
        place = f.gep(memory, layout.query_at)
        with f.loop(0, rows) as r:
            line = f.gep(place, f.mul(r, layout.query_line * size))
            self.q.row_into(
                head, f.add(row, r), layout.depth, layout.tile, lambda c: f.gep(line, f.mul(c, size))
            )
        return place
