"""Trials in this process, one after the other, which may have objects in the place of names."""

from __future__ import annotations

from pathlib import Path

from tutelage.errors import Interrupted
from tutelage.runs.inputs import Provided
from tutelage.study import worker
from tutelage.study.engines.base import Ended, Engine, Job


class ThisProcess(Engine):
    """Runs each job when its end is waited for.

    Args:
        threads, logs: as of every engine; there is one place.
        provided: the objects that the jobs' keys name.
    """

    places = 1

    def __init__(self, threads: int, logs: Path, provided: Provided) -> None:
        self.threads, self.logs, self.provided = threads, logs, provided
        self.jobs: list[Job] = []

    def start(self, job: Job) -> None:
        """Note a job."""
        self.jobs.append(job)

    def ended(self, wait: float) -> list[Ended]:
        """Run the jobs that were started.

        Raises: Interrupted after Ctrl-C; what was trained is kept.
        """
        jobs, self.jobs = self.jobs, []
        ends = [worker.run(job, self.provided) for job in jobs]
        if stopped := [end.reason for end in ends if end.state == "lost"]:
            raise Interrupted(stopped[0])
        return ends

    def close(self) -> None:
        """Forget jobs that haven't begun."""
        self.jobs = []
