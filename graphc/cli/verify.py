"""`graphc verify`: a compiled model beside another runtime."""

from __future__ import annotations

from pathlib import Path

import click

from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_at_work, model_options
from graphc.errors import CheckFailed


@click.command(cls=Command)
@model_options
@click.option(
    "--against",
    type=click.Choice(["onnxruntime", "torch"]),
    default="onnxruntime",
    show_default=True,
    help="The runtime to compare with.",
)
@click.option(
    "--tolerance", type=float, default=1e-3, show_default=True, help="Of the largest element of an output."
)
@click.option("--size", type=click.IntRange(1), default=2, show_default=True, help="Of every size left open.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@click.pass_context
def command(
    context: click.Context, request: Request, against: str, tolerance: float, size: int, seed: int
) -> None:  # fmt: skip
    """Compare a model's native results with another runtime's, and find the first node that differs.

    \b
      graphc verify model.onnx
      graphc verify net.py --against torch
    """
    console = console_of(context)
    with model_at_work(console):
        found = load_model(request, console)
        from graphc.verification import verify

        result = verify(
            found.model, found.inputs, against=against, source=found.path if found.path.suffix == ".onnx" else None,
            tolerance=tolerance, size=size, seed=seed, dims=found.dims, weights=found.weights, name=found.name,
        )  # fmt: skip
    console.result(result.as_dict(), str(result))
    if not result.ok:
        raise CheckFailed(f"{Path(request.target).name} differs from {against} by more than {tolerance:g}")
