"""Where files are kept between runs: ONNX models, inductor's cache, reference answers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def folder() -> Path:
    """`$GRAPHC_BENCH_CACHE`, or a folder of this user among the temporary files."""
    default = Path(tempfile.gettempdir()) / f"graphc-bench-{os.getuid()}"
    path = Path(os.environ.get("GRAPHC_BENCH_CACHE") or default)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
