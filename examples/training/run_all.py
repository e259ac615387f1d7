"""Runs every training example and says which goals were met.  `make examples` calls this.

python examples/training/run_all.py [--small] [NAME ...]
"""

import importlib
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
NOT_EXAMPLES = ("common", "run_all")


def names():
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_EXAMPLES)


def met(value, sign, goal):
    """Whether a number is what was asked for."""
    return {"<": value < goal, "<=": value <= goal, ">=": value >= goal}[sign]


def main(arguments):
    small = "--small" in arguments
    chosen = [name for name in arguments if name != "--small"] or names()
    lines, missed = [], 0
    for number, name in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {name}", flush=True)
        start = time.perf_counter()
        found = importlib.import_module(name).main(small=small)
        seconds = time.perf_counter() - start
        for what, result in found.items():
            verdict = "ok" if met(*result) else "MISSED"
            missed += verdict == "MISSED"
            lines.append(f"{verdict:7}{name:16}{what:34}{result[0]:10.4g} {result[1]:>2} {result[2]:g}")
        print(f"  {seconds:.1f} s\n", flush=True)
    print("\n".join(lines))
    print(f"{len(lines) - missed} of {len(lines)} goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
