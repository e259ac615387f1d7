"""The lectures' networks written for PyTorch: the same outputs and gradients through graphc, to 1e-9 in float64."""

import numpy as np
import pytest

import graphc
from graphc.interpret import interpret
from tests.lectures.networks import NETWORKS
from tests.lectures.test_part_d import HAVE_BATCH_NORM, as_in_torch, same

pytestmark = pytest.mark.torch


def check(name, folder, training):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from graphc.frontends.torch import load

    _, theirs, x, given, y = as_in_torch(name, folder, training)
    if training:  # the running statistics before that call
        theirs = as_in_torch(name, folder, False)[1].train()
        y = None
    graph = load(theirs, {"x": f"float64[N,{','.join(map(str, x.shape[1:]))}]"})
    assert {leaf.name for leaf in graph.parameters} == set(dict(theirs.named_parameters()))
    joint = graphc.differentiate(
        graph, wrt=["x", *(leaf.name for leaf in graph.parameters)], of=graph.output_names[0]
    )
    (shape,) = (a.shape for a in interpret(graph, [x])[:1])
    cotangent = np.random.default_rng(0).normal(size=shape)
    arrays = {v.name: x if v.name == "x" else cotangent for v in joint.inputs}
    results = dict(zip(joint.output_names, interpret(joint, arrays), strict=True))
    y = (
        theirs(given) if y is None else y
    )  # afterwards: in training it writes to the statistics, which are shared
    theirs.zero_grad()
    given.grad = None
    (y * torch.tensor(cotangent)).sum().backward()
    same(results[graph.output_names[0]], y.detach().numpy(), "output")
    same(results["grad.x"], given.grad.numpy(), "gradient of x")
    for key, parameter in theirs.named_parameters():
        same(results[f"grad.{key}"], parameter.grad.numpy(), f"gradient of {key}")
    if training:
        for key, buffer in theirs.named_buffers():
            if buffer.dtype.is_floating_point:
                same(results[f"new.{key}"], buffer.numpy(), key)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients(name, tmp_path):
    check(name, tmp_path, training=False)


@pytest.mark.parametrize("name", HAVE_BATCH_NORM[:2])
def test_training(name, tmp_path):
    check(name, tmp_path, training=True)
