"""The base classes of losses: dataclass modules with traits as class attributes and one forward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.utils.dataclass_module import DataclassModule

LossValues = Tensor | dict[str, Tensor]
"""The result of a loss: un-reduced values, or several such by name (each is averaged, then they are added)."""

IGNORE_INDEX = -100
"""The label of a token that doesn't count."""

INVARIANCES = {
    "shift of logits": "the same number added to all logits of a position",
    "scale": "a side multiplied by a positive number",
    "scale of each sample": "each sample multiplied by a positive number of its own",
    "translation": "the same feature added to all samples of a side",
    "rotation": "an orthogonal transformation of a side's channels",
    "order of channels": "a permutation of a side's channels",
    "swapped sides": "student and teacher in each other's place",
}
"""The transformations that a loss may ignore."""


class Loss(DataclassModule):
    """Base class: compares the student's outputs with the teacher's.

    A loss is pure: it doesn't reduce, weigh, detach, move tensors between devices or run models. The keyword-only
    parameters of `forward(student, teacher, *, …)` are the inputs that it requires of the batch (`targets`, `index`).

    Class attributes tell a term how to wire it:

    - `paper`: authors, venue, year, arXiv.
    - `compares`: "response", "stages" (each pair of stages in turn), "review" (all pairs of stages at once, as lists),
      "hint" (one pair, in the middle), "last" (the last pair of stages), or "embedding" (the classifier's input);
      `layers=auto` chooses the layers by it.
    - `feature_format`: "map" (B, C, …), "vector" (B, D), or "" (features as the layers give them; a series' map
      (B, C, T) as tokens (B, T, C)).
    - `map_dimensions`: the numbers of dimensions that its maps may have: 1 (B, C, T), 2 (B, C, H, W), 3 (B, C, D, H,
      W).
    - `flattens`: whether a loss of vectors flattens the maps and tokens of named layers; those of `auto` are averaged.
    - `connector`: the connector that makes the student's feature fit the teacher's, unless the term names another.
    - `list_inputs`: the sides ("student", "teacher") that are lists: of peers, exits or several teachers. A loss of
      layers with "teacher" there compares the last pair of stages with each of several teachers; with `all_stages`,
      every pair, stages deep to shallow, the teachers in turn for each.
    - `maskable`: True if it compares distributions along dim 1 position by position, so that a mask can be applied to
      its inputs.
    - `by_position`: whether each of its values (B, …) is of its own position alone, so that a mask may be applied to
      them in place of its inputs.
    - `needs_teacher`: False for a loss of the student's outputs and the targets alone.
    - `class_dim`: the dimension along which both responses must have as many classes; None if they needn't.
    - `data_dependent_size`: whether the number of its values depends on the batch's content; distributed processes
      then average over all values, not over processes.
    - `zero_at_equal`: whether it is 0 where the student's outputs equal the teacher's.
    - `ignores`: transformations of a side that don't change it, at its defaults: some of `INVARIANCES`.
    - `permutation_invariant`: whether the order of the samples doesn't matter; False also for a loss that draws random
      numbers per sample.
    - `response_kinds`: what the numbers of the responses that it compares may be (`Task.response_kind`); () for any. Of
      a loss of features: the kinds of tasks whose batches have what it requires.
    - `harmed_on`: on which data sets of `bench/results/no_harm.md`, all of labelled images, it made students worse than
      alone with nothing tuned; `check` warns of it.
    - `only_for`: what it compares that no run provides ("generated images"): it is for training loops of one's own, and
      `method=` refuses it; empty if runs provide it.
    - `compiles`: whether torch.compile takes it as one graph.
    - `default_weight`: the term's weight in the paper. `task_loss_weight`: the weight of the task loss that the paper
      adds to it. `warmup_share`: the share of the training in which the paper raises the weight from 0.

    Example:
        >>> import torch
        >>> from tutelage import KD
        >>> KD(temperature=4)(torch.randn(8, 10), torch.randn(8, 10)).shape
        torch.Size([8])
    """

    paper: ClassVar[str] = ""
    compares: ClassVar[str] = "response"
    feature_format: ClassVar[str] = ""
    map_dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    flattens: ClassVar[bool] = False
    connector: ClassVar[str] = ""
    list_inputs: ClassVar[tuple[str, ...]] = ()
    all_stages: ClassVar[bool] = False
    maskable: ClassVar[bool] = False
    by_position: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True
    class_dim: ClassVar[int | None] = 1
    data_dependent_size: ClassVar[bool] = False
    zero_at_equal: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = ()
    permutation_invariant: ClassVar[bool] = True
    response_kinds: ClassVar[tuple[str, ...]] = ("classes",)
    harmed_on: ClassVar[str] = ""
    only_for: ClassVar[str] = ""
    compiles: ClassVar[bool] = True
    default_weight: ClassVar[float] = 1.0
    task_loss_weight: ClassVar[float] = 1.0
    warmup_share: ClassVar[float] = 0.0

    def build(self, student: Any, teacher: Any, samples: int) -> None:
        """Make the learned parts and banks, from an example of forward's arguments and the number of samples."""

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return student, teacher and required inputs, if they differ from the base's; each (B, …) in lists."""
        return None

    def __mul__(self, weight: float) -> LossSum:
        return LossSum(((float(weight), self),))

    __rmul__ = __mul__

    def __add__(self, other: Loss | LossSum) -> LossSum:
        return LossSum(((None, self),)) + other


