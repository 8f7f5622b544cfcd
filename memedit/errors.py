"""Every error that memedit raises on purpose, as one tree.

    MemEditError
    ├── InputError          what the caller gave is not usable            (CLI exit code 2)
    │   ├── NotFoundError   an id, name or file that is not there
    │   ├── ConflictError   it would contradict what the memory holds
    │   └── NotTakenError   an edit did not take in the weights, and was to be strict
    ├── JournalError        the database cannot be opened, read or written (CLI exit code 3)
    │   └── NewerFormatError  written by a newer memedit than this one
    ├── IndexFileError      an index file is torn, stale or foreign (rebuilt, seldom seen)
    └── ModelError          an encoder or base model cannot be loaded or asked (CLI exit code 4)

A message says what was wrong, what there is, and what to do. The library raises; the CLI prints the message and exits
with the class's `exit_code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memedit.edits import Look


class MemEditError(Exception):
    """Base of all errors that memedit raises on purpose."""

    exit_code = 1


class InputError(MemEditError, ValueError):
    """What the caller gave is not usable; nothing was changed."""

    exit_code = 2


class NotFoundError(InputError, LookupError):
    """An id, a name or a file that is not there."""

    def __str__(self) -> str:  # LookupError would quote the message
        return str(self.args[0]) if self.args else ""


class ConflictError(InputError):
    """The request contradicts what the memory holds; nothing was changed."""


class NotTakenError(InputError):
    """Edits did not take in a model's weights, and were to be strict; nothing was changed. `looks` is what was said."""

    def __init__(self, looks: Sequence[Look]) -> None:
        self.looks = tuple(looks)
        failed = [look for look in self.looks if not look.took]
        more = f" (and {len(failed) - 3:,} more)" if len(failed) > 3 else ""
        super().__init__(
            "nothing was changed, since it did not take: "
            + "; ".join(f"{look.statement!r}: {look.reason} (but {look.prompt_after!r})" for look in failed[:3])
            + f"{more}. Without strict what does not take is answered from the memory; else try another method or "
            "other settings"
        )


class JournalError(MemEditError):
    """The database cannot be opened, read or written."""

    exit_code = 3


class NewerFormatError(JournalError):
    """The database was written by a newer memedit than this one."""


class IndexFileError(MemEditError):
    """An index file is torn, stale or made by another encoder; the index is rebuilt from the journal."""

    exit_code = 3


class ModelError(MemEditError):
    """An encoder or a base model cannot be loaded or asked."""

    exit_code = 4
