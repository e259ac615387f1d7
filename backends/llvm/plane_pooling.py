"""The maximum of windows two columns wide, two apart, of plain NCHW images, when nobody asks where it stands.

Each vector of columns is read once and parted into the even and the odd ones, which are the taps of a row of the
window; a general load of every second element would read it twice.
"""

from __future__ import annotations

from graphc.backends.llvm.blocked_pooling import largest
from graphc.backends.llvm.elements import memory_type
from graphc.backends.llvm.emitter import Operand, Reg, constant, vector
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.packing import load_part
from graphc.ir.dims import product
from graphc.ir.graph import Node
from graphc.ir.types import is_static

MOST_ROWS = 4  # of a window
MOST_VECTORS = 4  # of a row that are written one after the other


def emit_plane_max_pool(k: KernelFunction) -> bool:
    """The body of a max_pool kernel; False when it is none of those."""
    node = k.kernel.anchor
    assert node is not None
    if not _fits(k, node):
        return False
    f, (x,), y = k.f, node.inputs, node.outputs[0]
    lanes = k.target.lanes(memory_type(x.dtype))
    type = vector(memory_type(x.dtype), lanes)
    height, width = x.shape[2:]
    rows, columns = y.shape[2:]
    assert isinstance(width, int) and isinstance(columns, int)
    item, down = x.dtype.itemsize, node.attributes["strides"][0]
    lines = product(y.shape[:3])
    ends: tuple[Operand, Operand] = 0, k.sizes(lines)
    if k.share:
        ends = k.share.of(k.sizes(lines))
        k.share.divided = lines
    with f.loop(*ends) as line:
        plane, row = f.udiv(line, rows), f.urem(line, rows)
        start = f.add(f.mul(plane, height), f.mul(row, down))
        here = f.gep(k.inputs[x], f.mul(start, width * item))
        there = f.gep(k.outputs[y], f.mul(line, columns * item))

        def piece(column: Reg, count: int) -> None:
            """`count` results from `column` on."""
            first = f.gep(here, f.mul(column, 2 * item))
            taps = []
            for tap in range(node.attributes["kernel"][0]):
                place = f.gep(first, tap * width * item)
                wanted = [min(max(2 * count - at, 0), lanes) for at in (0, lanes)]
                near = load_part(f, k.target, place, type, wanted[0])
                far = load_part(f, k.target, f.gep(place, lanes * item), type, wanted[1])
                taps += [f.shuffle(near, far, range(odd, 2 * lanes, 2)) for odd in range(2)]
            to = f.gep(there, f.mul(column, item))
            if count == lanes:
                f.store(largest(f, taps), to, item)
            else:
                f.masked_store(largest(f, taps), to, _first(count, lanes), item)

        whole = columns // lanes * lanes
        if whole > MOST_VECTORS * lanes:
            with f.loop(0, whole, lanes) as column:
                piece(column, lanes)
        else:
            for at in range(0, whole, lanes):
                piece(constant(at, "i64"), lanes)
        if columns > whole:
            piece(constant(whole, "i64"), columns - whole)
    f.ret(constant(0, "i32"))
    return True


def _fits(k: KernelFunction, node: Node) -> bool:
    """Whether the windows lie inside plain images, two columns from each other, and their maxima are all there is."""
    x, y = node.inputs[0], node.outputs[0]
    if node.op.name != "max_pool" or k.kernel.outputs != (y,) or x.type.rank != 4 or not x.dtype.is_float:
        return False
    a = node.attributes
    if x in k.layouts or y in k.layouts or x.dtype.itemsize < 4 or not k.target.masked_memory:
        return False
    if (
        not is_static(x.shape[1:])
        or a["kernel"][1] != 2
        or a["strides"][1] != 2
        or a["kernel"][0] > MOST_ROWS
    ):
        return False
    if set(a["dilation"]) != {1} or any(low for low, _ in a["padding"]):
        return False
    inside = zip(x.shape[2:], y.shape[2:], a["kernel"], a["strides"])
    return all((count - 1) * stride + taps <= size for size, count, taps, stride in inside)


def _first(count: int, lanes: int) -> Reg:
    return constant([lane < count for lane in range(lanes)], vector("i1", lanes))
