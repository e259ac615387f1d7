"""Matrix products with a constant B by seven products of half the size instead of eight: Strassen's method, one level.

B's sums are made in float64 when the model is compiled, A's in one pass before the product. The products of a tile run
one after another and meet in the first level, so C is written once, epilogue and all:

    M1 = (A11 + A22)(B11 + B22)    C11 = M1 + M4 - M5 + M7
    M2 = (A21 + A22) B11           C12 = M3 + M5
    M3 = A11 (B12 - B22)           C21 = M2 + M4
    M4 = A22 (B21 - B11)           C22 = M1 - M2 + M3 + M6
    M5 = (A11 + A12) B22
    M6 = (A21 - A11)(B11 + B12)
    M7 = (A12 - A22)(B21 + B22)

Row r meets row r + ceil(M/2) and no other; with odd M the last row is met twice. Where the two differ much in size, or
one is not finite, the tile is made row by row from the same panels: C11 = (A11 + A12) B11 + A12 (B21 - B11) and so on.
Source: Huang, Smith, Henry, van de Geijn, Strassen's Algorithm Reloaded, SC16.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.backends.llvm.emitter import Function, Module, Reg, constant, like
from graphc.backends.llvm.packing import load_part
from graphc.backends.llvm.strassen_plan import KEPT, LARGEST, NEAR, PRODUCTS, Halves
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Ahead, Epilogue, Site, Stream, contract, zeros

# The places of operands in memory, in the order of use.
M1, M6, M7, M2, M4, M3, M5 = range(PRODUCTS)
A21, A12 = M6, M7  # what lies there where rows are not mixed
AHEAD = 1024  # bytes of B fetched before they are wanted


def emit_sums(module: Module, name: str, cut: Halves, target: Target) -> Function:
    """Add `name(a, sums, unfit, tile0, tile1)`: the operands of a range of tiles, and whether their rows may be mixed.

    unfit: not 0 if B's columns may not.
    """
    size, lanes = cut.spec.bytes, cut.tile.lanes
    pointers = {"a": "ptr noalias readonly", "sums": "ptr noalias"}
    f = module.function(name, pointers | dict.fromkeys(("unfit", "tile0", "tile1"), "i64"))
    more, low = cut.heights
    whole, half = cut.depth - cut.depth % lanes, cut.depth * size
    integers = like(cut.tile.type, "i32")

    def rows_of(row: Reg) -> tuple[Reg, Reg]:
        """Where a row and the one it meets begin."""
        below = f.smin(f.add(row, cut.pairs), cut.rows - 1)
        top, bottom = (f.gep(f.a, f.mul(x, 2 * half)) for x in (row, below))
        return top, bottom

    def quarters(top: Reg, bottom: Reg, k: Reg, count: int) -> list[Reg]:
        at = f.mul(k, size)
        return [
            load_part(f, target, f.gep(f.gep(base, at), offset), cut.tile.type, count)
            for base in (top, bottom)
            for offset in (0, half)
        ]

    def sweep(top: Reg, bottom: Reg, place: Reg, segment: Reg) -> list[Reg]:
        """The operands of a pair of rows; gives the largest |a| of each, as bits."""

        def step(k: Reg, largest: list[Reg], count: int = lanes) -> list[Reg]:
            a11, a12, a21, a22 = quarters(top, bottom, k, count)
            made = {
                M1: f.fadd(a11, a22), M2: f.fadd(a21, a22), M3: a11, M4: a22, M5: f.fadd(a11, a12),
                M6: f.fsub(a21, a11), M7: f.fsub(a12, a22),
            }  # fmt: skip
            for number, value in sorted(made.items()):
                f.store(value, f.gep(f.gep(place, f.mul(segment, number)), f.mul(k, size)), lanes * size)
            sizes = [f.and_(f.bitcast(a, "i32"), 0x7FFFFFFF) for a in (a11, a12, a21, a22)]
            return [f.smax(f.smax(largest[i], sizes[2 * i]), sizes[2 * i + 1]) for i in range(2)]

        largest = [constant(0, integers)] * 2
        if whole:
            largest = f.fold(0, whole, lanes, largest, step)
        if whole < cut.depth:
            largest = step(constant(whole, "i64"), largest, cut.depth - whole)
        return [f.intrinsic("vector.reduce.smax", [integers], "i32", each) for each in largest]

    def unmixed(top: Reg, bottom: Reg, place: Reg, segment: Reg) -> None:
        def step(k: Reg, count: int = lanes) -> None:
            _, a12, a21, _ = quarters(top, bottom, k, count)
            for number, value in ((A21, a21), (A12, a12)):
                f.store(value, f.gep(f.gep(place, f.mul(segment, number)), f.mul(k, size)), lanes * size)

        if whole:
            with f.loop(0, whole, lanes) as k:
                step(k)
        if whole < cut.depth:
            step(constant(whole, "i64"), cut.depth - whole)

    with f.loop(f.tile0, f.tile1) as tile:
        first = f.add(f.mul(tile, low), f.smin(tile, more))
        count = f.add(f.zext(f.icmp("slt", tile, more), "i64"), low)
        there = f.gep(f.sums, f.mul(first, cut.group))
        segment = f.mul(count, cut.line)

        def pair(r: Reg, found: list[Reg]) -> list[Reg]:
            top, bottom = sweep(*rows_of(f.add(first, r)), f.gep(there, f.mul(r, cut.line)), segment)
            high, other = f.lshr(top, 23), f.lshr(bottom, 23)
            apart = f.sub(f.smax(high, other), f.smin(high, other))
            wrong = f.icmp("sgt", apart, NEAR)
            for order in (high, other):
                wrong = f.or_(wrong, f.icmp("sgt", order, 127 + LARGEST))
                wrong = f.or_(wrong, f.icmp("slt", order, 127 - LARGEST))
            return [f.or_(found[0], f.zext(wrong, "i64"))]

        (apart,) = f.fold(0, count, 1, [f.unfit], pair)
        f.store(apart, f.gep(f.gep(f.sums, cut.pairs * cut.group), f.mul(tile, 8)))
        with f.if_(f.icmp("ne", apart, 0)), f.loop(0, count) as r:
            unmixed(*rows_of(f.add(first, r)), f.gep(there, f.mul(r, cut.line)), segment)
    f.ret()
    return f


def emit_halves(
    module: Module,
    name: str,
    cut: Halves,
    epilogue: Epilogue | None = None,
    operands: Mapping[str, str] | None = None,
) -> Function:
    """Add `name(sums, b, c, own, tile0, tile1, panel0, panel1, *operands)`; see `gemm.emit_gemm` for the epilogue."""
    pointers = {
        "sums": "ptr noalias readonly", "b": "ptr noalias readonly", "c": "ptr noalias", "own": "ptr noalias",
    }  # fmt: skip
    numbers = dict.fromkeys(("tile0", "tile1", "panel0", "panel1"), "i64")
    f = module.function(name, pointers | numbers | dict(operands or {}))
    more, low = cut.heights
    odd = cut.rows % 2
    ranges = [(low + 1, 0, more, False), (low, more, cut.tiles - odd, False)]
    if odd:
        ranges.append((low, cut.tiles - 1, cut.tiles, True))
    with f.loop(f.panel0, f.panel1) as panel:
        b = f.gep(f.b, f.mul(panel, cut.panel_bytes))
        column = f.mul(panel, cut.tile.width)
        for height, first, end, drop in ranges:
            if first < end:
                with f.loop(f.smax(f.tile0, first), f.smin(f.tile1, end)) as tile:
                    row = f.add(f.mul(tile, low), f.smin(tile, more))
                    _Tile(f, cut, height, epilogue, drop).emit(b, tile, row, column)
    f.ret()
    return f


class _Tile:
    """A tile of each quarter of C. drop: its last row below is that of another tile."""

    def __init__(self, f: Function, cut: Halves, rows: int, epilogue: Epilogue | None, drop: bool) -> None:
        self.f, self.cut, self.epilogue, self.drop = f, cut, epilogue, drop
        self.tile = cut.tile.with_rows(rows)
        self.every = range(rows * self.tile.vectors)

    def emit(self, b: Reg, tile: Reg, row: Reg, column: Reg) -> None:
        f, cut = self.f, self.cut
        self.a, self.b = f.gep(f.sums, f.mul(row, cut.group)), b
        flag = f.load(f.gep(f.gep(f.sums, cut.pairs * cut.group), f.mul(tile, 8)), "i64")

        def seven() -> list[Reg]:
            self.mixed(row, column)
            return []

        def eight() -> list[Reg]:
            self.unmixed(row, column)
            return []

        f.if_else(f.icmp("eq", flag, 0), seven, eight)

    def mixed(self, row: Reg, column: Reg) -> None:
        f = self.f
        right, below = f.add(column, self.cut.spec.n // 2), f.add(row, self.cut.pairs)
        x, y, z = range(KEPT)
        for n, m in enumerate(self.product(M1)):
            self.keep(x, n, m)
        for n, m in enumerate(self.product(M6)):
            self.keep(y, n, f.fadd(self.kept(x, n), m))
        for n, m in enumerate(self.product(M7)):
            self.keep(x, n, f.fadd(self.kept(x, n), m))
        for n, m in enumerate(self.product(M2)):
            self.keep(z, n, m)
            self.keep(y, n, f.fsub(self.kept(y, n), m))
        sites = self.sites(below, column)
        for n, m in enumerate(self.product(M4)):
            self.keep(x, n, f.fadd(self.kept(x, n), m))
            if not self.dropped(n):
                self.store(f.fadd(self.kept(z, n), m), sites[n])
        sites = self.sites(below, right)
        for n, m in enumerate(self.product(M3)):
            self.keep(z, n, m)
            if not self.dropped(n):
                self.store(f.fadd(self.kept(y, n), m), sites[n])
        above, sites = self.sites(row, column), self.sites(row, right)
        for n, m in enumerate(self.product(M5)):
            self.store(f.fsub(self.kept(x, n), m), above[n])
            self.store(f.fadd(self.kept(z, n), m), sites[n])

    def unmixed(self, row: Reg, column: Reg) -> None:
        """The four quarters one by one, from sums within a row only."""
        f = self.f
        # C11, C12, C21, C22: where the operands of their two products lie.
        parts = [((M5, M2), (A12, M4)), ((M3, M3), (M5, M5)), ((M2, M2), (M4, M4)), ((A21, M3), (M2, M5))]
        with f.loop(0, 4) as quarter:

            def pick(values: list[int]) -> Reg:
                found = constant(values[0], "i64")
                for n in range(1, 4):
                    found = f.select(f.icmp("eq", quarter, n), constant(values[n], "i64"), found)
                return found

            acc = zeros(self.tile)
            for half in range(2):
                left, right = (pick([part[half][side] for part in parts]) for side in range(2))
                acc = self.product(left, right, acc)
            lower = f.lshr(quarter, 1)
            at = f.add(column, f.mul(f.and_(quarter, 1), self.cut.spec.n // 2))
            sites = self.sites(f.add(row, f.mul(lower, self.cut.pairs)), at)
            for n in self.every:
                if self.dropped(n):
                    with f.if_(f.icmp("eq", lower, 0)):
                        self.store(acc[n], sites[n])
                else:
                    self.store(acc[n], sites[n])

    def product(
        self, left: int | Reg, right: int | Reg | None = None, acc: list[Reg] | None = None
    ) -> list[Reg]:
        """The operands at two places multiplied, added to `acc`."""
        f, cut, tile = self.f, self.cut, self.tile
        size, b_step = tile.bytes, tile.width * tile.bytes
        a, b = (
            f.gep(base, f.mul(f.operand(place, "i64"), step))
            for base, place, step in (
                (self.a, left, tile.rows * cut.line),
                (self.b, left if right is None else right, cut.depth * b_step),
            )
        )
        scalars = Stream(a, size, tuple(r * cut.line for r in range(tile.rows)), size)
        offsets = tuple(v * tile.lanes * size for v in range(tile.vectors))
        vectors = Stream(b, b_step, offsets, tile.lanes * size)
        ahead = [Ahead(f.gep(b, AHEAD), b_step, 1)]
        return contract(f, tile, cut.depth, scalars, vectors, acc or zeros(tile), ahead)

    def dropped(self, n: int) -> bool:
        return self.drop and n // self.tile.vectors == self.tile.rows - 1

    def place(self, number: int, n: int) -> Reg:
        count, size = len(self.every), self.tile.lanes * self.tile.bytes
        return self.f.gep(self.f.own, (number * count + n) * size)

    def keep(self, number: int, n: int, value: Reg) -> None:
        self.f.store(value, self.place(number, n), self.tile.bytes * self.tile.lanes)

    def kept(self, number: int, n: int) -> Reg:
        return self.f.load(self.place(number, n), self.tile.type, self.tile.bytes * self.tile.lanes)

    def sites(self, row: Reg, column: Reg) -> list[Site]:
        f, tile, c_row = self.f, self.tile, self.cut.spec.n * self.cut.spec.bytes
        corner = f.add(f.mul(row, c_row), f.mul(column, tile.bytes))
        return [
            Site(
                f,
                tile,
                f.add(row, r),
                f.add(column, v * tile.lanes),
                f.add(corner, r * c_row + v * tile.lanes * tile.bytes),
                None,
            )
            for r in range(tile.rows)
            for v in range(tile.vectors)
        ]

    def store(self, value: Reg, site: Site) -> None:
        site.store(value if self.epilogue is None else self.epilogue(self.f, value, site), self.f.c)
