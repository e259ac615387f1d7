"""`graphc run`: an artefact, or a model compiled on the fly, on arrays from files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from graphc import atomic
from graphc.cli.console import Console, in_seconds, table
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, data_option, load_model, loaded, model_at_work, model_options
from graphc.errors import ModelError, UsageError, nearest

if TYPE_CHECKING:
    from graphc.artefact import Artefact
    from graphc.executable import Executable

FILLED = ("zeros", "ones", "random")
_SHOWN = 8  # numbers of an output on the terminal
_IN_JSON = 10_000  # numbers of an output in JSON


@click.command(cls=Command)
@model_options
@data_option(
    f"A .npy or .npz file, a number, a list as [[1, 2]], or {', '.join(FILLED)}; open sizes then come from --dim."
)
@click.option("-o", "--output", metavar="FILE", help="Where the outputs go: .npy for one, .npz for several.")
@click.option("--threads", type=click.IntRange(1, 1024), default=None)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of `random`.")
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Run so often and take the best time.",
)
@click.pass_context
def command(
    context: click.Context, request: Request, data: tuple[str, ...], output: str | None, threads: int | None,
    seed: int, repeat: int,
) -> None:  # fmt: skip
    """Run an artefact, or a model, on arrays from files.

    \b
      graphc run lenet.graphc -x images.npy -o logits.npy
      graphc run lenet.py -x random --dim N=64
    """
    console = console_of(context)
    _check_output(output)
    with model_at_work(console):
        executable = _executable(request, console)
    sizes = _one_size_each(request)
    arrays = read_arrays(data, {port.name: port for port in executable.inputs}, sizes, seed)
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        results = executable(*arrays.values())
        best = min(best, time.perf_counter() - start)
    outputs = _by_name(results, [port.name for port in executable.outputs])
    if output is not None:
        _save(output, outputs)
    console.note(f"{in_seconds(best)}{'' if repeat == 1 else f', the best of {repeat}'}")
    data_out = {"seconds": best, "outputs": {name: _described(array) for name, array in outputs.items()}}
    console.result(data_out, table((name, _type(array), _preview(array)) for name, array in outputs.items()))


def _executable(request: Request, console: Console) -> Executable | Artefact:
    path = Path(request.target)
    if path.is_dir():
        from graphc.artefact import load

        return load(path)
    from graphc import api
    from graphc.frontends.onnx.errors import NeedsValue

    try:
        found = load_model(request, console)
    except NeedsValue as needed:
        console.note(f"note: compiled for the value of {', '.join(needed.inputs)}")
        return api.compile(
            path, inputs=request.inputs, dims=request.ranges, weights=request.weights, values=request.values
        )

    return api.compile(
        found.model, inputs=found.inputs, dims=found.dims, weights=found.weights, name=found.name
    )


def numbers_of(
    data: Sequence[str], values: bool, request: Request, inputs: Mapping[str, Any]
) -> bool | dict[str, np.ndarray]:
    """The arrays to show the numbers of: those of `-x`, or random ones, or none."""
    if not data:
        return values
    ports = {name: SimpleNamespace(dims=t.shape, dtype=t.dtype) for name, t in inputs.items()}
    arrays = read_arrays(data, ports, _one_size_each(request), seed=0)
    for name, array in arrays.items():
        known = [size if isinstance(size, int) else None for size in inputs[name].shape]
        fits = len(known) == array.ndim
        if not (fits and all(want in (None, got) for want, got in zip(known, array.shape, strict=True))):
            raise UsageError(f"-x {name} has shape {list(array.shape)}, the input is {inputs[name]}")
    return {name: array.astype(inputs[name].dtype.numpy) for name, array in arrays.items()}


def _one_size_each(request: Request) -> dict[str, int]:
    several = [name for name, sizes in request.sizes.items() if len(sizes) > 1]
    if several:
        raise UsageError(f"--dim {several[0]}: one size for a run, not {len(request.sizes[several[0]])}")
    return {name: sizes[0] for name, sizes in request.sizes.items()}


def read_arrays(
    texts: Sequence[str], ports: Mapping[str, Any], sizes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray]:
    """The array of each input, from `-x`; what has no name goes to the inputs in order."""
    given: dict[str, str] = {}
    unnamed = []
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            if name in given:
                raise UsageError(f"-x gives input {name} twice")
            given[name] = value
        else:
            unnamed.append(text)
    free = [name for name in ports if name not in given]
    if len(unnamed) == 1 and unnamed[0] in FILLED:
        unnamed *= len(free)
    if len(unnamed) == 1 and unnamed[0].endswith(".npz") and len(free) != 1:
        archive = loaded(unnamed.pop())
        arrays = {name: archive[name] for name in archive if name in free}
    else:
        arrays = {}
    if len(unnamed) > len(free):
        raise UsageError(f"{len(unnamed)} arrays for {len(free)} inputs", fix=_wanted(ports))
    given.update(zip(free, unnamed))
    for name, value in given.items():
        if name not in ports:
            raise UsageError(f"no input named {name}{nearest(name, ports)}", fix=_wanted(ports))
        arrays[name] = _array(name, value, ports[name], sizes, seed)
    missing = [name for name in ports if name not in arrays]
    if missing:
        raise UsageError(f"no array for input {', '.join(missing)}", fix=_wanted(ports))
    return {name: arrays[name] for name in ports}


def _wanted(ports: Mapping[str, Any]) -> str:
    return "give " + " ".join(f"-x {name}=FILE.npy" for name in ports) + ", or -x random"


def _array(name: str, value: str, port: Any, sizes: Mapping[str, int], seed: int) -> np.ndarray:
    literal = _literal(value)
    if isinstance(literal, list):
        return np.array(literal, np.dtype(str(port.dtype)))
    if value not in FILLED and literal is None:
        found = loaded(value)
        if isinstance(found, np.ndarray):
            return found
        if name in found:
            return np.asarray(found[name])
        raise ModelError(f"{value} has no array {name}{nearest(name, found)}")
    shape = tuple(_size(dim, sizes, name) for dim in port.dims)
    dtype = np.dtype(str(port.dtype))
    if value != "random":
        return np.full(shape, value == "ones" if literal is None else literal, dtype)
    generator = np.random.default_rng([seed, *name.encode()])
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)  # small enough to be an index of anything


def _literal(text: str) -> Any:
    """A number, or nested lists of them as JSON writes them; None for anything else."""
    with suppress(ValueError):
        return json.loads(text) if text.startswith("[") else float(text)
    return None


def _size(dim: Any, sizes: Mapping[str, int], name: str) -> int:
    from graphc.ir.dims import parse_dim, substitute, symbols_of

    parsed = parse_dim(str(dim))
    unknown = [symbol for symbol in symbols_of(parsed) if symbol not in sizes]
    if unknown:
        raise UsageError(f"input {name} needs a size for {', '.join(unknown)}", fix=f"--dim {unknown[0]}=1")
    size = substitute(parsed, sizes)
    assert isinstance(size, int)
    return size


def _by_name(results: Any, names: list[str]) -> dict[str, np.ndarray]:
    if isinstance(results, Mapping):
        return dict(results)
    many = results if isinstance(results, (tuple, list)) else (results,)
    return dict(zip(names, many))


def _check_output(output: str | None) -> None:
    if output is not None and not output.endswith((".npy", ".npz")):
        raise UsageError(f"-o {output}: give a name that ends in .npy or .npz")


def _save(path: str, outputs: Mapping[str, np.ndarray]) -> None:
    import io

    buffer = io.BytesIO()
    if path.endswith(".npy"):
        if len(outputs) != 1:
            raise UsageError(f"-o {path}: {len(outputs)} outputs need a .npz file")
        np.save(buffer, next(iter(outputs.values())))
    else:
        np.savez(buffer, allow_pickle=False, **outputs)
    atomic.write_file(path, buffer.getvalue())


def _type(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _preview(array: np.ndarray) -> str:
    flat = array.ravel()
    numbers = " ".join(f"{number:.6g}" for number in flat[:_SHOWN].tolist())
    return numbers if flat.size <= _SHOWN else f"{numbers} ..."


def _described(array: np.ndarray) -> dict[str, Any]:
    data: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size <= _IN_JSON:
        data["values"] = array
    return data
