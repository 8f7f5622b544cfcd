"""Files into the memory and out of it: forms, faults, strictness, interruptions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memedit import exchange
from memedit.datasets import datasets, reader
from memedit.errors import InputError, JournalError, NotFoundError
from memedit.memory import EditMemory

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as made:
        yield made


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def fact(statement: str, **more: object) -> dict[str, object]:
    return {"statement": statement, **more}


def statements(memory: EditMemory, **which: Any) -> list[str]:
    return [edit.statement for edit in memory.list(**which)]


# Records of our own in the form of each dataset, with the statement that each asks for.
RECORDS: dict[str, list[tuple[dict[str, Any], list[str]]]] = {
    "counterfact": [
        (
            {
                "case_id": 1,
                "prompt": "The CEO of Acme is",
                "target_new": "Bo Chen",
                "subject": "Acme",
                "ground_truth": "Dana Li",
                "rephrase_prompt": "Acme is run by",
                "locality_prompt": "The CEO of Bolt is",
                "locality_ground_truth": "Eve Zorb",
            },
            ["The CEO of Acme is Bo Chen"],
        ),
        (
            {
                "case_id": 1,
                "requested_rewrite": {
                    "prompt": "The CEO of {} is",
                    "relation_id": "P169",
                    "target_new": {"str": "Bo Chen", "id": "Q1"},
                    "target_true": {"str": "Dana Li", "id": "Q2"},
                    "subject": "Acme",
                },
                "paraphrase_prompts": [],
            },
            ["The CEO of Acme is Bo Chen"],
        ),
    ],
    "zsre": [
        (
            {
                "subject": "Acme",
                "src": "Who runs Acme?",
                "pred": "Dana Li",
                "rephrase": "Acme is run by whom?",
                "alt": "Bo Chen",
                "loc": "nq question: what are bolts made of",
            },
            ["Who runs Acme? Bo Chen"],
        )
    ],
    "knowedit": [
        (
            {
                "subject": "Acme",
                "prompt": "The CEO of Acme is",
                "target_new": "Bo Chen",
                "portability": {},
                "locality": {"Relation_Specificity": []},
            },
            ["The CEO of Acme is Bo Chen"],
        ),
        (
            {"subject": "Acme", "prompt": "Who runs Acme?", "target_new": "Bo Chen", "locality": {}},
            ["Who runs Acme? Bo Chen"],
        ),
    ],
    "mquake": [
        (
            {
                "case_id": 1,
                "requested_rewrite": [
                    {
                        "prompt": "The CEO of {} is",
                        "subject": subject,
                        "target_new": {"str": "Bo Chen", "id": "Q1"},
                        "question": f"Who runs {subject}?",
                    }
                    for subject in ("Acme", "Bolt")
                ],
                "questions": ["Where was the head of Acme born?"],
            },
            ["The CEO of Acme is Bo Chen", "The CEO of Bolt is Bo Chen"],
        ),
        (
            {
                "triple": ["Acme", "CEO", "Bo Chen"],
                "question": "Who runs Acme?",
                "cloze": "The CEO of Acme is",
                "answer": "Bo Chen",
            },
            ["The CEO of Acme is Bo Chen"],
        ),
    ],
    "ripple_edits": [
        (
            {
                "example_type": "recent",
                "edit": {
                    "prompt": "The name of the spouse of Acme is Bo Chen.",
                    "subject_id": "Q1",
                    "relation": "SPOUSE",
                    "target_id": "Q2",
                },
                "Relation_Specificity": [],
            },
            ["The name of the spouse of Acme is Bo Chen"],
        )
    ],
    "halluedit_bench": [
        (
            {
                "topic": "business_brand",
                "subject": "Acme",
                "relation": "CEO",
                "object": "Bo Chen",
                "question": "Who is the CEO of Acme?",
                "paraphrased_question": "Who runs Acme?",
                "locality_question": "Where is Acme?",
            },
            ["Who is the CEO of Acme? Bo Chen"],
        )
    ],
    "known_facts": [
        (
            {
                "known_id": 0,
                "subject": "Acme",
                "attribute": "Bo Chen",
                "template": "{} is run by",
                "prompt": "Acme is run by",
            },
            ["Acme is run by Bo Chen"],
        )
    ],
    "own": [
        (
            {"prompt": "The CEO of Acme is", "subject": "Acme", "target": "Bo Chen", "one_hop": "Where is Acme's CEO?"},
            ["The CEO of Acme is Bo Chen"],
        )
    ],
}
NO_FACTS = ["piqa"]
"""Datasets that hold none."""


def test_every_dataset_is_tried_here() -> None:
    assert sorted([*RECORDS, *NO_FACTS]) == datasets.names()


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_dataset_is_told_and_read(memory: EditMemory, tmp_path: Path, name: str) -> None:
    for number, (row, wanted) in enumerate(RECORDS[name]):
        assert [other for other in datasets.names() if reader(other).matches(row)] == [name]
        drafts = reader(name).drafts(row)
        assert [draft.statement for draft in drafts] == wanted
        assert all(draft.subject and draft.target == "Bo Chen" for draft in drafts)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps([row, {"subject": "no such"}, "text"]))
        report = memory.import_file(path, namespace=f"{name} {number}")
        assert report.added == len(wanted)
        assert [line for line, _ in report.faults] == [2, 3]
        as_lines = lines(tmp_path / f"{name}.jsonl", row)
        assert memory.import_file(as_lines, namespace="lines").faults == []
    edit = memory.list(namespace="lines", subject="Acme")[-1]
    assert edit.source == f"{name}.jsonl"


def test_faulty_lines_are_named_and_the_rest_goes_in(memory: EditMemory, tmp_path: Path) -> None:
    path = lines(
        tmp_path / "facts.jsonl",
        fact("one", aliases=["uno"], author="ann"),
        "",
        "{not json",
        ["a list"],
        fact("  "),
        fact("two", colour="red"),
        fact("x" * 20_000),
        fact("three", kind="patch"),
        fact("four", valid_from="soon"),
        fact("five", aliases="uno"),
        fact("six", subject=6),
        fact("艾克米 {seven}", valid_from="2020-01-01T00:00:00+00:00"),
    )
    with path.open("ab") as file:
        file.write(b'{"statement": "\xff\xfe"}\n')
    report = memory.import_file(path, author="bob")
    assert report.added == 2
    assert [number for number, _ in report.faults] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    reasons = [reason for _, reason in report.faults]
    for part, reason in zip(
        ("not JSON", "JSON object", "empty", "colour", "10,000", "condition", "soon", "list of names", "text", "UTF-8"),
        reasons,
        strict=True,
    ):
        assert part in reason
    assert [(edit.author, edit.source) for edit in memory.list()] == [("bob", "facts.jsonl"), ("ann", "facts.jsonl")]


def test_what_no_edit_can_be_is_a_fault_of_its_line(memory: EditMemory, tmp_path: Path) -> None:
    rows = [
        fact("The capital of Ruritania is Strelsau"),
        fact("hello there", kind="patch"),
        fact("gone", kind="forget"),
        fact("(unclosed", kind="regex"),
        fact("if the user asks for tea, then decline", kind="patch"),
    ]
    path = lines(tmp_path / "facts.jsonl", *rows)
    assert [line for line, _ in memory.import_file(path, strict=True).faults] == [2, 3, 4]
    report = memory.import_file(path)
    assert [line for line, _ in report.faults] == [2, 3, 4]
    assert (report.added, memory.import_file(path).added) == (2, 0)


def test_a_time_without_a_zone_is_local(memory: EditMemory, tmp_path: Path) -> None:
    path = lines(tmp_path / "facts.jsonl", fact("It opens", valid_from="2026-01-02"))
    assert memory.import_file(path).faults == []
    [edit] = memory.list()
    assert edit.valid_from == datetime(2026, 1, 2).astimezone()


def test_strict_is_all_or_nothing(memory: EditMemory, tmp_path: Path) -> None:
    path = lines(tmp_path / "facts.jsonl", fact("one"), fact(""))
    report = memory.import_file(path, strict=True)
    assert (report.added, [number for number, _ in report.faults]) == (0, [2])
    assert memory.journal.head() == 0
    assert memory.import_file(lines(path, fact("one")), strict=True).added == 1


def test_files_that_are_none(memory: EditMemory, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        memory.import_file(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="is a folder"):
        memory.import_file(tmp_path)
    odd = tmp_path / "facts.xml"
    odd.write_text("<facts/>")
    with pytest.raises(InputError, match="--format"):
        memory.import_file(odd)
    with pytest.raises(InputError, match="no format 'xml'"):
        memory.import_file(odd, format="xml")
    broken = tmp_path / "facts.json"
    broken.write_text("[1, 2")
    with pytest.raises(InputError, match="not JSON"):
        memory.import_file(broken)
    broken.write_text('[{"cats": 1}]')
    with pytest.raises(InputError, match="none of the known forms"):
        memory.import_file(broken)
    broken.write_text('[{"statement": "one"}]')
    assert memory.import_file(broken).added == 1
    table = tmp_path / "facts.csv"
    table.write_text("fact,subject\na,b\n")
    with pytest.raises(InputError, match="'fact'"):
        memory.import_file(table)


def test_csv(memory: EditMemory, tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes(
        b'\xef\xbb\xbfstatement,aliases,valid_to\r\n"one, and ""two""",uno|ein,\r\n\r\n'
        b'three,"[""a|b""]",2031-01-01T00:00:00Z\r\nfour,x\r\n\xff,,\r\n'
    )
    report = memory.import_file(path)
    assert report.added == 2
    assert [number for number, _ in report.faults] == [5, 6]
    newest, oldest = memory.list()
    assert (oldest.statement, oldest.aliases) == ('one, and "two"', ("uno", "ein"))
    assert (newest.aliases, newest.valid_to) == (("a|b",), datetime(2031, 1, 1, tzinfo=UTC))


