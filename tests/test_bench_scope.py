"""The bench of scopes on small made-up records in every dataset's form: what is asked, what counts, what is figured."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from memedit.bench import _curves, _talk
from memedit.bench import _metrics as metrics
from memedit.bench import scope as bench
from memedit.bench._fillers import Fillers
from memedit.bench._probes import Probe, plain, probe
from memedit.bench._questions import names, words
from memedit.bench._records import DATASETS, Dataset, Record, agree, answers, load
from memedit.cli import cli
from memedit.edits import Decision, Draft, Hit, Message
from memedit.encoders.letters import Letters
from memedit.errors import InputError, NotFoundError

PLACES = ["Alba", "Borduria", "Carpania", "Drusselstein", "Elbonia", "Florin", "Genovia", "Hidalgo"]
Put = Callable[[str, Any], None]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(name: str, rows: Any) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)) if name.endswith("jsonl") else json.dumps(rows))

    return write


def capital(place: str, number: int = 0, **more: str) -> dict[str, Any]:
    return {
        "case_id": number,
        "prompt": f"The capital of {place} is",
        "subject": place,
        "target_new": f"New {place} City",
        "ground_truth": f"Old {place} City",
        "rephrase_prompt": f"{place} has its seat of government in",
        "locality_prompt": f"The capital of North {chr(97 + number % 26) * 5} is",
        "locality_ground_truth": "Somewhere",
        **more,
    }


def halluedit(subject: str, target: str, number: int = 0, **more: str) -> dict[str, Any]:
    return {
        "topic": "places_city",
        "subject": subject,
        "relation": "located on river",
        "object": target,
        "question": f"What is the located on river of {subject}?",
        "paraphrased_question": f"On which river does {subject} lie?",
        "yes_question": f"Does {subject} lie on the {target}?",
        "no_question": f"Does {subject} lie on the Muddy?",
        "locality_question": f"What food is {subject} known for?",
        "reversed_relation_question": f"Which city lies on the {target}?",
        "question_2hop": f"Into which sea does the river of {subject} flow?",
        "question_3hop": f"How deep is the sea into which the {target}, the river of {subject}, flows?",
        **more,
    }


def the(folder: Path, name: str) -> Dataset:
    return next(iter(load(folder, [name])))


def ask(folder: Path, name: str, edits: int = 100, **options: Any) -> Probe:
    return probe(the(folder, name), Fillers(folder), edits=edits, **{"limit": 100, **options})


def texts(asked: Sequence[Any]) -> list[str]:
    return [plain(one.text) for one in asked]


# The datasets' forms


def test_nothing_known_and_unknown_names(tmp_path: Path, put: Put) -> None:
    with pytest.raises(NotFoundError, match=r"counterfact/edit\.json.*--data"):
        list(load(tmp_path))
    with pytest.raises(InputError, match="there are: counterfact, zsre"):
        list(load(tmp_path, ["nonesuch"]))
    put("zsre/train.json", [{"src": "When?"}])
    with pytest.raises(InputError, match=r"zsre/train\.json"):
        list(load(tmp_path))


def test_ordinary_questions_that_name_a_loaded_subject_are_dropped(tmp_path: Path, put: Put) -> None:
    put("counterfact/edit.json", [capital("Alba"), capital("Borduria")])
    put("questions/nq_open_dev.jsonl", [{"question": text} for text in ("where is alba", "who is it", "why borduria")])
    for name, edits, kept in (("nq", 2, ["who is it"]), ("counterfact", 1, ["who is it", "why borduria"])):
        asked = ask(tmp_path, name, edits=edits)
        assert texts(asked.negatives["general"]) == kept
        assert asked.dropped["general"] == 3 - len(kept)
        assert len(asked.edits) == edits


def test_parts_that_are_missing_are_left_out(tmp_path: Path, put: Put) -> None:
    put("counterfact/edit.json", [capital("Alba")])
    assert [one.name for one in load(tmp_path)] == ["counterfact"]
    put("questions/webquestions_train.json", [{"qText": "who is it?"}])
    assert [one.name for one in load(tmp_path)] == ["counterfact", "webquestions"]
    assert the(tmp_path, "counterfact").general == ("who is it?",)
    with pytest.raises(NotFoundError, match="nq_open_dev"):
        the(tmp_path, "nq")


def test_zsre(tmp_path: Path, put: Put) -> None:
    row = {
        **{"subject": "Fort A", "src": "When was Fort A built?", "rephrase": "In what year was Fort A built?"},
        **{"alt": "1801", "pred": "1798", "answers": ["1799"], "loc": "nq question: who sings this song"},
    }
    hop = {"New Question": "Who was king in the year Fort B was built?"}
    given_away = {"New Question": "Who was king in 1803, when Fort C was built?"}
    other = row | {"subject": "Fort B", "src": "When was Fort B built?", "alt": "1802", "portability": hop}
    third = row | {"subject": "Fort C", "src": "When was Fort C built?", "alt": "1803", "portability": given_away}
    put("zsre/train.json", [row])
    put("zsre/portability.json", [other, third])
    read = the(tmp_path, "zsre")
    assert read.records[0].edit.statement == "When was Fort A built? 1801"
    assert read.records[0].asked == {"prompt": (row["src"],), "paraphrase": (row["rephrase"],)}
    assert [one.text for one in read.records[0].beside["general"]] == ["who sings this song"]
    assert read.records[0].answers == {"1801", "1798", "1799"}
    assert read.hops == ((hop["New Question"], (1,)),)
    assert read.left_out == {"multihop": 1}


def knowedit(subject: str, prompt: str, target: str, **parts: Any) -> dict[str, Any]:
    portability = {
        key: [{"prompt": text, "ground_truth": "?"} for text in parts.get(key, ())]
        for key in ("Subject_Aliasing", "Logical_Generalization")
    }
    same = [{"prompt": text, "ground_truth": answer} for text, answer in parts.get("same", ())]
    locality = {"Relation_Specificity": same, "Forgetfulness": [{"prompt": f"{prompt}, not", "ground_truth": "?"}]}
    more = {"portability": portability, "locality": locality, "ground_truth": parts.get("old", ["Old"])}
    return {"subject": subject, "prompt": prompt, "target_new": target, **more}


def test_knowedit_keeps_questions_that_are_what_they_are_called(tmp_path: Path, put: Put) -> None:
    zsre = knowedit(
        *("Zed Bee", "Who is Zed Bee's mother?", "Ann Bee"),
        Subject_Aliasing=["Who is the mother of Z. B.?", "What is Z. B.?"],
        Logical_Generalization=["Who is the child of Ann Bee?", "Where does Zed Bee live?"],
    )
    wiki = [
        knowedit("Cup 1", "Cup 1 is followed by", "Cup 2", Logical_Generalization=["Cup 2 is followed by"]),
        knowedit("Ann", "The spouse of Ann is", "Bo", Logical_Generalization=["The spouse of Bo is"]),
        knowedit("Cy", "The spouse of Cy is", "Di", Logical_Generalization=["The names of the siblings of Di are"]),
    ]
    put("knowedit/zsre.json", [zsre])
    put("knowedit/wiki_recent.json", wiki)
    read = the(tmp_path, "knowedit-zsre")
    assert read.records[0].asked["alias"] == ("Who is the mother of Z. B.?",)
    assert read.records[0].asked["reversed"] == ("Who is the child of Ann Bee?",)
    assert read.left_out == {"alias": 1}
    read = the(tmp_path, "knowedit-wiki")
    assert [record.asked["reversed"] for record in read.records] == [(), ("The spouse of Bo is",), ()]
    assert read.left_out == {"reversed": 2}
    assert not any("not" in one.text for record in read.records for one in record.beside["same-subject"])


def test_hallueditbench(tmp_path: Path, put: Put) -> None:
    bad = halluedit("Zed", "Ouse", yes_question="Is it so?", reversed_relation_question="Does Zed lie on the Ouse?")
    put("hallueditbench/questions.json", [halluedit("Alba", "Tyne"), bad])
    read = the(tmp_path, "hallueditbench")
    assert read.records[0].edit.statement == "What is the located on river of Alba? Tyne"
    assert set(read.records[0].asked) == {"prompt", "paraphrase", "yes", "no", "reversed"}
    assert read.records[1].asked["yes"] == read.records[1].asked["reversed"] == ()
    assert [text for text, _ in read.hops] == [
        f"Into which sea does the river of {name} flow?" for name in ("Alba", "Zed")
    ]
    assert read.left_out == {"yes": 1, "reversed": 1, "multihop": 2}


def test_pokemqa_and_mquake(tmp_path: Path, put: Put) -> None:
    questions = ["What is the capital of Alba?", "Which city is it for Alba?", "Is Newton the capital of Alba?"]
    row = {"edit": "The capital of Alba is Newton", "questions": [*questions, questions[0]]}
    put("pokemqa/edit-questions.json", [row, row, {"edit": "So it goes", "questions": ["How?"] * 4}])
    read = the(tmp_path, "pokemqa")
    assert [record.subject for record in read.records] == ["Alba"]
    assert read.records[0].asked == {"paraphrase": tuple(questions[:2])}
    assert read.left_out == {"edits": 1, "paraphrase": 1}

    def rewrite(subject: str, target: str) -> dict[str, Any]:
        asked = {"subject": subject, "relation_id": "P36", "question": f"What is the capital of {subject}?"}
        return asked | {"prompt": "The capital of {} is", "target_new": {"str": target}, "target_true": {"str": "Old"}}

    a, b, c = rewrite("Alba", "Newton"), rewrite("Borduria", "Oldton"), rewrite("Carpania", "Midton")
    cases = [{"requested_rewrite": [a], "questions": ["one?"]}, {"requested_rewrite": [a, b], "questions": ["two?"]}]
    put("mquake/cf-3k.json", [*cases, {"requested_rewrite": [c], "questions": ["three?"]}])
    read = the(tmp_path, "mquake")
    assert [record.subject for record in read.records] == PLACES[:3]
    assert set(read.hops) == {("one?", (0,)), ("two?", (0, 1)), ("three?", (2,))}
    assert texts(ask(tmp_path, "mquake", limit=1).positives["multihop"]) == ["one?"]  # the others need more edits
    whole = {plain(one.text): one.edits for one in ask(tmp_path, "mquake").positives["multihop"]}
    assert whole["two?"] == {0, 1}


# Which questions count


def test_negatives_that_a_loaded_edit_answers_are_dropped(tmp_path: Path, put: Put) -> None:
    same = [
        ("The mayor of Alba is", "Someone"),
        ("The largest city of Alba is", [["old capital", "Old"]]),  # the answer that was true before
        ("The seat of Alba is", "Newton"),  # the answer that is true now
        ("the capital of ALBA is.", "unknown"),  # the edit's own words
        ("Newton is the capital of", "unknown"),  # asked backwards
        ("The distance of Alba from Borduria is", "far"),  # names another edit's subject
        ("The twin of South Borduria is", "far"),
    ]
    south = [("South Borduria river", "It"), ("The river of Borduria is", "It")]  # the second is Borduria's own
    rows = [
        knowedit("Alba", "The capital of Alba is", "Newton", same=same, old="Old Capital"),
        knowedit("Borduria", "The capital of Borduria is", "Upton", same=[("The mayor of Borduria is", "She")]),
        knowedit("South Borduria", "The capital of South Borduria is", "Down", same=south),
    ]
    put("knowedit/wiki_counterfact.json", rows)
    asked = ask(tmp_path, "knowedit-wiki", edits=3)
    # "South Borduria river" names its own subject, of which another's is a part.
    assert texts(asked.negatives["same-subject"]) == [
        *("The mayor of Alba is", "The mayor of Borduria is", "South Borduria river")
    ]
    assert asked.dropped == {"same-subject": 7}
    alone = ask(tmp_path, "knowedit-wiki", edits=3, alone=True)
    assert "The distance of Alba from Borduria is" in texts(alone.negatives["same-subject"])
    assert alone.dropped == {"same-subject": 4}


def test_a_neighbour_that_asks_a_mutual_relation_backwards_is_dropped(tmp_path: Path, put: Put) -> None:
    rows = [capital(place, number) for number, place in enumerate(PLACES)]
    rows[0] |= {"prompt": "Alba is a twin city of", "target_new": "Ys"}
    rows[1]["locality_prompt"] = "The twin city of Ys is"
    rows[2]["locality_prompt"] = "The capital of Newton is"  # a target as well, of a relation that has another inverse
    put("counterfact/edit.json", rows)
    asked = ask(tmp_path, "counterfact", edits=4, limit=4)
    own = texts(asked.negatives["neighbour"])[: asked.own["neighbour"]]
    assert "The twin city of Ys is" not in own
    assert "The capital of Newton is" in own


def test_neighbours_one_edit_per_subject_and_what_is_not_loaded(tmp_path: Path, put: Put) -> None:
    rows = [capital(place, number) for number, place in enumerate([*PLACES, "Alba"])]
    rows[1]["locality_prompt"] = "The capital of Alba, of all places, is"
    rows[2]["locality_prompt"] = "The capital of Carpania is"
    rows[5]["locality_prompt"] = "The capital of Borduria is"
    put("counterfact/edit.json", rows)
    asked = ask(tmp_path, "counterfact", edits=4, limit=3)
    assert [draft.subject for draft in asked.edits[:3]] == PLACES[:3]
    assert (len(asked.edits), asked.own_edits, asked.dropped["neighbour"], asked.own["neighbour"]) == (4, 3, 2, 1)
    wide = texts(asked.negatives["neighbour"])
    assert wide[0] == "The capital of North aaaaa is"
    assert not names(PLACES[:3])(" ".join(wide))
    assert {"The capital of Drusselstein is", "The capital of North ddddd is"} <= set(wide)
    assert len(wide) == len(set(wide))
    assert len(ask(tmp_path, "counterfact").edits) == 100
    assert ask(tmp_path, "counterfact").own_edits == len(PLACES)
    assert len(ask(tmp_path, "counterfact", edits=4, limit=3, negatives=2).negatives["neighbour"]) == 2
    assert len(ask(tmp_path, "counterfact", sample=2).positives["prompt"]) == 2
    assert ask(tmp_path, "counterfact") == ask(tmp_path, "counterfact")


def test_all_edits_that_a_reversed_question_fits_are_right(tmp_path: Path, put: Put) -> None:
    put("hallueditbench/questions.json", [halluedit("Alba", "Tyne"), halluedit("Zed", "Ouse"), halluedit("Ys", "tyne")])
    asked = ask(tmp_path, "hallueditbench", edits=3)
    assert [set(one.edits) for one in asked.positives["reversed"]] == [{0, 2}, {1}, {0, 2}]
    assert [set(one.edits) for one in asked.positives["prompt"]] == [{0}, {1}, {2}]


def test_fillers_are_about_nothing_that_is_asked(tmp_path: Path, put: Put) -> None:
    put("counterfact/edit.json", [capital(place, number) for number, place in enumerate(PLACES)])
    put("counterfact/train.json", [capital("Zembla", 3), capital("Zubrowka", 4), capital("Zembla", 5)])
    fillers = Fillers(tmp_path)
    found = fillers.take(500, ["where is Zubrowka?", *(f"where is {place}?" for place in PLACES[:4])], PLACES[4:])
    assert len(found) == 500
    assert found[0].subject == "Zembla"  # the real ones first, one per subject
    assert len({draft.statement for draft in found}) == 500
    assert not {draft.subject for draft in found} & {*PLACES, "Zubrowka"}
    assert found == Fillers(tmp_path).take(500, ["where is Zubrowka?", *PLACES[:4]], PLACES[4:])
    assert fillers.take(0, [], []) == []
    assert len(Fillers(tmp_path / "nowhere").take(20, [], [])) == 20


# Follow-ups and long messages


@pytest.mark.parametrize(
    ("text", "pronoun", "there", "made"),
    [
        ("What is the capital of Ann Li?", "it", False, "What is its capital?"),
        ("What is the name of the capital of Ann Li?", "it", False, "What is the name of its capital?"),
        ("Where was Ann Li born?", "she", False, "Where was she born?"),
        ("Where was Ann Li born?", "they", False, "Where were they born?"),
        ("Does Ann Li sing?", "they", False, "Do they sing?"),
        ("Who is Ann Li's mother?", "he", False, "Who is his mother?"),
        ("Who founded the Ann Li?", "it", False, "Who founded it?"),
        ("Which sport is linked with Ann Li?", "he", False, "Which sport is linked with him?"),
        ("Who leads the state in Ann Li?", "it", True, "Who leads the state there?"),
        ("ann li plays what?", "she", False, "She plays what?"),
        ("Who knows Ann Li and Ann Li?", "she", False, None),
        ("Who knows Joann Li?", "she", False, None),
    ],
)
def test_a_pronoun_takes_the_subjects_place(text: str, pronoun: str, there: bool, made: str | None) -> None:
    assert _talk.pronouned(text, "Ann Li", pronoun, there=there) == made


def record(number: int) -> Record:
    place = f"Place{chr(97 + number)}"
    edit = Draft(statement=f"The capital of {place} is Newton", subject=place, target="Newton")
    return Record(edit=edit, asked={"prompt": (f"The capital of {place} is",)})


@pytest.mark.parametrize("number", range(12))
def test_talk_asks_for_the_edit_and_its_negatives_do_not(number: int) -> None:
    one = record(number)
    assert _talk.told(one) == f"The capital of {one.subject} is Newton."
    talk = _talk.follow_up(one, number)
    assert talk is not None
    assert [message.role for message in talk] == ["user", "assistant", "user"]
    assert one.subject in talk[0].content
    assert "capital" not in talk[0].content
    assert one.subject not in talk[2].content
    assert "capital" in talk[2].content
    negative = _talk.follow_up(one, number, f"Who is the mayor of {one.subject}?")
    assert negative is not None
    assert one.subject in negative[0].content
    assert "mayor" in negative[2].content
    assert "capital" not in plain(negative)
    long = _talk.long_message(one, number, "The capital of Zembla is Onhava.")
    assert long is not None
    assert f"What is the capital of {one.subject}?" in long
    assert "Newton" not in long
    wrong = _talk.long_other(one, number, "The mayor of Alba is")
    assert _talk.told(one) in wrong
    assert wrong.endswith("The mayor of Alba is")
    assert _talk.follow_up(one, number) == talk


def test_talk_is_made_where_the_data_has_it(tmp_path: Path, put: Put) -> None:
    put("counterfact/edit.json", [capital(place, number) for number, place in enumerate(PLACES)])
    asked = ask(tmp_path, "counterfact", edits=8)
    assert set(asked.positives) == {"prompt", "paraphrase", "follow_up", "long_message"}
    assert set(asked.negatives) == {"neighbour", "follow_up", "long_message"}
    for one, edits in ((one, one.edits) for one in asked.positives["long_message"]):
        (number,) = edits
        assert f"capital of {PLACES[number]}?" in plain(one.text)


# Figures


def test_wilson_by_hand() -> None:
    assert metrics.wilson(0, 10) == pytest.approx((0, 0.27753), abs=1e-4)
    assert metrics.wilson(50, 100) == pytest.approx((0.40383, 0.59617), abs=1e-4)
    assert np.isnan(metrics.wilson(0, 0)).all()


def test_the_interval_of_a_recall_is_that_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(1)
    pos, neg = random.normal(2, 1, 300), random.normal(0, 1, 1000)
    right = random.random(300) < 0.9
    low, high = metrics.recall_interval(pos, right, neg, 0.01)
    plain_draws = []
    for _ in range(1000):
        some = random.integers(300, size=300)
        cut = metrics.threshold(random.choice(neg, 1000), 0.01)
        plain_draws.append(metrics.recall(pos[some], right[some], cut))
    assert (low, high) == pytest.approx(tuple(np.percentile(plain_draws, [2.5, 97.5])), abs=0.03)
    assert low < metrics.recall(pos, right, metrics.threshold(neg, 0.01)) < high
    assert np.isnan(metrics.recall_interval(pos, right, neg[:50], 0.01)).all()
    assert metrics.recall_interval([5.0] * 50, [True] * 50, [0.0] * 200, 0.01)[1] == 1.0


def test_curves_by_hand() -> None:
    fires, recalls = metrics.trade_off([5, 3, 1], [True, False, True], [4, 2, 0, -1])
    assert (fires, recalls) == (
        [0, 0.25, 0.5, 0.75],
        [pytest.approx(1 / 3), pytest.approx(1 / 3), *[pytest.approx(2 / 3)] * 2],
    )
    assert metrics.trade_off([], [], [1]) == ([], [])
    assert metrics.reliability([0.1, 0.3, 0.9], [0, 1, 1], bins=2) == [(pytest.approx(0.2), 0.5, 2), (0.9, 1.0, 1)]


class Knowing:
    """Finds the edit whose subject the last message names; its label and firing are scripted by words of the text."""

    name = "knowing"
    bulk = 0

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}

    def decide(self, messages: Sequence[Message], memory: Any, *, namespace: str = "default", **_: Any) -> Decision:
        text = messages[-1].content
        self.timings = {"first": 0.001} | ({"second": 0.002 * ("sea" in text)})
        edits = memory.list(namespace=namespace)
        said = [edit for edit in edits if edit.subject and words(edit.subject)[0] in words(text)]
        found = tuple(Hit(edit=edit, score=1.0, probability=0.9) for edit in said[:1])
        if "leak" in text or "Muddy" in text:
            found = (Hit(edit=edits[0], score=0.5, probability=0.8),)
        label = "multi_hop" if "sea" in text else "single" if found else "none"
        return Decision(query=text, hits=found, candidates=found, threshold=0.5, label=label)  # type: ignore[arg-type]


class InBulk(Knowing):
    name = "in_bulk"

    def decide_many(self, conversations: Sequence[Sequence[Message]], memory: Any) -> list[Decision]:
        type(self).bulk += len(conversations)
        return [super(InBulk, self).decide(one, memory) for one in conversations]


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"knowing": Knowing, "in_bulk": InBulk}
    monkeypatch.setattr("memedit.scope.scopes", SimpleNamespace(get=made.__getitem__))


@pytest.fixture
def data(tmp_path: Path, put: Put) -> Path:
    """Eight cities on rivers; of 200 ordinary questions two leak and four speak of the sea, two of those leaking."""
    put("hallueditbench/questions.json", [halluedit(place, f"River{place}") for place in PLACES])
    questions = [f"who wrote the {number}th book" for number in range(196)]
    odd = ["does the sea leak", "why would a sea leak", "how deep is the sea", "how wide is a sea"]
    put("questions/nq_open_dev.jsonl", [{"question": text} for text in [*questions, *odd]])
    return tmp_path


def test_rows_by_hand(data: Path, knowing: None, tmp_path: Path) -> None:
    found = bench.run(
        data,
        scope=["knowing", "in_bulk"],
        edits=[20],
        dataset=["hallueditbench", "nq"],
        encoder=Letters(),
        errors=tmp_path / "errors.jsonl",
        stages=True,
    )
    rows = {(row["scope"], row["dataset"], row["query"], row["negative"]): row for row in found["rows"]}
    kinds = ("prompt", "paraphrase", "yes", "no", "reversed", "multihop", "follow_up", "long_message")
    besides = ("same-subject", "general", "follow_up", "long_message")
    assert {key[2:] for key in rows if key[1] == "hallueditbench"} == {(q, n) for q in kinds for n in besides}
    row = rows["knowing", "hallueditbench", "paraphrase", "general"]
    assert (row["positives"], row["negatives"], row["edits"], row["dropped"]) == (8, 200, 20, 0)
    assert (row["top1"], row["recall_shipped"], row["recall_at_1pct"], row["recall_at_0.1pct"]) == (1, 1, 1, None)
    assert row["false_fires_shipped"] == 0.01
    assert row["false_fires_shipped_low"] < 0.01 < row["false_fires_shipped_high"]
    assert (row["labelled_multi_hop"], row["negatives_labelled_multi_hop"]) == (0, 0.02)
    assert rows["knowing", "hallueditbench", "multihop", "general"]["labelled_multi_hop"] == 1
    assert rows["knowing", "hallueditbench", "multihop", "general"]["positives_left_out"] == 8
    # This scope fires on whatever names the subject, so on all of the same subject's other questions.
    row = rows["knowing", "hallueditbench", "paraphrase", "same-subject"]
    assert (row["false_fires_shipped"], row["auroc"], row["recall_at_1pct"]) == (1.0, 0.5, None)
    assert rows["knowing", "hallueditbench", "reversed", "general"]["recall_shipped"] == 0
    row = rows["knowing", "hallueditbench", "no", "general"]  # of these it fires the wrong edit
    assert (row["top1"], row["recall_shipped"], row["recall_at_1pct"]) == (0, 0, 0)
    row = rows["knowing", "nq", None, "general"]
    assert (row["positives"], row["false_fires_shipped"]) == (0, 0.01)
    assert all(row[key] is None for key in ("top1", "recall_at_1pct", "recall_shipped", "auroc", "eer", "ece"))
    for key, row in rows.items():
        if key[0] == "knowing":
            assert row | {"scope": "in_bulk"} == rows["in_bulk", *key[1:]]
    assert InBulk.bulk > 300
    latency = {(row["scope"], row["kind"]): row for row in found["latency"]}
    assert set(latency) == {(s, k) for s in ("knowing", "in_bulk") for k in ("general", "neighbour", "in_scope")}
    assert latency["knowing", "general"]["stages"] == {"first": {"share": 1.0, "ms_p50": 1.0, "ms_p99": 1.0}}
    assert "second" not in latency["knowing", "neighbour"]["stages"]
    lines = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    general = [line for line in lines if (line["scope"], line["dataset"], line["kind"]) == ("knowing", "nq", "general")]
    assert {(line["error"], line["asked"]) for line in general} == {
        *(("false fire", "does the sea leak"), ("false fire", "why would a sea leak"))
    }
    assert {line["error"] for line in lines if line["kind"] == "reversed"} == {"missed"}
    assert {line["error"] for line in lines if line["kind"] == "no"} == {"wrong edit"}
    assert not any(line["kind"] == "multihop" for line in lines)


def test_what_serves_for_the_smallest_rate_alone_is_not_counted(data: Path, knowing: None, put: Put) -> None:
    put("counterfact/edit.json", [capital(place, number) for number, place in enumerate(PLACES)])
    put("questions/nq_open_dev.jsonl", [{"question": f"who wrote the {n}th book"} for n in range(110)])
    put("questions/webquestions_train.json", [{"qText": f"does sea {n} leak"} for n in range(2000)])
    given = {"scope": ["knowing"], "edits": [8], "dataset": ["counterfact"], "encoder": Letters()}
    rows = bench.run(data, **given, sample=100, negatives=1500)["rows"]
    row = next(row for row in rows if (row["query"], row["negative"]) == ("prompt", "general"))
    assert (row["negatives"], row["negatives_0.1pct"]) == (100, 1500)
    assert (row["negatives_labelled_multi_hop"], row["false_fires_shipped"]) == (0, 0)
    assert (row["recall_at_1pct"], row["recall_at_0.1pct"]) == (1, 1)  # 1490 leak, all with less than the edits' 0.9


def test_with_one_edit_each_stands_alone(data: Path, knowing: None) -> None:
    found = bench.run(data, scope=["knowing"], edits=[1], dataset=["hallueditbench"], encoder=Letters())
    rows = {(row["query"], row["negative"]): row for row in found["rows"]}
    row = rows["prompt", "same-subject"]
    assert (row["edits"], row["positives"], row["negatives"], row["top1"]) == (1, 8, 8, 1.0)
    assert rows["prompt", "general"]["negatives"] == 8 * bench.GENERAL_EACH
    assert {row["edits"] for row in found["latency"]} == {1}


def test_latency_alone_of_a_large_memory(data: Path) -> None:
    found = bench.run(data, edits=[300], encoder=Letters(), latency_only=True)
    assert found["rows"] == []
    assert [(row["edits"], row["kind"]) for row in found["latency"]] == [
        *((300, "general"), (300, "neighbour"), (300, "in_scope"))
    ]


def test_every_part_goes_through_a_real_scope(data: Path, put: Put) -> None:
    put("counterfact/edit.json", [capital(place, number) for number, place in enumerate(PLACES)])
    put("questions/webquestions_train.json", [{"qText": "what is the sea?"}])
    found = bench.run(data, edits=[30], encoder=Letters(), negatives=100)
    assert {row["dataset"] for row in found["rows"]} == {"counterfact", "hallueditbench", "nq", "webquestions"}
    assert {row["edits"] for row in found["rows"]} == {30}
    prompts = [row for row in found["rows"] if row["query"] == "prompt"]
    assert all(row["top1"] == 1.0 for row in prompts)
    assert set(DATASETS) >= {row["dataset"] for row in found["rows"]}


def test_rows_are_named_with_a_scopes_settings(data: Path, put: Put) -> None:
    put("counterfact/edit.json", [capital(place, number) for number, place in enumerate(PLACES)])
    names = ["two_stage:stages=proposer", "lexical:threshold=0.9"]
    found = bench.run(data, scope=names, edits=[30], encoder=Letters(), negatives=100)
    assert {row["scope"] for row in found["rows"]} == set(names)


def test_a_rate_is_set_where_a_scope_has_one(knowing: None, data: Path) -> None:
    with pytest.raises(InputError, match="is not set by a false-fire rate"):
        bench.run(data, scope=["knowing"], encoder=Letters(), false_fire=0.1)


def test_the_report_stands_by_itself(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    given = ["bench", "scope", "--data", str(data), "--encoder", "letters", "--scope", "similarity", "--limit", "5"]
    shown = CliRunner().invoke(cli, [*given, "--edits", "1,20", "--report", str(tmp_path / "out"), "--stages"])
    assert shown.exit_code == 0, shown.output
    assert "hallueditbench" in shown.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<img") == page.count("data:image/png;base64,") == len(list((tmp_path / "out").glob("*.png")))
    assert {
        "recall-similarity-hallueditbench-20.png",
        "reliability-similarity-hallueditbench-1.png",
        "false-fires.png",
    } <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "recall_at_1pct" in page
    assert "http" not in page.replace("data:image", "")[:2000]
    monkeypatch.setattr(_curves, "find_spec", lambda name: None)
    failed = CliRunner().invoke(cli, [*given, "--report", str(tmp_path / "out")])
    assert failed.exit_code == 2
    assert "memedit[bench]" in failed.stderr


def test_small_sizes_are_pooled_over_several_memories(data: Path, knowing: None, put: Put) -> None:
    found = bench.run(data, scope=["knowing"], edits=[3], dataset=["hallueditbench"], encoder=Letters(), limit=8)
    row = next(row for row in found["rows"] if (row["query"], row["negative"]) == ("prompt", "general"))
    assert (row["edits"], row["positives"], row["negatives"], row["top1"]) == (3, 6, 400, 1.0)
    assert row["false_fires_shipped"] == 0.01
    first, second = (ask(data, "hallueditbench", edits=3, start=start) for start in (0, 3))
    assert [draft.subject for draft in (*first.edits, *second.edits)] == PLACES[:6]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Blue Note", "Blue Note Records", True),
        ("Claude Joseph Marl", "joseph marl", True),
        ("Homo sapiens", "human", True),
        ("Paris", "University of Paris", False),
        ("Blue Note", "Bluer Note Records", False),
        ("human", "mouse", False),
    ],
)
def test_answers_are_the_same_in_a_fuller_form(one: str, other: str, same: bool) -> None:
    assert agree(answers(one), answers(other)) == agree(answers(other), answers(one)) == same
