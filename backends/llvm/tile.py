"""The register tile: the innermost loop that GEMM and convolution share.

A tile is `rows` x `vectors` accumulators kept in registers. One step of the contraction loads its vectors
once, broadcasts one scalar per row and issues rows * vectors fused multiply-adds. Where the scalars and
vectors come from is a `Stream` each: a base address, constant offsets within a step and a constant number
of bytes from step to step; that is enough for matrices with any strides and for the window of a
convolution.

Every output element is one chain of fused multiply-adds in the order of the steps, so neither the tile's
shape nor its place, nor a split of the contraction that passes accumulators on, changes a bit of the
result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graphc.backends.llvm.emitter import BITS, Function, Reg, constant, vector
from graphc.backends.llvm.stored import Stored
from graphc.backends.llvm.target import Target

FMA_PER_CYCLE = 2
LOADS_PER_CYCLE = 2
FMA_LATENCY = 4
MAX_ROWS = 14
LINE = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` broadcast operands by `vectors` vectors of `lanes` elements.

    >>> tile = Tile(14, 2, 16, "float")
    >>> tile.width, tile.registers, tile.cycles
    (32, 31, 14.0)
    """

    rows: int
    vectors: int
    lanes: int
    element: str

    @property
    def type(self) -> str:
        return vector(self.element, self.lanes) if self.lanes > 1 else self.element

    @property
    def bytes(self) -> int:
        """Bytes of one element."""
        return BITS[self.element] // 8

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def registers(self) -> int:
        """Accumulators, one step's vectors and the broadcast."""
        return self.rows * self.vectors + self.vectors + 1

    @property
    def unroll(self) -> int:
        """Steps of one turn of the loop.

        Few enough that LLVM's scheduler hoists no loads into registers that the tile needs, enough that the
        loop's own instructions do not count.
        """
        products = self.rows * self.vectors
        return 1 if products > 24 else 2 if products > 14 else 4

    @property
    def cycles(self) -> float:
        """Cycles of one step when its operands are in the first-level cache."""
        products = self.rows * self.vectors / FMA_PER_CYCLE
        return max(products, (self.rows + self.vectors) / LOADS_PER_CYCLE, FMA_LATENCY)

    def with_rows(self, rows: int) -> "Tile":
        return replace(self, rows=rows)


