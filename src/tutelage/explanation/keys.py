"""The keys of an explanation, from the command line or Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tutelage.errors import ConfigError
from tutelage.utils.key_types import NameOrPath, to_plain
from tutelage.utils.validation import describe_faults


class ExplainKeys(BaseModel):
    """The keys of `tutelage explain`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    only: list[str] = Field([], description="groups of figures; all if none is named")
    samples: int = Field(5000, ge=16, le=10**9, description="most samples of a split that a figure uses")
    probe: NameOrPath | None = Field(None, description="another labelled data set, for a linear probe")

    @model_validator(mode="after")
    def _probe_and_transfer_together(self) -> ExplainKeys:
        if "transfer" in self.only and self.probe is None:
            raise ValueError("only=[transfer] requires another labelled data set, for a linear probe: add probe=DATA.")
        if self.probe is not None and self.only and "transfer" not in self.only:
            raise ValueError(f"probe={self.probe}: only transfer uses it: add it to only=[…], or leave probe out.")
        return self

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> ExplainKeys:
        """Return the keys; a group's name may stand for a list of one.

        Raises: ConfigError that lists every fault.
        """
        values = {key: to_plain(value) for key, value in values.items()}
        if isinstance(values.get("only"), str):
            values["only"] = [values["only"]]
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(describe_faults(error, cls.model_fields, values)) from error
