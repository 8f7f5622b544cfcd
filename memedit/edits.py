"""The nouns of memedit on one screen: what is remembered, found, decided and answered, and what it is tried on.

All are frozen values. An `Edit` is a fact as the journal holds it, seen at a moment; a `Draft` is one not yet written.
Every edit is of one namespace, and its id means something there only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from unicodedata import category

from memedit.errors import InputError

DEFAULT_NAMESPACE = "default"

FORGET = "forget"
"""The kind of an edit whose change of weights erases a text: it says nothing, and is found by no search."""

State = Literal["current", "superseded", "removed", "undone", "not_yet", "expired", "purged"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `content` is plain text.

    `original` is what the caller gave, where that holds more than a text (parts that are images, calls of tools): a
    model that takes such things is given it, all others go by `content`. It is no part of the value.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    original: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A fact to be written. Only `statement` is needed; what is left out is parsed from it.

    `prompt` is the statement cut before its target, `question` a question that the target answers. `aliases` are other
    names of the subject. `valid_from` (inclusive) and `valid_to` (exclusive) are aware datetimes; None is unbounded.
    """

    statement: str
    subject: str | None = None
    relation: str | None = None
    target: str | None = None
    prompt: str | None = None
    question: str | None = None
    aliases: tuple[str, ...] = ()
    kind: str = "fact"
    author: str | None = None
    source: str | None = None
    reason: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A fact in the memory, as seen at the moment (or past moment) of reading.

    `seq` is its sequence number in the journal, unique over all namespaces and rising; `id` is its identity for users.
    `supersedes` are the ids that it retired when it was written; `superseded_by` is the id that stands in its place at
    the moment of reading, or None. A purged edit keeps its id and seq only.
    """

    id: str
    seq: int
    statement: str
    namespace: str
    created_at: datetime
    subject: str | None = None
    relation: str | None = None
    target: str | None = None
    prompt: str | None = None
    question: str | None = None
    aliases: tuple[str, ...] = ()
    kind: str = "fact"
    author: str | None = None
    source: str | None = None
    reason: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    supersedes: tuple[str, ...] = ()
    superseded_by: str | None = None
    state: State = "current"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the journal, as it was written. `targets` are the ids of records that it acts on."""

    id: str
    seq: int
    op: Literal["add", "replace", "remove", "undo", "purge", "bake", "unbake"]
    namespace: str
    created_at: datetime
    statement: str | None = None
    targets: tuple[str, ...] = ()
    author: str | None = None
    reason: str | None = None
    undone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bake:
    """A change of a model's weights that the journal holds beside a record: which edits it carries, and for whom.

    `id` and `seq` are the record's: the edit's own, where it was written with its change, else a bake's. `edits` are
    the ids that it carries, rising by seq; `left` those among them that are current and that nothing later took out of
    the weights or put there anew. It is `in_force` where that is all of them. `untaken` are those among them that the
    model was found not to say, so that the memory answers them. `model` is the name of the model that it
    was fitted for, `model_hash` the SHA-256 of its weights; `stale` is True where a change is in force that was fitted
    on top of others than stand before it now. `size` is in bytes, 0 where a purge erased it.
    """

    id: str
    seq: int
    namespace: str
    created_at: datetime
    method: str
    settings: Mapping[str, object]
    model: str
    model_hash: str
    edits: tuple[str, ...]
    left: tuple[str, ...]
    untaken: tuple[str, ...] = ()
    stale: bool
    size: int

    @property
    def in_force(self) -> bool:
        return len(self.left) == len(self.edits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a model says of an edit before and after its weights were changed (memedit.looks).

    `prompt` and `question` are what it was asked, the latter None where the edit has no other; `_before` and `_after`
    are its greedy replies, the probabilities in [0, 1] those of the whole target behind the prompt. `took` is whether
    both replies say the target; `reason` is empty then, else what was said instead. `id` is None where nothing was
    written.
    """

    id: str | None
    statement: str
    target: str
    prompt: str
    prompt_before: str
    prompt_after: str
    question: str | None
    question_before: str | None
    question_after: str | None
    probability_before: float
    probability_after: float
    took: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a write did: the edit, those that it retired, and those it may contradict without retiring them.

    `looks` are what a model says of the edit whose weights it was fitted into, and of earlier ones that it ceased to
    say.
    """

    edit: Edit
    superseded: tuple[Edit, ...] = ()
    possible_conflicts: tuple[Edit, ...] = ()
    looks: tuple[Look, ...] = ()

    @property
    def id(self) -> str:
        return self.edit.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An edit near a query. `score` is the inner product of unit vectors in [-1, 1]; `key` the text that was nearest.

    `probability` in [0, 1] is that the query falls under the edit, 1 where a name or pattern decides; None in what a
    search gives, which judges nothing.
    """

    edit: Edit
    score: float
    key: str = ""
    probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a scope decided about one conversation.

    `hits` are the edits in scope, the most probable first (empty: out of scope); `candidates` all that were looked at;
    `threshold` the probability from which a candidate is in scope; `query` the text that was judged; `label` is "none",
    "single" or "multi_hop" (takes several hops, with an edit on the way; one that is in scope may be that, or be all
    that is asked).
    """

    query: str
    hits: tuple[Hit, ...] = ()
    candidates: tuple[Hit, ...] = ()
    threshold: float = 1.0
    label: Literal["none", "single", "multi_hop"] = "none"
    scope: str = ""
    notes: tuple[str, ...] = ()

    @property
    def in_scope(self) -> bool:
        return bool(self.hits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply and how it came about.

    `edits` are the edits it used with their probabilities; `base_untouched` is True exactly where the base model, with
    no edits in its weights, was given the caller's own messages object and parameters; `trace` is one dict per step,
    JSON-ready.
    """

    text: str
    in_scope: bool
    edits: tuple[Hit, ...] = ()
    base_untouched: bool
    model: str
    decision: Decision | None = None
    trace: Sequence[dict[str, object]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Probe:
    """A question put to a model about an edit.

    `answers` are the right ones after the edit, aliases included (for a kind that must not change: the true ones, where
    the data has them; empty: unknown); `old` those that were true before it.
    """

    prompt: str
    answers: tuple[str, ...] = ()
    old: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A record of a dataset: facts to write, and what to ask before and after.

    `prompt`, `subject` and `target` are those of the first of `edits`; `old` its answers before. The kinds of
    `questions`: "paraphrase", "alias" (of the subject), "reversed", "one_hop" (needs the edit on the way), "logical"
    (follows from it), "yes" and "no" have answers that the edit gives; "neighbour" (another subject), "same_subject"
    (another attribute), "distracting" (the edit put before a neighbour) and "forgetfulness" (another value of the same
    relation) must not change; "attribute" are beginnings to be continued freely, as CounterFact's generation prompts.
    """

    id: str
    edits: tuple[Draft, ...]
    prompt: str
    subject: str
    target: str
    old: tuple[str, ...] = ()
    questions: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)


def checked_namespace(namespace: str) -> str:
    """The name as it is. Raises InputError where it is empty, too long or holds control characters.

    An empty name stands for no namespace, not for the default one either.
    """
    whole = isinstance(namespace, str) and namespace.strip() and not any(category(c) in ("Cc", "Cs") for c in namespace)
    if not whole:
        raise InputError(f"{namespace!r} is no namespace; give a name such as {DEFAULT_NAMESPACE!r}")
    if len(namespace) > 200:
        raise InputError(f"a namespace has at most 200 characters, not {len(namespace)}")
    return namespace
