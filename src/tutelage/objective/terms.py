"""Terms: a method is their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.losses.base import Loss
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.spec import Method, terms_of
from tutelage.objective.term import Term
from tutelage.objective.wiring import WiringRequest
from tutelage.policies.base import Weight
from tutelage.structures import Batch, Outputs
from tutelage.utils.registry import catalogue_name

Requests = Callable[[Term], WiringRequest]
"""The wiring request of each term."""

ANSWERS = {"teacher_response", "teacher_head", "teacher_head_logits", "head", "heads"}
"""The inputs a loss may require that the teacher's classifier computes, or that are its weights."""


class Terms(nn.ModuleDict):
    """Named terms; (student outputs, teacher outputs, batch) → {name: weighted scalar}. The student minimises the sum.

    first: the state of terms that were trained before; terms of the same names start from it when they are wired.
    """

    def __init__(self, terms: Mapping[str, Term] | None = None, first: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(terms)
        self.first = first

    @classmethod
    def from_method(
        cls, method: Method | None, task_loss: Loss | None = None, first: Mapping[str, Tensor] | None = None
    ) -> Terms:
        """Return the terms of a loss, a sum of losses or a list.

        truth: the task's loss, which is added with the weight that the method's paper gives it, unless the method has a
        supervised loss itself. first: the state from which terms start, as in the constructor.
        Raises: ConfigError that lists the faults of all terms.
        """
        terms = terms_of(method)
        if task_loss is not None and all(term.loss.needs_teacher for term in terms):
            task_loss_weight = max((term.task_loss_weight for term in terms), default=1.0)
            if task_loss_weight > 0:
                terms.insert(0, Term(task_loss, task_loss_weight))
        names: dict[str, Term] = {}
        for term in terms:
            name = catalogue_name(type(term.loss))
            twins = sum(catalogue_name(type(other.loss)) == name for other in names.values())
            names[f"{name}_{twins + 1}" if twins else name] = term
        if not names:
            raise ConfigError("the method has no term at all; name a loss (method=kd).")
        return cls(names, first)

    def named(self) -> dict[str, Term]:
        """Return the terms by name."""
        return {name: cast(Term, term) for name, term in self.items()}

    def layers(self, side: str) -> tuple[str, ...]:
        """Return the layers of "student" or "teacher" that some term compares."""
        return tuple(dict.fromkeys(layer for term in self.values() for layer in getattr(term, f"{side}_layers")))

    def sees_vector(self, layer: str) -> bool:
        """Return whether every term that compares this layer of the teacher averages it over positions."""
        wirings = [term.wiring for term in self.named().values() if term.wiring is not None]
        forms = [wiring.feature_format for wiring in wirings if layer in wiring.teacher_layers]
        return bool(forms) and set(forms) == {"vector"}

    def needs_member_outputs(self) -> bool:
        """Return whether a term compares with each of several teachers."""
        return any("teacher" in term.loss.list_inputs for term in self.named().values())

    def needs_responses(self) -> bool:
        """Return whether a term depends on the teacher's response or classifier; the others use features alone."""
        taught = [term for term in self.named().values() if term.loss.needs_teacher]
        return any(term.compares == "response" or ANSWERS & set(chain(*term.loss_inputs.values())) for term in taught)

    def refuse_frozen(self, student: ModelProfile) -> None:
        """Refuse a student that can't learn what the wired terms compare.

        Raises: ModelError if its response depends on nothing trainable; ConfigError that names a term and its layers.
        """
        if not student.learns(""):
            raise ModelError(
                "the student has nothing to learn: all that its response depends on is frozen; unfreeze some of its "
                "parameters (requires_grad_(True))."
            )
        for name, term in self.named().items():
            if still := [layer for layer in dict.fromkeys(term.student_layers) if not student.learns(layer)]:
                raise ConfigError(
                    f"term {name!r}: {type(term.loss).__name__} compares the student's {', '.join(still)}, which "
                    "nothing trainable leads to: unfreeze layers up to there, or name later ones (student=…)."
                )

    def wire(
        self,
        student: ModelProfile,
        teacher: ModelProfile | None,
        batch: Batch,
        samples: int,
        provides: Iterable[str] = (),
        requests: Requests | None = None,
    ) -> None:
        """Wire every term; the first fault names its term.

        samples: the training set's size. provides: the inputs that the scheme adds to each batch. requests: what each
        term is to compare, if it isn't what its options request.
        """
        for name, term in self.named().items():
            try:
                term.wire(student, teacher, batch, samples, provides, requests and requests(term))
            except (ConfigError, ModelError) as error:
                raise type(error)(f"term {name!r}: {error}") from error
        going = [n for n, term in self.named().items() if isinstance(term.weight, Weight) and term.weight.compares]
        if going and all(term.loss.needs_teacher for term in self.named().values()):
            raise ConfigError(
                f"the weight of {', '.join(going)} is balanced against a supervised term, and the method has none; "
                "add one ({name: ce})."
            )
        if self.first is not None:
            self._load(self.first)

    def _load(self, first: Mapping[str, Tensor]) -> None:
        """Load the tensors of the same names."""
        own = self.state_dict()
        shared = [name for name in own if name in first]
        for name in shared:
            if first[name].shape != own[name].shape:
                raise ConfigError(
                    f"term_weights: {name} is {tuple(first[name].shape)} there and {tuple(own[name].shape)} here; "
                    "name the same layers and options in both stages."
                )
        if not shared:
            there, here = ({name.partition(".")[0] for name in names} for names in (first, own))
            raise ConfigError(
                f"term_weights: that stage leaves parts of {', '.join(sorted(there)) or 'no term'}, and here "
                f"{', '.join(sorted(here)) or 'no term'} has any; the two must have a term in common."
            )
        self.load_state_dict({name: first[name] for name in shared}, strict=False)

    def forward(
        self,
        student_outputs: Outputs,
        teacher_outputs: Outputs | None,
        batch: Batch,
        mask: Tensor | None = None,
        supervised: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return each term's weighted scalar; truths: the supervised terms', if they are computed already."""
        terms = self.named()
        supervised = (
            self.supervised_terms(student_outputs, teacher_outputs, batch, mask) if supervised is None else supervised
        )
        task_loss = torch.stack([value.detach() for value in supervised.values()]).sum() if supervised else None
        return {
            name: supervised[name]
            if name in supervised
            else term(student_outputs, teacher_outputs, batch, mask, task_loss)
            for name, term in terms.items()
        }

    def supervised_terms(
        self, student_outputs: Outputs, teacher_outputs: Outputs | None, batch: Batch, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the weighted scalars of the terms that need no teacher."""
        terms = self.named().items()
        return {
            name: term(student_outputs, teacher_outputs, batch, mask)
            for name, term in terms
            if not term.loss.needs_teacher
        }

    def balance(self, norms: Mapping[str, float]) -> bool:
        """Pass gradient norms to the weights that depend on them; return whether there are any."""
        terms = self.named()
        task_loss = sum(norms.get(name, 0.0) for name, term in terms.items() if not term.loss.needs_teacher)
        balanced = [(name, term.weight) for name, term in terms.items() if isinstance(term.weight, Weight)]
        for name, weight in balanced:
            weight.balance(norms.get(name, 0.0), task_loss)
        return bool(balanced)

    def weights(self) -> dict[str, float]:
        """Return the current weights of the terms whose weight depends on other terms."""
        policies = {name: term.weight for name, term in self.named().items() if isinstance(term.weight, Weight)}
        current = {name: policy.current() for name, policy in policies.items()}
        return {name: weight for name, weight in current.items() if weight is not None}


def unless_named(student: Sequence[str], teacher: Sequence[str]) -> Requests:
    """Let each term that compares features, and whose options name no layers, compare these."""

    def request(term: Term) -> WiringRequest:
        if term.request.compares == "response" or any(term.request.layers.values()):
            return term.request
        return replace(term.request, layers={"student": student, "teacher": teacher})

    return request
