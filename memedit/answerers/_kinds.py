"""The edits of other kinds than facts, found without reading the facts.

Patches are few and facts are many, and every question asks whether there is a patch at all. So the numbers of such
edits are kept beside each memory: the journal only grows, so that what was written since is all that has to be looked
at, and whether an edit stands at the moment of asking is read anew each time. Not an entry of the registry, hence the
underscore.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from memedit.edits import Edit
from memedit.scope._held import current

if TYPE_CHECKING:
    from memedit.memory import EditMemory


class _Seen:
    """What is known of one namespace: the seqs of its edits that are no facts by kind, up to a seq of the journal."""

    def __init__(self) -> None:
        self.head = 0
        self.seqs: dict[str, list[int]] = {}


_lock = threading.Lock()
_known: WeakKeyDictionary[EditMemory, dict[str, _Seen]] = WeakKeyDictionary()


def of_kinds(
    memory: EditMemory, kinds: Iterable[str], namespace: str, as_of: datetime | int | None = None
) -> list[Edit]:
    """The current edits of these kinds, which may not be "fact", the newest first."""
    journal = memory.journal
    with _lock:
        seen = _known.setdefault(memory, {}).setdefault(namespace, _Seen())
        head = journal.head()
        if head > seen.head:
            for seq, kind in journal.special(namespace, seen.head, head):
                seen.seqs.setdefault(kind, []).append(seq)
            seen.head = head
        seqs = [seq for kind in kinds for seq in seen.seqs.get(kind, ())]
    if not seqs:
        return []
    return sorted(current(memory, seqs, as_of).values(), key=lambda edit: -edit.seq)
