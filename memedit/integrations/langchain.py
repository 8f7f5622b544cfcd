"""memedit inside LangChain: a runnable, a chat model, an agent middleware, a retriever and tools.

All five ask the same editor, and out of scope, or where an answerer hands back, all hand the inner model the very input
they were given. In scope an answerer that works by prompting changes the messages and the inner model answers them, so
that its streaming, tools and structured output are its own. Any other answerer makes the reply itself, and what comes
out is still of the type that the caller is due:

    inside is                         the answerer's reply
    a chat model, or a completing     comes in its place: a message; a text
    a sequence over one of them       comes in that model's place, and the steps behind it run on it
    whatever wants a form (a schema,  is handed to the model as a known answer, in a system message, and the model puts
    a tool that must be called, a     it into the form; it costs one call more
    parser of more than text), or a
    runnable of which no one model
    can be told

A parser that stands behind `with_edits` is not seen from there, so one of more than text belongs inside:
`with_edits(llm | JsonOutputParser(), memory)`.

Callbacks and tracing see each decision as a custom event, "memedit_decision", and once the reply is through, where an
answerer was asked, a second one, "memedit_answer": who was asked, the edits that were used and the steps of the answer,
also where it was handed back. A reply that edits have changed carries the same in `response_metadata["memedit"]`, of a
streamed one on a single chunk. The namespace of a call is `config["configurable"]["memedit_namespace"]`, else the
editor's.

    chain = prompt | with_edits(llm, memory) | StrOutputParser()
    agent = create_agent(llm, tools, middleware=[MemEditMiddleware(memory)])
"""

# ruff: noqa: A002  (`input` is what LangChain calls the first argument of a runnable)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, cast
from uuid import uuid4

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import AgentState, ModelRequest, ModelResponse, OmitFromInput
from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManager,
    CallbackManagerForLLMRun,
    CallbackManagerForRetrieverRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.documents import Document
from langchain_core.language_models import LLM, BaseChatModel, BaseLLM
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)
from langchain_core.output_parsers import BaseLLMOutputParser, StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, GenerationChunk
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
    ensure_config,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.runtime import Runtime
from pydantic import ConfigDict, Field, model_validator

from memedit.answerers import (
    Answerer,
    HandBack,
    Prompter,
    Retriever,
    abegun,
    begun,
    note_hand_back,
    prompting,
    serving,
    wanted,
)
from memedit.answerers.ike import as_line
from memedit.editor import Editor, listed, summary, used_edits
from memedit.edits import Decision, Edit, Hit, Message, checked_namespace
from memedit.errors import InputError, NotFoundError
from memedit.models import BaseModel, load_model, models
from memedit.models._asynchronous import in_thread
from memedit.models.hugging_face import render_completion
from memedit.models.langchain import Langchain, chat_model, from_langchain, model_name, to_langchain
from memedit.prompts import prompt

if TYPE_CHECKING:
    from memedit.memory import EditMemory

EVENT = "memedit_decision"
ANSWER = "memedit_answer"
NAMESPACE = "memedit_namespace"
FORMED = "memedit_formed"


def with_edits(runnable: Any, memory: EditMemory | Editor, **options: Any) -> EditedRunnable:
    """A runnable that answers with what the memory holds and is otherwise `runnable` itself.

    `runnable` is a chat model, with tools bound or not, any runnable over one that takes a string, messages or a prompt
    value, or a name for `load_model`. `memory` is an EditMemory, with the options of Editor (scope, answerer,
    false_fire, namespace), or an Editor. What is returned is of the runnable's own type, whichever answerer replies
    (see the top of this file): with structured output, an object of the schema.
    """
    inner = as_runnable(runnable)
    return EditedRunnable(inner, _editor(memory, inner, options))


def as_runnable(model: Any) -> Runnable[Any, Any]:
    """`model` if it is a runnable; a chat model for a BaseModel, or for a name that `load_model` knows."""
    if isinstance(model, Runnable):
        return model
    made = load_model(model)
    return made.runnable if isinstance(made, Langchain) else BaseModelChat(base=made)


def _editor(memory: EditMemory | Editor, inner: object, options: dict[str, Any]) -> Editor:
    if isinstance(memory, Editor):
        if options:
            raise InputError(f"an Editor has its {', '.join(options)} already; set them there, or give the memory")
        return memory
    return Editor(memory, inner, **options)


# ------------------------------------------------------------------------------------------------ the way of a question


def _plain(messages: Sequence[BaseMessage]) -> list[Message]:
    return [from_langchain(message) for message in messages]


