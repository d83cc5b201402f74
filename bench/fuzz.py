"""Try thousands of configurations, most of them wrong: each must be accepted correctly or rejected with a message.

    python bench/fuzz.py

Keys in Python and as arguments, options of every loss, scheme and policy, and pairs of keys, with a dry run if they are
accepted; nothing is trained. Counts configurations that raised anything but a TutelageError (raw), that were accepted
although their annotation excludes them (silent), and that took longer than a minute (long).
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
    drawn = value(chance, KINDS[key])
    return {key: drawn}, is_taken_rightly(key, drawn, check(BASE | {key: drawn}))


def as_argument(chance: random.Random) -> tuple[Any, bool]:
    key = chance.choice(list(KINDS))
    argument = f"{key}={chance.choice([text for text in EVERYTHING if isinstance(text, str)])}"
    config = read(words=[*(f"{k}={v}" for k, v in BASE.items()), argument])
    return argument, allowed(getattr(config, key), KINDS[key])


def option(chance: random.Random) -> tuple[Any, bool]:
    part = chance.choice(PARTS)
    kinds = options(*part) or {"none": int}
    name = chance.choice(list(kinds))
    drawn = value(chance, kinds[name])
    check(asked(*part, {name: drawn}))
    return (part, name, drawn), allowed(drawn, kinds[name])


def wired(chance: random.Random) -> tuple[Any, bool]:
    keys = {key: value(chance, KINDS[key]) for key in chance.sample(QUIET, 2)}
    Run(check(BASE | keys), folder=Path()).dry_run()
    return keys, True


WAYS: tuple[Callable[[random.Random], tuple[Any, bool]], ...] = (in_python, as_argument, option, wired)


def main() -> None:
    """Try configurations for a given time, and count the faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    count: Counter[str] = Counter()
    until = time.monotonic() + args.seconds
    while time.monotonic() < until:
        seed = args.seed + count["tried"]
        way = WAYS[count["tried"] % len(WAYS)]
        began = time.monotonic()
        count["tried"] += 1
        try:
            config, is_correct = way(random.Random(seed))
            count["accepted"] += 1
            if not is_correct:
                count["silent"] += 1
                print(f"seed {seed}: {way.__name__} accepted {config!r}", flush=True)
        except TutelageError:
            count["rejected"] += 1
        except Exception:  # the faults that this program looks for
            count["raw"] += 1
            print(f"seed {seed}: {way.__name__}\n{traceback.format_exc(limit=-4)}", flush=True)
        if time.monotonic() - began > LONG:
            count["long"] += 1
            print(f"seed {seed}: {way.__name__} took {time.monotonic() - began:.0f} s", flush=True)
    print(f"tried {count['tried']}: {count['accepted']} accepted, {count['rejected']} rejected\n")
    print("\n".join(f"{name} {count[name]} 0" for name in ("raw", "silent", "long")))
    sys.exit(bool(count["raw"] + count["silent"] + count["long"]))


if __name__ == "__main__":
    main()
