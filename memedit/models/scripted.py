"""A fake that replies as told and records what it was given: for tests, demonstrations and dry runs.

It keeps the very objects of each call, so that a test can say `model.calls[0].messages is messages`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from memedit.edits import Message
from memedit.errors import InputError, ModelError, NotFoundError

Script = Mapping[str, str] | Sequence[str] | Callable[..., str]

OTHERWISE = "*"  # the key of a dict script that answers what no other key does


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was made: the caller's own `messages` object and its parameters."""

    messages: Sequence[Message]
    parameters: dict[str, Any]


class Scripted:
    """A base model whose replies are given beforehand.

    `replies` is a mapping from the last user message to its reply (key "*": any other), a sequence of replies used up
    in order, a function `(messages, **parameters) -> str`, or the path of a JSON file that holds a mapping or a list.
    Without it every reply is "…". `style`, `context_tokens` and `demonstrations` play any model.

    Raises NotFoundError for a file that is not there, InputError for one that holds something else. Asking beyond the
    script raises ModelError.
    """

    def __init__(
        self,
        replies: Script | str | os.PathLike[str] | None = None,
        *,
        name: str = "scripted",
        style: Literal["chat", "completion"] = "chat",
        context_tokens: int | None = None,
        demonstrations: int | None = None,
    ) -> None:
        self.name = name
        self.style: Literal["chat", "completion"] = style
        self.context_tokens = context_tokens
        self.demonstrations = demonstrations
        self.replies: Script = _load(replies) if isinstance(replies, str | os.PathLike) else replies or {OTHERWISE: "…"}
        self.calls: list[Call] = []
        self._lock = Lock()

    def _reply(self, messages: Sequence[Message], parameters: dict[str, Any]) -> str:
        with self._lock:
            number = len(self.calls)
            self.calls.append(Call(messages, parameters))
        if callable(self.replies):
            return self.replies(messages, **parameters)
        if isinstance(self.replies, Mapping):
            asked = next((message.content for message in reversed(messages) if message.role == "user"), "")
            for key in (asked, asked.strip(), OTHERWISE):
                if key in self.replies:
                    return self.replies[key]
            raise ModelError(f"the script has no reply to {asked[:80]!r}; add it, or a reply under {OTHERWISE!r}")
        if number >= len(self.replies):
            raise ModelError(f"the script holds {len(self.replies)} replies and was asked for one more")
        return self.replies[number]

    def stream(self, messages: Sequence[Message], **parameters: Any) -> Iterator[str]:
        """The reply word by word; each word brings the space behind it."""
        yield from re.findall(r"\S+\s*|\s+", self._reply(messages, parameters))

    async def astream(self, messages: Sequence[Message], **parameters: Any) -> AsyncIterator[str]:
        for piece in self.stream(messages, **parameters):
            yield piece

    def count_tokens(self, text: str) -> int:
        """A quarter of the characters, rounded up."""
        return -(-len(text) // 4)


def _load(path: str | os.PathLike[str]) -> Script:
    try:
        script = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no script {os.fspath(path)!r}; give a JSON file with a list or mapping"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"the script {os.fspath(path)!r} cannot be read as JSON: {error}") from error
    lines = script.values() if isinstance(script, dict) else script
    if not isinstance(script, dict | list) or not all(isinstance(line, str) for line in lines):
        raise InputError(
            f"the script {os.fspath(path)!r} must hold a list of replies or a mapping of strings to replies"
        )
    return script
