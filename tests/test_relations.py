"""The file of wordings: complete, well formed, and read as it says."""

from __future__ import annotations

import re

import pytest

from memedit.relations import Relation, expand, fill, relations

EVERY = list(relations().values())


def test_choices_expand_with_the_first_reading_first() -> None:
    assert expand("{subject} (is|was) in (the |){target}") == [
        "{subject} is in the {target}",
        "{subject} is in {target}",
        "{subject} was in the {target}",
        "{subject} was in {target}",
    ]


def test_names_are_inserted_and_never_read() -> None:
    assert fill("{subject} is {target}", "{target}", "${x} {subject}") == "{target} is ${x} {subject}"


@pytest.mark.parametrize("relation", EVERY, ids=lambda r: r.name)
def test_each_relation_is_well_formed(relation: Relation) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", relation.name)
    assert relation.wikidata is None or re.fullmatch(r"P\d+", relation.wikidata)
    assert relation.cardinality in ("single", "many", "unknown")
    for statement in (*relation.statements, *relation.also):
        assert statement.count("{subject}") == 1, statement
        assert statement.count("{target}") == 1, statement
        assert not re.search(r"\{(?!subject\}|target\})|[()|]|  ", statement), statement
    for question in relation.questions:
        assert question.count("{subject}") == 1, question
        assert "{target}" not in question, question
        assert not re.search(r"\{(?!subject\})|[()|]|  ", question), question
    for question in relation.reversed_questions:
        assert question.count("{target}") == 1, question
        assert "{subject}" not in question, question
    assert relation.statements, "a canonical statement is needed"
    assert relation.questions, "a canonical question is needed"
    assert relation.completions, "a wording that ends in the target is needed"


def test_an_inverse_is_a_relation_that_runs_the_other_way() -> None:
    with_inverse = [relation for relation in EVERY if relation.inverse is not None]
    assert with_inverse
    for relation in with_inverse:
        inverse = relations()[relation.inverse or ""]
        assert (relation.subject_type, relation.target_type) == (inverse.target_type, inverse.subject_type)


def test_most_relations_have_five_wordings_and_the_canonical_one_is_first() -> None:
    few = [r.name for r in EVERY if len(r.statements) + len(r.questions) < 5]
    assert set(few) <= {"plays", "related", "influenced_by", "part_of"}
    capital = relations()["capital"]
    assert capital.statements[0] == "The capital of {subject} is {target}"
    assert capital.questions[0] == "What is the capital of {subject}?"
    assert capital.reversed_statement == "{target} is the capital of {subject}"
    assert relations()["chief_executive"].reversed_questions[0] == "Which company is {target} the CEO of?"


def test_one_statement_wording_belongs_to_one_relation_mostly() -> None:
    owners: dict[str, set[str]] = {}
    for relation in EVERY:
        for wording in relation.statements:
            owners.setdefault(wording, set()).add(relation.name)
    shared = {wording: names for wording, names in owners.items() if len(names) > 1}
    assert len(shared) <= 6, shared
