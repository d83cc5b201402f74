"""Trials as Ray's tasks, on one machine or a cluster whose machines share the study's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.errors import ConfigError
from tutelage.study.engines.base import Ended, Engine, Job


class RayTasks(Engine):
    """Each job is a task of its own, in a process that ends with it.

    A cluster is found as Ray finds it (the variable RAY_ADDRESS); without one, Ray starts on this machine. Ray itself
    tries nothing twice: a job whose process dies is lost, and the study gives it out again.
    """

    def __init__(self, places: int | None, threads: int, logs: Path) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("engine=ray needs Ray: pip install 'tutelage[ray]', or engine=processes.") from error
        self.ray, self.threads, self.logs = ray, threads, logs
        self.owns = not ray.is_initialized()
        if self.owns:
            ray.init(num_cpus=places and places * threads, include_dashboard=False, log_to_driver=False)
        resources = ray.cluster_resources()
        self.devices = int(resources.get("GPU", 0))
        self.places = places or self.devices or max(int(resources.get("CPU", 1)) // threads, 1)
        self.tasks: dict[Any, Job] = {}
        # a task whose process ends with it: a run leaves settings in its process that only the same kind of run expects
        options = {"num_cpus": threads, "num_gpus": min(self.devices, 1), "max_retries": 0, "max_calls": 1}
        environment = {"env_vars": {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}}
        self.task = ray.remote(**options, runtime_env=environment)(run_job)

    def start(self, job: Job) -> None:
        """Submit a job."""
        self.tasks[self.task.remote(job, str(Path.cwd()))] = job

    def ended(self, wait: float) -> list[Ended]:
        """Return the jobs that have ended, after at most `wait` seconds."""
        ready, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=wait)
        return [self._ended(task, self.tasks.pop(task)) for task in ready]

    def _ended(self, task: Any, job: Job) -> Ended:
        try:
            ended: Ended = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            return Ended(job.trial, "lost", f"its process died ({' '.join(str(error).split())[:200]})")
        return ended

    def close(self) -> None:
        """Cancel the jobs that run, and stop Ray if it was started here."""
        for task in self.tasks:
            self.ray.cancel(task, force=True)
        if self.owns:
            self.ray.shutdown()


def run_job(job: Job, folder: str) -> Ended:
    """Run a job in the folder in which the study was started, which its paths are relative to."""
    import os

    from tutelage.study import worker

    os.chdir(folder)
    return worker.run(job)
