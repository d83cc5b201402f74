"""Jobs on Ray Tune, which places the trials of a search on a cluster, starts them and watches them.

Liaw, Liang, Nishihara, Moritz, Gonzalez, Stoica. Tune: A Research Platform for Distributed Model Selection and
Training. ICML AutoML Workshop 2018. arXiv:1807.05118.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import Interrupted
from tutelage.study.engines.base import BegunJobs, Ended, Job, Jobs
from tutelage.study.engines.ray import JobRunner
from tutelage.utils.signals import StopRequest, catch_stop_signals

QUIET = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1", "RAY_AIR_NEW_OUTPUT": "0"}
"""Runs write their own files, and Ctrl-C is for the search."""


class JobTrial:
    """A trial of Ray Tune (`Trainable`): one job. A process that is free takes the next."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep the job."""
        self.job = Job(**json.loads(config["job"]))
        self.runner = JobRunner(config["folder"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Keep the next job."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run the job to its end."""
        return {"ended": json.dumps(vars(self.runner.run(self.job))), "done": True}


class JobSearcher:
    """Hands Ray Tune the jobs as they come, and takes their ends, as a `Searcher`."""

    FINISHED: str

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self.begun, self.ids = BegunJobs(jobs), dict[str, str]()

    def __reduce__(self) -> tuple[Any, ...]:
        return object, ()  # Ray writes a pickle of it that nobody reads: a search has files of its own

    def suggest(self, trial_id: str) -> Any:
        """Return the next job; None if it waits for those that run."""
        job = self.begun.next()
        if job is None:
            return None if self.begun.running else self.FINISHED
        self.ids[trial_id] = job.trial
        return {"job": json.dumps(job.to_json()), "folder": str(Path.cwd())}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take a job's end."""
        ended = None if error or result is None else json.loads(result["ended"])
        self.begun.end(Ended(**ended) if ended else Ended(self.ids[trial_id], "lost", "its process died"))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a search goes on from its own files."""


class StopOnRequest:
    """Stops the trials after Ctrl-C, as a `Callback`."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look for a request.

        Raises: Interrupted.
        """
        if self.request.number:
            raise Interrupted(f"stopped by {self.request.name}.")


def run(jobs: Jobs, places: int, resources: Mapping[str, float], folder: Path) -> None:
    """Run jobs until there are no more; folder: for Ray's own files, which are removed at the end.

    Raises: Interrupted after Ctrl-C; what raises in `jobs`.
    """
    os.environ.update(QUIET)
    from ray import tune
    from ray.tune.search import Searcher

    class Trial(JobTrial, tune.Trainable): ...

    class Search(JobSearcher, Searcher): ...

    class Stop(StopOnRequest, tune.Callback): ...

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    shutil.rmtree(folder, ignore_errors=True)
    stop = StopRequest()
    tuner = tune.Tuner(
        tune.with_resources(Trial, dict(resources)),
        tune_config=tune.TuneConfig(
            search_alg=Search(jobs),
            num_samples=-1,
            max_concurrent_trials=places,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder.resolve()),
            verbose=0,
            callbacks=[Stop(stop)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with catch_stop_signals(stop):
        tuner.fit()
    shutil.rmtree(folder, ignore_errors=True)
