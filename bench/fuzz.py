"""Some thousand configurations, most of them wrong: each is taken rightly or refused in a sentence.

    python bench/fuzz.py

Keys in Python and as words, options of every loss, scheme and policy, and two keys at once, wired on a batch if they
are taken; nothing is trained. Counts what raised anything but a TutelageError (raw), what passed though its annotation
excludes it (silent), and what took longer than a minute (long).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzzing import BASE, EVERYTHING, KINDS, PARTS, allowed, asked, edges, is_taken_rightly, options

from tutelage.config.schema import check, read
from tutelage.errors import TutelageError
from tutelage.runs.run import Run

LONG = 60.0
QUIET = [key for key in KINDS if key not in ("devices", "strategy")]


def value(chance: random.Random, annotation: Any) -> Any:
    return chance.choice([*edges(annotation), chance.choice(EVERYTHING)])


def in_python(chance: random.Random) -> tuple[Any, bool]:
    key = chance.choice(list(KINDS))
    said = value(chance, KINDS[key])
    return {key: said}, is_taken_rightly(key, said, check(BASE | {key: said}))


def as_a_word(chance: random.Random) -> tuple[Any, bool]:
    key = chance.choice(list(KINDS))
    word = f"{key}={chance.choice([text for text in EVERYTHING if isinstance(text, str)])}"
    found = read(words=[*(f"{k}={v}" for k, v in BASE.items()), word])
    return word, allowed(getattr(found, key), KINDS[key])


def option(chance: random.Random) -> tuple[Any, bool]:
    part = chance.choice(PARTS)
    kinds = options(*part) or {"none": int}
    name = chance.choice(list(kinds))
    said = value(chance, kinds[name])
    check(asked(*part, {name: said}))
    return (part, name, said), allowed(said, kinds[name])


def wired(chance: random.Random) -> tuple[Any, bool]:
    keys = {key: value(chance, KINDS[key]) for key in chance.sample(QUIET, 2)}
    Run(check(BASE | keys), folder=Path()).dry_run()
    return keys, True


WAYS: tuple[Callable[[random.Random], tuple[Any, bool]], ...] = (in_python, as_a_word, option, wired)


def main() -> None:
    """Try for so many seconds, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    count: Counter[str] = Counter()
    until = time.monotonic() + given.seconds
    while time.monotonic() < until:
        seed = given.seed + count["tried"]
        way = WAYS[count["tried"] % len(WAYS)]
        began = time.monotonic()
        count["tried"] += 1
        try:
            what, rightly = way(random.Random(seed))
            count["taken"] += 1
            if not rightly:
                count["silent"] += 1
                print(f"seed {seed}: {way.__name__} took {what!r}", flush=True)
        except TutelageError:
            count["refused"] += 1
        except Exception:  # what the bench is for
            count["raw"] += 1
            print(f"seed {seed}: {way.__name__}\n{traceback.format_exc(limit=-4)}", flush=True)
        if time.monotonic() - began > LONG:
            count["long"] += 1
            print(f"seed {seed}: {way.__name__} took {time.monotonic() - began:.0f} s", flush=True)
    print(f"tried {count['tried']}: {count['taken']} taken, {count['refused']} refused\n")
    print("\n".join(f"{name} {count[name]} 0" for name in ("raw", "silent", "long")))
    sys.exit(bool(count["raw"] + count["silent"] + count["long"]))


if __name__ == "__main__":
    main()
