"""The commands from end to end, on a small model."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from graphc.cli.main import main

MODEL = """
import numpy as np

rng = np.random.default_rng(0)
W = rng.normal(size=(4, 10)).astype(np.float32)
b = np.ones(4, np.float32)
inputs = {"x": "float32[N,10]"}


def scores(x):
    print("tracing")
    return np.tanh(x @ W.T + b)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHC_DEBUG", raising=False)
    (tmp_path / "small.py").write_text(MODEL)
    np.save("x.npy", np.random.default_rng(1).normal(size=(3, 10)).astype(np.float32))
    return tmp_path


@pytest.fixture
def run(here, capsys):
    def run_words(*words: str, status: int = 0):
        assert main(list(words)) == status
        return capsys.readouterr()

    return run_words


def expected() -> np.ndarray:
    names: dict = {}
    exec(MODEL.replace("print", "str"), names)
    return names["scores"](np.load("x.npy"))


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_compile_and_run(run, here, backend):
    said = run("compile", "small.py", "--backend", backend)
    assert said.out.startswith("small.graphc\n")
    assert "tracing" in said.err and "compiled in" in said.err
    assert "tracing" not in said.out
    said = run("run", "small.graphc", "-x", "x.npy", "-o", "y.npy")
    np.testing.assert_allclose(np.load("y.npy"), expected(), rtol=0, atol=20 * np.finfo(np.float32).eps * 10)
    assert "float32[3,4]" in said.out
    assert sorted(path.name for path in here.iterdir()) == ["small.graphc", "small.py", "x.npy", "y.npy"]


def test_json_is_all_there_is_on_stdout(run):
    said = run("--json", "-q", "compile", "small.py", "-o", "out/net")
    made = json.loads(said.out)
    assert made["artefact"] == "out/net"
    assert made["files"]["small.py"] > 0
    assert sorted(os.listdir("out/net")) == sorted(made["files"])
    manifest = json.loads(run("inspect", "out/net", "--json").out)
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "dims": ["N", 10]}]
    found = json.loads(run("run", "out/net", "-x", "x.npy", "--json").out)
    assert np.array(found["outputs"]["output"]["values"]).shape == (3, 4)
    assert set(json.loads(run("summary", "small.py", "--json").out))
    assert set(json.loads(run("explain", "small.py", "--json").out))


def test_one_artefact_for_every_batch_size(run):
    run("compile", "small.py")
    for size in (1, 3, 64):
        out = run("run", "small.graphc", "-x", "random", "--dim", f"N={size}").out
        assert f"float32[{size},4]" in out


def test_a_model_runs_without_an_artefact(run, here):
    run("run", "small.py", "-x", "x.npy", "-o", "y.npz")
    with np.load("y.npz") as saved:
        assert saved["output"].shape == (3, 4)


def test_summary_and_explain(run):
    out = run("summary", "small.py").out
    assert "44" in out, "4 x 10 weights and 4 biases"
    out = run("explain", "small.py").out
    assert "kernel" in out
    assert "%" in run("explain", "small.py", "--after", "fuse").out
    assert "fuse" in run("explain", "small.py", "--after", "nothing", status=2).err


@pytest.mark.parametrize("view", ["forward", "backward", "joint"])
def test_render_needs_no_tool_for_dot(run, monkeypatch, view):
    monkeypatch.setenv("PATH", "/nowhere")
    run("render", "small.py", "--view", view, "-o", f"{view}.dot")
    assert Path(f"{view}.dot").read_text().startswith("digraph")


def test_numbers_of_inputs_from_the_command_line(run, here):
    (here / "f.py").write_text("def f(x, w):\n    return (w * x * x).sum()\n")
    types = ("-i", "x:float64[]", "-i", "w:float64[N]")
    run("render", "f.py", *types, "-x", "x=-1.5", "-x", "w=[2, 0.5]", "-o", "f.txt")
    assert "5.625" in Path("f.txt").read_text()
    said = run("explain", "f.py", "--backward", *types, "-x", "x=-1.5", "-x", "w=[2, 0.5]").out
    assert "∇x is now the sum of its 2 terms = −7.5" in said
    run("run", "f.py", *types, "-x", "x=3", "-x", "w=[1, 2, 3]", "-o", "f.npy")
    assert np.load("f.npy") == 54
    wrong = run("render", "f.py", *types, "-x", "x=1", "-x", "w=[[2]]", "-o", "f.txt", status=2).err
    assert "w has shape [1, 1], the input is float64[N]" in wrong


