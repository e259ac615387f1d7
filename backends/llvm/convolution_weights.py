"""Weights of a convolution in the order its kernel reads them, packed while the model runs.

The order is that of `pack_weights`; here the source is what the training step updates. Lanes are gathered,
since the output channels that lie together in a panel lie far apart in the weights.
"""

from __future__ import annotations

from graphc.backends.llvm.convolution_plan import Convolution
from graphc.backends.llvm.correlation import WeightOrder
from graphc.backends.llvm.emitter import Function, Module, Reg, constant, vector
from graphc.backends.llvm.packing import tail_mask
from graphc.backends.llvm.tile import Tile


def emit_pack_weights(
    module: Module, name: str, spec: Convolution, tile: Tile, order: WeightOrder
) -> Function:
    """Add `name(w, packed)`. Groups are whole blocks of channels, or single channels (depthwise)."""
    if not (spec.dense or spec.depthwise):
        raise ValueError(f"no packing for the groups of {spec}")
    groups, block = spec.groups, spec.source.block
    inputs, outputs = spec.group_channels
    result = order.result
    if spec.depthwise:  # one group, whose results are the channels
        groups, inputs, outputs, result, block = 1, 1, spec.result.channels, order.group, 1
    rows, columns = spec.kernel
    panels, step, item = -(-outputs // tile.width), tile.width * tile.bytes, tile.bytes
    depth = inputs * rows * columns
    whole, rest = divmod(inputs, block)
    f = module.function(name, {"w": "ptr noalias readonly", "packed": "ptr noalias"})
    with f.loop(0, groups) as group, f.loop(0, panels) as panel:
        first = f.add(f.mul(group, order.group), f.mul(panel, tile.width * result))
        here = f.gep(f.w, f.mul(f.add(first, order.first), item))
        there = f.gep(f.packed, f.mul(f.add(f.mul(group, panels), panel), depth * step))
        left = f.sub(outputs, f.mul(panel, tile.width)) if outputs % tile.width else None

        def window(source: Reg, packed: Reg, count: int) -> None:
            """The weights of `count` operands."""
            with f.loop(0, rows) as p, f.loop(0, columns) as q, f.loop(0, count) as c:
                offset = f.add(f.add(f.mul(p, order.row), f.mul(q, order.column)), f.mul(c, order.operand))
                k = f.add(f.mul(f.add(f.mul(p, columns), q), count), c)
                target = f.gep(packed, f.mul(k, step))
                _lanes(f, tile, f.gep(source, f.mul(offset, item)), result, left, target)

        def from_block(index: Reg) -> tuple[Reg, Reg]:
            first = f.mul(index, block)
            return (
                f.gep(here, f.mul(first, order.operand * item)),
                f.gep(there, f.mul(first, rows * columns * step)),
            )

        if whole:
            with f.loop(0, whole) as index:
                window(*from_block(index), block)
        if rest:
            window(*from_block(constant(whole, "i64")), rest)
    f.ret()
    return f


def _lanes(f: Function, tile: Tile, source: Reg, stride: int, left: Reg | None, target: Reg) -> None:
    """One step of a panel: a weight for each lane, zeros where there is no output channel."""
    for v in range(tile.vectors):
        at = v * tile.lanes
        mask = None if left is None else tail_mask(f, f.sub(left, at), tile.lanes)
        where = f.gep(source, at * stride * tile.bytes)
        if stride == 1 and mask is None:
            loaded = f.load(where, tile.type, tile.bytes)
        elif stride == 1:
            assert mask is not None
            loaded = f.masked_load(where, tile.type, mask, tile.bytes)
        else:
            ramp = constant([n * stride * tile.bytes for n in range(tile.lanes)], vector("i64", tile.lanes))
            pointers = f.emit(f"getelementptr i8, {where}, {ramp}", vector("ptr", tile.lanes))
            every = mask or constant(1, vector("i1", tile.lanes))
            text = f"{pointers.type} align {tile.bytes} {pointers.name}"
            zero = constant(0, tile.type)
            loaded = f.intrinsic("masked.gather", [tile.type, pointers.type], tile.type, text, every, zero)
        f.store(loaded, f.gep(target, at * tile.bytes), tile.bytes)
