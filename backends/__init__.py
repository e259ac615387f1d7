"""Backends: from a graph to code that runs."""
