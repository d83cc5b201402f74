"""Sound files: their headers, and their samples at one rate and of one length."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError, DataError, plain

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".aif", ".aiff"})
"""The suffixes of sound files."""

FULL_SCALE, RUN = 0.999, 3
"""A recording is clipped where so many samples in a row are at the end of the scale."""


@dataclass(frozen=True)
class SoundForm:
    """The form that all recordings are brought to.

    rate: samples a second. length: samples. resample: whether other rates are converted. mono: whether several
    channels are averaged.
    """

    rate: int
    length: int
    resample: bool = False
    mono: bool = False


@dataclass(frozen=True)
class SoundHeader:
    """A file's sampling rate, channels, samples in each channel, and the form of these, such as PCM_16."""

    path: Path
    rate: int
    channels: int
    samples: int
    subtype: str

    @classmethod
    def read(cls, path: Path) -> SoundHeader:
        """Read the header.

        Raises: DataError that names the file, if it isn't sound or is empty.
        """
        try:
            info = library().info(str(path))
        except (OSError, RuntimeError) as error:
            raise _unreadable(path, error) from error
        if not info.frames:
            raise DataError(f"{plain(path)}: has no samples: record it again, or remove it.")
        return cls(path, info.samplerate, info.channels, info.frames, info.subtype)

    def refuse_other(self, rate: int, resample: bool, mono: bool) -> None:
        """Refuse another sampling rate, or several channels, unless they are to be converted.

        Raises: DataError that names the file.
        """
        if self.rate != rate and not resample:
            raise DataError(
                f"{plain(self.path)}: has {self.rate:,} samples a second, expected {rate:,}: convert it, or set "
                "resample: true."
            )
        if self.channels > 1 and not mono:
            raise DataError(
                f"{plain(self.path)}: has {self.channels} channels, expected one: set mono: true to average them."
            )

    def samples_at(self, rate: int) -> int:
        """Return the number of samples after conversion to a rate."""
        return -(-self.samples * rate // self.rate)


def read_waveform(path: Path, form: SoundForm) -> Tensor:
    """Return a whole recording, (1, samples) float32 from -1 to 1.

    Raises: DataError that names the file, if it can't be used.
    """
    header = SoundHeader.read(path)
    header.refuse_other(form.rate, form.resample, form.mono)
    try:
        samples, _ = library().read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if len(samples) < header.samples:
        raise DataError(f"{plain(path)}: ends after {len(samples)} of {header.samples} samples: copy it again.")
    if not np.isfinite(samples).all():
        raise DataError(f"{plain(path)}: has NaN or infinite samples: write it again, or remove it.")
    if not np.ptp(samples):
        raise DataError(f"{plain(path)}: is silent, since all its samples are {samples[0, 0]:g}: remove it.")
    mixed = samples.mean(1)
    if header.rate != form.rate:
        from scipy.signal import resample_poly

        common = gcd(header.rate, form.rate)
        mixed = resample_poly(mixed, form.rate // common, header.rate // common).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(mixed))[None]


def place(waveform: Tensor, length: int, start: int) -> Tensor:
    """Return `length` samples of a recording from a start; one that is shorter begins there, among zeros."""
    extra = waveform.shape[-1] - length
    return waveform[:, start : start + length] if extra >= 0 else F.pad(waveform, (start, -extra - start))


def is_clipped(waveform: Tensor) -> bool:
    """Return whether the recording has runs of samples at the end of the scale."""
    full = (waveform[0].abs() >= FULL_SCALE).float()
    return len(full) >= RUN and bool((full.unfold(0, RUN, 1).sum(1) == RUN).any())


@cache
def library() -> ModuleType:
    """Return soundfile.

    Raises: ConfigError that tells how to install it.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: libsndfile is missing
        raise ConfigError(f"sound files need soundfile ({plain(error)}): pip install 'tutelage[sound]'.") from error
    module: ModuleType = soundfile
    return module


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{plain(path)}: can't be read as sound ({plain(error)}): expected WAV, FLAC or OGG; replace or remove it."
    )
