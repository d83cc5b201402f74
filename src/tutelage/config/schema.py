"""The configuration of a run: one schema for files, command line and Python; reports all faults, with near names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError, field_validator

from tutelage import recipes
from tutelage.config import parsing, stages
from tutelage.config.embedded import embedded_defaults
from tutelage.config.kinds import EXTRA_STUDENT_KEYS, ExtraStudent, Spec
from tutelage.config.methods import refuse_terms, term_specs
from tutelage.config.named_parts import OFFLINE, name_of, options_of, refuse_options, scheme_trait
from tutelage.config.nested import flatten_networks
from tutelage.config.run_settings import RunSettings
from tutelage.errors import ConfigError, unknown
from tutelage.utils import registry
from tutelage.utils.key_types import CHANGES_ON_RESUME, FROZEN_ONLY, MAY_NAME_STAGE, OF_DATA, RUN_WIDE, InBaseline
from tutelage.utils.validation import describe_faults, find_contradictions, find_missing_paths

MOVING_AVERAGE = "moving_average"
"""The teacher of the catalogue that is also known without a mapping."""

TEACHER_BUDGET = ("teacher_epochs", "teacher_lr")
"""The keys that have no effect where no teacher is trained."""


class Config(RunSettings):
    """A whole run: students, teachers, the method, the data and the training."""

    @field_validator("teacher", mode="before")
    @classmethod
    def _no_teacher(cls, value: Any) -> Any:
        return None if value == "none" else value

    @field_validator("log", mode="before")
    @classmethod
    def _one_logger(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("students", mode="before")
    @classmethod
    def _known_keys_of_students(cls, students: Any) -> Any:
        students_list = students if isinstance(students, list | tuple) else []
        unknown_keys = [
            key for spec in students_list if isinstance(spec, Mapping) for key in spec if key not in EXTRA_STUDENT_KEYS
        ]
        problems = [unknown("key of an additional student", str(key), EXTRA_STUDENT_KEYS) for key in unknown_keys]
        if problems:
            raise ValueError("\n".join(problems))
        return students

    @field_validator("students")
    @classmethod
    def _known_losses_of_students(cls, students: list[ExtraStudent]) -> list[ExtraStudent]:
        refuse_terms(spec for student in students for spec in term_specs(student.get("method")))
        return students

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str | Spec) -> str | Spec:
        if isinstance(task, str):
            return task if task == "auto" else registry.find_entry("tasks", task).name
        refuse_options("tasks", task, "{name: embedding}", maker="from_data")
        return task | {"name": registry.find_entry("tasks", task["name"]).name}

    @field_validator("teacher")
    @classmethod
    def _known_teacher(cls, teacher: Any) -> Any:
        if isinstance(teacher, dict):
            refuse_options("teachers", teacher, "{name: moving_average}")
        return teacher

    @field_validator("scheme", "teacher_scheme")
    @classmethod
    def _known_scheme(cls, scheme: str | Spec | None) -> str | Spec | None:
        if scheme in (OFFLINE, None):
            return scheme
        refuse_options("schemes", {"name": scheme} if isinstance(scheme, str) else scheme, "{name: mutual}")
        return scheme

    @field_validator("peers")
    @classmethod
    def _enough_peers(cls, peers: int | list[str | Spec]) -> int | list[str | Spec]:
        count = peers if isinstance(peers, int) else len(peers)
        if not 2 <= count <= 64:
            raise ValueError("expected 2 to 64 peers")
        return peers

    @field_validator("method")
    @classmethod
    def _known_losses(cls, method: Any) -> Any:
        refuse_terms(term_specs(method))
        return method

    def _follow(self) -> None:
        super()._follow()
        if self.cache and self.views is None:
            self.views = 4
        if isinstance(self.peers, list):  # the first is the student that is compared and exported
            first = self.each_peer[0]
            self.student, self.student_inputs = first["model"], first["inputs"]

    def contradictions(self) -> Iterator[str]:
        """Yield a sentence for each set of keys that contradict each other."""
        yield from super().contradictions()
        if (self.teacher_mean is None) != (self.teacher_std is None):
            yield f"teacher_mean={self.teacher_mean}, teacher_std={self.teacher_std}: expected both, or neither"
        yield from self._teacher_keys_without_networks()
        if "peers" in self.changed() and not any(scheme_trait(name, "has_peers") for name in self._scheme_names()):
            yield f"peers={self.peers} with scheme={self.scheme_name}, which trains one student: remove it"
        if isinstance(self.peers, list) and str(self.student).startswith("object:"):
            yield "student is an object, and peers names the students: remove one of them"
        own_keys = [{*peer} if isinstance(peer, dict) else set() for peer in self._listed_peers]
        if len({"inputs" in keys for keys in own_keys}) > 1:
            yield "peers: expected inputs of each peer, or of none (student_inputs)"
        if any("size" in keys for keys in own_keys):
            yield "peers: all get images of one size: set student_size, and leave size out"
        if self.teacher_classes is not None and self.class_weights is not None:
            yield "class_weights are those of all classes, and teacher_classes trains on some: leave one of them out"
        if self.student is None:
            yield "no student: name one (student=resnet20; see tutelage list models)"
        elif self.stages:
            yield from self._contradictions_of_stages()
        else:
            yield from self._contradictions_of_training()

    @property
    def _listed_peers(self) -> list[str | Spec]:
        return self.peers if isinstance(self.peers, list) else []

    def _teacher_keys_without_networks(self) -> Iterator[str]:
        """The keys of networks that teach, in a run in which none does; those of its training are noted by the run."""
        teachers = [self.teacher, *(stage.get("teacher") for stage in self.stages)]
        if any(isinstance(teacher, str | list) and teacher not in (MOVING_AVERAGE, "none") for teacher in teachers):
            return
        for key, value in self.changed().items():
            if not key.startswith("teacher_") or key in TEACHER_BUDGET:
                continue
            if self.teacher is None:
                yield f"{key}={value}: there is no teacher: name one (teacher=…), or remove it"
            elif key not in self.frozen_only():  # which have a sentence of their own
                yield f"{key}={value} is for a network that teaches, and teacher={self.teacher} isn't one: remove it"

    def _contradictions_of_training(self) -> Iterator[str]:
        yield from self._contradictions_of_teacher()
        late = [
            s for s in term_specs(self.method) if isinstance(s.get("warmup"), int | float) and s["warmup"] > self.epochs
        ]
        if late:
            yield (
                f"warmup={late[0]['warmup']} of {late[0]['name']} is longer than epochs={self.epochs}, so its weight "
                "would never be reached: make it shorter"
            )
        if self.cache and (self.teacher is None or self.teacher_follows):
            yield "cache=true needs a frozen teacher: name one (teacher=…), or remove cache"
        if self.cache and not scheme_trait(self.scheme_name, "caches_teacher"):
            yield f"cache=true: the teacher gets inputs that scheme={self.scheme_name} makes: remove cache"
        if self.cache and self.mix is not None:
            yield f"mix={self.mix} makes new mixtures in each batch, and a cache has outputs for samples: remove cache"
        if self.students and (self.scheme_name != OFFLINE or self.teacher_follows or self.keep == "best"):
            yield (
                "students: they need a teacher that is the same for all and keep=last, so no scheme=, "
                "teacher=moving_average, keep=best and patience"
            )

    def _contradictions_of_teacher(self) -> Iterator[str]:
        if not self.takes_teacher() and self.teacher is not None:
            yield f"teacher={self.teacher!r} with scheme={self.scheme_name}: its students have no teacher, leave it out"
        if self.sharded and self.teacher_follows:
            yield "teacher=moving_average needs the student's whole weights: use strategy=ddp"
        needy = any(registry.find_entry("losses", spec["name"]).needs_teacher for spec in term_specs(self.method))
        if self.scheme_name == OFFLINE and self.teacher is None and needy:
            yield (
                f"method={self.method!r} needs a teacher in scheme={OFFLINE}: name one (teacher=…), or use "
                "`tutelage train`"
            )
        if self.ensemble != "logits" and not isinstance(self.teacher, list):
            yield f"ensemble={self.ensemble} is for several teachers (teacher=[a, b]): leave it out"
        if self.teacher_classes is not None and not isinstance(self.teacher, list):
            yield "teacher_classes is for several teachers (teacher=[a, b]): leave it out"
        try:
            self.each_teacher()
        except ConfigError as error:
            yield str(error)
        frozen_keys = [key for key in self.frozen_only() if key != "cache"]  # which has a sentence of its own
        if self.teacher_follows and frozen_keys:
            yield (
                f"{frozen_keys[0]} is for a teacher that is trained already: with teacher=moving_average it changes, "
                "leave it out"
            )

    def _contradictions_of_stages(self) -> Iterator[str]:
        """Check the stages' names and references, then each one's keys by the same schema."""
        problems = stages.find_faults(
            self.stages, self.model_dump(), *map(keys_with_mark, (RUN_WIDE, OF_DATA, MAY_NAME_STAGE))
        )
        yield from problems
        trainings = [] if problems else [*self.stage_overrides().items(), (stages.LAST, self.student_overrides())]
        for name, overrides in trainings:
            try:
                self.with_overrides(overrides, f"stage {name}")
            except ConfigError as error:
                yield str(error)

    def with_overrides(self, overrides: Mapping[str, Any], training: str) -> Config:
        """Return the configuration of one training of the run, which sets these keys differently.

        Raises: ConfigError that names the training.
        """
        overrides = flatten_networks(overrides, type(self).model_fields)
        keys = self.model_dump() | {"stages": []} | ({"streams": {}} if "data" in overrides else {}) | overrides
        name = name_of(keys["scheme"])
        if registry.is_known("schemes", name) and not scheme_trait(name, "has_peers"):
            keys = {key: x for key, x in keys.items() if key in overrides or key != "peers"}
        if not isinstance(keys["teacher"], list):
            keys = {key: x for key, x in keys.items() if key in overrides or key not in ("ensemble", "teacher_classes")}
        if keys["teacher"] in (None, "none"):
            keys = {key: x for key, x in keys.items() if key in overrides or not key.startswith("teacher_")}
        if "teacher" in overrides:  # the normalisation is that of the run's teacher
            keys |= {key: overrides.get(key) for key in ("teacher_mean", "teacher_std")}
        objects = {}
        if "method" not in overrides and any(
            not registry.is_known("losses", spec["name"]) for spec in term_specs(self.method)
        ):
            objects["method"] = self.method  # it was passed as an object, which no name finds
        try:
            return type(self)(**(keys | dict.fromkeys(objects))).model_copy(update=objects)
        except ValidationError as error:
            problems = describe_faults(error, type(self).model_fields, keys)
            raise ConfigError("\n".join(f"{training}: {line}" for line in problems.splitlines())) from error

    @property
    def catalogue_teacher(self) -> tuple[str, dict[str, Any]] | None:
        """The name and the options of a teacher of the catalogue; None if the configuration names networks."""
        if self.teacher == MOVING_AVERAGE:
            return MOVING_AVERAGE, {}
        return (str(self.teacher["name"]), options_of(self.teacher)) if isinstance(self.teacher, dict) else None

    @property
    def teacher_follows(self) -> bool:
        """True if the teacher changes with the student in training."""
        teacher = self.catalogue_teacher
        return teacher is not None and registry.find_entry("teachers", teacher[0]).follows_student

    def each_teacher(self) -> list[Config]:
        """Return a configuration for each network that teaches: with it as the only teacher, and its own options.

        Raises: ConfigError if the options contradict each other.
        """
        if isinstance(self.teacher, list):
            return [self._with_only(teacher) for teacher in self.teacher]
        return [self] if self.teacher is not None and self.catalogue_teacher is None else []

    def _with_only(self, teacher: str | Spec) -> Config:
        if isinstance(teacher, str):
            overrides: Spec = {"teacher": teacher, "ensemble": "logits", "teacher_classes": None, "stages": []}
            return self.model_copy(update=overrides)
        shared = {key: getattr(self, key) for key in ("teacher_weights", "teacher_mean", "teacher_std")}
        options = {"teacher" if key == "model" else f"teacher_{key}": value for key, value in teacher.items()}
        return self.with_overrides(shared | options, f"teacher {teacher['model']}")

    @property
    def teacher_names(self) -> list[str]:
        """The models of the networks that teach."""
        teachers = self.teacher if isinstance(self.teacher, list) else [self.teacher]
        return [str(teacher["model"] if isinstance(teacher, dict) else teacher) for teacher in teachers if teacher]

    @property
    def each_peer(self) -> list[Spec]:
        """The model, the weights and the inputs of each student that learns with others."""
        peers = [self.student] * self.peers if isinstance(self.peers, int) else self.peers
        return [
            {"weights": self.student_weights, "inputs": self.student_inputs}
            | (peer if isinstance(peer, dict) else {"model": peer})
            for peer in peers
        ]

    @property
    def data_seed(self) -> int:
        """The seed by which samples are chosen for splits."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def scheme_name(self) -> str:
        """The scheme's name."""
        return name_of(self.scheme)

    @property
    def scheme_options(self) -> dict[str, Any]:
        """The scheme's options."""
        return options_of(self.scheme)

    def _scheme_names(self) -> set[str]:
        """Return the names of all trainings' schemes."""
        schemes = [self.scheme, self.teacher_scheme, *(stage.get("scheme") for stage in self.stages)]
        names = {name_of(scheme) for scheme in schemes if scheme}
        return {name for name in names if registry.is_known("schemes", name)}  # others are refused on their own

    def frozen_only(self) -> list[str]:
        """Return the keys that are set and require a frozen teacher."""
        fields = type(self).model_fields
        return [key for key in self.changed() if FROZEN_ONLY in fields[key].metadata]

    def changed(self) -> dict[str, Any]:
        """Return the keys that don't have their default, with their values."""
        fields = type(self).model_fields.items()
        return {key: getattr(self, key) for key, field in fields if getattr(self, key) != field.default}

    def takes_teacher(self) -> bool:
        """Return whether the scheme has a teacher that exists before the training."""
        return scheme_trait(self.scheme_name, "takes_teacher")

    def stage_overrides(self) -> dict[str, Spec]:
        """Return the overrides of each stage before the last, by its name."""
        defaults: Spec = {"students": [], "snapshots": []}
        return {s["name"]: defaults | options_of(s) for s in self.stages if s["name"] != stages.LAST}

    def student_overrides(self) -> Spec:
        """Return the overrides of the student's own training."""
        return next((options_of(stage) for stage in self.stages if stage["name"] == stages.LAST), {})


