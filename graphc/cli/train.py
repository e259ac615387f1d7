"""`graphc train`: a model on a data set, with held-out accuracy, early stopping and checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from graphc.cli.console import Console, table
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_at_work, model_options
from graphc.errors import OutputError, UsageError

if TYPE_CHECKING:
    from graphc.train import Epoch, Result


@click.command(cls=Command)
@model_options
@click.option(
    "--data", required=True, metavar="digits|iris|FILE.npz",
    help="A file holds arrays x and y; for several inputs, arrays of their names and y.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True)
@click.option(
    "--optimizer",
    type=click.Choice(["adam", "adamw", "sgd", "rmsprop", "adagrad"]),
    default="adam",
    show_default=True,
)
@click.option(
    "--lr", type=click.FloatRange(0, min_open=True), help="Learning rate; the optimizer's own by default."
)
@click.option(
    "--schedule", type=click.Choice(["constant", "cosine", "linear", "step"]), default="constant", show_default=True,
    help="How the learning rate falls: along a cosine or a line down to 0, or to a tenth at 1/2 and 3/4.",
)  # fmt: skip
@click.option(
    "--warm-up",
    type=click.IntRange(0),
    default=0,
    metavar="EPOCHS",
    help="Epochs in which the learning rate rises.",
)
@click.option("--max-norm", type=click.FloatRange(0, min_open=True), help="Clip the norm of the gradient.")
@click.option(
    "--loss", type=click.Choice(["cross-entropy", "likelihood", "hinge", "mse", "l1"]),
    help="Cross-entropy of scores for labels, else mse; likelihood is for a model that ends in probabilities.",
)  # fmt: skip
@click.option(
    "--held-out", "share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.2, show_default=True,
    help="Share of the data that is not trained on.",
)  # fmt: skip
@click.option(
    "--patience", type=click.IntRange(1), help="Stop after so many epochs without a smaller held-out loss."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Weights; MODEL.safetensors by default.")
@click.option(
    "--checkpoint", metavar="FILE", help="Written after each epoch; MODEL.checkpoint.npz by default."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint.")
@click.option("--log", metavar="FILE", help="One JSON object a line for each epoch.")
@click.option("--plot", metavar="FILE.svg", help="The loss over the epochs as a picture.")
@click.pass_context
def command(
    context: click.Context, request: Request, data: str, output: str | None, checkpoint: str | None, log: str | None,
    plot: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Train a model; its weights are those of the epoch with the smallest held-out loss.

    \b
      graphc train lenet.py --data digits --epochs 10 --patience 3
      graphc train lenet.py --data digits --resume
      graphc train vit.py --data digits --epochs 40 --lr 3e-3 --schedule cosine --warm-up 5
      graphc train mlp_numpy.py --data digits --loss likelihood

    A plain function is trained too: its arrays are its weights.
    """
    console = console_of(context)
    if plot is not None and not plot.endswith(".svg"):
        raise UsageError(f"--plot {plot}: give a name that ends in .svg")
    if output is not None and not output.endswith((".safetensors", ".npz")):
        raise UsageError(f"-o {output}: give a name that ends in .safetensors or .npz")
    from graphc.frontends.python.function_module import as_module
    from graphc.nn import Module
    from graphc.nn.init import manual_seed
    from graphc.train import fit, train
    from graphc.weights import load_weights, save_weights

    manual_seed(settings["seed"])
    with model_at_work(console):
        found = load_model(request, console)
        model = found.model if isinstance(found.model, Module) else as_module(found.model, **found.inputs)
        if found.weights is not None and not settings["resume"]:
            model.load_state_dict(load_weights(found.weights))
        x, y = _set(data, list(found.inputs))
        x = {name: fit(array, found.inputs[name]) for name, array in x.items()}
        stem = Path(found.path).stem
        checkpoint = checkpoint or f"{stem}.checkpoint.npz"
        with _log(log) as write, _progress(console, settings["epochs"]) as (bar, line):

            def told(epoch: Epoch) -> None:
                write(epoch)
                line(epoch)

            result = train(model, (x, y), checkpoint=checkpoint, on_batch=bar, on_epoch=told, **settings)
    output = output or f"{stem}.safetensors"
    save_weights(output, model.state_dict())
    if plot is not None:
        from graphc.view.chart import save_chart

        series = {
            "training": [epoch.loss for epoch in result.history],
            "held out": [epoch.test_loss for epoch in result.history],
        }
        save_chart(
            plot, series, title=f"{found.name} on {Path(data).name}", x_label="epoch", y_label="loss", first=1,
            marks={"best": (result.best.epoch, result.best.test_loss)},
        )  # fmt: skip
    _report(console, result, output, checkpoint)


def _report(console: Console, result: Result, output: str, checkpoint: str) -> None:
    best = result.best
    rows = [
        ("weights", output),
        ("epoch", f"{best.epoch} of {len(result.history)}"),
        ("held-out loss", f"{best.test_loss:.6g}"),
    ]
    if best.test_accuracy is not None:
        rows.append(("held-out accuracy", f"{100 * best.test_accuracy:.2f} %"))
    if result.stopped_early:
        rows.append(("stopped early", f"no smaller loss since epoch {best.epoch}"))
    data = {
        "weights": output, "checkpoint": checkpoint, "best": asdict(best), "stopped_early": result.stopped_early,
        "history": [asdict(epoch) for epoch in result.history],
    }  # fmt: skip
    console.result(data, table(rows, indent=""))


def _set(name: str, inputs: list[str]) -> tuple[dict[str, Any], Any]:
    """The arrays for the inputs of the model, by name, and the targets."""
    from graphc import data as sets

    known = {"digits": sets.digits, "iris": sets.iris}
    if name not in known and not name.endswith(".npz"):
        raise UsageError(f"--data {name}: there is no such data set", fix="digits, iris, or a file FILE.npz")
    if len(inputs) > 1:
        if name in known:
            raise UsageError(f"--data {name} has one input, the model {len(inputs)}: {', '.join(inputs)}")
        return sets.load_named(name, inputs)
    x, y = known[name]() if name in known else sets.load(name)
    return {inputs[0]: x}, y


@contextlib.contextmanager
def _log(path: str | None) -> Iterator[Callable[[Epoch], None]]:
    """Writes epochs as they come; each line is on its way to the disk before the next epoch."""
    if path is None:
        yield lambda epoch: None
        return
    from graphc.train import json_lines

    try:
        file: IO[str] = open(path, "w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    with file:
        yield lambda epoch: print(*json_lines([epoch]), file=file)


@contextlib.contextmanager
def _progress(
    console: Console, epochs: int
) -> Iterator[tuple[Callable[[int, int], None], Callable[[Epoch], None]]]:
    """A bar over the epochs when stderr is a terminal, and a line for each epoch."""
    quiet = console.verbosity < 0
    if quiet or not console.err.isatty():
        yield lambda epoch, rows: None, lambda epoch: console.note(_line(epoch), level=0)
        return
    from rich.console import Console as Rich
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Rich(file=console.err)) as shown:
        task = shown.add_task("", total=epochs)
        yield (
            lambda epoch, rows: shown.update(task, description=f"{rows} rows"),
            lambda epoch: shown.update(task, completed=epoch.epoch, description=_line(epoch)),
        )


def _line(epoch: Epoch) -> str:
    accuracy = "" if epoch.test_accuracy is None else f", accuracy {100 * epoch.test_accuracy:.2f} %"
    star = " *" if epoch.best else ""
    return f"epoch {epoch.epoch}: loss {epoch.loss:.4g}, held out {epoch.test_loss:.4g}{accuracy}{star}"
