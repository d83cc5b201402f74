"""Trainings of models that are fitted in one go: trees, forests, boosted trees and linear models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.scale import normalise
from tutelage.errors import ConfigError, TutelageError
from tutelage.models.estimators import kinds, quality, rules
from tutelage.models.estimators.cores import TreesCore
from tutelage.models.estimators.first_fit import TRIAL, unnormalised
from tutelage.models.estimators.module import FittedEstimator, rescaled
from tutelage.models.estimators.pseudo_data import sample_between
from tutelage.runs.builder import RunBuilder
from tutelage.runs.data import with_teacher_views
from tutelage.runs.phase import Phase, evaluate_split, write_phase_folder
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher
from tutelage.utils.files import write_text

IDLE = ("scheme", "stages", "students", "student_weights", "peers", "cache", "snapshots", "mix")
"""The keys of a training by steps, which a student that is fitted can't have."""


@dataclass(frozen=True)
class Samples:
    """The samples from which a model is fitted.

    Args:
        x: (N, F), in the columns' own units.
        targets: (N,) classes or (N, T) scaled values.
        taught: the teacher's response to each; None without a teacher.
        origin: (N,), the number of the training sample from which each comes: of a training sample its own.
    """

    x: Tensor
    targets: Tensor
    taught: Tensor | None
    origin: Tensor

    def resampled(self, rows: Tensor) -> Samples:
        """Return the samples that come from these training samples, as often as each is among them."""
        counts = torch.bincount(rows, minlength=int(self.origin.max()) + 1)
        kept = torch.arange(len(self.x)).repeat_interleave(counts[self.origin])
        taught = None if self.taught is None else self.taught[kept]
        return Samples(self.x[kept], self.targets[kept], taught, self.origin[kept])


class Fitting:
    """One training of a model that is fitted, with the phase's teacher if it has one.

    Raises: ConfigError if the data isn't a table, or a key has no meaning for such a model.
    """

    def __init__(self, builder: RunBuilder, phase: Phase) -> None:
        self.config, self.phase = builder.plan.config_for(phase), phase
        builder = builder.for_inputs(builder.plan.inputs_for(phase))
        self.builder = builder.for_view(self.config.student_inputs, self.config.student_size)
        inputs = self.builder.inputs
        self.data, self.task = with_teacher_views(inputs.data_with(self.config), self.config), inputs.task
        self.name = str(self.config.student)
        self.model = kinds.parse(self.name)
        refuse_idle_keys(self.config, builder.inputs.config, phase)
        if self.data.modality != "table" or self.task.response_kind not in ("classes", "values"):
            raise ConfigError(
                f"{self.name} is for classes or values of tables' rows, and {self.data.name} is data for "
                f"{self.data.task} of the modality {self.data.modality!r}: name a network."
            )
        if self.model.pseudo and self.data.others:
            raise ConfigError(
                f"{self.name}: pseudo={self.model.pseudo} needs a teacher of the same inputs: leave it out."
            )
        self.teacher = self.builder.teachers.teacher(self.config, phase.number, self.data)
        if self.teacher is not None:
            self.teacher.to(builder.inputs.fabric.device)

    @property
    def is_certain(self) -> bool:
        """True if the fit draws no random numbers, except for ties."""
        return not self.model.pseudo and not isinstance(self.model, kinds.ForestModel)

    def samples(self, split: str, limit: int | None = None) -> Samples:
        """Return the samples of a split, in order."""
        batches = list(self._batches(self.data, split, limit))
        own = torch.cat([batch.inputs for batch in self._batches(unnormalised(self.data), split, limit)])
        taught = None if self.teacher is None else torch.cat([respond(self.teacher, batch) for batch in batches])
        return Samples(own, torch.cat([batch.targets for batch in batches]), taught, torch.arange(len(own)))

    def _batches(self, data: DataModule, split: str, limit: int | None) -> Iterator[Any]:
        size = 4 * self.config.batch_size
        for k, batch in enumerate(data.batches(split, size, train=False)):
            if limit is not None and k * size >= limit:
                return
            yield batch

    def fit(self, samples: Samples) -> FittedEstimator:
        """Return the model that is fitted to samples."""
        names: dict[str, Any] = {
            "classes": self.data.classes if self.task.response_kind == "classes" else (),
            "columns": self.data.input_names or tuple(f"x{k}" for k in range(self.data.channels)),
            "seed": self.phase.seed % 2**32,
        }
        return self.model.fit(samples.x, samples.taught, samples.targets, **names)

    def training_samples(self, limit: int | None = None) -> Samples:
        """Return the training samples and pseudo-samples between them, whose targets only the teacher knows."""
        samples = self.samples("train", limit)
        if not self.model.pseudo or self.teacher is None or samples.taught is None:
            return samples
        x, origin = sample_between(samples.x, self.model.pseudo, self.phase.seed)
        inputs = normalise(x, self.data.mean, self.data.std, self.data.source_scale)
        taught = torch.cat([respond(self.teacher, Batch(part)) for part in inputs.split(4 * self.config.batch_size)])
        shape = (len(x), *samples.targets.shape[1:])
        unknown = torch.full(shape, torch.nan if samples.targets.is_floating_point() else -1)
        targets = torch.cat([samples.targets, unknown.to(samples.targets.dtype)])
        taught = torch.cat([samples.taught, taught])
        return Samples(torch.cat([samples.x, x]), targets, taught, torch.cat([samples.origin, origin]))

    def describe(self, student: FittedEstimator, train: Samples) -> dict[str, Any]:
        """Return the facts about a fitted student for phase.json."""
        test = self.samples(self.data.judged_on)
        facts: dict[str, Any] = {"model": self.name, "options": asdict(self.model), "size": quality.size(student)}
        if test.taught is not None:
            facts["fidelity"] = quality.fidelity(student, test.x, test.taught)
        if isinstance(student.core, TreesCore) and student.core.tree_count == 1:
            splits = quality.stability(
                lambda rows: self.fit(train.resampled(rows)), len(self.data.train), seed=self.phase.seed
            )
            facts["stability"] = {"resamples": quality.RESAMPLES, "splits": [asdict(split) for split in splits]}
        return facts

    def run(self, folder: Path) -> None:
        """Fit the model and write the phase's folder, with its rules."""
        began = time.perf_counter()
        train = self.training_samples()
        student = self.fit(train).eval()
        seconds = time.perf_counter() - began
        data, size = unnormalised(self.data), self.config.batch_size
        validation = evaluate_split(student, data, self.task, "val", size).values
        more = {
            "seconds": seconds,
            "planned": self.config.epochs,
            "val": {self.task.metric: validation[self.task.metric]},
            "chosen": "fitted in one go",
            "fit": self.describe(student, train),
        }
        write_text(folder / "rules.txt", rules.write_rules(in_units(student, data)) + "\n")
        if isinstance(student.core, TreesCore) and student.core.tree_count == 1:
            write_text(folder / "tree.svg", rules.draw_tree(in_units(student, data)) + "\n")
        names = {"student": self.name}
        write_phase_folder(
            self.phase, folder, {"student": student}, None, None, data, self.task, names, size, more
        )  # fmt: skip


