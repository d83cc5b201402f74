"""A whole run in one call: as the command line does it, but objects may take the place of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from tutelage.config.schema import check
from tutelage.data.data_module import DataModule
from tutelage.data.input_views import view_inputs
from tutelage.data.loading import SOURCE_OPTIONS, is_name
from tutelage.data.sealed import OF_SEAL
from tutelage.errors import ConfigError
from tutelage.explanation import groups, opened_run, page
from tutelage.explanation.keys import ExplainKeys
from tutelage.models import serialization
from tutelage.objective.spec import term_spec
from tutelage.objective.terms import Terms
from tutelage.runs import cache_build, reporting, resuming
from tutelage.runs import run as runs
from tutelage.runs.arguments import RunKeys, as_test_split, refuse_wrong_types, separate_data, separate_objects
from tutelage.runs.data import load_data
from tutelage.runs.finished_run import FinishedRun, open_run
from tutelage.runs.inputs import Provided, task_of
from tutelage.runs.loaded_network import LoadedNetwork
from tutelage.runs.phase import evaluate_split, refuse_other_outputs, respond_to_one
from tutelage.study import auto
from tutelage.training.callbacks import Callback
from tutelage.training.evaluation import EvaluationResult
from tutelage.utils.console import print_lines


def distill(
    student: str | Mapping[str, Any] | nn.Module | None = None,
    teacher: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | nn.Module | None = None,
    data: Any = "digits",
    method: Any = "kd",
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    **keys: Unpack[RunKeys],
) -> FinishedRun:
    """Distil a teacher into a student: train the teacher if needed, the student alone and with it, and compare.

    Args:
        student: a name (`tutelage list models`), a run folder, a module, or a mapping {model: …, inputs: …};
            data="digits" has a default.
        teacher: the same, a mapping or a list of them.
        data: a name (`tutelage list data`), a Data, or map-style Datasets of (image, label) or DataLoaders of such:
            train, (train, test), (train, val, test), or a dict by split; with Datasets, `classes`, `mean`, `std`,
            `normalised` and `fields` mean the same as in `tutelage.data.from_datasets`.
        method: a loss or sum of losses (`KD(4) + 0.5 * AT()`), a Terms, a list of them, a name or recipe; "auto": a
            short study chooses it by validation samples, and the same call goes on after an interruption.
        callbacks: additional callbacks of the trainer.
        progress: whether to print progress; None: in terminals and notebooks.
        keys: any other key of the configuration (`tutelage distill --help`).

    Raises: ConfigError and the other TutelageErrors, each with the mend.

    Example:
        >>> import tempfile, tutelage
        >>> run = tutelage.distill(
        ...     "cnn2", "cnn8", method=tutelage.KD(4) + 10 * tutelage.AT(),
        ...     data="digits", limit=64, epochs=1, batch_size=32,
        ...     teacher_epochs=1, out=tempfile.mkdtemp() + "/run",
        ... )
        >>> sorted(role for role in ("teacher", "baseline", "student") if run.result[role])
        ['baseline', 'student', 'teacher']
    """
    more: dict[str, Any] = {**keys}
    provided, overrides = separate_objects(student, teacher, data, method, callbacks, more)
    if auto.is_requested(overrides):
        return _choose_and_distill(overrides | more, provided, progress)
    config = check(overrides | more)
    if provided.method is not None:
        config.method = [term_spec(term) for term in Terms.from_method(provided.method).named_terms().values()]
    with _with_progress(provided, config.seeds, progress) as watched:
        return open_run(runs.Run(config, watched).fit(), provided.student)


def _choose_and_distill(keys: Mapping[str, Any], provided: Provided, progress: bool | None) -> FinishedRun:
    """Choose the method of a run, or read the choice, and train it, or the rest of it."""
    from tutelage.runs.progress import ProgressDisplay

    shown = ProgressDisplay().watched if progress is None else progress
    config, needed = auto.Choice.begin(keys, provided, print_lines if shown else bool).run()
    with _with_progress(needed, config.seeds, progress) as watched:
        return open_run(resuming.begin_or_resume(config, watched), provided.student)


@contextmanager
def _with_progress(provided: Provided, seeds: int, progress: bool | None) -> Iterator[Provided]:
    """Print progress if `progress` is true, or None in a terminal or notebook; yield the objects with that callback."""
    from tutelage.runs.progress import ProgressDisplay

    shown = ProgressDisplay(seeds)
    if not (shown.watched if progress is None else progress):
        yield provided
        return
    with shown:
        yield replace(provided, callbacks=(*provided.callbacks, shown))


def train(
    model: str | nn.Module | None = None,
    data: Any = "digits",
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    *,
    teacher: Any = None,
    method: Any = None,
    **keys: Unpack[RunKeys],
) -> FinishedRun:
    """Train a network without a teacher: a baseline, or the teacher of later runs.

    With method="auto" and a teacher it is `distill`: a short study chooses whether and how the teacher teaches.

    Example:
        >>> import tempfile, tutelage
        >>> run = tutelage.train(
        ...     "cnn2", data="digits", limit=64, epochs=1, batch_size=32,
        ...     out=tempfile.mkdtemp() + "/run",
        ... )
        >>> run.result["student"]["parameters"]
        496
    """
    given = {"student": keys.get("student"), "teacher": teacher, "method": method}
    if auto.is_requested(given) and given["student"] is None:
        return distill(model, teacher, data, method, callbacks, progress, **keys)
    for key, value in given.items():
        if value is not None:
            raise ConfigError(f"train: {key}=…: it trains one network, model=, by the labels; distill has a {key}.")
    return distill(model, "none", data, None, callbacks, progress, **keys)


def resume(
    folder: str | Path,
    callbacks: Sequence[Callback] = (),
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    data: Any = None,
    method: Any = None,
    progress: bool | None = None,
    **keys: Unpack[RunKeys],
) -> FinishedRun:
    """Resume a run that was stopped or killed, or train a finished one for more epochs.

    Args:
        folder: the run folder.
        callbacks: additional callbacks of the trainer.
        student: the module, if the run was begun with one; likewise `teacher`, `data` and `method`.
        progress: as for `distill`.
        keys: new values of `epochs`, `lr`, `device`, `workers` and other keys that may change on resume.

    Raises: ConfigError if such an object is missing; CheckpointError if it is no run folder or its data has changed.

    Example:
        >>> import tempfile, tutelage
        >>> run = tutelage.train(
        ...     "cnn2", data="digits", limit=64, epochs=1, batch_size=32,
        ...     out=tempfile.mkdtemp() + "/run",
        ... )
        >>> tutelage.resume(run.folder, epochs=2).folder == run.folder
        True
    """
    refuse_wrong_types(folder=folder)
    rest: dict[str, Any] = {**keys}
    provided, overrides = separate_objects(student, teacher, "" if data is None else data, method, callbacks, rest)
    changes = {key: value for key, value in overrides.items() if value not in (None, "")}
    with _with_progress(provided, 0, progress) as watched:
        return open_run(
            resuming.resume(folder, watched, changes | rest), student if isinstance(student, nn.Module) else None
        )


def build_cache(
    student: str | Mapping[str, Any] | nn.Module | None = None,
    teacher: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | nn.Module | None = None,
    data: Any = "digits",
    method: Any = "kd",
    engine: str = "processes",
    **keys: Unpack[RunKeys],
) -> Iterator[tuple[Path, int]]:
    """Build the cache that a run of the same arguments and cache=True would read; yield the folder and each view.

    Args:
        student, teacher, data, method, keys: as for `distill`.
        engine: "processes" (this one, and those of devices=) or "ray" (those of a cluster; takes names, no objects).

    Raises: ConfigError if the teacher isn't trained yet; CacheError if the folder holds another cache.
    """
    more: dict[str, Any] = {**keys}
    provided, overrides = separate_objects(student, teacher, data, method, (), more)
    yield from cache_build.build(check({"cache": True} | overrides | more), provided, engine)


def evaluate(model: str | Path | nn.Module, data: Any = None, **keys: Any) -> EvaluationResult:
    """Return the metrics of a run's student, or of a module, on a data set's test split.

    The images are normalised and sized as in the run. On the data of a run that was judged on validation samples, it is
    these, unless judged_on="test" is set.

    Args:
        model: a run folder, a saved network's file, or a module.
        data: as for `distill`, but a single Dataset is the test split; None: the run's own.
        keys: size, classes, column, task, split and judged_on (with seed and val), batch_size, the options of tables
            (target, group, drop) and of Datasets.

    Example:
        >>> import tempfile, tutelage
        >>> run = tutelage.train(
        ...     "cnn2", data="digits", limit=64, epochs=1, batch_size=32,
        ...     out=tempfile.mkdtemp() + "/run",
        ... )
        >>> tutelage.evaluate(run.folder).values["accuracy"] == run.result["student"]["accuracy"]
        True
    """
    refuse_wrong_types(model=model, **({} if data is None else {"data": data}))
    network = serialization.load(model) if isinstance(model, str | Path) else model
    card = getattr(network, "card", None)
    if data is None and not isinstance(card, serialization.ModelCard):
        raise ConfigError(
            "evaluate: data=… is missing; only networks from run folders record the data that they were trained on."
        )
    if data is None and isinstance(card, serialization.ModelCard):
        if not is_name(card.data):
            raise ConfigError(
                f"evaluate: its data, {card.data!r}, was passed as an object: pass it again in Python (data=…)."
            )
        data, keys = card.data, card.source_options | keys
    elif isinstance(card, serialization.ModelCard) and not is_name(card.data) and as_test_split(data) is data:
        keys = {key: card.source_options[key] for key in OF_SEAL if key in card.source_options} | keys
    provided, overrides = separate_data(as_test_split(data), keys)
    of_split = {"seed", "val"} if keys.keys() & {"split", "judged_on"} else set()
    options = {"size", "classes", "column", "task", "split", "judged_on", "batch_size", "degrade", *SOURCE_OPTIONS}
    for key in keys.keys() - options - of_split:
        raise ConfigError(f"evaluate: {key}=… changes no metric of the test split: leave it out.")
    config = check({"student": "cnn4", "teacher": "none", "method": None, **overrides, **keys})
    loaded = load_data(config, provided.data)
    if isinstance(card, serialization.ModelCard):
        loaded = _as_in_run(loaded, network, model, "size" in keys)
    task = task_of(loaded, config)
    if isinstance(model, str | Path):
        task = task.with_files(Path(model) if Path(model).is_dir() else Path(model).parent)
    refuse_other_outputs(respond_to_one(network, loaded, task), loaded, task, type(network).__name__)
    return evaluate_split(network, loaded, task, loaded.judged_on, config.batch_size)


def _as_in_run(loaded: DataModule, network: Any, model: Any, keeps_size: bool) -> DataModule:
    """Return the data with the inputs, normalisation and size of a network from a run folder.

    Raises: ConfigError if it was made for other classes, channels or values.
    """
    card: serialization.ModelCard = network.card
    loaded = loaded.column(card.column) if card.column in loaded.columns else loaded
    loaded = view_inputs(loaded, card.inputs or None)
    if list(card.values) != list(loaded.values.names if loaded.values else ()):
        raise ConfigError(f"{model} estimates {', '.join(card.values) or 'no values'}: set target to the same.")
    if (card.classes, card.channels) != (loaded.classes, loaded.channels):
        model_classes, data_classes = (
            f"{len(names)} classes ({', '.join(names[:4])} …)" if names else "no classes"
            for names in (card.classes, loaded.classes)
        )
        raise ConfigError(
            f"{model} was made for {model_classes} and {card.channels} channels, {loaded.name} has {data_classes} "
            f"and {loaded.channels} channels; evaluate it on data of the same classes in the same order."
        )
    loaded = LoadedNetwork(network, card.mean, card.std, known=card.known).with_normalisation_of(loaded)
    size = loaded.size if keeps_size else card.size
    return replace(loaded, size=size, values=card.value_targets)  # the outputs are scaled as in its training


def explain(
    run: str | Path | FinishedRun,
    only: str | Sequence[str] = (),
    samples: int = 5000,
    probe: str | None = None,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    data: Any = None,
) -> dict[str, Any]:
    """Explain a finished run by figures of its trained networks; write explain.html and explain.json into its folder.

    Returns: the contents of explain.json: by group and figure what it means, its source and its values.

    Args:
        run: the run, or its folder.
        only: the groups of figures to make; all if none is named.
        samples: the most samples of a split that a figure uses, evenly spread.
        probe: the name of another labelled data set, for a linear probe of the features.
        student: the module, if the run was begun with one; likewise `teacher` and `data`.

    Raises: ConfigError for an unknown group, or if such an object is missing; CheckpointError if it is no finished run.

    Example:
        >>> import tempfile, tutelage
        >>> run = tutelage.distill(
        ...     "cnn2", "cnn4", data="digits", limit=64, epochs=1, batch_size=32,
        ...     teacher_epochs=1, out=tempfile.mkdtemp() + "/run",
        ... )
        >>> explained = tutelage.explain(run, only="agreement")
        >>> sorted(explained["groups"]["agreement"])
        ['classes', 'difficulty', 'fidelity', 'margin']
    """
    folder = run.folder if isinstance(run, FinishedRun) else run
    refuse_wrong_types(folder=folder)
    keys = ExplainKeys.check({"only": only, "samples": samples, "probe": probe})
    names = groups.chosen(keys.only)
    own = run.student_module if isinstance(run, FinishedRun) else None
    provided, given = separate_objects(student, teacher, "" if data is None else data, None, (), {})
    opened_run.refuse_others(Path(folder), {key: value for key, value in given.items() if value not in (None, "")})
    provided = replace(provided, student=provided.student or own)
    opened = opened_run.open_finished(Path(folder), provided, keys.samples, keys.probe)
    explained = page.write(opened, groups.explain_groups(opened, names))
    reporting.write_report(folder)
    return explained
