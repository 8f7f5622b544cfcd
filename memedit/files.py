"""The files of a folder's journal: made whole, known again while they are open, log and database of one memory.

SQLite keeps what was last written in a log beside the database (`-wal`), and applies any log that it finds there. So
each database has a mark in its header, which its log holds as well: a number drawn when the file was made (SQLite's
application_id; a backup draws its own) and a count of its writes (user_version). A log fits a database that is not
older than where the log begins nor newer than where it ends. memedit.databases opens what is found to be in order.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from memedit.errors import JournalError

_MAGIC = b"SQLite format 3\0"
_HEADER = 72  # bytes of a database's first page, up to the end of its mark
_LOG_HEADER, _FRAME = 32, 24
_PATIENCE = 2.0
"""Seconds in which a database and its log, which others may be writing, must once be seen to fit."""
_LEFT = 600.0
"""Seconds after which a new database that never got its name is what a killed process left."""


class Mark(NamedTuple):
    """What tells one state of a database file from others: whose it is, and how many writes went into it."""

    id: int
    writes: int


def new_id() -> int:
    """An id for a database file: 1 to 2^31 - 1; 0 is that of one that has none yet."""
    return int.from_bytes(os.urandom(4), "big") % 0x7FFFFFFF + 1


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def make(path: Path) -> None:
    """A new, empty database. It gets its name when it is whole: of several that make it at once, one is the first.

    Raises JournalError where the log of an earlier one lies there.
    """
    log = log_of(path)
    if _size(log) and not path.exists():
        raise JournalError(
            f"{path} is missing, but its log {log.name} is there, which may hold what was last written. Put the file "
            f"back; or move {log.name} and {path.name}-shm away, and then restore a backup or begin anew"
        )
    tidy(path)
    new = path.with_name(f"{path.name}.new-{os.urandom(6).hex()}")
    try:
        driver = sqlite3.connect(new, isolation_level=None)
        try:
            driver.execute(f"PRAGMA application_id = {new_id()}")
            driver.execute("PRAGMA journal_mode = WAL")
        finally:
            driver.close()
        try:
            os.link(new, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # a file system without links
            if not path.exists():
                new.rename(path)
    finally:
        new.unlink(missing_ok=True)


def tidy(path: Path) -> None:
    """Delete what processes left that were killed while they made the database, under other names."""
    for left in path.parent.glob(f"{path.name}.new-*"):
        with suppress(OSError):  # it has got its name meanwhile, or the folder may only be read
            found = left.stat()
            if found.st_nlink > 1 or time.time() - found.st_mtime > _LEFT:
                left.unlink()


def examine(path: Path) -> None:
    """Raises JournalError where a database is empty, or lies beside a log that is not its own.

    To be asked before SQLite opens the two, which would make one of them.
    """
    if not _size(path):
        raise JournalError(
            f"{path} is empty, which a memory's file never is: it was cut off, as by a full disk or a copy that was "
            f"broken off. Restore a backup as {path.name}; or delete it to begin anew"
        )
    log = log_of(path)
    deadline = time.monotonic() + _PATIENCE
    while _size(log) and not _fits(path, log):
        if time.monotonic() > deadline:
            raise JournalError(
                f"{path} and its log {log.name} are not of one state: another file, such as a backup, was put in the "
                f"place of the one that the log belongs to. Nothing was changed. To go on with {path.name} as it now "
                f"is, move {log.name} and {path.name}-shm away; to get back what the log holds, put the former "
                f"{path.name} in its place"
            )
        time.sleep(0.02)


def _fits(path: Path, log: Path) -> bool:
    mark = _mark(path)
    logged = _logged(log)
    if mark is None or not logged:
        return True  # no database, or a log that says nothing of whose it is: SQLite will find out
    first, last = logged[0], logged[-1]
    known = mark.id in {one.id for one in logged} or (mark.id == 0 and first.writes == 1)  # it gets its id in the log
    return known and first.writes - 1 <= mark.writes <= last.writes


def _mark(path: Path) -> Mark | None:
    """The mark in the database file itself, whatever its log says; None where it is none of SQLite's."""
    # By SQLite, never by opening the file: closing it would end all locks that this process holds on it.
    try:
        driver = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
        try:
            names = ("application_id", "user_version")
            return Mark(*(driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names))
        finally:
            driver.close()
    except sqlite3.Error:
        return None


def _mark_in(page: bytes) -> Mark | None:
    if not page.startswith(_MAGIC) or len(page) < _HEADER:
        return None
    writes, _, id_ = struct.unpack_from(">iii", page, 60)
    return Mark(id_, writes)


def _logged(log: Path) -> list[Mark]:
    """The marks in the log, in order: of each of its frames that is the database's first page."""
    found = []
    try:
        with log.open("rb", buffering=0) as file:  # not mapped: another process may cut it off meanwhile
            header = file.read(_LOG_HEADER)
            if len(header) < _LOG_HEADER:
                return []
            size, _, *salts = struct.unpack_from(">IIII", header, 8)
            place = _LOG_HEADER
            while len(frame := file.read(_FRAME + _HEADER)) == _FRAME + _HEADER:
                page, _, *own = struct.unpack_from(">IIII", frame)
                if own != salts:
                    break  # of an earlier use of the file
                if page == 1 and (mark := _mark_in(frame[_FRAME:])) is not None:
                    found.append(mark)
                place += _FRAME + size
                file.seek(place)
    except OSError:  # it was deleted in this moment
        return []
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is, whatever its name; None where there is none of that name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Files:
    """Watches over an open database: that its names still lead to the files that the connections read and write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = log_of(path)
        self._file = _identity(path)
        self._id = 0
        self._changed: tuple[int, int] | None = None

    def begin(self, connection: Connection) -> None:
        """Count a write, in its transaction."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        if not self._id:
            self._id = int(driver.execute("PRAGMA application_id").fetchone()[0])
            if not self._id:  # of a format before there were ids
                self._id = new_id()
                driver.execute(f"PRAGMA application_id = {self._id}")
        writes = int(driver.execute("PRAGMA user_version").fetchone()[0])
        driver.execute(f"PRAGMA user_version = {writes % 0x7FFFFFFF + 1}")

    def check(self, connection: Connection, otherwise: str, written: bool = False) -> None:
        """Raises JournalError, which says `otherwise`, where a file is gone or another is in its place."""
        known = connection.info
        if "memedit_log" not in known:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()  # now its log is open
            known["memedit_log"] = _identity(self._log)
        self._compare(self.path, self._file, otherwise)
        if known["memedit_log"] is not None:
            self._compare(self._log, known["memedit_log"], otherwise)
        else:
            known["memedit_log"] = _identity(self._log)  # a restored backup begins without
        if written:
            found = self.path.stat()
            if (found.st_mtime_ns, found.st_size) != self._changed:  # as it is now and then, when the log is put in
                if (mark := _mark(self.path)) is None or mark.id not in (0, self._id):
                    raise JournalError(self._replaced(self.path, otherwise))
                self._changed = found.st_mtime_ns, found.st_size

    def _compare(self, path: Path, file: tuple[int, int] | None, otherwise: str) -> None:
        found = _identity(path)
        if found is None:
            raise JournalError(
                f"{path} was deleted or moved away while it was open; {otherwise}. Put it back, or restore a backup, "
                f"and open the memory anew"
            )
        if found != file:
            raise JournalError(self._replaced(path, otherwise))

    @staticmethod
    def _replaced(path: Path, otherwise: str) -> str:
        return f"another file was put in the place of {path} while it was open; {otherwise}. Open the memory anew"
