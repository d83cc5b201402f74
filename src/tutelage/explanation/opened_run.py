"""A finished run, opened: its data, its task and its trained networks, and what these output for a split."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.config import stages
from tutelage.data.data_module import DataModule
from tutelage.errors import CheckpointError, ConfigError, shown
from tutelage.explanation.base import NotApplicable
from tutelage.models import serialization
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.objective.masking import select_positions
from tutelage.runs import resuming
from tutelage.runs.data import load_probe, with_teacher_views
from tutelage.runs.inputs import Provided
from tutelage.runs.loaded_network import LoadedNetwork
from tutelage.runs.phase import Phase
from tutelage.runs.profiling import as_network, device_of
from tutelage.runs.run import Run
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.training.evaluation import compute_response_in_halves

ROLES = ("teacher", "baseline", "student")
MOST_ROWS = 200_000
"""Rows of a split that are kept, where a sample has many positions."""
LIVE: Mapping[str, Any] = {"cache": False, "teacher_ahead": 0, "devices": 1, "compile": False, "log": []}
"""Keys that differ from the run's, so that nothing is written and the networks run as they are."""


@dataclass(frozen=True)
class Responses:
    """The responses of each role to one split, as rows: of each seed (N, C), and the targets (N, …) of these rows.

    samples: (N,) each row's number in the split. seen: the number of samples.
    """

    by_role: dict[str, list[Tensor]]
    targets: Tensor | None
    samples: Tensor
    seen: int


