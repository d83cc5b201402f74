"""The seal on a test split: nothing of a run that chooses by validation can read it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from tutelage.data.splits import Split
from tutelage.errors import DataError

if TYPE_CHECKING:
    from tutelage.data.data_module import DataModule


OF_SEAL = ("judged_on", "val", "seed")
"""The options that `seal` records: they find the validation samples again."""


class SealedSplit(Split):
    """In the place of a test split that may not be read: any access is refused.

    Raises: DataError at any access.
    """

    is_sealed = True

    def __getattribute__(self, name: str) -> Any:
        if name == "is_sealed" or name.startswith("__"):
            return super().__getattribute__(name)
        return self.__len__()

    def __len__(self) -> NoReturn:
        raise DataError(
            "the test split is sealed: with judged_on=val nothing may read it before the choice is made; use val, or "
            "judge what was chosen with judged_on=test."
        )

    take = read = fingerprint = __len__  # type: ignore[assignment]  # never reached: their access is refused


def seal(data: DataModule, val: float, seed: int) -> DataModule:
    """Return the data without a readable test split, also of the labelled data that judge a backbone.

    val, seed: those by which the validation split was chosen, which is then recorded with the data's other options.
    """
    probe = None if data.probe is None else seal(data.probe, val, seed)
    options = {**data.source_options, **dict(zip(OF_SEAL, ("val", val, seed), strict=True))}
    return replace(data, test=SealedSplit(), probe=probe, source_options=options)
