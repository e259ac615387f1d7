"""Long circuits in lines, as text: where one value alone leads on, the rest goes on below, from that value again."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.view.render_ir import Edge, Picture, Role

PER_LINE = 5  # ops one after the other that fit the width of a page


@dataclass(frozen=True, slots=True)
class Turn:
    """The edge at which a line ends: the next one begins with its source again; `first` stands at the left end."""

    edge: Edge
    first: str


def turns(picture: Picture) -> list[Turn]:
    """Where a circuit is broken into lines of about equal length; nowhere when it is short or nothing can be cut."""
    after: dict[str, list[Edge]] = {}
    before: dict[str, list[str]] = {}
    for edge in picture.edges:
        after.setdefault(edge.source, []).append(edge)
        before.setdefault(edge.target, []).append(edge.source)
    role = {node.id: node.role for node in picture.nodes}
    depth: dict[str, int] = {}  # ops on the longest way to a node
    pending = list(role)
    while pending:  # the edges of a circuit form no cycle
        node = pending[-1]
        waiting = [other for other in before.get(node, ()) if other not in depth]
        if waiting:
            pending += waiting
            continue
        pending.pop()
        depth[node] = max((depth[o] for o in before.get(node, ())), default=0) + (role[node] is Role.OP)
    total = max(depth.values(), default=0)
    lines = -(-total // PER_LINE)
    cuts = [node for node in role if role[node] is Role.VALUE and len(after.get(node, ())) == 1]
    alone = {cut: made for cut in cuts if (made := _made_alone(cut, before, after))}
    found: list[Turn] = []
    passed: set[str] = set()
    for line in range(1, lines):
        wanted = total * line / lines
        left = [cut for cut in alone if passed < alone[cut] and total > depth[cut] > 0]
        if not left:
            break
        cut = min(left, key=lambda node: abs(depth[node] - wanted))
        found.append(Turn(after[cut][0], _leftmost(cut, alone[cut] - passed, before)))
        passed = alone[cut]
    return found


def _made_alone(cut: str, before: dict[str, list[str]], after: dict[str, list[Edge]]) -> set[str]:
    """All a value is made of, if nothing of it is read elsewhere; else nothing."""
    made, pending = {cut}, [cut]
    while pending:
        for other in before.get(pending.pop(), ()):
            if other not in made:
                made.add(other)
                pending.append(other)
    leaks = any(edge.target not in made for node in made - {cut} for edge in after.get(node, ()))
    return set() if leaks else made


def _leftmost(cut: str, line: set[str], before: dict[str, list[str]]) -> str:
    """The node of a line from which the longest way leads to its end."""
    level, found = {cut}, cut
    while level:
        found = min(level)
        level = {other for node in level for other in before.get(node, ()) if other in line}
    return found
