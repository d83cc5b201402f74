"""The keys of a run, each declared once with its help, its range and what marks it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tutelage.config.kinds import FURTHER, ExtraStudent, Method, NetworkList, Scheme, Spec, TeacherSpec
from tutelage.settings import TrainerSettings
from tutelage.utils.key_types import (
    ChangesOnResume,
    EntryTypes,
    FrozenOnly,
    InBaseline,
    MayNameStage,
    Name,
    NameOrPath,
    RunWide,
    Size,
)


class RunSettings(TrainerSettings):
    """Abstract: the keys of a run; `tutelage.config.schema.Config` checks them."""

    teacher: Annotated[MayNameStage[TeacherSpec | None], InBaseline(None)] = Field(
        None,
        description="model name, run folder, several of them (their mean), moving_average, {name: …, …options} of the "
        "catalogue (tutelage list teachers), {model: …, epochs: …, lr: …} with the keys teacher_…, or none; in a list "
        "each may have such keys of its own",
    )
    ensemble: Annotated[Literal["logits", "probabilities", "random", "annealed"], InBaseline("logits")] = Field(
        "logits",
        description="how several teachers answer as one: mean of logits or of probabilities, one at random for each "
        "batch, or one that moves from the first to the last",
    )
    student: Annotated[NameOrPath, EntryTypes({"model": str, "weights": str})] | None = Field(
        None, description="model name, run folder, or {model: …, weights: …}"
    )
    data: RunWide[NameOrPath] = Field(
        "digits", description="digits, folder:PATH, npz:FILE, cifar100:PATH … (tutelage list data)"
    )
    method: Annotated[Method, InBaseline(None)] = Field(
        "kd", description="loss, sum (kd+0.5*at), recipe, or list of terms"
    )
    recipe: RunWide[str | None] = Field(
        None, description="the recipe that sets what isn't said otherwise; method=RECIPE says it too"
    )
    scheme: Annotated[Scheme, InBaseline("offline")] = Field(
        "offline", description="who minimises what (tutelage list schemes): a name, or {name: …, …its options}"
    )
    peers: int | NetworkList = Field(
        2, description="students that learn together: how many, or each one's model or {model, weights}"
    )
    stages: RunWide[list[Annotated[Spec, EntryTypes({"name": str}, keys=True)]]] = Field(
        [],
        max_length=64,
        description="trainings before the student's: a list of {name, …keys}; `student` has the keys of its own",
    )
    column: RunWide[Name | None] = Field(
        None, description="of data with several label columns: train on this one alone; None: on all"
    )
    task: RunWide[str] = Field("auto", description="auto: what the data is for (tutelage list tasks)")
    seeds: RunWide[int] = Field(1, ge=1, le=1000, description="trainings of baseline and student, for intervals")
    baseline: RunWide[bool] = Field(True, description="also train the student alone, with the same budget")
    students: Annotated[list[Annotated[ExtraStudent, EntryTypes(FURTHER)]], InBaseline([])] = Field(
        [],
        max_length=64,
        description="further students on the same batches and answers: a list of {name, student, method, seed}",
    )
    teacher_classes: RunWide[Literal["parts"] | list[list[Name]] | None] = Field(
        None,
        description="classes that each of several teachers learns where it is trained here: a list each, or parts "
        "(as many each); None: all",
    )
    teacher_epochs: RunWide[int | None] = Field(
        None,
        ge=0,
        le=100_000,
        description="epochs to train the teacher here first; 0: not at all; None: epochs, or 0 for a run folder",
    )
    teacher_lr: RunWide[float | None] = Field(None, gt=0, le=100, description="its learning rate; None: lr")
    teacher_weights: NameOrPath | None = Field(None, description="file of the teacher's weights (safetensors or torch)")
    teacher_mean: list[float] | None = Field(
        None,
        description="by which the teacher's images were normalised, of pixels in [0, 1], one number a channel; None: "
        "as its name or its run says, or as the student's",
    )
    teacher_std: list[Annotated[float, Field(gt=0)]] | None = Field(None, description="deviations beside teacher_mean")
    teacher_scheme: RunWide[Scheme | None] = Field(
        None, description="the scheme by which a teacher is trained in this run; None: by the ground truth alone"
    )
    teacher_precision: RunWide[FrozenOnly[Literal["32", "bf16", "16"]]] = Field(
        "32", description="of the teacher's answers: 32, or bf16 or 16 where its device computes natively in that"
    )
    teacher_fold: RunWide[FrozenOnly[bool]] = Field(
        False,
        description="fold the teacher's batch norms into its convolutions: exact up to rounding, some 5 % cheaper",
    )
    teacher_width: FrozenOnly[int | None] = Field(
        None,
        ge=1,
        le=65_536,
        description="project the teacher's features to at most so many channels (fixed, random, orthogonal)",
    )
    teacher_ahead: FrozenOnly[int] = Field(
        0,
        ge=0,
        le=64,
        description="batches that the teacher answers ahead, in a thread; 2 overlaps it with the student",
    )
    teacher_size: Annotated[FrozenOnly[Size | None], InBaseline(None)] = Field(
        None,
        description="side, or HEIGHTxWIDTH, of the images that the teacher gets, resized; None: a run folder's own, or "
        "the student's",
    )
    teacher_device: ChangesOnResume[FrozenOnly[str | None]] = Field(
        None, description="the teacher's device, such as cuda:1; None: the student's"
    )
    student_weights: MayNameStage[NameOrPath | None] = Field(None, description="file of the student's first weights")
    term_weights: Annotated[MayNameStage[str | None], InBaseline(None)] = Field(
        None,
        pattern=r"^stage:",
        description="stage:NAME, whose terms' trained parts (connectors, a paraphraser) the terms begin with",
    )
    pretrained: RunWide[bool | None] = Field(None, description="published weights; None: as the model's name says")
    cache: Annotated[FrozenOnly[bool | NameOrPath], InBaseline(False)] = Field(
        False, description="keep the teacher's answers on disk and ask it once: true, or the cache's folder"
    )
    cache_storage: str = Field(
        "fp16",
        pattern=r"^(exact|fp32|fp16|bf16|int8|top[1-9]\d{0,5})$",
        description="of the cached response: exact, fp16, bf16, int8, or topK (top5, top20 …)",
    )
    size: RunWide[Size | None] = Field(
        None, description="side of the images in pixels, or HEIGHTxWIDTH (180x240); None: the data's own, photos 224"
    )
    val: RunWide[float] = Field(
        0.1, gt=0, le=0.5, description="share of the training data for validation, where there is no such split"
    )
    classes: RunWide[list[Name] | None] = Field(
        None, description="only the samples of these classes, as if there were no other"
    )
    labels_per_class: RunWide[int | None] = Field(
        None, ge=1, le=10**9, description="train on so few samples of each class"
    )
    limit: RunWide[int | None] = Field(None, ge=1, le=10**9, description="train on so many samples at most")
    augment: RunWide[str | None] = Field(
        None,
        description="none, shift, crop-flip or resized-crop (None: as fits the data), and by + randaugment, "
        "autoaugment, trivialaugment, augmix, color-jitter, erasing, python:MODULE:FUNCTION",
    )
    fingerprint: RunWide[Literal["names", "content"]] = Field(
        "names",
        description="by what image files are known again on resume and in caches: their names and sizes, or (slower) "
        "their content, which notices a replaced photo of the same name and size",
    )
    out: RunWide[NameOrPath | None] = Field(None, description="run folder; None: the next free runs/DATA-METHOD-N")
    log: RunWide[ChangesOnResume[list[Literal["tensorboard", "mlflow", "wandb"]]]] = Field(
        [], description="also log to these"
    )
