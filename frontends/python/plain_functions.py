"""Makes a plain NumPy function traceable without changing it.

The function runs as a copy with its own globals: floating-point arrays among them, and among the variables it
encloses, are tensors called by their names, and functions of the same file are copies too. What NumPy does
not hand to its guests (`np.full`, `np.array([t, t])`) is served by a stand-in for `np`, for the time of the
trace.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.frontends.python.numpy_standin import stand_in, standing_in
from graphc.nn import Module
from graphc.source import is_internal
from graphc.tensor import Tensor

Known = dict[int, tuple[np.ndarray, Tensor]]  # the tensor that stands for an array, by the array's identity


@contextmanager
def prepared(model: Any, root: Module | None, known: Known | None = None) -> Iterator[Callable[..., Any]]:
    """The callable to trace: with modules below `root` as it is, else a copy, with the tensors of `known` arrays."""
    if root is not None:
        with standing_in(_namespaces(root)):
            yield model
        return
    copier = _Copier(Known() if known is None else known)
    function = copier.callable(model)
    with standing_in(copier.originals):
        yield function


def _namespaces(module: Module) -> list[dict[str, Any]]:
    """The globals of every class of user code in a module."""
    found: dict[int, dict[str, Any]] = {}
    for child in module.modules():
        for kind in type(child).__mro__:
            forward = vars(kind).get("forward")
            code = getattr(forward, "__code__", None)
            if code is not None and not is_internal(code.co_filename):
                found[id(forward.__globals__)] = forward.__globals__  # type: ignore[union-attr]
    return list(found.values())


class _Copier:
    """Copies functions with tensors in place of the arrays they know."""

    def __init__(self, tensors: Known):
        self.tensors = tensors
        self.globals: dict[int, dict[str, Any]] = {}
        self.functions: dict[int, types.FunctionType] = {}
        self.originals: list[dict[str, Any]] = []

    def callable(self, model: Any) -> Callable[..., Any]:
        """A copy of a function, method, partial or object with `__call__`."""
        if isinstance(model, types.FunctionType):
            return self.function(model)
        if isinstance(model, types.MethodType):
            owner = self.instance(model.__self__)
            method: Any = model.__func__
            return types.MethodType(self.function(method), owner)
        if isinstance(model, functools.partial):
            arguments = [self.value(a, f"argument_{i}") for i, a in enumerate(model.args)]
            keywords = {key: self.value(a, key) for key, a in model.keywords.items()}
            return functools.partial(self.callable(model.func), *arguments, **keywords)
        call = vars(type(model)).get("__call__")
        if isinstance(call, types.FunctionType) and not isinstance(model, type):
            return types.MethodType(self.function(call), self.instance(model))
        return model

    def instance(self, owner: Any) -> Any:
        """A shallow copy of an object whose arrays are tensors; modules and classes as they are."""
        if isinstance(owner, (type, Module)) or not hasattr(owner, "__dict__"):
            return owner
        copy = object.__new__(type(owner))
        copy.__dict__.update({name: self.value(value, name) for name, value in vars(owner).items()})
        return copy

    def function(self, function: types.FunctionType) -> types.FunctionType:
        if is_internal(function.__code__.co_filename) or function.__globals__ is vars(np):
            return function
        known = self.functions.get(id(function))
        if known is not None:
            return known
        names = function.__code__.co_freevars
        cells = tuple(types.CellType() for _ in names) if function.__closure__ else None
        copy = types.FunctionType(
            function.__code__,
            self.namespace(function.__globals__),
            function.__name__,
            function.__defaults__,
            cells,
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        copy.__dict__.update(function.__dict__)
        copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
        copy.__annotations__ = function.__annotations__
        self.functions[id(function)] = copy
        defaults = tuple(self.value(d, "default") for d in function.__defaults__ or ())
        copy.__defaults__ = defaults or None
        for name, cell, old in zip(names, cells or (), function.__closure__ or ()):
            try:
                cell.cell_contents = self.value(old.cell_contents, name)
            except ValueError:  # an empty cell: the variable is not assigned yet
                continue
        return copy

    def namespace(self, original: dict[str, Any]) -> dict[str, Any]:
        """The globals of a copy."""
        known = self.globals.get(id(original))
        if known is None:
            known = self.globals[id(original)] = dict(original)
            self.originals.append(original)
            for name, value in original.items():
                if not name.startswith("__"):
                    known[name] = stand_in(value) or self.value(value, name)
        return known

    def value(self, value: Any, name: str) -> Any:
        if type(value) is np.ndarray and value.dtype.kind == "f":
            return self.tensor(value, name)
        if isinstance(value, types.FunctionType):
            return self.function(value)
        if type(value) in (list, tuple) and any(type(v) is np.ndarray and v.dtype.kind == "f" for v in value):
            return type(value)(self.value(v, f"{name}.{i}") for i, v in enumerate(value))
        if type(value) is dict and any(type(v) is np.ndarray and v.dtype.kind == "f" for v in value.values()):
            return {key: self.value(v, f"{name}.{key}") for key, v in value.items()}
        return value

    def tensor(self, array: np.ndarray, name: str) -> Tensor:
        """The tensor for an array; one array known by two names is one parameter."""
        held = self.tensors.get(id(array))
        if held is None:
            held = self.tensors[id(array)] = (array, Tensor(array, requires_grad=True, name=name))
        return held[1]
