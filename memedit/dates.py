"""When records were written, where the machine's clock may have been wrong.

A record keeps what the clock said, but its sequence number is what tells before from after. So dates that fall along
the numbers cannot all be right: those that lie after now are disbelieved, and of the rest the fewest that make the
others rise (of two the earlier). A disbelieved record counts as written together with the believed one before it; where
there is none, before all times.

So as of now everything is seen; a date far ahead dates nothing but itself; and after the clock was set back, "since"
a time takes what was written after it. `believed` is that definition; `Dates` finds the same without reading a date
where none is in dispute, from the places where dates fall (the journal keeps these), by looking up a few.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import accumulate
from typing import NamedTuple


def believed(told: Sequence[int], now: int) -> list[int]:
    """The places of the dates that are believed, rising, of all dates in the order of writing (microseconds)."""
    ends: list[int] = []  # the least date that ends a rising choice of each length, and its place
    places: list[int] = []
    before: dict[int, int] = {}
    for place, date in enumerate(told):
        if date <= now:
            length = bisect_right(ends, date)
            if length:
                before[place] = places[length - 1]
            ends[length : length + 1] = [date]
            places[length : length + 1] = [place]
    chosen = places[-1:]
    while chosen and chosen[-1] in before:
        chosen.append(before[chosen[-1]])
    return chosen[::-1]


class Fall(NamedTuple):
    """A record dated before the one that precedes it: its number, that one's date and its own."""

    seq: int
    before: int
    after: int


class _Run(NamedTuple):
    """Records in a row, from number `first` to `last`, whose dates do not fall: from `begin` to `end`."""

    first: int
    last: int
    begin: int
    end: int


class Dates:
    """The dates of records 1 to `head` as judged at `now`; `told` looks up what the clock said at records in a row."""

    def __init__(self, head: int, falls: Iterable[Fall], told: Callable[[int, int], Sequence[int]], now: int) -> None:
        self.head = head
        self.now = now
        self._told = told
        self.until: int | None = None
        """From when on this is to be judged anew, since a date that lay ahead no longer does."""
        runs = self._runs(falls)
        self._off = _joined([*self._ahead(runs), *self._disputed(self._trimmed(runs))])
        self._on = _between(self._off, head)
        self._begins = [self._at(first) for first, _ in self._on]

    def holds(self, now: int) -> bool:
        """Whether these records are judged at `now` as they were at `self.now`."""
        return self.now <= now and (self.until is None or now < self.until)

    def by(self, told: Callable[[int, int], Sequence[int]]) -> Dates:
        """The same, with another way to look dates up."""
        same = copy(self)
        same._told = told
        return same

    def upto(self, t: int) -> int:
        """The number of the last record written at `t` or before, 0 where there is none."""
        nth = bisect_right(self._begins, t)
        if nth == 0:
            return self._on[0][0] - 1 if self._on else self.head
        first, last = self._on[nth - 1]
        found = self._last_by(first, last, t)
        if found < last:
            return found
        return self._on[nth][0] - 1 if nth < len(self._on) else self.head

    def of(self, seq: int) -> int:
        """The date of a record, to be shown: these never fall along the numbers. 0 for number 0."""
        if not 0 < seq <= self.head:
            return 0
        nth = bisect_right(self._off, (seq, self.head)) - 1
        if nth < 0 or self._off[nth][1] < seq:
            return self._at(seq)
        first, last = self._off[nth]
        # Those before all that is believed are shown with the first of that, for want of anything better.
        return self._at(first - 1 if first > 1 else min(last + 1, self.head))

    def _at(self, seq: int) -> int:
        return self._told(seq, seq)[0]

    def _last_by(self, first: int, last: int, t: int) -> int:
        """The last one dated `t` or before of records whose dates do not fall, and the first of which is."""
        while first < last:
            middle = (first + last + 1) // 2
            if self._at(middle) <= t:
                first = middle
            else:
                last = middle - 1
        return first

    def _runs(self, falls: Iterable[Fall]) -> list[_Run]:
        if not self.head:
            return []
        ordered = sorted(fall for fall in falls if fall.seq <= self.head)
        firsts = [1, *(fall.seq for fall in ordered)]
        lasts = [*(fall.seq - 1 for fall in ordered), self.head]
        begins = [self._at(1), *(fall.after for fall in ordered)]
        ends = [*(fall.before for fall in ordered), self._at(self.head)]
        return [_Run(*one) for one in zip(firsts, lasts, begins, ends, strict=True)]

    def _trimmed(self, runs: list[_Run]) -> list[_Run]:
        """The runs without what lies ahead of now."""
        kept = []
        for run in runs:
            if run.end <= self.now:
                kept.append(run)
            elif run.begin <= self.now:
                last = self._last_by(run.first, run.last, self.now)
                kept.append(_Run(run.first, last, run.begin, self._at(last)))
        return kept

    def _ahead(self, runs: list[_Run]) -> list[tuple[int, int]]:
        """(first, last) of the records in a row that are dated after now."""
        ahead = []
        for run in runs:
            if run.end > self.now:
                first = self._last_by(run.first, run.last, self.now) + 1 if run.begin <= self.now else run.first
                ahead.append((first, run.last))
                begin = self._at(first)
                self.until = begin if self.until is None else min(self.until, begin)
        return ahead

    def _disputed(self, runs: list[_Run]) -> list[tuple[int, int]]:
        """(first, last) of the disbelieved in runs that are not ahead of now."""
        latest = list(accumulate((run.end for run in runs), max))  # so far
        earliest = list(accumulate((run.begin for run in reversed(runs)), min))[::-1]  # from there on
        places = []
        for high, low in zip(latest, earliest[1:], strict=False):
            if low < high:
                early = runs[bisect_right(latest, low)]
                first = early.first if early.begin > low else self._last_by(early.first, early.last, low) + 1
                late = runs[bisect_left(earliest, high) - 1]
                places.append((first, self._last_by(late.first, late.last, high - 1)))
        off = []
        for first, last in _joined(places):  # outside these every date is in its place
            chosen = [first + place for place in believed(self._told(first, last), self.now)]
            off += _between([(seq, seq) for seq in chosen], last, first)
        return off


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in as few ranges (first, last) as there can be, rising."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _between(ranges: Sequence[tuple[int, int]], end: int, start: int = 1) -> list[tuple[int, int]]:
    """The numbers from `start` to `end` that are in none of the rising `ranges`, as such ranges."""
    firsts = [start, *(last + 1 for _, last in ranges)]
    lasts = [*(first - 1 for first, _ in ranges), end]
    return [(first, last) for first, last in zip(firsts, lasts, strict=True) if first <= last]
