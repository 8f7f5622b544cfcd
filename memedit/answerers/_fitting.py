"""Whether a model's context holds what it is to read, and what is said of a fact where it does not.

Such a fact is said in its own words, whole, as `verbatim` says it: cut short it would be another fact, and a model that
was not shown it says something else. A model that tells no context length is taken to hold everything. Not an entry of
the registry, hence the underscore.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from memedit.answerers import Answerer, answerers
from memedit.edits import Decision, Edit, Hit, Message
from memedit.models import BaseModel

if TYPE_CHECKING:
    from memedit.memory import EditMemory

REPLY = 32
"""Tokens that are left for a reply, at least."""


def tokens(messages: Sequence[Message], model: BaseModel) -> int:
    """Tokens of a conversation, an estimate: each message's own and 8 for what is written around it."""
    return sum(model.count_tokens(message.content) + 8 for message in messages)


def fits(messages: Sequence[Message], model: BaseModel, edit: Edit | None = None) -> bool:
    """Whether the model's context holds these messages and a reply.

    One that completes text gives the target of `edit` word for word, which then has to fit as well, and so it has to
    fit the longest reply that the model gives where it tells that (`reply_tokens`).
    """
    if model.context_tokens is None:
        return True
    target = model.count_tokens(edit.target or "") if edit is not None and model.style == "completion" else 0
    longest: int | None = getattr(model, "reply_tokens", None)
    if longest is not None and target > longest:
        return False
    return tokens(messages, model) + max(REPLY, target) <= model.context_tokens


def in_own_words(
    hits: Sequence[Hit],
    messages: Sequence[Message],
    decision: Decision,
    model: BaseModel,
    memory: EditMemory,
    trace: list[dict[str, object]],
    *,
    name: str,
) -> Iterator[str]:
    """The facts as `verbatim` says them, the first of these hits at least; `name` is the answerer that could not."""
    step = {"step": "too long", "answerer": name, "model": model.name, "context_tokens": model.context_tokens}
    trace.append({**step, "reason": f"the fact does not fit the context of {model.name}: it is said in its own words"})
    verbatim: Answerer = answerers.get("verbatim")()
    yield from verbatim.stream(messages, replace(decision, hits=tuple(hits)), model, memory, trace)
