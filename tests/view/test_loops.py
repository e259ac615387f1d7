"""Loops in pictures: the body once, in a frame that says how many steps; with gradients one box each way."""

import graphc
from graphc import nn
from graphc.view.from_graph import make_picture


class Reader(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.cell = nn.RNN(3, 4, **options)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0])


def test_the_body_stands_in_a_frame_with_the_number_of_steps():
    picture = make_picture(graphc.trace(Reader(), x="float32[T,N,3]"))
    (frame,) = (c for c in picture.clusters if "×" in c.label)
    assert frame.label == "one × T"
    inside = [n.label for n in picture.nodes if n.cluster == frame.id]
    assert inside.count("tanh") == 1 and "scan" not in inside
    assert any(n.label == "carry_before" for n in picture.nodes)


def test_unrolled_every_step_is_drawn():
    picture = make_picture(graphc.trace(Reader(unroll=True), x="float32[5,N,3]"))
    assert [n.label for n in picture.nodes].count("tanh") == 5


def test_gradients_are_one_box_beside_the_loop():
    net = Reader()
    graph = graphc.differentiate(graphc.trace(lambda x: (net(x) ** 2).sum(), x="float32[T,2,3]"))
    labels = {n.label: n for n in make_picture(graph).nodes}
    assert "∇scan" in labels
    assert any(line.text == "3 ops × T steps" for line in labels["scan"].lines)
    assert any(
        {e.source, e.target} == {labels["∇scan"].id, labels["∇linear"].id} for e in make_picture(graph).edges
    )
