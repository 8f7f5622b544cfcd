"""A chat model as a judge of replies, for models that answer in sentences: its verdicts are figures of their own.

It never stands in for the match of strings nor the match for it: a verdict that cannot be read is counted as such and
left out, and a judge that cannot be asked ends the run with its error (a run goes on where it was).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from memedit.edits import Message
from memedit.models import BaseModel, load_model
from memedit.prompts import prompt

_VERDICT = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


class Judge:
    """A judge by model spec (`openai:gpt-4o-mini`, any LangChain chat model, any of `memedit.models`)."""

    def __init__(self, model: object) -> None:
        self.model: BaseModel = load_model(model)

    def __call__(self, question: str, answers: Sequence[str], reply: str) -> bool | None:
        """Whether it calls the reply right; None where what it says begins with neither yes nor no.

        Raises ModelError where it cannot be asked.
        """
        text = prompt("judge").substitute(
            question=" ".join(question.split()), answers=" | ".join(answers), reply=" ".join(reply.split())
        )
        said = _VERDICT.match("".join(self.model.stream([Message("user", text)])))
        return None if said is None else said[1].casefold() == "yes"
