"""The public names of `graphc` are what they were when first asked for, whatever is imported later."""

import importlib
import types

import pytest

import graphc

NAMESPACES = {"data", "nn", "ops", "optim"}


@pytest.mark.parametrize("name", graphc.__all__)
def test_names_stay(name):
    for submodule in ("interpret", "explain", "gradcheck", "train", "api", "training", "executable"):
        importlib.import_module(f"graphc.{submodule}")
    value = getattr(graphc, name)
    assert isinstance(value, types.ModuleType) == (name in NAMESPACES)
    assert getattr(graphc, name) is value


def test_explain_twice():
    for _ in range(2):
        assert "fuse" in str(graphc.explain(lambda x: x + 1, {"x": "float32[N]"}))
