"""Timing for the benchmarks: variants in one process and thread, process time, interleaved, the minimum over rounds."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable, Mapping

import torch

Figure = tuple[str, float, float]
"""A name, a value and its upper bound."""


def least_seconds(variants: Mapping[str, Callable[[], object]], rounds: int, warm: int = 2) -> dict[str, float]:
    """Return each variant's minimum process time; every round runs all variants, starting with the next one."""
    torch.set_num_threads(1)
    for _ in range(warm):
        for call in variants.values():
            call()
    names, least = list(variants), dict.fromkeys(variants, float("inf"))
    gc.collect()
    gc.disable()
    for number in range(rounds):
        for k in range(len(names)):
            name = names[(number + k) % len(names)]
            start = time.process_time()
            variants[name]()
            least[name] = min(least[name], time.process_time() - start)
    gc.enable()
    return least


def least_of_instances(
    make: Callable[[str], Callable[[], object]], names: Iterable[str], rounds: int, instances: int = 4
) -> dict[str, float]:
    """Return the minimum of `least_seconds` over several new instances, in another order each time.

    The memory location of a network can cost it 2 %.
    """
    names = list(names)
    least = dict.fromkeys(names, float("inf"))
    for instance in range(instances):
        rotated = names[instance % len(names) :] + names[: instance % len(names)]
        seconds = least_seconds({name: make(name) for name in rotated}, rounds)
        least = {name: min(least[name], seconds[name]) for name in names}
    return least


def show(seconds: Mapping[str, float], base: str) -> None:
    """Print a table of milliseconds, and of the ratios to the base."""
    width = max(map(len, seconds))
    for name, value in seconds.items():
        print(f"{name:{width}}  {1000 * value:9.2f} ms  {value / seconds[base]:6.3f} × {base}")
    print()


def conclude(figures: Iterable[Figure]) -> None:
    """Print `name value bound` for each figure; exit with 1 if a value exceeds its bound."""
    missed = []
    for name, value, bound in figures:
        print(f"{name} {value:.3f} {bound:g}")
        if value > bound:
            missed.append(name)
    if missed:
        sys.exit(1)
