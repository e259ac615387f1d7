"""The derivative of convolution by its weights, from plain NCHW images.

    w[o, c, p, q] = sum over n, i, j of g[n, o, i, j] * x[n, c, i * stride + p * dilation, j * stride + q * dilation]

Vectors run along the columns j of both operands, 16 partial sums on every machine; a tile is several output channels by
one row of the window or more, so each loaded vector is used several times. Images are taken in groups that stay near;
a fixed tree folds the partial sums of a group, and groups add up one after the other. Where weights are few, the batch
is cut into eight parts whose sums add up in the end, and threads share the parts; else they share the weights.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

from graphc.backends.llvm.anchor import Finished, emit_anchor_kernel, emit_elements, place_of_result
from graphc.backends.llvm.elements import memory_type
from graphc.backends.llvm.emitter import Function, Operand, Reg, constant, vector
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.memory import present
from graphc.backends.llvm.planes import Axis, Planes, emit_clear, emit_prepare
from graphc.backends.llvm.row_kernel import WIDTH
from graphc.backends.llvm.sum_of_products import SumOfProducts
from graphc.backends.llvm.target import Target
from graphc.ir.dims import Dim
from graphc.ir.graph import Node
from graphc.ir.partition import Kernel
from graphc.ir.types import is_static

PARTS = 8  # of a batch; the same for any number of threads, since sums depend on it
PARTS_BYTES = 1 << 19  # that the sums of all parts may take
NEAR = 1 << 18  # bytes of images taken together; not the machine's own cache size, since sums depend on it


@dataclass(frozen=True, slots=True)
class WeightGradient:
    """Sizes of the loops: channels of one group, the window, and the images g and x (as planes).

    tile   output channels and rows of the window whose sums are in registers together
    """

    planes: Planes
    batch: Dim
    groups: int
    inputs: int
    outputs: int
    height: int
    width: int
    taps: tuple[int, int]
    stride: int
    dilation: tuple[int, int]
    tile: tuple[int, int]

    @property
    def item(self) -> int:
        return self.planes.item

    @property
    def type(self) -> str:
        return vector(self.planes.element, WIDTH)

    @property
    def window(self) -> int:
        return self.taps[0] * self.taps[1]

    @property
    def weights(self) -> int:
        """How many numbers the result has."""
        return self.groups * self.outputs * self.inputs * self.window

    @property
    def gradient_bytes(self) -> int:
        """Bytes of one image of g."""
        return self.groups * self.outputs * self.height * self.width * self.item

    @property
    def together(self) -> int:
        """Images of a group."""
        return max(NEAR // (self.planes.channels * self.planes.plane * self.item + self.gradient_bytes), 1)

    @property
    def parts(self) -> int:
        """Parts of the batch whose sums are made apart: 1 where there are so many weights that threads share those."""
        return PARTS if PARTS * self.weights * self.item <= PARTS_BYTES else 1

    @property
    def part_bytes(self) -> int:
        """Working memory for the sums of one part."""
        return -(-self.weights * self.item // 64) * 64 if self.parts > 1 else 0

    @property
    def image_bytes(self) -> int:
        """Bytes from one image of a group to the next."""
        planes = self.planes
        own = planes.channels * planes.rows.size * planes.columns.size * planes.item
        return own if planes.in_place else planes.bytes

    @property
    def room_bytes(self) -> int:
        """Working memory for a group's prepared planes."""
        return 0 if self.planes.in_place else self.together * self.planes.bytes


