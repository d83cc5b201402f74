"""A configuration becomes a run folder: teacher, the student alone, the student taught, their figures and the report.

runs/x/  config.yaml  environment.json  result.json  student.safetensors  report.html
         teacher/  alone-0/  student-0/ …  each: metrics.jsonl  checkpoints/  phase.json  model.safetensors
         predictions.npz
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from tutelage import data as datasets
from tutelage import environment, models, result, saved
from tutelage.callbacks import Callback, JsonLines, Logger
from tutelage.capture import peek
from tutelage.checkpoint import write_atomically
from tutelage.config import Config, check, specs
from tutelage.data.base import Data
from tutelage.errors import CheckpointError, ConfigError, ModelError, NotFinite
from tutelage.fabric import make_fabric
from tutelage.folder import free, make
from tutelage.phase import Phase, finish
from tutelage.player import Player
from tutelage.schemes.base import Scheme
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.offline import Offline
from tutelage.settings import Settings
from tutelage.tasks.base import Task
from tutelage.tasks.classification import Classification
from tutelage.tasks.segmentation import Segmentation
from tutelage.teachers.ahead import placed
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen, refuse_precision
from tutelage.teachers.moving_average import MovingAverage
from tutelage.terms import Method, Terms
from tutelage.trainer import Trainer, refuse_accumulation
from tutelage.values import Batch

TASKS: dict[str, Callable[[], Task]] = {"classification": Classification, "segmentation": Segmentation}


@dataclass
class Given:
    """What was given as an object instead of by name: networks, data, terms, further callbacks."""

    teacher: nn.Module | None = None
    student: nn.Module | None = None
    data: Data | None = None
    method: Method | None = None
    callbacks: tuple[Callback, ...] = ()


@dataclass
class Network:
    """A network and the normalisation that it wants; None: the data's own."""

    model: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    from lightning.fabric.utilities.seed import seed_everything as seed_all

    seed_all(seed, verbose=False)


