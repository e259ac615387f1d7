"""Attention as one kernel: softmax(q·kᵀ and what follows it)·v, for a block of rows at a time, the scores in the cache.

`attend` runs after the other fusions. It joins the regions of the two products and of the softmax between them when
nothing else reads what passes between them, and takes in what only moves their operands (slices, transposes, reshapes;
for q elementwise work too) and a transpose of the result that keeps its last axis. `attention_of` reads the parts back
from a kernel's nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir.graph import Node, Value
from graphc.ir.op import Kind
from graphc.passes.index_maps import source
from graphc.passes.reading import Reading
from graphc.passes.regions import Region

MOVES = ("slice", "transpose", "reshape", "broadcast_to")
LONGEST = 4096  # keys: a block of rows of scores has to stay in the second-level cache


@dataclass(frozen=True, slots=True)
class Attention:
    """The parts of an attention kernel.

    scores  q·kᵀ: its operands are q[..., m, d] and k, its result [..., m, s]
    shown   what the softmax is taken of: the scores, or what elementwise nodes make of them
    top     maximum of a row
    less    shown - maximum
    power   exp of it
    total   sum of a row
    weights power / total
    mix     weights·v
    result  the result, or its transpose
    """

    scores: Node
    shown: Value
    top: Node
    less: Node
    power: Node
    total: Node
    weights: Node
    mix: Node
    result: Value


def attention_of(nodes: Sequence[Node]) -> Attention | None:
    """The parts of an attention among the nodes of a kernel, None when they are not all there."""
    products = [node for node in nodes if node.op.name == "matmul"]
    if len(products) != 2:
        return None
    scores, mix = products
    weights = mix.inputs[0].node
    softmax = _softmax(weights) if weights is not None else None
    if weights is None or softmax is None:
        return None
    top, less, power, total = softmax
    shown = top.inputs[0]
    last = nodes[-1]
    moved = last.op.name == "transpose" and last.inputs[0] is mix.output
    if last is not mix and not moved:
        return None
    return Attention(scores, shown, top, less, power, total, weights, mix, last.output)


def _softmax(weights: Node) -> tuple[Node, Node, Node, Node] | None:
    """maximum, difference, exp and sum of a softmax over the last axis."""
    power, total = _made(weights, "div", 0), _below(weights, "div", 1)
    less = _made(power, "exp", 0)
    top = _below(less, "sub", 1)
    if power is None or total is None or less is None or top is None:
        return None
    last = (weights.output.type.rank - 1,)
    over = all(n.attributes.get("axes") == last for n in (top, total))
    if (top.op.name, total.op.name) != ("max", "sum") or not over:
        return None
    if total.inputs[0] is not power.output or top.inputs[0] is not less.inputs[0]:
        return None
    return top, less, power, total


def _made(node: Node | None, name: str, operand: int) -> Node | None:
    """The node that makes an operand of a node of this name."""
    return node.inputs[operand].node if node is not None and node.op.name == name else None


def _below(node: Node | None, name: str, operand: int) -> Node | None:
    """The same, under what repeats a number along a row."""
    return source(node.inputs[operand])[0].node if node is not None and node.op.name == name else None


def attend(reading: Reading, regions: list[Region]) -> list[Region]:
    """Join the regions of every attention."""
    home = {j: region for region in regions for j in region.nodes}
    gone: set[int] = set()
    made: list[Region] = []
    for i, node in enumerate(reading.graph.nodes):
        parts = _parts(reading, home, i) if node.op.name == "matmul" else None
        if parts is None:
            continue
        inside = _with_moves(reading, home, parts)
        gone |= {id(region) for region in inside}
        nodes = sorted(j for region in inside for j in region.nodes)
        made.append(Region("attention", nodes, home[i].space, node))
        home.update(dict.fromkeys(nodes, made[-1]))
    return [region for region in (*regions, *made) if id(region) not in gone]


def _parts(reading: Reading, home: dict[int, Region], mix: int) -> list[Region] | None:
    """The regions of scores, softmax and mix, when the product at `mix` is the end of an attention."""
    nodes, last = reading.graph.nodes, home[mix]
    weights = nodes[mix].inputs[0].node
    if last.nodes != [mix] or weights is None or _softmax(weights) is None:
        return None
    softmax = home.get(reading.position[weights])
    if softmax is None or softmax.kind != "row" or softmax.moves:
        return None
    if _readers(reading, home, softmax) != [last]:
        return None
    first = [
        home[r.root]
        for j in softmax.nodes
        for r in reading.reads[j]
        if r.root is not None and home[r.root] is not softmax
    ]
    products = [region for region in first if region.anchor is not None and region.anchor.op.name == "matmul"]
    for region in products:
        if _readers(reading, home, region) == [softmax] and _plain(reading, region, softmax, nodes[mix]):
            return [region, softmax, last]
    return None


def _readers(reading: Reading, home: dict[int, Region], region: Region) -> list[Region] | None:
    """The other regions that read a region's values, each once; None when the graph returns one of them."""
    if any(reading.returned[i] for i in region.nodes):
        return None
    found: list[Region] = []
    for i in region.nodes:
        for user, _ in reading.users[i]:
            if home[user] is not region and home[user] not in found:
                found.append(home[user])
    return found


