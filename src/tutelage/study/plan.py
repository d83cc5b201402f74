"""The trials of a study: teachers, students alone, and every method with every student, teacher and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage import recipes
from tutelage.config import schema
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.models.estimators.kinds import is_fitted
from tutelage.models.serialization import is_run
from tutelage.runs.plan import needs_training, teacher_overrides
from tutelage.study import protocols
from tutelage.study.methods import ALONE, KD, Method, losses_of, plain_method, read_method
from tutelage.study.settings import StudySettings, read_pair
from tutelage.study.trial import IN_STUDY, TRIAL, StudyTrial
from tutelage.utils.key_types import OF_DATA

BUDGET = ("epochs", "batch_size")
"""The keys that are the same for all students, whatever a recipe has."""
OF_TEACHER = ("student", "student_weights", "epochs", "lr", "scheme", "student_inputs")
"""The keys of a teacher's training that differ from a student's."""
OF_TRAINING = (*schema.TEACHER_BUDGET, "teacher_scheme", "teacher_weights")
"""The keys of a teacher's training."""
OF_CACHE = (
    "ensemble",
    "views",
    "view_seed",
    "cache_storage",
    "channels_last",
    "augment",
    "size",
    "student_size",
    "student_inputs",
)
"""The keys beside the teacher's and the data's that tell caches apart."""


def label(network: Any) -> str:
    """Return a network's name in tables."""
    if isinstance(network, list):
        return " + ".join(map(label, network))
    return str(network.get("model") or network) if isinstance(network, Mapping) else str(network)


