"""The page in a real Chromium: nothing is loaded, nothing complains, every key works, axe finds nothing.

Needs Chromium, Node.js and the packages playwright-core and axe-core; `.ci/run` installs them into .venv/browser, and
GRAPHC_NODE_MODULES names another folder.  `browser.mjs` does what a reader does and reports; here it is judged.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from graphc import api
from graphc.view import Picture, draw, make_picture, to_html

HERE = Path(__file__).parent
MODULES = Path(os.environ.get("GRAPHC_NODE_MODULES") or HERE.parents[1] / ".venv/browser/node_modules")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [
    what
    for what, there in {
        "chromium": CHROMIUM,
        "node": shutil.which("node"),
        f"playwright-core and axe-core in {MODULES}": (MODULES / "playwright-core").is_dir()
        and (MODULES / "axe-core").is_dir(),
        "a layout engine": draw.working_engines(),
    }.items()
    if not there
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not on this machine: {', '.join(MISSING)}"),
]


def examined(page: str, folder: Path) -> dict:
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = ["node", str(HERE / "browser.mjs"), str(MODULES), str(CHROMIUM), str(folder / "page.html")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)[str(folder / "page.html")]


def judged(report: dict, picture: Picture) -> None:
    assert report["log"] == [], "a request, a message of the console, or a dialog"
    assert report["axe"] == []
    texts = [step.text for step in picture.steps]
    assert report["steps"] == len(texts)
    assert report["sentences"] == texts[: len(report["sentences"])]
    assert report["end"]["sentence"] == texts[-1]
    assert report["different"] == [], "a step back does not give what was there before"
    assert report["restored"] == [], "the address does not give the same page"
    assert report["hiddenAtEnd"] == 0
    assert report["unmarked"] == []
    assert report["bold"] >= 3
    assert report["pdf"] == "%PDF"
    assert report["print"]["tools"] == "none"
    assert report["print"]["background"] == "rgb(255, 255, 255)"
    assert report["print"]["wide"]
    assert report["print"]["figure"] > 50
    assert report["overflow"] <= 0, "wider than a phone"
    assert report["plain"]["rows"] > 0
    assert not report["plain"]["tools"]
    assert report["plain"]["picture"]
    keys(report["keys"], texts, next(i for i, step in enumerate(picture.steps) if step.backward))
    assert report["tab"] and report["unreached"] == []
    assert report["enter"]["focus"] == "details"
    assert int(report["found"].split()[0]) > 0
    assert "at=" in report["chosen"]
    assert report["modules"]["same"]
    assert not report["modules"]["one"] or report["modules"]["one"][0] == report["modules"]["one"][2]
    assert sorted(report["shown"]) == sorted(node.id for node in picture.nodes)


def keys(pressed: dict, texts: list[str], backward: int) -> None:
    after = {key: state for key, (_, state) in pressed.items()}
    sentence = {key: state["sentence"] for key, state in after.items()}
    assert sentence["n"] == sentence["f"] == sentence[" "] == texts[0]
    assert sentence["b"] == texts[backward]
    assert sentence["End"] == texts[-1]
    assert after["p"]["frame"] == after["Home"]["frame"] == "The whole picture"
    assert after[" "]["playing"] == "true"
    assert after["/"]["focus"] == "query"
    assert after["?"]["dialog"]
    assert after["t"]["theme"] == "light"
    width = {key: [int(state["width"]) for state in pressed[key]] for key in "+-0"}
    assert width["+"][0] < width["+"][1]
    assert width["-"][0] > width["-"][1]
    assert width["0"][0] > width["0"][1]
    assert after["Escape"]["focus"]
    assert [state["panel"] for state in pressed["d"]] == [True, False]


def test_a_circuit(tmp_path: Path) -> None:
    def function(x, y, z):
        return (x + y) * z * x * 1234.5678 + 1.0

    joint = api.differentiate(api.graph_of(function, dict.fromkeys("xyz", "float64[]")))
    values = api.evaluated(joint, {"x": np.array(-2.0), "y": np.array(5.0), "z": np.array(-4.0)})
    report = examined(to_html(joint, values=values), tmp_path)
    judged(report, make_picture(joint, values=values, known={}))
    assert report["hidden"] > 0


def test_kernels(tmp_path: Path) -> None:
    from graphc.pipeline import lower

    def function(x, w, v):
        return (x @ w).tanh() @ v

    joint = api.differentiate(
        api.graph_of(function, {"x": "float32[N,4]", "w": "float32[4,8]", "v": "float32[8,2]"})
    )
    partition = lower(joint).partition
    report = examined(to_html(partition, view="fusion"), tmp_path)
    judged(report, make_picture(partition, "fusion"))


def test_memory_of_hostile_names(tmp_path: Path) -> None:
    from graphc.ir.partition import singly
    from graphc.plan import make_plan
    from graphc.view.memory_picture import memory_picture
    from tests.view.hostile import ATTRIBUTES, ELEMENTS, SCRIPTS
    from tests.view.test_hostile import graph_of

    names = [*SCRIPTS[:4], *ELEMENTS[:3], ATTRIBUTES[0]]
    plan = make_plan(singly(graph_of(names, SCRIPTS[0])))
    judged(examined(to_html(plan, view="memory"), tmp_path), memory_picture(plan))


@pytest.mark.parametrize("depth", [None, 1])
def test_lenet(tmp_path: Path, depth: int | None) -> None:
    from graphc.frontends.python.model_file import load_model_file

    found = load_model_file(str(HERE.parents[1] / "examples/lenet.py"))
    joint = api.differentiate(api.graph_of(found.model, found.inputs))
    values = api.evaluated(joint, True) if depth is None else None
    report = examined(to_html(joint, values=values, depth=depth), tmp_path)
    judged(report, make_picture(joint, values=values, depth=depth, known={}))
    assert report["modules"]["few"] < report["modules"]["many"]
    assert report["modules"]["one"][0] < report["modules"]["one"][1]
    assert (report["hidden"] > 0) == (depth is None)
