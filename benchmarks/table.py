"""Rows as text: graphc's time, the best peer's, their ratio, the ratio to reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.limits import COMPUTE, Limit, Term
from benchmarks.rows import Row

HEADINGS = (
    "workload", "threads", "graphc", "best peer", "", "ratio", "to reach", "", "limit", "reached", "other peers",
)  # fmt: skip


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


def ratio_text(ratio: float) -> str:
    """Two digits, never rounded up.

    >>> ratio_text(1.4985), ratio_text(3.0)
    ('1.49', '3.00')
    """
    return f"{math.floor(100 * ratio + 1e-9) / 100:.2f}"


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, by HEADINGS."""
    ours, others, limit = row.ours, row.others, row.limit
    verdict = "met" if row.met else f"FAILS: {ours.reason}" if ours.reason else "short"
    if verdict in ("met", "short") and row.workload.stored != "fp32":
        verdict += f", error {ours.error:.0e}"
    rest = [f"{r.peer} {time_text(r.median)}" for r in others[1:]]
    rest += [f"{r.peer}: {r.reason}" for r in row.results if r is not ours and unexpected(r.reason)]
    reached = ""
    if limit and ours.seconds and row.workload.limited != "call":
        reached = f"{100 * limit.seconds / ours.median:.0f} % {limit.waits_for}"
    return (
        row.workload.name,
        str(row.threads),
        time_text(ours.median) if ours.seconds else "-",
        time_text(others[0].median) if others else "-",
        others[0].peer if others else "no peer",
        ratio_text(row.ratio) if row.ratio is not None else "-",
        f"{row.workload.ratio:.2f}",
        verdict if others or ours.reason else "",
        time_text(limit.seconds) if limit and reached else "",
        reached,
        ", ".join(rest),
    )


def unexpected(reason: str) -> bool:
    """Whether a peer did not merely decline."""
    return reason.startswith(("wrong", "ended"))


def shortfalls(rows: Sequence[Row]) -> list[str]:
    """Of every row that falls short, what the machine allows, how far from it graphc is, and where the time goes."""
    found = []
    for row in rows:
        if row.met or row.ratio is None or row.limit is None or row.possible is None:
            continue
        limit, peer = row.limit, row.others[0]
        threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
        terms = sorted(limit.terms, key=lambda term: -term.seconds)
        why = "; ".join(_told(term, limit) for term in terms if term.seconds >= 0.02 * limit.seconds)
        text = f"{row.workload.name}, {threads}: {ratio_text(row.ratio)} of {row.workload.ratio:.2f}.  "
        text += f"At least {time_text(limit.seconds)}: {why}.  " if len(limit.terms) > 1 else f"{why}.  "
        text += f"{peer.peer} takes {time_text(peer.median)}, graphc {time_text(row.ours.median)}"
        if row.ours.median < limit.seconds:
            text += ", which does fewer multiply-adds than that."
        elif row.possible < row.workload.ratio:
            text += f"; no ratio above {row.possible:.2f} is possible without doing less."
        else:
            text += f", {row.ours.median / limit.seconds:.2f} times the limit."
        found.append(text + (f"  Its kernels: {'; '.join(row.kernels)}." if row.kernels else ""))
    return found


def _told(term: Term, limit: Limit) -> str:
    """A part of a limit in words: `85.6 MFLOP at the measured 250 GFLOP/s take 342 µs`."""
    if term.place == COMPUTE:
        what = f"{term.amount / 1e6:,.1f} MFLOP at the measured {term.rate:.0f} GFLOP/s"
    else:
        what = f"{term.amount / 1e6:,.1f} MB of weights at the measured {term.rate:.0f} GB/s of {term.place}"
        if limit.steps > 1:
            what += f", over {limit.steps} steps,"
    return f"{what} take {time_text(term.seconds)}"


def markdown(rows: Sequence[Row]) -> str:
    """The table of medians in Markdown, which reads well as plain text too, and what rows that fall short wait for."""
    below = shortfalls(rows)
    text = aligned([HEADINGS, *(cells(row) for row in rows)])
    return "\n".join([text, "", *(f"- {line}" for line in below)]) if below else text


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, the first being the headings, as a Markdown table with columns of one width.

    >>> print(aligned([("a", "bcd"), ("ef", "g")]))
    | a  | bcd |
    |----|-----|
    | ef | g   |
    """
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    texts = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in lines]
    return "\n".join([texts[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *texts[1:]])
