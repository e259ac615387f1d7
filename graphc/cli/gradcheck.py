"""`graphc gradcheck`: the gradients of a model, or of a layer written by hand, against central differences."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from graphc.cli.console import Console, table
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_at_work, model_options
from graphc.errors import CheckFailed, NoInputsError, UsageError, nearest

if TYPE_CHECKING:
    from graphc.gradcheck import GradientCheck

_BANDS = "relative errors: up to 1e-7 good, up to 1e-4 fine, up to 1e-2 suspicious, above wrong"


@click.command(cls=Command)
@functools.partial(model_options, required=False)
@click.option("--layer", metavar="FILE:NAME", help="Check NAME_forward and NAME_backward, written by hand.")
@click.option("--loss", type=click.Choice(["cross_entropy", "mse_loss"]), help="Differentiate this loss.")
@click.option(
    "--elements", type=click.IntRange(1), default=20, show_default=True, help="Tried of each array."
)
@click.option("--all", "everything", is_flag=True, help="Try every element.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.pass_context
def command(
    context: click.Context, request: Request, layer: str | None, loss: str | None, elements: int,
    everything: bool, seed: int,
) -> None:  # fmt: skip
    """Compare gradients with central differences in float64; exit with 3 when one is wrong.

    \b
      graphc gradcheck lenet.py --loss cross_entropy
      graphc gradcheck --layer my_layers.py:affine -i x:float64[4,3] -i w:float64[3,2] -i b:float64[2]
    """
    console = console_of(context)
    if bool(request.target) == (layer is not None):
        raise UsageError("give a MODEL, or --layer FILE:NAME", fix="graphc gradcheck -h")
    if layer is not None:
        failures = _check_layer(layer, request, console, seed)
    else:
        failures = _check_model(request, console, loss, None if everything else elements, seed)
    if failures and console.json:
        context.exit(CheckFailed.exit_code)
    if failures:
        raise CheckFailed("; ".join(failures))


def _check_model(
    request: Request, console: Console, loss: str | None, elements: int | None, seed: int
) -> list[str]:
    with model_at_work(console):
        found = load_model(request, console)
        from graphc import api

        graph = api.graph_of(
            found.model, found.inputs, dims=found.dims, weights=found.weights, name=found.name
        )
        if loss is not None:
            graph = api.with_loss(graph, loss)
    from graphc.checking import check_graph

    sizes = {name: given[0] for name, given in request.sizes.items()}
    sizes |= {
        s: max(2, (found.dims.get(s) or (0, None))[0])
        for v in graph.inputs
        for s in v.type.symbols
        if s not in sizes
    }
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for value in graph.inputs:
        shape: Any = value.type.substitute(sizes).shape
        draw = rng.normal(size=shape) if value.dtype.is_float else rng.integers(0, 2, size=shape)
        arrays[value.name] = np.asarray(draw).astype(value.dtype.numpy)
    check = check_graph(graph, arrays, elements=elements, seed=seed)
    console.result(_as_dict(check), table(check.rows(), indent=""))
    console.note(_BANDS, level=0)
    return [
        f"the gradient of {name} is {verdict}: relative error {text}"
        for name, verdict, text, _ in check.rows()
        if verdict in ("suspicious", "wrong")
    ] or ([] if check.passed else ["nothing could be compared: every element lies at a kink"])


def _as_dict(check: GradientCheck) -> dict[str, Any]:
    rows = {}
    for name, one in check.by_name().items():
        worst = one.worst
        rows[name] = {
            "elements": len(one.entries),
            "kinks": sum(entry.kink for entry in one.entries),
            "error": None if worst is None else worst.error,
            "verdict": "kinks only" if worst is None else worst.verdict,
            "worst": None
            if worst is None
            else {"index": list(worst.index), "analytic": worst.analytic, "numeric": worst.numeric},
        }
    return {"passed": check.passed, "gradients": rows}


def _check_layer(target: str, request: Request, console: Console, seed: int) -> list[str]:
    with model_at_work(console):
        from graphc.checking import check_layer
        from graphc.frontends.python.importing import import_file

        path, colon, name = target.rpartition(":")
        if not colon or not name.isidentifier():
            raise UsageError(f"--layer {target}: write FILE:NAME, for example my_layers.py:affine")
        module = import_file(Path(path))
        forward, backward = _functions(module, name, path)
        terms = check_layer(forward, backward, _arguments(module, name, forward, request, seed), seed=seed)
    rows = []
    for term in terms:
        row = term.check.rows()[0] if term.check is not None else ("", "wrong", term.problem, "")
        rows.append((f"d{term.name}", "wrong" if term.problem and row[1] == "fine" else row[1], *row[2:]))
    data = {
        "passed": all(term.passed for term in terms),
        "gradients": {
            term.name: {
                **(_as_dict(term.check)["gradients"][term.name] if term.check else {"verdict": "wrong"}),
                "problem": term.problem or None,
            }
            for term in terms
        },
    }
    console.result(data, table(rows, indent=""))
    console.note(_BANDS)
    return [term.problem for term in terms if term.problem]


def _functions(module: Any, name: str, path: str) -> tuple[Any, Any]:
    """NAME_forward and NAME_backward, or the methods forward and backward of NAME, a class or an object."""
    holder: Any = getattr(module, name, None)
    if hasattr(holder, "forward") and hasattr(holder, "backward"):
        made: Any = holder() if inspect.isclass(holder) else holder
        return made.forward, made.backward
    forward, backward = (getattr(module, f"{name}_{part}", None) for part in ("forward", "backward"))
    if forward is None or backward is None:
        missing = f"{name}_{'forward' if forward is None else 'backward'}"
        names = [n for n in vars(module) if not n.startswith("_")]
        raise UsageError(
            f"{path} has no {missing}{nearest(missing, names)}",
            fix=f"define {name}_forward(x, ...) -> out, cache and {name}_backward(dout, cache) -> dx, ...",
        )
    return forward, backward


def _arguments(module: Any, name: str, forward: Any, request: Request, seed: int) -> dict[str, Any]:
    """Arrays for the arguments: of the types given with -i or in `inputs`, or as they stand in `example_inputs`."""
    from graphc.ir.types import parse_type

    types = {**_of_layer(module, "inputs", name), **request.inputs}
    examples = _of_layer(module, "example_inputs", name)
    rng = np.random.default_rng(seed)
    sizes = {symbol: given[0] for symbol, given in request.sizes.items()}
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(forward).parameters.values():
        if parameter.name in types:
            try:
                kind = parse_type(str(types[parameter.name]))
            except ValueError as error:
                raise UsageError(f"input {parameter.name}: {error}") from None
            shape: Any = kind.substitute({s: sizes.get(s, 3) for s in kind.symbols}).shape
            draw = rng.normal(size=shape) if kind.dtype.is_float else rng.integers(0, 2, size=shape)
            arguments[parameter.name] = np.asarray(draw).astype(
                "f8" if kind.dtype.is_float else kind.dtype.numpy
            )
        elif parameter.name in examples:
            arguments[parameter.name] = examples[parameter.name]
        elif parameter.default is inspect.Parameter.empty:
            raise NoInputsError(
                f"the type of {parameter.name} is not given", fix=f"-i {parameter.name}:float64[4,3]"
            )
        else:
            arguments[parameter.name] = parameter.default
    return arguments


def _of_layer(module: Any, variable: str, name: str) -> Mapping[str, Any]:
    """A dictionary of the file: for the layer when it has one under its name, else for all."""
    found = getattr(module, variable, {})
    if not isinstance(found, Mapping):
        raise UsageError(f"{variable} is a {type(found).__name__}, not a dictionary")
    own = found.get(name, found)
    return own if isinstance(own, Mapping) else found
