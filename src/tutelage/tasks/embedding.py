"""Embeddings: vectors whose similarity tells whether two samples are of one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.losses.relation.metric_learning import PROXY_LOSSES, MetricLearning
from tutelage.structures import Batch
from tutelage.tasks import embedding_checks, search_section
from tutelage.tasks.base import Sections, Task
from tutelage.utils.finding import Finding
from tutelage.utils.options import Number, Width


class Embedding(Task):
    """One vector per sample: a loss of metric learning, and the recall of searching for samples of the same class.

    Responses (B, D), compared by their cosine; targets (B,) int64. Losses of embeddings compare the responses. The
    classes of test needn't be those of train (split=classes). It requires `pip install 'tutelage[retrieval]'`.

    Args:
        dim: D, the number of outputs.
        loss: the task loss, as `kind` of metric_learning.
        settings: its settings.
        classes: the number of training classes.
    """

    metric = "recall_at_1"
    other_metrics: ClassVar[Mapping[str, bool]] = {"map_at_r": True, "roc_auc": True, "eer": False}
    response_kind = "embedding"
    target = "label"
    without_labels = "backbone"
    usage = "print(torch.nn.functional.normalize(outputs, dim=1) @ torch.nn.functional.normalize(outputs, dim=1).T)"

    def __init__(self, dim: int, loss: str, settings: Mapping[str, float], classes: int) -> None:
        self.dim = dim
        self.options: dict[str, Any] = {"kind": loss, "settings": dict(settings)}
        if loss in PROXY_LOSSES:
            self.options["classes"] = classes

    @classmethod
    def from_data(
        cls,
        data: DataModule,
        dim: Width = 128,
        loss: Literal[
            "triplet", "contrastive", "multi_similarity", "normalized_softmax", "arcface", "proxy_anchor"
        ] = "multi_similarity",
        settings: Mapping[str, Number] | None = None,
    ) -> Self:
        """Build the task for this data.

        Raises: DataError if labels aren't known, or a test sample is the only one of its class.
        """
        embedding_checks.refuse_unsearchable(data)
        assert data.train.labels is not None
        return cls(dim, loss, settings or {}, int(data.train.labels.max()) + 1)

    def outputs(self, data: DataModule) -> int:
        """Return the number of the vectors' components."""
        return self.dim

    def describe_outputs(self, outputs: int) -> str:
        """Return the vectors in words."""
        return f"a vector of {outputs} numbers for each sample"

    def task_loss(self) -> Loss:
        """Return the loss of metric learning."""
        return MetricLearning(**self.options)

    def evaluation_loss(self) -> Loss:
        """Return the loss of pairs of the batch: that of other classes than the training's has no learned vectors."""
        return MetricLearning() if "classes" in self.options else self.task_loss()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return the metrics of search and of verification."""
        from torchmetrics import MetricCollection

        from tutelage.tasks.retrieval_metrics import Retrieval, Verification

        metrics: dict[str, Any] = {
            "retrieval": Retrieval(sync_on_compute=shared),
            "verification": Verification(sync_on_compute=shared),
        }
        return MetricCollection(metrics, compute_groups=[[*metrics]])

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the targets (B,) and the vectors (B, D)."""
        assert batch.targets is not None
        return {"targets": batch.targets, "embeddings": response}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check whether test has classes that training hasn't, as a search for new ones requires."""
        return embedding_checks.check_classes_of_test(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the recall with that of random vectors, and of the inputs themselves."""
        return embedding_checks.judge_recall(values["recall_at_1"], data)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of search, also with the student's queries in the teacher's gallery."""
        return {"Search": search_section.search_results}
