"""Noise of the test set, apart from that of seeds: the same trained models on other samples."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import CheckpointError
from tutelage.report.run_record import read_arrays
from tutelage.study.statistics import bootstrap_interval, mcnemar
from tutelage.tasks.sample_scores import SampleScores
from tutelage.utils import checksums, registry
from tutelage.utils.intervals import Interval


@dataclass(frozen=True)
class Scores:
    """The scores of a trained model on the test samples of the numbers `index` (N,)."""

    index: NDArray[Any]
    scores: SampleScores


@dataclass(frozen=True)
class SampleNoise:
    """The noise of the test set in a gain.

    Args:
        samples: the number of test samples that both models predicted.
        interval: the 95 % bootstrap interval of the gain of these trained models over test sets, paired by sample.
        mcnemar: the p value of McNemar's exact test by seed, for scores that are right or wrong; else empty.
    """

    samples: int
    interval: Interval
    mcnemar: Mapping[int, float]


def noise_of(models: Mapping[int, Scores], references: Mapping[int, Scores]) -> SampleNoise | None:
    """Compare trained models with references by seed, on the samples that all of them predicted.

    None if they have no seed or no sample in common.
    """
    seeds = [seed for seed in models if seed in references]
    known = [by_seed[seed] for by_seed in (models, references) for seed in seeds]
    common = reduce(np.intersect1d, [scores.index for scores in known]) if known else np.empty(0)
    if not len(common):
        return None
    values = np.stack([x.scores.values[np.isin(x.index, common)] for x in known])
    pairs = values.reshape(2, len(seeds), -1)
    scored, reference = pairs.astype(np.float64)
    interval = bootstrap_interval(scored, reference, known[0].scores.finish)
    is_right_or_wrong = values.dtype == np.bool_
    tests = {seed: mcnemar(*pairs[:, i]) for i, seed in enumerate(seeds)} if is_right_or_wrong else {}
    return SampleNoise(len(common), interval, tests)


def read_scores(folder: Path, result: Mapping[str, Any]) -> Scores | None:
    """Read the scores of a run's student on the test samples.

    None if the run kept no predictions, or if its metric isn't a mean over samples.

    Raises: CheckpointError if the predictions can't be read.
    """
    file, task, metric = folder / "student-0" / "predictions.npz", str(result["task"]), result["metric"]
    if not file.exists() or not registry.is_known("tasks", task):
        return None
    try:
        checksums.verify(file)
        arrays = read_arrays(file)
        scores = registry.find_entry("tasks", task).load().sample_scores(metric, arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{file} can't be read ({error}): resume the run to write it again.") from error
    is_metric = scores is not None and math.isclose(scores.metric, result["student"][metric], rel_tol=1e-4)
    return Scores(arrays["index"], scores) if is_metric else None
