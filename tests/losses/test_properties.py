"""What holds for every loss of the catalogue, found by scanning it; the examples follow from the loss's facts."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.losses import base
from tutelage.losses.base import INVARIANCES, Loss, LossValues, Sequence
from tutelage.utils import registry
from tutelage.verify.checker import VectorCheck
from tutelage.verify.vector import read

ENTRIES = registry.catalogue("losses")
CATALOGUE = {name: entry.load() for name, entry in ENTRIES.items() if name != "model_loss"}  # the model computes it
B, C = 6, 5
SAMPLES = 40
PERMUTATION_INVARIANT = {name: cls for name, cls in CATALOGUE.items() if cls.permutation_invariant}
COMPILED = {name: cls for name, cls in CATALOGUE.items() if cls.compiles}
STATIC = {name: cls for name, cls in COMPILED.items() if not cls.data_dependent_size}


def each(losses: dict[str, type[Loss]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cls", losses.values(), ids=losses)


every_loss = each(CATALOGUE)


@dataclass
class Example:
    """What a loss is called with."""

    student: Any
    teacher: Any
    asked: dict[str, Any]


def shapes(cls: type[Loss]) -> list[tuple[int, ...]]:
    if cls.compares == "response":
        return [(C,), (C, 2, 3)] if cls.maskable else [(C, 4, 3)]
    return [(C,)] if cls.feature_format == "vector" else [(C, 4, 4)]


def make(shape: tuple[int, ...], dtype: torch.dtype, scale: float = 1.0, size: int = B) -> Tensor:
    return scale * torch.randn(size, *shape, dtype=dtype)


def fitted(value: Any, dtype: torch.dtype, scale: float, size: int) -> Any:
    """A loss's own example: its first samples, scaled."""
    if isinstance(value, dict):
        return {name: fitted(x, dtype, scale, size) for name, x in value.items()}
    if isinstance(value, list):
        return [fitted(x, dtype, scale, size) for x in value]
    if isinstance(value, tuple):
        return tuple(x.to(dtype) for x in value)  # weights: of no sample
    if not isinstance(value, Tensor):
        return value
    return (scale * value[:size]).to(dtype) if value.is_floating_point() else value[:size]


def examples(
    cls: type[Loss], dtype: torch.dtype = torch.float32, scale: float = 1.0, size: int = B
) -> Iterator[Example]:
    """One for each form the loss takes."""
    if (own := cls.example()) is not None:
        yield Example(*(fitted(part, dtype, scale, size) for part in own))
        return
    for shape in shapes(cls):
        positions = shape[1:] if cls.compares == "response" else ()
        known = {
            "targets": torch.randint(C, (size, *positions)),
            "index": torch.randperm(SAMPLES)[:size],
            "epoch": 1.0,
            "inputs": torch.randn(size, 3, 8, 8, dtype=dtype),
            "head": (torch.randn(7, C, dtype=dtype), torch.randn(7, dtype=dtype)),
        }
        asked = {name: known[name] for name in cls.required_inputs()}
        if cls.compares == "review":
            lists = [[make((C, side, side), dtype, scale, size) for side in (8, 4, 1)] for _ in range(2)]
            yield Example(*lists, asked)
        else:
            yield Example(make(shape, dtype, scale, size), make(shape, dtype, scale, size), asked)


def built(cls: type[Loss], example: Example) -> Loss:
    loss = cls()
    loss.build(example.student, example.teacher, SAMPLES)
    return loss


def call(loss: Loss, example: Example) -> LossValues:
    return loss(example.student, example.teacher if loss.needs_teacher else None, **example.asked)


def parts(values: LossValues) -> list[Tensor]:
    return list(values.values()) if isinstance(values, dict) else [values]


def reduced(values: LossValues) -> Tensor:
    return torch.stack([part.mean() for part in parts(values)]).sum()


def tensors(side: Any) -> list[Tensor]:
    return side if isinstance(side, list) else [] if side is None else [side]


def reordered(side: Any, order: Tensor) -> Any:
    if isinstance(side, list):
        return [x[order] for x in side]
    return side[order] if isinstance(side, Tensor) else side


