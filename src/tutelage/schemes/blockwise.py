"""A student whose blocks learn side by side, each from what the teacher's block before it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from tutelage.capture import channels_come_last, norm_widths
from tutelage.errors import ConfigError
from tutelage.layers import Look
from tutelage.player import Player
from tutelage.schemes.base import Parts, Scheme
from tutelage.schemes.offline import Offline
from tutelage.values import Batch, Outputs


class Blockwise(Offline, Scheme):  # the registry looks for Scheme by name
    """Each block of the student gets what the teacher's block before it gives; one forward serves all blocks.

    s_k = S_k(t_{k−1}), t_k = T_k(t_{k−1}), s_0 = t_0 = x; blocks end at the layers that the method's term of features
    compares (`lit`: at the stages' ends). The last block's answer is the student's. The teacher's features have no
    gradient, so each block learns by itself.
    Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937 (LIT).
    """

    @classmethod
    def of(cls, parts: Parts) -> Blockwise:
        """The student and its teacher."""
        config = parts.config
        if config.compile or config.recompute or config.sharded:
            raise ConfigError(
                "scheme=blockwise replaces features within the student's forward, which can't be compiled, recomputed "
                "or divided: leave compile, recompute and strategy out."
            )
        network = parts.network()
        return cls(Fed(network, parts.terms(), parts.task), parts.teacher(network))


class Fed(Player):
    """A student whose layers, once compared, go on with the teacher's feature.

    Raises: ConfigError if no term compares layers, or if two that it compares differ in shape.
    """

    def wire(self, teacher: Look | None, batch: Batch, samples: int) -> None:
        """Choose layers as every player does, and see that they can stand for each other."""
        super().wire(teacher, batch, samples)
        terms = self.terms.named().values()
        pairs = [pair for term in terms for pair in zip(term.student_layers, term.teacher_layers, strict=True)]
        if teacher is None or not pairs:
            raise ConfigError("scheme=blockwise has blocks where a term compares layers: add one (method=lit).")
        look = Look(self.student.model, batch)
        for ours, theirs in pairs:
            mine, other = (tuple(x.shape[1:]) for x in (look.feature(ours), teacher.feature(theirs)))
            if mine != other:
                raise ConfigError(
                    f"scheme=blockwise: the student's {ours} gives {mine} and the teacher's {theirs} {other}, and the "
                    "next block takes either, so they must be alike: use a student as wide as its teacher and less "
                    "deep, such as resnet8 of resnet20."
                )
        ran = [layer.name for layer in look.layers]
        last = max((ours for ours, _ in pairs), key=ran.index)
        self.fed = {ours: theirs for ours, theirs in pairs if ours != last}

    def forward(self, batch: Batch, told: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """One forward, in which each block but the first begins at the teacher's feature."""
        assert isinstance(told, Outputs)
        with replaced(self.student.model, {ours: told[theirs] for ours, theirs in self.fed.items()}):
            said = self.say(batch)
        return self.compare(said, told, batch)


@contextmanager
def replaced(model: nn.Module, features: Mapping[str, Tensor]) -> Iterator[None]:
    """While it lasts, these layers' outputs are noted by whoever listened before, and go on as these features."""
    widths = norm_widths(model)
    handles = [
        model.get_submodule(layer).register_forward_hook(partial(_instead, feature, widths))
        for layer, feature in features.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _instead(feature: Tensor, widths: set[int], module: nn.Module, args: Any, out: Any) -> Any:
    own = out[0] if isinstance(out, tuple | list) else out
    given = feature.permute(0, 2, 3, 1) if channels_come_last(own.shape[1:], widths) else feature
    given = given.to(own.dtype, copy=True)  # what follows may write in place
    return type(out)([given, *out[1:]]) if isinstance(out, tuple | list) else given
