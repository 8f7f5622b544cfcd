"""An edit in the weights is looked at: what the model says of it before and after, and whether the edit took.

The model is asked greedily, as any user asks it (in its chat form where it has one), the edit's prompt and its
question. An edit *took* if both replies say its target (memedit.matching.says), also with the changed weights rounded
to the type that the checkpoint is stored in: what vanishes there is lost to whoever gets the exported model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memedit.edits import Edit, Look, Message
from memedit.matching import says

if TYPE_CHECKING:  # torch costs more than a second; who has a model has paid already
    import torch

    from memedit.models.hugging_face import HuggingFace
    from memedit.schema import Row
    from memedit.weights.language_model import LanguageModel, Request

_MORE = 16
"""Tokens of a reply beyond those of what was asked and of the target: room for a sentence, and for what would make a
longer name or number of the target."""


@dataclass(frozen=True)
class Fact:
    """An edit, or a row about to be written, and what it is fitted as, in its own words."""

    edit: Edit | Row
    request: Request

    @property
    def texts(self) -> tuple[str, ...]:
        """What the model is asked: the prompt, and the question where that is another."""
        return tuple(dict.fromkeys(text for text in (self.request.prompt, self.edit.question) if text))


def look(base: HuggingFace, before: LanguageModel, after: LanguageModel, facts: Sequence[Fact]) -> list[Look]:
    """What `base` says of each fact with the weights `before` and `after`, both twins of its own.

    Raises ModelError for a prompt or question that is longer than the model's context.
    """
    from memedit.weights.change import rounded
    from memedit.weights.rows import probabilities

    if not facts:
        return []
    stored = checkpoint_dtype(after)
    kept = after if stored is None else rounded(after, stored)
    requests = [base.asked(fact.request) for fact in facts]
    odds = [probabilities(model, requests).exp().tolist() for model in (before, after)]
    old, new, own = (base.with_weights(model) for model in (before, after, kept))
    looks = []
    for number, fact in enumerate(facts):
        target = fact.request.target
        was, now = ([_reply(model, text, target) for text in fact.texts] for model in (old, new))
        pairs = list(zip(fact.texts, was, now, strict=True))
        faults = [
            f"the reply to its {name} does not say it"
            for name, (text, a, b) in zip(("prompt", "question"), pairs, strict=False)
            if not says(b, target, asked=text, before=a)
        ]
        if not faults and kept is not after:
            lost = [(text, a, _reply(own, text, target)) for text, a, _ in pairs]
            faults = [
                f"in the checkpoint's own type, {dtype_name(stored)}, the change is lost: asked “{text}” it says “{b}”"
                for text, a, b in lost
                if not says(b, target, asked=text, before=a)
            ]
        question = fact.texts[1] if len(fact.texts) > 1 else None
        looks.append(
            Look(
                id=fact.edit.id if isinstance(fact.edit, Edit) else None,
                statement=fact.edit.statement,
                target=target,
                prompt=fact.texts[0],
                prompt_before=was[0],
                prompt_after=now[0],
                question=question,
                question_before=was[1] if question else None,
                question_after=now[1] if question else None,
                probability_before=odds[0][number],
                probability_after=odds[1][number],
                took=not faults,
                reason="; ".join(faults),
            )
        )
    return looks


def checkpoint_dtype(model: LanguageModel) -> torch.dtype | None:
    """The type that the weights are stored in where they were loaded from; None where that is not known."""
    found: torch.dtype | None = getattr(model.model, "checkpoint_dtype", None)
    return found


def dtype_name(dtype: object) -> str:
    """As in "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def _reply(model: HuggingFace, text: str, target: str) -> str:
    most = model.count_tokens(text) + model.count_tokens(target) + _MORE
    return "".join(model.stream([Message("user", text)], max_new_tokens=most, temperature=0.0)).strip()
