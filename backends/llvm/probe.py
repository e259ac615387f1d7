"""What this machine does at best: multiply-add peak and read bandwidth per memory level.

Each figure comes from a small kernel run for a few milliseconds, several times, the best counted and rounded to two
digits, for `graphc doctor` and for tests of speed. Nothing that is compiled depends on it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from graphc.backends.llvm.emitter import Function, Module, Reg, constant, vector
from graphc.backends.llvm.target import Target, host

ACCUMULATORS = 12
REPEATS = 5
MILLISECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Peaks:
    """Measured limits: GFLOP/s of float32 multiply-adds, GB/s of reading."""

    flops: float
    flops_two_threads: float
    l1: float
    l2: float
    l3: float
    memory: float
    memory_two_threads: float


def emit_peak(module: Module, target: Target) -> Function:
    """`peak(out, n)`: n rounds of ACCUMULATORS independent multiply-adds, the sum stored to `out`."""
    type = vector("float", target.lanes("float"))
    f = module.function("peak", {"out": "ptr", "n": "i64"})
    factor = f.load(f.out, type)

    def body(_: Reg, acc: list[Reg]) -> list[Reg]:
        return [f.fma(a, factor, factor) for a in acc]

    starts = [f.fadd(factor, constant(float(i), type)) for i in range(ACCUMULATORS)]
    return _sum_up(f, f.fold(0, f.n, 1, starts, body))


def emit_read(module: Module, target: Target) -> Function:
    """`read(out, data, bytes, n)`: read the data n times, a multiple of 8 vectors, all of it added up."""
    type = vector("float", target.lanes("float"))
    width = target.vector_bits // 8
    f = module.function("read", {"out": "ptr", "data": "ptr", "bytes": "i64", "n": "i64"})

    def once(_: Reg, acc: list[Reg]) -> list[Reg]:
        def body(i: Reg, inner: list[Reg]) -> list[Reg]:
            here = f.gep(f.data, i)
            return [f.fadd(a, f.load(f.gep(here, v * width), type, width)) for v, a in enumerate(inner)]

        return f.fold(0, f.bytes, 8 * width, acc, body)

    return _sum_up(f, f.fold(0, f.n, 1, [constant(0, type)] * 8, once))


def _sum_up(f: Function, values: list[Reg]) -> Function:
    total = values[0]
    for value in values[1:]:
        total = f.fadd(total, value)
    f.store(total, f.out)
    f.ret()
    return f
