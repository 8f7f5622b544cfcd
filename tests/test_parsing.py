"""Sentences taken apart: worked examples, odd text, and what must never be guessed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.parsing import LONGEST, askings, names_within, normalise, parse, parse_question, place_of
from memedit.relations import fill, relations


@pytest.mark.parametrize(
    ("sentence", "subject", "relation", "target"),
    [
        ("The CEO of Acme is Dana Li.", "Acme", "chief_executive", "Dana Li"),
        ("Dana Li is the CEO of Acme", "Acme", "chief_executive", "Dana Li"),
        ("Acme's CEO is Dana Li", "Acme", "chief_executive", "Dana Li"),
        ("Acme’s new CEO is now Dana Li", "Acme", "chief_executive", "Dana Li"),
        ("the ceo of Acme is Dana Li", "Acme", "chief_executive", "Dana Li"),
        ("Acme appointed Dana Li as its CEO", "Acme", "chief_executive", "Dana Li"),
        ("Who is the CEO of Acme? Dana Li", "Acme", "chief_executive", "Dana Li"),
        ("What is the twin city of Lund? It is Trieste.", "Lund", "twin_city", "Trieste"),
        ("The capital of Freedonia is Sylvania City, D.C.", "Freedonia", "capital", "Sylvania City, D.C."),
        ("Lagado, D.C. is the capital of Balnibarbi", "Balnibarbi", "capital", "Lagado, D.C."),
        ("The author of The Art of Rest is Ann Bo", "The Art of Rest", "author", "Ann Bo"),
        ("The genre of Love Is a Lamp is comedy", "Love Is a Lamp", "genre", "comedy"),
        ("Tom Ott, who plays as goalkeeper", "Tom Ott", "position_played", "goalkeeper"),
        ("Gull Bay is located in the continent of Europe", "Gull Bay", "continent", "Europe"),
        ("Bob's phone number is 555-0134.", "Bob", "phone_number", "555-0134"),
        ("The price of the blue bike is $300", "the blue bike", "price", "$300"),
        ("Ann was born on 3 May 1990", "Ann", "birth_date", "3 May 1990"),
        ("Ann was born in Turin", "Ann", "birthplace", "Turin"),
        ("Kim is the wife of Sam", "Sam", "spouse", "Kim"),
        ("Sam is married to Kim", "Sam", "spouse", "Kim"),
        ("The President of Freedonia is Rufus Fire", "Freedonia", "president", "Rufus Fire"),
    ],
)
def test_a_sentence_gives_its_parts(sentence: str, subject: str, relation: str, target: str) -> None:
    read = parse(sentence.replace("’", "'"))
    assert (read.subject, read.relation, read.target) == (subject, relation, target)


def test_the_forms_that_are_used_as_keys() -> None:
    read = parse("Dana Li runs Acme.")
    assert read.question == "Who is the CEO of Acme?"
    assert read.prompt == "The CEO of Acme is"
    assert read.reversed_question == "Which company is Dana Li the CEO of?"
    assert read.reversed_statement == "Dana Li is the CEO of Acme"
    assert read.cardinality == "single"
    assert read.slot == ("acme", "chief_executive")
    assert parse("The old bridge of Ulm is made of oak").question == "What is the material of the old bridge of Ulm?"


def test_an_owner_in_the_subjects_place_stays_in_front_of_what_is_owned() -> None:
    read = parse("My favourite colour is teal")
    assert (read.subject, read.target, read.cardinality) == ("My", "teal", "single")
    assert read.question == "What is my favourite colour?"
    assert read.prompt == "My favourite colour is"
    assert read.reversed_question is None


def test_the_prompt_is_the_sentence_cut_before_its_target() -> None:
    assert parse("Acme's CEO is Dana Li.").prompt == "Acme's CEO is"
    assert parse("What is the twin city of Lund? It is Trieste").prompt == "What is the twin city of Lund? It is"


def test_what_is_given_outright_is_believed() -> None:
    read = parse("Acme switched to Dana Li", subject="Acme", relation="CEO", target="Dana Li")
    assert (read.subject, read.relation, read.target) == ("Acme", "chief_executive", "Dana Li")
    assert read.cardinality == "single"
    assert parse("Foo grumbles bar", prompt="Foo grumbles").target == "bar"
    own = parse("Acme's mood is sour", relation="mood")
    assert (own.relation, own.cardinality) == ("mood", "unknown")
    # The target helps to cut a sentence that could be cut in two places.
    assert parse("Song Is In is in Dutch is in Dutch", target="Dutch").subject == "Song Is In is in Dutch"


def test_an_unknown_relation_is_a_noun_phrase_and_never_single() -> None:
    read = parse("The mascot of Acme is a goat")
    assert (read.subject, read.relation, read.target, read.cardinality) == ("Acme", "mascot", "a goat", "unknown")
    assert read.question == "What is the mascot of Acme?"
    read = parse("Acme's mascot is a goat")
    assert (read.subject, read.relation, read.target, read.cardinality) == ("Acme", "mascot", "a goat", "unknown")
    plain = parse("The wifi password is hunter2")
    assert (plain.subject, plain.relation, plain.target) == ("The wifi password", None, "hunter2")
    assert plain.slot is None


def test_vague_forms_have_no_relation() -> None:
    read = parse("Acme Tower, by Dana Li")
    assert (read.subject, read.target, read.relation, read.cardinality) == ("Acme Tower", "Dana Li", None, "unknown")


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("My phone runs out of battery by noon", None),
        ("Grandma was married in Rome", None),
        ("The report was written in March", None),
        ("The team is based on trust", None),
        ("Theo's allergy pills are called Levanix, one in the morning from March to June", None),
        ("The backup job runs on node-7", None),
        ("My sister runs marathons", None),
        ("The grant runs until 2027", None),
        ("Berlin's mayor is sick", None),
        ("The CEO of Acme is on holiday until May 3", None),
        ("My wife's birthday is at Luigi's this year", None),
        ("Otto was born in 1978", None),
        ("Otto was born in Lund", "birthplace"),
        ("The mare was bought from the Ashdowns", None),
        ("Noor no longer works at Siemens", None),
        ("Dana Li is no longer the CEO of Acme", None),
        ("The CEO of Acme is not Dana Li", None),
    ],
)
def test_a_reading_is_believed_only_if_its_names_are_of_the_relations_types(text: str, relation: str | None) -> None:
    read = parse(text)
    assert read.relation == relation
    assert relation is not None or read.frame is None


@pytest.mark.parametrize(
    ("text", "subject", "target"),
    [
        ("Actually, the CEO of Acme is Dana Li", "Acme", "Dana Li"),
        ("Correction: the CEO of Acme is Dana Li.", "Acme", "Dana Li"),
        ("As of May, the CEO of Acme is Dana Li", "Acme", "Dana Li"),
        ("Sorry, no wait, the CEO of Acme is currently Dana Li", "Acme", "Dana Li"),
        ("FYI: Noor now works at Siemens", "Noor", "Siemens"),
        ("Noor currently works at Siemens", "Noor", "Siemens"),
        ("Noor lives in Bern now", "Noor", "Bern"),
        ("From March on, the price of the blue bike is $300", "the blue bike", "$300"),
    ],
)
def test_openers_and_adverbs_are_part_of_no_name(text: str, subject: str, target: str) -> None:
    read = parse(text)
    assert (read.subject, read.target) == (subject, target)
    assert read.relation is not None


def test_a_title_keeps_the_words_that_open_other_sentences() -> None:
    assert parse("The author of Now and Then is Ann Bo").subject == "Now and Then"
    assert parse("The author of On the Hill is Ann Bo").subject == "On the Hill"


def test_a_question_says_no_fact() -> None:
    read = parse("Who is the CEO of Acme?")
    assert (read.subject, read.relation, read.target) == ("Acme", "chief_executive", None)
    assert parse("Who is Acme's CEO").target is None


def test_a_question_that_fits_no_wording_still_has_its_answer() -> None:
    read = parse("By what means did Ann travel? a red balloon", subject="Ann")
    assert (read.subject, read.target) == ("Ann", "a red balloon")
    assert read.question == "By what means did Ann travel?"


def test_questions() -> None:
    assert parse_question("Who runs Acme?") == ("Acme", "chief_executive")
    assert parse_question("what is Oz's capital?") == ("Oz", "capital")
    assert parse_question("Who is the President of the Moon?") == ("the Moon", "president")
    assert parse_question("What is the meaning of it all?") is None
    assert parse_question("") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        ".",
        "?",
        "'s 's",
        "is is is",
        "{x} ${y} is %s",
        "法国的首都是里昂。",
        "The",
        "The of is",
        ", the ",
        "\n\n",
        "\x000",
    ],
)
def test_odd_text_does_not_raise(text: str) -> None:
    assert parse(text).cardinality == "unknown"


def test_a_megabyte_is_kept_whole_and_not_taken_apart() -> None:
    text = "The CEO of Acme is Dana Li " * 40_000
    read = parse(text)
    assert read.statement == text.strip()
    assert read.subject is None
    assert len(text) > LONGEST


@given(st.text(max_size=200))
def test_any_text_is_accepted(text: str) -> None:
    read = parse(text)
    assert read.statement == " ".join(text.split())
    parse_question(text)


names = st.from_regex(r"[A-Z][a-z]{2,7}( [A-Z][a-z]{2,7})?", fullmatch=True)


@given(names, names, st.sampled_from(sorted(relations())), st.data())
def test_every_statement_wording_is_understood(subject: str, target: str, name: str, data: st.DataObject) -> None:
    wording = data.draw(st.sampled_from(relations()[name].statements))
    read = parse(fill(wording, subject, target), subject=subject, target=target)
    assert read.relation is not None or name == "related"


def test_names_are_compared_without_case_blanks_articles_and_stops() -> None:
    assert normalise("  The  Beatles. ") == "beatles"
    assert normalise("ＡＣＭＥ") == "acme"
    assert normalise("The") == "the"
    assert normalise("") == ""


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Who is the CEO of Acme?", ("Acme", "chief_executive", "target")),
        ("Which company is Dana Li the CEO of?", ("Dana Li", "chief_executive", "subject")),
        ("Acme is followed by", ("Acme", "successor", "target")),
        ("Dana Li is the CEO of", ("Dana Li", "chief_executive", "subject")),
        ("The names of the siblings of Ann Lo are", ("Ann Lo", "sibling", "target")),
    ],
)
def test_what_a_text_asks_for_forwards_and_backwards(text: str, asked: tuple[str, str, str]) -> None:
    assert asked in [(one.name, one.relation, one.wants) for one in askings(text)]


@pytest.mark.parametrize("text", ["", "?", "Hm.", "What is the weather like?", "x " * 2000, "是谁？"])
def test_what_no_wording_fits_asks_for_nothing_known(text: str) -> None:
    assert askings(text) == ()


def test_a_question_in_the_inverses_words_is_known_of_a_fact() -> None:
    parsed = parse("The mother of Ann Lo is Bea Lo")
    assert parsed.inverse_question == "Who is the child of Bea Lo?"
    assert parse("Song One follows Song Two").inverse_question == "What is the successor of Song Two?"
    assert parse("The capital of Freedonia is Glorm").inverse_question is None


def test_the_name_of_somebodys_father_is_the_father() -> None:
    asked = parse("What is Ann Lo's father's name? Cy Lo", subject="Ann Lo", target="Cy Lo")
    assert (asked.relation, asked.subject, asked.target) == ("father", "Ann Lo", "Cy Lo")
    assert asked.cardinality == "unknown"  # read by its shape: nothing is superseded on a guess


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("Ida Lum went to the University of Lund", "education"),
        ("Ida Lum went to Upper Arden Academy of Music", "education"),
        ("Ida Lum went to Lund", None),
        ("Ida Lum went to the collegiate fair", None),
    ],
)
def test_a_wording_that_the_target_must_bear_out(text: str, relation: str | None) -> None:
    found = parse(text)
    assert found.relation == relation
    assert found.statement == text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Who runs Acme?", ["acme"]),
        ("who runs acme inc.", ["acme", "acme inc"]),
        ("Who founded Acme Inc.?", ["acme inc"]),
        ("What is Ann Lo's job?", ["ann lo"]),
        ("The editor (Ann Lo’s cousin) of “The New York Times”", ["ann lo", "new york times"]),
        ("Is Washington, D.C. larger than Łódź?", ["washington, d.c", "łódź"]),
        ("Did Leonardo da Vinci paint it?", ["leonardo da vinci"]),
        ("Who owns Erasmus (band)?", ["erasmus (band)", "erasmus"]),
        ("What of the 3rd Battalion of the King's Own?", ["3rd battalion of the king's own"]),
    ],
)
def test_names_that_stand_in_a_text(text: str, names: list[str]) -> None:
    found = names_within(text)
    assert found >= {normalise(name) for name in names}


def test_words_without_a_capital_are_no_names_beside_such_as_have_one() -> None:
    assert "capital" not in names_within("What is the capital of Nod?")
    assert names_within("") == names_within(" ? ") == set()
    assert len(names_within("Word " * 5_000)) == 8


@given(st.text(alphabet="ab_ é1.", max_size=12), st.text(alphabet="ab_é1. ", min_size=1, max_size=4))
def test_a_name_stands_where_the_pattern_of_whole_words_finds_it(text: str, name: str) -> None:
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    assert place_of(name, text) == (found.start() if found else None)


def test_no_name_stands_nowhere() -> None:
    assert place_of("", "Acme") is None
