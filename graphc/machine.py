"""What this machine lets us use: cores, memory, and the tools that are not Python packages.

A container limits both without changing what the processor says of itself, so the limits are read where Linux keeps
them: the affinity of the process, and its control group (version 1 or 2).
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Cores:
    """How many cores there are and how many this process may use.

    online    cores of the machine
    affinity  cores this process may be scheduled on
    quota     cores' worth of time its control group gets; None without a limit
    """

    online: int
    affinity: int
    quota: float | None

    @property
    def allowed(self) -> int:
        """Threads that make sense: at least one, at most the affinity, rounded up from the quota."""
        return self.affinity if self.quota is None else max(1, min(self.affinity, math.ceil(self.quota)))


def cores() -> Cores:
    """The cores of this machine as they are now."""
    online = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else online
    return Cores(online, affinity, _cpu_quota())


def memory_limit() -> tuple[int | None, int | None]:
    """(bytes of memory of the machine, the control group's limit below that), None where it is not known."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    limits = [
        int(text)
        for folder in _group_folders("memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdigit()
    ]
    limit = min(limits, default=None)
    return total, limit if limit is not None and (total is None or limit < total) else None


def linker() -> str | None:
    """The program that links a shared object: `cc`, `gcc`, `clang`, `ld`, or the ziglang package."""
    for name in ("cc", "gcc", "clang", "ld", "ld.lld"):
        if shutil.which(name):
            return name
    return "ziglang" if importlib.util.find_spec("ziglang") else None


def _cpu_quota() -> float | None:
    quotas = []
    for folder in _group_folders("cpu"):
        parts = _read(folder / "cpu.max").split() or [
            _read(folder / "cpu.cfs_quota_us"),
            _read(folder / "cpu.cfs_period_us"),
        ]
        if len(parts) == 2 and all(part.isdigit() for part in parts) and int(parts[1]) > 0:
            quotas.append(int(parts[0]) / int(parts[1]))
    return min(quotas, default=None)


def _group_folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups for a controller, from its own up to the root."""
    for line in _read(_OWN_CGROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        folder = root / path.lstrip("/")
        while True:
            yield folder
            if folder in (root, folder.parent):
                break
            folder = folder.parent


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
