"""Tells Modules from other objects without importing what defines them: unless it is imported, there are none."""

from __future__ import annotations

import sys
from typing import Any


def _bases() -> tuple[type, ...]:
    found = []
    for name in ("graphc.nn", "torch.nn"):
        base = getattr(sys.modules.get(name), "Module", None)
        if isinstance(base, type):
            found.append(base)
    return tuple(found)


def is_module(value: Any) -> bool:
    """Whether the object is a graphc or PyTorch Module."""
    return isinstance(value, _bases())


def is_model_class(value: Any) -> bool:
    """Whether the object is a class of Modules, other than the base class itself."""
    bases = _bases()
    return isinstance(value, type) and issubclass(value, bases) and value not in bases


def is_torch_module(value: Any) -> bool:
    base = getattr(sys.modules.get("torch.nn"), "Module", None)
    return isinstance(base, type) and isinstance(value, base)
