"""The published numbers of dense methods, from a segmenter's or detector's raw outputs through the task to the loss."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage.models.detectors.base import Detector
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.model_profile import profile_model
from tutelage.objective.player import Player
from tutelage.objective.reduction import mean
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.tasks.detection import Detection
from tutelage.tasks.segmentation import Segmentation
from tutelage.verify.checker import LossEvaluation, VectorCheck
from tutelage.verify.vector import read

FOLDER = Path(__file__).parents[1] / "vectors"
OF_MASKS = ("pixel_kd", "cwd", "skd_pixelwise")
OF_FEATURES = ("cirkd_memory", "cirkd_minibatch", "ifvd", "skd_pairwise", "skd_pairwise_cirkd", "pkd", "fakd", "dsd")
OF_BOXES = ("fgd", "fgfi", "pkd")
CLASSES = 3


class Neck(nn.Module):
    """Levels of features by name, as a pyramid outputs them."""

    def __init__(self, levels: list[Tensor]) -> None:
        super().__init__()
        self.levels = nn.ParameterList(x.detach().clone() for x in levels)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {str(n): x[: len(inputs)] * 1 for n, x in enumerate(self.levels)}


class Segmenter(nn.Module):
    """The raw output is a mapping with logits, as torchvision's."""

    def __init__(self, levels: list[Tensor], logits: Tensor) -> None:
        super().__init__()
        self.neck, self.logits = Neck(levels), nn.Parameter(logits.detach().clone())

    def forward(self, inputs: Tensor) -> dict[str, Any]:
        self.neck(inputs)
        return {"out": self.logits[: len(inputs)], "aux": None}


class OneStage(Detector):
    """The raw output is a mapping with logits of places, boxes, and losses if there are objects."""

    loss_names = ("classification",)

    def __init__(self, levels: list[Tensor], logits: Tensor, distribution: Tensor) -> None:
        super().__init__()
        self.neck = Neck(levels)
        self.logits, self.distribution = (nn.Parameter(x.detach().clone()) for x in (logits, distribution))

    def forward(self, images: Tensor, objects: Any = None) -> dict[str, Any]:
        self.neck(images)
        count = len(images)
        outputs: dict[str, Any] = {"response": self.logits[:count], "box_distribution": self.distribution[:count]}
        return outputs | ({} if objects is None else {"losses": {"classification": self.logits.sum()}})

    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        raise NotImplementedError


def evaluation_of(name: str) -> LossEvaluation:
    ((_, part),) = VectorCheck(read(FOLDER / f"{name}__case0.json")).parts
    return part


def published(part: LossEvaluation) -> tuple[Tensor, list[Tensor]]:
    """Return the loss, in the catalogue's reduction, and its gradients by the student's tensors."""
    loss, total, leaves = copy.deepcopy(part.loss), torch.zeros((), dtype=torch.float64), []
    for student, teacher in part._pairs():
        several = isinstance(student, list)
        tensors = [x.detach().requires_grad_() for x in (student if several else [student])]
        leaves += tensors
        total = total + mean(loss(tensors if several else tensors[0], teacher, **part.loss_kwargs))
    return total, list(torch.autograd.grad(total, leaves))


def through_the_task(
    part: LossEvaluation, task: Task, term: Term, models: tuple[nn.Module, nn.Module], batch: Batch
) -> tuple[Tensor, list[Tensor]]:
    """Return the term's value in a player of the task, and its gradients by the student's parameters."""
    student, teacher = models
    player = Player(student, Terms.from_method(term), task)
    state = copy.deepcopy(part.loss.state_dict())
    provided = sorted(batch.extras)
    player.wire(profile_model(teacher, batch), batch, samples=len(batch), provides=provided)
    term.loss.double().load_state_dict(state)  # the vector's learned parts in place of new ones
    outputs = FeatureExtractor(teacher, player.teacher_layers())(batch.inputs)
    (value,) = player(batch, outputs.detach()).values()
    return value, list(torch.autograd.grad(value, list(student.parameters()), allow_unused=True))


def assert_published(part: LossEvaluation, term: Term, value: Tensor, gradients: list[Tensor], scale: float = 1.0):
    expected, direct = published(part)
    weight = term.weight * scale
    torch.testing.assert_close(value, weight * expected, rtol=1e-10, atol=1e-12)
    found = [x for x in gradients if x is not None and bool(x.any())]
    assert len(found) == len(direct)
    for gradient, of_vector in zip(found, direct, strict=True):
        torch.testing.assert_close(gradient, weight * of_vector.reshape(gradient.shape), rtol=1e-9, atol=1e-12)


