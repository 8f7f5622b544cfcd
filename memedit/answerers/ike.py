"""IKE: the facts in scope are put in front of the question, with worked examples of how a fact is used.

In-context knowledge editing (Zheng et al. 2023, "Can We Edit Factual Knowledge by In-Context Learning?"): no weight is
touched; the model is shown `copy` demonstrations (the fact asked in its own words), `update` ones (asked in others) and
`retain` ones (something else is asked, and the fact changes nothing), 1 : 3 : 4. The paper draws them from other edits,
the nearest to the question last; here they are texts of our own (`prompts/ike_demonstrations.txt`), and only as many
as the model needs and its context holds: no edit that is out of scope is ever sent to a model.

A chat model that is asked by an alias is told whose name it is; what else would tell it that the fact is meant? One
that completes text reads a fact that was written as a question and its answer as a sentence (`declarative.py`).

A model whose probabilities are at hand can be made to heed the facts more than it does by itself: what the question
alone makes likely is then held against a token (`emphasis`; `memedit/models/_heeding.py`).

A fact that an earlier turn of the conversation contradicts is said to have changed since: a chat model is told so, and
one that completes text reads the fact behind those turns rather than in front of them.

The text of a fact is data. Wherever it goes it is one line, between marks that it cannot forge. So a fact that holds
role markers, braces or "ignore the above" bears on its own questions and on nothing else.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from memedit.answerers import Retriever
from memedit.answerers._fitting import fits, in_own_words, tokens
from memedit.answerers._named import by_subject
from memedit.declarative import plainly
from memedit.edits import Decision, Edit, Hit, Message
from memedit.errors import InputError
from memedit.models import BaseModel
from memedit.parsing import normalise
from memedit.prompts import prompt
from memedit.relations import relations

if TYPE_CHECKING:
    from memedit.memory import EditMemory

EARLIER = 6
"""User turns before the question that are looked at for what contradicts a fact."""

# What chat templates and prompts use as marks: <|im_start|>, </s>, <facts>, [INST], <<SYS>>, <｜User｜>.
_MARK = re.compile(r"<\s*[|｜/!]?[\w▁|｜:.-]{1,40}\s*/?>|\[/?[A-Z_]{2,20}\]|<<|>>|<[|｜]|[|｜]>|#{2,}|`{3,}")
_KEPT_FORMAT = "\u200c\u200d"  # joiners, which some scripts are spelled with


@dataclass(frozen=True, kw_only=True)
class Ike:
    """Facts in scope, and demonstrations, in front of the question: a system message, or lines to continue from."""

    demonstrations: int | None = None
    """How many demonstrations, at most 8; None: what the model says it needs, else 4 for chat and 8 for completion."""
    facts: int = 5
    """How many facts, at most: the most probable."""
    share: float = 0.6
    """Share of the model's context, in (0, 1], that all but the reply may fill."""
    most_tokens: int = 2000
    """Tokens that facts and demonstrations may take however long the context is."""
    emphasis: float | None = None
    """How much more than by itself the model is made to heed the facts, from 0 on; None: what the model says it needs.
    Nothing where a chain sends the messages itself."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    """What tells which earlier turns asked about a fact; None: none is looked for."""
    name: str = field(default="ike", init=False)

    def with_retriever(self, retrieve: Retriever) -> Ike:
        return replace(self, retrieve=retrieve)

    def prepare(
        self, messages: Sequence[Message], hits: Sequence[Hit], model: BaseModel, memory: EditMemory
    ) -> list[Message]:
        """The messages with the facts in a system message, joined to the caller's own where there is one."""
        sent = self.sent(messages, hits, model)
        return self._least.prepared(messages, hits, model)[0] if sent is None else sent[0]

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        asked = as_resolved(messages, decision, model)
        sent = self.sent(asked, decision.hits, model)
        if sent is None:
            return self._said(messages, decision, model, memory, trace)
        heeding = self._heeding(asked, model)
        trace.append(sent[1])
        return model.stream(sent[0], **{**heeding, **parameters})

    async def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        # In a thread: looking at earlier turns encodes and reads the database, which must not hold up the loop.
        asked = as_resolved(messages, decision, model)
        sent = await asyncio.to_thread(self.sent, asked, decision.hits, model)
        if sent is None:
            for piece in self._said(messages, decision, model, memory, trace):
                yield piece
            return
        heeding = self._heeding(asked, model)
        trace.append(sent[1])
        async for piece in model.astream(sent[0], **{**heeding, **parameters}):
            yield piece

    def sent(
        self, messages: Sequence[Message], hits: Sequence[Hit], model: BaseModel
    ) -> tuple[list[Message], dict[str, object]] | None:
        """What is sent and the step for the trace; None where not even the most probable fact fits the context alone.

        Where the context does not hold more, that fact is sent without demonstrations and without the others.
        """
        for ike in (self, self._least):
            prepared, step = ike.prepared(messages, hits, model)
            if fits(prepared, model, _first(hits)):
                return prepared, step
        return None

    def has_room(self, messages: Sequence[Message], decision: Decision, model: BaseModel) -> bool:
        """Whether the model's context holds the most probable fact beside what is asked, and a reply."""
        return self.prompter(as_resolved(messages, decision, model), decision, model) is not None

    def prompter(self, messages: Sequence[Message], decision: Decision, model: BaseModel) -> Ike | None:
        """This answerer where there is room for the most probable fact, so that a chain can send the messages."""
        if model.context_tokens is None:
            return self
        prepared, _ = self._least.prepared(messages, decision.hits, model)
        return self if fits(prepared, model, _first(decision.hits)) else None

    @property
    def _least(self) -> Ike:
        return replace(self, facts=1, demonstrations=0, retrieve=None)

    def _said(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
    ) -> Iterator[str]:
        hits = sorted(decision.hits, key=_probability, reverse=True)
        return in_own_words(hits, messages, decision, model, memory, trace, name=self.name)

    def prepared(
        self, messages: Sequence[Message], hits: Sequence[Hit], model: BaseModel
    ) -> tuple[list[Message], dict[str, object]]:
        marks = tuple(getattr(model, "special_tokens", ()))
        budget = self._budget(messages, model)
        lines: dict[Hit, str] = {}
        for hit in sorted(standing(hits), key=_probability, reverse=True)[: self.facts]:
            said = _said(hit.edit, messages) if model.style == "chat" else plainly(hit.edit)
            line = as_line(said, marks)
            cost = model.count_tokens(f"{line}\n") + 4  # "New fact: "
            if lines and cost > budget:
                break
            lines[hit] = line
            budget -= cost
        shown = sorted(lines, key=lambda hit: hit.edit.seq)  # oldest first, so that the later line is the newer
        changed = [hit for hit in shown if self._contradicts_turn(messages, hit)]
        blocks = self._examples(messages, shown, model, budget)
        step: dict[str, object] = {
            "step": "facts",
            "answerer": self.name,
            "edits": [hit.edit.id for hit in shown],
            "demonstrations": len(blocks),
            "left_out": [hit.edit.id for hit in hits if hit not in lines],
        }
        if changed:
            step["changed"] = [hit.edit.id for hit in changed]
        if model.style == "chat":
            told = _chat([lines[hit] for hit in shown], [lines[hit] for hit in changed], blocks)
            return _with_system(messages, told), step
        front = "\n\n".join([*blocks, _facts(lines[hit] for hit in shown if hit not in changed)]).strip()
        prepared = _with_system(messages, front) if front else list(messages)
        if changed:
            place = _asked_at(prepared)
            prepared.insert(place, Message("system", _facts(lines[hit] for hit in changed)))
        return prepared, step

    def _heeding(self, asked: Sequence[Message], model: BaseModel) -> dict[str, Any]:
        """The parameters that make a model heed the facts more, of a conversation without them.

        Raises InputError where that is asked of a model that does not show its probabilities.
        """
        own: float | None = getattr(model, "emphasis", None)
        wanted = own if self.emphasis is None else self.emphasis
        if not wanted:
            return {}
        if own is None:
            raise InputError(
                f"{model.name} does not show its probabilities, so that facts cannot be emphasised; leave `emphasis` "
                "out, or use a model on this machine (hf:NAME, pocket)"
            )
        return {"against": asked, "emphasis": wanted}

    def _contradicts_turn(self, messages: Sequence[Message], hit: Hit) -> bool:
        """Whether an earlier exchange is about this fact, as the scope judges it, and does not say what the fact says.

        Only turns that name the subject (or an alias) are judged, the latest of them: most conversations cost nothing.
        """
        if self.retrieve is None or not hit.edit.target:
            return False
        names = [normalise(name) for name in (hit.edit.subject, *hit.edit.aliases) if name]
        target = normalise(hit.edit.target)
        turns = [at for at, message in enumerate(messages[: _asked_at(messages)]) if message.role == "user"]
        for at in reversed(turns[-EARLIER:]):
            asked = normalise(messages[at].content)
            reply = next((m.content for m in messages[at + 1 : at + 2] if m.role == "assistant"), "")
            if not any(name and name in asked for name in names):
                continue
            if any(found.edit.id == hit.edit.id for found in self.retrieve(messages[at].content).hits):
                # The latest exchange counts: what was put right there is not put right again.
                said = normalise(reply)
                return bool(re.match(r"\W*no\b", said)) if target in asked else target not in said
        return False

    def _budget(self, messages: Sequence[Message], model: BaseModel) -> int:
        if model.context_tokens is None:
            return self.most_tokens
        frame = [Message("system", prompt("ike_chat").template)] if model.style == "chat" else []
        return min(self.most_tokens, int(model.context_tokens * self.share) - tokens([*frame, *messages], model))

    def _examples(self, messages: Sequence[Message], shown: Sequence[Hit], model: BaseModel, budget: int) -> list[str]:
        """Demonstrations as text: as many as are wanted, there are and go into the budget."""
        wanted = self.demonstrations
        if wanted is None:
            wanted = getattr(model, "demonstrations", None)
        if wanted is None:
            wanted = 4 if model.style == "chat" else 8
        question = next((message.content for message in reversed(messages) if message.role == "user"), "")
        if wanted <= 0 or budget <= 0 or not question.strip() or not shown:
            return []
        stated = normalise(" ".join(hit.edit.statement for hit in shown))
        usable = [example for example in _made_up() if normalise(example.subject) not in stated][:wanted]
        blocks: list[str] = []
        for kind, example in zip(_kinds(len(usable)), usable, strict=True):
            block = _demonstration(kind, example, stated)
            budget -= model.count_tokens(block) + 2
            if budget < 0:
                break
            blocks.append(block)
        return blocks[::-1]


