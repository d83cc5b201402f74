"""Run a study on real data: one teacher, students × seeds × methods with one budget; write Markdown and JSON tables.

    python bench/real.py --data folder:eurosat --teacher resnet20 --students resnet8 cnn16 --out runs/study size=32

Every run has its own folder below --out; finished runs are reused, unfinished ones resumed; the row of a failed run
gives the reason. Arguments `key=value` are passed to every run. A method is a loss, a sum (ce+250*at), a recipe or a
list of terms ("[{name: ce}, {name: dkd, warmup: 3}]"); a suffix @N means N teachers, trained with the seeds 0 … N − 1.
Methods without a teacher get none; methods that train their teachers in a special way (for some classes, for the
student, to follow their trajectory) train them in each run. Metrics are those of the last epoch on the test split.
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
from collections.abc import Sequence
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
from tutelage.errors import Interrupted, TutelageError
from tutelage.utils import registry
from tutelage.utils.intervals import confidence_interval, verdict


def run(folder: Path, model: str, method: str | None, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the result of one run: read if finished, resumed if unfinished, else started; method None: no teacher."""
    torch.set_num_threads(1)
    if (folder / "result.json").exists():
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return result
    start = time.time()
    try:
        if (folder / "config.yaml").exists():
            finished = tutelage.resume(folder)
        elif method is None:
            finished = tutelage.train(model, out=str(folder), **keys)
        else:
            terms = yaml.safe_load(method) if method.startswith("[") else method
            finished = tutelage.distill(model, method=terms, baseline=False, out=str(folder), **keys)
    except Interrupted:
        raise
    except TutelageError as error:
        print(f"{folder.name}: {error}", flush=True)
        return {"failed": str(error)}
    student = finished.result["student"]
    print(f"{folder.name}: {student[finished.result['metric']]:.4f} in {time.time() - start:.0f} s", flush=True)
    return finished.result


def with_teachers(method: str, args: argparse.Namespace) -> tuple[str, list[int], dict[str, Any]]:
    """Return the method without its @N, the numbers of the teachers that it needs, and the keys that name teachers."""
    name, _, count = method.partition("@")
    config = recipes.load(name) if recipes.has(name) else {}
    scheme = config.get("scheme", "offline")
    kind = registry.find_entry("schemes", scheme if isinstance(scheme, str) else scheme["name"]).load()
    teacher = config.get("teacher", "one")
    if not kind.takes_teacher or teacher in (None, "moving_average"):
        return name, [], {}
    several = int(count or (len(teacher) if isinstance(teacher, list) else 1))
    if trains_its_own(config):
        model = [args.teacher] * several if several > 1 else args.teacher
        return name, [], {"teacher": model, "teacher_epochs": args.teacher_epochs or args.epochs}
    folders = [str(Path(args.out) / teacher_name(number)) for number in range(several)]
    return name, list(range(several)), {"teacher": folders if several > 1 else folders[0]}


def trains_its_own(config: dict[str, Any]) -> bool:
    """Return whether a recipe trains its own teachers: for some classes, for the student, for their trajectory."""
    trajectory = any("stage:teacher@" in str(stage.get("teacher")) for stage in config.get("stages", []))
    return trajectory or bool(config.get("teacher_classes") or config.get("teacher_scheme"))


def teacher_name(number: int) -> str:
    """Return a teacher's folder name, which is also its key in the results."""
    return f"teacher{number or ''}"


