"""The keys of a run, each declared once with its help, its range and its marks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from tutelage.config.kinds import (
    EXTRA_STUDENT_KEYS,
    DataName,
    ExtraStudent,
    Method,
    NetworkList,
    Scheme,
    Spec,
    StreamSpecs,
    TaskSpec,
    TeacherSpec,
)
from tutelage.config.methods import choice_faults
from tutelage.settings import TrainerSettings
from tutelage.utils.key_types import (
    ChangesOnResume,
    EntryTypes,
    FrozenOnly,
    InBaseline,
    MayNameStage,
    Name,
    NameOrPath,
    OfData,
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
        description="how the outputs of several teachers are combined: mean of logits or of probabilities, a random "
        "teacher for each batch, or one that moves from the first to the last (annealed)",
    )
    student: Annotated[NameOrPath, EntryTypes({"model": str, "weights": str})] | None = Field(
        None, description="model name, run folder, or {model: …, weights: …}"
    )
    data: OfData[DataName] = Field(
        "digits",
        description="digits, folder:PATH, npz:FILE, cifar100:PATH … (tutelage list data); or {labelled: …, "
        "unlabelled: …, target: …}, each a name or {source: …, share: …}, which sets streams too",
    )
    streams: OfData[StreamSpecs] = Field(
        {},
        description="training data whose labels aren't used, beside the labelled of data: unlabelled and target (of "
        "another domain, which is evaluated if it has labels), each {source: …, share: part of a batch}",
    )
    method: Annotated[Method, InBaseline(None)] = Field(
        "kd", description="loss, sum (kd+0.5*at), recipe, or list of terms; auto: a short study chooses a loss"
    )
    chosen_by: Annotated[RunWide[ChangesOnResume[NameOrPath | None]], InBaseline(None)] = Field(
        None, description="file of the choice that named the method and the teacher; method=auto sets it"
    )
    weight: Literal["auto", "paper"] = Field(
        "auto",
        description="the weights that the method doesn't name: those with which losses of features and relations have "
        "the share of the gradient that they have in the literature's protocol, or the published numbers (paper)",
    )
    recipe: RunWide[str | None] = Field(
        None, description="recipe that sets the defaults of other keys; method=RECIPE does the same"
    )
    scheme: Annotated[Scheme, InBaseline("offline")] = Field(
        "offline",
        description="which networks minimise which losses (tutelage list schemes): a name, or {name: …, …options}",
    )
    peers: int | NetworkList = Field(
        2, description="students that learn together: their number, or each one's model or {model, weights}"
    )
    stages: RunWide[list[Annotated[Spec, EntryTypes({"name": str}, keys=True)]]] = Field(
        [],
        max_length=64,
        description="trainings before the student's: a list of {name, …keys}; `student` has the keys of its own",
    )
    column: RunWide[Name | None] = Field(
        None, description="the only label column to train on, of data with several; None: all"
    )
    target: OfData[Name | list[Name] | None] = Field(
        None, description="columns of a table to estimate, one or a list (data=csv:FILE)"
    )
    group: OfData[Name | None] = Field(
        None, description="column of a table whose equal values mark samples that no two splits may share"
    )
    drop: OfData[list[Name]] = Field([], max_length=1000, description="columns of a table that are no inputs")
    degrade: OfData[Spec | None] = Field(
        None, description="makes images smaller, blurred or noisy, and restores them: {scale: 2, blur: 0, noise: 0}"
    )
    heatmaps: OfData[Spec | None] = Field(
        None, description="the heat maps of key points: {sigma: 1.5, flip_pairs: [[left, right]]}"
    )
    reading: OfData[Spec] = Field(
        {},
        description="options of the data's source, such as {rate: 8000, seconds: 1} of sound (tutelage list data)",
    )
    neighbours: OfData[list[int]] = Field(
        [],
        max_length=8,
        description="most neighbours that are drawn for a node in training, by hop (data=graph:FILE); []: all",
    )
    task: OfData[TaskSpec] = Field(
        "auto", description="task; auto: the data's own (tutelage list tasks): a name, or {name: …, …options}"
    )
    metric: OfData[str] = Field(
        "auto",
        description="metric that decides (keep=best, the verdict, the report): balanced_accuracy, macro_f1 … ; auto: "
        "the task's own",
    )
    class_weights: OfData[
        Literal["balanced", "effective"]
        | Annotated[list[Annotated[float, Field(ge=0, le=1e9)]], Field(min_length=1)]
        | None
    ] = Field(
        None,
        description="weights of classes in the task loss: balanced (inverse to their numbers of training samples), "
        "effective (to their effective numbers), or a list; None: 1. Of labels, the weights of samples that have them",
    )
    balance: OfData[bool] = Field(
        False, description="draw the training samples of each class equally often, with replacement"
    )
    probe: RunWide[NameOrPath | None] = Field(
        None,
        description="labelled data by which a backbone is judged that is trained on data without labels (k-NN, linear)",
    )
    seeds: RunWide[int] = Field(1, ge=1, le=1000, description="trainings of baseline and student, for intervals")
    baseline: RunWide[bool] = Field(True, description="also train the student alone, with the same budget")
    students: Annotated[list[Annotated[ExtraStudent, EntryTypes(EXTRA_STUDENT_KEYS)]], InBaseline([])] = Field(
        [],
        max_length=64,
        description="additional students on the same batches and teacher outputs: a list of {name, student, method, "
        "seed}",
    )
    teacher_classes: RunWide[Literal["parts"] | list[list[Name]] | None] = Field(
        None,
        description="classes of each of several teachers that are trained here: a list each, or parts "
        "(equal parts of all classes); None: all",
    )
    teacher_epochs: RunWide[int | None] = Field(
        None,
        ge=0,
        le=100_000,
        description="epochs to train the teacher here first; 0: none; None: as epochs, or 0 for a run folder",
    )
    teacher_lr: RunWide[float | None] = Field(
        None, gt=0, le=100, description="the teacher's learning rate; None: as lr"
    )
    teacher_weights: NameOrPath | None = Field(None, description="file of the teacher's weights (safetensors or torch)")
    teacher_mean: list[float] | None = Field(
        None,
        description="means of the teacher's normalisation, of pixels in [0, 1], one number a channel; None: those of "
        "its published model or its run, or the student's",
    )
    teacher_std: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, description="standard deviations of the teacher's normalisation, with teacher_mean"
    )
    teacher_scheme: RunWide[Scheme | None] = Field(
        None, description="scheme by which a teacher is trained in this run; None: with the task loss alone"
    )
    teacher_precision: RunWide[FrozenOnly[Literal["32", "bf16", "16"]]] = Field(
        "32", description="precision of the teacher's forward: 32, or bf16 or 16 if its device computes natively in it"
    )
    teacher_fold: RunWide[FrozenOnly[bool]] = Field(
        False,
        description="fold the teacher's batch norms into its convolutions: exact up to rounding, some 5 % cheaper",
    )
    teacher_width: FrozenOnly[int | None] = Field(
        None,
        ge=1,
        le=65_536,
        description="largest number of channels of the teacher's features, which are projected (fixed, random, "
        "orthogonal)",
    )
    teacher_ahead: FrozenOnly[int] = Field(
        0,
        ge=0,
        le=64,
        description="batches by which the teacher runs ahead, in a thread; 2 overlaps it with the student",
    )
    teacher_size: Annotated[FrozenOnly[Size | None], InBaseline(None)] = Field(
        None,
        description="side, or HEIGHTxWIDTH, to which the teacher's images are resized; None: a run folder's own, or "
        "the student's",
    )
    teacher_inputs: Annotated[Name | list[Name] | None, InBaseline(None)] = Field(
        None,
        description="what the teacher gets of samples with several inputs: an input, or a list of a table's columns; "
        "None: all columns, or the first input",
    )
    student_inputs: Name | list[Name] | None = Field(None, description="what the student gets, likewise")
    student_size: Size | None = Field(
        None, description="size of the student's images, if smaller than those of the data and the teacher"
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
    pretrained: RunWide[bool | None] = Field(
        None, description="load published weights; None: if the model's name includes them"
    )
    cache: Annotated[FrozenOnly[bool | NameOrPath], InBaseline(False)] = Field(
        False, description="compute the teacher's outputs once and keep them on disk: true, or the cache's folder"
    )
    cache_storage: str = Field(
        "fp16",
        pattern=r"^(exact|fp32|fp16|bf16|int8|top[1-9]\d{0,5})$",
        description="format of the cached response: exact, fp16, bf16, int8, or topK (top5, top20 …)",
    )
    size: OfData[Size | None] = Field(
        None, description="side of the images in pixels, or HEIGHTxWIDTH (180x240); None: the data's own, photos 224"
    )
    val: RunWide[float] = Field(
        0.1, gt=0, le=0.5, description="share of the training data for validation, if the data has no such split"
    )
    judged_on: RunWide[Literal["test", "val"]] = Field(
        "test",
        description="split whose figures judge the networks: test; or val, to choose by: then nothing of the run can "
        "read test",
    )
    classes: OfData[list[Name] | None] = Field(
        None, description="only the samples of these classes, as if there were no other"
    )
    split: OfData[Literal["samples", "classes"] | list[Name]] = Field(
        "samples",
        description="how the data is split: by samples; by classes, which train, val and test then don't share; or the "
        "names of the classes of test",
    )
    split_seed: OfData[int | None] = Field(
        None,
        ge=0,
        le=2**31,
        description="seed by which val, limit and labels_per_class choose samples; None: that of seed",
    )
    labels_per_class: OfData[int | None] = Field(
        None, ge=1, le=10**9, description="number of training samples of each class; None: all"
    )
    limit: OfData[int | None] = Field(None, ge=1, le=10**9, description="largest number of training samples; None: all")
    augment: OfData[str | None] = Field(
        None,
        description="none, shift, crop-flip[-SIDE] or resized-crop (None: as fits the data), and by + randaugment, "
        "autoaugment, trivialaugment, augmix, color-jitter, erasing, python:MODULE:FUNCTION",
    )
    fingerprint: RunWide[Literal["names", "content"]] = Field(
        "names",
        description="how image files are recognised on resume and in caches: by names and sizes, or (slower) by "
        "content, which detects a replaced photo of the same name and size",
    )
    out: RunWide[NameOrPath | None] = Field(None, description="run folder; None: the next free runs/DATA-METHOD-N")
    log: RunWide[ChangesOnResume[list[Literal["tensorboard", "mlflow", "wandb"]]]] = Field(
        [], description="additional loggers"
    )

    def contradictions(self) -> Iterator[str]:
        """Yield a sentence for each set of keys that contradict each other."""
        yield from super().contradictions()
        if self.chosen_by is not None:
            yield from choice_faults(self.chosen_by, self.method)
