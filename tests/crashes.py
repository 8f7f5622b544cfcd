"""Processes that write to a memory and are killed, and what must be true afterwards. Used by test_crash.py and soak.py.

Run as a program it is a fork server: importing takes a second, forking none, so that hundreds of writers can be killed.
It reads one JSON line per command and answers on stdout, as do its children:

    {"work": [name, …arguments]}  -> {"pid": n}, and then what the child says: {"pid": n, "start": […]} before each
                                     operation, {"pid": n, "done": […]} once the memory has acknowledged it
    {"wait": n}                   -> {"pid": n, "ended": exit status}
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import memedit.index
import memedit.stores.faiss
from memedit.edits import Draft
from memedit.errors import JournalError
from memedit.memory import EditMemory

KINDS = ("add", "bulk", "import", "replace", "remove", "undo", "purge", "rebuild", "compact", "search")
BATCH = 10
SMALL = {"THRESHOLD": 60, "FRESH": 16, "LOOSE_ROWS": 30}
"""Row counts at which stores and files change form, so that a few dozen edits go through all of them."""


def statement(number: int, place: str = "City") -> str:
    return f"The capital of Land {number} is {place} {number}"


def draft(number: int) -> Draft:
    target = f"City {number}"
    return Draft(statement=statement(number), subject=f"Land {number}", relation="capital", target=target)


def make_small() -> None:
    memedit.stores.faiss.THRESHOLD = SMALL["THRESHOLD"]
    memedit.stores.faiss.FRESH = SMALL["FRESH"]
    memedit.index.LOOSE_ROWS = SMALL["LOOSE_ROWS"]


# --- in the children


def say(**what: Any) -> None:
    os.write(1, (json.dumps({"pid": os.getpid(), **what}) + "\n").encode())  # one write: lines never mix


def any_operations(folder: str, seed: int, first: int, kind: str) -> None:
    """Two random operations, one of `kind`, then random ones; numbers of new facts begin with `first`."""
    random = Random(seed)
    numbers = iter(range(first, first + 1_000_000))
    with EditMemory.open(folder, encoder="letters") as memory:
        for turn in range(40):
            chosen = kind if turn == 2 else random.choice(KINDS)
            began = time.perf_counter()
            operate(memory, Path(folder), chosen, random, numbers)
            say(done=[chosen], seconds=time.perf_counter() - began)
    say(over=True)


def operate(memory: EditMemory, folder: Path, kind: str, random: Random, numbers: Iterator[int]) -> None:
    edits = memory.list()
    if kind in ("replace", "remove", "undo", "purge"):
        edits = [edit for edit in edits if kind != "undo" or "City" in edit.statement]
        if not edits:
            kind = "add"
    chosen = random.choice(edits) if edits else None
    if kind == "add":
        number = next(numbers)
        say(start=["add", [statement(number)]])
        memory.add(statement(number))
    elif kind == "bulk":
        drafts = [draft(next(numbers)) for _ in range(3 * BATCH)]
        say(start=["bulk", [one.statement for one in drafts]])
        memory.add_many(drafts, batch=BATCH)
    elif kind == "import":
        path = folder.with_name(f"{next(numbers)}.jsonl")
        facts = [statement(next(numbers)) for _ in range(2 * BATCH)]
        path.write_text("".join(json.dumps({"statement": fact}) + "\n" for fact in facts))
        say(start=["import", facts, str(path)])
        report = memory.import_file(path)
        assert report.added == len(facts), report
    elif kind == "replace" and chosen is not None:
        number = next(numbers)
        say(start=["replace", chosen.statement, statement(number, "Town")])
        memory.replace(chosen.id, statement(number, "Town"))
    elif kind == "remove" and chosen is not None:
        say(start=["remove", chosen.statement])
        memory.remove(chosen.id)
    elif kind == "undo" and chosen is not None:
        say(start=["undo", chosen.statement])
        memory.undo(id=chosen.id)
    elif kind == "purge" and chosen is not None:
        say(start=["purge", chosen.statement])
        memory.purge(id=chosen.id)
    elif kind == "rebuild":
        say(start=["rebuild"])
        memory.rebuild()
    elif kind == "compact":
        say(start=["compact"])
        memory.sync()
        memory._index("default").compact()
    else:
        say(start=["search"])
        memory.search("What is the capital of Land 1?")


def many_adds(folder: str, first: int, count: int) -> None:
    with EditMemory.open(folder, encoder="letters") as memory:
        for number in range(first, first + count):
            memory.add(statement(number))
            say(done=["add", [statement(number)]])
            if number % 5 == 0:
                hits = memory.search(statement(number), k=1)
                assert hits[0].edit.statement == statement(number), hits
        drafts = [draft(number) for number in range(first + count, first + 2 * count)]
        memory.add_many(drafts, batch=BATCH)
        say(done=["add", [one.statement for one in drafts]])


def adds_until_full(folder: str, first: int, limit: int) -> None:
    """Add with files limited to `limit` bytes, as if the disk were full from there on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with EditMemory.open(folder, encoder="letters") as memory:
        for number in range(first, first + 10_000):
            say(start=["add", [statement(number)]])
            try:
                memory.add(statement(number))
            except JournalError as error:
                say(full=str(error))
                say(read=len(memory.list()))  # reading goes on
                return
            say(done=["add"])