def study(args: argparse.Namespace) -> dict[str, Any]:
    """Run everything; return the results by (student, method, seed), and the teachers'."""
    out, keys = Path(args.out), {"data": args.data, **args.keys}
    runs = {
        (student, method, seed): (out / f"{student}-{slug(method)}-{seed}", student)
        for student, seed, method in product(args.students, range(args.seeds), ["alone", *args.methods])
    }
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        budget = keys | {"epochs": args.teacher_epochs or args.epochs}
        needed = {0}.union(*(with_teachers(method, args)[1] for method in args.methods))
        futures: dict[Any, Future[dict[str, Any]]] = {
            teacher_name(i): pool.submit(run, out / teacher_name(i), args.teacher, None, budget | {"seed": i})
            for i in sorted(needed)
        }
        teachers = list(futures)
        try:
            for alone in (True, False):  # methods with teachers wait for these
                for (student, method, seed), (folder, model) in runs.items():
                    if (method == "alone") == alone:
                        name, _, teacher_keys = (None, [], {}) if alone else with_teachers(method, args)
                        budget = keys | {"epochs": args.epochs, "seed": seed} | teacher_keys
                        futures[student, method, seed] = pool.submit(run, folder, model, name, budget)
                for key in teachers:
                    futures[key].result()
            return {key: future.result() for key, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def slug(method: str) -> str:
    """Return a method as part of a folder name."""
    return re.sub(r"[^\w.+-]+", "-", method.replace("*", "x")).strip("-")


def rows(args: argparse.Namespace, results: dict[Any, Any]) -> list[dict[str, Any]]:
    """Return a row per student and method: means, intervals, and the gains over the student alone, by seed."""
    metric, higher = results["teacher"]["metric"], results["teacher"]["higher_is_better"]
    table = [row("teacher", args.teacher, [results["teacher"]["student"]], metric, [])]
    for student, method in product(args.students, ["alone", *args.methods]):
        failed = [r["failed"] for seed in range(args.seeds) if "failed" in (r := results[student, method, seed])]
        if failed:
            table.append({"model": student, "method": method, "failed": failed})
            continue
        students = [results[student, method, seed]["student"] for seed in range(args.seeds)]
        alone = [results[student, "alone", seed]["student"] for seed in range(args.seeds)]
        gains = [distilled[metric] - baseline[metric] for distilled, baseline in zip(students, alone, strict=True)]
        table.append(row(method, student, students, metric, [] if method == "alone" else gains, higher))
    return table


def row(
    role: str, model: str, results: list[dict[str, Any]], metric: str, gains: list[float], higher: bool = True
) -> dict[str, Any]:
    """Return one row of the table; higher: whether a higher metric is better."""
    values = [result[metric] for result in results]
    interval = confidence_interval(gains)
    gain = {"gain": fmean(gains), "gain_interval": interval, "verdict": verdict(gains, higher)} if gains else {}
    return {
        "model": model,
        "method": role,
        metric: fmean(values),
        "values": values,
        "interval": confidence_interval(values),
        **gain,
        "parameters": results[0]["parameters"],
        "macs": results[0]["macs"],
        "seconds": fmean(result["seconds"] for result in results),
        "step_ms": fmean(result["step_ms"] for result in results),
    }


def markdown(table: list[dict[str, Any]], metric: str) -> str:
    """Return the rows as a Markdown table, with metrics in percent if all are fractions."""
    fractions = all(0 <= value <= 1 for r in table if "failed" not in r for value in r["values"]) and metric != "rmse"
    number = percent if fractions else plain_number
    units = (", %", ", points") if fractions else ("", "")
    lines = [
        f"| model | method | {metric}{units[0]} | gain over alone{units[1]} | verdict | parameters | MACs "
        "| ms per step |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for r in table:
        if "failed" in r:
            reason = " ".join(r["failed"][0].split())
            lines.append(f"| {r['model']} | {r['method']} | {len(r['failed'])} runs failed: {reason} | | | | | |")
            continue
        gain = number(r["gain"], r["gain_interval"], "+") if "gain" in r else ""
        lines.append(
            f"| {r['model']} | {r['method']} | {number(r[metric], r['interval'])} | {gain} | {r.get('verdict', '')} "
            f"| {r['parameters']:,} | {r['macs'] / 1e6:.3g} M | {r['step_ms']:.3g} |"
        )
    return "\n".join(lines)


def section(
    title: str, about: str, student: str, methods: Sequence[str], seeds: int, teacher: str, results: dict[Any, Any]
) -> list[str]:
    """Return the lines of one part of a study: its title, what it is about, and the table of its results."""
    args = argparse.Namespace(students=[student], methods=methods, seeds=seeds, teacher=teacher)
    table = markdown(rows(args, results), results["teacher"]["metric"])
    return [f"## {title}", "", *([about, ""] if about else []), table, ""]


def describe(data: dict[str, Any]) -> str:
    """Return the outputs in words."""
    return f"values of {', '.join(data['values'])}" if data["values"] else f"{len(data['classes'])} classes"


def compact(table: list[dict[str, Any]], metadata: dict[str, Any]) -> str:
    """Return JSON with one row of the table on each line."""
    lines = ",\n".join(json.dumps(r) for r in table)
    return json.dumps(metadata)[:-1] + f', "rows": [\n{lines}\n]}}\n'


def percent(value: float, bounds: tuple[float, float] | None, sign: str = "") -> str:
    """Return a fraction in percent, ± half of its interval."""
    half = f" ± {50 * (bounds[1] - bounds[0]):.2f}" if bounds else ""
    return f"{100 * value:{sign}.2f}{half}"


def plain_number(value: float, bounds: tuple[float, float] | None, sign: str = "") -> str:
    """Return a number in its own unit, ± half of its interval."""
    half = f" ± {float(f'{(bounds[1] - bounds[0]) / 2:.3g}'):g}" if bounds else ""
    return f"{value:{sign}.5g}{half}"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder:PATH, npz:FILE, … (tutelage list data)")
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--students", nargs="+", default=["resnet8"])
    parser.add_argument("--methods", nargs="+", default=["kd", "dkd"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--teacher-epochs", type=int, help="default: epochs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="number of processes, with one thread each")
    parser.add_argument("--out", required=True, help="folder for the runs and the tables")
    parser.add_argument("keys", nargs="*", help="key=value arguments for every run, such as size=32")
    args = parser.parse_args()
    args.keys = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in args.keys)}
    return args


def main() -> None:
    """Run the study and write study.md and study.json."""
    args, start = arguments(), time.time()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results = study(args)
    metric, data = results["teacher"]["metric"], results["teacher"]["data"]
    table = rows(args, results)
    versions = {name: version(name) for name in ("tutelage", "torch", "torchvision")} | {
        "python": platform.python_version()
    }
    text = "\n".join(
        [
            f"# {data['name']}",
            "",
            f"{data['train']} training and {data['test']} test samples, {describe(data)}; "
            f"mean ± half of the 95 % interval over {args.seeds} seeds; last epoch; test split.",
            f"Each student has {args.epochs} epochs, the teacher {args.teacher_epochs or args.epochs}. "
            "Gains are paired by seed.",
            "",
            markdown(table, metric),
            "",
            f"    {shlex.join(['python', *sys.argv])}",
            "",
            ", ".join(f"{name} {number}" for name, number in versions.items())
            + f"; {time.time() - start:.0f} s with {args.jobs} processes.",
        ]
    )
    (out / "study.md").write_text(text + "\n", encoding="utf-8")
    (out / "study.json").write_text(compact(table, {"data": data["name"], "versions": versions}), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