class Planner:
    """Makes the trials of a study.

    Args:
        settings: the study's settings.
        keys: the keys of all its runs.
        loaded: data that are loaded, which those that are loaded here join.
        plain_kd: whether plain kd, with which the others are compared, joins them if it isn't named.

    Raises: ConfigError if they contradict each other, or there is no student.
    """

    def __init__(
        self,
        settings: StudySettings,
        keys: Mapping[str, Any],
        loaded: MutableMapping[str, DataModule] | None = None,
        plain_kd: bool = True,
    ) -> None:
        self.protocol = protocols.find(settings.protocol)
        self.pairs = [read_pair(pair) for pair in settings.pairs]
        settings = self._spelled_out(settings, keys.get("epochs"))
        self.settings, self.keys = settings, dict(keys)
        self.students: list[Any] = settings.students
        self.teachers: list[Any] = settings.teachers
        if not self.students:
            raise ConfigError("no students: name some (students=[resnet8x4, mobilenetv2]; see tutelage list models).")
        networks: dict[str, list[Any]] = {"teacher": self.teachers[:1], "student": self.students[:1]}
        first = {role: label(named[0]) if named else "" for role, named in networks.items()}
        self.methods = [read_method(entry, first) for entry in settings.methods]
        self.plain: Method | None = None
        names = [method.name for method in self.methods]
        if twice := [name for name in names if [ALONE, *names].count(name) > 1]:
            whose = ", once for the student alone" if twice[0] == ALONE else ""
            raise ConfigError(f"methods: {twice[0]!r} is there twice{whose}: give one of them another {{name: …}}.")
        base = schema.check({**self.keys, "student": label(self.students[0]), "teacher": "none", "method": None})
        if self.teachers and plain_kd:
            self._have_plain_kd(base, {} if loaded is None else loaded)
        if needy := [method.name for method in self.methods if method.teachers and not self.teachers]:
            raise ConfigError(f"methods: {needy[0]} needs a teacher: name some (teachers=[resnet32x4]).")
        if self.protocol.name and not self.methods:
            known = ", ".join(self.protocol.published_methods)
            raise ConfigError(f"methods: protocol={self.protocol.name} compares none yet: name some of {known}.")
        if base.stages or base.students:
            raise ConfigError("stages and further students are for a method: methods=[{name: …, stages: …}].")
        self.seed, self.epochs = base.seed, base.epochs
        self.keys |= {key: getattr(base, key) for key in BUDGET} | {"split_seed": base.data_seed}
        if settings.cache and base.views is None and any(method.teachers for method in self.methods):
            self.keys["views"] = min(4, self.epochs)

    def trials(self) -> list[StudyTrial]:
        """Return all trials: teachers, students alone, then the methods by seed."""
        teachers = {(i, n): trial for i, teacher in enumerate(self.teachers) for n, trial in self._trained(teacher)}
        used = [trial for trial in teachers.values() if trial is not None]
        seeds = range(self.seed, self.seed + self.settings.seeds)
        alone = [self._alone(student, seed) for seed in seeds for student in self.students]
        taught = [
            trial
            for seed in seeds
            for method in self.methods
            for student in self.students
            for trial in self._taught(method, student, seed, teachers)
        ]
        return [*dict.fromkeys([*used, *alone, *taught])]

    def _spelled_out(self, settings: StudySettings, epochs: Any) -> StudySettings:
        """Return the settings with the networks of the pairs, and the protocol's keys of its methods."""
        networks = zip(("teachers", "students"), zip(*self.pairs, strict=True), strict=True) if self.pairs else ()
        named = {key: [*{repr(network): network for network in each}.values()] for key, each in networks}
        methods = [self.protocol.of_method(entry, epochs) for entry in settings.methods]
        settings = settings.model_copy(update={**named, "methods": methods})
        if self.protocol.name:
            refuse_own_keys(settings.teachers, settings.students, self.protocol.name)
        return settings

    def _have_plain_kd(self, config: schema.Config, loaded: MutableMapping[str, DataModule]) -> None:
        """Put plain kd, with which the others are compared, before the methods if none of them is called so.

        Raises: ConfigError if one is that is another method.
        """
        named = next((method for method in self.methods if method.name == KD), None)
        if named is not None and KD in losses_of(named):
            return
        plain = plain_method(config, loaded)
        if named is None:
            self.plain = plain
            self.methods.insert(0, plain)
        elif not losses_of(plain) & losses_of(named):
            raise ConfigError(
                f"methods: kd: a method of this name is the one that all others are compared with, and it isn't "
                f"{plain.keys['method']}: give it another {{name: …}}."
            )

    def _of_network(self, network: Any) -> dict[str, Any]:
        """Return the study's keys with those of the protocol that a network has of its own."""
        return self.keys | self.protocol.of_network(label(network), self.keys)

    # teachers

    def _trained(self, teacher: Any) -> Iterator[tuple[int, StudyTrial | None]]:
        """Yield the number of each training of a teacher that the methods need, and its trial; None: it is trained."""
        if isinstance(teacher, list):  # several that teach together; the same ones have other seeds, as in a run
            yield from ((n, self._training(each, teacher[:n].count(each))[1]) for n, each in enumerate(teacher))
            return
        most = max((method.teachers for method in self.methods if not method.own), default=0)
        for n in range(max(most, 1)):
            yield self._training(teacher, n)

    def _training(self, teacher: Any, number: int) -> tuple[int, StudyTrial | None]:
        shared = without(self._of_network(teacher), "teacher", teacher)
        config = schema.check({**shared, "student": label(teacher), "teacher": teacher})
        if not needs_training(config):
            return number, None
        plain = {key: value for key, value in shared.items() if not key.startswith(("teacher_", "student_"))}
        overrides = {key: value for key, value in teacher_overrides(config).items() if value is not None}
        kept = {key: overrides[key] for key in OF_TEACHER if key in overrides}
        seed = self.seed + number
        keys = plain | kept | {"teacher": "none", "method": None, "seed": seed, "baseline": False}
        return number, self._checked(StudyTrial("teacher", label(teacher), "", "", seed, keys))

    # students

    def _alone(self, student: Any, seed: int) -> StudyTrial:
        shared = without(self._of_network(student), "student", student)
        keys = {key: value for key, value in shared.items() if not key.startswith("teacher_")}
        keys |= {"student": student, "teacher": "none", "method": None, "seed": seed, "baseline": False}
        return self._checked(StudyTrial("alone", label(student), "", ALONE, seed, keys))

    def _taught(
        self, method: Method, student: Any, seed: int, teachers: Mapping[tuple[int, int], StudyTrial | None]
    ) -> Iterator[StudyTrial]:
        """Yield a trial for each teacher; one for a method without a teacher."""
        keys = without(self._of_network(student), "student", student)
        of_method = {} if method is self.plain and is_fitted(label(student)) else method.keys  # it has its own way
        keys |= {"student": student, "seed": seed, "baseline": False, **of_method}
        if not method.teachers:
            own = {"teacher": method.keys["teacher"]} if "teacher" in method.keys else {}
            plain = {key: value for key, value in keys.items() if not key.startswith("teacher_")} | own
            recipe = isinstance(plain.get("method"), str) and recipes.has(plain["method"])
            plain |= {} if own or recipe else {"teacher": "none"}
            yield self._checked(StudyTrial("method", label(student), "", method.name, seed, plain))
            return
        for i, teacher in enumerate(self.teachers):
            if self.pairs and (teacher, student) not in self.pairs:
                continue
            several = isinstance(teacher, list)
            name = label(teacher) if several or method.teachers == 1 else f"{label(teacher)} ×{method.teachers}"
            own = self.protocol.of_pair(label(teacher), label(student), method.name, self.epochs)
            trial = StudyTrial("method", label(student), name, method.name, seed, keys | own)
            yield self._with_teacher(trial, method, teacher, [t for (number, _), t in teachers.items() if number == i])

    def _with_teacher(
        self, trial: StudyTrial, method: Method, teacher: Any, trained: Sequence[StudyTrial | None]
    ) -> StudyTrial:
        """Return a method's trial with a teacher; trained: the trials that train it, None where it is trained."""
        several = isinstance(teacher, list)
        each = teacher if several else [teacher] * method.teachers
        if method.own:
            models = [label(network) for network in each]
            return self._checked(
                replace(trial, keys={**trial.keys, "teacher": models if len(models) > 1 else models[0]})
            )
        if not several and method.teachers > 1 and trained[0] is None:
            return replace(
                trial,
                fault=f"{method.name} has {method.teachers} teachers, and {label(teacher)} is one: name a model, which "
                "the study trains as often, or teachers=[[a, b, c]].",
            )
        networks = [as_trained(network, by) for network, by in zip(each, trained, strict=False)]
        done = OF_TRAINING if any(trained) else ()
        keys = {key: x for key, x in without(trial.keys, "teacher", teacher).items() if key not in done}
        keys = written_out(keys, label(teacher)) | {"teacher": networks if len(networks) > 1 else networks[0]}
        return self._cached(replace(trial, keys=keys))

    def _cached(self, trial: StudyTrial) -> StudyTrial:
        """Let a trial read its teacher's outputs from the study's cache, if its configuration allows it."""
        checked = self._checked(trial)
        if not self.settings.cache or "cache" in trial.keys or checked.fault or is_fitted(trial.student):
            return checked
        config, of_data = schema.check(trial.keys), [*schema.keys_with_mark(OF_DATA), *OF_CACHE]
        if any({*of_data, "teacher"} & stage.keys() for stage in config.stages):
            return checked  # the outputs of one of its teachers would be looked for in the cache of another
        of_recipe = {key: x for key, x in config.changed().items() if key not in OF_TRAINING}
        kept = {k: x for k, x in {**of_recipe, **trial.keys}.items() if k in of_data or k.startswith("teacher")}
        kept["scheme"] = config.scheme_name  # some hold samples out
        name = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
        cached = self._checked(replace(trial, keys={**trial.keys, "cache": f"{IN_STUDY}caches/{name}"}))
        return checked if cached.fault else cached

    def _checked(self, trial: StudyTrial) -> StudyTrial:
        """Return the trial with its configuration's faults, if it has any."""
        try:
            schema.check(trial.keys)
        except ConfigError as error:
            return replace(trial, fault=" ".join(str(error).split()))
        return trial


