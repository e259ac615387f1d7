"""The process of one contender: `python -m benchmarks.worker PEER WORKLOAD THREADS ANSWER`.

It builds the workload, writes its answer to the file ANSWER (.npz), says so in one line of JSON, and then waits: each
line it reads is a number of seconds to measure for, each line it answers the seconds of one call.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
import timeit
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import peers, workloads


def pin(threads: int) -> None:
    """All threads of this process to as many cores, the same for every contender."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))[:threads]
    for thread in os.listdir("/proc/self/task"):
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


def main(arguments: Sequence[str]) -> None:
    peer, name, threads, answer = arguments
    # What a library prints is not part of the conversation.
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(value: Any) -> None:
        talk.write(json.dumps(value) + "\n")
        talk.flush()

    start = time.perf_counter()
    try:
        contender = peers.build(peer, workloads.named(name), int(threads))
    except (peers.NotOffered, ImportError) as reason:
        say({"reason": str(reason)})
        return
    np.savez(answer, *contender.answer)
    pin(int(threads))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say({"built": time.perf_counter() - start, "memory": peak})
    for line in sys.stdin:
        contender.reset()
        say(measure(contender.call, float(line)))


if __name__ == "__main__":
    main(sys.argv[1:])
