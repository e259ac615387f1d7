"""Packed operands: B as panels `[N/NR][K][NR]`, the order in which the tiles read it.

`pack_b` packs weights known at compile time with NumPy; `emit_pack_b` adds a function that packs at run time, from B
or from its transpose. The last panel is filled up with zeros, so tiles load whole vectors everywhere.
"""

from typing import Any

import numpy as np
from graphc.backends.llvm.emitter import BITS, Function, Reg, constant, vector
from graphc.backends.llvm.target import Target


def pack_b(b: Any, width: int) -> Any:
    """B of shape (..., K, N) as a contiguous array (..., ceil(N/width), K, width), zeros beyond N.

    >>> pack_b(np.arange(6.0).reshape(2, 3), 2).tolist()
    [[[0.0, 1.0], [3.0, 4.0]], [[2.0, 0.0], [5.0, 0.0]]]
    """
    *batch, k, n = b.shape
    count = -(-n // width)
    padded = np.zeros((*batch, k, count * width), b.dtype)
    padded[..., :n] = b
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*batch, k, count, width), -2, -3))


def packed_bytes(k: int, n: int, width: int, element: str) -> int:
    """Bytes of the packed B."""
    return -(-n // width) * width * k * BITS[element] // 8


def tail_mask(f: Function, left: Reg, lanes: int) -> Reg:
    """The first `left` (i64) of `lanes` lanes."""
    every = constant(list(range(lanes)), vector("i64", lanes))
    return f.icmp("slt", every, f.splat(left, lanes))


def copy_rows(
    f: Function,
    target: Target,
    element: str,
    source: Reg,
    source_stride: int,
    destination: Reg,
    stride: int,
    rows: Reg,
    length: Reg,
) -> None:
    """Copy `rows` runs of `length` elements; strides in bytes."""
    lanes, size = target.lanes(element), BITS[element] // 8
    type = vector(element, lanes)
    whole = f.and_(length, -lanes)
    with f.loop(0, rows) as row:
        here = f.gep(source, f.mul(row, source_stride))
        there = f.gep(destination, f.mul(row, stride))
        with f.loop(0, whole, lanes) as i:
            at = f.mul(i, size)
            f.store(f.load(f.gep(here, at), type), f.gep(there, at))
        at = f.mul(whole, size)
        if target.masked_memory:
            with f.if_(f.icmp("slt", whole, length)):
                mask = tail_mask(f, f.sub(length, whole), lanes)
                f.masked_store(f.masked_load(f.gep(here, at), type, mask), f.gep(there, at), mask)
        else:
            with f.loop(whole, length) as i:
                at = f.mul(i, size)
                f.store(f.load(f.gep(here, at), element), f.gep(there, at))
