"""The base class of engines, which run jobs, several at once, and report their ends."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["done", "paused", "failed", "lost"]
"""The ways in which a job ends: done, paused after the epoch that it names, failed, or lost with its process."""


@dataclass(frozen=True)
class Job:
    """One run: its keys, its folder, the threads that it may use, and the epoch after which it pauses; 0: none."""

    trial: str
    keys: Mapping[str, Any]
    folder: str
    threads: int = 1
    pause: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Ended:
    """The end of a job.

    Args:
        trial: the trial's id.
        state: done, paused, failed or lost.
        reason: why it failed, or how its process died.
        seconds: the process time that it took.
    """

    trial: str
    state: State
    reason: str = ""
    seconds: float = 0.0


class Engine(ABC):
    """Abstract: runs jobs, at most `places` at once.

    Args:
        places: the number of jobs at once; None: as many as there are GPUs, else cores for their threads.
        threads: the threads of each job.
        logs: the folder for what the jobs print.
    """

    places: int

    @abstractmethod
    def __init__(self, places: int | None, threads: int, logs: Path) -> None: ...

    @abstractmethod
    def start(self, job: Job) -> None:
        """Begin a job; there is a free place."""

    @abstractmethod
    def ended(self, wait: float) -> list[Ended]:
        """Return the jobs that have ended since the last call, after at most `wait` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Stop the jobs that run."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_count() -> int:
    """Return the number of GPUs."""
    import torch

    return torch.cuda.device_count()
