"""Editor: a memory, a scope and an answerer over a base model, asked like a chat model.

The scope decides. Out of scope the base model is given the caller's own messages object and parameters, and its stream
is handed through; in scope, or for another label that it wants, the answerer makes the reply, unless it hands back.
Whether the base was left untouched is not inferred from the decision: a witness between answerer and model notes what
the model was given in truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from memedit.answerers import (
    Answerer,
    Choice,
    Chooser,
    HandBack,
    Retriever,
    abegun,
    answerers,
    begun,
    bound,
    for_answerer,
    note_hand_back,
    wanted,
)
from memedit.baking import Standing, Weights
from memedit.conversation import Question, as_messages
from memedit.edits import DEFAULT_NAMESPACE, Answer, Decision, Hit, Message, checked_namespace
from memedit.errors import InputError, NotFoundError
from memedit.models import BaseModel, load_model
from memedit.scope import Scope, load_scope

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from memedit.memory import EditMemory


class Editor:
    """Answers questions with what the memory holds, and leaves all others to the base model.

    `model` is a name for `load_model` ("pocket", "hf:NAME_OR_PATH", "openai:gpt-4o-mini"), a LangChain chat model or a
    BaseModel; it is loaded when it is first asked. `scope` and `answerer` are names or objects. `false_fire` in (0, 1)
    is handed to a scope given by name, and so is a `calibration` file, where that scope takes one. `namespace` is read
    where a call names none (None; an empty name is none).

    A question is a text, or a conversation: a list of {"role", "content"} mappings, (role, content) pairs, LangChain
    messages or Messages (`conversation.as_messages`). A list of Messages reaches the base model as the object it is.

    Raises NotFoundError for an unknown name, InputError for a namespace that cannot be; asking raises ModelError where
    the model cannot be loaded or asked.
    """

    def __init__(
        self,
        memory: EditMemory,
        model: object = "pocket",
        *,
        scope: str | Scope = "two_stage",
        answerer: str | Answerer = "auto",
        namespace: str = DEFAULT_NAMESPACE,
        false_fire: float | None = None,
        calibration: Path | None = None,
    ) -> None:
        self.memory = memory
        self.namespace = checked_namespace(namespace)
        if isinstance(scope, str):
            made = load_scope(scope, false_fire=false_fire, calibration=calibration)
        elif false_fire is not None:
            raise InputError("false_fire goes with a scope given by name; set it on the scope object instead")
        else:
            made = scope
        self.scope = made
        self.answerer: Answerer = answerers.get(answerer)() if isinstance(answerer, str) else answerer
        self._model_spec = model
        self._model_lock = Lock()
        self._weights = Weights(memory)

    def space(self, namespace: str | None) -> str:
        """The namespace of a call: None is the editor's own. Raises InputError for one that cannot be."""
        return self.namespace if namespace is None else checked_namespace(namespace)

    @cached_property
    def _model(self) -> BaseModel:
        return load_model(self._model_spec)

    @property
    def model(self) -> BaseModel:
        """The base model, loaded at first need: deciding needs none."""
        with self._model_lock:
            return self._model

    def decide(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        weights: bool = False,
    ) -> Decision:
        """What the scope says about a question or conversation; no model is asked.

        `weights` leaves out the edits that this editor's own model has in its weights, as `ask` does: without it the
        decision is one for any model.
        """
        memory = self.standing(as_of, namespace, load=False).memory if weights else self.memory
        return self._decide(as_messages(question), as_of, namespace, memory)

    def _decide(
        self, messages: Sequence[Message], as_of: datetime | int | None, namespace: str | None, memory: EditMemory
    ) -> Decision:
        return self.scope.decide(messages, memory, namespace=self.space(namespace), as_of=as_of)

    def standing(
        self, as_of: datetime | int | None = None, namespace: str | None = None, *, load: bool = True
    ) -> Standing:
        """The model with the changes in force there, and the memory less the edits that these carry.

        Without `load` a model that is not loaded yet is told by its name.
        """
        spec = self._model_spec
        unknown = isinstance(spec, str) and not load and "_model" not in self.__dict__
        return self._weights.standing(str(spec) if unknown else lambda: self.model, self.space(namespace), as_of)

    def retriever(
        self, as_of: datetime | int | None = None, namespace: str | None = None, memory: EditMemory | None = None
    ) -> Retriever:
        """What an answerer looks further with: this editor's scope over one namespace, at one moment.

        `memory` is what is left of this editor's for a model with edits in its weights (`standing`).
        """
        return Retriever(scope=self.scope, memory=memory or self.memory, namespace=self.space(namespace), as_of=as_of)

    def assign(
        self,
        messages: Sequence[Message],
        decision: Decision,
        retrieve: Retriever | None = None,
        model: BaseModel | None = None,
    ) -> tuple[Answerer, Decision] | None:
        """Who is asked after this decision, bound to this call, and the decision as it gets it.

        None: nobody, so that the base model answers untouched. Asks no model; `model` is the one that the answerer
        will be given, None where it is not known.
        """
        handed = for_answerer(decision, self.answerer)
        if not handed.in_scope and handed.label not in wanted(self.answerer):
            return None
        answerer = bound(self.answerer, retrieve or self.retriever())
        if isinstance(answerer, Chooser) and not answerer.choose(messages, handed, model):
            return None
        return answerer, handed

    def choices(
        self,
        question: Question,
        decision: Decision,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
    ) -> list[Choice]:
        """Who would answer, in turn, and why; [] for the base model. No model is loaded or asked."""
        messages, model = as_messages(question), self._known_model()
        assigned = self.assign(messages, decision, self.retriever(as_of, namespace), model)
        if assigned is None:
            return []
        answerer, handed = assigned
        if isinstance(answerer, Chooser):
            return answerer.choose(messages, handed, model)
        return [Choice(answerer.name, "it is the answerer that was set")]

    def _known_model(self) -> BaseModel | None:
        """The base model, or what its name tells of it; None where that is too little (a model of the hub)."""
        spec = self._model_spec
        if isinstance(spec, str) and "_model" not in self.__dict__:
            name, _, argument = spec.partition(":")
            if name in ("hf", "hugging_face"):
                return None
            if name == "pocket":
                from memedit.models.pocket import pocket_context

                return _Unloaded(spec, "completion", pocket_context(argument or None))
            return _Unloaded(spec, "chat")
        return self.model

    def stream(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        **parameters: Any,
    ) -> AnswerStream:
        """The reply piece by piece; `.decision` is there at once, `.answer` when the pieces are used up."""
        messages = as_messages(question)
        standing = self.standing(as_of, namespace)
        decision = self._decide(messages, as_of, namespace, standing.memory)
        retrieve = self.retriever(as_of, namespace, standing.memory)
        return AnswerStream(self, messages, decision, parameters, retrieve, standing)

    def ask(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        **parameters: Any,
    ) -> Answer:
        """The whole answer. `parameters` go to the base model as they are."""
        stream = self.stream(question, as_of=as_of, namespace=namespace, **parameters)
        for _ in stream:
            pass
        return stream.answer

    def astream(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        **parameters: Any,
    ) -> AsyncAnswerStream:
        """As `stream`, for `async for`; `.decision` is there from the first piece on, or once the stream is awaited."""
        messages = as_messages(question)

        def begin() -> _Begun:
            standing = self.standing(as_of, namespace)
            decision = self._decide(messages, as_of, namespace, standing.memory)
            return self, messages, decision, parameters, self.retriever(as_of, namespace, standing.memory), standing

        return AsyncAnswerStream(begin)

    async def aask(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        **parameters: Any,
    ) -> Answer:
        """As `ask`."""
        stream = self.astream(question, as_of=as_of, namespace=namespace, **parameters)
        async for _ in stream:
            pass
        return stream.answer

    def wrap(self, llm: Any) -> Runnable[Any, Any]:
        """A LangChain runnable that answers with this editor's memory and, out of scope, as `llm` does."""
        from memedit.integrations.langchain import with_edits

        return with_edits(llm, self)


