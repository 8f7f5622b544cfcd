"""MemPrompt: what a user meant by a question before is added to the prompt when such a question is asked again.

Memory-assisted prompt editing (Madaan et al. 2022): on negative feedback the user's clarification is kept under the
question; a later question finds it by edit distance between normalised questions, or by trained similarity; what is
found is appended to the prompt. The key is the question without what fills it: marked (`< good >`), quoted, or a place
that the feedback itself leaves open (“a word like X”), so that feedback on one word serves for all. Unlike a language
patch it has no condition to judge: likeness to a question is all.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from memedit.answerers import HandBack, Retriever
from memedit.answerers._fitting import fits
from memedit.answerers.ike import as_line
from memedit.answerers.language_patch import with_instruction
from memedit.edits import Decision, Edit, Hit, Message
from memedit.models import BaseModel
from memedit.patches import feedback_of
from memedit.prompts import prompt

if TYPE_CHECKING:
    from memedit.encoders import Encoder
    from memedit.memory import EditMemory

PLACE = "…"
"""What stands in a key for what fills the question."""
LONGEST = 300
"""Characters of a question that make its key."""
SLIP = 0.25
"""Share of a word's letters, at most, that may be slips."""
FILLS = 4
"""Words, at most, that may fill an open place which nothing marks in the question asked."""

# Marked: < good >, quotes; open: an X that stands alone (“I” and “A” are words of English).
_FILLED = re.compile(r"<[^<>]{1,200}>|“[^“”]{1,200}”|\"[^\"]{1,200}\"|(?<!\w)'[^']{1,200}'(?!\w)|«[^«»]{1,200}»")
_OPEN = re.compile(r"(?<![\w.])[B-HJ-Z](?![\w.])")
_WORDS = re.compile(rf"{PLACE}|\w+(?:['’]\w+)*")
_STOP = frozenset(
    (
        *("a", "an", "the", "is", "are", "was", "were", "be", "do", "does", "did", "of", "for", "to", "in", "on", "at"),
        *(
            "give",
            "tell",
            "show",
            "with",
            "that",
            "this",
            "it",
            "i",
            "me",
            "my",
            "you",
            "your",
            "please",
            "could",
            "would",
            "can",
            "will",
        ),
    )
)


