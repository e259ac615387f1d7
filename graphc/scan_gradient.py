"""The gradient of a loop is a loop in the other direction.

One step is differentiated like any graph.  What its gradient reads of the forward step is saved by the forward loop,
stacked; what is cheap to make again is made again.  The gradient of an operand that is the same in all steps is a sum
over the steps: of products it is one product of the stacked factors behind the loop, of sums one sum, of anything else
a number the backward loop carries along.  All of it is ops, so it can be differentiated again.

    Werbos, Backpropagation through time, 1990; Griewank and Walther, Evaluating Derivatives, 2nd edition, 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import REGISTRY, Kind, NoGradient
from graphc.ops.control import split
from graphc.passes.cse import cse
from graphc.passes.index_maps import number_of

Gradient = Value | NoGradient | None
Sweep = Callable[[Sequence[Node], Mapping[Value, Value], Sequence[Value]], "dict[Value, Value | NoGradient]"]
AGAIN = ("broadcast_to", "reshape", "transpose")  # made again in the backward loop rather than saved


def scan_rule(node: Node, cotangents: Sequence[Value | None], sweep: Sweep) -> list[Gradient]:
    """The gradients of a scan's operands; emits loops into the ambient builder."""
    step = _differentiated(node, cotangents, sweep)
    return _Loops(node, step, cotangents).gradients()


@dataclass(frozen=True, slots=True)
class _Step:
    """One step with its gradient.

    nodes      of the step and of its gradient, in order; `forward` are those of the step
    outputs    the results of the step
    seeds      for each result the gradient that comes in, None when there is none
    found      for each input its gradient
    """

    nodes: tuple[Node, ...]
    forward: frozenset[Node]
    outputs: tuple[Value, ...]
    seeds: tuple[Value | None, ...]
    found: Mapping[Value, Gradient]

    def has(self, value: Value) -> bool:
        """Whether the step itself has a value, and it is worth saving."""
        if value.node is None:
            return value not in self.seeds
        again = value.node.op.kind is Kind.CREATION or value.node.op.name in AGAIN
        return value.node in self.forward and not again


def _differentiated(node: Node, cotangents: Sequence[Value | None], sweep: Sweep) -> _Step:
    body, carries = node.attributes["body"], node.attributes["carries"]
    builder = Builder(f"d_{body.name}")
    builder.adopt(body.inputs)
    builder.reserve([value.name for value in body.values()])
    for inner in body.nodes:
        builder.append(inner)
    seeds: list[Value | None] = []
    starts: dict[Value, Value] = {}
    with builder:
        for position, (value, ct) in enumerate(zip(body.outputs, cotangents, strict=True)):
            absent = ct is None or (position >= carries and number_of(ct) == 0)
            seed = None if absent else builder.leaf("input", f"d_{value.name}", value.type)
            seeds.append(seed)
            if seed is not None:
                starts[value] = starts[value] + seed if value in starts else seed
        swept = sweep(body.nodes, starts, [v for v in body.inputs if v.dtype.is_float])
    none = NoGradient("whole numbers and booleans have none")
    found: dict[Value, Gradient] = {v: swept.get(v) if v.dtype.is_float else none for v in body.inputs}
    outputs = [*body.outputs, *(g for g in found.values() if isinstance(g, Value))]
    joint, mapping = cse(builder.finish(outputs, [f"y{i}" for i in range(len(outputs))]))
    results = tuple(mapping[v] for v in body.outputs)
    gradients = {v: mapping[g] if isinstance(g, Value) else g for v, g in found.items()}
    return _Step(joint.nodes, _behind(joint.nodes, results), results, tuple(seeds), gradients)


def _behind(nodes: Sequence[Node], values: Sequence[Value]) -> frozenset[Node]:
    """The nodes that values are made of."""
    wanted, found = set(values), set()
    for node in reversed(nodes):
        if any(value in wanted for value in node.outputs):
            found.add(node)
            wanted.update(node.inputs)
    return frozenset(found)


