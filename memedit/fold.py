"""What the journal means: the state of every edit as a fold of the records, in plain Python.

This is the definition, slow and short; memedit.rules says the same in SQL, memedit.writer keeps it materialised, and
the tests (and `memedit doctor`) compare the two. Times are microseconds since 1970 in UTC.

The rules:

1. A record is *effective* unless an effective undo targets it. An undo targets earlier records only, so this is well
   founded; undoing an undo is a redo.
2. Each edit (an add or a replace) is in chains: its own; its slot, which is its subject and relation where the relation
   is single-valued; and, for a replace, every chain of the edit that it replaces. Who is in which chain is settled when
   the record is written and does not change with undos.
3. An edit is *current* at time t if it is effective, valid at t (valid_from <= t < valid_to), no effective remove or
   purge targets it, and no later effective edit in one of its chains is valid at t.
4. An edit is *live* if it may be current at some time: it is effective, no effective remove or purge targets it, and no
   later effective edit in one of its chains covers its whole validity. Live does not depend on the clock; the index
   holds the live edits.

So of A, B, C in one chain the head is C; undo B: still C; then undo C: A. A removed edit still stands in the way of
those before it for as long as it is valid: removing brings nothing back, only undoing the remove does. Removing or
purging an edit that has been superseded leaves its successor alone. A purge cannot be undone, and holds for every
moment, the past as well: the text is gone.

5. A bake carries edits in the weights of a model: the record of an edit that has a change beside it carries that edit,
   a record "bake" or "unbake" those that it targets. An edit is *left* to the last effective one of these for the
   model, if that is no unbake and the edit is current. A change is *in force* while all its edits are left to it: a
   change of several cannot be taken out in part. The others of such a change are then in the memory again.

The past: as of sequence number n, the records up to n judged at the time of record n; as of a time t, the records
written until t judged at t. When a record was written, where the clock was wrong, is told by memedit.dates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from typing import NamedTuple

from memedit.edits import State


class Entry(NamedTuple):
    """One record, as far as the fold needs it. `targets` are the seqs of the records that it acts on."""

    seq: int
    op: str
    created_at: int
    targets: tuple[int, ...] = ()
    slot: int | None = None
    valid_from: int | None = None
    valid_to: int | None = None


class Folded(NamedTuple):
    """What became of one edit. `superseded_by` is the seq of the edit that stands in its place, where one does."""

    state: State
    live: bool
    superseded_by: int | None = None


def valid(entry: Entry, t: int) -> bool:
    return (entry.valid_from is None or entry.valid_from <= t) and (entry.valid_to is None or t < entry.valid_to)


def covers(later: Entry, earlier: Entry) -> bool:
    """Whether `later` is valid whenever `earlier` is."""
    begins = later.valid_from is None or (earlier.valid_from is not None and later.valid_from <= earlier.valid_from)
    ends = later.valid_to is None or (earlier.valid_to is not None and earlier.valid_to <= later.valid_to)
    return begins and ends


def fold(entries: Iterable[Entry], n: int | None = None, t: int = 0) -> dict[int, Folded]:
    """The state at time `t` of every edit written up to record `n` (None: all), by seq.

    `entries` is one namespace's whole journal in rising order: purges after `n` count too.
    """
    everything = list(entries)
    until_n = [entry for entry in everything if n is None or entry.seq <= n]
    by_seq = {entry.seq: entry for entry in until_n}

    purged = {target for entry in everything if entry.op == "purge" for target in entry.targets}
    undone: set[int] = set()
    for entry in reversed(until_n):
        if entry.op == "undo" and entry.seq not in undone:
            undone.update(entry.targets)
    removed = {
        target for entry in until_n if entry.op == "remove" and entry.seq not in undone for target in entry.targets
    }

    chains_of: dict[int, set[str]] = {}
    members: dict[str, list[int]] = defaultdict(list)
    for entry in until_n:
        if entry.op not in ("add", "replace"):
            continue
        chains = {f"own {entry.seq}"} | {chain for target in entry.targets for chain in chains_of[target]}
        if entry.slot is not None:
            chains.add(f"slot {entry.slot}")
        chains_of[entry.seq] = chains
        for chain in chains:
            members[chain].append(entry.seq)

    folded: dict[int, Folded] = {}
    for seq, chains in chains_of.items():
        entry = by_seq[seq]
        later = {other for chain in chains for other in members[chain] if other > seq and other not in undone}
        covered = any(covers(by_seq[other], entry) for other in later)
        blockers = [other for other in later if covers(by_seq[other], entry) or valid(by_seq[other], t)]
        live = seq not in undone and seq not in removed and seq not in purged and not covered
        by: int | None = None
        state: State
        if seq in purged:
            state = "purged"
        elif seq in undone:
            state = "undone"
        elif seq in removed:
            state = "removed"
        elif blockers:
            state = "superseded"
            by = max((other for other in blockers if other not in removed and other not in purged), default=None)
        elif entry.valid_from is not None and t < entry.valid_from:
            state = "not_yet"
        elif entry.valid_to is not None and entry.valid_to <= t:
            state = "expired"
        else:
            state = "current"
        folded[seq] = Folded(state, live, by)
    return folded


class Carrier(NamedTuple):
    """An effective record that bears on weights. `edits` are seqs, rising; `fitted` is False for an unbake."""

    seq: int
    model: str
    edits: tuple[int, ...]
    fitted: bool = True


class Carried(NamedTuple):
    """What became of a change: the seqs of its edits, and of those that are left to it."""

    seq: int
    model: str
    edits: tuple[int, ...]
    left: tuple[int, ...]

    @property
    def in_force(self) -> bool:
        return len(self.left) == len(self.edits)


def carried(carriers: Iterable[Carrier], current: Container[int]) -> list[Carried]:
    """Rule 5 for the effective records of a moment, in order, and the seqs of the edits that are current then."""
    every = list(carriers)
    last = {(one.model, edit): one.seq for one in every for edit in one.edits}
    return [
        Carried(
            one.seq,
            one.model,
            one.edits,
            tuple(edit for edit in one.edits if last[one.model, edit] == one.seq and edit in current),
        )
        for one in every
        if one.fitted
    ]
