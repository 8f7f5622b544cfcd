"""Editor: a memory, a scope and an answerer over a base model, asked like a chat model.

The scope decides. Out of scope the base model is given the caller's own messages object and parameters, and its stream
is handed through; in scope the answerer makes the reply. Whether the base was left untouched is not inferred from the
decision: a witness between answerer and model notes what the model was given in truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from memedit.answerers import Answerer, answerers
from memedit.edits import DEFAULT_NAMESPACE, Answer, Decision, Message
from memedit.errors import InputError
from memedit.models import BaseModel, load_model
from memedit.scope import Scope, load_scope

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from memedit.memory import EditMemory

Question = str | Sequence[Message]


class Editor:
    """Answers questions with what the memory holds, and leaves all others to the base model.

    `model` is a name for `load_model` ("pocket", "hf:NAME_OR_PATH", "openai:gpt-4o-mini"), a LangChain chat model or a
    BaseModel; it is loaded when it is first asked. `scope` and `answerer` are names or objects. `false_fire` in (0, 1)
    is handed to a scope given by name, and so is a `calibration` file, where that scope takes one. `namespace` is read
    where a call names none.

    Raises NotFoundError for an unknown name; asking raises ModelError where the model cannot be loaded or asked.
    """

    def __init__(
        self,
        memory: EditMemory,
        model: object = "pocket",
        *,
        scope: str | Scope = "two_stage",
        answerer: str | Answerer = "ike",
        namespace: str = DEFAULT_NAMESPACE,
        false_fire: float | None = None,
        calibration: Path | None = None,
    ) -> None:
        self.memory = memory
        self.namespace = namespace
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

    @cached_property
    def _model(self) -> BaseModel:
        return load_model(self._model_spec)

    @property
    def model(self) -> BaseModel:
        """The base model, loaded at first need: deciding needs none."""
        with self._model_lock:
            return self._model

    def decide(
        self, question: Question, *, as_of: datetime | int | None = None, namespace: str | None = None
    ) -> Decision:
        """What the scope says about a question or conversation; no model is asked."""
        return self._decide(_as_messages(question), as_of, namespace)

    def _decide(self, messages: Sequence[Message], as_of: datetime | int | None, namespace: str | None) -> Decision:
        return self.scope.decide(messages, self.memory, namespace=namespace or self.namespace, as_of=as_of)

    def stream(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        **parameters: Any,
    ) -> AnswerStream:
        """The reply piece by piece; `.decision` is there at once, `.answer` when the pieces are used up."""
        messages = _as_messages(question)
        decision = self._decide(messages, as_of, namespace)
        return AnswerStream(self, messages, decision, parameters)

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

    async def astream(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        **parameters: Any,
    ) -> AsyncAnswerStream:
        """As `stream`, to be awaited and then iterated with `async for`."""
        messages = _as_messages(question)
        # In a thread: judging encodes and reads the database, loading reads weights; neither may hold up the loop.
        decision = await asyncio.to_thread(self._decide, messages, as_of, namespace)
        await asyncio.to_thread(lambda: self.model)
        return AsyncAnswerStream(self, messages, decision, parameters)

    async def aask(
        self,
        question: Question,
        *,
        as_of: datetime | int | None = None,
        namespace: str | None = None,
        **parameters: Any,
    ) -> Answer:
        """As `ask`."""
        stream = await self.astream(question, as_of=as_of, namespace=namespace, **parameters)
        async for _ in stream:
            pass
        return stream.answer

    def wrap(self, llm: Any) -> Runnable[Any, Any]:
        """A LangChain runnable that answers with this editor's memory and, out of scope, as `llm` does."""
        from memedit.integrations.langchain import with_edits

        return with_edits(llm, self)


class _Reply:
    """What the two streams share: the decision, the pieces so far, and the answer made of them."""

    def __init__(
        self, editor: Editor, messages: Sequence[Message], decision: Decision, parameters: dict[str, Any]
    ) -> None:
        self.decision = decision
        self.trace: list[dict[str, object]] = [_scope_step(decision)]
        self._witness = _Witness(editor.model, messages, parameters, self.trace)
        self._arguments = (messages, decision, self._witness, editor.memory, self.trace)
        self._editor = editor
        self._pieces: list[str] = []
        self._done = False

    @property
    def answer(self) -> Answer:
        """The answer. Raises InputError before the pieces are used up."""
        if not self._done:
            raise InputError("the answer is not whole yet: use up the stream first")
        used = {id_ for step in self.trace for id_ in _listed(step.get("edits"))}
        named = any("edits" in step for step in self.trace[1:])
        return Answer(
            text="".join(self._pieces),
            in_scope=self.decision.in_scope,
            # A step of the trace may name the edits that it used; where none does, all that are in scope count.
            edits=tuple(hit for hit in self.decision.hits if not named or hit.edit.id in used),
            base_untouched=self._witness.untouched,
            model=self._witness.name,
            decision=self.decision,
            trace=tuple(self.trace),
        )


class AnswerStream(_Reply):
    """A reply on its way: iterate over its pieces once, then read `.answer`."""

    def __iter__(self) -> Iterator[str]:
        messages, _, model, _, _ = self._arguments
        if self.decision.in_scope:
            pieces = self._editor.answerer.stream(*self._arguments, **model.parameters)
        else:
            pieces = model.stream(messages, **model.parameters)
        for piece in pieces:
            self._pieces.append(piece)
            yield piece
        self._done = True


class AsyncAnswerStream(_Reply):
    """A reply on its way: iterate over its pieces once with `async for`, then read `.answer`."""

    async def __aiter__(self) -> AsyncIterator[str]:
        messages, _, model, _, _ = self._arguments
        if self.decision.in_scope:
            pieces = self._editor.answerer.astream(*self._arguments, **model.parameters)
        else:
            pieces = model.astream(messages, **model.parameters)
        async for piece in pieces:
            self._pieces.append(piece)
            yield piece
        self._done = True


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


def summary(decision: Decision) -> dict[str, object]:
    """A decision as JSON-ready values: what traces, events and agent states carry."""
    return {
        "query": decision.query,
        "in_scope": decision.in_scope,
        "label": decision.label,
        "scope": decision.scope,
        "threshold": decision.threshold,
        "edits": [
            {"id": hit.edit.id, "statement": hit.edit.statement, "probability": hit.probability, "score": hit.score}
            for hit in decision.hits
        ],
        "notes": list(decision.notes),
    }


def _scope_step(decision: Decision) -> dict[str, object]:
    return {"step": "scope", **{key: value for key, value in summary(decision).items() if key != "edits"}}


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _as_messages(question: Question) -> Sequence[Message]:
    """The caller's own list as it is; a string becomes a list, once."""
    if isinstance(question, str):
        return [Message("user", question)]
    if not all(isinstance(message, Message) for message in question):
        raise InputError("a conversation is a sequence of memedit.Message; a single question may be a string")
    return question