class Run:
    """One run: what its configuration names, made; its folder; its phases."""

    def __init__(self, config: Config, given: Given | None = None, folder: Path | None = None) -> None:
        self.config, self.given = config, given or Given()
        self.data = self.given.data or load_data(config)
        task = self.data.task if config.task == "auto" else config.task
        if task != self.data.task:
            raise ConfigError(f"task={config.task}, but {self.data.name} is data for {self.data.task}; leave task out.")
        self.task = TASKS[task]()
        self.fabric = make_fabric(config)
        if config.devices > 1:
            self.fabric.launch()
        self.rehearsing = False
        if folder is None:
            self.rehearse()
        self.folder = folder or self._new_folder()

    # the folder

    def _new_folder(self) -> Path:
        path = Path(self.config.out) if self.config.out else free(self.config)
        if self.fabric.is_global_zero:
            config = yaml.safe_dump(self.config.model_dump(), sort_keys=False, allow_unicode=True)
            surroundings = json.dumps(environment.describe(self.fabric, self.data), indent=1)
            make(path, {"config.yaml": config, "environment.json": surroundings})
        return Path(self.fabric.broadcast(str(path)))

    # the phases

    def phases(self) -> list[Phase]:
        """What is to be trained, in order."""
        config = self.config
        found = [Phase("teacher", "teacher", config.seed)] if self.teacher_is_trained() else []
        for k in range(config.seeds):
            if config.baseline and (self._has_teacher() or config.scheme == "mutual"):
                found.append(Phase(f"alone-{k}", "alone", config.seed + k))
            found.append(Phase(f"student-{k}", "student", config.seed + k))
        return found

    def _has_teacher(self) -> bool:
        return self.config.teacher is not None or self.given.teacher is not None

    def teacher_is_trained(self) -> bool:
        """Whether the teacher is first trained on this data."""
        name, epochs = self.config.teacher, self.config.teacher_epochs
        if self.given.teacher is not None or not isinstance(name, str) or name == "moving_average":
            return bool(self.given.teacher is not None and epochs)
        if epochs is None:
            return not saved.is_run(name) and self.config.teacher_weights is None
        return epochs > 0

    def fit(self) -> Path:
        """Train what isn't trained yet, then write the result and the report; returns the folder."""
        for phase in self.phases():
            if not (self.folder / phase.name / "phase.json").exists():
                self.train(phase)
        if self.fabric.is_global_zero:
            self._conclude()
        self.fabric.barrier()
        return self.folder

    def train(self, phase: Phase) -> None:
        """Train one phase and write its folder."""
        settings, folder = self._settings(phase), self.folder / phase.name
        seed_everything(phase.seed)
        scheme, data, terms = self._scheme(phase, self.data)
        trainer = Trainer(settings, self.task, folder / "checkpoints", self._callbacks(phase), self.fabric)
        students = trainer.fit(scheme, data)
        if self.fabric.is_global_zero:
            name = self.config.teacher if phase.role == "teacher" else self.config.student
            finish(phase, folder, students, scheme, trainer, data, self.task, str(name), terms)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self.fabric.barrier()

    def _settings(self, phase: Phase) -> Settings:
        config = self.config
        values = {key: getattr(config, key) for key in Settings.model_fields} | {"seed": phase.seed}
        if phase.role == "teacher":
            values["epochs"] = config.teacher_epochs or config.epochs
            values["lr"] = config.teacher_lr or config.lr
        return Settings(**values)

    def _callbacks(self, phase: Phase) -> list[Callback]:
        rows = JsonLines(self.folder / phase.name / "metrics.jsonl") if self.fabric.is_global_zero else None
        loggers = [Logger(logger) for logger in environment.loggers(self.config.log, self.folder, phase.name)]
        for callback in self.given.callbacks:
            callback.begin(phase.name, len(self.phases()))
        return [*([rows] if rows else []), *loggers, *self.given.callbacks]

    # what the configuration names, made

    def rehearse(self, samples: int = 8) -> tuple[Scheme, Data, Batch]:
        """The student's scheme wired on a first batch, its data and that batch, with the teacher before its training.

        So whatever can't work is refused before there is a folder or anything is trained.
        """
        self.rehearsing = True
        try:
            seed_everything(self.config.seed)
            scheme, data, _ = self._scheme(Phase("student-0", "student", self.config.seed), self.data)
            refuse_accumulation(self.config, data.steps(self.config.batch_size))
            batch = next(iter(data.batches("train", samples, seed=self.config.seed)))
            self._check_classes(scheme, batch)
            scheme.wire(batch, len(data.train))
        except NotFinite as error:
            raise NotFinite(f"teacher={self.config.teacher}: {error}") from error
        finally:
            self.rehearsing = False
        return scheme, data, batch

    def _check_classes(self, scheme: Scheme, batch: Batch) -> None:
        """Refuse a student that doesn't answer the data's classes."""
        for student in scheme.students().values():
            response = self.task.response(peek(student.model, batch.inputs).response, batch)
            if response.dim() < 2 or response.shape[1] != len(self.data.classes):
                raise ModelError(
                    f"student={self.config.student} answers {tuple(response.shape)} for {len(batch)} images, expected "
                    f"{len(self.data.classes)} classes each, as {self.data.name} has."
                )

    def _scheme(self, phase: Phase, data: Data) -> tuple[Scheme, Data, Terms]:
        if phase.role == "teacher":
            network = self.network(self.config.teacher, self.config.teacher_weights, self.given.teacher)
            terms = Terms.of(None, self.task.truth())
            return Offline(Player(network.model, terms, self.task)), wanted(network, data), terms
        if phase.role == "student" and self.config.scheme == "mutual":
            return self._peers(data)
        network = self.network(self.config.student, self.config.student_weights, self.given.student)
        data = wanted(network, data)
        taught = phase.role == "student"
        teacher = placed(self.teacher(network, data), self.config) if taught else None
        terms = self.terms() if taught else Terms.of(None, self.task.truth())
        return Offline(Player(network.model, terms, self.task), teacher), data, terms

    def _peers(self, data: Data) -> tuple[Scheme, Data, Terms]:
        players: dict[str, Player] = {}
        for k in range(self.config.peers):
            network = self.network(self.config.student, self.config.student_weights, self.given.student)
            data = wanted(network, data)
            players[f"peer{k}"] = Player(network.model, self.terms(), self.task)
        return Mutual(players), data, players["peer0"].terms

    def terms(self) -> Terms:
        """The method's terms, with the task's loss beside them."""
        given = copy.deepcopy(self.given.method)  # phases and peers share nothing
        return Terms.of(given if given is not None else specs(self.config.method), self.task.truth())

    def network(self, name: Any, weights: str | None, given: nn.Module | None) -> Network:
        """A network by name, of a run folder, or a copy of the one that was given."""
        if given is not None:
            return Network(copy.deepcopy(given))
        if saved.is_run(name):
            return self._saved(name)
        made = models.create(
            name,
            classes=len(self.data.classes),
            channels=self.data.channels,
            size=self.data.size,
            pretrained=self.config.pretrained,
            task=self.data.task,
            weights=weights,
        )
        for message in made.notes:
            for callback in self.given.callbacks:
                callback.note({"kind": "note", "message": message})
        return Network(made.model, made.mean, made.std)

    def _saved(self, path: str) -> Network:
        model = saved.load(path)
        card: saved.Card = model.card  # type: ignore[assignment]
        ours = self.data.classes
        if card.classes != ours:
            how = "in another order" if sorted(card.classes) == sorted(ours) else "of other classes"
            raise ConfigError(
                f"{path} was trained {how}: it knows {_few(card.classes)}, {self.data.name} has {_few(ours)}; "
                "use data whose class folders or labels are the same, in the same order."
            )
        if card.channels != self.data.channels:
            raise ConfigError(f"{path} takes {card.channels} channels, {self.data.name} has {self.data.channels}.")
        return Network(model, card.mean, card.std)

    def teacher(self, student: Network, data: Data) -> Teacher | None:
        """The teacher that the configuration names, as the phases before left it."""
        config = self.config
        if config.teacher == "moving_average":
            return MovingAverage(student.model, self.task, config.decay)
        if isinstance(config.teacher, list):
            networks = [self.network(name, None, None) for name in config.teacher]
            return Ensemble([self.frozen(network, data) for network in networks])
        if self.teacher_is_trained() and not self.rehearsing:
            path = self.folder / "teacher" / "model.safetensors"
            given = copy.deepcopy(self.given.teacher)
            model = saved.load(path, given)
            card: saved.Card = model.card  # type: ignore[assignment]
            return self.frozen(Network(model, card.mean, card.std), data)
        if not self._has_teacher():
            return None
        return self.frozen(self.network(config.teacher, config.teacher_weights, self.given.teacher), data)

    def frozen(self, network: Network, data: Data) -> Frozen:
        """A frozen teacher that gets its images normalised as it wants them."""
        config = self.config
        refuse_precision(config.teacher_precision, config.teacher_device or str(self.fabric.device))
        how: Any = {"precision": config.teacher_precision, "folded": config.teacher_fold}
        if network.mean is None or network.std is None or (network.mean, network.std) == (data.mean, data.std):
            return Frozen(network.model, self.task, **how)
        scale = [ours / theirs for ours, theirs in zip(data.std, network.std, strict=True)]
        shift = [(ours - theirs) / s for ours, theirs, s in zip(data.mean, network.mean, network.std, strict=True)]
        return Frozen(network.model, self.task, scale, shift, **how)

    # the end

    def _conclude(self) -> None:
        first = self.folder / "student-0" / "model.safetensors"
        content = first.read_bytes()
        write_atomically(self.folder / "student.safetensors", lambda file: file.write(content))
        if self._has_teacher() and not self.teacher_is_trained() and self.config.teacher != "moving_average":
            self._measure_teacher()
        result.write(self.folder, self.config, self.data, self.task)
        from tutelage import report

        report.write(self.folder)

    def _measure_teacher(self) -> None:
        """Figures of a teacher that came trained."""
        folder = self.folder / "teacher"
        if not (folder / "phase.json").exists():
            network = Network(nn.Identity(), self.data.mean, self.data.std)
            teacher = placed(self.teacher(network, self.data), self.config)
            assert teacher is not None
            teacher.to(self.fabric.device)
            finish(
                Phase("teacher", "teacher", self.config.seed),
                folder,
                {"teacher": teacher},
                None,
                None,
                self.data,
                self.task,
                str(self.config.teacher),
                None,
            )


