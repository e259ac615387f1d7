"""Parameter groups and clipping: a compiled step equals PyTorch's loop over a hundred steps, and is compiled once."""

import math

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.errors import UsageError
from graphc.optim import lr_scheduler

OPTIMIZERS = {
    "SGD": {"lr": 0.05, "momentum": 0.9},
    "RMSprop": {"lr": 0.003},
    "Adagrad": {"lr": 0.05},
    "Adam": {"lr": 0.01},
    "AdamW": {"lr": 0.01},
}
GROUP = {  # what the first layer does otherwise
    "SGD": {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.1},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "Adagrad": {"lr_decay": 0.1, "lr": 0.02},
    "Adam": {"betas": (0.8, 0.9), "lr": 0.003},
    "AdamW": {"weight_decay": 0.0},
}
CASES = [
    *[("SGD", clip) for clip in ("", "max_norm", "clip_value")],
    ("RMSprop", ""),
    ("Adagrad", "clip_value"),
    ("Adam", "max_norm"),
    ("AdamW", "clip_value"),
]


def net():
    graphc.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(dtype, count=100):
    rng = np.random.default_rng(2)
    return [(rng.normal(size=(6, 4)).astype(dtype), rng.integers(0, 3, 6)) for _ in range(count)]


def grouped(model, name, module):
    groups = [{"params": model[0].parameters(), **GROUP[name]}, {"params": model[2].parameters()}]
    return getattr(module, name)(groups, **OPTIMIZERS[name])


def torchs(model, torch, dtype):
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).to(dtype)
    theirs.load_state_dict({key: torch.tensor(array) for key, array in model.state_dict().items()})
    return theirs


@pytest.mark.torch
@pytest.mark.parametrize("name, clip", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_hundred_compiled_steps_equal_pytorchs(name, clip, dtype, monkeypatch):
    """Groups with settings of their own, a plan of rates, clipping whose limit moves.

    Within the project's bound, 1e-6 of the largest weight in float32 and 1e-9 in float64.
    """
    torch = pytest.importorskip("torch")
    from graphc.backends.llvm import executable

    compiled = []
    plain = executable.compile_plan
    monkeypatch.setattr(executable, "compile_plan", lambda *a, **k: compiled.append(1) or plain(*a, **k))
    ours = net().double() if dtype == "float64" else net()
    theirs = torchs(ours, torch, getattr(torch, dtype))
    optimizer, reference = grouped(ours, name, optim), grouped(theirs, name, torch.optim)
    plan = lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
    expected_plan = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=60)
    limits = (0.3, 0.05, 5.0)
    step = graphc.compile_step(ours, F.cross_entropy, optimizer, **({clip: limits[0]} if clip else {}))
    for number, (x, y) in enumerate(batches(dtype)):
        limit = limits[number // 34]
        if clip:
            setattr(step, clip, limit)
        loss = step(x, y)
        reference.zero_grad()
        expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        expected.backward()
        if clip == "max_norm":
            norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), limit)
            assert step.grad_norm == pytest.approx(float(norm), rel=1e-9 if dtype == "float64" else 1e-3)
        elif clip:
            torch.nn.utils.clip_grad_value_(theirs.parameters(), limit)
        reference.step()
        plan.step()
        expected_plan.step()
        assert loss == pytest.approx(expected.item(), rel=1e-9 if dtype == "float64" else 1e-5)
    assert plan.get_last_lr() == pytest.approx(expected_plan.get_last_lr(), rel=1e-12)
    assert len(compiled) == 1
    for key, parameter in theirs.named_parameters():
        want = parameter.detach().numpy()
        bound = 1e-9 if dtype == "float64" else 1e-6
        np.testing.assert_allclose(ours.state_dict()[key], want, rtol=0, atol=bound * np.abs(want).max())


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("clip", ["max_norm", "clip_value"])
def test_the_eager_loop_does_the_same(backend, clip):
    one, two = net().double(), net().double()
    compiled, eager = grouped(one, "SGD", optim), grouped(two, "SGD", optim)
    step = graphc.compile_step(one, F.cross_entropy, compiled, backend=backend, **{clip: 0.1})
    for x, y in batches("float64", 5):
        step(x, y)
        eager.zero_grad()
        F.cross_entropy(two(graphc.tensor(x)), graphc.tensor(y)).backward()
        if clip == "max_norm":
            nn.utils.clip_grad_norm_(two.parameters(), 0.1)
        else:
            nn.utils.clip_grad_value_(two.parameters(), 0.1)
        eager.step()
    for a, b in zip(one.parameters(), two.parameters()):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


