"""The journal against the plain fold: every state it reports, now and in the past, after any sequence of writes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from memedit import journal as journal_module
from memedit import lookups, migrations, rules, schema, writer
from memedit.dates import believed
from memedit.errors import InputError, JournalError, NewerFormatError, NotFoundError
from memedit.fold import Entry, Folded, fold
from memedit.journal import Journal
from memedit.schema import At, Row, hash64, to_datetime, to_micros

SPACE = "default"
HOUR = 3_600_000_000
START = to_micros(datetime(2030, 1, 1, tzinfo=UTC))
NEVER = -(2**62)


def row(
    statement: str,
    slot: int | None = None,
    begin: int | None = None,
    end: int | None = None,
    author: str | None = None,
    namespace: str = SPACE,
    given: bool = False,
) -> Row:
    return Row(
        *(statement, "subject", "relation", "target", None, None, None, "fact", author, None, None, begin, end),
        *("single", None, slot, hash64("about", namespace, "subject"), hash64(namespace, statement, begin, end)),
        given=given,
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "facts")
    yield opened
    opened.close()


def states(journal: Journal, at: At | None = None, namespace: str = SPACE) -> dict[int, tuple[str, int | None]]:
    """seq -> (state, seq that stands in its place), as SQL sees it."""
    edits = journal.find(namespace=namespace, at=at)
    seqs = {edit.id: edit.seq for edit in edits}
    return {edit.seq: (edit.state, seqs[edit.superseded_by] if edit.superseded_by else None) for edit in edits}


def expected(folded: dict[int, Folded]) -> dict[int, tuple[str, int | None]]:
    return {seq: (one.state, one.superseded_by) for seq, one in folded.items()}


WINDOWS = st.sampled_from(
    [(None, None)] * 4 + [(0, None), (None, 2), (0, 4), (1, 3), (2, None), (3, 6)]  # hours from the start
)
SLOTS = st.sampled_from([None, 1, 2, 3])  # 3 is the caller's own: it takes the place of what stands in 1 and 2
WORDS = st.sampled_from(["a", "b", "c", "d", "e"])
FACTS = st.tuples(WORDS, SLOTS, WINDOWS)


class AgainstFold(RuleBasedStateMachine):
    """Writes of all kinds; the model is the list of entries that they should leave, folded anew each time."""

    records = Bundle("records")

    @initialize()
    def begin(self) -> None:
        memory = Path("/dev/shm")  # where there is one: each write waits for the disk
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.journal = Journal.open(self.folder)
        self.now = START
        self.journal.clock = lambda: self.now
        self.entries: list[Entry] = []
        self.ids: dict[int, str] = {}
        self.digests: dict[int, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            shutil.rmtree(self.folder)

    def fold(self, n: int | None = None, t: int | None = None) -> dict[int, Folded]:
        return fold(self.entries, n, self.now if t is None else t)

    def fact(self, fact: tuple[str, int | None, tuple[int | None, int | None]]) -> Row:
        word, slot, window = fact
        begin, end = (None if hours is None else START + hours * HOUR for hours in window)
        return row(f"{word} {slot}", slot, begin, end, given=slot == 3)  # the same words always mean the same slot

    def note(self, op: str, seq: int, name: str, targets: tuple[int, ...] = (), given: Row | None = None) -> None:
        slot, begin, end = (given.slot, given.valid_from, given.valid_to) if given else (None, None, None)
        written = Entry(seq, op, self.now, targets, slot, begin, end)
        self.entries.append(written._replace(began=self.began(written) if given else None))
        self.ids[seq] = name

    def began(self, written: Entry) -> int | None:
        """Rule 2: when an edit began among those that were written before it."""
        chains: dict[int, set[object]] = {}
        for entry in [*self.entries, written]:
            if entry.op in ("add", "replace"):
                chains[entry.seq] = {entry.seq, *entry.targets} | ({f"slot {entry.slot}"} if entry.slot else set())
                if entry.op == "replace":
                    chains[entry.seq] |= {chain for other in entry.targets for chain in chains[other]}
        mates = [e for e in self.entries if e.seq in chains and chains[e.seq] & chains[written.seq]]
        found = [written.valid_from] if written.valid_from is not None else []
        if written.valid_from is None:
            found += [mate.began for mate in mates if mate.began is not None and mate.began <= self.now]
        if written.op == "replace":
            found += [mate.began for mate in mates if mate.seq in written.targets and mate.began is not None]
        return max(found, default=None)

    @rule(hours=st.sampled_from([-10_000, -3, -1, 0, 1, 1, 2, 2, 10_000]))
    def pass_time(self, hours: int) -> None:
        self.now += hours * HOUR

    def written(self) -> list[int]:
        """When each record was written, as far as its date is believed; before all times where none is."""
        trusted = set(believed([entry.created_at for entry in self.entries], self.now))
        dates, last = [], NEVER
        for place, entry in enumerate(self.entries):
            last = entry.created_at if place in trusted else last
            dates.append(last)
        return dates

    @rule(target=records, facts=st.lists(FACTS, min_size=1, max_size=5))
    def add(self, facts: list[tuple[str, int | None, tuple[int | None, int | None]]]) -> object:
        rows = [self.fact(fact) for fact in facts]
        written = self.journal.add(SPACE, rows)
        fresh = []
        for given, one in zip(rows, written, strict=True):
            before = self.fold()
            said = [
                seq
                for seq, digest in self.digests.items()
                if digest == given.digest and before[seq].state in ("current", "not_yet", "expired")
            ]
            assert one.new == (not said)
            if not one.new:
                assert one.seq in said
                continue
            slots = {entry.seq: entry.slot for entry in self.entries}
            displaced = [seq for seq, state in before.items() if state.live and slots[seq] in (1, 2)]
            self.note("add", one.seq, one.id, tuple(displaced) if given.given else (), given)
            self.digests[one.seq] = given.digest
            fresh.append(one.seq)
            live = {seq for seq, state in before.items() if state.live}
            after = self.fold()
            assert {seq for seq in live if not after[seq].live} <= set(one.retired)
        return multiple(*fresh)

    @rule(target=records, seq=records, fact=FACTS)
    def replace(self, seq: int, fact: tuple[str, int | None, tuple[int | None, int | None]]) -> object:
        state = self.fold().get(seq)
        given = self.fact(fact)
        if state is None or state.state in ("undone", "removed", "purged"):
            with pytest.raises(InputError):
                self.journal.replace(SPACE, self.ids[seq], lambda _: given)
            return multiple()
        one = self.journal.replace(SPACE, self.ids[seq], lambda _: given)
        self.note("replace", one.seq, one.id, (seq,), given)
        self.digests[one.seq] = given.digest
        return one.seq

    @rule(target=records, seq=records)
    def remove(self, seq: int) -> object:
        state = self.fold().get(seq)
        if state is None or state.state in ("undone", "removed", "purged"):
            with pytest.raises(InputError):
                self.journal.remove(SPACE, self.ids[seq])
            return multiple()
        done = self.journal.remove(SPACE, self.ids[seq])
        self.note("remove", done.seq, done.id, (seq,))
        return done.seq

    def undone(self) -> set[int]:
        found: set[int] = set()
        for entry in reversed(self.entries):
            if entry.op == "undo" and entry.seq not in found:
                found.update(entry.targets)
        return found

    @rule(target=records, seq=records)
    def undo_one(self, seq: int) -> object:
        ops = {entry.seq: entry.op for entry in self.entries}
        purged = {target for entry in self.entries if entry.op == "purge" for target in entry.targets}
        if ops[seq] == "purge" or seq in purged or seq in self.undone():
            with pytest.raises(InputError):
                self.journal.undo(namespace=SPACE, given=self.ids[seq])
            return multiple()
        self.journal.undo(namespace=SPACE, given=self.ids[seq])
        return self.undo_written((seq,))

    @rule(target=records, last=st.integers(1, 4))
    def undo_last(self, last: int) -> object:
        purged = {target for entry in self.entries if entry.op == "purge" for target in entry.targets}
        out = self.undone() | purged
        which = [e.seq for e in self.entries if e.op in ("add", "replace", "remove") and e.seq not in out][-last:]
        if not which:
            with pytest.raises(InputError):
                self.journal.undo(namespace=SPACE, last=last)
            return multiple()
        preview = self.journal.undoable(namespace=SPACE, last=last)
        undone = self.journal.undo(namespace=SPACE, last=last)
        assert [r.seq for r in undone] == which[::-1] == [r.seq for r in preview]
        return self.undo_written(tuple(which))

    def undo_written(self, targets: tuple[int, ...]) -> int:
        newest = self.journal.records(SPACE, limit=1)[0]
        assert newest.op == "undo"
        self.note("undo", newest.seq, newest.id, targets)
        return newest.seq

    @rule(seq=consumes(records))
    def purge(self, seq: int) -> None:
        if self.fold().get(seq, Folded("purged", False)).state == "purged":
            return
        self.journal.purge(namespace=SPACE, given=self.ids[seq])
        newest = self.journal.records(SPACE, limit=1)[0]
        self.note("purge", newest.seq, newest.id, (seq,))
        del self.digests[seq]

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "journal"):
            return
        assert self.journal.entries(SPACE) == self.entries
        folded = self.fold()
        assert states(self.journal) == expected(folded)
        assert self.journal.live_flags(SPACE) == {seq: one.live for seq, one in folded.items()}

    @invariant()
    def lists_agree(self) -> None:
        if not hasattr(self, "journal"):
            return
        folded = self.fold()
        current = [seq for seq, one in folded.items() if one.state == "current"]
        live = [seq for seq, one in folded.items() if one.live]
        assert [edit.seq for edit in self.journal.find(namespace=SPACE, wanted="current")] == current[::-1]
        assert self.journal.count(SPACE) == len(current)
        assert sorted({*current, *self.journal.not_current(SPACE)}) == live
        assert not set(current) & set(self.journal.not_current(SPACE))
        assert [seq for part in self.journal.live(SPACE, batch=2) for seq in part] == live
        counts = self.journal.state_counts(SPACE)
        assert sum(counts.values()) == len(folded)
        for state in {one.state for one in folded.values()}:
            same = [seq for seq, one in folded.items() if one.state == state]
            assert self.journal.seqs(SPACE, state, At(None, self.now)) == same
            assert counts[state] == len(same)

    @invariant()
    def feed_agrees(self) -> None:
        if not hasattr(self, "journal"):
            return
        live: set[int] = set()
        last = 0
        for seq, edit_seq, alive in self.journal.changes(SPACE, 0):
            assert seq >= last
            last = seq
            (live.add if alive else live.discard)(edit_seq)
        assert live == {seq for seq, one in self.fold().items() if one.live}

    @invariant()
    def all_is_seen_now(self) -> None:
        if not hasattr(self, "journal"):
            return
        assert self.journal.at(to_datetime(self.now)).n == len(self.entries)
        dates = [record.created_at for record in self.journal.records(SPACE)]
        assert dates == sorted(dates, reverse=True)

    @rule(data=st.data())
    def past_agrees(self, data: st.DataObject) -> None:
        if not self.entries:
            return
        n = data.draw(st.integers(0, len(self.entries) + 1))
        at = self.journal.at(n)
        shown = self.written()[min(n, len(self.entries)) - 1] if n else 0
        assert shown in (at.t, NEVER)
        assert states(self.journal, at) == expected(self.fold(n, at.t))
        moment = data.draw(st.sampled_from([self.now, START, *(entry.created_at for entry in self.entries)]))
        moment += data.draw(st.sampled_from([-HOUR, -1, 0, HOUR]))
        at = self.journal.at(to_datetime(moment))
        upto = sum(date <= moment for date in self.written())
        assert at.n == upto
        folded = self.fold(upto, moment)
        assert states(self.journal, at) == expected(folded)
        current = [seq for seq, one in folded.items() if one.state == "current"]
        assert self.journal.seqs(SPACE, "current", at) == current


AgainstFold.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes, and the steps are few
)
TestAgainstFold = AgainstFold.TestCase


def test_worked_example(journal: Journal) -> None:
    """A -> B -> C; undo B: the head is C; undo C: A is back. Redo C: C. Removing brings nothing back."""
    a, b, c = (journal.add(SPACE, [row(word, 1)])[0] for word in "abc")

    def head() -> list[str]:
        return [edit.statement for edit in journal.find(namespace=SPACE, wanted="current")]

    assert head() == ["c"]
    journal.undo(namespace=SPACE, given=b.id)
    assert head() == ["c"]
    journal.undo(namespace=SPACE, given=c.id)
    assert head() == ["a"]
    undo = journal.records(SPACE, limit=1)[0]
    journal.undo(namespace=SPACE, given=undo.id)
    assert head() == ["c"]
    removal = journal.remove(SPACE, c.id)
    assert head() == []
    journal.undo(namespace=SPACE, given=removal.id)
    assert head() == ["c"]
    journal.remove(SPACE, a.id)  # superseded long ago: its successor stays
    assert head() == ["c"]


def test_a_chain_passes_through_replacements(journal: Journal) -> None:
    a = journal.add(SPACE, [row("a", 1)])[0]
    b = journal.replace(SPACE, a.id, lambda old: row("b", 2))
    assert b.retired == (a.seq,)
    c = journal.add(SPACE, [row("c", 1)])[0]  # the slot that b inherited from a
    assert c.retired == (b.seq,)
    edit = journal.find(seqs=[a.seq])[0]
    assert (edit.state, edit.superseded_by) == ("superseded", c.id)
    assert [record.id for record in journal.related(SPACE, [b.seq])] == [a.id, b.id, c.id]


def test_ids_and_prefixes(journal: Journal) -> None:
    written = journal.add(SPACE, [row(f"fact {number}") for number in range(20)])
    one = written[7]
    assert journal.resolve(SPACE, one.id) == (one.seq, one.id, "add")
    assert journal.resolve(SPACE, one.id[:9].upper())[1] == one.id
    with pytest.raises(NotFoundError, match="too short"):
        journal.resolve(SPACE, one.id[:4])
    with pytest.raises(NotFoundError, match="memedit list"):
        journal.resolve(SPACE, "nonsense")
    near = one.id[:-1] + ("0" if one.id[-1] != "0" else "1")
    with pytest.raises(NotFoundError, match=one.id):
        journal.resolve(SPACE, near)


def test_equal_ids_are_drawn_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([bytes(5), bytes(5), bytes([1] * 5), bytes(10), bytes([2] * 5 + [3] * 5)])
    monkeypatch.setattr(writer.os, "urandom", lambda _: next(drawn))
    assert journal.add(SPACE, [row("a")])[0].id == "e-0000000000"
    assert journal.add(SPACE, [row("b")])[0].id == "e-0101010101"  # the first draw was taken
    names = [one.id for one in journal.add(SPACE, [row("c"), row("d")])]
    assert names == ["e-0202020202", "e-0303030303"]  # the first draw was twice the same
    assert journal.head() == 4


def test_several_namespaces_share_nothing_but_the_numbers(journal: Journal) -> None:
    first = journal.add("one", [row("a", 1, namespace="one")])[0]
    second = journal.add("two", [row("a", 2, namespace="two")])[0]
    assert (first.seq, second.seq) == (1, 2)
    assert second.new
    assert not second.retired
    assert journal.namespaces() == ["one", "two"]
    assert [edit.seq for edit in journal.find(namespace="two")] == [2]
    assert list(journal.changes("one", 0)) == [(1, 1, True)]
    assert journal.count("three") == 0
    assert list(journal.live("three")) == []
    assert journal.undoable(namespace="two", last=5)[0].id == second.id
    with pytest.raises(InputError, match="three"):
        journal.undo(namespace="three", last=1)


def test_moments_must_make_sense(journal: Journal) -> None:
    with pytest.raises(InputError, match="time zone"):
        journal.at(datetime(2030, 1, 1))
    with pytest.raises(InputError, match="as_of"):
        journal.at(True)
    assert journal.at(10**9).n == 0
    assert to_micros(to_datetime(-5)) == -5
    assert to_micros(datetime(1970, 1, 1, 1, tzinfo=UTC) + timedelta(microseconds=3)) == HOUR + 3


def test_vectors(journal: Journal) -> None:
    written = journal.add(SPACE, [row(f"fact {number}") for number in range(5)])
    seqs = [one.seq for one in written]
    journal.put_vectors("letters", 2, {seq: bytes([seq] * 4) for seq in seqs})
    journal.put_vectors("other", 3, {1: b"123456"})
    journal.put_vectors("letters", 2, {2: b"anew"})
    assert journal.vectors("letters", [1, 2, 99]) == {1: bytes([1] * 4), 2: b"anew"}
    assert journal.vectors("unknown", [1]) == {}
    journal.remove(SPACE, written[2].id)
    parts = list(journal.live_vectors("letters", SPACE, batch=2))
    assert [list(part) for part, _ in parts] == [[1, 2], [4, 5]]
    assert parts[0][0].dtype == np.int64
    assert parts[0][1] == [bytes([1] * 4), b"anew"]
    assert [list(part) for part, _ in journal.live_vectors("letters", SPACE, after_edit_seq=2)] == [[4, 5]]
    with pytest.raises(InputError, match="2 numbers"):
        journal.put_vectors("letters", 3, {1: b"123456"})
    journal.purge(namespace=SPACE, given=written[0].id)
    journal.put_vectors("letters", 2, {1: b"late"})
    assert journal.vectors("letters", [1]) == journal.vectors("other", [1]) == {}
    assert journal.encoders() == [("letters", 2, 4), ("other", 3, 0)]


def test_tables_are_as_the_migrations_make_them(journal: Journal) -> None:
    inspector = sa.inspect(journal._engine)
    made = {table: [column["name"] for column in inspector.get_columns(table)] for table in inspector.get_table_names()}
    assert made == {table.name: [c.name for c in table.columns] for table in schema.metadata.sorted_tables}


def test_the_hot_queries_use_their_indexes(journal: Journal) -> None:
    with journal._reading() as connection:

        def plan(query: sa.Select) -> str:
            text = query.compile(journal._engine, compile_kwargs={"literal_binds": True})
            return " ".join(line[3] for line in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))

        overridden = plan(rules.overridden(1, 0))
        assert "record_windowed" in overridden
        assert "SCAN" not in overridden
        e = schema.record.alias("e")
        source, conditions, _ = journal._conditions(e, 1, At(None, 0), "current")
        query = sa.select(e.c.seq).select_from(source).where(*conditions)
        newest = plan(query.order_by(schema.state.c.seq.desc()).limit(5))
        assert "state_live" in newest
        assert "TEMP B-TREE" not in newest
        source, conditions, _ = journal._conditions(e, 1, At(None, 0), "current", narrow=True)
        query = sa.select(e.c.seq).select_from(source).where(*conditions).order_by(e.c.seq.desc())
        about = plan(query.where(e.c.seq.in_(lookups.naming(7))))
        assert "record_about" in about
        assert "SCAN e" not in about
        assert "record_author" in plan(query.where(e.c.author == "ann"))


def test_a_newer_file_is_refused_and_left_alone(journal: Journal) -> None:
    with journal._writing() as writer:
        writer.connection.execute(sa.update(schema.meta).values(value="99"))
    before = journal.path.read_bytes() if journal.path else b""
    with pytest.raises(NewerFormatError, match=r"format 99.*Upgrade"):
        Journal.open(journal.where)
    assert journal.path is not None
    assert journal.path.read_bytes() == before


def test_pending_migrations_run_once_and_in_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal.open(tmp_path).close()

    def broken(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half_done (a)")
        raise sa.exc.OperationalError("CREATE", {}, Exception("it broke"))

    monkeypatch.setattr(journal_module, "MIGRATIONS", [*migrations.MIGRATIONS, broken])
    with pytest.raises(JournalError, match="it broke"):
        Journal.open(tmp_path)
    with pytest.raises(JournalError, match=f"format {len(migrations.MIGRATIONS)}"):
        Journal.open(tmp_path, read_only=True)
    ran = []
    monkeypatch.setattr(journal_module, "MIGRATIONS", [*migrations.MIGRATIONS, ran.append])
    for _ in range(2):
        opened = Journal.open(tmp_path)
        assert "half_done" not in sa.inspect(opened._engine).get_table_names()
        opened.close()
    assert len(ran) == 1


def test_strange_places(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no memory"):
        Journal.open(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="is a file"):
        Journal.open(file)
    with pytest.raises(JournalError, match="cannot be made"):
        Journal.open(file / "below")
    with pytest.raises(InputError, match="not supported"):
        Journal.open("mysql://host/db")
    with pytest.raises(InputError, match="no database URL"):
        Journal.open("://")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    engine = sa.create_engine(f"sqlite:///{foreign / 'journal.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE cats (name)")
    engine.dispose()
    with pytest.raises(JournalError, match="something else"):
        Journal.open(foreign)


def test_repair_sets_the_flags_right(journal: Journal) -> None:
    journal.add(SPACE, [row("a", 1), row("b", 1), row("c")])
    with journal._writing() as writer:
        writer.connection.execute(sa.update(schema.state).values(live=1))
    folded = fold(journal.entries(SPACE), None, journal.clock())
    assert journal.live_flags(SPACE) != {seq: one.live for seq, one in folded.items()}
    generation = journal.generation(SPACE)
    assert journal.refold(SPACE, folded) == 1
    assert journal.live_flags(SPACE) == {seq: one.live for seq, one in folded.items()}
    assert journal.generation(SPACE) == generation + 1


def test_what_is_read_in_one_state_is_read_before_what_others_write(journal: Journal) -> None:
    assert journal.folder is not None
    other = Journal.open(journal.folder)
    journal.add(SPACE, [row("one")])
    with journal.one_state():
        assert journal.head() == 1
        other.add(SPACE, [row("two")])
        assert (journal.head(), other.head(), len(journal.find(namespace=SPACE))) == (1, 2, 1)
    assert (journal.head(), len(journal.find(namespace=SPACE))) == (2, 2)
    other.close()


def test_a_journal_begun_late_is_made_by_its_first_write(tmp_path: Path) -> None:
    told: list[str] = []
    where = tmp_path / "deep" / "facts"
    late = Journal.open(where, born=lambda: told.append("born"))
    assert (late.head(), late.where, list(tmp_path.iterdir()), told) == (0, str(where), [], [])
    assert late.preview(SPACE, row("a")).new  # tries, and writes nothing
    assert list(tmp_path.iterdir()) == []
    late.add(SPACE, [row("a")])
    late.add(SPACE, [row("b")])
    assert told == ["born"]
    assert [edit.statement for edit in late.find(namespace=SPACE)] == ["b", "a"]
    late.close()
    again = Journal.open(where, born=lambda: told.append("again"))
    assert (again.head(), told) == (2, ["born"])
    again.close()


def test_where_no_journal_can_begin_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Journal.open(tmp_path / "file", born=lambda: None)
    with pytest.raises(JournalError, match="no memory can be made"):
        Journal.open(tmp_path / "file" / "facts", born=lambda: None)


def test_of_two_that_begin_a_journal_neither_loses_a_write(tmp_path: Path) -> None:
    late = Journal.open(tmp_path / "facts", born=lambda: None)
    other = Journal.open(tmp_path / "facts", born=lambda: None)
    for journal, text in ((late, "a"), (other, "b"), (late, "c")):
        journal.add(SPACE, [row(text)])
    for journal in (late, other):
        assert [edit.statement for edit in journal.find(namespace=SPACE)] == ["c", "b", "a"]
        journal.close()
