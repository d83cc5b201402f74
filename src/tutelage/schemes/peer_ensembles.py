"""What speaks for several students, and so teaches them; each is found by name (`ensemble=`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.connectors import as_map, as_vector, resized
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Outputs

Pairs = dict[str, tuple[Outputs, list[Outputs]]]
"""Who learns, and from whom, by name."""


class PeerEnsemble(nn.Module):
    """The students themselves: each learns from the others' mean logits, a constant.

    rises: the number of the group's loss that weighs what the students teach each other.
    """

    rises: ClassVar[str] = ""

    def layers(self, profile: ModelProfile) -> list[str]:
        """The layers that it hears."""
        return []

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """Size its learned parts from an example."""

    def lead(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """What they say as a group, and what teaches it."""
        return Outputs(outputs[0].response, members=outputs), None

    def pairs(self, outputs: dict[str, Outputs], averages: list[Outputs] | None) -> Pairs:
        """Who learns from whom by itself: each student from the others' moving averages, or their mean."""
        if averages is not None:
            return {
                name: (one, [teacher_outputs for j, teacher_outputs in enumerate(averages) if j != i])
                for i, (name, one) in enumerate(outputs.items())
            }
        others = {name: [x.response.detach() for other, x in outputs.items() if other != name] for name in outputs}
        return {name: (one, [Outputs(torch.stack(others[name]).mean(0))]) for name, one in outputs.items()}


class Gate(PeerEnsemble):
    r"""z_e = Σ_i g_i z_i, g = softmax(ReLU(BN(W · GAP(trunk) + b))): what the students share decides whom to hear.

    Paper: Lan, Zhu, Gong. NeurIPS 2018. arXiv:1806.04606
    Raises: ConfigError if they share nothing.
    """

    rises = "consistency_weight"
    entering: str

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """One gate a student."""
        if not split:
            raise ConfigError("ensemble=gate looks at what the students share, and they share nothing: say split=auto.")
        self.entering = f"{split}:in:patches"
        self.gate = nn.Linear(as_vector(outputs[0][self.entering]).shape[1], len(outputs))
        self.norm = BatchNorm(len(outputs))

    def lead(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """All of them, and their gated sum."""
        gates = F.relu(self.norm(self.gate(as_vector(outputs[0][self.entering])))).softmax(1)
        answers = torch.stack([one.response for one in outputs], dim=1)
        weighed = (gates.view(*gates.shape, *[1] * (answers.dim() - 2)) * answers).sum(1)
        return Outputs(outputs[0].response, members=outputs), Outputs(weighed)


class _EmbeddedEnsemble(PeerEnsemble):
    """Hears what enters the students' classifiers."""

    embedding: str

    def layers(self, profile: ModelProfile) -> list[str]:
        if not profile.embedding:
            raise ModelError(
                f"{type(profile.model).__name__} has no linear classifier, whose input this ensemble hears; use "
                "ensemble=gate, or another student."
            )
        return [profile.embedding]

    def embeddings(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        return [as_vector(one[self.embedding]) for one in outputs]


class Attention(_EmbeddedEnsemble):
    """The first student leads and matches the others' mean; of the others each asks each: query, key = W f.

    Paper: Chen, Mei, Wang, Feng, Chen. AAAI 2020. arXiv:1912.00350; projections to an eighth of the feature.
    Raises: ConfigError with fewer than three students.
    """

    rises = "alpha"

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """The two projections."""
        if len(outputs) < 3:
            raise ConfigError(
                f"ensemble=attention is of a leader and two peers or more; peers={len(outputs)}: say peers=4."
            )
        (self.embedding,) = layers
        wide = as_vector(outputs[0][self.embedding]).shape[1]
        self.query, self.key = (nn.Linear(wide, max(wide // 8, 1), bias=False) for _ in range(2))

    def lead(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """The leader, and its peers."""
        leader, *peers = outputs
        features = torch.stack(self.embeddings(peers), dim=1)
        metadata = {"query": self.query(features), "key": self.key(features)}
        mean = torch.stack([peer.response for peer in peers]).mean(0)
        return leader, Outputs(mean, metadata=metadata, members=peers)


class Fusion(_EmbeddedEnsemble):
    """z_e = W [f_1; …; f_K]: a classifier of all students' features at once.

    Paper: Wu, Gong. AAAI 2021. arXiv:2006.04147
    """

    rises = "consistency_weight"

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """The classifier."""
        (self.embedding,) = layers
        wide = sum(x.shape[1] for x in self.embeddings(outputs))
        self.classifier = nn.Linear(wide, outputs[0].response.shape[1])

    def lead(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """All of them, and the classifier's answer."""
        fused = self.classifier(torch.cat(self.embeddings(outputs), dim=1))
        return Outputs(outputs[0].response, members=outputs), Outputs(fused)


class FeatureFusion(PeerEnsemble):
    r"""z_f = W · GAP(conv1×1(conv3×3([F_1; …; F_K]))): a classifier of the last maps, fused.

    The 3×3 convolution is by channel, both are followed by batch norm and ReLU; maps are pooled to the smallest one's
    size. What comes out has as many channels as the widest of them.
    Paper: Kim, Hyun, Chung, Kwak. ICPR 2020. arXiv:1904.09058
    """

    rises = "consistency_weight"
    layer: str

    def layers(self, profile: ModelProfile) -> list[str]:
        """The end of the last stage."""
        if not profile.stages:
            raise ModelError(
                f"{type(profile.model).__name__} has no stage, whose map could be fused; use ensemble=fusion, which "
                "fuses "
                "what enters the classifiers."
            )
        return [profile.named(profile.stages[-1].name, "map")]

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """Both convolutions and the classifier."""
        (self.layer,) = layers
        maps = self.maps(outputs)
        wide, out = sum(x.shape[1] for x in maps), max(x.shape[1] for x in maps)
        self.fuse = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), BatchNorm(wide), nn.ReLU(),
            nn.Conv2d(wide, out, 1, bias=False), BatchNorm(out), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Linear(out, outputs[0].response.shape[1])

    def maps(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        """The last maps, of one size."""
        maps = [as_map(one[self.layer]) for one in outputs]
        height, width = (min(x.shape[side] for x in maps) for side in (2, 3))
        return [resized(x, (height, width)) for x in maps]

    def lead(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """All of them, and the fused classifier's answer."""
        fused = self.classifier(self.fuse(torch.cat(self.maps(outputs), dim=1)).mean((2, 3)))
        return Outputs(outputs[0].response, members=outputs), Outputs(fused)


Name = Literal["none", "gate", "attention", "fusion", "feature_fusion"]

ENSEMBLES: dict[str, type[PeerEnsemble]] = {
    "none": PeerEnsemble,
    "gate": Gate,
    "attention": Attention,
    "fusion": Fusion,
    "feature_fusion": FeatureFusion,
}


def named(name: str) -> PeerEnsemble:
    """The ensemble of that name."""
    if name not in ENSEMBLES:
        raise ConfigError(unknown("ensemble", name, ENSEMBLES))
    return ENSEMBLES[name]()
