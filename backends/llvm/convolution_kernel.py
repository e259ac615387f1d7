"""Convolutions: from a kernel of the graph to `convolution.py` and its epilogue.

The kernel wants channel-blocked images whose border holds the padding. Where the plan of the whole graph gave
an operand or the result that layout, it is used as it lies; otherwise one image at a time is converted in
working memory, so that a conversion is a property of a kernel and no node of the graph. An image of few
channels is read as plain planes. Constant weights are packed when the model is compiled, others in working
memory whenever the kernel runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from graphc.backends.llvm import plane_convolution
from graphc.backends.llvm.anchor import Finished, emit_elements
from graphc.backends.llvm.blocked import BLOCK, Image, Phase, emit_clear_halo, emit_convert
from graphc.backends.llvm.convolution import emit_convolution
from graphc.backends.llvm.convolution_epilogue import ConvolutionEpilogue
from graphc.backends.llvm.convolution_plan import (
    Convolution,
    Tiling,
    pack_weights,
    packed_weights_bytes,
    tiling,
)
from graphc.backends.llvm.convolution_weights import emit_pack_weights
from graphc.backends.llvm.correlation import Correlation, correlations, window_halo
from graphc.backends.llvm.elements import memory_type
from graphc.backends.llvm.emitter import Function, Operand, Reg, constant
from graphc.backends.llvm.epilogue import is_short
from graphc.backends.llvm.kernel_function import KernelFunction, Packing, packable
from graphc.backends.llvm.loop_kernel import plain
from graphc.backends.llvm.plane_convolution import suits_groups
from graphc.backends.llvm.sharing import unevenness
from graphc.backends.llvm.storage import image_of
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.winograd_driver import emit_batches
from graphc.backends.llvm.winograd_kernel import emit_winograd
from graphc.backends.llvm.winograd_plan import Winograd, choose, pack
from graphc.ir.dims import Dim
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.plan.layout import Layouts

LINE = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One correlation of a convolution, how it is cut, and where its packed weights begin."""

    sum: Correlation
    spec: Convolution
    cut: Tiling
    weights: int

    @property
    def weights_bytes(self) -> int:
        return lines(packed_weights_bytes(self.spec, self.cut.tile.width))


@dataclass(frozen=True, slots=True)
class Direct:
    """How a conv or conv_dx node runs on the blocked kernel.

    stored, source   how the image it reads lies, and how the kernel wants it; converted when they differ
    main             the output the kernel stores
    result, kept     how the kernel makes that output, and how it is to lie; converted when they differ
    packed           whether weights are packed when the model is compiled
    inline           whether the epilogue runs on the accumulators
    winograd         how the only part runs on transformed tiles, None when as a sum over windows
    """

    node: Node
    parts: tuple[Part, ...]
    stored: Image
    source: Image
    main: Value
    result: Image
    kept: Image
    packed: bool
    inline: bool
    winograd: Winograd | None = None

    @property
    def source_bytes(self) -> int:
        """Working memory for one image that is read."""
        return 0 if self.stored == self.source else lines(self.source.bytes)

    @property
    def result_bytes(self) -> int:
        """Working memory for one image of the result."""
        return 0 if self.result == self.kept else lines(self.result.bytes)

    @property
    def weights_bytes(self) -> int:
        """Bytes of the packed weights of all parts."""
        if self.winograd:
            return lines(self.winograd.weights_bytes)
        return sum(part.weights_bytes for part in self.parts)

    @property
    def scratch_bytes(self) -> int:
        own = self.source_bytes + self.result_bytes
        if self.winograd:
            return own + self.winograd.input_bytes + self.winograd.product_bytes
        return own + (0 if self.packed else self.weights_bytes)