def _asked(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """The conversation up to the last human message: what tools have said since is no question."""
    last = next((at for at in reversed(range(len(messages))) if isinstance(messages[at], HumanMessage)), -1)
    return messages[: last + 1]


def _namespace(config: RunnableConfig | None) -> str | None:
    """The namespace that a call's config names; None where it names none. Raises InputError for one that cannot be."""
    named = (config or {}).get("configurable", {}).get(NAMESPACE)
    if named is not None and not isinstance(named, str):
        raise InputError(f"{NAMESPACE} in the config must be a string, not {type(named).__name__}")
    return None if named is None else checked_namespace(named)


def _first(*named: str | None) -> str | None:
    """The first namespace that is named: an empty name is one, to be refused, and not the next."""
    return next((one for one in named if one is not None), None)


def _prepared(
    editor: Editor, prompter: Prompter, hits: Sequence[Hit], messages: Sequence[BaseMessage], model: BaseModel
) -> list[BaseMessage]:
    """The messages for the inner model: the caller's own objects, and system messages that bring the facts.

    The caller's system message is joined to, not rewritten: where its content is a list of blocks, a block is added.
    Raises HandBack where the prompter finds nothing to bring.
    """
    own = messages[0] if messages and isinstance(messages[0], SystemMessage) else None
    rest = list(messages[1:] if own is not None else messages)
    plain = _plain(rest)
    theirs = {id(message): original for message, original in zip(plain, rest, strict=True)}
    prepared = prompter.prepare(plain, hits, model, editor.memory)
    front = 0  # what is brought before the first turn is joined to the caller's own system message
    while front < len(prepared) and prepared[front].role == "system" and id(prepared[front]) not in theirs:
        front += 1
    brought = "\n\n".join(message.content for message in prepared[:front])
    turns = [theirs.get(id(message)) or to_langchain(message) for message in prepared[front:]]
    return [_joined(own, brought), *turns] if brought else [*([own] if own else []), *turns]


def _joined(own: SystemMessage | None, text: str) -> SystemMessage:
    if own is None:
        return SystemMessage(text)
    if isinstance(own.content, str):
        return own.model_copy(update={"content": f"{own.content}\n\n{text}"})
    return own.model_copy(update={"content": [*own.content, {"type": "text", "text": f"\n\n{text}"}]})


@dataclass(frozen=True)
class _Account:
    """What an answerer did about a question: to be read once the reply is through."""

    answerer: str
    decision: Decision
    retrieve: Retriever
    trace: list[dict[str, object]] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        used = used_edits(self.trace, self.decision, self.retrieve)
        return {
            **summary(self.decision),
            "in_scope": self.decision.in_scope or bool(used),
            "answerer": self.answerer,
            "edits": listed(used),
            "steps": list(self.trace),
        }

    def handed_back(self, reason: HandBack) -> _Way:
        note_hand_back(self.trace, 0, self.answerer, reason)["edits"] = []
        return _Way(account=self)


@dataclass(frozen=True)
class _Way:
    """How a call goes on: as it came (`messages` None), with other messages, or by an answerer in the model's place.

    `account` is None where no answerer was asked.
    """

    messages: list[BaseMessage] | None = None
    replies: _Replies | None = None
    account: _Account | None = None

    def told(self) -> dict[str, object] | None:
        """What was done, to be told once the reply is through; None where no answerer was asked."""
        return None if self.account is None else self.account.summary()

    def marked(self, output: Any) -> Any:
        """The inner model's message, as a copy that says what was done; all else as it is.

        That is what is no message, what comes as if memedit were not there, and an answerer's, which says it itself.
        """
        if self.messages is None or self.replies is not None or not isinstance(output, BaseMessage):
            return output
        return output.model_copy(update={"response_metadata": {**output.response_metadata, "memedit": self.told()}})


def _way(
    editor: Editor, messages: list[BaseMessage], decision: Decision, model: BaseModel, namespace: str | None
) -> tuple[_Way, tuple[Answerer, Decision] | None]:
    """The way as far as it is known without asking a model, and the answerer to begin with where that is left."""
    retrieve = editor.retriever(namespace=namespace)
    plain = _plain(_asked(messages))
    assigned = editor.assign(plain, decision, retrieve, model)
    if assigned is None:
        return _Way(), None
    answerer, handed = assigned
    prompter = prompting(answerer, plain, handed, model)
    account = _Account(getattr(prompter, "name", answerer.name), decision, retrieve)
    if prompter is None:
        return _Way(account=account), assigned
    try:
        prepared = _prepared(editor, prompter, handed.hits, messages, model)
    except HandBack as reason:
        return account.handed_back(reason), None
    used = [hit.edit.id for hit in handed.hits]
    account.trace.append({"step": "prompt", "answerer": account.answerer, "edits": used})
    return _Way(messages=prepared, account=account), None


def _begin(
    editor: Editor,
    messages: list[BaseMessage],
    decision: Decision,
    model: BaseModel,
    namespace: str | None,
    parameters: dict[str, Any],
    *,
    formed: bool = False,
) -> _Way:
    """The way of a call, its answerer's reply begun: whether it hands back is known before anything is traced.

    `formed`: the reply must have a form that the model alone can give, so the answerer's is handed to the model.
    """
    way, assigned = _way(editor, messages, decision, model, namespace)
    if assigned is None:
        return way
    account, plain = cast("_Account", way.account), _plain(messages)
    given = _unformed(parameters) if formed else parameters
    try:
        pieces = begun(assigned[0].stream(plain, assigned[1], model, editor.memory, account.trace, **given))
    except HandBack as reason:
        return account.handed_back(reason)
    if formed:
        return _informed(messages, "".join(pieces), account)
    return _Way(messages=messages, replies=_Replies(model, account, pieces=pieces), account=account)


async def _abegin(
    editor: Editor,
    messages: list[BaseMessage],
    decision: Decision,
    model: BaseModel,
    namespace: str | None,
    parameters: dict[str, Any],
    *,
    formed: bool = False,
) -> _Way:
    way, assigned = await asyncio.to_thread(_way, editor, messages, decision, model, namespace)
    if assigned is None:
        return way
    account, plain = cast("_Account", way.account), _plain(messages)
    given = _unformed(parameters) if formed else parameters
    try:
        pieces = await abegun(assigned[0].astream(plain, assigned[1], model, editor.memory, account.trace, **given))
    except HandBack as reason:
        return account.handed_back(reason)
    if formed:
        return _informed(messages, "".join([piece async for piece in pieces]), account)
    return _Way(messages=messages, replies=_Replies(model, account, apieces=pieces), account=account)


def _informed(messages: Sequence[BaseMessage], reply: str, account: _Account) -> _Way:
    """The way with an answerer's reply as a known answer before the model: data, on one line."""
    if not reply.strip():
        return account.handed_back(HandBack("the reply is empty"))
    told = prompt("known_answer").substitute(answer=as_line(reply))
    own = messages[0] if messages and isinstance(messages[0], SystemMessage) else None
    return _Way(messages=[_joined(own, told), *(messages[1:] if own is not None else messages)], account=account)


# --------------------------------------------------------------------------------------- where the model is in a chain


_FORMS = ("response_format", "ls_structured_output_format", FORMED)
_OF_FORM = (*_FORMS, "tools", "tool_choice", "parallel_tool_calls", "strict")


def _formed(parameters: Mapping[str, Any]) -> bool:
    """Whether a call's parameters want a form that only the model itself can give: a schema, a tool that is forced."""
    choice = parameters.get("tool_choice")
    if isinstance(choice, dict):
        choice = choice.get("type")
    return choice not in (None, False, "auto", "none") or any(parameters.get(name) for name in _FORMS)


def _unformed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters for what an answerer asks on the way: in plain words."""
    return {name: value for name, value in parameters.items() if name not in _OF_FORM}


@dataclass(frozen=True)
class _Seat:
    """Where the model is in a runnable: its step, with what is bound to it, and the steps behind it."""

    step: Runnable[Any, Any]
    behind: tuple[Runnable[Any, Any], ...] = ()
    first: bool = True
    """Whether the runnable's input is the model's own."""
    formed: bool = False
    """Whether the model's reply has a form, or is read as one."""

    @property
    def model(self) -> BaseModel:
        """The model as answerers ask it: in plain words, whatever form is bound to it."""
        return _as_base_model(chat_model(self.step) if self.formed else self.step)

    @property
    def completes(self) -> bool:
        return isinstance(chat_model(self.step), BaseLLM)

    def taken(self, replies: _Replies) -> Runnable[Any, Any]:
        """The runnable from the model on, with these replies in the model's place."""
        stand_in = _AnswererText(base=replies) if self.completes else _AnswererChat(base=replies)
        return RunnableSequence(stand_in, *self.behind) if self.behind else stand_in


_AROUND: tuple[tuple[type, str], ...] = (
    (RunnableBindingBase, "bound"),
    (DynamicRunnable, "default"),
    (RunnableWithFallbacks, "runnable"),
)
"""What may lie around a model, or around a sequence with one in it, and where it keeps that."""


def _seat(runnable: object) -> _Seat | None:
    """Where the one model of a runnable is; None where it has none that can be found, or several."""
    if isinstance(runnable, BaseChatModel | BaseLLM):
        return _Seat(runnable)
    if isinstance(runnable, RunnableSequence):
        found = [(at, seat) for at, step in enumerate(runnable.steps) if (seat := _seat(step)) is not None]
        if len(found) != 1:
            return None
        at, seat = found[0]
        behind = (*seat.behind, *runnable.steps[at + 1 :])
        return _Seat(seat.step, behind, seat.first and at == 0, seat.formed or any(map(_reads_a_form, behind)))
    if isinstance(runnable, RunnableParallel):  # structured output with the raw reply beside it
        seats = [seat for step in runnable.steps__.values() if (seat := _seat(step)) is not None]
        return replace(seats[0], formed=True) if len(seats) == 1 else None
    for kind, name in _AROUND:
        if isinstance(runnable, kind) and (seat := _seat(getattr(runnable, name))) is not None:
            formed = seat.formed or _formed(getattr(runnable, "kwargs", {}))
            step = seat.step if seat.behind else cast("Runnable[Any, Any]", runnable)
            return replace(seat, step=step, formed=formed)
    return None


def _reads_a_form(step: object) -> bool:
    return isinstance(step, BaseLLMOutputParser) and not isinstance(step, StrOutputParser)


class _Replies:
    """A reply that has begun, as a base model that gives it once; `account` is whole when it is through."""

    def __init__(
        self,
        model: BaseModel,
        account: _Account,
        *,
        pieces: Iterator[str] | None = None,
        apieces: AsyncIterator[str] | None = None,
    ) -> None:
        self.account = account
        self.name, self.style, self.context_tokens = model.name, model.style, model.context_tokens
        self.count_tokens = model.count_tokens
        self._pieces, self._apieces = pieces, apieces

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        assert self._pieces is not None
        return self._pieces

    async def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        if self._apieces is None:  # begun by a call that does not wait, such as an agent's synchronous hook
            async for piece in in_thread(self.stream(messages)):
                yield piece
            return
        async for piece in self._apieces:
            yield piece


class BaseModelChat(BaseChatModel):
    """A memedit base model (the pocket model, a Hugging Face one) as a LangChain chat model."""

    base: Any
    """The BaseModel."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def model_name(self) -> str:
        return str(self.base.name)

    @property
    def _llm_type(self) -> str:
        return "memedit-base-model"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self.base.stream(_plain(messages), **_given(stop, kwargs)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for piece in self.base.astream(_plain(messages), **_given(stop, kwargs)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "".join(self.base.stream(_plain(messages), **_given(stop, kwargs)))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "".join([piece async for piece in self.base.astream(_plain(messages), **_given(stop, kwargs))])
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


class _AnswererChat(BaseModelChat):
    """An answerer in a chat model's place: it answers itself, so tools are not offered to it. It marks what it says."""

    cache: Any = Field(default=False, exclude=True)  # the memory changes

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from super()._stream(messages, stop, run_manager, **kwargs)
        mark = self.base.account.summary()
        yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata={"memedit": mark}))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
            yield chunk
        mark = await asyncio.to_thread(self.base.account.summary)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata={"memedit": mark}))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "".join(self.base.stream([]))
        message = AIMessage(text, response_metadata={"memedit": self.base.account.summary()})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "".join([piece async for piece in self.base.astream([])])
        mark = await asyncio.to_thread(self.base.account.summary)
        message = AIMessage(text, response_metadata={"memedit": mark})
        return ChatResult(generations=[ChatGeneration(message=message)])


