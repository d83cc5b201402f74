"""A configuration becomes a run folder: teacher, student alone, distilled student, their metrics and the report.

runs/x/  config.yaml  environment.json  result.json  student.safetensors  report.html
         teacher/  baseline-0/  student-0/ …  each: metrics.jsonl  checkpoints/  phase.json  model.safetensors
         predictions.npz
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.config import parsing
from tutelage.config.schema import TEACHER_BUDGET, Config
from tutelage.errors import Interrupted
from tutelage.models import serialization
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.runs import environment, measured_teacher, results, teacher_skill
from tutelage.runs.builder import RunBuilder
from tutelage.runs.dry_run import DryRun, dry_run
from tutelage.runs.fitted import Fitting
from tutelage.runs.folder import make_run_folder, next_free_folder
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.phase import Phase, read_phase, save_network, write_phase_folder
from tutelage.runs.plan import RunPlan
from tutelage.runs.profiling import reset_peak_memory
from tutelage.runs.reporting import write_report
from tutelage.runs.scheme_context import RunSchemeContext, build_scheme
from tutelage.runs.storage import FolderStorage
from tutelage.schemes.base import Scheme
from tutelage.training import checkpoint, fsdp
from tutelage.training.callbacks import Callback, JsonLines, Logger
from tutelage.training.fabric import seed_everything
from tutelage.training.trainer import Trainer
from tutelage.utils import checksums

if TYPE_CHECKING:
    from lightning.fabric import Fabric

EXPLANATION = ("explain.json", "explain.html")
"""Files of a finished run that are of its networks, and go when these are trained further."""

RESUMABLE_ROLES = ("baseline", "student")
"""Roles of phases that get more epochs when a run gets more; a teacher or a stage that is done stays as it is."""


class Run:
    """One run: its inputs, its plan, the builder of its parts, and its folder."""

    def __init__(self, config: Config, provided: Provided | None = None, folder: Path | None = None) -> None:
        self.inputs = RunInputs.load(config, provided or Provided())
        self.plan = RunPlan(self.inputs)
        self.first_precision_state = self.fabric.strategy.precision.state_dict()
        if folder is None:
            teacher_skill.refuse_poor_teacher(self.inputs, self.plan, self.dry_run())
        self.folder = folder or self._new_folder()
        self.builder = RunBuilder(NetworkLoader(self.inputs, self.plan, FolderStorage(self.folder)))
        if folder is None:
            self._note_idle_keys()

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.inputs.config

    @property
    def fabric(self) -> Fabric:
        """The devices and processes."""
        return self.inputs.fabric

    def phases(self) -> list[Phase]:
        """Return the trainings, in order."""
        return self.plan.phases()

    def scheme(self, phase: Phase) -> tuple[Scheme, RunSchemeContext]:
        """Build a phase's scheme; return it with the context that it was made from."""
        return build_scheme(self.builder, phase)

    def dry_run(self, samples: int = 8) -> DryRun | None:
        """Build and wire all phases on a few samples; refuse what can't work."""
        return dry_run(self.inputs, self.plan, samples)

    def _note_idle_keys(self) -> None:
        """Send a message for keys of a teacher's training, if the run trains no teacher."""
        if any(phase.role in ("teacher", "member") for phase in self.phases()):
            return
        for key in TEACHER_BUDGET:
            if value := getattr(self.config, key):
                self.inputs.note(f"{key}={value} has no effect: this run trains no teacher.")

    # the folder

    def _new_folder(self) -> Path:
        path = Path(self.config.out) if self.config.out else next_free_folder(self.config)
        if self.fabric.is_global_zero:
            config = parsing.dump(self.config.model_dump())
            surroundings = environment.describe(self.fabric, self.inputs.data) | {"config": self.config.model_dump()}
            surroundings["stages_data"] = self.plan.stages_data()
            surroundings["networks"] = environment.networks_on_disk(self.config)
            make_run_folder(path, {"config.yaml": config, "environment.json": json.dumps(surroundings, indent=1)})
        return Path(self.fabric.broadcast(str(path)))

    # the phases

    def fit(self) -> Path:
        """Train the phases that aren't done, write the result and the report, and return the folder."""
        for phase in self.phases():
            if self.is_done(phase):
                checksums.verify_folder(self.folder / phase.name)
            else:
                for name in EXPLANATION:
                    (self.folder / name).unlink(missing_ok=True)
                self.train(phase)
        if self.fabric.is_global_zero:
            self._conclude()
        self.fabric.barrier()
        return self.folder

    def is_done(self, phase: Phase) -> bool:
        """Return whether a phase is trained for all its epochs, including any that were added since."""
        file = self.folder / phase.name / "phase.json"
        if not file.exists() or phase.role not in RESUMABLE_ROLES or self.plan.is_fitted(phase):
            return file.exists()
        return bool(read_phase(file).get("planned", 0) >= self.plan.settings(phase).epochs)

    def train(self, phase: Phase) -> None:
        """Train one phase and write its folder."""
        settings, folder = self.plan.settings(phase), self.folder / phase.name
        seed_everything(phase.seed)
        if self.plan.is_fitted(phase):
            self._fit_at_once(phase)
            return
        if self.first_precision_state:  # with precision=16, the gradient scaler, which each phase resets
            self.fabric.strategy.precision.load_state_dict(self.first_precision_state)
        scheme, context = self.scheme(phase)

        def snapshot(epoch: int, networks: Mapping[str, FeatureExtractor]) -> None:
            if self.fabric.is_global_zero:
                first, name = next(iter(networks.values())), next(iter(context.names.values()))
                save_network(folder / f"epoch-{epoch}.safetensors", first.model, name, context.data, context.task)

        trainer = Trainer(settings, context.task, folder / "checkpoints", self._callbacks(phase), self.fabric, snapshot)
        reset_peak_memory(self.fabric.device)
        try:
            students = trainer.fit(scheme, context.data)
        except Interrupted as error:
            raise Interrupted(f"{error} `tutelage resume {shlex.quote(str(self.folder))}` goes on.") from error
        if self.plan.leaves_terms(phase):
            state = fsdp.full_state_dict(scheme.method_terms().state_dict())
            if self.fabric.is_global_zero:
                serialization.save_tensors(folder / "terms.safetensors", state)
        if self.fabric.is_global_zero:
            size = settings.batch_size // settings.devices
            write_phase_folder(
                phase,
                folder,
                students,
                scheme,
                trainer,
                context.data,
                context.task,
                context.names,
                size,
                views=context.views,
            )
            checkpoint.remove_old(folder / "checkpoints", kept=1 if phase.role in RESUMABLE_ROLES else 0)
        self.fabric.barrier()

    def _fit_at_once(self, phase: Phase) -> None:
        """Fit a model that isn't trained by steps, on the first process, and write its folder."""
        for callback in self.inputs.provided.callbacks:
            callback.on_phase_begin(phase.name, len(self.phases()))
        if self.fabric.is_global_zero:
            Fitting(self.builder, phase).run(self.folder / phase.name)
        self.fabric.barrier()

    def _callbacks(self, phase: Phase) -> list[Callback]:
        rows = JsonLines(self.folder / phase.name / "metrics.jsonl") if self.fabric.is_global_zero else None
        loggers = [Logger(logger) for logger in environment.loggers(self.config.log, self.folder, phase.name)]
        for callback in self.inputs.provided.callbacks:
            callback.on_phase_begin(phase.name, len(self.phases()))
        return [*([rows] if rows else []), *loggers, *self.inputs.provided.callbacks]

    # the end

    def _conclude(self) -> None:
        first = self.folder / "student-0" / "model.safetensors"
        checksums.write_recorded(self.folder / "student.safetensors", first.read_bytes())
        if self.inputs.task.task_loss() is None:
            checksums.write_recorded(self.folder / "backbone.safetensors", serialization.encode_backbone(first))
        if self.plan.has_teacher() and not self.plan.teacher_is_trained() and self.config.catalogue_teacher is None:
            folder = self.folder / "teacher"
            if not (folder / "phase.json").exists():
                measured_teacher.measure(self.builder, self.config, folder)
        results.write(self.folder, self.config, self.inputs.data, self.inputs.task)
        write_report(self.folder)
