"""NumPy, as one writes these models by hand; the matrix products are those of its BLAS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers import STEPS
from benchmarks.weights import parameters
from benchmarks.workloads import Workload
from graphc.bench.serve import Contender, NotOffered


def build(workload: Workload, threads: int) -> Contender:
    x = workload.input()
    match workload.entry:
        case "MLP":
            call = _mlp(workload, x)
        case "Product":
            w = _arrays({"proj.weight": (workload.choices["columns"], workload.choices["inner"])})[0].T.copy()
            call = lambda: x @ w  # noqa: E731
        case "TwoLayers":
            return _two_layers(workload, x)
        case _:
            raise NotOffered("nobody writes this model in NumPy")
    return Contender(call, [call()])


def _arrays(shapes: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    return list(parameters(shapes).values())


def _mlp(workload: Workload, x: np.ndarray) -> Callable[[], np.ndarray]:
    sizes = workload.choices["sizes"]
    shapes = {}
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        shapes |= {f"layers.{i}.weight": (b, a), f"layers.{i}.bias": (b,)}
    arrays = _arrays(shapes)
    layers = [(w.T.copy(), b) for w, b in zip(arrays[::2], arrays[1::2])]
    sigmoid = workload.choices.get("activation") == "sigmoid"

    def call() -> np.ndarray:
        y = x
        for w, b in layers[:-1]:
            y = y @ w + b
            y = 1 / (1 + np.exp(-y)) if sigmoid else np.maximum(y, 0)
        w, b = layers[-1]
        return y @ w + b

    return call


def _two_layers(workload: Workload, x: np.ndarray) -> Contender:
    features, hidden, outputs = (workload.choices[k] for k in ("features", "hidden", "outputs"))
    arrays = _arrays({"fc1.weight": (hidden, features), "fc2.weight": (outputs, hidden)})
    first = [w.T.copy() for w in arrays]
    w1, w2 = (w.copy() for w in first)
    target, rate = workload.target_array(), np.float32(workload.rate)

    def step() -> float:
        h = 1 / (1 + np.exp(-(x @ w1)))
        difference = h @ w2 - target
        loss = float(np.square(difference).sum())
        slope = 2 * difference
        hidden_slope = (slope @ w2.T) * h * (1 - h)
        w2[...] -= rate * (h.T @ slope)
        w1[...] -= rate * (x.T @ hidden_slope)
        return loss

    def reset() -> None:
        w1[...], w2[...] = first

    return Contender(step, [np.asarray(step()) for _ in range(STEPS)], reset)