@dataclass(frozen=True)
class LossSum:
    """A sum of losses, as `KD(4) + 0.5 * AT()` makes it; a weight of None is the paper's."""

    parts: tuple[tuple[float | None, Loss], ...]

    def __add__(self, other: Loss | LossSum) -> LossSum:
        return LossSum(self.parts + (other.parts if isinstance(other, LossSum) else ((None, other),)))


class Response(Loss):
    """Abstract: compares the two responses, (B, C, …), along the class dimension 1."""

    compares = "response"
    maskable = True


class Estimates(Response):
    """Abstract: compares estimated values, (B, T, …), with targets of the same shape, of a floating type."""

    maskable = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return a batch of 6 samples with 4 values each."""
        return torch.randn(6, 4), torch.randn(6, 4), {"targets": torch.randn(6, 4)}


class Feature(Loss):
    """Abstract: compares features of paired layers, as maps (B, C, …) of one, two or three dimensions."""

    compares = "stages"
    feature_format = "map"


class Relation(Loss):
    """Abstract: compares how the samples of a batch relate to each other in the two embeddings."""

    compares = "embedding"
    feature_format = "vector"
    class_dim = cast("int | None", None)  # unannotated, or it would be a field


class Sequence(Loss):
    """Abstract: compares the logits of language models for each token, (B, T, V): the classes are the last dimension.

    targets (B, T) int64: the token that each position should predict; positions of −100 are left out before anything
    is computed. With `shift` the targets are the sequence itself, so that position t should predict targets[t + 1], as
    in Hugging Face's batches; without, they are aligned already. Values are (N,): one for each of the N that remain.
    """

    compares = "response"
    class_dim = cast("int | None", -1)  # unannotated, or it would be a field
    data_dependent_size = True

    shift: bool = field(default=False, kw_only=True)

    def align_targets(self, targets: Tensor) -> Tensor:
        """Return the token that each position should predict, (B, T); −100 where it is unknown."""
        return F.pad(targets[:, 1:], (0, 1), value=IGNORE_INDEX) if self.shift else targets

    def tokens(self, logits: Tensor, targets: Tensor | None) -> Tensor:
        """Return a mask (B, T) of the positions that count: all, if there are no targets.

        Raises: ConfigError if there isn't a target for each position.
        """
        if targets is None:
            return torch.ones(logits.shape[:-1], dtype=torch.bool, device=logits.device)
        if targets.shape != logits.shape[:-1]:
            raise ConfigError(
                f"{type(self).__name__} got logits {tuple(logits.shape)} and targets {tuple(targets.shape)}, expected "
                "(B, T, V) and a token for each of the positions (B, T): it is for language models."
            )
        return self.align_targets(targets) != IGNORE_INDEX

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return a batch of 6 sequences of 5 tokens, of a vocabulary of 7; each first token is unlabelled."""
        targets = torch.randint(7, (6, 5))
        targets[:, 0] = IGNORE_INDEX
        return torch.randn(6, 5, 7), torch.randn(6, 5, 7), {"targets": targets}


class Dense(Loss):
    """Abstract: compares maps of responses (B, C, H, W) along space, so that positions can't be left out one by one."""

    compares = "response"


def require_same_shape(loss: Loss, student: Tensor, teacher: Tensor) -> None:
    """Refuse two tensors that would be broadcast or can't be compared at all."""
    if student.shape != teacher.shape:
        raise ConfigError(
            f"{type(loss).__name__}: the student's tensor is {tuple(student.shape)} and the teacher's is "
            f"{tuple(teacher.shape)}, expected equal shapes; let both have the same classes and positions, "
            "or put a connector on the student's side."
        )


def require_vectors(loss: Loss, student: Tensor, teacher: Tensor) -> None:
    """Refuse maps and tokens where vectors are compared."""
    if not student.dim() == teacher.dim() == 2:
        raise ConfigError(
            f"{type(loss).__name__}: the student's tensor is {tuple(student.shape)} and the teacher's is "
            f"{tuple(teacher.shape)}, expected vectors (B, D); average maps and tokens over positions, or flatten them."
        )


def require_equal_counts(loss: Loss, student: list[Tensor], teacher: list[Tensor]) -> None:
    """Refuse lists of different lengths, and empty ones."""
    if len(student) != len(teacher) or not student:
        raise ConfigError(
            f"{type(loss).__name__}: {len(student)} student layers and {len(teacher)} teacher layers, expected "
            "equal numbers, shallow to deep; name them in pairs."
        )
