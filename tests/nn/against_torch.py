"""Compares a module of ours with PyTorch's of the same weights: values, gradients by input and by parameter."""

import numpy as np

from graphc.autodiff import differentiate
from graphc.frontends.python.tracer import trace_graph
from graphc.interpret import interpret


def bound(reference):
    """1e-9 of the largest element, the project's bound for float64."""
    return 1e-9 * max(1.0, float(np.abs(reference).max(initial=0.0)))


def same(ours, theirs, what):
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
    assert ours.shape == theirs.shape, what
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs), err_msg=what)


def check_module(ours, theirs, arrays, *, training=False, open_batch=True):
    """Same weights into both; then one call and its gradients, with a random cotangent (1 for a number)."""
    import torch

    ours.double()
    theirs.double()
    theirs.train(training)
    if list(theirs.state_dict()):
        ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    names = [f"x{i}" for i in range(len(arrays))] if len(arrays) > 1 else ["x"]
    types = {n: _type(a, open_batch) for n, a in zip(names, arrays)}
    graph = trace_graph(_Named(ours, names) if len(arrays) > 1 else ours, types, training=training)
    target = graph.output_names[0]
    whole = differentiate(
        graph, [n for n, a in zip(names, arrays) if a.dtype.kind == "f"] + _used(graph), of=target
    )
    tensors = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = theirs(*tensors)
    cotangent = np.random.default_rng(5).normal(size=tuple(y.shape)) if y.ndim else np.ones(())
    (y * torch.tensor(cotangent)).sum().backward()
    given = dict(zip(names, arrays))
    for leaf in whole.inputs:
        if leaf.name.startswith("cotangent."):
            given[leaf.name] = cotangent
    results = dict(zip(whole.output_names, interpret(whole, given)))
    same(results[target], y, "value")
    for name, tensor in zip(names, tensors):
        if tensor.requires_grad:
            same(results[f"grad.{name}"], tensor.grad, f"gradient of {name}")
    parameters = dict(theirs.named_parameters())
    for name in _used(graph):
        same(results[f"grad.{name}"], parameters[name].grad, f"gradient of {name}")
    for name, buffer in theirs.named_buffers():
        if f"new.{name}" in results:
            same(results[f"new.{name}"], buffer, f"new {name}")
    return graph


def _used(graph):
    return [leaf.name for leaf in graph.parameters]


def _type(array, open_batch):
    sizes = ["N" if i == 0 and open_batch else str(n) for i, n in enumerate(array.shape)]
    return f"{array.dtype}[{','.join(sizes)}]"


class _Named:
    """A module of several inputs called x0, x1 ..."""

    def __new__(cls, module, names):
        from graphc import nn

        class Wrapped(nn.Module):
            def forward(self, x0, x1):
                return module(x0, x1)

        return Wrapped()
