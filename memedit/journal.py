"""The journal: an append-only log of edits over SQLAlchemy Core, SQLite by default, PostgreSQL by URL.

It is the truth; everything else (the index, the flags kept beside it) can be made again from it. memedit.fold defines
what the records mean; here the same is done in SQL, and the part that does not depend on the clock is kept materialised
in the transaction of each record, so that opening a memory of a million edits folds nothing:

    state   for each edit, whether it is live
    chain   which edits stand in one line (memedit.fold, rule 2); a chain is a slot's hash, or -seq for an edit's own,
            which is only written down once somebody replaces that edit
    undone  from which record until which a record was not effective; that is all the past needs
    change  when an edit became live or ceased to be, except that it became live when it was written

Sequence numbers rise in commit order without gaps, because a writer takes the database's write lock first (SQLite:
BEGIN IMMEDIATE; PostgreSQL: an advisory lock) and then the number after the last. Times never fall along them. So "as
of a time" is "as of a number", and a reader that has seen number n has seen all before it.

SQLite runs in WAL mode with synchronous=FULL: in WAL mode NORMAL would not sync at commit, and an acknowledged edit
could be lost with the power. Memory (memedit.memory) parses, checks and searches; this file knows no text but to keep
it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.pool import QueuePool

from memedit.edits import Edit, Record, State
from memedit.errors import InputError, JournalError, NewerFormatError, NotFoundError
from memedit.fold import Entry, Folded
from memedit.migrations import MIGRATIONS

if TYPE_CHECKING:  # numpy costs as much to import as all of this file; only the index's path needs it
    import numpy as np
    from numpy.typing import NDArray

DATABASE = "journal.db"
LOCK_SECONDS = 60
_SEQ_BITS = 44  # a vector's key is encoder number << 44 | edit seq
_CHUNK = 1000  # values in one IN list

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 in UTC. Raises InputError for a datetime without a time zone."""
    if moment.tzinfo is None:
        raise InputError(f"{moment.isoformat()} has no time zone: say which, as in {moment.isoformat()}+00:00")
    return (moment - _EPOCH) // _MICROSECOND