def sides(part: LossEvaluation) -> tuple[list[Tensor], list[Tensor]]:
    """Return the levels of the student and of the teacher."""
    pairs = part._pairs()
    if isinstance(pairs[0][0], list):
        return pairs[0]
    return [student for student, _ in pairs], [teacher for _, teacher in pairs]


def feature_term(part: LossEvaluation, levels: int) -> Term:
    layers = [f"neck:{n}" for n in range(levels)]
    return Term(part.loss, student=layers, teacher=layers, connector="")


def masks_of(part: LossEvaluation, count: int, size: int) -> Tensor:
    return part.loss_kwargs.get("targets", torch.zeros(count, size, size, dtype=torch.int64))


@pytest.mark.parametrize("name", OF_MASKS)
def test_logits_of_pixels_give_the_published_loss(name):
    part = evaluation_of(name)
    ((student, teacher),) = part._pairs()
    models = Segmenter([], student), Segmenter([], teacher)
    batch = Batch(torch.zeros(len(student), 3, 4, 4, dtype=torch.float64), masks_of(part, len(student), 4))
    term = Term(part.loss)
    assert_published(part, term, *through_the_task(part, Segmentation(), term, models, batch))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_features_of_a_segmenter_give_the_published_loss(name):
    part = evaluation_of(name)
    levels, of_teacher = sides(part)
    count = len(levels[0])
    masks = masks_of(part, count, 8)
    logits = torch.zeros(count, CLASSES, *masks.shape[1:], dtype=torch.float64)
    models = Segmenter(levels, logits), Segmenter(of_teacher, logits)
    extras = {key: x for key, x in part.loss_kwargs.items() if key != "targets"}
    batch = Batch(torch.zeros(count, 3, *masks.shape[1:], dtype=torch.float64), masks, extras=extras)
    term = feature_term(part, len(levels))
    assert_published(part, term, *through_the_task(part, Segmentation(), term, models, batch))


def objects_of(part: LossEvaluation, count: int) -> list[dict[str, Tensor]]:
    boxes = part.loss_kwargs.get("boxes", torch.zeros(count, 1, 4, dtype=torch.float64) + torch.arange(4))
    return [{"boxes": each, "labels": torch.zeros(len(each), dtype=torch.int64)} for each in boxes]


@pytest.mark.parametrize("name", OF_BOXES)
def test_a_detectors_levels_give_the_published_loss_with_its_boxes(name):
    part = evaluation_of(name)
    levels, of_teacher = sides(part)
    count, places = len(levels[0]), torch.zeros(len(levels[0]), CLASSES, 5, dtype=torch.float64)
    models = OneStage(levels, places, places), OneStage(of_teacher, places, places)
    size = part.loss_kwargs["inputs"].shape[-2:] if "inputs" in part.loss_kwargs else (32, 32)
    extras = {key: x for key, x in part.loss_kwargs.items() if key not in ("boxes", "inputs")}
    inputs = torch.zeros(count, 3, *size, dtype=torch.float64)
    batch = Batch(inputs, objects=objects_of(part, count), extras=extras)
    term = feature_term(part, len(levels))
    assert_published(part, term, *through_the_task(part, Detection(CLASSES), term, models, batch))


def test_a_detectors_distribution_of_sides_gives_the_published_loss_with_the_teachers_scores():
    part = evaluation_of("ld")
    ((student, teacher),) = part._pairs()
    scores = part.loss_kwargs["weight"]
    logits = torch.logit(scores).expand(1, CLASSES, -1) - 5 * torch.arange(CLASSES)[:, None]
    logits[:, 0] = torch.logit(scores)
    models = OneStage([], logits, student.mT[None]), OneStage([], logits, teacher.mT[None])
    batch = Batch(torch.zeros(1, 3, 8, 8, dtype=torch.float64), objects=objects_of(part, 1))
    term = Term(part.loss, part="box_distribution")
    value, gradients = through_the_task(part, Detection(CLASSES), term, models, batch)
    *_, gradient = (x for x in gradients if x is not None)
    expected, (direct,) = published(part)
    weight = term.weight / float(scores.mean())
    torch.testing.assert_close(value, weight * expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient[0].mT, weight * direct, rtol=1e-9, atol=1e-12)


def test_every_dense_vector_is_here():
    dense = {path.stem.partition("__")[0] for path in FOLDER.glob("*.json") if read(path).kind == "dense"}
    assert dense == {*OF_MASKS, *OF_FEATURES, *OF_BOXES, "ld"}
