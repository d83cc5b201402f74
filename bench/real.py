"""A real study: one teacher, students × seeds × methods at the same budget, as a Markdown and a JSON table.

    python bench/real.py --data folder:eurosat --teacher resnet20 --students resnet8 cnn16 --out runs/study size=32

Every run has its own folder below --out; those that are finished are kept, begun ones go on; one that can't go on is a
row that says why. Words `key=value` go to every run as they are. A method is a loss, a sum (ce+250*at), a
recipe or a list of terms ("[{name: ce}, {name: dkd, warmup: 3}]"); with @N behind it N teachers teach, trained with the
seeds 0 … N − 1. Methods that have no teacher get none; those whose teachers are trained in their way (for some classes,
for the student, to follow their route) train them in each run. Figures are the last epoch's on the test split.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import re
import shlex
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml

import tutelage
from tutelage import recipes
from tutelage.errors import TutelageError
from tutelage.utils import registry
from tutelage.utils.intervals import interval, verdict


def run(folder: Path, model: str, method: str | None, keys: dict[str, Any]) -> dict[str, Any]:
    """The result of one run: read if it is finished, resumed if begun, else begun; without a method (None) alone."""
    torch.set_num_threads(1)
    if (folder / "result.json").exists():
        known: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return known
    began = time.time()
    try:
        if (folder / "config.yaml").exists():
            done = tutelage.resume(folder)
        elif method is None:
            done = tutelage.train(model, out=str(folder), **keys)
        else:
            terms = yaml.safe_load(method) if method.startswith("[") else method
            done = tutelage.distill(model, method=terms, baseline=False, out=str(folder), **keys)
    except TutelageError as error:
        print(f"{folder.name}: {error}", flush=True)
        return {"failed": str(error)}
    found = done.result["student"]
    print(f"{folder.name}: {found[done.result['metric']]:.4f} in {time.time() - began:.0f} s", flush=True)
    return done.result


def taught(method: str, asked: argparse.Namespace) -> tuple[str, list[int], dict[str, Any]]:
    """The method without its @N, the numbers of the teachers that it needs, and the keys that name who teaches."""
    name, _, count = method.partition("@")
    config = recipes.load(name) if recipes.has(name) else {}
    scheme = config.get("scheme", "offline")
    kind = registry.find("schemes", scheme if isinstance(scheme, str) else scheme["name"]).load()
    own = config.get("teacher", "one")
    if not kind.takes_teacher or own in (None, "moving_average"):
        return name, [], {}
    several = int(count or (len(own) if isinstance(own, list) else 1))
    if trains_its_own(config):
        model = [asked.teacher] * several if several > 1 else asked.teacher
        return name, [], {"teacher": model, "teacher_epochs": asked.teacher_epochs or asked.epochs}
    folders = [str(Path(asked.out) / teacher_name(number)) for number in range(several)]
    return name, list(range(several)), {"teacher": folders if several > 1 else folders[0]}


def trains_its_own(config: dict[str, Any]) -> bool:
    """Whether a recipe's teachers are trained in its way: for some classes, for the student, to follow their route."""
    route = any("stage:teacher@" in str(stage.get("teacher")) for stage in config.get("stages", []))
    return route or bool(config.get("teacher_classes") or config.get("teacher_scheme"))


def teacher_name(number: int) -> str:
    """The folder of a teacher, and its key among the results."""
    return f"teacher{number or ''}"


