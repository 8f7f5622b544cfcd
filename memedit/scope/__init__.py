"""Scopes: does a question fall under an edit? One file each.

A scope looks at a conversation and a memory and returns a Decision. It never changes either, and it never answers.
Its settings are its fields, and may stand in its name: `serac:variant=cross_attention`, `two_stage:stages=proposer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from memedit.edits import DEFAULT_NAMESPACE, Decision, Message
from memedit.errors import InputError
from memedit.registry import SettableRegistry, settings_in

if TYPE_CHECKING:
    from memedit.memory import EditMemory

scopes = SettableRegistry(__name__, "scope")


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


def load_scope(name: str, *, false_fire: float | None = None, calibration: Path | None = None) -> Scope:
    """The scope named so, with a false-fire rate (None: its own) and, where it takes one, a calibration file.

    What the name itself sets (`two_stage:false_fire=0.01`) stands before both. Raises NotFoundError for an unknown
    name, InputError for a rate that is none, or that this scope cannot be set to, and for a setting that it has not.
    """
    kind = scopes.get(name)
    takes, said = signature(kind).parameters, settings_in(name)
    given: dict[str, Any] = {}
    if false_fire is not None and "false_fire" not in said:
        if "false_fire" not in takes:
            fields = ", ".join(takes) or "nothing"
            raise InputError(f"the scope {name!r} is not set by a false-fire rate; it takes: {fields}")
        given["false_fire"] = false_fire
    if calibration is not None and "calibration" in takes and "calibration" not in said:
        given["calibration"] = calibration
    made: Scope = kind(**given)
    return made
