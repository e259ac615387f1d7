"""`graphc summary`: layers, shapes, parameters and work of a model."""

from __future__ import annotations

import click

from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_at_work, model_options


@click.command(cls=Command)
@model_options
@click.option("--depth", type=click.IntRange(0), help="Fold modules below this depth.")
@click.pass_context
def command(context: click.Context, request: Request, depth: int | None) -> None:
    """Show the layers of a model, their shapes, parameters and work."""
    console = console_of(context)
    with model_at_work(console):
        found = load_model(request, console)
        from graphc import api  # after the model: an error in it is told at once

        summary = api.summary(
            found.model,
            inputs=found.inputs,
            dims=found.dims,
            weights=found.weights,
            name=found.name,
            depth=depth,
        )
    console.result(summary.as_dict(), str(summary))