def agreeing(example: Example) -> Example:
    """The student says what the teacher says; of several students or teachers, each does."""
    student, teacher = example.student, example.teacher
    if isinstance(teacher, list) and isinstance(student, Tensor):
        return replace(example, teacher=[student] * len(teacher))
    if isinstance(student, list) and isinstance(teacher, Tensor):
        return replace(example, student=[teacher] * len(student))
    return example if teacher is None else replace(example, student=teacher)


def values_and_gradients(cls: type[Loss], example: Example) -> Iterator[Tensor]:
    loss = built(cls, example)
    leaves = [x.requires_grad_() for x in tensors(example.student)]
    values = call(loss, example)
    yield from parts(values)
    yield from torch.autograd.grad(reduced(values), leaves + list(loss.parameters()))


def test_the_catalogue_is_found() -> None:
    files = (Path(base.__file__).parent / group for group in {entry.group for entry in ENTRIES.values()})
    assert len(CATALOGUE) >= sum(len(list(folder.glob("[!_]*.py"))) for folder in files) > 1


@every_loss
def test_finite(cls: type[Loss]) -> None:
    """Also for a batch of one, for zeros (all equal, without direction) and for very large values."""
    for size, scale in product([1, 2, B], [0.0, 1e-4, 1.0, 1e4]):
        torch.manual_seed(0)
        for example in examples(cls, scale=scale, size=size):
            assert all(x.isfinite().all() for x in values_and_gradients(cls, example)), f"{size=}, {scale=}"


@every_loss
def test_finite_with_a_dead_sample_and_a_constant_channel(cls: type[Loss]) -> None:
    for example in examples(cls):
        for x in tensors(example.student):
            x[0] = 0
            x[1] = x[2]
            x[:, 0] = 3.0
        assert all(x.isfinite().all() for x in values_and_gradients(cls, example))


@every_loss
def test_gradient_reaches_the_student_and_what_is_learned(cls: type[Loss]) -> None:
    for example in examples(cls):
        loss = built(cls, example)
        students = [x.requires_grad_() for x in tensors(example.student)]
        reduced(call(loss, example)).backward()
        assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in students)
        assert all(p.grad is not None for p in loss.parameters())
        assert all(x.grad is None and not x.requires_grad for x in tensors(example.teacher))


@every_loss
def test_keeps_the_dtype(cls: type[Loss]) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        torch.manual_seed(0)
        for example in examples(cls, dtype):
            values = parts(call(built(cls, example), example))
            assert all(part.dtype == dtype and part.isfinite().all() for part in values), dtype


@every_loss
def test_leaves_its_inputs_alone(cls: type[Loss]) -> None:
    for example in examples(cls):
        sides = tensors(example.student) + tensors(example.teacher) + list(example.asked.values())
        given = [x for x in sides if isinstance(x, Tensor)]
        before = [x.clone() for x in given]
        call(built(cls, example), example)
        assert all(torch.equal(x, y) for x, y in zip(before, given, strict=True))


@every_loss
def test_repeats_itself(cls: type[Loss]) -> None:
    for example in examples(cls):
        results = []
        for _ in range(2):
            torch.manual_seed(5)
            results.append(reduced(call(built(cls, example), example)))
        assert torch.equal(*results)


@every_loss
def test_is_zero_where_the_student_says_what_the_teacher_says(cls: type[Loss]) -> None:
    for example in examples(cls, torch.float64):
        value = reduced(call(built(cls, example), agreeing(example)))
        if cls.zero_at_equal:
            assert abs(value.item()) < 1e-4
            assert reduced(call(built(cls, example), example)).item() > 1e-3
        else:
            assert abs(value.item()) > 1e-3


@each(PERMUTATION_INVARIANT)
def test_order_in_the_batch_does_not_matter_where_it_says_so(cls: type[Loss]) -> None:
    for example in examples(cls, torch.float64):
        loss, order = built(cls, example), torch.randperm(B)
        asked = {name: reordered(x, order) for name, x in example.asked.items()}
        student, teacher = (reordered(side, order) for side in (example.student, example.teacher))
        again = Example(student, teacher, asked)
        twin = deepcopy(loss)  # banks and centres move
        torch.testing.assert_close(reduced(call(loss, example)), reduced(call(twin, again)))


