"""The candidates of method=auto: losses of each kind that fit the run, features at the layers worth teaching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tutelage.config.schema import Config, check
from tutelage.errors import ConfigError, TutelageError
from tutelage.explanation.layers import JUDGED, choose_pair
from tutelage.explanation.opened_run import LIVE, OpenedRun
from tutelage.runs.dry_run import dry_run
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.plan import RunPlan
from tutelage.runs.run import Run
from tutelage.study import halving
from tutelage.study.methods import KD
from tutelage.utils import registry


@dataclass(frozen=True)
class LossGroup:
    """Losses of one kind, the simplest first, of which as many are tried as `most` of those that fit the run."""

    kind: str
    most: int
    losses: Sequence[str]


GROUPS = (
    LossGroup("response", 3, ("kd", "dkd", "dist", "bkd", "rrd", "attentive_imitation", "logit_mse", "output_huber")),
    LossGroup("relation", 2, ("pkt", "rkd", "sp")),
    LossGroup("feature", 3, ("fitnet", "at", "reviewkd", "ofd", "pkd")),
)
"""The losses that may be tried, the cheapest kind first: responses need no layer, relations one embedding of each."""

OF_ONE_PAIR = ("hint", "stages", "last")
"""Values of `Loss.compares` of losses that can be given one pair of layers."""

PART = 5
"""A short training has this part of the run's epochs: no candidate costs more of its whole training, and most stop."""

SEEDS = (2, 3)
"""The fewest and the most seeds of a choice."""


@dataclass(frozen=True)
class Candidate:
    """A loss that may be chosen: its name, its kind, and the method as a run has it."""

    name: str
    kind: str
    method: str | list[dict[str, Any]]


@dataclass(frozen=True)
class ChoicePlan:
    """The losses that a choice tries, and for how long.

    Args:
        candidates: the losses that are tried beside the student alone.
        left_out: those that don't fit, each with the reason.
        pair: the student's and the teacher's layer for losses of features; empty: each loss's own.
        seeds: the trainings of each candidate.
        epochs: those of a short training.
        rungs: the epochs after which the worse half of the candidates stops.
        cost: the epochs of all short trainings together, at most.
        whole: those of training the student alone and each candidate to the end with these seeds.
    """

    candidates: Sequence[Candidate]
    left_out: Mapping[str, str]
    pair: Sequence[str]
    seeds: int
    epochs: int
    rungs: Sequence[int]
    cost: int
    whole: int

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> ChoicePlan:
        """Return a plan from its JSON object."""
        return cls(**{**content, "candidates": [Candidate(**entry) for entry in content["candidates"]]})

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def plan(inputs: RunInputs, pair: Sequence[str] = ()) -> ChoicePlan:
    """Return the plan for a run that names no method: the losses that fit, and a part of the run's epochs.

    inputs: the run's, with any method. pair: the layers of losses of features; empty: each loss's own.

    Raises: ConfigError if no loss fits, or the run is too short for shorter trainings.
    """
    candidates: list[Candidate] = []
    left_out: dict[str, str] = {}
    for group in GROUPS:
        found: list[Candidate] = []
        for name in group.losses:
            if len(found) == group.most:
                break
            candidate = Candidate(name, group.kind, _at(name, pair))
            if reason := misfit(inputs, candidate.method):
                left_out[name] = reason
            else:
                found.append(candidate)
        candidates += found
    if not candidates:
        name, reason = next(iter(left_out.items()))
        if len(left_out) > 1 and len({*left_out.values()}) == 1:  # the fault isn't the losses'
            raise ConfigError(reason)
        raise ConfigError(
            f"method=auto: no loss fits this run; {name}: {reason} Name a method (`tutelage list losses`)."
        )
    return _with_lengths(inputs.config, candidates, left_out, pair)


def _at(name: str, pair: Sequence[str]) -> str | list[dict[str, Any]]:
    """Return a method that compares this pair of layers, if it compares single pairs."""
    loss = registry.find_entry("losses", name).load()
    if not pair or loss.compares not in OF_ONE_PAIR:
        return name
    return [{"name": name, "student": pair[0], "teacher": pair[1]}]


def misfit(inputs: RunInputs, method: Any) -> str:
    """Return why a method can't teach in this run; empty if it can, by a dry run on a few samples."""
    try:
        config = check(inputs.config.model_dump() | {"method": method})
        tried = replace(inputs, config=config)
        dry_run(tried, RunPlan(tried))
    except TutelageError as error:
        return " ".join(str(error).split())
    return ""


def _with_lengths(
    config: Config, candidates: Sequence[Candidate], left_out: Mapping[str, str], pair: Sequence[str]
) -> ChoicePlan:
    seeds, epochs = min(max(config.seeds, SEEDS[0]), SEEDS[1]), config.epochs // PART
    if not epochs:
        raise ConfigError(
            f"epochs={config.epochs}: too few for a choice by trainings of {1 / PART:.0%} of them: epochs={PART} or "
            "more, or name a method."
        )
    cost = seeds * _cost(epochs, [candidate.name for candidate in candidates])
    whole = (len(candidates) + 1) * config.epochs * seeds
    return ChoicePlan(candidates, left_out, pair, seeds, epochs, _rungs(epochs), cost, whole)


def _rungs(epochs: int) -> list[int]:
    """Return the epoch after which the worse half of the candidates stops: half of the training.

    None stops earlier, nor after a single epoch, which tells little of what comes.
    """
    return [epochs // 2] if epochs // 2 > 1 else []


def _cost(epochs: int, names: Sequence[str]) -> int:
    """Return the epochs of one seed: the student alone and kd go to the end, of the others half stop at each rung."""
    to_the_end = 1 + (KD in names)
    return to_the_end * epochs + halving.cost(_rungs(epochs), epochs, len(names) + 1 - to_the_end)


def measured_pair(config: Config, provided: Provided) -> list[str]:
    """Return the student's and the teacher's layer that the quality measure chooses; empty if there is none.

    config: of a run whose teacher is trained, with a method that fits.
    """
    run = Run(check({**config.model_dump(), **LIVE}), replace(provided, callbacks=()), Path())  # which makes no folder
    wired = run.dry_run()
    teacher = None if wired is None else getattr(wired.scheme, "teacher", None)
    if wired is None or teacher is None:
        return []
    wired.scheme.to(run.fabric.device)
    student = next(iter(wired.scheme.students().values()))
    opened = OpenedRun(run, wired.data, {"teacher": [teacher], "student": [student.model]}, JUDGED)
    return list(choose_pair(opened) or ())
