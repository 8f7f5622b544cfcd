"""Datasets as cases: every official form, what is passed over and counted, files found and not found, the way back."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit import datasets
from memedit.cli import cli
from memedit.datasets import knowedit, mquake, own, piqa, reader, ripple_edits
from memedit.datasets._sift import asks_back, sifted
from memedit.edits import Case, Draft, Probe
from memedit.errors import InputError, NotFoundError
from memedit.memory import EditMemory

Run = Callable[..., Result]


def put(folder: Path, place: str, rows: object) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.suffix == ".jsonl" and isinstance(rows, list)
    text = "".join(f"{json.dumps(row)}\n" for row in rows) if lines else json.dumps(rows)  # type: ignore[attr-defined]
    path.write_text(text, encoding="utf-8")
    return path


def asked(case: Case) -> dict[str, list[tuple[str, tuple[str, ...], tuple[str, ...]]]]:
    return {kind: [(one.prompt, one.answers, one.old) for one in probes] for kind, probes in case.questions.items()}


# Records of our own in the form of each dataset

NESTED = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "{}, a seaport of",
        "relation_id": "P17",
        "target_new": {"str": "Borduria", "id": "Q2"},
        "target_true": {"str": "Syldavia", "id": "Q1"},
        "subject": "Dbrnouk",
    },
    "paraphrase_prompts": ["It rained. Dbrnouk lies in", "Dbrnouk belongs to"],
    "neighborhood_prompts": ["Klow lies in", "Zileheroum lies in"],
    "attribute_prompts": ["Szohod lies in"],
    "generation_prompts": ["Around Dbrnouk people speak", "Dbrnouk is known for"],
}
FLAT = {
    "case_id": 0,
    "prompt": "Dbrnouk, a seaport of",
    "target_new": "Borduria",
    "subject": "Dbrnouk",
    "ground_truth": "Syldavia",
    "rephrase_prompt": "It rained. Dbrnouk lies in",
    "locality_prompt": "Klow lies in",
    "locality_ground_truth": "Syldavia",
}
ZSRE = {
    "subject": "Klow Radio",
    "src": "Who founded Klow Radio?",
    "pred": "Nobody",
    "rephrase": "Klow Radio was founded by whom?",
    "alt": "Bianca C.",
    "answers": ["Igor W.", "I. W."],
    "loc": "nq question: who wrote the sceptre",
    "loc_ans": "H.",
    "portability": {"Recalled Relation": "(..)", "New Question": "Where does its founder sing?", "New Answer": "Milan"},
}
CHAIN = {
    "case_id": 3,
    "requested_rewrite": [
        {
            "prompt": "{} is ruled by",
            "relation_id": "R1",
            "target_new": {"str": "Plekszy", "id": "B"},
            "target_true": {"str": "Muskar", "id": "A"},
            "subject": "Syldavia",
            "question": "Who rules Syldavia?",
        },
        {
            "prompt": "{} was born in",
            "relation_id": "R2",
            "target_new": {"str": "Szohod", "id": "D"},
            "target_true": {"str": "Tapiocapolis", "id": "C"},
            "subject": "Plekszy",
            "question": "Where was Plekszy born?",
        },
    ],
    "questions": ["Where was Syldavia's ruler born?", "In which town was its ruler born?", "And which river is there?"],
    "answer": "Klow",
    "answer_alias": ["Old Klow"],
    "new_answer": "Szohod",
    "new_answer_alias": ["Sz."],
    "single_hops": [{"question": "Who rules Syldavia?", "cloze": "..", "answer": "Muskar", "answer_alias": ["M. XII"]}],
    "new_single_hops": [
        {"question": "Who rules Syldavia?", "cloze": "..", "answer": "Plekszy", "answer_alias": ["Marshal P."]},
        {"question": "Where was Plekszy born?", "cloze": "..", "answer": "Szohod", "answer_alias": []},
    ],
    "orig": {
        "new_triples": [["S", "R1", "B"], ["B", "R2", "D"]],
        "edit_triples": [["S", "R1", "B"], ["B", "R2", "D"]],
    },
}


def query(prompt: str | None, *answers: tuple[str, list[str]]) -> dict[str, Any]:
    given = [{"value": value, "aliases": aliases} for value, aliases in answers]
    return {
        "test_queries": [{"prompt": prompt, "answers": given, "query_type": "regular", "phrase": None}],
        "test_condition": "OR",
        "condition_queries": [],
    }


RIPPLE = {
    "example_type": "popular",
    "edit": {
        "prompt": "The name of the country of citizenship of Bianca is United Syldavia.",
        "subject_id": "Q1",
        "relation": "COUNTRY_OF_CITIZENSHIP",
        "target_id": "Q2",
        "previous_fact": {
            "prompt": "The name of the country of citizenship of Bianca is United Borduria.",
            "subject_id": "Q1",
            "relation": "COUNTRY_OF_CITIZENSHIP",
            "target_id": "Q3",
        },
    },
    "Relation_Specificity": [query("The occupation of Bianca is", ("singer", ["diva", "x"]))],
    "Logical_Generalization": [
        query("The name of a citizen of United Syldavia is", ("Bianca", [])),
        query("Is Bianca a citizen of United Borduria?", ("No", [])),
    ],
    "Subject_Aliasing": [query("The name of the country of citizenship of la C. is", ("United Syldavia", ["US"]))],
    "Compositionality_I": [query("The currency in the country of citizenship of Bianca is", ("khor", []))],
    "Compositionality_II": [query("The country of citizenship of the singer of the song is", ("United Syldavia", []))],
    "Forgetfulness": [query("The country of citizenship of Bianca, which is not United Syldavia, is", ("Italy", []))],
}
HALLU = {
    "topic": "human_writer",
    "subject": "Bianca",
    "relation": "teacher",
    "object": "Igor W.",
    "question": "Who is the teacher of Bianca?",
    "multiple_choices": "['a', 'b']",
    "paraphrased_question": "Who taught Bianca?",
    "yes_question": "Did Igor W. teach Bianca?",
    "no_question": "Did Nestor teach Bianca?",
    "locality_question": "Where does Bianca sing?",
    "reversed_relation_question": "Who was taught by Igor W.?",
    "question_2hop": "Where was the teacher of Bianca born?",
    "answer_2hop": "Klow",
    "question_3hop": "In which country was the teacher of Bianca born?",
    "answer_3hop": "Syldavia",
}
WIKI = {
    "subject": "Bianca",
    "prompt": "The name of the teacher of Bianca is",
    "target_new": "Igor W.",
    "ground_truth": "Nestor",
    "rephrase": ["Bianca was taught by", "Bianca's teacher was"],
    "portability": {
        "Reasoning": [{"prompt": "The birthplace of the teacher of Bianca is", "ground_truth": [["Klow", "New Klow"]]}],
        "Subject_Aliasing": [{"prompt": "The name of the teacher of la C. is", "ground_truth": "Igor W."}],
        "Logical_Generalization": [
            {"prompt": "The name of the student of Igor W. is", "ground_truth": [["Bianca"]]},
            {"prompt": "Is Nestor the teacher of Bianca?", "ground_truth": "no"},
        ],
    },
    "locality": {
        "Relation_Specificity": [{"prompt": "The occupation of Bianca is", "ground_truth": [["singer"], ["diva"]]}],
        "Forgetfulness": [
            {"prompt": "The name of the teacher of Bianca, which is not Igor W., is", "ground_truth": [["Nestor"]]}
        ],
    },
}
KNOWN = {
    "known_id": 12,
    "subject": "Klow",
    "attribute": "Syldavia",
    "template": "{} lies in",
    "prediction": " Syldavia",
    "prompt": "Klow lies in",
    "relation_id": "P17",
}
PLAIN = {"prompt": "The CEO of Acme is", "subject": "Acme", "target": "Bo Chen", "old": "Dana Li|D. Li"}


def test_counterfact_nested() -> None:
    case = reader("counterfact").case(NESTED, 1)
    assert (case.id, case.prompt, case.subject, case.target) == ("7", "Dbrnouk, a seaport of", "Dbrnouk", "Borduria")
    assert case.edits[0].statement == "Dbrnouk, a seaport of Borduria"
    assert case.old == ("Syldavia",)
    true = ("Syldavia",), ("Syldavia",)
    assert asked(case) == {
        "paraphrase": [
            (text, ("Borduria",), ("Syldavia",)) for text in ("It rained. Dbrnouk lies in", "Dbrnouk belongs to")
        ],
        "neighbour": [("Klow lies in", *true), ("Zileheroum lies in", *true)],
        "distracting": [
            ("Dbrnouk, a seaport of Borduria. Klow lies in", *true),
            ("Dbrnouk, a seaport of Borduria. Zileheroum lies in", *true),
        ],
        "attribute": [
            ("Around Dbrnouk people speak", ("Borduria",), ()),
            ("Dbrnouk is known for", ("Borduria",), ()),
        ],
    }


def test_counterfact_flat() -> None:
    case = reader("counterfact").case(FLAT, 1)
    assert case.id == "0"
    assert asked(case) == {
        "paraphrase": [("It rained. Dbrnouk lies in", ("Borduria",), ("Syldavia",))],
        "neighbour": [("Klow lies in", ("Syldavia",), ("Syldavia",))],
        "distracting": [("Dbrnouk, a seaport of Borduria. Klow lies in", ("Syldavia",), ("Syldavia",))],
    }
    assert reader("counterfact").case({k: v for k, v in FLAT.items() if k != "case_id"}, 5).id == "5"


def test_zsre() -> None:
    case = reader("zsre").case(ZSRE, 4)
    assert (case.id, case.prompt, case.target, case.old) == (
        "4",
        "Who founded Klow Radio?",
        "Bianca C.",
        ("Igor W.", "I. W."),
    )
    assert case.edits[0].question == case.prompt
    assert case.edits[0].prompt is None
    assert asked(case) == {
        "paraphrase": [("Klow Radio was founded by whom?", ("Bianca C.",), ("Igor W.", "I. W."))],
        "neighbour": [("who wrote the sceptre?", ("H.",), ("H.",))],
        "one_hop": [("Where does its founder sing?", ("Milan",), ())],
    }
    assert reader("zsre").case({**ZSRE, "answers": None}, 1).old == ("Nobody",)
    with pytest.raises(InputError, match="target is empty"):
        reader("zsre").case({**ZSRE, "alt": " "}, 1)


def test_knowedit_wiki() -> None:
    case = knowedit.case(WIKI, 2)
    assert (case.id, case.old) == ("2", ("Nestor",))
    assert asked(case) == {
        "paraphrase": [
            ("Bianca was taught by", ("Igor W.",), ("Nestor",)),
            ("Bianca's teacher was", ("Igor W.",), ("Nestor",)),
        ],
        "one_hop": [("The birthplace of the teacher of Bianca is", ("Klow", "New Klow"), ())],
        "alias": [("The name of the teacher of la C. is", ("Igor W.",), ())],
        "reversed": [("The name of the student of Igor W. is", ("Bianca",), ())],
        "logical": [("Is Nestor the teacher of Bianca?", ("no",), ())],
        "same_subject": [("The occupation of Bianca is", ("singer", "diva"), ("singer", "diva"))],
        "forgetfulness": [("The name of the teacher of Bianca, which is not Igor W., is", ("Nestor",), ("Nestor",))],
    }


def test_knowedit_other_parts() -> None:
    bio = {
        "text": "This is a passage about bianca. Bianca is a singer.",
        "concept": "bianca",
        "labels": "She was born in Milan.",
        "locality": {"Relation_Specificity": [{"prompt": "The voice of bianca is", "ground_truth": ["high"]}]},
    }
    case = knowedit.case(bio, 1)
    assert (case.subject, case.target, case.prompt) == ("bianca", "She was born in Milan.", bio["text"])
    assert asked(case) == {"same_subject": [("The voice of bianca is", ("high",), ("high",))]}
    case = knowedit.case({"ent": "opera", "pos": ["I love it.", "Great."], "neg": ["I hate it."]}, 9)
    assert (case.id, case.subject, case.target) == ("9", "opera", "I love it.")
    assert asked(case) == {"paraphrase": [("How do you view opera?", ("I love it.", "Great."), ("I hate it.",))]}
    forget = {"subject": "Klow", "question": "What is Klow?", "ground_truth": "a city", "target_new": "I cannot say."}
    kept = {"question": "What is khor?", "ground_truth": "money"}
    case = knowedit.case({"K_F": [forget, {**forget, "question": "Where is Klow?"}], "K_R": [kept]}, 1)
    assert [edit.statement for edit in case.edits] == ["What is Klow? I cannot say.", "Where is Klow? I cannot say."]
    assert asked(case) == {"neighbour": [("What is khor?", ("money",), ("money",))]}


def test_mquake() -> None:
    case = mquake.case(CHAIN, 1)
    assert case.id == "3"
    assert [(edit.subject, edit.prompt, edit.target, edit.question) for edit in case.edits] == [
        ("Syldavia", "Syldavia is ruled by", "Plekszy", "Who rules Syldavia?"),
        ("Plekszy", "Plekszy was born in", "Szohod", "Where was Plekszy born?"),
    ]
    assert (case.prompt, case.subject, case.target) == ("Syldavia is ruled by", "Syldavia", "Plekszy")
    assert case.old == ("Muskar", "M. XII")
    assert asked(case) == {
        "paraphrase": [
            ("Who rules Syldavia?", ("Plekszy", "Marshal P."), ("Muskar", "M. XII")),
            ("Where was Plekszy born?", ("Szohod",), ("Tapiocapolis",)),
        ],
        "one_hop": [(text, ("Szohod", "Sz."), ("Klow", "Old Klow")) for text in CHAIN["questions"]],
    }
    fact = {
        "triple": ["Klow", "river", "Wladir"],
        "question": "Which river is in Klow?",
        "cloze": "The river of Klow is",
        "answer": "Wladir",
        "answer_alias": ["the Wladir river"],
    }
    case = mquake.case(fact, 2)
    assert case.target == "Wladir"
    assert case.old == ("Wladir", "the Wladir river")


def chain(*hops: str, edits: str) -> dict[str, Any]:
    """Hops and edits as "subject relation object", in letters."""
    triples = [hop.split() for hop in hops]
    return CHAIN | {"orig": {"new_triples": triples, "edit_triples": [edit.split() for edit in edits.split(",")]}}


def test_mquake_cases_that_others_break() -> None:
    rows = [
        chain("a r b", "b s c", edits="a r b"),  # its second hop is edited by the next
        chain("x t b", "b s d", edits="b s d"),
        chain("a r b", "b q c", edits="a r b"),  # the same edit as the first: no conflict
        chain("e r f", "f s g", edits="e r f"),
        chain("e r h", edits="e r h"),  # the same slot, another target: both are broken
    ]
    assert mquake.contaminated(rows) == {0, 3, 4}
    assert mquake.contaminated(rows[2:3]) == set()

    def broken(at: int) -> bool:
        """The slow way: make all edits in any order, and see whether the chain still holds."""
        world = [edit for other, row in enumerate(rows) if other != at for edit in row["orig"]["edit_triples"]]
        return any(
            s == s2 and r == r2 and o != o2 for s, r, o in rows[at]["orig"]["new_triples"] for s2, r2, o2 in world
        )

    assert mquake.contaminated(rows) == {at for at in range(len(rows)) if broken(at)}


def test_ripple_edits() -> None:
    case = ripple_edits.case(RIPPLE, 8)
    assert (case.id, case.subject, case.target, case.old) == ("8", "Bianca", "United Syldavia", ("United Borduria",))
    assert case.prompt == "The name of the country of citizenship of Bianca is"
    assert asked(case) == {
        "reversed": [("The name of a citizen of United Syldavia is", ("Bianca",), ())],
        "logical": [("Is Bianca a citizen of United Borduria?", ("No",), ())],
        "one_hop": [
            ("The currency in the country of citizenship of Bianca is", ("khor",), ()),
            ("The country of citizenship of the singer of the song is", ("United Syldavia",), ()),
        ],
        "alias": [("The name of the country of citizenship of la C. is", ("United Syldavia", "US"), ())],
        "same_subject": [("The occupation of Bianca is", ("singer", "diva"), ("singer", "diva"))],
        "forgetfulness": [
            ("The country of citizenship of Bianca, which is not United Syldavia, is", ("Italy",), ("Italy",))
        ],
    }


@pytest.mark.parametrize(
    ("relation", "statement", "subject", "target"),
    [
        ("PLACE_OF_BIRTH", "The place of birth of Ann of Klow is Zenda.", "Ann of Klow", "Zenda"),
        ("SEX_OR_GENDER", "The gender of Ann is female.", "Ann", "female"),
        ("SIBLING", "The names of the siblings of Ann Doe are Bo Doe.", "Ann Doe", "Bo Doe"),
        ("POSITION_HELD", "The name of the position held by Ann is Queen of Syldavia.", "Ann", "Queen of Syldavia"),
        ("FIELD_OF_WORK", "The name of the field of work of Ann is history of art.", "Ann", "history of art"),
        ("AWARD_RECEIVED", "The name of the award Ann won is Order of Ottokar.", "Ann", "Order of Ottokar"),
        ("NUMBER_OF_CHILDREN", "The number of children Ann has is 3.", "Ann", "3"),
        ("CURRENCY", "The name of the currency in Syldavia is khor.", "Syldavia", "khor"),
        ("COUNTRY", "The name of the country which Klow is associated with is Syldavia.", "Klow", "Syldavia"),
        ("CAPITAL_OF", "The name of the country which Klow is the capital of is Syldavia.", "Klow", "Syldavia"),
        ("AUTHOR", "The name of the author of Tales of Klow is Ann.", "Tales of Klow", "Ann"),
        ("FOLLOWS", "Part Two follows Part One.", "Part Two", "Part One"),
        ("FOLLOWED_BY", "Part One is followed by Part Two.", "Part One", "Part Two"),
    ],
)
def test_ripple_edits_wordings(relation: str, statement: str, subject: str, target: str) -> None:
    row = {"edit": {"prompt": statement, "relation": relation}, "example_type": "recent", "Relation_Specificity": []}
    case = ripple_edits.case(row, 1)
    assert (case.subject, case.target) == (subject, target)
    assert case.edits[0].statement == statement.removesuffix(".")


def test_ripple_edits_knows_what_it_cannot_read() -> None:
    for statement in ("Ann", "The thing is a thing."):
        with pytest.raises(InputError, match="none of the benchmark's wordings"):
            ripple_edits.drafts({"edit": {"prompt": statement, "relation": "SPOUSE"}})


def test_halluedit_bench() -> None:
    case = reader("halluedit_bench").case(HALLU, 6)
    assert (case.id, case.prompt, case.target) == ("6", "Who is the teacher of Bianca?", "Igor W.")
    assert asked(case) == {
        "paraphrase": [("Who taught Bianca?", ("Igor W.",), ())],
        "yes": [("Did Igor W. teach Bianca?", ("Yes",), ())],
        "no": [("Did Nestor teach Bianca?", ("No",), ())],
        "reversed": [("Who was taught by Igor W.?", ("Bianca",), ())],
        "same_subject": [("Where does Bianca sing?", (), ())],
        "one_hop": [
            ("Where was the teacher of Bianca born?", ("Klow",), ()),
            ("In which country was the teacher of Bianca born?", ("Syldavia",), ()),
        ],
    }


def test_known_facts() -> None:
    case = reader("known_facts").case(KNOWN, 1)
    assert (case.id, case.prompt, case.subject, case.target, case.old) == (
        "12",
        "Klow lies in",
        "Klow",
        "Syldavia",
        ("Syldavia",),
    )


def test_own_rows() -> None:
    row = PLAIN | {
        "paraphrase": "Acme is run by|The head of Acme is",
        "reversed": "What does Bo Chen run?",
        "yes": "Does Bo Chen run Acme?",
        "neighbour": ["The CEO of Bolt is"],
        "neighbour_answers": "Eve|E. Zorb",
        "one_hop": [{"prompt": "Where was Acme's CEO born?", "answers": ["Klow", "New Klow"], "old": "Zenda"}],
    }
    case = own.case(row, 3)
    assert (case.id, case.old) == ("3", ("Dana Li", "D. Li"))
    assert asked(case) == {
        "paraphrase": [
            ("Acme is run by", ("Bo Chen",), ("Dana Li", "D. Li")),
            ("The head of Acme is", ("Bo Chen",), ("Dana Li", "D. Li")),
        ],
        "reversed": [("What does Bo Chen run?", ("Acme",), ())],
        "yes": [("Does Bo Chen run Acme?", ("Yes",), ())],
        "neighbour": [("The CEO of Bolt is", ("Eve", "E. Zorb"), ("Eve", "E. Zorb"))],
        "one_hop": [("Where was Acme's CEO born?", ("Klow", "New Klow"), ("Zenda",))],
    }
    with pytest.raises(InputError, match="unknown: colour; known: id, prompt"):
        own.case(PLAIN | {"colour": "red"}, 1)
    with pytest.raises(InputError, match="a question of logical is a text"):
        own.case(PLAIN | {"logical": [3]}, 1)


# Questions that are passed over

PROMPTS = {
    "alias": "The CEO of Acme is",
    "one_hop": "the ceo of acme is",
    "same_subject": "The CEO of Acme is",
    "neighbour": "The CEO of Acme is",
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_a_question_in_the_edits_own_words_is_passed_over(kind: str) -> None:
    good = Probe("Quite another question", ("an answer",))
    case = own.case(PLAIN, 1)
    case = replace(case, questions={kind: (Probe(PROMPTS[kind], ("Zed",)), good, good)})
    found, faults = sifted(case)
    assert found.questions == {kind: (good,)}
    assert faults == {(kind, "asks the edit in its own words", False): 1, (kind, "is there twice", False): 1}


def test_what_cannot_be_scored_is_passed_over_and_what_is_odd_is_kept() -> None:
    ok = {
        "paraphrase": (Probe("It rained. Acme is run by", ("Bo Chen",)), Probe("Acme is led by", ("Bo Chen",))),
        "same_subject": (Probe("Acme was founded in", ("Bo Chen",)), Probe("Acme makes", ())),
        "one_hop": (Probe("Where was Bo Chen born?", ("Klow",)),),
        "attribute": (Probe("Acme is known for"),),
        "reversed": (Probe("What does Bo Chen run?", ("Acme",)),),
    }
    case = replace(own.case(PLAIN, 1), questions=ok)
    found, faults = sifted(case)
    assert found is case
    assert faults == {
        ("paraphrase", "begins with another sentence", True): 1,
        ("one_hop", "gives the edit's answer away", True): 1,
    }
    bad = {
        "one_hop": (Probe("Where was its CEO born?"),),
        "neighbour": (Probe("  ", ("x",)),),
        "same_subject": (Probe("The head of Acme is", ("the Dana Li",)),),
        "reversed": (Probe("The CEO of Bo Chen is", ("Acme",)),),
        "colour": (Probe("What colour is it?", ("red",)),),
    }
    found, faults = sifted(replace(case, questions=bad))
    assert found.questions == {}
    assert sorted(fault for _, fault, _ in faults) == [
        "asks for another relation",
        "has no answer",
        "has the answer that the edit replaces",
        "is empty",
        "is of no known kind",
    ]
    assert not any(kept for _, _, kept in faults)


def test_a_question_backwards() -> None:
    assert asks_back("Who is married to B?", "B", "The spouse of A is", "A")
    assert asks_back("The spouse of B is", "B", "The spouse of A is", "A")
    assert not asks_back("B is followed by", "B", "A is followed by", "A")
    assert not asks_back("The siblings of B are", "B", "The spouse of A is", "A")


# Reading by name

FORMS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "counterfact": ("counterfact/counterfact.json", [NESTED]),
    "counterfact:edit": ("counterfact/edit.json", [FLAT]),
    "zsre": ("zsre/zsre_mend_eval.json", [ZSRE]),
    "knowedit:wiki_recent": ("knowedit/benchmark/wiki_recent/recent_test.json", [WIKI]),
    "knowedit": ("knowedit/wiki_counterfact.json", [WIKI]),
    "mquake": ("MQuAKE/datasets/MQuAKE-CF-3k.json", [CHAIN]),
    "mquake:hard": ("mquake/MQuAKE-hard.json", [CHAIN]),
    "mquake:t": ("mquake/t.json", [CHAIN]),
    "ripple_edits": ("RippleEdits/data/benchmark/popular.json", [RIPPLE]),
    "halluedit_bench": ("hallueditbench/questions.json", [HALLU]),
    "known_facts": ("rome/known_1000.json", [KNOWN]),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_dataset_is_read_by_its_name(tmp_path: Path, name: str) -> None:
    place, rows = FORMS[name]
    put(tmp_path, place, rows)
    form = reader(name.partition(":")[0])
    assert all(form.matches(row) for row in rows)
    wanted = [form.case(row, number) for number, row in enumerate(rows, 1)]
    left_out: Counter[str] = Counter()
    found = list(datasets.read(name, tmp_path, left_out=left_out))
    assert [case.id for case in found] == [case.id for case in wanted]
    assert [case.edits for case in found] == [case.edits for case in wanted]
    assert sum(left_out.values()) + sum(len(p) for c in found for p in c.questions.values()) == sum(
        len(p) for c in wanted for p in c.questions.values()
    )
    assert list(datasets.read(str(tmp_path / place))) == found


def test_every_dataset_says_where_it_comes_from() -> None:
    for name in datasets.datasets.names():
        form = reader(name)
        assert form.SOURCE.licence
        assert set(form.SOURCE.together) <= set(form.FILES)
        assert set(form.SOURCE.files) <= set(form.FILES), name
        for file in form.SOURCE.files.values():
            assert file.url.startswith("https://")
            assert file.sha256 is None or (len(file.sha256) == 64 and int(file.sha256, 16))


def test_parts_cases_and_ids(tmp_path: Path) -> None:
    put(tmp_path, "zsre/portability.json", [ZSRE, ZSRE | {"subject": "B"}])
    put(tmp_path, "zsre/train.json", [ZSRE, {"src": "x"}, ZSRE | {"alt": ""}, ZSRE])
    ids = [case.id for case in datasets.read("zsre", tmp_path)]
    assert ids == ["1", "2"]  # one part of several versions
    left_out: Counter[str] = Counter()
    both = list(datasets.read("zsre:portability+train", tmp_path, left_out=left_out))
    assert [case.id for case in both] == ["1", "2", "train/1", "4"]
    assert left_out == {"record: the record has no 'alt'": 1, "record: its target is empty": 1}
    assert [case.id for case in datasets.read("zsre:portability+train", tmp_path, 3)] == [*ids, "train/1"]
    put(tmp_path, "knowedit/zsre.json", [WIKI])
    put(tmp_path, "knowedit/wiki_recent.json", [WIKI])
    assert [case.id for case in datasets.read("knowedit", tmp_path)] == ["1", "wiki_recent/1"]  # one whole
    twice = put(tmp_path, "twice.jsonl", [PLAIN | {"id": "a"}, PLAIN | {"id": "a"}, PLAIN | {"id": "a"}])
    assert len({case.id for case in datasets.read(str(twice))}) == 3


def test_mquake_clean_is_a_part_of_the_file(tmp_path: Path) -> None:
    rows = [chain("a r b", "b s c", edits="a r b"), chain("b s d", edits="b s d"), chain("k r l", edits="k r l")]
    put(tmp_path, "mquake/cf-3k.json", [row | {"case_id": at} for at, row in enumerate(rows)])
    assert [case.id for case in datasets.read("mquake", tmp_path)] == ["0", "1", "2"]
    assert [case.id for case in datasets.read("mquake:clean", tmp_path)] == ["1", "2"]
    put(tmp_path, "mquake/cf-3k.json", [{k: v for k, v in CHAIN.items() if k != "orig"}])
    with pytest.raises(InputError, match="the part clean cannot be told"):
        list(datasets.read("mquake:clean", tmp_path))


def test_csv_of_several_topics(tmp_path: Path) -> None:
    inside = tmp_path / "HalluEditBench/data/questions/hallucination_final/llama_2_7b_chat_hf"
    inside.mkdir(parents=True)
    for topic in ("b_topic", "a_topic"):
        row = HALLU | {"topic": topic, "object": topic.upper(), "question_4hop": "", "output_llama": "Nestor, he said"}
        with (inside / f"{topic}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
    cases = list(datasets.read("halluedit_bench", tmp_path))
    assert [case.target for case in cases] == ["A_TOPIC", "B_TOPIC"]
    assert len(cases[0].questions["one_hop"]) == 2
    assert len({case.id for case in cases}) == 2


def test_a_csv_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "prompt,subject,target,paraphrase,neighbour,neighbour_answers\n"
        'The CEO of Acme is,Acme,Bo Chen,"Acme is run by|Acme, as we know, is led by",The CEO of Bolt is,Eve\n'
        "The CEO of Bolt is,Bolt,,,,\n",
        encoding="utf-8",
    )
    left_out: Counter[str] = Counter()
    (case,) = datasets.read(str(path), left_out=left_out)
    assert [probe.prompt for probe in case.questions["paraphrase"]] == ["Acme is run by", "Acme, as we know, is led by"]
    assert left_out == {"record: the record has no 'target'": 1}
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as memory:
        report = memory.import_file(path)
        assert (report.added, [line for line, _ in report.faults]) == (1, [3])
        assert memory.list()[0].statement == "The CEO of Acme is Bo Chen"


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MEMEDIT_DATA", "MEMEDIT_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="--data DIR or MEMEDIT_DATA"):
        datasets.read("zsre")
    with pytest.raises(NotFoundError, match=r"zsre/eval.json or .*baulab.info/data/dsets/zsre_mend_eval.json.*--data"):
        datasets.read("zsre:eval", tmp_path)
    with pytest.raises(NotFoundError, match="no part x; its parts are: portability"):
        datasets.read("zsre:x", tmp_path)
    with pytest.raises(NotFoundError, match="no dataset is named 'nosuch'"):
        datasets.read("nosuch", tmp_path)
    with pytest.raises(NotFoundError, match=r"no file .*none\.jsonl"):
        datasets.read("none.jsonl", tmp_path)
    with pytest.raises(InputError, match="give the path of one"):
        datasets.read("own", tmp_path)
    odd = put(tmp_path, "odd.json", [{"cats": 1}])
    with pytest.raises(InputError, match=r"form of no dataset .*cats"):
        datasets.read(str(odd))
    odd.write_text("[1")
    with pytest.raises(InputError, match="not JSON"):
        datasets.read(str(odd))
    monkeypatch.setenv("MEMEDIT_DATA", str(tmp_path))
    put(tmp_path, "zsre/train.json", [ZSRE])
    assert len(list(datasets.read("zsre"))) == 1


def test_piqa(tmp_path: Path) -> None:
    row = {"goal": "To dry socks,", "sol1": "hang them up.", "sol2": "bury them."}
    put(tmp_path, "piqa/valid.jsonl", [row, row, row | {"sol2": ""}])
    (tmp_path / "piqa/valid-labels.lst").write_text("0\n1\n0\n")
    found = list(piqa.choices(tmp_path))
    assert [(one.id, one.goal, one.solutions, one.right) for one in found] == [
        ("1", "To dry socks,", ("hang them up.", "bury them."), 0),
        ("2", "To dry socks,", ("hang them up.", "bury them."), 1),
    ]
    assert len(list(piqa.choices(tmp_path, 1))) == 1
    with pytest.raises(InputError, match="choices"):
        datasets.read("piqa", tmp_path)
    with pytest.raises(InputError, match="no facts to write"):
        piqa.drafts(row)
    (tmp_path / "piqa/valid-labels.lst").write_text("0\n1\n")
    with pytest.raises(InputError, match=r"2 labels, but .* 3 records"):
        list(piqa.choices(tmp_path))
    (tmp_path / "piqa/valid-labels.lst").unlink()
    with pytest.raises(NotFoundError, match=r"valid-labels\.lst"):
        list(piqa.choices(tmp_path))
    with pytest.raises(InputError, match="neither 0 nor 1"):
        piqa.choice(row | {"label": 2}, 1)


# The way back

WORDS = st.text('ab?.|["艾é{$', min_size=2, max_size=4)
TEXT = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
ANSWERS = st.lists(TEXT, max_size=3, unique=True).map(tuple)


def probes(kind: str) -> st.SearchStrategy[tuple[Probe, ...]]:
    one = st.builds(Probe, TEXT, ANSWERS, ANSWERS)
    return st.lists(one, min_size=1, max_size=3).map(tuple)


CASES = st.builds(
    lambda id_, subject, target, old, questions, aliases: Case(
        id_,
        (
            Draft(
                statement=f"{subject} has {target}",
                subject=subject,
                target=target,
                prompt=f"{subject} has",
                aliases=aliases,
            ),
        ),
        f"{subject} has",
        subject,
        target,
        old,
        questions,
    ),
    WORDS,
    TEXT,
    TEXT,
    ANSWERS,
    st.fixed_dictionaries({}, optional={kind: probes(kind) for kind in datasets.KINDS}),
    ANSWERS,
)


@settings(max_examples=40)
@given(CASES)
def test_own_rows_lose_nothing(case: Case) -> None:
    row = json.loads(json.dumps(own.row(case)))
    assert own.matches(row)
    assert own.case(row, 1) == case


def test_own_rows_of_several_edits() -> None:
    case = mquake.case(CHAIN, 1)
    assert own.case(own.row(case), 1) == case


@settings(max_examples=40)
@given(CASES)
def test_knowedit_rows_lose_only_what_they_have_no_place_for(case: Case) -> None:
    row = json.loads(json.dumps(knowedit.row(case)))
    assert knowedit.matches(row)
    back = knowedit.case(row, 1)
    assert (back.id, back.prompt, back.subject, back.target, back.old) == (
        case.id,
        case.prompt,
        case.subject,
        case.target,
        case.old,
    )
    for kind in ("one_hop", "alias", "neighbour", "same_subject", "distracting", "forgetfulness"):
        before, after = case.questions.get(kind, ()), back.questions.get(kind, ())
        assert [(one.prompt, one.answers) for one in before] == [(one.prompt, one.answers) for one in after]
    paraphrases = dict.fromkeys(one.prompt for one in case.questions.get("paraphrase", ()))
    assert [one.prompt for one in back.questions.get("paraphrase", ())] == list(paraphrases)
    assert "attribute" not in back.questions


def test_knowedit_holds_one_edit_each() -> None:
    with pytest.raises(InputError, match="case 3 has 2 edits"):
        knowedit.row(mquake.case(CHAIN, 1))


@pytest.mark.parametrize(("form", "name"), [("knowedit", "out.json"), ("own", "out.jsonl")])
def test_cases_are_written_and_read_again(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / name
    cases = [knowedit.case(WIKI, 1), reader("zsre").case(ZSRE, 2)]
    assert datasets.write(cases, path, form) == 2
    again = list(datasets.read(str(path)))
    assert [(case.prompt, case.target, case.old) for case in again] == [
        (case.prompt, case.target, case.old) for case in cases
    ]
    assert [set(case.questions) for case in again] == [set(case.questions) for case in cases]
    with pytest.raises(InputError, match="zsre is not written; there are: knowedit, own"):
        datasets.write(cases, path, "zsre")
    with pytest.raises(InputError, match="cannot be written"):
        datasets.write(cases, tmp_path / "none" / name, form)


# The command


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MEMEDIT_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["datasets", *arguments])
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        assert "Traceback" not in result.output
        return result

    return call


def test_list_says_what_is_there(tmp_path: Path, run: Run) -> None:
    path = put(tmp_path, "zsre/train.json", [ZSRE])
    found = {one["name"]: one for one in json.loads(run("--json").stdout)["datasets"]}
    assert sorted(found) == datasets.datasets.names()
    parts = {part["name"]: part for part in found["zsre"]["parts"]}
    assert parts["train"]["found"] == [str(path)]
    assert parts["eval"]["found"] == []
    assert parts["eval"]["sha256"] == reader("zsre").SOURCE.files["eval"].sha256
    rows = {line.split("\t")[0]: line.split("\t") for line in run("list").stdout.splitlines()}
    assert rows["zsre"][1] == "train"
    assert rows["mquake"][1] == ""
    for name, row in rows.items():
        files = reader(name).SOURCE.files
        assert row[3].split() == [part for part in reader(name).FILES if part not in files or not files[part].sha256]
    assert rows["ripple_edits"][3] == "popular random"


def test_show_prints_cases_as_read(tmp_path: Path, run: Run) -> None:
    put(tmp_path, "mquake/cf-3k.json", [CHAIN, CHAIN | {"case_id": 4}, {"requested_rewrite": []}])
    told = run("show", "mquake", "-n", "1")
    assert "edit\tSyldavia is ruled by Plekszy\twas Muskar (+1)\n" in told.stdout
    assert "one_hop\tWhere was Syldavia's ruler born?\tSzohod (+1)\n" in told.stdout
    assert "record 1, id 3" in told.stderr
    shown = json.loads(run("show", "mquake", "--json").stdout)["cases"]
    assert [case["id"] for case in shown] == ["3", "4"]
    assert shown[0]["questions"]["one_hop"][0]["answers"] == ["Szohod", "Sz."]
    put(tmp_path, "piqa/valid.jsonl", [{"goal": "a", "sol1": "b", "sol2": "c", "label": 1}])
    assert "right\t1\n" in run("show", "piqa").stdout
    assert "say which dataset" in run("show", code=2).stderr
    assert "no usable record" in run("show", str(put(tmp_path, "m.json", [{"requested_rewrite": []}]))).stderr


def test_validate_names_every_bad_record(tmp_path: Path, run: Run) -> None:
    path = put(tmp_path, "counterfact/edit.json", [FLAT, {"prompt": "x"}, FLAT | {"target_new": ""}, "text", FLAT])
    told = json.loads(run("validate", "counterfact", "--json", code=2).stdout)
    (file,) = told["files"]
    assert not told["ok"]
    assert [one["record"] for one in file["bad"]] == [2, 3, 4]
    assert [one["reason"] for one in file["bad"]] == [
        "the record has no 'subject'",
        "its target is empty",
        "a record is a JSON object, not str",
    ]
    assert (file["records"], file["cases"], file["ids_there_twice"]) == (5, 2, 1)
    assert file["questions"] == {"paraphrase": 2, "neighbour": 2, "distracting": 2}
    assert file["kept_though_odd"] == {"paraphrase question that begins with another sentence": 2}
    assert file["sha256"] == datasets.checksum(path)
    assert file["official"] is None
    plain = run("validate", "counterfact", code=2)
    assert "3\tits target is empty\n" in plain.stdout
    assert "3 of 5 records are bad" in plain.stderr
    good = put(tmp_path, "mine.jsonl", [PLAIN | {"one_hop": "Where?"}])
    (file,) = json.loads(run("validate", str(good), "--json").stdout)["files"]
    assert file["form"] == "own"
    assert file["left_out"] == {"one_hop question that has no answer": 1}


def test_validate_knows_the_published_file(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "zsre/zsre_mend_eval.json", [ZSRE])
    assert json.loads(run("validate", "zsre", "--json").stdout)["files"][0]["official"] is False
    source = reader("zsre").SOURCE
    files = {**source.files, "eval": datasets.File("https://example.org", datasets.checksum(path))}
    monkeypatch.setattr("memedit.datasets.zsre.SOURCE", replace(source, files=files))
    assert json.loads(run("validate", "zsre", "--json").stdout)["files"][0]["official"] is True
    assert "the published file" in run("validate", "zsre").stdout


def test_validate_prints_the_first_bad_records_only(tmp_path: Path, run: Run) -> None:
    path = put(tmp_path, "mine.jsonl", [PLAIN, *([PLAIN | {"target": ""}] * 30)])
    told = run("validate", str(path), code=2)
    assert told.stdout.count("its target is empty") == 20
    assert "and 10 more" in told.stderr


def test_convert(tmp_path: Path, run: Run) -> None:
    put(tmp_path, "zsre/train.json", [ZSRE, ZSRE | {"alt": ""}, ZSRE])
    told = run("convert", "zsre", "--to", "out.json", "--json")
    assert json.loads(told.stdout)["cases"] == 2
    assert "left out 1: record: its target is empty" in told.stderr
    assert json.loads((tmp_path / "out.json").read_text())[0]["target_new"] == "Bianca C."
    assert run("convert", "zsre", "-n", "1", "--to", "out.jsonl", "--form", "own").stdout == "1\tcases\tout.jsonl\n"
    assert "say where to write" in run("convert", "zsre", code=2).stderr
    assert "zsre is not written" in run("convert", "zsre", "--to", "o.json", "--form", "zsre", code=2).stderr
