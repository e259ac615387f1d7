"""Contenders in processes of their own: the answers are compared, then they take turns.

Whoever is not being measured is stopped, so that no idle pool spins beside the one that is.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(slots=True)
class Result:
    """What one contender did: seconds a call in each repeat, and how far its answer is off.

    error   the largest error over the root mean square of the reference
    built   seconds until it was ready, the import of its packages included
    memory  the most bytes its process had in memory until then
    reason  why it took no part, or why its times do not count
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

    @property
    def counts(self) -> bool:
        return bool(self.seconds) and not self.reason


def contest(
    commands: Mapping[str, Sequence[str]],
    reference: Sequence[np.ndarray],
    tolerance: float,
    *,
    threads: int = 1,
    repeats: int = 7,
    seconds: float = 0.1,
    environment: Mapping[str, str] | None = None,
) -> list[Result]:
    """Measure contenders, `repeats` rounds in which each runs for `seconds` at least.

    commands    name -> the command of a process that does `serve`; the file of its answer is put behind
    reference   what all of them should give, and `tolerance` the error from which an answer is wrong
    """
    with tempfile.TemporaryDirectory() as folder:
        answers = {name: Path(folder) / f"{number}.npz" for number, name in enumerate(commands)}
        environment = {**os.environ, **one_size_for_all(threads), **(environment or {})}
        processes = [
            _start([*command, str(answers[name])], environment) for name, command in commands.items()
        ]
        try:
            results = [
                _introduce(name, process, answers[name], reference, tolerance)
                for name, process in zip(commands, processes, strict=True)
            ]
            ready = [(r, p) for r, p in zip(results, processes, strict=True) if not r.reason]
            _take_turns(ready, repeats, seconds)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    return results


def error_of(answer: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """The largest error over the root mean square of the reference, the worst of all arrays; NaN stays NaN.

    >>> bool(error_of([np.array([1.0, 2.5])], [np.array([1.0, 2.0])]) == 0.5 / np.sqrt(2.5))
    True
    """
    if [a.shape for a in answer] != [a.shape for a in reference]:
        return float("inf")
    worst = [0.0]
    for got, wanted in zip(answer, reference, strict=True):
        if wanted.size:
            scale = np.sqrt(np.mean(np.square(wanted, dtype=np.float64))) or 1.0
            worst.append(np.max(np.abs(got.astype(np.float64) - wanted)) / scale)
    return float(np.max(worst))


def one_size_for_all(threads: int) -> dict[str, str]:
    """The variables that the libraries read their number of threads from."""
    counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    flags = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}"
    return {**counts, "XLA_FLAGS": flags, "PYTHONWARNINGS": "ignore"}


def read_arrays(path: Path) -> list[np.ndarray]:
    """The arrays of an answer, in order."""
    with np.load(path, allow_pickle=False) as file:
        return [file[name] for name in file.files]


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    with Path(command[-1]).with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )


def _introduce(
    name: str,
    process: subprocess.Popen[str],
    answer: Path,
    reference: Sequence[np.ndarray],
    tolerance: float,
) -> Result:
    """Wait until a contender is ready; compare its answer."""
    result = Result(name)
    told = _ask(process, "")
    if told is None:
        log = answer.with_suffix(".log").read_text("utf-8", "replace").strip().split("\n")
        result.reason = f"ended with {process.wait()}: {log[-1]}"
    elif "reason" in told:
        result.reason = told["reason"]
    else:
        result.built, result.memory = told["built"], told["memory"]
        result.error = error_of(read_arrays(answer), reference)
        if not result.error <= tolerance:
            result.reason = f"wrong answer: error {result.error:.1e}, tolerance {tolerance:.0e}"
    if not result.reason:
        process.send_signal(signal.SIGSTOP)
    return result


def _take_turns(ready: Sequence[tuple[Result, subprocess.Popen[str]]], repeats: int, seconds: float) -> None:
    for number in range(repeats):
        shift = number % max(len(ready), 1)  # nobody always comes after the same one
        for result, process in [*ready[shift:], *ready[:shift]]:
            if result.reason:
                continue
            with _running(process):
                told = _ask(process, f"{seconds}\n")
            if told is None:
                result.reason = f"ended with {process.wait()} while it was measured"
            else:
                result.seconds.append(told)


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