class _Loops:
    """The loops of a gradient while they are put together; `whole` holds values of a step for all steps, stacked."""

    def __init__(self, node: Node, step: _Step, cotangents: Sequence[Value | None]):
        self.node, self.step, self.cotangents = node, step, cotangents
        self.attributes = node.attributes
        self.body: Graph = node.attributes["body"]
        self.carries: int = node.attributes["carries"]
        self.length = node.attributes["length"]
        self.state, self.sequences, self.fixed = split(
            self.body.inputs, carries=self.carries, sequences=node.attributes["sequences"]
        )
        self.operands = dict(zip(self.body.inputs, node.inputs, strict=True))
        self.whole: dict[Value, Value] = {v: self.operands[v] for v in self.sequences}
        self.whole.update(zip(step.outputs[self.carries :], node.outputs[self.carries :]))

    def gradients(self) -> list[Gradient]:
        found = self.step.found
        terms = {v: _terms(g) for v in self.fixed if isinstance(g := found[v], Value)}
        lifted = {v: [t for t in terms[v] if self._lifts(t)] for v in terms}
        summed = {v: [t for t in terms[v] if not self._lifts(t)] for v in terms}
        summed = {v: rest for v, rest in summed.items() if rest}
        stacks = [g for v in self.sequences if isinstance(g := found[v], Value)]
        stacks += [factor for each in lifted.values() for t in each for factor in _factors(t)]
        last, sums = self._run(list(dict.fromkeys(stacks)), summed)
        results: list[Gradient] = []
        for value in self.body.inputs:
            gradient = found[value]
            if value in last:
                results.append(gradient if isinstance(gradient, NoGradient) else last[value])
            elif not isinstance(gradient, Value):
                results.append(gradient)
            elif value in self.sequences:
                results.append(self._stacked(gradient))
            else:
                parts = [self._summed_up(t) for t in lifted[value]]
                parts += [sums[value]] if value in sums else []
                results.append(parts[0] if len(parts) == 1 else REGISTRY["add_n"](*parts))
        return results

    def _lifts(self, term: Value) -> bool:
        """Whether the sum of a term over the steps can be made of stacked factors, behind the loop."""
        factors = _factors(term)
        return bool(factors) and not any(v in self.fixed for v in factors)

    def _run(
        self, stacks: Sequence[Value], summed: Mapping[Value, Sequence[Value]]
    ) -> tuple[dict[Value, Value], dict[Value, Value]]:
        """Emit the loops: the gradients of the first carry, and of the fixed operands those sums it carries along."""
        step = self.step
        carried = {v: s for v, s in zip(self.state, step.seeds) if v.dtype.is_float and s is not None}
        ours = [v for v in stacks if not step.has(v)]
        roots = [g for v in carried if isinstance(g := step.found[v], Value)]
        roots += [t for each in summed.values() for t in each]
        nodes, reads = self._backward([*roots, *ours])
        saved = [v for v in reads if v not in self.fixed]
        same = [v for v in reads if v in self.fixed]
        self._save([*saved, *(v for v in stacks if step.has(v) and v not in self.fixed)])
        seeds = [
            (s, ct)
            for s, ct in zip(step.seeds[self.carries :], self.cotangents[self.carries :])
            if s is not None and ct is not None
        ]
        builder = Builder(f"d_{self.body.name}")
        inner: dict[Value, Value] = {}
        with builder:
            for value in carried.values():
                inner[value] = builder.leaf("input", value.name, value.type)
            totals = {v: builder.leaf("input", f"sum.{v.name}", v.type) for v in summed}
            for value in (*(s for s, _ in seeds), *saved, *same):
                inner[value] = builder.leaf("input", value.name, value.type)
            for node in nodes:
                inputs, types = [inner[v] for v in node.inputs], tuple(v.type for v in node.outputs)
                names = tuple(builder.unique(v.name) for v in node.outputs)
                copy = Node(node.op, tuple(inputs), node.attributes, types, names, node.provenance)
                builder.append(copy)
                inner.update(zip(node.outputs, copy.outputs, strict=True))
            outputs = []
            for value in carried:
                gradient = step.found[value]
                zero = not isinstance(gradient, Value)
                outputs.append(builder.constant(0, value.dtype, value.shape) if zero else inner[gradient])  # type: ignore[index]
            for value, terms in summed.items():
                outputs.append(REGISTRY["add_n"](totals[value], *(inner[t] for t in terms)))
            outputs += [inner[v] for v in ours]
        if not outputs:
            return {}, {}
        around = Builder.current()
        starts = [ct for v, ct in zip(self.state, self.cotangents) if v in carried]
        given = [
            *(ct for ct in starts if ct is not None),
            *(around.constant(0, v.dtype, v.shape) for v in summed),
            *(ct for _, ct in seeds),
            *(self._stacked(v) for v in saved),
            *(self.operands[v] for v in same),
        ]
        attributes = {
            "body": builder.finish(outputs, [f"y{i}" for i in range(len(outputs))]),
            "carries": len(carried) + len(summed),
            "length": self.length,
            "reverse": not self.attributes["reverse"],
            "sequences": len(seeds) + len(saved),
        }
        results = iter(around.emit(REGISTRY["scan"], given, attributes))
        last, sums = dict(zip(carried, results)), {}
        for value in summed:
            sums[value] = next(results)
        self.whole.update(zip(ours, results, strict=True))
        return last, sums

    def _backward(self, roots: Sequence[Value]) -> tuple[list[Node], list[Value]]:
        """The nodes of the backward step, and what they read of the forward one."""
        step = self.step
        wanted = dict.fromkeys(roots)
        nodes: list[Node] = []
        for node in reversed(step.nodes):
            if any(v in wanted and not step.has(v) for v in node.outputs):
                nodes.append(node)
                wanted |= dict.fromkeys(node.inputs)
        values = (*self.body.inputs, *(v for node in step.nodes for v in node.outputs))
        return nodes[::-1], [v for v in values if v in wanted and step.has(v)]

    def _save(self, values: Sequence[Value]) -> None:
        """Have values of the forward step for all steps: by a loop that returns them too, where nothing does yet.

        The carry before a step is that after the step before.
        """
        wanted = [v for v in dict.fromkeys(values) if v not in self.whole]
        before = {v: self.step.outputs[self.state.index(v)] for v in wanted if v in self.state}
        more = [v for v in dict.fromkeys(before.get(v, v) for v in wanted) if v not in self.whole]
        if more:
            nodes = tuple(node for node in self.step.nodes if node in self.step.forward)
            outputs = (*self.step.outputs, *more)
            names = tuple(f"y{i}" for i in range(len(outputs)))
            body = Graph(self.body.name, self.body.inputs, (), (), nodes, outputs, names, self.body.dims)
            attributes = {**self.attributes, "body": body}
            results = Builder.current().emit(REGISTRY["scan"], self.node.inputs, attributes)
            self.whole.update(zip(more, results[len(self.step.outputs) :], strict=True))
        self.whole.update({v: self._one_later(v, self.whole[after]) for v, after in before.items()})

    def _one_later(self, state: Value, after: Value) -> Value:
        """A carry before each step, from what it is after each."""
        first = REGISTRY["reshape"](self.operands[state], shape=(1, *state.shape))
        backwards = int(self.attributes["reverse"])
        whole = REGISTRY["concat"](*((after, first) if backwards else (first, after)), axis=0)
        rank = len(whole.shape)
        starts = (backwards, *(0,) * (rank - 1))
        stops = (self.length + backwards, *state.shape)
        shifted: Value = REGISTRY["slice"](whole, starts=starts, stops=stops, steps=(1,) * rank)
        return shifted

    def _stacked(self, value: Value) -> Value:
        if value not in self.whole:  # the same in all steps
            return Builder.current().broadcast(self.operands[value], (self.length, *value.shape))
        return self.whole[value]

    def _summed_up(self, term: Value) -> Value:
        """The sum of a term over the steps, from its stacked factors."""
        node = term.node
        assert node is not None
        result: Value
        if node.op.name == "reshape":
            result = REGISTRY["reshape"](self._summed_up(node.inputs[0]), shape=node.attributes["shape"])
            return result
        whole = [self._stacked(v) for v in node.inputs]
        if node.op.name == "sum":
            axes = (0, *(axis + 1 for axis in node.attributes["axes"]))
            result = REGISTRY["sum"](*whole, axes=axes)
            return result
        rows = [REGISTRY["reshape"](v, shape=(v.shape[0] * v.shape[1], v.shape[2])) for v in whole]
        result = REGISTRY["matmul"](*rows, transpose_x=True)
        return result


def _terms(gradient: Value) -> list[Value]:
    """The terms of a sum."""
    found, pending = [], [gradient]
    while pending:
        value = pending.pop(0)
        if value.node is not None and value.node.op.name in ("add", "add_n"):
            pending = [*value.node.inputs, *pending]
        else:
            found.append(value)
    return found


def _factors(term: Value) -> tuple[Value, ...]:
    """The values whose stacks give the sum of a term over the steps; none when there is no rule for it."""
    node = term.node
    while node is not None and node.op.name == "reshape":
        node = node.inputs[0].node
    if node is None:
        return ()
    if node.op.name == "sum":
        return node.inputs
    by_rows = (
        node.op.name == "matmul" and node.attributes["transpose_x"] and not node.attributes["transpose_w"]
    )
    return node.inputs if by_rows and all(v.type.rank == 2 for v in node.inputs) else ()
