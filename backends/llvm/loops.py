"""Structured control flow for the emitter: counted loops, loop-carried values, conditionals.

A loop is written in the form LLVM's own loop rotation would give: a test before, then a body that tests at
its end, with one i64 induction variable. Its latch carries metadata that keeps every automatic loop
transformation away: the kernels are vectorised and unrolled by whoever writes them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.backends.llvm.emitter import Function, Operand, Reg

Body = Callable[["Reg", list["Reg"]], Sequence["Reg"]]


@contextmanager
def loop(b: "Function", start: "Operand", stop: "Operand", step: "Operand" = 1) -> "Iterator[Reg]":
    """`for i in range(start, stop, step)` with i64 values and a positive step.

    >>> from graphc.backends.llvm.emitter import Module
    >>> f = Module().function("clear", {"p": "ptr", "n": "i64"})
    >>> with f.loop(0, f.n) as i:
    ...     f.store(f.constant(0, "float"), f.gep(f.p, f.mul(i, 4)))
    >>> f.ret()
    """
    loop = _Loop(b, start, stop, step, ())
    yield loop.index
    loop.close(())


def fold(
    b: "Function",
    start: "Operand",
    stop: "Operand",
    step: "Operand",
    initial: "Sequence[Reg]",
    body: Body,
) -> "list[Reg]":
    """A loop that carries values in registers: `values = body(i, values)` for each i; gives the last
    values.

    >>> from graphc.backends.llvm.emitter import Module
    >>> f = Module().function("count", {"n": "i64"}, returns="i64")
    >>> (total,) = f.fold(0, f.n, 1, [f.constant(0, "i64")], lambda i, v: [f.add(v[0], i)])
    >>> f.ret(total)
    """
    loop = _Loop(b, start, stop, step, initial)
    return loop.close(body(loop.index, loop.values))


@contextmanager
def if_(b: "Function", condition: "Reg") -> "Iterator[None]":
    """Run the block when the i1 condition holds."""
    then, after = b.fresh("then"), b.fresh("after")
    b.cond_br(condition, then, after)
    b.begin(then)
    yield
    if not b.terminated:
        b.br(after)
    b.begin(after)


def if_else(
    b: "Function",
    condition: "Reg",
    then: "Callable[[], Sequence[Reg]]",
    otherwise: "Callable[[], Sequence[Reg]]",
) -> "list[Reg]":
    """The values of `then()` when the i1 condition holds, those of `otherwise()` if not."""
    names = b.fresh("then"), b.fresh("else")
    after = b.fresh("after")
    b.cond_br(condition, *names)
    ends = []
    for name, branch in zip(names, (then, otherwise), strict=True):
        b.begin(name)
        ends.append((list(branch()), b.current))
        b.br(after)
    b.begin(after)
    (yes, yes_block), (no, no_block) = ends
    return [
        b.phi(x.type, (x, yes_block), (b.operand(y, x.type), no_block)) for x, y in zip(yes, no, strict=True)
    ]


class _Loop:
    """The open loop: blocks, index and phis, whose second halves are known only at the end."""

    def __init__(
        self, b: "Function", start: "Operand", stop: "Operand", step: "Operand", initial: "Sequence[Reg]"
    ) -> None:
        self.b = b
        self.start, self.stop, self.step = (b.operand(v, "i64") for v in (start, stop, step))
        self.initial = list(initial)
        self.body, self.exit, self.before = b.fresh("loop"), b.fresh("done"), b.current
        # Bounds known here need no test before the loop, and the optimiser none to remove.
        self.guarded = not (isinstance(start, int) and isinstance(stop, int) and start < stop)
        if self.guarded:
            b.cond_br(b.icmp("slt", self.start, self.stop), self.body, self.exit)
        else:
            b.br(self.body)
        b.begin(self.body)
        self.first_phi = len(b.lines)
        entering = [self.start, *self.initial]
        self.index, *self.values = [type(v)(f"%{b.fresh()}", v.type) for v in entering]
        b.lines += [""] * len(entering)  # the phis, written by `close`

    def close(self, carried: "Sequence[Reg]") -> "list[Reg]":
        b = self.b
        following = [b.add(self.index, self.step)]
        following += [b.operand(new, old.type) for new, old in zip(carried, self.values, strict=True)]
        entering = [self.start, *self.initial]
        for n, (phi, first, then) in enumerate(
            zip([self.index, *self.values], entering, following, strict=True)
        ):
            incoming = f"[ {first.name}, %{self.before} ], [ {then.name}, %{b.current} ]"
            b.lines[self.first_phi + n] = f"  {phi.name} = phi {phi.type} {incoming}"
        again = b.icmp("slt", following[0], self.stop)
        latch = b.current
        b.cond_br(again, self.body, self.exit, f", !llvm.loop {_keep_as_written(b)}")
        b.begin(self.exit)
        if not self.guarded:
            return following[1:]
        return [
            b.phi(v.type, (v, self.before), (w, latch))
            for v, w in zip(self.initial, following[1:], strict=True)
        ]


def _keep_as_written(b: "Function") -> str:
    """Loop metadata: not vectorised, not interleaved, not unrolled by LLVM."""
    wishes = [
        '!{!"llvm.loop.vectorize.enable", i1 false}',
        '!{!"llvm.loop.interleave.count", i32 1}',
        '!{!"llvm.loop.unroll.disable"}',
    ]
    nodes = ", ".join(b.module.shared_node(w) for w in wishes)
    return b.module.node(f"distinct !{{SELF, {nodes}}}")
