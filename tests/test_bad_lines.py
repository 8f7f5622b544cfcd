"""A bad line of a file is a fault that is counted, whatever it holds; the good lines around it are written."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_import import RECORDS, fact

from memedit.cli import cli
from memedit.datasets import Part, _rows, dataset_of, entries
from memedit.memory import EditMemory
from memedit.patches import substitution_draft

DEEP = "[" * 100_000 + "]" * 100_000
FAIRLY_DEEP = "[" * 800 + "]" * 800
LONG_NUMBER = "1" * 5000
ACCENTS = json.dumps({"side": "output", "pattern": "é" * 3000, "replace": ""}, ensure_ascii=False)
PATTERN = json.dumps({"side": "output", "pattern": "(" * 2000 + "a" + ")" * 2000, "replace": ""})

BAD: dict[str, bytes] = {
    "lists without end": DEEP.encode(),
    "objects without end": b'{"a":' * 50_000,
    "many lists as the statement": f'{{"statement": {FAIRLY_DEEP}}}'.encode(),
    "lists without end as aliases": f'{{"statement": "a b", "aliases": {DEEP}}}'.encode(),
    "a number of 5000 digits": f'{{"statement": "a b", "subject": {LONG_NUMBER}}}'.encode(),
    "a number alone": LONG_NUMBER.encode(),
    "no number": b'{"statement": NaN}',
    "infinity as a time": b'{"statement": "a b", "valid_from": Infinity}',
    "half a character, nothing else": b'{"statement": "\\ud800"}',
    "half a character as a name": b'{"\\udfff": 1, "statement": "a b"}',
    "nothing but control characters": b'{"statement": "\\u0000\\u0007"}',
    "a byte of zero": b'{"statement": "a\x00b"}',
    "zero bytes": b"\x00" * 100,
    "no UTF-8": b'{"statement": "a \xff b"}',
    "the beginning of a character": '{"statement": "日本'.encode()[:-1],
    "UTF-16": '{"statement": "a b"}'.encode("utf-16"),
    "a long statement": json.dumps(fact("x" * 1_000_000)).encode(),
    "a long name": json.dumps(fact("a b", subject="x" * 2000)).encode(),
    "a long name of a field": json.dumps({"statement": "a b", "x" * 1_000_000: 1}).encode(),
    "many aliases": json.dumps(fact("a b", aliases=[str(n) for n in range(1000)])).encode(),
    "twice": b'{"statement": "a b", "statement": "c d"}',
    "twice, further in": b'{"statement": "a b", "aliases": [{"a": 1, "a": 2}]}',
    "a time before all": json.dumps(fact("a b", valid_from="0001-01-01T00:00:00+14:00")).encode(),
    "a time behind all": json.dumps(fact("a b", valid_to="9999-12-31T23:59:59-12:00")).encode(),
    "a year that is none": json.dumps(fact("a b", valid_from="0000-01-01")).encode(),
    "a time of a million characters": json.dumps(fact("a b", valid_from="2" * 1_000_000)).encode(),
    "times that cross": json.dumps(fact("a b", valid_from="2030-01-01", valid_to="2029-01-01")).encode(),
    "a pattern without end": json.dumps(fact("regex", kind="regex", prompt=PATTERN)).encode(),
    "a pattern in lists without end": json.dumps(fact("regex", kind="regex", prompt="[" * 5000)).encode(),
    "a pattern that is longer when kept": json.dumps(fact("regex", kind="regex", prompt=ACCENTS)).encode(),
    "a kind of numbers": b'{"statement": "a b", "kind": 7}',
    "an alias that is none": b'{"statement": "a b", "aliases": [null]}',
    "an alias of lists": b'{"statement": "a b", "aliases": {"a": ["b"]}}',
    **{
        f"{name} is {value}": json.dumps({"statement": "a b", name: value}).encode()
        for name in ("statement", "subject", "relation", "author", "reason", "valid_to", "kind", "prompt")
        for value in (True, 1.5, ["a"], {"a": "b"})
    },
    "a state that is none": b'{"statement": 1, "state": ["current"]}',
    "nothing": b"null",
    "a text": b'"a b"',
    "half of it": b'{"statement": "a',
    "two on one line": b'{"statement": "a b"}{"statement": "c d"}',
}  # fmt: skip


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as made:
        yield made


def good(number: int) -> dict[str, object]:
    return fact(f"The CEO of Company {number} is Person {number}")


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_a_fault_and_its_neighbours_go_in(memory: EditMemory, tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "facts.jsonl"
    for order in ([0, None, 1], [None, 2, 3]):  # also as the first line, by which the form is told
        lines = [bad if number is None else json.dumps(good(number)).encode() for number in order]
        lines = [one.replace(b"\n", b" ") for one in lines]
        path.write_bytes(b"\n".join(lines) + b"\n")
        assert [number for number, _ in memory.import_file(path, strict=True).faults] == [order.index(None) + 1]
        report = memory.import_file(path)
        assert report.added == 2
        [(number, reason)] = report.faults
        assert number == order.index(None) + 1
        assert 0 < len(reason) < 1200
    assert {edit.statement for edit in memory.list()} == {str(good(number)["statement"]) for number in range(4)}


@pytest.mark.parametrize("seed", range(4))
def test_any_mixture_of_good_and_bad_lines(memory: EditMemory, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kinds = list(BAD.values())
    lines, wrong = [], []
    for number in range(1, 200):
        if chance.random() < 0.3:
            wrong.append(number)
            lines.append(chance.choice(kinds).replace(b"\n", b" "))
        elif chance.random() < 0.1:  # letters anywhere in a good line: it may stay good
            lines.append(b" ")
        else:
            lines.append(json.dumps(good(number)).encode())
    path = tmp_path / "facts.jsonl"
    path.write_bytes(b"\r\n".join(lines))
    report = memory.import_file(path)
    assert [number for number, _ in report.faults] == wrong
    assert report.added == sum(line.startswith(b'{"statement": "The CEO of Company') for line in lines)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_changed_anywhere_stop_nothing(memory: EditMemory, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    whole = [json.dumps(good(number) | {"aliases": ["a"], "valid_from": "2020-01-01"}).encode() for number in range(60)]
    changed = [bytearray(line) for line in whole]
    for line in chance.sample(changed, 30):
        for _ in range(chance.randrange(1, 5)):
            line[chance.randrange(len(line))] = chance.choice([0, 9, 34, 44, 48, 91, 92, 123, 125, 128, 195, 237, 255])
    path = tmp_path / "facts.jsonl"
    path.write_bytes(b"\n".join(changed))
    report = memory.import_file(path)
    untouched = {str(good(n)["statement"]) for n, line in enumerate(changed) if line == whole[n]}
    assert untouched <= {edit.statement for edit in memory.list(state="all")}
    assert {number for number, _ in report.faults} <= {n + 1 for n, line in enumerate(changed) if line != whole[n]}
    assert report.added + len(report.faults) >= 60 - report.skipped


def test_a_list_with_a_record_that_cannot_be_read(memory: EditMemory, tmp_path: Path) -> None:
    texts = [
        json.dumps(good(0)),
        DEEP,
        '{"statement": "a, \\"b]\\" c"}',
        f'{{"a": {LONG_NUMBER}}}',
        " [] ",
        json.dumps(good(1)),
    ]
    path = tmp_path / "facts.json"
    path.write_text(f" [{', '.join(texts)}] ")
    report = memory.import_file(path)
    assert (report.added, [number for number, _ in report.faults]) == (3, [2, 4, 5])
    path.write_text(DEEP)
    assert [number for number, _ in memory.import_file(path, format="jsonl").faults] == [1]
    path.write_text('{"statement": ' + LONG_NUMBER + "}")
    assert [number for number, _ in memory.import_file(path, format="jsonl").faults] == [1]


def test_a_line_beyond_all_length_is_passed_over(
    memory: EditMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rows, "LONGEST_LINE", 1000)
    path = tmp_path / "facts.jsonl"
    texts = [json.dumps(good(0)), json.dumps(fact("x" * 5000)), json.dumps(good(1)), json.dumps(fact("y" * 5000))]
    path.write_text("\n".join(texts))
    report = memory.import_file(path)
    assert (report.added, [number for number, _ in report.faults]) == (2, [2, 4])
    path.write_text("x" * 1000 + "\n" + texts[2] + "\n" + " " * 999 + "\n" + json.dumps(good(3)))
    report = memory.import_file(path)
    assert (report.added, report.skipped, [number for number, _ in report.faults]) == (1, 1, [1])


def test_bad_rows_of_a_table(memory: EditMemory, tmp_path: Path) -> None:
    rows: list[tuple[str, str, str]] = [
        ("The CEO of Company 0 is Person 0", "A|B", ""),
        ("x" * 200_000, "", ""),  # more than a cell of a table may hold
        ("one", "[" * 50_000, ""),
        ("two", "a", "0001-01-01T00:00:00+14:00"),
        ("  ", "a", ""),
        ("three\x00", "a", "x" * 5000),
        ("The CEO of Company 1 is Person 1", "", "2020-01-01"),
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("statement", "aliases", "valid_from"))
    writer.writerows(rows)
    path = tmp_path / "facts.csv"
    path.write_bytes(text.getvalue().encode() + b"\xff,,\nlast,,,\n")
    report = memory.import_file(path)
    assert [number for number, _ in report.faults] == [3, 4, 5, 6, 7, 9, 10]
    assert report.added == 2
    path.write_text("x" * 200_000 + ",statement\na,b\n")
    done = CliRunner().invoke(cli, ["--memory", str(tmp_path / "facts"), "import", str(path)])
    assert done.exit_code == 2
    assert "names its columns" in done.stderr


WEIRD: tuple[Any, ...] = (
    *(None, 0, -1, 10**400, 1.5, float("nan"), True, "", " ", "\ud800", "\x00", "a" * 20_000, [], {}, [[]], {"a": {}}),
    *({"str": None}, [None], ["x"], {"prompt": 1}, {"prompt": ["a"]}, "{}", [1, 2, 3], json.loads(FAIRLY_DEEP)),
)


def mutated(value: Any, chance: random.Random) -> Any:
    if chance.random() < 0.15:
        return chance.choice(WEIRD)
    if isinstance(value, dict):
        return {name: mutated(one, chance) for name, one in value.items() if chance.random() > 0.05}
    if isinstance(value, list):
        return [mutated(one, chance) for one in value if chance.random() > 0.05]
    return value


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_bad_records_of_every_dataset(memory: EditMemory, tmp_path: Path, name: str, suffix: str) -> None:
    chance = random.Random(f"{name} {suffix}")
    sound = RECORDS[name][0][0]
    rows = [sound]
    for _ in range(150):
        rows += [mutated(copy.deepcopy(chance.choice(RECORDS[name])[0]), chance), sound]
    for row in rows:
        dataset_of(row)
    path = tmp_path / f"x.{suffix}"
    path.write_text(json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)))
    for strict in (True, False):
        faults = memory.import_file(path, format=name, strict=strict).faults
        assert not any(number % 2 for number, _ in faults)  # the sound ones
        assert all(0 < len(reason) < 1200 for _, reason in faults)
    read = list(entries([Part(name, "x", (path,))]))
    assert len(read) == len(rows)
    assert len({entry.fault for entry in read if entry.number % 2}) == 1


def test_an_author_that_cannot_be_written_is_refused_before_anything_is(memory: EditMemory, tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps(good(0)))
    with pytest.raises(ValueError, match="author has 2,000 characters"):
        memory.import_file(path, author="a" * 2000)
    assert memory.journal.head() == 0


def test_the_first_and_the_last_moment_can_be_written_and_read(tmp_path: Path) -> None:
    run = CliRunner()
    path = tmp_path / "facts.jsonl"
    path.write_text(
        json.dumps(fact("It is", valid_from="0001-01-01T00:00:00+00:00", valid_to="9999-12-31T23:59:59+00:00"))
    )
    where = ["--memory", str(tmp_path / "facts")]
    assert run.invoke(cli, [*where, "import", str(path)]).exit_code == 0
    for zone in ("UTC", "XXX+11", "XXX-11"):
        listed = run.invoke(cli, [*where, "list"], env={"TZ": zone})
        assert listed.exit_code == 0, listed.output
        assert "It is" in listed.stdout
    assert run.invoke(cli, [*where, "list", "--as-of", "9" * 5000]).exit_code == 2


def test_a_pattern_that_is_written_is_one_that_can_be_imported(memory: EditMemory, tmp_path: Path) -> None:
    memory.add_many([substitution_draft("é" * 800, "è" * 800, "output")])
    memory.export_file(tmp_path / "facts.jsonl")
    with EditMemory.open(tmp_path / "two", encoder="letters") as other:
        assert other.import_file(tmp_path / "facts.jsonl").added == 1