def as_resolved(messages: Sequence[Message], decision: Decision, model: BaseModel) -> Sequence[Message]:
    """The messages as a model that completes text can follow them: the question that the scope understood, alone.

    It goes by the subject's own name. Where that is the last turn itself the messages stay as they are. "and who leads
    it now?" behind other turns, a question among other sentences, or one by an alias, is more than such a model reads;
    one that chats gets the user's own words.
    """
    if model.style != "completion" or not decision.query or not decision.hits:
        return messages
    last = next((message.content for message in reversed(messages) if message.role == "user"), "")
    query = by_subject(decision.query, decision.hits[0].edit)
    if query == last.strip():
        return messages
    return [*(message for message in messages if message.role == "system"), Message("user", query)]


def as_line(text: str, marks: Iterable[str] = ()) -> str:
    """A statement fit to stand in a prompt: one line, no mark of a prompt left whole. Nothing of it is cut.

    A mark (of a chat template, a tag, one of `marks`) is broken by a space behind its first character; all else,
    quotes, braces and dollars included, stays as it is.
    """
    kept = (c if unicodedata.category(c)[0] != "C" or c in _KEPT_FORMAT else " " for c in text)
    line = " ".join("".join(kept).split())
    for mark in sorted(marks, key=len, reverse=True):
        if len(mark) > 1 and not mark.isalnum():
            line = line.replace(mark, f"{mark[0]} {mark[1:]}")
    # A mark broken may leave another whole ("<<SYS>>"): until none is left, so that a line read again stays as it is.
    while (broken := _MARK.sub(lambda found: f"{found[0][0]} {found[0][1:].lstrip()}", line)) != line:
        line = broken
    return line


