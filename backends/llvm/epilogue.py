"""Epilogues: what follows an anchor, element by element, before its result is stored."""

from __future__ import annotations

from graphc.ir.partition import Kernel

INLINE = 12  # operations of an epilogue that are written out for every register of a tile
FUNCTIONS = ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "pow")
FUNCTION_COST = 20


def is_short(kernel: Kernel) -> bool:
    """Whether an epilogue is written out for every register; a long one runs over the finished result instead."""
    cost = sum(FUNCTION_COST if n.op.name in FUNCTIONS else 1 for n in kernel.epilogue if n.op.scalar)
    return cost <= INLINE
