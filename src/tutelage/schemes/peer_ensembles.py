"""Ensembles that combine several students' outputs, and so teach the students; chosen by name (`ensemble=`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.connectors import as_map, as_vector, resize
from tutelage.nn.maps import average_positions, conv, dimensions_of
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Outputs

Comparisons = dict[str, tuple[Outputs, list[Outputs]]]
"""The outputs of each student, and of the teachers that it is compared with, by the student's name."""


class PeerEnsemble(nn.Module):
    """No combination: each student learns from the mean logits of the others, detached."""

    def layers(self, profile: ModelProfile) -> list[str]:
        """Return the layers whose features the ensemble requires."""
        return []

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """Create the learned modules.

        Args:
            outputs: each student's outputs for an example.
            split: the layer from which on the students share no layer; "": they share nothing.
            layers: what `layers` returned.
        """

    def group_comparison(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """Return the outputs of the group, with the students' as members, and those of its teacher or None."""
        return Outputs(outputs[0].response, member_outputs=outputs), None

    def peer_comparisons(self, outputs: dict[str, Outputs], averages: list[Outputs] | None) -> Comparisons:
        """Return each student's outputs and its teachers': the others' moving averages, or the others' mean logits."""
        if averages is not None:
            return {
                name: (student_outputs, [teacher_outputs for j, teacher_outputs in enumerate(averages) if j != i])
                for i, (name, student_outputs) in enumerate(outputs.items())
            }
        peers = {name: [x.response.detach() for peer, x in outputs.items() if peer != name] for name in outputs}
        return {name: (x, [Outputs(torch.stack(peers[name]).mean(0))]) for name, x in outputs.items()}


class Gate(PeerEnsemble):
    r"""z_e = Σ_i g_i z_i, g = softmax(ReLU(BN(W · GAP(trunk) + b))): the shared trunk determines the students' weights.

    Paper: Lan, Zhu, Gong. NeurIPS 2018. arXiv:1806.04606
    Raises: ConfigError if the students share nothing.
    """

    gate_input: str

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """Create one gate per student."""
        if not split:
            raise ConfigError(
                "ensemble=gate reads the trunk that the students share, and they share nothing: set split=auto."
            )
        self.gate_input = f"{split}:in:patches"
        self.gate = nn.Linear(as_vector(outputs[0][self.gate_input]).shape[1], len(outputs))
        self.norm = BatchNorm(len(outputs))

    def group_comparison(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """Return the group, and the gated sum of the students' logits."""
        gates = F.relu(self.norm(self.gate(as_vector(outputs[0][self.gate_input])))).softmax(1)
        logits = torch.stack([x.response for x in outputs], dim=1)
        gated = (gates.view(*gates.shape, *[1] * (logits.dim() - 2)) * logits).sum(1)
        return Outputs(outputs[0].response, member_outputs=outputs), Outputs(gated)


class _EmbeddedEnsemble(PeerEnsemble):
    """Abstract: an ensemble that reads the inputs of the students' classifiers."""

    embedding: str

    def layers(self, profile: ModelProfile) -> list[str]:
        if not profile.embedding:
            raise ModelError(
                f"{type(profile.model).__name__} has no linear classifier, whose input this ensemble reads; use "
                "ensemble=gate, or another student."
            )
        return [profile.embedding]

    def embeddings(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        return [as_vector(x[self.embedding]) for x in outputs]


class Attention(_EmbeddedEnsemble):
    """The first student leads and matches its peers' mean logits; the peers attend to each other: query, key = W f.

    Paper: Chen, Mei, Wang, Feng, Chen. AAAI 2020. arXiv:1912.00350; the projections have an eighth of the feature's
    width.
    Raises: ConfigError with fewer than three students.
    """

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """Create the two projections."""
        if len(outputs) < 3:
            raise ConfigError(
                f"ensemble=attention needs a leader and at least two peers, got peers={len(outputs)}: set peers=4."
            )
        (self.embedding,) = layers
        channels = as_vector(outputs[0][self.embedding]).shape[1]
        self.query, self.key = (nn.Linear(channels, max(channels // 8, 1), bias=False) for _ in range(2))

    def group_comparison(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """Return the leader's outputs, and the peers' mean logits with queries and keys in the metadata."""
        leader, *peers = outputs
        features = torch.stack(self.embeddings(peers), dim=1)
        metadata = {"query": self.query(features), "key": self.key(features)}
        mean = torch.stack([peer.response for peer in peers]).mean(0)
        return leader, Outputs(mean, metadata=metadata, member_outputs=peers)


class Fusion(_EmbeddedEnsemble):
    """z_e = W [f_1; …; f_K]: a classifier of all students' features at once.

    Paper: Wu, Gong. AAAI 2021. arXiv:2006.04147
    """

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """Create the classifier."""
        (self.embedding,) = layers
        channels = sum(x.shape[1] for x in self.embeddings(outputs))
        self.classifier = nn.Linear(channels, outputs[0].response.shape[1])

    def group_comparison(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """Return the group, and the logits of the classifier of all features."""
        fused = self.classifier(torch.cat(self.embeddings(outputs), dim=1))
        return Outputs(outputs[0].response, member_outputs=outputs), Outputs(fused)


class FeatureFusion(PeerEnsemble):
    r"""z_f = W · GAP(conv1×1(conv3×3([F_1; …; F_K]))): a classifier of the fused last maps.

    The 3×3 convolution is depthwise, both are followed by batch norm and ReLU; maps are pooled to the smallest map's
    size. The fused map has as many channels as the widest of them.
    Paper: Kim, Hyun, Chung, Kwak. ICPR 2020. arXiv:1904.09058
    """

    layer: str

    def layers(self, profile: ModelProfile) -> list[str]:
        """Return the end of the last stage."""
        if not profile.stages:
            raise ModelError(
                f"{type(profile.model).__name__} has no stage, whose map could be fused; use ensemble=fusion, which "
                "fuses the classifiers' inputs."
            )
        return [profile.name_with_form(profile.stages[-1].name, "map")]

    def build(self, outputs: Sequence[Outputs], split: str, layers: Sequence[str]) -> None:
        """Create both convolutions and the classifier."""
        (self.layer,) = layers
        maps = self.maps(outputs)
        dimensions = dimensions_of(maps[0])
        channels, out = sum(x.shape[1] for x in maps), max(x.shape[1] for x in maps)
        self.fuse = nn.Sequential(
            conv(dimensions, channels, channels, 3, padding=1, groups=channels, bias=False),
            BatchNorm(channels), nn.ReLU(),
            conv(dimensions, channels, out, bias=False), BatchNorm(out), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Linear(out, outputs[0].response.shape[1])

    def maps(self, outputs: Sequence[Outputs]) -> list[Tensor]:
        """Return the last maps, pooled to the size of the smallest."""
        maps = [as_map(x[self.layer]) for x in outputs]
        size = tuple(min(sides) for sides in zip(*(x.shape[2:] for x in maps), strict=True))
        return [resize(x, size) for x in maps]

    def group_comparison(self, outputs: list[Outputs]) -> tuple[Outputs, Outputs | None]:
        """Return the group, and the logits of the classifier of the fused maps."""
        fused = self.classifier(average_positions(self.fuse(torch.cat(self.maps(outputs), dim=1))))
        return Outputs(outputs[0].response, member_outputs=outputs), Outputs(fused)


EnsembleName = Literal["none", "gate", "attention", "fusion", "feature_fusion"]

ENSEMBLES: dict[str, type[PeerEnsemble]] = {
    "none": PeerEnsemble,
    "gate": Gate,
    "attention": Attention,
    "fusion": Fusion,
    "feature_fusion": FeatureFusion,
}


def create_ensemble(name: str) -> PeerEnsemble:
    """Create the ensemble of that name.

    Raises: ConfigError if there is none.
    """
    if name not in ENSEMBLES:
        raise ConfigError(unknown("ensemble", name, ENSEMBLES))
    return ENSEMBLES[name]()