def tiles(target: Target, element: str) -> list[Tile]:
    """The largest tile of each width that the machine's registers hold.

    >>> from graphc.backends.llvm.target import level
    >>> [(t.rows, t.vectors) for t in tiles(level("x86-64-v4"), "float")]
    [(14, 1), (14, 2), (9, 3), (6, 4)]
    >>> [(t.rows, t.vectors) for t in tiles(level("x86-64-v3"), "float")]
    [(14, 1), (6, 2), (4, 3), (2, 4)]
    """
    lanes = target.lanes(element)
    return [
        Tile(min((target.vector_registers - n - 1) // n, MAX_ROWS), n, lanes, element) for n in range(1, 5)
    ]


@dataclass(frozen=True, slots=True)
class Stream:
    """Operand addresses: item i of step k lies at `base + k * step + offsets[i]` bytes.

    mask: lanes of the last item that exist, for vectors at the edge of an array. prefetch: bytes to fetch
    ahead, 0 for none. stored: how vectors lie in memory that are stored in fewer bits.
    """

    base: Reg
    step: int
    offsets: tuple[int, ...]
    align: int
    mask: Reg | None = None
    prefetch: int = 0
    stored: Stored | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """Memory to bring near while a tile works: `step` bytes for each step, from `base` on, into cache `level`.

    span: bytes of each step that are wanted, when they are fewer.
    """

    base: Reg
    step: int
    level: int = 2
    span: int | None = None

    def emit(self, b: Function, k: Reg, steps: int) -> None:
        """The lines that belong to `steps` steps from step k on."""
        here = b.gep(self.base, b.mul(k, self.step))
        runs = [(0, self.step * steps)]
        if self.span is not None:
            runs = [(step * self.step, self.span) for step in range(steps)]
        for start, length in runs:
            for line in range(0, length, LINE):
                b.prefetch(b.gep(here, start + line), locality=4 - self.level)


def zeros(tile: Tile) -> list[Reg]:
    """Accumulators before the first step, row by row."""
    return [constant(0, tile.type)] * (tile.rows * tile.vectors)


def contract(
    b: Function,
    tile: Tile,
    depth: int | Reg,
    scalars: Stream,
    vectors: Stream,
    accumulators: Sequence[Reg],
    ahead: Sequence[Ahead] = (),
) -> list[Reg]:
    """`depth` steps of `acc[r][v] += scalar[r] * vector[v]`; gives the accumulators after them, row by row.

    The loop is unrolled by `tile.unroll`; the steps left over follow it. ahead: what is fetched meanwhile.
    """
    if len(scalars.offsets) != tile.rows or len(vectors.offsets) != tile.vectors:
        raise ValueError(f"streams of {len(scalars.offsets)} and {len(vectors.offsets)} for {tile}")

    def steps(count: int) -> Callable[[Reg, list[Reg]], list[Reg]]:
        def body(k: Reg, acc: list[Reg]) -> list[Reg]:
            scalar = b.gep(scalars.base, b.mul(k, scalars.step))
            column = b.gep(vectors.base, b.mul(k, vectors.step))
            for each in ahead:
                each.emit(b, k, count)
            for step in range(count):
                acc = _step(b, tile, scalars, vectors, scalar, column, step, acc)
            return acc

        return body

    acc = list(accumulators)
    if isinstance(depth, int):
        unroll = min(tile.unroll, depth)
        turns = depth - depth % unroll if unroll else 0
        if turns:
            acc = b.fold(0, turns, unroll, acc, steps(unroll))
        return steps(depth % unroll)(constant(turns, "i64"), acc) if unroll and depth % unroll else acc
    whole = b.and_(depth, -tile.unroll)
    acc = b.fold(0, whole, tile.unroll, acc, steps(tile.unroll))
    return acc if tile.unroll == 1 else b.fold(whole, depth, 1, acc, steps(1))


def _step(
    b: Function,
    tile: Tile,
    scalars: Stream,
    vectors: Stream,
    scalar: Reg,
    column: Reg,
    step: int,
    acc: list[Reg],
) -> list[Reg]:
    columns = []
    for index, offset in enumerate(vectors.offsets):
        where = b.gep(column, step * vectors.step + offset)
        if vectors.mask is not None and index == tile.vectors - 1:
            columns.append(b.masked_load(where, tile.type, vectors.mask, tile.bytes))
        elif vectors.stored is not None:
            columns.append(vectors.stored.load(b, where, tile.lanes))
        else:
            columns.append(b.load(where, tile.type, vectors.align))
        if vectors.prefetch:
            b.prefetch(b.gep(where, vectors.prefetch))
    following = []
    for row, offset in enumerate(scalars.offsets):
        one = b.load(b.gep(scalar, step * scalars.step + offset), tile.element, scalars.align)
        broadcast = b.splat(one, tile.lanes) if tile.lanes > 1 else one
        following += [b.fma(broadcast, columns[v], acc[row * tile.vectors + v]) for v in range(tile.vectors)]
    return following


@dataclass(frozen=True, slots=True)
class Site:
    """Where one finished accumulator vector goes, as an epilogue sees it.

    An epilogue is `epilogue(b, accumulator, site) -> vector`, applied once, just before the store. Its
    operands are pointers given to the kernel; `site` reads them at the right place:

        lambda b, acc, site: b.maximum(b.fadd(acc, site.per_column(b.bias)), 0.0)
    """

    b: Function
    tile: Tile
    row: Reg
    column: Reg
    offset: Reg
    mask: Reg | None

    def like_output(self, base: Reg) -> Reg:
        """The vector of an array laid out like the output; pass the output to read its own memory."""
        return self._load(self.b.gep(base, self.offset))

    def per_column(self, base: Reg) -> Reg:
        """The vector of a contiguous row that holds one value per column: a bias."""
        return self._load(self.b.gep(base, self.b.mul(self.column, self.tile.bytes)))

    def per_row(self, base: Reg) -> Reg:
        """The value of a contiguous column that holds one value per row, in every lane."""
        value = self.b.load(self.b.gep(base, self.b.mul(self.row, self.tile.bytes)), self.tile.element)
        return self.b.splat(value, self.tile.lanes)

    def store(self, value: Reg, base: Reg) -> None:
        where = self.b.gep(base, self.offset)
        if self.mask is None:
            self.b.store(value, where, self.tile.bytes)
        else:
            self.b.masked_store(value, where, self.mask, self.tile.bytes)

    def _load(self, where: Reg) -> Reg:
        if self.mask is None:
            return self.b.load(where, self.tile.type, self.tile.bytes)
        return self.b.masked_load(where, self.tile.type, self.mask, self.tile.bytes)


Epilogue = Callable[[Function, Reg, Site], Reg]


def lane_mask(tile: Tile, width: int) -> Reg | None:
    """Mask of the last vector of `width` columns, None when it is full."""
    rest = width % tile.lanes
    if not rest:
        return None
    return constant([lane < rest for lane in range(tile.lanes)], vector("i1", tile.lanes))
