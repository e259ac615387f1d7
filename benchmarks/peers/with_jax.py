"""JAX: jit of the same formulas, weights as constants; for the models that are short to write."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import STEPS
from benchmarks.weights import parameters
from benchmarks.workloads import Workload
from graphc.bench.serve import Contender, NotOffered


def build(workload: Workload, threads: int) -> Contender:
    import jax

    forwards = {"MLP": _mlp, "Product": _product, "TwoLayers": _two_layers, "Net": _lenet}
    if workload.entry not in forwards:
        raise NotOffered("written for the short models only")
    net = workload.model("graphc")
    weights = parameters({name: array.shape for name, array in net.state_dict().items()})
    forward = forwards[workload.entry]
    x = jax.numpy.asarray(workload.input())
    if workload.trains:
        return _step(workload, forward, weights, x)
    held = {name: jax.numpy.asarray(array) for name, array in weights.items()}
    run = jax.jit(lambda x: forward(workload, held, x))
    return Contender(lambda: run(x).block_until_ready(), [np.asarray(run(x))])


def _mlp(workload: Workload, w: Any, x: Any) -> Any:
    import jax

    activation = jax.nn.sigmoid if workload.choices.get("activation") == "sigmoid" else jax.nn.relu
    last = len(workload.choices["sizes"]) - 2
    for i in range(last + 1):
        x = x @ w[f"layers.{i}.weight"].T + w[f"layers.{i}.bias"]
        x = x if i == last else activation(x)
    return x


def _product(workload: Workload, w: Any, x: Any) -> Any:
    return x @ w["proj.weight"].T


def _two_layers(workload: Workload, w: Any, x: Any) -> Any:
    import jax

    return jax.nn.sigmoid(x @ w["fc1.weight"].T) @ w["fc2.weight"].T


def _lenet(workload: Workload, w: Any, x: Any) -> Any:
    import jax
    from jax import lax

    for name in ("conv1", "conv2"):
        x = (
            lax.conv_general_dilated(x, w[f"{name}.weight"], (1, 1), "VALID")
            + w[f"{name}.bias"][:, None, None]
        )
        x = lax.reduce_window(jax.nn.relu(x), -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    x = x.reshape(x.shape[0], -1)
    for name in ("fc1", "fc2"):
        x = jax.nn.relu(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])
    return x @ w["fc3.weight"].T + w["fc3.bias"]


def _step(workload: Workload, forward: Any, weights: Any, x: Any) -> Contender:
    import jax

    y = workload.target_array()

    def loss(w: Any) -> Any:
        output = forward(workload, w, x)
        if workload.loss == "squares":
            return ((output - y) ** 2).sum()
        return -jax.nn.log_softmax(output)[np.arange(len(y)), y].mean()

    @jax.jit
    def update(w: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(w)
        return value, jax.tree.map(lambda a, b: a - workload.rate * b, w, slopes)

    first = {name: jax.numpy.asarray(array) for name, array in weights.items()}
    state = [first]

    def step() -> float:
        value, state[0] = update(state[0])
        return float(value)

    def reset() -> None:
        state[0] = first

    return Contender(step, [np.asarray(step()) for _ in range(STEPS)], reset)
