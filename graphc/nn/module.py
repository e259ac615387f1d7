"""Module: layers and networks, as in PyTorch.

A module is an ordinary object.  Its parameters, buffers and submodules are its attributes, found by looking at them;
there is no registry that could disagree.  While its `forward` runs, what is recorded carries the module's path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from graphc.errors import GraphcError, UsageError, WeightsError, nearest, raise_all
from graphc.ir.types import DType, dtype_of
from graphc.nn.parameter import Parameter
from graphc.source import is_internal
from graphc.tensor import Tensor, open_trace
from graphc.tensor.recording import Recorder, entry, here, recorder


class Mismatch(NamedTuple):
    """What `load_state_dict(strict=False)` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of layers and networks: assign layers and parameters in `__init__`, compute in `forward`.

    >>> from graphc import nn
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return self.inner(self.inner(x))
    >>> [name for name, _ in Twice().named_parameters()]
    ['inner.weight', 'inner.bias']
    """

    _training = True
    _buffers: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._training = True

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """The computation.  Every module has its own."""
        raise UsageError(
            f"{type(self).__name__} has no method forward", span=here(), fix="define forward(self, x)"
        )

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        target = recorder()
        is_root = not target.modules and not target.paths
        if is_root:
            target.paths = module_paths(self)
        path = _path(target, self)
        is_user_code = not is_internal(type(self).forward.__code__.co_filename)
        depth = target.depth
        target.enter(path, is_user_code)
        try:
            if is_user_code:
                target.depth = 0
                result = self.forward(*inputs, **keywords)
            else:
                result = entry(self.forward)(*inputs, **keywords)
        finally:
            target.depth = depth
            target.leave(is_user_code)
            if is_root:
                target.paths = {}
        return result

    @property
    def training(self) -> bool:
        """Whether dropout and batch norm behave as in training; a trace for inference says no for every module."""
        trace = open_trace()
        return self._training and (trace is None or trace.training)

    @training.setter
    def training(self, training: bool) -> None:
        self._training = bool(training)

    def train(self, mode: bool = True) -> Self:
        for module in self.modules():
            module._training = bool(mode)
        return self

    def eval(self) -> Self:
        return self.train(False)

    # What it is made of ------------------------------------------------------------------------------------------

    def register_buffer(self, name: str, tensor: Any) -> None:
        """Attach a tensor that is saved with the module but not trained."""
        setattr(self, name, tensor if tensor is None or isinstance(tensor, Tensor) else Tensor(tensor))
        self._buffers = (*self._buffers, name)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        setattr(self, name, parameter)

    def add_module(self, name: str, module: Module | None) -> None:
        setattr(self, name, module)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        seen: set[int] = set()
        for name, value in vars(self).items():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with its path."""
        seen: set[int] = set()
        pending = [(prefix, self)]
        while pending:
            path, module = pending.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            below = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
            pending += reversed(below)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def _named_tensors(
        self, prefix: str, recurse: bool, chosen: Callable[[Module, str, Any], bool]
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, value in vars(module).items():
                if chosen(module, name, value) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value
            if not recurse:
                return

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths, each once, in the order they were assigned."""
        return self._named_tensors(prefix, recurse, lambda _, name, value: isinstance(value, Parameter))

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their paths."""
        return self._named_tensors(
            prefix, recurse, lambda module, name, value: name in module._buffers and value is not None
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, path: str) -> Module:
        module: Any = self
        for name in path.split(".") if path else ():
            module = getattr(module, name)
        return module

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call a function with every module, the innermost first."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, dtype: Any) -> Self:
        """Cast parameters and floating-point buffers; `to("cpu")` does nothing."""
        if isinstance(dtype, str) and dtype == "cpu":
            return self
        wanted: DType = dtype_of(dtype if isinstance(dtype, (str, DType)) else np.dtype(dtype))
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.type.dtype.is_float:
                tensor.data = tensor.array.astype(wanted.numpy)
        return self

    def float(self) -> Self:
        return self.to("float32")

    def double(self) -> Self:
        return self.to("float64")

    # State ---------------------------------------------------------------------------------------------------------

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers; one that stands in several places has several names, as in PyTorch."""
        pending: list[tuple[str, Module]] = [("", self)]
        while pending:
            path, module = pending.pop()
            prefix = f"{path}." if path else ""
            own = vars(module)
            yield from ((prefix + name, value) for name, value in own.items() if isinstance(value, Parameter))
            for name in module._buffers:
                if own[name] is not None:
                    yield prefix + name, own[name]
            below = [(prefix + name, child) for name, child in own.items() if isinstance(child, Module)]
            pending += reversed(below)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The arrays of all parameters and buffers by name, as PyTorch names them."""
        return {name: tensor.array for name, tensor in self._named_state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Mismatch:
        """Take over arrays by name; nothing changes unless all fit.

        Raises WeightsError for a shape or dtype that differs, and, when strict, for names that are missing or unknown.
        """
        own = dict(self._named_state())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        errors: list[GraphcError] = []
        if strict:
            errors += [
                WeightsError(f"no weights for {name}{nearest(name, unexpected)}", span=here())
                for name in missing
            ]
            errors += [
                WeightsError(f"the model has no {name}{nearest(name, missing or own)}", span=here())
                for name in unexpected
            ]
        arrays = {name: _array(state[name]) for name in own if name in state}
        for name, array in arrays.items():
            tensor = own[name]
            if array.shape != tensor.type.shape or array.dtype != tensor.dtype:
                errors.append(
                    WeightsError(
                        f"weights of {name} are {array.dtype}{list(array.shape)}, the model has {tensor.type}",
                        span=here(),
                        fix=""
                        if array.shape != tensor.type.shape
                        else f'cast them: .astype("{tensor.dtype}")',
                    )
                )
        raise_all(errors)
        for name, array in arrays.items():
            own[name].data = array
        return Mismatch(missing, unexpected)

    # Text ----------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        inner = "".join(f"\n  {line}" for line in lines)
        return f"{type(self).__name__}({self.extra_repr()}{inner}" + ("\n)" if inner else ")")


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.array
    return np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)


def module_paths(root: Module) -> dict[int, str]:
    return {id(module): path for path, module in root.named_modules()}


def _path(target: Recorder, module: Module) -> str:
    """The path of a module that is called; one nobody assigned is named after its class."""
    path = target.paths.get(id(module))
    if path is None:
        parent = target.module
        path = f"{parent}.{type(module).__name__}" if parent else type(module).__name__
    return path
