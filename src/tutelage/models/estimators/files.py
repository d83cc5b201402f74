"""A fitted estimator as one file of plain arrays; nothing is unpickled."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from tutelage.errors import CheckpointError, ModelError
from tutelage.models.estimators.cores import EstimatorCore, LinearCore, TreesCore
from tutelage.models.estimators.module import EstimatorCard, FittedEstimator
from tutelage.utils import checksums, tensor_file
from tutelage.utils.files import write_atomically

FORM = "estimator"
"""The metadata's name of the description, by which a file is recognised."""

CORES: dict[str, type[LinearCore | TreesCore]] = {"linear": LinearCore, "trees": TreesCore}


def encode(estimator: FittedEstimator, extra: dict[str, str] | None = None) -> bytes:
    """Return the content of an estimator's file; extra: more metadata."""
    kind = next(kind for kind, core in CORES.items() if type(estimator.core) is core)
    tensors = {f"core.{name}": x.contiguous() for name, x in estimator.core.arrays().items()}
    tensors |= {name: x.cpu().contiguous() for name, x in estimator.named_buffers(recurse=False)}
    description = json.dumps({"kind": kind} | asdict(estimator.facts))
    return tensor_file.encode_tensors(tensors, (extra or {}) | {FORM: description})


def save(path: str | Path, estimator: FittedEstimator) -> None:
    """Write an estimator's arrays and description: a safetensors file with its own SHA-256."""
    content = encode(estimator)
    write_atomically(Path(path), lambda file: file.write(content))


def load(path: str | Path) -> FittedEstimator:
    """Read an estimator that `save` wrote; its outputs are the same, bit by bit.

    Raises: CheckpointError if the file is missing, torn, altered, or of something else.
    """
    path = Path(path)
    checksums.verify(path)
    try:
        tensors, metadata = tensor_file.read_tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: expected a file that tutelage saved.") from error
    return decode(path, tensors, metadata)


def decode(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> FittedEstimator:
    """Return the estimator of a file's tensors and metadata.

    Raises: CheckpointError if they aren't an estimator's.
    """
    try:
        facts: dict[str, Any] = json.loads(metadata[FORM])
        core: EstimatorCore = CORES[facts.pop("kind")](
            **{name.removeprefix("core."): x for name, x in tensors.items() if name.startswith("core.")}
        )
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()}
        card = EstimatorCard(**values)
        return FittedEstimator(core, card, tensors["mean"], tensors["scale"]).eval()
    except (ModelError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} isn't an estimator that tutelage saved: {error}") from error
