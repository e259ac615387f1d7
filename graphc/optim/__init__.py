"""Optimizers: update rules written once, for the eager loop and for compiled training steps."""

from graphc.optim import schedule as lr_scheduler
from graphc.optim.optimizer import Optimizer
from graphc.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
