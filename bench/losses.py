"""Measure the cost of every loss, forward and backward, relative to KD; and of three relative to their naive forms.

    python bench/losses.py

Feature maps of a ResNet-20 for a batch of 64 (16×32×32, 32×16×16, 64×8×8), embeddings of 64, 100 classes, the same for
the teacher; for sequences 512 tokens with a vocabulary of 32,000. Time: one thread, process time, the minimum over
interleaved rounds. Memory: the peak of the memory that is allocated in addition to what existed before. Losses that
take lists or other kinds of inputs, or require inputs that a classification run doesn't provide, are left out. Writes
results/losses.json, which the site shows.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from crd import losses as losses_and_naive_forms
from measure import conclude, least_seconds
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tutelage.errors import ConfigError
from tutelage.losses.base import IGNORE_INDEX, Loss, Sequence
from tutelage.losses.response.kd import KD
from tutelage.losses.sequence.gkd import GKD
from tutelage.objective.reduction import mean
from tutelage.utils import registry

BATCH, CLASSES, SAMPLES = 64, 100, 50_000
STAGES = ((16, 32), (32, 16), (64, 8))
TOKENS, VOCABULARY = 512, 32_000
RESULTS = Path(__file__).parent / "results" / "losses.json"
Call = Callable[[], None]
Pairs = list[tuple[Any, Any]]


def maps() -> list[Tensor]:
    """Return the last feature map of each stage of a network."""
    return [torch.randn(BATCH, channels, side, side).requires_grad_() for channels, side in STAGES]


def pairs(cls: type[Loss]) -> Pairs:
    """Return the pairs of inputs with which a term would call the loss, one call each."""
    if issubclass(cls, Sequence):
        return [(torch.randn(1, TOKENS, VOCABULARY, requires_grad=True), torch.randn(1, TOKENS, VOCABULARY))]
    if cls.feature_format == "vector":
        return [(torch.randn(BATCH, 64, requires_grad=True), torch.randn(BATCH, 64))]
    if cls.compares == "response" and cls.maskable:
        return [(torch.randn(BATCH, CLASSES, requires_grad=True), torch.randn(BATCH, CLASSES))]
    student, teacher = maps(), [x.detach() for x in maps()]
    chosen = {"stages": slice(0, 3), "hint": slice(1, 2)}.get(cls.compares, slice(2, 3))
    return (
        [(student, teacher)] if cls.compares == "review" else list(zip(student[chosen], teacher[chosen], strict=True))
    )


def required_inputs(cls: type[Loss]) -> dict[str, Any] | None:
    """Return the further inputs that the loss requires; None if classification or the tokens don't provide them."""
    is_sequence = issubclass(cls, Sequence)
    known = {
        "targets": torch.randint(VOCABULARY, (1, TOKENS)) if is_sequence else torch.randint(CLASSES, (BATCH,)),
        "index": torch.randperm(SAMPLES)[:BATCH],
        "epoch": 1.0,
        "head": (torch.randn(CLASSES, 64), torch.randn(CLASSES)),
    }
    return (
        None
        if cls.list_inputs or not {*cls.required_inputs()} <= {*known}
        else {name: known[name] for name in cls.required_inputs()}
    )


def forward_backward(loss: Callable[..., Any], inputs: Pairs, loss_kwargs: dict[str, Any]) -> Call:
    """Return a function that runs the loss forward and backward on each pair."""
    leaves = [x for student, _ in inputs for x in (student if isinstance(student, list) else [student])]

    def call() -> None:
        torch.stack([mean(loss(student, teacher, **loss_kwargs)) for student, teacher in inputs]).sum().backward()
        for x in leaves:
            x.grad = None

    return call


