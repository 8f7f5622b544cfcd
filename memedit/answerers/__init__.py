"""Answerers: how a question is answered that edits bear on. One file each.

The plain case is a question with facts in scope: `stream` makes the reply of messages, decision and base model. One
that works by prompting alone is a `Prompter`: it turns messages into other messages and the base model answers those,
so that a wrapped chain keeps its own streaming and tools. Some things more an answerer may say of itself, each read
with a default where it does not:

    wants       decision labels besides "single" for which it is asked (`wanted`)
    kinds       kinds of edit, besides facts, that it serves (`serving`)
    foresees    given a question and whether a fact is in its scope: whether it sees several hops; for `auto`, where
                the scope sees none
    with_retriever   that it looks further into the memory while it answers (`Retrieving`)

Settings of an answerer are its fields, and may stand in its name: `mello:published=true`,
`planned:planner=chat;hops=4`. Such a name is the answerer's own, in traces and in the rows of benchmarks.

It may hand a question back: `HandBack`, raised before anything is yielded, and the base model answers untouched.

    label of the decision     who is asked
    single                    every answerer
    multi_hop, none           those that want it; else the base model, untouched
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from memedit.edits import Decision, Edit, Hit, Message
from memedit.models import BaseModel
from memedit.registry import SettableRegistry

if TYPE_CHECKING:
    from memedit.memory import EditMemory
    from memedit.scope import Scope

answerers = SettableRegistry(__name__, "answerer")


class HandBack(Exception):  # noqa: N818 - not an error: the question goes to the base model
    """An answerer finds that no edit bears on the question after all. The message is the reason, as the trace says it.

    Raised before the first piece is yielded. The base model is then given the caller's own messages object and
    parameters; the trace says so (`note_hand_back`), and no edit counts as used that its steps have named.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Retriever:
    """The memory as one call sees it: its namespace, its moment, its scope. An answerer looks further through it."""

    scope: Scope
    memory: EditMemory
    namespace: str
    as_of: datetime | int | None = None
    found: dict[str, Hit] = field(default_factory=dict, init=False)
    """Every hit that came up, by its edit's id: with what probability an edit that a step names was found."""

    def __call__(self, asked: str | Sequence[Message]) -> Decision:
        """What the scope decides about another question, such as a hop of this one, or about a conversation."""
        messages = [Message("user", asked)] if isinstance(asked, str) else asked
        decision = self.scope.decide(messages, self.memory, namespace=self.namespace, as_of=self.as_of)
        self.found.update((hit.edit.id, hit) for hit in decision.hits)
        return decision

    def nearest(self, text: str, k: int = 1) -> list[Hit]:
        """The `k` nearest facts whatever they are: no scope is asked. Their probability is SERAC's, exp(-d²)."""
        from memedit.scope.serac import embedding_probability  # late: numpy

        served = serving()
        # Edits of other kinds stand in the same index; a few more are fetched so that `k` facts are left.
        near = self.memory.search(text, k=k + 8, namespace=self.namespace, as_of=self.as_of)
        facts = [hit for hit in near if hit.edit.kind not in served][:k]
        nearest = [replace(hit, probability=embedding_probability(hit.score)) for hit in facts]
        self.found.update((hit.edit.id, hit) for hit in nearest)
        return nearest

    def of_kind(self, *kinds: str) -> list[Edit]:
        """The current edits of these kinds ("patch", "regex" …), the newest first. Costs next to nothing with none."""
        from memedit.answerers._kinds import of_kinds  # late: it needs the journal

        return of_kinds(self.memory, kinds, self.namespace, self.as_of)


