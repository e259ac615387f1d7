"""`graphc render`: a picture of a model's graph."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from graphc.cli.console import in_bytes
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, data_option, load_model, model_at_work, model_options
from graphc.cli.run import numbers_of

DRAWN = ("", ".svg", ".png", ".pdf")  # by a layout engine, which starts while the model is read
VIEWS = ("forward", "backward", "joint", "fusion", "memory", "passes")


@click.command(cls=Command)
@model_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="A .svg, .png, .pdf, .html, .dot, .json, .mmd or .txt file; `-` is SVG on stdout.",
)
@click.option("--view", type=click.Choice(VIEWS), default="joint", show_default=True)
@click.option("--values", is_flag=True, help="Show numbers: run the graph once, with random inputs.")
@data_option("Show the numbers of these inputs: .npy files, or numbers, as -x x=-2.")
@click.option(
    "--show",
    metavar="WHAT",
    default="shapes",
    show_default=True,
    help="Of shapes, params, flops, bytes, norms, health, time, rule, source, check, code.",
)
@click.option("--depth", type=click.IntRange(0), help="Fold modules below this depth.")
@click.option(
    "--expand", multiple=True, metavar="MODULE", help="Open this module all the same, or this composite op."
)
@click.option("--focus", default="", metavar="NAME", help="Only what is near a value, an array or a module.")
@click.option("--hops", type=click.IntRange(0), default=2, show_default=True, help="How near, in edges.")
@click.option("--grad-path-of", default="", metavar="NAME", help="Only the way of one gradient.")
@click.option(
    "--of", metavar="NAME", default=None, help="Of several outputs, the one that is differentiated."
)
@click.option("--between", nargs=2, metavar="NAME NAME", help="Only the ways from one to the other.")
@click.option("--step", type=click.IntRange(0), help="What is known at this step of forward and backward.")
@click.option("--frames", metavar="FOLDER", help="Every step as a picture of its own, in the form of -o.")
@click.option("--after", metavar="PASS", help="With --view passes: what this pass changed.")
@click.option(
    "--side", type=click.Choice(["both", "before", "after"]), default="both", help="With --view passes."
)
@click.option("--theme", metavar="NAME", default=None)
@click.option("--train", is_flag=True, help="Fusion and memory with the gradients of the parameters.")
@click.pass_context
def command(
    context: click.Context, request: Request, output: str | None, view: str, values: bool, show: str,
    depth: int | None, expand: tuple[str, ...], focus: str, hops: int, grad_path_of: str, theme: str | None,
    train: bool, data: tuple[str, ...], of: str | None, between: tuple[str, str] | None, step: int | None,
    frames: str | None, after: str | None, side: Literal["both", "before", "after"],
) -> None:  # fmt: skip
    """Draw the forward and the backward graph of a model.

    \b
      graphc render lenet.py -o lenet.svg
      graphc render lenet.py --values -o lenet.html            a page to step through
      graphc render f.py -x x=-2 -x y=5 --show check -o f.svg  with the numbers of these inputs
      graphc render resnet.py --depth 1 --expand layer3.0 -o resnet.svg
      graphc render resnet.py --grad-path-of layer4.1.conv2.weight -o path.svg
      graphc render resnet.py --between layer3.0 layer3.1 -o part.svg
      graphc render resnet.py --view passes --after fold_batch_norm -o passes.svg
      graphc render lenet.py --values --frames slides -o lenet.png    each step for itself
      graphc render lenet.py --view forward --show shapes,params -o lenet.pdf
    """
    console = console_of(context)
    with model_at_work(console):
        if view != "memory" and Path(output or ".svg").suffix.lower() in DRAWN:
            from graphc.view import draw

            draw.warm_up()
        found = load_model(request, console)
        from graphc import api  # after the model: an error in it is told at once

        path = output or f"{found.name}.svg"
        named = request.entry is not None or ":" in request.target
        name = found.entry if named else found.name
        numbers = numbers_of(data, values, request, found.inputs)
        drawn = api.render(
            found.model, None if path == "-" else path, view=view, inputs=found.inputs, dims=found.dims,
            weights=found.weights, name=name, values=numbers, show=tuple(filter(None, show.split(","))),
            depth=depth, theme=theme, train=train, expand=expand, focus=focus, hops=hops, grad_path_of=grad_path_of,
            between=between, after=after, side=side, step=step, frames=frames, of=of,
        )  # fmt: skip
    if frames:
        console.result({"pictures": frames}, frames)
        return
    if path == "-":
        console.write(drawn if isinstance(drawn, str) else drawn.decode("utf-8"))
        return
    console.result({"picture": path, "bytes": len(drawn)}, f"{path}  {in_bytes(len(drawn))}")
