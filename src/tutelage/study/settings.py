"""The keys of a study, from a file, `key=value` words or Python: its own, and those of every run in it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tutelage.config import parsing, schema
from tutelage.config.embedded import embedded_defaults
from tutelage.config.kinds import Network, Spec
from tutelage.errors import ConfigError
from tutelage.study import engines, protocols, store
from tutelage.utils.files import write_text
from tutelage.utils.key_types import EntryTypes, NameOrPath, to_plain
from tutelage.utils.validation import describe_faults

NetworkSpecs = Annotated[list[NameOrPath | Network], Field(max_length=64)]
TeachTogether = Annotated[NetworkSpecs, Field(min_length=1)]
Teachers = Annotated[list[NameOrPath | Network | TeachTogether], Field(max_length=64)]
PairEntry = Annotated[Spec, EntryTypes({"teacher": str, "student": str})]
MethodEntry = Annotated[Spec, EntryTypes({"name": str}, keys=True)]

FILE = "study.yaml"
"""The file of a study's folder with its keys, from which it goes on and can be repeated."""
LISTS = ("students", "teachers", "pairs", "methods")
"""The keys of a study that grow when it is called again."""

TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)")
STEPS = re.compile(r"(\d+)\s*steps")
SECONDS = {"s": 1, "m": 60, "h": 3600}

SINGULAR = {"student": "students", "teacher": "teachers", "method": "methods"}
"""The keys of a run whose values are a study's only student, teacher or method."""
OF_STUDY = ("out", "seeds", "baseline", "recipe")
"""The keys of a run that a study sets for each trial."""


class StudySettings(BaseModel):
    """The keys of a study that aren't a run's."""

    model_config = ConfigDict(extra="forbid", validate_default=True, strict=True)

    students: NetworkSpecs = Field([], description="networks that are taught: names, or {model: …, weights: …}")
    teachers: Teachers = Field(
        [],
        description="networks that teach, each in its turn: names, which the study trains once, run folders, "
        "{model: …, epochs: …}, or lists of several that teach together",
    )
    pairs: list[str | PairEntry] = Field(
        [],
        max_length=500,
        description="TEACHER:STUDENT, or {teacher: …, student: …}, in place of all students with all teachers",
    )
    protocol: str | None = Field(
        None, description="published protocol whose keys and methods the study has (tutelage list protocols)"
    )
    methods: list[str | MethodEntry] = Field(
        [],
        max_length=500,
        description="losses, sums and recipes, or {name: …, method: …, …keys of a run}; NAME@3 has three teachers. The "
        "student alone and kd are always there",
    )
    seeds: int = Field(3, ge=1, le=1000, description="trainings of each student with each method, for intervals")
    leaders: int = Field(
        0, ge=0, le=500, description="methods, the best ones on validation, that get further seeds in the end"
    )
    leader_seeds: int = Field(5, ge=1, le=1000, description="seeds of the leaders, and of the student alone and kd")
    out: NameOrPath = Field("runs/study", description="the study's folder; a study that is there goes on")
    engine: str = Field("processes", description="what runs the trials: processes on this machine, or ray")
    processes: int | None = Field(
        None, ge=1, le=4096, description="trials at once; None: one for each GPU, or for each core"
    )
    threads: int = Field(1, ge=1, le=1024, description="threads of each trial on the CPU")
    cache: bool = Field(True, description="compute the outputs of trained teachers once for all trials")
    budget: str | None = Field(
        None,
        description="stops methods early by their validation figures, so that the study costs about 30m, 2h or "
        "5000steps",
    )

    @field_validator("pairs")
    @classmethod
    def _readable_pairs(cls, pairs: list[str | Spec]) -> list[str | Spec]:
        for pair in pairs:
            read_pair(pair)
        return pairs

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, engine: str) -> str:
        return engines.find(engine).name

    @field_validator("budget")
    @classmethod
    def _readable_budget(cls, budget: str | None) -> str | None:
        found = TIME.fullmatch(budget or "1s") or STEPS.fullmatch(budget or "")
        if found is None or not 0 < float(found[1]) < math.inf:
            raise ValueError("expected a time above 0 such as 90s, 30m or 2h, or a number of steps such as 5000steps")
        return budget

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds; None if it is none, or in steps."""
        found = TIME.fullmatch(self.budget or "")
        return float(found[1]) * SECONDS[found[2]] if found else None

    @property
    def budget_steps(self) -> int | None:
        """The budget in training steps; None if it is none, or a time."""
        found = STEPS.fullmatch(self.budget or "")
        return int(found[1]) if found else None


def read_pair(pair: str | Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the teacher and the student of an entry of `pairs`.

    Raises: ValueError if it isn't TEACHER:STUDENT, or a mapping with these two keys.
    """
    if isinstance(pair, Mapping) and {*pair} == {"teacher", "student"}:
        return pair["teacher"], pair["student"]
    names = [name.strip() for name in pair.split(":")] if isinstance(pair, str) else []
    if len(names) != 2 or not all(names):
        raise ValueError(
            f"{pair}: expected TEACHER:STUDENT, such as resnet32x4:resnet8x4, or, for names with a colon, "
            "{teacher: …, student: …}"
        )
    return names[0], names[1]


