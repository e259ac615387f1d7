"""Modules made of other modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphc.errors import UsageError
from graphc.nn.module import Module
from graphc.source import user_span


class _Numbered(Module):
    """Submodules called 0, 1, 2, ..."""

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._list())

    def _list(self) -> list[Module]:
        return [value for value in vars(self).values() if isinstance(value, Module)]

    def __getitem__(self, index: Any) -> Any:
        return type(self)(*self._list()[index]) if isinstance(index, slice) else self._list()[index]

    def __setitem__(self, index: int, module: Module) -> None:
        names = [name for name, value in vars(self).items() if isinstance(value, Module)]
        setattr(self, names[index], _checked(module))

    def append(self, module: Module) -> Any:
        setattr(self, str(len(self)), _checked(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        for module in modules:
            self.append(module)
        return self


class Sequential(_Numbered):
    """Modules one after the other; also from a dictionary, whose names they then have.

    >>> from graphc import nn
    >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Any):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                setattr(self, name, _checked(module))
        else:
            self.extend(modules)

    def forward(self, x: Any) -> Any:
        for module in self._list():
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        return ModuleList(self._list()[index]) if isinstance(index, slice) else self._list()[index]


class ModuleDict(Module):
    """Modules by name; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        setattr(self, name, _checked(module))

    def __getitem__(self, name: str) -> Module:
        module: Module = vars(self)[name]
        return module

    def keys(self) -> Iterator[str]:
        return (name for name, value in vars(self).items() if isinstance(value, Module))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __len__(self) -> int:
        return len(list(self.keys()))

    def items(self) -> Iterator[tuple[str, Module]]:
        return ((name, self[name]) for name in self.keys())

    def values(self) -> Iterator[Module]:
        return (self[name] for name in self.keys())


def _checked(module: Any) -> Module:
    if not isinstance(module, Module):
        hint = "a class: call it to make a layer" if isinstance(module, type) else "a plain function or value"
        raise UsageError(f"{module!r} is not a Module but {hint}", span=user_span())
    return module
