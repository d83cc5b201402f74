"""A configuration becomes a run folder: teacher, the student alone, the student taught, their figures and the report.

runs/x/  config.yaml  environment.json  result.json  student.safetensors  report.html
         teacher/  alone-0/  student-0/ …  each: metrics.jsonl  checkpoints/  phase.json  model.safetensors
         predictions.npz
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import torch

from tutelage.config import parsing
from tutelage.models import serialization
from tutelage.runs import environment, results, teacher_skill
from tutelage.training import checkpoint, fsdp
from tutelage.utils import checksums
from tutelage.training.callbacks import Callback, JsonLines, Logger
from tutelage.nn.feature_extractor import FeatureExtractor, run_once
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, Interrupted, ModelError, NotFinite
from tutelage.training.fabric import seed_everything
from tutelage.runs.folder import free, make
from tutelage.runs.plan import RunPlan
from tutelage.runs.networks import Provided
from tutelage.runs.scheme_context import RunSchemeContext
from tutelage.runs.phase import Phase, read_phase, write_phase_folder, forget_peak, save_network, refuse_other
from tutelage.objective.player import refuse_single
from tutelage.schemes.base import Scheme
from tutelage.settings import refuse_accumulation
from tutelage.teachers.prefetching import with_prefetch
from tutelage.objective.terms import Terms
from tutelage.training.trainer import Trainer
from tutelage.structures import Batch

GOING_ON = ("alone", "student")
"""Roles of phases that get more epochs when a run gets more; a teacher or a stage that is done stays as it is."""


class Run(RunPlan):
    """One run: what its configuration names, made; its folder; its phases."""

    def __init__(self, config: Config, given: Provided | None = None, folder: Path | None = None) -> None:
        super().__init__(config, given or Provided())
        if folder is None:
            teacher_skill.refuse(self, *self.dry_run())
        self.folder = folder or self._new_folder()

    # the folder

    def _new_folder(self) -> Path:
        path = Path(self.config.out) if self.config.out else free(self.config)
        if self.fabric.is_global_zero:
            config = parsing.dump(self.config.model_dump())
            surroundings = environment.describe(self.fabric, self.data) | {"config": self.config.model_dump()}
            make(path, {"config.yaml": config, "environment.json": json.dumps(surroundings, indent=1)})
        return Path(self.fabric.broadcast(str(path)))

    # the phases

    def fit(self) -> Path:
        """Train what isn't trained yet, then write the result and the report; returns the folder."""
        for phase in self.phases():
            if self.is_done(phase):
                checksums.check_all(self.folder / phase.name)
            else:
                self.train(phase)
        if self.fabric.is_global_zero:
            self._conclude()
        self.fabric.barrier()
        return self.folder

    def is_done(self, phase: Phase) -> bool:
        """Whether a phase is trained, for as many epochs as are asked for now if it may get more."""
        file = self.folder / phase.name / "phase.json"
        if not file.exists() or phase.role not in GOING_ON:
            return file.exists()
        return bool(read_phase(file).get("planned", 0) >= self.settings(phase).epochs)

    def train(self, phase: Phase) -> None:
        """Train one phase and write its folder."""
        settings, folder = self.settings(phase), self.folder / phase.name
        seed_everything(phase.seed)
        scheme, parts = self.scheme(phase)

        def snapshot(epoch: int, networks: Mapping[str, FeatureExtractor]) -> None:
            if self.fabric.is_global_zero:
                first, name = next(iter(networks.values())), next(iter(parts.names.values()))
                save_network(folder / f"epoch-{epoch}.safetensors", first.model, name, parts.data)

        trainer = Trainer(settings, parts.task, folder / "checkpoints", self._callbacks(phase), self.fabric, snapshot)
        forget_peak(self.fabric.device)
        try:
            students = trainer.fit(scheme, parts.data)
        except Interrupted as error:
            raise Interrupted(f"{error} `tutelage resume {shlex.quote(str(self.folder))}` goes on.") from error
        if self.leaves_terms(phase):
            state = fsdp.full_state_dict(terms_of(scheme).state_dict())
            if self.fabric.is_global_zero:
                serialization.keep_tensors(folder / "terms.safetensors", state)
        if self.fabric.is_global_zero:
            size = settings.batch_size // settings.devices
            write_phase_folder(phase, folder, students, scheme, trainer, parts.data, parts.task, parts.names, size)
            checkpoint.forget(folder / "checkpoints", kept=1 if phase.role in GOING_ON else 0)
        self.fabric.barrier()

    def _callbacks(self, phase: Phase) -> list[Callback]:
        rows = JsonLines(self.folder / phase.name / "metrics.jsonl") if self.fabric.is_global_zero else None
        loggers = [Logger(logger) for logger in environment.loggers(self.config.log, self.folder, phase.name)]
        for callback in self.given.callbacks:
            callback.on_phase_begin(phase.name, len(self.phases()))
        return [*([rows] if rows else []), *loggers, *self.given.callbacks]

    # what the configuration names, made

    def dry_run(self, samples: int = 8) -> tuple[Scheme, DataModule, Batch]:
        """The student's scheme wired on a first batch, its data and that batch, with the teacher before its training.

        So whatever can't work is refused before there is a folder or anything is trained.
        """
        phases = self.phases()
        self.is_dry_run = True
        try:
            for phase in phases:
                self.settings(phase)
                asked = phase.role in ("stage", "student") or self.config.teacher_scheme is not None
                if phase.number == 0 and asked:
                    wired = self._rehearsed(phase, samples)
        except NotFinite as error:
            raise NotFinite(f"teacher={self.config_for(phase).teacher}: {error}") from error
        except (ConfigError, ModelError) as error:
            raise type(error)(f"stage {phase.name[:-2]}: {error}" if phase.role == "stage" else str(error)) from error
        finally:
            self.is_dry_run = False
        return wired

    def _rehearsed(self, phase: Phase, samples: int) -> tuple[Scheme, DataModule, Batch]:
        seed_everything(phase.seed)
        scheme, parts = self.scheme(phase)
        data = parts.data
        refuse_accumulation(parts.config, data.steps(parts.config.batch_size))
        batch = self._batch(scheme, parts, samples)
        self._check_classes(scheme, batch, parts.names)
        scheme.wire(batch, len(data.train))
        try:
            attempt(scheme, batch)
        except Exception:  # a loss may want more samples than these few: what a whole batch comes to counts
            attempt(scheme, self._batch(scheme, parts, min(parts.config.batch_size, len(data.train))))
        refuse_single(scheme.students(), batch, parts.config.batch_size // self.fabric.world_size)
        if self.leaves_terms(phase):
            self.dry_run_term_states[phase.name] = dict(terms_of(scheme).state_dict())
        if self.config.sharded:
            fsdp.refuse(scheme)
        return scheme, data, batch

    def _batch(self, scheme: Scheme, parts: RunSchemeContext, samples: int) -> Batch:
        """The first so many training samples of the first epoch, as the trainer hands them out."""
        batch = next(iter(parts.data.batches("train", samples, seed=self.config.seed, **scheme.batching)))
        batch.extras["epochs"] = parts.config.epochs
        return batch

    def _check_classes(self, scheme: Scheme, batch: Batch, names: Mapping[str, str]) -> None:
        """Refuse a student that doesn't answer the data's classes."""
        for name, student in scheme.students().items():
            response = self.task.response(run_once(student.model, batch.inputs).response, batch)
            refuse_other(response, self.data, self.task, f"student={names.get(name, self.config.student)}")

    # the end

    def _conclude(self) -> None:
        first = self.folder / "student-0" / "model.safetensors"
        checksums.write(self.folder / "student.safetensors", first.read_bytes())
        if self.has_teacher() and not self.teacher_is_trained() and self.config.teacher != "moving_average":
            self._measure_teacher()
        results.write(self.folder, self.config, self.data, self.task)
        from tutelage import report

        report.write(self.folder)

    def _measure_teacher(self) -> None:
        """Figures of a teacher that came trained."""
        folder = self.folder / "teacher"
        if not (folder / "phase.json").exists():
            named = self.config.teacher
            teacher = self.teacher(self.config, 0, self.data)
            teacher = with_prefetch(teacher, self.config.teacher_ahead, self.config.teacher_device)
            assert teacher is not None
            teacher.to(self.fabric.device)
            write_phase_folder(
                Phase("teacher", "teacher", self.config.seed),
                folder,
                {"teacher": teacher},
                None,
                None,
                self.data,
                self.task,
                {"teacher": " + ".join(named) if isinstance(named, list) else str(named)},
                self.config.batch_size,
            )


def attempt(scheme: Scheme, batch: Batch) -> None:
    """Take each player's turn once, so that what a loss refuses is refused before anything is trained."""
    for _, losses in scheme.turns(batch, 0):
        torch.stack(list(losses.values())).sum().backward()  # some schemes go on from the gradients
    scheme.zero_grad()


def terms_of(scheme: Scheme) -> Terms:
    """The first player's terms."""
    return next(iter(scheme.terms().values()))
