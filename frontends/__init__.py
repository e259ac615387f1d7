"""Frontends: from a user's model to a graph."""

if __name__ != "graphc.frontends":  # a second copy would have a second set of classes
    raise ImportError("this folder is the package graphc.frontends: write `import graphc.frontends`")
