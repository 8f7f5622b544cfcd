"""The journal: an append-only log of edits over SQLAlchemy Core, SQLite by default, PostgreSQL by URL.

It is the truth; everything else (the index, the flags kept beside it) can be made again from it. memedit.fold defines
what the records mean; here the same is done in SQL, and the part that does not depend on the clock is kept materialised
in the transaction of each record, so that opening a memory of a million edits folds nothing:

    state   for each edit, whether it is live
    chain   which edits stand in one line (memedit.fold, rule 2); a chain is a slot's hash, or -seq for an edit's own,
            which is only written down once somebody replaces that edit
    undone  from which record until which a record was not effective; that is all the past needs
    change  when an edit became live or ceased to be, except that it became live when it was written

Changes of weights (memedit.baking) stand beside the record that brought them: `bake` says whose and how, `bake_part`
holds the bytes, `untaken` names the edits that the model was found not to say with them. Which are in force is judged
when asked (memedit.fold, rule 5).

Sequence numbers rise in commit order without gaps, because a writer takes the database's write lock first (SQLite:
BEGIN IMMEDIATE; PostgreSQL: an advisory lock) and then the number after the last. So a reader that has seen number n
has seen all before it. "As of a time" is "as of a number": memedit.dates finds it, whatever the clock has done, and
`setback` holds the places where it had been set back.

Each record has a checksum of its columns, and a folder's files are known again (memedit.databases), so that nothing is
answered from a row that was changed by other hands, or acknowledged into a file that is gone.

This file reads, and says when a transaction begins and ends; memedit.writer writes inside it, memedit.rules holds the
SQL of the fold, memedit.databases opens and cleans the files. Memory (memedit.memory) parses, checks and searches; here
no text is known but to keep it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from memedit import databases
from memedit.databases import DATABASE, Database, explained
from memedit.dates import Dates, Fall
from memedit.edits import Bake, Edit, Record, State
from memedit.errors import ConflictError, InputError, JournalError, NewerFormatError
from memedit.files import new_id
from memedit.fold import Carried, Carrier, Entry, Folded, carried, said
from memedit.lookups import (
    chunks,
    created_at,
    edit_of,
    encoder_base,
    head_of,
    is_whole,
    naming,
    resolve,
    selected,
)
from memedit.migrations import MIGRATIONS
from memedit.rules import (
    ends,
    found_now,
    is_effective,
    is_purged,
    is_valid,
    keys_of,
    naming_live,
    outside_now,
    overridden,
    standing,
    state_of,
    superseded_by,
)
from memedit.schema import (
    BAKES,
    EDITS,
    SEQ_BITS,
    UNDOABLE,
    At,
    Fitted,
    Row,
    Written,
    alias,
    backup_,
    bake_,
    base_hash,
    chain,
    change,
    encoder_,
    meta,
    metadata,
    namespace_,
    part,
    purged,
    record,
    setback,
    state,
    target,
    to_datetime,
    to_micros,
    untaken,
    vector,
)
from memedit.writer import Writer

if TYPE_CHECKING:  # numpy costs as much to import as all of this file; only the index's path needs it
    import numpy as np
    from numpy.typing import NDArray

# Asked at every search or question, so made once.
_NAMED = sa.select(alias.c.seq).where(alias.c.name == sa.bindparam("name"))
_BAKED = sa.select(bake_.c.seq).where(bake_.c.namespace == sa.bindparam("number")).limit(1)


class _Held(threading.local):
    """The connection that this thread reads with for longer than one question, and whether it reads what is damaged."""

    connection: Connection | None = None
    unchecked = False


class Journal:
    """One database of edits. Made by `Journal.open`; safe to use from several threads; `close` it after use.

    `writable` is None, or the reason why nothing can be written. `clock` gives microseconds since 1970.
    """

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._files = database.files
        self.where = database.where
        self.folder = database.folder
        self.obstacle = database.obstacle
        self.clock: Callable[[], int] = lambda: time.time_ns() // 1000
        self._numbers: dict[str, int] = {}
        self._bases: dict[str, int] = {}
        self._inserts: dict[str, str] = {}
        self._held = _Held()
        self._begin: Callable[[], None] | None = None
        """Makes the database, which is not there yet; called before the first write."""
        self._elsewhere: TemporaryDirectory[str] | None = None
        self._dates: Dates | None = None
        self.seen = 0
        """The last sequence number when it was last asked for: others may have written since."""

    # Opening and closing

    @classmethod
    def open(
        cls, where: str | os.PathLike[str], *, read_only: bool = False, born: Callable[[], None] | None = None
    ) -> Journal:
        """The journal in a folder (made if need be) or at a database URL, brought to this version's format.

        With `born` a folder that holds none yet is made by the first write, and then `born` is called: until then an
        empty journal, kept elsewhere, stands for it, so that what is refused leaves nothing behind.

        Raises NotFoundError if it is to be read only and not there, NewerFormatError if a newer memedit wrote it,
        JournalError if it cannot be opened or is not memedit's. Where the files cannot be written it opens for reading,
        and writing raises JournalError.
        """
        text = os.fspath(where)
        if born is not None and not read_only and "://" not in text and not (Path(text) / DATABASE).exists():
            return cls._unborn(Path(text), born)
        journal = cls(
            databases.open_url(text, read_only) if "://" in text else databases.open_folder(Path(text), read_only)
        )
        try:
            journal._bring_to_format()
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def _unborn(cls, folder: Path, born: Callable[[], None]) -> Journal:
        databases.checked_place(folder)
        elsewhere = TemporaryDirectory(prefix="memedit-", ignore_cleanup_errors=True)
        journal = cls.open(elsewhere.name)
        journal.where, journal.folder = str(folder), folder
        beginning = threading.Lock()

        def begin() -> None:
            with beginning:
                if journal._begin is None:
                    return
                made = cls.open(folder)  # another process may have been faster
                before, journal._engine, journal.obstacle = journal._engine, made._engine, made.obstacle
                journal._files = made._files
                journal._begin = None
                before.dispose()  # who reads from it goes on; its files stay until the journal is closed
            born()

        journal._begin, journal._elsewhere = begin, elsewhere
        return journal

    def close(self) -> None:
        self._engine.dispose()
        if self._elsewhere is not None:
            self._elsewhere.cleanup()

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @property
    def _mark(self) -> str:
        """What stands for a parameter where SQL goes to the driver as it is."""
        return "?" if self.is_sqlite else "%s"

    @property
    def path(self) -> Path | None:
        """The database file, where there is one."""
        return None if self.folder is None else self.folder / DATABASE

    def _bring_to_format(self) -> None:
        with self._reading() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            found = self._format(connection, tables)
        if found == len(MIGRATIONS):
            if self.obstacle is None and self.scrub_due():  # of a purge that was cut short
                with suppress(JournalError):  # still due then, and `doctor` says so; a memory opens all the same
                    self._scrub_own(patience=0)
                    self._purge_backups()
            return
        if self.obstacle is not None:
            raise JournalError(
                f"{self.where} is of format {found} and has to be brought to format {len(MIGRATIONS)}, but "
                f"{self.obstacle}; open it once where it can be written"
            )
        with self._writing(fresh=True) as writer:
            connection = writer.connection
            # Another process may have been faster.
            found = self._format(connection, set(sa.inspect(connection).get_table_names()))
            for step in MIGRATIONS[found:]:
                step(connection)
            connection.execute(sa.delete(meta).where(meta.c.name == "format"))
            connection.execute(sa.insert(meta).values(name="format", value=str(len(MIGRATIONS))))

    def _format(self, connection: Connection, tables: set[str]) -> int:
        if not tables:
            return 0
        value = None
        if "meta" in tables and "record" in tables:
            value = connection.execute(sa.select(meta.c.value).where(meta.c.name == "format")).scalar()
        if value is None:
            raise JournalError(f"{self.where} is a database of something else than memedit; name another place")
        if int(value) > len(MIGRATIONS):
            raise NewerFormatError(
                f"{self.where} was written by a newer memedit: it has format {value}, this one knows up to "
                f"{len(MIGRATIONS)}. Upgrade memedit; nothing was changed"
            )
        return int(value)

    # Transactions

    @contextmanager
    def one_state(self) -> Iterator[None]:
        """Within this all that the thread reads is of one state of the database: one transaction, begun once."""
        with self._reading() as connection:
            before, self._held.connection = self._held.connection, connection
            try:
                yield
            finally:
                self._held.connection = before

    @contextmanager
    def unchecked(self) -> Iterator[None]:
        """Within this the thread reads edits as they stand, damaged or not: to find those that are to go."""
        before, self._held.unchecked = self._held.unchecked, True
        try:
            yield
        finally:
            self._held.unchecked = before

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout."""
        if self._held.connection is not None:
            yield self._held.connection
            return
        with explained(self.where), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            if self._files is not None:
                self._files.check(connection, "nothing was read")
            yield connection

    @contextmanager
    def _writing(self, fresh: bool = False, trial: bool = False) -> Iterator[Writer]:
        """A transaction that holds the write lock from its first statement; committed when the block ends well.

        `trial` says that it never does.
        """
        if self._begin is not None and not trial:
            self._begin()
        if self.obstacle is not None:
            raise JournalError(f"{self.where} cannot be written: {self.obstacle}")
        with explained(self.where), self._engine.connect() as plain:
            connection = plain.execution_options(memedit_begin="BEGIN IMMEDIATE")
            with connection.begin():
                if self._files is not None:
                    self._files.begin(connection)
                else:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{databases.LOCK_SECONDS}s'")
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext(current_schema()), 20250)")
                yield Writer(self, connection, fresh)
                if self._files is not None:
                    self._files.check(connection, "nothing was written", written=True)
            if self._files is not None:  # what went into a file that is gone was not written
                self._files.check(connection, "what was being written may be lost with it", written=True)

    def _number(self, connection: Connection, namespace: str) -> int:
        """The namespace's number, -1 where there is none."""
        number = self._numbers.get(namespace)
        if number is None:
            query = sa.select(namespace_.c.number).where(namespace_.c.name == namespace)
            number = connection.execute(query).scalar()
            if number is None:
                return -1
            self._numbers[namespace] = number
        return number

    def _base(self, connection: Connection, encoder_identity: str) -> int | None:
        """What the keys of an encoder's vectors are counted from; None where it has encoded nothing yet."""
        base = self._bases.get(encoder_identity)
        if base is None and (base := encoder_base(connection, encoder_identity)) is not None:
            self._bases[encoder_identity] = base  # never changes, and every search asks
        return base

    def now(self) -> At:
        return At(None, self.clock())

    def at(self, as_of: datetime | int | None) -> At:
        """The moment that a sequence number, an aware datetime or None (now) stands for."""
        if as_of is None:
            return self.now()
        with self._reading() as connection:
            return self._at(connection, as_of)

    def _at(self, connection: Connection, as_of: datetime | int) -> At:
        head = head_of(connection)
        if isinstance(as_of, bool) or not isinstance(as_of, (int, datetime)):
            raise InputError(f"as_of is a sequence number or a datetime, not {as_of!r}")
        if isinstance(as_of, int):
            n = max(0, min(as_of, head))
            return At(n, self._judged(connection, head).of(n))
        t = to_micros(as_of)
        return At(self._judged(connection, head).upto(t), t)

    def _judged(self, connection: Connection, head: int | None = None) -> Dates:
        """The dates of the records as they are to be believed now."""
        head = head_of(connection) if head is None else head

        def told(first: int, last: int) -> Sequence[int]:
            if first == last:
                return [created_at(connection, first)]
            query = sa.select(record.c.created_at).where(record.c.seq.between(first, last)).order_by(record.c.seq)
            return connection.scalars(query).all()

        now, known = self.clock(), self._dates
        if known is None or known.head != head or not known.holds(now):
            falls = [Fall(*row) for row in connection.execute(sa.select(setback))]
            self._dates = known = Dates(head, falls, told, now)
        return known.by(told)

    def _edits(self, connection: Connection, rows: Iterable[Any]) -> list[Edit]:
        """The edits of rows that were `selected`, with the dates that are believed. Refuses what is damaged."""
        read = list(rows)
        damaged = [] if self._held.unchecked else [row.id for row in read if not is_whole(row)]
        if damaged:
            raise JournalError(
                f"{self.where}: the edit {damaged[0]} is damaged: it is not as memedit wrote it. `memedit doctor` "
                f"lists all that are; restore a backup, or erase it (memedit purge --id {damaged[0]}) and tell it anew"
            )
        dates = self._judged(connection) if read and read[0].fell else None
        return [edit_of(row, row.created_at if dates is None else dates.of(row.seq)) for row in read]

    # What the index reads

    def head(self) -> int:
        """The last sequence number, 0 for an empty journal."""
        with self._reading() as connection:
            self.seen = head_of(connection)
        return self.seen

    def generation(self, namespace: str) -> int:
        """A number that rises with every purge in the namespace; index files of an older one hold erased edits."""
        with self._reading() as connection:
            query = sa.select(namespace_.c.generation).where(namespace_.c.name == namespace)
            return int(connection.execute(query).scalar() or 0)

    def changes(self, namespace: str, after: int, upto: int | None = None) -> Iterator[tuple[int, int, bool]]:
        """(seq, edit seq, live) of each change in `after` < seq <= `upto`, in order of seq.

        A purged edit is never reported live, though it once was: its text is gone.
        """
        with self._reading() as connection:
            number = self._number(connection, namespace)
            upto = head_of(connection) if upto is None else upto
            written = sa.select(state.c.seq, state.c.seq.label("edit_seq"), sa.literal_column("1").label("live"))
            written = written.where(state.c.namespace == number, state.c.live.in_((0, 1)))
            written = written.where(state.c.seq > after, state.c.seq <= upto)
            flips = sa.select(change.c.seq, change.c.edit_seq, change.c.live)
            flips = flips.where(change.c.namespace == number, change.c.seq > after, change.c.seq <= upto)
            # An edit that was dead when it was written has both: it became live, and ceased to be.
            feed = sa.union_all(written, flips).order_by("seq", "edit_seq", sa.desc("live"))
            gone = set(connection.scalars(sa.select(purged.c.seq)))
            for seq, edit_seq, live in connection.execute(feed):
                if not (live and edit_seq in gone):
                    yield seq, edit_seq, bool(live)

    def live(self, namespace: str, batch: int = 10_000) -> Iterator[list[int]]:
        """The seqs of the live edits, rising, in lists of up to `batch`. Each list is read anew."""
        after = 0
        while True:
            with self._reading() as connection:
                number = self._number(connection, namespace)
                query = sa.select(state.c.seq).where(
                    state.c.namespace == number, state.c.live == 1, state.c.seq > after
                )
                seqs = list(connection.scalars(query.order_by(state.c.seq).limit(batch)).all())
            if not seqs:
                return
            yield seqs
            after = seqs[-1]

    def live_count(self, namespace: str) -> int:
        with self._reading() as connection:
            number = self._number(connection, namespace)
            query = sa.select(sa.func.count()).where(state.c.namespace == number, state.c.live == 1)
            return int(connection.execute(query).scalar_one())

    def any_live(self, namespace: str) -> bool:
        """Whether there is a live edit: what a search asks first, so nothing is counted."""
        with self._reading() as connection:
            number = self._number(connection, namespace)
            query = sa.select(state.c.seq).where(state.c.namespace == number, state.c.live == 1).limit(1)
            return connection.execute(query).first() is not None

    def special(self, namespace: str, after: int, upto: int) -> list[tuple[int, str]]:
        """(seq, kind) of each edit written in `after` < seq <= `upto` whose kind is not "fact", in whatever state."""
        with self._reading() as connection:
            number = self._number(connection, namespace)
            query = sa.select(record.c.seq, record.c.kind).where(
                record.c.seq > after, record.c.seq <= upto, record.c.namespace == number, record.c.op.in_(EDITS)
            )
            rows = connection.execute(query.where(record.c.kind != "fact"))
            return [(seq, kind) for seq, kind in rows]

    def named(self, name: int) -> list[int]:
        """The seqs of all edits, whatever their state, beside whose aliases this hash was written."""
        with self._reading() as connection:
            return list(connection.scalars(_NAMED, {"name": name}))

    def naming(self, namespace: str, names: Iterable[int], most: int) -> list[int]:
        """The seqs of the live edits whose subject, or one of its aliases, has one of these hashes; rising.

        Of each name the `most` newest: there may be a thousand of one, and the only one of another is wanted as well.

        The hashes are those of `memedit.memory.about`.
        """
        found: set[int] = set()
        with self._reading() as connection:
            number = self._number(connection, namespace)
            for some in chunks(names):
                query = naming_live(len(some), self._mark)
                found.update(seq for (seq,) in connection.exec_driver_sql(query, (*some, *some, number, most)))
        return sorted(found)

    def keys(self, edit_seqs: Iterable[int]) -> dict[int, list[str]]:
        """The key texts of each edit, the statement first; purged edits and other records are missing."""
        found: dict[int, list[str]] = {}
        with self._reading() as connection:
            for seqs in chunks(edit_seqs):
                for seq, statement, more in connection.execute(keys_of(), {"seqs": seqs}):
                    if statement is not None:
                        found[seq] = [statement, *(json.loads(more) if more else ())]
        return found

    def vectors(self, encoder_identity: str, edit_seqs: Iterable[int]) -> dict[int, bytes]:
        """What `put_vectors` kept for each edit; edits without are missing."""
        found: dict[int, bytes] = {}
        with self._reading() as connection:
            base = self._base(connection, encoder_identity)
            if base is not None:
                for seqs in chunks(edit_seqs):
                    # To the driver as it is: SQLAlchemy writes a list of values anew each time, at every search.
                    listed = f"SELECT id, data FROM vector WHERE id IN ({', '.join([self._mark] * len(seqs))})"
                    rows = connection.exec_driver_sql(listed, tuple(base | seq for seq in seqs)).fetchall()
                    found.update((row_id - base, bytes(data)) for row_id, data in rows)
        return found

    def put_vectors(self, encoder_identity: str, dimension: int, vectors: Mapping[int, bytes]) -> None:
        """Keep the (keys, dimension) float16 rows of each edit, in place of what was there. Purged edits are ignored.

        Derived data: no record is written. Raises InputError where the encoder was known with another dimension.
        """
        if not vectors:
            return
        with self._writing() as writer:
            writer.put_vectors(encoder_identity, dimension, vectors)

    def live_vectors(
        self, encoder_identity: str, namespace: str, after_edit_seq: int = 0, batch: int = 10_000
    ) -> Iterator[tuple[NDArray[np.int64], list[bytes]]]:
        """(seqs, float16 blobs) of the live edits that have vectors, rising, up to `batch` at a time."""
        import numpy as np  # here, because listing a memory needs no numpy

        after = after_edit_seq
        while True:
            with self._reading() as connection:
                base = self._base(connection, encoder_identity)
                number = self._number(connection, namespace)
                if base is None or number < 0:
                    return
                query = sa.select(state.c.seq, vector.c.data).join_from(
                    state, vector, vector.c.id == state.c.seq + sa.literal(base, sa.BigInteger())
                )
                query = query.where(state.c.namespace == number, state.c.live == 1, state.c.seq > after)
                rows = connection.execute(query.order_by(state.c.seq).limit(batch)).fetchall()
            if not rows:
                return
            seqs, blobs = zip(*rows, strict=True)
            yield np.array(seqs, dtype=np.int64), list(blobs)
            after = seqs[-1]

    def not_current(self, namespace: str, at: At | datetime | int | None = None) -> list[int]:
        """The seqs of live edits that are not current at the moment: before or after their time, or overridden in it.

        Only edits with a validity can cause any, so this is usually empty and cheap. `at` is a moment of now: the past
        is read with `find`.
        """
        t = at.t if isinstance(at, At) else to_micros(at) if isinstance(at, datetime) else self.clock()
        with self._reading() as connection:
            return self._not_current(connection, self._number(connection, namespace), t)

    def _not_current(self, connection: Connection, number: int, t: int) -> list[int]:
        return sorted(connection.scalars(outside_now(), {"number": number, "t": t}))

    def standing(self, namespace: str, at: At, name: int | None = None) -> tuple[int, list[int]]:
        """`head` and `not_current`, and `named` if there is a name: what a search wants to know, in one reading."""
        with self._reading() as connection:
            wanted = {"number": self._number(connection, namespace), "t": at.t, "name": name}
            rows = connection.execute(standing(), wanted).fetchall()
        return next(seq for off, seq in rows if not off) or 0, sorted(seq for off, seq in rows if off)

    # Reading edits and records

    def namespaces(self) -> list[str]:
        with self._reading() as connection:
            return list(connection.scalars(sa.select(namespace_.c.name).order_by(namespace_.c.name)))

    def find(
        self,
        *,
        namespace: str | None = None,
        about: int | None = None,
        named: tuple[int, bool] | None = None,
        text: str | None = None,
        author: str | None = None,
        digest: int | None = None,
        seqs: Iterable[int] | None = None,
        wanted: State | str = "all",
        at: At | None = None,
        limit: int | None = None,
        offset: int = 0,
        oldest_first: bool = False,
    ) -> list[Edit]:
        """The edits that fit everything given, as of `at`, the newest first.

        `namespace` is None only together with `seqs`. `about` is the hash of a subject or alias; `named` a hash that
        only stands beside the aliases, and whether it must be there or may not; `text` a part of the statement, in any
        case; `wanted` a state or "all".
        """
        if seqs is None:
            with self._reading() as connection:
                return self._find(connection, **_without(locals(), "self", "seqs", "connection"))
        found: list[Edit] = []
        at = self.now() if at is None else at
        with self._reading() as connection:
            given = _without(locals(), "self", "seqs", "connection", "found")
            plain = at.n is None and wanted == "all" and limit is None and not offset
            plain = plain and all(one is None for one in (namespace, about, named, text, author, digest))
            for chunk in chunks(seqs):
                if plain:
                    rows = connection.execute(found_now(), {"t": at.t, "seqs": chunk})
                    found += self._edits(connection, rows)
                else:
                    found += self._find(connection, **given, seqs=chunk)
        return sorted(found, key=lambda edit: edit.seq, reverse=not oldest_first)

    def _find(
        self,
        connection: Connection,
        *,
        namespace: str | None = None,
        about: int | None = None,
        named: tuple[int, bool] | None = None,
        text: str | None = None,
        author: str | None = None,
        digest: int | None = None,
        seqs: list[int] | None = None,
        wanted: State | str = "all",
        at: At | None = None,
        limit: int | None = None,
        offset: int = 0,
        oldest_first: bool = False,
    ) -> list[Edit]:
        at = self.now() if at is None else at
        e = record.alias("e")
        number = None if namespace is None else self._number(connection, namespace)
        narrow = any(given is not None for given in (about, author, digest, seqs)) or (named is not None and named[1])
        source, conditions, fixed = self._conditions(e, number, at, wanted, narrow)
        if about is not None:
            conditions.append(e.c.seq.in_(naming(about)))
        if named is not None:
            there = e.c.seq.in_(sa.select(alias.c.seq).where(alias.c.name == named[0]))
            conditions.append(there if named[1] else ~there)
        if text is not None:
            conditions.append(sa.func.lower(e.c.statement).contains(text.lower(), autoescape=True))
        if author is not None:
            conditions.append(e.c.author == author)
        if digest is not None:
            conditions.append(e.c.digest == digest)
        if seqs is not None:
            conditions.append(e.c.seq.in_(seqs))
        judged = state_of(e, at) if fixed is None else sa.literal_column(f"'{fixed}'")
        by = superseded_by(e, at) if fixed in (None, "superseded") else sa.null()
        query = selected(e, source, judged, by, ends(e, at.n))
        by_seq = e.c.seq if source is e else state.c.seq
        query = query.where(*conditions).order_by(by_seq if oldest_first else by_seq.desc())
        if limit is not None or offset:
            query = query.limit(limit if limit is not None else 2**62).offset(offset)
        return self._edits(connection, connection.execute(query))

    def _conditions(
        self, e: Any, number: int | None, at: At, wanted: State | str, narrow: bool = False
    ) -> tuple[Any, list[sa.ColumnElement[bool]], State | None]:
        """Where to select the edits of a namespace in a state, how, and that state if each one selected has it.

        `narrow` tells that other conditions leave few edits, so that these are to be looked at first.
        """
        conditions: list[sa.ColumnElement[bool]] = [e.c.op.in_(EDITS)]
        if at.n is not None:
            conditions.append(e.c.seq <= at.n)
        if wanted == "current" and at.n is None and number is not None:
            # The common case: the live ones by index, less the few outside their time.
            conditions += [is_valid(e, at.t), e.c.seq.not_in(overridden(number, at.t))]
            if narrow:
                live = sa.select(sa.literal(1)).where(state.c.seq == e.c.seq, state.c.live == 1)
                return e, [*conditions, e.c.namespace == number, live.exists()], "current"
            conditions += [state.c.namespace == number, state.c.live == 1]
            return e.join(state, state.c.seq == e.c.seq), conditions, "current"
        if number is not None:
            conditions.append(e.c.namespace == number)
        if wanted != "all":
            conditions.append(state_of(e, at) == wanted)
        return e, conditions, None

    def count(self, namespace: str, wanted: State | str = "current", at: At | None = None) -> int:
        """How many edits of a namespace are in a state ("all": any)."""
        at = self.now() if at is None else at
        with self._reading() as connection:
            number = self._number(connection, namespace)
            if wanted == "current" and at.n is None:
                query = sa.select(sa.func.count()).where(state.c.namespace == number, state.c.live == 1)
                live = int(connection.execute(query).scalar_one())
                return live - len(self._not_current(connection, number, at.t))
            e = record.alias("e")
            source, conditions, _ = self._conditions(e, number, at, wanted)
            query = sa.select(sa.func.count()).select_from(source).where(*conditions)
            return int(connection.execute(query).scalar_one())

    def seqs(self, namespace: str, wanted: State | str, at: At) -> list[int]:
        """The seqs of the edits that are in a state ("all": any) at a moment, rising."""
        with self._reading() as connection:
            e = record.alias("e")
            source, conditions, _ = self._conditions(e, self._number(connection, namespace), at, wanted)
            query = sa.select(e.c.seq).select_from(source).where(*conditions)
            return list(connection.scalars(query.order_by(e.c.seq)))

    def state_counts(self, namespace: str) -> dict[str, int]:
        """How many edits are in each state now; states without any are missing."""
        at = self.now()
        with self._reading() as connection:
            number = self._number(connection, namespace)
            # Only those that are dead or overridden need the rules in full; most are neither.
            off = self._not_current(connection, number, at.t)
            live = sa.select(sa.func.count()).where(state.c.namespace == number, state.c.live == 1)
            counts = {"current": int(connection.execute(live).scalar_one()) - len(off)}
            e = record.alias("e")
            judged = state_of(e, at).label("state")
            dead = sa.select(state.c.seq).where(state.c.namespace == number, state.c.live == 0)
            queries = [sa.select(judged).where(e.c.seq.in_(dead))]
            queries += [sa.select(judged).where(e.c.seq.in_(chunk)) for chunk in chunks(off)]
            for query in queries:
                for name in connection.scalars(query):
                    counts[name] = counts.get(name, 0) + 1
            return {name: count for name, count in counts.items() if count}

    def crowded(self, namespace: str, after: int = 0, groups: int = 1000) -> list[list[int]]:
        """The seqs of live edits about one subject, or found under one name (an alias, the beginning of a
        statement), where there are several and one was written after a number; at most so many groups of either."""
        with self._reading() as connection:
            number = self._number(connection, namespace)
            several = (
                sa.select(record.c.about)
                .join_from(record, state, state.c.seq == record.c.seq)
                .where(record.c.namespace == number, record.c.about.is_not(None), state.c.live == 1)
                .group_by(record.c.about)
                .having(sa.func.count() > 1, sa.func.max(record.c.seq) > after)
                .limit(groups)
            )
            query = sa.select(record.c.about, record.c.seq).join_from(record, state, state.c.seq == record.c.seq)
            query = query.where(record.c.about.in_(several.scalar_subquery()), state.c.live == 1)
            crowd = (
                sa.select(alias.c.name)
                .join_from(alias, state, state.c.seq == alias.c.seq)
                .where(state.c.namespace == number, state.c.live == 1)
                .group_by(alias.c.name)
                .having(sa.func.count() > 1, sa.func.max(alias.c.seq) > after)
                .limit(groups)
            )
            named = sa.select(alias.c.name, alias.c.seq).join_from(alias, state, state.c.seq == alias.c.seq)
            named = named.where(alias.c.name.in_(crowd.scalar_subquery()), state.c.live == 1)
            found: dict[int, list[int]] = {}
            for about, seq in connection.execute(query.order_by(record.c.seq)):
                found.setdefault(about, []).append(seq)
            for name, seq in connection.execute(named.order_by(alias.c.seq)):
                found.setdefault(name, []).append(seq)
            return [seqs[-200:] for seqs in found.values()]

    def latest(self, namespace: str, digests: Iterable[int]) -> dict[int, tuple[int, Edit]]:
        """digest -> (how many edits ever had it, the latest of them as it stands now)."""
        seqs: dict[int, tuple[int, int]] = {}
        with self._reading() as connection:
            for chunk in chunks(digests):
                query = sa.select(record.c.digest, sa.func.count(), sa.func.max(record.c.seq))
                query = query.where(record.c.digest.in_(chunk)).group_by(record.c.digest)
                seqs.update({digest: (count, seq) for digest, count, seq in connection.execute(query)})
        edits = {edit.seq: edit for edit in self.find(namespace=namespace, seqs=[seq for _, seq in seqs.values()])}
        return {digest: (count, edits[seq]) for digest, (count, seq) in seqs.items()}

    def digest_of(self, edit_id: str) -> int | None:
        with self._reading() as connection:
            return connection.execute(sa.select(record.c.digest).where(record.c.id == edit_id)).scalar()

    def tombstones(self, namespace: str) -> set[str]:
        """The SHA-256 of each statement that was purged, in hexadecimal."""
        with self._reading() as connection:
            query = sa.select(purged.c.sha256).join_from(purged, record, record.c.seq == purged.c.seq)
            return set(connection.scalars(query.where(record.c.namespace == self._number(connection, namespace))))

    def record(self, seq: int) -> Record:
        """The record of that number."""
        with self._reading() as connection:
            number = connection.scalars(sa.select(record.c.namespace).where(record.c.seq == seq)).one()
            return self._records(connection, number, [seq])[0]

    def resolve(self, namespace: str, given: str) -> tuple[int, str, str]:
        """(seq, id, op) of the one record of a namespace whose id is `given` or begins so (6 characters at least).

        Raises NotFoundError, naming near ones, where there is none; InputError where there are several. What other
        namespaces hold makes no difference.
        """
        with self._reading() as connection:
            return resolve(connection, given, self._number(connection, namespace), namespace)

    def records(
        self, namespace: str, *, seqs: Iterable[int] | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Record]:
        """The records of a namespace, the newest first; all, the last `limit`, or those of `seqs`."""
        with self._reading() as connection:
            return self._records(connection, self._number(connection, namespace), seqs, limit, offset)

    def _records(
        self,
        connection: Connection,
        number: int,
        seqs: Iterable[int] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Record]:
        query = sa.select(
            *(record.c[column] for column in ("seq", "id", "op", "created_at", "statement", "author", "reason")),
            namespace_.c.name,
            (~is_effective(record.c.seq, None)).label("undone"),
        ).join_from(record, namespace_, namespace_.c.number == record.c.namespace)
        query = query.where(record.c.namespace == number).order_by(record.c.seq.desc())
        if limit is not None or offset:
            query = query.limit(limit if limit is not None else 2**62).offset(offset)
        parts = [query] if seqs is None else [query.where(record.c.seq.in_(chunk)) for chunk in chunks(seqs)]
        rows = [row for part in parts for row in connection.execute(part)]
        fallen = rows and connection.execute(sa.select(setback.c.seq).limit(1)).first()
        dates = self._judged(connection) if fallen else None
        targets: dict[int, list[str]] = {}
        for chunk in chunks(row.seq for row in rows):
            acted = sa.select(target.c.seq, record.c.id).join_from(target, record, record.c.seq == target.c.target)
            for seq, name in connection.execute(acted.where(target.c.seq.in_(chunk)).order_by(target.c.target)):
                targets.setdefault(seq, []).append(name)
        found = [
            Record(
                id=row.id,
                seq=row.seq,
                op=row.op,
                namespace=row.name,
                created_at=to_datetime(row.created_at if dates is None else dates.of(row.seq)),
                statement=row.statement,
                targets=tuple(targets.get(row.seq, ())),
                author=row.author,
                reason=row.reason,
                undone=bool(row.undone),
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: one.seq, reverse=True)

    def related(self, namespace: str, seqs: Iterable[int]) -> list[Record]:
        """The records that bear on some edits, in order: their chains, and whatever acts on any of these."""
        with self._reading() as connection:
            number = self._number(connection, namespace)
            known: set[int] = set(seqs)
            fresh = set(known)
            while fresh:  # a chain may lead to another, an undo may be undone
                reached: set[int] = set()
                for chunk in chunks(fresh):
                    a, b = chain.alias(), chain.alias()
                    mates = sa.select(b.c.seq).join_from(a, b, b.c.chain == a.c.chain).where(a.c.seq.in_(chunk))
                    reached.update(connection.scalars(mates))
                    reached.update(connection.scalars(sa.select(target.c.seq).where(target.c.target.in_(chunk))))
                fresh = reached - known
                known |= fresh
            return self._records(connection, number, known)[::-1]

    def undoable(
        self,
        *,
        namespace: str,
        given: str | None = None,
        last: int | None = None,
        author: str | None = None,
        since: datetime | None = None,
    ) -> list[Record]:
        """The records that an undo so described would act on, the newest first. Raises InputError where none."""
        with self._reading() as connection:
            seqs, number = self._undoable(connection, namespace, given, last, author, since)
            return self._records(connection, number, seqs)

    def _undoable(
        self,
        connection: Connection,
        namespace: str,
        given: str | None,
        last: int | None,
        author: str | None,
        since: datetime | None,
    ) -> tuple[list[int], int]:
        number = self._number(connection, namespace)
        if given is not None:
            seq, name, op = resolve(connection, given, number, namespace)
            if op == "purge":
                raise InputError(f"{name} is a purge: what it erased is gone and cannot be brought back")
            gone = connection.execute(sa.select(purged.c.seq).where(purged.c.seq == seq)).first()
            if gone:
                raise InputError(f"{name} has been purged: there is nothing left to undo")
            if not connection.execute(sa.select(is_effective(sa.literal(seq, sa.BigInteger()), None))).scalar():
                by = sa.select(record.c.id).join_from(record, target, target.c.seq == record.c.seq)
                by = by.where(target.c.target == seq, target.c.op == "undo").order_by(record.c.seq.desc())
                undo = connection.scalars(by.limit(1)).one()
                raise InputError(f"{name} is undone already, by {undo}; undo {undo} to bring it back")
            return [seq], number
        query = sa.select(record.c.seq).where(record.c.namespace == number, record.c.op.in_(UNDOABLE))
        query = query.where(is_effective(record.c.seq, None), ~is_purged(record.c.seq))
        if author is not None:
            query = query.where(record.c.author == author)
        if since is not None:
            query = query.where(record.c.seq > self._judged(connection).upto(to_micros(since) - 1))
        query = query.order_by(record.c.seq.desc())
        seqs = list(connection.scalars(query.limit(last) if last is not None else query))
        if not seqs:
            what = "".join(
                [f" by {author!r}" if author is not None else "", f" since {since.isoformat()}" if since else ""]
            )
            raise InputError(f"nothing{what} is there to undo in namespace {namespace!r}")
        return seqs, number

    # Writing

    def add(
        self,
        namespace: str,
        rows: Sequence[Row],
        *,
        encoder: tuple[str, int] | None = None,
        vectors: Sequence[bytes] | None = None,
        fitted: Fitted | None = None,
    ) -> list[Written]:
        """Append edits, in order, in one transaction; what is returned is on disk.

        A row that says again what a current edit says is not written. With `encoder` (identity, dimension) the float16
        `vectors` of the rows are kept as by `put_vectors`. `fitted` is the change of weights that carries the edit of
        a single row; where that edit was there already, a record "bake" is appended for it.
        """
        with self._writing() as writer:
            if len(rows) >= databases.BULK:
                databases.keep_many_pages(writer.connection)
            written = writer.add(namespace, rows)
            if fitted is not None:
                number = writer.namespace(namespace)
                if written[0].new:
                    writer.keep(written[0].seq, number, fitted)
                else:
                    writer.bake(number, [written[0].seq], fitted, rows[0].author)
            if vectors is not None and encoder is not None:
                fresh = {one.seq: blob for one, blob in zip(written, vectors, strict=True) if one.new}
                if fresh:
                    writer.put_vectors(*encoder, fresh, new=True)
        return written

    def preview(self, namespace: str, row: Row) -> Written:
        """What `add` would make of a row now; nothing is written, and the seq and id of a new one are not kept."""
        written: list[Written] = []
        with suppress(_Preview), self._writing(trial=True) as writer:
            written = writer.add(namespace, [row])
            raise _Preview
        return written[0]

    def replace(self, namespace: str, given: str, row: Callable[[Edit], Row]) -> Written:
        """Append an edit that takes the place of another of the namespace, and of all that stand in its chains.

        `row` makes it from the edit that it replaces, as that stands inside the transaction.
        """
        with self._writing() as writer:
            old = writer.edit(namespace, given)
            if old.state in ("purged", "undone", "removed"):
                raise InputError(f"{old.id} is {old.state}, so nothing can take its place; add the fact instead")
            return writer.insert(namespace, "replace", row(old), replaces=old.seq)

    def remove(self, namespace: str, given: str, *, author: str | None = None, reason: str | None = None) -> Record:
        """Append the removal of an edit of the namespace. Raises InputError where it is removed, undone or purged
        already."""
        with self._writing() as writer:
            old = writer.edit(namespace, given)
            if old.state in ("purged", "undone", "removed"):
                raise InputError(f"{old.id} is {old.state} already; there is nothing to remove")
            number = writer.namespace(namespace)
            seq = writer.act("remove", number, [old.seq], author, reason)
            writer.refresh([old.seq], seq)
            return self._records(writer.connection, number, [seq])[0]

    def undo(
        self,
        *,
        namespace: str,
        given: str | None = None,
        last: int | None = None,
        author: str | None = None,
        since: datetime | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> list[Record]:
        """Append the undo of one record, the last few, an author's, or all since a time; -> the records undone."""
        with self._writing() as writer:
            seqs, number = self._undoable(writer.connection, namespace, given, last, author, since)
            seq = writer.act("undo", number, seqs, by, reason)
            writer.flip(seqs, seq)
            return self._records(writer.connection, number, seqs)

    def purge(
        self,
        *,
        namespace: str,
        given: str | None = None,
        author: str | None = None,
        about: int | None = None,
        by: str | None = None,
    ) -> int:
        """Erase the text and vectors of a namespace's edits for good, here and in memedit's backups: how many.

        What stays of each is its id, times, place in its chains and the SHA-256 of its statement. Raises JournalError
        where the transaction went through but a file could not be cleaned yet; the next opening tries again.
        """
        with self._writing() as writer:
            number = self._number(writer.connection, namespace)
            if given is not None:
                edit = writer.edit(namespace, given)
                seqs = [edit.seq]
                if edit.state == "purged":
                    raise InputError(f"{edit.id} is purged already")
            else:
                query = sa.select(record.c.seq).where(record.c.namespace == number, record.c.op.in_(EDITS))
                query = query.where(~is_purged(record.c.seq))
                if author is not None:
                    query = query.where(record.c.author == author)
                if about is not None:
                    query = query.where(record.c.seq.in_(naming(about)))
                seqs = list(writer.connection.scalars(query))
            named = author is not None and writer.named(number, author)
            if not seqs and not named:
                return 0
            writer.purge(number, seqs, author, by)
        self.scrub()
        return len(seqs)

    def signed(self, namespace: str, author: str) -> bool:
        """Whether any record of the namespace, of whatever operation, bears this author's name."""
        with self._reading() as connection:
            number = self._number(connection, namespace)
            query = sa.select(record.c.seq).where(record.c.namespace == number, record.c.author == author).limit(1)
            return connection.execute(query).first() is not None

    def scrub(self) -> None:
        """Take the bytes of what was purged out of the database's files and backups, where that is still due.

        Raises JournalError where another process reads without pause, or a backup cannot be cleaned.
        """
        self._scrub_own()
        unreached = self._purge_backups()
        if unreached:
            raise JournalError(
                f"erased here, but these backups could not be cleaned: {'; '.join(unreached)}. "
                f"Delete them, or make them writable and run: memedit doctor --repair"
            )

    def _scrub_own(self, patience: float | None = None) -> None:
        """secure_delete overwrites freed cells, VACUUM writes every page anew, and truncating the write-ahead log drops
        the older pages. PostgreSQL's own log and base backups are its administrator's."""
        if not self.scrub_due():
            return
        with explained(self.where):
            if self.is_sqlite:
                connection = self._engine.raw_connection()
                try:
                    driver = connection.driver_connection
                    assert isinstance(driver, sqlite3.Connection)
                    databases.rewrite(driver, self.where, databases.LOCK_SECONDS if patience is None else patience)
                finally:
                    connection.close()
            else:
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connected:
                    for table in (record, vector, alias, part, bake_):
                        connected.exec_driver_sql(f"VACUUM FULL {table.name}")
        with self._writing() as writer:
            writer.connection.execute(sa.delete(meta).where(meta.c.name == "scrub"))

    def scrub_due(self) -> bool:
        """Whether a purge went through whose bytes are still in a file."""
        with self._reading() as connection:
            return connection.execute(sa.select(meta.c.value).where(meta.c.name == "scrub")).first() is not None

    # Weights

    def any_bakes(self, namespace: str) -> bool:
        """Whether anything was ever put into weights: what each question asks first."""
        with self._reading() as connection:
            return connection.execute(_BAKED, {"number": self._number(connection, namespace)}).first() is not None

    def carried(self, namespace: str, at: At | None = None) -> list[Carried]:
        """What the effective bakes of a namespace carry at a moment, in order (memedit.fold, rule 5)."""
        at = self.now() if at is None else at
        with self._reading() as connection:
            return self._carried(connection, self._number(connection, namespace), at)

    def _carried(self, connection: Connection, number: int, at: At) -> list[Carried]:
        query = sa.select(bake_.c.seq, bake_.c.model, bake_.c.method).where(bake_.c.namespace == number)
        if at.n is not None:
            query = query.where(bake_.c.seq <= at.n)
        rows = connection.execute(query.where(is_effective(bake_.c.seq, at.n)).order_by(bake_.c.seq)).fetchall()
        if not rows:
            return []
        targets: dict[int, list[int]] = {}
        acted = sa.select(target.c.seq, target.c.target).join_from(bake_, target, target.c.seq == bake_.c.seq)
        acted = acted.where(bake_.c.namespace == number, target.c.op.in_(BAKES)).order_by(target.c.seq, target.c.target)
        for seq, edit in connection.execute(acted):
            targets.setdefault(seq, []).append(edit)
        found: dict[int, list[int]] = {}
        looked = sa.select(untaken).join_from(untaken, bake_, bake_.c.seq == untaken.c.seq)
        for seq, edit in connection.execute(looked.where(bake_.c.namespace == number).order_by(untaken.c.edit)):
            found.setdefault(seq, []).append(edit)
        carriers = [
            Carrier(seq, model, tuple(targets.get(seq, (seq,))), method is not None, tuple(found.get(seq, ())))
            for seq, model, method in rows
        ]
        current: set[int] = set()
        e = record.alias("e")
        source, conditions, _ = self._conditions(e, number, at, "current", narrow=True)
        for chunk in chunks(edit for one in carriers for edit in one.edits):
            there = sa.select(e.c.seq).select_from(source).where(*conditions, e.c.seq.in_(chunk))
            current.update(connection.scalars(there))
        return carried(carriers, current)

    def bakes(self, namespace: str, at: At | None = None) -> list[Bake]:
        """The effective bakes of a namespace at a moment, in order, in force or not."""
        at = self.now() if at is None else at
        with self._reading() as connection:
            every = self._carried(connection, self._number(connection, namespace), at)
            rows: dict[int, Any] = {}
            names: dict[int, str] = {}
            for chunk in chunks(one.seq for one in every):
                query = sa.select(bake_, record.c.id)
                query = query.join_from(bake_, record, record.c.seq == bake_.c.seq).where(bake_.c.seq.in_(chunk))
                rows.update({row.seq: row for row in connection.execute(query)})
            for chunk in chunks(edit for one in every for edit in one.edits):
                named = sa.select(record.c.seq, record.c.id).where(record.c.seq.in_(chunk))
                names.update((row.seq, row.id) for row in connection.execute(named))
            judged = self._judged(connection) if every else None
            dates = {} if judged is None else {one.seq: judged.of(one.seq) for one in every}
        force: dict[str, list[Carried]] = {}  # model -> its changes in force
        for one in every:
            if one.in_force:
                force.setdefault(one.model, []).append(one)
        spoken = {model: said(changes) for model, changes in force.items()}
        below: dict[str, list[int]] = {}  # model -> the changes in force so far
        made = []
        for one in every:
            row, standing = rows[one.seq], below.setdefault(one.model, [])
            made.append(
                Bake(
                    id=row.id,
                    seq=one.seq,
                    namespace=namespace,
                    created_at=to_datetime(dates[one.seq]),
                    method=row.method,
                    settings=json.loads(row.settings),
                    model=row.name,
                    model_hash=one.model,
                    edits=tuple(names[edit] for edit in one.edits),
                    left=tuple(names[edit] for edit in one.left),
                    untaken=tuple(
                        names[edit]
                        for edit in one.edits
                        if (edit not in spoken[one.model] if one.in_force else edit in one.untaken)
                    ),
                    stale=one.in_force and row.base != base_hash(standing),
                    size=row.size,
                )
            )
            if one.in_force:
                standing.append(one.seq)
        return made

    def weights(self, seqs: Iterable[int]) -> dict[int, bytes]:
        """The bytes of each change; those that a purge erased are missing."""
        parts: dict[int, list[bytes]] = {}
        with self._reading() as connection:
            for chunk in chunks(seqs):
                query = sa.select(part.c.seq, part.c.data).where(part.c.seq.in_(chunk))
                for seq, data in connection.execute(query.order_by(part.c.seq, part.c.number)):
                    parts.setdefault(seq, []).append(bytes(data))
        return {seq: b"".join(pieces) for seq, pieces in parts.items()}

    def bake(
        self,
        namespace: str,
        batches: Sequence[tuple[Sequence[int], Fitted]],
        *,
        author: str | None = None,
        reason: str | None = None,
    ) -> list[int]:
        """Append, in one transaction, a record "bake" for the edits (seqs) of each batch; -> the seqs of the records.

        Each was fitted on its own `on` and then on the batches before it. Raises ConflictError, nothing being written,
        where one of the edits is not current any more.
        """
        with self._writing() as writer:
            wanted = {edit for edits, _ in batches for edit in edits}
            at = At(None, writer.now)
            found = {
                edit.seq: edit
                for chunk in chunks(wanted)
                for edit in self._find(writer.connection, namespace=namespace, seqs=chunk, at=at, wanted="current")
            }
            if wanted - found.keys():
                missing = sorted(wanted - found.keys())[:5]
                gone = self._find(writer.connection, namespace=namespace, seqs=missing, at=at)
                which = ", ".join(f"{edit.id} is {edit.state}" for edit in gone)
                raise ConflictError(
                    f"the memory has changed while the change was fitted ({which}); nothing was written, run it again"
                )
            number = writer.namespace(namespace)
            made: list[int] = []
            for edits, fitted in batches:
                on = fitted._replace(on=(*fitted.on, *made))
                made.append(writer.bake(number, sorted(edits), on, author, reason))
            return made

    def unbake(
        self,
        namespace: str,
        edits: Mapping[tuple[str, str], Sequence[int]],
        *,
        author: str | None = None,
        reason: str | None = None,
    ) -> list[int]:
        """Append, for each (model's SHA-256, its name), the record that takes these edits out of its weights."""
        with self._writing() as writer:
            number = writer.namespace(namespace)
            return [
                writer.unbake(number, sorted(seqs), model, name, author, reason)
                for (model, name), seqs in edits.items()
            ]

    # Backups

    def backup(self, path: Path) -> None:
        """A copy of the database in the file `path`, which is written over. As a folder's journal.db it is a memory.

        The journal remembers where, so that a purge reaches it. Raises InputError where `path` is a folder or the
        database itself, or where the database is PostgreSQL (use pg_dump).
        """
        if self.path is None:
            raise InputError(f"{self.where} is PostgreSQL: back it up with pg_dump")
        goal = path.absolute()
        if goal.is_dir():
            raise InputError(f"{goal} is a folder; name a file for the backup, such as {goal / 'backup.db'}")
        if goal == self.path.absolute():
            raise InputError(f"{goal} is the database itself; name another file")
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            goal.with_name(goal.name + ".part").write_bytes(b"")
        except OSError as error:
            raise JournalError(f"the backup cannot be written to {goal}: {error.strerror}") from error
        head = 0
        if self.obstacle is None:
            with self._writing() as writer:  # first, so that no copy is ever unknown
                head = writer.head
                known = sa.select(backup_.c.path).where(backup_.c.path == str(goal))
                if writer.connection.execute(known).first() is None:
                    row = {"path": str(goal), "created_at": self.clock(), "purged": head}
                    writer.connection.execute(sa.insert(backup_).values(row))
        part = goal.with_name(goal.name + ".part")
        try:
            self._copy(part)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(goal)
        except BaseException as error:
            for left in (part, part.with_name(part.name + "-journal")):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
            if isinstance(error, (OSError, sqlite3.Error)):
                what = getattr(error, "strerror", None) or error
                raise JournalError(
                    f"the backup cannot be written to {goal}: {what}. An older one there is as it was; see that there "
                    "is room for another"
                ) from error
            raise
        if self.obstacle is None:
            with self._writing() as writer:  # last: until then an older copy may still hold what was purged since
                values = {"created_at": self.clock(), "purged": head}
                writer.connection.execute(sa.update(backup_).where(backup_.c.path == str(goal)).values(values))

    def _copy(self, part: Path) -> None:
        with explained(self.where):
            connection = self._engine.raw_connection()
        try:
            copy = sqlite3.connect(part)
            try:
                assert isinstance(connection.driver_connection, sqlite3.Connection)
                connection.driver_connection.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
                copy.execute(f"PRAGMA application_id = {new_id()}")  # no log of this database is the copy's
            finally:
                copy.close()
        finally:
            connection.close()

    def backups(self) -> list[tuple[Path, datetime, bool]]:
        """(file, time, whether the last purge has reached it) of each copy that memedit made."""
        with self._reading() as connection:
            last = connection.execute(sa.select(sa.func.max(purged.c.by_seq))).scalar() or 0
            rows = connection.execute(sa.select(backup_)).fetchall()
        return [(Path(row.path), to_datetime(row.created_at), row.purged >= last) for row in rows]

    def _purge_backups(self) -> list[str]:
        """Erase in every backup what is purged here; -> what could not be reached, and why."""
        if self.path is None:
            return []
        with self._reading() as connection:
            last = connection.execute(sa.select(sa.func.max(purged.c.by_seq))).scalar() or 0
            due = sa.select(backup_.c.path).where(backup_.c.purged < last)
            paths = [Path(path) for path in connection.scalars(due)]
        unreached = []
        for path in paths:
            if path == self.path.absolute() or not path.parent.exists():
                continue  # opened as a memory of its own, or the folder was deleted
            try:
                path.with_name(path.name + ".part").unlink(missing_ok=True)  # of a backup that was interrupted
                if path.exists():
                    databases.purge_copy(path, self.path)
            except (sqlite3.Error, OSError) as error:
                unreached.append(f"{path} ({error})")
                continue
            with self._writing() as writer:
                writer.connection.execute(sa.update(backup_).where(backup_.c.path == str(path)).values(purged=last))
        return unreached

    # Checking

    def entries(self, namespace: str) -> list[Entry]:
        """The whole journal of a namespace as memedit.fold reads it."""
        with self._reading() as connection:
            number = self._number(connection, namespace)
            acted: dict[int, list[int]] = {}
            query = sa.select(target.c.seq, target.c.target).join_from(target, record, record.c.seq == target.c.seq)
            for seq, other in connection.execute(query.where(record.c.namespace == number)):
                acted.setdefault(seq, []).append(other)
            names = ("seq", "op", "created_at", "slot", "valid_from", "valid_to", "began")
            columns = [record.c[name] for name in names]
            lines = sa.select(*columns).where(record.c.namespace == number).order_by(record.c.seq)
            found = [
                Entry(seq, op, created, tuple(acted.get(seq, ())), slot, begin, end, began)
                for seq, op, created, slot, begin, end, began in connection.execute(lines)
            ]
            # In a backup, what was purged after it was made.
            query = sa.select(purged.c.by_seq, purged.c.seq).join_from(purged, record, record.c.seq == purged.c.seq)
            later = connection.execute(query.where(record.c.namespace == number, purged.c.by_seq > head_of(connection)))
            return found + [Entry(by, "purge", 0, (seq,)) for by, seq in later]

    def live_flags(self, namespace: str) -> dict[int, bool]:
        """The materialised flag of every edit, to be compared with the fold."""
        with self._reading() as connection:
            query = sa.select(state.c.seq, state.c.live)
            query = query.where(state.c.namespace == self._number(connection, namespace))
            return {seq: bool(live) for seq, live in connection.execute(query)}

    def refold(self, namespace: str, folded: Mapping[int, Folded]) -> int:
        """Set the materialised flags to those of a fold; -> how many were wrong. For repair."""
        wrong = [(seq, one.live) for seq, one in folded.items() if self.live_flags(namespace).get(seq) != one.live]
        if wrong:
            with self._writing() as writer:
                number = writer.namespace(namespace)
                for seq, live in wrong:
                    writer.connection.execute(sa.delete(state).where(state.c.seq == seq))
                    writer.connection.execute(sa.insert(state).values(seq=seq, namespace=number, live=int(live)))
                # As after a purge: whatever was built on the wrong flags is to be built anew.
                writer.connection.execute(
                    sa.update(namespace_)
                    .where(namespace_.c.number == number)
                    .values(generation=namespace_.c.generation + 1)
                )
        return len(wrong)

    def integrity(self) -> list[str]:
        """What the database itself finds wrong with its files; empty where all is well."""
        if not self.is_sqlite:
            return []
        with self._reading() as connection:
            found = list(connection.exec_driver_sql("PRAGMA integrity_check").scalars())
        return [] if found == ["ok"] else found

    def damaged(self) -> tuple[list[str], int]:
        """The ids of the records that are not as they were written, and how many records are missing."""
        found: list[str] = []
        count = after = 0
        with self._reading() as connection:
            while rows := connection.execute(
                sa.select(record).where(record.c.seq > after).order_by(record.c.seq).limit(10_000)
            ).fetchall():
                found += [row.id for row in rows if not is_whole(row)]
                count, after = count + len(rows), rows[-1].seq
        return found, after - count

    def encoders(self, namespace: str | None = None) -> list[tuple[str, int, int]]:
        """(identity, dimension, edits with vectors) of each encoder whose vectors are kept, for a namespace or any."""
        with self._reading() as connection:
            found = []
            for number, identity, dimension in connection.execute(sa.select(encoder_)).fetchall():
                low, high = number << SEQ_BITS, (number + 1) << SEQ_BITS
                query = sa.select(sa.func.count()).where(vector.c.id >= low, vector.c.id < high)
                if namespace is not None:
                    mine = vector.c.id == state.c.seq + sa.literal(low, sa.BigInteger())
                    query = sa.select(sa.func.count()).select_from(state.join(vector, mine))
                    query = query.where(state.c.namespace == self._number(connection, namespace))
                count = int(connection.execute(query).scalar_one())
                if count or namespace is None:
                    found.append((identity, dimension, count))
            return found

    def vector_count(self, encoder_identity: str, namespace: str) -> int:
        """How many live edits have vectors of an encoder."""
        with self._reading() as connection:
            base = self._base(connection, encoder_identity)
            query = sa.select(sa.func.count()).select_from(
                state.join(vector, vector.c.id == state.c.seq + sa.literal(base or 0, sa.BigInteger()))
            )
            query = query.where(state.c.namespace == self._number(connection, namespace), state.c.live == 1)
            return int(connection.execute(query).scalar_one()) if base is not None else 0

    def size(self) -> int:
        """Bytes of the database, its write-ahead log included."""
        if self.path is None:
            with self._reading() as connection:
                tables = "', '".join(table.name for table in metadata.sorted_tables)
                query = f"SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN ('{tables}')"
                return int(connection.exec_driver_sql(query).scalar() or 0)
        files = (self.path, self.path.with_name(DATABASE + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())


class _Preview(Exception):  # noqa: N818 - no error: it ends a transaction that is not to be kept
    """Raised and caught inside `Journal.preview`."""


def _without(names: dict[str, Any], *left_out: str) -> dict[str, Any]:
    return {name: value for name, value in names.items() if name not in left_out}
