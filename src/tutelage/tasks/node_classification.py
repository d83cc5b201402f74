"""Node classification: one class per node of a graph."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.tasks import class_checks, graph_checks
from tutelage.tasks.classification import Classification
from tutelage.utils.finding import Finding


class NodeClassification(Classification):
    """One class per node: cross-entropy, and top-1 accuracy (a fraction, 0…1).

    Responses (B, C), targets (B,) int64.
    """

    name = "node_classification"

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check the classes, the labels that neighbours share, and features that tell the label."""
        return [*class_checks.check_classes(data), *graph_checks.check_nodes(data)]

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the accuracy with chance, and with a linear classifier of the nodes' features."""
        linear = class_checks.compare_with_linear(values["accuracy"], graph_checks.linear_accuracy(data))
        return [*class_checks.judge_by_shares(values, tables, data), *linear]
