"""The one data structure of a picture: what is drawn, before anyone decides how.

`from_graph` makes a `Picture` from a graph; `dot`, JSON and every later page only write it down.
It holds no colours and no coordinates, so a golden JSON of it is the test of what a picture says.
Ids come from the traced names (never from `id()` or a hash), numbered per module, so that an edit
in one module renumbers no other.
"""

from __future__ import annotations

import dataclasses
import json
import re
import string
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

FORMAT = 1  # raised when a reader of the JSON would have to change
RARE = (
    "facts",
    "closed",
    "mark",
)  # fields of nodes, edges and clusters that the JSON leaves out when they say nothing


class Role(StrEnum):
    """What a node stands for."""

    INPUT = "input"
    PARAMETER = "parameter"
    CONSTANT = "constant"
    VALUE = "value"  # a wire of a scalar circuit
    OP = "op"
    CHIP = "chip"  # local derivative and chain-rule product on a wire
    MODULE = "module"  # a folded module
    OUTPUT = "output"
    LOSS = "loss"
    GRADIENT = "gradient"  # a backward op, or the gradient of an input or parameter
    ACCUMULATE = "accumulate"  # the sum where paths meet
    SEED = "seed"  # the gradient of the loss with respect to itself
    BUFFER = "buffer"  # a stretch of the arena


class Kind(StrEnum):
    """What an edge stands for."""

    DATA = "data"
    GRADIENT = "gradient"
    SAVED = "saved"  # kept from forward for backward
    WIRE = "wire"  # undirected piece of a scalar wire
    TRAFFIC = "traffic"  # through memory, between kernels


class Text(StrEnum):
    """What a line of text in a node says."""

    NAME = "name"
    CONSTANT = "constant"  # the name of an array that is not trained
    TYPE = "type"  # shape and dtype
    VALUE = "value"  # forward number, above the wire
    GRADIENT = "gradient"  # below the wire
    DERIVATIVE = "derivative"  # of one op with respect to one input
    PRODUCT = "product"  # upstream times local
    NOTE = "note"  # everything else


class Mark(StrEnum):
    """What a pass did to a node or an edge."""

    NONE = ""
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    ABSENT = "absent"  # not there on this side; its place stays empty


class Layout(StrEnum):
    """How the picture wants to be arranged."""

    CIRCUIT = "circuit"  # left to right: wires, chips, circles
    ROWS = "rows"  # top to bottom: forward on the left, backward mirrored on the right
    FLOW = "flow"  # top to bottom, no rows
    MAP = "map"  # buffers: steps to the right, addresses upward


@dataclass(frozen=True, slots=True)
class Line:
    kind: Text
    text: str


@dataclass(frozen=True, slots=True)
class Node:
    """One thing drawn; `source` is `file:line` of the user's code."""

    id: str
    role: Role
    label: str
    lines: tuple[Line, ...] = ()
    cluster: str = ""
    backward: bool = False
    source: str = ""
    facts: tuple[tuple[str, str], ...] = ()  # what else is known of it, for who asks: (heading, text)
    mark: Mark = Mark.NONE

    def text(self, kind: Text) -> str | None:
        """The first line of one kind, or None."""
        return next((line.text for line in self.lines if line.kind is kind), None)


@dataclass(frozen=True, slots=True)
class Edge:
    source: str
    target: str
    kind: Kind = Kind.DATA
    label: str = ""
    mark: Mark = Mark.NONE


