"""Ranking: a score for each document of a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.losses.response.ranking_softmax import RankingSoftmax
from tutelage.report import ranking_sections
from tutelage.structures import Batch
from tutelage.tasks import ranking_checks
from tutelage.tasks.base import Sections, Task
from tutelage.utils.finding import Finding


class Ranking(Task):
    """Documents in queries: softmax cross-entropy over each query, and the NDCG of the first ten documents (0…1).

    Responses (B,) or (B, 1), a score per document; targets (B,) grades, 0 and up; the batch's groups are the queries.
    """

    metric = "ndcg@10"
    response_kind = "scores"
    usage = "print(outputs[:, 0].argsort(descending=True))  # the documents of one query, the best first"

    def outputs(self, data: DataModule) -> int:
        """Return 1: the score."""
        return 1

    def describe_outputs(self, outputs: int) -> str:
        """Return the score in words."""
        return "a score for each document"

    def task_loss(self) -> Loss:
        """Return the cross-entropy between grades and scores."""
        return RankingSoftmax()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return the measures of rankings, and a table of the queries."""
        from tutelage.tasks.ranking_metrics import RankingMetrics

        return RankingMetrics(sync_on_compute=shared)

    def update(self, metrics: Any, response: Tensor, batch: Batch) -> None:
        """Add a batch's documents to the metrics."""
        metrics.update(response, batch.targets, batch.extras["groups"])

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the scores as a column, (B, 1)."""
        return response[:, None] if response.dim() == 1 else response

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return each document's score, grade and query, (B,) each."""
        assert batch.targets is not None
        return {"scores": response[:, 0], "grades": batch.targets, "queries": batch.extras["groups"]}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check for queries from which nothing is learned, and for documents that are in two splits."""
        return ranking_checks.check_queries(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the NDCG with that of documents in random order."""
        return ranking_checks.judge_ndcg(values[self.metric], values["random_ndcg@10"])

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of the queries."""
        return {"Queries": ranking_sections.queries}
