"""Terms: a method is their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.losses.base import Loss
from tutelage.losses.response.model_loss import ModelLoss
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.spec import Method, terms_from_method
from tutelage.objective.term import Term
from tutelage.objective.wiring import WiringRequest
from tutelage.policies.base import Weight
from tutelage.structures import Batch, Outputs
from tutelage.utils.registry import catalogue_name

Requests = Callable[[Term], WiringRequest]
"""The wiring request of each term."""

CLASSIFIER_INPUTS = {"teacher_response", "teacher_head", "teacher_head_logits", "head", "heads"}
"""The inputs a loss may require that the teacher's classifier computes, or that are its weights."""


class Terms(nn.ModuleDict):
    """Named terms; (student outputs, teacher outputs, batch) → {name: weighted scalar}. The student minimises the sum.

    initial_state: the state of terms that were trained before; terms of the same names start from it when wired.

    Example:
        >>> from tutelage import AT, CE, KD, Terms
        >>> list(Terms.from_method(KD(4) + 10 * AT(), CE()))
        ['ce', 'kd', 'at']
    """

    def __init__(
        self, terms: Mapping[str, Term] | None = None, initial_state: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(terms)
        self.initial_state = initial_state

    @classmethod
    def from_method(
        cls,
        method: Method | None,
        task_loss: Loss | None = None,
        initial_state: Mapping[str, Tensor] | None = None,
        full_task_loss: bool = False,
    ) -> Terms:
        """Return the terms of a loss, a sum of losses or a list.

        Args:
            method: the method.
            task_loss: the task's loss, which is added with the weight that the method's paper gives it, unless the
                method has a supervised loss itself.
            initial_state: the state from which terms start, as in the constructor.
            full_task_loss: whether the task loss has the weight 1 where no other term trains the response, also if the
                paper has less of it, or none.

        Raises: ConfigError that lists the faults of all terms.
        """
        terms = terms_from_method(method)
        task_loss_weight = _task_loss_weight(terms, full_task_loss)
        if task_loss is not None and task_loss_weight and all(term.loss.needs_teacher for term in terms):
            terms.insert(0, Term(task_loss, task_loss_weight))
        names: dict[str, Term] = {}
        for term in terms:
            name = catalogue_name(type(term.loss))
            twins = sum(catalogue_name(type(other.loss)) == name for other in names.values())
            names[f"{name}_{twins + 1}" if twins else name] = term
        if not names:
            raise ConfigError("the method has no term at all; name a loss (method=kd).")
        return cls(names, initial_state)

    def named_terms(self) -> dict[str, Term]:
        """Return the terms by name."""
        return {name: cast(Term, term) for name, term in self.items()}

    def layers(self, side: str) -> tuple[str, ...]:
        """Return the layers of "student" or "teacher" that some term compares."""
        return tuple(dict.fromkeys(layer for term in self.values() for layer in getattr(term, f"{side}_layers")))

    def averages_layer(self, layer: str) -> bool:
        """Return whether every term that compares this layer of the teacher averages it over positions."""
        wirings = [term.wiring for term in self.named_terms().values() if term.wiring is not None]
        forms = [wiring.feature_format for wiring in wirings if layer in wiring.teacher_layers]
        return bool(forms) and set(forms) == {"vector"}

    def needs_member_outputs(self) -> bool:
        """Return whether a term compares with each of several teachers."""
        return any("teacher" in term.loss.list_inputs for term in self.named_terms().values())

    def needs_responses(self) -> bool:
        """Return whether a term depends on the teacher's response or classifier; the others use features alone."""
        taught = [term for term in self.named_terms().values() if term.loss.needs_teacher]
        return any(
            term.compares == "response" or CLASSIFIER_INPUTS & set(chain(*term.loss_inputs.values())) for term in taught
        )

    def refuse_frozen(self, student: ModelProfile) -> None:
        """Refuse a student that can't learn what the wired terms compare.

        Raises: ModelError if its response depends on nothing trainable; ConfigError that names a term and its layers.
        """
        if not student.is_trainable(""):
            raise ModelError(
                "the student has nothing to learn: all that its response depends on is frozen; unfreeze some of its "
                "parameters (requires_grad_(True))."
            )
        for name, term in self.named_terms().items():
            if still := [layer for layer in dict.fromkeys(term.student_layers) if not student.is_trainable(layer)]:
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
        for name, term in self.named_terms().items():
            try:
                term.wire(student, teacher, batch, samples, provides, requests and requests(term))
            except (ConfigError, ModelError) as error:
                raise type(error)(f"term {name!r}: {error}") from error
        going = [
            n
            for n, term in self.named_terms().items()
            if isinstance(term.weight, Weight) and term.weight.needs_task_loss
        ]
        if going and all(term.loss.needs_teacher for term in self.named_terms().values()):
            raise ConfigError(
                f"the weight of {', '.join(going)} is balanced against a supervised term, and the method has none; "
                "add one ({name: ce})."
            )
        self.load_initial_state()

    def fit_kind(self, kind: str) -> None:
        """Fit the terms to responses of this kind (`Task.response_kind`).

        Losses of embeddings compare the responses if these are embeddings or features; losses of responses that are for
        other kinds are refused.

        Raises: ConfigError that names the kinds that the loss is for.
        """
        for name, term in self.named_terms().items():
            if kind in ("embedding", "features"):  # features have a size of their own in each network
                term.compare_responses(term.request.connector if kind == "features" else "")
            kinds = term.loss.response_kinds
            other = any(term.request.layers.values()) or term.part is not None
            compares_responses = term.loss.compares == "response" and not other
            if compares_responses and kinds and kind not in kinds:
                raise ConfigError(
                    f"term {name!r}: {type(term.loss).__name__} compares {' or '.join(kinds)}, and this task's outputs "
                    f"are {kind}: use a loss for these (logit_mse and output_l1 are for any), or one of features."
                )

    def split_model_losses(self, names: Sequence[str]) -> None:
        """Put a term for each loss that the model computes itself in the place of the term of all of them.

        names: those of the model's losses. The terms are called after the losses and keep the weight.
        Raises: ConfigError if the method names a loss that the model hasn't.
        """
        terms = self.named_terms()
        for term in terms.values():
            if isinstance(term.loss, ModelLoss):
                term.loss.refuse_unknown(names)
        named = {term.loss.loss for term in terms.values() if isinstance(term.loss, ModelLoss)}
        self.clear()
        for name, term in terms.items():
            if not isinstance(term.loss, ModelLoss) or not names:
                self[name] = term
            elif term.loss.loss:
                self[term.loss.loss] = term
            else:
                for loss in (loss for loss in names if loss not in named):
                    self[loss] = Term(ModelLoss(loss), deepcopy(term.weight), warmup=term.warmup)

    def load_initial_state(self) -> None:
        """Load the tensors of `initial_state`, if there is one, that have the same names.

        Raises: ConfigError if there is none, or another shape.
        """
        if (initial_state := self.initial_state) is None:
            return
        own = self.state_dict()
        shared = [name for name in own if name in initial_state]
        for name in shared:
            if initial_state[name].shape != own[name].shape:
                raise ConfigError(
                    f"term_weights: {name} is {tuple(initial_state[name].shape)} there and {tuple(own[name].shape)} "
                    "here; name the same layers and options in both stages."
                )
        if not shared:
            there, here = ({name.partition(".")[0] for name in names} for names in (initial_state, own))
            raise ConfigError(
                f"term_weights: that stage leaves parts of {', '.join(sorted(there)) or 'no term'}, and here "
                f"{', '.join(sorted(here)) or 'no term'} has any; the two must have a term in common."
            )
        self.load_state_dict({name: initial_state[name] for name in shared}, strict=False)

    def forward(
        self,
        student_outputs: Outputs,
        teacher_outputs: Outputs | None,
        batch: Batch,
        mask: Tensor | None = None,
        supervised: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return each term's weighted scalar; supervised: those of the supervised terms, if they are known already."""
        terms = self.named_terms()
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
        terms = self.named_terms().items()
        return {
            name: term(student_outputs, teacher_outputs, batch, mask)
            for name, term in terms
            if not term.loss.needs_teacher
        }

    def settle(self, weight: str, epochs: int, steps: int) -> None:
        """Set the weights and warm-ups that the terms leave open, for a training of so many epochs and steps.

        weight: "paper", or "auto": the paper's share of the gradient, where there is a supervised term to compare with.
        """
        supervised = any(not term.loss.needs_teacher for term in self.named_terms().values())
        for term in self.named_terms().values():
            term.settle(weight == "auto" and supervised, epochs, steps)

    def balance(self, norms: Mapping[str, float], epoch: float) -> None:
        """Pass the gradient norms at an epoch to the weights that depend on them."""
        terms = self.named_terms()
        task_loss = sum(norms.get(name, 0.0) for name, term in terms.items() if not term.loss.needs_teacher)
        for name, term in terms.items():
            if isinstance(term.weight, Weight):
                term.weight.balance(norms.get(name, 0.0) / term.warm_up(epoch), task_loss)

    def weights(self) -> dict[str, float]:
        """Return the current weights of the terms whose weight depends on other terms."""
        policies = {name: term.weight for name, term in self.named_terms().items() if isinstance(term.weight, Weight)}
        current = {name: policy.current_factor() for name, policy in policies.items()}
        return {name: weight for name, weight in current.items() if weight is not None}


def _task_loss_weight(terms: Sequence[Term], is_full: bool) -> float:
    """Return the weight of the task loss beside these terms."""
    published = max((term.task_loss_weight for term in terms), default=1.0)
    is_named = any(term.given["task_loss_weight"] is not None for term in terms)
    trained = any(term.request.compares == "response" for term in terms)
    return published if is_named or trained or not is_full else 1.0


def request_unless_named(student: Sequence[str], teacher: Sequence[str]) -> Requests:
    """Let each term that compares features, and whose options name no layers, compare these."""

    def request(term: Term) -> WiringRequest:
        if term.request.compares == "response" or any(term.request.layers.values()):
            return term.request
        return replace(term.request, layers={"student": student, "teacher": teacher})

    return request
