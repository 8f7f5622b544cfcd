"""Base models: whatever answers messages with text. One file each; memedit never changes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from memedit.edits import Message
from memedit.registry import Registry

models = Registry(__name__, "model")


@runtime_checkable
class BaseModel(Protocol):
    """The seam. `stream` yields the reply in pieces whose concatenation is the reply.

    `style` says how facts reach it best: "chat" follows instructions in a system message, "completion" continues text
    (its system message is put verbatim in front). `context_tokens` is None where it is not known.

    A model may say four things more: `demonstrations`, how many worked examples it needs to follow a fact (an int);
    `special_tokens`, texts that it reads as marks rather than as text (strings); `reply_tokens`, how long its replies
    get unless a call says so (an int); and `emphasis` (a float), how much more than by itself it should heed facts:
    such a model takes the parameters `against`, the same conversation without them, and `emphasis`.
    """

    @property
    def name(self) -> str: ...

    @property
    def style(self) -> Literal["chat", "completion"]: ...

    @property
    def context_tokens(self) -> int | None: ...

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]: ...

    def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]: ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, an estimate (characters / 4, rounded up) where the model has no tokenizer to ask."""
        ...


def load_model(spec: object) -> BaseModel:
    """The base model for `pocket`, `hf:NAME_OR_PATH`, `scripted:FILE`, `provider:model`, or an object.

    An object that is a BaseModel is returned as it is; a LangChain chat model is wrapped. Any other string with a colon
    goes to langchain's `init_chat_model`. Raises NotFoundError for an unknown name, ModelError where it cannot be
    loaded.
    """
    if isinstance(spec, BaseModel):
        return spec
    if not isinstance(spec, str):
        from memedit.models.langchain import Langchain

        return Langchain(spec)
    name, _, argument = spec.partition(":")
    name = {"hf": "hugging_face"}.get(name, name)
    if name not in models.names() and argument:
        from memedit.models.langchain import Langchain

        return Langchain(spec)
    model = models.get(name)
    made = model(argument) if argument else model()
    assert isinstance(made, BaseModel)
    return made
