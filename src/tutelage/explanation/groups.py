"""The groups of figures, in the order of the page, and all of those that a run can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tutelage.errors import ConfigError, TutelageError, unknown
from tutelage.explanation import (
    agreement,
    calibration,
    capacity,
    dark_knowledge,
    gradients,
    information,
    labels,
    layers,
    outputs,
    robustness,
    transfer,
)
from tutelage.explanation.base import Explanation, NotApplicable
from tutelage.explanation.opened_run import OpenedRun

Figures = Callable[[OpenedRun], list[Explanation]]


@dataclass(frozen=True)
class Group:
    """A group of figures: its title, a sentence on its question, and the function that makes them."""

    title: str
    lead: str
    figures: Figures


GROUPS: Mapping[str, Group] = {
    "agreement": Group(
        "Agreement with the teacher", "Did the student learn to answer as its teacher does?", agreement.figures
    ),
    "calibration": Group("Confidence", "Can the probabilities be trusted?", calibration.figures),
    "dark_knowledge": Group(
        "Dark knowledge", "What do the outputs hold beyond the label, and who has it?", dark_knowledge.figures
    ),
    "layers": Group(
        "Layers", "Do the student's features resemble the teacher's, and which are worth distilling?", layers.figures
    ),
    "capacity": Group("Capacity", "Is the student too small?", capacity.figures),
    "labels": Group("Labels", "Are there wrong labels, and enough of each class?", labels.figures),
    "information": Group("Information", "How much do the answers tell about the label?", information.figures),
    "gradients": Group("Gradients", "Do the method's terms pull in one direction?", gradients.figures),
    "outputs": Group("Agreement of outputs", "Does the student reproduce its teacher's outputs?", outputs.figures),
    "robustness": Group("Robustness", "What remains under common corruptions?", robustness.figures),
    "transfer": Group("Transfer", "Are the features of use for other data?", transfer.figures),
}


@dataclass(frozen=True)
class Explained:
    """A group's figures, or the reason why there are none."""

    group: Group
    figures: Sequence[Explanation]
    reason: str = ""


def chosen(only: Sequence[str]) -> list[str]:
    """Return the names of the groups to make: all if none is named.

    Raises: ConfigError for an unknown one.
    """
    if faults := [unknown("only", name, GROUPS) for name in only if name not in GROUPS]:
        raise ConfigError("\n".join(faults))
    return [name for name in GROUPS if name in only or not only]


def explain_groups(opened: OpenedRun, names: Sequence[str]) -> dict[str, Explained]:
    """Return each group's figures; a group that fails, or that a run can't have, has the reason instead."""
    explained = {}
    for name in names:
        group = GROUPS[name]
        try:
            explained[name] = Explained(group, group.figures(opened))
        except (NotApplicable, TutelageError) as error:
            explained[name] = Explained(group, [], str(error))
        except Exception as error:  # a user's network or data may raise any error: the other groups remain
            explained[name] = Explained(group, [], f"it failed with {type(error).__name__}: {error}")
    return explained
