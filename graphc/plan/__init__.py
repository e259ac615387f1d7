"""The plan: in which order kernels run and where every value lives.

schedule -> buffers (aliases, in-place, lifetimes) -> memory (offsets) -> plan; `check` proves the result.
"""

from graphc.plan.plan import Plan, make_plan

__all__ = ["Plan", "make_plan"]
