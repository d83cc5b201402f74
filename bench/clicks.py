"""Write generated clicks as the CSV of `data=interactions:FILE`, for studies without real ones.

    python bench/clicks.py clicks.csv

Each user has a taste and each item a profile of eight random numbers; some items are popular. A user clicks on items
one after the other, never twice, with a probability that grows with the taste, the popularity, and the likeness of the
item to the one before. The clicks aren't real: a study shows that methods work, not how well they do on a real service.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

FACTORS = 8


def clicks(users: int, items: int, length: int, seed: int) -> list[tuple[int, int, int]]:
    """Return rows (user, item, time), `length` of each user."""
    rng = np.random.default_rng(seed)
    tastes, profiles = rng.normal(size=(users, FACTORS)), rng.normal(size=(items, FACTORS))
    popularity, likeness = rng.normal(size=items), profiles @ profiles.T / FACTORS**0.5
    rows = []
    for user in range(users):
        liking = tastes[user] @ profiles.T / FACTORS**0.5 + popularity
        previous, clicked = None, np.zeros(items, bool)
        for time in range(length):
            scores = 1.5 * liking + (0 if previous is None else likeness[previous])
            weights = np.where(clicked, 0, np.exp(scores - scores.max()))
            previous = int(rng.choice(items, p=weights / weights.sum()))
            clicked[previous] = True
            rows.append((user, previous, time))
    return rows


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--clicks", type=int, default=20, help="clicks of each user")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with args.file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("user", "item", "time"))
        writer.writerows(clicks(args.users, args.items, args.clicks, args.seed))


if __name__ == "__main__":
    main()
