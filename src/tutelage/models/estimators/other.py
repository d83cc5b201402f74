"""Any other estimator of scikit-learn's kind, called as it is, and kept in skops' form."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.errors import CheckpointError, ConfigError, ModelError, shown
from tutelage.models.estimators import files
from tutelage.models.estimators.module import FLOOR, FittedEstimator
from tutelage.models.estimators.sklearn_forms import from_sklearn

PICKLED = (".pkl", ".pickle", ".joblib", ".dump")


class OtherEstimator(nn.Module):
    """A fitted estimator whose own `predict_proba` or `predict` is called on the CPU: (B, F) → logits or values.

    Args:
        estimator: the fitted estimator.

    Raises: ModelError if it isn't fitted or has neither method.
    """

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        if not hasattr(estimator, "n_features_in_") or not hasattr(estimator, "predict"):
            raise ModelError(f"{type(estimator).__name__}: expected a fitted estimator with `predict`.")
        self.classes = tuple(str(label) for label in getattr(estimator, "classes_", ()))
        if self.classes and not hasattr(estimator, "predict_proba"):
            raise ModelError(f"{type(estimator).__name__} has no predict_proba: expected a classifier that has one.")
        names = getattr(estimator, "feature_names_in_", [f"x{k}" for k in range(estimator.n_features_in_)])
        self.columns = tuple(str(name) for name in names)
        self.estimator = estimator

    def extra_repr(self) -> str:
        """Return the class and a digest of the estimator, of which a cache's identity is a function."""
        digest = hashlib.sha256(pickle.dumps(self.estimator)).hexdigest()[:16]  # it is written, never read
        return f"{type(self.estimator).__name__}, {digest}"

    def predict(self, x: Tensor) -> Tensor:
        """Return the probabilities (B, C) or values (B, K), in float64.

        Raises: ModelError if the estimator rejects x.
        """
        call = self.estimator.predict_proba if self.classes else self.estimator.predict
        try:
            output = np.asarray(call(x.detach().cpu().numpy()), dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise ModelError(f"{type(self.estimator).__name__} rejects inputs {tuple(x.shape)}: {error}") from error
        return torch.from_numpy(output.reshape(len(x), -1)).to(x.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the probabilities (B, C), or the values (B, K), in float32."""
        output = self.predict(x)
        return (output.clamp_min(FLOOR).log() if self.classes else output).float()


def wrap(estimator: Any, columns: Sequence[str] | None = None) -> FittedEstimator | OtherEstimator:
    """Return any fitted estimator as a module: by its arrays if its class is known, else as it is."""
    try:
        return from_sklearn(estimator, columns)
    except ModelError:
        return OtherEstimator(estimator)


def save_other(path: str | Path, module: OtherEstimator) -> None:
    """Write an estimator in skops' form, which holds no code.

    Raises: ConfigError if skops isn't installed; ModelError if the estimator has parts that skops can't write.
    """
    try:
        _skops().dump(module.estimator, Path(path))
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{type(module.estimator).__name__} can't be written by skops: {error}") from error


def load_other(path: str | Path, trusted: Sequence[str] = ()) -> OtherEstimator:
    """Read an estimator in skops' form, if all its types are skops' trusted ones or in `trusted`.

    Raises: ConfigError if skops isn't installed; CheckpointError if the file is missing or torn; ModelError if it has
    other types.
    """
    io, path = _skops(), Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: expected a file that skops wrote.")
    try:
        types = sorted({*io.get_untrusted_types(file=path)} - {*trusted})
    except Exception as error:  # on a broken file skops raises almost anything
        raise CheckpointError(f"{path} can't be read as skops' form: {shown(error)}") from error
    if types:
        raise ModelError(
            f"{path} has types that aren't trusted: {shown(', '.join(types))}. Write the estimator with `save`, or "
            "load it in Python by load_other(path, trusted=[…]) if you know who wrote the file and what these types do."
        )
    try:
        return OtherEstimator(io.load(path, trusted=list(trusted)))
    except ModelError:
        raise
    except Exception as error:  # likewise
        raise CheckpointError(f"{path} can't be read as skops' form: {shown(error)}") from error


def load_estimator(path: str | Path) -> FittedEstimator | OtherEstimator:
    """Read an estimator in its own form or in skops', by the file's ending; pickles are refused.

    Raises: ModelError for a pickle or another ending; else as `load` and `load_other`.
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        return files.load(path)
    if suffix == ".skops":
        return load_other(path)
    reason = "a pickle runs code when it is read" if suffix in PICKLED else "unknown ending"
    raise ModelError(
        f"{path}: {reason}; expected FILE.safetensors, which tutelage.models.estimators.save(path, "
        "from_sklearn(estimator)) writes, or FILE.skops."
    )


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ConfigError("skops isn't installed: pip install 'tutelage[tables]'.") from error
    return skops.io
