"""Scopes: does a question fall under an edit? One file each.

A scope looks at a conversation and a memory and returns a Decision. It never changes either, and it never answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from memedit.edits import DEFAULT_NAMESPACE, Decision, Message
from memedit.registry import Registry

if TYPE_CHECKING:
    from memedit.memory import EditMemory

scopes = Registry(__name__, "scope")


class Scope(Protocol):
    """The seam. `name` is shown with every decision."""

    @property
    def name(self) -> str: ...

    def decide(
        self,
        messages: Sequence[Message],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Decision:
        """Judge the last user message, in the light of the turns before it."""
        ...
