"""What every loss costs, forward and backward, relative to KD; and three against the forms that they replace.

    python bench/losses.py

Maps as a ResNet-20 gives them for a batch of 64 (16×32×32, 32×16×16, 64×8×8), embeddings of 64, 100 classes, the
teacher alike; for sequences 512 tokens of 32,000. Time: one thread, process time, the minimum over interleaved rounds.
Memory: the most that is held at once beyond what was there before. Losses that take lists or other kinds of inputs, or
ask for more than a run of classification gives, are left out. Writes results/losses.json, which the site shows.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from crd import losses as rivals
from measure import conclude, least_seconds
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tutelage.errors import ConfigError
from tutelage.losses.base import IGNORED, Loss, Sequence
from tutelage.losses.response.kd import KD
from tutelage.losses.sequence.gkd import GKD
from tutelage.objective.reduction import mean
from tutelage.utils import registry

BATCH, CLASSES, SAMPLES = 64, 100, 50_000
STAGES = ((16, 32), (32, 16), (64, 8))
TOKENS, WORDS = 512, 32_000
RESULTS = Path(__file__).parent / "results" / "losses.json"
Call = Callable[[], None]
Pairs = list[tuple[Any, Any]]


def maps() -> list[Tensor]:
    """A network's last map of each stage."""
    return [torch.randn(BATCH, channels, side, side).requires_grad_() for channels, side in STAGES]


def pairs(cls: type[Loss]) -> Pairs:
    """What it is called with, one call after the other, as a term would."""
    if issubclass(cls, Sequence):
        return [(torch.randn(1, TOKENS, WORDS, requires_grad=True), torch.randn(1, TOKENS, WORDS))]
    if cls.feature_format == "vector":
        return [(torch.randn(BATCH, 64, requires_grad=True), torch.randn(BATCH, 64))]
    if cls.compares == "response" and cls.maskable:
        return [(torch.randn(BATCH, CLASSES, requires_grad=True), torch.randn(BATCH, CLASSES))]
    student, teacher = maps(), [x.detach() for x in maps()]
    chosen = {"stages": slice(0, 3), "hint": slice(1, 2)}.get(cls.compares, slice(2, 3))
    return (
        [(student, teacher)] if cls.compares == "review" else list(zip(student[chosen], teacher[chosen], strict=True))
    )


def asked(cls: type[Loss]) -> dict[str, Any] | None:
    """What it asks for, as far as classification or the tokens give it; None if they don't."""
    words = issubclass(cls, Sequence)
    known = {
        "targets": torch.randint(WORDS, (1, TOKENS)) if words else torch.randint(CLASSES, (BATCH,)),
        "index": torch.randperm(SAMPLES)[:BATCH],
        "epoch": 1.0,
        "head": (torch.randn(CLASSES, 64), torch.randn(CLASSES)),
    }
    return (
        None
        if cls.list_inputs or not {*cls.required_inputs()} <= {*known}
        else {name: known[name] for name in cls.required_inputs()}
    )


def both_ways(loss: Callable[..., Any], given: Pairs, asks: dict[str, Any]) -> Call:
    """Forward and backward of the loss on each pair."""
    leaves = [x for student, _ in given for x in (student if isinstance(student, list) else [student])]

    def call() -> None:
        torch.stack([mean(loss(student, teacher, **asks)) for student, teacher in given]).sum().backward()
        for x in leaves:
            x.grad = None

    return call


def calls(tokens: bool) -> dict[str, Call]:
    """Every loss of tokens, or every other one, by name; KD with the same logits first."""
    loss, given = KD(), pairs(KD)
    if tokens:
        given = [(x[0].detach().requires_grad_(), y[0]) for x, y in pairs(Sequence)]
    found = {"kd": both_ways(loss, given, {})}
    for name, entry in registry.catalogue("losses").items():
        cls = entry.load()
        asks = asked(cls)
        if asks is None or issubclass(cls, Sequence) != tokens or cls is KD:
            continue
        loss, given = cls(), pairs(cls)
        try:
            loss.build(*given[0], SAMPLES)
            call = both_ways(loss, given, asks)
            call()
        except ConfigError:
            continue  # its inputs are of another kind
        found[name] = call
    return found


def most_held(call: Call) -> int:
    """The most bytes that a call holds at once beyond what it found."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def measured(variants: dict[str, Call], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds and megabytes of each, and both relative to KD's."""
    seconds = least_seconds(variants, rounds, warm=1)
    memory = {name: most_held(call) for name, call in variants.items()}
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
    """The generalised JSD of all positions, of which the labelled are taken then, as TRL has it."""
    s, t = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    half = torch.tensor(0.5).log()
    m = torch.logsumexp(torch.stack([s + half, t + half]), dim=0)
    values = (F.kl_div(m, t, reduction="none", log_target=True) + F.kl_div(m, s, reduction="none", log_target=True)) / 2
    return values[targets != IGNORED].sum(1)


def masked() -> dict[str, Call]:
    """The generalised JSD with three quarters of the tokens masked, which both forms must agree on."""
    given = pairs(GKD)
    targets = torch.randint(WORDS, (1, TOKENS))
    targets[:, : 3 * TOKENS // 4] = IGNORED
    forms = {"gkd": GKD(), "masked_after": everywhere_then_masked}
    values = [form(*given[0], targets=targets) for form in forms.values()]
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-5)
    return {name: both_ways(form, given, {"targets": targets}) for name, form in forms.items()}


def table(found: dict[str, dict[str, float]]) -> None:
    """Print them from the cheapest to the dearest."""
    for name, it in sorted(found.items(), key=lambda item: item[1]["time"]):
        print(f"{name:26} {it['ms']:9.2f} ms {it['time']:9.3g} × KD {it['mb']:9.2f} MB {it['memory']:9.3g} × KD")
    print()


def main() -> None:
    """Measure, write, and hold the three to their bounds."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    of_images = measured(calls(tokens=False), rounds=5)
    table(of_images)
    of_tokens = measured(calls(tokens=True), rounds=2)
    table(of_tokens)
    versions = {"torch": torch.__version__, "machine": platform.machine()}
    text = json.dumps({**versions, "losses": of_tokens | of_images}, indent=1, sort_keys=True)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    replaced = least_seconds(rivals(), 15)
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
