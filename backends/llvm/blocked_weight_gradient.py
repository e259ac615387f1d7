"""The derivative of convolution by its weights, from channel-blocked images.

    w[o, c, p, q] = sum over n, i, j of g[n, o, i, j] · x[n, c, i·stride + p·dilation, j·stride + q·dilation]

The register tile of `tile.py` once more: the sum runs along the pixels, vectors are neighbouring output
channels o of g, and the broadcast numbers are neighbouring weights (c, p, q), each at a constant offset in x.
A tile is square; turned around in registers it is stored as runs of the weights' own memory. Images are taken
in groups that stay in the second-level cache while all tiles pass; the sums of groups add up, so the error
grows with their number and length, not with their product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from graphc.backends.llvm import weight_gradient
from graphc.backends.llvm.anchor import Finished, emit_elements, place_of_result
from graphc.backends.llvm.blocked import BLOCK, Image
from graphc.backends.llvm.convolution_kernel import as_planes, emit_enter, lines, planes
from graphc.backends.llvm.correlation import Halo
from graphc.backends.llvm.elements import memory_type
from graphc.backends.llvm.emitter import Function, Operand, Reg, constant, vector
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.loop_kernel import plain
from graphc.backends.llvm.packing import transpose
from graphc.backends.llvm.storage import image_of
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Stream, Tile, contract, zeros
from graphc.ir.graph import Node
from graphc.ir.partition import Kernel
from graphc.ir.types import is_static
from graphc.plan.layout import Layouts

MOST_TILES = 64  # tiles of one block of input channels: each is code of its own
NEAR = 1 << 19  # bytes of images taken together; not the machine's own cache size, since sums depend on it


@dataclass(frozen=True, slots=True)
class WeightGradient:
    """How a conv_dw node runs.

    stored_x, x, stored_g, g   how the images lie, and how they are read; converted when they differ
    group                      images that are taken together
    """

    node: Node
    stored_x: Image
    x: Image
    stored_g: Image
    g: Image
    lanes: int
    group: int

    @property
    def kernel(self) -> tuple[int, int]:
        rows, columns = self.node.attributes["kernel"]
        return rows, columns

    @property
    def depth(self) -> int:
        """Weights of one output channel."""
        return self.x.channels * self.kernel[0] * self.kernel[1]

    @property
    def x_block(self) -> int:
        """Input channels whose tiles are one function: a block, or all planes."""
        return BLOCK if self.x.block == BLOCK else self.x.channels

    def tiles(self, channels: int) -> int:
        return -(-channels * self.kernel[0] * self.kernel[1] // self.lanes)

    @property
    def tile_bytes(self) -> int:
        return self.lanes * self.lanes * self.x.item

    @property
    def columns(self) -> int:
        """Vectors of output channels."""
        return -(-self.g.channels // self.lanes)

    @property
    def column_tiles(self) -> int:
        whole, rest = divmod(self.x.channels, self.x_block)
        return whole * self.tiles(self.x_block) + self.tiles(rest)

    @property
    def column_bytes(self) -> int:
        """Working memory for the tiles of one vector of output channels."""
        return self.column_tiles * self.tile_bytes

    @property
    def blocks(self) -> int:
        """Blocks of input channels; with the vectors of output channels they divide the weights into units."""
        return -(-self.x.channels // self.x_block)

    @property
    def unit_bytes(self) -> int:
        """Working memory for the tiles of a unit."""
        return self.tiles(min(self.x_block, self.x.channels)) * self.tile_bytes

    @property
    def converts(self) -> bool:
        return (self.stored_x, self.stored_g) != (self.x, self.g)

    @property
    def raw_bytes(self) -> int:
        """Working memory for tiles: of all units when each image is converted once for all, else of one."""
        return self.column_bytes * self.columns if self.converts else self.unit_bytes

    @property
    def x_bytes(self) -> int:
        return 0 if self.stored_x == self.x else lines(self.x.bytes)

    @property
    def g_bytes(self) -> int:
        return 0 if self.stored_g == self.g else lines(self.g.bytes)

    @property
    def scratch_bytes(self) -> int:
        return self.raw_bytes + self.x_bytes + self.g_bytes


def gradient_halo(node: Node) -> Halo:
    """The border of x that a conv_dw node reads: top, left, bottom, right."""
    a, ends = node.attributes, []
    sizes = zip(
        node.inputs[0].shape[2:],
        a["kernel"],
        node.inputs[1].shape[2:],
        a["strides"],
        a["padding"],
        a["dilation"],
    )
    for size, taps, count, stride, (before, _), dilation in sizes:
        ends.append(max((count - 1) * stride + (taps - 1) * dilation + 1 - before - size, 0))
    (top, _), (left, _) = a["padding"]
    return top, left, ends[0], ends[1]


def plan_gradient(kernel: Kernel, target: Target, layouts: Layouts) -> WeightGradient | None:
    """How the kernel's derivative runs, None when plain planes serve it better."""
    node = kernel.anchor
    if node is None or node.op.name != "conv_dw" or node.output.type.rank != 4:
        return None
    x, g = node.inputs
    known = (
        all(is_static(v.shape[1:]) and 0 not in v.shape[1:] for v in (x, g)) and 0 not in node.output.shape
    )
    if not known or node.attributes["groups"] != 1 or place_of_result(kernel) is None:
        return None
    channels, outputs = x.shape[1], g.shape[1]
    assert isinstance(channels, int) and isinstance(outputs, int)
    if outputs < BLOCK or (channels < BLOCK and x.leaf is None) or x.dtype.name not in ("float32", "float64"):
        return None
    stored_x, stored_g = (image_of(v, layouts) or as_planes(v) for v in (x, g))
    wanted = stored_x if stored_x.block == 1 and channels < BLOCK else replace(stored_x, block=BLOCK)
    need = gradient_halo(node)
    if any(have < least for have, least in zip(wanted.halo, need)):
        wanted = replace(wanted, halo=need)
    read = replace(stored_g, block=BLOCK)
    near = wanted.plane * (1 if wanted.block == BLOCK else channels) + read.plane
    together = max(NEAR // near, 1) if (stored_x, stored_g) == (wanted, read) else 1
    lanes = target.lanes(memory_type(x.dtype))
    plan = WeightGradient(node, stored_x, wanted, stored_g, read, lanes, together)
    return plan if lanes > 1 and plan.tiles(plan.x_block) <= MOST_TILES else None


def scratch_bytes(kernel: Kernel, target: Target, layouts: Layouts) -> int:
    """Working memory of a derivative by the weights."""
    plan = plan_gradient(kernel, target, layouts)
    return weight_gradient.scratch_bytes(kernel, target) if plan is None else plan.scratch_bytes


def emit_gradient_kernel(k: KernelFunction) -> None:
    """`conv_dw` with its epilogue, which runs over the finished result."""
    plan, main = plan_gradient(k.kernel, k.target, k.layouts), place_of_result(k.kernel)
    if plan is None or main is None:
        weight_gradient.emit_weight_gradient(k)
        return
    f, zero, share = k.f, constant(0, "i64"), k.share
    x, g = plan.node.inputs
    tiles = _Tiles(k, plan)
    raw, own = f.scratch, f.gep(f.scratch, plan.raw_bytes)
    units: tuple[Operand, Operand] = (0, plan.columns * plan.blocks)
    if share:
        # Members divide the weights; each converts the images it needs itself.
        units = share.of(plan.columns * plan.blocks)
        share.own_bytes = plan.x_bytes + plan.g_bytes if plan.converts else plan.raw_bytes
        raw, own = (raw, share.own(own)) if plan.converts else (share.own(raw), own)
    x_room, g_room = own, f.gep(own, plan.x_bytes)
    enter_x = emit_enter(k, "x", plan.stored_x, plan.x, x_room)
    enter_g = emit_enter(k, "g", plan.stored_g, plan.g, g_room)
    batch = k.sizes(x.shape[0])

    def image(n: Reg) -> tuple[Reg, Reg]:
        """Where image n of x and of g lies."""
        return (
            f.gep(k.inputs[x], f.mul(n, plan.stored_x.bytes)),
            f.gep(k.inputs[g], f.mul(n, plan.stored_g.bytes)),
        )

    def tiles_of(unit: Reg) -> Reg:
        if not plan.converts:
            return raw
        column, block = f.udiv(unit, plan.blocks), f.urem(unit, plan.blocks)
        return f.gep(raw, f.add(f.mul(column, plan.column_bytes), f.mul(block, plan.unit_bytes)))

    if plan.converts:
        with f.loop(0, plain(batch)) as n:
            here, there = image(n)
            if enter_x is not None:
                f.call(enter_x.name, "void", here, x_room, zero, planes(plan.stored_x, plan.x))
                here = x_room
            if enter_g is not None:
                f.call(enter_g.name, "void", there, g_room, zero, planes(plan.stored_g, plan.g))
                there = g_room
            with f.loop(*units) as unit:
                f.call(tiles.sums.name, "void", here, there, tiles_of(unit), constant(1, "i64"), n, unit)
    with f.loop(*units) as unit:
        # The tiles of one unit stay near until they are turned.
        if not plan.converts:
            with f.loop(0, plain(batch), plan.group) as n:
                count = f.smin(f.sub(batch, n), plan.group)
                f.call(tiles.sums.name, "void", *image(n), raw, count, n, unit)
        with f.if_(f.icmp("eq", batch, 0)):
            size = constant(plan.unit_bytes, "i64")
            f.intrinsic("memset", ["ptr", "i64"], "void", raw, "i8 0", size, "i1 false")
        here = f.select(f.icmp("eq", batch, 0), raw, tiles_of(unit))
        f.call(tiles.turned.name, "void", here, k.outputs[main], unit)
    if k.kernel.epilogue:
        if share:
            share.barrier()
        emit_elements(replace(k, layouts={}), Finished, {plan.node.output: k.outputs[main]})
    f.ret(constant(0, "i32"))


class _Tiles:
    """For one unit of weights, `sums(x, g, raw, count, first, unit)` of `count` images, and `turned(raw, w, unit)`.

    Sums begin with the image `first` 0 and add up from then on. A unit is a block of input channels and a vector of
    output channels.
    """

    def __init__(self, k: KernelFunction, plan: WeightGradient) -> None:
        self.k, self.plan = k, plan
        self.whole, self.rest = divmod(plan.x.channels, plan.x_block)
        element = plan.x.element
        self.tile = Tile(plan.lanes, 1, plan.lanes, element)
        self.sums, self.turned = self._sums(), self._turned()

    def _function(self, part: str, parameters: dict[str, str]) -> Function:
        f = self.k.module.function(f"{self.k.f.name}.{part}", parameters, internal=True, inline=False)
        return f

    def _by_size(self, f: Function, block: Reg, body: Callable[[int], None]) -> None:
        """The body for as many channels as a block of inputs has: the last may have fewer."""
        if not self.rest or not self.whole:
            body(self.rest or self.plan.x_block)
            return
        narrow = f.icmp("eq", block, self.whole)
        with f.if_(narrow):
            body(self.rest)
        with f.if_(f.xor(narrow, constant(1, "i1"))):
            body(self.plan.x_block)

    def _sums(self) -> Function:
        plan = self.plan
        if self.whole:
            self._block(plan.x_block)
        if self.rest:
            self._block(self.rest)
        pointers = {"x": "ptr noalias readonly", "g": "ptr noalias readonly", "raw": "ptr noalias"}
        f = self._function("sums", pointers | dict.fromkeys(("count", "first", "unit"), "i64"))
        top, left = (p[0] for p in plan.node.attributes["padding"])
        corner = (plan.x.halo[0] - top) * plan.x.pitch + (plan.x.halo[1] - left) * plan.x.pixel
        column, index = f.udiv(f.unit, plan.blocks), f.urem(f.unit, plan.blocks)
        channel = f.mul(column, plan.lanes)
        block, lane = f.udiv(channel, BLOCK), f.urem(channel, BLOCK)
        offset = f.add(f.mul(block, plan.g.plane), f.mul(lane, plan.g.item))
        g = f.gep(f.g, f.add(offset, plan.g.origin))
        x = f.gep(f.gep(f.x, corner), f.mul(index, plan.x.plane))

        def call(channels: int) -> None:
            f.call(f"{self.k.f.name}.block{channels}", "void", x, g, f.raw, f.count, f.first)

        self._by_size(f, index, call)
        f.ret()
        return f

    def _offsets(self, channels: int) -> list[int]:
        """Bytes from a window's corner to what meets each weight, in the order of the weights."""
        plan, (rows, columns) = self.plan, self.plan.kernel
        down, across = plan.node.attributes["dilation"]
        channel = plan.x.plane if plan.x.block == 1 else plan.x.item
        return [
            c * channel + p * down * plan.x.pitch + q * across * plan.x.pixel
            for c in range(channels)
            for p in range(rows)
            for q in range(columns)
        ]

    def _block(self, channels: int) -> None:
        """All tiles of a block of input channels and one vector of output channels."""
        plan, lanes, item = self.plan, self.plan.lanes, self.plan.x.item
        pointers = {"x": "ptr noalias readonly", "g": "ptr noalias readonly", "raw": "ptr noalias"}
        f = self._function(f"block{channels}", pointers | dict.fromkeys(("count", "first"), "i64"))
        offsets, begins = self._offsets(channels), f.icmp("eq", f.first, 0)
        down, across = plan.node.attributes["strides"]
        for number in range(plan.tiles(channels)):
            own = tuple(offsets[number * lanes : (number + 1) * lanes])
            tile = self.tile.with_rows(len(own))

            def image(n: Reg, totals: list[Reg], tile: Tile = tile, own: tuple[int, ...] = own) -> list[Reg]:
                x, g = f.gep(f.x, f.mul(n, plan.x.bytes)), f.gep(f.g, f.mul(n, plan.g.bytes))

                def row(y: Reg, acc: list[Reg]) -> list[Reg]:
                    scalars = Stream(
                        f.gep(x, f.mul(y, down * plan.x.pitch)), across * plan.x.pixel, own, item
                    )
                    vectors = Stream(f.gep(g, f.mul(y, plan.g.pitch)), plan.g.pixel, (0,), item)
                    return contract(f, tile, plan.g.width, scalars, vectors, acc)

                return f.fold(0, plan.g.height, 1, totals, row)

            found = f.fold(0, f.count, 1, zeros(tile), image)
            places = [f.gep(f.raw, number * plan.tile_bytes + i * lanes * item) for i in range(len(own))]
            before = f.if_else(begins, partial(zeros, tile), partial(self._loaded, f, places))
            for place, value, old in zip(places, found, before, strict=True):
                f.store(f.fadd(old, value), place)
        f.ret()

    def _loaded(self, f: Function, places: list[Reg]) -> list[Reg]:
        return [f.load(place, self.tile.type) for place in places]

    def _turned(self) -> Function:
        """The tiles as rows of the weights."""
        plan, lanes, item = self.plan, self.plan.lanes, self.plan.x.item
        f = self._function("turned", {"raw": "ptr noalias readonly", "w": "ptr noalias", "unit": "i64"})
        taps = plan.kernel[0] * plan.kernel[1]
        column, index = f.udiv(f.unit, plan.blocks), f.urem(f.unit, plan.blocks)

        def square(raw: Reg, target: Reg, weights: int, outputs: int) -> None:
            rows = [f.load(f.gep(raw, i * lanes * item), self.tile.type) for i in range(lanes)]
            present = constant([i < weights for i in range(lanes)], vector("i1", lanes))
            for o, value in enumerate(transpose(f, rows)[:outputs]):
                where = f.gep(target, o * plan.depth * item)
                if weights == lanes:
                    f.store(value, where, item)
                else:
                    f.masked_store(value, where, present, item)

        def turn(channels: int, outputs: int) -> None:
            first = f.mul(index, plan.x_block * taps * item)
            target = f.gep(f.w, f.add(f.mul(column, lanes * plan.depth * item), first))
            whole, rest = divmod(channels * taps, lanes)
            if whole:
                with f.loop(0, whole) as number:
                    here = f.gep(f.raw, f.mul(number, plan.tile_bytes))
                    square(here, f.gep(target, f.mul(number, lanes * item)), lanes, outputs)
            if rest:
                here = f.gep(f.raw, whole * plan.tile_bytes)
                square(here, f.gep(target, whole * lanes * item), rest, outputs)

        whole, rest = divmod(plan.g.channels, lanes)

        def outputs(count: int) -> list[Reg]:
            self._by_size(f, index, partial(turn, outputs=count))
            return []

        if whole and rest:
            f.if_else(f.icmp("slt", column, whole), lambda: outputs(lanes), lambda: outputs(rest))
        else:
            outputs(rest or lanes)
        f.ret()
        return f
