"""Options that several commands share: which model, with which inputs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graphc.cli.console import Console
from graphc.errors import ModelError, UsageError, nearest

if TYPE_CHECKING:
    from graphc.frontends.python.model_file import ModelFile

F = TypeVar("F", bound=Callable[..., Any])
Range = tuple[int, int | None]


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line about the model.

    inputs    types by input name, as written
    ranges    `--dim N=1:4096`
    sizes     `--dim N=1`: sizes to compile for beside the general case
    values    of inputs of an ONNX model, `--value shape=2,3`
    weights   the file of `--weights`
    stored    the word of `--weights`: fp16 or int8
    """

    target: str
    entry: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)
    sizes: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    stored: str = "fp32"


def model_options(command: F, required: bool = True) -> F:
    """MODEL, -i, --dim, --weights and --entry; the command gets them as one `request`, without a MODEL of target ""."""

    @functools.wraps(command)  # with the options that were declared before
    def with_request(**keywords: Any) -> Any:
        inputs = _parse_inputs(keywords.pop("inputs"))
        ranges, sizes = _parse_dims(keywords.pop("dims"))
        request = Request(
            keywords.pop("target") or "",
            keywords.pop("entry"),
            inputs,
            ranges,
            sizes,
            _parse_values(keywords.pop("fixed")),
            *_parse_weights(keywords.pop("weights")),
        )
        return command(request=request, **keywords)

    decorated: Any = with_request
    for decorate in reversed(
        [
            click.argument("target", metavar="MODEL" if required else "[MODEL]", required=required),
            click.option(
                "-i", "--input", "inputs", multiple=True, metavar="NAME:TYPE",
                help="Type of an input, as x:float32[N,784]; a name is a size left open.",
            ),
            click.option(
                "--dim", "dims", multiple=True, metavar="NAME=SIZE",
                help="N=1:4096 is the range of a size; N=8 fixes it.",
            ),
            click.option(
                "--value", "fixed", multiple=True, metavar="NAME=NUMBERS",
                help="Value of an ONNX model's input that shapes depend on, as shape=2,3, or an .npy file.",
            ),
            click.option(
                "--weights", metavar="FILE", multiple=True,
                help="A .safetensors or .npz file; for compile also fp16 or int8, how to store them.",
            ),
            click.option("--entry", metavar="NAME", help="The object in the file that is the model."),
        ]
    ):  # fmt: skip
        decorated = decorate(decorated)
    result: F = decorated
    return result


def data_option(help: str) -> Callable[[F], F]:
    """`-x`, the arrays of inputs, which `run.read_arrays` reads."""
    return click.option("-x", "--data", multiple=True, metavar="[NAME=]FILE", help=help)


@contextlib.contextmanager
def model_at_work(console: Console) -> Iterator[None]:
    """Around all that imports or traces the user's program: its output is no result, its errors are its own."""
    from graphc.frontends.python.importing import user_code

    with console.user_output_to_stderr(), user_code("the model fails while it is traced"):
        yield


def load_model(request: Request, console: Console, stored: bool = False) -> ModelFile:
    """Find the model, in a Python file or an ONNX one; notes about it go to stderr.

    stored: whether the command stores weights in fewer bits.
    """
    if request.stored != "fp32" and not stored:
        raise UsageError(f"--weights {request.stored} is for compile: this command uses them as they are")
    from graphc.frontends.python.model_file import load_model_file

    if request.target.endswith(".onnx"):
        found = _onnx_file(request)
    else:
        if request.values:
            raise UsageError("--value is for ONNX models: a Python file has its values in the program")
        found = load_model_file(
            request.target,
            entry=request.entry,
            inputs=request.inputs,
            dims=request.ranges,
            weights=request.weights,
        )
    _check_sizes(request, found)
    for text in found.notes:
        console.note(f"note: {text}")
    console.note(f"{found.span}: {found.entry}", level=1)
    return found


