"""From a plan to something that can be called: `compile_plan` makes an `Executable`, object bytes and weights.

`Executable.load` links the object into this process, lays the weights out and gives a Python function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc.backends.llvm import cache as _cache
from graphc.backends.llvm.facts import Facts
from graphc.backends.llvm.jit import emit_object
from graphc.backends.llvm.layouts import choose_layouts
from graphc.backends.llvm.lowering import scratch_bytes
from graphc.backends.llvm.module import build_module
from graphc.backends.llvm.runnable import Executable, Origin
from graphc.backends.llvm.target import Target, host
from graphc.backends.llvm.variants import Variant, with_names
from graphc.ir.partition import Partition
from graphc.plan import Plan, make_plan


def native_plan(
    partition: Partition, *, target: Target | None = None, donate: Mapping[str, str] | None = None
) -> Plan:
    """`make_plan` with the layouts and the working memory native kernels want on this machine."""
    leaves = {v.name: v for v in (*partition.graph.parameters, *partition.graph.constants)}
    fixed = frozenset(v for name, v in leaves.items() if name not in (donate or {}).values())
    machine = target or host()
    layouts = choose_layouts(partition, machine, fixed)
    return make_plan(
        partition,
        scratch=lambda kernel: scratch_bytes(kernel, machine, fixed, layouts),
        donate=donate,
        layouts=layouts,
    )


def compile_plan(
    plan: Plan,
    data: Mapping[str, np.ndarray] | None = None,
    *,
    target: Target | None = None,
    name: str = "",
    public: Mapping[str, np.ndarray] | None = None,
    cache: _cache.Cache | None = None,
    weights: str = "fp32",
    variants: Sequence[Variant] = (),
) -> Executable:
    """Compile a plan, made by `native_plan`, for a machine; see `origin`.

    cache   where objects are kept between processes; None compiles always
    """
    target = target or host()
    public = public if public is not None else plan.graph.data if data is None else data
    made = origin(plan, data, target=target, name=name, public=public, weights=weights, variants=variants)
    return compile_origin(made, target, public, cache)


def compile_origin(
    made: Origin, target: Target, public: Mapping[str, np.ndarray], cache: _cache.Cache | None = None
) -> Executable:
    """Compile the module of an origin."""
    module = made.module
    facts = Facts(
        module.signature,
        module.weights_bytes,
        None if module.file is None else module.identity,
        module.needs,
        made.plan.verdict,
    )
    return Executable(facts, target, emit_object(module.text, target, cache), public, lambda: made)


def origin(
    plan: Plan,
    data: Mapping[str, np.ndarray] | None = None,
    *,
    target: Target,
    name: str = "",
    public: Mapping[str, np.ndarray] | None = None,
    weights: str = "fp32",
    variants: Sequence[Variant] = (),
) -> Origin:
    """What a plan is compiled from.

    data    arrays of parameters and constants; `plan.graph.data` by default
    target  the machine, this one by default
    name    prefix of the exported symbols, the graph's name by default
    public  the user's own arrays, which the weights file holds beside the packed ones; `data` by default
    weights how weights of matrix products are stored: fp32, fp16 or int8
    variants  code for some sizes beside the general one
    """
    named, every = with_names(variants, plan.graph.data if data is None else data)
    return Origin(plan, build_module(plan, target, name, public, weights=weights, variants=named), every)


def compile_partition(
    partition: Partition,
    *,
    target: Target | None = None,
    donate: Mapping[str, str] | None = None,
    name: str = "",
    public: Mapping[str, np.ndarray] | None = None,
    cache: _cache.Cache | None = None,
) -> Executable:
    """Plan a partition with the working memory its kernels need, and compile it; `donate` is `make_plan`'s."""
    target = target or host()
    plan = native_plan(partition, target=target, donate=donate)
    return compile_plan(plan, target=target, name=name, public=public, cache=cache)