def plan_weight_gradient(node: Node, target: Target) -> WeightGradient | None:
    """The loops of `conv_dw`, None when the sizes are not known or there is another number of axes."""
    x, g = node.inputs
    rank = x.type.rank - 2
    known = is_static(x.shape[1:]) and is_static(g.shape[1:]) and is_static(node.output.shape)
    if rank not in (1, 2) or not known or 0 in (*x.shape[1:], *g.shape[1:], *node.output.shape):
        return None
    a = node.attributes
    one: tuple[int, ...] = () if rank == 2 else (1,)
    zero = () if rank == 2 else ((0, 0),)
    taps, strides, dilation = ((*one, *t) for t in (node.output.shape[2:], a["strides"], a["dilation"]))
    before = [pair[0] for pair in (*zero, *a["padding"])]
    sizes, counts = (*one, *x.shape[2:]), (*one, *g.shape[2:])
    rows, columns = (
        Axis(size, 1, low, (n - 1) * s + (k - 1) * d + 1)
        for size, low, n, s, k, d in zip(sizes, before, counts, strides, taps, dilation)
    )
    run = counts[1] + (taps[1] - 1) * dilation[1] // strides[1] + 1
    element = memory_type(x.dtype)
    planes = Planes(x.shape[1], rows, columns, strides[1], run, element)
    groups, outputs = a["groups"], g.shape[1] // a["groups"]
    # A virtual vector may be several registers; accumulators, the vectors of x and one of g must fit.
    registers = target.vector_registers // max(1, WIDTH // target.lanes(element))
    channels = max(1, min((registers - taps[1] - 1) // taps[1], outputs, 8))
    channels = -(-outputs // -(-outputs // channels))
    rows = max(1, min((registers - 1) // (taps[1] * (channels + 1)), taps[0]))
    return WeightGradient(
        planes,
        x.shape[0],
        groups,
        node.output.shape[1],
        outputs,
        counts[0],
        counts[1],
        taps,
        strides[0],
        dilation,
        (channels, rows),
    )


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """Working memory: the sums of the parts, then the prepared planes of a group of images."""
    assert kernel.anchor is not None
    spec = plan_weight_gradient(kernel.anchor, target)
    if spec is None or place_of_result(kernel) is None:
        return 0
    return spec.parts * spec.part_bytes + spec.room_bytes


def emit_weight_gradient(k: KernelFunction) -> None:
    """`conv_dw` with its epilogue, which runs over the finished result."""
    node, main = k.kernel.anchor, place_of_result(k.kernel)
    assert node is not None
    spec = plan_weight_gradient(node, k.target)
    if spec is None or main is None:
        emit_anchor_kernel(k, SumOfProducts)
        return
    f, share, place, batch = k.f, k.share, k.outputs[main], k.sizes(spec.batch)
    sums = f.scratch if spec.parts > 1 else place
    room = f.gep(f.scratch, spec.parts * spec.part_bytes)
    if share:
        share.own_bytes = spec.room_bytes
        room = share.own(room)
    x, g = (k.inputs[v] for v in node.inputs)
    if not spec.planes.in_place:
        with f.loop(0, spec.together) as i:
            emit_clear(f, spec.planes, f.gep(room, f.mul(i, spec.image_bytes)))
    tiles = _Tiles(k, spec, room)
    parts: tuple[Operand, Operand] = (0, spec.parts)
    if share and spec.parts > 1:
        parts = share.of(spec.parts)
    elif share:
        tiles.channels = share.of(tiles.count)
    with f.loop(*parts) as part:
        own = f.gep(sums, f.mul(part, spec.part_bytes))
        first = f.udiv(f.mul(batch, part), spec.parts)
        last = f.udiv(f.mul(batch, f.add(part, 1)), spec.parts)
        with f.if_(f.icmp("eq", first, last)):
            size = constant(spec.weights * spec.item, "i64")
            f.intrinsic("memset", ["ptr", "i64"], "void", own, "i8 0", size, "i1 false")
        with f.loop(first, last, spec.together) as n:
            count = f.smin(f.sub(last, n), spec.together)
            tiles.add(x, g, n, count, own, f.icmp("eq", n, first))
    if share:
        share.barrier()
    if spec.parts > 1:
        # Few weights: one member adds up, which is quicker than meeting again.
        with f.if_(share.first) if share else nullcontext():
            _add_parts(k, spec, sums, place)
            _epilogue(replace(k, share=None), place)
    else:
        _epilogue(k, place)
    f.ret(constant(0, "i32"))


def _epilogue(k: KernelFunction, place: Reg) -> None:
    if k.kernel.epilogue:
        assert k.kernel.anchor is not None
        emit_elements(k, Finished, {k.kernel.anchor.output: place})


def _add_parts(k: KernelFunction, spec: WeightGradient, sums: Reg, place: Reg) -> None:
    """The sums of all parts, added up in order."""
    f, lanes = k.f, k.target.lanes(spec.planes.element)

    def add(first: Reg, type: str) -> None:
        total: Reg | None = None
        for part in range(spec.parts):
            own = f.load(f.gep(sums, f.add(f.mul(first, spec.item), part * spec.part_bytes)), type)
            total = own if total is None else f.fadd(total, own)
        assert total is not None
        f.store(total, f.gep(place, f.mul(first, spec.item)))

    whole = spec.weights // lanes * lanes
    if whole:
        with f.loop(0, whole, lanes) as i:
            add(i, vector(spec.planes.element, lanes) if lanes > 1 else spec.planes.element)
    if whole < spec.weights:
        with f.loop(whole, spec.weights) as i:
            add(i, spec.planes.element)


class _Tiles:
    """All weights: groups, tiles of output channels, input channels, rows of the window.

    channels   the range of tiles of output channels, counted over all groups, that a call computes
    """

    def __init__(self, k: KernelFunction, spec: WeightGradient, room: Reg) -> None:
        self.k, self.f, self.spec, self.room = k, k.f, spec, room
        self.each = -(-spec.outputs // spec.tile[0])
        self.count = spec.groups * self.each
        self.channels: tuple[Operand, Operand] = (0, self.count)

    def add(self, x: Reg, g: Reg, n: Reg, count: Reg, sums: Reg, begins: Reg) -> None:
        """Add to the sums what `count` images from image n on give; the first group of a part begins them."""
        f, spec, planes = self.f, self.spec, self.spec.planes
        own = planes.channels * planes.rows.size * planes.columns.size * spec.item
        images = f.gep(x, f.mul(n, own))
        gradients = f.gep(g, f.mul(n, spec.gradient_bytes))
        if not planes.in_place:
            with f.loop(0, count) as i:
                here = f.gep(images, f.mul(i, own))
                emit_prepare(f, self.k.target, planes, here, f.gep(self.room, f.mul(i, spec.image_bytes)))
            images = self.room
        whole, rest = divmod(spec.outputs, spec.tile[0])

        def tile(number: Reg, size: int) -> None:
            group = f.udiv(number, self.each)
            channel = f.mul(f.urem(number, self.each), spec.tile[0])
            first = f.add(f.mul(group, spec.outputs), channel)
            source = f.gep(images, f.mul(group, spec.inputs * planes.plane * spec.item))
            gradient = f.gep(gradients, f.mul(first, spec.height * spec.width * spec.item))
            to = f.gep(sums, f.mul(first, spec.inputs * spec.window * spec.item))
            self._inputs(source, gradient, to, size, count, begins)

        with f.loop(*self.channels) as number:
            narrow = f.icmp("eq", f.urem(number, self.each), whole)
            if rest:
                with f.if_(narrow):
                    tile(number, rest)
            if whole:
                with f.if_(f.xor(narrow, constant(1, "i1"))):
                    tile(number, spec.tile[0])

    def _inputs(self, x: Reg, g: Reg, to: Reg, size: int, count: Reg, begins: Reg) -> None:
        """The weights of `size` output channels."""
        f, spec = self.f, self.spec
        item, height = spec.item, spec.tile[1]
        columns = spec.taps[1]

        def rows(c: Reg, p: Reg, number: int) -> None:
            source = f.gep(x, f.mul(c, spec.planes.plane * item))
            source = f.gep(source, f.mul(p, spec.dilation[0] * spec.planes.pitch * item))
            weights = f.gep(to, f.add(f.mul(c, spec.window * item), f.mul(p, columns * item)))
            found = iter(self._sums(size, number, source, g, count))
            for o in range(size):
                for at in range(number * columns):
                    where = f.gep(weights, (o * spec.inputs * spec.window + at) * item)
                    before = f.select(
                        begins, constant(0, spec.planes.element), f.load(where, spec.planes.element)
                    )
                    f.store(f.fadd(before, next(found)), where)

        whole = spec.taps[0] - spec.taps[0] % height
        with f.loop(0, spec.inputs) as c:
            with f.loop(0, whole, height) as p:
                rows(c, p, height)
            if whole < spec.taps[0]:
                rows(c, constant(whole, "i64"), spec.taps[0] - whole)

    def _sums(self, size: int, number: int, x: Reg, g: Reg, count: Reg) -> list[Reg]:
        """A group's part of a tile: `size` output channels by `number` rows of the window."""
        f, spec = self.f, self.spec
        planes, columns, item = spec.planes, spec.taps[1], spec.item
        whole, left = spec.width // WIDTH * WIDTH, spec.width % WIDTH
        offsets = [
            (p * spec.dilation[0] * planes.pitch + planes.column(q * spec.dilation[1])) * item
            for p in range(number)
            for q in range(columns)
        ]

        def chunk(x_row: Reg, g_row: Reg, column: Reg, acc: list[Reg], mask: Reg | None) -> list[Reg]:
            at = f.mul(column, item)
            x_here, g_here = f.gep(x_row, at), f.gep(g_row, at)
            taps = [_load(f, f.gep(x_here, offset), spec.type, mask) for offset in offsets]
            after = []
            for o in range(size):
                gradient = _load(f, f.gep(g_here, o * spec.height * spec.width * item), spec.type, mask)
                own = acc[o * len(taps) : (o + 1) * len(taps)]
                after += [f.fma(gradient, tap, total) for tap, total in zip(taps, own)]
            return after

        def image(n: Reg, acc: list[Reg]) -> list[Reg]:
            x_image, g_image = f.gep(x, f.mul(n, spec.image_bytes)), f.gep(g, f.mul(n, spec.gradient_bytes))

            def row(i: Reg, acc: list[Reg]) -> list[Reg]:
                x_row = f.gep(x_image, f.mul(i, spec.stride * planes.pitch * item))
                g_row = f.gep(g_image, f.mul(i, spec.width * item))
                if whole:
                    acc = f.fold(0, whole, WIDTH, acc, lambda j, inner: chunk(x_row, g_row, j, inner, None))
                if left:
                    mask = present(f, constant(left, "i64"), WIDTH)
                    acc = chunk(x_row, g_row, constant(whole, "i64"), acc, mask)
                return acc

            return f.fold(0, spec.height, 1, acc, row)

        zeros = [constant(0, spec.type)] * (size * len(offsets))
        return [_across(f, value) for value in f.fold(0, count, 1, zeros, image)]


def _across(f: Function, value: Reg) -> Reg:
    """The sum of the lanes: lane i with lane i + half, again and again."""
    count = WIDTH
    while count > 2:
        count //= 2
        low, high = list(range(count)), list(range(count, 2 * count))
        value = f.fadd(f.shuffle(value, value, low), f.shuffle(value, value, high))
    return f.fadd(f.extract(value, 0), f.extract(value, 1))


def _load(f: Function, where: Reg, type: str, mask: Reg | None) -> Reg:
    return f.load(where, type) if mask is None else f.masked_load(where, type, mask)
