"""Matrix products: from a kernel of the graph to `gemm.py` and its epilogue.

Constant weights are packed in panels when the model is compiled (or as what `strassen.py` reads, where that pays),
other operands into working memory when it runs, or read where they lie. The epilogue runs on the accumulators before
they are stored; one that takes many instructions runs over the finished product instead, since code for every register
of a tile would not pay. A product whose columns are counted at run time only is computed element by element.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.backends.llvm.affine import Ranges, ravel
from graphc.backends.llvm.anchor import Finished, emit_anchor_kernel, emit_elements, place_of_result
from graphc.backends.llvm.blocking import Blocking, Gemm, blocking, panels
from graphc.backends.llvm.elements import Element, memory_type
from graphc.backends.llvm.emitter import Function, Module, Reg, constant
from graphc.backends.llvm.epilogue import is_short
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.gemm import emit_gemm
from graphc.backends.llvm.index_maps import reshape_index
from graphc.backends.llvm.kernel_function import KernelFunction, Packing, packable
from graphc.backends.llvm.loop_kernel import plain
from graphc.backends.llvm.packing import emit_pack_b, pack_b, pack_stored, packed_bytes
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.program import Load, Space, trace
from graphc.backends.llvm.sharing import EVEN, unevenness
from graphc.backends.llvm.storage import flattened_order
from graphc.backends.llvm.stored import stored_as
from graphc.backends.llvm.strassen import emit_halves, emit_sums
from graphc.backends.llvm.strassen_plan import Halves, halves, pack_halves
from graphc.backends.llvm.sum_of_products import SumOfProducts
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Epilogue, Site
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.plan.layout import Flattened, Layout

LINE = 64


@dataclass(frozen=True, slots=True)
class Product:
    """How a matmul node runs on the GEMM kernel.

    batch, rows      number of products, and rows of each
    strides          elements from one product to the next, of x, w and the result
    pack             how w gets into panels: "fixed" (when compiled), "run" (into working memory), "" (read in place)
    target_value     the output the kernel accumulates into
    inline           whether the epilogue runs on the accumulators
    halves           how it runs as seven products of half the size, None if it does not
    """

    node: Node
    spec: Gemm
    cut: Blocking
    batch: Dim
    rows: Dim
    depth: Dim
    strides: tuple[Dim, Dim, Dim]
    pack: str
    target_value: Value
    inline: bool
    halves: Halves | None = None

    @property
    def transposed(self) -> bool:
        return bool(self.node.attributes["transpose_w"])

    @property
    def packed_bytes(self) -> Dim:
        """Working memory for w in panels."""
        width = self.cut.tile.width
        return self.depth * (panels(self.spec.n, self.cut.tile) * width * self.spec.bytes)

    @property
    def own_scratch(self) -> int:
        if self.halves is not None:
            return self.halves.own_bytes
        return -(-self.cut.scratch // LINE) * LINE


def plan_product(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Product | None:
    """How the kernel's product runs, None when it is better computed element by element."""
    node = kernel.anchor
    assert node is not None
    x, w = node.inputs
    transpose_x, transpose_w = (node.attributes[f"transpose_{o}"] for o in "xw")
    y = node.output
    *lead, m, n = y.shape
    k = x.shape[-2 if transpose_x else -1]
    shared = w.type.rank == 2
    batch, rows = product(lead), m
    if shared and not transpose_x:
        batch, rows = 1, batch * m
    main = place_of_result(kernel)
    own_row, own_step = (1, m) if transpose_x else (k, 1)
    if main is None or not isinstance(n, int) or 0 in (n, k, product(y.shape)):
        return None
    if n == 1 and len(kernel.outputs) > 1:
        return None  # a vector of one column cannot be stored by the epilogue
    if not isinstance(own_row, int) or not isinstance(own_step, int):
        return None
    if transpose_w and not isinstance(k, int):
        return None
    static_rows = rows if isinstance(rows, int) else None
    static_depth = k if isinstance(k, int) else None
    element = memory_type(y.dtype)
    a_strides = (own_row, own_step) if transpose_x or static_depth is None else None
    spec = Gemm(n, static_depth, static_rows, element, a_strides)
    if packable(kernel, w, fixed) and shared:
        pack = "fixed"
    elif not transpose_w and static_rows is not None and static_rows <= _most_rows(n, spec.bytes):
        pack, spec = "", Gemm(n, static_depth, static_rows, element, a_strides, b_stride=n)
    else:
        pack = "run"
    cut = blocking(spec, target)
    strides = (product(x.shape[-2:]), 0 if shared else product(w.shape[-2:]), product(y.shape[-2:]))
    half = halves(spec, target) if pack == "fixed" and batch == 1 else None
    return Product(node, spec, cut, batch, rows, k, strides, pack, main, is_short(kernel), half)


