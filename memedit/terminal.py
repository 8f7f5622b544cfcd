"""What the command line says and where: data on stdout, everything else (notices, progress, questions) on stderr.

Data has two shapes: JSON, one object per run, and lines. Lines are a table on a terminal and tab-separated fields
elsewhere, so that what a person reads fits 80 columns and what a script reads is never cut. Nothing here knows a verb.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any, TextIO

from memedit.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int | None], None]
"""Called with how many are done and how many there are (None: not known)."""


def is_terminal(stream: IO[Any] | None) -> bool:
    """Whether a person is at the other end; a closed stream has nobody."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed after the start
        return False


def prepare() -> None:
    """Make the streams of this process safe for any text: what an encoding cannot say is escaped, not fatal."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def jsonable(value: object) -> Any:
    """A value as JSON has it: dataclasses become objects, times ISO 8601, tuples lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    item = getattr(value, "item", None)  # a numpy scalar, without importing numpy
    return item() if callable(item) else str(value)


def emit(value: object) -> None:
    """One JSON object on stdout: one line for programs, indented for people.

    Programs get every character as it is; on a terminal those that could steer it are escaped, which JSON reads alike.
    """
    import json  # not at the top: most runs print lines

    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    people = is_terminal(sys.stdout)
    text = json.dumps(jsonable(value), ensure_ascii=not utf8, indent=2 if people else None)
    if people:
        text = "\n".join(
            line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
            for line in text.split("\n")
        )
    print(text)


def line(*fields_: object) -> None:
    """One line of data; fields are parted by two spaces on a terminal, by a tab elsewhere."""
    separator = "  " if is_terminal(sys.stdout) else "\t"
    print(separator.join(plain(field) for field in fields_ if field is not None))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, wide: int = -1) -> int:
    """Rows of data under headings (on a terminal) or bare and tab-separated (elsewhere); how many there were.

    Column `wide` is the one that wraps where a terminal is narrow; the others keep their width. Without a terminal each
    row is written as it comes.
    """
    count = 0
    if not is_terminal(sys.stdout):
        for row in rows:
            print("\t".join(plain(field) for field in row))
            count += 1
        return count
    from rich.table import Table  # 70 ms, so only where a table is drawn
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", show_header=any(headings))
    for number, heading in enumerate(headings):
        widest = number == wide % len(headings)
        drawn.add_column(heading, no_wrap=not widest, overflow="fold" if widest else "ellipsis")
    for row in rows:
        drawn.add_row(*(Text(plain(field)) for field in row))  # Text: a statement is never read as markup
        count += 1
    if count:
        console(sys.stdout).print(drawn)
    return count


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Name and value, one pair a line; pairs without a value are left out."""
    table(("", ""), [(name, value) for name, value in pairs if value not in (None, "", (), [])])


def flat(tree: dict[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested objects with their paths as names, for `facts`."""
    for key, value in tree.items():
        name = f"{before}{str(key).replace('_', ' ')}"
        if isinstance(value, dict):
            yield from flat(value, f"{name}, ")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, dict) for item in value):
            for number, item in enumerate(value, 1):
                yield from flat(item, f"{name} {number}, ")
        else:
            yield name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else shown(value)


def shown(value: object) -> object:
    """A value for people: times in local time, lists with commas between."""
    if isinstance(value, datetime):
        return local(value).isoformat(timespec="seconds", sep=" ")
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def local(moment: datetime) -> datetime:
    """A time in the zone of this machine; as it is where that zone's year would be none (0 or 10000)."""
    try:
        return moment.astimezone()
    except (OverflowError, ValueError, OSError):
        return moment


def notice(text: str, *, quiet: bool = False) -> None:
    """Something beside the data, on stderr, dimmed where colours are shown."""
    if quiet or sys.stderr is None:
        return
    print(dim(plain(text, keep="\n"), sys.stderr), file=sys.stderr, flush=True)


def dim(text: str, stream: TextIO) -> str:
    """The text in a fainter colour where the stream shows colours (NO_COLOR and TERM=dumb are obeyed)."""
    coloured = is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[2m{text}\033[0m" if coloured else text


def reply(pieces: Iterable[str]) -> None:
    """Write a model's reply to stdout as it comes, and end the line. On a terminal what could steer it is dropped."""
    text = ""
    for text in pieces:
        if sys.stdout is not None:
            sys.stdout.write(plain(text, keep="\n\t") if is_terminal(sys.stdout) else text)
            sys.stdout.flush()
    print(flush=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost.

    Raises InputError where there is no terminal to ask on and the answer was not given; click.Abort on a no.
    """
    if yes:
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise InputError(f"{question} There is no terminal to ask on, so nothing was changed; say --yes to go on.")
    import click

    click.confirm(plain(question), err=True, abort=True)


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[Progress | None]:
    """A bar for long work on stderr; None where nobody is watching. It appears with the first report."""
    if quiet or not is_terminal(sys.stderr):
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=console(sys.stderr), transient=True)
    task = bar.add_task(plain(label), total=None)

    def report(done: int, total: int | None = None) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()


def console(stream: TextIO) -> Console:
    """A rich console on a stream, that prints words as they are."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def plain(value: object, *, keep: str = "") -> str:
    """Text that can neither steer a terminal nor break a line of data: what no stored word may do.

    Control characters and separators of lines become blanks; what turns the direction of writing, or is not to be seen,
    is left out. The two joiners stay: Persian, Hindi and many a picture are written with them.
    """
    text = "" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)
    return text if text.isprintable() else "".join(c if c in keep else _harmless(c) for c in text)


def _harmless(c: str) -> str:
    if c.isprintable() or c in _JOINERS:
        return c
    import unicodedata  # here, since hardly any text needs it

    kind = unicodedata.category(c)
    return "" if kind == "Cf" else " " if kind in ("Cc", "Zl", "Zp") else c


_JOINERS = "\u200c\u200d"
