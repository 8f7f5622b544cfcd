"""Characters that are not to be seen: they steer no terminal, and make no other name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from memedit import terminal
from memedit.chat import Chat
from memedit.cli import main
from memedit.editor import Editor
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted
from memedit.parsing import normalise

TURNS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
STEERS = {*map(chr, [*TURNS, *range(0x20), *range(0x7F, 0xA0)]), "\u2028", "\u2029", "\u200b", "\ufeff"}
ALL = "".join(sorted(STEERS))
WIDTHLESS = "\u00ad\u200b\u200c\u200d\u2060\ufeff\u200e\u202e\u2066\u2069\u034f\ufe0f\u3164\U000e0041"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was written since it was last called, to streams that take themselves for a terminal without colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(terminal, "is_terminal", lambda stream: True)
    return lambda: "".join(capsys.readouterr())


@pytest.fixture
def memory(tmp_path: Path) -> EditMemory:
    """Every text of it holds every such character that it can hold."""
    memory = EditMemory.open(tmp_path / "facts", encoder="letters", author=f"ann{ALL}")
    texts = {name: f"{name}{ALL}x" for name in ("source", "reason", "question", "prompt", "target")}
    memory.add(f"The CEO of Acme{ALL} is Dana{ALL} Li", subject=f"Acme{ALL}", aliases=[f"A{ALL}b"], **texts)  # type: ignore[arg-type]
    return memory


def steering(text: str) -> set[str]:
    return STEERS & set(text) - {"\n", "\t"}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["memedit", *arguments])
    with suppress(SystemExit):
        main()


def test_no_verb_writes_what_steers_a_terminal(
    memory: EditMemory, screen: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = memory.list()[0].id
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"*": f"Dana{ALL}"}))
    model = ["--model", f"scripted:{script}", "--scope", "lexical"]
    verbs = [
        *(["list"], ["show", id_], ["history"], ["stats"], ["doctor"], ["search", "Acme"]),
        ["explain", "Acme?", *model],
        *(["ask", "Who runs Acme?", *model], ["remove", id_], ["undo", "--last", "1", "--yes"], ["purge", "--id", id_]),
        *(["add", f"The CEO of Bolt{ALL} is Bo"], [f"no{ALL}verb"], ["show", f"e-{ALL}"], ["list", f"--{ALL}"]),
        *(["list", "--json"], ["show", id_, "--json"], ["history", "--json"], ["list", "--as-of", f"2{ALL}"]),
        ["list", "--memory", f"no{ALL}where"],
    ]
    for verb in verbs:
        where = () if "--memory" in verb else ("--memory", str(tmp_path / "facts"))
        run(monkeypatch, *where, *verb)
        shown = screen()
        assert shown, verb
        assert not steering(shown), verb


def test_json_on_a_terminal_says_the_same(
    memory: EditMemory, screen: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "--memory", str(tmp_path / "facts"), "list", "--json")
    [edit] = json.loads(screen())["edits"]
    assert edit["statement"] == memory.list()[0].statement
    assert "\u202e" in edit["statement"]


@pytest.mark.usefixtures("memory")
def test_programs_get_every_character(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "--memory", str(tmp_path / "facts"), "list", "--json")
    assert "\u202e" in capsys.readouterr().out


def test_no_chat_writes_what_steers_a_terminal(memory: EditMemory, screen: Callable[[], str]) -> None:
    chat = Chat(memory, Editor(memory, Scripted({"*": f"Dana{ALL}"}), scope="lexical"))
    for line in ("Who runs Acme?", "/why", "/facts", f"/remember The CEO of Bolt is B{ALL}o", "/undo"):
        chat.take(line)
    shown = screen()
    assert "Dana" in shown
    assert not steering(shown)


def test_what_is_written_with_joiners_is_shown_with_them() -> None:
    for text in ("می‌خواهم", "क्‍ष", "👩‍🚀", "Zürich\u00a0HB", "日本　語", "a\ue000b"):
        assert terminal.plain(text) == text
    assert terminal.plain("abc\u202edcba\u2069") == "abcdcba"
    assert terminal.plain("a\u2028b\x85c\x1b[31m") == "a b c [31m"


@pytest.mark.parametrize("unseen", WIDTHLESS)
def test_what_has_no_width_makes_no_other_name(tmp_path: Path, unseen: str) -> None:
    assert normalise(f"{unseen}Ac{unseen}me{unseen}") == "acme"
    with EditMemory.open(tmp_path / "facts", encoder="letters") as memory:
        first = memory.add("The CEO of Acme is Dana Li", subject="Acme", relation="ceo", target="Dana Li").edit
        other = f"Ac{unseen}me"
        second = memory.add(f"The CEO of {other} is Bo Chen", subject=other, relation="ceo", target="Bo Chen")
        assert [edit.id for edit in second.superseded] == [first.id]
        assert [edit.id for edit in memory.list(subject="Acme")] == [second.edit.id]
        assert second.edit.subject == other  # as it was told
        assert len(memory.history(subject=f"A{unseen}cme")) == 2
        with pytest.raises(InputError, match="subject is empty"):
            memory.list(subject=unseen)


def test_names_that_differ_are_told_apart() -> None:
    assert len({normalise(name) for name in ("Acme", "Ac me", "Ácme", "Ac-me", "A\u0301cme\u0302", "аcme")}) == 6
    assert normalise("e\u200b\u0301") == normalise("é")
    assert normalise("Strasse") == normalise("STRAẞE")
