"""What this machine allows: the least time of a workload by its multiply-adds and by the weights it must read.

For each kernel the larger of two times counts: multiply-adds at the measured peak, and bytes of weights at the rate of
the nearest memory that holds the weights of the whole model.  A convolution by Winograd's algorithm does fewer
multiply-adds than are counted here and can be faster than its limit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache

from benchmarks.workloads import Workload

MULTIPLIES = ("matmul", "conv", "conv_dx", "conv_dw")
FITS = 0.8  # of a cache can be kept for weights


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

    def bandwidth(self, weights: int, threads: int) -> tuple[float, str]:
        """GB/s of reading weights of so many bytes again and again, and from where."""
        threads = min(threads, 2)
        if weights <= FITS * self.l2_bytes * threads:
            return self.l2 * threads, "L2"
        if weights <= FITS * self.l3_bytes:
            return self.l3 * threads, "L3"
        return self.memory[threads - 1], "memory"


@dataclass(frozen=True, slots=True)
class Limit:
    """The least seconds of a workload, what most of them are spent on ("compute", "L2", "L3" or "memory"), and why.

    flop, weights   operations of products, bytes of weights
    peak, rate      GFLOP/s and GB/s that count here
    """

    seconds: float
    waits_for: str
    flop: int
    weights: int
    peak: float
    rate: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a workload has to do: (floating-point operations of products, bytes of weights) of each kernel."""

    kernels: tuple[tuple[int, int], ...]

    @property
    def flop(self) -> int:
        return sum(flop for flop, _ in self.kernels)

    @property
    def weights(self) -> int:
        return sum(size for _, size in self.kernels)

    def limit(self, machine: Machine, threads: int) -> Limit:
        """The least time on a machine."""
        peak = machine.peak(threads)
        rate, place = machine.bandwidth(self.weights, threads)
        seconds = {"compute": 0.0, place: 0.0}
        for flop, size in self.kernels:
            computing, reading = flop / peak / 1e9, size / rate / 1e9
            seconds["compute" if computing >= reading else place] += max(computing, reading)
        waits_for = max(seconds, key=lambda name: seconds[name])
        return Limit(sum(seconds.values()), waits_for, self.flop, self.weights, peak, rate)


def work_of(workload: Workload) -> Work:
    """The work of a workload, from the graph graphc compiles."""
    from graphc.frontends.python.loss_graph import loss_graph
    from graphc.frontends.python.tracer import trace_graph
    from graphc.ir.types import TensorType, dtype_of
    from graphc.optim import SGD
    from graphc.pipeline import lower, stabilized
    from graphc.step import step_graph

    net, x = workload.model("graphc"), workload.input()
    inputs = {"x": TensorType(dtype_of(x), x.shape)}
    if workload.trains:
        y = workload.target_array()
        targets = {"y": TensorType(dtype_of(y), y.shape)}
        forward, updates = loss_graph(net, workload.loss_function("graphc"), inputs, targets)
        step = step_graph(stabilized(forward).graph, SGD(net.parameters(), lr=0.1), updates)
        return Work(tuple(_kernels(lower(step.graph, training=True))))
    return Work(tuple(_kernels(lower(trace_graph(net.eval(), inputs)))))


def _multiplied(nodes) -> int:
    """FLOP of products and convolutions, those of every step of a loop too."""
    from graphc.ir.cost import total_flops

    nodes = list(nodes)
    loops = [node.attributes for node in nodes if node.op.name == "scan"]
    once = total_flops(node for node in nodes if node.op.name in MULTIPLIES)
    return once + sum(loop["length"] * _multiplied(loop["body"].nodes) for loop in loops)


def _kernels(lowered) -> Iterable[tuple[int, int]]:
    seen = set()
    for kernel in lowered.partition.kernels:
        flop = _multiplied(kernel.nodes)
        weights = [v for v in kernel.inputs if v.leaf in ("parameter", "constant") and v not in seen]
        seen.update(weights)
        yield flop, sum(v.type.nbytes for v in weights)


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
