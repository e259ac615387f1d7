"""The public names of `graphc` are what they were when first asked for, whatever is imported later."""

import importlib
import pkgutil
import types

import pytest

import graphc

NAMESPACES = {"data", "nn", "ops", "optim"}


def test_no_submodule_has_the_name_of_a_function():
    """Importing a submodule sets the attribute of its name on the package."""
    later = {module.name for module in pkgutil.iter_modules(graphc.__path__)} & set(graphc._LATER)
    assert not later


@pytest.mark.parametrize("name", graphc.__all__)
def test_names_stay(name):
    for submodule in ("interpret", "explanation", "api", "training", "executable"):
        importlib.import_module(f"graphc.{submodule}")
    value = getattr(graphc, name)
    assert isinstance(value, types.ModuleType) == (name in NAMESPACES)
    assert getattr(graphc, name) is value


def test_explain_twice():
    for _ in range(2):
        assert "fuse" in str(graphc.explain(lambda x: x + 1, {"x": "float32[N]"}))
