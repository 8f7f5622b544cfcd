"""memedit inside LangChain: a runnable, a chat model, an agent middleware, a retriever and tools.

All five ask the same editor, and out of scope, or where an answerer hands back, all hand the inner model the very input
they were given. In scope an answerer that works by prompting changes the messages and the inner model answers them, so
that its streaming, tools and structured output are its own; any other answerer takes the model's place as a chat model
itself.

Each decision is seen by callbacks and tracing as a custom event, "memedit_decision". The namespace of a call is
`config["configurable"]["memedit_namespace"]`, else the editor's.

    chain = prompt | with_edits(llm, memory) | parser
    agent = create_agent(llm, tools, middleware=[MemEditMiddleware(memory)])
"""

# ruff: noqa: A002  (`input` is what LangChain calls the first argument of a runnable)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
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
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, ensure_config
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.runtime import Runtime
from pydantic import ConfigDict, Field, model_validator

from memedit.answerers import Answerer, Chooser, HandBack, Prompter, abegun, begun, serving, wanted
from memedit.editor import Editor, summary
from memedit.edits import Decision, Edit, Hit, Message
from memedit.errors import InputError, NotFoundError
from memedit.models import BaseModel, load_model, models
from memedit.models._asynchronous import in_thread
from memedit.models.hugging_face import render_completion
from memedit.models.langchain import Langchain, chat_model, from_langchain, model_name, to_langchain

if TYPE_CHECKING:
    from memedit.memory import EditMemory

EVENT = "memedit_decision"
NAMESPACE = "memedit_namespace"


def with_edits(runnable: Any, memory: EditMemory | Editor, **options: Any) -> EditedRunnable:
    """A runnable that answers with what the memory holds and is otherwise `runnable` itself.

    `runnable` is a chat model, with tools bound or not, any runnable over one that takes a string, messages or a prompt
    value, or a name for `load_model`. `memory` is an EditMemory, with the options of Editor (scope, answerer,
    false_fire, namespace), or an Editor.
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
    named = (config or {}).get("configurable", {}).get(NAMESPACE)
    if named is not None and not isinstance(named, str):
        raise InputError(f"{NAMESPACE} in the config must be a string, not {type(named).__name__}")
    return named


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
class _Way:
    """How a call goes on: as it came (`messages` None), with other messages, or by an answerer in the model's place."""

    messages: list[BaseMessage] | None = None
    model: _Replies | None = None


def _way(
    editor: Editor, messages: list[BaseMessage], decision: Decision, model: BaseModel, namespace: str | None
) -> tuple[_Way | None, tuple[Answerer, Decision] | None]:
    """The way where it is known without asking a model, else the answerer to begin with."""
    retrieve = editor.retriever(namespace=namespace)
    plain = _plain(_asked(messages))
    assigned = editor.assign(plain, decision, retrieve, model)
    if assigned is None:
        return _Way(), None
    answerer, handed = assigned
    prompter = answerer.prompter(plain, handed, model) if isinstance(answerer, Chooser) else answerer
    if not isinstance(prompter, Prompter):
        return None, assigned
    try:
        return _Way(messages=_prepared(editor, prompter, handed.hits, messages, model)), None
    except HandBack:
        return _Way(), None


def _begin(
    editor: Editor,
    messages: list[BaseMessage],
    decision: Decision,
    model: BaseModel,
    namespace: str | None,
    parameters: dict[str, Any],
) -> _Way:
    """The way of a call, its answerer's reply begun: whether it hands back is known before anything is traced."""
    way, assigned = _way(editor, messages, decision, model, namespace)
    if way is not None:
        return way
    assert assigned is not None
    plain = _plain(messages)
    try:
        pieces = assigned[0].stream(plain, assigned[1], model, editor.memory, [], **parameters)
        return _Way(messages=messages, model=_Replies(model, pieces=begun(pieces)))
    except HandBack:
        return _Way()


async def _abegin(
    editor: Editor,
    messages: list[BaseMessage],
    decision: Decision,
    model: BaseModel,
    namespace: str | None,
    parameters: dict[str, Any],
) -> _Way:
    way, assigned = await asyncio.to_thread(_way, editor, messages, decision, model, namespace)
    if way is not None:
        return way
    assert assigned is not None
    plain = _plain(messages)
    try:
        pieces = assigned[0].astream(plain, assigned[1], model, editor.memory, [], **parameters)
        return _Way(messages=messages, model=_Replies(model, apieces=await abegun(pieces)))
    except HandBack:
        return _Way()


