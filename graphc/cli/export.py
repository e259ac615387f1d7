"""`graphc export`: a model in another format."""

from __future__ import annotations

from pathlib import Path

import click

from graphc.cli.console import in_bytes
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_at_work, model_options


@click.command(cls=Command)
@model_options
@click.option("--to", "format", type=click.Choice(["onnx"]), default="onnx", show_default=True)
@click.option("-o", "--output", metavar="PATH", help="NAME.onnx by default.")
@click.option("--opset", type=int, default=18, show_default=True, help="Of ONNX, 18 to 22.")
@click.option("--backward", is_flag=True, help="Forward and backward, with the gradients of the parameters.")
@click.pass_context
def command(
    context: click.Context, request: Request, format: str, output: str | None, opset: int, backward: bool
) -> None:  # fmt: skip
    """Write a model as ONNX; arrays of more than 2 GB in all stand in a file beside it.

    \b
      graphc export lenet.py --to onnx
      graphc export lenet.py --backward -o lenet-gradients.onnx
    """
    console = console_of(context)
    with model_at_work(console):
        found = load_model(request, console)
        from graphc import api
        from graphc.backends.onnx import export
        from graphc.pipeline import gradient_graph

        graph = api.graph_of(
            found.model, found.inputs, dims=found.dims, weights=found.weights, name=found.name
        )
        path = Path(output or f"{found.name}.{format}")
        export(gradient_graph(graph) if backward else graph, path, opset)
    size = path.stat().st_size
    console.result({"path": str(path), "bytes": size}, f"{path}  {in_bytes(size)}")
