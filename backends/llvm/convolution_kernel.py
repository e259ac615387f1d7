"""Convolutions: from a kernel of the graph to `convolution.py` and its epilogue.

The kernel wants channel-blocked images whose border holds the padding. Where the plan of the whole graph gave an operand
or the result that layout, it is used as it lies; otherwise one image at a time is converted in working memory, so that a
conversion is a property of a kernel and no node of the graph. An image of few channels is read as plain planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphc.backends.llvm import plane_convolution
from graphc.backends.llvm.affine import Form, Index, Ranges
from graphc.backends.llvm.anchor import Finished, emit_elements
from graphc.backends.llvm.blocked import BLOCK, Image, emit_clear_halo, emit_convert
from graphc.backends.llvm.convolution import Pixel, emit_convolution
from graphc.backends.llvm.convolution_plan import (
    Convolution,
    Tiling,
    pack_weights,
    packed_weights_bytes,
    tiling,
)
from graphc.backends.llvm.elements import Element, memory_type
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.epilogue import is_short
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import Guard, reshape_index
from graphc.backends.llvm.kernel_function import KernelFunction, Packing
from graphc.backends.llvm.loop_kernel import plain
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.program import Load, Root, Space, trace
from graphc.backends.llvm.storage import image_of
from graphc.backends.llvm.target import Target
from graphc.ir.dims import Dim
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.plan.layout import Layouts

LINE = 64


@dataclass(frozen=True, slots=True)
class Direct:
    """How a conv node runs on the blocked kernel.

    source      how x lies, which is converted to `spec.source` when that differs
    main        the output the kernel stores
    result      how it lies, which is converted from `spec.result` when that differs
    inline      whether the epilogue runs on the accumulators
    """

    node: Node
    spec: Convolution
    cut: Tiling
    source: Image
    main: Value
    result: Image
    inline: bool

    @property
    def source_bytes(self) -> int:
        """Working memory for one image of x."""
        return 0 if self.source == self.spec.source else lines(self.spec.source.bytes)

    @property
    def result_bytes(self) -> int:
        """Working memory for one image of the result."""
        return 0 if self.result == self.spec.result else lines(self.spec.result.bytes)


def lines(size: int) -> int:
    """A size rounded up to whole cache lines."""
    return -(-size // LINE) * LINE


def window_halo(node: Node) -> tuple[int, int, int, int]:
    """The border of x that the windows of a convolution reach: top, left, bottom, right."""
    attributes, ends = node.attributes, []
    sizes = zip(
        node.inputs[0].shape[2:], node.inputs[1].shape[2:], node.output.shape[2:],
        attributes["strides"], attributes["padding"], attributes["dilation"],
    )  # fmt: skip
    for size, taps, count, stride, (before, _), dilation in sizes:
        ends.append(max((count - 1) * stride + (taps - 1) * dilation + 1 - before - size, 0))
    (top, _), (left, _) = attributes["padding"]
    return top, left, ends[0], ends[1]


def is_blockable(node: Node) -> bool:
    """Whether a node is a convolution the blocked kernel can run."""
    if node.op.name != "conv" or node.output.type.rank != 4:
        return False
    x, w = node.inputs
    fixed = [*x.shape[1:], *w.shape, *node.output.shape[1:]]
    return all(isinstance(d, int) and d > 0 for d in fixed) and x.dtype.name in ("float32", "float64")


def planar(node: Node) -> bool:
    """Whether an image of so few channels is better read as planes than blocked."""
    channels = node.inputs[0].shape[1]
    assert isinstance(channels, int)
    return node.attributes["groups"] == 1 and channels < BLOCK


def plan_convolution(
    kernel: Kernel, target: Target, fixed: frozenset[Value], layouts: Layouts
) -> Direct | None:
    """How the kernel's convolution runs, None when it is computed element by element."""
    node = kernel.anchor
    assert node is not None
    if not is_blockable(node) or node.inputs[1] not in fixed:
        return None
    (x, w), y, attributes = node.inputs, node.output, node.attributes
    main = next((v for v in (y, *kernel.outputs) if v in kernel.outputs and v.type == y.type), None)
    if main is None:
        return None
    element, need = memory_type(x.dtype), window_halo(node)
    dense_x, dense_y = (_plain(v, element) for v in (x, y))
    source, result = image_of(x, layouts) or dense_x, image_of(main, layouts) or dense_y
    if source.block == 1 and planar(node):
        wanted = replace(source, halo=need)
    else:
        wanted = replace(source, block=BLOCK)
    if any(have < least for have, least in zip(wanted.halo, need)):
        wanted = replace(wanted, halo=need)
    (top, _), (left, _) = attributes["padding"]
    spec = Convolution(
        wanted,
        replace(result, block=BLOCK),
        w.shape[2:],  # type: ignore[arg-type]
        attributes["strides"],
        (top, left),
        attributes["dilation"],
        attributes["groups"],
    )
    return Direct(node, spec, tiling(spec, target), source, main, result, is_short(kernel))


