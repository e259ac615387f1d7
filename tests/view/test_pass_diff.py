"""What a pass did: every node of both graphs is accounted for, and the sides lie over each other."""

import re

import numpy as np
import pytest

from graphc import api, nn
from graphc.cli.main import main
from graphc.pipeline import lower
from graphc.view import draw, to_svg
from graphc.view.hidden import is_hidden
from graphc.view.pass_diff import _entries, pass_pictures
from graphc.view.render_ir import Mark, Picture

needs_engine = pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10)

    def forward(self, x):
        x = self.bn(self.conv(x)).relu().mean((2, 3))
        return self.fc(x).exp().sum(1).log()


def log():
    model = Model()
    model.eval()
    return lower(api.graph_of(model, {"x": "float32[N,3,8,8]"})).log


def test_every_node_of_both_graphs_is_accounted_for() -> None:
    found = log()
    before = found.before
    for step in found.steps:
        entries = _entries(before, step)
        for graph, side in ((before, "old"), (step.graph, "new")):
            shown = [getattr(entry, side) for entry in entries if getattr(entry, side) is not None]
            visible = [node for node in graph.nodes if not is_hidden(node)]
            assert len(shown) == len(set(shown))
            assert set(visible) <= set(shown)
        before = step.graph


def test_marks_say_what_happened() -> None:
    picture = pass_pictures(log())["stabilize"]
    marks = {node.label: node.mark for node in picture.nodes if node.mark}
    assert marks == {"− exp": Mark.REMOVED, "− sum": Mark.REMOVED, "~ log → logsumexp": Mark.CHANGED}
    assert re.match(r"\d+ → \d+ nodes, .* FLOP", picture.notices[0])
    assert not any(
        "/" in notice.split(": ")[0] for notice in picture.notices[1:]
    )  # no folder of this machine


def test_a_pass_that_changes_nothing_has_no_picture() -> None:
    names = [step.name for step in log().steps]
    assert set(pass_pictures(log())) < set(names)


def test_json_keeps_the_marks() -> None:
    for picture in pass_pictures(log()).values():
        assert Picture.from_json(picture.to_json()) == picture


@needs_engine
@pytest.mark.parametrize("name", ["stabilize", "fold_batch_norm"])
def test_the_sides_lie_over_each_other(name: str) -> None:
    def places(side: str) -> dict[str, str]:
        svg = to_svg(pass_pictures(log(), side)[name]).replace("&#45;", "-")
        return dict(
            re.findall(
                r'<g id="([^"]*)" class="node.*?<(?:path|polygon)[^>]* (?:d|points)="([^"]*)"', svg, re.DOTALL
            )
        )

    both, before, after = map(places, ("both", "before", "after"))
    assert set(before) | set(after) == set(both)
    assert set(after) < set(both)
    for side in (before, after):
        moved = [place(side[node]) - place(both[node]) for node in side]
        np.testing.assert_allclose(moved, np.broadcast_to(moved[0], (len(moved), 2)), atol=0.02)


def place(numbers: str) -> np.ndarray:
    return np.array(re.findall(r"[-\d.]+", numbers)[:2], float)


def test_the_command_line_names_the_passes(tmp_path, capsys) -> None:
    model = tmp_path / "m.py"
    model.write_text("def f(x):\n    return ((x + 0.0).exp()).sum(1).log()\ninputs = {'x': 'float32[N,3]'}\n")
    path = tmp_path / "p.json"
    assert main(["render", str(model), "--view", "passes", "--after", "cse", "-o", str(path)]) == 2
    assert "stabilize" in capsys.readouterr().err
    assert main(["render", str(model), "--view", "passes", "--after", "stabilize", "-o", str(path)]) == 0
    assert Picture.from_json(path.read_text()).title.endswith(": stabilize")
