"""The probability of a used edit, and of a candidate, is a number wherever `--json` shows one, however it was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from memedit import EditMemory
from memedit.answerers import answerers
from memedit.cli import cli
from memedit.encoders import load_encoder
from memedit.patches import feedback_draft, substitution_draft
from memedit.scope import scopes

FACTS = [
    "The CEO of Acme is Dana Li",
    "The spouse of Dana Li is Bo Ek",
    "The capital of Freedonia is Marxville",
    "阿克米公司的总部在成都",
]
QUESTIONS = [
    "Who is the CEO of Acme?",
    "Who is the spouse of the CEO of Acme?",
    "What is the capital of Freedonia, and who is the mother of its mayor?",
    "a word like big",
    "How high is the moon?",
    "Describe a zebra",
    "阿克米公司的总部在哪里？",
]
ANSWERERS = [*answerers.names(), "mello:published=true", "counterfactual:published=true", "planned:unedited=true"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory") / "facts"
    with EditMemory.open(folder) as memory:
        memory.add_many(FACTS)
        memory.add_many([feedback_draft("when I ask for a word like X, I mean a synonym")])
        memory.add_many([substitution_draft("moon", "sun", "input")])
        memory.add("if the message mentions 'zebra', then decline", kind="patch")
        memory.sync()
    return folder


Told = Callable[..., dict[str, Any]]


@pytest.fixture
def told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Runs a verb with --json; what it printed."""
    script = folder.parent / "script.json"
    script.write_text('{"*": "Subquestion: Who is the CEO of Acme?\\nTentative answer: Al\\nFinal answer: Dana Li"}')
    monkeypatch.setenv("MEMEDIT_MODEL", f"scripted:{script}")
    monkeypatch.setattr("memedit.encoders.load_encoder", cache(load_encoder))

    def call(verb: str, question: str, *options: str) -> dict[str, Any]:
        result = CliRunner().invoke(cli, ["--memory", str(folder), verb, question, "--json", *options])
        assert result.exit_code == 0, (result.stderr, result.exception)
        printed: dict[str, Any] = json.loads(result.stdout)
        return printed

    return call


def unsure(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The edits whose probability is no number in [0, 1]."""
    return [one for one in shown if not (isinstance(one["probability"], float) and 0 <= one["probability"] <= 1)]


@pytest.mark.parametrize("scope", scopes.names())
def test_every_scope_gives_a_number_to_each_edit(told: Told, scope: str) -> None:
    seen = 0
    for question in QUESTIONS:
        shown = told("explain", question, "--scope", scope)
        asked = told("ask", question, "--scope", scope)
        assert unsure([*shown["edits"], *shown["candidates"], *asked["edits"]]) == []
        for one in shown["candidates"]:
            assert one["in_scope"] is (one["id"] in {edit["id"] for edit in shown["edits"]})
        seen += len(shown["candidates"])
    assert seen


@pytest.mark.parametrize("answerer", ANSWERERS)
def test_every_answerer_gives_a_number_to_each_edit_it_used(told: Told, answerer: str) -> None:
    used = [edit for question in QUESTIONS for edit in told("ask", question, "--answerer", answerer)["edits"]]
    assert unsure(used) == []
    assert used


def test_what_the_verifier_was_not_asked_about_is_below_the_threshold(told: Told) -> None:
    for question in QUESTIONS:
        shown = told("explain", question)
        out = [one["probability"] for one in shown["candidates"] if not one["in_scope"]]
        assert all(probability < shown["threshold"] for probability in out)
