"""Direct 2-D convolution on the register tile: rows are output pixels, vectors are output channels.

Input and output are channel-blocked images (`blocked.py`) whose border holds the padding, so every address
is a base plus a constant and no loop tests for an edge. Weights are packed in panels of output channels,
each panel in the order the contraction runs: block of input channels, window row, window column, channel
within the block. The output is cut into tiles that cover its width exactly; rows narrower than a tile are
taken several at a time.

Each output is one chain of fused multiply-adds in that order. Groups whose channels do not fill blocks run
their chains side by side in one vector and each lane keeps its own group's; with one channel a group
(depthwise) the products are taken lane by lane.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from graphc.backends.llvm.blocked import BLOCK
from graphc.backends.llvm.convolution_plan import Convolution, Tiling, slots, tiling
from graphc.backends.llvm.emitter import Function, Module, Reg, constant, vector
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import LINE, Ahead, Epilogue, Site, Stream, Tile, contract, zeros

FEW_TURNS = 32  # register tiles of an image up to which a panel's way counts


def emit_convolution(
    module: Module,
    name: str,
    spec: Convolution,
    target: Target,
    epilogue: Epilogue | None = None,
    operands: Mapping[str, str] | None = None,
    cut: Tiling | None = None,
) -> Function:
    """Add the kernel `name(x, w, y, row0, row1, panel0, panel1, *operands)` to a module.

    rows: a range of groups of output rows, over all images (`Tiling.row_groups` each); panels: a range of
    panels of output channels. operands and epilogue as for `emit_gemm`: `per_column` reads a value per
    channel, `like_output` an image laid out like the result. y must overlap no other operand. Channels that
    fill up the last block of the result become zeros.
    """
    kernel = _Kernel(module, name, spec, target, epilogue, dict(operands or {}), cut or tiling(spec, target))
    return kernel.emit()


@dataclass(frozen=True, slots=True)
class Pixel(Site):
    """Where a vector of output channels goes; `row` counts pixels over all images.

    y, x: the pixel in its image. block, lane: the block of channels, and the first channel's place within it.
    """

    image: Reg
    y: Reg
    x: Reg
    block: Reg
    lane: int


@dataclass(frozen=True, slots=True)
class _Kernel:
    module: Module
    name: str
    spec: Convolution
    target: Target
    epilogue: Epilogue | None
    operands: dict[str, str]
    cut: Tiling

    def emit(self) -> Function:
        spec, tile = self.spec, self.cut.tile
        inputs, outputs = spec.group_channels
        taps = spec.kernel[0] * spec.kernel[1] * tile.bytes
        if not spec.dense:
            self.panel_function(".panel", tile)
            f = self.function("", ("row0", "row1", "panel0", "panel1"))
            with f.loop(f.panel0, f.panel1) as panel:
                w = f.gep(f.w, f.mul(panel, (1 if spec.depthwise else slots(spec) * inputs) * taps * BLOCK))
                self.call(f, ".panel", f.x, w, f.mul(panel, BLOCK), f.row0, f.row1)
            f.ret()
            return f
        whole, rest = divmod(outputs, tile.width)
        if whole:
            self.panel_function(".panel", tile)
        if rest:
            self.panel_function(".edge", replace(tile, vectors=ceil(rest / BLOCK) * BLOCK // tile.lanes))
        f = self.function("", ("row0", "row1", "panel0", "panel1"))
        per_group = whole + bool(rest)
        # A few images' rows at a time: their input stays near while the panels of weights pass.
        rows = self.cut.row_groups(spec) * max(self.target.l2 // 4 // spec.source.bytes, 1)
        with f.loop(f.row0, f.row1, rows) as row0, f.loop(f.panel0, f.panel1) as panel:
            row1 = f.smin(f.add(row0, rows), f.row1)
            group, index = f.udiv(panel, per_group), f.urem(panel, per_group)
            x = f.gep(f.x, f.mul(group, inputs // BLOCK * spec.source.plane))
            w = f.gep(f.w, f.mul(panel, inputs * taps * tile.width))
            column = f.add(f.mul(group, outputs), f.mul(index, tile.width))

            def panel_call(part: str) -> list[Reg]:
                self.call(f, part, x, w, column, row0, row1)
                return []

            if whole and rest:
                narrow = f.icmp("eq", index, whole)
                f.if_else(narrow, lambda: panel_call(".edge"), lambda: panel_call(".panel"))
            else:
                panel_call(".panel" if whole else ".edge")
        f.ret()
        return f

    def function(self, part: str, integers: tuple[str, ...], **kind: Any) -> Function:
        pointers = {"x": "ptr noalias readonly", "w": "ptr noalias readonly", "y": "ptr noalias"}
        return self.module.function(
            self.name + part, pointers | dict.fromkeys(integers, "i64") | self.operands, **kind
        )

    def call(self, f: Function, part: str, x: Reg, w: Reg, *integers: Reg) -> None:
        f.call(self.name + part, "void", x, w, f.y, *integers, *(f.parameters[key] for key in self.operands))

    def panel_function(self, part: str, tile: Tile) -> None:
        """All pixels of a range of rows for one panel of output channels, which begins at `column`."""
        spec, span = self.spec, self.cut.span
        f = self.function(part, ("column", "row0", "row1"), internal=True, inline=False)
        groups = self.cut.row_groups(spec)
        with f.loop(f.row0, f.row1) as index:
            image, group = f.udiv(index, groups), f.urem(index, groups)
            coming = self.coming(f, tile, f.sub(index, f.row0))
            y = f.mul(group, span)
            corner = f.add(f.mul(image, spec.source.bytes), f.mul(y, spec.stride[0] * spec.source.pitch))
            x = f.gep(f.x, f.add(corner, spec.start))
            block = f.udiv(f.column, BLOCK)
            offset = f.add(f.mul(image, spec.result.bytes), f.mul(block, spec.result.plane))
            offset = f.add(f.add(offset, f.mul(y, spec.result.pitch)), spec.result.origin)
            last = spec.result.height % span

            def rows(count: int) -> list[Reg]:
                self.rows(f, tile, count, x, image, y, offset, coming)
                return []

            if last:
                f.if_else(f.icmp("eq", group, groups - 1), lambda: rows(last), lambda: rows(span))
            else:
                rows(span)
        f.ret()

    def coming(self, f: Function, tile: Tile, turn: Reg) -> Reg | None:
        """What a group of rows fetches ahead, a line a step: its part of the next panel, when that comes from far.

        A panel that many rows use is worth its way, and one that is left to the prefetcher of the machine too.
        """
        spec, steps = self.spec, self.spec.group_channels[0] * self.spec.kernel[0] * self.spec.kernel[1]
        panel = steps * self.cut.tile.width * tile.bytes
        few = self.cut.row_groups(spec) * len(self.cut.widths) <= FEW_TURNS
        if not (spec.dense and few and self.cut.panels(spec) * panel > self.target.l2 // 2):
            return None
        parts = self.cut.tile.width * tile.bytes // LINE
        return f.gep(f.w, f.add(f.mul(f.urem(turn, parts), steps * LINE), panel))

    def rows(
        self,
        f: Function,
        tile: Tile,
        count: int,
        x: Reg,
        image: Reg,
        y: Reg,
        offset: Reg,
        coming: Reg | None,
    ) -> None:
        """The tiles that cover `count` output rows."""
        start = 0
        for width in sorted(set(self.cut.widths), reverse=True):
            stop = start + width * self.cut.widths.count(width)
            with f.loop(start, stop, width) as column:
                self.tile(f, tile.with_rows(count * width), width, x, image, y, offset, column, coming)
            start = stop

    def tile(
        self,
        f: Function,
        tile: Tile,
        width: int,
        x: Reg,
        image: Reg,
        y: Reg,
        offset: Reg,
        first: Reg,
        coming: Reg | None,
    ) -> None:
        """One register tile of `width` pixels from column `first` on, in one row or several."""
        source, result = self.spec.source, self.spec.result
        down, across = self.spec.stride[0] * source.pitch, self.spec.stride[1] * source.pixel
        pixels = [divmod(pixel, width) for pixel in range(tile.rows)]
        scalars = tuple(i * down + j * across for i, j in pixels)
        here = f.gep(x, f.mul(first, across))
        if self.spec.dense:
            values = iter(self.blocks(f, tile, scalars, here, coming))
        else:
            contraction = self.lane_by_lane if self.spec.depthwise else self.separate_groups
            values = iter(contraction(f, tile, scalars, here))
        corner = f.add(offset, f.mul(first, result.pixel))
        for i, j in pixels:
            row, column = f.add(y, i), f.add(first, j)
            place = f.add(f.mul(f.add(f.mul(image, result.height), row), result.width), column)
            for v in range(tile.vectors):
                block, lane = divmod(v * tile.lanes, BLOCK)
                at = i * result.pitch + j * result.pixel + block * result.plane + lane * tile.bytes
                channel, here = f.add(f.column, v * tile.lanes), f.add(corner, at)
                panel_block = f.add(f.udiv(f.column, BLOCK), block)
                site = Pixel(f, tile, place, channel, here, None, image, row, column, panel_block, lane)
                self.finish(f, tile, next(values), site)

    def finish(self, f: Function, tile: Tile, value: Reg, site: Pixel) -> None:
        """Epilogue and store of one vector."""
        channels, column, offset = self.spec.result.channels, site.column, site.offset
        mask = None
        if channels % tile.lanes or channels % BLOCK:
            left = f.splat(f.sub(channels, column), tile.lanes)
            mask = f.icmp("slt", constant(list(range(tile.lanes)), vector("i64", tile.lanes)), left)
        if self.epilogue is not None:
            value = self.epilogue(f, value, replace(site, mask=mask))
        if mask is not None:
            value = f.select(mask, value, constant(0, tile.type))
        f.store(value, f.gep(f.y, offset), tile.bytes)

    def stream(self, tile: Tile, w: Reg) -> Stream:
        """The vectors of a panel from `w` on."""
        vector_bytes = tile.lanes * tile.bytes
        offsets = tuple(v * vector_bytes for v in range(tile.vectors))
        return Stream(w, self.cut.tile.width * tile.bytes, offsets, vector_bytes)

    def blocks(
        self, f: Function, tile: Tile, scalars: tuple[int, ...], x: Reg, coming: Reg | None
    ) -> list[Reg]:
        """The contraction over blocks of input channels, each through `window`."""
        source, block = self.spec.source, self.spec.source.block
        whole, rest = divmod(self.spec.group_channels[0], block)
        taps, step = self.spec.kernel[0] * self.spec.kernel[1], self.cut.tile.width * tile.bytes

        def one(index: Reg, acc: list[Reg], depth: int) -> list[Reg]:
            here = f.gep(x, f.mul(index, source.plane))
            w = f.gep(f.w, f.mul(index, block * taps * step))
            ahead = coming and f.gep(coming, f.mul(index, block * taps * LINE))
            return self.window(f, tile, scalars, here, w, depth, acc, ahead)

        acc = zeros(tile)
        if whole:
            acc = f.fold(0, whole, 1, acc, lambda index, inner: one(index, inner, block))
        return one(constant(whole, "i64"), acc, rest) if rest else acc

    def window(
        self,
        f: Function,
        tile: Tile,
        scalars: tuple[int, ...],
        x: Reg,
        w: Reg,
        depth: int,
        acc: list[Reg],
        ahead: Reg | None = None,
    ) -> list[Reg]:
        """The contraction over the window and `depth` channels of one block."""
        source, (rows, columns) = self.spec.source, self.spec.kernel
        down, across = self.spec.dilation[0] * source.pitch, self.spec.dilation[1] * source.pixel
        step = self.cut.tile.width * tile.bytes
        # Neighbouring columns lie together when whole blocks do: one run for all of them.
        together = columns if across == depth * tile.bytes else 1

        def run(place: Reg, k: Reg, inner: list[Reg]) -> list[Reg]:
            stream = Stream(place, tile.bytes, scalars, tile.bytes)
            vectors = self.stream(tile, f.gep(w, f.mul(k, step)))
            coming = [Ahead(f.gep(ahead, f.mul(k, LINE)), LINE)] if ahead else []
            return contract(f, tile, depth * together, stream, vectors, inner, coming)

        def row(i: Reg, inner: list[Reg]) -> list[Reg]:
            place, k = f.gep(x, f.mul(i, down)), f.mul(i, columns * depth)
            if together == columns:
                return run(place, k, inner)

            def column(j: Reg, values: list[Reg]) -> list[Reg]:
                return run(f.gep(place, f.mul(j, across)), f.add(k, f.mul(j, depth)), values)

            return f.fold(0, columns, 1, inner, column)

        return f.fold(0, rows, 1, acc, row)

    def separate_groups(self, f: Function, tile: Tile, scalars: tuple[int, ...], x: Reg) -> list[Reg]:
        """Groups smaller than blocks: each group's chain over all lanes, of which its own lanes are kept."""
        spec, (inputs, outputs) = self.spec, self.spec.group_channels
        source, taps = spec.source, spec.kernel[0] * spec.kernel[1]
        step = BLOCK * tile.bytes
        last = f.smin(f.add(f.column, BLOCK - 1), spec.result.channels - 1)
        first_group, last_group = f.udiv(f.column, outputs), f.udiv(last, outputs)
        own = []
        for v in range(tile.vectors):
            places = constant(
                [v * tile.lanes + lane for lane in range(tile.lanes)], vector("i64", tile.lanes)
            )
            own.append(f.udiv(f.add(places, f.splat(f.column, tile.lanes)), outputs))

        def group(index: Reg, kept: list[Reg]) -> list[Reg]:
            weights = f.gep(f.w, f.mul(f.sub(index, first_group), inputs * taps * step))

            def channel(c: Reg, acc: list[Reg]) -> list[Reg]:
                number = f.add(f.mul(index, inputs), c)
                block, lane = f.udiv(number, BLOCK), f.urem(number, BLOCK)
                place = f.gep(x, f.add(f.mul(block, source.plane), f.mul(lane, tile.bytes)))
                return self.window(f, tile, scalars, place, f.gep(weights, f.mul(c, taps * step)), 1, acc)

            found = f.fold(0, inputs, 1, zeros(tile), channel)
            here = [f.icmp("eq", lanes, f.splat(index, tile.lanes)) for lanes in own]
            return [
                f.select(here[i % tile.vectors], new, old)
                for i, (new, old) in enumerate(zip(found, kept, strict=True))
            ]

        return f.fold(first_group, f.add(last_group, 1), 1, zeros(tile), group)

    def lane_by_lane(self, f: Function, tile: Tile, scalars: tuple[int, ...], x: Reg) -> list[Reg]:
        """Depthwise: a vector of inputs times the vector of its channels' weights."""
        source, (rows, columns) = self.spec.source, self.spec.kernel
        down, across = self.spec.dilation[0] * source.pitch, self.spec.dilation[1] * source.pixel
        step, vector_bytes = BLOCK * tile.bytes, tile.lanes * tile.bytes
        first = f.gep(x, f.mul(f.udiv(f.column, BLOCK), source.plane))

        def row(i: Reg, acc: list[Reg]) -> list[Reg]:
            place, weights = f.gep(first, f.mul(i, down)), f.gep(f.w, f.mul(i, columns * step))
            values = list(acc)
            for j in range(columns):
                for v in range(tile.vectors):
                    weight = f.load(f.gep(weights, j * step + v * vector_bytes), tile.type, tile.bytes)
                    for pixel, offset in enumerate(scalars):
                        here = f.gep(place, offset + j * across + v * vector_bytes)
                        n = pixel * tile.vectors + v
                        values[n] = f.fma(f.load(here, tile.type, tile.bytes), weight, values[n])
            return values

        return f.fold(0, rows, 1, zeros(tile), row)
