"""Backends: from a graph to code that runs."""

if __name__ != "graphc.backends":  # a second copy would have a second set of classes
    raise ImportError("this folder is the package graphc.backends: write `import graphc.backends`")
