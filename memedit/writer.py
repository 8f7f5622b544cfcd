"""One write transaction: appending records, and keeping what is materialised in line with them.

memedit.journal begins and ends the transaction and holds the lock; in between, everything that changes the database
is here. What a record means is asked of memedit.rules.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from memedit.edits import Edit
from memedit.errors import InputError
from memedit.frames import same_frame
from memedit.lookups import chunks, created_at, head_of, resolve
from memedit.rules import is_effective, is_live, state_of
from memedit.schema import (
    EDITS,
    SEQ_BITS,
    At,
    Fitted,
    Row,
    Written,
    alias,
    bake_,
    base_hash,
    chain,
    change,
    checksum,
    encoder_,
    meta,
    namespace_,
    part,
    purged,
    record,
    setback,
    state,
    target,
    undone,
    untaken,
    vector,
)

if TYPE_CHECKING:  # the journal imports this file
    from memedit.journal import Journal

SKEW = 1_000_000
"""Microseconds by which the clock may fall, as between two machines at one database, without being said to."""
_PART = 8 << 20  # bytes of one part of a change: far below what either database takes in one value


class Writer:
    """One write transaction: the numbers after the head are its own until it ends."""

    def __init__(self, journal: Journal, connection: Connection, fresh: bool) -> None:
        self.journal = journal
        self.connection = connection
        self.head = 0 if fresh else head_of(connection)
        self.last = 0 if fresh else created_at(connection, self.head)
        self.now = journal.clock()
        if 0 < self.last - self.now < SKEW:
            self.now = self.last

    def namespace(self, name: str) -> int:
        query = sa.select(namespace_.c.number).where(namespace_.c.name == name)
        number = self.connection.execute(query).scalar()
        if number is None:
            number = 1 + (self.connection.execute(sa.select(sa.func.max(namespace_.c.number))).scalar() or 0)
            self.connection.execute(sa.insert(namespace_).values(number=number, name=name, generation=0))
        return int(number)

    def edit(self, namespace: str, given: str) -> Edit:
        """The edit of that id in a namespace, as it stands in this transaction."""
        number = self.journal._number(self.connection, namespace)
        seq, name, op = resolve(self.connection, given, number, namespace)
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
            rows = [(*row, checksum(row)) for row in make(ids)]
            attempt = self.connection.begin_nested()
            try:
                self.put(record, rows)
            except sa.exc.IntegrityError:
                attempt.rollback()
                continue
            attempt.commit()
            if self.now < self.last:
                self.put(setback, [(rows[0][0], self.last, self.now)])
            self.last = self.now
            return ids

    # Adding

    def add(self, namespace: str, rows: Sequence[Row]) -> list[Written]:
        number = self.namespace(namespace)
        general = self._general(rows)
        written: list[Written] = []
        start = 0
        while start < len(rows):  # runs of plain rows at once, the others one by one
            end = start
            while end < len(rows) and not general[end]:
                end += 1
            if end > start:
                written += self._add_unlimited(number, rows[start:end])
            if end < len(rows):
                row = rows[end]
                standing = self._standing([row]).get(row.digest)
                written.append(Written(*standing, False) if standing else self.insert(namespace, "add", row))
            start = end + 1
        return written

    def _general(self, rows: Sequence[Row]) -> list[bool]:
        """Which rows the general rules are needed for: all but those that are valid for ever, in a slot where all are,
        beside which no other slot says anything of the same subject and relation."""
        dated = {row.slot for row in rows if row.windowed}
        slots: dict[tuple[int | None, str | None], set[int]] = {}  # (about, relation) -> the slots there
        for row in rows:
            if row.slot is not None:
                slots.setdefault((row.about, row.relation), set()).add(row.slot)
        for chunk in chunks(row.slot for row in rows if row.slot is not None):
            query = sa.select(chain.c.chain).join_from(chain, record, record.c.seq == chain.c.seq)
            dated.update(self.connection.scalars(query.where(chain.c.chain.in_(chunk), record.c.began.is_not(None))))
        for chunk in chunks(about for about, _ in slots if about is not None):
            for other in self.connection.execute(self._rivals(chunk)):
                slots.get((other.about, other.relation), set()).add(other.slot)
        return [
            row.windowed or (row.slot is not None and (row.slot in dated or len(slots[row.about, row.relation]) > 1))
            for row in rows
        ]

    def _rivals(self, abouts: Sequence[int]) -> sa.Select[Any]:
        """The live edits about these subjects that are in a slot."""
        query = sa.select(*(record.c[name] for name in ("seq", "about", "relation", "slot", "statement", "target")))
        query = query.join_from(record, state, state.c.seq == record.c.seq)
        return query.where(record.c.about.in_(abouts), record.c.slot.is_not(None), state.c.live == 1)

    def _displaced(self, row: Row) -> list[int]:
        """The live edits of other slots whose place a row takes."""
        if row.slot is None or row.about is None:
            return []
        return [
            other.seq
            for other in self.connection.execute(self._rivals([row.about]))
            if other.slot != row.slot
            and other.relation == row.relation
            and (row.given or same_frame(row.frame, other.statement, other.target))
        ]

    def _standing(self, rows: Sequence[Row]) -> dict[int, tuple[int, str]]:
        """digest -> (seq, id) of edits that say the same as one of the rows and are not overtaken."""
        digests = {row.digest for row in rows}
        found: list[Any] = []
        for chunk in chunks(digests):
            query = sa.select(record.c.digest, record.c.seq, record.c.id).where(record.c.digest.in_(chunk))
            found += self.connection.execute(query).fetchall()
        standing = {}
        e = record.alias("e")
        for chunk in chunks(row.seq for row in found):
            query = sa.select(e.c.digest, e.c.seq, e.c.id).where(e.c.seq.in_(chunk))
            query = query.where(state_of(e, At(None, self.now)).in_(("current", "not_yet", "expired")))
            standing.update({digest: (seq, name) for digest, seq, name in self.connection.execute(query)})
        return standing

    def _add_unlimited(self, number: int, rows: Sequence[Row]) -> list[Written]:
        """Rows that are valid for ever: each kills all that is live in its slot, so no chain need be read twice."""
        standing = self._standing(rows)
        slots = {row.slot for row in rows if row.slot is not None}
        heads: dict[int, list[tuple[int, str]]] = {}  # slot -> live edits there, as (seq, id); older than this batch
        for chunk in chunks(slots):
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
                made.append((seq_of[place], ids[place], "add", number, self.now, *row.columns, supersedes, None))
            return made

        if chosen:
            self.put_records("e-", make, len(chosen))
        dead = {seq for _, seq in killed}
        self.put(state, [(seq, number, int(seq not in dead)) for seq in seq_of.values()])
        self.put(chain, [(rows[place].slot, seq) for place, seq in seq_of.items() if rows[place].slot is not None])
        self.put(alias, [(name, seq) for place, seq in seq_of.items() for name in rows[place].names])
        self.put(change, [(number, by, seq, 0) for by, seq in killed])
        for chunk in chunks(seq for seq in dead if seq <= self.head):
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
            chains |= set(self.connection.scalars(inherited))
        displaced = [replaces] if replaces is not None else self._displaced(row)
        for one in displaced:
            own = sa.select(chain.c.seq).where(chain.c.chain == -one, chain.c.seq == one)
            if not self.connection.execute(own).first():
                self.put(chain, [(-one, one)])
            chains.add(-one)
        mates: set[int] = set()
        for chunk in chunks(chains):
            mates.update(self.connection.scalars(sa.select(chain.c.seq).where(chain.c.chain.in_(chunk))))
        began = self._began(row, mates, replaces)
        retired: list[Any] = []
        for chunk in chunks(mates):
            query = sa.select(record.c.seq, record.c.id).join_from(record, state, state.c.seq == record.c.seq)
            query = query.where(record.c.seq.in_(chunk), state.c.live == 1)
            # Those that it stands above; it is written last, so what began with it is below.
            query = query.where(sa.or_(record.c.began.is_(None), *([] if began is None else [record.c.began <= began])))
            if row.valid_from is not None:
                query = query.where(sa.or_(record.c.valid_to.is_(None), record.c.valid_to > row.valid_from))
            if row.valid_to is not None:
                query = query.where(sa.or_(record.c.valid_from.is_(None), record.c.valid_from < row.valid_to))
            retired += self.connection.execute(query).fetchall()
        supersedes = json.dumps([one.id for one in retired]) if retired else None
        made = (op, number, self.now, *row.columns, supersedes, began)
        ids = self.put_records("e-", lambda ids: [(seq, ids[0], *made)], 1)
        self.put(state, [(seq, number, 1)])
        self.put(chain, [(one, seq) for one in chains])
        self.put(alias, [(name, seq) for name in row.names])
        self.put(target, [(seq, one, op) for one in displaced])
        self.head = seq
        self.refresh({*mates, seq}, seq)
        return Written(seq, ids[0], True, tuple(one.seq for one in retired))

    def _began(self, row: Row, mates: Iterable[int], replaces: int | None) -> int | None:
        """When a row begins among the edits of its chains (memedit.fold, rule 2)."""
        found = [row.valid_from]
        latest = sa.select(sa.func.max(record.c.began))
        if row.valid_from is None:
            for chunk in chunks(mates):
                query = latest.where(record.c.seq.in_(chunk), record.c.began <= self.now)
                found.append(self.connection.execute(query).scalar())
        if replaces is not None:
            found.append(self.connection.execute(latest.where(record.c.seq == replaces)).scalar())
        return max((one for one in found if one is not None), default=None)

    def put_vectors(self, identity: str, dimension: int, vectors: Mapping[int, bytes], new: bool = False) -> None:
        """`new`: of edits that this transaction wrote, so that none can be purged or have vectors already."""
        known = self.connection.execute(sa.select(encoder_).where(encoder_.c.identity == identity)).first()
        if known is None:
            number = 1 + (self.connection.execute(sa.select(sa.func.max(encoder_.c.number))).scalar() or 0)
            self.put(encoder_, [(number, identity, dimension)])
        elif known.dimension != dimension:
            raise InputError(f"vectors of {identity} have {known.dimension} numbers here, not {dimension}")
        else:
            number = known.number
        base = number << SEQ_BITS
        gone: set[int] = set()
        for chunk in chunks(() if new else vectors):
            gone.update(self.connection.scalars(sa.select(purged.c.seq).where(purged.c.seq.in_(chunk))))
            if known is not None:
                self.connection.execute(sa.delete(vector).where(vector.c.id.in_([base | seq for seq in chunk])))
        self.put(vector, [(base | seq, data) for seq, data in vectors.items() if seq not in gone])

    # Weights

    def keep(self, seq: int, number: int, fitted: Fitted, edit: int | None = None) -> None:
        """Put a change beside the record `seq`; `edit` is the one that it carries, where that is not the record."""
        size = len(fitted.data)
        about = (fitted.model, fitted.name, fitted.method, fitted.settings, base_hash(fitted.on), size)
        self.put(bake_, [(seq, number, *about)])
        for place, start in enumerate(range(0, size, _PART)):
            self.put(part, [(seq, place, fitted.data[start : start + _PART])])
        own = seq if edit is None else edit
        self.put(untaken, sorted({(seq, own if one is None else one) for one in fitted.untaken}))

    def bake(
        self, number: int, edits: Sequence[int], fitted: Fitted, author: str | None = None, reason: str | None = None
    ) -> int:
        """Append a record that puts edits into weights, with its change; -> its seq."""
        seq = self.act("bake", number, edits, author, reason)
        self.keep(seq, number, fitted, edits[0])
        return seq

    def unbake(
        self, number: int, edits: Sequence[int], model: str, name: str, author: str | None, reason: str | None
    ) -> int:
        """Append a record that takes edits out of a model's weights; -> its seq."""
        seq = self.act("unbake", number, edits, author, reason)
        self.put(bake_, [(seq, number, model, name, None, None, None, 0)])
        return seq

    # Acting on records

    def act(self, op: str, number: int, seqs: Sequence[int], author: str | None, reason: str | None) -> int:
        """Append a record that acts on others; -> its seq."""
        self.head = seq = self.head + 1
        blank = {"author": author, "reason": reason}
        columns = [column.name for column in record.columns][5:-1]

        def make(ids: list[str]) -> list[tuple[object, ...]]:
            return [(seq, ids[0], op, number, self.now, *(blank.get(column) for column in columns))]

        self.put_records("r-", make, 1)
        self.put(target, [(seq, other, op) for other in seqs])
        return seq

    def refresh(self, seqs: Iterable[int], cause: int) -> None:
        """Bring the flags of these edits in line with the rules; what changes is put down to record `cause`."""
        e = record.alias("e")
        for chunk in chunks(seqs):
            query = sa.select(e.c.seq, e.c.namespace, state.c.live, sa.case((is_live(e), 1), else_=0).label("right"))
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
            for chunk in chunks(found):
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
        changed = [seq for chunk in chunks(others) for seq in self._settle(chunk, cause)]
        affected: set[int] = set()
        for chunk in chunks(changed):
            a, b = chain.alias(), chain.alias()
            mates = sa.select(b.c.seq).join_from(a, b, b.c.chain == a.c.chain)
            affected.update(self.connection.scalars(mates.where(a.c.seq.in_(chunk))))
            removed = sa.select(target.c.target).where(target.c.seq.in_(chunk), target.c.op == "remove")
            affected.update(self.connection.scalars(removed))
            affected.update(seq for seq in chunk if ops[seq] in EDITS)
        self.refresh(affected, cause)

    def _settle(self, seqs: Sequence[int], cause: int) -> list[int]:
        """Write down which of these records began or ceased to be effective; -> those."""
        x = target.alias()
        hit = sa.select(x.c.target).where(x.c.target.in_(seqs), x.c.op == "undo", is_effective(x.c.seq, None))
        now = set(self.connection.scalars(hit))
        query = sa.select(undone.c.seq).where(undone.c.seq.in_(seqs), undone.c.until.is_(None))
        was = set(self.connection.scalars(query))
        self.put(undone, [(seq, cause, None) for seq in now - was])
        for chunk in chunks(was - now):
            ended = sa.update(undone).where(undone.c.seq.in_(chunk), undone.c.until.is_(None))
            self.connection.execute(ended.values(until=cause))
        return sorted(now ^ was)

    # Purging

    def sign(self, seqs: Iterable[int]) -> None:
        """Bring the checksums of records in line with what now stands in them."""
        for chunk in chunks(seqs):
            rows = self.connection.execute(sa.select(*record.columns[:-1]).where(record.c.seq.in_(chunk))).fetchall()
            mark = self.journal._mark
            signed = f"UPDATE record SET checksum = {mark} WHERE seq = {mark}"
            self.connection.exec_driver_sql(signed, [(checksum(tuple(row)), row.seq) for row in rows])

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
        for chunk in chunks(seqs):
            query = sa.select(record.c.seq, record.c.statement).where(record.c.seq.in_(chunk))
            tombs = [
                (seq, cause, hashlib.sha256((statement or "").encode()).hexdigest())
                for seq, statement in self.connection.execute(query)
            ]
            self.put(purged, tombs)
            self.connection.execute(sa.update(record).where(record.c.seq.in_(chunk)).values(blank))
            # The reason of a removal may quote what was removed.
            acting = self.connection.scalars(sa.select(target.c.seq).where(target.c.target.in_(chunk))).all()
            for some in chunks(acting):
                self.connection.execute(sa.update(record).where(record.c.seq.in_(some)).values(reason=None))
            self.sign([*chunk, *acting])
            self.connection.execute(sa.delete(alias).where(alias.c.seq.in_(chunk)))
            rows = [one << SEQ_BITS | seq for one in numbers for seq in chunk]
            self.connection.execute(sa.delete(vector).where(vector.c.id.in_(rows)))
            # A change that carries several goes as a whole: no part of it can be told apart.
            shared = sa.select(target.c.seq).where(target.c.target.in_(chunk), target.c.op == "bake")
            hit = sa.or_(bake_.c.seq.in_(chunk), bake_.c.seq.in_(shared))
            self.connection.execute(sa.delete(part).where(part.c.seq.in_(sa.select(bake_.c.seq).where(hit))))
            self.connection.execute(sa.update(bake_).where(hit, bake_.c.size > 0).values(settings="{}", size=0))
        if author is not None:
            signed = sa.select(record.c.seq).where(record.c.namespace == number, record.c.author == author)
            acts = self.connection.scalars(signed).all()
            for chunk in chunks(acts):
                acted = sa.update(record).where(record.c.seq.in_(chunk))
                self.connection.execute(acted.values(author=None, reason=None))
            self.sign(acts)
        self.refresh(seqs, cause)
        rises = sa.update(namespace_).where(namespace_.c.number == number)
        self.connection.execute(rises.values(generation=namespace_.c.generation + 1))
        # Told in the same transaction, so that a crash before the files are clean is made good on the next opening.
        self.connection.execute(sa.delete(meta).where(meta.c.name == "scrub"))
        self.connection.execute(sa.insert(meta).values(name="scrub", value=str(cause)))
