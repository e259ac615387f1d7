"""Variants: a model compiled once more with some of its open sizes fixed, beside the general code, chosen at the call.

Code for one size knows its loops, needs no test for the rest of a vector and may choose other kernels. A variant is a
plan of its own in the same module; it shares the weights file and the workspace with the general one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphc.backends.llvm.c_api import size_arguments, size_parameters
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.ir.dims import Dim, evaluate
from graphc.plan import Plan


@dataclass(frozen=True, eq=False)
class Variant:
    """sizes: the symbols it fixes. names: what the module calls those arrays that differ from the general plan's."""

    sizes: Mapping[str, int]
    plan: Plan
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return "_".join(f"{name}{size}" for name, size in sorted(self.sizes.items()))


def with_names(
    variants: Sequence[Variant], data: Mapping[str, np.ndarray]
) -> tuple[tuple[Variant, ...], dict[str, np.ndarray]]:
    """The variants, and all arrays by name: one that has another value in a variant gets a name of its own there."""
    every, made = dict(data), []
    for variant in variants:
        names = {}
        for name, array in variant.plan.graph.data.items():
            known = every.get(name)
            same = known is array or known is not None and _equal(known, array)
            if not same:
                names[name] = name if known is None else f"{name}@{variant.label}"
                every[names[name]] = array
        made.append(Variant(variant.sizes, variant.plan, names))
    return tuple(made), every


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def needs_of(plan: Plan, variants: Sequence[Variant]) -> dict[Dim, int]:
    """Bytes of the workspace for each unit, enough for every variant too."""
    total = dict(plan.needs)
    for variant in variants:
        if variant.plan.symbols:
            for unit, count in variant.plan.needs.items():
                total[unit] = max(total.get(unit, 0), count)
        else:
            missing = variant.plan.workspace() - _bytes(total, variant.sizes)
            total[1] = total.get(1, 0) + max(missing, 0)
    return total


def _bytes(needs: Mapping[Dim, int], sizes: Mapping[str, int]) -> int:
    least = {name: max(size, 1) for name, size in sizes.items()}
    return sum(count * evaluate(unit, least) for unit, count in needs.items())


def emit_choice(
    f: Function, symbols: Sequence[str], general: str, variants: Sequence[tuple[Variant, str]]
) -> None:
    """The body of a function that calls the variant for the sizes it is given, or the general code."""
    sizes = size_arguments(f, symbols)
    own = size_parameters(symbols)
    rest = [value for key, value in f.parameters.items() if key not in own and key != "handle"]
    for variant, name in variants:
        fits: Reg = constant(True, "i1")
        for symbol, size in sorted(variant.sizes.items()):
            fits = f.and_(fits, f.icmp("eq", sizes[symbol], size))
        with f.if_(fits):
            given = [sizes[symbol] for symbol in variant.plan.symbols] or [constant(1, "i64")]
            f.ret(f.call(name, "i32", f.handle, *given, *rest))
    f.ret(f.call(general, "i32", *f.parameters.values()))
