"""The rules of memedit.fold as SQL: what a record means, judged by the database.

memedit.fold says the same in plain Python, slow and short, and the tests compare the two. These are conditions and
statements, not yet run: memedit.journal reads with them, memedit.writer keeps the flags with them.
"""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa

from memedit.lookups import selected
from memedit.schema import EDITS, At, alias, chain, purged, record, state, target, undone

# The rules of memedit.fold as SQL. `e` is the edit judged; the others are those that bear on it.


def is_effective(seq: sa.ColumnElement[Any], n: int | None) -> sa.ColumnElement[bool]:
    since = undone.alias()
    query = sa.select(sa.literal(1)).where(since.c.seq == seq)
    if n is None:
        query = query.where(since.c.until.is_(None))
    else:
        query = query.where(since.c.since <= n, sa.or_(since.c.until.is_(None), since.c.until > n))
    return ~query.exists()


def is_valid(r: Any, t: Any) -> sa.ColumnElement[bool]:
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


def is_purged(seq: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    p = purged.alias()
    return sa.select(sa.literal(1)).where(p.c.seq == seq).exists()


def _removed(seq: sa.ColumnElement[Any], n: int | None) -> sa.ColumnElement[bool]:
    x = target.alias()
    query = sa.select(sa.literal(1)).where(x.c.target == seq, x.c.op == "remove", is_effective(x.c.seq, n))
    if n is not None:
        query = query.where(x.c.seq <= n)
    return query.exists()


_LONG_AGO = -(1 << 62)


def _began(r: Any) -> sa.ColumnElement[int]:
    return sa.func.coalesce(r.c.began, sa.literal(_LONG_AGO, sa.BigInteger()))


def _is_above(r: Any, e: Any) -> sa.ColumnElement[bool]:
    began, other = _began(r), _began(e)
    return sa.or_(began > other, sa.and_(began == other, r.c.seq > e.c.seq))


def _above(e: Any, n: int | None) -> tuple[Any, sa.Select[Any]]:
    """The effective edits `r` above `e` in its chains: (r, a select to be narrowed)."""
    a, b, r = chain.alias(), chain.alias(), record.alias()
    query = (
        sa.select(r.c.id)
        .select_from(a.join(b, b.c.chain == a.c.chain).join(r, r.c.seq == b.c.seq))
        .where(a.c.seq == e.c.seq, b.c.seq != e.c.seq, _is_above(r, e), is_effective(b.c.seq, n))
    )
    return r, query if n is None else query.where(b.c.seq <= n)


def _blocked(e: Any, at: At) -> sa.ColumnElement[bool]:
    r, higher = _above(e, at.n)
    return higher.where(sa.or_(is_valid(r, at.t), _covers(r, e))).exists()


def superseded_by(e: Any, at: At) -> sa.ScalarSelect[Any]:
    r, higher = _above(e, at.n)
    higher = higher.where(sa.or_(is_valid(r, at.t), _covers(r, e)), ~_removed(r.c.seq, at.n), ~is_purged(r.c.seq))
    return higher.order_by(_began(r).desc(), r.c.seq.desc()).limit(1).scalar_subquery()


def ends(e: Any, n: int | None) -> sa.ScalarSelect[Any]:
    """When an edit that was written earlier and began later puts an end to `e`; None where none does."""
    r, higher = _above(e, n)
    higher = higher.where(r.c.seq < e.c.seq, r.c.valid_from.is_not(None))
    return higher.with_only_columns(sa.func.min(r.c.valid_from)).scalar_subquery()


def state_of(e: Any, at: At) -> sa.ColumnElement[str]:
    return sa.case(
        (is_purged(e.c.seq), "purged"),
        (~is_effective(e.c.seq, at.n), "undone"),
        (_removed(e.c.seq, at.n), "removed"),
        (_blocked(e, at), "superseded"),
        (e.c.valid_from > at.t, "not_yet"),
        (e.c.valid_to <= at.t, "expired"),
        else_="current",
    )


def is_live(e: Any) -> sa.ColumnElement[bool]:
    r, higher = _above(e, None)
    return sa.and_(
        is_effective(e.c.seq, None),
        ~_removed(e.c.seq, None),
        ~is_purged(e.c.seq),
        ~higher.where(_covers(r, e)).exists(),
    )


def overridden(number: Any, t: Any) -> sa.Select[Any]:
    """Seqs of live edits that a windowed edit, now valid, stands in the way of. Starts from the windowed: few."""
    r, a, b, s = record.alias("r"), chain.alias("a"), chain.alias("b"), state.alias("s")
    e = record.alias("overridden")
    return (
        sa.select(b.c.seq)
        .select_from(
            r.join(a, a.c.seq == r.c.seq)
            .join(b, sa.and_(b.c.chain == a.c.chain, b.c.seq != r.c.seq))
            .join(s, s.c.seq == b.c.seq)
            .join(e, e.c.seq == b.c.seq)
        )
        .where(r.c.namespace == number, _windowed(r), is_valid(r, t), is_effective(r.c.seq, None), s.c.live == 1)
        .where(_is_above(r, e))
    )


# Statements of every search. Making one costs ten times what running it does, so these are made once.


@functools.cache
def outside_now() -> sa.CompoundSelect[Any]:
    """Seqs of the live edits of namespace `number` that are not valid at `t`, or are overridden then; each once."""
    number: Any = sa.bindparam("number")
    t: Any = sa.bindparam("t")
    outside = (
        sa.select(record.c.seq)
        .join_from(record, state, state.c.seq == record.c.seq)
        .where(record.c.namespace == number, _windowed(record), state.c.live == 1, ~is_valid(record, t))
    )
    return sa.union(outside, overridden(number, t))


@functools.cache
def standing() -> sa.CompoundSelect[Any]:
    """(0, the last sequence number or None), then (1, seq) of each edit that is `outside_now`, or beside whose aliases
    the hash `name` was written: what every search asks, as one statement."""
    outside = outside_now().subquery()
    named = sa.select(sa.literal_column("1"), alias.c.seq).where(alias.c.name == sa.bindparam("name"))
    head: Any = sa.select(sa.literal_column("0"), sa.func.max(record.c.seq))
    return sa.union_all(head, sa.select(sa.literal_column("1"), outside.c.seq), named)


@functools.cache
def keys_of() -> sa.Select[Any]:
    """Seq, statement and further keys of the records `seqs`."""
    wanted = record.c.seq.in_(sa.bindparam("seqs", expanding=True))
    return sa.select(record.c.seq, record.c.statement, record.c["keys"]).where(wanted)


def naming_live(names: int, mark: str) -> str:
    """SQL for the seqs of a namespace's live edits whose subject or alias has one of so many hashes, of each name the
    newest; `mark` stands for a parameter.

    Its parameters: the hashes, the hashes again, the namespace's number, how many of each name. It goes to the driver
    as it is: SQLAlchemy writes a list of values anew each time, which takes longer than looking them up.
    """
    listed = ", ".join([mark] * names)
    # Each is looked up by itself: joined, SQLite goes through all live edits of the namespace.
    return f"""
        SELECT placed.seq FROM (
            SELECT named.seq AS seq, row_number() OVER (PARTITION BY named.name ORDER BY named.seq DESC) AS place
            FROM (
                SELECT about AS name, seq FROM record WHERE about IN ({listed})
                UNION SELECT name, seq FROM alias WHERE name IN ({listed})
            ) AS named
            WHERE (SELECT live FROM state WHERE state.seq = named.seq AND state.namespace = {mark}) = 1
        ) AS placed WHERE placed.place <= {mark}
    """


@functools.cache
def found_now() -> sa.Select[Any]:
    """The edits `seqs` as judged at `t`, the newest first."""
    e = record.alias("e")
    t: Any = sa.bindparam("t")
    at = At(None, t)
    wanted = e.c.seq.in_(sa.bindparam("seqs", expanding=True))
    query = selected(e, e, state_of(e, at), superseded_by(e, at), ends(e, None))
    return query.where(e.c.op.in_(EDITS), wanted).order_by(e.c.seq.desc())