_Begun = tuple[Editor, Sequence[Message], Decision, dict[str, Any], Retriever, Standing]


class _Reply:
    """What the two streams share: the decision, who is asked, the pieces so far, and the answer made of them."""

    _done = False

    def __init__(
        self,
        editor: Editor,
        messages: Sequence[Message],
        decision: Decision,
        parameters: dict[str, Any],
        retrieve: Retriever,
        standing: Standing,
    ) -> None:
        self.decision = decision
        step = standing.step()
        self.trace: list[dict[str, object]] = [_scope_step(decision), *([] if step is None else [step])]
        self.standing = standing
        self._messages = messages
        self._witness = _Witness(standing.model or editor.model, messages, parameters, self.trace)
        self._retrieve = retrieve
        self._assigned = editor.assign(messages, decision, retrieve, self._witness)
        self._pieces: list[str] = []

    def _arguments(self) -> tuple[Sequence[Message], Decision, BaseModel, EditMemory, list[dict[str, object]]]:
        assert self._assigned is not None
        return self._messages, self._assigned[1], self._witness, self._retrieve.memory, self.trace

    def _handed_back(self, reason: HandBack) -> None:
        assert self._assigned is not None
        note_hand_back(self.trace, 1, self._assigned[0].name, reason)["edits"] = []
        self._assigned = None
        self._witness.begin_again()

    @property
    def answer(self) -> Answer:
        """The answer. Raises InputError before the pieces are used up."""
        if not self._done:
            raise InputError("the answer is not whole yet: use up the stream first")
        hits = used_edits(self.trace[1:], self.decision, self._retrieve)
        return Answer(
            text="".join(self._pieces),
            in_scope=self.decision.in_scope or bool(hits),
            edits=hits,
            base_untouched=self._witness.untouched and not self.standing.carried,
            model=self._witness.name,
            decision=self.decision,
            trace=tuple(self.trace),
        )


