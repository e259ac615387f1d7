"""One row: every contender in a process of its own, the answers compared, then rounds in which they take turns.

Whoever is not being measured is stopped, so that no idle pool spins beside the one that is.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.store import folder
from benchmarks.workloads import Workload, named

OURS = "graphc"


@dataclass(slots=True)
class Result:
    """What one contender did: seconds a call in each repeat, and how far its answer is off.

    reason: why it took no part, or why its times do not count
    """

    peer: str
    seconds: list[float] = field(default_factory=list)
    error: float = float("nan")
    built: float = 0.0
    memory: int = 0
    reason: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)


@dataclass(slots=True)
class Row:
    """A workload with a number of threads, and how everybody did."""

    workload: Workload
    threads: int
    results: list[Result]

    @property
    def ours(self) -> Result:
        return next(r for r in self.results if r.peer == OURS)

    @property
    def others(self) -> list[Result]:
        """Peers whose times count, the fastest first."""
        found = [r for r in self.results if r.peer != OURS and r.seconds and not r.reason]
        return sorted(found, key=lambda r: r.median)

    @property
    def ratio(self) -> float | None:
        """Median of the best peer / median of graphc; None when either is missing."""
        return self.others[0].median / self.ours.median if self.others and self.ours.seconds else None

    @property
    def met(self) -> bool:
        return not self.ours.reason and self.ratio is not None and self.ratio >= self.workload.ratio


def as_data(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    return {
        "workload": row.workload.name,
        "threads": row.threads,
        "ratio": row.ratio,
        "to_reach": row.workload.ratio,
        "results": [asdict(result) for result in row.results],
    }


def from_data(data: dict[str, Any]) -> Row:
    """The row that `as_data` gave."""
    return Row(named(data["workload"]), data["threads"], [Result(**result) for result in data["results"]])


def contest(
    workload: Workload,
    threads: int,
    names: Sequence[str],
    *,
    repeats: int,
    seconds: float,
    patience: float = 600,
) -> Row:
    """Measure a row. The rounds go on until each contender has `repeats` repeats of at least `seconds`."""
    with _Processes(workload, threads, names) as processes:
        reference = _reference(workload)
        results = [Result(name) for name in names]
        for result, process in zip(results, processes.all, strict=True):
            _introduce(result, process, reference, workload, processes.answer(result.peer))
        ready = [(r, p) for r, p in zip(results, processes.all, strict=True) if not r.reason]
        for _, process in ready:
            process.send_signal(signal.SIGSTOP)
        for number in range(repeats):
            shift = number % max(len(ready), 1)  # nobody always comes after the same one
            for result, process in ready[shift:] + ready[:shift]:
                with _running(process):
                    told = _ask(process, f"{seconds}\n")
                if told is None:
                    result.reason = f"ended with {process.wait()} while it was measured"
                else:
                    result.seconds.append(told)
            ready = [(r, p) for r, p in ready if not r.reason]
    return Row(workload, threads, results)


def error_of(answer: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """The largest error over the root mean square of the reference, the worst of all arrays; NaN stays NaN.

    >>> error_of([np.array([1.0, 2.5])], [np.array([1.0, 2.0])]) == 0.5 / np.sqrt(2.5)
    True
    """
    if len(answer) != len(reference):
        return float("inf")
    worst = []
    for got, wanted in zip(answer, reference, strict=True):
        if got.shape != wanted.shape:
            return float("inf")
        scale = np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))
        worst.append(np.max(np.abs(got.astype(np.float64) - wanted)) / scale)
    return float(np.max(worst))


def environment(threads: int) -> dict[str, str]:
    """What every library reads its number of threads from."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    counts = {f"{name}_NUM_THREADS": str(threads) for name in names}
    flags = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}"
    inductor = {"TORCHINDUCTOR_CACHE_DIR": str(folder() / "inductor"), "TORCHINDUCTOR_FREEZING": "1"}
    return {**os.environ, **counts, **inductor, "XLA_FLAGS": flags, "PYTHONWARNINGS": "ignore"}


class _Processes:
    """The processes of a row, in the order of the names; ended when the row is."""

    def __init__(self, workload: Workload, threads: int, names: Sequence[str]):
        self._folder = tempfile.TemporaryDirectory()
        self.all = [self._start(workload, threads, name) for name in names]

    def _start(self, workload: Workload, threads: int, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.worker", name, workload.name, str(threads)]
        return subprocess.Popen(
            [*command, str(self.answer(name))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log(name).open("w"),
            text=True,
            env=environment(threads),
        )

    def answer(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.npz"

    def log(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.log"

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self.all:
            process.kill()
            process.communicate()
        self._folder.cleanup()


def _introduce(
    result: Result, process: subprocess.Popen[str], reference: Any, workload: Workload, answer: Path
) -> None:
    """Wait until a contender is ready; compare its answer."""
    told = _ask(process, "")
    if told is None:
        log = answer.with_suffix(".log").read_text("utf-8", "replace").strip().split("\n")
        result.reason = f"ended with {process.wait()}: {log[-1]}"
        return
    if "reason" in told:
        result.reason = told["reason"]
        return
    result.built, result.memory = told["built"], told["memory"]
    result.error = error_of(_arrays(answer), reference)
    if not result.error <= workload.tolerance:
        result.reason = f"wrong answer: error {result.error:.1e}, tolerance {workload.tolerance:.0e}"


def _ask(process: subprocess.Popen[str], question: str) -> Any:
    """A question and its answer; None when the process has ended."""
    assert process.stdin and process.stdout
    try:
        process.stdin.write(question)
        process.stdin.flush()
    except BrokenPipeError:
        return None
    line = process.stdout.readline()
    return json.loads(line) if line else None


@contextmanager
def _running(process: subprocess.Popen[str]) -> Iterator[None]:
    process.send_signal(signal.SIGCONT)
    yield
    process.send_signal(signal.SIGSTOP)


def _arrays(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return [file[name] for name in file.files]


def _reference(workload: Workload) -> list[np.ndarray]:
    """The float64 answer, made once in a process of its own and kept."""
    path = folder() / f"{workload.key}.npz"
    if not path.exists():
        private = path.with_suffix(f".{os.getpid()}.npz")
        command = [sys.executable, "-m", "benchmarks.reference", workload.name, str(private)]
        subprocess.run(command, check=True, env=environment(2))
        private.replace(path)
    return _arrays(path)
