"""Random numbers: Threefry2x32 with 20 rounds of the element's position, as `graphc.ops.random` defines it.

Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.affine import ravel
from graphc.backends.llvm.anchor import Anchor, emit_anchor_kernel
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Reg, constant, lanes, like
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.kernel_function import Fault, KernelFunction
from graphc.errors import ArgumentShapeError, UnsupportedError
from graphc.ir.types import int64, uint32
from graphc.ops.random import PARITY, ROTATIONS

LENGTH = 2**32  # numbers in a stream


@dataclass(slots=True)
class Draw(Anchor):
    """The numbers of a stream, each from its own position."""

    def prepare(self) -> None:
        self.reads(self.node.inputs[0], ())
        self.forms.append(ravel(self.space.index(), self.node.output.shape))

    def compute(self, e: Evaluator) -> Sequence[Element]:
        f, (access,) = e.f, self.accesses
        seed = e.load(access.value, access.offset, ()).reg
        position = e.elements.convert(e.full(Element(e.index(self.forms[0]), int64)), uint32).reg
        count = lanes(position.type)
        key = [f.splat(f.trunc(word, "i32"), count) for word in (seed, f.lshr(seed, 32))]
        first, second = self._threefry(e, key, position)
        if self.node.op.name == "random_bits":
            return [Element(first, uint32)]
        if self.node.op.name != "uniform":
            raise UnsupportedError(f"no native code for {self.node.op.name}")
        dtype = self.node.output.dtype
        if dtype.itemsize == 4:
            # 24 bits are exact in float32, and positive as signed numbers, whose conversion is cheaper.
            return [Element(f.fmul(f.sitofp(f.lshr(first, 8), "float"), 2.0**-24), dtype)]
        high, low = (f.sitofp(f.lshr(word, n), "double") for word, n in ((first, 5), (second, 6)))
        return [Element(f.fmul(f.fadd(f.fmul(high, 2.0**26), low), 2.0**-53), dtype)]

    def _threefry(self, e: Evaluator, key: list[Reg], counter: Reg) -> tuple[Reg, Reg]:
        f = e.f
        schedule = [*key, f.xor(f.xor(key[0], key[1]), PARITY)]
        stream = constant(_signed(self.node.attributes["stream"]), counter.type)
        x0, x1 = f.add(counter, schedule[0]), f.add(stream, schedule[1])
        for group in range(5):
            for rotation in ROTATIONS[group % 2]:
                x0 = f.add(x0, x1)
                by = constant(rotation, like(x1.type, "i32"))
                x1 = f.xor(f.intrinsic("fshl", [x1.type], x1.type, x1, x1, by), x0)
            x0 = f.add(x0, schedule[(group + 1) % 3])
            x1 = f.add(f.add(x1, schedule[(group + 2) % 3]), group + 1)
        return x0, x1


def emit_random(k: KernelFunction) -> None:
    """Random numbers with their epilogue."""
    node = k.kernel.anchor
    assert node is not None
    size = node.output.type.size
    if not isinstance(size, int):
        k.faults.append(Fault(node, "a stream has 2**32 numbers, more were asked for", ArgumentShapeError))
        with k.f.if_(k.f.icmp("sgt", k.sizes(size), LENGTH)):
            k.f.ret(constant(len(k.faults), "i32"))
    emit_anchor_kernel(k, Draw)


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word