class AnswerStream(_Reply):
    """A reply on its way: iterate over its pieces once, then read `.answer`."""

    def __iter__(self) -> Iterator[str]:
        model, pieces = self._witness, None
        if self._assigned is not None:
            try:
                pieces = begun(self._assigned[0].stream(*self._arguments(), **model.parameters))
            except HandBack as reason:
                self._handed_back(reason)
        for piece in model.stream(self._messages, **model.parameters) if pieces is None else pieces:
            self._pieces.append(piece)
            yield piece
        self._done = True


class AsyncAnswerStream(_Reply):
    """A reply on its way: iterate over its pieces once with `async for`, then read `.answer`.

    Nothing is done before the first piece is asked for. Awaiting the stream makes its decision, and gives it back.
    """

    def __init__(self, begin: Callable[[], _Begun]) -> None:
        self._begin: Callable[[], _Begun] | None = begin

    def __await__(self) -> Generator[Any, None, AsyncAnswerStream]:
        return self._decided().__await__()

    async def _decided(self) -> AsyncAnswerStream:
        begin = self._begin
        if begin is not None:
            # In a thread: judging encodes and reads the database, loading reads weights; neither may hold up the loop.
            await asyncio.to_thread(lambda: _Reply.__init__(self, *begin()))
            self._begin = None
        return self

    def __getattr__(self, name: str) -> Any:
        if name in ("decision", "trace", "standing"):
            raise InputError(f"the {name} is not there yet: await the stream, or read it after the first piece")
        raise AttributeError(name)

    async def __aiter__(self) -> AsyncIterator[str]:
        await self._decided()
        model, pieces = self._witness, None
        if self._assigned is not None:
            try:
                pieces = await abegun(self._assigned[0].astream(*self._arguments(), **model.parameters))
            except HandBack as reason:
                self._handed_back(reason)
        async for piece in model.astream(self._messages, **model.parameters) if pieces is None else pieces:
            self._pieces.append(piece)
            yield piece
        self._done = True


