"""Measure the time of `tutelage --help` relative to `import torch`; it must be less than half.

Prints `name value bound` lines; the exit status is 1 if the bound is missed. Runs are interleaved and the minimum
counts, so that a busy machine affects both alike.
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 7
BOUND = 0.5


def seconds(*command: str) -> float:
    """Return the wall-clock seconds of a Python process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    times = [(seconds("-m", "tutelage", "--help"), seconds("-c", "import torch")) for _ in range(ROUNDS)]
    help_seconds, torch_seconds = (min(column) for column in zip(*times, strict=True))
    ratio = help_seconds / torch_seconds
    print(f"help_seconds {help_seconds:.3f} -")
    print(f"import_torch_seconds {torch_seconds:.3f} -")
    print(f"help_seconds/import_torch_seconds {ratio:.3f} {BOUND}")
    return 0 if ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