def calls(tokens: bool) -> dict[str, Call]:
    """Return a call of every token loss, or of every other loss, by name; first KD with the same logits."""
    loss, inputs = KD(), pairs(KD)
    if tokens:
        inputs = [(x[0].detach().requires_grad_(), y[0]) for x, y in pairs(Sequence)]
    calls_by_name = {"kd": forward_backward(loss, inputs, {})}
    for name, entry in registry.catalogue("losses").items():
        cls = entry.load()
        loss_kwargs = required_inputs(cls)
        if loss_kwargs is None or issubclass(cls, Sequence) != tokens or cls is KD:
            continue
        loss, inputs = cls(), pairs(cls)
        try:
            loss.build(*inputs[0], SAMPLES)
            call = forward_backward(loss, inputs, loss_kwargs)
            call()
        except ConfigError:
            continue  # the loss takes another kind of inputs
        calls_by_name[name] = call
    return calls_by_name


def peak_memory(call: Call) -> int:
    """Return the peak of the bytes that a call allocates in addition to those in use before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    in_use = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            in_use += event.nbytes()
            peak = max(peak, in_use)
    return peak


def measure_costs(variants: dict[str, Call], rounds: int) -> dict[str, dict[str, float]]:
    """Measure milliseconds and megabytes of each call, and both relative to KD's."""
    seconds = least_seconds(variants, rounds, warm=1)
    memory = {name: peak_memory(call) for name, call in variants.items()}
    return {
        name: {
            "ms": round(1e3 * seconds[name], 3),
            "mb": round(memory[name] / 2**20, 2),
            "time": float(f"{seconds[name] / seconds['kd']:.3g}"),
            "memory": float(f"{memory[name] / memory['kd']:.3g}"),
        }
        for name in variants
    }


def everywhere_then_masked(student: Tensor, teacher: Tensor, *, targets: Tensor) -> Tensor:
    """Compute the generalised JSD at all positions and then select the labelled ones, as TRL does."""
    s, t = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    half = torch.tensor(0.5).log()
    m = torch.logsumexp(torch.stack([s + half, t + half]), dim=0)
    values = (F.kl_div(m, t, reduction="none", log_target=True) + F.kl_div(m, s, reduction="none", log_target=True)) / 2
    return values[targets != IGNORE_INDEX].sum(1)


def masked() -> dict[str, Call]:
    """Return calls of both forms of the generalised JSD with three quarters masked, after checking that they agree."""
    inputs = pairs(GKD)
    targets = torch.randint(VOCABULARY, (1, TOKENS))
    targets[:, : 3 * TOKENS // 4] = IGNORE_INDEX
    forms = {"gkd": GKD(), "masked_after": everywhere_then_masked}
    values = [form(*inputs[0], targets=targets) for form in forms.values()]
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-5)
    return {name: forward_backward(form, inputs, {"targets": targets}) for name, form in forms.items()}


def print_table(costs: dict[str, dict[str, float]]) -> None:
    """Print the costs, the cheapest first."""
    for name, cost in sorted(costs.items(), key=lambda item: item[1]["time"]):
        print(
            f"{name:26} {cost['ms']:9.2f} ms {cost['time']:9.3g} × KD {cost['mb']:9.2f} MB {cost['memory']:9.3g} × KD"
        )
    print()


def main() -> None:
    """Measure, write the results, and check the three bounds."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    image_costs = measure_costs(calls(tokens=False), rounds=5)
    print_table(image_costs)
    token_costs = measure_costs(calls(tokens=True), rounds=2)
    print_table(token_costs)
    versions = {"torch": torch.__version__, "machine": platform.machine()}
    text = json.dumps({**versions, "losses": token_costs | image_costs}, indent=1, sort_keys=True)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    replaced = least_seconds(losses_and_naive_forms(), 15)
    jsd = least_seconds(masked(), 3, warm=1)
    conclude(
        [
            ("nst/naive", replaced["nst"] / replaced["naive_nst"], 0.2),
            ("rkd_angle/naive", replaced["rkd_angle"] / replaced["naive_rkd_angle"], 0.7),
            ("gkd/masked_after", jsd["gkd"] / jsd["masked_after"], 0.25),
        ]
    )


if __name__ == "__main__":
    main()
