"""The trainer's options, each declared once with its help and its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, Required, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator, with_config
from typing_extensions import TypedDict

from tutelage.errors import ConfigError
from tutelage.utils.key_types import ChangesOnResume, EntryTypes, InBaseline, RunWide, to_plain

Epochs = Annotated[int, Field(ge=1, le=100_000)]
Share = Annotated[float, Field(ge=0, lt=1)]


MixName = Literal["mixup", "cutmix", "mixup+cutmix"]


@with_config(ConfigDict(extra="forbid", strict=True))
class MixSpec(TypedDict, total=False):
    """The options of mixed batches, as of `data.mixing.Mixing`."""

    name: Required[MixName]
    alpha: Annotated[float, Field(gt=0, le=100)]
    probability: Annotated[float, Field(gt=0, le=1)]


class OptimizerSettings(NamedTuple):
    """An optimiser with its learning rate and decay."""

    optimizer: str
    lr: float
    weight_decay: float


DEFAULTS = {"sgd": OptimizerSettings("sgd", 0.05, 5e-4), "adamw": OptimizerSettings("adamw", 1e-3, 0.05)}
"""Each optimiser's default settings."""


class TrainerSettings(BaseModel):
    """The trainer's options; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True, strict=True, allow_inf_nan=False)

    epochs: ChangesOnResume[Epochs] = Field(30, description="passes over the training data")
    batch_size: int = Field(64, ge=1, le=1_000_000, description="samples a step, over all devices")
    mix: MixName | Annotated[MixSpec, EntryTypes(get_type_hints(MixSpec, include_extras=True))] | None = Field(
        None,
        description="mix the samples of each training batch in pairs, inputs and targets: mixup, cutmix, mixup+cutmix "
        "(one of them for each batch), or {name: …, alpha: …, probability: …}",
    )
    lr: ChangesOnResume[float | None] = Field(
        None, gt=0, le=100, description="peak learning rate; None: 0.05 for sgd, 0.001 for adamw"
    )
    optimizer: Literal["auto", "sgd", "adamw"] = Field(
        "auto",
        description="sgd (with momentum), adamw, or auto: adamw for networks with layer norms (transformers), "
        "unless lr is above 0.01; sgd for the others",
    )
    momentum: Share = Field(0.9, description="momentum of sgd")
    nesterov: bool = Field(True, description="Nesterov momentum of sgd; false: plain momentum")
    dot: Annotated[Share, InBaseline(0.0)] = Field(
        0.0,
        description="DOT's gap: momentum + gap for the distillation terms, momentum − gap for the task loss; 0: one "
        "momentum",
    )
    weight_decay: float | None = Field(
        None, ge=0, le=10, description="weight decay; None: 0.0005 for sgd, 0.05 for adamw"
    )
    schedule: Literal["cosine", "step", "constant"] = Field("cosine", description="schedule of the learning rate")
    milestones: list[float] = Field(
        [0.625, 0.75, 0.875],
        max_length=100,
        description="shares of the training after which schedule=step divides lr by 10",
    )
    lr_warmup: float | None = Field(
        None,
        ge=0,
        le=100_000,
        description="epochs over which the learning rate rises from 0; None: a twentieth of the training, at most 5",
    )
    clip: float | None = Field(
        5.0,
        gt=0,
        le=1e9,
        description="largest gradient norm of each optimiser's parameters; none: no clipping",
    )
    accumulate: int = Field(1, ge=1, le=10_000, description="batches whose gradients make one step")
    precision: RunWide[Literal["32", "bf16", "16"]] = Field(
        "32", description="32, or mixed with bf16 or 16 (fp16: GPU only)"
    )
    device: RunWide[ChangesOnResume[str]] = Field(
        "auto", min_length=1, max_length=100, description="auto, cpu, cuda, mps"
    )
    devices: RunWide[int] = Field(
        1, ge=1, le=4096, description="number of devices, with one process each; batches are divided among them"
    )
    strategy: RunWide[Literal["ddp", "fsdp"]] = Field(
        "ddp",
        description="with several devices: each has the whole student (ddp), or a share of its weights (fsdp: less "
        "memory)",
    )
    channels_last: bool = Field(True, description="image batches and networks in the faster memory layout")
    compile: bool = Field(False, description="torch.compile student and teacher")
    recompute: bool = Field(
        False,
        description="recompute the student's activations in the backward pass: less memory, about a third more time",
    )
    ema: Share | None = Field(None, description="decay of a moving average of the student, which becomes the result")
    patience: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="epochs without a better validation metric after which training stops; None: never",
    )
    keep: Literal["last", "best"] = Field("last", description="the last epoch's student, or the best on validation")
    snapshots: Annotated[list[int], InBaseline([])] = Field(
        [],
        max_length=1000,
        description="epochs after which the network is also kept, as epoch-N.safetensors in its training's folder",
    )
    seed: RunWide[int] = Field(0, ge=0, le=2**31, description="seed of all random numbers")
    views: RunWide[int | None] = Field(
        None,
        ge=1,
        le=100_000,
        description="number of augmented views of a sample, repeated in turn over the epochs; None: a new one each "
        "epoch, or 4 with a cache",
    )
    view_seed: RunWide[int] = Field(
        0, ge=0, le=2**31, description="seed of the augmented views, if their number is set"
    )
    workers: ChangesOnResume[int] = Field(0, ge=0, le=256, description="processes that decode images")
    log_every: ChangesOnResume[int] = Field(20, ge=1, le=1_000_000, description="steps between log points")
    checkpoint_every: ChangesOnResume[float] = Field(
        60.0, ge=0, le=1e9, description="seconds between checkpoints; 0: after each step"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_plain_value(cls, value: Any) -> Any:
        return to_plain(value)

    @field_validator("precision", "teacher_precision", mode="before", check_fields=False)
    @classmethod
    def _as_text(cls, precision: object) -> object:
        return str(precision) if type(precision) is int else precision

    @property
    def rise(self) -> float:
        """The number of epochs over which the learning rate rises."""
        return min(self.epochs / 20, 5.0) if self.lr_warmup is None else self.lr_warmup

    @property
    def sharded(self) -> bool:
        """True if each device holds a share of the weights."""
        return self.strategy == "fsdp" and self.devices > 1

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._follow()
        if result := list(self.contradictions()):
            raise ValueError("\n".join(result))
        return self

    def _follow(self) -> None:
        """Set the keys that follow from others."""
        if self.patience is not None and self.keep == "last":
            self.keep = "best"

    def contradictions(self) -> Iterator[str]:
        """Yield a sentence for each set of keys that contradict each other."""
        if self.rise >= self.epochs:
            yield f"lr_warmup={self.lr_warmup} takes all of epochs={self.epochs}: make it shorter"
        if any(not 0 < m < 1 for m in self.milestones) or sorted(self.milestones) != self.milestones:
            yield f"milestones={self.milestones}: expected rising shares between 0 and 1"
        if any(not 1 <= epoch <= self.epochs for epoch in self.snapshots):
            yield f"snapshots={self.snapshots}: expected epochs from 1 to epochs={self.epochs}"
        if self.batch_size % self.devices:
            yield f"batch_size={self.batch_size} can't be spread over devices={self.devices}: make it a multiple"
        if self.dot:
            yield from self._contradictions_of_dot()
        if not self.nesterov and self.optimizer == "adamw":
            yield "nesterov=false is for sgd, and optimizer=adamw: leave it out"
        if self.recompute and self.compile:
            yield "recompute=true, compile=true: the compiler itself chooses what to recompute; take one"
        barred = {"ema": self.ema is not None, "compile": self.compile, "precision=16": self.precision == "16"}
        if self.sharded and any(barred.values()):
            conflicts = ", ".join(name for name, is_set in barred.items() if is_set)
            yield f"strategy=fsdp doesn't go with {conflicts}: leave it out, or use strategy=ddp"
        if self.precision == "16" and self.device == "cpu":
            yield "precision=16 needs a GPU (device=cuda): on the CPU use precision=32"

    def _contradictions_of_dot(self) -> Iterator[str]:
        barred = {
            "optimizer=adamw": self.optimizer == "adamw",
            "accumulate": self.accumulate > 1,
            "devices": self.devices > 1,
            "precision=16": self.precision == "16",
        }
        if any(barred.values()):
            conflicts = ", ".join(name for name, is_set in barred.items() if is_set)
            yield f"dot={self.dot} keeps two gradients apart, which doesn't go with {conflicts}: leave it out"
        if not self.dot <= self.momentum < 1 - self.dot:
            yield f"dot={self.dot}: momentum={self.momentum} ± {self.dot} must lie in 0 … 1"


def refuse_accumulation(settings: TrainerSettings, steps: int) -> None:
    """Refuse to gather the gradients of more batches than an epoch has."""
    if settings.accumulate > steps:
        raise ConfigError(
            f"accumulate={settings.accumulate} batches, but an epoch has {steps}: make it or batch_size smaller."
        )


def lr_multiplier(settings: TrainerSettings, steps_an_epoch: int) -> Callable[[int], float]:
    """The learning rate at a step, as a share of its peak: a linear rise, then cosine, steps of 1/10, or constant."""
    total = settings.epochs * steps_an_epoch
    rise = settings.rise * steps_an_epoch

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        done = min((step - rise) / max(total - rise, 1), 1.0)
        if settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if settings.schedule == "step":
            return 0.1 ** sum(done >= m for m in settings.milestones)
        return 1.0

    return share
