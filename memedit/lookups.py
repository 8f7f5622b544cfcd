"""Small queries that reading and writing share: a record by its id, the head, an edit from its row.

They take the tables as they are and judge nothing; memedit.rules does that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from memedit.edits import Edit
from memedit.errors import InputError, NotFoundError
from memedit.schema import SEQ_BITS, alias, checksum, encoder_, namespace_, record, setback, to_datetime

_CHUNK = 1000  # values in one IN list


_CHECKSUM = len(record.columns) - 1  # its place in a row


def chunks(values: Iterable[int]) -> Iterator[list[int]]:
    rest = sorted(set(values))
    for start in range(0, len(rest), _CHUNK):
        yield rest[start : start + _CHUNK]


def naming(about: int) -> sa.CompoundSelect[Any]:
    """Seqs of the edits whose subject, or one of its aliases, has this hash."""
    return sa.union(
        sa.select(record.c.seq).where(record.c.about == about), sa.select(alias.c.seq).where(alias.c.name == about)
    )


# One column to one field, and back


def selected(e: Any, source: Any, judged: Any, by: Any, ends: Any) -> sa.Select[Any]:
    """The columns that `edit_of` reads."""
    return sa.select(
        *e.columns,
        namespace_.c.name.label("namespace_name"),
        judged.label("state"),
        by.label("superseded_by"),
        ends.label("ends"),
        sa.select(sa.literal_column("1")).select_from(setback).exists().label("fell"),
    ).select_from(source.join(namespace_, namespace_.c.number == e.c.namespace))


def is_whole(row: Any) -> bool:
    """Whether the columns of a record, which the row begins with, are as they were written."""
    return bool(checksum(row[:_CHECKSUM]) == row[_CHECKSUM])


def edit_of(row: Any, created: int) -> Edit:
    """The edit of a row that was `selected`, to be shown with this date."""
    end = min((one for one in (row.valid_to, row.ends) if one is not None), default=None)
    return Edit(
        id=row.id,
        seq=row.seq,
        statement=row.statement or "",
        namespace=row.namespace_name,
        created_at=to_datetime(created),
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
        valid_to=None if end is None else to_datetime(end),
        supersedes=tuple(json.loads(row.supersedes)) if row.supersedes else (),
        superseded_by=row.superseded_by if row.state == "superseded" else None,
        state=row.state,
    )


_HEAD = sa.select(sa.func.max(record.c.seq))  # asked at every search, so not made anew each time


def head_of(connection: Connection) -> int:
    return int(connection.execute(_HEAD).scalar() or 0)


def created_at(connection: Connection, seq: int) -> int:
    return int(connection.execute(sa.select(record.c.created_at).where(record.c.seq == seq)).scalar() or 0)


_ENCODER = sa.select(encoder_.c.number).where(encoder_.c.identity == sa.bindparam("identity"))


def encoder_base(connection: Connection, identity: str) -> int | None:
    number = connection.execute(_ENCODER, {"identity": identity}).scalar()
    return None if number is None else int(number) << SEQ_BITS


SHORTEST_PREFIX = 6


def resolve(connection: Connection, given: str, number: int, namespace: str) -> tuple[int, str, str]:
    """See Journal.resolve; `number` is that of the namespace, -1 where there is none.

    No other namespace is looked at, so that what is said of an id there is what is said of one that never was.
    """
    name = given.strip().lower()
    query = sa.select(record.c.seq, record.c.id, record.c.op).order_by(record.c.id)
    query = query.where(record.c.namespace == number)

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
    noun = "record" if name.startswith("r-") else "edit"
    raise NotFoundError(f"there is no {noun} {given!r} in namespace {namespace!r}; {hint}")
