"""Matrix product kernels: C[M,N] = A[M,K] @ B[K,N], with an epilogue before the one store.

The loops are those of Goto and BLIS: blocks of rows whose A stays in the second-level cache, then panels of B
(`packing.py`), then register tiles (`tile.py`). A long contraction is cut into pieces that pass their accumulators on
through C, which changes no bit. The kernel works on a range of row blocks and a range of panels, so threads share a
product by either; K is never shared. The bits of a row do not depend on M, the tile, or the ranges.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from graphc.backends.llvm.emitter import BITS, Function, Module, Reg, constant
from graphc.backends.llvm.packing import copy_rows
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Epilogue, Site, Stream, Tile, contract, lane_mask, tiles, zeros

LINE = 64
ROW_ACCUMULATORS = 8  # a single row works on several panels at once, to hide the latency of the additions


@dataclass(frozen=True, slots=True)
class Gemm:
    """One matrix product. Strides are in elements; `m` and `k` None are given at run time.

    a_strides: between rows and between steps of A, `(k, 1)` if absent. c_stride: between rows of C, `n` if absent.
    b_stride: None for B packed in panels; else B is read in place, this many elements between its rows.
    """

    n: int
    k: int | None
    m: int | None = None
    element: str = "float"
    a_strides: tuple[int, int] | None = None
    c_stride: int | None = None
    b_stride: int | None = None

    def __post_init__(self) -> None:
        if self.k is None and self.a_strides is None:
            raise ValueError("a contraction of run-time length needs the strides of A")
        if min(self.n, *(v for v in (self.m, self.k) if v is not None)) < 0 or self.n == 0:
            raise ValueError(f"no kernel for the extents of {self}")

    @property
    def bytes(self) -> int:
        return BITS[self.element] // 8

    @property
    def strides(self) -> tuple[int, int]:
        """Row and step stride of A."""
        return self.a_strides or (self.k or 0, 1)


@dataclass(frozen=True, slots=True)
class Blocking:
    """How a product is cut: the tile, rows of a block, steps of a piece (None: all), whether A is copied."""

    tile: Tile
    block: int
    piece: int | None
    copy_a: bool
    scratch: int

    def blocks(self, m: int) -> int:
        """Number of row blocks of `m` rows."""
        return -(-m // self.block)


def panel_tile(target: Target, n: int, element: str) -> Tile:
    """The tile whose panels cover `n` columns in the fewest cycles; among equals the tallest.

    >>> from graphc.backends.llvm.target import level
    >>> [panel_tile(level("x86-64-v4"), n, "float").vectors for n in (10, 32, 48, 1000)]
    [1, 2, 3, 2]
    """

    def cost(tile: Tile) -> tuple[float, int]:
        whole, rest = divmod(n, tile.width)
        edge = Tile(tile.rows, ceil(rest / tile.lanes), tile.lanes, tile.element)
        return (whole * tile.cycles + (edge.cycles if rest else 0)) / tile.rows, -tile.rows

    return min((t for t in tiles(target, element)), key=cost)


def panels(n: int, tile: Tile) -> int:
    """Number of panels of B."""
    return -(-n // tile.width)


def blocking(spec: Gemm, target: Target) -> Blocking:
    """The cost model: everything below follows from extents, strides and cache sizes, nothing is timed."""
    tile = panel_tile(target, spec.n, spec.element)
    if spec.m is not None:
        tile = tile.with_rows(_even(spec.m, tile.rows))
    size = spec.bytes
    # A panel of B must leave half of the second level to A; longer contractions are cut evenly.
    longest = max(target.l2 // 4 // (tile.width * size), 64)
    if spec.k is None:
        piece: int | None = longest
    elif spec.k <= longest or (spec.m is not None and spec.m <= tile.rows):
        piece = None
    else:
        pieces = -(-spec.k // longest)
        piece = -(-spec.k // pieces) + 7 & -8
    steps = piece or spec.k or 1
    rows = max(target.l2 // 2 // (max(steps, 1) * size), tile.rows)
    if spec.m is not None:
        rows = _even(max(spec.m, 1), rows)
    block = -(-rows // tile.rows) * tile.rows
    copy = _copy_pays(spec, tile, block)
    scratch = (
        copied_stride(spec, block, steps) * size * (block if spec.strides[1] == 1 else steps) if copy else 0
    )
    return Blocking(tile, block, piece, copy, scratch)


def _even(total: int, most: int) -> int:
    """The even share when `total` is cut into as few parts of at most `most` as possible."""
    return max(-(-total // max(-(-total // most), 1)), 1)


def _copy_pays(spec: Gemm, tile: Tile, block: int) -> bool:
    """A is copied when its rows fall onto the same cache sets, and the copy is used often enough to pay."""
    if panels(spec.n, tile) < 4 or (spec.m is not None and spec.m < tile.rows):
        return False
    row, step = spec.strides
    far = row if step == 1 else step
    return far * spec.bytes % 2048 == 0 or step != 1


def copied_stride(spec: Gemm, block: int, steps: int) -> int:
    """Elements between rows (or steps, for A transposed) of the copy of A: one line more than it holds."""
    contiguous = steps if spec.strides[1] == 1 else block
    return (-(-contiguous * spec.bytes // LINE) + 1) * LINE // spec.bytes


def row_tiles(rows: int, tallest: int) -> list[int]:
    """Heights of the tiles that cover `rows` exactly: two neighbouring heights when that works out, else remainders.

    >>> row_tiles(197, 14).count(14), row_tiles(197, 14).count(13), row_tiles(5, 14), row_tiles(32, 14)
    (2, 13, [4, 1], [14, 14, 4])
    """
    count = -(-rows // tallest)
    missing = count * tallest - rows
    if missing <= count:
        return [tallest] * (count - missing) + [tallest - 1] * missing
    heights = [tallest] * (rows // tallest)
    rest = rows % tallest
    for height in remainders(tallest):
        heights += [height] * (rest // height)
        rest %= height
    return heights


def remainders(tallest: int) -> list[int]:
    """Heights of the smaller tiles that cover what the tall ones leave."""
    heights = {1, 2, 3}
    while tallest > 1:
        tallest = -(-tallest // 2)
        heights.add(tallest)
    return sorted(heights, reverse=True)


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

    m and k are i64 and must equal the extents the product fixes. scratch: `blocking(...).scratch` bytes, one for each
    thread. operands: parameters of the epilogue by name, `{"bias": "ptr readonly"}`; it finds them as `b.bias`.
    c must not overlap any other operand; an epilogue that updates C in place reads it through `b.c`, which asks for
    `blocking(...).piece` None.
    """
    kernel = _Kernel(
        module, name, spec, target, epilogue, dict(operands or {}), cut or blocking(spec, target)
    )
    return kernel.emit()


