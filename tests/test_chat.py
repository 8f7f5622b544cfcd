"""`memedit chat` as a script drives it: lines in, replies on stdout, the rest on stderr."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from memedit import chat as module
from memedit.chat import Chat
from memedit.editor import Editor
from memedit.edits import Message
from memedit.errors import InputError, NotFoundError
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EditMemory]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with EditMemory.open(tmp_path / "facts", encoder="letters") as memory:
        yield memory


@pytest.fixture
def model() -> Scripted:
    return Scripted({"*": "As you say: Strelsau."})


@pytest.fixture
def chat(memory: EditMemory, model: Scripted) -> Chat:
    return Chat(memory, Editor(memory, model))


def test_facts_are_edited_from_within(chat: Chat, memory: EditMemory, capsys: pytest.CaptureFixture[str]) -> None:
    chat.take("/remember The capital of Ruritania is Strelsau")
    chat.take("/remember The capital of Ruritania is Zenda")
    assert "supersedes" in capsys.readouterr().err
    chat.take("/facts")
    assert "Zenda" in capsys.readouterr().err
    chat.take("/facts Strelsau")
    assert "no such facts" in capsys.readouterr().err
    chat.take("/undo")
    assert [edit.target for edit in memory.list()] == ["Strelsau"]
    chat.take("/forget Strelsau")
    assert memory.list() == []
    chat.take("/undo 1")
    chat.take(f"/forget {memory.list()[0].id}")
    assert memory.list() == []


def test_forgetting_wants_one_fact(chat: Chat, memory: EditMemory) -> None:
    memory.add("The capital of Ruritania is Strelsau")
    memory.add("The capital of Syldavia is Klow")
    with pytest.raises(InputError, match="2 facts"):
        chat.take("/forget capital")
    with pytest.raises(InputError, match="no facts"):
        chat.take("/forget castle")
    with pytest.raises(InputError, match="say which"):
        chat.take("/forget")
    with pytest.raises(NotFoundError):
        chat.take("/forget e-0000000000")
    chat.take("/forget the capital of syldavia is klow")
    assert len(memory.list()) == 1


def test_the_gate_sees_the_conversation(chat: Chat, model: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[list[str]] = []
    decide = chat.editor.scope.decide

    class Watching:
        name = "watching"

        def decide(self, messages, memory, **options):  # type: ignore[no-untyped-def]
            seen.append([message.content for message in messages])
            return decide(messages, memory, **options)

    chat.editor.scope = Watching()
    chat.turn("Hello")
    chat.turn("And then?")
    assert seen[-1] == ["Hello", "As you say: Strelsau.", "And then?"]
    assert capsys.readouterr().out == "As you say: Strelsau.\n" * 2
    chat.take("/clear")
    chat.turn("Hello again")
    assert seen[-1] == ["Hello again"]


def test_out_of_scope_the_model_gets_the_conversation_itself(chat: Chat, model: Scripted) -> None:
    answer = chat.turn("Would you like some tea?")
    assert answer.base_untouched
    assert model.calls[-1].messages == [Message("user", "Would you like some tea?")]


def test_turns_that_the_model_cannot_hold_are_left_out(memory: EditMemory, capsys: pytest.CaptureFixture[str]) -> None:
    model = Scripted({"*": "word " * 20}, context_tokens=120)
    chat = Chat(memory, Editor(memory, model))
    for number in range(6):
        chat.turn(f"turn {number} " + "word " * 10)
        asked = model.calls[-1].messages
        assert sum(model.count_tokens(message.content) + 8 for message in asked) <= 90
        assert asked[-1].content.startswith(f"turn {number}")
        assert asked[0].role == "user"
    assert "/clear" in capsys.readouterr().err


def test_what_was_meant_can_be_kept(chat: Chat, memory: EditMemory, capsys: pytest.CaptureFixture[str]) -> None:
    chat.turn("What is a bat?")
    assert "/wrong" not in capsys.readouterr().err
    chat.turn("No, that is wrong. I meant the animal.")
    hint = next(line for line in capsys.readouterr().err.splitlines() if "/wrong" in line)
    chat.take(hint[hint.index("/wrong") :])
    [kept] = [edit for edit in memory.list(patches=True) if edit.kind == "feedback"]
    assert (kept.question, kept.target) == ("What is a bat?", "the animal")


def test_why(chat: Chat, memory: EditMemory, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="nothing has been asked"):
        chat.take("/why")
    memory.add("The capital of Ruritania is Strelsau")
    chat.take("/why The capital of Ruritania is")
    assert "in scope" in capsys.readouterr().err
    chat.turn("Would you like some tea?")
    chat.take("/why")
    assert "out of scope: the model answers by itself" in capsys.readouterr().err


def test_what_was_said_before_is_warned_about(
    chat: Chat, memory: EditMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    memory.add("The capital of Ruritania is Strelsau")
    chat.turn("The capital of Ruritania is")
    chat.take("/forget Strelsau")
    assert "earlier turns may still carry" in capsys.readouterr().err


def test_a_turn_that_fails_leaves_no_trace(memory: EditMemory) -> None:
    chat = Chat(memory, Editor(memory, Scripted(["One."])))
    chat.turn("first")
    with pytest.raises(Exception, match="script"):
        chat.turn("second")
    assert [message.content for message in chat.messages] == ["first", "One."]


@pytest.mark.parametrize("line", ["/nonesuch", "/undo many", "/undo 0", "/undo", "/remember"])
def test_what_cannot_be_done_is_said(chat: Chat, line: str) -> None:
    with pytest.raises(InputError):
        chat.take(line)


def test_a_script_holds_a_conversation(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    lines = ["", "/help", "Hello", "/nonesuch", "   ", "Hello", "/quit", "never read"]
    monkeypatch.setattr(module.sys, "stdin", io.StringIO("\n".join(lines)))
    assert chat.run() == 2  # of the line that failed; the lines behind it were read all the same
    told = capsys.readouterr()
    assert told.out == "As you say: Strelsau.\n" * 2
    assert "/remember FACT" in told.err
    assert "no /nonesuch" in told.err
    monkeypatch.setattr(module.sys, "stdin", io.StringIO("Hello"))
    assert chat.run() == 0
    monkeypatch.setattr(module.sys, "stdin", None)
    with pytest.raises(InputError, match="closed"):
        chat.run()


def test_quiet(memory: EditMemory, model: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(memory, Editor(memory, model), quiet=True)
    chat.take("/remember The capital of Ruritania is Strelsau")
    chat.take("The capital of Ruritania is")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("As you say: Strelsau.\n", "")


def test_the_line_history_can_be_erased(tmp_path: Path, memory: EditMemory) -> None:
    assert module.erase_history() is False
    path = module.history_file()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps("a secret"))
    assert module.erase_history() is True
    assert not path.exists()


def test_commands_complete() -> None:
    complete = module._completer(["/forget", "/facts", "/undo"])
    assert [complete("/f", n) for n in range(3)] == ["/forget ", "/facts ", None]
    assert complete("for", 0) is None
