"""Jobs one after the other in this process, which may use objects that have no name."""

from __future__ import annotations

from dataclasses import replace

from tutelage.errors import Interrupted
from tutelage.runs.inputs import Provided
from tutelage.study import worker
from tutelage.study.engines.base import Ended, Engine, Job


class InProcess(Engine):
    """One place, in this process; provided: the objects passed in place of names."""

    def __init__(self, provided: Provided) -> None:
        self.places, self.waiting = 1, list[Job]()
        self.provided = replace(provided, loaded={}) if provided.loaded is None else provided

    def start(self, job: Job) -> None:
        """Keep a job until `ended` runs it."""
        self.waiting.append(job)

    def ended(self, wait: float) -> list[Ended]:
        """Run the jobs that wait, and return how they ended.

        Raises: Interrupted after Ctrl-C; what was trained is kept.
        """
        jobs, self.waiting = self.waiting, []
        ends = [worker.run(job, self.provided) for job in jobs]
        if stopped := [end.reason for end in ends if end.state == "lost"]:
            raise Interrupted(stopped[0])
        return ends

    def close(self) -> None:
        """Forget jobs that haven't begun."""
        self.waiting = []
