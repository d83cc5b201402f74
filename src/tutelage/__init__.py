"""Teacher–student learning for PyTorch.

    import tutelage
    from tutelage import AT, KD

    run = tutelage.distill(student="resnet20", teacher="runs/teacher", data="cifar100:data", method=KD(4) + 0.5 * AT())
    model = tutelage.load(run.folder)

Every loss of the catalogue is a name of this package; nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tutelage.utils import registry

if TYPE_CHECKING:
    from tutelage._catalogue import *  # noqa: F403
    from tutelage.api import build_cache as build_cache
    from tutelage.api import distill as distill
    from tutelage.api import evaluate as evaluate
    from tutelage.api import explain as explain
    from tutelage.api import resume as resume
    from tutelage.api import train as train
    from tutelage.config.keys import Keys as Keys
    from tutelage.errors import TutelageError as TutelageError
    from tutelage.losses.base import Loss as Loss
    from tutelage.models.serialization import load as load
    from tutelage.objective.term import Term as Term
    from tutelage.objective.terms import Terms as Terms
    from tutelage.runs.finished_run import FinishedRun as FinishedRun
    from tutelage.study.compare import FinishedStudy as FinishedStudy
    from tutelage.study.compare import compare as compare
    from tutelage.study.tune import FinishedTuning as FinishedTuning
    from tutelage.study.tune import tune as tune

__version__ = "0.1.0"

PARTS = {
    "distill": "api",
    "train": "api",
    "evaluate": "api",
    "explain": "api",
    "resume": "api",
    "tune": "study.tune",
    "build_cache": "api",
    "FinishedRun": "runs.finished_run",
    "compare": "study.compare",
    "FinishedStudy": "study.compare",
    "FinishedTuning": "study.tune",
    "Keys": "config.keys",
    "load": "models.serialization",
    "TutelageError": "errors",
    "Loss": "losses.base",
    "Term": "objective.term",
    "Terms": "objective.terms",
    "Batch": "structures",
    "Outputs": "structures",
    "FeatureExtractor": "nn.feature_extractor",
    "Player": "objective.player",
    "Scheme": "schemes.base",
    "Teacher": "teachers.base",
    "Task": "tasks.base",
    "TrainerSettings": "settings",
    "Trainer": "training.trainer",
    "DataModule": "data.data_module",
    "load_data": "runs.data",
}


def __getattr__(name: str) -> Any:
    if name in PARTS:
        return getattr(importlib.import_module(f"tutelage.{PARTS[name]}"), name)
    packages = registry.KINDS if name[:1].isupper() else ()  # classes; to read the catalogues takes a second
    for package in packages:
        for entry in registry.catalogue(package).values():
            if entry.class_name == name:
                return entry.load()
    raise AttributeError(f"module 'tutelage' has no attribute {name!r}")


def __dir__() -> list[str]:
    classes = [e.class_name for package in registry.KINDS for e in registry.catalogue(package).values()]
    return sorted({*globals(), *PARTS, *classes})
