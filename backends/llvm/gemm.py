"""Matrix product kernels: C[M,N] = A[M,K] @ B[K,N], with an epilogue before the one store.

The loops are those of Goto and BLIS: blocks of rows whose A stays in the second-level cache, then panels of
B (`packing.py`), then register tiles (`tile.py`). A long contraction is cut into pieces that pass their
accumulators on through C, which changes no bit. The kernel works on a range of row blocks and a range of
panels, so threads share a product by either; K is never shared. The bits of a row do not depend on M, the
tile, or the ranges.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from graphc.backends.llvm.blocking import Blocking, Gemm, blocking, copied_stride, half, row_tiles
from graphc.backends.llvm.emitter import Function, Module, Reg, constant
from graphc.backends.llvm.packing import copy_rows
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import LINE, Ahead, Epilogue, Site, Stream, Tile, contract, lane_mask, zeros

ROW_ACCUMULATORS = 8  # a single row works on several panels at once, to hide the latency of the additions
FEW_ROWS = 8  # rows up to which every tile fetches the next columns of a B that is read in place
PREFETCH = 1024  # bytes ahead in each stream of a single row, when B does not fit the second level


def emit_gemm(
    module: Module,
    name: str,
    spec: Gemm,
    target: Target,
    epilogue: Epilogue | None = None,
    operands: Mapping[str, str] | None = None,
    cut: Blocking | None = None,
) -> Function:
    """Add the kernel `name(a, b, c, scratch, m, k, block0, block1, panel0, panel1, *operands)` to a module.

    m and k are i64 and must equal the extents the product fixes. scratch: `blocking(...).scratch` bytes,
    one for each thread. operands: parameters of the epilogue by name, `{"bias": "ptr readonly"}`; it finds
    them as `b.bias`. c must not overlap any other operand; an epilogue that updates C in place reads it
    through `b.c`, which asks for `blocking(...).piece` None.
    """
    kernel = _Kernel(
        module, name, spec, target, epilogue, dict(operands or {}), cut or blocking(spec, target)
    )
    return kernel.emit()


@dataclass(frozen=True, slots=True)
class _Kernel:
    """The functions of one kernel and what they share.

    The driver walks blocks, pieces and panels; `panel` (and `edge`, for the narrower last panel) walks the
    tiles of a block; `row` takes a single row through several panels at once.
    """

    module: Module
    name: str
    spec: Gemm
    target: Target
    epilogue: Epilogue | None
    operands: dict[str, str]
    cut: Blocking

    @property
    def c_row(self) -> int:
        """Bytes between rows of C."""
        return (self.spec.c_stride or self.spec.n) * self.spec.bytes

    @property
    def a_strides(self) -> tuple[int, int]:
        """Bytes between rows and between steps of A as the tiles read it: of its copy, if there is one."""
        row, step = self.spec.strides
        if self.cut.copy_a:
            far = copied_stride(self.spec, self.cut.block, self.cut.piece or self.spec.k or 1)
            row, step = (far, 1) if step == 1 else (1, far)
        return row * self.spec.bytes, step * self.spec.bytes

    @property
    def b_step(self) -> int:
        """Bytes between steps of a panel of B."""
        return (self.spec.b_stride or self.cut.tile.width) * self.spec.b_bytes

    @property
    def whole_panels(self) -> int:
        return self.spec.n // self.cut.tile.width

    @property
    def row_panels(self) -> int:
        """Panels a single row takes at once; 0 when the kernel never sees a single row."""
        if self.spec.m not in (None, 1) or self.spec.k is None:
            return 0
        count = min(ceil(ROW_ACCUMULATORS / self.cut.tile.vectors), self.whole_panels)
        return count if count > 1 else 0

    def function(self, part: str, integers: tuple[str, ...], **kind: Any) -> Function:
        """A function of this kernel: common operands, then its own integers, then the epilogue's operands."""
        pointers = {"a": "ptr noalias readonly", "b": "ptr noalias readonly", "c": "ptr noalias"}
        own = dict.fromkeys(("m", "k", *integers), "i64")
        scratch = {} if part else {"scratch": "ptr noalias"}
        return self.module.function(self.name + part, pointers | scratch | own | self.operands, **kind)

    def call(self, f: Function, part: str, returns: str, a: Reg, b: Reg, *integers: Reg) -> Reg:
        extra = [f.parameters[name] for name in self.operands]
        return f.call(self.name + part, returns, a, b, f.c, f.m, f.k, *integers, *extra)

    def emit(self) -> Function:
        whole, rest = divmod(self.spec.n, self.cut.tile.width)
        if whole:
            self.panel_function(".panel", self.cut.tile, None)
        if rest:
            narrow = replace(self.cut.tile, vectors=ceil(rest / self.cut.tile.lanes))
            self.panel_function(".edge", narrow, lane_mask(narrow, rest))
        if self.row_panels:
            self.row_function()
        f = self.function("", ("block0", "block1", "panel0", "panel1"))
        first, last = f.panel0, f.smin(f.panel1, whole)
        if self.row_panels:

            def single() -> list[Reg]:
                return [self.call(f, ".row", "i64", f.a, f.b, first, last)]

            alone = f.and_(f.icmp("eq", f.m, 1), f.icmp("slt", f.block0, f.block1))
            (first,) = f.if_else(alone, single, lambda: [f.panel0])
        row_stride, k_stride = (stride * self.spec.bytes for stride in self.spec.strides)
        with f.loop(f.block0, f.block1) as block:
            row = f.mul(block, self.cut.block)
            rows = f.smin(f.sub(f.m, row), self.cut.block)
            a = f.gep(f.a, f.mul(row, row_stride))
            if self.cut.piece is None:
                depth = f.k if self.spec.k is None else constant(self.spec.k, "i64")
                self.block(f, a, f.b, first, last, row, rows, depth)
            else:
                with f.loop(0, f.smax(f.k, 1), self.cut.piece) as start:
                    left = f.sub(f.k, start)
                    depth = f.smin(left, self.cut.piece)
                    flags = f.icmp("eq", start, 0), f.icmp("sle", left, self.cut.piece)
                    here, b = f.gep(a, f.mul(start, k_stride)), f.gep(f.b, f.mul(start, self.b_step))
                    self.block(
                        f, here, b, first, last, row, rows, depth, *(f.zext(flag, "i64") for flag in flags)
                    )
        f.ret()
        return f

    def block(self, f: Function, a: Reg, b: Reg, first: Reg, last: Reg, *numbers: Reg) -> None:
        """One block of rows by one piece of the contraction, through the panels from `first` on.

        numbers: first row, rows, length of the piece, and for pieces whether this is the first and the last
        one.
        """
        row, rows, depth, *flags = numbers
        if self.cut.copy_a:
            self.copy_a(f, a, rows, depth)
            a = f.scratch
        whole, width = self.whole_panels, self.cut.tile.width
        if whole:
            with f.loop(first, last) as panel:
                start = f.gep(b, f.mul(panel, self.panel_bytes(f)))
                self.call(f, ".panel", "void", a, start, row, rows, f.mul(panel, width), depth, *flags)
        if self.spec.n % width:
            with f.if_(f.icmp("sgt", f.panel1, whole)):
                start = f.gep(b, f.mul(self.panel_bytes(f), whole))
                column = constant(whole * width, "i64")
                self.call(f, ".edge", "void", a, start, row, rows, column, depth, *flags)

    def panel_bytes(self, f: Function) -> Reg:
        """Bytes from one panel of B to the next."""
        if self.spec.b_stride is not None:
            return constant(self.cut.tile.width * self.spec.bytes, "i64")
        if self.spec.k is None:
            return f.mul(f.k, self.b_step)
        return constant(self.spec.k * self.b_step, "i64")

    def copy_a(self, f: Function, a: Reg, rows: Reg, depth: Reg) -> None:
        """Copy a block of A so that its rows no longer share cache sets; runs of memory stay runs."""
        source, copied = (
            max(pair) for pair in ([s * self.spec.bytes for s in self.spec.strides], self.a_strides)
        )
        count, length = (rows, depth) if self.spec.strides[1] == 1 else (depth, rows)
        copy_rows(f, self.target, self.spec.element, a, source, f.scratch, copied, count, length)

    def panel_function(self, part: str, tile: Tile, mask: Reg | None) -> None:
        """All tiles of a block of rows on one panel."""
        flags = () if self.cut.piece is None else ("first", "last")
        f = self.function(part, ("row", "rows", "column", "depth", *flags), internal=True, inline=False)
        tallest = tile.rows
        count = f.udiv(f.add(f.rows, tallest - 1), tallest)
        missing = f.sub(f.mul(count, tallest), f.rows)
        exact = f.icmp("sle", missing, count)
        whole = f.select(exact, f.sub(count, missing), f.udiv(f.rows, tallest))
        tall = f.mul(whole, tallest)
        rest = f.select(exact, constant(0, "i64"), f.sub(f.rows, tall))
        # What no tall tiles cover is one tile, or two that differ by a row at most.
        larger = f.select(f.icmp("sgt", rest, half(tallest)), f.udiv(f.add(rest, 1), 2), rest)
        smaller = f.sub(rest, larger)
        done = constant(0, "i64")
        for height in sorted(self.heights(), reverse=True):
            end = done
            if height == tallest:
                end = tall
            elif height == tallest - 1:
                end = f.select(exact, f.rows, tall)
            if height <= half(tallest):
                both = [f.zext(f.icmp("eq", part, height), "i64") for part in (larger, smaller)]
                end = f.add(end, f.mul(f.add(*both), height))
            with f.loop(done, end, height) as row:
                self.tile(f, tile.with_rows(height), row, mask)
            done = end
        f.ret()

    def heights(self) -> set[int]:
        """Every tile height the kernel may need; few when M is known."""
        tallest, m = self.cut.tile.rows, self.spec.m
        if m is None:
            return {tallest, max(tallest - 1, 1), *range(1, half(tallest) + 1)}
        whole, rest = divmod(m, self.cut.block)
        blocks = [self.cut.block] * min(whole, 1) + [rest] * min(rest, 1)
        return {height for rows in blocks for height in row_tiles(rows, tallest)} or {1}

    def tile(self, f: Function, tile: Tile, row: Reg, mask: Reg | None) -> None:
        """One register tile: contraction, epilogue, store. `row` counts from the block's first."""
        a_row, a_step = self.a_strides
        size, vector_bytes = tile.bytes, tile.lanes * self.spec.b_bytes
        scalars = Stream(
            f.gep(f.a, f.mul(row, a_row)), a_step, tuple(r * a_row for r in range(tile.rows)), size
        )
        in_place = self.spec.b_stride is not None
        vectors = Stream(
            f.b,
            self.b_step,
            tuple(v * vector_bytes for v in range(tile.vectors)),
            size if in_place else vector_bytes,
            mask if in_place else None,
            stored=self.spec.stored,
        )
        depth = self.spec.k if self.cut.piece is None and self.spec.k is not None else f.depth
        sites = self.sites(f, tile, f.add(f.row, row), f.column, mask)
        ahead = self.ahead(f, tile, row)
        if self.cut.piece is None:
            self.finish(f, contract(f, tile, depth, scalars, vectors, zeros(tile), ahead), sites)
            return
        start = f.if_else(
            f.icmp("ne", f.first, 0), lambda: zeros(tile), lambda: [site.like_output(f.c) for site in sites]
        )
        values = contract(f, tile, depth, scalars, vectors, start, ahead)
        if self.epilogue is None:
            self.finish(f, values, sites)
            return

        def keep() -> list[Reg]:
            for value, site in zip(values, sites, strict=True):
                site.store(value, f.c)
            return []

        f.if_else(f.icmp("ne", f.last, 0), lambda: self.finish(f, values, sites), keep)

    def ahead(self, f: Function, tile: Tile, row: Reg) -> list[Ahead]:
        """What a tile fetches for those after it: its share of the next panel of B, and the next tile's rows of A."""
        found = []
        if self.spec.b_stride is not None:
            if self.spec.m is not None and self.spec.m <= FEW_ROWS:
                following = f.gep(f.b, tile.width * tile.bytes)
                found.append(Ahead(following, self.b_step, 2, tile.width * tile.bytes))
        else:
            rows = min(self.spec.m or self.cut.block, self.cut.block)
            panel = self.panel_bytes(f)
            start = f.gep(f.gep(f.b, panel), f.mul(row, f.udiv(panel, rows)))
            found.append(Ahead(start, -(-self.b_step * tile.rows // rows), 2))
        a_row, a_step = self.a_strides
        depth = self.cut.piece or self.spec.k or 0
        if a_step == tile.bytes and a_row <= depth * tile.bytes + LINE:
            start = f.gep(f.a, f.mul(f.add(row, tile.rows), a_row))
            found.append(Ahead(start, tile.rows * tile.bytes, 1))
        return found

    def sites(self, f: Function, tile: Tile, row: Reg, column: Reg, mask: Reg | None) -> list[Site]:
        corner = f.add(f.mul(row, self.c_row), f.mul(column, tile.bytes))
        return [
            Site(
                f,
                tile,
                f.add(row, r),
                f.add(column, v * tile.lanes),
                f.add(corner, r * self.c_row + v * tile.lanes * tile.bytes),
                mask if v == tile.vectors - 1 else None,
            )
            for r in range(tile.rows)
            for v in range(tile.vectors)
        ]

    def finish(self, f: Function, values: list[Reg], sites: list[Site]) -> list[Reg]:
        for value, site in zip(values, sites, strict=True):
            site.store(value if self.epilogue is None else self.epilogue(f, value, site), f.c)
        return []

    def row_function(self) -> None:
        """A single row: one tile over several panels, whose memory streams run side by side."""
        assert self.spec.k is not None
        f = self.function(".row", ("panel0", "panel1"), returns="i64", internal=True, inline=False)
        one, group = self.cut.tile, self.row_panels
        tile = replace(one, rows=1, vectors=one.vectors * group)
        panel_bytes = self.panel_bytes(f)
        far = self.spec.n * self.spec.k * self.spec.b_bytes > self.target.l2
        vector_bytes = tile.lanes * self.spec.b_bytes
        offsets = tuple(
            p * int(panel_bytes.name) + v * vector_bytes for p in range(group) for v in range(one.vectors)
        )
        count = f.sdiv(f.smax(f.sub(f.panel1, f.panel0), 0), group)
        end = f.add(f.panel0, f.mul(count, group))
        with f.loop(f.panel0, end, group) as panel:
            in_place = self.spec.b_stride is not None
            vectors = Stream(
                f.gep(f.b, f.mul(panel, panel_bytes)),
                self.b_step,
                offsets,
                tile.bytes if in_place else vector_bytes,
                prefetch=PREFETCH if far else 0,
                stored=self.spec.stored,
            )
            scalars = Stream(f.a, self.spec.strides[1] * tile.bytes, (0,), tile.bytes)
            values = contract(f, tile, self.spec.k, scalars, vectors, zeros(tile))
            self.finish(f, values, self.sites(f, tile, constant(0, "i64"), f.mul(panel, one.width), None))
        f.ret(end)
