"""The keys of a search, in addition to those of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tutelage.config import parsing, schema
from tutelage.config.schema import Config
from tutelage.errors import ConfigError, unknown
from tutelage.study import choice_folder, engines
from tutelage.utils.key_types import EntryTypes, to_plain
from tutelage.utils.validation import describe_faults


class TuneSettings(BaseModel):
    """The keys of a search."""

    model_config = ConfigDict(extra="forbid", strict=True)

    search: Annotated[dict[str, Any], EntryTypes({})] = Field(
        description="the keys that change from trial to trial: {KEY: [low, high], KEY: [low, high, log], "
        "KEY: [a, b, c]}; a part by its name, as method.kd.temperature",
    )
    trials: int = Field(20, ge=1, le=10_000, description="number of trials")
    prune: bool = Field(
        True, description="end trials that are worse on validation than half of the others were after as many epochs"
    )
    engine: str = Field(
        "processes", description="what runs several trials at once: processes on this machine, or ray (Ray Tune)"
    )
    processes: int = Field(
        1, ge=1, le=4096, description="trials at once: trial n is chosen by the results of those up to n − processes"
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="threads of each trial on the CPU; null: all, divided among the trials at once"
    )

    @field_validator("search", mode="before")
    @classmethod
    def _plain_search(cls, search: Any) -> Any:
        return to_plain(search)

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, engine: str) -> str:
        return engines.find(engine).name

    @property
    def is_in_process(self) -> bool:
        """True if trials are trained in this process, one after the other."""
        return self.engine == "processes" and self.processes == 1


def read(file: Path | None, pairs: list[str]) -> dict[str, Any]:
    """Return the keys of a YAML file and of `key=value` arguments; the later win.

    Raises: ConfigError if they can't be read, or if the file is of a search whose folder was moved.
    """
    kinds = schema.key_types() | schema.key_types(TuneSettings)
    keys = parsing.read_file(file, kinds) if file is not None else {}
    given = parsing.parse_pairs(pairs, kinds)
    if file is not None and file.name == "tune.yaml" and keys.get("out") and "out" not in given:
        choice_folder.refuse_moved(file, str(keys["out"]), file.parent)
    return keys | given


def separate(keys: Mapping[str, Any]) -> tuple[TuneSettings, Config]:
    """Return the settings of the search and the untuned configuration.

    Raises: ConfigError that lists all faults.
    """
    known = {**TuneSettings.model_fields, **Config.model_fields}
    faults = [unknown("key", key, known, "tutelage tune --help") for key in keys if key not in known]
    own = {key: value for key, value in keys.items() if key in TuneSettings.model_fields}
    settings, config = None, None
    if not own.get("search"):
        faults.append("search is missing: name the keys to tune, as in search={lr: [0.001, 0.1, log]}.")
    else:
        try:
            settings = TuneSettings(**own)
        except ValidationError as error:
            faults += describe_faults(error, TuneSettings.model_fields, own).splitlines()
    try:
        config = schema.check({key: value for key, value in keys.items() if key in Config.model_fields})
    except ConfigError as error:
        faults += str(error).splitlines()
    if faults or settings is None or config is None:
        raise ConfigError("\n".join(faults))
    return settings, config
