"""The story of a circuit: an op forward is a step, and so is every product of the chain rule and every sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphc.ir.graph import Node as Operation
from graphc.ir.graph import Value
from graphc.view.chain_rule import ChainRule, applied, forward_text
from graphc.view.hidden import is_constant
from graphc.view.numbers import factor, number
from graphc.view.render_ir import Step

Use = tuple[Operation, int]
WORDS = {2: "twice", 3: "three times", 4: "four times"}


@dataclass
class CircuitStory:
    """Collects where things are drawn while a circuit is made, then tells it.

    products  local derivative and upstream gradient of each use, where there are numbers
    """

    rule: ChainRule
    values: Mapping[Value, np.ndarray] | None
    circles: dict[Operation, str] = field(default_factory=dict)
    wires: dict[Value, str] = field(default_factory=dict)
    chips: dict[Use, str] = field(default_factory=dict)
    sums: dict[Value, str] = field(default_factory=dict)
    products: dict[Use, tuple[float, float]] = field(default_factory=dict)

    def steps(self, forward: Sequence[Operation]) -> tuple[Step, ...]:
        """The whole story."""
        told = [self._forward(node) for node in forward if node in self.circles]
        return (*told, *self._backward(forward))

    def _forward(self, node: Operation) -> Step:
        text = forward_text(node, self.rule.name)
        if self.values is not None:
            numbers = [number(self.values[v]) for v in node.inputs]
            result = number(self.values[node.outputs[0]])
            written = applied(node.op, numbers)
            text += f" = {written} = {result}" if written != result else ""
        uses = tuple(dict.fromkeys(self.wires[v] for v in node.inputs if v in self.wires))
        return Step(self.circles[node], text, uses, tuple(self.wires[v] for v in node.outputs))

    def _backward(self, forward: Sequence[Operation]) -> Iterator[Step]:
        name = self.rule.name
        arriving: dict[Value, list[Use]] = {}
        for node, position in self.chips:
            arriving.setdefault(node.inputs[position], []).append((node, position))
        for value in [v for v in self.rule.gradient if v in self.wires and v not in arriving]:
            if not is_constant(value):
                wire = self.wires[value]
                yield Step(wire, f"∇{name(value)} = 1: backward begins here", (), (wire,), True)
        waiting = {value: list(uses) for value, uses in arriving.items()}
        for node in reversed(forward):
            for position, operand in enumerate(node.inputs):
                use = node, position
                if use not in self.chips:
                    continue
                waiting[operand].remove(use)
                yield self._product(use, len(arriving[operand]) > 1)
                if operand in self.sums and not waiting[operand]:
                    yield self._sum(operand, arriving[operand])

    def _product(self, use: Use, shared: bool) -> Step:
        node, position = use
        name, operand = self.rule.name, node.inputs[position]
        out = next(v for v in node.outputs if v in self.rule.gradient)
        text = f"∂{name(out)}/∂{name(operand)} · ∇{name(out)}"
        if use in self.products:
            local, upstream = self.products[use]
            text += f" = {number(local)} · {factor(number(upstream))} = {number(local * upstream)}"
        text = f"One term of ∇{name(operand)}: {text}" if shared else f"∇{name(operand)} = {text}"
        chip = self.chips[use]
        shows = (chip,) if shared else (chip, self.wires[operand])
        read = (self.wires[v] for v in node.inputs if v in self.wires)
        return Step(chip, text, (self.wires[out], *read), shows, True)

    def _sum(self, value: Value, uses: Sequence[Use]) -> Step:
        name = self.rule.name(value)
        text = f"∇{name} is the sum of {len(uses)} terms"
        if all(use in self.products for use in uses):
            terms = [number(local * upstream) for local, upstream in (self.products[use] for use in uses)]
            total = self.values[self.rule.gradient[value]] if self.values is not None else 0.0
            text = f"∇{name} = {' + '.join([terms[0], *map(factor, terms[1:])])} = {number(total)}"
        text += f": {name} is used {WORDS.get(len(uses), f'{len(uses)} times')}, and what comes back adds up"
        chips = tuple(self.chips[use] for use in uses)
        return Step(self.sums[value], text, chips, (self.sums[value], self.wires[value]), True)
