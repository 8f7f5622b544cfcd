"""EditMemory: facts go in as sentences, come out as edits; nothing is ever lost but by a purge.

This file parses, checks and words; memedit.journal keeps, memedit.index finds, memedit.exchange reads and writes files.
A write returns when the journal has committed it. Writing does not encode: the index catches up before the next search,
so that adding a fact needs no model and takes milliseconds.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from dataclasses import replace as changed
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from memedit.edits import (
    DEFAULT_NAMESPACE,
    FORGET,
    Bake,
    Draft,
    Edit,
    Hit,
    Look,
    Receipt,
    Record,
    State,
    checked_namespace,
)
from memedit.errors import InputError, JournalError, MemEditError, NotFoundError
from memedit.fold import fold
from memedit.frames import alike, opening
from memedit.journal import Journal
from memedit.patches import KINDS, checked
from memedit.schema import EDITS, Fitted, Row, hash64, slot_hash, to_micros

if TYPE_CHECKING:  # numpy, and what needs it, is imported when something is searched: `memedit list` starts without
    import numpy as np
    from numpy.typing import NDArray

    from memedit.encoders import Encoder
    from memedit.exchange import ImportReport
    from memedit.index import Index

log = logging.getLogger("memedit")

# EditMemory has a method called list, which hides the type inside the class.
Edits = list[Edit]
Records = list[Record]
Bakes = list[Bake]
Hits = list[Hit]
HitLists = list[list[Hit]]
Names = list[str]
Conflicts = list[tuple[Edit, list[Edit]]]
Progress = Callable[[int, int | None], None]
"""Called with how many are done and how many there are in all (None: not known)."""

LONGEST_STATEMENT = 10_000
LONGEST_NAME = 1_000
MOST_ALIASES = 100
MOST_KEYS = 16
MOST_NAMED = 64
STATES = (*get_args(State), "all")

_TEXTS = (
    *("statement", "subject", "relation", "target", "prompt", "question", "aliases", "kind"),
    *("author", "source", "reason"),
)
_texts = attrgetter(*_TEXTS)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` has to say. `level` is "error" (wrong results), "warning" or "note"."""

    level: Literal["error", "warning", "note"]
    what: str
    advice: str = ""


Findings = list[Finding]