def _plain(value: Value, element: str) -> Image:
    _, channels, height, width = value.shape
    return Image(channels, height, width, block=1, element=element)  # type: ignore[arg-type]


def scratch_bytes(kernel: Kernel, target: Target, fixed: frozenset[Value], layouts: Layouts) -> Dim:
    """Working memory of a convolution."""
    plan = plan_convolution(kernel, target, fixed, layouts)
    if plan is None:
        return plane_convolution.scratch_bytes(kernel, target)
    return plan.source_bytes + plan.result_bytes


def emit_convolution_kernel(k: KernelFunction) -> None:
    """A convolution with its epilogue."""
    plan = plan_convolution(k.kernel, k.target, k.fixed, k.layouts)
    if plan is None:
        plane_convolution.emit_plane_convolution(k)
        return
    _emit_direct(k, plan)
    k.f.ret(constant(0, "i32"))


def _emit_direct(k: KernelFunction, plan: Direct) -> None:
    f, spec = k.f, plan.spec
    x, w = plan.node.inputs
    tail = _Tail(k, plan) if plan.inline and k.kernel.epilogue else None
    kernel = emit_convolution(
        k.module,
        f"{f.name}.conv",
        spec,
        k.target,
        tail and tail.emit,
        tail.operands if tail else {},
        plan.cut,
    )
    k.packed[w] = _packing(plan)
    zero, room = constant(0, "i64"), f.scratch
    rows, panels = (constant(n, "i64") for n in (plan.cut.row_groups(spec), plan.cut.panels(spec)))
    enter = leave = None
    if plan.source_bytes:
        enter = emit_convert(k.module, f"{f.name}.enter", k.target, plan.source, spec.source)
        if any(spec.source.halo):
            clear = emit_clear_halo(k.module, f"{f.name}.clear", spec.source)
            f.call(clear.name, "void", room, zero, constant(spec.source.blocks, "i64"))
            _keep(clear)
        _keep(enter)
    if plan.result_bytes:
        leave = emit_convert(k.module, f"{f.name}.leave", k.target, spec.result, plan.result)
        _keep(leave)
    _keep(kernel)
    with f.loop(0, plain(k.sizes(x.shape[0]))) as image:
        source = f.gep(k.inputs[x], f.mul(image, plan.source.bytes))
        result = f.gep(k.outputs[plan.main], f.mul(image, plan.result.bytes))
        here, there = source, result
        if enter is not None:
            wide = max(plan.source, spec.source, key=lambda layout: layout.block)
            f.call(enter.name, "void", source, room, zero, constant(wide.blocks, "i64"))
            here = room
        if leave is not None:
            there = f.gep(room, plan.source_bytes)
        extra = tail.arguments(image) if tail else []
        f.call(kernel.name, "void", here, k.inputs[w], there, zero, rows, zero, panels, *extra)
        if leave is not None:
            f.call(leave.name, "void", there, result, zero, constant(spec.result.blocks, "i64"))
    if not plan.inline:
        layouts = dict(k.layouts)
        if plan.main in layouts:
            layouts[plan.node.output] = layouts[plan.main]
        emit_elements(replace(k, layouts=layouts), Finished, {plan.node.output: k.outputs[plan.main]})


def _keep(f: Function) -> None:
    """A function of this module alone, not copied into its callers."""
    f.internal, f.inline = True, False


def _packing(plan: Direct) -> Packing:
    """Constant weights as the kernel reads them."""
    spec, width = plan.spec, plan.cut.tile.width

    def apply(array: Any) -> Any:
        return pack_weights(array, spec, width)

    key = f"convolution: panels of {width}, blocks of {spec.source.block}, {spec.groups} groups"
    return Packing(key, packed_weights_bytes(spec, width), apply)


