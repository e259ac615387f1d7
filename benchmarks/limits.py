"""What this machine allows: the least time of a workload by its multiply-adds and by the weights it must read.

For each kernel the larger of two times counts: multiply-adds at the measured peak, and weights at the measured rate of
the memory they lie in.  What a cache holds is read from it, the rest from the next one; a loop reads its weights in
every step and finds them in the cache that holds the loop's.  A convolution by Winograd's algorithm does fewer
multiply-adds than are counted here and can be faster than its limit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from benchmarks.workloads import Workload, named

MULTIPLIES = ("matmul", "conv", "conv_dx", "conv_dw")
COMPUTE = "compute"
HALF = {"fp32": 1.0, "fp16": 0.5}  # of the bytes of a product's weights are stored


@dataclass(frozen=True, slots=True)
class Machine:
    """Measured limits: GFLOP/s and GB/s with 1 and 2 threads, and cache sizes in bytes; two cores have two L2."""

    name: str
    flops: tuple[float, float]
    l1: float
    l2: float
    l3: float
    memory: tuple[float, float]
    l2_bytes: int
    l3_bytes: int

    def peak(self, threads: int) -> float:
        return self.flops[min(threads, 2) - 1]

    def places(self, size: int, threads: int) -> dict[str, tuple[float, float]]:
        """Where weights of so many bytes lie that are read again and again: name -> (their share, GB/s)."""
        threads = min(threads, 2)
        levels = (
            ("L2", self.l2_bytes * threads, self.l2 * threads),
            ("L3", self.l3_bytes, self.l3 * threads),
            ("memory", size, self.memory[threads - 1]),
        )
        found, left = {}, size
        for name, room, rate in levels:
            here = min(left, room)
            if here:
                found[name] = here / size, rate
            left -= here
        return found


@dataclass(frozen=True, slots=True)
class Term:
    """A part of the least time: operations at the peak, or bytes at the rate of the place they lie in.

    place    "compute", "L2", "L3" or "memory"
    amount   operations or bytes
    rate     billions of them a second
    """

    place: str
    amount: float
    rate: float

    @property
    def seconds(self) -> float:
        return self.amount / self.rate / 1e9


@dataclass(frozen=True, slots=True)
class Limit:
    """The least time of a workload with a number of threads.

    flop     operations of products
    read     bytes of weights read in a call, by a loop in every step; `steps` is the most steps of a loop
    terms    what the time is made of: of each kernel the slower of computing and reading
    """

    flop: int
    read: int
    terms: tuple[Term, ...]
    steps: int = 1

    @property
    def seconds(self) -> float:
        return sum(term.seconds for term in self.terms)

    @property
    def waits_for(self) -> str:
        """What takes most of it."""
        return max(self.terms, key=lambda term: term.seconds).place if self.terms else COMPUTE

    @classmethod
    def of(cls, data: dict[str, Any]) -> Limit:
        """The limit of `asdict`."""
        return cls(**{**data, "terms": tuple(Term(**term) for term in data["terms"])})


@dataclass(frozen=True, slots=True)
class Part:
    """A kernel: operations of products in all, bytes of weights, and how often it reads them in a call."""

    flop: int
    weights: int
    times: int = 1


@dataclass(frozen=True, slots=True)
class Work:
    """What a workload has to do."""

    parts: tuple[Part, ...]

    @property
    def flop(self) -> int:
        return sum(part.flop for part in self.parts)

    @property
    def weights(self) -> int:
        return sum(part.weights for part in self.parts)

    def limit(self, machine: Machine, threads: int) -> Limit:
        """The least time on a machine."""
        peak = machine.peak(threads)
        amounts: dict[tuple[str, float], float] = {}
        for part in self.parts:
            size = part.weights * part.times
            places = machine.places(part.weights if part.times > 1 else self.weights, threads)
            computing = part.flop / peak
            reading = sum(size * share / rate for share, rate in places.values())
            if computing >= reading:
                terms = {(COMPUTE, peak): float(part.flop)}
            else:
                terms = {(name, rate): size * share for name, (share, rate) in places.items()}
            for key, amount in terms.items():
                amounts[key] = amounts.get(key, 0.0) + amount
        terms = tuple(
            Term(place, amount, rate) for (place, rate), amount in sorted(amounts.items()) if amount
        )
        read = sum(part.weights * part.times for part in self.parts)
        return Limit(self.flop, read, terms, max(part.times for part in self.parts))


def work_of(workload: Workload) -> Work:
    """The work of a workload, from the graph graphc compiles."""
    return _work(workload.name)


@cache
def _work(name: str) -> Work:
    from graphc.frontends.python.loss_graph import loss_graph
    from graphc.frontends.python.tracer import trace_graph
    from graphc.ir.types import TensorType, dtype_of
    from graphc.optim import SGD
    from graphc.pipeline import lower, stabilized
    from graphc.step import step_graph

    workload = named(name)
    net, x = workload.model("graphc"), workload.input()
    inputs = {"x": TensorType(dtype_of(x), x.shape)}
    if workload.trains:
        y = workload.target_array()
        targets = {"y": TensorType(dtype_of(y), y.shape)}
        forward, updates = loss_graph(net, workload.loss_function("graphc"), inputs, targets)
        step = step_graph(stabilized(forward).graph, SGD(net.parameters(), lr=0.1), updates)
        return Work(tuple(_parts(lower(step.graph, training=True))))
    return Work(tuple(_parts(lower(trace_graph(net.eval(), inputs)), HALF[workload.stored])))


def _multiplied(nodes) -> int:
    """FLOP of products and convolutions, those of every step of a loop too."""
    from graphc.ir.cost import total_flops

    nodes = list(nodes)
    once = total_flops(node for node in nodes if node.op.name in MULTIPLIES)
    return once + sum(loop["length"] * _multiplied(loop["body"].nodes) for loop in _loops(nodes))


def _loops(nodes) -> list[dict]:
    return [node.attributes for node in nodes if node.op.name == "scan"]


def _parts(lowered, stored: float = 1.0) -> Iterable[Part]:
    seen = set()
    for kernel in lowered.partition.kernels:
        weights = [v for v in kernel.inputs if v.leaf in ("parameter", "constant") and v not in seen]
        seen.update(weights)
        products = [v for node in kernel.nodes if node.op.name == "matmul" for v in node.inputs]
        size = sum(v.type.nbytes * (stored if v in products else 1.0) for v in weights)
        times = max((loop["length"] for loop in _loops(kernel.nodes)), default=1)
        yield Part(_multiplied(kernel.nodes), int(size), times)


@cache
def machine() -> Machine:
    """This machine, measured in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits"], check=True, capture_output=True, text=True
    )
    return from_data(json.loads(told.stdout))


def from_data(data: dict) -> Machine:
    """The machine of `asdict`."""
    return Machine(**{key: tuple(v) if isinstance(v, list) else v for key, v in data.items()})


def _measured() -> Machine:
    from graphc.backends.llvm.probe import measure
    from graphc.backends.llvm.target import host

    best = measure()
    return Machine(
        _name(), (best.flops, best.flops_two_threads), best.l1, best.l2, best.l3,
        (best.memory, best.memory_two_threads), host().l2, host().l3,
    )  # fmt: skip


def _name() -> str:
    from graphc.backends.llvm.target import host

    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'} ({host().cpu})"


if __name__ == "__main__":
    print(json.dumps(asdict(_measured())))
