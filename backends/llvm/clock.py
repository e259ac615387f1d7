"""A clock between the kernels of a model: code for measuring only, which plain code has none of.

Before each kernel, when all members of the team stand there, the first of them writes down the time in nanoseconds.
The difference of neighbours is what a kernel took, the wait for the slowest member included.
"""

from __future__ import annotations

from graphc.backends.llvm.emitter import Function, Module, Reg, constant
from graphc.ir.partition import Kernel

MONOTONIC = 1  # of clock_gettime
COST_CALLS = 1000


class Clock:
    """The marks of a module under construction.

    kernels   whose beginning each mark is; the last mark, None, is the end, or the beginning of the copies before it
    symbol    the memory of the marks, in nanoseconds
    """

    def __init__(self, module: Module, name: str) -> None:
        self.module, self.symbol = module, f"{name}_marks"
        self.kernels: list[Kernel | None] = []

    def mark(self, f: Function, kernel: Kernel | None) -> None:
        """Write down the time; `f.part`, where there is one, is 0."""
        place = f.gep(Reg(f"@{self.symbol}", "ptr"), 8 * len(self.kernels))
        f.store(f.call(emit_now(self.module), "i64"), place)
        self.kernels.append(kernel)

    def finish(self) -> None:
        """Give the marks their memory."""
        self.module.memory(self.symbol, 8 * len(self.kernels))


def emit_now(module: Module) -> str:
    """The function `now()`: nanoseconds of the monotonic clock."""
    name = "graphc.now"
    if name not in module.functions:
        f = module.function(name, {}, returns="i64", internal=True, inline=False)
        time = f.alloca("i64", 2)
        f.call("clock_gettime", "i32", constant(MONOTONIC, "i32"), time)
        seconds, rest = f.load(time, "i64"), f.load(f.gep(time, 8), "i64")
        f.ret(f.add(f.mul(seconds, 1_000_000_000), rest))
    return name


def emit_cost(module: Module) -> None:
    """`graphc_clock_cost()`: nanoseconds that COST_CALLS readings take."""
    f = module.function("graphc_clock_cost", {}, returns="i64")
    first = f.call(emit_now(module), "i64")
    with f.loop(0, COST_CALLS):
        f.call(emit_now(module), "i64")
    f.ret(f.sub(f.call(emit_now(module), "i64"), first))
