"""From a module to PyTorch's own graph of it: `torch.export`, with the sizes left open that the types leave open."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from graphc.errors import ModelError, NoInputsError, UnsupportedError, UsageError, nearest
from graphc.ir.dims import SymbolicDim, substitute
from graphc.ir.types import TensorType

Ranges = Mapping[str, tuple[int, int | None]]

_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23)  # a size of its own for each symbol; 0 and 1 would not stay open


def exported(
    module: Any, types: Mapping[str, TensorType], ranges: Ranges
) -> tuple[torch.export.ExportedProgram, list[str]]:
    """The program, and the names of its inputs in order.  Raises ModelError when `torch.export` refuses the module."""
    if isinstance(module, torch.export.ExportedProgram):
        return module, list(types)
    names = input_names(module, types)
    symbols = sorted({symbol for type in types.values() for symbol in type.symbols})
    if len(symbols) > len(_PRIMES):
        raise UnsupportedError(f"{len(symbols)} sizes left open", fix=f"leave at most {len(_PRIMES)} open")
    bindings = {symbol: _size(symbol, position, ranges) for position, symbol in enumerate(symbols)}
    examples = tuple(example(types[name], bindings) for name in names)
    shapes = tuple(_open_sizes(types[name], ranges) for name in names)
    try:
        with quiet():
            program = torch.export.export(module, examples, dynamic_shapes=shapes if symbols else None)
    except Exception as error:  # any exception of the user's code or of PyTorch's compiler
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"torch.export refuses {type(module).__name__}: {first}",
            cause=type(error).__name__,
            fix="torch.export.export(module, inputs) tells more",
        ) from error
    return program, names


@contextmanager
def quiet() -> Iterator[None]:
    """PyTorch's exporter warns of its own ways; nothing of it is the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def input_names(module: torch.nn.Module, types: Mapping[str, TensorType]) -> list[str]:
    """The inputs in the order of `forward`.  Raises UsageError or NoInputsError when the types do not fit it."""
    parameters = inspect.signature(module.forward).parameters
    plain = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    known = [p.name for p in plain]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    extra = [name for name in types if name not in known]
    if extra and not several:
        raise UsageError(
            f"{type(module).__name__} has no input {extra[0]}{nearest(extra[0], known)}",
            fix=f"its inputs are {', '.join(known)}",
        )
    for p in plain:
        if p.name not in types and p.default is p.empty:
            raise NoInputsError(f"the type of input {p.name} is not given", fix=f'{p.name}="float32[N,...]"')
    return [name for name in known if name in types] + extra


def _size(symbol: str, position: int, ranges: Ranges) -> int:
    low, high = ranges.get(symbol, (0, None))
    size = max(_PRIMES[position], low)
    return size if high is None else min(size, high)


def example(type: TensorType, bindings: Mapping[str, int]) -> torch.Tensor:
    """A tensor of the type, for `torch.export` to look at."""
    shape = [substitute(size, bindings) for size in type.shape]
    return torch.zeros([int(n) for n in shape if isinstance(n, int)], dtype=getattr(torch, type.dtype.name))


def _open_sizes(type: TensorType, ranges: Ranges) -> dict[int, Any]:
    found = {}
    for axis, size in enumerate(type.shape):
        if isinstance(size, SymbolicDim):
            if not str(size).isidentifier():
                raise UnsupportedError(
                    f"the size {size} of an input of a PyTorch module", fix="give it a name of its own"
                )
            low, high = ranges.get(str(size), (0, None))
            found[axis] = torch.export.Dim(str(size), min=max(low, 2), max=high)
    return found
