"""The function of a kernel: its name, its parameters, and what every kernel kind needs to begin.

All kernels have one signature: pointers to the inputs in order, to the outputs in order, to working memory, then the
symbolic sizes, for gates whether the step of a loop is an odd one, and for kernels that threads share what `sharing.py`
says. The result is 0, or k when the k-th of the
kernel's faults happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.backends.llvm.affine import Form, Index, Ranges
from graphc.backends.llvm.emitter import Function, Module, Reg
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.program import Root, Space
from graphc.backends.llvm.sharing import PARAMETERS, Share
from graphc.backends.llvm.storage import place
from graphc.backends.llvm.target import Target
from graphc.errors import GraphcError
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.plan.layout import Layouts


@dataclass(frozen=True)
class Packing:
    """Another layout of a constant operand, made once when the model is compiled.

    key     says which layout, equal for equal layouts
    nbytes  bytes in that layout
    apply   the array in that layout
    emit    (kernel under construction, source, destination) -> code that makes it at run time; each member of a team
            makes its part
    """

    key: str
    nbytes: int
    apply: Callable[[Any], Any] = field(compare=False)
    emit: Callable[[KernelFunction, Reg, Reg], None] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """What a status other than 0 means."""

    node: Node
    message: str
    kind: type[GraphcError]


@dataclass(frozen=True, eq=False)
class KernelFunction:
    """A function under construction for a kernel.

    fixed    inputs whose arrays are known when the model is compiled and never change
    packed   those of them the function wants in another layout
    layouts  how inputs and outputs lie that are not row-major
    share    the part of the kernel that a call computes; None when every call computes all
    weights  how weights of matrix products are stored: fp32, fp16 or int8
    """

    f: Function
    target: Target
    kernel: Kernel
    sizes: Sizes
    inputs: dict[Value, Reg]
    outputs: dict[Value, Reg]
    fixed: frozenset[Value]
    layouts: Layouts = field(default_factory=dict)
    packed: dict[Value, Packing] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    share: Share | None = None
    weights: str = "fp32"

    @property
    def module(self) -> Module:
        return self.f.module

    def place(self, value: Value, index: Index, ranges: Ranges) -> Form:
        """The number of the element of a value at an index, in its memory."""
        return place(value, index, ranges, self.layouts)

    def places(self, roots: Sequence[Root], space: Space) -> list[Form]:
        """`place` for values at indices, in the loops a kernel has settled on."""
        ranges = Ranges(space.extents, may_split=False)
        return [self.place(value, index, ranges) for value, index in roots]

    def lanes(self, values: Sequence[Value] = ()) -> int:
        """Lanes of a vector such that the widest element fills a register, and none is narrower than 32 bits."""
        nodes = self.kernel.nodes
        chosen = values or [v for n in nodes for v in (*n.inputs, *n.outputs)]
        widest = max((v.dtype.itemsize for v in chosen if v.dtype.kind != "bool"), default=4)
        return self.target.vector_bits // (8 * max(widest, 4))


def packable(kernel: Kernel, w: Value, fixed: frozenset[Value]) -> bool:
    """Whether an operand may lie in another layout: its array is known, and the kernel reads it at this one place."""
    return w in fixed and sum(node.inputs.count(w) for node in kernel.nodes) == 1


def begin(
    module: Module,
    target: Target,
    name: str,
    kernel: Kernel,
    symbols: Sequence[str],
    fixed: frozenset[Value] = frozenset(),
    layouts: Layouts | None = None,
    shared: bool = False,
    weights: str = "fp32",
) -> KernelFunction:
    """Open the function of a kernel."""
    parameters = {f"in{i}": "ptr readonly" for i in range(len(kernel.inputs))}
    parameters |= {f"out{i}": "ptr" for i in range(len(kernel.outputs))}
    parameters |= {"scratch": "ptr"} | {f"size_{symbol}": "i64" for symbol in symbols}
    parameters |= {"turn": "i64"} if kernel.kind == "gates" else {}
    parameters |= PARAMETERS if shared else {}
    f = module.function(name, parameters, returns="i32", internal=True, inline=False)
    inputs = {v: f.parameters[f"in{i}"] for i, v in enumerate(kernel.inputs)}
    outputs = {v: f.parameters[f"out{i}"] for i, v in enumerate(kernel.outputs)}
    sizes = Sizes(f, {symbol: f.parameters[f"size_{symbol}"] for symbol in symbols})
    share = Share(f) if shared else None
    known = fixed & set(kernel.inputs)
    return KernelFunction(
        f, target, kernel, sizes, inputs, outputs, known, dict(layouts or {}), share=share, weights=weights
    )