CHAIN = [fact(f"The CEO of Acme is {who}") for who in ("Ann Lo", "Bo Chen", "Ann Lo", "Eve Zorb")]


@pytest.mark.parametrize("stop", range(5))
def test_an_interrupted_import_goes_on(
    memory: EditMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    path = lines(tmp_path / "facts.jsonl", *CHAIN)
    monkeypatch.setattr(exchange, "BATCH", 1)
    add, done = memory.journal.add, 0

    def failing(*given: Any, **more: Any) -> Any:
        nonlocal done
        if done == stop:
            raise KeyboardInterrupt
        done += 1
        return add(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(memory.journal, "add", failing)
        if stop < 4:
            with pytest.raises(KeyboardInterrupt):
                memory.import_file(path)
        else:
            memory.import_file(path)
    report = memory.import_file(path)
    assert (report.added, report.skipped) == (4 - stop, stop)
    assert statements(memory, state="all") == [str(row["statement"]) for row in CHAIN][::-1]
    assert statements(memory) == ["The CEO of Acme is Eve Zorb"]
    assert memory.import_file(path).added == 0


def test_running_it_again_brings_nothing_back(memory: EditMemory, tmp_path: Path) -> None:
    path = lines(tmp_path / "facts.jsonl", *(fact(f"fact {number}") for number in range(5)), *CHAIN)
    memory.import_file(path)
    memory.undo(id=memory.list(text="fact 1")[0].id)
    memory.remove(memory.list(text="fact 2")[0].id)
    memory.purge(id=memory.list(text="fact 3")[0].id)
    head = memory.journal.head()
    report = memory.import_file(path)
    assert (report.added, report.skipped, memory.journal.head()) == (0, 9, head)
    assert memory.import_file(lines(path, *CHAIN, fact("fact 9"))).added == 1


def test_a_file_may_say_again_what_others_have_superseded(memory: EditMemory, tmp_path: Path) -> None:
    monday = lines(tmp_path / "monday.jsonl", fact("The CEO of Acme is Ann Lo"))
    tuesday = lines(tmp_path / "tuesday.jsonl", fact("The CEO of Acme is Bo Chen"))
    for path in (monday, tuesday, monday):
        assert memory.import_file(path).added == 1
    assert statements(memory) == ["The CEO of Acme is Ann Lo"]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_export_and_import_round_trip(memory: EditMemory, tmp_path: Path, form: Any) -> None:
    memory.add(
        'The CEO of "Acme", {or} so, is Dana Li',
        subject="Acme",
        relation="boss",
        target="Dana Li",
        prompt="p",
        question="q?",
        aliases=["A|B", "艾克米"],
        author="ann",
        source="news",
        reason="told",
        valid_from=START,
        valid_to=START + timedelta(days=1),
        kind="rule",
    )
    memory.add("The CEO of Bolt is Ann Lo")
    gone = memory.add("The CEO of Bolt is Bo Chen").edit
    memory.add("The CEO of Bolt is Eve Zorb")
    path = tmp_path / f"out.{form}"
    everything = memory.export_file(path, format=form, state="all")
    assert everything == 4
    count = memory.export_file(path, format=form)
    assert count == memory.count() == 1  # the first is not yet valid
    memory.export_file(path, format=form, state="all")
    report = memory.import_file(path, namespace="copy")
    assert (report.added, report.skipped, report.faults) == (2, 2, [])
    fields = ("statement", "subject", "relation", "target", "prompt", "question", "aliases", "author", "source")
    for name in (*fields, "reason", "valid_from", "valid_to", "kind", "state"):
        for left, right in zip(
            memory.list(state="not_yet"), memory.list(state="not_yet", namespace="copy"), strict=True
        ):
            assert getattr(left, name) == getattr(right, name)
    assert gone.statement not in statements(memory, namespace="copy", state="all")


FORMULAS = [
    "=1+1",
    "+1",
    "-1 degree",
    "@SUM(A1)",
    "'=1+1",
    "''-2",
    "'quoted' it is",
    "'",
    "＝1+1",
    "a = b",
    "'t is so",
    "=|x",
]


def test_no_cell_of_a_table_is_a_formula_and_all_come_back(memory: EditMemory, tmp_path: Path) -> None:
    for text in FORMULAS:
        memory.add(f"{text} .", author=text, source=text, reason=text, aliases=[text, "b"], subject=text)
    path = tmp_path / "out.csv"
    memory.export_file(path, format="csv")
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))]
    assert memory.import_file(path, namespace="copy").added == len(FORMULAS)
    for left, right in zip(memory.list(), memory.list(namespace="copy"), strict=True):
        for name in ("statement", "subject", "aliases", "author", "source", "reason"):
            assert getattr(left, name) == getattr(right, name)


