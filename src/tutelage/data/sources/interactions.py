"""Users' interactions with items, in CSV files, for recommendation."""

from __future__ import annotations

from pathlib import Path

from tutelage.data.graded import candidate_queries
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData
from tutelage.data.query_files import read_interactions
from tutelage.data.scale import Scale, SourceScale
from tutelage.errors import ConfigError, DataError, plain

NAMES = {"interactions:FILE": "a CSV or TSV with columns user, item and time; each user's last item is to be found"}

HISTORY = 10
"""The number of a user's earlier items that a recommender gets."""
TRAIN_NEGATIVES = 20
"""The number of items that a training item is ranked against."""
TEST_NEGATIVES = 100
"""The number of items that an item of val and test is ranked against, drawn once."""


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Read the interactions; users with fewer than four are left out."""
    path = to_path(where)
    if size is not None:
        raise ConfigError(f"data interactions:{plain(path)}: size={size}: interactions have no size; leave it out.")
    events = read_interactions(path)
    splits = candidate_queries(events, history=HISTORY, train_negatives=TRAIN_NEGATIVES, test_negatives=TEST_NEGATIVES)
    users, items = len(events.user_names), len(events.item_names)
    if not len(splits["test"]) or len(splits["test"].groups.unique()) == len(splits["test"]):  # type: ignore[union-attr]
        raise DataError(
            f"{plain(path)}: {len(events.users)} interactions of {users} users with {items} items leave nothing to "
            "rank: expected users with four interactions or more, and items that they don't have."
        )
    channels = 2 + HISTORY
    unchanged = Scale(SourceScale("normalised"), (0.0,) * channels, (1.0,) * channels)
    note = f"data {plain(path)}: {users} users and {items} items, such as for the networks mf16-{users}x{items} and "
    return SourceData(
        "ranking",
        (),
        (),
        "none",
        splits,
        scale=unchanged,
        modality="table",
        target="grades",
        notes=[f"{note}gru16-{items}."],
        input_names=("user", "item", *(f"item {HISTORY - k} before" for k in range(HISTORY))),
    )


def suits(path: Path) -> bool:
    """Return False: a CSV may be meant for several sources."""
    return False
