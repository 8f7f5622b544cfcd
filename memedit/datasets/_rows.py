"""Records out of files, numbered: a JSON list, JSON lines or CSV. One that cannot be read is an error in its place.

The datasets and the import of facts read through here; what a record means is theirs.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from memedit.errors import InputError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv")
LONGEST_LINE = 1 << 26
"""Bytes of a line that are read; a longer one is passed over, as a fault."""


def numbered(path: Path) -> Iterator[tuple[int, object]]:
    """(number, record) of a file, told by its suffix: the position in a JSON list, else the number of the line.

    Raises InputError for a `.json` file that is not JSON and OSError as opening does; else an InputError stands for a
    record that cannot be read.
    """
    return csv_rows(path) if path.suffix.lower() == ".csv" else json_lines(path)


def json_rows(path: Path) -> list[object]:
    """The records of a JSON list; a file that holds one object is one record. Raises InputError if it is not JSON."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError):  # one record with a number too long or lists too deep; the others are good
            return [_read(record) for record in _cut(text)]
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    return found if isinstance(found, list) else [found]


def json_lines(path: Path, *, unique: bool = False) -> Iterator[tuple[int, object]]:
    """(number, record) of a JSON list or of JSON lines; empty lines are passed over.

    With `unique` an object of a line that says a name twice is an error: JSON would take the last without a word.
    """
    if path.suffix.lower() == ".json":
        yield from enumerate(json_rows(path), 1)
        return
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), 1):
            if line is None:
                yield number, InputError(f"the line has more than {LONGEST_LINE:,} bytes")
                continue
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                continue
            try:
                yield number, _read(text.decode("utf-8"), unique)
            except UnicodeDecodeError:
                yield number, InputError("the line is not UTF-8")


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is too long."""
    for line in iter(partial(file.readline, LONGEST_LINE), b""):
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
            pass
        yield None


def _read(text: str, unique: bool = False) -> object:
    """What a piece of JSON says, or an InputError that says why it cannot be read."""
    try:
        return json.loads(text, object_pairs_hook=_once) if unique else json.loads(text)
    except InputError as error:
        return error
    except (ValueError, RecursionError) as error:
        return InputError(f"the line is not JSON: {error}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"it says {twice!r} twice")
    return made


_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},]', re.DOTALL)


def _cut(text: str) -> Iterator[str]:
    """The records of a JSON list as text; all of it where it is no list."""
    depth, start = 0, 0
    for piece in _PIECE.finditer(text):
        mark = piece[0]
        if mark in "[{":
            if not depth and mark == "{":
                break
            depth += 1
            start = piece.end() if depth == 1 else start
        elif mark in "]}" or (mark == "," and depth == 1):
            if depth == 1:
                if text[start : piece.start()].strip():
                    yield text[start : piece.start()]
                start = piece.end()
            depth -= mark != ","
    else:
        return
    yield text


def csv_header(path: Path) -> list[str]:
    """The names of the columns, which are the first line."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return _header(csv.reader(file), path)


def csv_rows(path: Path) -> Iterator[tuple[int, object]]:
    """(number of the last line, cells by column) of a CSV file; empty cells and empty lines are passed over."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        header = _header(rows, path)
        while True:
            try:
                cells = next(rows, None)
            except csv.Error as error:  # a cell beyond csv's own limit
                yield rows.line_num, InputError(str(error))
                continue
            if cells is None:
                return
            if not cells:
                continue
            if len(cells) != len(header):
                yield rows.line_num, InputError(f"{len(cells)} cells, but {len(header)} columns")
            elif any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
                yield rows.line_num, InputError("the line is not UTF-8")
            else:
                yield rows.line_num, {name: cell for name, cell in zip(header, cells, strict=True) if cell}


def cell_texts(cell: str) -> list[str]:
    """The texts in a cell: a JSON list of them, or texts with | between."""
    if cell.startswith("["):
        try:
            found = json.loads(cell)
            if isinstance(found, list) and all(isinstance(one, str) for one in found):
                return found
        except (ValueError, RecursionError):
            pass
    return [text for part in cell.split("|") if (text := part.strip())]


_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")


def cell_shown(cell: object) -> object:
    """What is written into a cell: a text that a spreadsheet would run as a formula has an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def cell_read(cell: str) -> str:
    """What `cell_shown` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _header(rows: Iterator[list[str]], path: Path) -> list[str]:
    try:
        return [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise InputError(f"{path} has no first line that names its columns: {error}") from error
