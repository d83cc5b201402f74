"""What a run may be asked: one schema for files, words and Python; all faults at once, with near names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator

from tutelage import recipes
from tutelage.config import parsing, stages
from tutelage.config.kinds import FURTHER, ExtraStudent, Spec
from tutelage.config.methods import refuse_terms, specs
from tutelage.config.run_settings import RunSettings
from tutelage.config.teacher_spec import flattened
from tutelage.errors import ConfigError, unknown
from tutelage.utils import registry
from tutelage.utils.key_types import CHANGES_ON_RESUME, FROZEN_ONLY, MAY_NAME_STAGE, RUN_WIDE, InBaseline
from tutelage.utils.options import option_faults
from tutelage.utils.validation import describe_faults, find_contradictions, find_missing_paths

DIGITS: dict[str, Any] = {"teacher": "cnn32", "student": "cnn2", "epochs": 10, "teacher_epochs": 30, "lr": 0.1}
"""What need not be said with data=digits."""

EMBEDDED = {"digits": DIGITS, "digits-tasks": DIGITS | {"teacher": ["cnn8", "cnn8", "cnn8"]}}
"""What need not be said with embedded data; with several label columns there is a teacher for each."""

OFFLINE = "offline"
"""The scheme that is known without importing it, and with it torch."""


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
    def _known_words(cls, students: Any) -> Any:
        students_list = students if isinstance(students, list | tuple) else []
        strange = [word for spec in students_list if isinstance(spec, Mapping) for word in spec if word not in FURTHER]
        problems = [unknown("word of a further student", str(word), FURTHER) for word in strange]
        if problems:
            raise ValueError("\n".join(problems))
        return students

    @field_validator("students")
    @classmethod
    def _known_losses_of_students(cls, students: list[ExtraStudent]) -> list[ExtraStudent]:
        refuse_terms(spec for further in students for spec in specs(further.get("method")))
        return students

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        return task if task == "auto" else registry.find_entry("tasks", task).name

    @field_validator("teacher")
    @classmethod
    def _known_teacher(cls, teacher: Any) -> Any:
        if isinstance(teacher, dict):
            _refuse_options("teachers", teacher, "{name: moving_average}")
        return teacher

    @field_validator("scheme", "teacher_scheme")
    @classmethod
    def _known_scheme(cls, scheme: str | Spec | None) -> str | Spec | None:
        if scheme in (OFFLINE, None):
            return scheme
        _refuse_options("schemes", {"name": scheme} if isinstance(scheme, str) else scheme, "{name: mutual}")
        return scheme

    @field_validator("peers")
    @classmethod
    def _enough_peers(cls, peers: int | list[str]) -> int | list[str]:
        count = peers if isinstance(peers, int) else len(peers)
        if not 2 <= count <= 64:
            raise ValueError("expected 2 to 64 peers")
        return peers

    @field_validator("method")
    @classmethod
    def _known_losses(cls, method: Any) -> Any:
        refuse_terms(specs(method))
        return method

    def _follow(self) -> None:
        super()._follow()
        if self.cache and self.views is None:
            self.views = 4

    def contradictions(self) -> Iterator[str]:
        """Which keys don't go together, a sentence each that names all of them."""
        yield from super().contradictions()
        if (self.teacher_mean is None) != (self.teacher_std is None):
            yield f"teacher_mean={self.teacher_mean}, teacher_std={self.teacher_std}: expected both, or neither"
        if self.teacher_mean is not None and (self.teacher is None or self.teacher_follows):
            yield "teacher_mean and teacher_std are of a teacher that came trained, and none is named: leave them out"
        if self.student is None:
            yield "no student: name one (student=resnet20; see tutelage list models)"
        elif self.stages:
            yield from self._contradictions_of_stages()
        else:
            yield from self._contradictions_of_training()

    def _contradictions_of_training(self) -> Iterator[str]:
        yield from self._contradictions_of_teacher()
        late = [s for s in specs(self.method) if isinstance(s.get("warmup"), int | float) and s["warmup"] > self.epochs]
        if late:
            yield (
                f"warmup={late[0]['warmup']} of {late[0]['name']} is longer than epochs={self.epochs}, so its weight "
                "would never be reached: make it shorter"
            )
        if self.cache and (self.teacher is None or self.teacher_follows):
            yield "cache: there is no teacher that stays as it is, whose answers could be kept"
        if self.students and (self.scheme_name != OFFLINE or self.teacher_follows or self.keep == "best"):
            yield (
                "students: only with a teacher that is the same for all and keep=last, so without scheme=, "
                "teacher=moving_average, keep=best and patience"
            )

    def _contradictions_of_teacher(self) -> Iterator[str]:
        if not self.takes_teacher() and self.teacher is not None:
            yield f"teacher={self.teacher!r} with scheme={self.scheme_name}: its students have no teacher, leave it out"
        if self.sharded and self.teacher_follows:
            yield "teacher=moving_average needs the student's whole weights: use strategy=ddp"
        needy = any(registry.find_entry("losses", spec["name"]).needs_teacher for spec in specs(self.method))
        if self.scheme_name == OFFLINE and self.teacher is None and needy:
            yield (
                f"method={self.method!r} needs a teacher in scheme={OFFLINE}: name one (teacher=…), or use "
                "`tutelage train`"
            )
        if self.ensemble != "logits" and not isinstance(self.teacher, list):
            yield f"ensemble={self.ensemble} is for several teachers (teacher=[a, b]): leave it out"
        if self.teacher_classes is not None and not isinstance(self.teacher, list):
            yield "teacher_classes is for several teachers (teacher=[a, b]): leave it out"
        if self.teacher is None and self.teacher_weights is not None:
            yield f"teacher_weights={self.teacher_weights}: there is no teacher: name one (teacher=…), or leave it out"
        still = [key for key in self.frozen_only() if key != "cache"]  # which has a sentence of its own
        if self.teacher_follows and still:
            yield (
                f"{still[0]} is for a teacher that is trained already: with teacher=moving_average it changes, leave "
                "it out"
            )

    def _contradictions_of_stages(self) -> Iterator[str]:
        """The stages' names and what they name; then each one's keys, by the same schema."""
        problems = stages.faults(self.stages, self.model_dump(), marked(RUN_WIDE), marked(MAY_NAME_STAGE))
        yield from problems
        trainings = [] if problems else [*self.stage_overrides().items(), (stages.LAST, self.student_overrides())]
        for name, words in trainings:
            try:
                self.with_overrides(words, f"stage {name}")
            except ConfigError as error:
                yield str(error)

    def with_overrides(self, words: Mapping[str, Any], who: str) -> Config:
        """The configuration of one training of the run, which has these keys otherwise.

        Raises: ConfigError that names the training.
        """
        words = flattened(words, type(self).model_fields)
        whole = self.model_dump() | {"stages": []} | words
        if not isinstance(whole["teacher"], list):
            whole = {key: x for key, x in whole.items() if key in words or key not in ("ensemble", "teacher_classes")}
        if whole["teacher"] in (None, "none"):
            whole |= {"teacher_weights": words.get("teacher_weights")}
        if "teacher" in words:  # these are of the run's own
            whole |= {key: words.get(key) for key in ("teacher_mean", "teacher_std")}
        given = {}
        if "method" not in words and any(not registry.is_known("losses", spec["name"]) for spec in specs(self.method)):
            given["method"] = self.method  # it was given as an object, which no name finds
        try:
            return type(self)(**(whole | dict.fromkeys(given))).model_copy(update=given)
        except ValidationError as error:
            problems = describe_faults(error, type(self).model_fields, whole)
            raise ConfigError("\n".join(f"{who}: {line}" for line in problems.splitlines())) from error

    @property
    def catalogue_teacher(self) -> tuple[str, dict[str, Any]] | None:
        """A teacher of the catalogue that the configuration names, with its options; None for networks."""
        if self.teacher == "moving_average":
            return "moving_average", {}
        return (str(self.teacher["name"]), _but_name(self.teacher)) if isinstance(self.teacher, dict) else None

    @property
    def teacher_follows(self) -> bool:
        """Whether the teacher changes with the student in training."""
        named = self.catalogue_teacher
        return named is not None and registry.find_entry("teachers", named[0]).follows_student

    @property
    def num_peers(self) -> int:
        """How many students learn together."""
        return self.peers if isinstance(self.peers, int) else len(self.peers)

    @property
    def scheme_name(self) -> str:
        """The scheme's name."""
        return self.scheme if isinstance(self.scheme, str) else str(self.scheme["name"])

    @property
    def scheme_options(self) -> dict[str, Any]:
        """What the scheme is told."""
        return {} if isinstance(self.scheme, str) else _but_name(self.scheme)

    def frozen_only(self) -> list[str]:
        """The keys that are set, and for a teacher that stays as it is."""
        fields = type(self).model_fields.items()
        return [k for k, field in fields if FROZEN_ONLY in field.metadata and getattr(self, k) != field.default]

    def takes_teacher(self) -> bool:
        """Whether the scheme has a teacher that is already there."""
        return _takes_teacher(self.scheme_name)

    def stage_overrides(self) -> dict[str, Spec]:
        """The keys that each stage before the last has otherwise, by its name."""
        own: Spec = {"students": [], "snapshots": []}
        return {s["name"]: own | _but_name(s) for s in self.stages if s["name"] != stages.LAST}

    def student_overrides(self) -> Spec:
        """The keys that the student's own training has otherwise."""
        return next((_but_name(stage) for stage in self.stages if stage["name"] == stages.LAST), {})


