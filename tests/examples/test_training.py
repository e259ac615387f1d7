"""The training examples at their small size reach their goals, and draw their pictures."""

import importlib
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "training"
DOCS = FOLDER.parents[1] / "docs" / "pictures" / "training"
sys.path.insert(0, str(FOLDER))
run_all = importlib.import_module("run_all")
sys.path.remove(str(FOLDER))
PICTURES = {
    "initialisation": {"initialisation_tanh", "initialisation_relu", "initialisation_loss"},
    "deep_gradients": {"deep_gradients"},
    "step_size": {"step_size"},
    "overfitting": {"overfitting"},
}


@pytest.mark.parametrize("name", run_all.names())
def test_goals(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    assert run_all.main(["--small", name]) == 0, capsys.readouterr().out
    assert "MISSED" not in capsys.readouterr().out
    drawn = list((tmp_path / "build" / "examples").glob("*.svg"))
    assert {path.stem for path in drawn} == PICTURES.get(name, set())
    for path in drawn:
        committed = (DOCS / path.name).read_text("utf-8")
        assert lines(path.read_text("utf-8")) == lines(committed), "run python docs/build.py"


def lines(svg):
    """The lines of a chart by name, and how many points each has; their places depend on the machine."""
    found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline")
    return [(line[0].text, len(line.get("points").split())) for line in found]


def test_a_missed_goal_is_a_failure(monkeypatch, capsys):
    class Example:
        @staticmethod
        def main(small):
            return {"accuracy": (0.5, ">=", 0.98)}

    monkeypatch.setitem(sys.modules, "worse", Example)
    assert run_all.main(["worse"]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert run_all.met(0.5, "<", 0.6) and run_all.met(1, "<=", 1) and not run_all.met(0.97, ">=", 0.98)
    assert not run_all.met(float("nan"), "<", 1.0)
