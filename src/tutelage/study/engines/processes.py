"""Trials in processes on this machine, one after the other in each; one that dies is replaced."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tutelage.study.engines.base import Ended, Engine, Job, available_cores, device_count


class WorkerProcess:
    """A process that runs jobs, and the job that it runs now.

    Args:
        number: its place, which is also that of its GPU.
        threads: the threads of a job.
        logs: the folder of its log.
        devices: the number of GPUs.
    """

    def __init__(self, number: int, threads: int, logs: Path, devices: int) -> None:
        self.job: Job | None = None
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = _visible(number % devices)
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"worker-{number}.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tutelage.study.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the study, which stops its workers
            )

    def start(self, job: Job) -> None:
        """Give it a job."""
        self.job = job
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died before the job: `answer` says so
            self.process.stdin.write(json.dumps(job.to_json()).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> Ended:
        """Return how its job ended; waits for it."""
        assert self.process.stdout is not None
        assert self.job is not None
        line = self.process.stdout.readline()
        job, self.job = self.job, None
        return Ended(**json.loads(line)) if line.endswith(b"\n") else Ended(job.trial, "lost", self._death())

    def _death(self) -> str:
        code = self.process.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        hint = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
        return f"its process died of {name}{hint}"

    @property
    def is_alive(self) -> bool:
        """True if it can take a job."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Processes(Engine):
    """Workers on this machine, each a process with one place."""

    def __init__(self, places: int | None, threads: int, logs: Path) -> None:
        self.devices, self.threads, self.logs = device_count(), threads, logs
        self.places = places or self.devices or max(available_cores() // threads, 1)
        self.workers: list[WorkerProcess | None] = [None] * self.places

    def start(self, job: Job) -> None:
        """Give a job to the first idle worker, in a new process if that place has none."""
        number = next(n for n, worker in enumerate(self.workers) if worker is None or worker.job is None)
        worker = self.workers[number]
        if worker is not None and not worker.is_alive:
            worker.close()
        if worker is None or not worker.is_alive:
            self.workers[number] = worker = WorkerProcess(number, self.threads, self.logs, self.devices)
        worker.start(job)

    def ended(self, wait: float) -> list[Ended]:
        """Return the jobs that have ended, after at most `wait` seconds."""
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                if worker is not None and worker.job is not None:
                    assert worker.process.stdout is not None
                    selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            return [key.data.answer() for key, _ in selector.select(wait)]

    def close(self) -> None:
        """End all workers, and with them their jobs."""
        for worker in self.workers:
            if worker is not None:
                worker.close()
        self.workers = [None] * self.places


def _visible(number: int) -> str:
    """Return the name of a GPU among those that this process may use."""
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[number] if names else str(number)
