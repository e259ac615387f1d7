"""The process of one contender.

It builds what is to be measured, writes its answer to a file (.npz), says so in one line of JSON, and then waits: each
line it reads is a number of seconds to measure for, each line it writes the seconds of one call.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


class NotOffered(Exception):
    """A peer does not run this; the message says why."""


def nothing() -> None:
    """What most contenders do before a repeat."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something ready to be timed.

    call    what is timed
    answer  what it gives for the inputs that all contenders get
    reset   what is done before each repeat: a training step goes back to the first weights
    """

    call: Callable[[], Any]
    answer: list[np.ndarray]
    reset: Callable[[], None] = nothing


def serve(build: Callable[[], Contender], threads: int, answer: str | Path) -> None:
    """Be the process of what `build` gives.  NotOffered and ImportError are passed on as reasons."""
    # What a library prints is not part of the conversation.
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(value: Any) -> None:
        talk.write(json.dumps(value) + "\n")
        talk.flush()

    start = time.perf_counter()
    try:
        contender = build()
    except (NotOffered, ImportError) as reason:
        say({"reason": str(reason)})
        return
    built = time.perf_counter() - start
    np.savez(answer, *contender.answer)
    pin(threads)
    say({"built": built, "memory": peak_memory()})
    for line in sys.stdin:
        contender.reset()
        say(measure(contender.call, float(line)))


def pin(threads: int) -> None:
    """All threads of this process to as many cores, the same for every contender."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))[:threads]
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def measure(call: Callable[[], Any], seconds: float) -> float:
    """Seconds of a call, over as many calls as fit into the time, after one that warms the caches up."""
    timer = timeit.Timer(call)  # which switches the garbage collector off
    count = max(1, math.ceil(seconds / max(timer.timeit(1), 1e-7)))
    elapsed = timer.timeit(count)
    if elapsed < seconds / 2:  # the first call was slow
        count = math.ceil(count * seconds / elapsed)
        elapsed = timer.timeit(count)
    return elapsed / count


def peak_memory() -> int:
    """The most bytes this process has had in memory; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").split("\n")
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
