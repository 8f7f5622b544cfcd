"""Dates where the clock was wrong: ahead, set back, put right again. Order is by number, whatever was told."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit import journal
from memedit.dates import Dates, Fall, believed
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.schema import to_micros
from memedit.writer import SKEW

TOLD = st.lists(st.integers(0, 12), max_size=9)
MOMENT = st.integers(-2, 14)


def dates(told: list[int], now: int) -> Dates:
    falls = [Fall(seq, *pair) for seq, pair in enumerate(pairwise(told), 2) if pair[1] < pair[0]]
    return Dates(len(told), falls, lambda first, last: told[first - 1 : last], now)


@given(TOLD, MOMENT)
@settings(max_examples=300, deadline=None)
def test_the_fewest_are_disbelieved(told: list[int], now: int) -> None:
    chosen = believed(told, now)
    past = [place for place, date in enumerate(told) if date <= now]
    most = max(
        size
        for size in range(len(past) + 1)
        for some in combinations(past, size)
        if all(told[a] <= told[b] for a, b in pairwise(some))
    )
    assert len(chosen) == most
    assert set(chosen) <= set(past)
    assert [told[place] for place in chosen] == sorted(told[place] for place in chosen)


@given(TOLD, MOMENT)
@settings(max_examples=500, deadline=None)
def test_what_is_looked_up_is_what_is_defined(told: list[int], now: int) -> None:
    judged, trusted = dates(told, now), set(believed(told, now))
    written, last = [], -100
    for place, date in enumerate(told):
        last = date if place in trusted else last
        written.append(last)
    for t in range(-3, 16):
        assert judged.upto(t) == bisect_right(written, t)
    shown = [judged.of(seq) for seq in range(1, len(told) + 1)]
    assert shown == sorted(shown)
    assert all(shown[place] == told[place] for place in trusted)


@given(TOLD, st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_now_is_after_every_write(told: list[int], clock: int) -> None:
    assert dates([*told, clock], clock).upto(clock) == len(told) + 1


@given(TOLD, MOMENT, MOMENT)
@settings(max_examples=300, deadline=None)
def test_judged_once_it_holds_until_a_date_is_reached(told: list[int], now: int, later: int) -> None:
    judged, anew = dates(told, now), dates(told, later)
    if judged.holds(later):
        assert [judged.upto(t) for t in range(-3, 16)] == [anew.upto(t) for t in range(-3, 16)]
    assert judged.holds(now)


# The same in a memory


NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


class Told:
    """A memory whose clock is turned by hand."""

    def __init__(self, memory: EditMemory) -> None:
        self.memory = memory
        self.now = NOW
        memory.journal.clock = lambda: to_micros(self.now)

    def tell(self, *statements: str, after: timedelta = HOUR) -> None:
        for statement in statements:
            self.now += after
            self.memory.add(statement)

    def seen(self, moment: datetime | int | None = None) -> str:
        return "".join(edit.statement for edit in self.memory.list(as_of=moment)[::-1])

    def undone(self, since: datetime) -> str:
        return "".join(record.statement or "" for record in self.memory.undo(since=since)[::-1])


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        yield Told(memory)


@pytest.mark.parametrize("many", ["x", "xyzuvw"])
def test_a_write_far_ahead_dates_nothing_but_itself(told: Told, many: str) -> None:
    told.tell("a", "b")
    right = told.now
    told.now += 100 * YEAR
    told.tell(*many)
    assert told.seen(told.now) == f"ab{many}"
    told.now = right
    assert told.seen(told.now) == told.seen() == f"ab{many}"
    told.tell("c", "d")
    assert told.seen(right - HOUR) == "a"
    assert told.seen(right + HOUR) == f"ab{many}c"
    assert told.seen(told.now) == told.seen() == f"ab{many}cd"
    assert [edit.created_at for edit in told.memory.list(state="all")][:2] == [right + 2 * HOUR, right + HOUR]
    shown = [record.created_at for record in told.memory.log()]
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == right - HOUR
    assert told.undone(right + 2 * HOUR) == "d"
    assert told.undone(right + timedelta(minutes=1)) == "c"
    told.now += 200 * YEAR  # when that date has come it is still no ordinary one
    told.tell("e")
    if len(many) == 1:
        assert told.seen(right + HOUR) == f"ab{many}c"


@pytest.mark.parametrize("back", [timedelta(seconds=2), 3 * HOUR, YEAR, 50 * YEAR])
def test_a_clock_that_is_set_back(told: Told, back: timedelta) -> None:
    told.tell("a", "b", "c")
    told.now -= back
    since = told.now
    assert told.seen(told.now) == "abc"
    with pytest.raises(InputError, match="nothing since"):
        told.memory.undo(since=since)
    told.tell("d", after=timedelta(microseconds=1))
    assert told.seen(told.now) == "abcd"
    told.tell("e")
    assert told.seen(told.now) == "abcde"
    assert told.undone(since) == "de"


def test_a_clock_that_was_wrong_for_a_moment_spoils_no_past(told: Told) -> None:
    told.tell(*"abcd")
    right = told.now
    told.now = datetime(1970, 1, 1, tzinfo=UTC)
    told.tell("x")
    assert told.seen(told.now) == "abcdx"
    told.now = right
    told.tell("e")
    assert told.seen(right - 2 * HOUR) == "ab"
    assert told.seen(right) == "abcdx"
    assert told.undone(right - HOUR) == "cdxe"


def test_a_seq_is_judged_at_a_date_that_is_believed(told: Told) -> None:
    told.memory.add("always", valid_from=NOW - YEAR)
    told.memory.add("till then", valid_to=NOW + YEAR)
    told.now += 100 * YEAR
    told.memory.add("x")
    told.now = NOW
    told.tell("b")
    assert told.seen(3) == "alwaystill thenx"
    assert told.seen(4) == "alwaystill thenxb"


def test_the_first_of_all_may_be_the_wrong_one(told: Told) -> None:
    told.now += 100 * YEAR
    told.tell("x")
    told.now = NOW
    assert told.seen(told.now) == "x"
    since = told.now
    told.tell("a")
    assert told.seen(since) == "x"
    assert [edit.created_at for edit in told.memory.list()] == [told.now, told.now]
    assert told.undone(since) == "a"


def test_clocks_that_differ_by_less_than_is_noticed_are_one(told: Told) -> None:
    for nth in range(6):
        told.tell(f"{nth}", after=timedelta(microseconds=SKEW // 2) * (-1) ** nth)
    dates = [edit.created_at for edit in told.memory.list()]
    assert dates == sorted(dates, reverse=True)
    assert told.seen(told.now) == "012345"


def test_few_dates_are_read_where_one_has_fallen(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    for back in (0, 3):
        told.now -= back * HOUR
        told.tell(*(f"{nth} after {back}" for nth in range(100)))
    read = []
    plain = journal.created_at
    monkeypatch.setattr(journal, "created_at", lambda *given: read.append(given) or plain(*given))
    assert told.memory.journal.at(NOW + 50 * HOUR).n == 50
    assert told.memory.journal.at(NOW + 150 * HOUR).n == 153
    assert len(read) < 60
