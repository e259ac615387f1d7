"""A profile: what every kernel of a compiled model takes, beside what this machine could do."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.cost import total_flops
from graphc.ir.dims import Dim, substitute
from graphc.ir.graph import Node
from graphc.ir.partition import Kernel

if TYPE_CHECKING:
    from graphc.backends.llvm.executable import Executable as Native
    from graphc.backends.llvm.probe import Peaks

HEADINGS = ("kernel", "time", "share", "GFLOP/s", "of peak", "moved", "GB/s", "line", "module", "ops")
NUMBERS = (1, 2, 3, 4, 5, 6)  # columns that are right-aligned
OPS = 4  # op names listed for one kernel


@dataclass(frozen=True, slots=True)
class Row:
    """A kernel.

    seconds   the median of all runs
    flop      floating-point operations, as the summary counts them
    moved     bytes of everything read from and written to memory
    line      the user's line its main op comes from, "" where there is none; `role` "backward" or "update" when the
              op was derived from that line
    module    the path of the module that op belongs to
    """

    kernel: str
    kind: str
    ops: tuple[str, ...]
    seconds: float
    flop: int
    moved: int
    line: str = ""
    text: str = ""
    role: str = "forward"
    module: str = ""

    @property
    def gflops(self) -> float:
        return self.flop / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gbytes(self) -> float:
        return self.moved / self.seconds / 1e9 if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """The rows in the order the kernels ran in; print it, or take `as_dict()`.

    seconds   the median of the whole run, kernels only
    peak      GFLOP/s of float32 multiply-adds this machine reaches with as many threads
    memory    GB/s it reads from memory with as many threads
    """

    name: str
    threads: int
    rows: tuple[Row, ...]
    seconds: float
    runs: int
    peak: float
    memory: float

    def cells(self) -> list[tuple[str, ...]]:
        """The table, without its headings; the last row is the whole."""
        flop, moved = sum(r.flop for r in self.rows), sum(r.moved for r in self.rows)
        whole = Row("all", "", (), self.seconds, flop, moved)
        return [self._cells(row) for row in (*self.rows, whole)]

    def _cells(self, row: Row) -> tuple[str, ...]:
        role = {"forward": "", "backward": "gradient of ", "update": "update of "}[row.role]
        ops = " ".join(row.ops[:OPS]) + (f" +{len(row.ops) - OPS}" if len(row.ops) > OPS else "")
        return (
            row.kernel,
            _time(row.seconds),
            f"{100 * row.seconds / self.seconds:.1f} %" if self.seconds else "",
            f"{row.gflops:.1f}" if row.flop else "",
            f"{100 * row.gflops / self.peak:.0f} %" if row.flop else "",
            _bytes(row.moved),
            f"{row.gbytes:.1f}",
            role + row.line if row.line else "",
            row.module,
            ops,
        )

    def headline(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self.name}, {threads}, {self.runs} runs; this machine's peak is {self.peak:.0f} GFLOP/s, "
            f"{self.memory:.0f} GB/s from memory"
        )

    def __str__(self) -> str:
        lines = [HEADINGS, *self.cells()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
        texts = [
            "  ".join(
                c.rjust(w) if i in NUMBERS else c.ljust(w)
                for i, (c, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        return "\n".join([self.headline(), "", *(text.rstrip() for text in texts)])

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        rows = [{**asdict(row), "gflops": row.gflops, "gbytes": row.gbytes} for row in self.rows]
        facts = {
            name: getattr(self, name) for name in ("name", "threads", "seconds", "runs", "peak", "memory")
        }
        return {**facts, "kernels": rows}


def profile(native: Native, arrays: Sequence[Any], *, threads: int = 1, seconds: float = 0.5) -> Profile:
    """Run compiled code for some time on these inputs, a clock between its kernels.

    A training step works on weights of its own.  Raises what a call raises for arrays that do not fit.
    """
    from graphc.backends.llvm.profile import measure_kernels

    times = measure_kernels(native, arrays, threads=threads, seconds=seconds)
    sizes = _sizes(native, arrays)
    rows = tuple(
        _row(kernel, nanoseconds / 1e9, sizes)
        for kernel, nanoseconds in zip(times.kernels, times.medians.tolist(), strict=True)
    )
    best = peaks()
    shared = threads > 1
    return Profile(
        native.facts.signature.name,
        threads,
        rows,
        float(np.median(times.whole)) / 1e9,
        len(times.runs),
        best.flops_two_threads * threads / 2 if shared else best.flops,
        best.memory_two_threads if shared else best.memory,
    )


@functools.cache
def peaks() -> Peaks:
    """What this machine does at best, measured once in a process."""
    from graphc.backends.llvm.probe import measure

    return measure()


def _row(kernel: Kernel | None, seconds: float, sizes: Mapping[str, int]) -> Row:
    if kernel is None:
        return Row("copies", "copy", (), seconds, 0, 0)
    main = kernel.anchor or next((n for n in kernel.nodes if n.provenance.span), kernel.nodes[0])
    span = main.provenance.span
    moved = sum(_number(v.type.nbytes, sizes) for v in (*kernel.inputs, *kernel.outputs))
    return Row(
        kernel.name,
        kernel.kind,
        tuple(node.op.name for node in _worth_telling(kernel)),
        seconds,
        _number(total_flops(kernel.nodes), sizes),
        moved,
        span.name if span else "",
        span.text.strip() if span else "",
        main.provenance.role,
        main.provenance.module,
    )


def _worth_telling(kernel: Kernel) -> list[Node]:
    """The nodes without those that only shape operands, unless there are no others."""
    quiet = ("reshape", "broadcast_to", "constant", "iota", "dim_size")
    return [n for n in kernel.nodes if n.op.name not in quiet] or list(kernel.nodes)


def _sizes(native: Native, arrays: Sequence[Any]) -> dict[str, int]:
    """The size of the open dimension in these arrays."""
    signature = native.facts.signature
    if signature.source is None:
        return {}
    number, axis = signature.source
    (slope, rest) = signature.inputs[number].linear(signature.symbol)[axis]
    return {signature.symbol: (arrays[number].shape[axis] - rest) // slope}


def _number(dim: Dim, sizes: Mapping[str, int]) -> int:
    found = substitute(dim, sizes)
    assert isinstance(found, int)
    return found


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} µs" if seconds < 1e-4 else f"{seconds * 1e6:.0f} µs"


def _bytes(count: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"
