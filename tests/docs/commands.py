"""Running the shell lines of a page: `graphc` is the one of this checkout."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(folder: Path) -> dict[str, str]:
    """Surroundings with a command `graphc`, made in this folder."""
    folder.mkdir()
    command = folder / "graphc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m graphc "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def shell(line: str, where: Path, surroundings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], cwd=where, capture_output=True, text=True, env=surroundings)
