"""Learning rates that follow a plan, with PyTorch's names: `scheduler.step()` after each epoch sets `optimizer.lr`.

A compiled step reads `optimizer.lr` in every call, so the plan works for it as for the eager loop.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Sequence

from graphc.errors import UsageError
from graphc.optim.optimizer import Optimizer


class LRScheduler:
    """Base: a subclass gives the rate after so many epochs, `rate(epoch, base)`; each group has its own base."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer, self.last_epoch = optimizer, 0
        # as in PyTorch, a second plan for an optimiser starts from the rate before the first
        self.base_lrs = [
            float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups
        ]
        self._set()

    def rate(self, epoch: int, base: float) -> float:
        raise NotImplementedError

    def rates(self, epoch: int) -> list[float]:
        """Of all groups."""
        return [self.rate(epoch, base) for base in self.base_lrs]

    def step(self) -> None:
        self.last_epoch += 1
        self._set()

    def _set(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates(self.last_epoch), strict=True):
            group["lr"] = rate

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


class LambdaLR(LRScheduler):
    """base · lr_lambda(epoch); one function, or a list of one for each group."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ):
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise UsageError(f"{len(self.lr_lambdas)} functions for {groups} parameter groups")
        super().__init__(optimizer)

    def rates(self, epoch: int) -> list[float]:
        return [base * each(epoch) for base, each in zip(self.base_lrs, self.lr_lambdas)]


class StepLR(LRScheduler):
    """Times gamma after every `step_size` epochs.

    >>> from graphc import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    >>> scheduler = StepLR(optimizer, step_size=2)
    >>> for _ in range(4): scheduler.step()
    >>> round(optimizer.lr, 6)
    0.001
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        if step_size < 1:
            raise UsageError(f"step_size must be at least 1, not {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Times gamma at each of the epochs in `milestones`."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return base * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """Times gamma after every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return base * float(self.gamma**epoch)


class LinearLR(LRScheduler):
    """From start_factor to end_factor of the rate in `total_iters` epochs, and constant from there: a warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ):
        if total_iters < 1:
            raise UsageError(f"total_iters must be at least 1, not {total_iters}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        share = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the rate down to eta_min in T_max epochs, and up again.

    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        if T_max < 1:
            raise UsageError(f"T_max must be at least 1, not {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        share = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return self.eta_min + (base - self.eta_min) * share


class SequentialLR(LRScheduler):
    """One plan after the other: `schedulers[i]` begins at epoch `milestones[i - 1]`, as a warm-up and what follows it.

    >>> from graphc import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    >>> warm_up = LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> plan = SequentialLR(optimizer, [warm_up, ExponentialLR(optimizer, 0.5)], milestones=[3])
    >>> rates = []
    >>> for _ in range(6):
    ...     rates.append(optimizer.lr)
    ...     plan.step()
    >>> rates
    [0.25, 0.5, 0.75, 1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]):
        if len(milestones) != len(schedulers) - 1 or sorted(milestones) != list(milestones):
            raise UsageError(
                f"{len(schedulers)} plans need {len(schedulers) - 1} milestones, one after the other"
            )
        if any(scheduler.optimizer is not optimizer for scheduler in schedulers):
            raise UsageError("the plans are of another optimizer")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def rates(self, epoch: int) -> list[float]:
        number = bisect.bisect_right(self.milestones, epoch)
        return self.schedulers[number].rates(epoch - (self.milestones[number - 1] if number else 0))
