"""The story of a picture: forward op by op, the seed, then backward op by op, a sentence for each.

Where paths meet, the addition is a step of its own.  A step names the box it happens in, the boxes it reads and those
whose numbers it makes known, so that a page can show a computation as it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.ir.graph import Value
from graphc.view.chain_rule import ChainRule, forward_text
from graphc.view.render_ir import Edge, Step
from graphc.view.units import Units

WORDS = {2: "twice", 3: "three times", 4: "four times"}


def rows_story(
    units: Units,
    rule: ChainRule,
    edges: Sequence[Edge],
    *,
    seed: tuple[str, str] | None,
    junctions: Mapping[Value, str],
    stubs: Mapping[Value, str],
    scalar: Callable[[Value], str],
) -> tuple[Step, ...]:
    """The story of a picture in rows.

    seed       box and name of the value where backward begins
    junctions  the ⊕ of each value that has one; `stubs` the gradient box of each leaf
    scalar     the number of a value, empty for a tensor
    """
    into: dict[str, list[str]] = {}
    for edge in edges:
        into.setdefault(edge.target, []).append(edge.source)
    steps = []
    for unit in units.all:
        node = unit.nodes[0]
        value = node.outputs[0]
        text = f"{forward_text(node, rule.name)}{scalar(value)}, {value.type}"
        steps.append(Step(unit.id, text, tuple(into.get(unit.id, ())), (unit.id,)))
    if seed is None:
        return tuple(steps)
    box, name = seed
    steps.append(Step(box, f"Backward begins at {name}: its own gradient is given", (), (box,), True))
    done: set[Value] = set()

    def added(values: Sequence[Value]) -> None:
        for value in values:
            if value in junctions and value not in done:
                done.add(value)
                steps.append(_sum(value, rule, junctions[value], into, stubs))

    for unit in reversed(units.all):
        if not unit.has_gradient:
            continue
        added(unit.results)
        terms = rule.terms(unit.nodes[0])
        text = "\n".join(
            f"∇{rule.name(t.operand)}{' += ' if t.shared else ' = '}{t.text}"
            + (f" ({'; '.join(t.notes)})" if t.notes else "")
            for t in terms
        )
        leaves = dict.fromkeys(stubs[t.operand] for t in terms if t.operand in stubs)
        boxes = (unit.mirror, *leaves)
        text = text or f"Nothing flows back through {unit.label}"
        steps.append(Step(unit.mirror, text, tuple(into.get(unit.mirror, ())), boxes, True))
        added([v for v in unit.operands if v in stubs and units.first_reader(v) is unit])
    return tuple(steps)


def _sum(
    value: Value, rule: ChainRule, junction: str, into: Mapping[str, list[str]], stubs: Mapping[Value, str]
) -> Step:
    count = len(into.get(junction, ()))
    times = WORDS.get(count, f"{count} times")
    text = f"∇{rule.name(value)} is the sum of {count} terms: {rule.name(value)} is used {times}"
    shows = (junction, stubs[value]) if value in stubs else (junction,)
    return Step(junction, text, tuple(into.get(junction, ())), shows, True)
