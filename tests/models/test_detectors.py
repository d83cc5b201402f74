"""Detectors: the objects that places are assigned to, and the losses that a teacher's boxes bound."""

from __future__ import annotations

import copy

import pytest
import torch
from torchvision.models.detection.image_list import ImageList

from tutelage.errors import ConfigError
from tutelage.losses.regression.attentive_imitation import AttentiveImitation
from tutelage.losses.regression.teacher_bounded_regression import TeacherBoundedRegression
from tutelage.models import create
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.structures import Batch
from tutelage.tasks.detection import Detection
from tutelage.teachers.frozen import Frozen


@pytest.mark.parametrize(
    "name", ["fcosdist-resnet10-32", "retinanet-resnet10-32", "torchvision:ssdlite320_mobilenet_v3_large"]
)
def test_places_get_the_objects_that_torchvision_assigns_to_them(name):
    torch.manual_seed(0)
    model = create(name, classes=2, task="detection").model.train()
    images = torch.randn(2, 3, 128, 96)
    objects = [
        {
            "boxes": torch.tensor([[4.0, 4, 60, 80], [10, 20, 30, 40], [50, 60, 90, 120]]),
            "labels": torch.tensor([1, 0, 1]),
        },
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    outputs = model(images, objects)
    torch.manual_seed(0)
    targets = [{"boxes": each["boxes"], "labels": each["labels"] + model.first_class} for each in objects]
    model.apply(lambda module: setattr(module, "momentum", 0.0) if hasattr(module, "running_mean") else None)
    expected = model.detector(list(images), targets)
    for loss in model.loss_names:
        torch.testing.assert_close(outputs["losses"][loss], expected[loss])
    coded = outputs["part_targets"]["boxes"]
    assert coded.shape == outputs["boxes"].shape
    assert coded[1].isnan().all()
    assigned = coded[0].isfinite().all(0)
    assert assigned.any()
    assert not assigned.all()
    anchors = model.detector.anchor_generator(ImageList(images, [(128, 96)] * 2), list(model.features(images).values()))
    decode = model.box_coder.decode if "fcos" in name else model.box_coder.decode_single
    boxes = decode(coded[0].mT[assigned], anchors[0][assigned])
    distance = (boxes[:, None] - objects[0]["boxes"]).abs().amax(2).amin(1)
    assert distance.max() < 1e-3


def test_a_teacher_bounds_the_boxes_of_assigned_places():
    """The loss of a run is Chen et al.'s, of the places with an object, in the detectors' code."""
    torch.manual_seed(0)
    student, teacher = (create("fcos-resnet10-32", classes=2, task="detection").model.eval() for _ in range(2))
    objects = [
        {"boxes": torch.tensor([[4.0, 4, 30, 40]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[8.0, 8, 20, 20], [16, 10, 60, 44]]), "labels": torch.tensor([0, 0])},
    ]
    batch = Batch(torch.randn(2, 3, 48, 64), objects=objects)
    term = Term(TeacherBoundedRegression(nu=0.5), part="boxes")
    player = Player(student, Terms.from_method(term), Detection(2))
    frozen = Frozen(teacher, Detection(2))
    player.wire(frozen.profile(batch), batch, 8)
    (value,) = player(batch, frozen(batch, player.teacher_layers())).values()
    with torch.no_grad():
        outputs, of_teacher = student(batch.inputs, objects), teacher(batch.inputs)["boxes"]
    targets = outputs["part_targets"]["boxes"]
    s, t, y = (x.mT[targets.isfinite().all(1)] for x in (outputs["boxes"], of_teacher, targets))
    error, bound = (s - y).pow(2).sum(1), (t - y).pow(2).sum(1)
    truth = torch.nn.functional.smooth_l1_loss(s, y, reduction="none").sum(1)
    expected = truth.mean() + (0.5 * error * (error > bound)).mean()
    torch.testing.assert_close(value, term.weight * expected)
    gradient = torch.autograd.grad(value, list(student.detector.head.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in gradient)


def test_an_image_without_objects_has_no_bounded_boxes():
    torch.manual_seed(0)
    model = create("fcos-resnet10-32", classes=2, task="detection").model.eval()
    batch = Batch(torch.randn(1, 3, 48, 64), objects=[{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}])
    player = Player(model, Terms.from_method(Term(TeacherBoundedRegression(), part="boxes")), Detection(2))
    frozen = Frozen(copy.deepcopy(model), Detection(2))
    player.wire(frozen.profile(batch), batch, 8)
    (value,) = player(batch, frozen(batch, player.teacher_layers())).values()
    assert value == 0
    value.backward()


def test_losses_of_whole_outputs_are_refused_where_targets_are_known_at_some_places():
    model = create("fcos-resnet10-32", classes=2, task="detection").model.eval()
    batch = Batch(
        torch.randn(2, 3, 48, 64), objects=[{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}] * 2
    )
    player = Player(model, Terms.from_method(Term(AttentiveImitation(), part="boxes")), Detection(2))
    with pytest.raises(ConfigError, match="it has targets at some places alone"):
        player.wire(Frozen(copy.deepcopy(model), Detection(2)).profile(batch), batch, 8)
