"""Learning rates that follow a plan, with PyTorch's names: `scheduler.step()` after each epoch sets `optimizer.lr`.

A compiled step reads `optimizer.lr` in every call, so the plan works for it as for the eager loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from graphc.errors import UsageError
from graphc.optim.optimizer import Optimizer


class LRScheduler:
    """Base: a subclass gives the rate after so many epochs, `rate(epoch)`; `base_lr` is the optimiser's own."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer, self.base_lr, self.last_epoch = optimizer, optimizer.lr, 0
        optimizer.lr = self.rate(0)

    def rate(self, epoch: int) -> float:
        raise NotImplementedError

    def step(self) -> None:
        self.last_epoch += 1
        self.optimizer.lr = self.rate(self.last_epoch)

    def get_last_lr(self) -> list[float]:
        return [self.optimizer.lr]


class LambdaLR(LRScheduler):
    """base_lr · lr_lambda(epoch)"""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]):
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def rate(self, epoch: int) -> float:
        return self.base_lr * self.lr_lambda(epoch)


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

    def rate(self, epoch: int) -> float:
        return self.base_lr * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Times gamma at each of the epochs in `milestones`."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, epoch: int) -> float:
        return self.base_lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """Times gamma after every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, epoch: int) -> float:
        return self.base_lr * float(self.gamma**epoch)


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

    def rate(self, epoch: int) -> float:
        share = min(epoch, self.total_iters) / self.total_iters
        return self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the rate down to eta_min in T_max epochs, and up again.

    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        if T_max < 1:
            raise UsageError(f"T_max must be at least 1, not {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, epoch: int) -> float:
        share = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return self.eta_min + (self.base_lr - self.eta_min) * share
