"""`graphc explain`: an error code, or what the compiler did with a model and why."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click

from graphc.cli.console import Console
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, data_option, load_model, model_at_work, model_options
from graphc.cli.run import numbers_of
from graphc.errors import UsageError, kinds, nearest

_CODE = re.compile(r'^    code(?:: ClassVar\[str\])? = "(GC\d{4})"$', re.MULTILINE)


@click.command(cls=Command)
@model_options
@click.option("--after", metavar="PASS", help="Print the graph after this pass; `all` prints every step.")
@click.option("--train", is_flag=True, help="With the gradients of the parameters.")
@click.option("--backward", is_flag=True, help="The chain rule instead, op by op.")
@click.option("--latex", is_flag=True, help="With --backward: as LaTeX.")
@click.option("--values", is_flag=True, help="With --backward: with numbers of one run.")
@data_option("With --backward: with the numbers of these inputs.")
@click.pass_context
def command(
    context: click.Context, request: Request, after: str | None, train: bool, backward: bool, latex: bool,
    values: bool, data: tuple[str, ...],
) -> None:  # fmt: skip
    """Explain an error code, or what was done with a model and why.

    \b
      graphc explain GC0107
      graphc explain lenet.py               passes, fusion with the reason of each refusal, memory
      graphc explain lenet.py --after fuse  the graph after a pass
      graphc explain lenet.py --train --after differentiate
      graphc explain lenet.py --backward    the chain rule op by op, with shapes; --latex for a paper
      graphc explain f.py --backward -x x=-2 -x y=5
    """
    console = console_of(context)
    if re.fullmatch(r"[Gg][Cc]\d+", request.target):
        explain_code(request.target.upper(), console)
        return
    if after and (backward or latex):
        raise UsageError("--after is about passes, --backward about the chain rule", fix="give one of them")
    with model_at_work(console):
        found = load_model(request, console)
        from graphc import api  # after the model: an error in it is told at once

        explanation = api.explain(
            found.model,
            inputs=found.inputs,
            dims=found.dims,
            weights=found.weights,
            name=found.name,
            after=after,
            train=train,
            backward=backward or latex,
            values=numbers_of(data, values, request, found.inputs),
        )
    console.result(explanation.as_dict(), explanation.latex() if latex else str(explanation))


def explain_code(code: str, console: Console) -> None:
    """The help page of an error code."""
    modules = declared_codes()
    if code not in modules:
        raise UsageError(f"no error has the code {code}{nearest(code, modules)}")
    importlib.import_module(modules[code])
    kind = kinds()[code]
    start, end = console.bold
    console.result(
        {"code": code, "kind": kind.__name__, "exit_code": kind.exit_code, "help": kind.help()},
        f"{start}{code} {kind.__name__}{end} (exit code {kind.exit_code})\n\n{kind.help()}",
    )


def declared_codes() -> dict[str, str]:
    """The module that declares each error code, read from the sources: each part of graphc declares its own."""
    import graphc.backends
    import graphc.frontends

    found: dict[str, str] = {}
    for package in (graphc, graphc.frontends, graphc.backends):
        root = Path(package.__file__ or "").parent
        for path in sorted(root.rglob("*.py")):
            name = ".".join((package.__name__, *path.relative_to(root).with_suffix("").parts))
            for code in _CODE.findall(path.read_text("utf-8")):
                found.setdefault(code, name.removesuffix(".__init__"))
    return dict(sorted(found.items()))
