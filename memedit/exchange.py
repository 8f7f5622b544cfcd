"""Facts from files and into files: JSONL, CSV, and datasets as they are published.

A line becomes one or several drafts, each checked by itself: a faulty line is reported with its number, the rest goes
in. An import may be run again, after an interruption or at any time. A fact of the file counts as there already if the
memory has, or ever had, an edit of the same words and validity in the namespace, unless that was superseded by
something that is not in the file: then the file says anew what it says. So an import that was cut short, or whose facts
supersede each other, were undone, removed or purged since, doubles nothing and brings nothing back.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memedit.datasets import Reader, dataset_of, datasets, reader
from memedit.datasets._form import UNREADABLE, reason, shortened
from memedit.datasets._rows import (
    cell_read,
    cell_shown,
    cell_texts,
    csv_header,
    csv_rows,
    json_lines,
    json_rows,
    numbered,
)
from memedit.edits import FORGET, Draft, Edit
from memedit.errors import InputError, JournalError, NotFoundError
from memedit.memory import STATES, Progress, checked_window, cleaned, digest
from memedit.patches import KINDS, checked

if TYPE_CHECKING:
    from memedit.memory import EditMemory

BATCH = 5_000
PLAIN = ("jsonl", "csv")
_DRAFT_FIELDS = tuple(field.name for field in fields(Draft))
_EXPORT_ONLY = ("id", "seq", "namespace", "created_at", "supersedes", "superseded_by", "state")
_STANDING = ("current", "not_yet", "expired")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: facts written, facts there already, and (line number, reason) of each faulty line.

    `possible_conflicts` are facts written that stay beside older ones which they may contradict: (fact, those).
    """

    added: int
    skipped: int
    faults: list[tuple[int, str]]
    possible_conflicts: list[tuple[Edit, list[Edit]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a file: its number from 1, and its drafts or what is wrong with it. `passed` are facts left out;
    `exported` tells that memedit wrote it, so that subject and relation need not have been anybody's own.
    """

    number: int
    drafts: tuple[Draft, ...] = ()
    fault: str | None = None
    passed: int = 0
    exported: bool = False


def import_file(
    memory: EditMemory,
    path: Path,
    *,
    format: str | None,  # noqa: A002
    namespace: str,
    strict: bool,
    author: str | None,
    source: str | None,
    progress: Progress | None,
) -> ImportReport:
    """See EditMemory.import_file."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it")
    if not path.exists():
        raise NotFoundError(f"there is no file {path}")
    try:
        form = format or detect(path)
        if form not in (*PLAIN, *datasets.names()):
            raise InputError(f"there is no format {form!r}; there are: {', '.join((*PLAIN, *datasets.names()))}")

        def lines() -> Iterator[_Line]:
            return _completed(_checked(read(path, form)), author, source or path.name)

        if strict:
            faults = [(line.number, line.fault) for line in lines() if line.fault is not None]
            if faults:
                return ImportReport(0, 0, faults)
        return _Import(memory, namespace, lines).run(progress)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


class _Import:
    """One run over a file. `lines` begins it anew, for the rare case that all it holds has to be known."""

    def __init__(self, memory: EditMemory, namespace: str, lines: Any) -> None:
        self.memory = memory
        self.namespace = namespace
        self.lines = lines
        self.erased = memory.journal.tombstones(namespace)
        self.met: Counter[int] = Counter()
        self._all: set[int] | None = None

    def run(self, progress: Progress | None) -> ImportReport:
        added = skipped = 0
        faults: list[tuple[int, str]] = []
        rest = self.lines()
        total = None if progress is None else sum(1 for _ in self.lines())
        last = 0
        head = self.memory.journal.head()
        while chunk := list(islice(rest, BATCH)):
            faults += [(line.number, line.fault) for line in chunk if line.fault is not None]
            drafts = [(draft, line.exported) for line in chunk for draft in line.drafts]
            fresh = self.fresh(drafts)
            rows = [self.memory._row(draft, self.namespace, exported=exported) for draft, exported in fresh]
            written = self.memory.journal.add(self.namespace, rows)
            new = sum(one.new for one in written)
            added += new
            skipped += len(drafts) - new + sum(line.passed for line in chunk)
            last += len(chunk)
            if progress is not None:
                progress(last, total)
        return ImportReport(added, skipped, faults, self.memory.conflicts(self.namespace, head) if added else [])

    def fresh(self, drafts: Iterable[tuple[Draft, bool]]) -> list[tuple[Draft, bool]]:
        """Those drafts that the memory does not have, by the rule at the top of the file."""
        named = [(_digest(self.namespace, draft), draft, exported) for draft, exported in drafts]
        known = self.memory.journal.latest(self.namespace, [digest_ for digest_, _, _ in named])
        fresh = []
        for digest_, draft, exported in named:
            self.met[digest_] += 1
            count, edit = known.get(digest_, (0, None))
            # The second time that a file says something needs a second edit: another line stood in between.
            there = edit is not None and self.met[digest_] <= count and not self.superseded_from_elsewhere(edit)
            if not there and sha256(draft.statement.encode()).hexdigest() not in self.erased:
                fresh.append((draft, exported))
        return fresh

    def superseded_from_elsewhere(self, edit: Edit) -> bool:
        if edit.state != "superseded" or edit.superseded_by is None:
            return False
        if self._all is None:
            self._all = {_digest(self.namespace, draft) for line in self.lines() for draft in line.drafts}
        return self.memory.journal.digest_of(edit.superseded_by) not in self._all


def _digest(namespace: str, draft: Draft) -> int:
    return digest(namespace, draft.statement, *checked_window(draft.valid_from, draft.valid_to), draft.kind)


def _checked(lines: Iterable[_Line]) -> Iterator[_Line]:
    """Drafts cleaned; lines with one that the memory would refuse become faults."""
    for line in lines:
        try:
            yield replace(line, drafts=tuple(_fit(draft) for draft in line.drafts))
        except UNREADABLE as error:
            yield _Line(line.number, fault=reason(error))


def _fit(draft: Draft) -> Draft:
    draft = cleaned(draft)
    if draft.kind == FORGET:
        raise InputError(f"an edit of the kind {FORGET!r} is made by `memedit forget`, not by an import")
    # What a patch is written as may be longer than what was given.
    return cleaned(checked(draft)) if draft.kind in KINDS else draft


def _completed(lines: Iterable[_Line], author: str | None, source: str) -> Iterator[_Line]:
    for line in lines:
        drafts = (replace(draft, author=draft.author or author, source=draft.source or source) for draft in line.drafts)
        yield replace(line, drafts=tuple(drafts)) if line.drafts else line


# Reading


def detect(path: Path) -> str:
    """The name of the format of a file. Raises InputError where it is of none."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        if "statement" in csv_header(path):
            return "csv"
        return dataset_of(next((row for _, row in csv_rows(path) if isinstance(row, Mapping)), None)) or "csv"
    if suffix in (".jsonl", ".ndjson"):
        return dataset_of(next((row for _, row in json_lines(path) if isinstance(row, Mapping)), None)) or "jsonl"
    if suffix == ".json":
        rows = json_rows(path)
        row = next((row for row in rows if isinstance(row, Mapping)), None)
        name = dataset_of(row)
        if name is not None:
            return name
        if row is not None and "statement" in row:
            return "jsonl"
        known = ", ".join(datasets.names())
        raise InputError(f"{path} is in none of the known forms ({known}, or rows with a statement)")
    raise InputError(f"the format of {path} cannot be told from its name; say --format: jsonl, csv, …")


def read(path: Path, form: str) -> Iterator[_Line]:
    """The lines of a file of a known format."""
    if form == "csv":
        return _read_csv(path)
    if form == "jsonl":
        return (_plain(number, row) for number, row in json_lines(path, unique=True))
    return (_from_dataset(number, row, reader(form)) for number, row in numbered(path))


def _from_dataset(number: int, row: object, form: Reader) -> _Line:
    if isinstance(row, InputError):
        return _Line(number, fault=reason(row))
    if not isinstance(row, Mapping):
        return _Line(number, fault=f"a record is a JSON object, not {type(row).__name__}")
    try:
        return _Line(number, tuple(form.drafts(row)))
    except UNREADABLE as error:
        return _Line(number, fault=reason(error))


def _plain(number: int, row: object) -> _Line:
    """A row with the fields of a Draft, or one that `export_file` wrote."""
    if isinstance(row, InputError):
        return _Line(number, fault=reason(row))
    if not isinstance(row, Mapping):
        return _Line(number, fault=f"a fact is a JSON object with a statement, not {type(row).__name__}")
    unknown = sorted(set(map(str, row)) - {*_DRAFT_FIELDS, *_EXPORT_ONLY})
    if unknown:
        return _Line(number, fault=f"unknown: {shortened(', '.join(unknown))}; known: {', '.join(_DRAFT_FIELDS)}")
    if row.get("state", "current") not in STATES:
        return _Line(number, fault=shortened(f"there is no state {row['state']!r}; there are: {', '.join(STATES)}"))
    if row.get("state", "current") not in _STANDING:
        return _Line(number, passed=1)  # an export of everything holds what no longer stands
    given = {name: row[name] for name in _DRAFT_FIELDS if row.get(name) not in (None, "", [])}
    try:
        for name in ("valid_from", "valid_to"):
            if name in given:
                moment = datetime.fromisoformat(given[name])
                given[name] = moment if moment.tzinfo else moment.astimezone()  # local, as on the command line
        aliases = given.pop("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
            return _Line(number, fault="aliases is a list of names")
        draft = Draft(**{"statement": ""} | given, aliases=tuple(aliases))
        return _Line(number, (draft,), exported="seq" in row)
    except (TypeError, ValueError, OverflowError, OSError) as error:  # the last two: a time beyond all
        return _Line(number, fault=shortened(str(error)))


def _read_csv(path: Path) -> Iterator[_Line]:
    header = csv_header(path)
    unknown = sorted(set(header) - {*_DRAFT_FIELDS, *_EXPORT_ONLY})
    if "statement" not in header or unknown:
        what = f"unknown columns {', '.join(map(repr, unknown))}" if unknown else "no column named statement"
        raise InputError(f"{path} has {what}; its first line names the columns, of: {', '.join(_DRAFT_FIELDS)}")
    ours = {*_DRAFT_FIELDS, *_EXPORT_ONLY} <= set(header)
    for number, row in csv_rows(path):
        if isinstance(row, dict):
            cells = {name: cell_read(cell) if ours else cell for name, cell in row.items()}
            row = cells | {"aliases": cell_texts(cells.get("aliases", ""))}
        yield _plain(number, row)


# Writing


def export_file(
    memory: EditMemory,
    path: str | os.PathLike[str] | IO[str],
    *,
    format: str,  # noqa: A002
    namespace: str,
    state: str,
) -> int:
    """See EditMemory.export_file."""
    if format not in PLAIN:
        raise InputError(f"there is no export format {format!r}; there are: {', '.join(PLAIN)}")
    edits = _edits(memory, namespace, state)
    write = _write_jsonl if format == "jsonl" else _write_csv
    if not isinstance(path, (str, os.PathLike)):
        return write(edits, path)
    goal = Path(path)
    part = goal.with_name(goal.name + ".part")  # so that a full disk leaves an older export as it was
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            count = write(edits, file)
        part.replace(goal)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise JournalError(f"{goal} cannot be written: {error.strerror or error}") from error
    return count


def _edits(memory: EditMemory, namespace: str, state: str) -> Iterator[Edit]:
    at = memory.journal.now()
    seqs = iter(memory.journal.seqs(namespace, state, at))
    while chunk := list(islice(seqs, 1000)):
        yield from memory.journal.find(seqs=chunk, at=at, oldest_first=True)


def _cells(edit: Edit) -> dict[str, object]:
    made: dict[str, object] = {}
    for name in (*_DRAFT_FIELDS, *_EXPORT_ONLY):
        value = getattr(edit, name)
        made[name] = value.isoformat() if isinstance(value, datetime) else value
    return made


def _write_jsonl(edits: Iterable[Edit], file: IO[str]) -> int:
    count = 0
    for edit in edits:
        filled = {name: value for name, value in _cells(edit).items() if value not in (None, ())}
        file.write(json.dumps(filled, ensure_ascii=False) + "\n")
        count += 1
    return count


def _write_csv(edits: Iterable[Edit], file: IO[str]) -> int:
    columns = (*_DRAFT_FIELDS, *_EXPORT_ONLY)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    count = 0
    for edit in edits:
        cells = _cells(edit)
        plain = all("|" not in alias and not alias.startswith("[") for alias in edit.aliases)
        cells["aliases"] = "|".join(edit.aliases) if plain else json.dumps(edit.aliases, ensure_ascii=False)
        cells["supersedes"] = "|".join(edit.supersedes)
        writer.writerow("" if cells[name] is None else cell_shown(cells[name]) for name in columns)
        count += 1
    return count
