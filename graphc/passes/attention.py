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
    for i, node in enumerate(reading.graph.nodes):
        if node.op.name == "matmul":
            home = {j: region for region in regions for j in region.nodes}
            parts = _parts(reading, home, i)
            if parts is not None:
                inside = _with_moves(reading, home, parts)
                regions = [region for region in regions if region not in inside]
                nodes = sorted(j for region in inside for j in region.nodes)
                regions.append(Region("attention", nodes, home[i].space, node))
    return regions


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
    q_side = {reading.position[v.node] for v in _node(scores).inputs[:1] if v.node is not None}
    pending = [v.node for product in (scores, mix) for v in _node(product).inputs if v.node is not None]
    while pending:
        i = reading.position[pending.pop()]
        region = home.get(i)
        if region is None or region in inside or region.kind not in ("view", "loop"):
            continue
        readers = _readers(reading, home, region)
        if readers is None or not all(reader in inside for reader in readers):
            continue
        if not _moves_only(reading, region) and not set(region.nodes) <= _feeds(reading, q_side):
            continue
        inside.append(region)
        pending += [v.node for j in region.nodes for v in reading.graph.nodes[j].inputs if v.node is not None]
    after = _readers(reading, home, parts[2])
    if after is not None and len(after) == 1 and _keeps_columns(reading, after[0], _node(mix)):
        inside.append(after[0])
    return inside


def _node(node: Node | None) -> Node:
    assert node is not None
    return node


def _moves_only(reading: Reading, region: Region) -> bool:
    return all(reading.graph.nodes[i].op.name in MOVES for i in region.nodes)


def _feeds(reading: Reading, ends: set[int]) -> set[int]:
    """Nodes all of whose values end in these and nothing else reads, through elementwise and moving nodes."""
    found = set(ends)
    for i in range(max(ends, default=-1), -1, -1):
        users = {user for user, _ in reading.users[i]}
        if users and users <= found and not reading.returned[i]:
            found.add(i)
    return found


def _keeps_columns(reading: Reading, region: Region, mix: Node) -> bool:
    """Whether a region is one transpose of the result that leaves the last axis where it is."""
    if len(region.nodes) != 1:
        return False
    node = reading.graph.nodes[region.nodes[0]]
    if node.op.name != "transpose" or node.inputs[0] is not mix.output:
        return False
    permutation = node.attributes["permutation"]
    return bool(permutation[-1] == len(permutation) - 1)