def _plain(reading: Reading, first: Region, softmax: Region, mix: Node) -> bool:
    """Whether shapes are those of an attention with fixed lengths, and nothing but the softmax is in its region."""
    scores = first.anchor
    assert scores is not None
    parts = attention_of([reading.graph.nodes[i] for i in (*first.nodes, *softmax.nodes)] + [mix])
    if parts is None or parts.scores is not scores:
        return False
    own = {parts.top, parts.less, parts.power, parts.total, parts.weights}
    for i in softmax.nodes:
        node = reading.graph.nodes[i]
        if node not in own and (
            node.op.kind is not Kind.ELEMENTWISE or node.output.shape != scores.output.shape
        ):
            return False
    *_, m, s = scores.output.shape
    fixed = all(isinstance(d, int) and d > 0 for v in (*scores.inputs, *mix.inputs) for d in v.shape[-2:])
    batched = scores.inputs[0].type.rank == scores.inputs[1].type.rank == mix.inputs[1].type.rank
    straight = not scores.attributes["transpose_x"] and not mix.attributes["transpose_x"]
    return (
        fixed
        and batched
        and straight
        and isinstance(s, int)
        and s <= LONGEST
        and scores.output.dtype.is_float
    )


def _with_moves(reading: Reading, home: dict[int, Region], parts: list[Region]) -> list[Region]:
    """The regions of an attention and those that only bring its operands into place."""
    inside = list(parts)
    scores, mix = parts[0].anchor, parts[2].anchor
    assert scores is not None and mix is not None
    query = _feeds(reading, scores.inputs[0].node)
    pending = [v.node for product in (scores, mix) for v in product.inputs if v.node is not None]
    while pending:
        region = home.get(reading.position[pending.pop()])
        if region is None or region in inside or region.kind not in ("view", "loop"):
            continue
        readers = _readers(reading, home, region)
        if readers is None or not all(reader in inside for reader in readers):
            continue
        if not _moves_only(reading, region) and not set(region.nodes) <= query:
            continue
        inside.append(region)
        pending += [v.node for j in region.nodes for v in reading.graph.nodes[j].inputs if v.node is not None]
    after = _readers(reading, home, parts[2])
    if after is not None and len(after) == 1 and _keeps_columns(reading, after[0], mix):
        inside.append(after[0])
    return inside


def _moves_only(reading: Reading, region: Region) -> bool:
    return all(reading.graph.nodes[i].op.name in MOVES for i in region.nodes)


def _feeds(reading: Reading, query: Node | None) -> set[int]:
    """The node that makes q, and before it those that nothing else reads, as long as they move or work by element."""
    if query is None:
        return set()
    found, pending = {reading.position[query]}, [query]
    while pending:
        for value in pending.pop().inputs:
            i = -1 if value.node is None else reading.position[value.node]
            if (
                i in found
                or value.node is None
                or value.node.op.kind not in (Kind.ELEMENTWISE, Kind.MOVEMENT)
            ):
                continue
            if not reading.returned[i] and all(user in found for user, _ in reading.users[i]):
                found.add(i)
                pending.append(value.node)
    return found


def _keeps_columns(reading: Reading, region: Region, mix: Node) -> bool:
    """Whether a region is one transpose of the result that leaves the last axis, and the distance of rows is fixed."""
    if len(region.nodes) != 1:
        return False
    node = reading.graph.nodes[region.nodes[0]]
    if node.op.name != "transpose" or node.inputs[0] is not mix.output:
        return False
    permutation = node.attributes["permutation"]
    rank = len(permutation)
    behind = node.output.shape[permutation.index(rank - 2) + 1 :]
    return permutation[-1] == rank - 1 and all(isinstance(size, int) for size in behind)
