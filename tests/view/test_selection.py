"""Parts of a picture: what is near, the way of one gradient, modules opened one by one; and the health of gradients."""

import numpy as np
import pytest

import graphc.nn.functional as F
from graphc import api, nn
from graphc.errors import UsageError
from graphc.view import Picture, make_picture
from graphc.view.health import Flow, dead_units, root_mean_square
from graphc.view.render_ir import Kind, Role, Text
from graphc.view.units import gradients_of


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return (self.fc(x) + x).relu()


def joint():
    model = nn.Sequential(Block(), Block(), nn.Linear(3, 2))
    return api.differentiate(api.graph_of(model, {"x": "float32[N,3]"}))


def labels(picture, backward: bool = False) -> list[str]:
    return [
        n.label
        for n in picture.nodes
        if n.backward is backward and n.role in (Role.OP, Role.GRADIENT, Role.MODULE)
    ]


def test_focus_takes_what_is_near_and_says_how_much_is_left_out() -> None:
    graph = joint()
    whole, near, nearer = make_picture(graph), *(make_picture(graph, focus="1.add", hops=h) for h in (1, 0))
    assert {n.id for n in nearer.nodes} < {n.id for n in near.nodes} < {n.id for n in whole.nodes}
    assert labels(nearer) == ["add"]
    assert labels(near) == ["relu", "linear", "add", "relu"]
    assert near.notices[-1] == f"{len(near.nodes)} of {len(whole.nodes)} boxes: within 1 edge of 1.add"
    ids = {n.id for n in near.nodes}
    kept = [e for e in whole.edges if e.source in ids and e.target in ids]
    assert list(near.edges) == kept


def test_focus_on_a_module_and_on_a_parameter() -> None:
    graph = joint()
    assert set(labels(make_picture(graph, focus="0", hops=0))) == {"linear", "add", "relu"}
    assert labels(make_picture(graph, focus="2.weight", hops=0)) == ["linear"]
    with pytest.raises(UsageError, match="nothing in the picture is called 'ad'"):
        make_picture(graph, focus="ad")


def test_the_way_of_a_gradient_leads_from_the_loss_to_the_parameter() -> None:
    graph = joint()
    picture = make_picture(graph, grad_path_of="1.fc.weight")
    assert labels(picture) == ["linear", "add", "relu", "linear"]
    assert labels(picture, True) == ["∇linear", "", "∇add", "∇relu", "∇linear"]
    arrives = {e.target for e in picture.edges if e.kind is Kind.GRADIENT}
    stub = next(n for n in picture.nodes if n.backward and not n.label)
    assert stub.id in arrives
    first = make_picture(graph, grad_path_of="0.fc.weight")
    assert len(first.nodes) > len(picture.nodes)
    with pytest.raises(UsageError, match="no gradient of x"):
        make_picture(graph, grad_path_of="x")
    with pytest.raises(UsageError, match="there is no value"):
        make_picture(graph, grad_path_of="9.weight")


def test_between_two_boxes_stands_what_lies_on_a_way(tmp_path) -> None:
    graph = joint()
    whole, part = make_picture(graph), make_picture(graph, between=("0.add", "1.add"))
    assert labels(part) == ["add", "relu", "linear", "add"]
    assert labels(part, True) == ["∇add", "∇relu", "∇linear", "", "∇add"]
    assert part.notices[-1] == f"{len(part.nodes)} of {len(whole.nodes)} boxes: the ways from 0.add to 1.add"
    ids = {n.id for n in part.nodes}
    assert list(part.edges) == [e for e in whole.edges if e.source in ids and e.target in ids]
    assert set(labels(make_picture(graph, between=("0", "2")))) == {"linear", "add", "relu"}
    with pytest.raises(UsageError, match="nothing leads from 1.add to 0.add") as caught:
        make_picture(graph, between=("1.add", "0.add"))
    assert "between=('0.add', '1.add')" in caught.value.fix
    with pytest.raises(UsageError, match="focus and between"):
        make_picture(graph, between=("0.add", "1.add"), focus="0")


def test_one_module_is_opened_while_the_others_stay_folded() -> None:
    graph = joint()
    assert labels(make_picture(graph, depth=1)) == ["0", "1", "linear"]
    opened = make_picture(graph, depth=1, expand=["1"])
    assert labels(opened) == ["0", "linear", "add", "relu", "linear"]
    assert [c.label for c in opened.clusters if not c.backward] == ["1"]


def test_a_page_keeps_the_part() -> None:
    picture = make_picture(joint(), focus="1.add", hops=1, known={})
    ids = {n.id for n in picture.nodes}
    assert picture.steps and all({s.at, *s.uses, *s.shows} <= ids for s in picture.steps)


