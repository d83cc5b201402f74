"""Restoration: the clean image of a small, blurred or noisy one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, ModelError
from tutelage.report import map_sections
from tutelage.structures import Batch
from tutelage.tasks import map_checks
from tutelage.tasks.base import Sections
from tutelage.tasks.map_metrics import Measure, SampleMeans
from tutelage.tasks.maps import MapTask
from tutelage.tasks.restoration_metrics import image_figures, peak_figures
from tutelage.utils.finding import Finding


class Restoration(MapTask):
    """The clean image, in [0, 1], of a degraded one (super-resolution, denoising, deblurring): PSNR decides.

    The task loss is the absolute error. `input_psnr` is that of the input itself, made larger bicubically if it is
    smaller.
    """

    metric = "psnr"
    higher_is_better = True
    other_metrics: ClassVar[Mapping[str, bool]] = {"ssim": True}
    positions = 2
    figures = ("psnr", "ssim")
    usage = "image = outputs.clamp(0, 1)  # (B, C, H, W), the restored image"

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for the data's clean images.

        Raises: ConfigError if the data has no maps, or other ones than images in [0, 1].
        """
        task = super().from_data(data)
        if {*task.values.std} != {1.0}:
            raise ConfigError(
                f"task=restoration: the maps of {data.name!r} are {', '.join(task.values.names)}, of any range: name "
                "their channels grey, or red, green and blue (values), if they are images in [0, 1]."
            )
        return task

    def measure_maps(self) -> Measure:
        """Return PSNR and SSIM of each image."""
        return image_figures

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response as it is.

        Raises: ModelError if it isn't as large as the clean images.
        """
        if batch.targets is not None and response.shape[-2:] != batch.targets.shape[-2:]:
            high, wide = batch.targets.shape[-2:]
            raise ModelError(
                f"the network outputs images of {'×'.join(map(str, response.shape[-2:]))}, and the clean ones are "
                f"{high}×{wide}: use one for this scale, such as edsr4x16-x2 for twice the size, or edsr4x16 "
                "for the same."
            )
        return response

    def measure(self, network: nn.Module, data: DataModule, split: str, batch_size: int) -> dict[str, float]:
        """Return the PSNR of the input, made larger bicubically, if it is a picture of the clean image."""
        if not self._shows_targets(data):
            return {}
        return {"input_psnr": input_psnr(self, data, split, batch_size)}

    def _shows_targets(self, data: DataModule) -> bool:
        """Return whether the inputs are pictures of the targets: of the same channels, or grey ones in colours."""
        return data.channels in (1, len(self.values.names))

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the PSNR with that of the input, or of the mean image if the input has other channels."""
        if not self._shows_targets(data):
            return super().judge_teacher(values, tables, data)
        return map_checks.judge_figure("PSNR", values["psnr"], input_psnr(self, data, "val", 64), True, "the input")

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of images."""
        return {"Maps": map_sections.maps}


def input_psnr(task: Restoration, data: DataModule, split: str, batch_size: int) -> float:
    """Return the PSNR of a split's inputs, made larger bicubically; grey ones are grey pictures in colours."""
    metrics = SampleMeans(peak_figures, ("psnr",))
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (data.mean, data.std))
    for batch in data.batches(split, batch_size, train=False):
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        x = batch.inputs * std + mean
        if x.shape[2:] != batch.targets.shape[2:]:
            x = F.interpolate(x, batch.targets.shape[2:], mode="bicubic", align_corners=False)
        metrics.update(x.expand_as(batch.targets), batch.targets)
    return float(metrics.compute()["psnr"])
