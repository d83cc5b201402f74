"""The base class of engines, which run jobs, several at once, and report their ends."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import Interrupted, TutelageError
from tutelage.utils.signals import StopRequest, catch_stop_signals

State = Literal["done", "paused", "stopped", "failed", "lost"]
"""The ways in which a job ends: done, paused after its epoch, stopped by its rule, failed, or lost with its process."""
ATTEMPTS = 3
"""The number of times that a job is begun whose process dies."""


@dataclass(frozen=True)
class Job:
    """One run: its keys, its folder and the threads that it may use.

    pause: the epoch after which it pauses; 0: none. stop: the fields of the MedianRule that may end it; None: none may.
    """

    trial: str
    keys: Mapping[str, Any]
    folder: str
    threads: int = 1
    pause: int = 0
    stop: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Ended:
    """The end of a job.

    Args:
        trial: the trial's id.
        state: done, paused, stopped, failed or lost.
        reason: why it was stopped or failed, or how its process died.
        seconds: the process time that it took.
    """

    trial: str
    state: State
    reason: str = ""
    seconds: float = 0.0


class Jobs(ABC):
    """Abstract: jobs that come one after the other, some of them only when others have ended."""

    @abstractmethod
    def next(self) -> Job | None:
        """Return the next job; None if there is none now, or none any more if none runs."""

    @abstractmethod
    def end(self, ended: Ended) -> None:
        """Take a job's end."""


class ListedJobs(Jobs):
    """Jobs that must all be done."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs = list(jobs)

    def next(self) -> Job | None:
        """Return the next job."""
        return self.jobs.pop(0) if self.jobs else None

    def end(self, ended: Ended) -> None:
        """Take a job's end.

        Raises: TutelageError if it isn't done.
        """
        if ended.state != "done":
            raise TutelageError(f"{ended.trial}: {ended.reason}")


class BegunJobs:
    """The jobs that run; one whose process dies is begun again, and fails with the last of its attempts."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.running, self.lost = jobs, dict[str, Job](), list[Job]()
        self.attempts = Counter[str]()

    def next(self) -> Job | None:
        """Begin the next job and return it; None if there is none."""
        job = self.lost.pop() if self.lost else self.jobs.next()
        if job is not None:
            self.running[job.trial] = job
            self.attempts[job.trial] += 1
        return job

    def end(self, ended: Ended) -> None:
        """Take a job's end."""
        job = self.running.pop(ended.trial)
        if ended.state != "lost":
            self.jobs.end(ended)
        elif self.attempts[job.trial] < ATTEMPTS:
            self.lost.append(job)
        else:
            self.jobs.end(Ended(job.trial, "failed", f"{ended.reason}, {ATTEMPTS} times", ended.seconds))


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

    def run(self, jobs: Jobs) -> None:
        """Run jobs until there are no more.

        Raises: Interrupted after Ctrl-C; what raises in `jobs`.
        """
        begun, stop = BegunJobs(jobs), StopRequest()
        with catch_stop_signals(stop):
            while True:
                while len(begun.running) < self.places and (job := begun.next()):
                    self.start(job)
                if not begun.running:
                    return
                for ended in self.ended(1.0):
                    begun.end(ended)
                if stop.number:
                    raise Interrupted(f"stopped by {stop.name}.")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_count() -> int:
    """Return the number of GPUs."""
    import torch

    return torch.cuda.device_count()
