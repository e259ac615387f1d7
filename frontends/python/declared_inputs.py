"""The inputs of a model: from the command line, the file's `inputs`, its examples, or annotations.

What is given on the command line wins, input by input.  Sizes are never guessed: an example's sizes are taken as
they are, and a note says so.
"""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import (
    GraphcError,
    ModelError,
    NoInputsError,
    UnsupportedError,
    UsageError,
    nearest,
    raise_all,
)
from graphc.frontends.python.bindings import Bindings
from graphc.ir.types import TensorType, dtype_of, parse_type
from graphc.source import Span

Range = tuple[int, int | None]


@dataclass(frozen=True)
class Declared:
    """What was said about the inputs, as it was said."""

    span: Span
    bindings: Bindings
    inputs: Any = None
    examples: Any = None
    dims: Any = None
    given_inputs: Mapping[str, str] | None = None
    given_dims: Mapping[str, Range] | None = None


def read_inputs(
    model: Any, name: str, declared: Declared
) -> tuple[dict[str, TensorType], dict[str, Range], tuple[str, ...]]:
    """(types by name in the order of the parameters, ranges of symbols, notes)."""
    parameters = _parameters(model, name, declared.span)
    notes: list[str] = []
    errors: list[GraphcError] = []
    found: dict[str, TensorType] = {}
    unread: list[tuple[str, str, str]] = []

    def note_type(key: str, text: Any, error_kind: type[GraphcError], said: str) -> None:
        try:
            found[key] = text if isinstance(text, TensorType) else parse_type(_text(text))
        except ValueError as error:
            span = declared.bindings.value("inputs", key) if error_kind is ModelError else None
            errors.append(error_kind(f"input {key}, {said}: {error}", span=span))

    for key, parameter in parameters.items():
        annotation = annotation_text(parameter.annotation)
        if annotation is None:
            continue
        try:
            found[key] = parse_type(annotation)
        except ValueError as error:
            if "[" in annotation or "32" in annotation or "64" in annotation:  # perhaps meant as a type
                unread.append((key, annotation, str(error)))
    for key, value in _by_name(declared, "example_inputs", parameters).items():
        found[key] = _type_of_example(key, value, declared.bindings.value("example_inputs", key))
        notes.append(
            f"input {key} takes the sizes of its example, {found[key]}; "
            f'write inputs = {{"{key}": "..."}} to leave one open'
        )
    for key, value in _by_name(declared, "inputs", parameters).items():
        note_type(key, value, ModelError, "in `inputs`")
    for key, text in (declared.given_inputs or {}).items():
        note_type(key, text, UsageError, "given by -i")

    errors += _unknown_names(found, parameters, declared)
    required = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [key for key in required if key not in found]
    if missing and not errors:
        errors.append(_no_inputs(name, missing, unread, declared.span))
    raise_all(errors)
    types = {key: found[key] for key in parameters if key in found}
    return types, _ranges(types, declared), tuple(notes)


def _parameters(model: Any, name: str, span: Span) -> dict[str, inspect.Parameter]:
    function: Callable[..., Any] = getattr(model, "forward", model)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise UnsupportedError(f"{name} has no signature that Python can tell", span=span) from None
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            star = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise UnsupportedError(
                f"{name} takes {star}{parameter.name}: the inputs of a model have fixed names",
                span=span,
                fix="write the parameters out",
            )
    return dict(parameters)


def annotation_text(annotation: Any) -> str | None:
    """The type written as an annotation, or None when there is none.

    >>> annotation_text("float32[N,784]"), annotation_text("'float32[N,784]'"), annotation_text(np.ndarray)
    ('float32[N,784]', 'float32[N,784]', None)
    """
    if isinstance(annotation, TensorType):
        return str(annotation)
    for extra in getattr(annotation, "__metadata__", ()):  # typing.Annotated[np.ndarray, "float32[N]"]
        if isinstance(extra, (str, TensorType)):
            return str(extra)
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return None
    if annotation[:1] in "\"'" and annotation:  # `from __future__ import annotations` quotes once more
        try:
            annotation = ast.literal_eval(annotation)
        except (SyntaxError, ValueError):
            return None
    return annotation


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(
            f"should be written as text, for example 'float32[N,784]', not as {type(value).__name__}"
        )
    return value


