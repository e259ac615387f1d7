"""Forward and backward of a graph as a lesson: the chain rule op by op, as text or as LaTeX.

forward
  q = x + y = (−2) + 5 = 3                      float64[]         f.py:2
backward, from f
  f = q · z
    ∇q = ∇f · z = −4                            float64[]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from graphc.ir.graph import Graph, Node, Value
from graphc.view.chain_rule import ChainRule, Term, forward_text
from graphc.view.hidden import is_constant, is_hidden
from graphc.view.numbers import MINUS, number
from graphc.view.plain import printable
from graphc.view.units import gradients_of

Values = Mapping[Value, np.ndarray]
OPENED, CLOSED = "\x01", "\x02"  # around a name, so that LaTeX can tell names from operators
POWER = "\x03"  # before an exponent


@dataclass(frozen=True, slots=True)
class Lesson:
    """`str()` is the text, `latex()` a standalone fragment of `align*` environments; see `lesson`."""

    graph: Graph
    values: Values | None = None

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self._text()) + "\n"

    def as_dict(self) -> dict[str, list[dict[str, object]]]:
        """The same as data: forward ops in order, and the terms of each gradient in the order they are computed."""
        rule = self._rule()
        forward: list[dict[str, object]] = [
            {"name": n.outputs[0].name, "formula": forward_text(n, rule.name), "type": str(n.outputs[0].type)}
            for n in self._forward()
        ]
        backward: list[dict[str, object]] = [
            {
                "of": t.operand.name,
                "through": t.node.outputs[0].name,
                "formula": t.text,
                "type": str(t.value.type),
                "shape": list(t.notes),
                "one_of": rule.parts(t.operand),
            }
            for n in reversed(self._forward())
            for t in rule.terms(n)
        ]
        return {"forward": forward, "backward": backward}

    def latex(self) -> str:
        """Two `align*` environments, forward and backward; needs the package amsmath."""
        rule = self._rule(marked=True)
        ahead = [
            _tex(forward_text(node, rule.name) + self._scalar(node.outputs[0]), split=True)
            for node in self._forward()
        ]
        back = []
        for value in self._starts(rule):
            seed = rule.gradient[value]
            given = "\\text{ is given}" if seed.node is None else "= 1"
            back.append(f"{_tex('∇' + rule.name(value))} &{given}")
        for node in reversed(self._forward()):
            for term in rule.terms(node):
                sign = "\\mathrel{+}=" if term.shared else "="
                text = _tex(term.text + self._scalar(term.value))
                notes = f" && \\text{{{'; '.join(map(_words, term.notes))}}}" if term.notes else ""
                back.append(f"{_tex('∇' + rule.name(term.operand))} &{sign} {text}{notes}")
        lines = ["% graphc explain --backward --latex; needs amsmath"]
        for rows in filter(None, (ahead, back)):
            lines += ["\\begin{align*}", " \\\\\n".join(f"  {row}" for row in rows), "\\end{align*}"]
        return "\n".join(lines) + "\n"

    def _starts(self, rule: ChainRule) -> list[Value]:
        return [v for v, d in rule.gradient.items() if v in self.graph.outputs and _is_seed(d)]

    def _scalar(self, value: Value) -> str:
        return self._number(value) if value.type.shape == () else ""

    def _rule(self, marked: bool = False) -> ChainRule:
        around = (OPENED, CLOSED) if marked else ("", "")

        def name(value: Value) -> str:
            return around[0] + (value.name if marked else printable(value.name)) + around[1]

        return ChainRule(self.graph, gradients_of(self.graph), name)

    def _forward(self) -> list[Node]:
        return [n for n in self.graph.nodes if n.provenance.role == "forward" and not is_hidden(n)]

    def _text(self) -> Iterator[str]:
        rule, forward = self._rule(), self._forward()
        rows = []
        for node in forward:
            value, span = node.outputs[0], node.provenance.span
            rows.append(
                (
                    forward_text(node, rule.name) + self._number(value),
                    str(value.type),
                    span.name if span else "",
                )
            )
        yield "forward"
        yield from _columns(rows, "  ")
        starts = self._starts(rule)
        if not starts:
            return
        yield ""
        yield f"backward, from {', '.join(rule.name(v) for v in starts)}"
        for value in starts:
            seed = rule.gradient[value]
            given = "is given" if seed.node is None else "= 1"
            yield f"  ∇{rule.name(value)} {given}: {seed.type}"
        for node in reversed(forward):
            terms = rule.terms(node)
            if terms:
                yield f"  {forward_text(node, rule.name)}"
                yield from _columns([self._row(rule, term) for term in terms], "    ")
                last = dict.fromkeys(t.operand for t in terms if _is_last(rule, t))
                yield from (f"      {_sum(rule, v)}{self._number(rule.gradient[v])}" for v in last)

    def _row(self, rule: ChainRule, term: Term) -> tuple[str, str, str]:
        sign = " += " if term.shared else " = "
        text = f"∇{rule.name(term.operand)}{sign}{term.text}"
        return text + self._number(term.value), str(term.value.type), "; ".join(term.notes)

    def _number(self, value: Value) -> str:
        found = self.values.get(value) if self.values is not None else None
        if found is None:
            return ""
        if found.ndim == 0:
            return f" = {number(found)}"
        return f", norm {number(np.linalg.norm(found.astype(np.float64)))}"


def lesson(graph: Graph, values: Values | None = None) -> Lesson:
    """The lesson of a graph that `differentiate` made; `values` from `graphc.interpret.evaluate` add the numbers."""
    return Lesson(graph, values)


def _is_seed(value: Value) -> bool:
    return value.node is None or is_constant(value)


def _is_last(rule: ChainRule, term: Term) -> bool:
    """Whether this is the last term of a sum: the one of the first op that reads the value."""
    if not term.shared or rule.parts(term.operand) < 2:
        return False
    order = {node: i for i, node in enumerate(rule.graph.nodes)}
    return term.node is min(rule.readers(term.operand), key=order.__getitem__)


def _sum(rule: ChainRule, value: Value) -> str:
    return f"∇{rule.name(value)} is now the sum of its {rule.parts(value)} terms"


def _columns(rows: list[tuple[str, str, str]], indent: str) -> Iterator[str]:
    wide = [min(max((len(row[i]) for row in rows), default=0), 72) for i in range(2)]
    for first, second, third in rows:
        yield f"{indent}{first:<{wide[0]}}  {second:<{wide[1]}}  {third}"


_SYMBOLS = {
    "∇": "\\nabla ", "·": "\\cdot ", "∗": "\\ast ", "ᵀ": "^{\\top}", "Σ": "\\sum ", MINUS: "-", "∂": "\\partial ",
    "≥": "\\ge ", "≤": "\\le ", "≠": "\\ne ", "∞": "\\infty ", "√": "\\surd ", "Φ": "\\Phi ", "φ": "\\varphi ",
    "σ": "\\sigma ", "π": "\\pi ", "λ": "\\lambda ", "Δ": "\\Delta ", "α": "\\alpha ", "ε": "\\varepsilon ",
    "²": "^{2}", "₁": "_{1}", "₂": "_{2}", "×": "\\times ", "÷": "\\div ", "′": "'", "x̂": "\\hat{x}", "…": "\\dots ",
}  # fmt: skip
_ESCAPES = {
    "\\": "\\backslash ", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_",
    "^": "\\hat{}", "~": "\\sim ",
}  # fmt: skip
_FORMULA = {**_ESCAPES, "^": POWER}
_WORDS = {**_ESCAPES, "\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}"}


def _tex(text: str, split: bool = False) -> str:
    """A formula in LaTeX; `split` puts the alignment mark before its first `=`."""
    made = []
    for part in re.split(f"({OPENED}[^{CLOSED}]*{CLOSED})", text):
        if part.startswith(OPENED):
            made.append(_name(part[1:-1]))
            continue
        for piece in re.split(r"((?:[A-Za-z]\w+ )*[A-Za-z]\w+\(?)", part, flags=re.ASCII):
            words, _, function = (piece if piece.endswith("(") else piece + " ").rpartition(" ")
            if not re.match(r"[A-Za-z]\w", piece, flags=re.ASCII):
                made.append("".join(_SYMBOLS.get(c) or _FORMULA.get(c, c) for c in piece))
                continue
            if words:
                made.append(f"\\text{{ {_words(words)} }}")
            if function:
                made.append(f"\\operatorname{{{_words(function[:-1])}}}(")
    formula = _raised("".join(made).replace(" ^{", "^{"))
    return formula.replace(" = ", " &= ", 1) if split else formula


def _name(name: str) -> str:
    """A letter stands as it does in mathematics, with its number below; a longer name upright."""
    letter = re.fullmatch(r"([A-Za-z])_?(\d+)?", name, flags=re.ASCII)
    if letter:
        return letter[1] + (f"_{{{letter[2]}}}" if letter[2] else "")
    return f"\\mathrm{{{_words(name)}}}"


def _raised(formula: str) -> str:
    """Powers: what follows the mark, or stands in brackets behind it, goes up."""
    while POWER in formula:
        before, _, after = formula.rpartition(POWER)
        group = re.match(r"\\mathrm\{(?:[^{}]|\\[{}])*\}|[A-Za-z](?:_\{\d+\})?|-?[\d.]+", after)
        end = group.end() if group else _closing(after)
        inside = after[1 : end - 1] if after.startswith("(") and end else after[:end]
        formula = f"{before}^{{{inside}}}{after[end:]}"
    return formula


def _closing(text: str) -> int:
    """The end of the bracket a text begins with, 0 if it begins with none."""
    depth = 0
    for position, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return position + 1 if c == ")" else 0
    return 0


def _words(text: str) -> str:
    """Any text where LaTeX reads words."""
    return "".join(
        _WORDS.get(c) or (f"${_SYMBOLS[c].strip()}$" if c in _SYMBOLS else c) for c in printable(text)
    )