def _takes_teacher(scheme: str) -> bool:
    return scheme == OFFLINE or bool(registry.find_entry("schemes", scheme).load().takes_teacher)


def _refuse_options(package: str, spec: Spec, example: str) -> None:
    """Refuse a name that the catalogue doesn't have, and options that its `from_context` doesn't take."""
    name = spec.get("name")
    if not isinstance(name, str):
        raise ValueError(f"it needs a name, such as {example}")
    kind = registry.find_entry(package, name)
    faults = option_faults(f"{registry.KINDS[package]} {name}", kind.load().from_context, _but_name(spec))
    if faults:
        raise ValueError("\n".join(faults))


def _but_name(spec: Spec) -> Spec:
    return {key: value for key, value in spec.items() if key != "name"}


def read(file: str | Path | None = None, words: Sequence[str] = (), **values: Any) -> Config:
    """The configuration of a YAML file, `key=value` words and Python values; the later win.

    Raises: ConfigError that lists every fault.
    """
    overrides = parsing.file(Path(file), kinds()) if file is not None else {}
    return check(overrides | pairs(words) | values)


def pairs(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as keys and values, each read by what its key may hold.

    Raises: ConfigError that lists the words that aren't such pairs.
    """
    return parsing.pairs(words, kinds())


def kinds() -> dict[str, Any]:
    """What each key may hold."""
    return {key: field.annotation for key, field in Config.model_fields.items()}


def later() -> list[str]:
    """Return the keys that may change when a run is resumed."""
    return marked(CHANGES_ON_RESUME)


def marked(mark: str) -> list[str]:
    """Return the keys whose annotation has a mark of `tutelage.utils.key_types`."""
    return [key for key, field in Config.model_fields.items() if mark in field.metadata]


def baseline_overrides() -> dict[str, Any]:
    """Return the keys that differ where a network is trained without a teacher, with their values."""
    marks = {
        key: [m for m in field.metadata if isinstance(m, InBaseline)] for key, field in Config.model_fields.items()
    }
    return {key: problems[0].value for key, problems in marks.items() if problems}


def check(overrides: Mapping[str, Any]) -> Config:
    """The configuration that these keys make, with the recipe's and the embedded data's defaults beneath them.

    Raises: ConfigError that lists every fault.
    """
    overrides = flattened(overrides, Config.model_fields)
    if isinstance(overrides.get("method"), str) and recipes.has(overrides["method"]):
        overrides = {k: v for k, v in overrides.items() if k != "method"} | {
            "recipe": recipes.stem(overrides["method"])
        }
    recorded = overrides.keys() >= Config.model_fields.keys()  # a run folder's says everything
    base: dict[str, Any] = {}
    problems: list[str] = []
    if isinstance(overrides.get("recipe"), str) and not recorded:
        try:
            base = recipes.load(
                overrides["recipe"], {"teacher": None, "student": None} | _embedded(overrides) | dict(overrides)
            )
        except ConfigError as error:
            problems = str(error).splitlines()
    base = _embedded(base | dict(overrides)) | base
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


def _embedded(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The embedded data's defaults, without the teacher's where there is another one or none; none for other data."""
    data = str(overrides.get("data", "digits"))
    known = DIGITS if data in EMBEDDED and overrides.get("column") else EMBEDDED.get(data, {})
    scheme = overrides.get("scheme", OFFLINE)
    name = str(scheme.get("name") if isinstance(scheme, Mapping) else scheme)
    takes = not registry.is_known("schemes", name) or _takes_teacher(name)
    without = "teacher" in overrides or not takes
    return {key: value for key, value in known.items() if not (without and key.startswith("teacher"))}
