"""Conversations as callers have them: a text, or the lists that chat APIs and LangChain take, read as `Message`s.

The text of a message is what scopes and answerers read. What a message holds besides (images, calls of tools, a
name) is kept beside it as `original`, so that a model that takes such things is given them as they came.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from memedit.edits import Message
from memedit.errors import InputError

Question = str | Sequence[object]
"""A text, or a list whose entries are Messages, {"role", "content"} mappings, (role, content) pairs or LangChain
messages; `as_messages` checks them."""

ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""The names that roles go by."""

_TEXTS = ("text", "input_text", "output_text")
_CALLS = ("tool_calls", "function_call", "refusal")
"""What stands beside an assistant's content of None."""
_WANTED = (
    'a question is a text, or a list of messages: {"role": "user", "content": "…"} with the role system, user, '
    "assistant or tool and a text or a list of parts as content, (role, text), a LangChain message or a memedit.Message"
)


def as_messages(question: object) -> Sequence[Message]:
    """The conversation: a sequence of Messages is returned as it is, a text becomes one message of the user.

    Raises InputError, saying which message it is and what is wanted, for anything else than `Question` describes.
    """
    if isinstance(question, str):
        return [Message("user", question)]
    if not isinstance(question, Sequence) or isinstance(question, bytes | bytearray):
        raise InputError(f"a question is no {type(question).__name__}; {_WANTED}")
    if all(isinstance(message, Message) for message in question):
        return question
    made = []
    for number, given in enumerate(question, 1):
        try:
            made.append(_message(given))
        except InputError as error:
            raise InputError(f"message {number}: {error}; {_WANTED}") from error
    return made


def text_of(content: object) -> str:
    """The text of a message's content; parts that are no text are left out, and two texts do not run together."""
    if isinstance(content, str):
        return content
    text = ""
    for part in content if isinstance(content, Iterable) else ():
        said = part if isinstance(part, str) else str(part["text"]) if _is_text(part) else ""
        parted = not text or not said or text[-1].isspace() or said[0].isspace()
        text += said if parted else f"\n{said}"
    return text


def with_text(message: Message, text: str) -> Message:
    """The message with another text, and what it holds besides."""
    original: Any = message.original
    if original is None:
        return replace(message, content=text)
    content = original["content"] if isinstance(original, Mapping) else original.content
    besides = [] if isinstance(content, str) else [part for part in content or () if not _is_text(part)]
    said = [{"type": "text", "text": text}, *besides] if besides else text
    if isinstance(original, Mapping):
        return replace(message, content=text, original={**original, "content": said})
    return replace(message, content=text, original=original.model_copy(update={"content": said}))


def _is_text(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, Mapping) and part.get("type") in _TEXTS and "text" in part)


def _message(given: object) -> Message:
    if isinstance(given, Message):
        return given
    # A LangChain message can only have been made where LangChain was imported, which would cost a second here.
    langchain = sys.modules.get("langchain_core.messages")
    if langchain is not None and isinstance(given, langchain.BaseMessage):
        from memedit.models.langchain import from_langchain

        return from_langchain(given)
    if isinstance(given, tuple | list) and len(given) == 2:
        given = {"role": given[0], "content": given[1]}
    if not isinstance(given, Mapping):
        raise InputError(f"{type(given).__name__} is no message")
    name = given.get("role", given.get("type"))
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise InputError("it has no role" if name is None else f"there is no role {name!r}")
    content = given.get("content")
    if content is None and not (role == "assistant" and any(given.get(call) for call in _CALLS)):
        raise InputError("it has no content")
    if isinstance(content, list | tuple):
        for at, part in enumerate(content, 1):
            if not _is_part(part):
                raise InputError(
                    f'part {at} of its content is none: a part is {{"type": "text", "text": "…"}}, or has another type'
                )
    elif not isinstance(content, str | None):
        raise InputError(f"its content is {type(content).__name__}, not a text or a list of parts")
    plain = isinstance(content, str) and given.keys() <= {"role", "type", "content"}
    return Message(role, text_of(content), None if plain else given)


def _is_part(part: object) -> bool:
    if isinstance(part, str):
        return True
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        return False
    return part["type"] not in _TEXTS or isinstance(part.get("text"), str)