def _by_name(declared: Declared, what: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """A dictionary by input name; a list of examples goes by position."""
    value = declared.inputs if what == "inputs" else declared.examples
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    span = declared.bindings.value(what)
    if what == "inputs":
        kind = type(value).__name__
        fix = 'inputs = {"x": "float32[N,784]"}'
        raise ModelError(f"inputs should be a dictionary and is of type {kind}", span=span, fix=fix)
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(items) > len(parameters):
        raise ModelError(f"{len(items)} example_inputs for {len(parameters)} parameters", span=span)
    return dict(zip(parameters, items))


def _type_of_example(key: str, value: Any, span: Span) -> TensorType:
    try:
        array = value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value)
        dtype = dtype_of(str(array.dtype).removeprefix("torch."))
    except (TypeError, ValueError) as error:
        raise ModelError(f"the example of input {key} cannot be used: {error}", span=span) from None
    return TensorType(dtype, tuple(int(size) for size in array.shape))


def _unknown_names(
    found: Mapping[str, Any], parameters: Mapping[str, Any], declared: Declared
) -> list[GraphcError]:
    errors: list[GraphcError] = []
    for key in found:
        if key not in parameters:
            given = key in (declared.given_inputs or {})
            kind: type[GraphcError] = UsageError if given else ModelError
            errors.append(
                kind(
                    f"the model has no input named {key}{nearest(key, parameters)}",
                    span=declared.span if given else declared.bindings.value("inputs", key),
                    fix=f"its parameters are {', '.join(parameters) or 'none'}",
                )
            )
    return errors


def _no_inputs(
    name: str, missing: list[str], unread: list[tuple[str, str, str]], span: Span
) -> NoInputsError:
    example = ", ".join(f'"{key}": "float32[N,784]"' for key in missing)
    return NoInputsError(
        f"the shape of {'input' if len(missing) == 1 else 'inputs'} {', '.join(missing)} of {name} is not known",
        span=span,
        facts=unread,
        fix=f"write inputs = {{{example}}} in the file, or give "
        + " ".join(f"-i {k}:float32[N,784]" for k in missing),
    )


def _ranges(types: Mapping[str, TensorType], declared: Declared) -> dict[str, Range]:
    """The range of each symbol that has one; names nobody uses are refused."""
    used = sorted({symbol for type_ in types.values() for symbol in type_.symbols})
    ranges: dict[str, Range] = {}
    for symbol, value in (declared.dims or {}).items():
        ranges[symbol] = _range(symbol, value, declared.bindings.value("dims", symbol), ModelError)
    for symbol, value in (declared.given_dims or {}).items():
        ranges[symbol] = _range(symbol, value, None, UsageError)
    for symbol in ranges:
        if symbol not in used:
            given = symbol in (declared.given_dims or {})
            kind: type[GraphcError] = UsageError if given else ModelError
            raise kind(
                f"no input has a dimension {symbol}{nearest(symbol, used)}",
                span=None if given else declared.bindings.value("dims", symbol),
                facts=[(key, str(type_)) for key, type_ in types.items()],
            )
    return ranges


def _range(symbol: str, value: Any, span: Span | None, kind: type[GraphcError]) -> Range:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = value
        if _size(low) and (high is None or _size(high)) and (high is None or low <= high):
            return int(low), None if high is None else int(high)
    raise kind(
        f"the range of dimension {symbol} should be (low, high) with 0 <= low <= high, not {value!r}",
        span=span,
    )


def _size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