class _Tail:
    """The epilogue of a convolution, for one vector of a pixel's channels at a time."""

    def __init__(self, k: KernelFunction, plan: Direct) -> None:
        self.k, self.plan, kernel = k, plan, k.kernel
        result = plan.node.output
        space = Space(result.shape)
        self.block, self.lane = space.block(1, BLOCK)
        ranges = Ranges(space.extents, may_split=False)
        here: dict[Value, Index] = {
            v: reshape_index(space.index(), result.shape, v.shape, ranges) for v in (result, *kernel.outputs)
        }
        roots: list[Root] = [(v, here[v]) for v in kernel.outputs]
        self.program = trace(kernel.nodes, roots, ranges, {result: here[result]}, k.layouts)
        self.stores = k.places(roots, space)
        self.image, self.y, self.x = (next(iter(space.variables([axis])), None) for axis in (0, 2, 3))
        read = {e.value for e in self.program.expressions if isinstance(e, Load)}
        self.reads = [v for v in kernel.inputs if v in read]
        self.writes = [v for v in kernel.outputs if v is not plan.main]
        # Values that lie exactly like the result are found at its offset.
        self.alike = frozenset(
            v
            for v in (*self.reads, *self.writes)
            if v.type == result.type and image_of(v, k.layouts) == plan.spec.result
        )
        self.operands = {f"read{i}": "ptr readonly" for i in range(len(self.reads))}
        self.operands |= {f"write{i}": "ptr" for i in range(len(self.writes))}
        self.operands |= {f"size_{s}": "i64" for s in k.sizes.symbols} | {"image": "i64"}

    def arguments(self, image: Reg) -> list[Reg]:
        """What the kernel is called with, for `operands`."""
        f = self.k.f
        found = []
        for values, pointers in ((self.reads, self.k.inputs), (self.writes, self.k.outputs)):
            for value in values:
                pointer = pointers[value]
                if value in self.alike:
                    pointer = f.gep(pointer, f.mul(image, self.plan.spec.result.bytes))
                found.append(pointer)
        return [*found, *self.k.sizes.symbols.values(), image]

    def emit(self, b: Function, accumulators: Reg, site: Any) -> Reg:
        """The vector to store in place of the accumulators."""
        assert isinstance(site, Pixel)
        plan, kernel = self.plan, self.k.kernel
        sizes = Sizes(b, {s: b.parameters[f"size_{s}"] for s in self.k.sizes.symbols})
        pointers = {v: b.parameters[f"read{i}"] for i, v in enumerate(self.reads)}
        pointers |= {v: b.parameters[f"write{i}"] for i, v in enumerate(self.writes)}
        e = _AtPixel(b, self.program, sizes, pointers)
        e.site, e.alike = site, self.alike
        values = {
            self.image: b.parameters["image"],
            self.block: site.block,
            self.lane: constant(site.lane, "i64"),
            self.y: site.y,
            self.x: site.x,
        }
        bound = {v: reg for v, reg in values.items() if v is not None}
        with e.scope(bound), e.vector(self.lane, site.tile.lanes, site.mask):
            e.holes[plan.node.output] = Element(accumulators, plan.node.output.dtype)
            found = accumulators
            elements = e.compute(self.program.results)
            for value, element, offset in zip(kernel.outputs, elements, self.stores):
                if value is plan.main:
                    found = e.full(element).reg
                elif value in self.alike:
                    site.store(e.full(element).reg, pointers[value])
                else:
                    e.store(element, value, offset, pointers[value])
        return found


class _AtPixel(Evaluator):
    """An evaluator that finds what lies like the result where the result goes."""

    site: Pixel
    alike: frozenset[Value]

    def load(self, value: Value, offset: Form, guard: Guard) -> Element:
        if value in self.alike and not guard:
            return Element(self.site.like_output(self.pointers[value]), value.dtype)
        return super().load(value, offset, guard)


def fused_operands(kernel: Kernel) -> Sequence[Value]:
    """Values of the result's shape that the epilogue reads or writes: they had better lie like the result."""
    assert kernel.anchor is not None
    shape = kernel.anchor.output.shape
    return [v for v in (*kernel.inputs, *kernel.outputs) if v.shape == shape]