def test_a_table_of_others_is_read_as_it_is(memory: EditMemory, tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("statement\n'-5' is what he wrote\n=1 is odd\n")
    assert memory.import_file(path).added == 2
    assert statements(memory) == ["=1 is odd", "'-5' is what he wrote"]


def test_export_to_a_stream_and_to_a_bad_place(memory: EditMemory, tmp_path: Path) -> None:
    memory.add("The CEO of Acme is Dana Li")
    stream = io.StringIO()
    assert memory.export_file(stream) == 1
    assert json.loads(stream.getvalue())["statement"] == "The CEO of Acme is Dana Li"
    stream = io.StringIO()
    memory.export_file(stream, format="csv", namespace="empty")
    assert next(csv.reader(io.StringIO(stream.getvalue())))[0] == "statement"
    with pytest.raises(JournalError, match="cannot be written"):
        memory.export_file(tmp_path / "none" / "out.jsonl")
    with pytest.raises(InputError, match="no export format"):
        memory.export_file(stream, format="xml")  # type: ignore[arg-type]


def test_progress_is_told(memory: EditMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BATCH", 2)
    path = lines(tmp_path / "facts.jsonl", *CHAIN, fact(""))
    told: list[tuple[int, int | None]] = []
    memory.import_file(path, progress=lambda *counts: told.append(counts))
    assert told == [(2, 5), (4, 5), (5, 5)]
