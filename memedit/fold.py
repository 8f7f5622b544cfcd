"""What the journal means: the state of every edit as a fold of the records, in plain Python.

This is the definition, slow and short; memedit.rules says the same in SQL, memedit.writer keeps it materialised, and
the tests (and `memedit doctor`) compare the two. Times are microseconds since 1970 in UTC.

The rules:

1. A record is *effective* unless an effective undo targets it. An undo targets earlier records only, so this is well
   founded; undoing an undo is a redo.
2. Each edit (an add or a replace) is in chains: its own; its slot, where it has one (memedit.memory says when); for a
   replace, every chain of the edit that it replaces; and for an add, the own chain of each edit that it targets, whose
   place it takes. In a chain the edit that *began* last stands above the others; of two that began together, the one
   written later. An edit began at its valid_from. One without a valid_from takes over what is in force: it began with
   the edit that began last of those in its chains that were written before it and had begun by then; where there is
   none, before all. A replace began no earlier than what it replaces. Who is in which chain, and when an edit began, is
   settled when the record is written and does not change with undos.
3. An edit is *current* at time t if it is effective, valid at t (valid_from <= t < valid_to), no effective remove or
   purge targets it, and no effective edit above it in one of its chains is valid at t. So an edit that is written later
   but began earlier holds until the other begins: it *ends* there.
4. An edit is *live* if it may be current at some time: it is effective, no effective remove or purge targets it, and no
   effective edit above it in one of its chains covers its whole validity. Live does not depend on the clock; the index
   holds the live edits.

So of A, B, C in one chain the head is C; undo B: still C; then undo C: A. A removed edit still stands in the way of
those before it for as long as it is valid: removing brings nothing back, only undoing the remove does. Removing or
purging an edit that has been superseded leaves its successor alone. A purge cannot be undone, and holds for every
moment, the past as well: the text is gone.

5. A bake carries edits in the weights of a model: the record of an edit that has a change beside it carries that edit,
   a record "bake" or "unbake" those that it targets. An edit is *left* to the last effective one of these for the
   model, if that is no unbake and the edit is current. A change is *in force* while all its edits are left to it: a
   change of several cannot be taken out in part. The others of such a change are then in the memory again. An edit is
   *said* by a model if a change in force carries it and it took: neither that change nor a later one in force was found
   not to make the model say it. What is not said is answered from the memory.

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
    began: int | None = None


class Folded(NamedTuple):
    """What became of one edit. `superseded_by` is the seq of the edit that stands in its place, where one does;
    `ends` when an edit that was written earlier and began later puts an end to it, where that is before its valid_to.
    """

    state: State
    live: bool
    superseded_by: int | None = None
    ends: int | None = None


def valid(entry: Entry, t: int) -> bool:
    return (entry.valid_from is None or entry.valid_from <= t) and (entry.valid_to is None or t < entry.valid_to)


def covers(later: Entry, earlier: Entry) -> bool:
    """Whether `later` is valid whenever `earlier` is."""
    begins = later.valid_from is None or (earlier.valid_from is not None and later.valid_from <= earlier.valid_from)
    ends = later.valid_to is None or (earlier.valid_to is not None and earlier.valid_to <= later.valid_to)
    return begins and ends


def above(one: Entry, other: Entry) -> bool:
    """Which of two edits of a chain stands above the other (rule 2)."""
    return (_LONG_AGO if one.began is None else one.began, one.seq) > (
        _LONG_AGO if other.began is None else other.began,
        other.seq,
    )


_LONG_AGO = -(1 << 62)


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
        chains = {f"own {entry.seq}"} | {f"own {target}" for target in entry.targets}
        if entry.op == "replace":
            chains |= {chain for target in entry.targets for chain in chains_of[target]}
        if entry.slot is not None:
            chains.add(f"slot {entry.slot}")
        chains_of[entry.seq] = chains
        for chain in chains:
            members[chain].append(entry.seq)

    folded: dict[int, Folded] = {}
    for seq, chains in chains_of.items():
        entry = by_seq[seq]
        mates = {other for chain in chains for other in members[chain] if other not in undone}
        higher = [by_seq[other] for other in mates if above(by_seq[other], entry)]
        covered = any(covers(other, entry) for other in higher)
        blockers = [other for other in higher if covers(other, entry) or valid(other, t)]
        begins = [other.valid_from for other in higher if other.seq < seq and other.valid_from is not None]
        ends = min(begins, default=None)
        if ends is not None and entry.valid_to is not None and entry.valid_to <= ends:
            ends = None
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
            standing = [other for other in blockers if other.seq not in removed and other.seq not in purged]
            for other in standing:
                if by is None or above(other, by_seq[by]):
                    by = other.seq
        elif entry.valid_from is not None and t < entry.valid_from:
            state = "not_yet"
        elif entry.valid_to is not None and entry.valid_to <= t:
            state = "expired"
        else:
            state = "current"
        folded[seq] = Folded(state, live, by, ends)
    return folded


class Carrier(NamedTuple):
    """An effective record that bears on weights. `edits` are seqs, rising; `fitted` is False for an unbake.

    `untaken` are the seqs of the edits, its own or earlier ones, that the model was found not to say with it.
    """

    seq: int
    model: str
    edits: tuple[int, ...]
    fitted: bool = True
    untaken: tuple[int, ...] = ()


class Carried(NamedTuple):
    """What became of a change: the seqs of its edits, of those left to it, and of those that it was found not to say
    (`Carrier.untaken`)."""

    seq: int
    model: str
    edits: tuple[int, ...]
    left: tuple[int, ...]
    untaken: tuple[int, ...] = ()

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
            one.untaken,
        )
        for one in every
        if one.fitted
    ]


def said(changes: Iterable[Carried]) -> set[int]:
    """The seqs of the edits that are said by the model of these changes, which are in force and in order (rule 5)."""
    found: set[int] = set()
    for one in changes:
        found.update(one.edits)
        found.difference_update(one.untaken)
    return found
