"""A picture as a network wants it, for use outside of a run: just as the run's evaluation had its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tutelage.data.decode import DEEP, Opened, Picture, tensor_of
from tutelage.data.image_files import centred
from tutelage.data.items import image, said
from tutelage.data.scale import Numbers, standard
from tutelage.errors import DataError


@dataclass(frozen=True)
class Preprocess:
    """A picture becomes a tensor (C, H, W): read, resized or cropped, normalised.

    size: of the tensor. mean, std: of pixels in [0, 1], or, if not `known`, of floats as the network's data had them.
    side, centred: to which height and width a picture is brought before, and whether by its middle.
    """

    channels: int
    size: tuple[int, int]
    mean: Numbers
    std: Numbers
    known: bool = True
    side: tuple[int, int] | None = None
    centred: bool = False

    def __call__(self, picture: Any) -> Tensor:
        """Of an image file's path, a PIL image, or a uint8 tensor (C, H, W) or array (H, W, C); floats are in [0, 1].

        Raises: DataError for what is none of these or has other channels.
        """
        x = self._pixels(Picture(Path(picture)) if isinstance(picture, str | Path) else picture)
        if len(x) != self.channels or not (self.known or x.is_floating_point()):
            kind = "pixels" if self.known else "floats, scaled as its training data was, for nobody said how that is"
            raise DataError(f"preprocess: got {said(picture)}: expected a picture of {self.channels} channels, {kind}.")
        if self.side is not None and x.shape[1:] != self.side:
            from torchvision.transforms import functional as TF

            x = TF.resize(x, list(self.side), antialias=True)
        x = standard(x, self.mean, self.std)
        if x.shape[1:] == self.size:
            return x
        return F.interpolate(x[None], self.size, mode="bilinear", antialias=True)[0]

    def _pixels(self, picture: Any) -> Tensor:
        """(C, H, W), of a photo its middle."""
        if not isinstance(picture, Picture) and (not hasattr(picture, "convert") or picture.mode in DEEP):
            x = _image(picture)
            if not self.centred or x.is_floating_point() or len(x) not in (1, 3):
                return x
            from torchvision.transforms import functional as TF

            picture = TF.to_pil_image(x)
        opened = picture if isinstance(picture, Picture) else Opened.from_image(picture)
        if self.centred and self.side is not None:
            return tensor_of(centred(opened, self.channels, self.side))
        return tensor_of(opened.rgb_or_grey(self.channels)[0])


def _image(x: Any) -> Tensor:
    try:
        return image(x)
    except DataError as error:
        raise DataError(f"preprocess: what it got {error}") from error
