"""The numbered steps that bring a database to the format this version reads.

Step n turns format n - 1 into format n; format 0 is an empty database. A step, once released, is never changed: a new
need is a new step at the end. All pending steps run in one transaction when a memory is opened for writing, so that a
crash leaves the old format or the new one. The tables as the code sees them are in memedit.schema; the test suite
compares the two.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from memedit.schema import checksum

# {big}: the 64-bit integer that is also SQLite's row key; {bytes}: binary; {clustered}: rows kept in key order.
_TYPES = {
    "sqlite": {"big": "INTEGER", "bytes": "BLOB", "clustered": " WITHOUT ROWID"},
    "postgresql": {"big": "BIGINT", "bytes": "BYTEA", "clustered": ""},
}

_JOURNAL = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE namespace (number {big} PRIMARY KEY, name TEXT NOT NULL UNIQUE, generation {big} NOT NULL)",
    # The journal: rows are only ever appended; a purge empties the text columns of a row and leaves the row.
    """CREATE TABLE record (
        seq {big} PRIMARY KEY, id TEXT NOT NULL, op TEXT NOT NULL, namespace {big} NOT NULL, created_at {big} NOT NULL,
        statement TEXT, subject TEXT, relation TEXT, target TEXT, prompt TEXT, question TEXT, aliases TEXT, kind TEXT,
        author TEXT, source TEXT, reason TEXT, valid_from {big}, valid_to {big}, cardinality TEXT, keys TEXT,
        slot {big}, about {big}, digest {big}, supersedes TEXT)""",
    "CREATE UNIQUE INDEX record_id ON record (id)",
    "CREATE INDEX record_about ON record (about) WHERE about IS NOT NULL",
    "CREATE INDEX record_digest ON record (digest) WHERE digest IS NOT NULL",
    "CREATE INDEX record_author ON record (namespace, author, seq) WHERE author IS NOT NULL",
    "CREATE INDEX record_windowed ON record (namespace, seq) WHERE valid_from IS NOT NULL OR valid_to IS NOT NULL",
    # What a record acts on: the edit that it replaces, the edit that it removes or purges, the record that it undoes.
    "CREATE TABLE target (seq {big} NOT NULL, target {big} NOT NULL, op TEXT NOT NULL, PRIMARY KEY (seq, target))"
    "{clustered}",
    "CREATE INDEX target_target ON target (target, op)",
    "CREATE TABLE alias (name {big} NOT NULL, seq {big} NOT NULL, PRIMARY KEY (name, seq)){clustered}",
    "CREATE INDEX alias_seq ON alias (seq)",
    "CREATE TABLE purged (seq {big} PRIMARY KEY, by_seq {big} NOT NULL, sha256 TEXT NOT NULL)",
    # From here on derived: the fold of the journal, kept up in the transaction of each record.
    "CREATE TABLE chain (chain {big} NOT NULL, seq {big} NOT NULL, PRIMARY KEY (chain, seq)){clustered}",
    "CREATE INDEX chain_seq ON chain (seq)",
    "CREATE TABLE undone (seq {big} NOT NULL, since {big} NOT NULL, until {big}, PRIMARY KEY (seq, since)){clustered}",
    "CREATE TABLE state (seq {big} PRIMARY KEY, namespace {big} NOT NULL, live {big} NOT NULL)",
    "CREATE INDEX state_live ON state (namespace, live, seq)",
    "CREATE TABLE change (namespace {big} NOT NULL, seq {big} NOT NULL, edit_seq {big} NOT NULL, live {big} NOT NULL, "
    "PRIMARY KEY (namespace, seq, edit_seq)){clustered}",
    "CREATE TABLE encoder (number {big} PRIMARY KEY, identity TEXT NOT NULL UNIQUE, dimension {big} NOT NULL)",
    "CREATE TABLE vector (id {big} PRIMARY KEY, data {bytes} NOT NULL)",
    # Copies that memedit made of this database, so that a purge reaches them. `purged` is the last purge that did.
    "CREATE TABLE backup (path TEXT PRIMARY KEY, created_at {big} NOT NULL, purged {big} NOT NULL)",
)

_WEIGHTS = (
    # A change of weights beside a record: whose, by what method with what settings, and a hash of what it was fitted
    # on. Without a method: the record takes edits out of that model's weights again.
    "CREATE TABLE bake (seq {big} PRIMARY KEY, namespace {big} NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL, "
    "method TEXT, settings TEXT, base {big}, size {big} NOT NULL)",
    "CREATE INDEX bake_namespace ON bake (namespace, seq)",
    # Its bytes, cut into parts: a purge deletes them.
    "CREATE TABLE bake_part (seq {big} NOT NULL, number {big} NOT NULL, data {bytes} NOT NULL, "
    "PRIMARY KEY (seq, number))",
)

_LOOKS = (
    # After the change of record `seq` was fitted, the model did not say this edit: the memory answers it. What the
    # model said instead is kept nowhere.
    "CREATE TABLE untaken (seq {big} NOT NULL, edit {big} NOT NULL, PRIMARY KEY (seq, edit)){clustered}",
)


# When an edit began, which says what holds in its chains (memedit.fold, rule 2). Null in what was written before: there
# the later one holds, as it did.
_BEGAN = ("ALTER TABLE record ADD COLUMN began {big}",)


# Where the clock had been set back between two records, and by how much: only there can dates be in dispute.
_SETBACKS = ("CREATE TABLE setback (seq {big} PRIMARY KEY, before {big} NOT NULL, after {big} NOT NULL)",)

# Of the columns of a record, so that a row which was changed outside of memedit is noticed.
_CHECKSUMS = ("ALTER TABLE record ADD COLUMN checksum {big}",)


def _run(connection: Connection, statements: tuple[str, ...]) -> None:
    types = _TYPES[connection.dialect.name]
    for statement in statements:
        connection.exec_driver_sql(statement.format(**types))


def _guard(connection: Connection) -> None:
    """Formats before this kept no dates that fall, so there are no setbacks; what stands in the rows is believed."""
    _run(connection, _SETBACKS + _CHECKSUMS)
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    update = f"UPDATE record SET checksum = {mark} WHERE seq = {mark}"
    columns = (
        "seq, id, op, namespace, created_at, statement, subject, relation, target, prompt, question, aliases, kind, "
        "author, source, reason, valid_from, valid_to, cardinality, keys, slot, about, digest, supersedes, began"
    )
    after = 0
    while True:
        query = f"SELECT {columns} FROM record WHERE seq > {after} ORDER BY seq LIMIT 10000"
        rows = connection.exec_driver_sql(query).fetchall()
        if not rows:
            return
        connection.exec_driver_sql(update, [(checksum(tuple(row)), row.seq) for row in rows])
        after = rows[-1].seq


MIGRATIONS: list[Callable[[Connection], None]] = [
    lambda connection: _run(connection, _JOURNAL),
    lambda connection: _run(connection, _WEIGHTS),
    lambda connection: _run(connection, _LOOKS),
    lambda connection: _run(connection, _BEGAN),
    _guard,
]
