"""The kernels of a workload that take longest, in words: `python -m benchmarks.kernels WORKLOAD THREADS`."""

from __future__ import annotations

import sys

from benchmarks import workloads
from benchmarks.peers.ours import compiled, with_arrays
from graphc.profile import Profile

SHOWN = 3
LEAST = 0.01  # of the time: what takes less is not told


def longest(profile: Profile, shown: int = SHOWN) -> list[str]:
    """A sentence for each of the kernels that take longest, alike ones together."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in profile.rows:
        group = groups.setdefault(row.ops, [0.0, 0.0, 0])
        group[0] += row.seconds
        group[1] += row.flop
        group[2] += 1
    found = []
    for ops, (seconds, flop, count) in sorted(groups.items(), key=lambda item: -item[1][0])[:shown]:
        if seconds < LEAST * profile.seconds:
            continue
        name = " ".join(dict.fromkeys(ops))
        many = f"{count:.0f} x " if count > 1 else ""
        text = f"{many}{name} {100 * seconds / profile.seconds:.0f} % of the time"
        of_peak = 100 * flop / seconds / 1e9 / profile.peak if seconds else 0.0
        found.append(text + (f" at {of_peak:.0f} % of the peak" if of_peak >= 5 else ""))
    return found


if __name__ == "__main__":
    name, threads = sys.argv[1:]
    workload = workloads.named(name)
    exe = compiled(workload, with_arrays(workload)[0], int(threads))
    print("\n".join(longest(exe.profile(workload.input(), seconds=0.5))))
