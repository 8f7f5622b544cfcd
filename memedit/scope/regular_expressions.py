r"""Regular expressions: a question falls under an edit if a pattern of the edit fits it, or its subject stands in it.

The plainest gate, for those who want to say themselves what an edit is asked by. A pattern is

    an alias written as /…/                                    aliases=["/who (runs|leads) acme/"]
    of an edit of kind "pattern", the /…/ its statement begins with, or else the whole statement

and fits anywhere in the question, in any case. Every other name of an edit (subject and aliases) fits where it stands
as a word. Rules of this kind are a baseline of Language Patching (Murty, Manning, Lundberg and Ribeiro, EMNLP 2022);
theirs change a classifier's label, these only say which edit a question falls under.

A pattern is data that somebody wrote, and Python's matcher backtracks: `(a+)+b` takes longer than anybody lives. A time
limit would need another process for each question, since a match cannot be interrupted. So the work is bounded before
it begins: a question is cut to its last `longest` characters, and a pattern is refused (never run, and named in the
decision's notes) if it is too long, has a repetition inside a repetition or an alternation inside one, looks around or
back, or if the number of ways to try it, counted from its repetitions and alternatives, exceeds `WAYS`. So is one that
fits whatever is asked: it is about nothing.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from memedit.edits import DEFAULT_NAMESPACE, Decision, Edit, Message
from memedit.patterns import PROBES
from memedit.scope._held import NOT_ASKED, Shelves, decision, last_user, nothing_in, ranked, undecided
from memedit.scope.lexical import words

if TYPE_CHECKING:
    from memedit.memory import EditMemory

LONGEST_PATTERN = 200
WAYS = 5_000_000
"""Most ways to try one pattern on one question: some tenths of a second at the very worst."""
MOST_NOTES = 5

_SLASHES = re.compile(r"/(.+)/\s*$")
_LEADING = re.compile(r"/((?:[^/\\]|\\.)+)/(?:\s|$)")
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")


def patterns_of(edit: Edit) -> list[str]:
    """The patterns that an edit has, without their slashes."""
    found = [match.group(1) for alias in edit.aliases if (match := _SLASHES.match(alias))]
    if edit.kind == "pattern":
        leading = _LEADING.match(edit.statement)
        found.append(leading.group(1) if leading else edit.statement)
    return found


def names_of(edit: Edit) -> list[str]:
    """The subject and aliases that are plain names."""
    return [name for name in (edit.subject, *edit.aliases) if name and not _SLASHES.match(name)]


def fault(pattern: str, longest: int) -> str | None:
    """Why a pattern is not to be run on texts of up to `longest` characters; None where nothing is wrong with it.

    The ways to try it are at most: places to begin × lengths of unbounded repetitions (together as many as there are
    ways to choose their ends) × choices of bounded ones × alternatives.
    """
    if len(pattern) > LONGEST_PATTERN:
        return f"it has {len(pattern)} characters; at most {LONGEST_PATTERN} are allowed"
    try:
        made = re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        return f"it is no regular expression: {error}"
    unbounded, ways = 0, 1.0
    groups: list[bool] = [False]  # for each open group: whether it holds a repetition or an alternation
    ended: bool | None = None  # the same of the group that ended just before here
    for token in _tokens(pattern):
        closed, ended = ended, None
        if token == "(":
            groups.append(False)
        elif token.startswith("(?"):
            return "it looks around, looks back or sets flags; of (?…) only (?:…) is allowed"
        elif token == ")":
            ended = groups.pop() if len(groups) > 1 else False
            groups[-1] = groups[-1] or ended
        elif token == "|":
            groups[-1] = True
            ways *= 2
        elif token.startswith("\\") and token[1:].isdigit():
            return "it refers back to a group"
        elif token[0] in "*+?{":
            if closed:
                return "it repeats what has a repetition or alternatives in it"
            groups[-1] = True
            low, high = _bounds(token)
            if high is None:
                unbounded += 1
            else:
                ways *= max(1, high - low + 1)
                if high > longest:
                    return f"it repeats up to {high} times"
    if math.comb(longest + unbounded + 1, unbounded + 1) * ways > WAYS:
        return "there are too many ways to try it: use fewer repetitions and alternatives"
    if all(made.search(text[-longest:]) for text in PROBES):
        return "it fits every question"
    return None


def _tokens(pattern: str) -> Iterator[str]:
    """Escapes, classes, groups' openings and repetitions as one token each; every other character by itself."""
    at = 0
    while at < len(pattern):
        end = at + 1
        if pattern[at] == "\\":
            end = at + 2
        elif pattern[at] == "[":
            end = at + 2 + pattern.startswith("^", at + 1)  # a bracket that comes first is a member
            while end < len(pattern) and pattern[end] != "]":
                end += 2 if pattern[end] == "\\" else 1
            end += 1
        elif pattern.startswith("(?:", at):
            yield "("
            at += 3
            continue
        elif pattern.startswith("(?", at):
            end = at + 2
        elif pattern[at] in "*+?{":
            count = _COUNT.match(pattern, at)
            if pattern[at] != "{" or count:
                end = count.end() if count else at + 1
                # a lazy or possessive mark belongs to it
                token = pattern[at:end]
                yield token
                at = end + (pattern[end : end + 1] in ("?", "+") and pattern[end : end + 1] != "")
                continue
            yield "\\{"
            at += 1
            continue
        yield pattern[at:end]
        at = end


