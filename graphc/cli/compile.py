"""`graphc compile`: a model file to an artefact."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from graphc.atomic import refuse_foreign
from graphc.cli.console import in_bytes, in_seconds, table
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_at_work, model_options
from graphc.errors import UsageError
from graphc.manifest import NAME

EMIT = ("so", "o", "ll", "asm", "py", "h")
CPUS = ("native", "x86-64-v2", "x86-64-v3", "x86-64-v4")


@click.command(cls=Command)
@model_options
@click.option("-o", "--output", metavar="PATH", help="The artefact; NAME.graphc by default.")
@click.option("--backend", type=click.Choice(["llvm", "numpy"]), default="llvm", show_default=True)
@click.option(
    "--cpu", type=click.Choice(CPUS), default="native", show_default=True, help="What to compile for."
)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--train", is_flag=True, help="Also the gradients of the parameters.")
@click.option("--render", is_flag=True, help="Put pictures of the graphs into the artefact.")
@click.option("--emit", metavar="KINDS", help=f"Only these, of {','.join(EMIT)}.")
@click.option("--strict", is_flag=True, help="No rewrite that changes a result's last bits.")
@click.option("--no-cache", is_flag=True, help="Compile again what was compiled before.")
@click.pass_context
def command(
    context: click.Context, request: Request, output: str | None, backend: str, cpu: str, threads: int,
    train: bool, render: bool, emit: str | None, strict: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Compile a model to native code, NumPy source and a manifest.

    \b
      graphc compile lenet.py
      graphc compile lenet.py:Net -i x:float32[N,1,28,28] --dim N=1:64 -o build/lenet
    """
    console = console_of(context)
    kinds = _kinds(emit)
    if output is not None:
        refuse_foreign(Path(output), _is_artefact)
    start = time.perf_counter()
    with model_at_work(console):
        found = load_model(request, console, stored=True)
        from graphc import api  # after the model: an error in it is told at once

        executable = api.compile(
            found.model, inputs=found.inputs, dims=found.dims, sizes=request.sizes,
            weights=(found.weights, request.stored), name=found.name, backend=backend, cpu=cpu, threads=threads,
            train=train, numerics="strict" if strict else "default", cache=not no_cache,
        )  # fmt: skip
    executable.values = {name: np.asarray(value) for name, value in request.values.items()}
    path = Path(output or f"{found.name}.graphc")
    for text in executable.save(path, emit=kinds, pictures=render):
        console.note(f"note: {text}")
    seconds = time.perf_counter() - start
    files = {file.name: file.stat().st_size for file in sorted(path.iterdir())}
    console.note(f"compiled in {in_seconds(seconds)}")
    if request.stored != "fp32":
        console.note(str(executable.precision))
    data = {
        "artefact": str(path),
        "files": files,
        "seconds": seconds,
        "memory": executable.memory,
        "weights": executable.precision.weights,
        "deviation": executable.precision.deviation,
    }
    console.result(data, f"{path}\n{table((name, in_bytes(size)) for name, size in files.items())}")


def _is_artefact(path: Path) -> bool:
    return (path / NAME).is_file()


def _kinds(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    kinds = tuple(dict.fromkeys(text.split(",")))
    wrong = [kind for kind in kinds if kind not in EMIT]
    if wrong:
        raise UsageError(f"--emit {wrong[0]}: choose from {','.join(EMIT)}")
    return kinds
