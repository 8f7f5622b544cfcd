"""Databases as such: opening them, SQLite in a folder or PostgreSQL by URL, cleaning their files, wording their errors.

SQLite runs in WAL mode with synchronous=FULL: in WAL mode NORMAL would not sync at commit, and an acknowledged edit
could be lost with the power. This file knows connections and files; memedit.journal knows what is kept in them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.pool import QueuePool

from memedit.errors import InputError, JournalError, NotFoundError
from memedit.files import Files, examine, log_of, make, tidy
from memedit.schema import SEQ_BITS

DATABASE = "journal.db"
LOCK_SECONDS = 60
PAGES_KIB = 1 << 16
"""Pages of SQLite that a connection keeps in memory."""
BULK_PAGES_KIB = 1 << 18
"""The same once it has written BULK edits in one transaction: their hashes fall on all pages of four indexes, which are
100 MB at a million edits."""
BULK = 10_000


class Database(NamedTuple):
    """An opened database: `where` as users are told it, its folder if any, and why it cannot be written, if so.

    `files` watches over the files in the folder.
    """

    engine: sa.Engine
    where: str
    folder: Path | None
    obstacle: str | None
    files: Files | None


def checked_folder(folder: Path) -> None:
    """Raises InputError where a memory's folder is a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; a memory is a folder: name another place")


def checked_place(folder: Path) -> None:
    """The same; JournalError where no memory can be begun there, which is better said before long work than after."""
    checked_folder(folder)
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise JournalError(f"no memory can be made at {folder}: {above} is no folder that can be written")


def open_folder(folder: Path, read_only: bool) -> Database:
    path = folder / DATABASE
    checked_folder(folder)
    if not path.exists():
        if read_only:
            raise NotFoundError(f"there is no memory at {folder}; `memedit add` makes one")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"the folder {folder} cannot be made: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise JournalError(f"the folder {folder} cannot be written, so no memory can be made there")
    path = path.absolute()  # it stays where it is, wherever the process goes
    with explained(str(folder)):
        if not path.exists():
            make(path)
        examine(path)
        if not read_only and path.stat().st_nlink > 1:
            tidy(path)
    files = Files(path)
    obstacle = "it was opened for reading only" if read_only else None
    if obstacle is None and not (os.access(path, os.W_OK) and os.access(folder, os.W_OK)):
        obstacle = "its files may only be read by this user"
    wal = log_of(path)
    # Who may not write leaves the empty log behind that reading has made; who may, takes it away again.
    quiet = not any(path.with_name(DATABASE + end).exists() for end in ("-wal", "-journal"))
    clears = obstacle is not None and quiet and os.access(path, os.W_OK) and os.access(folder, os.W_OK)

    def connect() -> sqlite3.Connection:
        if obstacle is None:
            mode = "mode=rw"  # never makes a file: where this one is gone, another is no help
        else:
            # A reader in WAL mode shares memory with the writers through a file beside the database. In a folder that
            # cannot be written there is none to be made; without a log, though, the database alone is the whole truth.
            alone = not os.access(folder, os.W_OK) and not (wal.exists() and wal.stat().st_size)
            mode = "mode=rw" if clears else "immutable=1" if alone else "mode=ro"
        driver = sqlite3.connect(
            f"{path.as_uri()}?{mode}", uri=True, timeout=LOCK_SECONDS, check_same_thread=False, isolation_level=None
        )
        if obstacle is not None:
            driver.execute("PRAGMA query_only = ON")
        driver.execute("PRAGMA synchronous = FULL")
        driver.execute(f"PRAGMA cache_size = -{PAGES_KIB}")
        driver.execute("PRAGMA wal_autocheckpoint = 16000")
        driver.execute("PRAGMA journal_size_limit = 67108864")
        # SQLite's own lower() leaves É as it is.
        driver.create_function("lower", 1, lambda text: text.lower() if text else text, deterministic=True)
        return driver

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=4, max_overflow=-1)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # the driver would begin too late for a reader, too weakly for a writer
        connection.exec_driver_sql(connection.get_execution_options().get("memedit_begin", "BEGIN"))

    if obstacle is None:
        with explained(str(folder)):
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
    return Database(engine, str(folder), folder, obstacle, files)


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


def open_url(text: str, read_only: bool) -> Database:
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

    return Database(engine, shown, None, obstacle, None)


def keep_many_pages(connection: Connection) -> None:
    """From now on; elsewhere than in SQLite it is the server's affair. A connection is bulk-written again and again."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size = -{BULK_PAGES_KIB}")


def rewrite(driver: sqlite3.Connection, where: str, patience: float) -> None:
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


def purge_copy(copy: Path, journal: Path) -> None:
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
        if driver.execute("SELECT 1 FROM pragma_table_info('record', 'main') WHERE name = 'checksum'").fetchone():
            # Of the same record, emptied alike. What is damaged in the copy is so still.
            driver.execute(
                "UPDATE main.record SET checksum = t.checksum FROM truth.record t "
                "WHERE t.seq = main.record.seq AND t.id = main.record.id AND t.checksum != main.record.checksum"
            )
        driver.execute(f"INSERT OR IGNORE INTO main.purged SELECT * FROM truth.purged WHERE seq IN ({gone})")
        driver.execute(f"DELETE FROM main.alias WHERE seq IN ({gone})")
        driver.execute(f"DELETE FROM main.vector WHERE (id & {(1 << SEQ_BITS) - 1}) IN ({gone})")
        if driver.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'bake_part'").fetchone():  # else: older
            shared = f"SELECT seq FROM main.target WHERE op = 'bake' AND target IN ({gone})"
            driver.execute(f"DELETE FROM main.bake_part WHERE seq IN ({gone}) OR seq IN ({shared})")
            held = f"size > 0 AND (seq IN ({gone}) OR seq IN ({shared}))"
            driver.execute(f"UPDATE main.bake SET settings = '{{}}', size = 0 WHERE {held}")
        driver.execute(f"UPDATE main.state SET live = 0 WHERE seq IN ({gone})")
        driver.execute("UPDATE main.namespace SET generation = generation + 1")
        driver.execute("UPDATE main.backup SET purged = max(purged, (SELECT max(by_seq) FROM truth.purged))")
        driver.execute("COMMIT")
        driver.execute("DETACH truth")
        driver.execute("VACUUM")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        driver.close()


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Database errors come out as JournalError with what to do."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise JournalError(_explain(where, str(error.orig or error))) from error
    except sa.exc.SQLAlchemyError as error:
        raise JournalError(_explain(where, str(error))) from error
    except sqlite3.Error as error:
        raise JournalError(_explain(where, str(error))) from error


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
