"""Splits whose samples are point clouds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Self

from torch import Tensor

from tutelage.data.cloud_files import Clouds
from tutelage.data.clouds import CloudForm
from tutelage.data.splits import LazySplit, Sample, ViewSeed


class CloudSplit(LazySplit):
    """Point clouds as points (C, P), with a grid and the visible points if the form has them, and their targets.

    Args:
        clouds: all clouds, (N, C) each, as `form.placed` returns them; those of other splits too.
        digests: the sha256 of each.
        form: the form of all samples.
        rows: (n,) the numbers of this split's clouds.
        labels, targets, groups: of each of all clouds, if there are any.
    """

    can_crop = True

    def __init__(
        self,
        clouds: Clouds,
        digests: Sequence[bytes],
        form: CloudForm,
        rows: Tensor,
        *,
        labels: Tensor | None = None,
        targets: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> None:
        self.clouds, self.digests, self.form, self.rows = clouds, digests, form, rows
        self.columns = {"labels": labels, "targets": targets, "groups": groups}
        self.labels, self.targets, self.groups = (
            None if column is None else column[rows] for column in self.columns.values()
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def values(self) -> Tensor | None:
        """The targets of floats."""
        return self.targets

    def take(self, rows: Tensor) -> Self:
        """Select some of the clouds."""
        selected = type(self)(self.clouds, self.digests, self.form, self.rows[rows], **self.columns)
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Return a cloud's inputs, by name if there are several, and its target."""
        inputs = self.form.inputs(self.clouds[int(self.rows[number])], number, augmentation)
        targets = self.labels if self.targets is None else self.targets
        x = inputs if len(inputs) > 1 else inputs["points"]
        return x, None if targets is None else targets[number]

    def fingerprint(self) -> str:
        """Hash the points, the targets and the form."""
        digest = hashlib.sha256(str(self.form).encode())
        for row in self.rows.tolist():
            digest.update(self.digests[row])
        for column in (self.labels, self.targets, self.groups):
            if column is not None:
                digest.update(column.numpy().data)
        return digest.hexdigest()
