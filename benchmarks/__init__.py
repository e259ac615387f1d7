"""Measure graphc side by side with its peers: `python -m benchmarks`; docs/performance.md has the results."""