def _onnx_file(request: Request) -> ModelFile:
    """An ONNX file, read as if it were a Python file with one model."""
    from graphc.frontends import onnx
    from graphc.frontends.python.model_file import ModelFile
    from graphc.source import Span

    if request.entry is not None:
        raise UsageError(f"--entry {request.entry}: an ONNX file holds one model")
    path = Path(request.target)
    graph = onnx.load(path, inputs=request.inputs, values=request.values)
    graph = graph.with_(dims={**graph.dims, **request.ranges})
    return ModelFile(
        path=path.absolute(),
        name=path.stem,
        entry=graph.name,
        model=graph,
        span=Span(str(path), 0),
        inputs={value.name: value.type for value in graph.inputs},
        dims=graph.dims,
        weights=None if request.weights is None else Path(request.weights),
        notes=(),
    )


def _check_sizes(request: Request, found: ModelFile) -> None:
    """The sizes of `--dim N=1` belong to a symbol of the inputs and lie in its range."""
    symbols = sorted({symbol for type_ in found.inputs.values() for symbol in type_.symbols})
    for name, sizes in request.sizes.items():
        if name not in symbols:
            raise UsageError(
                f"no input has a dimension {name}{nearest(name, symbols)}",
                facts=[(key, str(type_)) for key, type_ in found.inputs.items()],
            )
        low, high = found.dims.get(name, (0, None))
        for size in sizes:
            if size < low or (high is not None and size > high):
                raise UsageError(f"--dim {name}={size} is outside of its range, {low} to {high or 'any'}")


def _parse_inputs(texts: Sequence[str]) -> dict[str, str]:
    """`x:float32[N,784]` each."""
    found: dict[str, str] = {}
    for text in texts:
        name, colon, type_ = text.partition(":")
        if not colon or not name.isidentifier() or not type_:
            raise UsageError(
                f"-i {text}: write NAME:TYPE, for example -i x:float32[N,784]",
                cause="the name is a parameter's",
            )
        if name in found:
            raise UsageError(f"-i gives input {name} twice: {found[name]} and {type_}")
        found[name] = type_
    return found


def loaded(path: str) -> Any:
    """An array of a file, or a dictionary of them."""
    from graphc.weights import read_numpy

    try:
        with open(path, "rb") as file:
            return read_numpy(file)
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder") from None
    except ValueError as error:
        raise ModelError(
            f"{path} is not a .npy or .npz file of numbers: {error}", fix="write it with np.save(path, array)"
        ) from None


def _parse_values(texts: Sequence[str]) -> dict[str, Any]:
    """`shape=2,3`, or `shape=FILE.npy`."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--value {text}: write NAME=NUMBERS, for example --value shape=2,3")
        if name in found:
            raise UsageError(f"--value gives {name} twice")
        if value.endswith(".npy"):
            found[name] = loaded(value)
            continue
        try:
            numbers = [float(n) if "." in n or "e" in n.lower() else int(n) for n in value.split(",")]
        except ValueError:
            raise UsageError(f"--value {text}: {value!r} is no list of numbers, and no .npy file") from None
        found[name] = numbers
    return found


def _parse_weights(texts: Sequence[str]) -> tuple[str | None, str]:
    """At most one file and at most one word."""
    from graphc.weights import STORED

    words = [text for text in texts if text in STORED]
    files = [text for text in texts if text not in STORED]
    for given in (words, files):
        if len(given) > 1:
            raise UsageError(f"--weights gives {given[0]} and {given[1]}")
    return (files[0] if files else None), (words[0] if words else "fp32")


def _parse_dims(texts: Sequence[str]) -> tuple[dict[str, Range], dict[str, list[int]]]:
    """`N=1:4096` or `N=1:` is a range, `N=8` or `N=1,8` are sizes."""
    ranges: dict[str, Range] = {}
    sizes: dict[str, list[int]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        low, colon, high = value.partition(":")
        if not equals or not name.isidentifier():
            raise _bad_dim(text)
        if colon:
            if name in ranges:
                raise UsageError(f"--dim gives a range of {name} twice")
            ranges[name] = (_size(low, text), _size(high, text) if high else None)
        else:
            for part in value.split(","):
                size = _size(part, text)
                if size not in sizes.setdefault(name, []):
                    sizes[name].append(size)
    return ranges, sizes


def _size(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**63:
        raise _bad_dim(whole)
    return int(text)


def _bad_dim(text: str) -> UsageError:
    return UsageError(
        f"--dim {text}: write NAME=LOW:HIGH or NAME=SIZE, for example --dim N=1:4096 or --dim N=1"
    )
