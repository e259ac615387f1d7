"""The graph: types, ops, nodes, text form, verifier, rewriter."""
