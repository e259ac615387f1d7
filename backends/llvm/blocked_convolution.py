"""Convolution with constant weights and many channels: from a kernel of the graph to `convolution.py`.

Each image goes into blocks of 16 channels with the padding around it, through the tiles, and back into its plain
layout; both ways cost a few percent of the products. An epilogue that asks for nothing but the channel, such as a bias
and a relu, runs on the accumulators; any other over the finished result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.backends.llvm.affine import Ranges
from graphc.backends.llvm.anchor import Finished, emit_elements, place_of_result
from graphc.backends.llvm.blocked import BLOCK, Image, emit_clear_halo, emit_convert
from graphc.backends.llvm.convolution import emit_convolution
from graphc.backends.llvm.convolution_plan import Convolution, Tiling, pack_weights, tiling
from graphc.backends.llvm.elements import Element, memory_type
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.epilogue import is_short
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.kernel_function import KernelFunction, Packing
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.program import Load, Program, Space, trace
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Site
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.ir.types import is_static

LEAST_CHANNELS = 16  # below this a block of 16 output channels would be mostly empty
LEAST_DEPTH = 64  # products of one output from which changing the layout of its inputs pays


@dataclass(frozen=True, slots=True)
class Blocked:
    """The convolution, its cut, and plain layouts of both images."""

    spec: Convolution
    cut: Tiling
    source: Image
    result: Image

    @property
    def source_bytes(self) -> int:
        return -(-self.spec.source.bytes // 64) * 64

    @property
    def scratch(self) -> int:
        """Working memory: one image of each in blocks."""
        return self.source_bytes + -(-self.spec.result.bytes // 64) * 64


def plan_blocked(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Blocked | None:
    """How a convolution runs on blocks of channels; None when plain images serve it better."""
    node = kernel.anchor
    if (
        node is None
        or node.op.name != "conv"
        or node.inputs[1] not in fixed
        or place_of_result(kernel) is None
    ):
        return None
    x, w = node.inputs
    y = node.output
    known = is_static(x.shape[1:]) and is_static(w.shape) and is_static(y.shape[1:])
    if x.type.rank != 4 or not known or 0 in (*x.shape[1:], *w.shape, *y.shape[1:]):
        return None
    a, groups = node.attributes, node.attributes["groups"]
    depth = w.shape[1] * w.shape[2] * w.shape[3]
    if w.shape[0] // groups < LEAST_CHANNELS or depth < LEAST_DEPTH or groups > 1 and w.shape[1] % BLOCK:
        return None
    element = memory_type(y.dtype)
    (top, _), (left, _) = a["padding"]
    need = [
        (count - 1) * stride + (taps - 1) * dilation + 1
        for count, stride, taps, dilation in zip(y.shape[2:], a["strides"], w.shape[2:], a["dilation"])
    ]
    halo = (top, left, max(0, need[0] - top - x.shape[2]), max(0, need[1] - left - x.shape[3]))
    block = BLOCK if x.shape[1] >= BLOCK or groups > 1 else x.shape[1]
    (_, inputs, *size), (_, outputs, *count) = x.shape, y.shape
    blocked_x = Image(inputs, size[0], size[1], halo, block, element)
    blocked_y = Image(outputs, count[0], count[1], element=element)
    spec = Convolution(blocked_x, blocked_y, w.shape[2:], a["strides"], (top, left), a["dilation"], groups)
    plain_x = Image(inputs, size[0], size[1], block=1, element=element)
    plain_y = Image(outputs, count[0], count[1], block=1, element=element)
    return Blocked(spec, tiling(spec, target), plain_x, plain_y)


def emit_blocked_convolution(k: KernelFunction, plan: Blocked) -> None:
    """The convolution with its epilogue."""
    f, node, spec, main = k.f, k.kernel.anchor, plan.spec, place_of_result(k.kernel)
    assert node is not None and main is not None
    x, w = node.inputs
    k.packed[w] = _packing(plan)
    tail = _ChannelTail(k, node) if k.kernel.epilogue else None
    inline = tail is not None and tail.possible
    kernel = emit_convolution(
        k.module, f"{f.name}.tiles", spec, k.target, tail.emit if tail and inline else None,
        tail.operands if tail and inline else {}, plan.cut,
    )  # fmt: skip
    into = emit_convert(k.module, f"{f.name}.into", k.target, plan.source, spec.source)
    back = emit_convert(k.module, f"{f.name}.back", k.target, spec.result, plan.result)
    helpers = [kernel, into, back]
    blocked_x, blocked_y = f.scratch, f.gep(f.scratch, plan.source_bytes)
    zero, every = constant(0, "i64"), constant(spec.source.blocks, "i64")
    if any(spec.source.halo):
        clear = emit_clear_halo(k.module, f"{f.name}.clear", spec.source)
        helpers.append(clear)
        f.call(clear.name, "void", blocked_x, zero, every)
    for helper in helpers:
        helper.internal, helper.inline = True, False
    rows, columns = (constant(n, "i64") for n in (plan.cut.row_groups(spec), plan.cut.panels(spec)))
    extra = tail.arguments() if tail and inline else []
    with f.loop(0, k.sizes(x.shape[0])) as n:
        source = f.gep(k.inputs[x], f.mul(n, plan.source.bytes))
        result = f.gep(k.outputs[main], f.mul(n, plan.result.bytes))
        f.call(into.name, "void", source, blocked_x, zero, every)
        f.call(kernel.name, "void", blocked_x, k.inputs[w], blocked_y, zero, rows, zero, columns, *extra)
        f.call(back.name, "void", blocked_y, result, zero, constant(spec.result.blocks, "i64"))
    if k.kernel.epilogue and not inline:
        emit_elements(k, Finished, {node.output: k.outputs[main]})
    f.ret(constant(0, "i32"))


def _packing(plan: Blocked) -> Packing:
    spec, width = plan.spec, plan.cut.tile.width

    def apply(array: Any) -> Any:
        return pack_weights(array, spec, width)

    inputs, outputs = spec.group_channels
    depth = inputs * spec.kernel[0] * spec.kernel[1]
    size = spec.groups * -(-outputs // width) * width * depth * spec.source.item
    return Packing(
        f"convolution panels of {width} by {spec.source.block} in {spec.groups} groups", size, apply
    )


class _ChannelTail:
    """An epilogue on a vector of channels of one pixel."""

    def __init__(self, k: KernelFunction, node: Node) -> None:
        self.k, self.node = k, node
        self.space = Space(node.output.shape)
        ranges = Ranges(self.space.extents, may_split=False)
        index = self.space.index()
        self.channel = self.space.variables([1])[0]
        self.program: Program = trace(
            k.kernel.nodes,
            [(v, index) for v in k.kernel.outputs if v.shape == node.output.shape],
            ranges,
            {node.output: index},
        )
        loads = [e for e in self.program.expressions if isinstance(e, Load)]
        by_channel = all(e.offset.variables <= {self.channel} and not e.guard for e in loads)
        self.possible = is_short(k.kernel) and len(k.kernel.outputs) == 1 and by_channel
        self.reads = list(dict.fromkeys(e.value for e in loads))
        self.operands = {f"read{i}": "ptr readonly" for i in range(len(self.reads))}

    def arguments(self) -> list[Reg]:
        return [self.k.inputs[v] for v in self.reads]

    def emit(self, b: Function, accumulators: Reg, site: Site) -> Reg:
        pointers = {v: b.parameters[f"read{i}"] for i, v in enumerate(self.reads)}
        e = Evaluator(b, self.program, Sizes(b, {}), pointers)
        with e.scope({self.channel: site.column}), e.vector(self.channel, site.tile.lanes, site.mask):
            e.holes[self.node.output] = Element(accumulators, self.node.output.dtype)
            (found,) = e.compute(self.program.results)
            return e.full(found).reg
