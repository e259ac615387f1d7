"""The order of kernels: several candidates, of which the one with the lowest peak is taken.

Only orders that respect data dependencies are produced.  The peak that is compared is the lower
bound of the order: the most bytes alive at any step.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from graphc.ir.graph import Value
from graphc.ir.partition import Kernel


def orders(kernels: Sequence[Kernel], nbytes: Callable[[Value], int]) -> Iterator[tuple[Kernel, ...]]:
    """The given order, and a greedy one that frees the most memory first."""
    yield tuple(kernels)
    yield greedy(kernels, nbytes)


def greedy(kernels: Sequence[Kernel], nbytes: Callable[[Value], int]) -> tuple[Kernel, ...]:
    """List scheduling: of the kernels that are ready, run the one whose outputs minus freed inputs is smallest.

    Ties go to the earlier kernel of the given order, so the result is deterministic.
    """
    producer = {value: kernel for kernel in kernels for value in kernel.outputs}
    waiting = {k: len({producer[v] for v in k.inputs if v in producer}) for k in kernels}
    readers: dict[Value, int] = {}
    users: dict[Kernel, list[Kernel]] = {k: [] for k in kernels}
    for kernel in kernels:
        for value in kernel.inputs:
            readers[value] = readers.get(value, 0) + 1
        for source in dict.fromkeys(producer[v] for v in kernel.inputs if v in producer):
            users[source].append(kernel)
    position = {kernel: i for i, kernel in enumerate(kernels)}
    consumers: dict[Value, list[Kernel]] = {}
    for kernel in kernels:
        for value in kernel.inputs:
            consumers.setdefault(value, []).append(kernel)
    result: list[Kernel] = []

    def growth(kernel: Kernel) -> int:
        freed = sum(nbytes(v) for v in kernel.inputs if readers[v] == 1 and v in producer)
        return sum(nbytes(v) for v in kernel.outputs) - freed

    # Growth only falls while a kernel waits; each time it stands in the heap once more.
    ready = [(growth(k), position[k]) for k in kernels if waiting[k] == 0]
    heapq.heapify(ready)
    done: set[Kernel] = set()
    while ready:
        best = kernels[heapq.heappop(ready)[1]]
        if best in done:
            continue
        done.add(best)
        result.append(best)
        changed: list[Kernel] = []
        for value in best.inputs:
            readers[value] -= 1
            if readers[value] == 1 and value in producer:
                changed += consumers[value]
        for user in users[best]:
            waiting[user] -= 1
            changed.append(user)
        for kernel in dict.fromkeys(changed):
            if waiting[kernel] == 0 and kernel not in done:
                heapq.heappush(ready, (growth(kernel), position[kernel]))
    return tuple(result)
