"""MemPrompt: feedback on what a question meant is found again by like questions, and put into the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from memedit.answerers.mem_prompt import MemPrompt, distance, key, levenshtein, similar
from memedit.chat import Chat
from memedit.editor import Editor
from memedit.encoders import Encoder, load_encoder
from memedit.encoders.letters import Letters
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted
from memedit.patches import feedback_draft, feedback_of

HOMONYM = "when I ask for a word like X, I mean a homonym"


@cache
def shipped() -> Encoder:
    return load_encoder("onnx")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters") as memory:
        yield memory


def write(memory: EditMemory, said: str, question: str | None = None) -> str:
    return memory.add_many([feedback_draft(said, question)])[0]


def told(model: Scripted) -> str:
    return "\n".join(message.content for message in model.calls[-1].messages if message.role == "system")


def test_a_clarification_is_in_the_prompt_of_like_questions_until_it_is_undone(memory: EditMemory) -> None:
    model = Scripted()
    editor = Editor(memory, model)
    id_ = write(memory, HOMONYM)
    answer = editor.ask("Give a word like good")
    assert "a homonym" in told(model)
    assert [hit.edit.id for hit in answer.edits] == [id_]
    assert not answer.base_untouched
    other = editor.ask("Who is the queen of Ruritania?")
    assert other.base_untouched
    assert told(model) == ""
    memory.undo(last=1)
    assert editor.ask("Give a word like good").base_untouched


@pytest.mark.parametrize(
    ("said", "question", "expected"),
    [
        (HOMONYM, None, ("a word like X", "a homonym")),
        ("I mean an antonym.", "what is unlike “good”?", ("what is unlike “good”?", "an antonym")),
        ("no, I meant the river", "where is Orange?", ("where is Orange?", "the river")),
        ("If I say “tea”, I mean dinner", "else?", ("tea", "dinner")),
    ],
)
def test_feedback_is_read(said: str, question: str | None, expected: tuple[str, str]) -> None:
    draft = feedback_draft(said, question)
    assert (draft.question, draft.target) == expected


@pytest.mark.parametrize(("said", "question"), [("no, that is wrong", "q?"), ("I mean a homonym", None), ("", "q?")])
def test_what_says_nothing_clear_is_refused(said: str, question: str | None) -> None:
    with pytest.raises(InputError, match="does not say"):
        feedback_draft(said, question)


def test_feedback_survives_files(memory: EditMemory, tmp_path: Path) -> None:
    write(memory, HOMONYM)
    memory.export_file(tmp_path / "facts.csv", format="csv")
    with EditMemory.open(tmp_path / "other", encoder="letters") as other:
        other.import_file(tmp_path / "facts.csv")
        assert [feedback_of(edit) for edit in other.list()] == [feedback_of(edit) for edit in memory.list()]


@pytest.mark.parametrize(
    ("asked", "kept", "same"),
    [
        ("What is a word like “pretty”?", "what is a word like < good > ?", True),
        ("a word like very pretty", "a word like X", True),
        ("which is the best known word like pretty?", "a word like X", False),
        ("what is simillar to < good > ?", "what is similar to < good > ?", True),
        ("what is like < good > ?", "what is unlike < good > ?", False),
        ("what is < good > ?", "who is < good > ?", False),
        ("< good >", "< bad >", False),  # nothing but what fills it
        ("", "a word like X", False),
    ],
)
def test_distance_compares_questions_and_not_what_fills_them(asked: str, kept: str, same: bool) -> None:
    assert (distance(asked, kept) <= MemPrompt().distance) is same


def test_a_key_is_folded_and_open() -> None:
    assert key("What is the OPPOSITE of <good>?") == ("what", "opposite", "…")
    assert key("X rhymes with 'day', I think") == ("…", "rhymes", "…", "think")


@pytest.mark.parametrize(
    ("one", "other", "apart"), [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
)
def test_levenshtein(one: str, other: str, apart: int) -> None:
    assert levenshtein(one, other) == levenshtein(other, one) == apart


def test_similarity_finds_other_words_for_the_same(memory: EditMemory) -> None:
    write(memory, "when I ask what is the opposite of X, I mean an antonym")
    edits = memory.list()
    asked = "What is opposite in meaning to “good”?"
    assert MemPrompt(lookup="distance").found(asked, edits, shipped()) is None
    found = MemPrompt(lookup="both").found(asked, edits, shipped())
    assert found is not None
    assert found[1] == "similarity"
    assert MemPrompt(lookup="similarity").found("Who painted the ceiling of the chapel?", edits, shipped()) is None


def test_similarity_is_left_out_where_it_was_not_measured(memory: EditMemory) -> None:
    write(memory, HOMONYM)
    assert similar(Letters().identity) is None
    assert MemPrompt(lookup="similarity").found("a word like good", memory.list(), Letters()) is None


def test_of_equals_the_newest_counts(memory: EditMemory) -> None:
    write(memory, HOMONYM)
    newest = write(memory, "when I ask for a word like X, I mean a synonym")
    found = MemPrompt().found("a word like good", memory.list(), Letters())
    assert found is not None
    assert found[0].edit.id == newest


def test_in_chat_what_was_meant_is_kept(memory: EditMemory, capsys: pytest.CaptureFixture[str]) -> None:
    model = Scripted()
    chat = Chat(memory, Editor(memory, model))
    with pytest.raises(InputError, match="by which question"):
        chat.take("/wrong I mean an antonym")
    chat.take("What is unlike “good”?")
    chat.take("/wrong I mean an antonym")
    chat.take("/clear")
    chat.take("What is unlike “big”?")
    assert "an antonym" in told(model)
    chat.take("/facts")
    assert "no such facts" in capsys.readouterr().err
    chat.take("/undo")
    chat.take("/clear")
    chat.take("What is unlike “big”?")
    assert told(model) == ""
