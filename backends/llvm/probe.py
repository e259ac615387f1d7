"""What this machine does at best: multiply-add peak and read bandwidth per memory level.

Each figure comes from a small kernel run for a few milliseconds, several times, the best counted and
rounded to two digits, for `graphc doctor` and for tests of speed. Nothing that is compiled depends on it.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphc.backends.llvm.emitter import Function, Module, Reg, constant, vector
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.target import Target, host

ACCUMULATORS = 12
STREAMS = 4
REPEATS = 5
SECONDS = 4e-3
SECONDS_TOGETHER = 40e-3  # with several threads, which do not start at the same moment


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
    """`read(out, data, bytes, n)`: read the data n times, all of it added up.

    The data is read in STREAMS parallel parts, as a core does best; `bytes` is a multiple of 2 * STREAMS
    vectors.
    """
    type = vector("float", target.lanes("float"))
    width = target.vector_bits // 8
    f = module.function("read", {"out": "ptr", "data": "ptr", "bytes": "i64", "n": "i64"})
    part = f.udiv(f.bytes, STREAMS)
    starts = [f.gep(f.data, f.mul(part, i)) for i in range(STREAMS)]

    def once(_: Reg, acc: list[Reg]) -> list[Reg]:
        def body(i: Reg, inner: list[Reg]) -> list[Reg]:
            places = [f.gep(start, f.add(i, v * width)) for start in starts for v in range(2)]
            return [f.fadd(a, f.load(place, type, width)) for place, a in zip(places, inner, strict=True)]

        return f.fold(0, part, 2 * width, acc, body)

    return _sum_up(f, f.fold(0, f.n, 1, [constant(0, type)] * (2 * STREAMS), once))


def _sum_up(f: Function, values: list[Reg]) -> Function:
    total = values[0]
    for value in values[1:]:
        total = f.fadd(total, value)
    f.store(total, f.out)
    f.ret()
    return f


def measure(target: Target | None = None) -> Peaks:
    """Run the kernels on this machine; about a second.

    The working sets are half of the first two cache levels, a quarter of the third, and four times the third.
    """
    target = target or host()
    module = target.module()
    emit_peak(module, target)
    emit_read(module, target)
    code = load(emit_object(str(module), target), ["peak", "read"], target)
    peak = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.address("peak"))
    read = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(
        code.address("read")
    )
    data = _zeros(max(4 * target.l3, 64 << 20))
    outputs = [_zeros(4096) for _ in range(2)]

    def flops(threads: int) -> float:
        each = 2.0 * ACCUMULATORS * target.lanes("float")
        return each * _best_rate([partial(peak, out.ctypes.data) for out in outputs[:threads]])

    def bandwidth(size: int, threads: int = 1) -> float:
        size -= size % (4096 * threads)
        share = size // threads
        return share * _best_rate(
            [
                partial(read, outputs[i].ctypes.data, data.ctypes.data + i * share, share)
                for i in range(threads)
            ]
        )

    return Peaks(
        flops=_rounded(flops(1)),
        flops_two_threads=_rounded(flops(2)),
        l1=_rounded(bandwidth(target.l1 // 2)),
        l2=_rounded(bandwidth(target.l2 // 2)),
        l3=_rounded(bandwidth(target.l3 // 4)),
        memory=_rounded(bandwidth(data.nbytes)),
        memory_two_threads=_rounded(bandwidth(data.nbytes, 2)),
    )


def _best_rate(runs: Sequence[Callable[[int], None]]) -> float:
    """Rounds a second of all runs together, each in a thread of its own, at the best of several tries."""
    count, best = 1, 0.0
    least = SECONDS if len(runs) == 1 else SECONDS_TOGETHER
    for _ in range(REPEATS):
        while (seconds := _timed(runs, count)) < least:
            count = max(2 * count, int(count * 1.2 * least / max(seconds, 1e-9)))
        best = max(best, len(runs) * count / seconds)
    return best


def _timed(runs: Sequence[Callable[[int], None]], count: int) -> float:
    """Seconds until all runs are done, from the moment all threads stand ready."""
    if len(runs) == 1:
        start = time.perf_counter()
        runs[0](count)
        return time.perf_counter() - start
    ready = threading.Barrier(len(runs) + 1)

    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def one(number: int, run: Callable[[int], None]) -> None:
        if allowed:  # this thread alone, which ends here
            os.sched_setaffinity(0, [allowed[number % len(allowed)]])
        ready.wait()
        run(count)

    threads = [threading.Thread(target=one, args=(number, run)) for number, run in enumerate(runs)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _zeros(size: int) -> Any:
    """Bytes at a page's start, every page touched."""
    raw = np.empty(size + 4096, np.uint8)
    array = raw[-raw.ctypes.data % 4096 :][:size]
    array[...] = 0
    return array


def _rounded(rate: float) -> float:
    """Billions a second, to two digits."""
    return float(f"{rate / 1e9:.2g}")
