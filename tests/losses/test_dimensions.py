"""Losses of features compare maps of one, two and three dimensions, or refuse them in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.losses.test_properties import CATALOGUE, SAMPLES, B, Example, built, call, examples, parts, tensors
from tutelage import Batch, Term
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.base import Dense, Loss
from tutelage.models import create
from tutelage.nn.model_profile import ModelProfile, pair_stages, profile_model
from tutelage.structures import Outputs

OF_OTHER_DATA = {"fgd", "fgfi", "lsp"}
"""Losses that require boxes or a graph's edges."""
IN_PAIRS = {
    name: cls
    for name, cls in CATALOGUE.items()
    if not cls.only_for and not cls.list_inputs and name not in OF_OTHER_DATA
}
OF_LAYERS = {name: cls for name, cls in IN_PAIRS.items() if cls.compares != "response" or issubclass(cls, Dense)}
OF_MAPS = {
    name: cls
    for name, cls in CATALOGUE.items()
    if cls.feature_format == "map" and not cls.only_for and name not in OF_OTHER_DATA
}
NETWORKS = {
    1: ("conv1d-3-6", "conv1d-3-4", (40,)),
    2: ("cnn6", "cnn4", (12, 10)),
    3: ("conv3d-3-6", "conv3d-3-4", (9, 8, 8)),
}
FLATTENED = ("at", "nst", "fitnet", "fakd", "pkd", "cirkd_minibatch")
"""Losses whose formula takes the positions in any order."""


def as_dimensions(value: Any, dimensions: int, spatial: int) -> Any:
    """The first side of maps, or a third one, in place of their two; spatial: the first spatial dimension."""
    if isinstance(value, list):
        return [as_dimensions(x, dimensions, spatial) for x in value]
    if not isinstance(value, Tensor) or value.dim() != spatial + 2:
        return value
    if dimensions == 1:
        return value[..., 0]
    return value if dimensions == 2 else torch.stack([value, value.roll(1, -1)], dim=-1)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("cls", OF_MAPS.values(), ids=OF_MAPS)
def test_compares_maps(cls: type[Loss], dimensions: int) -> None:
    for example in examples(cls):
        student, teacher = (as_dimensions(side, dimensions, 2) for side in (example.student, example.teacher))
        asked = {
            name: as_dimensions(value, dimensions, 1) if name == "targets" else value
            for name, value in example.asked.items()
        }
        asked.pop("rand", None)
        changed = Example(student, teacher, asked)
        loss = built(cls, changed)
        for x in tensors(changed.student):
            x.requires_grad_()
        values = parts(call(loss, changed))
        assert all(part.isfinite().all() for part in values)
        torch.stack([part.mean() for part in values]).sum().backward()
        assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in tensors(changed.student))


@pytest.mark.parametrize("name", FLATTENED)
def test_positions_are_flattened(name: str) -> None:
    """A series counts as an image one pixel wide, and voxels as slices laid side by side."""
    cls = CATALOGUE[name]
    student, teacher = torch.randn(B, 5, 6), torch.randn(B, 5, 6)
    series = cls()(student, teacher)
    as_image = cls()(student[..., None], teacher[..., None])
    torch.testing.assert_close(as_image.flatten(), series.flatten())
    voxels = cls()(student.unflatten(2, (1, 2, 3)), teacher.unflatten(2, (1, 2, 3)))
    torch.testing.assert_close(voxels.flatten(), series.flatten())


def profiles(dimensions: int, other: int = 0) -> tuple[ModelProfile, ModelProfile, Batch]:
    """A student and a teacher of that number of dimensions; other: the student's, if it isn't the teacher's."""
    teacher_name, _, size = NETWORKS[dimensions]
    _, student_name, student_size = NETWORKS[other or dimensions]
    batch, student_batch = Batch(torch.randn(B, 2, *size)), Batch(torch.randn(B, 2, *student_size))
    student = profile_model(create(student_name, classes=4, channels=2).model, student_batch)
    return student, profile_model(create(teacher_name, classes=4, channels=2).model, batch), batch


def outputs_of(profile: ModelProfile, layers: tuple[str, ...]) -> Outputs:
    return Outputs(profile.response, {layer: profile.feature(layer) for layer in layers}, profile.metadata)


def wired(cls: type[Loss], student: ModelProfile, teacher: ModelProfile, batch: Batch) -> Term:
    """The loss between the networks' own layers, with all inputs that a batch or a scheme can have."""
    stages = len(student.stages), len(teacher.stages)
    extras = {
        "pair_weights": torch.rand(2, *stages),
        "channel_weights": [torch.rand(2, stages[0], stage.shape[0]) for stage in teacher.stages],
        "teacher_head_logits": torch.randn(2, 4),
    }
    options = {"classes": 4} if "classes" in cls.option_names() else {}
    targets = torch.randint(4, (len(batch),))
    first = Batch(batch.inputs[:2], targets[:2], torch.arange(2), extras=extras)
    term = Term(cls(**options))
    term.wire(student, teacher, first, SAMPLES)
    value = term(outputs_of(student, term.student_layers), outputs_of(teacher, term.teacher_layers), first)
    assert value.isfinite()
    return term


def refusal(cls: type[Loss], dimensions: int) -> type[Exception] | None:
    """The class of the error in words with which it refuses such networks; None if it compares them."""
    try:
        wired(cls, *profiles(dimensions))
    except (ConfigError, ModelError) as error:
        return type(error)
    return None


@pytest.mark.parametrize("cls", OF_LAYERS.values(), ids=OF_LAYERS)
def test_compares_series_and_voxels_as_images(cls: type[Loss]) -> None:
    """Between the layers of networks; refused in words are networks whose images are refused too."""
    assert refusal(cls, 1) == refusal(cls, 2) == refusal(cls, 3)


def test_most_are_compared() -> None:
    refused = {name for name, cls in OF_LAYERS.items() if refusal(cls, 1)}
    assert refused == {
        "attention_ce", "attention_mse", "minilm_relation",  # of transformers
        "cirkd_memory", "ifvd", "dsd",  # of segmentation
        "fsp", "token_mmd", "patientkd",  # of layers of equal channels
    }  # fmt: skip


@pytest.mark.parametrize("name", ["rkd", "crd", "pad", "pkt", "cc"])
def test_vectors_compare_a_series_with_an_image(name: str) -> None:
    wired(CATALOGUE[name], *profiles(2, other=1))


@pytest.mark.parametrize(("student", "teacher"), [(1, 2), (2, 1), (3, 2), (1, 3)])
def test_maps_of_different_dimensions_are_refused(student: int, teacher: int) -> None:
    with pytest.raises(ConfigError, match=r"AT compares maps .* have different numbers of dimensions; use .* rkd"):
        wired(CATALOGUE["at"], *profiles(teacher, other=student))


def test_a_loss_of_images_refuses_others() -> None:
    class Windows(CATALOGUE["at"]):  # type: ignore[misc]
        map_dimensions = (2,)

    wired(Windows, *profiles(2))
    for dimensions in (1, 3):
        with pytest.raises(ConfigError, match=f"Windows compares maps of 2 dimensions, .* have {dimensions}; use"):
            wired(Windows, *profiles(dimensions))


def test_stages_of_different_dimensions_pair_by_relative_resolution() -> None:
    student, teacher, _ = profiles(2, other=1)
    pairs = [(s.name, t.name) for s, t in pair_stages(student.stages, teacher.stages)]
    assert pairs == [("layer1", "layer1"), ("layer2", "layer2"), ("layer3", "layer3")]
