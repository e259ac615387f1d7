"""Every example is read as a model file and traced, and gives the shapes it should."""

import sys
from pathlib import Path

import pytest

from graphc.frontends.python.model_file import load_model_file
from graphc.frontends.python.tracer import trace_graph
from graphc.ir.verifier import verify

FOLDER = Path(__file__).resolve().parents[2] / "examples"
OUTPUTS = {
    "lenet": ["float32[N,10]"],
    "mlp_numpy": ["float32[N,10]"],
    "alexnet": ["float32[N,1000]"],
}


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_example(name: str) -> None:
    found = load_model_file(str(FOLDER / f"{name}.py"))
    graph = trace_graph(found.model, found.inputs, dims=found.dims, name=found.name)
    verify(graph)
    assert [str(value.type) for value in graph.outputs] == OUTPUTS[name]
    assert all(node.provenance.span is not None for node in graph.nodes)


def test_every_example_is_here() -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if "\ninputs = " in path.read_text("utf-8")}
    assert files == set(OUTPUTS)
