"""Reads a `model.py`: which object is the model, what its inputs are, where its weights lie.

The object is, in this order: what `file.py:name` or `--entry` names; what is marked `@graphc.model`; the variable
`model`; a function `model`, `forward` or `predict`; the only public Module or function.  A class is instantiated and
a function without parameters, or with keywords alone (`def ResNet50(**choices)`), is called.  None, or several: an
error with the candidates and their lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import CO_VARARGS
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from graphc.errors import ModelError, NoModelError, UsageError, nearest
from graphc.frontends.python.bindings import Bindings
from graphc.frontends.python.declared_inputs import Declared, read_inputs
from graphc.frontends.python.importing import import_file, user_code
from graphc.frontends.python.mark import Mark, mark_of
from graphc.frontends.python.modules import is_model_class, is_module
from graphc.ir.types import TensorType
from graphc.source import Span

NAMED_FUNCTIONS = ("model", "forward", "predict")


@dataclass(frozen=True)
class ModelFile:
    """A model and what its file says about it.

    path      the file
    name      the artefact's name: the file's name without `.py`
    entry     the name of the object in the file
    model     a Module or a function
    span      where the object is defined
    inputs    type of each input by name, in the order of the parameters
    dims      range (low, high or None) of the symbols that have one
    weights   the weights file, if one is named
    notes     what a reader should know: sizes taken from an example
    """

    path: Path
    name: str
    entry: str
    model: Any
    span: Span
    inputs: Mapping[str, TensorType]
    dims: Mapping[str, tuple[int, int | None]]
    weights: Path | None
    notes: tuple[str, ...]


def load_model_file(
    target: str,
    *,
    entry: str | None = None,
    inputs: Mapping[str, str] | None = None,
    dims: Mapping[str, tuple[int, int | None]] | None = None,
    weights: str | None = None,
) -> ModelFile:
    """Import `file.py` or `file.py:name` and find its model.

    `inputs` and `dims` win over what the file declares, `weights` over the file it names.  Raises UsageError when
    there is no such file, ModelFileFailed when importing it raises, NoModelError when no object or several could be
    the model, and NoInputsError when the shape of an input is not known.
    """
    path, entry = _split(target, entry)
    module = import_file(path)
    path = path.absolute()  # a span outlives the current folder
    bindings = Bindings(path)
    name, found = _find(module, bindings, entry)
    span = bindings.line(name)
    mark = mark_of(found) or Mark()
    model = _instantiate(found, name, span)
    file_inputs = mark.inputs if mark.inputs is not None else getattr(module, "inputs", None)
    declared = Declared(
        span=span,
        bindings=bindings,
        inputs=file_inputs,
        examples=None if file_inputs is not None else getattr(module, "example_inputs", None),
        dims={**_dictionary(module, "dims", bindings), **mark.dims},
        given_inputs=inputs or {},
        given_dims=dims or {},
    )
    types, ranges, notes = read_inputs(model, name, declared)
    return ModelFile(
        path=path,
        name=path.stem,
        entry=name,
        model=model,
        span=span,
        inputs=types,
        dims=ranges,
        weights=_weights(bindings, weights, mark.weights or getattr(module, "weights", None)),
        notes=notes,
    )


def _split(target: str, entry: str | None) -> tuple[Path, str | None]:
    """The file and the name in `file.py:name`."""
    file, colon, name = target.rpartition(":")
    if colon and file.endswith(".py") and all(part.isidentifier() for part in name.split(".")):
        if entry is not None and entry != name:
            raise UsageError(f"two names for the model: {name} in {target!r} and --entry {entry}")
        return Path(file), name
    return Path(target), entry


def _find(module: ModuleType, bindings: Bindings, entry: str | None) -> tuple[str, Any]:
    lines = bindings.lines
    names = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    if entry is not None:
        return entry, _named(names, entry, bindings.path)
    marked = {name: value for name, value in names.items() if mark_of(value) and name in lines}
    if marked:
        return _only(_without_aliases(marked), bindings, "objects are marked @graphc.model")
    if "model" in names and not isinstance(names["model"], ModuleType):
        return "model", names["model"]
    for name in NAMED_FUNCTIONS:
        if isinstance(names.get(name), FunctionType):
            return name, names[name]
    candidates = {
        name: value
        for name, value in names.items()
        if not name.startswith("_") and name in lines and _could_be_model(value, module)
    }
    made = {type(value) for value in candidates.values() if is_module(value)}
    candidates = {name: value for name, value in candidates.items() if value not in made}
    return _only(_without_aliases(candidates), bindings, "objects could be the model")


def _could_be_model(value: Any, module: ModuleType) -> bool:
    """A Module, or a function with parameters or a Module class that the file itself defines."""
    if is_module(value):
        return True
    if getattr(value, "__module__", None) != module.__name__:
        return False
    return is_model_class(value) or (isinstance(value, FunctionType) and value.__code__.co_argcount > 0)


def _without_aliases(candidates: dict[str, Any]) -> dict[str, Any]:
    """`a = b = Net()` is one candidate, not two."""
    first: dict[int, str] = {}
    for name, value in candidates.items():
        first.setdefault(id(value), name)
    return {name: candidates[name] for name in first.values()}


def _only(candidates: dict[str, Any], bindings: Bindings, what: str) -> tuple[str, Any]:
    if len(candidates) == 1:
        return next(iter(candidates.items()))
    facts = [
        (name, _kind(value), f"at {bindings.line(name)}")
        for name, value in sorted(candidates.items(), key=lambda item: bindings.lines[item[0]])
    ]
    if facts:
        message = f"{len(facts)} {what}"
        fix = f"name one of them: {bindings.path.name}:{facts[0][0]}, or put @graphc.model above it"
    else:
        message = "no object could be the model"
        fix = "define a function `forward(x)` or a variable `model`, or put @graphc.model above the one you mean"
    raise NoModelError(message, span=Span(str(bindings.path), 0), facts=facts, fix=fix)


def _kind(value: Any) -> str:
    if isinstance(value, FunctionType):
        return "function"
    return f"class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _named(names: dict[str, Any], entry: str, path: Path) -> Any:
    first, *rest = entry.split(".")
    if first not in names:
        public = [name for name, value in names.items() if not name.startswith("_") and callable(value)]
        raise NoModelError(f"no object named {first}{nearest(first, public)}", span=Span(str(path), 0))
    value = names[first]
    for attribute in rest:
        if not hasattr(value, attribute):
            span = Span(str(path), 0)
            raise NoModelError(f"{entry}: {_kind(value)} has no attribute {attribute}", span=span)
        value = getattr(value, attribute)
    return value


def _instantiate(found: Any, name: str, span: Span) -> Any:
    """The model itself: a class is instantiated, a function without parameters, or of mere choices, makes it."""
    makes_it = isinstance(found, FunctionType) and found.__code__.co_argcount == 0
    makes_it = makes_it and not found.__code__.co_flags & CO_VARARGS
    if isinstance(found, type) or makes_it:
        with user_code(f"{name}() fails"):
            found = found()
    if not callable(found):
        raise NoModelError(
            f"{name} is of type {type(found).__name__}, which cannot be called",
            span=span,
            fix="the model is a graphc.nn.Module or a function of arrays",
        )
    return found


def _dictionary(module: ModuleType, name: str, bindings: Bindings) -> Mapping[str, Any]:
    value = getattr(module, name, {})
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise ModelError(f"{name} should be a dictionary and is of type {kind}", span=bindings.value(name))
    return value


def _weights(bindings: Bindings, given: str | None, declared: Any) -> Path | None:
    """A name in the file is relative to the file, one on the command line to the current folder."""
    if given is not None:
        return Path(given)
    if declared is None:
        return None
    if not isinstance(declared, (str, Path)):
        kind = type(declared).__name__
        raise ModelError(
            f"weights should be the name of a file and is of type {kind}", span=bindings.value("weights")
        )
    return bindings.path.parent / declared
