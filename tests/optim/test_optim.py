"""Optimisers: the same hundred steps as PyTorch's, and the whole step as one graph."""

import numpy as np
import pytest

from graphc import optim
from graphc.interpret import interpret
from graphc.ir.parser import parse_graph
from graphc.ir.types import parse_type
from graphc.ir.verifier import verify
from graphc.step import step_graph

SETTINGS = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.02}),
    (optim.Adagrad, {"lr": 0.1}),
    (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.2}),
    (optim.RMSprop, {"lr": 0.01}),
    (optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True, "weight_decay": 0.01}),
    (optim.Adam, {}),
    (optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    (optim.AdamW, {"lr": 0.02, "weight_decay": 0.1}),
]


@pytest.mark.torch
@pytest.mark.parametrize(("kind", "options"), SETTINGS, ids=lambda v: getattr(v, "__name__", None) or str(v))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_hundred_steps_equal_pytorchs(kind, options, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    start = rng.normal(size=(4, 3)).astype(dtype)
    slopes = rng.normal(size=(100, 4, 3)).astype(dtype)
    theirs = torch.tensor(start.copy(), requires_grad=True)
    optimizer = getattr(torch.optim, kind.__name__)([theirs], **options)
    ours, p = kind([object()], **options), start
    graph = verify(ours.graph(parse_type(f"{dtype}[4,3]")))
    slots = [ours.initial(s, p.shape, p.dtype) for s in ours.slots]
    for count, slope in enumerate(slopes, 1):
        theirs.grad = torch.tensor(slope)
        optimizer.step()
        p, *slots = interpret(graph, [p, slope, np.asarray(ours.lr), np.asarray(float(count)), *slots])
    bound = 1e-12 if dtype == "float64" else 1e-6 * np.abs(start).max() + 3e-6
    np.testing.assert_allclose(p, theirs.detach().numpy(), rtol=0, atol=bound)


LOSS = """graph net {
  input %x: f64[N,4]
  input %y: f64[N,3]
  param %w: f64[3,4]
  %p: f64[N,3] = matmul %x, %w {transpose_w=True}
  %d: f64[N,3] = sub %p, %y
  %q: f64[N,3] = mul %d, %d
  %s: f64[] = sum %q {axes=(0, 1)}
  return %s as "loss"
}"""


def test_the_step_graph_learns():
    step = step_graph(parse_graph(LOSS), optim.SGD([object()], lr=0.01, momentum=0.5))
    verify(step.graph)
    assert step.donate == {"new.w": "w", "new.w.momentum_buffer": "w.momentum_buffer"}
    assert step.slots == {"w.momentum_buffer": ("w", "momentum_buffer")}
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(3, 4))
    data = {**step.graph.data, "w": np.zeros((3, 4))}
    losses = []
    for count in range(1, 101):
        x = rng.normal(size=(16, 4))
        loss, *new = interpret(
            step.graph,
            {"x": x, "y": x @ truth.T, "lr": np.asarray(0.01), "step": np.asarray(float(count))},
            data,
        )
        data = {
            name.removeprefix("new."): array
            for name, array in zip(step.graph.output_names[1:], new, strict=True)
        }
        losses.append(float(loss))
    assert losses[-1] < 1e-6 * losses[0]
    np.testing.assert_allclose(data["w"], truth, atol=1e-3)