@dataclass(frozen=True, kw_only=True)
class MemPrompt:
    """Feedback on the nearest question asked before, as a clarification in the prompt."""

    kinds: ClassVar[frozenset[str]] = frozenset({"feedback"})
    wants: ClassVar[frozenset[str]] = frozenset({"multi_hop", "none"})
    precedence: ClassVar[int] = 10

    lookup: Literal["both", "distance", "similarity"] = "both"
    """By edit distance, by trained similarity, or by distance first and similarity where that finds nothing."""
    distance: float = 0.2
    """Edits for each word of the longer key, in [0, 1], up to which two questions are the same."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    """What finds the feedback; None: there is none."""
    name: str = field(default="mem_prompt", init=False)

    def with_retriever(self, retrieve: Retriever) -> MemPrompt:
        return replace(self, retrieve=retrieve)

    def prepare(
        self, messages: Sequence[Message], hits: Sequence[Hit], model: BaseModel, memory: EditMemory
    ) -> list[Message]:
        """The messages with the clarifications of these hits."""
        lines = [feedback_of(hit.edit) for hit in hits if hit.edit.kind == "feedback"]
        told = [
            prompt("feedback").substitute(question=as_line(one.question), meant=as_line(one.meant)) for one in lines
        ]
        return with_instruction(messages, "\n".join(told)) if told else list(messages)

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        return model.stream(self._clarified(messages, model, memory, trace), **parameters)

    async def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        prepared = await asyncio.to_thread(self._clarified, messages, model, memory, trace)  # it encodes
        async for piece in model.astream(prepared, **parameters):
            yield piece

    def found(self, question: str, edits: Sequence[Edit], encoder: Encoder) -> tuple[Hit, str] | None:
        """The feedback that this question calls for and the lookup that found it; of equals the newest.

        `score`, and the probability with it, is 1 - the distance, or the cosine.
        """
        if self.lookup != "similarity":
            apart = [(distance(question, feedback_of(edit).question), edit) for edit in edits]
            least, edit = min(apart, key=lambda one: (one[0], -one[1].seq), default=(1.0, None))
            if edit is not None and least <= self.distance:
                return _hit(edit, 1 - least), "distance"
        least_cosine = similar(encoder.identity) if self.lookup != "distance" else None
        if least_cosine is not None and edits:
            from memedit.answerers._conditions import vectors  # numpy

            asked = encoder.encode([worded(question)])[0]
            cosines = vectors([worded(feedback_of(edit).question) for edit in edits], encoder) @ asked
            most, edit = max(zip(cosines.tolist(), edits, strict=True), key=lambda one: (one[0], one[1].seq))
            if most >= least_cosine:
                return _hit(edit, min(most, 1.0)), "similarity"
        return None

    def _clarified(
        self, messages: Sequence[Message], model: BaseModel, memory: EditMemory, trace: list[dict[str, object]]
    ) -> list[Message]:
        edits = self.retrieve.of_kind("feedback") if self.retrieve is not None else []
        question = next((message.content for message in reversed(messages) if message.role == "user"), "")
        found = self.found(question, edits, memory.encoder) if edits and question.strip() else None
        if found is None:
            raise HandBack("no feedback is on such a question")
        hit, lookup = found
        prepared = self.prepare(messages, [hit], model, memory)
        if not fits(prepared, model):
            raise HandBack(f"what was meant does not fit the context of {model.name}")
        trace.append({"step": "feedback", "edits": [hit.edit.id], "lookup": lookup, "score": round(hit.score, 3)})
        assert self.retrieve is not None
        self.retrieve.found[hit.edit.id] = hit
        return prepared


def _hit(edit: Edit, score: float) -> Hit:
    return Hit(edit=edit, score=score, key=feedback_of(edit).question, probability=score)


def key(question: str) -> tuple[str, ...]:
    """The words of a question that count: folded, without stop words and punctuation, what fills it one place."""
    text = _OPEN.sub(PLACE, _FILLED.sub(PLACE, question[:LONGEST]))
    return tuple(word for word in _WORDS.findall(text.casefold()) if word not in _STOP)


def worded(question: str) -> str:
    """The question as the encoder reads it: in its own words, with “this” for what fills it."""
    return " ".join(_OPEN.sub("this", _FILLED.sub("this", question[:LONGEST])).split()) or question


def distance(asked: str, kept: str) -> float:
    """How far a question is from one that feedback was given on: edits of words over those of the longer, in [0, 1].

    Words, since letters alone would take “like” for “unlike”.

    Where the kept one has an open place and nothing is marked in the other, up to FILLS words may fill it.
    """
    given, other = key(asked), key(kept)
    if not {*given} - {PLACE} or not {*other} - {PLACE}:
        return 1.0
    ways = [given]
    if PLACE in other and PLACE not in given:
        ways += [
            (*given[:start], PLACE, *given[end:])
            for start in range(len(given))
            for end in range(start + 1, min(start + FILLS, len(given)) + 1)
        ]
    return min(levenshtein(way, other, _unlike) / max(len(way), len(other)) for way in ways)


def levenshtein(one: Sequence[str], other: Sequence[str], cost: Callable[[str, str], float] = str.__ne__) -> float:
    """The least cost of insertions and deletions, 1 each, and replacements that make one of the other."""
    row = [float(at) for at in range(len(other) + 1)]
    for count, part in enumerate(one, 1):
        before, row[0] = row[0], float(count)
        for at, its in enumerate(other, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + cost(part, its))
    return row[-1]


def _unlike(one: str, other: str) -> float:
    """How far two words are apart, in [0, 1]: slips of the pen count by their share, another word is another word."""
    if one == other:
        return 0.0
    share = levenshtein(one, other) / max(len(one), len(other))
    return share if share <= SLIP else 1.0


@cache
def similar(identity: str) -> float | None:
    """The cosine from which two questions are of a kind, for this encoder; None where that was not measured."""
    measured = json.loads((files("memedit.answerers") / "mem_prompt.json").read_text(encoding="utf-8"))
    return float(measured["cosine"]) if measured["encoder"] == identity else None