@dataclass
class OpenedRun:
    """A finished run, its data as its first student gets them, and its networks by role, one for each seed.

    samples: the most samples of a split that a figure uses, evenly spread. probe: another labelled data set, normalised
    and sized as the data.
    """

    run: Run
    data: DataModule
    networks: dict[str, list[nn.Module]]
    samples: int
    probe: DataModule | None = None
    kept: dict[str, Responses] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """The run's task."""
        return self.run.inputs.task

    @property
    def phase(self) -> Phase:
        """The training of the first student."""
        return phases_of(self.run, "student")[0]

    @property
    def phases(self) -> list[Phase]:
        """The trainings of the first student: its stages and the last one, in order."""
        last = self.phase
        return [x for x in self.run.phases() if x.role in ("stage", "student") and x.number == last.number]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder

    @property
    def labels(self) -> dict[str, str]:
        """The roles' names on the page."""
        both = "baseline" in self.networks
        names = {"teacher": "Teacher", "baseline": "Alone", "student": "Taught" if both else "Student"}
        return {role: names[role] for role in self.networks}

    @property
    def students(self) -> list[str]:
        """The roles of students."""
        return [role for role in self.networks if role != "teacher"]

    @cached_property
    def outputs(self) -> int:
        """The number of outputs that the task requires."""
        return self.task.outputs(self.data)

    def part(self, split: str, most: int | None = None) -> tuple[DataModule, Tensor]:
        """Return the data with a part of a split, evenly spread, and its samples' numbers; whole groups aren't cut."""
        return spread(self.data.labelled, split, min(most or self.samples, self.samples))

    def responses(self, split: str) -> Responses:
        """Return the responses of all networks to a split, without augmentation; a network is run once."""
        if split not in self.kept:
            self.kept[split] = self._responses(split)
        return self.kept[split]

    def _responses(self, split: str) -> Responses:
        data, numbers = self.part(split)
        seen: dict[int, list[Tensor]] = {}
        joined: dict[int, Tensor] = {}
        by_role: dict[str, list[Tensor]] = {}
        targets: list[Tensor] = []
        samples: list[Tensor] = []
        for role, networks in self.networks.items():
            for network in networks:
                if id(network) not in seen:
                    seen[id(network)] = []
                    targets, samples = [], []
                    for batch in self.batches(data, split, network):
                        rows, of_rows, index = self._rows(network, batch, len(numbers))
                        seen[id(network)].append(rows)
                        targets += [] if of_rows is None else [of_rows]
                        samples.append(index)
            joined |= {key: torch.cat(parts) for key, parts in seen.items() if key not in joined}
            by_role[role] = [joined[id(network)] for network in networks]
        labels = torch.cat(targets) if targets else None
        return Responses(by_role, labels, numbers[torch.cat(samples)], len(numbers))

    def batches(self, data: DataModule, split: str, network: nn.Module) -> Any:
        """Return the batches of a split, in order and without augmentation, on a network's device."""
        return data.batches(split, self.run.config.batch_size, train=False, device=device_of(network))

    def respond(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return a network's response to a batch, as the task evaluates it."""
        model = as_network(network)
        with eval_no_grad(model):
            return self.task.response(compute_response_in_halves(model, batch, self.task.infer), batch).float()

    def _rows(self, network: nn.Module, batch: Batch, count: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the rows of responses that count, their targets, and each one's sample."""
        response = self.respond(network, batch)
        if self.task.response_kind == "detections" or not self.task.fits(response, self.outputs):
            raise NotApplicable(f"the outputs, {self.task.response_kind} {tuple(response.shape)}, can't be put in rows")
        targets, mask = _by_position(batch.targets, response, self.task.mask(batch))
        index = torch.arange(len(response), device=response.device) if batch.index is None else batch.index
        number = index.view(-1, *(1 for _ in response.shape[2:])).expand(len(response), *response.shape[2:])
        chosen = torch.ones_like(number, dtype=torch.bool) if mask is None else mask
        step = max(1, chosen.numel() // len(response) * count // MOST_ROWS)
        rows = select_positions(response, chosen)[::step]
        of_rows = None if targets is None else targets[chosen][::step]
        return rows.cpu(), None if of_rows is None else of_rows.cpu(), number[chosen][::step].cpu()


def _by_position(targets: Tensor | None, response: Tensor, mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return the targets with those of one position last, and the mask of positions.

    A mask of single outputs becomes NaN among the targets: networks can be compared there nevertheless.
    """
    if targets is None or targets.dim() != response.dim():
        return targets, mask
    if mask is not None and mask.shape == response.shape:
        targets, mask = targets.float().masked_fill(~mask, float("nan")), None
    return targets.movedim(1, -1), mask


def spread(data: DataModule, split: str, most: int) -> tuple[DataModule, Tensor]:
    """Return the data with a part of a split, evenly spread, and its samples' numbers; whole groups aren't cut."""
    samples = getattr(data, split)
    if samples.whole_groups or len(samples) <= most:
        return data, torch.arange(len(samples))
    numbers = torch.linspace(0, len(samples) - 1, most).long()
    part: dict[str, Any] = {split: samples.take(numbers)}
    return replace(data, **part), numbers


def phases_of(run: Run, role: str) -> list[Phase]:
    """Return the trainings of a role, in order of their seeds."""
    return [phase for phase in run.phases() if phase.role == role]


def refuse_others(folder: Path, given: Mapping[str, Any]) -> None:
    """Refuse other networks and data than those of a run; an object may take the place of a teacher that is lost.

    Raises: ConfigError.
    """
    named = {k: x for k, x in given.items() if not (k == "teacher" and str(x).startswith("object:"))}
    begun, now = (resuming.read_begun(folder, changes)[0].model_dump() for changes in ({}, named))
    for key in (key for key in begun if now[key] != begun[key]):
        raise ConfigError(
            f"{key}={shown(repr(now[key]))}: {folder} was begun with {key}={shown(repr(begun[key]))}: pass only the "
            "objects that it was begun with."
        )


def open_finished(folder: Path, provided: Provided, samples: int, probe: str | None) -> OpenedRun:
    """Open a finished run.

    Raises: CheckpointError if it isn't finished or was altered; ConfigError if an object isn't passed again.
    """
    config, record = resuming.read_begun(folder, LIVE)
    if not (folder / "result.json").is_file():
        raise CheckpointError(f"{folder}: there is no result.json: give a finished run, or `tutelage resume {folder}`.")
    run = resuming.open_begun(folder, config, record, provided)
    if any(not (folder / phase.name / "model.safetensors").is_file() for phase in phases_of(run, "teacher")):
        raise CheckpointError(
            f"{folder}: its teacher, {config.teacher}, isn't there any more: put it back where it was, or pass it as "
            "an object (tutelage.explain(run, teacher=…))."
        )
    students = [_trained(run, phase) for phase in phases_of(run, "student")]
    inputs = run.inputs.for_view(config.student_inputs, config.student_size)
    data = LoadedNetwork.from_card(students[0]).with_normalisation_of(inputs.data)
    data = with_teacher_views(data, config)
    networks = {
        "teacher": _teachers(run, data, students),
        "baseline": [_trained(run, phase) for phase in phases_of(run, "baseline")],
        "student": students,
    }
    of_probe = None if probe is None else load_probe(config.model_copy(update={"probe": probe}), data)
    if of_probe is not None:
        of_probe = replace(of_probe.normalised_by(data.mean, data.std, data.source_scale.known), size=data.size)
    device = run.fabric.device
    placed = {role: [network.to(device).eval() for network in of_role] for role, of_role in networks.items() if of_role}
    return OpenedRun(run, data, placed, samples, of_probe)


def _trained(run: Run, phase: Phase) -> nn.Module:
    """Return the network that a phase trained."""
    module = run.inputs.provided.student
    return serialization.load(run.folder / phase.name / "model.safetensors", copy.deepcopy(module))


def _teachers(run: Run, data: DataModule, students: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the teacher of each student; none if it isn't a trained network, but a rule or a student's average."""
    phases = phases_of(run, "student")
    configs = [run.plan.config_for(phase) for phase in phases]
    if configs[0].catalogue_teacher is not None:
        return []
    changes_by_seed = any(map(stages.is_stage, configs[0].teacher_names))
    teachers: list[Teacher | None] = [
        run.builder.teachers.teacher(config, phase.number, data, student)
        for config, phase, student in zip(configs, phases, students, strict=True)
        if changes_by_seed or phase.number == 0
    ]
    known = [teacher for teacher in teachers if teacher is not None]
    return [*known] if changes_by_seed else [*known] * len(students)
