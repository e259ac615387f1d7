"""Products of many small matrices: loops around a GEMM kernel.

The batch is an index range over any number of dimensions, each operand with its own stride along each (0 to
repeat a matrix), so heads of attention and broadcast batches need no copies. B made at run time is packed
just before it is used, while it is near.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.backends.llvm.blocking import Blocking, Gemm, panels
from graphc.backends.llvm.emitter import Function, Module, Reg, constant


@dataclass(frozen=True, slots=True)
class Batch:
    """Dimensions of a batch, outermost first, and the operands' strides along them in elements.

    inner: extents of all dimensions but the first, whose extent is the run-time index range. A stride is
    constant. operands: strides of the epilogue's operands; those not named stay where they are.
    """

    inner: tuple[int, ...]
    a: tuple[int, ...]
    b: tuple[int, ...]
    c: tuple[int, ...]
    operands: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rank = len(self.inner) + 1
        for name, strides in {"a": self.a, "b": self.b, "c": self.c, **self.operands}.items():
            if len(strides) != rank:
                raise ValueError(f"{len(strides)} strides of {name} for a batch of {rank} dimensions")


def emit_batched(
    module: Module,
    name: str,
    kernel: Function,
    spec: Gemm,
    cut: Blocking,
    batch: Batch,
    operands: Mapping[str, str] | None = None,
    pack: Function | None = None,
) -> Function:
    """Add `name(a, b, c, scratch, packed, m, k, batch0, batch1, *operands)`: the products of a range of the
    batch.

    kernel: from `emit_gemm` with `spec` and `cut`. pack: from `emit_pack_b`, when `b` is not packed yet;
    each matrix then goes through the memory `packed`. The range counts over all dimensions together.
    """
    extra = dict(operands or {})
    inputs = {"a": "ptr noalias readonly", "b": "ptr noalias readonly"}
    outputs = {"c": "ptr noalias", "scratch": "ptr noalias", "packed": "ptr noalias"}
    extents = dict.fromkeys(("m", "k", "batch0", "batch1"), "i64")
    f = module.function(name, inputs | outputs | extents | extra)
    blocks = f.sdiv(f.add(f.m, cut.block - 1), cut.block)
    count, zero = constant(panels(spec.n, cut.tile), "i64"), constant(0, "i64")
    with f.loop(f.batch0, f.batch1) as index:
        place = _coordinates(f, index, batch.inner)

        def at(base: Reg, strides: tuple[int, ...]) -> Reg:
            offset = zero
            for coordinate, stride in zip(place, strides, strict=True):
                if stride:
                    offset = f.add(offset, f.mul(coordinate, stride * spec.bytes))
            return base if offset is zero else f.gep(base, offset)

        b = at(f.b, batch.b)
        if pack is not None:
            f.call(pack.name, "void", b, f.packed, f.k, zero, count)
            b = f.packed
        epilogue = [at(f.parameters[key], batch.operands.get(key, (0,) * len(place))) for key in extra]
        a, c = at(f.a, batch.a), at(f.c, batch.c)
        f.call(kernel.name, "void", a, b, c, f.scratch, f.m, f.k, zero, blocks, zero, count, *epilogue)
    f.ret()
    return f


def _coordinates(f: Function, index: Reg, inner: tuple[int, ...]) -> list[Reg]:
    """The coordinates of a flat index, outermost first."""
    found = []
    for extent in reversed(inner):
        found.append(f.urem(index, extent))
        index = f.udiv(index, extent)
    return [index, *reversed(found)]