def test_an_infinite_limit_only_measures():
    one, two = net(), net()
    measured = graphc.compile_step(
        one, F.cross_entropy, optim.SGD(one.parameters(), lr=0.1), max_norm=math.inf
    )
    plain = graphc.compile_step(two, F.cross_entropy, optim.SGD(two.parameters(), lr=0.1))
    for x, y in batches("float32", 3):
        assert measured(x, y) == plain(x, y) and measured.grad_norm > 0


def test_a_gradient_that_exploded_does_not_destroy_the_weights():
    """Squares of float32 overflow at 1.8e19; the norm is summed in float64."""
    model = nn.Linear(1, 1, bias=False)
    step = graphc.compile_step(
        model, lambda y, t: (y * t).sum(), optim.SGD(model.parameters(), lr=1.0), max_norm=1.0
    )
    before = model.weight.item()
    step(np.full((1, 1), 1e15, np.float32), np.full((1, 1), 1e15, np.float32))
    assert step.grad_norm == pytest.approx(1e30)
    assert model.weight.item() == pytest.approx(before - 1.0)


def test_limits_that_make_no_sense():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UsageError, match="exclude each other"):
        graphc.compile_step(model, F.cross_entropy, optimizer, max_norm=1, clip_value=1)
    with pytest.raises(UsageError, match="max_norm=0 is not above 0"):
        graphc.compile_step(model, F.cross_entropy, optimizer, max_norm=0)
    step = graphc.compile_step(model, F.cross_entropy, optimizer)
    with pytest.raises(UsageError, match="compiled without max_norm"):
        step.max_norm = 1.0
    assert step.max_norm is None


def test_a_setting_that_changed_is_not_ignored():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = graphc.compile_step(model, F.cross_entropy, optimizer)
    (x, y), *_ = batches("float32", 1)
    step(x, y)
    optimizer.lr = 0.01
    step(x, y)
    optimizer.momentum = 0.5
    with pytest.raises(UsageError, match="changed after the step was compiled"):
        step(x, y)


def test_groups_that_make_no_sense():
    model = net()
    first, last = model[0].parameters(), model[2].parameters()
    with pytest.raises(UsageError, match="no setting momentun; did you mean momentum"):
        optim.SGD([{"params": first, "momentun": 0.9}], lr=0.1)
    with pytest.raises(UsageError, match="needs params"):
        optim.SGD([{"lr": 0.1}])
    with pytest.raises(UsageError, match="stands twice"):
        optim.SGD([{"params": model.parameters()}, {"params": last}])
    with pytest.raises(UsageError, match="negative"):
        optim.SGD([{"params": model.parameters(), "lr": -1.0}])
    with pytest.raises(UsageError, match="Nesterov"):
        optim.SGD([{"params": model.parameters(), "nesterov": True}])
    with pytest.raises(UsageError, match="no parameters"):
        optim.Adam([])
    with pytest.raises(UsageError, match="1 functions for 2 parameter groups"):
        groups = [{"params": model[0].parameters()}, {"params": model[2].parameters()}]
        lr_scheduler.LambdaLR(optim.SGD(groups), [lambda epoch: 1.0])


def test_settings_of_groups():
    model = net()
    optimizer = optim.Adam(model[0].named_parameters(), lr=0.1)
    optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.01})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01] and optimizer.lr == 0.1
    assert len(optimizer.params) == 4 and optimizer.param_groups[1]["betas"] == (0.9, 0.999)
    optimizer.lr = 0.5
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.torch
def test_one_plan_after_another_equals_pytorchs():
    torch = pytest.importorskip("torch")
    ours, theirs = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.2), torch.optim.SGD([torch.zeros(1)], lr=0.2)

    def plan(module, optimizer):
        first = module.LinearLR(optimizer, start_factor=0.1, total_iters=3)
        return module.SequentialLR(optimizer, [first, module.CosineAnnealingLR(optimizer, T_max=7)], [3])

    one, other = plan(lr_scheduler, ours), plan(torch.optim.lr_scheduler, theirs)
    for _ in range(10):
        assert one.get_last_lr() == pytest.approx(other.get_last_lr(), rel=1e-12, abs=1e-16)
        theirs.step()
        one.step()
        other.step()


def test_plans_that_do_not_fit():
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.2)
    plans = [lr_scheduler.ExponentialLR(optimizer, 0.5) for _ in range(2)]
    with pytest.raises(UsageError, match="1 milestones"):
        lr_scheduler.SequentialLR(optimizer, plans, [])
    with pytest.raises(UsageError, match="another optimizer"):
        lr_scheduler.SequentialLR(optim.SGD(nn.Linear(1, 1).parameters()), plans, [2])
