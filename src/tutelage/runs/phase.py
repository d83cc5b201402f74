"""One training of a run, and the files in its folder."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import CheckpointError, ModelError
from tutelage.models import serialization
from tutelage.nn.feature_extractor import eval_no_grad, respond
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.policies.parsing import describe_policy
from tutelage.runs import examples
from tutelage.runs.profiling import as_network, forward_seconds, latency, macs, peak_memory
from tutelage.schemes.base import Scheme, unwrap
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.teachers.frozen import describe_untrained_layers
from tutelage.training.evaluation import EvaluationResult, evaluate
from tutelage.utils import checksums
from tutelage.utils.files import write_atomically
from tutelage.utils.registry import catalogue_name

KEPT = 2**27
"""Predictions, of all samples and outputs, that are kept: half a gigabyte."""


@dataclass(frozen=True)
class Phase:
    """One training of a run: its folder's name, its role, its seed and that seed's number, and its overrides.

    role: teacher, member (of several teachers), baseline, stage or student. overrides: its keys that differ from the
    run's.
    """

    name: str
    role: str
    seed: int
    number: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)


def write_phase_folder(
    phase: Phase,
    folder: Path,
    students: Mapping[str, nn.Module],
    scheme: Scheme | None,
    trainer: Any,
    data: DataModule,
    task: Task,
    names: Mapping[str, str],
    batch_size: int,
    more: Mapping[str, Any] | None = None,
    views: Mapping[str, DataModule] | None = None,
) -> None:
    """Evaluate on the split that judges and write the phase's folder; phase.json is written last and marks it as done.

    names: the students' models; the first one's also for those that aren't named. A network whose outputs don't fit the
    task has no figures. more: further entries of phase.json. views: the data of students with other inputs, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    student, name = next(iter(students.values())), next(iter(names.values()))
    by_student = {other: (views or {}).get(other, data) for other in students}
    data, terms = next(iter(by_student.values())), None if scheme is None else scheme.method_terms()
    fits = fits_task(student, data, task)
    evaluation = evaluate_split(student, data, task, data.judged_on, batch_size) if fits else None
    if evaluation is not None and scheme is not None and task.task_loss() is None:
        evaluation.values |= _evaluate_losses(scheme, data, batch_size, student)
    for number, (peer, network) in enumerate(students.items()):
        if not isinstance(network, Teacher):
            file = "model.safetensors" if number == 0 else f"{peer}.safetensors"
            save_network(folder / file, network, names.get(peer, name), by_student[peer], task)
    if evaluation is not None:
        _write_arrays(folder, evaluation)
        if data.target == "mask":
            examples.write_masks(folder / "masks.npz", as_network(student), data, task)
        if data.target == "map":
            examples.write_maps(folder / "maps.npz", as_network(student), data, task)
        task.write_files(folder, as_network(student), data)
    others = _others(students, names, by_student, task, batch_size)
    phase_json = {
        "name": phase.name,
        "role": phase.role,
        "seed": phase.seed,
        "model": name,
        "metric": task.metric,
        "figures": {} if evaluation is None else evaluation.values,
        **({"classes": data.classes} if phase.overrides.get("classes") else {}),
        "parameters": sum(p.numel() for p in student.parameters()),
        "macs": macs(student, data),
        "latency_ms": latency(student, data),
        **({"others": others} if others else {}),
        **(_training(trainer, scheme, data) if trainer is not None else {}),
        **({"terms": describe_terms(terms), "pairs": _pairs(terms)} if terms else {}),
        **(more or {}),
    }
    checksums.record(folder, (file.name for file in folder.iterdir() if file.is_file() and file.name != checksums.NAME))
    checksums.write_recorded(folder / "phase.json", json.dumps(phase_json, indent=1, default=float))


def _others(
    students: Mapping[str, nn.Module],
    names: Mapping[str, str],
    data: Mapping[str, DataModule],
    task: Task,
    batch_size: int,
) -> dict[str, dict[str, Any]]:
    """Return the entries of the students after the first."""
    first = next(iter(names.values()))
    return {
        other: {
            "model": names.get(other, first),
            "figures": evaluate_split(network, data[other], task, data[other].judged_on, batch_size).values,
            "parameters": sum(p.numel() for p in network.parameters()),
            "macs": macs(network, data[other]),
        }
        for other, network in list(students.items())[1:]
    }


def read_phase(path: Path) -> dict[str, Any]:
    """Return the contents of a finished phase's phase.json.

    Raises: CheckpointError if it is torn or was altered.
    """
    try:
        return dict(json.loads(checksums.read_verified(path)))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is torn ({error}); delete it and resume the run.") from error


def save_network(path: Path, network: nn.Module, name: str, data: DataModule, task: Task) -> None:
    """Write a network that was trained on this data; name: its model's."""
    card = serialization.make_card(_buildable(name, network), data, task.outputs(data))
    serialization.save(path, network, card)


