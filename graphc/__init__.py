"""graphc: a computation-graph compiler and visualizer.

Models are traced into a static graph; passes differentiate, fuse and plan memory; backends
emit readable NumPy source or native code; Graphviz draws the forward and the backward graph.
"""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout `graphc.frontends` and `graphc.backends` are the top-level folders beside this
# package; an installed wheel holds them inside it.  Without this line `python -m pytest` in a
# checkout would find neither.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "setup.cfg").is_file():
    __path__.append(str(_checkout))

from graphc import ops  # noqa: E402  (registers every op, so that graphs can be read and built)

__all__ = ["ops", "__version__"]
