"""Which graphc it is that runs: what tells its sources from those of another version, or from those of an hour ago."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from pathlib import Path

IMPORTED = time.time_ns()  # `graphc` imports this module first


@functools.cache
def edition(*folders: Path) -> str | None:
    """A hash of graphc's version, and of names, sizes and times of all sources in these folders and its own.

    None when one of them is younger than this process: it may not be what was imported.
    """
    from graphc import __version__

    found = []
    for folder in (Path(__file__).parent, *folders):
        for place, names, files in os.walk(folder):
            names[:] = sorted(set(names) - {"__pycache__"})
            for name in sorted(files):
                if name.endswith(".py"):
                    about = os.stat(os.path.join(place, name))
                    found.append((place, name, about.st_size, about.st_mtime_ns))
    if max((changed for *_, changed in found), default=0) >= IMPORTED:
        return None
    return hashlib.sha256(repr((__version__, found)).encode()).hexdigest()
