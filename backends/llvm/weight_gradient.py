"""The derivative of convolution by its weights, from plain NCHW images.

    w[o, c, p, q] = sum over n, i, j of g[n, o, i, j] * x[n, c, i * stride + p * dilation, j * stride + q * dilation]

Vectors run along the columns j of both operands, 16 partial sums on every machine; a tile is several output channels by
one row of the window, so each loaded vector is used several times. A fixed tree folds the partial sums of an image, and
images add up one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.llvm.anchor import Finished, emit_anchor_kernel, emit_elements, place_of_result
from graphc.backends.llvm.elements import memory_type
from graphc.backends.llvm.emitter import Function, Reg, constant, vector
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


@dataclass(frozen=True, slots=True)
class WeightGradient:
    """Sizes of the loops: channels of one group, the window, and the images g and x (as planes)."""

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
    channels: int  # output channels of a tile

    @property
    def item(self) -> int:
        return self.planes.item

    @property
    def type(self) -> str:
        return vector(self.planes.element, WIDTH)


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
    # A virtual vector may be several registers; accumulators, both operands' vectors and one more must fit.
    registers = target.vector_registers // max(1, WIDTH // target.lanes(element))
    channels = max(1, min((registers - taps[1] - 1) // (taps[1] + 1), outputs, 8))
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
        channels,
    )


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """Working memory: the prepared planes of one image."""
    assert kernel.anchor is not None
    spec = plan_weight_gradient(kernel.anchor, target)
    return 0 if spec is None or place_of_result(kernel) is None else spec.planes.bytes


def emit_weight_gradient(k: KernelFunction) -> None:
    """`conv_dw` with its epilogue, which runs over the finished result."""
    node, main = k.kernel.anchor, place_of_result(k.kernel)
    assert node is not None
    spec = plan_weight_gradient(node, k.target)
    if spec is None or main is None:
        emit_anchor_kernel(k, SumOfProducts)
        return
    f, planes, place = k.f, spec.planes, k.outputs[main]
    x, g = (k.inputs[v] for v in node.inputs)
    size = k.sizes(node.output.type.nbytes)
    f.intrinsic("memset", ["ptr", "i64"], "void", place, "i8 0", size, "i1 false")
    if not planes.in_place:
        emit_clear(f, planes, f.scratch)
    image = planes.channels * planes.rows.size * planes.columns.size * spec.item
    own_g = spec.groups * spec.outputs * spec.height * spec.width * spec.item
    with f.loop(0, k.sizes(spec.batch)) as n:
        here = f.gep(x, f.mul(n, image))
        if not planes.in_place:
            emit_prepare(f, k.target, planes, here, f.scratch)
            here = f.scratch
        gradient = f.gep(g, f.mul(n, own_g))
        with f.loop(0, spec.groups) as group:
            sources = f.gep(here, f.mul(group, spec.inputs * planes.plane * spec.item))
            _channels(f, spec, group, sources, gradient, place)
    if k.kernel.epilogue:
        emit_elements(k, Finished, {node.output: place})
    f.ret(constant(0, "i32"))


def _channels(f: Function, spec: WeightGradient, group: Reg, x: Reg, g: Reg, place: Reg) -> None:
    """All weights of a group: tiles of output channels, input channels, window rows."""
    whole = spec.outputs - spec.outputs % spec.channels
    window = spec.taps[0] * spec.taps[1]

    def tile(first: Reg, count: int) -> None:
        channel = f.add(f.mul(group, spec.outputs), first)
        gradient = f.gep(g, f.mul(channel, spec.height * spec.width * spec.item))
        to = f.gep(place, f.mul(channel, spec.inputs * window * spec.item))
        with f.loop(0, spec.inputs) as c, f.loop(0, spec.taps[0]) as p:
            row = f.gep(x, f.mul(c, spec.planes.plane * spec.item))
            row = f.gep(row, f.mul(p, spec.dilation[0] * spec.planes.pitch * spec.item))
            weights = f.gep(to, f.add(f.mul(c, window * spec.item), f.mul(p, spec.taps[1] * spec.item)))
            sums = _sums(f, spec, count, row, gradient)
            for o in range(count):
                for q in range(spec.taps[1]):
                    where = f.gep(weights, (o * spec.inputs * window + q) * spec.item)
                    total = f.fadd(f.load(where, spec.planes.element), sums[o * spec.taps[1] + q])
                    f.store(total, where)

    if whole:
        with f.loop(0, whole, spec.channels) as first:
            tile(first, spec.channels)
    if spec.outputs % spec.channels:
        tile(constant(whole, "i64"), spec.outputs % spec.channels)


def _sums(f: Function, spec: WeightGradient, count: int, x: Reg, g: Reg) -> list[Reg]:
    """One image's part of a tile: `count` output channels by a row of the window."""
    columns = spec.taps[1]
    whole, left = spec.width // WIDTH * WIDTH, spec.width % WIDTH

    def chunk(x_row: Reg, g_row: Reg, column: Reg, acc: list[Reg], mask: Reg | None) -> list[Reg]:
        at = f.mul(column, spec.item)
        x_here, g_here = f.gep(x_row, at), f.gep(g_row, at)
        shifted = [
            _load(f, f.gep(x_here, spec.planes.column(q * spec.dilation[1]) * spec.item), spec.type, mask)
            for q in range(columns)
        ]
        after = []
        for o in range(count):
            plane = o * spec.height * spec.width * spec.item
            gradient = _load(f, f.gep(g_here, plane), spec.type, mask)
            after += [f.fma(gradient, shifted[q], acc[o * columns + q]) for q in range(columns)]
        return after

    def row(i: Reg, acc: list[Reg]) -> list[Reg]:
        x_row = f.gep(x, f.mul(i, spec.stride * spec.planes.pitch * spec.item))
        g_row = f.gep(g, f.mul(i, spec.width * spec.item))
        if whole:
            acc = f.fold(0, whole, WIDTH, acc, lambda j, inner: chunk(x_row, g_row, j, inner, None))
        if left:
            mask = present(f, constant(left, "i64"), WIDTH)
            acc = chunk(x_row, g_row, constant(whole, "i64"), acc, mask)
        return acc

    zeros = [constant(0, spec.type)] * (count * columns)
    return [_across(f, value) for value in f.fold(0, spec.height, 1, zeros, row)]


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
