"""The examples in the docstrings run.

Modules are imported by their installed names: pytest's own collection would load `frontends/x.py` as
`frontends.x`, a second copy.
"""

import doctest
import importlib
import pkgutil

import pytest

import graphc

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
BESIDE = {"graphc", "tests", "examples", "benchmarks"}  # of a checkout's root, which is on graphc.__path__
OPTIONAL = {"onnx", "torch"}  # a module of a frontend may import these


def modules() -> list[str]:
    found = ["graphc"]
    pending = [("graphc", graphc.__path__)]
    while pending:
        prefix, path = pending.pop()
        for info in pkgutil.iter_modules(path, f"{prefix}."):
            if info.name.count(".") == 1 and info.name.split(".")[1] in BESIDE:
                continue
            if info.name.endswith(".__main__"):
                continue
            found.append(info.name)
            if info.ispkg:
                spec = info.module_finder.find_spec(info.name)
                pending.append((info.name, spec.submodule_search_locations))
    return sorted(found)


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name not in OPTIONAL:
            raise
        pytest.skip(f"{missing.name} is not installed")
    result = doctest.testmod(module, optionflags=FLAGS)
    assert result.failed == 0


def test_all_packages_are_seen() -> None:
    assert {"graphc.source", "graphc.frontends", "graphc.backends", "graphc.cli.main"} <= set(modules())
