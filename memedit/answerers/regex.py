"""Regular-expression patches: what matches in the message, or in the reply, is replaced before it goes on.

The answerers beside it work by meaning; this one by letters, exactly, and around all of them: the rewritten message is
what the rest of the way sees, the whole reply is what an output pattern sees. So a reply under an output pattern does
not stream, but comes at once. Every pattern has a time limit, since some take for ever on some texts; one that runs out
of time leaves the text as it is, and the trace says so. So does one that would be refused today and was written by an
older memedit, and one whose replacement makes the text too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.answerers import HandBack, Retriever
from memedit.conversation import with_text
from memedit.edits import Decision, Edit, Message
from memedit.errors import InputError
from memedit.models import BaseModel
from memedit.patches import Substitution, compiled, substitution_of

if TYPE_CHECKING:
    from regex import Pattern

    from memedit.memory import EditMemory

log = logging.getLogger("memedit")


@dataclass(frozen=True, slots=True)
class Substituted:
    """A text after patterns were run over it, one after the other. `changed` are the ids of those that matched,
    `timed_out` of those that ran out of time, `refused` of those that cannot be run at all."""

    text: str
    changed: tuple[str, ...] = ()
    timed_out: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Regex:
    """Edits of kind `regex`, the oldest first, over the last user message and over the whole reply."""

    kinds: ClassVar[frozenset[str]] = frozenset({"regex"})
    wants: ClassVar[frozenset[str]] = frozenset({"multi_hop", "none"})
    precedence: ClassVar[int] = 30

    seconds: float = 0.25
    """Processor time that one pattern may take over one text."""
    longest: int = 200_000
    """Characters of a text that patterns are run over; a longer one is left as it is."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    """What finds the patches; None: there are none."""
    name: str = field(default="regex", init=False)

    def with_retriever(self, retrieve: Retriever) -> Regex:
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
        given, after = self._before(messages, trace)
        if not after:
            return model.stream(given, **parameters)
        return iter([self._after("".join(model.stream(given, **parameters)), after, trace)])

    async def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        # In threads: patterns take their time, which must not hold up the loop.
        given, after = await asyncio.to_thread(self._before, messages, trace)
        if not after:
            async for piece in model.astream(given, **parameters):
                yield piece
            return
        whole = "".join([piece async for piece in model.astream(given, **parameters)])
        yield await asyncio.to_thread(self._after, whole, after, trace)

    def substituted(self, text: str, patterns: Sequence[tuple[str, Substitution]]) -> Substituted:
        """The text with each match replaced; `patterns` are (id, pattern), run in order."""
        changed, timed_out, refused = [], [], []
        for id_, held in patterns if len(text) <= self.longest else ():
            ready = _ready(held.pattern, held.replace)
            if isinstance(ready, str):
                log.warning("the pattern of %s is not run: %s", id_, ready)
                refused.append(id_)
                continue
            try:
                made = ready.sub(self._bounded(held.replace, text), text, timeout=self.seconds)
            except TimeoutError:
                log.warning("the pattern of %s took more than %g s and was stopped", id_, self.seconds)
                timed_out.append(id_)
                continue
            except _TooLongError:
                continue
            if made != text and len(made) <= self.longest:
                changed.append(id_)
                text = made
        return Substituted(text, tuple(changed), tuple(timed_out), tuple(refused))

    def _bounded(self, template: str, text: str) -> str | Callable[[Any], str]:
        """The template; or, where what it makes of the text may be huge, what fills it in and stops before that."""
        references = template.count("\\")
        if not references and len(template) * len(text) <= 10 * self.longest:
            return template
        total = 0

        def expanded(match: Any) -> str:
            nonlocal total
            groups = max(len(group or "") for group in (match[0], *match.groups()))  # in a look-ahead: more than all
            if len(template) + references * groups <= 10 * self.longest:
                made: str = match.expand(template)
                total += len(made)
                if total <= self.longest:
                    return made
            raise _TooLongError

        return expanded

    def _before(
        self, messages: Sequence[Message], trace: list[dict[str, object]]
    ) -> tuple[Sequence[Message], list[Edit]]:
        """The messages to send on (the same object where no pattern changes them), and the patches for the reply."""
        edits = self.retrieve.of_kind("regex")[::-1] if self.retrieve is not None else []
        after = [edit for edit in edits if edit.relation == "output"]
        before = [edit for edit in edits if edit.relation != "output"]
        place = next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), None)
        done = Substituted("")
        if before and place is not None:
            done = self._run(messages[place].content, before)
        if not done.changed and not after:
            why = f"; out of time: {', '.join(done.timed_out)}" if done.timed_out else ""
            why += f"; not to be run: {', '.join(done.refused)}" if done.refused else ""
            raise HandBack(f"no pattern on the input matches, and there is none on the output{why}")
        if before:
            trace.append(_step("input", done))
        if done.changed and place is not None:
            messages = [*messages[:place], with_text(messages[place], done.text), *messages[place + 1 :]]
        return messages, after

    def _after(self, reply: str, edits: Sequence[Edit], trace: list[dict[str, object]]) -> str:
        done = self._run(reply, edits)
        trace.append(_step("output", done))
        return done.text

    def _run(self, text: str, edits: Sequence[Edit]) -> Substituted:
        return self.substituted(text, [(edit.id, substitution_of(edit)) for edit in edits])


class _TooLongError(Exception):
    """Raised and caught inside `Regex.substituted`."""


@lru_cache(maxsize=1000)
def _ready(pattern: str, template: str) -> Pattern[str] | str:
    """The pattern, or why it is not to be run: a memory may hold some that were written before this was checked."""
    try:
        return compiled(pattern, template)
    except InputError as error:
        return str(error)


def _step(side: str, done: Substituted) -> dict[str, object]:
    step: dict[str, object] = {"step": "regex", "side": side, "edits": list(done.changed)}
    stopped = {"timed_out": done.timed_out, "refused": done.refused}
    return step | {name: list(ids) for name, ids in stopped.items() if ids}
