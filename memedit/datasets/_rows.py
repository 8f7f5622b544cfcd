"""Records out of files, numbered: a JSON list, JSON lines or CSV. One that cannot be read is an error in its place.

The datasets and the import of facts read through here; what a record means is theirs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from memedit.errors import InputError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv")


def numbered(path: Path) -> Iterator[tuple[int, object]]:
    """(number, record) of a file, told by its suffix: the position in a JSON list, else the number of the line.

    Raises InputError for a `.json` file that is not JSON and OSError as opening does; else an InputError stands for a
    record that cannot be read.
    """
    return csv_rows(path) if path.suffix.lower() == ".csv" else json_lines(path)


def json_rows(path: Path) -> list[object]:
    """The records of a JSON list; a file that holds one object is one record. Raises InputError if it is not JSON."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    return found if isinstance(found, list) else [found]


def json_lines(path: Path) -> Iterator[tuple[int, object]]:
    """(number, record) of a JSON list or of JSON lines; empty lines are passed over."""
    if path.suffix.lower() == ".json":
        yield from enumerate(json_rows(path), 1)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                continue
            try:
                yield number, json.loads(text.decode("utf-8"))
            except UnicodeDecodeError:
                yield number, InputError("the line is not UTF-8")
            except (ValueError, RecursionError) as error:
                yield number, InputError(f"the line is not JSON: {error}")


def csv_header(path: Path) -> list[str]:
    """The names of the columns, which are the first line."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return _header(csv.reader(file))


def csv_rows(path: Path) -> Iterator[tuple[int, object]]:
    """(number of the last line, cells by column) of a CSV file; empty cells and empty lines are passed over."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        header = _header(rows)
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
        except ValueError:
            pass
    return [text for part in cell.split("|") if (text := part.strip())]


def _header(rows: Iterator[list[str]]) -> list[str]:
    return [name.strip() for name in next(rows, [])]
