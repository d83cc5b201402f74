"""Networks of clips that run a network of images on each frame."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from tutelage.models.base import LoadedModel, ModelRequest
from tutelage.models.providers import refuse_dense, refuse_other_inputs
from tutelage.structures import response_of


class FrameNetwork(nn.Module):
    """A network of images that is run on each frame of a clip: the mean of its responses over time.

    Shapes: (B, C, T, H, W), any T → (B, classes). A layer of the network has a map (B, C, T, H, W) of its maps of the
    frames, tokens (B, T·N, C) of its tokens, or the mean (B, D) of its vectors.

    Args:
        network: the network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, classes)."""
        return self.join_parts(x, response_of(self.network(self.split_parts(x))))

    def split_parts(self, x: Tensor) -> Tensor:
        """Return the frames (B·T, C, H, W) of clips, a clip's one after the other."""
        return x.movedim(2, 1).flatten(0, 1)

    def join_parts(self, x: Tensor, feature: Tensor) -> Tensor:
        """Return what a layer computed of the frames of clips x, with a row for each clip; unchanged without such."""
        if len(feature) != len(x) * x.shape[2] or feature.dim() < 2:
            return feature
        of_clips = feature.unflatten(0, (len(x), x.shape[2]))
        if feature.dim() == 2:
            return of_clips.mean(1)
        return of_clips.flatten(1, 2) if feature.dim() == 3 else of_clips.movedim(1, 2)


def with_frames(request: ModelRequest) -> LoadedModel:
    """Any network of images, run on each frame of a clip, as in frames:resnet8: the mean of its outputs over time."""
    from tutelage.models.loading import create

    refuse_other_inputs(f"frames:{request.name}", 3, request)
    refuse_dense("frames", request)
    size = None if request.size is None else request.size[1:]
    loaded = create(
        request.name, classes=request.classes, channels=request.channels, size=size, pretrained=request.pretrained
    )
    return replace(loaded, model=FrameNetwork(loaded.model))
