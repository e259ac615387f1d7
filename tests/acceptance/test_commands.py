"""What a newcomer does at the command line, with every command, on each of the networks; and in poor surroundings."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.cli.main import main
from graphc.passes.pipeline import inference_passes
from tests.acceptance.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]
VIEWS = ("forward", "backward", "joint", "fusion", "memory")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """`run("summary", "lenet.py")` in an empty folder, beside copies of the model files; gives stdout and stderr."""
    for path in models.glob("*.py"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)

    def words(*line: str, status: int = 0) -> Any:
        assert main(list(line)) == status, capsys.readouterr().err
        return capsys.readouterr()

    return words


def process(
    *words: Any, cwd: Path, path: str = "", limit: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """graphc as a program, with no tool on PATH unless one is given."""
    settings = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "GRAPHC"))}
    settings |= {"PATH": path, "PYTHONPATH": str(ROOT)} | environment

    def limits() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "graphc", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, preexec_fn=limits)


# Every command ------------------------------------------------------------------------------------------------------

# Parameters of the published networks: Krizhevsky 2014 and He et al. 2015, as torchvision counts them.
PARAMETERS = {"lenet": "81,194", "mlp_numpy": "3,466", "alexnet": "61,100,840", "resnet18": "11,689,512"}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_summary(name: str, run: Any) -> None:
    assert f"parameters: {PARAMETERS[name]} " in run("summary", f"{name}.py").out


@pytest.mark.parametrize("name", SMALL)
def test_explain(name: str, run: Any) -> None:
    """The graph after each pass, kernels, refusals with reasons, memory; forward, and with the gradients."""
    out = run("explain", f"{name}.py").out
    passes = [each.name for each in inference_passes()]
    assert {"stabilize", "fold_batch_norm", "expand", "canonicalize", "fold_constants", "cse", "dce"} <= set(
        passes
    )
    assert re.findall(r"^after (\w+):", out, re.M) == passes
    assert re.search(r"^fuse: \d+ nodes in \d+ kernels", out, re.M)
    assert re.search(r"^  k0 \w+ \(.*\) -> \(.*\) \{", out, re.M)
    assert "is not fused into" in out and "reads its operands from memory" in out
    assert re.search(r"^memory: arena .* per sample.*lower bound", out, re.M)

    out = run("explain", f"{name}.py", "--train").out
    assert re.findall(r"^after (\w+):", out, re.M) == ["stabilize", "differentiate", *passes]
    graphs = run("explain", f"{name}.py", "--train", "--after", "all").out
    assert graphs.startswith("after trace:\ngraph ")
    differentiated = run("explain", f"{name}.py", "--train", "--after", "differentiate").out
    assert differentiated in graphs and 'as "grad.' in differentiated


def test_explain_tells_of_stable_forms(run: Any) -> None:
    (first, second) = re.findall(r"note (mlp_numpy.py:\d+): .*σ\(x\)", run("explain", "mlp_numpy.py").out)
    assert first == second == "mlp_numpy.py:16"


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("view", VIEWS)
def test_pictures(name: str, view: str, run: Any) -> None:
    run("render", f"{name}.py", "--view", view, "-o", "picture.svg")
    tree = ET.parse("picture.svg")
    assert tree.getroot().tag.endswith("svg")
    text = " ".join(tree.getroot().itertext())
    assert name in text
    assert ("∇" in text) == (view in ("backward", "joint"))
    wanted = {
        "forward": "float32",
        "backward": "∇",
        "joint": "saved for backward",
        "fusion": "k0",
        "memory": "arena",
    }
    assert wanted[view] in text


@pytest.mark.parametrize("view", ["fusion", "memory"])
def test_pictures_of_a_training_graph(view: str, run: Any) -> None:
    run("render", "lenet.py", "--train", "--view", view, "-o", "picture.svg")
    text = " ".join(ET.parse("picture.svg").getroot().itertext())
    assert "conv_dw" in text


@pytest.mark.parametrize(
    ("suffix", "begins"), [("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-"), ("dot", b"digraph")]
)
def test_other_forms_of_pictures(suffix: str, begins: bytes, run: Any) -> None:
    run("render", "lenet.py", "-o", f"picture.{suffix}")
    assert Path(f"picture.{suffix}").read_bytes().startswith(begins)
    assert run("render", "lenet.py", "-o", "-").out.lstrip().startswith(("<?xml", "<svg"))


def test_from_a_model_to_numbers(run: Any) -> None:
    """compile, inspect and run, with JSON: one object on stdout each time, and nothing else."""
    made = json.loads(run("--json", "compile", "lenet.py").out)
    assert made["artefact"] == "lenet.graphc" and sorted(os.listdir("lenet.graphc")) == sorted(made["files"])
    manifest = json.loads(run("inspect", "lenet.graphc", "--json").out)
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "dims": ["N", 1, 32, 32]}]
    x = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
    np.save("x.npy", x)
    ran = json.loads(run("run", "lenet.graphc", "-x", "x.npy", "-o", "y.npy", "--json").out)
    expected = graphc.load("lenet.graphc")(x)
    np.testing.assert_array_equal(np.load("y.npy"), expected)
    np.testing.assert_array_equal(np.array(ran["outputs"]["output"]["values"], np.float32), expected)
    by_model = json.loads(run("--json", "run", "lenet.py", "-x", "x=x.npy").out)
    assert np.array(by_model["outputs"]["output"]["values"]).shape == (2, 10)
    for words in (
        ["summary", "lenet.py"],
        ["explain", "lenet.py"],
        ["render", "lenet.py"],
        ["doctor"],
        ["explain", "GC0107"],
    ):
        assert isinstance(json.loads(run("--json", *words).out), dict), words
    refused = json.loads(run("--json", "run", "lenet.graphc", "-x", "nothing.npy", status=2).out)
    assert refused["exit_code"] == 2 and refused["error"]["code"] == "GC0002"


def test_a_compiled_size_a_range_and_weights(run: Any) -> None:
    run("compile", "lenet.py", "--dim", "N=4", "-o", "four.graphc")
    assert "float32[4,10]" in run("run", "four.graphc", "-x", "random", "--dim", "N=4").out
    assert "float32[3,10]" in run("run", "four.graphc", "-x", "random", "--dim", "N=3").out
    run("compile", "lenet.py", "--dim", "N=1:8", "-o", "eight.graphc")
    assert "N = 1..8" in run("inspect", "eight.graphc").out
    assert "N is 9" in run("run", "eight.graphc", "-x", "random", "--dim", "N=9", status=1).err
    from graphc.weights import save_weights

    weights = graphc.load("eight.graphc").graph.data
    save_weights("w.safetensors", {name: array * 0 for name, array in weights.items()})
    run("compile", "lenet.py", "--weights", "w.safetensors", "-o", "zero.graphc")
    x = np.ones((1, 1, 32, 32), np.float32)
    assert (graphc.load("zero.graphc")(x) == 0).all()
    save_weights("w.npz", {"conv1.wieght": np.zeros(3, np.float32)})
    said = run("compile", "lenet.py", "--weights", "w.npz", status=1).err
    assert "did you mean conv1.weight?" in said


# Errors -------------------------------------------------------------------------------------------------------------

WRONG = {
    "channels": (
        "from graphc import nn\nmodel = nn.Conv2d(3, 8, 3)\ninputs = {'x': 'float32[N,1,32,32]'}\n",
        "channels", "",
    ),
    "features": (
        "from graphc import nn\nfc = nn.Linear(100, 10)\ndef forward(x):\n    return fc(x.reshape(-1, 64))\n"
        "inputs = {'x': 'float32[N,8,8]'}\n",
        "GC0107", "4   return fc(x.reshape(-1, 64))",
    ),
    "branch": ("def f(x):\n    if x.sum() > 0:\n        return x\n    return -x\ninputs = {'x': 'float32[N,4]'}\n",
               "graphc.where", "2   if x.sum() > 0:"),
    "loop": ("def f(x):\n    return sum(x[i] for i in range(len(x)))\ninputs = {'x': 'float32[N,4]'}\n", "N", "2   "),
    "import": ("import no_such_module\n", "No module named 'no_such_module'", "1   import no_such_module"),
    "syntax": ("def f(x)\n    return x\n", "SyntaxError: expected ':'", "1   def f(x)"),
    "raises": ("def f(x):\n    return x.T @ undefined\ninputs = {'x': 'float32[N,4]'}\n",
               "undefined", "2   return x.T @ undefined"),
    "recursion": ("def f(x):\n    return f(x)\ninputs = {'x': 'float32[N,4]'}\n", "too deeply", "1   def f(x):"),
    "several": ("def one(x): return x\ndef two(x): return x\ninputs = {'x': 'float32[N]'}\n",
                "2 objects could be the model", ""),
    "nothing": ("x = 1\n", "model", ""),
    "dtype": ("def f(x): return x\ninputs = {'x': 'float33[N]'}\n", "float33", "2   inputs = {'x': 'float33[N]'}"),
    "no op": ("import numpy as np\ndef f(x):\n    return np.linalg.svd(x)\ninputs = {'x': 'float32[4,4]'}\n",
              "np.linalg.svd", "3   return np.linalg.svd(x)"),
    "no inputs": ("def f(x):\n    return x\n", "inputs", ""),
    "nothing returned": ("def f(x):\n    y = x + x\ninputs = {'x': 'float32[N]'}\n", "return", ""),
    "sizes": ("def f(x, y):\n    return x + y\ninputs = {'x': 'float32[N,3]', 'y': 'float32[N,4]'}\n",
              "3", "2   return x + y"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["compile", "summary"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_model_file(case: str, command: str, run: Any) -> None:
    """What, where with a caret, exit code 1; no internal frames, nothing written."""
    text, message, place = WRONG[case]
    Path("wrong.py").write_text(text)
    before = sorted(os.listdir("."))
    said = run(command, "wrong.py", status=1)
    assert said.out == ""
    assert said.err.startswith("error GC0") and message in said.err, said.err
    assert "Traceback" not in said.err and "bug" not in said.err and "graphc/" not in said.err
    if place:
        assert f"--> wrong.py:{place}" in said.err, said.err
        assert re.search(r"^ +\^+$", said.err, re.M) or case in ("recursion",), said.err
    assert sorted(os.listdir(".")) == before


# Poor surroundings --------------------------------------------------------------------------------------------------


def test_without_any_tool(models: Path, tmp_path: Path) -> None:
    """No linker: the .o alone, a note that says what would add the .so, and Python runs it all the same."""
    path = tmp_path / "lenet.graphc"
    done = process("compile", models / "lenet.py", "-o", path, cwd=tmp_path)
    assert done.returncode == 0
    if "lenet.so" not in os.listdir(path):  # the ziglang wheel links without PATH
        assert "note: no linker was found, so there is no lenet.so" in done.stderr
        assert "apt-get install gcc" in done.stderr and "pip install" in done.stderr
    assert {"lenet.o", "lenet.h", "lenet.py", "manifest.json"} <= set(os.listdir(path))
    done = process("run", path, "-x", "ones", "--dim", "N=2", cwd=tmp_path)
    assert done.returncode == 0 and "float32[2,10]" in done.stdout
    assert process("doctor", cwd=tmp_path).returncode == 0


def test_without_graphviz(models: Path, tmp_path: Path) -> None:
    """No picture and exit code 4, with the line that installs what is missing; what needs no layout works."""
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "pygraphviz.py").write_text("raise ImportError('libX11.so.6: cannot open shared object file')\n")
    here = {"cwd": tmp_path, "PYTHONPATH": f"{stub}{os.pathsep}{ROOT}"}
    for suffix in ("svg", "png", "pdf"):
        done = process("render", models / "lenet.py", "-o", f"a.{suffix}", **here)
        assert done.returncode == 4, done.stderr
        assert "apt-get install graphviz" in done.stderr and "libX11" in done.stderr
        assert not (tmp_path / f"a.{suffix}").exists()
    assert process("render", models / "lenet.py", "-o", "a.dot", **here).returncode == 0
    assert process("render", models / "lenet.py", "--view", "memory", "-o", "a.svg", **here).returncode == 0
    done = process("compile", models / "lenet.py", "--render", "-o", "a.graphc", **here)
    assert done.returncode == 0 and "no pictures" in done.stderr and "apt-get install graphviz" in done.stderr
    assert "joint.svg" not in os.listdir(tmp_path / "a.graphc")
    graphc.load(tmp_path / "a.graphc")


def test_a_full_disk(models: Path, tmp_path: Path) -> None:
    """A limit on the size of files fails like a full disk, in the middle of a file."""
    before = sorted(os.listdir(tmp_path))
    for words in (
        ["compile", models / "lenet.py", "-o", "a.graphc", "--no-cache"],
        ["render", models / "lenet.py", "-o", "a.dot"],
        ["run", models / "lenet.py", "-x", "ones", "--dim", "N=2000", "-o", "y.npy"],
    ):
        done = process(*words, cwd=tmp_path, limit=20_000, XDG_CACHE_HOME=os.environ["XDG_CACHE_HOME"])
        assert done.returncode == 1, done.stderr
        assert "error GC0410: cannot write" in done.stderr and "bug" not in done.stderr
        assert sorted(os.listdir(tmp_path)) == before, "nothing is left behind"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_results_that_cannot_be_written(models: Path, tmp_path: Path) -> None:
    for words in ("summary {}", "--json summary {}", "render {} -o -", "explain {}", "-h", "--version"):
        line = words.format(models / "lenet.py").split()
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "graphc", *line], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=full, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert done.returncode == 1 and "no space left on device" in done.stderr, done.stderr
        assert "bug" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_reader_that_stops_reading(models: Path, tmp_path: Path) -> None:
    line = f'"{sys.executable}" -m graphc explain "{models / "resnet18_small.py"}" --after all | head -n 1'
    done = subprocess.run(
        line,
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "after trace:\n" and done.stderr == ""


def test_a_place_that_cannot_be_written(models: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    place = Path("/proc") if os.geteuid() == 0 else locked  # nothing is locked for root but what is no disk
    for words in (
        ["compile", models / "mlp_numpy.py", "-o", place / "a.graphc"],
        ["render", models / "mlp_numpy.py", "-o", place / "a.svg"],
    ):
        done = process(*words, cwd=tmp_path, path=os.environ["PATH"])
        assert done.returncode == 1 and "error GC0410: cannot write" in done.stderr, done.stderr
        assert "give another place with -o" in done.stderr
    done = process(
        "compile", models / "mlp_numpy.py", "-o", "a.graphc", cwd=tmp_path, XDG_CACHE_HOME=str(place / "none")
    )
    assert done.returncode == 0, "without a cache it only takes longer"
    assert "CacheWarning" not in done.stderr and "note: cannot write the compile cache" in done.stderr


def test_a_model_beside_which_nothing_can_be_written(models: Path, tmp_path: Path, run: Any) -> None:
    """Reading a model leaves nothing beside it: no bytecode, no cache."""
    before = sorted(os.listdir(models))
    run("summary", str(models / "resnet18_small.py"))
    assert sorted(os.listdir(models)) == before