@dataclass(frozen=True, slots=True)
class _Kernel:
    """The functions of one kernel and what they share.

    The driver walks blocks, pieces and panels; `panel` (and `edge`, for the narrower last panel) walks the tiles of a
    block; `row` takes a single row through several panels at once.
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
        return (self.spec.b_stride or self.cut.tile.width) * self.spec.bytes

    @property
    def whole_panels(self) -> int:
        return self.spec.n // self.cut.tile.width

    @property
    def row_panels(self) -> int:
        """Panels a single row takes at once; 0 when the kernel never sees a single row."""
        if self.spec.m not in (None, 1) or self.spec.k is None or self.cut.piece is not None:
            return 0
        count = ceil(ROW_ACCUMULATORS / self.cut.tile.vectors)
        return count if self.whole_panels >= count else 0

    def function(self, part: str, integers: tuple[str, ...], **kind: Any) -> Function:
        """A function of this kernel: the operands all take, then its own integers, then the epilogue's operands."""
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
        row_stride, k_stride = (stride * self.spec.bytes for stride in self.spec.strides)
        with f.loop(f.block0, f.block1) as block:
            row = f.mul(block, self.cut.block)
            rows = f.smin(f.sub(f.m, row), self.cut.block)
            if self.cut.piece is None:
                depth = f.k if self.spec.k is None else constant(self.spec.k, "i64")
                self.block(f, f.gep(f.a, f.mul(row, row_stride)), f.b, row, rows, depth, ())
            else:
                with f.loop(0, f.smax(f.k, 1), self.cut.piece) as start:
                    left = f.sub(f.k, start)
                    depth = f.smin(left, self.cut.piece)
                    flags = f.icmp("eq", start, 0), f.icmp("sle", left, self.cut.piece)
                    a = f.gep(f.a, f.add(f.mul(row, row_stride), f.mul(start, k_stride)))
                    b = f.gep(f.b, f.mul(start, self.b_step))
                    self.block(f, a, b, row, rows, depth, tuple(f.zext(flag, "i64") for flag in flags))
        f.ret()
        return f

    def block(
        self, f: Function, a: Reg, b: Reg, row: Reg, rows: Reg, depth: Reg, flags: tuple[Reg, ...]
    ) -> None:
        """One block of rows by one piece of the contraction, through all panels."""
        if self.cut.copy_a:
            self.copy_a(f, a, rows, depth)
            a = f.scratch
        whole, width = self.whole_panels, self.cut.tile.width
        first, last = f.panel0, f.smin(f.panel1, whole)
        if self.row_panels:

            def single() -> list[Reg]:
                return [self.call(f, ".row", "i64", a, b, row, f.panel0, last)]

            (first,) = f.if_else(f.icmp("eq", f.m, 1), single, lambda: [f.panel0])
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
        heights = self.heights()
        count = f.udiv(f.add(f.rows, tallest - 1), tallest)
        missing = f.sub(f.mul(count, tallest), f.rows)
        exact = f.icmp("sle", missing, count)
        tall = f.mul(f.select(exact, f.sub(count, missing), f.udiv(f.rows, tallest)), tallest)
        done = constant(0, "i64")
        ends = {tallest: tall, tallest - 1: f.select(exact, f.rows, tall)}
        for height in sorted(heights, reverse=True):
            if height in ends:
                end = ends[height]
            else:
                left = f.sub(f.rows, done)
                end = f.sub(f.rows, f.urem(left, height)) if height > 1 else f.rows
            with f.loop(done, end, height) as row:
                self.tile(f, tile.with_rows(height), row, mask)
            done = end
        f.ret()

    def heights(self) -> set[int]:
        """Every tile height the kernel may need; few when M is known."""
        tallest, m = self.cut.tile.rows, self.spec.m
        if m is None:
            return {tallest, max(tallest - 1, 1), *(h for h in remainders(tallest) if h < tallest)}
        whole, rest = divmod(m, self.cut.block)
        blocks = [self.cut.block] * min(whole, 1) + [rest] * min(rest, 1)
        return {height for rows in blocks for height in row_tiles(rows, tallest)} or {1}

    def tile(self, f: Function, tile: Tile, row: Reg, mask: Reg | None) -> None:
        """One register tile: contraction, epilogue, store. `row` counts from the block's first."""
        a_row, a_step = self.a_strides
        size, vector_bytes = tile.bytes, tile.lanes * tile.bytes
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
        )
        depth = self.spec.k if self.cut.piece is None and self.spec.k is not None else f.depth
        sites = self.sites(f, tile, f.add(f.row, row), f.column, mask)
        if self.cut.piece is None:
            self.finish(f, contract(f, tile, depth, scalars, vectors, zeros(tile)), sites)
            return
        start = f.if_else(
            f.icmp("ne", f.first, 0), lambda: zeros(tile), lambda: [site.like_output(f.c) for site in sites]
        )
        values = contract(f, tile, depth, scalars, vectors, start)
        if self.epilogue is None:
            self.finish(f, values, sites)
            return

        def keep() -> list[Reg]:
            for value, site in zip(values, sites, strict=True):
                site.store(value, f.c)
            return []

        f.if_else(f.icmp("ne", f.last, 0), lambda: self.finish(f, values, sites), keep)

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
        """A single row: a tile of one row over several panels, so that their memory streams run side by side."""
        assert self.spec.k is not None
        f = self.function(".row", ("row", "panel0", "panel1"), returns="i64", internal=True, inline=False)
        one, group = self.cut.tile, self.row_panels
        tile = replace(one, rows=1, vectors=one.vectors * group)
        panel_bytes = self.panel_bytes(f)
        vector_bytes = tile.lanes * tile.bytes
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
            )
            scalars = Stream(f.a, self.a_strides[1], (0,), tile.bytes)
            values = contract(f, tile, self.spec.k, scalars, vectors, zeros(tile))
            self.finish(f, values, self.sites(f, tile, f.row, f.mul(panel, one.width), None))
        f.ret(end)
