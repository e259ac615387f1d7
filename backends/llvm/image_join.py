"""Images in blocks of channels joined along the channels: blocks are copied as they lie, or row by row."""

from __future__ import annotations

from graphc.backends.llvm.emitter import constant
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.storage import image_of
from graphc.ir.partition import Kernel
from graphc.plan.layout import BLOCK, Layouts


def joins_images(kernel: Kernel, layouts: Layouts) -> bool:
    """Whether a kernel does nothing but join images whose channels fill their blocks."""
    if len(kernel.nodes) != 1 or kernel.nodes[0].op.name != "concat":
        return False
    (node,) = kernel.nodes
    values = (*node.inputs, node.output)
    return node.attributes["axis"] == 1 and all(
        image_of(v, layouts) is not None and v.shape[1] % BLOCK == 0 for v in values
    )


def emit_image_join(k: KernelFunction) -> None:
    """The body of such a kernel; threads divide the planes of each operand."""
    f = k.f
    (node,) = k.kernel.nodes
    out = image_of(node.output, k.layouts)
    assert out is not None
    first = 0
    for value in node.inputs:
        image = image_of(value, k.layouts)
        assert image is not None
        planes = f.mul(k.sizes(value.shape[0]), image.blocks)
        start, stop = k.share.of(planes) if k.share else (constant(0, "i64"), planes)
        with f.loop(start, stop) as plane:
            sample = f.udiv(plane, image.blocks)
            block = f.add(f.sub(plane, f.mul(sample, image.blocks)), first)
            here = f.gep(k.inputs[value], f.mul(plane, image.plane))
            place = f.add(f.mul(sample, out.bytes), f.mul(block, out.plane))
            there = f.gep(k.outputs[node.output], place)
            if image.halo == out.halo:
                rows, size = 1, image.plane
            else:
                rows, size = image.height, image.width * image.pixel
                here, there = f.gep(here, image.origin), f.gep(there, out.origin)
            with f.loop(0, rows) as row:
                ends = f.gep(there, f.mul(row, out.pitch)), f.gep(here, f.mul(row, image.pitch))
                length = constant(size, "i64")
                f.intrinsic("memcpy", ["ptr", "ptr", "i64"], "void", *ends, length, "i1 false")
        first += image.blocks
    f.ret(constant(0, "i32"))