def _most_rows(n: int, size: int) -> int:
    """Rows up to which reading w in place costs less than packing it first; less where its rows share cache sets."""
    return 64 if n * size % 2048 == 0 else 256


def scratch_bytes(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Dim:
    """Working memory of a matrix product."""
    plan = plan_product(kernel, target, fixed)
    if plan is None:
        return 0
    return scratch_of(plan)


def scratch_of(plan: Product) -> Dim:
    """Working memory of a product: the copy of A, then the panels of B; or a member's tiles, then the sums of A."""
    if plan.halves is not None:
        return plan.own_scratch + plan.halves.sums_bytes
    return plan.own_scratch + (plan.packed_bytes if plan.pack == "run" else 0)


def emit_contraction(k: KernelFunction) -> None:
    """A matrix product with its epilogue."""
    plan = plan_product(k.kernel, k.target, k.fixed)
    if plan is None:
        emit_anchor_kernel(k, SumOfProducts)
        return
    if plan.pack == "fixed" and plan.spec.element == "float":
        plan = replace(plan, spec=replace(plan.spec, stored=stored_as(k.weights, k.target)))
    if plan.halves is not None and plan.spec.stored is None:
        _emit_halves(k, plan, plan.halves)
    else:
        _emit_product(k, replace(plan, halves=None))
    k.f.ret(constant(0, "i32"))


def _emit_product(k: KernelFunction, plan: Product) -> None:
    f, spec, cut = k.f, plan.spec, plan.cut
    x, w = plan.node.inputs
    tail = _Tail(k, plan) if plan.inline and k.kernel.epilogue else None
    operands = dict(tail.operands) if tail else {}
    epilogue: Epilogue | None = tail.emit if tail else None
    if spec.stored is not None and spec.stored.scaled:
        operands["scales"] = "ptr readonly"
        epilogue = _scaled(epilogue)
    kernel = emit_gemm(k.module, f"{f.name}.gemm", spec, k.target, epilogue, operands, cut)
    kernel.internal, kernel.inline = True, False
    count = panels(spec.n, cut.tile)
    zero, every = constant(0, "i64"), constant(count, "i64")
    if plan.pack == "fixed":
        k.packed[w] = _packing(plan, k.layouts.get(x))
    depth, rows = k.sizes(plan.depth), k.sizes(plan.rows)
    blocks = (
        f.sdiv(f.add(rows, cut.block - 1), cut.block)
        if spec.m is None
        else constant(cut.blocks(spec.m), "i64")
    )
    strides = [k.sizes(s * spec.bytes) for s in plan.strides]
    packer, room = "", f.gep(f.scratch, plan.own_scratch)
    if plan.pack == "run":
        packer = _packer(k.module, f"{f.name}.pack", k.target, plan)
    by = _divided(plan) if k.share else ""
    own, products = f.scratch, (constant(0, "i64"), k.sizes(plan.batch))
    row_ends, ends = (zero, blocks), (zero, every)
    if k.share:
        k.share.own_bytes = scratch_of(plan) if by == "batch" else plan.own_scratch
        own = k.share.own(f.scratch)
        if by == "batch":
            products, room = k.share.of(products[1]), f.gep(own, plan.own_scratch)
        elif by == "panels":
            # Whoever computes panels packs them.
            ends = k.share.of(every)
        else:
            row_ends = k.share.of(blocks)
    once = plan.strides[1] == 0
    if packer and once:
        if k.share and by == "rows":
            f.call(packer, "void", k.inputs[w], room, depth, *k.share.of(every))
            k.share.barrier()
        else:
            f.call(packer, "void", k.inputs[w], room, depth, *ends)
    with f.loop(plain(products[0]), plain(products[1])) as index:
        a, b, c = (
            base if plan.batch == 1 else f.gep(base, f.mul(index, stride))
            for base, stride in zip((k.inputs[x], k.inputs[w], k.outputs[plan.target_value]), strides)
        )
        if packer and not once:
            f.call(packer, "void", b, room, depth, *ends)
        b = room if packer else b
        extra = tail.arguments(index) if tail else []
        if "scales" in operands:
            extra.append(_scales(f, plan, k.inputs[w]))
        f.call(kernel.name, "void", a, b, c, own, rows, depth, *row_ends, *ends, *extra)
    if not plan.inline:
        if k.share:
            k.share.barrier()
        emit_elements(k, Finished, {plan.node.output: k.outputs[plan.target_value]})


def _emit_halves(k: KernelFunction, plan: Product, cut: Halves) -> None:
    f, (x, w) = k.f, plan.node.inputs
    tail = _Tail(k, plan) if plan.inline and k.kernel.epilogue else None
    operands, epilogue = (dict(tail.operands), tail.emit) if tail else ({}, None)
    sums = emit_sums(k.module, f"{f.name}.sums", cut, k.target)
    product = emit_halves(k.module, f"{f.name}.halves", cut, epilogue, operands)
    for each in (sums, product):
        each.internal, each.inline = True, False
    k.packed[w] = _halves_packing(plan, cut, k.layouts.get(x))
    zero, room, own = constant(0, "i64"), f.gep(f.scratch, plan.own_scratch), f.scratch
    every, panel_ends = (zero, constant(cut.tiles, "i64")), (zero, constant(cut.panels, "i64"))
    mine = every
    if k.share:
        k.share.own_bytes, own = plan.own_scratch, k.share.own(f.scratch)
        mine, panel_ends = k.share.of(every[1]), k.share.of(panel_ends[1])
    unfit = f.load(f.gep(k.inputs[w], cut.panels * cut.panel_bytes), "i64")
    f.call(sums.name, "void", k.inputs[x], room, unfit, *mine)
    if k.share:
        k.share.barrier()
    extra = tail.arguments(zero) if tail else []
    c = k.outputs[plan.target_value]
    f.call(product.name, "void", room, k.inputs[w], c, own, *every, *panel_ends, *extra)
    if not plan.inline:
        if k.share:
            k.share.barrier()
        emit_elements(k, Finished, {plan.node.output: c})


def _halves_packing(plan: Product, cut: Halves, layout: Layout | None) -> Packing:
    """Constant weights as the right operands of the seven products."""
    transposed = plan.transposed
    order = flattened_order(layout) if isinstance(layout, Flattened) else None

    def apply(array: Any) -> Any:
        array = np.swapaxes(array, -1, -2) if transposed else array
        return pack_halves(array if order is None else array[order], cut)

    key = f"halves in panels of {cut.tile.width}{' of the transpose' * transposed}"
    return Packing(key if order is None else f"{key}, rows for {layout!r}", cut.packed_bytes, apply)


def _divided(plan: Product) -> str:
    """Whether members of a team divide the products, the rows or the panels of each."""
    if plan.batch != 1 and (not isinstance(plan.batch, int) or plan.batch >= EVEN // 2):
        if not (plan.pack == "run" and plan.strides[1] == 0):
            return "batch"
    if plan.pack == "run" and plan.strides[1] != 0:
        return "panels"
    count = panels(plan.spec.n, plan.cut.tile)
    if plan.spec.m is None:
        return "panels" if count >= EVEN // 2 else "rows"
    return "panels" if unevenness(count) <= unevenness(plan.cut.blocks(plan.spec.m)) else "rows"


def _packing(plan: Product, layout: Layout | None) -> Packing:
    """Constant weights as panels, their rows in the order in which x lies."""
    spec, width, transposed = plan.spec, plan.cut.tile.width, plan.transposed
    assert spec.k is not None

    order = flattened_order(layout) if isinstance(layout, Flattened) else None

    def apply(array: Any) -> Any:
        array = np.swapaxes(array, -1, -2) if transposed else array
        array = array if order is None else array[order]
        return pack_b(array, width) if spec.stored is None else pack_stored(array, width, spec.stored)

    def emit(k: KernelFunction, source: Reg, destination: Reg) -> None:
        packer = _packer(k.module, f"{k.f.name}.{plan.node.name}.pack", k.target, plan)
        every, depth = constant(panels(spec.n, plan.cut.tile), "i64"), k.sizes(plan.depth)
        ends = k.share.of(every) if k.share else (constant(0, "i64"), every)
        k.f.call(packer, "void", source, destination, depth, *ends)

    size = packed_bytes(spec.k, spec.n, width, spec.element)
    key = f"panels of {width}{' of the transpose' * transposed}"
    if spec.stored is not None:
        size, key = spec.stored.packed_bytes(spec.k, spec.n, width), f"{spec.stored.word} {key}"
    return Packing(key if order is None else f"{key}, rows for {layout!r}", size, apply, emit)


def _packer(module: Module, name: str, target: Target, plan: Product) -> str:
    """A function that puts w into panels at run time."""
    spec = plan.spec
    stride = plan.depth if plan.transposed else spec.n
    assert isinstance(stride, int) and spec.stored is None
    pack = emit_pack_b(module, name, target, plan.cut.tile, spec.n, spec.k, stride, plan.transposed)
    pack.internal, pack.inline = True, False
    return pack.name


def _scales(f: Function, plan: Product, w: Reg) -> Reg:
    """Where the scales of the columns lie: behind the panels."""
    spec = plan.spec
    assert spec.stored is not None and spec.k is not None
    return f.gep(w, spec.stored.panels_bytes(spec.k, spec.n, plan.cut.tile.width))


def _scaled(rest: Epilogue | None) -> Epilogue:
    """An epilogue that multiplies each column by its scale first."""

    def epilogue(b: Function, accumulators: Reg, site: Site) -> Reg:
        scaled = b.fmul(accumulators, site.per_column(b.scales))
        return scaled if rest is None else rest(b, scaled, site)

    return epilogue


class _Tail:
    """The epilogue of a product, for one vector of accumulators at a time."""

    def __init__(self, k: KernelFunction, plan: Product) -> None:
        self.k, self.plan, kernel = k, plan, k.kernel
        result = plan.node.output
        shape = (plan.batch, plan.rows, plan.spec.n)
        space = Space(shape)
        ranges = Ranges(space.extents, may_split=False)

        def index(value: Value) -> tuple:
            return reshape_index(space.index(), shape, value.shape, ranges)

        roots = [(v, index(v)) for v in kernel.outputs]
        self.program = trace(kernel.nodes, roots, ranges, {result: index(result)})
        self.stores = [ravel(i, v.shape) for v, i in roots]
        # A loop of one iteration has no variable.
        numbers = iter(space.variables())
        self.variables = [next(numbers) if size != 1 else None for size in shape]
        read = {e.value for e in self.program.expressions if isinstance(e, Load)}
        self.reads = [v for v in kernel.inputs if v in read]
        self.writes = [v for v in kernel.outputs if v is not plan.target_value]
        self.operands = {f"read{i}": "ptr readonly" for i in range(len(self.reads))}
        self.operands |= {f"write{i}": "ptr" for i in range(len(self.writes))}
        self.operands |= {f"size_{s}": "i64" for s in k.sizes.symbols} | {"batch": "i64"}

    def arguments(self, batch: Reg) -> list[Reg]:
        """What the kernel is called with, for `operands`."""
        pointers = [self.k.inputs[v] for v in self.reads] + [self.k.outputs[v] for v in self.writes]
        return [*pointers, *self.k.sizes.symbols.values(), batch]

    def emit(self, b: Function, accumulators: Reg, site: Site) -> Reg:
        """The vector to store in place of the accumulators."""
        plan, kernel = self.plan, self.k.kernel
        sizes = Sizes(b, {s: b.parameters[f"size_{s}"] for s in self.k.sizes.symbols})
        pointers = {v: b.parameters[f"read{i}"] for i, v in enumerate(self.reads)}
        e = Evaluator(b, self.program, sizes, pointers)
        batch, row, column = self.variables
        values = zip((batch, row, column), (b.parameters["batch"], site.row, site.column))
        count = site.tile.lanes if site.tile.lanes > 1 else 0
        bound = {v: reg for v, reg in values if v is not None}
        # Without a variable there is one column only, which the first lane holds.
        with e.scope(bound), e.vector(column, count, site.mask):
            e.holes[plan.node.output] = Element(accumulators, plan.node.output.dtype)
            found = accumulators
            elements = e.compute(self.program.results)
            for value, element, offset in zip(kernel.outputs, elements, self.stores):
                if value is plan.target_value:
                    found = e.full(element).reg
                else:
                    e.store(element, value, offset, b.parameters[f"write{self.writes.index(value)}"])
        return found
