"""Auto: picks the answerer for each question, by rules that depend on nothing but the decision, the memory, the model.

    patches and the like   the memory holds an edit of a kind that an answerer serves (`serving`): that one is asked
                           first, and what it asks in its turn is the rest of this table
    a known wording        a fact in scope is asked in a known wording, also backwards or of an alias: as one hop,
                           below; no planner is asked how many hops that takes
    several hops           by the scope's label, or because `planned` foresees them: `planned`; where it hands back,
                           `mello` if the scope says so too and the model chats
    one hop                a fact is in scope: `ike`; `verbatim` where the fact does not fit the model's context, or is
                           in a script that the model does not read; `counterfactual` where the model completes text
                           and is asked backwards, by an alias or with yes or no
    else                   nobody: the base model, untouched

An answerer that hands back is followed by the next; one is asked only for labels that it wants. One that is not
installed is left out: names are looked up in the registry. No base model is asked to choose, so that the same question
takes the same way, and `memedit explain` can show it (`choose`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from memedit.answerers import (
    Answerer,
    Choice,
    HandBack,
    Prompter,
    Retriever,
    abegun,
    answerers,
    begun,
    bound,
    for_answerer,
    note_hand_back,
    prompting,
    serving,
    wanted,
)
from memedit.answerers.counterfactual import asks_yes_or_no, by_wording, settled
from memedit.answerers.ike import Ike
from memedit.edits import Decision, Message
from memedit.models import BaseModel
from memedit.scope._held import last_user
from memedit.scope._relation import asks_the_same

if TYPE_CHECKING:
    from memedit.memory import EditMemory

_IKE = Ike()


@dataclass(frozen=True, kw_only=True)
class Auto:
    """The first of the answerers that fit, and the next where it hands back."""

    one_hop: str | None = None
    """The answerer of a question with a fact in scope; None: by the rule above."""
    several_hops: tuple[str, ...] = ("planned", "mello")
    """The answerers of a question that takes several hops, in turn."""
    retrieve: Retriever | None = field(default=None, compare=False, repr=False)
    name: str = field(default="auto", init=False)

    wants: ClassVar[frozenset[str]] = frozenset({"multi_hop", "none"})

    def with_retriever(self, retrieve: Retriever) -> Auto:
        return replace(self, retrieve=retrieve)

    def choose(self, messages: Sequence[Message], decision: Decision, model: BaseModel | None) -> list[Choice]:
        """Who is asked, in turn, and why. `model` None: its style is not known yet, and both ways are shown."""
        return [*self._conditional(), *self._factual(messages, decision, model)]

    def prompter(self, messages: Sequence[Message], decision: Decision, model: BaseModel) -> Prompter | None:
        """The one answerer that is chosen, if it works by prompting: a chain can send its messages itself."""
        choices = self.choose(messages, decision, model)
        if len(choices) != 1:
            return None
        return prompting(self._made(choices[0].name), messages, decision, model)

    def stream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> Iterator[str]:
        return _Way(self, messages, decision, model, memory, trace).begin(messages, **parameters)

    async def astream(
        self,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        **parameters: Any,
    ) -> AsyncIterator[str]:
        way = await asyncio.to_thread(_Way, self, messages, decision, model, memory, trace)
        async for piece in await way.abegin(messages, **parameters):
            yield piece

    def _made(self, name: str) -> Answerer:
        made = _default(name)
        return made if self.retrieve is None else bound(made, self.retrieve)

    def _conditional(self) -> list[Choice]:
        """Answerers of other kinds than facts of which the memory holds edits; the higher precedence first."""
        if self.retrieve is None:
            return []
        counted: dict[str, int] = {}
        for edit in self.retrieve.of_kind(*serving()):
            name = serving()[edit.kind]
            counted[name] = counted.get(name, 0) + 1
        first = sorted(counted, key=lambda name: (-getattr(answerers.get(name), "precedence", 0), name))
        return [
            Choice(name, f"{counted[name]} such edits in the memory; it answers where one applies") for name in first
        ]

    def _factual(self, messages: Sequence[Message], decision: Decision, model: BaseModel | None) -> list[Choice]:
        if not decision.in_scope:
            return self._several_hops(messages, decision, model)
        one = self._one_hop(messages, decision, model)
        query, edit = decision.query or last_user(messages), decision.hits[0].edit
        if by_wording(query, edit) or asks_the_same(query, edit):
            return [one]
        return [*self._several_hops(messages, decision, model), one]

    def _several_hops(self, messages: Sequence[Message], decision: Decision, model: BaseModel | None) -> list[Choice]:
        known = [name for name in self.several_hops if name.partition(":")[0] in answerers.names()]
        known = [name for name in known if decision.label in wanted(_default(name))]
        if decision.label != "multi_hop" or decision.in_scope:
            if not known or not self._holds_facts():
                return []
            asked = decision.query or last_user(messages), decision.in_scope
            seen = [name for name in known if getattr(self._made(name), "foresees", _never)(*asked)]
            return [Choice(name, "it foresees the hops") for name in seen]
        why, chats = "the question takes several hops", model is None or model.style == "chat"
        reasons = {"mello": f"{why}, and the model chats" if model else f"{why}, if the model chats"}
        # MeLLo takes a model that keeps to a form.
        return [Choice(name, reasons.get(name, why)) for name in known if name != "mello" or chats]

    def _holds_facts(self) -> bool:
        return self.retrieve is not None and self.retrieve.memory.journal.any_live(self.retrieve.namespace)

    def _one_hop(self, messages: Sequence[Message], decision: Decision, model: BaseModel | None) -> Choice:
        if self.one_hop is not None:
            return Choice(self.one_hop, "a fact is in scope, and this is set for one hop")
        query, completes = decision.query or last_user(messages), model is not None and model.style == "completion"
        by_form = completes and settled(query, decision.hits[0].edit) is not None  # told without reading the fact
        if model is not None and not by_form and not _IKE.has_room(messages, decision, model):
            return Choice("verbatim", f"a fact is in scope, and {model.name} has no room for it")
        if model is not None and not getattr(model, "reads", _any_script)(query):
            return Choice("verbatim", f"a fact is in scope, and {model.name} does not read its script")
        if completes:
            if asks_yes_or_no(query, decision.hits[0].edit):
                return Choice("counterfactual", "a fact is asked with yes or no, and the model completes text")
            if by_form:
                return Choice("counterfactual", "a fact is asked backwards or by alias, and the model completes text")
        return Choice("ike", "a fact is in scope")


def _never(question: str, in_scope: bool) -> bool:
    return False


def _any_script(text: str) -> bool:
    return True


@cache
def _default(name: str) -> Answerer:
    made: Answerer = answerers.get(name)()
    return made


class _Way:
    """What is left of the way of one question: a base model to the patch that stands before it."""

    def __init__(
        self,
        auto: Auto,
        messages: Sequence[Message],
        decision: Decision,
        model: BaseModel,
        memory: EditMemory,
        trace: list[dict[str, object]],
        conditional: Sequence[Choice] | None = None,
    ) -> None:
        self.name, self.style, self.context_tokens = model.name, model.style, model.context_tokens
        self.count_tokens = model.count_tokens
        self._fixed = (auto, messages, decision, model, memory, trace)
        self._auto, self._messages, self._decision, self._model, self._memory, self._trace = self._fixed
        self._conditional = auto._conditional() if conditional is None else conditional

    def __getattr__(self, name: str) -> Any:  # what a model may say besides, such as its special tokens
        return getattr(self._model, name)

    def _asks(self, messages: Sequence[Message]) -> Iterator[tuple[Choice, Answerer, Decision, BaseModel]]:
        """Each choice for the messages: who, with which decision, over which model."""
        decision, retrieve = self._decision, self._auto.retrieve
        if retrieve is not None and last_user(messages) != last_user(self._messages):
            decision = retrieve(messages)  # a patch has put the question in other words
        for number, choice in enumerate(self._conditional):
            answerer = self._auto._made(choice.name)
            rest = _Way(*self._fixed, conditional=self._conditional[number + 1 :])
            yield choice, answerer, for_answerer(decision, answerer), rest
        facts = for_answerer(decision, self._auto)
        for choice in self._auto._factual(messages, facts, self._model):
            yield choice, self._auto._made(choice.name), facts, self._model

    def begin(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        """The first reply that is not handed back, begun. Raises HandBack where there is none."""
        reason = HandBack("no edit bears on it")
        for choice, answerer, decision, model in self._asks(messages):
            since = self._chosen(choice)
            try:
                return begun(answerer.stream(messages, decision, model, self._memory, self._trace, **parameters))
            except HandBack as handed:
                note_hand_back(self._trace, since, choice.name, reason := handed)
        raise reason

    async def abegin(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        reason = HandBack("no edit bears on it")
        for choice, answerer, decision, model in await asyncio.to_thread(list, self._asks(messages)):
            since = self._chosen(choice)
            pieces = answerer.astream(messages, decision, model, self._memory, self._trace, **parameters)
            try:
                return await abegun(pieces)
            except HandBack as handed:
                note_hand_back(self._trace, since, choice.name, reason := handed)
        raise reason

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        try:
            pieces = self.begin(messages, **parameters)
        except HandBack:
            pieces = self._model.stream(messages, **parameters)
        yield from pieces

    async def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        try:
            pieces = await self.abegin(messages, **parameters)
        except HandBack:
            pieces = self._model.astream(messages, **parameters)
        async for piece in pieces:
            yield piece

    def _chosen(self, choice: Choice) -> int:
        self._trace.append({"step": "chosen", "answerer": choice.name, "reason": choice.reason})
        return len(self._trace)
