"""A term wires one loss to layers, a connector, a weight and policies."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tutelage.data.mixing import by_target, is_mixed
from tutelage.errors import ConfigError, unknown
from tutelage.losses.base import Loss, LossValues
from tutelage.nn import connectors
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective import masking, multitask, parts
from tutelage.objective.auto_weight import PROTOCOL_STEPS, auto_weight
from tutelage.objective.pairing import layer_list
from tutelage.objective.reduction import mean, multiply
from tutelage.objective.wiring import Wiring, WiringRequest, available_inputs, repeat_inputs, wire
from tutelage.policies.base import SampleWeight, Schedule, Temperature, Weight
from tutelage.policies.parsing import describe_policy, parse_samples, parse_temperature, parse_weight
from tutelage.policies.weight.gradient_ratio import GradientRatio
from tutelage.structures import PART, Batch, Outputs
from tutelage.utils.dataclass_module import DataclassModule
from tutelage.utils.distributed import all_gather_samples, count_samples
from tutelage.utils.options import CheckedArguments, EpochsOrZero, Layers, NonNegative, Number
from tutelage.utils.stream_names import LABELLED, STREAMS

FIRST_STEP = 1e-3
"""The epoch that the warm-up takes for the first step."""


class Term(CheckedArguments, nn.Module):
    """One loss at a weight, between layers of the student and the teacher.

    weight: a number, or a policy that sets it in training (a schedule, or one that depends on the other terms); "paper"
    takes the paper's, "auto" the paper's share of the gradient (`auto_weight`); None leaves it to the run, and is the
    paper's without one. warmup: epochs over which the weight grows linearly from 0; None: the paper's share of the
    training, as the run sets it, and 0 without one. temperature: a policy that softens
    both sides' logits before the loss, in addition to the loss's own temperature. samples: a policy that weighs the
    samples. A policy is an object, or `{name: ramp, …its options}`. student, teacher: layer names (`tutelage layers
    MODEL`), one or several, as many on each side; "auto" pairs them by resolution and depth. connector: a name of
    `tutelage.nn.connectors` or a callable (student example, teacher example) → module; None takes the loss's. gather:
    whether the loss gets the samples of all processes at once, for losses that compare samples with each other.
    task_loss_weight: the weight of the task's own loss where the method doesn't name one; None takes the paper's.
    stream: the only stream of the training data whose samples it compares (data={labelled: …, unlabelled: …}); None:
    all, or the labelled one if the loss uses targets. part: the name of the part of both models' outputs that the loss
    compares, where these are mappings (`{"logits": …, "embedding": …}`); None: their responses.
    A loss of responses compares layers if some are named; a dense one, the last maps if responses have no positions.
    Example:
        >>> from tutelage import AT, Term
        >>> term = Term(AT(), weight=10, student="layer2", teacher="layer3")
        >>> term.request.layers, term.weight
        ({'student': ['layer2'], 'teacher': ['layer3']}, 10.0)
    """

    def __init__(
        self,
        loss: Loss,
        weight: Number | Weight | Schedule | Mapping[str, Any] | Literal["auto", "paper"] | None = None,
        student: Layers = "auto",
        teacher: Layers = "auto",
        connector: str | connectors.ConnectorFactory | None = None,
        warmup: EpochsOrZero | None = None,
        gather: bool = False,
        temperature: Temperature | Schedule | Mapping[str, Any] | None = None,
        samples: SampleWeight | Mapping[str, Any] | None = None,
        task_loss_weight: NonNegative | None = None,
        stream: str | None = None,
        part: str | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.given = {"weight": weight, "warmup": warmup, "task_loss_weight": task_loss_weight}
        published = auto_weight(loss, PROTOCOL_STEPS) if weight == "auto" else loss.default_weight
        self.weight = parse_weight(published if weight in (None, "auto", "paper") else weight)
        self.temperature = None if temperature is None else parse_temperature(temperature)
        self.samples = None if samples is None else parse_samples(samples)
        self.warmup = float(warmup or 0.0)
        self.task_loss_weight = loss.task_loss_weight if task_loss_weight is None else float(task_loss_weight)
        self.gather = gather
        self.loss_inputs: dict[DataclassModule, tuple[str, ...]] = {
            part: (*part.required_inputs(), *part.required_inputs(optional=True))
            for part in (loss, *self.policies().values())
        }
        if stream not in (None, *STREAMS):
            raise ConfigError(unknown("stream", str(stream), STREAMS))
        self.stream = self.default_stream if stream is None else stream
        if self.stream != LABELLED and any("targets" in part.required_inputs() for part in self.loss_inputs):
            raise ConfigError(f"stream={stream} has no targets, which {type(loss).__name__} requires: remove stream.")
        self.part = part
        layers = {"student": layer_list(student), "teacher": layer_list(teacher)}
        self.request = WiringRequest(
            loss.compares if part is None else parts.kind_of_part(loss, part, layers),
            layers,
            connector if connector is not None else loss.connector,
        )
        if isinstance(self.request.connector, str) and self.request.connector:
            connectors.require_known(self.request.connector)
        self.connectors = nn.ModuleList()
        builds = {type(part).build for part in (loss, *self.policies().values())}
        nothing_to_build = builds <= {Loss.build, Temperature.build, SampleWeight.build}
        self.wiring = Wiring("response") if loss.compares == "response" and nothing_to_build else None
        if self.wiring is not None and part is not None:
            self.wiring = parts.with_part(self.wiring, part)

    def wire(
        self,
        student: ModelProfile,
        teacher: ModelProfile | None,
        batch: Batch,
        samples: int,
        provides: Iterable[str] = (),
        request: WiringRequest | None = None,
    ) -> None:
        """Choose the layers, and size the connectors and the loss's learned parts from one example of each side.

        samples: the training set's size. provides: the inputs that the scheme adds to each batch. request: what to
        compare, if it isn't what the term's options request.
        """
        if self.part is None:
            self._wire(student, teacher, batch, samples, provides, request)
            return
        student, teacher = parts.profiles_of_part(self.loss, self.part, student, teacher)
        batch = parts.batch_of_part(self.loss, self.part, student, batch)
        self._wire(student, teacher, batch, samples, provides, None)
        assert self.wiring is not None
        self.wiring = parts.with_part(self.wiring, self.part, student, teacher)

    def _wire(
        self,
        student: ModelProfile,
        teacher: ModelProfile | None,
        batch: Batch,
        samples: int,
        provides: Iterable[str],
        request: WiringRequest | None,
    ) -> None:
        policies = list(self.policies().values())
        self.wiring = wire(self.loss, policies, request or self.request, student, teacher, batch, provides)
        if teacher is None or self.wiring.compares == "response":
            response = None if teacher is None else self._side("teacher", teacher)
            student_response = self._side("student", student)
            if response is not None and self.loss.compares == "embedding" and self.wiring.connector:
                connector = connectors.build_connector(self.wiring.connector, student_response, response)
                self.connectors = nn.ModuleList([connector])
                student_response = connector(student_response).detach()
            self.loss.build(student_response, response, samples)
            if teacher is not None and policies:
                self._build_policies(student, teacher, batch)
        else:
            self._build_features(self.wiring, student, teacher, batch, samples)

    def settle(self, auto: bool, epochs: int, steps: int) -> None:
        """Set the weight and the warm-up that its options leave open, for a training of this length.

        auto: whether an open weight follows the paper's share of the gradient (`auto_weight`).
        """
        if self.given["weight"] == "auto" or (auto and self.given["weight"] is None):
            self.weight = auto_weight(self.loss, steps)
        if self.given["warmup"] is None:
            self.warmup = self.loss.warmup_share * epochs

    def compare_responses(self, connector: str | connectors.ConnectorFactory = "") -> None:
        """Compare the responses where it would compare the embeddings before them; named layers stay.

        connector: maps the student's response to the teacher's.
        """
        if self.request.compares == "embedding" and not any(self.request.layers.values()):
            self.request = replace(self.request, compares="response", connector=connector)

    def _build_features(
        self, wiring: Wiring, student: ModelProfile, teacher: ModelProfile, batch: Batch, samples: int
    ) -> None:
        """Size the connectors and the loss's learned parts from features."""
        student_features = [wiring.to_loss_format(student.feature(layer)) for layer in wiring.student_layers]
        teacher_features = [wiring.to_loss_format(teacher.feature(layer)) for layer in wiring.teacher_layers]
        if wiring.connector:
            sides = zip(student_features, teacher_features, strict=True)
            self.connectors = nn.ModuleList([connectors.build_connector(wiring.connector, s, t) for s, t in sides])
            self.connectors.eval()
            with torch.no_grad():
                student_features = self._connected(student_features)
            self.connectors.train()
        self._head_logits(wiring, student_features, available_inputs(batch, student, teacher))  # may refuse them
        if self.loss.compares == "review":
            self.loss.build(student_features, teacher_features, samples)
        else:
            self.loss.build(student_features[0], teacher_features[0], samples)

    def _build_policies(self, student: ModelProfile, teacher: ModelProfile, batch: Batch) -> None:
        """Build the policies, and refuse those that can't multiply the loss's values."""
        student_logits, teacher_logits = student.response, teacher.response
        for policy in (self.temperature, self.samples):
            if policy is not None:
                policy.build(student_logits, teacher_logits)
        probe = copy.deepcopy(self).eval()
        loss_kwargs = self._loss_kwargs(available_inputs(batch, student, teacher))
        with torch.no_grad():
            for times_over in (1, 2):  # a value for each class shows itself in one of them
                of_these = repeat_inputs(loss_kwargs, len(batch), len(student_logits), times_over)
                probe._compare(
                    torch.cat([student_logits] * times_over), torch.cat([teacher_logits] * times_over), of_these
                )

    @property
    def default_stream(self) -> str | None:
        """The stream that it compares if none is named: the labelled one if it uses ground truth, else None, all."""
        return LABELLED if any(map(self.uses, ("targets", "objects", "boxes"))) else None

    def uses(self, name: str) -> bool:
        """Return whether the loss or a policy takes this input of the batch."""
        return any(name in names for names in self.loss_inputs.values())

    @property
    def auto_share(self) -> float | None:
        """The share of the gradient that it has by `auto_weight`; None if its weight is another."""
        is_open = self.given["weight"] in (None, "auto")
        return self.weight.ratio if is_open and isinstance(self.weight, GradientRatio) else None

    @property
    def compares(self) -> str:
        """The kind of outputs that it compares."""
        return self.loss.compares if self.wiring is None else self.wiring.compares

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The student's layers to capture; none before wiring."""
        return () if self.wiring is None else self.wiring.student_layers

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """The teacher's layers to capture; none before wiring."""
        return () if self.wiring is None else self.wiring.teacher_layers

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of layers in words, with their shapes; none before wiring."""
        return () if self.wiring is None else self.wiring.pairs

    def policies(self) -> dict[str, Temperature | SampleWeight]:
        """Return the policies of its temperature and of its sample weights, if it has any."""
        both = {"temperature": self.temperature, "samples": self.samples}
        return {name: policy for name, policy in both.items() if policy is not None}

    def forward(
        self,
        student_outputs: Outputs,
        teacher_outputs: Outputs | None,
        batch: Batch,
        mask: Tensor | None = None,
        task_loss: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted mean of the loss; features of several layer pairs are added.

        task_loss: the sum of the terms that need no teacher, for weights that depend on it.
        Raises: ConfigError if its layers or learned parts aren't there yet.
        """
        if self.wiring is None:
            raise ConfigError(
                f"{type(self.loss).__name__} isn't wired yet, so its layers and learned parts aren't known: call "
                "Terms.wire or Player.wire with an example first, or train it by a Trainer."
            )
        if self.stream is not None and (batch.streams or self.stream != LABELLED):
            of_stream = batch.stream(self.stream)
            span = slice(*batch.streams[self.stream])
            student_outputs = student_outputs.part(span)
            teacher_outputs = None if teacher_outputs is None else teacher_outputs.part(span)
            batch, mask = of_stream, None if mask is None else mask[span]
        if self.wiring.compares != "response" and teacher_outputs is None:
            raise ConfigError(
                f"{type(self.loss).__name__} compares layers with a teacher's, and got no teacher outputs: pass them "
                "(player(batch, teacher_outputs))."
            )
        if not (self.uses("targets") and is_mixed(batch)):
            value = self._mean(self.wiring, student_outputs, teacher_outputs, batch, mask)
        else:
            sides = student_outputs, teacher_outputs
            values = [share * self._mean(self.wiring, *sides, part, mask) for share, part in by_target(batch)]
            value = torch.stack(values).sum()
        return self._weighted(value, batch.epoch, task_loss)

    def _mean(
        self,
        wiring: Wiring,
        student_outputs: Outputs,
        teacher_outputs: Outputs | None,
        batch: Batch,
        mask: Tensor | None,
    ) -> Tensor:
        """Return the mean of the loss, without its weight."""
        if wiring.compares == "response" or teacher_outputs is None:
            return self._of_responses(student_outputs, teacher_outputs, batch, mask)
        return self._of_features(wiring, student_outputs, teacher_outputs, batch)

    def _of_responses(
        self, student_outputs: Outputs, teacher_outputs: Outputs | None, batch: Batch, mask: Tensor | None
    ) -> Tensor:
        """Return the mean of the loss of the responses, at the positions of the mask."""
        loss_kwargs = self._loss_kwargs(available_inputs(batch, student_outputs, teacher_outputs))
        student = self._side("student", student_outputs)
        student = self.connectors[0](student) if self.connectors else student
        teacher = None if teacher_outputs is None else self._side("teacher", teacher_outputs)
        if self.gather:
            student, teacher, loss_kwargs, mask = all_gather_samples(
                [student, teacher, loss_kwargs, mask], count_samples(student)
            )
        if self.part is not None:  # the mask is of the response's positions
            targets = parts.targets_of(self.part, student_outputs) if self.uses("targets") else None
            mask = None if targets is None else targets.isfinite().all(1)
            loss_kwargs |= {} if mask is None else {"targets": masking.select_positions(targets, mask)}
        if mask is None or not self.loss.maskable:
            values = self._compare(student, teacher, loss_kwargs)
        else:
            by_position = self.loss.by_position and not (self.policies() or self._columns())
            compare = masking.values_at if by_position else masking.compare_at
            values = compare(mask, self._compare, student, teacher, loss_kwargs)
        return mean(values, mask is not None or self.loss.data_dependent_size or bool(self._columns()))

    def _of_features(self, wiring: Wiring, student_outputs: Outputs, teacher_outputs: Outputs, batch: Batch) -> Tensor:
        """Return the sum, over the layer pairs, of the mean of the loss."""
        available = available_inputs(batch, student_outputs, teacher_outputs)
        student = self._connected([wiring.to_loss_format(student_outputs[layer]) for layer in wiring.student_layers])
        teacher = [wiring.to_loss_format(teacher_outputs[layer]) for layer in wiring.teacher_layers]
        loss_kwargs = self._loss_kwargs(available) | self._head_logits(wiring, student, available)
        if self.gather:
            student, teacher, loss_kwargs = all_gather_samples(
                [student, teacher, loss_kwargs], len(student_outputs.response)
            )
        if self.loss.compares == "review":
            return mean(self.loss(student, teacher, **loss_kwargs))
        return torch.stack([mean(self.loss(s, t, **loss_kwargs)) for s, t in zip(student, teacher, strict=True)]).sum()

    def _connected(self, features: list[Tensor]) -> list[Tensor]:
        """Return the student's features behind their connectors, if there are any."""
        if not self.connectors:
            return features
        return [connect(x) for connect, x in zip(self.connectors, features, strict=True)]

    def _head_logits(self, wiring: Wiring, features: list[Tensor], available: Mapping[str, Any]) -> dict[str, Any]:
        """Return the logits of each teacher's own classifier on the student's features, if the loss requires them."""
        if "teacher_head_logits" not in self.loss_inputs[self.loss]:
            return {}
        heads = [available["heads"][int(layer.partition(".")[0])] for layer in wiring.teacher_layers]
        return {"teacher_head_logits": connectors.head_logits([wiring.to_vector(x) for x in features], heads)}

    def _side(self, side: str, outputs: ModelProfile | Outputs) -> Any:
        """Return a side's response or part, or the list of its members' responses if the loss takes such."""
        if self.part is not None and isinstance(outputs, Outputs):
            return outputs[PART + self.part]
        if side not in self.loss.list_inputs:
            return outputs.response
        members = outputs.member_outputs if isinstance(outputs, Outputs) else outputs.member_profiles
        return [member.response for member in members]

    def _columns(self) -> tuple[int, ...]:
        return () if self.wiring is None else self.wiring.columns

    def _compare(self, student: Any, teacher: Any, loss_kwargs: dict[str, Any]) -> LossValues:
        """Return the loss of two responses, of each label column by itself."""
        return multitask.compare_by_column(self._compare_column, self._columns(), student, teacher, loss_kwargs)

    def _compare_column(self, student: Tensor, teacher: Tensor | None, loss_kwargs: dict[str, Any]) -> LossValues:
        """Return the loss of two responses, softened and weighted sample by sample by the policies."""
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
        return values if factor is None else multiply(values, factor)

    def _loss_kwargs(self, available: Mapping[str, Any]) -> dict[str, Any]:
        """Return the available inputs that the loss and the policies require."""
        return {name: available[name] for names in self.loss_inputs.values() for name in names if name in available}

    def _for(self, part: DataclassModule, loss_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: loss_kwargs[name] for name in self.loss_inputs[part] if name in loss_kwargs}

    def warm_up(self, epoch: float) -> float:
        """Return the factor of the weight at an epoch; above 0, so that gradients can be compared."""
        return min(max(epoch, FIRST_STEP) / self.warmup, 1.0) if self.warmup else 1.0

    def _weighted(self, value: Tensor, epoch: float, task_loss: Tensor | None) -> Tensor:
        warm = self.warm_up(epoch)
        if isinstance(self.weight, Weight):
            return warm * self.weight(value, task_loss)
        return warm * (self.weight.at(epoch) if isinstance(self.weight, Schedule) else self.weight) * value

    def extra_repr(self) -> str:
        """Return the weight and the wiring."""
        warm = f", warmup={self.warmup}" if self.warmup else ""
        return f"weight={describe_policy(self.weight)}{warm}" + "".join(f"\n{s} ← {t}" for s, t in self.pairs)
