"""Fakes at memedit's seams for tests: a memory that is a list, and a scope that looks for names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from memedit.edits import Decision, Edit, Hit, Message
from memedit.encoders.letters import Letters
from memedit.errors import NotFoundError


def edit(number: int, statement: str, **values: Any) -> Edit:
    """An edit numbered so; its subject, target and the like are as given, nothing is parsed."""
    fixed = {
        "id": f"e-{number:010x}",
        "seq": number,
        "namespace": "default",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Edit(**{**fixed, "statement": statement, **values})


class ListMemory:
    """An EditMemory as far as scopes and answerers look at one: current edits in a list, searched by letters."""

    def __init__(self, *edits: Edit) -> None:
        self.edits = list(edits)
        self.encoder = Letters()
        self.journal = self
        self.searches: list[str] = []

    def head(self) -> int:
        return max((edit.seq for edit in self.edits), default=0)

    def count(self, namespace: str = "default", state: str = "current") -> int:
        return sum(edit.namespace == namespace for edit in self.edits)

    def get(self, id_: str, *, namespace: str = "default") -> Edit:
        for each in self.edits:
            if (each.id, each.namespace) == (id_, namespace):
                return each
        raise NotFoundError(f"no edit {id_}")

    def search(self, text: str, *, k: int = 5, namespace: str = "default", as_of: Any = None) -> list[Hit]:
        self.searches.append(text)
        there = [edit for edit in self.edits if edit.namespace == namespace]
        if not there:
            return []
        scores = self.encoder.encode([edit.statement for edit in there]) @ self.encoder.encode([text])[0]
        hits = [Hit(edit=e, score=float(s), key=e.statement) for e, s in zip(there, scores, strict=True)]
        return sorted(hits, key=lambda hit: -hit.score)[:k]


class FakeVerifier:
    """A verifier by shared words: log odds rise by 10 with the share of a text's words that the query has.

    What it was asked is kept in `asked`; words in `never` make any pair with them hopeless.
    """

    identity = "fake-verifier-1"

    def __init__(self, *never: str) -> None:
        self.never = set(never)
        self.asked: list[tuple[str, str]] = []

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> Any:
        self.asked += pairs
        return np.array([self._one(*pair) for pair in pairs], np.float32)

    def logits(self, query: str, texts: Sequence[str]) -> Any:
        return self.pairs([(query, text) for text in texts])

    def _one(self, query: str, text: str) -> float:
        words, asked = (set(re.findall(r"\w+", one.casefold())) for one in (text, query))
        return -9.0 if self.never & asked else 10.0 * len(words & asked) / max(len(words), 1) - 5.0


class Named:
    """In scope are the current edits whose subject the last user message names, wherever letters matter not."""

    name = "named"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def decide(
        self, messages: Sequence[Message], memory: Any, *, namespace: str = "default", as_of: Any = None
    ) -> Decision:
        query = next((message.content for message in reversed(messages) if message.role == "user"), "")
        self.asked.append(query)
        near = memory.search(query, k=50, namespace=namespace, as_of=as_of) if query else []
        hits = [
            Hit(edit=hit.edit, score=hit.score, probability=0.9)
            for hit in near
            if (hit.edit.subject or hit.edit.statement).casefold() in query.casefold()
        ]
        return Decision(
            query=query,
            hits=tuple(hits),
            candidates=tuple(near),
            threshold=0.5,
            label="single" if hits else "none",
            scope="named",
        )
