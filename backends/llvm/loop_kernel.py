"""Loop kernels: elementwise ops, movement and creation over the index space of the outputs.

The loops are the axes of the outputs, fused where every access allows it, and the innermost one runs in vectors. The
end of a row is one more vector with some lanes off, or single elements where the machine has no masked memory; either
way every element sees the same instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from graphc.backends.llvm.affine import Form, Ranges
from graphc.backends.llvm.channel_loops import ChannelLoops
from graphc.backends.llvm.emitter import Operand, Reg, constant
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import Condition, reshape_index
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.memory import present
from graphc.backends.llvm.program import (
    Choose,
    Expression,
    Hole,
    Load,
    Position,
    Program,
    Root,
    Space,
    trace_in,
)
from graphc.backends.llvm.sharing import Share, outermost
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim


def emit_loop_kernel(k: KernelFunction) -> None:
    """The body of a loop kernel's function."""
    kernel, f = k.kernel, k.f
    shape = kernel.outputs[0].shape
    for output in kernel.outputs:
        if output.type.size != kernel.outputs[0].type.size:
            raise UnsupportedError(f"{kernel!r}: outputs of different sizes")
    space = Space(shape)

    def roots(ranges: Ranges) -> list[Root]:
        return [(v, reshape_index(space.index(), shape, v.shape, ranges)) for v in kernel.outputs]

    channels = ChannelLoops.of(space, (*kernel.outputs, *kernel.inputs), k.layouts)
    program, chosen = trace_in(space, kernel.nodes, roots, lambda ranges: {}, k.layouts)
    stores = k.places(chosen, space)
    order = channels.order(space.variables()) if channels else space.variables()
    program, stores, loops = fuse_loops(program, stores, order, channels.apart if channels else ())
    evaluator = Evaluator(f, program, k.sizes, k.inputs)

    def body() -> None:
        elements = evaluator.compute(program.results)
        for element, value, offset in zip(elements, kernel.outputs, stores, strict=True):
            evaluator.store(element, value, offset, k.outputs[value])

    extents = [program.ranges.extents[v] for v in loops]
    if 0 not in extents:
        run = channels.within(evaluator, body) if channels else body
        parts = [Part(0, None, True, run)]
        nest(evaluator, loops, program.results, k.lanes(), k.target.masked_memory, parts, k.share)
    f.ret(constant(0, "i32"))


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the innermost loop with a body of its own; `stop` None for its end."""

    start: int
    stop: int | None
    vectors: bool
    body: Callable[[], None]


def nest(
    evaluator: Evaluator,
    loops: Sequence[int],
    results: Sequence[int],
    lanes: int,
    masked: bool,
    parts: Sequence[Part],
    share: Share | None = None,
) -> None:
    """Run the parts' bodies for every value of the loop variables, the last of them in vectors.

    share: run this member's part of one of the loops; of the innermost only when it is alone and in one part.
    """
    evaluator.settle(results)
    if not loops:
        with undivided(evaluator, share):
            for part in parts:
                part.body()
        return
    *outer, inner = loops
    divided = None
    if share and outer:
        extents = [evaluator.program.ranges.extents[v] for v in outer]
        divided = outer[outermost(extents)]
        share.divided = extents[0] if divided == outer[0] else None
    alone = share if not outer and len(parts) == 1 and parts[0].vectors else None

    def innermost() -> None:
        for part in parts:
            if part.vectors:
                in_vectors(evaluator, inner, lanes, masked, part.body, part.start, part.stop, alone)
            else:
                one_by_one(evaluator, inner, part)

    if divided is None and not alone:
        with undivided(evaluator, share):
            nested(evaluator, outer, results, innermost)
    else:
        nested(evaluator, outer, results, innermost, share, divided)


@contextmanager
def undivided(evaluator: Evaluator, share: Share | None) -> Iterator[None]:
    """What one member does for all."""
    if share is None:
        yield
        return
    with evaluator.f.if_(share.first), evaluator.scope({}):
        yield


def nested(
    evaluator: Evaluator,
    loops: Sequence[int],
    results: Sequence[int],
    body: Callable[[], None],
    share: Share | None = None,
    divided: int | None = None,
) -> None:
    """Loops around a body; of the loop `divided` this member's part."""
    if not loops:
        body()
        return
    first, *rest = loops
    extent = evaluator.sizes(evaluator.program.ranges.extents[first])
    ends: tuple[Operand, Operand] = (0, plain(extent))
    if share and first == divided:
        ends = share.of(extent)
    with evaluator.f.loop(*ends) as i, evaluator.scope({first: i}):
        evaluator.settle(results)
        nested(evaluator, rest, results, body, share, divided)


def one_by_one(evaluator: Evaluator, inner: int, part: Part) -> None:
    """Run a part of the innermost loop element by element."""
    stop = plain(evaluator.sizes(evaluator.program.ranges.extents[inner])) if part.stop is None else part.stop
    if part.start == stop:
        return
    with evaluator.f.loop(part.start, stop) as i, evaluator.scope({inner: i}):
        part.body()