@every_loss
def test_says_where_it_is_from(cls: type[Loss]) -> None:
    assert cls.paper
    assert cls.compares in ("response", "stages", "review", "hint", "last", "embedding")
    assert cls.feature_format in ("", "map", "vector")
    assert cls.default_weight > 0


# what it says it ignores


def classes_of(cls: type[Loss]) -> int:
    return -1 if issubclass(cls, Sequence) else 1


def changed(x: Tensor, invariance: str, classes: int) -> Tensor:
    """One side, as the invariance allows."""
    if invariance == "shift of logits":
        return x + torch.randn_like(x.narrow(classes, 0, 1))
    if invariance == "scale":
        return 2.5 * x
    if invariance == "scale of each sample":
        return x * torch.linspace(0.5, 3, len(x), dtype=x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    if invariance == "translation":
        return x + torch.randn_like(x[:1])
    if invariance == "rotation":
        q, _ = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], dtype=x.dtype))
        return torch.einsum("bc...,cd->bd...", x, q)
    assert invariance == "order of channels"
    return x[:, torch.arange(x.shape[1]).roll(1)]


def both_changed(cls: type[Loss], example: Example, invariance: str) -> Example:
    if invariance == "swapped sides":
        return replace(example, student=example.teacher, teacher=example.student)

    def one(side: Any) -> Any:
        if isinstance(side, list):
            return [one(x) for x in side]
        return side if side is None else changed(side, invariance, classes_of(cls))

    return replace(example, student=one(example.student), teacher=one(example.teacher))


@pytest.mark.parametrize(
    ("cls", "invariance"),
    [pytest.param(cls, what, id=f"{name}-{what}") for name, cls in CATALOGUE.items() for what in cls.ignores],
)
def test_ignores_what_it_says(cls: type[Loss], invariance: str) -> None:
    assert invariance in INVARIANCES
    for example in examples(cls, torch.float64):
        loss = built(cls, example)
        again = reduced(call(deepcopy(loss), both_changed(cls, example, invariance)))
        torch.testing.assert_close(reduced(call(loss, example)), again, rtol=1e-6, atol=1e-9)


# how it runs


@every_loss
def test_close_under_autocast(cls: type[Loss]) -> None:
    example = next(examples(cls))
    loss = built(cls, example)
    results = []
    for enabled in (False, True):
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results.append(reduced(call(deepcopy(loss), example)).float())
    torch.testing.assert_close(results[1], results[0], rtol=0.1, atol=0.01)


@each(COMPILED)
def test_compiles_whole_where_it_says_so(cls: type[Loss]) -> None:
    torch.compiler.reset()
    example = next(examples(cls))
    loss = built(cls, example)
    results = []
    for call_it in (call, torch.compile(call, backend="eager", fullgraph=True)):
        torch.manual_seed(5)
        results.append(reduced(call_it(deepcopy(loss), example)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@each(STATIC)
def test_keeps_the_device(cls: type[Loss]) -> None:
    """On meta tensors, without data: no tensor is created on another device, and no number is read."""
    example = next(examples(cls))
    loss = built(cls, example).to("meta")
    with torch.device("meta"):
        values = call(loss, next(examples(cls)))
    assert all(part.device.type == "meta" for part in parts(values))


@every_loss
def test_says_which_sides_are_lists(cls: type[Loss]) -> None:
    for example in examples(cls):
        sides = {"student": example.student, "teacher": example.teacher}
        lists = tuple(name for name, side in sides.items() if isinstance(side, list))
        assert cls.list_inputs == lists or cls.compares == "review"


def test_says_what_it_is_held_to() -> None:
    """Those with a vector, and only those, are held to published numbers."""
    vectors = (Path(__file__).parents[1] / "vectors").glob("*.json")
    backed = {type(part.loss) for path in vectors for _, part in VectorCheck(read(path)).parts}
    for name, entry in ENTRIES.items():
        assert entry.backing == ("published numbers" if CATALOGUE.get(name) in backed else "the paper's formula"), name
