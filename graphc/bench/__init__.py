"""Measuring: a model beside others that run the same graph, each in a process of its own, taking turns."""
