"""Answerers: how an in-scope question is answered. One file each.

An answerer is only asked when a scope found edits. One that works by prompting is a `Prompter`: it turns messages into
other messages and the base model answers those, so that a wrapped chain keeps its own streaming and tools.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from memedit.edits import Decision, Hit, Message
from memedit.models import BaseModel
from memedit.registry import Registry

if TYPE_CHECKING:
    from memedit.memory import EditMemory

answerers = Registry(__name__, "answerer")


class Answerer(Protocol):
    """The seam. `trace` is appended to as the answer is made: one JSON-ready dict per step.

    A step whose "edits" lists ids says which edits it used; where no step does, all in scope count as used.
    """

    @property
    def name(self) -> str: ...

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]: ...

    def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]: ...


@runtime_checkable
class Prompter(Protocol):
    """What an answerer has besides when it works by prompting alone."""

    def prepare(
        self, messages: Sequence[Message], hits: Sequence[Hit], model: BaseModel, memory: EditMemory
    ) -> list[Message]:
        """The messages to send in place of `messages`; the user's own turns are kept as they are."""
        ...
