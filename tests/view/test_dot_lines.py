"""Long circuits are broken into lines only where one value alone leads on, and nothing is lost."""

import re

from graphc.api import graph_of
from graphc.autodiff import differentiate
from graphc.view import make_picture, to_dot
from graphc.view.dot_lines import PER_LINE, turns
from graphc.view.render_ir import Picture, Role


def drawn(function, names: str) -> Picture:
    return make_picture(differentiate(graph_of(function, dict.fromkeys(names, "float64[]"))))


def chain(x, w):
    for _ in range(12):
        x = x.tanh()
    return x * w


def test_a_chain_goes_on_below_after_a_few_ops() -> None:
    picture = drawn(chain, "xw")
    label = {n.id: n.label for n in picture.nodes}
    found = turns(picture)
    order = [n.id for n in picture.nodes if n.role is Role.OP]
    ends = [order.index(e.source) for t in found for e in picture.edges if e.target == t.edge.source]
    lengths = [b - a for a, b in zip([-1, *ends], [*ends, len(order) - 1], strict=True)]
    assert len(found) == 2 and max(lengths) <= PER_LINE and sum(lengths) == 13
    text = to_dot(picture)
    edges = re.findall(r'^  "([^"]+)" -> "([^"]+)"', text, re.MULTILINE)
    assert {(e.source, e.target) for e in picture.edges} <= set(edges)
    for number, turn in enumerate(found, start=2):
        assert (f"line-{number}", turn.edge.target) in edges
        assert "↳ </FONT>" in text and f"<B>{label[turn.edge.source]}</B>" in text
    assert len(edges) == len(picture.edges) + len(found)  # the edge that ends a line is there, unseen


def test_what_is_read_again_is_not_cut_off() -> None:
    def residual(x, w):
        return chain(x, w) + x

    assert turns(drawn(residual, "xw")) == []


def test_short_circuits_stay_on_one_line() -> None:
    assert turns(drawn(lambda x, y: (x + y) * x, "xy")) == []