def in_vectors(
    evaluator: Evaluator,
    inner: int,
    lanes: int,
    masked: bool,
    body: Callable[[], None],
    begin: int = 0,
    stop: int | None = None,
    share: Share | None = None,
) -> None:
    """Run `body` over one loop from `begin` on, `lanes` elements at a time.

    share: this member's vectors only, and the last member's the elements that are left.
    """
    f, extent = evaluator.f, evaluator.program.ranges.extents[inner] if stop is None else stop
    length = extent - begin
    total = evaluator.sizes(extent)
    whole: Reg | int
    if isinstance(length, int):
        whole, rest = begin + length - length % lanes, bool(length % lanes)
    else:
        rest = not all(c % lanes == 0 for _, c in length.terms)
        whole = f.and_(total, -lanes) if rest and not begin else total
        if rest and begin:
            whole = f.add(f.and_(f.sub(total, begin), -lanes), begin)
    phase = begin % lanes
    if whole != begin:
        ends: tuple[Operand, Operand] = (begin, whole)
        if share:
            first, last = share.of(f.udiv(f.sub(f.operand(whole, "i64"), constant(begin, "i64")), lanes))
            ends = f.add(f.mul(first, lanes), begin), f.add(f.mul(last, lanes), begin)
        vectors = evaluator.vector(inner, lanes, phase=phase)
        with f.loop(*ends, lanes) as i, evaluator.scope({inner: i}), vectors:
            body()
    if not rest:
        return
    with f.if_(share.last) if share and whole != begin else nullcontext():
        _rest(evaluator, inner, lanes, masked, body, f.operand(whole, "i64"), total, length, phase)


def _rest(
    evaluator: Evaluator,
    inner: int,
    lanes: int,
    masked: bool,
    body: Callable[[], None],
    start: Reg,
    total: Reg,
    length: Dim,
    phase: int,
) -> None:
    """The elements from `start` on, which fill no vector."""
    f = evaluator.f
    if not masked:
        with f.loop(plain(start), plain(total)) as i, evaluator.scope({inner: i}):
            body()
        return

    def tail() -> None:
        left = constant(length % lanes, "i64") if isinstance(length, int) else f.sub(total, start)
        mask = present(f, left, lanes)
        with evaluator.scope({inner: start}), evaluator.vector(inner, lanes, mask, phase):
            body()

    if isinstance(length, int):
        tail()
    else:
        with f.if_(f.icmp("slt", start, total)):
            tail()


def plain(size: Reg) -> Operand:
    """A constant register as a Python number, so that loops know their bounds."""
    return int(size.name) if size.name.lstrip("-").isdigit() else size


def fuse_loops(
    program: Program, forms: Sequence[Form], order: Sequence[int], apart: Collection[int] = ()
) -> tuple[Program, list[Form], list[int]]:
    """Join neighbouring loops that every form of the program, and every one of `forms`, walks as if they were one.

    apart: loops that are not joined with the one outside of them.  Gives the program and forms in the new variables,
    and the loops that are left.
    """
    loops, extents, separate = list(order), dict(program.ranges.extents), set(apart)
    replaced: dict[int, Form] = {}
    every = [*program.forms(), *forms]
    position = len(loops) - 2
    while position >= 0:
        outer, inner = loops[position], loops[position + 1]
        size = extents[inner]
        walks = all(f.coefficient(outer) == f.coefficient(inner) * size for f in every)
        if walks and inner not in separate:
            # The inner variable becomes the joint one, the outer disappears.
            extents[inner] = extents[outer] * size
            replaced[outer] = Form(())
            del loops[position]
            if outer in separate:
                separate.add(inner)
            every = [_without(f, outer) for f in every]
        position -= 1
    if not replaced:
        return program, list(forms), loops
    ranges = Ranges(extents, may_split=False)
    fused = Program(ranges, [_renamed(e, replaced) for e in program.expressions], list(program.results))
    return fused, [_in(form, replaced) for form in forms], loops


def _without(form: Form, gone: int) -> Form:
    return Form(tuple((a, c) for a, c in form.terms if a != gone), form.constant)


def _in(form: Form, replaced: dict[int, Form]) -> Form:
    return form.substitute(replaced) if form.variables & replaced.keys() else form


def _renamed(expression: Expression, replaced: dict[int, Form]) -> Expression:
    match expression:
        case Load(value=value, offset=offset, guard=guard):
            return Load(value, _in(offset, replaced), _guard(guard, replaced))
        case Position(form=form, dtype=dtype):
            return Position(_in(form, replaced), dtype)
        case Choose(guard=guard, yes=yes, no=no):
            return Choose(_guard(guard, replaced), yes, no)
        case Hole(value=value, index=index, guard=guard):
            return Hole(value, tuple(_in(form, replaced) for form in index), _guard(guard, replaced))
    return expression


def _guard(guard: tuple[Condition, ...], replaced: dict[int, Form]) -> tuple[Condition, ...]:
    return tuple(Condition(_in(c.form, replaced), c.divisor) for c in guard)
