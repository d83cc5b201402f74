"""A fitted estimator as a module: (B, F) → logits (B, C) or values (B, K)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import ModelError
from tutelage.models.estimators.cores import EstimatorCore, LinearCore, TreesCore
from tutelage.utils.compat import Conversion, ConvertibleModule

FLOOR = 1e-7
"""The smallest probability in an estimator's logits: trees give classes the probability 0, whose logarithm no loss
can use."""

Link = Callable[[Tensor], Tensor]


def _of_margin(raw: Tensor) -> Tensor:
    second = raw.sigmoid()
    return torch.cat([1 - second, second], 1)


LINKS: Mapping[str, Link] = {
    "probabilities": lambda raw: raw,
    "margin": _of_margin,
    "scores": lambda raw: raw.softmax(1),
    "values": lambda raw: raw,
    "logarithms": lambda raw: raw.exp(),
}
"""Functions from the raw outputs to probabilities (of a classifier) or values (of a regressor), by name."""

LOGITS: Mapping[str, Link] = {
    "probabilities": lambda raw: raw.clamp_min(FLOOR).log(),
    "margin": lambda raw: F.logsigmoid(torch.cat([-raw, raw], 1)),
    "scores": lambda raw: raw.log_softmax(1),
}
"""Functions from a classifier's raw outputs to the logarithms of its probabilities."""


@dataclass(frozen=True)
class EstimatorCard:
    """The facts about an estimator that aren't arrays.

    Args:
        link: a name of `LINKS`.
        source: the class that was fitted, and its library's version.
        columns: the names of its inputs.
        classes: the names of its classes, in the order of its logits; () of a regressor.
        dtype: the type to which it converts its inputs: "float32" or "float64".
    """

    link: str
    source: str
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    dtype: str = "float64"

    def __post_init__(self) -> None:
        if (
            self.link not in LINKS
            or self.dtype not in ("float32", "float64")
            or self.is_classifier != bool(self.classes)
        ):
            raise ModelError(
                f"an estimator with link {self.link!r}, {self.dtype!r} and {len(self.classes)} classes: expected one "
                f"of {', '.join(LINKS)}, float32 or float64, and classes if it is a classifier."
            )

    @property
    def is_classifier(self) -> bool:
        """True if the outputs are logits."""
        return self.link in LOGITS


class FittedEstimator(ConvertibleModule):
    """A fitted estimator: its inputs are standardised, the core computes raw outputs, and the link interprets them.

    The tensors keep their types when the module is converted (`half` …), so that its outputs don't change.

    Args:
        core: the arithmetic.
        card: the facts about it.
        mean, scale: (F,); the core receives (x − mean) / scale. None: the inputs as they are.
    """

    def __init__(
        self, core: EstimatorCore, card: EstimatorCard, mean: Tensor | None = None, scale: Tensor | None = None
    ) -> None:
        super().__init__()
        self.core, self.facts = core, card
        mean = torch.zeros(core.features) if mean is None else mean
        scale = torch.ones(core.features) if scale is None else scale
        self.register_buffer("mean", mean.double())
        self.register_buffer("scale", scale.double())
        classes = 2 if card.link == "margin" else core.outputs
        if (
            {len(card.columns), *mean.shape, *scale.shape} != {core.features}
            or not bool((self.get_buffer("scale") > 0).all() and mean.isfinite().all())
            or (card.is_classifier and len(card.classes) != classes)
            or (card.link == "margin" and core.outputs != 1)
        ):
            raise ModelError(
                f"an estimator of {core.features} columns and {classes} outputs whose description has "
                f"{len(card.columns)} columns and {len(card.classes)} classes: the file isn't of an estimator."
            )

    def convert(self, conversion: Conversion, recurse: bool = True) -> None:
        """Move the tensors to the device to which the conversion moves; their types stay."""
        super().convert(lambda x: x.to(conversion(x[:0] if x.dim() else x.new_zeros(())).device), recurse)

    def raw(self, x: Tensor) -> Tensor:
        """Return the core's outputs, in float64.

        Raises: ModelError if x isn't (B, F).
        """
        features = len(self.facts.columns)
        if x.dim() != 2 or x.shape[1] != features:
            raise ModelError(f"inputs of shape {tuple(x.shape)}: {self.facts.source} expects (B, {features}).")
        if not x.is_floating_point():
            x = x.double()
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        scaled = (x - self.get_buffer("mean").to(x.dtype)) / self.get_buffer("scale").to(x.dtype)
        outputs: Tensor = self.core(scaled.to(getattr(torch, self.facts.dtype)))
        return outputs

    def extra_repr(self) -> str:
        """Return the facts of which the outputs are a function, besides the tensors."""
        return f"{self.facts.source}, {self.facts.link}, {self.facts.dtype}"

    def predict(self, x: Tensor) -> Tensor:
        """Return the probabilities (B, C) or values (B, K), in float64."""
        return LINKS[self.facts.link](self.raw(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the probabilities (B, C), or the values (B, K), in float32."""
        link = LOGITS.get(self.facts.link, LINKS[self.facts.link])
        return link(self.raw(x)).float()


def rescaled(estimator: FittedEstimator, mean: Sequence[float], std: Sequence[float]) -> FittedEstimator:
    """Return a regressor whose values are those of another, times std, plus mean.

    Raises: ModelError for an estimator whose outputs aren't its core's.
    """
    if estimator.facts.link != "values":
        raise ModelError(f"an estimator with link {estimator.facts.link!r} can't be rescaled: expected values.")
    arrays, factor, summand = estimator.core.arrays(), torch.tensor(std).double(), torch.tensor(mean).double()
    if isinstance(estimator.core, LinearCore):
        core: LinearCore | TreesCore = LinearCore(arrays["weight"] * factor[:, None], arrays["bias"] * factor + summand)
    else:
        scaled = {"value": arrays["value"] * factor, "base": arrays["base"] * factor + summand * arrays["divisor"]}
        core = TreesCore(**(arrays | scaled))
    return FittedEstimator(core, estimator.facts, estimator.get_buffer("mean"), estimator.get_buffer("scale"))
