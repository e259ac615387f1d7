"""The function of a kernel: its name, its parameters, and what every kernel kind needs to begin.

All kernels have one signature: pointers to the inputs in order, to the outputs in order, to working memory, then the
symbolic sizes. The result is 0 or the number of an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.llvm.emitter import Function, Module, Reg
from graphc.backends.llvm.evaluator import Sizes
from graphc.backends.llvm.target import Target
from graphc.ir.graph import Value
from graphc.ir.partition import Kernel


@dataclass(frozen=True, eq=False)
class KernelFunction:
    """A function under construction for a kernel."""

    f: Function
    target: Target
    kernel: Kernel
    sizes: Sizes
    inputs: dict[Value, Reg]
    outputs: dict[Value, Reg]

    def lanes(self, values: list[Value] | None = None) -> int:
        """Lanes of a vector such that the widest element fills a register, and none is narrower than 32 bits."""
        nodes = self.kernel.nodes
        chosen = values or [v for n in nodes for v in (*n.inputs, *n.outputs)]
        widest = max((v.dtype.itemsize for v in chosen if v.dtype.kind != "bool"), default=4)
        return self.target.vector_bits // (8 * max(widest, 4))


def begin(module: Module, target: Target, name: str, kernel: Kernel, symbols: tuple[str, ...]) -> KernelFunction:
    """Open the function of a kernel."""
    parameters = {f"in{i}": "ptr readonly" for i in range(len(kernel.inputs))}
    parameters |= {f"out{i}": "ptr" for i in range(len(kernel.outputs))}
    parameters |= {"scratch": "ptr"} | {f"size_{symbol}": "i64" for symbol in symbols}
    f = module.function(name, parameters, returns="i32", internal=True, inline=False)
    inputs = {v: f.parameters[f"in{i}"] for i, v in enumerate(kernel.inputs)}
    outputs = {v: f.parameters[f"out{i}"] for i, v in enumerate(kernel.outputs)}
    sizes = Sizes(f, {symbol: f.parameters[f"size_{symbol}"] for symbol in symbols})
    return KernelFunction(f, target, kernel, sizes, inputs, outputs)