class EditMemory:
    """An editable memory of facts, in a folder or a database. Made by `EditMemory.open`; safe to use from threads.

    `author` is put beside what is written where no other is given. Times are aware datetimes. Methods raise InputError
    (and its kinds) for what cannot be done as asked, JournalError where the database cannot be read or written.

    What is of one namespace does not exist for a call in another: an id of it is told as one that never was.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        encoder: str | Encoder | None = None,
        store: str = "faiss",
        author: str | None = None,
        parser: object = None,
    ) -> None:
        self.journal = journal
        self.author = author
        self.store = store
        self._spec = encoder
        self._encoder: Encoder | None = None
        self._parser = parser
        self._ask_parser: Callable[[str], dict[str, str] | None] | None = None
        self._indexes: dict[str, Index] = {}
        self._lock = threading.RLock()
        self._whole: EditMemory | None = None
        self.left_out: frozenset[int] = frozenset()

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str],
        *,
        encoder: str | Encoder | None = None,
        store: str = "faiss",
        author: str | None = None,
        read_only: bool = False,
        parser: object = None,
        born: Callable[[], None] | None = None,
    ) -> EditMemory:
        """The memory in a folder, which is made if need be, or at a database URL (`postgresql://…`).

        `encoder` is an Encoder or the name of one, loaded when first needed; None is the settings' own. `parser`, a
        LangChain chat model or `provider:model`, reads sentences that the rules cannot. With `born` a folder is made by
        the first write only, and `born` called then. Raises NotFoundError where
        `read_only` is asked and nothing is there, NewerFormatError for a file of a newer memedit, else JournalError.
        """
        journal = Journal.open(where, read_only=read_only, born=born)
        return cls(journal, encoder=encoder, store=store, author=author, parser=parser)

    def close(self) -> None:
        """Let go of files and connections. What was written is on disk already."""
        with self._lock:
            for index in self._indexes.values():
                index.close()
            self._indexes.clear()
        self.journal.close()

    def __enter__(self) -> EditMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EditMemory({self.journal.where!r})"

    # Writing

    def add(
        self,
        statement: str,
        *,
        subject: str | None = None,
        relation: str | None = None,
        target: str | None = None,
        prompt: str | None = None,
        question: str | None = None,
        aliases: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
        author: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        kind: str = "fact",
        method: str | None = None,
        model: object = None,
        settings: Mapping[str, Any] | None = None,
        strict: bool = False,
        fitted: Fitted | None = None,
    ) -> Receipt:
        """Write a fact. An older one is superseded only where it surely cannot hold beside it, else both stay:

        - `subject` and `relation` are given, the relation is single-valued (memedit/relations.json), and the older one
          says something else of the same subject and relation;
        - or both are one sentence but for the target ("The CEO of Acme is …"), which is of the relation's type in both,
          and of which there can be one.

        Of two such facts the one that began last holds, by `valid_from`: one that is told later and began earlier ends
        where the other begins. Whatever else may contradict it stays, and stands in the receipt's possible_conflicts.

        What is not given is parsed from the statement. A fact that is current already, in the same words and with the
        same validity, is not written twice: the receipt shows the one that stands.

        With `method` (a name of memedit.methods, with its `settings`) the fact is fitted into the weights of `model`,
        and the change is written beside it in the same transaction: see memedit.baking, which says what it raises. The
        receipt's `looks` tell what that model says now; a fact that did not take stays in the memory, or, with
        `strict`, NotTakenError is raised and nothing is written. `fitted` is such a change that was made already.
        """
        given = _without_self(locals(), "namespace", "method", "model", "settings", "strict", "fitted")
        row = self._row(self._drafted(given), checked_namespace(namespace))
        if method is None and (model is not None or settings or strict):
            raise InputError("a model, settings and strict go with a method that writes into weights; name the method")
        looks: tuple[Look, ...] = ()
        if kind == FORGET and fitted is None:
            raise InputError("the kind forget is for what `memedit forget` writes; give another")
        if method is not None:
            from memedit.baking import fitted_row  # here: nobody else needs it

            fitted, looks = fitted_row(self, row, method, model, settings or {}, namespace=namespace, strict=strict)
        written = self.journal.add(namespace, [row], fitted=fitted)[0]
        receipt = self._receipt(written.seq, written.retired)
        return changed(receipt, looks=tuple(changed(look, id=look.id or receipt.id) for look in looks))

    def add_many(
        self,
        drafts: Iterable[Draft | str | Mapping[str, Any]],
        *,
        namespace: str = DEFAULT_NAMESPACE,
        vectors: Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        batch: int = 50_000,
        progress: Progress | None = None,
    ) -> Names:
        """Write many facts, in order, `batch` at a time; -> the id of the edit that stands for each.

        A draft is a Draft, a statement, or a mapping with the fields of a Draft ({"statement": …, "source": …}).

        What is written by then is on disk after each batch. Of a larger one less is written twice over: a fact's hashes
        fall anywhere in the journal's indexes, so that a batch touches nearly all of their pages.

        `vectors` are unit vectors of this memory's encoder: an array (n, dimension) with one for each statement, or a
        sequence of n arrays (keys, dimension), whose rows belong to the first keys of each edit. A faulty draft raises
        InputError with its number; the batches before it stay written. So does one text or mapping in a list's place.
        """
        checked_namespace(namespace)
        if isinstance(drafts, str | bytes | Mapping | Draft) or not isinstance(drafts, Iterable):
            raise InputError(f"add_many takes a list of drafts, not one {type(drafts).__name__}; {_A_DRAFT}")
        encoder = (self.encoder.identity, self.encoder.dimension) if vectors is not None else None
        total = len(drafts) if isinstance(drafts, Sequence) else None
        ids: Names = []
        rest = iter(drafts)
        while chunk := list(islice(rest, batch)):
            start = len(ids)
            rows = []
            blobs: list[bytes] | None = None
            counts: Sequence[int | None] = [None] * len(chunk)
            if vectors is not None and encoder is not None:
                blobs, counts = _blobs(vectors, start, len(chunk), encoder[1])
            for number, (draft, keys) in enumerate(zip(chunk, counts, strict=True), start + 1):
                try:
                    rows.append(self._row(_as_draft(draft), namespace, keys=keys))
                except InputError as error:
                    raise InputError(f"draft {number}: {error}") from error
            written = self.journal.add(namespace, rows, encoder=encoder, vectors=blobs)
            ids += [one.id for one in written]
            if progress is not None:
                progress(len(ids), total)
        return ids

    def replace(
        self,
        id: str,  # noqa: A002 - the noun that users know
        statement: str,
        *,
        subject: str | None = None,
        relation: str | None = None,
        target: str | None = None,
        prompt: str | None = None,
        question: str | None = None,
        aliases: Sequence[str] | None = None,
        author: str | None = None,
        source: str | None = None,
        reason: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        kind: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Receipt:
        """Write a fact in the place of the edit `id`, whatever its subject and relation. Aliases and kind are kept.

        Raises NotFoundError where the namespace has no such edit, InputError where it is undone, removed or purged.
        """
        checked_namespace(namespace)
        given = _without_self(locals(), "id", "namespace")

        def row(old: Edit) -> Row:
            kept = {"aliases": old.aliases if aliases is None else aliases, "kind": kind or old.kind}
            return self._row(self._drafted(given | kept), namespace)

        written = self.journal.replace(namespace, id, row)
        return self._receipt(written.seq, written.retired)

    def remove(
        self,
        id: str,  # noqa: A002
        *,
        author: str | None = None,
        reason: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Record:
        """Take an edit out. What it had superseded does not come back, unless the removal is undone.

        Raises NotFoundError where the namespace has no such edit, InputError where it is removed, undone or purged.
        """
        return self.journal.remove(
            checked_namespace(namespace),
            id,
            author=_text(author or self.author, "author"),
            reason=_text(reason, "reason", LONGEST_STATEMENT),
        )

    def undo(
        self,
        *,
        id: str | None = None,  # noqa: A002
        last: int | None = None,
        author: str | None = None,
        since: datetime | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        by: str | None = None,
        reason: str | None = None,
    ) -> Records:
        """Make records as if they had never been written; -> those records, the newest first.

        In the namespace: by `id` of an edit, a removal or an undo (which is a redo); or the `last` so many, those of an
        `author`, those `since` a time, or what fits all of these. Raises InputError where there are none.
        """
        which = self._which(id, last, author, since, namespace)
        return self.journal.undo(**which, by=_text(by or self.author, "by"), reason=_text(reason, "reason"))

    def preview_undo(
        self,
        *,
        id: str | None = None,  # noqa: A002
        last: int | None = None,
        author: str | None = None,
        since: datetime | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Records:
        """The records that `undo` would undo."""
        return self.journal.undoable(**self._which(id, last, author, since, namespace))

    def purge(
        self,
        *,
        id: str | None = None,  # noqa: A002
        author: str | None = None,
        subject: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> int:
        """Erase edits for good, current or not, from every file that memedit made; -> how many. It cannot be undone.

        In the namespace: by id, or all by an author (whose name goes too), or all about a subject (its name or one of
        its aliases; an edit that merely mentions it stays). A hash of each statement stays. Raises JournalError where a
        file could not be cleaned; `doctor(repair=True)` tries again.
        """
        if [id, author, subject].count(None) != 2:
            raise InputError("say what to purge by one of id, author and subject")
        checked_namespace(namespace)
        about = None if subject is None else _about(namespace, subject)
        with self.journal.unchecked():  # this is the way to be rid of a damaged edit
            if id is not None:
                self.get(id, namespace=namespace)  # before anything goes
            before = self.journal.generation(namespace)
            try:
                count = self.journal.purge(namespace=namespace, given=id, author=author, about=about, by=self.author)
            finally:
                if self.journal.generation(namespace) != before:  # erased, though a file may still have to be cleaned
                    self._drop_index(namespace)
        return count

    # Reading

    def get(
        self,
        id: str,  # noqa: A002
        *,
        as_of: datetime | int | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Edit:
        """The edit of that id, or of the one id in the namespace that begins so (6 characters at least), at a moment.

        Raises NotFoundError, naming near ones, where there is none in the namespace or it was written later.
        """
        checked_namespace(namespace)
        at = self.journal.at(as_of)
        seq, name, op = self.journal.resolve(namespace, id)
        if op not in EDITS:
            raise InputError(f"{name} is a record of the operation {op!r}, not an edit; see `memedit history {name}`")
        if at.n is not None and seq > at.n:
            raise NotFoundError(f"{name} was written later, as number {seq}; as of then the journal ended at {at.n}")
        return self.journal.find(seqs=[seq], at=at)[0]

    def list(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        subject: str | None = None,
        text: str | None = None,
        author: str | None = None,
        state: State | Literal["all"] = "current",
        limit: int | None = None,
        offset: int = 0,
        as_of: datetime | int | None = None,
        patches: bool | None = None,
    ) -> Edits:
        """The edits of a namespace that fit, the newest first, at a moment.

        `subject` fits the subject or an alias, however written; `text` is part of the statement, in any case; `state`
        is one of State, or "all"; `patches` is True for the patches alone (memedit.patches), False for all else.
        """
        checked_namespace(namespace)
        if state not in STATES:
            raise InputError(f"there is no state {state!r}; there are: {', '.join(STATES)}")
        if offset < 0 or (limit is not None and limit < 0):
            raise InputError("limit and offset may not be negative")
        about = None if subject is None else _about(namespace, subject)
        found = self.journal.find(
            namespace=namespace,
            about=about,
            named=None if patches is None else (_patches(namespace), patches),
            text=text,
            author=author,
            wanted=state,
            limit=limit,
            offset=offset,
            at=self.journal.at(as_of),
        )
        if patches:
            found = [edit for edit in found if edit.kind in KINDS]
        return [edit for edit in found if edit.seq not in self.left_out] if self.left_out else found

    def count(self, namespace: str = DEFAULT_NAMESPACE, state: State | Literal["all"] = "current") -> int:
        """How many edits of a namespace are in a state."""
        if state not in STATES:
            raise InputError(f"there is no state {state!r}; there are: {', '.join(STATES)}")
        count = self.journal.count(checked_namespace(namespace), state)
        if self.left_out:
            count -= len(self.journal.find(namespace=namespace, seqs=self.left_out, wanted=state))
        return count

    def without(self, seqs: Iterable[int]) -> EditMemory:
        """The same memory, less these edits where facts are searched, listed or counted; it is closed with this one.

        It is what a model is answered with that has these edits in its weights (memedit.baking).
        """
        view = copy.copy(self)
        view._whole = self._whole or self
        view.left_out = self.left_out | frozenset(seqs)
        return view

    def bakes(self, *, namespace: str = DEFAULT_NAMESPACE, as_of: datetime | int | None = None) -> Bakes:
        """The changes of weights that edits of a namespace are carried by at a moment, in order, in force or not."""
        return self.journal.bakes(checked_namespace(namespace), self.journal.at(as_of))

    def namespaces(self) -> Names:
        """The names of all namespaces that were ever written to, sorted."""
        return self.journal.namespaces()

    def history(
        self,
        *,
        id: str | None = None,  # noqa: A002
        subject: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Records:
        """All that was ever written about an edit (what it superseded and what superseded it too) or a subject, the
        oldest first."""
        if (id is None) == (subject is None):
            raise InputError("say whose history by one of id and subject")
        checked_namespace(namespace)
        if id is None:
            found = self.journal.find(namespace=namespace, about=_about(namespace, subject or ""))
            return self.journal.related(namespace, [edit.seq for edit in found])
        seq, _, op = self.journal.resolve(namespace, id)
        targets = () if op in EDITS else self.journal.record(seq).targets
        return self.journal.related(namespace, {seq, *(self.journal.resolve(namespace, one)[0] for one in targets)})

    def log(self, namespace: str = DEFAULT_NAMESPACE, limit: int | None = None) -> Records:
        """The last records of a namespace, the newest first."""
        return self.journal.records(checked_namespace(namespace), limit=limit)

    def possible_conflicts(self, edit: Edit) -> Edits:
        """Current edits that `edit` may contradict, and that no rule retires: same subject, same or like relation of
        unknown cardinality (or the same prompt where no relation is known), another target; or the same sentence but in
        one place. The newest first."""
        places = [] if edit.subject is None else [_about(edit.namespace, edit.subject)]
        places += [_said(edit.namespace, begins) for begins in (opening(edit.statement),) if begins is not None]
        others = {
            other.seq: other
            for place in places
            for other in self.journal.find(namespace=edit.namespace, about=place, wanted="current", limit=200)
            if other.id != edit.id and _may_conflict(edit, other)
        }
        return [others[seq] for seq in sorted(others, reverse=True)]

    # Searching

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded when first asked for."""
        if self._whole is not None:
            return self._whole.encoder
        with self._lock:
            if self._encoder is None:
                spec = self._spec
                if spec is None:
                    from memedit.settings import load_settings

                    spec = load_settings().encoder
                if isinstance(spec, str):
                    from memedit.encoders import load_encoder

                    spec = load_encoder(spec)
                self._encoder = spec
            return self._encoder

    def search(
        self,
        query: str | NDArray[np.float32],
        *,
        k: int = 5,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
        floor: float = -1.0,
        patches: bool = False,
    ) -> Hits:
        """The `k` current edits nearest to a text or unit vector, the nearest first, each once, by its best key.

        Edits that score below `floor` are not returned; where none reaches it, no edit is read, which is the fastest
        search there is. Patches (memedit.patches) are no facts and only found where they are asked for. Reads first
        what other processes have written. The past is scanned exactly.
        """
        queries = [query] if isinstance(query, str) else query.reshape(1, -1)
        return self.search_many(queries, k=k, namespace=namespace, as_of=as_of, floor=floor, patches=patches)[0]

    def search_many(
        self,
        queries: Sequence[str] | NDArray[np.float32],
        *,
        k: int = 5,
        namespace: str = DEFAULT_NAMESPACE,
        as_of: datetime | int | None = None,
        floor: float = -1.0,
        patches: bool = False,
    ) -> HitLists:
        """`search` for each of several texts, or rows of a (q, dimension) array, at one moment."""
        checked_namespace(namespace)
        if k < 1:
            raise InputError(f"k is how many edits to find, so at least 1, not {k}")
        at = self.journal.at(as_of)
        hidden = None if patches else _patches(namespace)
        past: list[int] | None = None
        if as_of is None:
            empty = namespace not in self._indexes and not self.journal.any_live(namespace)
        else:
            apart = self.left_out.union(() if hidden is None else self.journal.named(hidden))
            past = sorted(set(self.journal.seqs(namespace, "current", at)) - apart)
            empty = not past
        if empty or not len(queries):
            return [[] for _ in queries]  # an empty memory needs no encoder
        if isinstance(queries, Sequence):
            vectors = self.encoder.encode([_clean(text)[:LONGEST_STATEMENT] for text in queries])
        else:
            vectors = queries
        index = self._index(namespace)
        if past is None:
            head, off = self.journal.standing(namespace, at, hidden)
            if not index.shows(head):
                index.sync()
                at = self.journal.now()
                _, off = self.journal.standing(namespace, at, hidden)
            found = index.search(vectors, k, [*off, *self.left_out], floor)
        else:
            found = index.scan(vectors, past, k, floor)
        seqs = {seq for hits in found for seq, _, _ in hits}
        if not seqs:
            return [[] for _ in found]
        with self.journal.one_state():
            edits = {edit.seq: edit for edit in self.journal.find(seqs=seqs, at=at)}
            keys = self.journal.keys(seqs)
        # An edit retired between the search and this reading is left out.
        return [
            [
                Hit(edit=edits[seq], score=score, key=keys[seq][number] if number < len(keys[seq]) else "")
                for seq, number, score in hits
                if seq in keys and seq in edits and edits[seq].state == "current"
            ]
            for hits in found
        ]

    @contextmanager
    def one_state(self, namespace: str = DEFAULT_NAMESPACE) -> Iterator[None]:
        """Within this all that the thread searches and reads is of one state of the memory, looked up once.

        For several searches of one question. What is written meanwhile is not seen until it ends.
        """
        index = self._indexes.get(checked_namespace(namespace))
        if index is None:  # the first search makes it, which may take long
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(self.journal.one_state())
            if not index.shows(self.journal.head()):
                stack.close()  # catching up writes
                index.sync()
                stack.enter_context(self.journal.one_state())
                self.journal.head()  # a state begins with its first reading
            yield

    def search_named(
        self,
        text: str,
        vector: NDArray[np.float32],
        *,
        k: int = 5,
        namespace: str = DEFAULT_NAMESPACE,
        floor: float = -1.0,
        known: Sequence[Hit] = (),
    ) -> Hits:
        """Of the current edits whose subject or alias stands in a text, the `k` nearest to its (dimension,) vector.

        `search` finds what is nearest; where many edits are near, the one that is asked for by name may not be among
        the nearest. Of a name with more than MOST_NAMED edits the newest so many are looked at. `known` is what
        `search` has found for this very text: edits in it are not read once more.
        """
        from memedit.parsing import names_within

        checked_namespace(namespace)
        names = {about(namespace, name) for name in names_within(text)}
        found = {hit.edit.seq: hit for hit in known}
        with self.journal.one_state():
            named = self.journal.naming(namespace, names, MOST_NAMED) if names else []
            others = [seq for seq in named if seq not in found and seq not in self.left_out]
            edits = {edit.seq: edit for edit in self.journal.find(seqs=others)} if others else {}
        kept = [seq for seq in others if seq in edits and edits[seq].state == "current" and edits[seq].kind == "fact"]
        hits = [found[seq] for seq in named if seq in found]
        if kept:
            scanned = self._index(namespace).scan(vector[None], kept, k, floor)[0]
            keys = self.journal.keys(seq for seq, _, _ in scanned)
            hits += [
                Hit(edit=edits[seq], score=score, key=keys[seq][number] if number < len(keys[seq]) else "")
                for seq, number, score in scanned
                if seq in keys
            ]
        return sorted(hits, key=lambda hit: (-hit.score, -hit.edit.seq))[:k]

    def sync(self, namespace: str = DEFAULT_NAMESPACE, progress: Progress | None = None) -> None:
        """Bring the index of a namespace up to the journal now, rather than at the next search."""
        if self.journal.any_live(checked_namespace(namespace)):
            self._index(namespace).sync(progress=progress)

    def rebuild(self, namespace: str = DEFAULT_NAMESPACE, progress: Progress | None = None) -> None:
        """Make the index of a namespace anew from the journal."""
        if self.journal.any_live(checked_namespace(namespace)):
            self._index(namespace).rebuild(progress=progress)

    def _index(self, namespace: str) -> Index:
        with self._lock:
            index = self._indexes.get(namespace)
            if index is None:
                from memedit.index import Index

                folder = self._index_folder(namespace)
                index = Index(self.journal, namespace, lambda: self.encoder, self.store, folder)
                self._indexes[namespace] = index
            return index

    def _index_folder(self, namespace: str) -> Path:
        name = sha256(namespace.encode()).hexdigest()[:16]
        if self.journal.folder is not None:
            return self.journal.folder / "index" / name
        # On this machine, since the database may be on another.
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return home / "memedit" / sha256(self.journal.where.encode()).hexdigest()[:16] / name

    def _drop_index(self, namespace: str) -> None:
        with self._lock:
            index = self._indexes.pop(namespace, None)
            if index is not None:
                index.erase()
            folder = self._index_folder(namespace)
            try:
                if folder.exists():
                    shutil.rmtree(folder)
            except OSError as error:
                raise JournalError(f"the index files in {folder} cannot be deleted: {error.strerror}") from error

    # Files

    def import_file(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
        strict: bool = False,
        author: str | None = None,
        source: str | None = None,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Write the facts of a file: JSONL, CSV, or a dataset as it is (memedit.datasets); the format is found out.

        A faulty line is reported and the rest goes in; with `strict` nothing does where a line is faulty. Run again
        after an interruption it goes on where it stopped; see memedit.exchange for what counts as there already.
        Raises NotFoundError where there is no such file, InputError where it is of no known format.
        """
        from memedit.exchange import import_file

        return import_file(
            self,
            Path(path),
            format=format,
            namespace=checked_namespace(namespace),
            strict=strict,
            author=_text(author or self.author, "author"),
            source=_text(source, "source"),
            progress=progress,
        )

    def export_file(
        self,
        path: str | os.PathLike[str] | IO[str],
        *,
        format: Literal["jsonl", "csv"] = "jsonl",  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
        state: State | Literal["all"] = "current",
    ) -> int:
        """Write the edits of a namespace, the oldest first, to a file or stream; -> how many. It can be imported."""
        from memedit.exchange import export_file

        return export_file(self, path, format=format, namespace=checked_namespace(namespace), state=state)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the journal to a file, while others go on writing. Put as `journal.db` in a folder, it is a memory.

        The journal remembers where the copy lies, so that a purge reaches it. A file of that name is written over.
        """
        self.journal.backup(Path(path))

    # Looking after it

    def stats(self, namespace: str | None = None) -> dict[str, object]:
        """Counts and sizes, of one namespace or of all: JSON-ready.

        `records`, `journal_bytes` and `backups` are those of the whole journal, which namespaces share.
        """
        names = self.namespaces() if namespace is None else [checked_namespace(namespace)]
        spaces = {}
        for name in names:
            states = self.journal.state_counts(name)
            spaces[name] = {"edits": sum(states.values()), **states}
        index_folders = [self._index_folder(name) for name in names]
        files = [file for folder in index_folders if folder.is_dir() for file in folder.rglob("*") if file.is_file()]
        return {
            "where": self.journal.where,
            "records": self.journal.head(),
            "namespaces": spaces,
            "journal_bytes": self.journal.size(),
            "index_bytes": sum(file.stat().st_size for file in files),
            "encoders": [
                {"identity": identity, "dimension": dimension, "edits": edits}
                for identity, dimension, edits in self.journal.encoders(namespace)
            ],
            "backups": [str(path) for path, _, _ in self.journal.backups() if path.exists()],
        }

    def doctor(self, namespace: str | None = None, *, repair: bool = False) -> Findings:
        """What is wrong, or may be: damage, state that is not the fold of the journal, a stale index, conflicts.

        With `repair`, what can be put right is.
        """
        found: list[Finding] = []
        for line in self.journal.integrity()[:10]:
            advice = "Keep the files as they are; restore a backup, or export what can still be read."
            found.append(Finding("error", f"the database is damaged: {line}", advice))
        damage = self._check_records()  # its edits cannot be read
        found += damage
        for name in self.namespaces() if namespace is None else [checked_namespace(namespace)]:
            found += self._check_fold(name, repair)
            found += self._check_index(name, repair)
            found += [] if damage else self._check_conflicts(name)
        found += self._check_leftovers(repair)
        return found

    def _check_records(self) -> Findings:
        damaged, missing = self.journal.damaged()
        found = []
        if damaged:
            which = ", ".join(damaged[:10]) + (f" and {len(damaged) - 10:,} more" if len(damaged) > 10 else "")
            what = f"{len(damaged):,} records are not as memedit wrote them: {which}"
            advice = "Restore a backup; or erase each (memedit purge --id ID) and tell it anew."
            found.append(Finding("error", what, advice))
        if missing:
            found.append(Finding("error", f"{missing:,} records are missing from the journal", "Restore a backup."))
        return found

    def _check_fold(self, namespace: str, repair: bool) -> Findings:
        now = self.journal.now()
        folded = fold(self.journal.entries(namespace), None, now.t)
        flags = self.journal.live_flags(namespace)
        wrong = [seq for seq in folded.keys() | flags.keys() if seq not in folded or flags.get(seq) != folded[seq].live]
        if not wrong:
            return []
        what = f"namespace {namespace!r}: {len(wrong)} edits are kept in another state than the journal says"
        if repair:
            self.journal.refold(namespace, folded)
            self._drop_index(namespace)
            return [Finding("warning", f"{what}; put right")]
        return [Finding("error", what, "Run: memedit doctor --repair")]

    def _check_index(self, namespace: str, repair: bool) -> Findings:
        live = self.journal.live_count(namespace)
        known = [identity for identity, _, _ in self.journal.encoders(namespace)]
        if not live or not known:
            return []
        try:
            identity = self.encoder.identity
        except MemEditError as error:
            return [Finding("error", f"the encoder cannot be loaded: {error}", "Searching needs it.")]
        if repair:
            self.rebuild(namespace)
        found = []
        fault = self._index(namespace).fault()
        if fault is not None:
            what = f"namespace {namespace!r}: the index files cannot be used: {fault}"
            found.append(Finding("warning", what, "The next search makes them anew; so does: memedit doctor --repair"))
        if missing := live - self.journal.vector_count(identity, namespace):
            what = f"namespace {namespace!r}: {missing:,} of {live:,} edits have no vectors yet"
            found.append(Finding("note", what, "The next search encodes them."))
        if foreign := [other for other in known if other != identity]:
            what = f"vectors of another encoder are kept as well: {', '.join(foreign)}"
            found.append(Finding("note", what, "They serve when that encoder is used again."))
        return found

    def conflicts(self, namespace: str = DEFAULT_NAMESPACE, after: int = 0) -> Conflicts:
        """(edit, older ones that it may contradict) of the current edits, as `possible_conflicts` has it.

        Of edits written after the sequence number `after`. At most 1,000 subjects are looked at, and of each its newest
        200 edits.
        """
        found: dict[int, tuple[Edit, dict[int, Edit]]] = {}
        for group in self.journal.crowded(checked_namespace(namespace), after):
            edits = self.journal.find(seqs=group, wanted="current", at=self.journal.now())
            for place, edit in enumerate(edits):
                against = {other.seq: other for other in edits[place + 1 :] if _may_conflict(edit, other)}
                if against and edit.seq > after:
                    found.setdefault(edit.seq, (edit, {}))[1].update(against)
        return [(edit, [*others.values()]) for _, (edit, others) in sorted(found.items())]

    def _check_conflicts(self, namespace: str) -> Findings:
        found = []
        for edit, others in self.conflicts(namespace):
            against = ", ".join(other.id for other in others)
            what = f"{edit.id} ({_shortened(edit.statement)}) may contradict {against}"
            found.append(Finding("note", what, "Both stay. Remove the one that is wrong, or replace it."))
        if len(found) > 20:
            rest = len(found) - 20
            found[20:] = [Finding("note", f"namespace {namespace!r}: {rest:,} more such conflicts")]
        return found

    def _check_leftovers(self, repair: bool) -> Findings:
        found = []
        if repair:
            try:
                self.journal.scrub()
            except JournalError as error:
                found.append(Finding("error", str(error), "Put that right and run: memedit doctor --repair"))
        elif self.journal.scrub_due():
            what = "a purge has not cleaned all files yet"
            found.append(Finding("error", what, "Run: memedit doctor --repair"))
        for path, _, reached in self.journal.backups():
            if path.exists() and not reached and not repair:
                what = f"the backup {path} still holds what was purged"
                found.append(Finding("error", what, "Delete it, or make it writable and run: memedit doctor --repair"))
        return found

    # From a draft to a row

    def _drafted(self, given: dict[str, Any]) -> Draft:
        if isinstance(given["aliases"], str):
            raise InputError("aliases is a list of names, not one string")
        return Draft(**given | {"aliases": tuple(given["aliases"]), "author": given["author"] or self.author})

    def _row(self, draft: Draft, namespace: str, keys: int | None = None, exported: bool = False) -> Row:
        """The row of a draft: checked, cleaned, parsed. `keys` is how many of its keys are kept; `exported` tells that
        its subject and relation are what was once made of it, which need not have been given."""
        # Late, because it reads the relations and makes their patterns, which a listing does not need.
        from memedit.parsing import normalise, parse

        draft = cleaned(draft)
        if draft.kind in KINDS:
            return _patch_row(checked(draft), namespace)
        if draft.kind == FORGET:
            return _patch_row(draft, namespace)
        statement = draft.statement
        begin, end = checked_window(draft.valid_from, draft.valid_to)
        given: dict[str, Any] = {
            "subject": draft.subject,
            "relation": draft.relation,
            "target": draft.target,
            "prompt": draft.prompt,
        }
        slot_given = bool(draft.subject and draft.relation) and not exported
        if slot_given and draft.target:
            # Nothing is left to be found in the sentence, and looking costs more than all the rest of a bulk write.
            if draft.prompt is None and statement.endswith(draft.target):
                given["prompt"] = statement.removesuffix(draft.target).rstrip() or None
            given["relation"] = _relation_name(draft.relation)
            parsed = parse("", **given, backwards=keys != 1)
        else:
            parsed = parse(statement, **given)
        question, cardinality = draft.question or parsed.question, parsed.cardinality
        if self._parser is not None and keys is None and (parsed.subject is None or parsed.target is None):
            asked = self._asked(statement)
            if asked is not None:
                question = draft.question or asked.pop("question", None)
                told: dict[str, Any] = asked | {name: value for name, value in given.items() if value}
                parsed = parse(statement, **told)
                question = question or parsed.question
                cardinality = "unknown"  # a model may help to find an edit, but never retires one
        subject, relation = parsed.subject, parsed.relation

        name = normalise(subject) if subject else ""
        slot = None
        if name and relation and cardinality == "single":
            if slot_given:
                slot = slot_hash(namespace, name, normalise(relation))
            elif parsed.frame is not None:
                slot = slot_hash(namespace, parsed.frame, normalise(relation))
        # Where a caller says what it is about, nobody looks for sentences like it.
        begins = None if slot_given else opening(statement)
        said = set() if begins is None else {_said(namespace, begins)}
        aliases = tuple(alias for alias in draft.aliases if alias != subject)
        if keys == 1:
            more: list[str] = []
        else:
            reversed_forms = (parsed.reversed_question, parsed.reversed_statement, parsed.inverse_question)
            more = _keys(statement, question, reversed_forms, subject, aliases)
            if keys is not None:
                if keys > len(more) + 1:
                    raise InputError(f"{keys} vectors were given, but it has {len(more) + 1} keys")
                more = more[: keys - 1]
        return Row(
            statement=statement,
            subject=subject,
            relation=relation,
            target=parsed.target,
            prompt=parsed.prompt,
            question=question,
            aliases=json.dumps(aliases, ensure_ascii=False) if aliases else None,
            kind=draft.kind,
            author=draft.author,
            source=draft.source,
            reason=draft.reason,
            valid_from=begin,
            valid_to=end,
            cardinality=cardinality,
            keys=json.dumps(more, ensure_ascii=False) if more else None,
            slot=slot,
            about=about(namespace, name) if name else None,
            digest=digest(namespace, statement, begin, end),
            names=tuple({about(namespace, normalise(alias)) for alias in aliases} | said),
            given=slot_given,
            frame=parsed.frame,
        )

    def _asked(self, statement: str) -> dict[str, str] | None:
        """What the chat model makes of a sentence, or None with a note in the log."""
        if self._ask_parser is None:
            from memedit.integrations.parser import chat_parser

            self._ask_parser = chat_parser(self._parser)
        return self._ask_parser(statement)

    def _receipt(self, seq: int, retired: Sequence[int]) -> Receipt:
        now = self.journal.now()
        found = {edit.seq: edit for edit in self.journal.find(seqs=[seq, *retired], at=now)}
        edit = found[seq]
        conflicts = [other for other in self.possible_conflicts(edit) if other.seq not in retired]
        # One that begins later retires nothing yet.
        superseded = tuple(found[one] for one in retired if found[one].superseded_by == edit.id)
        return Receipt(edit=edit, superseded=superseded, possible_conflicts=tuple(conflicts))

    def _which(
        self, given: str | None, last: int | None, author: str | None, since: datetime | None, namespace: str
    ) -> dict[str, Any]:
        if given is None and last is None and author is None and since is None:
            raise InputError("say what to undo: an id, the last so many, an author's, or since a time")
        if given is not None and (last is not None or author is not None or since is not None):
            raise InputError("an id stands alone: give no last, author or since with it")
        if last is not None and last < 1:
            raise InputError(f"last is how many records to undo, so at least 1, not {last}")
        if since is not None:
            to_micros(since)
        checked_namespace(namespace)
        return {"given": given, "last": last, "author": author, "since": since, "namespace": namespace}


# Checks and small pieces, pure


def checked_statement(statement: object) -> str:
    """The statement on one line. Raises InputError where nothing is left of it, or too much."""
    if not isinstance(statement, str):
        raise InputError(f"a statement is a sentence, not {type(statement).__name__}")
    if len(statement) > LONGEST_STATEMENT:
        raise InputError(
            f"the statement has {len(statement):,} characters; at most {LONGEST_STATEMENT:,} are allowed: "
            f"an edit is one fact, so cut it into several"
        )
    cleaned = _clean(statement)
    if not cleaned:
        raise InputError('the statement is empty; write a sentence such as "The CEO of Acme is Dana Li"')
    return cleaned


_A_DRAFT = (
    'a draft is a statement ("The CEO of Acme is Dana Li"), a memedit.Draft, or a mapping with its fields '
    f"({', '.join(field.name for field in fields(Draft))})"
)


def _as_draft(given: object) -> Draft:
    """A draft from what stands for one. Raises InputError, saying what does, for anything else."""
    if isinstance(given, Draft):
        return given
    if isinstance(given, str):
        return Draft(statement=given)
    if not isinstance(given, Mapping):
        raise InputError(f"{type(given).__name__} is no draft; {_A_DRAFT}")
    known = [field.name for field in fields(Draft)]
    if unknown := [str(name) for name in given if name not in known]:
        raise InputError(f"unknown: {', '.join(unknown)}; {_A_DRAFT}")
    told = {name: value for name, value in given.items() if value is not None}
    if "statement" not in told:
        raise InputError(f"there is no statement in it; {_A_DRAFT}")
    aliases = told.get("aliases", ())
    if not isinstance(aliases, list | tuple):
        raise InputError(f"aliases is a list of names, not {type(aliases).__name__}")
    return Draft(**told | {"aliases": tuple(aliases)})


def cleaned(draft: Draft) -> Draft:
    """The draft with every text on one line. Raises InputError where it cannot be written as it is."""
    if len(draft.aliases) > MOST_ALIASES:
        raise InputError(f"{len(draft.aliases)} aliases are given; at most {MOST_ALIASES} are allowed")
    aliases = [_text(alias, "an alias") for alias in draft.aliases] if draft.aliases else ()
    checked_window(draft.valid_from, draft.valid_to)
    texts = (
        checked_statement(draft.statement),
        _text(draft.subject, "subject"),
        _text(draft.relation, "relation"),
        _text(draft.target, "target"),
        _text(draft.prompt, "prompt", LONGEST_STATEMENT),
        _text(draft.question, "question", LONGEST_STATEMENT),
        tuple(dict.fromkeys(alias for alias in aliases if alias)) if aliases else (),
        _text(draft.kind, "kind") or "fact",
        _text(draft.author, "author"),
        _text(draft.source, "source"),
        _text(draft.reason, "reason", LONGEST_STATEMENT),
    )
    if texts == _texts(draft):  # as nearly all are
        return draft
    names: dict[str, Any] = dict(zip(_TEXTS, texts, strict=True))
    return changed(draft, **names)


def checked_window(begin: datetime | None, end: datetime | None) -> tuple[int | None, int | None]:
    """Both in microseconds. Raises InputError where one has no time zone, or the end is not after the beginning."""
    for name, moment in (("valid_from", begin), ("valid_to", end)):
        if moment is not None and not isinstance(moment, datetime):
            raise InputError(f"{name} is a datetime with a time zone, not {moment!r}")
    first = None if begin is None else to_micros(begin)
    last = None if end is None else to_micros(end)
    if first is not None and last is not None and last <= first:
        raise InputError(f"valid_to ({end}) must come after valid_from ({begin})")
    return first, last


def digest(namespace: str, statement: str, begin: int | None, end: int | None, kind: str = "fact") -> int:
    """What makes two drafts the same fact: the words and the validity; a patch is never the same as a fact."""
    return hash64("digest", namespace, statement, begin, end, *([kind] if kind in KINDS else []))


def about(namespace: str, name: str) -> int:
    """The hash under which a normalised subject or alias is looked up."""
    return hash64("about", namespace, name)


def _said(namespace: str, begins: str) -> int:
    """The name under which the facts that begin so are found; no subject's hash is made so."""
    return hash64("said", namespace, begins)


def _patches(namespace: str) -> int:
    """The name under which the patches of a namespace are found; no subject's hash is made so."""
    return hash64("patches", namespace)


def _patch_row(draft: Draft, namespace: str) -> Row:
    """The row of a checked patch: nothing is parsed from it, and it is in no slot."""
    begin, end = checked_window(draft.valid_from, draft.valid_to)
    return Row(
        statement=checked_statement(draft.statement),
        subject=None,
        relation=draft.relation,
        target=_text(draft.target, "the consequence"),
        prompt=_text(draft.prompt, "the condition", LONGEST_STATEMENT),
        question=draft.question,
        aliases=json.dumps(draft.aliases, ensure_ascii=False) if draft.aliases else None,
        kind=draft.kind,
        author=draft.author,
        source=draft.source,
        reason=draft.reason,
        valid_from=begin,
        valid_to=end,
        cardinality="unknown",
        keys=None,
        slot=None,
        about=None,
        digest=digest(namespace, draft.statement, begin, end, draft.kind),
        names=(_patches(namespace),),
    )


def _clean(text: str) -> str:
    """On one line, without control characters or halves of characters, and no space twice."""
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    elif "  " not in text and text == text.strip():
        return text
    return " ".join(text.split())


def _text(text: object, name: str, longest: int = LONGEST_NAME) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InputError(f"{name} is text, not {type(text).__name__}")
    if len(text) > longest:
        raise InputError(f"{name} has {len(text):,} characters; at most {longest:,} are allowed")
    return _clean(text) or None


def _keys(
    statement: str,
    question: str | None,
    reversed_forms: Sequence[str | None],
    subject: str | None,
    aliases: Sequence[str],
) -> list[str]:
    """The keys besides the statement: question, reversed forms, and statement and question under each alias."""
    keys = [key for key in (question, *reversed_forms) if key]
    for alias in aliases:
        keys += [
            text.replace(subject, alias, 1) for text in (statement, question) if text and subject and subject in text
        ]
    return [key for key in dict.fromkeys(keys) if key != statement][: MOST_KEYS - 1]


def _about(namespace: str, subject: str) -> int:
    from memedit.parsing import normalise

    name = normalise(subject)
    if not name:
        raise InputError("the subject is empty")
    return hash64("about", namespace, name)


def _may_conflict(edit: Edit, other: Edit) -> bool:
    """Whether two current edits may contradict each other (the rule of `possible_conflicts`)."""
    from memedit.parsing import normalise

    if edit.kind in KINDS or other.kind in KINDS:
        return False
    if edit.target is not None and other.target is not None and normalise(edit.target) == normalise(other.target):
        return False
    if edit.relation and other.relation and "many" in (_cardinality(edit.relation), _cardinality(other.relation)):
        return False
    if alike(edit.statement, other.statement):
        return True
    if edit.subject is None or other.subject is None or normalise(edit.subject) != normalise(other.subject):
        return False
    if edit.relation and other.relation:
        words, others = (set(normalise(name.replace("_", " ")).split()) for name in (edit.relation, other.relation))
        return len(words & others) >= 0.6 * len(words | others)
    return bool(edit.prompt and other.prompt and normalise(edit.prompt) == normalise(other.prompt))


@lru_cache(maxsize=4096)
def _relation_name(relation: str) -> str:
    from memedit.parsing import parse

    return parse("", relation=relation).relation or relation


def _cardinality(relation: str) -> str:
    from memedit.relations import relations

    known = relations().get(relation)
    return "unknown" if known is None else known.cardinality


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _blobs(
    vectors: Sequence[NDArray[Any]] | NDArray[Any], start: int, count: int, dimension: int
) -> tuple[list[bytes], list[int | None]]:
    """The float16 rows of `count` edits from `start` on, and how many keys each has."""
    import numpy as np

    if len(vectors) < start + count:
        raise InputError(f"there are {len(vectors)} vectors for at least {start + count} drafts")
    part = vectors[start : start + count]
    if isinstance(part, np.ndarray) and part.ndim == 2:
        if part.shape[1] != dimension:
            raise InputError(f"vectors have {part.shape[1]} numbers each; this encoder's have {dimension}")
        data, width = part.astype("<f2").tobytes(), 2 * dimension
        return [data[place : place + width] for place in range(0, count * width, width)], [1] * count
    arrays = [np.asarray(one, dtype="<f2") for one in part]
    for number, one in enumerate(arrays, start + 1):
        if one.ndim != 2 or one.shape[1] != dimension or not len(one):
            raise InputError(f"vectors of draft {number} have the shape {one.shape}, not (keys, {dimension})")
    return [one.tobytes() for one in arrays], [len(one) for one in arrays]


def _without_self(names: dict[str, Any], *left_out: str) -> dict[str, Any]:
    return {name: value for name, value in names.items() if name not in ("self", *left_out)}
