"""Building a cache before any run: by the current processes, or by the actors of a Ray cluster."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tutelage import errors
from tutelage.config.schema import Config, check
from tutelage.errors import CacheError, ConfigError, TutelageError, unknown
from tutelage.nn.memory_format import use_memory_format
from tutelage.runs import teacher_skill
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run
from tutelage.runs.scheme_context import build_scheme
from tutelage.teachers.cached import Cached
from tutelage.teachers.prefetching import PrefetchingTeacher
from tutelage.teachers.random_member import RandomMember
from tutelage.training.fabric import seed_everything

ENGINES = ("processes", "ray")


def build(config: Config, provided: Provided, engine: str = "processes") -> Iterator[tuple[Path, int]]:
    """Build the views that a run's training would read; yield the cache's folder and each view once it is complete.

    Raises: ConfigError if the teacher isn't trained yet, or if Ray can't build it; CacheError if the folder holds
    another cache.
    """
    if engine not in ENGINES:
        raise ConfigError(unknown("engine", str(engine), ENGINES))
    if engine == "ray":
        _refuse(config, provided)
    for number, teacher in enumerate(teachers_of(config, provided)):
        views = with_ray(teacher, config, number) if engine == "ray" else _here(teacher)
        for view in views:
            yield teacher.plan.folder, view


def teachers_of(config: Config, provided: Provided | None = None) -> list[Cached]:
    """Return the cached teacher of a run, or the members of a RandomMember, prepared for the run's training.

    Raises: ConfigError if it isn't trained yet.
    """
    run = Run(config, provided, folder=Path("caches"))
    if run.plan.teacher_is_trained():
        raise ConfigError(
            f"teacher={config.teacher} isn't trained yet: train it (`tutelage train`), and give its run folder; "
            "or set teacher_epochs=0 to use it as it is."
        )
    teacher_skill.refuse_poor_teacher(run.inputs, run.plan, run.dry_run())
    seed_everything(config.seed)  # as the training does
    student = next(phase for phase in run.plan.phases() if phase.role == "student")
    scheme, context = build_scheme(run.builder, student)
    data = context.data
    teacher = getattr(scheme, "teacher", None)
    teacher = teacher.teacher if isinstance(teacher, PrefetchingTeacher) else teacher
    result = teacher.member_teachers() if isinstance(teacher, RandomMember) else [teacher]
    scheme.to(run.fabric.device)
    if config.channels_last and not config.sharded:
        use_memory_format(scheme, torch.channels_last)  # as in training, for bitwise identical outputs
    scheme.wire(next(data.batches("train", 8, device=run.fabric.device)), len(data.train))
    return [member for member in result if isinstance(member, Cached)]


def _here(teacher: Cached) -> Iterator[int]:
    for view in range(teacher.plan.views):
        teacher.build(view)
        yield view


# Ray


def _refuse(config: Config, provided: Provided) -> None:
    if config.devices > 1:
        raise ConfigError(f"devices={config.devices} with engine=ray: a cluster's devices are all taken; leave it out.")
    if (
        provided.teacher is not None
        or provided.student is not None
        or provided.data is not None
        or provided.method is not None
    ):
        raise ConfigError(
            "engine='ray': the cluster's machines make teacher, data and method from their names; give names "
            "(python:MODULE:FUNCTION is one), or leave engine out."
        )


def with_ray(teacher: Cached, config: Config, number: int = 0) -> Iterator[int]:
    """Yield views, built by actors that each hold the teacher; a row of the data set is one unit of samples of one
    view.

    number: the teacher's number among the run's cached teachers.

    Raises: the TutelageError of an actor; CacheError if an actor failed for another reason.
    """
    todo = [(view, unit) for view in range(teacher.plan.views) for unit in teacher.missing(view)]
    missing = Counter(view for view, _ in todo)
    yield from (view for view in range(teacher.plan.views) if not missing[view])
    if not todo:
        return
    shared = {"config": config.model_dump_json(), "folder": os.getcwd(), "number": number}
    with _cluster() as ray:
        actors, each = _resources(config, ray.cluster_resources())
        pool = ray.data.ActorPoolStrategy(size=min(actors, len(todo)), max_tasks_in_flight_per_actor=1)
        rows = ray.data.from_items([{"view": v, "unit": n} | shared for v, n in todo], override_num_blocks=len(todo))
        try:
            for row in rows.map(Builder, compute=pool, **each).iter_rows():
                if row["fault"]:
                    raise getattr(errors, row["kind"])(row["fault"])
                missing[row["view"]] -= 1
                if not missing[row["view"]]:
                    yield row["view"]
        except ray.exceptions.RayError as error:
            cause = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise CacheError(f"a Ray worker failed ({cause}); run the command again to resume the build.") from error


class Builder:
    """A Ray actor: makes the teacher and the data once, from the configuration's plain values, and builds units."""

    def __init__(self) -> None:
        self.teacher: Cached | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Build the row's unit; return its view, and the error if one occurred."""
        try:
            self.teacher = self.teacher or self._load(row["config"], row["folder"])[row["number"]]
            self.teacher.build_unit(row["view"], row["unit"])
        except TutelageError as error:
            return {"view": row["view"], "kind": type(error).__name__, "fault": str(error)}
        return {"view": row["view"], "kind": "", "fault": ""}

    def _load(self, config: str, folder: str) -> list[Cached]:
        try:
            os.chdir(folder)  # names of files mean the same on all machines
        except OSError as error:
            raise CacheError(
                f"{folder} doesn't exist on {os.uname().nodename} ({error.strerror}): engine=ray needs a folder that "
                "all "
                "machines share, under one path."
            ) from error
        sys.path.insert(0, folder)  # for python:my_models:small
        return teachers_of(check(json.loads(config)))


@contextmanager
def _cluster() -> Iterator[Any]:
    """Yield Ray, connected to the cluster that RAY_ADDRESS names or to a local one, which ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"engine=ray: {error}. Install it: pip install 'tutelage[ray]'.") from error
    starts_ray = not ray.is_initialized()
    if starts_ray:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if starts_ray:
            ray.shutdown()


def _resources(config: Config, available: dict[str, float]) -> tuple[int, dict[str, float]]:
    """Return the number of actors and each one's resources: a GPU if there are any and `device` allows it, or a CPU."""
    gpus = int(available.get("GPU", 0)) if config.device in ("auto", "cuda") else 0
    return (gpus, {"num_gpus": 1}) if gpus else (max(int(available.get("CPU", 1)), 1), {"num_cpus": 1})
