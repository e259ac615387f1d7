"""Joining many tensors: each is copied as a whole, by one function for all, so that code grows by a call for each."""

from __future__ import annotations

from graphc.backends.llvm.emitter import Module, constant
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.ir.dims import Dim, product

NAME = "graphc.copy_rows"


def emit_join(k: KernelFunction) -> None:
    """One concatenation: each operand is a part of every row of the result."""
    f = k.f
    (node,) = k.kernel.nodes
    axis, out = node.attributes["axis"], node.output
    rows = k.sizes(product(out.shape[:axis]))
    unit = product(out.shape[axis + 1 :]) * out.dtype.itemsize
    stride = k.sizes(out.shape[axis] * unit)
    copy = _copy_rows(k.module)
    offset: Dim = 0
    for value in node.inputs:
        size = value.shape[axis] * unit
        to = f.gep(k.outputs[out], k.sizes(offset))
        f.call(copy, "void", to, k.inputs[value], rows, stride, k.sizes(size))
        offset = offset + size
    f.ret(constant(0, "i32"))


def _copy_rows(module: Module) -> str:
    """`size` bytes for each row from one after the other to `stride` apart."""
    if NAME not in module.functions:
        parameters = {"to": "ptr", "origin": "ptr", "rows": "i64", "stride": "i64", "size": "i64"}
        f = module.function(NAME, parameters, internal=True, inline=False)
        with f.loop(0, f.rows) as row:
            there, here = f.gep(f.to, f.mul(row, f.stride)), f.gep(f.origin, f.mul(row, f.size))
            f.intrinsic("memcpy", ["ptr", "ptr", "i64"], "void", there, here, f.size, "i1 false")
        f.ret()
    return NAME
