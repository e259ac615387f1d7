"""The summary: a row for each layer with its output, parameters and work, and the totals.

`str()` gives plain text for any terminal and any test; a rich console draws the same rows as a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphc.ir.cost import parameter_count, total_flops
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Node, Value
from graphc.view.hidden import behind, is_hidden
from graphc.view.modules import Run, runs_of
from graphc.view.numbers import amount
from graphc.view.unread import unread_note

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = ("layer", "op", "output", "parameters", "FLOP")
OPS = 4  # op names listed for one layer


@dataclass(frozen=True, slots=True)
class Row:
    """A layer: an innermost module, an op outside of one, or a module folded at `depth`."""

    layer: str
    op: str
    output: tuple[str, ...]
    parameters: Dim
    flop: Dim

    def cells(self) -> tuple[str, ...]:
        parameters = _grouped(self.parameters) if self.parameters != 0 else ""
        return (
            self.layer,
            self.op,
            ", ".join(self.output),
            parameters,
            amount(self.flop) if self.flop != 0 else "",
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The table of a graph; print it, or take `as_dict()`."""

    name: str
    inputs: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    parameters: Dim
    parameter_bytes: Dim
    buffers: Dim
    flop: Dim
    notes: tuple[str, ...] = ()

    def totals(self) -> tuple[tuple[str, str], ...]:
        """What stands below the table."""
        lines = [("parameters", f"{_grouped(self.parameters)} ({_bytes(self.parameter_bytes)})")]
        if self.buffers != 0:
            lines.append(("buffers", _grouped(self.buffers)))
        return (*lines, ("forward FLOP", amount(self.flop)))

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings; a size that depends on a symbol is a string such as `120*N`."""
        return {
            "name": self.name,
            "inputs": dict(self.inputs),
            "layers": [
                {
                    "layer": row.layer,
                    "op": row.op,
                    "output": list(row.output),
                    "parameters": _plain(row.parameters),
                    "flop": _plain(row.flop),
                }
                for row in self.rows
            ],
            "parameters": _plain(self.parameters),
            "parameter_bytes": _plain(self.parameter_bytes),
            "buffers": _plain(self.buffers),
            "flop": _plain(self.flop),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        cells: list[tuple[str, ...]] = [
            HEADINGS,
            *((name, "input", type_, "", "") for name, type_ in self.inputs),
        ]
        cells += [row.cells() for row in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]

        def line(row: tuple[str, ...]) -> str:
            aligned = (
                c.rjust(w) if i > 2 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            return "  ".join(aligned).rstrip()

        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        below = [f"{name}: {text}" for name, text in self.totals()]
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join(
            [self.name, line(cells[0]), rule, *map(line, cells[1:]), rule, "   ".join(below), *notes]
        )

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text  # a user's name is text, not markup

        caption = "   ".join(f"{name}: {text}" for name, text in self.totals())
        caption = "\n".join([caption, *(f"note: {note}" for note in self.notes)])
        table = Table(
            title=Text(self.name), caption=Text(caption), caption_justify="left", title_justify="left"
        )
        for position, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="right" if position > 2 else "left", overflow="fold")
        for name, type_ in self.inputs:
            table.add_row(Text(name), "input", Text(type_), "", "")
        for row in self.rows:
            table.add_row(*map(Text, row.cells()))
        return table


def summarize(graph: Graph, *, depth: int | None = None) -> Summary:
    """The summary of a graph's forward pass; `depth` folds modules below that many levels.

    Each parameter is counted once, where it is first read.
    """
    visible = [n for n in graph.nodes if n.provenance.role == "forward" and not is_hidden(n)]
    around = runs_of(visible)
    parents = {run.parent for runs in around.values() for run in runs}
    groups: dict[Run | Node, list[Node]] = {}
    for node, runs in around.items():
        level = len(runs) if depth is None else min(max(depth, 1), len(runs))
        run = runs[level - 1] if level else None
        key = run if run is not None and (level < len(runs) or run not in parents or level == depth) else node
        groups.setdefault(key, []).append(node)
    counted: set[Value] = set()
    rows = []
    for key, nodes in groups.items():
        leaves = [behind(v) for node in nodes for v in node.inputs]
        new = [v for v in dict.fromkeys(leaves) if v.leaf == "parameter" and v not in counted]
        counted.update(new)
        inside = set(nodes)
        read = [v for n in nodes for v in n.outputs if any(u not in inside for u in graph.users[v])]
        results = list(dict.fromkeys(read)) or list(nodes[-1].outputs[:1])
        called = _called(key) if isinstance(key, Run) else _variable(key)
        rows.append(
            Row(
                called,
                _ops(nodes),
                tuple(str(v.type) for v in results[:2]),
                parameter_count(new),
                total_flops(nodes),
            )
        )
    nbytes: Dim = 0
    parameters, buffers = (
        [v for v in part if _is_models(v, graph)] for part in (graph.parameters, graph.constants)
    )
    for value in parameters:
        nbytes = nbytes + value.type.nbytes
    inputs = tuple((v.name, str(v.type)) for v in graph.inputs)
    counts = parameter_count(parameters), nbytes, parameter_count(buffers)
    notes = tuple(note for node in visible if (note := unread_note(node)))
    return Summary(graph.name, inputs, tuple(rows), *counts, total_flops(visible), notes)


def _is_models(value: Value, graph: Graph) -> bool:
    """Whether a stored array belongs to the model, not to its optimiser alone."""
    users = graph.users[value]
    return not users or any(node.provenance.role != "update" for node in users)


def _called(run: Run) -> str:
    return run.path if run.call == 1 else f"{run.path} (call {run.call})"


def _variable(node: Node) -> str:
    module, variable = node.provenance.module, node.provenance.variable
    return module or (variable if variable == node.name else "")


def _ops(nodes: list[Node]) -> str:
    names = [node.op.name for node in nodes]
    more = f" + {len(names) - OPS + 1} more" if len(names) > OPS else ""
    return " + ".join(names[: OPS - 1] if more else names) + more


def _grouped(count: Dim) -> str:
    return f"{count:,}" if isinstance(count, int) else str(count)


def _bytes(count: Dim) -> str:
    text = amount(count)
    return f"{text}B" if text[-1:].isalpha() else f"{text} B"


def _plain(count: Dim) -> int | str:
    return count if isinstance(count, int) else str(count)
