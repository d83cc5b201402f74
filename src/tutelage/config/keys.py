"""The keys of a run in Python, for editors and type checkers; written by docs/stubs.py."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from tutelage.config.kinds import ExtraStudent, StreamSpec
from tutelage.settings import MixSpec


class Keys(TypedDict, total=False):
    """Keyword arguments of `distill`, `train` and the like, in addition to their named parameters."""

    epochs: int
    """passes over the training data"""
    batch_size: int
    """samples a step, over all devices"""
    mix: Literal["mixup", "cutmix", "mixup+cutmix"] | MixSpec | None
    """mix the samples of each training batch in pairs, inputs and targets: mixup, cutmix, mixup+cutmix (one of them
    for each batch), or {name: …, alpha: …, probability: …}"""
    lr: float | None
    """peak learning rate; None: 0.05 for sgd, 0.001 for adamw"""
    optimizer: Literal["auto", "sgd", "adamw"]
    """sgd (with momentum), adamw, or auto: adamw for networks with layer norms (transformers), unless lr is above
    0.01; sgd for the others"""
    momentum: float
    """momentum of sgd"""
    nesterov: bool
    """Nesterov momentum of sgd; false: plain momentum"""
    dot: float
    """DOT's gap: momentum + gap for the distillation terms, momentum − gap for the task loss; 0: one momentum"""
    weight_decay: float | None
    """weight decay; None: 0.0005 for sgd, 0.05 for adamw"""
    schedule: Literal["cosine", "step", "constant"]
    """schedule of the learning rate"""
    milestones: list[float]
    """shares of the training after which schedule=step divides lr by 10"""
    lr_warmup: float | None
    """epochs over which the learning rate rises from 0; None: a twentieth of the training, at most 5"""
    clip: float | None
    """largest gradient norm of each optimiser's parameters; none: no clipping"""
    accumulate: int
    """batches whose gradients make one step"""
    precision: Literal["32", "bf16", "16"]
    """32, or mixed with bf16 or 16 (fp16: GPU only)"""
    device: str
    """auto, cpu, cuda, mps"""
    devices: int
    """number of devices, with one process each; batches are divided among them"""
    strategy: Literal["ddp", "fsdp"]
    """with several devices: each has the whole student (ddp), or a share of its weights (fsdp: less memory)"""
    channels_last: bool
    """image batches and networks in the faster memory layout"""
    compile: bool
    """torch.compile student and teacher"""
    recompute: bool
    """recompute the student's activations in the backward pass: less memory, about a third more time"""
    ema: float | None
    """decay of a moving average of the student, which becomes the result"""
    patience: int | None
    """epochs without a better validation metric after which training stops; None: never"""
    keep: Literal["last", "best"]
    """the last epoch's student, or the best on validation"""
    snapshots: list[int]
    """epochs after which the network is also kept, as epoch-N.safetensors in its training's folder"""
    seed: int
    """seed of all random numbers"""
    views: int | None
    """number of augmented views of a sample, repeated in turn over the epochs; None: a new one each epoch, or 4
    with a cache"""
    view_seed: int
    """seed of the augmented views, if their number is set"""
    workers: int
    """processes that decode images"""
    log_every: int
    """steps between log points"""
    checkpoint_every: float
    """seconds between checkpoints; 0: after each step"""
    ensemble: Literal["logits", "probabilities", "random", "annealed"]
    """how the outputs of several teachers are combined: mean of logits or of probabilities, a random teacher for
    each batch, or one that moves from the first to the last (annealed)"""
    streams: dict[Literal["unlabelled", "target"], StreamSpec]
    """training data whose labels aren't used, beside the labelled of data: unlabelled and target (of another
    domain, which is evaluated if it has labels), each {source: …, share: part of a batch}"""
    chosen_by: str | None
    """file of the choice that named the method and the teacher; method=auto sets it"""
    weight: Literal["auto", "paper"]
    """the weights that the method doesn't name: those with which losses of features and relations have the share of
    the gradient that they have in the literature's protocol, or the published numbers (paper)"""
    recipe: str | None
    """recipe that sets the defaults of other keys; method=RECIPE does the same"""
    scheme: str | dict[str, Any]
    """which networks minimise which losses (tutelage list schemes): a name, or {name: …, …options}"""
    peers: int | list[str | dict[str, Any]]
    """students that learn together: their number, or each one's model or {model, weights}"""
    stages: list[dict[str, Any]]
    """trainings before the student's: a list of {name, …keys}; `student` has the keys of its own"""
    column: str | None
    """the only label column to train on, of data with several; None: all"""
    target: str | list[str] | None
    """columns of a table to estimate, one or a list (data=csv:FILE)"""
    group: str | None
    """column of a table whose equal values mark samples that no two splits may share"""
    drop: list[str]
    """columns of a table that are no inputs"""
    degrade: dict[str, Any] | None
    """makes images smaller, blurred or noisy, and restores them: {scale: 2, blur: 0, noise: 0}"""
    heatmaps: dict[str, Any] | None
    """the heat maps of key points: {sigma: 1.5, flip_pairs: [[left, right]]}"""
    reading: dict[str, Any]
    """options of the data's source, such as {rate: 8000, seconds: 1} of sound (tutelage list data)"""
    neighbours: list[int]
    """most neighbours that are drawn for a node in training, by hop (data=graph:FILE); []: all"""
    task: str | dict[str, Any]
    """task; auto: the data's own (tutelage list tasks): a name, or {name: …, …options}"""
    metric: str
    """metric that decides (keep=best, the verdict, the report): balanced_accuracy, macro_f1 … ; auto: the task's
    own"""
    class_weights: Literal["balanced", "effective"] | list[float] | None
    """weights of classes in the task loss: balanced (inverse to their numbers of training samples), effective (to
    their effective numbers), or a list; None: 1. Of labels, the weights of samples that have them"""
    balance: bool
    """draw the training samples of each class equally often, with replacement"""
    probe: str | None
    """labelled data by which a backbone is judged that is trained on data without labels (k-NN, linear)"""
    seeds: int
    """trainings of baseline and student, for intervals"""
    baseline: bool
    """also train the student alone, with the same budget"""
    students: list[ExtraStudent]
    """additional students on the same batches and teacher outputs: a list of {name, student, method, seed}"""
    teacher_classes: Literal["parts"] | list[list[str]] | None
    """classes of each of several teachers that are trained here: a list each, or parts (equal parts of all
    classes); None: all"""
    teacher_epochs: int | None
    """epochs to train the teacher here first; 0: none; None: as epochs, or 0 for a run folder"""
    teacher_lr: float | None
    """the teacher's learning rate; None: as lr"""
    teacher_weights: str | None
    """file of the teacher's weights (safetensors or torch)"""
    teacher_mean: list[float] | None
    """means of the teacher's normalisation, of pixels in [0, 1], one number a channel; None: those of its published
    model or its run, or the student's"""
    teacher_std: list[float] | None
    """standard deviations of the teacher's normalisation, with teacher_mean"""
    teacher_scheme: str | dict[str, Any] | None
    """scheme by which a teacher is trained in this run; None: with the task loss alone"""
    teacher_precision: Literal["32", "bf16", "16"]
    """precision of the teacher's forward: 32, or bf16 or 16 if its device computes natively in it"""
    teacher_fold: bool
    """fold the teacher's batch norms into its convolutions: exact up to rounding, some 5 % cheaper"""
    teacher_width: int | None
    """largest number of channels of the teacher's features, which are projected (fixed, random, orthogonal)"""
    teacher_ahead: int
    """batches by which the teacher runs ahead, in a thread; 2 overlaps it with the student"""
    teacher_size: int | str | list[int] | None
    """side, or HEIGHTxWIDTH, to which the teacher's images are resized; None: a run folder's own, or the
    student's"""
    teacher_inputs: str | list[str] | None
    """what the teacher gets of samples with several inputs: an input, or a list of a table's columns; None: all
    columns, or the first input"""
    student_inputs: str | list[str] | None
    """what the student gets, likewise"""
    student_size: int | str | list[int] | None
    """size of the student's images, if smaller than those of the data and the teacher"""
    teacher_device: str | None
    """the teacher's device, such as cuda:1; None: the student's"""
    student_weights: str | None
    """file of the student's first weights"""
    term_weights: str | None
    """stage:NAME, whose terms' trained parts (connectors, a paraphraser) the terms begin with"""
    pretrained: bool | None
    """load published weights; None: if the model's name includes them"""
    cache: bool | str
    """compute the teacher's outputs once and keep them on disk: true, or the cache's folder"""
    cache_storage: str
    """format of the cached response: exact, fp16, bf16, int8, or topK (top5, top20 …)"""
    size: int | str | list[int] | None
    """side of the images in pixels, or HEIGHTxWIDTH (180x240); None: the data's own, photos 224"""
    val: float
    """share of the training data for validation, if the data has no such split"""
    judged_on: Literal["test", "val"]
    """split whose figures judge the networks: test; or val, to choose by: then nothing of the run can read test"""
    classes: list[str] | None
    """only the samples of these classes, as if there were no other"""
    split: Literal["samples", "classes"] | list[str]
    """how the data is split: by samples; by classes, which train, val and test then don't share; or the names of
    the classes of test"""
    split_seed: int | None
    """seed by which val, limit and labels_per_class choose samples; None: that of seed"""
    labels_per_class: int | None
    """number of training samples of each class; None: all"""
    limit: int | None
    """largest number of training samples; None: all"""
    augment: str | None
    """none, shift, crop-flip[-SIDE] or resized-crop (None: as fits the data), and by + randaugment, autoaugment,
    trivialaugment, augmix, color-jitter, erasing, python:MODULE:FUNCTION"""
    fingerprint: Literal["names", "content"]
    """how image files are recognised on resume and in caches: by names and sizes, or (slower) by content, which
    detects a replaced photo of the same name and size"""
    out: str | None
    """run folder; None: the next free runs/DATA-METHOD-N"""
    log: list[Literal["tensorboard", "mlflow", "wandb"]]
    """additional loggers"""