def lines(size: int) -> int:
    """A size rounded up to whole cache lines."""
    return -(-size // LINE) * LINE


def planar(node: Node) -> bool:
    """Whether an image of so few channels is better read as planes than blocked."""
    channels = node.inputs[0].shape[1]
    assert isinstance(channels, int)
    return node.op.name == "conv" and node.attributes["groups"] == 1 and channels < BLOCK


def pays(node: Node, fixed: frozenset[Value]) -> bool:
    """Whether blocks of channels suit a convolution.

    With constant weights nothing has to be packed or turned, so they do, unless half a block of channels or less comes
    from plain planes: then rows fill vectors better. While training, blocks that channels hardly fill cost more than
    they bring, since gradients go through them too; plain planes serve those.
    """
    x, w = node.inputs
    if w in fixed:
        _, outputs, _, columns = node.output.shape
        return not planar(node) or outputs > BLOCK // 2 or columns < BLOCK // 2
    groups = node.attributes["groups"]
    shares = [c // groups for c in (x.shape[1], node.output.shape[1]) if isinstance(c, int)]
    if planar(node):
        return x.leaf is not None and shares[1] >= BLOCK
    return min(shares) >= BLOCK and (groups == 1 or all(share % BLOCK == 0 for share in shares))


def plan_convolution(
    kernel: Kernel, target: Target, fixed: frozenset[Value], layouts: Layouts
) -> Direct | None:
    """How the kernel's convolution runs, None when it is better made of plain planes."""
    node = kernel.anchor
    sums = [] if node is None else correlations(node)
    if not sums or node is None or not pays(node, fixed) or suits_groups(kernel, target):
        return None
    (x, w), y = node.inputs, node.output
    main = next((v for v in (y, *kernel.outputs) if v in kernel.outputs and v.type == y.type), None)
    if main is None or x.dtype.name not in ("float32", "float64"):
        return None
    need = window_halo(node)
    stored, kept = (image_of(v, layouts) or as_planes(v) for v in (x, main))
    depthwise = node.attributes["groups"] == stored.channels > 1 and node.attributes["strides"] == (1, 1)
    if layouts and depthwise and not any(v in layouts for v in (*kernel.inputs, *kernel.outputs)):
        return None  # one channel at a time needs no blocks, where nothing else does
    source = stored if stored.block == 1 and planar(node) else replace(stored, block=BLOCK)
    if any(have < least for have, least in zip(source.halo, need)):
        source = replace(source, halo=need)
    result = replace(kept, block=BLOCK)
    parts: list[Part] = []
    for each in sums:
        spec = _specification(each, source, result)
        begin = parts[-1].weights + parts[-1].weights_bytes if parts else 0
        parts.append(Part(each, spec, tiling(spec, target), begin))
    packed, winograd = packable(kernel, w, fixed), None
    if packed and len(parts) == 1:
        images = x.shape[0] if isinstance(x.shape[0], int) else None
        winograd = choose(parts[0].spec, parts[0].cut, images, target)
    return Direct(node, tuple(parts), stored, source, main, result, kept, packed, is_short(kernel), winograd)


def _specification(each: Correlation, source: Image, result: Image) -> Convolution:
    sides = each.rows, each.columns
    height, width = (side.count for side in sides)
    spacing, start = (tuple(getattr(side, name) for side in sides) for name in ("spacing", "start"))
    if (height, width) != (result.height, result.width) or spacing != (1, 1):
        result = Phase(
            result.channels, height, width, element=result.element, outer=result, spacing=spacing, start=start
        )
    kernel, stride, padding, dilation = (
        (getattr(each.rows, name), getattr(each.columns, name))
        for name in ("taps", "stride", "padding", "dilation")
    )
    return Convolution(source, result, kernel, stride, padding, dilation, each.groups)


def as_planes(value: Value) -> Image:
    """A row-major array as images."""
    _, channels, height, width = value.shape
    return Image(channels, height, width, block=1, element=memory_type(value.dtype))


def scratch_bytes(kernel: Kernel, target: Target, fixed: frozenset[Value], layouts: Layouts) -> Dim:
    """Working memory of a convolution."""
    plan = plan_convolution(kernel, target, fixed, layouts)
    return plane_convolution.scratch_bytes(kernel, target) if plan is None else plan.scratch_bytes


def emit_convolution_kernel(k: KernelFunction) -> None:
    """A convolution, or its derivative by the input, with its epilogue."""
    plan = plan_convolution(k.kernel, k.target, k.fixed, k.layouts)
    if plan is None:
        plane_convolution.emit_plane_convolution(k)
        return
    _emit_direct(k, plan)
    k.f.ret(constant(0, "i32"))


def _emit_direct(k: KernelFunction, plan: Direct) -> None:
    f = k.f
    x, w = plan.node.inputs
    tail = None
    if plan.inline and k.kernel.epilogue:
        tail = ConvolutionEpilogue(k, plan.main, plan.result)
    kernels, stages = [], None
    if plan.winograd:
        epilogue, operands = (tail.of(plan.parts[0].sum), tail.operands) if tail else (None, {})
        stages = emit_winograd(k.module, f"{f.name}.winograd", plan.winograd, k.target, epilogue, operands)
    for i, part in enumerate(plan.parts if stages is None else ()):
        epilogue = tail.of(part.sum) if tail else None
        operands = tail.operands if tail else {}
        name = f"{f.name}.conv{i}" if len(plan.parts) > 1 else f"{f.name}.conv"
        kernels.append(
            _own(emit_convolution(k.module, name, part.spec, k.target, epilogue, operands, part.cut))
        )
    weights = _weights(k, plan)
    images = _Images(k, plan)
    room, there, leave = images.room, f.gep(images.room, plan.source_bytes), None
    enter = emit_enter(k, "x", plan.stored, plan.source, room)
    if plan.result_bytes:
        leave = _own(emit_convert(k.module, f"{f.name}.leave", k.target, plan.result, plan.kept))

    def convolve(source: Reg, result: Reg, image: Reg, count: Reg) -> None:
        """All parts, for `count` images from `image` on."""
        extra = tail.arguments(image) if tail else []
        if plan.winograd and stages:
            own, apart = plan.source_bytes + plan.result_bytes, images.apart
            emit_batches(k, plan.winograd, stages, source, weights, result, count, own, extra, apart)
        for part, kernel in zip(plan.parts, kernels):
            ends = images.rows_and_panels(part, count)
            f.call(kernel.name, "void", source, f.gep(weights, part.weights), result, *ends, *extra)

    if enter is None and leave is None:
        convolve(k.inputs[x], k.outputs[plan.main], constant(0, "i64"), images.count)
    else:
        with f.loop(*images.range) as image:
            source = f.gep(k.inputs[x], f.mul(image, plan.stored.bytes))
            kept = f.gep(k.outputs[plan.main], f.mul(image, plan.kept.bytes))
            if enter is not None:
                f.call(enter.name, "void", source, room, *images.part(planes(plan.stored, plan.source)))
                source = room
                images.meet()
            convolve(source, kept if leave is None else there, image, constant(1, "i64"))
            if leave is not None:
                images.meet()
                f.call(leave.name, "void", there, kept, *images.part(planes(plan.result, plan.kept)))
            images.meet()
    if not plan.inline:
        if k.share:
            k.share.barrier()
        layouts = dict(k.layouts)
        if plan.main in layouts:
            layouts[plan.node.output] = layouts[plan.main]
        emit_elements(replace(k, layouts=layouts), Finished, {plan.node.output: k.outputs[plan.main]})


class _Images:
    """How the images of a kernel are shared: whole ones when there are enough, else each by rows or panels."""

    def __init__(self, k: KernelFunction, plan: Direct) -> None:
        self.k, self.converted = k, plan.source_bytes + plan.result_bytes > 0
        f, share, count = k.f, k.share, k.sizes(plan.node.inputs[0].shape[0])
        self.count = count
        self.range: tuple[Operand, Operand] = (0, plain(count))
        self.room = f.scratch
        if share is None:
            return
        share.own_bytes = plan.scratch_bytes if plan.winograd else plan.source_bytes + plan.result_bytes
        if not self.converted and not plan.winograd:
            share.divided = plan.node.output.shape[0]
        self.whole = f.icmp("sge", count, f.mul(f.parts, 2))
        first, last = share.of(count)
        self.range = f.select(self.whole, first, constant(0, "i64")), f.select(self.whole, last, count)
        self.room = f.select(self.whole, share.own(f.scratch), f.scratch)

    @property
    def apart(self) -> Reg | None:
        """Whether the member has its images for itself; None when none is converted."""
        return self.whole if self.converted and self.k.share else None

    def part(self, total: Reg) -> tuple[Reg, Reg]:
        """The member's part of something in one image."""
        if self.k.share is None:
            return constant(0, "i64"), total
        f, (first, last) = self.k.f, self.k.share.of(total)
        return f.select(self.whole, constant(0, "i64"), first), f.select(self.whole, total, last)

    def rows_and_panels(self, part: Part, count: Reg) -> tuple[Reg, Reg, Reg, Reg]:
        """The member's rows and panels of one image that is converted, or of all images where they lie.

        Weights are read by every member when rows are divided, the image when panels are.
        """
        f, zero = self.k.f, constant(0, "i64")
        rows, panels = part.cut.row_groups(part.spec), part.cut.panels(part.spec)
        every_row, every_panel = f.mul(count, rows), constant(panels, "i64")
        if self.k.share is None:
            return zero, every_row, zero, every_panel
        by_rows, by_panels = unevenness(rows), unevenness(panels)
        few_weights = part.weights_bytes <= part.spec.source.bytes
        if by_rows < by_panels or (by_rows == by_panels and few_weights):
            ends = self.part(every_row) if self.converted else self.k.share.of(every_row)
            return *ends, zero, every_panel
        if self.converted:
            return zero, every_row, *self.part(every_panel)
        first, last = (f.mul(f.operand(end, "i64"), rows) for end in self.range)
        return first, last, *self.part(every_panel)

    def meet(self) -> None:
        """Wait for the others that work on the same image."""
        if self.k.share is not None and self.converted:
            f = self.k.f
            with f.if_(f.xor(self.whole, constant(1, "i1"))):
                self.k.share.barrier()


def emit_enter(k: KernelFunction, name: str, stored: Image, source: Image, room: Reg) -> Function | None:
    """The function that brings an image into working memory, whose border is cleared here; None when none is needed."""
    if stored == source:
        return None
    if any(source.halo):
        clear = _own(emit_clear_halo(k.module, f"{k.f.name}.clear_{name}", source))
        k.f.call(clear.name, "void", room, constant(0, "i64"), constant(source.blocks, "i64"))
    return _own(emit_convert(k.module, f"{k.f.name}.enter_{name}", k.target, stored, source))


def planes(one: Image, other: Image) -> Reg:
    """The planes `emit_convert` counts for one image."""
    return constant(max(one, other, key=lambda image: image.block).blocks, "i64")


def _own(f: Function) -> Function:
    """A function of this module alone, not copied into its callers."""
    f.internal, f.inline = True, False
    return f


def _weights(k: KernelFunction, plan: Direct) -> Reg:
    """Where the packed weights lie."""
    f, w = k.f, plan.node.inputs[1]
    if plan.packed:
        k.packed[w] = _packing(plan)
        return k.inputs[w]
    room = f.gep(f.scratch, plan.source_bytes + plan.result_bytes)
    for i, part in enumerate(plan.parts):
        if part.weights_bytes:
            order = part.sum.order(w.shape)
            pack = _own(emit_pack_weights(k.module, f"{f.name}.pack{i}", part.spec, part.cut.tile, order))
            with f.if_(k.share.first) if k.share else nullcontext():
                f.call(pack.name, "void", k.inputs[w], f.gep(room, part.weights))
    if k.share:
        k.share.barrier()
    return room


def _packing(plan: Direct) -> Packing:
    """Constant weights as the kernel reads them."""

    winograd = plan.winograd
    if winograd:
        key = f"{plan.node.op.name}: {winograd.form}, panels of {winograd.tile.width}, {plan.parts[0].sum!r}"
        select = plan.parts[0].sum.select
        return Packing(key, plan.weights_bytes, lambda array: pack(select(array), winograd))

    def apply(array: Any) -> Any:
        import numpy as np

        packed = np.zeros(plan.weights_bytes // array.itemsize, array.dtype)
        for part in plan.parts:
            own = pack_weights(part.sum.select(array), part.spec, part.cut.tile.width).reshape(-1)
            begin = part.weights // array.itemsize
            packed[begin : begin + own.size] = own
        return packed

    widths = ",".join(f"{part.cut.tile.width}" for part in plan.parts)
    key = f"{plan.node.op.name}: panels of {widths}, {plan.source.block} channels, {plan.parts[0].sum!r}"
    return Packing(key, plan.weights_bytes, apply)


def fused_operands(kernel: Kernel) -> Sequence[Value]:
    """Values of the result's shape that the epilogue reads or writes: they had better lie like the result."""
    assert kernel.anchor is not None
    shape = kernel.anchor.output.shape
    return [v for v in (*kernel.inputs, *kernel.outputs) if v.shape == shape]