WORK = {work.__name__: work for work in (any_operations, many_adds, adds_until_full)}


def serve() -> None:
    make_small()
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            say_ended = os.waitpid(command["wait"], 0)
            os.write(1, (json.dumps({"pid": say_ended[0], "ended": say_ended[1]}) + "\n").encode())
            continue
        name, *arguments = command["work"]
        pid = os.fork()
        if pid == 0:
            try:
                WORK[name](*arguments)
            except BaseException:
                say(failed=traceback.format_exc())
            finally:
                os._exit(0)
        os.write(1, (json.dumps({"pid": pid}) + "\n").encode())


# --- in the parent


@dataclass
class Said:
    """What a child said: operations acknowledged, and the one that it had begun when it ended, if any."""

    done: list[list[Any]] = field(default_factory=list)
    begun: list[Any] | None = None
    other: list[dict[str, Any]] = field(default_factory=list)

    def hear(self, line: dict[str, Any]) -> None:
        if "failed" in line:
            raise AssertionError(f"a writer failed:\n{line['failed']}")
        if "start" in line:
            self.begun = line["start"]
        elif "done" in line:
            self.done.append(self.begun or line["done"])
            self.begun = None
        else:
            self.other.append(line)


class Writers:
    """The fork server, seen from outside."""

    def __init__(self) -> None:
        environment = os.environ | dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
        )  # threads do not fork
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.said: dict[int, Said] = {}
        self.lasted = dict.fromkeys(KINDS, 0.03)
        """Seconds that the last operation of each kind took, so that kills fall on all of its length."""

    def start(self, name: str, *arguments: object) -> int:
        self._tell(work=[name, *arguments])
        while True:
            line = self._heard()
            if line.keys() == {"pid"}:
                self.said[line["pid"]] = Said()
                return int(line["pid"])

    def until(self, pid: int, kind: str) -> None:
        """Until the child begins an operation of this kind, or has done all."""
        said = self.said[pid]
        while (said.begun is None or said.begun[0] != kind) and not said.other:
            self._heard()

    def ended(self, pid: int) -> Said:
        """All that a child said before it ended, which is waited for."""
        self._tell(wait=pid)
        while "ended" not in self._heard():
            pass
        return self.said.pop(pid)

    def close(self) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def _tell(self, **command: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(command) + "\n")
        self.server.stdin.flush()

    def _heard(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        text = self.server.stdout.readline()
        assert text, "the fork server ended"
        line: dict[str, Any] = json.loads(text)
        if line["pid"] in self.said and line.keys() != {"pid"} and "ended" not in line:
            self.said[line["pid"]].hear(line)
            if "seconds" in line:
                self.lasted[line["done"][0]] = line["seconds"]
        return line


@contextmanager
def writers() -> Iterator[Writers]:
    made = Writers()
    try:
        yield made
    finally:
        made.close()


@dataclass
class Expected:
    """What the memory must hold: `current` statements, and those `purged`, which no file may show again."""

    current: set[str] = field(default_factory=set)
    purged: set[str] = field(default_factory=set)

    def after(self, operation: list[Any], part: int | None = None) -> Expected:
        """The same after an operation, or after `part` of its facts where it writes many."""
        kind, *what = operation
        gone: set[str] = set()
        come: set[str] = set()
        if kind in ("add", "bulk", "import"):
            come = set(what[0][:part])
        elif kind == "replace":
            gone, come = {what[0]}, {what[1]}
        elif kind in ("remove", "undo", "purge"):
            gone = {what[0]}
        return Expected(self.current - gone | come, self.purged | (gone if kind == "purge" else set()))

    def possible(self, begun: list[Any] | None) -> list[Expected]:
        """What may be there where an operation had begun: nothing of it, or all; of a bulk, a number of batches."""
        if begun is None:
            return [self]
        parts = range(0, len(begun[1]) + 1, BATCH) if begun[0] == "bulk" else [None]
        return [self, *(self.after(begun, part) for part in parts)]


def check(folder: Path, possible: list[Expected]) -> Expected:
    """Open the memory as anybody would and see that it is one of those, whole, and searchable; -> which one."""
    with EditMemory.open(folder, encoder="letters") as memory:
        edits = memory.list()
        current = {edit.statement for edit in edits}
        assert len(current) == len(edits), "doubled"
        fits = [one for one in possible if one.current == current]
        if not fits:
            known = possible[0].current
            raise AssertionError(f"lost: {sorted(known - current)}, strange: {sorted(current - known)}")
        for edit in edits:
            number = edit.statement.rsplit(" ", 1)[1]
            assert edit.subject == f"Land {number}", edit
            assert edit.target is not None
            assert edit.statement.endswith(edit.target), edit
        texts = sorted(current)
        found = memory.search_many(texts, k=1)
        assert [hits[0].edit.statement for hits in found] == texts
        if texts:
            everything = memory.search("the capital", k=len(texts) + 10)
            assert sorted(hit.edit.statement for hit in everything) == texts
        # A purge that was killed may have been committed: then nothing of it may be left.
        shown = {edit.statement for edit in memory.list(state="all")}
        for one in fits:
            if not one.purged & shown:
                fit = one
                break
        else:
            raise AssertionError("a purged fact is shown again")
        assert [finding for finding in memory.doctor() if finding.level == "error"] == []
    assert_erased(folder, fit.purged)
    return fit


def assert_erased(folder: Path, purged: set[str]) -> None:
    if purged:
        content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
        left = [text for text in purged if text.encode() in content]
        assert not left, f"purged, but in a file: {left}"


def kill_and_check(folder: Path, writers: Writers, kills: int, seed: int) -> int:
    """Kill that many writers in turn on one memory, each at a random moment of an operation; -> edits acknowledged."""
    random, expected, acknowledged = Random(seed), Expected(), 0
    for turn in range(kills):
        kind = KINDS[turn % len(KINDS)]
        # The first kills find a small memory; later ones begin with inverted lists and files.
        pid = writers.start("any_operations", str(folder), random.getrandbits(32), turn * 100_000, kind)
        if random.random() < 0.9:
            writers.until(pid, kind)
        time.sleep(1.2 * writers.lasted[kind] * random.random())
        os.kill(pid, signal.SIGKILL)
        said = writers.ended(pid)
        for operation in said.done:
            expected = expected.after(operation)
        acknowledged += len(said.done)
        try:
            expected = check(folder, expected.possible(said.begun))
        except BaseException as error:
            error.add_note(f"seed {seed}, kill {turn}, in {said.begun}, after {said.done[-3:]}")
            raise
        if said.begun is not None and said.begun[0] == "import":
            with EditMemory.open(folder, encoder="letters") as memory:  # an interrupted import goes on
                memory.import_file(said.begun[2])
            expected = expected.after(said.begun)
            expected = check(folder, [expected])
    return acknowledged


if __name__ == "__main__":
    serve()
