"""Peers with classifiers at several depths, which teach each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.pairing import layer_list
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, peer_names
from tutelage.schemes.multi_exit import MultiExitPlayer
from tutelage.schemes.mutual import Mutual
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import Layers


class CrossLayer(Mutual):
    """Mutual learning of peers with auxiliary classifiers on middle layers, which the exported students don't have.

    Losses that take a list of the student's outputs get the logits of a peer's classifiers, from shallow to deep, the
    network's own last; their teacher is the list of another peer, detached. With more than two peers, each term is its
    mean over the other peers.

    Args:
        layers: the layers that get a classifier, in every peer; "auto": the end of every stage except the last.
    Paper: Yao, Sun. ECCV 2020. arXiv:2008.07816 (DCM), whose classifiers consist of the network's own blocks; here
    they are bottlenecks.
    """

    name = "cross_layer"

    @classmethod
    def from_context(cls, context: SchemeContext, layers: Layers = "auto") -> CrossLayer:  # type: ignore[override]
        """Build as many peers as the run has."""
        layer_names = layer_list(layers)
        return cls(
            {
                name: CrossLayerPlayer(context.network(k, name), context.terms(), context.task, layer_names)
                for k, name in enumerate(peer_names(context))
            }
        )


class CrossLayerPlayer(MultiExitPlayer):
    """A peer with exits, whose outputs include the logits of all its classifiers."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Build the exits, and wire the terms to another peer."""
        profile = profile_model(self.student.model, batch)
        members = [*(profile.with_response(logits) for _, logits in self.build_heads(profile)), profile]
        self.terms.wire(replace(profile, member_profiles=members), teacher, batch, samples, provides)
        self.metadata = profile.metadata
        self.set_captured_layers()

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture the inputs of the exits in addition to the terms' layers."""
        super().set_captured_layers([*self.exits, *captured])

    def forward_student(self, batch: Batch) -> Outputs:
        """Return the network's outputs, with the outputs of all its classifiers as members."""
        outputs = super().forward_student(batch)
        exits = [head(outputs[layer])[1] for head, layer in zip(self.heads, self.exits, strict=True)]
        return replace(outputs, member_outputs=[Outputs(to_float32(logits)) for logits in (*exits, outputs.response)])

    forward = Player.forward  # the teachers are the peers, not the deepest layer as in MultiExitPlayer