def refuse_idle_keys(config: Config, run: Config, phase: Phase) -> None:
    """Refuse keys that have no meaning for a student that is fitted.

    Raises: ConfigError that names the key.
    """
    if phase.role not in ("student", "stage"):
        return
    changed = run.changed()
    for key in (*IDLE, *(("method",) if run.method not in ("kd", None, []) else ())):
        if key in changed and getattr(run, key):
            raise ConfigError(
                f"{key}={changed.get(key)} has no effect on student={config.student}, which is fitted in one go: leave "
                f"it out; the teacher's share and temperature are options, as in student=tree:alpha=0.9,temperature=2."
            )


def in_units(student: FittedEstimator, data: DataModule) -> FittedEstimator:
    """Return a regression's student with its outputs in the targets' units; another as it is."""
    return student if data.values is None else rescaled(student, data.values.mean, data.values.std)


@torch.no_grad()
def respond(teacher: Teacher, batch: Batch) -> Tensor:
    """Return a teacher's response, on the CPU."""
    device = next((x.device for x in teacher.parameters()), torch.device("cpu"))
    return teacher(batch.to(device)).response.cpu()


def try_fit(builder: RunBuilder, phase: Phase) -> None:
    """Fit a phase's model to a few samples, so that a mistake is found before anything is trained.

    A student without random numbers gets a note if the run has several seeds.

    Raises: TutelageError, as the fit does.
    """
    try:
        fitting = Fitting(builder, phase)
        fitting.fit(fitting.training_samples(TRIAL))
        if phase.role == "student" and builder.inputs.config.seeds > 1 and fitting.is_certain:
            builder.inputs.note(
                f"{fitting.name} is fitted without random numbers: all seeds of this run are equal, and their interval "
                "is empty; set seeds=1, and compare runs with other values of seed, which choose the samples."
            )
    except TutelageError:
        raise
    except ValueError as error:  # scikit-learn's refusals
        raise ConfigError(f"{phase.name}: {error}") from error