def read(file: str | Path | None = None, words: Sequence[str] = (), **values: Any) -> Config:
    """Return the configuration of a YAML file, `key=value` arguments and Python values; the later win.

    Raises: ConfigError that lists all faults.
    """
    overrides = parsing.read_file(Path(file), key_types()) if file is not None else {}
    return check(overrides | parse_pairs(words) | values)


def parse_pairs(words: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` arguments as keys and values, each read by its key's type.

    Raises: ConfigError that lists the arguments that aren't such pairs.
    """
    return parsing.parse_pairs(words, key_types())


def key_types(model: type[BaseModel] = Config) -> dict[str, Any]:
    """Return the type of each key of a run, or of another model."""
    fields = model.model_fields.items()
    return {key: Annotated[field.annotation, *field.metadata, None] for key, field in fields}  # one mark at least


def resumable_keys() -> list[str]:
    """Return the keys that may change when a run is resumed."""
    return keys_with_mark(CHANGES_ON_RESUME)


def keys_with_mark(mark: str) -> list[str]:
    """Return the keys whose annotation has a mark of `tutelage.utils.key_types`."""
    return [key for key, field in Config.model_fields.items() if mark in field.metadata]


def baseline_overrides() -> dict[str, Any]:
    """Return the keys that differ where a network is trained without a teacher, with their values."""
    marks = {
        key: [m for m in field.metadata if isinstance(m, InBaseline)] for key, field in Config.model_fields.items()
    }
    return {key: values[0].value for key, values in marks.items() if values}


def check(overrides: Mapping[str, Any]) -> Config:
    """Return the configuration of these keys, with the recipe's and the embedded data's defaults for the others.

    Raises: ConfigError that lists all faults.
    """
    overrides = flatten_networks(overrides, Config.model_fields)
    if isinstance(overrides.get("method"), str) and recipes.has(overrides["method"]):
        overrides = {k: v for k, v in overrides.items() if k != "method"} | {
            "recipe": recipes.stem(overrides["method"])
        }
    recorded = overrides.keys() >= Config.model_fields.keys()  # a run folder's configuration has all keys
    base: dict[str, Any] = {}
    problems: list[str] = []
    if isinstance(overrides.get("recipe"), str) and not recorded:
        try:
            base = recipes.load(
                overrides["recipe"], {"teacher": None, "student": None} | embedded_defaults(overrides) | dict(overrides)
            )
        except ConfigError as error:
            problems = str(error).splitlines()
    base = embedded_defaults(base | dict(overrides)) | base
    merged = {str(key): value for key, value in (base | dict(overrides)).items()}
    try:
        config = Config(**merged)
    except ValidationError as error:
        problems += describe_faults(error, Config.model_fields, merged).splitlines()
        raise ConfigError(
            "\n".join([*problems, *find_contradictions(merged, error, Config), *find_missing_paths(merged)])
        ) from error
    if problems:
        raise ConfigError("\n".join(problems))
    return config
