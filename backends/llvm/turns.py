"""Kernels that take turns: each computes a few samples, and the next reads them while they are near.

Neighbours in the order form a chain when every sample of what one makes depends on the same sample of what those
before it made, and when no memory is used twice within the chain. Members of a team then need not meet between them.
Which samples are computed together changes no bit, as no kernel's sums go over samples.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.dims import Dim
from graphc.ir.graph import Node, Value
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel
from graphc.plan import Plan
from graphc.plan.buffers import footprint
from graphc.plan.layout import stored_bytes

NEAR = 1 << 18  # bytes of samples that are computed in one turn
WORTH = 1 << 19  # bytes a chain must keep near for all samples, where their number is known
FEWEST = 2  # samples of a turn


def chains(plan: Plan) -> list[tuple[Kernel, ...]]:
    """The kernels of a plan in order, those that may take turns together; the others alone."""
    found: list[list[Kernel]] = []
    for kernel in plan.order:
        if kernel.kind == "view":
            found.append([kernel])
            continue
        if found and _joins(plan, found[-1], kernel):
            found[-1].append(kernel)
        else:
            found.append([kernel])
    return [tuple(chain) for chain in found]


def samples_of(kernel: Kernel) -> Dim:
    """The outermost extent of what a kernel makes."""
    shape = kernel.outputs[0].shape
    return shape[0] if shape else 1


def turn(plan: Plan, chain: Sequence[Kernel]) -> int:
    """How many samples a chain computes in one turn; 0 when turns do not pay."""
    made = [value for kernel in chain for value in kernel.outputs]
    read = {value for kernel in chain[1:] for value in kernel.inputs}
    samples = samples_of(chain[0])
    inner = [stored_bytes(value, plan.layouts) for value in made if value in read]
    if isinstance(samples, int):
        total = sum(size for size in inner if isinstance(size, int))
        if samples == 0 or total < WORTH:
            return 0
        each = total // samples
    else:
        each = sum(footprint(size, plan.symbol)[1] for size in inner)
    count = 1 << max(NEAR // max(each, 1), 1).bit_length() - 1
    while isinstance(samples, int) and samples % count:
        count //= 2
    return count if count >= FEWEST and (not isinstance(samples, int) or count < samples) else 0


def _joins(plan: Plan, chain: Sequence[Kernel], kernel: Kernel) -> bool:
    samples = samples_of(kernel)
    if not all(_by_sample(plan, each, samples) for each in (chain[-1], kernel)):
        return False
    made = {value for each in chain for value in each.outputs}
    if not made & set(kernel.inputs) or not _keeps_samples(kernel, made, samples):
        return False
    later = list(kernel.outputs)
    earlier = [v for each in chain for v in (*each.inputs, *each.outputs)]
    return not any(_overlap(plan, a, b) for a in later for b in earlier)


def _by_sample(plan: Plan, kernel: Kernel, samples: Dim) -> bool:
    """Whether a kernel may compute some samples only: they are outermost, and it needs no other memory."""
    if kernel.kind not in ("convolution", "pooling", "loop") or kernel.name in plan.scratch:
        return False
    if kernel.anchor is not None and kernel.anchor.op.name == "conv_dw":
        return False
    return samples != 1 and all(v.type.rank > 1 and v.shape[0] == samples for v in kernel.outputs)


def _keeps_samples(kernel: Kernel, made: set[Value], samples: Dim) -> bool:
    """Whether what depends on these values depends on the same sample of them."""
    depends = set(made)
    for node in kernel.nodes:
        if not any(v in depends for v in node.inputs):
            continue
        if not _keeps(node, depends, samples):
            return False
        depends.update(node.outputs)
    return True


def _keeps(node: Node, depends: set[Value], samples: Dim) -> bool:
    outermost = [
        v.shape[0] if v.type.rank > 1 else None for v in (*node.inputs, *node.outputs) if v in depends
    ]
    outermost += [v.shape[0] if v.type.rank > 1 else None for v in node.outputs]
    if any(extent != samples for extent in outermost):
        return False
    if node.op.kind is Kind.ELEMENTWISE or node.op.kind is Kind.POOLING:
        return True
    match node.op.name:
        case "conv" | "conv_dx":
            return node.inputs[1] not in depends
        case "reshape":
            return True
        case "broadcast_to":
            return node.inputs[0].type.rank == node.output.type.rank
    return False


def _overlap(plan: Plan, one: Value, other: Value) -> bool:
    """Whether two values lie in the same memory somewhere."""
    if one is other:
        return True
    first, second = plan.locations[one], plan.locations[other]
    if first.place != second.place:
        return False
    if first.place not in ("sample", "fixed"):
        return first.index == second.index
    sizes = [footprint(stored_bytes(v, plan.layouts), plan.symbol)[1] for v in (one, other)]
    return first.offset < second.offset + sizes[1] and second.offset < first.offset + sizes[0]
