"""Convolution of plain NCHW images, for few channels and for gradients: vectors along the columns of the output.

A register tile is several output channels by two vectors of columns, or by one vector of several rows where images are
narrow; one step loads the columns once and meets them with one weight of each channel. Every output is one chain of
fused multiply-adds over channels, window rows and window columns. The convolution and its derivative by the input are
the same loops with other strides of the weights and other offsets of the taps; see `planes.py` for what they read.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.llvm.affine import Ranges, ravel
from graphc.backends.llvm.anchor import Finished, emit_anchor_kernel, emit_elements, place_of_result
from graphc.backends.llvm.elements import Element, memory_type
from graphc.backends.llvm.emitter import Function, Operand, Reg, constant, vector
from graphc.backends.llvm.epilogue import is_short
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import reshape_index
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.loop_kernel import plain
from graphc.backends.llvm.memory import present
from graphc.backends.llvm.planes import Axis, Planes, emit_clear, emit_prepare
from graphc.backends.llvm.program import Space, trace
from graphc.backends.llvm.sum_of_products import SumOfProducts
from graphc.backends.llvm.target import Target
from graphc.ir.graph import Node
from graphc.ir.partition import Kernel
from graphc.ir.types import is_static
from graphc.plan.layout import BLOCK

MOST_CHANNELS = 8  # output channels in a tile
MOST_ROWS = 4  # rows of narrow images in a tile
IN_FLIGHT = 8  # multiply-adds at the same time that keep a core busy


@dataclass(frozen=True, slots=True)
class Correlation:
    """y[o, i, j] = sum over c, p, q of w[o, c, p, q] * planes[c, i * stride + row(p), j * stride + column(q)].

    groups, inputs, outputs   channels of one group
    height, width             of the result
    taps                      sizes of the window
    stride                    rows from one output row to the next (columns: the planes' phases)
    row, column               (offset of tap 0, distance of the taps)
    w_strides                 elements of the weights from one output channel to the next, and from one input channel
    """

    planes: Planes
    groups: int
    inputs: int
    outputs: int
    height: int
    width: int
    taps: tuple[int, int]
    stride: int
    row: tuple[int, int]
    column: tuple[int, int]
    w_strides: tuple[int, int]
    lanes: int

    @property
    def item(self) -> int:
        return self.planes.item

    @property
    def type(self) -> str:
        return vector(self.planes.element, self.lanes)


@dataclass(frozen=True, slots=True)
class Cut:
    """The register tile: output channels, vectors of columns, rows."""

    channels: int
    vectors: int
    rows: int = 1


def plan_correlation(node: Node, target: Target) -> Correlation | None:
    """The loops of `conv` or `conv_dx`; None for sizes not known, a single column, or another number of axes."""
    source, w = node.inputs
    result = node.output
    rank = source.type.rank - 2
    known = is_static(source.shape[1:]) and is_static(w.shape) and is_static(result.shape[1:])
    if (
        rank not in (1, 2)
        or not known
        or result.shape[-1] == 1
        or 0 in (*source.shape[1:], *result.shape[1:], *w.shape)
    ):
        return None
    a = node.attributes
    one: tuple[int, ...] = () if rank == 2 else (1,)
    zero = () if rank == 2 else ((0, 0),)
    taps, strides, dilation = ((*one, *t) for t in (w.shape[2:], a["strides"], a["dilation"]))
    before = [pair[0] for pair in (*zero, *a["padding"])]
    sizes, counts = (*one, *source.shape[2:]), (*one, *result.shape[2:])
    element = memory_type(result.dtype)
    lanes = min(target.lanes(element), max(4, 1 << (int(counts[1]) - 1).bit_length()))
    covered = -(-counts[1] // lanes) * lanes
    groups, share, whole = a["groups"], w.shape[1], w.shape[1] * taps[0] * taps[1]
    if node.op.name == "conv":
        extents = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(counts, strides, taps, dilation)]
        rows, columns = (Axis(n, 1, low, extent) for n, low, extent in zip(sizes, before, extents))
        phases = strides[1]
        run = covered + (taps[1] - 1) * dilation[1] // phases + 1
        planes = Planes(source.shape[1], rows, columns, phases, run, element)
        return Correlation(
            planes, groups, share, w.shape[0] // groups, counts[0], counts[1], taps, strides[0],
            (0, dilation[0]), (0, dilation[1]), (whole, taps[0] * taps[1]), lanes,
        )  # fmt: skip
    reach = [max(0, (k - 1) * d - low) for k, d, low in zip(taps, dilation, before)]
    rows, columns = (
        Axis(n, s, r, count + low + r) for n, s, r, count, low in zip(sizes, strides, reach, counts, before)
    )
    planes = Planes(source.shape[1], rows, columns, 1, covered + before[1] + reach[1] + 1, element)
    return Correlation(
        planes, groups, w.shape[0] // groups, share, counts[0], counts[1], taps, 1,
        (before[0] + reach[0], -dilation[0]), (before[1] + reach[1], -dilation[1]), (taps[0] * taps[1], whole), lanes,
    )  # fmt: skip


def cut_of(spec: Correlation, target: Target) -> Cut:
    """The tile that wastes the fewest channels; among equals the largest."""
    vectors = 2 if spec.width > spec.lanes else 1
    room = min((target.vector_registers - vectors - 1) // vectors, MOST_CHANNELS, spec.outputs)
    channels = min(range(1, room + 1), key=lambda n: (-(-spec.outputs // n), -n))
    even = -(-spec.outputs // -(-spec.outputs // channels))
    # Several rows share each weight and keep enough sums in flight.
    rows = (target.vector_registers - 1) // (vectors * (even + 1))
    return Cut(even, vectors, max(1, min(rows, MOST_ROWS, spec.height)))


def suits_groups(kernel: Kernel, target: Target) -> bool:
    """Whether groups that are no whole blocks of channels are better computed here than in blocks.

    There, each group that a block of outputs touches takes a pass over the whole block, and every multiply-add of a
    pass reads memory; here a tile shares what it loads, but narrow images fill their vectors badly.
    """
    node = kernel.anchor
    assert node is not None
    groups, channels = node.attributes["groups"], node.output.shape[1]
    spec = plan_correlation(node, target)
    if groups == 1 or spec is None or not isinstance(channels, int) or place_of_result(kernel) is None:
        return False
    inputs, outputs = spec.inputs, spec.outputs
    if inputs == outputs == 1 or inputs % BLOCK == outputs % BLOCK == 0:
        return False
    cut, lanes = cut_of(spec, target), target.lanes(spec.planes.element)
    filled = spec.width / (-(-spec.width // spec.lanes) * lanes)
    busy = min(1.0, cut.channels * cut.vectors * cut.rows / IN_FLIGHT)
    ends = ((start, min(start + BLOCK, channels) - 1) for start in range(0, channels, BLOCK))
    passes = sum(last // outputs - first // outputs + 1 for first, last in ends)
    return filled * busy > channels / (passes * BLOCK) / 2


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """Working memory: the prepared planes of one image."""
    assert kernel.anchor is not None
    spec = plan_correlation(kernel.anchor, target)
    if spec is None or place_of_result(kernel) is None:
        return 0
    return spec.planes.bytes


def emit_plane_convolution(k: KernelFunction) -> None:
    """`conv` or `conv_dx` with its epilogue."""
    node = k.kernel.anchor
    assert node is not None
    spec = plan_correlation(node, k.target)
    if spec is None or place_of_result(k.kernel) is None:
        emit_anchor_kernel(k, SumOfProducts)
        return
    _Loops(k, node, spec).emit()
    k.f.ret(constant(0, "i32"))


class _Loops:
    """Image, group, channels, row, columns; then the contraction."""

    def __init__(self, k: KernelFunction, node: Node, spec: Correlation) -> None:
        self.k, self.node, self.spec, self.f = k, node, spec, k.f
        self.cut = cut_of(spec, k.target)
        self.main = place_of_result(k.kernel)
        assert self.main is not None
        self.inline = is_short(k.kernel)
        space = Space(node.output.shape)
        ranges = Ranges(space.extents, may_split=False)
        # One axis stands for rows and columns; a loop of one iteration has no variable.
        index = space.index()
        axes = [v[0] if (v := space.variables([a])) else None for a in range(len(index))]
        self.axes = axes if len(axes) == 4 else [axes[0], axes[1], None, axes[2]]
        roots = [(v, reshape_index(index, node.output.shape, v.shape, ranges)) for v in k.kernel.outputs]
        self.program = trace(k.kernel.nodes, roots, ranges, {node.output: index})
        self.stores = [ravel(i, v.shape) for v, i in roots]
        self.own_store = ravel(index, node.output.shape)
        self.rows: tuple[Operand, Operand] = (0, spec.height)
        self.e = Evaluator(k.f, self.program, k.sizes, k.inputs)

    def emit(self) -> None:
        f, spec, planes, share = self.f, self.spec, self.spec.planes, self.k.share
        source, w = (self.k.inputs[v] for v in self.node.inputs)
        image = planes.channels * planes.rows.size * planes.columns.size * planes.item
        count, room = self.k.sizes(self.node.output.shape[0]), f.scratch
        images: tuple[Operand, Operand] = (0, plain(count))
        if share:
            # Whole images when there are enough, else rows of each; who computes from planes prepares them.
            share.own_bytes, share.divided = planes.bytes, self.node.output.shape[0]
            room = share.own(f.scratch)
            whole = f.icmp("sge", count, f.mul(f.parts, 2))
            zero, height = constant(0, "i64"), constant(spec.height, "i64")
            first, last = share.of(count)
            images = f.select(whole, first, zero), f.select(whole, last, count)
            first, last = share.of(height)
            self.rows = f.select(whole, zero, first), f.select(whole, height, last)
        if not planes.in_place:
            emit_clear(f, planes, room)
        with f.loop(*images) as n:
            x = f.gep(source, f.mul(n, image))
            if not planes.in_place:
                emit_prepare(f, self.k.target, planes, x, room)
                x = room
            with f.loop(0, spec.groups) as group:
                here = f.gep(x, f.mul(group, spec.inputs * planes.plane * spec.item))
                self._channels(n, group, here, w)
        if not self.inline:
            main = self.main
            assert main is not None
            if share:
                share.barrier()
            emit_elements(self.k, Finished, {self.node.output: self.k.outputs[main]})

    def _channels(self, n: Reg, group: Reg, x: Reg, w: Reg) -> None:
        f, spec, channels = self.f, self.spec, self.cut.channels
        whole = spec.outputs - spec.outputs % channels
        # Weights of a group: all its output channels for a convolution, all its input channels for a gradient.
        start = f.gep(
            w,
            f.mul(group, max(spec.outputs * spec.w_strides[0], spec.inputs * spec.w_strides[1]) * spec.item),
        )

        def tile(o: Reg, count: int) -> None:
            own = f.gep(start, f.mul(o, spec.w_strides[0] * spec.item))
            channel = f.add(f.mul(group, spec.outputs), o)
            self._rows(n, channel, count, x, own)

        if whole:
            with f.loop(0, whole, channels) as o:
                tile(o, channels)
        if spec.outputs % channels:
            tile(constant(whole, "i64"), spec.outputs % channels)

    def _rows(self, n: Reg, channel: Reg, channels: int, x: Reg, w: Reg) -> None:
        """All rows of the output for a tile's channels: the tallest tiles, then tiles one row lower, as GEMM's."""
        f, tallest = self.f, self.cut.rows
        first, last = (f.operand(end, "i64") for end in self.rows)
        if tallest == 1:
            with f.loop(plain(first), plain(last)) as row:
                self._columns(n, channel, row, 1, channels, x, w)
            return
        total = f.sub(last, first)
        count = f.udiv(f.add(total, tallest - 1), tallest)
        missing = f.sub(f.mul(count, tallest), total)
        exact = f.icmp("sle", missing, count)
        tall = f.select(exact, f.sub(count, missing), f.udiv(total, tallest))
        tall = f.add(first, f.mul(tall, tallest))
        low = f.select(exact, last, tall)
        ends = [(first, tall, tallest), (tall, low, tallest - 1)]
        if tallest > 2:
            ends.append((low, last, 1))
        for start, stop, height in ends:
            with f.loop(start, stop, height) as row:
                self._columns(n, channel, row, height, channels, x, w)

    def _columns(self, n: Reg, channel: Reg, row: Reg, height: int, channels: int, x: Reg, w: Reg) -> None:
        """Some rows of the output for a tile's channels."""
        f, spec = self.f, self.spec
        wide = self.cut.vectors * spec.lanes
        whole = spec.width - spec.width % wide

        def tile(column: Reg, vectors: int, mask: Reg | None) -> None:
            found = iter(self._contract(row, column, (channels, height, vectors), mask, x, w))
            for o in range(channels):
                for i in range(height):
                    for v in range(vectors):
                        at = (n, f.add(channel, o), f.add(row, i), f.add(column, v * spec.lanes))
                        self._finish(next(found), at, mask if v == vectors - 1 else None)

        if whole:
            with f.loop(0, whole, wide) as column:
                tile(column, self.cut.vectors, None)
        if left := spec.width - whole:
            last = (left - 1) % spec.lanes + 1
            mask = present(f, constant(last, "i64"), spec.lanes) if last < spec.lanes else None
            tile(constant(whole, "i64"), -(-left // spec.lanes), mask)

    def _contract(
        self, row: Reg, column: Reg, tile: tuple[int, int, int], mask: Reg | None, x: Reg, w: Reg
    ) -> list[Reg]:
        """The accumulators of a tile: by channel, row, vector."""
        f, spec, planes, item = self.f, self.spec, self.spec.planes, self.spec.item
        channels, height, vectors = tile
        below = spec.stride * planes.pitch
        first = f.gep(x, f.mul(f.add(f.mul(row, spec.stride), spec.row[0]), planes.pitch * item))
        first = f.gep(first, f.mul(column, item))
        last = mask if planes.in_place else None

        def window_row(place: Reg, weights: Reg, acc: list[Reg]) -> list[Reg]:
            for q in range(spec.taps[1]):
                at = planes.column(spec.column[0] + q * spec.column[1]) * item
                columns = []
                for i in range(height):
                    for v in range(vectors):
                        where = f.gep(place, at + (i * below + v * spec.lanes) * item)
                        columns.append(_load(f, where, spec.type, last if v == vectors - 1 else None))
                after = []
                for o in range(channels):
                    one = f.load(f.gep(weights, (o * spec.w_strides[0] + q) * item), planes.element)
                    weight, own = f.splat(one, spec.lanes), acc[o * len(columns) : (o + 1) * len(columns)]
                    after += [f.fma(weight, x, total) for x, total in zip(columns, own)]
                acc = after
            return acc

        def channel(c: Reg, acc: list[Reg]) -> list[Reg]:
            place = f.gep(first, f.mul(c, planes.plane * item))
            weights = f.gep(w, f.mul(c, spec.w_strides[1] * item))

            def one(p: Reg, inner: list[Reg]) -> list[Reg]:
                here = f.gep(place, f.mul(p, spec.row[1] * planes.pitch * item))
                return window_row(here, f.gep(weights, f.mul(p, spec.taps[1] * item)), inner)

            return f.fold(0, spec.taps[0], 1, acc, one)

        zeros = [constant(0, spec.type)] * (channels * height * vectors)
        return f.fold(0, spec.inputs, 1, zeros, channel)

    def _finish(self, value: Reg, at: tuple[Reg, ...], mask: Reg | None) -> None:
        """Epilogue and stores of one vector of columns."""
        e, node = self.e, self.node
        bound = {v: reg for v, reg in zip(self.axes, at) if v is not None}
        element = Element(value, node.output.dtype)
        with e.scope(bound), e.vector(self.axes[3], self.spec.lanes, mask):
            if not self.inline:
                assert self.main is not None
                e.store(element, node.output, self.own_store, self.k.outputs[self.main])
                return
            e.holes[node.output] = element
            found = e.compute(self.program.results)
            for result, output, offset in zip(found, self.k.kernel.outputs, self.stores):
                e.store(result, output, offset, self.k.outputs[output])


def _load(f: Function, where: Reg, type: str, mask: Reg | None) -> Reg:
    return f.load(where, type) if mask is None else f.masked_load(where, type, mask)