def _said(edit: Edit, messages: Sequence[Message]) -> str:
    """The statement; where the question goes by an alias of the subject, with what tells that both are one."""
    asked, subject = normalise(" ".join(m.content for m in messages[_asked_at(messages) :][:1])), edit.subject or ""
    named = [alias for alias in edit.aliases if normalise(alias) in asked]
    if not named or normalise(subject) in asked:
        return edit.statement
    statement = edit.statement.rstrip().removesuffix(".")
    return prompt("also_called").substitute(statement=statement, alias=max(named, key=len), subject=subject)


def _first(hits: Sequence[Hit]) -> Edit | None:
    """The most probable of the edits that stand."""
    return next((hit.edit for hit in sorted(standing(hits), key=_probability, reverse=True)), None)


def _probability(hit: Hit) -> float:
    return hit.score if hit.probability is None else hit.probability


def standing(hits: Sequence[Hit]) -> list[Hit]:
    """The hits without those that a newer one contradicts."""
    newest_first = sorted(hits, key=lambda hit: hit.edit.seq, reverse=True)
    kept: list[Hit] = []
    for hit in newest_first:
        if not any(_contradicts(newer.edit, hit.edit) for newer in kept):
            kept.append(hit)
    return kept


def _contradicts(newer: Edit, older: Edit) -> bool:
    """Whether both say the same thing of a subject: by a relation that is not many-valued, or in the same words."""
    if not newer.subject or not older.subject or normalise(newer.subject) != normalise(older.subject):
        return False
    if newer.relation and older.relation:
        known = relations().get(newer.relation)
        return newer.relation == older.relation and (known is None or known.cardinality != "many")
    return bool(newer.prompt and older.prompt) and normalise(newer.prompt or "") == normalise(older.prompt or "")


