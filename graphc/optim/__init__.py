"""Optimisers with PyTorch's names, defaults and formulas.

Each rule is written once, in ops; the compiled training step, the NumPy source and the eager loop
(`loss.backward(); optimizer.step()`) all run that rule.
"""

from graphc.optim import lr_scheduler
from graphc.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from graphc.optim.lamb import LAMB
from graphc.optim.optimizer import Optimizer
from graphc.optim.sgd import SGD

__all__ = ["LAMB", "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
