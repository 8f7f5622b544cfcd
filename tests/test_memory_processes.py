"""Several processes at one memory, and processes that are killed while they write."""

from __future__ import annotations

import json
import multiprocessing
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from memedit.memory import EditMemory


def write_many(folder: str, name: str, count: int) -> None:
    with EditMemory.open(folder) as memory:
        for number in range(count):
            memory.add(f"{name} says {number}", author=name)
        memory.undo(author=name, last=1)


@pytest.mark.parametrize("processes", [2, 8])
def test_processes_that_write_at_once(tmp_path: Path, processes: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    # The folder is not there yet: making it is part of the race.
    names = [f"writer{number}" for number in range(processes)]
    writers = [spawn.Process(target=write_many, args=(str(tmp_path / "facts"), name, 10)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with EditMemory.open(tmp_path / "facts") as memory:
        edits = memory.list(state="all")
        records = memory.log()
        assert sorted(edit.statement for edit in edits) == sorted(f"{n} says {i}" for n in names for i in range(10))
        assert [record.seq for record in records] == list(range(11 * processes, 0, -1))
        assert len({record.id for record in records}) == len(records)
        assert sorted(edit.statement for edit in memory.list(state="undone")) == sorted(f"{n} says 9" for n in names)
        assert memory.doctor() == []


# Prints a line for what has been acknowledged. Every batch of facts is of one size, so that half of one would show.
WRITER = """
    import itertools, json, random, sys
    from memedit.edits import Draft
    from memedit.memory import EditMemory

    def told(op, *ids):
        print(json.dumps([op, *ids]), flush=True)

    chance = random.Random(int(sys.argv[2]))
    with EditMemory.open(sys.argv[1]) as memory:
        told("ready")
        for number in itertools.count():
            kind = chance.choice(["add", "add", "many", "replace", "remove", "undo"])
            if kind == "add":
                told("add", memory.add(f"The CEO of Company {number % 7} is Person {number}").id)
            elif kind == "many":
                told("add", *memory.add_many([Draft(statement=f"batch {number}, fact {n}") for n in range(25)]))
            elif kind == "undo":
                if memory.journal.head():
                    try:
                        told("undo", *[record.id for record in memory.undo(last=2)])
                    except ValueError:
                        pass
            else:
                edit = next(iter(memory.list(limit=1)), None)
                if edit and kind == "replace":
                    told("replace", memory.replace(edit.id, f"{edit.statement}, or {number}").id, edit.id)
                elif edit:
                    told("remove", memory.remove(edit.id).id, edit.id)
"""


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Ten writers at ten memories, each killed after a while; what they said is written is, and nothing by halves."""
    chance = random.Random(7)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / str(number)), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(10)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert json.loads(writer.stdout.readline()) == ["ready"]
    for writer in chance.sample(writers, len(writers)):
        time.sleep(chance.random() * 0.2)
        writer.kill()
    for number, writer in enumerate(writers):
        said, _ = writer.communicate()
        assert writer.returncode == -9
        acknowledged = [json.loads(line) for line in said.splitlines() if line.endswith("]")]
        with EditMemory.open(tmp_path / str(number)) as memory:
            records = {record.id: record for record in memory.log()}
            for op, *ids in acknowledged:
                if op == "add":
                    assert set(ids) <= records.keys()
                elif op == "undo":
                    assert all(records[one].undone for one in ids) or any(r.op == "undo" for r in records.values())
                else:
                    assert records[ids[0]].op == op
                    assert records[ids[0]].targets == (ids[1],)
            assert sorted(record.seq for record in records.values()) == list(range(1, len(records) + 1))
            batches: dict[str, int] = {}
            for record in records.values():
                if record.op == "add" and (record.statement or "").startswith("batch"):
                    name = (record.statement or "").partition(",")[0]
                    batches[name] = batches.get(name, 0) + 1
            assert set(batches.values()) <= {25}
            assert [finding for finding in memory.doctor() if finding.level != "note"] == []
            memory.add("and it goes on")
