"""What a scope keeps beside a memory, derived from its edits and kept up with its journal.

A scope that does not look its candidates up among vectors needs the edits' texts in a shape of its own: names by their
first letters, words by their rarity. `Shelf` is such a shape, filled and emptied edit by edit; `Shelves` keeps one for
each memory and namespace, looks at the journal's head before each use (one small query) and replays what changed since.
The memory is held weakly, so that a scope never keeps one open; one lock for each memory, so that a shelf is never read
while it is changed.

What is live according to the journal is on the shelf; whether an edit is current at the moment of asking is judged when
it is read back (`current`), since time passes without a journal entry. The past gets a shelf of its own, and only the
last few are kept. The few lines that scopes of one score decide with are here too (`undecided`, `ranked`, `decision`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from memedit.edits import Decision, Edit, Hit, Message, checked_namespace

if TYPE_CHECKING:
    from memedit.memory import EditMemory

PASTS = 2
"""Shelves of the past that are kept for each memory."""


class Shelf(Protocol):
    """The seam: edits are put on and taken off by seq; neither raises for an edit that is (or is not) there."""

    def put(self, edit: Edit) -> None: ...

    def take(self, seq: int) -> None: ...


S = TypeVar("S", bound=Shelf)


class _Kept(Generic[S]):
    """One memory's shelves: of now by namespace with (head, generation), and of the past."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.now: dict[str, tuple[S, int, int]] = {}
        self.past: OrderedDict[tuple[str, datetime | int, int, int], S] = OrderedDict()


class Shelves(Generic[S]):
    """Shelves made by `make`, one for each memory and namespace."""

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._kept: WeakKeyDictionary[EditMemory, _Kept[S]] = WeakKeyDictionary()

    @contextmanager
    def open(self, memory: EditMemory, namespace: str, as_of: datetime | int | None) -> Iterator[S]:
        """The shelf as of a moment (None: now), for the caller alone while the block runs."""
        checked_namespace(namespace)
        with self._lock:
            kept = self._kept.setdefault(memory, _Kept())
        with kept.lock:
            yield (
                self._current(kept, memory, namespace) if as_of is None else self._past(kept, memory, namespace, as_of)
            )

    def _current(self, kept: _Kept[S], memory: EditMemory, namespace: str) -> S:
        journal = memory.journal
        head = journal.head()
        shelf, seen, generation = kept.now.get(namespace, (None, -1, -1))
        if shelf is not None and seen == head:
            return shelf
        found = journal.generation(namespace)
        if shelf is None or found != generation or head < seen:  # a purge: what it erased may not stay here either
            shelf = self._make()
            for seqs in journal.live(namespace):
                for edit in journal.find(seqs=seqs, oldest_first=True):
                    shelf.put(edit)
        else:
            live = {edit_seq: is_live for _, edit_seq, is_live in journal.changes(namespace, seen, head)}
            for seq, is_live in live.items():
                if not is_live:
                    shelf.take(seq)
            come = [seq for seq, is_live in live.items() if is_live]
            for edit in journal.find(seqs=come, oldest_first=True) if come else ():
                shelf.put(edit)
        kept.now[namespace] = shelf, head, found
        return shelf

    def _past(self, kept: _Kept[S], memory: EditMemory, namespace: str, as_of: datetime | int) -> S:
        journal = memory.journal
        generation = journal.generation(namespace)
        key = namespace, as_of, journal.head(), generation
        for other in [other for other in kept.past if other[0] == namespace and other[3] != generation]:
            del kept.past[other]  # what a purge erased may not stay here
        shelf = kept.past.get(key)
        if shelf is None:
            shelf = self._make()
            for edit in reversed(memory.list(namespace=namespace, as_of=as_of)):
                shelf.put(edit)
            kept.past[key] = shelf
        kept.past.move_to_end(key)
        while len(kept.past) > PASTS:
            kept.past.popitem(last=False)
        return shelf


def current(memory: EditMemory, seqs: Iterable[int], as_of: datetime | int | None) -> dict[int, Edit]:
    """Those of the edits that are current at the moment, read anew from the journal."""
    wanted = list(seqs)
    if not wanted:
        return {}
    found = memory.journal.find(seqs=wanted, at=memory.journal.at(as_of))
    return {edit.seq: edit for edit in found if edit.state == "current"}


def last_user(messages: Sequence[Message]) -> str:
    """The last user message, or an empty text."""
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


NOT_ASKED = "there is no question to judge"


def nothing_in(namespace: str) -> str:
    """What is said of a memory without edits."""
    return f"nothing is remembered in namespace {namespace!r}"


def undecided(query: str, threshold: float, scope: str, *notes: str) -> Decision:
    """Out of scope without a look at any edit, and why."""
    return Decision(query=query, threshold=threshold, scope=scope, notes=notes)


def decision(
    query: str, threshold: float, scope: str, candidates: Sequence[Hit], hits: Sequence[Hit], notes: Sequence[str] = ()
) -> Decision:
    """What comes of judged candidates."""
    return Decision(
        query=query,
        hits=tuple(hits),
        candidates=tuple(candidates),
        threshold=threshold,
        label="single" if hits else "none",
        scope=scope,
        notes=tuple(notes),
    )


def ranked(
    memory: EditMemory, scores: Mapping[int, tuple[float, str]], most: int, as_of: datetime | int | None
) -> tuple[Hit, ...]:
    """The best of the edits that are current, from seq -> (score in [0, 1], key or ""); of equals the newer first."""
    best = sorted(scores.keys() - memory.left_out, key=lambda seq: (-scores[seq][0], -seq))
    edits = current(memory, best[: 4 * most], as_of)
    found = ((edits[seq], *scores[seq]) for seq in best if seq in edits)
    return tuple(
        Hit(edit=edit, score=score, key=key or edit.statement, probability=score) for edit, score, key in found
    )[:most]
