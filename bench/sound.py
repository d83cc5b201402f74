"""Run a study of sound: spectrogram teachers, students of waveforms and of spectrograms, few labels, and speakers.

    python bench/sound.py --fsdd FOLDER --out runs/sound

FSDD's recordings (DIGIT_SPEAKER_INDEX.wav, 8 kHz) are read from CSV files, half a second each. Digits: three speakers
to train on, one for validation, two to test. Few labels: the digits' teacher is tuned to the two new speakers with two
recordings of each digit, other ones for each seed, alone or with its own outputs before the tuning as a regulariser.
Speakers: embeddings of two speakers, tested on two others. Every run has its own folder below --out; finished runs are
reused, unfinished ones resumed. Metrics are those of the last epoch on the test split; written to sound.md below --out.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from real import run, section, slug

import tutelage

SPEAKERS = {"train": ("george", "jackson", "lucas"), "val": ("nicolas",), "test": ("theo", "yweweler")}
READING = {"rate": 8000, "seconds": 0.5}
MEL = "mel:8000:resnet8"
KEYS: dict[str, Any] = {"reading": READING, "batch_size": 32, "device": "cpu", "augment": "time-crop", "views": 4}


@dataclass(frozen=True)
class Study:
    """One part: its students' data and keys, the teacher's budget or folder, and the methods to compare."""

    title: str
    about: str
    data: Path
    student: str
    methods: tuple[str, ...]
    epochs: int
    keys: dict[str, Any] = field(default_factory=dict)
    teacher: str = "digits"
    teacher_epochs: int = 10


def write_csv(path: Path, recordings: list[tuple[Path, str]], drop: tuple[str, ...] = ()) -> Path:
    """Write a CSV file of recordings and their splits, without some columns; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = [name for name in ("file", "label", "speaker", "split") if name not in drop]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, extrasaction="ignore")
        writer.writeheader()
        for recording, split in recordings:
            digit, speaker, _ = recording.stem.split("_")
            writer.writerow({"file": recording.resolve(), "label": digit, "speaker": speaker, "split": split})
    return path


def prepare(fsdd: Path, out: Path) -> dict[str, Path]:
    """Write the CSV file of each part."""
    split_of = {name: split for split, names in SPEAKERS.items() for name in names}
    recordings = sorted(fsdd.glob("?_*_*.wav"))
    if not recordings:
        sys.exit(f"{fsdd}: no recordings, expected DIGIT_SPEAKER_INDEX.wav")
    digits = [(path, split_of[path.stem.split("_")[1]]) for path in recordings]
    tuned = [
        (path, "train" if int(path.stem.split("_")[2]) < 25 else "test") for path, split in digits if split == "test"
    ]
    return {
        "digits": write_csv(out / "digits.csv", digits),
        "few": write_csv(out / "few.csv", tuned, ("speaker",)),
        "speakers": write_csv(out / "speakers.csv", digits, ("split",)),
    }


def studies(files: dict[str, Path], out: Path) -> list[Study]:
    """Return the parts."""
    digits = {"group": "speaker"}
    speaker = {"target": "speaker", "split": list(SPEAKERS["test"]), "val": 0.5, "metric": "eer", "split_seed": 0}
    speaker |= {"task": {"name": "embedding", "dim": 16}}
    return [
        Study("Digits: from mel bands to waveforms", "unseen speakers", files["digits"], "m5-4",
              ("kd", "dkd", "pkt"), 8, digits),
        Study("Few labels: new speakers, two recordings of each digit", "the teacher itself, tuned", files["few"], MEL,
              ("kd", "lwf"), 10, {"labels_per_class": 2, "student_weights": str(out / "digits/student.safetensors")}),
        Study("Digits: from mel bands to fewer mel bands", "unseen speakers", files["digits"], "mel:8000:20:cnn4",
              ("kd", "pkt"), 8, digits),
        Study("Speakers: embeddings of speakers that training hasn't seen", "equal error rate, lower is better",
              files["speakers"], "m5-4", ("rkd", "pkt"), 8, speaker, "speakers", 8),
    ]  # fmt: skip


def train(study: Study, out: Path, number: int, seeds: int) -> dict[Any, dict[str, Any]]:
    """Run everything in one part; return the results by (student, method, seed), and the teacher's."""
    keys = KEYS | {"data": f"sound:{study.data}"} | study.keys
    folder = out / study.teacher
    results: dict[Any, dict[str, Any]] = {
        "teacher": run(folder, MEL, None, keys | {"epochs": study.teacher_epochs, "seed": 0})
    }
    if "student_weights" in study.keys:
        values = tutelage.evaluate(folder, keys["data"], reading=READING).values
        results["teacher"] = results["teacher"] | {"student": results["teacher"]["student"] | values}
    for seed, method in product(range(seeds), ("alone", *study.methods)):
        settings = keys | {"epochs": study.epochs, "seed": seed}
        settings |= {"lr": 0.005} if "student_weights" in study.keys else {}
        name, settings = (
            (None, settings) if method == "alone" else (method, settings | {"teacher": str(folder), "cache": True})
        )
        results[study.student, method, seed] = run(
            out / f"{number}-{slug(method)}-{seed}", study.student, name, settings
        )
    return results


def main() -> None:
    """Run all parts, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", type=int, nargs="+", default=[0, 1, 2, 3], help="numbers of the parts to run")
    args, start = parser.parse_args(), time.process_time()
    torch.set_num_threads(1)
    out = args.out.resolve()
    lines = [
        "# Sound",
        "",
        f"Mean ± half of the 95 % interval over {args.seeds} seeds of the student, one teacher ({MEL}); last epoch; "
        "test split; gains paired by seed.",
        "",
    ]
    parts = studies(prepare(args.fsdd, out), out)
    for number, study in ((number, parts[number]) for number in args.parts):
        results = train(study, out, number, args.seeds)
        data = results[study.student, "alone", 0]["data"]
        about = (
            f"{data['train']} training and {data['test']} test recordings ({study.about}). "
            f"The teacher has {study.teacher_epochs} epochs, each student {study.epochs}."
        )
        lines += section(study.title, about, study.student, study.methods, args.seeds, MEL, results)
        (out / "sound.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines += [
        f"    {shlex.join(['python', *sys.argv])}",
        "",
        f"torch {torch.__version__}; {time.process_time() - start:.0f} s of process time.",
    ]
    (out / "sound.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
