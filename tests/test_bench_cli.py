"""The benches as commands, on small made-up data in the datasets' form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from memedit.bench import startup
from memedit.bench._fillers import Fillers
from memedit.bench._probes import Probe, probe
from memedit.bench._records import load
from memedit.cli import cli
from memedit.encoders.letters import Letters
from memedit.errors import InputError, MemEditError, NotFoundError

PLACES = ["Alba", "Borduria", "Carpania", "Drusselstein", "Elbonia", "Florin", "Genovia", "Hidalgo"]
Run = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight edits of capitals; the last two subjects are one, and the third's neighbour names another's subject."""
    rows = [
        {
            "case_id": number,
            "prompt": f"The capital of {place} is",
            "subject": place,
            "target_new": f"New {place} City",
            "ground_truth": f"Old {place} City",
            "rephrase_prompt": f"It rained all day. The capital city of {place} is",
            "locality_prompt": f"The capital of North {chr(97 + number) * 5} is",
            "locality_ground_truth": "Somewhere",
        }
        for number, place in enumerate([*PLACES, PLACES[-1]])
    ]
    rows[2]["locality_prompt"] = "The capital of Alba, of all places, is"
    (tmp_path / "counterfact").mkdir()
    (tmp_path / "counterfact" / "edit.json").write_text(json.dumps(rows))
    (tmp_path / "questions").mkdir()
    questions = [{"question": f"who wrote the {n}th book", "answer": ["a writer"]} for n in range(150)]
    lines = [json.dumps(question) for question in [*questions, {"question": "where is elbonia", "answer": ["far"]}]]
    (tmp_path / "questions" / "nq_open_dev.jsonl").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MEMEDIT_ENCODER", "letters")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(cli, ["bench", *arguments])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments and not code else result

    return call


def counterfact(data: Path, edits: int, negatives: int = 10_000) -> Probe:
    (read,) = load(data, ["counterfact"])
    return probe(read, Fillers(data), edits=edits, limit=edits, negatives=negatives)


def test_which_questions_count(data: Path) -> None:
    asked = counterfact(data, 4, negatives=6)
    assert [draft.subject for draft in asked.edits] == PLACES[:4]
    assert asked.edits[0].statement == "The capital of Alba is New Alba City"
    assert (asked.dropped["neighbour"], asked.dropped["general"]) == (1, 0)
    assert asked.own["neighbour"] == 3
    assert len(asked.negatives["neighbour"]) == 6
    assert not any("Alba" in str(one.text) for one in asked.negatives["neighbour"])
    whole = counterfact(data, 100)
    assert whole.own_edits == len(PLACES)  # one per subject
    assert whole.dropped["general"] == 1
    with pytest.raises(NotFoundError, match=r"edit\.json"):
        counterfact(data / "nowhere", 1)
    (data / "counterfact" / "edit.json").write_text('[{"prompt": "x"}]')
    with pytest.raises(InputError, match="flat form"):
        counterfact(data, 1)


def test_scope_prints_the_rows_that_were_agreed(run: Run, data: Path) -> None:
    given = ("--data", str(data), "--scope", "similarity", "--dataset", "counterfact")
    found = run("scope", *given, "--edits", "2,8", "--json")
    rows = {(row["query"], row["negative"], row["edits"]): row for row in found["rows"]}
    queries = ("prompt", "paraphrase", "follow_up", "long_message")
    negatives = ("neighbour", "general", "follow_up", "long_message")
    assert set(rows) == {(q, n, e) for q in queries for n in negatives for e in (2, 8)}
    assert {
        *("scope", "dataset", "query", "negative", "edits", "positives", "negatives", "dropped", "top1"),
        *("recall_at_1pct", "recall_at_0.1pct", "recall_shipped", "false_fires_shipped", "auroc", "eer", "ece"),
    } <= set(found["rows"][0])
    row = rows["prompt", "general", 8]
    assert (row["positives"], row["negatives"], row["top1"], row["auroc"]) == (8, 150, 1.0, 1.0)
    assert (row["recall_at_1pct"], row["recall_at_0.1pct"]) == (1.0, None)  # 150 questions cannot show 0.1 %
    assert {(part["kind"], part["edits"]) for part in found["latency"]} == {
        (kind, edits) for kind in ("general", "neighbour", "in_scope") for edits in (2, 8)
    }
    assert run("scope", "--data", str(data), "--edits", "2").stdout
    assert "numbers" in run("scope", "--data", str(data), "--edits", "many", code=2).stderr
    assert "there are: " in run("scope", "--data", str(data), "--scope", "nonesuch", code=2).stderr
    assert "--data" in run("scope", code=2).stderr


def test_counterfact_scores_what_is_said(run: Run, data: Path) -> None:
    """A model that knows two old facts and repeats any fact put in front of it."""
    from memedit.bench import counterfact as bench
    from memedit.models.scripted import Scripted

    def reply(messages: Any, **_: Any) -> str:
        facts = [m.content for m in messages if m.role == "system"]
        for place in PLACES:
            if place in messages[-1].content:
                if any(place in fact for fact in facts):
                    return f"New {place} City, as of late"
                if place in PLACES[:2]:
                    return f"Old {place} City"
        return "I could not say"

    found = bench.run(data, cases=4, model=Scripted(reply), scope="similarity", encoder=Letters())
    assert (found["cases"], found["edits"], found["known"], found["neighbours_known"]) == (4, 4, 2, 0)
    assert (found["reliability"], found["right_edit"]["prompt"]) == (1.0, 1.0)  # type: ignore[index]
    assert found["over_known"]["reliability"] == 1.0  # type: ignore[index]
    assert found["over_known"]["neighbourhood_unchanged"] is None  # type: ignore[index]
    assert found["neighbourhood_unchanged"] == 0.75  # the third's neighbour asks another edit's own question


def test_counterfact_as_a_command(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps({"*": "New Alba City."}))
    given = ("--data", str(data), "--cases", "2", "--model", f"scripted:{tmp_path / 'script.json'}")
    found = run("counterfact", *given, "--json")
    assert (found["reliability"], found["known"], found["model"]) == (0.5, 0, "scripted")
    assert "reliability" in run("counterfact", *given).stdout


def test_startup_names_each_verb(run: Run) -> None:
    found = run("startup", "--runs", "1", "--verbs", "--help,list", "--json")
    assert [row["verb"] for row in found["verbs"]] == ["--help", "list"]
    assert all(set(row) == {"verb", "seconds", "cpu_seconds", "ratio"} for row in found["verbs"])
    assert "--verbs" in run("startup", "--help").stdout
    assert "there are: " in run("startup", "--verbs", "nonesuch", code=2).stderr


def test_startup_says_which_verb_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEDIT_ENCODER", "nonesuch")
    monkeypatch.setenv("MEMEDIT_MEMORY", "ignored")
    with pytest.raises(MemEditError, match="explain"):
        startup.run(runs=1, verbs=("explain",))