def wanted(network: Network, data: Data) -> Data:
    """The data, normalised as a pre-trained network wants it."""
    if network.mean is None or network.std is None:
        return data
    return replace(data, mean=network.mean, std=network.std)


def load_data(config: Config) -> Data:
    """The data that a configuration names.

    Raises: ConfigError if its limit can't hold a sample of each class.
    """
    loaded = datasets.load(
        config.data,
        size=config.size,
        val=config.val,
        seed=config.seed,
        limit=config.limit,
        labels_per_class=config.labels_per_class,
        augment=config.augment,
        task=None if config.task == "auto" else config.task,
    )
    if config.limit is not None and config.limit < len(loaded.classes) and loaded.train.labels is not None:
        raise ConfigError(
            f"limit={config.limit} training samples can't hold the {len(loaded.classes)} classes of {config.data}; "
            "raise it, or use labels_per_class."
        )
    return loaded


def resume(path: str | Path, given: Given | None = None) -> Path:
    """Go on with a run that was stopped or killed; a finished one only gets its result and report again.

    Raises: CheckpointError if it isn't a run folder; ConfigError if what it was given as an object isn't given again.
    """
    folder, given = Path(path), given or Given()
    config, known = _recorded(folder)
    for role in ("student", "teacher"):
        name = getattr(config, role)
        if isinstance(name, str) and name.startswith("object:") and getattr(given, role) is None:
            raise ConfigError(
                f"{folder}: its {role}, {name[7:]}, was given as an object: tutelage.resume(folder, {role}=…)."
            )
    run = Run(config, given, folder)
    if known != run.data.fingerprint:
        raise CheckpointError(f"{folder} was begun on other data: {config.data} has changed since; begin a new run.")
    return run.fit()


def _recorded(folder: Path) -> tuple[Config, str]:
    """A run folder's configuration, and the fingerprint of its data."""
    try:
        loaded = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        known = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["data"]
        lost = Config.model_fields.keys() - loaded.keys()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{folder} is no run folder: there is no {error.filename}; give the folder of a run that was begun."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{folder}: config.yaml or environment.json is torn ({' '.join(str(error).split())}); begin a new run."
        ) from error
    if lost:
        raise CheckpointError(f"{folder}/config.yaml is torn: it lacks {_few(sorted(lost))}; begin a new run.")
    return check(loaded), known


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")
