"""Run a study of inputs of their own: teacher and student get other inputs of the same samples, or another size.

    python bench/inputs.py --fsdd FOLDER --eurosat FOLDER --out runs/inputs

FSDD's recordings (DIGIT_SPEAKER_INDEX.wav, 8 kHz) become a .npz of two series, the waveform and 32 mel bands, whose
groups are the speakers: three to train on, one for validation, two to test. A teacher of spectrograms teaches students
of waveforms, and the other way round. EuroSAT's teacher gets images of 32 pixels, its students 16. There is one teacher
in each part; every run has its own folder below --out; finished runs are reused, unfinished ones resumed. Metrics are
those of the last epoch on the test split; written to inputs.md below --out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
import wave
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from real import markdown, rows, run, slug

SPEAKERS = {"train": ("george", "jackson", "lucas"), "val": ("nicolas",), "test": ("theo", "yweweler")}
SAMPLES, WINDOW, BANDS, RATE = 4096, 256, 32, 8000


@dataclass(frozen=True)
class Study:
    """One part: its data, a model and its keys for the teacher and the student, and the methods to compare."""

    title: str
    data: str
    teacher: str
    student: str
    teacher_keys: dict[str, Any]
    student_keys: dict[str, Any]
    methods: tuple[str, ...]
    teacher_epochs: int
    epochs: int
    keys: dict[str, Any] = field(default_factory=dict)


def waveform(path: Path) -> torch.Tensor:
    """Return the first 4,096 samples of a recording of 16 bits, as multiples of its deviation, zeros after its end."""
    with wave.open(str(path)) as file:
        samples = torch.from_numpy(np.frombuffer(file.readframes(SAMPLES), np.int16).astype(np.float32))
    return torch.nn.functional.pad(samples / samples.std(), (0, SAMPLES - len(samples)))


def spectrogram(waveforms: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of the power in 32 mel bands at 33 times: waveforms (N, T) -> (N, 32, 33)."""
    window = torch.hann_window(WINDOW)
    power = torch.stft(waveforms, WINDOW, WINDOW // 2, window=window, return_complex=True).abs().square()
    mels = 2595 * torch.log10(1 + torch.linspace(0, RATE / 2, WINDOW // 2 + 1) / 700)
    edges = torch.linspace(0, float(mels[-1]), BANDS + 2)[:, None]
    filters = torch.minimum(mels - edges[:-2], edges[2:] - mels).relu()
    return (filters / filters.sum(1, keepdim=True).clamp(min=1e-6) @ power).add(1e-3).log()


def prepare(folder: Path, target: Path) -> Path:
    """Write FSDD as a .npz of two inputs, with its speakers as groups."""
    arrays: dict[str, Any] = {"inputs": ["waveform", "spectrogram"]}
    arrays |= {"modality_waveform": "series", "modality_spectrogram": "series"}
    everyone = [name for names in SPEAKERS.values() for name in names]
    for split, names in SPEAKERS.items():
        paths = sorted(path for name in names for path in folder.glob(f"?_{name}_*.wav"))
        if not paths:
            sys.exit(f"{folder}: no recordings of {', '.join(names)}: expected DIGIT_SPEAKER_INDEX.wav")
        digits, speakers = zip(*(path.name.split("_")[:2] for path in paths), strict=True)
        waveforms = torch.stack([waveform(path) for path in paths])
        slow = waveforms.unflatten(1, (-1, 2)).mean(2)  # 4 kHz
        arrays |= {f"waveform_{split}": slow.numpy(), f"spectrogram_{split}": spectrogram(waveforms).numpy()}
        arrays |= {f"y_{split}": np.array(digits, int)}
        arrays |= {f"groups_{split}": np.array([everyone.index(name) for name in speakers])}
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(target, **arrays)
    return target


def studies(args: argparse.Namespace) -> list[Study]:
    """Return the parts."""
    spoken = f"npz:{prepare(args.fsdd, args.out / 'fsdd.npz')}"
    methods = ("kd", "dkd", "rkd", "pkt")
    sound, picture = {"inputs": "waveform"}, {"inputs": "spectrogram"}
    shift = {"augment": "shift"}
    return [
        Study("FSDD: from spectrograms to waveforms", spoken, "conv1d-4-32", "conv1d-4-4", picture, sound, methods,
              12, 12, shift),
        Study("FSDD: from waveforms to spectrograms", spoken, "conv1d-4-4", "conv1d-2-8", sound, picture,
              ("kd", "pkt"), 12, 12, shift),
        Study("EuroSAT: from 32 to 16 pixels", f"folder:{args.eurosat}", "resnet8", "cnn16", {}, {"size": 16},
              ("kd", "dkd"), 20, 12, {"size": 32}),
    ]  # fmt: skip


def train(study: Study, out: Path, seeds: int) -> dict[Any, dict[str, Any]]:
    """Run everything in one part; return the results by (student, method, seed), and the teacher's."""
    keys = {"data": study.data, "batch_size": 32, "device": "cpu", **study.keys}
    own = {f"student_{key}": value for key, value in study.student_keys.items()}
    teachers = {f"student_{key}": value for key, value in study.teacher_keys.items()}
    teacher = out / "teacher"
    results: dict[Any, dict[str, Any]] = {
        "teacher": run(teacher, study.teacher, None, keys | teachers | {"epochs": study.teacher_epochs, "seed": 0})
    }
    taught = {"teacher": str(teacher)} | {f"teacher_{key}": value for key, value in study.teacher_keys.items()}
    for seed, method in product(range(seeds), ("alone", *study.methods)):
        settings = keys | own | {"epochs": study.epochs, "seed": seed}
        name, settings = (None, settings) if method == "alone" else (method, settings | taught)
        results[study.student, method, seed] = run(out / f"{slug(method)}-{seed}", study.student, name, settings)
    return results


def section(study: Study, results: dict[Any, dict[str, Any]], seeds: int) -> list[str]:
    """Return the lines of one part."""
    args = SimpleNamespace(students=[study.student], methods=study.methods, seeds=seeds, teacher=study.teacher)
    data, metric = results["teacher"]["data"], results["teacher"]["metric"]
    return [
        f"## {study.title}",
        "",
        f"{data['train']} training and {data['test']} test samples, {len(data['classes'])} classes. The teacher has "
        f"{study.teacher_epochs} epochs, each student {study.epochs}.",
        "",
        markdown(rows(args, results), metric),
        "",
    ]


def main() -> None:
    """Run all parts, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument("--eurosat", type=Path, required=True, help="folder with train/CLASS and test/CLASS")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    args, start = parser.parse_args(), time.time()
    torch.set_num_threads(1)
    lines = [
        "# Inputs of their own",
        "",
        f"Mean ± half of the 95 % interval over {args.seeds} seeds of the student, one teacher; last epoch; test "
        "split; gains paired by seed.",
        "",
    ]
    for number, study in enumerate(studies(args)):
        lines += section(study, train(study, args.out / str(number), args.seeds), args.seeds)
    lines += [
        f"    {shlex.join(['python', *sys.argv])}",
        "",
        f"torch {torch.__version__}; {time.time() - start:.0f} s.",
    ]
    (args.out / "inputs.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
