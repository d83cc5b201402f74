"""Trials in Ray's actors, and searches by Ray Tune, on one machine or a cluster whose machines share the folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from tutelage.errors import ConfigError
from tutelage.study.engines.base import Ended, Engine, Job, Jobs


class JobRunner:
    """Runs one job after the other, in a process of its own; folder: that which the jobs' paths are relative to."""

    def __init__(self, folder: str) -> None:
        os.chdir(folder)

    def run(self, job: Job) -> Ended:
        """Run a job."""
        from tutelage.study import worker

        return worker.run(job)


class RayActors(Engine):
    """An actor for each place, which runs one job after the other; one that dies is replaced.

    A cluster is found as Ray finds it (the variable RAY_ADDRESS); without one, Ray starts on this machine.
    """

    def __init__(self, places: int | None, threads: int, logs: Path) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("engine=ray needs Ray: pip install 'tutelage[ray]', or engine=processes.") from error
        self.ray, self.owns = ray, not ray.is_initialized()
        if self.owns:
            os.environ.setdefault("RAY_worker_niceness", "0")  # trainings are no background work
            cores = places and places * threads
            ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        devices = int(resources.get("GPU", 0))
        self.threads, self.devices, self.folder = threads, devices, logs / "ray"
        self.places = places or devices or max(int(resources.get("CPU", 1)) // threads, 1)
        environment = {"env_vars": {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}}
        options: dict[str, Any] = {"num_cpus": threads, "num_gpus": min(devices, 1), "runtime_env": environment}
        self.actor: Any = ray.remote(**options)(JobRunner)
        self.idle: list[Any] = []
        self.running: dict[Any, tuple[Any, Job]] = {}

    def start(self, job: Job) -> None:
        """Give a job to an idle actor, or to a new one."""
        actor = self.idle.pop() if self.idle else self.actor.remote(str(Path.cwd()))
        self.running[actor.run.remote(job)] = actor, job

    def ended(self, wait: float) -> list[Ended]:
        """Return the jobs that have ended, after at most `wait` seconds."""
        ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=wait)
        return [self._ended(task, *self.running.pop(task)) for task in ready]

    def _ended(self, task: Any, actor: Any, job: Job) -> Ended:
        try:
            ended: Ended = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            return Ended(job.trial, "lost", f"its process died ({' '.join(str(error).split())[:200]})")
        self.idle.append(actor)
        return ended

    def close(self) -> None:
        """Stop the actors, and Ray if it was started here."""
        for actor in [*self.idle, *(actor for actor, _ in self.running.values())]:
            self.ray.kill(actor)
        if self.owns:
            self.ray.shutdown()

    def run(self, jobs: Jobs) -> None:
        """Run jobs on Ray Tune until there are no more.

        Raises: Interrupted after Ctrl-C; what raises in `jobs`.
        """
        from tutelage.study.engines import ray_tune

        ray_tune.run(jobs, self.places, {"cpu": self.threads, "gpu": min(self.devices, 1)}, self.folder)
