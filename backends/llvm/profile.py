"""What each kernel of a compiled plan takes: the same kernels, with a clock between them, run often.

The code with the clock is made here, from the plan of the plain code, and thrown away afterwards.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.backends.llvm.cache import Cache
from graphc.backends.llvm.call import bind
from graphc.backends.llvm.clock import COST_CALLS, emit_cost
from graphc.backends.llvm.executable import Executable
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.module import build_module
from graphc.backends.llvm.status import make_handle
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.team import allowed, process_team
from graphc.ir.partition import Kernel

MOST_RUNS, LEAST_RUNS = 10_000, 7


@dataclass(frozen=True, slots=True)
class Times:
    """Nanoseconds of each kernel in each run, without what reading the clock takes.

    kernels   in the order they ran in; None stands for copies at the end
    runs      [run, kernel]
    whole     of each run, all kernels together; marks between them slow a run down by some nanoseconds each
    """

    kernels: tuple[Kernel | None, ...]
    runs: NDArray[np.float64]
    whole: NDArray[np.float64]

    @property
    def medians(self) -> NDArray[np.float64]:
        return np.asarray(np.median(self.runs, axis=0))


def measure_kernels(
    native: Executable,
    arrays: Sequence[Any],
    *,
    threads: int = 1,
    seconds: float = 0.5,
    cache: Cache | None = None,
) -> Times:
    """Run a model for some time on these inputs, every kernel timed.

    A training step works on weights of its own; what it trains is left alone. Raises what a call of the model raises.
    """
    plain = native.module
    module = build_module(native.plan, plain.target, plain.signature.name, native.public, clocked=True)
    assert module.clock is not None
    code = load(
        emit_object(module.text, module.target, cache), [module.entry, module.clock.symbol], module.target
    )
    threads = allowed(threads)
    weights = native.weights()
    handle = make_handle(weights.ctypes.data, team=process_team() if threads > 1 else 0)
    context = ctypes.addressof(handle)
    run = bind(
        module.signature, code.address(module.entry), context, keep=(code, weights, handle), threads=threads,
        error=native.error,
    )  # fmt: skip
    marks = len(module.clock.kernels)
    memory: Any = (ctypes.c_int64 * marks).from_address(code.address(module.clock.symbol))
    taken = _run_often(run, arrays, np.frombuffer(memory, np.int64), seconds)
    differences = np.maximum(np.diff(taken, axis=1) - clock_cost(module.target), 0.0)
    return Times(tuple(module.clock.kernels[:-1]), differences, differences.sum(axis=1))


def _run_often(
    run: Callable[..., Any], arrays: Sequence[Any], marks: NDArray[np.int64], seconds: float
) -> NDArray[np.float64]:
    """The marks of every run, [run, mark], after some that warm up."""
    for _ in range(3):
        run(*arrays)
    found: list[NDArray[np.int64]] = []
    end = time.perf_counter() + seconds
    while len(found) < LEAST_RUNS or (len(found) < MOST_RUNS and time.perf_counter() < end):
        run(*arrays)
        found.append(marks.copy())
    return np.stack(found).astype(np.float64)


def clock_cost(target: Target) -> float:
    """Nanoseconds one reading of the clock takes here."""
    module = target.module()
    emit_cost(module)
    code: Code = load(emit_object(str(module), target), ["graphc_clock_cost"], target)
    cost = ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("graphc_clock_cost"))
    return float(min(cost() for _ in range(5)) / COST_CALLS)
