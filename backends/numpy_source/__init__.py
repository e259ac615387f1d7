"""Readable, standalone NumPy source for any graph: forward, gradient, training step."""

from graphc.backends.numpy_source.load import NumpyFunction, load_source, run_text
from graphc.backends.numpy_source.source import numpy_source

__all__ = ["NumpyFunction", "load_source", "numpy_source", "run_text"]