def read(
    file: Path | None = None, words: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> tuple[StudySettings, dict[str, Any]]:
    """Return a study's settings, and the keys of all its runs; the later of file, words and values win.

    A study that is there already has its own keys, and gets the students, teachers and methods that it doesn't have.

    Raises: ConfigError that lists all faults.
    """
    kinds = schema.key_types() | schema.key_types(StudySettings)
    given = parsing.read_file(file, kinds) if file is not None else {}
    if file is not None and file.name == FILE and (file.parent / store.FILE).is_file():
        given["out"] = str(file.parent if file.parent.name else file.parent.resolve())  # it may have been moved
    given = {**given, **parsing.parse_pairs(words, kinds), **(values or {})}
    given = _in_plural({key: to_plain(value) for key, value in given.items()})
    _refuse_objects(given)
    folder = Path(str(given.get("out") or StudySettings.model_fields["out"].default))
    before = recorded(folder) if (folder / FILE).is_file() else {}
    grown = {key: [*before[key], *(x for x in given[key] if x not in before[key])] for key in LISTS if
             key in before and isinstance(given.get(key), list)}  # fmt: skip
    return separate({**before, **given, **grown})


def recorded(folder: Path) -> dict[str, Any]:
    """Return the keys that a study's folder records.

    Raises: ConfigError if they can't be read, or aren't a study's.
    """
    keys = parsing.read_file(folder / FILE, schema.key_types() | schema.key_types(StudySettings))
    try:
        settings, of_runs = separate(keys)
    except ConfigError as error:
        raise ConfigError(f"{folder / FILE}: {error}") from error
    return settings.model_dump() | of_runs


def _refuse_objects(given: Mapping[str, Any]) -> None:
    """Refuse values that another process can't read by name.

    Raises: ConfigError.
    """
    for key, value in given.items():
        try:
            json.dumps(value)
        except TypeError as error:
            named = "such as python:MODULE:CALLABLE"
            if key in ("method", "methods"):
                named = "and options in a mapping: {name: hot, method: [{name: kd, temperature: 8}]}"
            raise ConfigError(
                f"{key}={type(value).__name__} …: a study's runs are processes of their own, which read everything by "
                f"name: give a name, {named}."
            ) from error


def write(settings: StudySettings, keys: Mapping[str, Any]) -> None:
    """Write a study's keys into its folder."""
    write_text(Path(settings.out) / FILE, parsing.dump({**settings.model_dump(), **keys}))


def _in_plural(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys with a run's student, teacher and method as the study's only ones.

    Raises: ConfigError for a key that is set twice.
    """
    if twice := [key for key, plural in SINGULAR.items() if key in given and plural in given]:
        raise ConfigError(f"{twice[0]} and {SINGULAR[twice[0]]} are both set: leave one of them out.")
    return {
        SINGULAR.get(key, key): value if key not in SINGULAR else [] if value in (None, "none") else [value]
        for key, value in given.items()
    }


def separate(given: Mapping[str, Any]) -> tuple[StudySettings, dict[str, Any]]:
    """Separate a study's keys from those of its runs.

    Raises: ConfigError for keys that a study sets itself, and for a key that is set twice.
    """
    given = _in_plural(given)
    if given.get("protocol") is not None:
        given = protocols.find(str(given["protocol"])).complete(given)
    elif not given.get("pairs"):
        embedded = embedded_defaults(given)
        given = {SINGULAR[key]: [embedded[key]] for key in ("student", "teacher") if key in embedded} | given
    if given.get("pairs") and (named := [key for key in ("students", "teachers") if given.get(key)]):
        raise ConfigError(
            f"pairs name their networks, and {named[0]} is set too, here or by the study in the folder: leave one of "
            "them out, or choose another folder (out=…)."
        )
    own = {key: value for key, value in given.items() if key in StudySettings.model_fields}
    keys = {key: value for key, value in given.items() if key not in StudySettings.model_fields}
    if fixed := [key for key in keys if key in OF_STUDY]:
        raise ConfigError(f"{fixed[0]}={keys[fixed[0]]}: a study sets it for each of its runs: leave it out.")
    try:
        settings = StudySettings(**own)
    except ValidationError as error:
        raise ConfigError(describe_faults(error, StudySettings.model_fields, own)) from error
    if settings.leaders and settings.leader_seeds <= settings.seeds:
        raise ConfigError(
            f"leader_seeds={settings.leader_seeds}: with seeds={settings.seeds} there is none left for the leaders: "
            "expected more than seeds; or leave leaders out."
        )
    for name in {key for key in keys if key not in schema.Config.model_fields}:
        schema.check({name: keys[name]})  # which refuses it, with the nearest key
    return settings, keys