@dataclass(frozen=True, slots=True)
class Cluster:
    """A module or a fusion group; `parent` is another cluster's id or empty."""

    id: str
    label: str
    parent: str = ""
    backward: bool = False
    group: int = -1  # number of a fusion group, -1 for a module
    closed: bool = False  # whether a page that can open and close it begins with it closed


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of the story: `at` is computed from `uses`, and the numbers of `shows` become known.

    A step forward shows values, a step backward gradients and products.
    """

    at: str
    text: str
    uses: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Legend:
    """One sample of the legend: a role or edge kind in words."""

    sample: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is drawn.  `rows` lists node ids that stand at one height, left to right."""

    title: str
    layout: Layout
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    legend: tuple[Legend, ...] = ()
    notices: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        ids = Counter([n.id for n in self.nodes] + [c.id for c in self.clusters])
        for name, times in ids.items():
            if times > 1 or not name or not set(name) <= SAFE:
                raise ValueError(f"picture {self.title!r}: id {name!r} is repeated or unsafe")
        nodes, clusters = {n.id for n in self.nodes}, {c.id for c in self.clusters}
        for edge in self.edges:
            if not {edge.source, edge.target} <= nodes:
                raise ValueError(
                    f"picture {self.title!r}: edge {edge.source} -> {edge.target} has no such node"
                )
        for step in self.steps:
            if not {step.at, *step.uses, *step.shows} <= nodes:
                raise ValueError(f"picture {self.title!r}: step {step.text!r} is of a node that is not there")
        for owner, cluster in [(n.id, n.cluster) for n in self.nodes] + [
            (c.id, c.parent) for c in self.clusters
        ]:
            if cluster and cluster not in clusters:
                raise ValueError(f"picture {self.title!r}: {owner} lies in {cluster!r}, which is not there")
        placed = Counter(member for row in self.rows for member in row)
        for member, times in placed.items():
            if member not in nodes or times > 1:
                raise ValueError(f"picture {self.title!r}: row member {member!r} is unknown or in two rows")

    def to_json(self) -> str:
        """Versioned JSON, one node or edge a line so that differences read well; what is rare is left out if empty."""
        parts = [f'"graphc_picture": {FORMAT}']
        for name, value in dataclasses.asdict(self).items():
            if name == "steps" and not value:
                continue
            if isinstance(value, (list, tuple)) and value:
                if name in ("nodes", "edges", "clusters"):
                    value = [{k: v for k, v in item.items() if v or k not in RARE} for item in value]
                rows = ",\n  ".join(json.dumps(item, ensure_ascii=False) for item in value)
                parts.append(f"{json.dumps(name)}: [\n  {rows}\n ]")
            else:
                parts.append(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
        whole = "{" + ",\n ".join(parts) + "}\n"
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", whole)  # halves are not UTF-8

    @staticmethod
    def from_json(text: str) -> Picture:
        """Inverse of `to_json`; raises ValueError when the text is not a picture of this format."""
        try:
            fields: dict[str, Any] = json.loads(text)
            version = fields.pop("graphc_picture")
            if version != FORMAT:
                raise ValueError(f"picture format {version} is not {FORMAT}, which this graphc reads")
            fields["layout"] = Layout(fields["layout"])
            fields["nodes"] = tuple(_node(n) for n in fields["nodes"])
            fields["edges"] = tuple(_edge(e) for e in fields["edges"])
            fields["clusters"] = tuple(Cluster(**c) for c in fields["clusters"])
            fields["rows"] = tuple(tuple(row) for row in fields["rows"])
            fields["legend"] = tuple(Legend(**entry) for entry in fields["legend"])
            fields["notices"] = tuple(fields["notices"])
            fields["steps"] = tuple(_step(s) for s in fields.get("steps", ()))
            return Picture(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a graphc picture: {error!r}") from error


def _node(fields: dict[str, Any]) -> Node:
    lines = tuple(Line(Text(line["kind"]), line["text"]) for line in fields["lines"])
    facts = tuple((heading, text) for heading, text in fields.get("facts", ()))
    mark = Mark(fields.get("mark", ""))
    return Node(**fields | {"role": Role(fields["role"]), "lines": lines, "facts": facts, "mark": mark})


def _edge(fields: dict[str, Any]) -> Edge:
    return Edge(**fields | {"kind": Kind(fields["kind"]), "mark": Mark(fields.get("mark", ""))})


def _step(fields: dict[str, Any]) -> Step:
    return Step(**fields | {key: tuple(fields[key]) for key in ("uses", "shows")})


SAFE = frozenset(string.ascii_letters + string.digits + "_.-")
_KEPT = SAFE - {"-"}


def safe_id(prefix: str, name: str) -> str:
    """An id from the safe alphabet for any name, different for different names.

    >>> safe_id("v", "fc1.weight"), safe_id("v", "a b")
    ('v-fc1.weight', 'v-a-20-b')
    """
    kept = "".join(c if c in _KEPT else f"-{ord(c):x}-" for c in name)
    if len(kept) > 96:
        kept = f"{kept[:80]}-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{prefix}-{kept}"


class Ids:
    """Hands out ids: a name's own id the first time, then numbered within that name."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def new(self, prefix: str, name: str) -> str:
        base = safe_id(prefix, name)
        self._taken[base] += 1
        return base if self._taken[base] == 1 else f"{base}--{self._taken[base]}"


_MEANING = {
    Role.INPUT: "input",
    Role.PARAMETER: "parameter",
    Role.CONSTANT: "constant, no gradient",
    Role.MODULE: "folded module",
    Role.OUTPUT: "output",
    Role.LOSS: "loss",
    Role.CHIP: "local derivative; ← upstream · local = downstream",
    Role.GRADIENT: "gradient of the loss with respect to x",
    Role.ACCUMULATE: "gradients add where paths meet",
}
_EDGE_MEANING = {
    Kind.DATA: "forward data",
    Kind.GRADIENT: "gradient",
    Kind.SAVED: "saved for backward",
    Kind.TRAFFIC: "through memory",
}


def legend_for(nodes: tuple[Node, ...], edges: tuple[Edge, ...]) -> tuple[Legend, ...]:
    """The legend of exactly what occurs, in a fixed order."""
    roles, kinds = {n.role for n in nodes}, {e.kind for e in edges}
    entries = [Legend(role.value, text) for role, text in _MEANING.items() if role in roles]
    meaning = _EDGE_MEANING | ({Kind.DATA: "in registers"} if Kind.TRAFFIC in kinds else {})
    entries += [Legend(f"edge-{kind.value}", text) for kind, text in meaning.items() if kind in kinds]
    return tuple(entries)
