"""How long calls take, one by one, and what that makes of the machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE = 20e-6  # seconds a sample lasts at least: reading the clock must not show
MOST = 100_000


@dataclass(frozen=True, slots=True)
class Latency:
    """The calls of a model with one batch size and number of threads.

    median, p90, p99   seconds; 9 of 10 and 99 of 100 calls take no longer
    flop               floating-point operations of a call
    peak               GFLOP/s of multiply-adds this machine reaches with as many threads
    memory             bytes of working memory and weights
    """

    batch: int
    threads: int
    calls: int
    median: float
    p90: float
    p99: float
    flop: int
    peak: float
    memory: int

    @property
    def per_second(self) -> float:
        return self.batch / self.median

    @property
    def gflops(self) -> float:
        return self.flop / self.median / 1e9

    def as_dict(self) -> dict[str, Any]:
        rates = {"per_second": self.per_second, "gflops": self.gflops, "of_peak": self.gflops / self.peak}
        return {**asdict(self), **rates}


def time_calls(call: Callable[[], Any], seconds: float) -> tuple[NDArray[np.float64], int]:
    """Seconds of a call in each of many samples, and how many calls there were; a few calls warm up.

    A sample is one call, or the mean of several when one is too short for the clock.
    """
    for _ in range(3):
        start = time.perf_counter()
        call()
        each = time.perf_counter() - start
    together = max(1, math.ceil(SAMPLE / max(each, 1e-9)))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 7 or (len(samples) < MOST and time.perf_counter() < end):
        start = time.perf_counter()
        for _ in range(together):
            call()
        samples.append((time.perf_counter() - start) / together)
    return np.array(samples), together * len(samples)


def latency(
    call: Callable[[], Any], *, batch: int, threads: int, flop: int, memory: int, seconds: float
) -> Latency:
    """Measure a call."""
    from graphc.profile import peaks

    samples, calls = time_calls(call, seconds)
    median, p90, p99 = np.percentile(samples, [50, 90, 99]).tolist()
    best = peaks()
    peak = best.flops if threads == 1 else best.flops_two_threads * threads / 2
    return Latency(batch, threads, calls, median, p90, p99, flop, peak, memory)
