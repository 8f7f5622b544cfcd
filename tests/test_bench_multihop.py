"""The benches of multi-hop questions and of portability, on made-up records in the datasets' forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from memedit.bench import multihop, portability
from memedit.bench.multihop import Asked, Hop, Tally, case_of, chain_right, scores
from memedit.bench.portability import alias_in
from memedit.cli import cli
from memedit.encoders.letters import Letters
from memedit.errors import InputError, NotFoundError
from memedit.models.scripted import Scripted
from memedit.training.planner_text import part

UNSEEN = [number for number in range(10_000) if part(number) == "unseen"][:4]
SEEN = next(number for number in range(10_000) if part(number) == "train")


def fact(subject: str, relation: str, target: str) -> dict[str, Any]:
    wording = {
        "P50": ("The author of {} is", "Who is the author of {}?"),
        "P26": ("{} is married to", "Who is {} married to?"),
    }
    cloze, question = (text.replace("{}", subject) for text in wording[relation])
    return {"question": question, "cloze": cloze, "answer": target, "answer_alias": [f"{target} the Great"]}


def case(number: int, book: str, author: str, spouse: str, edited: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """ "Who is married to the author of BOOK?", the author (0) or the spouse (1) or both edited."""
    before = [(book, "P50", f"Old {author}"), (f"Old {author}", "P26", f"Old {spouse}")]
    after = [(book, "P50", author), (author, "P26", spouse)]
    return {
        "case_id": number,
        "requested_rewrite": [
            {
                "prompt": {"P50": "The author of {} is", "P26": "{} is married to"}[after[at][1]],
                "relation_id": after[at][1],
                "target_new": {"str": after[at][2], "id": after[at][2]},
                "target_true": {"str": before[at][2], "id": before[at][2]},
                "subject": after[at][0],
                "question": fact(*after[at])["question"],
            }
            for at in edited
        ],
        "questions": [
            f"Who is the spouse of the author of {book}?",
            f"To whom is the author of {book} married?",
            f"Who married the author of {book}?",
        ],
        "answer": f"Old {spouse}",
        "answer_alias": [],
        "new_answer": spouse,
        "new_answer_alias": [f"{spouse} the Great"],
        "single_hops": [fact(*hop) for hop in before],
        "new_single_hops": [fact(*hop) for hop in after],
        "orig": {
            "triples": [list(hop) for hop in before],
            "triples_labeled": [[s, r, t] for s, r, t in before],
            "new_triples": [list(hop) for hop in after],
            "new_triples_labeled": [[s, r, t] for s, r, t in after],
            "edit_triples": [list(after[at]) for at in edited],
        },
    }


ROWS = [
    case(UNSEEN[0], "Blue Rain", "Ida Quell", "Bo Stern"),
    case(UNSEEN[1], "Long Tea", "Cy Dunn", "Ann Foy"),
    # Its unedited hop (the spouse of Max Orr) is what the next one edits.
    case(UNSEEN[2], "Red Hen", "Max Orr", "Una Vale"),
    case(UNSEEN[3], "Tall Oak", "Max Orr", "Eve Lunt", (0, 1)),
    case(SEEN, "Iron Pen", "Kit Moss", "Zoe Hale"),
]
KNOWS = {
    "Who is Ida Quell married to?": "Bo Stern.",
    "Who is Cy Dunn married to?": "somebody else",
    "Who is the spouse of Ida Quell?": "Bo Stern.",
    "Who is the spouse of Cy Dunn?": "somebody else",
    "*": "nothing",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mquake").mkdir()
    (tmp_path / "mquake" / "cf-3k.json").write_text(json.dumps(ROWS))
    return tmp_path


def run(data: Path, **given: Any) -> dict[str, Any]:
    model = Scripted(KNOWS, style="completion")
    kept: dict[str, Any] = {"unedited": 0, "scope": "characters", "encoder": Letters(), "store": "exact", **given}
    return multihop.run(data, model=model, **kept)


def test_all_edits_at_once_drop_contaminated_cases(data: Path) -> None:
    found = run(data)
    row, hard = found["rows"]
    assert (row["dataset"], row["edits"], row["cases"], row["dropped"]) == ("mquake-cf-3k", "all", 3, 1)
    assert found["left_out"] == {"mquake-cf-3k: seen in training": 1}
    # Blue Rain: edit, then the model knows. Long Tea: the model does not. Tall Oak: two edits.
    assert row["answerable"] == 2
    assert row["case_accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert row["case_accuracy_answerable"] == 1.0
    assert row["hop_accuracy"] == row["case_accuracy"]
    assert row["question_accuracy"] <= row["case_accuracy"]
    assert row["model_calls"] > 0
    assert found["hard_from_cf_3k"]
    assert (hard["dataset"], hard["cases"], hard["case_accuracy"]) == ("mquake-hard", 0, None)
    assert set(row) == set(multihop._KEYS)


def test_each_cases_own_edits_drop_nothing(data: Path) -> None:
    row = run(data, edits="per-case", datasets=("mquake-cf-3k",))["rows"][0]
    assert (row["edits"], row["cases"], row["dropped"]) == ("per-case", 4, 0)


def test_every_case_may_be_asked_and_so_many_of_them(data: Path) -> None:
    found = run(data, every=True, edits="per-case", cases=2, datasets=("mquake-cf-3k",))
    assert (found["rows"][0]["cases"], found["left_out"]) == (2, {"mquake-cf-3k: seen in training": 0})


def test_an_answerer_without_steps_has_no_hop_accuracy(data: Path) -> None:
    rows = run(data, answerers=("ike", "planned"), datasets=("mquake-cf-3k",))["rows"]
    assert [row["answerer"] for row in rows] == ["ike", "planned"]
    assert rows[0]["hop_accuracy"] is None
    assert rows[1]["hop_accuracy"] is not None


def test_questions_without_edits_are_asked_of_an_empty_and_a_full_memory(data: Path) -> None:
    plain = run(data, unedited=2, datasets=("mquake-cf-3k",))["unedited"]
    assert [row["answerer"] for row in plain] == ["planned", "planned (unedited)"]
    assert all(row["questions"] == 6 for row in plain)
    # Edits of the slots that are asked for are not loaded, so nothing may change.
    assert all(row["same"] == 1.0 and row["empty"] == row["full"] for row in plain)
    assert plain[0]["edits_loaded"] == 4


def test_rows_are_named_with_the_settings(data: Path) -> None:
    found = run(data, unedited=2, datasets=("mquake-cf-3k",), answerers=("planned:attempts=1", "mello:published=true"))
    assert [row["answerer"] for row in found["rows"]] == ["planned:attempts=1", "mello:published=true"]
    plain = [row["answerer"] for row in found["unedited"]]
    assert plain == ["planned:attempts=1", "planned:attempts=1 (unedited)", "mello:published=true"]


def test_a_hard_file_is_read_where_there_is_one(data: Path) -> None:
    (data / "mquake" / "hard.json").write_text(json.dumps(ROWS[:2]))
    found = run(data, datasets=("mquake-hard",))
    assert not found["hard_from_cf_3k"]
    assert [(row["dataset"], row["cases"]) for row in found["rows"]] == [("mquake-hard", 2)]


def test_what_cannot_be_asked_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mquake-t"):
        run(data, datasets=("mquake-t",))
    with pytest.raises(NotFoundError, match="no answerer is named 'plan'"):
        run(data, answerers=("plan",))
    with pytest.raises(NotFoundError, match="MQuAKE"):
        run(tmp_path / "elsewhere")
    (data / "mquake" / "cf-3k.json").write_text(json.dumps([{"questions": []}]))
    with pytest.raises(InputError, match="chains of hops"):
        run(data)


def test_a_case_is_read_with_its_hops() -> None:
    made = case_of(ROWS[3], 0)
    assert [hop.edited for hop in made.hops] == [True, True]
    assert made.hops[1].slot == ("Max Orr", "P26")
    assert "Eve Lunt the Great" in made.answers
    assert not made.hard  # two hops


HOPS = (Hop("a?", ("Ann", "A"), ("s", "r"), True), Hop("b?", ("Bo",), ("t", "r"), False))


@pytest.mark.parametrize(
    ("trace", "right"),
    [
        ([], None),
        ([{"step": "hop", "answer": "Ann"}, {"step": "hop", "answer": "Bo"}], True),
        ([{"step": "hop", "answer": "Ann"}, {"step": "model"}, {"step": "hop", "answer": "Cy"}], False),
        ([{"step": "hop", "answer": "Bo"}], False),
        (
            [
                {"step": "hop", "answer": "Cy", "left": "no answer"},
                {"step": "hop", "answer": "A"},
                {"step": "hop", "answer": "Bo."},
            ],
            True,
        ),
    ],
)
def test_a_chain_is_right_if_each_step_of_the_way_taken_is(trace: list[dict[str, object]], right: bool | None) -> None:
    assert chain_right(trace, HOPS) is right


def test_so_many_cases_are_spread_over_all() -> None:
    made = [case_of({**ROWS[0], "case_id": number}, 0) for number in range(10)]
    assert [case.id for case in multihop.spread(made, 3)] == ["0", "3", "6"]
    assert multihop.spread(made, 99) == multihop.spread(made, None) == made


def test_scores_count_a_case_by_any_of_its_questions() -> None:
    made = case_of(ROWS[0], 0)
    tallies = [
        Tally(made, True, [Asked(False, False, 2, 0.1), Asked(True, False, 1, 0.1), Asked(False, None, 0, 0.1)]),
        Tally(made, False, [Asked(False, True, 1, 0.1)] * 3),
    ]
    found = scores(tallies)
    assert (found["case_accuracy"], found["question_accuracy"], found["hop_accuracy"]) == (0.5, 0.1667, 0.0)
    assert (found["answerable"], found["case_accuracy_answerable"], found["model_calls"]) == (1, 1.0, 1.0)
    assert scores([])["case_accuracy"] is None


def test_the_command_prints_rows(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMEDIT_ENCODER", "letters")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    script = tmp_path / "script.json"
    script.write_text(json.dumps(KNOWS))
    options = ["--data", str(data), "--scope", "characters", "--model", f"scripted:{script}", "--unedited", "0"]
    result = CliRunner().invoke(cli, ["bench", "multihop", *options, "--json"])
    assert result.exit_code == 0, result.output
    assert [row["cases"] for row in json.loads(result.stdout)["rows"]] == [3, 0]
    plain = CliRunner().invoke(cli, ["bench", "multihop", *options])
    assert plain.exit_code == 0
    assert plain.stdout.split("\t")[2] == "mquake-cf-3k"
    assert "seen in training: 1 cases" in plain.stderr


# --- portability


@pytest.mark.parametrize(
    ("text", "own", "alias"),
    [
        ("The author of Blue Rain: A Tale is", ["The author of Blue Rain is"], "Blue Rain: A Tale"),
        ("What family does Conogrue belong to?", ["What family does Grue belong?"], "Conogrue"),
        ("Who wrote B.R.?", ["Who wrote Blue Rain?"], "B.R."),
        ("Blue's seat is", ["Freedonia's seat is"], "Blue"),
        ("Rain, Blue (book) follows", ["Blue Rain follows"], "Rain, Blue (book)"),
        ("Quite another thing", ["The author of Blue Rain is"], None),
    ],
)
def test_an_alias_is_what_stands_in_the_subjects_place(text: str, own: list[str], alias: str | None) -> None:
    subject = next(name for name in ("Blue Rain", "Grue", "Freedonia") if name in own[0])
    assert alias_in(text, own, subject) == alias


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    (tmp_path / "knowedit").mkdir()
    (tmp_path / "hallueditbench").mkdir()
    record = {
        "subject": "Blue Rain",
        "prompt": "The author of Blue Rain is",
        "target_new": "Ida Quell",
        "ground_truth": "Old Hand",
        "portability": {
            "Subject_Aliasing": [
                {"prompt": "The author of Azure Drizzle is", "ground_truth": "Ida Quell-Stern"},
                {"prompt": "The author of Rain, Blue is", "ground_truth": "Ida Quell"},
                {"prompt": "What is Azure Drizzle?", "ground_truth": "Ida Quell"},
            ],
            "Reasoning": [
                {"prompt": "Who is the spouse of the author of Blue Rain?", "ground_truth": "Al Post"},
                {"prompt": "Who is the spouse of the author of Blue Rain?", "ground_truth": "Bo Stern"},
            ],
        },
        "locality": {},
    }
    (tmp_path / "knowedit" / "wiki_counterfact.json").write_text(json.dumps([record]))
    halluedit = {
        "subject": "Blue Rain", "relation": "author", "object": "Ida Quell", "topic": "art_book",
        "question": "Who is the author of Blue Rain?", "paraphrased_question": "Who wrote Blue Rain?",
        "yes_question": "Is it?", "no_question": "Is it not?", "locality_question": "When was Blue Rain out?",
        "reversed_relation_question": "Which book is Ida Quell the author of?",
        "question_2hop": "Who is the spouse of the author of Blue Rain?", "answer_2hop": "Bo Stern",
        "question_3hop": "Where was the spouse of Ida Quell born?", "answer_3hop": "Oz",
    }  # fmt: skip
    (tmp_path / "hallueditbench" / "questions.json").write_text(json.dumps([halluedit]))
    return tmp_path


def ported(data: Path, **given: Any) -> dict[tuple[str, str], dict[str, Any]]:
    replies = {"Who is the spouse of Ida Quell?": "Bo Stern", "*": "nothing"}
    found: Any = portability.run(
        data, model=Scripted(replies, style="completion"), scope="characters", encoder=Letters(), store="exact", **given
    )
    return {(row["dataset"], row["kind"]): row for row in found["rows"]}


def test_portability_tells_what_the_base_model_knows_of_the_rest(portable: Path) -> None:
    rows = ported(portable, answerers=("planned",), datasets=("knowedit-wiki_counterfact", "hallueditbench"))
    kinds = {kind for dataset, kind in rows if dataset == "knowedit-wiki_counterfact"}
    assert kinds == {"alias", "alias_not_given", "one_hop"}
    assert rows["knowedit-wiki_counterfact", "alias"]["questions"] == 2  # "What is Azure Drizzle?" asks nothing of it
    one_hop = rows["knowedit-wiki_counterfact", "one_hop"]  # asked twice, with two answers: one question, either right
    assert (one_hop["questions"], one_hop["known"], one_hop["right_known"]) == (1, 1, 1.0)
    assert rows["hallueditbench", "2_hop"]["right"] == 1.0
    assert ("hallueditbench", "3_hop") not in rows  # it gives the edit away
    assert rows["hallueditbench", "reversed"]["questions"] == 1


def test_who_an_edit_is_about_must_be_known_where_the_edit_itself_answers(portable: Path) -> None:
    record = json.loads((portable / "knowedit" / "wiki_counterfact.json").read_text())[0]
    asked = {"prompt": "Who is the author of the notable work of Mo Dell?", "ground_truth": "Ida Quell"}
    record["portability"] = {"Reasoning": [asked]}
    (portable / "knowedit" / "wiki_counterfact.json").write_text(json.dumps([record]))

    def known(reply: str) -> Any:
        # A model that says a name back when it does not know has not told who is meant.
        model = Scripted({"What is the notable work of Mo Dell?": reply, "*": "Ida Quell"}, style="completion")
        found: Any = portability.run(
            portable, model=model, datasets=("knowedit-wiki_counterfact",), scope="characters", encoder=Letters(),
            store="exact",
        )  # fmt: skip
        return next(row for row in found["rows"] if row["kind"] == "one_hop")["known"]

    assert known("Blue Rain") == 1
    assert known("nothing") == 0


def test_each_alias_is_given_and_the_edits_own_target_is_right(portable: Path) -> None:
    rows = ported(portable, answerers=("auto",), datasets=("knowedit-wiki_counterfact",))
    alias = rows["knowedit-wiki_counterfact", "alias"]
    assert (alias["right"], alias["model_calls"]) == (1.0, 0.0)
    assert rows["knowedit-wiki_counterfact", "alias_not_given"]["right"] == 0.0


def test_portability_counts_what_it_leaves_out(portable: Path) -> None:
    model = Scripted({"*": "nothing"}, style="completion")
    names = ("knowedit-wiki_counterfact", "hallueditbench")
    found = portability.run(portable, datasets=names, model=model, scope="characters", encoder=Letters(), store="exact")
    # Of HalluEditBench's six the one of three hops gives the edit away, and three are not there.
    assert found["left_out"] == {"knowedit-wiki_counterfact": 1, "hallueditbench": 1}


def test_portability_with_all_edits_in_one_memory(portable: Path) -> None:
    rows = ported(portable, answerers=("planned",), datasets=("hallueditbench",), edits="all")
    assert rows["hallueditbench", "2_hop"]["right"] == 1.0


def test_portability_names_what_is_missing(portable: Path) -> None:
    with pytest.raises(InputError, match="no dataset x"):
        ported(portable, datasets=("x",))
    (portable / "hallueditbench" / "questions.json").unlink()
    with pytest.raises(NotFoundError, match=r"questions\.json"):
        ported(portable, datasets=("hallueditbench",))


def test_portability_leaves_out_the_parts_that_are_missing(portable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (portable / "hallueditbench" / "questions.json").unlink()
    asked = ["--data", str(portable), "--answerer", "verbatim", "--json"]
    asked += ["--model", f"scripted:{portable / 'script.json'}", "--scope", "characters", "--encoder", "letters"]
    (portable / "script.json").write_text('{"*": "nothing"}')
    monkeypatch.setenv("MEMEDIT_STORE", "exact")
    printed = CliRunner().invoke(portability.command, asked)
    found = json.loads(printed.stdout)
    assert {row["dataset"] for row in found["rows"]} == {"knowedit-wiki_counterfact"}
    assert list(found["missing"]) == [
        "knowedit-zsre", "knowedit-wiki_recent", "zsre-portability", "hallueditbench",
    ]  # fmt: skip
    assert "left out, hallueditbench: there is no " in printed.stderr
    (portable / "knowedit" / "wiki_counterfact.json").unlink()
    printed = CliRunner().invoke(portability.command, asked)
    assert isinstance(printed.exception, NotFoundError)
    assert "questions.json" in str(printed.exception)