def study(asked: argparse.Namespace) -> dict[str, Any]:
    """Every result by (student, method, seed), and the teacher's."""
    out, keys = Path(asked.out), {"data": asked.data, **asked.keys}
    runs = {
        (student, method, seed): (out / f"{student}-{slug(method)}-{seed}", student)
        for student, seed, method in product(asked.students, range(asked.seeds), ["alone", *asked.methods])
    }
    with ProcessPoolExecutor(asked.jobs, multiprocessing.get_context("spawn")) as pool:
        budget = keys | {"epochs": asked.teacher_epochs or asked.epochs}
        needed = {0}.union(*(taught(method, asked)[1] for method in asked.methods))
        futures: dict[Any, Future[dict[str, Any]]] = {
            teacher_name(i): pool.submit(run, out / teacher_name(i), asked.teacher, None, budget | {"seed": i})
            for i in sorted(needed)
        }
        trained = list(futures)
        try:
            for alone in (True, False):  # those that need teachers wait for them
                for (student, method, seed), (folder, model) in runs.items():
                    if (method == "alone") == alone:
                        name, _, who = (None, [], {}) if alone else taught(method, asked)
                        budget = keys | {"epochs": asked.epochs, "seed": seed} | who
                        futures[student, method, seed] = pool.submit(run, folder, model, name, budget)
                for key in trained:
                    futures[key].result()
            return {key: future.result() for key, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def slug(method: str) -> str:
    """A method as a part of a folder's name."""
    return re.sub(r"[^\w.+-]+", "-", method.replace("*", "x")).strip("-")


def rows(asked: argparse.Namespace, results: dict[Any, Any]) -> list[dict[str, Any]]:
    """One row a student and method: means, intervals, and the gains over alone, seed by seed."""
    metric = results["teacher"]["metric"]
    table = [row("teacher", asked.teacher, [results["teacher"]["student"]], metric, [])]
    for student, method in product(asked.students, ["alone", *asked.methods]):
        failed = [r["failed"] for seed in range(asked.seeds) if "failed" in (r := results[student, method, seed])]
        if failed:
            table.append({"model": student, "method": method, "failed": failed})
            continue
        found = [results[student, method, seed]["student"] for seed in range(asked.seeds)]
        alone = [results[student, "alone", seed]["student"] for seed in range(asked.seeds)]
        gains = [taught[metric] - by_itself[metric] for taught, by_itself in zip(found, alone, strict=True)]
        table.append(row(method, student, found, metric, [] if method == "alone" else gains))
    return table


def row(role: str, model: str, found: list[dict[str, Any]], metric: str, gains: list[float]) -> dict[str, Any]:
    """One line of the table."""
    values = [f[metric] for f in found]
    gain = {"gain": fmean(gains), "gain_interval": interval(gains), "verdict": verdict(gains)} if gains else {}
    return {
        "model": model,
        "method": role,
        metric: fmean(values),
        "values": values,
        "interval": interval(values),
        **gain,
        "parameters": found[0]["parameters"],
        "macs": found[0]["macs"],
        "seconds": fmean(f["seconds"] for f in found),
        "step_ms": fmean(f["step_ms"] for f in found),
    }


def markdown(table: list[dict[str, Any]], metric: str) -> str:
    """The rows for people; shares in percent."""
    lines = [
        f"| model | method | {metric}, % | gain over alone, points | verdict | parameters | MACs | ms a step |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for r in table:
        if "failed" in r:
            reason = " ".join(r["failed"][0].split())
            lines.append(f"| {r['model']} | {r['method']} | {len(r['failed'])} runs failed: {reason} | | | | | |")
            continue
        gain = percent(r["gain"], r["gain_interval"], "+") if "gain" in r else ""
        lines.append(
            f"| {r['model']} | {r['method']} | {percent(r[metric], r['interval'])} | {gain} | {r.get('verdict', '')} "
            f"| {r['parameters']:,} | {r['macs'] / 1e6:.2f} M | {r['step_ms']:.0f} |"
        )
    return "\n".join(lines)


def compact(table: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """JSON with a row of the table on each line."""
    lines = ",\n".join(json.dumps(r) for r in table)
    return json.dumps(facts)[:-1] + f', "rows": [\n{lines}\n]}}\n'


def percent(value: float, bounds: tuple[float, float] | None, sign: str = "") -> str:
    """A share as percent, ± half its interval."""
    half = f" ± {50 * (bounds[1] - bounds[0]):.2f}" if bounds else ""
    return f"{100 * value:{sign}.2f}{half}"


def arguments() -> argparse.Namespace:
    """What was asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder:PATH, npz:FILE, … (tutelage list data)")
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--students", nargs="+", default=["resnet8"])
    parser.add_argument("--methods", nargs="+", default=["kd", "dkd"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--teacher-epochs", type=int, help="default: epochs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", required=True, help="folder of the runs and the tables")
    parser.add_argument("keys", nargs="*", help="key=value for every run, such as size=32")
    asked = parser.parse_args()
    asked.keys = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in asked.keys)}
    return asked


def main() -> None:
    """Run the study and write study.md and study.json."""
    asked, began = arguments(), time.time()
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    results = study(asked)
    metric, data = results["teacher"]["metric"], results["teacher"]["data"]
    table = rows(asked, results)
    versions = {name: version(name) for name in ("tutelage", "torch", "torchvision")} | {
        "python": platform.python_version()
    }
    text = "\n".join(
        [
            f"# {data['name']}",
            "",
            f"{data['train']} images to train on, {data['test']} to test, {len(data['classes'])} classes; "
            f"mean ± half the 95 % interval over {asked.seeds} seeds; last epoch; test split.",
            f"Each student has {asked.epochs} epochs, the teacher {asked.teacher_epochs or asked.epochs}. "
            "Gains are paired by seed.",
            "",
            markdown(table, metric),
            "",
            f"    {shlex.join(['python', *sys.argv])}",
            "",
            ", ".join(f"{name} {number}" for name, number in versions.items())
            + f"; {time.time() - began:.0f} s with {asked.jobs} processes.",
        ]
    )
    (out / "study.md").write_text(text + "\n", encoding="utf-8")
    (out / "study.json").write_text(compact(table, {"data": data["name"], "versions": versions}), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