def test_root_mean_square_against_float64() -> None:
    data = np.random.default_rng(0).normal(size=1000)
    assert root_mean_square(data) == pytest.approx(np.sqrt((data**2).mean()), rel=1e-13)
    assert root_mean_square(np.full(4, 1e300)) == pytest.approx(1e300)
    assert root_mean_square(np.zeros(3)) == 0.0


@pytest.mark.parametrize(("by", "sign", "word"), [(1e-2, "↓↓", "vanish"), (1e2, "↑↑", "explode")])
def test_gradients_out_of_band_are_marked(by: float, sign: str, word: str) -> None:
    """Each product multiplies the gradient by the same number: out of band is what is more than 1,000 from 1."""
    graph = api.differentiate(api.graph_of(lambda x: (x * by * by * by).sum(), {"x": "float64[4]"}))
    values = api.evaluated(graph, {"x": np.ones(4)})
    flow = Flow(values, gradients_of(graph), graph)
    warned = {name for name, d in graph.gradients.items() if flow.warning(graph.by_name[d]) == f" {sign}"}
    assert warned == {"mul", "x"}
    assert any(f"({sign})" in notice and word in notice for notice in flow.notices())
    picture = make_picture(graph, values=values, show=("health",), style="layers")
    assert {n.label for n in picture.nodes if any(sign in line.text for line in n.lines)} == {"∇mul", ""}


def test_a_healthy_flow_has_no_notice() -> None:
    graph = joint()
    values = api.evaluated(graph, True)
    assert Flow(values, gradients_of(graph), graph).notices() == []


def test_dead_units_are_counted_over_samples_and_places() -> None:
    images = np.zeros((2, 3, 4, 4))
    images[1, 2, 0, 0] = 1.0
    assert dead_units(images) == (3, 2)


def test_overlays_say_what_they_measure() -> None:
    graph = joint()
    values = api.evaluated(graph, True)
    picture = make_picture(graph, values=values, show=("shapes", "bytes", "norms", "params", "flops"))
    (node,) = (n for n in picture.nodes if n.id == "o-2.linear")
    texts = [line.text for line in node.lines]
    out = values[graph.by_name["2.linear"]] if "2.linear" in graph.by_name else values[graph.outputs[0]]
    assert any(text.endswith(f"‖·‖ {float(np.linalg.norm(out.astype(np.float64))):.4g}") for text in texts)
    assert "8·N bytes" in texts and "8 parameters" in texts


@pytest.mark.parametrize(
    "options",
    [
        ["--focus", "fc1", "--hops", "1"],
        ["--grad-path-of", "fc2.weight"],
        ["--between", "conv2", "fc1"],
        ["--depth", "1", "--expand", "conv2"],
        ["--values", "--show", "shapes,norms,health,bytes"],
    ],
    ids=lambda options: options[0],
)
def test_the_command_line_hands_it_on(options: list[str], tmp_path) -> None:
    from graphc.cli.main import main
    from tests.docs.commands import ROOT

    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    assert main(["render", str(ROOT / "examples/lenet.py"), "-o", str(whole)]) == 0
    assert main(["render", str(ROOT / "examples/lenet.py"), *options, "-o", str(part)]) == 0
    first, second = (Picture.from_json(path.read_text(encoding="utf-8")) for path in (whole, part))
    assert second != first
    if options[0] in ("--focus", "--grad-path-of", "--between"):
        assert len(second.nodes) < len(first.nodes)
        assert second.notices[-1].startswith(f"{len(second.nodes)} of {len(first.nodes)} boxes")
    if options[0] == "--depth":
        assert [c.label for c in second.clusters if not c.backward] == ["conv2"]


def test_a_composite_op_opens_and_closes(tmp_path) -> None:
    def drawn(*expand: str) -> Picture:
        path = tmp_path / "silu.json"
        values = {"x": np.array(2.0), "w": np.array(-1.5)}
        inputs = dict.fromkeys("xw", "float64[]")
        api.render(
            lambda x, w: F.silu(x * w), path, inputs=inputs, view="joint", values=values, expand=expand
        )
        return Picture.from_json(path.read_text(encoding="utf-8"))

    def numbers(picture: Picture) -> list[str | None]:
        ends = [n for n in picture.nodes if n.role in (Role.INPUT, Role.LOSS)]
        return [n.text(Text.VALUE) for n in ends] + [(n.text(Text.GRADIENT) or "").split()[-1] for n in ends]

    closed, opened = drawn(), drawn("silu")
    ops = [[node.label for node in picture.nodes if node.role is Role.OP] for picture in (closed, opened)]
    assert ops == [["×", "silu"], ["×", "σ", "×"]]
    assert numbers(closed) == numbers(opened)
