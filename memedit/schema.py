"""What the journal's database holds: its tables, the rows that go in and out, their hashes and times.

memedit.migrations makes these tables, step by step, and is never changed; here they are as the queries see them now.
There are no queries here: memedit.rules says what the rows mean, memedit.lookups finds single ones.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from memedit.errors import InputError

SEQ_BITS = 44  # a vector's key is encoder number << 44 | edit seq

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST, _LAST = ((end.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND for end in (datetime.min, datetime.max))


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 in UTC. Raises InputError for a datetime without a time zone, and for one that is
    outside of the years 1 to 9999 in UTC, which could be written and never read."""
    if moment.tzinfo is None:
        raise InputError(f"{moment.isoformat()} has no time zone: say which, as in {moment.isoformat()}+00:00")
    micros = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST <= micros <= _LAST:
        raise InputError(
            f"{moment.isoformat()} lies outside of the years 1 to 9999 in UTC; leave it out, or say a nearer one"
        )
    return micros


def to_datetime(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def hash64(*parts: object) -> int:
    """A signed 64-bit hash: a million slots collide once in thirty million databases."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


_COLUMNS = "\x1f".join(["%s"] * 25)


def checksum(columns: tuple[object, ...]) -> int:
    """Of all other columns of a record, in order: a row that was changed by hand or by a bad disk has another."""
    # A bulk write is held up by this more than by anything else here, so it is no slower than it has to be.
    return zlib.crc32((_COLUMNS % columns).encode("utf-8", "surrogatepass"))


def slot_hash(namespace: str, subject: str, relation: str) -> int:
    """The chain of a single-valued relation of a subject; both normalised. Not negative: those are own chains."""
    return hash64("slot", namespace, subject, relation) & 0x7FFFFFFFFFFFFFFF


metadata = sa.MetaData()


def _table(name: str, columns: str, texts: str = "", raw: str = "") -> sa.Table:
    """Columns are 64-bit integers, which PostgreSQL has to be told, but for the `texts` and what is `raw` bytes."""

    def type_of(column: str) -> Any:
        return sa.Text() if column in texts.split() else None if column in raw.split() else sa.BigInteger()

    return sa.Table(name, metadata, *(sa.Column(column, type_of(column)) for column in columns.split()))


# memedit.migrations makes these tables; here they are for the queries.
meta = _table("meta", "name value", texts="name value")
namespace_ = _table("namespace", "number name generation", texts="name")
_TEXTS = "statement subject relation target prompt question aliases kind author source reason"
record = _table(
    "record",
    f"seq id op namespace created_at {_TEXTS} valid_from valid_to cardinality keys slot about digest supersedes began "
    "checksum",
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
setback = _table("setback", "seq before after")
bake_ = _table("bake", "seq namespace model name method settings base size", texts="model name method settings")
untaken = _table("untaken", "seq edit")
part = _table("bake_part", "seq number data", raw="data")

EDITS = ("add", "replace")
BAKES = ("bake", "unbake")
UNDOABLE = (*EDITS, "remove", *BAKES)


class Row(NamedTuple):
    """An edit about to be written: the record's columns from `statement` on, then what goes into no column of it.

    `aliases` and `keys` are JSON lists or None (`keys` without the statement, which is always the first key). `slot` is
    given where the edit may take another's place: of two in one slot both cannot hold. `about` is the hash of the
    normalised subject; `digest` of the statement with its validity. Times are microseconds.

    `names` are the hashes of its aliases. `given` tells that subject and relation are the caller's own: then it takes
    the place of whatever stands for them, else only of what says the same but for the target. `frame` is the sentence
    without its target (memedit.frames); None where it cannot be compared.
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
    given: bool = False
    frame: str | None = None

    @property
    def columns(self) -> tuple[object, ...]:
        return self[:-3]

    @property
    def windowed(self) -> bool:
        return self.valid_from is not None or self.valid_to is not None


class Fitted(NamedTuple):
    """A change of weights about to be written (memedit.baking): for the model of the SHA-256 `model`, called `name`.

    `settings` is a JSON object; `on` are the seqs of the changes that it was fitted on top of, in order. `untaken` are
    the seqs of the edits that the model does not say with it, of its own and of those before; None is the edit that is
    written along with it.
    """

    model: str
    name: str
    method: str
    settings: str
    data: bytes
    on: tuple[int, ...] = ()
    untaken: tuple[int | None, ...] = ()


def base_hash(on: Iterable[int]) -> int:
    """Of the changes below a change: equal where it still stands on what it was fitted on."""
    return hash64("base", *on)


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