class _Unloaded:
    """What is known of a base model by its name alone; it cannot be asked."""

    def __init__(self, name: str, style: Literal["chat", "completion"], context_tokens: int | None = None) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self.style: Literal["chat", "completion"] = style

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        raise InputError(f"{self.name} is not loaded")

    def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        raise InputError(f"{self.name} is not loaded")

    def count_tokens(self, text: str) -> int:
        return -(-len(text) // 4)


class _Witness:
    """The base model as answerers see it; notes each call, and whether it was the caller's own."""

    def __init__(
        self,
        model: BaseModel,
        messages: Sequence[Message],
        parameters: dict[str, Any],
        trace: list[dict[str, object]],
    ) -> None:
        self.model = model
        self.name = model.name
        self.style: Literal["chat", "completion"] = model.style
        self.context_tokens = model.context_tokens
        self.parameters = parameters
        self._messages = messages
        self._trace = trace
        self._calls = 0
        self._own_calls = 0

    def begin_again(self) -> None:
        """Forget the calls so far: the question was handed back, and what the base says now is the reply."""
        self._calls = self._own_calls = 0

    @property
    def untouched(self) -> bool:
        """Whether the model was asked exactly once, and then with the caller's own messages object and parameters."""
        return self._calls == self._own_calls == 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def _note(self, messages: Sequence[Message], parameters: dict[str, Any]) -> None:
        own = messages is self._messages and parameters == self.parameters
        self._calls += 1
        self._own_calls += own
        self._trace.append({"step": "model", "model": self.name, "messages": len(messages), "untouched": own})

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        self._note(messages, parameters)
        return self.model.stream(messages, **parameters)

    def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        self._note(messages, parameters)
        return self.model.astream(messages, **parameters)

    def count_tokens(self, text: str) -> int:
        return self.model.count_tokens(text)


def used_edits(steps: Sequence[Mapping[str, object]], decision: Decision, retrieve: Retriever) -> tuple[Hit, ...]:
    """The edits that an answerer's steps name; where no step names any, all that are in scope."""
    if not any("edits" in step for step in steps):
        return decision.hits
    used = {id_: None for step in steps for id_ in _listed(step.get("edits"))}
    known = {**retrieve.found, **{hit.edit.id: hit for hit in decision.hits}}
    ranked = [hit for hit in decision.hits if hit.edit.id in used]
    return (*ranked, *(hit for id_ in used if (hit := known.get(id_) or _read(id_, retrieve)) and hit not in ranked))


def _read(id_: str, retrieve: Retriever) -> Hit | None:
    """An edit that an answerer found by other ways than the scope: by its name or its pattern, which leave no doubt."""
    try:
        return Hit(edit=retrieve.memory.get(id_, namespace=retrieve.namespace), score=1.0, probability=1.0)
    except NotFoundError:  # erased while the answer was on its way
        return None


def summary(decision: Decision) -> dict[str, object]:
    """A decision as JSON-ready values: what traces, events and agent states carry."""
    return {
        "query": decision.query,
        "in_scope": decision.in_scope,
        "label": decision.label,
        "scope": decision.scope,
        "threshold": decision.threshold,
        "edits": listed(decision.hits),
        "notes": list(decision.notes),
    }


def listed(hits: Sequence[Hit]) -> list[dict[str, object]]:
    """Edits as JSON-ready values, each with how it was found."""
    return [
        {"id": hit.edit.id, "statement": hit.edit.statement, "probability": hit.probability, "score": hit.score}
        for hit in hits
    ]


def _scope_step(decision: Decision) -> dict[str, object]:
    return {"step": "scope", **{key: value for key, value in summary(decision).items() if key != "edits"}}


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
