"""The summary: counts that can be checked by hand, and against PyTorch's well-known numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from graphc import optim
from graphc.autodiff import differentiate
from graphc.frontends.python.model_file import load_model_file
from graphc.frontends.python.tracer import trace_graph
from graphc.ir.builder import Builder
from graphc.ir.dims import symbol
from graphc.ir.graph import Provenance
from graphc.ir.types import parse_type
from graphc.ops import REGISTRY
from graphc.step import step_graph
from graphc.view import make_picture
from graphc.view.numbers import amount, number
from graphc.view.table import Summary, summarize

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, depth: int | None = None) -> Summary:
    found = load_model_file(str(EXAMPLES / f"{name}.py"))
    return summarize(trace_graph(found.model, found.inputs, name=found.name), depth=depth)


def test_mlp_as_text(graphs) -> None:
    assert str(summarize(graphs.mlp())) == "\n".join(
        [
            "mlp",
            "layer   op            output         parameters       FLOP",
            "──────────────────────────────────────────────────────────",
            "x       input         float32[N,64]",
            "target  input         float32[N,10]",
            "fc1     matmul + add  float32[N,32]       2,080  4.128 k·N",
            "act     relu          float32[N,32]                   32·N",
            "fc2     matmul + add  float32[N,10]         330      650·N",
            "d       sub           float32[N,10]                   10·N",
            "        mul           float32[N,10]                   10·N",
            "        mul           float32[N,10]                   10·N",
            "        sum           float32[]                       10·N",
            "──────────────────────────────────────────────────────────",
            "parameters: 2,410 (9.64 kB)   forward FLOP: 4.85 k·N",
        ]
    )


def test_rows_add_up(graphs) -> None:
    for summary in (
        summarize(graphs.mlp()),
        summarize(graphs.residual(3)),
        summarize(graphs.residual(3), depth=1),
    ):
        flop, parameters = 0, 0
        for row in summary.rows:
            flop, parameters = flop + row.flop, parameters + row.parameters
        assert (flop, parameters) == (summary.flop, summary.parameters)


def test_known_models() -> None:
    """torchvision's resnet18 has 11,689,512 parameters and 1.81 G multiply-adds for one image."""
    resnet = example("networks/resnet", depth=1)
    assert resnet.parameters == 11_689_512
    per_image = str(resnet.flop).partition("*")[0]
    assert 2 * 1.80e9 < int(per_image) < 2 * 1.83e9
    assert [row.layer for row in resnet.rows if row.layer.startswith("layer")] == [
        f"layer{i}" for i in (1, 2, 3, 4)
    ]
    assert example("lenet").parameters == 81_194  # 60 + 880 + 69,240 + 10,164 + 850


def test_depth_folds_layers(graphs) -> None:
    graph = graphs.residual(3)
    assert [row.layer for row in summarize(graph, depth=1).rows] == ["blocks", "head", "", ""]
    assert [row.layer for row in summarize(graph, depth=2).rows][:4] == [
        "blocks.0",
        "blocks.1",
        "blocks.2",
        "head",
    ]
    assert summarize(graph, depth=9) == summarize(graph)


def test_a_shared_parameter_counts_once() -> None:
    with Builder("shared") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N,8]"))
        w = builder.leaf("parameter", "cell.w", parse_type("f32[8,8]"))
        for _ in range(2):
            with builder.at(Provenance(module="cell")):
                x = REGISTRY["matmul"](x, w)
            x = REGISTRY["exp"](x)
    summary = summarize(builder.finish([x], ["y"]))
    assert [(row.layer, row.parameters) for row in summary.rows] == [
        ("cell", 64),
        ("", 0),
        ("cell (call 2)", 0),
        ("", 0),
    ]
    assert summary.parameters == 64


def test_as_dict_is_json(graphs) -> None:
    found = summarize(graphs.mlp()).as_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["layers"][0] == {
        "layer": "fc1",
        "op": "matmul + add",
        "output": ["float32[N,32]"],
        "parameters": 2080,
        "flop": "4128*N",
    }


def test_rich_draws_the_same_cells_and_no_markup(graphs) -> None:
    console = Console(width=120, no_color=True)
    with console.capture() as captured:
        console.print(summarize(graphs.mlp()))
    for row in summarize(graphs.mlp()).rows:
        for cell in row.cells():
            assert cell in captured.get()
    with Builder("[red]hostile") as builder:
        x = builder.leaf("input", "x", parse_type("f32[N]"))
        with builder.at(Provenance(module="[bold]m")):
            y = REGISTRY["exp"](x)
    with console.capture() as captured:
        console.print(summarize(builder.finish([y], ["y"])))
    assert "[bold]m" in captured.get()
    assert "[red]hostile" in captured.get()


def test_an_empty_graph() -> None:
    with Builder("nothing") as builder:
        pass
    assert "parameters: 0" in str(summarize(builder.finish([], [])))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1 k"),
        (11_689_512, "11.69 M"),
        (symbol("N") * 12, "12·N"),
        (symbol("N") * 2_000_000 + 7, "2 M·N"),
        (symbol("N") * 20 - 7, "20·N − 7"),
        (symbol("N") * symbol("M"), "M*N"),
    ],
)
def test_amounts(count: object, text: str) -> None:
    assert amount(count) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1e300, "1e300"),
        (-1.5e-7, "−1.5e−7"),
        (float("-inf"), "−∞"),
        (True, "True"),
        (3, "3"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_a_training_step_counts_the_model_and_not_its_optimiser(graphs) -> None:
    graph = graphs.mlp()
    data = {v.name: np.zeros(v.shape, "f4") for v in graph.parameters}
    step = step_graph(graph.with_(data=data), optim.Adam(list(data.values())))
    assert summarize(step.graph).parameters == 2_410
    picture = make_picture(step.graph)
    (notice,) = picture.notices
    assert notice.endswith("ops of the parameter update are not shown")
    drawn = {n.id for n in picture.nodes}
    assert drawn == {n.id for n in make_picture(differentiate(graph)).nodes}