def _bounds(token: str) -> tuple[int, int | None]:
    """Least and most repetitions of a repetition; None is unbounded."""
    if token in ("*", "+"):
        return 0, None
    if token == "?":
        return 0, 1
    count = _COUNT.match(token)
    if count is None:
        return 0, None
    low, comma, high = count.groups()
    least = int(low or 0)
    return least, int(high) if high else None if comma else least


@lru_cache(maxsize=10_000)
def compiled(pattern: str, longest: int) -> re.Pattern[str] | str:
    """The pattern ready to run, or why it is not to be."""
    wrong = fault(pattern, longest)
    return wrong if wrong is not None else re.compile(pattern, re.IGNORECASE)


class PatternShelf:
    """The edits of one namespace: patterns one by one, names by their first word."""

    def __init__(self) -> None:
        self.edits: set[int] = set()
        self.patterns: dict[int, list[str]] = {}
        self.names: dict[int, list[list[str]]] = {}
        self.first: defaultdict[str, set[int]] = defaultdict(set)

    def put(self, edit: Edit) -> None:
        self.take(edit.seq)
        self.edits.add(edit.seq)
        if patterns := patterns_of(edit):
            self.patterns[edit.seq] = patterns
        self.names[edit.seq] = [cut for name in names_of(edit) if (cut := words(name))]
        for name in self.names[edit.seq]:
            self.first[name[0]].add(edit.seq)

    def take(self, seq: int) -> None:
        self.edits.discard(seq)
        self.patterns.pop(seq, None)
        for name in self.names.pop(seq, ()):
            self.first[name[0]].discard(seq)
            if not self.first[name[0]]:
                del self.first[name[0]]

    def named(self, asked: list[str]) -> dict[int, int]:
        """edit seq -> how many words its longest name in the question has."""
        found: dict[int, int] = {}
        for at, word in enumerate(asked):
            for seq in self.first.get(word, ()):
                for name in self.names[seq]:
                    if asked[at : at + len(name)] == name:
                        found[seq] = max(found.get(seq, 0), len(name))
        return found


@dataclass(frozen=True, kw_only=True)
class RegularExpressions:
    """In scope is what a pattern fits (probability 1), and what names the subject (0.7 to 0.9, by its length)."""

    threshold: float = 0.5
    """Probability from which an edit is in scope; above 0.9 only patterns count."""
    candidates: int = 5
    """How many edits a decision shows."""
    longest: int = 300
    """Characters of a question, from its end, that patterns are run on."""
    name: str = field(default="regular_expressions", init=False)
    _shelves: Shelves[PatternShelf] = field(
        default_factory=lambda: Shelves(PatternShelf), init=False, repr=False, compare=False
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
        text = query[-self.longest :]
        fits: dict[int, tuple[float, str]] = {}
        refused: dict[str, str] = {}
        with self._shelves.open(memory, namespace, as_of) as shelf:
            if not shelf.edits:
                return undecided(query, self.threshold, self.name, nothing_in(namespace))
            named = shelf.named(words(query))
            patterns = dict(shelf.patterns)
        for seq, length in named.items():
            fits[seq] = 0.9 - 0.4 / (length + 1), ""
        for seq, each in patterns.items():
            for pattern in each:
                ready = compiled(pattern, self.longest)
                if isinstance(ready, str):
                    refused[pattern] = ready
                elif ready.search(text):
                    fits[seq] = 1.0, f"/{pattern}/"
        near = ranked(memory, fits, self.candidates, as_of)
        hits = [hit for hit in near if hit.score >= self.threshold]
        notes = [f"the pattern /{pattern}/ is not used: {why}" for pattern, why in refused.items()]
        if len(notes) > MOST_NOTES:
            notes[MOST_NOTES:] = [f"{len(notes) - MOST_NOTES} more patterns are not used"]
        if patterns and len(query) > self.longest:
            notes.append(f"patterns were run on the last {self.longest} characters of the question only")
        return decision(query, self.threshold, self.name, near, hits, notes)