class _AnswererText(LLM):
    """An answerer in the place of a model that completes text."""

    base: Any
    cache: Any = Field(default=False, exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _llm_type(self) -> str:
        return "memedit-answerer"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return "".join(self.base.stream([]))

    async def _acall(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return "".join([piece async for piece in self.base.astream([])])

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        for piece in self.base.stream([]):
            yield GenerationChunk(text=piece)
        yield GenerationChunk(text="")  # LangChain takes no chunk at all for a failure

    async def _astream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        async for piece in self.base.astream([]):
            yield GenerationChunk(text=piece)
        yield GenerationChunk(text="")


def _given(stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "stop": stop} if stop else kwargs


# ------------------------------------------------------------------------------------------------------- any runnable


class EditedRunnable(Runnable[Any, Any]):
    """What `with_edits` returns: the inner runnable behind the editor's gate."""

    def __init__(self, inner: Runnable[Any, Any], editor: Editor) -> None:
        self.inner = inner
        self.editor = editor
        self.name = "with_edits"
        self._seat = _seat(inner)
        self._model = self._seat.model if self._seat is not None else _as_base_model(inner)

    @property
    def InputType(self) -> type[Any]:  # noqa: N802 (LangChain's name)
        return self.inner.InputType

    @property
    def OutputType(self) -> type[Any]:  # noqa: N802
        return self.inner.OutputType

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> EditedRunnable:
        """The same with tools bound to the inner model."""
        return EditedRunnable(cast("BaseChatModel", self.inner).bind_tools(tools, **kwargs), self.editor)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> EditedRunnable:
        """The same over the inner model with structured output.

        Where an answerer makes the reply itself, its reply is handed to the model as a known answer, so that an object
        of the schema comes out there too.
        """
        return EditedRunnable(cast("BaseChatModel", self.inner).with_structured_output(schema, **kwargs), self.editor)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        yield from self._transform_stream_with_config(iter([input]), self._streamed, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        async def one() -> AsyncIterator[Any]:
            yield input

        async for piece in self._atransform_stream_with_config(one(), self._astreamed, config, **kwargs):
            yield piece

    # LangChain's helpers above fill in `config`, already the child's: what runs under it is traced below this runnable.

    def _invoke(self, input: Any, run_manager: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        way, runnable, given = self._route(input, config, kwargs)
        output = way.marked(runnable.invoke(given, config, **kwargs))
        if (told := way.told()) is not None:
            dispatch_custom_event(ANSWER, told, config=config)
        return output

    async def _ainvoke(self, input: Any, run_manager: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        way, runnable, given = await self._aroute(input, config, kwargs)
        output = await asyncio.to_thread(way.marked, await runnable.ainvoke(given, config, **kwargs))
        if (told := await asyncio.to_thread(way.told)) is not None:
            await adispatch_custom_event(ANSWER, told, config=config)
        return output

    def _streamed(
        self, inputs: Iterator[Any], run_manager: Any, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        for given in inputs:
            way, runnable, given = self._route(given, config, kwargs)
            for number, piece in enumerate(runnable.stream(given, config, **kwargs)):
                yield piece if number else way.marked(piece)
            if (told := way.told()) is not None:
                dispatch_custom_event(ANSWER, told, config=config)

    async def _astreamed(
        self, inputs: AsyncIterator[Any], run_manager: Any, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async for given in inputs:
            way, runnable, given = await self._aroute(given, config, kwargs)
            first = True
            async for piece in runnable.astream(given, config, **kwargs):
                yield await asyncio.to_thread(way.marked, piece) if first else piece
                first = False
            if (told := await asyncio.to_thread(way.told)) is not None:
                await adispatch_custom_event(ANSWER, told, config=config)

    def _route(
        self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> tuple[_Way, Runnable[Any, Any], Any]:
        """The way, and which runnable gets what."""
        messages, namespace = _messages(input), _namespace(config)
        decision = self.editor.decide(_plain(_asked(messages)), namespace=namespace)
        dispatch_custom_event(EVENT, summary(decision), config=config)
        formed = self._formed(kwargs)
        way = _begin(self.editor, messages, decision, self._model, namespace, kwargs, formed=formed)
        return way, *self._goes(way, input)

    async def _aroute(
        self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> tuple[_Way, Runnable[Any, Any], Any]:
        messages = _messages(input)
        plain, namespace = _plain(_asked(messages)), _namespace(config)
        decision = await asyncio.to_thread(self.editor.decide, plain, namespace=namespace)
        await adispatch_custom_event(EVENT, summary(decision), config=config)
        formed = self._formed(kwargs)
        way = await _abegin(self.editor, messages, decision, self._model, namespace, kwargs, formed=formed)
        return way, *self._goes(way, input)

    def _formed(self, kwargs: dict[str, Any]) -> bool:
        return self._seat is None or self._seat.formed or _formed(kwargs)

    def _goes(self, way: _Way, input: Any) -> tuple[Runnable[Any, Any], Any]:
        if way.messages is None:
            return self.inner, input
        if way.replies is not None:
            assert self._seat is not None
            return self._seat.taken(way.replies), way.messages
        if self._seat is not None and self._seat.first and self._seat.completes:
            return self.inner, render_completion(_plain(way.messages))  # LangChain would add "Human:" to the text
        return self.inner, ChatPromptValue(messages=way.messages) if isinstance(input, PromptValue) else way.messages


def _as_base_model(runnable: Any) -> BaseModel:
    under = chat_model(runnable)
    return cast("BaseModel", under.base) if isinstance(under, BaseModelChat) else Langchain(runnable)


def _messages(input: Any) -> list[BaseMessage]:
    """What a chat model would read of an input, the caller's own message objects where it holds such."""
    if isinstance(input, PromptValue):
        return input.to_messages()
    if isinstance(input, str):
        return [HumanMessage(input)]
    if isinstance(input, BaseMessage):
        return [input]
    if isinstance(input, Sequence):
        return [m if isinstance(m, BaseMessage) else convert_to_messages([m])[0] for m in input]
    raise InputError(
        f"with_edits reads a string, messages or a prompt value, not {type(input).__name__}; put it behind the prompt: "
        "prompt | with_edits(llm, memory) | parser"
    )


# --------------------------------------------------------------------------------------------------------- chat model

_CALL: ContextVar[RunnableConfig | None] = ContextVar("memedit_call", default=None)


@contextmanager
def _calling(config: RunnableConfig) -> Iterator[None]:
    """LangChain hands a chat model's `_stream` neither config nor run: this carries both there."""
    token = _CALL.set(config)
    try:
        yield
    finally:
        _CALL.reset(token)


def _identified(config: RunnableConfig | None) -> RunnableConfig:
    config = ensure_config(config)
    config["run_id"] = config.get("run_id") or uuid4()
    return config


class MemEditChatModel(BaseChatModel):
    """A chat model that answers with what the memory holds and is otherwise `llm`.

    For places that want a BaseChatModel; `with_edits` is the lighter one. The inner model generates within this model's
    own run, so that tokens are reported once. Replies are never cached here: the memory changes. With structured
    output, and where a tool must be called, an answerer's reply is handed to the inner model as a known answer, so that
    it comes in the form that is due.
    """

    editor: Any = None
    """The Editor; or give `memory`."""
    memory: Any = Field(default=None, exclude=True)
    """An EditMemory, for an Editor with the default scope and answerer."""
    llm: Any = None
    """The inner chat model, or its name ("openai:gpt-4o-mini", "pocket"); None: the editor's own base model."""
    temperature: float | None = None
    """Handed to the inner model where it is set, as are the next four."""
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | None = None
    max_retries: int | None = None
    """Used where `llm` is a name; a model that is there already keeps its own."""
    streaming: bool = False
    cache: Any = Field(default=False, exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @model_validator(mode="after")
    def _complete(self) -> MemEditChatModel:
        if self.editor is None and self.memory is None:
            raise ValueError("give an editor=Editor(…) or a memory=EditMemory(…)")
        if self.llm is None:
            if self.editor is None:
                raise ValueError("give llm=, the chat model that answers what the memory does not")
            self.llm = as_runnable(self.editor.model)
        elif isinstance(self.llm, str) and self.llm.partition(":")[0] not in {*models.names(), "hf"}:
            names = ("temperature", "max_tokens", "timeout", "max_retries")
            given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
            self.llm = Langchain(self.llm, **given).runnable
        else:
            self.llm = as_runnable(self.llm)
        if not isinstance(self.llm, BaseChatModel):
            raise ValueError(
                f"llm is a {type(self.llm).__name__}, no chat model; with_edits(llm, memory) takes any runnable"
            )
        if self.editor is None:
            self.editor = Editor(self.memory, self.llm)
        # What LangChain reads off the model that it calls: the inner model's ways are this one's.
        self.disable_streaming = self.llm.disable_streaming
        self.rate_limiter = self.llm.rate_limiter
        self.output_version = self.llm.output_version
        self.profile = self.llm.profile
        return self

    @property
    def model_name(self) -> str:
        return model_name(self.llm)

    @property
    def _llm_type(self) -> str:
        return "memedit"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "llm": self.llm._llm_type}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {"ls_model_name": self.model_name, **self.llm._get_ls_params(stop=stop, **self._parameters(kwargs))}

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """This model with tools as the inner model writes them."""
        # Asked for here: providers write a forced tool each in their own way.
        form = {FORMED: True} if _formed(kwargs) else {}
        bound = self.llm.bind_tools(tools, **kwargs)
        if isinstance(bound, RunnableBinding) and bound.bound is self.llm:
            return self.bind(**{**bound.kwargs, **form})
        made = MemEditChatModel(editor=self.editor, llm=chat_model(bound))
        return made.bind(**{**getattr(bound, "kwargs", {}), **form})

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        config = _identified(config)
        with _calling(config):
            return super().invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        config = _identified(config)
        with _calling(config):
            return await super().ainvoke(input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessageChunk]:
        config = _identified(config)
        pieces = super().stream(input, config, **kwargs)
        with _calling(config):  # the first step reads it; leaving a variable set across a yield would leak it
            first = next(pieces, None)
        if first is not None:
            yield first
            yield from pieces

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        config = _identified(config)
        pieces = super().astream(input, config, **kwargs)
        with _calling(config):
            first = await anext(pieces, None)
        if first is not None:
            yield first
            async for piece in pieces:
                yield piece

    def stream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return super().stream_events(input, config, **_with_namespace(config, kwargs))

    def astream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return super().astream_events(input, config, **_with_namespace(config, kwargs))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        way, tell = self._route(messages, run_manager, stop, kwargs)
        model, given = self._goes(way, messages)
        parameters = self._parameters(kwargs)
        result: ChatResult = model._generate(given, stop=stop or self.stop, run_manager=run_manager, **parameters)
        for generation in result.generations:
            generation.message = way.marked(generation.message)
        tell(way)
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        way, tell = await self._aroute(messages, run_manager, stop, kwargs)
        model, given = self._goes(way, messages)
        parameters = self._parameters(kwargs)
        result: ChatResult = await model._agenerate(
            given, stop=stop or self.stop, run_manager=run_manager, **parameters
        )
        for generation in result.generations:
            generation.message = await asyncio.to_thread(way.marked, generation.message)
        await tell(way)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        way, tell = self._route(messages, run_manager, stop, kwargs)
        model, given = self._goes(way, messages)
        parameters = self._parameters(kwargs)
        if type(model)._stream is BaseChatModel._stream:  # it cannot stream: one chunk, all of it
            chunks = _one_chunk(model._generate(given, stop=stop or self.stop, **parameters))
        else:
            chunks = model._stream(given, stop=stop or self.stop, **parameters)
        for number, chunk in enumerate(chunks):
            if number == 0:
                chunk.message = way.marked(chunk.message)
            yield chunk
        tell(way)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        way, tell = await self._aroute(messages, run_manager, stop, kwargs)
        model, given = self._goes(way, messages)
        parameters = self._parameters(kwargs)
        stop = stop or self.stop
        kind = type(model)
        if kind._stream is BaseChatModel._stream and kind._astream is BaseChatModel._astream:
            for chunk in _one_chunk(await model._agenerate(given, stop=stop, **parameters)):
                chunk.message = await asyncio.to_thread(way.marked, chunk.message)
                yield chunk
            await tell(way)
            return
        first = True
        async for chunk in model._astream(given, stop=stop, **parameters):
            if first:
                chunk.message = await asyncio.to_thread(way.marked, chunk.message)
            first = False
            yield chunk
        await tell(way)

    def _parameters(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        names = ("temperature", "max_tokens", "timeout")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {**own, **{name: value for name, value in kwargs.items() if name not in (NAMESPACE, FORMED)}}

    def _route(
        self,
        messages: list[BaseMessage],
        run: CallbackManagerForLLMRun | None,
        stop: list[str] | None,
        kwargs: dict[str, Any],
    ) -> tuple[_Way, Callable[[_Way], None]]:
        """The way, and what tells callbacks about it once the reply is through."""
        config = _CALL.get() or ensure_config()
        named = _first(kwargs.get(NAMESPACE), _namespace(config))
        decision = self.editor.decide(_plain(_asked(messages)), namespace=named)
        handlers = run.handlers if run else CallbackManager.configure(config.get("callbacks"), self.callbacks).handlers
        run_id = run.run_id if run else config.get("run_id")
        manager = CallbackManager(handlers=handlers)
        if run_id is not None:
            manager.on_custom_event(EVENT, summary(decision), run_id=run_id)

        def tell(way: _Way) -> None:
            if run_id is not None and (told := way.told()) is not None:
                manager.on_custom_event(ANSWER, told, run_id=run_id)

        parameters, formed = _given(stop or self.stop, self._parameters(kwargs)), _formed(kwargs)
        way = _begin(self.editor, messages, decision, _as_base_model(self.llm), named, parameters, formed=formed)
        return way, tell

    async def _aroute(
        self,
        messages: list[BaseMessage],
        run: AsyncCallbackManagerForLLMRun | None,
        stop: list[str] | None,
        kwargs: dict[str, Any],
    ) -> tuple[_Way, Callable[[_Way], Awaitable[None]]]:
        config = _CALL.get() or ensure_config()
        plain, namespace = _plain(_asked(messages)), _first(kwargs.get(NAMESPACE), _namespace(config))
        decision = await asyncio.to_thread(self.editor.decide, plain, namespace=namespace)
        handlers = (
            run.handlers if run else AsyncCallbackManager.configure(config.get("callbacks"), self.callbacks).handlers
        )
        run_id = run.run_id if run else config.get("run_id")
        manager = AsyncCallbackManager(handlers=handlers)
        if run_id is not None:
            await manager.on_custom_event(EVENT, summary(decision), run_id=run_id)

        async def tell(way: _Way) -> None:
            if run_id is not None and (told := await asyncio.to_thread(way.told)) is not None:
                await manager.on_custom_event(ANSWER, told, run_id=run_id)

        parameters, formed = _given(stop or self.stop, self._parameters(kwargs)), _formed(kwargs)
        model = _as_base_model(self.llm)
        way = await _abegin(self.editor, messages, decision, model, namespace, parameters, formed=formed)
        return way, tell

    def _goes(self, way: _Way, messages: list[BaseMessage]) -> tuple[Any, list[BaseMessage]]:
        if way.messages is None:
            return self.llm, messages
        return _AnswererChat(base=way.replies) if way.replies is not None else self.llm, way.messages


def _with_namespace(config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The namespace as a parameter: streams of events reach `_stream` past `stream`, and so without a config."""
    named = _namespace(ensure_config(config))
    return kwargs if named is None else {NAMESPACE: named, **kwargs}


def _one_chunk(result: ChatResult) -> Iterator[ChatGenerationChunk]:
    message = result.generations[0].message
    values = {name: value for name, value in message.model_dump().items() if name != "type"}
    yield ChatGenerationChunk(message=AIMessageChunk(**values), generation_info=result.generations[0].generation_info)


# ---------------------------------------------------------------------------------------------------------- middleware


class MemEditState(AgentState[Any]):
    """The agent's state with the decision about its question, as `memedit.editor.summary` writes it."""

    memedit: NotRequired[Annotated[dict[str, Any] | None, OmitFromInput]]


class MemEditMiddleware(AgentMiddleware[MemEditState, Any, Any]):
    """Edits in an agent: the last human message is judged once, before the loop, and holds for every model call in it.

    Each model call in which an answerer was asked brings the event "memedit_answer", and a mark on the reply. With a
    `response_format` an answerer's reply is handed to the agent's model as a known answer, so that it comes in that.

    `memory` is an EditMemory with the options of Editor, or an Editor. `tools` are offered to the model besides the
    agent's own: `memory_tools(memory)`, for instance.
    """

    state_schema = MemEditState

    def __init__(self, memory: EditMemory | Editor, *, tools: Sequence[BaseTool] = (), **options: Any) -> None:
        super().__init__()
        self.editor = _editor(memory, "pocket", options)  # the agent's own model answers; this one is never loaded
        self.tools = list(tools)

    def before_agent(self, state: MemEditState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        plain, namespace = _plain(_asked(state["messages"])), _namespace(ensure_config())
        decided = summary(self.editor.decide(plain, namespace=namespace))
        dispatch_custom_event(EVENT, decided)
        return {"memedit": {**decided, "namespace": namespace}}

    async def abefore_agent(self, state: MemEditState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        plain, namespace = _plain(_asked(state["messages"])), _namespace(ensure_config())
        decided = summary(await asyncio.to_thread(self.editor.decide, plain, namespace=namespace))
        await adispatch_custom_event(EVENT, decided)
        return {"memedit": {**decided, "namespace": namespace}}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        edited, way = self._edited(request)
        response = handler(edited)
        if (told := way.told()) is not None:
            dispatch_custom_event(ANSWER, told)
        return _marked(response, way)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        edited, way = await asyncio.to_thread(self._edited, request)
        response = await handler(edited)
        if (told := await asyncio.to_thread(way.told)) is not None:
            await adispatch_custom_event(ANSWER, told)
        return await asyncio.to_thread(_marked, response, way)

    def _edited(self, request: ModelRequest[Any]) -> tuple[ModelRequest[Any], _Way]:
        """The request with the facts in it; out of scope, or handed back, the very same request."""
        kept = cast("dict[str, Any]", request.state).get("memedit") or {}
        hits, label, namespace = self._standing(kept), kept.get("label", "none"), kept.get("namespace")
        if not hits:  # nothing was in scope, or what was has been removed since
            label = "none" if label == "single" else label
            # With nothing in scope only patches are asked: this runs at every step of the agent's loop.
            if label == "none" and not self.editor.retriever(namespace=namespace).of_kind(*serving()):
                return request, _Way()
            if label not in wanted(self.editor.answerer):
                return request, _Way()
        decision = Decision(query=kept["query"], hits=hits, candidates=hits, label=label)
        own = [request.system_message] if request.system_message is not None else []
        given: list[BaseMessage] = [*own, *request.messages]
        model, parameters = _as_base_model(request.model), dict(request.model_settings)
        formed = request.response_format is not None or _formed({**parameters, "tool_choice": request.tool_choice})
        way, assigned = _way(self.editor, given, decision, model, namespace)
        if assigned is not None:
            if not formed and not isinstance(given[-1], HumanMessage):
                return request, _Way()  # it has handed back before the first tool was called
            way = _begin(self.editor, given, decision, model, namespace, parameters, formed=formed)
        if way.messages is None:
            return request, way
        if way.replies is not None:
            return request.override(model=_AnswererChat(base=way.replies)), way
        system, messages = way.messages[0], way.messages[1:]
        if not isinstance(system, SystemMessage):  # all that is brought stands behind earlier turns
            return request.override(messages=cast("list[Any]", way.messages)), way
        return request.override(system_message=system, messages=cast("list[Any]", messages)), way

    def _standing(self, decided: dict[str, Any]) -> tuple[Hit, ...]:
        """The edits decided on, read afresh: one that was removed since then is gone, also in the middle of a loop."""
        hits = []
        for kept in decided.get("edits", ()):
            try:
                edit = self.editor.memory.get(kept["id"], namespace=self.editor.space(decided.get("namespace")))
            except NotFoundError:
                continue
            if edit.state == "current":
                hits.append(Hit(edit=edit, score=kept["score"], probability=kept["probability"]))
        return tuple(hits)


def _marked(response: ModelResponse[Any], way: _Way) -> ModelResponse[Any]:
    """The model's response, its messages marked; the very same where there is nothing to mark."""
    if way.messages is None or way.replies is not None or not isinstance(response, ModelResponse):
        return response
    return replace(response, result=[way.marked(m) if isinstance(m, AIMessage) else m for m in response.result])


# ------------------------------------------------------------------------------------------------- retriever and tools


class EditRetriever(BaseRetriever):
    """The edits nearest to a query as documents; with `editor`, only those that the query falls under."""

    memory: Any = None
    """The EditMemory; None: the editor's."""
    k: int = 5
    """How many, at most."""
    namespace: str | None = None
    """None: the call's, else the editor's or the default one."""
    editor: Any = None
    """An Editor whose scope decides which edits are given back; None: the nearest, whatever they are."""

    @model_validator(mode="after")
    def _complete(self) -> EditRetriever:
        if self.memory is None:
            if self.editor is None:
                raise ValueError("give a memory=EditMemory(…) or an editor=Editor(…)")
            self.memory = self.editor.memory
        return self

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        return super().invoke(input, config, **{"namespace": _namespace(ensure_config(config)), **kwargs})

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        return await super().ainvoke(input, config, **{"namespace": _namespace(ensure_config(config)), **kwargs})

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        namespace: str | None = None,
    ) -> list[Document]:
        return self._documents(query, k or self.k, _first(namespace, self.namespace))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        namespace: str | None = None,
    ) -> list[Document]:
        return await asyncio.to_thread(self._documents, query, k or self.k, _first(namespace, self.namespace))

    def _documents(self, query: str, k: int, namespace: str | None) -> list[Document]:
        if self.editor is not None:
            hits: Sequence[Hit] = self.editor.decide(query, namespace=namespace).hits[:k]
        else:
            hits = self.memory.search(query, k=k, **({} if namespace is None else {"namespace": namespace}))
        return [_document(hit) for hit in hits]


def _document(hit: Hit) -> Document:
    edit = hit.edit
    known = {
        "subject": edit.subject,
        "relation": edit.relation,
        "target": edit.target,
        "source": edit.source,
        "author": edit.author,
        "probability": hit.probability,
    }
    metadata = {"score": hit.score, "namespace": edit.namespace, "created_at": edit.created_at.isoformat()}
    metadata |= {name: value for name, value in known.items() if value is not None}
    return Document(id=edit.id, page_content=edit.statement, metadata=metadata)


def confirm_by_interrupt(action: dict[str, Any]) -> bool:
    """Confirm by stopping the graph: LangGraph hands `action` to the caller, who resumes with True or False."""
    from langgraph.types import interrupt

    return interrupt(action) is True


def memory_tools(
    memory: EditMemory,
    *,
    write: bool = False,
    confirm: Callable[[dict[str, Any]], bool] | None = None,
    author: str | None = None,
) -> list[BaseTool]:
    """Tools by which a model works on the memory: `look_up`, and with `write` also `remember` and `forget`.

    A writing tool does nothing until `confirm(action)` has returned True; `action` says what would be done
    ("remember" or "forget", "statement", "id", "namespace"). `confirm_by_interrupt` asks whoever runs the graph. What a
    model gives that cannot be done is told to it, before anyone is asked: it is no reason for the agent to end.

    Raises InputError for `write` without `confirm`: a model never writes unseen.
    """

    from memedit.memory import checked_statement  # late: it brings the database

    def look_up(question: str, config: RunnableConfig) -> str:
        """Look up remembered facts that are near a question or a name. Gives one fact a line, with its id."""
        named = _named(config)
        try:
            hits = memory.search(question, k=5, **named)
        except InputError as error:
            return f"Nothing was looked up: {error}"
        return "\n".join(f"{hit.edit.id}: {hit.edit.statement}" for hit in hits) or "Nothing is remembered."

    made = [StructuredTool.from_function(look_up, name="look_up", parse_docstring=False)]
    if not write:
        return [*made]
    if confirm is None:
        raise InputError("writing tools need confirm=, a function that asks the user; confirm_by_interrupt is one")
    ask = confirm

    def remember(statement: str, config: RunnableConfig) -> str:
        """Remember a fact, said as one plain sentence. The user is asked first."""
        named = _named(config)
        try:
            checked_statement(statement)
            if not ask({"action": "remember", "statement": statement, **named}):
                return "The user declined; nothing was remembered."
            receipt = memory.add(statement, author=author, source="tool", **named)
        except InputError as error:
            return f"Nothing was remembered: {error}"
        replaced = "; ".join(edit.statement for edit in receipt.superseded)
        beside = "; ".join(edit.statement for edit in receipt.possible_conflicts)
        return (
            f"Remembered as {receipt.id}."
            + (f" It takes the place of: {replaced}" if replaced else "")
            + (f" It may contradict what stays beside it: {beside}" if beside else "")
        )

    def forget(id: str, config: RunnableConfig) -> str:
        """Forget a remembered fact by its id, as look_up gives it. The user is asked first."""
        edit = _own(memory, id, config)
        if edit is None:
            return f"There is no fact {id}."
        if edit.state in _GONE:
            return f"Nothing was forgotten: {edit.id} is {edit.state} already."
        if not ask({"action": "forget", "id": edit.id, "statement": edit.statement, **_named(config)}):
            return "The user declined; nothing was forgotten."
        try:
            memory.remove(edit.id, author=author, **_named(config))
        except InputError as error:  # gone while the user was asked
            return f"Nothing was forgotten: {error}"
        return f"Forgot: {edit.statement}"

    return [*made, StructuredTool.from_function(remember), StructuredTool.from_function(forget)]


_GONE = frozenset({"removed", "undone", "purged"})


def _named(config: RunnableConfig) -> dict[str, Any]:
    namespace = _namespace(config)
    return {} if namespace is None else {"namespace": namespace}


def _own(memory: EditMemory, id_: str, config: RunnableConfig) -> Edit | None:
    """The edit, if it belongs to the namespace of this call: an id heard elsewhere opens nothing."""
    named = _named(config)
    try:
        return memory.get(id_, **named)
    except InputError:
        return None
