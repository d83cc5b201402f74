"""A study under a published protocol: how far it follows it, and the published figures of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutelage.study import protocols
from tutelage.study.protocols.protocol import PublishedFigure, StudyProtocol
from tutelage.study.rows import Row

KEPT = {"last": "the last epoch's network", "best": "the network that is best on validation"}
"""The network whose test figure is ours, by the key `keep`."""


@dataclass(frozen=True)
class FollowedProtocol:
    """The protocol that a study follows.

    Args:
        name: the protocol's name.
        paper: its paper.
        full: of a small version, the name of the published protocol.
        changes: how the study differs from the protocol, in words.
        differences: what differs from the published code.
        kept: the network whose test figure is ours.
    """

    name: str
    paper: str
    full: str
    changes: Sequence[str]
    differences: Sequence[str]
    kept: str

    @property
    def is_comparable(self) -> bool:
        """True if the study's figures may be compared with the published ones."""
        return not (self.full or self.changes)

    @property
    def heading(self) -> str:
        """The protocol's name, with how the study differs from it."""
        small = (
            f"a small version of {self.full}, with whose published figures it can't be compared" if self.full else ""
        )
        way = "shortened" if any(change.startswith("epochs ") for change in self.changes) else "changed"
        changes = f"{way}: {', '.join(self.changes)}" if self.changes else ""
        return ", ".join(filter(None, [self.name, small, changes]))

    @property
    def about(self) -> str:
        """The text on how to read the published figures beside ours."""
        compared = (
            "A difference is ours less the published figure; an interval needs two seeds, and holds the published "
            "figure as if that had no error of its own."
            if self.is_comparable
            else "Ours were trained otherwise, so they aren't compared with the published figures."
        )
        differences = f" Known differences: {'; '.join(self.differences)}." if self.differences else ""
        return (
            f"{self.heading}. {self.paper}. Ours: {self.kept}, on test, mean ± half of the 95 % interval over seeds; "
            "nothing is chosen on test. Published figures that are best on test are higher for that alone. "
            f"{compared}{differences}"
        )


def follow(name: str, keys: Mapping[str, Any], data: Mapping[str, Any]) -> FollowedProtocol:
    """Return how a study with these keys and these sizes of its data follows a protocol."""
    protocol = protocols.find(name)
    changes = [*protocol.changes(keys), *_other_data(protocol, data)]
    return FollowedProtocol(
        name, protocol.paper, protocol.full, changes, protocol.differences, KEPT[str(keys.get("keep", "last"))]
    )


def _other_data(protocol: StudyProtocol, data: Mapping[str, Any]) -> list[str]:
    """Return how the sizes of a study's data differ from the protocol's."""
    if not (protocol.data and data):
        return []
    train = (data["train"] or 0) + (data["val"] or 0)
    sizes = {"classes": data["classes"], "train": train, "test": data["test"] or 0}
    nouns = {"classes": "classes", "train": "train samples", "test": "test samples"}
    return [
        f"{size} {nouns[name]} of {protocol.data[name]}" for name, size in sizes.items() if size != protocol.data[name]
    ]


def with_figures(rows: Sequence[Row], name: str) -> list[Row]:
    """Return rows with the figures that were published for them."""
    protocol = protocols.find(name)
    return [replace(row, published=_figure(row, protocol)) for row in rows]


def _figure(row: Row, protocol: StudyProtocol) -> PublishedFigure | None:
    """Return a row's published figure; a teacher's is that of its network trained alone."""
    if row.role == "teacher":
        return protocol.figure("", row.teacher, "alone")
    return protocol.figure(row.teacher, row.student, row.method)
