"""MeLLo: the model itself takes a question apart, and each step of it is looked up among the edits.

Zhong et al. 2023, "MQuAKE: Assessing Knowledge Editing in Language Models via Multi-Hop Questions": subquestion,
tentative answer, retrieved edit, does it contradict, next subquestion, until the final answer. The prompts are our own.
It needs no training and any model that keeps to a form, and costs several calls a question; `planned`, beside it, needs
none for the plan.

An edit is retrieved through the scope, so that one which does not bear on the subquestion is never shown;
`published=True` shows the nearest, whatever it is, as the paper does. A reply is read line by line and what is not a
line of the form is left out; it is cut where the model goes on to make up a retrieved fact of its own. The loop ends by
a final answer or by a limit, and the trace says by which. Ended by a limit, the question is answered once with all
edits found (by IKE), or, where none was found, handed back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.answerers import HandBack, Retriever
from memedit.answerers._fitting import in_own_words
from memedit.answerers.ike import Ike, as_line, stopped
from memedit.edits import Decision, Hit, Message
from memedit.models import BaseModel
from memedit.parsing import normalise
from memedit.prompts import prompt
from memedit.scope._held import last_user

if TYPE_CHECKING:
    from memedit.memory import EditMemory

SUBQUESTION, TENTATIVE, RETRIEVED, CONTRADICTS, INTERMEDIATE, FINAL = LABELS = (
    "Subquestion",
    "Tentative answer",
    "Retrieved fact",
    "Contradicts",
    "Intermediate answer",
    "Final answer",
)
# As models write them: numbered, in bold, as "Sub-question", "Generated answer" …
_SPELLINGS = {
    SUBQUESTION: r"sub[- ]?questions?",
    TENTATIVE: r"(?:tentative|generated|initial) answer",
    RETRIEVED: r"retrieved (?:fact|edit)s?",
    CONTRADICTS: r"contradict(?:s|ion|ed|ory)?",
    INTERMEDIATE: r"intermediate answer",
    FINAL: r"(?:the )?final answer",
}
_LINE = re.compile(
    r"^[\s>*#_`\-–•\d.()]*(?:step\s*\d+\W*)?(?:"
    + "|".join(f"({spelling})" for spelling in _SPELLINGS.values())
    + r")\s*\d*\s*[*_`]*\s*[:：]\s*[*_`]*[ \t]*(.*)$",
    re.IGNORECASE,
)
_INVENTS = re.compile(r"^[\s>*#_`\-]*retrieved (?:fact|edit)s?\s*\d*\s*[*_`]*\s*[:：]", re.IGNORECASE | re.MULTILINE)
_REFUSES = re.compile(r"\b(?:sorry|apologi[sz]e|cannot|can['’]t|unable|not able|won['’]t|as an ai)\b", re.IGNORECASE)
_LIMITING = ("stop", "max_tokens", "max_new_tokens", "max_completion_tokens", "response_format")
"""Parameters of a call that are meant for the reply as a whole; a step keeps to its own form and length."""


@dataclass(frozen=True, kw_only=True)
class Mello:
    """Subquestion, tentative answer, retrieved edit, contradiction check, until the final answer."""

    hops: int = 5
    """How many subquestions, at most; published: 4."""
    calls: int = 16
    """How often the model is asked, at most."""
    longest: int = 2000
    """Characters of one reply that are read; the rest is not waited for."""
    retries: int = 1
    """How often in a row a reply that keeps to no form is asked for again."""
    examples: bool = True
    """Worked examples in the prompt, as far as the model's context holds them."""
    published: bool = False
    """Show the nearest edit to every subquestion, whatever it is, and never hand back for want of one."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    name: str = field(default="mello", init=False)

    wants: ClassVar[frozenset[str]] = frozenset({"multi_hop"})

    def with_retriever(self, retrieve: Retriever) -> Mello:
        return replace(self, retrieve=retrieve)

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        loop = _Loop(self, messages, decision, model, trace)
        own = _of_a_step(parameters)
        steps = loop.steps()
        reply: str | None = None
        while (asked := _next(steps, reply)) is not None:
            reply = _read(model.stream(asked, **own), self.longest)
        if loop.answer is not None:
            yield loop.answer
            return
        given = loop.instead()
        if given is None:
            yield from loop.said(memory)
        else:
            yield from _cut(model.stream(given, **parameters), self.longest)

    async def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        loop = _Loop(self, messages, decision, model, trace)
        own = _of_a_step(parameters)
        steps = loop.steps()
        reply: str | None = None
        # In a thread: looking up encodes and reads the database, which must not hold up the loop.
        while (asked := await asyncio.to_thread(_next, steps, reply)) is not None:
            reply = await _aread(model.astream(asked, **own), self.longest)
        if loop.answer is not None:
            yield loop.answer
            return
        given = await asyncio.to_thread(loop.instead)
        if given is None:
            for piece in loop.said(memory):
                yield piece
            return
        left = self.longest
        async for piece in model.astream(given, **parameters):
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return


class _Stop(Exception):  # noqa: N818 - how the loop ends, not an error
    """The loop ends here; the message says why."""


@dataclass
class _Hop:
    """One subquestion on its way."""

    question: str
    tentative: str = ""
    hit: Hit | None = None
    contradicts: bool | None = None
    answer: str = ""
    closed: bool = False


class _Loop:
    """One question: `steps` yields the messages to ask and is sent each reply; then `answer` is there, or is None."""

    def __init__(
        self,
        settings: Mello,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        trace: list[dict[str, object]],
    ) -> None:
        self.settings, self.messages, self.decision, self.model, self.trace = settings, messages, decision, model, trace
        self.marks = tuple(getattr(model, "special_tokens", ()))
        # The judged text is the question with the names put in that a follow-up leaves out.
        self.question = as_line(decision.query or last_user(messages), self.marks)
        self.lines: list[str] = []
        self.hops: list[_Hop] = []
        self.found: dict[str, Hit] = {hit.edit.id: hit for hit in decision.hits}
        self.asked: set[str] = set()
        self.calls = 0
        self.answer: str | None = None
        self.stopped = ""

    def steps(self) -> Generator[list[Message], str, None]:
        try:
            yield from self._steps()
        except _Stop as stop:
            self.stopped = str(stop)
        if self.hops and not self.hops[-1].closed:
            self._close(self.hops[-1])
        used = [hop.hit.edit.id for hop in self.hops if hop.hit is not None]
        if self.answer is not None and not used and not self.settings.published:
            if not self.decision.in_scope:
                raise HandBack("no edit bears on any step of it")
            self.answer, self.stopped = None, "no step came upon the fact that the question falls under"
        if self.answer is not None:
            self.trace.append({"step": "final", "answerer": self.settings.name, "answer": self.answer})
            return
        self.trace.append({"step": "stopped", "answerer": self.settings.name, "reason": self.stopped})
        if not self.found:
            raise HandBack(f"stopped without an edit found: {self.stopped}")

    def instead(self) -> list[Message] | None:
        """The question with all edits found in front of it, for a loop that came to no answer; None: none fits."""
        sent = Ike(facts=len(self.found)).sent(self.messages, list(self.found.values()), self.model)
        if sent is None:
            return None
        self.trace.append(sent[1])
        return sent[0]

    def said(self, memory: EditMemory) -> Iterator[str]:
        """What `instead` does not fit, in its own words."""
        hits, name = list(self.found.values()), self.settings.name
        return in_own_words(hits, self.messages, self.decision, self.model, memory, self.trace, name=name)

    def _steps(self) -> Generator[list[Message], str, None]:
        failed = 0
        while self.answer is None:
            if self.calls >= self.settings.calls:
                raise _Stop(f"the limit of {self.settings.calls} calls is reached")
            self.calls += 1
            reply = yield self._prompt(reminded=failed > 0)
            taken = self._take(_labelled(reply, self.lines))
            failed = 0 if taken else failed + 1
            if failed > self.settings.retries:
                if self._awaits_check():  # what the fact says can be told without the model
                    self._close(self.hops[-1])
                    failed = 0
                else:
                    raise _Stop(_fault(reply))

    def _take(self, labelled: Sequence[tuple[str, str]]) -> bool:
        """Go on by the lines of one reply, as far as they are of use; whether any was."""
        taken = False
        for label, text in labelled:
            hop = self.hops[-1] if self.hops and not self.hops[-1].closed else None
            if label == RETRIEVED:  # made up: facts come from the memory
                break
            if hop is None:
                if label == FINAL and text:
                    self.answer = text[: self.settings.longest]
                    return True
                if label == SUBQUESTION and text:
                    self._ask(text)
                    taken = True
                continue
            if hop.hit is None:  # its tentative answer is missing
                if label == TENTATIVE:
                    taken = True
                    hop.tentative = text
                    if self._look_up(hop):
                        break  # what follows was written without the fact
                elif label in (SUBQUESTION, FINAL, INTERMEDIATE) and text:
                    if self._look_up(hop):
                        return True
                    taken = self._take([(label, text)]) or taken
                continue
            if label == CONTRADICTS:
                taken = True
                hop.contradicts = _says_yes(text)
                self.lines.append(f"{CONTRADICTS}: {'yes' if hop.contradicts else 'no'}")
            elif label == INTERMEDIATE and text:
                taken = True
                hop.answer = text
                self._close(hop)
            elif label in (SUBQUESTION, FINAL) and text:
                self._close(hop)
                taken = self._take([(label, text)]) or taken
                if self.answer is not None:
                    return True
        return taken

    def _ask(self, text: str) -> None:
        question = normalise(text)
        if question in self.asked:
            raise _Stop(f"it asks the same again: {text[:100]}")
        if len(self.hops) >= self.settings.hops:
            raise _Stop(f"the limit of {self.settings.hops} subquestions is reached")
        self.asked.add(question)
        self.hops.append(_Hop(as_line(text, self.marks)))
        self.lines.append(f"{SUBQUESTION}: {self.hops[-1].question}")

    def _look_up(self, hop: _Hop) -> bool:
        """Look the subquestion up and write down what was found; whether there was an edit."""
        hop.tentative = as_line(hop.tentative, self.marks)
        self.lines.append(f"{TENTATIVE}: {hop.tentative or 'not known'}")
        hop.hit = self._retrieved(hop.question)
        if hop.hit is None:
            hop.contradicts, hop.answer = False, hop.tentative
            self.lines += [f"{RETRIEVED}: none", f"{CONTRADICTS}: no", f"{INTERMEDIATE}: {hop.answer or 'not known'}"]
            self._close(hop, written=True)
            return False
        self.found[hop.hit.edit.id] = hop.hit
        self.lines.append(f"{RETRIEVED}: {stopped(as_line(hop.hit.edit.statement, self.marks))}")
        return True

    def _retrieved(self, question: str) -> Hit | None:
        retrieve = self.settings.retrieve
        if retrieve is None:
            return None
        if self.settings.published:
            return next(iter(retrieve.nearest(question)), None)
        hits = retrieve(question).hits
        return max(hits, key=lambda hit: (hit.probability or 0.0, hit.edit.seq), default=None)

    def _awaits_check(self) -> bool:
        return bool(self.hops) and not self.hops[-1].closed and self.hops[-1].hit is not None

    def _close(self, hop: _Hop, *, written: bool = False) -> None:
        """Fill in what the model did not say of a step, and write it down."""
        hop.closed = True
        if hop.hit is not None:
            target = hop.hit.edit.target
            if hop.contradicts is None:
                hop.contradicts = bool(target) and normalise(target or "") != normalise(hop.tentative)
                self.lines.append(f"{CONTRADICTS}: {'yes' if hop.contradicts else 'no'}")
            if not hop.answer:
                hop.answer = (
                    (target or hop.hit.edit.statement) if hop.contradicts or not hop.tentative else hop.tentative
                )
        hop.answer = as_line(hop.answer, self.marks)
        if not written and hop.hit is not None:
            self.lines.append(f"{INTERMEDIATE}: {hop.answer}")
        self.trace.append(
            {
                "step": "hop",
                "answerer": self.settings.name,
                "hop": len(self.hops),
                "question": hop.question,
                "tentative": hop.tentative,
                "fact": hop.hit.edit.statement if hop.hit else None,
                "probability": hop.hit.probability if hop.hit else None,
                "contradicts": hop.contradicts,
                "answer": hop.answer,
                "edits": [hop.hit.edit.id] if hop.hit else [],
            }
        )

    def _prompt(self, *, reminded: bool) -> list[Message]:
        """The instructions, the examples as far as they fit, the question and the steps so far."""
        steps = "".join(f"{line}\n" for line in self.lines)
        task = prompt("mello_question").substitute(question=self.question, steps=steps).rstrip("\n")
        if reminded:
            task += f"\n{prompt('mello_reminder').template}"
        rules = prompt("mello").template
        room = self.model.context_tokens
        examples = prompt("mello_examples").template if self.settings.examples else ""
        room = None if room is None else room - 64 - self.model.count_tokens(f"{rules}\n\n{task}\n") - 16
        if room is not None and room < 0:
            raise _Stop(f"the steps so far fill the context of {self.model.name}")
        if examples and (room is None or self.model.count_tokens(examples) <= room):
            rules = f"{rules}\n\n{examples}"
        if self.model.style == "completion":
            return [Message("system", f"{rules}\n\n{task}")]
        return [Message("system", rules), Message("user", task)]


def _of_a_step(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in _LIMITING}


def _next(steps: Generator[list[Message], str, None], reply: str | None) -> list[Message] | None:
    """What to ask next; None at the end. A StopIteration must not leave a thread."""
    try:
        return next(steps) if reply is None else steps.send(reply)
    except StopIteration:
        return None


def _labelled(reply: str, known: Sequence[str]) -> list[tuple[str, str]]:
    """The (label, text) lines of a reply, without those in front that only repeat the steps so far."""
    found: list[tuple[str, str]] = []
    waits = False  # a label whose text stands on the next line
    for line in reply.splitlines():
        if match := _LINE.match(line):
            label = LABELS[next(at for at, group in enumerate(match.groups()[:-1]) if group)]
            text = " ".join(match.groups()[-1].split()).rstrip("*_` ")
            found.append((label, text))
            waits = not text
        elif waits and line.strip():
            found[-1] = (found[-1][0], " ".join(line.split()))
            waits = False
    said = [tuple(line.split(": ", 1)) for line in known]
    while found and said and found[0] in said:
        said = said[said.index(found[0]) + 1 :]
        found = found[1:]
    return found


def _says_yes(text: str) -> bool:
    """ "yes", "Yes, it does", "contradicts"; everything else is a no."""
    words = normalise(text)
    return words.startswith(("yes", "true", "contradicts", "it does contradict", "it contradicts"))


def _fault(reply: str) -> str:
    """Why nothing could be made of a reply."""
    if not reply.strip():
        return "the model's reply is empty"
    shown = " ".join(reply.split())[:100]
    if _labelled(reply, ()):
        return f"the model repeats itself: {shown}"
    return f"the model {'refuses' if _REFUSES.search(reply[:300]) else 'does not keep to the form'}: {shown}"


def _full(text: str, longest: int) -> bool:
    return len(text) >= longest or bool(_INVENTS.search(text))


def _read(pieces: Iterator[str], longest: int) -> str:
    """A reply up to where the model makes up a fact, or to `longest` characters; the rest is not waited for."""
    text = ""
    try:
        for piece in pieces:
            text += piece
            if _full(text, longest):
                break
    finally:
        if close := getattr(pieces, "close", None):
            close()
    return text[:longest]


async def _aread(pieces: AsyncIterator[str], longest: int) -> str:
    text = ""
    try:
        async for piece in pieces:
            text += piece
            if _full(text, longest):
                break
    finally:
        if close := getattr(pieces, "aclose", None):
            await close()
    return text[:longest]


def _cut(pieces: Iterator[str], longest: int) -> Iterator[str]:
    left = longest
    for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return
