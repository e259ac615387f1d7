"""Rows as text: graphc's time, the best peer's, their ratio, the ratio to reach."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Row

HEADINGS = ("workload", "threads", "graphc", "best peer", "", "ratio", "to reach", "", "others")


def time_text(seconds: float) -> str:
    """Three digits and a unit.

    >>> time_text(0.0000381), time_text(0.0127), time_text(1.5)
    ('38.1 µs', '12.7 ms', '1.50 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale or unit == "µs":
            value = seconds / scale
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    raise AssertionError("microseconds are the last unit")


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, by HEADINGS."""
    ours, others = row.ours, row.others
    verdict = "met" if row.met else f"FAILS: {ours.reason}" if ours.reason else "short"
    rest = [f"{r.peer} {time_text(r.median)}" for r in others[1:]]
    rest += [
        f"{r.peer}: {r.reason}"
        for r in row.results
        if r.reason.startswith(("wrong", "ended")) and r is not ours
    ]
    return (
        row.workload.name,
        str(row.threads),
        time_text(ours.median) if ours.seconds else "-",
        time_text(others[0].median) if others else "-",
        others[0].peer if others else "no peer",
        f"{row.ratio:.2f}" if row.ratio is not None else "-",
        f"{row.workload.ratio:.2f}",
        verdict if others or ours.reason else "",
        ", ".join(rest),
    )


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown, which reads well as plain text too.

    Numbers are the medians.
    """
    lines = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    texts = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in lines]
    return "\n".join([texts[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *texts[1:]])