def to_datetime(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def hash64(*parts: object) -> int:
    """A signed 64-bit hash: a million slots collide once in thirty million databases."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def slot_hash(namespace: str, subject: str, relation: str) -> int:
    """The chain of a single-valued relation of a subject; both normalised. Not negative: those are own chains."""
    return hash64("slot", namespace, subject, relation) & 0x7FFFFFFFFFFFFFFF


_meta = sa.MetaData()


def _table(name: str, columns: str, texts: str = "", raw: str = "") -> sa.Table:
    """Columns are 64-bit integers, which PostgreSQL has to be told, but for the `texts` and what is `raw` bytes."""

    def type_of(column: str) -> Any:
        return sa.Text() if column in texts.split() else None if column in raw.split() else sa.BigInteger()

    return sa.Table(name, _meta, *(sa.Column(column, type_of(column)) for column in columns.split()))


# memedit.migrations makes these tables; here they are for the queries.
meta = _table("meta", "name value", texts="name value")
namespace_ = _table("namespace", "number name generation", texts="name")
_TEXTS = "statement subject relation target prompt question aliases kind author source reason"
record = _table(
    "record",
    f"seq id op namespace created_at {_TEXTS} valid_from valid_to cardinality keys slot about digest supersedes",
    texts=f"id op {_TEXTS} cardinality keys supersedes",
)
target = _table("target", "seq target op", texts="op")
alias = _table("alias", "name seq")
purged = _table("purged", "seq by_seq sha256", texts="sha256")
chain = _table("chain", "chain seq")
undone = _table("undone", "seq since until")
state = _table("state", "seq namespace live")
change = _table("change", "namespace seq edit_seq live")
encoder_ = _table("encoder", "number identity dimension", texts="identity")
vector = _table("vector", "id data", raw="data")
backup_ = _table("backup", "path created_at purged", texts="path")

EDITS = ("add", "replace")
UNDOABLE = ("add", "replace", "remove")


class Row(NamedTuple):
    """An edit about to be written: the record's columns from `statement` on, then the hashes of its aliases.

    `aliases` and `keys` are JSON lists or None (`keys` without the statement, which is always the first key). `slot` is
    given where the relation is single-valued; `about` is the hash of the normalised subject; `digest` of the statement
    with its validity. Times are microseconds.
    """

    statement: str
    subject: str | None
    relation: str | None
    target: str | None
    prompt: str | None
    question: str | None
    aliases: str | None
    kind: str
    author: str | None
    source: str | None
    reason: str | None
    valid_from: int | None
    valid_to: int | None
    cardinality: str
    keys: str | None
    slot: int | None
    about: int | None
    digest: int
    names: tuple[int, ...] = ()

    @property
    def windowed(self) -> bool:
        return self.valid_from is not None or self.valid_to is not None


class Written(NamedTuple):
    """What became of a row: the edit that stands for it; `new` is False where an exact duplicate was there already.

    `retired` are the seqs of the edits whose place it takes.
    """

    seq: int
    id: str
    new: bool
    retired: tuple[int, ...] = ()


class At(NamedTuple):
    """A moment of the journal: records up to `n` (None: all), judged at time `t` in microseconds."""

    n: int | None
    t: int


# The rules of memedit.fold as SQL. `e` is the edit judged; the others are those that bear on it.


def _effective(seq: sa.ColumnElement[Any], n: int | None) -> sa.ColumnElement[bool]:
    since = undone.alias()
    query = sa.select(sa.literal(1)).where(since.c.seq == seq)
    if n is None:
        query = query.where(since.c.until.is_(None))
    else:
        query = query.where(since.c.since <= n, sa.or_(since.c.until.is_(None), since.c.until > n))
    return ~query.exists()


def _valid(r: Any, t: Any) -> sa.ColumnElement[bool]:
    return sa.and_(
        sa.or_(r.c.valid_from.is_(None), r.c.valid_from <= t), sa.or_(r.c.valid_to.is_(None), r.c.valid_to > t)
    )


def _covers(later: Any, earlier: Any) -> sa.ColumnElement[bool]:
    return sa.and_(
        sa.or_(later.c.valid_from.is_(None), later.c.valid_from <= earlier.c.valid_from),
        sa.or_(later.c.valid_to.is_(None), later.c.valid_to >= earlier.c.valid_to),
    )


def _windowed(r: Any) -> sa.ColumnElement[bool]:
    return sa.or_(r.c.valid_from.is_not(None), r.c.valid_to.is_not(None))


def _purged(seq: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    p = purged.alias()
    return sa.select(sa.literal(1)).where(p.c.seq == seq).exists()


def _removed(seq: sa.ColumnElement[Any], n: int | None) -> sa.ColumnElement[bool]:
    x = target.alias()
    query = sa.select(sa.literal(1)).where(x.c.target == seq, x.c.op == "remove", _effective(x.c.seq, n))
    if n is not None:
        query = query.where(x.c.seq <= n)
    return query.exists()


def _later(e: Any, n: int | None) -> tuple[Any, sa.Select[Any]]:
    """The later effective edits `r` in the chains of `e`: (r, a select to be narrowed)."""
    a, b, r = chain.alias(), chain.alias(), record.alias()
    query = (
        sa.select(r.c.id)
        .select_from(a.join(b, b.c.chain == a.c.chain).join(r, r.c.seq == b.c.seq))
        .where(a.c.seq == e.c.seq, b.c.seq > e.c.seq, _effective(b.c.seq, n))
    )
    return r, query if n is None else query.where(b.c.seq <= n)


def _blocked(e: Any, at: At) -> sa.ColumnElement[bool]:
    r, later = _later(e, at.n)
    return later.where(sa.or_(_valid(r, at.t), _covers(r, e))).exists()


def _superseded_by(e: Any, at: At) -> sa.ScalarSelect[Any]:
    r, later = _later(e, at.n)
    later = later.where(sa.or_(_valid(r, at.t), _covers(r, e)), ~_removed(r.c.seq, at.n), ~_purged(r.c.seq))
    return later.order_by(r.c.seq.desc()).limit(1).scalar_subquery()


def _state(e: Any, at: At) -> sa.ColumnElement[str]:
    return sa.case(
        (_purged(e.c.seq), "purged"),
        (~_effective(e.c.seq, at.n), "undone"),
        (_removed(e.c.seq, at.n), "removed"),
        (_blocked(e, at), "superseded"),
        (e.c.valid_from > at.t, "not_yet"),
        (e.c.valid_to <= at.t, "expired"),
        else_="current",
    )


def _live(e: Any) -> sa.ColumnElement[bool]:
    r, later = _later(e, None)
    return sa.and_(
        _effective(e.c.seq, None), ~_removed(e.c.seq, None), ~_purged(e.c.seq), ~later.where(_covers(r, e)).exists()
    )


def _overridden(number: Any, t: Any) -> sa.Select[Any]:
    """Seqs of live edits that a windowed edit, now valid, stands in the way of. Starts from the windowed: few."""
    r, a, b, s = record.alias("r"), chain.alias("a"), chain.alias("b"), state.alias("s")
    return (
        sa.select(b.c.seq)
        .select_from(
            r.join(a, a.c.seq == r.c.seq)
            .join(b, sa.and_(b.c.chain == a.c.chain, b.c.seq < r.c.seq))
            .join(s, s.c.seq == b.c.seq)
        )
        .where(r.c.namespace == number, _windowed(r), _valid(r, t), _effective(r.c.seq, None), s.c.live == 1)
    )


# Statements of every search. Making one costs ten times what running it does, so these are made once.


@functools.cache
def _outside_now() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Seqs of the live edits of namespace `number` that are not valid at `t`, and of those overridden then."""
    number: Any = sa.bindparam("number")
    t: Any = sa.bindparam("t")
    outside = (
        sa.select(record.c.seq)
        .join_from(record, state, state.c.seq == record.c.seq)
        .where(record.c.namespace == number, _windowed(record), state.c.live == 1, ~_valid(record, t))
    )
    return outside, _overridden(number, t)


@functools.cache
def _found_now() -> sa.Select[Any]:
    """The edits `seqs` as judged at `t`, the newest first."""
    e = record.alias("e")
    t: Any = sa.bindparam("t")
    at = At(None, t)
    wanted = e.c.seq.in_(sa.bindparam("seqs", expanding=True))
    query = _selected(e, e, _state(e, at), _superseded_by(e, at))
    return query.where(e.c.op.in_(EDITS), wanted).order_by(e.c.seq.desc())


def _selected(e: Any, source: Any, judged: Any, by: Any) -> sa.Select[Any]:
    """The columns that `_edit` reads."""
    return sa.select(
        *(e.c[column] for column in _EDIT_COLUMNS),
        namespace_.c.name.label("namespace_name"),
        judged.label("state"),
        by.label("superseded_by"),
    ).select_from(source.join(namespace_, namespace_.c.number == e.c.namespace))


def _naming(about: int) -> sa.CompoundSelect[Any]:
    """Seqs of the edits whose subject, or one of its aliases, has this hash."""
    return sa.union(
        sa.select(record.c.seq).where(record.c.about == about), sa.select(alias.c.seq).where(alias.c.name == about)
    )


def _chunks(values: Iterable[int]) -> Iterator[list[int]]:
    rest = sorted(set(values))
    for start in range(0, len(rest), _CHUNK):
        yield rest[start : start + _CHUNK]


class Journal:
    """One database of edits. Made by `Journal.open`; safe to use from several threads; `close` it after use.

    `writable` is None, or the reason why nothing can be written. `clock` gives microseconds since 1970.
    """

    def __init__(self, engine: sa.Engine, where: str, folder: Path | None, obstacle: str | None) -> None:
        self._engine = engine
        self.where = where
        self.folder = folder
        self.obstacle = obstacle
        self.clock: Callable[[], int] = lambda: time.time_ns() // 1000
        self._numbers: dict[str, int] = {}
        self._inserts: dict[str, str] = {}

    # Opening and closing

    @classmethod
    def open(cls, where: str | os.PathLike[str], *, read_only: bool = False) -> Journal:
        """The journal in a folder (made if need be) or at a database URL, brought to this version's format.

        Raises NotFoundError if it is to be read only and not there, NewerFormatError if a newer memedit wrote it,
        JournalError if it cannot be opened or is not memedit's. Where the files cannot be written it opens for reading,
        and writing raises JournalError.
        """
        text = os.fspath(where)
        journal = _open_url(text, read_only) if "://" in text else _open_folder(Path(text), read_only)
        try:
            journal._bring_to_format()
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        self._engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

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
    def _explained(self) -> Iterator[None]:
        """Database errors come out as JournalError with what to do."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise JournalError(_explain(self.where, str(error.orig or error))) from error
        except sa.exc.SQLAlchemyError as error:
            raise JournalError(_explain(self.where, str(error))) from error
        except sqlite3.Error as error:
            raise JournalError(_explain(self.where, str(error))) from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout."""
        with self._explained(), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def _writing(self, fresh: bool = False) -> Iterator[_Writer]:
        """A transaction that holds the write lock from its first statement; committed when the block ends well."""
        if self.obstacle is not None:
            raise JournalError(f"{self.where} cannot be written: {self.obstacle}")
        with self._explained(), self._engine.connect() as plain:
            connection = plain.execution_options(memedit_begin="BEGIN IMMEDIATE")
            with connection.begin():
                if not self.is_sqlite:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext(current_schema()), 20250)")
                yield _Writer(self, connection, fresh)

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

    def now(self) -> At:
        return At(None, self.clock())

    def at(self, as_of: datetime | int | None) -> At:
        """The moment that a sequence number, an aware datetime or None (now) stands for."""
        if as_of is None:
            return self.now()
        with self._reading() as connection:
            return self._at(connection, as_of)

    def _at(self, connection: Connection, as_of: datetime | int) -> At:
        head = _head(connection)
        if isinstance(as_of, bool) or not isinstance(as_of, (int, datetime)):
            raise InputError(f"as_of is a sequence number or a datetime, not {as_of!r}")
        if isinstance(as_of, int):
            n = max(0, min(as_of, head))
            return At(n, _created_at(connection, n))
        t = to_micros(as_of)
        low, high = 0, head  # times rise with the numbers, which have no gaps
        while low < high:
            middle = (low + high + 1) // 2
            if _created_at(connection, middle) <= t:
                low = middle
            else:
                high = middle - 1
        return At(low, t)

    # What the index reads

    def head(self) -> int:
        """The last sequence number, 0 for an empty journal."""
        with self._reading() as connection:
            return _head(connection)

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
            upto = _head(connection) if upto is None else upto
            written = sa.select(state.c.seq, state.c.seq.label("edit_seq"), sa.literal_column("1").label("live"))
            written = written.where(state.c.namespace == number, state.c.live.in_((0, 1)))
            written = written.where(state.c.seq > after, state.c.seq <= upto)
            flips = sa.select(change.c.seq, change.c.edit_seq, change.c.live)
            flips = flips.where(change.c.namespace == number, change.c.seq > after, change.c.seq <= upto)
            feed = sa.union_all(written, flips).order_by("seq", "edit_seq")
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
                seqs = list(connection.scalars(query.order_by(state.c.seq).limit(batch)))
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

    def keys(self, edit_seqs: Iterable[int]) -> dict[int, list[str]]:
        """The key texts of each edit, the statement first; purged edits and other records are missing."""
        found: dict[int, list[str]] = {}
        with self._reading() as connection:
            for seqs in _chunks(edit_seqs):
                query = sa.select(record.c.seq, record.c.statement, record.c["keys"])
                for seq, statement, more in connection.execute(query.where(record.c.seq.in_(seqs))):
                    if statement is not None:
                        found[seq] = [statement, *(json.loads(more) if more else ())]
        return found

    def vectors(self, encoder_identity: str, edit_seqs: Iterable[int]) -> dict[int, bytes]:
        """What `put_vectors` kept for each edit; edits without are missing."""
        found: dict[int, bytes] = {}
        with self._reading() as connection:
            base = _encoder_base(connection, encoder_identity)
            if base is not None:
                for seqs in _chunks(edit_seqs):
                    query = sa.select(vector.c.id, vector.c.data).where(vector.c.id.in_([base | seq for seq in seqs]))
                    found.update((row_id - base, bytes(data)) for row_id, data in connection.execute(query))
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
                base = _encoder_base(connection, encoder_identity)
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
        given = {"number": number, "t": t}
        return sorted({seq for query in _outside_now() for seq in connection.scalars(query, given)})

    # Reading edits and records

    def namespaces(self) -> list[str]:
        with self._reading() as connection:
            return list(connection.scalars(sa.select(namespace_.c.name).order_by(namespace_.c.name)))

    def find(
        self,
        *,
        namespace: str | None = None,
        about: int | None = None,
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

        `namespace` is None only together with `seqs`. `about` is the hash of a subject or alias; `text` a part of the
        statement, in any case; `wanted` a state or "all".
        """
        if seqs is None:
            with self._reading() as connection:
                return self._find(connection, **_without(locals(), "self", "seqs", "connection"))
        found: list[Edit] = []
        at = self.now() if at is None else at
        with self._reading() as connection:
            given = _without(locals(), "self", "seqs", "connection", "found")
            plain = at.n is None and wanted == "all" and limit is None and not offset
            plain = plain and all(one is None for one in (namespace, about, text, author, digest))
            for chunk in _chunks(seqs):
                if plain:
                    rows = connection.execute(_found_now(), {"t": at.t, "seqs": chunk})
                    found += [_edit(row) for row in rows]
                else:
                    found += self._find(connection, **given, seqs=chunk)
        return sorted(found, key=lambda edit: edit.seq, reverse=not oldest_first)

    def _find(
        self,
        connection: Connection,
        *,
        namespace: str | None = None,
        about: int | None = None,
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
        narrow = any(given is not None for given in (about, author, digest, seqs))
        source, conditions, fixed = self._conditions(e, number, at, wanted, narrow)
        if about is not None:
            conditions.append(e.c.seq.in_(_naming(about)))
        if text is not None:
            conditions.append(sa.func.lower(e.c.statement).contains(text.lower(), autoescape=True))
        if author is not None:
            conditions.append(e.c.author == author)
        if digest is not None:
            conditions.append(e.c.digest == digest)
        if seqs is not None:
            conditions.append(e.c.seq.in_(seqs))
        judged = _state(e, at) if fixed is None else sa.literal_column(f"'{fixed}'")
        by = _superseded_by(e, at) if fixed in (None, "superseded") else sa.null()
        query = _selected(e, source, judged, by)
        by_seq = e.c.seq if source is e else state.c.seq
        query = query.where(*conditions).order_by(by_seq if oldest_first else by_seq.desc())
        if limit is not None or offset:
            query = query.limit(limit if limit is not None else 2**62).offset(offset)
        return [_edit(row) for row in connection.execute(query)]

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
            conditions += [_valid(e, at.t), e.c.seq.not_in(_overridden(number, at.t))]
            if narrow:
                live = sa.select(sa.literal(1)).where(state.c.seq == e.c.seq, state.c.live == 1)
                return e, [*conditions, e.c.namespace == number, live.exists()], "current"
            conditions += [state.c.namespace == number, state.c.live == 1]
            return e.join(state, state.c.seq == e.c.seq), conditions, "current"
        if number is not None:
            conditions.append(e.c.namespace == number)
        if wanted != "all":
            conditions.append(_state(e, at) == wanted)
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
            judged = _state(e, at).label("state")
            dead = sa.select(state.c.seq).where(state.c.namespace == number, state.c.live == 0)
            queries = [sa.select(judged).where(e.c.seq.in_(dead))]
            queries += [sa.select(judged).where(e.c.seq.in_(chunk)) for chunk in _chunks(off)]
            for query in queries:
                for name in connection.scalars(query):
                    counts[name] = counts.get(name, 0) + 1
            return {name: count for name, count in counts.items() if count}

    def crowded(self, namespace: str, groups: int = 1000) -> list[list[int]]:
        """The seqs of live edits about one subject, for subjects with several; at most so many groups."""
        with self._reading() as connection:
            number = self._number(connection, namespace)
            several = (
                sa.select(record.c.about)
                .join_from(record, state, state.c.seq == record.c.seq)
                .where(record.c.namespace == number, record.c.about.is_not(None), state.c.live == 1)
                .group_by(record.c.about)
                .having(sa.func.count() > 1)
                .limit(groups)
            )
            query = sa.select(record.c.about, record.c.seq).join_from(record, state, state.c.seq == record.c.seq)
            query = query.where(record.c.about.in_(several.scalar_subquery()), state.c.live == 1)
            found: dict[int, list[int]] = {}
            for about, seq in connection.execute(query.order_by(record.c.seq)):
                found.setdefault(about, []).append(seq)
            return [seqs[-200:] for seqs in found.values()]

    def latest(self, namespace: str, digests: Iterable[int]) -> dict[int, tuple[int, Edit]]:
        """digest -> (how many edits ever had it, the latest of them as it stands now)."""
        seqs: dict[int, tuple[int, int]] = {}
        with self._reading() as connection:
            for chunk in _chunks(digests):
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

    def resolve(self, given: str) -> tuple[int, str, str]:
        """(seq, id, op) of the one record whose id is `given` or begins so (6 characters at least).

        Raises NotFoundError, naming near ones, where there is none; InputError where there are several.
        """
        with self._reading() as connection:
            return _resolve(connection, given, self.where)

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
            (~_effective(record.c.seq, None)).label("undone"),
        ).join_from(record, namespace_, namespace_.c.number == record.c.namespace)
        query = query.where(record.c.namespace == number).order_by(record.c.seq.desc())
        if limit is not None or offset:
            query = query.limit(limit if limit is not None else 2**62).offset(offset)
        parts = [query] if seqs is None else [query.where(record.c.seq.in_(chunk)) for chunk in _chunks(seqs)]
        rows = [row for part in parts for row in connection.execute(part)]
        targets: dict[int, list[str]] = {}
        for chunk in _chunks(row.seq for row in rows):
            acted = sa.select(target.c.seq, record.c.id).join_from(target, record, record.c.seq == target.c.target)
            for seq, name in connection.execute(acted.where(target.c.seq.in_(chunk)).order_by(target.c.target)):
                targets.setdefault(seq, []).append(name)
        found = [
            Record(
                id=row.id,
                seq=row.seq,
                op=row.op,
                namespace=row.name,
                created_at=to_datetime(row.created_at),
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
                for chunk in _chunks(fresh):
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
        if given is not None:
            seq, name, op = _resolve(connection, given, self.where)
            if op == "purge":
                raise InputError(f"{name} is a purge: what it erased is gone and cannot be brought back")
            gone = connection.execute(sa.select(purged.c.seq).where(purged.c.seq == seq)).first()
            if gone:
                raise InputError(f"{name} has been purged: there is nothing left to undo")
            if not connection.execute(sa.select(_effective(sa.literal(seq, sa.BigInteger()), None))).scalar():
                by = sa.select(record.c.id).join_from(record, target, target.c.seq == record.c.seq)
                by = by.where(target.c.target == seq, target.c.op == "undo").order_by(record.c.seq.desc())
                undo = connection.scalars(by.limit(1)).one()
                raise InputError(f"{name} is undone already, by {undo}; undo {undo} to bring it back")
            number = connection.scalars(sa.select(record.c.namespace).where(record.c.seq == seq)).one()
            return [seq], number
        number = self._number(connection, namespace)
        query = sa.select(record.c.seq).where(record.c.namespace == number, record.c.op.in_(UNDOABLE))
        query = query.where(_effective(record.c.seq, None), ~_purged(record.c.seq))
        if author is not None:
            query = query.where(record.c.author == author)
        if since is not None:
            query = query.where(record.c.created_at >= to_micros(since))
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
    ) -> list[Written]:
        """Append edits, in order, in one transaction; what is returned is on disk.

        A row that says again what a current edit says is not written. With `encoder` (identity, dimension) the float16
        `vectors` of the rows are kept as by `put_vectors`.
        """
        with self._writing() as writer:
            written = writer.add(namespace, rows)
            if vectors is not None and encoder is not None:
                fresh = {one.seq: blob for one, blob in zip(written, vectors, strict=True) if one.new}
                if fresh:
                    writer.put_vectors(*encoder, fresh)
        return written

    def replace(self, given: str, row: Callable[[Edit], Row]) -> Written:
        """Append an edit that takes the place of another, and of all that stand in its chains.

        `row` makes it from the edit that it replaces, as that stands inside the transaction.
        """
        with self._writing() as writer:
            old = writer.edit(given)
            if old.state in ("purged", "undone", "removed"):
                raise InputError(f"{old.id} is {old.state}, so nothing can take its place; add the fact instead")
            return writer.insert(old.namespace, "replace", row(old), replaces=old.seq)

    def remove(self, given: str, *, author: str | None = None, reason: str | None = None) -> Record:
        """Append the removal of an edit. Raises InputError where it is removed, undone or purged already."""
        with self._writing() as writer:
            old = writer.edit(given)
            if old.state in ("purged", "undone", "removed"):
                raise InputError(f"{old.id} is {old.state} already; there is nothing to remove")
            number = writer.namespace(old.namespace)
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
    ) -> tuple[int, str]:
        """Erase the text and vectors of edits for good, here and in memedit's backups: (how many, their namespace).

        What stays of each is its id, times, place in its chains and the SHA-256 of its statement. Raises JournalError
        where the transaction went through but a file could not be cleaned yet; the next opening tries again.
        """
        with self._writing() as writer:
            if given is not None:
                edit = writer.edit(given)
                seqs, number, namespace = [edit.seq], writer.namespace(edit.namespace), edit.namespace
                if edit.state == "purged":
                    raise InputError(f"{edit.id} is purged already")
            else:
                number = self._number(writer.connection, namespace)
                query = sa.select(record.c.seq).where(record.c.namespace == number, record.c.op.in_(EDITS))
                query = query.where(~_purged(record.c.seq))
                if author is not None:
                    query = query.where(record.c.author == author)
                if about is not None:
                    query = query.where(record.c.seq.in_(_naming(about)))
                seqs = list(writer.connection.scalars(query))
            named = author is not None and writer.named(number, author)
            if not seqs and not named:
                return 0, namespace
            writer.purge(number, seqs, author, by)
        self.scrub()
        return len(seqs), namespace

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
        with self._explained():
            if self.is_sqlite:
                connection = self._engine.raw_connection()
                try:
                    driver = connection.driver_connection
                    assert isinstance(driver, sqlite3.Connection)
                    _rewrite(driver, self.where, LOCK_SECONDS if patience is None else patience)
                finally:
                    connection.close()
            else:
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connected:
                    for table in (record, vector, alias):
                        connected.exec_driver_sql(f"VACUUM FULL {table.name}")
        with self._writing() as writer:
            writer.connection.execute(sa.delete(meta).where(meta.c.name == "scrub"))

    def scrub_due(self) -> bool:
        """Whether a purge went through whose bytes are still in a file."""
        with self._reading() as connection:
            return connection.execute(sa.select(meta.c.value).where(meta.c.name == "scrub")).first() is not None

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
        except OSError as error:
            raise JournalError(f"the folder {goal.parent} cannot be made: {error.strerror}") from error
        if self.obstacle is None:
            with self._writing() as writer:  # first, so that no copy is ever unknown
                row = {"path": str(goal), "created_at": self.clock(), "purged": writer.head}
                writer.connection.execute(sa.delete(backup_).where(backup_.c.path == str(goal)))
                writer.connection.execute(sa.insert(backup_).values(row))
        part = goal.with_name(goal.name + ".part")
        part.unlink(missing_ok=True)
        with self._explained():
            connection = self._engine.raw_connection()
            try:
                copy = sqlite3.connect(part)
                try:
                    assert isinstance(connection.driver_connection, sqlite3.Connection)
                    connection.driver_connection.backup(copy)
                    copy.execute("PRAGMA journal_mode=DELETE")
                finally:
                    copy.close()
            finally:
                connection.close()
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(goal)

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
                    _purge_copy(path, self.path)
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
            columns = [record.c[name] for name in ("seq", "op", "created_at", "slot", "valid_from", "valid_to")]
            lines = sa.select(*columns).where(record.c.namespace == number).order_by(record.c.seq)
            found = [
                Entry(seq, op, created, tuple(acted.get(seq, ())), slot, begin, end)
                for seq, op, created, slot, begin, end in connection.execute(lines)
            ]
            # In a backup, what was purged after it was made.
            query = sa.select(purged.c.by_seq, purged.c.seq).join_from(purged, record, record.c.seq == purged.c.seq)
            later = connection.execute(query.where(record.c.namespace == number, purged.c.by_seq > _head(connection)))
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

    def encoders(self) -> list[tuple[str, int, int]]:
        """(identity, dimension, edits with vectors) of each encoder whose vectors are kept."""
        with self._reading() as connection:
            found = []
            for number, identity, dimension in connection.execute(sa.select(encoder_)).fetchall():
                low, high = number << _SEQ_BITS, (number + 1) << _SEQ_BITS
                query = sa.select(sa.func.count()).where(vector.c.id >= low, vector.c.id < high)
                found.append((identity, dimension, int(connection.execute(query).scalar_one())))
            return found

    def vector_count(self, encoder_identity: str, namespace: str) -> int:
        """How many live edits have vectors of an encoder."""
        with self._reading() as connection:
            base = _encoder_base(connection, encoder_identity)
            query = sa.select(sa.func.count()).select_from(
                state.join(vector, vector.c.id == state.c.seq + sa.literal(base or 0, sa.BigInteger()))
            )
            query = query.where(state.c.namespace == self._number(connection, namespace), state.c.live == 1)
            return int(connection.execute(query).scalar_one()) if base is not None else 0

    def size(self) -> int:
        """Bytes of the database, its write-ahead log included."""
        if self.path is None:
            with self._reading() as connection:
                tables = "', '".join(table.name for table in _meta.sorted_tables)
                query = f"SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN ('{tables}')"
                return int(connection.exec_driver_sql(query).scalar() or 0)
        files = (self.path, self.path.with_name(DATABASE + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())


class _Writer:
    """One write transaction: the numbers after the head are its own until it ends."""

    def __init__(self, journal: Journal, connection: Connection, fresh: bool) -> None:
        self.journal = journal
        self.connection = connection
        self.head = 0 if fresh else _head(connection)
        last = 0 if fresh else _created_at(connection, self.head)
        # A clock that was set back must not make times fall along the numbers.
        self.now = max(journal.clock(), last)

    def namespace(self, name: str) -> int:
        query = sa.select(namespace_.c.number).where(namespace_.c.name == name)
        number = self.connection.execute(query).scalar()
        if number is None:
            number = 1 + (self.connection.execute(sa.select(sa.func.max(namespace_.c.number))).scalar() or 0)
            self.connection.execute(sa.insert(namespace_).values(number=number, name=name, generation=0))
        return int(number)

    def edit(self, given: str) -> Edit:
        """The edit of that id, as it stands in this transaction."""
        seq, name, op = _resolve(self.connection, given, self.journal.where)
        if op not in EDITS:
            raise InputError(f"{name} is a record of the operation {op!r}, not an edit")
        return self.journal._find(self.connection, seqs=[seq], at=At(None, self.now))[0]

    def put(self, table: sa.Table, rows: Sequence[Sequence[object]]) -> None:
        """Insert rows given in the order of the table's columns, by the driver's own bulk path."""
        if not rows:
            return
        statement = self.journal._inserts.get(table.name)
        if statement is None:
            mark = "?" if self.journal.is_sqlite else "%s"
            columns = ", ".join(column.name for column in table.columns)
            marks = ", ".join(mark for _ in table.columns)
            statement = f"INSERT INTO {table.name} ({columns}) VALUES ({marks})"
            self.journal._inserts[table.name] = statement
        self.connection.exec_driver_sql(statement, [tuple(row) for row in rows])

    def put_records(self, prefix: str, make: Callable[[list[str]], list[tuple[object, ...]]], count: int) -> list[str]:
        """Insert records under fresh ids; -> the ids. A million ids of 40 random bits may well hold one twice."""
        while True:
            digits = os.urandom(5 * count).hex()
            ids = [prefix + digits[start : start + 10] for start in range(0, 10 * count, 10)]
            if len(set(ids)) < count:
                continue
            attempt = self.connection.begin_nested()
            try:
                self.put(record, make(ids))
            except sa.exc.IntegrityError:
                attempt.rollback()
                continue
            attempt.commit()
            return ids

    # Adding

    def add(self, namespace: str, rows: Sequence[Row]) -> list[Written]:
        number = self.namespace(namespace)
        written: list[Written] = []
        start = 0
        while start < len(rows):  # runs of rows without a validity at once, those with one by one
            end = start
            while end < len(rows) and not rows[end].windowed:
                end += 1
            if end > start:
                written += self._add_unlimited(number, rows[start:end])
            if end < len(rows):
                row = rows[end]
                standing = self._standing([row]).get(row.digest)
                written.append(Written(*standing, False) if standing else self.insert(namespace, "add", row))
            start = end + 1
        return written

    def _standing(self, rows: Sequence[Row]) -> dict[int, tuple[int, str]]:
        """digest -> (seq, id) of edits that say the same as one of the rows and are not overtaken."""
        digests = {row.digest for row in rows}
        found: list[Any] = []
        for chunk in _chunks(digests):
            query = sa.select(record.c.digest, record.c.seq, record.c.id).where(record.c.digest.in_(chunk))
            found += self.connection.execute(query).fetchall()
        standing = {}
        e = record.alias("e")
        for chunk in _chunks(row.seq for row in found):
            query = sa.select(e.c.digest, e.c.seq, e.c.id).where(e.c.seq.in_(chunk))
            query = query.where(_state(e, At(None, self.now)).in_(("current", "not_yet", "expired")))
            standing.update({digest: (seq, name) for digest, seq, name in self.connection.execute(query)})
        return standing

    def _add_unlimited(self, number: int, rows: Sequence[Row]) -> list[Written]:
        """Rows that are valid for ever: each kills all that is live in its slot, so no chain need be read twice."""
        standing = self._standing(rows)
        slots = {row.slot for row in rows if row.slot is not None}
        heads: dict[int, list[tuple[int, str]]] = {}  # slot -> live edits there, as (seq, id); older than this batch
        for chunk in _chunks(slots):
            query = (
                sa.select(chain.c.chain, record.c.seq, record.c.id)
                .select_from(chain.join(state, state.c.seq == chain.c.seq).join(record, record.c.seq == chain.c.seq))
                .where(chain.c.chain.in_(chunk), state.c.live == 1)
            )
            for slot, seq, name in self.connection.execute(query):
                heads.setdefault(slot, []).append((seq, name))

        # First decide which rows are written, and which row or edit each retires; ids come later, all at once.
        head_row: dict[int, int] = {}  # slot -> the row of this batch that heads it
        said: dict[int, int] = {}  # digest -> the row of this batch that said it
        chosen: list[int] = []
        same_as: dict[int, int] = {}  # row -> the earlier row of this batch that says the same and still stands
        kept: dict[int, tuple[int, str]] = {}  # row -> the older edit that does
        before: dict[int, int] = {}  # row -> the row that it retires
        for place, row in enumerate(rows):
            slot = row.slot
            if row.digest in said and (slot is None or head_row[slot] == said[row.digest]):
                same_as[place] = said[row.digest]
                continue
            if row.digest in standing and (slot is None or slot not in head_row):
                kept[place] = standing[row.digest]
                continue
            if slot is not None:
                if slot in head_row:
                    before[place] = head_row[slot]
                head_row[slot] = place
            said[row.digest] = place
            chosen.append(place)

        seq_of = {place: self.head + 1 + nth for nth, place in enumerate(chosen)}
        retired: dict[int, tuple[int, ...]] = {}
        killed: list[tuple[int, int]] = []  # (by, edit)
        for place in chosen:
            slot = rows[place].slot
            if place in before:
                retired[place] = (seq_of[before[place]],)
            elif slot is not None and slot in heads:
                retired[place] = tuple(seq for seq, _ in heads[slot])
            killed += [(seq_of[place], seq) for seq in retired.get(place, ())]

        ids: dict[int, str] = {}

        def make(names: list[str]) -> list[tuple[object, ...]]:
            ids.update(zip(chosen, names, strict=True))
            made: list[tuple[object, ...]] = []
            for place in chosen:
                row = rows[place]
                supersedes = None
                if place in before:
                    supersedes = json.dumps([ids[before[place]]])
                elif row.slot in heads:
                    supersedes = json.dumps([name for _, name in heads[row.slot]])
                made.append((seq_of[place], ids[place], "add", number, self.now, *row[:-1], supersedes))
            return made

        if chosen:
            self.put_records("e-", make, len(chosen))
        dead = {seq for _, seq in killed}
        self.put(state, [(seq, number, int(seq not in dead)) for seq in seq_of.values()])
        self.put(chain, [(rows[place].slot, seq) for place, seq in seq_of.items() if rows[place].slot is not None])
        self.put(alias, [(name, seq) for place, seq in seq_of.items() for name in rows[place].names])
        self.put(change, [(number, by, seq, 0) for by, seq in killed])
        for chunk in _chunks(seq for seq in dead if seq <= self.head):
            self.connection.execute(sa.update(state).where(state.c.seq.in_(chunk)).values(live=0))
        self.head += len(chosen)

        written = []
        for place in range(len(rows)):
            if place in kept:
                written.append(Written(*kept[place], False))
            elif place in same_as:
                written.append(Written(seq_of[same_as[place]], ids[same_as[place]], False))
            else:
                written.append(Written(seq_of[place], ids[place], True, retired.get(place, ())))
        return written

    def insert(self, namespace: str, op: str, row: Row, replaces: int | None = None) -> Written:
        """One edit by the general rules: any validity, any chains."""
        number = self.namespace(namespace)
        seq = self.head + 1
        chains: set[int] = set() if row.slot is None else {row.slot}
        if replaces is not None:
            inherited = sa.select(chain.c.chain).where(chain.c.seq == replaces)
            chains |= {*self.connection.scalars(inherited), -replaces}
            if not self.connection.execute(
                sa.select(chain.c.seq).where(chain.c.chain == -replaces, chain.c.seq == replaces)
            ).first():
                self.put(chain, [(-replaces, replaces)])
        mates: set[int] = set()
        for chunk in _chunks(chains):
            mates.update(self.connection.scalars(sa.select(chain.c.seq).where(chain.c.chain.in_(chunk))))
        retired: list[Any] = []
        for chunk in _chunks(mates):
            query = sa.select(record.c.seq, record.c.id).join_from(record, state, state.c.seq == record.c.seq)
            query = query.where(record.c.seq.in_(chunk), state.c.live == 1)
            if row.valid_from is not None:
                query = query.where(sa.or_(record.c.valid_to.is_(None), record.c.valid_to > row.valid_from))
            if row.valid_to is not None:
                query = query.where(sa.or_(record.c.valid_from.is_(None), record.c.valid_from < row.valid_to))
            retired += self.connection.execute(query).fetchall()
        supersedes = json.dumps([one.id for one in retired]) if retired else None
        ids = self.put_records("e-", lambda ids: [(seq, ids[0], op, number, self.now, *row[:-1], supersedes)], 1)
        self.put(state, [(seq, number, 1)])
        self.put(chain, [(one, seq) for one in chains])
        self.put(alias, [(name, seq) for name in row.names])
        if replaces is not None:
            self.put(target, [(seq, replaces, op)])
        self.head = seq
        self.refresh(mates, seq)
        return Written(seq, ids[0], True, tuple(one.seq for one in retired))

    def put_vectors(self, identity: str, dimension: int, vectors: Mapping[int, bytes]) -> None:
        known = self.connection.execute(sa.select(encoder_).where(encoder_.c.identity == identity)).first()
        if known is None:
            number = 1 + (self.connection.execute(sa.select(sa.func.max(encoder_.c.number))).scalar() or 0)
            self.put(encoder_, [(number, identity, dimension)])
        elif known.dimension != dimension:
            raise InputError(f"vectors of {identity} have {known.dimension} numbers here, not {dimension}")
        else:
            number = known.number
        base = number << _SEQ_BITS
        gone: set[int] = set()
        for chunk in _chunks(vectors):
            gone.update(self.connection.scalars(sa.select(purged.c.seq).where(purged.c.seq.in_(chunk))))
            if known is not None:
                self.connection.execute(sa.delete(vector).where(vector.c.id.in_([base | seq for seq in chunk])))
        self.put(vector, [(base | seq, data) for seq, data in vectors.items() if seq not in gone])

    # Acting on records

    def act(self, op: str, number: int, seqs: Sequence[int], author: str | None, reason: str | None) -> int:
        """Append a record that acts on others; -> its seq."""
        self.head = seq = self.head + 1
        blank = {"author": author, "reason": reason}
        columns = [column.name for column in record.columns][5:]

        def make(ids: list[str]) -> list[tuple[object, ...]]:
            return [(seq, ids[0], op, number, self.now, *(blank.get(column) for column in columns))]

        self.put_records("r-", make, 1)
        self.put(target, [(seq, other, op) for other in seqs])
        return seq

    def refresh(self, seqs: Iterable[int], cause: int) -> None:
        """Bring the flags of these edits in line with the rules; what changes is put down to record `cause`."""
        e = record.alias("e")
        for chunk in _chunks(seqs):
            query = sa.select(e.c.seq, e.c.namespace, state.c.live, sa.case((_live(e), 1), else_=0).label("right"))
            query = query.join_from(e, state, state.c.seq == e.c.seq).where(e.c.seq.in_(chunk))
            wrong = [row for row in self.connection.execute(query) if row.live != row.right]
            for live in (0, 1):
                turned = [row.seq for row in wrong if row.right == live]
                if turned:
                    self.connection.execute(sa.update(state).where(state.c.seq.in_(turned)).values(live=live))
            self.put(change, [(row.namespace, cause, row.seq, row.right) for row in wrong])

    def flip(self, seqs: Iterable[int], cause: int) -> None:
        """Settle anew, from the latest down, whether these records are effective, and all that follows from it."""
        ops: dict[int, str] = {}
        undos: set[int] = set()
        others: set[int] = set()

        def sort(found: Iterable[int]) -> None:
            for chunk in _chunks(found):
                query = sa.select(record.c.seq, record.c.op).where(record.c.seq.in_(chunk))
                for seq, op in self.connection.execute(query):
                    ops[seq] = op
                    (undos if op == "undo" else others).add(seq)

        sort(seqs)
        while undos:  # an undo acts on earlier records only, so the latest is never touched again
            seq = max(undos)
            undos.remove(seq)
            if self._settle([seq], cause):
                sort(self.connection.scalars(sa.select(target.c.target).where(target.c.seq == seq)).all())
        changed = [seq for chunk in _chunks(others) for seq in self._settle(chunk, cause)]
        affected: set[int] = set()
        for chunk in _chunks(changed):
            a, b = chain.alias(), chain.alias()
            mates = sa.select(b.c.seq).join_from(a, b, sa.and_(b.c.chain == a.c.chain, b.c.seq < a.c.seq))
            affected.update(self.connection.scalars(mates.where(a.c.seq.in_(chunk))))
            removed = sa.select(target.c.target).where(target.c.seq.in_(chunk), target.c.op == "remove")
            affected.update(self.connection.scalars(removed))
            affected.update(seq for seq in chunk if ops[seq] in EDITS)
        self.refresh(affected, cause)

    def _settle(self, seqs: Sequence[int], cause: int) -> list[int]:
        """Write down which of these records began or ceased to be effective; -> those."""
        x = target.alias()
        hit = sa.select(x.c.target).where(x.c.target.in_(seqs), x.c.op == "undo", _effective(x.c.seq, None))
        now = set(self.connection.scalars(hit))
        query = sa.select(undone.c.seq).where(undone.c.seq.in_(seqs), undone.c.until.is_(None))
        was = set(self.connection.scalars(query))
        self.put(undone, [(seq, cause, None) for seq in now - was])
        for chunk in _chunks(was - now):
            ended = sa.update(undone).where(undone.c.seq.in_(chunk), undone.c.until.is_(None))
            self.connection.execute(ended.values(until=cause))
        return sorted(now ^ was)

    # Purging

    def named(self, number: int, author: str) -> bool:
        query = sa.select(record.c.seq).where(record.c.namespace == number, record.c.author == author).limit(1)
        return self.connection.execute(query).first() is not None

    def purge(self, number: int, seqs: Sequence[int], author: str | None, by: str | None) -> None:
        if self.journal.is_sqlite:
            self.connection.exec_driver_sql("PRAGMA secure_delete = ON")
        cause = self.act("purge", number, seqs, by if by != author else None, None)
        blank = dict.fromkeys(
            ("statement", "subject", "relation", "target", "prompt", "question", "aliases", "keys", "author"), None
        ) | dict.fromkeys(("source", "reason", "about", "digest"), None)
        numbers = list(self.connection.scalars(sa.select(encoder_.c.number)))
        for chunk in _chunks(seqs):
            query = sa.select(record.c.seq, record.c.statement).where(record.c.seq.in_(chunk))
            tombs = [
                (seq, cause, hashlib.sha256((statement or "").encode()).hexdigest())
                for seq, statement in self.connection.execute(query)
            ]
            self.put(purged, tombs)
            self.connection.execute(sa.update(record).where(record.c.seq.in_(chunk)).values(blank))
            # The reason of a removal may quote what was removed.
            acting = sa.select(target.c.seq).where(target.c.target.in_(chunk))
            self.connection.execute(sa.update(record).where(record.c.seq.in_(acting)).values(reason=None))
            self.connection.execute(sa.delete(alias).where(alias.c.seq.in_(chunk)))
            rows = [one << _SEQ_BITS | seq for one in numbers for seq in chunk]
            self.connection.execute(sa.delete(vector).where(vector.c.id.in_(rows)))
        if author is not None:
            acts = sa.update(record).where(record.c.namespace == number, record.c.author == author)
            self.connection.execute(acts.values(author=None, reason=None))
        self.refresh(seqs, cause)
        rises = sa.update(namespace_).where(namespace_.c.number == number)
        self.connection.execute(rises.values(generation=namespace_.c.generation + 1))
        # Told in the same transaction, so that a crash before the files are clean is made good on the next opening.
        self.connection.execute(sa.delete(meta).where(meta.c.name == "scrub"))
        self.connection.execute(sa.insert(meta).values(name="scrub", value=str(cause)))


# One column to one field, and back


_EDIT_COLUMNS = (
    *("seq", "id", "created_at", "statement", "subject", "relation", "target", "prompt", "question", "aliases", "kind"),
    *("author", "source", "reason", "valid_from", "valid_to", "supersedes"),
)


def _edit(row: Any) -> Edit:
    return Edit(
        id=row.id,
        seq=row.seq,
        statement=row.statement or "",
        namespace=row.namespace_name,
        created_at=to_datetime(row.created_at),
        subject=row.subject,
        relation=row.relation,
        target=row.target,
        prompt=row.prompt,
        question=row.question,
        aliases=tuple(json.loads(row.aliases)) if row.aliases else (),
        kind=row.kind,
        author=row.author,
        source=row.source,
        reason=row.reason,
        valid_from=None if row.valid_from is None else to_datetime(row.valid_from),
        valid_to=None if row.valid_to is None else to_datetime(row.valid_to),
        supersedes=tuple(json.loads(row.supersedes)) if row.supersedes else (),
        superseded_by=row.superseded_by if row.state == "superseded" else None,
        state=row.state,
    )


def _without(names: dict[str, Any], *left_out: str) -> dict[str, Any]:
    return {name: value for name, value in names.items() if name not in left_out}


def _head(connection: Connection) -> int:
    return int(connection.execute(sa.select(sa.func.max(record.c.seq))).scalar() or 0)


def _created_at(connection: Connection, seq: int) -> int:
    return int(connection.execute(sa.select(record.c.created_at).where(record.c.seq == seq)).scalar() or 0)


def _encoder_base(connection: Connection, identity: str) -> int | None:
    number = connection.execute(sa.select(encoder_.c.number).where(encoder_.c.identity == identity)).scalar()
    return None if number is None else int(number) << _SEQ_BITS


SHORTEST_PREFIX = 6


def _resolve(connection: Connection, given: str, where: str) -> tuple[int, str, str]:
    """See Journal.resolve."""
    name = given.strip().lower()
    query = sa.select(record.c.seq, record.c.id, record.c.op).order_by(record.c.id)

    def begins(with_: str) -> sa.Select[Any]:
        return query.where(record.c.id >= with_, record.c.id < with_ + "g")  # ids end in hexadecimal digits

    exact = connection.execute(query.where(record.c.id == name)).first()
    if exact is not None:
        return exact.seq, exact.id, exact.op
    found = connection.execute(begins(name).limit(6)).fetchall() if len(name) >= SHORTEST_PREFIX else []
    if len(found) == 1:
        return found[0].seq, found[0].id, found[0].op
    if found:
        names = ", ".join(row.id for row in found[:5]) + (", …" if len(found) > 5 else "")
        raise InputError(f"{given!r} is the beginning of several ids: {names}; give more of it")
    if 0 < len(name) < SHORTEST_PREFIX and connection.execute(begins(name).limit(1)).first():
        raise NotFoundError(f"{given!r} is too short for an id: give at least {SHORTEST_PREFIX} characters of it")
    near: list[str] = []
    for length in range(min(len(name) - 1, 8), 2, -1):
        near = [row.id for row in connection.execute(begins(name[:length]).limit(3))]
        if near:
            break
    hint = f"near it: {', '.join(near)}" if near else "`memedit list` shows what there is"
    raise NotFoundError(f"{where} has no record with the id {given!r}; {hint}")


# Opening and cleaning databases


def _open_folder(folder: Path, read_only: bool) -> Journal:
    path = folder / DATABASE
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; a memory is a folder: name another place")
    if not path.exists():
        if read_only:
            raise NotFoundError(f"there is no memory at {folder}; `memedit add` makes one")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"the folder {folder} cannot be made: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise JournalError(f"the folder {folder} cannot be written, so no memory can be made there")
    obstacle = "it was opened for reading only" if read_only else None
    if obstacle is None and path.exists() and not (os.access(path, os.W_OK) and os.access(folder, os.W_OK)):
        obstacle = "its files may only be read by this user"
    wal = path.with_name(DATABASE + "-wal")

    def connect() -> sqlite3.Connection:
        if obstacle is None:
            driver = sqlite3.connect(path, timeout=LOCK_SECONDS, check_same_thread=False, isolation_level=None)
        else:
            # A reader in WAL mode shares memory with the writers through a file beside the database. In a folder that
            # cannot be written there is none to be made; without a log, though, the database alone is the whole truth.
            alone = not os.access(folder, os.W_OK) and not (wal.exists() and wal.stat().st_size)
            driver = sqlite3.connect(
                f"{path.absolute().as_uri()}?{'immutable=1' if alone else 'mode=ro'}",
                uri=True,
                timeout=LOCK_SECONDS,
                check_same_thread=False,
                isolation_level=None,
            )
        driver.execute("PRAGMA synchronous = FULL")
        driver.execute("PRAGMA cache_size = -65536")  # 64 MiB: the hash indexes are written all over
        driver.execute("PRAGMA wal_autocheckpoint = 4000")
        driver.execute("PRAGMA journal_size_limit = 67108864")
        # SQLite's own lower() leaves É as it is.
        driver.create_function("lower", 1, lambda text: text.lower() if text else text, deterministic=True)
        return driver

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=4, max_overflow=-1)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # the driver would begin too late for a reader, too weakly for a writer
        connection.exec_driver_sql(connection.get_execution_options().get("memedit_begin", "BEGIN"))

    journal = Journal(engine, str(folder), folder, obstacle)
    if obstacle is None:
        with journal._explained():
            connection = engine.raw_connection()
            try:
                driver = connection.driver_connection
                assert isinstance(driver, sqlite3.Connection)
                _use_log(driver)
            except BaseException:
                connection.close()
                engine.dispose()
                raise
            connection.close()
    return journal


def _use_log(driver: sqlite3.Connection) -> None:
    """WAL mode, which stays with the file. Two processes that make a database at once may find it busy."""
    deadline = time.monotonic() + LOCK_SECONDS
    while driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            if driver.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                return  # a file system without shared memory: the rollback journal serves as well, slower
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _open_url(text: str, read_only: bool) -> Journal:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise InputError(f"{text!r} is no database URL; write postgresql://user:password@host/database") from error
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise InputError(f"{url.get_backend_name()}:// is not supported; give a folder (SQLite) or a postgresql:// URL")
    schema = str(url.query.get("schema", "memedit"))
    if not schema.replace("_", "").isalnum():
        raise InputError(f"the schema {schema!r} in the URL may hold letters, digits and underscores only")
    url = url.set(drivername="postgresql+psycopg").difference_update_query(["schema"])
    obstacle = "it was opened for reading only" if read_only else None
    shown = url.set(drivername="postgresql").render_as_string(hide_password=True)
    try:
        # Positional parameters, so that bulk inserts go to the driver as tuples.
        engine = sa.create_engine(url, paramstyle="format", pool_pre_ping=True, max_overflow=-1)
    except ImportError as error:
        raise JournalError("PostgreSQL needs psycopg: pip install 'memedit[postgres]'") from error

    @sa.event.listens_for(engine, "connect")
    def connect(driver: Any, _: object) -> None:
        with driver.cursor() as cursor:
            if obstacle is None:
                cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
                if cursor.fetchone() is None:  # of two that make it at once, PostgreSQL would refuse one
                    cursor.execute("SELECT pg_advisory_xact_lock(20250)")
                    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            cursor.execute(f"SET search_path TO {schema}")
        driver.commit()

    return Journal(engine, shown, None, obstacle)


def _rewrite(driver: sqlite3.Connection, where: str, patience: float) -> None:
    driver.execute("PRAGMA secure_delete = ON")
    driver.execute("VACUUM")
    deadline = time.monotonic() + patience
    driver.execute("PRAGMA busy_timeout = 50")  # else one try would wait for the whole of the lock's time
    try:
        while driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise JournalError(
                    f"erased, but another process reads {where} without pause, so that its write-ahead log still "
                    f"holds the older pages; when that has ended run: memedit doctor --repair"
                )
            time.sleep(0.05)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")


def _purge_copy(copy: Path, journal: Path) -> None:
    """Erase in a backup all that is erased in the journal: texts, names, vectors; seqs and ids are the same in both."""
    driver = sqlite3.connect(copy, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        driver.execute("PRAGMA secure_delete = ON")
        driver.execute("ATTACH ? AS truth", (str(journal),))
        driver.execute("BEGIN IMMEDIATE")
        texts = ("statement", "subject", "relation", "target", "prompt", "question", "aliases", "keys", "source")
        blank = ", ".join(f"{column} = NULL" for column in (*texts, "about", "digest"))
        gone = "SELECT p.seq FROM truth.purged p JOIN truth.record r ON r.seq = p.seq JOIN main.record m ON m.id = r.id"
        driver.execute(f"UPDATE main.record SET {blank} WHERE seq IN ({gone})")
        for column in ("author", "reason"):
            driver.execute(
                f"UPDATE main.record SET {column} = NULL WHERE {column} IS NOT NULL AND (seq, id) IN "
                f"(SELECT seq, id FROM truth.record WHERE {column} IS NULL)"
            )
        driver.execute(f"INSERT OR IGNORE INTO main.purged SELECT * FROM truth.purged WHERE seq IN ({gone})")
        driver.execute(f"DELETE FROM main.alias WHERE seq IN ({gone})")
        driver.execute(f"DELETE FROM main.vector WHERE (id & {(1 << _SEQ_BITS) - 1}) IN ({gone})")
        driver.execute(f"UPDATE main.state SET live = 0 WHERE seq IN ({gone})")
        driver.execute("UPDATE main.namespace SET generation = generation + 1")
        driver.execute("UPDATE main.backup SET purged = max(purged, (SELECT max(by_seq) FROM truth.purged))")
        driver.execute("COMMIT")
        driver.execute("DETACH truth")
        driver.execute("VACUUM")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        driver.close()


def _explain(where: str, message: str) -> str:
    """What a database's message means for the user, and what to do."""
    lowered = message.lower()
    for signs, advice in _ADVICE:
        if any(sign in lowered for sign in signs):
            return f"{where}: {advice} ({message.strip()})"
    return f"{where}: the database refused: {message.strip()}"


_ADVICE = (
    (("disk is full", "no space left"), "the disk is full; nothing was written. Free some space and try again"),
    (
        ("disk i/o error", "file too large"),
        "the disk could not be written or read; nothing was written. Check its space and health",
    ),
    (
        ("locked", "lock timeout"),
        f"another process has held the database for {LOCK_SECONDS} s; nothing was written. Try again when it is done",
    ),
    (
        ("not a database", "malformed", "corrupt"),
        "the database file is damaged. Keep it as it is, and restore a backup beside it",
    ),
    (("readonly", "read-only"), "the database may only be read here; nothing was written"),
    (("unable to open",), "the database file cannot be opened; check the path and its permissions"),
    (
        ("connection refused", "could not connect", "connection failed", "connection is bad"),
        "the database server cannot be reached; check the URL and that it runs",
    ),
)
