"""Verbatim: the edit speaks for itself, word for word, and no model is asked.

For scripts and languages that no configured model speaks, and where nothing may be reworded. Where the question is the
edit's own (or a known wording of its relation), its target is the reply; else the whole statement, since a target alone
would be no reply to a question asked backwards or with yes or no. It is no model's understanding, and no measure of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from memedit.answerers import HandBack
from memedit.answerers.counterfactual import by_wording
from memedit.answerers.ike import standing
from memedit.edits import Decision, Edit, Message
from memedit.models import BaseModel
from memedit.parsing import normalise, parse_question

if TYPE_CHECKING:
    from memedit.memory import EditMemory


@dataclass(frozen=True, kw_only=True)
class Verbatim:
    """One line for each fact in scope, the most probable first, each with its source."""

    form: Literal["target", "statement"] | None = None
    """What is returned of an edit; None: the target where the question is the edit's own, else the statement."""
    facts: int = 1
    """How many facts, at most."""
    source: bool = True
    """Whether the source is named behind the fact: the edit's own, else its id."""
    name: str = field(default="verbatim", init=False)

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        hits = standing(decision.hits)
        shown = [hit.edit for hit in decision.hits if hit in hits][: self.facts]
        if not shown:
            raise HandBack("no fact is in scope")
        trace.append({"step": "verbatim", "answerer": self.name, "edits": [edit.id for edit in shown]})
        for number, edit in enumerate(shown):
            yield f"{'' if number == 0 else chr(10)}{self._line(edit, decision.query)}"

    async def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        for piece in self.stream(messages, decision, model, memory, trace, **parameters):
            yield piece

    def _line(self, edit: Edit, query: str) -> str:
        form = self.form or ("target" if asks_for(query, edit) else "statement")
        said = edit.target if form == "target" and edit.target else edit.statement
        return f"{said} (source: {edit.source or edit.id})" if self.source else said


def asks_for(query: str, edit: Edit) -> bool:
    """Whether a question, or a prompt to complete, is the edit's own: the target is the reply to it."""
    if not edit.target:
        return False
    own = {normalise(text) for text in (edit.question, edit.prompt) if text}
    if normalise(query) in own:
        return True
    asked = parse_question(query)
    names = {normalise(name) for name in (edit.subject, *edit.aliases) if name}
    known = asked is not None and normalise(asked[0]) in names and asked[1] == edit.relation
    return known or by_wording(query, edit) == edit.target
