"""Shared words: how much of an edit's wording stands in the question, where rare words weigh more.

The oldest of gates, and the one to beat: inverse document frequency (Spärck Jones 1972) over the loaded edits, and the
share of an edit's content words, by that weight, that the question has. The target's words do not count, since a
question asks for them; the words of the subject (or of an alias) must all be there, so that another subject's question
stays out. The weighting is as published; using it as a scope, and the rules for subject and target, are ours. A
paraphrase in other words is out of its reach.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from memedit.edits import DEFAULT_NAMESPACE, Decision, Edit, Message
from memedit.scope._held import NOT_ASKED, Shelves, decision, last_user, nothing_in, ranked, undecided

if TYPE_CHECKING:
    from memedit.memory import EditMemory

_SILENT = """
    a an the of in on at for to by with from and or is are was were be been do does did has have had it its this that
    these those what which who whom whose when where why how please tell me name i you s called
"""
STOP = frozenset(_SILENT.split())
"""English words that say nothing of what a text is about."""
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """The words of a text as they are compared: NFKC, folded case, without a possessive's ending."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [re.sub(r"['’]s$", "", word) for word in found]


def content(text: str) -> frozenset[str]:
    """The words that say something; all words, where none does."""
    found = words(text)
    return frozenset(word for word in found if word not in STOP) or frozenset(found)


@dataclass(frozen=True, slots=True)
class Entry:
    """An edit as words: alternatives for its name, and what it is asked for by."""

    names: tuple[frozenset[str], ...]
    rest: frozenset[str]


class WordShelf:
    """The edits of one namespace by their words."""

    def __init__(self) -> None:
        self.edits: dict[int, Entry] = {}
        self.having: defaultdict[str, set[int]] = defaultdict(set)

    def put(self, edit: Edit) -> None:
        self.take(edit.seq)
        entry = entry_of(edit)
        self.edits[edit.seq] = entry
        for word in _all(entry):
            self.having[word].add(edit.seq)

    def take(self, seq: int) -> None:
        entry = self.edits.pop(seq, None)
        for word in _all(entry) if entry is not None else ():
            self.having[word].discard(seq)
            if not self.having[word]:
                del self.having[word]

    def weight(self, word: str) -> float:
        """Inverse document frequency, above 0."""
        return math.log(1.0 + (len(self.edits) + 1.0) / (len(self.having.get(word, ())) + 0.5))

    def overlap(self, seq: int, asked: frozenset[str]) -> float:
        """The weighted share of the edit's content words that are asked, in [0, 1]; a third of it without its name."""
        entry = self.edits[seq]
        shares = [self._share(name | entry.rest, asked) / (1 if name <= asked else 3) for name in entry.names]
        return max(shares, default=self._share(entry.rest, asked))

    def _share(self, wanted: Iterable[str], asked: frozenset[str]) -> float:
        each = [(self.weight(word), word in asked) for word in wanted]
        total = sum(weight for weight, _ in each)
        return sum(weight for weight, found in each if found) / total if total else 0.0


def entry_of(edit: Edit) -> Entry:
    """The words of an edit, those of its target left out. One without a known subject has no names."""
    names = tuple(content(name) for name in (edit.subject, *edit.aliases) if name and words(name))
    if not edit.subject:
        names = ()
    target = frozenset(words(edit.target or ""))
    rest = content(edit.statement) - target - (names[0] if names else frozenset())
    return Entry(names, rest)


def _all(entry: Entry) -> frozenset[str]:
    return entry.rest.union(*entry.names)


@dataclass(frozen=True, kw_only=True)
class Lexical:
    """In scope is what shares enough of an edit's words, its subject's among them."""

    threshold: float = 0.5
    """Weighted share of an edit's content words, in [0, 1], from which it is in scope."""
    candidates: int = 5
    """How many edits a decision shows."""
    looked_at: int = 2000
    """How many edits, those with the question's rarest words first, are compared."""
    name: str = field(default="lexical", init=False)
    _shelves: Shelves[WordShelf] = field(
        default_factory=lambda: Shelves(WordShelf), init=False, repr=False, compare=False
    )

    def decide(
        self,
        messages: Sequence[Message],
        memory: EditMemory,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
    ) -> Decision:
        query = last_user(messages)
        if not query.strip():
            return undecided(query, self.threshold, self.name, NOT_ASKED)
        asked = frozenset(words(query))
        with self._shelves.open(memory, namespace, as_of) as shelf:
            if not shelf.edits:
                return undecided(query, self.threshold, self.name, nothing_in(namespace))
            scores = {seq: (shelf.overlap(seq, asked), "") for seq in self._near(shelf, asked)}
        near = ranked(memory, scores, self.candidates, as_of)
        hits = [hit for hit in near if hit.score >= self.threshold]
        return decision(query, self.threshold, self.name, near, hits)

    def _near(self, shelf: WordShelf, asked: frozenset[str]) -> list[int]:
        """The edits that share the most weight with the question, by its rarest words."""
        seen: Counter[int] = Counter()
        rarest = sorted((word for word in asked - STOP if word in shelf.having), key=lambda w: len(shelf.having[w]))
        for word in rarest:
            # A word that half of a large memory has tells nothing apart, and would cost a look at all of it.
            if seen and len(shelf.having[word]) > self.looked_at:
                continue
            weight = shelf.weight(word)
            for seq in sorted(shelf.having[word], reverse=True)[: self.looked_at]:
                seen[seq] += round(1000 * weight)
        return [seq for seq, _ in seen.most_common(self.looked_at)]
