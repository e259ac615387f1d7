"""Where each value of a graph went: its NumPy statement, its kernel, its place in memory, its LLVM IR.

A page shows this beside each box.  The compiled graph is the drawn one after the passes; the log's map leads from one
to the other.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from graphc.errors import UnsupportedError
from graphc.ir.graph import Graph, Value
from graphc.ir.partition import Kernel
from graphc.pipeline import lower
from graphc.plan.plan import Plan, format_bytes

Facts = tuple[tuple[str, str], ...]
FEW = 40  # kernels up to which the LLVM IR is written without being asked for
PACKED = 120_000  # bytes of packed LLVM IR that go into a page without being asked for


@dataclass(frozen=True, slots=True)
class Provenance:
    """Facts by name of a value; LLVM IR by name of a kernel."""

    facts: dict[str, Facts]
    code: dict[str, str]


def provenance(graph: Graph, *, code: bool = False) -> Provenance:
    """Compile a graph as far as its plan, and tell of each value what became of it.

    code   with the LLVM IR of all kernels, however long; else of those that are short
    """
    from graphc.backends.llvm.executable import native_plan
    from graphc.backends.numpy_source.source import statements

    found: dict[str, list[tuple[str, str]]] = {v.name: [] for v in graph.values()}
    for name, line in statements(graph).items():
        if name in found:  # else of an op the source had to open
            found[name].append(("NumPy", line))
    lowered = lower(graph)
    try:
        plan = native_plan(lowered.partition)
    except UnsupportedError as error:
        return Provenance(
            {name: (*facts, ("not compiled", error.message)) for name, facts in found.items()}, {}
        )
    texts = _code(plan, code)
    made = {v: kernel for kernel in plan.order for node in kernel.nodes for v in node.outputs}
    for old in graph.values():
        new = lowered.log.mapping.get(old)
        if new is None:
            if old.node is not None:
                found[old.name].append(("kernel", "none: a pass took it away"))
            continue
        kernel = made.get(new)
        if kernel is not None:
            found[old.name].append(("kernel", _described(kernel)))
        found[old.name].append(("memory", _place(new, plan)))
        if kernel is not None and kernel.name in texts:
            found[old.name].append(("LLVM IR", kernel.name))
    return Provenance({name: tuple(facts) for name, facts in found.items() if facts}, texts)


def _described(kernel: Kernel) -> str:
    return f"{kernel.name} {kernel.kind}: {' '.join(node.op.name for node in kernel.nodes)}"


def _place(value: Value, plan: Plan) -> str:
    location = plan.locations.get(value)
    if location is None:
        return "registers: it never leaves its kernel"
    if location.place not in ("sample", "fixed"):
        return (
            f"{location.place} {location.index} of the caller"
            if location.place != "parameter"
            else "the weights"
        )
    buffer = next((b for b in plan.buffers if any(v is value for v in b.values)), None)
    each = f" · {plan.symbol}" if location.place == "sample" and plan.symbol else ""
    text = f"arena at {location.offset}{each}"
    if buffer is not None:
        text += f", {format_bytes(buffer.size)}{each}, alive from step {buffer.first} to {buffer.last}"
    return text


def _code(plan: Plan, everything: bool) -> dict[str, str]:
    """The LLVM IR of each kernel with its helpers, as emitted."""
    from graphc.backends.llvm.module import build_module
    from graphc.backends.llvm.target import host

    kernels = [kernel for kernel in plan.order if kernel.kind != "view"]
    if len(kernels) > FEW and not everything:
        return {}
    text = build_module(plan, host(), "m").text
    functions: dict[str, list[str]] = {}
    for found in re.finditer(r"^define [^\n]*@m_(k\d+)\b.*?^}\n", text, re.MULTILINE | re.DOTALL):
        functions.setdefault(found[1], []).append(found[0])
    texts = {name: "\n".join(parts) for name, parts in functions.items()}
    if everything:
        return texts
    kept, left = {}, PACKED
    for name in sorted(texts, key=lambda name: len(texts[name])):
        left -= len(zlib.compress(texts[name].encode("utf-8")))
        if left < 0:
            break
        kept[name] = texts[name]
    return kept