class _Replies:
    """A reply that has begun, as a base model that gives it once."""

    def __init__(
        self, model: BaseModel, *, pieces: Iterator[str] | None = None, apieces: AsyncIterator[str] | None = None
    ) -> None:
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
    """An answerer in the model's place, within an agent: it answers itself, so tools are not offered to it."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self


def _given(stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "stop": stop} if stop else kwargs


# ------------------------------------------------------------------------------------------------------- any runnable


class EditedRunnable(Runnable[Any, Any]):
    """What `with_edits` returns: the inner runnable behind the editor's gate."""

    def __init__(self, inner: Runnable[Any, Any], editor: Editor) -> None:
        self.inner = inner
        self.editor = editor
        self.name = "with_edits"

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
        """The same over the inner model with structured output."""
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
        runnable, given = self._route(input, config, kwargs)
        return runnable.invoke(given, config, **kwargs)

    async def _ainvoke(self, input: Any, run_manager: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        runnable, given = await self._aroute(input, config, kwargs)
        return await runnable.ainvoke(given, config, **kwargs)

    def _streamed(
        self, inputs: Iterator[Any], run_manager: Any, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        for given in inputs:
            runnable, given = self._route(given, config, kwargs)
            yield from runnable.stream(given, config, **kwargs)

    async def _astreamed(
        self, inputs: AsyncIterator[Any], run_manager: Any, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async for given in inputs:
            runnable, given = await self._aroute(given, config, kwargs)
            async for piece in runnable.astream(given, config, **kwargs):
                yield piece

    def _route(self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]) -> tuple[Runnable[Any, Any], Any]:
        """Which runnable gets what."""
        messages, namespace = _messages(input), _namespace(config)
        decision = self.editor.decide(_plain(_asked(messages)), namespace=namespace)
        dispatch_custom_event(EVENT, summary(decision), config=config)
        way = _begin(self.editor, messages, decision, _as_base_model(self.inner), namespace, kwargs)
        return self._goes(way, input)

    async def _aroute(
        self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> tuple[Runnable[Any, Any], Any]:
        messages = _messages(input)
        plain, namespace = _plain(_asked(messages)), _namespace(config)
        decision = await asyncio.to_thread(self.editor.decide, plain, namespace=namespace)
        await adispatch_custom_event(EVENT, summary(decision), config=config)
        way = await _abegin(self.editor, messages, decision, _as_base_model(self.inner), namespace, kwargs)
        return self._goes(way, input)

    def _goes(self, way: _Way, input: Any) -> tuple[Runnable[Any, Any], Any]:
        if way.messages is None:
            return self.inner, input
        if way.model is not None:
            return BaseModelChat(base=way.model), way.messages
        if isinstance(chat_model(self.inner), BaseLLM):  # it completes text, and LangChain would add "Human:" to it
            return self.inner, render_completion(_plain(way.messages))
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
    own run, so that tokens are reported once. Replies are never cached here: the memory changes.
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
        bound = self.llm.bind_tools(tools, **kwargs)
        if isinstance(bound, RunnableBinding) and bound.bound is self.llm:
            return self.bind(**bound.kwargs)
        return MemEditChatModel(editor=self.editor, llm=chat_model(bound)).bind(**getattr(bound, "kwargs", {}))

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
        decision, model, given = self._route(messages, run_manager, stop, kwargs)
        parameters = self._parameters(kwargs)
        result: ChatResult = model._generate(given, stop=stop or self.stop, run_manager=run_manager, **parameters)
        for generation in result.generations:
            _mark(generation.message, decision)
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        decision, model, given = await self._aroute(messages, run_manager, stop, kwargs)
        parameters = self._parameters(kwargs)
        result: ChatResult = await model._agenerate(
            given, stop=stop or self.stop, run_manager=run_manager, **parameters
        )
        for generation in result.generations:
            _mark(generation.message, decision)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        decision, model, given = self._route(messages, run_manager, stop, kwargs)
        parameters = self._parameters(kwargs)
        if type(model)._stream is BaseChatModel._stream:  # it cannot stream: one chunk, all of it
            chunks = _one_chunk(model._generate(given, stop=stop or self.stop, **parameters))
        else:
            chunks = model._stream(given, stop=stop or self.stop, **parameters)
        for number, chunk in enumerate(chunks):
            if number == 0:
                _mark(chunk.message, decision)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        decision, model, given = await self._aroute(messages, run_manager, stop, kwargs)
        parameters = self._parameters(kwargs)
        stop = stop or self.stop
        kind = type(model)
        if kind._stream is BaseChatModel._stream and kind._astream is BaseChatModel._astream:
            for chunk in _one_chunk(await model._agenerate(given, stop=stop, **parameters)):
                _mark(chunk.message, decision)
                yield chunk
            return
        first = True
        async for chunk in model._astream(given, stop=stop, **parameters):
            if first:
                _mark(chunk.message, decision)
            first = False
            yield chunk

    def _parameters(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        names = ("temperature", "max_tokens", "timeout")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {**own, **{name: value for name, value in kwargs.items() if name != NAMESPACE}}

    def _route(
        self,
        messages: list[BaseMessage],
        run: CallbackManagerForLLMRun | None,
        stop: list[str] | None,
        kwargs: dict[str, Any],
    ) -> tuple[Decision, Any, list[BaseMessage]]:
        config = _CALL.get() or ensure_config()
        named = kwargs.get(NAMESPACE) or _namespace(config)
        decision = self.editor.decide(_plain(_asked(messages)), namespace=named)
        handlers = run.handlers if run else CallbackManager.configure(config.get("callbacks"), self.callbacks).handlers
        run_id = run.run_id if run else config.get("run_id")
        if run_id is not None:
            CallbackManager(handlers=handlers).on_custom_event(EVENT, summary(decision), run_id=run_id)
        parameters = _given(stop or self.stop, self._parameters(kwargs))
        way = _begin(self.editor, messages, decision, _as_base_model(self.llm), named, parameters)
        return decision, *self._goes(way, messages)

    async def _aroute(
        self,
        messages: list[BaseMessage],
        run: AsyncCallbackManagerForLLMRun | None,
        stop: list[str] | None,
        kwargs: dict[str, Any],
    ) -> tuple[Decision, Any, list[BaseMessage]]:
        config = _CALL.get() or ensure_config()
        plain, namespace = _plain(_asked(messages)), kwargs.get(NAMESPACE) or _namespace(config)
        decision = await asyncio.to_thread(self.editor.decide, plain, namespace=namespace)
        handlers = (
            run.handlers if run else AsyncCallbackManager.configure(config.get("callbacks"), self.callbacks).handlers
        )
        run_id = run.run_id if run else config.get("run_id")
        if run_id is not None:
            await AsyncCallbackManager(handlers=handlers).on_custom_event(EVENT, summary(decision), run_id=run_id)
        parameters = _given(stop or self.stop, self._parameters(kwargs))
        way = await _abegin(self.editor, messages, decision, _as_base_model(self.llm), namespace, parameters)
        return decision, *self._goes(way, messages)

    def _goes(self, way: _Way, messages: list[BaseMessage]) -> tuple[Any, list[BaseMessage]]:
        if way.messages is None:
            return self.llm, messages
        return BaseModelChat(base=way.model) if way.model is not None else self.llm, way.messages


def _with_namespace(config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The namespace as a parameter: streams of events reach `_stream` past `stream`, and so without a config."""
    named = _namespace(ensure_config(config))
    return {NAMESPACE: named, **kwargs} if named else kwargs


def _mark(message: BaseMessage, decision: Decision) -> None:
    """In scope the reply says so itself; out of scope it is the inner model's, unchanged."""
    if decision.in_scope:
        message.response_metadata = {**message.response_metadata, "memedit": summary(decision)}


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
        return handler(self._edited(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        return await handler(await asyncio.to_thread(self._edited, request))

    def _edited(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """The request with the facts in it; out of scope, or handed back, the very same request."""
        kept = cast("dict[str, Any]", request.state).get("memedit") or {}
        hits, label, namespace = self._standing(kept), kept.get("label", "none"), kept.get("namespace")
        if not hits:  # nothing was in scope, or what was has been removed since
            label = "none" if label == "single" else label
            # With nothing in scope only patches are asked: this runs at every step of the agent's loop.
            if label == "none" and not self.editor.retriever(namespace=namespace).of_kind(*serving()):
                return request
            if label not in wanted(self.editor.answerer):
                return request
        decision = Decision(query=kept["query"], hits=hits, candidates=hits, label=label)
        own = [request.system_message] if request.system_message is not None else []
        given: list[BaseMessage] = [*own, *request.messages]
        model = _as_base_model(request.model)
        way, assigned = _way(self.editor, given, decision, model, namespace)
        if assigned is not None and not isinstance(given[-1], HumanMessage):
            return request  # it has handed back before the first tool was called
        if way is None:
            way = _begin(self.editor, given, decision, model, namespace, dict(request.model_settings))
        if way.messages is None:
            return request
        if way.model is not None:
            return request.override(model=_AnswererChat(base=way.model))
        system, messages = way.messages[0], way.messages[1:]
        if not isinstance(system, SystemMessage):  # all that is brought stands behind earlier turns
            return request.override(messages=cast("list[Any]", way.messages))
        return request.override(system_message=system, messages=cast("list[Any]", messages))

    def _standing(self, decided: dict[str, Any]) -> tuple[Hit, ...]:
        """The edits decided on, read afresh: one that was removed since then is gone, also in the middle of a loop."""
        hits = []
        for kept in decided.get("edits", ()):
            try:
                edit = self.editor.memory.get(kept["id"])
            except NotFoundError:
                continue
            if edit.state == "current":
                hits.append(Hit(edit=edit, score=kept["score"], probability=kept["probability"]))
        return tuple(hits)


# ------------------------------------------------------------------------------------------------- retriever and tools


class EditRetriever(BaseRetriever):
    """The edits nearest to a query as documents; with `editor`, only those that the query falls under."""

    memory: Any
    """The EditMemory."""
    k: int = 5
    """How many, at most."""
    namespace: str | None = None
    """None: the call's, else the editor's or the default one."""
    editor: Any = None
    """An Editor whose scope decides which edits are given back; None: the nearest, whatever they are."""

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
        return self._documents(query, k or self.k, namespace or self.namespace)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        namespace: str | None = None,
    ) -> list[Document]:
        return await asyncio.to_thread(self._documents, query, k or self.k, namespace or self.namespace)

    def _documents(self, query: str, k: int, namespace: str | None) -> list[Document]:
        if self.editor is not None:
            hits: Sequence[Hit] = self.editor.decide(query, namespace=namespace).hits[:k]
        else:
            hits = self.memory.search(query, k=k, **({"namespace": namespace} if namespace else {}))
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
    ("remember" or "forget", "statement", "id", "namespace"). `confirm_by_interrupt` asks whoever runs the graph.

    Raises InputError for `write` without `confirm`: a model never writes unseen.
    """

    def look_up(question: str, config: RunnableConfig) -> str:
        """Look up remembered facts that are near a question or a name. Gives one fact a line, with its id."""
        hits = memory.search(question, k=5, **_named(config))
        return "\n".join(f"{hit.edit.id}: {hit.edit.statement}" for hit in hits) or "Nothing is remembered."

    made = [StructuredTool.from_function(look_up, name="look_up", parse_docstring=False)]
    if not write:
        return [*made]
    if confirm is None:
        raise InputError("writing tools need confirm=, a function that asks the user; confirm_by_interrupt is one")
    ask = confirm

    def remember(statement: str, config: RunnableConfig) -> str:
        """Remember a fact, said as one plain sentence. The user is asked first."""
        if not ask({"action": "remember", "statement": statement, **_named(config)}):
            return "The user declined; nothing was remembered."
        receipt = memory.add(statement, author=author, source="tool", **_named(config))
        replaced = "; ".join(edit.statement for edit in receipt.superseded)
        return f"Remembered as {receipt.id}." + (f" It takes the place of: {replaced}" if replaced else "")

    def forget(id: str, config: RunnableConfig) -> str:
        """Forget a remembered fact by its id, as look_up gives it. The user is asked first."""
        edit = _own(memory, id, config)
        if edit is None:
            return f"There is no fact {id}."
        if not ask({"action": "forget", "id": edit.id, "statement": edit.statement, **_named(config)}):
            return "The user declined; nothing was forgotten."
        memory.remove(edit.id, author=author)
        return f"Forgot: {edit.statement}"

    return [*made, StructuredTool.from_function(remember), StructuredTool.from_function(forget)]


def _named(config: RunnableConfig) -> dict[str, Any]:
    namespace = _namespace(config)
    return {"namespace": namespace} if namespace else {}


def _own(memory: EditMemory, id_: str, config: RunnableConfig) -> Edit | None:
    """The edit, if it belongs to the namespace of this call: an id heard elsewhere opens nothing."""
    try:
        edit = memory.get(id_)
    except InputError:
        return None
    return edit if edit.namespace == _named(config).get("namespace", "default") else None
