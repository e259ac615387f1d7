"""One row of the table: a workload with a number of threads, and how everybody did."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.limits import Limit, machine, work_of
from benchmarks.store import folder
from benchmarks.workloads import Workload, named
from graphc.bench.contest import Result, contest, one_size_for_all, read_arrays

OURS = "graphc"


@dataclass(slots=True)
class Row:
    """See above; `results` has graphc and its peers, `limit` what the machine allows, `kernels` what is told of those
    that take longest, in a row that falls short.
    """

    workload: Workload
    threads: int
    results: list[Result]
    limit: Limit | None = None
    kernels: tuple[str, ...] = ()

    @property
    def ours(self) -> Result:
        return next(r for r in self.results if r.peer == OURS)

    @property
    def others(self) -> list[Result]:
        """Peers whose times count, the fastest first."""
        return sorted((r for r in self.results if r.peer != OURS and r.counts), key=lambda r: r.median)

    @property
    def ratio(self) -> float | None:
        """Median of the best peer / median of graphc; None when either is missing."""
        return self.others[0].median / self.ours.median if self.others and self.ours.seconds else None

    @property
    def possible(self) -> float | None:
        """The ratio graphc would have at its limit."""
        return self.others[0].median / self.limit.seconds if self.others and self.limit else None

    @property
    def met(self) -> bool:
        return not self.ours.reason and self.ratio is not None and self.ratio >= self.workload.ratio


def measure_row(
    workload: Workload, threads: int, names: Sequence[str], *, repeats: int, seconds: float
) -> Row:
    """Let everybody run a workload."""
    python = [sys.executable, "-m", "benchmarks.worker"]
    commands = {name: [*python, name, workload.name, str(threads)] for name in names}
    inductor = {"TORCHINDUCTOR_CACHE_DIR": str(folder() / "inductor"), "TORCHINDUCTOR_FREEZING": "1"}
    results = contest(
        commands, _reference(workload), workload.tolerance, threads=threads, repeats=repeats, seconds=seconds,
        environment=inductor,
    )  # fmt: skip
    row = Row(workload, threads, results, work_of(workload).limit(machine(), threads))
    if row.ratio is not None and not row.met and not workload.trains:
        row.kernels = _kernels(workload, threads)
    return row


def _kernels(workload: Workload, threads: int) -> tuple[str, ...]:
    """What `benchmarks.kernels` tells, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.kernels", workload.name, str(threads)]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(told.stdout.strip().split("\n"))


def as_data(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    return {
        "workload": row.workload.name,
        "threads": row.threads,
        "ratio": row.ratio,
        "to_reach": row.workload.ratio,
        "limit": asdict(row.limit) if row.limit else None,
        "kernels": list(row.kernels),
        "results": [asdict(result) for result in row.results],
    }


def from_data(data: dict[str, Any]) -> Row:
    """The row that `as_data` gave."""
    limit = Limit.of(data["limit"]) if data["limit"] else None
    results = [Result(**result) for result in data["results"]]
    return Row(named(data["workload"]), data["threads"], results, limit, tuple(data["kernels"]))


def _reference(workload: Workload) -> list[np.ndarray]:
    """The float64 answer, made once in a process of its own and kept."""
    path = folder() / f"{workload.key}.npz"
    if not path.exists():
        private = path.with_suffix(f".{os.getpid()}.npz")
        command = [sys.executable, "-m", "benchmarks.reference", workload.name, str(private)]
        subprocess.run(command, check=True, env={**os.environ, **one_size_for_all(2)})
        private.replace(path)
    return read_arrays(path)
