"""Other names of subjects, for facts that are there already: each such fact is replaced by itself with more names.

A fact is asked for by its subject or by an alias of it. Aliases come with the fact (`add --alias`, a file's column) or
later, from here: by hand, or from a file of names that a knowledge base was exported to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from memedit.datasets._rows import cell_texts, csv_header, numbered
from memedit.edits import DEFAULT_NAMESPACE
from memedit.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from memedit.memory import EditMemory

COLUMNS = ("subject", "aliases")


@dataclass(frozen=True)
class Named:
    """What `add_aliases` did: ids of the new edits by the ids of those whose place they took, and who was not found."""

    edits: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def add_aliases(
    memory: EditMemory,
    aliases: Mapping[str, Iterable[str]],
    *,
    namespace: str = DEFAULT_NAMESPACE,
    author: str | None = None,
) -> Named:
    """Give every current fact about a subject (named so, or by an alias) more names.

    aliases: subject -> names. A fact that has them already is left as it is. Subjects of whom nothing is current are in
    `unknown`. Raises InputError for an empty name or too many of them; what was written before it stays.
    """
    made: dict[str, str] = {}
    unknown = []
    for subject, names in aliases.items():
        found = [edit for edit in memory.list(namespace=namespace, subject=subject) if edit.kind == "fact"]
        if not found:
            unknown.append(subject)
        for edit in found:
            more = tuple(dict.fromkeys((*edit.aliases, *(name for name in names if name != edit.subject))))
            if more == edit.aliases:
                continue
            receipt = memory.replace(
                edit.id, edit.statement, subject=edit.subject, relation=edit.relation, target=edit.target,
                prompt=edit.prompt, question=edit.question, aliases=more, source=edit.source, author=author,
                reason="more aliases", valid_from=edit.valid_from, valid_to=edit.valid_to, namespace=namespace,
            )  # fmt: skip
            made[edit.id] = receipt.edit.id
    return Named(made, tuple(unknown))


def read_aliases(path: Path) -> dict[str, list[str]]:
    """Subject -> aliases, of a CSV file with the columns subject and aliases (several with | between), JSON lines of
    {"subject": …, "aliases": […]}, or one JSON object of lists. Raises NotFoundError; InputError that names the line.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    if path.suffix.lower() == ".csv" and set(header := csv_header(path)) != set(COLUMNS):
        raise InputError(f"{path} has the columns {', '.join(header)}; a file of aliases has {' and '.join(COLUMNS)}")
    found: dict[str, list[str]] = {}
    try:
        for number, row in numbered(path):
            for subject, names in _pairs(row, f"{path}:{number}"):
                found.setdefault(subject, []).extend(names)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return found


def _pairs(row: object, where: str) -> list[tuple[str, list[str]]]:
    shape = 'a line looks like {"subject": "Acme", "aliases": ["Acme Corp"]}'
    if isinstance(row, InputError):
        raise InputError(f"{where}: {row}")
    if not isinstance(row, Mapping):
        raise InputError(f"{where}: {shape}")
    pairs = [(row.get("subject"), row.get("aliases"))] if set(row) == set(COLUMNS) else list(row.items())
    made = []
    for subject, names in pairs:
        listed = cell_texts(names) if isinstance(names, str) else names
        whole = isinstance(listed, list) and listed and all(isinstance(name, str) and name.strip() for name in listed)
        if not isinstance(subject, str) or not subject.strip() or not whole:
            raise InputError(f"{where}: {shape}")
        made.append((subject, list(listed or ())))
    return made
