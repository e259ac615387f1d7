"""Frontends: from a user's model to a graph."""
