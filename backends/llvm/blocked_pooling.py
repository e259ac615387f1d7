"""The maximum of windows of channel-blocked images, when nobody asks where it stands.

A tap beyond the edge is replaced by the nearest one inside, which the window holds anyway, so no loop asks for the
edge. Maxima are taken with one comparison, which loses a NaN; NaNs are looked for beside it, two taps at a time, and
win in the end.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.backends.llvm.anchor import Finished, emit_elements, place_of_result
from graphc.backends.llvm.blocked import BLOCK, Image
from graphc.backends.llvm.elements import register_type
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.storage import image_of
from graphc.ir.graph import Node


def emit_blocked_max_pool(k: KernelFunction) -> bool:
    """The body of a max_pool kernel whose images are blocked; False when it is none of those.

    An epilogue runs over the finished maxima.
    """
    node = k.kernel.anchor
    assert node is not None
    x, y, main = node.inputs[0], node.outputs[0], place_of_result(k.kernel)
    asked = {*k.kernel.outputs, *(v for n in k.kernel.nodes for v in n.inputs)}
    if node.op.name != "max_pool" or main is None or node.outputs[1] in asked:
        return False
    source, result = image_of(x, k.layouts), image_of(main, k.layouts)
    if source is None or result is None or not x.dtype.is_float or not _always_meets(node, source, result):
        return False
    f, lanes = k.f, min(k.target.lanes(source.element), BLOCK)
    kernel, strides, padding = (node.attributes[name] for name in ("kernel", "strides", "padding"))

    def inside(index: Reg, axis: int, size: int, step: int) -> list[Reg]:
        """Offsets of the rows or columns that the window `index` meets."""
        before, count = padding[axis][0], (result.height, result.width)[axis]
        first = f.sub(f.mul(index, strides[axis]), before)
        taps = [f.add(first, tap) for tap in range(kernel[axis])]
        if before:
            taps = [f.smax(tap, 0) for tap in taps]
        if (count - 1) * strides[axis] - before + kernel[axis] > size:
            taps = [f.smin(tap, size - 1) for tap in taps]
        return [f.mul(tap, step) for tap in taps]

    lines = f.mul(f.mul(k.sizes(x.shape[0]), source.blocks), result.height)
    with f.loop(*(k.share.of(lines) if k.share else (0, lines))) as line:
        plane, row = f.udiv(line, result.height), f.urem(line, result.height)
        here = f.gep(k.inputs[x], f.add(f.mul(plane, source.plane), source.origin))
        there = f.gep(k.outputs[main], f.add(f.mul(plane, result.plane), result.origin))
        rows = inside(row, 0, source.height, source.pitch)
        target = f.gep(there, f.mul(row, result.pitch))
        with f.loop(0, result.width) as column:
            columns = inside(column, 1, source.width, source.pixel)
            to = f.gep(target, f.mul(column, result.pixel))
            places = [f.gep(here, f.add(r, c)) for r in rows for c in columns]
            for lane in range(0, BLOCK, lanes):
                type = register_type(x.dtype, lanes if lanes > 1 else 0)
                taps = [f.load(f.gep(place, lane * source.item), type) for place in places]
                f.store(largest(f, taps), f.gep(to, lane * source.item))
    if k.kernel.epilogue:
        if k.share:
            k.share.barrier()
        layouts = dict(k.layouts)
        if main in layouts:
            layouts[y] = layouts[main]
        emit_elements(replace(k, layouts=layouts), Finished, {y: k.outputs[main]})
    f.ret(constant(0, "i32"))
    return True


def _always_meets(node: Node, source: Image, result: Image) -> bool:
    """Whether the taps lie together and every window has one inside the image."""
    a = node.attributes
    if set(a["dilation"]) != {1}:
        return False
    sizes = (source.height, source.width), (result.height, result.width)
    for size, count, taps, stride, (before, _) in zip(*sizes, a["kernel"], a["strides"], a["padding"]):
        if before >= taps or (count - 1) * stride - before >= size:
            return False
    return True


def largest(f: Function, taps: list[Reg]) -> Reg:
    """The largest, the first of equals; NaN when there is one."""
    best, missing = taps[0], None
    for x in taps[1:]:
        best = f.select(f.fcmp("ogt", x, best), x, best)
    for first, second in zip(taps[::2], [*taps[1::2], taps[-1]]):
        found = f.fcmp("uno", first, second)
        missing = found if missing is None else f.or_(missing, found)
    assert missing is not None
    return f.select(missing, constant(float("nan"), best.type), best)