def test_one_of_several_outputs_is_differentiated(run, here):
    (here / "two.py").write_text("def two(x):\n    return x * 2, x * 3\n")
    words = ("render", "two.py", "-i", "x:float64[]", "-x", "x=1", "-o", "two.txt")
    assert "2 outputs" in run(*words, status=2).err
    run(*words, "--of", "output_1")
    assert "∇ 3" in Path("two.txt").read_text()


def test_render_to_a_file_that_says_nothing(run, here):
    before = snapshot(here)
    assert "end its name in" in run("render", "small.py", "-o", "picture.xyz", status=2).err
    assert snapshot(here) == before


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["run", "small.graphc", "-x", "wide.npy"], 1, "x"),
        (["run", "small.graphc", "-x", "double.npy"], 1, "float64"),
        (["run", "small.graphc", "-x", "x.npy", "-x", "x.npy"], 2, "2 arrays for 1 inputs"),
        (["run", "small.graphc", "-x", "y=x.npy"], 2, "no input named y"),
        (["run", "small.graphc"], 2, "no array for input x"),
        (["run", "nothing.graphc", "-x", "x.npy"], 2, "nothing.graphc"),
        (["compile", "small.py", "--weights", "nothing.npz"], 1, "nothing.npz"),
        (["compile", "small.py", "--weights", "pickle.pt"], 1, "pickle.pt"),
        (["compile", "small.py", "--weights", "other.npz"], 1, "names are not the model's"),
        (["compile", "small.py", "-o", "thesis"], 1, "exists and is not an artefact"),
        (["compile", "small.py", "-o", "x.npy"], 1, "exists and is not a folder"),
        (["compile", "small.py", "-o", "x.npy/deeper"], 1, "cannot write"),
        (["compile", "small.py", "-i", "x:float32[N,11]"], 1, "GC0107"),
        (["compile", "fails.py"], 1, "AttributeError"),
        (["summary", "fails.py"], 1, "fails.py:2"),
        (["render", "fails.py"], 1, "fails.py:2"),
        (["explain", "fails.py"], 1, "fails.py:2"),
        (["run", "fails.py", "-x", "random"], 1, "fails.py:2"),
    ],
)
def test_what_goes_wrong(run, here, words, status, message):
    run("compile", "small.py")
    np.save("wide.npy", np.zeros((3, 11), np.float32))
    np.save("double.npy", np.zeros((3, 10)))
    (here / "pickle.pt").write_bytes(b"\x80\x04K\x01.")
    np.savez("other.npz", V=np.zeros(3))
    (here / "thesis").mkdir()
    (here / "thesis" / "thesis.tex").write_text("years of work")
    (here / "fails.py").write_text("def forward(x: 'float32[4]'):\n    return x.nonsense()\n")
    before = snapshot(here)
    said = run(*words, status=status)
    assert said.out == ""
    assert said.err.splitlines()[-1] != ""
    assert "error GC" in said.err and message in said.err
    assert "Traceback" not in said.err and "bug in graphc" not in said.err
    assert snapshot(here) == before


def test_a_damaged_artefact_is_not_loaded(run, here):
    run("compile", "small.py")
    for path in sorted((here / "small.graphc").iterdir()):
        whole = path.read_bytes()
        position = len(whole) // 2
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        said = run("run", "small.graphc", "-x", "x.npy", status=1)
        assert "error GC04" in said.err, path.name
        path.write_bytes(whole)
    run("run", "small.graphc", "-x", "x.npy")


def test_compiling_again_replaces_the_artefact(run, here):
    run("compile", "small.py", "--emit", "py,ll,asm")
    assert {"small.ll", "small.s", "small.py"} <= set(os.listdir("small.graphc"))
    run("compile", "small.py", "--emit", "py")
    assert "small.ll" not in os.listdir("small.graphc")


def test_the_same_files_from_another_folder(run, here, monkeypatch):
    run("compile", "small.py", "-o", "a.graphc")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    run("compile", "../small.py", "-o", "b.graphc", "--no-cache")
    assert snapshot(here / "a.graphc") == snapshot(here / "elsewhere" / "b.graphc")
    for name, content in snapshot(here / "a.graphc").items():
        assert str(here).encode() not in content, name


def test_compile_says_what_stored_weights_cost(run, here):
    said = run("compile", "small.py", "--weights", "fp16", "--json")
    told = json.loads(said.out)
    assert told["weights"] == "fp16" and 0 <= told["deviation"] < 2e-3
    manifest = json.loads((here / "small.graphc/manifest.json").read_text())
    assert manifest["weights"] == "fp16" and float(manifest["weights_deviation"]) < 2e-3
    assert "weights stored as fp16" in run("compile", "small.py", "--weights", "fp16").err
    run("compile", "small.py", "--weights", "fp16", "--weights", "int8", status=2)
    run("summary", "small.py", "--weights", "fp16", status=2)