def _buildable(name: str, network: nn.Module) -> str:
    """Return the name by which a network can be made again; "object:…" if it was passed as an object."""
    card = getattr(network, "card", None)
    if isinstance(card, serialization.ModelCard):
        return card.model
    return name if name != "None" else f"object:{type(network).__name__}"


def evaluate_split(network: nn.Module, data: DataModule, task: Task, split: str, batch_size: int) -> EvaluationResult:
    """Return the metrics on a split, with predictions unless there are too many to keep."""
    parameter, outputs = next(network.parameters(), torch.zeros(())), task.outputs(data)
    batches = data.batches(split, batch_size, train=False, device=parameter.device)
    keep = len(getattr(data, split)) * outputs <= KEPT
    result = evaluate(as_network(network), batches, task, outputs, keep=keep)
    result.values |= task.measure(as_network(network), data, split, batch_size)
    return result


def _evaluate_losses(scheme: Scheme, data: DataModule, batch_size: int, student: nn.Module) -> dict[str, float]:
    """Return the trained scheme's losses on the split that judges; the layers of its terms are captured again."""
    device = next(student.parameters()).device
    players = [unwrap(player) for player in scheme.players.values()]
    for player in players:
        player.set_captured_layers()
    losses = scheme.evaluate_losses(data.batches(data.judged_on, batch_size, train=False, device=device))
    for player in players:
        player.student.close()
    return losses


def respond_to_one(network: nn.Module, data: DataModule, task: Task) -> Tensor:
    """Return the response to one sample of the split that judges."""
    parameter, model = next(network.parameters(), torch.zeros(())), as_network(network)
    batch = next(data.batches(data.judged_on, 1, train=False, device=parameter.device))
    with eval_no_grad(model):
        return task.response(respond(model, batch), batch)


def fits_task(network: nn.Module, data: DataModule, task: Task) -> bool:
    """Return whether a network's outputs fit the task and its data, with a trained classifier."""
    fits = task.fits(respond_to_one(network, data, task), task.outputs(data))
    return fits and not describe_untrained_layers(network)


def refuse_other_outputs(response: Tensor, data: DataModule, task: Task, who: str) -> None:
    """Refuse a network whose response doesn't fit the task and its data.

    Raises: ModelError.
    """
    outputs = task.outputs(data)
    if not task.fits(response, outputs):
        raise ModelError(
            f"{who} outputs {tuple(response.shape)} for {len(response)} samples, expected "
            f"{task.describe_outputs(outputs)}, as {data.name} has."
        )


def _write_arrays(folder: Path, evaluation: EvaluationResult) -> None:
    """Write predictions and tables, if there are any."""
    for name, tensors in (("predictions", evaluation.predictions), ("tables", evaluation.tables)):
        if tensors:
            _write(folder / f"{name}.npz", tensors)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as npz."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: x.numpy() for name, x in tensors.items()}
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def _training(trainer: Any, scheme: Scheme | None, data: DataModule) -> dict[str, Any]:
    progress, settings = trainer.progress, trainer.settings
    step = progress.seconds / max(progress.step, 1)
    teacher = getattr(scheme, "teacher", None)
    share = min(forward_seconds(teacher, data, settings) / step, 1.0) if teacher and step else None
    return {
        "epochs": progress.epoch,
        "planned": settings.epochs,
        "steps": progress.step,
        "seconds": progress.seconds,
        "step_ms": 1000 * step,
        "teacher_share": share,
        "peak_memory_mb": peak_memory(trainer.fabric.device),
        "peak_memory_of": "training" if trainer.fabric.device.type == "cuda" else "process so far",
        "val": {trainer.task.metric: progress.best, "best_epoch": progress.best_epoch},
        "chosen": "best on validation" if settings.keep == "best" else "last epoch",
    }


def describe_terms(terms: Terms) -> list[dict[str, Any]]:
    """Return each term's name, formula, weight, paper and options."""
    return [
        {
            "name": name,
            "loss": catalogue_name(type(term.loss)),
            "formula": formula(term.loss),
            "weight": describe_weight(term),
            "warmup": term.warmup,
            "paper": term.loss.paper,
            "options": term.loss.options()
            | {option: describe_policy(policy) for option, policy in term.policies().items()},
        }
        for name, term in terms.named_terms().items()
    ]


def describe_weight(term: Term) -> float | str:
    """Return a term's weight: a number, or a policy in words."""
    if (share := term.auto_share) is None:
        return describe_policy(term.weight)
    return f"auto: {share:g} × the task loss's gradient (paper: {term.loss.default_weight:g})"


def formula(loss: nn.Module) -> str:
    """Return the formula in a loss's docstring: its first indented or `L = …` paragraph."""
    paragraphs = (type(loss).__doc__ or "").split("\n\n")
    return next((" ".join(p.split()) for p in paragraphs[1:] if "=" in p and "Shapes" not in p), "")


def _pairs(terms: Terms) -> list[list[str]]:
    return [[s, t] for term in terms.named_terms().values() for s, t in term.pairs]
