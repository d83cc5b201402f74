"""A term wires one loss to layers, a connector, a weight and policies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Dense, Loss, Losses
from tutelage.nn import connectors
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective import multitask
from tutelage.objective.pairing import in_words, layer_list, pairs_of
from tutelage.policies.base import SampleWeight, Schedule, Temperature, Weight
from tutelage.policies.parsing import ScheduledTemperature, parse_policy
from tutelage.policies.parsing import policy_spec as told_of
from tutelage.structures import Batch, Outputs
from tutelage.utils.dataclass_module import DataclassModule, build_from_options
from tutelage.utils.distributed import gathered, samples_of
from tutelage.utils.options import Checked, EpochsOrZero, Layers, NonNegative, Number, of_options
from tutelage.utils.registry import catalogue_name, find

WIRING = ("weight", "student", "teacher", "connector", "warmup", "gather", "samples", "task_loss_weight")
"""What a term is told beside its loss."""

OF_FACT = {"teacher_head_logits": "heads"}
"""What a loss may ask for that the term makes of a fact of the teacher's."""


class Term(Checked, nn.Module):
    """One loss at a weight, between layers of the student and the teacher.

    weight: a number, or a policy that sets it in training (a schedule, or one that goes by the other terms); None takes
    the paper's. warmup: epochs over which the weight grows linearly from 0. temperature: a policy that softens both
    sides' logits before the loss sees them, beside its own temperature if it has one. samples: a policy of what each
    sample counts. Policies are given as such, or as `{name: ramp, …its options}`. student, teacher: layer names
    (`tutelage layers MODEL`), one or as many on each side; "auto" pairs them by resolution and depth. connector: a name
    of `tutelage.nn.connectors` or a callable (student example, teacher example) → module; None takes the loss's.
    gather: whether the loss sees the samples of all processes at once, for losses that compare samples with each other.
    task_loss_weight: the weight of the task's own loss where the method doesn't name one; None takes the paper's.
    A loss of responses compares layers if some are named, a dense one the last maps if responses have no positions.
    """

    def __init__(
        self,
        loss: Loss,
        weight: Number | Weight | Schedule | Mapping[str, Any] | None = None,
        student: Layers = "auto",
        teacher: Layers = "auto",
        connector: str | connectors.Maker | None = None,
        warmup: EpochsOrZero = 0.0,
        gather: bool = False,
        temperature: Temperature | Schedule | Mapping[str, Any] | None = None,
        samples: SampleWeight | Mapping[str, Any] | None = None,
        task_loss_weight: NonNegative | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.weight = _weight(loss.default_weight if weight is None else weight)
        self.temperature = None if temperature is None else _temperature(temperature)
        self.samples = None if samples is None else _samples(samples)
        self.warmup = float(warmup)
        self.task_loss_weight = loss.task_loss_weight if task_loss_weight is None else float(task_loss_weight)
        self.gather = gather
        self.compares = loss.compares
        self.loss_inputs = {
            part: (*part.required_inputs(), *part.required_inputs(optional=True)) for part in self._askers()
        }
        self.requested_layers = {"student": layer_list(student), "teacher": layer_list(teacher)}
        self.connector = connector if connector is not None else loss.connector
        if isinstance(self.connector, str) and self.connector:
            connectors.known(self.connector)
        self.connectors = nn.ModuleList()
        self.columns: tuple[int, ...] = ()
        self.student_layers: list[str] = []
        self.teacher_layers: list[str] = []
        self.pairs: list[tuple[str, str]] = []
        builds = {type(part).build for part in (loss, self.temperature, self.samples) if part is not None}
        self.wired = self.compares == "response" and builds <= {Loss.build, Temperature.build, SampleWeight.build}

    def wire(self, student: ModelProfile, teacher: ModelProfile | None, batch: Batch, samples: int) -> None:
        """Choose the layers, and size the connectors and the loss's learned parts from one example of each side."""
        self.wired = True
        name = type(self.loss).__name__
        self._refuse_single({"student": student, "teacher": teacher})
        answer = None if teacher is None else Outputs(teacher.response, metadata=teacher.metadata)
        there = _available(batch, Outputs(student.response, metadata=student.metadata), answer)
        missing = [
            ask for part in self._askers() for ask in part.required_inputs() if OF_FACT.get(ask, ask) not in there
        ]
        if missing:
            raise ConfigError(
                f"{name} asks for {', '.join(missing)}, which this data and teacher don't give; "
                f"they give {', '.join(there)}."
            )
        self.columns = batch.columns
        if teacher is None and self.loss.needs_teacher:
            raise ConfigError(f"{name} needs a teacher, and none was given; name one (teacher=…).")
        without_positions = isinstance(self.loss, Dense) and student.response.dim() == 2
        if (
            teacher is not None
            and self.compares == "response"
            and (any(self.requested_layers.values()) or without_positions)
        ):
            self.compares, self.connector = "last", self.connector or "conv1x1"
        multitask.refuse(self.loss, self._askers()[1:], self.compares, teacher, self.columns)
        if teacher is None:
            self.loss.build(self._side("student", student), None, samples)
            self._wire_policies(student, None, batch, there)
            return
        if self.compares == "response":
            self._check_classes(student.response, teacher.response)
            self.loss.build(self._side("student", student), self._side("teacher", teacher), samples)
            self._wire_policies(student, teacher, batch, there)
            return
        self._wire_policies(student, teacher, batch, there)
        pairs = pairs_of(self.loss, self.compares, self.requested_layers, student, teacher)
        pairs = [(self._named(student, s), self._named(teacher, t)) for s, t in pairs]
        self.student_layers, self.teacher_layers = [s for s, _ in pairs], [t for _, t in pairs]
        self.pairs = [(in_words(student, s), in_words(teacher, t)) for s, t in pairs]
        student_features = [self._formed(student.feature(s)) for s in self.student_layers]
        teacher_features = [self._formed(teacher.feature(t)) for t in self.teacher_layers]
        if self.connector:
            made = [
                connectors.make(self.connector, s, t) for s, t in zip(student_features, teacher_features, strict=True)
            ]
            self.connectors = nn.ModuleList(made)
            with torch.no_grad():
                student_features = [connect.eval()(s) for connect, s in zip(made, student_features, strict=True)]
            self.connectors.train()
        self._read_by_heads(student_features, there)  # refuses what can't be read
        if self.loss.compares == "review":
            self.loss.build(student_features, teacher_features, samples)
        else:
            self.loss.build(student_features[0], teacher_features[0], samples)

    def _refuse_single(self, profiles: Mapping[str, ModelProfile | None]) -> None:
        for side, profile in profiles.items():
            if side in self.loss.list_inputs and not (profile is not None and profile.members):
                raise ConfigError(
                    f"{type(self.loss).__name__} takes a list for the {side} (of peers, exits, views or several "
                    "teachers), and there is one: name several teachers (teacher=[a, b]), or a scheme that gives what "
                    "it wants."
                )

    def _read_by_heads(self, features: list[Tensor], there: Mapping[str, Any]) -> dict[str, Any]:
        """What each teacher's own classifier makes of the student's features, if the loss asks for it."""
        if "teacher_head_logits" not in self.loss_inputs[self.loss]:
            return {}
        heads = [there["heads"][int(layer.partition(".")[0])] for layer in self.teacher_layers]
        return {"teacher_head_logits": connectors.head_logits(features, heads)}

    def _side(self, side: str, outputs: ModelProfile | Outputs) -> Any:
        """A side's response, or the list of its members' if the loss takes such."""
        return [member.response for member in outputs.members] if side in self.loss.list_inputs else outputs.response

    def _check_classes(self, student: Tensor, teacher: Tensor) -> None:
        dim = self.loss.class_dim
        if min(student.dim(), teacher.dim()) < 2:
            raise ConfigError(
                f"the student answers {tuple(student.shape)} and the teacher {tuple(teacher.shape)}: expected a value "
                "for each class of each sample."
            )
        if dim is not None and self.loss.needs_teacher and student.shape[dim] != teacher.shape[dim]:
            raise ConfigError(
                f"{type(self.loss).__name__} compares class by class, but the student answers {student.shape[dim]} "
                f"classes and the teacher {teacher.shape[dim]}; use a teacher of the same classes or a feature loss."
            )

    def as_vectors(self) -> bool:
        """Whether its loss sees features averaged over positions."""
        return self.loss.feature_format == "vector" and self.compares == self.loss.compares and not self._flattened()

    def _flattened(self) -> bool:
        """Whether maps come to its loss as they are, which flattens them."""
        return self.loss.flattens and any(self.requested_layers.values())

    def _named(self, profile: ModelProfile, layer: str) -> str:
        """The layer, and as what its tokens are to be captured."""
        if self.loss.feature_format == "map" or self.compares != self.loss.compares:
            return profile.named(layer, "map")
        return profile.named(layer, "patches") if self.as_vectors() or self.connector == "linear" else layer

    def _formed(self, feature: Tensor) -> Tensor:
        if self.loss.feature_format == "map":
            return connectors.as_map(feature)
        return connectors.as_vector(feature) if self.as_vectors() else feature

    def forward(
        self,
        student_outputs: Outputs,
        teacher_outputs: Outputs | None,
        batch: Batch,
        mask: Tensor | None = None,
        truth: Tensor | None = None,
    ) -> Tensor:
        """The weighted mean of the loss; features of several layer pairs are added.

        truth: the sum of the terms that need no teacher, for weights that go by it.
        Raises: ConfigError if its layers or learned parts aren't there yet.
        """
        if not self.wired:
            raise ConfigError(
                f"{type(self.loss).__name__} isn't wired yet, so its layers and learned parts aren't known: call "
                "Terms.wire or Player.wire with an example first, or train it by a Trainer."
            )
        available = _available(batch, student_outputs, teacher_outputs)
        loss_kwargs = {
            name: available[name] for names in self.loss_inputs.values() for name in names if name in available
        }
        if self.compares == "response":
            response, answer = (
                self._side("student", student_outputs),
                None if teacher_outputs is None else self._side("teacher", teacher_outputs),
            )
            if self.gather:
                response, answer, loss_kwargs, mask = gathered(
                    [response, answer, loss_kwargs, mask], samples_of(response)
                )
            if mask is not None and self.loss.maskable:
                response, answer, loss_kwargs = (multitask.rows(side, mask) for side in (response, answer, loss_kwargs))
            values = self._compare(response, answer, loss_kwargs)
            ragged = mask is not None or self.loss.data_dependent_size or bool(self.columns)
            return self._weighed(mean(values, ragged), batch.epoch, truth)
        assert teacher_outputs is not None
        ours = [self._formed(student_outputs[layer]) for layer in self.student_layers]
        theirs = [self._formed(teacher_outputs[layer]) for layer in self.teacher_layers]
        if self.connectors:
            ours = [connect(x) for connect, x in zip(self.connectors, ours, strict=True)]
        loss_kwargs |= self._read_by_heads(ours, available)
        if self.gather:
            ours, theirs, loss_kwargs = gathered([ours, theirs, loss_kwargs], len(student_outputs.response))
        if self.loss.compares == "review":
            value = mean(self.loss(ours, theirs, **loss_kwargs))
        else:
            value = torch.stack([mean(self.loss(s, t, **loss_kwargs)) for s, t in zip(ours, theirs, strict=True)]).sum()
        return self._weighed(value, batch.epoch, truth)

    def _compare(self, student: Any, teacher: Any, loss_kwargs: dict[str, Any]) -> Losses:
        """The loss of two responses, each label column by itself."""
        return multitask.by_column(self._compared, self.columns, student, teacher, loss_kwargs)

    def _compared(self, student: Tensor, teacher: Tensor | None, loss_kwargs: dict[str, Any]) -> Losses:
        """The loss of two responses, as the policies soften them and count their samples."""
        factor: Tensor | None = None
        if self.samples is not None:
            factor = self.samples(student, teacher, **self._for(self.samples, loss_kwargs))
        if self.temperature is not None:
            assert teacher is not None
            student, teacher, square = self.temperature.soften(
                student, teacher, **self._for(self.temperature, loss_kwargs)
            )
            factor = square if factor is None else factor * square
        values = self.loss(student, teacher, **self._for(self.loss, loss_kwargs))
        return values if factor is None else times(values, factor)

    def _weighed(self, value: Tensor, epoch: float, truth: Tensor | None) -> Tensor:
        warm = min(epoch / self.warmup, 1.0) if self.warmup else 1.0
        if isinstance(self.weight, Weight):
            return warm * self.weight(value, truth)
        return warm * (self.weight.at(epoch) if isinstance(self.weight, Schedule) else self.weight) * value

    def policies(self) -> dict[str, DataclassModule]:
        """How the logits are softened and what samples count, where that is asked for."""
        both = {"temperature": self.temperature, "samples": self.samples}
        return {word: given for word, given in both.items() if given is not None}

    def _askers(self) -> list[DataclassModule]:
        return [part for part in (self.loss, self.temperature, self.samples) if part is not None]

    def _for(self, part: DataclassModule, loss_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: loss_kwargs[name] for name in self.loss_inputs[part] if name in loss_kwargs}

    def _wire_policies(
        self, student: ModelProfile, teacher: ModelProfile | None, batch: Batch, there: Mapping[str, Any]
    ) -> None:
        """Build the policies, and refuse those that have nothing to work on."""
        if self.temperature is None and self.samples is None:
            return
        name = type(self.loss).__name__
        if self.compares != "response" or self.loss.class_dim not in (1, None) or self.loss.list_inputs:
            raise ConfigError(f"{name} compares no logits (B, C, …): temperature= and samples= policies need such.")
        if teacher is None or (self.temperature is not None and not self.loss.needs_teacher):
            raise ConfigError(f"{name} has a policy that compares with a teacher, and there is none.")
        ours, theirs = student.response, teacher.response
        if self.temperature is not None:
            self.temperature.build(ours, theirs)
        if self.samples is not None:
            self.samples.build(ours, theirs)
        probe = copy.deepcopy(self).eval()
        loss_kwargs = {name: there[name] for names in self.loss_inputs.values() for name in names if name in there}
        with torch.no_grad():
            for times_over in (1, 2):  # a value for each class shows itself in one of them
                of_these = _repeated(loss_kwargs, len(batch), len(ours), times_over)
                probe._compare(torch.cat([ours] * times_over), torch.cat([theirs] * times_over), of_these)

    def extra_repr(self) -> str:
        """Weight and wiring."""
        warm = f", warmup={self.warmup}" if self.warmup else ""
        weight = "policy" if isinstance(self.weight, DataclassModule) else self.weight
        return f"weight={weight}{warm}" + "".join(f"\n{s} ← {t}" for s, t in self.pairs)


def _available(batch: Batch, student_outputs: Outputs, teacher_outputs: Outputs | None) -> dict[str, Any]:
    """What a loss may ask for by keyword: what the batch has, and what teacher and student tell of themselves."""
    ours = {f"student_{name}": fact for name, fact in student_outputs.metadata.items()}
    return (
        batch.available()
        | ours
        | (
            {}
            if teacher_outputs is None
            else {"teacher_response": teacher_outputs.response, **teacher_outputs.metadata}
        )
    )


def mean(values: Losses, shared: bool = False) -> Tensor:
    """The mean of un-reduced values; of several by name, the sum of their means.

    shared: the number of values differs between processes (masks), so that each counts them all together: the mean of
    the processes' results is then the mean over all values.
    """
    if isinstance(values, Mapping):
        return torch.stack([mean(value, shared) for value in values.values()]).sum()
    if not shared:
        return values.mean() if values.numel() else values.sum()
    count = torch.tensor(float(values.numel()), device=values.device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count /= dist.get_world_size()
    return values.sum() / count.clamp(min=1)


def times(values: Losses, factor: Tensor) -> Losses:
    """Un-reduced values times a number, or times one number a sample or position.

    Raises: ConfigError if they aren't values of samples.
    """
    if isinstance(values, Mapping):
        return {name: cast(Tensor, times(value, factor)) for name, value in values.items()}
    if factor.numel() == 1:
        return factor.reshape(()) * values
    if values.shape[: factor.dim()] != factor.shape:
        raise ConfigError(
            f"the loss gives values {tuple(values.shape)}, not one for each of the {tuple(factor.shape)} samples or "
            "positions that a policy counts apart; use a policy that is the same for all."
        )
    return factor.reshape(*factor.shape, *[1] * (values.dim() - factor.dim())) * values


def _repeated(values: Mapping[str, Any], samples: int, rows: int, times_over: int) -> dict[str, Any]:
    """What comes with a batch, of its first rows, several times over."""
    return {
        name: torch.cat([value[:rows]] * times_over) if isinstance(value, Tensor) and len(value) == samples else value
        for name, value in values.items()
    }


def _weight(given: Any) -> float | Schedule | Weight:
    if not isinstance(given, Mapping | DataclassModule):
        return float(given)
    return cast("Schedule | Weight", parse_policy("weight", given, Schedule, Weight))


def _temperature(given: Any) -> Temperature:
    found = cast("Schedule | Temperature", parse_policy("temperature", given, Schedule, Temperature))
    return ScheduledTemperature(found) if isinstance(found, Schedule) else found


def _samples(given: Any) -> SampleWeight:
    return parse_policy("samples", given, SampleWeight)


READ: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "weight": (Mapping, _weight),
    "temperature": (Mapping, _temperature),
    "samples": (Mapping, _samples),
    "connector": (str, connectors.known),
}
"""What a configuration says of these words, by a value of this type, and what reads it."""


def from_spec(spec: Mapping[str, Any]) -> Term:
    """The term that `{name: at, weight: 0.5, student: layer2, teacher: layer3, …the loss's options}` describes."""
    options = dict(spec)
    wiring = {k: options.pop(k) for k in WIRING if options.get(k) is not None}
    name = options.pop("name", None)
    if not name:
        raise ConfigError(f"a term needs a name: {dict(spec)}; for instance {{name: at, weight: 0.5}}.")
    kind = find("losses", name).load()
    if isinstance(options.get("temperature"), Mapping | DataclassModule):
        wiring["temperature"] = options.pop("temperature")
        options |= {"temperature": 1.0} if "temperature" in kind.names() else {}
    found = of_options(name, kind, options, WIRING) + of_options(name, Term, wiring)
    for word, (values, read) in READ.items():
        if isinstance(wiring.get(word), values):
            try:
                wiring[word] = read(wiring[word])
            except ConfigError as error:
                found.append(f"{name}: {error}")
    if found:
        raise ConfigError("\n".join(found))
    return Term(build_from_options(kind, name, options, WIRING), **wiring)


def spec_of(term: Term) -> dict[str, Any]:
    """What from_spec makes the term of; whatever isn't plain is there by its repr, which from_spec refuses."""
    wiring = {
        "warmup": term.warmup,
        "gather": term.gather or None,
        "task_loss_weight": term.task_loss_weight if term.task_loss_weight != term.loss.task_loss_weight else None,
        "connector": term.connector if term.connector != term.loss.connector else None,
        **{side: names or None for side, names in term.requested_layers.items()},
        **{word: told_of(given) for word, given in term.policies().items()},
        "weight": told_of(term.weight) if isinstance(term.weight, DataclassModule) else term.weight,
    }
    values = {key: value for key, value in {**term.loss.options(), **wiring}.items() if value is not None}
    plain = (str, int, float, bool, list, dict)
    own = {"name": catalogue_name(type(term.loss))}
    return own | {k: v if isinstance(v, plain) else repr(v) for k, v in values.items()}
