"""graphc: the public interface, a NumPy array in and a new one out."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import STEPS
from benchmarks.weights import parameters
from benchmarks.workloads import Workload
from graphc.bench.serve import Contender


def with_arrays(workload: Workload) -> tuple[Any, dict[str, np.ndarray]]:
    """The workload's module with its arrays, and the arrays."""
    net = workload.model("graphc")
    state = net.state_dict()
    arrays = parameters({name: array.shape for name, array in state.items() if array.dtype == np.float32})
    net.load_state_dict({**state, **arrays})
    return net, arrays


def build(workload: Workload, threads: int) -> Contender:
    import graphc

    net, arrays = with_arrays(workload)
    x = workload.input()
    if workload.trains:
        return _step(workload, net, arrays, x, threads)
    net.eval()
    run = graphc.compile(net, inputs={"x": _type(x)}, threads=threads)
    return Contender(lambda: run(x), [run(x)])


def _step(workload: Workload, net, arrays, x: np.ndarray, threads: int) -> Contender:
    import graphc

    y = workload.target_array()
    step = graphc.compile_step(
        net,
        workload.loss_function("graphc"),
        graphc.optim.SGD(net.parameters(), lr=workload.rate),
        {"x": _type(x)},
        {"y": _type(y)},
        threads=threads,
    )

    def reset() -> None:
        for name, array in arrays.items():
            step.arrays[name][...] = array

    losses = [np.asarray(step(x, y)) for _ in range(STEPS)]
    return Contender(lambda: step(x, y), losses, reset)


def _type(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
