"""Losses of metric learning, from the library pytorch-metric-learning."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ConfigError, unknown
from tutelage.losses.base import LossValues, Relation
from tutelage.utils.options import CountOrZero, Number

PAIR_LOSSES = {
    "triplet": "TripletMarginLoss",
    "contrastive": "ContrastiveLoss",
    "multi_similarity": "MultiSimilarityLoss",
}
PROXY_LOSSES = {
    "normalized_softmax": "NormalizedSoftmaxLoss",
    "arcface": "ArcFaceLoss",
    "proxy_anchor": "ProxyAnchorLoss",
}
MEANS_OF_NON_ZEROS = ("triplet", "contrastive")
"""The losses that are averaged over the pairs or triplets that violate the margin."""


class MetricLearning(Relation):
    r"""Bring the embeddings of one class together, and those of different classes apart; it needs no teacher.

    L of the library pytorch-metric-learning (`pip install 'tutelage[retrieval]'`), of the similarities of the batch's
    samples: triplet, contrastive, multi_similarity; or of those to learned vectors (proxies) of the classes, which are
    trained: normalized_softmax, arcface, proxy_anchor. The default is multi_similarity, with
    L = log(1 + Σ_p exp(−α·(c_p − λ)))/α + log(1 + Σ_n exp(β·(c_n − λ)))/β, c the cosines of a sample to the others of
    its class, p, and to those of other classes, n; α = 2, β = 50, λ = ½.

    Shapes: student (B, D), targets (B,) int64; returns the values of the library before their mean: (B,), (T,) triplets
    with a loss, or by name those of pairs with a loss, or of classes. classes: the number of proxies, for losses that
    have such. settings: numbers for the library's class, such as {margin: 0.2}. A batch requires several samples of one
    class for the first three.
    Paper: Musgrave, Belongie, Lim. arXiv:2008.09164 (PyTorch Metric Learning). Multi-similarity: Wang et al. CVPR 2019.
    arXiv:1904.06627. ArcFace: Deng et al. CVPR 2019. arXiv:1801.07698. Proxy anchor: Kim et al. CVPR 2020.
    arXiv:2003.13911. Normalized softmax: Zhai, Wu. BMVC 2019. arXiv:1811.12649. No published numbers were compared.
    Raises: ConfigError if the library isn't installed, a setting isn't one of the loss, or `classes` is missing.
    """

    name = "metric_learning"
    paper = "Musgrave, Belongie, Lim. arXiv:2008.09164 (PyTorch Metric Learning)"
    compares = "response"
    needs_teacher = False
    response_kinds = ("embedding",)
    data_dependent_size = True
    zero_at_equal = False
    ignores = ("scale of each sample", "rotation")
    compiles = False
    task_loss_weight = 0.0

    kind: Literal["triplet", "contrastive", "multi_similarity", "normalized_softmax", "arcface", "proxy_anchor"] = (
        "multi_similarity"
    )
    classes: CountOrZero = 0
    settings: Mapping[str, Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = inspect.signature(self._library_class().__init__).parameters
        names = [name for name in known if name not in ("self", "kwargs", "num_classes", "embedding_size")]
        for name in self.settings:
            if name not in names:
                raise ConfigError(unknown(f"setting of MetricLearning({self.kind})", name, names))
        if self.kind in PROXY_LOSSES and not self.classes:
            raise ConfigError(
                f"MetricLearning(kind={self.kind!r}) learns a vector for each class, and classes=0: give the number of "
                "the data's classes."
            )

        if self.kind in PAIR_LOSSES:
            self.loss = self._library_loss()

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return six embeddings of two classes."""
        return torch.randn(6, 5), None, {"targets": torch.arange(6) % 2}

    def build(self, student: Tensor, teacher: Tensor | None, samples: int) -> None:
        if self.kind in PROXY_LOSSES:
            sizes = {"num_classes": self.classes, "embedding_size": student.shape[1]}
            self.loss = self._library_loss(**sizes).to(in_single(student))

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> LossValues:
        if student.dim() != 2 or targets.dim() != 1:
            raise ConfigError(
                f"MetricLearning got embeddings {tuple(student.shape)} and labels {tuple(targets.shape)}, expected "
                "(B, D) and (B,): use data with one class for each sample, and a network that outputs vectors."
            )
        parts = self.loss(in_single(student), targets)
        values = {name: self._values(part, student) for name, part in parts.items()}
        return values if len(values) > 1 else next(iter(values.values()))

    def _library_class(self) -> Any:
        return getattr(import_library().losses, (PAIR_LOSSES | PROXY_LOSSES)[self.kind])

    def _library_loss(self, **sizes: int) -> Any:
        return self._library_class()(**sizes, **self.settings, reducer=import_library().reducers.DoNothingReducer())

    def _values(self, part: Mapping[str, Any], student: Tensor) -> Tensor:
        """Return values whose mean is the library's; none where the batch has no pairs."""
        values = part["losses"]
        if not isinstance(values, Tensor):
            return student.flatten()[:0]
        if self.kind in MEANS_OF_NON_ZEROS:
            values = values[values > 0]
        return (values * (len(values) / part.get("divisor", max(len(values), 1)))).to(student.dtype)


def in_single(x: Tensor) -> Tensor:
    """Return a tensor of half precision in single: the library converts its parameters to the input's type."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def import_library() -> Any:
    """Import pytorch-metric-learning.

    Raises: ConfigError that tells how to install it.
    """
    try:
        importlib.import_module("pytorch_metric_learning.losses")
        importlib.import_module("pytorch_metric_learning.reducers")
        return importlib.import_module("pytorch_metric_learning")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"metric_learning requires the library pytorch-metric-learning ({error}). Install it: pip install "
            "'tutelage[retrieval]'."
        ) from error
