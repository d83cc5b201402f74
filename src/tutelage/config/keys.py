"""The keys of a run in Python, for editors and type checkers; written by docs/stubs.py."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from tutelage.config.kinds import ExtraStudent


class Keys(TypedDict, total=False):
    """Keyword arguments of `distill`, `train` and the like, in addition to their named parameters."""

    epochs: int
    """passes over the training data"""
    batch_size: int
    """samples a step, over all devices"""
    lr: float | None
    """peak learning rate; None: 0.05 of sgd, 0.001 of adamw"""
    optimizer: Literal["auto", "sgd", "adamw"]
    """sgd (Nesterov momentum), adamw, or auto: adamw for networks with layer norms (transformers), unless lr is
    above 0.01; sgd for the others"""
    momentum: float
    """of sgd"""
    dot: float
    """DOT's gap: momentum + gap for the teacher's terms, − gap for the ground truth's; 0: one momentum"""
    weight_decay: float | None
    """of the optimiser; None: 0.0005 of sgd, 0.05 of adamw"""
    schedule: Literal["cosine", "step", "constant"]
    """of the learning rate"""
    milestones: list[float]
    """shares of training where `step` cuts lr by 10"""
    lr_warmup: float | None
    """epochs over which the learning rate rises from 0; None: a twentieth of the training, at most 5"""
    clip: float | None
    """largest gradient norm of each optimiser's parameters; none: as large as they are"""
    accumulate: int
    """batches whose gradients make one step"""
    precision: Literal["32", "bf16", "16"]
    """32, or mixed with bf16 or 16 (fp16: GPU only)"""
    device: str
    """auto, cpu, cuda, mps"""
    devices: int
    """processes, one a device, over which batches are spread"""
    strategy: Literal["ddp", "fsdp"]
    """of several devices: each has the whole student, or a share of its weights (less memory)"""
    channels_last: bool
    """image batches and networks in the faster memory layout"""
    compile: bool
    """torch.compile student and teacher"""
    recompute: bool
    """recompute the student's activations in the backward pass: less memory, about a third more time"""
    ema: float | None
    """decay of a moving average of the student, which becomes the result"""
    patience: int | None
    """stop after so many epochs without a better validation figure"""
    keep: Literal["last", "best"]
    """the last epoch's student, or the best on validation"""
    snapshots: list[int]
    """epochs after which the network is also kept, as epoch-N.safetensors in its training's folder"""
    seed: int
    """of everything random"""
    views: int | None
    """augmented views of a sample, over again after so many epochs; None: new ones, with a cache 4"""
    view_seed: int
    """of the augmentations, where views are counted"""
    workers: int
    """processes that decode images"""
    log_every: int
    """steps between log points"""
    checkpoint_every: float
    """seconds between checkpoints; 0: after each step"""
    ensemble: Literal["logits", "probabilities", "random", "annealed"]
    """how several teachers answer as one: mean of logits or of probabilities, one at random for each batch, or one
    that moves from the first to the last"""
    recipe: str | None
    """the recipe that sets what isn't said otherwise; method=RECIPE says it too"""
    scheme: str | dict[str, Any]
    """who minimises what (tutelage list schemes): a name, or {name: …, …its options}"""
    peers: int | list[str | dict[str, Any]]
    """students that learn together: how many, or each one's model or {model, weights}"""
    stages: list[dict[str, Any]]
    """trainings before the student's: a list of {name, …keys}; `student` has the keys of its own"""
    column: str | None
    """of data with several label columns: train on this one alone; None: on all"""
    task: str
    """auto: what the data is for (tutelage list tasks)"""
    seeds: int
    """trainings of baseline and student, for intervals"""
    baseline: bool
    """also train the student alone, with the same budget"""
    students: list[ExtraStudent]
    """further students on the same batches and answers: a list of {name, student, method, seed}"""
    teacher_classes: Literal["parts"] | list[list[str]] | None
    """classes that each of several teachers learns where it is trained here: a list each, or parts (as many each);
    None: all"""
    teacher_epochs: int | None
    """epochs to train the teacher here first; 0: not at all; None: epochs, or 0 for a run folder"""
    teacher_lr: float | None
    """its learning rate; None: lr"""
    teacher_weights: str | None
    """file of the teacher's weights (safetensors or torch)"""
    teacher_mean: list[float] | None
    """by which the teacher's images were normalised, of pixels in [0, 1], one number a channel; None: as its name
    or its run says, or as the student's"""
    teacher_std: list[float] | None
    """deviations beside teacher_mean"""
    teacher_scheme: str | dict[str, Any] | None
    """the scheme by which a teacher is trained in this run; None: by the ground truth alone"""
    teacher_precision: Literal["32", "bf16", "16"]
    """of the teacher's answers: 32, or bf16 or 16 where its device computes natively in that"""
    teacher_fold: bool
    """fold the teacher's batch norms into its convolutions: exact up to rounding, some 5 % cheaper"""
    teacher_width: int | None
    """project the teacher's features to at most so many channels (fixed, random, orthogonal)"""
    teacher_ahead: int
    """batches that the teacher answers ahead, in a thread; 2 overlaps it with the student"""
    teacher_size: int | str | list[int] | None
    """side, or HEIGHTxWIDTH, of the images that the teacher gets, resized; None: a run folder's own, or the
    student's"""
    teacher_device: str | None
    """the teacher's device, such as cuda:1; None: the student's"""
    student_weights: str | None
    """file of the student's first weights"""
    term_weights: str | None
    """stage:NAME, whose terms' trained parts (connectors, a paraphraser) the terms begin with"""
    pretrained: bool | None
    """published weights; None: as the model's name says"""
    cache: bool | str
    """keep the teacher's answers on disk and ask it once: true, or the cache's folder"""
    cache_storage: str
    """of the cached response: exact, fp16, bf16, int8, or topK (top5, top20 …)"""
    size: int | str | list[int] | None
    """side of the images in pixels, or HEIGHTxWIDTH (180x240); None: the data's own, photos 224"""
    val: float
    """share of the training data for validation, where there is no such split"""
    classes: list[str] | None
    """only the samples of these classes, as if there were no other"""
    labels_per_class: int | None
    """train on so few samples of each class"""
    limit: int | None
    """train on so many samples at most"""
    augment: str | None
    """none, shift, crop-flip or resized-crop (None: as fits the data), and by + randaugment, autoaugment,
    trivialaugment, augmix, color-jitter, erasing, python:MODULE:FUNCTION"""
    fingerprint: Literal["names", "content"]
    """by what image files are known again on resume and in caches: their names and sizes, or (slower) their
    content, which notices a replaced photo of the same name and size"""
    out: str | None
    """run folder; None: the next free runs/DATA-METHOD-N"""
    log: list[Literal["tensorboard", "mlflow", "wandb"]]
    """also log to these"""
