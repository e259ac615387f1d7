"""`graphc explain`: an error code, or what the compiler did with a model and why."""

from __future__ import annotations

import importlib
import re

import click

from graphc.cli.console import Console
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_options
from graphc.errors import UsageError, kinds, nearest

# The modules besides graphc.errors that declare error kinds.
DECLARE_KINDS = ("graphc.autodiff", "graphc.manifest", "graphc.ops.indexing", "graphc.view.draw")


@click.command(cls=Command)
@model_options
@click.option("--after", metavar="PASS", help="Print the graph after this pass; `all` prints every step.")
@click.pass_context
def command(context: click.Context, request: Request, after: str | None) -> None:
    """Explain an error code, or what was done with a model and why.

    \b
      graphc explain GC0107
      graphc explain lenet.py               passes, fusion with the reason of each refusal, memory
      graphc explain lenet.py --after fuse  the graph after a pass
    """
    console = console_of(context)
    if re.fullmatch(r"[Gg][Cc]\d+", request.target):
        explain_code(request.target.upper(), console)
        return
    with console.user_output_to_stderr():
        found = load_model(request, console)
        from graphc import api  # after the model: an error in it is told at once

        explanation = api.explain(
            found.model,
            inputs=found.inputs,
            dims=found.dims,
            weights=found.weights,
            name=found.name,
            after=after,
        )
    console.result(explanation.as_dict(), str(explanation))


def explain_code(code: str, console: Console) -> None:
    """The help page of an error code."""
    for module in DECLARE_KINDS:
        importlib.import_module(module)
    known = kinds()
    kind = known.get(code)
    if kind is None:
        raise UsageError(f"no error has the code {code}{nearest(code, known)}")
    start, end = console.bold
    console.result(
        {"code": code, "kind": kind.__name__, "exit_code": kind.exit_code, "help": kind.help()},
        f"{start}{code} {kind.__name__}{end} (exit code {kind.exit_code})\n\n{kind.help()}",
    )
