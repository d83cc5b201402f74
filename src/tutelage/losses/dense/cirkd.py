"""Yang, Zhou, An, Jiang, Xu, Zhang: relations between positions across images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature
from tutelage.losses.functional.divergence import softened_kl
from tutelage.losses.functional.feature_maps import labels_at, pool_to_smaller
from tutelage.losses.functional.memory_banks import ClassQueues, similarity_kl
from tutelage.losses.functional.tokens import scale_to_masked_mean
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.maps import avg_pool, conv, dimensions_of
from tutelage.utils.options import Count, NonNegative, Temperature, Width


class CIRKDMiniBatch(Feature):
    r"""Match the similarities of each position to the positions of every image in the batch.

    S_ij = F_iᵀ·F_j of images i and j, F of unit length at each position;
    L = KL(softmax(S(t)_ij/τ) ‖ softmax(S(s)_ij/τ)) over the positions of j, averaged over those of i, and over i and j.

    Shapes: student (B, C, H, W), teacher (B, C', H', W'), the larger average-pooled to the smaller; returns (B·H·W, B).
    As in the authors' code, maps of 256×256 or more are first average-pooled 4×4. Costs (B·H·W)².
    Paper: Yang, Zhou, An, Jiang, Xu, Zhang. CVPR 2022. arXiv:2204.06986.
    Raises: ConfigError if the temperature isn't above 0.
    """

    paper = "Yang, Zhou, An, Jiang, Xu, Zhang. CVPR 2022. arXiv:2204.06986"
    compares = "last"
    ignores = ("scale of each sample", "rotation")

    temperature: Temperature = 0.1

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        s, t = (across_images(x) for x in pool_to_smaller(student, teacher))
        divergence = softened_kl(s.flatten(0, 1), t.flatten(0, 1), self.temperature) / self.temperature**2
        return divergence.unflatten(0, (-1, len(student)))


class CIRKDMemory(Feature):
    r"""Match the similarities of each position to positions and regions of other images, stored in one queue per class.

    s = unit(W₂·ReLU(BN(W₁·f_s))), t = unit(f_t);  over the queue's vectors V,
    L = w · T² · KL(softmax(t·Vᵀ/(τT)) ‖ softmax(s·Vᵀ/(τT))): the parts "pixel" and "region", averaged over positions
    whose class is in 0 … num_classes − 1.

    Shapes: student (B, C, H, W), teacher (B, C', H', W'), the larger average-pooled to the smaller; targets (B, …)
    int64, resized to the map by nearest neighbour. The parts are (B·H·W,). In training the teacher's features are first
    pushed to the queues: the mean of each image's region of a class, and up to 16·B of the class's positions in the
    batch, drawn at random. The comparison is with ⌊contrast / num_classes⌋ + 1 vectors drawn from each class's queue,
    or with pixel_queue and region_queue (K, N, C') if the batch provides them. Memory: num_classes·(pixel_memory +
    region_memory)·C' numbers. Each replica keeps its own queues.
    Paper: Yang, Zhou, An, Jiang, Xu, Zhang. CVPR 2022. arXiv:2204.06986. The sizes are those of the authors'
    code, which takes up to 16 positions of each image's region.
    Raises: ConfigError if an option isn't above 0, or the targets aren't maps of class numbers.
    """

    paper = "Yang, Zhou, An, Jiang, Xu, Zhang. CVPR 2022. arXiv:2204.06986"
    compares = "last"
    zero_at_equal = False
    permutation_invariant = False

    num_classes: Width = 19
    pixel_weight: NonNegative = 0.1
    region_weight: NonNegative = 0.1
    contrast_temperature: Temperature = 0.1
    kd_temperature: Temperature = 1.0
    pixel_memory: Count = 20000
    region_memory: Count = 2000
    pixel_contrast: Count = 4096
    region_contrast: Count = 1024

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5, 4, 4), torch.randn(6, 5, 4, 4), {"targets": torch.randint(5, (6, 8, 8))}

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        channels = teacher.shape[1]
        self.project_head = nn.Sequential(
            conv(dimensions_of(student), student.shape[1], channels, bias=False),
            BatchNorm(channels),
            nn.ReLU(),
            conv(dimensions_of(student), channels, channels, bias=False),
        ).to(student)
        self.pixels = ClassQueues(self.num_classes, self.pixel_memory, teacher)
        self.regions = ClassQueues(self.num_classes, self.region_memory, teacher)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        targets: Tensor,
        pixel_queue: Tensor | None = None,
        region_queue: Tensor | None = None,
    ) -> dict[str, Tensor]:
        student, teacher = pool_to_smaller(student, teacher)
        s, t = (positions(x) for x in (self.project_head(student), teacher))
        labels = labels_at(teacher, targets).flatten()
        known = (labels >= 0) & (labels < self.num_classes)
        if self.training and pixel_queue is None and region_queue is None:
            self.push(t, labels, len(teacher))
        pixels = self.pixels.draw(self.draw_count(self.pixel_contrast)) if pixel_queue is None else pixel_queue
        regions = self.regions.draw(self.draw_count(self.region_contrast)) if region_queue is None else region_queue
        return {
            "pixel": self.pixel_weight * scale_to_masked_mean(self.divergence(s, t, pixels), known),
            "region": self.region_weight * scale_to_masked_mean(self.divergence(s, t, regions), known),
        }

    def draw_count(self, contrast: int) -> int:
        """Return the number of vectors drawn from each class's queue."""
        return contrast // self.num_classes + 1

    def divergence(self, s: Tensor, t: Tensor, queues: Tensor) -> Tensor:
        """Return the divergence (B·H·W,) of similarities to vectors (K, N, C')."""
        vectors = queues.flatten(0, 1)
        temperature = self.contrast_temperature * self.kd_temperature
        return self.kd_temperature**2 * similarity_kl(s, t, vectors, vectors, temperature)

    @torch.no_grad()
    def push(self, t: Tensor, labels: Tensor, images: int) -> None:
        """Push positions (B·H·W, C') and the means of regions to the queues."""
        classes = torch.arange(self.num_classes, device=t.device)[:, None]
        member = labels == classes
        chance = torch.rand(member.shape, device=t.device).masked_fill(~member, -1)
        drawn = chance.topk(min(16 * images, len(t)), dim=1).indices  # the class's positions come first
        self.pixels.push(t[drawn], member.sum(1))
        region = member.unflatten(1, (images, -1))
        means = F.normalize(torch.einsum("kbn,bnc->kbc", region.to(t.dtype), t.unflatten(0, (images, -1))), dim=2)
        present = region.any(2)
        order = present.int().argsort(dim=1, descending=True, stable=True)
        self.regions.push(means[classes, order], present.sum(1))


def positions(x: Tensor) -> Tensor:
    """Return the unit vectors at the positions, (B, C, …) → (B·N, C)."""
    return F.normalize(x, dim=1).movedim(1, -1).flatten(0, -2)


def across_images(x: Tensor) -> Tensor:
    """Return the cosines of each position with each position of each image, (B·H·W, B, H·W)."""
    if min(x.shape[2:]) >= 256:
        x = avg_pool(x, 4)
    f = positions(x)
    return (f @ f.T).unflatten(1, (len(x), -1))