def refuse_own_keys(teachers: Sequence[Any], students: Sequence[Any], protocol: str) -> None:
    """Refuse networks with keys of their own, other than a trained teacher's weights, under a published protocol.

    Raises: ConfigError.
    """
    flat = [network for each in teachers for network in (each if isinstance(each, list) else [each])]
    for networks, known in ((flat, {"model", "weights", "device"}), (students, {"model"})):
        for network in networks:
            if isinstance(network, Mapping) and (own := sorted({*network} - known)):
                raise ConfigError(
                    f"{label(network)}: {own[0]}={network[own[0]]}: protocol={protocol} sets it for all networks: "
                    "leave it out, or leave protocol out."
                )


def without(keys: Mapping[str, Any], role: str, network: Any) -> dict[str, Any]:
    """Return keys without those that a network sets itself, and without a teacher's budget for a run's folder."""
    own = {f"{role}_{key}" for key in network} if isinstance(network, Mapping) else set()
    if role == "teacher" and isinstance(network, str) and is_run(network):
        own = {*schema.TEACHER_BUDGET}
    return {key: value for key, value in keys.items() if key not in own}


def written_out(keys: Mapping[str, Any], teacher: str) -> dict[str, Any]:
    """Return a run's keys with the stages of its recipe, which may follow from the name of the teacher's model."""
    text = keys.get("method")
    if not isinstance(text, str) or not recipes.has(text):
        return dict(keys)
    written = recipes.load(text, {**keys, "teacher": teacher, "student": label(keys["student"])})
    return {**written, **{key: x for key, x in keys.items() if key != "method"}} if "stages" in written else dict(keys)


def as_trained(network: Any, trial: StudyTrial | None) -> Any:
    """Return a teacher as a run names it: by the trial that trains it, without the options of its training."""
    if trial is None:
        return network
    if isinstance(network, str):
        return TRIAL + trial.id
    options = {key: value for key, value in network.items() if f"teacher_{key}" not in OF_TRAINING}
    return options | {"model": TRIAL + trial.id}