class Answerer(Protocol):
    """The seam. `trace` is appended to as the answer is made: one JSON-ready dict per step.

    A step whose "edits" lists ids says which edits it used; where no step does, all in scope count as used. `decision`
    holds no hits of kinds that another answerer serves. `model` may be asked as often as need be, with other messages;
    asked with the very `messages` and parameters it was handed it answers as if memedit were not there.
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


@runtime_checkable
class Retrieving(Protocol):
    """What an answerer has besides when it looks further into the memory while it answers."""

    def with_retriever(self, retrieve: Retriever) -> Self:
        """This answerer for one call. A copy: calls run side by side, so nothing of a call is kept in `self`.

        A frozen dataclass with a field `retrieve: Retriever | None = field(default=None, compare=False, repr=False)`
        returns `replace(self, retrieve=retrieve)`. What is costly to load belongs into a cache of the module.
        """
        ...


@runtime_checkable
class Chooser(Protocol):
    """What an answerer has besides when it leaves the answer to others: `memedit explain` shows whom, and why."""

    def choose(self, messages: Sequence[Message], decision: Decision, model: BaseModel | None) -> list[Choice]:
        """Who would be asked, in turn, each where the one before hands back; [] for the base model at once.

        No model is asked, and none is loaded: `model` is None where it is not known yet.
        """
        ...

    def prompter(self, messages: Sequence[Message], decision: Decision, model: BaseModel) -> Prompter | None:
        """The one answerer that is chosen, if it works by prompting: a chain can send its messages itself."""
        ...


def prompting(answerer: Answerer, messages: Sequence[Message], decision: Decision, model: BaseModel) -> Prompter | None:
    """The answerer whose messages a chain can send itself: this one or the one that it chooses, else None.

    One that does so for some questions only says for which by a method `prompter`, as a Chooser has.
    """
    chosen = getattr(answerer, "prompter", None)
    made = answerer if chosen is None else chosen(messages, decision, model)
    return made if isinstance(made, Prompter) else None


@dataclass(frozen=True, slots=True)
class Choice:
    """An answerer by name, and why it is asked."""

    name: str
    reason: str


def wanted(answerer: Answerer) -> frozenset[str]:
    """The labels of a decision for which this answerer is asked: "single", and those in its `wants`.

    `wants` may hold "multi_hop" (the question takes several hops; no edit is in scope by itself, one may be needed on
    the way) and "none" (no fact is in scope: for answerers that look for something else, such as a patch's condition).
    """
    return frozenset({"single"}) | getattr(answerer, "wants", frozenset())


@cache
def serving() -> Mapping[str, str]:
    """Kind of edit -> the answerer that serves it, for the kinds that are no facts.

    That is what the classes of the registry say in `kinds: ClassVar[frozenset[str]]`. Such an edit is never shown to a
    model as a fact, and `auto` asks its answerer wherever the memory holds one (its condition is its own affair; it
    hands back where that does not hold). Of several such answerers the one with the higher `precedence`
    (ClassVar[int], default 0) is asked first, and the base model it is given is the rest of the way: the facts in
    scope, and the answerers of lower precedence.
    """
    return {kind: name for name in answerers.names() for kind in sorted(getattr(answerers.get(name), "kinds", ()))}


def bound(answerer: Answerer, retrieve: Retriever) -> Answerer:
    """The answerer as one call uses it."""
    return answerer.with_retriever(retrieve) if isinstance(answerer, Retrieving) else answerer


def for_answerer(decision: Decision, answerer: Answerer) -> Decision:
    """The decision as this answerer gets it: without hits of kinds that only others serve."""
    if all(hit.edit.kind == "fact" for hit in decision.hits):
        return decision
    foreign = serving().keys() - getattr(answerer, "kinds", frozenset())
    hits = tuple(hit for hit in decision.hits if hit.edit.kind not in foreign)
    if len(hits) == len(decision.hits):
        return decision
    return replace(decision, hits=hits, label=decision.label if hits else "none")


def note_hand_back(trace: list[dict[str, object]], since: int, name: str, reason: HandBack) -> dict[str, object]:
    """Write into the trace that `name` handed back: what its steps from `since` on used was only looked at."""
    for step in trace[since:]:
        if "edits" in step:
            step["considered"] = step.pop("edits")
    trace.append({"step": "handed back", "answerer": name, "reason": str(reason)})
    return trace[-1]


def begun(pieces: Iterator[str]) -> Iterator[str]:
    """The same pieces, the first fetched at once: a HandBack is raised here, not while the reply is on its way."""
    pieces = iter(pieces)
    first = next(pieces, None)
    return iter(()) if first is None else chain([first], pieces)


async def abegun(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """As `begun`, to be awaited."""
    first = await anext(pieces, None)

    async def whole() -> AsyncIterator[str]:
        if first is not None:
            yield first
            async for piece in pieces:
                yield piece

    return whole()
