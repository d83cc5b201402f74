"""Resuming a run: with the keys that it was begun with, or changes of those keys that may change later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tutelage.config import parsing, stages
from tutelage.config.schema import Config, check, key_types, resumable_keys
from tutelage.data.loading import is_name
from tutelage.errors import CheckpointError, ConfigError, shown
from tutelage.runs import environment
from tutelage.runs.folder import BEGUN, CHOICE
from tutelage.runs.inputs import Provided
from tutelage.runs.networks import join_first
from tutelage.runs.run import RESUMABLE_ROLES, Run
from tutelage.training.events import Message
from tutelage.utils import checksums


def resume(path: str | Path, provided: Provided | None = None, changes: Mapping[str, Any] | None = None) -> Path:
    """Resume a run that was stopped or killed, or a finished one with more epochs; or write its result again.

    changes: new values of keys. Changes, here or in config.yaml, are recorded in environment.json.
    Raises: CheckpointError if it isn't a run folder; ConfigError if a key is changed that can't change any more, or an
    object that the run was begun with isn't passed again.
    """
    folder = Path(path)
    config, record = read_begun(folder, changes or {})
    changed = _changed(record["config"], config)
    run = open_begun(folder, config, record, provided or Provided())
    _refuse_what_is_past(run, changed)
    if changed and run.fabric.is_global_zero:
        _record(run, record, changed)
    return run.fit()


def begin_or_resume(config: Config, provided: Provided) -> Path:
    """Run a configuration in its folder `out`, or the rest of it if it was begun there; return the folder."""
    folder = Path(str(config.out))
    return resume(folder, provided) if (folder / BEGUN).exists() else Run(config, provided).fit()


def open_begun(folder: Path, config: Config, record: Mapping[str, Any], provided: Provided) -> Run:
    """Return the run in a folder, on the data that it was begun on, with the saved networks that it was begun with.

    Raises: ConfigError if an object that it was begun with isn't passed again; CheckpointError if its data or a saved
    network has changed.
    """
    for role in ("student", "teacher"):
        name = getattr(config, role)
        if isinstance(name, str) and name.startswith("object:") and getattr(provided, role) is None:
            raise ConfigError(
                f"{folder}: its {role}, {name[7:]}, was given as an object: pass it again in Python ({role}=…)."
            )
    objects = {name for name, spec in config.streams.items() if spec["source"].startswith("object:")}
    if missing := sorted(objects - provided.streams.keys()):
        raise ConfigError(
            f"{folder}: its {', '.join(missing)} data was given as an object: pass it again in Python (data={{…}})."
        )
    if provided.data is None and not is_name(config.data):
        raise ConfigError(
            f"{folder}: its data, {config.data!r}, was given as an object: pass it again in Python (data=…)."
        )
    networks = environment.networks_on_disk(config)
    if others := [name for name, x in record.get("networks", {}).items() if networks.get(name, x) != x]:
        raise CheckpointError(
            f"{folder}: {others[0]} is another network than when the run was begun: put that back, or begin a new run."
        )
    run = Run(config, provided, folder)
    stages_data = run.plan.stages_data()
    if others := [name for name, x in record.get("stages_data", {}).items() if stages_data.get(name, x) != x]:
        raise CheckpointError(f"{folder}: the data of the stage {others[0]} has changed since the run was begun.")
    if record["data"] != run.inputs.data.fingerprint:
        raise CheckpointError(
            f"{folder} was begun on other data: {config.data} has changed since, or was given as an object; give the "
            "same, or begin a new run."
        )
    return run


def read_begun(folder: Path, changes: Mapping[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Return the configuration in a run folder with these changes, and the record from the run's begin.

    Raises: CheckpointError if it isn't a run folder, or is torn; ConfigError if the changes don't fit.
    """
    begun = folder / CHOICE / "auto.yaml"
    if begun.is_file() and not (folder / BEGUN).is_file():
        raise CheckpointError(f"{folder}: its method isn't chosen yet: `tutelage distill {begun}` goes on.")
    for name in ("config.yaml", "environment.json"):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} is no run folder: there is no {folder / name}; give the folder of a run that was begun."
            )
    try:
        loaded = parsing.read_file(folder / "config.yaml", key_types())
        record = dict(json.loads(checksums.read_verified(folder / "environment.json")))
        record["data"], record["config"]["epochs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: config.yaml or environment.json is torn ({' '.join(str(error).split())}); begin a new run."
        ) from error
    if lost := Config.model_fields.keys() - loaded.keys():
        raise CheckpointError(f"{folder}/config.yaml is torn: it lacks {join_first(sorted(lost))}; begin a new run.")
    try:
        return check({**loaded, **changes}), record
    except ConfigError as error:
        to_change = ", with the changes" if changes else ""
        raise ConfigError(f"{folder / 'config.yaml'}{to_change}: {error}") from error


