"""Any LangChain chat model as a base model, given as an object or as `provider:model`.

Parameters go to the model's own `stream`, and tokens come back as the model makes them. The two translations between
messages here and there (`to_langchain`, `from_langchain`) are what `memedit.integrations.langchain` uses too.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from memedit.conversation import ROLES, text_of
from memedit.edits import Message
from memedit.errors import MemEditError, ModelError
from memedit.models.hugging_face import render_completion

if TYPE_CHECKING:  # langchain is imported late: it costs a second, and most commands never ask a model
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable


def from_langchain(message: BaseMessage) -> Message:
    """A LangChain message's role and text, with the message itself for what it holds besides, such as images."""
    role = ROLES.get(message.type.removesuffix("MessageChunk").lower(), "user")
    return Message(role, text_of(message.content), message)


def to_langchain(message: Message) -> BaseMessage:
    """The message's original as LangChain's; where there is none, one of the same role and text."""
    from langchain_core.messages import (
        AIMessage,
        BaseMessage,
        HumanMessage,
        SystemMessage,
        ToolMessage,
        convert_to_messages,
    )

    if isinstance(message.original, BaseMessage):
        return message.original
    if isinstance(message.original, Mapping):
        return convert_to_messages([{"content": "", **message.original}])[0]
    if message.role == "tool":
        return ToolMessage(message.content, tool_call_id="")
    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    made: BaseMessage = kinds[message.role](message.content)
    return made


class Langchain:
    """A base model that asks a LangChain chat model (or a runnable over one, such as one with tools bound).

    `model` is the object, or a string for `init_chat_model`, which takes `parameters` too ("openai:gpt-4o-mini",
    temperature=0). `config` is the RunnableConfig of every call; a call may bring its own as `config=`.

    Raises ModelError where the provider's package, key or name is missing, and where a call fails.
    """

    style: Literal["chat", "completion"]

    def __init__(self, model: object, *, config: Any = None, **parameters: Any) -> None:
        from langchain_core.language_models import BaseLLM
        from langchain_core.runnables import Runnable

        if isinstance(model, str):
            self.name = model
            model = _init(model, parameters)
        else:
            self.name = model_name(model)
        if not isinstance(model, Runnable):
            raise ModelError(
                f"{type(model).__name__} is no base model: give a LangChain chat model, an object with memedit's "
                "BaseModel methods, or a name such as 'pocket', 'hf:NAME_OR_PATH', 'openai:gpt-4o-mini'"
            )
        self.runnable: Runnable[Any, Any] = model
        if isinstance(chat_model(model), BaseLLM):
            self.style = "completion"
        else:
            self.style = "chat"
        self.config = config
        profile = getattr(chat_model(model), "profile", None) or {}
        limit = profile.get("max_input_tokens") if isinstance(profile, dict) else None
        self.context_tokens: int | None = limit if isinstance(limit, int) else None

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        config = parameters.pop("config", self.config)
        try:
            for chunk in self.runnable.stream(self._given(messages), config, **parameters):
                if piece := _text(chunk):
                    yield piece
        except Exception as error:  # whatever the provider raises, it is this model that could not be asked
            raise _failure(self.name, error) from error

    async def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        config = parameters.pop("config", self.config)
        try:
            async for chunk in self.runnable.astream(self._given(messages), config, **parameters):
                if piece := _text(chunk):
                    yield piece
        except Exception as error:
            raise _failure(self.name, error) from error

    def _given(self, messages: Sequence[Message]) -> Any:
        if self.style == "completion":  # LangChain would write "Human:" into the text
            return render_completion(messages)
        return [to_langchain(message) for message in messages]

    def count_tokens(self, text: str) -> int:
        """A quarter of the characters, rounded up: providers' tokenizers are not here to be asked."""
        return -(-len(text) // 4)


def chat_model(runnable: object) -> object:
    """What lies under bindings (tools, retries, configuration): the model itself."""
    while (inner := getattr(runnable, "bound", None)) is not None:
        runnable = inner
    return runnable


def model_name(runnable: object) -> str:
    """The name that the model goes by, else its class."""
    model = chat_model(runnable)
    for attribute in ("model_name", "model", "model_id", "deployment_name"):
        name = getattr(model, attribute, None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


def _text(chunk: object) -> str:
    return chunk if isinstance(chunk, str) else str(getattr(chunk, "text", ""))


def _init(spec: str, parameters: dict[str, Any]) -> Any:
    from langchain.chat_models import init_chat_model

    try:
        return init_chat_model(spec, **parameters)
    except ImportError as error:
        package = re.search(r"langchain[-_][\w-]+", str(error))
        advice = f"pip install {package[0].replace('_', '-')}" if package else "install its LangChain package"
        raise ModelError(f"{spec!r} needs a package that is not installed; {advice}") from error
    except ValueError as error:
        raise ModelError(f"{spec!r} is no model that can be loaded: {_first_line(error)}") from error
    except Exception as error:  # each provider has its own errors for a missing key
        raise ModelError(f"{spec!r} cannot be loaded: {_first_line(error)}") from error


def _failure(name: str, error: Exception) -> MemEditError:
    if isinstance(error, MemEditError):
        return error
    return ModelError(f"{name} could not be asked: {type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