def _kinds(number: int) -> list[str]:
    """`number` kinds of demonstration, copy : update : retain as 1 : 3 : 4, spread evenly."""
    pattern = ("retain", "update", "copy", "retain", "update", "retain", "update", "retain")
    return [pattern[at % len(pattern)] for at in range(number)]


@dataclass(frozen=True, slots=True)
class _MadeUp:
    """A made-up fact that serves as a demonstration: what it is about, its own question, and another one."""

    number: int
    subject: str
    statement: str
    question: str
    reworded: str
    target: str


@cache
def _made_up() -> tuple[_MadeUp, ...]:
    lines = prompt("ike_demonstrations").template.splitlines()
    return tuple(_MadeUp(number, *line.split(" | ")) for number, line in enumerate(lines))


def _demonstration(kind: str, example: _MadeUp, stated: str) -> str:
    question, answer = example.reworded if kind == "update" else example.question, example.target
    if kind == "retain":
        # What everybody knows, so that the answer is true whatever the memory holds; not what the facts are about.
        pairs = [line.split(" | ") for line in prompt("everyday_questions").template.splitlines()]
        fit = [pair for pair in pairs if not set(re.findall(r"\w{5,}", pair[0].casefold())) & set(stated.split())]
        question, answer = (fit or pairs)[example.number % len(fit or pairs)]
    fact = prompt("new_fact").substitute(statement=stopped(example.statement))
    return prompt("demonstration").substitute(facts=fact, question=question, answer=answer)


def stopped(line: str) -> str:
    return line if line.endswith((".", "!", "?", "。", "！", "？", "…")) else f"{line}."


def _facts(lines: Iterable[str]) -> str:
    return "\n".join(prompt("new_fact").substitute(statement=stopped(line)) for line in lines)


def _chat(lines: Sequence[str], changed: Sequence[str], blocks: Sequence[str]) -> str:
    examples = prompt("ike_examples").substitute(examples="\n\n".join(blocks)) if blocks else ""
    said = prompt("ike_chat").substitute(examples=examples, facts="\n".join(map(stopped, lines)))
    return said + prompt("ike_changed").substitute(facts="\n".join(map(stopped, changed))) if changed else said


def _asked_at(messages: Sequence[Message]) -> int:
    """The place of the last user message; of a conversation without one, its end."""
    return next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), len(messages))


def _with_system(messages: Sequence[Message], system: str) -> list[Message]:
    """The same messages, with `system` in a system message in front, behind what the caller's own there says."""
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{system}"), *messages[1:]]
    return [Message("system", system), *messages]