def _changed(before: Mapping[str, Any], config: Config) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values have changed, each with its old and its new value.

    Raises: ConfigError that names those that can't change any more.
    """
    now = json.loads(json.dumps(config.model_dump()))
    changed = {key: (before.get(key), value) for key, value in now.items() if before.get(key) != value}
    faults = [
        f"{key}={shown(repr(new))}: the run was begun with {key}={shown(repr(old))}, and only "
        f"{', '.join(resumable_keys())} may change when it goes on; put it back, or begin a new run."
        for key, (old, new) in changed.items()
        if key not in resumable_keys()
    ]
    if "epochs" in changed and changed["epochs"][1] < changed["epochs"][0]:
        old, new = changed["epochs"]
        faults.append(f"epochs={new}: the run was begun with {old}, and may only get more; begin a new run.")
    if faults:
        raise ConfigError("\n".join(faults))
    return changed


def _refuse_what_is_past(run: Run, changed: Mapping[str, Any]) -> None:
    """Refuse changes that come too late for phases that are trained already.

    Raises: ConfigError or CheckpointError, before anything is changed.
    """
    epochs, config = run.config.epochs, run.config
    done = [phase for phase in run.plan.phases() if (run.folder / phase.name / "phase.json").exists()]
    if "epochs" in changed:
        if "epochs" in config.student_overrides():
            raise ConfigError(f"epochs={epochs}: the stage {stages.LAST!r} has epochs of its own; begin a new run.")
        late = [phase.name for phase in done if phase.role == "stage" and "epochs" not in phase.overrides]
        if late:
            raise ConfigError(
                f"epochs={epochs}: {', '.join(late)} is trained already for as many as the run had, and what comes "
                "after it began from there; begin a new run."
            )
    for phase in done:
        if not run.is_done(phase) and not any((run.folder / phase.name / "checkpoints").glob("step-*.pt")):
            raise CheckpointError(
                f"{run.folder / phase.name} is trained already, and its last checkpoint is gone, from which it would "
                f"go on to epochs={epochs}; begin a new run."
            )
    if "lr" in changed and all(map(run.is_done, run.plan.phases())):
        raise ConfigError(f"lr={config.lr}: nothing is left to be trained; with more epochs=… it goes on.")


def _record(run: Run, record: dict[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Write the changed configuration, and add to the record which keys changed, and when."""
    done = [phase.name for phase in run.plan.phases() if run.is_done(phase)]
    change = {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "keys": {key: {"was": was, "is": new} for key, (was, new) in changed.items()},
        "trained before": done,
    }
    changes = [*record.get("changes", []), change]
    checksums.write_recorded(run.folder / "config.yaml", parsing.dump(run.config.model_dump()))
    now = record | {"config": run.config.model_dump(), "changes": changes}
    checksums.write_recorded(run.folder / "environment.json", json.dumps(now, indent=1))
    trained_before = [name for name in done if name.partition("-")[0] in RESUMABLE_ROLES]
    if "lr" in changed and trained_before:
        message = f"lr={run.config.lr} from here on: {', '.join(trained_before)} was trained with {changed['lr'][0]}."
        for callback in run.inputs.provided.callbacks:
            callback.on_event(Message(message, "warning"))
