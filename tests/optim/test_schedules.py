"""Learning-rate plans and clipping equal PyTorch's; LAMB equals its paper."""

import math

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.errors import UsageError
from graphc.optim import lr_scheduler

SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("StepLR", {"step_size": 1}),
    ("MultiStepLR", {"milestones": [2, 5, 5], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.5, "total_iters": 4}),
    ("CosineAnnealingLR", {"T_max": 6, "eta_min": 0.01}),
]


@pytest.mark.torch
@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=lambda value: str(value)[:30])
def test_rates_equal_pytorchs(name, options):
    torch = pytest.importorskip("torch")
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.2)
    ours = getattr(lr_scheduler, name)(optimizer, **options)
    theirs_optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.2)
    theirs = getattr(torch.optim.lr_scheduler, name)(theirs_optimizer, **options)
    for _ in range(10):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12, abs=1e-15)
        assert ours.get_last_lr() == [optimizer.lr]
        theirs_optimizer.step()
        ours.step()
        theirs.step()


def test_a_compiled_step_follows_the_plan():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data = np.zeros((1, 1), np.float32)
    optimizer = optim.SGD(net.parameters(), lr=1.0)
    plan = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    step = graphc.compile_step(net, lambda y, t: (y * t).sum(), optimizer, backend="numpy")
    moved = []
    for _ in range(3):
        step(np.ones((1, 1), np.float32), -np.ones((1, 1), np.float32))
        plan.step()
        moved.append(net.weight.item())
    assert moved == [1.0, 1.5, 1.75]


@pytest.mark.parametrize(
    ("name", "options"),
    [("StepLR", {"step_size": 0}), ("LinearLR", {"total_iters": 0}), ("CosineAnnealingLR", {"T_max": 0})],
)
def test_plans_of_no_length(name, options):
    with pytest.raises(UsageError, match="at least 1"):
        getattr(lr_scheduler, name)(optim.SGD(nn.Linear(1, 1).parameters()), **options)


def filled(shapes, scale):
    """Parameters with gradients, ours and as arrays."""
    rng = np.random.default_rng(4)
    parameters = [nn.Parameter(np.zeros(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = graphc.tensor(scale * rng.normal(size=parameter.shape))
    return parameters


@pytest.mark.torch
@pytest.mark.parametrize("scale", [0.01, 10.0])
@pytest.mark.parametrize("norm", [2.0, 1.0, math.inf])
def test_clipping_equals_pytorchs(scale, norm):
    torch = pytest.importorskip("torch")
    ours = [*filled([(3, 2), (4,)], scale), nn.Parameter(np.zeros(2))]  # the last one has no gradient
    theirs = [torch.zeros(p.shape, dtype=torch.float64, requires_grad=True) for p in ours]
    for a, b in zip(ours[:2], theirs):
        b.grad = torch.tensor(a.grad.numpy())
    total = nn.utils.clip_grad_norm_(ours, 1.5, norm)
    assert total == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, 1.5, norm)), rel=1e-12)
    for a, b in zip(ours[:2], theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)
    nn.utils.clip_grad_value_(ours, 0.2)
    torch.nn.utils.clip_grad_value_(theirs, 0.2)
    for a, b in zip(ours[:2], theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)
    assert ours[2].grad is None


def lamb(p, g, m, v, t, lr, weight_decay, betas=(0.9, 0.999), eps=1e-6):
    """Algorithm 2 of the paper, in NumPy."""
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    r = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * p
    norms = np.linalg.norm(p), np.linalg.norm(r)
    ratio = norms[0] / norms[1] if all(norms) else 1.0
    return p - lr * ratio * r, m, v


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("first", ["normal", "zero"])
def test_lamb_equals_its_paper(weight_decay, first):
    rng = np.random.default_rng(6)
    start = rng.normal(size=(3, 4)) * (first == "normal")
    parameter = nn.Parameter(start)
    optimizer = optim.LAMB([parameter], lr=0.05, weight_decay=weight_decay)
    expected, m, v = start, np.zeros((3, 4)), np.zeros((3, 4))
    for t in range(1, 21):
        gradient = rng.normal(size=(3, 4))
        parameter.grad = graphc.tensor(gradient)
        optimizer.step()
        expected, m, v = lamb(expected, gradient, m, v, t, 0.05, weight_decay)
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_lamb_compiled_equals_the_eager_loop(backend):
    graphc.manual_seed(2)
    x, y = np.random.default_rng(2).normal(size=(2, 8, 4))
    nets = [nn.Linear(4, 4).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    compiled = graphc.compile_step(
        nets[0], nn.functional.mse_loss, optim.LAMB(nets[0].parameters(), lr=0.1), backend=backend
    )
    eager = optim.LAMB(nets[1].parameters(), lr=0.1)
    for _ in range(5):
        compiled(x, y)
        eager.zero_grad()
        nn.functional.mse_loss(nets[1](graphc.tensor(x)), graphc.tensor(y)).backward()
        eager.step()
    for a, b in zip(nets[0].parameters(), nets[1].parameters()):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-13)
